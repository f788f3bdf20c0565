/*
 * Tables: the one walker, over a port's pte.h, and the leaf tables that the heap installs.
 *
 * Owns the directory entries that it installs and the frames behind them.  Called by pagetable.c,
 * whose essay numbers the sections.  Has no lock: a directory entry is installed by
 * compare-and-swap, the loser frees its frame.
 *
 * 2. Tables
 *
 *    An installed table is never freed or replaced until detach, because other directories hold
 *    copies of the entry: so the address of a leaf table, once found, stays good.  Three bitmaps
 *    say what happened:
 *
 *      own      this directory entry is ours                            (set after the swap)
 *      touched  somebody began to install tables here                   (set before the swap)
 *      settled  all tables are there and all directories know of them   (set after the hook)
 *
 *    Whoever maps a range that is touched but not settled announces it too, even if it installed
 *    nothing: what it publishes next must not depend on how far another CPU has come.  On 64-bit
 *    machines, where the bitmaps would be too long, a software bit of the directory entry takes
 *    their place.
 *
 *    A kernel's frame allocator may be wrong, and one wrong frame ends the machine when it is a
 *    table: so no frame is taken that is a table of ours, or will be.  The question is asked for
 *    every frame, and costs a bit: `hashed` has one for each table's frame number, modulo its
 *    length.  Tables are never freed, so no bit ever has to go.  Only a frame whose bit is set is
 *    looked for among the directory entries.
 *
 * 3. Reaching a table
 *
 *    Only through sh_kernel_phys_to_virt, one pointer at a time, interrupts off, for at most 4 KiB
 *    of work: the pointer dies at the next call, and no hook is called while one is held.  Physical
 *    addresses of entries are what functions pass to each other.  Entries are read, too, by
 *    compare-and-swap: 0 for 0.
 */
#include "arch/port.h"
#include "cpu.h"
#include "pte.h"

enum {
    OWN_BITS = 1 << (32 - PTE_DIRECTORY_SHIFT_MIN),
    GROUP_BITS = 1 << (32 - PTE_FRAME_SHIFT_MIN),
    CHUNK_SHIFT = 22,
    HASH_BITS = 1024
};

#define NO_TABLES SIZE_MAX /* missing_tables: something is in the way */

_Static_assert(sizeof(uintptr_t) == 4, "bitmaps over all directory entries");

PTE_STATE

static struct {
    uint32_t frames;
    uint32_t own[OWN_BITS / 32];
    uint32_t touched[GROUP_BITS / 32];
    uint32_t settled[GROUP_BITS / 32];
    uint32_t hashed[HASH_BITS / 32];
} tables;

/* Table frames in hand.  Each holds the address of the next in its first entry: with its low
 * bits clear that is no present entry, should a walker still look. */
struct frame_list {
    struct arch_entry first;
    size_t count;
};

/* The bit of an address, where each stands for 2^shift of them. */
static bool bit_test(const uint32_t *bits, uintptr_t at, unsigned shift)
{
    at >>= shift;
    return (__atomic_load_n(&bits[at / 32], __ATOMIC_ACQUIRE) >> (at % 32) & 1) != 0;
}

static void bit_set(uint32_t *bits, uintptr_t at, unsigned shift)
{
    at >>= shift;
    __atomic_fetch_or(&bits[at / 32], (uint32_t)1 << (at % 32), __ATOMIC_ACQ_REL);
}

/*
 * 3. Reaching a table
 */

/* Interrupts are off, and the pointer dies at the next call. */
static unsigned char *reach(sh_paddr slot)
{
    unsigned char *page = sh_kernel_phys_to_virt(slot & ~(sh_paddr)4095);

    return page + ((size_t)slot & 4095);
}

ARCH_CALL bool arch_entry_swap(struct arch_entry *entry, uint64_t desired)
{
    arch_flags flags = arch_irq_save();
    unsigned char *slot = reach(entry->slot);
    bool done = pte_swap(slot, &entry->says, desired);

    if (done)
        arch_table_written(slot, (size_t)1 << pte_entry_shift());
    arch_irq_restore(flags);
    return done;
}

