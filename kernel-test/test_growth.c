/*
 * Proves R1, R2 and R4 as far as any machine can: on every path by which the heap grows, a query
 * made from inside every hook call answers and never faults, and says yes only to memory that is
 * committed; growth prepares a chunk at a time, and what is left of a window at a switch is used.
 */
#include "kernel-test/test_util.h"

#include "mm/budget.h"

#define MOST_PLACES 96u

static uintptr_t places[MOST_PLACES];
static unsigned place_count;
static unsigned long probes;

static void place(uintptr_t address)
{
    if (place_count < MOST_PLACES)
        places[place_count++] = address;
}

/* Around both ends of a range, and across it. */
static void place_range(uintptr_t base, size_t size)
{
    place(base - 1);
    place(base);
    place(base + SH_PAGE_SIZE);
    place(base + MM_CHUNK_SIZE - 1);
    place(base + MM_CHUNK_SIZE);
    place(base + (size >> 1));
    place(base + size - SH_PAGE_SIZE);
    place(base + size - 1);
    place(base + size);
    place(base + size + MM_ARENA_SIZE);
}

/* Runs inside every hook call of the heap; booted, where each page makes several, not in all of the
 * later ones. */
static void query_everywhere(void)
{
    struct sh_object object;

    if (probes++ > 256 && rig_is_machine() && (probes & 31) != 0)
        return;
    for (unsigned i = 0; i < place_count; i++) {
        const void *p = (const void *)places[i];
        if (sh_object_of(p, &object))
            EXPECT(object.base <= places[i] && places[i] - object.base < object.size);
        if (sh_contains(p))
            EXPECT_EQ(sh_arch_state(places[i]), SH_READY);
        (void)sh_usable_size(p);
    }
}

static uintptr_t area(void)
{
    size_t size;

    return rig_area(&size);
}

static void begin(void)
{
    const struct sh_config config = { .size = sizeof(config), .hooks = rig_hooks() };

    rig_reset();
    EXPECT_EQ(sh_init(&config), SH_OK);
    place_count = 0;
    probes = 0;
    for (unsigned bit = 3; bit < sizeof(uintptr_t) * 8; bit += 3)
        place((uintptr_t)1 << bit);
    place(0);
    place(UINTPTR_MAX);
    rig_probe(query_everywhere);
}

static void donate(uintptr_t base, size_t size)
{
    place_range(base, size);
    EXPECT_EQ(rig_window(base, size), SH_OK);
}

/* Live objects through a growth: they are found and whole at its end. */
static void grow_with(size_t size)
{
    unsigned long before = probes;
    struct t_block block = t_take(100, 17);
    void *p = sh_malloc(size);

    EXPECT(p != NULL);
    place((uintptr_t)p);
    EXPECT(probes > before || size < SH_GRANULE_SIZE);
    EXPECT(sh_object_of(p, NULL) && sh_object_of(block.p, NULL));
    EXPECT(sh_object_of((char *)p + size - 1, NULL));
    t_give(&block);
    EXPECT_WHOLE();
}

static void first_growth_answers_queries(void)
{
    begin();
    donate(area(), 32 * T_MIB);
    grow_with(16);
}

static void growth_in_place_answers_queries(void)
{
    begin();
    donate(area(), 32 * T_MIB);
    for (unsigned i = 0; i < 5; i++)
        grow_with(T_MIB);
}

static void window_above_answers_queries(void)
{
    begin();
    donate(area() + 64 * T_MIB, 3 * T_MIB);
    grow_with(T_MIB);
    donate(area() + 160 * T_MIB, 4 * T_MIB);
    grow_with(3 * T_MIB);
}

static void window_below_answers_queries(void)
{
    begin();
    if (!t_has_memory(8 * T_MIB))
        return;
    donate(area() + 160 * T_MIB, 3 * T_MIB);
    grow_with(T_MIB);
    donate(area() + 64 * T_MIB, 4 * T_MIB);
    grow_with(3 * T_MIB);
    donate(area(), 4 * T_MIB);
    grow_with(3 * T_MIB);
}

static void window_between_answers_queries(void)
{
    begin();
    donate(area() + 160 * T_MIB, 3 * T_MIB);
    grow_with(T_MIB);
    donate(area(), 3 * T_MIB);
    grow_with(T_MIB);
    donate(area() + 80 * T_MIB, 3 * T_MIB);
    grow_with(2 * T_MIB);
}

