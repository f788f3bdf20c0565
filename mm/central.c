/*
 * Central lists (see central.h): what a CPU gives up when it goes offline or has more than it can use,
 * and what refill looks at before it asks for a new span.  One lock a class; never two at once.  A span that
 * was full when its CPU gave it up has no owner either, and comes to the list at its first free.
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

arch_flags mm_central_lock(unsigned class)
{
    return mm_lock(&central[class].lock);
}

void mm_central_unlock(unsigned class, arch_flags flags)
{
    mm_unlock(&central[class].lock, flags);
}

void mm_central_add(struct mm_span *span)
{
    struct central *list = &central[span->class];
    mm_queue_push(&list->head, &list->tail, span);
}

void mm_central_remove(struct mm_span *span)
{
    struct central *list = &central[span->class];
    mm_queue_remove(&list->head, &list->tail, span);
}

struct mm_span *mm_central_take(unsigned class, struct mm_cpu *cpu)
{
    struct central *list = &central[class];
    if (__atomic_load_n(&list->head, __ATOMIC_RELAXED) == NULL || mm_dead()) {
        return NULL;
    }
    arch_flags flags = mm_lock(&list->lock);
    struct mm_span *span = list->head;
    if (span != NULL) {
        mm_central_remove(span);
        __atomic_store_n(&span->owner, cpu, __ATOMIC_RELEASE); /* not local: late frees may wait */
    }
    mm_unlock(&list->lock, flags);
    return span;
}

MM_CALL void mm_central_give(struct mm_span *span)
{
    unsigned class = span->class;
    arch_flags flags = mm_central_lock(class);
    mm_span_set_local(span, NULL);
    __atomic_store_n(&span->owner, NULL, __ATOMIC_SEQ_CST);
    if (span->place == MM_PLACE_CENTRAL) {
        mm_central_add(span);
    }
    mm_central_unlock(class, flags);
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
