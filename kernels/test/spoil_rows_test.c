/* What is not finite in kernels that go over rows: who sees it (spoil.h). */
#include "spoil.h"

HALF_FAMILY(az_norm_ops);
FLOAT_FAMILY(az_float_rows_ops);
FLOAT_FAMILY(az_float_vocabulary_ops);
extern const Op az_convert_ops[], az_optimizer_ops[];

enum { ROWS = 70, WIDTH = 37, STRIDE = 64, VOCABULARY = 300, TOKENS = 5, HEADS = 2, SIZE = 6 };
#define MATRIX {ROWS, WIDTH}
#define GAIN {1, WIDTH}
#define SCALE {ROWS, 1}
#define LOGITS {3, VOCABULARY}

/* --- bfloat16 */

static void norm(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_norm_ops), .name = "RmsNorm", .ints = {ROWS, WIDTH}, .floats = {1e-5f}, .in = {in[0], in[1]}, .num_inputs = 2};
  must_run(&call);
  out[0] = floats_of(call.out[0], 0, WIDTH), out[1] = call.out[1];
}

/* dh, x, g, r, residual → dx, dx in bfloat16, dg */
static void norm_backward(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_norm_ops), .name = "RmsNormBackward", .ints = {ROWS, WIDTH, 0, STRIDE}, .num_inputs = 5};
  memcpy(call.in, in, 5 * sizeof *in);
  call.in[0] = half_of(in[0]);
  must_run(&call);
  out[0] = call.out[0], out[1] = floats_of(call.out[1], 0, WIDTH), out[2] = call.out[2];
}

static void gates(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_norm_ops), .name = "Swiglu", .ints = {ROWS, WIDTH, 0, STRIDE, 0, STRIDE}, .num_inputs = 2};
  call.in[0] = half_of(in[0]), call.in[1] = half_of(in[1]);
  must_run(&call);
  out[0] = floats_of(call.out[0], 0, WIDTH);
}

static void gates_backward(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_norm_ops), .name = "SwigluBackward", .ints = {ROWS, WIDTH, 0, STRIDE, 0, STRIDE, 0, STRIDE}, .num_inputs = 3};
  for (int i = 0; i < 3; i++) call.in[i] = half_of(in[i]);
  must_run(&call);
  for (int k = 0; k < 2; k++) out[k] = floats_of(call.out[k], 0, WIDTH);
}

/* Two matrices by turns of 16 columns. */
static Tensor pair_of(Tensor gate, Tensor up) {
  const Tensor both[] = {half_of(gate), half_of(up)};
  Tensor pair = tensor_of(sizeof(bf16), SHAPE(ROWS, 2 * STRIDE));
  for (int64_t i = 0; i < count_of(pair); i++)
    HALVES(pair)[i] = HALVES(both[i / 16 % 2])[i / (2 * STRIDE) * STRIDE + i % (2 * STRIDE) / 32 * 16 + i % 16];
  return pair;
}
static void split(Tensor pair, Tensor *out) {
  Call call = {.table = TABLE(az_norm_ops), .name = "SplitPair", .ints = {ROWS, WIDTH}, .in = {pair}, .num_inputs = 1};
  must_run(&call);
  for (int k = 0; k < 2; k++) out[k] = floats_of(call.out[k], 0, WIDTH);
}
static void split_pair(const Tensor *in, Tensor *out) { split(pair_of(in[0], in[1]), out); }

/* gate, up, dy */
static void pair_backward(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_norm_ops), .name = "SwigluPairBackward", .ints = {ROWS, WIDTH, 0, STRIDE}, .num_inputs = 2};
  call.in[0] = half_of(in[2]), call.in[1] = pair_of(in[0], in[1]);
  must_run(&call);
  split(call.out[0], out);
}

/* --- float32 */

static void run_float(const char *name, const Tensor *in, int num_inputs, Tensor *out, int num_outputs) {
  Call call = {.table = TABLE(az_float_rows_ops), .name = name, .floats = {1e-5f}, .num_inputs = num_inputs};
  memcpy(call.in, in, sizeof *in * (size_t)num_inputs);
  must_run(&call);
  memcpy(out, call.out, sizeof *out * (size_t)num_outputs);
}
static void float_norm(const Tensor *in, Tensor *out) { run_float("FloatNorm", in, 2, out, 2); }
static void float_norm_backward(const Tensor *in, Tensor *out) { run_float("FloatNormBackward", in, 4, out, 2); }
static void float_norm_tangent(const Tensor *in, Tensor *out) { run_float("FloatNormTangent", in, 5, out, 1); }
static void float_swiglu(const Tensor *in, Tensor *out) { run_float("FloatSwiglu", in, 2, out, 1); }
static void float_swiglu_backward(const Tensor *in, Tensor *out) { run_float("FloatSwigluBackward", in, 3, out, 2); }
static void float_swiglu_tangent(const Tensor *in, Tensor *out) { run_float("FloatSwigluTangent", in, 4, out, 1); }

