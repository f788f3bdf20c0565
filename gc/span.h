/*
 * Collected spans: what the collector keeps beside a span of the heap, and the lists of them.
 *
 * Four bits a slot.  `free` is the span's own.  Beside it lie
 *
 *     marked    kept in this cycle
 *     scanned   kept, and looked into
 *     freed     sh_free was called meanwhile: goes at the sweep
 *
 * All three are 0 outside a cycle.  An object is allocated when its free bit is 0.  Bits past the last
 * slot are 1 in `marked` and `scanned`, and so is a whole word behind `marked`: a pointer behind the last
 * slot finds its bit set, and nothing is done.
 *
 * Generations.  gc.generation grows by 2 when a cycle has marked.  A span is
 *
 *     generation − 2   to be swept; not to be allocated from
 *     generation − 1   being swept, by whoever took it there by compare-and-swap
 *     generation       swept
 *
 * all modulo 2^32.  A span in an entry (alloc.c) is on no list and swept; the end of marking takes all out
 * of their entries.
 *
 * Everything here is under the work lock, but for what is said to be constant while the span is open, and for
 * what a team of markers does while the world stands (team.c).
 */
#ifndef GC_SPAN_H
#define GC_SPAN_H

#include "gc/gc.h"
#include "mm/collector.h"

/* What a span's objects are.  Sorted by what marking does with them. */
enum gc_kind {
    GC_CONSERVATIVE,
    GC_TYPED,
    GC_UNCOLLECTABLE,
    GC_NOSCAN,
    GC_KINDS
};

/* Classes of slots, and one for large objects. */
#define GC_CLASSES (MM_CLASSES + 1)
#define GC_LARGE MM_CLASSES

/* A ring with a head: leaving one needs no head. */
struct gc_link {
    struct gc_link *next, *prev;
};

struct gc_special;

struct gc_span {
    struct gc_link link;     /* of the list that it is on; none while it is in an entry or being swept */
    struct gc_span *queue;   /* the next one in the work queue */
    struct mm_span *span;
    uint32_t generation;
    uint32_t hint;           /* the word of the first object that is pending, or GC_NO_HINT */
    bool touched;            /* an object was marked in this cycle */
    bool owned;              /* in an entry */
    bool full;               /* on a list: of full ones */
    bool freed_some;         /* a freed bit may be set */
    bool filled;             /* large: who freed the object has filled it, and the sweep is to free it */
    uint32_t in_hand;        /* slots that are being freed, and filled with the lock open */
    /* Constant. */
    uint8_t kind;            /* enum gc_kind */
    uint8_t class;
    uint16_t slots, words;   /* words of each bitmap */
    size_t size;             /* of a slot */
    /* Typed. */
    uintptr_t *pointers;     /* small: bit i = word i of the span may be a pointer.  Only of live slots */
    uintptr_t mask;          /* small: of every object so far, if `uniform` */
    bool uniform, shaped;    /* shaped: there was one */
    const struct sh_gc_type *type; /* large; NULL = look everywhere */
    struct gc_special *specials;   /* finalizers and weak references: finalize.c */
    /* What a mark touches. */
    uint32_t countdown;      /* 1 − objects marked since the last visit ended: see gc_pending */
    uint32_t magic;          /* constant: offset → slot, as in the class; 0 for one slot */
    uintptr_t base;          /* constant: of slot 0 */
    uintptr_t marked[];      /* words of it and one more; then scanned; then freed */
};

#define GC_NO_HINT UINT32_MAX

/* Marked since the last visit to the span ended.  Kept so that the first is what makes a countdown 0. */
static inline uint32_t gc_pending(const struct gc_span *gs)
{
    return 1 - __atomic_load_n(&gs->countdown, __ATOMIC_ACQUIRE);
}

static inline uintptr_t *gc_scanned(struct gc_span *gs)
{
    return gs->marked + gs->words + 1;
}

static inline uintptr_t *gc_freed(struct gc_span *gs)
{
    return gs->marked + 2 * gs->words + 1;
}

/* The bits of word `word` that stand for slots. */
static inline uintptr_t gc_slot_mask(const struct gc_span *gs, uint32_t word)
{
    uint32_t rest = gs->slots % MM_WORD_BITS;
    return rest != 0 && word + 1 == gs->words ? ((uintptr_t)1 << rest) - 1 : ~(uintptr_t)0;
}

static inline struct gc_span *gc_span_of_link(struct gc_link *link)
{
    return (struct gc_span *)(void *)((char *)link - offsetof(struct gc_span, link));
}

static inline uintptr_t gc_object(const struct gc_span *gs, uint32_t index)
{
    return gs->base + index * gs->size;
}

/* Spans of a kind and class that are in no entry. */
enum gc_list {
    GC_PARTIAL, /* swept, with free slots */
    GC_FULL,    /* swept, without */
    GC_TOUCHED, /* + one of those: while marking, an object of the span is marked */
    GC_UNSWEPT = 2 * GC_TOUCHED,
    GC_LISTS
};

struct gc_class {
    struct gc_link list[GC_LISTS];
};

void gc_list_init(struct gc_link *list);
static inline bool gc_list_empty(const struct gc_link *list)
{
    return list->next == list;
}
/* At the end. */
static inline void gc_list_push(struct gc_link *list, struct gc_link *link)
{
    struct gc_link *last = list->prev;
    link->next = list;
    link->prev = last;
    last->next = link;
    list->prev = link;
}

static inline void gc_list_remove(struct gc_link *link)
{
    struct gc_link *next = link->next, *prev = link->prev;
    prev->next = next;
    next->prev = prev;
    link->next = link->prev = NULL;
}

/* The whole of `from` to the end of `list`. */
void gc_list_splice(struct gc_link *list, struct gc_link *from);

/* Opens a span of the kind: descriptor, pages, bits, owned by the caller, no slot taken; NULL = exhausted.  It
 * is not the collector's before it is published.  No lock. */
struct gc_span *gc_span_open(enum gc_kind kind, unsigned class);
/* One large object, its slot taken; *fresh: its memory reads as zero. */
struct gc_span *gc_span_open_large(enum gc_kind kind, size_t size, bool *fresh);
/* An open span counts from here on, as swept, and the map of pages leads to it: an old word may name what it
 * holds.  So under the same lock that object is marked as a new one is.  Under the lock. */
void gc_span_publish(struct gc_span *gs);
/* Releases a span whose slots are all free and that is on no list; who found that out has taken it off
 * gc.span_count, under the same lock.  Nothing of it, nor of the span behind it, is touched after this.  No
 * lock. */
void gc_span_release(struct gc_span *gs);

/* Puts a swept span on the list that fits its bits. */
void gc_span_list(struct gc_span *gs);
/* The first object of the cycle is marked in a span. */
void gc_span_touch(struct gc_span *gs);

/* Are all lists whole?  *count = how many spans are on them. */
int gc_lists_verify(size_t *count);
int gc_span_verify(const struct mm_span *span);
void gc_span_reset(void);

#endif
