/*
 * The linear allocator (see linear.h).
 *
 * Its lock guards the fields of `current` and the list of blocks.  The port is called with the lock
 * released and `growing` set: others wait for it, or take NULL where they may not wait.  Memory above
 * `committed` is never touched, so a failure half-way leaves nothing behind.
 */
#include "mm/linear.h"

#include "mm/budget.h"
#include "mm/context.h"
#include "mm/lock.h"
#include "mm/port.h"
#include "mm/report.h"

/* At the start of every block. */
struct block {
    struct block *next;
    uintptr_t used;      /* end of what was handed out; for blocks that are not current */
    uintptr_t committed; /* likewise */
    size_t size;         /* as reserved */
};

static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_META);
static struct block *blocks;  /* the first is current */
static uintptr_t next;        /* first free byte of the current block */
static uintptr_t committed;   /* end of its committed part */
static uintptr_t last;        /* its last byte */
static size_t total_committed;
static bool growing;
static unsigned refusals;
static size_t lacked; /* of the last piece that was to be committed, if it was refused */
/* Address space that is reserved, and perhaps mapped, for blocks to come. */
#define SPARES 8
static struct spare {
    uintptr_t base;
    size_t size;
    bool mapped;
} spares[SPARES];
static unsigned spare_count;

/* All of these run unlocked, with `growing` ours. */
static bool commit_piece(uintptr_t base, size_t size)
{
    bool ok = mm_budget_take(size);
    if (ok) {
        ok = mm_port_commit(base, size);
        if (!ok) {
            mm_budget_give(size);
        }
    }
    __atomic_store_n(&lacked, ok ? 0 : size, __ATOMIC_RELAXED);
    return ok;
}

static uintptr_t reserve_block(size_t *size)
{
    uintptr_t base = 0;
    for (; base == 0 && *size >= SH_GRANULE_SIZE; *size >>= base == 0) {
        base = mm_port_reserve(0, *size, *size);
        if (base == 0) {
            base = mm_port_reserve(0, *size, SH_GRANULE_SIZE);
        }
    }
    return base;
}

/* Reserves address space for one more block. */
static bool spare_add(size_t wished)
{
    size_t size = SH_GRANULE_SIZE;
    while (size < wished) {
        size <<= 1;
    }
    uintptr_t base = spare_count == SPARES ? 0 : reserve_block(&size);
    if (base == 0) {
        refusals++;
        return false;
    }
    if (base + size == 0 && size == SH_GRANULE_SIZE) {
        mm_port_release(base, size);
        return false;
    }
    spares[spare_count++] = (struct spare){ base, size, false };
    return true;
}

/* A spare of at least `least` bytes; NULL = there is none. */
static struct spare *spare_find(size_t least)
{
    for (unsigned i = spare_count; i-- > 0;) {
        if (spares[i].size >= least) {
            return &spares[i];
        }
    }
    return NULL;
}

/* A new current block with its first granule committed.  On failure the address space stays spare. */
static bool block_add(size_t wished, size_t least)
{
    struct spare *spare = spare_find(least);
    if (spare == NULL) {
        if (!spare_add(wished)) {
            return false;
        }
        spare = &spares[spare_count - 1];
        if (spare->size < least) {
            spare_count--;
            refusals++;
            mm_port_release(spare->base, spare->size);
            return false;
        }
    }
    spare->mapped = spare->mapped || mm_port_map(spare->base, spare->size);
    if (!spare->mapped || !commit_piece(spare->base, SH_GRANULE_SIZE)) {
        return false;
    }
    struct block *block = (struct block *)spare->base;
    arch_flags flags = mm_lock(&lock);
    if (blocks != NULL) {
        blocks->used = next;
        blocks->committed = committed;
    }
    block->next = blocks;
    block->size = spare->size;
    next = spare->base + sizeof *block;
    committed = spare->base + SH_GRANULE_SIZE;
    last = spare->base + (spare->size - 1);
    last -= last == UINTPTR_MAX ? SH_GRANULE_SIZE : 0; /* the end of the address space is not used */
    total_committed += SH_GRANULE_SIZE;
    *spare = spares[--spare_count];
    __atomic_store_n(&blocks, block, __ATOMIC_RELEASE);
    mm_unlock(&lock, flags);
    return true;
}

/* Commits so much more of the current block that `need` bytes end within it. */
static bool block_extend(uintptr_t end)
{
    size_t size = mm_align_up(end - committed, SH_GRANULE_SIZE);
    if (!commit_piece(committed, size)) {
        return false;
    }
    arch_flags flags = mm_lock(&lock);
    committed += size;
    total_committed += size;
    mm_unlock(&lock, flags);
    return true;
}

static bool fits_block(uintptr_t start, size_t size)
{
    return blocks != NULL && start >= next && start <= last && size - 1 <= last - start;
}

static bool grow(uintptr_t start, size_t size, bool fits)
{
    if (fits) {
        return block_extend(start + size);
    }
    size_t least = mm_align_up(size + sizeof(struct block) + sizeof(void *), SH_GRANULE_SIZE);
    size_t usual = blocks == NULL ? MM_META_FIRST : MM_META_BLOCK;
    return block_add(least > usual ? least : usual, least);
}

static bool fits_committed(uintptr_t start, size_t size)
{
    return fits_block(start, size) && start + (size - 1) < committed;
}

