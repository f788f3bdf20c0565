/*
 * Marking (see mark.h).
 *
 * 1. The queue holds spans, not objects.  A word that points into a collected object sets the object's
 *    mark bit, and queues its span unless it is queued already; when the span comes up, first in first
 *    out, all objects of it that were marked meanwhile are looked into together.  So the queue is a list
 *    through the descriptors, it cannot overflow, and marking needs no memory and no recursion.
 *
 * 2. Passes.  A visit goes over the span's bits upwards, and looks into what is marked and not scanned.  If
 *    objects of the span itself were marked meanwhile, the next pass goes downwards, and so on until nothing
 *    is left: what one span holds of a tree or a list takes one visit, whichever way it was allocated.  A span
 *    that came up for a single object says in its hint where it is, and that pass is one word long.
 *
 * 3. Pieces.  Objects above GC_PIECE words are looked into through a cursor, which any step may leave
 *    and the next one takes up; between objects the state is in the bits.
 *
 * 4. A word counts if the map of pages names a collected span for it, it lies in a slot of that span, and
 *    the slot is allocated: whatever else it is, nothing is read through it.
 *
 * 5. Alone and shared.  All of this is compiled twice.  A collector that marks alone has the work lock, and
 *    sets a bit by a load and a store.  While a team marks (team.c) nobody has the lock, and several CPUs
 *    set bits in the same words: a mark bit is set by compare-and-swap, tested first by a plain load, so
 *    that a word which names a marked object costs no locked instruction.  Whoever sets it counts it down
 *    after that, with release; whoever takes the span from the queue reads the count with acquire, and so
 *    sees the bits of all marks that it counts.  A span that is visited stays counted, and is not queued
 *    again, until its visitor takes the marks that its last pass began with off the count: so at each time
 *    one CPU at most looks into a span, and `scanned` is its own.
 *
 * 6. Fetching.  What a word leads to lies in four places: the page map, the span's record with its free bits,
 *    the collector's with the marks, and later the object.  In a heap that is larger than the caches each is
 *    waited for.  So in a large one, who marks alone asks for an object some objects before it looks into
 *    it, and for the record of a word's span some words before it marks: the words between are in a short
 *    ring on its stack, empty between two bursts.  A span that comes up with few marks is visited as in a
 *    small heap: those lead mostly to their neighbours.  The CPU may know no such instruction: all it
 *    does is to be early.
 */
#include "gc/mark.h"

#include "gc/alloc.h"
#include "gc/team.h"
#include "gc/work.h"
#include "mm/arena.h"
#include "mm/memory.h"

#define INLINE static inline __attribute__((always_inline))

/* Who sets marks. */
enum mode {
    ALONE,        /* under the work lock, and nobody else does */
    SHARED,       /* in a team, without the lock */
    SHARED_LOCKED /* beside a team, under the lock: a handler's barrier */
};

/* A word that its owner may be writing: any value of it will do.  The thread sanitizer wants that said. */
INLINE uintptr_t word_at(const uintptr_t *at)
{
#ifdef __SANITIZE_THREAD__
    return __atomic_load_n(at, __ATOMIC_RELAXED);
#else
    return *at;
#endif
}

static struct gc_marker own; /* of who marks alone; between two bursts too */
static bool fetching;        /* the heap is large: see 6 */
size_t gc_fetch_least = GC_FETCH_LEAST;

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
    gc_work_push(gs);
}

/* As that, of the object that an address is in. */
static MM_NOINLINE void first_marked_at(struct gc_span *gs, uintptr_t address)
{
    uint32_t index;
    arch_multiply((uint32_t)(address - gs->base), gs->magic, &index);
    first_marked(gs, index / MM_WORD_BITS);
}

static MM_NOINLINE void first_marked_shared(struct gc_span *gs, uintptr_t address)
{
    arch_flags flags = gc_lock();
    first_marked_at(gs, address);
    gc_unlock(flags);
}

