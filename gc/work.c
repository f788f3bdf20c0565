/*
 * The work queue (see work.h).
 */
#include "gc/work.h"

static struct gc_span *head, *tail;

void gc_work_push(struct gc_span *gs)
{
    gs->queue = NULL;
    if (head == NULL) {
        __atomic_store_n(&head, gs, __ATOMIC_RELAXED);
    } else {
        tail->queue = gs;
    }
    tail = gs;
}

struct gc_span *gc_work_pop(void)
{
    struct gc_span *gs = head;
    if (gs != NULL) {
        __atomic_store_n(&head, gs->queue, __ATOMIC_RELAXED);
    }
    return gs;
}

bool gc_work_empty(void)
{
    return __atomic_load_n(&head, __ATOMIC_RELAXED) == NULL;
}

void gc_work_reset(void)
{
    head = tail = NULL;
}
