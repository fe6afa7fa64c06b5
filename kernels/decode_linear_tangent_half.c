/*
 * Linear layers on packed weights with the tangent of their result beside it, in one sweep: y = x·wᵀ and ty = tx·wᵀ + x·twᵀ, where tw is
 * a direction of the weights, packed in 8 bits. w is read once for both; y is the same bits as without the tangent
 * (decode_linear_half.c).
 */
#include "decode_linear.h"

enum { STEP = 32 };

static inline Vec some(const float *p, int64_t k, int64_t i) { return v_load_first(p + i, v_first(k - i)); }

/* Σ over features of (tx·r)·(x·r) / K */
static __attribute__((noinline)) float mean_move(const float *x, const float *tx, int64_t k, float r) {
  Vec sum = v_zero();
  for (int64_t i = 0; i < k; i += 16) sum = v_fma(some(x, k, i), some(tx, k, i), sum);
  return r * r * v_sum(sum) / (float)k;
}

/* Tangent of sixteen features, normed: g·(tx·r − x̂·mean) + tg·x̂ with x̂ = x·r */
static inline Vec sixteen_moved(const Job *job, const float *x, const float *tx, int64_t i, float r, float mean) {
  int64_t k = job->k;
  Vec v = some(tx, k, i);
  if (job->plain.gain == NULL) return v;
  Vec normal = v_mul(some(x, k, i), v_all(r));
  v = v_fnma(normal, v_all(mean), v_mul(v, v_all(r)));
  return v_fma(v, some(job->plain.gain, k, i), v_mul(some(job->tangent.gain, k, i), normal));
}

/* The tangents of rows, as `pack_rows` lays out the rows. */
static void pack_tangents(const Job *job, int64_t first, int64_t count, bf16 *to) {
  int64_t k = job->k, kt = ROUND_UP(k, 32) / 32;
  for (int64_t row = 0; row < ROUND_UP(count, 16); row++) {
    bf16 *out = to + (row / 16 * kt * 16 + row % 16) * 32;
    if (row >= count) {
      for (int64_t t = 0; t < kt; t++) b_store(out + t * TILE, b_zero());
      continue;
    }
    const float *x = job->plain.x + (first + row) * k, *tx = job->tangent.x + (first + row) * k;
    float r = job->plain.gain == NULL ? 1 : inverse_rms(x, k, job->epsilon);
    float mean = job->plain.gain == NULL ? 0 : mean_move(x, tx, k, r);
    for (int64_t t = 0; t < kt; t++)
      b_store(out + t * TILE, v_narrow2(sixteen_moved(job, x, tx, 32 * t, r, mean),
                                                             sixteen_moved(job, x, tx, 32 * t + 16, r, mean)));
  }
}

/* A tile of a direction as bfloat16. */
static inline void widen(const int8_t *from, bf16 *to) {
  Vec first, second; /* scales, each twice: of the two of a pair */
  v_load_twice((const float *)from, &first, &second);
  for (int i = 0; i < 16; i++) {
    const int8_t *q = from + 64 + 32 * i;
    b_store(to + 32 * i, v_narrow2(v_mul(v_load_bytes(q), first), v_mul(v_load_bytes(q + 16), second)));
  }
}

/* What a panel is computed from: rows and their tangents as tiles, weights, and where they move. */
typedef struct {
  const bf16 *x, *tx, *w;
  const int8_t *tw;
  int64_t kt, ahead; /* tiles to the panel that follows */
} Panel;

/* Tiles of a direction are widened some tiles before they are multiplied: their stores have left for the cache by then. */
enum { RING = 16, LAG = 4 };

/* Widens both tiles of step t; without one, nothing. */
static inline void widen_step(const Panel *p, int64_t t, bf16 *ring) {
  if (t >= p->kt) return;
  for (int half = 0; half < 2; half++) widen(p->tw + (2 * t + half) * MOVE_TILE, ring + (2 * t + half) % RING * TILE);
}

