/*
 * The block formats of ggml (src/model/files/ggml-blocks.ts says what their bytes mean). A value of a block is first·q + second, where q is a small
 * integer, exact in bfloat16, and the factors are exact in float32.
 *
 * Blocks lie in the layout of src/engine/runtime/block-layout.ts: groups of 16 rows (output features), in a group one block of each row after
 * the other, and of 16 blocks together 16 times the first unit, 16 times the second, and so on: what a block has from byte o on begins
 * at byte 16·o of the 16. Units are four bytes, but the halves d and m two. The last rows of a matrix, if fewer than 16, lie as in a file.
 */
#ifndef AZ_GGML_FORMATS_H
#define AZ_GGML_FORMATS_H
#include <math.h>
#include "lanes.h"

/* As `BLOCK_FORMATS` numbers them: the type numbers of ggml. */
enum { Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q4_K = 12, Q5_K = 13, Q6_K = 14, NUM_BLOCK_FORMATS };

enum { GROUP = 16 };

typedef struct {
  int block, bytes;  /* values and bytes of a block */
  int halves, place; /* its units of two bytes, and the byte at which they begin */
  /* The values of a block, as it lies in a file, in float32. */
  void (*values)(const uint8_t *block, float *to);
} BlockFormat;

/* A half as float32: its bits are those of a float32 of another bias. */
static inline float half_of(uint16_t half) {
  const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
  float value;
  memcpy(&value, &magnitude, 4);
  value *= 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits |= sign | (magnitude >= 0x0f800000 ? 0x7f800000 : 0); /* neither infinities nor what is no number have another exponent */
  memcpy(&value, &bits, 4);
  return value;
}
static inline float half_at(const uint8_t *p) { return half_of((uint16_t)(p[0] | p[1] << 8)); }

/* --- whole blocks in float32 */

static inline float sum_of(float first, int q, float second) { return fmaf(first, (float)q, second); }

static void values_q4_0(const uint8_t *b, float *to) {
  for (int i = 0; i < 16; i++) {
    to[i] = half_at(b) * (float)((b[2 + i] & 15) - 8);
    to[16 + i] = half_at(b) * (float)((b[2 + i] >> 4) - 8);
  }
}
static void values_q4_1(const uint8_t *b, float *to) {
  for (int i = 0; i < 16; i++) {
    to[i] = sum_of(half_at(b), b[4 + i] & 15, half_at(b + 2));
    to[16 + i] = sum_of(half_at(b), b[4 + i] >> 4, half_at(b + 2));
  }
}
static inline int fifth_bit(const uint8_t *bits, int i) { return (bits[i / 8] >> i % 8 & 1) << 4; }
static void values_q5_0(const uint8_t *b, float *to) {
  for (int i = 0; i < 16; i++) {
    to[i] = half_at(b) * (float)(((b[6 + i] & 15) | fifth_bit(b + 2, i)) - 16);
    to[16 + i] = half_at(b) * (float)((b[6 + i] >> 4 | fifth_bit(b + 2, 16 + i)) - 16);
  }
}
static void values_q5_1(const uint8_t *b, float *to) {
  for (int i = 0; i < 16; i++) {
    to[i] = sum_of(half_at(b), (b[8 + i] & 15) | fifth_bit(b + 4, i), half_at(b + 2));
    to[16 + i] = sum_of(half_at(b), b[8 + i] >> 4 | fifth_bit(b + 4, 16 + i), half_at(b + 2));
  }
}
static void values_q8_0(const uint8_t *b, float *to) {
  for (int i = 0; i < 32; i++) to[i] = half_at(b) * (float)(int8_t)b[2 + i];
}
/* d·s and −m·l of group g of a block with 12 bytes of 6-bit numbers from its byte 4 on. */
static inline void six_bit_scales(const uint8_t *block, int64_t g, float *scales) {
  const uint8_t *packed = block + 4;
  const int s = g < 4 ? packed[g] & 63 : (packed[4 + g] & 15) | (packed[g - 4] >> 2 & 48);
  const int l = g < 4 ? packed[4 + g] & 63 : packed[4 + g] >> 4 | (packed[g] >> 2 & 48);
  scales[0] = half_at(block) * (float)s;
  scales[1] = -(half_at(block + 2) * (float)l);
}
static void values_q4_k(const uint8_t *b, float *to) {
  float s[2];
  for (int i = 0; i < 256; i++) {
    const int g = i / 32;
    six_bit_scales(b, g, s);
    to[i] = sum_of(s[0], b[16 + g / 2 * 32 + i % 32] >> g % 2 * 4 & 15, s[1]);
  }
}
static void values_q5_k(const uint8_t *b, float *to) {
  float s[2];
  for (int i = 0; i < 256; i++) {
    const int g = i / 32, low = b[48 + g / 2 * 32 + i % 32] >> g % 2 * 4 & 15;
    six_bit_scales(b, g, s);
    to[i] = sum_of(s[0], low | (b[16 + i % 32] >> g & 1) << 4, s[1]);
  }
}
/* d·s of 16 values. */
static inline float sixteenth(const uint8_t *block, int64_t i) { return half_at(block + 208) * (float)(int8_t)block[192 + i]; }
static void values_q6_k(const uint8_t *b, float *to) {
  for (int i = 0; i < 256; i++) {
    const int g = i / 32, side = g / 4, quarter = g % 4;
    const int low = b[side * 64 + quarter % 2 * 32 + i % 32] >> quarter / 2 * 4 & 15, two = b[128 + side * 32 + i % 32] >> 2 * quarter & 3;
    to[i] = sixteenth(b, i / 16) * (float)((low | two << 4) - 32);
  }
}

