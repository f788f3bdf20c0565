/*
 * Statistics, iteration, the map: read-only walks over all spans, in address order.
 *
 * Nothing is counted on the fast paths.  Live objects are counted from the bits, frees from what the
 * countdowns credited and what they have seen since, and allocations are the sum of both.
 */
#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/collector.h"
#include "mm/grow.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/pages.h"
#include "mm/port.h"
#include "mm/remote.h"
#include "mm/report.h"
#include "mm/scavenge.h"

/* Usable bytes of live objects, by their notes. */
static size_t noted_bytes(const struct mm_span *span, const struct mm_note *notes, uint32_t slots)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < slots; i++) {
        sum += mm_span_is_live(span, i) ? __atomic_load_n(&notes[i].size, __ATOMIC_RELAXED) : 0;
    }
    return sum;
}

/* What a span adds.  Its bits are its CPU's, so no lock would hold them still; slots and notes are of one life of
 * the span, and notes of a length stay notes of that length. */
static void count_span(const struct mm_span *span, struct sh_stats *out)
{
    uint32_t life = __atomic_load_n(&span->state, __ATOMIC_ACQUIRE);
    enum mm_span_state state = (enum mm_span_state)(life & ((1u << MM_SPAN_STATE_BITS) - 1));
    const struct mm_note *notes = span->notes;
    uint32_t slots = span->slots;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (state == MM_SPAN_DEAD || __atomic_load_n(&span->state, __ATOMIC_RELAXED) != life) {
        return;
    }
    size_t held = state == MM_SPAN_SMALL ? mm_span_held(span) + mm_remote_late(span) : 0;
    size_t live = state == MM_SPAN_SMALL ? mm_span_live(span) : 1;
    size_t count = span->page_count;
    live -= held < live ? held : live; /* a handler may have been at work between the two */
    out->spans++;
    out->live_objects += live;
    out->live_bytes += notes == NULL ? live * span->size : noted_bytes(span, notes, slots);
    out->frees += held + mm_cache_uncredited(span);
    count -= mm_dead() ? mm_pages_released(span->base, count) : mm_heap_released(span->base, count);
    out->heap_in_use += count << MM_PAGE_SHIFT;
}

/* The lock of a heap that died may be taken for ever. */
static arch_flags stats_lock(void)
{
    return mm_dead() ? arch_irq_save() : mm_lock(&mm_heap_lock);
}

static void stats_unlock(arch_flags flags)
{
    if (mm_dead()) {
        arch_irq_restore(flags);
    } else {
        mm_unlock(&mm_heap_lock, flags);
    }
}

void sh_stats(struct sh_stats *out)
{
    *out = (struct sh_stats){ 0 };
    if (!mm_mode.started) {
        return;
    }
    uintptr_t at = 0;
    for (const struct mm_span *span; (span = mm_span_next(&at)) != NULL && at != 0;) {
        count_span(span, out);
    }
    arch_flags flags = stats_lock();
    for (unsigned i = 0; i < MM_CPU_RECORDS; i++) {
        out->frees += mm_cpu[i].frees + mm_cpu[i].large_frees;
    }
    if (mm_collector != NULL) {
        out->frees += mm_collector->frees();
    }
    out->mallocs = out->frees + out->live_objects;
    out->heap_sys = mm_heap_counts.owned << MM_PAGE_SHIFT;
    out->heap_released = mm_heap_counts.released << MM_PAGE_SHIFT;
    out->heap_fault = mm_heap_counts.faulted << MM_PAGE_SHIFT;
    size_t used = out->heap_released + out->heap_in_use; /* more than there is: others were at work meanwhile */
    out->heap_free = out->heap_sys > used ? out->heap_sys - used : 0;
    out->meta_bytes = mm_linear_bytes();
    out->table_bytes = mm_budget_tables();
    out->frames_held = mm_budget_held();
    out->arenas = mm_arena_count();
    stats_unlock(flags);
    out->windows = mm_port() == NULL ? 0 : mm_port()->windows();
}

static struct sh_object object_from(const struct mm_view *view)
{
    return (struct sh_object){ view->base, view->size, (enum sh_kind)view->span->kind, view->live,
                               view->note == NULL ? 0 : __atomic_load_n(&view->note->allocated, __ATOMIC_RELAXED) };
}

