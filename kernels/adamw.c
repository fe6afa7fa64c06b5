/* AdamW over all tensors with clipping by their global norm, and rows added to a table. Plain loops: memory is what limits them. */
#include <math.h>
#include <string.h>
#include "op.h"

/* Elements of a task, those between two requests for what will be wanted, and how far ahead that is. */
enum { PART = 65536, STRETCH = 64, AHEAD = 512 };

typedef struct {
  int tensor;
  int64_t first, size;
  double squares;
} Part;

typedef struct {
  Part *parts;
  const Tensor *p, *g, *m, *v;
  float *const *p_out, *const *m_out, *const *v_out;
  const float *decays, *is_measured;
  float learning_rate, step, epsilon, beta1, beta2, weight1, weight2;
} Update;

CLONES static double sum_of_squares(const float *x, int64_t n) {
  float s[16] = {0};
  int64_t k = 0;
  for (; k + 16 <= n; k += 16)
    for (int u = 0; u < 16; u++) s[u] += x[k + u] * x[k + u];
  double sum = 0;
  for (int u = 0; u < 16; u++) sum += (double)s[u];
  for (; k < n; k++) sum += (double)(x[k] * x[k]);
  return sum;
}

typedef struct {
  float *p_out, *m_out, *v_out;
  const float *p, *g, *m, *v;
  float keep;
} Range;

/* `weight1` and `weight2` hold the clip; `step` and `epsilon` the bias corrections. Outputs may be the inputs. */
static inline __attribute__((always_inline)) void update_some(const Range *r, int64_t first, int64_t n, const Update *u) {
  float *p_out = r->p_out + first, *m_out = r->m_out + first, *v_out = r->v_out + first;
  const float *p = r->p + first, *g = r->g + first, *m = r->m + first, *v = r->v + first;
  const float beta1 = u->beta1, beta2 = u->beta2, weight1 = u->weight1, weight2 = u->weight2, step = u->step, epsilon = u->epsilon;
  const float keep = r->keep;
#pragma GCC ivdep
  for (int64_t k = 0; k < n; k++) {
    float m1 = beta1 * m[k] + weight1 * g[k], v1 = beta2 * v[k] + weight2 * (g[k] * g[k]);
    p_out[k] = keep * p[k] - step * (m1 / (sqrtf(v1) + epsilon));
    m_out[k] = m1;
    v_out[k] = v1;
  }
}

/* Asks for a stretch. */
static inline __attribute__((always_inline)) void expect(const float *x) {
  for (int k = 0; k < STRETCH; k += 16) __builtin_prefetch(x + k);
}

CLONES static void update(const Range *range, int64_t n, const Update *u) {
  const Range r = *range;
  int64_t first = 0;
  for (; first + STRETCH <= n; first += STRETCH) {
    expect(r.p + first + AHEAD);
    expect(r.g + first + AHEAD);
    expect(r.m + first + AHEAD);
    expect(r.v + first + AHEAD);
    update_some(&r, first, STRETCH, u);
  }
  update_some(&r, first, n - first, u);
}

static void norm_task(void *arg, size_t index) {
  const Update *u = arg;
  Part *part = u->parts + index;
  if (!u->is_measured[part->tensor]) part->squares = sum_of_squares((const float *)u->g[part->tensor].data + part->first, part->size);
}

static void update_task(void *arg, size_t index) {
  const Update *u = arg;
  const Part *part = u->parts + index;
  const int t = part->tensor;
  const int64_t at = part->first;
  const Range range = {u->p_out[t] + at,
                       u->m_out[t] + at,
                       u->v_out[t] + at,
                       (const float *)u->p[t].data + at,
                       (const float *)u->g[t].data + at,
                       (const float *)u->m[t].data + at,
                       (const float *)u->v[t].data + at,
                       1 - u->learning_rate * u->decays[t]};
  update(&range, part->size, u);
}

/*
 * beta1, weight1 = 1 − beta1, beta2, weight2, epsilon; learning rate, bias corrections 1 and 2, greatest norm, decays [n], whether
 * what made a gradient summed its squares, too [n], then p…, g…, m…, v… and such sums [] → norm, p'…, m'…, v'…
 */