/* c [16, 32] = x·w and tc = x·tw + tx·w for up to 16 rows. The tiles are configured. */
static void multiply_few(const Panel *p, float *c, float *tc) {
  bf16 ring[RING * TILE] ALIGNED;
  TILE_ZERO(0);
  TILE_ZERO(1);
  TILE_ZERO(2);
  TILE_ZERO(3);
  for (int64_t t = 0; t < LAG / 2; t++) widen_step(p, t, ring);
  for (int64_t t = 0; t < p->kt; t++) {
    const bf16 *w = p->w + t * 2 * TILE, *tw = ring + 2 * t % RING * TILE;
    const char *next = (const char *)w + PREFETCH_BYTES, *next_move = (const char *)(p->tw + t * 2 * MOVE_TILE) + PREFETCH_BYTES;
    ask(next, 0, 8);
    widen_step(p, t + LAG / 2, ring);
    ask(next, 8, 8);
    TILE_LOAD(4, p->x + t * TILE, 64);
    TILE_LOAD_ONCE(6, w, 64);
    TILE_PRODUCT(0, 4, 6);
    ask(next, 16, 8);
    TILE_LOAD(7, tw, 64);
    TILE_PRODUCT(2, 4, 7);
    ask(next, 24, 8);
    TILE_LOAD(7, tw + TILE, 64);
    TILE_PRODUCT(3, 4, 7);
    ask(next_move, 0, 8);
    TILE_LOAD(5, p->tx + t * TILE, 64);
    TILE_PRODUCT(2, 5, 6);
    ask(next_move, 8, 9);
    TILE_LOAD_ONCE(6, w + TILE, 64);
    TILE_PRODUCT(1, 4, 6);
    TILE_PRODUCT(3, 5, 6);
  }
  TILE_STORE(0, c, 4 * PANEL);
  TILE_STORE(1, c + 16, 4 * PANEL);
  TILE_STORE(2, tc, 4 * PANEL);
  TILE_STORE(3, tc + 16, 4 * PANEL);
}

/* The same for 17 to 32 rows, in the same order: half of the panel at a time, while the panel that follows is fetched. */
static void multiply_many(const Panel *p, float *c, float *tc) {
  bf16 ring[RING * TILE] ALIGNED;
  const bf16 *second = p->x + p->kt * TILE, *moved_second = p->tx + p->kt * TILE;
  for (int half = 0; half < 2; half++) {
    const int8_t *moves = p->tw + half * MOVE_TILE;
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (int64_t t = 0; t < MIN(LAG, p->kt); t++) widen(moves + 2 * t * MOVE_TILE, ring + t % RING * TILE);
    for (int64_t t = 0; t < p->kt; t++) {
      const char *next = (const char *)(p->w + (p->ahead + half * p->kt + t) * TILE);
      const char *next_move = (const char *)(p->tw + (p->ahead + half * p->kt + t) * MOVE_TILE);
      ask(next, 0, 4);
      if (t + LAG < p->kt) widen(moves + 2 * (t + LAG) * MOVE_TILE, ring + (t + LAG) % RING * TILE);
      ask(next, 4, 4);
      TILE_LOAD(4, p->x + t * TILE, 64);
      TILE_LOAD_ONCE(6, p->w + (t * 2 + half) * TILE, 64);
      TILE_PRODUCT(0, 4, 6);
      ask(next, 8, 4);
      TILE_LOAD(7, ring + t % RING * TILE, 64);
      TILE_PRODUCT(2, 4, 7);
      ask(next, 12, 4);
      TILE_LOAD(5, second + t * TILE, 64);
      TILE_PRODUCT(1, 5, 6);
      ask(next_move, 0, 4);
      TILE_PRODUCT(3, 5, 7);
      TILE_LOAD(4, p->tx + t * TILE, 64);
      ask(next_move, 4, 5);
      TILE_PRODUCT(2, 4, 6);
      TILE_LOAD(5, moved_second + t * TILE, 64);
      TILE_PRODUCT(3, 5, 6);
    }
    TILE_STORE(0, c + 16 * half, 4 * PANEL);
    TILE_STORE(1, c + 16 * PANEL + 16 * half, 4 * PANEL);
    TILE_STORE(2, tc + 16 * half, 4 * PANEL);
    TILE_STORE(3, tc + 16 * PANEL + 16 * half, 4 * PANEL);
  }
}

