/*
 * Proves what the hooks of struct sh_hooks are asked, when, and how often; and that the heap does without
 * them.
 */
#include "kernel-test/test_util.h"

#define CACHED 64u
#define BUDGET (2 * T_MIB)

static void *cached[CACHED];
static unsigned asked, given;
static size_t wanted;
static struct sh_hooks hooks;

/* The kernel's cache: a page run of it a question. */
static bool reclaim(size_t bytes)
{
    asked++;
    wanted = bytes;
    if (given == CACHED || cached[given] == NULL)
        return false;
    sh_free_pages(cached[given++]);
    return true;
}

/* Full, as far as the heap can tell: it has just asked for the first time. */
static void start_full(void)
{
    struct sh_config config = { .size = sizeof config, .hooks = &hooks };

    hooks = *rig_hooks();
    hooks.reclaim = reclaim;
    rig_start(0, &config);
    rig_frame_budget(BUDGET);
    for (unsigned i = 0; i < CACHED; i++)
        cached[i] = NULL;
    for (unsigned i = 0; i < 4; i++)
        cached[i] = sh_alloc_pages(4 * MM_GRANULE_PAGES);
    EXPECT(cached[3] != NULL);
    asked = given = 0;
    while (asked == 0)
        EXPECT(sh_alloc_pages(1) != NULL);
}

/* The call that ran out asked, and was served from what came back. */
static void reclaim_is_asked_when_frames_run_out(void)
{
    start_full();
    EXPECT(given >= 1);
    EXPECT(wanted >= SH_PAGE_SIZE);
    EXPECT_WHOLE();
}

static void reclaim_that_has_nothing_is_exhaustion(void)
{
    start_full();
    given = CACHED;
    while (sh_alloc_pages(1) != NULL)
        ;
    asked = 0;
    EXPECT(sh_alloc_pages(1) == NULL);
    EXPECT(asked >= 1 && asked <= 4);
    EXPECT_WHOLE();
}

static void handlers_do_not_reclaim(void)
{
    start_full();
    rig_context(SH_INTERRUPT);
    asked = 0;
    while (sh_malloc(100000) != NULL)
        ;
    EXPECT_EQ(asked, 0);
    rig_context(SH_THREAD);
    EXPECT_WHOLE();
}

/* Nothing left to donate: address space is asked for too, and comes from the kernel's own runs. */
static void reclaim_is_asked_when_addresses_run_out(void)
{
    struct sh_config config = { .size = sizeof config, .hooks = &hooks };
    unsigned count;

    hooks = *rig_hooks();
    hooks.reclaim = reclaim;
    rig_start(8 * T_MIB, &config);
    cached[0] = sh_alloc_pages(16 * MM_GRANULE_PAGES);
    EXPECT(cached[0] != NULL);
    cached[1] = NULL;
    asked = given = 0;
    count = t_drain(8 * MM_GRANULE_PAGES, T_MAX_HELD);
    EXPECT(count > 0 && count < T_MAX_HELD);
    EXPECT_EQ(given, 1);
    EXPECT(asked >= 2);
    EXPECT_WHOLE();
}

static void without_hooks_nothing_is_said(void)
{
    struct sh_config config = { .size = sizeof config };
    void *p;

    rig_start(0, &config);
    p = sh_malloc(100);
    EXPECT(p != NULL);
    rig_log_clear();
    sh_explain((uintptr_t)p);
    sh_print_map();
    EXPECT_EQ(sh_verify(), 0);
    EXPECT_EQ(rig_log()[0], 0);
    sh_free(p);
}

static const struct test tests[] = {
    { "reclaim_is_asked_when_frames_run_out", reclaim_is_asked_when_frames_run_out },
    { "reclaim_that_has_nothing_is_exhaustion", reclaim_that_has_nothing_is_exhaustion },
    { "handlers_do_not_reclaim", handlers_do_not_reclaim },
    { "reclaim_is_asked_when_addresses_run_out", reclaim_is_asked_when_addresses_run_out },
    { "without_hooks_nothing_is_said", without_hooks_nothing_is_said },
};
SUITE(hooks, tests);
