/*
 * Linear layers of inference on weights that stay in the blocks they are stored in (ggml_blocks.h): as decode_linear_amx.c, with the
 * same bits as on the dequantised matrix. 16 output features × 32 input features become a tile of bfloat16 right before their
 * product. They are its left operand, the rows of x its right one; the unit multiplies and adds in the same order either way.
 *
 * With few rows tiles go through a ring: they are multiplied some tiles after they were made, when their stores have left for the
 * cache, while the next ones are being made. With many rows a panel of 32 output features is unpacked whole and meets them all.
 */
#include "decode_linear.h"
#include "ggml_blocks.h"

enum { FEW_ROWS = 32, RING = 4, LAG = 3, GROUP = 16, SCALES_AHEAD = 2, PACK_ROWS = 64, ROW_BLOCK_BYTES = 1 << 20 };
/* Tiles' worth of work (32 inputs of a feature; those of 16 rows count twice) that takes no longer than waking another thread, 40 µs. */
enum { SMALL_WORK = 340000 };

typedef struct {
  Job job;
  const BlockFormat *format[MAX_PARTS];
  const uint8_t *blocks[MAX_PARTS]; /* [N, K / block] of each part */
  int64_t row_bytes[MAX_PARTS], kt, row_block;
  bf16 *x; /* right operands of many rows: [M/16, K/32] tiles */
} BlockJob;

/* 16 output features of a part. */
typedef struct {
  int format;
  const uint8_t *rows;
  int64_t stride;
} Group;

/* The format of a number, for rows of `width` values. */
static const BlockFormat *format_of(Ctx *c, int64_t number, int64_t width) {
  const BlockFormat *format = block_formats + number;
  if (number < 0 || number >= NUM_BLOCK_FORMATS || format->block == 0) az_fail(c, "no such format of blocks");
  if (width % format->block) az_fail(c, "rows are no multiple of a block");
  return format;
}

/* Output features n … n + 15 of a part; the last rows of a matrix are filled up with zeros, in `copy`. */
static Group group_of(const BlockJob *b, int part, int64_t n, uint8_t *copy) {
  Group group = {.format = (int)(b->format[part] - block_formats), .stride = b->row_bytes[part]};
  const int64_t count = MIN(b->job.part[part].n - n, GROUP);
  group.rows = b->blocks[part] + n * group.stride;
  if (count < GROUP) {
    memset(copy, 0, (size_t)(GROUP * group.stride));
    if (count > 0) memcpy(copy, group.rows, (size_t)(count * group.stride));
    group.rows = copy;
  }
  return group;
}

/* Tile t of a group; tiles come in order. `scales`: of tiles t … t + 3, kept from call to call. */
INLINE void make_tile(int format, const Group *group, int64_t t, int64_t kt, Scales scales[4], bf16 *tile) {
  const uint8_t *rows = group->rows;
  const int64_t stride = group->stride, later = t + SCALES_AHEAD;
  if (t == 0)
    for (int ahead = 0; ahead < MIN(SCALES_AHEAD, kt); ahead++) scales_of(format, rows, stride, ahead, scales[ahead]);
  if (later < kt) scales_of(format, rows, stride, later, scales[later % 4]);
  tile_of(format, rows, stride, t, scales[t % 4], tile);
}

/*
 * The tiles of pack_rows as right operands, in place: 16 pairs of input features × 16 rows × the two of the pair.
 */
static void turn_tiles(bf16 *tiles, int64_t count) {
  for (int64_t i = 0; i < count; i++, tiles += TILE) {
    __m512i r[16];
    for (int p = 0; p < 16; p++) r[p] = _mm512_load_si512((const void *)(tiles + 32 * p));
    transpose(r);
    for (int p = 0; p < 16; p++) _mm512_store_si512((void *)(tiles + 32 * p), r[p]);
  }
}

/* One row is its own right operand: pairs of 4 bytes. */
static void pack_one(const Job *job, int64_t row, bf16 *to) {
  const float *x = job->plain.x + row * job->k;
  const __m512 scale = _mm512_set1_ps(job->plain.gain == NULL ? 1.f : inverse_rms(x, job->k, job->epsilon));
  for (int64_t i = 0; i < job->k; i += 32)
    _mm512_store_si512((void *)(to + i), pack_bf16(sixteen(job, x, i, scale), sixteen(job, x, i + 16, scale)));
}

