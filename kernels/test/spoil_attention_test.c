/* What is not finite in attention: who sees it (spoil.h). */
#include "spoil.h"

HALF_FAMILY(az_attention_ops);
HALF_FAMILY(az_decode_attention_ops);
FLOAT_FAMILY(az_float_attention_ops);
FLOAT_FAMILY(az_float_attention_backward_ops);

enum { BATCH = 2, TIME = 70, HEADS = 4, GROUPS = 2, SIZE = 12, SLOTS = 96, TOKENS = BATCH * TIME };
#define Q {TOKENS, HEADS * SIZE}
#define K {TOKENS, GROUPS * SIZE}
static const float SCALE = 0.3f;

/* Tokens that may meet in one product: values of keys that a query does not read have the weight 0 there, and 0·∞ is no number. */
enum { TOGETHER = 64 };

/* --- kernels: float32 [B·T, heads·D] → the same */

/* [B, H, T] as [B·T, H], and back. */
static Tensor by_tokens(Tensor x) {
  Tensor y = tensor_of(sizeof(float), SHAPE(TOKENS, HEADS));
  for (int64_t i = 0; i < TOKENS * HEADS; i++) FLOATS(y)[i] = FLOATS(x)[(i / HEADS / TIME * HEADS + i % HEADS) * TIME + i / HEADS % TIME];
  return y;
}
static Tensor by_heads(Tensor x) {
  Tensor y = tensor_of(sizeof(float), SHAPE(BATCH, HEADS, TIME));
  for (int64_t i = 0; i < TOKENS * HEADS; i++) FLOATS(y)[(i / HEADS / TIME * HEADS + i % HEADS) * TIME + i / HEADS % TIME] = FLOATS(x)[i];
  return y;
}
/* As [B, T, heads, D] and back. */
static Tensor with_heads(Tensor x, int64_t heads) {
  const int64_t dim[] = {BATCH, TIME, heads, SIZE};
  x.rank = 4;
  memcpy(x.dim, dim, sizeof dim);
  return x;
}
static Tensor without_heads(Tensor x) {
  x.dim[1] = x.dim[2] * x.dim[3], x.dim[0] = TOKENS, x.rank = 2;
  return x;
}

enum { HEADS_STRIDE = ROUND_UP(HEADS * SIZE, 32), GROUPS_STRIDE = ROUND_UP(GROUPS * SIZE, 32) };
static Call half_call(const char *name, const Tensor *in, int num_inputs) {
  Call call = {.table = TABLE(az_attention_ops), .name = name, .floats = {SCALE}, .num_inputs = num_inputs};
  const int64_t ints[] = {BATCH, TIME, HEADS, GROUPS, SIZE, 0, HEADS_STRIDE, 0, GROUPS_STRIDE, 0, GROUPS_STRIDE, 0, HEADS_STRIDE, 0, HEADS_STRIDE};
  memcpy(call.ints, ints, sizeof ints);
  for (int i = 0; i < num_inputs; i++) call.in[i] = i < 5 ? half_of(in[i]) : by_heads(in[i]);
  return call;
}

/* q, k, v → o, log-sums */
static void attention(const Tensor *in, Tensor *out) {
  Call call = half_call("Attention", in, 3);
  must_run(&call);
  out[0] = floats_of(call.out[0], 0, HEADS * SIZE), out[1] = by_tokens(call.out[1]);
}

/* q, k, v, o, dO, log-sums → dq, dk, dv */
static void attention_backward(const Tensor *in, Tensor *out) {
  Call call = half_call("AttentionBackward", in, 6);
  must_run(&call);
  out[0] = floats_of(call.out[0], 0, HEADS * SIZE);
  for (int k = 0; k < 2; k++) out[1 + k] = floats_of(call.out[0], HEADS_STRIDE + k * GROUPS_STRIDE, GROUPS * SIZE);
}

