/* Gated units whose neighbours are not taken in, and pairs of matrices: bfloat16 rows against float64. */
#include "levels.h"

HALF_FAMILY(az_norm_ops);

/* One rounding to bfloat16, and exponentials that are as good. */
static const double TOLERANCE = 8e-3;

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}
static void check_near(const char *what, bf16 actual, double expected) {
  const double found = from_half(actual);
  check(isnan(expected) ? isnan(found) : fabs(found - expected) <= TOLERANCE * (1 + fabs(expected)), "%s is %g, expected %g", what, found, expected);
}

/* Columns of `value` from `offset` on of a matrix [rows, stride]. */
#define VALUE(x, r, j, offset) ((double)from_half(HALVES(x)[(r)*x.dim[1] + (offset) + (j)]))

static void test_gates(void) {
  static const int64_t shapes[][2] = {{1, 1}, {3, 17}, {65, 32}, {70, 45}};
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], part = ROUND_UP(width, 32), stride = 2 * part;
    Tensor both = HALF_WAVES(1, rows, stride), dy = HALF_WAVES(2, rows, part); /* gate, then up */
    for (int64_t i = 0; i < rows * stride; i++) HALVES(both)[i] = to_half(8 * from_half(HALVES(both)[i]));
    HALVES(both)[0] = to_half(NAN);
    Call forward = {.table = TABLE(az_norm_ops), .name = "Swiglu", .ints = {rows, width, 0, stride, part, stride}, .in = {both, both}, .num_inputs = 2};
    Call back = {.table = TABLE(az_norm_ops), .name = "SwigluBackward", .ints = {rows, width, 0, stride, part, stride, 0, part}, .in = {both, both, dy}, .num_inputs = 3};
    must_run(&forward);
    must_run(&back);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < part; j++) {
        const double g = VALUE(both, r, j, 0), u = VALUE(both, r, j, part), d = VALUE(dy, r, j, 0), sigmoid = 1 / (1 + exp(-g));
        const int is_there = j < width;
        check_near("silu(gate)·up", HALVES(forward.out[0])[r * part + j], is_there ? g * sigmoid * u : 0);
        check_near("dgate", HALVES(back.out[0])[r * part + j], is_there ? d * u * sigmoid * (1 + g * (1 - sigmoid)) : 0);
        check_near("dup", HALVES(back.out[1])[r * part + j], is_there ? d * g * sigmoid : 0);
      }
  }
}

/* gate and up by turns of 16 columns */
static void test_pairs(void) {
  static const int64_t shapes[][2] = {{1, 1}, {3, 17}, {65, 32}, {70, 45}};
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], part = ROUND_UP(width, 32), stride = 2 * part;
    Tensor pair = HALF_WAVES(1, rows, stride), dy = HALF_WAVES(2, rows, part);
    for (int64_t i = 0; i < rows * stride; i++)
      if (i % stride / 32 * 16 + i % 16 >= width) HALVES(pair)[i] = 0;
    Call split = {.table = TABLE(az_norm_ops), .name = "SplitPair", .ints = {rows, width}, .in = {pair}, .num_inputs = 1};
    Call back = {.table = TABLE(az_norm_ops), .name = "SwigluPairBackward", .ints = {rows, width, 0, part}, .in = {dy, pair}, .num_inputs = 2};
    must_run(&split);
    must_run(&back);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < part; j++) {
        const int64_t at = j / 16 * 32 + j % 16;
        const double g = VALUE(pair, r, at, 0), u = VALUE(pair, r, at, 16), sigmoid = 1 / (1 + exp(-g));
        const double d = j < width ? VALUE(dy, r, j, 0) : 0;
        check(HALVES(split.out[0])[r * part + j] == to_half((float)g) && HALVES(split.out[1])[r * part + j] == to_half((float)u), "a pair is split wrong");
        check_near("dgate", HALVES(back.out[0])[r * stride + at], d * u * sigmoid * (1 + g * (1 - sigmoid)));
        check_near("dup", HALVES(back.out[0])[r * stride + at + 16], d * g * sigmoid);
      }
  }
}

AT_EACH_LEVEL(test_gates)
AT_EACH_LEVEL(test_pairs)

const Test half_row_tests[] = {
    {"bfloat16 gated units apart and their gradients are those of float64 up to rounding", test_gates_each, LEVEL_PORTABLE},
    {"bfloat16 pairs by turns of 16 columns: split, and their gradient", test_pairs_each, LEVEL_PORTABLE},
    {0},
};
