/*
 * Blocks of ggml_formats.h as vectors of 16 float32, a lane an output feature, at every level. Numbers of four bits, and of eight, come times a power
 * of two that depends on their place among the inputs (`scale_of` takes it out again): masking and converting then needs no shift.
 */
#ifndef AZ_BLOCK_LANES_H
#define AZ_BLOCK_LANES_H
#include "ggml_formats.h"

typedef uint32_t LaneWords __attribute__((vector_size(4 * PART)));
typedef uint32_t UnalignedWords __attribute__((vector_size(4 * PART), aligned(4), may_alias));
typedef struct {
  LaneWords p[PARTS];
} Words;

#define PER_WORDS(expression)                                                                                          \
  Words y;                                                                                                             \
  for (int i = 0; i < PARTS; i++) y.p[i] = (expression);                                                               \
  return y

INLINE Words words_at(const uint8_t *from) { PER_WORDS((LaneWords)((const UnalignedWords *)from)[i]); }
INLINE Words words_right(Words a, int64_t by) { PER_WORDS(a.p[i] >> (uint32_t)by); }
INLINE Words words_left(Words a, int64_t by) { PER_WORDS(a.p[i] << (uint32_t)by); }
INLINE Words words_and(Words a, uint32_t mask) { PER_WORDS(a.p[i] & mask); }
INLINE Words words_or(Words a, Words b) { PER_WORDS(a.p[i] | b.p[i]); }
INLINE Vec v_of_words(Words a) { PER_PART(__builtin_convertvector((LaneBits)a.p[i], Lanes)); }
/* The lowest byte of each, as a signed number. */
INLINE Vec v_of_signed_bytes(Words a) {
  PER_PART(__builtin_convertvector((LaneBits)(a.p[i] << 24) >> 24, Lanes));
}

/* Sixteen halves. */
INLINE Vec v_halves(const uint8_t *from) {
#if defined(__AVX512F__)
  return (Vec){{_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from))}};
#elif defined(__F16C__)
  PER_PART(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from + i)));
#else
  float lanes[LANES] ALIGNED;
  for (int i = 0; i < LANES; i++) lanes[i] = half_at(from + 2 * i);
  return v_load(lanes);
#endif
}

/* Inputs 32·t … 32·t + 31 of a group: where their block begins, and which 32 of its inputs they are. */
typedef struct {
  const uint8_t *block;
  int64_t g;
} Spot;
INLINE Spot spot_of(int format, const uint8_t *group, int64_t t) {
  const int64_t count = block_formats[format].block / 32;
  return (Spot){group + t / count * (GROUP * block_formats[format].bytes), t % count};
}

/* Four inputs: a byte of each in `q`, and bits that stand elsewhere in `more`. */
typedef struct {
  Words q, more;
} Four;

/* Inputs 16·half + 4·u … of a spot. */
INLINE Four four_at(int format, Spot spot, int half, int64_t u) {
  const uint8_t *lines = spot.block + 64 * u, *next = lines + 256 * half;
  const int64_t g = spot.g;
  switch (format) {
  case Q4_0: return (Four){.q = words_at(lines + 16 * 2)};
  case Q4_1: return (Four){.q = words_at(lines + 16 * 4)};
  case Q5_0: return (Four){words_at(lines + 16 * 6), words_right(words_at(spot.block + 16 * 2), 16 * half + 4 * u)};
  case Q5_1: return (Four){words_at(lines + 16 * 8), words_right(words_at(spot.block + 16 * 4), 16 * half + 4 * u)};
  case Q8_0: return (Four){.q = words_at(next + 16 * 2)};
  case Q4_K: return (Four){.q = words_at(next + 16 * (16 + g / 2 * 32))};
  case Q5_K: return (Four){words_right(words_at(next + 16 * (48 + g / 2 * 32)), g % 2 * 4), words_right(words_at(next + 16 * 16), g)};
  default: /* Q6_K */
    return (Four){words_right(words_at(next + 16 * (g / 4 * 64 + g % 2 * 32)), g % 4 / 2 * 4),
                  words_right(words_at(next + 16 * (128 + g / 4 * 32)), g % 4 * 2)};
  }
}

