/*
 * Proves that releasing a span is the last act of its sweep: whoever is given the pages next may do anything
 * with them, while the sweep that gave them back is still on its way.
 *
 * A hook inside the release allocates the same size again, so that pages, descriptor and records are used
 * for something else at once; fills that with references to objects that nothing else keeps, roots it, and
 * goes on.  Whatever the sweeper still touched then, a bit, a mark, a count, would be the new span's.
 */
#include "kernel-test/test_gc_util.h"

#include "gc/alloc.h"
#include "gc/pace.h"
#include "gc/sweep.h"
#include "mm/heap.h"

#define MOST 24u /* objects that the hook makes */
#define CANARIES 6u

enum driver { REFILL, PROPORTION, IDLE_STEP, RECLAIM, COLLECT, STEPS, ENSURE, DRIVERS };

static struct {
    size_t size;
    unsigned flags;
    unsigned made;
    unsigned reused;     /* of those, where dead ones were */
    uintptr_t low, high; /* of the dead */
    bool inside;
    struct {
        uintptr_t **object;
        size_t count; /* of canaries */
    } kept[MOST];
} again;

static unsigned long entered;

static void again_start(size_t size, unsigned flags)
{
    again.size = size;
    again.flags = flags;
    again.made = again.reused = 0;
    again.low = UINTPTR_MAX;
    again.high = 0;
    entered = 0;
}

/* One that is to die. */
static void *take_dead(size_t size, unsigned flags)
{
    void *p = t_gc_take(size, flags);
    again.low = (uintptr_t)p < again.low ? (uintptr_t)p : again.low;
    again.high = (uintptr_t)p > again.high ? (uintptr_t)p : again.high;
    return p;
}

/* ---- the hook ---- */

static void make_again(void)
{
    uintptr_t **object = sh_gc_malloc(again.size, again.flags);
    if (object == NULL) {
        return;
    }
    size_t words = again.size / T_WORD, count = words < CANARIES ? words : CANARIES;
    unsigned n = again.made++;
    EXPECT(t_is_zero(object, again.size));
    again.reused += (uintptr_t)object >= again.low && (uintptr_t)object <= again.high;
    t_root[n] = object;
    again.kept[n].object = object;
    again.kept[n].count = count;
    for (size_t i = 0; i < count; i++) {
        uintptr_t *canary = t_gc_take(40, SH_GC_NOSCAN);
        canary[0] = t_mark_of(n * CANARIES + i);
        object[i] = canary;
    }
}

static void on_release(uintptr_t base, size_t page_count)
{
    (void)base;
    (void)page_count;
    entered++;
    if (!again.inside && again.made < MOST) {
        again.inside = true;
        make_again();
        again.inside = false;
    }
}

static void hook(bool on)
{
    gc_sweep_probe = on ? on_release : NULL;
    mm_heap_released_probe = on ? on_release : NULL;
}

/* What the hook made is whole, and all canaries sing. */
static void expect_canaries(void)
{
    for (unsigned n = 0; n < again.made; n++) {
        EXPECT(t_lives(again.kept[n].object));
        for (size_t i = 0; i < again.kept[n].count; i++) {
            const uintptr_t *canary = again.kept[n].object[i];
            if (!t_lives(canary) || canary[0] != t_mark_of(n * CANARIES + i)) {
                t_fail(__FILE__, __LINE__, "canary %zu of object %u, %p, is lost", i, n, (const void *)canary);
            }
        }
    }
}

/* ---- drivers ---- */

static const char *const driver_names[DRIVERS] = { "refill", "proportion", "idle step", "reclaim", "collect",
                                                   "steps", "ensure" };

/* Enough of one size that whole spans die. */
static void make_dead(size_t size, unsigned flags)
{
    size_t span = size > MM_CLASS_LIMIT ? 1 : mm_class[mm_class_of(size)].slots;
    for (size_t i = 0; i < 6 * span && i < 5000; i++) {
        take_dead(size, flags);
    }
}

