/*
 * The work queue (see work.h).
 */
#include "gc/work.h"

static struct gc_span *head, *tail;

void gc_work_push(struct gc_span *gs)
{
    gs->queue = NULL;
    if (head == NULL) {
        head = gs;
    } else {
        tail->queue = gs;
    }
    tail = gs;
}

struct gc_span *gc_work_pop(void)
{
    struct gc_span *gs = head;
    if (gs != NULL) {
        head = gs->queue;
    }
    return gs;
}

bool gc_work_empty(void)
{
    return head == NULL;
}

void gc_work_reset(void)
{
    head = tail = NULL;
}
