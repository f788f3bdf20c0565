/*
 * Proves what the tiers promise where something comes in between: a handler in the middle of an
 * allocation, a heap that died, a hook that fails or never returns, memory that runs out.
 */
#include "kernel-test/test_util.h"

#include "mm/fence.h"
#include "mm/linear.h"
#include "mm/malloc.h"
#include "mm/report.h"

static void start(const struct sh_config *given, size_t window)
{
    struct sh_config config = *given;

    config.size = sizeof(config);
    config.hooks = rig_hooks();
    rig_start(window, &config);
}

#define START(...) start(&(const struct sh_config){ __VA_ARGS__ }, 0)

/* A handler frees the neighbour of a slot that the interrupted code has taken, but not given out yet:
 * it has no red zone that could be broken. */
static void slot_on_its_way_has_no_red_zone(void)
{
    char *taken, *next;

    START(.tier = 2);
    taken = mm_malloc_class(mm_class_of(48));
    next = sh_malloc(40);
    EXPECT_EQ(next - taken, 48);
    rig_context(SH_INTERRUPT);
    sh_free(next);
    rig_context(SH_THREAD);
    EXPECT(sh_verify() != 0);
    mm_slot_release(mm_span_of((uintptr_t)taken), 0);
    EXPECT_WHOLE();
    /* And one that had another owner. */
    sh_free(sh_malloc(40));
    taken = mm_malloc_class(mm_class_of(48));
    next = sh_malloc(40);
    sh_free(next);
    mm_slot_release(mm_span_of((uintptr_t)taken), mm_span_index(mm_span_of((uintptr_t)taken), (uintptr_t)taken));
    EXPECT_WHOLE();
}

static void die(void *arg)
{
    (void)arg;
    mm_corruption("on purpose");
}

static void dead_heap_gives_no_sample(void)
{
    START(.guard_sample = 1);
    EXPECT(sh_malloc(40) != NULL);
    EXPECT(rig_panics(SH_PANIC_CORRUPTION, "on purpose", die, NULL));
    EXPECT(sh_malloc(40) == NULL);
    EXPECT(sh_calloc(4, 10) == NULL);
    /* And what is found next is reported too. */
    EXPECT(rig_panics(SH_PANIC_CORRUPTION, "on purpose", die, NULL));
}

/* Eight objects of 100,000 bytes that are held back, whose frames nobody else can have. */
static void hold_back(void)
{
    void *p[8];

    for (unsigned i = 0; i < 8; i++)
        p[i] = sh_malloc(100000);
    for (unsigned i = 0; i < 8; i++)
        sh_free(p[i]);
}

static void frames_in_quarantine_serve_before_null(void)
{
    START(.tier = 1, .quarantine = 4 * T_MIB);
    hold_back();
    rig_frame_budget(rig_frames_held());
    EXPECT(sh_malloc(300000) != NULL);
    EXPECT_WHOLE();
}

static void trim_and_limit_empty_the_quarantine(void)
{
    struct sh_stats stats;

    START(.tier = 1, .quarantine = 4 * T_MIB);
    hold_back();
    sh_stats(&stats);
    EXPECT_EQ(sh_set_limit(stats.frames_held - 100000), SH_OK);
    EXPECT_EQ(sh_set_limit(0), SH_OK);
    hold_back();
    sh_trim(T_MIB);
    sh_stats(&stats);
    EXPECT(stats.heap_free >= 800000);
    sh_trim(0);
    sh_stats(&stats);
    EXPECT_EQ(stats.heap_free, 0);
    EXPECT_WHOLE();
}

/* What a handler freed waits for a thread: each of these calls is one. */
static void threads_take_what_a_handler_freed(void)
{
    enum { TRIM, MALLOC, PAGES, FREE, CALLS };
    struct sh_stats stats;

    for (unsigned call = 0; call < CALLS; call++) {
        void *p, *q;
        START(.tier = 4);
        p = sh_malloc(100000);
        q = sh_malloc(100);
        rig_context(SH_INTERRUPT);
        sh_free(p);
        rig_context(SH_THREAD);
        EXPECT_EQ(sh_arch_state((uintptr_t)p), SH_READY);
        if (call == TRIM)
            sh_trim(0);
        else if (call == MALLOC)
            EXPECT(sh_malloc(100) != NULL);
        else if (call == PAGES)
            EXPECT(sh_alloc_pages(1) != NULL);
        else
            sh_free(q);
        EXPECT_EQ(sh_arch_state((uintptr_t)p), SH_FAULT);
        sh_stats(&stats);
        EXPECT(call != TRIM || stats.heap_free == 0);
        EXPECT_WHOLE();
    }
}

