/* What linear layers on packed weights and their tangents share: norm before, rows as tiles, what follows a sum. */
#ifndef AZ_DECODE_LINEAR_H
#define AZ_DECODE_LINEAR_H
#include <math.h>
#include "decode_tile.h"

enum { MAX_PARTS = 4, ROW_BLOCK = 256, PREFETCH_BYTES = 8192, PANEL = 32 };

typedef struct {
  const bf16 *weight; /* [N/32, K/32, 2, 16, 16, 2], both rounded up */
  const float *bias;  /* [N] or null */
  float *y;           /* [M, N] */
} Side;

/* One of the layers of an op: its values and, in a tangent's kernel, their tangents. */
typedef struct {
  Side plain, tangent;
  const uint8_t *is_moving; /* of a tangent's kernel: whether there is a direction of a panel [N/32] */
  int64_t n;
} Part;

typedef struct {
  const float *x;        /* [M, K] */
  const float *gain;     /* [K] of the norm, or null */
  const float *residual; /* [M, N] or null */
} Source;

typedef struct {
  Source plain, tangent;
  Part part[MAX_PARTS];
  int num_parts, is_gated; /* gated: y of the first part becomes silu(first)·second */
  int has_tangent_alone;   /* of a tangent's kernel: values are not computed */
  float epsilon;
  int64_t m, k, num_panels, num_splits;
  const float *wanted; /* [M, N] or null: results count where it is at least `limit` */
  float limit;
} Job;

/* 1/√(mean x² + epsilon) */
static __attribute__((noinline)) float inverse_rms(const float *x, int64_t k, float epsilon) {
  Vec sum = v_zero();
  for (int64_t i = 0; i < k; i += 16) {
    Vec v = v_load_first(x + i, v_first(k - i));
    sum = v_fma(v, v, sum);
  }
  return 1 / sqrtf(v_sum(sum) / (float)k + epsilon);
}

/* Sixteen of the features of a row, normed. */
static inline Vec sixteen_of(const Job *job, const float *x, int64_t i, Vec scale) {
  int64_t lanes = v_first(job->k - i);
  Vec v = v_load_first(x + i, lanes);
  if (job->plain.gain == NULL) return v;
  return v_mul(v_mul(v, scale), v_load_first(job->plain.gain + i, lanes));
}

#if defined(__AMX_BF16__)
static inline __m512 sixteen(const Job *job, const float *x, int64_t i, __m512 scale) {
  return sixteen_of(job, x, i, (Vec){{scale}}).p[0];
}
#endif

/* Rows first … first + count − 1 of x, normed and rounded, as tiles [rows/16, K/32, 16, 32]; missing rows are zeros. */
static __attribute__((unused)) void pack_rows(const Job *job, int64_t first, int64_t count, bf16 *to) {
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  for (int64_t r = 0; r < ROUND_UP(count, 16); r++) {
    bf16 *row = to + (r / 16 * kt * 16 + r % 16) * 32;
    if (r >= count) {
      for (int64_t t = 0; t < kt; t++) b_store((row + t * TILE), b_zero());
      continue;
    }
    const float *x = job->plain.x + (first + r) * job->k;
    Vec scale = v_all(job->plain.gain == NULL ? 1.f : inverse_rms(x, job->k, job->epsilon));
    for (int64_t t = 0; t < kt; t++) {
      Bits packed = v_narrow2(sixteen_of(job, x, 32 * t, scale), sixteen_of(job, x, 32 * t + 16, scale));
      b_store((row + t * TILE), packed);
    }
  }
}

/*
 * A panel p of the parts laid end to end: gives its part, and its index there. Gated parts go together, panel by panel.
 */
static inline const Part *part_of(const Job *job, int64_t p, int64_t *panel) {
  const Part *part = job->part;
  *panel = p;
  if (!job->is_gated)
    for (; *panel >= ROUND_UP(part->n, PANEL) / PANEL; part++) *panel -= ROUND_UP(part->n, PANEL) / PANEL;
  return part;
}

/* Sums c [rows, 32] into columns n … n + 31 of y. */
static __attribute__((noinline, unused)) void finish(const Side *side, const float *residual, int64_t width, const float *c,
                                             int64_t row, int64_t rows, int64_t n) {
  if (side->y == NULL) return; /* nobody reads it */
  for (int half = 0; half < PANEL; half += 16) {
    int64_t lanes = v_first(width - n - half);
    if (!lanes) return;
    Vec bias = side->bias ? v_load_first(side->bias + n + half, lanes) : v_zero();
    for (int64_t r = 0; r < rows; r++) {
      int64_t at = (row + r) * width + n + half;
      Vec sum = v_load(c + r * PANEL + half);
      if (side->bias) sum = v_add(sum, bias);
      if (residual) sum = v_add(v_load_first(residual + at, lanes), sum);
      v_store_first(side->y + at, lanes, sum);
    }
  }
}

/* Rows of a task, and its panels: tasks are blocks of rows times splits of the panels. */
typedef struct {
  int64_t first, count, from, to;
} Range;

static inline Range range_of(const Job *job, size_t index) {
  int64_t block = (int64_t)index / job->num_splits, split = (int64_t)index % job->num_splits;
  return (Range){
      .first = block * ROW_BLOCK,
      .count = MIN(job->m - block * ROW_BLOCK, ROW_BLOCK),
      .from = job->num_panels * split / job->num_splits,
      .to = job->num_panels * (split + 1) / job->num_splits,
  };
}

/* Sets the splits for a number of threads; returns the number of tasks. */
static inline size_t split_job(Job *job, int64_t threads) {
  int64_t blocks = (job->m + ROW_BLOCK - 1) / ROW_BLOCK;
  job->num_splits = blocks >= 2 * threads || threads < 2 ? 1 : MIN(job->num_panels, 2 * threads);
  return (size_t)(blocks * job->num_splits);
}

/* Attributes that all ops here have, and the extents of a job from them. */
#define LINEAR_INTS "threads", "gated", "rows", "features", "n0", "n1", "n2", "n3"
#define LINEAR_ATTRIBUTES {LINEAR_INTS}, {"epsilon", "limit"}, .level = LEVEL_PORTABLE

static inline void read_extents(Ctx *c, Job *job, int num_parts) {
  job->is_gated = (int)c->i[1];
  job->m = c->i[2];
  job->k = c->i[3];
  job->num_parts = num_parts;
  if (num_parts < 1 || num_parts > MAX_PARTS) az_fail(c, "one to four weights are expected");
  if (az_size(c->in) != job->m * job->k) az_fail(c, "x has another size");
  for (int p = 0; p < num_parts; p++) {
    job->part[p].n = c->i[4 + p];
    if (!job->is_gated || p == 0) job->num_panels += ROUND_UP(job->part[p].n, PANEL) / PANEL;
  }
  if (job->is_gated && (num_parts != 2 || job->part[0].n != job->part[1].n)) az_fail(c, "two layers of the same size are gated");
}

static inline const bf16 *weight_of(Ctx *c, const Job *job, const Part *part, int input) {
  const Tensor *weight = c->in + input;
  if (az_size(weight) != ROUND_UP(part->n, PANEL) * ROUND_UP(job->k, 32)) az_fail(c, "a packed weight has another size");
  return weight->data;
}
#endif
