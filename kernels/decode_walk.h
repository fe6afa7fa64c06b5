/*
 * The order in which decode_linear_tangent_half.c takes panels of weights with many rows: in groups, of a group a piece of k at a time,
 * whose tiles of the rows then stay in the first-level cache, and of that half of a panel at a time.
 */
#ifndef AZ_DECODE_WALK_H
#define AZ_DECODE_WALK_H
#include "short_tile.h"

/* A panel of weights, and where they move if they do, as tiles; weights whose tangent alone is computed are in 8 bits. */
typedef struct {
  const bf16 *w;
  const uint8_t *bytes, *tw; /* tw: or null */
} Panel;

/* Of more than MOST_GROUPED panels one at a time: their results go to memory, and better one by one than eight at once. */
enum { GROUP = 8, PIECE = 6, AHEAD = 36, MOST_GROUPED = 512 };

/* Where one is in that order. The panels follow each other in groups. */
typedef struct {
  const Panel *panels;
  int64_t count, kt, group, piece; /* panels in all, steps along k, panels of a group, steps of a piece */
  int64_t first, panel, from, t, half;
} Walk;

static inline int is_over(const Walk *w) { return w->first >= w->count; }
static inline int64_t end_of_piece(const Walk *w) { return MIN(w->from + w->piece, w->kt); }
static inline int64_t end_of_group(const Walk *w) { return MIN(w->first + w->group, w->count); }
static inline int64_t tile_at(const Walk *w) { return 2 * w->t + w->half; }

/* Stays at the last panel. */
static inline void advance(Walk *w) {
  if (is_over(w)) return;
  if (++w->t < end_of_piece(w)) return;
  w->t = w->from;
  if (w->half ^= 1) return;
  if (++w->panel < end_of_group(w)) return;
  w->panel = w->first;
  w->t = w->from = end_of_piece(w);
  if (w->from < w->kt) return;
  w->first = end_of_group(w);
  w->panel = MIN(w->first, w->count - 1);
  w->t = w->from = 0;
}

#endif
