/*
 * What the front door's files share: allocation by class and by pages, and memory that may lack frames.
 */
#ifndef MM_MALLOC_H
#define MM_MALLOC_H

#include "mm/config.h"

/* A slot of a class; NULL = exhausted, or not now. */
void *mm_malloc_class(unsigned class);

/* Whole pages, aligned to `align` bytes (at least a heap page). */
void *mm_malloc_large(size_t size, size_t align);

/* sh_malloc and sh_free without their fast paths. */
void *mm_malloc_slow(size_t size);
void mm_free_other(void *p);

/* sh_free on behalf of `caller`, without the fast path. */
void mm_free_slow(void *p, const char *caller);

/* Object memory is touched by these alone.  In demand mode a page may be Prepared: zeroing skips it
 * (it will read as zero), a copy skips it in the source and commits it in the target.  No lock. */
void mm_memory_zero(uintptr_t base, size_t size);
/* false = no frames for the target; nothing was copied. */
bool mm_memory_copy(uintptr_t to, uintptr_t from, size_t size);

#endif
