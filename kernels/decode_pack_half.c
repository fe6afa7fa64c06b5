/*
 * Weights for decode_linear_half.c: w [N, K] float32 → bfloat16 [N/32, K/32, 2, 16, 16, 2], both extents rounded up with zeros: panels
 * of 32 output features, in each for every 32 input features the two tiles of 16 features, a tile being 16 pairs of input
 * features × 16 output features × the two of the pair. A panel is read front to back.
 *
 * In fewer bits, in the same order: a direction that weights move along, and a head of which only the tangent is computed (short_tile.h).
 * A direction begins with a byte for each panel: whether it is there. Panels of zeros are not.
 */
#include "short_tile.h"

typedef struct {
  const float *w;
  bf16 *to;
  uint8_t *tiles; /* in fewer bits */
  int64_t tile_bytes;
  void (*shorten)(const float *w, int64_t count, int feature, uint8_t *tile);
  uint8_t *is_there; /* of each panel of a direction, or null */
  int64_t n, k;
} Job;

/* One panel. */
static void task(void *arg, size_t panel) {
  const Job *job = arg;
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  for (int64_t t = 0; t < kt; t++)
    for (int half = 0; half < 2; half++) {
      Bits rows[16];
      for (int i = 0; i < 16; i++) {
        int64_t n = (int64_t)panel * 32 + half * 16 + i, k = t * 32;
        if (n >= job->n) {
          rows[i] = b_zero();
          continue;
        }
        const float *w = job->w + n * job->k + k;
        rows[i] = v_narrow2(v_load_first(w, v_first(job->k - k)), v_load_first(w + 16, v_first(job->k - k - 16)));
      }
      v_transpose(rows);
      bf16 *to = job->to + (((int64_t)panel * kt + t) * 2 + half) * TILE;
      for (int i = 0; i < 16; i++) b_stream(to + 32 * i, rows[i]);
    }
  v_fence();
}

/* w [N, K] → packed [N/32 · K/32 · 1024] */
static void run(Ctx *c) {
  const Tensor *w = c->in;
  Job job = {.w = w->data, .n = w->dim[0], .k = w->dim[1]};
  int64_t panels = ROUND_UP(job.n, 32) / 32;
  job.to = OUT(c, 0, panels * ROUND_UP(job.k, 32) * 32);
  az_par(c, (size_t)panels, task, &job);
}

static int is_zero(const float *w, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (w[i] != 0) return 0;
  return 1;
}

/* One panel in fewer bits. */
static void short_task(void *arg, size_t panel) {
  const Job *job = arg;
  int64_t kt = ROUND_UP(job->k, 32) / 32;
  if (job->is_there) {
    const int64_t from = (int64_t)panel * 32;
    job->is_there[panel] = !is_zero(job->w + from * job->k, MIN(32, job->n - from) * job->k);
    if (!job->is_there[panel]) return;
  }
  for (int64_t t = 0; t < 2 * kt; t++) {
    uint8_t *to = job->tiles + ((int64_t)panel * 2 * kt + t) * job->tile_bytes;
    memset(to, 0, (size_t)job->tile_bytes);
    int64_t first = (int64_t)panel * 32 + t % 2 * 16, k = t / 2 * 32;
    for (int64_t n = first; n < MIN(job->n, first + 16); n++) job->shorten(job->w + n * job->k + k, job->k - k, (int)(n - first), to);
  }
}

static void run_short(Ctx *c, Job job, int is_direction) {
  const Tensor *w = c->in;
  job.w = w->data, job.n = w->dim[0], job.k = w->dim[1];
  const int64_t panels = ROUND_UP(job.n, 32) / 32, header = is_direction ? ROUND_UP(panels, 64) : 0;
  job.tiles = OUT(c, 0, (header + panels * ROUND_UP(job.k, 32) / 16 * job.tile_bytes) / 2);
  if (is_direction) job.is_there = memset(job.tiles, 0, (size_t)header);
  job.tiles += header;
  az_par(c, (size_t)panels, short_task, &job);
}

/* w [N, K] → packed [N/32 · K/32 · 2 tiles], in units of bfloat16; a direction behind a byte for each panel and up to the next line */
static void run_direction(Ctx *c) { run_short(c, (Job){.tile_bytes = MOVE_TILE, .shorten = shorten_move}, 1); }
static void run_bytes(Ctx *c) { run_short(c, (Job){.tile_bytes = BYTE_TILE, .shorten = shorten_weight}, 0); }

const Op EACH(az_decode_pack_ops)[] = {
    {"DecodePack", run, "f", "b", .level = LEVEL_PORTABLE},
    {"DecodePackBytes", run_bytes, "f", "b", .level = LEVEL_PORTABLE},
    {"DecodePackDirection", run_direction, "f", "b", .level = LEVEL_PORTABLE},
    {0},
};
