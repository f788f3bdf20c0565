/*
 * Page runs: allocation with growth and commit, spans over them, give-back (see heap.h).
 *
 * 1. Lock.  The heap lock guards the page allocator and the counters.  It is never held across a call of
 *    the port: a run is taken under it, its granules are marked busy, the port commits with the lock
 *    released, and the result is joined under it again.  Whoever needs a granule that is busy waits.  A run
 *    that is being given back is taken meanwhile, so nobody can be handed it.
 *
 * 2. Commit.  What is committed and counted is always whole granules.  Failure frees the run; nothing
 *    else has changed.
 */
#include "mm/heap.h"

#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/collector.h"
#include "mm/context.h"
#include "mm/fence.h"
#include "mm/grow.h"
#include "mm/guard.h"
#include "mm/kept.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/memory.h"
#include "mm/pages.h"
#include "mm/port.h"
#include "mm/quarantine.h"
#include "mm/report.h"
#include "mm/reserve.h"

struct mm_heap_counts mm_heap_counts;
struct mm_lock mm_heap_lock = MM_LOCK_INIT(MM_RANK_HEAP);
void (*mm_heap_released_probe)(uintptr_t base, size_t count);

/* Under the heap lock; others read the sum without it. */
static void count_spans(size_t pages)
{
    __atomic_store_n(&mm_heap_counts.spans, mm_heap_counts.spans + pages, __ATOMIC_RELAXED);
}

/* Takes a kept run back into the page allocator; false = there is none. */
static bool flush_one_kept(void)
{
    struct mm_span *span = mm_kept_drop();
    if (span != NULL) {
        mm_heap_release(span);
    }
    return span != NULL;
}

/* Takes back a piece of what is cheap to take back, before growth or NULL; true = something came. */
static bool recover(void)
{
    return mm_cache_flush_surplus() || flush_one_kept() ||
           (mm_collector != NULL && mm_context() == SH_THREAD && mm_collector->reclaim());
}

/* Frames from elsewhere, when there are none or the limit is reached: idle ones, also of what was held
 * back, then the kernel's own.  true = some came, or pages.  `asked`: the kernel was asked before. */
static bool relieve(size_t bytes, bool *asked)
{
    if (!mm_may_flush()) {
        return false;
    }
    bool let_go = mm_mode.guarded && mm_quarantine_flush();
    while (recover()) {
    }
    if (mm_heap_scavenge(0) != 0 || let_go) {
        return true;
    }
    bool ask = !*asked && mm_hooks.reclaim != NULL;
    *asked = true;
    return ask && mm_hooks.reclaim(bytes);
}

/* Room for `size` bytes more under the limit, by giving idle frames back if need be. */
static bool afford(size_t size)
{
    if (mm_budget_take(size)) {
        return true;
    }
    bool asked = true;
    return size <= mm_budget_limit() && relieve(size, &asked) && mm_budget_take(size);
}

/* What becomes of a run whose pages are the caller's. */
enum fate {
    LOOKED_AT,
    RETURNED,     /* to the page allocator */
    COMMITTED,    /* by whoever made it busy */
    NOT_COMMITTED,
    DECOMMITTED,
    FAULTED
};

/* Accounts for it, with the lock opened between pieces; the pages of it that had no frame. */
static size_t account(uintptr_t base, size_t count, enum fate fate)
{
    size_t sum = 0;
    for (size_t piece; count != 0; base += piece << MM_PAGE_SHIFT, count -= piece) {
        piece = mm_pages_piece(base, count);
        arch_flags flags = mm_lock(&mm_heap_lock);
        size_t released = fate == RETURNED ? 0 : mm_pages_released(base, piece);
        sum += released;
        switch (fate) {
        case LOOKED_AT:
            break;
        case RETURNED:
            count_spans(-piece);
            mm_pages_free(base, piece);
            break;
        case COMMITTED:
        case NOT_COMMITTED:
            /* A piece that is busy is so through us: it has released pages, and nobody else changes that. */
            if (released != 0) {
                mm_pages_set_busy(base, piece, false);
            }
            if (fate == COMMITTED) {
                mm_pages_set_released(base, piece, false);
                mm_heap_counts.released -= released;
            }
            break;
        case DECOMMITTED:
            mm_pages_set_released(base, piece, true);
            mm_heap_counts.released += piece - released;
            break;
        case FAULTED:
        default:
            mm_pages_disown(base, piece);
            mm_heap_counts.released -= released;
            mm_heap_counts.owned -= piece;
            count_spans(-piece);
            mm_heap_counts.faulted += piece;
            break;
        }
        mm_unlock(&mm_heap_lock, flags);
    }
    return sum;
}

