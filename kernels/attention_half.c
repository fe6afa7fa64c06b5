/*
 * Causal grouped-query attention, forward and backward, with the rotation of queries and keys fused in, without a T × T matrix.
 *
 * Scores are computed transposed (keys × queries): max, sum, log-sum and row corrections are then plain vectors over 16 queries,
 * and probabilities come out in the form the next product needs. Everything is in base 2: queries carry scale·log2(e).
 * A task is one key/value head of one row of the batch.
 */
#include <math.h>
#include "tile.h"

enum { MAX_HEAD = 256, FORWARD_KEYS = 128 };

/* Heads of a matrix [B·T, stride] */
typedef struct {
  const bf16 *data;
  long stride;
} Heads;

typedef struct {
  Heads q, k, v, out, d_out;
  bf16 *y, *dq, *dk, *dv;
  long y_stride, dq_stride;
  float *log_sum;
  const int64_t *positions; /* null: nothing is rotated */
  const float *cos, *sin;
  long batch, time, padded, heads, groups, size, padded_size;
  float scale;
} Attention;

/* --- heads to contiguous rows [padded, padded_size], zeros around */

static inline void clear_tail(const Attention *j, bf16 *to) {
  memset(to + j->time * j->padded_size, 0, (size_t)((j->padded - j->time) * j->padded_size) * 2);
}

/* Times `scale`, rotated if the job says so; `row` is the row of the batch. */
static void gather_rotated(const Attention *j, const bf16 *x, long stride, long row, float scale, bf16 *to) {
  const long half = j->size / 2, width = j->padded_size;
  const Vec by = v_all(scale);
  for (long t = 0; t < j->time; t++, x += stride, to += width) {
    PREFETCH(x + 12 * stride);
    PREFETCH(x + 12 * stride + j->size - 1);
    if (j->positions == NULL) {
      for (long k = 0; k < j->size; k += 16) {
        int64_t m = v_first(j->size - k);
        v_store_half_first(to + k, m, v_mul(by, v_load_half_first(x + k, m)));
      }
    } else {
      const float *cos = j->cos + j->positions[row * j->time + t] * half;
      const float *sin = j->sin + j->positions[row * j->time + t] * half;
      for (long k = 0; k < half; k += 16) {
        int64_t m = v_first(half - k);
        Vec a = v_mul(by, v_load_half_first(x + k, m)), b = v_mul(by, v_load_half_first(x + half + k, m));
        Vec c = v_load_first(cos + k, m), s = v_load_first(sin + k, m);
        v_store_half_first(to + k, m, v_fms(a, c, v_mul(b, s)));
        v_store_half_first(to + half + k, m, v_fma(b, c, v_mul(a, s)));
      }
    }
    if (width > j->size) memset(to + j->size, 0, (size_t)(width - j->size) * 2);
  }
  clear_tail(j, to - j->time * width);
}

static void gather(const Attention *j, const bf16 *x, long stride, bf16 *to) {
  const long width = j->padded_size;
  for (long t = 0; t < j->time; t++, x += stride, to += width) {
    PREFETCH(x + 12 * stride);
    PREFETCH(x + 12 * stride + j->size - 1);
    memcpy(to, x, (size_t)j->size * 2);
    if (width > j->size) memset(to + j->size, 0, (size_t)(width - j->size) * 2);
  }
  clear_tail(j, to - j->time * width);
}

/* The way back: float32 [padded, padded_size] times `scale`, rotated back, to heads. */
static void scatter_rotated(const Attention *j, const float *x, long row, float scale, bf16 *to, long stride) {
  const long half = j->size / 2, width = j->padded_size;
  const Vec by = v_all(scale);
  for (long t = 0; t < j->time; t++, x += width, to += stride) {
    PREFETCH_WRITE(to + 12 * stride);
    PREFETCH_WRITE(to + 12 * stride + j->size - 1);
    if (j->positions == NULL) {
      for (long k = 0; k < j->size; k += 16) {
        int64_t m = v_first(j->size - k);
        v_store_half_first(to + k, m, v_mul(by, v_load_first(x + k, m)));
      }
      continue;
    }
    const float *cos = j->cos + j->positions[row * j->time + t] * half;
    const float *sin = j->sin + j->positions[row * j->time + t] * half;
    for (long k = 0; k < half; k += 16) {
      int64_t m = v_first(half - k);
      Vec a = v_mul(by, v_load_first(x + k, m)), b = v_mul(by, v_load_first(x + half + k, m));
      Vec c = v_load_first(cos + k, m), s = v_load_first(sin + k, m);
      v_store_half_first(to + k, m, v_fma(a, c, v_mul(b, s)));
      v_store_half_first(to + half + k, m, v_fms(b, c, v_mul(a, s)));
    }
  }
}