void *mm_linear_alloc(size_t size, size_t align, bool may_grow)
{
    bool added = false;
    arch_flags flags = mm_lock(&lock);
    for (;;) {
        uintptr_t start = mm_align_up(next, align);
        if (fits_committed(start, size)) {
            next = start + size;
            mm_unlock(&lock, flags);
            return (void *)start;
        }
        bool wait = __atomic_load_n(&growing, __ATOMIC_ACQUIRE), fits = fits_block(start, size);
        bool give_up = !may_grow || (added && !fits) || (wait && !mm_may_wait());
        if (!wait && !give_up) { /* who only waits stores nothing: the grower may end just now */
            __atomic_store_n(&growing, true, __ATOMIC_RELAXED);
        }
        mm_unlock(&lock, flags);
        if (give_up) {
            return NULL;
        }
        if (wait) {
            arch_pause();
        } else {
            added = !fits;
            bool ok = grow(start, size, fits);
            __atomic_store_n(&growing, false, __ATOMIC_RELEASE);
            if (!ok) {
                return NULL;
            }
        }
        flags = mm_lock(&lock);
    }
}

/* Address space that is ours and not handed out. */
static size_t room(void)
{
    size_t bytes = last - next; /* both are 0 before the first block */
    for (unsigned i = 0; i < spare_count; i++) {
        bytes += spares[i].size;
    }
    return bytes;
}

MM_CALL bool mm_linear_ensure_room(size_t bytes)
{
    arch_flags flags = mm_lock(&lock);
    while (__atomic_load_n(&growing, __ATOMIC_ACQUIRE) && room() < bytes && mm_may_wait()) {
        mm_unlock(&lock, flags);
        arch_pause();
        flags = mm_lock(&lock);
    }
    bool enough = room() >= bytes, other = __atomic_load_n(&growing, __ATOMIC_ACQUIRE);
    if (!enough && !other) {
        __atomic_store_n(&growing, true, __ATOMIC_RELAXED);
    }
    mm_unlock(&lock, flags);
    if (enough || other) {
        return enough;
    }
    bool ok = spare_add(bytes > MM_META_BLOCK ? MM_META_BLOCK : bytes);
    __atomic_store_n(&growing, false, __ATOMIC_RELEASE);
    return ok;
}

size_t mm_linear_lacked(void)
{
    return __atomic_load_n(&lacked, __ATOMIC_RELAXED);
}

void mm_linear_forget_lacked(void)
{
    __atomic_store_n(&lacked, 0, __ATOMIC_RELAXED);
}

unsigned mm_linear_refusals(void)
{
    return refusals;
}

MM_CALL bool mm_linear_contains(const void *pointer, size_t size)
{
    uintptr_t start = (uintptr_t)pointer;
    const struct block *block = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
    for (bool current = true; block != NULL; block = block->next, current = false) {
        uintptr_t end = current ? next : block->used;
        if (start >= (uintptr_t)(block + 1) && start < end && size <= end - start) {
            return true;
        }
    }
    return false;
}

MM_CALL bool mm_linear_in_block(uintptr_t address)
{
    const struct block *block = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
    for (; block != NULL; block = block->next) {
        if (address - (uintptr_t)block < block->size) {
            return true;
        }
    }
    return false;
}

bool mm_linear_overlaps(uintptr_t base, size_t size)
{
    for (const struct block *block = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE); block != NULL; block = block->next) {
        if (mm_ranges_meet(base, size, (uintptr_t)block, block->size)) {
            return true;
        }
    }
    for (unsigned i = 0; i < spare_count; i++) {
        if (mm_ranges_meet(base, size, spares[i].base, spares[i].size)) {
            return true;
        }
    }
    return false;
}

size_t mm_linear_bytes(void)
{
    return total_committed;
}

MM_CALL void *mm_fixed_obtain(struct mm_fixed *list, bool may_grow)
{
    arch_flags flags = mm_lock(&lock);
    void **record = list->first;
    if (record != NULL) {
        list->first = *record;
    }
    mm_unlock(&lock, flags);
    return record != NULL ? record : mm_linear_alloc(list->size, 8, may_grow);
}

MM_CALL void mm_fixed_recycle(struct mm_fixed *list, void *record)
{
    arch_flags flags = mm_lock(&lock);
    *(void **)record = list->first;
    list->first = record;
    mm_unlock(&lock, flags);
}

void mm_linear_release(void)
{
    while (spare_count > 0) {
        spare_count--;
        mm_port_release(spares[spare_count].base, spares[spare_count].size);
    }
    while (blocks != NULL) {
        struct block *block = blocks;
        blocks = block->next;
        mm_port_release((uintptr_t)block, block->size);
    }
}

int mm_linear_verify(void)
{
    size_t sum = 0;
    bool current = true;
    for (const struct block *block = blocks; block != NULL; block = block->next, current = false) {
        uintptr_t base = (uintptr_t)block, end = current ? committed : block->committed;
        uintptr_t used = current ? next : block->used;
        if (end - base > block->size || used > end || used - base < sizeof *block) {
            return mm_fault_found("metadata block", base);
        }
        for (uintptr_t at = base; at - base < block->size; at += SH_ARCH_PAGE_SIZE) {
            enum sh_state wanted = at - base < end - base ? SH_READY : SH_PREPARED;
            if (sh_arch_state(at) != wanted) {
                return mm_fault_found("metadata page state", at);
            }
        }
        sum += end - base;
    }
    return mm_verify_equal("bytes of metadata", sum, total_committed);
}

void mm_linear_reset(void)
{
    blocks = NULL;
    next = committed = last = 0;
    total_committed = 0;
    growing = false;
    mm_lock_reset(&lock);
    refusals = 0;
    lacked = 0;
    spare_count = 0;
}
