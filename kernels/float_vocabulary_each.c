/*
 * Rows of a vocabulary's width in float32, each read once or twice: log-probabilities of chosen tokens, how log-probabilities move,
 * divergence of two distributions, a draw from one, its mode. A row's result depends on the row alone.
 */
#include <math.h>
#include "lanes.h"

/* Numbers of a block whose sum a draw keeps. */
enum { BLOCK = 256 };

typedef struct {
  const float *x, *other, *uniforms;
  const int64_t *ids;
  float *y;
  int64_t *drawn, width, chosen;
} Job;

INLINE Vec get(const float *from, int64_t n) { return n == LANES ? v_load(from) : v_load_first(from, n); }
#define FOR_LANES(k, n, from, to)                                                                                      \
  for (int64_t k = (from), n; n = MIN(LANES, (to)-k), k < (to); k += LANES)

/* Greatest number of a row. */
static float greatest(const float *x, int64_t width) {
  Vec top = v_all(x[0]);
  int64_t k = 0;
  for (; k + LANES <= width; k += LANES) top = v_max(top, v_load(x + k));
  float lanes[LANES] ALIGNED, most = x[0];
  v_store(lanes, top);
  for (int i = 0; i < LANES; i++) most = lanes[i] > most ? lanes[i] : most;
  for (; k < width; k++) most = x[k] > most ? x[k] : most;
  return most;
}

/* e^(x − most) of n numbers, zeros behind them. */
INLINE Vec weights(const float *x, int64_t n, float most) {
  Vec w = v_exp2(v_mul(v_sub(get(x, n), v_all(most)), v_all(LOG2_E)));
  if (n == LANES) return w;
  float lanes[LANES] ALIGNED;
  v_store(lanes, w);
  return v_load_first(lanes, n);
}

/* Sum over from … to − 1 of e^(x − most) */
static float total(const float *x, int64_t from, int64_t to, float most) {
  Vec sum = v_zero();
  FOR_LANES(k, n, from, to) sum = v_add(sum, weights(x + k, n, most));
  return v_sum(sum);
}

static void logprob_task(void *arg, size_t row) {
  const Job *job = arg;
  const float *x = job->x + (int64_t)row * job->width;
  float most = greatest(x, job->width), log_total = logf(total(x, 0, job->width, most));
  for (int64_t j = 0; j < job->chosen; j++) {
    int64_t id = job->ids[(int64_t)row * job->chosen + j];
    job->y[(int64_t)row * job->chosen + j] = id < 0 || id >= job->width ? NAN : x[id] - most - log_total;
  }
}

/* x [N, V], ids [N, M] → ln softmax(x) at the ids */
static void run_logprob(Ctx *c) {
  Job job = {.x = c->in[0].data, .ids = c->in[1].data, .width = c->in[0].dim[1], .chosen = c->in[1].dim[1]};
  job.y = OUT(c, 0, c->in[0].dim[0], job.chosen);
  az_par(c, (size_t)c->in[0].dim[0], logprob_task, &job);
}

static void derivative_task(void *arg, size_t row) {
  const Job *job = arg;
  int64_t at = (int64_t)row * job->width;
  const float *x = job->x + at, *t = job->other + at;
  float most = greatest(x, job->width);
  Vec sum = v_zero(), moved = v_zero();
  FOR_LANES(k, n, 0, job->width) {
    Vec w = weights(x + k, n, most);
    sum = v_add(sum, w);
    moved = v_fma(w, get(t + k, n), moved);
  }
  Vec mean = v_all(v_sum(moved) / v_sum(sum));
  FOR_LANES(k, n, 0, job->width) {
    Vec y = v_sub(get(t + k, n), mean);
    if (n == LANES) v_store(job->y + at + k, y);
    else v_store_first(job->y + at + k, n, y);
  }
}

/* x [N, V], tx [N, V] → tx − Σ softmax(x)·tx: the tangent of ln softmax(x) */
static void run_derivative(Ctx *c) {
  Job job = {.x = c->in[0].data, .other = c->in[1].data, .width = c->in[0].dim[1]};
  job.y = OUT(c, 0, c->in[0].dim[0], job.width);
  az_par(c, (size_t)c->in[0].dim[0], derivative_task, &job);
}

