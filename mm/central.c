/*
 * Central lists (see central.h): what a CPU gives up when it goes offline or has more than it can use,
 * and what refill looks at before it asks for a new span.  One lock a class; never two at once.
 */
#include "mm/central.h"

#include "mm/lock.h"
#include "mm/report.h"

struct central {
    struct mm_span *head, *tail;
    struct mm_lock lock;
};

static struct central central[MM_CLASSES] = {
    [0 ... MM_CLASSES - 1] = { NULL, NULL, MM_LOCK_INIT(MM_RANK_CENTRAL) }
};

struct mm_span *mm_central_take(unsigned class)
{
    struct central *list = &central[class];
    if (__atomic_load_n(&list->head, __ATOMIC_RELAXED) == NULL || mm_dead()) {
        return NULL;
    }
    arch_flags flags = mm_lock(&list->lock);
    struct mm_span *span = list->head;
    if (span != NULL) {
        mm_queue_remove(&list->head, &list->tail, span);
    }
    mm_unlock(&list->lock, flags);
    return span;
}

void mm_central_give(struct mm_span *span)
{
    struct central *list = &central[span->class];
    arch_flags flags = mm_lock(&list->lock);
    span->owner = NULL;
    mm_queue_push(&list->head, &list->tail, span);
    mm_unlock(&list->lock, flags);
}

void mm_central_remove(struct mm_span *span)
{
    struct central *list = &central[span->class];
    arch_flags flags = mm_lock(&list->lock);
    mm_queue_remove(&list->head, &list->tail, span);
    mm_unlock(&list->lock, flags);
}

int mm_central_verify(void)
{
    int faults = 0;
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        size_t count;
        faults += mm_cache_verify_list(central[class].head, central[class].tail, MM_PLACE_CENTRAL, class,
                                       &count);
    }
    return faults;
}

void mm_central_reset(void)
{
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        central[class].head = central[class].tail = NULL;
        mm_lock_reset(&central[class].lock);
    }
}
