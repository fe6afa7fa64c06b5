/*
 * Vectors of 16 float32 on any processor: what is written with them is compiled once for each instruction set (`…_each.c`,
 * `…_half.c`). Sums are taken in an order that does not depend on it, so all instruction sets that multiply and add in one
 * rounding (AVX2, AVX-512, NEON) give the same bits. vec.h adds what kernels of bfloat16 need.
 */
#ifndef AZ_LANES_H
#define AZ_LANES_H
#include <string.h>
#include "op.h"

#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 Lanes;
enum { PARTS = 1 };
#elif defined(__AVX2__)
#include <immintrin.h>
typedef __m256 Lanes;
enum { PARTS = 2 };
#elif defined(__aarch64__)
#include <arm_neon.h>
typedef float32x4_t Lanes;
enum { PARTS = 4 };
#else
typedef float Lanes __attribute__((vector_size(16)));
enum { PARTS = 4 };
#endif

enum { LANES = 16, PART = LANES / PARTS };
typedef int32_t LaneBits __attribute__((vector_size(4 * PART)));
typedef float Unaligned __attribute__((vector_size(4 * PART), aligned(4), may_alias));
typedef struct {
  Lanes p[PARTS];
} Vec;

#define LOG2_E 1.44269504088896341f
#define LN_2 0.69314718055994531f
/* Stands for minus infinity where differences must stay numbers. */
#define LOWEST -1e30f

#ifndef INLINE /* build-kernels.mjs defines it for sanitizers, which take minutes to compile what is always written out */
#define INLINE static inline __attribute__((always_inline))
#endif
#define PER_PART(expression)                                                                                           \
  Vec y;                                                                                                               \
  for (int i = 0; i < PARTS; i++) y.p[i] = (expression);                                                               \
  return y

INLINE Lanes part_load(const float *from) { return (Lanes) * (const Unaligned *)from; }
INLINE void part_store(float *to, Lanes a) { *(Unaligned *)to = (Unaligned)a; }
INLINE Vec v_zero(void) { PER_PART((Lanes){0}); }
INLINE Vec v_load(const float *from) { PER_PART((Lanes)((const Unaligned *)from)[i]); }
INLINE void v_store(float *to, Vec a) {
  for (int i = 0; i < PARTS; i++) ((Unaligned *)to)[i] = (Unaligned)a.p[i];
}
INLINE Vec v_add(Vec a, Vec b) { PER_PART(a.p[i] + b.p[i]); }
INLINE Vec v_sub(Vec a, Vec b) { PER_PART(a.p[i] - b.p[i]); }
INLINE Vec v_mul(Vec a, Vec b) { PER_PART(a.p[i] * b.p[i]); }
INLINE Vec v_div(Vec a, Vec b) { PER_PART(a.p[i] / b.p[i]); }

