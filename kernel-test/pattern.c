/*
 * What blocks are filled with.  See pattern.h.
 */
#include "kernel-test/pattern.h"

#include "kernel-test/test.h"
#ifdef KASAN
#include "kernel-test/kasan.h"
#endif

/* Under address checks (kasan.h) a block is checked once, as a whole, and not word by word. */
#ifdef KASAN
#define UNCHECKED __attribute__((no_sanitize_address))
#else
#define UNCHECKED
static inline void kasan_check(const void *p, size_t size, bool write)
{
    (void)p, (void)size, (void)write;
}
#endif

#define STEP 0x9E3779B1u

static UNCHECKED uint32_t pattern(uint32_t seed, uint32_t index)
{
    return (seed + index) * STEP ^ seed;
}

/* Words where the block is aligned for them, as blocks of the heap are, four a turn; the tail, and
 * the rest, bytewise, lowest byte first. */
typedef uint32_t __attribute__((may_alias)) word;

static UNCHECKED size_t whole_words(const void *p, size_t size)
{
    return ((uintptr_t)p & 3) == 0 ? size >> 2 : 0;
}

static UNCHECKED uint8_t pattern_byte(uint32_t seed, size_t at)
{
    return (uint8_t)(pattern(seed, (uint32_t)(at >> 2)) >> (8 * (at & 3)));
}

UNCHECKED void t_fill(void *p, size_t size, uint32_t seed)
{
    size_t count = whole_words(p, size), i = 0;
    uint32_t next = seed * STEP;
    word *words = p;
    uint8_t *bytes = p;

    kasan_check(p, size, true);
    for (; i + 4 <= count; i += 4, next += 4 * STEP) {
        words[i] = next ^ seed;
        words[i + 1] = (next + STEP) ^ seed;
        words[i + 2] = (next + 2 * STEP) ^ seed;
        words[i + 3] = (next + 3 * STEP) ^ seed;
    }
    for (; i < count; i++)
        words[i] = pattern(seed, (uint32_t)i);
    for (size_t at = count << 2; at < size; at++)
        bytes[at] = pattern_byte(seed, at);
}

UNCHECKED bool t_holds(const void *p, size_t size, uint32_t seed)
{
    size_t count = whole_words(p, size), i = 0;
    uint32_t next = seed * STEP;
    const word *words = p;
    const uint8_t *bytes = p;

    kasan_check(p, size, false);
    for (; i + 4 <= count; i += 4, next += 4 * STEP)
        if ((words[i] ^ next) != seed || (words[i + 1] ^ (next + STEP)) != seed ||
            (words[i + 2] ^ (next + 2 * STEP)) != seed ||
            (words[i + 3] ^ (next + 3 * STEP)) != seed)
            return false;
    for (; i < count; i++)
        if (words[i] != pattern(seed, (uint32_t)i))
            return false;
    for (size_t at = count << 2; at < size; at++)
        if (bytes[at] != pattern_byte(seed, at))
            return false;
    return true;
}

UNCHECKED bool t_is_zero(const void *p, size_t size)
{
    size_t count = whole_words(p, size);
    const word *words = p;
    const uint8_t *bytes = p;

    kasan_check(p, size, false);
    for (size_t i = 0; i < count; i++)
        if (words[i] != 0)
            return false;
    for (size_t at = count << 2; at < size; at++)
        if (bytes[at] != 0)
            return false;
    return true;
}

uint32_t t_below(uint32_t *state, uint32_t limit)
{
    return (uint32_t)((uint64_t)t_random(state) * limit >> 32);
}
