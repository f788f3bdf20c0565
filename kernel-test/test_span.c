/*
 * Proves that size classes are what they promise, that a query is exact at every boundary of a span,
 * and R5: freeing is the last act.  The probe at the release of a run takes the same pages again at
 * once and fills them, before the free that released them has returned: whatever that free still
 * touches is then somebody else's.
 */
#include "kernel-test/test_util.h"
#include "mm/cache.h"
#include "mm/heap.h"

#define FEW 1024u
#define SPANS 6u
#define MOST_TAKEN 64u

static struct t_block taken[MOST_TAKEN];
static unsigned taken_count;
static bool taking;

/* ---- size classes ---- */

static void every_size_has_the_smallest_class_that_fits(void)
{
    EXPECT(MM_CLASSES >= 40 && MM_CLASSES < T_MAX_CLASSES);
    EXPECT_EQ(mm_class_size(0), 8);
    EXPECT_EQ(mm_class_size(MM_CLASSES - 1), MM_CLASS_LIMIT);
    for (size_t size = 1; size <= MM_CLASS_LIMIT; size++) {
        unsigned class = mm_class_of(size);
        EXPECT(class < MM_CLASSES && mm_class_size(class) >= size);
        EXPECT(class == 0 || mm_class_size(class - 1) < size);
    }
}

static void classes_are_what_malloc_gives(void)
{
    static size_t sizes[T_MAX_CLASSES];

    rig_start(0, NULL);
    EXPECT_EQ(t_classes(sizes), MM_CLASSES);
    for (unsigned class = 0; class < MM_CLASSES; class++)
        EXPECT_EQ(sizes[class], mm_class_size(class));
}

static void slots_fill_their_span(void)
{
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        size_t size = mm_class_size(class), bytes = (size_t)mm_class[class].pages << MM_PAGE_SHIFT;
        size_t used = size * mm_class[class].slots;
        EXPECT(used <= bytes && bytes - used < size);
        EXPECT(bytes - used <= bytes >> 3);
        EXPECT_EQ(size & 7, 0);
        EXPECT(mm_class[class].slots <= MM_SLOTS_MAX);
    }
}

/* Counted up beside the multiplication. */
static void magic_agrees_with_division_at_every_offset(void)
{
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        const struct mm_class *info = &mm_class[class];
        size_t size = mm_class_size(class), rest = 0;
        uint32_t bytes = (uint32_t)info->pages << MM_PAGE_SHIFT, bound = mm_class_bound(info), index = 0;
        for (uint32_t offset = 0; offset < bytes; offset++) {
            uint64_t product = (uint64_t)offset * info->magic;
            bool starts = rest == 0 && index < info->slots;
            if ((uint32_t)(product >> 32) != index || ((uint32_t)product < bound) != starts)
                t_fail(__FILE__, __LINE__, "class %u is wrong at offset %u", class,
                       (unsigned)offset);
            rest++;
            if (rest == size) {
                rest = 0;
                index++;
            }
        }
    }
}

/* ---- queries ---- */

static void expect_object(uintptr_t at, uintptr_t base, size_t size)
{
    struct sh_object object = { 0 };

    EXPECT(sh_contains((void *)at) && sh_object_of((void *)at, &object));
    EXPECT_EQ(object.base, base);
    EXPECT_EQ(object.size, size);
    EXPECT(object.live && object.kind == SH_MANUAL);
}

static void expect_no_object(uintptr_t at)
{
    EXPECT(!sh_object_of((void *)at, NULL));
    EXPECT_EQ(sh_usable_size((void *)at), 0);
}

/* The span of `p`, of which all slots but `hole` are live. */
static void expect_boundaries(const void *p, uint32_t hole)
{
    const struct mm_span *span = mm_span_of((uintptr_t)p);
    uintptr_t end = span->base + mm_span_bytes(span), after = span->base + span->slots * span->size;

    for (uint32_t i = 0; i < span->slots; i++) {
        uintptr_t slot = span->base + i * span->size, last = slot + span->size - 1;
        if (i == hole) {
            EXPECT(sh_contains((void *)slot) && sh_contains((void *)last));
            expect_no_object(slot);
            expect_no_object(slot + 1);
            expect_no_object(last);
            continue;
        }
        expect_object(slot, slot, span->size);
        expect_object(slot + 1, slot, span->size);
        expect_object(last, slot, span->size);
        EXPECT_EQ(sh_usable_size((void *)slot), span->size);
        EXPECT_EQ(sh_usable_size((void *)(slot + 1)), 0);
    }
    for (uintptr_t at = after; at < end; at += 8) {
        EXPECT(!sh_contains((void *)at));
        expect_no_object(at);
    }
}

