/*
 * Linear layers on stored blocks, on matrix units and in float32 at every level, compared with float64 on the exact values of the blocks; a row has the
 * same bits alone and among others.
 */
#include "levels.h"

LEVELS(az_float_blocks_ops);

/* The op under test. */
static struct {
  const char *name;
  const Op *table;
  Level level;
  int is_rounded; /* x, to bfloat16 */
} op;

/* Numbers, blocks and bytes as in ggml; where halves begin and end that are units of their own. */
typedef struct {
  int number, block, bytes, halves, end;
} Kind;
static const Kind kinds[] = {{2, 32, 18, 0, 2},    {3, 32, 20, 0, 4},     {6, 32, 22, 0, 2},     {7, 32, 24, 0, 4},
                             {8, 32, 34, 0, 2},    {12, 256, 144, 0, 4}, {13, 256, 176, 0, 4}, {14, 256, 210, 208, 210}};
enum { NUM_KINDS = sizeof kinds / sizeof *kinds };

/* The number that a half stands for. */
static double half_value(const uint8_t *p) {
  const int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 ? -size : size;
}

/* Value i of a block. */
static double value_of(Kind kind, const uint8_t *b, int i) {
  const double d = half_value(b);
  const int g = i / 32, byte = i % 16;
  switch (kind.number) {
  case 2: return d * ((b[2 + byte] >> i / 16 * 4 & 15) - 8);
  case 3: return d * (b[4 + byte] >> i / 16 * 4 & 15) + half_value(b + 2);
  case 6: return d * (((b[6 + byte] >> i / 16 * 4 & 15) | (b[2 + i / 8] >> i % 8 & 1) << 4) - 16);
  case 7: return d * ((b[8 + byte] >> i / 16 * 4 & 15) | (b[4 + i / 8] >> i % 8 & 1) << 4) + half_value(b + 2);
  case 8: return d * (int8_t)b[2 + i];
  case 14: {
    const int side = i / 128, quarter = i / 32 % 4;
    const int low = b[side * 64 + quarter % 2 * 32 + i % 32] >> quarter / 2 * 4 & 15, high = b[128 + side * 32 + i % 32] >> 2 * quarter & 3;
    return half_value(b + 208) * (int8_t)b[192 + i / 16] * ((low | high << 4) - 32);
  }
  default: {
    const uint8_t *packed = b + 4;
    const int scale = g < 4 ? packed[g] & 63 : (packed[4 + g] & 15) | (packed[g - 4] >> 6) << 4;
    const int least = g < 4 ? packed[4 + g] & 63 : packed[4 + g] >> 4 | (packed[g] >> 6) << 4;
    const uint8_t *values = b + (kind.number == 12 ? 16 : 48) + g / 2 * 32;
    const int low = values[i % 32] >> g % 2 * 4 & 15, fifth = kind.number == 12 ? 0 : (b[16 + i % 32] >> g & 1) << 4;
    return d * scale * (low | fifth) - half_value(b + 2) * least;
  }
  }
}

static uint32_t state;
static uint8_t random_byte(void) { return (uint8_t)((state = state * 1664525u + 1013904223u) >> 24); }

/* Random blocks [n, k / block] whose halves are small numbers of either sign. */
static Tensor random_blocks(Kind kind, int64_t n, int64_t k, int seed) {
  const int64_t count = n * (k / kind.block);
  Tensor t = tensor_of(1, SHAPE(count * kind.bytes));
  state = (uint32_t)seed * 7919u + 1;
  for (int64_t i = 0; i < count * kind.bytes; i++) ((uint8_t *)t.data)[i] = random_byte();
  for (int64_t i = 0; i < count; i++) {
    uint8_t *b = (uint8_t *)t.data + i * kind.bytes;
    const int has_two = kind.number == 3 || kind.number == 7 || kind.number == 12 || kind.number == 13;
    for (int h = 0; h < 1 + has_two; h++) {
      uint8_t *high = b + (kind.number == 14 ? 208 : 0) + 2 * h + 1;
      *high = (uint8_t)((*high & 0x80) | (0x10 + *high % 0x14)); /* 2^-11 … 2^-6 */
    }
    if (i == 0) b[kind.number == 14 ? 209 : 1] = 0x80; /* below the normal halves, and negative */
  }
  return t;
}

