/* Attention of decoding in bfloat16: ragged rows, chunks and steps against float64, from a cache that was never cleared. */
#include "levels.h"

HALF_FAMILY(az_decode_attention_ops);
HALF_FAMILY(az_linear_ops);

enum { B = 2, SLOTS = 96, MAX_TIME = 80 };
static const float SCALE = 0.3f;
/* Rounding of queries, keys, values and weights to bfloat16. */
static const double TOLERANCE = 2e-2;

typedef struct {
  int64_t h, k, d;
} Heads;

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

/* o of the token at `position` of row b, from all tokens [B, MAX_TIME, heads, D]. */
static void expect(Heads s, Tensor q, Tensor k, Tensor v, int64_t b, int64_t position, int64_t head, double *o) {
  double p[MAX_TIME], most = -1e300, sum = 0;
  const float *query = FLOATS(q) + ((b * MAX_TIME + position) * s.h + head) * s.d;
  for (int64_t j = 0; j <= position; j++) {
    const float *key = FLOATS(k) + ((b * MAX_TIME + j) * s.k + head * s.k / s.h) * s.d;
    p[j] = 0;
    for (int64_t i = 0; i < s.d; i++) p[j] += (double)SCALE * query[i] * key[i];
    most = fmax(most, p[j]);
  }
  for (int64_t j = 0; j <= position; j++) sum += p[j] = exp(p[j] - most);
  for (int64_t i = 0; i < s.d; i++) o[i] = 0;
  for (int64_t j = 0; j <= position; j++)
    for (int64_t i = 0; i < s.d; i++) o[i] += p[j] / sum * FLOATS(v)[((b * MAX_TIME + j) * s.k + head * s.k / s.h) * s.d + i];
}

/* Rows' tokens from their positions on, `time` of each; missing ones are zeros. */
static Tensor take(Tensor x, const int64_t *from, int64_t time) {
  const int64_t token = x.dim[2] * x.dim[3];
  Tensor part = tensor_of(4, SHAPE(x.dim[0], time, x.dim[2], x.dim[3]));
  memset(part.data, 0, 4 * (size_t)count_of(part));
  for (int64_t b = 0; b < x.dim[0]; b++)
    for (int64_t t = 0; t < time && from[b] + t < x.dim[1]; t++)
      memcpy(FLOATS(part) + (b * time + t) * token, FLOATS(x) + (b * x.dim[1] + from[b] + t) * token, 4 * (size_t)token);
  return part;
}

static void test_attention(void) {
  static const Heads shapes[] = {{1, 1, 2}, {3, 1, 20}, {4, 2, 64}, {16, 1, 33}, {2, 2, 96}};
  for (int i = 0; i < 5; i++) {
    const Heads s = shapes[i];
    const int64_t width = ROUND_UP(s.d, 32);
    Tensor q = WAVES(1, B, MAX_TIME, s.h, s.d), k = WAVES(2, B, MAX_TIME, s.k, s.d), v = WAVES(3, B, MAX_TIME, s.k, s.d);
    Tensor keys = tensor_of(2, SHAPE(B, s.k, SLOTS, width)), values = tensor_of(2, SHAPE(B, s.k, SLOTS, width));
    int64_t begin[B] = {0, 0}, length[B] = {37, 5}; /* first chunks, then single steps across a block of 32 */
    for (int64_t step = 0; step < 32; step++) {
      const int64_t time = step == 0 ? 37 : 1;
      Tensor lengths = tensor_of(4, SHAPE(B));
      for (int64_t b = 0; b < B; b++) INTS(lengths)[b] = (int32_t)length[b];
      for (int threads = 1; threads <= (step < 2 ? 2 : 1); threads++) {
        Call call = {.table = TABLE(az_decode_attention_ops), .name = "DecodeAttention", .floats = {SCALE}, .num_inputs = 9, .num_outputs = 3};
        const int64_t ints[] = {threads, step == 0, time, s.h, s.d};
        memcpy(call.ints, ints, sizeof ints);
        call.in[0] = take(q, begin, time), call.in[1] = take(k, begin, time), call.in[2] = take(v, begin, time);
        call.in[6] = lengths, call.in[7] = keys, call.in[8] = values;
        call.out[1] = keys, call.out[2] = values;
        must_run(&call);
        for (int64_t b = 0; b < B; b++)
          for (int64_t t = 0; t < time && begin[b] + t < length[b]; t++)
            for (int64_t head = 0; head < s.h; head++) {
              double expected[96];
              expect(s, q, k, v, b, begin[b] + t, head, expected);
              const float *o = FLOATS(call.out[0]) + ((b * time + t) * s.h + head) * s.d;
              for (int64_t j = 0; j < s.d; j++)
                check(fabs(o[j] - expected[j]) <= TOLERANCE, "step %ld row %ld token %ld: %g, expected %g", (long)step, (long)b, (long)t,
                      (double)o[j], expected[j]);
            }
      }
      for (int64_t b = 0; b < B; b++) begin[b] = length[b]++;
    }
  }
}

