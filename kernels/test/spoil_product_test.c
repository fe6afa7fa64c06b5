/* What is not finite in linear layers, adapters, the head and their gradients: who sees it (spoil.h). */
#include "spoil.h"

HALF_FAMILY(az_linear_ops);
HALF_FAMILY(az_adapter_ops);
HALF_FAMILY(az_head_ops);
HALF_FAMILY(az_decode_pack_ops);
HALF_FAMILY(az_decode_linear_ops);
HALF_FAMILY(az_decode_linear_tangent_ops);
FLOAT_FAMILY(az_float_linear_ops);

/* Rows, inputs and outputs of a layer: more than a piece of each. Ranks of two adapters, and rows of the second's layer. */
enum { ROWS = 35, IN = 40, OUT_ = 37, RANK = 7, RANK2 = 5, RANKS = RANK + RANK2, SECOND = 20, STRIDE = 64 };
#define X {ROWS, IN}
#define Y {ROWS, OUT_}
#define W {OUT_, IN}
#define BIAS {1, OUT_}

/* Operands of x·wᵀ [0] and of dy·w [1]. */
static void pack(Tensor first, Tensor second, Tensor operands[2]) {
  Call call = {.table = TABLE(az_linear_ops), .name = "Pack", .ints = {second.data != NULL}, .in = {first, second}, .num_inputs = second.data ? 2 : 1};
  must_run(&call);
  memcpy(operands, call.out, 2 * sizeof *operands);
}

static Call product(const char *name, Tensor x, Tensor operand, int64_t columns) {
  Call call = {.table = TABLE(az_linear_ops), .name = name, .ints = {ROWS, 0, ROUND_UP(x.dim[1], 32), columns}, .floats = {1}};
  call.in[0] = half_of(x), call.in[1] = operand, call.num_inputs = 2;
  return call;
}

static Tensor float_product(Tensor x, Tensor operand, int64_t columns) {
  Call call = product("LinearFloat", x, operand, columns);
  must_run(&call);
  return call.out[0];
}

/* x, w, residual, bias, h, B */
static void linear(const char *name, const Tensor *in, Tensor *out) {
  Tensor w[2], b[2];
  pack(in[1], (Tensor){0}, w), pack(in[5], (Tensor){0}, b);
  Call call = product(name, in[0], w[0], OUT_);
  call.in[2] = in[2], call.in[3] = in[3], call.in[4] = half_of(in[4]), call.in[5] = b[0];
  call.ints[5] = ROUND_UP(RANK, 32), call.num_inputs = 6;
  must_run(&call);
  out[0] = call.out[0];
}
static void linear_float(const Tensor *in, Tensor *out) { linear("LinearFloat", in, out); }
static void linear_half(const Tensor *in, Tensor *out) {
  linear("LinearHalf", in, out);
  out[0] = floats_of(out[0], 0, OUT_);
}

/* dy, w → dx */
static void linear_back(const Tensor *in, Tensor *out) {
  Tensor w[2];
  pack(in[1], (Tensor){0}, w);
  out[0] = float_product(in[0], w[1], IN);
}

/* Columns of gate (0) or up (1), which stand by turns of 16. */
static Tensor part_of(Tensor pair, int part) {
  Tensor x = tensor_of(sizeof(float), SHAPE(ROWS, OUT_));
  for (int64_t i = 0; i < count_of(x); i++) {
    const int64_t column = i % OUT_;
    FLOATS(x)[i] = from_half(HALVES(pair)[i / OUT_ * pair.dim[1] + column / 16 * 32 + 16 * part + column % 16]);
  }
  return x;
}

/* x, gate, up → both products, silu(gate)·up */
static void swiglu(const Tensor *in, Tensor *out) {
  Tensor w[2];
  pack(in[1], in[2], w);
  Call call = product("LinearSwiglu", in[0], w[0], 2 * STRIDE);
  must_run(&call);
  out[0] = part_of(call.out[0], 0), out[1] = part_of(call.out[0], 1), out[2] = floats_of(call.out[1], 0, OUT_);
}

/* dz, down, gate, up → their gradients */
static void swiglu_gradient(const Tensor *in, Tensor *out) {
  Tensor w[2], pair = tensor_of(sizeof(bf16), SHAPE(ROWS, 2 * STRIDE));
  memset(pair.data, 0, sizeof(bf16) * (size_t)count_of(pair));
  for (int64_t i = 0; i < ROWS * OUT_; i++) {
    bf16 *at = HALVES(pair) + i / OUT_ * 2 * STRIDE + i % OUT_ / 16 * 32 + i % OUT_ % 16;
    at[0] = to_half(FLOATS(in[2])[i]), at[16] = to_half(FLOATS(in[3])[i]);
  }
  pack(in[1], (Tensor){0}, w);
  Call call = product("LinearSwigluGradient", in[0], w[1], STRIDE);
  call.in[2] = pair, call.num_inputs = 3;
  must_run(&call);
  for (int k = 0; k < 2; k++) out[k] = part_of(call.out[0], k);
}

