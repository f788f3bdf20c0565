/*
 * The arena map: for each aligned piece of address space, the record that says what its pages are.
 *
 * Entries start at a dummy record whose every page map entry is the dummy span, and change once, to a
 * record that is mapped, zeroed and complete: a lookup needs no lock, no null test and never faults.
 * They never change back while the heap lives.
 */
#ifndef MM_ARENA_H
#define MM_ARENA_H

#include "mm/bitmap.h"
#include "mm/config.h"

struct mm_span;

/* A leaf of the page allocator.  All under the heap lock. */
struct mm_chunk {
    uintptr_t owned[MM_CHUNK_PAGES / MM_WORD_BITS];    /* given to the page allocator, ever */
    uintptr_t taken[MM_CHUNK_PAGES / MM_WORD_BITS];    /* allocated; every page that is not ours too */
    uintptr_t released[MM_CHUNK_PAGES / MM_WORD_BITS]; /* Prepared: no frame behind it */
    uintptr_t busy[MM_CHUNK_PAGES / MM_WORD_BITS];     /* its granule is being committed, unlocked */
    uintptr_t filled[MM_CHUNK_PAGES / MM_WORD_BITS];   /* free, has a frame that holds the fill: guard.c */
};

struct mm_arena {
    struct mm_span *spans[MM_ARENA_PAGES]; /* the page map */
    struct mm_chunk chunks[MM_ARENA_CHUNKS];
    uintptr_t base;
};

/* 32-bit: one table.  64-bit: a root of leaves, each a table of its own in metadata. */
#define MM_ARENA_BITS (MM_ADDRESS_BITS - MM_ARENA_SHIFT)
#define MM_ARENA_LEAF_BITS (MM_ARENA_BITS > 12 ? MM_ARENA_BITS / 2 : MM_ARENA_BITS)
#define MM_ARENA_ROOT_BITS (MM_ARENA_BITS - MM_ARENA_LEAF_BITS)
#define MM_ARENA_LEAF ((size_t)1 << MM_ARENA_LEAF_BITS)
#define MM_ARENA_ROOT ((size_t)1 << MM_ARENA_ROOT_BITS)

struct mm_arena_leaf {
    struct mm_arena *arenas[MM_ARENA_LEAF];
};

extern struct mm_arena mm_arena_dummy;
extern struct mm_arena_leaf mm_arena_first_leaf;
extern struct mm_arena_leaf *mm_arena_root[MM_ARENA_ROOT];

/* The record for any address.  The loads that follow depend on its result: no barrier is needed. */
static inline struct mm_arena *mm_arena_of(uintptr_t address)
{
    size_t index = address >> MM_ARENA_SHIFT;
    if (MM_ARENA_ROOT_BITS == 0) {
        return __atomic_load_n(&mm_arena_first_leaf.arenas[index], __ATOMIC_RELAXED);
    }
    if (MM_ADDRESS_BITS < MM_WORD_BITS && index >> MM_ARENA_BITS != 0) {
        return &mm_arena_dummy;
    }
    struct mm_arena_leaf *leaf =
        __atomic_load_n(&mm_arena_root[index >> MM_ARENA_LEAF_BITS], __ATOMIC_RELAXED);
    return __atomic_load_n(&leaf->arenas[index & (MM_ARENA_LEAF - 1)], __ATOMIC_RELAXED);
}

static inline struct mm_chunk *mm_chunk_of(uintptr_t address)
{
    return &mm_arena_of(address)->chunks[(address >> MM_CHUNK_SHIFT) & (MM_ARENA_CHUNKS - 1)];
}

/* The page's bit number in its chunk's maps. */
static inline size_t mm_chunk_page(uintptr_t address)
{
    return (address >> MM_PAGE_SHIFT) & (MM_CHUNK_PAGES - 1);
}

/* Makes records for [base, last] (inclusive), each complete before it is entered.  false = metadata ran
 * out; what was made stays and is used later.  No lock held. */
bool mm_arena_ensure(uintptr_t base, uintptr_t last);

/* The bounds of all heap pages, lowest and last byte: they only widen, and only after the records inside
 * are entered.  A reader sees "no" for a while at worst. */
MM_CALL void mm_arena_widen(uintptr_t base, uintptr_t last);
MM_CALL bool mm_arena_in_bounds(uintptr_t address);

/* The record at or above, at or below `address`; NULL = no more.  Both walk the map. */
MM_CALL struct mm_arena *mm_arena_next(uintptr_t address);
MM_CALL struct mm_arena *mm_arena_prev(uintptr_t address);
/* The next one up. */
MM_CALL struct mm_arena *mm_arena_after(const struct mm_arena *arena);

unsigned mm_arena_count(void);
int mm_arena_verify(void);
void mm_arena_reset(void);

#endif
