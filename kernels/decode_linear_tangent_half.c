/*
 * Linear layers on packed weights with the tangent of their result beside it, in one sweep: y = x·wᵀ and ty = tx·wᵀ + x·twᵀ, where tw is
 * a direction of the weights, packed in 5 bits (short_tile.h). w is read once for both; y is the same bits as without the tangent
 * (decode_linear_half.c). Where ty alone is computed w is packed in 8 bits. Panels of tw that are zero are
 * not there, nor is x·twᵀ of them computed.
 */
#include "decode_linear.h"
#include "decode_walk.h"

/* STEPS_AHEAD: steps (two tiles) of a direction that go with PREFETCH_BYTES of weights. */
enum { STEP = 32, STEPS_AHEAD = PREFETCH_BYTES / (4 * TILE) };

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

/* Up to 32 rows and their tangents as tiles; sixteen rows take `kt` of them. */
typedef struct {
  const bf16 *x, *tx;
  int64_t kt;
} Rows;

/* Tiles of a direction are widened some tiles before they are multiplied: their stores have left for the cache by then. */
enum { RING = 16, LAG = 4 };

/* Widens both tiles of step t; without one, or a direction, nothing. */
static inline void widen_step(const Panel *p, int64_t kt, int64_t t, bf16 *ring) {
  if (t >= kt || p->tw == NULL) return;
  for (int half = 0; half < 2; half++) widen_move(p->tw + (2 * t + half) * MOVE_TILE, ring + (2 * t + half) % RING * TILE);
}

static inline void ask_move(const Panel *p, int64_t tile, int first, int count) {
  if (p->tw) ask(p->tw + tile * MOVE_TILE, first, count);
}

/* c [16, 32] = x·w and tc = x·tw + tx·w for up to 16 rows. The tiles are configured. */
static void multiply_few(const Rows *rows, const Panel *p, float *c, float *tc) {
  bf16 ring[RING * TILE] ALIGNED;
  piece_zero();
  for (int64_t t = 0; t < LAG / 2; t++) widen_step(p, rows->kt, t, ring);
  for (int64_t t = 0; t < rows->kt; t++) {
    const bf16 *w = p->w + t * 2 * TILE, *tw = ring + 2 * t % RING * TILE;
    const char *next = (const char *)w + PREFETCH_BYTES;
    const int64_t next_move = (t + STEPS_AHEAD) * 2;
    ask(next, 0, 8);
    widen_step(p, rows->kt, t + LAG / 2, ring);
    ask(next, 8, 8);
    TILE_LOAD(4, rows->x + t * TILE, 64);
    TILE_LOAD_ONCE(6, w, 64);
    TILE_PRODUCT(0, 4, 6);
    ask(next, 16, 8);
    if (p->tw) {
      TILE_LOAD(7, tw, 64);
      TILE_PRODUCT(2, 4, 7);
    }
    ask(next, 24, 8);
    if (p->tw) {
      TILE_LOAD(7, tw + TILE, 64);
      TILE_PRODUCT(3, 4, 7);
    }
    ask_move(p, next_move, 0, 5);
    TILE_LOAD(5, rows->tx + t * TILE, 64);
    TILE_PRODUCT(2, 5, 6);
    ask_move(p, next_move, 5, 6);
    TILE_LOAD_ONCE(6, w + TILE, 64);
    TILE_PRODUCT(1, 4, 6);
    TILE_PRODUCT(3, 5, 6);
  }
  TILE_STORE(0, c, 4 * PANEL);
  TILE_STORE(1, c + 16, 4 * PANEL);
  TILE_STORE(2, tc, 4 * PANEL);
  TILE_STORE(3, tc + 16, 4 * PANEL);
}

static inline void widen_next(Walk *w, bf16 *to) {
  if (is_over(w)) return;
  const Panel *p = w->panels + w->panel;
  if (p->tw) widen_move(p->tw + tile_at(w) * MOVE_TILE, to);
  advance(w);
}

/* What goes through the tiles of a direction, and through what is to be fetched, ahead of the products. */
typedef struct {
  bf16 ring[RING * TILE] ALIGNED;
  Walk widened, asked;
  int64_t slot;
} Flow;

