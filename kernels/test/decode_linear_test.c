/* Linear layers of decoding in bfloat16: packed weights, the documented order of additions, and tangents against float64. */
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "levels.h"

HALF_FAMILY(az_linear_ops);
HALF_FAMILY(az_decode_pack_ops);
HALF_FAMILY(az_decode_linear_ops);
HALF_FAMILY(az_decode_linear_tangent_ops);

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

static double rounded(double x) { return from_half(to_half((float)x)); }

/* Float32 numbers that bfloat16 holds exactly. */
static Tensor exact_waves(int seed, int64_t rows, int64_t width) {
  Tensor x = WAVES(seed, rows, width);
  for (int64_t i = 0; i < count_of(x); i++) FLOATS(x)[i] = (float)rounded(FLOATS(x)[i]);
  return x;
}

static Tensor pack(Tensor w) {
  Call call = {.table = TABLE(az_decode_pack_ops), .name = "DecodePack", .in = {w}, .num_inputs = 1};
  must_run(&call);
  return call.out[0];
}

/* A packed direction, of which panels of zeros are not there; `values`: what it stands for, within half a step of 5 bits of what was packed. */
static Tensor pack_direction(Tensor w, Tensor *values) {
  Call call = {.table = TABLE(az_decode_pack_ops), .name = "DecodePackDirection", .in = {w}, .num_inputs = 1};
  must_run(&call);
  const int64_t n = w.dim[0], k = w.dim[1], steps = ROUND_UP(k, 32) / 32;
  const uint8_t *is_there = call.out[0].data, *panels = is_there + ROUND_UP(ROUND_UP(n, 32) / 32, 64);
  *values = tensor_of(4, SHAPE(n, k));
  for (int64_t p = 0; p * 32 < n; p++) {
    int has_any = 0;
    for (int64_t i = p * 32 * k; i < MIN(n, p * 32 + 32) * k; i++) has_any |= FLOATS(w)[i] != 0;
    check(is_there[p] == has_any, "panel %ld is there: %d", (long)p, is_there[p]);
  }
  for (int64_t i = 0; i < n * k; i++) {
    const int64_t row = i / k, column = i % k, tile = (row / 32 * steps + column / 32) * 2 + row % 32 / 16, pair = column % 32 / 2;
    FLOATS(*values)[i] = 0;
    if (!is_there[row / 32]) continue;
    const uint8_t *at = panels + tile * 336;
    uint16_t words[160];
    memcpy(words, at + 16, sizeof words);
    const int64_t word = row % 16 * 2 + column % 2;
    int code = pair < 15 ? words[pair / 3 * 32 + word] >> 5 * (pair % 3) & 31 : 0;
    for (int bit = 0; bit < 5 && pair == 15; bit++) code |= words[bit * 32 + word] >> 15 << bit;
    const int exponent = at[row % 16];
    const float given = FLOATS(w)[i];
    if (exponent == 0) {
      check(given == 0, "[%ld] %g is packed as zero", (long)i, (double)given);
      continue;
    }
    const double step = ldexp(1, exponent - 126), value = (code & 15) + 0.5;
    FLOATS(*values)[i] = (float)((code & 16 ? -step : step) * value);
    check(fabs(FLOATS(*values)[i] - given) <= 0.5 * step, "[%ld] %g is packed as %g", (long)i, (double)given, (double)FLOATS(*values)[i]);
    float greatest = 0;
    for (int64_t j = column / 32 * 32; j < MIN(k, column / 32 * 32 + 32); j++) greatest = fmaxf(greatest, fabsf(FLOATS(w)[row * k + j]));
    check(step <= greatest / 8, "a step of %g for numbers up to %g", step, (double)greatest);
  }
  return call.out[0];
}