/* --- heads as operands: [tile of rows or columns][step along k] */

static void as_right_transposed(const Attention *j, const bf16 *x, bf16 *to) {
  const long steps = j->padded_size / 32;
  for (long t = 0; t < j->padded / 16; t++)
    for (long k = 0; k < steps; k++)
      tile_right_transposed(x + t * 16 * j->padded_size + k * 32, j->padded_size, to + (t * steps + k) * TILE);
}
static void as_right(const Attention *j, const bf16 *x, bf16 *to) {
  const long steps = j->padded / 32;
  for (long k = 0; k < j->padded_size / 32; k++)
    for (long t = 0; t < steps; t++)
      tile_right(x + t * 32 * j->padded_size + k * 32, j->padded_size, 32, to + (2 * k * steps + t) * TILE,
                 to + ((2 * k + 1) * steps + t) * TILE);
}
static void as_left_transposed(const Attention *j, const bf16 *x, bf16 *to) {
  const long steps = j->padded / 32;
  for (long k = 0; k < j->padded_size / 32; k++)
    for (long t = 0; t < steps; t++)
      tile_left_transposed(x + t * 32 * j->padded_size + k * 32, j->padded_size, 32, to + (2 * k * steps + t) * TILE,
                           to + ((2 * k + 1) * steps + t) * TILE);
}

/* --- forward */

