/*
 * Bitmaps as arrays of machine words: ranges of bits, and runs within one word.  No state; every
 * function takes the array and bit numbers counted from its first word.
 */
#ifndef MM_BITMAP_H
#define MM_BITMAP_H

#include "cpu.h"
#include "mm/config.h"

#define MM_BITMAP_WORDS(bits) (((bits) + MM_WORD_BITS - 1) / MM_WORD_BITS)

static inline bool mm_bit_test(const uintptr_t *map, size_t bit)
{
    return map[bit / MM_WORD_BITS] >> (bit % MM_WORD_BITS) & 1;
}

/* A word that other CPUs read while its owner writes it. */
static inline uintptr_t mm_word_get(const uintptr_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void mm_word_set(uintptr_t *word, uintptr_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* The bits of word `word` that lie in [first, end): all ones in the middle of the range. */
static inline uintptr_t mm_bitmap_mask(size_t word, size_t first, size_t end)
{
    uintptr_t mask = ~(uintptr_t)0;
    if (word == first / MM_WORD_BITS) {
        mask &= ~(uintptr_t)0 << (first % MM_WORD_BITS);
    }
    if (word == end / MM_WORD_BITS) {
        mask &= ~(~(uintptr_t)0 << (end % MM_WORD_BITS));
    }
    return mask;
}

/* Sets (how = 1), clears (-1) or leaves (0) a range; how many of its bits were set before. */
static inline size_t mm_bitmap_work(uintptr_t *map, size_t first, size_t end, int how)
{
    size_t count = 0;
    for (size_t word = first / MM_WORD_BITS; word * MM_WORD_BITS < end; word++) {
        uintptr_t mask = mm_bitmap_mask(word, first, end), bits = map[word];
        if ((bits & mask) != 0) {
            count += (bits & mask) == ~(uintptr_t)0 ? MM_WORD_BITS : arch_popcount(bits & mask);
        }
        if (how != 0) {
            map[word] = how > 0 ? bits | mask : bits & ~mask;
        }
    }
    return count;
}

/* Keeps of `word` the bits at which a run of `length` ones begins (0 < length <= MM_WORD_BITS): the
 * word is and-ed with itself shifted, doubling the run that each remaining bit stands for.  A word of
 * single ones, behind which a longer run is looked for, takes the first step only. */
static inline uintptr_t mm_word_runs(uintptr_t word, size_t length)
{
    if (length > 1) {
        word &= word >> 1;
    }
    for (size_t have = 2; word != 0 && have < length;) {
        size_t step = have < length - have ? have : length - have;
        word &= word >> step;
        have += step;
    }
    return word;
}

#endif
