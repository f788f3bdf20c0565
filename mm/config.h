/*
 * The constants of the heap.  Each may be set by -D or by SH_CONFIG_HEADER, so that a model can build
 * the same code small; the static_asserts say what must hold between them.
 */
#ifndef MM_CONFIG_H
#define MM_CONFIG_H

#include "arch/arch.h"
#include "cpu.h"

/* <assert.h> is not a freestanding header. */
#ifndef static_assert
#define static_assert _Static_assert
#endif

#define MM_WORD_BITS (sizeof(uintptr_t) * 8)

/* Bits of an address that the heap looks at; a pointer with higher bits set is not the heap's. */
#ifndef MM_ADDRESS_BITS
#define MM_ADDRESS_BITS (sizeof(uintptr_t) == 4 ? 32 : 48)
#endif

/* The unit of metadata: one record of the arena map. */
#ifndef MM_ARENA_SHIFT
#define MM_ARENA_SHIFT (sizeof(uintptr_t) == 4 ? 22 : 26)
#endif

/* The unit of map, and a leaf of the page allocator: on i386 and ARMv7 one frame holds its tables. */
#ifndef MM_CHUNK_SHIFT
#define MM_CHUNK_SHIFT 22
#endif

/* The largest size class; larger objects are whole pages. */
#ifndef MM_CLASS_LIMIT
#define MM_CLASS_LIMIT 32768
#endif

/* Growth asks for this much address space at once: reserving costs nothing, and neighbours merge. */
#ifndef MM_RESERVE
#define MM_RESERVE ((size_t)4 << MM_ARENA_SHIFT)
#endif

/* Metadata blocks: large enough that a block serves some 20 MiB of heap, small enough for a window of
 * 1 MiB; halved down to a granule where address space is short. */
#ifndef MM_META_BLOCK
#define MM_META_BLOCK ((size_t)256 << 10)
#endif

/* Address space for records that must be there before a range of heap is taken: a part in so many of the
 * range.  Records are about an eightieth of heaps with mixed sizes. */
#ifndef MM_META_SHARE
#define MM_META_SHARE 64
#endif

/* The first block where the heap's own reservation left no room for metadata: enough for 1 MiB
 * (an arena's record alone is 2 KiB on 32-bit machines, 66 KiB on 64-bit ones). */
#ifndef MM_META_FIRST
#define MM_META_FIRST (sizeof(uintptr_t) == 4 ? (size_t)32 << 10 : (size_t)128 << 10)
#endif

/* The largest sh_config.interrupt_reserve. */
#ifndef MM_INTERRUPT_RESERVE_MAX
#define MM_INTERRUPT_RESERVE_MAX ((size_t)1 << 20)
#endif

/* Queued spans that a CPU keeps for a class before the rest goes to central, when there are other CPUs
 * that could want them. */
#ifndef MM_QUEUE_LIMIT
#define MM_QUEUE_LIMIT 4
#endif

/* Largest run of pages that is kept whole for the next large object, in bytes, and the share of the
 * pages in use that may be kept so (a right shift). */
#ifndef MM_RUN_CACHE_LIMIT
#define MM_RUN_CACHE_LIMIT ((size_t)2 << 20)
#endif
#ifndef MM_RUN_CACHE_SHARE
#define MM_RUN_CACHE_SHARE 1
#endif
/* But so many pages may always be kept, by each CPU: a pair of frees and allocations costs little from the
 * start. */
#ifndef MM_RUN_CACHE_LEAST
#define MM_RUN_CACHE_LEAST 64
#endif

/* Tier 3, unless sh_config says otherwise: one object in so many between guard pages, and the bytes of
 * freed objects that are held back.  The pool has at most so many object pages. */
#ifndef MM_SAMPLE_DEFAULT
#define MM_SAMPLE_DEFAULT 64
#endif
#ifndef MM_QUARANTINE_DEFAULT
#define MM_QUARANTINE_DEFAULT ((size_t)64 << 10)
#endif
#ifndef MM_GUARD_POOL
#define MM_GUARD_POOL 32
#endif

/* How often one commit asks the kernel for frames, if it always says that there are some now. */
#ifndef MM_RECLAIM_TRIES
#define MM_RECLAIM_TRIES 8
#endif

/* How deep below the library's own frame a hook may call back and still be recognised as nested.  Less
 * than a kernel thread's stack, so that a thread whose stack lies below is not taken for a hook. */
#ifndef MM_HOOK_STACK
#define MM_HOOK_STACK 2048
#endif

/* Checks of invariants that only a fault of ours can break: debug builds. */
#ifndef MM_DEBUG
#define MM_DEBUG 0
#endif

#define MM_ARENA_SIZE ((size_t)1 << MM_ARENA_SHIFT)
#define MM_ARENA_PAGES ((size_t)1 << (MM_ARENA_SHIFT - MM_PAGE_SHIFT))
#define MM_CHUNK_SIZE ((size_t)1 << MM_CHUNK_SHIFT)
#define MM_CHUNK_PAGES ((size_t)1 << (MM_CHUNK_SHIFT - MM_PAGE_SHIFT))
#define MM_ARENA_CHUNKS (MM_ARENA_PAGES / MM_CHUNK_PAGES)
#define MM_GRANULE_PAGES (SH_GRANULE_SIZE / SH_PAGE_SIZE)

static_assert(MM_ARENA_SHIFT >= MM_CHUNK_SHIFT, "an arena is whole chunks");
static_assert(MM_CHUNK_PAGES >= MM_WORD_BITS, "a chunk's bitmaps are whole words");
static_assert(SH_GRANULE_SIZE <= MM_CHUNK_SIZE, "a granule lies in one chunk");
static_assert(MM_CLASS_LIMIT >= 1024, "sizes to 1 KiB are looked up in one table");

/* What is called from many places, or often, takes its arguments as the port's own functions do. */
#ifdef ARCH_CALL
#define MM_CALL ARCH_CALL
#else
#define MM_CALL
#endif
#define MM_NOINLINE __attribute__((noinline))
/* Short, and called from several places: one copy where size counts, else as the compiler likes. */
#ifdef __OPTIMIZE_SIZE__
#define MM_ONCE MM_NOINLINE
#else
#define MM_ONCE
#endif
/* Reads whatever lies on a stack, other functions' variables and the gaps between them too. */
#define MM_READS_STACKS __attribute__((noinline, no_sanitize_address))
#define MM_LIKELY(x) __builtin_expect(!!(x), 1)
#define MM_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* A field that other CPUs may write, in a fast path: compilers fold a plain load into the comparison and an
 * atomic one they do not.  Fields are aligned words. */
#ifdef __SANITIZE_THREAD__
#define MM_FAST(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)
#else
#define MM_FAST(field) (field)
#endif

static inline uintptr_t mm_align_up(uintptr_t value, uintptr_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static inline uintptr_t mm_align_down(uintptr_t value, uintptr_t align)
{
    return value & ~(align - 1);
}

/* Ranges that do not wrap; one may be empty. */
static inline bool mm_ranges_meet(uintptr_t a, size_t a_size, uintptr_t b, size_t b_size)
{
    return a_size != 0 && b_size != 0 && (a - b < b_size || b - a < a_size);
}

/* Pages for `size` bytes; 0 if that overflows. */
static inline size_t mm_pages_for(size_t size)
{
    return size > SIZE_MAX - (SH_PAGE_SIZE - 1) ? 0 : (size + SH_PAGE_SIZE - 1) >> MM_PAGE_SHIFT;
}

#endif
