/*
 * The four functions that a freestanding C compiler may call.  Words where both ends are aligned;
 * the empty asm keeps the compiler from seeing a memset in memset.
 */
#include "k_string.h"

#include <stdint.h>

#define BARRIER() __asm__ volatile("" : : : "memory")

typedef uint32_t __attribute__((may_alias)) word;

static int aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *p = to;
    uint32_t pattern = (uint8_t)value * 0x01010101u;

    for (; size > 0 && !aligned(p, p); size--) {
        *p++ = (uint8_t)value;
        BARRIER();
    }
    for (; size >= 32; size -= 32, p += 32) {
        word *words = (void *)p;

        words[0] = words[1] = words[2] = words[3] = pattern;
        words[4] = words[5] = words[6] = words[7] = pattern;
        BARRIER();
    }
    for (; size >= 4; size -= 4, p += 4) {
        *(word *)(void *)p = pattern;
        BARRIER();
    }
    for (; size > 0; size--) {
        *p++ = (uint8_t)value;
        BARRIER();
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    uint8_t *p = to;
    const uint8_t *q = from;

    if (aligned(p, q)) {
        for (; size >= 4; size -= 4, p += 4, q += 4) {
            *(word *)(void *)p = *(const word *)(const void *)q;
            BARRIER();
        }
    }
    for (; size > 0; size--) {
        *p++ = *q++;
        BARRIER();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    uint8_t *p = to;
    const uint8_t *q = from;

    if ((uintptr_t)to - (uintptr_t)from >= size) { /* or `to` is below, and this wraps */
        for (; size > 0; size--) {
            *p++ = *q++;
            BARRIER();
        }
        return to;
    }
    while (size-- > 0) {
        p[size] = q[size];
        BARRIER();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *p = a, *q = b;

    for (; size > 0; size--, p++, q++)
        if (*p != *q)
            return *p < *q ? -1 : 1;
    return 0;
}
