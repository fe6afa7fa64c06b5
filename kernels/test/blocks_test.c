/* Linear layers on stored blocks: the same bits as on the dequantised matrix, whose values are worked out here in float64. */
#include "harness.h"
#if defined(__x86_64__)

extern const Op az_decode_blocks_ops[], az_decode_linear_ops_amx[], az_decode_pack_ops_amx[];

/* Numbers, blocks and bytes as in ggml; head: where the quantised values begin. */
typedef struct {
  int number, block, bytes;
} Kind;
static const Kind kinds[] = {{2, 32, 18}, {3, 32, 20}, {6, 32, 22}, {7, 32, 24}, {8, 32, 34}, {12, 256, 144}, {13, 256, 176}, {14, 256, 210}};
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

static Tensor dequantised(Kind kind, Tensor blocks, int64_t n, int64_t k) {
  Tensor w = tensor_of(4, SHAPE(n, k));
  for (int64_t i = 0; i < n * k; i++)
    FLOATS(w)[i] = (float)value_of(kind, (const uint8_t *)blocks.data + i / kind.block * kind.bytes, (int)(i % kind.block));
  return w;
}

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

enum { PARTS = 3 };

/* Both kernels on the same layers; parts may be stored in several formats. */
static void compare(const Kind *of, const int64_t *n, int parts, int64_t rows, int64_t k, int is_gated, int threads) {
  Call stored = {.table = az_decode_blocks_ops, .name = "DecodeBlocks", .ints = {threads, is_gated, rows, k}, .floats = {1e-5f}, .num_inputs = 7 + parts};
  Tensor w[PARTS];
  stored.in[0] = WAVES(1, rows, k);
  if (rows % 2) stored.in[1] = WAVES(2, k);
  if (parts == 1) stored.in[2] = WAVES(3, rows, n[0]);
  for (int p = 0; p < parts; p++) {
    stored.ints[4 + p] = n[p];
    if (p != 1) stored.in[3 + p] = WAVES(4 + p, n[p]);
  }
  Call packed = stored;
  packed.table = az_decode_linear_ops_amx, packed.name = "DecodeLinear";
  for (int p = 0; p < parts; p++) {
    stored.ints[8 + p] = of[p].number;
    stored.in[7 + p] = random_blocks(of[p], n[p], k, p + 1);
    w[p] = dequantised(of[p], stored.in[7 + p], n[p], k);
    Call pack = {.table = az_decode_pack_ops_amx, .name = "DecodePack", .in = {w[p]}, .num_inputs = 1};
    must_run(&pack);
    packed.in[7 + p] = pack.out[0];
  }
  must_run(&stored);
  must_run(&packed);
  for (int p = 0; p < (is_gated ? 1 : parts); p++) check_same("y", stored.out[p], packed.out[p], sizeof(float));
  Call reversed = stored;
  memset(reversed.out, 0, sizeof reversed.out);
  reversed.is_reversed = 1;
  must_run(&reversed);
  check_same("y of tasks in reverse", stored.out[0], reversed.out[0], sizeof(float));
  if (is_gated || rows % 2) return;
  double *y = malloc(sizeof(double) * (size_t)(rows * n[0]));
  for (int64_t i = 0; i < rows * n[0]; i++) {
    const float *x = FLOATS(stored.in[0]) + i / n[0] * k, *v = FLOATS(w[0]) + i % n[0] * k;
    y[i] = stored.in[2].data ? FLOATS(stored.in[2])[i] : 0;
    y[i] += FLOATS(stored.in[3])[i % n[0]];
    for (int64_t j = 0; j < k; j++) y[i] += (double)from_half(to_half(x[j])) * from_half(to_half(v[j]));
  }
  check_close("y", stored.out[0], y, 1e-5);
  free(y);
}

static void test_every_format(void) {
  static const int64_t rows[] = {1, 2, 16, 17, 32, 33, 70};
  for (int i = 0; i < NUM_KINDS; i++)
    for (int r = 0; r < 7; r++) {
      const int64_t n[] = {r == 0 ? 1 : 50, 7, 33}, k = (kinds[i].block == 32 ? 32 : 256) * (r % 3 == 0 ? 1 : r % 3 == 1 ? 3 : 9);
      compare((const Kind[]){kinds[i]}, n, 1, rows[r], k, 0, 1 + r % 2);
      compare((const Kind[]){kinds[i], kinds[i]}, (const int64_t[]){n[0], n[0]}, 2, rows[r], k, 1, 2 - r % 2);
    }
}

static void test_mixture(void) {
  for (int64_t rows = 1; rows <= 40; rows += 13) compare((const Kind[]){kinds[5], kinds[4], kinds[7]}, (const int64_t[]){40, 7, 33}, 3, rows, 768, 0, 2);
  compare((const Kind[]){kinds[1]}, (const int64_t[]){48}, 1, 300, 544, 0, 2);
  compare((const Kind[]){kinds[1]}, (const int64_t[]){33}, 1, 1, 544, 0, 1);
}

static void test_refusals(void) {
  Tensor blocks = random_blocks(kinds[1], 4, 64, 1), ids = tensor_of(8, SHAPE(1));
  Call call = {.table = az_decode_blocks_ops, .name = "DecodeBlocks", .ints = {1, 0, 1, 64, 4, 0, 0, 0, 8}, .num_inputs = 8};
  call.in[0] = WAVES(1, 1, 64), call.in[7] = blocks;
  check(run_op(&call) != NULL, "blocks of another format's size are not refused");
  call.ints[8] = 5;
  check(run_op(&call) != NULL, "an unknown format is not refused");
  for (int64_t id = -1; id <= 4; id += 5) {
    LONGS(ids)[0] = id;
    Call gather = {.table = az_decode_blocks_ops, .name = "GatherBlocks", .ints = {64, 3}, .in = {blocks, ids}, .num_inputs = 2};
    check(run_op(&gather) != NULL, "row %ld of 4 is not refused", (long)id);
  }
}

static void test_gather(void) {
  for (int i = 0; i < NUM_KINDS; i++) {
    const int64_t width = 3 * kinds[i].block;
    Tensor blocks = random_blocks(kinds[i], 5, width, 3), ids = tensor_of(8, SHAPE(4)), w = dequantised(kinds[i], blocks, 5, width);
    const int64_t chosen[] = {4, 0, 4, 2};
    memcpy(ids.data, chosen, sizeof chosen);
    Call call = {.table = az_decode_blocks_ops, .name = "GatherBlocks", .ints = {width, kinds[i].number}, .in = {blocks, ids}, .num_inputs = 2};
    must_run(&call);
    for (int64_t r = 0; r < 4; r++)
      for (int64_t j = 0; j < width; j++)
        check(FLOATS(call.out[0])[r * width + j] == FLOATS(w)[chosen[r] * width + j], "format %d, value %ld is %g, expected %g", kinds[i].number,
              (long)j, (double)FLOATS(call.out[0])[r * width + j], (double)FLOATS(w)[chosen[r] * width + j]);
  }
}

const Test blocks_tests[] = {
    {"linear layers on blocks of every format have the bits of the dequantised matrix", test_every_format, LEVEL_AMX},
    {"layers of one input may be stored in several formats, and meet many rows", test_mixture, LEVEL_AMX},
    {"rows of a table of blocks are the float32 numbers that they stand for", test_gather, LEVEL_AMX},
    {"blocks of the wrong size, unknown formats and ids outside a table are refused", test_refusals, LEVEL_AMX},
    {0},
};
#endif
