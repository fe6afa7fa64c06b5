/* Norms, SwiGLU and rotary embedding in float32 against float64, on every instruction set. */
#include "levels.h"

LEVELS(az_float_rows_ops);

static const int64_t SHAPES[][2] = {{1, 1}, {1, 16}, {3, 17}, {33, 31}, {67, 64}, {5, 129}, {0, 8}};
enum { NUM_SHAPES = sizeof SHAPES / sizeof *SHAPES };
static const double TOLERANCE = 2e-6;

static double *doubles(int64_t n) { return calloc((size_t)MAX(n, 1), sizeof(double)); }
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* Runs forwards and backwards through the tasks: both must give the same bits. */
static void run_both(Call *call, int num_outputs) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
  Call again = *call;
  memset(again.out, 0, sizeof again.out);
  again.is_reversed = 1;
  run_op(&again);
  for (int i = 0; i < num_outputs; i++) check_same("the order of tasks changes the result", call->out[i], again.out[i], 4);
}

static void test_norm(void) {
  for (int s = 0; s < NUM_SHAPES; s++) {
    const int64_t rows = SHAPES[s][0], width = SHAPES[s][1];
    Tensor x = WAVES(1, rows, width), g = WAVES(2, width), dy = WAVES(3, rows, width), first[3] = {{0}};
    Tensor tx = WAVES(4, rows, width), tg = WAVES(5, width);
    double *y = doubles(rows * width), *r = doubles(rows), *dx = doubles(rows * width), *dg = doubles(width), *ty = doubles(rows * width);
    for (int64_t n = 0; n < rows; n++) {
      double squares = 0, mean = 0, moved = 0;
      const float *xn = FLOATS(x) + n * width;
      for (int64_t k = 0; k < width; k++) squares += (double)xn[k] * xn[k];
      r[n] = 1 / sqrt(squares / (double)width + (double)1e-5f);
      for (int64_t k = 0; k < width; k++) {
        const int64_t at = n * width + k;
        double normal = xn[k] * r[n];
        y[at] = FLOATS(g)[k] * normal;
        dg[k] += FLOATS(dy)[at] * normal;
        mean += FLOATS(dy)[at] * FLOATS(g)[k] * normal / (double)width;
        moved += FLOATS(tx)[at] * r[n] * normal / (double)width;
      }
      for (int64_t k = 0; k < width; k++) {
        const int64_t at = n * width + k;
        double normal = xn[k] * r[n];
        dx[at] = r[n] * (FLOATS(dy)[at] * FLOATS(g)[k] - normal * mean);
        ty[at] = FLOATS(g)[k] * (FLOATS(tx)[at] * r[n] - normal * moved) + FLOATS(tg)[k] * normal;
      }
    }
    FOR_LEVELS(at, az_float_rows_ops) {
      Call forward = {.table = at->table, .name = "FloatNorm", .floats = {1e-5f}, .in = {x, g}, .num_inputs = 2};
      run_both(&forward, 2);
      check_close("y", forward.out[0], y, TOLERANCE);
      check_close("r", forward.out[1], r, TOLERANCE);
      Call backward = {.table = at->table, .name = "FloatNormBackward", .in = {x, g, forward.out[1], dy}, .num_inputs = 4};
      run_both(&backward, 2);
      check_close("dx", backward.out[0], dx, 2 * TOLERANCE);
      check_close("dg", backward.out[1], dg, 2 * TOLERANCE);
      Call tangent = {.table = at->table, .name = "FloatNormTangent", .in = {x, g, forward.out[1], tx, tg}, .num_inputs = 5};
      run_both(&tangent, 1);
      check_close("ty", tangent.out[0], ty, 2 * TOLERANCE);
      check_same_bits(at, first, forward.out[0]);
      check_same_bits(at, first + 1, backward.out[1]);
      check_same_bits(at, first + 2, tangent.out[0]);
      Call partly = {.table = at->table, .name = "FloatNormBackward", .in = {x, g, forward.out[1], dy}, .num_inputs = 4, .unwanted = 1};
      check(run_op(&partly) == NULL && partly.out[0].data == NULL, "an output that nobody wants is made");
    }
    free(y), free(r), free(dx), free(dg), free(ty);
  }
}

static void test_swiglu(void) {
  for (int s = 0; s < NUM_SHAPES; s++) {
    const int64_t rows = SHAPES[s][0], width = SHAPES[s][1], n = rows * width;
    Tensor gate = WAVES(1, rows, width), up = WAVES(2, rows, width), dy = WAVES(3, rows, width), tg = WAVES(4, rows, width);
    Tensor tu = WAVES(5, rows, width), first[3] = {{0}};
    for (int64_t i = 0; i < n; i++) FLOATS(gate)[i] *= 12;
    double *y = doubles(n), *d_gate = doubles(n), *d_up = doubles(n), *ty = doubles(n);
    for (int64_t i = 0; i < n; i++) {
      double g = FLOATS(gate)[i], u = FLOATS(up)[i], o = sigmoid(g), slope = o + g * o * (1 - o);
      y[i] = g * o * u;
      d_gate[i] = FLOATS(dy)[i] * u * slope;
      d_up[i] = FLOATS(dy)[i] * g * o;
      ty[i] = FLOATS(tg)[i] * slope * u + g * o * FLOATS(tu)[i];
    }
    FOR_LEVELS(at, az_float_rows_ops) {
      Call forward = {.table = at->table, .name = "FloatSwiglu", .in = {gate, up}, .num_inputs = 2};
      run_both(&forward, 1);
      check_close("y", forward.out[0], y, TOLERANCE);
      Call backward = {.table = at->table, .name = "FloatSwigluBackward", .in = {gate, up, dy}, .num_inputs = 3};
      run_both(&backward, 2);
      check_close("dgate", backward.out[0], d_gate, TOLERANCE);
      check_close("dup", backward.out[1], d_up, TOLERANCE);
      Call tangent = {.table = at->table, .name = "FloatSwigluTangent", .in = {gate, up, tg, tu}, .num_inputs = 4};
      run_both(&tangent, 1);
      check_close("ty", tangent.out[0], ty, TOLERANCE);
      check_same_bits(at, first, forward.out[0]);
      check_same_bits(at, first + 1, backward.out[0]);
      check_same_bits(at, first + 2, tangent.out[0]);
    }
    free(y), free(d_gate), free(d_up), free(ty);
  }
}