/* Sets the bit in a word that `was` a moment ago, the bit clear, and counts it; true = it is the first of its
 * span. */
INLINE bool mark_shared(struct gc_span *gs, uint32_t index, uintptr_t bit, uintptr_t was)
{
    while (MM_UNLIKELY(!__atomic_compare_exchange_n(&gs->marked[index], &was, was | bit, true, __ATOMIC_RELAXED,
                                                    __ATOMIC_RELAXED))) {
        if ((was & bit) != 0) {
            return false;
        }
    }
    return __atomic_sub_fetch(&gs->countdown, 1, __ATOMIC_RELEASE) == 0;
}

/* A word whose page the map says is of this span. */
INLINE void visit_in(const struct mm_span *span, uintptr_t word, enum mode mode)
{
    struct gc_span *gs = __atomic_load_n(&span->gc, __ATOMIC_RELAXED);
    if (gs == NULL) {
        return;
    }
    uint32_t index;
    arch_multiply((uint32_t)(word - gs->base), gs->magic, &index);
    uintptr_t bit = arch_bit(index);
    index /= MM_WORD_BITS;
    uintptr_t marked = mode == ALONE ? gs->marked[index] : __atomic_load_n(&gs->marked[index], __ATOMIC_RELAXED);
    if ((marked & bit) != 0 || (span->free[index] & bit) != 0) {
        return;
    }
    if (mode == ALONE) {
        gs->marked[index] |= bit;
        if (MM_UNLIKELY(arch_count_down(&gs->countdown))) {
            first_marked_at(gs, word);
        }
    } else if (MM_UNLIKELY(mark_shared(gs, index, bit, marked))) {
        (mode == SHARED ? first_marked_shared : first_marked_at)(gs, word);
    }
}

INLINE void visit(uintptr_t word, enum mode mode)
{
    if (word >= gc.lowest && word <= gc.highest) {
        visit_in(mm_span_of(word), word, mode);
    }
}

/* Words that wait for the records of their spans, which are on their way (see 6). */
struct fetches {
    struct {
        uintptr_t word;
        const struct mm_span *span;
    } first[GC_FETCH_LEAD];
    unsigned next;
};

/* The word takes the place of the one that has waited longest. */
INLINE void visit_later(struct fetches *f, uintptr_t word)
{
    if (word >= gc.lowest && word <= gc.highest) {
        const struct mm_span *span = mm_span_of(word), *was;
        uintptr_t before;
        unsigned at = f->next++ % GC_FETCH_LEAD;
        arch_prefetch(&span->gc);
        before = f->first[at].word;
        was = f->first[at].span;
        f->first[at].word = word;
        f->first[at].span = span;
        visit_in(was, before, ALONE);
    }
}

/* None waits. */
static void fetches_begin(struct fetches *f)
{
    for (unsigned i = 0; i < GC_FETCH_LEAD; i++) {
        f->first[i].span = &mm_span_dummy;
    }
    f->next = 0;
}

static MM_NOINLINE void fetches_end(struct fetches *f)
{
    for (unsigned i = 0; i < GC_FETCH_LEAD; i++) {
        visit_in(f->first[i].span, f->first[i].word, ALONE);
    }
}

static MM_NOINLINE void mark_word_shared(uintptr_t word)
{
    visit(word, SHARED_LOCKED);
}

MM_NOINLINE void gc_mark_word(uintptr_t word)
{
    if (MM_UNLIKELY(gc_team_open())) {
        mark_word_shared(word);
    } else {
        visit(word, ALONE);
    }
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
        uintptr_t live = ~gs->span->free[i] & gc_slot_mask(gs, i);
        uint32_t count = arch_popcount(live & ~__atomic_fetch_or(&gs->marked[i], live, __ATOMIC_RELAXED));
        if (count != 0 && __atomic_fetch_sub(&gs->countdown, count, __ATOMIC_RELEASE) == 1) {
            first_marked(gs, i);
        }
    }
}

