/*
 * Proves that the page allocator is exact: every answer is compared with a model that has a byte a
 * page and looks at each.  The allocator is driven directly, in a demand-mode heap that has grown,
 * freed all and is not used otherwise: so thousands of pages cost no frame.
 */
#include "kernel-test/test_util.h"
#include "mm/pages.h"

#define PAGES 3072u           /* that growth is asked for: several chunks at any page size */
#define MODEL_PAGES 20480u
#define RUNS 600u

static const size_t sizes[] = { 1, 2, 3, 4, 5, 8, 16, 31, 32, 33, 63, 64, 65, 127, 129,
                                512, 513, 1024, 1025, 2049 };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static uint8_t is_free[MODEL_PAGES];
static uintptr_t low; /* address of the model's first page */
static size_t known;  /* pages in the model, the last of them free at first */

static struct run {
    uintptr_t base;
    size_t count;
} runs[RUNS];

static uintptr_t address_of(size_t page)
{
    return low + (page << MM_PAGE_SHIFT);
}

static bool map_is_free(uintptr_t at)
{
    return !mm_bit_test(mm_chunk_of(at)->taken, mm_chunk_page(at));
}

/* A grown heap with nothing in it, and the model of its pages. */
static void begin(void)
{
    const struct sh_config demand = { .size = sizeof(demand), .demand = true,
                                      .hooks = rig_hooks() };
    void *p;

    rig_start(0, &demand);
    p = sh_malloc((size_t)PAGES << MM_PAGE_SHIFT);
    EXPECT(p != NULL);
    sh_free(p);
    sh_trim(0);
    low = mm_arena_next(0)->base;
    while (!map_is_free(low))
        low += SH_PAGE_SIZE;
    known = 0;
    for (size_t page = 0; page < MODEL_PAGES; page++) {
        if (mm_arena_of(address_of(page)) == &mm_arena_dummy)
            break;
        is_free[page] = map_is_free(address_of(page));
        known = is_free[page] ? page + 1 : known;
    }
    EXPECT(known >= PAGES && known < MODEL_PAGES);
}

/* The lowest run of free pages; `known` = none. */
static size_t model_find(size_t count)
{
    size_t run = 0;

    for (size_t page = 0; page < known; page++) {
        run = is_free[page] ? run + 1 : 0;
        if (run == count)
            return page + 1 - count;
    }
    return known;
}

static void model_set(uintptr_t base, size_t count, bool free)
{
    size_t first = (base - low) >> MM_PAGE_SHIFT;

    EXPECT(base >= low && first < known && count <= known - first);
    for (size_t page = first; page < first + count; page++) {
        EXPECT(is_free[page] != free);
        is_free[page] = free;
    }
}

static uintptr_t alloc(size_t count, size_t align)
{
    uintptr_t base = mm_pages_find(count, align), from = 0;

    if (base == 0 && align > 1 && align <= MM_ARENA_PAGES)
        do
            base = mm_pages_find_exact(count, align, &from);
        while (base == 0 && from != 0);
    EXPECT(base == 0 || mm_pages_alloc_at(base, count));
    return base;
}

/* From the top. */
static size_t idle(uintptr_t last, size_t most, uintptr_t *base)
{
    size_t length = 0;

    while (length == 0 && mm_pages_below(&last))
        length = mm_pages_idle(&last, most, base);
    EXPECT(length == 0 || last == *base - 1);
    return length;
}

static size_t count_idle(void)
{
    size_t sum = 0;

    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena))
        sum += mm_pages_count_idle(arena);
    return sum;
}

/* Allocates from both; they must agree.  0 = none. */
static uintptr_t take(size_t count)
{
    size_t page = model_find(count);
    uintptr_t base = alloc(count, 1);

    EXPECT_EQ(base, page == known ? 0 : address_of(page));
    if (base != 0)
        model_set(base, count, false);
    return base;
}

static void give(uintptr_t base, size_t count)
{
    mm_pages_free(base, count);
    model_set(base, count, true);
}

static void take_all(void)
{
    for (size_t count = 2048; count > 0; count >>= 1)
        while (take(count) != 0)
            ;
    EXPECT_EQ(model_find(1), known);
}

static void expect_same(void)
{
    for (size_t page = 0; page < known; page++)
        EXPECT_EQ(map_is_free(address_of(page)), is_free[page]);
    EXPECT_EQ(mm_pages_verify(), 0);
}

