/*
 * Linear layers of inference on weights that stay in the blocks they are stored in (ggml_formats.h), in float32 and with exact weights:
 *   y[r, n] = Σ_b first[n, b]·C_b[r, n] + second[n, b]·S_b[r],   C_b = Σ_k x[r, k]·q[n, k],   S_b = Σ_k x[r, k]   over the 32 inputs k of b
 * (of half a block for Q6_K). A lane is an output feature. Sums C_b begin anew with each block and run over its inputs in order, and blocks are added in
 * order, so that a row has the same bits whatever rows stand beside it.
 *
 * Up to FEW rows meet numbers as they come out of the blocks; for more, pieces (32 inputs of 16 features) are widened into the first-level cache and
 * meet all rows, of which as many inputs at a time as the second-level cache holds. Few rows are scaled by powers of two down to 2⁻²⁴ first, so that bits
 * may differ where x is not zero and smaller than 2⁻¹⁰².
 */
#include "block_lanes.h"

enum {
  MAX_PARTS = 4,
  FEW = PARTS > 2 ? 1 : 3,
  TOGETHER = PARTS == 1 ? 4 : PARTS == 2 ? 2 : 1, /* blocks of one row side by side, so that sums do not wait for each other */
  AHEAD = 4096,                                     /* bytes of blocks that are asked for in advance */
  PIECES = 6,                                       /* widened together */
  TILE_ROWS = PARTS == 1 ? 12 : PARTS == 2 ? 6 : 3, /* whose sums the registers hold */
  BLOCK_ROWS = 256,
  BLOCK_BYTES = 256 << 10, /* of their inputs, taken together */
  BATCH = 32               /* groups whose sums wait for further inputs */
};
/* Multiplications of a layer, and numbers to pack, of which half takes no longer than waking another thread. */
enum { SMALL_WORK = 2500000, SMALL_PACK = 65536 };

typedef struct {
  const BlockFormat *format;
  const uint8_t *blocks; /* [N, K / block], 16 rows together */
  const float *bias;
  float *y;            /* [M, N] */
  const float *scaled; /* few rows as `numbers_of` wants them: [M, K] */
  int64_t n, row_bytes;
} Part;

typedef struct {
  const float *x, *gain, *residual; /* [M, K], [K] or null, [M, N] or null */
  Part part[MAX_PARTS];
  int num_parts, is_gated; /* gated: y of the first part becomes silu(first)·second */
  float epsilon;
  int64_t m, k, kt, num_units, num_splits, num_tiles, widest; /* bytes of a row of blocks */
  float *rows; /* normed: of few [M, K]; of many, tiles [K, rows of the tile] one after the other */
  float *sums; /* S: [M, K/32] */
} Job;

/* --- rows */

static inline int are_few(const Job *job) { return job->m <= FEW; }
/* The first row of a tile; tiles differ by one row at most. */
static inline int64_t tile_begin(const Job *job, int64_t tile) { return job->m * tile / job->num_tiles; }

/* Row r, normed, to [K], and the sums of its blocks. */
static void norm_row(const Job *job, int64_t r, float *to) {
  const float *x = job->x + r * job->k;
  Vec squares = v_zero();
  if (job->gain)
    for (int64_t i = 0; i < job->k; i += LANES) squares = v_fma(v_load(x + i), v_load(x + i), squares);
  const Vec scale = v_all(job->gain ? 1 / sqrtf(v_sum(squares) / (float)job->k + job->epsilon) : 1);
  for (int64_t i = 0; i < job->k; i += LANES)
    v_store(to + i, job->gain ? v_mul(v_mul(v_load(x + i), scale), v_load(job->gain + i)) : v_load(x + i));
  for (int64_t t = 0; t < job->kt; t++)
    job->sums[r * job->kt + t] = v_sum(v_add(v_load(to + 32 * t), v_load(to + 32 * t + 16)));
}

static void pack_task(void *arg, size_t index) {
  const Job *job = arg;
  const int64_t first = tile_begin(job, (int64_t)index), rows = tile_begin(job, (int64_t)index + 1) - first;
  float *row = az_take(sizeof(float) * (size_t)job->k), *to = job->rows + first * job->k;
  for (int64_t r = 0; r < rows; r++) {
    norm_row(job, first + r, row);
    for (int64_t k = 0; k < job->k; k++) to[k * rows + r] = row[k];
  }
  az_give(row);
}