/* What takes an instruction of its own. max and min: where one is not a number, b (NEON: not a number). */
#if defined(__AVX512F__)
INLINE Lanes part_all(float x) { return _mm512_set1_ps(x); }
INLINE Lanes part_fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Lanes part_fms(Lanes a, Lanes b, Lanes c) { return _mm512_fmsub_ps(a, b, c); }
INLINE Lanes part_fnma(Lanes a, Lanes b, Lanes c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE Lanes part_max(Lanes a, Lanes b) { return _mm512_max_ps(a, b); }
INLINE Lanes part_min(Lanes a, Lanes b) { return _mm512_min_ps(a, b); }
INLINE Lanes part_sqrt(Lanes a) { return _mm512_sqrt_ps(a); }
#elif defined(__AVX2__)
INLINE Lanes part_all(float x) { return _mm256_set1_ps(x); }
INLINE Lanes part_fma(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a, b, c); }
INLINE Lanes part_fms(Lanes a, Lanes b, Lanes c) { return _mm256_fmsub_ps(a, b, c); }
INLINE Lanes part_fnma(Lanes a, Lanes b, Lanes c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE Lanes part_max(Lanes a, Lanes b) { return _mm256_max_ps(a, b); }
INLINE Lanes part_min(Lanes a, Lanes b) { return _mm256_min_ps(a, b); }
INLINE Lanes part_sqrt(Lanes a) { return _mm256_sqrt_ps(a); }
#elif defined(__aarch64__)
INLINE Lanes part_all(float x) { return vdupq_n_f32(x); }
INLINE Lanes part_fma(Lanes a, Lanes b, Lanes c) { return vfmaq_f32(c, a, b); }
INLINE Lanes part_fms(Lanes a, Lanes b, Lanes c) { return vnegq_f32(vfmsq_f32(c, a, b)); }
INLINE Lanes part_fnma(Lanes a, Lanes b, Lanes c) { return vfmsq_f32(c, a, b); }
INLINE Lanes part_max(Lanes a, Lanes b) { return vmaxq_f32(a, b); }
INLINE Lanes part_min(Lanes a, Lanes b) { return vminq_f32(a, b); }
INLINE Lanes part_sqrt(Lanes a) { return vsqrtq_f32(a); }
#else
#include <math.h>
INLINE Lanes part_all(float x) { return (Lanes){x, x, x, x}; }
INLINE Lanes part_choose(LaneBits first, Lanes a, Lanes b) { return (Lanes)((first & (LaneBits)a) | (~first & (LaneBits)b)); }
INLINE Lanes part_fma(Lanes a, Lanes b, Lanes c) { return a * b + c; }
INLINE Lanes part_fms(Lanes a, Lanes b, Lanes c) { return a * b - c; }
INLINE Lanes part_fnma(Lanes a, Lanes b, Lanes c) { return c - a * b; }
INLINE Lanes part_max(Lanes a, Lanes b) { return part_choose((LaneBits)(a > b), a, b); }
INLINE Lanes part_min(Lanes a, Lanes b) { return part_choose((LaneBits)(a < b), a, b); }
INLINE Lanes part_sqrt(Lanes a) {
  for (int i = 0; i < PART; i++) a[i] = sqrtf(a[i]);
  return a;
}
#endif
INLINE Vec v_all(float x) { PER_PART(part_all(x)); }
INLINE Vec v_fma(Vec a, Vec b, Vec c) { PER_PART(part_fma(a.p[i], b.p[i], c.p[i])); }   /* a·b + c */
INLINE Vec v_fms(Vec a, Vec b, Vec c) { PER_PART(part_fms(a.p[i], b.p[i], c.p[i])); }   /* a·b − c */
INLINE Vec v_fnma(Vec a, Vec b, Vec c) { PER_PART(part_fnma(a.p[i], b.p[i], c.p[i])); } /* c − a·b */
INLINE Vec v_max(Vec a, Vec b) { PER_PART(part_max(a.p[i], b.p[i])); }
INLINE Vec v_min(Vec a, Vec b) { PER_PART(part_min(a.p[i], b.p[i])); }
INLINE Vec v_sqrt(Vec a) { PER_PART(part_sqrt(a.p[i])); }

/* Whether a number of a is at least that of b. */
INLINE int v_any_at_least(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a.p[0], b.p[0], _CMP_GE_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a.p[0], b.p[0], _CMP_GE_OQ), _mm256_cmp_ps(a.p[1], b.p[1], _CMP_GE_OQ))) != 0;
#else
  int found = 0;
  for (int i = 0; i < PARTS; i++)
    for (int j = 0; j < PART; j++) found |= a.p[i][j] >= b.p[i][j];
  return found;
#endif
}
/* Number j of part i becomes number i of part j. */
INLINE void parts_transpose(Lanes rows[PART]) {
#if defined(__AVX512F__) || defined(__AVX2__)
#if defined(__AVX512F__)
#define PAIR_LOW(a, b) _mm512_unpacklo_ps(a, b)
#define PAIR_HIGH(a, b) _mm512_unpackhi_ps(a, b)
#define FOUR_LOW(a, b) _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#define FOUR_HIGH(a, b) _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
#else
#define PAIR_LOW(a, b) _mm256_unpacklo_ps(a, b)
#define PAIR_HIGH(a, b) _mm256_unpackhi_ps(a, b)
#define FOUR_LOW(a, b) _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
#define FOUR_HIGH(a, b) _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b)))
#endif
  /* Within pieces of four numbers, for four rows at a time … */
#pragma GCC unroll 4
  for (int i = 0; i < PART; i += 4) {
    const Lanes a = PAIR_LOW(rows[i], rows[i + 1]), b = PAIR_HIGH(rows[i], rows[i + 1]);
    const Lanes c = PAIR_LOW(rows[i + 2], rows[i + 3]), d = PAIR_HIGH(rows[i + 2], rows[i + 3]);
    rows[i] = FOUR_LOW(a, c), rows[i + 1] = FOUR_HIGH(a, c), rows[i + 2] = FOUR_LOW(b, d), rows[i + 3] = FOUR_HIGH(b, d);
  }
  /* … then the pieces. */
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
#if defined(__AVX512F__)
    const Lanes even = _mm512_shuffle_f32x4(rows[i], rows[i + 4], 0x88), odd = _mm512_shuffle_f32x4(rows[i], rows[i + 4], 0xdd);
    const Lanes more_even = _mm512_shuffle_f32x4(rows[i + 8], rows[i + 12], 0x88);
    const Lanes more_odd = _mm512_shuffle_f32x4(rows[i + 8], rows[i + 12], 0xdd);
    rows[i] = _mm512_shuffle_f32x4(even, more_even, 0x88), rows[i + 8] = _mm512_shuffle_f32x4(even, more_even, 0xdd);
    rows[i + 4] = _mm512_shuffle_f32x4(odd, more_odd, 0x88), rows[i + 12] = _mm512_shuffle_f32x4(odd, more_odd, 0xdd);
#else
    const Lanes low = _mm256_permute2f128_ps(rows[i], rows[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(rows[i], rows[i + 4], 0x31), rows[i] = low;
#endif
  }
#undef PAIR_LOW
#undef PAIR_HIGH
#undef FOUR_LOW
#undef FOUR_HIGH
#else
  for (int i = 0; i < PART; i++)
    for (int j = 0; j < i; j++) {
      const float other = rows[i][j];
      rows[i][j] = rows[j][i], rows[j][i] = other;
    }
#endif
}

/* x where a is at least b, else y; lane by lane. */
INLINE Vec v_where_at_least(Vec a, Vec b, Vec x, Vec y) {
#if defined(__AVX512F__)
  return (Vec){{_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.p[0], b.p[0], _CMP_GE_OQ), y.p[0], x.p[0])}};