static void first_fit_is_exact(void)
{
    uint32_t random = 4711;

    begin();
    for (unsigned i = 0; i < RUNS; i++)
        runs[i].count = 0;
    for (unsigned step = 0; step < 4000; step++) {
        struct run *run = &runs[t_below(&random, RUNS)];
        if (run->count != 0) {
            give(run->base, run->count);
            run->count = 0;
        } else {
            size_t most = sizes[t_below(&random, (step & 63) == 0 ? SIZES : 10)];
            run->count = 1 + t_below(&random, (uint32_t)most);
            run->base = take(run->count);
            run->count = run->base == 0 ? 0 : run->count;
        }
        if ((step & 127) == 0)
            expect_same();
    }
    for (unsigned i = 0; i < RUNS; i++)
        if (runs[i].count != 0)
            give(runs[i].base, runs[i].count);
    expect_same();
    EXPECT_WHOLE();
}

static void every_size_can_be_exhausted(void)
{
    begin();
    for (unsigned i = 0; i < SIZES; i++) {
        uintptr_t lowest = address_of(model_find(1)), base;
        size_t from = known, to = 0;
        while ((base = take(sizes[i])) != 0) {
            size_t page = (base - low) >> MM_PAGE_SHIFT;
            from = page < from ? page : from;
            to = page + sizes[i];
        }
        EXPECT(from < to);
        EXPECT_EQ(mm_pages_verify(), 0);
        /* What is taken is whole runs of this size, from the first on. */
        for (size_t page = from; page < to;) {
            if (is_free[page] || !mm_bit_test(mm_chunk_of(address_of(page))->owned,
                                              mm_chunk_page(address_of(page)))) {
                page++;
                continue;
            }
            give(address_of(page), sizes[i]);
            page += sizes[i];
        }
        expect_same();
        EXPECT_EQ(take(1), lowest);
        give(lowest, 1);
    }
    EXPECT_WHOLE();
}

/* Each run alone in a full heap, with a shorter one below it, at each place in a word. */
static void only_fit_is_found_at_every_bit(void)
{
    static const size_t lengths[] = { 2, 3, 29, 30, 31, 32, 33, 61, 62, 63, 64, 65, 127, 128, 129 };
    uintptr_t start;

    begin();
    start = low + MM_CHUNK_SIZE - (low & (MM_CHUNK_SIZE - 1));
    take_all();
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        for (size_t offset = 0; offset <= MM_WORD_BITS + 1; offset++) {
            size_t length = lengths[i], shorter = length - 1;
            uintptr_t at = start + ((offset + shorter + 1) << MM_PAGE_SHIFT);
            give(start + (offset << MM_PAGE_SHIFT), shorter);
            EXPECT_EQ(alloc(length, 1), 0);
            give(at, length);
            EXPECT_EQ(take(length), at);
            EXPECT_EQ(take(shorter), start + (offset << MM_PAGE_SHIFT));
        }
    EXPECT_EQ(mm_pages_verify(), 0);
}

static void runs_across_chunks_are_found(void)
{
    begin();
    take_all();
    for (uintptr_t border = (low | (MM_CHUNK_SIZE - 1)) + 1;
         border < address_of(known) - MM_CHUNK_SIZE; border += MM_CHUNK_SIZE)
        for (size_t below = 1; below <= 65; below += below < 4 ? 1 : 61) {
            uintptr_t base = border - (below << MM_PAGE_SHIFT);
            if (base < low)
                continue;
            give(base, below + 1);
            EXPECT_EQ(take(below + 1), base);
            give(base, below + 65);
            EXPECT_EQ(alloc(below + 66, 1), 0);
            EXPECT_EQ(take(below + 65), base);
        }
    EXPECT_EQ(mm_pages_verify(), 0);
}

/* A run that covers a whole chunk and part of both neighbours. */
static void run_over_three_chunks_is_found(void)
{
    uintptr_t border, base;
    size_t count = MM_CHUNK_PAGES + 2;

    begin();
    take_all();
    border = (low | (MM_CHUNK_SIZE - 1)) + 1;
    base = border - SH_PAGE_SIZE;
    if (base < low) {
        border += MM_CHUNK_SIZE;
        base += MM_CHUNK_SIZE;
    }
    give(base, count);
    EXPECT_EQ(mm_pages_verify(), 0);
    EXPECT_EQ(alloc(count + 1, 1), 0);
    EXPECT_EQ(take(count), base);
    EXPECT_EQ(mm_pages_verify(), 0);
}

