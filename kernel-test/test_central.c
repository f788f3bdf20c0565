/*
 * Proves what a CPU's caches promise beyond single calls: what goes offline is found again, a count that
 * runs out is set anew, and records that cannot be are reported once, after which the heap refuses
 * everything but its end.
 */
#include "kernel-test/test_util.h"

#include "mm/span.h"

#define SIZE 64u

static struct mm_span *span_of(const void *p)
{
    return mm_span_of((uintptr_t)p);
}

/* A span of SIZE-byte slots, all of them live, in t_held from `from` on; the number of slots. */
static unsigned fill_span(unsigned from)
{
    unsigned slots;

    t_held[from] = sh_malloc(SIZE);
    EXPECT(t_held[from] != NULL);
    slots = span_of(t_held[from])->slots;
    for (unsigned i = 1; i < slots; i++) {
        t_held[from + i] = sh_malloc(SIZE);
        EXPECT(t_held[from + i] != NULL);
        EXPECT(span_of(t_held[from + i]) == span_of(t_held[from]));
    }
    return slots;
}

static void what_went_offline_serves_again(void)
{
    void *p, *q;

    rig_start(0, NULL);
    p = sh_malloc(SIZE);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT_EQ(span_of(p)->place, MM_PLACE_CENTRAL);
    EXPECT(span_of(p)->owner == NULL);
    EXPECT_WHOLE();
    q = sh_malloc(SIZE);
    EXPECT(span_of(q) == span_of(p));
    EXPECT(span_of(q)->owner != NULL);
    EXPECT_WHOLE();
    sh_free(p);
    sh_free(q);
}

/* Full when its CPU left: the first free brings it back to a list. */
static void a_full_span_that_went_offline_is_found_by_a_free(void)
{
    unsigned slots;

    rig_start(0, NULL);
    slots = fill_span(0);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT_EQ(span_of(t_held[0])->place, MM_PLACE_FULL);
    EXPECT_WHOLE();
    sh_free(t_held[0]);
    EXPECT_WHOLE();
    t_held[0] = sh_malloc(SIZE);
    EXPECT(span_of(t_held[0]) == span_of(t_held[1]));
    for (unsigned i = 0; i < slots; i++)
        sh_free(t_held[i]);
    EXPECT_WHOLE();
}

/* Everything of a span that went offline is freed: it is empty, and its pages can go. */
static void a_span_that_empties_in_central_goes_back(void)
{
    struct sh_stats stats;
    void *p;

    rig_start(0, NULL);
    p = sh_malloc(SIZE);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    sh_free(p);
    EXPECT_WHOLE();
    sh_trim(0);
    sh_stats(&stats);
    EXPECT_EQ(stats.heap_in_use + stats.heap_free, 0);
    EXPECT_WHOLE();
}

/* 2^30 frees are not made here: the countdown is set to the last one. */
static void the_countdown_of_a_current_span_is_set_anew(void)
{
    void *p, *q;

    rig_start(0, NULL);
    p = sh_malloc(SIZE);
    q = sh_malloc(SIZE);
    span_of(p)->countdown = 1;
    span_of(p)->armed = 2; /* one free since */
    sh_free(p);
    EXPECT_EQ(span_of(q)->countdown, MM_COUNTDOWN_CURRENT);
    EXPECT_EQ(span_of(q)->place, MM_PLACE_CURRENT);
    EXPECT(sh_malloc(SIZE) != NULL);
    sh_free(q);
}

static void *result;

static void take(void *arg)
{
    result = NULL;
    result = sh_malloc(*(const size_t *)arg);
}

/* Two full spans, one slot of the first freed, so that it is queued; and its record says that nothing
 * is free after all. */
static void spoil_the_queue(void)
{
    static const size_t size = SIZE;
    struct mm_span *queued;
    unsigned slots;

    rig_start(0, NULL);
    slots = fill_span(0);
    fill_span(slots);
    queued = span_of(t_held[0]);
    sh_free(t_held[0]);
    EXPECT_EQ(queued->place, MM_PLACE_QUEUED);
    for (unsigned i = 0; i < mm_span_words(queued); i++)
        queued->free[i] = 0;
    EXPECT(rig_panics(SH_PANIC_CORRUPTION, t_hex(queued->base), take, (void *)(uintptr_t)&size));
    EXPECT(result == NULL);
}

static void a_queued_span_without_a_free_slot_is_corruption(void)
{
    spoil_the_queue();
    EXPECT(t_contains(rig_report(), "no free slot"));
}

static void release(void *arg)
{
    sh_free(arg);
}

static void a_free_where_no_slot_is_live_is_corruption(void)
{
    void *p;

    rig_start(0, NULL);
    p = sh_malloc(SIZE);
    span_of(p)->place = MM_PLACE_NONE;
    span_of(p)->countdown = 1;
    EXPECT(rig_panics(SH_PANIC_CORRUPTION, "none is live", release, p));
}

/* Also what was in the caches is out of reach: nothing is handed out any more. */
static void a_corrupt_heap_refuses_everything_but_its_end(void)
{
    struct sh_stats stats;
    uint8_t *p;

    spoil_the_queue();
    p = t_held[1];
    EXPECT(sh_malloc(SIZE) == NULL);
    EXPECT(sh_malloc(100000) == NULL);
    EXPECT(sh_calloc(1, SIZE) == NULL);
    EXPECT(sh_realloc(p, 100000) == NULL);
    EXPECT(sh_realloc(p, 1) == NULL);
    EXPECT(sh_aligned_alloc(4096, SIZE) == NULL);
    EXPECT(sh_alloc_pages(1) == NULL);
    sh_free(p);
    sh_free(p); /* nothing is freed, so nothing is freed twice */
    sh_free_sized(p, 1 << 20);
    sh_free_pages(p);
    EXPECT_EQ(sh_trim(0), 0);
    EXPECT(sh_set_limit(1 << 20) < 0);
    EXPECT_EQ(sh_cpu_offline(0), SH_E_STATE);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, false));
    EXPECT(sh_object_of(p, NULL)); /* queries go on, for the report */
    sh_explain((uintptr_t)p);
    sh_stats(&stats);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    rig_start(0, NULL);
    EXPECT(sh_malloc(SIZE) != NULL);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "what_went_offline_serves_again", what_went_offline_serves_again },
    { "a_full_span_that_went_offline_is_found_by_a_free",
      a_full_span_that_went_offline_is_found_by_a_free },
    { "a_span_that_empties_in_central_goes_back", a_span_that_empties_in_central_goes_back },
    { "the_countdown_of_a_current_span_is_set_anew", the_countdown_of_a_current_span_is_set_anew },
    { "a_queued_span_without_a_free_slot_is_corruption",
      a_queued_span_without_a_free_slot_is_corruption },
    { "a_free_where_no_slot_is_live_is_corruption", a_free_where_no_slot_is_live_is_corruption },
    { "a_corrupt_heap_refuses_everything_but_its_end",
      a_corrupt_heap_refuses_everything_but_its_end },
};
SUITE(central, tests);
