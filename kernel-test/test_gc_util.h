/*
 * What the suites of the collector share: a heap with a collector on it, one root range, and questions
 * about single objects.
 */
#ifndef TEST_GC_UTIL_H
#define TEST_GC_UTIL_H

#include "kernel-test/test_util.h"

#include "gc/gc.h"
#include "gc/state.h"

#define T_WORD sizeof(uintptr_t)
#define T_ROOTS 256u
#define T_STEP_MORE 99u /* what a step may do beyond its budget: gc/gc.h */

/* The only root of a collector that t_gc_start started: the rig reports no stacks. */
extern void *t_root[T_ROOTS];

/* A heap with a window of `window` bytes (0 = 64 MiB), and a collector; NULL = default.  Every second one marks
 * as a large heap does, whatever its size. */
void t_gc_start(size_t window, const struct sh_config *heap, const struct sh_gc_config *config);
/* As that, all default; each cycle is looked over by the second marker. */
void t_gc_start_checked(void);
/* A heap in that tier, the collector checked. */
void t_gc_start_tier(unsigned tier);

/* Is a live object around that address? */
bool t_lives(const void *p);

/* The collector's part of the span of an object, and the object's slot. */
struct gc_span *t_gc_span(const void *p);
uint32_t t_gc_slot(const void *p);

/* As sh_gc_malloc, but fails the test instead of giving NULL. */
void *t_gc_take(size_t size, unsigned flags);

/* One step after the other until the collector is in that phase; GC_IDLE: until the cycle ends. */
void t_gc_step_to(enum gc_phase phase, size_t work);

/* Objects of kinds other than manual that the heap says are live. */
size_t t_gc_live_count(void);

/* A fast hash of a number, for contents that can be recognised: never an address of the area. */
static inline uintptr_t t_mark_of(uintptr_t number)
{
    return ((uint32_t)(number + 1) * 0x9E3779B1u >> 8) | 0x01000000u;
}

#endif