static void pair_behind_single_holes_is_found(void)
{
    begin();
    take_all();
    for (size_t page = 0; page + 4 < known; page += 2)
        if (mm_bit_test(mm_chunk_of(address_of(page))->owned, mm_chunk_page(address_of(page))))
            give(address_of(page), 1);
    EXPECT_EQ(alloc(2, 1), 0);
    give(address_of(2049), 1);
    EXPECT_EQ(take(2), address_of(2048));
    expect_same();
}

static void aligned_runs_are_aligned(void)
{
    begin();
    for (size_t align = 1; align <= 1024; align <<= 1)
        for (size_t count = 1; count <= 65; count += 16) {
            uintptr_t odd = take(1), base = alloc(count, align);
            if (base == 0) {
                EXPECT_EQ(model_find(count + align - 1), known);
            } else {
                EXPECT_EQ(base & ((align << MM_PAGE_SHIFT) - 1), 0);
                model_set(base, count, false);
                expect_same();
                give(base, count);
            }
            give(odd, 1);
        }
    EXPECT(alloc(1, MM_CHUNK_PAGES) != 0);
}

/* Of runs that fit exactly, and no more, the lowest aligned one; the first of all begins a page late. */
static void aligned_run_that_just_fits_is_found(void)
{
    uintptr_t first, at;

    begin();
    take_all();
    for (size_t align = 2; align <= MM_CHUNK_PAGES / 4; align <<= 1) {
        size_t bytes = align << MM_PAGE_SHIFT;
        first = mm_align_up(low, 4 * bytes) + SH_PAGE_SIZE;
        at = first + 3 * bytes - SH_PAGE_SIZE;
        give(first, align);
        give(at, align);
        EXPECT_EQ(alloc(align, align), at);
        EXPECT_EQ(alloc(align, align), 0);
        model_set(at, align, false);
        EXPECT_EQ(take(align), first);
        expect_same();
    }
}

/* A run with room for the worst start, and not a page more, before a longer one. */
static void aligned_run_with_just_room_is_found(void)
{
    begin();
    take_all();
    for (size_t align = 2; align <= MM_CHUNK_PAGES / 4; align <<= 1) {
        size_t bytes = align << MM_PAGE_SHIFT;
        uintptr_t at = mm_align_up(low, bytes) + 2 * bytes;
        give(at - bytes + SH_PAGE_SIZE, 2 * align - 1);
        give(at + 2 * bytes, 2 * align);
        EXPECT_EQ(alloc(align, align), at);
        model_set(at, align, false);
        EXPECT_EQ(take(2 * align), at + 2 * bytes);
        EXPECT_EQ(take(align - 1), at - bytes + SH_PAGE_SIZE);
        expect_same();
    }
}

#ifdef HOST_INTERRUPTS

/* ---- a handler comes at every opening of the lock ---- */

#define PAIR (2 * SH_PAGE_SIZE)

static unsigned openings, fires_at;
static void (*fire)(void);
static uintptr_t place, place_last; /* an aligned run, and its last page */

static void count_openings(void)
{
    if (++openings == fires_at)
        fire();
}

/* The call that looks for the run, when nothing can grow; where it is, 0 = NULL. */
static uintptr_t alloc_aligned(size_t count, unsigned at, void (*handler)(void))
{
    void *p;

    openings = 0;
    fires_at = at;
    fire = handler;
    rig_fail(1, true);
    host_interrupt = count_openings;
    p = sh_aligned_alloc(PAIR, count << MM_PAGE_SHIFT);
    host_interrupt = NULL;
    rig_fail(0, false);
    return (uintptr_t)p;
}

/* What it got goes back; true = it got `place`. */
static bool served(uintptr_t p)
{
    EXPECT(p == 0 || p == place);
    sh_free((void *)p);
    sh_trim(0);
    return p != 0;
}

/* A full heap, the descriptor for a run at hand. */
static void begin_full(void)
{
    begin();
    place = 0;
    sh_free(sh_aligned_alloc(PAIR, 4 * PAIR));
    sh_trim(0);
    take_all();
}

static bool ours(uintptr_t at)
{
    return mm_bit_test(mm_chunk_of(at)->owned, mm_chunk_page(at));
}

/* Free pairs, none of them aligned, at every other place; not around `spared`.  How many. */
static size_t give_odd_pairs(uintptr_t spared)
{
    size_t pairs = 0;

    for (uintptr_t at = mm_align_up(low, 2 * PAIR) + SH_PAGE_SIZE; at < address_of(known - 4); at += 2 * PAIR)
        if (at - spared >= PAIR && ours(at) && ours(at + SH_PAGE_SIZE)) {
            give(at, 2);
            pairs++;
        }
    return pairs;
}