static void *queried[2];
static unsigned long probes;

static void query_boundaries(void)
{
    probes++;
    expect_boundaries(queried[0], 1);
    expect_boundaries(queried[1], 1);
}

/* Fills a span of the class, but for slot 1. */
static void *fill_span(size_t size)
{
    unsigned slots = mm_class[mm_class_of(size)].slots;
    void *first = sh_malloc(size), *second = NULL;

    for (unsigned i = 1; i < slots; i++) {
        void *p = sh_malloc(size);
        EXPECT(p != NULL);
        second = i == 1 ? p : second;
    }
    sh_free(second);
    return first;
}

static void queries_are_exact_at_every_boundary(void)
{
    rig_start(0, NULL);
    for (unsigned class = 0; class < MM_CLASSES; class++)
        if (mm_class[class].slots > 2)
            expect_boundaries(fill_span(mm_class_size(class)), 1);
    EXPECT_WHOLE();
}

static void queries_are_exact_inside_hooks(void)
{
    rig_start(0, NULL);
    queried[0] = fill_span(48);
    queried[1] = fill_span(1408);
    probes = 0;
    rig_probe(query_boundaries);
    sh_free(sh_malloc(300000));
    EXPECT(sh_trim(0) > 0);
    rig_probe(NULL);
    EXPECT(probes > 0);
    EXPECT_WHOLE();
}

static void nothing_else_is_an_object(void)
{
    int local = 0;
    void *run, *gone, *p;

    rig_start(0, NULL);
    p = sh_malloc(100);
    run = sh_alloc_pages(2);
    gone = sh_alloc_pages(3);
    sh_free_pages(gone);
    expect_object((uintptr_t)run + 2 * SH_PAGE_SIZE - 1, (uintptr_t)run, 2 * SH_PAGE_SIZE);
    const void *const elsewhere[] = {
        NULL, &local, taken, gone, (char *)gone + 1, mm_arena_of((uintptr_t)p),
        mm_span_of((uintptr_t)p), &mm_span_dummy, &mm_arena_dummy, &mm_cpu[0],
        (void *)UINTPTR_MAX, (void *)(UINTPTR_MAX >> 1),
        (void *)((uintptr_t)1 << (MM_WORD_BITS - 1))
    };
    for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
        EXPECT(!sh_contains(elsewhere[i]));
        expect_no_object((uintptr_t)elsewhere[i]);
    }
}

/* ---- R5 ---- */

/* Nothing is found in the run; then it is taken again, and first fit gives the same address. */
static void take_again(uintptr_t base, size_t count)
{
    void *p;

    if (taking)
        return;
    EXPECT(taken_count < MOST_TAKEN);
    taking = true;
    EXPECT(!sh_contains((void *)base) && !sh_object_of((void *)(base + 8), NULL));
    p = sh_alloc_pages(count);
    taking = false;
    EXPECT_EQ((uintptr_t)p, base);
    taken[taken_count] = (struct t_block){ p, count << MM_PAGE_SHIFT, 77 + taken_count };
    t_fill(p, count << MM_PAGE_SHIFT, 77 + taken_count);
    taken_count++;
}

/* Small objects instead: a new span over the same pages. */
static void take_again_small(uintptr_t base, size_t count)
{
    void *p;

    if (taking || count != mm_class[mm_class_of(FEW)].pages)
        return;
    EXPECT(taken_count < MOST_TAKEN);
    taking = true;
    p = sh_malloc(FEW);
    taking = false;
    EXPECT(p != NULL);
    taken[taken_count] = (struct t_block){ p, FEW, 99 + taken_count };
    t_fill(p, FEW, 99 + taken_count);
    taken_count++;
    (void)base;
}

static void watch(void (*probe)(uintptr_t base, size_t count))
{
    taken_count = 0;
    taking = false;
    mm_heap_released_probe = probe;
}

