/*
 * Proves demand mode: sh_malloc takes no frames for the block, the first touch of a page does
 * through sh_handle_fault, page runs and metadata are committed at once, and an address that is no
 * live object's is never mended.
 */
#include "kernel-test/k_string.h"
#include "kernel-test/test_util.h"
#include "mm/memory.h"

static void start(void)
{
    const struct sh_config config = { .size = sizeof(config), .demand = true,
                                      .hooks = rig_hooks() };

    rig_start(0, &config);
}

static void block_takes_frames_only_when_touched(void)
{
    size_t before, size = 40 * SH_GRANULE_SIZE;
    uint8_t *p;

    start();
    EXPECT(sh_malloc(16) != NULL);
    before = rig_frames_held();
    p = sh_malloc(size);
    EXPECT(p != NULL);
    EXPECT(rig_frames_held() - before <= 2 * SH_GRANULE_SIZE);
    EXPECT_EQ(sh_arch_state((uintptr_t)p), SH_PREPARED);
    before = rig_frames_held();
    p[0] = 1;
    EXPECT_EQ(sh_arch_state((uintptr_t)p), SH_READY);
    EXPECT(rig_frames_held() > before && rig_frames_held() - before <= SH_GRANULE_SIZE);
    EXPECT_EQ(sh_arch_state((uintptr_t)p + 20 * SH_GRANULE_SIZE), SH_PREPARED);
    EXPECT_WHOLE();
    t_fill(p, size, 3);
    EXPECT(t_holds(p, size, 3));
    EXPECT(rig_frames_held() >= before + size - SH_GRANULE_SIZE);
    EXPECT_WHOLE();
    sh_free(p);
    EXPECT_WHOLE();
}

static void first_touch_reads_zero(void)
{
    start();
    for (size_t size = 100000; size <= 400000; size += 100000) {
        uint8_t *p = sh_malloc(size);
        EXPECT(p != NULL);
        EXPECT(t_is_zero(p, size));
    }
    EXPECT_WHOLE();
}

static void every_page_in_any_order_can_be_touched(void)
{
    uint32_t random = 12;
    size_t size = 600000;
    uint8_t *p;

    start();
    p = sh_malloc(size);
    EXPECT(p != NULL);
    for (unsigned i = 0; i < 400; i++) {
        uint32_t at = t_below(&random, (uint32_t)size);
        p[at] = (uint8_t)at;
        EXPECT_EQ(p[at], (uint8_t)at);
    }
    EXPECT_WHOLE();
}

static void small_objects_serve(void)
{
    static struct t_block blocks[400];

    start();
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 400; i++)
            blocks[i] = t_take(i * 13, i);
        for (unsigned i = 0; i < 400; i++)
            t_give(&blocks[i]);
        sh_trim(0);
        EXPECT_WHOLE();
    }
}

static void page_runs_are_committed_at_once(void)
{
    uint8_t *p;

    start();
    p = sh_alloc_pages(20);
    EXPECT(p != NULL);
    for (size_t at = 0; at < 20 * SH_PAGE_SIZE; at += SH_ARCH_PAGE_SIZE)
        EXPECT_EQ(sh_arch_state((uintptr_t)p + at), SH_READY);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, true));
    sh_free_pages(p);
    EXPECT_WHOLE();
}

static void realloc_and_calloc_work_over_untouched_pages(void)
{
    uint8_t *p, *q;

    start();
    p = sh_malloc(200000);
    EXPECT(p != NULL);
    t_fill(p + 100000, 1000, 5);
    q = sh_realloc(p, 900000);
    EXPECT(q != NULL);
    EXPECT(t_holds(q + 100000, 1000, 5));
    EXPECT(t_is_zero(q, 1000));
    p = sh_calloc(1, 300000);
    EXPECT(p != NULL && t_is_zero(p, 300000));
    memset(p, 1, 300000);
    sh_free(p);
    p = sh_calloc(300000, 1);
    EXPECT(p != NULL && t_is_zero(p, 300000));
    EXPECT_WHOLE();
}

