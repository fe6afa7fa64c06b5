/* Attention in float32, its gradient and tangent and the form with a cache against float64, on every instruction set. */
#include "levels.h"

LEVELS(az_float_attention_ops);
LEVELS(az_float_attention_backward_ops);

typedef struct {
  int64_t b, t, h, k, d;
} Shape;
static const Shape SHAPES[] = {{1, 1, 1, 1, 1},  {2, 5, 2, 2, 4},   {1, 7, 6, 2, 16},  {3, 1, 3, 1, 6},  {1, 65, 3, 1, 20},
                               {1, 131, 2, 2, 17}, {2, 33, 4, 1, 32}, {1, 3, 37, 1, 8}, {1, 64, 8, 4, 64}};
enum { NUM_SHAPES = sizeof SHAPES / sizeof *SHAPES };
static const double TOLERANCE = 4e-6;
static const float SCALE = 0.37f;

static double *doubles(int64_t n) { return calloc((size_t)n, sizeof(double)); }
static int64_t at_query(Shape s, int64_t b, int64_t t, int64_t h) { return ((b * s.t + t) * s.h + h) * s.d; }
static int64_t at_key(Shape s, int64_t b, int64_t t, int64_t h) { return ((b * s.t + t) * s.k + h * s.k / s.h) * s.d; }
static double dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return sum;
}

/* Weights p[0 … t] of one query. */
static void weights(Shape s, const float *q, const float *k, int64_t b, int64_t t, int64_t h, double *p) {
  double most = -1e300, sum = 0;
  for (int64_t j = 0; j <= t; j++) most = fmax(most, p[j] = SCALE * dot(q + at_query(s, b, t, h), k + at_key(s, b, j, h), s.d));
  for (int64_t j = 0; j <= t; j++) sum += p[j] = exp(p[j] - most);
  for (int64_t j = 0; j <= t; j++) p[j] /= sum;
}

typedef struct {
  Tensor q, k, v, d_out, tq, tk, tv;
  double *o, *dq, *dk, *dv, *to;
} Truth;

static Truth truth_of(Shape s) {
  Truth x = {.q = WAVES(1, s.b, s.t, s.h, s.d), .k = WAVES(2, s.b, s.t, s.k, s.d), .v = WAVES(3, s.b, s.t, s.k, s.d)};
  x.d_out = WAVES(4, s.b, s.t, s.h, s.d), x.tq = WAVES(5, s.b, s.t, s.h, s.d), x.tk = WAVES(6, s.b, s.t, s.k, s.d);
  x.tv = WAVES(7, s.b, s.t, s.k, s.d);
  const int64_t queries = count_of(x.q), keys = count_of(x.k);
  x.o = doubles(queries), x.dq = doubles(queries), x.dk = doubles(keys), x.dv = doubles(keys), x.to = doubles(queries);
  double *p = doubles(s.t);
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < s.h; h++)
      for (int64_t t = 0; t < s.t; t++) {
        const int64_t at = at_query(s, b, t, h);
        weights(s, FLOATS(x.q), FLOATS(x.k), b, t, h, p);
        double delta = 0, mean = 0;
        for (int64_t j = 0; j <= t; j++) {
          const int64_t key = at_key(s, b, j, h);
          double moved = SCALE * (dot(FLOATS(x.tq) + at, FLOATS(x.k) + key, s.d) + dot(FLOATS(x.q) + at, FLOATS(x.tk) + key, s.d));
          mean += p[j] * moved;
          delta += p[j] * dot(FLOATS(x.d_out) + at, FLOATS(x.v) + key, s.d);
          for (int64_t i = 0; i < s.d; i++) x.o[at + i] += p[j] * FLOATS(x.v)[key + i];
        }
        for (int64_t j = 0; j <= t; j++) {
          const int64_t key = at_key(s, b, j, h);
          double moved = SCALE * (dot(FLOATS(x.tq) + at, FLOATS(x.k) + key, s.d) + dot(FLOATS(x.q) + at, FLOATS(x.tk) + key, s.d));
          double ds = SCALE * p[j] * (dot(FLOATS(x.d_out) + at, FLOATS(x.v) + key, s.d) - delta);
          for (int64_t i = 0; i < s.d; i++) {
            x.to[at + i] += p[j] * ((moved - mean) * FLOATS(x.v)[key + i] + FLOATS(x.tv)[key + i]);
            x.dq[at + i] += ds * FLOATS(x.k)[key + i];
            x.dk[key + i] += ds * FLOATS(x.q)[at + i];
            x.dv[key + i] += p[j] * FLOATS(x.d_out)[at + i];
          }
        }
      }
  free(p);
  return x;
}
static void forget(Truth *x) { free(x->o), free(x->dq), free(x->dk), free(x->dv), free(x->to); }