static void scale_rows(const Job *job, int format, float *to) {
  float scales[2][32] ALIGNED; /* of even and odd blocks */
  for (int i = 0; i < 64; i++) scales[i / 32][i % 32] = scale_of(format, i % 32 / 16, i / 32, i % 4);
  for (int64_t r = 0; r < job->m; r++)
    for (int64_t t = 0; t < job->kt; t++)
      for (int64_t i = r * job->k + 32 * t, half = 0; half < 2; half++, i += LANES)
        v_store(to + i, v_mul(v_load(job->rows + i), v_load(scales[t % 2] + LANES * half)));
}

/* --- few rows */

/* Adds blocks t … t + together − 1 of a group, whose sums go side by side. All but t are constants of the caller. */
INLINE void add_few(int format, int rows, int together, const Job *job, const float *x, const uint8_t *group, int64_t t, Vec *y) {
  Vec c[2][FEW][TOGETHER]; /* of halves, or all in the first */
  const int halves = has_two_halves(format) ? 2 : 1;
  for (int h = 0; h < halves; h++)
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < together; i++) c[h][r][i] = v_zero();
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++)
#pragma GCC unroll 1
    for (int64_t u = 0; u < 4; u++)
#pragma GCC unroll 4
      for (int i = 0; i < together; i++) {
        const int is_odd = together > 1 ? i % 2 : (int)(t % 2); /* t is even where blocks are wider than 32 */
        const Four four = four_at(format, spot_of(format, group, t + i), half, u);
        Vec *sums = &c[halves == 2 ? half : 0][0][i];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
          const Vec q = numbers_of(format, four, half, is_odd, j);
#pragma GCC unroll 4
          for (int r = 0; r < rows; r++)
            sums[r * TOGETHER] = v_fma(v_all(x[r * job->k + 32 * (t + i) + 16 * half + 4 * u + j]), q, sums[r * TOGETHER]);
        }
      }
#pragma GCC unroll 4
  for (int i = 0; i < together; i++) {
    const Factors factors = factors_at(format, spot_of(format, group, t + i));
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
      y[r] = v_fma(factors.first, c[0][r][i], y[r]);
      if (halves == 2) y[r] = v_fma(factors.second, c[1][r][i], y[r]);
      if (has_second(format)) y[r] = v_fma(factors.second, v_all(job->sums[r * job->kt + t + i]), y[r]);
    }
  }
}

/* y [rows, 16] of a group. */
INLINE void sum_few(int format, int rows, const Job *job, const float *x, const uint8_t *group, float *y) {
  const int together = rows > 1 ? 1 : TOGETHER;
  Vec sums[FEW];
  for (int r = 0; r < rows; r++) sums[r] = v_zero();
  int64_t t = 0;
  const int64_t bytes = GROUP * 32 / block_formats[format].block * block_formats[format].bytes;
  for (; t + together <= job->kt; t += together) {
    const uint8_t *next = group + t * bytes + AHEAD;
#pragma GCC unroll 40
    for (int64_t line = 0; line < together * bytes; line += 64) __builtin_prefetch(next + line, 0, 3);
    add_few(format, rows, together, job, x, group, t, sums);
  }
  for (; t < job->kt; t++) add_few(format, rows, 1, job, x, group, t, sums);
  for (int r = 0; r < rows; r++) v_store(y + 16 * r, sums[r]);
}
#define FEW_ROWS(number, n)                                                                                            \
  case n:                                                                                                              \
    if (n <= FEW) sum_few(number, MIN(n, FEW), job, x, group, y);                                                      \
    break
#define SUM_FEW(number, name)                                                                                          \
  static __attribute__((noinline)) void sum_few_##name(const Job *job, const float *x, const uint8_t *group, float *y) { \
    switch (job->m) {                                                                                                  \
      FEW_ROWS(number, 1);                                                                                             \
      FEW_ROWS(number, 2);                                                                                             \
      FEW_ROWS(number, 3);                                                                                             \
    }                                                                                                                  \
  }
EACH_FORMAT(SUM_FEW)

/* --- many rows */

typedef struct {
  float q[32 * 16], first[16], second[16];
} Piece ALIGNED;

/* Inputs 32·t … of a group. */
INLINE void widen(int format, const uint8_t *group, int64_t t, Piece *to) {
  const Spot spot = spot_of(format, group, t);
  const Factors factors = factors_at(format, spot);
  v_store(to->first, factors.first), v_store(to->second, factors.second);
  for (int is_odd = 0; is_odd < 2; is_odd++) { /* constants: with them places are, too */
    if (is_odd != t % 2) continue;
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++)
#pragma GCC unroll 1
      for (int64_t u = 0; u < 4; u++) {
        const Four four = four_at(format, spot, half, u);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
          v_store(to->q + 16 * (16 * half + 4 * u + j), v_mul(numbers_of(format, four, half, is_odd, j), v_all(scale_of(format, half, is_odd, j))));
      }
  }
}
#define WIDEN(number, name)                                                                                            \
  static __attribute__((noinline)) void widen_##name(const uint8_t *group, int64_t t, Piece *to) { widen(number, group, t, to); }
