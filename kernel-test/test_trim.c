/*
 * Proves that memory goes back: after sh_trim(0) nothing that is wholly free stays committed, what
 * is kept is at most what was asked, holes are given back too, and the limit is a ceiling.
 */
#include "kernel-test/test_util.h"

#include "mm/budget.h"

#define MANY 512u
#define HOLE_PAGES (2 * MM_GRANULE_PAGES)
#define HOLE_SIZE (HOLE_PAGES << MM_PAGE_SHIFT)

static struct t_block blocks[MANY];

/* Committed bytes that are in no span. */
static size_t idle(void)
{
    struct sh_stats stats;

    sh_stats(&stats);
    return stats.heap_free;
}

static void trim_of_an_empty_heap_keeps_metadata_only(void)
{
    struct sh_stats stats;

    rig_start(0, NULL);
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = t_take(i * 8, i);
    for (unsigned i = 0; i < MANY; i++)
        t_give(&blocks[i]);
    EXPECT(sh_trim(0) > 0);
    sh_stats(&stats);
    EXPECT_EQ(stats.heap_free, 0);
    EXPECT_EQ(stats.heap_in_use, 0);
    EXPECT_EQ(stats.frames_held, stats.meta_bytes + stats.table_bytes);
    EXPECT_EQ(sh_trim(0), 0);
    EXPECT_WHOLE();
}

/* Every other run is freed: no granule without a live page keeps its frames. */
static void trim_releases_the_holes(void)
{
    const size_t pages = HOLE_PAGES, size = HOLE_SIZE;
    unsigned count;

    rig_start(0, NULL);
    count = t_drain(pages, rig_is_machine() ? 2 * T_MIB / HOLE_SIZE : 8 * T_MIB / HOLE_SIZE);
    for (unsigned i = 0; i < count; i += 2)
        sh_free_pages(t_held[i]);
    EXPECT(sh_trim(0) >= (count / 2 - 1) * (size - SH_GRANULE_SIZE));
    for (unsigned i = 0; i < count; i++) {
        uintptr_t base = (uintptr_t)t_held[i],
            whole = (base + SH_GRANULE_SIZE - 1) & ~(SH_GRANULE_SIZE - 1);
        for (uintptr_t at = base; at - base < size; at += SH_PAGE_SIZE)
            if ((i & 1) != 0)
                EXPECT_EQ(sh_arch_state(at), SH_READY);
            else if (at >= whole && at + SH_GRANULE_SIZE <= base + size)
                EXPECT_EQ(sh_arch_state(at), SH_PREPARED);
    }
    EXPECT_WHOLE();
    for (unsigned i = 0; i < count; i += 2) {
        t_held[i] = sh_alloc_pages(pages);
        EXPECT(t_held[i] != NULL);
        t_fill(t_held[i], size, i);
    }
    t_release(count);
    EXPECT_WHOLE();
}

static void trim_keeps_contents_of_live_blocks(void)
{
    uint32_t random = 5;

    rig_start(0, NULL);
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = t_take(t_below(&random, 6000), i);
    for (unsigned i = 0; i < MANY; i++)
        if ((i & 7) != 0)
            t_give(&blocks[i]);
    EXPECT(sh_trim(0) > 0);
    EXPECT(SH_GRANULE_SIZE > SH_PAGE_SIZE || idle() == 0);
    for (unsigned i = 0; i < MANY; i += 8)
        t_give(&blocks[i]);
    EXPECT_WHOLE();
}

static void trim_keeps_at_most_what_was_asked(void)
{
    static const size_t keeps[] = { 1024 * T_KIB, 512 * T_KIB, 100 * T_KIB, SH_GRANULE_SIZE, 1, 0 };

    rig_start(0, NULL);
    t_release(t_drain(4, (unsigned)(2 * T_MIB >> MM_PAGE_SHIFT) >> 2));
    for (unsigned i = 0; i < sizeof(keeps) / sizeof(keeps[0]); i++) {
        size_t before = rig_frames_held(), given = sh_trim(keeps[i]);
        EXPECT_EQ(before - rig_frames_held(), given);
        EXPECT(idle() <= keeps[i]);
        EXPECT_WHOLE();
    }
    EXPECT_EQ(idle(), 0);
}

