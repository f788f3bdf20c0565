/*
 * Size classes: Go's rule, computed by gen_size_class.c at build time into size_class_table.c.
 *
 * A class c has slots of mm_class[c].size bytes in spans of .pages pages.  Division by the size is a
 * multiplication by .magic = ceil(2^32 / size): for an offset into the span, the high half of the
 * product is the slot's index, and the low half is below mm_class_bound exactly when the offset is the start
 * of one of the .slots slots.  So one comparison refuses interior pointers and the tail behind the last
 * slot; the generator checks every offset of every class.
 */
#ifndef MM_SIZE_CLASS_H
#define MM_SIZE_CLASS_H

#include "mm/config.h"
#include "size_class_count.h"

struct mm_class {
    uint32_t magic;
    uint16_t size_8; /* size / 8 */
    uint16_t slots : 12, pages : 4;
};

extern const struct mm_class mm_class[MM_CLASSES];

/* Class by (size − 1) / 8 to 1 KiB, by (size − 1) / 128 from there to MM_CLASS_LIMIT. */
extern const uint8_t mm_class_by_8[128];
extern const uint8_t mm_class_by_128[MM_CLASS_LIMIT / 128];

static inline size_t mm_class_size(unsigned class)
{
    return (size_t)mm_class[class].size_8 * 8;
}

/* (slots − 1) × (size × magic − 2^32) + 1: above the low half of every slot's product. */
static inline uint32_t mm_class_bound(const struct mm_class *info)
{
    return (info->slots - 1u) * (info->size_8 * 8u * info->magic) + 1;
}

/* The class for `size`, 1 … MM_CLASS_LIMIT. */
static inline unsigned mm_class_of(size_t size)
{
    return size <= 1024 ? mm_class_by_8[(size - 1) >> 3] : mm_class_by_128[(size - 1) >> 7];
}

#endif
