/* Scratch memory: a pool of blocks that are handed out again. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "op.h"

/* MAX_FREE: blocks that wait to be handed out; with 256 threads, four each. */
enum { HEADER = 64, PAGE = 4096, MAX_FREE = 1024 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  char *base;
  size_t bytes;
} pool[MAX_FREE];
static int num_free;
static long num_allocations;

void az_count_allocation(void) { __atomic_add_fetch(&num_allocations, 1, __ATOMIC_RELAXED); }

/* Of kernels since the library was loaded, for tests. */
EXPORT long azeotrope_kernels_allocations(void) { return __atomic_load_n(&num_allocations, __ATOMIC_RELAXED); }

void *az_take(size_t bytes) {
  pthread_mutex_lock(&lock);
  int best = -1, largest = -1;
  for (int i = 0; i < num_free; i++) {
    if (pool[i].bytes >= bytes && (best < 0 || pool[i].bytes < pool[best].bytes)) best = i;
    if (largest < 0 || pool[i].bytes > pool[largest].bytes) largest = i;
  }
  char *base = NULL;
  if (best >= 0) {
    base = pool[best].base;
    pool[best] = pool[--num_free];
  } else if (largest >= 0) {
    /* Grow a block instead of adding one: sizes settle after the first run. */
    free(pool[largest].base);
    pool[largest] = pool[--num_free];
  }
  pthread_mutex_unlock(&lock);
  if (base == NULL) {
    az_count_allocation();
    size_t rounded = ROUND_UP(bytes, PAGE);
    base = aligned_alloc(PAGE, rounded + PAGE);
    if (base == NULL) {
      fprintf(stderr, "azeotrope: no memory for %zu bytes of scratch\n", rounded);
      abort();
    }
    *(size_t *)base = rounded;
  }
  return base + HEADER;
}

void az_give(void *block) {
  char *base = (char *)block - HEADER;
  pthread_mutex_lock(&lock);
  if (num_free < MAX_FREE) {
    pool[num_free].base = base;
    pool[num_free++].bytes = *(size_t *)base;
    base = NULL;
  }
  pthread_mutex_unlock(&lock);
  free(base);
}

/* Gives the pool back to the system: called when the last runtime of the process closes. */
EXPORT void azeotrope_kernels_trim(void) {
  pthread_mutex_lock(&lock);
  while (num_free > 0) free(pool[--num_free].base);
  pthread_mutex_unlock(&lock);
}
