/*
 * Spans: a run of heap pages with one descriptor, and the way from an address to it.
 *
 * Descriptors lie in metadata, never in the pages they describe, and are type-stable: a descriptor that
 * was one stays one, so a reader without a lock may hold a stale pointer and only learn "no".  The bits
 * behind the descriptor say which slots are free; nothing about an object lies inside it.
 *
 * A span's pages are entered in the page map before its state says that it is in use, and are taken out
 * after its state says that it is not.  The state word carries a sequence number that every change of
 * state advances: a reader that sees the same word before and after has seen one life of the span.
 */
#ifndef MM_SPAN_H
#define MM_SPAN_H

#include "cpu.h"
#include "mm/arena.h"
#include "mm/mm.h"
#include "mm/mode.h"
#include "mm/size_class.h"

enum mm_span_state {
    MM_SPAN_DEAD,   /* not in use: free descriptor, under construction, or kept with its run */
    MM_SPAN_SMALL,  /* slots of one class */
    MM_SPAN_LARGE,  /* one object of whole pages */
    MM_SPAN_PAGES,  /* sh_alloc_pages */
    MM_SPAN_STATES
};
#define MM_SPAN_STATE_BITS 2

/* Where a small span is.  The countdown's meaning goes with it. */
enum mm_place {
    MM_PLACE_NONE,    /* large spans, page runs */
    MM_PLACE_CURRENT, /* of an entry: countdown from MM_COUNTDOWN_CURRENT, only to notice 2^30 frees */
    MM_PLACE_FULL,    /* on no list: countdown 1, the first free queues it */
    MM_PLACE_QUEUED,  /* in its CPU's queue: countdown = live slots */
    MM_PLACE_CENTRAL, /* ownerless, in central's list: countdown = live slots */
    MM_PLACE_EMPTY    /* in its entry's list of empty ones: no live slot */
};

#define MM_COUNTDOWN_CURRENT ((uint32_t)1 << 30)

enum {
    MM_SPAN_LOOSE = 1,  /* held an over-aligned block or one shrunk in place: see sh_free_sized */
    MM_SPAN_FRESH = 2,  /* large: its pages were zero when it was allocated */
    MM_SPAN_FENCED = 4, /* one object at the end of the pages, a guard page behind it: fence.c */
    MM_SPAN_POOL = 8,   /* fenced: its pages are used again */
    MM_SPAN_FAULTED = 16, /* fenced: its pages are gone for good, the descriptor only remembers */
    MM_SPAN_COLLECTED = 32 /* it has a `gc` */
};

/* Beside a slot, from tier 2. */
struct mm_note {
    size_t size;                /* asked for, at least 1; 0 = no object yet; of a freed slot all of it */
    uintptr_t allocated, freed; /* return addresses; 0 = not yet */
};

struct mm_cpu;
struct gc_span;

struct mm_span {
    struct mm_span *next, *prev;
    uint32_t state;      /* sequence << MM_SPAN_STATE_BITS | enum mm_span_state; atomic */
    uint8_t class;       /* small spans */
    uint8_t kind;        /* enum sh_kind */
    uint8_t place;       /* enum mm_place */
    uint8_t flags;
    uint32_t page_count;
    uint32_t inset;      /* fenced: of the object from the base */
    uint16_t slots;      /* 1 for a large span and a page run */
    size_t size;         /* of a slot */
    struct mm_note *notes; /* one a slot; NULL below tier 2 */
    uint32_t armed;      /* what the countdown was last set to */
    struct mm_cpu *owner;       /* the CPU that allocates from it; NULL = central's, or large; atomic */
#if SH_MAX_CPUS > 1
    uint32_t late_listed;       /* on a CPU's list of late frees, or about to be; atomic */
    uint32_t late_taken;        /* grows by 2 when late frees are taken in; odd meanwhile; atomic */
    struct mm_span *late_next;  /* there.  These belong to the descriptor: remote.c, 4 */
#endif
    /* What sh_free touches. */
    uint32_t countdown;
    uint32_t magic, bound; /* of the class; bound 0 sends every free to the slow path */
    uintptr_t base;
#if SH_MAX_CPUS > 1
    struct mm_cpu *local;  /* the owner, while no free elsewhere waits; NULL sends its frees to the slow path;
                              atomic */
#endif
    struct gc_span *gc;    /* the collector's part: collector.h; NULL = manual */
    uintptr_t free[];      /* bit set = slot free; bits past the last slot are 0.  As many words more in a
                              guarded heap: slots that are freed, but held back from reuse; and where frees
                              may come from other CPUs: slots that were freed there, which are not free yet */
};

/* Words of `free` in the two sizes of descriptor. */
#define MM_SPAN_WORDS_FEW MM_BITMAP_WORDS(256)
#define MM_SPAN_WORDS_MANY MM_BITMAP_WORDS(MM_SLOTS_MAX)
#define MM_SPAN_SIZE(words) (sizeof(struct mm_span) + (words) * sizeof(uintptr_t))

/* What every unused page map entry points at. */
extern struct mm_span mm_span_dummy;

static inline enum mm_span_state mm_span_state(const struct mm_span *span)
{
    uint32_t word = __atomic_load_n(&span->state, __ATOMIC_ACQUIRE);
    return (enum mm_span_state)(word & ((1u << MM_SPAN_STATE_BITS) - 1));
}

/* The descriptor that the page map names for any address: the dummy where there is none. */
static inline struct mm_span *mm_span_of(uintptr_t address)
{
    const struct mm_arena *arena = mm_arena_of(address);
    return __atomic_load_n(&arena->spans[(address >> MM_PAGE_SHIFT) & (MM_ARENA_PAGES - 1)],
                           __ATOMIC_RELAXED);
}

