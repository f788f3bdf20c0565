/*
 * What many CPUs cost, on one: this CPU says that it is another.  Nothing runs at once, so instructions
 * are exact.
 *
 *     cpus/remote-64   malloc(64) on CPU 0 and its free on CPU 1, 1000 at a time; what CPU 0 does about
 *                      them later is counted
 *     cpus/remote-64-in-turn   the same with 8 on their way
 *     cpus/shootdowns  rounds of the shootdown hook a megabyte that is given back: a run of 16 MiB;
 *                      and where every second run of 64 KiB stays
 */
#include "kernel-test/bench.h"

#include "kernel-test/k_cpus.h"
#include "kernel-test/test.h"

#define BATCH 1000u
#define ROUNDS 100u
#define MIB ((size_t)1 << 20)

static unsigned shootdowns;

static void shootdown(uintptr_t base, size_t size)
{
    (void)base;
    (void)size;
    shootdowns++;
}

static const struct sh_hooks hooks = { .tlb_shootdown = shootdown };

void bench_heap_of_two(size_t size)
{
    bench_config.cpus = 2;
    bench_config.hooks = &hooks;
    bench_heap(size, false);
}

/* The record that the machine finds is CPU 0's. */
void bench_be(unsigned number)
{
    k_cpu_count = number + 1;
    k_cpu_table[0].number = number;
    k_cpu_table[0].area = sh_cpu_area(number);
}

static void move(const struct bench_calls *calls, void **slots, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        slots[i] = calls->malloc(64);
        if (slots[i] == NULL)
            bench_fail("out of memory");
    }
    bench_be(1);
    for (unsigned i = 0; i < count; i++)
        calls->free(slots[i]);
    bench_be(0);
}

static void bench_remote(const char *name, size_t count)
{
    void **slots = bench_room(BATCH * sizeof *slots);

    bench_heap_of_two(64 * MIB);
    for (unsigned i = 0; i < 10; i++)
        move(&bench_cold, slots, (unsigned)count);
    bench_begin();
    for (unsigned i = 0; i < ROUNDS; i++)
        move(&bench_hot, slots, (unsigned)count);
    bench_end_calls("cpus", name, ROUNDS * (uint32_t)count);
}

static void bench_shootdowns(const char *name, size_t step)
{
    void **runs = bench_room(256 * sizeof *runs);
    size_t pages = step == 1 ? 16 * MIB : 64 * 1024, mib = step == 1 ? 16 : 8;
    unsigned count = step == 1 ? 1 : 256;

    bench_heap_of_two(64 * MIB);
    for (unsigned i = 0; i < count; i++)
        runs[i] = sh_alloc_pages(pages / SH_PAGE_SIZE);
    for (unsigned i = 0; i < count; i += (unsigned)step)
        sh_free_pages(runs[i]);
    shootdowns = 0;
    sh_trim(0);
    bench_line("cpus", name, shootdowns, (uint32_t)mib, 2, "rounds");
}

const struct bench_entry bench_cpus_loads[] = {
    { bench_remote, BATCH, { "cpus/remote-64" } },
    { bench_remote, 8, { "cpus/remote-64-in-turn" } },
    { bench_shootdowns, 1, { "cpus/shootdowns" } },
    { bench_shootdowns, 2, { "cpus/shootdowns-scattered" } },
    { NULL, 0, { NULL } },
};
