/*
 * Fences: objects that lie at the end of pages of their own, before a page that faults.
 *
 * The pool serves samples, one object in so many: its object pages and guard pages alternate.  Guards
 * stay Fault; a freed object's page goes back to Prepared, and pages are used again first in, first out,
 * so that a stale access faults for as long as possible.
 *
 * Efence (tier 4) places every object so, in a run of its own with a guard behind it.  A freed object is
 * turned to Fault for good: its addresses, and its descriptor, are never used again.
 */
#ifndef MM_FENCE_H
#define MM_FENCE_H

#include "mm/span.h"

/* One object in `sample` comes from the pool; 0 = none. */
MM_CALL void mm_fence_start(size_t sample);

/* Is it time for a sample?  `used`: allocations since the last call. */
bool mm_fence_due(void);
MM_CALL void mm_fence_used(size_t objects);

/* A span that holds one object of `size` bytes at its base + inset; NULL = none is to be had, or not in
 * this context.  `align` is a power of two. */
struct mm_span *mm_fence_sample(size_t size, size_t align); /* from the pool, up to a granule */
struct mm_span *mm_fence_alloc(size_t size, size_t align);  /* efence */
struct mm_span *mm_fence_alloc_pages(size_t count);

/* Frees the object of such a span; false = it was not live.  In a handler the page is taken away
 * by the next call from a thread. */
bool mm_fence_free(struct mm_span *span);

/* Takes away the pages of objects that a handler freed. */
void mm_fence_settle(void);

/* Pages of dead spans that have addresses to use again. */
size_t mm_fence_dead_pages(void);
int mm_fence_verify(void);
void mm_fence_reset(void);

#endif
