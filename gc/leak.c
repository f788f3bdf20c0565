/*
 * Leak check: which sh_malloc objects does nothing refer to?
 *
 * Roots are those of the collector and all live collected objects; manual objects are followed, and looked
 * into as if they were conservative ones.  Nothing is freed, and no cycle is needed.
 */
#include "gc/cycle.h"

#include "gc/finalize.h"
#include "gc/mark.h"
#include "gc/roots.h"
#include "gc/second.h"
#include "mm/report.h"

struct leaks {
    void (*report)(const struct sh_object *, void *);
    void *arg;
    size_t count;
};

static bool manual(const struct mm_span *span)
{
    return span->gc == NULL;
}

static void tell(struct mm_span *span, uint32_t index, void *arg)
{
    struct leaks *leaks = arg;
    if (!gc_second_reached(span, index)) {
        struct sh_object object;
        leaks->count++;
        if (leaks->report != NULL &&
            sh_object_of((const void *)(span->base + span->inset + index * span->size), &object)) {
            leaks->report(&object, leaks->arg);
        }
    }
}

/* Collected objects that are kept are roots. */
static void from_collected(void)
{
    uintptr_t at = 0;
    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        struct gc_span *gs = span->gc;
        for (uint32_t i = 0; gs != NULL && gs->kind != GC_NOSCAN && i < gs->slots; i++) {
            if (!mm_span_is_free(span, i) && gc_is_kept(gs, i)) {
                gc_second_object(span, i);
            }
        }
        if (at == 0) {
            break;
        }
    }
}

size_t sh_leak_check(void (*report)(const struct sh_object *, void *arg), void *arg)
{
    struct leaks leaks = { report, arg, 0 };
    if (!gc_allowed("sh_leak_check") || !gc_enter()) {
        return SIZE_MAX;
    }
    bool ok = gc_second_reserve(manual);
    gc_stop();
    ok = ok && gc_second_begin(manual, manual);
    if (ok) {
        gc_roots_each(gc_second_range, NULL, GC_STACKS_NOW);
        from_collected();
        gc_second_drain();
        gc_second_each(tell, &leaks);
        gc_second_end();
    }
    gc_resume();
    gc_second_release();
    gc_leave();
    return ok ? leaks.count : SIZE_MAX;
}
