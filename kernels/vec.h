/*
 * What kernels of bfloat16 need beside lanes.h: bfloat16 itself, patterns of bits, exponentials that are as good as bfloat16, and
 * hints. The same on all instruction sets up to what is said at the exponentials; one that has an instruction for a thing uses it.
 */
#ifndef AZ_VEC_H
#define AZ_VEC_H
#include "lanes.h"

#define PREFETCH_WRITE(p) __builtin_prefetch((const void *)(p), 1, 3)
#define PREFETCH_L2(p) __builtin_prefetch((const void *)(p), 0, 2)
#define PREFETCH(p) __builtin_prefetch((const void *)(p), 0, 3)

/* n as a number of lanes */
INLINE int64_t v_first(int64_t n) { return n >= LANES ? LANES : n <= 0 ? 0 : n; }

/* The first n lanes of a, 0 ≤ n ≤ 16, and the others of b. */
INLINE Vec v_first_of(int64_t n, Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec){{_mm512_mask_mov_ps(b.p[0], (__mmask16)((1u << n) - 1), a.p[0])}};
#else
  static const float numbers[LANES] ALIGNED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return v_where_below(v_load(numbers), v_all((float)n), a, b);
#endif
}

/* 0 where z is 0, else a. */
INLINE Vec v_zero_where_zero(Vec z, Vec a) { PER_PART((Lanes)(~(LaneBits)(z.p[i] == (Lanes){0}) & (LaneBits)a.p[i])); }

/* Whether some lane of a is above that of b. */
INLINE int v_any_above(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a.p[0], b.p[0], _CMP_GT_OQ) != 0;
#else
  LaneBits is_above = {0};
  for (int i = 0; i < PARTS; i++) is_above |= (LaneBits)(a.p[i] > b.p[i]);
  int32_t any = 0;
  for (int i = 0; i < PART; i++) any |= is_above[i];
  return any != 0;
#endif
}

INLINE float v_lane(Vec a, int i) { return a.p[i / PART][i % PART]; }

/* The greatest lane. */
INLINE float v_greatest(Vec a) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(a.p[0]);
#else
  float lanes[LANES] ALIGNED;
  v_store(lanes, a);
  float most = lanes[0];
  for (int i = 1; i < LANES; i++) most = lanes[i] > most ? lanes[i] : most;
  return most;
#endif
}

/* Past the cache, to a line's beginning. Other threads see it after v_fence. */
INLINE void v_stream(float *to, Vec a) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, a.p[0]);
#elif defined(__AVX2__)
  for (int i = 0; i < PARTS; i++) _mm256_stream_ps(to + i * PART, a.p[i]);
#else
  v_store(to, a);
#endif
}
INLINE void v_fence(void) {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

/* --- patterns of bits: 16 of 32, or 32 of 16 */

typedef struct {
  LaneBits p[PARTS];
} Bits;
typedef int32_t UnalignedBits __attribute__((vector_size(4 * PART), aligned(2), may_alias));

INLINE Bits b_zero(void) { return (Bits){{{0}}}; }
INLINE Bits b_load(const void *from) {
  Bits y;
  for (int i = 0; i < PARTS; i++) y.p[i] = (LaneBits)((const UnalignedBits *)from)[i];
  return y;
}
INLINE void b_store(void *to, Bits a) {
  for (int i = 0; i < PARTS; i++) ((UnalignedBits *)to)[i] = (UnalignedBits)a.p[i];
}
INLINE Bits v_bits(Vec a) {
  Bits y;
  for (int i = 0; i < PARTS; i++) y.p[i] = (LaneBits)a.p[i];
  return y;
}
INLINE Vec v_floats(Bits a) { PER_PART((Lanes)a.p[i]); }
INLINE void b_stream(void *to, Bits a) { v_stream(to, v_floats(a)); }

/* --- bfloat16 */

typedef uint16_t HalfLanes __attribute__((vector_size(2 * PART)));
typedef uint16_t UnalignedHalf __attribute__((vector_size(2 * PART), aligned(2), may_alias));
typedef uint32_t UnsignedLanes __attribute__((vector_size(4 * PART)));

/* Numbers of 16 bits as 32. */
INLINE UnsignedLanes part_extend(const bf16 *from) {
  return __builtin_convertvector((HalfLanes) * (const UnalignedHalf *)from, UnsignedLanes);
}
INLINE Vec v_load_half(const bf16 *from) { PER_PART((Lanes)(part_extend(from + i * PART) << 16)); }
INLINE Vec v_load_half_first(const bf16 *from, int64_t n) {
#if defined(__AVX512F__)
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), from));
  return (Vec){{(Lanes)_mm512_slli_epi32(wide, 16)}};
#else
  if (n == LANES) return v_load_half(from);
  bf16 lanes[LANES] ALIGNED = {0};
  memcpy(lanes, from, sizeof(bf16) * (size_t)n);
  return v_load_half(lanes);
