/*
 * Causal grouped-query attention against a ragged key/value cache in bfloat16, which is extended in place; rotary embedding included.
 * One kernel for one new token a row, for chunks of one row and for first chunks of many rows, so that a token's result is the
 * same bits however its sequence was cut and whatever stands beside it: keys are met in blocks of 32 and scaled in blocks of BLOCK
 * from position 0, and a query that reads less far than its neighbours adds exact zeros.
 *
 * Cache, width W = D rounded up to 32: keys [B, K, S/16, W/2, 16, 2], values [B, K, S/2, W, 2]: tiles as the products take them.
 * Where a block of 32 positions begins, the rest of it is cleared, so that what is read behind a row's length is finite.
 */
#include "decode_tile.h"

enum { BLOCK = 256, STRIDE = BLOCK + 16, MAX_WIDTH = 512 };

typedef struct {
  const float *q, *k, *v;      /* [B, T, H, D], [B, T, K, D] twice */
  const int64_t *positions;    /* [B, T], for the angles */
  const float *cos, *sin;      /* [P, D/2], or null */
  const int32_t *lengths;      /* [B] */
  bf16 *keys, *values;
  float *o;                    /* [B, T, H, D] */
  int64_t batch, time, heads, groups, size, slots, width, queries, query_blocks, units_per_task;
  float scale;
  int is_first;
} Job;

/* The position of token t of row b. */
static inline int64_t position(const Job *job, int64_t b, int64_t t) {
  return job->is_first ? t : job->lengths[b] - job->time + t;
}

/* x [D], rotated by the angles of a token and scaled, as bfloat16 in `to` [W]. */
static __attribute__((noinline)) void rotate(const Job *job, const float *x, int64_t token, float scale, bf16 *to) {
  float y[MAX_WIDTH] ALIGNED;
  int64_t half = job->size / 2;
  memset(y, 0, sizeof(float) * (size_t)job->width);
  if (job->cos == NULL) {
    for (int64_t i = 0; i < job->size; i++) y[i] = x[i] * scale;
  } else {
    const float *cos = job->cos + job->positions[token] * half, *sin = job->sin + job->positions[token] * half;
    for (int64_t i = 0; i < half; i += 16) {
      __mmask16 lanes = first_lanes(half - i);
      __m512 a = _mm512_maskz_loadu_ps(lanes, x + i), b = _mm512_maskz_loadu_ps(lanes, x + half + i), s = _mm512_set1_ps(scale);
      __m512 c = _mm512_maskz_loadu_ps(lanes, cos + i), d = _mm512_maskz_loadu_ps(lanes, sin + i);
      _mm512_mask_storeu_ps(y + i, lanes, _mm512_mul_ps(s, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, d))));
      _mm512_mask_storeu_ps(y + half + i, lanes, _mm512_mul_ps(s, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, d))));
    }
  }
  for (int64_t i = 0; i < job->width; i += 32)
    _mm512_storeu_si512((void *)(to + i), pack_bf16(_mm512_load_ps(y + i), _mm512_load_ps(y + i + 16)));
}

/* New keys and values of one row and group into the cache. */
static void extend(const Job *job, int64_t b, int64_t g) {
  int64_t width = job->width, slot = (b * job->groups + g) * job->slots * width;
  bf16 *keys = job->keys + slot, *values = job->values + slot, row[MAX_WIDTH] ALIGNED;
  Job plain = *job;
  plain.cos = NULL;
  for (int64_t t = 0; t < (job->is_first ? job->lengths[b] : job->time); t++) {
    int64_t p = position(job, b, t), token = b * job->time + t, at = (token * job->groups + g) * job->size;
    if (p < 0 || p >= job->slots) continue;
    if (p % 32 == 0) {
      memset(keys + p * width, 0, sizeof(bf16) * 32 * (size_t)width);
      memset(values + p * width, 0, sizeof(bf16) * 32 * (size_t)width);
    }
    rotate(job, job->k + at, token, 1.f, row);
    bf16 *key = keys + p / 16 * 16 * width + p % 16 * 2;
    for (int64_t i = 0; i < width / 2; i++) memcpy(key + i * 32, row + 2 * i, 4);
    rotate(&plain, job->v + at, token, 1.f, row);
    bf16 *value = values + p / 2 * 2 * width + p % 2;
    for (int64_t i = 0; i < width; i++) value[2 * i] = row[i];
  }
}

