/* RMSNorm, and what else goes over rows: y = g·x·r, r = 1/√(mean x² + ε). */
#include <math.h>
#include <string.h>
#include "vec.h"

/* Rows of a task; sums over rows are added task by task, in order. */
enum { ROWS = 64 };

typedef struct {
  const float *x, *gain, *r, *residual;
  const bf16 *dh;
  float *dx, *r_out, *partial;
  bf16 *half;
  long rows, width, stride, dh_stride;
  float epsilon;
  int past_cache;
} Norm;

static void norm_task(void *arg, size_t index) {
  const Norm *job = arg;
  const long width = job->width, whole = width / 16 * 16;
  const int64_t rest = v_first(width - whole);
  for (long n = (long)index * ROWS; n < MIN(job->rows, ((long)index + 1) * ROWS); n++) {
    const float *x = job->x + n * width;
    bf16 *h = job->half + n * job->stride;
    Vec s = v_zero();
    for (long k = 0; k < whole; k += 16) {
      Vec v = v_load(x + k);
      s = v_fma(v, v, s);
    }
    if (rest) {
      Vec v = v_load_first(x + whole, rest);
      s = v_fma(v, v, s);
    }
    float r = 1 / sqrtf(v_sum(s) / (float)width + job->epsilon);
    if (job->r_out) job->r_out[n] = r;
    Vec all = v_all(r);
    for (long k = 0; k < whole; k += 16) v_store_half(h + k, v_mul(v_mul(v_load(x + k), all), v_load(job->gain + k)));
    if (rest)
      v_store_half_first(h + whole, rest,
                         v_mul(v_mul(v_load_first(x + whole, rest), all), v_load_first(job->gain + whole, rest)));
    if (job->stride > width) memset(h + width, 0, (size_t)(job->stride - width) * 2);
  }
}

static size_t num_tasks(long rows) { return (size_t)((rows + ROWS - 1) / ROWS); }

/* rows, width; epsilon; x, g → bfloat16 [rows, stride], r [rows, 1] */
static void run_norm(Ctx *c) {
  Norm job = {.x = c->in[0].data, .gain = c->in[1].data, .rows = c->i[0], .width = c->i[1], .epsilon = c->f[0]};
  job.stride = ROUND_UP(job.width, 32);
  job.half = OUT(c, 0, job.rows, job.stride);
  job.r_out = OUT(c, 1, job.rows, 1);
  if (!job.half) az_fail(c, "the first output is needed");
  az_par(c, num_tasks(job.rows), norm_task, &job);
}

/* z = dh·x·r; dg = Σ z; dx = r·(dh·g − x·r·mean(z·g)) + residual */
static void norm_backward_task(void *arg, size_t index) {
  const Norm *job = arg;
  const long width = job->width;
  float *dg = job->partial + (long)index * ROUND_UP(width, 16);
  memset(dg, 0, (size_t)ROUND_UP(width, 16) * sizeof *dg);
  for (long n = (long)index * ROWS; n < MIN(job->rows, ((long)index + 1) * ROWS); n++) {
    const float *x = job->x + n * width;
    const bf16 *dh = job->dh + n * job->dh_stride;
    Vec s = v_zero(), r = v_all(job->r[n]);
    long k = 0;
    for (; k + 16 <= width; k += 16) {
      Vec z = v_mul(v_load_half(dh + k), v_mul(v_load(x + k), r));
      v_store(dg + k, v_add(v_load(dg + k), z));
      s = v_fma(z, v_load(job->gain + k), s);
    }
    const int64_t rest = v_first(width - k);
    if (rest) {
      Vec z = v_mul(v_load_half_first(dh + k, rest), v_mul(v_load_first(x + k, rest), r));
      v_store(dg + k, v_add(v_load(dg + k), z));
      s = v_fma(z, v_load_first(job->gain + k, rest), s);
    }
    Vec mean = v_mul(r, v_all(v_sum(s) / (float)width));
    float *dx = job->dx ? job->dx + n * width : NULL;
    const float *residual = job->residual ? job->residual + n * width : NULL;
    bf16 *half = job->half ? job->half + n * job->stride : NULL;
    for (k = 0; k + 16 <= width; k += 16) {
      Vec v = v_mul(r, v_fnma(v_load(x + k), mean, v_mul(v_load_half(dh + k), v_load(job->gain + k))));
      if (residual) v = v_add(v, v_load(residual + k));
      if (dx && job->past_cache) v_stream(dx + k, v);
      else if (dx) v_store(dx + k, v);
      if (half) v_store_half(half + k, v);
    }
    if (rest) {
      Vec v = v_mul(v_load_half_first(dh + k, rest), v_load_first(job->gain + k, rest));
      v = v_mul(r, v_fnma(v_load_first(x + k, rest), mean, v));
      if (residual) v = v_add(v, v_load_first(residual + k, rest));
      if (dx) v_store_first(dx + k, rest, v);
      if (half) v_store_half_first(half + k, rest, v);
    }
    if (half && job->stride > width) memset(half + width, 0, (size_t)(job->stride - width) * 2);
  }
  v_fence();
}

