/*
 * The handlers' reserve (see reserve.h).
 *
 * A handler may not call the port, so an allocation that finds nothing in caches and lists, and whose pages
 * have no frames, would be NULL.  Each CPU has a run of committed pages aside for it: a dead span, counted as
 * kept, of which handlers cut pieces from the end; and descriptors for as many spans as it has pages.  Threads
 * fill it up again whenever they come by the heap.  It does not serve threads, also not in need: then it
 * would be gone when a handler comes.
 *
 * All is under the heap lock.  A new run is complete before it replaces the old one.
 */
#include "mm/reserve.h"

#include "mm/cache.h"
#include "mm/context.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/memory.h"
#include "mm/report.h"

static size_t target; /* pages a CPU */
static struct reserve {
    struct mm_span *run;   /* NULL = none */
    struct mm_span *spare; /* descriptors, linked by `next` */
    size_t spares;
} reserves[MM_CPU_RECORDS];

MM_CALL void mm_reserve_start(size_t bytes)
{
    target = mm_align_up(bytes, SH_GRANULE_SIZE) >> MM_PAGE_SHIFT;
    mm_mode.reserves = target != 0;
}

static bool is_full(const struct reserve *reserve)
{
    return reserve->run != NULL && reserve->run->page_count == target && reserve->spares >= target;
}

static void spare_push(struct reserve *reserve, struct mm_span *span)
{
    span->next = reserve->spare;
    reserve->spare = span;
    reserve->spares++;
}

static struct mm_span *spare_pop(struct reserve *reserve)
{
    struct mm_span *span = reserve->spare;
    if (span != NULL) {
        reserve->spare = span->next;
        reserve->spares--;
    }
    return span;
}

/* The old run goes back to the heap. */
static void replace_run(struct reserve *reserve, struct mm_span *run)
{
    arch_flags flags = mm_lock(&mm_heap_lock);
    struct mm_span *old = reserve->run;
    reserve->run = run;
    mm_heap_keep(run == NULL ? 0 : run->page_count);
    mm_heap_unkeep(old == NULL ? 0 : old->page_count);
    mm_unlock(&mm_heap_lock, flags);
    if (old != NULL) {
        mm_heap_release(old);
    }
}

static bool fill_spares(struct reserve *reserve)
{
    while (__atomic_load_n(&reserve->spares, __ATOMIC_RELAXED) < target) {
        struct mm_span *span = mm_span_obtain_spare();
        if (span == NULL) {
            return false;
        }
        arch_flags flags = mm_lock(&mm_heap_lock);
        spare_push(reserve, span);
        mm_unlock(&mm_heap_lock, flags);
    }
    return true;
}

static struct mm_span *make_run(void)
{
    bool fresh;
    struct mm_span *span = mm_span_obtain(1, true);
    uintptr_t base = span == NULL ? 0 : mm_heap_alloc(target, 1, MM_COMMIT_NOW, &fresh, &span);
    if (base != 0) {
        mm_span_open_large(span, base, target, MM_SPAN_DEAD);
        return span;
    }
    mm_span_recycle(span);
    return NULL;
}

static void fill(struct reserve *reserve)
{
    struct mm_span *run = fill_spares(reserve) ? make_run() : NULL;
    if (run != NULL) {
        replace_run(reserve, run);
    }
}

void mm_reserve_fill(void)
{
    for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
        arch_flags flags = mm_lock(&mm_heap_lock);
        bool full = is_full(&reserves[cpu]);
        mm_unlock(&mm_heap_lock, flags);
        if (!full) {
            fill(&reserves[cpu]);
        }
    }
}

uintptr_t mm_reserve_take(size_t count, struct mm_span **descriptor)
{
    uintptr_t base = 0;
    struct mm_span *used_up = NULL;
    arch_flags flags = mm_lock(&mm_heap_lock);
    struct reserve *reserve = &reserves[mm_cpu_self() - mm_cpu];
    struct mm_span *run = reserve->run;
    if (run != NULL && run->page_count >= count && reserve->spare != NULL) {
        *descriptor = spare_pop(reserve);
        run->page_count -= (uint32_t)count;
        run->size = mm_span_bytes(run);
        base = run->base + run->size;
        mm_heap_unkeep(count);
        if (run->page_count == 0) {
            reserve->run = NULL;
            used_up = run; /* no spare: it has room for one slot's bits */
        }
    }
    mm_unlock(&mm_heap_lock, flags);
    if (base != 0) {
        mm_span_enter(&mm_span_dummy, base, count);
    }
    mm_span_recycle(used_up);
    return base;
}

void mm_reserve_release(unsigned cpu)
{
    struct mm_span *span;
    replace_run(&reserves[cpu], NULL);
    do {
        arch_flags flags = mm_lock(&mm_heap_lock);
        span = spare_pop(&reserves[cpu]);
        mm_unlock(&mm_heap_lock, flags);
        mm_span_recycle(span);
    } while (span != NULL);
}

size_t mm_reserve_pages(void)
{
    size_t pages = 0;
    for (unsigned cpu = 0; cpu < SH_MAX_CPUS; cpu++) {
        pages += reserves[cpu].run == NULL ? 0 : reserves[cpu].run->page_count;
    }
    return pages;
}

int mm_reserve_verify(void)
{
    int faults = 0;
    for (unsigned cpu = 0; cpu < SH_MAX_CPUS; cpu++) {
        const struct mm_span *run = reserves[cpu].run;
        size_t spares = 0;
        for (const struct mm_span *span = reserves[cpu].spare; span != NULL; span = span->next) {
            if (!mm_linear_contains(span, sizeof *span) || ++spares > reserves[cpu].spares) {
                return faults + mm_fault_found("descriptors for handlers: CPU", cpu);
            }
        }
        faults += mm_verify_equal("descriptors for handlers", spares, reserves[cpu].spares);
        if (run != NULL && (!mm_span_is(run, MM_SPAN_DEAD) || run->page_count > target)) {
            faults += mm_fault_found("pages for handlers: CPU", cpu);
        }
    }
    return faults;
}

void mm_reserve_reset(void)
{
    target = 0;
    memset(reserves, 0, sizeof reserves);
}
