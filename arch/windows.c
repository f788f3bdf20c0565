/*
 * Windows: which addresses the heap was given, and which of them are reserved.
 *
 * Owns one sorted array of edges.  An edge is an address from which on, up to the next edge, all
 * addresses have the same owner; the owner is kept in the low bits.
 *
 *      edge      0xd0000000|free   0xd0400000|reserved   0xd0800000|free   0xd0c00000|not ours
 *                ├─ free ──────────┼─ a reservation ─────┼─ free ──────────┤
 *
 *   - addresses ascend strictly; the last edge is "not ours" (no window touches 2^32);
 *   - no two neighbours are both free, or both not ours: free edges merge, windows too;
 *   - two neighbouring reservations keep the edge between them, so a release is checked to be
 *     exactly what was reserved, and it never needs room: it removes edges.
 *
 * The bound.  A window takes at most two edges, a reservation at most two, one if it lies at the
 * lower end of what was free, as first fit makes it.  EDGE_MAX holds SH_MAX_WINDOWS windows and at
 * least as many reservations as half of what is left, by rule twice that; with 128 windows that do
 * not touch 256 to 512, with few windows 383 to 766.  When it is full, a reservation that needs
 * another edge is refused and the log says so.
 *
 * The lock masks interrupts; with more than one CPU there is a spin word too.  It is never held
 * over a hook.  Readers take no lock: they repeat while `version` says that another CPU writes.  A
 * reader that stands on top of the writer itself (NMI) cannot wait, and need not: edges are moved
 * one by one, so that at each instant the array is sorted and at most one edge stands twice, which
 * reads the same.
 */
#include "arch/port.h"
#include "cpu.h"

enum {
    EDGE_MAX = 4 * SH_MAX_WINDOWS + 256,
    READ_TRIES = 1000
};

#define OWNER_MASK ((uintptr_t)3)

static struct {
    uint32_t spin;
    uint32_t version; /* odd: being written */
    uint32_t count;
    uint32_t windows;
    uintptr_t edges[EDGE_MAX];
    struct arch_text error;
} table;

_Static_assert(SH_GRANULE_SIZE > OWNER_MASK, "the owner fits below an edge's address");
_Static_assert(sizeof(uintptr_t) != 4 || SH_MAX_WINDOWS > 128 || sizeof table < 4000, "small .bss");

static arch_flags lock(void)
{
    arch_flags flags = arch_irq_save();

    while (SH_MAX_CPUS > 1 && __atomic_exchange_n(&table.spin, 1, __ATOMIC_ACQUIRE) != 0)
        arch_pause();
    return flags;
}

static void unlock(arch_flags flags)
{
    if (SH_MAX_CPUS > 1)
        __atomic_store_n(&table.spin, 0, __ATOMIC_RELEASE);
    arch_irq_restore(flags);
}

