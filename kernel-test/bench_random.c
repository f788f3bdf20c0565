/*
 * Random slots and sizes, the same in every program that measures, on every machine.
 */
#include "kernel-test/bench.h"

/* xorshift32. */
static uint32_t next(struct bench_random *random)
{
    uint32_t x = random->state;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return random->state = x;
}

uint32_t bench_pick(struct bench_random *random, uint32_t count)
{
    return (uint32_t)((uint64_t)next(random) * count >> 32);
}

/* least · 2^x for a uniform x: the whole octaves by a shift, 16 bits of the fraction by one
 * multiplication for each that is set.  The factors are 2^(1/2), 2^(1/4), … in units of 2^-31. */
uint32_t bench_size(struct bench_random *random, uint32_t least, unsigned octaves)
{
    static const uint32_t roots[16] = {
        0xB504F333u, 0x9837F051u, 0x8B95C1E3u, 0x85AAC367u, 0x82CD8698u, 0x8164D1F3u,
        0x80B1ED4Fu, 0x8058D7D2u, 0x802C6436u, 0x8016302Fu, 0x800B179Cu, 0x80058BAFu,
        0x8002C5D0u, 0x800162E6u, 0x8000B172u, 0x800058B9u,
    };
    uint32_t exponent = bench_pick(random, octaves << 16);
    uint32_t mantissa = 0x80000000u;

    for (unsigned i = 0; i < 16; i++)
        if ((exponent >> (15 - i) & 1) != 0)
            mantissa = (uint32_t)((uint64_t)mantissa * roots[i] >> 31);
    return (uint32_t)((uint64_t)(least << (exponent >> 16)) * mantissa >> 31);
}
