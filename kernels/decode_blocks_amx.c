/*
 * Linear layers of inference on weights that stay in the blocks they are stored in (ggml_blocks.h), with exact weights:
 *   y[r, n] = Σ_b first[n, b]·C_b[r, n] + second[n, b]·S_b[r],   C_b = Σ_k x[r, k]·q[n, k],   S_b = Σ_k x[r, k]   over the 32 inputs k of b
 * (of half a block for Q6_K). x is rounded to bfloat16, integers q are exact in it, so the matrix unit gives C_b of up to 16 rows and 16
 * output features; vectors apply the factors. Blocks are added in order, one multiply-add after the other, for any number of rows.
 *
 * A piece is q and the factors of 32 inputs of 16 features. Pieces are made a chunk at a time, few enough for the first-level cache. One tile of
 * rows (up to 16) uses them at once; with more, the next chunk is made between the products of this one, because making is vectors and
 * multiplying mostly loads and stores. What will be made is asked for some pieces before, into the second-level cache.
 */
#include "decode_linear.h"
#include "ggml_blocks.h"

enum {
  SUMS = 4,   /* products under way */
  CHUNK = 12, /* most pieces made together */
  AHEAD = 16, /* pieces */
  PACK_TILES = 4,
  ROW_BLOCK_BYTES = 1 << 20,
  /*
   * One row is the i-th of a tile of otherwise zeros for the i-th of four pieces, so that their sums share a tile: to store one takes as long
   * as a product. Between its blocks lie as many zeros as that takes.
   */
  TOGETHER = 4,
  ALONE = (2 * TOGETHER - 1) * 32,
};
/* Tiles' worth of work (32 inputs of a feature; those of 16 rows count twice) of which half takes no longer than waking another thread, 40 µs. */
enum { SMALL_WORK = 1000000 };

typedef struct {
  Job job;
  const BlockFormat *format[MAX_PARTS];
  const uint8_t *blocks[MAX_PARTS]; /* [N, K / block] of each part, 16 rows together */
  int64_t row_bytes[MAX_PARTS], kt, num_chunks, row_block;
  bf16 *x;     /* left operands: [M/16, K/32] tiles; of one row [K/32, ALONE], the blocks in the middle */
  float *sums; /* S: [M/16, K/32, 16]; of one row [K/32] */
} BlockJob;

/* --- rows */

static inline int is_alone(const BlockJob *b) { return b->job.m == 1; }

/* Row r of tile `tile`, block t. */
static inline bf16 *x_at(const BlockJob *b, int64_t tile, int64_t r, int64_t t) {
  return b->x + (is_alone(b) ? t * ALONE + (TOGETHER - 1) * 32 : ((tile * b->kt + t) * 16 + r) * 32);
}

/* Sums 0 … 3; rows of x are tile 4, or 5 half of their inputs; q is tile 6, or 7 half of its inputs. `width`: bytes of q and of sums. */
static void configure_for(int64_t rows, int width) {
  struct tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) {
    config.row_bytes[i] = i == 4 ? 64 : i == 5 ? 32 : (uint16_t)width;
    config.rows[i] = i < 6 ? (uint8_t)rows : i == 6 ? 16 : 8;
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
}

/* Row r of x, normed and rounded, as row of tiles: inputs in the order of a piece, 0, 2, 1, 3, 4, 6, … Missing rows are zeros. */
static void pack_row(const BlockJob *b, int64_t r) {
  const Job *job = &b->job;
  const float *x = job->plain.x + r * job->k;
  const __m512 scale = _mm512_set1_ps(job->plain.gain == NULL || r >= job->m ? 1.f : inverse_rms(x, job->k, job->epsilon));
  for (int64_t i = 0; i < job->k; i += 32) {
    __m512i packed = _mm512_setzero_si512();
    if (r < job->m)
      packed = pack_bf16(_mm512_permute_ps(sixteen(job, x, i, scale), 0xd8), _mm512_permute_ps(sixteen(job, x, i + 16, scale), 0xd8));
    _mm512_store_si512((void *)x_at(b, r / 16, r % 16, i / 32), packed);
  }
}

