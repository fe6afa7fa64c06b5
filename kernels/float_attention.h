/*
 * Causal grouped-query attention in float32: what its passes share. Lanes hold queries: the (token, head) pairs of a key/value
 * head, tokens outside; keys and values are read where they lie, one number at a time for all lanes.
 */
#ifndef AZ_FLOAT_ATTENTION_H
#define AZ_FLOAT_ATTENTION_H
#include <math.h>
#include "float_product.h"

enum { QUERIES = 32, VECS = QUERIES / LANES, KEYS = 64 };

/* Rows of tokens: element (b, t, h, d) of [B, T, heads, D] at ((b·T + t)·heads + h)·D + d. */
typedef struct {
  int64_t batch, time, heads, groups, size;
} Extents;

/* A block of queries of row b and key/value head g. */
typedef struct {
  int64_t b, g, first; /* pair, counted within the row and head */
  int count, vecs, parts; /* lanes, vectors and parts of vectors that hold them */
} Queries;

static inline int64_t num_blocks(const Extents *e) { return (e->time * (e->heads / e->groups) + QUERIES - 1) / QUERIES; }

/* Block `index` of all, in the order row, head, block. */
static inline Queries queries_of(const Extents *e, int64_t index) {
  int64_t blocks = num_blocks(e), pairs = e->time * (e->heads / e->groups);
  Queries q = {.b = index / blocks / e->groups, .g = index / blocks % e->groups, .first = index % blocks * QUERIES};
  q.count = (int)MIN(QUERIES, pairs - q.first);
  q.vecs = (q.count + LANES - 1) / LANES;
  q.parts = (q.count + PART - 1) / PART;
  return q;
}

/* Where the token and head of a lane begin in [B, T, H, D]. */
static inline int64_t query_offset(const Extents *e, const Queries *q, int lane) {
  int64_t rep = e->heads / e->groups, token = (q->first + lane) / rep, head = q->g * rep + (q->first + lane) % rep;
  return ((q->b * e->time + token) * e->heads + head) * e->size;
}
static inline int64_t query_token(const Extents *e, const Queries *q, int lane) {
  return (q->first + lane) / (e->heads / e->groups);
}

/* to [D, QUERIES] = factor · the block's rows of x, transposed; lanes without a query are 0. */
static inline void gather_queries(const Extents *e, const Queries *q, const float *x, float factor, float *to) {
  for (int lane = 0; lane < q->vecs * LANES; lane++) {
    const float *from = x + (lane < q->count ? query_offset(e, q, lane) : 0);
    for (int64_t d = 0; d < e->size; d++) to[d * QUERIES + lane] = lane < q->count ? from[d] * factor : 0;
  }
}

/* The way back: rows of x = from [D, QUERIES] · factor [QUERIES]. */
static inline void scatter_queries(const Extents *e, const Queries *q, const float *from, const float *factor, float *x) {
  for (int lane = 0; lane < q->count; lane++) {
    float *to = x + query_offset(e, q, lane);
    for (int64_t d = 0; d < e->size; d++) to[d] = from[d * QUERIES + lane] * factor[lane];
  }
}
#endif