static void must_run(Call *call) {
  const char *error = run_op(call);
  check(error == NULL, "%s: %s", call->name, error ? error : "");
}

static void test_sequence(void) {
  for (int i = 0; i < NUM_SHAPES; i++) {
    Truth x = truth_of(SHAPES[i]);
    Tensor first[3] = {{0}};
    FOR_LEVELS(at, az_float_attention_ops) {
      Call forward = {.table = at->table, .name = "FloatAttention", .floats = {SCALE}, .in = {x.q, x.k, x.v}, .num_inputs = 3};
      must_run(&forward);
      check_close("o", forward.out[0], x.o, TOLERANCE);
      Call reversed = forward;
      reversed.out[0].data = NULL, reversed.is_reversed = 1;
      must_run(&reversed);
      check_same("the order of tasks changes the result", forward.out[0], reversed.out[0], 4);
      Call tangent = {.table = at->table, .name = "FloatAttentionTangent", .floats = {SCALE}, .num_inputs = 6};
      const Tensor all[] = {x.q, x.k, x.v, x.tq, x.tk, x.tv};
      memcpy(tangent.in, all, sizeof all);
      must_run(&tangent);
      check_close("to", tangent.out[0], x.to, 4 * TOLERANCE);
      check_same_bits(at, first, forward.out[0]);
      check_same_bits(at, first + 1, tangent.out[0]);
    }
    FOR_LEVELS(at, az_float_attention_backward_ops) {
      Tensor o = tensor_of(4, x.q.rank, x.q.dim);
      for (int64_t n = 0; n < count_of(o); n++) FLOATS(o)[n] = (float)x.o[n];
      Call backward = {.table = at->table, .name = "FloatAttentionBackward", .floats = {SCALE}, .in = {x.q, x.k, x.v, o, x.d_out}, .num_inputs = 5};
      must_run(&backward);
      check_close("dq", backward.out[0], x.dq, 2 * TOLERANCE);
      check_close("dk", backward.out[1], x.dk, 2 * TOLERANCE);
      check_close("dv", backward.out[2], x.dv, 2 * TOLERANCE);
      check_same_bits(at, first + 2, backward.out[1]);
      for (int unwanted = 1; unwanted < 8; unwanted++) {
        Call partly = backward;
        memset(partly.out, 0, sizeof partly.out);
        partly.unwanted = unwanted;
        must_run(&partly);
        for (int k = 0; k < 3; k++)
          if (!(unwanted >> k & 1)) check_same("a result changes with what else is wanted", backward.out[k], partly.out[k], 4);
      }
    }
    forget(&x);
  }
}

/* [B, T, K, D] rows of a cache [B, K, S, D], other slots not-a-numbers. */
static Tensor cache_of(Tensor x, Shape s, int64_t slots, int64_t count) {
  Tensor cache = tensor_of(4, SHAPE(s.b, s.k, slots, s.d));
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t g = 0; g < s.k; g++)
      for (int64_t t = 0; t < count; t++)
        memcpy(FLOATS(cache) + ((b * s.k + g) * slots + t) * s.d, FLOATS(x) + ((b * s.t + t) * s.k + g) * s.d, 4 * (size_t)s.d);
  return cache;
}