/* Packs a tile's rows, and sums their blocks: a product with a column of ones. */
static void pack_tile(const BlockJob *b, int64_t tile) {
  static const bf16 ones[32] ALIGNED = {[0 ... 31] = 0x3f80};
  const int64_t together = is_alone(b) ? TOGETHER : 1, rows = is_alone(b) ? 1 : 16;
  float *sums = b->sums + tile * b->kt * rows;
  if (is_alone(b)) memset(b->x, 0, (size_t)(b->kt * ALONE) * sizeof(bf16));
  for (int64_t r = 0; r < rows; r++) pack_row(b, tile * rows + r);
  TILE_LOAD(6, ones, 4);
  for (int64_t t = 0; t < b->kt; t += together) {
    TILE_ZERO(0);
    for (int64_t i = 0; i < MIN(together, b->kt - t); i++) {
      TILE_LOAD(4, x_at(b, tile, 0, t + i) - 32 * i, 64);
      TILE_PRODUCT(0, 4, 6);
    }
    TILE_STORE(0, sums + t * rows, 4);
  }
}
static void pack_task(void *arg, size_t index) {
  const BlockJob *b = arg;
  const int64_t num_tiles = ROUND_UP(b->job.m, 16) / 16, first = (int64_t)index * PACK_TILES;
  configure_for(is_alone(b) ? TOGETHER : 16, 4);
  for (int64_t tile = first; tile < MIN(num_tiles, first + PACK_TILES); tile++) pack_tile(b, tile);
  TILE_RELEASE();
}

/* --- pieces */

/* 16 output features of a part, from n on. */
typedef struct {
  int part;
  int64_t n;
} Place;

/* The `index`-th 16 features from panel `from` on; gated parts take turns. */
static inline Place place_of(const BlockJob *b, int64_t from, int64_t index) {
  if (b->job.is_gated) return (Place){(int)(index % 2), from * PANEL + index / 2 * GROUP};
  int64_t panel;
  const int part = (int)(part_of(&b->job, from + index / 2, &panel) - b->job.part);
  return (Place){part, panel * PANEL + index % 2 * GROUP};
}

/* Blocks that are computed together: t … t + count − 1 of a group. */
typedef struct {
  int64_t t, count;
} Chunk;
static inline Chunk chunk_of(const BlockJob *b, int64_t index) {
  const int64_t t = b->kt * index / b->num_chunks;
  return (Chunk){t, b->kt * (index + 1) / b->num_chunks - t};
}

/* Makes the pieces of a task in order, into two buffers by turns. */
typedef struct {
  const BlockJob *b;
  int64_t from, num_groups, group, chunk, t, end; /* the next piece is the t-th of its group; its chunk ends at `end` */
  int format;
  const uint8_t *blocks;
  const uint8_t *ahead, *ahead_end; /* asked for with the next piece; where that goes on, ahead_jump bytes further */
  int64_t ahead_jump;
  uint8_t *copy;        /* of a group that is not whole */
  Piece *pieces, *next; /* [2, CHUNK]; the next one there */
  int buffer;
} Maker;

