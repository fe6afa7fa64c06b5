/*
 * The block formats of ggml (src/model/files/ggml-blocks.ts says what their bytes mean), turned into tiles of bfloat16: 16 rows of 32
 * inputs. A value is the bfloat16 nearest to the float32 that the format stands for: what rounding the dequantised matrix gives,
 * bit for bit. Formats of few bits look the values up in a table that is made for each block.
 */
#ifndef AZ_GGML_BLOCKS_H
#define AZ_GGML_BLOCKS_H
#include <math.h>
#include "decode_tile.h"

/* As `BLOCK_FORMATS` numbers them: the type numbers of ggml. */
enum { Q4_0 = 2, Q4_1 = 3, Q5_0 = 6, Q5_1 = 7, Q8_0 = 8, Q4_K = 12, Q5_K = 13, Q6_K = 14, NUM_BLOCK_FORMATS };

/* Two factors of 32 values of each of 16 rows: value = first·q + second, a row after the other; or (Q6_K) one factor of each half, 16 rows of the first before those of the second. */
typedef float Scales[2 * 16];

typedef struct {
  int block, bytes; /* values and bytes of a block */
  /* The values of a block in float32. */
  void (*values)(const uint8_t *block, float *to);
} BlockFormat;

static inline float half_at(const uint8_t *p) {
  return _mm512_cvtss_f32(_mm512_cvtph_ps(_mm256_castsi128_si256(_mm_cvtsi32_si128(p[0] | p[1] << 8))));
}
static inline __m512 each(float x) { return _mm512_set1_ps(x); }
static inline __m512 from_zero(void) {
  return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
static inline void put_row(bf16 *tile, int row, __m512i values) { _mm512_store_si512((void *)(tile + 32 * row), values); }

/* --- factors */

/* Four bytes of each of 16 rows. */
static inline __m512i gather(const uint8_t *from, int64_t stride) {
  const __m512i at = _mm512_mullo_epi32(_mm512_cvtps_epi32(from_zero()), _mm512_set1_epi32((int)stride));
  return _mm512_i32gather_epi32(at, from, 1);
}
/* Blocks that begin with two halves (d, m), or with d alone: then the second factor is −0, which adds nothing to any number. */
INLINE void leading_halves(const uint8_t *rows, int64_t stride, int64_t t, int bytes, int is_pair, float *scales) {
  __m512i raw = gather(rows + t * bytes, stride);
  if (!is_pair) raw = _mm512_or_si512(_mm512_and_si512(raw, _mm512_set1_epi32(0xffff)), _mm512_set1_epi32((int)0x80000000));
  _mm512_store_ps(scales, _mm512_cvtph_ps(_mm512_castsi512_si256(raw)));
  _mm512_store_ps(scales + 16, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(raw, 1)));
}
#define LEADING_HALVES(name, bytes, is_pair)                                                     \
  INLINE void name(const uint8_t *rows, int64_t stride, int64_t t, float *scales) {              \
    leading_halves(rows, stride, t, bytes, is_pair, scales);                                     \
  }
LEADING_HALVES(scales_q4_0, 18, 0)
LEADING_HALVES(scales_q4_1, 20, 1)
LEADING_HALVES(scales_q5_0, 22, 0)
LEADING_HALVES(scales_q5_1, 24, 1)
LEADING_HALVES(scales_q8_0, 34, 0)

static inline __m512i bits_of(__m512i from, int64_t first, int mask) {
  return _mm512_and_si512(_mm512_srl_epi32(from, _mm_cvtsi64_si128(first)), _mm512_set1_epi32(mask));
}
/* The low half of each 32 bits as a number of 16 bits. */
static inline __m512 halves_of(__m512i from) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(from)); }

