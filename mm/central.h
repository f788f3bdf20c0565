/*
 * Central: spans of each class that no CPU owns and that have free slots.
 */
#ifndef MM_CENTRAL_H
#define MM_CENTRAL_H

#include "mm/cache.h"

/* The oldest span of a class, out of the list; NULL = none.  Interrupts masked, no heap lock held. */
struct mm_span *mm_central_take(unsigned class);
/* Takes a span in MM_PLACE_CENTRAL over; the giver must not touch it afterwards. */
void mm_central_give(struct mm_span *span);
/* Out of the list: its last slot was freed. */
void mm_central_remove(struct mm_span *span);

int mm_central_verify(void);
void mm_central_reset(void);

#endif
