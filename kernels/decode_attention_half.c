/*
 * Causal grouped-query attention against a ragged key/value cache in bfloat16, which is extended in place; rotary embedding
 * included. With tangents of queries, keys and values, and a cache of tangents, it also gives the tangent of its result in the same
 * sweep: s = scale·q·k, p = softmax(s), ts = scale·(tq·k + q·tk), z = p∘ts, to = z·v − (Σz)·o + p·tv.
 *
 * One kernel for one new token a row, for chunks of one row and for first chunks of many rows, so that a token's result is the
 * same bits however its sequence was cut and whatever stands beside it: keys are met in blocks of 32 and scaled in blocks of BLOCK
 * from position 0, and a query that reads less far than its neighbours adds exact zeros.
 *
 * Cache, width W = D rounded up to 32: keys [B, K, S/16, W/2, 16, 2], values [B, K, S/2, W, 2]: tiles as the products take them.
 * Where a block of 32 positions begins, the rest of it is cleared, so that what is read behind a row's length is finite.
 */
#include <math.h>
#include "tile.h"

/*
 * FEW_BYTES: read by one thread sooner than another one wakes and helps. SHORT_BYTES: keys of a row are sent for ahead up to so many; what
 * is longer the processor fetches by itself, and sending for it as well costs a third.
 */
enum { BLOCK = 256, STRIDE = BLOCK + 16, MAX_WIDTH = 512, FEW_BYTES = 512 << 10, SHORT_BYTES = 16 << 10 };

/* The values, or their tangents. */
typedef struct {
  const float *q, *k, *v; /* [B, T, H, D], [B, T, K, D] twice */
  bf16 *keys, *values;
  float *o; /* [B, T, H, D] */
} Stream;

typedef struct {
  Stream plain, tangent;
  const int64_t *positions; /* [B, T], for the angles */
  const float *cos, *sin;   /* [P, D/2], or null */
  const int32_t *lengths;   /* [B] */
  int64_t batch, time, heads, groups, size, slots, width, queries, query_blocks, units_per_task;
  float scale;
  int is_first, has_tangent;
} Job;

/* The position of token t of row b. */
static inline int64_t position(const Job *job, int64_t b, int64_t t) {
  return job->is_first ? t : job->lengths[b] - job->time + t;
}

static inline int64_t slot_of(const Job *job, int64_t b, int64_t g) {
  return (b * job->groups + g) * job->slots * job->width;
}

/* x [D], turned by the angles of a token if it is to be, and scaled, as bfloat16 in `to` [W]. */
static __attribute__((noinline)) void place(const Job *job, const float *x, int64_t token, int is_turned, float scale,
                                            bf16 *to) {
  float y[MAX_WIDTH] ALIGNED;
  int64_t half = job->size / 2;
  Vec s = v_all(scale);
  for (int64_t i = 0; i < job->width; i += 16) {
    int64_t lanes = v_first(job->size - i);
    v_store(y + i, v_mul(s, v_load_first(x + i, lanes)));
  }
  if (is_turned && job->cos != NULL) {
    const float *cos = job->cos + job->positions[token] * half, *sin = job->sin + job->positions[token] * half;
    for (int64_t i = 0; i < half; i += 16) {
      int64_t lanes = v_first(half - i);
      Vec a = v_load_first(x + i, lanes), b = v_load_first(x + half + i, lanes);
      Vec c = v_load_first(cos + i, lanes), d = v_load_first(sin + i, lanes);
      v_store_first(y + i, lanes, v_mul(s, v_fms(a, c, v_mul(b, d))));
      v_store_first(y + half + i, lanes, v_mul(s, v_fma(b, c, v_mul(a, d))));
    }
  }
  for (int64_t i = 0; i < job->width; i += 32)
    b_store(to + i, v_narrow2(v_load(y + i), v_load(y + i + 16)));
}

/* A row [W] as the first or second of each pair. */
static inline void put_in_pairs(const bf16 *row, int64_t width, int is_second, bf16 *pairs) {
  const LaneBits kept = (LaneBits){0} + (is_second ? 0xffff : (int32_t)0xffff0000);
  for (int64_t i = 0; i < width; i += LANES) {
    Bits both = b_load(pairs + 2 * i);
    for (int part = 0; part < PARTS; part++) {
      const LaneBits own = (LaneBits)part_extend(row + i + part * PART);
      both.p[part] = (both.p[part] & kept) | (is_second ? own << 16 : own);
    }
    b_store(pairs + 2 * i, both);
  }
}

