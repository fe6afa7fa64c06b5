/*
 * Blocked matrix product on tiles with the work on its result fused in. A block of the result is computed in pieces of 32 × 32;
 * what is to be done with a finished piece (its `Finish`) runs a few rows at a time between the steps of the next piece, so that
 * vector work and memory accesses overlap with the matrix unit.
 *
 * The order of additions along k depends on k alone: a row's result has the same bits whatever rows stand beside it.
 */
#ifndef AZ_GEMM_H
#define AZ_GEMM_H
#include "tile.h"

typedef enum {
  TO_HALF,        /* y bfloat16 = alpha·v (+ bias) (+ residual) */
  TO_FLOAT,       /* y float32 = alpha·v (+ bias) (+ residual) */
  TO_SWIGLU,      /* columns are gate (16) and up (16) by turns: y = both, y2 = silu(gate)·up */
  TO_SWIGLU_GRAD, /* v = gradient of silu(gate)·up: y = gradients of gate and up by turns */
  TO_ADDED,       /* y float32 += v */
  TO_ROWS,        /* alpha·v to float32 rows at `row_tiles`, one pointer for 16 rows */
  TO_LOGSUM,      /* running max and sum of exponentials of each row */
  TO_PROBABILITY, /* y bfloat16 = weight·(softmax − one at the target), and its transpose in tiles */
  TO_EXPONENTIAL, /* y bfloat16 = 2^(v − reference), 0 at the target; max and sum of each row and the target's v */
} FinishKind;

/* Where 16 rows of a weight (or its gradient) lie; `rows` of them exist. */
typedef struct {
  float *data;
  int rows;
} RowTile;

typedef struct {
  FinishKind kind;
  int past_cache; /* write without reading the line first: for results larger than the cache */
  long stride;    /* of y (and of what is read along with it) */
  long columns;   /* that exist: those beyond, up to the next piece, are padding and not written to float32 results */
  float alpha;
  void *y, *y2;
  long stride2;
  const float *bias, *residual;
  const bf16 *gate_up;
  const RowTile *row_tiles;
  float *squares; /* of TO_ROWS: sums of the squares of what is written, lane by lane, [rows][16]; null: not wanted */
  /* language-model head: lane-wise running max and sum [rows][16], base-2 log of the sum, weights, targets */
  float *max, *sum;
  const float *log_sum, *weight; /* log_sum: any reference for TO_EXPONENTIAL */
  const int *target;
  float *target_logit;
  bf16 *transposed;
  long transposed_stride, first_row, first_column;
} Finish;

/* Lines of 64 bytes that will be wanted: `groups` groups, `group_bytes` apart, of `lines` lines that lie `line_bytes` apart. */
typedef struct {
  const void *from;
  long line_bytes, lines, group_bytes, groups;
} Lines;

/* A block of the result and its operands. */
typedef struct {
  const bf16 *a; /* left: tiles of 16 rows `a_tile` elements apart, rows `a_row` bytes apart, steps of k `a_step` apart */
  long a_tile, a_row, a_step;
  const bf16 *b; /* right: tiles of 16 columns `b_tile` elements apart, steps of k follow each other */
  long b_tile;
  long m_pieces, n_pieces, steps;
  long row, column; /* of the result, where the block begins */
  int last_rows;    /* rows of the last row of pieces that exist */
  Lines ahead; /* what is wanted after this block */
  /* a second product that is added, row-major on the left; no steps: none */
  const bf16 *a2, *b2;
  long a2_tile, a2_row, b2_tile, steps2;
} Block;

/* The second product of all rows: rows of a lie beside those of the first. */
typedef struct {
  const bf16 *a;
  long stride;
  const bf16 *b;
  long steps;
} Added;

/*
 * Longest run along k in one go: two left tiles of that depth stay in the first-level cache. Right operands of a block up to this size
 * stay in the second.
 */
enum { MOST_STEPS = 20, RIGHT_BYTES = 1100000 };

#define EACH_ROW for (int i = from; i < MIN(to, rows); i++)

INLINE void put_bits(void *p, Bits v, int past_cache) {
  if (past_cache) b_stream(p, v);
  else b_store(p, v);
}

