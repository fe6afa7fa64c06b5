/*
 * The block formats of ggml (src/model/files/ggml-blocks.ts says what their bytes mean) as operands of tile products. A value of a block is
 * first·q + second, where q is a small integer, exact in bfloat16. Tiles hold q; the factors, exact too, are applied to sums over a block.
 *
 * Blocks lie in the layout of src/engine/runtime/block-layout.ts: groups of 16 rows (output features), in a group one block of each row after
 * the other, and of 16 blocks together 16 times the first unit, 16 times the second, and so on: what a block has from byte o on begins
 * at byte 16·o of the 16. Units are four bytes, but the halves d and m two.
 */
#ifndef AZ_GGML_BLOCKS_H
#define AZ_GGML_BLOCKS_H
#include <math.h>
#include "decode_tile.h"

/* As `BLOCK_FORMATS` numbers them: the type numbers of ggml. */
enum { Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q4_K = 12, Q5_K = 13, Q6_K = 14, NUM_BLOCK_FORMATS };

enum { GROUP = 16 };

typedef struct {
  int block, bytes;  /* values and bytes of a block */
  int halves, place; /* its units of two bytes, and the byte at which they begin */
  /* The values of a block, as it lies in a file, in float32. */
  void (*values)(const uint8_t *block, float *to);
} BlockFormat;

/*
 * q of 16 output features × 32 inputs as right operand: row p is 16 features × the inputs 4u + v and 4u + v + 2, where p = 2u + v. Factors
 * of the features: value = first·q, plus second where the format has that; Q6_K has two, of the first and the last 16 inputs.
 */
typedef struct {
  bf16 q[TILE];
  float first[16], second[16];
} Piece ALIGNED;

/* What `second` is. */
typedef enum { ONE_FACTOR, WITH_SECOND, TWO_HALVES } Factors;
INLINE Factors factors_of(int format) {
  if (format == Q6_K) return TWO_HALVES;
  return format == Q4_0 || format == Q5_0 || format == Q8_0 ? ONE_FACTOR : WITH_SECOND;
}

static inline float half_at(const uint8_t *p) {
  return _mm512_cvtss_f32(_mm512_cvtph_ps(_mm256_castsi128_si256(_mm_cvtsi32_si128(p[0] | p[1] << 8))));
}