static void metadata_only_window_answers_queries(void)
{
    for (size_t size = SH_GRANULE_SIZE; size <= T_MIB; size <<= 1) {
        begin();
        donate(area() + 128 * T_MIB, size);
        (void)sh_malloc(16);
        (void)sh_malloc(T_MIB);
        donate(area() + 16 * T_MIB, 4 * T_MIB);
        grow_with(T_MIB + T_MIB / 2);
    }
}

static void large_request_answers_queries(void)
{
    static const size_t sizes[] = { 100000, MM_CHUNK_SIZE - SH_PAGE_SIZE, MM_CHUNK_SIZE + 1,
                                    2 * MM_CHUNK_SIZE, MM_ARENA_SIZE + 1 };

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        begin();
        if (!t_has_memory(sizes[i]))
            return;
        donate(area(), 4 * MM_ARENA_SIZE);
        grow_with(16);
        grow_with(sizes[i]);
    }
}

static void failing_growth_answers_queries(void)
{
    for (unsigned long nth = 1; nth < 12; nth++) {
        begin();
        donate(area() + 64 * T_MIB, 3 * T_MIB);
        grow_with(1000);
        donate(area(), 8 * T_MIB);
        rig_fail(nth, true);
        (void)sh_malloc(3 * T_MIB);
        rig_fail(0, false);
        grow_with(2 * T_MIB + T_MIB / 2);
    }
}

static void trim_and_shutdown_answer_queries(void)
{
    begin();
    donate(area(), 16 * T_MIB);
    for (unsigned i = 0; i < 4; i++) {
        void *p = sh_malloc(T_MIB);
        EXPECT(p != NULL);
        place((uintptr_t)p);
        sh_free(p);
        EXPECT(sh_trim(0) > 0);
    }
    EXPECT_WHOLE();
    EXPECT_EQ(sh_shutdown(), SH_OK);
    query_everywhere();
}

static void first_malloc_prepares_one_chunk(void)
{
    struct sh_stats stats;

    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    sh_stats(&stats);
    /* What metadata has taken at the window's start is missing from the chunk. */
    EXPECT(stats.heap_sys <= MM_CHUNK_SIZE && stats.heap_sys >= MM_CHUNK_SIZE - MM_META_BLOCK);
    EXPECT_EQ(stats.arenas, 1);
    EXPECT(stats.heap_in_use + stats.heap_free <= 8 * SH_GRANULE_SIZE);
    EXPECT_WHOLE();
}

static void growth_prepares_a_chunk_at_a_time(void)
{
    struct sh_stats before, after;

    rig_start(0, NULL);
    sh_stats(&before);
    for (unsigned i = 0; i < 8 && t_has_memory(T_MIB); i++) {
        EXPECT(sh_alloc_pages(T_MIB >> MM_PAGE_SHIFT) != NULL);
        sh_stats(&after);
        EXPECT(after.heap_sys - before.heap_sys <= MM_CHUNK_SIZE);
        EXPECT(after.heap_sys <= after.heap_in_use + after.heap_free + 2 * MM_CHUNK_SIZE);
        before = after;
    }
}

/* A need that ends where a chunk does: nothing of the next one. */
static void growth_prepares_no_chunk_too_many(void)
{
    const struct sh_config demand = { .size = sizeof(demand), .demand = true, .hooks = rig_hooks() };
    struct sh_stats before, after;
    size_t free;

    rig_start(0, &demand);
    EXPECT(sh_malloc(16) != NULL);
    sh_stats(&before);
    free = mm_align_down(t_free_pages() << MM_PAGE_SHIFT, SH_GRANULE_SIZE);
    EXPECT(sh_malloc(free + MM_CHUNK_SIZE) != NULL);
    sh_stats(&after);
    EXPECT_EQ(after.heap_sys - before.heap_sys, MM_CHUNK_SIZE);
    EXPECT_WHOLE();
}

static void memory_freed_is_used_before_more_is_prepared(void)
{
    struct sh_stats before, after;

    rig_start(0, NULL);
    for (unsigned round = 0; round < 20; round++) {
        unsigned count = t_drain(4, (unsigned)(T_MIB >> MM_PAGE_SHIFT) >> 2);
        t_release(count);
        if (round == 0)
            sh_stats(&before);
    }
    sh_stats(&after);
    EXPECT_EQ(before.heap_sys, after.heap_sys);
    EXPECT_WHOLE();
}

