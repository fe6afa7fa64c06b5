/* The largest numbers of rows against a plain sort, on every instruction set: values and ids are those of the sort, to the bit. */
#include "levels.h"

LEVELS(az_float_select_ops);

enum { ROWS = 2 };

/* Evenly spread whole numbers. */
static uint32_t mixed(uint32_t i) {
  i = (i ^ i >> 16) * 0x7feb352du;
  i = (i ^ i >> 15) * 0x846ca68bu;
  return i ^ i >> 16;
}
static float from_bits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static float bell(uint32_t i) {
  float sum = 0;
  for (uint32_t part = 0; part < 6; part++) sum += (float)mixed(6 * i + part) * 0x1p-32f - 0.5f;
  return 3 * sum;
}
static float few_values(uint32_t i) { return (float)(mixed(i) % 5) - 2; }
static float equal(uint32_t i) { return (void)i, -1e30f; }
static float mostly_excluded(uint32_t i) { return mixed(i) % 97 ? -1e30f : bell(i); }
static float zeros(uint32_t i) { return mixed(i) % 2 ? -0.f : 0.f; }
static float ascending(uint32_t i) { return (float)i; }
static float descending(uint32_t i) { return -(float)i; }
static float tiny(uint32_t i) { return from_bits((mixed(i) & 0x80000fffu)); }
static float any_bits(uint32_t i) { return from_bits(mixed(i)); }
static float probability(uint32_t i) { return expf(5 * bell(i) - 20); }
static float special(uint32_t i) {
  static const float numbers[] = {INFINITY, -INFINITY, 0.f, -0.f, 3.4e38f, -3.4e38f, 1e-45f, -1e-45f, 1, -1};
  return numbers[mixed(i) % (sizeof numbers / sizeof *numbers)];
}
static float no_numbers(uint32_t i) {
  const uint32_t m = mixed(i) % 4;
  return m == 0 ? special(i) : from_bits((m == 1 ? 0xff800001u : m == 2 ? 0x7fc00000u : 0x7fffffffu) + (m == 1 ? i % 7 : 0));
}

static const struct {
  const char *name;
  float (*at)(uint32_t);
} KINDS[] = {
    {"a bell", bell},           {"few values", few_values}, {"equals", equal},         {"exclusion", mostly_excluded},
    {"both zeros", zeros},      {"ascending", ascending},   {"descending", descending}, {"below the normal", tiny},
    {"any bits", any_bits},     {"probabilities", probability}, {"infinities", special},   {"no numbers", no_numbers},
};

/* What is no number first, then the greater, then the lower id. */
static const float *compared;
static int before(const void *a, const void *b) {
  const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
  const float x = compared[i], y = compared[j];
  if (isnan(x) != isnan(y)) return isnan(x) ? -1 : 1;
  if (x > y) return -1;
  if (x < y) return 1;
  return i < j ? -1 : 1;
}

static Tensor rows_of(float (*at)(uint32_t), int64_t width) {
  Tensor x = tensor_of(sizeof(float), SHAPE(ROWS, width));
  for (int64_t i = 0; i < ROWS * width; i++) FLOATS(x)[i] = at((uint32_t)i);
  return x;
}

/* Ids of all numbers of all rows, in order. */
static int64_t *sorted_ids(Tensor x) {
  const int64_t width = x.dim[1];
  int64_t *ids = malloc(sizeof(int64_t) * (size_t)(ROWS * width));
  for (int64_t r = 0; r < ROWS; r++) {
    for (int64_t k = 0; k < width; k++) ids[r * width + k] = k;
    compared = FLOATS(x) + r * width;
    qsort(ids + r * width, (size_t)width, sizeof(int64_t), before);
  }
  return ids;
}

static void compare(const AtLevel *at, const char *kind, Tensor x, const int64_t *truth, int64_t count) {
  const int64_t width = x.dim[1];
  Call call = {.table = at->table, .name = "FloatTopK", .ints = {count}, .in = {x}, .num_inputs = 1, .num_outputs = 2, .is_reversed = count % 2 == 0};
  const char *error = run_op(&call);
  check(error == NULL, "%s", error ? error : "");
  if (error) return;
  for (int64_t r = 0; r < ROWS; r++)
    for (int64_t m = 0; m < count; m++) {
      const int64_t id = LONGS(call.out[1])[r * count + m], expected = truth[r * width + m];
      const int is_same = id == expected && !memcmp(FLOATS(call.out[0]) + r * count + m, FLOATS(x) + r * width + id, sizeof(float));
      check(is_same, "%s, %s, %ld of %ld: number %ld is that of id %ld, expected %ld", at->name, kind, (long)count, (long)width, (long)m, (long)id, (long)expected);
      if (!is_same) return;
    }
}