/* Nothing lies between a run's guard and the next run. */
static void guarded_runs_lie_side_by_side(void)
{
    START(.tier = 4);
    for (size_t count = 1; count < 6; count++) {
        uintptr_t p = (uintptr_t)sh_alloc_pages(count), q = (uintptr_t)sh_alloc_pages(count);
        EXPECT_EQ(q - p, mm_align_up(count << MM_PAGE_SHIFT, SH_GRANULE_SIZE) + SH_GRANULE_SIZE);
        EXPECT_EQ(sh_arch_state(mm_align_down(q, SH_GRANULE_SIZE) - 1), SH_FAULT);
    }
    EXPECT_WHOLE();
}

static void free_pages(void *p)
{
    sh_free_pages(p);
}

/* In every tier the first page's address, and no other, frees a run. */
static void page_runs_are_freed_by_their_first_page_alone(void)
{
    for (unsigned tier = 0; tier <= 4; tier++) {
        START(.tier = tier);
        for (size_t count = 1; count < 10; count++) {
            char *p = sh_alloc_pages(count), *granule = (char *)mm_align_down((uintptr_t)p, SH_GRANULE_SIZE);
            EXPECT(p != NULL);
            for (size_t at = 1; at < count; at++)
                EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_free_pages", free_pages, p + at * SH_PAGE_SIZE));
            EXPECT(granule == p || rig_panics(SH_PANIC_MISUSE, "sh_free_pages", free_pages, granule));
            sh_free_pages(p);
            EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_free_pages", free_pages, p));
        }
        EXPECT_WHOLE();
    }
}

static void expect_said(uintptr_t address, const char *text)
{
    rig_log_clear();
    sh_explain(address);
    if (!t_contains(rig_log(), text))
        t_fail(__FILE__, __LINE__, "it is said: %s", rig_log());
}

/* The pool's first and last page lie beside pages of others, and its objects' pages are empty at first. */
static void ends_of_the_pool_are_not_the_neighbours(void)
{
    uintptr_t p, first, at;
    static void *above[100];
    void *below;

    START(.tier = 2, .guard_sample = 2);
    below = sh_malloc(SH_GRANULE_SIZE);
    p = (uintptr_t)sh_malloc(48);
    for (unsigned i = 0; i < 100; i++)
        above[i] = sh_malloc(3000);
    for (unsigned i = 0; i < 100; i++)
        sh_free(above[i]);
    EXPECT(below != NULL);
    for (at = p; sh_arch_state(at) != SH_FAULT; at -= SH_GRANULE_SIZE)
        ;
    first = at;
    /* The pool's last page but one is a guard that has had no object on either side, and says so. */
    for (unsigned i = 0; i < 2 * MM_GUARD_POOL; i++)
        at += SH_GRANULE_SIZE;
    EXPECT_EQ(sh_arch_state(at), SH_FAULT);
    rig_log_clear();
    sh_explain(first);
    EXPECT(!t_contains(rig_log(), "past the end"));
    rig_log_clear();
    sh_explain(at + 5);
    EXPECT(!t_contains(rig_log(), "before a"));
}

static void pages_of_the_pool_that_had_no_object(void)
{
    uintptr_t p, next;

    for (unsigned tier = 0; tier <= 2; tier += 2) {
        START(.tier = tier, .guard_sample = 1);
        p = mm_align_down((uintptr_t)sh_malloc(48), SH_GRANULE_SIZE);
        next = p + 2 * SH_GRANULE_SIZE;
        expect_said(next + 100, "nothing is allocated there");
        expect_said(next + SH_GRANULE_SIZE, "a guard page");
        EXPECT(!t_contains(rig_log(), "object"));
        expect_said(next - 4, "past the end of a live 48-byte object");
        EXPECT_WHOLE();
    }
}

static void runs_of_any_count_are_refused(void)
{
    for (unsigned tier = 0; tier <= 4; tier += 2) {
        START(.tier = tier);
        for (size_t n = 0; n < 70; n++) {
            EXPECT(sh_alloc_pages(SIZE_MAX - n) == NULL);
            EXPECT(sh_malloc(SIZE_MAX - n * 1000) == NULL);
            EXPECT(sh_aligned_alloc(MM_ARENA_SIZE, SIZE_MAX - n * 1000) == NULL);
        }
        EXPECT_WHOLE();
    }
}