/* The block [from, from + bytes) is wanted in the second-level cache soon. */
static inline void want(const void *from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)from + i, 0, 2);
}

/*
 * Scores s [16, STRIDE] of up to 16 queries (tiles [W/32, 16, 32]) against `count` keys, a multiple of 32. The values of the same
 * positions are sent for on the way.
 */
static void score(const Job *job, const bf16 *q, const bf16 *keys, const bf16 *values, int64_t count, float *s) {
  int64_t width = job->width;
  for (int64_t k = 0; k < count; k += 32) {
    const bf16 *low = keys + k * width, *high = low + 16 * width;
    TILE_ZERO(0);
    TILE_ZERO(1);
    for (int64_t d = 0; d < width; d += 32) {
      want(values + k * width + d * 32, 2048);
      TILE_LOAD(4, q + d * 16, 64);
      TILE_LOAD(6, low + d * 16, 64);
      TILE_PRODUCT(0, 4, 6);
      TILE_LOAD(7, high + d * 16, 64);
      TILE_PRODUCT(1, 4, 7);
    }
    TILE_STORE(0, s + k, 4 * STRIDE);
    TILE_STORE(1, s + k + 16, 4 * STRIDE);
  }
}

typedef struct {
  float most;          /* greatest score so far */
  __m512 sum;          /* of the weights, by lanes */
} Running;

/*
 * Scores of one query to weights 2^(s − most), as rows of the tiles p [count/32, 16, 32]; keys from `visible` on get none. Returns the
 * factor for what was summed before.
 */
static __attribute__((noinline)) float weigh(Running *running, float *s, int64_t count, int64_t visible, bf16 *p) {
  __m512 lowest = _mm512_set1_ps(-1e30f), top = lowest;
  for (int64_t k = 0; k < count; k += 16) {
    __m512 v = _mm512_mask_mov_ps(lowest, first_lanes(visible - k), _mm512_load_ps(s + k));
    _mm512_store_ps(s + k, v);
    top = _mm512_max_ps(top, v);
  }
  float before = running->most, now = _mm512_reduce_max_ps(top);
  if (!(before >= now)) running->most = now;
  __m512 most = _mm512_set1_ps(running->most);
  float factor = _mm512_cvtss_f32(exp2_ps(_mm512_set1_ps(before - running->most)));
  __m512 sum = _mm512_mul_ps(running->sum, _mm512_set1_ps(factor));
  for (int64_t k = 0; k < count; k += 32) {
    __m512 a = exp2_ps(_mm512_sub_ps(_mm512_load_ps(s + k), most)), b = exp2_ps(_mm512_sub_ps(_mm512_load_ps(s + k + 16), most));
    a = _mm512_maskz_mov_ps(first_lanes(visible - k), a);
    b = _mm512_maskz_mov_ps(first_lanes(visible - k - 16), b);
    sum = _mm512_add_ps(sum, _mm512_add_ps(a, b));
    _mm512_store_si512((void *)(p + k / 32 * TILE), pack_bf16(a, b));
  }
  running->sum = sum;
  return factor;
}

