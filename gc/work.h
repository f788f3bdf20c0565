/*
 * The work queue: spans that hold marked objects nobody has looked into yet, first in, first out.
 *
 * A list through the spans' descriptors: it needs no memory, and the number of spans bounds it.  First in,
 * first out gives a span time to collect marks before it comes up.  Under the work lock.
 */
#ifndef GC_WORK_H
#define GC_WORK_H

#include "gc/span.h"

/* The span is not in the queue: its `pending` was 0. */
void gc_work_push(struct gc_span *gs);
/* NULL = empty. */
struct gc_span *gc_work_pop(void);
/* Without the lock: a moment ago. */
bool gc_work_empty(void);
void gc_work_reset(void);

#endif
