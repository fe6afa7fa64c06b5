/* The tiles of tile_unit.h for processors without a matrix unit: memory of the thread, and products of vectors. */
#include "tile_unit.h"
#ifndef __AMX_BF16__
#include "vec.h"

#if defined(__AVX512BF16__)
/* An operand is multiplied where it lies. */
typedef struct {
  const char *base;
  long stride;
} Operand;
#else
/* An operand as float32: of each row (of 32 bfloat16) the even ones, then the odd ones. */
typedef struct {
  float rows[16][32];
} Operand;
#endif

typedef struct {
  float sums[4][16 * 16];
  Operand operands[4];
  int rows[8];
} Unit;

/*
 * The unit of a thread while it computes. The thread's variable is a pointer, in the model that takes one instruction to read it: a
 * product is short.
 */
static _Thread_local Unit *unit __attribute__((tls_model("initial-exec")));

void tile_unit_begin(const int rows[8]) {
  if (unit == NULL) unit = az_take(sizeof *unit);
  memcpy(unit->rows, rows, sizeof unit->rows);
}

void tile_unit_end(void) {
  if (unit != NULL) az_give(unit);
  unit = NULL;
}

#if defined(__AVX512BF16__)
INLINE void load_operand(Operand *to, int rows, const char *from, long stride) { *to = (Operand){from, stride}; }
#else
INLINE void load_operand(Operand *to, int rows, const char *from, long stride) {
  for (int r = 0; r < rows; r++) {
    const Bits pairs = b_load(from + r * stride);
    for (int i = 0; i < PARTS; i++) {
      *(Unaligned *)(to->rows[r] + i * PART) = (Unaligned)(pairs.p[i] << 16);
      *(Unaligned *)(to->rows[r] + 16 + i * PART) = (Unaligned)(pairs.p[i] & (int32_t)0xffff0000);
    }
  }
}
#endif

void tile_unit_load(int t, const void *base, long stride) {
  const char *from = base;
  if (t >= 4) load_operand(unit->operands + t - 4, unit->rows[t], from, stride);
  else
    for (int r = 0; r < unit->rows[t]; r++) v_store(unit->sums[t] + 16 * r, v_load((const float *)(from + r * stride)));
}

void tile_unit_store(int t, float *base, long stride) {
  for (int r = 0; r < unit->rows[t]; r++) v_store((float *)((char *)base + r * stride), v_load(unit->sums[t] + 16 * r));
}

void tile_unit_zero(int t) { memset(unit->sums[t], 0, sizeof unit->sums[t]); }

/* Rows whose sums stay in registers: of one tile, and of two side by side, which need each number of the left operand once for both. */
#if defined(__AVX512BF16__)
enum { ROWS = 8, REST = 4, ROWS_OF_TWO = 8, REST_OF_TWO = 4 };
#elif defined(__AVX512F__)
enum { ROWS = 8, REST = 4, ROWS_OF_TWO = 6, REST_OF_TWO = 4 };
#elif defined(__AVX2__)
enum { ROWS = 3, REST = 1 };
#elif defined(__aarch64__)
enum { ROWS = 2, REST = 1 };
#else
enum { ROWS = 1, REST = 1 };
#endif

#if defined(__AVX512BF16__)
/* Pair k of a row of a left operand for all columns, and of each column of a right one. */
INLINE __m512bh left_pair(const Operand *a, int row, int k) {
  int32_t pair;
  memcpy(&pair, a->base + row * a->stride + 4 * k, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}
INLINE __m512bh right_pairs(const Operand *b, int k) { return (__m512bh)_mm512_loadu_si512(b->base + k * b->stride); }

/* `rows` rows from `first` on of `tiles` products, each summed pair by pair: sums[t] += a·b[t]. */
INLINE void product_rows(const int rows, const int tiles, float *const sums[2], const Operand *a, int first, const Operand *const b[2]) {
  __m512 own[ROWS][2];
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles; t++) own[r][t] = _mm512_setzero_ps();
  for (int k = 0; k < 16; k++) {
    __m512bh right[2];
    for (int t = 0; t < tiles; t++) right[t] = right_pairs(b[t], k);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const __m512bh left = left_pair(a, first + r, k);
      for (int t = 0; t < tiles; t++) own[r][t] = _mm512_dpbf16_ps(own[r][t], left, right[t]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles; t++) {
      float *sum = sums[t] + 16 * r;
      v_store(sum, v_add(v_load(sum), (Vec){{own[r][t]}}));
    }
}
#else
/* `rows` rows from `first` on of `tiles` products: sums[t] += a·b[t]. */
INLINE void product_rows(const int rows, const int tiles, float *const sums[2], const Operand *a, int first, const Operand *const b[2]) {
  Vec even[ROWS][2], odd[ROWS][2];
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles; t++) even[r][t] = odd[r][t] = v_zero();
  for (int k = 0; k < 16; k++) {
    Vec b_even[2], b_odd[2];
    for (int t = 0; t < tiles; t++) {
      b_even[t] = v_load(b[t]->rows[k]);
      b_odd[t] = v_load(b[t]->rows[k] + 16);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const float *row = a->rows[first + r];
      const Vec a_even = v_all(row[k]), a_odd = v_all(row[16 + k]);
      for (int t = 0; t < tiles; t++) {
        even[r][t] = v_fma(a_even, b_even[t], even[r][t]);
        odd[r][t] = v_fma(a_odd, b_odd[t], odd[r][t]);
      }
    }
  }
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles; t++) {
      float *sum = sums[t] + 16 * r;
      v_store(sum, v_add(v_load(sum), v_add(even[r][t], odd[r][t])));
    }
}
#endif

/* Blocks of rows from r on, while they are whole. */
#define FORWARD(rows_of_block, tiles)                                                                                  \
  for (; r + (rows_of_block) <= rows; r += (rows_of_block))                                                            \
  product_rows(rows_of_block, tiles, (float *[2]){unit->sums[c] + 16 * r, unit->sums[MIN(c + 1, 3)] + 16 * r},           \
               unit->operands + a - 4, r, (const Operand *[2]){unit->operands + b - 4, unit->operands + 3})

void tile_unit_product(int c, int a, int b) {
  const int rows = unit->rows[c];
  int r = 0;
  FORWARD(ROWS, 1);
  FORWARD(REST, 1);
  FORWARD(1, 1);
}

void tile_unit_products(int c, int a) {
#if defined(__AVX512F__)
  const int rows = unit->rows[c], b = 6;
  int r = 0;
  FORWARD(ROWS_OF_TWO, 2);
  FORWARD(REST_OF_TWO, 2);
  FORWARD(1, 2);
#else
  tile_unit_product(c, a, 6);
  tile_unit_product(c + 1, a, 7);
#endif
}
#endif
