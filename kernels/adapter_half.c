/*
 * Low-rank adapters of linear layers that share their input: y_i = x·W_iᵀ + s·(x·A_iᵀ)·B_iᵀ. The layers of a group are computed as
 * one. A is all A_i one under the other, [R, I] with R = Σ ranks; B is all s·B_i block by block, [ΣO, R], rows in the order of the
 * packed weights (linear_half.c) and zeros where a layer meets ranks of others. So h = x·Aᵀ and h·Bᵀ are plain products, the second of
 * them added to x·Wᵀ; on the way back dh = dy·B and dx = dy·W + dh·A.
 */
#include "gemm.h"

enum { STACKED, INTERLEAVED, MAX_LAYERS = 8 };

/* Attributes of both ops end with rows (outputs), rank and scale of each layer; rank 0: it has no adapter. */
#define SCALES {"scale0", "scale1", "scale2", "scale3", "scale4", "scale5", "scale6", "scale7"}
#define LAYER_INTS                                                                                                             \
  "rows0", "rows1", "rows2", "rows3", "rows4", "rows5", "rows6", "rows7", "rank0", "rank1", "rank2", "rank3", "rank4", "rank5", \
      "rank6", "rank7"

/* 16 rows of B, or 16 columns of dy. */
typedef struct {
  int layer;
  long first, rows; /* of the layer; `rows` of the 16 exist */
} Place;

typedef struct {
  const int64_t *rows, *rank;
  const float *scale;
  long first_rank[MAX_LAYERS + 1], padded_rows;
  int num, mode;
} Layers;

static Layers layers_of(Ctx *c, int first_int, int mode) {
  Layers l = {.rows = c->i + first_int, .rank = c->i + first_int + MAX_LAYERS, .scale = c->f, .mode = mode};
  while (l.num < MAX_LAYERS && l.rows[l.num]) {
    l.first_rank[l.num + 1] = l.first_rank[l.num] + l.rank[l.num];
    l.padded_rows += ROUND_UP(l.rows[l.num], 32);
    l.num++;
  }
  return l;
}

static Place place_of(const Layers *l, long tile) {
  Place p = {.first = 16 * tile};
  if (l->mode == INTERLEAVED) {
    p.layer = (int)(tile % l->num);
    p.first = tile / l->num * 16;
  } else
    while (p.layer + 1 < l->num && p.first >= ROUND_UP(l->rows[p.layer], 32)) p.first -= ROUND_UP(l->rows[p.layer++], 32);
  p.rows = MAX(0, MIN(16, l->rows[p.layer] - p.first));
  return p;
}

/* --- packing */

typedef struct {
  Layers layers;
  const float *a[MAX_LAYERS], *b[MAX_LAYERS];
  long width, ranks; /* I and R as they are */
  bf16 *a_forward, *a_backward, *b_forward, *b_backward;
} PackJob;

static void narrow_row(bf16 *to, const float *from, long n, float scale) {
  for (long k = 0; k < n; k += 16)
    v_store_half_first(to + k, v_first(n - k), v_mul(v_all(scale), v_load_first(from + k, v_first(n - k))));
}

/* 32 rows [32, 32·steps] as tiles of both operands; they are block `index` of `blocks`. */
static void put_block(const bf16 *rows, long steps, long index, long blocks, bf16 *forward, bf16 *backward) {
  for (long k = 0; k < steps; k++) {
    const bf16 *x = rows + 32 * k;
    if (forward)
      for (int h = 0; h < 2; h++) tile_right_transposed(x + 16 * h * 32 * steps, 32 * steps, forward + ((2 * index + h) * steps + k) * TILE);
    if (backward)
      tile_right(x, 32 * steps, 32, backward + (2 * k * blocks + index) * TILE, backward + ((2 * k + 1) * blocks + index) * TILE);
  }
}

/* Blocks of 32 rows: those of A, then those of B. */
static void pack_task(void *arg, size_t index) {
  const PackJob *job = arg;
  const Layers *l = &job->layers;
  const long steps = (job->width + 31) / 32, rank_steps = (job->ranks + 31) / 32, of_b = (long)index - rank_steps;
  const long block_steps = of_b < 0 ? steps : rank_steps;
  bf16 *rows = az_take((size_t)(1024 * block_steps) * sizeof *rows);
  memset(rows, 0, (size_t)(1024 * block_steps) * sizeof *rows);
  if (of_b < 0) {
    for (int i = 0; i < l->num; i++)
      for (long r = 0; r < l->rank[i]; r++) {
        const long row = l->first_rank[i] + r - 32 * (long)index;
        if (row >= 0 && row < 32) narrow_row(rows + row * 32 * steps, job->a[i] + r * job->width, job->width, 1);
      }
    put_block(rows, steps, (long)index, rank_steps, job->a_forward, job->a_backward);
  } else {
    for (int h = 0; h < 2; h++) {
      const Place p = place_of(l, 2 * of_b + h);
      const long rank = l->rank[p.layer];
      for (long r = 0; r < p.rows && rank; r++)
        narrow_row(rows + (16 * h + r) * 32 * rank_steps + l->first_rank[p.layer], job->b[p.layer] + (p.first + r) * rank, rank,
                   l->scale[p.layer]);
    }
    put_block(rows, rank_steps, of_b, l->padded_rows / 32, job->b_forward, job->b_backward);
  }
  az_give(rows);
}