static void trim_gives_no_more_than_needed(void)
{
    size_t before;

    rig_start(0, NULL);
    t_release(t_drain(4, (unsigned)(2 * T_MIB >> MM_PAGE_SHIFT) >> 2));
    sh_trim(T_MIB);
    before = idle();
    EXPECT(before + SH_GRANULE_SIZE > T_MIB);
    EXPECT_EQ(sh_trim(SIZE_MAX), 0);
    EXPECT_EQ(idle(), before);
}

/* Also where what has to go lies in several places. */
static void trim_of_many_places_gives_no_more_than_needed(void)
{
    /* Small enough for 64 KiB granules on a machine with 8 MiB. */
    enum { EACH = MM_GRANULE_PAGES > 1 ? 8 : 16, PLACES = 6 };
    void *between[PLACES];

    rig_start(0, NULL);
    for (unsigned i = 0; i < PLACES; i++) {
        t_held[i] = sh_alloc_pages(EACH * MM_GRANULE_PAGES);
        between[i] = sh_alloc_pages(MM_GRANULE_PAGES);
        EXPECT(t_held[i] != NULL && between[i] != NULL);
    }
    sh_trim(0);
    for (unsigned i = 0; i < PLACES; i++)
        sh_free_pages(t_held[i]);
    for (unsigned keep = PLACES * EACH - 3; keep > EACH; keep -= EACH - 3) {
        sh_trim(keep * SH_GRANULE_SIZE);
        EXPECT_EQ(idle(), keep * SH_GRANULE_SIZE);
    }
    EXPECT_WHOLE();
}

static void freed_large_object_goes_back(void)
{
    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    for (size_t size = 40000; size <= 2 * T_MIB; size <<= 1) {
        size_t before;
        void *p;
        sh_trim(0);
        before = rig_frames_held();
        p = sh_malloc(size);
        EXPECT(p != NULL);
        EXPECT(rig_frames_held() >= before + size - SH_GRANULE_SIZE);
        sh_free(p);
        sh_trim(0);
        if (rig_frames_held() > before + 4 * SH_GRANULE_SIZE)
            t_fail(__FILE__, __LINE__, "%zu bytes held before %zu were taken and freed, %zu after",
                   before,
                   size, rig_frames_held());
    }
    EXPECT_WHOLE();
}

static void trimmed_memory_is_zero_when_it_comes_back(void)
{
    rig_start(0, NULL);
    for (unsigned round = 0; round < 8; round++) {
        unsigned count = t_drain(8, 12);
        for (unsigned i = 0; i < count; i++) {
            if (round > 0)
                EXPECT(t_is_zero(t_held[i], 8 * SH_PAGE_SIZE));
            t_fill(t_held[i], 8 * SH_PAGE_SIZE, i);
        }
        t_release(count);
        sh_trim(0);
    }
}

static void limit_is_a_ceiling(void)
{
    unsigned count;

    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    for (size_t limit = 512 * T_KIB; limit <= 2 * T_MIB; limit += 300 * T_KIB) {
        EXPECT_EQ(sh_set_limit(limit), SH_OK);
        count = t_drain(1, T_MAX_HELD);
        EXPECT(rig_frames_held() <= limit);
        EXPECT(rig_frames_held() + 8 * SH_GRANULE_SIZE + 64 * T_KIB >= limit);
        t_release(count);
        EXPECT_WHOLE();
    }
}

static void limit_below_what_is_held_trims(void)
{
    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    t_release(t_drain(4, (unsigned)(2 * T_MIB >> MM_PAGE_SHIFT) >> 2));
    EXPECT(rig_frames_held() > T_MIB);
    EXPECT_EQ(sh_set_limit(T_MIB), SH_OK);
    EXPECT(rig_frames_held() <= T_MIB);
    EXPECT_WHOLE();
}

