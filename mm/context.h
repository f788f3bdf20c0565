/*
 * Where the running code is: the host kernel's `context` hook, and whether it runs inside one of the
 * heap's own calls of the port.
 *
 * A hook that calls sh_malloc must not wait for the growth that it is itself part of; it acts as from an
 * interrupt.  Each call of the port is marked by a record on the caller's stack, and a call is nested if
 * its stack pointer lies a little below a mark: a preempting thread has another stack and may wait.
 */
#ifndef MM_CONTEXT_H
#define MM_CONTEXT_H

#include "mm/config.h"

struct mm_hook_mark {
    struct mm_hook_mark *next, **link;
};

MM_CALL void mm_hook_enter(struct mm_hook_mark *mark);
MM_CALL void mm_hook_leave(struct mm_hook_mark *mark);

enum sh_context mm_context(void);
/* A panic hook may have left a call of the port for good, and its mark with it. */
void mm_context_reset(void);

/* SH_THREAD: the port may be called, and others waited for. */
bool mm_may_grow(void);

/* Another thread or CPU that is at work can get on: it does not wait for this one to turn interrupts on. */
bool mm_may_wait(void);

/* SH_THREAD, and a shootdown could be answered: one CPU, or interrupts on. */
bool mm_may_flush(void);

#endif