/* Marking ends, nothing is swept yet. */
static void end_marking(void)
{
    t_gc_step_to(GC_SWEEP, 1);
}

static void refill_until_swept(void)
{
    for (unsigned i = 0; i < 20000 && gc.unswept != 0; i++) {
        t_gc_take(again.size, again.flags);
    }
}

static void take_all_pages(void)
{
    unsigned count = t_drain(4, T_MAX_HELD);
    t_release(count);
}

/* As sh_free does before it looks at an object. */
static void ensure_all(void)
{
    uintptr_t at = 0;
    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        struct gc_span *gs = span->gc;
        if (gs != NULL && gc_unswept(gs)) {
            EXPECT(!gc_sweep_ensure(gs)); /* it is gone, whoever has its place and its records now */
        }
        if (at == 0) {
            break;
        }
    }
    EXPECT_EQ(gc.unswept, 0);
}

static void drive(enum driver driver)
{
    switch (driver) {
    case REFILL:
        end_marking();
        refill_until_swept();
        break;
    case PROPORTION:
        end_marking();
        for (unsigned i = 0; i < 100 && gc.unswept != 0; i++) {
            gc_pace_span(64);
        }
        break;
    case IDLE_STEP:
        end_marking();
        while (sh_gc_sweep_step(1)) {
        }
        break;
    case RECLAIM:
        end_marking();
        take_all_pages();
        break;
    case COLLECT:
        sh_gc_collect();
        break;
    case STEPS:
        t_gc_step_to(GC_IDLE, 16);
        break;
    case ENSURE:
        end_marking();
        ensure_all();
        break;
    case DRIVERS:
    default:
        break;
    }
}

/* What the hook made lives through collections, and goes when it is let go. */
static void expect_followed(void)
{
    expect_canaries();
    sh_gc_collect();
    expect_canaries();
    EXPECT_WHOLE();
    sh_gc_collect();
    expect_canaries();
    for (unsigned i = 0; i < T_ROOTS; i++) {
        t_root[i] = NULL;
    }
    sh_gc_collect();
    EXPECT_EQ(t_gc_live_count(), 0);
    EXPECT_WHOLE();
}

static void try(enum driver driver, size_t size, unsigned dead_flags, unsigned flags)
{
    t_gc_start(driver == RECLAIM ? 3 * T_MIB : 0, NULL, NULL);
    again_start(size, flags);
    make_dead(size, dead_flags);
    take_dead(size, dead_flags);
    hook(true);
    drive(driver);
    hook(false);
    if (entered == 0 || again.made == 0) {
        t_fail(__FILE__, __LINE__, "%s, %zu bytes: no span was released", driver_names[driver], size);
    }
    if (again.reused == 0) {
        t_fail(__FILE__, __LINE__, "%s, %zu bytes: no span was used again", driver_names[driver], size);
    }
    expect_followed();
}

static void by(enum driver driver)
{
    static const size_t sizes[] = { 16, 48, 1024, 3072, 8192, 32768, 100000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i += rig_is_machine() ? 3 : 1) {
        try(driver, sizes[i], 0, 0);
        try(driver, sizes[i], SH_GC_NOSCAN, 0);
    }
}

static void spans_released_by_a_refill_may_be_used_at_once(void)
{
    by(REFILL);
}

static void spans_released_in_proportion_may_be_used_at_once(void)
{
    by(PROPORTION);
}

static void spans_released_by_an_idle_step_may_be_used_at_once(void)
{
    by(IDLE_STEP);
}

static void spans_released_when_pages_run_short_may_be_used_at_once(void)
{
    by(RECLAIM);
}

static void spans_released_by_a_collection_may_be_used_at_once(void)
{
    by(COLLECT);
}

static void spans_released_by_steps_may_be_used_at_once(void)
{
    by(STEPS);
}

static void spans_released_before_a_free_may_be_used_at_once(void)
{
    by(ENSURE);
}

static void free_pointer(void *p)
{
    sh_free(p);
}