static void limit_that_is_held_exactly_trims_nothing(void)
{
    size_t held;

    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    t_release(t_drain(4, 16));
    held = rig_frames_held();
    EXPECT_EQ(sh_set_limit(held), SH_OK);
    EXPECT_EQ(rig_frames_held(), held);
    EXPECT(mm_budget_allows(0) && !mm_budget_allows(1));
    EXPECT_EQ(sh_set_limit(held - 1), SH_OK);
    EXPECT(rig_frames_held() < held);
    EXPECT_WHOLE();
}

/* The lowest limit that can be: nothing is left to give after it was met. */
static void limit_that_trimming_just_meets_is_taken(void)
{
    size_t least;

    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    t_release(t_drain(4, 16));
    sh_trim(0);
    least = rig_frames_held();
    t_release(t_drain(4, 16));
    EXPECT(rig_frames_held() > least);
    EXPECT_EQ(sh_set_limit(least - 1), SH_E_BUSY);
    t_release(t_drain(4, 16));
    EXPECT_EQ(sh_set_limit(least), SH_OK);
    EXPECT_EQ(rig_frames_held(), least);
    EXPECT_WHOLE();
}

static void limit_below_what_lives_is_busy(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_drain(4, (unsigned)(2 * T_MIB >> MM_PAGE_SHIFT) >> 2);
    EXPECT_EQ(sh_set_limit(4 * T_MIB), SH_OK);
    EXPECT_EQ(sh_set_limit(T_MIB), SH_E_BUSY);
    EXPECT(sh_alloc_pages((T_MIB >> MM_PAGE_SHIFT)) != NULL);
    EXPECT_WHOLE();
    EXPECT_EQ(sh_set_limit(1), SH_E_BUSY);
    EXPECT_EQ(sh_set_limit(0), SH_OK);
    EXPECT(sh_alloc_pages((T_MIB >> MM_PAGE_SHIFT)) != NULL);
    t_release(count);
    EXPECT_WHOLE();
}

static void limit_of_the_configuration_holds(void)
{
    const struct sh_config config = { .size = sizeof(config), .limit = T_MIB,
                                      .hooks = rig_hooks() };

    rig_start(0, &config);
    EXPECT(t_drain(1, T_MAX_HELD) * SH_PAGE_SIZE > 512 * T_KIB);
    EXPECT(rig_frames_held() <= T_MIB);
    EXPECT_WHOLE();
}

/* However little it allows: what has no frame is not touched. */
static void limit_is_a_ceiling_from_the_first_frame_on(void)
{
    for (size_t limit = 1; limit < 24 * SH_GRANULE_SIZE; limit += SH_GRANULE_SIZE / 2) {
        const struct sh_config config = { .size = sizeof(config), .limit = limit, .hooks = rig_hooks() };
        rig_start(0, &config);
        while (sh_malloc(100) != NULL)
            ;
        (void)sh_alloc_pages(1);
        (void)sh_malloc(50000);
        EXPECT(rig_frames_held() <= limit);
        EXPECT_WHOLE();
    }
}

/* Memory idle in one place serves a request in another before the limit refuses it. */
static void limit_is_met_by_giving_idle_memory_back(void)
{
    rig_start(0, NULL);
    EXPECT_EQ(sh_set_limit(2 * T_MIB), SH_OK);
    for (unsigned round = 0; round < 12; round++) {
        size_t pages = ((size_t)1 << MM_PAGE_SHIFT) > 8192 ? 20 + round : 40 + 5 * round;
        unsigned count = t_drain(pages, 1);
        EXPECT_EQ(count, 1);
        t_release(count);
        EXPECT(rig_frames_held() <= 2 * T_MIB);
    }
    EXPECT_WHOLE();
}

static unsigned asked;