/* x, cos, sin; token t at position t */
static void float_rotary(const Tensor *in, Tensor *out) {
  Tensor x = in[0], positions = tensor_of(8, SHAPE(1, TOKENS));
  x.rank = 4, x.dim[0] = 1, x.dim[1] = TOKENS, x.dim[2] = HEADS, x.dim[3] = SIZE;
  for (int64_t t = 0; t < TOKENS; t++) LONGS(positions)[t] = t;
  run_float("FloatRotary", (const Tensor[]){x, positions, in[1], in[2]}, 4, out, 1);
  out[0].rank = 2, out[0].dim[0] = TOKENS, out[0].dim[1] = HEADS * SIZE;
}
static Effect of_rotary(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column) {
  const int is_pair = to_row == row && to_column % (SIZE / 2) == column % (SIZE / 2);
  return is_pair && (input > 0 || to_column / SIZE == column / SIZE) ? SPOILT : KEPT;
}

/* --- rows of a vocabulary */

static void run_vocabulary(const char *name, const Tensor *in, int num_inputs, Tensor *out, int num_outputs) {
  Call call = {.table = TABLE(az_float_vocabulary_ops), .name = name, .num_inputs = num_inputs};
  memcpy(call.in, in, sizeof *in * (size_t)num_inputs);
  must_run(&call);
  memcpy(out, call.out, sizeof *out * (size_t)num_outputs);
}
static void logprob(const Tensor *in, Tensor *out) {
  Tensor ids = tensor_of(8, SHAPE(in[0].dim[0], 2));
  for (int64_t i = 0; i < count_of(ids); i++) LONGS(ids)[i] = 29 * i;
  run_vocabulary("FloatLogprob", (const Tensor[]){in[0], ids}, 2, out, 1);
}
static void logprob_tangent(const Tensor *in, Tensor *out) { run_vocabulary("FloatLogprobTangent", in, 2, out, 1); }
static void divergence(const Tensor *in, Tensor *out) { run_vocabulary("FloatDivergence", in, 2, out, 1); }
static void tilt(const Tensor *in, Tensor *out) { run_vocabulary("FloatTilt", in, 3, out, 3); }

/* --- every machine */

static void conversion(const Tensor *in, Tensor *out) {
  Call to = {.table = az_convert_ops, .name = "ToHalf", .ints = {ROWS, WIDTH}, .in = {in[0]}, .num_inputs = 1};
  must_run(&to);
  Call back = {.table = az_convert_ops, .name = "ToFloat", .ints = {ROWS, WIDTH, 0, STRIDE}, .in = {to.out[0]}, .num_inputs = 1};
  must_run(&back);
  out[0] = back.out[0];
}

/* Rate, both corrections, limit, both decays, p, g, m and v of two parameters, and the squares of the second's gradient, which are not summed. */
static void adamw(const Tensor *in, Tensor *out) {
  Tensor decays = tensor_of(4, SHAPE(2)), is_measured = tensor_of(4, SHAPE(2)), part[15];
  for (int i = 0; i < 15; i++) part[i] = copy_of(in[i], sizeof(float));
  for (int i = 1; i < 3; i++) *FLOATS(part[i]) = fabsf(*FLOATS(part[i]));
  for (int i = 12; i < 15; i++)
    for (int64_t k = 0; k < count_of(part[i]); k++) FLOATS(part[i])[k] = fabsf(FLOATS(part[i])[k]);
  for (int t = 0; t < 2; t++) FLOATS(decays)[t] = *FLOATS(part[4 + t]), FLOATS(is_measured)[t] = (float)t;
  Call call = {.table = az_optimizer_ops, .name = "AdamW", .floats = {0.9f, 0.1f, 0.95f, 0.05f, 1e-8f}, .num_inputs = 15, .num_outputs = 7};
  memcpy(call.in, part, 4 * sizeof *part);
  call.in[4] = decays, call.in[5] = is_measured;
  memcpy(call.in + 6, part + 6, 9 * sizeof *part);
  must_run(&call);
  memcpy(out, call.out, 7 * sizeof *out);
}

