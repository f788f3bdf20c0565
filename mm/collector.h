/*
 * The seam for gc/ alone: what a heap with a collector asks it to do, and what it may use of the heap.
 *
 * A span of a collected kind is a span like any other: descriptor, slots, free bits, page map.  What the
 * collector knows beside it hangs at `gc`, which is set after the span is in use and taken away when its
 * last object is gone.  Its slots are taken and given back by the collector only: caches, queues and countdowns do not
 * know it, and its bound of 0 brings every free to the slow path and from there to `free`.
 *
 * The heap calls the table with no lock held.
 */
#ifndef MM_COLLECTOR_H
#define MM_COLLECTOR_H

#include "mm/span.h"

struct mm_collector {
    /* Pages ran short: gives those of dead objects back; true = some came.  From threads only. */
    bool (*reclaim)(void);
    /* sh_free of an address in a span with `gc`; false = it is not the base of a live object. */
    bool (*free)(const char *caller, struct mm_span *span, uintptr_t address, uintptr_t site);
    /* sh_realloc of a live object: as that, kind and type kept. */
    void *(*resize)(const struct mm_view *view, size_t size, uintptr_t site);
    /* Objects that were freed, by sweep and by hand. */
    uint64_t (*frees)(void);
    /* For sh_verify: of one span, and of the rest after all spans. */
    int (*verify_span)(const struct mm_span *span);
    int (*verify)(void);
    /* After a corruption: the fast path leads to the slow one. */
    void (*disarm)(void);
    /* From sh_shutdown. */
    void (*shutdown)(void);
};

/* NULL = there is none.  Set by sh_gc_init. */
extern const struct mm_collector *mm_collector;

/* A span and the collector's part of it. */
static inline void mm_span_set_gc(struct mm_span *span, struct gc_span *gc, enum sh_kind kind)
{
    span->kind = (uint8_t)kind;
    span->flags = (uint8_t)(gc != NULL ? span->flags | MM_SPAN_COLLECTED : span->flags & ~MM_SPAN_COLLECTED);
    __atomic_store_n(&span->gc, gc, __ATOMIC_RELEASE);
}

#endif
