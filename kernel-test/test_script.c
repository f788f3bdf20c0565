/*
 * Proves what only a scripted port can show (host): how often the heap asks, in which order it
 * maps, commits and releases, and that refusals of any kind, anywhere, leave a heap that works as
 * soon as the port does.
 */
#include "kernel-test/rig_script.h"
#include "kernel-test/test_util.h"
#include "mm/span.h"

#define UNIT ((size_t)65536)
#define A_SIZE (17 * T_MIB)

static uintptr_t area(void)
{
    size_t size;

    return rig_area(&size);
}

static void begin(bool demand)
{
    const struct sh_config config = { .size = sizeof(config), .demand = demand,
                                      .hooks = rig_hooks() };

    rig_reset();
    EXPECT_EQ(sh_init(&config), SH_OK);
}

/* Bytes that the heap holds in Prepared or Ready, the heap's and its metadata's. */
static size_t mapped(void)
{
    return rig_script_bytes(SH_PREPARED) + rig_script_bytes(SH_READY);
}

static size_t heap_sys(void)
{
    struct sh_stats stats;

    sh_stats(&stats);
    return stats.heap_sys;
}

static void init_calls_nothing(void)
{
    begin(false);
    EXPECT_EQ(rig_script_calls(), 0);
    EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
    EXPECT_EQ(rig_script_calls(), 0);
}

static void all_reservations_refused_is_out_of_memory(void)
{
    begin(false);
    EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
    rig_script_refuse(500);
    EXPECT(sh_malloc(16) == NULL);
    EXPECT(sh_alloc_pages(3) == NULL);
    EXPECT(sh_malloc(MM_ARENA_SIZE + 1) == NULL);
    EXPECT(rig_script_left() > 0);
    EXPECT_EQ(rig_script_count(RIG_MAP) + rig_script_count(RIG_COMMIT), 0);
    EXPECT_EQ(rig_script_bytes(SH_RESERVED), 0);
    EXPECT_WHOLE();
    while (rig_script_left() > 0)
        (void)sh_malloc(16);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT_WHOLE();
}

/* The ladder: the first k reservations refused, then the windows answer. */
static void refused_reservations_are_halved(void)
{
    for (unsigned refused = 0; refused < 24; refused++) {
        begin(false);
        EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
        rig_script_refuse(refused);
        for (unsigned tries = 0; sh_malloc(16) == NULL; tries++)
            EXPECT(tries < 25);
        EXPECT(sh_malloc(100000) != NULL);
        EXPECT_EQ(heap_sys() & (SH_GRANULE_SIZE - 1), 0);
        EXPECT_WHOLE();
    }
}

/* What is left of the first reservation, at most MM_RESERVE, counts towards the request. */
static void refusal_never_asks_for_less_than_needed(void)
{
    const struct rig_call *call;
    bool asked = false;

    begin(false);
    EXPECT_EQ(rig_window(area(), 512 * T_MIB), SH_OK);
    EXPECT(sh_malloc(16) != NULL);
    rig_script_forget();
    rig_script_refuse(500);
    EXPECT(sh_alloc_pages((MM_RESERVE * 2) >> MM_PAGE_SHIFT) == NULL);
    for (unsigned long i = 0; (call = rig_script_call(i)) != NULL; i++)
        if (call->kind == RIG_RESERVE && call->size > MM_META_BLOCK) {
            EXPECT(call->size >= MM_RESERVE);
            asked = true;
        }
    EXPECT(asked);
    EXPECT_WHOLE();
}

/* One reservation serves many spans: a call a span is the old mistake. */
static void reservations_are_few(void)
{
    unsigned count = 0;

    begin(true);
    EXPECT_EQ(rig_window(area(), 48 * T_MIB), SH_OK);
    EXPECT_EQ(rig_window(area() + 256 * T_MIB, 16 * T_MIB), SH_OK);
    EXPECT_EQ(rig_window(area() + 128 * T_MIB, 32 * T_MIB), SH_OK);
    while (sh_malloc(UNIT) != NULL)
        count++;
    EXPECT(count > 1400);
    if (rig_script_count(RIG_RESERVE) > count >> 2)
        t_fail(__FILE__, __LINE__, "%lu reserve calls for %u blocks", rig_script_count(RIG_RESERVE),
               count);
    if (rig_script_count(RIG_MAP) > count >> 3)
        t_fail(__FILE__, __LINE__, "%lu map calls for %u blocks", rig_script_count(RIG_MAP), count);
    EXPECT(rig_script_count(RIG_RELEASE) <= rig_script_count(RIG_RESERVE) / 2);
}

