/*
 * Proves what the caches of page runs promise: a CPU's freed large object serves its next one, and nobody
 * else's while there is something else; no CPU keeps more than its share; and whoever needs pages gets them
 * from everybody.
 *
 * One thread plays all CPUs, a call at a time.
 */
#include "kernel-test/test_util.h"

#include "mm/cache.h"
#include "mm/heap.h"
#include "mm/kept.h"

#define SIZE ((size_t)100000)
#define PAGES ((SIZE + SH_PAGE_SIZE - 1) / SH_PAGE_SIZE)

static void start(size_t window, unsigned cpus)
{
    struct sh_config config = { .size = sizeof(config), .cpus = cpus, .hooks = rig_hooks() };

    rig_start(window, &config);
}

static void a_large_object_takes_the_place_of_the_last_one(void)
{
    void *p, *behind;

    start(0, 1);
    p = sh_malloc(SIZE);
    behind = sh_malloc(SIZE);
    sh_free(p);
    EXPECT_EQ(mm_heap_counts.kept, PAGES);
    EXPECT(!sh_contains(p) && !sh_object_of(p, NULL));
    EXPECT_WHOLE();
    EXPECT(sh_malloc(SIZE * 5 / 8) == p); /* about its size */
    EXPECT_EQ(mm_heap_counts.kept, 0);
    sh_free(p);
    EXPECT(sh_malloc(SIZE / 4) != p); /* not for a quarter of it */
    EXPECT(sh_malloc(SIZE * 2) != p);
    EXPECT(sh_aligned_alloc(SH_PAGE_SIZE * 2, SIZE) != NULL);
    sh_free(behind);
    EXPECT_WHOLE();
    sh_trim(0);
    EXPECT_EQ(mm_heap_counts.kept, 0);
    EXPECT_WHOLE();
}

/* Were no more kept than half of what is in use, or so many, when the last run came? */
static bool is_within(size_t before, size_t least)
{
    size_t kept = mm_heap_counts.kept;

    return kept <= before || kept <= least || kept <= mm_heap_counts.spans / 2;
}

/* Four of a size step; and of all together half of what is in use. */
static void not_everything_is_kept(void)
{
    static void *p[40];

    start(0, 1);
    for (unsigned i = 0; i < 40; i++)
        p[i] = sh_malloc(SIZE);
    for (unsigned i = 0; i < 6; i++)
        sh_free(p[i]);
    EXPECT_EQ(mm_heap_counts.kept, 4 * PAGES);
    for (unsigned i = 6; i < 40; i++)
        sh_free(p[i]);
    for (unsigned i = 0; i < 12; i++)
        p[i] = sh_malloc(SIZE << (i / 3));
    for (unsigned i = 0; i < 12; i++) {
        size_t before = mm_heap_counts.kept;

        sh_free(p[i]);
        EXPECT(is_within(before, MM_RUN_CACHE_LEAST));
        EXPECT_WHOLE();
    }
}

#if SH_MAX_CPUS >= 3

static void a_run_is_kept_where_it_was_freed(void)
{
    void *p;

    start(0, 3);
    rig_cpu(0);
    p = sh_malloc(SIZE);
    EXPECT(sh_malloc(SIZE) != NULL);
    rig_cpu(1);
    sh_free(p);
    EXPECT_EQ(mm_heap_counts.kept, PAGES);
    rig_cpu(0);
    EXPECT(sh_malloc(SIZE) != p);
    rig_cpu(2);
    EXPECT(sh_malloc(SIZE) != p);
    EXPECT_EQ(mm_heap_counts.kept, PAGES);
    EXPECT_WHOLE();
    rig_cpu(1);
    EXPECT(sh_malloc(SIZE) == p);
    EXPECT_EQ(mm_heap_counts.kept, 0);
    EXPECT_WHOLE();
}

/* No window is left but for what another CPU keeps. */
static void who_needs_pages_gets_what_others_keep(void)
{
    struct sh_stats before, after;
    void *p;

    start(T_MIB, 3);
    rig_cpu(1);
    p = sh_malloc(SIZE);
    rig_cpu(0);
    while (sh_alloc_pages(1) != NULL) {
    }
    sh_stats(&before);
    rig_cpu(1);
    sh_free(p);
    EXPECT_EQ(mm_heap_counts.kept, PAGES);
    rig_cpu(2);
    for (size_t i = 0; i < PAGES; i++)
        EXPECT(sh_alloc_pages(1) != NULL);
    EXPECT(sh_alloc_pages(1) == NULL);
    EXPECT_EQ(mm_heap_counts.kept, 0);
    sh_stats(&after);
    EXPECT_EQ(after.live_objects, before.live_objects - 1 + PAGES);
    EXPECT_WHOLE();
}

static void what_a_cpu_kept_when_it_left_is_everybodys(void)
{
    void *p[3];

    start(0, 3);
    rig_cpu(1);
    for (unsigned i = 0; i < 3; i++)
        p[i] = sh_malloc(SIZE << i);
    for (unsigned i = 0; i < 2; i++)
        sh_free(p[i]);
    rig_cpu(2);
    sh_free(p[2]);
    EXPECT(mm_heap_counts.kept > 6 * PAGES);
    rig_cpu(0);
    EXPECT_EQ(sh_cpu_offline(1), SH_OK);
    EXPECT(mm_heap_counts.kept > 3 * PAGES && mm_heap_counts.kept <= 4 * PAGES); /* CPU 2's */
    EXPECT_WHOLE();
    EXPECT(sh_malloc(SIZE) == p[0]);
    EXPECT_WHOLE();
}

/* A share of what is in use, not each CPU half of it. */
static void all_cpus_together_keep_no_more_than_one_would(void)
{
    static void *p[60];
    size_t used;

    start(0, 3);
    rig_cpu(0);
    for (unsigned i = 0; i < 60; i++)
        p[i] = sh_malloc(SIZE << (i / 3 & 3));
    used = mm_heap_counts.spans;
    for (unsigned i = 0; i < 60; i++) {
        rig_cpu(i % 3);
        sh_free(p[i]);
        EXPECT(mm_heap_counts.kept <= used / 2);
    }
    EXPECT(mm_heap_counts.kept > used / 8);
    EXPECT_WHOLE();
}

#endif

static const struct test tests[] = {
    { "a_large_object_takes_the_place_of_the_last_one", a_large_object_takes_the_place_of_the_last_one },
    { "not_everything_is_kept", not_everything_is_kept },
#if SH_MAX_CPUS >= 3
    { "a_run_is_kept_where_it_was_freed", a_run_is_kept_where_it_was_freed },
    { "who_needs_pages_gets_what_others_keep", who_needs_pages_gets_what_others_keep },
    { "what_a_cpu_kept_when_it_left_is_everybodys", what_a_cpu_kept_when_it_left_is_everybodys },
    { "all_cpus_together_keep_no_more_than_one_would", all_cpus_together_keep_no_more_than_one_would },
#endif
};

SUITE(kept, tests);
