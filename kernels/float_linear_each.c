/*
 * Linear layers y = x·wᵀ (+ bias) in float32 on weights as they are: they are read front to back, and nothing is packed but the rows, which
 * stand side by side in the lanes while a weight meets them all. A row's sum runs over the inputs in order, so its bits are the same alone
 * and among any number of others.
 */
#include "lanes.h"

enum {
  WIDE = PARTS == 1 ? 2 : PARTS,  /* vectors of rows that are computed together … */
  FEATURES = PARTS == 1 ? 12 : 6, /* … for so many output features: sums that the registers hold */
  FEW_FEATURES = 8,               /* of one vector of rows: more streams of weights at a time come more slowly */
  MOST_FEATURES = 12,
  ROWS_AT_HAND = 256, /* rows that stay in the second cache while features pass by */
  STRETCH = 16        /* inputs of a line of memory */
};
/* Multiplications of a task: some tens of microseconds. */
enum { TASK_WORK = 1 << 21 };
enum { PARALLEL_ROWS = 64 };

typedef struct {
  const float *x, *w, *bias; /* [M, K], [N, K], [N] or null */
  float *y;                  /* [M, N] */
  float *lanes;              /* x as [M / width, K, width] */
  int64_t m, k, n, width, features_per_task;
} Job;

/* Output features n … n + features − 1 of `parts` vectors of rows, from `row` on, which stand `width` apart. */
INLINE void multiply(const Job *job, int64_t n, const int features, int64_t row, const int parts, const int64_t width) {
  const float *x = job->lanes + row * job->k, *w[MOST_FEATURES / 4];
  for (int f = 0; f < features; f += 4) w[f / 4] = job->w + (n + f) * job->k;
  Lanes sums[MOST_FEATURES][WIDE] = {0};
  for (int64_t from = 0; from < job->k; from += STRETCH) {
    for (int64_t k = from; k < MIN(from + STRETCH, job->k); k++) {
      if (k - from < features) __builtin_prefetch(job->w + (n + features + k - from) * job->k + from, 0, 3);
      const int64_t at[4] = {k, k + job->k, k + 2 * job->k, k + 3 * job->k}; /* few registers reach all weights */
      Lanes rows[WIDE];
#pragma GCC unroll 4
      for (int p = 0; p < parts; p++) rows[p] = part_load(x + k * width + p * PART);
#pragma GCC unroll 12
      for (int f = 0; f < features; f++)
#pragma GCC unroll 4
        for (int p = 0; p < parts; p++) sums[f][p] = part_fma(rows[p], part_all(w[f / 4][at[f % 4]]), sums[f][p]);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < parts; p++) {
    float columns[MOST_FEATURES][PART] ALIGNED;
#pragma GCC unroll 12
    for (int f = 0; f < features; f++)
      part_store(columns[f], sums[f][p] + part_all(job->bias ? job->bias[n + f] : 0));
    float *y = job->y + (row + p * PART) * job->n + n;
    for (int64_t r = 0; r < MIN(PART, job->m - row - p * PART); r++)
      for (int f = 0; f < features; f++) y[r * job->n + f] = columns[f][r];
  }
}

/* Rows row … to − 1 of more than a vector. */
INLINE void all_rows(const Job *job, int64_t n, const int features, int64_t row, int64_t to) {
  for (; row + PART < to; row += WIDE * PART) multiply(job, n, features, row, WIDE, WIDE * PART);
  if (row < to) multiply(job, n, features, row, 1, WIDE * PART);
}

static void task(void *arg, size_t index) {
  const Job *job = arg;
  const int64_t from = (int64_t)index * job->features_per_task, end = MIN(from + job->features_per_task, job->n);
  if (job->width == PART) {
    int64_t n = from;
    for (; n + FEW_FEATURES <= end; n += FEW_FEATURES) multiply(job, n, FEW_FEATURES, 0, 1, PART);
    for (; n < end; n++) multiply(job, n, 1, 0, 1, PART);
    return;
  }
  for (int64_t row = 0; row < job->m; row += ROWS_AT_HAND) {
    const int64_t to = MIN(row + ROWS_AT_HAND, job->m);
    int64_t n = from;
    for (; n + FEATURES <= end; n += FEATURES) all_rows(job, n, FEATURES, row, to);
    for (; n < end; n++) all_rows(job, n, 1, row, to);
  }
}

/* Rows side by side; those that are missing are zeros. */
static void pack_rows(void *arg, size_t index) {
  const Job *job = arg;
  const int64_t first = (int64_t)index * job->width, rows = MIN(job->width, job->m - first);
  float *to = job->lanes + first * job->k;
  const float *x = job->x + first * job->k;
  for (int64_t k = 0; k < job->k; k++)
    for (int64_t r = 0; r < job->width; r++) to[k * job->width + r] = r < rows ? x[r * job->k + k] : 0;
}

/* x [M, K], w [N, K], bias [N]? → y [M, N] */
static void run(Ctx *c) {
  Job job = {.x = c->in[0].data, .w = c->in[1].data, .bias = c->num_inputs > 2 ? c->in[2].data : NULL};
  job.m = c->in[0].dim[0], job.k = c->in[0].dim[1], job.n = c->in[1].dim[0];
  if (c->in[1].dim[1] != job.k || (job.bias && az_size(c->in + 2) != job.n)) az_fail(c, "x, the weight and the bias do not fit");
  job.y = OUT(c, 0, job.m, job.n);
  job.width = job.m <= PART ? PART : WIDE * PART;
  const int64_t packed_rows = ROUND_UP(job.m, job.width);
  job.lanes = az_take(sizeof(float) * (size_t)(packed_rows * job.k));
  az_par_unless(c, job.m <= PARALLEL_ROWS, (size_t)(packed_rows / job.width), pack_rows, &job);
  job.features_per_task = ROUND_UP(MAX(1, TASK_WORK / (job.k * job.m)), MOST_FEATURES * FEW_FEATURES / 4);
  az_par(c, (size_t)((job.n + job.features_per_task - 1) / job.features_per_task), task, &job);
  az_give(job.lanes);
}

const Op EACH(az_float_linear_ops)[] = {
    {"FloatLinear", run, "fff?", "f", .level = LEVEL_PORTABLE},
    {0},
};
