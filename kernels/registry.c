/* The ops as ONNX Runtime sees them: one wrapper for all, driven by the tables. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include "op.h"

static const Op *const families[] = {
    az_convert_ops,
    az_optimizer_ops,
    az_gather_blocks_ops,
#if defined(__x86_64__)
    az_decode_blocks_ops,
#endif
};

/*
 * Files that are compiled for each instruction set have a table for each: portable, AVX2, AVX-512, and those of bfloat16 one for AVX-512
 * with bfloat16 and one for matrix units.
 */
#if defined(__x86_64__)
#define DECLARE_FLOAT(name) extern const Op name##_portable[], name##_avx2[], name##_avx512[];
#define DECLARE_HALF(name) DECLARE_FLOAT(name) extern const Op name##_avx512bf16[], name##_amx[];
#define FLOAT(name) {name##_portable, name##_avx2, name##_avx512, name##_avx512, name##_avx512},
#define HALF(name) {name##_portable, name##_avx2, name##_avx512, name##_avx512bf16, name##_amx},
#else
#define DECLARE_FLOAT(name) extern const Op name##_portable[];
#define DECLARE_HALF(name) DECLARE_FLOAT(name)
#define FLOAT(name) {name##_portable, name##_portable, name##_portable, name##_portable, name##_portable},
#define HALF(name) FLOAT(name)
#endif
#define FLOAT_FAMILIES(each)                                                                                           \
  each(az_float_rows_ops) each(az_float_attention_ops) each(az_float_attention_backward_ops)                           \
      each(az_float_vocabulary_ops) each(az_float_select_ops) each(az_float_linear_ops) each(az_float_blocks_ops)
#define HALF_FAMILIES(each)                                                                                            \
  each(az_linear_ops) each(az_adapter_ops) each(az_norm_ops) each(az_attention_ops) each(az_head_ops)                  \
      each(az_decode_pack_ops) each(az_decode_linear_ops) each(az_decode_linear_tangent_ops) each(az_decode_attention_ops)
FLOAT_FAMILIES(DECLARE_FLOAT)
HALF_FAMILIES(DECLARE_HALF)
static const Op *const families_each[][LEVEL_AMX - LEVEL_PORTABLE + 1] = {FLOAT_FAMILIES(FLOAT) HALF_FAMILIES(HALF)};
enum {
  NUM_PLAIN = sizeof families / sizeof *families,
  NUM_FAMILIES = NUM_PLAIN + sizeof families_each / sizeof *families_each,
  MAX_OPS = 128
};

/* What the runtime holds of an op; must outlive every session. */
typedef struct {
  OrtCustomOp callbacks; /* first: the runtime's pointer to it is a pointer to this */
  const Op *op;
  double seconds;
  long calls;
} Registered;

/* One node of a graph. */
typedef struct {
  Registered *registered;
  int64_t i[AZ_MAX_ATTRIBUTES];
  float f[8];
  int64_t wanted;
  Tensor *in;
  int capacity;
} Kernel;

typedef struct {
  jmp_buf env;
  char message[256];
} Jump;

static const OrtApi *api;
static Registered registered[MAX_OPS];
static int num_registered;
static Level level = LEVEL_NONE;
static int is_profiling;

/* --- levels */

#if defined(__x86_64__)
/* Instructions for halves, which compilers do not all know by name. */
static int has_f16c(void) {
  unsigned a, b, c, d;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
  return c >> 29 & 1;
}

/* Whether the processor and the system let this process use tiles; asks for the permission. */
static int has_amx(void) {
#if defined(__linux__)
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  unsigned a, b, c, d;
  __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
  if (!(d >> 22 & 1) || !(d >> 24 & 1)) return 0; /* AMX-BF16, AMX-TILE */
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
  return 0;
#endif
}
#endif

static Level detect(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c()) return LEVEL_PORTABLE;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq"))
    return LEVEL_AVX2;
  if (!__builtin_cpu_supports("avx512bf16")) return LEVEL_AVX512;
  if (!__builtin_cpu_supports("avx512vbmi") || !has_amx()) return LEVEL_AVX512BF16;
  return LEVEL_AMX;