/* Right operands: 16 pairs of 64 bytes, or of 4 where there is one row. Left ones, weights, are tiles 6 and 7. */
static void configure_for(int64_t rows) {
  struct tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = rows == 1 && i < 6 ? 4 : 64;
    config.rows[i] = 16;
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
}

/* Where sums go: rows `row` … `row` + `count` − 1, columns n … n + 15 of a part. */
typedef struct {
  int part, is_one;
  int64_t row, count, n;
} Place;

/* c [16 output features, 16 rows], or [16] of one row, plus the bias of each feature from n on. */
static inline void add_bias(const float *c, const Place *at, const float *bias, int64_t width, __m512 sums[16]) {
  if (at->is_one) {
    sums[0] = _mm512_load_ps(c);
    if (bias) sums[0] = _mm512_add_ps(sums[0], _mm512_maskz_loadu_ps(first_lanes(width - at->n), bias + at->n));
    return;
  }
  for (int i = 0; i < 16; i++) sums[i] = _mm512_load_ps(c + 16 * i);
  if (bias)
    for (int i = 0; i < MIN(width - at->n, 16); i++) sums[i] = _mm512_add_ps(sums[i], each(bias[at->n + i]));
}

/* c: sums of the part; up: those of the next one, gated by c, or null. */
static __attribute__((noinline)) void finish_group(const BlockJob *b, Place at, const float *c, const float *up) {
  const Part *part = b->job.part + at.part;
  const Side *side = &part->plain;
  const __mmask16 lanes = first_lanes(part->n - at.n);
  if (!lanes || side->y == NULL) return;
  const int64_t start = at.row * part->n + at.n;
  const float *residual = b->job.plain.residual;
  __m512 sums[16], ups[16];
  add_bias(c, &at, side->bias, part->n, sums);
  if (up) {
    add_bias(up, &at, part[1].plain.bias, part->n, ups);
    for (int i = 0; i < (at.is_one ? 1 : 16); i++) sums[i] = _mm512_mul_ps(_mm512_mul_ps(sums[i], sigmoid_ps(sums[i])), ups[i]);
  }
  if (!at.is_one) transpose((__m512i *)sums);
  for (int64_t r = 0; r < at.count; r++) {
    const int64_t to = start + r * part->n;
    __m512 sum = sums[r];
    if (residual) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, residual + to), sum);
    _mm512_mask_storeu_ps(side->y + to, lanes, sum);
  }
}

/* Two groups that are computed together: of a panel, or of a part and the one that it gates. */
typedef struct {
  int part[2];
  int64_t n[2];
} Pair;

/* The `index`-th pair from panel `from` on. */
static inline Pair pair_of(const BlockJob *b, int64_t from, int64_t index) {
  int64_t panel;
  if (b->job.is_gated) return (Pair){{0, 1}, {from * PANEL + index * GROUP, from * PANEL + index * GROUP}};
  const int part = (int)(part_of(&b->job, from + index, &panel) - b->job.part);
  return (Pair){{part, part}, {panel * PANEL, panel * PANEL + GROUP}};
}

/*
 * Up to 32 rows: tiles 0 and 1 are sums of the first group with rows 0 … 15 and 16 … 31, 2 and 3 of the second; 4 and 5 are rows. All parts
 * are of `format`, a constant of the caller, or of several formats (0).
 */