/* What was taken in the probe is whole, and is given back; `least` says how much that must be. */
static void expect_taken(unsigned least)
{
    mm_heap_released_probe = NULL;
    EXPECT(taken_count >= least);
    EXPECT_WHOLE();
    for (unsigned i = 0; i < taken_count; i++) {
        EXPECT(t_holds(taken[i].p, taken[i].size, taken[i].seed));
        expect_object((uintptr_t)taken[i].p, (uintptr_t)taken[i].p, sh_usable_size(taken[i].p));
    }
    for (unsigned i = 0; i < taken_count; i++) {
        if (sh_usable_size(taken[i].p) == FEW)
            sh_free(taken[i].p);
        else
            sh_free_pages(taken[i].p);
    }
    EXPECT_WHOLE();
}

/* Spans that are emptied one after the other, from the lowest on. */
static void empty_spans(void)
{
    static void *p[SPANS * (32768 / FEW)];
    unsigned slots = mm_class[mm_class_of(FEW)].slots;

    for (unsigned i = 0; i < SPANS * slots; i++) {
        p[i] = sh_malloc(FEW);
        EXPECT(p[i] != NULL);
        t_fill(p[i], FEW, i);
    }
    for (unsigned i = 0; i < SPANS * slots; i++) {
        EXPECT(t_holds(p[i], FEW, i));
        sh_free(p[i]);
    }
}

static void small_span_is_not_touched_after_its_release(void)
{
    rig_start(0, NULL);
    for (unsigned round = 0; round < 3; round++) {
        empty_spans();
        watch(take_again);
        sh_trim(SIZE_MAX);
        expect_taken(SPANS);
    }
}

static void small_span_over_a_released_one_is_whole(void)
{
    rig_start(0, NULL);
    for (unsigned round = 0; round < 3; round++) {
        empty_spans();
        watch(take_again_small);
        sh_trim(SIZE_MAX);
        expect_taken(1);
    }
}

static void large_object_is_not_touched_after_its_release(void)
{
    void *p;

    rig_start(0, NULL);
    for (unsigned round = 0; round < 3; round++) {
        p = sh_malloc(100000);
        EXPECT(p != NULL);
        t_fill(p, 100000, round);
        watch(take_again);
        sh_free(p);
        sh_trim(SIZE_MAX);
        expect_taken(1);
    }
}

static void kept_run_is_not_touched_after_its_release(void)
{
    rig_start(0, NULL);
    EXPECT(sh_alloc_pages((size_t)600000 >> MM_PAGE_SHIFT) != NULL);
    for (unsigned round = 0; round < 3; round++) {
        void *p = sh_malloc(70000);
        EXPECT(p != NULL);
        watch(take_again);
        sh_free(p);
        EXPECT_EQ(taken_count, 0);
        EXPECT(mm_heap_counts.kept != 0);
        sh_trim(SIZE_MAX);
        expect_taken(1);
    }
}

static void page_run_is_not_touched_after_its_release(void)
{
    rig_start(0, NULL);
    for (size_t count = 1; count < 20; count += 6) {
        void *p = sh_alloc_pages(count);
        EXPECT(p != NULL);
        watch(take_again);
        sh_free_pages(p);
        EXPECT_EQ(taken_count, 1);
        EXPECT(taken[0].p == p);
        expect_taken(1);
    }
}

static void tail_is_not_touched_after_realloc_gave_it_back(void)
{
    void *p;

    rig_start(0, NULL);
    p = sh_malloc(30 * SH_PAGE_SIZE);
    EXPECT(p != NULL);
    t_fill(p, 15 * SH_PAGE_SIZE, 5);
    watch(take_again);
    EXPECT(sh_realloc(p, 15 * SH_PAGE_SIZE) == p);
    EXPECT_EQ(taken_count, 1);
    EXPECT_EQ((uintptr_t)taken[0].p, (uintptr_t)p + 15 * SH_PAGE_SIZE);
    EXPECT_EQ(taken[0].size, 15 * SH_PAGE_SIZE);
    EXPECT(t_holds(p, 15 * SH_PAGE_SIZE, 5));
    expect_taken(1);
    EXPECT(t_holds(p, 15 * SH_PAGE_SIZE, 5));
    sh_free(p);
    EXPECT_WHOLE();
}