static void growth_reserves_much_and_maps_one_chunk(void)
{
    const struct rig_call *call;
    size_t largest_reserve = 0, largest_map = 0;

    begin(false);
    EXPECT_EQ(rig_window(area(), 512 * T_MIB), SH_OK);
    EXPECT(sh_malloc(16) != NULL);
    for (unsigned long i = 0; (call = rig_script_call(i)) != NULL; i++) {
        if (call->kind == RIG_RESERVE && call->result != 0 && call->size > largest_reserve)
            largest_reserve = call->size;
        if (call->kind == RIG_MAP && call->size > largest_map)
            largest_map = call->size;
    }
    EXPECT(largest_reserve >= MM_RESERVE);
    EXPECT(largest_map <= MM_CHUNK_SIZE && largest_map >= MM_CHUNK_SIZE - MM_META_BLOCK);
    EXPECT(mapped() <= MM_CHUNK_SIZE + MM_META_BLOCK);
    EXPECT(rig_script_bytes(SH_READY) <= 256 * T_KIB);
}

/* A port that charges for prepared memory: arenas larger than the budget must not matter. */
static void small_budget_of_prepared_memory_serves(void)
{
    unsigned count = 0;

    begin(true);
    EXPECT_EQ(rig_window(area(), 512 * T_MIB), SH_OK);
    rig_script_prepared_budget(16 * T_MIB);
    while (sh_malloc(UNIT) != NULL)
        count++;
    EXPECT(count * UNIT >= 11 * T_MIB);
    EXPECT(mapped() <= 16 * T_MIB);
    EXPECT_WHOLE();
}

/* Of window A 16 MiB are reserved, one chunk of it mapped; B lies elsewhere; the request fits
 * only B. */
static void *switch_windows(bool must_work)
{
    EXPECT_EQ(rig_window(area(), A_SIZE), SH_OK);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT_EQ(rig_window(area() + 128 * T_MIB, 64 * T_MIB), SH_OK);
    if (!must_work)
        rig_script_fail(RIG_MAP, 1, true);
    return sh_malloc(20 * T_MIB);
}

static void remainder_is_mapped_and_counted_at_a_switch(void)
{
    size_t before;

    begin(true);
    EXPECT(switch_windows(true) != NULL);
    before = heap_sys();
    EXPECT(before >= 36 * T_MIB);
    EXPECT(before <= 41 * T_MIB);
    EXPECT(mapped() >= before);
    EXPECT(mapped() <= before + 3 * MM_META_BLOCK);
    for (unsigned i = 0; i < 12 * T_MIB / UNIT; i++) {
        void *p = sh_malloc(UNIT);
        EXPECT(p != NULL);
        EXPECT((uintptr_t)p - area() < A_SIZE);
    }
    EXPECT_EQ(heap_sys(), before);
    EXPECT_WHOLE();
}

static void remainder_is_kept_when_its_map_fails(void)
{
    size_t before;
    unsigned low = 0;

    begin(true);
    EXPECT(switch_windows(false) == NULL);
    before = heap_sys();
    EXPECT(before <= 4 * T_MIB);
    EXPECT_WHOLE();
    EXPECT(sh_malloc(20 * T_MIB) == NULL);
    EXPECT_EQ(heap_sys(), before);
    rig_script_fail(RIG_MAP, 0, false);
    EXPECT(sh_malloc(20 * T_MIB) != NULL);
    for (void *p; (p = sh_malloc(UNIT)) != NULL;)
        low += (uintptr_t)p - area() < A_SIZE ? 1 : 0;
    EXPECT(low >= 15 * T_MIB / UNIT);
    EXPECT_WHOLE();
}

static void neighbouring_reservation_maps_nothing_extra(void)
{
    begin(true);
    EXPECT_EQ(rig_window(area(), 128 * T_MIB), SH_OK);
    for (unsigned i = 0; i < 64; i++) {
        size_t before = heap_sys();
        EXPECT(sh_malloc(T_MIB) != NULL);
        EXPECT(heap_sys() - before <= MM_CHUNK_SIZE);
    }
}

