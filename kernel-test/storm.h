/*
 * Many CPUs on one heap: what each does.  The booted kernel runs it on its CPUs, with a part for each
 * CPU's timer handler; the host runs it in threads.
 *
 * A part holds objects of its own and sends some to others through boxes, from which they are taken,
 * checked and freed: so most remote frees are of objects that another CPU made.  Every object says in its
 * first words who made it and how large it is, and is filled with a pattern; whatever is not as it was
 * left is noted, and all parts end.
 */
#ifndef KERNEL_TEST_STORM_H
#define KERNEL_TEST_STORM_H

#include "kernel-test/pattern.h"

#define STORM_CPUS 64u
#define STORM_SLOTS 64u
#define STORM_BOXES 16u

struct storm_object;

/* What a CPU's thread does, or its handler; nobody else touches it while it runs. */
struct storm_part {
    unsigned cpu;
    bool handler;
    uint32_t random;
    struct storm_object *own[STORM_SLOTS];
    /* Calls of the heap; of the frees those of objects that another CPU made; NULLs. */
    uint32_t mallocs, frees, reallocs, remote, refused;
};

/* Before it begins: `cpus` send to each other, or (sends = false) each keeps to itself; sh_trim is called
 * `trims` times at most, by all together. */
void storm_start(unsigned cpus, bool sends, unsigned trims);
void storm_part_start(struct storm_part *part, unsigned cpu, bool handler, uint32_t seed);
/* About so many calls of the heap; fewer if something is broken. */
void storm_go(struct storm_part *part, uint32_t calls);
/* Frees what the part holds; what lies in all boxes. */
void storm_part_end(struct storm_part *part);
void storm_end(struct storm_part *by);
/* What was not as it should be; NULL = nothing.  Any CPU may say so. */
const char *storm_broken(void);
void storm_break(const char *what);

/* One behind the other, for producers and consumers: an object of this size, filled; checked and freed. */
struct storm_object *storm_take(struct storm_part *part, size_t size);
void storm_give(struct storm_part *part, struct storm_object *object);

#endif
