/*
 * Growth: reserve much, map a chunk at a time, publish last.
 *
 * 1. `current` is the reserved remainder: address space that is ours, in no statistic, with no page
 *    table behind it.  When it cannot serve a request, more is reserved with the hint at its end, at
 *    least MM_RESERVE, halved on refusal down to what is asked.
 *
 * 2. What comes back at the hint extends the remainder.  What comes back elsewhere, higher or lower,
 *    replaces it; before that the old remainder is published whole, so that no window is ever left
 *    partly unused.  If that fails the remainder stays and the new range is released as it came.
 *
 * 3. publish() is the one way in.  Its order is the point: records and tree for the range, then leaf
 *    tables, then the bounds, the counters and the page allocator.  A pointer query at any moment finds
 *    either the dummy or a complete record.  `current` moves only when all of that is done, so a failure
 *    at any step leaves a range that the next growth takes up where this one stopped.  Mapping is the
 *    last step that can fail, and does all or nothing: so nothing is mapped twice.
 *
 * 4. A range is taken only while there is address space for the records that will describe it: otherwise
 *    it goes back, and records come first.
 *
 * One grower at a time: `growing` is claimed under the arena lock, and the port is called with the lock
 * released.  Others wait and then look whether the pages they need have come.
 */
#include "mm/grow.h"

#include "mm/arena.h"
#include "mm/budget.h"
#include "mm/context.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/pages.h"
#include "mm/port.h"
#include "mm/report.h"

/* Address space as the port gave it: released exactly so. */
struct range {
    struct range *next;
    uintptr_t base;
    size_t size;
    size_t unused; /* at its end: the granule that ends at 2^32, where an object's end would be 0 */
};

#define PAGES_AT_ONCE 64 /* counted under one lock */

static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_ARENA);
static bool growing;
static size_t room_lacked; /* address space for records that a range was refused for */
static struct range *ranges;
static struct mm_fixed range_records = { .size = sizeof(struct range) };
/* What adopt() works on, in no list yet: records that it needs must not be given the same. */
static uintptr_t offered_base;
static size_t offered_size;
/* The grower's alone. */
static struct {
    uintptr_t base;
    size_t size;
} current;

static bool claim(void)
{
    arch_flags flags = mm_lock(&lock);
    bool mine = !__atomic_load_n(&growing, __ATOMIC_ACQUIRE);
    if (mine) { /* or it might end between the look and the store */
        __atomic_store_n(&growing, true, __ATOMIC_RELAXED);
    }
    mm_unlock(&lock, flags);
    return mine;
}

/* At least `ask` bytes, more if they are to be had.  With `align` a chunk first, so that a chunk's tables
 * serve one range; where that is refused, any place. */
static uintptr_t reserve_range(uintptr_t hint, size_t ask, size_t align, size_t *size)
{
    uintptr_t base = 0;
    for (*size = ask > MM_RESERVE ? ask : MM_RESERVE;; *size >>= 1) {
        *size = *size < ask ? ask : mm_align_down(*size, SH_GRANULE_SIZE);
        base = mm_port_reserve(hint, *size, align);
        if (base == 0 && align != SH_GRANULE_SIZE) {
            base = mm_port_reserve(hint, *size, SH_GRANULE_SIZE);
        }
        if (base != 0 || *size == ask) {
            break;
        }
    }
    return base;
}

/* Records and tree, then leaf tables. */
static bool prepare(uintptr_t base, size_t size)
{
    return mm_arena_ensure(base, base + (size - 1)) && mm_pages_reach(base) && mm_port_map(base, size);
}

/* Makes the first `size` bytes of the remainder, inside one chunk, known to the page allocator. */
static bool publish(size_t size)
{
    uintptr_t base = current.base;
    size_t pages = size >> MM_PAGE_SHIFT;
    if (!prepare(base, size)) {
        return false;
    }
    arch_flags flags = mm_lock(&mm_heap_lock);
    mm_arena_widen(base, base + (size - 1));
    mm_heap_counts.owned += pages;
    mm_heap_counts.released += pages;
    mm_pages_insert(base, pages);
    mm_unlock(&mm_heap_lock, flags);
    current.base += size;
    current.size -= size;
    return true;
}

/* Publishes at least `bytes` of the remainder, or all of it, a chunk at a time. */
static bool publish_chunks(size_t bytes)
{
    for (size_t done = 0; done < bytes && current.size != 0;) {
        size_t piece = MM_CHUNK_SIZE - (current.base & (MM_CHUNK_SIZE - 1));
        piece = piece < current.size ? piece : current.size;
        if (!publish(piece)) {
            return false;
        }
        done += piece;
    }
    return true;
}

static bool range_remember(uintptr_t base, size_t size, size_t unused)
{
    struct range *range = mm_fixed_obtain(&range_records, true);
    if (range == NULL) {
        return false;
    }
    range->base = base;
    range->size = size;
    range->unused = unused;
    range->next = ranges;
    __atomic_store_n(&ranges, range, __ATOMIC_RELEASE);
    return true;
}