/* New keys and values of one row and group into a cache. */
static void extend(const Job *job, const Stream *stream, int64_t b, int64_t g) {
  int64_t width = job->width, slot = slot_of(job, b, g);
  bf16 *keys = stream->keys + slot, *values = stream->values + slot, row[MAX_WIDTH] ALIGNED;
  for (int64_t t = 0; t < (job->is_first ? job->lengths[b] : job->time); t++) {
    int64_t p = position(job, b, t), token = b * job->time + t, at = (token * job->groups + g) * job->size;
    if (p < 0 || p >= job->slots) continue;
    if (p % 32 == 0) {
      memset(keys + p * width, 0, sizeof(bf16) * 32 * (size_t)width);
      memset(values + p * width, 0, sizeof(bf16) * 32 * (size_t)width);
    }
    place(job, stream->k + at, token, 1, 1.f, row);
    bf16 *key = keys + p / 16 * 16 * width + p % 16 * 2;
    for (int64_t i = 0; i < width / 2; i++) memcpy(key + i * 32, row + 2 * i, 4);
    place(job, stream->v + at, token, 0, 1.f, row);
    put_in_pairs(row, width, (int)(p % 2), values + p / 2 * 2 * width);
  }
}

static void extend_all(const Job *job, int64_t b, int64_t g) {
  extend(job, &job->plain, b, g);
  if (job->has_tangent) extend(job, &job->tangent, b, g);
}

typedef struct {
  float most;     /* greatest score so far */
  Vec sum;     /* of the weights, by lanes */
  Vec tangent; /* of the weights' tangents */
} Running;

typedef struct {
  float scores[16 * STRIDE] ALIGNED;
  float score_tangents[16 * STRIDE] ALIGNED;
  bf16 weights[16 * BLOCK] ALIGNED;
  bf16 weight_tangents[16 * BLOCK] ALIGNED;
  bf16 queries[16 * MAX_WIDTH] ALIGNED;
  bf16 query_tangents[16 * MAX_WIDTH] ALIGNED;
  float sums[16 * MAX_WIDTH] ALIGNED;
  float sum_tangents[16 * MAX_WIDTH] ALIGNED;
  Running running[16];
} Scratch;

/*
 * Scores [16, STRIDE] of up to 16 queries (tiles [W/32, 16, 32]) against the sixteens that hold the `count` keys from `at` on. Scores behind
 * these are undefined up to a multiple of 32.
 */
static void score(const Job *job, Scratch *scratch, int64_t at, int64_t count) {
  int64_t width = job->width;
  for (int64_t k = 0; k < count; k += 32) {
    const bf16 *low = job->plain.keys + at + k * width, *high = low + 16 * width, *values = job->plain.values + at + k * width;
    const int has_high = k + 16 < count;
    TILE_ZERO(0);
    TILE_ZERO(1);
    for (int64_t d = 0; d < width; d += 32) {
      ask(values + d * 32, 0, 16);
      TILE_LOAD(4, scratch->queries + d * 16, 64);
      TILE_LOAD(6, low + d * 16, 64);
      TILE_PRODUCT(0, 4, 6);
      ask(values + d * 32, 16, 16);
      if (!has_high) continue;
      TILE_LOAD(7, high + d * 16, 64);
      TILE_PRODUCT(1, 4, 7);
    }
    TILE_STORE(0, scratch->scores + k, 4 * STRIDE);
    if (has_high) TILE_STORE(1, scratch->scores + k + 16, 4 * STRIDE);
  }
}