/* In the order in which kernels take them: of 16 rows the first block of each, unit by unit, then the second of each, … */
static Tensor grouped(Kind kind, Tensor blocks, int64_t n, int64_t k) {
  Tensor t = copy_of(blocks, 1);
  const int64_t num = k / kind.block, bytes = kind.bytes;
  for (int64_t i = 0; i < n / 16 * 16 * num; i++) {
    const int64_t row = i / num, first = (row / 16 * num + i % num) * 16 * bytes;
    for (int64_t at = 0, size; at < bytes; at += size) {
      size = at >= kind.halves && at < kind.end ? 2 : 4;
      memcpy((uint8_t *)t.data + first + 16 * at + row % 16 * size, (uint8_t *)blocks.data + i * bytes + at, (size_t)size);
    }
  }
  return t;
}

static double *dequantised(Kind kind, Tensor blocks, int64_t n, int64_t k) {
  double *w = malloc(sizeof(double) * (size_t)(n * k));
  for (int64_t i = 0; i < n * k; i++) w[i] = value_of(kind, (const uint8_t *)blocks.data + i / kind.block * kind.bytes, (int)(i % kind.block));
  return w;
}

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

enum { PARTS = 3 };

/* A layer, and its weights in float64. */
typedef struct {
  Call call;
  const double *w[PARTS];
  int64_t n[PARTS], rows, k;
  int parts, is_gated;
} Layer;

static Layer layer_of(const Kind *of, const int64_t *n, int parts, int64_t rows, int64_t k, int is_gated, int threads) {
  Layer layer = {.call = {.table = op.table, .name = op.name, .ints = {threads, is_gated, rows, k}, .floats = {1e-5f}, .num_inputs = 7 + parts},
                 .rows = rows, .k = k, .parts = parts, .is_gated = is_gated};
  Call *call = &layer.call;
  call->in[0] = WAVES(1, rows, k);
  for (int p = 0; p < parts; p++) {
    const Tensor blocks = random_blocks(of[p], n[p], k, p + 1);
    call->ints[4 + p] = layer.n[p] = n[p], call->ints[8 + p] = of[p].number;
    if (p != 1) call->in[3 + p] = WAVES(4 + p, n[p]);
    call->in[7 + p] = grouped(of[p], blocks, n[p], k);
    layer.w[p] = dequantised(of[p], blocks, n[p], k);
  }
  return layer;
}
static void free_layer(const Layer *layer) {
  for (int p = 0; p < layer->parts; p++) free((void *)layer->w[p]);
}

/* Part p of a row, whose x the kernel has normed and, if it does, rounded: rounding that falls the other way is within the tolerance where there is a norm. */
static double truth_of(const Layer *layer, int p, int64_t row, int64_t n) {
  const float *x = FLOATS(layer->call.in[0]) + row * layer->k, *gain = layer->call.in[1].data, *bias = layer->call.in[3 + p].data;
  double squares = 0, y = bias ? bias[n] : 0;
  for (int64_t i = 0; i < layer->k; i++) squares += (double)x[i] * x[i];
  const float scale = gain ? (float)(1 / sqrt(squares / (double)layer->k + 1e-5)) : 1;
  for (int64_t i = 0; i < layer->k; i++) {
    const float normed = x[i] * scale * (gain ? gain[i] : 1);
    y += (double)(op.is_rounded ? from_half(to_half(normed)) : normed) * layer->w[p][n * layer->k + i];
  }
  return y;
}

/* The kernel against float64; tasks in any order give the same bits. */
static void compare(const Kind *of, const int64_t *n, int parts, int64_t rows, int64_t k, int is_gated, int threads) {
  Layer layer = layer_of(of, n, parts, rows, k, is_gated, threads);
  if (rows % 2) layer.call.in[1] = WAVES(2, k);
  if (parts == 1) layer.call.in[2] = WAVES(3, rows, n[0]);
  must_run(&layer.call);
  Call reversed = layer.call;
  memset(reversed.out, 0, sizeof reversed.out);
  reversed.is_reversed = 1;
  must_run(&reversed);
  for (int p = 0; p < (is_gated ? 1 : parts); p++) {
    check_same("y of tasks in reverse", layer.call.out[p], reversed.out[p], sizeof(float));
    double *y = malloc(sizeof(double) * (size_t)(rows * n[p]));
    for (int64_t i = 0; i < rows * n[p]; i++) {
      y[i] = truth_of(&layer, p, i / n[p], i % n[p]);
      if (is_gated) y[i] *= truth_of(&layer, 1, i / n[p], i % n[p]) / (1 + exp(-y[i]));
      if (parts == 1) y[i] += FLOATS(layer.call.in[2])[i];
    }
    check_close("y", layer.call.out[p], y, rows % 2 && op.is_rounded ? 1e-3 : is_gated ? 1e-5 : op.is_rounded ? 1e-6 : 2e-6);
    free(y);
  }
  free_layer(&layer);
}

