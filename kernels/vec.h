/* Vectors of 16 float32 for the files compiled for AVX-512. */
#ifndef AZ_VEC_H
#define AZ_VEC_H
#include <immintrin.h>
#include "op.h"

typedef __m512 Vec;
typedef __m512i Bits;

#define LOG2_E 1.44269504088896341f
#define LN_2 0.69314718055994531f
/* Stands for minus infinity where differences must stay numbers. */
#define LOWEST -1e30f

#define PREFETCH_WRITE(p) __builtin_prefetch((const void *)(p), 1, 3)
#define PREFETCH_L2(p) __builtin_prefetch((const void *)(p), 0, 2)
#define PREFETCH(p) __builtin_prefetch((const void *)(p), 0, 3)

static inline Vec v_all(float x) { return _mm512_set1_ps(x); }
static inline Vec v_zero(void) { return _mm512_setzero_ps(); }
static inline Vec v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, Vec v) { _mm512_storeu_ps(p, v); }
static inline Vec v_add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec v_sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec v_mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec v_fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); } /* a·b + c */
static inline Vec v_max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline float v_sum(Vec v) { return _mm512_reduce_add_ps(v); }

/* The first n lanes (none for n ≤ 0, all for n ≥ 16). */
static inline __mmask16 v_first(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }
static inline Vec v_load_first(const float *p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }
static inline void v_store_first(float *p, __mmask16 m, Vec v) { _mm512_mask_storeu_ps(p, m, v); }

/* --- bfloat16 */

static inline Vec v_widen(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
static inline Vec v_load_half(const bf16 *p) { return v_widen(_mm256_loadu_si256((const void *)p)); }
static inline Vec v_load_half_first(const bf16 *p, __mmask16 m) { return v_widen(_mm256_maskz_loadu_epi16(m, p)); }
#ifdef __AVX512BF16__
static inline __m256i v_narrow(Vec v) { return (__m256i)_mm512_cvtneps_pbh(v); }
static inline void v_store_half(bf16 *p, Vec v) { _mm256_storeu_si256((void *)p, v_narrow(v)); }
static inline void v_store_half_first(bf16 *p, __mmask16 m, Vec v) { _mm256_mask_storeu_epi16(p, m, v_narrow(v)); }
/* 32 bfloat16: those of lo, then those of hi */
static inline Bits v_narrow2(Vec lo, Vec hi) { return (Bits)_mm512_cvtne2ps_pbh(hi, lo); }
#endif

/* --- exponentials. An argument that is not a number stays so; minus infinity gives 0. */

/* 2^t to 3e-7 relative */
static inline Vec v_exp2(Vec t) {
  Vec n = _mm512_roundscale_ps(t, 8), f = v_sub(t, n), p = v_all(0.00133335581f);
  p = v_fma(p, f, v_all(0.00961812911f));
  p = v_fma(p, f, v_all(0.0555041087f));
  p = v_fma(p, f, v_all(0.240226507f));
  p = v_fma(p, f, v_all(0.693147181f));
  p = v_fma(p, f, v_all(1.f));
  return _mm512_scalef_ps(p, n);
}

/* 2^t to 1e-4 relative, for results that end as bfloat16 */
static inline Vec v_exp2_rough(Vec t) {
  Vec n = _mm512_roundscale_ps(t, 8), f = v_sub(t, n), p = v_all(0.05517167f);
  p = v_fma(p, f, v_all(0.24261115f));
  p = v_fma(p, f, v_all(0.69326099f));
  p = v_fma(p, f, v_all(0.99992807f));
  return _mm512_scalef_ps(p, n);
}

/* 1 / (1 + e^−x) to 1e-4 relative */
static inline Vec v_sigmoid_rough(Vec x) {
  return _mm512_rcp14_ps(v_add(v_all(1.f), v_exp2_rough(v_mul(x, v_all(-LOG2_E)))));
}

/* Transposes 16 × 16 elements of 32 bits. */
static inline void v_transpose(Bits r[16]) {
  Bits t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}
#endif
