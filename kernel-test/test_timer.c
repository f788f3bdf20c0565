/*
 * Proves R9 with real interrupts (booted only): the timer strikes at ever changing instructions
 * while the thread allocates, frees, grows and trims, and its handler allocates and frees as
 * well.  Whatever either of them holds keeps its bytes, and the heap is whole.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/test_util.h"

#define SLOTS 64u

static struct t_block of_thread[SLOTS];
static struct t_block of_handler[SLOTS];
static uint32_t handler_random;
static volatile unsigned ticks, served;
static volatile bool broken; /* a handler must not leave by t_fail */

static enum sh_context context(void)
{
    return k_in_interrupt() ? SH_INTERRUPT : SH_THREAD;
}

/* Replaces a block or two of its own; every period differs, so every instruction is hit in time. */
static void on_tick(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct t_block *block = &of_handler[t_below(&handler_random, SLOTS)];
        if (block->p != NULL) {
            if (!t_holds(block->p, block->size, block->seed))
                broken = true;
            sh_free(block->p);
        }
        block->size = t_below(&handler_random, (ticks & 7) == 0 ? 20000 : 600);
        block->seed = ticks;
        block->p = sh_malloc(block->size);
        if (block->p != NULL) {
            t_fill(block->p, block->size, block->seed);
            served++;
        }
    }
    ticks++;
    k_timer_start(2000 + t_below(&handler_random, 3000), on_tick);
}

static void start(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config config = { .size = sizeof(config), .hooks = &hooks };

    hooks.context = context;
    rig_start(0, &config);
    for (unsigned i = 0; i < SLOTS; i++)
        of_thread[i].p = of_handler[i].p = NULL;
    handler_random = 777;
    ticks = served = 0;
    broken = false;
    k_timer_start(3000, on_tick);
}

/* The timer is stopped before anything is checked that could end the test. */
static void finish(unsigned least)
{
    k_timer_stop();
    EXPECT(!broken);
    EXPECT(ticks >= least);
    EXPECT(served > 0);
    EXPECT_WHOLE();
    for (unsigned i = 0; i < SLOTS; i++) {
        if (of_thread[i].p != NULL)
            t_give(&of_thread[i]);
        if (of_handler[i].p != NULL)
            t_give(&of_handler[i]);
    }
    EXPECT_WHOLE();
}

/* As t_take and t_give, but without a check that ends the test while the timer runs. */
static void replace(struct t_block *block, size_t size, uint32_t seed)
{
    if (block->p != NULL) {
        if (!t_holds(block->p, block->size, block->seed))
            broken = true;
        sh_free(block->p);
    }
    *block = (struct t_block){ sh_malloc(size), size, seed };
    if (block->p != NULL)
        t_fill(block->p, size, seed);
    else
        broken = true;
}

static void timer_may_strike_anywhere_in_small_operations(void)
{
    uint32_t random = 5;

    start();
    for (unsigned i = 0; ticks < 2000 && !broken; i++)
        replace(&of_thread[t_below(&random, SLOTS)], t_below(&random, 600), i);
    finish(2000);
}

static void timer_may_strike_anywhere_in_large_operations(void)
{
    uint32_t random = 6;

    start();
    for (unsigned i = 0; ticks < 1000 && !broken; i++)
        replace(&of_thread[t_below(&random, 8)], 8192 + t_below(&random, 100000), i);
    finish(1000);
}

static void timer_may_strike_while_memory_goes_and_comes(void)
{
    uint32_t random = 7;

    start();
    for (unsigned i = 0; ticks < 1000 && !broken; i++) {
        replace(&of_thread[t_below(&random, 16)], t_below(&random, 40000), i);
        if ((i & 15) == 0)
            sh_trim(t_below(&random, 4) << 16);
        if ((i & 63) == 0)
            sh_free_pages(sh_alloc_pages(1 + t_below(&random, 20)));
    }
    finish(1000);
}

static void timer_may_strike_while_windows_are_added(void)
{
    size_t size;
    uintptr_t base = rig_area(&size);
    unsigned windows = 0;

    start();
    for (unsigned i = 0; windows < 20 && !broken; i++) {
        if (rig_window(base + 80 * T_MIB + windows * 8 * T_MIB, T_MIB) != SH_OK)
            broken = true;
        windows++;
        for (unsigned k = 0; k < SLOTS; k++)
            replace(&of_thread[k], (k * 37 + i * 500) & 16383, k);
    }
    finish(20);
}

