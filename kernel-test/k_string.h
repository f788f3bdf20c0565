/* The four functions of string.c, as the compiler knows them. */
#ifndef KERNEL_TEST_K_STRING_H
#define KERNEL_TEST_K_STRING_H

#include <stddef.h>

void *memset(void *to, int value, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

#endif
