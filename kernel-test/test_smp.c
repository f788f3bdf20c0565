/*
 * Proves that the heap serves many CPUs at once, with real interrupts (booted, two CPUs or more): each
 * allocates, frees, grows and trims, in its thread and in its timer's handler, and frees what others made.
 * Between rounds, while nobody runs, the heap is whole and every frame is accounted for.
 */
#include "kernel-test/k_cpus.h"
#include "kernel-test/storm.h"
#include "kernel-test/test_smp.h"

#define TRIMS_A_TEST 100u

static struct storm_part of_thread[K_RECORDS], of_handler[K_RECORDS];
static uint32_t calls_each;
static unsigned tick_period; /* nanoseconds between interrupts; 0 = none */
static unsigned ticks[K_RECORDS];
static bool on_demand;

/* All CPUs run fn(arg), this one too; returns when all have. */
static void on_all(void (*fn)(void *), void *arg)
{
    for (unsigned i = 1; i < k_cpus(); i++)
        k_cpu_start(i, fn, arg);
    fn(arg);
    k_cpus_wait();
}

static void start(unsigned tier)
{
    const struct sh_config config = {
        .size = sizeof config, .hooks = rig_cpu_hooks(), .cpus = k_cpus(), .tier = tier,
        .demand = on_demand,
    };

    rig_start(0, &config);
}

static void expect_unbroken(void)
{
    if (storm_broken() != NULL)
        t_fail(__FILE__, __LINE__, "%s", storm_broken());
}

static uint32_t number(const char *text, uint32_t otherwise)
{
    uint32_t value = 0;

    if (*text == 0)
        return otherwise;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

uint32_t smp_option(const char *name, uint32_t otherwise)
{
    return number(k_option(name, ""), otherwise);
}

/*
 * The storm
 */

static void on_tick(void)
{
    struct storm_part *part = &of_handler[k_cpu()];

    ticks[k_cpu()]++;
    storm_go(part, 1 + t_below(&part->random, 3));
    k_timer_start(tick_period + t_below(&part->random, tick_period), on_tick);
}

static void one_round(void *arg)
{
    unsigned self = k_cpu();

    (void)arg;
    if (tick_period != 0)
        k_timer_start(tick_period, on_tick);
    storm_go(&of_thread[self], calls_each);
    k_timer_stop();
}

void smp_storm_start(unsigned tier, bool sends, unsigned trims, unsigned period, uint32_t seed)
{
    start(tier);
    storm_start(k_cpus(), sends, trims);
    tick_period = period;
    for (unsigned i = 0; i < k_cpus(); i++) {
        storm_part_start(&of_thread[i], i, false, seed);
        storm_part_start(&of_handler[i], i, true, seed);
        ticks[i] = 0;
    }
}

void smp_storm_round(uint32_t calls)
{
    calls_each = calls;
    on_all(one_round, NULL);
    expect_unbroken();
    EXPECT_WHOLE();
}

static uint32_t sum_of(uint32_t (*count)(const struct storm_part *part))
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < k_cpus(); i++)
        sum += count(&of_thread[i]) + count(&of_handler[i]);
    return sum;
}

static uint32_t mallocs(const struct storm_part *part)
{
    return part->mallocs - part->refused;
}

static uint32_t frees(const struct storm_part *part)
{
    return part->frees;
}

static uint32_t remote(const struct storm_part *part)
{
    return part->remote;
}

/* A thread's call is refused by nobody here: there is memory. */
static uint32_t refused_threads(const struct storm_part *part)
{
    return part->handler ? 0 : part->refused;
}

static void end_own(void *arg)
{
    (void)arg;
    storm_part_end(&of_thread[k_cpu()]);
    storm_part_end(&of_handler[k_cpu()]);
}

/* All is freed, and nothing is left that nobody could name. */
void smp_storm_end(void)
{
    struct sh_stats stats;

    on_all(end_own, NULL);
    storm_end(&of_thread[0]);
    expect_unbroken();
    EXPECT_EQ(sum_of(refused_threads), 0);
    EXPECT_WHOLE();
    for (unsigned i = 0; i < k_cpus(); i++)
        EXPECT_EQ(sh_cpu_offline(i), SH_OK);
    sh_trim(0);
    sh_stats(&stats);
    EXPECT_EQ(stats.live_objects, 0);
    EXPECT_EQ(stats.heap_in_use + stats.heap_free, 0);
    EXPECT_EQ(stats.frames_held, rig_frames_held());
    EXPECT_WHOLE();
}

