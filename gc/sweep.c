/*
 * The span sweeper (see sweep.h).
 *
 * 1. A span is swept by whoever takes it from its list and moves its generation from to-be-swept to being-
 *    swept by compare-and-swap.  The sweep is
 *
 *        free := (not marked, or freed by hand) and a slot;  marked, scanned, freed := 0
 *
 *    and touches no object.  In tier 1 and above dead objects are filled first.
 *
 * 2. When marking ends, the lists of spans in which nothing was marked are put together to one: of whole
 *    dead spans.  Whoever is short of pages takes from it, and need not look at the others.
 *
 * 3. The generation is stored before the span can be found by anybody, and releasing a span is the last
 *    statement of its sweep: nothing of it is touched after that.
 *
 * 4. A slot that is marked but free is an object that was freed and is still referred to, or a bit that
 *    was overwritten: corruption, told with the span's bits.
 */
#include "gc/sweep.h"

#include "gc/alloc.h"
#include "gc/mark.h"
#include "mm/context.h"
#include "mm/guard.h"
#include "mm/memory.h"
#include "mm/report.h"

void (*gc_sweep_probe)(uintptr_t base, size_t page_count);

/* Where the walk over the lists of unswept spans is.  NULL = at its end. */
static unsigned next_kind, next_class;
static struct gc_link *next_list;

void gc_sweep_start(void)
{
    gc.generation += 2;
    for (unsigned kind = 0; kind < GC_KINDS; kind++) {
        for (unsigned class = 0; class < GC_CLASSES; class++) {
            struct gc_link *list = gc.classes[kind][class].list;
            gc_list_splice(&gc.dead, &list[GC_PARTIAL]);
            gc_list_splice(&gc.dead, &list[GC_FULL]);
            gc_list_splice(&list[GC_UNSWEPT], &list[GC_TOUCHED + GC_PARTIAL]);
            gc_list_splice(&list[GC_UNSWEPT], &list[GC_TOUCHED + GC_FULL]);
        }
    }
    gc.unswept = gc.span_count;
    next_kind = next_class = 0;
    next_list = &gc.dead;
}

