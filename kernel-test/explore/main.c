/*
 * explore                      all scenarios, as the table of `make explore` shows them
 * explore quick                a subset, for make test
 * explore NAME[:MODE]          one scenario
 * explore NAME:MODE:SCHEDULE   one schedule
 * explore expect NAME:MODE     must fail, within a second: of a library that is broken on purpose
 */
#include "kernel-test/explore/search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mode_names[MODES] = { "sc", "tso", "pso" };
static unsigned passed, failed_count;
static uint64_t schedules, states;

static void line(const struct scenario *which, enum mode in, const struct result *result)
{
    printf("%-34s %-4s %5u %10lu %10lu %8.2f  %s\n", which->name, mode_names[in], result->bound,
           (unsigned long)result->schedules, (unsigned long)result->states, result->seconds,
           result->failed      ? "FAILED"
           : result->complete  ? "complete"
                               : "INCOMPLETE");
    if (result->failed) {
        printf("FAIL %s: %s\n    make explore REPLAY='%s%s:%s:%s'\n", which->name, result->what,
               explorer_prefix, which->name, mode_names[in], result->schedule);
    }
    fflush(stdout);
}

/* With one CPU nobody sees that a store is late. */
static bool matters(const struct scenario *which, enum mode in)
{
    bool others = false;
    for (unsigned i = 0; i < FIBERS_MAX && which->fiber[i].run != NULL; i++) {
        others |= which->fiber[i].cpu != 0;
    }
    return others || in == MODE_SC;
}

/* The time limit of each is generous: who runs into it is not complete, and counts as failed. */
static void run(const struct scenario *which, enum mode in, bool quick)
{
    static struct result result;
    if (!matters(which, in)) {
        return;
    }
    unsigned most = in == MODE_SC && !quick ? 2 : 1;
    search(which, in, most, quick ? 20 : 120, &result);
    line(which, in, &result);
    schedules += result.schedules;
    states += result.states;
    *(result.failed || !result.complete ? &failed_count : &passed) += 1;
}

static const struct scenario *find(const char *name, size_t length)
{
    for (const struct scenario *const *list = scenario_lists; *list != NULL; list++) {
        for (const struct scenario *which = *list; which->name != NULL; which++) {
            if (strlen(which->name) == length && memcmp(which->name, name, length) == 0) {
                return which;
            }
        }
    }
    fprintf(stderr, "explore: no scenario is called %.*s\n", (int)length, name);
    exit(2);
}

static enum mode mode_of(const char *name, size_t length)
{
    for (unsigned in = 0; in < MODES; in++) {
        if (strlen(mode_names[in]) == length && memcmp(mode_names[in], name, length) == 0) {
            return (enum mode)in;
        }
    }
    fprintf(stderr, "explore: a mode is sc, tso or pso\n");
    exit(2);
}

static void all(bool quick)
{
    printf("%-34s %-4s %5s %10s %10s %8s\n", "scenario", "mode", "bound", "schedules", "states", "seconds");
    for (const struct scenario *const *list = scenario_lists; *list != NULL; list++) {
        for (const struct scenario *which = *list; which->name != NULL; which++) {
            for (unsigned in = 0; in < MODES; in++) {
                if (!quick || !which->slow) {
                    run(which, (enum mode)in, quick);
                }
            }
        }
    }
    printf("interleavings: %lu schedules, %lu states\n", (unsigned long)schedules, (unsigned long)states);
}

/* NAME, NAME:MODE or NAME:MODE:SCHEDULE. */
static void one(const char *what)
{
    size_t length = strcspn(what, ":");
    const struct scenario *which = find(what, length);
    const char *rest = what[length] == ':' ? what + length + 1 : NULL;
    if (rest == NULL) {
        for (unsigned in = 0; in < MODES; in++) {
            run(which, (enum mode)in, false);
        }
        return;
    }
    length = strcspn(rest, ":");
    enum mode in = mode_of(rest, length);
    if (rest[length] != ':') {
        run(which, in, false);
        return;
    }
    static struct result result;
    if (!replay(which, in, rest + length + 1, &result)) {
        fprintf(stderr, "explore: that is no schedule\n");
        exit(2);
    }
    printf("%s\n", result.failed ? result.what : "nothing fails");
    *(result.failed ? &failed_count : &passed) += 1;
}

static void expect(const char *what)
{
    static struct result result;
    size_t length = strcspn(what, ":");
    const struct scenario *which = find(what, length);
    enum mode in = mode_of(what + length + 1, strlen(what + length + 1));
    search(which, in, 2, 60, &result);
    line(which, in, &result);
    *(result.failed && result.seconds < 1 ? &passed : &failed_count) += 1;
    if (!result.failed) {
        printf("FAIL %s: the fault was not found\n", what);
    } else if (result.seconds >= 1) {
        printf("FAIL %s: it took more than a second\n", what);
    }
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "expect") == 0) {
        expect(arguments[2]);
    } else if (count == 2 && strcmp(arguments[1], "quick") != 0) {
        one(arguments[1]);
    } else {
        all(count == 2);
    }
    printf("%u passed, %u failed\n", passed, failed_count);
    return failed_count != 0;
}