/* mode; A_i [R_i, I] of layers that have one, then B_i [O_i, R_i] → both operands of A, both of B */
static void run_pack_adapters(Ctx *c) {
  PackJob job = {.layers = layers_of(c, 1, (int)c->i[0])};
  const Layers *l = &job.layers;
  int n = 0, num_adapters = c->num_inputs / 2;
  for (int i = 0; i < l->num; i++) {
    if (!l->rank[i]) continue;
    if (n >= num_adapters) az_fail(c, "fewer adapters than ranks");
    job.a[i] = c->in[n].data;
    job.b[i] = c->in[num_adapters + n++].data;
  }
  job.width = c->in[0].dim[1];
  job.ranks = l->first_rank[l->num];
  const long steps = (job.width + 31) / 32, rank_steps = (job.ranks + 31) / 32;
  job.a_forward = OUT(c, 0, 2 * rank_steps, steps, TILE);
  job.a_backward = OUT(c, 1, 2 * steps, rank_steps, TILE);
  job.b_forward = OUT(c, 2, l->padded_rows / 16, rank_steps, TILE);
  job.b_backward = OUT(c, 3, 2 * rank_steps, l->padded_rows / 32, TILE);
  az_par(c, (size_t)(rank_steps + l->padded_rows / 32), pack_task, &job);
}

/* --- gradients: (h or dh)ᵀ · (dy or x), where the left has few columns: the right is read once, as it lies */

/* A task takes runs of rows that memory delivers well; what it packs of them stays in the second-level cache. */
enum { PIECES = 16, CHUNK = 4 };

typedef struct {
  Layers layers;
  const bf16 *right, *left; /* left: tiles, transposed, [rows of the product / 16][steps] */
  long stride, tokens, width, steps, m_pieces, pieces; /* pieces: of a task, of 32 columns */
  long first;                                          /* the rank that row 0 of the product is */
  int is_b;
  float *out[MAX_LAYERS];
} Gradient;

/* Rows m…m+31 of the product, columns from n on. */
static void put_a(const Gradient *job, const float *sums, long m, long n) {
  const Layers *l = &job->layers;
  for (int i = 0; i < l->num; i++)
    for (long r = 0; r < l->rank[i]; r++) {
      const long row = l->first_rank[i] + r - job->first - m;
      if (row < 0 || row >= 32) continue;
      for (long k = 0; k < 32; k += 16)
        v_store_first(job->out[i] + r * job->width + n + k, v_first(job->width - n - k), v_load(sums + row * 32 + k));
    }
}

static void put_b(const Gradient *job, const float *sums, long m, long n) {
  const Layers *l = &job->layers;
  for (int h = 0; h < 2; h++) {
    const Place p = place_of(l, n / 16 + h);
    const long rank = l->rank[p.layer];
    for (int q = 0; q < 2 && rank; q++) {
      /* Lane k is rank `at` + k of the layer. */
      const long at = job->first + m + 16 * q - l->first_rank[p.layer];
      const int64_t from = MAX(0, -at), to = v_first(rank - at);
      if (from >= to) continue;
      Bits r[16];
      for (int k = 0; k < 16; k++) r[k] = b_load(sums + (16 * q + k) * 32 + 16 * h);
      v_transpose(r);
      const Vec scale = v_all(l->scale[p.layer]);
      for (long k = 0; k < p.rows; k++) {
        float lanes[LANES] ALIGNED;
        v_store(lanes, v_mul(scale, v_floats(r[k])));
        memcpy(job->out[p.layer] + (p.first + k) * rank + at + from, lanes + from, sizeof(float) * (size_t)(to - from));
      }
    }
  }
}

