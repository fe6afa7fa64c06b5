/*
 * Linear layers y = x·wᵀ (+ bias) in float32 for few rows, on weights as they are: each is read once, front to back, and nothing is
 * packed but the rows. Up to three rows meet a weight along its inputs; of more, sixteen stand side by side in the lanes and a weight
 * meets them all, so that a row's sum runs over the inputs in order, whatever rows stand beside it.
 */
#include "lanes.h"

enum {
  FEW = 3,
  FEW_FEATURES = 4,
  MANY_FEATURES = PARTS == 1 ? 12 : 6, /* sums that the registers hold: of these output features … */
  MANY_BLOCKS = PARTS == 1 ? 2 : 1,    /* … and so many times 16 rows */
  STRETCH = 16                         /* inputs of a line of memory */
};
/* Multiplications of a task: some tens of microseconds. */
enum { TASK_WORK = 1 << 21 };

typedef struct {
  const float *x, *w, *bias; /* [M, K], [N, K], [N] or null */
  float *y;                  /* [M, N] */
  float *lanes;              /* x as [M/16, K, 16], if it has more than FEW rows */
  int64_t m, k, n, features_per_task;
} Job;

/* The lines that hold inputs `k` … of the features that follow. */
INLINE void fetch_next(const Job *job, int64_t n, int features, int64_t k) {
  const float *next = job->w + (n + features) * job->k + k;
  for (int f = 0; f < features; f++) __builtin_prefetch(next + f * job->k, 0, 3);
}

/* Features n … n + features − 1 of all rows. */
INLINE void few_rows(const Job *job, int64_t n, int features, int rows) {
  const float *w = job->w + n * job->k;
  Vec sums[FEW][FEW_FEATURES];
  for (int r = 0; r < rows; r++)
    for (int f = 0; f < features; f++) sums[r][f] = v_zero();
  for (int64_t k = 0; k < job->k; k += LANES) {
    const int64_t lanes = MIN(LANES, job->k - k);
    Vec weights[FEW_FEATURES];
    fetch_next(job, n, features, k);
    for (int f = 0; f < features; f++) weights[f] = v_load_first(w + f * job->k + k, lanes);
    for (int r = 0; r < rows; r++) {
      const Vec x = v_load_first(job->x + r * job->k + k, lanes);
      for (int f = 0; f < features; f++) sums[r][f] = v_fma(x, weights[f], sums[r][f]);
    }
  }
  for (int r = 0; r < rows; r++)
    for (int f = 0; f < features; f++) job->y[r * job->n + n + f] = v_sum(sums[r][f]) + (job->bias ? job->bias[n + f] : 0);
}

/* The same of `blocks` times 16 rows from row 16·block on. */
INLINE void many_rows(const Job *job, int64_t n, int features, int64_t block, int blocks) {
  const float *x = job->lanes + block * job->k * LANES, *w[MANY_FEATURES / 4 + 1];
  for (int f = 0; f < features; f += 4) w[f / 4] = job->w + (n + f) * job->k;
  Vec sums[MANY_FEATURES][MANY_BLOCKS];
  for (int f = 0; f < features; f++)
    for (int b = 0; b < blocks; b++) sums[f][b] = v_zero();
  for (int64_t from = 0; from < job->k; from += STRETCH) {
    for (int64_t k = from; k < MIN(from + STRETCH, job->k); k++) {
      if (k - from < features) __builtin_prefetch(job->w + (n + features + k - from) * job->k + from, 0, 3);
      const int64_t at[4] = {k, k + job->k, k + 2 * job->k, k + 3 * job->k}; /* few registers reach all weights */
      Vec rows[MANY_BLOCKS];
      for (int b = 0; b < blocks; b++) rows[b] = v_load(x + (b * job->k + k) * LANES);
      for (int f = 0; f < features; f++)
        for (int b = 0; b < blocks; b++) sums[f][b] = v_fma(rows[b], v_all(w[f / 4][at[f % 4]]), sums[f][b]);
    }
  }
  for (int b = 0; b < blocks; b++) {
    float columns[MANY_FEATURES][LANES] ALIGNED;
    for (int f = 0; f < features; f++) v_store(columns[f], v_add(sums[f][b], v_all(job->bias ? job->bias[n + f] : 0)));
    const int64_t first = (block + b) * LANES;
    for (int64_t r = 0; r < MIN(LANES, job->m - first); r++)
      for (int f = 0; f < features; f++) job->y[(first + r) * job->n + n + f] = columns[f][r];
  }
}

INLINE void all_rows(const Job *job, int64_t n, int features) {
  switch (job->m) {
    case 1: few_rows(job, n, features, 1); return;
    case 2: few_rows(job, n, features, 2); return;
    case 3: few_rows(job, n, features, 3); return;
  }
  const int64_t blocks = ROUND_UP(job->m, LANES) / LANES;
  int64_t block = 0;
  for (; block + MANY_BLOCKS <= blocks; block += MANY_BLOCKS) many_rows(job, n, features, block, MANY_BLOCKS);
  for (; block < blocks; block++) many_rows(job, n, features, block, 1);
}

static void task(void *arg, size_t index) {
  const Job *job = arg;
  const int64_t from = (int64_t)index * job->features_per_task, to = MIN(from + job->features_per_task, job->n);
  int64_t n = from;
  if (job->m > FEW)
    for (; n + MANY_FEATURES <= to; n += MANY_FEATURES) all_rows(job, n, MANY_FEATURES);
  else
    for (; n + FEW_FEATURES <= to; n += FEW_FEATURES) all_rows(job, n, FEW_FEATURES);
  for (; n < to; n++) all_rows(job, n, 1);
}

/* Rows side by side; those that are missing are zeros. */
static void pack_rows(const Job *job) {
  for (int64_t first = 0; first < job->m; first += LANES) {
    float *to = job->lanes + first * job->k;
    const float *x = job->x + first * job->k;
    const int64_t rows = MIN(LANES, job->m - first);
    for (int64_t k = 0; k < job->k; k++)
      for (int64_t r = 0; r < LANES; r++) to[k * LANES + r] = r < rows ? x[r * job->k + k] : 0;
  }
}

/* x [M, K], w [N, K], bias [N]? → y [M, N] */
static void run(Ctx *c) {
  Job job = {.x = c->in[0].data, .w = c->in[1].data, .bias = c->num_inputs > 2 ? c->in[2].data : NULL};
  job.m = c->in[0].dim[0], job.k = c->in[0].dim[1], job.n = c->in[1].dim[0];
  if (c->in[1].dim[1] != job.k || (job.bias && az_size(c->in + 2) != job.n)) az_fail(c, "x, the weight and the bias do not fit");
  job.y = OUT(c, 0, job.m, job.n);
  if (job.m > FEW) {
    job.lanes = az_take(sizeof(float) * (size_t)(ROUND_UP(job.m, LANES) * job.k));
    pack_rows(&job);
  }
  job.features_per_task = ROUND_UP(MAX(1, TASK_WORK / (job.k * job.m)), MANY_FEATURES * FEW_FEATURES);
  az_par(c, (size_t)((job.n + job.features_per_task - 1) / job.features_per_task), task, &job);
  if (job.lanes) az_give(job.lanes);
}

const Op EACH(az_float_linear_ops)[] = {
    {"FloatLinear", run, "fff?", "f", .level = LEVEL_PORTABLE},
    {0},
};