/* Rows of both kinds: C tiles 0 … 3 and A tiles 4, 5 of few rows have `rows`; of many, those of the second block have fewer. */
static void configure(int64_t rows) {
  const int first = (int)MIN(rows, 16), second = rows > 16 ? (int)rows - 16 : first;
  configure_tile_rows((const int[8]){first, second, first, second, first, second, 16, 16});
}

/* y = s·up with s = gate·σ(gate), and ty = tgate·(σ + s·(1 − σ))·up + s·tup. */
static __attribute__((noinline)) void finish_gated(const Part *part, float c[4][STEP * PANEL], int64_t row, int64_t rows,
                                                   int64_t n) {
  const Side *side[] = {&part[0].plain, &part[1].plain, &part[0].tangent, &part[1].tangent};
  Vec one = v_all(1.f);
  for (int half = 0; half < PANEL; half += 16) {
    int64_t lanes = v_first(part->n - n - half);
    if (!lanes) return;
    for (int64_t r = 0; r < rows; r++) {
      Vec v[4];
      for (int i = 0; i < 4; i++) {
        v[i] = v_load(c[i] + r * PANEL + half);
        if (side[i]->bias) v[i] = v_add(v[i], v_load_first(side[i]->bias + n + half, lanes));
      }
      int64_t at = (row + r) * part->n + n + half;
      Vec sigma = v_sigmoid_normal(v[0]), s = v_mul(v[0], sigma);
      Vec slope = v_fma(s, v_sub(one, sigma), sigma);
      v_store_first(part->plain.y + at, lanes, v_mul(s, v[1]));
      Vec moved = v_fma(v_mul(v[2], slope), v[1], v_mul(s, v[3]));
      v_store_first(part->tangent.y + at, lanes, moved);
    }
  }
}

/* Of each panel of a range, whether any of its results counts in any of the rows. */
static void mark_wanted(const Job *job, const Range *range, uint8_t *is_wanted) {
  int64_t width = job->part[0].n;
  memset(is_wanted, 0, (size_t)(range->to - range->from));
  for (int64_t r = range->first; r < range->first + range->count; r++)
    for (int64_t p = range->from; p < range->to; p++) {
      int found = 0;
      for (int64_t n = p * PANEL; n < MIN((p + 1) * PANEL, width); n++) found |= job->wanted[r * width + n] >= job->limit;
      is_wanted[p - range->from] |= (uint8_t)found;
    }
}

