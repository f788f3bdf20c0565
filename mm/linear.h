/*
 * The linear allocator: where all metadata comes from, and fixed-size records on top of it.
 *
 * Memory is taken from blocks of address space of its own, mapped once and committed a granule at a
 * time; it reads as zero, is never given back while the heap lives, and never is heap memory.
 */
#ifndef MM_LINEAR_H
#define MM_LINEAR_H

#include "mm/config.h"

/* `size` zeroed bytes, NULL when there are none.  `may_grow`: no lock is held and the port may be
 * called; without it only what is committed already is used. */
void *mm_linear_alloc(size_t size, size_t align, bool may_grow);

/* Reserves a block more for records to come if there is address space for fewer than `bytes`; false =
 * refused. */
MM_CALL bool mm_linear_ensure_room(size_t bytes);

/* Bytes for which the last commit was refused since mm_linear_forget_lacked; 0 = it was not.  A hint: others
 * may be at it. */
size_t mm_linear_lacked(void);
void mm_linear_forget_lacked(void);

/* How often the port refused address space for a block. */
unsigned mm_linear_refusals(void);

/* Is [pointer, pointer + size) inside memory that was handed out?  Exact, any bit pattern. */
MM_CALL bool mm_linear_contains(const void *pointer, size_t size);
/* Is the address in a block at all? */
MM_CALL bool mm_linear_in_block(uintptr_t address);

/* Does the range meet a block, or address space kept for one? */
bool mm_linear_overlaps(uintptr_t base, size_t size);

/* Committed bytes. */
size_t mm_linear_bytes(void);

/* Fixed-size records: a list of those given back, for each size. */
struct mm_fixed {
    void **first; /* linked through their first word */
    size_t size;
};
/* Both under the heap lock for the list; obtain takes it itself. */
MM_CALL void *mm_fixed_obtain(struct mm_fixed *list, bool may_grow);
MM_CALL void mm_fixed_recycle(struct mm_fixed *list, void *record);

/* Releases every block to the port: for a shutdown without one that can detach. */
void mm_linear_release(void);
int mm_linear_verify(void);
void mm_linear_reset(void);

#endif