static void fault_elsewhere_is_not_mended(void)
{
    static char in_bss[16];
    size_t size;
    uintptr_t base = rig_area(&size);
    char *p;

    start();
    p = sh_malloc(100000);
    EXPECT(p != NULL);
    EXPECT(!sh_handle_fault(0, true, false));
    EXPECT(!sh_handle_fault(UINTPTR_MAX, true, false));
    EXPECT(!sh_handle_fault((uintptr_t)in_bss, true, false));
    EXPECT(!sh_handle_fault(base + size - 8, true, false));
    EXPECT(!sh_handle_fault((uintptr_t)p + 2 * T_MIB, true, false));
    sh_free(p);
    sh_trim(0);
    EXPECT(!sh_handle_fault((uintptr_t)p + 50000, true, false));
    EXPECT_WHOLE();
}

static void page_that_is_there_is_not_mended(void)
{
    char *p;

    start();
    p = sh_malloc(100000);
    EXPECT(p != NULL);
    p[50000] = 1;
    EXPECT(!sh_handle_fault((uintptr_t)p + 50000, true, true));
    EXPECT_EQ(p[50000], 1);
}

static void eager_mode_mends_nothing(void)
{
    char *p;

    rig_start(0, NULL);
    p = sh_malloc(100000);
    EXPECT(p != NULL);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, false));
    EXPECT(!sh_handle_fault((uintptr_t)p + 90000, false, false));
    sh_free(p);
    sh_trim(0);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, false));
}

static void handlers_fault_in_nothing(void)
{
    char *p;

    start();
    p = sh_malloc(100000);
    EXPECT(p != NULL);
    rig_context(SH_INTERRUPT);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, false));
    rig_context(SH_NMI);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, false));
    rig_context(SH_THREAD);
    EXPECT(sh_handle_fault((uintptr_t)p, true, false));
    p[0] = 1;
    EXPECT_WHOLE();
}

static void fault_without_frames_is_refused_until_there_are_some(void)
{
    char *p;

    start();
    p = sh_malloc(100000);
    EXPECT(p != NULL);
    rig_fail(1, true);
    EXPECT(!sh_handle_fault((uintptr_t)p + 70000, true, false));
    EXPECT(!sh_handle_fault((uintptr_t)p + 70000, false, false));
    rig_fail(0, false);
    EXPECT(sh_handle_fault((uintptr_t)p + 70000, true, false));
    p[70000] = 7;
    EXPECT_WHOLE();
}

static void freed_pages_go_back(void)
{
    size_t before;
    uint8_t *p;

    start();
    EXPECT(sh_malloc(16) != NULL);
    sh_trim(0);
    before = rig_frames_held();
    p = sh_malloc(500000);
    EXPECT(p != NULL);
    t_fill(p, 250000, 1);
    sh_free(p);
    EXPECT_WHOLE();
    sh_trim(0);
    EXPECT(rig_frames_held() <= before + 4 * SH_GRANULE_SIZE);
    EXPECT_WHOLE();
}

/* Pages of the old block that were never touched read as zero in the new one, whose memory was
 * somebody else's. */
static void realloc_of_untouched_pages_reads_zero(void)
{
    uint8_t *p, *other;

    start();
    p = sh_calloc(1, 100000);
    EXPECT(p != NULL && sh_alloc_pages(1) != NULL);
    p[0] = 7;
    other = sh_malloc(300000);
    EXPECT(other != NULL);
    t_fill(other, 300000, 5);
    sh_free(other);
    p = sh_realloc(p, 200000);
    EXPECT(p == other);
    EXPECT(p[0] == 7 && t_is_zero(p + 1, 99999));
    EXPECT_WHOLE();
}

