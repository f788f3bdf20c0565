/*
 * The page allocator: which heap pages are free, address-ordered first fit, over bitmaps (struct
 * mm_chunk) and a tree of summaries.  It knows nothing of frames beyond the `released` bits.
 *
 * Everything here is under the heap lock; nothing here calls out.  What works on a run costs time for each
 * chunk of it, so the caller opens the lock between chunks: mm_pages_piece.
 */
#ifndef MM_PAGES_H
#define MM_PAGES_H

#include "mm/arena.h"

/* What is free in a piece of address space, in pages: at its start, at most anywhere, at its end. */
struct mm_summary {
    size_t start, most, end;
};

/* Makes the tree reach the chunk of `address`; false = metadata ran out.  No lock held: growth only. */
bool mm_pages_reach(uintptr_t address);

/* Gives [base, base + count pages), inside one chunk, to the allocator: free and released. */
void mm_pages_insert(uintptr_t base, size_t count);

/* Pages of the first piece of a run: up to the end of its chunk. */
static inline size_t mm_pages_piece(uintptr_t base, size_t count)
{
    size_t room = MM_CHUNK_PAGES - mm_chunk_page(base);
    return count < room ? count : room;
}

/* The lowest free run of `count` pages, not taken yet; 0 = none.  With `align` (pages, a power of two) above 1 an
 * aligned one: the lowest run if it is, else inside the lowest that has room for the worst start. */
uintptr_t mm_pages_find(size_t count, size_t align);

/* The lowest aligned run at or above *from (0 = anywhere) that is free in its first chunk: what is left when
 * mm_pages_find finds none.  0 = none in the places that this call looked at.  *from moves behind them; 0 = that
 * was all.  `align` is an arena at most. */
uintptr_t mm_pages_find_exact(size_t count, size_t align, uintptr_t *from);

/* Takes a run that is free: it was found under this lock. */
void mm_pages_take(uintptr_t base, size_t count);
/* Takes exactly this run if it is free. */
MM_CALL bool mm_pages_alloc_at(uintptr_t base, size_t count);

/* Frees a run that is taken. */
void mm_pages_free(uintptr_t base, size_t count);

/* The bits of a run in one kind of map, chunk by chunk; how many were set before.  `map` is bytes into
 * struct mm_chunk. */
enum mm_pages_op { MM_PAGES_CLEAR = -1, MM_PAGES_COUNT, MM_PAGES_SET };
size_t mm_pages_work(uintptr_t base, size_t count, size_t map, enum mm_pages_op op);
#define MM_PAGES_WORK(base, count, map, op) mm_pages_work(base, count, offsetof(struct mm_chunk, map), op)

static inline size_t mm_pages_released(uintptr_t base, size_t count)
{
    return MM_PAGES_WORK(base, count, released, MM_PAGES_COUNT);
}

static inline bool mm_pages_busy(uintptr_t base, size_t count)
{
    return MM_PAGES_WORK(base, count, busy, MM_PAGES_COUNT) != 0;
}

static inline void mm_pages_set_released(uintptr_t base, size_t count, bool released)
{
    MM_PAGES_WORK(base, count, released, released ? MM_PAGES_SET : MM_PAGES_CLEAR);
}

static inline void mm_pages_set_busy(uintptr_t base, size_t count, bool busy)
{
    MM_PAGES_WORK(base, count, busy, busy ? MM_PAGES_SET : MM_PAGES_CLEAR);
}

/* A guarded heap's. */
static inline void mm_pages_set_filled(uintptr_t base, size_t count, bool filled)
{
    MM_PAGES_WORK(base, count, filled, filled ? MM_PAGES_SET : MM_PAGES_CLEAR);
}

/* Pages that are turned to Fault are nobody's from here on: taken, not owned. */
void mm_pages_disown(uintptr_t base, size_t count);

/* Moves *last down to the highest byte at or below it that may be the heap's; false = there is none.  No lock: the
 * way over what is nobody's may be long. */
bool mm_pages_below(uintptr_t *last);

/* The highest run of whole granules at or below the byte *last that are free and committed, at most `most`
 * pages, within one chunk.  Looks at a few chunks; *last moves below what was looked at, 0 = that was all.
 * Returns the length; 0 = none there. */
size_t mm_pages_idle(uintptr_t *last, size_t most, uintptr_t *base);

/* Free pages that end right below `address`, counted up to `most`. */
MM_CALL size_t mm_pages_free_below(uintptr_t address, size_t most);

/* Pages of an arena that are free and have frames, from the bitmaps. */
size_t mm_pages_count_idle(const struct mm_arena *arena);

int mm_pages_verify(void);
void mm_pages_reset(void);

#endif