static MM_ONCE void return_run(uintptr_t base, size_t count)
{
    account(base, count, RETURNED);
}

/* Marks a piece of a run busy once nobody else commits its granules, if any of it is released; adds the
 * released pages.  false = refused. */
static bool begin_piece(uintptr_t base, size_t count, size_t *released)
{
    bool may_grow = mm_may_grow();
    for (;;) {
        arch_flags flags = mm_lock(&mm_heap_lock);
        bool busy = mm_pages_busy(base, count);
        size_t here = mm_pages_released(base, count);
        if (!busy && here != 0 && may_grow) {
            mm_pages_set_busy(base, count, true);
        }
        mm_unlock(&mm_heap_lock, flags);
        if (((busy || here != 0) && !may_grow) || (busy && !mm_may_wait())) {
            return false;
        }
        if (!busy) {
            *released += here;
            return true;
        }
        arch_pause();
    }
}

/* Piece by piece, from the lowest address up: who waits for one holds none above it.  false = refused, and
 * none is busy through us. */
static bool begin_commit(uintptr_t base, size_t count, size_t *released)
{
    *released = 0;
    for (size_t done = 0, piece; done < count; done += piece) {
        uintptr_t at = base + (done << MM_PAGE_SHIFT);
        piece = mm_pages_piece(at, count - done);
        if (!begin_piece(at, piece, released)) {
            account(base, done, NOT_COMMITTED);
            return false;
        }
    }
    return true;
}

static bool try_commit(uintptr_t base, size_t count)
{
    size_t released;
    if (!begin_commit(base, count, &released)) {
        return false;
    }
    if (released == 0) {
        return true;
    }
    size_t bytes = released << MM_PAGE_SHIFT;
    bool asked = true, ok = afford(bytes);
    if (ok) {
        ok = mm_port_commit(base, count << MM_PAGE_SHIFT) ||
             (relieve(bytes, &asked) && mm_port_commit(base, count << MM_PAGE_SHIFT));
        if (!ok) {
            mm_budget_give(bytes);
        }
    }
    account(base, count, ok ? COMMITTED : NOT_COMMITTED);
    return ok;
}

MM_CALL bool mm_heap_commit(uintptr_t base, size_t count)
{
    uintptr_t start = mm_align_down(base, SH_GRANULE_SIZE);
    uintptr_t last = base + ((count << MM_PAGE_SHIFT) - 1);
    size_t pages = ((last | (SH_GRANULE_SIZE - 1)) - start + 1) >> MM_PAGE_SHIFT;
    size_t bytes = pages << MM_PAGE_SHIFT;
    for (unsigned tries = 0; !try_commit(start, pages); tries++) {
        /* The kernel has frames to give, but not room under the limit; and it may always say yes. */
        if (tries == MM_RECLAIM_TRIES || !mm_budget_allows(bytes) || !mm_may_grow() ||
            mm_hooks.reclaim == NULL || !mm_hooks.reclaim(bytes)) {
            return false;
        }
    }
    return true;
}

/* Takes the rest of a run, all but its first `done` pages, which are taken; false = somebody else took of it
 * meanwhile, and none is taken. */
static bool take_rest(uintptr_t base, size_t done, size_t count, size_t *released)
{
    for (size_t piece; done < count; done += piece) {
        uintptr_t at = base + (done << MM_PAGE_SHIFT);
        piece = mm_pages_piece(at, count - done);
        arch_flags flags = mm_lock(&mm_heap_lock);
        bool ok = mm_pages_alloc_at(at, piece);
        if (ok) {
            *released += mm_pages_released(at, piece);
            count_spans(piece);
        }
        mm_unlock(&mm_heap_lock, flags);
        if (!ok) {
            return_run(base, done);
            return false;
        }
    }
    return true;
}

/* Takes the first chunk's part of a run that was found, under the same lock; its pages. */
static MM_ONCE size_t take_first(uintptr_t base, size_t count, size_t *released)
{
    size_t piece = mm_pages_piece(base, count);
    mm_pages_take(base, piece);
    *released = mm_pages_released(base, piece);
    count_spans(piece);
    return piece;
}

/* The lowest free run, with the lock opened between its chunks; 0 = none. */
static uintptr_t take_lowest(size_t count, size_t align, size_t *released)
{
    for (;;) {
        arch_flags flags = mm_lock(&mm_heap_lock);
        uintptr_t base = mm_dead() ? 0 : mm_pages_find(count, align);
        size_t piece = base == 0 ? count : take_first(base, count, released);
        mm_unlock(&mm_heap_lock, flags);
        if (piece == count || take_rest(base, piece, count, released)) {
            return base;
        }
    }
}

