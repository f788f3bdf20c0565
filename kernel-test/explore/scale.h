/*
 * The heap's constants, small, for a 64-bit build: see mm/config.h.
 *
 * Heap pages are 4 KiB, the least for which there are size classes.  A chunk is 64 pages, one word of its
 * bitmaps: the least that the code allows; an arena is one chunk.  The arena map has a root, so that leaves
 * are made too.  Reservations and metadata blocks are a few pages, so that every way to grow is taken
 * within a few allocations.
 */
#ifndef EXPLORE_SCALE_H
#define EXPLORE_SCALE_H

#define SH_MAX_CPUS 3
#define MM_DEBUG 1

#define MM_PAGE_SHIFT 12
#define SH_ARCH_PAGE_SHIFT 12
#define MM_CHUNK_SHIFT 18
#define MM_ARENA_SHIFT 18
#define MM_ADDRESS_BITS 31

#define MM_RESERVE ((size_t)4 << MM_PAGE_SHIFT)
#define MM_META_BLOCK ((size_t)4 << MM_PAGE_SHIFT)
#define MM_META_FIRST ((size_t)2 << MM_PAGE_SHIFT)
#define MM_QUEUE_LIMIT 1
#define MM_RUN_CACHE_LIMIT ((size_t)9 << MM_PAGE_SHIFT) /* one page more than the largest class */
#define MM_RUN_CACHE_LEAST 9

#endif
