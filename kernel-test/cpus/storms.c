/*
 * Proves that what storm.h does on a kernel's CPUs leaves the heap whole when threads do it: producers and
 * consumers, then the storm in rounds, and in each round other threads are the CPUs.  All that the heap is
 * built for take part.  Nothing is collected.
 */
#include <sched.h>

#include "kernel-test/cpus/cpus.h"
#include "kernel-test/storm.h"

#define WINDOW ((size_t)512 << 20)
#define CPUS (SH_MAX_CPUS < STORM_CPUS ? SH_MAX_CPUS : STORM_CPUS)
#define CALLS 200000u
#define ROUNDS 4u
#define RING 64u

static struct storm_part parts[CPUS];
static uint32_t calls;

/* Each makes for the next one. */
static struct {
    struct storm_object *at[RING];
    unsigned in, out;
} rings[CPUS];

static void produce_and_consume(struct storm_part *part)
{
    unsigned self = part->cpu, next = self + 1 == CPUS ? 0 : self + 1;
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

static void rage(struct storm_part *part)
{
    storm_go(part, calls);
}

static void one(void *fn)
{
    (*(void (**)(struct storm_part *))fn)(&parts[sh_kernel_cpu()]);
}

static void on_all(void (*fn)(struct storm_part *))
{
    cpus_run(one, &fn);
    if (storm_broken() != NULL)
        t_fail(__FILE__, __LINE__, "%s", storm_broken());
    EXPECT_EQ(sh_verify(), 0);
}

static void expect_nothing_left(void)
{
    struct sh_stats stats;

    for (unsigned i = 0; i < CPUS; i++)
        EXPECT_EQ(sh_cpu_offline(i), SH_OK);
    sh_trim(0);
    EXPECT_EQ(sh_verify(), 0);
    sh_stats(&stats);
    EXPECT_EQ(stats.live_objects, 0);
    EXPECT_EQ(stats.heap_in_use + stats.heap_free, 0);
}

static void storm_in_tier(unsigned tier)
{
    cpus_start(CPUS, WINDOW, tier, NULL, HELP_NOT, false);
    calls = CALLS / CPUS / (ROUNDS + 1) / (tier == 0 ? 1 : 8);
    storm_start(CPUS, true, 40);
    for (unsigned i = 0; i < CPUS; i++) {
        storm_part_start(&parts[i], i, false, (test_seeds != 0 ? test_seeds : 1) + tier);
        rings[i].in = rings[i].out = 0;
    }
    on_all(produce_and_consume);
    for (unsigned round = 0; round < ROUNDS; round++)
        on_all(rage);
    on_all(storm_part_end);
    storm_end(&parts[0]);
    expect_nothing_left();
}

static void cpus_share_a_heap(void)
{
    storm_in_tier(0);
}

static void cpus_share_a_heap_that_fills(void)
{
    storm_in_tier(1);
}

static void cpus_share_a_heap_with_red_zones(void)
{
    storm_in_tier(2);
}

static void cpus_share_a_heap_with_guard_pages(void)
{
    storm_in_tier(3);
}

static const struct test tests[] = {
    { "cpus_share_a_heap", cpus_share_a_heap },
    { "cpus_share_a_heap_that_fills", cpus_share_a_heap_that_fills },
    { "cpus_share_a_heap_with_red_zones", cpus_share_a_heap_with_red_zones },
    { "cpus_share_a_heap_with_guard_pages", cpus_share_a_heap_with_guard_pages },
};

SUITE(storms, tests);
