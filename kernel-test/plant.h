/*
 * Damage to a busy heap: what sh_verify must find.  A plant changes memory through SET, which keeps
 * what was there; plant_put_back puts it back.  Plants that go through the port undo themselves.
 */
#ifndef PLANT_H
#define PLANT_H

#include "kernel-test/test_util.h"
#include "mm/cache.h"
#include "mm/heap.h"

#define SMALL 48u     /* its slots are no multiple of a word's bits, at any page size */
#define CENTRAL 64u   /* the class that goes to central */
#define FEW 1024u     /* the class of the empty spans */
#define LARGE 100000u /* small enough to be kept */
#define GONE 32u      /* pages: more than the empty spans take */
#define MOST_HELD 700u

struct plant {
    const char *name; /* NULL = the end of a table */
    void (*plant)(void);
    void (*undo)(void); /* NULL = what SET changed is put back */
    const char *said;   /* of the fault, in the log; "" = depends on heap page or granule */
};

extern const struct plant plant_bits[], plant_fields[], plant_maps[], plant_pages[], plant_lists[],
    plant_counters[];

#define SET(place, value) (plant_save(&(place), sizeof(place)), (place) = (value))
void plant_save(void *at, size_t size);
void plant_put_back(void);
/* What was kept is of a heap that is gone. */
void plant_forget(void);

/* A heap with spans in every place, a kept run, and runs with and without frames. */
void plant_busy(void);
extern void *plant_held[MOST_HELD];
extern void *plant_large_live, *plant_large_kept, *plant_pages_live, *plant_pages_gone,
    *plant_pages_trimmed;

/* The nth span of that state (and place, when small). */
struct mm_span *plant_span_at(enum mm_span_state state, enum mm_place place, unsigned nth);
struct mm_span *plant_small_at(enum mm_place place);
struct mm_span *plant_large(void);
struct mm_entry *plant_entry_for(size_t size);
struct mm_span **plant_map_entry(uintptr_t address);
struct mm_arena **plant_arena_entry(uintptr_t address);
struct mm_arena *plant_first_arena(void);
/* A free slot of the span, or a live one. */
uint32_t plant_slot_of(const struct mm_span *span, bool is_free);
void plant_flip(uintptr_t *map, size_t bit);
void plant_flip_page(uintptr_t *map, const void *page);
/* Where the records in a block of metadata begin. */
uintptr_t plant_metadata_begin(void);

void plant_bit_of_a_full_span(void);

#endif
