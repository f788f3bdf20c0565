/*
 * The memory under the scripted port of rig_host.c.
 */
#ifndef RIG_AREA_H
#define RIG_AREA_H

#include "kernel-test/test_util.h"

#define AREA_SIZE ((size_t)(sizeof(void *) == 8 ? 2048u : AREA_IS_SMALL ? 16u : 768u) << 20)
#define AREA_IS_SMALL (MM_ADDRESS_BITS < 32)
/* What of it rig_script_plain makes plain memory, from its base on. */
#define AREA_PLAIN ((size_t)16 << 20)

extern uintptr_t area_base; /* 0 before rig_area_find */

void rig_area_find(void);

/* Whole pages: zeros that can be read and written; nothing that can be. */
void rig_area_open(uintptr_t base, size_t size);
void rig_area_seal(uintptr_t base, size_t size);

#endif