EACH_FORMAT(WIDEN)

/* Adds pieces t … t + count − 1 to the sums y [rows, 16] of a tile, whose rows x [K, rows] are. `rows` and `halves` are constants of the caller. */
INLINE void add_tile(int rows, int halves, int has_seconds, const Piece *pieces, int64_t t, int64_t count, const float *x, const float *sums, int64_t kt, float *y) {
  x += 32 * t * rows;
  for (int64_t p = 0; p < count; p++)
    for (int half = 0; half < halves; half++) {
      const float *q = pieces[p].q + 256 * half;
      Vec c[TILE_ROWS];
#pragma GCC unroll 12
      for (int r = 0; r < rows; r++) c[r] = v_zero();
      for (int64_t k = 0; k < 32 / halves; k++, q += 16, x += rows) {
        const Vec numbers = v_load(q);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) c[r] = v_fma(v_all(x[r]), numbers, c[r]);
      }
      const Vec factor = v_load(half ? pieces[p].second : pieces[p].first), second = v_load(pieces[p].second);
#pragma GCC unroll 12
      for (int r = 0; r < rows; r++) {
        Vec sum = v_fma(factor, c[r], v_load(y + 16 * r));
        if (has_seconds) sum = v_fma(second, v_all(sums[r * kt + t + p]), sum);
        v_store(y + 16 * r, sum);
      }
    }
}
/* The same of a tile of any number of rows. */
static __attribute__((noinline)) void add_rows(int64_t rows, int format, const Piece *pieces, int64_t t, int64_t count, const float *x, const float *sums, int64_t kt,
                                               float *y) {
#define ROWS(n)                                                                                                        \
  case n:                                                                                                              \
    if (n > TILE_ROWS) break;                                                                                          \
    if (has_two_halves(format)) add_tile(MIN(n, TILE_ROWS), 2, 0, pieces, t, count, x, sums, kt, y);                   \
    else if (has_second(format)) add_tile(MIN(n, TILE_ROWS), 1, 1, pieces, t, count, x, sums, kt, y);                  \
    else add_tile(MIN(n, TILE_ROWS), 1, 0, pieces, t, count, x, sums, kt, y);                                          \
    break
  switch (rows) {
    ROWS(1); ROWS(2); ROWS(3); ROWS(4); ROWS(5); ROWS(6); ROWS(7); ROWS(8); ROWS(9); ROWS(10); ROWS(11); ROWS(12);
  }
#undef ROWS
}

/* --- groups */

typedef struct {
  void (*sum_few)(const Job *job, const float *x, const uint8_t *group, float *y);
  void (*widen)(const uint8_t *group, int64_t t, Piece *to);
} Kind;
static const Kind kinds[NUM_BLOCK_FORMATS] = {
#define KIND(number, name) [number] = {sum_few_##name, widen_##name},
    EACH_FORMAT(KIND)
#undef KIND
};
static inline int number_of(const Part *part) { return (int)(part->format - block_formats); }

/* Sixteen output features of a part. Of gated parts those of gate and up follow each other. */
typedef struct {
  const Part *part;
  int64_t n;
} Unit;
static inline int64_t groups_of(const Part *part) { return (part->n + GROUP - 1) / GROUP; }
static Unit unit_at(const Job *job, int64_t index) {
  if (job->is_gated) return (Unit){job->part + index % 2, index / 2 * GROUP};
  const Part *part = job->part;
  for (; index >= groups_of(part); part++) index -= groups_of(part);
  return (Unit){part, index * GROUP};
}

/* A group as it lies in the matrix, or, of rows that do not fill one, in `copy`. */
static const uint8_t *group_of(const Job *job, Unit unit, uint8_t *copy) {
  const uint8_t *rows = unit.part->blocks + unit.n * unit.part->row_bytes;
  const int64_t count = unit.part->n - unit.n;
  if (count >= GROUP) return rows;
  fill_group(unit.part->format, job->k / unit.part->format->block, rows, count, copy);
  return copy;
}

