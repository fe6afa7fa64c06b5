/*
 * Linear layers for inference: y = x·wᵀ (+ bias) (+ residual) with weights packed once for good (see decode_pack_amx.c) and x
 * rounded to bfloat16, optionally after an RMS norm. Several layers of the same x are one op. A row of y is the same bits whatever
 * rows stand beside it: sums run over the input features in tiles of 32, first to last (decode_tile.h).
 *
 * With few rows the weights are streamed from memory once and everything else stays in the nearest cache; with many rows a panel
 * of 32 output features meets the rows in blocks.
 */
#include <math.h>
#include "decode_tile.h"

enum { MAX_PARTS = 4, ROW_BLOCK = 256, PREFETCH_BYTES = 8192, PANEL = 32 };

typedef struct {
  const bf16 *weight; /* [N/32, K/32, 2, 16, 16, 2], both rounded up */
  const float *bias;  /* [N] or null */
  float *y;           /* [M, N] */
  int64_t n;
} Part;

typedef struct {
  const float *x;        /* [M, K] */
  const float *gain;     /* [K] of the norm, or null */
  const float *residual; /* [M, N] or null */
  Part part[MAX_PARTS];
  int num_parts, is_gated; /* gated: y of the first part becomes silu(first)·second */
  float epsilon;
  int64_t m, k, num_panels, num_splits;
} Job;

/* 1/√(mean x² + epsilon) */
static __attribute__((noinline)) float inverse_rms(const float *x, int64_t k, float epsilon) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < k; i += 16) {
    __m512 v = _mm512_maskz_loadu_ps(first_lanes(k - i), x + i);
    sum = _mm512_fmadd_ps(v, v, sum);
  }
  return 1 / sqrtf(_mm512_reduce_add_ps(sum) / (float)k + epsilon);
}

static inline __m512 sixteen(const Job *job, const float *x, int64_t i, __m512 scale) {
  __mmask16 lanes = first_lanes(job->k - i);
  __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
  if (job->gain == NULL) return v;
  return _mm512_mul_ps(_mm512_mul_ps(v, scale), _mm512_maskz_loadu_ps(lanes, job->gain + i));
}

/* Rows first … first + count − 1 of x, normed and rounded, as tiles [rows/16, K/32, 16, 32]; missing rows are zeros. */
static void pack_rows(const Job *job, int64_t first, int64_t count, bf16 *to) {
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  for (int64_t r = 0; r < ROUND_UP(count, 16); r++) {
    bf16 *row = to + (r / 16 * kt * 16 + r % 16) * 32;
    if (r >= count) {
      for (int64_t t = 0; t < kt; t++) _mm512_store_si512((void *)(row + t * TILE), _mm512_setzero_si512());
      continue;
    }
    const float *x = job->x + (first + r) * job->k;
    __m512 scale = _mm512_set1_ps(job->gain == NULL ? 1.f : inverse_rms(x, job->k, job->epsilon));
    for (int64_t t = 0; t < kt; t++) {
      __m512i packed = pack_bf16(sixteen(job, x, 32 * t, scale), sixteen(job, x, 32 * t + 16, scale));
      _mm512_store_si512((void *)(row + t * TILE), packed);
    }
  }
}

#define PREFETCH_WEIGHTS(w) \
  for (int line = 0; line < 2 * TILE * 2; line += 64) __builtin_prefetch((const char *)(w) + PREFETCH_BYTES + line, 0, 2)

/* c [rows, 32] = a·b: a [1 or 2, kt] tiles of 16 rows, b [kt, 2] tiles. The tiles are configured. */
static void multiply_panel(const bf16 *a, const bf16 *b, int64_t kt, int64_t rows, float *c) {
  const bf16 *second = a + kt * TILE;
  TILE_ZERO(0);
  TILE_ZERO(1);
  if (rows > 16) {
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (int64_t t = 0; t < kt; t++) {
      const bf16 *w = b + t * 2 * TILE;
      PREFETCH_WEIGHTS(w);
      TILE_LOAD(4, a + t * TILE, 64);
      TILE_LOAD(6, w, 64);
      TILE_PRODUCT(0, 4, 6);
      TILE_LOAD(7, w + TILE, 64);
      TILE_PRODUCT(1, 4, 7);
      TILE_LOAD(5, second + t * TILE, 64);
      TILE_PRODUCT(2, 5, 6);
      TILE_PRODUCT(3, 5, 7);
    }
    TILE_STORE(2, c + 16 * PANEL, 4 * PANEL);
    TILE_STORE(3, c + 16 * PANEL + 16, 4 * PANEL);
  } else {
    for (int64_t t = 0; t < kt; t++) {
      const bf16 *w = b + t * 2 * TILE;
      PREFETCH_WEIGHTS(w);
      TILE_LOAD(4, a + t * TILE, 64);
      TILE_LOAD(6, w, 64);
      TILE_PRODUCT(0, 4, 6);
      TILE_LOAD(7, w + TILE, 64);
      TILE_PRODUCT(1, 4, 7);
    }
  }
  TILE_STORE(0, c, 4 * PANEL);
  TILE_STORE(1, c + 16, 4 * PANEL);
}

/* Sums c [rows, 32] into columns n … n + 31 of y. */
static __attribute__((noinline)) void finish(const Job *job, const Part *part, const float *c, int64_t row, int64_t rows,
                                             int64_t n) {
  for (int half = 0; half < PANEL; half += 16) {
    __mmask16 lanes = first_lanes(part->n - n - half);
    if (!lanes) return;
    __m512 bias = part->bias ? _mm512_maskz_loadu_ps(lanes, part->bias + n + half) : _mm512_setzero_ps();
    for (int64_t r = 0; r < rows; r++) {
      int64_t at = (row + r) * part->n + n + half;
      __m512 sum = _mm512_load_ps(c + r * PANEL + half);
      if (part->bias) sum = _mm512_add_ps(sum, bias);
      if (job->residual) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, job->residual + at), sum);
      _mm512_mask_storeu_ps(part->y + at, lanes, sum);
    }
  }
}

