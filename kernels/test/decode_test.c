/* Attention of decoding in bfloat16: ragged rows, chunks and steps against float64, from a cache that was never cleared. */
#include "levels.h"

HALF_FAMILY(az_decode_attention_ops);
HALF_FAMILY(az_linear_ops);

enum { B = 2, SLOTS = 96, MAX_TIME = 80 };
static const float SCALE = 0.3f;
/* Rounding of queries, keys, values and weights to bfloat16. */
static const double TOLERANCE = 2e-2;

typedef struct {
  int64_t h, k, d;
} Heads;

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

/* o of the token at `position` of row b, from all tokens [B, MAX_TIME, heads, D]. */
static void expect(Heads s, Tensor q, Tensor k, Tensor v, int64_t b, int64_t position, int64_t head, double *o) {
  double p[MAX_TIME], most = -1e300, sum = 0;
  const float *query = FLOATS(q) + ((b * MAX_TIME + position) * s.h + head) * s.d;
  for (int64_t j = 0; j <= position; j++) {
    const float *key = FLOATS(k) + ((b * MAX_TIME + j) * s.k + head * s.k / s.h) * s.d;
    p[j] = 0;
    for (int64_t i = 0; i < s.d; i++) p[j] += (double)SCALE * query[i] * key[i];
    most = fmax(most, p[j]);
  }
  for (int64_t j = 0; j <= position; j++) sum += p[j] = exp(p[j] - most);
  for (int64_t i = 0; i < s.d; i++) o[i] = 0;
  for (int64_t j = 0; j <= position; j++)
    for (int64_t i = 0; i < s.d; i++) o[i] += p[j] / sum * FLOATS(v)[((b * MAX_TIME + j) * s.k + head * s.k / s.h) * s.d + i];
}

/* Rows' tokens from their positions on, `time` of each; missing ones are zeros. */
static Tensor take(Tensor x, const int64_t *from, int64_t time) {
  const int64_t token = x.dim[2] * x.dim[3];
  Tensor part = tensor_of(4, SHAPE(x.dim[0], time, x.dim[2], x.dim[3]));
  memset(part.data, 0, 4 * (size_t)count_of(part));
  for (int64_t b = 0; b < x.dim[0]; b++)
    for (int64_t t = 0; t < time && from[b] + t < x.dim[1]; t++)
      memcpy(FLOATS(part) + (b * time + t) * token, FLOATS(x) + (b * x.dim[1] + from[b] + t) * token, 4 * (size_t)token);
  return part;
}

static void test_attention(void) {
  static const Heads shapes[] = {{1, 1, 2}, {3, 1, 20}, {4, 2, 64}, {16, 1, 33}, {2, 2, 96}};
  for (int i = 0; i < 5; i++) {
    const Heads s = shapes[i];
    const int64_t width = ROUND_UP(s.d, 32);
    Tensor q = WAVES(1, B, MAX_TIME, s.h, s.d), k = WAVES(2, B, MAX_TIME, s.k, s.d), v = WAVES(3, B, MAX_TIME, s.k, s.d);
    Tensor keys = tensor_of(2, SHAPE(B, s.k, SLOTS, width)), values = tensor_of(2, SHAPE(B, s.k, SLOTS, width));
    int64_t begin[B] = {0, 0}, length[B] = {37, 5}; /* first chunks, then single steps across a block of 32 */
    for (int64_t step = 0; step < 32; step++) {
      const int64_t time = step == 0 ? 37 : 1;
      Tensor lengths = tensor_of(4, SHAPE(B));
      for (int64_t b = 0; b < B; b++) INTS(lengths)[b] = (int32_t)length[b];
      for (int threads = 1; threads <= (step < 2 ? 2 : 1); threads++) {
        Call call = {.table = TABLE(az_decode_attention_ops), .name = "DecodeAttention", .floats = {SCALE}, .num_inputs = 9, .num_outputs = 3};
        const int64_t ints[] = {threads, step == 0, time, s.h, s.d, step % 2};
        memcpy(call.ints, ints, sizeof ints);
        call.in[0] = take(q, begin, time), call.in[1] = take(k, begin, time), call.in[2] = take(v, begin, time);
        call.in[6] = lengths, call.in[7] = keys, call.in[8] = values;
        call.out[1] = keys, call.out[2] = values;
        must_run(&call);
        for (int64_t b = 0; b < B; b++)
          for (int64_t t = 0; t < time && begin[b] + t < length[b]; t++)
            for (int64_t head = 0; head < s.h; head++) {
              double expected[96];
              expect(s, q, k, v, b, begin[b] + t, head, expected);
              const float *o = FLOATS(call.out[0]) + ((b * time + t) * s.h + head) * s.d;
              for (int64_t j = 0; j < s.d; j++)
                check(fabs(o[j] - expected[j]) <= TOLERANCE, "step %ld row %ld token %ld: %g, expected %g", (long)step, (long)b, (long)t,
                      (double)o[j], expected[j]);
            }
      }
      for (int64_t b = 0; b < B; b++) begin[b] = length[b]++;
    }
  }
}

