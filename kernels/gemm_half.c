/* Matrix products over many rows in parallel. */
#include "gemm.h"

/*
 * A task takes this many pieces of 32 rows, and of columns what the second-level cache holds of the right operand, or this many if that
 * is few. Tasks of the same columns follow each other.
 */
enum { ROW_PIECES = 8, COLUMN_PIECES = 16, FEWEST_PIECES = 8 };

void half_block(const Block *block, const Finish *f) {
#ifdef __AMX_BF16__
  /* Vector work has to fit between the steps of the matrix unit: one function a kind. */
#define CASE(kind)                                                                                                     \
  case kind: block_product_of(kind, block, f); break;
  switch (f->kind) {
    CASE(TO_HALF)
    CASE(TO_FLOAT)
    CASE(TO_SWIGLU)
    CASE(TO_SWIGLU_GRAD)
    CASE(TO_ADDED)
    CASE(TO_ROWS)
    CASE(TO_LOGSUM)
    CASE(TO_PROBABILITY)
    CASE(TO_EXPONENTIAL)
  }
#else
  block_product_of(f->kind, block, f);
#endif
}

typedef struct {
  const bf16 *a, *b;
  long a_stride, rows, steps, n_pieces, column_pieces, row_tasks;
  Added added;
  Finish finish;
} Product;

/* Tiles read 16 whole rows: the last ones of a matrix are moved where zeros follow them. */
static void copy_padded(const bf16 *from, long stride, long rows, long width, bf16 *to) {
  for (long r = 0; r < rows; r++) memcpy(to + r * width, from + r * stride, (size_t)width * 2);
  memset(to + rows * width, 0, (size_t)((32 - rows) * width) * 2);
}

static void product_task(void *arg, size_t index) {
  const Product *job = arg;
  const Added *added = &job->added;
  const long share = (long)index % job->row_tasks, first = share * ROW_PIECES * 32;
  const long column = (long)index / job->row_tasks * job->column_pieces, next = column + job->column_pieces;
  /* The right operand of the columns that follow, divided among the tasks of these. */
  const long next_pieces = MAX(0, MIN(job->column_pieces, job->n_pieces - next));
  const long next_lines = next_pieces * job->steps * 32 / job->row_tasks;
  const long rows = MIN(job->rows - first, ROW_PIECES * 32), whole = rows / 32, rest = rows % 32;
  Block block = {.a = job->a + first * job->a_stride,
                 .a_tile = 16 * job->a_stride,
                 .a_row = job->a_stride * 2,
                 .a_step = 32,
                 .b = job->b + column * 2 * job->steps * TILE,
                 .b_tile = job->steps * TILE,
                 .m_pieces = whole,
                 .n_pieces = MIN(job->column_pieces, job->n_pieces - column),
                 .ahead = {job->b + next * 2 * job->steps * TILE + share * next_lines * 32, 64, next_lines, 0, 1},
                 .steps = job->steps,
                 .row = first,
                 .column = column * 32,
                 .last_rows = 32,
                 .a2 = added->a + first * added->stride,
                 .a2_tile = 16 * added->stride,
                 .a2_row = added->stride * 2,
                 .b2 = added->b + column * 2 * added->steps * TILE,
                 .b2_tile = added->steps * TILE,
                 .steps2 = added->steps};
  tiles_begin();
  if (whole) half_block(&block, &job->finish);
  if (rest) {
    const long begin = first + whole * 32, width = job->steps * 32, width2 = added->steps * 32;
    bf16 *padded = az_take((size_t)(32 * (width + width2)) * sizeof *padded), *padded2 = padded + 32 * width;
    copy_padded(job->a + begin * job->a_stride, job->a_stride, rest, width, padded);
    copy_padded(added->a + begin * added->stride, added->stride, rest, width2, padded2);
    block.a = padded;
    block.a_tile = 16 * width;
    block.a_row = width * 2;
    block.a2 = padded2;
    block.a2_tile = 16 * width2;
    block.a2_row = width2 * 2;
    block.m_pieces = 1;
    block.row = first + whole * 32;
    block.last_rows = (int)rest;
    half_block(&block, &job->finish);
    az_give(padded);
  }
  tiles_end();
  v_fence(); /* stores past the cache are weakly ordered */
}

void half_product(Ctx *c, const bf16 *a, long a_stride, const bf16 *b, long rows, long n, long steps, Added added,
                 Finish finish) {
  const long n_pieces = (n + 31) / 32, held = RIGHT_BYTES / (steps * 2048);
  const long fitting = held < FEWEST_PIECES ? COLUMN_PIECES : held, groups = (n_pieces + fitting - 1) / fitting;
  const long column_pieces = (n_pieces + groups - 1) / groups, row_tasks = (rows + ROW_PIECES * 32 - 1) / (ROW_PIECES * 32);
  if (added.steps == 0) added = (Added){a, 0, b, 0}; /* nothing is read there */
  Product job = {a, b, a_stride, rows, steps, n_pieces, column_pieces, row_tasks, added, finish};
  az_par(c, (size_t)(row_tasks * ((n_pieces + column_pieces - 1) / column_pieces)), product_task, &job);
}

enum { STEPS_A_TASK = 4 };

typedef struct {
  const bf16 *x;
  long stride, rows, width, steps;
  int is_left;
  bf16 *to;
} PackRows;

/* Whole rows, from their beginning to their end: the processor then fetches what follows by itself. */
static void pack_rows_task(void *arg, size_t index) {
  const PackRows *job = arg;
  const long first = (long)index * STEPS_A_TASK, apart = spread(job->steps);
  for (long t = first; t < MIN(job->steps, first + STEPS_A_TASK); t++)
    for (long j = 0; j < job->width / 32; j++) {
      const bf16 *x = job->x + t * 32 * job->stride + j * 32;
      bf16 *to0 = job->to + (2 * j * apart + t) * TILE, *to1 = to0 + apart * TILE;
      const int rows = (int)MIN(32, job->rows - t * 32);
      if (job->is_left) tile_left_transposed(x, job->stride, rows, to0, to1);
      else tile_right(x, job->stride, rows, to0, to1);
    }
}

static void pack_rows(Ctx *c, PackRows job) {
  az_par(c, (size_t)((job.steps + STEPS_A_TASK - 1) / STEPS_A_TASK), pack_rows_task, &job);
}
void half_pack_right(Ctx *c, const bf16 *x, long stride, long rows, long width, bf16 *to) {
  pack_rows(c, (PackRows){x, stride, rows, ROUND_UP(width, 32), (rows + 31) / 32, 0, to});
}
void half_pack_left(Ctx *c, const bf16 *x, long stride, long rows, long width, bf16 *to) {
  pack_rows(c, (PackRows){x, stride, rows, ROUND_UP(width, 32), (rows + 31) / 32, 1, to});
}