#elif defined(__AVX2__)
  for (int i = 0; i < PARTS; i++) y.p[i] = _mm256_blendv_ps(y.p[i], x.p[i], _mm256_cmp_ps(a.p[i], b.p[i], _CMP_GE_OQ));
  return y;
#else
  Vec chosen = v_zero();
  for (int i = 0; i < PARTS; i++)
    for (int j = 0; j < PART; j++) chosen.p[i][j] = a.p[i][j] >= b.p[i][j] ? x.p[i][j] : y.p[i][j];
  return chosen;
#endif
}

/* The first n numbers, 0 ≤ n ≤ 16; the other lanes are 0. */
INLINE Vec v_load_first(const float *from, int64_t n) {
#if defined(__AVX512F__)
  return (Vec){{_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from)}};
#else
  if (n == LANES) return v_load(from);
  float lanes[LANES] ALIGNED = {0};
  memcpy(lanes, from, sizeof(float) * (size_t)n);
  return v_load(lanes);
#endif
}
INLINE void v_store_first(float *to, int64_t n, Vec a) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), a.p[0]);
#else
  if (n == LANES) {
    v_store(to, a);
    return;
  }
  float lanes[LANES] ALIGNED;
  v_store(lanes, a);
  memcpy(to, lanes, sizeof(float) * (size_t)n);
#endif
}

/* Lanes i and i + 8 are added first, then those 4, 2 and 1 apart. */
INLINE float v_sum(Vec a) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(a.p[0]);
#elif defined(__AVX2__)
  const __m256 eight = a.p[0] + a.p[1];
  const __m128 four = _mm256_castps256_ps128(eight) + _mm256_extractf128_ps(eight, 1);
  const __m128 two = four + _mm_movehl_ps(four, four);
  return two[0] + two[1];
#else
  const Lanes four = (a.p[0] + a.p[2]) + (a.p[1] + a.p[3]);
  return (four[0] + four[2]) + (four[1] + four[3]);
#endif
}

/*
 * 2^t to 2e-7 relative: 0 below 2^−126, infinity from 2^127.5. What is not a number stays so.
 * The polynomial is that of Cephes' exp2f on −½…½.
 */
INLINE Lanes part_exp2(Lanes t) {
  const Lanes magic = part_all(12582912.f); /* 1.5·2²³: adding it rounds to a whole number */
  t = part_min(part_all(128.f), part_max(part_all(-127.f), t));
  Lanes n = (t + magic) - magic, f = t - n, p = part_all(1.535336188319500e-4f);
  p = part_fma(p, f, part_all(1.339887440266574e-3f));
  p = part_fma(p, f, part_all(9.618437357674640e-3f));
  p = part_fma(p, f, part_all(5.550332471162809e-2f));
  p = part_fma(p, f, part_all(2.402264791363012e-1f));
  p = part_fma(p, f, part_all(6.931472028550421e-1f));
  p = part_fma(p, f, part_all(1.f));
  return p * (Lanes)((__builtin_convertvector(n, LaneBits) + 127) << 23);
}
INLINE Vec v_exp2(Vec t) { PER_PART(part_exp2(t.p[i])); }

/* 1 / (1 + e^−x) */
INLINE Vec v_sigmoid(Vec x) {
  Vec one = v_all(1.f);
  return v_div(one, v_add(one, v_exp2(v_mul(x, v_all(-LOG2_E)))));
}

/* a where the number is below `bound`, else b: also where it is none */
INLINE Vec v_where_below(Vec number, Vec bound, Vec a, Vec b) {
  PER_PART((Lanes)(((LaneBits)(number.p[i] < bound.p[i]) & (LaneBits)a.p[i]) |
                  (~(LaneBits)(number.p[i] < bound.p[i]) & (LaneBits)b.p[i])));
}
#endif