ARCH_CALL void arch_entry_read(struct arch_entry *entry)
{
    entry->says = 0;
    arch_entry_swap(entry, 0);
}

ARCH_CALL void arch_entry_write(struct arch_entry *entry, uint64_t desired)
{
    while (!arch_entry_swap(entry, desired)) {
    }
}

ARCH_CALL unsigned arch_entry_find(struct arch_entry *entry, unsigned to)
{
    sh_paddr table;

    if (!pte_root(entry->at, &table))
        return PTE_HOLE;
    for (unsigned shift = pte_top_shift();; shift = pte_next_shift(shift)) {
        enum pte_kind kind;

        entry->slot = pte_slot(shift, table, entry->at);
        arch_entry_read(entry);
        if (shift == ARCH_TO_LEAF)
            return PTE_TABLE;
        kind = pte_directory_kind(shift, entry->says);
        if (kind != PTE_TABLE || shift <= to)
            return kind;
        table = pte_directory_table(entry->says);
    }
}

ARCH_CALL size_t arch_table_rest(uintptr_t at)
{
    uintptr_t mask = ((uintptr_t)1 << pte_directory_shift()) - 1;

    return (~at & mask) + 1;
}

ARCH_CALL unsigned arch_leaf_next(struct arch_entry *entry, uintptr_t at)
{
    uintptr_t before = entry->at;

    entry->at = at;
    if ((before ^ at) >> pte_directory_shift() != 0)
        return arch_entry_find(entry, ARCH_TO_LEAF);
    entry->slot += (at - before) >> (12 - pte_entry_shift());
    arch_entry_read(entry);
    return PTE_TABLE;
}

/* Zeroed with interrupts masked once: a word at a time takes 4 instructions on ARM. */
enum { ZERO_PIECE = 2048 };

ARCH_CALL void arch_frame_zero(sh_paddr frame, bool table)
{
    for (size_t part = 0; part < 4096; part += ZERO_PIECE) {
        arch_flags flags = arch_irq_save();
        char *page = sh_kernel_phys_to_virt(frame);

        __builtin_memset(page + part, 0, ZERO_PIECE);
        if (table)
            arch_table_written(page + part, ZERO_PIECE);
        arch_irq_restore(flags);
    }
}

/*
 * Frames
 */

static const char table_again[] = "frame %:% is given again, and a page table";

static uintptr_t hash(sh_paddr frame)
{
    return (uintptr_t)(frame >> 12) % HASH_BITS;
}

static bool is_table(sh_paddr frame)
{
    uintptr_t at = 0;

    if (!bit_test(tables.hashed, hash(frame), 0))
        return false;
    do {
        struct arch_entry entry;

        entry.at = at;
        if (arch_tables_own(at) && arch_entry_find(&entry, ARCH_TO_DIRECTORY) == PTE_TABLE
            && pte_directory_table(entry.says) >> 12 == frame >> 12)
            return true;
        at += (uintptr_t)1 << pte_directory_shift();
    } while (at != 0);
    return false;
}

ARCH_CALL bool arch_tables_in(sh_paddr frame, size_t size)
{
    for (size_t part = 0; part < size; part += SH_TABLE_FRAME_SIZE)
        if (is_table(frame + part))
            return true;
    return false;
}

static void refuse_frame(sh_paddr frame, const char *why)
{
    arch_say(why, (uintptr_t)(frame >> 32), (uintptr_t)frame);
}

/* What is held already is not given back: it would be free, and in use. */
ARCH_CALL bool arch_frame_take(size_t size, sh_paddr *frame)
{
    if (!sh_kernel_frame_alloc(size, frame))
        return false;
    if (!pte_frame_fits(*frame, size)) {
        refuse_frame(*frame, "frame %:% is misaligned or out of reach");
        sh_kernel_frame_free(*frame, size);
    } else if (arch_tables_in(*frame, size))
        refuse_frame(*frame, table_again);
    else
        return true;
    return false;
}

/* Not inlined, these two: they would stand twice. */
__attribute__((noinline)) static void push_frame(struct frame_list *list, sh_paddr frame)
{
    sh_paddr next = list->first.slot;

    list->first.slot = frame;
    arch_entry_write(&list->first, next);
    list->count++;
}

