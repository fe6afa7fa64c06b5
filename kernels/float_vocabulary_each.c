/*
 * Rows of a vocabulary's width in float32, each read once or twice: log-probabilities of chosen tokens, how log-probabilities move, a
 * distribution tilted, divergence of two distributions, what is left near its mode, a draw from one, its mode. A row's result depends on
 * the row alone.
 */
#include <math.h>
#include "lanes.h"

/* Numbers of a block whose sum a draw keeps. */
enum { BLOCK = 256 };

typedef struct {
  const float *x, *other, *uniforms, *wanted, *factor;
  float limit;
  const int64_t *ids;
  float *y, *mean, *divergence;
  int64_t *drawn, width, chosen;
} Job;

INLINE Vec get(const float *from, int64_t n) { return n == LANES ? v_load(from) : v_load_first(from, n); }
#define FOR_LANES(k, n, from, to)                                                                                      \
  for (int64_t k = (from), n; n = MIN(LANES, (to)-k), k < (to); k += LANES)

/* The greatest of the lanes and of n numbers more. */
static float greatest_of(Vec top, const float *x, int64_t n) {
  float lanes[LANES] ALIGNED;
  v_store(lanes, top);
  float most = lanes[0];
  for (int i = 1; i < LANES; i++) most = lanes[i] > most ? lanes[i] : most;
  for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
  return most;
}

