/* The tables of a family for each instruction set. */
#ifndef AZ_TEST_LEVELS_H
#define AZ_TEST_LEVELS_H
#include "harness.h"

typedef struct {
  const char *name;
  Level level;
  const Op *table;
} AtLevel;

#if defined(__x86_64__)
#define LEVELS(family)                                                                                                 \
  extern const Op family##_portable[], family##_avx2[], family##_avx512[];                                             \
  static const AtLevel family##_levels[] = {{"portable", LEVEL_PORTABLE, family##_portable},                           \
                                            {"avx2", LEVEL_AVX2, family##_avx2},                                       \
                                            {"avx512", LEVEL_AVX512, family##_avx512},                                 \
                                            {0}}
#else
#define LEVELS(family)                                                                                                 \
  extern const Op family##_portable[];                                                                                 \
  static const AtLevel family##_levels[] = {{"portable", LEVEL_PORTABLE, family##_portable}, {0}}
#endif
#define FOR_LEVELS(at, family)                                                                                         \
  for (const AtLevel *at = family##_levels; at->name; at++)                                                            \
    if (has_level(at->level))

/*
 * Families of bfloat16 have tables for AVX-512 with bfloat16 and for matrix units too. A test of them runs at one level, `half_level`,
 * where TABLE(family) is the family's table; AT_EACH_LEVEL(test) makes test_each of it, which runs it at all levels of this machine.
 */
static Level half_level __attribute__((unused));
#if defined(__x86_64__)
#define HALF_FAMILY(family)                                                                                            \
  extern const Op family##_portable[], family##_avx2[], family##_avx512[], family##_avx512bf16[], family##_amx[];      \
  static const Op *const family##_tables[] = {NULL,           family##_portable,   family##_avx2,                      \
                                              family##_avx512, family##_avx512bf16, family##_amx}
#else
#define HALF_FAMILY(family)                                                                                            \
  extern const Op family##_portable[];                                                                                 \
  static const Op *const family##_tables[] = {NULL, family##_portable}
#endif
#define TABLE(family) family##_tables[half_level]
/* The same of a family of float32, which has none for matrix units. */
#if defined(__x86_64__)
#define FLOAT_FAMILY(family)                                                                                           \
  extern const Op family##_portable[], family##_avx2[], family##_avx512[];                                             \
  static const Op *const family##_tables[] = {NULL, family##_portable, family##_avx2, family##_avx512, family##_avx512}
#else
#define FLOAT_FAMILY(family) HALF_FAMILY(family)
#endif
#define AT_EACH_LEVEL(test)                                                                                            \
  static void test##_each(void) {                                                                                      \
    for (half_level = LEVEL_PORTABLE; half_level <= LEVEL_AMX && has_level(half_level); half_level++) {                \
      begin_level(half_level);                                                                                         \
      test();                                                                                                          \
    }                                                                                                                  \
  }

/* Instruction sets that multiply and add in one rounding give the same bits; of them the first seen is kept in `first`. */
static inline void check_same_bits(const AtLevel *at, Tensor *first, Tensor now) {
#if defined(__x86_64__)
  if (at->level == LEVEL_PORTABLE) return;
#endif
  if (first->data == NULL) *first = copy_of(now, sizeof(float));
  else check_same(at->name, *first, now, sizeof(float));
}
#endif
