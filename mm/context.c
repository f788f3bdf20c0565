/*
 * Contexts (see context.h).  The marks are a list under a lock of the innermost rank.
 */
#include "mm/context.h"

#include "mm/cache.h"
#include "mm/lock.h"
#include "mm/report.h"

static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_CONSOLE);
static struct mm_hook_mark *marks;

MM_CALL void mm_hook_enter(struct mm_hook_mark *mark)
{
    arch_flags flags = mm_lock(&lock);
    mark->next = marks;
    mark->link = &marks;
    if (marks != NULL) {
        marks->link = &mark->next;
    }
    __atomic_store_n(&marks, mark, __ATOMIC_RELAXED); /* nested() looks first */
    mm_unlock(&lock, flags);
}

MM_CALL void mm_hook_leave(struct mm_hook_mark *mark)
{
    arch_flags flags = mm_lock(&lock);
    __atomic_store_n(mark->link, mark->next, __ATOMIC_RELAXED);
    if (mark->next != NULL) {
        mark->next->link = mark->link;
    }
    mm_unlock(&lock, flags);
}

static bool nested(void)
{
    if (__atomic_load_n(&marks, __ATOMIC_RELAXED) == NULL) {
        return false;
    }
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    bool found = false;
    arch_flags flags = mm_lock(&lock);
    for (const struct mm_hook_mark *mark = marks; mark != NULL; mark = mark->next) {
        found |= (uintptr_t)mark - here < MM_HOOK_STACK;
    }
    mm_unlock(&lock, flags);
    return found;
}

enum sh_context mm_context(void)
{
    enum sh_context context = mm_hooks.context == NULL ? SH_THREAD : mm_hooks.context();
    return context == SH_THREAD && nested() ? SH_INTERRUPT : context;
}

void mm_context_reset(void)
{
    mm_lock_reset(&lock);
    marks = NULL;
}

bool mm_may_grow(void)
{
    return mm_context() == SH_THREAD;
}

bool mm_may_wait(void)
{
    return mm_cpus > 1 || arch_irq_enabled();
}

bool mm_may_flush(void)
{
    return mm_may_grow() && (mm_cpus == 1 || arch_irq_enabled());
}
