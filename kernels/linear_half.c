/*
 * Linear layers in bfloat16. A weight [O, I] float32 is packed once a step into two operands: `forward` for y = x·Wᵀ and
 * `backward` for dx = dy·W. Several weights with the same input are packed as one: stacked (rows of each padded to 32, so that
 * each one's columns of the result are a matrix of their own), or two interleaved by 16 rows (gate and up of a gated MLP).
 */
#include "gemm.h"

enum { STACKED, INTERLEAVED, MAX_WEIGHTS = 16 };

/* Rows of the packed whole, and where each 16 of them lie; returns their number. */
static long padded_rows(const int64_t *rows, int n, int mode) {
  long total = 0;
  for (int w = 0; w < n; w++) total += ROUND_UP(rows[w], 32);
  return total;
}

static void row_tiles(RowTile *tiles, float *const *data, const int64_t *rows, int n, long width, int mode) {
  long at = 0;
  if (mode == INTERLEAVED) {
    for (long t = 0; t < ROUND_UP(rows[0], 32) / 16; t++)
      for (int w = 0; w < n; w++) {
        long left = rows[w] - 16 * t;
        tiles[at++] = (RowTile){data[w] + 16 * t * width, (int)MAX(0, MIN(16, left))};
      }
  } else
    for (int w = 0; w < n; w++)
      for (long t = 0; t < ROUND_UP(rows[w], 32) / 16; t++) {
        long left = rows[w] - 16 * t;
        tiles[at++] = (RowTile){data[w] + 16 * t * width, (int)MAX(0, MIN(16, left))};
      }
}

/* --- packing */

typedef struct {
  const RowTile *tiles;
  long rows, width; /* rows padded, width as it is */
  bf16 *forward, *backward;
} Pack;

/* 16 rows × 32 columns of a weight as bfloat16; what does not exist is zeros. */
static inline void load_weight(const RowTile *tile, long width, long k, bf16 *to) {
  const long left = width - k;
  const int64_t lo = v_first(left), hi = v_first(left - 16);
  for (int r = 0; r < 16; r++) {
    const float *p = tile->data + r * width + k;
    Bits row = r >= tile->rows ? b_zero()
               : left >= 32    ? v_narrow2(v_load(p), v_load(p + 16))
                               : v_narrow2(v_load_first(p, lo), v_load_first(p + 16, hi));
    b_store((to + 32 * r), row);
  }
}

/* 32 rows lie in as many pages: no processor sees by itself what will be wanted. */
static inline void expect_weight(const RowTile *tile, long width, long k) {
  for (int r = 0; r < 16; r++) {
    PREFETCH(tile->data + r * width + k);
    PREFETCH(tile->data + r * width + k + 16);
  }
}

/* Operands are written past the cache: they are read much later, after all the other ones have been written. */
static void pack_task(void *arg, size_t index) {
  const Pack *job = arg;
  const long steps = (job->width + 31) / 32, row_steps = job->rows / 32, i = (long)index;
  const RowTile *tile = job->tiles + 2 * i, *next = i + 1 < row_steps ? tile + 2 : tile;
  bf16 block[1024] ALIGNED;
  for (long k = 0; k < steps; k++) {
    for (int h = 0; h < 2; h++) {
      expect_weight(next + h, job->width, 32 * k);
      load_weight(tile + h, job->width, 32 * k, block + 512 * h);
    }
    if (job->forward)
      for (int h = 0; h < 2; h++) {
        Bits r[16];
        for (int u = 0; u < 16; u++) r[u] = b_load(block + 512 * h + 32 * u);
        v_transpose(r);
        tile_put_past_cache(job->forward + ((2 * i + h) * steps + k) * TILE, r);
      }
    if (job->backward) {
      Bits left[16], right[16];
      interleave_rows(block, 32, 32, left, right);
      bf16 *to = job->backward + (2 * k * row_steps + i) * TILE;
      tile_put_past_cache(to, left);
      tile_put_past_cache(to + row_steps * TILE, right);
    }
  }
  v_fence();
}

/* mode; weights [O_i, I] → forward [ΣO_i/16, I/32, 512], backward [I/16, ΣO_i/32, 512], extents padded */
static void run_pack(Ctx *c) {
  const int n = c->num_inputs, mode = (int)c->i[0];
  int64_t rows[MAX_WEIGHTS];
  float *data[MAX_WEIGHTS];
  if (n > MAX_WEIGHTS) az_fail(c, "too many weights");
  for (int w = 0; w < n; w++) {
    rows[w] = c->in[w].dim[0];
    data[w] = c->in[w].data;
  }
  const long width = c->in[0].dim[1], total = padded_rows(rows, n, mode), steps = (width + 31) / 32;
  Pack job = {.rows = total, .width = width};
  job.forward = OUT(c, 0, total / 16, steps, TILE);
  job.backward = OUT(c, 1, 2 * steps, total / 32, TILE);
  RowTile *tiles = az_take((size_t)(total / 16) * sizeof *tiles);
  row_tiles(tiles, data, rows, n, width, mode);
  job.tiles = tiles;
  az_par(c, (size_t)(total / 32), pack_task, &job);
  az_give(tiles);
}