static __attribute__((noinline)) void finish_gated(const Job *job, const float *gate, const float *up, int64_t row,
                                                   int64_t rows, int64_t n) {
  const Part *g = job->part, *u = job->part + 1;
  for (int half = 0; half < PANEL; half += 16) {
    __mmask16 lanes = first_lanes(g->n - n - half);
    if (!lanes) return;
    __m512 zero = _mm512_setzero_ps();
    __m512 gate_bias = g->bias ? _mm512_maskz_loadu_ps(lanes, g->bias + n + half) : zero;
    __m512 up_bias = u->bias ? _mm512_maskz_loadu_ps(lanes, u->bias + n + half) : zero;
    for (int64_t r = 0; r < rows; r++) {
      __m512 a = _mm512_load_ps(gate + r * PANEL + half), b = _mm512_load_ps(up + r * PANEL + half);
      if (g->bias) a = _mm512_add_ps(a, gate_bias);
      if (u->bias) b = _mm512_add_ps(b, up_bias);
      _mm512_mask_storeu_ps(g->y + (row + r) * g->n + n + half, lanes, _mm512_mul_ps(_mm512_mul_ps(a, sigmoid_ps(a)), b));
    }
  }
}

/* Panels from … to − 1 of all parts for a block of rows. */
static void task(void *arg, size_t index) {
  const Job *job = arg;
  int64_t block = (int64_t)index / job->num_splits, split = (int64_t)index % job->num_splits;
  int64_t first = block * ROW_BLOCK, count = MIN(job->m - first, ROW_BLOCK), kt = ROUND_UP(job->k, 32) / 32;
  int64_t from = job->num_panels * split / job->num_splits, to = job->num_panels * (split + 1) / job->num_splits;
  bf16 *a = az_take((size_t)(ROUND_UP(count, 16) * kt * 64));
  pack_rows(job, first, count, a);
  float c[32 * PANEL] ALIGNED, d[32 * PANEL] ALIGNED;
  int64_t whole = count / 32 * 32;
  for (int pass = 0; pass < 2; pass++) {
    /* Blocks of 32 rows, then the rest. */
    int64_t begin = pass ? whole : 0, end = pass ? count : whole, step = pass ? count - whole : 32;
    if (begin == end) continue;
    configure_tiles((int)MIN(step, 16), (int)(step > 16 ? step - 16 : 16));
    for (int64_t p = from; p < to; p++) {
      int64_t panel = p;
      const Part *part = job->part;
      if (!job->is_gated)
        for (; panel >= ROUND_UP(part->n, PANEL) / PANEL; part++) panel -= ROUND_UP(part->n, PANEL) / PANEL;
      int64_t offset = panel * kt * 2 * TILE;
      for (int64_t r = begin; r < end; r += step) {
        const bf16 *rows = a + r / 16 * kt * TILE;
        multiply_panel(rows, part->weight + offset, kt, step, c);
        if (job->is_gated) {
          multiply_panel(rows, part[1].weight + offset, kt, step, d);
          finish_gated(job, c, d, first + r, step, panel * PANEL);
        } else {
          finish(job, part, c, first + r, step, panel * PANEL);
        }
      }
    }
  }
  TILE_RELEASE();
  az_give(a);
}

/*
 * Attributes: threads, gated, rows, features, n0 … n3 (output features of each part), epsilon. Inputs: x [rows, features], gain
 * [features]?, residual?, a bias for each of four parts?, packed weights. Outputs: y of each part [rows, n], or one if gated.
 */
static void run(Ctx *c) {
  enum { GAIN = 1, RESIDUAL, BIAS, WEIGHTS = BIAS + MAX_PARTS };
  Job job = {.x = c->in[0].data, .gain = c->in[GAIN].data, .residual = c->in[RESIDUAL].data, .epsilon = c->f[0]};
  job.is_gated = (int)c->i[1];
  job.m = c->i[2];
  job.k = c->i[3];
  if (az_size(c->in) != job.m * job.k) az_fail(c, "x has another size");
  job.num_parts = c->num_inputs - WEIGHTS;
  if (job.num_parts < 1 || job.num_parts > MAX_PARTS) az_fail(c, "one to four weights are expected");
  for (int p = 0; p < job.num_parts; p++) {
    Part *part = job.part + p;
    const Tensor *weight = c->in + WEIGHTS + p;
    *part = (Part){.weight = weight->data, .bias = c->in[BIAS + p].data, .n = c->i[4 + p]};
    if (az_size(weight) != ROUND_UP(part->n, PANEL) * ROUND_UP(job.k, 32)) az_fail(c, "a packed weight has another size");
    if (!job.is_gated || p == 0) {
      part->y = OUT(c, p, job.m, part->n);
      job.num_panels += ROUND_UP(part->n, PANEL) / PANEL;
    }
  }
  int64_t blocks = (job.m + ROW_BLOCK - 1) / ROW_BLOCK, threads = c->i[0];
  job.num_splits = blocks >= 2 * threads || threads < 2 ? 1 : MIN(job.num_panels, 2 * threads);
  az_par(c, (size_t)(blocks * job.num_splits), task, &job);
}

const Op az_decode_linear_ops[] = {
    {"DecodeLinear", run, "ff?f?f?f?f?f?b*", "f*", {"threads", "gated", "rows", "features", "n0", "n1", "n2", "n3"}, {"epsilon"},
     .level = LEVEL_AMX},
    {0},
};