/* Units of 16 rows: four bytes, or halves. */
static inline __m512i fours(const uint8_t *p) { return _mm512_loadu_si512(p); }
static inline __m512 halves(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
static inline void put_row(bf16 *tile, int row, __m512i q) { _mm512_store_si512((void *)(tile + 32 * row), q); }

/* A constant that stays in a register: the compiler would load it again and again. */
INLINE __m512i keep(__m512i x) {
  __asm__("" : "+v"(x));
  return x;
}

/* offset, offset + 1, … offset + `count` − 1 in bfloat16, again from there on. */
INLINE __m512i numbers(int offset, int count) {
  bf16 table[32] ALIGNED;
  for (int i = 0; i < 32; i++) {
    union {
      float f;
      uint32_t bits;
    } number = {.f = (float)(offset + i % count)};
    table[i] = (bf16)(number.bits >> 16);
  }
  return keep(_mm512_load_si512(table));
}
INLINE __m512i number_of(__m512i table, __m512i index) { return _mm512_permutexvar_epi16(index, table); }

/* Each 16 bits shifted right, or left where `by` is negative; bits come in from the neighbour. */
INLINE __m512i turn_words(__m512i x, int by) {
  static const int8_t words[64] ALIGNED = {0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 32, 40,
                                           48, 56, 0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24,
                                           32, 40, 48, 56, 0, 8, 16, 24, 32, 40, 48, 56, 0, 8, 16, 24, 32, 40, 48, 56};
  return _mm512_multishift_epi64_epi8(_mm512_add_epi8(_mm512_load_si512(words), _mm512_set1_epi8((char)by)), x);
}
/* Bits of `low` where `mask` has ones, else of `high`. */
INLINE __m512i choose(__m512i mask, __m512i low, __m512i high) { return _mm512_ternarylogic_epi32(mask, low, high, 0xca); }

/* --- q of 32 inputs */

/* 16 bytes of a row: values 0 … 15 in their low and 16 … 31 in their high four bits. */
INLINE void put_nibbles(const uint8_t *lines, __m512i table, bf16 *tile) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++, lines += 64) {
    const __m512i x = fours(lines);
    put_row(tile, 2 * i, number_of(table, x));
    put_row(tile, 2 * i + 1, number_of(table, _mm512_srli_epi16(x, 8)));
    put_row(tile, 2 * i + 8, number_of(table, _mm512_srli_epi16(x, 4)));
    put_row(tile, 2 * i + 9, number_of(table, _mm512_srli_epi16(x, 12)));
  }
}
/* The same with the fifth bit of value i as bit i of four bytes. */
INLINE void put_fives(const uint8_t *lines, __m512i fifths, __m512i table, bf16 *tile) {
  static const int8_t pairs[64] ALIGNED = {0, 0, 2, 0, 32, 0, 34, 0, 0, 0, 2, 0, 32, 0, 34, 0, 0, 0, 2, 0, 32, 0,
                                           34, 0, 0, 0, 2, 0, 32, 0, 34, 0, 0, 0, 2, 0, 32, 0, 34, 0, 0, 0, 2, 0,
                                           32, 0, 34, 0, 0, 0, 2, 0, 32, 0, 34, 0, 0, 0, 2, 0, 32, 0, 34, 0};
  const __m512i of_pairs = _mm512_load_si512(pairs), low = keep(_mm512_set1_epi16(15));
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++, lines += 64) {
    const __m512i x = fours(lines);
    const __m512i nibbles[4] = {x, _mm512_srli_epi16(x, 8), _mm512_srli_epi16(x, 4), _mm512_srli_epi16(x, 12)};
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      const int row = 2 * i + j % 2 + j / 2 * 8;
      const __m512i at = _mm512_add_epi8(of_pairs, _mm512_set1_epi8((char)(row / 2 * 4 + row % 2 - 4)));
      put_row(tile, row, number_of(table, choose(low, nibbles[j], _mm512_multishift_epi64_epi8(at, fifths))));
    }
  }
}
/* Two small integers in bfloat16, side by side. */
INLINE __m512i side_by_side(__m512 even, __m512 odd) {
  return choose(_mm512_set1_epi32((int)0xffff0000), _mm512_castps_si512(odd), _mm512_srli_epi32(_mm512_castps_si512(even), 16));
}
/* 32 signed bytes of a row. With a flipped sign and 0x47 two bytes above, a byte is the float32 32768 + 128 + q. */
INLINE void put_bytes(const uint8_t *lines, bf16 *tile) {
  const __m512i flip = keep(_mm512_set1_epi8((char)0x80)), top = keep(_mm512_set1_epi32(0x47000000)), middle = keep(_mm512_set1_epi32(0xff00));
  const __m512 offset = _mm512_castsi512_ps(keep(_mm512_castps_si512(_mm512_set1_ps(32896.f))));
#pragma GCC unroll 8
  for (int u = 0; u < 8; u++, lines += 64) {
    const __m512i x = _mm512_xor_si512(fours(lines), flip);
    __m512 q[4];
    for (int byte = 0; byte < 4; byte++) {
      const __m512i at = byte == 0 ? _mm512_slli_epi32(x, 8) : byte == 1 ? x : _mm512_srli_epi32(x, 8 * (byte - 1));
      q[byte] = _mm512_sub_ps(_mm512_castsi512_ps(choose(middle, at, top)), offset);
    }
    put_row(tile, 2 * u, side_by_side(q[0], q[2]));
    put_row(tile, 2 * u + 1, side_by_side(q[1], q[3]));
  }
}
/* 32 bytes of a row, each with one of the values in its low or (`is_high`) in its high four bits. */
INLINE void put_low_or_high(const uint8_t *lines, int64_t is_high, __m512i table, bf16 *tile) {
  const __m512i even = _mm512_set1_epi16((short)(4 * is_high)), odd = _mm512_set1_epi16((short)(8 + 4 * is_high));
#pragma GCC unroll 8
  for (int u = 0; u < 8; u++, lines += 64) {
    const __m512i x = fours(lines);
    put_row(tile, 2 * u, number_of(table, _mm512_srlv_epi16(x, even)));
    put_row(tile, 2 * u + 1, number_of(table, _mm512_srlv_epi16(x, odd)));
  }
}
/* The same with the fifth bit of each as bit `bit` of another 32 bytes. */
INLINE void put_low_or_high_fives(const uint8_t *lines, int64_t is_high, const uint8_t *fifths, int64_t bit, __m512i table, bf16 *tile) {
  const __m512i even = _mm512_set1_epi16((short)(4 * is_high)), odd = _mm512_set1_epi16((short)(8 + 4 * is_high));
  const __m512i low = keep(_mm512_set1_epi16(15));
#pragma GCC unroll 8
  for (int u = 0; u < 8; u++, lines += 64, fifths += 64) {
    const __m512i x = fours(lines), y = fours(fifths);
    put_row(tile, 2 * u, number_of(table, choose(low, _mm512_srlv_epi16(x, even), turn_words(y, (int)bit - 4))));
    put_row(tile, 2 * u + 1, number_of(table, choose(low, _mm512_srlv_epi16(x, odd), turn_words(y, (int)bit + 4))));
  }
}
/* The same with two more bits of each as bits `bit` and `bit` + 1 of another 32 bytes. */
INLINE void put_sixes(const uint8_t *lines, int64_t is_high, const uint8_t *twos, int64_t bit, bf16 *tile) {
  const __m512i even = _mm512_set1_epi16((short)(4 * is_high)), odd = _mm512_set1_epi16((short)(8 + 4 * is_high));
  const __m512i low = keep(_mm512_set1_epi16(15)), negative = numbers(-32, 32), positive = numbers(0, 32);
#pragma GCC unroll 8
  for (int u = 0; u < 8; u++, lines += 64, twos += 64) {
    const __m512i x = fours(lines), y = fours(twos);
    const __m512i first = choose(low, _mm512_srlv_epi16(x, even), turn_words(y, (int)bit - 4));
    const __m512i second = choose(low, _mm512_srlv_epi16(x, odd), turn_words(y, (int)bit + 4));
    put_row(tile, 2 * u, _mm512_permutex2var_epi16(negative, first, positive));
    put_row(tile, 2 * u + 1, _mm512_permutex2var_epi16(negative, second, positive));
  }
}