/* sh_free of a dead object sweeps its span, which goes, and what is at its address next is somebody else's. */
static void a_dead_object_that_is_freed_takes_no_other_with_it(void)
{
    static const size_t sizes[] = { 16, 1024, 8192, 32768, 100000 };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        t_gc_start(0, NULL, NULL);
        again_start(sizes[i], 0);
        void *dead = take_dead(sizes[i], 0);
        end_marking();
        hook(true);
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_free", free_pointer, dead));
        hook(false);
        EXPECT(again.made != 0 && again.reused == 1);
        expect_followed();
    }
}

/* What is marked and then freed by hand: that nothing of its span is kept is found by the sweep for its class,
 * which a refill begins, and no other. */
static void spans_released_by_the_sweep_of_a_class_may_be_used_at_once(void)
{
    static const size_t sizes[] = { 48, 1024, 8192, 32768 };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i += rig_is_machine() ? 2 : 1) {
        t_gc_start(0, NULL, NULL);
        again_start(sizes[i], 0);
        for (unsigned k = MOST; k < MOST + 32; k++) {
            t_root[k] = take_dead(sizes[i], 0);
        }
        EXPECT(!sh_gc_step(1));
        for (unsigned k = MOST; k < MOST + 32; k++) {
            sh_free(t_root[k]);
        }
        end_marking(); /* the roots are still there: all are marked */
        for (unsigned k = MOST; k < MOST + 32; k++) {
            t_root[k] = NULL;
        }
        EXPECT(gc.unswept != 0);
        hook(true);
        refill_until_swept();
        hook(false);
        EXPECT(entered != 0 && again.reused != 0);
        expect_followed();
    }
}

/* sh_free of the last object of a span releases it too.  Large ones: more than is kept for the next one. */
static void spans_released_by_hand_may_be_used_at_once(void)
{
    static const size_t sizes[] = { 16, 1024, 8192, 32768, MM_RUN_CACHE_LIMIT + SH_PAGE_SIZE };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned flags = 0; flags <= SH_GC_NOSCAN; flags++) {
            if (sizes[i] > MM_CLASS_LIMIT && !t_has_memory(2 * sizes[i])) {
                return;
            }
            t_gc_start(0, NULL, NULL);
            again_start(sizes[i], 0);
            void *single = t_root[MOST] = take_dead(sizes[i], flags);
            sh_gc_collect(); /* from the entry to a list */
            t_root[MOST] = NULL;
            EXPECT(gc.phase == GC_IDLE && !t_gc_span(single)->owned);
            hook(true);
            sh_free(single);
            hook(false);
            EXPECT(entered != 0 && again.reused != 0);
            expect_followed();
        }
    }
}

static bool begin_again;

static void on_release_begin(uintptr_t base, size_t page_count)
{
    (void)base;
    (void)page_count;
    if (!begin_again) {
        begin_again = true;
        for (unsigned i = 0; i < 8; i++) { /* also what these sweep is used again */
            make_again();
        }
        t_gc_step_to(GC_IDLE, 1000);
        end_marking();
    }
}

/* The span that took the place of the one that went is marked and to be swept when the first sweep comes back:
 * it must not lose its marks then, nor pass for swept. */
static void a_cycle_may_end_marking_inside_a_release(void)
{
    t_gc_start(0, NULL, NULL);
    again_start(MM_CLASS_LIMIT, 0); /* one to a span */
    begin_again = false;
    make_dead(again.size, 0);
    end_marking();
    mm_heap_released_probe = on_release_begin;
    while (sh_gc_sweep_step(1)) {
        EXPECT_EQ(sh_verify(), 0);
    }
    mm_heap_released_probe = NULL;
    EXPECT(begin_again);
    EXPECT_EQ(gc.unswept, 0);
    expect_canaries();
    sh_gc_collect();
    expect_canaries();
    EXPECT_WHOLE();
}

/* ---- who sweeps what ---- */

