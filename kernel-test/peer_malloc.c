/*
 * The loads of allocation and free as loops against the clock, over PEER_MALLOC and PEER_FREE: sh_malloc and
 * sh_free, unless defined to be those of libc, or of what LD_PRELOAD puts in their place.
 *
 *     program LOAD     prints nanoseconds of the processor for a malloc and a free: the best round
 *
 * The loads are those of bench_loads.c and bench_frag.c.  The first byte of each object is written.  Sizes
 * and slots are made before, but for frag.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arch/host/host.h"
#include "kernel-test/bench.h"

#ifndef PEER_MALLOC
#define PEER_MALLOC sh_malloc
#define PEER_FREE sh_free
#define PEER_OTHER 0
#else
#define PEER_OTHER 1
#endif

#define ROUNDS 20u
#define BATCH 1000u
#define PAIRS 100000u
#define FULL ((size_t)8 << 20)
#define END ((size_t)390 << 10)
#define MOST_OBJECTS (FULL / 16)

static struct bench_random draws = { 0x9E3779B9u };

static void fail(const char *why)
{
    fprintf(stderr, "peer_malloc: %s\n", why);
    exit(1);
}

static inline char *make(size_t size)
{
    char *p = PEER_MALLOC(size);

    if (p == NULL)
        fail("out of memory");
    *(volatile char *)p = 1;
    return p;
}

static void *room(size_t size)
{
    void *p = malloc(size);

    if (p == NULL)
        fail("out of memory");
    return memset(p, 0, size);
}

/* A round of a load: how many operations. */
typedef unsigned long round_of(size_t parameter);

static unsigned long pair(size_t size)
{
    for (unsigned i = 0; i < PAIRS; i++)
        PEER_FREE(make(size));
    return PAIRS;
}

static unsigned long batch(size_t lifo)
{
    static char *slots[BATCH];

    for (unsigned loop = 0; loop < 100; loop++) {
        for (unsigned i = 0; i < BATCH; i++)
            slots[i] = make(64);
        for (unsigned i = 0; i < BATCH; i++)
            PEER_FREE(slots[lifo ? BATCH - 1 - i : i]);
    }
    return 100 * BATCH;
}

static struct step {
    uint32_t slot, size;
} *steps;
static unsigned long step_count;
static char **slots;

static void make_steps(uint32_t slot_count, uint32_t least, unsigned octaves, unsigned long count)
{
    slots = room(slot_count * sizeof *slots);
    steps = room(count * sizeof *steps);
    step_count = count;
    for (unsigned long i = 0; i < count; i++) {
        steps[i].slot = bench_pick(&draws, slot_count);
        steps[i].size = bench_size(&draws, least, octaves);
    }
    for (uint32_t i = 0; i < slot_count; i++)
        slots[i] = make(bench_size(&draws, least, octaves));
}

static unsigned long replace(size_t unused)
{
    (void)unused;
    for (unsigned long i = 0; i < step_count; i++) {
        char **slot = &slots[steps[i].slot];

        PEER_FREE(*slot);
        *slot = make(steps[i].size);
    }
    return step_count;
}

static struct object {
    char *p;
    uint32_t size;
} *objects;

static unsigned long frag(size_t unused)
{
    static const uint32_t phases[] = { 128, 1024, 8192, 16, 128, 1024, 8192, 16 };
    uint32_t count = 0;
    size_t live = 0;
    unsigned long made = 0;

    (void)unused;
    for (unsigned i = 0; i <= sizeof phases / sizeof phases[0]; i++) {
        bool last = i == sizeof phases / sizeof phases[0];
        uint32_t rest = count - count / 5 * 4;

        while (last ? live > END : count > rest) {
            uint32_t at = bench_pick(&draws, count);

            live -= objects[at].size;
            PEER_FREE(objects[at].p);
            objects[at] = objects[--count];
        }
        while (!last && live < FULL) {
            uint32_t size = bench_size(&draws, phases[i], 1);

            objects[count++] = (struct object){ make(size), size };
            live += size;
            made++;
        }
    }
    while (count > 0)
        PEER_FREE(objects[--count].p);
    return made;
}

static void make_churn(void)
{
    make_steps(20000, 8, 6, 200000);
}

static void make_churn1k(void)
{
    make_steps(1000, 8, 6, 200000);
}

static void make_large(void)
{
    make_steps(64, 4096, 8, 20000);
}

static void make_objects(void)
{
    objects = room(MOST_OBJECTS * sizeof *objects);
}

static void make_nothing(void)
{
}

static const struct {
    const char *name;
    void (*prepare)(void);
    round_of *run;
    size_t parameter;
} loads[] = {
    { "pair-64", make_nothing, pair, 64 },
    { "pair-1024", make_nothing, pair, 1024 },
    { "lifo", make_nothing, batch, true },
    { "fifo", make_nothing, batch, false },
    { "churn", make_churn, replace, 0 },
    { "churn1k", make_churn1k, replace, 0 },
    { "large", make_large, replace, 0 },
    { "frag", make_objects, frag, 0 },
};

static double seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    fprintf(stderr, "heap panic (%d): %s\n", (int)kind, report);
    abort();
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}

static void run(unsigned which)
{
    double best = 1e9;

    loads[which].prepare();
    for (unsigned round = 0; round < ROUNDS; round++) {
        double from = seconds();
        unsigned long operations = loads[which].run(loads[which].parameter);
        double spent = (seconds() - from) / (double)operations;

        best = spent < best ? spent : best;
    }
    printf("%.2f\n", best * 1e9);
}

int main(int argc, char **argv)
{
    if (!PEER_OTHER &&
        (sh_host_window((size_t)1 << 30) == 0 || sh_init(NULL) != SH_OK))
        fail("no heap");
    for (unsigned i = 0; argc > 1 && i < sizeof loads / sizeof loads[0]; i++)
        if (strcmp(loads[i].name, argv[1]) == 0) {
            run(i);
            return 0;
        }
    fail("no load is called so");
}
