/*
 * Collected spans: opening, listing, releasing (see span.h).
 *
 * Descriptors of the collector come from fixed-size lists, as those of the heap do, and are type-stable
 * like them.  A span's part is hung to it when it is complete: who finds a span by an address either finds
 * the whole of it or none.
 */
#include "gc/span.h"

#include "gc/state.h"
#include "mm/context.h"
#include "mm/fence.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/kept.h"
#include "mm/linear.h"
#include "mm/malloc.h"
#include "mm/memory.h"
#include "mm/report.h"

#define DESCRIPTOR(words) (sizeof(struct gc_span) + (3u * (words) + 1u) * sizeof(uintptr_t))

/* By the number of words: a large object's, and two sizes for slots. */
static struct mm_fixed one = { .size = DESCRIPTOR(1) };
static struct mm_fixed few = { .size = DESCRIPTOR(MM_SPAN_WORDS_FEW) };
static struct mm_fixed many = { .size = DESCRIPTOR(MM_SPAN_WORDS_MANY) };

/* Pointer bitmaps, by pages of a span. */
static struct mm_fixed bitmaps[16];

static struct mm_fixed *descriptors_for(uint32_t words)
{
    return words == 1 ? &one : words <= MM_SPAN_WORDS_FEW ? &few : &many;
}

static struct mm_fixed *bitmaps_for(size_t page_count)
{
    return &bitmaps[page_count];
}

void gc_list_init(struct gc_link *list)
{
    list->next = list->prev = list;
}

void gc_list_splice(struct gc_link *list, struct gc_link *from)
{
    if (gc_list_empty(from)) {
        return;
    }
    from->next->prev = list->prev;
    from->prev->next = list;
    list->prev->next = from->next;
    list->prev = from->prev;
    gc_list_init(from);
}

static enum sh_kind public_kind(enum gc_kind kind)
{
    return kind == GC_NOSCAN ? SH_NOSCAN : kind == GC_UNCOLLECTABLE ? SH_UNCOLLECTABLE : SH_SCAN;
}

/* No object of the span is marked, none scanned. */
static void clear_marks(struct gc_span *gs)
{
    uint32_t words = gs->words;
    uintptr_t beyond = ~gc_slot_mask(gs, words - 1);
    for (uint32_t i = 0; i < words; i++) {
        gs->marked[i] = gs->marked[words + 1 + i] = 0;
    }
    gs->marked[words - 1] = gs->marked[2 * words] = beyond;
}

/* A descriptor for so many slots, all its bits 0. */
static struct gc_span *obtain(enum gc_kind kind, unsigned class, uint32_t slots)
{
    uint32_t words = (uint32_t)MM_BITMAP_WORDS(slots);
    struct mm_fixed *list = descriptors_for(words);
    struct gc_span *gs = mm_fixed_obtain(list, mm_may_grow());
    if (gs != NULL) {
        memset(gs, 0, list->size);
        gs->kind = (uint8_t)kind;
        gs->class = (uint8_t)class;
        gs->slots = (uint16_t)slots;
        gs->words = (uint16_t)words;
        gs->owned = true;
        gs->countdown = 1;
        gs->marked[words] = ~(uintptr_t)0;
        clear_marks(gs);
    }
    return gs;
}

static void recycle(struct gc_span *gs, size_t page_count)
{
    if (gs->pointers != NULL) {
        mm_fixed_recycle(bitmaps_for(page_count), gs->pointers);
    }
    mm_fixed_recycle(descriptors_for(gs->words), gs);
}

/* The bounds are widened before anybody can be given an address inside them. */
void gc_span_publish(struct gc_span *gs)
{
    struct mm_span *span = gs->span;
    uintptr_t last = span->base + mm_span_bytes(span) - 1;
    gc.lowest = span->base < gc.lowest ? span->base : gc.lowest;
    gc.highest = last > gc.highest ? last : gc.highest;
    __atomic_store_n(&gs->generation, gc.generation, __ATOMIC_RELAXED);
    mm_span_set_gc(span, gs, public_kind((enum gc_kind)gs->kind));
    gc_spans_add(1);
}

struct gc_span *gc_span_open(enum gc_kind kind, unsigned class)
{
    const struct mm_class *info = &mm_class[class];
    struct gc_span *gs = obtain(kind, class, info->slots);
    if (gs == NULL) {
        return NULL;
    }
    if (kind == GC_TYPED) {
        gs->pointers = mm_fixed_obtain(bitmaps_for(info->pages), mm_may_grow());
        /* Slots of more words than a mask has go by the bitmap, and so do all on demand, page by page. */
        gs->uniform = info->size_8 * 8u <= MM_WORD_BITS * sizeof(uintptr_t) && !mm_mode.demand;
        if (gs->pointers != NULL && !gs->uniform) {
            memset(gs->pointers, 0, bitmaps_for(info->pages)->size);
        }
    }
    struct mm_span *span = kind == GC_TYPED && gs->pointers == NULL
                               ? NULL
                               : mm_heap_span_small(class, public_kind(kind));
    if (span == NULL) {
        recycle(gs, info->pages);
        return NULL;
    }
    gs->magic = info->magic;
    gs->span = span;
    gs->base = span->base;
    gs->size = span->size;
    return gs;
}