/* dy, x → Σ squares, dw */
static void weight_gradient(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_linear_ops), .name = "WeightGradient", .ints = {ROWS, 0, 0, STRIDE, 0, STRIDE, IN, OUT_}, .floats = {1}};
  call.in[0] = half_of(in[0]), call.in[1] = half_of(in[1]), call.num_inputs = 2, call.num_outputs = 2;
  must_run(&call);
  out[0] = call.out[0], out[1] = call.out[1];
}

/* --- adapters of two layers, of which the first's are spoilt */

/* x, h, dh, dy, A, B → x·Aᵀ, h·Bᵀ, dh·A, dy·B */
static void adapters(const Tensor *in, Tensor *out) {
  const int64_t rows = STRIDE + ROUND_UP(SECOND, 32);
  Call call = {.table = TABLE(az_adapter_ops), .name = "PackAdapters", .ints = {0, OUT_, SECOND}, .floats = {2, 3}, .num_inputs = 4};
  call.ints[9] = RANK, call.ints[10] = RANK2;
  call.in[0] = in[4], call.in[1] = WAVES(50, RANK2, IN), call.in[2] = in[5], call.in[3] = WAVES(51, SECOND, RANK2);
  must_run(&call);
  out[0] = float_product(in[0], call.out[0], RANKS), out[1] = float_product(in[1], call.out[2], rows);
  out[2] = float_product(in[2], call.out[1], IN), out[3] = float_product(in[3], call.out[3], RANKS);
}

/* b's columns beside those of a, from `from` on. */
static Tensor beside(Tensor a, Tensor b, int64_t from) {
  Tensor both = tensor_of(sizeof(float), SHAPE(ROWS, from + b.dim[1]));
  memset(both.data, 0, sizeof(float) * (size_t)count_of(both));
  for (int64_t r = 0; r < ROWS; r++) {
    memcpy(FLOATS(both) + r * both.dim[1], FLOATS(a) + r * a.dim[1], sizeof(float) * (size_t)a.dim[1]);
    memcpy(FLOATS(both) + r * both.dim[1] + from, FLOATS(b) + r * b.dim[1], sizeof(float) * (size_t)b.dim[1]);
  }
  return both;
}

static void adapter_gradient(int is_b, Tensor left, Tensor right, Tensor *out) {
  Call call = {.table = TABLE(az_adapter_ops), .name = "AdapterGradient", .floats = {2, 3}, .num_inputs = 2, .num_outputs = 2};
  const int64_t ints[] = {ROWS, 0, is_b, 0, 32, 0, ROUND_UP(right.dim[1], 32), IN, OUT_, SECOND};
  memcpy(call.ints, ints, sizeof ints);
  call.ints[16] = RANK, call.ints[17] = RANK2;
  call.in[0] = half_of(left), call.in[1] = half_of(right);
  must_run(&call);
  out[0] = call.out[0], out[1] = call.out[1];
}
/* dh of the first, x → dA of both */
static void gradient_of_a(const Tensor *in, Tensor *out) { adapter_gradient(0, beside(in[0], WAVES(50, ROWS, RANK2), RANK), in[1], out); }
/* h and dy of the first → dB of both */
static void gradient_of_b(const Tensor *in, Tensor *out) {
  adapter_gradient(1, beside(in[0], WAVES(50, ROWS, RANK2), RANK), beside(in[1], WAVES(51, ROWS, SECOND), STRIDE), out);
}

/* --- the head: x, w, weights → loss, nll, dx (, dw) */

static void run_head(const Tensor *in, Tensor *out, int is_frozen) {
  Tensor w[2], targets = tensor_of(8, SHAPE(ROWS));
  for (int64_t n = 0; n < ROWS; n++) LONGS(targets)[n] = n * 7 % OUT_;
  pack(in[1], (Tensor){0}, w);
  Call call = {.table = TABLE(az_head_ops), .name = "HeadLoss", .ints = {ROWS, 0, STRIDE}, .num_inputs = 6, .unwanted = is_frozen ? 8 : 0};
  const Tensor all[] = {half_of(in[0]), w[0], w[1], in[1], targets, in[2]};
  memcpy(call.in, all, sizeof all);
  must_run(&call);
  memcpy(out, call.out, 4 * sizeof *out);
  out[1].rank = 2, out[1].dim[1] = 1, out[2] = floats_of(call.out[2], 0, IN);
}
static void head(const Tensor *in, Tensor *out) { run_head(in, out, 0); }
static void frozen_head(const Tensor *in, Tensor *out) { run_head(in, out, 1); }

/* --- decoding */

static Tensor packed(const char *name, Tensor w) {
  Call call = {.table = TABLE(az_decode_pack_ops), .name = name, .in = {w}, .num_inputs = 1};
  must_run(&call);
  return call.out[0];
}

/* x, gain, residual, bias, w */
static void decode_linear(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_decode_linear_ops), .name = "DecodeLinear", .ints = {1, 0, ROWS, IN, OUT_}, .floats = {1e-5f}, .num_inputs = 8};
  memcpy(call.in, in, 4 * sizeof *in);
  call.in[7] = packed("DecodePack", in[4]);
  must_run(&call);
  out[0] = call.out[0];
}