/* Two vectors of float32 at p; `columns` of the 32 exist. */
INLINE void put_floats(float *p, Vec lo, Vec hi, long columns, int past_cache) {
  if (columns >= 32) {
    if (past_cache) {
      v_stream(p, lo);
      v_stream(p + 16, hi);
    } else {
      v_store(p, lo);
      v_store(p + 16, hi);
    }
  } else {
    v_store_first(p, v_first(columns), lo);
    if (columns > 16) v_store_first(p + 16, v_first(columns - 16), hi);
  }
}

INLINE Vec get_floats(const float *p, long columns) {
  return columns >= 16 ? v_load(p) : v_load_first(p, v_first(columns));
}

/* Finishes rows from…to−1 of the piece at (m, n), which lies in buf. */
INLINE void finish(const FinishKind kind, const Finish *f, float *buf, long m, long n, int rows, int from, int to) {
  const long stride = f->stride, columns = f->columns - n;
  switch (kind) {
  case TO_HALF:
  case TO_FLOAT: {
    Vec alpha = v_all(f->alpha), bias0 = v_zero(), bias1 = v_zero();
    if (f->bias) {
      bias0 = get_floats(f->bias + n, columns);
      bias1 = get_floats(f->bias + n + 16, columns - 16);
    }
    EACH_ROW {
      Vec lo = v_fma(alpha, v_load(buf + 32 * i), bias0);
      Vec hi = v_fma(alpha, v_load(buf + 32 * i + 16), bias1);
      if (f->residual) {
        const float *r = f->residual + (m + i) * f->columns + n;
        lo = v_add(lo, get_floats(r, columns));
        hi = v_add(hi, get_floats(r + 16, columns - 16));
      }
      if (kind == TO_HALF) put_bits((bf16 *)f->y + (m + i) * stride + n, v_narrow2(lo, hi), f->past_cache);
      else put_floats((float *)f->y + (m + i) * stride + n, lo, hi, columns, f->past_cache);
    }
    break;
  }
  case TO_SWIGLU:
    EACH_ROW {
      Vec gate = v_load(buf + 32 * i), up = v_load(buf + 32 * i + 16);
      put_bits((bf16 *)f->y + (m + i) * stride + n, v_narrow2(gate, up), f->past_cache);
      v_store_half((bf16 *)f->y2 + (m + i) * f->stride2 + n / 2, v_mul(v_mul(gate, v_sigmoid_rough(gate)), up));
    }
    break;
  case TO_SWIGLU_GRAD:
    EACH_ROW for (int h = 0; h < 2; h++) {
      long at = (m + i) * stride + 2 * (n + 16 * h);
      const bf16 *q = f->gate_up + at;
      Vec gate = v_load_half(q), up = v_load_half(q + 16), dy = v_load(buf + 32 * i + 16 * h);
      Vec sigmoid = v_sigmoid_rough(gate), silu = v_mul(gate, sigmoid);
      Vec slope = v_mul(sigmoid, v_sub(v_add(v_all(1.f), gate), silu));
      put_bits((bf16 *)f->y + at, v_narrow2(v_mul(v_mul(dy, up), slope), v_mul(dy, silu)), f->past_cache);
    }
    break;
  case TO_ADDED:
    EACH_ROW {
      float *p = (float *)f->y + (m + i) * stride + n;
      Vec lo = v_add(get_floats(p, columns), v_load(buf + 32 * i));
      Vec hi = v_add(get_floats(p + 16, columns - 16), v_load(buf + 32 * i + 16));
      put_floats(p, lo, hi, columns, 0);
    }
    break;
  case TO_ROWS: {
    const Vec alpha = v_all(f->alpha);
    EACH_ROW {
      const RowTile *tile = f->row_tiles + (m + i) / 16;
      if (i % 16 >= tile->rows) continue;
      const Vec lo = v_mul(alpha, v_load(buf + 32 * i)), hi = v_mul(alpha, v_load(buf + 32 * i + 16));
      put_floats(tile->data + (i % 16) * stride + n, lo, hi, columns, f->past_cache);
      if (f->squares) {
        float *sum = f->squares + (m + i) * 16;
        v_store(sum, v_fma(lo, lo, v_fma(hi, hi, v_load(sum))));
      }
    }
    break;
  }
  case TO_LOGSUM: {
    Vec to_base2 = v_all(LOG2_E), slack = v_all(24.f), lowest = v_all(LOWEST);
    EACH_ROW {
      float *max = f->max + (m + i) * 16, *sum = f->sum + (m + i) * 16;
      Vec a = v_mul(to_base2, v_load(buf + 32 * i)), b = v_mul(to_base2, v_load(buf + 32 * i + 16));
      if (columns < 32) {
        a = v_first_of(v_first(columns), a, lowest);
        b = v_first_of(v_first(columns - 16), b, lowest);
      }
      Vec most = v_load(max), s = v_load(sum), larger = v_max(a, b);
      /* The max follows only when it is left far behind: sums of up to 2^24 times one are exact enough. */
      if (v_any_above(larger, v_add(most, slack))) {
        Vec next = v_max(most, larger);
        s = v_mul(s, v_power(v_sub(most, next)));
        most = next;
        v_store(max, most);
      }
      v_store(sum, v_add(s, v_add(v_power(v_sub(a, most)), v_power(v_sub(b, most)))));
    }
    break;
  }
  case TO_EXPONENTIAL: {
    Vec to_base2 = v_all(LOG2_E), lowest = v_all(LOWEST);
    EACH_ROW {
      float *max = f->max + (m + i) * 16, *sum = f->sum + (m + i) * 16;
      bf16 *y = (bf16 *)f->y + (m + i - f->first_row) * stride + n;
      Vec reference = v_all(f->log_sum[m + i]);
      Vec a = v_mul(to_base2, v_load(buf + 32 * i)), b = v_mul(to_base2, v_load(buf + 32 * i + 16));
      if (columns < 32) {
        a = v_first_of(v_first(columns), a, lowest);
        b = v_first_of(v_first(columns - 16), b, lowest);
      }
      v_store(max, v_max(v_load(max), v_max(a, b)));
      a = v_power(v_sub(a, reference));
      b = v_power(v_sub(b, reference));
      v_store(sum, v_add(v_load(sum), v_add(a, b)));
      b_store(y, v_narrow2(a, b));
      long target = f->target[m + i] - (f->first_column + n);
      if (target >= 0 && target < 32) { /* seldom */
        f->target_logit[m + i] = LOG2_E * buf[32 * i + target];
        y[target] = 0;
      }
    }
    break;
  }
  case TO_PROBABILITY: {
    Vec to_base2 = v_all(LOG2_E);
    for (int i = from; i < MIN(to, 32); i++) {
      Vec log_sum = v_all(f->log_sum[m + i]), w = v_all(f->weight[m + i]);
      long target = f->target[m + i] - (f->first_column + n);
      Vec a = v_mul(w, v_power(v_fms(to_base2, v_load(buf + 32 * i), log_sum)));
      Vec b = v_mul(w, v_power(v_fms(to_base2, v_load(buf + 32 * i + 16), log_sum)));
      if (columns < 32) {
        a = v_first_of(v_first(columns), a, v_zero());
        b = v_first_of(v_first(columns - 16), b, v_zero());
      }
      v_store(buf + 32 * i, a);
      v_store(buf + 32 * i + 16, b);
      if (target >= 0 && target < 32) { /* seldom */
        buf[32 * i + target] -= f->weight[m + i];
        a = v_load(buf + 32 * i);
        b = v_load(buf + 32 * i + 16);
      }
      b_store(((bf16 *)f->y + (m + i - f->first_row) * stride + n), v_narrow2(a, b));
    }
    if (to >= 32)
      for (int h = 0; h < 2; h++) {
        Bits r[16];
        for (int i = 0; i < 16; i++)
          r[i] = v_narrow_pairs(v_load(buf + 64 * i + 16 * h), v_load(buf + 64 * i + 32 + 16 * h));
        v_transpose(r);
        tile_put(f->transposed + ((n / 16 + h) * f->transposed_stride + m / 32) * TILE, r);
      }
    break;
  }
  }
}