static bool adopt_offered(uintptr_t base, size_t size)
{
    bool extends = base == current.base + current.size;
    if (!extends && !publish_chunks(current.size)) {
        return false;
    }
    size_t unused = base + size == 0 ? SH_GRANULE_SIZE : 0;
    room_lacked = size / MM_META_SHARE + 2 * sizeof(struct mm_arena);
    if (!mm_linear_ensure_room(room_lacked)) {
        return false;
    }
    room_lacked = MM_META_FIRST;
    if (!mm_arena_ensure(base, base) || !mm_pages_reach(base) || !range_remember(base, size, unused)) {
        return false;
    }
    room_lacked = 0;
    if (!extends) {
        current.base = base;
        current.size = 0;
    }
    current.size += size - unused;
    return true;
}

/* Takes a reserved range as, or into, the remainder.  false = it is to be released. */
static bool adopt(uintptr_t base, size_t size)
{
    offered_base = base;
    offered_size = size;
    bool ok = adopt_offered(base, size);
    offered_size = 0;
    return ok;
}

bool mm_grow_overlaps(uintptr_t base, size_t size)
{
    const struct range *range = __atomic_load_n(&ranges, __ATOMIC_ACQUIRE);
    while (range != NULL && !mm_ranges_meet(base, size, range->base, range->size)) {
        range = range->next;
    }
    return range != NULL || mm_ranges_meet(base, size, offered_base, offered_size);
}

/* Makes at least `ask` bytes at the remainder's end part of it, or `need` bytes elsewhere the remainder. */
static bool reserve_more(size_t ask, size_t need, size_t align)
{
    size_t size;
    uintptr_t end = current.base + current.size;
    uintptr_t base = reserve_range(end, ask, align, &size);
    if (base == 0) {
        return false;
    }
    if ((base == end || size >= need) && adopt(base, size)) {
        return true;
    }
    mm_port_release(base, size);
    return false;
}

/* What the remainder lacks of `rest` bytes, behind it, or `need` bytes elsewhere. */
static bool extend(size_t rest, size_t need)
{
    return current.base + current.size != 0 && reserve_more(rest - current.size, need, SH_GRANULE_SIZE);
}

/* What `need` bytes lack, given the free pages that end where the remainder begins, with the lock opened between
 * some and the next. */
static size_t lacking(size_t need)
{
    size_t most = (need >> MM_PAGE_SHIFT) - MM_GRANULE_PAGES, below = 0, found;
    do {
        arch_flags flags = mm_lock(&mm_heap_lock);
        found = mm_pages_free_below(current.base - (below << MM_PAGE_SHIFT),
                                    most - below < PAGES_AT_ONCE ? most - below : PAGES_AT_ONCE);
        mm_unlock(&mm_heap_lock, flags);
        below += found;
    } while (found == PAGES_AT_ONCE);
    return mm_align_up(need - (below << MM_PAGE_SHIFT), SH_GRANULE_SIZE);
}

static bool grow_once(size_t need)
{
    size_t rest = lacking(need);
    uintptr_t base = current.base;
    if (current.size >= rest || extend(rest, need)) {
        return publish_chunks(current.base == base ? rest : need);
    }
    if (reserve_more(need, need, MM_CHUNK_SIZE)) {
        return publish_chunks(need);
    }
    /* No address space: what is left may do, with free pages above it, or where an alignment fits. */
    return current.size != 0 && publish_chunks(current.size);
}

static bool grow(size_t need)
{
    unsigned refusals = mm_linear_refusals();
    room_lacked = 0;
    mm_linear_forget_lacked();
    if (grow_once(need)) {
        return true;
    }
    /* The heap's reservation may have left no address space for its own records: records first. */
    return mm_linear_refusals() != refusals && room_lacked != 0 && mm_linear_ensure_room(room_lacked) &&
           grow_once(need);
}

enum mm_growth mm_grow(size_t pages)
{
    if (!claim()) {
        arch_pause();
        return mm_may_wait() ? MM_GROWTH_DONE : MM_GROWTH_FAILED;
    }
    bool ok = pages <= SIZE_MAX >> (MM_PAGE_SHIFT + 1) &&
              grow(mm_align_up(pages << MM_PAGE_SHIFT, SH_GRANULE_SIZE));
    __atomic_store_n(&growing, false, __ATOMIC_RELEASE);
    return ok ? MM_GROWTH_DONE : MM_GROWTH_FAILED;
}

void mm_grow_release(void)
{
    for (struct range *range = ranges; range != NULL; range = range->next) {
        mm_port_release(range->base, range->size);
    }
}

int mm_grow_verify(void)
{
    size_t known = ((mm_heap_counts.owned + mm_heap_counts.faulted) << MM_PAGE_SHIFT) + current.size;
    size_t reserved = 0;
    for (const struct range *range = ranges; range != NULL; range = range->next) {
        if (!mm_linear_contains(range, sizeof *range)) {
            return mm_fault_found("reserved range outside the metadata", (uintptr_t)range);
        }
        reserved += range->size - range->unused;
        if (reserved > known) {
            break;
        }
    }
    int faults = mm_verify_equal("address space", reserved, known);
    if (current.size != 0 && sh_arch_state(current.base) != SH_RESERVED) {
        faults += mm_fault_found("remainder is not Reserved", current.base);
    }
    return faults;
}

void mm_grow_reset(void)
{
    growing = false;
    mm_lock_reset(&lock);
    room_lacked = offered_size = 0;
    ranges = NULL;
    range_records.first = NULL;
    current.base = current.size = 0;
}
