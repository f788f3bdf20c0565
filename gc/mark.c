/*
 * Marking (see mark.h).
 *
 * 1. The queue holds spans, not objects.  A word that points into a collected object sets the object's
 *    mark bit, and queues its span unless it is queued already; when the span comes up, first in first
 *    out, all objects of it that were marked meanwhile are looked into together.  So the queue is a list
 *    through the descriptors, it cannot overflow, and marking needs no memory and no recursion.
 *
 * 2. One object.  Most spans that come up hold many newly marked objects.  One that holds a single one, as
 *    a list that hops from span to span makes them, says in its hint where: so that a visit need not look
 *    through all its words.
 *
 * 3. Pieces.  Objects above GC_PIECE words are looked into through a cursor, which any step may leave
 *    and the next one takes up; between objects the state is in the bits.
 *
 * 4. A word counts if the map of pages names a collected span for it, it lies in a slot of that span, and
 *    the slot is allocated: whatever else it is, nothing is read through it.
 */
#include "gc/mark.h"

#include "gc/work.h"
#include "mm/arena.h"

/* The rest of a large object. */
static struct {
    const uintptr_t *at, *end;
    struct gc_span *gs;
    const struct sh_gc_type *type;
    size_t type_word; /* with a type: which word of it `at` is */
} piece;

static size_t marked_bytes;

/* The first pending object of a span, in a word of its bits. */
static MM_NOINLINE void first_marked(struct gc_span *gs, uint32_t word)
{
    if (!gs->touched) {
        gc_span_touch(gs);
        if (gs->kind == GC_UNCOLLECTABLE) {
            gc_mark_all(gs); /* it is not on the list any more where the roots are looked for */
        }
    }
    gs->hint = word;
    if (gs->kind != GC_NOSCAN) {
        gc_work_push(gs);
    } else {
        gs->countdown = 1;
        marked_bytes += gs->size;
    }
}

/* As that, of the object that an address is in. */
static MM_NOINLINE void first_marked_at(struct gc_span *gs, uintptr_t address)
{
    uint32_t index;
    arch_multiply((uint32_t)(address - gs->base), gs->magic, &index);
    first_marked(gs, index / MM_WORD_BITS);
}

static inline __attribute__((always_inline)) void visit(uintptr_t word)
{
    if (word < gc.lowest || word > gc.highest) {
        return;
    }
    const struct mm_span *span = mm_span_of(word);
    struct gc_span *gs = span->gc;
    if (gs == NULL) {
        return;
    }
    uint32_t index;
    arch_multiply((uint32_t)(word - gs->base), gs->magic, &index);
    uintptr_t bit = arch_bit(index);
    index /= MM_WORD_BITS;
    if ((gs->marked[index] & bit) != 0 || (span->free[index] & bit) != 0) {
        return;
    }
    gs->marked[index] |= bit;
    if (MM_UNLIKELY(arch_count_down(&gs->countdown))) {
        first_marked_at(gs, word);
    }
}

MM_NOINLINE void gc_mark_word(uintptr_t word)
{
    visit(word);
}

bool gc_is_marked(const struct gc_span *gs, uint32_t index)
{
    return mm_bit_test(gs->marked, index);
}

bool gc_is_kept(const struct gc_span *gs, uint32_t index)
{
    return gc.phase != GC_SWEEP || gs->generation == gc.generation || gc_is_marked(gs, index);
}

void gc_mark_all(struct gc_span *gs)
{
    for (uint32_t i = 0; i < gs->words; i++) {
        uintptr_t fresh = ~gs->span->free[i] & ~gs->marked[i] & gc_slot_mask(gs, i);
        uint32_t count = arch_popcount(fresh);
        gs->marked[i] |= fresh;
        if (count != 0 && gs->countdown == 1) {
            first_marked(gs, i);
        }
        gs->countdown -= count;
    }
}

void gc_mark_born(struct gc_span *gs, uint32_t index)
{
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    gs->marked[index / MM_WORD_BITS] |= bit;
    gc_scanned(gs)[index / MM_WORD_BITS] |= bit;
    gs->touched = true;
    marked_bytes += gs->size;
}

static MM_NOINLINE void visit_two(uintptr_t first, uintptr_t second)
{
    visit(first);
    visit(second);
}

