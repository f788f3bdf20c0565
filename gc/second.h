/*
 * The second marker: another way to find out what is reached, which shares nothing with the first but the
 * map of pages and the roots.  For checkmark and leak check.  The world stands; no cycle's bits are touched.
 *
 * It takes heap pages for its bits and for a stack of objects to look into; if the stack is full it goes
 * through all objects again.  It takes them before the world stops: a CPU may stand in the middle of a growth
 * that an allocation would have to wait for.
 */
#ifndef GC_SECOND_H
#define GC_SECOND_H

#include "gc/state.h"

/* Pages for as many objects as `follows` names now, and some more; false = no heap memory.  Given back when
 * the world runs again. */
bool gc_second_reserve(bool (*follows)(const struct mm_span *span));
void gc_second_release(void);

/* Follows objects for which `follows` says yes, and looks into those for which `looks` does.  false = no, or
 * too few pages for it. */
bool gc_second_begin(bool (*follows)(const struct mm_span *span), bool (*looks)(const struct mm_span *span));
/* All words of [low, high). */
void gc_second_range(const void *low, const void *high, void *arg);
/* All words of an object. */
void gc_second_object(const struct mm_span *span, uint32_t index);
/* Until nothing more is reached. */
void gc_second_drain(void);
bool gc_second_reached(const struct mm_span *span, uint32_t index);
/* Calls for each live slot of each span that is followed. */
void gc_second_each(void (*each)(struct mm_span *span, uint32_t index, void *arg), void *arg);
void gc_second_end(void);

#endif