/* x, bias of the gate, of the other, both weights */
static void decode_gated(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_decode_linear_ops), .name = "DecodeLinear", .ints = {1, 1, ROWS, IN, OUT_, OUT_}, .num_inputs = 9};
  call.in[0] = in[0], call.in[3] = in[1], call.in[4] = in[2];
  for (int p = 0; p < 2; p++) call.in[7 + p] = packed("DecodePack", in[3 + p]);
  must_run(&call);
  out[0] = call.out[0];
}

/* x, gain, residual, bias, the same of their tangents, w, its direction → y, ty, or ty alone */
static void decode_moved(const Tensor *in, Tensor *out, int is_alone) {
  Call call = {.table = TABLE(az_decode_linear_tangent_ops), .name = "DecodeLinearTangent", .ints = {1, 0, ROWS, IN, OUT_}, .floats = {1e-5f}};
  memcpy(call.in, in, 4 * sizeof *in), memcpy(call.in + 7, in + 4, 4 * sizeof *in);
  call.in[15] = packed(is_alone ? "DecodePackBytes" : "DecodePack", in[8]), call.in[16] = packed("DecodePackDirection", in[9]);
  call.ints[8] = is_alone, call.num_inputs = 17;
  must_run(&call);
  memcpy(out, call.out, 2 * sizeof *out);
}
static void decode_tangent(const Tensor *in, Tensor *out) { decode_moved(in, out, 0); }
static void decode_tangent_alone(const Tensor *in, Tensor *out) { decode_moved(in, out, 1); }

/* x, w, bias */
static void float_linear(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_float_linear_ops), .name = "FloatLinear", .in = {in[0], in[1], in[2]}, .num_inputs = 3};
  must_run(&call);
  out[0] = call.out[0];
}

#define HIDDEN {ROWS, RANK}
const Spoiling spoilt_products[] = {
    {"LinearFloat", linear_float, {X, W, Y, BIAS, HIDDEN, {OUT_, RANK}}, .reaches = {"r", "w", "e", "c", "r", "w"}},
    {"LinearHalf", linear_half, {X, W, Y, BIAS, HIDDEN, {OUT_, RANK}}, .reaches = {"r", "w", "e", "c", "r", "w"}},
    {"LinearFloat", linear_back, {Y, W}, .reaches = {"r", "c"}},
    {"LinearSwiglu", swiglu, {X, W, W}, .reaches = {"rrr", "w.w", ".ww"}},
    {"LinearSwigluGradient", swiglu_gradient, {X, {IN, OUT_}, Y, Y}, .reaches = {"rr", "cc", "ee", "e."}},
    {"WeightGradient", weight_gradient, {Y, X}, .reaches = {"at", "ac"}},
    {"PackAdapters", adapters, {X, {ROWS, RANKS}, {ROWS, RANKS}, {ROWS, STRIDE + 32}, {RANK, IN}, {OUT_, RANK}},
     .reaches = {"r...", ".r..", "..r.", "...r", "w.c.", ".w.c"}},
    {"AdapterGradient", gradient_of_a, {HIDDEN, X}, .reaches = {"t.", "cc"}},
    {"AdapterGradient", gradient_of_b, {HIDDEN, Y}, .reaches = {"c.", "t."}},
    {"HeadLoss", head, {X, W, {ROWS, 1}}, .reaches = {"arra", "AAAA", "a.ra"}},
    {"HeadLoss", frozen_head, {X, W, {ROWS, 1}}, .reaches = {"arr", "AAA", "a.r"}},
    {"DecodeLinear", decode_linear, {X, {1, IN}, Y, BIAS, W}, .reaches = {"r", "a", "e", "c", "w"}},
    {"DecodeLinear", decode_gated, {X, BIAS, BIAS, W, W}, .reaches = {"r", "c", "c", "w", "w"}},
    {"DecodeLinearTangent", decode_tangent, {X, {1, IN}, Y, BIAS, X, {1, IN}, Y, BIAS, W, W},
     .reaches = {"rr", "aa", "e.", "c.", ".r", ".a", ".e", ".c", "ww", ".w"}},
    {"DecodeLinearTangent", decode_tangent_alone, {X, {1, IN}, Y, BIAS, X, {1, IN}, Y, BIAS, W, W},
     .reaches = {"r", "a", ".", ".", "r", "a", "e", "c", "w", "w"}},
    {"FloatLinear", float_linear, {{2, IN}, W, BIAS}, .reaches = {"r", "w", "c"}},
    {"FloatLinear", float_linear, {X, W, BIAS}, .reaches = {"r", "w", "c"}},
    {0},
};

static void test_products(void) {
  for (const Spoiling *kernel = spoilt_products; kernel->name; kernel++) check_spoiling(kernel, half_level);
}
AT_EACH_LEVEL(test_products)

const Test spoil_product_tests[] = {
    {"linear layers, adapters and the head pass on what is not finite to what depends on it alone", test_products_each, LEVEL_PORTABLE},
    {0},
};
