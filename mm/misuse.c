/*
 * Reports of misuse (see misuse.h).  An address is described from one lock-free look at its span, so that
 * a report can be made in any context and about any bit pattern.
 */
#include "mm/misuse.h"

#include "mm/explain.h"
#include "mm/report.h"

#define LINE 200

void mm_misuse_pointer(const char *caller, uintptr_t address)
{
    char what[LINE], beside[LINE / 2];
    mm_explain_place(address, what, sizeof what);
    mm_explain_neighbours(address, beside, sizeof beside);
    mm_misuse("%s(%x): %s%s", caller, address, what, beside);
}

bool mm_misuse_cpu_found(void)
{
    if (!MM_CPU_NUMBERED || !mm_mode.started || mm_dead()) {
        return false;
    }
    mm_misuse("%s: CPU %z calls, and sh_config.cpus is %z", MM_CPU_NUMBER_OF, (size_t)MM_CPU_NUMBER,
              (size_t)mm_cpus);
    return true;
}

MM_CALL void mm_misuse_size(const char *caller, const struct mm_view *view, size_t size)
{
    mm_misuse("%s(%x, %z): wrong size: it is a live object of %z bytes", caller, view->base, size,
              view->size);
}
