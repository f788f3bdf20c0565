/*
 * The benchmarks: what lies between the loads (bench_loads.c, bench_frag.c, bench_gc.c), the harness
 * (bench.c) and the machine that measures (bench_kernel.c in the booted kernel, host_bench.c on the
 * host).
 *
 * A load calls the heap through two pairs of functions: `bench_cold` where nothing is measured,
 * `bench_hot` between bench_begin and bench_end.  What the harness itself costs is the machine's to
 * subtract, so a load may do as it likes between two calls.
 */
#ifndef KERNEL_TEST_BENCH_H
#define KERNEL_TEST_BENCH_H

#include "mm/mm.h"

/* The suite of a build: "malloc" for one CPU, "malloc8" for the default number of CPUs, "malloc8-inline"
 * where a CPU's record is found inline. */
#ifdef SH_CPU_POINTER
#define BENCH_INLINE true
#else
#define BENCH_INLINE false
#endif
#define BENCH_MALLOC (SH_MAX_CPUS == 1 ? "malloc" : BENCH_INLINE ? "malloc8-inline" : "malloc8")

struct bench_calls {
    void *(*malloc)(size_t size);
    void (*free)(void *p);
};

/*
 * Supplied by the machine.
 */

extern struct bench_calls bench_cold, bench_hot;

/* Is this line to be printed?  A load runs if one of its lines is. */
bool bench_wants(const char *suite, const char *name);

/* Around what is measured.  bench_end prints the line: instructions an operation, malloc and free
 * together. */
void bench_begin(void);
void bench_end(const char *name);

/* Between the same two: instructions of function(arg) count, or count less. */
void bench_call(void (*function)(void *arg), void *arg);
void bench_uncall(void (*function)(void *arg), void *arg);

/* In place of bench_end where these were called: instructions an operation, of so many. */
void bench_end_calls(const char *suite, const char *name, uint32_t operations);

/* Instructions of the last call through bench_hot; 0 where the machine counts no single calls. */
uint32_t bench_last(void);

/* Memory that is not the heap's. */
#define BENCH_ROOM ((size_t)12 << 20)
extern uintptr_t bench_room_base;

/* Donates `size` bytes of address space; false = not to be had. */
bool bench_window(size_t size);

/* Ends the run. */
_Noreturn void bench_fail(const char *why);

/*
 * Supplied by bench.c.
 */

/* Runs all loads that have a line to be printed. */
void bench_run(void);

/* A part of the room, for the load that runs. */
void *bench_room(size_t size);

/* How heaps are started by the load that runs: the default, unless it says more. */
extern struct sh_config bench_config;

/* A new heap over one window of `size` bytes; with `demand` its memory gets frames at the first
 * touch. */
void bench_heap(size_t size, bool demand);

/* Prints a line: value ÷ divisor, rounded, with `decimals` digits behind the point. */
void bench_line(const char *suite, const char *name, uint64_t value, uint32_t divisor,
                unsigned decimals, const char *unit);

/* Memory asked for and memory held, both at their peaks. */
struct bench_memory {
    size_t live, peak_live, peak_held;
};

/* A request of `size` bytes was served, one of `old` bytes freed before it. */
void bench_memory_note(struct bench_memory *memory, size_t size, size_t old);

/* Does `text` begin with `with`? */
bool bench_begins(const char *text, const char *with);

/* Without the division that freestanding 32-bit code does not have. */
uint64_t bench_divide(uint64_t value, uint32_t divisor);

/*
 * Supplied by bench_random.c.
 */

/* Random numbers: the same stream everywhere. */
struct bench_random {
    uint32_t state;
};

/* 0 … count − 1. */
uint32_t bench_pick(struct bench_random *random, uint32_t count);

/* Log-uniform in [least, least << octaves): every octave as likely as any other. */
uint32_t bench_size(struct bench_random *random, uint32_t least, unsigned octaves);

/*
 * The loads: each makes its heap, runs, and prints its lines.
 */

typedef void bench_load(const char *name, size_t parameter);

enum { BENCH_LIFO, BENCH_FIFO };
enum { BENCH_CHURN, BENCH_CHURN1K, BENCH_LARGE };

bench_load bench_pair;    /* size */
bench_load bench_batch;   /* BENCH_LIFO … */
bench_load bench_tier_pair, bench_tier_churn; /* tier */
bench_load bench_sampled; /* one object in so many between guard pages */
bench_load bench_replace; /* BENCH_CHURN … */
bench_load bench_frag;
bench_load bench_holes;   /* how many */
bench_load bench_init_frames;

/* A row of a table of loads, which a row without a function ends. */
#define BENCH_LINES 4
struct bench_entry {
    bench_load *run;
    size_t parameter;
    const char *lines[BENCH_LINES]; /* what it prints: the first is its name; memory/… gc/… name the suite */
};

/* A heap for two CPUs, and from here on this CPU is number 0 or 1.  Only in the booted kernel. */
void bench_heap_of_two(size_t size);
void bench_be(unsigned number);

/* Of many CPUs; only in the booted kernel. */
extern const struct bench_entry bench_cpus_loads[] __attribute__((weak));

/* The collector's; not there with GC=0. */
extern const struct bench_entry bench_gc_loads[] __attribute__((weak));
/* Of the image with the stop watch (probe/), which runs nothing else: there all is slower. */
extern const struct bench_entry bench_masked_loads[] __attribute__((weak));

#endif
