/*
 * The search, for main.c.
 */
#ifndef EXPLORE_SEARCH_H
#define EXPLORE_SEARCH_H

#include "kernel-test/explore/explore.h"

struct result {
    uint64_t schedules, states;
    unsigned bound;
    double seconds;
    bool complete, failed;
    char what[512], schedule[4096];
};

/* Up to `most` preemptions, for about so many seconds. */
void search(const struct scenario *which, enum mode in, unsigned most, double seconds, struct result *result);

/* One schedule; false = the string is none. */
bool replay(const struct scenario *which, enum mode in, const char *schedule, struct result *result);

#endif