/* An aligned run where runs only fit exactly, with the lock opened between some places and the next; 0 = none.
 * All that is known from before is where to go on: what is found is looked at, and its first part taken, under one
 * lock.  `from` only rises, so the search ends whatever others take and free meanwhile.  What comes free behind it
 * is not seen, as if it had come free after the search: the caller grows, or says NULL. */
static uintptr_t take_exact(size_t count, size_t align, size_t *released)
{
    uintptr_t from = 0;
    do {
        arch_flags flags = mm_lock(&mm_heap_lock);
        uintptr_t base = mm_dead() ? from = 0 : mm_pages_find_exact(count, align, &from);
        size_t piece = base == 0 ? 0 : take_first(base, count, released);
        mm_unlock(&mm_heap_lock, flags);
        if (base != 0 && take_rest(base, piece, count, released)) {
            return base;
        }
    } while (from != 0);
    return 0;
}

/* A free run, from what is there or from growth. */
static uintptr_t take_run(size_t count, size_t align, size_t *released)
{
    bool may_grow = mm_may_grow(), asked = false;
    for (;;) {
        uintptr_t base = take_lowest(count, align, released);
        if (MM_LIKELY(base != 0) || mm_dead()) {
            return base;
        }
        if (align != 1 && (base = take_exact(count, align, released)) != 0) {
            return base;
        }
        if (recover()) {
            continue;
        }
        if (!may_grow || count > SIZE_MAX - align) {
            return 0;
        }
        if (mm_grow(count + align - 1) != MM_GROWTH_DONE) {
            size_t lacked = mm_linear_lacked();
            if (!relieve(lacked == 0 ? SH_GRANULE_SIZE : lacked, &asked)) {
                return 0;
            }
        }
    }
}

static uintptr_t alloc_run(size_t count, size_t align, enum mm_commit commit, bool *fresh)
{
    size_t released = 0;
    uintptr_t base = take_run(count, align, &released);
    if (base == 0) {
        return 0;
    }
    *fresh = released == count;
    /* Pages that are not released are Ready, and stay so while the run is ours. */
    if (commit == MM_COMMIT_NOW && released != 0 && !mm_heap_commit(base, count)) {
        return_run(base, count);
        return 0;
    }
    return base;
}

/* Makes a report that the kernel may not return from: what the caller holds is given back before. */
static bool report_dirty(const struct mm_dirt *dirt, struct mm_span **descriptor)
{
    uint32_t slots = descriptor == NULL ? 0 : (*descriptor)->slots;
    if (slots != 0) {
        mm_span_recycle(*descriptor);
    }
    mm_guard_run_dirty(dirt);
    return slots == 0 || (*descriptor = mm_heap_descriptor(slots)) != NULL;
}

uintptr_t mm_heap_alloc(size_t count, size_t align, enum mm_commit commit, bool *fresh,
                        struct mm_span **descriptor)
{
    if (count == 0 || count > SIZE_MAX >> (MM_PAGE_SHIFT + 1)) {
        return 0;
    }
    struct mm_dirt dirt;
    uintptr_t base;
    while ((base = alloc_run(count, align, commit, fresh)) != 0 && mm_mode.tier != 0 &&
           !mm_guard_run_taken(base, count, &dirt)) {
        return_run(base, count);
        if (!report_dirty(&dirt, descriptor)) {
            return 0;
        }
    }
    return base;
}

MM_CALL void mm_heap_return(uintptr_t base, size_t count)
{
    return_run(base, count);
}

MM_CALL void mm_heap_free(uintptr_t base, size_t count)
{
    if (mm_mode.tier != 0) {
        mm_guard_run_freed(base, count);
    }
    return_run(base, count);
    if (mm_heap_released_probe != NULL) {
        mm_heap_released_probe(base, count);
    }
}

MM_CALL bool mm_heap_extend(uintptr_t base, size_t count, size_t extra, enum mm_commit commit)
{
    uintptr_t end = base + (count << MM_PAGE_SHIFT);
    size_t released = 0;
    bool ok = end != 0 && end + ((extra << MM_PAGE_SHIFT) - 1) >= end &&
              extra <= __atomic_load_n(&mm_heap_counts.owned, __ATOMIC_RELAXED) &&
              take_rest(end, 0, extra, &released);
    if (ok && commit == MM_COMMIT_NOW && !mm_heap_commit(end, extra)) {
        return_run(end, extra);
        ok = false;
    }
    return ok;
}