/* Asks for the lines that finishing rows from…to−1 of the piece at (m, n) will touch. */
INLINE void expect(const FinishKind kind, const Finish *f, long m, long n, int rows, int from, int to) {
  const long stride = f->stride;
  switch (kind) {
  case TO_HALF:
  case TO_FLOAT:
    EACH_ROW {
      if (kind == TO_HALF && !f->past_cache) PREFETCH_WRITE((bf16 *)f->y + (m + i) * stride + n);
      if (kind == TO_FLOAT && !f->past_cache) {
        PREFETCH_WRITE((float *)f->y + (m + i) * stride + n);
        PREFETCH_WRITE((float *)f->y + (m + i) * stride + n + 16);
      }
      if (f->residual) {
        PREFETCH(f->residual + (m + i) * f->columns + n);
        PREFETCH(f->residual + (m + i) * f->columns + n + 16);
      }
    }
    break;
  case TO_ADDED:
    EACH_ROW {
      PREFETCH_WRITE((float *)f->y + (m + i) * stride + n);
      PREFETCH_WRITE((float *)f->y + (m + i) * stride + n + 16);
    }
    break;
  case TO_SWIGLU:
    EACH_ROW {
      if (!f->past_cache) PREFETCH_WRITE((bf16 *)f->y + (m + i) * stride + n);
      PREFETCH_WRITE((bf16 *)f->y2 + (m + i) * f->stride2 + n / 2);
    }
    break;
  case TO_SWIGLU_GRAD:
    EACH_ROW {
      long at = (m + i) * stride + 2 * n;
      PREFETCH(f->gate_up + at);
      PREFETCH(f->gate_up + at + 32);
      if (!f->past_cache) {
        PREFETCH_WRITE((bf16 *)f->y + at);
        PREFETCH_WRITE((bf16 *)f->y + at + 32);
      }
    }
    break;
  case TO_ROWS:
    if (!f->past_cache) EACH_ROW {
        const RowTile *tile = f->row_tiles + (m + i) / 16;
        if (i % 16 >= tile->rows) continue;
        PREFETCH_WRITE(tile->data + (i % 16) * stride + n);
        PREFETCH_WRITE(tile->data + (i % 16) * stride + n + 16);
      }
    break;
  default: break;
  }
}

