/*
 * Failure scenarios: in which situation a heap is, what is tried in it, under which configuration.
 * The sweep (test_sweep.c) tries every combination, for many seeds, and lets every call under it
 * fail.
 *
 * A scenario may run any number of times: with the same seed it does the same each time.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "kernel-test/k_string.h"
#include "kernel-test/test_util.h"

#define SWEEP_LIVE 20u
#define SWEEP_MOST 64u

struct sweep_config {
    const char *name;
    bool zero, demand;
    bool limit;   /* little more may be held than is */
    bool reclaim; /* little more can be had than is, but for what the reclaim hook frees */
};

struct sweep_situation {
    const char *name;
    void (*prepare)(void);
};

struct sweep_operation {
    const char *name;
    /* false = refused, and then nothing of it remains. */
    bool (*act)(void);
    bool restarts; /* ends the heap: what lived before it is gone */
    bool winding;  /* frees between: where it goes then depends on what was refused */
};

extern const struct sweep_situation sweep_situations[];
extern const struct sweep_operation sweep_operations[];
extern const unsigned sweep_situation_count, sweep_operation_count;

/* What the running scenario is. */
extern const struct sweep_config *sweep_config;
extern uint32_t sweep_seed; /* changes as it is drawn from */

/* Objects and page runs that were there before, filled; an operation may free some. */
extern struct t_block sweep_live[SWEEP_LIVE];
extern struct t_block sweep_pages[SWEEP_MOST];
extern size_t sweep_freed_objects; /* of both, by the operation */

/* sh_init with the scenario's configuration and the rig's hooks. */
void sweep_init(void);

uint32_t sweep_below(uint32_t limit);
uintptr_t sweep_area(void);
/* Sizes as kernels ask: mostly small. */
size_t sweep_size(void);

/* Frames behind the first bytes of a block: in demand mode by sh_handle_fault. */
bool sweep_touch(const void *p, size_t size);
/* sh_malloc and sweep_touch; NULL if either is refused. */
void *sweep_take(size_t size);

/* Fills and checks the beginning of a block, up to 600 bytes, and its last bytes if they have a
 * frame. */
void sweep_fill(const struct t_block *block);
bool sweep_holds(const struct t_block *block);

#endif
