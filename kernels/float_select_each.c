/*
 * The largest numbers of a row of a vocabulary's width, in order, and what is left above a bound. Numbers are compared as whole numbers that
 * grow with them (keys). A bound that at least as many numbers reach as are asked for comes from the maxima of small groups, so that most of a
 * row is looked at twice and little of it is sorted. A row's result depends on the row alone.
 */
#include "lanes.h"

/* Up to `FEW` numbers are sorted by insertion, more by digits of at most `DIGIT` bits. */
enum { FEW = 48, DIGIT = 11, MAX_PASSES = 3 };

typedef struct {
  const float *x, *score, *least;
  float otherwise;
  int64_t width, count;
  float *values;
  int64_t *ids;
} Job;

/* A float's bits → a number that grows with it: equal for both zeros, the greatest for all that are no number. */
INLINE int32_t key_of(int32_t bits) {
  const int32_t size = bits & 0x7fffffff, sign = bits >> 31;
  return size > 0x7f800000 ? INT32_MAX : (size ^ sign) - sign;
}
INLINE int32_t key_at(const float *x) {
  int32_t bits;
  memcpy(&bits, x, sizeof bits);
  return key_of(bits);
}

/* The float whose key it is; one that is no number if none is. */
static float float_of(int32_t key) {
  const uint32_t bits = key < 0 ? 0x80000000u | (0u - (uint32_t)key) : (uint32_t)key;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static int64_t count_at_least(const int32_t *keys, int64_t n, int32_t least) {
  int32_t found = 0;
  for (int64_t i = 0; i < n; i++) found += keys[i] >= least;
  return found;
}

/*
 * A key that `count` or more of n ≥ count keys reach: at most `slack` more, where there is such a key, else the greatest. Every step reads
 * all keys, without branches: no row is slower than another by more than the steps, of which there are at most 33.
 */
static int32_t bound_of(const int32_t *keys, int64_t n, int64_t count, int64_t slack) {
  int32_t least = INT32_MAX, most = INT32_MIN;
  for (int64_t i = 0; i < n; i++) {
    least = MIN(least, keys[i]);
    most = MAX(most, keys[i]);
  }
  int64_t from = least, to = (int64_t)most + 1, reached = n;
  /* First whether it is the least of all, as where tokens are left out. */
  for (int64_t middle = from + 1; to - from > 1 && reached > count + slack; middle = from + (to - from) / 2) {
    const int64_t here = count_at_least(keys, n, (int32_t)middle);
    if (here < count) to = middle;
    else from = middle, reached = here;
  }
  return (int32_t)from;
}

/*
 * Maxima of disjoint groups of a row, about twice as many as `count` where a row has as many numbers, never fewer than `count`; returns how
 * many. As many numbers as maxima reach a bound, or more.
 */
static int64_t group_maxima(const float *x, int64_t width, int64_t count, float *to) {
  const int64_t whole = width / LANES, size = MAX(1, MIN(whole, width / (2 * count)));
  int64_t n = 0;
  for (int64_t first = 0; first < whole; first += size, n += LANES) {
    const int64_t end = MIN(whole, first + size);
    Vec most = v_load(x + first * LANES), other = most;
    int64_t i = first + 1;
    for (; i + 2 <= end; i += 2) {
      most = v_max(most, v_load(x + i * LANES));
      other = v_max(other, v_load(x + (i + 1) * LANES));
    }
    if (i < end) most = v_max(most, v_load(x + i * LANES));
    v_store(to + n, v_max(most, other));
  }
  for (int64_t i = whole * LANES; i < width; i++) to[n++] = x[i];
  return n;
}

/* Bit i: number i of 16 is not below. */
INLINE uint32_t not_below(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a.p[0], b.p[0], _CMP_NLT_UQ);
#elif defined(__AVX2__)
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.p[0], b.p[0], _CMP_NLT_UQ)) |
         (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.p[1], b.p[1], _CMP_NLT_UQ)) << 8;