/* For `count` panels from `first` on. */
static void start_flow(Flow *flow, const Walk *order, int64_t first, int64_t count) {
  flow->widened = *order;
  flow->widened.panels += first, flow->widened.count = count;
  flow->slot = 0;
  for (int i = 0; i < LAG; i++) widen_next(&flow->widened, flow->ring + i * TILE);
}

/* sums [2, 32, 32] of a panel for 17 to 32 rows, x·w and x·tw + tx·w in the same order, by what steps from … to − 1 add. */
static void multiply_many(const Rows *rows, const Panel *p, int64_t from, int64_t to, Flow *flow, float *sums) {
  Walk *asked = &flow->asked;
  for (int half = 0; half < 2; half++) {
    float *c = sums + 16 * half, *tc = c + STEP * PANEL;
    if (from == 0) {
      piece_zero();
    } else {
      TILE_LOAD(0, c, 4 * PANEL);
      TILE_LOAD(1, c + 16 * PANEL, 4 * PANEL);
      TILE_LOAD(2, tc, 4 * PANEL);
      TILE_LOAD(3, tc + 16 * PANEL, 4 * PANEL);
    }
    for (int64_t t = from; t < to; t++, flow->slot++) {
      const bf16 *x = rows->x + t * TILE, *tx = rows->tx + t * TILE;
      const int64_t tile = tile_at(asked);
      const Panel *later = asked->panels + asked->panel;
      const char *next = (const char *)(later->w + tile * TILE);
      advance(asked);
      ask(next, 0, 4);
      widen_next(&flow->widened, flow->ring + (flow->slot + LAG) % RING * TILE);
      ask(next, 4, 4);
      TILE_LOAD(4, x, 64);
      TILE_LOAD_ONCE(6, p->w + (2 * t + half) * TILE, 64);
      TILE_PRODUCT(0, 4, 6);
      ask(next, 8, 4);
      if (p->tw) {
        TILE_LOAD(7, flow->ring + flow->slot % RING * TILE, 64);
        TILE_PRODUCT(2, 4, 7);
      }
      ask(next, 12, 4);
      TILE_LOAD(5, x + rows->kt * TILE, 64);
      TILE_PRODUCT(1, 5, 6);
      ask_move(later, tile, 0, 3);
      if (p->tw) TILE_PRODUCT(3, 5, 7);
      TILE_LOAD(4, tx, 64);
      ask_move(later, tile, 3, 3);
      TILE_PRODUCT(2, 4, 6);
      TILE_LOAD(5, tx + rows->kt * TILE, 64);
      TILE_PRODUCT(3, 5, 6);
    }
    TILE_STORE(0, c, 4 * PANEL);
    TILE_STORE(1, c + 16 * PANEL, 4 * PANEL);
    TILE_STORE(2, tc, 4 * PANEL);
    TILE_STORE(3, tc + 16 * PANEL, 4 * PANEL);
  }
}

/* Tile `half` of step t of the weights, or of the direction, into its place of the ring; without such a step, nothing. */
static inline void widen_weight_at(const Panel *p, int64_t kt, int64_t t, int half, bf16 *ring) {
  if (t < kt) widen_weight(p->bytes + (2 * t + half) * BYTE_TILE, ring + (4 * t + half) % RING * TILE);
}
static inline void widen_move_at(const Panel *p, int64_t kt, int64_t t, int half, bf16 *ring) {
  if (t < kt) widen_move(p->tw + (2 * t + half) * MOVE_TILE, ring + (4 * t + 2 + half) % RING * TILE);
}

/*
 * The tangent alone, tc [32, 32] = x·tw + tx·w for up to 32 rows: both halves of the panel at a time. The panel `after` is fetched. Widening
 * goes between products: a block of it is as long as what a core looks ahead.
 */
