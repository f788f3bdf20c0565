/*
 * The loads of allocation and free.  An operation is one malloc and one free.
 *
 *     pair-N     malloc and free of N bytes, back to back
 *     lifo fifo  1000 objects of 64 bytes, freed in reverse order or in order
 *     churn      20000 live objects of 8 … 511 bytes: one of them, at random, is replaced
 *     churn1k    the same with 1000
 *     large      64 live objects of 4 KiB … 1 MiB, replaced likewise
 *     tierN-pair-64 tierN-churn1k   the same in tier N: fills, red zones, quarantine, fences
 *     sampled-churn1k   the default tier, but one object in 1000 between guard pages
 *     find-2-behind-holes   one malloc of 2 pages where 2^15 single pages are free below
 *     memory/init-frames    frames of 4 KiB held by a heap with one object, tables included
 *
 * Sizes are log-uniform.  Sizes and slots are made before anything is measured, and what is
 * measured begins after a warm-up, when the heap has all but grown to what the load needs.
 */
#include "kernel-test/bench.h"

#include "mm/budget.h"
#include "mm/heap.h"

#define WINDOW ((size_t)256 << 20)

static void *checked(void *p)
{
    if (p == NULL)
        bench_fail("out of memory");
    return p;
}

void bench_pair(const char *name, size_t size)
{
    bench_heap(WINDOW, false);
    for (unsigned i = 0; i < 100; i++)
        bench_cold.free(checked(bench_cold.malloc(size)));
    bench_begin();
    for (unsigned i = 0; i < 10000; i++)
        bench_hot.free(checked(bench_hot.malloc(size)));
    bench_end(name);
}

#define BATCH 1000u

static void batch(const struct bench_calls *calls, void **slots, size_t order)
{
    for (unsigned i = 0; i < BATCH; i++)
        slots[i] = checked(calls->malloc(64));
    for (unsigned i = 0; i < BATCH; i++)
        calls->free(slots[order == BENCH_LIFO ? BATCH - 1 - i : i]);
}

void bench_batch(const char *name, size_t order)
{
    void **slots = bench_room(BATCH * sizeof *slots);

    bench_heap(WINDOW, false);
    for (unsigned i = 0; i < 10; i++)
        batch(&bench_cold, slots, order);
    bench_begin();
    for (unsigned i = 0; i < 100; i++)
        batch(&bench_hot, slots, order);
    bench_end(name);
}

/*
 * Loads that replace objects
 */

struct step {
    uint32_t slot, size;
};

struct replacing {
    uint32_t slots, least;
    unsigned octaves;
    uint32_t warm, measured; /* steps; before them every slot is filled */
};

static const struct replacing all_replacing[] = {
    [BENCH_CHURN] = { 20000, 8, 6, 100000, 200000 },
    [BENCH_CHURN1K] = { 1000, 8, 6, 20000, 200000 },
    [BENCH_LARGE] = { 64, 4096, 8, 20000, 20000 },
};

static struct slot {
    void *p;
    size_t size;
} *slots;
static struct step *steps;
static struct bench_memory memory;
static uint32_t slowest_malloc, slowest_free;

static void make_steps(const struct replacing *load)
{
    struct bench_random random = { 0x9E3779B9u };
    uint32_t all = load->slots + load->warm + load->measured;

    slots = bench_room(load->slots * sizeof *slots);
    steps = bench_room(all * sizeof *steps);
    for (uint32_t i = 0; i < load->slots; i++)
        slots[i] = (struct slot){ NULL, 0 };
    for (uint32_t i = 0; i < all; i++) {
        steps[i].slot = i < load->slots ? i : bench_pick(&random, load->slots);
        steps[i].size = bench_size(&random, load->least, load->octaves);
    }
}

/* A call that made the heap grow is no candidate: a new span, or frames taken, show in the heap's
 * own counters. */
static void note(uint32_t *slowest, size_t spans, size_t held)
{
    uint32_t cost = bench_last();

    if (cost > *slowest && mm_heap_counts.spans == spans && mm_budget_held() == held)
        *slowest = cost;
}

static void replace(const struct bench_calls *calls, const struct step *step)
{
    struct slot *slot = &slots[step->slot];
    size_t spans = mm_heap_counts.spans, held = mm_budget_held();

    calls->free(slot->p);
    note(&slowest_free, spans, held);
    spans = mm_heap_counts.spans;
    slot->p = checked(calls->malloc(step->size));
    note(&slowest_malloc, spans, held);
    bench_memory_note(&memory, step->size, slot->size);
    slot->size = step->size;
}

void bench_replace(const char *name, size_t which)
{
    const struct replacing *load = &all_replacing[which];
    uint32_t cold = load->slots + load->warm;

    make_steps(load);
    memory = (struct bench_memory){ 0, 0, 0 };
    bench_heap(WINDOW, false);
    for (uint32_t i = 0; i < cold; i++)
        replace(&bench_cold, &steps[i]);
    slowest_malloc = slowest_free = 0;
    bench_begin();
    for (uint32_t i = cold; i < cold + load->measured; i++)
        replace(&bench_hot, &steps[i]);
    bench_end(name);
    if (which == BENCH_CHURN && slowest_malloc != 0) {
        bench_line(BENCH_MALLOC, "slowest-malloc", slowest_malloc, 1, 0, "instructions");
        bench_line(BENCH_MALLOC, "slowest-free", slowest_free, 1, 0, "instructions");
    }
    if (which != BENCH_LARGE)
        bench_line("memory", name, memory.peak_held, (uint32_t)memory.peak_live, 3, "held/live");
}

void bench_tier_pair(const char *name, size_t tier)
{
    bench_config.tier = (unsigned)tier;
    bench_pair(name, 64);
}

void bench_tier_churn(const char *name, size_t tier)
{
    bench_config.tier = (unsigned)tier;
    bench_replace(name, BENCH_CHURN1K);
}

void bench_sampled(const char *name, size_t each)
{
    bench_config.guard_sample = each;
    bench_replace(name, BENCH_CHURN1K);
}

/*
 * A run behind holes
 */

#define HOLES_WINDOW ((size_t)768 << 20)

/* In demand mode, so that the pages need no frames.  The heap's lists of empty spans are emptied
 * before the call, and no growth is needed for it: what is left is the search, and making a span of
 * the run. */
void bench_holes(const char *name, size_t holes)
{
    size_t count = 2 * holes + 4;
    void **pages = bench_room(count * sizeof *pages);
    void *p;

    bench_heap(HOLES_WINDOW, true);
    for (size_t i = 0; i < count; i++)
        pages[i] = checked(bench_cold.malloc(SH_PAGE_SIZE));
    bench_cold.free(checked(bench_cold.malloc(2 * SH_PAGE_SIZE)));
    for (size_t i = 0; i < 2 * holes; i += 2)
        bench_cold.free(pages[i]);
    bench_cold.free(pages[count - 3]);
    bench_cold.free(pages[count - 2]);
    sh_trim(0);
    bench_begin();
    p = checked(bench_hot.malloc(2 * SH_PAGE_SIZE));
    bench_end(name);
    if (bench_last() != 0 && p != pages[count - 3])
        bench_fail("the run was not found where it is free");
}

void bench_init_frames(const char *name, size_t parameter)
{
    (void)name;
    (void)parameter;
    bench_heap(WINDOW, false);
    checked(bench_cold.malloc(16));
    bench_line("memory", "init-frames", mm_budget_held(), 4096, 0, "frames");
}
