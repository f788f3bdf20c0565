/*
 * Raw ARM short descriptors for the audit, from the ARMv7-A manual: B3.5.1.  A second-level entry
 * is a large page (01, its first of sixteen equal entries or any other) or a small page (1x, XN in
 * bit 0).
 */
#include "walk.h"

#define KIND 3u
#define AP_PRIVILEGED 0x010u
#define AP_USER 0x020u
#define AP_READ_ONLY 0x200u
#define SHAREABLE 0x400u
#define CACHED 0xCu /* C and B */

static uint32_t entry(sh_paddr table, uintptr_t index)
{
    return ((const uint32_t *)k_phys(table))[index];
}

unsigned walk_top_shift(void)
{
    return 20;
}

uint64_t walk_top(unsigned directory, uintptr_t address)
{
    return entry(k_directory_root(directory, address), address >> 20);
}

void walk_tops(unsigned directory, uintptr_t address, unsigned count, uint64_t *raw)
{
    const uint32_t *entries = k_phys(k_directory_root(directory, address));

    entries += address >> 20;
    for (unsigned i = 0; i < count; i++)
        raw[i] = entries[i];
}

bool walk_is_table(uint64_t raw_top)
{
    return (raw_top & KIND) == 1;
}

sh_paddr walk_table(uint64_t raw_top)
{
    return raw_top & 0xFFFFFC00u;
}

uint64_t walk_leaf(uint64_t raw_top, uintptr_t address)
{
    return entry(walk_table(raw_top), address >> 12 & 255);
}

size_t walk_differing(uint64_t raw_top, const uint32_t *checks, size_t from, size_t to)
{
    const uint32_t *entries = k_phys(walk_table(raw_top));

    while (from < to && entries[from] == (checks != NULL ? checks[from] : 0))
        from++;
    return from;
}

void walk_decode(uint64_t raw_leaf, uintptr_t address, struct walk_page *page)
{
    uint32_t raw = (uint32_t)raw_leaf;
    bool large = (raw & KIND) == 1;

    page->present = (raw & KIND) != 0;
    page->writable = (raw & (AP_PRIVILEGED | AP_READ_ONLY)) == AP_PRIVILEGED;
    page->executable = large ? (raw >> 15 & 1) == 0 : (raw & 1) == 0;
    page->user = (raw & AP_USER) != 0;
    page->global = false; /* nG is about ASIDs: a kernel's page may be global here */
    page->cached = (raw & (CACHED | SHAREABLE)) == (CACHED | SHAREABLE);
    page->size = large ? 0x10000 : 0x1000;
    page->frame = large ? (raw & 0xFFFF0000u) | (address & 0xF000u) : raw & 0xFFFFF000u;
}

bool walk_has_execute_never(void)
{
    return true;
}
