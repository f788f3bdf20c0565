/*
 * The rank check of debug builds (see lock.h): a bit a rank and CPU for the locks that it holds.
 */
#include "mm/lock.h"

#include "mm/cache.h"
#include "mm/report.h"

static uint32_t held[MM_CPU_RECORDS];

void mm_lock_check(const struct mm_lock *lock, bool taking)
{
    if (!MM_DEBUG) {
        return;
    }
    uint32_t *ranks = &held[mm_cpu_self() - mm_cpu], bit = (uint32_t)1 << lock->rank;
    if (mm_dead()) {
        *ranks = 0; /* the kernel may have left the heap by a jump, with a lock held */
        return;
    }
    if (!taking) {
        *ranks &= ~bit;
        return;
    }
    if (*ranks >> lock->rank != 0) {
        uint32_t inner = *ranks;
        *ranks = 0;
        mm_corruption("a lock of rank %z is taken while ranks %x are held", (size_t)lock->rank,
                      (uintptr_t)inner);
    }
    *ranks |= bit;
}
