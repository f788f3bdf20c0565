/*
 * Proves with real interrupts (booted only) that handlers may allocate, store, copy and free while the
 * collector is at work at any instruction of it: whatever either side holds stays whole.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/test_gc_util.h"

#define HALF (T_ROOTS / 2) /* the first half of the roots is the thread's, the second the handler's */

struct cell {
    uintptr_t number, mark;
    struct cell *other;
};

static volatile unsigned ticks, served;
static volatile bool broken; /* a handler must not leave by t_fail */
static uint32_t random_thread, random_handler;
static uintptr_t numbers[2];

static bool is_whole(const struct cell *cell)
{
    return cell == NULL || cell->mark == t_mark_of(cell->number);
}

/* Puts a new cell in the place of an old one, which it refers to; what that referred to is let go, and now
 * and then the old one is freed. */
static void replace(unsigned side, uint32_t *random)
{
    void **root = &t_root[side * HALF + t_below(random, HALF)];
    struct cell *old = *root, *cell = sh_gc_malloc(sizeof *cell + t_below(random, side == 0 ? 2000 : 100), 0);
    if (!is_whole(old) || (old != NULL && !is_whole(old->other))) {
        broken = true;
    }
    if (cell == NULL) {
        return;
    }
    served += side;
    cell->number = ++numbers[side];
    cell->mark = t_mark_of(cell->number);
    bool free_it = old != NULL && t_below(random, 5) == 0;
    sh_gc_copy(&cell->other, free_it ? NULL : root, T_WORD);
    sh_gc_write(root, cell);
    if (old != NULL) {
        sh_gc_write(&old->other, NULL);
    }
    if (free_it) {
        sh_free(old);
    }
}

static void on_tick(void)
{
    replace(1, &random_handler);
    replace(1, &random_handler);
    ticks++;
    k_timer_start(2000 + t_below(&random_handler, 3000), on_tick);
}

static void start(bool automatic)
{
    const struct sh_gc_config config = { .size = sizeof config, .automatic = automatic, .min_heap = 32 * T_KIB };
    t_gc_start(0, NULL, &config);
    random_thread = 11;
    random_handler = 12;
    ticks = served = 0;
    numbers[0] = numbers[1] = 0;
    broken = false;
    k_timer_start(3000, on_tick);
}

/* The timer is stopped before anything is checked that could end the test. */
static void finish(unsigned least)
{
    k_timer_stop();
    EXPECT(!broken);
    EXPECT(ticks >= least && served > 0);
    EXPECT(gc.stats.cycles > 2);
    EXPECT_WHOLE();
    t_gc_step_to(GC_IDLE, 1000);
    gc.config.check = true;
    sh_gc_collect();
    size_t kept = 0;
    for (unsigned i = 0; i < T_ROOTS; i++) {
        const struct cell *cell = t_root[i];
        EXPECT(cell == NULL || (t_lives(cell) && is_whole(cell) && is_whole(cell->other)));
        kept += cell != NULL;
        kept += cell != NULL && cell->other != NULL;
    }
    EXPECT_EQ(t_gc_live_count(), kept);
    EXPECT_WHOLE();
}

static void the_timer_may_strike_anywhere_in_steps(void)
{
    start(false);
    while (ticks < 1500 && !broken) {
        replace(0, &random_thread);
        sh_gc_step(1 + t_below(&random_thread, 1000));
    }
    finish(1500);
}

static void the_timer_may_strike_anywhere_in_collections(void)
{
    start(false);
    while (ticks < 1000 && !broken) {
        for (unsigned i = 0; i < 20; i++) {
            replace(0, &random_thread);
        }
        sh_gc_collect();
    }
    finish(1000);
}

static void the_timer_may_strike_anywhere_in_allocations(void)
{
    start(true);
    while (ticks < 1000 && !broken) {
        replace(0, &random_thread);
        sh_gc_sweep_step(1);
    }
    finish(1000);
}

static const struct test tests[] = {
    { "the_timer_may_strike_anywhere_in_steps", the_timer_may_strike_anywhere_in_steps },
    { "the_timer_may_strike_anywhere_in_collections", the_timer_may_strike_anywhere_in_collections },
    { "the_timer_may_strike_anywhere_in_allocations", the_timer_may_strike_anywhere_in_allocations },
};

SUITE(timer_gc, tests);
