/* See spoil.h. */
#include "spoil.h"

void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

Tensor half_of(Tensor x) {
  const int64_t rows = x.dim[0], columns = x.dim[1], stride = ROUND_UP(columns, 32);
  Tensor half = tensor_of(sizeof(bf16), SHAPE(rows, stride));
  for (int64_t i = 0; i < rows * stride; i++) HALVES(half)[i] = i % stride < columns ? to_half(FLOATS(x)[i / stride * columns + i % stride]) : 0;
  return half;
}

Tensor floats_of(Tensor half, int64_t offset, int64_t columns) {
  Tensor x = tensor_of(sizeof(float), SHAPE(half.dim[0], columns));
  for (int64_t i = 0; i < count_of(x); i++) FLOATS(x)[i] = from_half(HALVES(half)[i / columns * half.dim[1] + offset + i % columns]);
  return x;
}

static int64_t columns_of(Tensor x) { return x.rank ? x.dim[x.rank - 1] : 1; }

static Effect effect_of_letter(char letter, int64_t row, int64_t column, int64_t to_row, int64_t to_column) {
  const int is_same_row = to_row == row, is_same = is_same_row && to_column == column;
  switch (letter) {
  case '.': return KEPT;
  case 'e': return is_same ? SPOILT : KEPT;
  case 'r': return is_same_row ? SPOILT : KEPT;
  case 'c': return to_column == column ? SPOILT : KEPT;
  case 'a': return SPOILT;
  case 'w': return to_column == row ? SPOILT : KEPT;
  case 't': return to_row == column ? SPOILT : KEPT;
  case 'E': return is_same ? SPOILT_BY_NAN : KEPT;
  case 'R': return is_same_row ? SPOILT_BY_NAN : KEPT;
  case 'A': return SPOILT_BY_NAN;
  case 'n': return is_same ? SPOILT : is_same_row ? SPOILT_BY_NAN : KEPT;
  case 'm': return is_same ? SPOILT : SPOILT_BY_NAN;
  }
  abort();
}

static int num_results(const Spoiling *kernel) { return kernel->effect ? kernel->num_results : (int)strlen(kernel->reaches[0]); }

/* `at`: where input `input` was spoilt, by `value`. */
static void compare(const Spoiling *kernel, int input, int64_t at, float value, const Tensor *clean, const Tensor *found) {
  const int64_t width = kernel->shape[input][1], row = at / width, column = at % width;
  for (int k = 0; k < num_results(kernel); k++)
    for (int64_t i = 0; i < count_of(clean[k]); i++) {
      const int64_t to_row = i / columns_of(clean[k]), to_column = i % columns_of(clean[k]);
      Effect effect = kernel->effect ? kernel->effect(input, row, column, k, to_row, to_column)
                                     : effect_of_letter(kernel->reaches[input][k], row, column, to_row, to_column);
      if (effect == SPOILT_BY_NAN) effect = isnan(value) ? SPOILT : ANY;
      const float y = FLOATS(found[k])[i];
      const int is_right = effect == SPOILT ? !isfinite(y) : effect == ANY || !memcmp(&y, FLOATS(clean[k]) + i, sizeof y);
      check(is_right, "%s: with %g at [%ld, %ld] of input %d, [%ld, %ld] of result %d is %g instead of %g", kernel->name, (double)value,
            (long)row, (long)column, input, (long)to_row, (long)to_column, k, (double)y, (double)FLOATS(clean[k])[i]);
      if (!is_right) return;
    }
}

static void spoil_input(const Spoiling *kernel, int input) {
  static const float values[] = {NAN, INFINITY, -INFINITY};
  Tensor in[MAX_SPOILT], clean[MAX_SPOILT] = {{0}};
  for (int i = 0; i < MAX_SPOILT && kernel->shape[i][0]; i++) in[i] = waves(i + 1, 2, kernel->shape[i]);
  kernel->run(in, clean);
  for (int k = 0; k < num_results(kernel); k++)
    for (int64_t i = 0; i < count_of(clean[k]); i++) check(isfinite(FLOATS(clean[k])[i]), "%s: result %d is not finite", kernel->name, k);
  const int64_t count = count_of(in[input]), places[] = {0, count / 3, count - 1};
  const Tensor whole = in[input];
  for (int p = 0; p < 3; p++)
    for (int v = 0; v < 3; v++) {
      Tensor found[MAX_SPOILT] = {{0}};
      in[input] = copy_of(whole, sizeof(float));
      FLOATS(in[input])[places[p]] = values[v];
      kernel->run(in, found);
      compare(kernel, input, places[p], values[v], clean, found);
    }
}

void check_spoiling(const Spoiling *kernel, Level level) {
  for (int i = 0; i < MAX_SPOILT && kernel->shape[i][0]; i++) {
    begin_level(level); /* tensors end here */
    spoil_input(kernel, i);
  }
}
