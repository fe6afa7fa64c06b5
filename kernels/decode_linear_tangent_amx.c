/*
 * Linear layers on packed weights with the tangent of their result beside it, in one sweep: y = x·wᵀ and ty = tx·wᵀ + x·twᵀ, where tw is
 * a direction of the weights. w is read once for both; y is the same bits as without the tangent (decode_linear_amx.c).
 */
#include "decode_linear.h"

enum { STEP = 16 };

static inline __m512 some(const float *p, int64_t k, int64_t i) { return _mm512_maskz_loadu_ps(first_lanes(k - i), p + i); }

/* Σ over features of (tx·r)·(x·r) / K */
static __attribute__((noinline)) float mean_move(const float *x, const float *tx, int64_t k, float r) {
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < k; i += 16) sum = _mm512_fmadd_ps(some(x, k, i), some(tx, k, i), sum);
  return r * r * _mm512_reduce_add_ps(sum) / (float)k;
}

/* Tangent of sixteen features, normed: g·(tx·r − x̂·mean) + tg·x̂ with x̂ = x·r */
static inline __m512 sixteen_moved(const Job *job, const float *x, const float *tx, int64_t i, float r, float mean) {
  int64_t k = job->k;
  __m512 v = some(tx, k, i);
  if (job->plain.gain == NULL) return v;
  __m512 normal = _mm512_mul_ps(some(x, k, i), _mm512_set1_ps(r));
  v = _mm512_fnmadd_ps(normal, _mm512_set1_ps(mean), _mm512_mul_ps(v, _mm512_set1_ps(r)));
  return _mm512_fmadd_ps(v, some(job->plain.gain, k, i), _mm512_mul_ps(some(job->tangent.gain, k, i), normal));
}

/* The tangents of rows, as `pack_rows` lays out the rows. */
static void pack_tangents(const Job *job, int64_t first, int64_t count, bf16 *to) {
  int64_t k = job->k, kt = ROUND_UP(k, 32) / 32;
  for (int64_t row = 0; row < ROUND_UP(count, 16); row++) {
    bf16 *out = to + (row / 16 * kt * 16 + row % 16) * 32;
    if (row >= count) {
      for (int64_t t = 0; t < kt; t++) _mm512_store_si512((void *)(out + t * TILE), _mm512_setzero_si512());
      continue;
    }
    const float *x = job->plain.x + (first + row) * k, *tx = job->tangent.x + (first + row) * k;
    float r = job->plain.gain == NULL ? 1 : inverse_rms(x, k, job->epsilon);
    float mean = job->plain.gain == NULL ? 0 : mean_move(x, tx, k, r);
    for (int64_t t = 0; t < kt; t++)
      _mm512_store_si512((void *)(out + t * TILE), pack_bf16(sixteen_moved(job, x, tx, 32 * t, r, mean),
                                                             sixteen_moved(job, x, tx, 32 * t + 16, r, mean)));
  }
}

/* c [16, 32] = a·b and tc = ta·b + a·tb for up to 16 rows. The tiles are configured. */
static void multiply_panel(const bf16 *a, const bf16 *ta, const bf16 *b, const bf16 *tb, int64_t kt, float *c, float *tc) {
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
  for (int64_t t = 0; t < kt; t++) {
    const bf16 *w = b + t * 2 * TILE, *tw = tb + t * 2 * TILE;
    PREFETCH_WEIGHTS(w);
    PREFETCH_WEIGHTS(tw);
    TILE_LOAD(4, a + t * TILE, 64);
    TILE_LOAD(6, w, 64);
    TILE_PRODUCT(0, 4, 6);
    TILE_LOAD(7, w + TILE, 64);
    TILE_PRODUCT(1, 4, 7);
    TILE_LOAD(5, ta + t * TILE, 64);
    TILE_PRODUCT(2, 5, 6);
    TILE_PRODUCT(3, 5, 7);
    TILE_LOAD(6, tw, 64);
    TILE_PRODUCT(2, 4, 6);
    TILE_LOAD(7, tw + TILE, 64);
    TILE_PRODUCT(3, 4, 7);
  }
  TILE_STORE(0, c, 4 * PANEL);
  TILE_STORE(1, c + 16, 4 * PANEL);
  TILE_STORE(2, tc, 4 * PANEL);
  TILE_STORE(3, tc + 16, 4 * PANEL);
}