#else
  return LEVEL_PORTABLE;
#endif
}

/* Chooses the level: the machine's, or `most` if that is less. Returns it. Before the first registration only. */
EXPORT int azeotrope_kernels_open(int most) {
  Level machine = detect();
  level = most >= 0 && (Level)most < machine ? (Level)most : machine;
  return level;
}

Level az_level(void) { return level; }

/* Table `f` of all, at the level in use. */
static const Op *family(int f) {
  if (f < NUM_PLAIN) return families[f];
  return families_each[f - NUM_PLAIN][MAX(LEVEL_PORTABLE, level) - LEVEL_PORTABLE];
}

/* Names of the ops at the level in use, separated by spaces. */
EXPORT const char *azeotrope_kernels_ops(void) {
  static char names[4096];
  size_t length = 0;
  names[0] = 0;
  for (int f = 0; f < NUM_FAMILIES; f++)
    for (const Op *op = family(f); op->name; op++)
      if (op->level <= level) length += (size_t)snprintf(names + length, sizeof names - length, "%s ", op->name);
  return names;
}

/* Starts (1) or ends (0) counting the time of each op; ending prints it. */
EXPORT void azeotrope_kernels_profile(int on) {
  for (int i = 0; i < num_registered; i++) {
    if (is_profiling && !on && registered[i].calls > 0)
      fprintf(stderr, "%-20s %8ld calls %10.2f ms\n", registered[i].op->name, registered[i].calls,
              registered[i].seconds * 1e3);
    registered[i].seconds = 0;
    registered[i].calls = 0;
  }
  is_profiling = on;
}

/* --- what ops call */

void az_fail(Ctx *c, const char *message) {
  Jump *jump = c->jump;
  snprintf(jump->message, sizeof jump->message, "%s", message);
  longjmp(jump->env, 1);
}

static void check(Ctx *c, OrtStatus *status) {
  if (status == NULL) return;
  char message[200];
  snprintf(message, sizeof message, "%s", ORT_GET_ERROR_MESSAGE(api)(status));
  ORT_RELEASE_STATUS(api)(status);
  az_fail(c, message);
}

void *az_out(Ctx *c, int index, int rank, const int64_t *dim) {
  OrtValue *value = NULL;
  void *data = NULL;
  if (index < 63 && !(c->wanted >> index & 1)) return NULL;
  check(c, ORT_GET_OUTPUT(api)(c->kernel, (size_t)index, dim, (size_t)rank, &value));
  if (value == NULL) return NULL;
  check(c, ORT_TENSOR_DATA(api)(value, &data));
  return data;
}

void az_par(Ctx *c, size_t n, void (*task)(void *, size_t), void *arg) {
  if (n == 1) task(arg, 0);
  else if (n > 1) check(c, ORT_PARALLEL_FOR(api)(c->kernel, task, n, 0, arg));
}

int64_t az_size(const Tensor *t) {
  int64_t n = 1;
  for (int d = 0; d < t->rank; d++) n *= t->dim[d];
  return n;
}

/* --- kernels */