void gc_mark_born(struct gc_span *gs, uint32_t index)
{
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    uint32_t word = index / MM_WORD_BITS;
    if ((__atomic_fetch_or(&gs->marked[word], bit, __ATOMIC_RELAXED) & bit) == 0) {
        own.bytes += gs->size;
    }
    __atomic_fetch_or(&gc_scanned(gs)[word], bit, __ATOMIC_RELAXED);
    gs->touched = true;
}

void gc_mark_unborn(struct gc_span *gs, uint32_t index)
{
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    uint32_t word = index / MM_WORD_BITS;
    __atomic_fetch_and(&gc_scanned(gs)[word], ~bit, __ATOMIC_RELAXED);
    if ((__atomic_fetch_and(&gs->marked[word], ~bit, __ATOMIC_RELAXED) & bit) != 0) {
        own.bytes -= gs->size;
    }
}

static MM_NOINLINE void visit_two_alone(uintptr_t first, uintptr_t second)
{
    visit(first, ALONE);
    visit(second, ALONE);
}

static MM_NOINLINE void visit_two_shared(uintptr_t first, uintptr_t second)
{
    visit(first, SHARED);
    visit(second, SHARED);
}

INLINE void visit_two(uintptr_t first, uintptr_t second, enum mode mode)
{
    (mode == ALONE ? visit_two_alone : visit_two_shared)(first, second);
}

/* Four at a time: most words of most objects are small numbers, and all together are below the heap. */
INLINE void visit_words(const uintptr_t *at, const uintptr_t *end, enum mode mode)
{
    uintptr_t lowest = gc.lowest;
    for (; end - at >= 4; at += 4) {
        if ((word_at(&at[0]) | word_at(&at[1]) | word_at(&at[2]) | word_at(&at[3])) >= lowest) {
            visit_two(word_at(&at[0]), word_at(&at[1]), mode);
            visit_two(word_at(&at[2]), word_at(&at[3]), mode);
        }
    }
    if (end - at >= 2) {
        visit_two(word_at(&at[0]), word_at(&at[1]), mode);
        at += 2;
    }
    if (at != end) {
        visit_two(word_at(at), 0, mode);
    }
}

