/*
 * Products of bfloat16 tiles with float32 sums: the arithmetic that the kernels of decoding share.
 *
 * A tile product adds to each element of C [16, 16] the 32 products of a row of A [16, 32] and a column of B, which is stored as 16
 * pairs [16, 16, 2]. Even and odd products are summed apart, in order, by fused multiply-adds, and then both sums are added to C. The
 * matrix unit does exactly that, the emulation below does the same, and a row of C depends on its row of A alone: results are the
 * same bits on both, whatever rows stand beside.
 */
#ifndef AZ_DECODE_TILE_H
#define AZ_DECODE_TILE_H
#include <immintrin.h>
#include <string.h>
#include "op.h"

/* Numbers of a tile; bytes of a tile of a direction, which is packed in 8 bits (decode_pack_amx.c). */
enum { TILE = 16 * 32, MOVE_TILE = 64 + TILE };

/* As assembly: the intrinsics of gcc 12 let stores to a buffer move behind the load of a tile from it. */
#define TILE_LOAD(t, base, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"((const void *)(base)), "r"((long)(stride)) : "memory")
#define TILE_STORE(t, base, stride) \
  __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"((void *)(base)), "r"((long)(stride)) : "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %tmm" #t)
#define TILE_PRODUCT(c, a, b) __asm__ volatile("tdpbf16ps %tmm" #b ", %tmm" #a ", %tmm" #c)
#define TILE_RELEASE() __asm__ volatile("tilerelease" ::: "memory")

struct tile_config {
  uint8_t palette, start, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} __attribute__((packed, aligned(64)));

/* C tiles 0, 1 and A tile 4 get `first` rows, C tiles 2, 3 and A tile 5 `second`; B tiles 6, 7 have 16. */
static inline void configure_tiles(int first, int second) {
  struct tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = 64;
    config.rows[i] = 16;
  }
  config.rows[0] = config.rows[1] = config.rows[4] = (uint8_t)first;
  config.rows[2] = config.rows[3] = config.rows[5] = (uint8_t)second;
  __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
}

static inline __m512 load_bf16(const bf16 *p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}
/* 32 numbers, rounded to nearest even */
static inline __m512i pack_bf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
static inline __mmask16 first_lanes(long n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

/* 2^x, at least 2^-126: results below the normal numbers take a hundred times as long */
static inline __m512 exp2_ps(__m512 x) {
  x = _mm512_min_ps(_mm512_set1_ps(128.f), _mm512_max_ps(_mm512_set1_ps(-126.f), x)); /* not-a-numbers stay */
  __m512 n = _mm512_roundscale_ps(x, 8), f = _mm512_sub_ps(x, n), p = _mm512_set1_ps(0.00133335581f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00961812911f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0555041087f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240226507f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693147181f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(p, n);
}
static const float LOG2_E = 1.44269504088896341f;
static inline __m512 sigmoid_ps(__m512 x) {
  __m512 one = _mm512_set1_ps(1.f);
  return _mm512_div_ps(one, _mm512_add_ps(one, exp2_ps(_mm512_mul_ps(x, _mm512_set1_ps(-LOG2_E)))));
}

/* 16 × 16 transposed, of 32-bit elements */
static inline void transpose(__m512i r[16]) {
  __m512i t[16];
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