static void multiply_tangent(const Rows *rows, int64_t count, const Panel *p, const Panel *after, float *tc) {
  bf16 ring[RING * TILE] ALIGNED;
  const int64_t kt = rows->kt, second = kt * TILE;
  const int is_many = count > 16, is_moving = p->tw != NULL;
  piece_zero();
  for (int64_t t = 0; t < LAG / 2; t++)
    for (int half = 0; half < 2; half++) {
      widen_weight_at(p, kt, t, half, ring);
      if (is_moving) widen_move_at(p, kt, t, half, ring);
    }
  for (int64_t t = 0; t < kt; t++) {
    const bf16 *x = rows->x + t * TILE, *tx = rows->tx + t * TILE, *w = ring + 4 * t % RING * TILE, *tw = w + 2 * TILE;
    const uint8_t *next = after->bytes + 2 * t * BYTE_TILE;
    const int64_t later = t + LAG / 2;
    ask(next, 0, 5);
    if (is_moving) {
      TILE_LOAD(4, x, 64);
      TILE_LOAD(6, tw, 64);
      TILE_PRODUCT(0, 4, 6);
    }
    widen_weight_at(p, kt, later, 0, ring);
    ask(next, 5, 5);
    if (is_moving) {
      TILE_LOAD(7, tw + TILE, 64);
      TILE_PRODUCT(2, 4, 7);
      if (is_many) {
        TILE_LOAD(5, x + second, 64);
        TILE_PRODUCT(1, 5, 6);
        TILE_PRODUCT(3, 5, 7);
      }
    }
    TILE_LOAD(4, tx, 64);
    TILE_LOAD(6, w, 64);
    TILE_PRODUCT(0, 4, 6);
    widen_weight_at(p, kt, later, 1, ring);
    ask(next, 10, 4);
    TILE_LOAD(7, w + TILE, 64);
    TILE_PRODUCT(2, 4, 7);
    if (is_moving) widen_move_at(p, kt, later, 0, ring);
    ask(next, 14, 4);
    ask_move(after, 2 * t, 0, 5);
    if (is_many) {
      TILE_LOAD(5, tx + second, 64);
      TILE_PRODUCT(1, 5, 6);
    }
    if (is_moving) widen_move_at(p, kt, later, 1, ring);
    ask_move(after, 2 * t, 5, 6);
    if (is_many) TILE_PRODUCT(3, 5, 7);
  }
  TILE_STORE(0, tc, 4 * PANEL);
  TILE_STORE(2, tc + 16, 4 * PANEL);
  if (!is_many) return;
  TILE_STORE(1, tc + 16 * PANEL, 4 * PANEL);
  TILE_STORE(3, tc + 16 * PANEL + 16, 4 * PANEL);
}

/* Rows of both kinds: C tiles 0 … 3 and A tiles 4, 5 of few rows have `rows`; of many, those of the second block have fewer. */
static void configure(int64_t rows) {
  const int first = (int)MIN(rows, 16), second = rows > 16 ? (int)rows - 16 : first;
  configure_tile_rows((const int[8]){first, second, first, second, first, second, 16, 16});
}

