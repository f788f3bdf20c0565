/*
 * What must hold of a state: sh_verify's view, the model's own, and what can still be done from there.
 */
#include "kernel-test/model/model.h"

#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/pages.h"

#include <string.h>

static bool bit(uintptr_t at, size_t map)
{
    const uintptr_t *bits = (const uintptr_t *)((uintptr_t)mm_chunk_of(at) + map);
    return mm_bit_test(bits, mm_chunk_page(at));
}

#define BIT(at, map) bit(at, offsetof(struct mm_chunk, map))

void check_run(uintptr_t base, size_t pages, size_t align, bool eager)
{
    if (base == 0 || (base & ((align << MM_PAGE_SHIFT) - 1)) != 0 ||
        base + (pages << MM_PAGE_SHIFT) - 1 < base || base + (pages << MM_PAGE_SHIFT) == 0) {
        violated("a run is not aligned, or wraps", base);
    }
    for (size_t i = 0; i < pages; i++) {
        uintptr_t at = base + (i << MM_PAGE_SHIFT);
        unsigned unit = unit_of(at);
        if (unit == UNITS_MAX || unit_is_meta(unit) ||
            (shadow.state[unit] != SH_READY && (eager || shadow.state[unit] != SH_PREPARED))) {
            violated(eager ? "a run is not Ready heap memory" : "a run is not mapped heap memory", at);
        }
    }
    unsigned first = page_of(base), left = 0;
    for (unsigned page = 0; page < first + pages; page++, left -= left != 0) {
        left = shadow.run[page] != 0 ? shadow.run[page] : left;
        if (page >= first && left != 0) {
            violated("two runs overlap", page_address(page));
        }
    }
}

bool check_possible(size_t pages, size_t align)
{
    for (unsigned page = 0; page < page_count; page++) {
        uintptr_t base = page_address(page);
        size_t found = 0;
        for (uintptr_t at = base; found < pages && unit_of(at) < unit_count &&
             ((BIT(at, owned) && !BIT(at, taken)) || at - current.base < current.size); at += SH_PAGE_SIZE) {
            found++;
        }
        if (found == pages && (base & ((align << MM_PAGE_SHIFT) - 1)) == 0) {
            return true;
        }
    }
    return false;
}

/* Every unit belongs to exactly one: nobody, the metadata, the remainder, the page allocator, and its
 * state is what its owner believes. */
static void check_units(void)
{
    size_t owned = 0, released = 0;
    if (((current.base | current.size) & (SH_GRANULE_SIZE - 1)) != 0 ||
        (current.size != 0 && (current.base == 0 || current.base + current.size <= current.base))) {
        violated("the remainder is not a range of granules", current.base);
    }
    for (unsigned unit = 0; unit < unit_count; unit++) {
        uintptr_t at = unit_address[unit];
        enum sh_state state = (enum sh_state)shadow.state[unit];
        bool rest = at - current.base < current.size, mine = BIT(at, owned);
        bool last = at + SH_GRANULE_SIZE == 0 && state == SH_RESERVED;
        int owners = (state == SH_NONE) + unit_is_meta(unit) + rest + mine;
        if (owners != 1 && !(owners == 0 && last)) {
            violated(owners == 0 ? "address space is lost" : "address space has two owners", at);
        }
        if (rest && state != SH_RESERVED) {
            violated("the remainder is not in the state that it should be", at);
        }
        for (size_t i = 0; i < UNIT_PAGES && mine; i++) {
            uintptr_t page = at + i * SH_PAGE_SIZE;
            owned++;
            released += BIT(page, released);
            if (state != (BIT(page, released) ? SH_PREPARED : SH_READY) || !mm_arena_in_bounds(page)) {
                violated("a heap page is not in the state that it should be", page);
            }
        }
    }
    if (owned != mm_heap_counts.owned || released != mm_heap_counts.released) {
        violated("the counters do not say how many pages there are", 0);
    }
}

/* Taken is what the caller has, and what is kept for it. */
static void check_pages(void)
{
    unsigned left = 0, pages = page_count;
    for (unsigned page = 0; page < pages; page++, left -= left != 0) {
        uintptr_t at = page_address(page);
        left = shadow.run[page] != 0 ? shadow.run[page] : left;
        const struct mm_span *span = mm_span_of(at);
        bool in_span = span != &mm_span_dummy, live = in_span && mm_span_state(span) != MM_SPAN_DEAD;
        if (live != (left != 0) || in_span != (BIT(at, owned) && BIT(at, taken))) {
            violated("a page is taken for nobody, or free and in use", at);
        }
    }
}

/* With the kernel willing but no address space more, all that is reserved can be had. */
static void check_drain(void)
{
    bool fresh;
    mm_budget_set_limit(0);
    while (mm_heap_alloc(1, 1, MM_COMMIT_NOW, &fresh, NULL) != 0) {
    }
    for (unsigned unit = 0; unit < unit_count; unit++) {
        uintptr_t at = unit_address[unit];
        bool last = at + SH_GRANULE_SIZE == 0;
        for (size_t i = 0; i < UNIT_PAGES; i++, at += SH_PAGE_SIZE) {
            if (shadow.state[unit] != SH_NONE && !unit_is_meta(unit) && !last &&
                !(BIT(at, owned) && BIT(at, taken))) {
                violated("a reserved page can never be used", at);
            }
        }
    }
}

static void check_end(void)
{
    memset(shadow.run, 0, sizeof shadow.run);
    shadow.donated = scope->answers == WINDOWS ? 0 : UINT32_MAX;
    memset(shadow.is_object, 0, sizeof shadow.is_object);
    if (sh_shutdown() != SH_OK) {
        violated("no shutdown", 0);
    }
    heap_open();
    if (!image_is_base()) {
        violated("a shutdown leaves something behind", 0);
    }
}

void check_state(void)
{
    port_run = (struct port_run){ .annex = true, .serve = true };
    int faults = sh_verify();
    if (faults != 0) {
        violated("sh_verify", (uintptr_t)faults);
    }
    port_probe();
    check_units();
    check_pages();
    check_drain();
    check_end();
}