#define PAIR 64u
#define PAIRS 8u

static volatile uint32_t *of_pair_handler[PAIRS];

/* Holds a few slots of the class that the thread works on, and takes the lowest free one before it gives
 * one back.  What is the thread's as well does not keep its mark for a whole round. */
static void on_pair_tick(void)
{
    volatile uint32_t **slot = &of_pair_handler[ticks & (PAIRS - 1)], *p = sh_malloc(PAIR);

    if (*slot != NULL) {
        if (**slot != ticks - PAIRS)
            broken = true;
        sh_free((void *)(uintptr_t)*slot);
    }
    *slot = p;
    if (p != NULL) {
        *p = ticks;
        served++;
    }
    ticks++;
    k_timer_start(700 + t_below(&handler_random, 700), on_pair_tick);
}

/* Next to nothing but the fast paths, all on one word of free bits: what they leave open is hit. */
static void timer_may_strike_anywhere_in_the_fast_paths(void)
{
    start();
    k_timer_stop();
    for (unsigned i = 0; i < PAIRS; i++)
        of_pair_handler[i] = NULL;
    k_timer_start(1000, on_pair_tick);
    while (ticks < 4000 && !broken) {
        volatile uint32_t *a = sh_malloc(PAIR), *b = sh_malloc(PAIR);
        if (a == NULL || b == NULL || a == b) {
            broken = true;
            break;
        }
        *a = ~(uint32_t)0;
        *b = ~(uint32_t)1;
        if (*a != ~(uint32_t)0 || *b != ~(uint32_t)1)
            broken = true;
        sh_free((void *)(uintptr_t)a);
        sh_free((void *)(uintptr_t)b);
    }
    finish(4000);
    for (unsigned i = 0; i < PAIRS; i++)
        sh_free((void *)(uintptr_t)of_pair_handler[i]);
    EXPECT_WHOLE();
}

static void expect_as(bool on, size_t size, const char *call)
{
    bool are = k_interrupts(on);

    if (are != on)
        t_fail(__FILE__, __LINE__, "%s of %zu bytes leaves interrupts %s", call, size, are ? "on" : "off");
}

/* Whichever way a call goes: hit, missed, large, refused. */
static void leave_interrupts(bool context)
{
    static const size_t sizes[] = { 0, 1, 64, 1024, 1025, 2000, 32768, 32769, 100000, SIZE_MAX / 2 };
    struct sh_hooks hooks = *rig_hooks();
    struct sh_config config = { .size = sizeof(config), .hooks = &hooks };
    bool were = k_interrupts(true);

    if (!context)
        hooks.context = NULL;
    rig_start(0, &config);
    for (unsigned i = 0; i < 4 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i / 4];
        bool on = (i & 1) != 0;
        void *p[3];

        (void)k_interrupts(on);
        for (unsigned j = 0; j < 3; j++) {
            p[j] = sh_malloc(size);
            expect_as(on, size, "sh_malloc");
        }
        if (size < SIZE_MAX / 2) {
            p[0] = sh_realloc(p[0], size + 40);
            expect_as(on, size, "sh_realloc");
            p[0] = sh_realloc(p[0], size / 2 + 1);
            expect_as(on, size, "sh_realloc to less");
        }
        for (unsigned j = 0; j < 3; j++) {
            sh_free(p[j]);
            expect_as(on, size, "sh_free");
        }
        (void)sh_trim(0);
        expect_as(on, size, "sh_trim");
    }
    (void)k_interrupts(were);
    EXPECT_WHOLE();
}

/* Without a context hook the shortest ways are taken. */
static void calls_leave_interrupts_as_they_were(void)
{
    leave_interrupts(true);
    leave_interrupts(false);
}

static const struct test tests[] = {
    { "calls_leave_interrupts_as_they_were", calls_leave_interrupts_as_they_were },
    { "timer_may_strike_anywhere_in_small_operations",
      timer_may_strike_anywhere_in_small_operations },
    { "timer_may_strike_anywhere_in_large_operations",
      timer_may_strike_anywhere_in_large_operations },
    { "timer_may_strike_while_memory_goes_and_comes",
      timer_may_strike_while_memory_goes_and_comes },
    { "timer_may_strike_anywhere_in_the_fast_paths",
      timer_may_strike_anywhere_in_the_fast_paths },
    { "timer_may_strike_while_windows_are_added", timer_may_strike_while_windows_are_added },
};

SUITE(timer, tests);