/* d·s and −m·l of group g of blocks with 12 bytes of 6-bit numbers from their byte 4 on: six_bit_scales of 16 rows. */
INLINE void six_bit_scales_of_rows(const uint8_t *block, int64_t stride, int64_t g, float *scales) {
  const __m512i halves = gather(block, stride), first = gather(block + 4, stride), second = gather(block + 8, stride);
  const int64_t bit = g % 4 * 8;
  __m512i s, l;
  if (g < 4) {
    s = bits_of(first, bit, 63), l = bits_of(second, bit, 63);
  } else {
    const __m512i third = gather(block + 12, stride);
    s = _mm512_or_si512(bits_of(third, bit, 15), bits_of(first, bit + 2, 48));
    l = _mm512_or_si512(bits_of(third, bit + 4, 15), bits_of(second, bit + 2, 48));
  }
  const __m512 d = _mm512_mul_ps(halves_of(halves), _mm512_cvtepi32_ps(s));
  const __m512 m = _mm512_mul_ps(halves_of(_mm512_srli_epi32(halves, 16)), _mm512_cvtepi32_ps(l));
  const __m512 minus = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(m), _mm512_set1_epi32((int)0x80000000)));
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  _mm512_store_ps(scales, _mm512_permutex2var_ps(d, low, minus));
  _mm512_store_ps(scales + 16, _mm512_permutex2var_ps(d, _mm512_add_epi32(low, _mm512_set1_epi32(8)), minus));
}
INLINE void scales_q4_k(const uint8_t *rows, int64_t stride, int64_t t, float *scales) {
  six_bit_scales_of_rows(rows + t / 8 * 144, stride, t % 8, scales);
}
INLINE void scales_q5_k(const uint8_t *rows, int64_t stride, int64_t t, float *scales) {
  six_bit_scales_of_rows(rows + t / 8 * 176, stride, t % 8, scales);
}
/* d·s of the 16 values of each half, the first halves of 16 rows before the second. */
INLINE void scales_q6_k(const uint8_t *rows, int64_t stride, int64_t t, float *scales) {
  const uint8_t *block = rows + t / 8 * 210;
  const __m512i s = gather(block + 192 + t % 8 * 2, stride);
  const __m512 d = halves_of(_mm512_srli_epi32(gather(block + 206, stride), 16)); /* the last two of four bytes */
  for (int half = 0; half < 2; half++) {
    const __m512i first = _mm512_srai_epi32(_mm512_slli_epi32(s, half ? 16 : 24), 24);
    _mm512_store_ps(scales + 16 * half, _mm512_mul_ps(d, _mm512_cvtepi32_ps(first)));
  }
}

/* --- values by table */

/* A constant that stays in a register: the compiler would load it again for each row, and loads are what there is most of. */
INLINE __m512i keep(__m512i x) {
  __asm__("" : "+v"(x));
  return x;
}

/* offset, offset + 1, … */
INLINE __m512 numbers_from(float offset) {
  return _mm512_castsi512_ps(keep(_mm512_castps_si512(_mm512_add_ps(from_zero(), each(offset)))));
}

/* first·q + second of two rows, at places 0 … 15 and 16 … 31. */
INLINE __m512i two_tables(const float *scales, __m512 q) {
  return pack_bf16(_mm512_fmadd_ps(q, each(scales[0]), each(scales[1])), _mm512_fmadd_ps(q, each(scales[2]), each(scales[3])));
}

/* To keep a byte's bits 0 … 3, and its bits 4 … 7 in their place: matrices of gf2p8affineqb. */
#define LOW_BITS 0x0102040800000000
#define HIGH_BITS 0x1020408000000000

/* 16 bytes with values 0 … 15 in their low and 16 … 31 in their high four bits. */
INLINE void tile_of_nibbles(const uint8_t *values, int64_t stride, const float *scales, float offset, bf16 *tile) {
  static const uint8_t each_twice[64] ALIGNED = {0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,  6,  7,  7,  8, 8, 9, 9, 10, 10,
                                                 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5,
                                                 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15};
  const __m512i twice = keep(_mm512_load_si512(each_twice));
  const __m512i bits = keep(_mm512_mask_mov_epi64(_mm512_set1_epi64(LOW_BITS), 0xf0, _mm512_set1_epi64(HIGH_BITS)));
  const __m512 q = numbers_from(offset);
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2, values += 2 * stride) {
    __m512i tables = two_tables(scales + 2 * r, q);
    __m512i x = _mm512_permutexvar_epi8(twice, _mm512_castsi128_si512(_mm_loadu_si128((const void *)values)));
    __m512i y = _mm512_permutexvar_epi8(twice, _mm512_castsi128_si512(_mm_loadu_si128((const void *)(values + stride))));
    put_row(tile, r, _mm512_permutexvar_epi16(_mm512_gf2p8affine_epi64_epi8(x, bits, 0), tables));
    put_row(tile, r + 1, _mm512_permutexvar_epi16(_mm512_gf2p8affine_epi64_epi8(y, bits, 16), tables));
  }
}
INLINE void tile_q4_0(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  tile_of_nibbles(rows + t * 18 + 2, stride, scales, -8, tile);
}
INLINE void tile_q4_1(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  tile_of_nibbles(rows + t * 20 + 4, stride, scales, 0, tile);
}

/* 32 bytes as words. */
static inline __m512i words(const uint8_t *p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)p)); }