#endif
}

/* 16 integers of 8 bits. */
INLINE Vec v_load_bytes(const int8_t *from) {
#if defined(__AVX512F__)
  return (Vec){{(Lanes)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)from)))}};
#elif defined(__AVX2__)
  PER_PART((Lanes)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(from + i * PART)))));
#else
  typedef int8_t Bytes __attribute__((vector_size(PART)));
  typedef int8_t UnalignedBytes __attribute__((vector_size(PART), aligned(1), may_alias));
  PER_PART(__builtin_convertvector(__builtin_convertvector((Bytes)((const UnalignedBytes *)from)[i], LaneBits), Lanes));
#endif
}
/* 16 numbers, each twice. */
INLINE void v_load_twice(const float *from, Vec *first, Vec *second) {
#if defined(__AVX512F__)
  const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512 all = _mm512_loadu_ps(from);
  first->p[0] = (Lanes)_mm512_permutexvar_ps(low, all);
  second->p[0] = (Lanes)_mm512_permutexvar_ps(_mm512_add_epi32(low, _mm512_set1_epi32(8)), all);
#else
  float twice[2 * LANES] ALIGNED;
  for (int i = 0; i < 2 * LANES; i++) twice[i] = from[i / 2];
  *first = v_load(twice);
  *second = v_load(twice + LANES);
#endif
}

/* The nearest bfloat16 (even where two are) in the lower half of each 32 bits; what is not a number stays so. */
INLINE UnsignedLanes part_round(Lanes a) {
  const UnsignedLanes x = (UnsignedLanes)a, rounded = x + 0x7fff + (x >> 16 & 1), kept = x | 0x400000;
  const UnsignedLanes is_number = (UnsignedLanes)((x & 0x7fffffff) <= 0x7f800000);
  return ((is_number & rounded) | (~is_number & kept)) >> 16;
}
INLINE HalfLanes part_narrow(Lanes a) {
#if defined(__AVX512BF16__)
  return (HalfLanes)_mm512_cvtneps_pbh(a);
#else
  return __builtin_convertvector(part_round(a), HalfLanes);
#endif
}
/* Rounded to bfloat16. */
INLINE Vec v_rounded(Vec a) { PER_PART((Lanes)(part_round(a.p[i]) << 16)); }
INLINE void v_store_half(bf16 *to, Vec a) {
  for (int i = 0; i < PARTS; i++) *(UnalignedHalf *)(to + i * PART) = (UnalignedHalf)part_narrow(a.p[i]);
}
INLINE void v_store_half_first(bf16 *to, int64_t n, Vec a) {
#if defined(__AVX512F__)
  _mm256_mask_storeu_epi16(to, (__mmask16)((1u << n) - 1), (__m256i)part_narrow(a.p[0]));
#else
  if (n == LANES) {
    v_store_half(to, a);
    return;
  }
  bf16 lanes[LANES] ALIGNED;
  v_store_half(lanes, a);
  memcpy(to, lanes, sizeof(bf16) * (size_t)n);
#endif
}

/* 32 bfloat16: those of low, then those of high. */
INLINE Bits v_narrow2(Vec low, Vec high) {
#if defined(__AVX512BF16__)
  return (Bits){{(LaneBits)_mm512_cvtne2ps_pbh(high.p[0], low.p[0])}};
#else
  bf16 lanes[2 * LANES] ALIGNED;
  v_store_half(lanes, low);
  v_store_half(lanes + LANES, high);
  return b_load(lanes);
#endif
}
/* 16 pairs (a[i], b[i]) of bfloat16. */
INLINE Bits v_narrow_pairs(Vec a, Vec b) {
#if defined(__AVX512BF16__)
  static const unsigned short mix[32] ALIGNED = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (Bits){{(LaneBits)_mm512_permutexvar_epi16(_mm512_load_si512(mix), (__m512i)v_narrow2(a, b).p[0])}};
#else
  Bits y;
  for (int i = 0; i < PARTS; i++) y.p[i] = (LaneBits)(part_round(a.p[i]) | part_round(b.p[i]) << 16);
  return y;
#endif
}
/* 32 bfloat16 and 32 more, by turns: the pairs of the first 16 of each, and of the others. */
INLINE void b_interleave(Bits even, Bits odd, Bits *first, Bits *second) {
#if defined(__AVX512BW__)
  static const unsigned short low[32] ALIGNED = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                 8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  static const unsigned short high[32] ALIGNED = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                                  24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  const __m512i a = (__m512i)even.p[0], b = (__m512i)odd.p[0];
  first->p[0] = (LaneBits)_mm512_permutex2var_epi16(a, _mm512_load_si512(low), b);
  second->p[0] = (LaneBits)_mm512_permutex2var_epi16(a, _mm512_load_si512(high), b);
#else
  bf16 a[2 * LANES] ALIGNED, b[2 * LANES] ALIGNED;
  b_store(a, even);
  b_store(b, odd);
  for (int i = 0; i < PARTS; i++) {
    first->p[i] = (LaneBits)(part_extend(a + i * PART) | part_extend(b + i * PART) << 16);
    second->p[i] = (LaneBits)(part_extend(a + LANES + i * PART) | part_extend(b + LANES + i * PART) << 16);
  }
#endif
}