/* The sweeps of a cycle, however they are shared out, free every dead object once. */
static void every_driver_has_its_share_and_all_is_freed_once(void)
{
    uint32_t seed = 77;
    t_gc_start(0, NULL, NULL);
    for (unsigned round = 0; round < (rig_is_machine() ? 5u : 60u); round++) {
        struct sh_gc_stats before, after;
        size_t lost = 0;
        for (unsigned i = 0; i < 3000; i++) {
            void **p = t_gc_take(8 + t_below(&seed, i % 50 == 0 ? 60000 : 500), i & 1);
            bool keep = t_below(&seed, 8) == 0 && (i & 1) == 0;
            *p = keep ? t_root[0] : NULL;
            t_root[0] = keep ? p : t_root[0];
            lost += !keep;
        }
        sh_gc_stats(&before);
        end_marking();
        for (bool more = true; more;) {
            switch (t_below(&seed, 3)) {
            case 0: more = sh_gc_sweep_step(1 + t_below(&seed, 3)); break;
            case 1: gc_pace_span(1 + t_below(&seed, 8)); break;
            default: t_root[1 + t_below(&seed, 32)] = t_gc_take(8 + t_below(&seed, 2000), 0);
            }
        }
        sh_gc_stats(&after);
        EXPECT_EQ(gc.phase, GC_IDLE);
        EXPECT(after.objects_freed - before.objects_freed >= lost);
        EXPECT_WHOLE();
        for (unsigned i = 0; i < T_ROOTS; i++) {
            t_root[i] = NULL;
        }
        sh_gc_collect();
        EXPECT_EQ(t_gc_live_count(), 0);
    }
    struct sh_stats s;
    sh_stats(&s);
    EXPECT_EQ(s.mallocs, s.frees);
}

/* Dead spans are given back when pages run short, before those are swept that stay, and no more of them than
 * are needed. */
static void pages_that_run_short_come_from_dead_spans(void)
{
    t_gc_start(4 * T_MIB, NULL, NULL);
    for (unsigned i = 0; i < 160; i++) {
        void *p = t_gc_take(1024, 0);
        t_root[i] = i % 4 == 0 ? p : NULL;
    }
    for (unsigned i = 0; i < 160; i++) {
        t_gc_take(8192, 0);
    }
    end_marking();
    size_t unswept = gc.unswept, spans = gc.span_count;
    uint64_t swept = gc.stats.spans_swept;
    unsigned count = 0;
    EXPECT(unswept * mm_class[mm_class_of(8192)].slots > 160);
    for (; gc.unswept == unswept; count++) {
        EXPECT(count < T_MAX_HELD);
        t_held[count] = sh_alloc_pages(1);
        EXPECT(t_held[count] != NULL);
    }
    EXPECT(gc.unswept != 0);
    EXPECT_EQ(gc.stats.spans_swept - swept, spans - gc.span_count);
    t_release(count);
    EXPECT_WHOLE();
}

/* ---- efence ---- */

static uintptr_t fenced[200];

static void fenced_objects_that_were_collected_never_come_back(void)
{
    struct sh_stats before, after;
    unsigned count = rig_is_machine() ? 60 : 200;
    t_gc_start_tier(4);
    void *kept = t_root[0] = t_gc_take(100, 0);
    for (unsigned i = 0; i < count; i++) {
        fenced[i] = (uintptr_t)t_gc_take(24 + 37 * i, i & 1);
    }
    sh_stats(&before);
    sh_gc_collect();
    sh_stats(&after);
    EXPECT(after.heap_fault >= before.heap_fault + count * SH_GRANULE_SIZE);
    EXPECT(t_lives(kept));
    for (unsigned i = 0; i < count; i++) {
        EXPECT(!t_lives((void *)fenced[i]) && !sh_contains((void *)fenced[i]));
        EXPECT_EQ(sh_arch_state(fenced[i]), SH_FAULT);
        rig_log_clear();
        sh_explain(fenced[i]);
        EXPECT(t_contains(rig_log(), "free already"));
    }
    for (unsigned i = 0; i < count; i++) {
        uintptr_t p = (uintptr_t)t_gc_take(24 + 37 * i, i & 1);
        for (unsigned k = 0; k < count; k++) {
            EXPECT(p - fenced[k] >= 24 + 37 * k);
        }
    }
    EXPECT_WHOLE();
}