INLINE void few_rows(int format, const BlockJob *b, int64_t from, int64_t to, const bf16 *x, uint8_t *copy) {
  const int64_t kt = b->kt, rows = b->job.m, num_pairs = (to - from) * (b->job.is_gated ? 2 : 1), num_steps = num_pairs * kt;
  const int is_one = rows == 1, is_wide = rows > 16, is_gated = b->job.is_gated;
  const int64_t x_tile = is_one ? 32 : TILE, x_stride = is_one ? 4 : 64;
  bf16 ring[RING][2 * TILE] ALIGNED;
  Scales scales[2][4] ALIGNED;
  float c[2][2][16 * 16] ALIGNED;
  Group group[2] = {{0}};
  const uint8_t *next[2] = {NULL};
  int64_t made = 0, made_t = 0, done = 0, done_t = 0; /* pairs, and tiles of the one at work */
  configure_for(rows);
  for (int64_t s = 0; s < num_steps + LAG; s++) {
    if (s < num_steps) {
      bf16 *to_tile = ring[s % RING];
      for (int g = 0; g < 2; g++) {
        if (made_t == 0) {
          const Pair pair = pair_of(b, from, made), after = pair_of(b, from, MIN(made + 1, num_pairs - 1));
          group[g] = group_of(b, pair.part[g], pair.n[g], copy + g * GROUP * b->row_bytes[pair.part[g]]);
          next[g] = b->blocks[after.part[g]] + after.n[g] * b->row_bytes[after.part[g]];
        }
        const int number = format ? format : group[g].format;
        /* What is read next, as fast as this is read. */
        const int64_t tile_bytes = GROUP * 32 / block_formats[number].block * block_formats[number].bytes;
#pragma GCC unroll 16
        for (int64_t at = 0; at < tile_bytes; at += 64) __builtin_prefetch(next[g] + at, 0, 3);
        next[g] += tile_bytes;
        make_tile(number, group + g, made_t, kt, scales[g], to_tile + g * TILE);
      }
      if (++made_t == kt) made_t = 0, made++;
    }
    if (s < LAG) continue;
    const bf16 *w = ring[(s - LAG) % RING], *right = x + done_t * x_tile;
    if (done_t == 0) {
      TILE_ZERO(0);
      TILE_ZERO(1);
      TILE_ZERO(2);
      TILE_ZERO(3);
    }
    TILE_LOAD(4, right, x_stride);
    TILE_LOAD(6, w, 64);
    TILE_PRODUCT(0, 6, 4);
    TILE_LOAD(7, w + TILE, 64);
    TILE_PRODUCT(2, 7, 4);
    if (is_wide) {
      TILE_LOAD(5, right + kt * TILE, 64);
      TILE_PRODUCT(1, 6, 5);
      TILE_PRODUCT(3, 7, 5);
    }
    if (++done_t < kt) continue;
    done_t = 0;
    TILE_STORE(0, c[0][0], x_stride);
    TILE_STORE(2, c[1][0], x_stride);
    if (is_wide) {
      TILE_STORE(1, c[0][1], 64);
      TILE_STORE(3, c[1][1], 64);
    }
    const Pair pair = pair_of(b, from, done++);
    for (int g = 0; g < (is_gated ? 1 : 2); g++)
      for (int64_t r = 0; r < rows; r += 16) {
        const Place at = {.part = pair.part[g], .is_one = is_one, .row = r, .count = MIN(rows - r, 16), .n = pair.n[g]};
        finish_group(b, at, c[g][r / 16], is_gated ? c[1][r / 16] : NULL);
      }
  }
}

/* One for each format, so that its constants stay in registers. */
#define FEW_ROWS_OF(format, name)                                                                                                    \
  static __attribute__((noinline)) void few_rows_##name(const BlockJob *b, int64_t from, int64_t to, const bf16 *x, uint8_t *copy) { \
    few_rows(format, b, from, to, x, copy);                                                                                          \
  }
EACH_FORMAT(FEW_ROWS_OF)
FEW_ROWS_OF(0, mixed)

static void few_rows_of_job(const BlockJob *b, int64_t from, int64_t to, const bf16 *x, uint8_t *copy) {
  int64_t format = b->format[0] - block_formats;
  for (int p = 1; p < b->job.num_parts; p++)
    if (b->format[p] != b->format[0]) format = 0;
#define CASE(number, name) \
  case number: few_rows_##name(b, from, to, x, copy); break;
  switch (format) {
    EACH_FORMAT(CASE)
    default: few_rows_mixed(b, from, to, x, copy);
  }
}

/* Makes the tiles of a pair one at a time: [2, kt]. */
typedef struct {
  Group group[2];
  Scales scales[2][4] ALIGNED;
  int64_t made;
} Maker;

static inline void begin_pair(const BlockJob *b, int64_t from, int64_t index, uint8_t *copy, Maker *maker) {
  const Pair pair = pair_of(b, from, index);
  for (int g = 0; g < 2; g++) maker->group[g] = group_of(b, pair.part[g], pair.n[g], copy + g * GROUP * b->row_bytes[pair.part[g]]);
  maker->made = 0;
}
static inline void make_next(Maker *maker, int64_t kt, bf16 *tiles) {
  const int64_t g = maker->made % 2, t = maker->made / 2;
  make_tile(maker->group[g].format, maker->group + g, t, kt, maker->scales[g], tiles + (g * kt + t) * TILE);
  maker->made++;
}

