/*
 * Cycles: the collector's phases, one after the other (see cycle.c).
 */
#ifndef GC_CYCLE_H
#define GC_CYCLE_H

#include "gc/state.h"

/* A whole collection; with `sweep` everything is swept too, else by and by.  `due`: only if one is due when it
 * is this thread's turn.  false = not now: one is at work below this call, or interrupts are off. */
bool gc_cycle_collect(bool sweep, bool due);

/* Before the world stops, and when it runs again: pages for the second marker, if the configuration asks for
 * it. */
void gc_checkmark_prepare(void);
void gc_checkmark_done(void);

/* The second marker (checkmark.c) found so many reached objects that are not marked; told one by one.
 * `stacks`: from stacks too. */
size_t gc_checkmark(bool stacks);

/* May the collector be at work here?  If not it is said, as `caller`'s misuse. */
bool gc_allowed(const char *caller);

/* Stops the other threads, lets them go on; nested calls count. */
void gc_stop(void);
void gc_resume(void);

/* The only one at work in the collector from here on, or not; waits for another thread. */
bool gc_enter(void);
void gc_leave(void);

#endif
