/*
 * Raw x86 descriptors for the audit, from the processor's manual: volume 3, "32-bit paging" and
 * "PAE paging".  The mode is read from CR4.PAE, once.  Accessed and dirty bits are left out.
 */
#include "walk.h"

#define P 0x1u
#define RW 0x2u
#define US 0x4u
#define PWT_PCD 0x18u
#define ACCESSED_DIRTY 0x60u
#define PS 0x80u
#define G 0x100u
#define XD ((uint64_t)1 << 63)
#define FRAME 0x000FFFFFFFFFF000u

static bool is_pae(void)
{
    static enum { UNKNOWN, TWO_LEVEL, PAE } mode; /* never changes once the audit is asked */
    uint32_t cr4;

    if (mode == UNKNOWN) {
        __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
        mode = (cr4 & 0x20) != 0 ? PAE : TWO_LEVEL;
    }
    return mode == PAE;
}

static uint64_t raw_of(const void *table, size_t index, bool pae)
{
    uint64_t raw = pae ? ((const uint64_t *)table)[index] : ((const uint32_t *)table)[index];

    return (raw & P) != 0 ? raw & ~(uint64_t)ACCESSED_DIRTY : raw;
}

static uint64_t entry(sh_paddr table, uintptr_t index)
{
    return raw_of(k_phys(table), index, is_pae());
}

unsigned walk_top_shift(void)
{
    return is_pae() ? 21 : 22;
}

uint64_t walk_top(unsigned directory, uintptr_t address)
{
    sh_paddr root = k_directory_root(directory, address);
    uint64_t quarter;

    if (!is_pae())
        return entry(root, address >> 22);
    quarter = ((const uint64_t *)k_phys(root))[address >> 30];
    return (quarter & P) != 0 ? entry(quarter & FRAME, address >> 21 & 511) : 0;
}

void walk_tops(unsigned directory, uintptr_t address, unsigned count, uint64_t *raw)
{
    sh_paddr root = k_directory_root(directory, address);
    bool pae = is_pae();
    size_t first = pae ? address >> 21 & 511 : address >> 22;
    uint64_t quarter = pae ? ((const uint64_t *)k_phys(root))[address >> 30] : P;
    const void *table = k_phys(pae ? quarter & FRAME : root);

    for (unsigned i = 0; i < count; i++)
        raw[i] = (quarter & P) != 0 ? raw_of(table, first + i, pae) : 0;
}

bool walk_is_table(uint64_t raw_top)
{
    return (raw_top & P) != 0 && (raw_top & PS) == 0;
}

sh_paddr walk_table(uint64_t raw_top)
{
    return raw_top & FRAME;
}

uint64_t walk_leaf(uint64_t raw_top, uintptr_t address)
{
    return entry(raw_top & FRAME, address >> 12 & (is_pae() ? 511 : 1023));
}

size_t walk_differing(uint64_t raw_top, const uint32_t *checks, size_t from, size_t to)
{
    const void *table = k_phys(raw_top & FRAME);
    bool pae = is_pae();

    while (from < to &&
           walk_check(raw_of(table, from, pae)) == (checks != NULL ? checks[from] : 0))
        from++;
    return from;
}

void walk_decode(uint64_t raw_leaf, uintptr_t address, struct walk_page *page)
{
    (void)address;
    page->present = (raw_leaf & P) != 0;
    page->writable = (raw_leaf & RW) != 0;
    page->executable = (raw_leaf & XD) == 0;
    page->user = (raw_leaf & US) != 0;
    page->global = (raw_leaf & G) != 0;
    page->cached = (raw_leaf & PWT_PCD) == 0;
    page->size = 4096;
    page->frame = raw_leaf & FRAME;
}

bool walk_has_execute_never(void)
{
    uint32_t a = 0x80000000u, b, c = 0, d;

    if (!is_pae())
        return false;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (a < 0x80000001u)
        return false;
    a = 0x80000001u;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if ((d >> 20 & 1) == 0)
        return false;
    __asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(0xC0000080u));
    return (a & 0x800) != 0;
}
