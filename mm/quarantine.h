/*
 * The quarantine: freed objects in the order they were freed, held back from reuse until there are more
 * of them than `quarantine` bytes.
 */
#ifndef MM_QUARANTINE_H
#define MM_QUARANTINE_H

#include "mm/span.h"

MM_CALL void mm_quarantine_start(size_t bytes);

/* Takes over the object at `base` that was just freed: a slot whose freed bit is set, or a dead span.
 * false = there is no quarantine, or the object is too large for it.  Others may be released. */
bool mm_quarantine_put(struct mm_span *span, uintptr_t base);

/* Releases all, when memory runs short; true = there was something. */
bool mm_quarantine_flush(void);

/* Small objects, and pages of large ones, that are held. */
size_t mm_quarantine_slots(void);
size_t mm_quarantine_pages(void);

void mm_quarantine_reset(void);

#endif
