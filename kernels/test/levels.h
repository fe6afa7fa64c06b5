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

/* Instruction sets that multiply and add in one rounding give the same bits; of them the first seen is kept in `first`. */
static inline void check_same_bits(const AtLevel *at, Tensor *first, Tensor now) {
#if defined(__x86_64__)
  if (at->level == LEVEL_PORTABLE) return;
#endif
  if (first->data == NULL) *first = copy_of(now, sizeof(float));
  else check_same(at->name, *first, now, sizeof(float));
}
#endif
