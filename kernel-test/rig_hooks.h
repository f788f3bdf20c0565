/*
 * The hooks of the host's rig: what rig_host.c asks of them.
 */
#ifndef RIG_HOOKS_H
#define RIG_HOOKS_H

#include "kernel-test/rig.h"

/* What rig_context said. */
enum sh_context rig_hooks_context(void);

/* No panic is expected, the log is empty, the context is SH_THREAD. */
void rig_hooks_forget(void);

#endif
