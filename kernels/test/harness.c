/* See harness.h. Stands in for registry.c and scratch.c. */
#define _GNU_SOURCE
#include "harness.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#endif
#if __has_include(<sanitizer/asan_interface.h>) /* which defines these as nothing in builds without AddressSanitizer */
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

/* --- memory that ends at a forbidden page */

typedef struct {
  char *base, *data;
  size_t mapped, bytes, room;
} Block;

static Block blocks[4096];
static int num_blocks, num_taken;
static const char *running, *running_level = "";
static int num_failures;

/* Whether what lies around a tensor may be read: AddressSanitizer reports who does otherwise, to the byte. */
static void set_reading(const Block *b, int is_allowed) {
  char *start = b->base + sysconf(_SC_PAGESIZE), *end = b->data + b->bytes;
  if (is_allowed) {
    ASAN_UNPOISON_MEMORY_REGION(start, (size_t)(b->data - start));
    ASAN_UNPOISON_MEMORY_REGION(end, b->room - b->bytes);
  } else {
    ASAN_POISON_MEMORY_REGION(start, (size_t)(b->data - start));
    ASAN_POISON_MEMORY_REGION(end, b->room - b->bytes);
  }
}

static void *guarded(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), room = ROUND_UP(MAX(bytes, 1), 64);
  const size_t mapped = ROUND_UP(room, page) + 2 * page;
  char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED || num_blocks == 4096) abort();
  mprotect(base, page, PROT_NONE);
  mprotect(base + mapped - page, page, PROT_NONE);
  memset(base + page, 0xff, mapped - 2 * page);
  char *data = base + mapped - page - room;
  blocks[num_blocks++] = (Block){base, data, mapped, bytes, room};
  set_reading(blocks + num_blocks - 1, 0);
  return data;
}

static void check_slack(void) {
  for (int i = 0; i < num_blocks; i++) {
    const Block *b = blocks + i;
    const char *start = b->base + sysconf(_SC_PAGESIZE);
    set_reading(b, 1);
    for (const char *at = start; at < b->data; at++)
      if (*at != (char)0xff) {
        check(0, "memory before a tensor of %zu bytes was written", b->bytes);
        break;
      }
    for (size_t at = b->bytes; at < b->room; at++)
      if (b->data[at] != (char)0xff) {
        check(0, "memory behind a tensor of %zu bytes was written", b->bytes);
        break;
      }
    set_reading(b, 0);
  }
}

static void release_all(void) {
  while (num_blocks > 0) {
    Block *b = blocks + --num_blocks;
    set_reading(b, 1); /* whatever is mapped here next */
    munmap(b->base, b->mapped);
  }
}

/* Scratch by malloc, so that sanitizers see its exact ends. */
void *az_take(size_t bytes) {
  void *block = NULL;
  if (posix_memalign(&block, 64, bytes) != 0) abort();
  memset(block, 0xff, bytes);
  __atomic_add_fetch(&num_taken, 1, __ATOMIC_SEQ_CST);
  return block;
}
void az_give(void *block) {
  __atomic_sub_fetch(&num_taken, 1, __ATOMIC_SEQ_CST);
  free(block);
}

/* --- what ops call */

static jmp_buf failed;
static char failure[256];
static Call *current;

void az_fail(Ctx *c, const char *message) {
  snprintf(failure, sizeof failure, "%s", message);
  longjmp(failed, 1);
}

static size_t element_bytes(const char *types, int index) {
  char letter = 'f';
  for (int i = 0; *types; types++)
    if (*types != '?' && *types != '*') {
      letter = *types;
      if (i++ == index) break;
    }
  return letter == 'b' ? 2 : letter == 'l' ? 8 : letter == 'c' || letter == 'u' ? 1 : 4;
}

static const Op *op_of(const Call *call) {
  for (const Op *op = call->table; op->name; op++)
    if (!strcmp(op->name, call->name)) return op;
  fprintf(stderr, "no op %s\n", call->name);
  abort();
}

void *az_out(Ctx *c, int index, int rank, const int64_t *dim) {
  if (current->unwanted >> index & 1) return NULL;
  Tensor *out = current->out + index;
  if (out->data == NULL) *out = tensor_of(element_bytes(op_of(current)->outputs, index), rank, dim);
  out->rank = rank;
  if (rank > 0) memcpy(out->dim, dim, sizeof(int64_t) * (size_t)rank);
  return out->data;
}

void az_par(Ctx *c, size_t n, void (*task)(void *, size_t), void *arg) {
  for (size_t i = 0; i < n; i++) task(arg, current->is_reversed ? n - 1 - i : i);
}

int64_t az_size(const Tensor *t) {
  int64_t size = 1;
  for (int i = 0; i < t->rank; i++) size *= t->dim[i];
  return size;
}

const char *run_op(Call *call) {
  Ctx c = {.i = call->ints, .f = call->floats, .wanted = ~call->unwanted, .num_inputs = call->num_inputs};
  c.num_outputs = call->num_outputs;
  c.in = call->in;
  current = call;
  num_taken = 0;
  if (setjmp(failed)) return failure;
  op_of(call)->run(&c);
  check(num_taken == 0, "%s keeps %d blocks of scratch memory", call->name, num_taken);
  check_slack();
  return NULL;
}