/* The state word advances with every life: a reader that held a stale descriptor can tell. */
static void every_change_of_state_advances_the_sequence(void)
{
    struct mm_span *span;
    uint32_t before;
    void *p;

    rig_start(0, NULL);
    p = sh_alloc_pages(1);
    span = mm_span_of((uintptr_t)p);
    before = span->state;
    sh_free_pages(p);
    EXPECT((span->state >> MM_SPAN_STATE_BITS) != (before >> MM_SPAN_STATE_BITS));
    EXPECT(sh_alloc_pages(1) == p);
    EXPECT(mm_span_of((uintptr_t)p) == span);
    EXPECT((span->state >> MM_SPAN_STATE_BITS) > (before >> MM_SPAN_STATE_BITS) + 1);
}

/* ---- R7 ---- */

/* What an allocation without success took, it gave back: else descriptors would pile up. */
static void failed_allocations_take_no_metadata(void)
{
    struct sh_stats before, after;

    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT(sh_alloc_pages((size_t)1 << 16) == NULL);
    sh_stats(&before);
    for (unsigned i = 0; i < 2000; i++)
        EXPECT(sh_alloc_pages((size_t)1 << 16) == NULL);
    sh_stats(&after);
    EXPECT_EQ(after.meta_bytes, before.meta_bytes);
    EXPECT_WHOLE();
}

static size_t free_pages(void)
{
    const struct mm_arena *arena;
    size_t count = 0;

    for (uintptr_t at = 0; (arena = mm_arena_next(at)) != NULL; at = arena->base + MM_ARENA_SIZE)
        for (size_t i = 0; i < MM_ARENA_CHUNKS; i++)
            for (size_t page = 0; page < MM_CHUNK_PAGES; page++)
                count += !mm_bit_test(arena->chunks[i].taken, page);
    return count;
}

/* Pages that were taken for a call without success are free again. */
static void failed_allocations_leave_no_page_taken(void)
{
    size_t before;
    void *p;

    rig_start(0, NULL);
    p = sh_malloc(100000);
    EXPECT(p != NULL);
    sh_trim(0);
    before = free_pages();
    rig_frame_budget(rig_frames_held());
    EXPECT(sh_realloc(p, 400000) == NULL);
    EXPECT_EQ(free_pages(), before);
    EXPECT(sh_malloc(200000) == NULL && sh_alloc_pages(3 * MM_GRANULE_PAGES) == NULL);
    EXPECT_EQ(free_pages(), before);
    rig_frame_budget(0);
    EXPECT_WHOLE();
    sh_free(p);
}

static const struct test tests[] = {
    { "every_size_has_the_smallest_class_that_fits", every_size_has_the_smallest_class_that_fits },
    { "classes_are_what_malloc_gives", classes_are_what_malloc_gives },
    { "slots_fill_their_span", slots_fill_their_span },
    { "magic_agrees_with_division_at_every_offset", magic_agrees_with_division_at_every_offset },
    { "queries_are_exact_at_every_boundary", queries_are_exact_at_every_boundary },
    { "queries_are_exact_inside_hooks", queries_are_exact_inside_hooks },
    { "nothing_else_is_an_object", nothing_else_is_an_object },
    { "small_span_is_not_touched_after_its_release", small_span_is_not_touched_after_its_release },
    { "small_span_over_a_released_one_is_whole", small_span_over_a_released_one_is_whole },
    { "large_object_is_not_touched_after_its_release",
      large_object_is_not_touched_after_its_release },
    { "kept_run_is_not_touched_after_its_release", kept_run_is_not_touched_after_its_release },
    { "page_run_is_not_touched_after_its_release", page_run_is_not_touched_after_its_release },
    { "tail_is_not_touched_after_realloc_gave_it_back",
      tail_is_not_touched_after_realloc_gave_it_back },
    { "every_change_of_state_advances_the_sequence", every_change_of_state_advances_the_sequence },
    { "failed_allocations_leave_no_page_taken", failed_allocations_leave_no_page_taken },
    { "failed_allocations_take_no_metadata", failed_allocations_take_no_metadata },
};

SUITE(span, tests);