/* The bytes that statistics call the heap's are those the port was asked to map, metadata apart. */
static void statistics_meet_the_calls(void)
{
    uint32_t random = 99;
    static void *held[256];

    begin(false);
    EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
    for (unsigned i = 0; i < 4000; i++) {
        unsigned slot = t_below(&random, 256);
        sh_free(held[slot]);
        held[slot] = sh_malloc(t_below(&random, (i & 7) == 0 ? 200000 : 2000));
        if ((i & 255) == 0) {
            struct sh_stats stats;
            sh_trim(i << 6);
            sh_stats(&stats);
            EXPECT_EQ(stats.frames_held, rig_script_bytes(SH_READY));
            EXPECT(stats.heap_sys <= mapped());
            EXPECT(mapped() <= stats.heap_sys + stats.meta_bytes + MM_META_BLOCK);
            EXPECT(stats.heap_released <= rig_script_bytes(SH_PREPARED));
        }
    }
    for (unsigned i = 0; i < 256; i++) {
        sh_free(held[i]);
        held[i] = NULL;
    }
}

/* After each single refused call of a kind, and with all refused from there on. */
static void sweep_failures(enum rig_kind kind, bool from_then_on)
{
    for (unsigned long nth = 1; nth < 40; nth++) {
        struct t_block block;
        begin(false);
        EXPECT_EQ(rig_window(area() + 64 * T_MIB, 3 * T_MIB), SH_OK);
        block = t_take(500, 1);
        rig_script_fail(kind, nth, from_then_on);
        EXPECT_EQ(rig_window(area(), 9 * T_MIB), SH_OK);
        for (unsigned i = 0; i < 30; i++)
            (void)sh_malloc(i << 13);
        (void)sh_malloc(5 * T_MIB);
        EXPECT_WHOLE();
        rig_script_fail(kind, 0, false);
        EXPECT(sh_malloc(T_MIB) != NULL);
        t_give(&block);
        EXPECT_WHOLE();
    }
}

static void refused_maps_leave_a_whole_heap(void)
{
    sweep_failures(RIG_MAP, false);
    sweep_failures(RIG_MAP, true);
}

static void refused_commits_leave_a_whole_heap(void)
{
    sweep_failures(RIG_COMMIT, false);
    sweep_failures(RIG_COMMIT, true);
}

static void refused_reservations_leave_a_whole_heap(void)
{
    sweep_failures(RIG_RESERVE, false);
    sweep_failures(RIG_RESERVE, true);
}