__attribute__((noinline)) static sh_paddr pop_frame(struct frame_list *list)
{
    sh_paddr frame = list->first.slot;

    arch_entry_read(&list->first);
    list->first.slot = list->first.says;
    list->count--;
    return frame;
}

static bool in_list(struct frame_list list, sh_paddr frame)
{
    while (list.count != 0)
        if (pop_frame(&list) == frame)
            return true;
    return false;
}

static void free_frames(struct frame_list *list)
{
    while (list->count != 0)
        sh_kernel_frame_free(pop_frame(list), SH_TABLE_FRAME_SIZE);
}

/*
 * 2. Tables
 */

/* What is left of [at, at + left) below the next multiple of 2^shift. */
static size_t piece(uintptr_t at, size_t left, unsigned shift)
{
    size_t room = ((size_t)1 << shift) - (at & (((size_t)1 << shift) - 1));

    return room < left ? room : left;
}

/* A group is what the tables in one frame translate.  Does it miss a table?  NO_TABLES if an entry
 * for an address of [base, base + size) can be neither used nor installed. */
static size_t group_misses(uintptr_t group, uintptr_t base, size_t size)
{
    size_t misses = 0;
    struct arch_entry entry;

    for (size_t table = 0; table < PTE_TABLES_PER_FRAME; table++) {
        enum pte_kind kind;

        entry.at = group + (table << pte_directory_shift());
        kind = (enum pte_kind)arch_entry_find(&entry, ARCH_TO_DIRECTORY);
        if (kind == PTE_MISSING)
            misses = 1;
        else if (kind != PTE_TABLE
                 && (PTE_TABLES_PER_FRAME == 1
                     || (entry.at >> pte_directory_shift() >= base >> pte_directory_shift()
                         && entry.at <= base + (size - 1))))
            return NO_TABLES;
    }
    return misses;
}

/* Table frames that mapping the range would take now; NO_TABLES as above. */
static size_t missing_tables(uintptr_t base, size_t size)
{
    unsigned shift = pte_frame_shift();
    uintptr_t last = (base + (size - 1)) >> shift;
    size_t count = 0;

    for (uintptr_t group = base >> shift; group <= last; group++) {
        size_t misses;

        if (bit_test(tables.settled, group << shift, PTE_FRAME_SHIFT_MIN))
            continue;
        misses = group_misses(group << shift, base, size);
        if (misses == NO_TABLES)
            return NO_TABLES;
        count += misses;
    }
    return count;
}

/* Fills what is missing in a group from one frame.  A frame of which every swap was lost is
 * kept. */
static void install_group(uintptr_t group, struct frame_list *spare)
{
    bool taken = false, used = false;
    sh_paddr frame = 0;

    for (uintptr_t table = 0; table < PTE_TABLES_PER_FRAME; table++) {
        struct arch_entry entry;

        entry.at = group + (table << pte_directory_shift());
        if (arch_entry_find(&entry, ARCH_TO_DIRECTORY) != PTE_MISSING)
            continue;
        if (!taken) {
            if (spare->count == 0)
                return;
            bit_set(tables.touched, group, PTE_FRAME_SHIFT_MIN);
            frame = pop_frame(spare);
            arch_frame_zero(frame, true);
            arch_published();
            taken = true;
        }
        if (!arch_entry_swap(&entry, pte_directory_encode(frame, entry.at)))
            continue;
        bit_set(tables.hashed, hash(frame), 0);
        bit_set(tables.own, entry.at, PTE_DIRECTORY_SHIFT_MIN);
        used = true;
    }
    if (used)
        __atomic_fetch_add(&tables.frames, 1, __ATOMIC_RELAXED);
    else if (taken)
        push_frame(spare, frame);
}

static void announce(uintptr_t chunk)
{
    arch_published();
    if (arch_hooks.top_level_changed != NULL)
        arch_hooks.top_level_changed(chunk);
}

/* All tables for [at, at + size), a part of one chunk, known to every directory when this
 * returns. */
