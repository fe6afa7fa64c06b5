/*
 * The gradient of causal grouped-query attention in float32. For a block of queries (lanes) the weights p of all keys are made anew,
 * then, with dp = v·dO and δ = Σ dO∘o: ds = scale·p∘(dp − δ); dq = ds·k; dk += dsᵀ·q; dv += pᵀ·dO. A task is a row and a key/value
 * head, whose dk and dv it sums block by block: the order does not depend on threads.
 */
#include "float_attention.h"

typedef struct {
  Extents extents;
  const float *q, *k, *v, *o, *d_out;
  float *dq, *dk, *dv;
  float scale;
} Job;

/* Per task. Matrices of lanes are […, QUERIES], rows of heads [.., width] with width = D rounded up to whole vectors. */
typedef struct {
  float *p;                                  /* [T, QUERIES] */
  float *queries, *d_out, *dq;               /* [D, QUERIES] */
  float *query_rows, *d_out_rows;            /* [QUERIES, width] */
  float *dk, *dv;                            /* [T, width] */
  float ds[KEYS * QUERIES] ALIGNED, delta[QUERIES] ALIGNED, visible[QUERIES] ALIGNED, one[QUERIES] ALIGNED;
  float rest[];
} Scratch;

/* Rows of the block's queries as they are, ends filled with zeros; lanes without a query are zeros. */
static void copy_rows(const Extents *e, const Queries *q, const float *x, float *to, int64_t width) {
  memset(to, 0, sizeof(float) * (size_t)(QUERIES * width));
  for (int lane = 0; lane < q->count; lane++)
    memcpy(to + lane * width, x + query_offset(e, q, lane), sizeof(float) * (size_t)e->size);
}

/* p: scores to weights that sum to 1 over the keys a lane reads */
static void normalise(const Queries *q, Scratch *x, int64_t end) {
  for (int v = 0; v < q->vecs; v++) {
    float *s = x->p + v * LANES;
    Vec visible = v_load(x->visible + v * LANES), most = v_all(-INFINITY), sum = v_zero();
    for (int64_t j = 0; j < end; j++) {
      Vec score = v_where_below(v_all((float)j), visible, v_load(s + j * QUERIES), v_all(-INFINITY));
      v_store(s + j * QUERIES, score);
      most = v_max(most, score);
    }
    for (int64_t j = 0; j < end; j++) {
      Vec p = v_exp2(v_sub(v_load(s + j * QUERIES), most));
      sum = v_add(sum, p);
      v_store(s + j * QUERIES, p);
    }
    Vec factor = v_div(v_all(1.f), sum);
    for (int64_t j = 0; j < end; j++) v_store(s + j * QUERIES, v_mul(v_load(s + j * QUERIES), factor));
  }
}

static void set_delta(const Job *job, const Queries *q, Scratch *x) {
  for (int lane = 0; lane < QUERIES; lane++) {
    float sum = 0;
    if (lane < q->count) {
      const float *o = job->o + query_offset(&job->extents, q, lane), *d = job->d_out + query_offset(&job->extents, q, lane);
      for (int64_t i = 0; i < job->extents.size; i++) sum += o[i] * d[i];
    }
    x->delta[lane] = sum;
    x->visible[lane] = lane < q->count ? (float)(query_token(&job->extents, q, lane) + 1) : 1.f;
    x->one[lane] = 1.f;
  }
}

