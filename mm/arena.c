/*
 * The arena map (see arena.h): its tables, the one way in, the bounds.
 *
 * Owned by growth, which calls mm_arena_ensure before it publishes anything.  Only one record can be
 * entered for a piece: entering is a compare under the arena lock, and growth runs one at a time.
 */
#include "mm/arena.h"

#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/report.h"
#include "mm/span.h"

struct mm_arena mm_arena_dummy = {
    .spans = { [0 ... MM_ARENA_PAGES - 1] = &mm_span_dummy },
    .chunks = { [0 ... MM_ARENA_CHUNKS - 1] = {
        .taken = { [0 ... MM_CHUNK_PAGES / MM_WORD_BITS - 1] = ~(uintptr_t)0 } } }
};

struct mm_arena_leaf mm_arena_first_leaf = {
    .arenas = { [0 ... MM_ARENA_LEAF - 1] = &mm_arena_dummy }
};

/* With a root, the first leaf is the dummy leaf and stays empty; without one it is the map. */
struct mm_arena_leaf *mm_arena_root[MM_ARENA_ROOT] = {
    [0 ... MM_ARENA_ROOT - 1] = &mm_arena_first_leaf
};

static uintptr_t lowest = UINTPTR_MAX; /* of all heap pages */
static uintptr_t highest;              /* last byte of all heap pages */
static unsigned arena_count;

static struct mm_arena_leaf *leaf_ensure(uintptr_t address)
{
    if (MM_ARENA_ROOT_BITS == 0) {
        return &mm_arena_first_leaf;
    }
    struct mm_arena_leaf **slot = &mm_arena_root[address >> MM_ARENA_SHIFT >> MM_ARENA_LEAF_BITS];
    if (*slot != &mm_arena_first_leaf) {
        return *slot;
    }
    struct mm_arena_leaf *leaf = mm_linear_alloc(sizeof *leaf, sizeof(void *), true);
    if (leaf != NULL) {
        for (size_t i = 0; i < MM_ARENA_LEAF; i++) {
            leaf->arenas[i] = &mm_arena_dummy;
        }
        __atomic_store_n(slot, leaf, __ATOMIC_RELEASE);
    }
    return leaf;
}

static bool arena_make(uintptr_t base)
{
    struct mm_arena_leaf *leaf = leaf_ensure(base);
    if (leaf == NULL) {
        return false;
    }
    struct mm_arena **slot = &leaf->arenas[(base >> MM_ARENA_SHIFT) & (MM_ARENA_LEAF - 1)];
    if (*slot != &mm_arena_dummy) {
        return true;
    }
    struct mm_arena *arena = mm_linear_alloc(sizeof *arena, sizeof(void *), true);
    if (arena == NULL) {
        return false;
    }
    *arena = mm_arena_dummy;
    arena->base = base;
    __atomic_store_n(slot, arena, __ATOMIC_RELEASE);
    arena_count++;
    return true;
}

bool mm_arena_ensure(uintptr_t base, uintptr_t last)
{
    for (uintptr_t at = mm_align_down(base, MM_ARENA_SIZE);; at += MM_ARENA_SIZE) {
        if (!arena_make(at)) {
            return false;
        }
        if (last - at < MM_ARENA_SIZE) {
            return true;
        }
    }
}

MM_CALL void mm_arena_widen(uintptr_t base, uintptr_t last)
{
    if (base < lowest) {
        __atomic_store_n(&lowest, base, __ATOMIC_RELEASE);
    }
    if (last > highest) {
        __atomic_store_n(&highest, last, __ATOMIC_RELEASE);
    }
}

MM_CALL bool mm_arena_in_bounds(uintptr_t address)
{
    return address >= __atomic_load_n(&lowest, __ATOMIC_ACQUIRE) &&
           address <= __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
}

MM_CALL struct mm_arena *mm_arena_next(uintptr_t address)
{
    size_t index = address >> MM_ARENA_SHIFT;
    while (index < (size_t)1 << MM_ARENA_BITS) {
        const struct mm_arena_leaf *leaf =
            __atomic_load_n(&mm_arena_root[index >> MM_ARENA_LEAF_BITS], __ATOMIC_ACQUIRE);
        if (MM_ARENA_ROOT_BITS != 0 && leaf == &mm_arena_first_leaf) {
            index = ((index >> MM_ARENA_LEAF_BITS) + 1) << MM_ARENA_LEAF_BITS;
            continue;
        }
        struct mm_arena *arena = __atomic_load_n(&leaf->arenas[index & (MM_ARENA_LEAF - 1)], __ATOMIC_ACQUIRE);
        if (arena != &mm_arena_dummy) {
            return arena;
        }
        index++;
    }
    return NULL;
}

MM_CALL struct mm_arena *mm_arena_after(const struct mm_arena *arena)
{
    uintptr_t next = arena->base + MM_ARENA_SIZE;
    return next == 0 ? NULL : mm_arena_next(next);
}

MM_CALL struct mm_arena *mm_arena_prev(uintptr_t address)
{
    uintptr_t last = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    size_t index = (address < last ? address : last) >> MM_ARENA_SHIFT;
    for (;;) {
        const struct mm_arena_leaf *leaf =
            __atomic_load_n(&mm_arena_root[index >> MM_ARENA_LEAF_BITS], __ATOMIC_ACQUIRE);
        if (MM_ARENA_ROOT_BITS != 0 && leaf == &mm_arena_first_leaf) {
            index &= ~(MM_ARENA_LEAF - 1);
        } else {
            struct mm_arena *arena = __atomic_load_n(&leaf->arenas[index & (MM_ARENA_LEAF - 1)], __ATOMIC_ACQUIRE);
            if (arena != &mm_arena_dummy) {
                return arena;
            }
        }
        if (index-- == 0) {
            return NULL;
        }
    }
}

unsigned mm_arena_count(void)
{
    return arena_count;
}

static int dummy_verify(void)
{
    if (mm_span_dummy.bound != 0 || mm_span_state(&mm_span_dummy) != MM_SPAN_DEAD) {
        return mm_fault_found("dummy span written", 0);
    }
    for (size_t i = 0; i < MM_ARENA_PAGES; i++) {
        if (mm_arena_dummy.spans[i] != &mm_span_dummy) {
            return mm_fault_found("dummy arena written", i);
        }
    }
    return 0;
}

int mm_arena_verify(void)
{
    int faults = dummy_verify();
    unsigned counted = 0;
    uintptr_t last = 0;
    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena)) {
        if (!mm_linear_contains(arena, sizeof *arena)) {
            return faults + mm_fault_found("arena entry outside the metadata", (uintptr_t)arena);
        }
        if ((counted != 0 && arena->base <= last) || mm_arena_of(arena->base) != arena || (arena->base & (MM_ARENA_SIZE - 1)) != 0) {
            return faults + mm_fault_found("arena record entered elsewhere", arena->base);
        }
        counted++;
        last = arena->base;
    }
    return faults + mm_verify_equal("arena records", counted, arena_count);
}

void mm_arena_reset(void)
{
    for (size_t i = 0; i < MM_ARENA_LEAF; i++) {
        mm_arena_first_leaf.arenas[i] = &mm_arena_dummy;
    }
    for (size_t i = 0; i < MM_ARENA_ROOT; i++) {
        mm_arena_root[i] = &mm_arena_first_leaf;
    }
    lowest = UINTPTR_MAX;
    highest = 0;
    arena_count = 0;
}
