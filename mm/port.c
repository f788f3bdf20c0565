/*
 * Calls of the port (see port.h).
 */
#include "mm/port.h"

#include "mm/budget.h"
#include "mm/context.h"
#include "mm/grow.h"
#include "mm/linear.h"
#include "mm/report.h"

MM_CALL uintptr_t mm_port_reserve(uintptr_t hint, size_t size, size_t align)
{
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    uintptr_t base = sh_arch_reserve(hint, size, align);
    mm_hook_leave(&mark);
    const char *refusal = base == 0 ? NULL : mm_range_refusal(base, size);
    if (refusal == NULL) {
        return base;
    }
    mm_log("sh_arch_reserve gave %x+%x: %s", base, (uintptr_t)size, refusal);
    /* A release would take away what is used there. */
    if (!mm_linear_overlaps(base, size) && !mm_grow_overlaps(base, size)) {
        mm_port_release(base, size);
    }
    return 0;
}

MM_CALL void mm_port_release(uintptr_t base, size_t size)
{
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    sh_arch_release(base, size);
    mm_hook_leave(&mark);
}

bool mm_port_map(uintptr_t base, size_t size)
{
    if (!mm_budget_allows_tables(base, size)) {
        return false;
    }
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    bool ok = sh_arch_map(base, size);
    mm_hook_leave(&mark);
    return ok;
}

bool mm_port_commit(uintptr_t base, size_t size)
{
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    bool ok = sh_arch_commit(base, size);
    mm_hook_leave(&mark);
    return ok;
}

void mm_port_decommit(uintptr_t base, size_t size)
{
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    sh_arch_decommit(base, size);
    mm_hook_leave(&mark);
}

void mm_port_fault(uintptr_t base, size_t size)
{
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    sh_arch_fault(base, size);
    mm_hook_leave(&mark);
}

int mm_port_verify(void)
{
    const struct sh_port *port = mm_port();
    return port == NULL || port->verify == NULL ? 0 : (int)port->verify();
}
