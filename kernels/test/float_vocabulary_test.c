/* Rows of a vocabulary in float32 against float64, on every instruction set. */
#include "levels.h"

LEVELS(az_float_vocabulary_ops);

static const int64_t WIDTHS[] = {1, 2, 15, 16, 17, 255, 256, 257, 1031};
enum { ROWS = 3 };

/* p = softmax of a row; returns the logarithm of the sum. */
static double softmax(const float *x, int64_t width, double *p) {
  double most = -1e300, sum = 0;
  for (int64_t k = 0; k < width; k++) most = fmax(most, x[k]);
  for (int64_t k = 0; k < width; k++) sum += p[k] = exp(x[k] - most);
  for (int64_t k = 0; k < width; k++) p[k] /= sum;
  return most + log(sum);
}

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

static void test_rows(void) {
  for (size_t w = 0; w < sizeof WIDTHS / sizeof *WIDTHS; w++) {
    const int64_t width = WIDTHS[w], chosen = 2;
    Tensor x = WAVES(1, ROWS, width), y = WAVES(2, ROWS, width), ids = tensor_of(8, SHAPE(ROWS, chosen)), u = tensor_of(4, SHAPE(ROWS, 1));
    double *logprobs = calloc(ROWS * 2, sizeof(double)), *tangent = calloc((size_t)(ROWS * width), sizeof(double)), divergence[ROWS] = {0};
    double *p = calloc((size_t)width, sizeof(double)), *q = calloc((size_t)width, sizeof(double));
    int64_t drawn[ROWS], mode[ROWS];
    for (int64_t r = 0; r < ROWS; r++) {
      for (int64_t k = 0; k < width; k++) FLOATS(x)[r * width + k] *= 5;
      const float *xr = FLOATS(x) + r * width, *yr = FLOATS(y) + r * width;
      const double log_x = softmax(xr, width, p), log_y = softmax(yr, width, q);
      for (int64_t m = 0; m < chosen; m++) {
        LONGS(ids)[r * chosen + m] = (r * 5 + m * 11) % width;
        logprobs[r * chosen + m] = xr[LONGS(ids)[r * chosen + m]] - log_x;
      }
      double mean = 0, cumulative = 0;
      for (int64_t k = 0; k < width; k++) mean += p[k] * yr[k];
      for (int64_t k = 0; k < width; k++) {
        tangent[r * width + k] = yr[k] - mean;
        divergence[r] += p[k] * ((xr[k] - log_x) - (yr[k] - log_y));
      }
      /* In the middle of the share of an id that has one: rounding cannot move it to a neighbour. */
      mode[r] = 0;
      for (int64_t k = 0; k < width; k++)
        if (xr[k] > xr[mode[r]]) mode[r] = k;
      drawn[r] = mode[r];
      for (int64_t k = 0; k < mode[r]; k++) cumulative += p[k];
      FLOATS(u)[r] = (float)(cumulative + p[mode[r]] / 2);
    }
    FOR_LEVELS(at, az_float_vocabulary_ops) {
      Call logprob = {.table = at->table, .name = "FloatLogprob", .in = {x, ids}, .num_inputs = 2};
      must_run(&logprob);
      check_close("logprob", logprob.out[0], logprobs, 2e-6);
      Call moved = {.table = at->table, .name = "FloatLogprobTangent", .in = {x, y}, .num_inputs = 2};
      must_run(&moved);
      check_close("tangent", moved.out[0], tangent, 2e-6);
      Call distance = {.table = at->table, .name = "FloatDivergence", .in = {x, y}, .num_inputs = 2};
      must_run(&distance);
      check_close("divergence", distance.out[0], divergence, 4e-6);
      Tensor near = tensor_of(4, SHAPE(ROWS, 1));
      for (int64_t r = 0; r < ROWS; r++) FLOATS(near)[r] = (float)-r;
      Call cut = {.table = at->table, .name = "FloatMinP", .in = {x, near}, .num_inputs = 2};
      must_run(&cut);
      for (int64_t i = 0; i < ROWS * width; i++) {
        const float v = FLOATS(x)[i], least = FLOATS(x)[i / width * width + mode[i / width]] - (float)(i / width);
        check(FLOATS(cut.out[0])[i] == (v >= least ? v : -1e30f), "%s: number %ld is cut to %g", at->name, (long)i, (double)FLOATS(cut.out[0])[i]);
      }
      Call draw = {.table = at->table, .name = "FloatDraw", .in = {x, u}, .num_inputs = 2};
      must_run(&draw);
      Call greatest = {.table = at->table, .name = "FloatArgmax", .in = {x}, .num_inputs = 1};
      must_run(&greatest);
      for (int64_t r = 0; r < ROWS; r++) {
        check(LONGS(draw.out[0])[r] == drawn[r], "%s: drew %ld of %ld, expected %ld", at->name, (long)LONGS(draw.out[0])[r], (long)width, (long)drawn[r]);
        check(LONGS(greatest.out[0])[r] == mode[r], "%s: mode %ld, expected %ld", at->name, (long)LONGS(greatest.out[0])[r], (long)mode[r]);
      }
      for (int64_t r = 0; r < ROWS; r++) FLOATS(u)[r] = r ? 0.99999994f : 0;
      Call ends = {.table = at->table, .name = "FloatDraw", .in = {x, copy_of(u, 4)}, .num_inputs = 2};
      must_run(&ends);
      for (int64_t r = 0; r < ROWS; r++)
        check(LONGS(ends.out[0])[r] >= 0 && LONGS(ends.out[0])[r] < width, "%s: drew %ld of %ld", at->name, (long)LONGS(ends.out[0])[r], (long)width);
      for (int64_t r = 0; r < ROWS; r++) { /* as it was, for the next level */
        double cumulative = 0;
        softmax(FLOATS(x) + r * width, width, p);
        for (int64_t k = 0; k < mode[r]; k++) cumulative += p[k];
        FLOATS(u)[r] = (float)(cumulative + p[mode[r]] / 2);
      }
    }
    free(logprobs), free(tangent), free(p), free(q);
  }
}

