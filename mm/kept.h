/*
 * Kept runs: each CPU's cache of pages.
 *
 * A large object's run of up to MM_RUN_CACHE_LIMIT bytes keeps its descriptor and page map when it is freed, so
 * that the next large object of about its size on this CPU costs two list operations.
 */
#ifndef MM_KEPT_H
#define MM_KEPT_H

#include "mm/span.h"

/* A large object's span, of at least `pages` and at most about twice as many: a kept one or a new one, in use
 * when it returns.  NULL = exhausted. */
MM_CALL struct mm_span *mm_kept_obtain(size_t pages, size_t align);

/* As mm_heap_release, for a large span whose state is dead already: it may be kept. */
MM_CALL void mm_kept_retire(struct mm_span *span);

/* Takes out one of this CPU's runs, or of another's; dead.  NULL = there is none. */
struct mm_span *mm_kept_drop(void);

/* Gives one CPU's runs to the page allocator, or everybody's. */
MM_CALL void mm_kept_release(unsigned cpu);
void mm_kept_flush(void);

/* Checks all of it; pages in kept runs. */
int mm_kept_verify(size_t *pages);
void mm_kept_reset(void);

#endif