static void divergence_task(void *arg, size_t row) {
  const Job *job = arg;
  const float *a = job->x + (int64_t)row * job->width, *b = job->other + (int64_t)row * job->width;
  float most_a = greatest(a, job->width), most_b = greatest(b, job->width);
  Vec sum_a = v_zero(), sum_b = v_zero(), moved = v_zero();
  FOR_LANES(k, n, 0, job->width) {
    Vec w = weights(a + k, n, most_a);
    Vec apart = v_sub(v_sub(get(a + k, n), v_all(most_a)), v_sub(get(b + k, n), v_all(most_b)));
    sum_a = v_add(sum_a, w);
    sum_b = v_add(sum_b, weights(b + k, n, most_b));
    moved = v_fma(w, apart, moved);
  }
  float total_a = v_sum(sum_a);
  job->y[row] = v_sum(moved) / total_a - (logf(total_a) - logf(v_sum(sum_b)));
}

/* a, b [N, V] → KL(softmax a ‖ softmax b) [N, 1] */
static void run_divergence(Ctx *c) {
  Job job = {.x = c->in[0].data, .other = c->in[1].data, .width = c->in[0].dim[1]};
  job.y = OUT(c, 0, c->in[0].dim[0], 1);
  az_par(c, (size_t)c->in[0].dim[0], divergence_task, &job);
}

static void draw_task(void *arg, size_t row) {
  const Job *job = arg;
  const float *x = job->x + (int64_t)row * job->width;
  float most = greatest(x, job->width);
  double sum = 0, below = 0;
  for (int64_t k = 0; k < job->width; k += BLOCK) sum += (double)total(x, k, MIN(k + BLOCK, job->width), most);
  double wanted = (double)job->uniforms[row] * sum;
  int64_t found = 0;
  for (int64_t k = 0; k < job->width; k += BLOCK) {
    int64_t end = MIN(k + BLOCK, job->width);
    double here = (double)total(x, k, end, most);
    if (!(below + here > wanted)) {
      below += here;
      continue;
    }
    /* The last id of any weight stands where rounding leaves the sum of the block short. */
    for (int64_t first = k; first < end; first += LANES) {
      float lanes[LANES] ALIGNED;
      v_store(lanes, weights(x + first, MIN(LANES, end - first), most));
      for (int64_t i = 0; i < MIN(LANES, end - first); i++) {
        if (!(lanes[i] > 0)) continue;
        below += (double)lanes[i];
        found = first + i;
        if (below > wanted) goto done;
      }
    }
    break;
  }
done:
  job->drawn[row] = found;
}

/* x [N, V], u [N, 1] in 0 ≤ u < 1 → the first id whose cumulative probability exceeds u [N] */
static void run_draw(Ctx *c) {
  Job job = {.x = c->in[0].data, .uniforms = c->in[1].data, .width = c->in[0].dim[1]};
  job.drawn = OUT(c, 0, c->in[0].dim[0]);
  az_par(c, (size_t)c->in[0].dim[0], draw_task, &job);
}

static void mode_task(void *arg, size_t row) {
  const Job *job = arg;
  const float *x = job->x + (int64_t)row * job->width, most = greatest(x, job->width);
  int64_t found = 0;
  while (found < job->width && x[found] != most) found++;
  job->drawn[row] = found < job->width ? found : 0;
}

/* x [N, V] → id of the greatest, the first of equals [N] */
static void run_mode(Ctx *c) {
  Job job = {.x = c->in[0].data, .width = c->in[0].dim[1]};
  job.drawn = OUT(c, 0, c->in[0].dim[0]);
  az_par(c, (size_t)c->in[0].dim[0], mode_task, &job);
}

const Op EACH(az_float_vocabulary_ops)[] = {
    {"FloatLogprob", run_logprob, "fl", "f", .level = LEVEL_PORTABLE},
    {"FloatLogprobTangent", run_derivative, "ff", "f", .level = LEVEL_PORTABLE},
    {"FloatDivergence", run_divergence, "ff", "f", .level = LEVEL_PORTABLE},
    {"FloatDraw", run_draw, "ff", "l", .level = LEVEL_PORTABLE},
    {"FloatMode", run_mode, "f", "l", .level = LEVEL_PORTABLE},
    {0},
};
