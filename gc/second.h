/*
 * The second marker: another way to find out what is reached, which shares nothing with the first but the
 * map of pages and the roots.  For checkmark and leak check.  The world stands; no cycle's bits are touched.
 *
 * It takes heap pages for its bits and for a stack of objects to look into; if the stack is full it goes
 * through all objects again.
 */
#ifndef GC_SECOND_H
#define GC_SECOND_H

#include "gc/state.h"

/* Follows objects for which `follows` says yes, and looks into those for which `looks` does.  false = no heap
 * memory for it. */
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
