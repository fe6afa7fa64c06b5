/*
 * Language-model head with cross-entropy, forward and gradient in one sweep: logits exist only as blocks of 256 tokens by 512
 * entries of the vocabulary. First pass: log-sum of each token. Second, chunk by chunk of the vocabulary: probabilities less the
 * target, times the weight, from which both gradients follow. Without the gradient of the weight one pass does: dx is summed with
 * exponentials above some reference and divided by their sum at the end.
 */
#include <math.h>
#include "gemm.h"

enum { TOKENS = 256, VOCABULARY = 512 };

typedef struct {
  const bf16 *x, *forward, *backward; /* x [tokens, stride], zeros up to whole pieces of 32 tokens */
  const float *w, *given_weight;
  float *weight;
  const int64_t *given_target;
  int *target;
  float *max, *sum, *log_sum, *nll, *dx;
  bf16 *transposed, *x_right, *dx_half;
  const RowTile *rows;
  long tokens, padded, width, stride, vocabulary, padded_vocabulary, first, chunk;
} Head;

static Block token_block(const Head *j, long first, long tokens) {
  return (Block){.a = j->x + first * j->stride, .a_tile = 16 * j->stride, .a_row = j->stride * 2, .a_step = 32,
                 .m_pieces = tokens / 32, .steps = j->stride / 32, .b_tile = j->stride / 32 * TILE, .row = first,
                 .last_rows = 32};
}

static void reset_sums(const Head *j, long first, long tokens) {
  for (long k = first * 16; k < (first + tokens) * 16; k += 16) {
    v_store(j->max + k, v_all(LOWEST));
    v_store(j->sum + k, v_zero());
  }
}

/* Running sums over the chunk of the vocabulary, whose operand stays in the second-level cache for all tokens. */
static void sums_task(void *arg, size_t index) {
  const Head *j = arg;
  const long first = (long)index * TOKENS, tokens = MIN(TOKENS, j->padded - first), tasks = (j->padded + TOKENS - 1) / TOKENS;
  if (j->first == 0) reset_sums(j, first, tokens);
  Finish f = {TO_LOGSUM, .columns = j->vocabulary, .max = j->max, .sum = j->sum};
  Block block = token_block(j, first, tokens);
  const long next = j->first + j->chunk, next_lines = MAX(0, MIN(j->chunk, j->padded_vocabulary - next)) * j->stride / 32 / tasks;
  block.b = j->forward + j->first / 16 * block.b_tile;
  block.n_pieces = j->chunk / 32;
  block.column = j->first;
  block.ahead = (Lines){j->forward + next / 16 * block.b_tile + (long)index * next_lines * 32, 64, next_lines, 0, 1};
  tiles_begin();
  half_block(&block, &f);
  tiles_end();
}

static void log_sum_task(void *arg, size_t index) {
  const Head *j = arg;
  const long first = (long)index * TOKENS, tokens = MIN(TOKENS, j->padded - first);
  for (long n = first; n < first + tokens; n++) {
    Vec lanes = v_load(j->max + n * 16);
    float max = v_greatest(lanes), sum = v_sum(v_mul(v_load(j->sum + n * 16), v_power(v_sub(lanes, v_all(max)))));
    j->log_sum[n] = max + log2f(sum);
    j->target[n] = n < j->tokens ? (int)j->given_target[n] : -1;
    j->weight[n] = n < j->tokens ? j->given_weight[n] : 0;
    if (n >= j->tokens || !j->nll) continue;
    /* The target's logit from the weight rounded as the product saw it. */
    const float *w = j->w + j->target[n] * j->width;
    Vec logit = v_zero();
    for (long k = 0; k < j->width; k += 16) {
      int64_t m = v_first(j->width - k);
      logit = v_fma(v_load_half_first(j->x + n * j->stride + k, m), v_rounded(v_load_first(w + k, m)), logit);
    }
    j->nll[n] = j->log_sum[n] * LN_2 - v_sum(logit);
  }
}

/* Two to this power more than the reference is still far from what float32 holds, and so is as much less. */
static const float MOST_ABOVE = 60;

