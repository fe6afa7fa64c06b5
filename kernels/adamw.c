/* AdamW over all tensors with clipping by their global norm, and rows added to a table. Plain loops: memory is what limits them. */
#include <math.h>
#include <string.h>
#include "op.h"

/* Elements of a task. */
enum { PART = 65536 };

typedef struct {
  int tensor;
  int64_t first, size;
  double squares;
} Part;

typedef struct {
  Part *parts;
  const Tensor *p, *g, *m, *v;
  float *const *p_out, *const *m_out, *const *v_out;
  const float *decays;
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

/* `weight1` and `weight2` hold the clip; `step` and `epsilon` the bias corrections. Outputs may be the inputs. */
CLONES static void update(int64_t n, float *p_out, float *m_out, float *v_out, const float *p, const float *g, const float *m,
                          const float *v, float keep, const Update *u) {
  const float beta1 = u->beta1, beta2 = u->beta2, weight1 = u->weight1, weight2 = u->weight2, step = u->step, epsilon = u->epsilon;
#pragma GCC ivdep
  for (int64_t k = 0; k < n; k++) {
    float m1 = beta1 * m[k] + weight1 * g[k], v1 = beta2 * v[k] + weight2 * (g[k] * g[k]);
    p_out[k] = keep * p[k] - step * (m1 / (sqrtf(v1) + epsilon));
    m_out[k] = m1;
    v_out[k] = v1;
  }
}

static void norm_task(void *arg, size_t index) {
  const Update *u = arg;
  Part *part = u->parts + index;
  part->squares = sum_of_squares((const float *)u->g[part->tensor].data + part->first, part->size);
}

static void update_task(void *arg, size_t index) {
  const Update *u = arg;
  const Part *part = u->parts + index;
  const int t = part->tensor;
  const int64_t at = part->first;
  update(part->size, u->p_out[t] + at, u->m_out[t] + at, u->v_out[t] + at, (const float *)u->p[t].data + at,
         (const float *)u->g[t].data + at, (const float *)u->m[t].data + at, (const float *)u->v[t].data + at,
         1 - u->learning_rate * u->decays[t], u);
}

/*
 * beta1, weight1 = 1 − beta1, beta2, weight2, epsilon; learning rate, bias corrections 1 and 2, greatest norm, decays [n], then
 * p…, g…, m…, v… → norm, p'…, m'…, v'…
 */
static void run_adamw(Ctx *c) {
  const int n = (c->num_inputs - 5) / 4;
  const Tensor *tensors = c->in + 5;
  Update u = {.p = tensors, .g = tensors + n, .m = tensors + 2 * n, .v = tensors + 3 * n, .decays = c->in[4].data};
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
    {"AdamW", run_adamw, "ffffff*", "f?f*", {0}, {"beta1", "weight1", "beta2", "weight2", "epsilon"}, .level = LEVEL_PORTABLE},
    {"ScatterAddRows", run_scatter_add, "flf", "f", .level = LEVEL_PORTABLE, .inplace_input = 1},
    {0},
};