static __attribute__((noinline)) void begin_group(Maker *maker) {
  const BlockJob *b = maker->b;
  const Place at = place_of(b, maker->from, maker->group), next = place_of(b, maker->from, MIN(maker->group + 1, maker->num_groups - 1));
  const BlockFormat *format = b->format[at.part];
  const uint8_t *blocks = b->blocks[at.part] + at.n * b->row_bytes[at.part];
  const int64_t count = MIN(b->job.part[at.part].n - at.n, GROUP), piece_bytes = GROUP * 32 / format->block * format->bytes;
  maker->format = (int)(format - block_formats);
  maker->blocks = blocks;
  maker->ahead_end = blocks + b->kt * piece_bytes;
  maker->ahead_jump = b->blocks[next.part] + next.n * b->row_bytes[next.part] - maker->ahead_end;
  maker->ahead = blocks + AHEAD * piece_bytes;
  if (maker->ahead >= maker->ahead_end) maker->ahead += maker->ahead_jump;
  if (count >= GROUP) return;
  fill_group(format, b->job.k / format->block, blocks, count, maker->copy);
  maker->blocks = maker->copy;
}
static __attribute__((noinline)) void make_any_piece(int format, const uint8_t *blocks, int64_t t, Piece *to) { make_piece(format, blocks, t, to); }
/* `of_all`: the format, where the caller knows it. */
INLINE void make_next(int of_all, Maker *maker) {
  if (maker->group == maker->num_groups) return;
  if (maker->t == 0) begin_group(maker);
  const int format = of_all ? of_all : maker->format;
  const int64_t bytes = GROUP * 32 / block_formats[format].block * block_formats[format].bytes;
  const uint8_t *ahead = maker->ahead;
#pragma GCC unroll 16
  for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(ahead + line, 0, 2);
  maker->ahead = ahead + bytes == maker->ahead_end ? ahead + bytes + maker->ahead_jump : ahead + bytes;
  if (of_all) make_piece(format, maker->blocks, maker->t, maker->next);
  else make_any_piece(format, maker->blocks, maker->t, maker->next);
  maker->next++;
  if (++maker->t < maker->end) return;
  maker->buffer ^= 1;
  maker->next = maker->pieces + maker->buffer * CHUNK;
  if (++maker->chunk == maker->b->num_chunks) maker->chunk = maker->t = 0, maker->group++;
  maker->end = chunk_of(maker->b, maker->chunk).t + chunk_of(maker->b, maker->chunk).count;
}

INLINE void make_pieces(int format, Maker *maker, int64_t count) {
  for (int64_t p = 0; p < count; p++) make_next(format, maker);
}

/* --- products */

/* Adds C of a block to tile c, or of its half. */
#define BLOCK_PRODUCT(c, x, piece)        \
  do {                                    \
    TILE_LOAD_ONCE(4, x, 64);             \
    TILE_LOAD(6, (piece)->q, 64);         \
    TILE_PRODUCT(c, 4, 6);                \
  } while (0)
#define HALF_PRODUCT(c, x, piece, half)             \
  do {                                              \
    TILE_LOAD(5, (x) + 16 * (half), 64);            \
    TILE_LOAD(7, (piece)->q + TILE / 2 * (half), 64); \
    TILE_PRODUCT(c, 5, 7);                          \
  } while (0)

/* y += first·C + second·S of a block; c [rows, 16], sums [16] */
INLINE void add_block(Factors factors, int rows, const float *c, const Piece *piece, const float *sums, __m512 *y) {
  const __m512 first = _mm512_load_ps(piece->first), second = _mm512_load_ps(piece->second);
#pragma GCC unroll 16
  for (int r = 0; r < rows; r++) {
    y[r] = _mm512_fmadd_ps(_mm512_load_ps(c + 16 * r), first, y[r]);
    if (factors == WITH_SECOND) y[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(sums[r]), y[r]);
    if (factors == TWO_HALVES) y[r] = _mm512_fmadd_ps(_mm512_load_ps(c + 256 + 16 * r), second, y[r]);
  }
}