/* The same, and the tangents of the scores. */
static void score_with_tangent(const Job *job, Scratch *scratch, int64_t at, int64_t count) {
  int64_t width = job->width;
  for (int64_t k = 0; k < count; k += 32) {
    const bf16 *low = job->plain.keys + at + k * width, *high = low + 16 * width;
    const bf16 *moved_low = job->tangent.keys + at + k * width, *moved_high = moved_low + 16 * width;
    const int has_high = k + 16 < count;
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (int64_t d = 0; d < width; d += 32) {
      const bf16 *values = job->plain.values + at + k * width + d * 32, *moved = job->tangent.values + at + k * width + d * 32;
      ask(values, 0, 16);
      TILE_LOAD(4, scratch->queries + d * 16, 64);
      TILE_LOAD(5, scratch->query_tangents + d * 16, 64);
      TILE_LOAD(6, low + d * 16, 64);
      TILE_PRODUCT(0, 4, 6);
      TILE_PRODUCT(2, 5, 6);
      ask(values, 16, 16);
      if (has_high) {
        TILE_LOAD(7, high + d * 16, 64);
        TILE_PRODUCT(1, 4, 7);
        TILE_PRODUCT(3, 5, 7);
      }
      ask(moved, 0, 16);
      TILE_LOAD(6, moved_low + d * 16, 64);
      TILE_PRODUCT(2, 4, 6);
      ask(moved, 16, 16);
      if (!has_high) continue;
      TILE_LOAD(7, moved_high + d * 16, 64);
      TILE_PRODUCT(3, 4, 7);
    }
    TILE_STORE(0, scratch->scores + k, 4 * STRIDE);
    TILE_STORE(2, scratch->score_tangents + k, 4 * STRIDE);
    if (!has_high) continue;
    TILE_STORE(1, scratch->scores + k + 16, 4 * STRIDE);
    TILE_STORE(3, scratch->score_tangents + k + 16, 4 * STRIDE);
  }
}

/*
 * Scores s of one query to weights 2^(s − most), as rows of the tiles p [count/32, 16, 32]; keys from `visible` on get none. Returns the
 * factor for what was summed before.
 */
static __attribute__((noinline)) float weigh(Running *running, float *s, int64_t count, int64_t visible, bf16 *p) {
  Vec lowest = v_all(-INFINITY), top = lowest;
  for (int64_t k = 0; k < count; k += 16) {
    Vec v = v_first_of(v_first(visible - k), v_load(s + k), lowest);
    v_store(s + k, v);
    top = v_max(top, v);
  }
  float before = running->most, now = v_greatest(top);
  if (!(before >= now)) running->most = now;
  Vec most = v_all(running->most);
  float factor = v_lane(v_power_normal(v_all(before - running->most)), 0);
  Vec sum = v_mul(running->sum, v_all(factor));
  for (int64_t k = 0; k < count; k += 32) {
    Vec a = v_power_normal(v_sub(v_load(s + k), most)), b = v_power_normal(v_sub(v_load(s + k + 16), most));
    a = v_first_of(v_first(visible - k), a, v_zero());
    b = v_first_of(v_first(visible - k - 16), b, v_zero());
    sum = v_add(sum, v_add(a, b));
    v_store(s + k, a);
    v_store(s + k + 16, b);
    b_store(p + k / 32 * TILE, v_narrow2(a, b));
  }
  running->sum = sum;
  return factor;
}

/* Tangents of the weights w of one query from those of its scores, which are in units of log 2. */
static __attribute__((noinline)) void weigh_tangent(Running *running, const float *w, const float *ts, int64_t count,
                                                    float factor, bf16 *z) {
  Vec ln2 = v_all(0.693147181f), sum = v_mul(running->tangent, v_all(factor));
  for (int64_t k = 0; k < count; k += 32) {
    Vec p = v_load(w + k), q = v_load(w + k + 16);
    Vec a = v_mul(p, v_mul(ln2, v_load(ts + k)));
    Vec b = v_mul(q, v_mul(ln2, v_load(ts + k + 16)));
    a = v_zero_where_zero(p, a);
    b = v_zero_where_zero(q, b);
    sum = v_add(sum, v_add(a, b));
    b_store(z + k / 32 * TILE, v_narrow2(a, b));
  }
  running->tangent = sum;
}

/* sums [16, W] += weights·values for `count` positions from `at` on; unless negative, the keys at `next` are sent for on the way. */
static void blend(const Job *job, Scratch *scratch, int64_t at, int64_t count, int64_t next) {
  int64_t width = job->width;
  float *o = scratch->sums;
  for (int64_t d = 0; d < width; d += 32) {
    TILE_LOAD(0, o + d, 4 * width);
    TILE_LOAD(1, o + d + 16, 4 * width);
    for (int64_t k = 0; k < count; k += 32) {
      const bf16 *values = job->plain.values + at + k * width + d * 2;
      const bf16 *keys = job->plain.keys + next + k * width + d * 32;
      if (next >= 0) ask(keys, 0, 16);
      TILE_LOAD(4, scratch->weights + k * 16, 64);
      TILE_LOAD(6, values, 4 * width);
      TILE_PRODUCT(0, 4, 6);
      if (next >= 0) ask(keys, 16, 16);
      TILE_LOAD(7, values + 32, 4 * width);
      TILE_PRODUCT(1, 4, 7);
    }
    TILE_STORE(0, o + d, 4 * width);
    TILE_STORE(1, o + d + 16, 4 * width);
  }
}

