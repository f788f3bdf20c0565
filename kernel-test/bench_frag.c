/*
 * The load that leaves holes: 8 phases, each with other sizes than the one before.  A phase frees a
 * random 80 % of what is live and fills up to 8 MiB again; after the last one random objects go
 * until 390 KiB are live.
 *
 *     frag               instructions a malloc and a free over all of it, growth included
 *     memory/frag-peak   frames held ÷ bytes asked for, both at their peaks
 *     memory/frag-end    megabytes of frames held at the end, after sh_trim(0)
 */
#include "kernel-test/bench.h"

#include "mm/budget.h"

#define WINDOW ((size_t)256 << 20)
#define FULL ((size_t)8 << 20)
#define END ((size_t)390 << 10)
#define MOST_OBJECTS (FULL / 16)

/* Sizes are in [least, 2 · least).  What is held at the end depends on these steps more than on
 * anything else, so for comparison: with them glibc 2.36 (64-bit) peaks at 2.20 and holds 18.4 MB
 * at the end, musl 1.2.3 peaks at 3.70 and holds 12.4 MB. */
static const uint32_t phases[] = { 128, 1024, 8192, 16, 128, 1024, 8192, 16 };

static struct object {
    void *p;
    uint32_t size;
} *objects;
static uint32_t count;
static struct bench_memory memory;
static struct bench_random random;

static void fill(uint32_t least)
{
    while (memory.live < FULL) {
        uint32_t size = bench_size(&random, least, 1);
        void *p = bench_hot.malloc(size);

        if (p == NULL || count == MOST_OBJECTS)
            bench_fail("out of memory");
        objects[count++] = (struct object){ p, size };
        bench_memory_note(&memory, size, 0);
    }
}

static void free_one(void)
{
    uint32_t i = bench_pick(&random, count);

    bench_hot.free(objects[i].p);
    bench_memory_note(&memory, 0, objects[i].size);
    objects[i] = objects[--count];
}

void bench_frag(const char *name, size_t parameter)
{
    (void)parameter;
    objects = bench_room(MOST_OBJECTS * sizeof *objects);
    count = 0;
    memory = (struct bench_memory){ 0, 0, 0 };
    random.state = 0x9E3779B9u;
    bench_heap(WINDOW, false);
    bench_begin();
    for (unsigned i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        for (uint32_t rest = count - count / 5 * 4; count > rest;)
            free_one();
        fill(phases[i]);
    }
    while (memory.live > END)
        free_one();
    bench_end(name);
    sh_trim(0);
    bench_line("memory", "frag-peak", memory.peak_held, (uint32_t)memory.peak_live, 2, "held/live");
    bench_line("memory", "frag-end", mm_budget_held(), 1000000, 2, "MB");
}
