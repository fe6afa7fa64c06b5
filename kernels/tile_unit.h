/*
 * Eight tiles of 16 rows of 64 bytes, and their product: with the matrix unit (AMX) where the file is compiled for it, and with
 * vectors elsewhere (tile_unit_half.c). Tiles 0…3 hold sums [16, 16] float32, tiles 4 and 5 left operands [16, 32] bfloat16, tiles 6 and
 * 7 right operands: 16 pairs of rows × 16 columns × the two of the pair.
 *
 * A product adds to each element of the sum the 32 products of a row of the left operand and a column of the right. Even and odd
 * products are summed apart, in order, by fused multiply-adds from 0, and then both sums are added to the element: the matrix unit does
 * exactly that, and so do the vectors (where they multiply and add in one rounding), so the bits are the same. Numbers below the normal
 * ones are the exception: the matrix unit takes them for zeros. A row of the sum depends on its row of the left operand alone.
 *
 * Vectors with an instruction for pairs of bfloat16 (AVX512_BF16) sum the 32 products pair by pair from 0 before they add them to the
 * element: bits of their own, the same for a row wherever it stands. They read operands where they lie, so what a tile was loaded from stays
 * as it is until the tile's last product.
 */
#ifndef AZ_TILE_UNIT_H
#define AZ_TILE_UNIT_H
#include <string.h>
#include "op.h"

/* Numbers of an operand. */
enum { TILE = 16 * 32 };

#if defined(__AMX_BF16__)
/* As assembly: the intrinsics of gcc 12 let stores to a buffer move behind the load of a tile from it. */
#define TILE_LOAD(t, base, stride) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"((const void *)(base)), "r"((long)(stride)) : "memory")
/* For what comes from the second-level cache and is not used again soon: the first-level cache keeps what it holds. */
#define TILE_LOAD_ONCE(t, base, stride) \
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #t ::"r"((const void *)(base)), "r"((long)(stride)) : "memory")
#define TILE_STORE(t, base, stride) \
  __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"((void *)(base)), "r"((long)(stride)) : "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %tmm" #t)
#define TILE_PRODUCT(c, a, b) __asm__ volatile("tdpbf16ps %tmm" #b ", %tmm" #a ", %tmm" #c)
/* Those of right operands 6 and 7 with the same left one: sums 0 and 1, or 2 and 3. */
#define TILE_PRODUCTS(c, a) \
  __asm__ volatile("tdpbf16ps %%tmm6, %%tmm" #a ", %%tmm%c0\n\ttdpbf16ps %%tmm7, %%tmm" #a ", %%tmm%c1" ::"i"(c), "i"((c) + 1))
#define TILE_RELEASE() __asm__ volatile("tilerelease" ::: "memory")

struct tile_config {
  uint8_t palette, start, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} __attribute__((packed, aligned(64)));

static inline void configure_tile_rows(const int rows[8]) {
  struct tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = 64;
    config.rows[i] = (uint8_t)rows[i];
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
}
#else
#define tile_unit_begin EACH(tile_unit_begin)
#define tile_unit_end EACH(tile_unit_end)
#define tile_unit_load EACH(tile_unit_load)
#define tile_unit_store EACH(tile_unit_store)
#define tile_unit_zero EACH(tile_unit_zero)
#define tile_unit_product EACH(tile_unit_product)
#define tile_unit_products EACH(tile_unit_products)
void tile_unit_begin(const int rows[8]);
void tile_unit_end(void);
void tile_unit_load(int t, const void *base, long stride);
void tile_unit_store(int t, float *base, long stride);
void tile_unit_zero(int t);
void tile_unit_product(int c, int a, int b);
void tile_unit_products(int c, int a);
#define TILE_LOAD(t, base, stride) tile_unit_load(t, base, stride)
#define TILE_LOAD_ONCE(t, base, stride) tile_unit_load(t, base, stride)
#define TILE_STORE(t, base, stride) tile_unit_store(t, base, stride)
#define TILE_ZERO(t) tile_unit_zero(t)
#define TILE_PRODUCT(c, a, b) tile_unit_product(c, a, b)
#define TILE_PRODUCTS(c, a) tile_unit_products(c, a)
#define TILE_RELEASE() tile_unit_end()
static inline void configure_tile_rows(const int rows[8]) { tile_unit_begin(rows); }
#endif

/*
 * Sums 0, 1 and left operand 4 get `first` rows, sums 2, 3 and left operand 5 `second`; right operands have 16. The configuration belongs
 * to the thread: every task sets it and releases it.
 */
static inline void configure_tiles(int first, int second) {
  configure_tile_rows((const int[8]){first, first, second, second, first, second, 16, 16});
}
#endif