/* --- levels */

int has_level(Level level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (level >= LEVEL_AVX2 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return 0;
  if (level >= LEVEL_AVX512 && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")))
    return 0;
  if (level >= LEVEL_AVX512BF16 && !__builtin_cpu_supports("avx512bf16")) return 0;
  if (level < LEVEL_AMX) return 1;
#if defined(__linux__)
  unsigned a, b, c, d;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  return d >> 22 & 1 && d >> 24 & 1 && syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return 0;
#endif
#else
  return level <= LEVEL_PORTABLE;
#endif
}
Level az_level(void) { return has_level(LEVEL_AMX) ? LEVEL_AMX : LEVEL_PORTABLE; }

/* --- tensors */

Tensor tensor_of(size_t bytes, int rank, const int64_t *dim) {
  Tensor t = {.rank = rank};
  if (rank > 0) memcpy(t.dim, dim, sizeof(int64_t) * (size_t)rank);
  t.data = guarded(bytes * (size_t)az_size(&t));
  return t;
}
int64_t count_of(Tensor t) { return az_size(&t); }

static float wave(int seed, int64_t i) { return (float)sin((double)i * 1.37 + seed * 0.7); }
Tensor waves(int seed, int rank, const int64_t *dim) {
  Tensor t = tensor_of(sizeof(float), rank, dim);
  for (int64_t i = 0; i < count_of(t); i++) FLOATS(t)[i] = wave(seed, i);
  return t;
}
float from_half(bf16 h) {
  uint32_t bits = (uint32_t)h << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
bf16 to_half(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if (x != x) return 0x7fc0;
  return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
Tensor half_waves(int seed, int rank, const int64_t *dim) {
  Tensor t = tensor_of(sizeof(bf16), rank, dim);
  for (int64_t i = 0; i < count_of(t); i++) HALVES(t)[i] = to_half(wave(seed, i));
  return t;
}
Tensor copy_of(Tensor t, size_t bytes) {
  Tensor copy = tensor_of(bytes, t.rank, t.dim);
  memcpy(copy.data, t.data, bytes * (size_t)count_of(t));
  return copy;
}

/* --- checks */

void check(int is_so, const char *format, ...) {
  if (is_so) return;
  if (num_failures++ > 20) return;
  va_list arguments;
  va_start(arguments, format);
  printf("# %s%s: ", running, running_level);
  vprintf(format, arguments);
  printf("\n");
  va_end(arguments);
}

void check_close(const char *what, Tensor actual, const double *expected, double tolerance) {
  double scale = 1;
  for (int64_t i = 0; i < count_of(actual); i++) scale = fmax(scale, fabs(expected[i]));
  for (int64_t i = 0; i < count_of(actual); i++)
    if (!(fabs(FLOATS(actual)[i] - expected[i]) <= tolerance * scale)) {
      check(0, "%s[%ld] is %g, expected %g", what, (long)i, (double)FLOATS(actual)[i], expected[i]);
      return;
    }
}

void check_same(const char *what, Tensor a, Tensor b, size_t bytes) {
  check(memcmp(a.data, b.data, bytes * (size_t)count_of(a)) == 0, "%s differs", what);
}

void begin_level(Level level) {
  static const char *const names[] = {"", " (portable)", " (avx2)", " (avx512)", " (avx512bf16)", " (amx)"};
  release_all();
  running_level = names[level];
}

/* --- all tests */

extern const Test float_rows_tests[], float_attention_tests[], float_vocabulary_tests[], float_select_tests[], float_linear_tests[];
extern const Test half_tests[], half_row_tests[], decode_tests[], decode_linear_tests[];
extern const Test blocks_tests[];
extern const Test plain_tests[], scratch_tests[];
extern const Test spoil_cover_tests[], spoil_rows_tests[], spoil_product_tests[], spoil_attention_tests[];

int main(void) {
  const Test *const families[] = {
      plain_tests,
      scratch_tests,
      float_rows_tests,
      float_attention_tests,
      float_vocabulary_tests,
      float_select_tests,
      float_linear_tests,
      half_tests,
      half_row_tests,
      decode_tests,
      decode_linear_tests,
      blocks_tests,
      spoil_cover_tests,
      spoil_rows_tests,
      spoil_product_tests,
      spoil_attention_tests,
  };
  int num_failed = 0;
  for (size_t f = 0; f < sizeof families / sizeof *families; f++)
    for (const Test *test = families[f]; test->name; test++) {
      running = test->name;
      running_level = "";
      num_failures = 0;
      if (!has_level(test->level)) {
        printf("skip %s\n", test->name);
        continue;
      }
      test->run();
      release_all();
      printf("%s %s\n", num_failures ? "fail" : "pass", test->name);
      fflush(stdout);
      num_failed += num_failures > 0;
    }
  return num_failed > 0;
}