/*
 * The tangent of o: ts = scale·(tq·k + q·tk), p = softmax(s), z = p∘(ts − Σ p·ts), to = z·v + p·tv. Queries and keys as they are after
 * their rotation.
 */
static void expect_tangent(Heads s, const Tensor plain[3], const Tensor moved[3], int64_t b, int64_t position, int64_t head, double *to) {
  double p[MAX_TIME], ts[MAX_TIME], most = -1e300, sum = 0, mean = 0;
  const int64_t query = ((b * MAX_TIME + position) * s.h + head) * s.d;
  for (int64_t j = 0; j <= position; j++) {
    const int64_t key = ((b * MAX_TIME + j) * s.k + head * s.k / s.h) * s.d;
    p[j] = ts[j] = 0;
    for (int64_t i = 0; i < s.d; i++) {
      const double q = FLOATS(plain[0])[query + i], k = FLOATS(plain[1])[key + i];
      p[j] += (double)SCALE * q * k;
      ts[j] += (double)SCALE * (FLOATS(moved[0])[query + i] * k + q * FLOATS(moved[1])[key + i]);
    }
    most = fmax(most, p[j]);
  }
  for (int64_t j = 0; j <= position; j++) sum += p[j] = exp(p[j] - most);
  for (int64_t j = 0; j <= position; j++) mean += (p[j] /= sum) * ts[j];
  for (int64_t i = 0; i < s.d; i++) to[i] = 0;
  for (int64_t j = 0; j <= position; j++)
    for (int64_t i = 0; i < s.d; i++) {
      const int64_t value = ((b * MAX_TIME + j) * s.k + head * s.k / s.h) * s.d + i;
      to[i] += p[j] * (ts[j] - mean) * FLOATS(plain[2])[value] + p[j] * FLOATS(moved[2])[value];
    }
}

/* x [B, MAX_TIME, heads, D] with halves turned by the angles of its positions. */
static Tensor turned(Tensor x, Tensor cos, Tensor sin) {
  Tensor y = copy_of(x, 4);
  const int64_t half = x.dim[3] / 2, heads = x.dim[2];
  for (int64_t row = 0; row < count_of(x) / x.dim[3]; row++)
    for (int64_t i = 0; i < half; i++) {
      const int64_t at = row * x.dim[3] + i, angle = row / heads % MAX_TIME * half + i;
      const float a = FLOATS(x)[at], b = FLOATS(x)[at + half], c = FLOATS(cos)[angle], d = FLOATS(sin)[angle];
      FLOATS(y)[at] = a * c - b * d, FLOATS(y)[at + half] = b * c + a * d;
    }
  return y;
}

