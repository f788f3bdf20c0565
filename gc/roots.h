/*
 * Roots: where marking starts.
 *
 * Ranges that the kernel registered, stacks and spilled registers at the stop that begins a cycle,
 * uncollectable objects, objects whose finalizer is due.
 */
#ifndef GC_ROOTS_H
#define GC_ROOTS_H

#include "gc/state.h"

/* A new cycle: no range is looked at yet. */
void gc_roots_start(void);

/* Every stack that the hook reports, the running one above this call only, and the registers; how many
 * words.  The world stands. */
size_t gc_roots_stacks(void);

/* Some of the ranges and uncollectable spans; how many words; 0 = all is done. */
size_t gc_roots_some(size_t budget);

/* Which stacks another marker looks at. */
enum gc_stacks {
    GC_STACKS_NONE,
    GC_STACKS_BEGUN, /* as the cycle did: of the collector's own no word that has come into its frames since */
    GC_STACKS_NOW
};

/* For other markers: calls `each` for every registered range, then for stacks.  The world stands. */
void gc_roots_each(void (*each)(const void *low, const void *high, void *arg), void *arg, enum gc_stacks which);

int gc_roots_verify(void);
void gc_roots_reset(void);

#endif