/* A range of panels for a block of rows. Of one part of which not all is wanted, those that nothing is wanted of are left out. */
static void task(void *arg, size_t index) {
  const Job *job = arg;
  Range range = range_of(job, index);
  int64_t kt = ROUND_UP(job->k, 32) / 32, size = ROUND_UP(range.count, 16) * kt * 32;
  bf16 *a = az_take(sizeof(bf16) * (size_t)(2 * size)), *ta = a + size;
  pack_rows(job, range.first, range.count, a);
  pack_tangents(job, range.first, range.count, ta);
  float c[4][STEP * PANEL] ALIGNED;
  int64_t configured = 0;
  uint8_t *is_wanted = job->wanted ? az_take((size_t)(range.to - range.from)) : NULL;
  if (is_wanted) mark_wanted(job, &range, is_wanted);
  for (int64_t p = range.from, next; p < range.to; p = next) {
    for (next = p + 1; is_wanted && next < range.to && !is_wanted[next - range.from];) next++;
    if (is_wanted && !is_wanted[p - range.from]) continue;
    int64_t panel;
    const Part *part = part_of(job, p, &panel);
    int64_t at_panel = panel * kt * 2, n = panel * PANEL;
    for (int64_t r = 0; r < range.count; r += STEP) {
      int64_t rows = MIN(STEP, range.count - r), at = r / 16 * kt * TILE, row = range.first + r;
      if (rows != configured) configure(rows);
      configured = rows;
      for (int i = 0; i < (job->is_gated ? 2 : 1); i++) {
        Panel source = {a + at, ta + at, part[i].plain.weight + at_panel * TILE,
                        (const int8_t *)part[i].tangent.weight + at_panel * MOVE_TILE, kt, (next - p) * 2 * kt};
        (rows > 16 ? multiply_many : multiply_few)(&source, c[i], c[2 + i]);
      }
      if (job->is_gated) {
        finish_gated(part, c, row, rows, n);
      } else {
        finish(&part->plain, job->plain.residual, part->n, c[0], row, rows, n);
        finish(&part->tangent, job->tangent.residual, part->n, c[2], row, rows, n);
      }
    }
  }
  TILE_RELEASE();
  if (is_wanted) az_give(is_wanted);
  az_give(a);
}

/* A packed direction: the same tiles in 8 bits. */
static const bf16 *direction_of(Ctx *c, const Job *job, const Part *part, int input) {
  const Tensor *weight = c->in + input;
  int64_t tiles = ROUND_UP(part->n, PANEL) / 16 * (ROUND_UP(job->k, 32) / 32);
  if (az_size(weight) * 2 != tiles * MOVE_TILE) az_fail(c, "a packed direction has another size");
  return weight->data;
}

/*
 * Attributes as DecodeLinear. Inputs: x [rows, features], gain [features]?, residual?, a bias for each of four parts?, the tangents of all
 * these, wanted [rows, n0]?, then for each part its packed weight and the packed direction. Outputs: y and ty of each part, or of one if
 * gated. With `wanted` (one part) results are undefined where it is less than attribute `limit` (and where it is not a number).
 */
static void run(Ctx *c) {
  enum { X, GAIN, RESIDUAL, BIAS, MOVED = BIAS + MAX_PARTS, WANTED = 2 * MOVED, WEIGHTS };
  Job job = {
      .plain = {.x = c->in[X].data, .gain = c->in[GAIN].data, .residual = c->in[RESIDUAL].data},
      .tangent = {.x = c->in[MOVED + X].data, .gain = c->in[MOVED + GAIN].data, .residual = c->in[MOVED + RESIDUAL].data},
      .epsilon = c->f[0],
      .wanted = c->in[WANTED].data,
      .limit = c->f[1],
  };
  read_extents(c, &job, (c->num_inputs - WEIGHTS) / 2);
  if (az_size(c->in + MOVED) != job.m * job.k) az_fail(c, "the tangent of x has another size");
  if (job.wanted && (job.num_parts != 1 || az_size(c->in + WANTED) != job.m * job.part[0].n)) az_fail(c, "what is wanted has another size");
  for (int p = 0; p < job.num_parts; p++) {
    Part *part = job.part + p;
    part->plain = (Side){.weight = weight_of(c, &job, part, WEIGHTS + 2 * p), .bias = c->in[BIAS + p].data};
    part->tangent = (Side){.weight = direction_of(c, &job, part, WEIGHTS + 2 * p + 1), .bias = c->in[MOVED + BIAS + p].data};
    if (job.is_gated && p > 0) continue;
    part->plain.y = OUT(c, 2 * p, job.m, part->n);
    part->tangent.y = OUT(c, 2 * p + 1, job.m, part->n);
  }
  az_par(c, split_job(&job, c->i[0]), task, &job);
}

const Op EACH(az_decode_linear_tangent_ops)[] = {
    {"DecodeLinearTangent", run, "ff?f?f?f?f?f?ff?f?f?f?f?f?f?b*", "f*", LINEAR_ATTRIBUTES},
    {0},
};