static inline bool mm_span_is_free(const struct mm_span *span, uint32_t index)
{
    return mm_word_get(&span->free[index / MM_WORD_BITS]) >> (index % MM_WORD_BITS) & 1;
}

/* MM_SPAN_LOOSE may come at any moment. */
static inline unsigned mm_span_flags(const struct mm_span *span)
{
    return __atomic_load_n(&span->flags, __ATOMIC_RELAXED);
}

/* In a build for one CPU all is local. */
static inline struct mm_cpu *mm_span_local(const struct mm_span *span)
{
#if SH_MAX_CPUS > 1
    return MM_FAST(span->local);
#else
    return span->owner;
#endif
}

static inline void mm_span_set_local(struct mm_span *span, struct mm_cpu *cpu)
{
#if SH_MAX_CPUS > 1
    __atomic_store_n(&span->local, cpu, __ATOMIC_RELAXED);
#else
    (void)span;
    (void)cpu;
#endif
}

static inline struct mm_cpu *mm_span_owner(const struct mm_span *span)
{
    return __atomic_load_n(&span->owner, __ATOMIC_ACQUIRE);
}

static inline size_t mm_span_bytes(const struct mm_span *span)
{
    return (size_t)span->page_count << MM_PAGE_SHIFT;
}

static inline uint32_t mm_span_words(const struct mm_span *span)
{
    return (uint32_t)MM_BITMAP_WORDS(span->slots);
}

/* Freed, but held back from reuse: neither free nor live. */
MM_CALL bool mm_span_is_held(const struct mm_span *span, uint32_t index);

/* A word of the bitmap of slots that were freed on other CPUs. */
static inline uintptr_t mm_span_late(const struct mm_span *span, uint32_t word)
{
    return mm_word_get(&span->free[mm_span_words(span) + word]);
}

/* Freed on another CPU: not live any more, and not free yet. */
static inline bool mm_span_is_late(const struct mm_span *span, uint32_t index)
{
    return mm_remote() && (mm_span_late(span, index / MM_WORD_BITS) >> (index % MM_WORD_BITS) & 1) != 0;
}

/* Of any span that is in use; a large one's slot is 0. */
MM_CALL bool mm_span_is_live(const struct mm_span *span, uint32_t index);

/* Which slot of a small span an address lies in; may be past the last one. */
static inline uint32_t mm_span_index(const struct mm_span *span, uintptr_t address)
{
    return (uint32_t)((uint64_t)(uint32_t)(address - span->base) * span->magic >> 32);
}

/* A descriptor with room for `slots` bits, dead; NULL when metadata runs out.  `may_grow`: no lock is
 * held and the port may be called. */
struct mm_span *mm_span_obtain(uint32_t slots, bool may_grow);
/* One with room for any span's bits, and without notes.  SH_THREAD, no lock. */
struct mm_span *mm_span_obtain_spare(void);
/* Takes back a dead descriptor; NULL is none. */
MM_CALL void mm_span_recycle(struct mm_span *span);

/* Makes a dead descriptor a span over pages that the caller owns: fields, bits, page map, then state. */
void mm_span_open_small(struct mm_span *span, uintptr_t base, unsigned class, enum sh_kind kind);
void mm_span_open_large(struct mm_span *span, uintptr_t base, size_t page_count,
                        enum mm_span_state state);
/* In use → dead: state, then the page map.  The pages stay the caller's. */
MM_CALL void mm_span_close(struct mm_span *span);
/* State alone, for a run that keeps its descriptor and page map. */
MM_CALL void mm_span_set_state(struct mm_span *span, enum mm_span_state state);
/* The page map of [base, base + count pages) := span. */
void mm_span_enter(struct mm_span *span, uintptr_t base, size_t page_count);

/* In use → dead, once: by whoever finds it in this state first; false = it was not. */
bool mm_span_claim(struct mm_span *span, enum mm_span_state wanted);

/* Is this a descriptor of a span in this state, with the page map naming it?  Any bit pattern; for
 * sh_verify. */
bool mm_span_is(const struct mm_span *span, enum mm_span_state state);

/* Slots that are not free, counted: live ones, those that are held back, and late ones. */
MM_CALL uint32_t mm_span_live(const struct mm_span *span);
/* Of those the ones that are held back. */
uint32_t mm_span_held(const struct mm_span *span);

/* The owner of a slot of a guarded heap holds it back, or lets it go.  Interrupts masked. */
void mm_span_set_held(struct mm_span *span, uint32_t index, bool held);

/* The size given at allocation does not tell the span's class any more. */
MM_CALL void mm_span_mark_loose(struct mm_span *span);

/* One consistent look at whatever is at an address, without a lock. */
struct mm_view {
    struct mm_span *span;
    enum mm_span_state state;
    uintptr_t base;   /* of the object, or of the slot */
    size_t size;      /* of the object where it is noted, else of the slot */
    uint32_t index;
    const struct mm_note *note; /* of the slot; NULL below tier 2 */
    bool in_slot;     /* false: in the tail behind the last slot */
    bool live;
};
/* false: no span in use there. */
MM_CALL bool mm_span_view(uintptr_t address, struct mm_view *view);

/* The first span whose pages begin at or above *address, in address order; *address moves behind it.
 * NULL = no more.  Kept runs are seen too: their state is dead. */
MM_CALL struct mm_span *mm_span_next(uintptr_t *address);

int mm_span_verify(struct mm_span *span);
/* Descriptors are as the mode needs them: before the first one is made. */
void mm_span_start(void);
void mm_span_reset(void);

#endif
