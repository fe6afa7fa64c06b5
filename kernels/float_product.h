/* Float32 products of small matrices whose result lies in lanes: what attention is made of. */
#ifndef AZ_FLOAT_PRODUCT_H
#define AZ_FLOAT_PRODUCT_H
#include "lanes.h"

/* Rows and parts of vectors of the result that stay in registers; more rows where one part is enough (a step of decoding). */
#if defined(__AVX512F__)
enum { TILE_ROWS = 8, TILE_PARTS = 2 };
#elif defined(__AVX2__)
enum { TILE_ROWS = 4, TILE_PARTS = 2 };
#else
enum { TILE_ROWS = 4, TILE_PARTS = 4 };
#endif
enum { NARROW_ROWS = 8 };

/* c (+)= a·b. a(r, s) lies at a[r·a_row + s·a_step]; rows of b and c hold whole parts. */
typedef struct {
  float *c;
  const float *a, *b;
  int64_t c_row, a_row, a_step, b_row;
  int64_t rows, steps, parts;
  int is_added;
} Product;

/* Rows r … r + num_rows − 1, parts from `v` on: each element's additions go along s, whatever stands beside it. */
INLINE void product_tile(const Product *x, int64_t r, int64_t v, const int num_rows, const int num_parts) {
  Lanes sums[NARROW_ROWS][TILE_PARTS];
  float *c = x->c + r * x->c_row + v * PART;
  const float *a = x->a + r * x->a_row, *b = x->b + v * PART;
  const int64_t c_row = x->c_row, a_row = x->a_row, a_step = x->a_step, b_row = x->b_row;
#pragma GCC unroll 8
  for (int i = 0; i < num_rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < num_parts; j++) sums[i][j] = x->is_added ? part_load(c + i * c_row + j * PART) : (Lanes){0};
  for (int64_t s = 0; s < x->steps; s++) {
    Lanes right[TILE_PARTS];
#pragma GCC unroll 4
    for (int j = 0; j < num_parts; j++) right[j] = part_load(b + s * b_row + j * PART);
#pragma GCC unroll 8
    for (int i = 0; i < num_rows; i++) {
      Lanes left = part_all(a[i * a_row + s * a_step]);
#pragma GCC unroll 4
      for (int j = 0; j < num_parts; j++) sums[i][j] = part_fma(left, right[j], sums[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < num_rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < num_parts; j++) *(Unaligned *)(c + i * c_row + j * PART) = (Unaligned)sums[i][j];
}

/* All rows of num_parts parts. */
INLINE void product_columns(const Product *x, int64_t v, const int num_rows, const int num_parts) {
  int64_t r = 0;
  for (; r + num_rows <= x->rows; r += num_rows) product_tile(x, r, v, num_rows, num_parts);
  for (; r < x->rows; r++) product_tile(x, r, v, 1, num_parts);
}

static __attribute__((noinline)) void multiply(Product x) {
  int64_t v = 0;
  for (; v + TILE_PARTS <= x.parts; v += TILE_PARTS) product_columns(&x, v, TILE_ROWS, TILE_PARTS);
  for (; v < x.parts; v++) product_columns(&x, v, NARROW_ROWS, 1);
}
#endif
