/*
 * What an op is, and what it sees when it runs. An op is a row of a table: name, types of its inputs and outputs, attributes,
 * and a function. See docs/kernels.md.
 */
#ifndef AZ_OP_H
#define AZ_OP_H
#include "ort_abi.h"

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ALIGNED __attribute__((aligned(64)))
/* n rounded up to a multiple of m */
#define ROUND_UP(n, m) (((n) + (m) - 1) / (m) * (m))

/* A name of a file that is compiled for each instruction set (`…_each.c`, `…_half.c`): it ends in that. */
#define EACH_PASTE(name, level) name##_##level
#define EACH_EXPAND(name, level) EACH_PASTE(name, level)
#define EACH(name) EACH_EXPAND(name, AZ_EACH)

/* Visible outside the library. */
#define EXPORT __attribute__((visibility("default")))

/* A plain loop that the compiler turns into vectors: compiled for several instruction sets, chosen when the library is loaded. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define CLONES
#endif

/* bfloat16: the upper half of a float32 */
typedef uint16_t bf16;

enum { AZ_MAX_RANK = 8, AZ_MAX_ATTRIBUTES = 24 };

typedef struct {
  void *data; /* null: an optional input that was left out */
  int rank;
  int64_t dim[AZ_MAX_RANK];
} Tensor;

/* Instruction sets, each containing those before it. */
typedef enum { LEVEL_NONE, LEVEL_PORTABLE, LEVEL_AVX2, LEVEL_AVX512, LEVEL_AVX512BF16, LEVEL_AMX } Level;

typedef struct Ctx Ctx;

typedef struct {
  const char *name;
  void (*run)(Ctx *);
  /*
   * A letter a tensor: f float32, b bfloat16, i int32, l int64, c int8, u uint8; after it '?': may be left out, '*': any number
   * of them (last only).
   */
  const char *inputs, *outputs;
  /* Names of integer attributes, read in order into Ctx.i, and of floats into Ctx.f; absent ones are 0. */
  const char *ints[AZ_MAX_ATTRIBUTES];
  const char *floats[8];
  /* Least level at which `run` may be called. */
  Level level;
  /* `inplace_input` = 1 + index of the input whose memory output `inplace_output` may take over; 0: none. */
  int inplace_input, inplace_output;
} Op;

struct Ctx {
  const int64_t *i;
  const float *f;
  int64_t wanted; /* bit k: something reads output k (attribute `wanted`, all if absent) */
  int num_inputs, num_outputs;
  Tensor *in;
  OrtKernelContext *kernel;
  void *jump;
};

/* Memory of output `index` with the given extents; null if nothing reads it. From the op's own thread, not from tasks. */
void *az_out(Ctx *c, int index, int rank, const int64_t *dim);
#define OUT(c, index, ...) \
  az_out(c, index, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]){__VA_ARGS__})

/* Calls task(arg, 0 … n−1) on the runtime's threads and returns when all are done. Tasks must not call az_out or az_par. */
void az_par(Ctx *c, size_t n, void (*task)(void *arg, size_t index), void *arg);

/* The same one after the other, where that takes no longer than waking another thread. */
static inline void az_par_unless(Ctx *c, int is_short, size_t n, void (*task)(void *arg, size_t index), void *arg) {
  if (!is_short) az_par(c, n, task, arg);
  else
    for (size_t i = 0; i < n; i++) task(arg, i);
}

/* Ends the op with an error that names it. Not from tasks. */
void az_fail(Ctx *c, const char *message) __attribute__((noreturn));

/*
 * Scratch memory, 64-byte aligned, its content undefined. Blocks are kept in a pool and handed out again, so a steady state
 * allocates nothing. From any thread; every take needs its give.
 */
void *az_take(size_t bytes);
void az_give(void *block);

/* Called with each allocation of the library's own while sessions are made or run. */
void az_count_allocation(void);

/* Elements of a tensor; rows (product of all extents but the last); the last extent. */
int64_t az_size(const Tensor *t);

/* The level in use. */
Level az_level(void);

/* Tables of ops, each ended by a row without a name; registry.c lists them. */
extern const Op az_convert_ops[], az_optimizer_ops[], az_gather_blocks_ops[];
#if defined(__x86_64__)
extern const Op az_decode_blocks_ops[];
#endif
#endif
