/*
 * Fences (see fence.h).
 *
 * A freed object goes through `pending`: a list of dead spans whose pages are still there, because the
 * free may come from a handler, where the port must not be called.  mm_fence_settle empties it from a
 * thread.
 * The lists are under a lock of their own, taken with nothing held and with nothing inside it.
 */
#include "mm/fence.h"

#include "mm/cache.h"
#include "mm/context.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/malloc.h"
#include "mm/report.h"

struct list {
    struct mm_span *head, *tail;
};

static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_CENTRAL);
static struct list pool;    /* object pages, Prepared, oldest first */
static struct list pending; /* dead, still Ready */
static size_t dead_pages;   /* in both lists */
static bool pool_made;      /* or tried: it is made once */
static size_t sample;
static size_t until_sample; /* allocations to go */

MM_CALL void mm_fence_start(size_t each)
{
    sample = until_sample = each;
}

MM_CALL void mm_fence_used(size_t objects)
{
    size_t left = __atomic_load_n(&until_sample, __ATOMIC_RELAXED);
    __atomic_store_n(&until_sample, left > objects ? left - objects : 0, __ATOMIC_RELAXED);
}

bool mm_fence_due(void)
{
    if (sample == 0) {
        return false;
    }
    mm_fence_used(1);
    if (__atomic_load_n(&until_sample, __ATOMIC_RELAXED) != 0) {
        return false;
    }
    __atomic_store_n(&until_sample, sample, __ATOMIC_RELAXED);
    return true;
}

static void list_push(struct list *list, struct mm_span *span)
{
    arch_flags flags = mm_lock(&lock);
    mm_queue_push(&list->head, &list->tail, span);
    dead_pages += span->page_count;
    mm_unlock(&lock, flags);
}

static struct mm_span *list_pop(struct list *list)
{
    arch_flags flags = mm_lock(&lock);
    struct mm_span *span = list->head;
    if (span != NULL) {
        mm_queue_remove(&list->head, &list->tail, span);
        dead_pages -= span->page_count;
    }
    mm_unlock(&lock, flags);
    return span;
}

void mm_fence_settle(void)
{
    struct mm_span *span;
    while (mm_may_flush() && (span = list_pop(&pending)) != NULL) {
        if ((span->flags & MM_SPAN_POOL) != 0) {
            mm_heap_decommit(span->base, span->page_count);
            list_push(&pool, span);
        } else {
            mm_heap_unkeep(span->page_count);
            span->flags |= MM_SPAN_FAULTED;
            mm_heap_fault(span->base, span->page_count);
        }
    }
}

/* Turns a descriptor and its pages into an object page of the pool, which has had no object yet. */
static void pool_add(struct mm_span *span, uintptr_t base)
{
    mm_span_open_large(span, base, MM_GRANULE_PAGES, MM_SPAN_DEAD);
    span->size = 0;
    span->flags = MM_SPAN_FENCED | MM_SPAN_LOOSE | MM_SPAN_POOL;
    mm_heap_keep(span->page_count);
    mm_heap_decommit(base, MM_GRANULE_PAGES);
    list_push(&pool, span);
}

/* Descriptors, listed by `next`: as many as can be had. */
static size_t pool_descriptors(struct mm_span **list)
{
    size_t count = 0;
    *list = NULL;
    for (struct mm_span *span; count < MM_GUARD_POOL && (span = mm_span_obtain(1, true)) != NULL; count++) {
        span->next = *list;
        *list = span;
    }
    return count;
}

static struct mm_span *descriptor_pop(struct mm_span **list)
{
    struct mm_span *span = *list;
    if (span != NULL) {
        *list = span->next;
    }
    return span;
}

/* Guard, object page, guard, object page … guard: as many as there is room for.  Pages become guards only
 * when their objects' descriptors are there: they never are anything else again. */
static void pool_make(void)
{
    struct mm_span *spans, *span;
    uintptr_t base = 0;
    bool fresh;
    size_t objects = pool_descriptors(&spans);
    __atomic_store_n(&pool_made, objects != 0, __ATOMIC_RELAXED); /* records may be had the next time */
    for (; objects != 0 && base == 0; objects /= base == 0 ? 2 : 1) {
        base = mm_heap_alloc((2 * objects + 1) * MM_GRANULE_PAGES, MM_GRANULE_PAGES, MM_COMMIT_LATER, &fresh,
                             NULL);
    }
    for (size_t i = 0; base != 0 && i < objects; i++) {
        mm_heap_fault(base, MM_GRANULE_PAGES);
        pool_add(descriptor_pop(&spans), base + SH_GRANULE_SIZE);
        base += 2 * SH_GRANULE_SIZE;
    }
    if (base != 0) {
        mm_heap_fault(base, MM_GRANULE_PAGES);
    }
    while ((span = descriptor_pop(&spans)) != NULL) {
        mm_span_recycle(span);
    }
}