/* y = s·up with s = gate·σ(gate), and ty = tgate·(σ + s·(1 − σ))·up + s·tup. */
static __attribute__((noinline)) void finish_gated(const Part *part, float c[4][STEP * PANEL], int64_t row, int64_t rows,
                                                   int64_t n) {
  const Side *side[] = {&part[0].plain, &part[1].plain, &part[0].tangent, &part[1].tangent};
  __m512 one = _mm512_set1_ps(1.f);
  for (int half = 0; half < PANEL; half += 16) {
    __mmask16 lanes = first_lanes(part->n - n - half);
    if (!lanes) return;
    for (int64_t r = 0; r < rows; r++) {
      __m512 v[4];
      for (int i = 0; i < 4; i++) {
        v[i] = _mm512_load_ps(c[i] + r * PANEL + half);
        if (side[i]->bias) v[i] = _mm512_add_ps(v[i], _mm512_maskz_loadu_ps(lanes, side[i]->bias + n + half));
      }
      int64_t at = (row + r) * part->n + n + half;
      __m512 sigma = sigmoid_ps(v[0]), s = _mm512_mul_ps(v[0], sigma);
      __m512 slope = _mm512_fmadd_ps(s, _mm512_sub_ps(one, sigma), sigma);
      _mm512_mask_storeu_ps(part->plain.y + at, lanes, _mm512_mul_ps(s, v[1]));
      __m512 moved = _mm512_fmadd_ps(_mm512_mul_ps(v[2], slope), v[1], _mm512_mul_ps(s, v[3]));
      _mm512_mask_storeu_ps(part->tangent.y + at, lanes, moved);
    }
  }
}

/* A range of panels for a block of rows. */
static void task(void *arg, size_t index) {
  const Job *job = arg;
  Range range = range_of(job, index);
  int64_t kt = ROUND_UP(job->k, 32) / 32, size = ROUND_UP(range.count, 16) * kt * 32;
  bf16 *a = az_take(sizeof(bf16) * (size_t)(2 * size)), *ta = a + size;
  pack_rows(job, range.first, range.count, a);
  pack_tangents(job, range.first, range.count, ta);
  float c[4][STEP * PANEL] ALIGNED;
  int64_t configured = 0;
  for (int64_t p = range.from; p < range.to; p++) {
    int64_t panel;
    const Part *part = part_of(job, p, &panel);
    int64_t offset = panel * kt * 2 * TILE, n = panel * PANEL;
    for (int64_t r = 0; r < range.count; r += STEP) {
      int64_t rows = MIN(STEP, range.count - r), at = r / 16 * kt * TILE, row = range.first + r;
      if (rows != configured) configure_tiles((int)rows, (int)rows);
      configured = rows;
      for (int i = 0; i < (job->is_gated ? 2 : 1); i++)
        multiply_panel(a + at, ta + at, part[i].plain.weight + offset, part[i].tangent.weight + offset, kt, c[i], c[2 + i]);
      if (job->is_gated) {
        finish_gated(part, c, row, rows, n);
      } else {
        finish(&part->plain, job->plain.residual, part->n, c[0], row, rows, n);
        finish(&part->tangent, job->tangent.residual, part->n, c[2], row, rows, n);
      }
    }
  }
  TILE_RELEASE();
  az_give(a);
}

/*
 * Attributes as DecodeLinear. Inputs: x [rows, features], gain [features]?, residual?, a bias for each of four parts?, the tangents of all
 * these, then for each part its packed weight and the packed direction. Outputs: y and ty of each part, or of one if gated.
 */
static void run(Ctx *c) {
  enum { X, GAIN, RESIDUAL, BIAS, MOVED = BIAS + MAX_PARTS, WEIGHTS = 2 * MOVED };
  Job job = {
      .plain = {.x = c->in[X].data, .gain = c->in[GAIN].data, .residual = c->in[RESIDUAL].data},
      .tangent = {.x = c->in[MOVED + X].data, .gain = c->in[MOVED + GAIN].data, .residual = c->in[MOVED + RESIDUAL].data},
      .epsilon = c->f[0],
  };
  read_extents(c, &job, (c->num_inputs - WEIGHTS) / 2);
  if (az_size(c->in + MOVED) != job.m * job.k) az_fail(c, "the tangent of x has another size");
  for (int p = 0; p < job.num_parts; p++) {
    Part *part = job.part + p;
    part->plain = (Side){.weight = weight_of(c, &job, part, WEIGHTS + 2 * p), .bias = c->in[BIAS + p].data};
    part->tangent = (Side){.weight = weight_of(c, &job, part, WEIGHTS + 2 * p + 1), .bias = c->in[MOVED + BIAS + p].data};
    if (job.is_gated && p > 0) continue;
    part->plain.y = OUT(c, 2 * p, job.m, part->n);
    part->tangent.y = OUT(c, 2 * p + 1, job.m, part->n);
  }
  az_par(c, split_job(&job, c->i[0]), task, &job);
}

const Op az_decode_linear_tangent_ops[] = {
    {"DecodeLinearTangent", run, "ff?f?f?f?f?f?ff?f?f?f?f?f?b*", "f*", LINEAR_ATTRIBUTES},
    {0},
};
