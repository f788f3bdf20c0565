/*
 * Proves that any window serves: none at all, tiny ones, odd ones, many, in any order and place,
 * up to the very top of memory; and that a lookup of any address, in a window or in a hole,
 * answers.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/test_util.h"

#define UNIT_PAGES (65536 >> MM_PAGE_SHIFT)
#define UNIT_SIZE ((size_t)UNIT_PAGES << MM_PAGE_SHIFT)

struct window {
    uintptr_t base;
    size_t size;
};

static struct window windows[SH_MAX_WINDOWS];
static unsigned window_count;
static void *units[T_MAX_HELD];

/* Demand mode: filling windows takes addresses and metadata, no frames for the blocks. */
static void start(void)
{
    const struct sh_config config = { .size = sizeof(config), .demand = true,
                                      .hooks = rig_hooks() };

    rig_reset();
    EXPECT_EQ(sh_init(&config), SH_OK);
    window_count = 0;
}

static void donate(uintptr_t base, size_t size)
{
    EXPECT_EQ(rig_window(base, size), SH_OK);
    EXPECT_EQ(sh_window_error()[0], 0);
    windows[window_count++] = (struct window){ base, size };
}

static bool in_windows(uintptr_t address)
{
    for (unsigned i = 0; i < window_count; i++)
        if (address >= windows[i].base && address - windows[i].base < windows[i].size)
            return true;
    return false;
}

static unsigned fill(unsigned most)
{
    unsigned count = 0;

    while (count < most && count < T_MAX_HELD && (units[count] = sh_malloc(UNIT_SIZE)) != NULL)
        count++;
    return count;
}

static unsigned units_in(const struct window *window, unsigned count)
{
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++)
        if ((uintptr_t)units[i] - window->base < window->size)
            found++;
    return found;
}

static void expect_found(unsigned count)
{
    struct sh_object object;

    for (unsigned i = 0; i < count; i++) {
        uintptr_t p = (uintptr_t)units[i];
        EXPECT(in_windows(p) && in_windows(p + UNIT_SIZE - 1));
        EXPECT(sh_object_of((void *)p, &object) && object.base == p);
        EXPECT(sh_object_of((void *)(p + UNIT_SIZE - 1), &object) && object.base == p);
    }
}

static void expect_holes_say_no(void)
{
    size_t size;
    uintptr_t base = rig_area(&size);

    for (uintptr_t at = base; at - base < size; at += 65536)
        if (!in_windows(at)) {
            EXPECT(!sh_contains((void *)at) && !sh_object_of((void *)at, NULL));
            EXPECT_EQ(sh_usable_size((void *)at), 0);
        }
    for (unsigned i = 0; i < window_count; i++) {
        EXPECT(!sh_contains((void *)(windows[i].base - 1)) || in_windows(windows[i].base - 1));
        EXPECT(!sh_contains((void *)(windows[i].base + windows[i].size)) ||
               in_windows(windows[i].base + windows[i].size));
    }
}

static void free_all(unsigned count)
{
    while (count-- > 0)
        sh_free(units[count]);
}

/* Fills everything, looks everything up, frees it, and can fill as much again. */
static unsigned exercise(void)
{
    unsigned count = fill(T_MAX_HELD);

    expect_found(count);
    expect_holes_say_no();
    EXPECT_WHOLE();
    free_all(count);
    EXPECT(fill(T_MAX_HELD) >= count);
    expect_found(count);
    free_all(count);
    EXPECT_WHOLE();
    return count;
}

static uintptr_t area(void)
{
    size_t size;

    return rig_area(&size);
}

static void no_window_is_a_heap_that_is_empty(void)
{
    struct sh_stats stats;

    rig_reset();
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT_EQ(rig_frames_held(), 0);
    EXPECT(sh_malloc(1) == NULL && sh_malloc(100000) == NULL && sh_alloc_pages(1) == NULL);
    EXPECT(sh_calloc(1, 1) == NULL && sh_realloc(NULL, 1) == NULL && sh_aligned_alloc(8,
                                                                                      8) == NULL);
    for (unsigned bit = 0; bit < sizeof(uintptr_t) * 8; bit++) {
        EXPECT(!sh_contains((void *)((uintptr_t)1 << bit)));
        EXPECT(!sh_object_of((void *)((uintptr_t)1 << bit), NULL));
    }
    EXPECT(!sh_contains(NULL) && !sh_contains(&stats) && !sh_contains((void *)UINTPTR_MAX));
    sh_stats(&stats);
    EXPECT_EQ(stats.heap_sys, 0);
    EXPECT_EQ(stats.frames_held, 0);
    EXPECT_EQ(sh_trim(0), 0);
    EXPECT_WHOLE();
}