/*
 * rows, width, offset and stride of dh; dh bfloat16, x, g, r, residual? → dx float32 (+ residual), the same in bfloat16, dg
 */
static void run_norm_backward(Ctx *c) {
  Norm job = {.dh = (const bf16 *)c->in[0].data + c->i[2], .dh_stride = c->i[3], .x = c->in[1].data, .gain = c->in[2].data,
              .r = c->in[3].data, .rows = c->i[0], .width = c->i[1]};
  job.residual = c->num_inputs > 4 ? c->in[4].data : NULL;
  job.stride = ROUND_UP(job.width, 32);
  job.dx = OUT(c, 0, job.rows, job.width);
  job.half = OUT(c, 1, job.rows, job.stride);
  float *dg = OUT(c, 2, job.width);
  job.past_cache = job.rows * job.width * 4 > 3000000 && job.width % 16 == 0 && (uintptr_t)job.dx % 64 == 0;
  const size_t tasks = num_tasks(job.rows);
  const long apart = ROUND_UP(job.width, 16);
  job.partial = az_take(tasks * (size_t)apart * sizeof *job.partial);
  az_par(c, tasks, norm_backward_task, &job);
  if (dg)
    for (long k = 0; k < job.width; k++) {
      float sum = 0;
      for (size_t t = 0; t < tasks; t++) sum += job.partial[(long)t * apart + k];
      dg[k] = sum;
    }
  az_give(job.partial);
}

/* --- gates that stand interleaved by 16 columns: gate, up, gate, up, … */

typedef struct {
  const bf16 *pair, *dy;
  bf16 *out, *out2;
  long rows, width, stride, dy_stride;
} Pair;

static void pair_backward_task(void *arg, size_t index) {
  const Pair *job = arg;
  for (long n = (long)index * ROWS; n < MIN(job->rows, ((long)index + 1) * ROWS); n++)
    for (long k = 0; k < job->stride / 2; k += 16) {
      const bf16 *p = job->pair + n * job->stride + 2 * k;
      bf16 *to = job->out + n * job->stride + 2 * k;
      Vec gate = v_load_half(p), up = v_load_half(p + 16);
      Vec dy = v_load_half_first(job->dy + n * job->dy_stride + k, v_first(job->width - k));
      Vec sigmoid = v_sigmoid_rough(gate), silu = v_mul(gate, sigmoid);
      Vec slope = v_mul(sigmoid, v_sub(v_add(v_all(1.f), gate), silu));
      v_store_half(to, v_mul(v_mul(dy, up), slope));
      v_store_half(to + 16, v_mul(dy, silu));
    }
}

/* rows, width, offset and stride of dy; dy, pair → gradients of gate and up, interleaved like the pair */
static void run_pair_backward(Ctx *c) {
  Pair job = {.dy = (const bf16 *)c->in[0].data + c->i[2], .dy_stride = c->i[3], .pair = c->in[1].data, .rows = c->i[0],
              .width = c->i[1], .stride = 2 * ROUND_UP(c->i[1], 32)};
  job.out = OUT(c, 0, job.rows, job.stride);
  az_par(c, num_tasks(job.rows), pair_backward_task, &job);
}

/* --- gates that stand apart */

typedef struct {
  const bf16 *gate, *up, *dy;
  long gate_stride, up_stride, dy_stride;
  bf16 *out, *out2;
  long rows, width, stride;
} Gate;

static void gate_task(void *arg, size_t index) {
  const Gate *job = arg;
  for (long n = (long)index * ROWS; n < MIN(job->rows, ((long)index + 1) * ROWS); n++)
    for (long k = 0; k < job->stride; k += 16) {
      const int64_t m = v_first(job->width - k);
      Vec gate = v_load_half_first(job->gate + n * job->gate_stride + k, m), up = v_load_half_first(job->up + n * job->up_stride + k, m);
      v_store_half(job->out + n * job->stride + k, v_mul(v_mul(gate, v_sigmoid_rough(gate)), up));
    }
}

