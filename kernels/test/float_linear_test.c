/* Linear layers in float32 against float64, on every instruction set. */
#include "levels.h"

LEVELS(az_float_linear_ops);

static const int64_t ROW_COUNTS[] = {1, 3, 4, 9, 15, 16, 17, 33, 64, 300}, INPUTS[] = {1, 15, 16, 17, 100}, FEATURES[] = {1, 5, 12, 61};

static Tensor run_linear(const Op *table, Tensor x, Tensor w, Tensor bias) {
  Call call = {.table = table, .name = "FloatLinear", .in = {x, w, bias}, .num_inputs = bias.data ? 3 : 2};
  const char *error = run_op(&call);
  check(error == NULL, "%s", error ? error : "");
  return call.out[0];
}

static void test_products(void) {
  for (size_t a = 0; a < sizeof ROW_COUNTS / sizeof *ROW_COUNTS; a++)
    for (size_t b = 0; b < sizeof INPUTS / sizeof *INPUTS; b++)
      for (size_t d = 0; d < sizeof FEATURES / sizeof *FEATURES; d++) {
        const int64_t m = ROW_COUNTS[a], k = INPUTS[b], n = FEATURES[d];
        Tensor x = WAVES(1, m, k), w = WAVES(2, n, k), bias = (a + b) % 2 ? WAVES(3, n) : (Tensor){0};
        double *expected = calloc((size_t)(m * n), sizeof(double));
        for (int64_t i = 0; i < m * n; i++) {
          expected[i] = bias.data ? FLOATS(bias)[i % n] : 0;
          for (int64_t j = 0; j < k; j++) expected[i] += (double)FLOATS(x)[i / n * k + j] * FLOATS(w)[i % n * k + j];
        }
        FOR_LEVELS(at, az_float_linear_ops) check_close("y", run_linear(at->table, x, w, bias), expected, 4e-6);
        free(expected);
      }
}

/* A row is the same bits whatever rows stand beside it, and what is no number stays in its row. */
static void test_rows_apart(void) {
  const int64_t k = 75, n = 31;
  Tensor x = WAVES(1, 40, k), w = WAVES(2, n, k);
  FLOATS(x)[7 * k + 3] = NAN;
  FLOATS(x)[9 * k] = INFINITY;
  FOR_LEVELS(at, az_float_linear_ops) {
    Tensor whole = run_linear(at->table, x, w, (Tensor){0});
    for (int64_t count = 1; count <= 40; count++) {
      Tensor first = tensor_of(4, SHAPE(count, k));
      memcpy(first.data, x.data, sizeof(float) * (size_t)(count * k));
      Tensor some = run_linear(at->table, first, w, (Tensor){0});
      check(memcmp(some.data, whole.data, sizeof(float) * (size_t)(count * n)) == 0, "%s: rows differ beside others", at->name);
    }
    for (int64_t i = 0; i < 40 * n; i++)
      check(isfinite(FLOATS(whole)[i]) == (i / n != 7 && i / n != 9), "%s: what is no number is lost or spreads", at->name);
  }
}

const Test float_linear_tests[] = {
    {"float32 linear layers are those of float64", test_products, LEVEL_PORTABLE},
    {"float32 linear layers: rows keep to themselves", test_rows_apart, LEVEL_PORTABLE},
    {0},
};