/* Logits of the entries from `first` on as exponentials p [tokens, chunk]. */
static void exponentials(const Head *j, Block block, Finish f, long first, long chunk) {
  f.first_column = first;
  f.columns = j->vocabulary - first;
  for (long v = 0; v < chunk / 32; v += 16) {
    block.b = j->forward + (first / 32 + v) * 2 * block.b_tile;
    block.n_pieces = MIN(16, chunk / 32 - v);
    block.column = v * 32;
    half_block(&block, &f);
  }
}

/* dx = weight·(Σ over entries but the target p·w / Σ p + (p of the target / Σ p − 1)·w of the target), and nll */
static void one_pass_task(void *arg, size_t index) {
  const Head *j = arg;
  const long first = (long)index * TOKENS, tokens = MIN(TOKENS, j->padded - first), vocabulary_steps = j->padded_vocabulary / 32;
  bf16 *p = az_take((size_t)(TOKENS * VOCABULARY) * sizeof *p);
  float *logit = j->nll;
  Finish sums = {TO_LOGSUM, .columns = j->vocabulary, .max = j->max, .sum = j->sum};
  Finish f = {TO_EXPONENTIAL, .y = p, .stride = VOCABULARY, .first_row = first, .max = j->max, .sum = j->sum,
              .log_sum = j->log_sum, .target = j->target, .target_logit = logit};
  Block block = token_block(j, first, tokens);
  Block back = {.a = p, .a_tile = 16 * VOCABULARY, .a_row = VOCABULARY * 2, .a_step = 32, .b_tile = vocabulary_steps * TILE,
                .m_pieces = tokens / 32, .row = first, .last_rows = 32};
  reset_sums(j, first, tokens);
  for (long n = first; n < first + tokens; n++) {
    j->target[n] = n < j->tokens ? (int)j->given_target[n] : -1;
    logit[n] = 0;
  }
  tiles_begin();
  /* The reference: the largest of the first entries. Where a later one is far above, it is the largest of all, and once more. */
  block.b = j->forward;
  block.n_pieces = MIN(16, vocabulary_steps);
  half_block(&block, &sums);
  for (long n = first; n < first + tokens; n++) j->log_sum[n] = v_greatest(v_load(j->max + n * 16));
  for (int attempt = 0, is_done = 0; attempt < 2 && !is_done; attempt++) {
    reset_sums(j, first, tokens);
    for (long v = 0; v < j->padded_vocabulary; v += VOCABULARY) {
      const long chunk = MIN(VOCABULARY, j->padded_vocabulary - v);
      exponentials(j, block, f, v, chunk);
      Finish g = {v ? TO_ADDED : TO_FLOAT, .stride = j->stride, .columns = j->stride, .alpha = 1, .y = j->dx};
      back.steps = chunk / 32;
      for (long k = 0; k < j->stride / 32; k += 16) {
        back.b = j->backward + (2 * k * vocabulary_steps + v / 32) * TILE;
        back.n_pieces = MIN(16, j->stride / 32 - k);
        back.column = k * 32;
        half_block(&back, &g);
      }
    }
    is_done = 1;
    for (long n = first; n < first + tokens; n++) {
      const float max = v_greatest(v_load(j->max + n * 16));
      if (!(max > j->log_sum[n] + MOST_ABOVE)) continue;
      j->log_sum[n] = max;
      is_done = 0;
    }
  }
  tiles_end();
  az_give(p);
  for (long n = first; n < MIN(first + tokens, j->tokens); n++) {
    const float sum = v_sum(v_load(j->sum + n * 16)), reference = j->log_sum[n], weight = j->given_weight[n];
    const float target = exp2f(logit[n] - reference) / sum;
    const float *w = j->w + j->target[n] * j->width;
    const Vec scale = v_all(weight / sum), missing = v_all(weight * (target - 1));
    j->nll[n] = (reference + log2f(sum) - logit[n]) * LN_2;
    for (long k = 0; k < j->stride; k += 16) {
      const int64_t m = v_first(j->width - k);
      Vec own = v_rounded(v_load_first(w + k, m));
      v_store_half(j->dx_half + n * j->stride + k, v_fma(missing, own, v_mul(scale, v_load(j->dx + n * j->stride + k))));
    }
  }
}