static MM_NOINLINE void visit_words_fetched(const uintptr_t *at, const uintptr_t *end)
{
    struct fetches f;
    fetches_begin(&f);
    for (; at != end; at++) {
        visit_later(&f, word_at(at));
    }
    fetches_end(&f);
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
            gc_mark_word(word_at(at));
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

INLINE void visit_masked(const uintptr_t *at, uintptr_t mask, enum mode mode)
{
    for (; mask != 0; mask &= mask - 1) {
        visit(word_at(&at[arch_ctz(mask)]), mode);
    }
}

/* The next `count` words of the piece; `there`: they have a frame. */
INLINE void visit_next(struct gc_marker *m, size_t count, bool there, enum mode mode)
{
    const struct gc_span *gs = m->gs;
    const uintptr_t *at = m->at, *end = at + count;
    m->at = end;
    if (m->type != NULL) {
        size_t words = m->type->size / sizeof(uintptr_t);
        for (; at != end; at++) {
            if (there && mm_bit_test(m->type->pointers, m->type_word)) {
                visit(word_at(at), mode);
            }
            m->type_word = m->type_word + 1 == words ? 0 : m->type_word + 1;
        }
    } else if (there && gs->pointers != NULL) {
        visit_masked(at, bits_at(gs->pointers, (size_t)(at - (const uintptr_t *)gs->base), count), mode);
    } else if (there && mode == ALONE && fetching) {
        visit_words_fetched(at, end);
    } else if (there) {
        visit_words(at, end, mode);
    }
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Some of the piece; how many words. */
INLINE size_t piece_some(struct gc_marker *m, size_t budget, enum mode mode)
{
    size_t done = 0;
    while (m->at != m->end && done < budget) {
        uintptr_t at = (uintptr_t)m->at;
        size_t to_page = (SH_ARCH_PAGE_SIZE - (at & (SH_ARCH_PAGE_SIZE - 1))) / sizeof(uintptr_t);
        size_t count = smaller((size_t)(m->end - m->at), smaller(budget - done, MM_WORD_BITS));
        count = smaller(count, to_page);
        /* What demand mode left without a frame reads as zero: there is nothing in it. */
        visit_next(m, count, !mm_mode.demand || sh_arch_state(at) == SH_READY, mode);
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

static void piece_begin(struct gc_marker *m, uintptr_t object)
{
    const struct gc_span *gs = m->gs;
    m->type = gs->type == NULL || is_dense(gs->type) ? NULL : gs->type;
    m->at = (const uintptr_t *)object;
    m->end = m->at + gs->size / sizeof(uintptr_t);
    m->type_word = 0;
}

/* How the small objects of a span are looked into. */
enum look {
    LOOK_PAIR,   /* both words: list cells and leaves of trees */
    LOOK_WORDS,  /* all words */
    LOOK_MASK,   /* where the mask is, the same for all */
    LOOK_BITMAP, /* where the span's bitmap says */
    LOOK_APART   /* through the piece: not small, or in demand mode */
};

INLINE enum look look_for(const struct gc_span *gs)
{
    size_t words = gs->size / sizeof(uintptr_t);
    if (mm_mode.demand || words > (gs->pointers != NULL ? MM_WORD_BITS : GC_PIECE)) {
        return LOOK_APART;
    }
    bool all = gs->pointers == NULL || (gs->uniform && gs->mask == (~(uintptr_t)0 >> (MM_WORD_BITS - words)));
    return all ? (words == 2 ? LOOK_PAIR : LOOK_WORDS) : gs->uniform ? LOOK_MASK : LOOK_BITMAP;
}

INLINE void set_scanned(uintptr_t *scanned, uintptr_t bits, enum mode mode)
{
    if (mode == ALONE) {
        *scanned |= bits;
    } else {
        __atomic_fetch_or(scanned, bits, __ATOMIC_RELAXED);
    }
}

/* Of those, some have to wait. */
INLINE void clear_scanned(uintptr_t *scanned, uintptr_t bits, enum mode mode)
{
    if (mode == ALONE) {
        *scanned &= ~bits;
    } else {
        __atomic_fetch_and(scanned, ~bits, __ATOMIC_RELAXED);
    }
}

/* Marked, and not looked into. */
INLINE uintptr_t to_do(const uintptr_t *marked, const uintptr_t *scanned, enum mode mode)
{
    return mode == ALONE ? *marked & ~*scanned
                         : __atomic_load_n(marked, __ATOMIC_RELAXED) & ~__atomic_load_n(scanned, __ATOMIC_RELAXED);
}

/* The marks that the last pass began with are done. */
INLINE void leave_alone(struct gc_marker *m)
{
    m->bytes += m->pending * m->gs->size;
    m->gs->countdown = 1;
    m->gs = NULL;
}

/* If there are more, the span comes up again. */
static void leave_shared(struct gc_marker *m)
{
    struct gc_span *gs = m->gs;
    m->bytes += m->pending * gs->size;
    m->gs = NULL;
    if (__atomic_add_fetch(&gs->countdown, m->pending, __ATOMIC_RELEASE) != 1) {
        arch_flags flags = gc_lock();
        gs->hint = GC_NO_HINT;
        gc_work_push(gs);
        gc_unlock(flags);
    }
}

/* After a pass over the span in hand: if more of its objects were marked meanwhile, another goes the other
 * way.  What lies before the objects that refer to it, as most trees and lists do that were made from their
 * ends, takes two passes and not one a generation.  What that costs. */
INLINE size_t end_pass(struct gc_marker *m, enum mode mode)
{
    struct gc_span *gs = m->gs;
    uint32_t pending = gc_pending(gs);
    if (pending != m->pending) {
        bool down = m->step == 1;
        m->pending = pending;
        m->step = 0 - m->step;
        m->word = down ? gs->words - 1 : 0;
        m->word_end = down ? UINT32_MAX : gs->words;
        return GC_SPAN_COST;
    }
    if (mode == ALONE) {
        leave_alone(m);
    } else {
        leave_shared(m);
    }
    return 0;
}

/* Objects of the span in hand, as many as the budget lets begin; how many words. */
INLINE size_t visit_span_as(struct gc_marker *m, enum look look, size_t budget, enum mode mode)
{
    struct gc_span *gs = m->gs;
    uintptr_t *marked = gs->marked, *scanned = gc_scanned(gs), mask = gs->mask;
    size_t size = look == LOOK_PAIR ? 2 * sizeof(uintptr_t) : gs->size, words = size / sizeof(uintptr_t);
    intptr_t left = (intptr_t)budget;
    for (uint32_t at = m->word; at != m->word_end; at += m->step) {
        uintptr_t todo, base = gs->base + at * MM_WORD_BITS * size;
        while ((todo = to_do(&marked[at], &scanned[at], mode)) != 0) {
            set_scanned(&scanned[at], todo, mode);
            do {
                const uintptr_t *object = (const uintptr_t *)(base + arch_ctz(todo) * size);
                todo &= todo - 1;
                left -= (intptr_t)words;
                if (look == LOOK_APART) {
                    piece_begin(m, (uintptr_t)object);
                } else if (look == LOOK_PAIR) {
                    visit(word_at(&object[0]), mode);
                    visit(word_at(&object[1]), mode);
                } else if (look == LOOK_WORDS) {
                    visit_words(object, object + words, mode);
                } else if (look == LOOK_MASK) {
                    visit_masked(object, mask, mode);
                } else {
                    size_t first = (size_t)(object - (const uintptr_t *)gs->base);
                    visit_masked(object, bits_at(gs->pointers, first, words), mode);
                }
                if (look == LOOK_APART || left <= 0) {
                    clear_scanned(&scanned[at], todo, mode);
                    m->word = at;
                    return look == LOOK_APART ? 0 : budget - (size_t)left;
                }
            } while (todo != 0);
        }
    }
    return budget - (size_t)left + end_pass(m, mode);
}

/* As visit_span_as alone, of objects whose pointers are the same words each (`mask`), or of up to GC_PIECE words
 * all of which count (mask 0).  Each object is asked for GC_FETCH_LEAD objects before it is looked into. */
static MM_NOINLINE size_t visit_span_fetched(struct gc_marker *m, uintptr_t mask, size_t budget)
{
    struct gc_span *gs = m->gs;
    struct fetches f;
    size_t size = gs->size, words = size / sizeof(uintptr_t);
    intptr_t left = (intptr_t)budget;
    fetches_begin(&f);
    for (uint32_t at = m->word; left > 0 && at != m->word_end; at += left > 0 ? m->step : 0) {
        uintptr_t *scanned = &gc_scanned(gs)[at], base = gs->base + at * MM_WORD_BITS * size;
        uintptr_t todo = to_do(&gs->marked[at], scanned, ALONE), ahead = todo;
        *scanned |= todo;
        for (unsigned i = 0; i < GC_FETCH_LEAD && ahead != 0; i++, ahead &= ahead - 1) {
            arch_prefetch((const void *)(base + arch_ctz(ahead) * size));
        }
        for (; todo != 0 && left > 0; todo &= todo - 1) {
            const uintptr_t *object = (const uintptr_t *)(base + arch_ctz(todo) * size);
            if (ahead != 0) {
                arch_prefetch((const void *)(base + arch_ctz(ahead) * size));
                ahead &= ahead - 1;
            }
            for (uintptr_t rest = mask; rest != 0; rest &= rest - 1) {
                visit_later(&f, word_at(&object[arch_ctz(rest)]));
            }
            for (size_t i = mask != 0 ? words : 0; i < words; i++) {
                visit_later(&f, word_at(&object[i]));
            }
            left -= (intptr_t)words;
        }
        *scanned &= ~todo;
        m->word = at;
    }
    fetches_end(&f);
    return left > 0 ? budget - (size_t)left + end_pass(m, ALONE) : budget - (size_t)left;
}

INLINE size_t visit_span(struct gc_marker *m, size_t budget, enum mode mode)
{
    enum look look = look_for(m->gs);
    if (mode == ALONE && m->fetch && (look < LOOK_MASK || (look == LOOK_MASK && m->gs->mask != 0))) {
        return visit_span_fetched(m, look == LOOK_MASK ? m->gs->mask : 0, budget);
    }
    switch (look) {
    case LOOK_PAIR:
        return visit_span_as(m, LOOK_PAIR, budget, mode);
    case LOOK_WORDS:
        return visit_span_as(m, LOOK_WORDS, budget, mode);
    case LOOK_MASK:
        return visit_span_as(m, LOOK_MASK, budget, mode);
    case LOOK_BITMAP:
        return visit_span_as(m, LOOK_BITMAP, budget, mode);
    case LOOK_APART:
    default:
        return visit_span_as(m, LOOK_APART, budget, mode);
    }
}

/* The next span of the queue; false = there is none. */
INLINE bool next_span(struct gc_marker *m)
{
    struct gc_span *gs = gc_work_pop();
    if (gs == NULL) {
        return false;
    }
    m->gs = gs;
    m->pending = gc_pending(gs);
    m->step = 1;
    m->fetch = fetching && m->pending >= GC_FETCH_LEAD;
    bool single = m->pending == 1 && gs->hint != GC_NO_HINT;
    m->word = single ? gs->hint : 0;
    m->word_end = single ? gs->hint + 1 : gs->words;
    return true;
}

static size_t visit_span_alone(size_t budget)
{
    return visit_span(&own, budget, ALONE);
}

/* One burst. */
static size_t burst(size_t budget)
{
    size_t done = 0;
    while (done < budget) {
        if (own.at != own.end) {
            done += piece_some(&own, budget - done, ALONE);
        } else if (own.gs != NULL) {
            done += visit_span_alone(budget - done);
        } else if (next_span(&own)) {
            done += GC_SPAN_COST;
            if (own.gs->kind == GC_NOSCAN) {
                leave_alone(&own);
            }
        } else {
            break;
        }
    }
    return done;
}

size_t gc_mark_some(size_t budget, size_t burst_words)
{
    size_t done = 0;
    while (done < budget) {
        arch_flags flags = gc_lock();
        size_t some = burst(smaller(budget - done, burst_words));
        gc_unlock(flags);
        if (some == 0) {
            break;
        }
        done += some;
    }
    return done;
}

bool gc_mark_take(struct gc_marker *m)
{
    return next_span(m);
}

void gc_mark_visit(struct gc_marker *m)
{
    m->words += GC_SPAN_COST;
    if (m->gs->kind == GC_NOSCAN) {
        leave_shared(m);
    }
    while (m->gs != NULL) {
        m->words += visit_span(m, SIZE_MAX / 2, SHARED);
        m->words += piece_some(m, SIZE_MAX, SHARED);
    }
}

void gc_mark_account(size_t bytes)
{
    own.bytes += bytes;
}

size_t gc_mark_bytes(void)
{
    return own.bytes;
}

void gc_mark_start(void)
{
    memset(&own, 0, sizeof own);
    fetching = gc_alloc_live >= gc_fetch_least;
}