size_t mm_heap_released(uintptr_t base, size_t count)
{
    return account(base, count, LOOKED_AT);
}

MM_CALL void mm_heap_decommit(uintptr_t base, size_t count)
{
    size_t committed = count - account(base, count, LOOKED_AT);
    if (committed == 0) {
        return;
    }
    mm_port_decommit(base, count << MM_PAGE_SHIFT);
    mm_budget_give(committed << MM_PAGE_SHIFT);
    account(base, count, DECOMMITTED);
}

void mm_heap_fault(uintptr_t base, size_t count)
{
    mm_port_fault(base, count << MM_PAGE_SHIFT);
    mm_budget_give((count - account(base, count, FAULTED)) << MM_PAGE_SHIFT);
}

struct mm_span *mm_heap_descriptor(uint32_t slots)
{
    bool asked = false;
    struct mm_span *span = mm_span_obtain(slots, mm_may_grow());
    return span == NULL && relieve(SH_GRANULE_SIZE, &asked) ? mm_span_obtain(slots, true) : span;
}

/* Pages and a descriptor for them; 0 = exhausted.  Handlers have a reserve. */
static uintptr_t obtain(size_t count, size_t align, uint32_t slots, bool later, bool *fresh,
                        struct mm_span **span)
{
    uintptr_t base = 0;
    *fresh = false;
    *span = mm_heap_descriptor(slots);
    if (*span != NULL) {
        base = mm_heap_alloc(count, align, later ? MM_COMMIT_LATER : MM_COMMIT_NOW, fresh, span);
    }
    if (base != 0) {
        if (mm_mode.reserves && mm_may_grow()) {
            mm_reserve_fill();
        }
        return base;
    }
    mm_span_recycle(*span);
    if (!mm_mode.reserves || align != 1 || mm_may_grow() || (base = mm_reserve_take(count, span)) == 0) {
        return 0;
    }
    (*span)->slots = (uint16_t)slots;
    if (mm_mode.tier >= 2 && !mm_guard_equip(*span, false)) {
        mm_span_recycle(*span);
        return_run(base, count);
        return 0;
    }
    return base;
}

struct mm_span *mm_heap_span_small(unsigned class, enum sh_kind kind)
{
    const struct mm_class *info = &mm_class[class];
    struct mm_span *span;
    bool fresh;
    /* What other classes emptied comes first: or every class would keep its own peak. */
    mm_cache_flush_surplus();
    uintptr_t base = obtain(info->pages, 1, info->slots, mm_mode.demand, &fresh, &span);
    if (base == 0) {
        return NULL;
    }
    if (mm_mode.tier != 0) {
        mm_guard_fill(base, info->pages);
    }
    mm_span_open_small(span, base, class, kind);
    return span;
}

struct mm_span *mm_heap_span_large(size_t page_count, size_t align, enum mm_span_state state)
{
    struct mm_span *span;
    bool fresh;
    uintptr_t base =
        obtain(page_count, align, 1, mm_mode.demand && state == MM_SPAN_LARGE, &fresh, &span);
    if (base == 0) {
        return NULL;
    }
    mm_span_open_large(span, base, page_count, state);
    span->flags = fresh ? MM_SPAN_FRESH : 0;
    return span;
}

void mm_heap_release(struct mm_span *span)
{
    uintptr_t base = span->base;
    size_t count = span->page_count;
    mm_span_close(span);
    mm_span_recycle(span);
    mm_heap_free(base, count);
}

/* Committed pages in no span. */
static size_t idle_pages(void)
{
    size_t idle = 0;
    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena)) {
        arch_flags flags = mm_lock(&mm_heap_lock);
        idle += mm_pages_count_idle(arena);
        mm_unlock(&mm_heap_lock, flags);
    }
    return idle;
}

/* One idle run at or below *last, taken while the port works on it.  Returns the pages given back. */
static size_t scavenge_run(uintptr_t *last, size_t most)
{
    uintptr_t base = 0;
    size_t count = 0;
    arch_flags flags;
    while (count == 0 && mm_pages_below(last)) {
        flags = mm_lock(&mm_heap_lock);
        count = mm_pages_idle(last, most, &base);
        if (count != 0) {
            mm_pages_take(base, count);
        }
        mm_unlock(&mm_heap_lock, flags);
    }
    if (count == 0) {
        return 0;
    }
    mm_port_decommit(base, count << MM_PAGE_SHIFT);
    mm_budget_give(count << MM_PAGE_SHIFT);
    flags = mm_lock(&mm_heap_lock);
    mm_pages_set_released(base, count, true);
    mm_pages_set_filled(base, count, false);
    mm_heap_counts.released += count;
    mm_pages_free(base, count);
    mm_unlock(&mm_heap_lock, flags);
    return count;
}

