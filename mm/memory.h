/*
 * Object memory: the only functions of the heap that touch it, over the four that a C compiler expects
 * of every freestanding environment (the host kernel has those).
 *
 * In demand mode a page may be Prepared.  Zeroing, filling and checking skip it (it will read as zero),
 * a copy skips it in the source and commits it in the target.  No lock is held, interrupts are as the
 * caller has them; the caller owns the memory.
 */
#ifndef MM_MEMORY_H
#define MM_MEMORY_H

#include "mm/config.h"

void *memset(void *to, int byte, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);

MM_CALL void mm_memory_fill(uintptr_t base, size_t size, uint8_t byte);
MM_CALL void mm_memory_zero(uintptr_t base, size_t size);

/* false = no frames for the target; nothing was copied. */
bool mm_memory_copy(uintptr_t to, uintptr_t from, size_t size);

/* The first address in [base, base + size) that does not hold `byte`; base + size if all do.  In demand
 * mode a zero is taken for a byte that was not there when the rest was filled. */
MM_CALL uintptr_t mm_memory_differs(uintptr_t base, size_t size, uint8_t byte);

#endif
