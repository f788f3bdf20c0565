/*
 * Central: spans of each class that no CPU owns and that have free slots.
 */
#ifndef MM_CENTRAL_H
#define MM_CENTRAL_H

#include "mm/cache.h"

/* The oldest span of a class, out of the list and this CPU's; NULL = none.  Interrupts masked, no heap lock
 * held. */
struct mm_span *mm_central_take(unsigned class, struct mm_cpu *cpu);
/* Takes a span in MM_PLACE_CENTRAL or MM_PLACE_FULL over; the giver must not touch it afterwards. */
MM_CALL void mm_central_give(struct mm_span *span);

/* An ownerless span's bits and countdown are under its class's lock. */
arch_flags mm_central_lock(unsigned class);
void mm_central_unlock(unsigned class, arch_flags flags);
/* Into the list, out of it.  Under the lock. */
void mm_central_add(struct mm_span *span);
void mm_central_remove(struct mm_span *span);

int mm_central_verify(void);
void mm_central_reset(void);

#endif
