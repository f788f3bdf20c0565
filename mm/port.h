/*
 * The port's extras, if port.o is linked (see struct sh_port in arch.h).
 */
#ifndef MM_PORT_H
#define MM_PORT_H

#include "arch/arch.h"

/* Does not pull port.o out of the archive: the seven functions do, or nothing does. */
extern const struct sh_port sh_arch_port __attribute__((weak));

static inline const struct sh_port *mm_port(void)
{
    return &sh_arch_port;
}

#endif