struct gc_span *gc_span_open_large(enum gc_kind kind, size_t size, bool *fresh)
{
    struct gc_span *gs = obtain(kind, GC_LARGE, 1);
    if (gs == NULL) {
        return NULL;
    }
    struct mm_span *span = mm_mode.tier == 4 ? mm_fence_alloc(size, mm_natural_align(size))
                                             : mm_kept_obtain(mm_pages_for(size), 1);
    if (span == NULL) {
        recycle(gs, 0);
        return NULL;
    }
    *fresh = (span->flags & MM_SPAN_FRESH) != 0;
    gs->span = span;
    gs->base = span->base + span->inset;
    gs->size = span->size;
    return gs;
}

/* Parts a span from the collector: it is manual from here on. */
static struct mm_span *part(struct gc_span *gs)
{
    struct mm_span *span = gs->span;
    arch_flags flags = gc_lock();
    mm_span_set_gc(span, NULL, SH_MANUAL);
    gc_unlock(flags);
    recycle(gs, span->page_count);
    return span;
}

void gc_span_release(struct gc_span *gs)
{
    if (gs->class != GC_LARGE) {
        mm_heap_release(part(gs));
    } else if ((gs->span->flags & MM_SPAN_FENCED) != 0) {
        mm_fence_free(part(gs));
    } else if (mm_run_claim(gs->span, MM_SPAN_LARGE)) {
        mm_kept_retire(part(gs));
    }
}

void gc_span_list(struct gc_span *gs)
{
    uintptr_t free = 0;
    for (uint32_t i = 0; i < gs->words; i++) {
        free |= gs->span->free[i];
    }
    gs->full = free == 0;
    gs->owned = false;
    gc_list_push(&gc.classes[gs->kind][gs->class].list[gs->full + GC_TOUCHED * gs->touched], &gs->link);
}

void gc_span_touch(struct gc_span *gs)
{
    gs->touched = true;
    if (!gs->owned) {
        gc_list_remove(&gs->link);
        gc_list_push(&gc.classes[gs->kind][gs->class].list[GC_TOUCHED + gs->full], &gs->link);
    }
}

static bool bits_fit(struct gc_span *gs)
{
    for (uint32_t i = 0; i < gs->words; i++) {
        uintptr_t free = gs->span->free[i], beyond = ~gc_slot_mask(gs, i);
        uintptr_t marked = gs->marked[i], scanned = gc_scanned(gs)[i], freed = gc_freed(gs)[i];
        bool idle = gc.phase == GC_IDLE || (gc.phase == GC_SWEEP && !gc_unswept(gs));
        if ((marked & scanned & beyond) != beyond || (scanned & ~marked) != 0 || (marked & free) != 0 ||
            (freed & (free | beyond)) != 0 || (idle && ((marked & ~beyond) | freed) != 0)) {
            return false;
        }
    }
    return true;
}

int gc_span_verify(const struct mm_span *span)
{
    struct gc_span *gs = span->gc;
    if (!mm_linear_contains(gs, sizeof *gs) || gs->span != span || gs->slots != span->slots ||
        gs->words != mm_span_words(span) || gs->base != span->base + span->inset || gs->size != span->size ||
        gs->kind >= GC_KINDS || span->kind != public_kind((enum gc_kind)gs->kind) ||
        gs->class != (mm_span_state(span) == MM_SPAN_SMALL ? span->class : GC_LARGE) ||
        !mm_linear_contains(gs, DESCRIPTOR(gs->words))) {
        return mm_fault_found("collected span", span->base);
    }
    if ((gs->kind == GC_TYPED && gs->class != GC_LARGE) != (gs->pointers != NULL)) {
        return mm_fault_found("pointers of a collected span", span->base);
    }
    if (gs->generation != gc.generation && !(gc.phase == GC_SWEEP && gc_unswept(gs))) {
        return mm_fault_found("generation of a collected span", span->base);
    }
    if (!bits_fit(gs)) {
        return mm_fault_found("marks of a collected span", span->base);
    }
    if (gs->marked[gs->words] != ~(uintptr_t)0) {
        return mm_fault_found("guard word of a collected span", span->base);
    }
    return gs->owned || mm_linear_contains(gs->link.next, sizeof gs->link) || gs->link.next == &gc.dead
               ? 0
               : mm_fault_found("list of a collected span", span->base);
}

static int list_verify(const struct gc_link *list, size_t *count)
{
    const struct gc_link *before = list;
    for (struct gc_link *link = list->next; link != list; before = link, link = link->next) {
        if (++*count > gc.span_count || !mm_linear_contains(link, sizeof *link) || link->prev != before ||
            gc_span_of_link(link)->owned) {
            return mm_fault_found("list of collected spans", (uintptr_t)link);
        }
    }
    return list->prev == before ? 0 : mm_fault_found("list of collected spans", (uintptr_t)list->prev);
}

int gc_lists_verify(size_t *count)
{
    int faults = list_verify(&gc.dead, count);
    for (unsigned i = 0; i < GC_KINDS * GC_CLASSES * GC_LISTS && faults == 0; i++) {
        faults = list_verify(&gc.classes[0][0].list[0] + i, count);
    }
    return faults;
}

void gc_span_reset(void)
{
    one.first = few.first = many.first = NULL;
    for (size_t i = 0; i < sizeof bitmaps / sizeof bitmaps[0]; i++) {
        bitmaps[i] = (struct mm_fixed){ .size = (i << MM_PAGE_SHIFT) / MM_WORD_BITS }; /* a bit a word of a span */
    }
}
