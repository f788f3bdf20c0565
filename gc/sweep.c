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

/* Where the walk over the lists of unswept spans is. */
static unsigned next_kind, next_class;

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
}

/* Takes a span that was found on a list; false = somebody else sweeps it, or did. */
static bool claim(struct gc_span *gs)
{
    uint32_t wanted = gc.generation - 2;
    return __atomic_compare_exchange_n(&gs->generation, &wanted, gc.generation - 1, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

/* The first span of a list, taken; NULL = it is empty. */
static struct gc_span *take(struct gc_link *list)
{
    struct gc_span *gs = NULL;
    arch_flags flags = gc_lock();
    while (gs == NULL && !gc_list_empty(list)) {
        struct gc_span *first = gc_span_of_link(list->next);
        gc_list_remove(&first->link);
        gs = claim(first) ? first : NULL;
    }
    gc_unlock(flags);
    return gs;
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
            mm_guard_collected("sweep", gs->span, i, 0);
        }
    }
}

/* Turns marks into free bits; *freed = how many objects went; whether one stays. */
static bool sweep_bits(struct gc_span *gs, size_t *freed)
{
    uintptr_t *free = gs->span->free, *marked = gs->marked, some = 0;
    uint32_t words = gs->words;
    size_t count = 0;
    for (uint32_t i = 0; i < words; i++) {
        uintptr_t was = free[i], mask = gc_slot_mask(gs, i), mark = marked[i];
        if (MM_UNLIKELY((mark & was) != 0)) {
            zombie(gs, i);
        }
        uintptr_t now = (~mark | marked[2 * words + i]) & mask;
        if (now != was) {
            count += arch_popcount(now & ~was);
            free[i] = now;
        }
        some |= now ^ mask;
        marked[i] = marked[words + i] = marked[2 * words + i] = 0;
    }
    *freed = count;
    return some != 0;
}

static void note_release(uintptr_t base, size_t page_count)
{
    if (MM_UNLIKELY(gc_sweep_probe != NULL)) {
        gc_sweep_probe(base, page_count);
    }
}

/* Sweeps a span that was claimed; false = it is gone.  It is on no list afterwards. */
static bool sweep_claimed(struct gc_span *gs)
{
    size_t freed;
    if (mm_mode.guarded || mm_mode.zero) {
        fill_dead(gs);
    }
    arch_flags flags = gc_lock();
    bool stays = sweep_bits(gs, &freed);
    gs->touched = false;
    gc.unswept--;
    gc.stats.spans_swept++;
    gc.stats.objects_freed += freed;
    gc.large_freed += gs->class == GC_LARGE ? freed : 0;
    __atomic_store_n(&gs->generation, gc.generation, __ATOMIC_RELEASE);
    gc_unlock(flags);
    if (stays || mm_dead()) {
        return true;
    }
    uintptr_t base = gs->span->base;
    size_t page_count = gs->span->page_count;
    gc_span_release(gs);
    note_release(base, page_count);
    return false;
}

static void list(struct gc_span *gs)
{
    arch_flags flags = gc_lock();
    gc_span_list(gs);
    gc_unlock(flags);
}

bool gc_sweep_dead_one(void)
{
    struct gc_span *gs = gc.phase == GC_SWEEP && !mm_dead() ? take(&gc.dead) : NULL;
    if (gs != NULL && sweep_claimed(gs)) {
        list(gs);
    }
    return gs != NULL;
}

/* A list that is not empty, in turn. */
static struct gc_link *next_list(void)
{
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
    if (gc.phase != GC_SWEEP || mm_dead()) {
        return false;
    }
    if (gc_sweep_dead_one()) {
        return true;
    }
    struct gc_link *from = next_list();
    struct gc_span *gs = from == NULL ? NULL : take(from);
    if (gs != NULL && sweep_claimed(gs)) {
        list(gs);
    }
    return gs != NULL;
}

struct gc_span *gc_sweep_for(enum gc_kind kind, unsigned class, unsigned most)
{
    struct gc_link *from = &gc.classes[kind][class].list[GC_UNSWEPT];
    struct gc_span *gs;
    while (gc.phase == GC_SWEEP && most-- > 0 && (gs = take(from)) != NULL) {
        if (!sweep_claimed(gs)) {
            continue;
        }
        for (uint32_t i = 0; i < gs->words; i++) {
            if (gs->span->free[i] != 0) {
                return gs;
            }
        }
        list(gs);
    }
    return NULL;
}

bool gc_sweep_ensure(struct gc_span *gs)
{
    arch_flags flags = gc_lock();
    bool mine = gc_unswept(gs) && !gs->owned && claim(gs);
    if (mine) {
        gc_list_remove(&gs->link);
    }
    gc_unlock(flags);
    if (!mine) {
        return true;
    }
    if (!sweep_claimed(gs)) {
        return false;
    }
    list(gs);
    return true;
}

void gc_sweep_all(void)
{
    while (gc_sweep_one()) {
    }
}

void gc_sweep_reset(void)
{
    next_kind = next_class = 0;
    gc_sweep_probe = NULL;
}