static void test_sizes(void) {
  static const int64_t widths[] = {1, 2, 15, 16, 17, 31, 33, 100, 255, 257, 1031, 4099};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    const int64_t width = widths[w], counts[] = {1, 2, 7, width / 9, width / 5, width / 4, width / 2, width - 1, width};
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
      begin_level(LEVEL_NONE);
      Tensor x = rows_of(KINDS[k].at, width);
      int64_t *truth = sorted_ids(x);
      FOR_LEVELS(at, az_float_select_ops)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
          if (counts[c] >= 1 && counts[c] <= width) compare(at, KINDS[k].name, x, truth, counts[c]);
      free(truth);
    }
  }
}

static void test_vocabulary(void) {
  const int64_t width = 50021;
  static const int64_t counts[] = {1, 16, 48, 49, 64, 1024, 8192, 16384};
  for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
    begin_level(LEVEL_NONE);
    Tensor x = rows_of(KINDS[k].at, width);
    int64_t *truth = sorted_ids(x);
    FOR_LEVELS(at, az_float_select_ops)
      for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) compare(at, KINDS[k].name, x, truth, counts[c]);
    free(truth);
  }
}

/* Either result may be unwanted; a count that a row does not have is refused. */
static void test_outputs(void) {
  const int64_t width = 300, count = 70;
  Tensor x = rows_of(bell, width);
  int64_t *truth = sorted_ids(x);
  FOR_LEVELS(at, az_float_select_ops) {
    Call call = {.table = at->table, .name = "FloatTopK", .ints = {count}, .in = {x}, .num_inputs = 1, .num_outputs = 2};
    Call values = call, ids = call;
    values.unwanted = 2, ids.unwanted = 1;
    check(run_op(&values) == NULL && values.out[1].data == NULL, "%s: values alone", at->name);
    check(run_op(&ids) == NULL && ids.out[0].data == NULL, "%s: ids alone", at->name);
    for (int64_t i = 0; i < ROWS * count; i++) {
      const int64_t row = i / count, id = truth[row * width + i % count];
      check(LONGS(ids.out[1])[i] == id, "%s: id %ld without values", at->name, (long)i);
      check(FLOATS(values.out[0])[i] == FLOATS(x)[row * width + id], "%s: value %ld without ids", at->name, (long)i);
    }
    Call none = call, many = call;
    none.ints[0] = 0, many.ints[0] = width + 1;
    check(run_op(&none) != NULL && run_op(&many) != NULL, "%s: takes a count that a row does not have", at->name);
  }
  free(truth);
}

/* What a bound leaves: scores and numbers that are the same, and that are not; what is no number is not left. */
static void test_bound(void) {
  static const int64_t widths[] = {1, 15, 16, 17, 1031};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    begin_level(LEVEL_NONE);
    const int64_t width = widths[w];
    Tensor score = rows_of(few_values, width), x = rows_of(any_bits, width), least = tensor_of(sizeof(float), SHAPE(ROWS, 1));
    FLOATS(least)[0] = 1, FLOATS(least)[1] = -1;
    if (width > 2) FLOATS(score)[width / 2] = NAN;
    FOR_LEVELS(at, az_float_select_ops)
      for (int own = 0; own < 2; own++)
        for (int in_place = 0; in_place < 2; in_place++) {
          Tensor scores = own ? x : score, from = in_place ? copy_of(scores, sizeof(float)) : scores;
          Call call = {.table = at->table, .name = "FloatKeep", .floats = {-1e30f}, .in = {from, least, x}, .num_inputs = 3, .num_outputs = 1};
          if (in_place) call.out[0] = from;
          check(run_op(&call) == NULL, "%s: fails", at->name);
          for (int64_t i = 0; i < ROWS * width; i++) {
            const float none = -1e30f, *expected = FLOATS(scores)[i] >= FLOATS(least)[i / width] ? FLOATS(x) + i : &none;
            check(!memcmp(FLOATS(call.out[0]) + i, expected, sizeof(float)), "%s: number %ld of %ld is %g", at->name, (long)i, (long)width, (double)FLOATS(call.out[0])[i]);
          }
        }
  }
}

const Test float_select_tests[] = {
    {"largest numbers of rows: those of a sort, of any width and count, ties and special values", test_sizes, LEVEL_PORTABLE},
    {"largest numbers of rows: those of a sort, of a vocabulary's width", test_vocabulary, LEVEL_PORTABLE},
    {"largest numbers of rows: values and ids are each made alone", test_outputs, LEVEL_PORTABLE},
    {"numbers that a bound of their row leaves are those of a comparison", test_bound, LEVEL_PORTABLE},
    {0},
};
