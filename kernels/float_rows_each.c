/* RMSNorm, SwiGLU and rotary embedding in float32, their gradients and tangents: each number is read and written once. */
#include <math.h>
#include "lanes.h"

/* Rows of a task; sums over rows are added task by task, in order. Numbers of a task where there are no rows. */
enum { ROWS = 32, CHUNK = 8192 };

typedef struct {
  const float *x, *gain, *r, *dy, *tx, *t_gain;
  float *y, *r_out, *partial;
  int64_t rows, width;
  float epsilon;
} Norm;

/* Runs `body` for whole vectors at k with n = 16 lanes, then once for the rest, if any. */
#define FOR_LANES(k, n, width)                                                                                         \
  for (int64_t k = 0, n; n = MIN(LANES, (width)-k), k < (width); k += LANES)
INLINE Vec get(const float *from, int64_t n) { return n == LANES ? v_load(from) : v_load_first(from, n); }
INLINE void put(float *to, int64_t n, Vec v) {
  if (n == LANES) v_store(to, v);
  else v_store_first(to, n, v);
}
static size_t num_tasks(int64_t n, int64_t each) { return (size_t)((n + each - 1) / each); }

/* r = 1/√(mean x² + ε), y = g·x·r */
static void norm_task(void *arg, size_t index) {
  const Norm *job = arg;
  for (int64_t row = (int64_t)index * ROWS; row < MIN(job->rows, ((int64_t)index + 1) * ROWS); row++) {
    const float *x = job->x + row * job->width;
    Vec squares = v_zero();
    FOR_LANES(k, n, job->width) {
      Vec v = get(x + k, n);
      squares = v_fma(v, v, squares);
    }
    float r = 1 / sqrtf(v_sum(squares) / (float)job->width + job->epsilon);
    if (job->r_out) job->r_out[row] = r;
    if (job->y == NULL) continue;
    FOR_LANES(k, n, job->width)
    put(job->y + row * job->width + k, n, v_mul(v_mul(get(x + k, n), v_all(r)), get(job->gain + k, n)));
  }
}

/* epsilon; x [N, C], g [C] → y [N, C], r [N, 1] */
static void run_norm(Ctx *c) {
  Norm job = {.x = c->in[0].data, .gain = c->in[1].data, .rows = c->in[0].dim[0], .width = c->in[0].dim[1], .epsilon = c->f[0]};
  job.y = OUT(c, 0, job.rows, job.width);
  job.r_out = OUT(c, 1, job.rows, 1);
  az_par(c, num_tasks(job.rows, ROWS), norm_task, &job);
}

/* x̂ = x·r; dx = r·(dy·g − x̂·mean(dy·g·x̂)); partial[task] = Σ dy·x̂ */
static void norm_backward_task(void *arg, size_t index) {
  const Norm *job = arg;
  const int64_t width = job->width;
  float *partial = job->partial + (int64_t)index * width;
  memset(partial, 0, sizeof(float) * (size_t)width);
  for (int64_t row = (int64_t)index * ROWS; row < MIN(job->rows, ((int64_t)index + 1) * ROWS); row++) {
    const float *x = job->x + row * width, *dy = job->dy + row * width;
    const Vec r = v_all(job->r[row]);
    Vec sum = v_zero();
    FOR_LANES(k, n, width) {
      Vec z = v_mul(get(dy + k, n), v_mul(get(x + k, n), r));
      sum = v_fma(z, get(job->gain + k, n), sum);
      put(partial + k, n, v_add(get(partial + k, n), z));
    }
    if (job->y == NULL) continue;
    const Vec mean = v_all(v_sum(sum) / (float)width);
    FOR_LANES(k, n, width) {
      Vec inner = v_sub(v_mul(get(dy + k, n), get(job->gain + k, n)), v_mul(v_mul(get(x + k, n), r), mean));
      put(job->y + row * width + k, n, v_mul(inner, r));
    }
  }
}

/* x [N, C], g [C], r [N, 1], dy [N, C] → dx [N, C], dg [C] */
static void run_norm_backward(Ctx *c) {
  Norm job = {.x = c->in[0].data, .gain = c->in[1].data, .r = c->in[2].data, .dy = c->in[3].data};
  job.rows = c->in[0].dim[0], job.width = c->in[0].dim[1];
  job.y = OUT(c, 0, job.rows, job.width);
  float *d_gain = OUT(c, 1, job.width);
  const size_t tasks = num_tasks(job.rows, ROWS);
  job.partial = az_take(sizeof(float) * (MAX(tasks, 1) * (size_t)job.width));
  az_par(c, tasks, norm_backward_task, &job);
  if (d_gain != NULL) {
    FOR_LANES(k, n, job.width) {
      Vec sum = v_zero();
      for (size_t t = 0; t < tasks; t++) sum = v_add(sum, get(job.partial + (int64_t)t * job.width + k, n));
      put(d_gain + k, n, sum);
    }
  }
  az_give(job.partial);
}

