/*
 * x86 page tables, as the port sees them: 2-level and PAE, chosen at run time by CR4.PAE.
 *
 * Included by arch/tables.c and arch/pagetable.c only.  Pure encoding: no order, no flush, no
 * memory of its own but the mode (PTE_STATE), which pte_mode_refusal() reads from the machine.
 * Entries travel as 64 bits in either mode.
 *
 * 2-level present leaf:       frame(31:12)  RW(1)  P(0)
 * 2-level not present leaf:   frame(31:12)  tag(10:9)
 */
#ifndef SPANHEAP_X86_PTE_H
#define SPANHEAP_X86_PTE_H

#include "arch/port.h"
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

/* What pte_mode_refusal() read, for all files of the port. */
struct pte_mode {
    uint32_t no_execute; /* upper half of a present leaf */
    bool pae;
};
extern struct pte_mode pte_mode;
#define PTE_STATE struct pte_mode pte_mode;

_Static_assert(SH_ARCH_PAGE_SHIFT == 12, "x86 pages are 4 KiB");
_Static_assert(sizeof(uintptr_t) == 4, "these are the tables of 32-bit x86");

/* Reads the machine's mode: NULL, or why it cannot be followed, as a refusal of port.h. */
static inline const char *pte_mode_refusal(void)
{
    if (arch_cr0() >> 31 == 0)
        return ARCH_REFUSE_PAGING "paging is off (CR0.PG)";
    pte_mode.pae = (arch_cr4() >> 5 & 1) != 0;
    pte_mode.no_execute = pte_mode.pae && arch_nx_enabled() ? PAE_NO_EXECUTE : 0;
    return NULL;
}

/* Addresses that an entry of the first table translates, log2, and one of the next table. */
static inline unsigned pte_top_shift(void)
{
    return pte_mode.pae ? PAE_PDPT_SHIFT : X86_DIRECTORY_SHIFT;
}

static inline unsigned pte_next_shift(unsigned shift)
{
    return shift - (pte_mode.pae ? 9 : 10);
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

/* Bytes of an entry, log2. */
static inline unsigned pte_entry_shift(void)
{
    return pte_mode.pae ? 3 : 2;
}

/* Low bits of CR3 are attributes.  false = this address has no tables. */
static inline bool pte_root(uintptr_t at, sh_paddr *root)
{
    *root = sh_kernel_root_table(at) & (pte_mode.pae ? ~(sh_paddr)31 : ~(sh_paddr)4095);
    return true;
}

/* The physical address of the entry for `at` in a table of any level.  The PDPT has 4 entries: its
 * index is small without a mask. */
static inline sh_paddr pte_slot(unsigned shift, sh_paddr table, uintptr_t at)
{
    return table + (pte_mode.pae ? (at >> shift & 511) * 8 : (at >> shift & 1023) * 4);
}

/* Whole entries, atomically.  Is *slot what *says says?  Then it becomes `desired`.  If not, *says
 * becomes what it is. */
static inline bool pte_swap(void *slot, uint64_t *says, uint64_t desired)
{
    uint32_t low = (uint32_t)*says, high = 0;
    bool done;

    if (pte_mode.pae) {
        high = (uint32_t)(*says >> 32);
        done = pae_swap(slot, &low, &high, desired);
    } else {
        done = __atomic_compare_exchange_n((uint32_t *)slot, &low, (uint32_t)desired, false,
                                           __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    *says = (uint64_t)high << 32 | low;
    return done;
}

/* Entries of the PDPT have no write bit and no large form. */
static inline enum pte_kind pte_directory_kind(unsigned shift, uint64_t entry)
{
    bool upper = shift > X86_DIRECTORY_SHIFT;
    uint32_t bits = (uint32_t)entry;

    if ((bits & X86_PRESENT) == 0)
        return upper ? PTE_HOLE : PTE_MISSING;
    if (upper)
        return PTE_TABLE;
    if ((bits & X86_LARGE) != 0)
        return PTE_LARGE;
    return (bits & X86_WRITE) != 0 ? PTE_TABLE : PTE_LOCKED;
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
    (void)size; /* 4 KiB */
    return (frame & (pte_mode.pae ? PAE_FRAME_MASK : (sh_paddr)0xFFFFF000u)) == frame;
}

static inline bool pte_is_present(uint64_t leaf)
{
    return ((uint32_t)leaf & X86_PRESENT) != 0;
}

static inline uint64_t pte_encode(sh_paddr frame)
{
    return frame | X86_PRESENT | X86_WRITE | (uint64_t)pte_mode.no_execute << 32;
}

static inline uint64_t pte_encode_absent(enum pte_tag tag, sh_paddr frame)
{
    return frame | (uint32_t)tag << X86_TAG_SHIFT;
}

/* The frame of a present or a pending leaf. */
static inline sh_paddr pte_frame(uint64_t leaf)
{
    return leaf & PAE_FRAME_MASK;
}

static inline enum pte_tag pte_tag(uint64_t leaf)
{
    return (enum pte_tag)((uint32_t)leaf >> X86_TAG_SHIFT & 3);
}

#endif
