/* Rows of a table that stays in the blocks it is stored in. */
#include "ggml_formats.h"

typedef struct {
  const BlockFormat *format;
  const uint8_t *table;
  const int64_t *ids;
  float *y;
  int64_t width, stride, rows;
} Gather;

static void gather_task(void *arg, size_t index) {
  const Gather *g = arg;
  float *y = g->y + (int64_t)index * g->width;
  const int64_t id = g->ids[index], first = id / GROUP * GROUP, bytes = g->format->bytes;
  const int is_alone = first + GROUP > g->rows; /* the last rows of a table are as in the file */
  const uint8_t *blocks = g->table + (is_alone ? id : first) * g->stride;
  uint8_t block[256];
  for (int64_t i = 0; i < g->width; i += g->format->block, blocks += is_alone ? bytes : GROUP * bytes) {
    if (!is_alone) each_unit(g->format, id - first, block, (uint8_t *)blocks, 1);
    g->format->values(is_alone ? blocks : block, y + i);
  }
}

/* Attributes: width, format. table (blocks of [V, width]), ids [N] → their rows [N, width], in float32 */
static void run_gather(Ctx *c) {
  Gather g = {.format = format_of(c, c->i[1], c->i[0]), .table = c->in[0].data, .ids = c->in[1].data, .width = c->i[0]};
  g.stride = g.width / g.format->block * g.format->bytes;
  const int64_t count = az_size(c->in + 1), rows = g.rows = az_size(c->in) / g.stride;
  for (int64_t i = 0; i < count; i++)
    if (g.ids[i] < 0 || g.ids[i] >= rows) az_fail(c, "an id is outside the table");
  g.y = OUT(c, 0, count, g.width);
  for (int64_t i = 0; i < count; i++) gather_task(&g, (size_t)i);
}

const Op az_gather_blocks_ops[] = {
    {"GatherBlockGroups", run_gather, "ul", "f", {"width", "format"}, .level = LEVEL_PORTABLE},
    {0},
};