/* Where the four bits of input j of four lie, of formats that have them in place: of Q4_K `is_odd` says which 32 inputs they are. */
INLINE int place_of_bits(int format, int half, int is_odd, int j) { return 8 * j + 4 * (format == Q4_K ? is_odd : half); }

INLINE int is_in_place(int format) { return format == Q4_0 || format == Q4_1 || format == Q4_K; }

/* What input j of four is to be multiplied by, times what `numbers_of` gives, for q (where q has an offset: q plus that). */
INLINE float scale_of(int format, int half, int is_odd, int j) {
  const int place = place_of_bits(format, half, is_odd, j);
  if (format == Q8_0) return 0x1p-24f;
  return is_in_place(format) && place < 28 ? 1.f / (float)(1 << place) : 1;
}

INLINE Vec numbers_of(int format, Four four, int half, int is_odd, int j) {
  const int place = place_of_bits(format, half, is_odd, j);
  Words q;
  switch (format) {
  case Q4_0:
  case Q4_1:
  case Q4_K: return v_of_words(place < 28 ? words_and(four.q, 15u << place) : words_right(four.q, 28));
  case Q8_0: return v_of_words(words_and(words_left(four.q, 24 - 8 * j), 0xff000000));
  case Q5_0:
  case Q5_1:
    q = words_and(words_right(four.q, place), 15);
    return v_of_words(words_or(q, words_left(words_and(words_right(four.more, j), 1), 4)));
  case Q5_K:
    q = words_and(words_right(four.q, 8 * j), 15);
    return v_of_words(words_or(q, words_left(words_and(words_right(four.more, 8 * j), 1), 4)));
  default: /* Q6_K */
    q = words_and(words_right(four.q, 8 * j), 15);
    q = words_or(q, words_left(words_and(words_right(four.more, 8 * j), 3), 4));
    return v_sub(v_of_words(q), v_all(32));
  }
}

/* A value is first·q + second; Q6_K has two `first`, of the first and the last 16 inputs, and no `second`. */
INLINE int has_two_halves(int format) { return format == Q6_K; }
INLINE int has_second(int format) { return format != Q8_0 && !has_two_halves(format); }

typedef struct {
  Vec first, second;
} Factors;

/* d·s and −m·l of inputs 32·g … of a block with 12 bytes of 6-bit numbers from its byte 4 on. */
INLINE Factors six_bit_factors(Spot spot) {
  const Words first = words_at(spot.block + 64), second = words_at(spot.block + 128), third = words_at(spot.block + 192);
  const int64_t g = spot.g, bit = g % 4 * 8;
  Words s, l;
  if (g < 4) {
    s = words_and(words_right(first, bit), 63), l = words_and(words_right(second, bit), 63);
  } else {
    s = words_or(words_and(words_right(third, bit), 15), words_and(words_right(words_right(first, bit), 2), 48));
    l = words_or(words_and(words_right(third, bit + 4), 15), words_and(words_right(words_right(second, bit), 2), 48));
  }
  return (Factors){v_mul(v_halves(spot.block), v_of_words(s)), v_mul(v_sub(v_zero(), v_halves(spot.block + 32)), v_of_words(l))};
}
INLINE Factors factors_at(int format, Spot spot) {
  const Vec d = v_halves(spot.block + (format == Q6_K ? 16 * 208 : 0));
  switch (format) {
  case Q4_0: return (Factors){d, v_mul(d, v_all(-8))};
  case Q5_0: return (Factors){d, v_mul(d, v_all(-16))};
  case Q8_0: return (Factors){d, v_zero()};
  case Q4_1:
  case Q5_1: return (Factors){d, v_halves(spot.block + 32)};
  case Q4_K:
  case Q5_K: return six_bit_factors(spot);
  default: { /* Q6_K */
    const Words s = words_right(words_at(spot.block + 16 * 192 + spot.g / 2 * 64), spot.g % 2 * 16);
    return (Factors){v_mul(d, v_of_signed_bytes(s)), v_mul(d, v_of_signed_bytes(words_right(s, 8)))};
  }
  }
}
#endif
