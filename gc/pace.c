/*
 * Pacing (see pace.h).
 *
 * The goal is what the last cycle kept and `percent` of it more; at least the minimal heap; and no more than
 * what the hard limit leaves.  Until the heap has grown from what was kept to the goal, the spans that are to
 * be swept are swept by those who take new ones: so many bytes of new span pay for one sweep that the last
 * is done when the goal is reached.
 */
#include "gc/pace.h"

#include "gc/alloc.h"
#include "gc/sweep.h"
#include "mm/budget.h"

#define MIN_HEAP ((size_t)256 << 10)

/* Under the work lock. */
static size_t spacing; /* bytes that pay for one sweep */
static size_t paid;    /* bytes that are not used up yet */

/* By subtraction: a division would call libgcc. */
static uint64_t divide(uint64_t number, uint32_t by)
{
    uint64_t quotient = 0, rest = 0;
    for (int bit = 63; bit >= 0; bit--) {
        rest = rest << 1 | (number >> bit & 1);
        if (rest >= by) {
            rest -= by;
            quotient |= (uint64_t)1 << bit;
        }
    }
    return quotient;
}

static size_t to_size(uint64_t value)
{
    return value > SIZE_MAX ? SIZE_MAX : (size_t)value;
}

/* `size` and `percent` of it more. */
static size_t grown(size_t size, unsigned percent)
{
    uint64_t extra, sum;
    if (__builtin_mul_overflow((uint64_t)size, (uint64_t)percent, &extra) ||
        __builtin_add_overflow(divide(extra, 100), (uint64_t)size, &sum)) {
        return SIZE_MAX;
    }
    return to_size(sum);
}

static size_t least_goal(void)
{
    return gc.config.min_heap != 0 ? gc.config.min_heap : MIN_HEAP;
}

void gc_pace_start(void)
{
    gc.stats.goal = least_goal();
}

void gc_pace_marked(size_t kept)
{
    size_t least = least_goal();
    size_t goal = grown(kept, gc.config.percent != 0 ? gc.config.percent : 100);
    size_t limit = mm_budget_limit(), held = mm_budget_held();
    goal = goal > least ? goal : least;
    /* Frames that can still be had; what dead objects hold comes back first. */
    if (limit != 0 && gc_alloc_live <= held) {
        size_t room = limit - (held < limit ? held - gc_alloc_live : limit);
        goal = goal < room ? goal : room;
        goal = goal > kept ? goal : kept + SH_PAGE_SIZE;
    }
    gc.stats.goal = goal;
    gc.stats.heap_after = kept;
    __atomic_store_n(&gc_alloc_live, kept, __ATOMIC_RELAXED);
    size_t spans = gc.unswept < UINT32_MAX ? gc.unswept : UINT32_MAX;
    spacing = spans == 0 ? SIZE_MAX : to_size(divide(goal > kept ? goal - kept : 0, (uint32_t)spans));
    paid = 0;
}

/* Who runs a cycle in steps has until twice the goal to end its marking. */
bool gc_pace_due(void)
{
    size_t goal = gc.stats.goal;
    if (!gc_phase_is(GC_IDLE) && !gc_phase_is(GC_SWEEP)) {
        goal = goal > SIZE_MAX / 2 ? SIZE_MAX : 2 * goal;
    }
    return __atomic_load_n(&gc_alloc_live, __ATOMIC_RELAXED) >= goal;
}

/* Pays so many bytes in; true = one sweep is paid for, and paid out. */
static bool pay(size_t bytes)
{
    arch_flags flags = gc_lock();
    paid = paid + bytes < bytes ? SIZE_MAX : paid + bytes;
    bool enough = paid >= spacing;
    paid -= enough ? spacing : 0;
    gc_unlock(flags);
    return enough;
}

void gc_pace_span(size_t page_count)
{
    size_t bytes = page_count << MM_PAGE_SHIFT;
    while (gc_phase_is(GC_SWEEP) && pay(bytes) && gc_sweep_one()) {
        bytes = 0;
    }
}

void gc_pace_reset(void)
{
    spacing = SIZE_MAX;
    paid = 0;
}
