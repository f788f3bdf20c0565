/*
 * What the collector's files share: the phase and the work lock.
 */
#ifndef GC_STATE_H
#define GC_STATE_H

#include "gc/span.h"
#include "mm/lock.h"

/* In the order in which a cycle goes through them.  cycle.c alone changes the phase. */
enum gc_phase {
    GC_IDLE,       /* all is swept */
    GC_ROOTS,      /* stacks are done; ranges, uncollectable objects, finalizers that are due */
    GC_MARK,       /* from the work queue */
    GC_WEAK,       /* what is not marked now is reached by finalizers at most */
    GC_FINALIZERS, /* those of objects that are not marked become due */
    GC_REVIVE,     /* what they reach is marked */
    GC_SWEEP
};

struct gc_state {
    bool started;
    uint8_t phase;         /* enum gc_phase */
    bool plain;            /* objects need no more than a slot that is zeroed: no tier, not on demand */
    bool fills;            /* freed memory is filled, by who frees it, with the lock open */
    bool black;            /* a cycle is marking: objects are born marked and scanned */
    uint32_t generation;   /* of swept spans */
    uintptr_t lowest, highest; /* first and last byte of all pages that ever were of a collected span */
    size_t span_count;     /* collected spans */
    size_t unswept;        /* of those, to be swept */
    uint64_t large_freed;  /* of stats.objects_freed */
    struct gc_link dead;   /* to be swept: no object of these is marked */
    struct gc_class (*classes)[GC_CLASSES]; /* [GC_KINDS] */
    struct sh_gc_config config;
    struct sh_gc_stats stats;
};

extern struct gc_state gc;
extern struct mm_lock gc_work_lock;

static inline arch_flags gc_lock(void)
{
    return mm_lock(&gc_work_lock);
}

static inline void gc_unlock(arch_flags flags)
{
    mm_unlock(&gc_work_lock, flags);
}

/* Without the lock: a moment ago. */
static inline bool gc_phase_is(enum gc_phase phase)
{
    return __atomic_load_n(&gc.phase, __ATOMIC_RELAXED) == phase;
}

static inline bool gc_all_swept(void)
{
    return __atomic_load_n(&gc.unswept, __ATOMIC_RELAXED) == 0;
}

/* Changed under the lock; read without it by those who wait for its end. */
static inline void gc_spans_add(size_t count)
{
    __atomic_store_n(&gc.span_count, gc.span_count + count, __ATOMIC_RELAXED);
}

/* Under the lock, or only to find out that there is nothing to do. */
static inline bool gc_unswept(const struct gc_span *gs)
{
    return __atomic_load_n(&gs->generation, __ATOMIC_RELAXED) ==
           __atomic_load_n(&gc.generation, __ATOMIC_RELAXED) - 2;
}

#endif
