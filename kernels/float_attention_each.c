/*
 * Attention in float32 and its tangent, over a sequence or against a ragged key/value cache that is extended in place. Keys are met
 * in blocks from position 0 with a running maximum, and a query that reads less far than its neighbours adds exact zeros: a
 * query's result is the same bits whatever stands beside it and however its sequence was cut.
 */
#include "float_attention.h"

/* Keys, values and, for the tangent, how they move: position p of row b and head g at base + (b·b_step + g·g_step + p·p_step). */
typedef struct {
  const float *k, *v, *tk, *tv;
  int64_t b_step, g_step, p_step;
} Memory;

typedef struct {
  Extents extents;
  Memory memory;
  const float *q, *tq;
  float *o, *to;
  /* Of a cache, else null: tokens of each row once the new ones are in. */
  const int32_t *lengths;
  int is_first;
  float scale;
} Job;

typedef struct {
  float visible[QUERIES] ALIGNED; /* keys that a lane reads */
  float most[QUERIES] ALIGNED, sum[QUERIES] ALIGNED, moved_sum[QUERIES] ALIGNED;
  float p[KEYS * QUERIES] ALIGNED, z[KEYS * QUERIES] ALIGNED;
  float rest[]; /* q, tq, o, to: [D, QUERIES] each */
} Scratch;

/* The first position that row b's new tokens stand at, and how many of them are there: the others are padding. */
static int64_t start_of(const Job *job, int64_t b) {
  return job->lengths == NULL || job->is_first ? 0 : job->lengths[b] - job->extents.time;
}
static int64_t tokens_of(const Job *job, int64_t b) {
  const int64_t time = job->extents.time;
  if (job->lengths == NULL) return time;
  return job->is_first ? MIN(time, job->lengths[b]) : job->lengths[b] > 0 ? time : 0;
}

/* Scores s [n, QUERIES] of the block's lanes for keys from `key` on: weights 2^(s − most); what was summed before is scaled down. */
static void weigh(const Job *job, const Queries *q, Scratch *x, int64_t key, int64_t n, float *o, float *to) {
  for (int v = 0; v < q->vecs; v++) {
    float *s = x->p + v * LANES;
    Vec visible = v_load(x->visible + v * LANES), before = v_load(x->most + v * LANES), most = before;
    for (int64_t j = 0; j < n; j++) {
      Vec score = v_where_below(v_all((float)(key + j)), visible, v_load(s + j * QUERIES), v_all(-INFINITY));
      v_store(s + j * QUERIES, score);
      most = v_max(most, score);
    }
    Vec factor = v_exp2(v_sub(before, most)), sum = v_mul(v_load(x->sum + v * LANES), factor);
    Vec moved = v_mul(v_load(x->moved_sum + v * LANES), factor);
    for (int64_t j = 0; j < n; j++) {
      Vec p = v_exp2(v_sub(v_load(s + j * QUERIES), most));
      sum = v_add(sum, p);
      v_store(s + j * QUERIES, p);
      if (to == NULL) continue;
      float *z = x->z + j * QUERIES + v * LANES; /* still the moved score, in units of log 2 */
      Vec moved_p = v_mul(p, v_mul(v_load(z), v_all(LN_2)));
      moved = v_add(moved, moved_p);
      v_store(z, moved_p);
    }
    v_store(x->most + v * LANES, most);
    v_store(x->sum + v * LANES, sum);
    v_store(x->moved_sum + v * LANES, moved);
    if (key == 0) continue;
    for (int64_t d = 0; d < job->extents.size; d++) {
      float *at = o + d * QUERIES + v * LANES;
      v_store(at, v_mul(v_load(at), factor));
      if (to == NULL) continue;
      at = to + d * QUERIES + v * LANES;
      v_store(at, v_mul(v_load(at), factor));
    }
  }
}

/* to − (Σz)·o, all of them still without the factor 1/Σp */
static void centre(const Job *job, const Queries *q, Scratch *x, const float *o, float *to) {
  for (int v = 0; v < q->vecs; v++) {
    Vec mean = v_div(v_load(x->moved_sum + v * LANES), v_load(x->sum + v * LANES));
    for (int64_t d = 0; d < job->extents.size; d++) {
      float *at = to + d * QUERIES + v * LANES;
      v_store(at, v_sub(v_load(at), v_mul(mean, v_load(o + d * QUERIES + v * LANES))));
    }
  }
}