/* Takes a span that was found on a list; false = somebody else sweeps it, or did. */
static bool claim(struct gc_span *gs)
{
    uint32_t wanted = gc.generation - 2;
    return __atomic_compare_exchange_n(&gs->generation, &wanted, gc.generation - 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

static MM_NOINLINE void zombie(const struct gc_span *gs, uint32_t word)
{
    mm_corruption("collected span %x of %z-byte slots: a free slot is marked; from slot %z: marked %x, free %x",
                  gs->base, gs->size, (size_t)word * MM_WORD_BITS, gs->marked[word], gs->span->free[word]);
}

/* In tier 1 and above, and with `zero`: what the sweep frees is treated as if freed by hand. */
static MM_NOINLINE void fill_dead(struct gc_span *gs)
{
    for (uint32_t i = 0; i < gs->slots; i++) {
        if (!mm_span_is_free(gs->span, i) && (!mm_bit_test(gs->marked, i) || mm_bit_test(gc_freed(gs), i))) {
            const struct mm_note *note = gs->span->notes == NULL ? NULL : &gs->span->notes[i];
            mm_guard_collected("sweep", gs->span, i, note == NULL ? 0 : note->freed);
        }
    }
}

/* What the sweep of a span's bits found. */
struct swept {
    size_t freed;   /* objects */
    uintptr_t live; /* not 0: one stays */
    uintptr_t free; /* not 0: there are free slots */
};

/* What was freed by hand meanwhile is not kept; bytes of it that marking has counted as kept. */
static MM_NOINLINE size_t drop_freed(struct gc_span *gs)
{
    uintptr_t *freed = gc_freed(gs);
    size_t count = 0;
    for (uint32_t i = 0; i < gs->words; i++) {
        count += arch_popcount(gs->marked[i] & freed[i]);
        gs->marked[i] &= ~freed[i];
        freed[i] = 0;
    }
    gs->freed_some = false;
    return count * gs->size;
}

/* Turns marks into free bits. */
static inline __attribute__((always_inline)) struct swept sweep_bits(struct gc_span *gs)
{
    uintptr_t *free = gs->span->free, *marked = gs->marked, *scanned = gc_scanned(gs);
    uint32_t words = gs->words;
    uintptr_t last = gc_slot_mask(gs, words - 1);
    struct swept swept = { 0, 0, 0 };
    for (uint32_t i = 0; i < words; i++) {
        uintptr_t was = free[i], mark = marked[i], mask = i + 1 == words ? last : ~(uintptr_t)0;
        uintptr_t now = ~mark & mask;
        if (MM_UNLIKELY((mark & was) != 0)) {
            zombie(gs, i);
        }
        if (now != was) {
            swept.freed += arch_popcount(now & ~was);
            free[i] = now;
        }
        swept.live |= now ^ mask;
        swept.free |= now;
        marked[i] = scanned[i] = ~mask;
    }
    return swept;
}

static MM_NOINLINE void release(struct gc_span *gs)
{
    uintptr_t base = gs->span->base;
    size_t page_count = gs->span->page_count;
    gc_span_release(gs);
    if (gc_sweep_probe != NULL) {
        gc_sweep_probe(base, page_count);
    }
}

enum after {
    SPAN_NONE,   /* there was none to sweep */
    SPAN_GONE,   /* released */
    SPAN_FULL,   /* listed */
    SPAN_PARTIAL
};

/* The bits of a span that was claimed, and what follows but its release.  A span with live objects is listed
 * before the lock opens: handlers may free one, and the next cycle looks for it.  Under the lock. */
static inline __attribute__((always_inline)) enum after finish(struct gc_span *gs)
{
    if (MM_UNLIKELY(gs->freed_some)) {
        gc_alloc_live -= drop_freed(gs);
    }
    struct swept swept = sweep_bits(gs);
    gs->touched = false;
    gc.unswept--;
    gc.stats.spans_swept++;
    if (swept.freed != 0) {
        gc.stats.objects_freed += swept.freed;
        gc.large_freed += gs->class == GC_LARGE;
    }
    __atomic_store_n(&gs->generation, gc.generation, __ATOMIC_RELEASE);
    if (swept.live == 0) {
        gc.span_count--;
        return SPAN_GONE;
    }
    gs->full = swept.free == 0;
    gc_list_push(&gc.classes[gs->kind][gs->class].list[gs->full], &gs->link);
    return gs->full ? SPAN_FULL : SPAN_PARTIAL;
}

/* Dead objects are looked at with the lock open: the span is claimed. */
static MM_NOINLINE arch_flags fill_unlocked(struct gc_span *gs, arch_flags flags)
{
    gc_unlock(flags);
    fill_dead(gs);
    return gc_lock();
}

/* Sweeps a span that was claimed and is on no list.  Under the lock, which may be open meanwhile. */
static inline __attribute__((always_inline)) enum after sweep_claimed(struct gc_span *gs, arch_flags *flags)
{
    if (MM_UNLIKELY(mm_mode.guarded || mm_mode.zero)) {
        *flags = fill_unlocked(gs, *flags);
    }
    return finish(gs);
}

/* Sweeps the first span of a list. */
static inline __attribute__((always_inline)) enum after sweep_first(struct gc_link *list)
{
    enum after after = SPAN_NONE;
    struct gc_span *gs = NULL;
    arch_flags flags = gc_lock();
    while (after == SPAN_NONE && !gc_list_empty(list)) {
        gs = gc_span_of_link(list->next);
        gc_list_remove(&gs->link);
        if (claim(gs)) {
            after = sweep_claimed(gs, &flags);
        }
    }
    gc_unlock(flags);
    if (after == SPAN_GONE) {
        release(gs);
    }
    return after;
}

/* The first list from there on that is not empty, in turn; `dead` comes before all.  Under the lock. */
static struct gc_link *find_list(void)
{
    if (!gc_list_empty(&gc.dead)) {
        return &gc.dead;
    }
    for (unsigned looked = 0; looked < GC_KINDS * GC_CLASSES; looked++) {
        struct gc_link *list = &gc.classes[next_kind][next_class].list[GC_UNSWEPT];
        if (!gc_list_empty(list)) {
            return list;
        }
        if (++next_class == GC_CLASSES) {
            next_class = 0;
            next_kind = next_kind + 1 == GC_KINDS ? 0 : next_kind + 1;
        }
    }
    return NULL;
}

bool gc_sweep_one(void)
{
    while (gc.phase == GC_SWEEP && next_list != NULL) {
        if (sweep_first(next_list) != SPAN_NONE) {
            return true;
        }
        arch_flags flags = gc_lock();
        next_list = find_list();
        gc_unlock(flags);
    }
    return false;
}

bool gc_sweep_for(enum gc_kind kind, unsigned class, unsigned most)
{
    struct gc_link *from = &gc.classes[kind][class].list[GC_UNSWEPT];
    enum after after = SPAN_FULL;
    while (gc.phase == GC_SWEEP && most-- > 0 && after != SPAN_NONE && after != SPAN_PARTIAL) {
        after = sweep_first(from);
    }
    return after == SPAN_PARTIAL;
}

bool gc_sweep_ensure(struct gc_span *gs)
{
    enum after after = SPAN_NONE;
    if (!gc_unswept(gs)) {
        return true;
    }
    arch_flags flags = gc_lock();
    if (gc_unswept(gs) && !gs->owned && claim(gs)) {
        gc_list_remove(&gs->link);
        after = sweep_claimed(gs, &flags);
    }
    gc_unlock(flags);
    if (after == SPAN_GONE) {
        release(gs);
    }
    return after != SPAN_GONE;
}

void gc_sweep_reset(void)
{
    next_kind = next_class = 0;
    next_list = NULL;
    gc_sweep_probe = NULL;
}