/* Tokens from … to − 1 of every row. */
static Tensor part_of(Tensor x, int64_t from, int64_t to) {
  Tensor part = tensor_of(4, SHAPE(x.dim[0], to - from, x.dim[2], x.dim[3]));
  const int64_t token = x.dim[2] * x.dim[3];
  for (int64_t b = 0; b < x.dim[0]; b++)
    memcpy(FLOATS(part) + b * (to - from) * token, FLOATS(x) + (b * x.dim[1] + from) * token, 4 * (size_t)((to - from) * token));
  return part;
}

/* The last token of each sequence, and the last three, against a cache of those before: the bits of the whole sequence. */
static void test_cache(void) {
  for (int i = 0; i < NUM_SHAPES; i++) {
    const Shape s = SHAPES[i];
    Truth x = truth_of(s);
    FOR_LEVELS(at, az_float_attention_ops) for (int64_t count = 1; count <= 3 && count <= s.t; count += 2) {
      if (count > 1 && s.b > 1) continue;
      const int64_t slots = s.t + 2, before = s.t - count;
      Call whole = {.table = at->table, .name = "FloatAttention", .floats = {SCALE}, .in = {x.q, x.k, x.v}, .num_inputs = 3};
      must_run(&whole);
      Tensor lengths = tensor_of(4, SHAPE(s.b)), keys = cache_of(x.k, s, slots, before), values = cache_of(x.v, s, slots, before);
      for (int64_t b = 0; b < s.b; b++) INTS(lengths)[b] = (int32_t)s.t;
      Call step = {.table = at->table, .name = "FloatCachedAttention", .floats = {SCALE}, .num_inputs = 6};
      const Tensor all[] = {part_of(x.q, before, s.t), part_of(x.k, before, s.t), part_of(x.v, before, s.t), keys, values, lengths};
      memcpy(step.in, all, sizeof all);
      step.out[1] = keys, step.out[2] = values;
      must_run(&step);
      check_same("o of the last tokens", part_of(whole.out[0], before, s.t), step.out[0], 4);
      check_same("keys", cache_of(x.k, s, slots, s.t), keys, 4);
      check_same("values", cache_of(x.v, s, slots, s.t), values, 4);

      Call moved = {.table = at->table, .name = "FloatAttentionTangent", .floats = {SCALE}, .num_inputs = 6};
      const Tensor whole_inputs[] = {x.q, x.k, x.v, x.tq, x.tk, x.tv};
      memcpy(moved.in, whole_inputs, sizeof whole_inputs);
      must_run(&moved);
      Tensor t_keys = cache_of(x.tk, s, slots, before), t_values = cache_of(x.tv, s, slots, before);
      Call tangent = {.table = at->table, .name = "FloatCachedAttentionTangent", .floats = {SCALE}, .num_inputs = 9};
      const Tensor tangent_inputs[] = {part_of(x.q, before, s.t),  keys, values, lengths, part_of(x.tq, before, s.t),
                                       part_of(x.tk, before, s.t), part_of(x.tv, before, s.t), t_keys, t_values};
      memcpy(tangent.in, tangent_inputs, sizeof tangent_inputs);
      tangent.out[1] = t_keys, tangent.out[2] = t_values;
      must_run(&tangent);
      check_same("to of the last tokens", part_of(moved.out[0], before, s.t), tangent.out[0], 4);
    }
    forget(&x);
  }
}