struct use {
    void *p;
    size_t size;
    void *result;
};

static void do_malloc(void *arg)
{
    struct use *use = arg;

    use->result = sh_malloc(use->size);
}

static void do_free(void *arg)
{
    sh_free(((struct use *)arg)->p);
}

/* However much was written after the free: one report, and one more look. */
static void run_that_was_written_all_over_is_one_report(void)
{
    struct use use = { NULL, 40 * SH_PAGE_SIZE, NULL };

    START(.tier = 1);
    use.p = sh_malloc(use.size);
    sh_free(use.p);
    for (size_t i = 0; i < use.size; i += SH_PAGE_SIZE)
        ((volatile uint8_t *)use.p)[i] = 7;
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex((uintptr_t)use.p), do_malloc, &use));
    EXPECT_EQ(rig_panic_count(), 1);
    EXPECT(use.result == use.p);
    EXPECT_WHOLE();
    /* The descriptor that it has is its own. */
    for (unsigned i = 0; i < 4; i++)
        EXPECT(sh_malloc(use.size) != NULL && sh_alloc_pages(1) != NULL);
    EXPECT_WHOLE();
}

/* A hook that never returns: nothing is lost, however often. */
static void reports_without_a_return_lose_nothing(void)
{
    static const size_t sizes[] = { 8, 40, 3000, 40 * SH_PAGE_SIZE };
    struct sh_stats before, after;

    for (unsigned tier = 1; tier <= 3; tier++) {
        START(.tier = tier, .guard_sample = SIZE_MAX, .quarantine = tier == 3 ? 1 : 0);
        rig_panic_leaves();
        for (unsigned i = 0; i < 400; i++) {
            struct use use = { NULL, sizes[i & 3], NULL };
            sh_trim(SIZE_MAX); /* pages of other sizes: the lowest is taken next */
            use.p = sh_malloc(use.size);
            EXPECT(use.p != NULL);
            sh_free(use.p);
            sh_trim(SIZE_MAX);
            ((volatile uint8_t *)use.p)[1] = 7;
            EXPECT(rig_panics(SH_PANIC_MISUSE, "write after free", do_malloc, &use));
            use.p = sh_malloc(use.size);
            EXPECT(use.p != NULL);
            if (tier >= 2) {
                ((volatile uint8_t *)use.p)[use.size] = 7;
                EXPECT(rig_panics(SH_PANIC_MISUSE, "past the end", do_free, &use));
                EXPECT_EQ(sh_usable_size(use.p), use.size);
            }
            sh_free(use.p);
            if (i == 50)
                sh_stats(&before);
        }
        sh_stats(&after);
        EXPECT_EQ(after.meta_bytes, before.meta_bytes);
        EXPECT_EQ(after.live_objects, 0);
        EXPECT_WHOLE();
    }
}

/* Pages that become guards are nothing else ever again: none does for which there is no object. */
static void pool_has_an_object_between_guards_whatever_fails(void)
{
    for (unsigned before = 1; before < 60; before++) {
        struct sh_stats stats;
        size_t guards = 0;

        START(.tier = 2, .guard_sample = before + 1);
        for (unsigned i = 0; i < before; i++)
            EXPECT(sh_malloc(40 + 600 * i) != NULL);
        rig_fail(1 + before % 3, true);
        (void)sh_malloc(40);
        rig_fail(0, false);
        EXPECT_WHOLE();
        while (mm_fence_sample(40, 8) != NULL)
            guards += SH_GRANULE_SIZE;
        sh_stats(&stats);
        EXPECT(guards != 0);
        EXPECT(stats.heap_fault <= guards + 2 * SH_GRANULE_SIZE);
    }
}

static void verify_finds_a_slot_that_nobody_holds(void)
{
    struct mm_span *span;

    START(.tier = 3, .guard_sample = SIZE_MAX);
    sh_free(sh_malloc(40));
    span = mm_span_of((uintptr_t)sh_malloc(40));
    EXPECT_EQ(sh_verify(), 0);
    mm_span_set_held(span, 0, false);
    bool found = sh_verify() != 0;
    mm_span_set_held(span, 0, true);
    EXPECT(found);
    mm_span_set_held(span, 1, true);
    found = sh_verify() != 0;
    mm_span_set_held(span, 1, false);
    EXPECT(found);
    EXPECT_WHOLE();
}