/* Sums [rows, 16] of rows from `row` on, and of what they gate, into y. */
static __attribute__((noinline)) void finish(const Job *job, Unit unit, int64_t row, int64_t rows, const float *sums, const float *up) {
  const Part *part = unit.part;
  const int64_t lanes = MIN(part->n - unit.n, GROUP);
  if (part->y == NULL) return;
  const Vec bias = part->bias ? v_load_first(part->bias + unit.n, lanes) : v_zero();
  const Vec up_bias = up && part[1].bias ? v_load_first(part[1].bias + unit.n, lanes) : v_zero();
  for (int64_t r = 0; r < rows; r++) {
    const int64_t to = (row + r) * part->n + unit.n;
    Vec y = v_add(v_load(sums + 16 * r), bias);
    if (up) y = v_mul(v_mul(y, v_sigmoid(y)), v_add(v_load(up + 16 * r), up_bias));
    if (job->residual) y = v_add(v_load_first(job->residual + to, lanes), y);
    v_store_first(part->y + to, lanes, y);
  }
}

/* Sums of units from … to − 1 are there, of `rows` rows from `row` on. */
static void finish_units(const Job *job, int64_t from, int64_t to, int64_t row, int64_t rows, const float *y) {
  for (int64_t i = from; i < to; i += 1 + job->is_gated, y += (1 + job->is_gated) * 16 * rows)
    finish(job, unit_at(job, i), row, rows, y, job->is_gated ? y + 16 * rows : NULL);
}

static void few_task(void *arg, size_t index) {
  const Job *job = arg;
  const int64_t width = 1 + job->is_gated, pairs = job->num_units / width, splits = job->num_splits;
  const int64_t from = pairs * (int64_t)index / splits * width, to = pairs * ((int64_t)index + 1) / splits * width;
  uint8_t *copy = az_take((size_t)(GROUP * job->widest));
  for (int64_t i = from; i < to; i += width) {
    float y[2][16 * FEW] ALIGNED;
    for (int64_t j = 0; j < width; j++) {
      const Unit unit = unit_at(job, i + j);
      kinds[number_of(unit.part)].sum_few(job, unit.part->scaled, group_of(job, unit, copy), y[j]);
    }
    finish(job, unit_at(job, i), 0, job->m, y[0], job->is_gated ? y[1] : NULL);
  }
  az_give(copy);
}

/* Adds inputs 32·t … of `count` blocks of a unit to the sums y [rows, 16] of tiles first … last − 1. */
static void add_unit(const Job *job, Unit unit, const uint8_t *group, int64_t t, int64_t count, int64_t first, int64_t last, Piece *pieces, float *y) {
  const int format = number_of(unit.part);
  const int64_t begin = tile_begin(job, first);
  const int64_t bytes = GROUP * 32 / unit.part->format->block * unit.part->format->bytes;
  for (int64_t p = 0; p < count; p++) {
    const uint8_t *next = group + (t + p + PIECES) * bytes;
    for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(next + line, 0, 2);
    kinds[format].widen(group, t + p, pieces + p);
  }
  for (int64_t tile = first; tile < last; tile++) {
    const int64_t row = tile_begin(job, tile), rows = tile_begin(job, tile + 1) - row;
    add_rows(rows, format, pieces, t, count, job->rows + row * job->k, job->sums + row * job->kt, job->kt, y + 16 * (row - begin));
  }
}

static void many_task(void *arg, size_t index) {
  const Job *job = arg;
  const int64_t width = 1 + job->is_gated, pairs = job->num_units / width, splits = job->num_splits;
  const int64_t from = pairs * (int64_t)index / splits * width, to = pairs * ((int64_t)index + 1) / splits * width;
  uint8_t *copy = az_take((size_t)(GROUP * job->widest));
  Piece *pieces = az_take(PIECES * sizeof(Piece));
  float *y = az_take(sizeof(float) * BATCH * 16 * BLOCK_ROWS);
  for (int64_t first = 0, last; first < job->num_tiles; first = last) {
    const int64_t row = tile_begin(job, first);
    for (last = first + 1; last < job->num_tiles && tile_begin(job, last + 1) - row <= BLOCK_ROWS;) last++;
    const int64_t rows = tile_begin(job, last) - row, most = MAX(1, BLOCK_BYTES / (rows * 128) / PIECES) * PIECES;
    for (int64_t i = from; i < to; i += BATCH) {
      const int64_t end = MIN(i + BATCH, to);
      memset(y, 0, sizeof(float) * (size_t)((end - i) * 16 * rows));
      for (int64_t chunk = 0; chunk < job->kt; chunk += most)
        for (int64_t j = i; j < end; j++) {
          const Unit unit = unit_at(job, j);
          const uint8_t *group = group_of(job, unit, copy);
          for (int64_t t = chunk; t < MIN(chunk + most, job->kt); t += PIECES)
            add_unit(job, unit, group, t, MIN(PIECES, MIN(chunk + most, job->kt) - t), first, last, pieces, y + (j - i) * 16 * rows);
        }
      finish_units(job, i, end, row, rows, y);
    }
  }
  az_give(y);
  az_give(pieces);
  az_give(copy);
}

