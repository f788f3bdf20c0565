/*
 * The search: every schedule of a scenario, up to a bound.
 *
 * 1. A schedule is what comes of choices.  At a point (memory.c, and where the interrupt mask is lifted or
 *    set, and around calls of the port) the running fiber may be preempted, which the bound limits; where
 *    it ends or waits, any other goes on, which costs nothing.  An interrupt handler is a fiber that begins
 *    on top of another one of its CPU where that CPU's mask is open; what it interrupts goes on after it.
 *    A helper does so while the world is stopped by another CPU, or never.
 *    With store buffers, a store that somebody comes to may be late.  Choice 0 is always to go on.
 *
 * 2. Depth first, without memory of the past: the choices made so far are made again, then choice 0 to the
 *    end; then the last choice that has another way is changed.  Everything else is deterministic.
 *
 * 3. Where a choice is new, the state is hashed: the image, the live part of each stack, buffers, masks, who
 *    runs.  One that was met before with at least as many preemptions left has been searched from there.
 *
 * 4. Bounds go up from 0, so that what fails first has the fewest preemptions.  In each, the search begins
 *    anew until no schedule shows a conflict that it did not know of.
 *
 * 5. A failing schedule is written as the choices other than 0, by the number of the step at which each is
 *    made: 120:1 = at steps 120 fiber 1 goes on; 131~2 = at steps 131 the last two stores to that place are
 *    late.  Steps count everything, also what is not a point, so the string does not depend on what the
 *    search knew.
 */
#include "kernel-test/explore/search.h"

#include "kernel-test/explore/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STEPS_MAX = 1000000 };

bool replaying;
enum mode mode;
uint64_t steps, last_step, first_step;
const struct scenario *scenario;

static unsigned budget, bound;
static bool pruned;

/* Who goes on: the current one, if it can, is choice 0.  FIBERS_MAX = nobody. */
static unsigned pick(unsigned current)
{
    uint8_t who[FIBERS_MAX + 1];
    unsigned count = 0;
    bool goes_on = current != FIBERS_MAX && is_runnable(current);
    if (goes_on) {
        who[count++] = (uint8_t)current;
    }
    for (unsigned i = 0; i < fibers && (!goes_on || budget > 0); i++) {
        if (i != current && is_runnable(i)) {
            who[count++] = (uint8_t)i;
        }
    }
    for (unsigned i = 0; i < fibers && count == 0; i++) {
        if (fiber[i].status == YIELDED) {
            fiber[i].status = READY;
            memory_forget_reads(i);
            count = is_runnable(i);
            who[0] = (uint8_t)i;
        }
    }
    if (count == 0) {
        return FIBERS_MAX;
    }
    if (!replaying && choice_count >= given && met(state_hash(), budget)) {
        pruned = true;
        return FIBERS_MAX;
    }
    unsigned taken = choose(false, count, who);
    budget -= goes_on && taken != 0 && !replaying;
    return who[taken];
}

static void schedule_begin(void)
{
    image_restore();
    memory_start();
    fibers_begin();
    failed = pruned = false;
    budget = bound;
    first_step = steps;
    last_step = steps + STEPS_MAX;
    choices_begin();
}

void tell(const char *what, unsigned i)
{
    if (replaying) {
        printf("    step %lu: fiber %u, on CPU %u, %s\n", (unsigned long)(steps - first_step), i,
               scenario->fiber[i].cpu, what);
    }
}

/* One schedule, to its end, to a state that was met, or to a failure. */
static void schedule_run(void)
{
    unsigned current = FIBERS_MAX;
    schedule_begin();
    while (!failed) {
        unsigned next = pick(current);
        if (pruned) {
            return;
        }
        if (next == FIBERS_MAX) {
            if (memory_drain_hidden()) {
                continue;
            }
            break;
        }
        if (next != current) {
            tell("goes on", next);
        }
        current = next;
        switch (go_on(next)) {
        case AT_PAUSE:
            tell("waits", next);
            fiber_paused(next);
            break;
        case AT_END:
            tell("ends", next);
            fiber_ended(next);
            current = fiber[next].interrupted;
            break;
        case AT_POINT:
        case AT_FAILURE:
        default:
            break;
        }
        if (steps > last_step && !failed) {
            failed = true;
            snprintf(failure, sizeof failure, "no end: too many steps");
        }
    }
    if (!failed && !all_done()) {
        deadlock();
    }
    if (failed) {
        return;
    }
    memory_drain_hidden();
    if (given == 0 && !image_hash_holds()) {
        fprintf(stderr, "explore: %s: a write was not announced\n", scenario->name);
        exit(2);
    }
    if (!met(mix(image_hash) ^ 0x5555, 0) || replaying) {
        if (setjmp(check_failed) == 0) {
            scenario->check();
        }
    }
}

/* ---- from outside ---- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time); /* others may be at work on the machine */
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void set_up(const struct scenario *which)
{
    static bool opened;
    if (!opened) {
        image_open();
        signals_open();
        opened = true;
    }
    scenario = which;
    for (fibers = 0; fibers < FIBERS_MAX && which->fiber[fibers].run != NULL; fibers++) {
    }
    image_pristine();
    running = false;
    failed = false;
    steps++;
    if (setjmp(check_failed) == 0) {
        which->setup();
    }
    image_base();
}

static void found(struct result *result)
{
    result->failed = true;
    snprintf(result->what, sizeof result->what, "%s", failure);
    schedule_print(result->schedule, sizeof result->schedule);
}

/* All schedules with what is known of conflicts; true = nothing new was learnt. */
static bool search_once(struct result *result, double deadline)
{
    uint64_t since = 0;
    states_clear();
    given = choice_count = 0;
    result->schedules = 0;
    do {
        schedule_run();
        result->schedules++;
        if (failed) {
            /* A store that was not known to matter may have overtaken one that was. */
            if (memory_new_conflicts()) {
                return false;
            }
            result->states = states_met;
            found(result);
            return true;
        }
        if (++since == 64) {
            since = 0;
            if (memory_new_conflicts()) {
                return false;
            }
            if (now() > deadline) {
                result->complete = false;
                break;
            }
        }
    } while (choices_advance());
    result->states = states_met;
    return !memory_new_conflicts();
}

void search(const struct scenario *which, enum mode in, unsigned most, double seconds, struct result *result)
{
    double begun = now();
    memset(result, 0, sizeof *result);
    mode = in;
    replaying = false;
    result->complete = true;
    set_up(which);
    if (failed) {
        found(result);
    }
    memory_forget_conflicts();
    for (bound = 0; bound <= most && !result->failed && result->complete; bound++) {
        result->bound = bound;
        while (!search_once(result, begun + seconds) && result->complete) {
        }
    }
    result->seconds = now() - begun;
}

bool replay(const struct scenario *which, enum mode in, const char *schedule, struct result *result)
{
    memset(result, 0, sizeof *result);
    if (!schedule_read(schedule)) {
        return false;
    }
    mode = in;
    bound = 7;
    replaying = true;
    set_up(which);
    given = 0;
    states_clear();
    if (!failed) {
        schedule_run();
    }
    result->failed = failed;
    snprintf(result->what, sizeof result->what, "%s", failure);
    replaying = false;
    return true;
}