/* A weight in 8 bits; `values`: what it stands for, within half a step of 8 bits and a rounding of what was packed. */
static Tensor pack_bytes(Tensor w, Tensor *values) {
  Call call = {.table = TABLE(az_decode_pack_ops), .name = "DecodePackBytes", .in = {w}, .num_inputs = 1};
  must_run(&call);
  const int64_t n = w.dim[0], k = w.dim[1], steps = ROUND_UP(k, 32) / 32;
  *values = tensor_of(4, SHAPE(n, k));
  for (int64_t i = 0; i < n * k; i++) {
    const int64_t row = i / k, column = i % k, tile = (row / 32 * steps + column / 32) * 2 + row % 32 / 16;
    const int8_t *at = (const int8_t *)call.out[0].data + tile * 576;
    float scale;
    memcpy(&scale, at + 4 * (row % 16), 4);
    const int q = at[64 + column % 32 / 2 * 32 + row % 16 * 2 + column % 2];
    FLOATS(*values)[i] = (float)rounded(scale * (float)q);
    const double slack = 0.501 * scale + 4e-3 * fabs(FLOATS(w)[i]);
    check(fabs(FLOATS(*values)[i] - FLOATS(w)[i]) <= slack, "[%ld] %g is packed as %g", (long)i, (double)FLOATS(w)[i], (double)FLOATS(*values)[i]);
  }
  return call.out[0];
}

/* [N/32, K/32, 2, 16, 16, 2], zeros around; what is not finite stays so. */
static void test_pack(void) {
  static const int64_t shapes[][2] = {{1, 1}, {5, 33}, {32, 32}, {47, 70}, {65, 31}};
  for (int s = 0; s < 5; s++) {
    const int64_t n = shapes[s][0], k = shapes[s][1], steps = ROUND_UP(k, 32) / 32;
    Tensor w = WAVES(1, n, k);
    const float special[] = {NAN, INFINITY, -INFINITY, -0.f, 3.4e38f};
    for (int64_t i = 0; i < 5 && i < n * k; i++) FLOATS(w)[i * 7 % (n * k)] = special[i];
    Tensor packed = pack(w);
    check(count_of(packed) == ROUND_UP(n, 32) * steps * 32, "%ld numbers", (long)count_of(packed));
    for (int64_t row = 0; row < ROUND_UP(n, 32); row++)
      for (int64_t column = 0; column < steps * 32; column++) {
        const int64_t tile = (row / 32 * steps + column / 32) * 2 + row % 32 / 16;
        const bf16 found = HALVES(packed)[tile * 512 + column % 32 / 2 * 32 + row % 16 * 2 + column % 2];
        const float given = row < n && column < k ? FLOATS(w)[row * k + column] : 0;
        check(isnan(given) ? isnan(from_half(found)) : found == to_half(given), "[%ld, %ld] is %x", (long)row, (long)column, found);
      }
  }
}

/* The products of up to 32 numbers: even and odd ones apart, by fused multiply-adds, then both sums. */
static float sum_apart(const float *x, const float *w, int64_t count) {
  float even = 0, odd = 0;
  for (int64_t i = 0; i < count; i++) {
    float *part = i % 2 ? &odd : &even;
    *part = fmaf(x[i], w[i], *part);
  }
  return even + odd;
}

#if defined(__x86_64__)
static int pair_at(const float *x, int64_t i, int64_t count) {
  return (int)(to_half(x[i]) | (uint32_t)(i + 1 < count ? to_half(x[i + 1]) : 0) << 16);
}

/* The same pair by pair, by the instruction itself: how it rounds within a pair is the processor's. */
__attribute__((target("avx512f,avx512vl,avx512bf16"))) static float sum_by_pairs(const float *x, const float *w, int64_t count) {
  __m128 sum = _mm_setzero_ps();
  for (int64_t i = 0; i < count; i += 2)
    sum = _mm_dpbf16_ps(sum, (__m128bh)_mm_set1_epi32(pair_at(x, i, count)), (__m128bh)_mm_set1_epi32(pair_at(w, i, count)));
  return _mm_cvtss_f32(sum);
}
#endif

/*
 * Sums of 32 products at a time, each then added to what is there: the same bits on every processor that multiplies and adds in one
 * rounding, but where pairs of bfloat16 have an instruction of their own; and in training and in decoding.
 */