static void read_part(Ctx *c, Job *job, int p, int blocks, int bias) {
  Part *part = job->part + p;
  part->n = c->i[4 + p];
  part->format = format_of(c, c->i[8 + p], job->k);
  part->blocks = c->in[blocks].data;
  part->bias = c->in[bias].data;
  part->row_bytes = job->k / part->format->block * part->format->bytes;
  if (az_size(c->in + blocks) != part->n * part->row_bytes) az_fail(c, "blocks of a weight have another size");
  if (!job->is_gated || p == 0) part->y = OUT(c, p, job->m, part->n);
  job->num_units += groups_of(part);
  job->widest = MAX(job->widest, part->row_bytes);
}

/* Few rows: a copy for each format among the parts. */
static float *scale_parts(Job *job) {
  float *all = az_take(sizeof(float) * (size_t)(MAX_PARTS * job->m * job->k));
  for (int p = 0; p < job->num_parts; p++) {
    Part *part = job->part + p;
    for (int other = 0; other < p; other++)
      if (job->part[other].format == part->format) part->scaled = job->part[other].scaled;
    if (part->scaled) continue;
    float *to = all + p * job->m * job->k;
    scale_rows(job, number_of(part), to);
    part->scaled = to;
  }
  return all;
}

/*
 * Attributes: threads, gated, rows, features, n0 … n3 (output features of each part), the format of each part's blocks, epsilon. Inputs: x [rows,
 * features], gain [features]?, residual?, a bias for each of four parts?, blocks. Outputs: y of each part [rows, n], or one if gated.
 */
static void run(Ctx *c) {
  enum { X, GAIN, RESIDUAL, BIAS, BLOCKS = BIAS + MAX_PARTS };
  Job job = {.x = c->in[X].data, .gain = c->in[GAIN].data, .residual = c->in[RESIDUAL].data, .epsilon = c->f[0], .is_gated = c->i[1] != 0};
  job.m = c->i[2], job.k = c->i[3], job.kt = job.k / 32, job.num_parts = c->num_inputs - BLOCKS;
  if (job.num_parts < 1 || job.num_parts > MAX_PARTS) az_fail(c, "one to four weights are expected");
  if (az_size(c->in) != job.m * job.k) az_fail(c, "x has another size");
  int64_t features = 0;
  for (int p = 0; p < job.num_parts; p++) {
    read_part(c, &job, p, BLOCKS + p, BIAS + p);
    features += job.part[p].n;
  }
  if (job.is_gated && (job.num_parts != 2 || job.part[0].n != job.part[1].n)) az_fail(c, "two layers of the same size are gated");
  if (job.m == 0) return;
  job.num_tiles = are_few(&job) ? 1 : (job.m + TILE_ROWS - 1) / TILE_ROWS;
  job.rows = az_take(sizeof(float) * (size_t)(job.m * job.k));
  job.sums = az_take(sizeof(float) * (size_t)(job.m * job.kt));
  const int64_t threads = c->i[0], width = 1 + job.is_gated, work = features * job.k * job.m;
  job.num_splits = threads < 2 || work < SMALL_WORK ? 1 : MIN(job.num_units / width, 4 * threads);
  if (are_few(&job)) {
    for (int64_t r = 0; r < job.m; r++) norm_row(&job, r, job.rows + r * job.k);
    float *scaled = scale_parts(&job);
    az_par(c, (size_t)job.num_splits, few_task, &job);
    az_give(scaled);
  } else {
    az_par_unless(c, job.m * job.k < SMALL_PACK, (size_t)job.num_tiles, pack_task, &job);
    az_par(c, (size_t)job.num_splits, many_task, &job);
  }
  az_give(job.sums);
  az_give(job.rows);
}

const Op EACH(az_float_blocks_ops)[] = {
    {"FloatBlockGroups", run, "ff?f?f?f?f?f?u*", "f*",
     {"threads", "gated", "rows", "features", "n0", "n1", "n2", "n3", "format0", "format1", "format2", "format3"}, {"epsilon"},
     .level = LEVEL_PORTABLE},
    {0},
};