/* q, k, v (, tq, tk, tv) → o or to */
static void float_sequence(const char *name, const Tensor *in, int num_inputs, Tensor *out) {
  Call call = {.table = TABLE(az_float_attention_ops), .name = name, .floats = {SCALE}, .num_inputs = num_inputs};
  for (int i = 0; i < num_inputs; i++) call.in[i] = with_heads(in[i], i % 3 ? GROUPS : HEADS);
  must_run(&call);
  out[0] = without_heads(call.out[0]);
}
static void float_attention(const Tensor *in, Tensor *out) { float_sequence("FloatAttention", in, 3, out); }
static void float_attention_tangent(const Tensor *in, Tensor *out) { float_sequence("FloatAttentionTangent", in, 6, out); }

/* q, k, v, o, dO → dq, dk, dv */
static void float_attention_backward(const Tensor *in, Tensor *out) {
  Call call = {.table = TABLE(az_float_attention_backward_ops), .name = "FloatAttentionBackward", .floats = {SCALE}, .num_inputs = 5};
  for (int i = 0; i < 5; i++) call.in[i] = with_heads(in[i], i == 1 || i == 2 ? GROUPS : HEADS);
  must_run(&call);
  for (int k = 0; k < 3; k++) out[k] = without_heads(call.out[k]);
}

/* --- against a cache: a first chunk of all tokens but one, then that one */

static Tensor tokens_of(Tensor x, int64_t from, int64_t to) {
  const int64_t width = x.dim[1];
  Tensor part = tensor_of(sizeof(float), SHAPE(BATCH, to - from, width / SIZE, SIZE));
  for (int64_t b = 0; b < BATCH; b++)
    memcpy(FLOATS(part) + b * (to - from) * width, FLOATS(x) + (b * TIME + from) * width, sizeof(float) * (size_t)((to - from) * width));
  return part;
}
static void put_tokens(Tensor to, Tensor part, int64_t from) {
  const int64_t width = HEADS * SIZE, time = part.dim[1];
  for (int64_t b = 0; b < BATCH; b++)
    memcpy(FLOATS(to) + (b * TIME + from) * width, FLOATS(part) + b * time * width, sizeof(float) * (size_t)(time * width));
}
static Tensor lengths_of(int64_t length) {
  Tensor lengths = tensor_of(4, SHAPE(BATCH));
  for (int64_t b = 0; b < BATCH; b++) INTS(lengths)[b] = (int32_t)length;
  return lengths;
}

/* Tokens from … to − 1 of q, k, v (, tq, tk, tv) go to `cache`, and what they see to out. */
typedef void Chunk(const Tensor *in, int64_t from, int64_t to, const Tensor *cache, Tensor *out);

static void in_chunks(const Tensor *in, Chunk *chunk, const Tensor *cache, Tensor *out, int num_results) {
  for (int k = 0; k < num_results; k++) out[k] = tensor_of(sizeof(float), SHAPE(TOKENS, HEADS * SIZE));
  chunk(in, 0, TIME - 1, cache, out);
  chunk(in, TIME - 1, TIME, cache, out);
}

/* What is not written yet is not-a-numbers. */
static void caches(Tensor *cache, int count, size_t element_bytes) {
  for (int i = 0; i < count; i++) cache[i] = tensor_of(element_bytes, SHAPE(BATCH, GROUPS, SLOTS, element_bytes == 2 ? ROUND_UP(SIZE, 32) : SIZE));
}

static Call decode_call(const char *name, const Tensor *in, int64_t from, int64_t to, const Tensor *cache) {
  Call call = {.table = TABLE(az_decode_attention_ops), .name = name, .floats = {SCALE}, .ints = {1, from == 0, to - from, HEADS, SIZE}};
  for (int i = 0; i < 3; i++) call.in[i] = tokens_of(in[i], from, to);
  call.in[6] = lengths_of(to), call.num_inputs = 9;
  for (int i = 0; i < 2; i++) call.in[7 + i] = call.out[1 + i] = cache[i];
  return call;
}
static void decode_chunk(const Tensor *in, int64_t from, int64_t to, const Tensor *cache, Tensor *out) {
  Call call = decode_call("DecodeAttention", in, from, to, cache);
  must_run(&call);
  put_tokens(out[0], call.out[0], from);
}
static void decode_attention(const Tensor *in, Tensor *out) {
  Tensor cache[2];
  caches(cache, 2, sizeof(bf16));
  in_chunks(in, decode_chunk, cache, out, 1);
}