static void an_exact_fit_is_looked_for_some_places_at_a_time(void)
{
    size_t pairs;

    begin_full();
    place = mm_align_down(address_of(known - 8), 2 * PAIR);
    pairs = give_odd_pairs(place);
    EXPECT(pairs > PAGES / 8);
    give(place, 2);
    EXPECT(served(alloc_aligned(2, 0, NULL)));
    EXPECT(openings >= 2 * pairs / 32);
}

static void free_the_place(void)
{
    mm_pages_free(place, 2);
}

/* Before the search has come by it is found, behind it not; then there is none. */
static void what_comes_free_during_the_search_is_found_or_not(void)
{
    unsigned found = 0, missed = 0, most;

    begin_full();
    place = mm_align_up(address_of(known / 2), 2 * PAIR);
    give_odd_pairs(place);
    EXPECT(!served(alloc_aligned(2, 0, NULL)));
    most = openings;
    for (unsigned at = 1; at <= most; at += 3) {
        if (served(alloc_aligned(2, at, free_the_place)))
            found++;
        else
            missed++;
        EXPECT(openings >= at && mm_pages_alloc_at(place, 2));
    }
    EXPECT(found > 10 && missed > 10);
    expect_same();
}

static void take_the_last_page(void)
{
    (void)mm_pages_alloc_at(place_last, 1);
}

/* A run over a chunk's end, of which a handler takes the last page before the search does: the rest is free again. */
static void a_run_that_is_lost_half_way_goes_back(void)
{
    size_t count = MM_CHUNK_PAGES + 2;
    unsigned found = 0, lost = 0, most;

    begin_full();
    place = mm_align_up(low, MM_CHUNK_SIZE) + SH_PAGE_SIZE; /* the first is not aligned */
    give(place, count);
    place += ((count + 2) << MM_PAGE_SHIFT) - SH_PAGE_SIZE;
    place_last = place + ((count - 1) << MM_PAGE_SHIFT);
    give(place, count);
    EXPECT_EQ(mm_pages_find(count, 2), 0);
    EXPECT(served(alloc_aligned(count, 0, NULL)));
    most = openings;
    for (unsigned at = 1; at <= most; at++) {
        uintptr_t p = alloc_aligned(count, at, take_the_last_page);

        found += p != 0;
        lost += p == 0;
        EXPECT(served(p) || !map_is_free(place_last));
        if (!map_is_free(place_last))
            mm_pages_free(place_last, 1);
        expect_same();
    }
    EXPECT(found != 0 && lost > 10);
}

#endif

static void exact_place_is_taken_or_refused(void)
{
    uintptr_t at = 0;

    begin();
    at = low + 40 * SH_PAGE_SIZE;
    EXPECT(mm_pages_alloc_at(at, 10));
    model_set(at, 10, false);
    expect_same();
    EXPECT(!mm_pages_alloc_at(at, 10));
    EXPECT(!mm_pages_alloc_at(at - SH_PAGE_SIZE, 2));
    EXPECT(!mm_pages_alloc_at(at + 9 * SH_PAGE_SIZE, 2));
    EXPECT(!mm_pages_alloc_at(0, 1));
    EXPECT(!mm_pages_alloc_at((uintptr_t)0 - SH_PAGE_SIZE, 2));
    EXPECT(!mm_pages_alloc_at(address_of(known) - SH_PAGE_SIZE, 2));
    expect_same();
    EXPECT_EQ(take(40), low);
    EXPECT_EQ(mm_pages_free_below(at, 100), 0);
    give(low, 40);
    EXPECT_EQ(mm_pages_free_below(at, 7), 7);
    EXPECT_EQ(mm_pages_free_below(at, 100), 40);
    give(at, 10);
    EXPECT_WHOLE();
}