void smp_storm_print(void)
{
    t_printf("  CPU    mallocs      frees     remote   reallocs  interrupts: calls     served    refused\n");
    for (unsigned i = 0; i < k_cpus(); i++) {
        const struct storm_part *t = &of_thread[i], *h = &of_handler[i];

        t_printf("%5u %10u %10u %10u %10u %11u %10u %10u %10u\n", i, (unsigned)(t->mallocs + h->mallocs),
                 (unsigned)(t->frees + h->frees), (unsigned)(t->remote + h->remote), (unsigned)t->reallocs,
                 ticks[i], (unsigned)(h->mallocs + h->frees), (unsigned)(h->mallocs - h->refused),
                 (unsigned)h->refused);
    }
}

uint32_t smp_storm_calls(void)
{
    return sum_of(mallocs) + sum_of(frees);
}

static void each_cpu_keeps_to_itself(void)
{
    smp_storm_start(0, false, TRIMS_A_TEST, 0, 1);
    for (unsigned round = 0; round < 4; round++)
        smp_storm_round(5000);
    EXPECT_EQ(sum_of(remote), 0);
    smp_storm_end();
}

static void what_one_makes_another_frees(void)
{
    smp_storm_start(0, true, TRIMS_A_TEST, 0, 2);
    for (unsigned round = 0; round < 4; round++)
        smp_storm_round(10000);
    EXPECT(sum_of(remote) > 200);
    smp_storm_end();
}

static void handlers_allocate_and_free_on_every_cpu(void)
{
    smp_storm_start(0, true, TRIMS_A_TEST, smp_option("tick", 20000), 3);
    for (unsigned round = 0; round < 4; round++)
        smp_storm_round(10000);
    for (unsigned i = 0; i < k_cpus(); i++)
        EXPECT(ticks[i] >= 4 && of_handler[i].mallocs > of_handler[i].refused);
    smp_storm_end();
}

static void the_tiers_serve_many_cpus(void)
{
    for (unsigned tier = 1; tier <= 3; tier++) {
        smp_storm_start(tier, true, 10, smp_option("tick", 50000), 10 + tier);
        smp_storm_round(3000);
        smp_storm_round(3000);
        smp_storm_end();
    }
}

/* Pages get frames where two CPUs may touch them at once; handlers may not touch what is new. */
static void frames_come_on_demand_of_every_cpu(void)
{
    on_demand = true;
    smp_storm_start(0, true, TRIMS_A_TEST, 0, 20);
    on_demand = false;
    for (unsigned round = 0; round < 3; round++)
        smp_storm_round(6000);
    smp_storm_end();
}

/*
 * Producers and consumers: each CPU makes for the next and frees what the one before it made.
 */

#define RING 64u
#define THROUGH 20000u

static struct {
    struct storm_object *at[RING];
    unsigned in, out;
} rings[K_RECORDS];

static bool put(unsigned ring, struct storm_object *object)
{
    if (rings[ring].in - __atomic_load_n(&rings[ring].out, __ATOMIC_ACQUIRE) == RING)
        return false;
    rings[ring].at[rings[ring].in & (RING - 1)] = object;
    __atomic_store_n(&rings[ring].in, rings[ring].in + 1, __ATOMIC_RELEASE);
    return true;
}

static struct storm_object *get(unsigned ring)
{
    struct storm_object *object;

    if (__atomic_load_n(&rings[ring].in, __ATOMIC_ACQUIRE) == rings[ring].out)
        return NULL;
    object = rings[ring].at[rings[ring].out & (RING - 1)];
    __atomic_store_n(&rings[ring].out, rings[ring].out + 1, __ATOMIC_RELEASE);
    return object;
}

static void produce_and_consume(void *arg)
{
    unsigned self = k_cpu(), next = self + 1 == k_cpus() ? 0 : self + 1, made = 0, freed = 0;
    struct storm_part *part = &of_thread[self];
    struct storm_object *object = NULL;

    (void)arg;
    while ((made < THROUGH || freed < THROUGH) && storm_broken() == NULL) {
        struct storm_object *other = get(self);
        bool moved = other != NULL;

        freed += moved;
        storm_give(part, other);
        if (object == NULL && made < THROUGH) {
            object = storm_take(part, 16 + (made & 7) * 40);
            if (object == NULL)
                storm_break("a producer gets no memory");
        }
        if (object != NULL && put(next, object)) {
            object = NULL;
            made++;
            moved = true;
        }
        if (!moved)
            k_pause();
    }
}

