/* What every machine has: conversion, AdamW, rows added to a table. */
#include "harness.h"

extern const Op az_convert_ops[], az_optimizer_ops[];

static void test_convert(void) {
  static const int64_t shapes[][2] = {{1, 1}, {3, 31}, {65, 32}, {2, 45}, {130, 100}};
  for (int s = 0; s < 5; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], stride = ROUND_UP(width, 32);
    Tensor x = WAVES(1, rows, width);
    const float special[] = {NAN, INFINITY, -INFINITY, 3.4e38f, 1e-40f, -0.f};
    for (int64_t i = 0; i < 6 && i < rows * width; i++) FLOATS(x)[i] = special[i];
    Call to = {.table = az_convert_ops, .name = "ToHalf", .ints = {rows, width}, .in = {x}, .num_inputs = 1};
    run_op(&to);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t k = 0; k < stride; k++) {
        bf16 actual = HALVES(to.out[0])[r * stride + k];
        float given = k < width ? FLOATS(x)[r * width + k] : 0;
        check(isnan(given) ? isnan(from_half(actual)) : actual == to_half(given), "[%ld, %ld] is %x", (long)r, (long)k, actual);
      }
    for (int64_t offset = 0; offset < width; offset += 13) {
      Call back = {.table = az_convert_ops, .name = "ToFloat", .ints = {rows, width - offset, offset, stride}, .in = {to.out[0]}, .num_inputs = 1};
      run_op(&back);
      for (int64_t r = 0; r < rows; r++)
        for (int64_t k = offset; k < width; k++) {
          float half = from_half(HALVES(to.out[0])[r * stride + k]), actual = FLOATS(back.out[0])[r * (width - offset) + k - offset];
          check(!memcmp(&half, &actual, 4) || (isnan(half) && isnan(actual)), "a bfloat16 changes its value");
        }
    }
  }
}

enum { N = 4 };
static const int64_t SIZES[N] = {1, 7, 129, 70001};

static Tensor scalar(float value) {
  Tensor t = tensor_of(4, 0, NULL);
  *FLOATS(t) = value;
  return t;
}

