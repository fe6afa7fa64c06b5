/*
 * Matrices as operands of tile products (tile_unit.h): C[16×16 float32] += A[16×32] · B[32×16] in bfloat16, where B lies as 16 rows of
 * 16 pairs (elements 2k and 2k+1 of a column beside each other).
 *
 * Forms of a row-major matrix X as operands, 512 elements (1 KiB) a tile:
 *   columns of X run along k, X is the right operand transposed (…·Xᵀ):   tile_right_transposed
 *   rows of X run along k, X is the right operand (…·X):                  tile_right
 *   rows of X run along k, X is the left operand transposed (Xᵀ·…):       tile_left_transposed
 * The left operand as it is (X·…) needs no packing: tiles are loaded from its rows.
 */
#ifndef AZ_TILE_H
#define AZ_TILE_H
#include "tile_unit.h"
#include "vec.h"

/*
 * Lines of 64 bytes that will be wanted. A core has few places for lines on their way: asked for all at once they hold up what follows, so
 * they are asked for a few at a time, between products.
 */
static inline void ask(const void *from, int first, int count) {
#pragma GCC unroll 32
  for (int line = first; line < first + count; line++) __builtin_prefetch((const char *)from + 64 * line, 0, 2);
}

static inline void tiles_begin(void) { configure_tiles(16, 16); }
static inline void tiles_end(void) { TILE_RELEASE(); }

/* Tiles 0…3 are a 32 × 32 piece of the result: (rows 0…15, columns 0…15), (0, 16), (16, 0), (16, 16). */
static inline void piece_zero(void) {
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
}
static inline void piece_load(const float *p, long stride) {
  TILE_LOAD(0, p, stride * 4);
  TILE_LOAD(1, p + 16, stride * 4);
  TILE_LOAD(2, p + 16 * stride, stride * 4);
  TILE_LOAD(3, p + 16 * stride + 16, stride * 4);
}
static inline void piece_store(float *p, long stride) {
  TILE_STORE(0, p, stride * 4);
  TILE_STORE(1, p + 16, stride * 4);
  TILE_STORE(2, p + 16 * stride, stride * 4);
  TILE_STORE(3, p + 16 * stride + 16, stride * 4);
}

/* One step of 32 along k: left tiles at a0 and a1 (rows `row_bytes` apart), right ones at b0 and b1, loaded by `LOAD`. */
#define PIECE_STEP(a0, a1, row_bytes, b0, b1, LOAD)                                                                    \
  do {                                                                                                                 \
    TILE_LOAD(4, a0, row_bytes);                                                                                       \
    LOAD(6, b0, 64);                                                                                                   \
    LOAD(7, b1, 64);                                                                                                   \
    TILE_PRODUCTS(0, 4);                                                                                               \
    TILE_LOAD(5, a1, row_bytes);                                                                                       \
    TILE_PRODUCTS(2, 5);                                                                                               \
  } while (0)

/* `steps` of them; left tiles lie `a_step` elements apart along k, right ones follow each other. */
static inline void piece_product(const bf16 *a0, const bf16 *a1, long row_bytes, long a_step, const bf16 *b0,
                                 const bf16 *b1, long steps) {
  for (long k = 0; k < steps; k++)
    PIECE_STEP(a0 + k * a_step, a1 + k * a_step, row_bytes, b0 + k * TILE, b1 + k * TILE, TILE_LOAD);
}

static inline void tile_put(bf16 *to, const Bits r[16]) {
  for (int i = 0; i < 16; i++) b_store(to + 32 * i, r[i]);
}
static inline void tile_put_past_cache(bf16 *to, const Bits r[16]) {
  for (int i = 0; i < 16; i++) b_stream(to + 32 * i, r[i]);
}

/* 16 rows × 32 columns of X. */
static inline void tile_right_transposed(const bf16 *x, long stride, bf16 *to) {
  Bits r[16];
  for (int i = 0; i < 16; i++) r[i] = b_load(x + i * stride);
  v_transpose(r);
  tile_put(to, r);
}

/* Rows 2i and 2i+1 interleaved: columns 0…15 into left[i], 16…31 into right[i]; rows from `rows` on count as zeros. */
static inline void interleave_rows(const bf16 *x, long stride, int rows, Bits left[16], Bits right[16]) {
  for (int i = 0; i < 16; i++) {
    const Bits even = 2 * i < rows ? b_load(x + 2 * i * stride) : b_zero();
    const Bits odd = 2 * i + 1 < rows ? b_load(x + (2 * i + 1) * stride) : b_zero();
    b_interleave(even, odd, left + i, right + i);
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
#endif
