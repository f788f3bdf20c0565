/*
 * Raw x86 descriptors for the audit, from the processor's manual: volume 3, "32-bit paging" and
 * "PAE paging".  The mode is read from CR4.PAE.  Accessed and dirty bits are left out.
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
    uint32_t cr4;

    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    return (cr4 & 0x20) != 0;
}

static uint64_t entry(sh_paddr table, uintptr_t index)
{
    const void *p = k_phys(table);
    uint64_t raw = is_pae() ? ((const uint64_t *)p)[index] : ((const uint32_t *)p)[index];

    return (raw & P) != 0 ? raw & ~(uint64_t)ACCESSED_DIRTY : raw;
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