/* Four at a time: most words of most objects are small numbers, and all together are below the heap. */
static inline __attribute__((always_inline)) void visit_words(const uintptr_t *at, const uintptr_t *end)
{
    uintptr_t lowest = gc.lowest;
    for (; end - at >= 4; at += 4) {
        if ((at[0] | at[1] | at[2] | at[3]) >= lowest) {
            visit_two(at[0], at[1]);
            visit_two(at[2], at[3]);
        }
    }
    if (end - at >= 2) {
        visit_two(at[0], at[1]);
        at += 2;
    }
    if (at != end) {
        visit_two(*at, 0);
    }
}

MM_READS_STACKS const uintptr_t *gc_mark_range(const uintptr_t *low, const uintptr_t *high, size_t budget)
{
    const uintptr_t *end = (size_t)(high - low) < budget ? high : low + budget;
    bool there = true;
    for (const uintptr_t *at = low; at != end; at++) {
        /* What demand mode left without a frame reads as zero: a fault under the lock could not be served. */
        if (mm_mode.demand && (at == low || ((uintptr_t)at & (SH_ARCH_PAGE_SIZE - 1)) == 0)) {
            there = sh_arch_state((uintptr_t)at) != SH_PREPARED;
        }
        if (there) {
            gc_mark_word(*at);
        }
    }
    return end;
}

/* `count` bits from bit `first` of a bitmap, at most a word of them. */
static uintptr_t bits_at(const uintptr_t *map, size_t first, size_t count)
{
    size_t shift = first % MM_WORD_BITS;
    const uintptr_t *word = &map[first / MM_WORD_BITS];
    uintptr_t bits = word[0] >> shift;
    if (shift + count > MM_WORD_BITS) {
        bits |= word[1] << (MM_WORD_BITS - shift);
    }
    return count == MM_WORD_BITS ? bits : bits & (((uintptr_t)1 << count) - 1);
}

static inline __attribute__((always_inline)) void visit_masked(const uintptr_t *at, uintptr_t mask)
{
    for (; mask != 0; mask &= mask - 1) {
        visit(at[arch_ctz(mask)]);
    }
}