/* One query head against the keys of its group: chunks of 128 keys for 32 queries, with a running max and sum. */
static void forward_head(const Attention *j, long b, long h, const bf16 *k_rows, const bf16 *v_left, const bf16 *q_right) {
  const long steps = j->padded_size / 32, time_steps = j->padded / 32, size = j->size;
  float scores[FORWARD_KEYS * 32] ALIGNED, sums[MAX_HEAD * 32] ALIGNED;
  bf16 p[FORWARD_KEYS * 32] ALIGNED; /* [2 tiles of queries][chunk/32][512] */
  for (long q0 = 0; q0 < j->time; q0 += 32) {
    Vec max0 = v_all(-INFINITY), max1 = max0, total0 = v_zero(), total1 = total0;
    const bf16 *q = q_right + q0 / 16 * steps * TILE;
    for (long k0 = 0; k0 <= q0; k0 += FORWARD_KEYS) {
      const long pieces = MIN(FORWARD_KEYS / 32, (q0 + 32 - k0) / 32);
      for (long n = 0; n < pieces; n++) {
        const bf16 *a = k_rows + (k0 + 32 * n) * j->padded_size;
        piece_zero();
        piece_product(a, a + 16 * j->padded_size, j->padded_size * 2, 32, q, q + steps * TILE, steps);
        piece_store(scores + 32 * 32 * n, 32);
      }
      if (k0 + pieces * 32 > q0) /* the piece on the diagonal */
        for (int k = 0; k < 32; k++) {
          float *s = scores + (q0 - k0 + k) * 32;
          const Vec lowest = v_all(-INFINITY);
          v_store(s, v_first_of(v_first(k), lowest, v_load(s)));
          if (k > 16)
            v_store(s + 16, v_first_of(k - 16, lowest, v_load(s + 16)));
        }
      Vec a0 = max0, a1 = max1, b0 = max0, b1 = max1;
      for (long k = 0; k < pieces * 32; k += 2) {
        a0 = v_max(a0, v_load(scores + 32 * k));
        a1 = v_max(a1, v_load(scores + 32 * k + 16));
        b0 = v_max(b0, v_load(scores + 32 * k + 32));
        b1 = v_max(b1, v_load(scores + 32 * k + 48));
      }
      a0 = v_max(a0, b0);
      a1 = v_max(a1, b1);
      if (k0) {
        Vec f0 = v_power(v_sub(max0, a0)), f1 = v_power(v_sub(max1, a1));
        total0 = v_mul(total0, f0);
        total1 = v_mul(total1, f1);
        for (long d = 0; d < j->padded_size; d++) {
          v_store(sums + 32 * d, v_mul(f0, v_load(sums + 32 * d)));
          v_store(sums + 32 * d + 16, v_mul(f1, v_load(sums + 32 * d + 16)));
        }
      }
      max0 = a0;
      max1 = a1;
      for (long k = 0; k < pieces * 32; k += 2) {
        Vec x0 = v_power_rough(v_sub(v_load(scores + 32 * k), max0));
        Vec x1 = v_power_rough(v_sub(v_load(scores + 32 * k + 16), max1));
        Vec y0 = v_power_rough(v_sub(v_load(scores + 32 * k + 32), max0));
        Vec y1 = v_power_rough(v_sub(v_load(scores + 32 * k + 48), max1));
        total0 = v_add(total0, v_add(x0, y0));
        total1 = v_add(total1, v_add(x1, y1));
        bf16 *to = p + (k / 32) * TILE + (k % 32) * 16;
        b_store(to, v_narrow_pairs(x0, y0));
        b_store((to + FORWARD_KEYS * 16), v_narrow_pairs(x1, y1));
      }
      for (long d = 0; d < steps; d++) {
        const bf16 *a = v_left + (2 * d * time_steps + k0 / 32) * TILE;
        if (k0) piece_load(sums + 32 * 32 * d, 32);
        else piece_zero();
        piece_product(a, a + time_steps * TILE, 64, TILE, p, p + FORWARD_KEYS * 16, pieces);
        piece_store(sums + 32 * 32 * d, 32);
      }
    }
    for (int u = 0; u < 2; u++) {
      const Vec total = u ? total1 : total0, inverse = v_div(v_all(1.f), total);
      const long first = q0 + 16 * u, rows = MIN(16, j->time - first);
      for (long d = 0; d < size; d += 16) {
        Bits r[16];
        const int64_t m = v_first(size - d);
        for (int z = 0; z < 16; z++) r[z] = v_bits(v_mul(inverse, v_load(sums + 32 * (d + z) + 16 * u)));
        v_transpose(r);
        for (int z = 0; z < rows; z++)
          v_store_half_first(j->y + (b * j->time + first + z) * j->y_stride + h * size + d, m, v_floats(r[z]));
      }
      float logs[16] ALIGNED;
      v_store(logs, total);
      for (int z = 0; z < 16; z++) logs[z] = log2f(logs[z]);
      if (rows > 0 && j->log_sum)
        v_store_first(j->log_sum + (b * j->heads + h) * j->time + first, v_first(rows),
                      v_add(v_load(logs), u ? max1 : max0));
    }
  }
}

static void forward_task(void *arg, size_t index) {
  const Attention *j = arg;
  const long b = (long)index / j->groups, group = (long)index % j->groups, share = j->heads / j->groups;
  const long elements = j->padded * j->padded_size, row = b * j->time;
  bf16 *rows = az_take((size_t)elements * 4 * sizeof *rows);
  bf16 *k_rows = rows + elements, *v_left = k_rows + elements, *q_right = v_left + elements;
  tiles_begin();
  gather(j, j->v.data + row * j->v.stride + group * j->size, j->v.stride, rows);
  as_left_transposed(j, rows, v_left);
  gather_rotated(j, j->k.data + row * j->k.stride + group * j->size, j->k.stride, b, 1.f, k_rows);
  for (long h = group * share; h < (group + 1) * share; h++) {
    gather_rotated(j, j->q.data + row * j->q.stride + h * j->size, j->q.stride, b, j->scale * LOG2_E, rows);
    as_right_transposed(j, rows, q_right);
    forward_head(j, b, h, k_rows, v_left, q_right);
  }
  tiles_end();
  az_give(rows);
}

/* --- backward: chunks of 64 keys × 64 queries */

enum { CHUNK = 64 };

typedef struct {
  bf16 *k_rows, *k_left, *v_rows, *q_rows, *q_transposed, *q_right, *g_rows, *g_transposed, *g_right;
  float *dk, *dv, *dq, *log_sum, *delta;
} Backward;

