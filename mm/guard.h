/*
 * Tiers: what a heap that was told to be suspicious does beside its work.
 *
 *   tier 1   a freed object is filled, and must still be so when its memory is used again
 *   tier 2   the bytes behind an object, up to the end of its slot, are a red zone; a note beside the
 *            span holds the size asked for and who allocated and freed
 *   tier 3   one object in so many lies at the end of a page of its own, between guard pages; freed
 *            objects wait in a quarantine before their memory is used again
 *   tier 4   every object lies so, and a freed one is poisoned for good
 *
 * Each includes the ones before.  The quarantine works at any tier; so does sampling.  A heap that fills,
 * notes or holds back is called guarded: none of its objects are served by the fast paths, whose words
 * are hidden from them (cache.c).  A heap that is not pays nothing.
 *
 * Nothing of this lies inside an object; the red zone lies behind it, and its loss is the finding.
 */
#ifndef MM_GUARD_H
#define MM_GUARD_H

#include "mm/span.h"

#define MM_FILL_FREED 0xDD
#define MM_FILL_ZONE 0xFD

/* Of an object that must keep a byte behind it: at least so many. */
#define MM_RED_ZONE 8

/* What was found where the fill should have been. */
struct mm_dirt {
    uintptr_t at;
    size_t count; /* of `bytes`; 0 = nothing found */
    uint8_t bytes[8];
};

/* sh_malloc and sh_aligned_alloc of a guarded heap.  `align` 0 = what sh_malloc promises. */
void *mm_guard_malloc(size_t size, size_t align, uintptr_t site);

/* sh_free of a guarded heap; false = `address` is not the base of a live object. */
bool mm_guard_free(const char *caller, uintptr_t address, uintptr_t site);

/* sh_free_pages of a guarded heap; likewise. */
MM_CALL bool mm_guard_free_pages(struct mm_span *span, uintptr_t address, uintptr_t site);

/* An object from the guard pool, when it is time for one; NULL = not now. */
MM_CALL void *mm_guard_sample(size_t size);

/* The alignment that sh_malloc promises for a size. */
MM_CALL size_t mm_natural_align(size_t size);

/* An object was placed, or resized where it lies: its note and its red zone. */
MM_CALL void mm_guard_placed(struct mm_span *span, uint32_t index, size_t size, uintptr_t site);
MM_CALL void mm_guard_resized(const struct mm_view *view, size_t size);

/* Collected objects: a slot that was taken, and is not as the fill left it (it is filled anew); the report
 * of that; an object that dies, by sweep or by hand: its zone is checked, it is filled. */
MM_CALL bool mm_guard_slot_dirty(struct mm_span *span, uint32_t index, struct mm_dirt *dirt);
MM_CALL void mm_guard_slot_report(const struct mm_dirt *dirt, struct mm_span *span, uint32_t index);
void mm_guard_collected(const char *caller, struct mm_span *span, uint32_t index, uintptr_t site);

/* Reports a red zone that was written to; the object is the caller's. */
MM_CALL void mm_guard_check_zone(const char *caller, const struct mm_view *view);

/* A run that was just taken: were its pages, where they are filled, left alone?  If not they are filled
 * anew, and *dirt says what was in the first that was not: one report, however much was written. */
bool mm_guard_run_taken(uintptr_t base, size_t count, struct mm_dirt *dirt);
MM_CALL void mm_guard_run_dirty(const struct mm_dirt *dirt);
/* Fills the memory of a run. */
void mm_guard_fill(uintptr_t base, size_t count);
/* A run whose memory is filled goes back to the page allocator. */
void mm_guard_run_freed(uintptr_t base, size_t count);

/* The notes of a span, for tier 2 and up.  false = metadata ran out. */
MM_CALL bool mm_guard_equip(struct mm_span *span, bool may_grow);
void mm_guard_strip(struct mm_span *span);

/* Fills of free slots and red zones of live objects, of a whole span. */
int mm_guard_verify_span(const struct mm_span *span);
void mm_guard_reset(void);

#endif