static void test_order(void) {
  float (*sum_of)(const float *, const float *, int64_t) = sum_apart;
#if defined(__x86_64__)
  if (half_level == LEVEL_PORTABLE) return;
  if (half_level == LEVEL_AVX512BF16) sum_of = sum_by_pairs;
#endif
  static const int64_t shapes[][3] = {{1, 7, 3}, {5, 45, 40}, {35, 64, 33}, {19, 1100, 18}};
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], k = shapes[s][1], n = shapes[s][2], stride = ROUND_UP(k, 32);
    Tensor x = exact_waves(1, rows, k), w = exact_waves(2, n, k), half = tensor_of(2, SHAPE(rows, stride));
    Tensor expected = tensor_of(4, SHAPE(rows, n));
    for (int64_t i = 0; i < rows * stride; i++) HALVES(half)[i] = i % stride < k ? to_half(FLOATS(x)[i / stride * k + i % stride]) : 0;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < n; j++) {
        float sum = 0;
        for (int64_t t = 0; t < k; t += 32) sum += sum_of(FLOATS(x) + r * k + t, FLOATS(w) + j * k + t, MIN(32, k - t));
        FLOATS(expected)[r * n + j] = sum;
      }
    Call decode = {.table = TABLE(az_decode_linear_ops), .name = "DecodeLinear", .ints = {1, 0, rows, k, n}, .num_inputs = 8};
    decode.in[0] = x, decode.in[7] = pack(w);
    must_run(&decode);
    check_same("decoding", decode.out[0], expected, 4);
    Call operand = {.table = TABLE(az_linear_ops), .name = "Pack", .in = {w}, .num_inputs = 1};
    must_run(&operand);
    Call train = {.table = TABLE(az_linear_ops), .name = "LinearFloat", .ints = {rows, 0, stride, n}, .floats = {1}, .in = {half, operand.out[0]}, .num_inputs = 2};
    must_run(&train);
    check_same("training", train.out[0], expected, 4);
  }
}

/* A row and its tangent after an RMS norm, each rounded as the product takes it. */
static void norm_row(const float *x, const float *tx, const float *g, const float *tg, int64_t k, double *to, double *moved) {
  double squares = 0, mean = 0;
  for (int64_t i = 0; i < k; i++) squares += (double)x[i] * x[i], mean += (double)x[i] * tx[i];
  const double r = g ? 1 / sqrt(squares / (double)k + 1e-5) : 1;
  mean *= r * r / (double)k;
  for (int64_t i = 0; i < k; i++) {
    const double normal = x[i] * r;
    to[i] = rounded(g ? normal * g[i] : normal);
    moved[i] = rounded(g ? g[i] * (tx[i] * r - normal * mean) + tg[i] * normal : tx[i]);
  }
}

enum { MOVED = 7, WANTED = 14, WEIGHTS };

/* Whether a panel does not move: none, some, in turns or by groups, and all of a part. */
static int is_still(size_t test, int part, int64_t panel) {
  return test % 2 ? (panel * 5 + part) % 7 < 3 : test == 6 ? part : test == 4 && panel / 4 % 2;
}

