/*
 * Checkmark: does the second marker reach an object that the first did not mark?
 *
 * For tests.  It asks in one direction: what was reached when the cycle began is marked, and may not be
 * reached any more.  After a cycle of steps it leaves out the stacks, where words may lie that nobody has
 * written since they referred to something.
 */
#include "gc/cycle.h"

#include "gc/finalize.h"
#include "gc/mark.h"
#include "gc/roots.h"
#include "gc/second.h"
#include "mm/report.h"

static bool collected(const struct mm_span *span)
{
    return span->gc != NULL;
}

static bool looked_into(const struct mm_span *span)
{
    return span->gc->kind != GC_NOSCAN;
}

static void reach_uncollectable(struct mm_span *span, uint32_t index, void *arg)
{
    (void)arg;
    if (span->gc->kind == GC_UNCOLLECTABLE) {
        gc_second_object(span, index);
    }
}

static void compare(struct mm_span *span, uint32_t index, void *arg)
{
    size_t *lost = arg;
    if (!gc_is_marked(span->gc, index) && gc_second_reached(span, index)) {
        if ((*lost)++ < 8) {
            mm_log("checkmark: %z-byte object at %x is reached, but not marked", span->size,
                   gc_object(span->gc, index));
        }
    }
}

void gc_checkmark_prepare(void)
{
    if (gc.config.check) {
        gc_second_reserve(collected);
    }
}

void gc_checkmark_done(void)
{
    if (gc.config.check) {
        gc_second_release();
    }
}

size_t gc_checkmark(bool stacks)
{
    size_t lost = 0;
    if (!gc_second_begin(collected, looked_into)) {
        mm_log("checkmark: left out: no heap memory for a second marker");
        return 0;
    }
    gc_roots_each(gc_second_range, NULL, stacks ? GC_STACKS_BEGUN : GC_STACKS_NONE);
    gc_second_each(reach_uncollectable, NULL);
    gc_special_each_due(gc_second_range);
    gc_second_drain();
    gc_second_each(compare, &lost);
    gc_second_end();
    return lost;
}