/* One block of queries: its dq, and what it adds to dk and dv. */
static void backward(const Job *job, const Queries *q, Scratch *x, int64_t width) {
  const Extents *e = &job->extents;
  const int64_t size = e->size, p_step = e->groups * size, at = (q->b * e->time * e->groups + q->g) * size;
  const int64_t end = query_token(e, q, q->count - 1) + 1;
  gather_queries(e, q, job->q, job->scale * LOG2_E, x->queries);
  gather_queries(e, q, job->d_out, 1.f, x->d_out);
  copy_rows(e, q, job->q, x->query_rows, width);
  copy_rows(e, q, job->d_out, x->d_out_rows, width);
  set_delta(job, q, x);
  multiply((Product){.c = x->p, .a = job->k + at, .b = x->queries, .c_row = QUERIES, .a_row = p_step, .a_step = 1,
                     .b_row = QUERIES, .rows = end, .steps = size, .parts = q->parts});
  normalise(q, x, end);
  for (int64_t key = 0; key < end; key += KEYS) {
    const int64_t n = MIN(KEYS, end - key), from = at + key * p_step;
    const float *p = x->p + key * QUERIES;
    multiply((Product){.c = x->ds, .a = job->v + from, .b = x->d_out, .c_row = QUERIES, .a_row = p_step, .a_step = 1,
                       .b_row = QUERIES, .rows = n, .steps = size, .parts = q->parts});
    for (int v = 0; v < q->vecs; v++) {
      Vec delta = v_load(x->delta + v * LANES), scale = v_all(job->scale);
      for (int64_t j = 0; j < n; j++) {
        float *ds = x->ds + j * QUERIES + v * LANES;
        v_store(ds, v_mul(v_mul(v_load(p + j * QUERIES + v * LANES), scale), v_sub(v_load(ds), delta)));
      }
    }
    multiply((Product){.c = x->dq, .a = job->k + from, .b = x->ds, .c_row = QUERIES, .a_row = 1, .a_step = p_step,
                       .b_row = QUERIES, .rows = size, .steps = n, .parts = q->parts, .is_added = key > 0});
    Product down = {.c = x->dk + key * width, .a = x->ds, .b = x->query_rows, .c_row = width, .a_row = QUERIES, .a_step = 1,
                    .b_row = width, .rows = n, .steps = q->count, .parts = width / PART, .is_added = 1};
    multiply(down);
    down.c = x->dv + key * width, down.a = p, down.b = x->d_out_rows;
    multiply(down);
  }
  if (job->dq != NULL) scatter_queries(e, q, x->dq, x->one, job->dq);
}

static void backward_task(void *arg, size_t index) {
  const Job *job = arg;
  const Extents *e = &job->extents;
  const int64_t width = ROUND_UP(e->size, LANES), time = e->time, lanes = QUERIES * e->size, blocks = num_blocks(e);
  const int64_t numbers = time * QUERIES + 3 * lanes + 2 * QUERIES * width + 2 * time * width;
  Scratch *x = az_take(sizeof *x + sizeof(float) * (size_t)numbers);
  x->p = x->rest;
  x->queries = x->p + time * QUERIES;
  x->d_out = x->queries + lanes;
  x->dq = x->d_out + lanes;
  x->query_rows = x->dq + lanes;
  x->d_out_rows = x->query_rows + QUERIES * width;
  x->dk = x->d_out_rows + QUERIES * width;
  x->dv = x->dk + time * width;
  memset(x->dk, 0, sizeof(float) * 2 * (size_t)(time * width));
  for (int64_t block = 0; block < blocks; block++) {
    Queries q = queries_of(e, (int64_t)index * blocks + block);
    backward(job, &q, x, width);
  }
  const int64_t b = (int64_t)index / e->groups, g = (int64_t)index % e->groups;
  for (int64_t t = 0; t < time; t++) {
    const int64_t to = ((b * time + t) * e->groups + g) * e->size;
    if (job->dk != NULL) memcpy(job->dk + to, x->dk + t * width, sizeof(float) * (size_t)e->size);
    if (job->dv != NULL) memcpy(job->dv + to, x->dv + t * width, sizeof(float) * (size_t)e->size);
  }
  az_give(x);
}

/* scale; q [B, T, H, D], k [B, T, K, D], v, o, do → dq, dk, dv */
static void run(Ctx *c) {
  const Tensor *q = c->in, *k = c->in + 1;
  Extents e = {q->dim[0], q->dim[1], q->dim[2], k->dim[2], q->dim[3]};
  if (e.size < 1 || e.groups < 1 || e.heads % e.groups != 0) az_fail(c, "query heads are not shared out evenly");
  Job job = {.extents = e, .q = q->data, .k = k->data, .v = c->in[2].data, .o = c->in[3].data, .d_out = c->in[4].data};
  job.scale = c->f[0];
  job.dq = az_out(c, 0, q->rank, q->dim);
  job.dk = az_out(c, 1, k->rank, k->dim);
  job.dv = az_out(c, 2, k->rank, k->dim);
  az_par(c, (size_t)(e.batch * e.groups), backward_task, &job);
}

const Op EACH(az_float_attention_backward_ops)[] = {
    {"FloatAttentionBackward", run, "fffff", "fff", {0}, {"scale"}, .level = LEVEL_PORTABLE},
    {0},
};