static void moved_decode_chunk(const Tensor *in, int64_t from, int64_t to, const Tensor *cache, Tensor *out) {
  Call call = decode_call("DecodeAttentionTangent", in, from, to, cache);
  for (int i = 0; i < 3; i++) call.in[9 + i] = tokens_of(in[3 + i], from, to);
  for (int i = 0; i < 2; i++) call.in[12 + i] = call.out[4 + i] = cache[2 + i];
  call.num_inputs = 14;
  must_run(&call);
  put_tokens(out[0], call.out[0], from), put_tokens(out[1], call.out[3], from);
}
static void decode_attention_tangent(const Tensor *in, Tensor *out) {
  Tensor cache[4];
  caches(cache, 4, sizeof(bf16));
  in_chunks(in, moved_decode_chunk, cache, out, 2);
}

static Call cached_call(const Tensor *in, int64_t from, int64_t to, const Tensor *cache) {
  Call call = {.table = TABLE(az_float_attention_ops), .name = "FloatCachedAttention", .ints = {from == 0}, .floats = {SCALE}, .num_inputs = 6};
  for (int i = 0; i < 3; i++) call.in[i] = tokens_of(in[i], from, to);
  for (int i = 0; i < 2; i++) call.in[3 + i] = call.out[1 + i] = cache[i];
  call.in[5] = lengths_of(to);
  return call;
}
static void float_chunk(const Tensor *in, int64_t from, int64_t to, const Tensor *cache, Tensor *out) {
  Call call = cached_call(in, from, to, cache);
  must_run(&call);
  put_tokens(out[0], call.out[0], from);
}
static void float_cached_attention(const Tensor *in, Tensor *out) {
  Tensor cache[2];
  caches(cache, 2, sizeof(float));
  in_chunks(in, float_chunk, cache, out, 1);
}

static void moved_float_chunk(const Tensor *in, int64_t from, int64_t to, const Tensor *cache, Tensor *out) {
  Call extend = cached_call(in, from, to, cache);
  must_run(&extend);
  Call call = {.table = TABLE(az_float_attention_ops), .name = "FloatCachedAttentionTangent", .ints = {from == 0}, .floats = {SCALE}};
  const Tensor all[] = {extend.in[0], cache[0], cache[1], extend.in[5], tokens_of(in[3], from, to), tokens_of(in[4], from, to),
                        tokens_of(in[5], from, to), cache[2], cache[3]};
  memcpy(call.in, all, sizeof all);
  call.out[1] = cache[2], call.out[2] = cache[3], call.num_inputs = 9;
  must_run(&call);
  put_tokens(out[0], call.out[0], from);
}
static void float_cached_tangent(const Tensor *in, Tensor *out) {
  Tensor cache[4];
  caches(cache, 4, sizeof(float));
  in_chunks(in, moved_float_chunk, cache, out, 1);
}

/* --- who reads whom */

/* Whether a row of the batch, and a group of heads there, are the same. */
static int is_same_batch(int64_t row, int64_t other) { return row / TIME == other / TIME; }
static int64_t group_of_query(int64_t column) { return column / SIZE * GROUPS / HEADS; }
static int64_t group_of_key(int64_t column) { return column / SIZE; }

/* What a query (a token and a head) and a key (a token and a group) do to each other where the query reads the key, and where it does not. */
static Effect between(int64_t query, int64_t query_group, int64_t key, int64_t key_group, Effect read, Effect unread) {
  if (!is_same_batch(query, key) || query_group != key_group) return KEPT;
  if (key <= query) return read;
  return query % TIME / TOGETHER == key % TIME / TOGETHER ? unread : KEPT;
}
static Effect for_column(Effect effect, int64_t column, int64_t to_column) { return column % SIZE == to_column % SIZE ? effect : KEPT; }