/* o [16, W] += p·values for `count` positions; `next` is sent for on the way. */
static void blend(const Job *job, const bf16 *p, const bf16 *values, int64_t count, float *o, const bf16 *next) {
  int64_t width = job->width;
  for (int64_t d = 0; d < width; d += 32) {
    TILE_LOAD(0, o + d, 4 * width);
    TILE_LOAD(1, o + d + 16, 4 * width);
    for (int64_t k = 0; k < count; k += 32) {
      if (next != NULL) want(next + k * width + d * 32, 2048);
      TILE_LOAD(4, p + k * 16, 64);
      TILE_LOAD(6, values + k * width + d * 2, 4 * width);
      TILE_PRODUCT(0, 4, 6);
      TILE_LOAD(7, values + k * width + d * 2 + 32, 4 * width);
      TILE_PRODUCT(1, 4, 7);
    }
    TILE_STORE(0, o + d, 4 * width);
    TILE_STORE(1, o + d + 16, 4 * width);
  }
}

typedef struct {
  float scores[16 * STRIDE] ALIGNED;
  bf16 weights[16 * BLOCK] ALIGNED;
  bf16 queries[16 * MAX_WIDTH] ALIGNED;
  float sums[16 * MAX_WIDTH] ALIGNED;
  Running running[16];
} Scratch;

/* Queries first … first + count − 1 (tokens) of a row, for the heads of a group. `next`: keys that are read after these. */
static void attend(const Job *job, Scratch *scratch, int64_t b, int64_t g, int64_t first, int64_t count, const bf16 *next) {
  int64_t width = job->width, rep = job->heads / job->groups, rows = count * rep;
  int64_t slot = (b * job->groups + g) * job->slots * width;
  const bf16 *keys = job->keys + slot, *values = job->values + slot;
  bf16 row[MAX_WIDTH] ALIGNED;
  for (int64_t r = 0; r < rows; r++) {
    int64_t token = b * job->time + first + r / rep;
    rotate(job, job->q + (token * job->heads + g * rep + r % rep) * job->size, token, job->scale * LOG2_E, row);
    for (int64_t d = 0; d < width; d += 32) memcpy(scratch->queries + d * 16 + r * 32, row + d, 64);
    scratch->running[r] = (Running){-1e30f, _mm512_setzero_ps()};
  }
  memset(scratch->sums, 0, sizeof(float) * (size_t)(rows * width));
  int64_t end = MIN(position(job, b, first + count - 1) + 1, job->slots);
  for (int64_t k = 0; k < end; k += BLOCK) {
    int64_t size = ROUND_UP(MIN(end - k, BLOCK), 32);
    score(job, scratch->queries, keys + k * width, values + k * width, size, scratch->scores);
    for (int64_t r = 0; r < rows; r++) {
      int64_t visible = position(job, b, first + r / rep) + 1 - k;
      float factor = weigh(scratch->running + r, scratch->scores + r * STRIDE, size, visible, scratch->weights + r * 32);
      if (k == 0) continue;
      float *o = scratch->sums + r * width;
      for (int64_t d = 0; d < width; d += 16)
        _mm512_store_ps(o + d, _mm512_mul_ps(_mm512_load_ps(o + d), _mm512_set1_ps(factor)));
    }
    const bf16 *after = k + BLOCK < end ? keys + (k + BLOCK) * width : next;
    blend(job, scratch->weights, values + k * width, size, scratch->sums, after);
  }
  for (int64_t r = 0; r < rows; r++) {
    int64_t token = b * job->time + first + r / rep;
    float *o = job->o + (token * job->heads + g * rep + r % rep) * job->size;
    __m512 total = _mm512_set1_ps(_mm512_reduce_add_ps(scratch->running[r].sum));
    for (int64_t d = 0; d < job->size; d += 16)
      _mm512_mask_storeu_ps(o + d, first_lanes(job->size - d), _mm512_div_ps(_mm512_load_ps(scratch->sums + r * width + d), total));
  }
}

static void extend_task(void *arg, size_t index) {
  const Job *job = arg;
  extend(job, (int64_t)index / job->groups, (int64_t)index % job->groups);
}