static void run_adamw(Ctx *c) {
  const int n = (int)c->in[4].dim[0];
  const Tensor *tensors = c->in + 6;
  Update u = {.p = tensors, .g = tensors + n, .m = tensors + 2 * n, .v = tensors + 3 * n, .decays = c->in[4].data,
              .is_measured = c->in[5].data};
  size_t num_parts = 0;
  for (int t = 0; t < n; t++) num_parts += (size_t)((az_size(u.g + t) + PART - 1) / PART);
  char *scratch = az_take(num_parts * sizeof(Part) + (size_t)(3 * n) * sizeof(float *));
  float **out = (float **)(scratch + num_parts * sizeof(Part));
  u.parts = (Part *)scratch;
  size_t at = 0;
  for (int t = 0; t < n; t++)
    for (int64_t first = 0; first < az_size(u.g + t); first += PART)
      u.parts[at++] = (Part){t, first, MIN(PART, az_size(u.g + t) - first), 0};
  for (int k = 0; k < 3; k++)
    for (int t = 0; t < n; t++) out[k * n + t] = az_out(c, 1 + k * n + t, u.g[t].rank, u.g[t].dim);
  u.p_out = out;
  u.m_out = out + n;
  u.v_out = out + 2 * n;
  az_par(c, num_parts, norm_task, &u);
  double squares = 0;
  for (size_t i = 0; i < num_parts; i++) squares += u.parts[i].squares;
  for (int k = 6 + 4 * n; k < c->num_inputs; k++) squares += *(const float *)c->in[k].data;
  const float norm = (float)sqrt(squares);
  const float correction1 = *(const float *)c->in[1].data, correction2 = *(const float *)c->in[2].data;
  /* Not MIN: a norm that is not a number must reach the parameters' moments, not be clipped away. */
  const float ratio = *(const float *)c->in[3].data / (norm + 1e-6f), clip = ratio > 1 ? 1 : ratio;
  u.learning_rate = *(const float *)c->in[0].data;
  u.step = u.learning_rate * sqrtf(correction2) / correction1;
  u.epsilon = c->f[4] * sqrtf(correction2);
  u.beta1 = c->f[0];
  u.weight1 = c->f[1] * clip;
  u.beta2 = c->f[2];
  u.weight2 = c->f[3] * clip * clip;
  float *norm_out = az_out(c, 0, 0, NULL);
  if (norm_out) *norm_out = norm;
  az_par(c, num_parts, update_task, &u);
  az_give(scratch);
}

/* --- base [R, C] with rows [N, C] added at ids [N], in order: columns are shared out, so repeated ids never meet */

typedef struct {
  float *table;
  const float *rows;
  const int64_t *ids;
  int64_t n, width, columns;
} Scatter;

CLONES static void add_row(float *to, const float *from, int64_t n) {
  for (int64_t k = 0; k < n; k++) to[k] += from[k];
}

static void scatter_task(void *arg, size_t index) {
  const Scatter *s = arg;
  const int64_t first = (int64_t)index * s->columns, n = MIN(s->columns, s->width - first);
  for (int64_t r = 0; r < s->n; r++) add_row(s->table + s->ids[r] * s->width + first, s->rows + r * s->width + first, n);
}

static void run_scatter_add(Ctx *c) {
  const Tensor *base = c->in;
  Scatter s = {.ids = c->in[1].data, .rows = c->in[2].data, .n = c->in[1].dim[0], .width = base->dim[1]};
  for (int64_t r = 0; r < s.n; r++)
    if (s.ids[r] < 0 || s.ids[r] >= base->dim[0]) az_fail(c, "an index is outside the table");
  s.table = az_out(c, 0, 2, base->dim);
  if (s.table != base->data) memcpy(s.table, base->data, (size_t)az_size(base) * sizeof *s.table);
  s.columns = MAX(64, ROUND_UP((s.width + 7) / 8, 16));
  az_par(c, (size_t)((s.width + s.columns - 1) / s.columns), scatter_task, &s);
}

const Op az_optimizer_ops[] = {
    {"AdamW", run_adamw, "fffffff*", "f?f*", {0}, {"beta1", "weight1", "beta2", "weight2", "epsilon"}, .level = LEVEL_PORTABLE},
    {"ScatterAddRows", run_scatter_add, "flf", "f", .level = LEVEL_PORTABLE, .inplace_input = 1},
    {0},
};
