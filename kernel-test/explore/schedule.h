/*
 * The parts of the search: fibers.c, who runs and who may; choices.c, what makes up a schedule; states.c,
 * what was met before; search.c, which has the essay.
 */
#ifndef EXPLORE_SCHEDULE_H
#define EXPLORE_SCHEDULE_H

#include "kernel-test/explore/explore.h"

#include <setjmp.h>

extern const struct scenario *scenario;
extern bool failed;          /* this schedule, and how */
extern char failure[512];
extern uint64_t first_step;  /* of this schedule */

/* For who looks at one schedule: what fiber i does. */
void tell(const char *what, unsigned i);

/* ---- fibers.c ---- */

enum status { NEW, READY, YIELDED, WAITING, STOPPING, DONE };
enum reason { AT_POINT, AT_PAUSE, AT_END, AT_FAILURE };

struct fiber {
    void *sp;
    enum status status;
    unsigned interrupted; /* of a handler: the fiber below it; FIBERS_MAX = none */
    uint64_t paused;      /* where it was when it paused last */
};

extern struct fiber fiber[FIBERS_MAX];
extern unsigned fibers;
extern bool masked[CPUS_MAX], handling[CPUS_MAX];
extern unsigned world_owner; /* who has stopped the world; FIBERS_MAX = nobody */
extern jmp_buf check_failed; /* where violated() goes when no fiber runs */

/* Faults of the code under test are failures from here on. */
void signals_open(void);
/* All fibers are new, no mask is set, the world goes on. */
void fibers_begin(void);
bool is_runnable(unsigned i);
/* Runs a fiber until it comes back. */
enum reason go_on(unsigned i);
/* It came back because it paused, or ended. */
void fiber_paused(unsigned i);
void fiber_ended(unsigned i);
bool all_done(void);
/* Nobody can go on: that is how this schedule failed. */
void deadlock(void);
/* Of the live part of a fiber's stack. */
uint64_t stack_hash(unsigned number);

/* ---- choices.c ---- */

extern unsigned choice_count; /* so far, in this schedule */
extern unsigned given;        /* those below are made again */

void choices_begin(void);
/* One of `count` ways: of a late store, or of fibers. */
unsigned choose(bool store, unsigned count, const uint8_t *who);
/* The next way to go; false = all were gone. */
bool choices_advance(void);
/* The choices of this schedule as a string, and those of a string as what replays; false = it is none. */
void schedule_print(char *text, size_t size);
bool schedule_read(const char *text);

/* ---- states.c ---- */

extern size_t states_met;

void states_clear(void);
/* Was this state met with as many preemptions left?  From now on it was. */
bool met(uint64_t hash, unsigned left);
uint64_t state_hash(void);

#endif
