/*
 * The blocks of ggml_formats.h as operands of tile products: tiles hold q, and the factors are applied to sums over a block.
 */
#ifndef AZ_GGML_BLOCKS_H
#define AZ_GGML_BLOCKS_H
#include "decode_tile.h"
#include "ggml_formats.h"

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
#endif
