/*
 * The independent look at the page tables.  walk_<machine>.c reads raw descriptors as the machine's
 * manual describes them and shares nothing with the port; walk.c compares what it reads with what
 * the heap believes.
 */
#ifndef KERNEL_TEST_WALK_H
#define KERNEL_TEST_WALK_H

#include "kernel.h"

/* One 4 KiB page as the MMU sees it. */
struct walk_page {
    bool present, writable, executable, user, global, cached;
    size_t size;    /* of the descriptor: 4 KiB, 64 KiB, … */
    sh_paddr frame; /* physical address of this 4 KiB */
};

/* Supplied by walk_<machine>.c.  A top-level entry maps walk_top_shift() bits; `raw` is an entry
 * without the bits that the machine itself changes. */
unsigned walk_top_shift(void);
uint64_t walk_top(unsigned directory, uintptr_t address);
/* `count` of them at once, the first for `address`: no more than WALK_TOPS, all in one GiB. */
#define WALK_TOPS 64u
void walk_tops(unsigned directory, uintptr_t address, unsigned count, uint64_t *raw);
bool walk_is_table(uint64_t raw_top);
sh_paddr walk_table(uint64_t raw_top);
uint64_t walk_leaf(uint64_t raw_top, uintptr_t address);
/* 64 bits of an entry in 32, so that a copy of all tables stays small. */
static inline uint32_t walk_check(uint64_t raw)
{
    return (uint32_t)raw ^ (uint32_t)(raw >> 32);
}
/* The first entry of the table in [from, to) whose check is another, or `to`; no checks = all are 0. */
size_t walk_differing(uint64_t raw_top, const uint32_t *checks, size_t from, size_t to);
void walk_decode(uint64_t raw_leaf, uintptr_t address, struct walk_page *page);
/* Can this machine forbid execution now? */
bool walk_has_execute_never(void);

struct walk_window {
    uint64_t base, end; /* whole granules */
};

/* Remembers all entries, to compare with. */
void walk_snapshot(void);
/* Faults: entries outside the windows that differ from the snapshot; with `alike`, top-level
 * entries that are not the same in all directories. */
unsigned walk_outside(const struct walk_window *windows, unsigned count, bool alike);
/* Faults: pages inside the windows that are not as the heap believes; frames that are mapped
 * twice, not held, or held and nowhere to be found.  `held` has a bit for each 4 KiB from
 * k_ram_base. */
unsigned walk_inside(const struct walk_window *windows, unsigned count, const uint32_t *held);

#endif
