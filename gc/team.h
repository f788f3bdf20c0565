/*
 * A team: the CPUs that a collection has stopped mark together with the one that it runs on.
 */
#ifndef GC_TEAM_H
#define GC_TEAM_H

#include "gc/state.h"

/* A collection is about to stop the world, and will mark: stopped CPUs wait for that. */
void gc_team_call(void);
/* It has no more to mark: they go. */
void gc_team_dismiss(void);

/* Works off the queue, with all who come to help; how many words.  The world stands. */
size_t gc_team_mark(void);
/* What sh_gc_stopped does. */
void gc_team_help(void);

/* Does a team mark?  Under the work lock. */
bool gc_team_open(void);
/* The most CPUs that marked together in the last cycle. */
unsigned gc_team_size(void);
void gc_team_reset(void);

#endif
