/*
 * Marking: from words to objects, and what is in them.
 *
 * All of this is under the work lock, in bursts of about GC_BURST words, but for what a team does.
 */
#ifndef GC_MARK_H
#define GC_MARK_H

#include "gc/state.h"

/* Words between two openings of the work lock, and so with interrupts masked: some 2000 instructions if each
 * word leads to another span.  With the world stopped nobody waits for the lock but handlers: more. */
#define GC_BURST 32
#define GC_BURST_STOPPED 128
/* Objects of more words than this are looked into in pieces. */
#define GC_PIECE 64
/* What a span or a record costs, in words. */
#define GC_SPAN_COST 16

/* So many words and objects are asked for before they are needed (mark.c, 6), by who marks alone. */
#define GC_FETCH_LEAD 8
/* In heaps of at least so many bytes of objects: what is beside a smaller one is in most machines' caches. */
#define GC_FETCH_LEAST ((size_t)8 << 20)
extern size_t gc_fetch_least; /* changed by benchmarks */

/* What a marker has in hand. */
struct gc_marker {
    /* The rest of a large object of the span. */
    const uintptr_t *at, *end;
    const struct sh_gc_type *type;
    size_t type_word; /* with a type: which word of it `at` is */
    /* The span, and which words of its bits are left. */
    struct gc_span *gs;
    uint32_t word, word_end;
    bool fetch;       /* by visit_span_fetched */
    uint32_t step;    /* 1 or −1: which way the pass goes */
    uint32_t pending; /* marks of the span that this pass, and those before it, began with */
    /* What it did. */
    size_t bytes; /* of objects that it marked */
    size_t words; /* in a team: looked at */
};

/* A word that may point into an object: marks that, if it is collected and was not. */
void gc_mark_word(uintptr_t word);
/* All objects of an uncollectable span. */
void gc_mark_all(struct gc_span *gs);
/* An object that was just allocated while marking goes on: kept, and nothing to look at. */
void gc_mark_born(struct gc_span *gs, uint32_t index);
/* It is given back, and nobody has seen it. */
void gc_mark_unborn(struct gc_span *gs, uint32_t index);
bool gc_is_marked(const struct gc_span *gs, uint32_t index);
/* Is an allocated object not waiting to be swept away? */
bool gc_is_kept(const struct gc_span *gs, uint32_t index);

/* Looks at the words of [low, high), at most `budget` of them; where it stopped.  No object memory. */
const uintptr_t *gc_mark_range(const uintptr_t *low, const uintptr_t *high, size_t budget);

/* Works off the queue, at most about `budget` words, in bursts of so many; how many.  0 = nothing is left. */
size_t gc_mark_some(size_t budget, size_t burst_words);

/* For a team.  Takes a span from the queue, under the lock; false = it is empty. */
bool gc_mark_take(struct gc_marker *m);
/* Looks into what was taken, while others do likewise.  No lock. */
void gc_mark_visit(struct gc_marker *m);
/* So many bytes were marked by another.  Under the lock. */
void gc_mark_account(size_t bytes);

/* Bytes of objects that were marked since gc_mark_start. */
size_t gc_mark_bytes(void);
void gc_mark_start(void);

#endif