/* Ranges of the other two maps: exactly the pages that were named, across chunks too. */
static void released_and_busy_bits_are_exact(void)
{
    uintptr_t base, end;

    begin();
    base = (low | (MM_CHUNK_SIZE - 1)) + 1 - 3 * SH_GRANULE_SIZE;
    base = base < low ? base + MM_CHUNK_SIZE : base;
    for (size_t granules = 1; granules <= 80; granules += 13) {
        size_t count = granules * MM_GRANULE_PAGES;
        end = base + (count << MM_PAGE_SHIFT);
        EXPECT_EQ(mm_pages_released(base, count), count);
        mm_pages_set_released(base, count, false);
        EXPECT_EQ(mm_pages_released(base, count), 0);
        EXPECT_EQ(mm_pages_released(base - SH_PAGE_SIZE, count + 2), 2);
        mm_pages_set_released(base, count, true);
        EXPECT_EQ(mm_pages_released(base, count), count);
        mm_pages_set_busy(base, count, true);
        EXPECT(mm_pages_busy(base, 1) && mm_pages_busy(end - SH_PAGE_SIZE, 1));
        EXPECT(!mm_pages_busy(base - SH_PAGE_SIZE, 1) && !mm_pages_busy(end, 1));
        mm_pages_set_busy(base, count, false);
        EXPECT(!mm_pages_busy(base, count));
    }
    EXPECT_WHOLE();
}

/* The highest idle granules, no more than asked, within one chunk; none taken, none released. */
static void idle_runs_are_found_from_the_top(void)
{
    uintptr_t base = 0, run;

    begin();
    run = mm_align_up(low, SH_GRANULE_SIZE) + 4 * SH_GRANULE_SIZE;
    EXPECT_EQ(idle(UINTPTR_MAX, 100, &base), 0);
    EXPECT_EQ(count_idle(), 0);
    mm_pages_set_released(run, 6 * MM_GRANULE_PAGES, false);
    EXPECT_EQ(count_idle(), 6 * MM_GRANULE_PAGES);
    EXPECT_EQ(idle(UINTPTR_MAX, SIZE_MAX, &base), 6 * MM_GRANULE_PAGES);
    EXPECT_EQ(base, run);
    EXPECT_EQ(idle(UINTPTR_MAX, 2 * MM_GRANULE_PAGES, &base), 2 * MM_GRANULE_PAGES);
    EXPECT_EQ(base, run + 4 * SH_GRANULE_SIZE);
    EXPECT_EQ(idle(base - 1, SIZE_MAX, &base), 4 * MM_GRANULE_PAGES);
    EXPECT_EQ(base, run);
    EXPECT(mm_pages_alloc_at(run + 3 * SH_GRANULE_SIZE, 1));
    EXPECT_EQ(idle(UINTPTR_MAX, SIZE_MAX, &base), 2 * MM_GRANULE_PAGES);
    EXPECT_EQ(idle(base - 1, SIZE_MAX, &base), 3 * MM_GRANULE_PAGES);
    EXPECT_EQ(base, run);
    mm_pages_free(run + 3 * SH_GRANULE_SIZE, 1);
    mm_pages_set_released(run, 6 * MM_GRANULE_PAGES, true);
    EXPECT_WHOLE();
}

static void free_page(void *page)
{
    mm_pages_free(*(uintptr_t *)page, 1);
}

/* Debug builds alone look. */
static void a_free_run_is_not_freed_again(void)
{
    begin();
    if (MM_DEBUG)
        EXPECT(rig_panics(SH_PANIC_CORRUPTION, "assertion failed", free_page, &low));
}

static const struct test tests[] = {
    { "a_free_run_is_not_freed_again", a_free_run_is_not_freed_again },
    { "first_fit_is_exact", first_fit_is_exact },
    { "every_size_can_be_exhausted", every_size_can_be_exhausted },
    { "only_fit_is_found_at_every_bit", only_fit_is_found_at_every_bit },
    { "runs_across_chunks_are_found", runs_across_chunks_are_found },
    { "run_over_three_chunks_is_found", run_over_three_chunks_is_found },
    { "pair_behind_single_holes_is_found", pair_behind_single_holes_is_found },
    { "aligned_runs_are_aligned", aligned_runs_are_aligned },
    { "aligned_run_that_just_fits_is_found", aligned_run_that_just_fits_is_found },
    { "aligned_run_with_just_room_is_found", aligned_run_with_just_room_is_found },
#ifdef HOST_INTERRUPTS
    { "an_exact_fit_is_looked_for_some_places_at_a_time", an_exact_fit_is_looked_for_some_places_at_a_time },
    { "what_comes_free_during_the_search_is_found_or_not", what_comes_free_during_the_search_is_found_or_not },
    { "a_run_that_is_lost_half_way_goes_back", a_run_that_is_lost_half_way_goes_back },
#endif
    { "exact_place_is_taken_or_refused", exact_place_is_taken_or_refused },
    { "released_and_busy_bits_are_exact", released_and_busy_bits_are_exact },
    { "idle_runs_are_found_from_the_top", idle_runs_are_found_from_the_top },
};

SUITE(pages, tests);
