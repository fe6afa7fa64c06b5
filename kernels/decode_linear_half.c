/*
 * Linear layers for inference: y = x·wᵀ (+ bias) (+ residual) with weights packed once for good (see decode_pack_half.c) and x
 * rounded to bfloat16, optionally after an RMS norm. Several layers of the same x are one op. A row of y is the same bits whatever
 * rows stand beside it: sums run over the input features in tiles of 32, first to last (tile.h).
 *
 * With few rows the weights are streamed from memory once and everything else stays in the nearest cache; with many rows a panel
 * of 32 output features meets the rows in blocks.
 */
#include "decode_linear.h"

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
      const char *next = (const char *)w + PREFETCH_BYTES;
      ask(next, 0, 8);
      TILE_LOAD(4, a + t * TILE, 64);
      TILE_LOAD_ONCE(6, w, 64);
      ask(next, 8, 8);
      TILE_PRODUCT(0, 4, 6);
      TILE_LOAD_ONCE(7, w + TILE, 64);
      ask(next, 16, 8);
      TILE_PRODUCT(1, 4, 7);
      ask(next, 24, 8);
      TILE_LOAD(5, second + t * TILE, 64);
      TILE_PRODUCT(2, 5, 6);
      TILE_PRODUCT(3, 5, 7);
    }
    TILE_STORE(2, c + 16 * PANEL, 4 * PANEL);
    TILE_STORE(3, c + 16 * PANEL + 16, 4 * PANEL);
  } else {
    for (int64_t t = 0; t < kt; t++) {
      const bf16 *w = b + t * 2 * TILE;
      const char *next = (const char *)w + PREFETCH_BYTES;
      ask(next, 0, 16);
      TILE_LOAD(4, a + t * TILE, 64);
      TILE_LOAD_ONCE(6, w, 64);
      TILE_PRODUCT(0, 4, 6);
      ask(next, 16, 16);
      TILE_LOAD_ONCE(7, w + TILE, 64);
      TILE_PRODUCT(1, 4, 7);
    }
  }
  TILE_STORE(0, c, 4 * PANEL);
  TILE_STORE(1, c + 16, 4 * PANEL);
}

static __attribute__((noinline)) void finish_gated(const Part *part, const float *gate, const float *up, int64_t row,
                                                   int64_t rows, int64_t n) {
  const Side *g = &part[0].plain, *u = &part[1].plain;
  for (int half = 0; half < PANEL; half += 16) {
    int64_t lanes = v_first(part->n - n - half);
    if (!lanes) return;
    Vec zero = v_zero();
    Vec gate_bias = g->bias ? v_load_first(g->bias + n + half, lanes) : zero;
    Vec up_bias = u->bias ? v_load_first(u->bias + n + half, lanes) : zero;
    for (int64_t r = 0; r < rows; r++) {
      Vec a = v_load(gate + r * PANEL + half), b = v_load(up + r * PANEL + half);
      if (g->bias) a = v_add(a, gate_bias);
      if (u->bias) b = v_add(b, up_bias);
      v_store_first(g->y + (row + r) * part->n + n + half, lanes, v_mul(v_mul(a, v_sigmoid_normal(a)), b));
    }
  }
}

/* A range of panels for a block of rows. */
static void task(void *arg, size_t index) {
  const Job *job = arg;
  Range range = range_of(job, index);
  int64_t kt = ROUND_UP(job->k, 32) / 32, whole = range.count / 32 * 32;
  bf16 *a = az_take((size_t)(ROUND_UP(range.count, 16) * kt * 64));
  pack_rows(job, range.first, range.count, a);
  float c[32 * PANEL] ALIGNED, d[32 * PANEL] ALIGNED;
  for (int pass = 0; pass < 2; pass++) {
    /* Blocks of 32 rows, then the rest. */
    int64_t begin = pass ? whole : 0, end = pass ? range.count : whole, step = pass ? range.count - whole : 32;
    if (begin == end) continue;
    configure_tiles((int)MIN(step, 16), (int)(step > 16 ? step - 16 : 16));
    for (int64_t p = range.from; p < range.to; p++) {
      int64_t panel;
      const Part *part = part_of(job, p, &panel);
      int64_t offset = panel * kt * 2 * TILE;
      for (int64_t r = begin; r < end; r += step) {
        const bf16 *rows = a + r / 16 * kt * TILE;
        multiply_panel(rows, part->plain.weight + offset, kt, step, c);
        if (job->is_gated) {
          multiply_panel(rows, part[1].plain.weight + offset, kt, step, d);
          finish_gated(part, c, d, range.first + r, step, panel * PANEL);
        } else {
          finish(&part->plain, job->plain.residual, part->n, c, range.first + r, step, panel * PANEL);
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
  enum { X, GAIN, RESIDUAL, BIAS, WEIGHTS = BIAS + MAX_PARTS };
  Job job = {.plain = {.x = c->in[X].data, .gain = c->in[GAIN].data, .residual = c->in[RESIDUAL].data}, .epsilon = c->f[0]};
  read_extents(c, &job, c->num_inputs - WEIGHTS);
  for (int p = 0; p < job.num_parts; p++) {
    Part *part = job.part + p;
    part->plain = (Side){.weight = weight_of(c, &job, part, WEIGHTS + p), .bias = c->in[BIAS + p].data};
    if (!job.is_gated || p == 0) part->plain.y = OUT(c, p, job.m, part->n);
  }
  az_par(c, split_job(&job, c->i[0]), task, &job);
}

const Op EACH(az_decode_linear_ops)[] = {
    {"DecodeLinear", run, "ff?f?f?f?f?f?b*", "f*", LINEAR_ATTRIBUTES},
    {0},
};