static void test_tangent(void) {
  /* Several groups of panels and pieces of k among them, and more panels than are grouped. */
  static const int64_t shapes[][4] = {{1, 1, 1, 0}, {3, 40, 33, 1}, {17, 33, 40, 2}, {20, 64, 70, 3}, {33, 100, 5, 1}, {49, 420, 300, 0}, {40, 230, 290, 3}, {17, 40, 16500, 0}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const int64_t rows = shapes[s][0], k = shapes[s][1], n = shapes[s][2], has_norm = shapes[s][3] & 1, is_gated = shapes[s][3] >> 1;
    const int parts = 2;
    Call call = {.table = TABLE(az_decode_linear_tangent_ops), .name = "DecodeLinearTangent", .floats = {1e-5f}, .num_inputs = WEIGHTS + 2 * parts};
    const int64_t ints[] = {1, is_gated, rows, k, n, n};
    memcpy(call.ints, ints, sizeof ints);
    Tensor w[2], tw[2];
    for (int side = 0; side < 2; side++) {
      const int at = side * MOVED;
      call.in[at] = WAVES(1 + side, rows, k);
      if (has_norm) call.in[at + 1] = WAVES(3 + side, k);
      if (!is_gated) call.in[at + 2] = WAVES(5 + side, rows, n);
      for (int p = 0; p < parts; p++) call.in[at + 3 + p] = WAVES(7 + side + 2 * p, n);
    }
    for (int p = 0; p < parts; p++) {
      w[p] = exact_waves(11 + p, n, k);
      Tensor direction = WAVES(13 + p, n, k);
      for (int64_t i = 0; i < n * k; i++)
        if (is_still(s, p, i / k / 32)) FLOATS(direction)[i] = 0;
      call.in[WEIGHTS + 2 * p] = pack(w[p]), call.in[WEIGHTS + 2 * p + 1] = pack_direction(direction, tw + p);
    }
    must_run(&call);
    double a[512], ta[512];
    for (int64_t r = 0; r < rows; r++) {
      norm_row(FLOATS(call.in[0]) + r * k, FLOATS(call.in[MOVED]) + r * k, has_norm ? FLOATS(call.in[1]) : NULL,
               has_norm ? FLOATS(call.in[MOVED + 1]) : NULL, k, a, ta);
      for (int64_t j = 0; j < n; j++) {
        double y[2], ty[2];
        for (int p = 0; p < parts; p++) {
          y[p] = FLOATS(call.in[3 + p])[j], ty[p] = FLOATS(call.in[MOVED + 3 + p])[j];
          for (int64_t i = 0; i < k; i++) {
            y[p] += a[i] * FLOATS(w[p])[j * k + i];
            ty[p] += ta[i] * FLOATS(w[p])[j * k + i] + a[i] * FLOATS(tw[p])[j * k + i];
          }
        }
        for (int p = 0; p < (is_gated ? 1 : parts); p++) {
          double value = y[p], moved = ty[p];
          if (is_gated) {
            const double sigma = 1 / (1 + exp(-y[0])), silu = y[0] * sigma;
            value = silu * y[1], moved = ty[0] * (sigma + silu * (1 - sigma)) * y[1] + silu * ty[1];
          } else {
            value += FLOATS(call.in[2])[r * n + j], moved += FLOATS(call.in[MOVED + 2])[r * n + j];
          }
          /* A feature may be rounded to the neighbour of what float64 takes it for. */
          const double slack = 5e-3 * (1 + fabs(value) + fabs(moved));
          const double found = FLOATS(call.out[2 * p])[r * n + j], found_moved = FLOATS(call.out[2 * p + 1])[r * n + j];
          check(fabs(found - value) <= slack, "y is %g, expected %g", found, value);
          check(fabs(found_moved - moved) <= slack, "its tangent is %g, expected %g", found_moved, moved);
        }
      }
    }
    /* y is the same bits as without the tangent. */
    Call plain = {.table = TABLE(az_decode_linear_ops), .name = "DecodeLinear", .floats = {1e-5f}, .num_inputs = MOVED + parts};
    memcpy(plain.ints, ints, sizeof ints);
    memcpy(plain.in, call.in, sizeof(Tensor) * MOVED);
    for (int p = 0; p < parts; p++) plain.in[MOVED + p] = call.in[WEIGHTS + 2 * p];
    must_run(&plain);
    for (int p = 0; p < (is_gated ? 1 : parts); p++) check_same("y beside its tangent", call.out[2 * p], plain.out[p], 4);
    /* The tangent without y is the same bits as of the weights that 8 bits stand for. */
    Call alone = call;
    memset(alone.out, 0, sizeof alone.out), alone.ints[8] = 1;
    if (is_gated) {
      check(run_op(&alone) != NULL, "a gated layer gives its tangent alone");
      continue;
    }
    for (int p = 0; p < parts; p++) {
      Tensor values;
      alone.in[WEIGHTS + 2 * p] = pack_bytes(w[p], &values), call.in[WEIGHTS + 2 * p] = pack(values);
    }
    must_run(&alone);
    must_run(&call);
    for (int p = 0; p < parts; p++) check_same("the tangent alone", alone.out[p], call.out[2 * p + 1], 4);
  }
}