/* delta = Σ dO·o of each query; log-sums beside it, infinite where there is no query. */
static void row_corrections(const Attention *j, long b, long h, const Backward *w) {
  for (long t = 0; t < j->padded; t++) {
    w->log_sum[t] = 1e30f;
    w->delta[t] = 0;
    if (t >= j->time) continue;
    const bf16 *o = j->out.data + (b * j->time + t) * j->out.stride + h * j->size;
    PREFETCH(o + 12 * j->out.stride);
    PREFETCH(o + 12 * j->out.stride + j->size - 1);
    Vec s = v_zero();
    for (long k = 0; k < j->size; k += 16)
      s = v_fma(v_load_half_first(o + k, v_first(j->size - k)), v_load_half(w->g_rows + t * j->padded_size + k), s);
    w->delta[t] = v_sum(s);
    w->log_sum[t] = j->log_sum[(b * j->heads + h) * j->time + t];
  }
}

static void backward_head(const Attention *j, const Backward *w) {
  const long size = j->padded_size, steps = size / 32, time_steps = j->padded / 32;
  float s[CHUNK * CHUNK] ALIGNED, dp[CHUNK * CHUNK] ALIGNED, dq[MAX_HEAD * CHUNK] ALIGNED;
  bf16 p[CHUNK * CHUNK] ALIGNED, ds[CHUNK * CHUNK] ALIGNED;
  bf16 ds_right[CHUNK * CHUNK] ALIGNED; /* dSᵀ as right operand: [4 tiles of queries][2 steps of keys][512] */
  for (long q0 = 0; q0 < j->padded; q0 += CHUNK) {
    for (long k0 = 0; k0 <= q0; k0 += CHUNK) {
      for (int kb = 0; kb < 2; kb++)
        for (int qb = 0; qb < 2; qb++) {
          float *s_piece = s + kb * 32 * CHUNK + qb * 32, *dp_piece = dp + kb * 32 * CHUNK + qb * 32;
          const long q_tile = (q0 + 32 * qb) / 16 * steps * TILE, k_row = (k0 + 32 * kb) * size;
          piece_zero();
          if (k0 == q0 && kb > qb) { /* above the diagonal */
            piece_store(s_piece, CHUNK);
            piece_store(dp_piece, CHUNK);
            continue;
          }
          const bf16 *a = w->k_rows + k_row, *right = w->q_transposed + q_tile;
          piece_product(a, a + 16 * size, size * 2, 32, right, right + steps * TILE, steps);
          piece_store(s_piece, CHUNK);
          a = w->v_rows + k_row;
          right = w->g_transposed + q_tile;
          piece_zero();
          piece_product(a, a + 16 * size, size * 2, 32, right, right + steps * TILE, steps);
          piece_store(dp_piece, CHUNK);
        }
      for (int k = 0; k < CHUNK; k += 2)
        for (int q = 0; q < CHUNK; q += 32) {
          Vec prob[4], grad[4];
          for (int u = 0; u < 4; u++) {
            const int key = k + (u >> 1), query = q + 16 * (u & 1), above = key - query;
            Vec x = v_power_rough(v_sub(v_load(s + key * CHUNK + query), v_load(w->log_sum + q0 + query)));
            if (k0 == q0)
              x = v_first_of(v_first(above), v_zero(), x);
            prob[u] = x;
            grad[u] = v_mul(x, v_sub(v_load(dp + key * CHUNK + query), v_load(w->delta + q0 + query)));
          }
          for (int u = 0; u < 2; u++) {
            b_store((p + (k + u) * CHUNK + q), v_narrow2(prob[2 * u], prob[2 * u + 1]));
            b_store((ds + (k + u) * CHUNK + q), v_narrow2(grad[2 * u], grad[2 * u + 1]));
            b_store((ds_right + (((q / 16 + u) * 2 + k / 32) * 16 + (k % 32) / 2) * 32),
                               v_narrow_pairs(grad[u], grad[2 + u]));
          }
        }
      for (int kb = 0; kb < 2; kb++)
        for (long n = 0; n < steps; n++) {
          const long at = (k0 + 32 * kb) * size + 32 * n, tile = (2 * n * time_steps + q0 / 32) * TILE;
          const bf16 *right = w->g_right + tile, *left = p + kb * 32 * CHUNK;
          piece_load(w->dv + at, size);
          piece_product(left, left + 16 * CHUNK, CHUNK * 2, 32, right, right + time_steps * TILE, 2);
          piece_store(w->dv + at, size);
          right = w->q_right + tile;
          left = ds + kb * 32 * CHUNK;
          piece_load(w->dk + at, size);
          piece_product(left, left + 16 * CHUNK, CHUNK * 2, 32, right, right + time_steps * TILE, 2);
          piece_store(w->dk + at, size);
        }
      for (long m = 0; m < steps; m++)
        for (int qb = 0; qb < 2; qb++) {
          float *sum = dq + m * 32 * CHUNK + qb * 32;
          const bf16 *a = w->k_left + (2 * m * time_steps + k0 / 32) * TILE, *right = ds_right + qb * 4 * TILE;
          if (k0) piece_load(sum, CHUNK);
          else piece_zero();
          piece_product(a, a + time_steps * TILE, 64, TILE, right, right + 2 * TILE, 2);
          piece_store(sum, CHUNK);
        }
    }
    for (long m = 0; m < size; m += 16)
      for (int q = 0; q < CHUNK; q += 16) {
        Bits r[16];
        for (int u = 0; u < 16; u++) r[u] = b_load(dq + (m + u) * CHUNK + q);
        v_transpose(r);
        for (int u = 0; u < 16; u++) b_store((w->dq + (q0 + q + u) * size + m), r[u]);
      }
  }
}