/* ty = g·(tx·r − x̂·mean(tx·r·x̂)) + tg·x̂ */
static void norm_tangent_task(void *arg, size_t index) {
  const Norm *job = arg;
  const int64_t width = job->width;
  for (int64_t row = (int64_t)index * ROWS; row < MIN(job->rows, ((int64_t)index + 1) * ROWS); row++) {
    const float *x = job->x + row * width, *tx = job->tx + row * width;
    const Vec r = v_all(job->r[row]);
    Vec sum = v_zero();
    FOR_LANES(k, n, width) sum = v_fma(v_mul(get(tx + k, n), r), v_mul(get(x + k, n), r), sum);
    const Vec mean = v_all(v_sum(sum) / (float)width);
    FOR_LANES(k, n, width) {
      Vec normal = v_mul(get(x + k, n), r), moved = v_sub(v_mul(get(tx + k, n), r), v_mul(normal, mean));
      Vec gained = v_mul(normal, get(job->t_gain + k, n));
      put(job->y + row * width + k, n, v_fma(moved, get(job->gain + k, n), gained));
    }
  }
}

/* x, g, r, tx, tg → ty */
static void run_norm_tangent(Ctx *c) {
  Norm job = {.x = c->in[0].data, .gain = c->in[1].data, .r = c->in[2].data, .tx = c->in[3].data, .t_gain = c->in[4].data};
  job.rows = c->in[0].dim[0], job.width = c->in[0].dim[1];
  job.y = OUT(c, 0, job.rows, job.width);
  if (job.y != NULL) az_par(c, num_tasks(job.rows, ROWS), norm_tangent_task, &job);
}

/* --- SwiGLU, with σ the sigmoid and s = gate·σ(gate): y = s·up */

typedef struct {
  const float *gate, *up, *dy, *t_gate, *t_up;
  float *y, *d_gate, *d_up;
  int64_t count;
} Swiglu;

static void swiglu_task(void *arg, size_t index) {
  const Swiglu *job = arg;
  const int64_t from = (int64_t)index * CHUNK, count = MIN(CHUNK, job->count - from);
  FOR_LANES(k, n, count) {
    Vec gate = get(job->gate + from + k, n);
    put(job->y + from + k, n, v_mul(v_mul(gate, v_sigmoid(gate)), get(job->up + from + k, n)));
  }
}

/* dup = dy·s, dgate = up·((dy − dup)·σ + dup) */
static void swiglu_backward_task(void *arg, size_t index) {
  const Swiglu *job = arg;
  const int64_t from = (int64_t)index * CHUNK, count = MIN(CHUNK, job->count - from);
  FOR_LANES(k, n, count) {
    Vec gate = get(job->gate + from + k, n), dy = get(job->dy + from + k, n), sigmoid = v_sigmoid(gate);
    Vec d_up = v_mul(dy, v_mul(gate, sigmoid));
    if (job->d_up != NULL) put(job->d_up + from + k, n, d_up);
    Vec inner = v_fma(v_sub(dy, d_up), sigmoid, d_up);
    if (job->d_gate != NULL) put(job->d_gate + from + k, n, v_mul(inner, get(job->up + from + k, n)));
  }
}

/* ty = tgate·(σ + s·(1 − σ))·up + s·tup */
static void swiglu_tangent_task(void *arg, size_t index) {
  const Swiglu *job = arg;
  const int64_t from = (int64_t)index * CHUNK, count = MIN(CHUNK, job->count - from);
  FOR_LANES(k, n, count) {
    Vec gate = get(job->gate + from + k, n), sigmoid = v_sigmoid(gate), s = v_mul(gate, sigmoid);
    Vec slope = v_fma(s, v_sub(v_all(1.f), sigmoid), sigmoid);
    Vec moved = v_mul(v_mul(get(job->t_gate + from + k, n), slope), get(job->up + from + k, n));
    put(job->y + from + k, n, v_fma(s, get(job->t_up + from + k, n), moved));
  }
}