static void window_after_a_failed_malloc_serves(void)
{
    rig_reset();
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT(sh_malloc(100) == NULL);
    EXPECT_EQ(rig_window(area(), 8 * T_MIB), SH_OK);
    EXPECT(sh_malloc(100) != NULL);
    EXPECT(sh_malloc(100000) != NULL);
    EXPECT_WHOLE();
}

static void expect_refused(uintptr_t base, size_t size, int error)
{
    EXPECT_EQ(rig_window(base, size), error);
    EXPECT(sh_window_error()[0] != 0);
}

static void window_without_a_granule_is_invalid(void)
{
    uintptr_t base = area();

    start();
    expect_refused(base, 0, SH_E_INVALID);
    expect_refused(base, SH_GRANULE_SIZE - 1, SH_E_INVALID);
    expect_refused(base + 1, SH_GRANULE_SIZE, SH_E_INVALID);
    expect_refused(base + 8, 2 * SH_GRANULE_SIZE - 16, SH_E_INVALID);
    expect_refused(0, SH_ARCH_PAGE_SIZE, SH_E_INVALID);
    expect_refused((uintptr_t)0 - SH_ARCH_PAGE_SIZE, SH_ARCH_PAGE_SIZE, SH_E_INVALID);
    EXPECT(sh_malloc(1) == NULL);
    donate(base, T_MIB);
    EXPECT(sh_malloc(1) != NULL);
}

static void window_that_wraps_is_out_of_range(void)
{
    start();
    expect_refused(area(), SIZE_MAX, SH_E_RANGE);
    expect_refused(area(), (size_t)0 - area() + 1, SH_E_RANGE);
    expect_refused((uintptr_t)0 - T_MIB, T_MIB + 1, SH_E_RANGE);
    expect_refused((uintptr_t)0 - T_MIB, SIZE_MAX, SH_E_RANGE);
    expect_refused(UINTPTR_MAX, 2, SH_E_RANGE);
    EXPECT(sh_malloc(1) == NULL);
}

static void window_that_overlaps_is_refused(void)
{
    uintptr_t base = area() + 8 * T_MIB;

    start();
    donate(base, 4 * T_MIB);
    expect_refused(base, 4 * T_MIB, SH_E_OVERLAP);
    expect_refused(base - T_MIB, 2 * T_MIB, SH_E_OVERLAP);
    expect_refused(base + 3 * T_MIB, 2 * T_MIB, SH_E_OVERLAP);
    expect_refused(base + T_MIB, T_MIB, SH_E_OVERLAP);
    expect_refused(base - T_MIB, 16 * T_MIB, SH_E_OVERLAP);
    expect_refused(base + 4 * T_MIB - SH_GRANULE_SIZE, SH_GRANULE_SIZE, SH_E_OVERLAP);
    EXPECT(sh_malloc(1) != NULL);
    expect_refused(base, 4 * T_MIB, SH_E_OVERLAP);
    donate(base + 4 * T_MIB, T_MIB);
    donate(base - T_MIB, T_MIB);
    EXPECT(exercise() > 0);
}

/* What is left after a window's share of metadata: at least half of one of 1 MiB, more of larger
 * ones. */
static void expect_used_whole(size_t size, unsigned count)
{
    size_t overhead = T_MIB / 2 + (size >> 4);

    if ((size_t)count * UNIT_SIZE + overhead < size)
        t_fail(__FILE__, __LINE__, "of %zu bytes only %u blocks of %zu are given", size, count,
               UNIT_SIZE);
}

static void window_of_any_size_is_used_whole(void)
{
    static const size_t sizes[] = { T_MIB, T_MIB + 5 * SH_GRANULE_SIZE, 3 * T_MIB, 4 * T_MIB,
                                    5 * T_MIB + 3 * SH_GRANULE_SIZE, 17 * T_MIB, 48 * T_MIB,
                                        100 * T_MIB };

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        start();
        donate(area(), sizes[i]);
        expect_used_whole(sizes[i], exercise());
    }
}

static void window_of_odd_alignment_is_used_whole(void)
{
    for (unsigned odd = 1; odd < 12; odd += 2) {
        start();
        donate(area() + (((size_t)1 << odd) + odd) * SH_GRANULE_SIZE,
               6 * T_MIB + odd * SH_GRANULE_SIZE);
        expect_used_whole(6 * T_MIB, exercise());
    }
}

