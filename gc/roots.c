/*
 * Roots (see roots.h).  The ranges are a list under the roots lock; a cycle goes through it once, in pieces,
 * and remembers the place: what stands before that is done, or came later.
 *
 * Who looks for a range lets others in every GC_BURST ranges, and begins again if the list has changed.
 *
 * A range that comes while a cycle marks is looked at at once: what it refers to may be reached by nothing
 * else.  One that goes and was not looked at yet likewise: the thread that takes it away may have read it.
 */
#include "gc/roots.h"

#include "gc/mark.h"
#include "gc/finalize.h"
#include "mm/context.h"
#include "mm/linear.h"
#include "mm/misuse.h"
#include "mm/report.h"

struct range {
    struct range *next;
    const uintptr_t *low, *high; /* whole words */
    const void *start;           /* as it was given */
    size_t size;
};

static struct mm_fixed records = { .size = sizeof(struct range) };
static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_GC_ROOTS);
static struct range *ranges;
static const struct range *left; /* the first that is not done */
static const uintptr_t *at;      /* of that one: looked at to here */
static unsigned changes;         /* of the list, and of `left` back to its begin */

static void go_to(const struct range *range)
{
    left = range;
    at = range == NULL ? NULL : range->low;
}

void gc_roots_start(void)
{
    arch_flags flags = mm_lock(&lock);
    go_to(ranges);
    changes++;
    mm_unlock(&lock, flags);
}

/* Looks at [low, high) in bursts. */
static size_t mark_all(const uintptr_t *low, const uintptr_t *high)
{
    size_t words = low < high ? (size_t)(high - low) : 0;
    while (low < high) {
        arch_flags flags = gc_lock();
        low = gc_mark_range(low, high, GC_BURST);
        gc_unlock(flags);
    }
    return words;
}

static const uintptr_t *word_up(const void *address)
{
    return (const uintptr_t *)mm_align_up((uintptr_t)address, sizeof(uintptr_t));
}

static const uintptr_t *word_down(const void *address)
{
    return (const uintptr_t *)mm_align_down((uintptr_t)address, sizeof(uintptr_t));
}

static void mark_stack(const void *low, const void *high, void *arg)
{
    *(size_t *)arg += mark_all(word_up(low), word_down(high));
}

struct stacks {
    uintptr_t here; /* the collector's own stack pointer */
    uintptr_t from; /* of its own stack no more than what lies above this; 0 = all from `here` */
    void (*each)(const void *low, const void *high, void *arg);
    void *arg;
};

static void clip(const void *low, const void *high, void *arg)
{
    const struct stacks *stacks = arg;
    uintptr_t here = stacks->here, from = stacks->from;
    if (here - (uintptr_t)low < (uintptr_t)high - (uintptr_t)low) {
        low = (const void *)(from - here < (uintptr_t)high - here ? from : here);
    }
    stacks->each(low, high, stacks->arg);
}

static uintptr_t begun_at; /* the collector's stack pointer when a cycle looked at the stacks */

static void each_stack(uintptr_t here, void *arg)
{
    struct stacks *stacks = arg;
    struct mm_hook_mark mark;
    stacks->here = here;
    begun_at = stacks->each == mark_stack ? here : begun_at;
    mm_hook_enter(&mark);
    mm_hooks.scan_stacks(clip, stacks);
    mm_hook_leave(&mark);
}

size_t gc_roots_stacks(void)
{
    size_t words = 0;
    struct stacks stacks = { 0, 0, mark_stack, &words };
    if (mm_hooks.scan_stacks != NULL) {
        arch_spill(each_stack, &stacks);
    }
    return words;
}

void gc_roots_each(void (*each)(const void *low, const void *high, void *arg), void *arg, enum gc_stacks which)
{
    struct stacks stacks = { 0, which == GC_STACKS_BEGUN ? begun_at : 0, each, arg };
    for (const struct range *range = ranges; range != NULL; range = range->next) {
        each(range->low, range->high, arg);
    }
    if (which != GC_STACKS_NONE && mm_hooks.scan_stacks != NULL) {
        arch_spill(each_stack, &stacks);
    }
}

/* Some of the ranges. */
static size_t ranges_some(size_t budget)
{
    size_t done = 0;
    arch_flags flags = mm_lock(&lock);
    while (left != NULL && done < budget) {
        const uintptr_t *from = at;
        arch_flags inner = gc_lock();
        at = gc_mark_range(from, left->high, budget - done);
        gc_unlock(inner);
        done += (size_t)(at - from);
        if (at == left->high) {
            done += GC_SPAN_COST;
            go_to(left->next);
        }
    }
    mm_unlock(&lock, flags);
    return done;
}