/*
 * More than 32 rows: each pair meets them in blocks of 32, tiles as above. Between its products the tiles of the next pair are made.
 */
static void many_rows(const BlockJob *b, const Range *range, uint8_t *copy) {
  const int64_t kt = b->kt, num_blocks = (range->count + 31) / 32;
  const int64_t num_pairs = (range->to - range->from) * (b->job.is_gated ? 2 : 1);
  const int is_gated = b->job.is_gated;
  bf16 *memory = az_take((size_t)(4 * kt * TILE) * sizeof(bf16));
  Maker maker;
  float c[2][2][16 * 16] ALIGNED;
  configure_for(range->count);
  begin_pair(b, range->from, 0, copy, &maker);
  while (maker.made < 2 * kt) make_next(&maker, kt, memory);
  for (int64_t p = 0; p < num_pairs; p++) {
    const Pair pair = pair_of(b, range->from, p);
    const bf16 *first = memory + p % 2 * 2 * kt * TILE, *second = first + kt * TILE;
    bf16 *next = memory + (p + 1) % 2 * 2 * kt * TILE;
    int64_t due = p + 1 < num_pairs ? 0 : INT64_MIN / 2; /* two tiles for each of num_blocks steps */
    if (p + 1 < num_pairs) begin_pair(b, range->from, p + 1, copy, &maker);
    for (int64_t r = 0; r < range->count; r += 32) {
      const int64_t row = range->first + r, count = MIN(range->count - r, 32);
      const bf16 *x = b->x + row / 16 * kt * TILE, *more = x + kt * TILE;
      TILE_ZERO(0);
      TILE_ZERO(1);
      TILE_ZERO(2);
      TILE_ZERO(3);
      for (int64_t t = 0; t < kt; t++) {
        TILE_LOAD(4, x + t * TILE, 64);
        TILE_LOAD(6, first + t * TILE, 64);
        TILE_PRODUCT(0, 6, 4);
        TILE_LOAD(7, second + t * TILE, 64);
        TILE_PRODUCT(2, 7, 4);
        if (count > 16) {
          TILE_LOAD(5, more + t * TILE, 64);
          TILE_PRODUCT(1, 6, 5);
          TILE_PRODUCT(3, 7, 5);
        }
        for (due += 2; due >= num_blocks; due -= num_blocks) make_next(&maker, kt, next);
      }
      TILE_STORE(0, c[0][0], 64);
      TILE_STORE(1, c[0][1], 64);
      TILE_STORE(2, c[1][0], 64);
      TILE_STORE(3, c[1][1], 64);
      for (int g = 0; g < (is_gated ? 1 : 2); g++)
        for (int64_t later = 0; later < count; later += 16) {
          const Place at = {.part = pair.part[g], .row = row + later, .count = MIN(count - later, 16), .n = pair.n[g]};
          finish_group(b, at, c[g][later / 16], is_gated ? c[1][later / 16] : NULL);
        }
    }
  }
  az_give(memory);
}

static void pack_task(void *arg, size_t index) {
  const BlockJob *b = arg;
  const int64_t first = (int64_t)index * PACK_ROWS, count = MIN(b->job.m - first, PACK_ROWS);
  bf16 *to = b->x + first / 16 * b->kt * TILE;
  pack_rows(&b->job, first, count, to);
  turn_tiles(to, ROUND_UP(count, 16) / 16 * b->kt);
}

static void task(void *arg, size_t index) {
  const BlockJob *b = arg;
  const int64_t block = (int64_t)index / b->job.num_splits, split = (int64_t)index % b->job.num_splits;
  const Range range = {
      .first = block * b->row_block,
      .count = MIN(b->job.m - block * b->row_block, b->row_block),
      .from = b->job.num_panels * split / b->job.num_splits,
      .to = b->job.num_panels * (split + 1) / b->job.num_splits,
  };
  int64_t widest = 0;
  for (int p = 0; p < b->job.num_parts; p++) widest = MAX(widest, b->row_bytes[p]);
  uint8_t *copy = az_take((size_t)(2 * GROUP * widest));
  if (b->x != NULL) {
    many_rows(b, &range, copy);
  } else {
    bf16 *x = az_take((size_t)(ROUND_UP(range.count, 16) * b->kt * 64));
    if (range.count == 1) {
      pack_one(&b->job, 0, x);
    } else {
      pack_rows(&b->job, 0, range.count, x);
      turn_tiles(x, ROUND_UP(range.count, 16) / 16 * b->kt);
    }
    few_rows_of_job(b, range.from, range.to, x, copy);
    az_give(x);
  }
  TILE_RELEASE();
  az_give(copy);
}