/* Transposes 16 × 16 elements of 32 bits. */
INLINE void v_transpose(Bits b[16]) {
#if defined(__AVX512F__)
  __m512i r[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = (__m512i)b[i].p[0];
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
  for (int i = 0; i < 16; i++) b[i].p[0] = (LaneBits)r[i];
#else
  typedef int32_t Four __attribute__((vector_size(16), may_alias));
  int32_t from[256] ALIGNED, to[256] ALIGNED;
  for (int i = 0; i < 16; i++) b_store(from + 16 * i, b[i]);
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 16; j += 4) {
      const Four *x = (const Four *)(from + 16 * i + j);
      Four *y = (Four *)(to + 16 * j + i);
      Four low = __builtin_shuffle(x[0], x[4], (Four){0, 4, 1, 5}), low2 = __builtin_shuffle(x[8], x[12], (Four){0, 4, 1, 5});
      Four high = __builtin_shuffle(x[0], x[4], (Four){2, 6, 3, 7}), high2 = __builtin_shuffle(x[8], x[12], (Four){2, 6, 3, 7});
      y[0] = __builtin_shuffle(low, low2, (Four){0, 1, 4, 5});
      y[4] = __builtin_shuffle(low, low2, (Four){2, 3, 6, 7});
      y[8] = __builtin_shuffle(high, high2, (Four){0, 1, 4, 5});
      y[12] = __builtin_shuffle(high, high2, (Four){2, 3, 6, 7});
    }
  for (int i = 0; i < 16; i++) b[i] = b_load(to + 16 * i);
#endif
}

/*
 * --- exponentials: with AVX-512 by its own instructions, which keep results below the normal numbers. An argument that is not a
 * number stays so; minus infinity gives 0.
 */

/* t as n + f, n whole, |f| ≤ ½, for v_scale: elsewhere t is first brought to where 2^t is 0, a normal number or infinite. */
INLINE Vec v_split(Vec t, Vec *n) {
#if defined(__AVX512F__)
  n->p[0] = _mm512_roundscale_ps(t.p[0], 8);
#else
  const Vec magic = v_all(12582912.f); /* 1.5·2²³: adding it rounds to a whole number */
  t = v_min(v_all(128.f), v_max(v_all(-127.f), t));
  *n = v_sub(v_add(t, magic), magic);
#endif
  return v_sub(t, *n);
}
/* p·2^n */
INLINE Vec v_scale(Vec p, Vec n) {
#if defined(__AVX512F__)
  return (Vec){{_mm512_scalef_ps(p.p[0], n.p[0])}};
#else
  PER_PART(p.p[i] * (Lanes)((__builtin_convertvector(n.p[i], LaneBits) + 127) << 23));
#endif
}

/* 2^t to 3e-7 relative */
INLINE Vec v_power(Vec t) {
  Vec n, f = v_split(t, &n), p = v_all(0.00133335581f);
  p = v_fma(p, f, v_all(0.00961812911f));
  p = v_fma(p, f, v_all(0.0555041087f));
  p = v_fma(p, f, v_all(0.240226507f));
  p = v_fma(p, f, v_all(0.693147181f));
  p = v_fma(p, f, v_all(1.f));
  return v_scale(p, n);
}

/* The same, at least 2^-126: results below the normal numbers take a hundred times as long. */
INLINE Vec v_power_normal(Vec t) { return v_power(v_min(v_all(128.f), v_max(v_all(-126.f), t))); }

/* 2^t to 1e-4 relative, for results that end as bfloat16 */
INLINE Vec v_power_rough(Vec t) {
  Vec n, f = v_split(t, &n), p = v_all(0.05517167f);
  p = v_fma(p, f, v_all(0.24261115f));
  p = v_fma(p, f, v_all(0.69326099f));
  p = v_fma(p, f, v_all(0.99992807f));
  return v_scale(p, n);
}

/* 1 / (1 + e^−x) to 1e-4 relative */
INLINE Vec v_sigmoid_rough(Vec x) {
  Vec y = v_add(v_all(1.f), v_power_rough(v_mul(x, v_all(-LOG2_E))));
#if defined(__AVX512F__)
  return (Vec){{_mm512_rcp14_ps(y.p[0])}};
#else
  return v_div(v_all(1.f), y);
#endif
}

/* The same to 4e-7 */
INLINE Vec v_sigmoid_normal(Vec x) {
  return v_div(v_all(1.f), v_add(v_all(1.f), v_power_normal(v_mul(x, v_all(-LOG2_E)))));
}
#endif