#else
  typedef int64_t Halves __attribute__((vector_size(16)));
  LaneBits all = {0};
  for (int i = 0; i < PARTS; i++) all |= ~(LaneBits)(a.p[i] < b.p[i]) & ((LaneBits){1, 2, 4, 8} << 4 * i);
  const Halves halves = (Halves)all;
  const int64_t both = halves[0] | halves[1];
  return (uint32_t)(both | both >> 32) & 0xffff;
#endif
}

/* Ids of the numbers that are not below, ascending; returns how many. `to` has room for 16 more. */
static int64_t gather(const float *x, int64_t width, float least, int32_t *to) {
  const Vec bound = v_all(least);
  int64_t n = 0, k = 0;
#if defined(__AVX512F__)
  __m512i id = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
  for (; k + LANES <= width; k += LANES) {
    uint32_t found = not_below(v_load(x + k), bound);
#if defined(__AVX512F__)
    _mm512_storeu_si512(to + n, _mm512_maskz_compress_epi32((__mmask16)found, id));
    id = _mm512_add_epi32(id, _mm512_set1_epi32(LANES));
    n += __builtin_popcount(found);
#else
    for (; found; found &= found - 1) to[n++] = (int32_t)k + __builtin_ctz(found);
#endif
  }
  for (; k < width; k++)
    if (!(x[k] < least)) to[n++] = (int32_t)k;
  return n;
}

/* Keeps the `count` greatest of n keys with their ids, in place; of those that equal the least of them, the first. */
static void narrow(int32_t *keys, int32_t *ids, int64_t n, int64_t count) {
  if (n == count) return;
  const int32_t least = bound_of(keys, n, count, 0);
  int64_t equals = count, kept = 0;
  for (int64_t i = 0; i < n; i++) equals -= keys[i] > least;
  for (int64_t i = 0; i < n && kept < count; i++) {
    const int32_t key = keys[i], id = ids[i];
    const int is_equal = key == least && equals > 0;
    keys[kept] = key;
    ids[kept] = id;
    kept += key > least || is_equal;
    equals -= is_equal;
  }
}

/* Sorts by the upper 32 bits, which are at most `most`, equals staying in their order: ascending numbers. Returns a or b, where they are. */
static uint64_t *sorted(uint64_t *a, uint64_t *b, int64_t n, uint32_t most) {
  if (n <= FEW) {
    for (int64_t i = 1; i < n; i++) {
      const uint64_t item = a[i];
      int64_t at = i;
      for (; at > 0 && a[at - 1] > item; at--) a[at] = a[at - 1];
      a[at] = item;
    }
    return a;
  }
  const int bits = most ? 32 - __builtin_clz(most) : 0, passes = (bits + DIGIT - 1) / DIGIT;
  if (passes == 0) return a;
  const int digit = (bits + passes - 1) / passes;
  const uint32_t mask = (1u << digit) - 1;
  int32_t starts[MAX_PASSES][1 << DIGIT];
  for (int pass = 0; pass < passes; pass++) memset(starts[pass], 0, sizeof(int32_t) << digit);
  for (int64_t i = 0; i < n; i++)
    for (int pass = 0; pass < passes; pass++) starts[pass][(uint32_t)(a[i] >> 32) >> pass * digit & mask]++;
  for (int pass = 0; pass < passes; pass++) {
    int32_t *start = starts[pass], sum = 0;
    for (uint32_t value = 0; value <= mask; value++) {
      const int32_t here = start[value];
      start[value] = sum;
      sum += here;
    }
    for (int64_t i = 0; i < n; i++) b[start[(uint32_t)(a[i] >> 32) >> pass * digit & mask]++] = a[i];
    uint64_t *const from = a;
    a = b;
    b = from;
  }
  return a;
}