static void test_adamw(void) {
  const float limits[] = {0.05f, INFINITY};
  const double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, rate = 0.01f, c1 = 0.271f, c2 = 0.142625f;
  for (int l = 0; l < 4; l++) {
    Tensor decays = tensor_of(4, SHAPE(N)), is_measured = tensor_of(4, SHAPE(N)), squares[N], in[4][N];
    int num_measured = 0;
    double norm = 0;
    for (int t = 0; t < N; t++) {
      FLOATS(decays)[t] = t % 2 ? 0 : 0.1f;
      for (int part = 0; part < 4; part++) in[part][t] = WAVES(part + 4 * t, SIZES[t]);
      for (int64_t i = 0; i < SIZES[t]; i++) {
        FLOATS(in[3][t])[i] = fabsf(FLOATS(in[3][t])[i]) + 0.01f;
        norm += (double)FLOATS(in[1][t])[i] * FLOATS(in[1][t])[i];
      }
      FLOATS(is_measured)[t] = l >= 2 && t % 2;
      if (l < 2 || !(t % 2)) continue;
      double sum = 0;
      for (int64_t i = 0; i < SIZES[t]; i++) sum += (double)FLOATS(in[1][t])[i] * FLOATS(in[1][t])[i];
      squares[num_measured++] = scalar((float)sum);
    }
    norm = sqrt(norm);
    const double clip = fmin(1, limits[l % 2] / (norm + 1e-6));
    for (int is_in_place = 0; is_in_place < 2; is_in_place++) {
      Call call = {.table = az_optimizer_ops, .name = "AdamW", .num_inputs = 6 + 4 * N + num_measured, .num_outputs = 1 + 3 * N};
      call.floats[0] = (float)beta1, call.floats[1] = (float)(1 - beta1), call.floats[2] = (float)beta2;
      call.floats[3] = (float)(1 - beta2), call.floats[4] = (float)epsilon;
      const Tensor scalars[] = {scalar((float)rate), scalar((float)c1), scalar((float)c2), scalar(limits[l % 2]), decays, is_measured};
      memcpy(call.in, scalars, sizeof scalars);
      for (int part = 0; part < 4; part++)
        for (int t = 0; t < N; t++) call.in[6 + part * N + t] = copy_of(in[part][t], 4);
      for (int k = 0; k < num_measured; k++) call.in[6 + 4 * N + k] = squares[k];
      for (int k = 0; k < 3 && is_in_place; k++)
        for (int t = 0; t < N; t++) call.out[1 + k * N + t] = call.in[6 + (k == 0 ? 0 : k + 1) * N + t];
      const char *error = run_op(&call);
      check(error == NULL, "%s", error ? error : "");
      check(fabs(*FLOATS(call.out[0]) - norm) <= 1e-6 * norm, "the norm is %g, expected %g", (double)*FLOATS(call.out[0]), norm);
      for (int t = 0; t < N; t++) {
        double *expected[3];
        for (int k = 0; k < 3; k++) expected[k] = malloc(sizeof(double) * (size_t)SIZES[t]);
        for (int64_t i = 0; i < SIZES[t]; i++) {
          double p = FLOATS(in[0][t])[i], g = clip * FLOATS(in[1][t])[i];
          double m = beta1 * FLOATS(in[2][t])[i] + (1 - beta1) * g, v = beta2 * FLOATS(in[3][t])[i] + (1 - beta2) * g * g;
          expected[0][i] = p * (1 - rate * FLOATS(decays)[t]) - rate / c1 * m / (sqrt(v) / sqrt(c2) + epsilon);
          expected[1][i] = m, expected[2][i] = v;
        }
        for (int k = 0; k < 3; k++) {
          check_close(k == 0 ? "p" : k == 1 ? "m" : "v", call.out[1 + k * N + t], expected[k], 1e-6);
          free(expected[k]);
        }
      }
    }
  }
}

static void test_scatter_add(void) {
  static const int64_t widths[] = {1, 3, 64, 70, 515};
  for (int w = 0; w < 5; w++) {
    const int64_t rows = 7, n = 23, width = widths[w];
    Tensor base = WAVES(1, rows, width), ids = tensor_of(8, SHAPE(n)), added = WAVES(2, n, width);
    double *expected = malloc(sizeof(double) * (size_t)(rows * width));
    for (int64_t i = 0; i < rows * width; i++) expected[i] = FLOATS(base)[i];
    for (int64_t r = 0; r < n; r++) {
      LONGS(ids)[r] = r * r % rows;
      for (int64_t k = 0; k < width; k++) expected[r * r % rows * width + k] += FLOATS(added)[r * width + k];
    }
    Call call = {.table = az_optimizer_ops, .name = "ScatterAddRows", .in = {base, ids, added}, .num_inputs = 3};
    run_op(&call);
    check_close("table", call.out[0], expected, 1e-6);
    Call in_place = call;
    in_place.out[0] = base;
    run_op(&in_place);
    check_close("table in place", base, expected, 1e-6);
    for (int64_t wrong = -1; wrong <= rows; wrong += rows + 1) {
      LONGS(ids)[4] = wrong;
      Call refused = call;
      check(run_op(&refused) != NULL, "row %ld of %ld is not refused", (long)wrong, (long)rows);
    }
    free(expected);
  }
}

const Test plain_tests[] = {
    {"conversion rounds to nearest even, fills up with zeros and keeps what is no number", test_convert, LEVEL_PORTABLE},
    {"AdamW with clipping is that of float64, in place or not", test_adamw, LEVEL_PORTABLE},
    {"rows are added to a table, repeated ones too, and none outside it", test_scatter_add, LEVEL_PORTABLE},
    {0},
};