/* Units (a row, a group, a block of queries) of one task, in this order. */
static void attend_task(void *arg, size_t index) {
  const Job *job = arg;
  Scratch *scratch = az_take(sizeof *scratch);
  int64_t rep = job->heads / job->groups, units = job->batch * job->groups * job->query_blocks;
  int64_t to = MIN(units, ((int64_t)index + 1) * job->units_per_task);
  int64_t configured = 0;
  for (int64_t unit = (int64_t)index * job->units_per_task; unit < to; unit++) {
    int64_t pair = unit / job->query_blocks, b = pair / job->groups, g = pair % job->groups;
    int64_t first = unit % job->query_blocks * job->queries, count = MIN(job->queries, job->time - first);
    if (job->is_first && job->lengths[b] <= first) { /* padding: not used, but finite */
      for (int64_t t = first; t < first + count; t++)
        memset(job->o + ((b * job->time + t) * job->heads + g * rep) * job->size, 0, sizeof(float) * (size_t)(rep * job->size));
      continue;
    }
    if (job->time == 1) extend(job, b, g);
    if (configured != count * rep) {
      configured = count * rep;
      configure_tiles((int)configured, 16);
    }
    const bf16 *next = unit + 1 < to ? job->keys + (unit + 1) / job->query_blocks * job->slots * job->width : NULL;
    attend(job, scratch, b, g, first, count, next);
  }
  if (configured) TILE_RELEASE();
  az_give(scratch);
}

/*
 * Attributes: threads, first (first chunks), time, heads, size, scale. Inputs: q [B, T, H, D], k [B, T, K, D], v, positions [B, T], cos and sin [P, D/2] or
 * none of the three, lengths [B], keys [B, K, S, W] and values as above. Outputs: o [B, T, H, D], keys, values (the same memory).
 */
static void run(Ctx *c) {
  enum { Q, K, V, POSITIONS, COS, SIN, LENGTHS, KEYS, VALUES };
  const Tensor *cache = c->in + KEYS;
  Job job = {
      .q = c->in[Q].data,
      .k = c->in[K].data,
      .v = c->in[V].data,
      .positions = c->in[POSITIONS].data,
      .cos = c->in[COS].data,
      .sin = c->in[SIN].data,
      .lengths = c->in[LENGTHS].data,
      .batch = cache->dim[0],
      .time = c->i[2],
      .heads = c->i[3],
      .size = c->i[4],
      .groups = cache->dim[1],
      .slots = cache->dim[2],
      .width = cache->dim[3],
      .scale = c->f[0],
      .is_first = (int)c->i[1],
  };
  if (az_size(c->in) != job.batch * job.time * job.heads * job.size) az_fail(c, "q has another size");
  if (job.width > MAX_WIDTH || job.width != ROUND_UP(job.size, 32) || job.slots % 32 != 0 || job.heads / job.groups > 16)
    az_fail(c, "heads of at most 512 numbers, at most 16 a group, and a cache of whole blocks of 32 are expected");
  job.o = OUT(c, 0, job.batch, job.time, job.heads, job.size);
  job.keys = az_out(c, 1, cache->rank, cache->dim);
  job.values = az_out(c, 2, cache->rank, cache->dim);
  if (job.keys != cache->data || job.values != cache[1].data) az_fail(c, "the cache is not bound in place");
  job.queries = job.time == 1 ? 1 : 16 / (job.heads / job.groups);
  job.query_blocks = (job.time + job.queries - 1) / job.queries;
  if (job.time > 1 || job.o == NULL) az_par(c, (size_t)(job.batch * job.groups), extend_task, &job);
  if (job.o == NULL) return; /* the last layer of a prompt */
  int64_t units = job.batch * job.groups * job.query_blocks, threads = MAX(1, c->i[0]);
  job.units_per_task = threads == 1 ? units : MAX(1, units / (8 * threads));
  az_par(c, (size_t)((units + job.units_per_task - 1) / job.units_per_task), attend_task, &job);
}

const Op az_decode_attention_ops[] = {
    {"DecodeAttention", run, "fffl?f?f?ibb", "f?bb", {"threads", "first", "time", "heads", "size"}, {"scale"}, .level = LEVEL_AMX},
    {0},
};