static void window_is_trimmed_to_whole_granules(void)
{
    uintptr_t base = area() + T_MIB;

    start();
    EXPECT_EQ(rig_window(base + 1, 2 * T_MIB), SH_OK);
    windows[window_count++] = (struct window){ base + SH_GRANULE_SIZE,
                                               2 * T_MIB - SH_GRANULE_SIZE };
    donate(base, SH_GRANULE_SIZE);
    EXPECT(exercise() > 8);
}

/* However little the first window holds, down to one granule: what follows below it serves. */
static void metadata_only_and_then_one_below_serves(void)
{
    uintptr_t high = area() + 128 * T_MIB;

    for (size_t size = SH_GRANULE_SIZE; size <= 2 * T_MIB;
         size += size < T_MIB ? size : 300 * T_KIB) {
        start();
        donate(high, size & ~(SH_GRANULE_SIZE - 1));
        (void)sh_malloc(1);
        (void)sh_malloc(MM_CHUNK_SIZE);
        expect_holes_say_no();
        EXPECT_WHOLE();
        donate(area() + 8 * T_MIB, 8 * T_MIB);
        EXPECT(sh_malloc(1) != NULL);
        EXPECT(sh_malloc(1000) != NULL);
        expect_used_whole(8 * T_MIB, exercise());
    }
}

static void metadata_only_and_then_one_above_serves(void)
{
    for (size_t size = SH_GRANULE_SIZE; size <= T_MIB; size <<= 1) {
        start();
        donate(area(), size);
        (void)sh_malloc(1);
        donate(area() + 64 * T_MIB, 8 * T_MIB);
        donate(area() + 64 * T_MIB - 4 * T_MIB, 4 * T_MIB);
        EXPECT(sh_malloc(1) != NULL);
        expect_used_whole(12 * T_MIB, exercise());
    }
}

/* Four windows, each donated when those before it are full; every object is found to the end. */
static void fill_in_order(const unsigned order[4])
{
    unsigned count = 0, before;

    start();
    for (unsigned i = 0; i < 4; i++) {
        donate(area() + order[i] * 20 * T_MIB, 6 * T_MIB);
        before = count;
        for (; count < T_MAX_HELD && (units[count] = sh_malloc(UNIT_SIZE)) != NULL; count++)
            ;
        EXPECT(count > before + 64);
        expect_found(count);
        expect_holes_say_no();
    }
    for (unsigned i = 0; i < 4; i++)
        EXPECT(units_in(&windows[i], count) >= 64);
    EXPECT_WHOLE();
    free_all(count);
    EXPECT_WHOLE();
}

static void windows_in_every_order_are_all_used(void)
{
    for (unsigned code = 0; code < 256; code++) {
        unsigned order[4] = { code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6 };
        unsigned seen = 1u << order[0] | 1u << order[1] | 1u << order[2] | 1u << order[3];
        if (seen == 15)
            fill_in_order(order);
    }
}

static void windows_descending_are_all_used(void)
{
    start();
    for (unsigned i = 0; i < 10; i++)
        donate(area() + (10 - i) * 12 * T_MIB, 5 * T_MIB);
    expect_used_whole(50 * T_MIB - 10 * T_MIB, exercise());
}

static void windows_alternating_are_all_used(void)
{
    start();
    for (unsigned i = 0; i < 10; i++)
        donate(area() + ((i & 1) != 0 ? 10 - i : 10 + i) * 8 * T_MIB, 5 * T_MIB);
    expect_used_whole(50 * T_MIB - 10 * T_MIB, exercise());
}

static void more_than_32_small_windows_are_all_used(void)
{
    unsigned count;

    start();
    for (unsigned i = 0; i < 40; i++)
        donate(area() + i * 3 * T_MIB + (i & 7) * SH_GRANULE_SIZE, T_MIB);
    count = exercise();
    if ((size_t)count * UNIT_SIZE < 24 * T_MIB)
        t_fail(__FILE__, __LINE__, "of 40 windows of 1 MiB only %u blocks are given", count);
}

static void windows_that_touch_are_all_used(void)
{
    start();
    for (unsigned i = 0; i < 16; i++)
        donate(area() + i * T_MIB, T_MIB);
    expect_used_whole(16 * T_MIB - 4 * T_MIB, exercise());
}