/* The next `count` words of the piece; `there`: they have a frame. */
static void visit_next(size_t count, bool there)
{
    const struct gc_span *gs = piece.gs;
    const uintptr_t *at = piece.at, *end = at + count;
    piece.at = end;
    if (piece.type != NULL) {
        size_t words = piece.type->size / sizeof(uintptr_t);
        for (; at != end; at++) {
            if (there && mm_bit_test(piece.type->pointers, piece.type_word)) {
                visit(*at);
            }
            piece.type_word = piece.type_word + 1 == words ? 0 : piece.type_word + 1;
        }
    } else if (there && gs->pointers != NULL) {
        visit_masked(at, bits_at(gs->pointers, (size_t)(at - (const uintptr_t *)gs->base), count));
    } else if (there) {
        visit_words(at, end);
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Some of the piece; how many words. */
static size_t piece_some(size_t budget)
{
    size_t done = 0;
    while (piece.at != piece.end && done < budget) {
        uintptr_t at = (uintptr_t)piece.at;
        size_t to_page = (SH_ARCH_PAGE_SIZE - (at & (SH_ARCH_PAGE_SIZE - 1))) / sizeof(uintptr_t);
        size_t count = smaller((size_t)(piece.end - piece.at), smaller(budget - done, MM_WORD_BITS));
        count = smaller(count, to_page);
        /* What demand mode left without a frame reads as zero: there is nothing in it. */
        visit_next(count, !mm_mode.demand || sh_arch_state(at) == SH_READY);
        done += count;
    }
    return done;
}

/* Are all words of a type pointers?  Of types of few words. */
static bool is_dense(const struct sh_gc_type *type)
{
    size_t words = type->size / sizeof(uintptr_t);
    return words <= MM_WORD_BITS && ~type->pointers[0] << (MM_WORD_BITS - words) == 0;
}

static void piece_begin(struct gc_span *gs, uintptr_t object)
{
    piece.gs = gs;
    piece.type = gs->type == NULL || is_dense(gs->type) ? NULL : gs->type;
    piece.at = (const uintptr_t *)object;
    piece.end = piece.at + gs->size / sizeof(uintptr_t);
    piece.type_word = 0;
}

/* The span that is being visited, and which of its words are left. */
static struct {
    struct gc_span *gs;
    uint32_t word, end;
} current;

/* How the small objects of a span are looked into. */
enum look {
    LOOK_PAIR,   /* both words: list cells and leaves of trees */
    LOOK_WORDS,  /* all words */
    LOOK_MASK,   /* where the mask is, the same for all */
    LOOK_BITMAP, /* where the span's bitmap says */
    LOOK_APART   /* through the piece: not small, or in demand mode */
};

static enum look look_for(const struct gc_span *gs)
{
    size_t words = gs->size / sizeof(uintptr_t);
    if (mm_mode.demand || words > (gs->pointers != NULL ? MM_WORD_BITS : GC_PIECE)) {
        return LOOK_APART;
    }
    bool all = gs->pointers == NULL || (gs->uniform && gs->mask == (~(uintptr_t)0 >> (MM_WORD_BITS - words)));
    return all ? (words == 2 ? LOOK_PAIR : LOOK_WORDS) : gs->uniform ? LOOK_MASK : LOOK_BITMAP;
}

/* Objects of the current span, as many as the budget lets begin; how many words. */
static inline __attribute__((always_inline)) size_t visit_span_as(enum look look, size_t budget)
{
    struct gc_span *gs = current.gs;
    uintptr_t *marked = gs->marked, *scanned = gc_scanned(gs), mask = gs->mask;
    size_t size = gs->size, words = size / sizeof(uintptr_t);
    intptr_t left = (intptr_t)budget;
    for (uint32_t at = current.word; at < current.end; at++) {
        uintptr_t todo, base = gs->base + at * MM_WORD_BITS * size;
        while ((todo = marked[at] & ~scanned[at]) != 0) {
            scanned[at] |= todo;
            do {
                const uintptr_t *object = (const uintptr_t *)(base + arch_ctz(todo) * size);
                todo &= todo - 1;
                left -= (intptr_t)words;
                if (look == LOOK_APART) {
                    piece_begin(gs, (uintptr_t)object);
                } else if (look == LOOK_PAIR) {
                    visit(object[0]);
                    visit(object[1]);
                } else if (look == LOOK_WORDS) {
                    visit_words(object, object + words);
                } else if (look == LOOK_MASK) {
                    visit_masked(object, mask);
                } else {
                    size_t first = (size_t)(object - (const uintptr_t *)gs->base);
                    visit_masked(object, bits_at(gs->pointers, first, words));
                }
                if (look == LOOK_APART || left <= 0) {
                    scanned[at] &= ~todo;
                    current.word = at;
                    return look == LOOK_APART ? 0 : budget - (size_t)left;
                }
            } while (todo != 0);
        }
    }
    current.gs = NULL;
    return budget - (size_t)left;
}

static size_t visit_span(size_t budget)
{
    switch (look_for(current.gs)) {
    case LOOK_PAIR:
        return visit_span_as(LOOK_PAIR, budget);
    case LOOK_WORDS:
        return visit_span_as(LOOK_WORDS, budget);
    case LOOK_MASK:
        return visit_span_as(LOOK_MASK, budget);
    case LOOK_BITMAP:
        return visit_span_as(LOOK_BITMAP, budget);
    case LOOK_APART:
    default:
        return visit_span_as(LOOK_APART, budget);
    }
}

/* The next span of the queue is the current one; false = there is none. */
static bool next_span(void)
{
    struct gc_span *gs = gc_work_pop();
    if (gs == NULL) {
        return false;
    }
    bool single = gc_pending(gs) == 1;
    marked_bytes += gc_pending(gs) * gs->size;
    gs->countdown = 1;
    current.gs = gs;
    current.word = single ? gs->hint : 0;
    current.end = single ? gs->hint + 1 : gs->words;
    return true;
}

/* One burst. */
static size_t burst(size_t budget)
{
    size_t done = 0;
    while (done < budget) {
        if (piece.at != piece.end) {
            done += piece_some(budget - done);
        } else if (current.gs != NULL) {
            done += visit_span(budget - done);
        } else if (next_span()) {
            done += GC_SPAN_COST;
        } else {
            break;
        }
    }
    return done;
}

size_t gc_mark_some(size_t budget)
{
    size_t done = 0;
    while (done < budget) {
        arch_flags flags = gc_lock();
        size_t some = burst(smaller(budget - done, GC_BURST));
        gc_unlock(flags);
        if (some == 0) {
            break;
        }
        done += some;
    }
    return done;
}

size_t gc_mark_bytes(void)
{
    return marked_bytes;
}

void gc_mark_start(void)
{
    marked_bytes = 0;
    piece.at = piece.end = NULL;
    current.gs = NULL;
}