static bool visit_span(const struct mm_span *span, bool (*visit)(const struct sh_object *, void *),
                       void *arg, size_t *visited)
{
    struct mm_view view;
    for (uint32_t i = 0; i < span->slots; i++) {
        if (!mm_span_view(span->base + span->inset + i * span->size, &view) || view.span != span) {
            return true;
        }
        struct sh_object object = object_from(&view);
        (*visited)++;
        if (!visit(&object, arg)) {
            return false;
        }
    }
    return true;
}

size_t sh_each_object(bool (*visit)(const struct sh_object *, void *arg), void *arg)
{
    size_t visited = 0;
    uintptr_t at = 0;
    for (const struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        if (mm_span_state(span) != MM_SPAN_DEAD && !visit_span(span, visit, arg, &visited)) {
            break;
        }
        if (at == 0) {
            break;
        }
    }
    return visited;
}

bool sh_contains(const void *p)
{
    struct mm_view view;
    return mm_span_view((uintptr_t)p, &view) && view.in_slot;
}

bool sh_object_of(const void *p, struct sh_object *out)
{
    struct mm_view view;
    if (!mm_span_view((uintptr_t)p, &view) || !view.live || (uintptr_t)p - view.base >= view.size) {
        return false;
    }
    if (out != NULL) {
        *out = object_from(&view);
    }
    return true;
}

bool sh_physical(const void *p, sh_paddr *out)
{
    uintptr_t address = (uintptr_t)p;
    const struct sh_port *port = mm_port();
    return mm_mode.started && port != NULL && mm_arena_in_bounds(address) &&
           mm_bit_test(mm_chunk_of(address)->owned, mm_chunk_page(address)) &&
           port->physical(address, out);
}

/* Pages of one chunk, a character for several: the most telling state among them. */
#define MAP_COLUMNS 64
#define MAP_PAGES (MM_CHUNK_PAGES / MAP_COLUMNS)

/* By rank: of several pages the highest is shown. */
static const char marks[] = " x._o+#PL";

static size_t page_rank(const struct mm_chunk *chunk, size_t page, uintptr_t address)
{
    const struct mm_span *span = mm_span_of(address);
    uint32_t live;
    switch (mm_span_state(span)) {
    case MM_SPAN_LARGE:
        return 8;
    case MM_SPAN_PAGES:
        return 7;
    case MM_SPAN_SMALL:
        live = mm_span_live(span);
        return live == 0 ? 4 : live == span->slots ? 6 : 5;
    case MM_SPAN_DEAD:
    case MM_SPAN_STATES:
    default:
        if (!mm_bit_test(chunk->owned, page)) {
            return mm_heap_counts.faulted != 0 && sh_arch_state(address) == SH_FAULT;
        }
        return mm_bit_test(chunk->released, page) ? 2 : 3;
    }
}

static void map_chunk(const struct mm_chunk *chunk, uintptr_t base)
{
    char line[MAP_COLUMNS + 1];
    bool some = false;
    for (size_t column = 0; column < MAP_COLUMNS; column++) {
        size_t best = 0;
        for (size_t i = 0; i < MAP_PAGES; i++) {
            size_t page = column * MAP_PAGES + i;
            size_t rank = page_rank(chunk, page, base + (page << MM_PAGE_SHIFT));
            best = rank > best ? rank : best;
        }
        line[column] = marks[best];
        some |= best != 0;
    }
    line[MAP_COLUMNS] = 0;
    if (some) {
        mm_log("%x|%s|", base, line);
    }
}

void sh_print_map(void)
{
    mm_log("heap map: %z KiB a column; # full + partly free o empty span, L large, P pages,",
           (size_t)(MAP_PAGES << MM_PAGE_SHIFT) >> 10);
    mm_log("          _ free with frames, . free without, x faults, blank not ours");
    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena)) {
        for (size_t i = 0; i < MM_ARENA_CHUNKS; i++) {
            map_chunk(&arena->chunks[i], arena->base + (i << MM_CHUNK_SHIFT));
        }
    }
}
