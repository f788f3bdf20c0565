/*
 * Tiers (see guard.h): fills, red zones, notes, and the ways of an object through a guarded heap.
 *
 * 1. The fill.  From tier 1 every free slot holds the fill byte, and so does every free page that has a
 *    frame and was ever in a span; such pages have their `filled` bit set while they are free.  A slot is
 *    checked when it is taken, a page when its run is.  What was written is kept for the report, the
 *    memory is filled anew and given back, then the report is made, then the allocation starts over: so a
 *    panic hook that never returns loses nothing.  With `zero` the fill byte is 0.
 *
 * 2. The red zone.  From tier 2 an object of n bytes is given a slot of at least n + MM_RED_ZONE, and all
 *    of the slot behind byte n is filled.  It is checked when the object is freed, resized, or verified,
 *    and the one before it too: what a write below an object spoils is its neighbour's.
 *
 * 3. Alignment.  sh_malloc promises the alignment of the size class that the size has without a zone.
 *
 * Object memory is filled and checked with no lock held and interrupts as the caller has them, while the
 * slot is the caller's: before a free sets its bit, after an allocation cleared it.
 */
#include "mm/guard.h"

#include "mm/cache.h"
#include "mm/collector.h"
#include "mm/context.h"
#include "mm/fence.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/malloc.h"
#include "mm/memory.h"
#include "mm/misuse.h"
#include "mm/pages.h"
#include "mm/quarantine.h"
#include "mm/report.h"

/* Notes are lists by the number of slots, as many as there are numbers. */
static struct mm_fixed notes[MM_CLASSES];
static unsigned notes_lists;

static struct mm_fixed *notes_for(uint32_t slots)
{
    size_t size = slots * sizeof(struct mm_note);
    for (unsigned i = 0; i < notes_lists; i++) {
        if (notes[i].size == size) {
            return &notes[i];
        }
    }
    notes[notes_lists].size = size;
    return &notes[notes_lists++];
}

MM_CALL bool mm_guard_equip(struct mm_span *span, bool may_grow)
{
    arch_flags flags = mm_lock(&mm_heap_lock);
    struct mm_fixed *list = notes_for(span->slots);
    mm_unlock(&mm_heap_lock, flags);
    struct mm_note *array = mm_fixed_obtain(list, may_grow);
    if (array != NULL) {
        memset(array, 0, list->size);
        span->notes = array;
    }
    return array != NULL;
}

void mm_guard_strip(struct mm_span *span)
{
    arch_flags flags = mm_lock(&mm_heap_lock);
    struct mm_fixed *list = notes_for(span->slots);
    mm_unlock(&mm_heap_lock, flags);
    mm_fixed_recycle(list, span->notes);
    span->notes = NULL;
}

static MM_ONCE uint8_t freed_fill(void)
{
    return mm_mode.zero ? 0 : MM_FILL_FREED;
}

/* Finds what is not as it was filled in [base, base + size); false = nothing. */
static bool find_dirt(uintptr_t base, size_t size, struct mm_dirt *dirt)
{
    uintptr_t end = base + size, at = mm_memory_differs(base, size, freed_fill());
    uintptr_t page_end = mm_align_down(at, SH_PAGE_SIZE) + SH_PAGE_SIZE;
    dirt->at = at;
    end = end < page_end ? end : page_end;
    for (dirt->count = 0; at < end && dirt->count < sizeof dirt->bytes; at++) {
        dirt->bytes[dirt->count++] = *(const uint8_t *)at;
    }
    return dirt->count != 0;
}

static void report_dirt(const struct mm_dirt *dirt, const struct mm_span *span, uint32_t index)
{
    char what[100], bytes[8 * 5 + 1];
    size_t length = 0;
    for (size_t i = 0; i < dirt->count; i++) {
        length += mm_format(bytes + length, sizeof bytes - length, " %x", (uintptr_t)dirt->bytes[i]);
    }
    what[0] = 0;
    if (span != NULL) {
        uintptr_t base = span->base + index * span->size;
        size_t used = mm_format(what, sizeof what, ": %z bytes into a free %z-byte slot at %x",
                                dirt->at - base, span->size, base);
        if (span->notes != NULL && span->notes[index].freed != 0) {
            mm_format(what + used, sizeof what - used, ", freed at %x", span->notes[index].freed);
        }
    }
    mm_misuse("write after free at %x%s; bytes:%s", dirt->at, what, bytes);
}