static void write_begin(void)
{
    __atomic_store_n(&table.version, table.version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void write_end(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&table.version, table.version + 1, __ATOMIC_RELEASE);
}

static uintptr_t edge_read(uint32_t index)
{
    return __atomic_load_n(&table.edges[index], __ATOMIC_RELAXED);
}

static void edge_write(uint32_t index, uintptr_t edge)
{
    __atomic_store_n(&table.edges[index], edge, __ATOMIC_RELAXED);
}

static uintptr_t edge_address(uint32_t index)
{
    return edge_read(index) & ~OWNER_MASK;
}

static enum arch_owner edge_owner(uint32_t index)
{
    return (enum arch_owner)(edge_read(index) & OWNER_MASK);
}

/* The number of edges at or below the address. */
static uint32_t edges_below(uintptr_t address)
{
    uint32_t low = 0, high = __atomic_load_n(&table.count, __ATOMIC_ACQUIRE);

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (edge_address(middle) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum arch_owner owner_now(uintptr_t address)
{
    uint32_t below = edges_below(address);

    return below == 0 ? ARCH_NOT_OURS : edge_owner(below - 1);
}

enum arch_owner arch_window_owner(uintptr_t address)
{
    enum arch_owner owner = ARCH_NOT_OURS;

    for (unsigned tries = 0; tries < READ_TRIES; tries++) {
        uint32_t version = __atomic_load_n(&table.version, __ATOMIC_ACQUIRE);

        owner = owner_now(address);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if ((version & 1) == 0 && __atomic_load_n(&table.version, __ATOMIC_RELAXED) == version)
            break;
        arch_pause();
    }
    return owner;
}

/* One edge more at `index`.  From the top: the one on the move stands twice. */
static void edge_insert(uint32_t index, uintptr_t address, enum arch_owner owner)
{
    uint32_t last = table.count;

    if (last > index)
        edge_write(last, edge_read(last - 1));
    else
        edge_write(last, address | owner);
    __atomic_store_n(&table.count, last + 1, __ATOMIC_RELEASE);
    for (uint32_t i = last; i > index + 1; i--)
        edge_write(i - 1, edge_read(i - 2));
    edge_write(index, address | owner);
}

static void edge_remove(uint32_t index)
{
    for (uint32_t i = index; i + 1 < table.count; i++)
        edge_write(i, edge_read(i + 1));
    __atomic_store_n(&table.count, table.count - 1, __ATOMIC_RELEASE);
}

/*
 * Reservations
 */

/* Edges that [base, base + size) inside the free stretch after edge `index` would add. */
static uint32_t edges_needed(uint32_t index, uintptr_t base, size_t size)
{
    return (uint32_t)(base != edge_address(index))
           + (uint32_t)(base + size != edge_address(index + 1));
}

/* Is there room in the free stretch after edge `index`?  Where? */
static bool fits(uint32_t index, size_t size, size_t align, uintptr_t *base)
{
    uintptr_t end = edge_address(index + 1);
    uintptr_t start = (edge_address(index) + (align - 1)) & ~(uintptr_t)(align - 1);

    if (start < edge_address(index) || start >= end || end - start < size)
        return false;
    *base = start;
    return true;
}

/* The free stretch that holds all of [hint, hint + size). */
static bool find_at(uintptr_t hint, size_t size, uint32_t *index)
{
    uint32_t below = edges_below(hint);

    if (below == 0 || edge_owner(below - 1) != ARCH_FREE)
        return false;
    *index = below - 1;
    return edge_address(below) - hint >= size
           && table.count + edges_needed(*index, hint, size) <= EDGE_MAX;
}

/* The lowest that fits.  `full` = one would have, but for want of edges. */
static bool find_lowest(size_t size, size_t align, uint32_t *index, uintptr_t *base, bool *full)
{
    for (uint32_t i = 0; i < table.count; i++) {
        if (edge_owner(i) != ARCH_FREE || !fits(i, size, align, base))
            continue;
        if (table.count + edges_needed(i, *base, size) > EDGE_MAX) {
            *full = true;
            continue;
        }
        *index = i;
        return true;
    }
    return false;
}

/* The upper edge first: until the lower one is written nothing has changed. */
static void take(uint32_t index, uintptr_t base, size_t size)
{
    write_begin();
    if (base + size != edge_address(index + 1))
        edge_insert(index + 1, base + size, ARCH_FREE);
    if (base != edge_address(index))
        edge_insert(index + 1, base, ARCH_RESERVED);
    else
        edge_write(index, base | ARCH_RESERVED);
    write_end();
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    bool full = false, found;
    uintptr_t base = hint;
    uint32_t index = 0;
    arch_flags flags;

    if (size == 0 || (size & (SH_ARCH_PAGE_SIZE - 1)) != 0 || (align & (align - 1)) != 0)
        return 0;
    if (align < SH_ARCH_PAGE_SIZE)
        align = SH_ARCH_PAGE_SIZE;
    flags = lock();
    found = (hint & (align - 1)) == 0 && find_at(hint, size, &index);
    if (!found)
        found = find_lowest(size, align, &index, &base, &full);
    if (found)
        take(index, base, size);
    unlock(flags);
    if (!found && full)
        arch_log("spanheap: address space is left, but no room to note another reservation");
    return found ? base : 0;
}

/* The edge of a reservation that is exactly this. */
static bool find_reserved(uintptr_t base, size_t size, uint32_t *index)
{
    uint32_t below = edges_below(base);

    if (below == 0 || edge_read(below - 1) != (base | ARCH_RESERVED))
        return false;
    *index = below - 1;
    return edge_address(below) - base == size;
}

static void give(uint32_t index)
{
    write_begin();
    edge_write(index, edge_address(index) | ARCH_FREE);
    if (edge_owner(index + 1) == ARCH_FREE)
        edge_remove(index + 1);
    if (index != 0 && edge_owner(index - 1) == ARCH_FREE)
        edge_remove(index);
    write_end();
}

void sh_arch_release(uintptr_t base, size_t size)
{
    static struct arch_text report;
    uint32_t index;
    arch_flags flags = lock();
    bool exact = find_reserved(base, size, &index);

    unlock(flags);
    if (!exact) {
        report.length = 0;
        arch_text_at(&report, "spanheap: release of what was not reserved like that:", base);
        arch_text_at(&report, " size", size);
        sh_kernel_panic(SH_PANIC_CORRUPTION, report.text);
        return;
    }
    arch_pages_drop(base, size);
    flags = lock();
    if (find_reserved(base, size, &index))
        give(index);
    unlock(flags);
}

/*
 * Windows
 */

/* Whole granules, without page 0 and the last page.  SH_OK, SH_E_RANGE, SH_E_INVALID. */
static int trim(uintptr_t *base, size_t *size)
{
    uintptr_t mask = SH_GRANULE_SIZE - 1;
    uintptr_t first = *base, last = *base + (*size - 1);

    if (*size != 0 && last < first)
        return SH_E_RANGE;
    if (*size == 0)
        return SH_E_INVALID;
    if (first < SH_ARCH_PAGE_SIZE)
        first = SH_ARCH_PAGE_SIZE;
    if (last > UINTPTR_MAX - SH_ARCH_PAGE_SIZE)
        last = UINTPTR_MAX - SH_ARCH_PAGE_SIZE;
    if (first > UINTPTR_MAX - mask)
        return SH_E_INVALID;
    first = (first + mask) & ~mask;
    if (last < first || last - first < mask)
        return SH_E_INVALID;
    *base = first;
    *size = (last - first + 1) & ~mask;
    return SH_OK;
}

/* Is all of it nobody's, and is there room to note it? */
static int check_edges(uintptr_t base, size_t size, struct arch_text *why)
{
    uint32_t below = edges_below(base);

    if (below != 0 && edge_owner(below - 1) != ARCH_NOT_OURS) {
        arch_text_at(why, "overlaps the window that covers", base);
        return SH_E_OVERLAP;
    }
    if (below < table.count && edge_address(below) - base < size) {
        arch_text_at(why, "overlaps the window at", edge_address(below));
        return SH_E_OVERLAP;
    }
    if (table.windows >= SH_MAX_WINDOWS) {
        arch_text_add(why, "is one more than SH_MAX_WINDOWS");
        return SH_E_FULL;
    }
    if (table.count + 2 > EDGE_MAX) {
        arch_text_add(why, "cannot be noted beside so many reservations");
        return SH_E_FULL;
    }
    return SH_OK;
}

/* Notes a window that check_edges let pass.  Edges that two windows share are written once. */
static void donate(uintptr_t base, size_t size)
{
    uint32_t below = edges_below(base);
    bool joins_lower = below != 0 && edge_address(below - 1) == base;
    bool joins_upper = below < table.count && edge_address(below) == base + size;

    write_begin();
    if (!joins_upper)
        edge_insert(below, base + size, ARCH_NOT_OURS);
    else if (edge_owner(below) == ARCH_FREE)
        edge_remove(below);
    if (!joins_lower)
        edge_insert(below, base, ARCH_FREE);
    else if (below >= 2 && edge_owner(below - 2) == ARCH_FREE)
        edge_remove(below - 1);
    else
        edge_write(below - 1, base | ARCH_FREE);
    table.windows++;
    write_end();
}

/* Keeps the reason for sh_window_error, and tells the log. */
static void refuse(const struct arch_text *why)
{
    arch_flags flags = lock();

    table.error = *why;
    unlock(flags);
    if (why->length != 0)
        arch_log(why->text);
}

static void describe(struct arch_text *why, uintptr_t base, size_t size)
{
    why->length = 0;
    why->text[0] = '\0';
    arch_text_at(why, "window", base);
    arch_text_at(why, " size", size);
    arch_text_add(why, " ");
}

static int check_locked(uintptr_t base, size_t size, struct arch_text *why)
{
    arch_flags flags = lock();
    int error = check_edges(base, size, why);

    unlock(flags);
    return error;
}

/* Its page tables are looked at without the lock; another window may come in between. */
static int check_and_donate(uintptr_t base, size_t size, struct arch_text *why)
{
    int error = check_locked(base, size, why);
    arch_flags flags;

    if (error == SH_OK)
        error = arch_pages_check(base, size, why);
    if (error != SH_OK)
        return error;
    flags = lock();
    error = check_edges(base, size, why);
    if (error == SH_OK)
        donate(base, size);
    unlock(flags);
    return error;
}

int sh_add_window(uintptr_t base, size_t size)
{
    struct arch_text why;
    int error;

    describe(&why, base, size);
    error = trim(&base, &size);
    if (error == SH_E_RANGE)
        arch_text_add(&why, "wraps around the end of the address space");
    else if (error == SH_E_INVALID)
        arch_text_add(&why, "leaves no whole granule (page 0 and the last page are left out)");
    else
        error = check_and_donate(base, size, &why);
    if (error == SH_OK)
        why.length = 0;
    why.text[why.length] = '\0';
    refuse(&why);
    return error;
}

const char *sh_window_error(void)
{
    return table.error.text;
}

bool arch_window_next(uintptr_t from, uintptr_t *base, size_t *size)
{
    arch_flags flags = lock();
    uint32_t index = edges_below(from);
    bool found = false;

    if (index != 0 && edge_owner(index - 1) != ARCH_NOT_OURS)
        index--;
    while (index < table.count && edge_owner(index) == ARCH_NOT_OURS)
        index++;
    if (index < table.count) {
        uint32_t end = index + 1;

        while (edge_owner(end) != ARCH_NOT_OURS)
            end++;
        *base = edge_address(index) > from ? edge_address(index) : from;
        *size = edge_address(end) - *base;
        found = true;
    }
    unlock(flags);
    return found;
}

unsigned arch_window_count(void)
{
    return __atomic_load_n(&table.windows, __ATOMIC_RELAXED);
}

void arch_window_forget_all(void)
{
    arch_flags flags = lock();

    write_begin();
    __atomic_store_n(&table.count, 0, __ATOMIC_RELEASE);
    table.windows = 0;
    write_end();
    unlock(flags);
}