/* gate [N, F], up → y */
static void run_swiglu(Ctx *c) {
  Swiglu job = {.gate = c->in[0].data, .up = c->in[1].data, .count = az_size(c->in)};
  job.y = az_out(c, 0, c->in->rank, c->in->dim);
  if (job.y != NULL) az_par(c, num_tasks(job.count, CHUNK), swiglu_task, &job);
}

/* gate, up, dy → dgate, dup */
static void run_swiglu_backward(Ctx *c) {
  Swiglu job = {.gate = c->in[0].data, .up = c->in[1].data, .dy = c->in[2].data, .count = az_size(c->in)};
  job.d_gate = az_out(c, 0, c->in->rank, c->in->dim);
  job.d_up = az_out(c, 1, c->in->rank, c->in->dim);
  az_par(c, num_tasks(job.count, CHUNK), swiglu_backward_task, &job);
}

/* gate, up, tgate, tup → ty */
static void run_swiglu_tangent(Ctx *c) {
  Swiglu job = {.gate = c->in[0].data, .up = c->in[1].data, .t_gate = c->in[2].data, .t_up = c->in[3].data};
  job.count = az_size(c->in);
  job.y = az_out(c, 0, c->in->rank, c->in->dim);
  if (job.y != NULL) az_par(c, num_tasks(job.count, CHUNK), swiglu_tangent_task, &job);
}

/* --- rotary embedding: pairs (i, i + D/2) turned by the angle of the token's position */

typedef struct {
  const float *x, *cos, *sin;
  const int64_t *positions;
  float *y, sign;
  int64_t tokens, heads, half;
} Rotary;

static void rotary_task(void *arg, size_t index) {
  const Rotary *job = arg;
  const int64_t half = job->half;
  for (int64_t token = (int64_t)index * ROWS; token < MIN(job->tokens, ((int64_t)index + 1) * ROWS); token++) {
    const float *cos = job->cos + job->positions[token] * half, *sin = job->sin + job->positions[token] * half;
    for (int64_t head = token * job->heads; head < (token + 1) * job->heads; head++) {
      const float *x = job->x + head * 2 * half;
      float *y = job->y + head * 2 * half;
      FOR_LANES(k, n, half) {
        Vec a = get(x + k, n), b = get(x + half + k, n), co = get(cos + k, n), si = v_mul(get(sin + k, n), v_all(job->sign));
        put(y + k, n, v_sub(v_mul(a, co), v_mul(b, si)));
        put(y + half + k, n, v_fma(b, co, v_mul(a, si)));
      }
    }
  }
}

/* inverse; x [B, T, H, D], positions [B, T], cos [P, D/2], sin [P, D/2] → y */
static void run_rotary(Ctx *c) {
  const Tensor *x = c->in;
  Rotary job = {.x = x->data, .positions = c->in[1].data, .cos = c->in[2].data, .sin = c->in[3].data};
  job.tokens = x->dim[0] * x->dim[1], job.heads = x->dim[2], job.half = x->dim[3] / 2;
  job.sign = c->i[0] ? -1.f : 1.f;
  job.y = az_out(c, 0, x->rank, x->dim);
  for (int64_t t = 0; t < job.tokens; t++)
    if (job.positions[t] < 0 || job.positions[t] >= c->in[2].dim[0]) az_fail(c, "a position is beyond the table of angles");
  if (job.y != NULL) az_par(c, num_tasks(job.tokens, ROWS), rotary_task, &job);
}

const Op EACH(az_float_rows_ops)[] = {
    {"FloatNorm", run_norm, "ff", "ff", {0}, {"epsilon"}, .level = LEVEL_PORTABLE},
    {"FloatNormBackward", run_norm_backward, "ffff", "ff", {0}, {0}, .level = LEVEL_PORTABLE},
    {"FloatNormTangent", run_norm_tangent, "fffff", "f", {0}, {0}, .level = LEVEL_PORTABLE},
    {"FloatSwiglu", run_swiglu, "ff", "f", {0}, {0}, .level = LEVEL_PORTABLE},
    {"FloatSwigluBackward", run_swiglu_backward, "fff", "ff", {0}, {0}, .level = LEVEL_PORTABLE},
    {"FloatSwigluTangent", run_swiglu_tangent, "ffff", "f", {0}, {0}, .level = LEVEL_PORTABLE},
    {"FloatRotary", run_rotary, "flff", "f", {"inverse"}, {0}, .level = LEVEL_PORTABLE},
    {0},
};