static void test_rotary(void) {
  static const int64_t extents[][4] = {{1, 1, 1, 2}, {2, 5, 3, 6}, {1, 37, 2, 32}, {3, 1, 1, 100}};
  for (int s = 0; s < 4; s++) {
    const int64_t b = extents[s][0], t = extents[s][1], heads = extents[s][2], d = extents[s][3], half = d / 2, places = 11;
    Tensor x = WAVES(1, b, t, heads, d), cos = WAVES(2, places, half), sin = WAVES(3, places, half), first = {0};
    Tensor positions = tensor_of(8, SHAPE(b, t));
    for (int64_t i = 0; i < b * t; i++) LONGS(positions)[i] = (i * 7 + 3) % places;
    double *y = doubles(b * t * heads * d);
    for (int inverse = 0; inverse < 2; inverse++) {
      for (int64_t row = 0; row < b * t * heads; row++)
        for (int64_t i = 0; i < half; i++) {
          const int64_t angle = LONGS(positions)[row / heads] * half + i;
          double p = FLOATS(x)[row * d + i], q = FLOATS(x)[row * d + half + i], co = FLOATS(cos)[angle];
          double si = FLOATS(sin)[angle] * (inverse ? -1 : 1);
          y[row * d + i] = p * co - q * si;
          y[row * d + half + i] = q * co + p * si;
        }
      first.data = NULL;
      FOR_LEVELS(at, az_float_rows_ops) {
        Call call = {.table = at->table, .name = "FloatRotary", .ints = {inverse}, .in = {x, positions, cos, sin}, .num_inputs = 4};
        run_both(&call, 1);
        check_close("y", call.out[0], y, TOLERANCE);
        check_same_bits(at, &first, call.out[0]);
      }
    }
    LONGS(positions)[0] = places;
    FOR_LEVELS(at, az_float_rows_ops) {
      Call call = {.table = at->table, .name = "FloatRotary", .in = {x, positions, cos, sin}, .num_inputs = 4};
      check(run_op(&call) != NULL, "a position beyond the angles is not refused");
    }
    free(y);
  }
}

/* What is not a number shows in its own row and nowhere else; exponentials of great arguments overflow to their limits. */
static void test_special(void) {
  const int64_t rows = 3, width = 37;
  FOR_LEVELS(at, az_float_rows_ops) {
    Tensor x = WAVES(1, rows, width), g = WAVES(2, width);
    Call clean = {.table = at->table, .name = "FloatNorm", .floats = {1e-5f}, .in = {x, g}, .num_inputs = 2};
    run_op(&clean);
    for (int kind = 0; kind < 2; kind++) {
      Tensor bad = copy_of(x, 4);
      FLOATS(bad)[width + 36] = kind ? INFINITY : NAN;
      Call spoilt = {.table = at->table, .name = "FloatNorm", .floats = {1e-5f}, .in = {bad, g}, .num_inputs = 2};
      run_op(&spoilt);
      check(isnan(FLOATS(spoilt.out[0])[width + 36]), "%s: not-a-number is lost", at->name);
      check(!memcmp(spoilt.out[0].data, clean.out[0].data, 4 * (size_t)width), "%s: another row changes", at->name);
      check(!memcmp(FLOATS(spoilt.out[0]) + 2 * width, FLOATS(clean.out[0]) + 2 * width, 4 * (size_t)width),
            "%s: another row changes", at->name);
    }
    const float given[] = {NAN, INFINITY, -INFINITY, 100, -100, 1e30f, -1e30f, 0, -0.f};
    const float expected[] = {NAN, INFINITY, NAN, 100, 0, 1e30f, 0, 0, 0}; /* −∞·σ(−∞) = −∞·0 */
    Tensor gate = tensor_of(4, SHAPE(1, 9)), up = tensor_of(4, SHAPE(1, 9));
    memcpy(gate.data, given, sizeof given);
    for (int i = 0; i < 9; i++) FLOATS(up)[i] = 1;
    Call call = {.table = at->table, .name = "FloatSwiglu", .in = {gate, up}, .num_inputs = 2};
    run_op(&call);
    for (int i = 0; i < 9; i++) {
      float y = FLOATS(call.out[0])[i];
      int is_right = isnan(expected[i]) ? isnan(y) : isinf(expected[i]) ? y == expected[i] : fabsf(y - expected[i]) <= 1e-6f * fabsf(expected[i]) + 1e-30f;
      check(is_right, "%s: silu(%g) is %g", at->name, (double)given[i], (double)y);
    }
  }
}

const Test float_rows_tests[] = {
    {"float32 norm, its gradient and tangent are those of float64", test_norm, LEVEL_PORTABLE},
    {"float32 SwiGLU, its gradient and tangent are those of float64", test_swiglu, LEVEL_PORTABLE},
    {"float32 rotary embedding turns pairs, and refuses positions without angles", test_rotary, LEVEL_PORTABLE},
    {"float32 rows: what is not a number stays in its row", test_special, LEVEL_PORTABLE},
    {0},
};
