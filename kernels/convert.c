/*
 * Between float32 [rows, width] and bfloat16 [rows, stride], stride = width rounded up to 32, the rest zeros: the form that all
 * ops here take their bfloat16 matrices in.
 */
#include <string.h>
#include "op.h"

enum { ROWS_PER_TASK = 64 };

typedef struct {
  const uint32_t *from; /* bits of float32 */
  uint32_t *to;
  bf16 *half_to;
  const bf16 *half_from;
  int64_t rows, width, stride;
} Job;

/* Round to nearest, ties to even; not-a-numbers stay so. */
CLONES static void narrow(bf16 *to, const uint32_t *bits, int64_t n) {
  for (int64_t k = 0; k < n; k++) {
    const uint32_t x = bits[k], rounded = (x + 0x7fff + (x >> 16 & 1)) >> 16, kept = x >> 16 | 0x40;
    to[k] = (bf16)((x & 0x7fffffff) > 0x7f800000 ? kept : rounded);
  }
}

CLONES static void widen(uint32_t *to, const bf16 *from, int64_t n) {
  for (int64_t k = 0; k < n; k++) to[k] = (uint32_t)from[k] << 16;
}

static void to_half(void *arg, size_t index) {
  const Job *job = arg;
  for (int64_t r = (int64_t)index * ROWS_PER_TASK; r < MIN(job->rows, ((int64_t)index + 1) * ROWS_PER_TASK); r++) {
    bf16 *to = job->half_to + r * job->stride;
    narrow(to, job->from + r * job->width, job->width);
    memset(to + job->width, 0, (size_t)(job->stride - job->width) * sizeof *to);
  }
}

static void to_float(void *arg, size_t index) {
  const Job *job = arg;
  for (int64_t r = (int64_t)index * ROWS_PER_TASK; r < MIN(job->rows, ((int64_t)index + 1) * ROWS_PER_TASK); r++) {
    const bf16 *from = job->half_from + r * job->stride;
    widen(job->to + r * job->width, from, job->width);
  }
}

static size_t num_tasks(const Job *job) { return (size_t)((job->rows + ROWS_PER_TASK - 1) / ROWS_PER_TASK); }

/* rows, width: x [any shape] → bfloat16 [rows, stride] */
static void run_to_half(Ctx *c) {
  Job job = {.from = c->in[0].data, .rows = c->i[0], .width = c->i[1], .stride = ROUND_UP(c->i[1], 32)};
  job.half_to = OUT(c, 0, job.rows, job.stride);
  az_par(c, num_tasks(&job), to_half, &job);
}

/* rows, width, offset, stride: columns offset … offset + width − 1 of bfloat16 [rows, stride] → float32 [rows, width] */
static void run_to_float(Ctx *c) {
  Job job = {.half_from = (const bf16 *)c->in[0].data + c->i[2], .rows = c->i[0], .width = c->i[1], .stride = c->i[3]};
  job.to = OUT(c, 0, job.rows, job.width);
  az_par(c, num_tasks(&job), to_float, &job);
}

const Op az_convert_ops[] = {
    {"ToHalf", run_to_half, "f", "b", {"rows", "width"}, .level = LEVEL_PORTABLE},
    {"ToFloat", run_to_float, "b", "f", {"rows", "width", "offset", "stride"}, .level = LEVEL_PORTABLE},
    {0},
};