static const BlockFormat block_formats[NUM_BLOCK_FORMATS] = {
    [Q4_0] = {32, 18, 1, 0, values_q4_0},   [Q4_1] = {32, 20, 2, 0, values_q4_1},   [Q5_0] = {32, 22, 1, 0, values_q5_0},
    [Q5_1] = {32, 24, 2, 0, values_q5_1},   [Q8_0] = {32, 34, 1, 0, values_q8_0},   [Q4_K] = {256, 144, 2, 0, values_q4_k},
    [Q5_K] = {256, 176, 2, 0, values_q5_k}, [Q6_K] = {256, 210, 1, 208, values_q6_k},
};

#define EACH_FORMAT(of) of(Q4_0, q4_0) of(Q4_1, q4_1) of(Q5_0, q5_0) of(Q5_1, q5_1) of(Q8_0, q8_0) of(Q4_K, q4_k) of(Q5_K, q5_k) of(Q6_K, q6_k)

/* Copies the units of a block of a group's row `row` from the row's own block into the 16 of the group, or back. */
INLINE void each_unit(const BlockFormat *format, int64_t row, uint8_t *block, uint8_t *sixteen, int is_to_block) {
  for (int64_t at = 0, size; at < format->bytes; at += size) {
    size = at >= format->place && at < format->place + 2 * format->halves ? 2 : 4;
    uint8_t *unit = sixteen + 16 * at + row * size;
    memcpy(is_to_block ? block + at : unit, is_to_block ? unit : block + at, (size_t)size);
  }
}

/* The format of a number, for rows of `width` values. */
static inline const BlockFormat *format_of(Ctx *c, int64_t number, int64_t width) {
  const BlockFormat *format = block_formats + number;
  if (number < 0 || number >= NUM_BLOCK_FORMATS || format->block == 0) az_fail(c, "no such format of blocks");
  if (width % format->block) az_fail(c, "rows are no multiple of a block");
  return format;
}

/* The last rows of a matrix are in the order of the file: `copy` has them in that of a group, filled up with zeros. */
static __attribute__((noinline, unused)) void fill_group(const BlockFormat *format, int64_t num_blocks, const uint8_t *rows, int64_t count, uint8_t *copy) {
  const int64_t bytes = format->bytes;
  memset(copy, 0, (size_t)(GROUP * num_blocks * bytes));
  for (int64_t i = 0; i < count * num_blocks; i++)
    each_unit(format, i / num_blocks, (uint8_t *)rows + i * bytes, copy + i % num_blocks * GROUP * bytes, 0);
}
#endif