/* The same layer on row `from` and those after it. */
static Call on_rows(const Layer *layer, int64_t from, int64_t rows) {
  Call call = layer->call;
  memset(call.out, 0, sizeof call.out);
  call.ints[2] = rows;
  call.in[0] = tensor_of(sizeof(float), SHAPE(rows, layer->k));
  memcpy(call.in[0].data, FLOATS(layer->call.in[0]) + from * layer->k, (size_t)(rows * layer->k) * sizeof(float));
  must_run(&call);
  return call;
}

static void test_rows_alone(void) {
  static const int64_t some[] = {2, 3, 4, 5, 6, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200, 257, 300};
  for (int i = 0; i < NUM_KINDS; i++)
    for (int is_gated = 0; is_gated < 2; is_gated++) {
      begin_level(op.level); /* releases tensors */
      const int64_t n[] = {39, is_gated ? 39 : 16}, k = kinds[i].block == 32 ? 13 * 32 : 512;
      Layer layer = layer_of((const Kind[]){kinds[i], kinds[(i + 3) % 5]}, n, 2, 300, k, is_gated, 2);
      layer.call.in[1] = WAVES(2, k);
      const size_t bytes = sizeof(float) * (size_t)n[0];
      Tensor alone[300] = {{0}}; /* of the last rows, and some before them */
      for (int64_t r = 0; r < 300; r += r < 280 ? 23 : 1) alone[r] = on_rows(&layer, r, 1).out[0];
      for (size_t m = 0; m < sizeof some / sizeof *some; m++) {
        const float *y = FLOATS(on_rows(&layer, 300 - some[m], some[m]).out[0]);
        for (int64_t r = 300 - some[m]; r < 300; r++, y += n[0])
          if (alone[r].data) check(memcmp(y, alone[r].data, bytes) == 0, "format %d: row %ld of %ld differs from it alone", kinds[i].number, (long)r, (long)some[m]);
      }
      free_layer(&layer);
    }
}

static void test_not_finite(void) {
  for (int i = 0; i < NUM_KINDS; i++)
    for (int is_nan = 0; is_nan < 2; is_nan++) {
      const int64_t n[] = {20}, k = 256;
      Layer layer = layer_of((const Kind[]){kinds[i]}, n, 1, 5, k, 0, 1);
      const Call finite = on_rows(&layer, 0, 5);
      FLOATS(layer.call.in[0])[3 * k + 77] = is_nan ? NAN : INFINITY;
      const Call call = on_rows(&layer, 0, 5);
      for (int64_t j = 0; j < 5 * n[0]; j++)
        check(j / n[0] == 3 ? !isfinite(FLOATS(call.out[0])[j]) : FLOATS(call.out[0])[j] == FLOATS(finite.out[0])[j],
              "format %d, y[%ld] is %g", kinds[i].number, (long)j, (double)FLOATS(call.out[0])[j]);
      free_layer(&layer);
    }
}

static void test_every_format(void) {
  static const int64_t rows[] = {1, 2, 16, 17, 32, 33, 70};
  for (int i = 0; i < NUM_KINDS; i++)
    for (int r = 0; r < 7; r++) {
      const int64_t n[] = {r == 0 ? 1 : 50, 7, 33}, k = kinds[i].block == 32 ? (const int64_t[]){32, 96, 416}[r % 3] : 256 * (1 + r % 3);
      compare((const Kind[]){kinds[i]}, n, 1, rows[r], k, 0, 1 + r % 2);
      compare((const Kind[]){kinds[i], kinds[i]}, (const int64_t[]){n[0], n[0]}, 2, rows[r], k, 1, 2 - r % 2);
    }
}

static void test_mixture(void) {
  for (int64_t rows = 1; rows <= 40; rows += 13) compare((const Kind[]){kinds[5], kinds[4], kinds[7]}, (const int64_t[]){40, 7, 33}, 3, rows, 768, 0, 2);
  compare((const Kind[]){kinds[1]}, (const int64_t[]){48}, 1, 300, 544, 0, 2);
  compare((const Kind[]){kinds[1]}, (const int64_t[]){33}, 1, 1, 544, 0, 1);
}

