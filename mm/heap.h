/*
 * The heap of page runs: growth, commit, and the runs that spans are made of.
 */
#ifndef MM_HEAP_H
#define MM_HEAP_H

#include "mm/span.h"

/* Counted in pages, under the heap lock; `spans` is read without it, `kept` atomic. */
struct mm_heap_counts {
    size_t owned;         /* given to the page allocator, less faulted */
    size_t released;      /* of those, without a frame */
    size_t spans;         /* in spans of any state and in kept runs */
    size_t kept;          /* of those, in dead spans; atomic */
    size_t faulted;
};
extern struct mm_heap_counts mm_heap_counts;
extern struct mm_lock mm_heap_lock;

enum mm_commit {
    MM_COMMIT_NOW,
    MM_COMMIT_LATER /* demand mode: the pages may stay Prepared */
};

/* A run of `count` pages aligned to `align` pages, in no span yet, committed as asked; 0 = none.
 * `fresh`: every page of it reads as zero.  `descriptor`: what the caller holds for it; NULL = nothing.
 * It may be another one afterwards, or NULL and no run: see report_dirty.  No lock held. */
uintptr_t mm_heap_alloc(size_t count, size_t align, enum mm_commit commit, bool *fresh,
                        struct mm_span **descriptor);

/* Gives a run back that is in no span any more; in tier 1 and above its memory is filled. */
MM_CALL void mm_heap_free(uintptr_t base, size_t count);
/* As free, for a run that was never used. */
MM_CALL void mm_heap_return(uintptr_t base, size_t count);

/* Takes the `extra` pages behind a run, if they are free.  Not in a guarded heap: they may be filled. */
MM_CALL bool mm_heap_extend(uintptr_t base, size_t count, size_t extra, enum mm_commit commit);

/* Pages of a run that have no frame. */
size_t mm_heap_released(uintptr_t base, size_t count);

/* Commits the granules under a run that the caller owns.  false = no frames. */
MM_CALL bool mm_heap_commit(uintptr_t base, size_t count);

/* Ready → Prepared, for whole granules that the caller owns. */
MM_CALL void mm_heap_decommit(uintptr_t base, size_t count);
/* Poisons whole granules that the caller owns: they are nobody's from here on. */
void mm_heap_fault(uintptr_t base, size_t count);

/* A descriptor, with idle frames given up for it if need be; NULL = metadata ran out. */
struct mm_span *mm_heap_descriptor(uint32_t slots);

/* Pages of dead spans that keep them are counted, or are so no more: kept runs, quarantine, guard pool,
 * reserve.  With or without a lock. */
static inline void mm_heap_keep(size_t pages)
{
    __atomic_fetch_add(&mm_heap_counts.kept, pages, __ATOMIC_RELAXED);
}

static inline void mm_heap_unkeep(size_t pages)
{
    __atomic_fetch_sub(&mm_heap_counts.kept, pages, __ATOMIC_RELAXED);
}

/* A small span: descriptor, run, bits, page map; in use when it returns.  NULL = exhausted. */
struct mm_span *mm_heap_span_small(unsigned class, enum sh_kind kind);
/* A large object or a page run. */
struct mm_span *mm_heap_span_large(size_t page_count, size_t align, enum mm_span_state state);
/* Releases a span: nothing of it is touched after this.  The last act of whoever emptied it. */
void mm_heap_release(struct mm_span *span);

/* Gives idle granules back, from the highest address down, until at most `keep` bytes are committed and
 * free; bytes given back.  SH_THREAD, no lock. */
MM_CALL size_t mm_heap_scavenge(size_t keep);

/* Called for tests just after a span's pages went back, with no lock held; NULL = none. */
extern void (*mm_heap_released_probe)(uintptr_t base, size_t count);

/* Releases every reservation: a shutdown without a port that can detach. */
void mm_heap_unreserve(void);
int mm_heap_verify(void);
void mm_heap_reset(void);

#endif