static void backward_task(void *arg, size_t index) {
  const Attention *j = arg;
  const long b = (long)index / j->groups, group = (long)index % j->groups, share = j->heads / j->groups;
  const long elements = j->padded * j->padded_size, row = b * j->time;
  bf16 *halves = az_take((size_t)elements * 9 * sizeof *halves);
  float *floats = az_take((size_t)(elements * 3 + 2 * j->padded) * sizeof *floats);
  Backward w = {halves,
                halves + elements,
                halves + 2 * elements,
                halves + 3 * elements,
                halves + 4 * elements,
                halves + 5 * elements,
                halves + 6 * elements,
                halves + 7 * elements,
                halves + 8 * elements,
                floats,
                floats + elements,
                floats + 2 * elements,
                floats + 3 * elements,
                floats + 3 * elements + j->padded};
  tiles_begin();
  gather_rotated(j, j->k.data + row * j->k.stride + group * j->size, j->k.stride, b, 1.f, w.k_rows);
  as_left_transposed(j, w.k_rows, w.k_left);
  gather(j, j->v.data + row * j->v.stride + group * j->size, j->v.stride, w.v_rows);
  memset(floats, 0, (size_t)elements * 2 * sizeof *floats);
  for (long h = group * share; h < (group + 1) * share; h++) {
    gather_rotated(j, j->q.data + row * j->q.stride + h * j->size, j->q.stride, b, j->scale * LOG2_E, w.q_rows);
    as_right_transposed(j, w.q_rows, w.q_transposed);
    as_right(j, w.q_rows, w.q_right);
    gather(j, j->d_out.data + row * j->d_out.stride + h * j->size, j->d_out.stride, w.g_rows);
    as_right_transposed(j, w.g_rows, w.g_transposed);
    as_right(j, w.g_rows, w.g_right);
    row_corrections(j, b, h, &w);
    backward_head(j, &w);
    scatter_rotated(j, w.dq, b, j->scale, j->dq + row * j->dq_stride + h * j->size, j->dq_stride);
  }
  /* Queries carried scale·log2(e): what is left of it for the keys is ln 2. */
  scatter_rotated(j, w.dk, b, LN_2, j->dk + row * j->dq_stride + group * j->size, j->dq_stride);
  for (long t = 0; t < j->time; t++)
    for (long k = 0; k < j->size; k += 16)
      v_store_half_first(j->dv + (row + t) * j->dq_stride + group * j->size + k, v_first(j->size - k),
                         v_load(w.dv + t * j->padded_size + k));
  tiles_end();
  az_give(floats);
  az_give(halves);
}

/* --- the ops */

enum { BATCH, TIME, HEADS, GROUPS, SIZE, Q_OFFSET, Q_STRIDE, K_OFFSET, K_STRIDE, V_OFFSET, V_STRIDE };
#define ATTENTION_INTS                                                                                                 \
  "batch", "time", "heads", "groups", "size", "qOffset", "qStride", "kOffset", "kStride", "vOffset", "vStride"