/* --- products */

/*
 * Attributes of every product: rows; offset and stride of x; columns of the result that exist; offset and stride of x2. x bfloat16
 * [rows, stride], packed weight [n, k, 512]. The last two inputs, where given, are x2 and w2 of a product that is added: adapters.
 */
enum { ROWS, OFFSET, STRIDE, COLUMNS, OFFSET2, STRIDE2 };

typedef struct {
  const bf16 *x, *w;
  long rows, stride, n, steps;
} Operands;

static Operands operands(Ctx *c) {
  return (Operands){(const bf16 *)c->in[0].data + c->i[OFFSET], c->in[1].data, c->i[ROWS],          c->i[STRIDE],
                    c->in[1].dim[0] * 16,                       c->in[1].dim[1]};
}

/* `second`: index of x2. */
static void product(Ctx *c, Operands o, int second, Finish f) {
  Added added = {0};
  if (second + 1 < c->num_inputs && c->in[second].data)
    added = (Added){(const bf16 *)c->in[second].data + c->i[OFFSET2], c->i[STRIDE2], c->in[second + 1].data, c->in[second + 1].dim[1]};
  half_product(c, o.x, o.stride, o.w, o.rows, o.n, o.steps, added, f);
}

static const float *optional(Ctx *c, int index) { return index < c->num_inputs ? c->in[index].data : NULL; }

/* x, w, residual? [rows, columns], bias? [columns], x2?, w2?; alpha → bfloat16 [rows, n] */
static void run_linear_half(Ctx *c) {
  Operands o = operands(c);
  Finish f = {TO_HALF, .stride = o.n, .columns = c->i[COLUMNS], .alpha = c->f[0], .past_cache = o.rows * o.n * 2 > PAST_CACHE};
  f.residual = optional(c, 2);
  f.bias = optional(c, 3);
  f.y = OUT(c, 0, o.rows, o.n);
  product(c, o, 4, f);
}

/* the same → float32 [rows, columns] */
static void run_linear_float(Ctx *c) {
  Operands o = operands(c);
  Finish f = {TO_FLOAT, .stride = c->i[COLUMNS], .columns = c->i[COLUMNS], .alpha = c->f[0]};
  f.residual = optional(c, 2);
  f.bias = optional(c, 3);
  f.past_cache = o.rows * f.columns * 4 > PAST_CACHE && f.columns % 16 == 0;
  f.y = OUT(c, 0, o.rows, f.columns);
  if ((uintptr_t)f.y % 64) f.past_cache = 0;
  product(c, o, 4, f);
}

/* x, interleaved w, x2?, w2? → gate and up [rows, n], silu(gate)·up [rows, n/2] */
static void run_linear_swiglu(Ctx *c) {
  Operands o = operands(c);
  Finish f = {TO_SWIGLU, .stride = o.n, .columns = o.n, .stride2 = o.n / 2, .past_cache = o.rows * o.n * 2 > PAST_CACHE};
  f.y = OUT(c, 0, o.rows, o.n);
  f.y2 = OUT(c, 1, o.rows, o.n / 2);
  if (!f.y || !f.y2) az_fail(c, "both outputs are needed");
  product(c, o, 2, f);
}

/* dz, backward operand of the down projection, gate and up, x2?, w2? → their gradients, interleaved [rows, 2n] */
static void run_linear_swiglu_gradient(Ctx *c) {
  Operands o = operands(c);
  Finish f = {TO_SWIGLU_GRAD, .stride = 2 * o.n, .columns = o.n, .gate_up = c->in[2].data,
              .past_cache = o.rows * o.n * 4 > PAST_CACHE};
  f.y = OUT(c, 0, o.rows, 2 * o.n);
  product(c, o, 3, f);
}

/* --- weight gradients: dW = dyᵀ·x, as rows of each weight */

/*
 * A task takes this many pieces of 32 rows of the weights, and of columns what the second-level cache holds of x, or this many if that
 * is few. Tasks of the same columns follow each other.
 */
enum { GRADIENT_PIECES = 8, FEWEST_COLUMNS = 8 };

typedef struct {
  const bf16 *dy, *x; /* packed: tiles of the transposed dy, spread(steps) apart, and of x */
  long rows, steps, n_pieces, column_pieces, row_tasks;
  Finish finish;
} Gradient;

static void gradient_task(void *arg, size_t index) {
  const Gradient *job = arg;
  const long first = (long)index % job->row_tasks * GRADIENT_PIECES;
  const long group = (long)index / job->row_tasks, column = group * job->column_pieces, tile = spread(job->steps) * TILE;
  Finish finish = job->finish; /* with sums of its own: tasks of other columns have the same rows */
  if (finish.squares) finish.squares += group * job->rows * 16;
  const Block block = {.a = job->dy + 2 * first * tile, .a_tile = tile, .a_row = 64, .a_step = TILE, .b = job->x + 2 * column * tile,
                       .b_tile = tile, .m_pieces = MIN(GRADIENT_PIECES, job->rows / 32 - first),
                       .n_pieces = MIN(job->column_pieces, job->n_pieces - column), .steps = job->steps, .row = first * 32,
                       .column = column * 32, .last_rows = 32};
  tiles_begin();
  half_block(&block, &finish);
  tiles_end();
  v_fence();
}

