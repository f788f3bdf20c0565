/*
 * Finalizers and weak references: what hangs at single objects ("specials").
 *
 * Under the work lock, but for what the public functions say.
 */
#ifndef GC_FINALIZE_H
#define GC_FINALIZE_H

#include "gc/state.h"

/* A cycle begins: all objects whose finalizers are due or run have to be marked again. */
void gc_special_start(void);
/* Marks one of them; the cost, 0 = none is left.  Takes the lock. */
size_t gc_special_mark_due(void);

/* Looks at some weak references, and clears those to objects that are not marked; the cost, 0 = done. */
size_t gc_special_clear_weak(size_t budget);
/* Looks at some finalizers: those of objects that are not marked become due. */
size_t gc_special_find_due(size_t budget);

/* The object is freed by hand: its finalizer is dropped, references to it are cleared. */
void gc_special_drop(struct gc_span *gs, uint32_t index);
/* An object moved (sh_realloc): what hung at it hangs at the new one. */
void gc_special_move(struct gc_span *from, uint32_t index, struct gc_span *to, uint32_t to_index);

/* For other markers: the address of each object whose finalizer is due or runs. */
void gc_special_each_due(void (*each)(const void *low, const void *high, void *arg));

int gc_special_verify(void);
void gc_special_reset(void);

#endif