/* Logits tilted from their mean, over all ids and over those with a logit: what others would be tilted by is never read. */
static void test_tilt(void) {
  const float limit = -1e20f, lambda[ROWS] = {0, 0.7f, -2};
  for (size_t w = 0; w < sizeof WIDTHS / sizeof *WIDTHS; w++)
    for (int cut = 0; cut < 2; cut++) {
      const int64_t width = WIDTHS[w];
      Tensor logits = WAVES(1, ROWS, width), t = WAVES(3, ROWS, width), factor = tensor_of(4, SHAPE(ROWS, 1));
      double *tilted = calloc((size_t)(ROWS * width), sizeof(double)), means[ROWS], divergences[ROWS];
      for (int64_t r = 0; r < ROWS; r++) {
        float *a = FLOATS(logits) + r * width, *tr = FLOATS(t) + r * width;
        FLOATS(factor)[r] = lambda[r];
        for (int64_t k = 0; k < width; k++) {
          a[k] *= 4;
          /* Whole stretches, single ids; in the last row nothing but the first id is left. */
          const int is_out = cut && k > 0 && (r == ROWS - 1 || k / 40 % 2 || (k * 7 + r) % 3 == 0);
          if (is_out) a[k] = -1e30f, tr[k] = NAN;
        }
        double mean = 0, before = 0, after = 0;
        for (int64_t k = 0; k < width; k++)
          if (a[k] >= limit) before += exp(a[k]), mean += exp(a[k]) * tr[k];
        means[r] = mean /= before;
        divergences[r] = 0;
        for (int64_t k = 0; k < width; k++) {
          tilted[r * width + k] = a[k] >= limit ? a[k] + lambda[r] * (tr[k] - mean) : 0;
          if (a[k] >= limit) after += exp(tilted[r * width + k]);
        }
        for (int64_t k = 0; k < width; k++)
          if (a[k] >= limit) {
            const double b = tilted[r * width + k];
            divergences[r] += exp(b) / after * ((b - log(after)) - (a[k] - log(before)));
          }
      }
      FOR_LEVELS(at, az_float_vocabulary_ops) {
        Call tilt = {.table = at->table, .name = "FloatTilt", .ints = {cut}, .floats = {limit}, .in = {logits, t, factor}, .num_inputs = 3};
        must_run(&tilt);
        /* A draw beside it is one from the tilted logits, whether they are asked for or not. */
        Tensor u = tensor_of(4, SHAPE(ROWS, 1));
        for (int64_t r = 0; r < ROWS; r++) FLOATS(u)[r] = 0.1f + 0.4f * (float)r;
        Call draw = {.table = at->table, .name = "FloatDraw", .in = {tilt.out[0], u}, .num_inputs = 2};
        must_run(&draw);
        for (int is_alone = 0; is_alone < 2; is_alone++) {
          Call both = tilt;
          memset(both.out, 0, sizeof both.out), both.in[3] = u, both.num_inputs = 4, both.unwanted = is_alone;
          must_run(&both);
          if (!is_alone) check_same("tilted logits beside a draw", both.out[0], tilt.out[0], 4);
          check_same("mean beside a draw", both.out[1], tilt.out[1], 4);
          check_same("divergence beside a draw", both.out[2], tilt.out[2], 4);
          check_same("draw from tilted logits", both.out[3], draw.out[0], 8);
        }
        for (int64_t i = 0; i < ROWS * width; i++) {
          if (FLOATS(logits)[i] >= limit) continue;
          check(FLOATS(tilt.out[0])[i] == FLOATS(logits)[i], "%s: an excluded id is tilted", at->name);
          FLOATS(tilt.out[0])[i] = 0;
        }
        check_close("tilted logits", tilt.out[0], tilted, 2e-6);
        check_close("mean", tilt.out[1], means, 2e-6);
        check_close("divergence", tilt.out[2], divergences, 4e-6);
      }
      free(tilted);
    }
}