static void scatter_add(const Tensor *in, Tensor *out) {
  Tensor ids = tensor_of(8, SHAPE(ROWS));
  for (int64_t r = 0; r < ROWS; r++) LONGS(ids)[r] = r;
  Call call = {.table = az_optimizer_ops, .name = "ScatterAddRows", .in = {in[0], ids, in[1]}, .num_inputs = 3};
  must_run(&call);
  out[0] = call.out[0];
}

const Spoiling spoilt_rows[] = {
    {"RmsNorm", norm, {MATRIX, GAIN}, .reaches = {"nR", "c."}},
    {"RmsNormBackward", norm_backward, {MATRIX, MATRIX, GAIN, SCALE, MATRIX}, .reaches = {"rrc", "rrc", "aa.", "rra", "ee."}},
    {"Swiglu", gates, {MATRIX, MATRIX}, .reaches = {"e", "e"}},
    {"SwigluBackward", gates_backward, {MATRIX, MATRIX, MATRIX}, .reaches = {"ee", "e.", "ee"}},
    {"SplitPair", split_pair, {MATRIX, MATRIX}, .reaches = {"e.", ".e"}},
    {"SwigluPairBackward", pair_backward, {MATRIX, MATRIX, MATRIX}, .reaches = {"ee", "e.", "ee"}},
    {"FloatNorm", float_norm, {MATRIX, GAIN}, .reaches = {"nR", "c."}},
    {"FloatNormBackward", float_norm_backward, {MATRIX, GAIN, SCALE, MATRIX}, .reaches = {"rc", "a.", "ra", "rc"}},
    {"FloatNormTangent", float_norm_tangent, {MATRIX, GAIN, SCALE, MATRIX, GAIN}, .reaches = {"r", "c", "r", "r", "c"}},
    {"FloatSwiglu", float_swiglu, {MATRIX, MATRIX}, .reaches = {"e", "e"}},
    {"FloatSwigluBackward", float_swiglu_backward, {MATRIX, MATRIX, MATRIX}, .reaches = {"ee", "e.", "ee"}},
    {"FloatSwigluTangent", float_swiglu_tangent, {MATRIX, MATRIX, MATRIX, MATRIX}, .reaches = {"e", "e", "e", "e"}},
    {"FloatRotary", float_rotary, {{TOKENS, HEADS * SIZE}, {TOKENS, SIZE / 2}, {TOKENS, SIZE / 2}}, .num_results = 1, .effect = of_rotary},
    {"FloatLogprob", logprob, {LOGITS}, .reaches = {"R"}},
    {"FloatLogprobTangent", logprob_tangent, {LOGITS, LOGITS}, .reaches = {"R", "r"}},
    {"FloatDivergence", divergence, {LOGITS, LOGITS}, .reaches = {"R", "R"}},
    {"FloatTilt", tilt, {LOGITS, LOGITS, {3, 1}}, .reaches = {"RRR", "rrr", "r.r"}},
    {0},
};

#define ONE {1, 1}
#define FIRST {1, 5}
#define SECOND {3, 7}
const Spoiling spoilt_plain[] = {
    {"ToHalf", conversion, {MATRIX}, .reaches = {"e"}},
    {"AdamW", adamw, {ONE, ONE, ONE, ONE, ONE, ONE, FIRST, SECOND, FIRST, SECOND, FIRST, SECOND, FIRST, SECOND, ONE},
     .reaches = {".aa....", ".AA....", ".aa....", ".AAAAAA", ".a.....", "..a....", /* of a spoilt gradient the norm, by which all are clipped */
      ".e.....", "..e....", "amAmAmA", "..e.e.e", ".e.e...", "..e.e..", ".E...e.", "..E...e", "aAAAAAA"}},
    {"ScatterAddRows", scatter_add, {MATRIX, MATRIX}, .reaches = {"e", "e"}},
    {0},
};

static void test_rows(void) {
  for (const Spoiling *kernel = spoilt_rows; kernel->name; kernel++) check_spoiling(kernel, half_level);
}
static void test_plain(void) {
  for (const Spoiling *kernel = spoilt_plain; kernel->name; kernel++) check_spoiling(kernel, LEVEL_NONE);
}

AT_EACH_LEVEL(test_rows)

const Test spoil_rows_tests[] = {
    {"norms, gated units, rotation and rows of a vocabulary pass on what is not finite to what depends on it alone", test_rows_each, LEVEL_PORTABLE},
    {"conversion, AdamW and sums of rows pass on what is not finite to what depends on it alone", test_plain, LEVEL_PORTABLE},
    {0},
};
