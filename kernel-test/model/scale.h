/*
 * The heap's constants, small: what mm/config.h and arch/arch.h would otherwise choose.  MODEL_page,
 * MODEL_frame or MODEL_top says which of the three address spaces is built.
 *
 * Object sizes are out of scope (no slot, no size class is used), so a heap page may have any size.  It
 * is chosen for the metadata: the heap's records are as large as ever, and with a page of 512 bytes or
 * less they fill one page after the other, so that every way in which metadata can run out is reached
 * with a handful of pages.  A descriptor is a sixth to a third of a page instead of a hundredth, hence
 * MM_META_SHARE.  A chunk is 32 pages, one word of its bitmaps: the least that the code allows.
 */
#ifndef MODEL_SCALE_H
#define MODEL_SCALE_H

#define SH_MAX_CPUS 1

#if defined(MODEL_page)
/* Two frames a heap page, as with 8 KiB pages on 4 KiB frames.  2^18 is 512 pages, 16 chunks. */
#define MODEL_NAME "page"
#define MODEL_RATIO "2 frames a page"
#define MM_ADDRESS_BITS 18
#define MM_PAGE_SHIFT 9
#define SH_ARCH_PAGE_SHIFT 8
#define MM_CHUNK_SHIFT 14
#define MM_ARENA_SHIFT 14
#define MODEL_TRACK 512
#define MODEL_ANNEX 0x38000u

#elif defined(MODEL_frame)
/* Two heap pages a frame, as with 8 KiB pages on larger frames (64 KiB: eight); two chunks an arena. */
#define MODEL_NAME "frame"
#define MODEL_RATIO "2 pages a frame"
#define MM_ADDRESS_BITS 18
#define MM_PAGE_SHIFT 8
#define SH_ARCH_PAGE_SHIFT 9
#define MM_CHUNK_SHIFT 13
#define MM_ARENA_SHIFT 14
#define MODEL_TRACK 512
#define MODEL_ANNEX 0x38000u

#else
/* The whole of 2^32 is 256 pages of 16 MiB: sums wrap where they wrap on the machine. */
#define MODEL_NAME "top"
#define MODEL_RATIO "1 frame a page"
#define MM_ADDRESS_BITS 32
#define MM_PAGE_SHIFT 24
#define SH_ARCH_PAGE_SHIFT 24
#define MM_CHUNK_SHIFT 29
#define MM_ARENA_SHIFT 29
#define MODEL_TRACK 1024
#define MODEL_ANNEX 0x40000000u
#endif

#define MODEL_GRANULE \
    ((size_t)1 << (MM_PAGE_SHIFT > SH_ARCH_PAGE_SHIFT ? MM_PAGE_SHIFT : SH_ARCH_PAGE_SHIFT))

#define MM_RESERVE (4 * MODEL_GRANULE)
#define MM_META_BLOCK (4 * MODEL_GRANULE)
#define MM_META_FIRST (2 * MODEL_GRANULE)
#define MM_META_SHARE 4
#define MM_RUN_CACHE_LIMIT ((size_t)2 << MM_PAGE_SHIFT)
#define MM_RUN_CACHE_LEAST 2

#endif
