/* Float32 products of small matrices whose result lies in lanes: what attention is made of. */
#ifndef AZ_FLOAT_PRODUCT_H
#define AZ_FLOAT_PRODUCT_H
#include "lanes.h"

/* Rows and vectors of the result that stay in registers. */
#if defined(__AVX512F__)
enum { TILE_ROWS = 8, TILE_VECS = 2 };
#else
enum { TILE_ROWS = 4, TILE_VECS = 1 };
#endif

/* c (+)= a·b. a(r, s) lies at a[r·a_row + s·a_step]; rows of b and c hold whole vectors. */
typedef struct {
  float *c;
  const float *a, *b;
  int64_t c_row, a_row, a_step, b_row;
  int64_t rows, steps, vecs;
  int is_added;
} Product;

/* Rows r … r + num_rows − 1, vectors v … v + num_vecs − 1: each element's additions go along s, whatever stands beside it. */
INLINE void product_tile(const Product *x, int64_t r, int64_t v, const int num_rows, const int num_vecs) {
  Vec sums[TILE_ROWS][TILE_VECS];
  float *c = x->c + r * x->c_row + v * LANES;
  const float *a = x->a + r * x->a_row, *b = x->b + v * LANES;
  const int64_t c_row = x->c_row, a_row = x->a_row, a_step = x->a_step, b_row = x->b_row;
#pragma GCC unroll 8
  for (int i = 0; i < num_rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < num_vecs; j++) sums[i][j] = x->is_added ? v_load(c + i * c_row + j * LANES) : v_zero();
  for (int64_t s = 0; s < x->steps; s++) {
    Vec right[TILE_VECS];
#pragma GCC unroll 2
    for (int j = 0; j < num_vecs; j++) right[j] = v_load(b + s * b_row + j * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < num_rows; i++) {
      Vec left = v_all(a[i * a_row + s * a_step]);
#pragma GCC unroll 2
      for (int j = 0; j < num_vecs; j++) sums[i][j] = v_fma(left, right[j], sums[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < num_rows; i++)
#pragma GCC unroll 2
    for (int j = 0; j < num_vecs; j++) v_store(c + i * c_row + j * LANES, sums[i][j]);
}

/* All rows of num_vecs vectors. */
INLINE void product_columns(const Product *x, int64_t v, const int num_vecs) {
  int64_t r = 0;
  for (; r + TILE_ROWS <= x->rows; r += TILE_ROWS) product_tile(x, r, v, TILE_ROWS, num_vecs);
  for (; r < x->rows; r++) product_tile(x, r, v, 1, num_vecs);
}

static __attribute__((noinline)) void multiply(Product x) {
  int64_t v = 0;
  for (; v + TILE_VECS <= x.vecs; v += TILE_VECS) product_columns(&x, v, TILE_VECS);
  for (; v < x.vecs; v++) product_columns(&x, v, 1);
}
#endif