/* Goes through lines a few at a time, to have them in the second-level cache. */
typedef struct {
  const char *at;
  long line_bytes, lines, skip, left_in_group, left;
} Cursor;

INLINE Cursor begin_lines(Lines l) {
  return (Cursor){l.from, l.line_bytes, l.lines, l.group_bytes - l.lines * l.line_bytes, l.lines, l.lines * l.groups};
}
INLINE void ask_next(Cursor *c, long count) {
  for (count = MIN(count, c->left), c->left -= count; count > 0; count--) {
    PREFETCH_L2(c->at);
    const long is_end = --c->left_in_group == 0;
    c->at += c->line_bytes + (is_end ? c->skip : 0);
    c->left_in_group += is_end ? c->lines : 0;
  }
}

/*
 * The block: rows outside, columns inside. Two left tiles of the chunk of k (`MOST_STEPS`) stay in the first-level cache for all
 * columns; right tiles come from the second and pass by the first. What is wanted later (the next left tiles, the right ones of the
 * next chunk, what follows the block) is asked for at an even pace, so that few lines are on their way at a time.
 */
INLINE void block_product_of(const FinishKind kind, const Block *k, const Finish *f) {
  float buf[2][1024] ALIGNED;
  int current = 0, is_pending = 0, pending_rows = 0;
  long pending_m = 0, pending_n = 0;
  const long mp = k->m_pieces, np = k->n_pieces, chunks = (k->steps + MOST_STEPS - 1) / MOST_STEPS;
  const long chunk = (k->steps + chunks - 1) / chunks;
  /* Where the right tiles of all chunks stay in the second-level cache each row of pieces goes through its chunks at once. */
  const int chunks_outside = chunks > 1 && np * k->steps * 2048 > RIGHT_BYTES;
  float *sums = chunks > 1 ? az_take((size_t)((chunks_outside ? mp : 1) * np) * 4096) : NULL;
  Cursor left, ahead;
  long ahead_a_step = 0;
  for (long o = 0; o < chunks * mp; o++) {
    const long c = chunks_outside ? o / mp : o % chunks, m = chunks_outside ? o % mp : o / chunks;
    const long next_c = chunks_outside ? (o + 1) / mp : (o + 1) % chunks;
    const long next_m = chunks_outside ? (o + 1) % mp : (o + 1) / chunks;
    const long begin = c * chunk, end = MIN(k->steps, begin + chunk), steps = end - begin;
    const int is_first = c == 0, is_last = c == chunks - 1;
    const bf16 *a0 = k->a + 2 * m * k->a_tile + begin * k->a_step, *a1 = a0 + k->a_tile;
    const int rows_a_step = (int)((32 + steps - 1) / steps), rows = m == mp - 1 ? k->last_rows : 32;
    const bf16 *next_a = k->a + 2 * next_m * k->a_tile + next_c * chunk * k->a_step;
    left = begin_lines(k->a_row == 64 ? (Lines){next_a, 64, 16 * steps, k->a_tile * 2, 2}
                                      : (Lines){next_a, k->a_row, 32, k->a_step * 2, steps});
    const long left_a_step = (32 + np - 1) / np;
    if (chunks_outside ? m == 0 : o == 0) {
      const Lines right = {k->b + end * TILE, 64, 16 * MIN(chunk, k->steps - end), k->b_tile * 2, 2 * np};
      const long steps_until = mp * np * (chunks_outside ? steps : k->steps);
      ahead = begin_lines(chunks_outside && end < k->steps ? right : k->ahead);
      ahead_a_step = (ahead.left + steps_until - 1) / steps_until;
    }
    for (long n = 0; n < np; n++) {
      const bf16 *b0 = k->b + 2 * n * k->b_tile + begin * TILE, *b1 = b0 + k->b_tile;
      float *sum = sums + ((chunks_outside ? m * np : 0) + n) * 1024;
      if (is_first) piece_zero();
      else {
        TILE_LOAD(0, sum, 64);
        TILE_LOAD(1, sum + 256, 64);
        TILE_LOAD(2, sum + 512, 64);
        TILE_LOAD(3, sum + 768, 64);
      }
      int done = 0;
      for (long t = 0; t < steps; t++) {
        PIECE_STEP(a0 + t * k->a_step, a1 + t * k->a_step, k->a_row, b0 + t * TILE, b1 + t * TILE, TILE_LOAD_ONCE);
        ask_next(&left, left_a_step);
        ask_next(&ahead, ahead_a_step);
        if (is_last && done < 32) {
          expect(kind, f, k->row + 32 * m, k->column + 32 * n, rows, done, done + rows_a_step);
          if (is_pending) finish(kind, f, buf[current], pending_m, pending_n, pending_rows, done, done + rows_a_step);
          done += rows_a_step;
        }
      }
      if (is_last) {
        const bf16 *c0 = k->a2 + 2 * m * k->a2_tile, *d0 = k->b2 + 2 * n * k->b2_tile;
        if (k->steps2) piece_product(c0, c0 + k->a2_tile, k->a2_row, 32, d0, d0 + k->b2_tile, k->steps2);
        current ^= 1;
        piece_store(buf[current], 32);
        is_pending = 1;
        pending_m = k->row + 32 * m;
        pending_n = k->column + 32 * n;
        pending_rows = rows;
      } else {
        TILE_STORE(0, sum, 64);
        TILE_STORE(1, sum + 256, 64);
        TILE_STORE(2, sum + 512, 64);
        TILE_STORE(3, sum + 768, 64);
      }
    }
  }
  if (is_pending) finish(kind, f, buf[current], pending_m, pending_n, pending_rows, 0, 32);
  if (sums) az_give(sums);
}

/* Rows of packed tiles lie this far apart: a power of two would put them all in a few sets of the cache. */
static inline long spread(long tiles) { return tiles + 17; }

/* Results of more bytes are written past the cache. */
enum { PAST_CACHE = 3000000, PAST_CACHE_GRADIENT = 1000000 };

#define half_block EACH(half_block)
#define half_product EACH(half_product)
#define half_pack_right EACH(half_pack_right)
#define half_pack_left EACH(half_pack_left)

/* One block with any finish. (gemm_half.c) */
void half_block(const Block *block, const Finish *finish);

/*
 * y = A·B (+ the added product) over all rows, in parallel: A [rows, stride] from row-major bfloat16, B packed with `steps` tiles
 * along k.
 */
void half_product(Ctx *c, const bf16 *a, long a_stride, const bf16 *b, long rows, long n, long steps, Added added,
                 Finish finish);

/*
 * Tiles of the row-major x [rows, width] as a right operand, or as a left one transposed: tile (column tile j, step t) at
 * (j·spread(steps) + t).
 */
void half_pack_right(Ctx *c, const bf16 *x, long stride, long rows, long width, bf16 *to);
void half_pack_left(Ctx *c, const bf16 *x, long stride, long rows, long width, bf16 *to);
#endif