/* The first window has been reserved whole when a request asks for more than is left of it. */
static void remainder_is_used_after_a_switch(void)
{
    const struct sh_config demand = { .size = sizeof(demand), .demand = true,
                                      .hooks = rig_hooks() };
    struct sh_stats stats;
    unsigned low = 0;

    rig_reset();
    EXPECT_EQ(sh_init(&demand), SH_OK);
    EXPECT_EQ(rig_window(area(), 24 * T_MIB), SH_OK);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT_EQ(rig_window(area() + 96 * T_MIB, 32 * T_MIB), SH_OK);
    EXPECT(sh_malloc(22 * T_MIB + T_MIB / 2) != NULL);
    EXPECT_WHOLE();
    for (void *p; (p = sh_malloc(65536)) != NULL;)
        low += (uintptr_t)p - area() < 24 * T_MIB ? 1 : 0;
    EXPECT(low >= (20 * T_MIB) >> 16);
    sh_stats(&stats);
    EXPECT(stats.heap_sys >= 52 * T_MIB);
    EXPECT_WHOLE();
}

/* Free pages at the end of what there is lack little; a window elsewhere that has so much, but not room for
 * the whole run, would not help: it is left for what fits. */
static void range_elsewhere_is_taken_for_the_whole_run_only(void)
{
    const size_t piece = 64 * T_KIB;
    struct sh_stats before, after;
    unsigned count;

    rig_start(T_MIB, NULL);
    count = t_drain(piece >> MM_PAGE_SHIFT, T_MAX_HELD);
    EXPECT(count >= 8);
    for (unsigned i = 1; i <= 4; i++) {
        sh_free_pages(t_held[count - i]);
        t_held[count - i] = NULL;
    }
    EXPECT_EQ(rig_window(area() + 96 * T_MIB, 8 * piece), SH_OK);
    sh_stats(&before);
    EXPECT(sh_alloc_pages(10 * piece >> MM_PAGE_SHIFT) == NULL);
    sh_stats(&after);
    EXPECT_EQ(after.heap_sys, before.heap_sys);
    EXPECT_WHOLE();
}

/* What a port may not answer to a reservation. */
static void ranges_that_cannot_be_are_refused(void)
{
    uintptr_t taken, granule = SH_GRANULE_SIZE;
    size_t size;

    rig_start(0, NULL);
    taken = (uintptr_t)sh_alloc_pages(MM_GRANULE_PAGES) & ~(granule - 1);
    EXPECT(taken != 0);
    EXPECT(mm_range_refusal(rig_area(&size) + 8, granule) != NULL);
    EXPECT(mm_range_refusal(rig_area(&size), granule + 8) != NULL);
    EXPECT(mm_range_refusal(0 - granule, 2 * granule) != NULL);
    EXPECT(mm_range_refusal(taken, granule) != NULL);
    EXPECT(mm_range_refusal(rig_area(&size) + 64 * T_MIB, granule) == NULL);
}

static const struct test tests[] = {
    { "ranges_that_cannot_be_are_refused", ranges_that_cannot_be_are_refused },
    { "first_growth_answers_queries", first_growth_answers_queries },
    { "growth_in_place_answers_queries", growth_in_place_answers_queries },
    { "window_above_answers_queries", window_above_answers_queries },
    { "window_below_answers_queries", window_below_answers_queries },
    { "window_between_answers_queries", window_between_answers_queries },
    { "metadata_only_window_answers_queries", metadata_only_window_answers_queries },
    { "large_request_answers_queries", large_request_answers_queries },
    { "failing_growth_answers_queries", failing_growth_answers_queries },
    { "trim_and_shutdown_answer_queries", trim_and_shutdown_answer_queries },
    { "first_malloc_prepares_one_chunk", first_malloc_prepares_one_chunk },
    { "growth_prepares_a_chunk_at_a_time", growth_prepares_a_chunk_at_a_time },
    { "growth_prepares_no_chunk_too_many", growth_prepares_no_chunk_too_many },
    { "memory_freed_is_used_before_more_is_prepared",
      memory_freed_is_used_before_more_is_prepared },
    { "range_elsewhere_is_taken_for_the_whole_run_only", range_elsewhere_is_taken_for_the_whole_run_only },
    { "remainder_is_used_after_a_switch", remainder_is_used_after_a_switch },
};

SUITE(growth, tests);