static void probability_task(void *arg, size_t index) {
  const Head *j = arg;
  const long first = (long)index * TOKENS, tokens = MIN(TOKENS, j->padded - first), chunk = j->chunk;
  const long vocabulary_steps = j->padded_vocabulary / 32;
  bf16 *p = az_take((size_t)(TOKENS * chunk) * sizeof *p);
  Finish f = {TO_PROBABILITY, .y = p, .stride = chunk, .columns = j->vocabulary - j->first, .first_row = first,
              .transposed = j->transposed, .transposed_stride = spread(j->padded / 32), .log_sum = j->log_sum,
              .weight = j->weight, .target = j->target, .first_column = j->first};
  Block block = token_block(j, first, tokens);
  tiles_begin();
  for (long v = 0; v < chunk / 32; v += 16) {
    block.b = j->forward + (j->first / 32 + v) * 2 * block.b_tile;
    block.n_pieces = MIN(16, chunk / 32 - v);
    block.column = v * 32;
    half_block(&block, &f);
  }
  if (j->dx_half) {
    const int is_whole = chunk == j->padded_vocabulary, is_last = j->first + chunk >= j->padded_vocabulary;
    Finish g = {is_whole ? TO_HALF : j->first ? TO_ADDED : TO_FLOAT, .stride = j->stride, .columns = j->stride, .alpha = 1,
                .y = is_whole ? (void *)j->dx_half : (void *)j->dx};
    Block back = {.a = p, .a_tile = 16 * chunk, .a_row = chunk * 2, .a_step = 32, .b_tile = vocabulary_steps * TILE,
                  .m_pieces = tokens / 32, .steps = chunk / 32, .row = first, .last_rows = 32};
    for (long k = 0; k < j->stride / 32; k += 16) {
      back.b = j->backward + (2 * k * vocabulary_steps + j->first / 32) * TILE;
      back.n_pieces = MIN(16, j->stride / 32 - k);
      back.column = k * 32;
      half_block(&back, &g);
    }
    if (is_last && !is_whole)
      for (long k = first * j->stride; k < (first + tokens) * j->stride; k += 16) v_store_half(j->dx_half + k, v_load(j->dx + k));
  }
  tiles_end();
  az_give(p);
}

static void weight_task(void *arg, size_t index) {
  const Head *j = arg;
  const long first = (long)index * 256, steps = j->padded / 32, apart = spread(steps), pieces = j->stride / 32;
  Finish f = {TO_ROWS, .stride = j->width, .columns = j->width, .alpha = 1, .row_tiles = j->rows,
              .past_cache = j->width % 16 == 0 && j->vocabulary * j->width * 4 > PAST_CACHE && (uintptr_t)j->rows[0].data % 64 == 0};
  Block block = {.a = j->transposed + first / 16 * apart * TILE, .a_tile = apart * TILE, .a_row = 64, .a_step = TILE,
                 .b_tile = apart * TILE, .m_pieces = MIN(8, (j->chunk - first) / 32), .steps = steps, .row = j->first + first,
                 .last_rows = 32};
  tiles_begin();
  for (long k = 0; k < pieces; k += 8) {
    block.b = j->x_right + 2 * k * apart * TILE;
    block.n_pieces = MIN(8, pieces - k);
    block.column = k * 32;
    half_block(&block, &f);
  }
  tiles_end();
  v_fence();
}

/*
 * tokens, offset and stride of x; x bfloat16, forward and backward operands of w, w [V, C] float32, targets [N] int64,
 * weights [N] → loss [] = Σ weights·nll, nll [N], dx bfloat16 [N, stride of C], dw [V, C]
 */
