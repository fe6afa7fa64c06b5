/* The tiles of tile_unit.h for processors without a matrix unit: memory of the thread, and products of vectors. */
#include "tile_unit.h"
#ifndef __AMX_BF16__
#include "vec.h"

typedef struct {
  float sums[4][16 * 16];
  /* Operands as float32: of each row (of 32 bfloat16) the even ones, then the odd ones. */
  float operands[4][16 * 32];
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

void tile_unit_load(int t, const void *base, long stride) {
  const char *from = base;
  if (t < 4) {
    for (int r = 0; r < unit->rows[t]; r++) v_store(unit->sums[t] + 16 * r, v_load((const float *)(from + r * stride)));
    return;
  }
  float *to = unit->operands[t - 4];
  for (int r = 0; r < unit->rows[t]; r++) {
    const Bits pairs = b_load(from + r * stride);
    for (int i = 0; i < PARTS; i++) {
      *(Unaligned *)(to + 32 * r + i * PART) = (Unaligned)(pairs.p[i] << 16);
      *(Unaligned *)(to + 32 * r + 16 + i * PART) = (Unaligned)(pairs.p[i] & (int32_t)0xffff0000);
    }
  }
}

void tile_unit_store(int t, float *base, long stride) {
  for (int r = 0; r < unit->rows[t]; r++) v_store((float *)((char *)base + r * stride), v_load(unit->sums[t] + 16 * r));
}

void tile_unit_zero(int t) { memset(unit->sums[t], 0, sizeof unit->sums[t]); }

/* Rows whose sums stay in registers: of one tile, and of two side by side, which need each number of the left operand once for both. */
#if defined(__AVX512F__)
enum { ROWS = 8, REST = 4, ROWS_OF_TWO = 6, REST_OF_TWO = 4 };
#elif defined(__AVX2__)
enum { ROWS = 3, REST = 1 };
#elif defined(__aarch64__)
enum { ROWS = 2, REST = 1 };
#else
enum { ROWS = 1, REST = 1 };
#endif

/* `rows` rows of `tiles` products: sums[t] += a·b[t]. */
INLINE void product_rows(const int rows, const int tiles, float *const sums[2], const float *a, const float *const b[2]) {
  Vec even[ROWS][2], odd[ROWS][2];
  for (int r = 0; r < rows; r++)
    for (int t = 0; t < tiles; t++) even[r][t] = odd[r][t] = v_zero();
  for (int k = 0; k < 16; k++) {
    Vec b_even[2], b_odd[2];
    for (int t = 0; t < tiles; t++) {
      b_even[t] = v_load(b[t] + 32 * k);
      b_odd[t] = v_load(b[t] + 32 * k + 16);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const Vec a_even = v_all(a[32 * r + k]), a_odd = v_all(a[32 * r + 16 + k]);
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

/* Blocks of rows from r on, while they are whole. */
#define FORWARD(rows_of_block, tiles)                                                                                  \
  for (; r + (rows_of_block) <= rows; r += (rows_of_block))                                                            \
  product_rows(rows_of_block, tiles, (float *[2]){unit->sums[c] + 16 * r, unit->sums[MIN(c + 1, 3)] + 16 * r},           \
               unit->operands[a - 4] + 32 * r, (const float *[2]){unit->operands[b - 4], unit->operands[3]})

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