/* What is freed elsewhere comes back: the heap stays as small as what is on its way. */
static void consumers_give_memory_back_to_producers(void)
{
    struct sh_stats stats;

    smp_storm_start(0, true, 0, 0, 4);
    for (unsigned i = 0; i < k_cpus(); i++)
        rings[i].in = rings[i].out = 0;
    on_all(produce_and_consume, NULL);
    expect_unbroken();
    sh_stats(&stats);
    EXPECT(stats.heap_in_use + stats.heap_free < 128 * T_KIB * k_cpus() + 512 * T_KIB);
    EXPECT_EQ(sum_of(remote), THROUGH * k_cpus());
    EXPECT_EQ(sum_of(mallocs), THROUGH * k_cpus());
    EXPECT_WHOLE();
    smp_storm_end();
}

/*
 * CPUs that come late and go
 */

static void one_share(void *arg)
{
    storm_go(&of_thread[k_cpu()], *(uint32_t *)arg);
}

static void cpus_come_late_and_go(void)
{
    static uint32_t share = 3000;

    smp_storm_start(0, true, 20, 0, 5);
    for (unsigned round = 0; round < 8; round++) {
        for (unsigned i = 1; i < k_cpus(); i++)
            if (round >= i && ((round + i) & 1) == 0)
                k_cpu_start(i, one_share, &share);
        one_share(&share);
        for (unsigned i = 1; i < k_cpus(); i++)
            if (((round + i) & 3) == 0) {
                while (!k_cpu_is_idle(i))
                    k_pause();
                EXPECT_EQ(sh_cpu_offline(i), SH_OK); /* it is idle; others run */
            }
        k_cpus_wait();
        expect_unbroken();
        EXPECT_WHOLE();
    }
    smp_storm_end();
}

/*
 * A CPU that sh_init was not told of
 */

static void *given, *lent;

static void take_small(void *arg)
{
    (void)arg;
    given = sh_malloc(64);
}

static void take_pages(void *arg)
{
    (void)arg;
    given = sh_alloc_pages(1);
}

static void free_lent(void *arg)
{
    (void)arg;
    sh_free(lent);
}

static void (*strangers_call)(void *arg);

static void by_the_last_cpu(void *arg)
{
    k_cpu_start(k_cpus() - 1, strangers_call, arg);
    k_cpus_wait();
}

static void a_cpu_that_sh_init_was_not_told_of_is_misuse(void)
{
    static void (*const calls[])(void *arg) = { take_small, take_pages, free_lent };
    const struct sh_config config = { .size = sizeof config, .hooks = rig_cpu_hooks(), .cpus = k_cpus() - 1 };

#ifdef SH_CPU_POINTER
    t_skip("CPUs are told by a pointer");
    return;
#endif
    rig_start(0, &config);
    lent = sh_malloc(64);
    for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        strangers_call = calls[i];
        given = NULL;
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_kernel_cpu: CPU ", by_the_last_cpu, NULL));
        EXPECT_EQ(rig_panic_count(), 1);
        EXPECT(given == NULL && sh_object_of(lent, NULL));
        EXPECT_WHOLE();
    }
    sh_free(lent);
}

static const struct test tests[] = {
    { "each_cpu_keeps_to_itself", each_cpu_keeps_to_itself },
    { "what_one_makes_another_frees", what_one_makes_another_frees },
    { "consumers_give_memory_back_to_producers", consumers_give_memory_back_to_producers },
    { "handlers_allocate_and_free_on_every_cpu", handlers_allocate_and_free_on_every_cpu },
    { "frames_come_on_demand_of_every_cpu", frames_come_on_demand_of_every_cpu },
    { "cpus_come_late_and_go", cpus_come_late_and_go },
    { "a_cpu_that_sh_init_was_not_told_of_is_misuse", a_cpu_that_sh_init_was_not_told_of_is_misuse },
    { "the_tiers_serve_many_cpus", the_tiers_serve_many_cpus },
};

SUITE_CPUS(smp, tests, 2);