/* A block that moves takes what was touched with it, page by page; without frames it stays whole. */
static void realloc_moves_what_was_touched(void)
{
    static const size_t touched[] = { 0, 3, 4, 9 };
    uint8_t *p, *q;
    size_t held;

    start();
    p = sh_malloc(10 * SH_PAGE_SIZE);
    EXPECT(p != NULL && sh_alloc_pages(1) != NULL); /* which lies behind it */
    for (unsigned i = 0; i < 4; i++)
        t_fill(p + touched[i] * SH_PAGE_SIZE, SH_PAGE_SIZE, i);
    sh_free(sh_malloc(40 * SH_PAGE_SIZE)); /* addresses and records for it */
    sh_trim(0);
    rig_frame_budget(rig_frames_held());
    EXPECT(sh_realloc(p, 40 * SH_PAGE_SIZE) == NULL);
    rig_frame_budget(0);
    EXPECT_WHOLE();
    held = rig_frames_held();
    q = sh_realloc(p, 40 * SH_PAGE_SIZE);
    EXPECT(q != NULL && q != p);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(t_holds(q + touched[i] * SH_PAGE_SIZE, SH_PAGE_SIZE, i));
    EXPECT_WHOLE();
    sh_trim(0);
    EXPECT(rig_frames_held() <= held + SH_GRANULE_SIZE);
    EXPECT(t_is_zero(q + SH_PAGE_SIZE, 2 * SH_PAGE_SIZE));
}

/* From wherever to wherever: what has frames is filled, and nothing else gets any. */
static void a_fill_touches_no_page_without_a_frame(void)
{
    enum { GRANULES = 8 };
    const size_t size = GRANULES * SH_GRANULE_SIZE;

    for (size_t skip = 0; skip < SH_GRANULE_SIZE; skip += SH_GRANULE_SIZE / 16 - 8) {
        uint8_t *p;
        start();
        p = (uint8_t *)mm_align_up((uintptr_t)sh_malloc(size + SH_GRANULE_SIZE), SH_GRANULE_SIZE);
        for (size_t at = 0; at < size; at += 2 * SH_GRANULE_SIZE)
            p[at] = 1;
        mm_memory_fill((uintptr_t)p + skip, size - skip, 0x55);
        for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE)
            EXPECT_EQ(sh_arch_state((uintptr_t)p + at), (at & SH_GRANULE_SIZE) == 0 ? SH_READY : SH_PREPARED);
        for (size_t at = skip; at < size; at += (at & SH_GRANULE_SIZE) == 0 ? 1 : SH_GRANULE_SIZE)
            EXPECT((at & SH_GRANULE_SIZE) != 0 || p[at] == 0x55);
        EXPECT(skip == 0 || (p[0] == 1 && p[skip - 1] != 0x55));
    }
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "a_fill_touches_no_page_without_a_frame", a_fill_touches_no_page_without_a_frame },
    { "realloc_moves_what_was_touched", realloc_moves_what_was_touched },
    { "realloc_of_untouched_pages_reads_zero", realloc_of_untouched_pages_reads_zero },
    { "block_takes_frames_only_when_touched", block_takes_frames_only_when_touched },
    { "first_touch_reads_zero", first_touch_reads_zero },
    { "every_page_in_any_order_can_be_touched", every_page_in_any_order_can_be_touched },
    { "small_objects_serve", small_objects_serve },
    { "page_runs_are_committed_at_once", page_runs_are_committed_at_once },
    { "realloc_and_calloc_work_over_untouched_pages",
      realloc_and_calloc_work_over_untouched_pages },
    { "fault_elsewhere_is_not_mended", fault_elsewhere_is_not_mended },
    { "page_that_is_there_is_not_mended", page_that_is_there_is_not_mended },
    { "eager_mode_mends_nothing", eager_mode_mends_nothing },
    { "handlers_fault_in_nothing", handlers_fault_in_nothing },
    { "fault_without_frames_is_refused_until_there_are_some",
      fault_without_frames_is_refused_until_there_are_some },
    { "freed_pages_go_back", freed_pages_go_back },
};

SUITE(demand, tests);