/* The next uncollectable span that was not looked at; they are touched by that. */
static size_t uncollectable_some(void)
{
    static unsigned class;
    size_t done = 0;
    arch_flags flags = gc_lock();
    for (unsigned looked = 0; looked < GC_CLASSES && done == 0; looked++) {
        struct gc_link *lists = gc.classes[GC_UNCOLLECTABLE][class].list;
        for (unsigned full = GC_PARTIAL; full <= GC_FULL && done == 0; full++) {
            if (!gc_list_empty(&lists[full])) {
                struct gc_span *gs = gc_span_of_link(lists[full].next);
                gc_span_touch(gs);
                gc_mark_all(gs);
                done = GC_SPAN_COST;
            }
        }
        if (done == 0) {
            class = class + 1 == GC_CLASSES ? 0 : class + 1;
        }
    }
    gc_unlock(flags);
    return done;
}

size_t gc_roots_some(size_t budget)
{
    size_t done = 0, some = 1;
    while (done < budget && some != 0) {
        size_t most = budget - done < GC_BURST ? budget - done : GC_BURST;
        some = ranges_some(most);
        if (some == 0) {
            some = uncollectable_some();
        }
        if (some == 0) {
            some = gc_special_mark_due();
        }
        done += some;
    }
    return done;
}

/* false = a walk has to begin again. */
static bool let_others_in(arch_flags *flags)
{
    unsigned before = changes;
    mm_unlock(&lock, *flags);
    *flags = mm_lock(&lock);
    return changes == before;
}

/* The link to a range that meets [base, base + size), or to none.  *waits = false: it stands before `left`, or is
 * it. */
static struct range **find(uintptr_t base, size_t size, bool *waits, arch_flags *flags)
{
    struct range **link = &ranges;
    *waits = false;
    for (unsigned hops = 1; *link != NULL && !mm_ranges_meet(base, size, (uintptr_t)(*link)->start, (*link)->size);
         hops++) {
        *waits = *waits || *link == left;
        link = &(*link)->next;
        if (hops % GC_BURST == 0 && !let_others_in(flags)) {
            link = &ranges;
            *waits = false;
        }
    }
    return link;
}

int sh_gc_add_root(const void *start, size_t size)
{
    uintptr_t base = (uintptr_t)start;
    if (!gc.started || mm_dead()) {
        return SH_E_STATE;
    }
    if (start == NULL || size == 0 || base + size <= base) {
        return SH_E_INVALID;
    }
    struct range *range = mm_fixed_obtain(&records, true);
    if (range == NULL) {
        return SH_E_NOMEM;
    }
    *range = (struct range){ NULL, word_up(start), word_down((const char *)start + size), start, size };
    if (range->high < range->low) {
        range->high = range->low;
    }
    bool waits;
    arch_flags flags = mm_lock(&lock);
    if (*find(base, size, &waits, &flags) != NULL) {
        mm_unlock(&lock, flags);
        mm_fixed_recycle(&records, range);
        return SH_E_OVERLAP;
    }
    range->next = ranges;
    ranges = range;
    changes++;
    mm_unlock(&lock, flags);
    if (gc.black) {
        mark_all(range->low, range->high);
    }
    return SH_OK;
}

void sh_gc_remove_root(const void *start)
{
    if (!gc.started || mm_dead()) {
        return;
    }
    bool waits;
    const uintptr_t *from = NULL;
    arch_flags flags = mm_lock(&lock);
    struct range **link = find((uintptr_t)start, 1, &waits, &flags), *range = *link;
    if (range != NULL && range->start != start) {
        range = NULL;
    }
    if (range != NULL) {
        *link = range->next;
        changes++;
        from = range == left ? at : waits ? range->low : range->high;
        if (range == left) {
            go_to(range->next);
        }
    }
    mm_unlock(&lock, flags);
    if (range == NULL) {
        mm_misuse("sh_gc_remove_root(%x): no root range begins there", (uintptr_t)start);
        return;
    }
    if (gc.black) {
        mark_all(from, range->high);
    }
    mm_fixed_recycle(&records, range);
}

int gc_roots_verify(void)
{
    for (const struct range *range = ranges; range != NULL; range = range->next) {
        if (!mm_linear_contains(range, sizeof *range) || (range == left && (at < range->low || at > range->high))) {
            return mm_fault_found("root range", (uintptr_t)range);
        }
    }
    return 0;
}

void gc_roots_reset(void)
{
    records.first = NULL;
    ranges = NULL;
    go_to(NULL);
    mm_lock_reset(&lock);
}