/* Inputs from `first` on: q, k, v, then from `tables` on: positions, cos, sin, if queries and keys are to be rotated. */
static Attention describe(Ctx *c, int tables) {
  const int64_t *i = c->i;
  Attention j = {.batch = i[BATCH], .time = i[TIME], .heads = i[HEADS], .groups = i[GROUPS], .size = i[SIZE], .scale = c->f[0]};
  j.padded = ROUND_UP(j.time, CHUNK);
  j.padded_size = ROUND_UP(j.size, 32);
  if (j.padded_size > MAX_HEAD) az_fail(c, "heads are too wide");
  j.q = (Heads){(const bf16 *)c->in[0].data + i[Q_OFFSET], i[Q_STRIDE]};
  j.k = (Heads){(const bf16 *)c->in[1].data + i[K_OFFSET], i[K_STRIDE]};
  j.v = (Heads){(const bf16 *)c->in[2].data + i[V_OFFSET], i[V_STRIDE]};
  if (c->num_inputs > tables + 2 && c->in[tables].data) {
    j.positions = c->in[tables].data;
    j.cos = c->in[tables + 1].data;
    j.sin = c->in[tables + 2].data;
    const int64_t most = c->in[tables + 1].dim[0];
    for (long t = 0; t < j.batch * j.time; t++)
      if (j.positions[t] < 0 || j.positions[t] >= most) az_fail(c, "a position is outside the table of angles");
  }
  return j;
}

/* Columns from `width` on, up to the stride, as zeros. */
static void clear_columns(bf16 *y, long rows, long width, long stride) {
  if (stride > width)
    for (long r = 0; r < rows; r++) memset(y + r * stride + width, 0, (size_t)(stride - width) * 2);
}

/* q, k, v bfloat16, (positions [B, T], cos, sin)? → o bfloat16 [B·T, stride of H·D], log-sums [B, H, T] in base 2 */
static void run_attention(Ctx *c) {
  Attention j = describe(c, 3);
  const long width = j.heads * j.size;
  j.y_stride = ROUND_UP(width, 32);
  j.y = OUT(c, 0, j.batch * j.time, j.y_stride);
  j.log_sum = OUT(c, 1, j.batch, j.heads, j.time);
  clear_columns(j.y, j.batch * j.time, width, j.y_stride);
  az_par(c, (size_t)(j.batch * j.groups), forward_task, &j);
}

/*
 * q, k, v, o, dO, log-sums, (positions, cos, sin)? → dq, dk, dv side by side, each padded to a multiple of 32 columns; of the
 * values before rotation, where that is fused
 */
static void run_attention_backward(Ctx *c) {
  Attention j = describe(c, 6);
  const long q_width = j.heads * j.size, k_width = j.groups * j.size, rows = j.batch * j.time;
  const long q_part = ROUND_UP(q_width, 32), k_part = ROUND_UP(k_width, 32);
  j.out = (Heads){(const bf16 *)c->in[3].data + c->i[V_STRIDE + 1], c->i[V_STRIDE + 2]};
  j.d_out = (Heads){(const bf16 *)c->in[4].data + c->i[V_STRIDE + 3], c->i[V_STRIDE + 4]};
  j.log_sum = c->in[5].data;
  j.dq_stride = q_part + 2 * k_part;
  j.dq = OUT(c, 0, rows, j.dq_stride);
  j.dk = j.dq + q_part;
  j.dv = j.dk + k_part;
  for (long r = 0; r < rows && q_part > q_width; r++) memset(j.dq + r * j.dq_stride + q_width, 0, (size_t)(q_part - q_width) * 2);
  for (long r = 0; r < rows && k_part > k_width; r++) {
    memset(j.dk + r * j.dq_stride + k_width, 0, (size_t)(k_part - k_width) * 2);
    memset(j.dv + r * j.dq_stride + k_width, 0, (size_t)(k_part - k_width) * 2);
  }
  az_par(c, (size_t)(j.batch * j.groups), backward_task, &j);
}

const Op EACH(az_attention_ops)[] = {
    {"Attention", run_attention, "bbbl?f?f?", "bf?", {ATTENTION_INTS}, {"scale"}, .level = LEVEL_PORTABLE},
    {"AttentionBackward", run_attention_backward, "bbbbbfl?f?f?", "b",
     {ATTENTION_INTS, "oOffset", "oStride", "dOffset", "dStride"}, {"scale"}, .level = LEVEL_PORTABLE},
    {0},
};
