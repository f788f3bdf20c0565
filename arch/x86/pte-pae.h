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
#define PAE_NO_EXECUTE (UINT64_C(1) << 63)

/* Is *slot `expected`?  Then it becomes `desired`.  Returns what was there. */
static inline uint64_t pae_swap(void *slot, uint64_t expected, uint64_t desired)
{
    uint32_t low = (uint32_t)expected;
    uint32_t high = (uint32_t)(expected >> 32);

    __asm__ volatile("lock cmpxchg8b (%[slot])"
                     : "+a"(low), "+d"(high)
                     : [slot] "S"(slot), "b"((uint32_t)desired), "c"((uint32_t)(desired >> 32))
                     : "memory", "cc");
    return (uint64_t)high << 32 | low;
}

static inline uint64_t pae_load(void *slot)
{
    return pae_swap(slot, 0, 0);
}

static inline void pae_store(void *slot, uint64_t entry)
{
    uint64_t seen = pae_load(slot);

    for (;;) {
        uint64_t found = pae_swap(slot, seen, entry);

        if (found == seen)
            return;
        seen = found;
    }
}

/* The PDPT has 32 bytes and is aligned to them; the others fill a frame. */
static inline sh_paddr pae_directory_slot(unsigned level, sh_paddr table, uintptr_t at)
{
    if (level == 0)
        return table + (at >> PAE_PDPT_SHIFT) * 8;
    return table + (at >> PAE_DIRECTORY_SHIFT & 511) * 8;
}

static inline sh_paddr pae_leaf_slot(sh_paddr table, uintptr_t at)
{
    return table + (at >> 12 & 511) * 8;
}

#endif