/* First chunks of rows of 0, 1, T − 1 and T tokens: no more than that is written or read, and padding gives zeros. */
static void test_ragged(void) {
  const Shape s = {4, 35, 3, 1, 20};
  const int64_t slots = 40, numbers = s.h * s.d;
  const int32_t lengths_of_rows[] = {0, 1, 34, 35};
  Truth x = truth_of(s);
  FOR_LEVELS(at, az_float_attention_ops) {
    Tensor lengths = tensor_of(4, SHAPE(s.b)), keys = tensor_of(4, SHAPE(s.b, s.k, slots, s.d)), values = copy_of(keys, 4);
    memcpy(lengths.data, lengths_of_rows, sizeof lengths_of_rows);
    Call whole = {.table = at->table, .name = "FloatAttention", .floats = {SCALE}, .in = {x.q, x.k, x.v}, .num_inputs = 3};
    must_run(&whole);
    Call chunk = {.table = at->table, .name = "FloatCachedAttention", .ints = {1}, .floats = {SCALE}, .num_inputs = 6};
    const Tensor all[] = {x.q, x.k, x.v, keys, values, lengths};
    memcpy(chunk.in, all, sizeof all);
    chunk.out[1] = keys, chunk.out[2] = values;
    must_run(&chunk);
    for (int64_t b = 0; b < s.b; b++) {
      const float *o = FLOATS(chunk.out[0]) + b * s.t * numbers, *expected = FLOATS(whole.out[0]) + b * s.t * numbers;
      /* The last block of queries may hold both tokens and padding: what stands behind the length reads what was never written. */
      check(!memcmp(o, expected, 4 * (size_t)(lengths_of_rows[b] * numbers)), "%s: row %ld differs", at->name, (long)b);
      for (int64_t slot = lengths_of_rows[b]; slot < slots; slot++)
        check(isnan(FLOATS(keys)[(b * slots + slot) * s.d]), "%s: a slot behind the length is written", at->name);
    }
    INTS(lengths)[0] = (int32_t)slots + 1;
    Call too_long = chunk;
    check(run_op(&too_long) != NULL, "a length beyond the cache is not refused");
  }
  forget(&x);
}

/* A not-a-number in a query stays with it; one in a key or value reaches those queries that read it. */
static void test_special(void) {
  const Shape s = {1, 70, 2, 1, 16};
  Truth x = truth_of(s);
  const int64_t token = s.h * s.d;
  FOR_LEVELS(at, az_float_attention_ops) {
    Call clean = {.table = at->table, .name = "FloatAttention", .floats = {SCALE}, .in = {x.q, x.k, x.v}, .num_inputs = 3};
    must_run(&clean);
    for (int kind = 0; kind < 3; kind++) {
      Call spoilt = clean;
      spoilt.out[0].data = NULL;
      spoilt.in[kind] = copy_of(clean.in[kind], 4);
      FLOATS(spoilt.in[kind])[66 * count_of(clean.in[kind]) / s.t] = NAN;
      must_run(&spoilt);
      const float *o = FLOATS(spoilt.out[0]);
      check(!memcmp(o, clean.out[0].data, 4 * (size_t)(64 * token)), "%s: earlier blocks of queries change", at->name);
      check(isnan(o[66 * token]), "%s: not-a-number is lost", at->name);
      check(kind == 0 ? !isnan(o[69 * token]) : isnan(o[69 * token]), "%s: the last query is wrong", at->name);
    }
    /* Scores of hundreds: the maximum is subtracted first. */
    Call great = clean;
    great.out[0].data = NULL;
    great.floats[0] = 1000;
    must_run(&great);
    for (int64_t i = 0; i < count_of(great.out[0]); i++) check(fabsf(FLOATS(great.out[0])[i]) <= 1.0001f, "not a mean of values");
  }
  forget(&x);
}

const Test float_attention_tests[] = {
    {"float32 attention, its gradient and tangent are those of float64", test_sequence, LEVEL_PORTABLE},
    {"float32 attention against a cache gives the bits of the whole sequence", test_cache, LEVEL_PORTABLE},
    {"float32 first chunks of ragged rows touch nothing behind their lengths", test_ragged, LEVEL_PORTABLE},
    {"float32 attention passes not-a-numbers on to those who read them", test_special, LEVEL_PORTABLE},
    {0},
};
