/*
 * Tiles of weights and of directions that weights move along in fewer bits than bfloat16, in the same order (TILE numbers, two of a pair of
 * input features beside each other), to be widened right before their products.
 *
 * Of a direction, in 5 bits a number: sixteen exponents, one an output feature, and the codes of 16 × 32 numbers, of which every 32 of one
 * output feature share its exponent E (a block floating-point format). Code 16·s + i stands for (−1)ˢ·(i + ½)·2^(E − 126): no zero is needed, halves of a step are exact in
 * bfloat16, and that number's bits are those of a table plus E in the exponent's place. Number j of the tile's row r (of 32) is in bits
 * 5·(r % 3) … of word j of vector r / 3; of row 15 bit i is bit 15 of vector i. E = 0 and i = 0 is zero.
 *
 * Of a weight, in 8 bits a number: sixteen scales (float32), one an output feature, and 512 integers; a number is its integer times its
 * scale, which is a 127th of the greatest of the 32 it is shared by.
 *
 * What a sum of products needs of a direction is little, of a head's weights more: docs/kernels.md, “Directions”.
 */
#ifndef AZ_SHORT_TILE_H
#define AZ_SHORT_TILE_H
#include <math.h>
#include "tile.h"

enum { BYTE_TILE = 64 + TILE, MOVE_VECTORS = 5, MOVE_TILE = 16 + 64 * MOVE_VECTORS, MOVE_MOST = 15 };

/* What is not finite becomes not a number, with the 31 beside it. */
enum { NOT_FINITE_EXPONENT = 254, NOT_FINITE_CODE = 1 };

static inline void put_code(uint16_t *vectors, int row, int word, int code) {
  if (row < 3 * MOVE_VECTORS) vectors[row / 3 * 32 + word] |= (uint16_t)(code << row % 3 * 5);
  else
    for (int i = 0; i < MOVE_VECTORS; i++) vectors[i * 32 + word] |= (uint16_t)((code >> i & 1) << 15);
}

/* The greatest size of some numbers; not a number where one is not. */
static inline float greatest_size(const float *w, int64_t count) {
  uint32_t greatest = 0; /* as integers: not-a-numbers are the greatest */
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, w + i, 4);
    greatest = MAX(greatest, bits & 0x7fffffff);
  }
  float size;
  memcpy(&size, &greatest, 4);
  return size;
}

/* Up to 32 numbers of an output feature (0 … 15) of a direction into a tile of zeros. */
static inline void shorten_move(const float *w, int64_t count, int feature, uint8_t *tile) {
  uint16_t *vectors = (uint16_t *)(tile + 16);
  const float greatest = greatest_size(w, MIN(count, 32));
  if (greatest == 0) return;
  const int is_finite = isfinite(greatest) != 0, exponent = is_finite ? MAX(ilogbf(greatest) + 123, 1) : NOT_FINITE_EXPONENT;
  tile[feature] = (uint8_t)exponent;
  const float steps = ldexpf(1, 126 - exponent);
  for (int i = 0; i < MIN(count, 32); i++) {
    /* Zeros take signs in turn. */
    const int is_negative = w[i] == 0 ? i / 2 % 2 : w[i] < 0, size = is_finite ? (int)MIN(fabsf(w[i]) * steps, (float)MOVE_MOST) : NOT_FINITE_CODE;
    put_code(vectors, i / 2, 2 * feature + i % 2, 16 * is_negative + size);
  }
}

/* The nearest integer of 8 bits, whose size is at most 127 but where q is not a number. */
static inline int8_t byte_of(float q) { return q != q ? -128 : (int8_t)lrintf(MIN(127, MAX(-127, q))); }

/* The same of a weight. */
static inline void shorten_weight(const float *w, int64_t count, int feature, uint8_t *tile) {
  const float scale = greatest_size(w, MIN(count, 32)) / 127, inverse = scale > 0 ? 1 / scale : 0;
  memcpy(tile + 4 * feature, &scale, 4);
  int8_t *to = (int8_t *)tile + 64 + 2 * feature;
  for (int i = 0; i < MIN(count, 32); i++) to[32 * (i / 2) + i % 2] = byte_of(w[i] * inverse);
}

/* A tile of a weight as bfloat16. */
static inline void widen_weight(const uint8_t *from, bf16 *to) {
  Vec first, second; /* scales, each twice: of the two of a pair */
  v_load_twice((const float *)from, &first, &second);
  for (int i = 0; i < 16; i++) {
    const int8_t *q = (const int8_t *)from + 64 + 32 * i;
    b_store(to + 32 * i, v_narrow2(v_mul(v_load_bytes(q), first), v_mul(v_load_bytes(q + 16), second)));
  }
}