static void test_attention_tangent(void) {
  static const Heads shapes[] = {{1, 1, 2}, {3, 1, 20}, {4, 2, 64}, {2, 2, 96}};
  for (int i = 0; i < 4; i++) {
    const Heads s = shapes[i];
    const int64_t width = ROUND_UP(s.d, 32), heads[] = {s.h, s.k, s.k};
    Tensor given[6], plain[3], moved[3], cache[4], cos = tensor_of(4, SHAPE(MAX_TIME, s.d / 2)), sin_table = copy_of(cos, 4);
    for (int64_t at = 0; at < count_of(cos); at++) {
      const double angle = 0.3 * (double)at;
      FLOATS(cos)[at] = (float)__builtin_cos(angle), FLOATS(sin_table)[at] = (float)sin(angle);
    }
    for (int t = 0; t < 6; t++) given[t] = WAVES(1 + t, B, MAX_TIME, heads[t % 3], s.d);
    for (int t = 0; t < 3; t++) {
      plain[t] = t < 2 ? turned(given[t], cos, sin_table) : given[t];
      moved[t] = t < 2 ? turned(given[3 + t], cos, sin_table) : given[3 + t];
    }
    for (int t = 0; t < 4; t++) cache[t] = tensor_of(2, SHAPE(B, s.k, SLOTS, width));
    int64_t begin[B] = {0, 0}, length[B] = {30, 3}; /* first chunks, then steps across a block of 32 */
    for (int64_t step = 0; step < 5; step++) {
      const int64_t time = step == 0 ? 30 : 1;
      Tensor lengths = tensor_of(4, SHAPE(B)), positions = tensor_of(8, SHAPE(B, time));
      for (int64_t b = 0; b < B; b++) {
        INTS(lengths)[b] = (int32_t)length[b];
        for (int64_t t = 0; t < time; t++) LONGS(positions)[b * time + t] = begin[b] + t;
      }
      Call call = {.table = TABLE(az_decode_attention_ops), .name = "DecodeAttentionTangent", .floats = {SCALE}, .num_inputs = 14};
      const int64_t ints[] = {1, step == 0, time, s.h, s.d};
      memcpy(call.ints, ints, sizeof ints);
      for (int t = 0; t < 3; t++) call.in[t] = take(given[t], begin, time), call.in[9 + t] = take(given[3 + t], begin, time);
      call.in[3] = positions, call.in[4] = cos, call.in[5] = sin_table, call.in[6] = lengths;
      call.in[7] = call.out[1] = cache[0], call.in[8] = call.out[2] = cache[1];
      call.in[12] = call.out[4] = cache[2], call.in[13] = call.out[5] = cache[3];
      must_run(&call);
      for (int64_t b = 0; b < B; b++)
        for (int64_t t = 0; t < time && begin[b] + t < length[b]; t++)
          for (int64_t head = 0; head < s.h; head++) {
            double o[96], to[96];
            expect(s, plain[0], plain[1], plain[2], b, begin[b] + t, head, o);
            expect_tangent(s, plain, moved, b, begin[b] + t, head, to);
            const int64_t at = ((b * time + t) * s.h + head) * s.d;
            for (int64_t j = 0; j < s.d; j++) {
              const double found = FLOATS(call.out[0])[at + j], found_moved = FLOATS(call.out[3])[at + j];
              check(fabs(found - o[j]) <= TOLERANCE, "step %ld: o is %g, expected %g", (long)step, found, o[j]);
              check(fabs(found_moved - to[j]) <= 5e-2 * (1 + fabs(to[j])), "step %ld: its tangent is %g, expected %g", (long)step, found_moved, to[j]);
            }
          }
      for (int64_t b = 0; b < B; b++) begin[b] = length[b]++;
    }
  }
}

/* What is not a number reaches the heads that read it, and no other row. */
static void test_attention_not_finite(void) {
  const Heads s = {2, 2, 20};
  Tensor q = WAVES(1, B, MAX_TIME, s.h, s.d), k = WAVES(2, B, MAX_TIME, s.k, s.d), v = WAVES(3, B, MAX_TIME, s.k, s.d);
  Tensor keys = tensor_of(2, SHAPE(B, s.k, SLOTS, 32)), values = tensor_of(2, SHAPE(B, s.k, SLOTS, 32)), lengths = tensor_of(4, SHAPE(B));
  const int64_t begin[B] = {0, 0}, time = 9;
  for (int64_t b = 0; b < B; b++) INTS(lengths)[b] = (int32_t)time;
  FLOATS(k)[5 * s.k * s.d] = NAN; /* key 5 of group 0 of row 0 */
  Call call = {.table = TABLE(az_decode_attention_ops), .name = "DecodeAttention", .floats = {SCALE}, .ints = {1, 1, time, s.h, s.d}, .num_inputs = 9};
  call.in[0] = take(q, begin, time), call.in[1] = take(k, begin, time), call.in[2] = take(v, begin, time);
  call.in[6] = lengths, call.in[7] = call.out[1] = keys, call.in[8] = call.out[2] = values;
  must_run(&call);
  for (int64_t at = 0; at < B * time * s.h; at++) {
    const int64_t row = at / s.h / time, token = at / s.h % time, head = at % s.h;
    const float o = FLOATS(call.out[0])[at * s.d];
    check(row == 0 && head == 0 && token >= 5 ? isnan(o) : isfinite(o), "row %ld token %ld head %ld is %g", (long)row, (long)token, (long)head, (double)o);
  }
}

