/*
 * What blocks are filled with.  See pattern.h.
 */
#include "kernel-test/pattern.h"

#include "kernel-test/test.h"

static uint32_t pattern(uint32_t seed, uint32_t index)
{
    return (seed + index) * 0x9E3779B1u ^ seed;
}

/* Words where the block is aligned for them, as blocks of the heap are; the tail, and the rest, bytewise,
 * lowest byte first. */
typedef uint32_t __attribute__((may_alias)) word;

static size_t whole_words(const void *p, size_t size)
{
    return ((uintptr_t)p & 3) == 0 ? size >> 2 : 0;
}

static uint8_t pattern_byte(uint32_t seed, size_t at)
{
    return (uint8_t)(pattern(seed, (uint32_t)(at >> 2)) >> (8 * (at & 3)));
}

void t_fill(void *p, size_t size, uint32_t seed)
{
    size_t count = whole_words(p, size);
    word *words = p;
    uint8_t *bytes = p;

    for (size_t i = 0; i < count; i++)
        words[i] = pattern(seed, (uint32_t)i);
    for (size_t at = count << 2; at < size; at++)
        bytes[at] = pattern_byte(seed, at);
}

bool t_holds(const void *p, size_t size, uint32_t seed)
{
    size_t count = whole_words(p, size);
    const word *words = p;
    const uint8_t *bytes = p;

    for (size_t i = 0; i < count; i++)
        if (words[i] != pattern(seed, (uint32_t)i))
            return false;
    for (size_t at = count << 2; at < size; at++)
        if (bytes[at] != pattern_byte(seed, at))
            return false;
    return true;
}

bool t_is_zero(const void *p, size_t size)
{
    const uint8_t *bytes = p;

    while (size-- > 0)
        if (*bytes++ != 0)
            return false;
    return true;
}

uint32_t t_below(uint32_t *state, uint32_t limit)
{
    return (uint32_t)((uint64_t)t_random(state) * limit >> 32);
}