static void gate_backward_task(void *arg, size_t index) {
  const Gate *job = arg;
  for (long n = (long)index * ROWS; n < MIN(job->rows, ((long)index + 1) * ROWS); n++)
    for (long k = 0; k < job->stride; k += 16) {
      const int64_t m = v_first(job->width - k);
      Vec gate = v_load_half_first(job->gate + n * job->gate_stride + k, m), up = v_load_half_first(job->up + n * job->up_stride + k, m);
      Vec dy = v_load_half_first(job->dy + n * job->dy_stride + k, m), sigmoid = v_sigmoid_rough(gate), silu = v_mul(gate, sigmoid);
      Vec slope = v_mul(sigmoid, v_sub(v_add(v_all(1.f), gate), silu));
      v_store_half(job->out + n * job->stride + k, v_mul(v_mul(dy, up), slope));
      v_store_half(job->out2 + n * job->stride + k, v_mul(dy, silu));
    }
}

static Gate gate_job(Ctx *c) {
  return (Gate){.gate = (const bf16 *)c->in[0].data + c->i[2], .gate_stride = c->i[3], .up = (const bf16 *)c->in[1].data + c->i[4],
                .up_stride = c->i[5], .rows = c->i[0], .width = c->i[1], .stride = ROUND_UP(c->i[1], 32)};
}

/* rows, width, offset and stride of gate, of up; gate, up → silu(gate)·up */
static void run_gate(Ctx *c) {
  Gate job = gate_job(c);
  job.out = OUT(c, 0, job.rows, job.stride);
  az_par(c, num_tasks(job.rows), gate_task, &job);
}

/* the same and of dy; gate, up, dy → dgate, dup */
static void run_gate_backward(Ctx *c) {
  Gate job = gate_job(c);
  job.dy = (const bf16 *)c->in[2].data + c->i[6];
  job.dy_stride = c->i[7];
  job.out = OUT(c, 0, job.rows, job.stride);
  job.out2 = OUT(c, 1, job.rows, job.stride);
  az_par(c, num_tasks(job.rows), gate_backward_task, &job);
}

static void split_task(void *arg, size_t index) {
  const Pair *job = arg;
  for (long n = (long)index * ROWS; n < MIN(job->rows, ((long)index + 1) * ROWS); n++)
    for (long k = 0; k < job->stride / 2; k += 16) {
      const bf16 *p = job->pair + n * job->stride + 2 * k;
      if (job->out) memcpy(job->out + n * job->stride / 2 + k, p, 32);
      if (job->out2) memcpy(job->out2 + n * job->stride / 2 + k, p + 16, 32);
    }
}

/* rows, width; an interleaved pair → its two matrices */
static void run_split_pair(Ctx *c) {
  Pair job = {.pair = c->in[0].data, .rows = c->i[0], .width = c->i[1], .stride = 2 * ROUND_UP(c->i[1], 32)};
  job.out = OUT(c, 0, job.rows, job.stride / 2);
  job.out2 = OUT(c, 1, job.rows, job.stride / 2);
  az_par(c, num_tasks(job.rows), split_task, &job);
}

const Op EACH(az_norm_ops)[] = {
    {"RmsNorm", run_norm, "ff", "bf?", {"rows", "width"}, {"epsilon"}, .level = LEVEL_PORTABLE},
    {"RmsNormBackward", run_norm_backward, "bffff?", "f?b?f?", {"rows", "width", "offset", "stride"}, .level = LEVEL_PORTABLE,
     .inplace_input = 5},
    {"SwigluPairBackward", run_pair_backward, "bb", "b", {"rows", "width", "offset", "stride"}, .level = LEVEL_PORTABLE},
    {"Swiglu", run_gate, "bb", "b", {"rows", "width", "gateOffset", "gateStride", "upOffset", "upStride"}, .level = LEVEL_PORTABLE},
    {"SwigluBackward", run_gate_backward, "bbb", "bb",
     {"rows", "width", "gateOffset", "gateStride", "upOffset", "upStride", "dyOffset", "dyStride"}, .level = LEVEL_PORTABLE},
    {"SplitPair", run_split_pair, "b", "b?b?", {"rows", "width"}, .level = LEVEL_PORTABLE},
    {0},
};
