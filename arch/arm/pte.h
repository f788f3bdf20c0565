/*
 * ARMv7-A short-descriptor page tables, as the port sees them.
 *
 * Included by arch/tables.c and arch/pagetable.c only.  Pure encoding: no order, no flush, no
 * memory of its own.  Entries travel as 64 bits, as on every port.
 *
 *   first level    TTBR0's or TTBR1's table (TTBCR.N): an entry a MiB, up to 4096 of them
 *   second level   256 entries, 1 KiB; the four tables of a 4 MiB chunk lie in one 4 KiB frame
 *
 * Present leaf:       frame, and SH_ARM_PAGE_BITS; a large page is 16 equal entries
 * Not present leaf:   frame(31:12)  tag(3:2)  00
 *
 * AP = 001 means "PL1 may read and write" with SCTLR.AFE clear, and the same and "accessed" with it
 * set. With SCTLR.TRE set, TEX[0]:C:B choose a field of PRRR, which must say normal memory.
 */
#ifndef SPANHEAP_ARM_PTE_H
#define SPANHEAP_ARM_PTE_H

#include "arch/port.h"
#include "cpu.h"

/* What a directory entry says.  LOCKED: a table through which the heap could not write.  HOLE: the
 * address has no tables at all. */
enum pte_kind { PTE_MISSING, PTE_TABLE, PTE_LARGE, PTE_LOCKED, PTE_HOLE };

/* What a leaf entry that is not present remembers. */
enum pte_tag { PTE_TAG_NONE, PTE_TAG_PREPARED, PTE_TAG_PENDING, PTE_TAG_POISON };

/* The domain of tables that the heap installs; DACR must grant it. */
#ifndef SH_ARM_DOMAIN
#define SH_ARM_DOMAIN 0
#endif

/* Everything in a present leaf but the frame.  Default: normal memory, write-back, write-allocate,
 * shareable, PL1 read and write, execute never, global. */
#ifndef SH_ARM_PAGE_BITS
#if SH_ARCH_PAGE_SHIFT == 16
#define SH_ARM_PAGE_BITS 0x941Du /* XN 15, TEX 001 14:12, S 10, AP 01 5:4, C 3, B 2, large 01 */
#else
#define SH_ARM_PAGE_BITS 0x45Fu /* S 10, TEX 001 8:6, AP 01 5:4, C 3, B 2, small page 1, XN 0 */
#endif
#endif

enum {
    PTE_COPIES = SH_ARCH_PAGE_SHIFT == 16 ? 16 : 1, /* equal leaf entries an arch page */
    PTE_TABLES_PER_FRAME = 4,                       /* leaf tables in one frame */
    PTE_DIRECTORY_SHIFT_MIN = 20,
    PTE_FRAME_SHIFT_MIN = 22
};

enum { ARM_TYPE_MASK = 3, ARM_COARSE = 1, ARM_DOMAIN_SHIFT = 5, ARM_TAG_SHIFT = 2 };
enum { ARM_SECTION_SHIFT = 20, ARM_LEAF_SHIFT = 12 };
enum { ARM_TTBCR_N = 7, ARM_TTBCR_PD0 = 0x10, ARM_TTBCR_PD1 = 0x20 };

/* Bits of SH_ARM_PAGE_BITS that choose the memory type, as the number of a PRRR field. */
enum {
    ARM_TEX0_SHIFT = SH_ARCH_PAGE_SHIFT == 16 ? 12 : 6,
    ARM_MEMORY_INDEX = (SH_ARM_PAGE_BITS >> ARM_TEX0_SHIFT & 1) << 2 | (SH_ARM_PAGE_BITS >> 2 & 3)
};

/* Nothing is remembered of the mode. */
#define PTE_STATE

_Static_assert(SH_ARCH_PAGE_SHIFT == 12 || SH_ARCH_PAGE_SHIFT == 16, "small or large pages");
_Static_assert(SH_ARM_DOMAIN >= 0 && SH_ARM_DOMAIN <= 15, "16 domains");
_Static_assert((SH_ARM_PAGE_BITS & 0xFFFF0000u) == 0, "the frame is not an attribute");

/* No access, client, reserved, manager: 0 … 3. */
static inline bool arm_domain_granted(unsigned domain)
{
    return (arch_dacr() >> 2 * domain & 1) != 0;
}