static void attend(const Job *job, const Queries *q, Scratch *x) {
  const Extents *e = &job->extents;
  const Memory *m = &job->memory;
  const int64_t size = e->size, at = q->b * m->b_step + q->g * m->g_step, start = start_of(job, q->b);
  const int64_t tokens = tokens_of(job, q->b);
  const int is_moving = job->tq != NULL;
  float *queries = x->rest, *o = queries + size * QUERIES, *moved = o + size * QUERIES, *to = moved + size * QUERIES;
  gather_queries(e, q, job->q, job->scale * LOG2_E, queries);
  if (is_moving) gather_queries(e, q, job->tq, job->scale * LOG2_E, moved);
  int64_t end = 1;
  for (int lane = 0; lane < q->vecs * LANES; lane++) {
    /* Padding reads what the last token reads: behind it nothing may be written yet. */
    int64_t token = MIN(query_token(e, q, MIN(lane, q->count - 1)), tokens - 1), visible = MAX(1, start + token + 1);
    x->visible[lane] = (float)visible;
    end = MAX(end, visible);
    x->most[lane] = -INFINITY;
    x->sum[lane] = x->moved_sum[lane] = 0;
  }
  for (int64_t key = 0; key < end; key += KEYS) {
    const int64_t n = MIN(KEYS, end - key), from = at + key * m->p_step;
    Product scores = {.c = x->p, .a = m->k + from, .b = queries, .c_row = QUERIES, .a_row = m->p_step, .a_step = 1};
    scores.b_row = QUERIES, scores.rows = n, scores.steps = size, scores.parts = q->parts;
    multiply(scores);
    if (is_moving) {
      scores.c = x->z, scores.b = moved;
      multiply(scores);
      scores.a = m->tk + from, scores.b = queries, scores.is_added = 1;
      multiply(scores);
    }
    weigh(job, q, x, key, n, o, is_moving ? to : NULL);
    Product sums = {.c = o, .a = m->v + from, .b = x->p, .c_row = QUERIES, .a_row = 1, .a_step = m->p_step};
    sums.b_row = QUERIES, sums.rows = size, sums.steps = n, sums.parts = q->parts, sums.is_added = key > 0;
    multiply(sums);
    if (is_moving) {
      sums.c = to, sums.b = x->z;
      multiply(sums);
      sums.a = m->tv + from, sums.b = x->p, sums.is_added = 1;
      multiply(sums);
    }
  }
  if (is_moving) centre(job, q, x, o, to);
  for (int v = 0; v < q->vecs; v++) v_store(x->sum + v * LANES, v_div(v_all(1.f), v_load(x->sum + v * LANES)));
  if (job->o != NULL) scatter_queries(e, q, o, x->sum, job->o);
  if (is_moving) scatter_queries(e, q, to, x->sum, job->to);
}

/* --- the queries of one token, all of which read the same keys: lanes hold keys, then elements of values, so that none is idle */

enum { STEP_QUERIES = 8, STEP_PARTS = 8 };

/* Where nothing moves, and lanes of queries would mostly be idle. */
static int is_step(const Job *job, const Queries *q) {
  return job->extents.time == 1 && job->tq == NULL && q->count <= STEP_QUERIES && q->count < LANES / 2;
}

/* s [queries, KEYS]: scores of keys 0 … n − 1 [p_step apart] with queries [queries, D]; each sum runs over the elements in order. */
INLINE void step_scores(const Queries *q, const float *queries, const float *k, int64_t p_step, int64_t n, int64_t size, float *s) {
  for (int64_t j = 0; j < n; j += PART) {
    Lanes sums[STEP_QUERIES] = {0};
    for (int64_t d = 0; d < size; d += PART) {
      const int64_t count = MIN(PART, size - d);
      Lanes keys[PART];
      for (int i = 0; i < PART; i++) {
        const float *key = k + MIN(j + i, n - 1) * p_step + d;
        float part[PART] ALIGNED = {0};
        keys[i] = count == PART ? part_load(key) : part_load(memcpy(part, key, sizeof(float) * (size_t)count));
      }
      parts_transpose(keys);
      for (int r = 0; r < q->count; r++)
        for (int64_t i = 0; i < count; i++) sums[r] = part_fma(keys[i], part_all(queries[r * size + d + i]), sums[r]);
    }
    for (int r = 0; r < q->count; r++) part_store(s + r * KEYS + j, sums[r]);
  }
}