static void gradient_task(void *arg, size_t index) {
  const Gradient *job = arg;
  const long first = (long)index * job->pieces, num = MIN(job->pieces, (job->width + 31) / 32 - first);
  const long pieces = num * job->m_pieces;
  bf16 *panels = az_take(PIECES * 2 * CHUNK * TILE * sizeof *panels);
  float *sums = az_take((size_t)pieces * 4096);
  memset(sums, 0, (size_t)pieces * 4096);
  tiles_begin();
  for (long begin = 0; begin < job->steps; begin += CHUNK) {
    const long steps = MIN(CHUNK, job->steps - begin);
    for (long t = 0; t < steps; t++) {
      const bf16 *x = job->right + (begin + t) * 32 * job->stride + first * 32;
      const int rows = (int)MIN(32, job->tokens - (begin + t) * 32);
      for (int r = 0; r < 32; r++)
        for (long j = 0; j < num; j++) PREFETCH_L2(x + (64 + r) * job->stride + 32 * j);
      for (long j = 0; j < num; j++)
        tile_right(x + 32 * j, job->stride, rows, panels + (2 * j * CHUNK + t) * TILE, panels + ((2 * j + 1) * CHUNK + t) * TILE);
    }
    for (long j = 0; j < num; j++)
      for (long m = 0; m < job->m_pieces; m++) {
        const bf16 *a = job->left + (2 * m * job->steps + begin) * TILE, *b = panels + 2 * j * CHUNK * TILE;
        float *sum = sums + (j * job->m_pieces + m) * 1024;
        piece_load(sum, 32);
        piece_product(a, a + job->steps * TILE, 64, TILE, b, b + CHUNK * TILE, steps);
        piece_store(sum, 32);
      }
  }
  tiles_end();
  for (long j = 0; j < num; j++)
    for (long m = 0; m < job->m_pieces; m++)
      (job->is_b ? put_b : put_a)(job, sums + (j * job->m_pieces + m) * 1024, 32 * m, 32 * (first + j));
  az_give(sums);
  az_give(panels);
}

/*
 * tokens, mode, is_b, offset and stride of the left, offset and stride of the right, width, layers;
 * left bfloat16 [tokens, …]: columns of ranks, those of layer 0 from the offset on; right bfloat16 [tokens, …]
 * is_b = 0: left dh, right x → dA_i = dh_iᵀ·x [R_i, I]; is_b = 1: left h, right dy → dB_i = s·dy_iᵀ·h_i [O_i, R_i]
 */
enum { G_TOKENS, G_MODE, G_IS_B, G_LEFT_OFFSET, G_LEFT_STRIDE, G_OFFSET, G_STRIDE, G_WIDTH, G_LAYERS };

static void run_adapter_gradient(Ctx *c) {
  Gradient job = {.layers = layers_of(c, G_LAYERS, (int)c->i[G_MODE]), .is_b = (int)c->i[G_IS_B], .tokens = c->i[G_TOKENS],
                  .right = (const bf16 *)c->in[1].data + c->i[G_OFFSET], .stride = c->i[G_STRIDE]};
  const Layers *l = &job.layers;
  job.width = job.is_b ? l->padded_rows : c->i[G_WIDTH];
  job.steps = (job.tokens + 31) / 32;
  for (int i = 0, n = 0; i < l->num; i++)
    if (l->rank[i])
      job.out[i] = job.is_b ? OUT(c, n++, l->rows[i], l->rank[i]) : OUT(c, n++, l->rank[i], job.width);
  /* Whole pieces: ranks of others before and behind are computed along and dropped. */
  const long offset = c->i[G_LEFT_OFFSET], begin = offset / 32 * 32;
  job.first = begin - offset;
  job.m_pieces = (offset + l->first_rank[l->num] - begin + 31) / 32;
  bf16 *left = az_take((size_t)(2 * job.m_pieces * job.steps) * TILE * sizeof *left);
  const bf16 *from = (const bf16 *)c->in[0].data + begin;
  for (long t = 0; t < job.steps; t++)
    for (long m = 0; m < job.m_pieces; m++)
      tile_left_transposed(from + t * 32 * c->i[G_LEFT_STRIDE] + 32 * m, c->i[G_LEFT_STRIDE], (int)MIN(32, job.tokens - t * 32),
                           left + (2 * m * job.steps + t) * TILE, left + ((2 * m + 1) * job.steps + t) * TILE);
  job.left = left;
  /* Tasks in pairs, as even as they come. */
  const long pieces = (job.width + 31) / 32, pairs = (pieces + 2 * PIECES - 1) / (2 * PIECES);
  job.pieces = (pieces + 2 * pairs - 1) / (2 * pairs);
  az_par(c, (size_t)((pieces + job.pieces - 1) / job.pieces), gradient_task, &job);
  az_give(left);
}

const Op EACH(az_adapter_ops)[] = {
    {"PackAdapters", run_pack_adapters, "f*", "b?b?b?b?", {"mode", LAYER_INTS}, SCALES, .level = LEVEL_PORTABLE},
    {"AdapterGradient", run_adapter_gradient, "bb", "f*",
     {"tokens", "mode", "isB", "leftOffset", "leftStride", "offset", "stride", "width", LAYER_INTS}, SCALES, .level = LEVEL_PORTABLE},
    {0},
};
