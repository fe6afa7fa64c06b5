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

#define INLINE static inline __attribute__((always_inline))
#define PER_PART(expression)                                                                                           \
  Vec y;                                                                                                               \
  for (int i = 0; i < PARTS; i++) y.p[i] = (expression);                                                               \
  return y

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
/* x where a is at least b, else y; lane by lane. */
INLINE Vec v_where_at_least(Vec a, Vec b, Vec x, Vec y) {
#if defined(__AVX512F__)
  return (Vec){{_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.p[0], b.p[0], _CMP_GE_OQ), y.p[0], x.p[0])}};
#elif defined(__AVX2__)
  for (int i = 0; i < PARTS; i++) y.p[i] = _mm256_blendv_ps(y.p[i], x.p[i], _mm256_cmp_ps(a.p[i], b.p[i], _CMP_GE_OQ));
  return y;
#else
  for (int i = 0; i < PARTS; i++)
    for (int j = 0; j < PART; j++) y.p[i][j] = a.p[i][j] >= b.p[i][j] ? x.p[i][j] : y.p[i][j];
  return y;
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
#else
  float lanes[LANES] ALIGNED;
  v_store(lanes, a);
  for (int apart = LANES / 2; apart > 0; apart /= 2)
    for (int i = 0; i < apart; i++) lanes[i] += lanes[i + apart];
  return lanes[0];
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
