/*
 * The span sweeper (see sweep.h).
 *
 * 1. A span is swept by whoever takes it from its list and moves its generation from to-be-swept to being-
 *    swept by compare-and-swap, under the work lock.  The sweep is
 *
 *        free := (not marked, or freed by hand) and a slot;  marked, scanned, freed := 0
 *
 *    and touches no object.
 *
 *    In a guarded heap dead objects are filled first, with the lock open.  Which ones that are is noted in
 *    `scanned` when the span is claimed: a slot that is freed by hand after that is filled by who frees it.
 *    As long as somebody fills a slot that he frees (in_hand), the span is passed over: a sweep would give
 *    the slot to another owner meanwhile.
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

/* Where the walk over the lists of unswept spans is.  Under the lock. */
static unsigned next_kind, next_class;
static const struct gc_link *next_list;

void gc_sweep_start(void)
{
    __atomic_store_n(&gc.generation, gc.generation + 2, __ATOMIC_RELAXED);
    for (unsigned kind = 0; kind < GC_KINDS; kind++) {
        for (unsigned class = 0; class < GC_CLASSES; class++) {
            struct gc_link *list = gc.classes[kind][class].list;
            gc_list_splice(&gc.dead, &list[GC_PARTIAL]);
            gc_list_splice(&gc.dead, &list[GC_FULL]);
            gc_list_splice(&list[GC_UNSWEPT], &list[GC_TOUCHED + GC_PARTIAL]);
            gc_list_splice(&list[GC_UNSWEPT], &list[GC_TOUCHED + GC_FULL]);
        }
    }
    __atomic_store_n(&gc.unswept, gc.span_count, __ATOMIC_RELAXED);
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

/* Of a guarded heap: the objects that this sweep frees are noted as scanned. */
static MM_NOINLINE void note_dead(struct gc_span *gs)
{
    gc_live_add(0 - drop_freed(gs));
    for (uint32_t i = 0; i < gs->words; i++) {
        gc_scanned(gs)[i] = ~gs->marked[i] & ~gs->span->free[i] & gc_slot_mask(gs, i);
    }
}

/* In tier 1 and above, and with `zero`: they are treated as if freed by hand. */
static MM_NOINLINE void fill_dead(struct gc_span *gs)
{
    for (uint32_t i = 0; i < gs->slots; i++) {
        if (mm_bit_test(gc_scanned(gs), i)) {
            const struct mm_note *note = gs->span->notes == NULL ? NULL : &gs->span->notes[i];
            mm_guard_collected("sweep", gs->span, i, note == NULL ? 0 : note->freed);
        }
    }
}

/* Turns a word of marks into free bits; `mask`: those that stand for slots.  The others are marked for good. */
static inline __attribute__((always_inline)) void sweep_word(struct gc_span *gs, uint32_t i, uintptr_t mask,
                                                             struct swept *swept)
{
    uintptr_t *free = &gs->span->free[i];
    uintptr_t was = *free, mark = gs->marked[i], now = ~mark;
    if (MM_UNLIKELY((mark & was) != 0)) {
        zombie(gs, i);
    }
    if (now != was) {
        swept->freed += arch_popcount(now & ~was);
        mm_word_set(free, now);
    }
    swept->live |= mark & mask;
    swept->free |= now;
    gs->marked[i] = gc_scanned(gs)[i] = ~mask;
}

static inline __attribute__((always_inline)) struct swept sweep_bits(struct gc_span *gs)
{
    struct swept swept = { 0, 0, 0 };
    uint32_t last = gs->words - 1u;
    for (uint32_t i = 0; i != last; i++) {
        sweep_word(gs, i, ~(uintptr_t)0, &swept);
    }
    sweep_word(gs, last, gc_slot_mask(gs, last), &swept);
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
 * before the lock opens: handlers may free one, and the next cycle looks for it.  One without is in nobody's
 * reach but the releaser's, as if it were in an entry.  Under the lock. */
static inline __attribute__((always_inline)) enum after finish(struct gc_span *gs)
{
    struct swept swept = sweep_bits(gs);
    gs->touched = false;
    __atomic_store_n(&gc.unswept, gc.unswept - 1, __ATOMIC_RELAXED);
    gc.stats.spans_swept++;
    if (swept.freed != 0) {
        gc.stats.objects_freed += swept.freed;
        gc.large_freed += gs->class == GC_LARGE;
    }
    __atomic_store_n(&gs->generation, gc.generation, __ATOMIC_RELEASE);
    if (swept.live == 0) {
        gs->owned = true;
        gc_spans_add((size_t)-1);
        return SPAN_GONE;
    }
    gs->full = swept.free == 0;
    gc_list_push(&gc.classes[gs->kind][gs->class].list[gs->full], &gs->link);
    return gs->full ? SPAN_FULL : SPAN_PARTIAL;
}

/* Dead objects are looked at with the lock open: the span is claimed. */
static MM_NOINLINE arch_flags fill_unlocked(struct gc_span *gs, arch_flags flags)
{
    note_dead(gs);
    if (gs->filled) {
        return flags;
    }
    gc_unlock(flags);
    fill_dead(gs);
    return gc_lock();
}

/* Sweeps a span that was claimed and is on no list.  Under the lock, which may be open meanwhile. */
static inline __attribute__((always_inline)) enum after sweep_claimed(struct gc_span *gs, arch_flags *flags)
{
    if (MM_UNLIKELY(gc.fills)) {
        *flags = fill_unlocked(gs, *flags);
    } else if (MM_UNLIKELY(gs->freed_some)) {
        gc_live_add(0 - drop_freed(gs));
    }
    return finish(gs);
}

/* The first span of a list that may be swept now.  Under the lock. */
static inline struct gc_span *first_of(const struct gc_link *list)
{
    for (struct gc_link *link = list->next; link != list; link = link->next) {
        struct gc_span *gs = gc_span_of_link(link);
        if (MM_LIKELY(gs->in_hand == 0)) {
            return gs;
        }
    }
    return NULL;
}

/* The first of all, `dead` before the others, and these in turn.  Under the lock. */
static MM_NOINLINE struct gc_span *first_of_all(void)
{
    struct gc_span *gs = first_of(&gc.dead);
    for (unsigned looked = 0; gs == NULL && looked < GC_KINDS * GC_CLASSES; looked++) {
        next_list = &gc.classes[next_kind][next_class].list[GC_UNSWEPT];
        gs = first_of(next_list);
        if (gs == NULL && ++next_class == GC_CLASSES) {
            next_class = 0;
            next_kind = next_kind + 1 == GC_KINDS ? 0 : next_kind + 1;
        }
    }
    return gs;
}

/* Sweeps the first span of a list, or of all if that is NULL. */
static inline __attribute__((always_inline)) enum after sweep_first(const struct gc_link *list)
{
    enum after after = SPAN_NONE;
    struct gc_span *gs = NULL;
    arch_flags flags = gc_lock();
    while (gc.phase == GC_SWEEP) {
        gs = first_of(list != NULL ? list : next_list);
        if (gs == NULL && (list != NULL || (gs = first_of_all()) == NULL)) {
            break;
        }
        gc_list_remove(&gs->link);
        if (claim(gs)) {
            after = sweep_claimed(gs, &flags);
            break;
        }
    }
    gc_unlock(flags);
    if (after == SPAN_GONE) {
        release(gs);
    }
    return after;
}

bool gc_sweep_one(void)
{
    return gc_phase_is(GC_SWEEP) && !gc_all_swept() && sweep_first(NULL) != SPAN_NONE;
}

bool gc_sweep_for(enum gc_kind kind, unsigned class, unsigned most)
{
    const struct gc_link *from = &gc.classes[kind][class].list[GC_UNSWEPT];
    enum after after = SPAN_FULL;
    while (gc_phase_is(GC_SWEEP) && most-- > 0 && after != SPAN_NONE && after != SPAN_PARTIAL) {
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
    /* Another CPU may have been faster, or have released it: then it is in no list. */
    if (!gs->owned && gs->in_hand == 0 && claim(gs)) {
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
