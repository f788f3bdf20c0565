/*
 * PAE page tables: PDPT (4 entries) → page directory (512) → page table (512), entries of 64 bits.
 *
 * Included by pte.h only.  An entry is read and written by cmpxchg8b, so that no walker and no
 * other CPU ever sees half of one.
 *
 * Present leaf:       NX(63)  frame(51:12)  RW(1)  P(0)
 * Not present leaf:           frame(51:12)  tag(10:9)
 */
#ifndef SPANHEAP_X86_PTE_PAE_H
#define SPANHEAP_X86_PTE_PAE_H

#include "arch/arch.h"

enum { PAE_DIRECTORY_SHIFT = 21, PAE_PDPT_SHIFT = 30 };

#define PAE_FRAME_MASK UINT64_C(0x000FFFFFFFFFF000)
#define PAE_NO_EXECUTE ((uint32_t)1 << 31) /* in the upper half */

/* As pte_swap; an entry in halves. */
static inline bool pae_swap(void *slot, uint32_t *low, uint32_t *high, uint64_t desired)
{
    bool done;

    __asm__ volatile("lock cmpxchg8b (%[slot])"
                     : "+a"(*low), "+d"(*high), "=@ccz"(done)
                     : [slot] "S"(slot), "b"((uint32_t)desired), "c"((uint32_t)(desired >> 32))
                     : "memory");
    return done;
}

#endif
