/*
 * Allocation of collected objects: entries of the CPUs, refill, and free by hand.
 */
#ifndef GC_ALLOC_H
#define GC_ALLOC_H

#include "gc/state.h"

/* Bytes of the records of so many CPUs. */
size_t gc_alloc_records(unsigned cpus);
void gc_alloc_start(void *records, unsigned cpus);

/* Takes the spans of a kind out of their entries, back to their lists.  Under the lock, the world stands. */
void gc_alloc_flush(enum gc_kind kind);

/* What the heap calls: see mm/collector.h. */
bool gc_free(const char *caller, struct mm_span *span, uintptr_t address, uintptr_t site);
void *gc_resize(const struct mm_view *view, size_t size, uintptr_t site);

/* Bytes of objects allocated, an entry's free slots included, and objects freed by hand.  Changed under the
 * lock; read without it. */
extern size_t gc_alloc_live;
static inline void gc_live_add(size_t bytes)
{
    __atomic_store_n(&gc_alloc_live, gc_alloc_live + bytes, __ATOMIC_RELAXED);
}

int gc_alloc_verify(void);
void gc_alloc_reset(void);

#endif