/* The object at the end of its pages; alive when it returns. */
static void open(struct mm_span *span, size_t size, size_t align)
{
    uintptr_t end = span->base + mm_span_bytes(span);
    uintptr_t object = mm_align_down(end - (size == 0 ? 1 : size), align);
    span->inset = (uint32_t)(object - span->base);
    span->size = end - object;
    span->free[0] = 0;
    if (span->notes != NULL) {
        span->notes[0] = (struct mm_note){ 0, 0, 0 };
    }
}

static bool claim_making(void)
{
    arch_flags flags = mm_lock(&lock);
    bool mine = !__atomic_load_n(&pool_made, __ATOMIC_ACQUIRE);
    if (mine) { /* or it might fail between the look and the store */
        __atomic_store_n(&pool_made, true, __ATOMIC_RELAXED);
    }
    mm_unlock(&lock, flags);
    return mine;
}

struct mm_span *mm_fence_sample(size_t size, size_t align)
{
    if (!mm_may_flush() || size > SH_GRANULE_SIZE || align > SH_GRANULE_SIZE) {
        return NULL;
    }
    mm_fence_settle();
    if (claim_making()) {
        pool_make();
    }
    struct mm_span *span = list_pop(&pool);
    if (span == NULL) {
        return NULL;
    }
    if (!mm_heap_commit(span->base, span->page_count)) {
        list_push(&pool, span);
        return NULL;
    }
    mm_heap_unkeep(span->page_count);
    open(span, size, align);
    mm_span_set_state(span, MM_SPAN_LARGE);
    return span;
}

/* `pages` committed pages, a guard behind them, a dead descriptor. */
static struct mm_span *fenced_run(size_t pages, size_t align)
{
    size_t guarded = mm_align_up(pages, MM_GRANULE_PAGES);
    size_t granules_align = align > MM_GRANULE_PAGES ? align : MM_GRANULE_PAGES;
    struct mm_span *span = guarded < pages ? NULL : mm_heap_descriptor(1);
    if (span == NULL) {
        return NULL;
    }
    bool fresh;
    uintptr_t base =
        mm_heap_alloc(guarded + MM_GRANULE_PAGES, granules_align, MM_COMMIT_LATER, &fresh, &span);
    if (base != 0 && mm_heap_commit(base, guarded)) {
        mm_heap_fault(base + (guarded << MM_PAGE_SHIFT), MM_GRANULE_PAGES);
        mm_span_open_large(span, base, guarded, MM_SPAN_DEAD);
        span->flags = MM_SPAN_FENCED | MM_SPAN_LOOSE;
        return span;
    }
    if (base != 0) {
        mm_heap_return(base, guarded + MM_GRANULE_PAGES);
    }
    mm_span_recycle(span);
    return NULL;
}

/* An object at the end of its pages. */
static struct mm_span *fenced(size_t pages, size_t size, size_t align, enum mm_span_state state)
{
    mm_fence_settle();
    struct mm_span *span = mm_may_flush() ? fenced_run(pages, align >> MM_PAGE_SHIFT) : NULL;
    if (span != NULL) {
        open(span, size, align);
        mm_span_set_state(span, state);
    }
    return span;
}

struct mm_span *mm_fence_alloc(size_t size, size_t align)
{
    size_t pages = mm_pages_for(size == 0 ? 1 : size);
    return pages == 0 ? NULL : fenced(pages, size, align, MM_SPAN_LARGE);
}

struct mm_span *mm_fence_alloc_pages(size_t count)
{
    return fenced(count, count << MM_PAGE_SHIFT, SH_PAGE_SIZE, MM_SPAN_PAGES);
}

bool mm_fence_free(struct mm_span *span)
{
    enum mm_span_state state = mm_span_state(span);
    if (state == MM_SPAN_DEAD || !mm_run_claim(span, state)) {
        return false;
    }
    mm_heap_keep(span->page_count);
    list_push(&pending, span);
    mm_fence_settle();
    return true;
}

size_t mm_fence_dead_pages(void)
{
    return dead_pages;
}

static int list_verify(const struct list *list, size_t *pages)
{
    for (const struct mm_span *span = list->head; span != NULL; span = span->next) {
        if (!mm_linear_contains(span, sizeof *span) || mm_span_state(span) != MM_SPAN_DEAD ||
            (span->flags & MM_SPAN_FENCED) == 0 || mm_span_of(span->base) != span ||
            (*pages += span->page_count) > dead_pages) {
            return mm_fault_found("list of fenced pages", (uintptr_t)span);
        }
    }
    return 0;
}

int mm_fence_verify(void)
{
    size_t pages = 0;
    int faults = list_verify(&pool, &pages) + list_verify(&pending, &pages);
    return faults != 0 ? faults : mm_verify_equal("pages of fenced objects to come", pages, dead_pages);
}

void mm_fence_reset(void)
{
    mm_lock_reset(&lock);
    pool = pending = (struct list){ NULL, NULL };
    dead_pages = sample = until_sample = 0;
    pool_made = false;
}
