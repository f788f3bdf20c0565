/*
 * Locks.  Taking one masks interrupts on this CPU; with SH_MAX_CPUS = 1 the mask is all there is.  No
 * lock is held with interrupts on, none across a call of the port or of the host kernel.
 *
 * A lock may be taken only while all locks held by this CPU have a lower rank: the enum is the order,
 * outer to inner.  Debug builds check it.
 */
#ifndef MM_LOCK_H
#define MM_LOCK_H

#include "cpu.h"
#include "mm/config.h"

enum mm_rank {
    MM_RANK_GC_CYCLE,
    MM_RANK_GC_ROOTS,
    MM_RANK_GC_WORK,
    MM_RANK_CACHE,   /* of a guarded heap: its one cache */
    MM_RANK_CENTRAL, /* one a class; never two */
    MM_RANK_KEPT,    /* one a CPU; never two */
    MM_RANK_HEAP,
    MM_RANK_ARENA,
    MM_RANK_META,
    MM_RANK_CONSOLE,
    MM_RANKS
};

struct mm_lock {
    uint8_t taken; /* only with more than one CPU */
    uint8_t rank;
};

#define MM_LOCK_INIT(level) { 0, (level) }

void mm_lock_check(const struct mm_lock *lock, bool taking);

static inline arch_flags mm_lock(struct mm_lock *lock)
{
    arch_flags flags = arch_irq_save();
    if (MM_DEBUG) {
        mm_lock_check(lock, true);
    }
    if (SH_MAX_CPUS > 1) {
        while (__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE) != 0) {
            while (__atomic_load_n(&lock->taken, __ATOMIC_RELAXED) != 0) {
                arch_pause();
            }
        }
    }
    return flags;
}

static inline void mm_unlock(struct mm_lock *lock, arch_flags flags)
{
    if (MM_DEBUG) {
        mm_lock_check(lock, false);
    }
    if (SH_MAX_CPUS > 1) {
        __atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
    }
    arch_irq_restore(flags);
}

/* Free, whoever held it: of a heap that is started anew. */
static inline void mm_lock_reset(struct mm_lock *lock)
{
    if (SH_MAX_CPUS > 1) {
        lock->taken = 0;
    }
}

#endif