/* gate and up as one, silu(gate)·up, and the gradient through it and the projection behind it. */
static void test_gated(void) {
  static const int64_t shapes[][3] = {{1, 1, 1}, {5, 17, 33}, {33, 40, 70}, {64, 32, 64}};
  for (int s = 0; s < 4; s++) {
    const int64_t rows = shapes[s][0], width = shapes[s][1], n = shapes[s][2], stride = ROUND_UP(width, 32), wide = ROUND_UP(n, 32);
    Tensor x = HALF_WAVES(1, rows, stride), gate = WAVES(2, n, width), up = WAVES(3, n, width), down = WAVES(4, width, n);
    Tensor dz = HALF_WAVES(5, rows, stride);
    for (int64_t i = 0; i < rows * stride; i++)
      if (i % stride >= width) HALVES(x)[i] = HALVES(dz)[i] = 0;
    Call pack = {.table = TABLE(az_linear_ops), .name = "Pack", .ints = {1}, .in = {gate, up}, .num_inputs = 2};
    must_run(&pack);
    Call pack_down = {.table = TABLE(az_linear_ops), .name = "Pack", .in = {down}, .num_inputs = 1};
    must_run(&pack_down);
    Call forward = {.table = TABLE(az_linear_ops), .name = "LinearSwiglu", .ints = {rows, 0, stride, 2 * wide}, .in = {x, pack.out[0]}, .num_inputs = 2};
    must_run(&forward);
    Call back = {.table = TABLE(az_linear_ops), .name = "LinearSwigluGradient", .ints = {rows, 0, stride, wide}, .num_inputs = 3};
    back.in[0] = dz, back.in[1] = pack_down.out[1], back.in[2] = forward.out[0];
    must_run(&back);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t j = 0; j < n; j++) {
        double g = 0, u = 0, dy = 0;
        for (int64_t k = 0; k < width; k++) {
          g += (double)from_half(HALVES(x)[r * stride + k]) * from_half(to_half(FLOATS(gate)[j * width + k]));
          u += (double)from_half(HALVES(x)[r * stride + k]) * from_half(to_half(FLOATS(up)[j * width + k]));
          dy += (double)from_half(HALVES(dz)[r * stride + k]) * from_half(to_half(FLOATS(down)[k * n + j]));
        }
        const double sigmoid = 1 / (1 + exp(-g)), y = g * sigmoid * u, d_gate = dy * u * sigmoid * (1 + g * (1 - sigmoid)), d_up = dy * g * sigmoid;
        const int64_t at = j / 16 * 32 + j % 16;
        const double found = from_half(HALVES(forward.out[1])[r * wide + j]);
        const double found_gate = from_half(HALVES(back.out[0])[r * 2 * wide + at]), found_up = from_half(HALVES(back.out[0])[r * 2 * wide + at + 16]);
        check(fabs(found - y) <= TOLERANCE * (1 + fabs(y)), "silu(gate)·up is %g, expected %g", found, y);
        check(fabs(found_gate - d_gate) <= TOLERANCE * (1 + fabs(dy * u)), "dgate is %g, expected %g", found_gate, d_gate);
        check(fabs(found_up - d_up) <= TOLERANCE * (1 + fabs(d_up)), "dup is %g, expected %g", found_up, d_up);
      }
  }
}

AT_EACH_LEVEL(test_attention)
AT_EACH_LEVEL(test_gated)

const Test decode_tests[] = {
    {"bfloat16 attention of decoding: ragged first chunks and steps are those of float64 up to rounding", test_attention_each, LEVEL_PORTABLE},
    {"bfloat16 gated units and their gradients are those of float64 up to rounding", test_gated_each, LEVEL_PORTABLE},
    {0},
};