INLINE void tile_q4_k(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  const uint8_t *values = rows + t / 8 * 144 + 16 + t % 8 / 2 * 32;
  const __m512i bits = keep(_mm512_set1_epi64(t % 2 ? HIGH_BITS : LOW_BITS));
  const __m512 q = numbers_from(0);
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2, values += 2 * stride) {
    __m512i tables = two_tables(scales + 2 * r, q);
    put_row(tile, r, _mm512_permutexvar_epi16(_mm512_gf2p8affine_epi64_epi8(words(values), bits, 0), tables));
    put_row(tile, r + 1, _mm512_permutexvar_epi16(_mm512_gf2p8affine_epi64_epi8(words(values + stride), bits, 16), tables));
  }
}

/* 16 bytes with values 0 … 15 in their low and 16 … 31 in their high four bits, as words; the bits above are the next value's. */
static inline __m512i nibbles(const uint8_t *p) {
  __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
  return _mm512_srlv_epi16(_mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)p))), shift);
}

/* first·q + second of q = 0 … 31, from `offset` on, at the low five bits of x. */
static inline void put_of_32(bf16 *tile, int r, const float *s, float offset, __m512i x) {
  __m512 q = _mm512_add_ps(from_zero(), each(offset)), more = _mm512_add_ps(q, each(16));
  __m512i table = pack_bf16(_mm512_fmadd_ps(q, each(s[0]), each(s[1])), _mm512_fmadd_ps(more, each(s[0]), each(s[1])));
  put_row(tile, r, _mm512_permutexvar_epi16(x, table));
}
INLINE void tile_of_fives(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile, int bytes, int head,
                                 float offset) {
  const uint8_t *block = rows + t * bytes + head;
  for (int r = 0; r < 16; r++) {
    uint32_t fifth;
    memcpy(&fifth, block + r * stride, 4);
    __m512i x = _mm512_and_si512(nibbles(block + r * stride + 4), _mm512_set1_epi16(15));
    __m512i fifths = _mm512_maskz_mov_epi16(fifth, _mm512_set1_epi16(16));
    put_of_32(tile, r, scales + 2 * r, offset, _mm512_or_si512(x, fifths));
  }
}
INLINE void tile_q5_0(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  tile_of_fives(rows, stride, t, scales, tile, 22, 2, -16);
}
INLINE void tile_q5_1(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  tile_of_fives(rows, stride, t, scales, tile, 24, 4, 0);
}
INLINE void tile_q5_k(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  const uint8_t *block = rows + t / 8 * 176;
  const __m128i high = _mm_cvtsi32_si128((int)(t % 2 * 4)), bit = _mm_cvtsi32_si128((int)(t % 8));
  for (int r = 0; r < 16; r++, block += stride) {
    __m512i low = _mm512_and_si512(_mm512_srl_epi16(words(block + 48 + t % 8 / 2 * 32), high), _mm512_set1_epi16(15));
    __m512i fifth = _mm512_slli_epi16(_mm512_and_si512(_mm512_srl_epi16(words(block + 16), bit), _mm512_set1_epi16(1)), 4);
    put_of_32(tile, r, scales + 2 * r, 0, _mm512_or_si512(low, fifth));
  }
}

/* --- values by themselves: scale times q */

static inline void put_products(bf16 *tile, int r, __m512i low, __m512i high, float first, float second) {
  put_row(tile, r, pack_bf16(_mm512_mul_ps(_mm512_cvtepi32_ps(low), each(first)), _mm512_mul_ps(_mm512_cvtepi32_ps(high), each(second))));
}
/*
 * Signed bytes plus 128, as byte 1 of numbers whose byte 3 is 0x47: the float32 32768 + 128 + q. With 32896·d, which has no more digits than a
 * float32, (32896 + q)·d − 32896·d in one rounding is q·d.
 */
INLINE void tile_q8_0(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  const __mmask64 second = 0x2222222222222222;
  const __m512i top = keep(_mm512_set1_epi32(0x47000000)), low = keep(_mm512_slli_epi32(_mm512_cvtps_epi32(from_zero()), 8));
  const __m512i high = keep(_mm512_add_epi32(low, _mm512_set1_epi32(16 << 8)));
  const __m256i flip = _mm256_set1_epi8((char)0x80);
  const uint8_t *bytes = rows + t * 34 + 2;
  float shifts[32] ALIGNED;
  for (int half = 0; half < 32; half += 16) _mm512_store_ps(shifts + half, _mm512_mul_ps(_mm512_load_ps(scales + half), each(32896.f)));
#pragma GCC unroll 16
  for (int r = 0; r < 16; r++, bytes += stride) {
    const __m512i x = _mm512_castsi256_si512(_mm256_xor_si256(flip, _mm256_loadu_si256((const void *)bytes)));
    const __m512 d = each(scales[2 * r]), minus = each(shifts[2 * r]);
    put_row(tile, r, pack_bf16(_mm512_fmsub_ps(_mm512_castsi512_ps(_mm512_mask_permutexvar_epi8(top, second, low, x)), d, minus),
                               _mm512_fmsub_ps(_mm512_castsi512_ps(_mm512_mask_permutexvar_epi8(top, second, high, x)), d, minus)));
  }
}
/*
 * Values 0 … 63 as bytes 0x80 | 2·q: with 0x42 above and zeros below such a byte is the float32 64 + q, and (64 + q)·s − 96·s in one
 * rounding is (q − 32)·s: 96·s has no more digits than a float32.
 */
