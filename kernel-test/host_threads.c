/*
 * The storm in threads of a Linux program:  host-threads CPUS [CALLS [SEED [TIERS]]]
 *
 * Over the host's port, with the thread sanitizer, built for 1, 2, 3 and 64 CPUs.  Each thread is a CPU and
 * stays on it, so there is nothing to mask.  In tiers 0, 1, … (TIERS of them, 4): producers and consumers,
 * then the storm in rounds; in each round other threads are the CPUs.  Between rounds the heap is verified,
 * at the end nothing is left.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "arch/host/host.h"
#include "kernel-test/kernel.h"
#include "kernel-test/storm.h"
#include "kernel-test/t_internal.h"

#define ROUNDS 4u
#define RING 64u

static __thread unsigned this_cpu;
static struct storm_part parts[STORM_CPUS];
static unsigned cpus;
static uint32_t calls;

/*
 * What the heap, printf.c and test_util.c want
 */

unsigned sh_kernel_cpu(void)
{
    return this_cpu;
}

void k_putc(char c)
{
    putchar(c);
}

void k_exit(bool pass)
{
    fflush(stdout);
    exit(pass ? 0 : 1);
}

static void fail(const char *what)
{
    t_printf("FAILED threads: %s\nhost threads, %u CPUs: 0 passed, 1 failed\n", what, cpus);
    k_exit(false);
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    (void)kind;
    fail(report);
}

void t_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    t_printf("%s:%d: ", file, line);
    va_start(arguments, format);
    t_vprintf(format, arguments);
    va_end(arguments);
    fail("");
    exit(1);
}

const char *rig_log(void)
{
    return "";
}

void rig_log_clear(void)
{
}

unsigned rig_audit(void)
{
    return 0;
}

size_t rig_frames_held(void)
{
    return 0;
}

size_t k_frames_total(void)
{
    return 0;
}

size_t k_frames_out(void)
{
    return 0;
}

static void log_line(const char *text)
{
    t_printf("%s\n", text);
}

static void shootdown(uintptr_t base, size_t size)
{
    (void)base;
    (void)size; /* Linux has flushed already */
}

/*
 * CPUs
 */

struct start {
    void (*fn)(struct storm_part *part);
    unsigned cpu;
};

static void *on_cpu(void *arg)
{
    const struct start *start = arg;

    this_cpu = start->cpu;
    start->fn(&parts[start->cpu]);
    return NULL;
}

static void on_all(void (*fn)(struct storm_part *part))
{
    static pthread_t threads[STORM_CPUS];
    static struct start starts[STORM_CPUS];

    for (unsigned i = 0; i < cpus; i++) {
        starts[i] = (struct start){ fn, i };
        if (pthread_create(&threads[i], NULL, on_cpu, &starts[i]) != 0)
            fail("no thread");
    }
    for (unsigned i = 0; i < cpus; i++)
        pthread_join(threads[i], NULL);
    if (storm_broken() != NULL)
        fail(storm_broken());
}

static void one_round(struct storm_part *part)
{
    storm_go(part, calls);
}

/* Each makes for the next one. */
static struct {
    struct storm_object *at[RING];
    unsigned in, out;
} rings[STORM_CPUS];

static void produce_and_consume(struct storm_part *part)
{
    unsigned self = part->cpu, next = self + 1 == cpus ? 0 : self + 1;
    uint32_t made = 0, freed = 0;

    while ((made < calls || freed < calls) && storm_broken() == NULL) {
        bool moved = false;

        if (__atomic_load_n(&rings[self].in, __ATOMIC_ACQUIRE) != rings[self].out) {
            storm_give(part, rings[self].at[rings[self].out % RING]);
            __atomic_store_n(&rings[self].out, rings[self].out + 1, __ATOMIC_RELEASE);
            freed++;
            moved = true;
        }
        if (made < calls && rings[next].in - __atomic_load_n(&rings[next].out, __ATOMIC_ACQUIRE) < RING) {
            struct storm_object *object = storm_take(part, 16 + (made & 7) * 40);

            if (object == NULL)
                storm_break("a producer gets no memory");
            rings[next].at[rings[next].in % RING] = object;
            __atomic_store_n(&rings[next].in, rings[next].in + 1, __ATOMIC_RELEASE);
            made++;
            moved = true;
        }
        if (!moved)
            sched_yield();
    }
}

static void expect_whole(void)
{
    if (sh_verify() != 0)
        fail("sh_verify");
}

static void expect_empty(void)
{
    struct sh_stats stats;

    for (unsigned i = 0; i < cpus; i++)
        if (sh_cpu_offline(i) != SH_OK)
            fail("sh_cpu_offline");
    sh_trim(0);
    expect_whole();
    sh_stats(&stats);
    if (stats.live_objects != 0 || stats.heap_in_use + stats.heap_free != 0)
        fail("something is left");
}

static void start_heap(unsigned tier)
{
    const struct sh_hooks hooks = { .log = log_line, .tlb_shootdown = shootdown };
    const struct sh_config config = { .size = sizeof config, .cpus = cpus, .tier = tier, .hooks = &hooks };

    if (sh_host_window((size_t)512 << 20) == 0 || sh_init(&config) != SH_OK)
        fail("the heap does not start");
}

static void storm_in_tier(unsigned tier, uint32_t seed)
{
    start_heap(tier);
    storm_start(cpus, true, 40);
    for (unsigned i = 0; i < cpus; i++) {
        storm_part_start(&parts[i], i, false, seed + tier);
        rings[i].in = rings[i].out = 0;
    }
    on_all(produce_and_consume);
    expect_whole();
    for (unsigned round = 0; round < ROUNDS; round++) {
        on_all(one_round);
        expect_whole();
    }
    on_all(storm_part_end);
    storm_end(&parts[0]);
    expect_empty();
    if (sh_shutdown() != SH_OK)
        fail("sh_shutdown");
}

int main(int argc, char **argv)
{
    uint32_t seed = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1;
    uint32_t total = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 200000;
    unsigned tiers = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 4;

    cpus = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    if (cpus == 0 || cpus > SH_MAX_CPUS || cpus > STORM_CPUS) {
        fprintf(stderr, "usage: %s CPUS [CALLS [SEED [TIERS]]], at most %u CPUs\n", argv[0], (unsigned)SH_MAX_CPUS);
        return 2;
    }
    for (unsigned tier = 0; tier < tiers; tier++) {
        calls = total / cpus / (ROUNDS + 1) / (tier == 0 ? 1 : 8);
        storm_in_tier(tier, seed);
    }
    t_printf("host threads, %u CPUs: %u passed, 0 failed\n", cpus, tiers);
    return 0;
}