static void top_k_task(void *arg, size_t row) {
  const Job *job = arg;
  const int64_t width = job->width, count = job->count, room = ROUND_UP(width + LANES, LANES);
  const float *x = job->x + (int64_t)row * width;
  uint64_t *items = az_take(sizeof(uint64_t) * (size_t)(2 * count) + sizeof(int32_t) * (size_t)(2 * room));
  int32_t *keys = (int32_t *)(items + 2 * count), *ids = keys + room;

  const int64_t num_groups = group_maxima(x, width, count, (float *)keys);
  for (int64_t i = 0; i < num_groups; i++) keys[i] = key_at((float *)keys + i);
  const int32_t bound = bound_of(keys, num_groups, count, count / 8);
  const int64_t n = gather(x, width, float_of(bound), ids);
  for (int64_t i = 0; i < n; i++) keys[i] = key_at(x + ids[i]);
  narrow(keys, ids, n, count);

  int32_t most = INT32_MIN, least = INT32_MAX;
  for (int64_t i = 0; i < count; i++) {
    most = MAX(most, keys[i]);
    least = MIN(least, keys[i]);
  }
  for (int64_t i = 0; i < count; i++) items[i] = (uint64_t)((uint32_t)most - (uint32_t)keys[i]) << 32 | (uint32_t)ids[i];
  const uint64_t *order = sorted(items, items + count, count, (uint32_t)most - (uint32_t)least);
  const int64_t at = (int64_t)row * count;
  if (job->values) for (int64_t i = 0; i < count; i++) job->values[at + i] = x[(uint32_t)order[i]];
  if (job->ids) for (int64_t i = 0; i < count; i++) job->ids[at + i] = (uint32_t)order[i];
  az_give(items);
}

/*
 * x [N, V] → the M = `count` greatest of each row, descending [N, M], and their ids [N, M]. Equals, as both zeros are, stand by ascending id.
 * What is no number stands before what is, so that it does not pass unseen; such numbers are equals.
 */
static void run_top_k(Ctx *c) {
  const int64_t rows = c->in[0].dim[0];
  Job job = {.x = c->in[0].data, .width = c->in[0].dim[1], .count = c->i[0]};
  if (job.count < 1 || job.count > job.width || job.width > INT32_MAX - 2 * LANES) az_fail(c, "count must be 1 … the width of a row");
  job.values = OUT(c, 0, rows, job.count);
  job.ids = OUT(c, 1, rows, job.count);
  az_par(c, (size_t)rows, top_k_task, &job);
}

static void keep_task(void *arg, size_t row) {
  const Job *job = arg;
  const int64_t at = (int64_t)row * job->width, whole = job->width / LANES * LANES, rest = job->width - whole;
  const float *score = job->score + at, *x = job->x + at;
  float *y = job->values + at;
  const Vec least = v_all(job->least[row]), otherwise = v_all(job->otherwise);
  for (int64_t k = 0; k < whole; k += LANES)
    v_store(y + k, v_where_at_least(v_load(score + k), least, v_load(x + k), otherwise));
  if (rest == 0) return;
  const Vec last = v_where_at_least(v_load_first(score + whole, rest), least, v_load_first(x + whole, rest), otherwise);
  v_store_first(y + whole, rest, last);
}

/* scores [N, V], least [N, 1], x [N, V] → x where the score is at least that of its row, attribute `otherwise` elsewhere */
static void run_keep(Ctx *c) {
  const int64_t rows = c->in[0].dim[0], width = c->in[0].dim[1];
  Job job = {.score = c->in[0].data, .least = c->in[1].data, .x = c->in[2].data, .width = width, .otherwise = c->f[0]};
  job.values = OUT(c, 0, rows, width);
  az_par(c, (size_t)rows, keep_task, &job);
}

const Op EACH(az_float_select_ops)[] = {
    {"FloatTopK", run_top_k, "f", "f?l?", .ints = {"count"}, .level = LEVEL_PORTABLE},
    {"FloatKeep", run_keep, "fff", "f", .floats = {"otherwise"}, .level = LEVEL_PORTABLE, .inplace_input = 1},
    {0},
};
