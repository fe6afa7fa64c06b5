/* The pool of scratch memory itself, for which the harness stands in elsewhere: under names of its own. */
#include "harness.h"
#include <pthread.h>

#define az_take pool_take
#define az_give pool_give
#define az_count_allocation pool_count_allocation
#define azeotrope_kernels_allocations pool_allocations
#define azeotrope_kernels_trim pool_trim
#include "scratch.c"
#undef az_take
#undef az_give

/* Blocks that are full of their own number. */
static unsigned char *take_full(size_t bytes, int number) { return memset(pool_take(bytes), number, bytes); }
static int is_full(const unsigned char *block, size_t bytes, int number) {
  for (size_t i = 0; i < bytes; i++)
    if (block[i] != number) return 0;
  return 1;
}

static void test_reuse(void) {
  pool_trim();
  const long before = pool_allocations();
  unsigned char *small = take_full(100, 1), *large = take_full(3 * PAGE + 1, 2), *none = pool_take(0);
  check((uintptr_t)small % 64 == 0 && (uintptr_t)large % 64 == 0 && (uintptr_t)none % 64 == 0, "a block is not aligned");
  check(is_full(small, 100, 1) && is_full(large, 3 * PAGE + 1, 2), "blocks overlap");
  check(pool_allocations() == before + 3, "%ld allocations of 3", pool_allocations() - before);
  pool_give(none);
  pool_give(large), pool_give(small);
  unsigned char *again = take_full(PAGE, 3), *large_again = take_full(4 * PAGE, 4);
  check(large_again == large && again != large, "the smallest block that is large enough is not taken");
  check(pool_allocations() == before + 3, "a block that waits is not handed out");
  pool_give(again), pool_give(large_again);
}

/* Where none is large enough the largest is replaced: as many blocks as before. */
static void test_growth(void) {
  pool_trim();
  pool_give(take_full(PAGE, 1));
  const long before = pool_allocations();
  for (size_t pages = 1; pages <= 8; pages++) pool_give(take_full(pages * PAGE, 1));
  check(pool_allocations() == before + 7, "%ld allocations of 7", pool_allocations() - before);
  check(num_free == 1, "%d blocks wait", num_free);
  for (size_t pages = 1; pages <= 8; pages++) pool_give(take_full(pages * PAGE, 1));
  check(pool_allocations() == before + 7, "sizes that were there before are allocated anew");
}

/* More blocks than the pool keeps: the others go back to the system. */
static void test_many(void) {
  enum { MANY = MAX_FREE + 6 };
  static unsigned char *blocks[MANY];
  pool_trim();
  for (int round = 0; round < 2; round++) {
    const long before = pool_allocations();
    for (int i = 0; i < MANY; i++) blocks[i] = take_full(sizeof(int), i);
    for (int i = 0; i < MANY; i++) check(is_full(blocks[i], sizeof(int), (unsigned char)i), "block %d is handed out twice", i);
    for (int i = 0; i < MANY; i++) pool_give(blocks[i]);
    check(pool_allocations() - before == (round ? MANY - MAX_FREE : MANY), "round %d: %ld allocations", round, pool_allocations() - before);
    check(num_free == MAX_FREE, "%d blocks wait", num_free);
  }
  pool_trim();
  check(num_free == 0, "%d blocks wait", num_free);
}

/* What a thread takes is its own until it gives it back. */
static void *take_and_give(void *arg) {
  const int number = *(int *)arg;
  for (int i = 0; i < 2000; i++) {
    const size_t bytes = (size_t)(i * 37 % 5 * PAGE + i % 64 + 1), more = (size_t)(number * 100 + 1);
    unsigned char *first = take_full(bytes, number), *second = take_full(more, number + 100);
    if (!is_full(first, bytes, number) || !is_full(second, more, number + 100)) return arg;
    pool_give(first), pool_give(second);
  }
  return NULL;
}
static void test_threads(void) {
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  int numbers[THREADS];
  for (int i = 0; i < THREADS; i++) {
    numbers[i] = i + 1;
    check(pthread_create(threads + i, NULL, take_and_give, numbers + i) == 0, "no thread");
  }
  for (int i = 0; i < THREADS; i++) {
    void *failed = NULL;
    pthread_join(threads[i], &failed);
    check(failed == NULL, "thread %d finds another's numbers", i);
  }
  check(num_free <= 2 * THREADS, "%d blocks of %d threads with two each", num_free, THREADS);
  pool_trim();
}

const Test scratch_tests[] = {
    {"scratch memory is handed out again, the smallest block that is large enough first", test_reuse, LEVEL_PORTABLE},
    {"scratch memory grows block by block, and its sizes settle", test_growth, LEVEL_PORTABLE},
    {"scratch memory that the pool does not keep goes back", test_many, LEVEL_PORTABLE},
    {"scratch memory of a thread is its own", test_threads, LEVEL_PORTABLE},
    {0},
};