static void install_chunk(uintptr_t at, size_t size, struct frame_list *spare)
{
    unsigned shift = pte_frame_shift();
    uintptr_t first = at >> shift, last = (at + (size - 1)) >> shift;
    bool changed = false;

    for (uintptr_t group = first; group <= last; group++) {
        if (bit_test(tables.settled, group << shift, PTE_FRAME_SHIFT_MIN))
            continue;
        install_group(group << shift, spare);
        if (bit_test(tables.touched, group << shift, PTE_FRAME_SHIFT_MIN))
            changed = true;
    }
    if (changed)
        announce(at >> CHUNK_SHIFT << CHUNK_SHIFT);
    for (uintptr_t group = first; group <= last; group++)
        bit_set(tables.settled, group << shift, PTE_FRAME_SHIFT_MIN);
}

ARCH_CALL bool arch_tables_install(uintptr_t base, size_t size)
{
    struct frame_list spare = { .count = 0 };
    size_t need = missing_tables(base, size), bytes;
    bool done = need != NO_TABLES;
    sh_paddr frame;

    while (done && spare.count < need) {
        done = arch_frame_take(SH_TABLE_FRAME_SIZE, &frame);
        if (done && in_list(spare, frame)) {
            refuse_frame(frame, table_again);
            done = false;
        } else if (done)
            push_frame(&spare, frame);
    }
    for (; done && size != 0; base += bytes, size -= bytes) {
        bytes = piece(base, size, CHUNK_SHIFT);
        install_chunk(base, bytes, &spare);
    }
    free_frames(&spare);
    return done;
}

ARCH_CALL bool arch_tables_own(uintptr_t at)
{
    at = at >> pte_directory_shift() << pte_directory_shift();
    return bit_test(tables.own, at, PTE_DIRECTORY_SHIFT_MIN);
}

ARCH_CALL size_t arch_tables_each(arch_range_fn *work)
{
    uintptr_t at = 0, step = (uintptr_t)1 << pte_directory_shift();
    size_t sum = 0;

    do {
        if (arch_tables_own(at))
            sum += work(at, step);
        at += step;
    } while (at != 0);
    return sum;
}

/* Clears our directory entries of one group; their frames, each once, go to `list`. */
static bool clear_group(uintptr_t group, struct frame_list *list)
{
    sh_paddr seen[PTE_TABLES_PER_FRAME];
    size_t count = 0;
    bool cleared = false;

    for (uintptr_t table = 0; table < PTE_TABLES_PER_FRAME; table++) {
        struct arch_entry entry;
        sh_paddr frame;
        size_t i = 0;

        entry.at = group + (table << pte_directory_shift());
        if (!arch_tables_own(entry.at)
            || arch_entry_find(&entry, ARCH_TO_DIRECTORY) != PTE_TABLE)
            continue;
        frame = pte_directory_table(entry.says) & ~(sh_paddr)(SH_TABLE_FRAME_SIZE - 1);
        arch_entry_swap(&entry, 0);
        cleared = true;
        while (i < count && seen[i] != frame)
            i++;
        if (i < count)
            continue;
        seen[count++] = frame;
        push_frame(list, frame);
    }
    return cleared;
}

/* Chunk by chunk, each announced; the frames after a second flush. */
void arch_tables_remove(void)
{
    struct frame_list list = { .count = 0 };
    uintptr_t at = 0;
    bool cleared = false;

    do {
        cleared = clear_group(at, &list) || cleared;
        at += (uintptr_t)1 << pte_frame_shift();
        if (cleared && at << (32 - CHUNK_SHIFT) == 0) {
            announce(at - ((uintptr_t)1 << CHUNK_SHIFT));
            cleared = false;
        }
    } while (at != 0);
    if (list.count != 0)
        arch_window_each(arch_pages_flush);
    free_frames(&list);
    __builtin_memset(&tables, 0, sizeof tables);
}

size_t arch_tables_bytes(void)
{
    return __atomic_load_n(&tables.frames, __ATOMIC_RELAXED) * SH_TABLE_FRAME_SIZE;
}

size_t arch_tables_cost(uintptr_t base, size_t size)
{
    size_t need = missing_tables(base, size);

    return need == NO_TABLES ? 0 : need * SH_TABLE_FRAME_SIZE;
}