/* Greatest number of a row: of four vectors apart, none of which waits for another. */
static float greatest(const float *x, int64_t width) {
  Vec top[4] = {v_all(x[0]), v_all(x[0]), v_all(x[0]), v_all(x[0])};
  int64_t k = 0;
  for (; k + 4 * LANES <= width; k += 4 * LANES)
    for (int i = 0; i < 4; i++) top[i] = v_max(top[i], v_load(x + k + i * LANES));
  return greatest_of(v_max(v_max(top[0], top[1]), v_max(top[2], top[3])), x + k, width - k);
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

/*
 * Numbers of a row that count: all, or those where `wanted` is at least `limit`; others are not read. They are met in the groups of 16 that
 * hold any.
 */
typedef struct {
  const float *wanted;
  float limit;
  int64_t width, num_groups;
  int32_t *groups; /* null: all */
} Choice;

INLINE int64_t start_of(const Choice *c, int64_t group) { return LANES * (c->groups ? c->groups[group] : group); }
#define FOR_COUNTED(k, n, c)                                                                                           \
  for (int64_t group = 0, k, n;                                                                                        \
       group < (c)->num_groups && (k = start_of(c, group), n = MIN(LANES, (c)->width - k), 1); group++)

/* Whether any of the n numbers from k on counts. */
INLINE int any_counts(const Choice *c, int64_t k, int64_t n) {
  if (!c->wanted) return 1;
  if (n == LANES) return v_any_at_least(v_load(c->wanted + k), v_all(c->limit));
  int found = 0;
  for (int64_t i = k; i < k + n; i++) found |= c->wanted[i] >= c->limit;
  return found;
}

/* To be ended. */
static Choice choice_of(const Job *job, int64_t at) {
  int64_t num_groups = ROUND_UP(job->width, LANES) / LANES;
  Choice c = {job->wanted ? job->wanted + at : NULL, job->limit, job->width, num_groups, NULL};
  if (!c.wanted) return c;
  c.groups = az_take(sizeof(int32_t) * (size_t)num_groups);
  c.num_groups = 0;
  FOR_LANES(k, n, 0, c.width) {
    c.groups[c.num_groups] = (int32_t)(k / LANES);
    c.num_groups += any_counts(&c, k, n);
  }
  return c;
}
static void end_choice(Choice *c) {
  if (c->groups) az_give(c->groups);
}

/* n numbers from k on, with another where they do not count. */
INLINE Vec counted(const Choice *c, const float *x, int64_t k, int64_t n, float otherwise) {
  Vec v = get(x + k, n);
  return c->wanted ? v_where_at_least(get(c->wanted + k, n), v_all(c->limit), v, v_all(otherwise)) : v;
}

/* e^(x − most) of them, zeros elsewhere. */
INLINE Vec counted_weights(const Choice *c, const float *x, int64_t k, int64_t n, float most) {
  Vec w = weights(x + k, n, most);
  return c->wanted ? v_where_at_least(get(c->wanted + k, n), v_all(c->limit), w, v_zero()) : w;
}

static float greatest_counted(const Choice *c, const float *x) {
  if (!c->wanted) return greatest(x, c->width);
  float most = LOWEST;
  FOR_COUNTED(k, n, c)
    for (int64_t i = k; i < k + n; i++)
      if (c->wanted[i] >= c->limit && !(x[i] <= most)) most = x[i];
  return most;
}

/* The distribution softmax(x) over what counts: its mode and Σ e^(x − most). */
typedef struct {
  float most, total;
} Mass;

/* With Σ softmax(x)·t, which is 0 where nothing counts. */
static Mass mass_of(const Choice *c, const float *x, const float *t, float *mean) {
  float most = greatest_counted(c, x);
  Vec sum = v_zero(), moved = v_zero();
  FOR_COUNTED(k, n, c) {
    Vec w = counted_weights(c, x, k, n, most);
    sum = v_add(sum, w);
    if (t) moved = v_fma(w, counted(c, t, k, n, 0), moved);
  }
  float total = v_sum(sum);
  if (t) *mean = total == 0 ? 0 : v_sum(moved) / total;
  return (Mass){most, total};
}

INLINE void put(float *to, int64_t n, Vec v) {
  if (n == LANES) v_store(to, v);
  else v_store_first(to, n, v);
}

static void derivative_task(void *arg, size_t row) {
  const Job *job = arg;
  int64_t at = (int64_t)row * job->width;
  const float *t = job->other + at;
  Choice all = choice_of(job, at);
  float mean;
  mass_of(&all, job->x + at, t, &mean);
  FOR_LANES(k, n, 0, job->width) put(job->y + at + k, n, v_sub(get(t + k, n), v_all(mean)));
}

/* x [N, V], tx [N, V] → tx − Σ softmax(x)·tx: the tangent of ln softmax(x). */
static void run_derivative(Ctx *c) {
  Job job = {.x = c->in[0].data, .other = c->in[1].data, .width = c->in[0].dim[1]};
  job.y = OUT(c, 0, c->in[0].dim[0], job.width);
  az_par(c, (size_t)c->in[0].dim[0], derivative_task, &job);
}

/* Σ e^(x − most) of the blocks of a row, those without what counts being zeros. */
typedef struct {
  float most, *totals;
} Blocks;

static Blocks take_blocks(int64_t width) {
  size_t bytes = sizeof(float) * (size_t)(ROUND_UP(width, BLOCK) / BLOCK);
  Blocks blocks = {.totals = az_take(bytes)};
  memset(blocks.totals, 0, bytes);
  return blocks;
}

/* KL(softmax a ‖ softmax b) over what counts, b's mass and a's mode being known; and the blocks of a. */
static float divergence_of(const Choice *c, const float *a, const float *b, Mass of_b, float most, Blocks *blocks) {
  blocks->most = most;
  Vec sum = v_zero(), moved = v_zero();
  int64_t block = 0;
  FOR_COUNTED(k, n, c) {
    if (k / BLOCK != block) blocks->totals[block] = v_sum(sum), sum = v_zero(), block = k / BLOCK;
    Vec w = counted_weights(c, a, k, n, most);
    Vec apart = v_sub(v_sub(counted(c, a, k, n, 0), v_all(most)), v_sub(counted(c, b, k, n, 0), v_all(of_b.most)));
    sum = v_add(sum, w);
    moved = v_fma(w, apart, moved);
  }
  blocks->totals[block] = v_sum(sum);
  double total = 0;
  for (int64_t k = 0; k * BLOCK < c->width; k++) total += (double)blocks->totals[k];
  return total == 0 ? 0 : v_sum(moved) / (float)total - (logf((float)total) - logf(of_b.total));
}

static void divergence_task(void *arg, size_t row) {
  const Job *job = arg;
  int64_t at = (int64_t)row * job->width;
  Choice all = choice_of(job, at);
  const float *b = job->other + at;
  Blocks blocks = take_blocks(job->width);
  job->y[row] = divergence_of(&all, job->x + at, b, mass_of(&all, b, NULL, NULL), greatest(job->x + at, job->width), &blocks);
  az_give(blocks.totals);
}

/* a, b [N, V] → KL(softmax a ‖ softmax b) [N, 1] */
static void run_divergence(Ctx *c) {
  Job job = {.x = c->in[0].data, .other = c->in[1].data, .width = c->in[0].dim[1]};
  job.y = OUT(c, 0, c->in[0].dim[0], 1);
  az_par(c, (size_t)c->in[0].dim[0], divergence_task, &job);
}

/* The first id whose cumulative probability exceeds u. */
static int64_t draw(const float *x, int64_t width, float u, Blocks blocks) {
  double sum = 0, below = 0;
  for (int64_t k = 0; k * BLOCK < width; k++) sum += (double)blocks.totals[k];
  double wanted = (double)u * sum;
  int64_t found = 0;
  for (int64_t k = 0; k < width; k += BLOCK) {
    int64_t end = MIN(k + BLOCK, width);
    double here = (double)blocks.totals[k / BLOCK];
    if (!(below + here > wanted)) {
      below += here;
      continue;
    }
    /* The last id of any weight stands where rounding leaves the sum of the block short. */
    for (int64_t first = k; first < end; first += LANES) {
      float lanes[LANES] ALIGNED;
      v_store(lanes, weights(x + first, MIN(LANES, end - first), blocks.most));
      for (int64_t i = 0; i < MIN(LANES, end - first); i++) {
        if (!(lanes[i] > 0)) continue;
        below += (double)lanes[i];
        found = first + i;
        if (below > wanted) return found;
      }
    }
    break;
  }
  return found;
}

/* y = a + factor·(t − mean) where it counts, a elsewhere, which is less than any that counts. Returns the greatest. */
static float tilt_row(const Choice *c, const float *a, const float *t, float factor, float mean, float *y) {
  Vec top = v_all(LOWEST);
  int64_t whole = c->width;
  if (c->wanted) memcpy(y, a, sizeof(float) * (size_t)c->width);
  FOR_COUNTED(k, n, c) {
    Vec before = get(a + k, n), after = v_add(before, v_mul(v_all(factor), v_sub(get(t + k, n), v_all(mean))));
    if (c->wanted) after = v_where_at_least(before, v_all(c->limit), after, before);
    put(y + k, n, after);
    if (n < LANES) whole = k;
    else top = v_max(top, after);
  }
  return greatest_of(top, y + whole, c->width - whole);
}

/* A row at a time: it is still in the cache when its divergence is measured, and when a token is drawn. */
static void tilt_task(void *arg, size_t row) {
  const Job *job = arg;
  int64_t at = (int64_t)row * job->width;
  Choice choice = choice_of(job, at);
  const float *a = job->x + at, *t = job->other + at;
  float mean, *own = job->y ? NULL : az_take(sizeof(float) * (size_t)job->width), *y = own ? own : job->y + at;
  Mass mass = mass_of(&choice, a, t, &mean);
  const float most = tilt_row(&choice, a, t, job->factor[row], mean, y);
  job->mean[row] = mean;
  Blocks blocks = take_blocks(job->width);
  job->divergence[row] = divergence_of(&choice, y, a, mass, most, &blocks);
  if (job->drawn) job->drawn[row] = draw(y, job->width, job->uniforms[row], blocks);
  az_give(blocks.totals);
  if (own) az_give(own);
  end_choice(&choice);
}

/*
 * a [N, V], t [N, V], factor λ [N, 1], u [N, 1]? → b = a + λ·(t − mean) [N, V]?, mean = Σ softmax(a)·t [N, 1], KL(softmax b ‖ softmax a) [N, 1] and, with u,
 * a draw from softmax b [N]. With attribute `cut` only numbers with a of at least attribute `limit` count, and t is read there alone.
 */
static void run_tilt(Ctx *c) {
  Job job = {.x = c->in[0].data, .other = c->in[1].data, .factor = c->in[2].data, .uniforms = c->in[3].data, .width = c->in[0].dim[1], .limit = c->f[0]};
  int64_t rows = c->in[0].dim[0];
  if (c->i[0]) job.wanted = job.x;
  job.y = OUT(c, 0, rows, job.width);
  job.mean = OUT(c, 1, rows, 1);
  job.divergence = OUT(c, 2, rows, 1);
  if (job.uniforms) job.drawn = OUT(c, 3, rows);
  az_par(c, (size_t)rows, tilt_task, &job);
}

/* Each row is still in the cache when it is cut. */
static void min_p_task(void *arg, size_t row) {
  const Job *job = arg;
  int64_t at = (int64_t)row * job->width;
  const float *x = job->x + at;
  Vec least = v_all(greatest(x, job->width) + job->factor[row]), out = v_all(LOWEST);
  FOR_LANES(k, n, 0, job->width) {
    Vec v = get(x + k, n);
    put(job->y + at + k, n, v_where_below(v, least, out, v));
  }
}

/* x [N, V], distance [N, 1] → LOWEST where x is less than max x + distance, x elsewhere: what is no number stays */
static void run_min_p(Ctx *c) {
  Job job = {.x = c->in[0].data, .factor = c->in[1].data, .width = c->in[0].dim[1]};
  job.y = OUT(c, 0, c->in[0].dim[0], job.width);
  az_par(c, (size_t)c->in[0].dim[0], min_p_task, &job);
}

static void draw_task(void *arg, size_t row) {
  const Job *job = arg;
  const float *x = job->x + (int64_t)row * job->width;
  Blocks blocks = take_blocks(job->width);
  blocks.most = greatest(x, job->width);
  for (int64_t k = 0; k < job->width; k += BLOCK) blocks.totals[k / BLOCK] = total(x, k, MIN(k + BLOCK, job->width), blocks.most);
  job->drawn[row] = draw(x, job->width, job->uniforms[row], blocks);
  az_give(blocks.totals);
}

/* x [N, V], u [N, 1] in 0 ≤ u < 1 → the first id whose cumulative probability exceeds u [N] */
static void run_draw(Ctx *c) {
  Job job = {.x = c->in[0].data, .uniforms = c->in[1].data, .width = c->in[0].dim[1]};
  job.drawn = OUT(c, 0, c->in[0].dim[0]);
  az_par(c, (size_t)c->in[0].dim[0], draw_task, &job);
}

static void argmax_task(void *arg, size_t row) {
  const Job *job = arg;
  const float *x = job->x + (int64_t)row * job->width, most = greatest(x, job->width);
  int64_t found = 0;
  while (found < job->width && x[found] != most) found++;
  job->drawn[row] = found < job->width ? found : 0;
}

/* x [N, V] → id of the greatest, the first of equals [N] */
static void run_argmax(Ctx *c) {
  Job job = {.x = c->in[0].data, .width = c->in[0].dim[1]};
  job.drawn = OUT(c, 0, c->in[0].dim[0]);
  az_par(c, (size_t)c->in[0].dim[0], argmax_task, &job);
}

const Op EACH(az_float_vocabulary_ops)[] = {
    {"FloatLogprob", run_logprob, "fl", "f", .level = LEVEL_PORTABLE},
    {"FloatLogprobTangent", run_derivative, "ff", "f", .level = LEVEL_PORTABLE},
    {"FloatTilt", run_tilt, "ffff?", "f?ffl?", .ints = {"cut"}, .floats = {"limit"}, .level = LEVEL_PORTABLE},
    {"FloatMinP", run_min_p, "ff", "f", .level = LEVEL_PORTABLE},
    {"FloatDivergence", run_divergence, "ff", "f", .level = LEVEL_PORTABLE},
    {"FloatDraw", run_draw, "ff", "l", .level = LEVEL_PORTABLE},
    {"FloatArgmax", run_argmax, "f", "l", .level = LEVEL_PORTABLE},
    {0},
};
