/*
 * What is kept for handlers: committed pages and descriptors, for each CPU.
 */
#ifndef MM_RESERVE_H
#define MM_RESERVE_H

#include "mm/span.h"

/* So many bytes a CPU; 0 = none. */
MM_CALL void mm_reserve_start(size_t bytes);

/* Fills up the reserves of all CPUs, as far as there are frames.  SH_THREAD, no lock. */
void mm_reserve_fill(void);

/* Pages of this CPU's reserve in no span, committed, and a descriptor with room for any span's bits; 0 = not
 * that many.  For who may not call the port.  No lock. */
uintptr_t mm_reserve_take(size_t count, struct mm_span **descriptor);

/* Gives a CPU's reserve back: it makes no call any more.  No lock. */
void mm_reserve_release(unsigned cpu);

/* Pages in all reserves.  Under the heap lock. */
size_t mm_reserve_pages(void);

int mm_reserve_verify(void);
void mm_reserve_reset(void);

#endif