/* Products are summed in tile c, or (two halves) in tiles c and c + 1; c is a constant. */
INLINE void clear_product(Factors factors, int c) {
  switch (factors == TWO_HALVES ? 4 + c / 2 : c) {
  case 0: TILE_ZERO(0); break;
  case 1: TILE_ZERO(1); break;
  case 2: TILE_ZERO(2); break;
  case 3: TILE_ZERO(3); break;
  case 4: TILE_ZERO(0); TILE_ZERO(1); break;
  case 5: TILE_ZERO(2); TILE_ZERO(3); break;
  }
}
INLINE void add_product(Factors factors, int c, const bf16 *x, const Piece *piece) {
  switch (factors == TWO_HALVES ? 4 + c / 2 : c) {
  case 0: BLOCK_PRODUCT(0, x, piece); break;
  case 1: BLOCK_PRODUCT(1, x, piece); break;
  case 2: BLOCK_PRODUCT(2, x, piece); break;
  case 3: BLOCK_PRODUCT(3, x, piece); break;
  case 4: HALF_PRODUCT(0, x, piece, 0); HALF_PRODUCT(1, x, piece, 1); break;
  case 5: HALF_PRODUCT(2, x, piece, 0); HALF_PRODUCT(3, x, piece, 1); break;
  }
}
INLINE void end_product(Factors factors, int c, float *to) {
  switch (factors == TWO_HALVES ? 4 + c / 2 : c) {
  case 0: TILE_STORE(0, to, 64); break;
  case 1: TILE_STORE(1, to, 64); break;
  case 2: TILE_STORE(2, to, 64); break;
  case 3: TILE_STORE(3, to, 64); break;
  case 4: TILE_STORE(0, to, 64); TILE_STORE(1, to + 256, 64); break;
  case 5: TILE_STORE(2, to, 64); TILE_STORE(3, to + 256, 64); break;
  }
}

/* Sums plus the bias into columns n … n + 15 of y, silu(sums)·up where there is that. */
static __attribute__((noinline)) void finish_group(const BlockJob *b, Place at, int64_t row, int64_t count, const __m512 *sums, const __m512 *up) {
  const Part *part = b->job.part + at.part;
  const float *residual = b->job.plain.residual, *bias = part->plain.bias, *up_bias = up ? part[1].plain.bias : NULL;
  const __mmask16 lanes = first_lanes(part->n - at.n);
  if (!lanes || part->plain.y == NULL) return;
  for (int64_t r = 0; r < count; r++) {
    const int64_t to = (row + r) * part->n + at.n;
    __m512 y = sums[r];
    if (bias) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(lanes, bias + at.n));
    if (up) {
      const __m512 other = up_bias ? _mm512_add_ps(up[r], _mm512_maskz_loadu_ps(lanes, up_bias + at.n)) : up[r];
      y = _mm512_mul_ps(_mm512_mul_ps(y, sigmoid_ps(y)), other);
    }
    if (residual) y = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, residual + to), y);
    _mm512_mask_storeu_ps(part->plain.y + to, lanes, y);
  }
}

/* `make` pieces are to be made in `steps` products. */
typedef struct {
  Maker *maker;
  int64_t make, steps, due;
} Pace;

/* Adds `count` blocks to y; sums of a block are taken from their tile when it is needed again. */
INLINE void add_blocks(int format, Factors factors, const bf16 *x, const float *sums, const Piece *pieces, int64_t count, Pace *pace, __m512 y[16]) {
  const int step = factors == TWO_HALVES ? 2 : 1, delay = SUMS / step;
  float c[SUMS][2 * 256] ALIGNED;
  for (int64_t from = 0; from < count + delay; from += delay)
#pragma GCC unroll 4
    for (int i = 0; i < delay; i++) {
      const int64_t t = from + i, done = t - delay;
      if (done >= 0 && done < count) end_product(factors, i * step, c[i]);
      if (t < count && (pace->due += pace->make) >= pace->steps) pace->due -= pace->steps, make_next(format, pace->maker);
      if (t < count) clear_product(factors, i * step), add_product(factors, i * step, x + t * TILE, pieces + t);
      if (done >= 0 && done < count) add_block(factors, 16, c[i], pieces + done, sums + done * 16, y);
    }
}