/* One query's scores s [n] become weights 2^(s − most); what its sum and o [D] were before is scaled down. */
INLINE void step_weights(float *s, int64_t n, int is_first, float *most, float *sum, float *o, int64_t size) {
  const float before = *most;
  for (int64_t j = 0; j < n; j++) *most = s[j] > *most ? s[j] : *most;
  for (int64_t j = 0; j < n; j += LANES) v_store(s + j, v_exp2(v_sub(v_load(s + j), v_all(*most))));
  float factor[LANES] ALIGNED;
  v_store(factor, v_exp2(v_sub(v_all(before), v_all(*most))));
  *sum *= factor[0];
  for (int64_t j = 0; j < n; j++) *sum += s[j];
  if (is_first) return;
  for (int64_t d = 0; d < size; d++) o[d] *= factor[0];
}

/* o [D] (+)= Σ p·v over keys in order, `parts` vectors of it. */
INLINE void step_values(float *o, const float *p, const float *v, int64_t p_step, int64_t n, int is_first, const int parts) {
  Lanes sums[STEP_PARTS];
#pragma GCC unroll 8
  for (int i = 0; i < parts; i++) sums[i] = is_first ? (Lanes){0} : part_load(o + i * PART);
  for (int64_t j = 0; j < n; j++) {
    const Lanes weight = part_all(p[j]);
#pragma GCC unroll 8
    for (int i = 0; i < parts; i++) sums[i] = part_fma(part_load(v + j * p_step + i * PART), weight, sums[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < parts; i++) part_store(o + i * PART, sums[i]);
}

/* Of all elements, the last ones one by one. */
static void step_all_values(float *o, const float *p, const float *v, int64_t p_step, int64_t n, int is_first, int64_t size) {
  int64_t d = 0;
  for (; d + STEP_PARTS * PART <= size; d += STEP_PARTS * PART) step_values(o + d, p, v + d, p_step, n, is_first, STEP_PARTS);
  for (; d + PART <= size; d += PART) step_values(o + d, p, v + d, p_step, n, is_first, 1);
  for (; d < size; d++) {
    Lanes sum = part_all(is_first ? 0 : o[d]);
    for (int64_t j = 0; j < n; j++) sum = part_fma(part_all(v[j * p_step + d]), part_all(p[j]), sum);
    o[d] = sum[0];
  }
}

static void attend_step(const Job *job, const Queries *q, Scratch *x) {
  const Extents *e = &job->extents;
  const Memory *m = &job->memory;
  const int64_t size = e->size, at = q->b * m->b_step + q->g * m->g_step, end = MAX(1, start_of(job, q->b) + 1);
  float *queries = x->rest, *o = queries + STEP_QUERIES * size;
  for (int r = 0; r < q->count; r++) {
    const float *from = job->q + query_offset(e, q, r);
    for (int64_t d = 0; d < size; d++) queries[r * size + d] = from[d] * (job->scale * LOG2_E);
    x->most[r] = LOWEST, x->sum[r] = 0;
  }
  for (int64_t key = 0; key < end; key += KEYS) {
    const int64_t n = MIN(KEYS, end - key), from = at + key * m->p_step;
    step_scores(q, queries, m->k + from, m->p_step, n, size, x->p);
    for (int r = 0; r < q->count; r++) {
      float *p = x->p + r * KEYS, *result = o + r * size;
      step_weights(p, n, key == 0, x->most + r, x->sum + r, result, size);
      step_all_values(result, p, m->v + from, m->p_step, n, key == 0, size);
    }
  }
  for (int r = 0; r < q->count; r++) {
    float *to = job->o + query_offset(e, q, r), factor = 1.f / x->sum[r];
    for (int64_t d = 0; d < size; d++) to[d] = o[r * size + d] * factor;
  }
}

static void attend_task(void *arg, size_t index) {
  const Job *job = arg;
  const Extents *e = &job->extents;
  Queries q = queries_of(e, (int64_t)index);
  if (query_token(e, &q, 0) >= tokens_of(job, q.b)) { /* all padding: nothing reads it, but it is to be finite */
    for (int lane = 0; lane < q.count; lane++) {
      if (job->o) memset(job->o + query_offset(e, &q, lane), 0, sizeof(float) * (size_t)e->size);
      if (job->to) memset(job->to + query_offset(e, &q, lane), 0, sizeof(float) * (size_t)e->size);
    }
    return;
  }
  Scratch *x = az_take(sizeof *x + sizeof(float) * 4 * QUERIES * (size_t)e->size);
  if (is_step(job, &q)) attend_step(job, &q, x);
  else attend(job, &q, x);
  az_give(x);
}

/* Multiplications of a step, and numbers to copy, that take no longer than waking another thread. */
enum { SHORT_WORK = 1 << 18, SHORT_COPY = 1 << 15 };

static int is_short_step(const Job *job) {
  const Extents *e = &job->extents;
  int64_t positions = 0;
  for (int64_t b = 0; b < e->batch; b++) positions += job->lengths ? job->lengths[b] : e->time;
  return e->time == 1 && 2 * positions * e->heads * e->size < SHORT_WORK;
}

static void attend_all(Ctx *c, Job *job) {
  const Extents *e = &job->extents;
  if (e->size < 1 || e->groups < 1 || e->heads % e->groups != 0) az_fail(c, "query heads are not shared out evenly");
  az_par_unless(c, is_short_step(job), (size_t)(e->batch * e->groups * num_blocks(e)), attend_task, job);
}

static Extents extents_of(const Tensor *q, int64_t groups) {
  return (Extents){q->dim[0], q->dim[1], q->dim[2], groups, q->dim[3]};
}

/* scale; q [B, T, H, D], k [B, T, K, D], v → o [B, T, H, D] */
static void run_attention(Ctx *c) {
  Extents e = extents_of(c->in, c->in[1].dim[2]);
  Memory memory = {.k = c->in[1].data, .v = c->in[2].data, .g_step = e.size, .p_step = e.groups * e.size};
  memory.b_step = e.time * memory.p_step;
  Job job = {.extents = e, .memory = memory, .q = c->in[0].data, .scale = c->f[0]};
  job.o = OUT(c, 0, e.batch, e.time, e.heads, e.size);
  if (job.o != NULL) attend_all(c, &job);
}

/* scale; q, k, v, tq, tk, tv → to */
static void run_tangent(Ctx *c) {
  Extents e = extents_of(c->in, c->in[1].dim[2]);
  Memory memory = {.k = c->in[1].data, .v = c->in[2].data, .tk = c->in[4].data, .tv = c->in[5].data};
  memory.g_step = e.size, memory.p_step = e.groups * e.size, memory.b_step = e.time * memory.p_step;
  Job job = {.extents = e, .memory = memory, .q = c->in[0].data, .tq = c->in[3].data, .scale = c->f[0]};
  job.to = OUT(c, 0, e.batch, e.time, e.heads, e.size);
  if (job.to != NULL) attend_all(c, &job);
}

/* --- against a cache [B, K, S, D] */

typedef struct {
  Extents extents;
  const float *fresh[2];
  float *cache[2];
  int64_t slots;
  const int32_t *lengths;
  int is_first;
} Extension;

/* The new tokens [B, T, K, D] of one row and head to their positions. */
static void extend_task(void *arg, size_t index) {
  const Extension *job = arg;
  const Extents *e = &job->extents;
  int64_t b = (int64_t)index / e->groups, g = (int64_t)index % e->groups, length = job->lengths[b];
  int64_t start = job->is_first ? 0 : length - e->time, count = job->is_first ? MIN(length, e->time) : e->time;
  for (int part = 0; part < 2; part++)
    for (int64_t t = 0; t < count; t++) {
      if (start + t < 0 || start + t >= job->slots) continue;
      memcpy(job->cache[part] + ((b * e->groups + g) * job->slots + start + t) * e->size,
             job->fresh[part] + ((b * e->time + t) * e->groups + g) * e->size, sizeof(float) * (size_t)e->size);
    }
}

/* Lengths beyond the cache would be read past its end. */
static void check_lengths(Ctx *c, const int32_t *lengths, int64_t batch, int64_t slots) {
  for (int64_t b = 0; b < batch; b++)
    if (lengths[b] < 0 || lengths[b] > slots) az_fail(c, "a row is longer than the cache");
}

/* The cache that comes in as input `index` goes out as output `output`, in place where the memory is one. */
static float *cache_out(Ctx *c, int index, int output) {
  const Tensor *in = c->in + index;
  float *out = az_out(c, output, in->rank, in->dim);
  if (out == NULL) az_fail(c, "the cache is to be written, but nothing takes it");
  if (out != in->data) memcpy(out, in->data, sizeof(float) * (size_t)az_size(in));
  return out;
}

/* first, scale; q [B, T, H, D], k [B, T, K, D], v, keys [B, K, S, D], values, lengths [B] → o, keys, values */
static void run_cached(Ctx *c) {
  enum { Q, K, V, KEYS_IN, VALUES_IN, LENGTHS };
  int64_t slots = c->in[KEYS_IN].dim[2];
  Extents e = extents_of(c->in, c->in[KEYS_IN].dim[1]);
  Extension extension = {.extents = e, .fresh = {c->in[K].data, c->in[V].data}, .slots = slots};
  extension.lengths = c->in[LENGTHS].data, extension.is_first = (int)c->i[0];
  check_lengths(c, extension.lengths, e.batch, slots);
  Memory memory = {.k = extension.cache[0] = cache_out(c, KEYS_IN, 1), .v = extension.cache[1] = cache_out(c, VALUES_IN, 2)};
  memory.p_step = e.size, memory.g_step = slots * e.size, memory.b_step = e.groups * memory.g_step;
  Job job = {.extents = e, .memory = memory, .q = c->in[Q].data, .lengths = extension.lengths, .scale = c->f[0]};
  job.is_first = extension.is_first;
  job.o = OUT(c, 0, e.batch, e.time, e.heads, e.size);
  az_par_unless(c, 2 * e.batch * e.time * e.groups * e.size < SHORT_COPY, (size_t)(e.batch * e.groups), extend_task, &extension);
  if (job.o != NULL) attend_all(c, &job);
}

/* first, scale; q, keys, values, lengths, tq, tk, tv, moved keys, moved values → to, moved keys, moved values */
static void run_cached_tangent(Ctx *c) {
  enum { Q, KEYS_IN, VALUES_IN, LENGTHS, TQ, TK, TV, MOVED_KEYS, MOVED_VALUES };
  int64_t slots = c->in[KEYS_IN].dim[2];
  Extents e = extents_of(c->in, c->in[KEYS_IN].dim[1]);
  Extension extension = {.extents = e, .fresh = {c->in[TK].data, c->in[TV].data}, .slots = slots};
  extension.lengths = c->in[LENGTHS].data, extension.is_first = (int)c->i[0];
  check_lengths(c, extension.lengths, e.batch, slots);
  Memory memory = {.k = c->in[KEYS_IN].data, .v = c->in[VALUES_IN].data, .p_step = e.size, .g_step = slots * e.size};
  memory.b_step = e.groups * memory.g_step;
  memory.tk = extension.cache[0] = cache_out(c, MOVED_KEYS, 1);
  memory.tv = extension.cache[1] = cache_out(c, MOVED_VALUES, 2);
  Job job = {.extents = e, .memory = memory, .q = c->in[Q].data, .tq = c->in[TQ].data, .lengths = extension.lengths};
  job.scale = c->f[0], job.is_first = extension.is_first;
  job.to = OUT(c, 0, e.batch, e.time, e.heads, e.size);
  az_par_unless(c, 2 * e.batch * e.time * e.groups * e.size < SHORT_COPY, (size_t)(e.batch * e.groups), extend_task, &extension);
  if (job.to != NULL) attend_all(c, &job);
}

const Op EACH(az_float_attention_ops)[] = {
    {"FloatAttention", run_attention, "fff", "f", {0}, {"scale"}, .level = LEVEL_PORTABLE},
    {"FloatAttentionTangent", run_tangent, "ffffff", "f", {0}, {"scale"}, .level = LEVEL_PORTABLE},
    {"FloatCachedAttention", run_cached, "fffffi", "fff", {"first"}, {"scale"}, .level = LEVEL_PORTABLE},
    {"FloatCachedAttentionTangent", run_cached_tangent, "fffifffff", "fff", {"first"}, {"scale"}, .level = LEVEL_PORTABLE},
    {0},
};
