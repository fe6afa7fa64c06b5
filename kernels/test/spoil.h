/*
 * What becomes of a number that is none, or infinite, in an input of a kernel: which numbers of its results are no longer finite, while
 * all others keep their bits.
 */
#ifndef AZ_TEST_SPOIL_H
#define AZ_TEST_SPOIL_H
#include "levels.h"

enum { MAX_SPOILT = 16 };

/* What a spoilt number does to one of a result. */
typedef enum {
  KEPT,          /* it keeps its bits */
  SPOILT,        /* it is not finite */
  SPOILT_BY_NAN, /* the same; after an infinite one it is what the formula tends to */
  ANY,           /* not tested */
} Effect;

typedef struct Spoiling Spoiling;

struct Spoiling {
  const char *name; /* of the op */
  /* float32 [rows, columns] → the same */
  void (*run)(const Tensor *in, Tensor *out);
  int64_t shape[MAX_SPOILT][2]; /* of the inputs, ended by zeros */
  /*
   * For each input a letter for each result, which numbers of it are spoilt: e the same row and column, r the same row, c the same column,
   * a all, w the column that is the row in the input, t the row that is the column in the input; capitals: by not-a-numbers only.
   * n and m: like r and a by not-a-numbers, like e by infinite ones. A dot: none.
   */
  const char *reaches[MAX_SPOILT];
  /* In place of the letters, of so many results. */
  int num_results;
  Effect (*effect)(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column);
};

/* Spoils numbers of each input in turn. */
void check_spoiling(const Spoiling *kernel, Level level);

void must_run(Call *call);
/* float32 [rows, columns] as bfloat16 [rows, stride] and back: columns from `offset` on. */
Tensor half_of(Tensor x);
Tensor floats_of(Tensor half, int64_t offset, int64_t columns);

extern const Spoiling spoilt_rows[], spoilt_products[], spoilt_attention[], spoilt_plain[];
#endif