/* A tile of a direction as bfloat16. */
static inline void widen_move(const uint8_t *from, bf16 *to) {
#if defined(__AVX512BW__)
  /* Of 2i + 1, without the exponent of 1; of the second sixteen the negatives. */
#define SIXTEEN(s)                                                                                                     \
  s, s | 0xc0, s | 0x120, s | 0x160, s | 0x190, s | 0x1b0, s | 0x1d0, s | 0x1f0, s | 0x208, s | 0x218, s | 0x228, s | 0x238, s | 0x248, s | 0x258, s | 0x268, s | 0x278
  static const uint16_t numbers[32] ALIGNED = {SIXTEEN(0), SIXTEEN(0x8000)};
#undef SIXTEEN
  const __m512i table = _mm512_load_si512(numbers);
  __m512i exponents = _mm512_slli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from)), 7), last = _mm512_setzero_si512();
  exponents = _mm512_or_si512(exponents, _mm512_slli_epi32(exponents, 16));
#pragma GCC unroll 5
  for (int i = 0; i < MOVE_VECTORS; i++) {
    const __m512i codes = _mm512_loadu_si512(from + 16 + 64 * i);
    const __m512i second = _mm512_srli_epi16(codes, 5), third = _mm512_srli_epi16(codes, 10);
    _mm512_storeu_si512(to + 96 * i, _mm512_add_epi16(_mm512_permutexvar_epi16(codes, table), exponents));
    _mm512_storeu_si512(to + 96 * i + 32, _mm512_add_epi16(_mm512_permutexvar_epi16(second, table), exponents));
    _mm512_storeu_si512(to + 96 * i + 64, _mm512_add_epi16(_mm512_permutexvar_epi16(third, table), exponents));
    last = _mm512_or_si512(last, _mm512_and_si512(_mm512_srli_epi16(codes, 15 - i), _mm512_set1_epi16((short)(1 << i))));
  }
  _mm512_storeu_si512(to + 480, _mm512_add_epi16(_mm512_permutexvar_epi16(last, table), exponents));
#elif defined(__AVX2__)
  /* The same table by its bytes; the upper byte of a word asks for its first, which is zero. */
  const __m256i low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -64, 32, 96, -112, -80, -48, -16, 8, 24, 40, 56, 72, 88, 104, 120));
  const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2));
  const __m256i sizes = _mm256_set1_epi16(15), signs = _mm256_set1_epi16((short)0x8000);
  const __m128i features = _mm_loadu_si128((const __m128i *)from);
  for (int half = 0; half < 2; half++) {
    const __m128i twice = half ? _mm_unpackhi_epi8(features, features) : _mm_unpacklo_epi8(features, features);
    const __m256i exponents = _mm256_slli_epi16(_mm256_cvtepu8_epi16(twice), 7);
    __m256i codes[16];
    codes[15] = _mm256_setzero_si256();
    for (int i = 0; i < MOVE_VECTORS; i++) {
      const __m256i vector = _mm256_loadu_si256((const __m256i *)(from + 16 + 64 * i + 32 * half));
      codes[3 * i] = vector;
      codes[3 * i + 1] = _mm256_srli_epi16(vector, 5);
      codes[3 * i + 2] = _mm256_srli_epi16(vector, 10);
      codes[15] = _mm256_or_si256(codes[15], _mm256_slli_epi16(_mm256_srli_epi16(vector, 15), i));
    }
    for (int r = 0; r < 16; r++) {
      const __m256i size = _mm256_and_si256(codes[r], sizes), sign = _mm256_and_si256(_mm256_slli_epi16(codes[r], 11), signs);
      const __m256i bits = _mm256_or_si256(_mm256_shuffle_epi8(low, size), _mm256_slli_epi16(_mm256_shuffle_epi8(high, size), 8));
      _mm256_storeu_si256((__m256i *)(to + 32 * r + 16 * half), _mm256_add_epi16(_mm256_or_si256(bits, sign), exponents));
    }
  }
#else
  uint16_t vectors[MOVE_VECTORS * 32];
  uint32_t codes[TILE], bits[TILE];
  float odd[TILE];
  memcpy(vectors, from + 16, sizeof vectors);
  for (int i = 0; i < MOVE_VECTORS; i++)
    for (int r = 0; r < 3; r++)
      for (int j = 0; j < 32; j++) codes[(3 * i + r) * 32 + j] = vectors[i * 32 + j] >> 5 * r & 31;
  for (int j = 0; j < 32; j++) codes[480 + j] = 0;
  for (int i = 0; i < MOVE_VECTORS; i++)
    for (int j = 0; j < 32; j++) codes[480 + j] |= (uint32_t)(vectors[i * 32 + j] >> 15) << i;
  for (int j = 0; j < TILE; j++) odd[j] = (float)(int32_t)(2 * (codes[j] & 15) + 1);
  memcpy(bits, odd, sizeof bits);
  for (int r = 0; r < 16; r++)
    for (int j = 0; j < 32; j++)
      to[32 * r + j] = (bf16)((bits[32 * r + j] >> 16) + ((uint32_t)from[j / 2] << 7) - (127 << 7) + (codes[32 * r + j] >> 4 << 15));
#endif
}
#endif