/* Excluded ids are −∞; a row of not-a-numbers stays one, and a draw from it is still an id. */
static void test_special(void) {
  const int64_t width = 37;
  FOR_LEVELS(at, az_float_vocabulary_ops) {
    Tensor x = WAVES(1, 2, width), ids = tensor_of(8, SHAPE(2, 1)), u = tensor_of(4, SHAPE(2, 1));
    for (int64_t k = 1; k < width; k += 2) FLOATS(x)[k] = -INFINITY;
    for (int64_t k = 0; k < width; k++) FLOATS(x)[width + k] = NAN;
    LONGS(ids)[0] = 1, LONGS(ids)[1] = 0;
    FLOATS(u)[0] = 0.7f, FLOATS(u)[1] = 0.5f;
    Call logprob = {.table = at->table, .name = "FloatLogprob", .in = {x, ids}, .num_inputs = 2};
    must_run(&logprob);
    check(FLOATS(logprob.out[0])[0] == -INFINITY, "%s: an excluded id has logprob %g", at->name, (double)FLOATS(logprob.out[0])[0]);
    check(isnan(FLOATS(logprob.out[0])[1]), "%s: not-a-number is lost", at->name);
    Call draw = {.table = at->table, .name = "FloatDraw", .in = {x, u}, .num_inputs = 2};
    must_run(&draw);
    const int64_t *drawn = draw.out[0].data;
    check(drawn[0] % 2 == 0, "%s: an excluded id was drawn", at->name);
    check(drawn[1] >= 0 && drawn[1] < width, "%s: drew %ld of %ld", at->name, (long)drawn[1], (long)width);
    Call argmax = {.table = at->table, .name = "FloatArgmax", .in = {x}, .num_inputs = 1};
    must_run(&argmax);
    check(LONGS(argmax.out[0])[1] >= 0 && LONGS(argmax.out[0])[1] < width, "%s: the mode is no id", at->name);
  }
}

/* Wherever it stands: the greatest of a row may have passed it over or not. */
static void test_cut_special(void) {
  FOR_LEVELS(at, az_float_vocabulary_ops)
    for (size_t w = 0; w < sizeof WIDTHS / sizeof *WIDTHS; w++) {
      begin_level(LEVEL_NONE);
      const int64_t width = WIDTHS[w];
      if (width > 300) continue;
      Tensor x = WAVES(1, width, width), near = tensor_of(4, SHAPE(width, 1)); /* a row for each place */
      for (int64_t r = 0; r < width; r++) FLOATS(x)[r * width + r] = NAN, FLOATS(near)[r] = -1;
      Call cut = {.table = at->table, .name = "FloatMinP", .in = {x, near}, .num_inputs = 2};
      must_run(&cut);
      for (int64_t r = 0; r < width; r++) check(isnan(FLOATS(cut.out[0])[r * width + r]), "%s: number %ld of %ld is lost", at->name, (long)r, (long)width);
    }
}

const Test float_vocabulary_tests[] = {
    {"float32 rows of a vocabulary: logprobs, tangent, divergence, draws and mode are those of float64", test_rows, LEVEL_PORTABLE},
    {"float32 rows of a vocabulary: what moves them, cut or whole, is that of float64", test_tilt, LEVEL_PORTABLE},
    {"float32 rows of a vocabulary: exclusion and what is no number", test_special, LEVEL_PORTABLE},
    {"float32 rows of a vocabulary: what is no number is not cut", test_cut_special, LEVEL_PORTABLE},
    {0},
};
