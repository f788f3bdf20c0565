/*
 * The four functions that a C compiler expects of every freestanding environment.  The host kernel has
 * them.
 */
#ifndef MM_MEMORY_H
#define MM_MEMORY_H

#include <stddef.h>

void *memset(void *to, int byte, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);

#endif