/* y = s·up with s = gate·σ(gate), and ty = tgate·(σ + s·(1 − σ))·up + s·tup. */
static __attribute__((noinline)) void finish_gated(const Part *part, const float *const c[4], int64_t row, int64_t rows,
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

/* Panels of a range, gate and up of a gated layer beside each other; of one part of which not all is wanted, those that something is wanted of. */
static int64_t list_panels(const Job *job, const Range *range, int64_t kt, Panel *panels, int64_t *places) {
  uint8_t *is_wanted = job->wanted ? az_take((size_t)(range->to - range->from)) : NULL;
  if (is_wanted) mark_wanted(job, range, is_wanted);
  int64_t count = 0;
  for (int64_t p = range->from, panel; p < range->to; p++) {
    if (is_wanted && !is_wanted[p - range->from]) continue;
    const Part *part = part_of(job, p, &panel);
    for (int i = 0; i < (job->is_gated ? 2 : 1); i++, count++) {
      places[count] = p;
      panels[count] = (Panel){.tw = part[i].is_moving[panel] ? (const uint8_t *)part[i].tangent.weight + panel * kt * 2 * MOVE_TILE : NULL};
      if (job->has_tangent_alone) panels[count].bytes = (const uint8_t *)part[i].plain.weight + panel * kt * 2 * BYTE_TILE;
      else panels[count].w = part[i].plain.weight + panel * kt * 2 * TILE;
    }
  }
  if (is_wanted) az_give(is_wanted);
  return count;
}

enum { SUMS = STEP * PANEL };

/* What follows the sums c [2, 32, 32] of a panel, and of the one after it where they are gated, for rows from `row` on. */
static void finish_panel(const Job *job, int64_t place, const float *c, int64_t row, int64_t rows) {
  int64_t panel;
  const Part *part = part_of(job, place, &panel);
  int64_t n = panel * PANEL;
  if (job->is_gated) {
    finish_gated(part, (const float *const[4]){c, c + 2 * SUMS, c + SUMS, c + 3 * SUMS}, row, rows, n);
  } else {
    finish(&part->plain, job->plain.residual, part->n, c, row, rows, n);
    finish(&part->tangent, job->tangent.residual, part->n, c + SUMS, row, rows, n);
  }
}

/* The group of panels from `first` on, for up to 32 rows from `row` on; `places` are those among the panels of the job. */
static void take_group(const Job *job, const Walk *order, const int64_t *places, int64_t first, const Rows *some, int64_t row,
                       int64_t rows, Flow *flow) {
  float c[GROUP * 2 * SUMS] ALIGNED;
  const Panel *panels = order->panels + first;
  int64_t last = job->is_gated ? 1 : 0, count = MIN(order->group, order->count - first);
  if (rows > 16) start_flow(flow, order, first, count);
  for (int64_t from = 0, to; from < some->kt; from = to) {
    to = rows > 16 ? MIN(from + order->piece, some->kt) : some->kt;
    for (int64_t i = 0; i < count; i++) {
      float *sums = c + i * 2 * SUMS;
      if (rows > 16) multiply_many(some, panels + i, from, to, flow, sums);
      else multiply_few(some, panels + i, sums, sums + SUMS);
      if (to == some->kt && i % (1 + last) == last)
        finish_panel(job, places[first + i], sums - last * 2 * SUMS, row, rows);
    }
  }
}

/* The tangent alone of panel `first`, likewise. */
static void take_tangent(const Job *job, const Walk *order, const int64_t *places, int64_t first, const Rows *some, int64_t row,
                         int64_t rows) {
  float c[2 * SUMS] ALIGNED;
  multiply_tangent(some, rows, order->panels + first, order->panels + MIN(first + 1, order->count - 1), c + SUMS);
  finish_panel(job, places[first], c, row, rows);
}

/* A range of panels, in the order they are taken, and a block of rows as tiles. */
typedef struct {
  Range range;
  Walk order;
  Panel *panels;
  int64_t *places; /* of the panels among those of the job; behind them in memory */
  bf16 *x, *tx;    /* tx: behind x in memory */
} Work;

static Work begin_work(const Job *job, size_t index) {
  const Range range = range_of(job, index);
  const int64_t kt = ROUND_UP(job->k, 32) / 32, size = ROUND_UP(range.count, 16) * kt * 32;
  const int64_t most = (range.to - range.from) * (job->is_gated ? 2 : 1);
  Work work = {.range = range};
  work.panels = az_take((sizeof(Panel) + sizeof(int64_t)) * (size_t)most);
  work.places = (int64_t *)(work.panels + most);
  const int64_t count = list_panels(job, &range, kt, work.panels, work.places);
  work.order = (Walk){.panels = work.panels, .count = count, .kt = kt, .group = GROUP, .piece = PIECE};
  if (count > MOST_GROUPED) work.order.group = job->is_gated ? 2 : 1, work.order.piece = kt;
  if (job->has_tangent_alone) work.order.group = 1;
  work.x = az_take(sizeof(bf16) * (size_t)(2 * size));
  work.tx = work.x + size;
  pack_rows(job, range.first, range.count, work.x);
  pack_tangents(job, range.first, range.count, work.tx);
  return work;
}

static void end_work(const Work *work) {
  az_give(work->panels);
  az_give(work->x);
}

/* A range of panels for a block of rows: a group for all rows, then the next. What is fetched ahead is fetched for the first rows. */
static void task(void *arg, size_t index) {
  const Job *job = arg;
  const Work work = begin_work(job, index);
  const Walk *order = &work.order;
  const Walk nothing = {.panels = work.panels};
  const int64_t begin = work.range.first, count = work.range.count;
  int64_t configured = 0;
  Walk asked = *order;
  for (int i = 0; i < AHEAD; i++) advance(&asked);
  Flow flow;
  for (int64_t first = 0; first < order->count; first += order->group)
    for (int64_t r = 0; r < count; r += STEP) {
      const int64_t rows = MIN(STEP, count - r), at = r / 16 * order->kt * TILE;
      const Rows some = {work.x + at, work.tx + at, order->kt};
      if (rows != configured) configure(rows);
      configured = rows;
      if (job->has_tangent_alone) {
        take_tangent(job, order, work.places, first, &some, begin + r, rows);
        continue;
      }
      flow.asked = r == 0 ? asked : nothing;
      take_group(job, order, work.places, first, &some, begin + r, rows, &flow);
      if (r == 0) asked = flow.asked;
    }
  TILE_RELEASE();
  end_work(&work);
}

/* A weight or a direction in fewer bits, behind so many bytes: the same tiles, of so many bytes. */
static const uint8_t *short_of(Ctx *c, const Job *job, const Part *part, int input, int64_t header, int64_t tile_bytes) {
  const Tensor *weight = c->in + input;
  int64_t tiles = ROUND_UP(part->n, PANEL) / 16 * (ROUND_UP(job->k, 32) / 32);
  if (az_size(weight) * 2 != header + tiles * tile_bytes) az_fail(c, "a weight or direction packed in few bits has another size");
  return weight->data;
}

/*
 * Attributes as DecodeLinear. Inputs: x [rows, features], gain [features]?, residual?, a bias for each of four parts?, the tangents of all
 * these, wanted [rows, n0]?, then for each part its packed weight and the packed direction. Outputs: y and ty of each part, or of one if
 * gated; with attribute `tangent` (not gated) ty alone, of weights in 8 bits. With `wanted` (one part) results are undefined where it is less than attribute `limit` (and
 * where it is not a number).
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
  job.has_tangent_alone = c->i[8] != 0;
  read_extents(c, &job, (c->num_inputs - WEIGHTS) / 2);
  if (job.has_tangent_alone && job.is_gated) az_fail(c, "gated layers give their tangents with their values");
  if (az_size(c->in + MOVED) != job.m * job.k) az_fail(c, "the tangent of x has another size");
  if (job.wanted && (job.num_parts != 1 || az_size(c->in + WANTED) != job.m * job.part[0].n)) az_fail(c, "what is wanted has another size");
  for (int p = 0; p < job.num_parts; p++) {
    Part *part = job.part + p;
    const int at = WEIGHTS + 2 * p;
    part->plain.bias = c->in[BIAS + p].data;
    part->tangent.bias = c->in[MOVED + BIAS + p].data;
    part->plain.weight = job.has_tangent_alone ? (const bf16 *)short_of(c, &job, part, at, 0, BYTE_TILE) : weight_of(c, &job, part, at);
    const int64_t header = ROUND_UP(ROUND_UP(part->n, PANEL) / PANEL, 64);
    part->is_moving = short_of(c, &job, part, at + 1, header, MOVE_TILE);
    part->tangent.weight = (const bf16 *)(part->is_moving + header);
    if (job.is_gated && p > 0) continue;
    part->tangent.y = OUT(c, job.has_tangent_alone ? p : 2 * p + 1, job.m, part->n);
    if (!job.has_tangent_alone) part->plain.y = OUT(c, 2 * p, job.m, part->n);
  }
  az_par(c, split_job(&job, c->i[0]), task, &job);
}

const Op EACH(az_decode_linear_tangent_ops)[] = {
    {"DecodeLinearTangent", run, "ff?f?f?f?f?f?ff?f?f?f?f?f?f?b*", "f*", .ints = {LINEAR_INTS, "tangent"}, .floats = {"epsilon", "limit"}, .level = LEVEL_PORTABLE},
    {0},
};