/* The same, and sum_tangents += weight_tangents·values + weights·(tangents of values). */
static void blend_with_tangent(const Job *job, Scratch *scratch, int64_t at, int64_t count, int64_t next) {
  int64_t width = job->width;
  float *o = scratch->sums, *moved_o = scratch->sum_tangents;
  for (int64_t d = 0; d < width; d += 32) {
    TILE_LOAD(0, o + d, 4 * width);
    TILE_LOAD(1, o + d + 16, 4 * width);
    TILE_LOAD(2, moved_o + d, 4 * width);
    TILE_LOAD(3, moved_o + d + 16, 4 * width);
    for (int64_t k = 0; k < count; k += 32) {
      const bf16 *values = job->plain.values + at + k * width + d * 2, *moved = job->tangent.values + at + k * width + d * 2;
      const bf16 *keys = job->plain.keys + next + k * width + d * 32, *moved_keys = job->tangent.keys + next + k * width + d * 32;
      if (next >= 0) ask(keys, 0, 16);
      TILE_LOAD(4, scratch->weights + k * 16, 64);
      TILE_LOAD(5, scratch->weight_tangents + k * 16, 64);
      TILE_LOAD(6, values, 4 * width);
      TILE_PRODUCT(0, 4, 6);
      TILE_PRODUCT(2, 5, 6);
      if (next >= 0) ask(keys, 16, 16);
      TILE_LOAD(7, values + 32, 4 * width);
      TILE_PRODUCT(1, 4, 7);
      TILE_PRODUCT(3, 5, 7);
      if (next >= 0) ask(moved_keys, 0, 16);
      TILE_LOAD(6, moved, 4 * width);
      TILE_PRODUCT(2, 4, 6);
      if (next >= 0) ask(moved_keys, 16, 16);
      TILE_LOAD(7, moved + 32, 4 * width);
      TILE_PRODUCT(3, 4, 7);
    }
    TILE_STORE(0, o + d, 4 * width);
    TILE_STORE(1, o + d + 16, 4 * width);
    TILE_STORE(2, moved_o + d, 4 * width);
    TILE_STORE(3, moved_o + d + 16, 4 * width);
  }
}

static inline void scale_row(float *row, int64_t width, float factor) {
  for (int64_t d = 0; d < width; d += 16)
    v_store(row + d, v_mul(v_load(row + d), v_all(factor)));
}

/* Row r of the queries of a group of heads: its token, and where it lies in q and o. */
static inline int64_t query_at(const Job *job, int64_t b, int64_t g, int64_t first, int64_t r, int64_t *token) {
  int64_t rep = job->heads / job->groups;
  *token = b * job->time + first + r / rep;
  return (*token * job->heads + g * rep + r % rep) * job->size;
}

static void write_results(const Job *job, const Scratch *scratch, int64_t b, int64_t g, int64_t first, int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    int64_t token, at = query_at(job, b, g, first, r, &token);
    const Running *running = scratch->running + r;
    Vec total = v_all(v_sum(running->sum));
    Vec moved = v_all(v_sum(running->tangent));
    for (int64_t d = 0; d < job->size; d += 16) {
      int64_t lanes = v_first(job->size - d);
      Vec o = v_div(v_load(scratch->sums + r * job->width + d), total);
      v_store_first(job->plain.o + at + d, lanes, o);
      if (!job->has_tangent) continue;
      Vec to = v_fnma(moved, o, v_load(scratch->sum_tangents + r * job->width + d));
      v_store_first(job->tangent.o + at + d, lanes, v_div(to, total));
    }
  }
}