/* The same for one row: x [blocks, ALONE], sums [blocks]. */
INLINE void add_blocks_alone(Factors factors, const bf16 *x, const float *sums, const Piece *pieces, int64_t count, __m512 *y) {
  const int step = factors == TWO_HALVES ? 2 : 1, num_tiles = SUMS / step;
  float c[SUMS][2 * 256] ALIGNED;
  for (int64_t from = 0; from < count; from += num_tiles * TOGETHER) {
#pragma GCC unroll 4
    for (int i = 0; i < num_tiles; i++) {
      const int64_t first = from + i * TOGETHER;
      if (first < count) clear_product(factors, i * step);
#pragma GCC unroll 4
      for (int64_t j = 0; j < TOGETHER; j++)
        if (first + j < count) add_product(factors, i * step, x + (first + j) * ALONE + (TOGETHER - 1 - j) * 32, pieces + first + j);
    }
#pragma GCC unroll 4
    for (int i = 0; i < num_tiles; i++) {
      const int64_t first = from + i * TOGETHER;
      if (first < count) end_product(factors, i * step, c[i]);
#pragma GCC unroll 4
      for (int64_t j = 0; j < TOGETHER; j++)
        if (first + j < count) add_block(factors, 1, c[i] + 16 * j, pieces + first + j, sums + first + j, y);
    }
  }
}

/*
 * Rows and panels of a task. All parts are of `format`, or of several formats (0); tiles of x have `rows` rows, 1 or 16: both constants of the
 * caller. memory: sums of a group, [rows, 16], and of the group that it gates.
 */
INLINE void sum_panels(int format, int rows, const BlockJob *b, const Range *range, Maker *maker, __m512 *memory) {
  const int64_t kt = b->kt, num_tiles = (range->count + rows - 1) / rows;
  const int is_ahead = num_tiles > 1;
  const Piece *pieces = maker->pieces;
  if (is_ahead) make_pieces(format, maker, chunk_of(b, 0).count);
  for (int64_t i = 0; i < maker->num_groups; i++) {
    const Place at = place_of(b, range->from, i);
    const int is_gate = b->job.is_gated && at.part == 0, number = format ? format : (int)(b->format[at.part] - block_formats);
    __m512 *y = memory + (b->job.is_gated && !is_gate ? num_tiles * 16 : 0);
    for (int64_t i_chunk = 0; i_chunk < b->num_chunks; i_chunk++) {
      const Chunk chunk = chunk_of(b, i_chunk), next = chunk_of(b, (i_chunk + 1) % b->num_chunks);
      Pace pace = {maker, is_ahead ? next.count : 0, num_tiles * chunk.count, 0};
      if (!is_ahead) make_pieces(format, maker, chunk.count);
      for (int64_t tile = 0; tile < num_tiles; tile++) {
        const int64_t row = range->first + tile * rows;
        __m512 sums[16];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) sums[r] = i_chunk ? y[tile * 16 + r] : _mm512_setzero_ps();
        const float *block_sums = b->sums + row * kt + chunk.t * rows;
        if (rows == 1) add_blocks_alone(factors_of(number), b->x + chunk.t * ALONE, block_sums, pieces, chunk.count, sums);
        else add_blocks(format, factors_of(number), x_at(b, row / 16, 0, chunk.t), block_sums, pieces, chunk.count, &pace, sums);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) y[tile * 16 + r] = sums[r];
        if (i_chunk + 1 < b->num_chunks || is_gate) continue;
        finish_group(b, (Place){b->job.is_gated ? 0 : at.part, at.n}, row, MIN(range->first + range->count - row, rows), memory + tile * 16,
                     b->job.is_gated ? y + tile * 16 : NULL);
      }
      pieces = pieces == maker->pieces ? pieces + CHUNK : maker->pieces;
    }
  }
}

