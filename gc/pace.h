/*
 * Pacing: when the next cycle begins, and how fast the last one is swept.  Integers only.
 */
#ifndef GC_PACE_H
#define GC_PACE_H

#include "gc/state.h"

/* The collector begins: the goal is the minimal heap. */
void gc_pace_start(void);
/* Marking ended, so many bytes are kept: sets the goal. */
void gc_pace_marked(size_t kept);
/* Is the goal reached, or, while a cycle marks, twice that? */
bool gc_pace_due(void);
/* Before a new span of so many pages: sweeps in proportion. */
void gc_pace_span(size_t page_count);
void gc_pace_reset(void);

#endif