/* gate and up as one, silu(gate)·up, and the gradient through it and the projection behind it. */
static void test_gated(void) {
  static const int64_t shapes[][3] = {{1, 1, 1}, {5, 17, 33}, {33, 40, 70}, {64, 32, 64}};
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], n = shapes[s][2], stride = ROUND_UP(width, 32), wide = ROUND_UP(n, 32);
    Tensor x = HALF_WAVES(1, rows, stride), gate = WAVES(2, n, width), up = WAVES(3, n, width), down = WAVES(4, width, n);
    Tensor dz = HALF_WAVES(5, rows, stride);
    for (int64_t i = 0; i < rows * stride; i++)
      if (i % stride >= width) HALVES(x)[i] = HALVES(dz)[i] = 0;
    Call pack = {.table = TABLE(az_linear_ops), .name = "Pack", .ints = {1}, .in = {gate, up}, .num_inputs = 2};
    must_run(&pack);
    Call pack_down = {.table = TABLE(az_linear_ops), .name = "Pack", .in = {down}, .num_inputs = 1};
    must_run(&pack_down);
    Call forward = {.table = TABLE(az_linear_ops), .name = "LinearSwiglu", .ints = {rows, 0, stride, 2 * wide}, .in = {x, pack.out[0]}, .num_inputs = 2};
    must_run(&forward);
    Call back = {.table = TABLE(az_linear_ops), .name = "LinearSwigluGradient", .ints = {rows, 0, stride, wide}, .num_inputs = 3};
    back.in[0] = dz, back.in[1] = pack_down.out[1], back.in[2] = forward.out[0];
    must_run(&back);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < n; j++) {
        double g = 0, u = 0, dy = 0;
        for (int64_t k = 0; k < width; k++) {
          g += (double)from_half(HALVES(x)[r * stride + k]) * from_half(to_half(FLOATS(gate)[j * width + k]));
          u += (double)from_half(HALVES(x)[r * stride + k]) * from_half(to_half(FLOATS(up)[j * width + k]));
          dy += (double)from_half(HALVES(dz)[r * stride + k]) * from_half(to_half(FLOATS(down)[k * n + j]));
        }
        const double sigmoid = 1 / (1 + exp(-g)), y = g * sigmoid * u, d_gate = dy * u * sigmoid * (1 + g * (1 - sigmoid)), d_up = dy * g * sigmoid;
        const int64_t at = j / 16 * 32 + j % 16;
        const double found = from_half(HALVES(forward.out[1])[r * wide + j]);
        const double found_gate = from_half(HALVES(back.out[0])[r * 2 * wide + at]), found_up = from_half(HALVES(back.out[0])[r * 2 * wide + at + 16]);
        check(fabs(found - y) <= TOLERANCE * (1 + fabs(y)), "silu(gate)·up is %g, expected %g", found, y);
        check(fabs(found_gate - d_gate) <= TOLERANCE * (1 + fabs(dy * u)), "dgate is %g, expected %g", found_gate, d_gate);
        check(fabs(found_up - d_up) <= TOLERANCE * (1 + fabs(d_up)), "dup is %g, expected %g", found_up, d_up);
      }
  }
}

AT_EACH_LEVEL(test_attention)
AT_EACH_LEVEL(test_attention_tangent)
AT_EACH_LEVEL(test_attention_not_finite)
AT_EACH_LEVEL(test_gated)

const Test decode_tests[] = {
    {"bfloat16 attention of decoding: ragged first chunks and steps are those of float64 up to rounding", test_attention_each, LEVEL_PORTABLE},
    {"bfloat16 attention of decoding: rotation inside and the tangent are those of float64 up to rounding", test_attention_tangent_each, LEVEL_PORTABLE},
    {"bfloat16 attention of decoding passes not-a-numbers on to those who read them", test_attention_not_finite_each, LEVEL_PORTABLE},
    {"bfloat16 gated units and their gradients are those of float64 up to rounding", test_gated_each, LEVEL_PORTABLE},
    {0},
};
