/*
 * What the front door's files share: allocation by class and by pages.
 */
#ifndef MM_MALLOC_H
#define MM_MALLOC_H

#include "mm/span.h"

/* A slot of a class; NULL = exhausted, or not now. */
void *mm_malloc_class(unsigned class);

/* Whole pages, aligned to `align` bytes (at least a heap page). */
MM_CALL void *mm_malloc_large(size_t size, size_t align);

/* Who called a public function: its return address. */
#define MM_CALLER() ((uintptr_t)__builtin_return_address(0))

/* sh_malloc and sh_free without their fast paths. */
void *mm_malloc_slow(size_t size, uintptr_t site);
void mm_free_other(void *p, uintptr_t site);

/* sh_free on behalf of `caller`, without the fast path. */
MM_CALL void mm_free_slow(void *p, const char *caller, uintptr_t site);

/* A slot that is not live any more becomes free, and its span moves if it has to. */
void mm_slot_release(struct mm_span *span, uint32_t index);

/* A large span or a page run stops being alive, once; false = it was not in this state. */
MM_CALL bool mm_run_claim(struct mm_span *span, enum mm_span_state wanted);

/* A slot of the smallest class that fits and whose slots are all aligned, or pages.  A span that its size does
 * not tell is marked loose. */
MM_CALL void *mm_malloc_aligned(size_t size, size_t align);

#endif