/* One for each format, so that its constants stay in registers, and for one row. */
#define SUM_PANELS(name) static __attribute__((noinline)) void name(const BlockJob *b, const Range *range, Maker *maker, __m512 *memory)
#define SUM_PANELS_OF(format, name)                                                       \
  SUM_PANELS(sum_one_##name) { sum_panels(format, 1, b, range, maker, memory); }        \
  SUM_PANELS(sum_sixteen_##name) { sum_panels(format, 16, b, range, maker, memory); }
EACH_FORMAT(SUM_PANELS_OF)
SUM_PANELS_OF(0, mixed)

static void sum_panels_of_job(const BlockJob *b, const Range *range, Maker *maker, __m512 *memory) {
  int64_t format = b->format[0] - block_formats;
  for (int p = 1; p < b->job.num_parts; p++)
    if (b->format[p] != b->format[0]) format = 0;
#define CASE(number, name) \
  case number: (b->job.m == 1 ? sum_one_##name : sum_sixteen_##name)(b, range, maker, memory); break;
  switch (format) {
    EACH_FORMAT(CASE)
    CASE(0, mixed)
  }
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
  Maker maker = {.b = b, .from = range.from, .num_groups = (range.to - range.from) * (b->job.is_gated ? 4 : 2), .end = chunk_of(b, 0).count};
  maker.copy = az_take((size_t)(GROUP * widest));
  maker.pieces = maker.next = az_take(2 * CHUNK * sizeof(Piece));
  __m512 *y = az_take((size_t)(2 * ROUND_UP(range.count, 16)) * sizeof(__m512));
  configure_for(is_alone(b) ? TOGETHER : MIN(range.count, 16), 64);
  sum_panels_of_job(b, &range, &maker, y);
  TILE_RELEASE();
  az_give(y);
  az_give(maker.pieces);
  az_give(maker.copy);
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
  b.num_chunks = (b.kt + CHUNK - 1) / CHUNK;
  for (int p = 0; p < job->num_parts; p++) {
    Part *part = job->part + p;
    b.format[p] = format_of(c, c->i[FORMATS + p], job->k);
    b.blocks[p] = c->in[BLOCKS + p].data;
    b.row_bytes[p] = job->k / b.format[p]->block * b.format[p]->bytes;
    if (az_size(c->in + BLOCKS + p) != part->n * b.row_bytes[p]) az_fail(c, "blocks of a weight have another size");
    part->plain = (Side){.bias = c->in[BIAS + p].data};
    if (!job->is_gated || p == 0) part->plain.y = OUT(c, p, job->m, part->n);
  }
  const int64_t threads = c->i[0], padded = ROUND_UP(job->m, 16);
  b.row_block = MAX(ROW_BLOCK, ROW_BLOCK_BYTES / (b.kt * 64) / 32 * 32);
  b.x = az_take((size_t)(is_alone(&b) ? b.kt * ALONE * 2 : padded * b.kt * 64));
  b.sums = az_take((size_t)(padded * b.kt) * sizeof(float));
  az_par(c, (size_t)((job->m + 16 * PACK_TILES - 1) / (16 * PACK_TILES)), pack_task, &b);
  const int64_t blocks = (job->m + b.row_block - 1) / b.row_block;
  int64_t features = 0;
  for (int p = 0; p < job->num_parts; p++) features += job->part[p].n;
  const int is_small = features * b.kt * (16 + job->m) < SMALL_WORK;
  job->num_splits = threads < 2 || is_small || blocks >= 2 * threads ? 1 : MIN(job->num_panels, 2 * threads);
  az_par(c, (size_t)(blocks * job->num_splits), task, &b);
  az_give(b.sums);
  az_give(b.x);
}

const Op az_decode_blocks_ops[] = {
    {"DecodeBlockGroups", run, "ff?f?f?f?f?f?u*", "f*",
     {"threads", "gated", "rows", "features", "n0", "n1", "n2", "n3", "format0", "format1", "format2", "format3"}, {"epsilon"},
     .level = LEVEL_AMX},
    {0},
};
