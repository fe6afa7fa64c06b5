/*
 * Weights for decode_linear_amx.c: w [N, K] float32 → bfloat16 [N/32, K/32, 2, 16, 16, 2], both extents rounded up with zeros: panels
 * of 32 output features, in each for every 32 input features the two tiles of 16 features, a tile being 16 pairs of input
 * features × 16 output features × the two of the pair. A panel is read front to back.
 *
 * A direction that weights move along keeps the same order in 8 bits: a tile is 16 scales (float32), one an output feature, and 512
 * integers; a number is its integer times its scale, which is a 127th of the greatest of the 32 it is shared by.
 */
#include "decode_tile.h"

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

/* 32 numbers of a row as integers: every other 16 bits of 16 output features at `to`. Returns their scale. */
static float shorten(const float *w, int64_t count, int8_t *to) {
  __m512 low = _mm512_maskz_loadu_ps(first_lanes(count), w), high = _mm512_maskz_loadu_ps(first_lanes(count - 16), w + 16);
  __m512i bits = _mm512_set1_epi32(0x7fffffff);
  /* As integers: not-a-numbers are the greatest. */
  __m512i most = _mm512_max_epi32(_mm512_and_si512(bits, _mm512_castps_si512(low)), _mm512_and_si512(bits, _mm512_castps_si512(high)));
  int32_t greatest = _mm512_reduce_max_epi32(most);
  float scale;
  memcpy(&scale, &greatest, 4);
  scale /= 127;
  __m512 inverse = _mm512_set1_ps(scale > 0 ? 1 / scale : 0);
  int8_t q[32];
  _mm_storeu_si128((void *)q, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(low, inverse))));
  _mm_storeu_si128((void *)(q + 16), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(high, inverse))));
  for (int i = 0; i < 16; i++) memcpy(to + 32 * i, q + 2 * i, 2);
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

const Op az_decode_pack_ops[] = {
    {"DecodePack", run, "f", "b", .level = LEVEL_AMX},
    {"DecodePackDirection", run_direction, "f", "b", .level = LEVEL_AMX},
    {0},
};
