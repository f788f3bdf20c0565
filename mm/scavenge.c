/*
 * sh_trim, the hard limit, demand commit: where frames come and go without an allocation.
 */
#include "mm/scavenge.h"

#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/context.h"
#include "mm/fence.h"
#include "mm/heap.h"
#include "mm/kept.h"
#include "mm/pages.h"
#include "mm/quarantine.h"
#include "mm/report.h"

MM_CALL size_t mm_scavenge(size_t keep)
{
    mm_fence_settle();
    if (mm_mode.guarded && keep == 0) {
        mm_quarantine_flush();
    }
    mm_cache_flush_empty();
    mm_kept_flush();
    return mm_heap_scavenge(keep);
}

size_t sh_trim(size_t keep_bytes)
{
    return mm_mode.started && !mm_dead() && mm_may_flush() ? mm_scavenge(keep_bytes) : 0;
}

int sh_set_limit(size_t bytes)
{
    if (!mm_mode.started || mm_dead()) {
        return SH_E_STATE;
    }
    size_t before = mm_budget_limit();
    /* Set first, so that nothing is taken meanwhile that the new limit forbids. */
    mm_budget_set_limit(bytes);
    if (bytes != 0 && mm_budget_held() > bytes) {
        if (mm_may_flush()) {
            mm_scavenge(0);
        }
        if (mm_budget_held() > bytes) {
            mm_budget_set_limit(before);
            return SH_E_BUSY;
        }
    }
    return SH_OK;
}

bool sh_handle_fault(uintptr_t address, bool write, bool present)
{
    (void)write;
    struct mm_view view;
    if (present || !mm_mode.demand || mm_dead() || mm_context() != SH_THREAD ||
        !mm_span_view(address, &view) || !view.live) {
        return false;
    }
    return mm_heap_commit(mm_align_down(address, SH_PAGE_SIZE), 1);
}