/* Layers large enough to be shared out among threads. */
static void test_shared_out(void) {
  for (int64_t rows = 1; rows <= 17; rows += 16) {
    compare((const Kind[]){kinds[1]}, (const int64_t[]){2503}, 1, rows, 1024, 0, 2);
    compare((const Kind[]){kinds[2], kinds[2]}, (const int64_t[]){1259, 1259}, 2, rows, 1024, 1, 3);
  }
}

static void test_refusals(void) {
  Tensor blocks = random_blocks(kinds[1], 4, 64, 1), ids = tensor_of(8, SHAPE(1));
  Call call = {.table = op.table, .name = op.name, .ints = {1, 0, 1, 64, 4, 0, 0, 0, 8}, .num_inputs = 8};
  call.in[0] = WAVES(1, 1, 64), call.in[7] = blocks;
  check(run_op(&call) != NULL, "blocks of another format's size are not refused");
  call.ints[8] = 5;
  check(run_op(&call) != NULL, "an unknown format is not refused");
  for (int64_t id = -1; id <= 4; id += 5) {
    LONGS(ids)[0] = id;
    Call gather = {.table = az_gather_blocks_ops, .name = "GatherBlockGroups", .ints = {64, 3}, .in = {blocks, ids}, .num_inputs = 2};
    check(run_op(&gather) != NULL, "row %ld of 4 is not refused", (long)id);
  }
}

static void test_gather(void) {
  for (int i = 0; i < NUM_KINDS; i++) {
    const int64_t width = 3 * kinds[i].block;
    Tensor blocks = random_blocks(kinds[i], 37, width, 3), ids = tensor_of(8, SHAPE(5));
    double *w = dequantised(kinds[i], blocks, 37, width);
    const int64_t chosen[] = {36, 0, 31, 2, 32};
    memcpy(ids.data, chosen, sizeof chosen);
    Call call = {.table = az_gather_blocks_ops, .name = "GatherBlockGroups", .ints = {width, kinds[i].number}, .in = {grouped(kinds[i], blocks, 37, width), ids}, .num_inputs = 2};
    must_run(&call);
    for (int64_t j = 0; j < 5 * width; j++) {
      const double value = w[chosen[j / width] * width + j % width], got = FLOATS(call.out[0])[j];
      check(got == (float)value, "format %d, value %ld is %g, expected %g", kinds[i].number, (long)j, got, value);
    }
    free(w);
  }
}

/* test_each of a test: with each op and level of this machine. */
#define WITH_EACH_OP(test)                                                                                             \
  static void test##_each(void) {                                                                                      \
    FOR_LEVELS(at, az_float_blocks_ops) {                                                                              \
      op.name = "FloatBlockGroups", op.table = at->table, op.level = at->level, op.is_rounded = 0;                     \
      begin_level(at->level);                                                                                          \
      test();                                                                                                          \
    }                                                                                                                  \
    WITH_MATRIX_UNIT(test)                                                                                             \
  }
#if defined(__x86_64__)
extern const Op az_decode_blocks_ops[];
#define WITH_MATRIX_UNIT(test)                                                                                         \
  if (has_level(LEVEL_AMX)) {                                                                                          \
    op.name = "DecodeBlockGroups", op.table = az_decode_blocks_ops, op.level = LEVEL_AMX, op.is_rounded = 1;           \
    begin_level(LEVEL_AMX);                                                                                            \
    test();                                                                                                            \
  }
#else
#define WITH_MATRIX_UNIT(test)
#endif
WITH_EACH_OP(test_every_format)
WITH_EACH_OP(test_rows_alone)
WITH_EACH_OP(test_not_finite)
WITH_EACH_OP(test_mixture)
WITH_EACH_OP(test_shared_out)
WITH_EACH_OP(test_refusals)

const Test blocks_tests[] = {
    {"linear layers on blocks of every format compute with exact weights", test_every_format_each, LEVEL_PORTABLE},
    {"a row has the same bits alone and among any others", test_rows_alone_each, LEVEL_PORTABLE},
    {"what is not finite stays so, in its row", test_not_finite_each, LEVEL_PORTABLE},
    {"layers of one input may be stored in several formats, and meet many rows", test_mixture_each, LEVEL_PORTABLE},
    {"large layers are shared out among threads", test_shared_out_each, LEVEL_PORTABLE},
    {"rows of a table of blocks are the float32 numbers that they stand for", test_gather, LEVEL_PORTABLE},
    {"blocks of the wrong size, unknown formats and ids outside a table are refused", test_refusals_each, LEVEL_PORTABLE},
    {0},
};
