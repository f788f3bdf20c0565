/*
 * Kept runs (see kept.h).
 *
 * A CPU has up to four runs a size step, and four steps an octave.  They are taken from the page allocator's point
 * of view, count as free, and go back to it when pages run short, at a trim, and beyond a CPU's share of the
 * pages in use.
 *
 * A CPU's runs are under a lock of their own, which others take only when they need pages: large objects come
 * and go without the heap lock.  No other lock is taken under it.
 */
#include "mm/kept.h"

#include "mm/cache.h"
#include "mm/heap.h"
#include "mm/lock.h"
#include "mm/memory.h"
#include "mm/report.h"

#define OCTAVES 10 /* runs of 1 … 1023 pages */
#define STEPS (OCTAVES * 4)
#define EACH 4
#define LOOK 5 /* steps at which a run for a request is looked for: up to twice its size */

static_assert(MM_RUN_CACHE_LIMIT >> MM_PAGE_SHIFT >> OCTAVES == 0, "every kept run has a step");

/* A stack of runs of about one size. */
struct step {
    struct mm_span *run[EACH];
    size_t count;
};

static struct kept {
    size_t pages;
    struct step step[STEPS];
} kept[SH_MAX_CPUS];
static struct mm_lock locks[SH_MAX_CPUS] = { [0 ... SH_MAX_CPUS - 1] = MM_LOCK_INIT(MM_RANK_KEPT) };

/* Four steps an octave: the two bits below the highest. */
static unsigned step_of(size_t pages)
{
    unsigned top = (unsigned)MM_WORD_BITS - 1 - arch_clz(pages);
    return (unsigned)(top < 2 ? pages : top * 4 + (pages >> (top - 2) & 3));
}

/* Under the lock; others look without it whether there is anything. */
static void count(struct kept *of, size_t pages)
{
    __atomic_store_n(&of->pages, of->pages + pages, __ATOMIC_RELAXED);
    mm_heap_keep(pages);
}

/* A run of a step that has `pages`. */
static struct mm_span *take(struct kept *from, struct step *step, size_t pages)
{
    for (size_t i = 0; i < step->count; i++) {
        struct mm_span *span = step->run[i];
        if (span->page_count >= pages) {
            step->run[i] = step->run[--step->count];
            count(from, -(size_t)span->page_count);
            return span;
        }
    }
    return NULL;
}

/* The smallest step first; in use when it returns. */
static struct mm_span *get(size_t pages)
{
    unsigned cpu = mm_cpu_about();
    struct kept *here = &kept[cpu];
    struct step *step = &here->step[step_of(pages)], *end = step + LOOK;
    struct mm_span *span = NULL;
    arch_flags flags = mm_lock(&locks[cpu]);
    for (; step < end && step < here->step + STEPS && span == NULL; step++) {
        span = take(here, step, pages);
    }
    if (span != NULL) {
        span->flags = 0;
        span->free[0] = 0;
        mm_span_set_state(span, MM_SPAN_LARGE);
    }
    mm_unlock(&locks[cpu], flags);
    return span;
}

/* Is a CPU's share of the pages in use so large? */
static bool may_keep(size_t pages)
{
    size_t share = __atomic_load_n(&mm_heap_counts.spans, __ATOMIC_RELAXED) >> MM_RUN_CACHE_SHARE;
    return pages <= MM_RUN_CACHE_LEAST || pages * mm_cpus <= share;
}

static bool put(struct mm_span *span)
{
    size_t pages = span->page_count;
    unsigned cpu = mm_cpu_about();
    struct kept *here = &kept[cpu];
    struct step *step = &here->step[step_of(pages)];
    arch_flags flags = mm_lock(&locks[cpu]);
    bool ok = step->count < EACH && may_keep(here->pages + pages);
    if (ok) {
        step->run[step->count++] = span;
        count(here, pages);
    }
    mm_unlock(&locks[cpu], flags);
    return ok;
}

static bool is_kept(size_t pages)
{
    return mm_mode.keeps && pages <= MM_RUN_CACHE_LIMIT >> MM_PAGE_SHIFT;
}

MM_CALL struct mm_span *mm_kept_obtain(size_t pages, size_t align)
{
    struct mm_span *span = align == 1 && is_kept(pages) ? get(pages) : NULL;
    return span != NULL ? span : mm_heap_span_large(pages, align, MM_SPAN_LARGE);
}

MM_CALL void mm_kept_retire(struct mm_span *span)
{
    if (!is_kept(span->page_count) || !put(span)) {
        mm_heap_release(span);
    }
}

/* A CPU's largest. */
static struct mm_span *drop(unsigned cpu)
{
    struct kept *from = &kept[cpu];
    if (__atomic_load_n(&from->pages, __ATOMIC_RELAXED) == 0) {
        return NULL;
    }
    struct mm_span *span = NULL;
    arch_flags flags = mm_lock(&locks[cpu]);
    for (unsigned step = STEPS; step-- > 0 && span == NULL;) {
        span = take(from, &from->step[step], 1);
    }
    mm_unlock(&locks[cpu], flags);
    return span;
}

struct mm_span *mm_kept_drop(void)
{
    struct mm_span *span = drop(mm_cpu_about());
    for (unsigned cpu = 0; span == NULL && cpu < SH_MAX_CPUS && SH_MAX_CPUS > 1; cpu++) {
        span = drop(cpu);
    }
    return span;
}

MM_CALL void mm_kept_release(unsigned cpu)
{
    for (struct mm_span *span; (span = drop(cpu)) != NULL;) {
        mm_heap_release(span);
    }
}

void mm_kept_flush(void)
{
    for (unsigned cpu = 0; cpu < SH_MAX_CPUS; cpu++) {
        mm_kept_release(cpu);
    }
}

static int verify(const struct kept *of)
{
    size_t pages = 0;
    int faults = 0;
    for (unsigned number = 0; number < STEPS; number++) {
        const struct step *step = &of->step[number];
        if (step->count > EACH) {
            return faults + mm_fault_found("kept runs: too many in step", number);
        }
        for (size_t i = 0; i < step->count; i++) {
            const struct mm_span *span = step->run[i];
            if (!mm_span_is(span, MM_SPAN_DEAD) || step_of(span->page_count) != number) {
                faults += mm_fault_found("kept run", (uintptr_t)span);
                continue;
            }
            pages += span->page_count;
        }
    }
    return faults != 0 ? faults : mm_verify_equal("pages in a CPU's kept runs", pages, of->pages);
}

int mm_kept_verify(size_t *pages)
{
    int faults = 0;
    for (unsigned cpu = 0; cpu < SH_MAX_CPUS; cpu++) {
        faults += verify(&kept[cpu]);
        *pages += kept[cpu].pages;
    }
    return faults;
}

void mm_kept_reset(void)
{
    for (unsigned cpu = 0; cpu < SH_MAX_CPUS; cpu++) {
        mm_lock_reset(&locks[cpu]);
    }
    memset(kept, 0, sizeof kept);
}
