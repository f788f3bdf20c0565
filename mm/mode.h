/*
 * How the heap was started: set by sh_init, read everywhere.
 */
#ifndef MM_MODE_H
#define MM_MODE_H

#include "mm/config.h"

struct mm_mode {
    bool started;
    bool zero;     /* no earlier owner's byte is seen */
    bool demand;   /* the first touch commits */
    bool guarded;  /* fills, notes or holds back: no object is served by the fast paths (guard.h) */
    bool sampling; /* some objects come from the guard pool (fence.h) */
    bool careful;  /* misses of the fast path have more to do: guarded, sampling, or a context hook */
    bool keeps;    /* runs of freed large objects are kept: neither guarded nor on demand */
    bool remote;   /* frees may come from other CPUs: more than one, and not guarded (remote.h) */
    bool reserves; /* pages are kept for handlers (reserve.h) */
    uint8_t tier;
};
extern struct mm_mode mm_mode;

static inline bool mm_remote(void)
{
    return SH_MAX_CPUS > 1 && mm_mode.remote;
}

#endif