static void read_input(Ctx *c, size_t index) {
  Tensor *tensor = c->in + index;
  const OrtValue *value = NULL;
  check(c, ORT_GET_INPUT(api)(c->kernel, index, &value));
  memset(tensor, 0, sizeof *tensor);
  if (value == NULL) return;
  OrtTensorTypeAndShapeInfo *shape = NULL;
  check(c, ORT_TYPE_AND_SHAPE(api)(value, &shape));
  size_t rank = 0;
  ORT_DIM_COUNT(api)(shape, &rank);
  if (rank <= AZ_MAX_RANK) ORT_DIMS(api)(shape, tensor->dim, rank);
  ORT_RELEASE_SHAPE(api)(shape);
  if (rank > AZ_MAX_RANK) az_fail(c, "a tensor has too many axes");
  tensor->rank = (int)rank;
  check(c, ORT_TENSOR_DATA(api)((OrtValue *)value, &tensor->data));
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static OrtStatus *compute(void *pointer, OrtKernelContext *context) {
  Kernel *kernel = pointer;
  Registered *self = kernel->registered;
  Jump jump;
  Ctx c = {.i = kernel->i, .f = kernel->f, .wanted = kernel->wanted, .kernel = context, .jump = &jump};
  if (setjmp(jump.env)) {
    char message[320];
    snprintf(message, sizeof message, "%s: %s", self->op->name, jump.message);
    return ORT_CREATE_STATUS(api)(ORT_FAIL, message);
  }
  size_t inputs = 0, outputs = 0;
  check(&c, ORT_INPUT_COUNT(api)(context, &inputs));
  check(&c, ORT_OUTPUT_COUNT(api)(context, &outputs));
  if ((int)inputs > kernel->capacity) {
    az_count_allocation();
    Tensor *grown = realloc(kernel->in, inputs * sizeof *grown);
    if (grown == NULL) az_fail(&c, "out of memory");
    kernel->in = grown;
    kernel->capacity = (int)inputs;
  }
  c.in = kernel->in;
  c.num_inputs = (int)inputs;
  c.num_outputs = (int)outputs;
  for (size_t i = 0; i < inputs; i++) read_input(&c, i);
  double start = is_profiling ? now() : 0;
  self->op->run(&c);
  if (is_profiling) {
    self->seconds += now() - start;
    self->calls++;
  }
  return NULL;
}

static OrtStatus *create(const OrtCustomOp *self, const OrtApi *its_api, const OrtKernelInfo *info, void **result) {
  az_count_allocation();
  Kernel *kernel = calloc(1, sizeof *kernel);
  if (kernel == NULL) return ORT_CREATE_STATUS(its_api)(ORT_FAIL, "out of memory");
  kernel->registered = (Registered *)self;
  const Op *op = kernel->registered->op;
  OrtStatus *status;
  for (int a = 0; a < AZ_MAX_ATTRIBUTES && op->ints[a]; a++)
    if ((status = ORT_ATTRIBUTE_INT(its_api)(info, op->ints[a], &kernel->i[a]))) ORT_RELEASE_STATUS(its_api)(status);
  for (int a = 0; a < 8 && op->floats[a]; a++)
    if ((status = ORT_ATTRIBUTE_FLOAT(its_api)(info, op->floats[a], &kernel->f[a]))) ORT_RELEASE_STATUS(its_api)(status);
  kernel->wanted = -1;
  if ((status = ORT_ATTRIBUTE_INT(its_api)(info, "wanted", &kernel->wanted))) ORT_RELEASE_STATUS(its_api)(status);
  *result = kernel;
  return NULL;
}

static void destroy(void *pointer) {
  Kernel *kernel = pointer;
  free(kernel->in);
  free(kernel);
}

/* --- what the runtime asks about an op */

static const Op *op_of(const OrtCustomOp *self) { return ((const Registered *)self)->op; }

static int is_mark(char c) { return c == '?' || c == '*'; }

static size_t count(const char *types) {
  size_t n = 0;
  for (; *types; types++) n += !is_mark(*types);
  return n;
}

/* The place of tensor `index` in a type string. */
static const char *at(const char *types, size_t index) {
  for (; *types; types++)
    if (!is_mark(*types) && index-- == 0) return types;
  return "f";
}

static int element_type(char letter) {
  switch (letter) {
  case 'b': return ORT_BFLOAT16;
  case 'i': return ORT_INT32;
  case 'l': return ORT_INT64;
  case 'c': return ORT_INT8;
  case 'u': return ORT_UINT8;
  default: return ORT_FLOAT;
  }
}

static int kind(const char *types, size_t index) {
  char mark = at(types, index)[1];
  return mark == '?' ? ORT_OPTIONAL : mark == '*' ? ORT_VARIADIC : ORT_REQUIRED;
}

static const char *get_name(const OrtCustomOp *self) { return op_of(self)->name; }
static const char *get_provider(const OrtCustomOp *self) { return (void)self, NULL; }
static int get_input_type(const OrtCustomOp *self, size_t i) { return element_type(*at(op_of(self)->inputs, i)); }
static int get_output_type(const OrtCustomOp *self, size_t i) { return element_type(*at(op_of(self)->outputs, i)); }
static size_t get_input_count(const OrtCustomOp *self) { return count(op_of(self)->inputs); }
static size_t get_output_count(const OrtCustomOp *self) { return count(op_of(self)->outputs); }
static int get_input_kind(const OrtCustomOp *self, size_t i) { return kind(op_of(self)->inputs, i); }
static int get_output_kind(const OrtCustomOp *self, size_t i) { return kind(op_of(self)->outputs, i); }
static int get_memory(const OrtCustomOp *self, size_t i) { return (void)self, (void)i, 0; }
static int one(const OrtCustomOp *self) { return (void)self, 1; }
static int last_version(const OrtCustomOp *self) { return (void)self, 0x7fffffff; }

/* The callback for sharing memory is not told which op it is for: one function a pair. */
static size_t pair(int **input, int **output, int from, int to) {
  *input = malloc(sizeof(int));
  *output = malloc(sizeof(int));
  if (*input == NULL || *output == NULL) return 0;
  **input = from;
  **output = to;
  return 1;
}
static size_t inplace_0_0(int **input, int **output) { return pair(input, output, 0, 0); }
static size_t inplace_1_0(int **input, int **output) { return pair(input, output, 1, 0); }
static size_t inplace_2_0(int **input, int **output) { return pair(input, output, 2, 0); }
static size_t inplace_3_0(int **input, int **output) { return pair(input, output, 3, 0); }
static size_t inplace_4_0(int **input, int **output) { return pair(input, output, 4, 0); }
static void release_pair(int *input, int *output) {
  free(input);
  free(output);
}
static size_t (*const inplace[])(int **, int **) = {inplace_0_0, inplace_1_0, inplace_2_0, inplace_3_0, inplace_4_0};

static void fill(Registered *r, const Op *op) {
  memset(r, 0, sizeof *r);
  r->op = op;
  OrtCustomOp *o = &r->callbacks;
  o->version = ORT_ABI_VERSION;
  o->create_kernel_v2 = create;
  o->kernel_compute_v2 = compute;
  o->kernel_destroy = destroy;
  o->get_name = get_name;
  o->get_provider = get_provider;
  o->get_input_type = get_input_type;
  o->get_input_count = get_input_count;
  o->get_output_type = get_output_type;
  o->get_output_count = get_output_count;
  o->get_input_kind = get_input_kind;
  o->get_output_kind = get_output_kind;
  o->get_input_memory = get_memory;
  o->get_variadic_input_min = one;
  o->get_variadic_input_same = one;
  o->get_variadic_output_min = one;
  o->get_variadic_output_same = one;
  o->get_start_version = one;
  o->get_end_version = last_version;
  if (op->inplace_input) {
    o->get_may_inplace = inplace[op->inplace_input - 1];
    o->release_may_inplace = release_pair;
  }
}

/* Called by the runtime for each session that the library is registered with. */
EXPORT OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
  if (api == NULL) api = base->GetApi(ORT_ABI_VERSION);
  if (num_registered == 0)
    for (int f = 0; f < NUM_FAMILIES; f++)
      for (const Op *op = family(f); op->name && num_registered < MAX_OPS; op++)
        if (op->level <= level) fill(&registered[num_registered++], op);
  OrtCustomOpDomain *domain = NULL;
  OrtStatus *status = ORT_CREATE_DOMAIN(api)("azeotrope", &domain);
  for (int i = 0; i < num_registered && status == NULL; i++) status = ORT_DOMAIN_ADD(api)(domain, &registered[i]);
  return status != NULL ? status : ORT_ADD_DOMAIN(api)(options, domain);
}