INLINE void tile_q6_k(const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
  static const uint8_t places[64] ALIGNED = {
      0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2,  0, 0, 0, 3,  0, 0, 0, 4,  0, 0, 0, 5,  0, 0, 0, 6,  0, 0, 0, 7,  0,
      0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 13, 0, 0, 0, 14, 0, 0, 0, 15, 0};
  const __mmask64 third = 0x4444444444444444;
  const __m512i top = _mm512_set1_epi32(0x42000000), sixteen_on = _mm512_set1_epi8(16);
  const int64_t quarter = t % 4;
  const uint8_t *block = rows + t / 8 * 210, *low = block + t % 8 / 4 * 64 + quarter % 2 * 32, *high = block + 128 + t % 8 / 4 * 32;
  const __m512i low_turn = _mm512_set1_epi32(quarter / 2 ? 29 : 1), high_turn = _mm512_set1_epi32((int)(37 - 2 * quarter) % 32);
  float shifts[32] ALIGNED;
  for (int half = 0; half < 32; half += 16) _mm512_store_ps(shifts + half, _mm512_mul_ps(_mm512_load_ps(scales + half), each(96.f)));
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2, low += 2 * stride, high += 2 * stride) {
    __m512i l = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)low)), _mm256_loadu_si256((const void *)(low + stride)), 1);
    __m512i h = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)high)), _mm256_loadu_si256((const void *)(high + stride)), 1);
    h = _mm512_ternarylogic_epi32(_mm512_rolv_epi32(h, high_turn), _mm512_set1_epi8(0x60), _mm512_set1_epi8((char)0x80), 0xea);
    l = _mm512_ternarylogic_epi32(_mm512_rolv_epi32(l, low_turn), _mm512_set1_epi8(0x1e), h, 0xea);
    __m512i place = _mm512_load_si512(places);
    for (int row = r; row < r + 2; row++) {
      __m512 v[2];
      for (int half = 0; half < 2; half++, place = _mm512_add_epi8(place, sixteen_on)) {
        const __m512 q = _mm512_castsi512_ps(_mm512_mask_permutexvar_epi8(top, third, place, l));
        v[half] = _mm512_fmsub_ps(q, each(scales[16 * half + row]), each(shifts[16 * half + row]));
      }
      put_row(tile, row, pack_bf16(v[0], v[1]));
    }
  }
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
    [Q4_0] = {32, 18, values_q4_0},   [Q4_1] = {32, 20, values_q4_1},   [Q5_0] = {32, 22, values_q5_0},   [Q5_1] = {32, 24, values_q5_1},
    [Q8_0] = {32, 34, values_q8_0},   [Q4_K] = {256, 144, values_q4_k}, [Q5_K] = {256, 176, values_q5_k}, [Q6_K] = {256, 210, values_q6_k},
};

#define EACH_FORMAT(of) of(Q4_0, q4_0) of(Q4_1, q4_1) of(Q5_0, q5_0) of(Q5_1, q5_1) of(Q8_0, q8_0) of(Q4_K, q4_k) of(Q5_K, q5_k) of(Q6_K, q6_k)

/* Factors of values 32·t … of 16 rows, `stride` bytes apart. Asked for some tiles before they are used: the numbers come from afar. */
INLINE void scales_of(int number, const uint8_t *rows, int64_t stride, int64_t t, float *scales) {
#define SCALES(format, name) \
  case format: scales_##name(rows, stride, t, scales); break;
  switch (number) { EACH_FORMAT(SCALES) }
}

/* The values themselves, as a tile. */
INLINE void tile_of(int number, const uint8_t *rows, int64_t stride, int64_t t, const float *scales, bf16 *tile) {
#define VALUES(format, name) \
  case format: tile_##name(rows, stride, t, scales, tile); break;
  switch (number) { EACH_FORMAT(VALUES) }
}
#endif