/* Queries first … first + count − 1 (tokens) of a row, for the heads of a group. `next`: where keys are read after these, or −1. */
static void attend(const Job *job, Scratch *scratch, int64_t b, int64_t g, int64_t first, int64_t count, int64_t next) {
  int64_t width = job->width, rep = job->heads / job->groups, rows = count * rep, slot = slot_of(job, b, g);
  bf16 row[MAX_WIDTH] ALIGNED;
  for (int64_t r = 0; r < rows; r++) {
    int64_t token, at = query_at(job, b, g, first, r, &token);
    place(job, job->plain.q + at, token, 1, job->scale * LOG2_E, row);
    for (int64_t d = 0; d < width; d += 32) memcpy(scratch->queries + d * 16 + r * 32, row + d, 64);
    if (job->has_tangent) {
      place(job, job->tangent.q + at, token, 1, job->scale * LOG2_E, row);
      for (int64_t d = 0; d < width; d += 32) memcpy(scratch->query_tangents + d * 16 + r * 32, row + d, 64);
    }
    scratch->running[r] = (Running){-INFINITY, v_zero(), v_zero()};
  }
  memset(scratch->sums, 0, sizeof(float) * (size_t)(rows * width));
  if (job->has_tangent) memset(scratch->sum_tangents, 0, sizeof(float) * (size_t)(rows * width));
  int64_t end = MIN(position(job, b, first + count - 1) + 1, job->slots);
  int is_short = end * width * (int64_t)sizeof(bf16) <= SHORT_BYTES;
  for (int64_t k = 0; k < end; k += BLOCK) {
    int64_t num_keys = MIN(end - k, BLOCK), size = ROUND_UP(num_keys, 32), at = slot + k * width;
    (job->has_tangent ? score_with_tangent : score)(job, scratch, at, num_keys);
    for (int64_t r = 0; r < rows; r++) {
      int64_t visible = position(job, b, first + r / rep) + 1 - k;
      float *s = scratch->scores + r * STRIDE;
      float factor = weigh(scratch->running + r, s, size, visible, scratch->weights + r * 32);
      if (k > 0) scale_row(scratch->sums + r * width, width, factor);
      if (!job->has_tangent) continue;
      weigh_tangent(scratch->running + r, s, scratch->score_tangents + r * STRIDE, size, factor, scratch->weight_tangents + r * 32);
      if (k > 0) scale_row(scratch->sum_tangents + r * width, width, factor);
    }
    (job->has_tangent ? blend_with_tangent : blend)(job, scratch, at, size, is_short ? next : -1);
  }
  write_results(job, scratch, b, g, first, rows);
}

static void extend_task(void *arg, size_t index) {
  const Job *job = arg;
  extend_all(job, (int64_t)index / job->groups, (int64_t)index % job->groups);
}

/* Padding: not used, but finite. */
static void clear(const Job *job, float *o, int64_t b, int64_t g, int64_t first, int64_t count) {
  int64_t rep = job->heads / job->groups;
  for (int64_t t = first; t < first + count; t++)
    memset(o + ((b * job->time + t) * job->heads + g * rep) * job->size, 0, sizeof(float) * (size_t)(rep * job->size));
}

/* Units (a row, a group, a block of queries) of one task, in this order. */
static void attend_task(void *arg, size_t index) {
  const Job *job = arg;
  Scratch *scratch = az_take(sizeof *scratch);
  int64_t rep = job->heads / job->groups, units = job->batch * job->groups * job->query_blocks;
  int64_t to = MIN(units, ((int64_t)index + 1) * job->units_per_task), configured = 0;
  for (int64_t unit = (int64_t)index * job->units_per_task; unit < to; unit++) {
    int64_t pair = unit / job->query_blocks, b = pair / job->groups, g = pair % job->groups;
    int64_t first = unit % job->query_blocks * job->queries, count = MIN(job->queries, job->time - first);
    if (job->is_first && job->lengths[b] <= first) {
      clear(job, job->plain.o, b, g, first, count);
      if (job->has_tangent) clear(job, job->tangent.o, b, g, first, count);
      continue;
    }
    if (job->time == 1) extend_all(job, b, g);
    if (configured != count * rep) {
      configured = count * rep;
      configure_tiles((int)configured, (int)configured);
    }
    int64_t after = (unit + 1) / job->query_blocks;
    attend(job, scratch, b, g, first, count, unit + 1 < to ? slot_of(job, after / job->groups, after % job->groups) : -1);
  }
  if (configured) TILE_RELEASE();
  az_give(scratch);
}

