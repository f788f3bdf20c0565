/*
 * The heap's way to the port: every call of sh_arch_* that may reach a hook goes through here, marked so
 * that a hook which calls back is recognised (context.h), and counted against the limit (budget.h).
 *
 * No heap lock is held.
 */
#ifndef MM_PORT_H
#define MM_PORT_H

#include "mm/config.h"

/* The port's extras; does not pull port.o out of the archive: the seven functions do, or nothing does. */
extern const struct sh_port sh_arch_port __attribute__((weak));

/* NULL: the kernel has sh_arch_* of its own. */
static inline const struct sh_port *mm_port(void)
{
    return &sh_arch_port;
}

/* A range that the heap cannot use is named in the log, and refused. */
MM_CALL uintptr_t mm_port_reserve(uintptr_t hint, size_t size, size_t align);
MM_CALL void mm_port_release(uintptr_t base, size_t size);
/* false also when the tables would exceed the limit. */
bool mm_port_map(uintptr_t base, size_t size);
/* The caller has taken the frames from the budget. */
bool mm_port_commit(uintptr_t base, size_t size);
void mm_port_decommit(uintptr_t base, size_t size);
void mm_port_fault(uintptr_t base, size_t size);

/* For sh_verify: what the port finds wrong with its tables. */
int mm_port_verify(void);

#endif
