/*
 * The sweep: marks become free bits.
 */
#ifndef GC_SWEEP_H
#define GC_SWEEP_H

#include "gc/state.h"

/* Marking ended: every span is to be swept.  The world stands, no span is in an entry.  Under the lock. */
void gc_sweep_start(void);

/* Sweeps one span of those left, those first of which nothing is kept; false = there was none.  No lock. */
bool gc_sweep_one(void);
/* Sweeps spans of the kind and class, at most `most`, until one that stays has free slots; it is listed.
 * false = there was none. */
bool gc_sweep_for(enum gc_kind kind, unsigned class, unsigned most);
/* Sweeps this span if it was not; false = it is gone, nothing of it was kept.  `gs` is not in an entry. */
bool gc_sweep_ensure(struct gc_span *gs);
/* Called for tests when the last statement of a sweep has released a span; NULL = none. */
extern void (*gc_sweep_probe)(uintptr_t base, size_t page_count);

void gc_sweep_reset(void);

#endif