/* A descriptor without room for notes goes back: what was refused can still be had for what has notes. */
static void span_without_notes_is_given_back(void)
{
    struct mm_span *span;

    START(.tier = 2);
    EXPECT(sh_malloc(40) != NULL);
    span = mm_span_obtain(100, true);
    EXPECT(span != NULL);
    mm_span_recycle(span);
    while (mm_linear_alloc(sizeof(void *), sizeof(void *), false) != NULL)
        ;
    for (unsigned i = 0; i < 3; i++)
        EXPECT(mm_span_obtain(99, false) == NULL);
    EXPECT(mm_span_obtain(100, false) == span);
    mm_span_recycle(span);
    EXPECT_WHOLE();
}

static bool is_filled(const void *page)
{
    return mm_bit_test(mm_chunk_of((uintptr_t)page)->filled, mm_chunk_page((uintptr_t)page));
}

/* A page that is free, has a frame and is marked must be as the fill left it: no other one is marked. */
static void run_that_is_freed_is_filled_and_no_page_beside_it(void)
{
    enum { PAGES = 8 };
    char *below, *run, *above;

    START(.tier = 1);
    below = sh_alloc_pages(PAGES);
    run = sh_alloc_pages(PAGES);
    above = sh_alloc_pages(PAGES);
    EXPECT(run - below == PAGES * SH_PAGE_SIZE && above - run == PAGES * SH_PAGE_SIZE);
    sh_free_pages(run);
    for (unsigned i = 0; i < PAGES; i++) {
        EXPECT(is_filled(run + i * SH_PAGE_SIZE));
        EXPECT(!is_filled(below + i * SH_PAGE_SIZE) && !is_filled(above + i * SH_PAGE_SIZE));
    }
    EXPECT_WHOLE();
}

/* An object that does not begin where its pages do. */
static void verify_names_an_object_before_a_guard_page(void)
{
    uint8_t *p;

    START(.tier = 2, .guard_sample = 1);
    p = sh_malloc(40);
    EXPECT((uintptr_t)p % SH_PAGE_SIZE != 0);
    p[40] ^= 0xff;
    rig_log_clear();
    EXPECT(sh_verify() == 1);
    if (!t_contains(rig_log(), t_hex((uintptr_t)p)))
        t_fail(__FILE__, __LINE__, "not %s: %s", t_hex((uintptr_t)p), rig_log());
    p[40] ^= 0xff;
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "slot_on_its_way_has_no_red_zone", slot_on_its_way_has_no_red_zone },
    { "dead_heap_gives_no_sample", dead_heap_gives_no_sample },
    { "frames_in_quarantine_serve_before_null", frames_in_quarantine_serve_before_null },
    { "trim_and_limit_empty_the_quarantine", trim_and_limit_empty_the_quarantine },
    { "ends_of_the_pool_are_not_the_neighbours", ends_of_the_pool_are_not_the_neighbours },
    { "pages_of_the_pool_that_had_no_object", pages_of_the_pool_that_had_no_object },
    { "pool_has_an_object_between_guards_whatever_fails", pool_has_an_object_between_guards_whatever_fails },
    { "verify_finds_a_slot_that_nobody_holds", verify_finds_a_slot_that_nobody_holds },
    { "runs_of_any_count_are_refused", runs_of_any_count_are_refused },
    { "run_that_was_written_all_over_is_one_report", run_that_was_written_all_over_is_one_report },
    { "reports_without_a_return_lose_nothing", reports_without_a_return_lose_nothing },
    { "threads_take_what_a_handler_freed", threads_take_what_a_handler_freed },
    { "guarded_runs_lie_side_by_side", guarded_runs_lie_side_by_side },
    { "page_runs_are_freed_by_their_first_page_alone", page_runs_are_freed_by_their_first_page_alone },
    { "span_without_notes_is_given_back", span_without_notes_is_given_back },
    { "run_that_is_freed_is_filled_and_no_page_beside_it", run_that_is_freed_is_filled_and_no_page_beside_it },
    { "verify_names_an_object_before_a_guard_page", verify_names_an_object_before_a_guard_page },
};

SUITE(guard, tests);