/* Reads the machine's mode: NULL, or why it cannot be followed, as a refusal of port.h. */
static inline const char *pte_mode_refusal(void)
{
    uint32_t sctlr = arch_sctlr();

    if ((sctlr & 1) == 0)
        return ARCH_REFUSE_PAGING "paging is off (SCTLR.M)";
    if (arch_ttbcr() >> 31 != 0)
        return ARCH_REFUSE_PAGING "long descriptors are in use (TTBCR.EAE)";
    if (!arm_domain_granted(SH_ARM_DOMAIN))
        return ARCH_REFUSE_PAGING "DACR denies access to the heap's domain (SH_ARM_DOMAIN)";
    if ((sctlr >> 28 & 1) != 0 && (arch_prrr() >> 2 * ARM_MEMORY_INDEX & 3) != 2)
        return ARCH_REFUSE_PAGING
            "PRRR does not make the heap's pages normal memory (SCTLR.TRE, SH_ARM_PAGE_BITS)";
    return NULL;
}

/* Addresses that an entry of the first table translates, log2, and one of the next table. */
static inline unsigned pte_top_shift(void)
{
    return ARM_SECTION_SHIFT;
}

static inline unsigned pte_next_shift(unsigned shift)
{
    (void)shift;
    return ARM_LEAF_SHIFT;
}

/* Addresses that a directory entry translates, log2. */
static inline unsigned pte_directory_shift(void)
{
    return ARM_SECTION_SHIFT;
}

/* The addresses that the leaf tables in one frame translate, log2. */
static inline unsigned pte_frame_shift(void)
{
    return 22;
}

/* Bytes of an entry, log2. */
static inline unsigned pte_entry_shift(void)
{
    return 2;
}

/* TTBR0's table shrinks with N and is aligned to its size; low bits are attributes.  false =
 * walks for this address are switched off (TTBCR.PD0, PD1). */
static inline bool pte_root(uintptr_t at, sh_paddr *root)
{
    uint32_t ttbcr = arch_ttbcr();
    unsigned n = ttbcr & ARM_TTBCR_N;
    bool first = n == 0 || at >> (32 - n) == 0;
    uint32_t size = first ? 0x4000u >> n : 0x4000u;

    *root = sh_kernel_root_table(at) & ~(sh_paddr)(size - 1);
    return (ttbcr & (first ? ARM_TTBCR_PD0 : ARM_TTBCR_PD1)) == 0;
}

/* The physical address of the entry for `at` in a table of either level. */
static inline sh_paddr pte_slot(unsigned shift, sh_paddr table, uintptr_t at)
{
    return table + (shift == ARM_LEAF_SHIFT ? at >> ARM_LEAF_SHIFT & 255 : at >> shift) * 4;
}

/* Whole entries, atomically.  Is *slot what *says says?  Then it becomes `desired`.  If not, *says
 * becomes what it is. */
static inline bool pte_swap(void *slot, uint64_t *says, uint64_t desired)
{
    uint32_t seen = (uint32_t)*says;
    bool done = __atomic_compare_exchange_n((uint32_t *)slot, &seen, (uint32_t)desired, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);

    *says = seen;
    return done;
}

static inline enum pte_kind pte_directory_kind(unsigned shift, uint64_t entry)
{
    (void)shift;
    if ((entry & ARM_TYPE_MASK) == 0)
        return PTE_MISSING;
    if ((entry & ARM_TYPE_MASK) != ARM_COARSE)
        return PTE_LARGE;
    if (!arm_domain_granted((unsigned)entry >> ARM_DOMAIN_SHIFT & 15))
        return PTE_LOCKED;
    return PTE_TABLE;
}

static inline sh_paddr pte_directory_table(uint64_t entry)
{
    return entry & 0xFFFFFC00u;
}

/* The entry for `at` if its leaf table is in `frame`: the quarter that its MiB of the chunk
 * takes. */
static inline uint64_t pte_directory_encode(sh_paddr frame, uintptr_t at)
{
    return frame | (at >> 20 & 3) << 10 | SH_ARM_DOMAIN << ARM_DOMAIN_SHIFT | ARM_COARSE;
}

/* Can an entry hold this frame's address? */
static inline bool pte_frame_fits(sh_paddr frame, size_t size)
{
    return frame >> 32 == 0 && (frame & (size - 1)) == 0;
}

static inline bool pte_is_present(uint64_t leaf)
{
    return (leaf & ARM_TYPE_MASK) != 0;
}

static inline uint64_t pte_encode(sh_paddr frame)
{
    return frame | SH_ARM_PAGE_BITS;
}

static inline uint64_t pte_encode_absent(enum pte_tag tag, sh_paddr frame)
{
    return frame | (uint64_t)tag << ARM_TAG_SHIFT;
}

/* The frame of a present or a pending leaf. */
static inline sh_paddr pte_frame(uint64_t leaf)
{
    return leaf & ~(uint64_t)(SH_ARCH_PAGE_SIZE - 1);
}

static inline enum pte_tag pte_tag(uint64_t leaf)
{
    return (enum pte_tag)(leaf >> ARM_TAG_SHIFT & 3);
}

#endif