bool mm_guard_run_taken(uintptr_t base, size_t count, struct mm_dirt *dirt)
{
    struct mm_dirt found;
    dirt->count = 0;
    for (size_t i = 0; i < count; i++) {
        uintptr_t at = base + (i << MM_PAGE_SHIFT);
        arch_flags flags = mm_lock(&mm_heap_lock); /* the bits beside it are other CPUs' */
        bool filled = mm_bit_test(mm_chunk_of(at)->filled, mm_chunk_page(at));
        mm_unlock(&mm_heap_lock, flags);
        if (filled && find_dirt(at, SH_PAGE_SIZE, &found)) {
            *dirt = dirt->count == 0 ? found : *dirt;
            mm_memory_fill(at, SH_PAGE_SIZE, freed_fill());
        }
    }
    if (dirt->count != 0) {
        return false;
    }
    for (size_t piece; count != 0; base += piece << MM_PAGE_SHIFT, count -= piece) {
        piece = mm_pages_piece(base, count);
        arch_flags flags = mm_lock(&mm_heap_lock);
        mm_pages_set_filled(base, piece, false);
        mm_unlock(&mm_heap_lock, flags);
    }
    return true;
}

MM_CALL void mm_guard_run_dirty(const struct mm_dirt *dirt)
{
    report_dirt(dirt, NULL, 0);
}

void mm_guard_fill(uintptr_t base, size_t count)
{
    mm_memory_fill(base, count << MM_PAGE_SHIFT, freed_fill());
}

void mm_guard_run_freed(uintptr_t base, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uintptr_t at = base + (i << MM_PAGE_SHIFT);
        arch_flags flags = mm_lock(&mm_heap_lock);
        if (mm_pages_released(at, 1) == 0) {
            mm_pages_set_filled(at, 1, true);
        }
        mm_unlock(&mm_heap_lock, flags);
    }
}

/* Where the memory of a slot, or of a large object, ends. */
static uintptr_t slot_end(const struct mm_span *span, uint32_t index)
{
    return span->inset != 0 || span->slots == 1 ? span->base + mm_span_bytes(span)
                                                : span->base + (index + 1) * span->size;
}

/* Under the cache's lock: whoever holds it may rely on a size and the zone behind it. */
static void set_noted(const struct mm_span *span, uint32_t index, size_t size)
{
    struct mm_cpu *cpu;
    arch_flags flags = mm_cache_enter(&cpu);
    __atomic_store_n(&span->notes[index].size, size, __ATOMIC_RELAXED);
    mm_cache_leave(flags);
}

/* The zone before the size: a handler that frees the neighbour holds one against the other. */
static void note_size(const struct mm_span *span, uint32_t index, uintptr_t base, size_t size)
{
    size += size == 0;
    mm_memory_fill(base + size, slot_end(span, index) - (base + size), MM_FILL_ZONE);
    set_noted(span, index, size);
}

MM_CALL void mm_guard_placed(struct mm_span *span, uint32_t index, size_t size, uintptr_t site)
{
    if (span->notes != NULL) {
        __atomic_store_n(&span->notes[index].allocated, site, __ATOMIC_RELAXED);
        span->notes[index].freed = 0;
        note_size(span, index, span->base + span->inset + index * span->size, size);
    }
}

MM_CALL void mm_guard_resized(const struct mm_view *view, size_t size)
{
    if (view->span->notes != NULL) {
        note_size(view->span, view->index, view->base, size);
    }
}

static size_t noted(const struct mm_span *span, uint32_t index)
{
    return __atomic_load_n(&span->notes[index].size, __ATOMIC_RELAXED);
}

/* The first byte of an object's red zone that was written to; 0 = none was.  A slot on its way from free
 * to live or back has none: the code that was interrupted is at work in it. */
static uintptr_t zone_broken(const struct mm_span *span, uint32_t index, size_t size)
{
    if (size == 0) {
        return 0;
    }
    uintptr_t base = span->base + span->inset + index * span->size;
    uintptr_t start = base + size, end = slot_end(span, index);
    uintptr_t at = mm_memory_differs(start, end - start, MM_FILL_ZONE);
    return at == end ? 0 : at;
}

/* A broken zone is looked at again under the lock: the neighbour may be another CPU's, and on its way.  What
 * is found there is mended, or the neighbour's free would tell it again.  false = all is well. */