/* Addresses go high, low, lower, highest; every object is found and nothing is counted twice. */
static void reservations_anywhere_serve(void)
{
    static const unsigned order[] = { 8, 4, 1, 12, 3, 10, 6, 2 };
    unsigned count = 0;

    begin(true);
    for (unsigned i = 0; i < 8; i++) {
        EXPECT_EQ(rig_window(area() + order[i] * 40 * T_MIB, 4 * T_MIB + MM_META_BLOCK), SH_OK);
        for (unsigned k = 0; k < 50; k++) {
            t_held[count] = sh_malloc(UNIT);
            EXPECT(t_held[count] != NULL);
            count++;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        struct sh_object object;
        EXPECT(sh_object_of((char *)t_held[i] + UNIT - 1, &object));
        EXPECT_EQ(object.base, (uintptr_t)t_held[i]);
    }
    EXPECT(heap_sys() <= 8 * (4 * T_MIB + MM_META_BLOCK));
    EXPECT_WHOLE();
}

/* The heap itself touches no page that demand mode has left out. */
static void demand_mode_is_never_mended_for_the_heap(void)
{
    void *p;

    begin(true);
    EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
    for (unsigned size = 8; size <= 2 * T_MIB; size += size >> 1) {
        p = sh_malloc(size);
        EXPECT(p != NULL);
        EXPECT(sh_realloc(p, size + 4000) != NULL);
        p = sh_calloc(size, 1);
        EXPECT(p != NULL);
        sh_free(p);
    }
    EXPECT(sh_alloc_pages(20) != NULL);
    EXPECT_EQ(rig_script_mended(), 0);
    p = sh_malloc(T_MIB);
    ((volatile char *)p)[T_MIB / 2] = 1;
    EXPECT(rig_script_mended() >= 1);
    EXPECT_WHOLE();
}

static void shutdown_releases_what_was_reserved(void)
{
    begin(false);
    EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
    for (unsigned i = 0; i < 100; i++)
        EXPECT(sh_malloc(i * 1000) != NULL);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT_EQ(mapped() + rig_script_bytes(SH_RESERVED), 0);
    EXPECT(rig_script_count(RIG_RELEASE) <= rig_script_count(RIG_RESERVE));
}

/* What is left of a reservation is used to its last page before another one is asked for. */
static void a_remainder_that_fits_is_enough(void)
{
    unsigned long asked;
    size_t left;

    begin(false);
    EXPECT_EQ(rig_window(area(), 256 * T_MIB), SH_OK);
    EXPECT(sh_alloc_pages(T_MIB >> MM_PAGE_SHIFT) != NULL);
    for (;;) { /* free pages, without what is not published yet */
        left = t_free_pages();
        if (left == 0)
            break;
        EXPECT(sh_alloc_pages(1) != NULL);
    }
    asked = rig_script_count(RIG_RESERVE);
    left = rig_script_bytes(SH_RESERVED) & ~(MM_CHUNK_SIZE - 1);
    EXPECT(left >= MM_CHUNK_SIZE);
    EXPECT(sh_alloc_pages(left >> MM_PAGE_SHIFT) != NULL);
    EXPECT_EQ(rig_script_count(RIG_RESERVE), asked);
    EXPECT_WHOLE();
    EXPECT(sh_alloc_pages(MM_CHUNK_SIZE >> MM_PAGE_SHIFT) != NULL);
    EXPECT(rig_script_count(RIG_RESERVE) > asked);
    EXPECT_WHOLE();
}

/* Metadata runs out of frames at any record: descriptors before it shift which one it is. */
static void any_record_may_find_no_frame(void)
{
    for (size_t before = 0; before < 2 * SH_GRANULE_SIZE / sizeof(struct mm_span) &&
                            before << MM_PAGE_SHIFT < 3 * T_MIB; before++) {
        begin(false);
        EXPECT_EQ(rig_window(area(), 4 * T_MIB), SH_OK);
        for (unsigned i = 0; i < before; i++)
            EXPECT(sh_alloc_pages(1) != NULL);
        EXPECT_EQ(rig_window(area() + 8 * T_MIB, 4 * T_MIB), SH_OK);
        for (unsigned nth = 1; nth <= 2; nth++) {
            rig_script_fail(RIG_COMMIT, nth, false);
            (void)sh_alloc_pages(3 * T_MIB >> MM_PAGE_SHIFT);
            rig_script_fail(RIG_COMMIT, 0, false);
            if (before % 8 == 0)
                EXPECT_WHOLE();
        }
        EXPECT(sh_malloc(100000) != NULL);
        EXPECT_WHOLE();
    }
}

/* Its pages have no frames to give back. */
static void pool_of_guarded_pages_takes_no_frames(void)
{
    const struct sh_config config = { .size = sizeof(config), .guard_sample = 1, .hooks = rig_hooks() };
    size_t ready;

    rig_start(0, &config);
    EXPECT(sh_alloc_pages(1) != NULL);
    ready = rig_script_bytes(SH_READY);
    EXPECT(sh_malloc(48) != NULL);
    EXPECT(rig_script_bytes(SH_READY) <= ready + 2 * SH_GRANULE_SIZE);
    EXPECT_EQ(rig_script_count(RIG_DECOMMIT), 0);
    EXPECT_EQ(rig_script_count(RIG_FAULT), MM_GUARD_POOL + 1);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "pool_of_guarded_pages_takes_no_frames", pool_of_guarded_pages_takes_no_frames },
    { "init_calls_nothing", init_calls_nothing },
    { "all_reservations_refused_is_out_of_memory", all_reservations_refused_is_out_of_memory },
    { "refused_reservations_are_halved", refused_reservations_are_halved },
    { "refusal_never_asks_for_less_than_needed", refusal_never_asks_for_less_than_needed },
    { "reservations_are_few", reservations_are_few },
    { "growth_reserves_much_and_maps_one_chunk", growth_reserves_much_and_maps_one_chunk },
    { "small_budget_of_prepared_memory_serves", small_budget_of_prepared_memory_serves },
    { "remainder_is_mapped_and_counted_at_a_switch", remainder_is_mapped_and_counted_at_a_switch },
    { "remainder_is_kept_when_its_map_fails", remainder_is_kept_when_its_map_fails },
    { "neighbouring_reservation_maps_nothing_extra", neighbouring_reservation_maps_nothing_extra },
    { "statistics_meet_the_calls", statistics_meet_the_calls },
    { "refused_maps_leave_a_whole_heap", refused_maps_leave_a_whole_heap },
    { "refused_commits_leave_a_whole_heap", refused_commits_leave_a_whole_heap },
    { "refused_reservations_leave_a_whole_heap", refused_reservations_leave_a_whole_heap },
    { "reservations_anywhere_serve", reservations_anywhere_serve },
    { "demand_mode_is_never_mended_for_the_heap", demand_mode_is_never_mended_for_the_heap },
    { "shutdown_releases_what_was_reserved", shutdown_releases_what_was_reserved },
    { "a_remainder_that_fits_is_enough", a_remainder_that_fits_is_enough },
    { "any_record_may_find_no_frame", any_record_may_find_no_frame },
};

SUITE(script, tests);
