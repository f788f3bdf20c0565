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

void mm_misuse_size(const char *caller, const struct mm_view *view, size_t size)
{
    mm_misuse("%s(%x, %z): wrong size: it is a live object of %z bytes", caller, view->base, size,
              view->size);
}