static bool confirm(const struct mm_span *span, uint32_t index, size_t size, uintptr_t at, uintptr_t *found)
{
    struct mm_cpu *cpu;
    arch_flags flags = mm_cache_enter(&cpu);
    *found = *(const volatile uint8_t *)at;
    bool broken = noted(span, index) == size && *found != MM_FILL_ZONE;
    if (broken) {
        mm_memory_fill(at, slot_end(span, index) - at, MM_FILL_ZONE);
    }
    mm_cache_leave(flags);
    return broken;
}

static void check_zone(const char *caller, const struct mm_view *view, uint32_t index)
{
    const struct mm_span *span = view->span;
    size_t size = noted(span, index);
    uintptr_t at = zone_broken(span, index, size), found;
    if (at == 0 || !confirm(span, index, size, at, &found)) {
        return;
    }
    uintptr_t base = span->base + span->inset + index * span->size;
    mm_misuse("%s(%x): written past the end of %s%z-byte object at %x: byte %z is %x; allocated at %x",
              caller, view->base, index == view->index ? "this " : "the ", size, base, at - base,
              found, span->notes[index].allocated);
}

MM_CALL void mm_guard_check_zone(const char *caller, const struct mm_view *view)
{
    if (view->span->notes == NULL) {
        return;
    }
    check_zone(caller, view, view->index);
    if (view->index > 0) {
        check_zone(caller, view, view->index - 1);
    }
}

MM_CALL size_t mm_natural_align(size_t size)
{
    if (size > MM_CLASS_LIMIT) {
        return SH_PAGE_SIZE;
    }
    size_t slot = mm_class_size(mm_class_of(size == 0 ? 1 : size));
    size_t align = slot & ~(slot - 1);
    return align < SH_PAGE_SIZE ? align : SH_PAGE_SIZE;
}

MM_CALL bool mm_guard_slot_dirty(struct mm_span *span, uint32_t index, struct mm_dirt *dirt)
{
    uintptr_t base = span->base + index * span->size;
    if (mm_mode.tier == 0 || mm_span_state(span) != MM_SPAN_SMALL || !find_dirt(base, span->size, dirt)) {
        return false;
    }
    mm_memory_fill(base, span->size, freed_fill());
    return true;
}

MM_CALL void mm_guard_slot_report(const struct mm_dirt *dirt, struct mm_span *span, uint32_t index)
{
    report_dirt(dirt, span, index);
}

/* Is the slot that was taken as its free left it?  If not it is given back, and reported. */
static bool slot_is_clean(struct mm_span *span, uint32_t index)
{
    struct mm_dirt dirt;
    if (!mm_guard_slot_dirty(span, index, &dirt)) {
        return true;
    }
    mm_slot_release(span, index);
    report_dirt(&dirt, span, index);
    return false;
}

/* A slot or a run for `room` bytes; *span and *index say which. */
static bool place(size_t room, size_t align, struct mm_span **span, uint32_t *index)
{
    do {
        uintptr_t base = (uintptr_t)mm_malloc_aligned(room, align);
        if (base == 0) {
            return false;
        }
        *span = mm_span_of(base);
        *index = base == (*span)->base ? 0 : mm_span_index(*span, base);
    } while (!slot_is_clean(*span, *index));
    return true;
}

void *mm_guard_malloc(size_t size, size_t align, uintptr_t site)
{
    size_t room = size + (mm_mode.tier >= 2 ? MM_RED_ZONE : 0);
    if (!mm_mode.started || mm_dead() || room < size || mm_misuse_cpu() || mm_context() == SH_NMI) {
        return NULL;
    }
    size_t natural = mm_natural_align(size);
    align = align > natural ? align : natural;
    struct mm_span *span = mm_mode.tier == 4 ? mm_fence_alloc(size, align)
                           : mm_fence_due()  ? mm_fence_sample(size, align)
                                             : NULL;
    uint32_t index = 0;
    if (span == NULL && (mm_mode.tier == 4 || !place(room, align, &span, &index))) {
        return NULL;
    }
    mm_guard_placed(span, index, size, site);
    return (void *)(span->base + span->inset + index * span->size);
}

MM_CALL void *mm_guard_sample(size_t size)
{
    bool due = !mm_dead() && mm_fence_due() && !mm_cpu_strange();
    struct mm_span *span = due ? mm_fence_sample(size, mm_natural_align(size)) : NULL;
    return span == NULL ? NULL : (void *)(span->base + span->inset);
}

/* The memory of an object that dies: who freed it is noted, and it is filled, so it has no zone from here on.
 * A run that is dead at once keeps its size for reports; a collected one may wait for its sweep.  false = it is
 * fenced, and goes another way. */
