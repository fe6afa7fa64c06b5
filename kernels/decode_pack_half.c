/*
 * Weights for decode_linear_half.c: w [N, K] float32 → bfloat16 [N/32, K/32, 2, 16, 16, 2], both extents rounded up with zeros: panels
 * of 32 output features, in each for every 32 input features the two tiles of 16 features, a tile being 16 pairs of input
 * features × 16 output features × the two of the pair. A panel is read front to back.
 *
 * A direction that weights move along keeps the same order in 8 bits: a tile is 16 scales (float32), one an output feature, and 512
 * integers; a number is its integer times its scale, which is a 127th of the greatest of the 32 it is shared by.
 */
#include <math.h>
#include "tile.h"

typedef struct {
  const float *w;
  bf16 *to;
  int8_t *moves;
  int64_t n, k;
} Job;

/* One panel. */
static void task(void *arg, size_t panel) {
  const Job *job = arg;
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  for (int64_t t = 0; t < kt; t++)
    for (int half = 0; half < 2; half++) {
      Bits rows[16];
      for (int i = 0; i < 16; i++) {
        int64_t n = (int64_t)panel * 32 + half * 16 + i, k = t * 32;
        if (n >= job->n) {
          rows[i] = b_zero();
          continue;
        }
        const float *w = job->w + n * job->k + k;
        rows[i] = v_narrow2(v_load_first(w, v_first(job->k - k)), v_load_first(w + 16, v_first(job->k - k - 16)));
      }
      v_transpose(rows);
      bf16 *to = job->to + (((int64_t)panel * kt + t) * 2 + half) * TILE;
      for (int i = 0; i < 16; i++) b_stream(to + 32 * i, rows[i]);
    }
  v_fence();
}

/* w [N, K] → packed [N/32 · K/32 · 1024] */
static void run(Ctx *c) {
  const Tensor *w = c->in;
  Job job = {.w = w->data, .n = w->dim[0], .k = w->dim[1]};
  int64_t panels = ROUND_UP(job.n, 32) / 32;
  job.to = OUT(c, 0, panels * ROUND_UP(job.k, 32) * 32);
  az_par(c, (size_t)panels, task, &job);
}

/* 32 numbers of a row as integers: every other 16 bits of 16 output features at `to`. Returns their scale. */
static float shorten(const float *w, int64_t count, int8_t *to) {
  int32_t greatest = 0; /* as integers: not-a-numbers are the greatest */
  for (int64_t i = 0; i < MIN(count, 32); i++) {
    int32_t bits;
    memcpy(&bits, w + i, 4);
    greatest = MAX(greatest, bits & 0x7fffffff);
  }
  float scale;
  memcpy(&scale, &greatest, 4);
  scale /= 127;
  const float inverse = scale > 0 ? 1 / scale : 0;
  for (int64_t i = 0; i < 32; i++) {
    const float q = i < count ? w[i] * inverse : 0;
    to[32 * (i / 2) + i % 2] = q != q ? -128 : (int8_t)lrintf(MIN(127, MAX(-127, q)));
  }
  return scale;
}

/* One panel of a direction. */
static void direction_task(void *arg, size_t panel) {
  const Job *job = arg;
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  for (int64_t t = 0; t < 2 * kt; t++) {
    int8_t *to = job->moves + ((int64_t)panel * 2 * kt + t) * MOVE_TILE;
    float *scales = (float *)to;
    memset(to, 0, MOVE_TILE);
    int64_t first = (int64_t)panel * 32 + t % 2 * 16, k = t / 2 * 32;
    for (int64_t n = first; n < MIN(job->n, first + 16); n++)
      scales[n - first] = shorten(job->w + n * job->k + k, job->k - k, to + 64 + 2 * (n - first));
  }
}

/* w [N, K] → packed [N/32 · K/32 · 2 tiles], in units of bfloat16 */
static void run_direction(Ctx *c) {
  const Tensor *w = c->in;
  Job job = {.w = w->data, .n = w->dim[0], .k = w->dim[1]};
  int64_t panels = ROUND_UP(job.n, 32) / 32;
  job.moves = OUT(c, 0, panels * ROUND_UP(job.k, 32) / 32 * MOVE_TILE);
  az_par(c, (size_t)panels, direction_task, &job);
}

const Op EACH(az_decode_pack_ops)[] = {
    {"DecodePack", run, "f", "b", .level = LEVEL_PORTABLE},
    {"DecodePackDirection", run_direction, "f", "b", .level = LEVEL_PORTABLE},
    {0},
};
