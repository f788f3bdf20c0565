/*
 * x86 page tables, as arch/pagetable.c sees them: 2-level and PAE, chosen at run time by CR4.PAE.
 *
 * Included by arch/pagetable.c only.  Pure encoding: no order, no flush, no memory of its own but
 * the mode, which pte_mode_refusal() reads from the machine.  Entries travel as 64 bits in either
 * mode.
 *
 * 2-level present leaf:       frame(31:12)  RW(1)  P(0)
 * 2-level not present leaf:   frame(31:12)  tag(10:9)
 */
#ifndef SPANHEAP_X86_PTE_H
#define SPANHEAP_X86_PTE_H

#include "arch/arch.h"
#include "cpu.h"

#include "pte-pae.h"

/* What a directory entry says.  LOCKED: a table through which the heap could not write.  HOLE:
 * an entry above the directory is missing, and the port does not install those. */
enum pte_kind { PTE_MISSING, PTE_TABLE, PTE_LARGE, PTE_LOCKED, PTE_HOLE };

/* What a leaf entry that is not present remembers. */
enum pte_tag { PTE_TAG_NONE, PTE_TAG_PREPARED, PTE_TAG_PENDING, PTE_TAG_POISON };

enum {
    PTE_COPIES = 1,            /* equal leaf entries an arch page */
    PTE_TABLES_PER_FRAME = 1,  /* leaf tables in one frame */
    PTE_DIRECTORY_SHIFT_MIN = PAE_DIRECTORY_SHIFT,
    PTE_FRAME_SHIFT_MIN = PAE_DIRECTORY_SHIFT
};

enum { X86_PRESENT = 1, X86_WRITE = 2, X86_LARGE = 0x80, X86_TAG_SHIFT = 9 };
enum { X86_DIRECTORY_SHIFT = 22 };

static struct {
    bool pae;
    bool no_execute;
} pte_mode;

_Static_assert(SH_ARCH_PAGE_SHIFT == 12, "x86 pages are 4 KiB");
_Static_assert(sizeof(uintptr_t) == 4, "these are the tables of 32-bit x86");

/* Reads the machine's mode: NULL, or why it cannot be followed. */
static inline const char *pte_mode_refusal(void)
{
    if (arch_cr0() >> 31 == 0)
        return "paging is off (CR0.PG)";
    pte_mode.pae = (arch_cr4() >> 5 & 1) != 0;
    pte_mode.no_execute = pte_mode.pae && arch_nx_enabled();
    return NULL;
}

/* Directories above the one whose entries point to leaf tables. */
static inline unsigned pte_directory_level(void)
{
    return pte_mode.pae ? 1 : 0;
}

/* Addresses that a directory entry translates, log2. */
static inline unsigned pte_directory_shift(void)
{
    return pte_mode.pae ? PAE_DIRECTORY_SHIFT : X86_DIRECTORY_SHIFT;
}

/* The addresses that the leaf tables in one frame translate, log2. */
static inline unsigned pte_frame_shift(void)
{
    return pte_directory_shift();
}

static inline size_t pte_entry_size(void)
{
    return pte_mode.pae ? 8 : 4;
}

/* Low bits of CR3 are attributes.  false = this address has no tables. */
static inline bool pte_root(uintptr_t at, sh_paddr *root)
{
    *root = sh_kernel_root_table(at) & (pte_mode.pae ? ~(sh_paddr)31 : ~(sh_paddr)4095);
    return true;
}

/* Physical addresses of entries. */
static inline sh_paddr pte_directory_slot(unsigned level, sh_paddr table, uintptr_t at)
{
    if (pte_mode.pae)
        return pae_directory_slot(level, table, at);
    return table + (at >> X86_DIRECTORY_SHIFT) * 4;
}

static inline sh_paddr pte_leaf_slot(sh_paddr table, uintptr_t at)
{
    if (pte_mode.pae)
        return pae_leaf_slot(table, at);
    return table + (at >> 12 & 1023) * 4;
}

/* Whole entries, atomically. */
static inline uint64_t pte_load(void *slot)
{
    if (pte_mode.pae)
        return pae_load(slot);
    return __atomic_load_n((uint32_t *)slot, __ATOMIC_ACQUIRE);
}

static inline void pte_store(void *slot, uint64_t entry)
{
    if (pte_mode.pae)
        pae_store(slot, entry);
    else
        __atomic_store_n((uint32_t *)slot, (uint32_t)entry, __ATOMIC_RELEASE);
}

static inline bool pte_swap(void *slot, uint64_t expected, uint64_t desired)
{
    uint32_t seen = (uint32_t)expected;

    if (pte_mode.pae)
        return pae_swap(slot, expected, desired) == expected;
    return __atomic_compare_exchange_n((uint32_t *)slot, &seen, (uint32_t)desired, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Entries of the PDPT have no write bit and no large form. */
static inline enum pte_kind pte_directory_kind(unsigned level, uint64_t entry)
{
    if ((entry & X86_PRESENT) == 0)
        return level < pte_directory_level() ? PTE_HOLE : PTE_MISSING;
    if (level < pte_directory_level())
        return PTE_TABLE;
    if ((entry & X86_LARGE) != 0)
        return PTE_LARGE;
    return (entry & X86_WRITE) != 0 ? PTE_TABLE : PTE_LOCKED;
}

static inline sh_paddr pte_directory_table(uint64_t entry)
{
    return entry & PAE_FRAME_MASK;
}

/* The entry for `at` if its leaf table is in `frame`. */
static inline uint64_t pte_directory_encode(sh_paddr frame, uintptr_t at)
{
    (void)at;
    return frame | X86_PRESENT | X86_WRITE;
}

/* Can an entry hold this frame's address? */
static inline bool pte_frame_fits(sh_paddr frame, size_t size)
{
    sh_paddr mask = pte_mode.pae ? PAE_FRAME_MASK : (sh_paddr)0xFFFFF000u;

    return (frame & mask) == frame && (frame & (size - 1)) == 0;
}

static inline bool pte_is_present(uint64_t leaf)
{
    return (leaf & X86_PRESENT) != 0;
}

static inline uint64_t pte_encode(sh_paddr frame)
{
    return frame | X86_PRESENT | X86_WRITE | (pte_mode.no_execute ? PAE_NO_EXECUTE : 0);
}

static inline uint64_t pte_encode_absent(enum pte_tag tag, sh_paddr frame)
{
    return frame | (uint64_t)tag << X86_TAG_SHIFT;
}

/* The frame of a present or a pending leaf. */
static inline sh_paddr pte_frame(uint64_t leaf)
{
    return leaf & PAE_FRAME_MASK;
}

static inline enum pte_tag pte_tag(uint64_t leaf)
{
    return (enum pte_tag)(leaf >> X86_TAG_SHIFT & 3);
}

#endif