static bool lay_out(struct mm_span *span, uint32_t index, uintptr_t base, uintptr_t site)
{
    if (span->notes != NULL) {
        span->notes[index].freed = site;
    }
    bool fenced = (mm_span_flags(span) & MM_SPAN_FENCED) != 0;
    if (!fenced) {
        size_t room = slot_end(span, index) - base;
        if (span->notes != NULL && (mm_span_state(span) == MM_SPAN_SMALL || span->gc != NULL)) {
            set_noted(span, index, room);
        }
        if (mm_mode.tier != 0 || mm_mode.zero) {
            mm_memory_fill(base, room, freed_fill());
        }
    }
    return !fenced;
}

void mm_guard_collected(const char *caller, struct mm_span *span, uint32_t index, uintptr_t site)
{
    uintptr_t base = span->base + span->inset + index * span->size;
    struct mm_view view = { .span = span, .base = base, .index = index };
    if (span->notes != NULL) {
        check_zone(caller, &view, index);
    }
    lay_out(span, index, base, site);
}

/* The slot stops being live: held back, or free at once.  false = it was not live. */
static bool slot_take_back(struct mm_span *span, uint32_t index)
{
    struct mm_cpu *cpu;
    arch_flags flags = mm_cache_enter(&cpu);
    bool live = mm_span_is_live(span, index);
    if (live) {
        mm_span_set_held(span, index, true);
    }
    mm_cache_leave(flags);
    if (live && !mm_quarantine_put(span, span->base + index * span->size)) {
        mm_slot_release(span, index);
    }
    return live;
}

static void run_take_back(struct mm_span *span)
{
    mm_heap_keep(span->page_count);
    if (!mm_quarantine_put(span, span->base)) {
        mm_heap_unkeep(span->page_count);
        mm_heap_release(span);
    }
}

bool mm_guard_free(const char *caller, uintptr_t address, uintptr_t site)
{
    struct mm_view view;
    if (!mm_span_view(address, &view) || !view.live || view.base != address ||
        view.state == MM_SPAN_PAGES) {
        return false;
    }
    if (mm_context() == SH_NMI) {
        mm_misuse("%s(%x): from an NMI handler", caller, address);
        return true;
    }
    struct mm_span *span = view.span;
    if ((mm_span_flags(span) & MM_SPAN_COLLECTED) != 0) {
        return mm_collector->free(caller, span, address, site);
    }
    mm_guard_check_zone(caller, &view);
    if (!lay_out(span, view.index, address, site)) {
        return mm_fence_free(span);
    }
    if (view.state == MM_SPAN_SMALL) {
        return slot_take_back(span, view.index);
    }
    if (!mm_run_claim(span, MM_SPAN_LARGE)) {
        return false;
    }
    run_take_back(span);
    return true;
}

MM_CALL bool mm_guard_free_pages(struct mm_span *span, uintptr_t address, uintptr_t site)
{
    if (mm_span_state(span) != MM_SPAN_PAGES || address != span->base + span->inset) {
        return false;
    }
    if (!lay_out(span, 0, address, site)) {
        return mm_fence_free(span);
    }
    if (!mm_run_claim(span, MM_SPAN_PAGES)) {
        return false;
    }
    mm_heap_release(span);
    return true;
}

int mm_guard_verify_span(const struct mm_span *span)
{
    if (mm_span_state(span) == MM_SPAN_DEAD || mm_span_state(span) == MM_SPAN_PAGES) {
        return 0;
    }
    if (mm_mode.tier >= 2 && (span->notes == NULL ||
                              !mm_linear_contains(span->notes, span->slots * sizeof(struct mm_note)))) {
        return mm_fault_found("notes of a span", span->base);
    }
    int faults = 0;
    for (uint32_t i = 0; i < span->slots; i++) {
        uintptr_t base = span->base + span->inset + i * span->size, at;
        struct mm_dirt dirt;
        if (!mm_span_is_live(span, i)) {
            if (mm_mode.tier != 0 && find_dirt(base, span->size, &dirt)) {
                faults += mm_fault_found("write after free", dirt.at);
            }
        } else if (span->notes != NULL &&
                   (span->notes[i].size - 1 >= slot_end(span, i) - base || (at = zone_broken(span, i, span->notes[i].size)) != 0)) {
            faults += mm_fault_found("red zone of", base);
        }
    }
    return faults;
}

void mm_guard_reset(void)
{
    memset(notes, 0, sizeof notes);
    notes_lists = 0;
}