/* As good as always: who asks for ever has an end. */
static bool always_yes(size_t bytes)
{
    (void)bytes;
    return ++asked < 10000;
}

/* A kernel that always says that it has frames now: the call ends. */
static void reclaim_that_never_helps_is_given_up(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config config = { .size = sizeof(config), .hooks = &hooks };

    hooks.reclaim = always_yes;
    rig_start(0, &config);
    EXPECT(sh_malloc(100) != NULL);
    rig_frame_budget(rig_frames_held());
    asked = 0;
    EXPECT(sh_malloc(500000) == NULL);
    EXPECT(asked != 0 && asked < 100);
    rig_frame_budget(0);
    EXPECT(sh_malloc(500000) != NULL);
    EXPECT_WHOLE();
}

/* Nor do frames help where there are no addresses. */
static void reclaim_that_brings_no_addresses_is_given_up(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config config = { .size = sizeof(config), .hooks = &hooks };

    hooks.reclaim = always_yes;
    rig_start(T_MIB, &config);
    EXPECT(sh_malloc(100) != NULL);
    asked = 0;
    EXPECT(sh_malloc(2 * T_MIB) == NULL);
    EXPECT(asked != 0 && asked < 100);
    EXPECT_WHOLE();
}

/* Frames are no help against the heap's own limit. */
static void reclaim_is_not_asked_for_the_limit(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config config = { .size = sizeof(config), .hooks = &hooks };
    struct sh_stats stats;

    hooks.reclaim = always_yes;
    rig_start(0, &config);
    EXPECT(sh_malloc(100) != NULL);
    sh_stats(&stats);
    EXPECT_EQ(sh_set_limit(stats.frames_held + 8 * SH_GRANULE_SIZE), SH_OK);
    asked = 0;
    EXPECT(sh_malloc(30 * SH_GRANULE_SIZE) == NULL);
    EXPECT(sh_malloc(10 * SH_GRANULE_SIZE) == NULL);
    EXPECT_EQ(asked, 0);
    EXPECT(sh_malloc(4 * SH_GRANULE_SIZE) != NULL);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "reclaim_that_never_helps_is_given_up", reclaim_that_never_helps_is_given_up },
    { "reclaim_that_brings_no_addresses_is_given_up", reclaim_that_brings_no_addresses_is_given_up },
    { "reclaim_is_not_asked_for_the_limit", reclaim_is_not_asked_for_the_limit },
    { "trim_of_an_empty_heap_keeps_metadata_only", trim_of_an_empty_heap_keeps_metadata_only },
    { "trim_releases_the_holes", trim_releases_the_holes },
    { "trim_keeps_contents_of_live_blocks", trim_keeps_contents_of_live_blocks },
    { "trim_keeps_at_most_what_was_asked", trim_keeps_at_most_what_was_asked },
    { "trim_gives_no_more_than_needed", trim_gives_no_more_than_needed },
    { "trim_of_many_places_gives_no_more_than_needed", trim_of_many_places_gives_no_more_than_needed },
    { "freed_large_object_goes_back", freed_large_object_goes_back },
    { "trimmed_memory_is_zero_when_it_comes_back", trimmed_memory_is_zero_when_it_comes_back },
    { "limit_is_a_ceiling", limit_is_a_ceiling },
    { "limit_below_what_is_held_trims", limit_below_what_is_held_trims },
    { "limit_that_is_held_exactly_trims_nothing", limit_that_is_held_exactly_trims_nothing },
    { "limit_that_trimming_just_meets_is_taken", limit_that_trimming_just_meets_is_taken },
    { "limit_below_what_lives_is_busy", limit_below_what_lives_is_busy },
    { "limit_is_a_ceiling_from_the_first_frame_on", limit_is_a_ceiling_from_the_first_frame_on },
    { "limit_of_the_configuration_holds", limit_of_the_configuration_holds },
    { "limit_is_met_by_giving_idle_memory_back", limit_is_met_by_giving_idle_memory_back },
};

SUITE(trim, tests);