/*
 * Attributes: those of DecodeLinear, and the format of each part's blocks. Inputs: x [rows, features], gain [features]?, residual?, a
 * bias for each of four parts?, blocks. Outputs: y of each part [rows, n], or one if gated.
 */
static void run(Ctx *c) {
  enum { X, GAIN, RESIDUAL, BIAS, BLOCKS = BIAS + MAX_PARTS, FORMATS = 8 };
  BlockJob b = {.job = {.plain = {.x = c->in[X].data, .gain = c->in[GAIN].data, .residual = c->in[RESIDUAL].data}, .epsilon = c->f[0]}};
  Job *job = &b.job;
  read_extents(c, job, c->num_inputs - BLOCKS);
  b.kt = job->k / 32;
  for (int p = 0; p < job->num_parts; p++) {
    Part *part = job->part + p;
    b.format[p] = format_of(c, c->i[FORMATS + p], job->k);
    b.blocks[p] = c->in[BLOCKS + p].data;
    b.row_bytes[p] = job->k / b.format[p]->block * b.format[p]->bytes;
    if (az_size(c->in + BLOCKS + p) != part->n * b.row_bytes[p]) az_fail(c, "blocks of a weight have another size");
    part->plain = (Side){.bias = c->in[BIAS + p].data};
    if (!job->is_gated || p == 0) part->plain.y = OUT(c, p, job->m, part->n);
  }
  const int64_t threads = c->i[0];
  b.row_block = job->m;
  if (job->m > FEW_ROWS) {
    b.row_block = MAX(ROW_BLOCK, ROW_BLOCK_BYTES / (b.kt * 64) / 32 * 32);
    b.x = az_take((size_t)(ROUND_UP(job->m, 16) * b.kt * 64));
    az_par(c, (size_t)((job->m + PACK_ROWS - 1) / PACK_ROWS), pack_task, &b);
  }
  const int64_t blocks = (job->m + b.row_block - 1) / b.row_block;
  int64_t features = 0;
  for (int p = 0; p < job->num_parts; p++) features += job->part[p].n;
  const int is_small = features * b.kt * (16 + job->m) < SMALL_WORK;
  job->num_splits = threads < 2 || is_small || blocks >= 2 * threads ? 1 : MIN(job->num_panels, 2 * threads);
  az_par(c, (size_t)(blocks * job->num_splits), task, &b);
  if (b.x != NULL) az_give(b.x);
}

/* --- rows of a table */

typedef struct {
  const BlockFormat *format;
  const uint8_t *table;
  const int64_t *ids;
  float *y;
  int64_t width, stride;
} Gather;

static void gather_task(void *arg, size_t index) {
  const Gather *g = arg;
  float *y = g->y + (int64_t)index * g->width;
  const uint8_t *row = g->table + g->ids[index] * g->stride;
  for (int64_t i = 0; i < g->width; i += g->format->block, row += g->format->bytes) g->format->values(row, y + i);
}

/* Attributes: width, format. table (blocks of [V, width]), ids [N] → their rows [N, width], in float32 */
static void run_gather(Ctx *c) {
  Gather g = {.format = format_of(c, c->i[1], c->i[0]), .table = c->in[0].data, .ids = c->in[1].data, .width = c->i[0]};
  g.stride = g.width / g.format->block * g.format->bytes;
  const int64_t count = az_size(c->in + 1), rows = az_size(c->in) / g.stride;
  for (int64_t i = 0; i < count; i++)
    if (g.ids[i] < 0 || g.ids[i] >= rows) az_fail(c, "an id is outside the table");
  g.y = OUT(c, 0, count, g.width);
  for (int64_t i = 0; i < count; i++) gather_task(&g, (size_t)i);
}

const Op az_decode_blocks_ops[] = {
    {"DecodeBlocks", run, "ff?f?f?f?f?f?u*", "f*",
     {"threads", "gated", "rows", "features", "n0", "n1", "n2", "n3", "format0", "format1", "format2", "format3"}, {"epsilon"},
     .level = LEVEL_AMX},
    {"GatherBlocks", run_gather, "ul", "f", {"width", "format"}, .level = LEVEL_AMX},
    {0},
};