static void window_between_two_others_serves(void)
{
    unsigned count;

    start();
    donate(area(), 4 * T_MIB);
    donate(area() + 40 * T_MIB, 4 * T_MIB);
    count = fill(T_MAX_HELD);
    expect_found(count);
    donate(area() + 20 * T_MIB, 4 * T_MIB);
    units[count] = sh_malloc(UNIT_SIZE);
    EXPECT(units[count] != NULL);
    expect_found(count + 1);
    EXPECT(in_windows((uintptr_t)units[count]));
    free_all(count + 1);
    expect_used_whole(12 * T_MIB, exercise());
}

static void one_window_too_many_is_refused(void)
{
    start();
    for (unsigned i = 0; i < SH_MAX_WINDOWS; i++)
        donate(area() + i * T_MIB, 256 * T_KIB);
    expect_refused(area() + SH_MAX_WINDOWS * T_MIB, 256 * T_KIB, SH_E_FULL);
    EXPECT(exercise() > SH_MAX_WINDOWS / 2);
}

/* 32-bit machines only: the last page is left out, nothing wraps. */
static void window_that_ends_at_the_top_of_memory_serves(void)
{
    unsigned count;

    if (!rig_is_machine()) {
        t_skip("the host gives no addresses at the top; booted only");
        return;
    }
    start();
    EXPECT_EQ(rig_window((uintptr_t)0 - 8 * T_MIB, 8 * T_MIB), SH_OK);
    windows[window_count++] =
        (struct window){ (uintptr_t)0 - 8 * T_MIB, 8 * T_MIB - SH_GRANULE_SIZE };
    count = exercise();
    expect_used_whole(8 * T_MIB, count);
    EXPECT(!sh_contains((void *)UINTPTR_MAX));
    EXPECT(!sh_object_of((void *)UINTPTR_MAX, NULL));
    EXPECT(!sh_contains((void *)((uintptr_t)0 - SH_ARCH_PAGE_SIZE)));
}

static void large_object_takes_a_window_of_its_own(void)
{
    void *p;

    start();
    donate(area(), 2 * T_MIB);
    donate(area() + 12 * T_MIB, 11 * T_MIB);
    EXPECT(sh_malloc(100) != NULL);
    p = sh_malloc(9 * T_MIB);
    EXPECT(p != NULL);
    EXPECT((uintptr_t)p >= area() + 12 * T_MIB);
    EXPECT(sh_object_of((char *)p + 9 * T_MIB - 1, NULL));
    EXPECT(sh_malloc(9 * T_MIB) == NULL);
    EXPECT_WHOLE();
    sh_free(p);
    EXPECT(sh_malloc(9 * T_MIB) != NULL);
}

static const struct test tests[] = {
    { "no_window_is_a_heap_that_is_empty", no_window_is_a_heap_that_is_empty },
    { "window_after_a_failed_malloc_serves", window_after_a_failed_malloc_serves },
    { "window_without_a_granule_is_invalid", window_without_a_granule_is_invalid },
    { "window_that_wraps_is_out_of_range", window_that_wraps_is_out_of_range },
    { "window_that_overlaps_is_refused", window_that_overlaps_is_refused },
    { "window_of_any_size_is_used_whole", window_of_any_size_is_used_whole },
    { "window_of_odd_alignment_is_used_whole", window_of_odd_alignment_is_used_whole },
    { "window_is_trimmed_to_whole_granules", window_is_trimmed_to_whole_granules },
    { "metadata_only_and_then_one_below_serves", metadata_only_and_then_one_below_serves },
    { "metadata_only_and_then_one_above_serves", metadata_only_and_then_one_above_serves },
    { "windows_in_every_order_are_all_used", windows_in_every_order_are_all_used },
    { "windows_descending_are_all_used", windows_descending_are_all_used },
    { "windows_alternating_are_all_used", windows_alternating_are_all_used },
    { "more_than_32_small_windows_are_all_used", more_than_32_small_windows_are_all_used },
    { "windows_that_touch_are_all_used", windows_that_touch_are_all_used },
    { "window_between_two_others_serves", window_between_two_others_serves },
    { "one_window_too_many_is_refused", one_window_too_many_is_refused },
    { "window_that_ends_at_the_top_of_memory_serves",
      window_that_ends_at_the_top_of_memory_serves },
    { "large_object_takes_a_window_of_its_own", large_object_takes_a_window_of_its_own },
};

SUITE(windows, tests);
