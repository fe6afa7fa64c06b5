/*
 * Runs ops without ONNX Runtime. Tensors end where a forbidden page begins, their slack up to it (what alignment leaves) and all
 * scratch memory and outputs are not-a-numbers before a run: what reads or writes past an end, or reads what was never written,
 * is found even where no sanitizer looks (tile loads).
 */
#ifndef AZ_TEST_HARNESS_H
#define AZ_TEST_HARNESS_H
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "op.h"

enum { MAX_TENSORS = 48 };

typedef struct {
  const Op *table;
  const char *name;
  int64_t ints[AZ_MAX_ATTRIBUTES];
  float floats[8];
  int num_inputs, num_outputs;
  Tensor in[MAX_TENSORS];
  Tensor out[MAX_TENSORS]; /* data given beforehand: memory that the output is to take (in place) */
  int64_t unwanted;        /* bit k: nothing reads output k */
  int is_reversed;         /* tasks from the last to the first */
} Call;

/* Runs; null, or what the op says is wrong. Checks that nothing around the tensors was touched. */
const char *run_op(Call *call);

/* Tensors live until the end of a test. Unfilled ones are not-a-numbers. */
Tensor tensor_of(size_t element_bytes, int rank, const int64_t *dim);
#define SHAPE(...) sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__}
Tensor waves(int seed, int rank, const int64_t *dim);      /* float32 in −1…1 */
Tensor half_waves(int seed, int rank, const int64_t *dim); /* bfloat16 */
#define WAVES(seed, ...) waves(seed, SHAPE(__VA_ARGS__))
#define HALF_WAVES(seed, ...) half_waves(seed, SHAPE(__VA_ARGS__))
#define FLOATS(t) ((float *)(t).data)
#define HALVES(t) ((bf16 *)(t).data)
#define LONGS(t) ((int64_t *)(t).data)
#define INTS(t) ((int32_t *)(t).data)
Tensor copy_of(Tensor t, size_t element_bytes);
float from_half(bf16 h);
bf16 to_half(float x);

int64_t count_of(Tensor t);
int has_level(Level level);
/* What follows is a test of its own at this level: tensors end here, failures name it. */
void begin_level(Level level);

/* Reports a failure of the running test if not so. */
void check(int is_so, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* |actual − expected| ≤ tolerance · the largest |expected| (at least 1); a not-a-number is never close. */
void check_close(const char *what, Tensor actual, const double *expected, double tolerance);
void check_same(const char *what, Tensor a, Tensor b, size_t element_bytes);

typedef struct {
  const char *name;
  void (*run)(void);
  Level level;
} Test;
#endif
