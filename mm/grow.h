/*
 * Growth: from address space to pages that the page allocator knows.
 */
#ifndef MM_GROW_H
#define MM_GROW_H

#include "mm/config.h"

enum mm_growth {
    MM_GROWTH_DONE,  /* pages were published, or another grower's may have been: try again */
    MM_GROWTH_FAILED
};

/* Publishes at least `pages` contiguous pages more.  SH_THREAD, no lock held. */
enum mm_growth mm_grow(size_t pages);

/* Does the range meet one that is the heap's, or is about to be? */
bool mm_grow_overlaps(uintptr_t base, size_t size);

void mm_grow_release(void);
int mm_grow_verify(void);
void mm_grow_reset(void);

#endif