static void fenced_spans_may_be_followed_at_once(void)
{
    static const enum driver drivers[] = { PROPORTION, IDLE_STEP, COLLECT, STEPS };
    for (unsigned k = 0; k < 2 * sizeof drivers / sizeof drivers[0]; k++) {
        t_gc_start_tier(4);
        again_start(64, 0);
        for (unsigned i = 0; i < 30; i++) {
            take_dead(64, (k & 1) != 0 ? 0 : SH_GC_NOSCAN);
        }
        hook(true);
        drive(drivers[k / 2]);
        hook(false);
        EXPECT(entered >= 30);
        EXPECT(again.made != 0); /* what it allocates sweeps too, and is not entered again */
        EXPECT_EQ(again.reused, 0);
        expect_canaries();
        sh_gc_collect();
        expect_canaries();
        EXPECT_WHOLE();
    }
}

/* What a handler does just after the sweep of a refill: the span must be where sh_free can find it. */
static void an_object_of_a_span_that_was_just_swept_may_be_freed(void)
{
    t_gc_start_checked();
    for (size_t size = 16; size < 5000; size *= 3) {
        void *kept = t_root[0] = t_gc_take(size, 0), *freed = t_root[1] = t_gc_take(size, 0);
        t_gc_take(size, 0);
        t_gc_step_to(GC_SWEEP, 1);
        const struct gc_span *gs = t_gc_span(kept);
        EXPECT(gc_unswept(gs));
        while (gc_unswept(gs)) {
            gc_sweep_for(GC_CONSERVATIVE, gs->class, 1);
        }
        sh_free(freed);
        EXPECT_WHOLE();
        EXPECT(t_lives(kept) && !t_lives(freed));
        t_gc_step_to(GC_IDLE, 100);
    }
}

static const struct test tests[] = {
    { "an_object_of_a_span_that_was_just_swept_may_be_freed", an_object_of_a_span_that_was_just_swept_may_be_freed },
    { "spans_released_by_a_refill_may_be_used_at_once", spans_released_by_a_refill_may_be_used_at_once },
    { "spans_released_in_proportion_may_be_used_at_once", spans_released_in_proportion_may_be_used_at_once },
    { "spans_released_by_an_idle_step_may_be_used_at_once", spans_released_by_an_idle_step_may_be_used_at_once },
    { "spans_released_when_pages_run_short_may_be_used_at_once",
      spans_released_when_pages_run_short_may_be_used_at_once },
    { "spans_released_by_a_collection_may_be_used_at_once", spans_released_by_a_collection_may_be_used_at_once },
    { "spans_released_by_steps_may_be_used_at_once", spans_released_by_steps_may_be_used_at_once },
    { "spans_released_before_a_free_may_be_used_at_once", spans_released_before_a_free_may_be_used_at_once },
    { "a_dead_object_that_is_freed_takes_no_other_with_it", a_dead_object_that_is_freed_takes_no_other_with_it },
    { "spans_released_by_the_sweep_of_a_class_may_be_used_at_once",
      spans_released_by_the_sweep_of_a_class_may_be_used_at_once },
    { "spans_released_by_hand_may_be_used_at_once", spans_released_by_hand_may_be_used_at_once },
    { "a_cycle_may_end_marking_inside_a_release", a_cycle_may_end_marking_inside_a_release },
    { "every_driver_has_its_share_and_all_is_freed_once", every_driver_has_its_share_and_all_is_freed_once },
    { "pages_that_run_short_come_from_dead_spans", pages_that_run_short_come_from_dead_spans },
    { "fenced_objects_that_were_collected_never_come_back", fenced_objects_that_were_collected_never_come_back },
    { "fenced_spans_may_be_followed_at_once", fenced_spans_may_be_followed_at_once },
};

SUITE(sweeper, tests);