MM_CALL size_t mm_heap_scavenge(size_t keep)
{
    size_t idle = idle_pages(), keep_pages = keep >> MM_PAGE_SHIFT, done = 0;
    uintptr_t last = UINTPTR_MAX;
    while (idle > keep_pages + done) {
        size_t most = mm_align_up(idle - keep_pages - done, MM_GRANULE_PAGES);
        size_t committed = scavenge_run(&last, most);
        if (committed == 0) {
            break;
        }
        done += committed;
    }
    return done << MM_PAGE_SHIFT;
}

void mm_heap_unreserve(void)
{
    mm_grow_release();
    mm_linear_release();
}

/* What the maps of all chunks say about their pages. */
struct recount {
    size_t owned, taken, released, kept;
    int faults;
};

/* What is wrong with an owned page and the span that the page map names for it; NULL = nothing. */
static const char *page_fault(uintptr_t at, bool taken, bool released, const struct mm_span *span)
{
    if (span == &mm_span_dummy) {
        return taken ? "taken page in no span" : NULL;
    }
    if ((span->flags & MM_SPAN_FAULTED) != 0 && mm_linear_contains(span, sizeof *span)) {
        return sh_arch_state(at) == SH_FAULT ? NULL : "page of a faulted object";
    }
    if (!taken || !mm_arena_in_bounds(at)) {
        return "free page in the page map";
    }
    if (!mm_linear_contains(span, sizeof *span)) {
        return "page map outside the metadata";
    }
    if (at - span->base >= mm_span_bytes(span) || (span->base & (SH_PAGE_SIZE - 1)) != 0) {
        return "page not in its span";
    }
    bool live = mm_span_state(span) != MM_SPAN_DEAD;
    return live && released && !mm_mode.demand ? "page of a span is released" : NULL;
}

/* Adds a page up; its maps, its span and the page tables behind it against each other. */
static void recount_page(const struct mm_chunk *chunk, uintptr_t at, struct recount *sum)
{
    size_t page = mm_chunk_page(at);
    bool owned = mm_bit_test(chunk->owned, page);
    bool taken = owned && mm_bit_test(chunk->taken, page);
    bool released = mm_bit_test(chunk->released, page);
    const struct mm_span *span = mm_span_of(at);
    const char *fault = page_fault(at, taken, released, span);
    sum->owned += owned;
    sum->taken += taken;
    sum->released += released;
    sum->kept += owned && fault == NULL && span != &mm_span_dummy && mm_span_state(span) == MM_SPAN_DEAD;
    for (size_t part = 0; owned && fault == NULL && part < SH_PAGE_SIZE; part += SH_ARCH_PAGE_SIZE) {
        if (sh_arch_state(at + part) != (released ? SH_PREPARED : SH_READY)) {
            fault = "page state";
            at += part;
        }
    }
    if (fault != NULL) {
        sum->faults += mm_fault_found(fault, at);
    }
}

static int dead_verify(void)
{
    size_t pages = mm_quarantine_pages() + mm_fence_dead_pages() + mm_reserve_pages();
    int faults = mm_kept_verify(&pages);
    return faults + mm_verify_equal("pages in kept runs", pages, mm_heap_counts.kept);
}

int mm_heap_verify(void)
{
    struct recount sum = { .faults = dead_verify() };
    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena)) {
        for (size_t i = 0; i < MM_ARENA_PAGES; i++) {
            uintptr_t at = arena->base + (i << MM_PAGE_SHIFT);
            recount_page(mm_chunk_of(at), at, &sum);
        }
    }
    int faults = sum.faults + mm_verify_equal("pages", sum.owned, mm_heap_counts.owned);
    faults += mm_verify_equal("pages released", sum.released, mm_heap_counts.released);
    faults += mm_verify_equal("pages in spans", sum.taken, mm_heap_counts.spans);
    faults += mm_verify_equal("pages of dead spans", sum.kept, mm_heap_counts.kept);
    size_t held = ((sum.owned - sum.released) << MM_PAGE_SHIFT) + mm_linear_bytes() + mm_budget_tables();
    return faults + mm_verify_equal("bytes of frames", held, mm_budget_held());
}

void mm_heap_reset(void)
{
    mm_heap_counts = (struct mm_heap_counts){ 0 };
    mm_lock_reset(&mm_heap_lock);
    mm_heap_released_probe = NULL;
}