/* q, k, v (, tq, tk, tv) and o or to; `unread`: of keys that a query does not read. */
static Effect of_results(int input, int64_t row, int64_t column, int64_t to_row, int64_t to_column, Effect unread) {
  const int is_moved = input >= 3, is_value = input % 3 == 2;
  if (input % 3 == 0) return row == to_row && column / SIZE == to_column / SIZE ? SPOILT : KEPT;
  const Effect key = between(to_row, group_of_query(to_column), row, group_of_key(column), is_moved || is_value ? SPOILT : SPOILT_BY_NAN,
                             is_value ? ANY : unread);
  return is_value ? for_column(key, column, to_column) : key;
}
static Effect of_forward(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column) {
  if (result == 0) return of_results(input, row, column, to_row, to_column, KEPT);
  return input == 2 ? KEPT : of_results(input, row, column, to_row, to_column * SIZE, KEPT); /* log-sums */
}
static Effect of_tangent(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column) {
  return of_results(input, row, column, to_row, to_column, ANY);
}
/* o and to: tangents do not reach o. */
static Effect of_both(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column) {
  return result == 0 && input >= 3 ? KEPT : of_results(input, row, column, to_row, to_column, KEPT);
}

enum { IN_Q, IN_K, IN_V, IN_O, IN_D_OUT, IN_LOG_SUM, D_Q = 0, D_K, D_V };
static Effect of_backward(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column) {
  const int is_query = input == IN_Q || input >= IN_O, is_plain = input == IN_V || input == IN_O || input == IN_D_OUT;
  const Effect read = is_plain ? SPOILT : SPOILT_BY_NAN;
  const int64_t head = input == IN_LOG_SUM ? column * SIZE : column; /* of a query's input */
  if (is_query && result == D_Q) return row == to_row && head / SIZE == to_column / SIZE ? read : KEPT;
  if (result == D_V && (input == IN_V || input == IN_O)) return KEPT;
  if (is_query) {
    const Effect effect = between(row, group_of_query(head), to_row, group_of_key(to_column), read, ANY);
    return input == IN_D_OUT && result == D_V ? for_column(effect, column, to_column) : effect;
  }
  if (result == D_Q) return between(to_row, group_of_query(to_column), row, group_of_key(column), read, ANY);
  return row == to_row && group_of_key(column) == group_of_key(to_column) ? read : KEPT;
}

/* Weights are made anew, of all keys of a query: a key that is no number spoils them, and so does an infinite query. */
static Effect of_float_backward(int input, int64_t row, int64_t column, int result, int64_t to_row, int64_t to_column) {
  const Effect effect = of_backward(input, row, column, result, to_row, to_column);
  if (input == IN_Q) return effect == SPOILT_BY_NAN ? SPOILT : effect;
  if (input != IN_K || result == D_Q) return effect;
  return is_same_batch(row, to_row) && group_of_key(column) == group_of_key(to_column) ? SPOILT_BY_NAN : KEPT;
}

const Spoiling spoilt_attention[] = {
    {"Attention", attention, {Q, K, K}, .num_results = 2, .effect = of_forward},
    {"AttentionBackward", attention_backward, {Q, K, K, Q, Q, {TOKENS, HEADS}}, .num_results = 3, .effect = of_backward},
    {"FloatAttention", float_attention, {Q, K, K}, .num_results = 1, .effect = of_forward},
    {"FloatAttentionTangent", float_attention_tangent, {Q, K, K, Q, K, K}, .num_results = 1, .effect = of_tangent},
    {"FloatAttentionBackward", float_attention_backward, {Q, K, K, Q, Q}, .num_results = 3, .effect = of_float_backward},
    {"FloatCachedAttention", float_cached_attention, {Q, K, K}, .num_results = 1, .effect = of_forward},
    {"FloatCachedAttentionTangent", float_cached_tangent, {Q, K, K, Q, K, K}, .num_results = 1, .effect = of_tangent},
    {"DecodeAttention", decode_attention, {Q, K, K}, .num_results = 1, .effect = of_forward},
    {"DecodeAttentionTangent", decode_attention_tangent, {Q, K, K, Q, K, K}, .num_results = 2, .effect = of_both},
    {0},
};

static void test_attention(void) {
  for (const Spoiling *kernel = spoilt_attention; kernel->name; kernel++) check_spoiling(kernel, half_level);
}
AT_EACH_LEVEL(test_attention)

const Test spoil_attention_tests[] = {
    {"attention passes on what is not finite to those who read it", test_attention_each, LEVEL_PORTABLE},
    {0},
};
