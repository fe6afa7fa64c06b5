/*
 * Tiles of the matrix unit (AMX): 16 rows of 64 bytes. A product step is C[16×16 float32] += A[16×32] · B[32×16] in bfloat16,
 * where B lies as 16 rows of 16 pairs (elements 2k and 2k+1 of a column beside each other).
 *
 * Forms of a row-major matrix X as operands, 512 elements (1 KiB) a tile:
 *   columns of X run along k, X is the right operand transposed (…·Xᵀ):   tile_right_transposed
 *   rows of X run along k, X is the right operand (…·X):                  tile_right
 *   rows of X run along k, X is the left operand transposed (Xᵀ·…):       tile_left_transposed
 * The left operand as it is (X·…) needs no packing: tiles are loaded from its rows.
 */
#ifndef AZ_TILE_H
#define AZ_TILE_H
#include <string.h>
#include "vec.h"

enum { TILE = 512 };

/* gcc 12's _tile_loadd has no memory clobber: stores to a buffer may be moved behind the load of a tile from it. */
#undef _tile_loadd
#define _tile_loadd(dst, base, stride)                                                                                 \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #dst ::"r"((const void *)(base)), "r"((long)(stride)) : "memory")

/* All eight tiles 16 × 64 bytes. The configuration belongs to the thread: every task sets it and releases it. */
static inline void tiles_begin(void) {
  struct {
    unsigned char palette, start, reserved[14];
    unsigned short row_bytes[16];
    unsigned char rows[16];
  } __attribute__((packed, aligned(64))) c;
  memset(&c, 0, sizeof c);
  c.palette = 1;
  for (int i = 0; i < 8; i++) {
    c.row_bytes[i] = 64;
    c.rows[i] = 16;
  }
  /* gcc 12 thinks that loadconfig reads 8 bytes, and drops the stores above as dead. */
  __asm__ volatile("" ::"r"(&c) : "memory");
  _tile_loadconfig(&c);
}
static inline void tiles_end(void) { _tile_release(); }

/* Tiles 0…3 are a 32 × 32 piece of the result: (rows 0…15, columns 0…15), (0, 16), (16, 0), (16, 16). */
static inline void piece_zero(void) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}
static inline void piece_load(const float *p, long stride) {
  _tile_loadd(0, p, stride * 4);
  _tile_loadd(1, p + 16, stride * 4);
  _tile_loadd(2, p + 16 * stride, stride * 4);
  _tile_loadd(3, p + 16 * stride + 16, stride * 4);
}
static inline void piece_store(float *p, long stride) {
  _tile_stored(0, p, stride * 4);
  _tile_stored(1, p + 16, stride * 4);
  _tile_stored(2, p + 16 * stride, stride * 4);
  _tile_stored(3, p + 16 * stride + 16, stride * 4);
}

/* One step of 32 along k: left tiles at a0 and a1 (rows `row_bytes` apart), right tiles at b0 and b1. */
#define PIECE_STEP(a0, a1, row_bytes, b0, b1)                                                                          \
  do {                                                                                                                 \
    _tile_loadd(4, a0, row_bytes);                                                                                     \
    _tile_loadd(6, b0, 64);                                                                                            \
    _tile_dpbf16ps(0, 4, 6);                                                                                           \
    _tile_loadd(7, b1, 64);                                                                                            \
    _tile_dpbf16ps(1, 4, 7);                                                                                           \
    _tile_loadd(5, a1, row_bytes);                                                                                     \
    _tile_dpbf16ps(2, 5, 6);                                                                                           \
    _tile_dpbf16ps(3, 5, 7);                                                                                           \
  } while (0)

/* `steps` of them; left tiles lie `a_step` elements apart along k, right ones follow each other. */
static inline void piece_product(const bf16 *a0, const bf16 *a1, long row_bytes, long a_step, const bf16 *b0,
                                 const bf16 *b1, long steps) {
  for (long k = 0; k < steps; k++)
    PIECE_STEP(a0 + k * a_step, a1 + k * a_step, row_bytes, b0 + k * TILE, b1 + k * TILE);
}

static inline void tile_put(bf16 *to, const Bits r[16]) {
  for (int i = 0; i < 16; i++) _mm512_store_si512((void *)(to + 32 * i), r[i]);
}
static inline void tile_put_past_cache(bf16 *to, const Bits r[16]) {
  for (int i = 0; i < 16; i++) _mm512_stream_si512((void *)(to + 32 * i), r[i]);
}

/* 16 rows × 32 columns of X. */
static inline void tile_right_transposed(const bf16 *x, long stride, bf16 *to) {
  Bits r[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512((const void *)(x + i * stride));
  v_transpose(r);
  tile_put(to, r);
}

/* Rows 2i and 2i+1 interleaved: columns 0…15 into left[i], 16…31 into right[i]; rows from `rows` on count as zeros. */
static inline void interleave_rows(const bf16 *x, long stride, int rows, Bits left[16], Bits right[16]) {
  static const unsigned short low[32] ALIGNED = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                 8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  static const unsigned short high[32] ALIGNED = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                                  24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
  Bits pick_low = _mm512_load_si512(low), pick_high = _mm512_load_si512(high), zero = _mm512_setzero_si512();
  for (int i = 0; i < 16; i++) {
    Bits even = 2 * i < rows ? _mm512_loadu_si512((const void *)(x + 2 * i * stride)) : zero;
    Bits odd = 2 * i + 1 < rows ? _mm512_loadu_si512((const void *)(x + (2 * i + 1) * stride)) : zero;
    left[i] = _mm512_permutex2var_epi16(even, pick_low, odd);
    right[i] = _mm512_permutex2var_epi16(even, pick_high, odd);
  }
}

/* Two tiles of 16 columns each, of 32 rows × 32 columns of X. */
static inline void tile_right(const bf16 *x, long stride, int rows, bf16 *to0, bf16 *to1) {
  Bits a[16], b[16];
  interleave_rows(x, stride, rows, a, b);
  tile_put(to0, a);
  tile_put(to1, b);
}
static inline void tile_left_transposed(const bf16 *x, long stride, int rows, bf16 *to0, bf16 *to1) {
  Bits a[16], b[16];
  interleave_rows(x, stride, rows, a, b);
  v_transpose(a);
  tile_put(to0, a);
  v_transpose(b);
  tile_put(to1, b);
}

/* 16 pairs (a[i], b[i]) of bfloat16 */
static inline Bits pair_up(Vec a, Vec b) {
  static const unsigned short mix[32] ALIGNED = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(mix), v_narrow2(a, b));
}
#endif
