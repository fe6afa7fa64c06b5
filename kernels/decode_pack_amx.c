/*
 * Weights for decode_linear_amx.c: w [N, K] float32 → bfloat16 [N/32, K/32, 2, 16, 16, 2], both extents rounded up with zeros: panels
 * of 32 output features, in each for every 32 input features the two tiles of 16 features, a tile being 16 pairs of input
 * features × 16 output features × the two of the pair. A panel is read front to back.
 */
#include "decode_tile.h"

typedef struct {
  const float *w;
  bf16 *to;
  int64_t n, k;
} Job;

/* One panel. */
static void task(void *arg, size_t panel) {
  const Job *job = arg;
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  for (int64_t t = 0; t < kt; t++)
    for (int half = 0; half < 2; half++) {
      __m512i rows[16];
      for (int i = 0; i < 16; i++) {
        int64_t n = (int64_t)panel * 32 + half * 16 + i, k = t * 32;
        if (n >= job->n) {
          rows[i] = _mm512_setzero_si512();
          continue;
        }
        const float *w = job->w + n * job->k + k;
        rows[i] = pack_bf16(_mm512_maskz_loadu_ps(first_lanes(job->k - k), w),
                            _mm512_maskz_loadu_ps(first_lanes(job->k - k - 16), w + 16));
      }
      transpose(rows);
      bf16 *to = job->to + (((int64_t)panel * kt + t) * 2 + half) * TILE;
      for (int i = 0; i < 16; i++) _mm512_stream_si512((void *)(to + 32 * i), rows[i]);
    }
  _mm_sfence();
}

/* w [N, K] → packed [N/32 · K/32 · 1024] */
static void run(Ctx *c) {
  const Tensor *w = c->in;
  Job job = {.w = w->data, .n = w->dim[0], .k = w->dim[1]};
  int64_t panels = ROUND_UP(job.n, 32) / 32;
  job.to = OUT(c, 0, panels * ROUND_UP(job.k, 32) * 32);
  az_par(c, (size_t)panels, task, &job);
}

const Op az_decode_pack_ops[] = {
    {"DecodePack", run, "f", "b", .level = LEVEL_AMX},
    {0},
};