/* --- factors */

INLINE void put_factors(Piece *to, __m512 first, __m512 second) {
  _mm512_store_ps(to->first, first);
  _mm512_store_ps(to->second, second);
}
static inline __m512i bits_of(__m512i from, int64_t first, int mask) {
  return _mm512_and_si512(_mm512_srl_epi32(from, _mm_cvtsi64_si128(first)), _mm512_set1_epi32(mask));
}
/* d·s and −m·l of inputs 32·g … of blocks with 12 bytes of 6-bit numbers from their byte 4 on: six_bit_scales of 16 rows. */
INLINE void put_six_bit_factors(const uint8_t *block, int64_t g, Piece *to) {
  const __m512i first = fours(block + 64), second = fours(block + 128), third = fours(block + 192);
  const int64_t bit = g % 4 * 8;
  const __m512i s = g < 4 ? bits_of(first, bit, 63) : _mm512_or_si512(bits_of(third, bit, 15), bits_of(first, bit + 2, 48));
  const __m512i l = g < 4 ? bits_of(second, bit, 63) : _mm512_or_si512(bits_of(third, bit + 4, 15), bits_of(second, bit + 2, 48));
  const __m512 d = halves(block), minus = _mm512_sub_ps(_mm512_setzero_ps(), halves(block + 32));
  put_factors(to, _mm512_mul_ps(d, _mm512_cvtepi32_ps(s)), _mm512_mul_ps(minus, _mm512_cvtepi32_ps(l)));
}
/* d·s of each 16 inputs. */
INLINE void put_half_factors(const uint8_t *block, int64_t g, Piece *to) {
  const __m512i s = _mm512_srl_epi32(fours(block + 16 * 192 + g / 2 * 64), _mm_cvtsi64_si128(g % 2 * 16));
  const __m512 d = halves(block + 16 * 208);
  put_factors(to, _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(s, 24), 24))),
              _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(s, 16), 24))));
}

/* Inputs 32·t … of a group: numbers and factors. */
INLINE void make_piece(int format, const uint8_t *group, int64_t t, Piece *to) {
  const int64_t g = t % 8;
  const uint8_t *block;
#define BLOCK(size, count) block = group + t / (count) * (16 * (size))
  switch (format) {
  case Q4_0:
    BLOCK(18, 1);
    put_nibbles(block + 16 * 2, numbers(-8, 16), to->q);
    _mm512_store_ps(to->first, halves(block));
    break;
  case Q4_1:
    BLOCK(20, 1);
    put_nibbles(block + 16 * 4, numbers(0, 16), to->q);
    put_factors(to, halves(block), halves(block + 32));
    break;
  case Q5_0:
    BLOCK(22, 1);
    put_fives(block + 16 * 6, fours(block + 16 * 2), numbers(-16, 32), to->q);
    _mm512_store_ps(to->first, halves(block));
    break;
  case Q5_1:
    BLOCK(24, 1);
    put_fives(block + 16 * 8, fours(block + 16 * 4), numbers(0, 32), to->q);
    put_factors(to, halves(block), halves(block + 32));
    break;
  case Q8_0:
    BLOCK(34, 1);
    put_bytes(block + 16 * 2, to->q);
    _mm512_store_ps(to->first, halves(block));
    break;
  case Q4_K:
    BLOCK(144, 8);
    put_low_or_high(block + 16 * (16 + g / 2 * 32), g % 2, numbers(0, 16), to->q);
    put_six_bit_factors(block, g, to);
    break;
  case Q5_K:
    BLOCK(176, 8);
    put_low_or_high_fives(block + 16 * (48 + g / 2 * 32), g % 2, block + 16 * 16, g, numbers(0, 32), to->q);
    put_six_bit_factors(block, g, to);
    break;
  case Q6_K:
    BLOCK(210, 8);
    put_sixes(block + 16 * (g / 4 * 64 + g % 2 * 32), g % 4 / 2, block + 16 * (128 + g / 4 * 32), g % 4 * 2, to->q);
    put_half_factors(block, g, to);
    break;
  }
#undef BLOCK
}

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
#endif