/*
 * tokens, mode, offset and stride of dy, offset and stride and width of x, rows of each weight;
 * alpha; dy [tokens, …], x [tokens, …] → sum of the squares of all that follows [], dW_i = alpha·dyᵀ·x [O_i, I] float32
 */
enum { G_TOKENS, G_MODE, G_DY_OFFSET, G_DY_STRIDE, G_X_OFFSET, G_X_STRIDE, G_WIDTH, G_ROWS };

static void run_weight_gradient(Ctx *c) {
  const int n = c->num_outputs - 1, mode = (int)c->i[G_MODE];
  const long tokens = c->i[G_TOKENS], width = c->i[G_WIDTH];
  const bf16 *dy = (const bf16 *)c->in[0].data + c->i[G_DY_OFFSET];
  const bf16 *x = (const bf16 *)c->in[1].data + c->i[G_X_OFFSET];
  float *data[MAX_WEIGHTS];
  int is_aligned = width % 16 == 0;
  if (n > MAX_WEIGHTS) az_fail(c, "too many weights");
  for (int w = 0; w < n; w++) {
    data[w] = OUT(c, 1 + w, c->i[G_ROWS + w], width);
    is_aligned &= (uintptr_t)data[w] % 64 == 0;
  }
  const long total = padded_rows(c->i + G_ROWS, n, mode);
  const long steps = (tokens + 31) / 32, n_pieces = (width + 31) / 32;
  const long fitting = MAX(FEWEST_COLUMNS, RIGHT_BYTES / (steps * 2048));
  const long groups = (n_pieces + fitting - 1) / fitting;
  Gradient job = {.rows = total, .steps = steps, .n_pieces = n_pieces};
  job.column_pieces = (n_pieces + groups - 1) / groups;
  job.row_tasks = (total / 32 + GRADIENT_PIECES - 1) / GRADIENT_PIECES;
  job.finish = (Finish){TO_ROWS, .stride = width, .columns = width, .alpha = c->f[0],
                        .past_cache = is_aligned && total * width * 4 > PAST_CACHE_GRADIENT};
  RowTile *tiles = az_take((size_t)(total / 16) * sizeof *tiles);
  bf16 *dy_packed = az_take((size_t)((total / 16 + 2 * n_pieces) * spread(steps)) * TILE * sizeof *dy_packed);
  bf16 *x_packed = dy_packed + total / 16 * spread(steps) * TILE;
  row_tiles(tiles, data, c->i + G_ROWS, n, width, mode);
  job.finish.row_tiles = tiles;
  job.dy = dy_packed;
  job.x = x_packed;
  const long column_tasks = (n_pieces + job.column_pieces - 1) / job.column_pieces;
  float *squares = az_out(c, 0, 0, NULL);
  if (squares) {
    job.finish.squares = az_take((size_t)(column_tasks * total) * 64);
    memset(job.finish.squares, 0, (size_t)(column_tasks * total) * 64);
  }
  half_pack_right(c, x, c->i[G_X_STRIDE], tokens, width, x_packed);
  half_pack_left(c, dy, c->i[G_DY_STRIDE], tokens, total, dy_packed);
  az_par(c, (size_t)(job.row_tasks * column_tasks), gradient_task, &job);
  if (squares) {
    double sum = 0;
    for (long r = 0; r < column_tasks * total; r++) sum += (double)v_sum(v_load(job.finish.squares + r * 16));
    *squares = (float)sum;
    az_give(job.finish.squares);
  }
  az_give(dy_packed);
  az_give(tiles);
}

#define PRODUCT_INTS {"rows", "offset", "stride", "columns", "offset2", "stride2"}
const Op EACH(az_linear_ops)[] = {
    {"Pack", run_pack, "f*", "b?b?", {"mode"}, .level = LEVEL_PORTABLE},
    {"LinearHalf", run_linear_half, "bbf?f?b?b?", "b", PRODUCT_INTS, {"alpha"}, .level = LEVEL_PORTABLE},
    {"LinearFloat", run_linear_float, "bbf?f?b?b?", "f", PRODUCT_INTS, {"alpha"}, .level = LEVEL_PORTABLE},
    {"LinearSwiglu", run_linear_swiglu, "bbb?b?", "bb", PRODUCT_INTS, .level = LEVEL_PORTABLE},
    {"LinearSwigluGradient", run_linear_swiglu_gradient, "bbbb?b?", "b", PRODUCT_INTS, .level = LEVEL_PORTABLE},
    {"WeightGradient", run_weight_gradient, "bb", "f?f*",
     {"tokens", "mode", "dyOffset", "dyStride", "xOffset", "xStride", "width", "rows0", "rows1", "rows2", "rows3", "rows4",
      "rows5", "rows6", "rows7", "rows8", "rows9"}, {"alpha"}, .level = LEVEL_PORTABLE},
    {0},
};