/* Where results are wanted they are the same bits as if all were; panels of which nothing is are left as they were. */
static void test_wanted(void) {
  static const int64_t shapes[][3] = {{1, 40, 100}, {5, 72, 131}, {32, 33, 200}, {37, 64, 300}};
  enum { PANEL = 32 };
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], k = shapes[s][1], n = shapes[s][2];
    Tensor tw, wanted = tensor_of(4, SHAPE(rows, n));
    Call all = {.table = TABLE(az_decode_linear_tangent_ops), .name = "DecodeLinearTangent", .ints = {1, 0, rows, k, n}, .num_inputs = WEIGHTS + 2};
    all.in[0] = WAVES(1, rows, k), all.in[MOVED] = WAVES(2, rows, k);
    const int is_alone = s % 2;
    all.in[WEIGHTS] = is_alone ? pack_bytes(WAVES(3, n, k), &tw) : pack(exact_waves(3, n, k)), all.in[WEIGHTS + 1] = pack_direction(WAVES(4, n, k), &tw);
    Call some = all;
    all.ints[8] = some.ints[8] = is_alone;
    const int num_results = is_alone ? 1 : 2;
    must_run(&all);
    for (int64_t i = 0; i < rows * n; i++) FLOATS(wanted)[i] = i % 89 == 7 ? -3.f : i % 5 ? -1e30f : NAN;
    some.in[WANTED] = wanted, some.floats[1] = -3;
    must_run(&some);
    int num_left = 0;
    for (int64_t from = 0; from < n; from += PANEL) {
      int is_wanted = 0;
      for (int64_t i = 0; i < rows * n; i++)
        if (i % n / PANEL == from / PANEL && FLOATS(wanted)[i] >= -3) {
          is_wanted = 1;
          for (int side = 0; side < num_results; side++)
            check(memcmp(FLOATS(some.out[side]) + i, FLOATS(all.out[side]) + i, 4) == 0, "a result that is wanted differs");
        }
      if (!is_wanted) num_left++, check(isnan(FLOATS(some.out[0])[from]) && isnan(FLOATS(some.out[num_results - 1])[from]), "a panel was computed for nothing");
    }
    if (rows == 1) check(num_left > 0, "every panel is wanted: nothing is shown");
  }
}

/* A number that is not one, or infinite, reaches its own row and no other. */
static void test_not_finite(void) {
  const int64_t rows = 5, k = 40, n = 37;
  Tensor w = exact_waves(1, n, k), tw, direction = pack_direction(WAVES(2, n, k), &tw), x = WAVES(3, rows, k), tx = WAVES(4, rows, k);
  for (int64_t i = 0; i < n * k; i++) FLOATS(w)[i] += FLOATS(w)[i] == 0; /* zeros would make infinity not a number */
  FLOATS(x)[1 * k + 7] = NAN, FLOATS(x)[3 * k + 39] = INFINITY, FLOATS(tx)[4 * k] = NAN;
  Call call = {.table = TABLE(az_decode_linear_tangent_ops), .name = "DecodeLinearTangent", .ints = {1, 0, rows, k, n}, .num_inputs = WEIGHTS + 2};
  call.in[0] = x, call.in[MOVED] = tx, call.in[WEIGHTS] = pack(w), call.in[WEIGHTS + 1] = direction;
  must_run(&call);
  for (int64_t i = 0; i < rows * n; i++) {
    const float y = FLOATS(call.out[0])[i], ty = FLOATS(call.out[1])[i];
    const int64_t row = i / n;
    check(row == 1 ? isnan(y) : row == 3 ? isinf(y) : isfinite(y), "row %ld: y is %g", (long)row, (double)y);
    check(row == 4 ? isnan(ty) : row == 0 || row == 2 ? isfinite(ty) : !isfinite(ty), "row %ld: its tangent is %g", (long)row, (double)ty);
  }
}

AT_EACH_LEVEL(test_pack)
AT_EACH_LEVEL(test_order)
AT_EACH_LEVEL(test_tangent)
AT_EACH_LEVEL(test_wanted)
AT_EACH_LEVEL(test_not_finite)

const Test decode_linear_tests[] = {
    {"packed weights of decoding are the rounded weights, each at its place", test_pack_each, LEVEL_PORTABLE},
    {"bfloat16 products add in the documented order, bit for bit", test_order_each, LEVEL_PORTABLE},
    {"tangents of bfloat16 linear layers of decoding are those of float64 up to rounding", test_tangent_each, LEVEL_PORTABLE},
    {"results of a moving linear layer are computed where they are wanted", test_wanted_each, LEVEL_PORTABLE},
    {"what is not finite stays in its row of a linear layer of decoding", test_not_finite_each, LEVEL_PORTABLE},
    {0},
};