/* The caches of a stream, inputs `index` and the next, which are outputs `output` and the next. */
static void bind_caches(Ctx *c, Stream *stream, int index, int output) {
  const Tensor *cache = c->in + index;
  stream->keys = az_out(c, output, cache->rank, cache->dim);
  stream->values = az_out(c, output + 1, cache->rank, cache->dim);
  /* What nobody asks for is extended all the same. */
  if (stream->keys == NULL) stream->keys = cache[0].data;
  if (stream->values == NULL) stream->values = cache[1].data;
  if (stream->keys != cache[0].data || stream->values != cache[1].data) az_fail(c, "the cache is not bound in place");
}

/* Bytes of keys and values, and of their tangents, that one step reads. */
static int64_t bytes_read(const Job *job) {
  int64_t positions = 0;
  for (int64_t b = 0; b < job->batch; b++) positions += job->lengths[b];
  return positions * job->groups * job->width * 2 * (int64_t)sizeof(bf16) * (1 + job->has_tangent);
}

/*
 * Attributes: threads, first (first chunks), time, heads, size, alone (one thread, where it has few bytes to read), scale. Inputs:
 * q [B, T, H, D], k [B, T, K, D], v, positions [B, T], cos and sin [P, D/2] or none of the three, lengths [B], keys [B, K, S, W] and values
 * as above; with a tangent: those of q, k, v, keys and values. Outputs: o [B, T, H, D], keys, values (the same memory), and their tangents.
 */
static void run(Ctx *c) {
  enum { Q, K, V, POSITIONS, COS, SIN, LENGTHS, KEYS, VALUES, MOVED_Q, MOVED_K, MOVED_V, MOVED_KEYS };
  const Tensor *cache = c->in + KEYS;
  Job job = {
      .plain = {.q = c->in[Q].data, .k = c->in[K].data, .v = c->in[V].data},
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
      .has_tangent = c->num_inputs > MOVED_Q,
  };
  if (az_size(c->in) != job.batch * job.time * job.heads * job.size) az_fail(c, "q has another size");
  if (job.width > MAX_WIDTH || job.width != ROUND_UP(job.size, 32) || job.slots % 32 != 0 || job.heads / job.groups > 16)
    az_fail(c, "heads of at most 512 numbers, at most 16 a group, and a cache of whole blocks of 32 are expected");
  job.plain.o = OUT(c, 0, job.batch, job.time, job.heads, job.size);
  bind_caches(c, &job.plain, KEYS, 1);
  if (job.has_tangent) {
    job.tangent = (Stream){.q = c->in[MOVED_Q].data, .k = c->in[MOVED_K].data, .v = c->in[MOVED_V].data};
    job.tangent.o = OUT(c, 3, job.batch, job.time, job.heads, job.size);
    bind_caches(c, &job.tangent, MOVED_KEYS, 4);
  }
  int is_wanted = job.plain.o != NULL; /* not in the last layer of a prompt */
  if (job.has_tangent && is_wanted != (job.tangent.o != NULL)) az_fail(c, "a result and its tangent go together");
  if (job.time > 1 || !is_wanted) az_par(c, (size_t)(job.batch * job.groups), extend_task, &job);
  if (!is_wanted) return;
  job.queries = job.time == 1 ? 1 : 16 / (job.heads / job.groups);
  job.query_blocks = (job.time + job.queries - 1) / job.queries;
  int64_t units = job.batch * job.groups * job.query_blocks, threads = MAX(1, c->i[0]);
  const int is_alone = threads == 1 || (c->i[5] && job.time == 1 && bytes_read(&job) < FEW_BYTES);
  job.units_per_task = is_alone ? units : MAX(1, units / (8 * threads));
  az_par(c, (size_t)((units + job.units_per_task - 1) / job.units_per_task), attend_task, &job);
}

#define ATTRIBUTES {"threads", "first", "time", "heads", "size", "alone"}, {"scale"}, .level = LEVEL_PORTABLE

const Op EACH(az_decode_attention_ops)[] = {
    {"DecodeAttention", run, "fffl?f?f?ibb", "f?bb", ATTRIBUTES},
    {"DecodeAttentionTangent", run, "fffl?f?f?ibbfffbb", "f?bbf?bb", ATTRIBUTES},
    {0},
};