static void run_head_loss(Ctx *c) {
  Head j = {.x = (const bf16 *)c->in[0].data + c->i[1], .forward = c->in[1].data, .backward = c->in[2].data, .w = c->in[3].data,
            .given_target = c->in[4].data, .given_weight = c->in[5].data, .tokens = c->i[0], .stride = c->i[2],
            .vocabulary = c->in[3].dim[0], .width = c->in[3].dim[1], .padded_vocabulary = c->in[1].dim[0] * 16};
  for (long n = 0; n < j.tokens; n++)
    if (j.given_target[n] < 0 || j.given_target[n] >= j.vocabulary) az_fail(c, "a target is outside the vocabulary");
  const long width = ROUND_UP(j.width, 32), x_stride = j.stride;
  j.padded = ROUND_UP(j.tokens, 32);
  float *loss = az_out(c, 0, 0, NULL);
  float *nll = OUT(c, 1, j.tokens);
  bf16 *dx_half = OUT(c, 2, j.tokens, width);
  float *dw = OUT(c, 3, j.vocabulary, j.width);
  if (dx_half && !j.backward) az_fail(c, "the backward operand is missing");
  const long most = MIN(VOCABULARY, j.padded_vocabulary), apart = spread(j.padded / 32);
  const int must_copy = j.padded != j.tokens || x_stride != width;

  /* One block of scratch, cut up. */
  const size_t lanes = (size_t)j.padded * 16 * 4, row = (size_t)ROUND_UP(j.padded * 4, 64), halves = (size_t)(j.padded * width) * 2;
  const size_t transposed = (size_t)(most / 16 * apart) * 1024, right = (size_t)(width / 16 * apart) * 1024;
  const size_t tiles = ROUND_UP((size_t)j.padded_vocabulary / 16 * sizeof(RowTile), 64);
  char *scratch = az_take(2 * lanes + 4 * row + (dw ? transposed + right + tiles : transposed) + 2 * halves + 2 * halves), *at = scratch;
#define CUT(type, bytes) ((type *)((at += (bytes)) - (bytes)))
  j.max = CUT(float, lanes);
  j.sum = CUT(float, lanes);
  j.log_sum = CUT(float, row);
  j.nll = CUT(float, row);
  j.weight = CUT(float, row);
  j.target = CUT(int, row);
  j.transposed = CUT(bf16, transposed);
  j.dx = CUT(float, 2 * halves);
  bf16 *copy = CUT(bf16, halves);
  j.dx_half = !dx_half ? NULL : must_copy ? CUT(bf16, halves) : dx_half;
  if (must_copy) {
    for (long n = 0; n < j.tokens; n++) memcpy(copy + n * width, j.x + n * x_stride, (size_t)width * 2);
    memset(copy + j.tokens * width, 0, (size_t)((j.padded - j.tokens) * width) * 2);
    j.x = copy;
  }
  j.stride = width;
  const size_t token_tasks = (size_t)((j.padded + TOKENS - 1) / TOKENS);
  const int in_one_pass = dx_half && !dw;
  if (in_one_pass) az_par(c, token_tasks, one_pass_task, &j);
  else {
    const long held = MAX(8, RIGHT_BYTES / (width * 64)) * 32;
    for (j.first = 0; j.first < j.padded_vocabulary; j.first += held) {
      j.chunk = MIN(held, j.padded_vocabulary - j.first);
      az_par(c, token_tasks, sums_task, &j);
    }
    az_par(c, token_tasks, log_sum_task, &j);
  }
  if (nll) memcpy(nll, j.nll, (size_t)j.tokens * 4);
  if (loss) {
    double sum = 0;
    for (long n = 0; n < j.tokens; n++) sum += (double)j.nll[n] * (double)j.given_weight[n];
    *loss = (float)sum;
  }
  if (dw) {
    j.x_right = CUT(bf16, right);
    RowTile *rows = CUT(RowTile, tiles);
    for (long t = 0; t < j.padded_vocabulary / 16; t++)
      rows[t] = (RowTile){dw + t * 16 * j.width, (int)MAX(0, MIN(16, j.vocabulary - 16 * t))};
    j.rows = rows;
    half_pack_right(c, j.x, width, j.padded, width, j.x_right);
    for (j.first = 0; j.first < j.padded_vocabulary; j.first += most) {
      j.chunk = MIN(most, j.padded_vocabulary - j.first);
      az_par(c, token_tasks, probability_task, &j);
      az_par(c, (size_t)((j.chunk + 255) / 256), weight_task, &j);
    }
  }
  if (dx_half && must_copy)
    for (long n = 0; n < j.tokens; n++) memcpy(dx_half + n * width, j.dx_half + n * width, (size_t)width * 2);
  az_give(scratch);
}

const Op EACH(az_head_ops)[] = {
    {"HeadLoss", run_head_loss, "bbb?flf", "f?f?b?f?", {"tokens", "offset", "stride"}, .level = LEVEL_PORTABLE},
    {0},
};
