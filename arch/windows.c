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
 * Also the words of the port: the one line that sh_window_error returns, and reports of corruption.
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

/*
 * Words
 */

static void add_byte(struct arch_text *line, char byte)
{
    if (line->length < ARCH_TEXT_MAX - 1)
        line->text[line->length++] = byte;
}

/* At least the eight digits of a 32-bit address. */
static void add_hex(struct arch_text *line, uintptr_t value)
{
    unsigned shift = 4 * 8;

    while (shift < 8 * sizeof value && value >> shift != 0)
        shift += 4;
    add_byte(line, '0');
    add_byte(line, 'x');
    while (shift != 0) {
        unsigned digit;

        shift -= 4;
        digit = value >> shift & 15;
        add_byte(line, (char)(digit + (digit < 10 ? '0' : 'a' - 10)));
    }
}

ARCH_CALL void arch_text_add(struct arch_text *line, const char *words, uintptr_t first,
                             uintptr_t second)
{
    for (; *words != '\0'; words++) {
        if (*words != '%') {
            add_byte(line, *words);
            continue;
        }
        add_hex(line, first);
        first = second;
    }
    line->text[line->length] = '\0';
}

ARCH_CALL void arch_corrupt(const char *words, uintptr_t first, uintptr_t second)
{
    static struct arch_text report;

    report.length = 0;
    arch_text_add(&report, words, first, second);
    sh_kernel_panic(SH_PANIC_CORRUPTION, report.text);
}

/*
 * Edges
 */

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

/* One CPU sees its own stores in order. */
static void fence(void)
{
    if (SH_MAX_CPUS > 1)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    else
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Before the first and after the last change. */
static void write_mark(void)
{
    fence();
    __atomic_store_n(&table.version, table.version + 1, __ATOMIC_RELEASE);
    fence();
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

ARCH_CALL enum arch_owner arch_window_owner(uintptr_t address)
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
static void edge_insert(uint32_t index, uintptr_t edge)
{
    uint32_t last = table.count;

    edge_write(last, last > index ? edge_read(last - 1) : edge);
    __atomic_store_n(&table.count, last + 1, __ATOMIC_RELEASE);
    for (; last > index; last--)
        edge_write(last, edge_read(last - 1));
    edge_write(index, edge);
}

static void edge_remove(uint32_t index)
{
    for (uint32_t i = index; i + 1 < table.count; i++)
        edge_write(i, edge_read(i + 1));
    __atomic_store_n(&table.count, table.count - 1, __ATOMIC_RELEASE);
}

/* [base, base + size), of one owner until now, becomes `owner`'s.  The upper edge first, and what
 * is superfluous last: between these steps every address reads as before or as after. */
static void change_owner(uintptr_t base, size_t size, enum arch_owner owner)
{
    uint32_t at = edges_below(base);

    write_mark();
    if (edges_below(base + size) == at)
        edge_insert(at, (base + size) | owner_now(base));
    if (at != 0 && edge_address(at - 1) == base)
        edge_write(--at, base | owner);
    else
        edge_insert(at, base | owner);
    if (owner != ARCH_RESERVED) {
        if (edge_owner(at + 1) == owner)
            edge_remove(at + 1);
        if (at != 0 && edge_owner(at - 1) == owner)
            edge_remove(at);
    }
    write_mark();
}

/*
 * Reservations
 */

/* The lowest that fits at or above `from`; 0 = none.  `full` = one would have, but for want of
 * edges. */
static uintptr_t find_room(uintptr_t from, size_t size, size_t align, bool *full)
{
    for (uint32_t i = 0; i < table.count; i++) {
        uintptr_t start = edge_address(i), base = start > from ? start : from, end;

        if (edge_owner(i) != ARCH_FREE)
            continue;
        base = (base + (align - 1)) & ~(uintptr_t)(align - 1);
        end = edge_address(i + 1);
        if (base < start || base >= end || end - base < size)
            continue;
        if (table.count + (base != start) + (base + size != end) <= EDGE_MAX)
            return base;
        *full = true;
    }
    return 0;
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    bool full = false;
    uintptr_t base;
    arch_flags flags;

    if (size == 0 || (size & (SH_ARCH_PAGE_SIZE - 1)) != 0 || (align & (align - 1)) != 0)
        return 0;
    if (align < SH_ARCH_PAGE_SIZE)
        align = SH_ARCH_PAGE_SIZE;
    flags = lock();
    base = find_room(hint, size, align, &full);
    if (base != hint)
        base = find_room(0, size, align, &full);
    if (base != 0)
        change_owner(base, size, ARCH_RESERVED);
    unlock(flags);
    if (base == 0 && full)
        arch_log("no room to note another reservation");
    return base;
}

/* If [base, base + size) is exactly a reservation: gives it back, or only says so. */
static bool give(uintptr_t base, size_t size, bool only_look)
{
    arch_flags flags = lock();
    uint32_t below = edges_below(base);
    bool exact = below != 0 && edge_read(below - 1) == (base | ARCH_RESERVED)
                 && edge_address(below) - base == size;

    if (exact && !only_look)
        change_owner(base, size, ARCH_FREE);
    unlock(flags);
    return exact;
}

void sh_arch_release(uintptr_t base, size_t size)
{
    if (!give(base, size, true)) {
        arch_corrupt("release of % size %, not reserved like that", base, size);
        return;
    }
    arch_pages_drop(base, size);
    give(base, size, false);
}

/*
 * Windows
 */

/* Whole granules, without page 0 and the last page.  NULL, or why not. */
static const char *trim(uintptr_t *base, size_t *size)
{
    uintptr_t mask = SH_GRANULE_SIZE - 1;
    uintptr_t first = *base, last = *base + (*size - 1);

    if (*size != 0 && last < first)
        return ARCH_REFUSE_RANGE "wraps around";
    if (first == 0)
        first = 1;
    first = (first + mask) & ~mask; /* 0 in the last granule */
    if (last > UINTPTR_MAX - SH_ARCH_PAGE_SIZE)
        last = UINTPTR_MAX - SH_ARCH_PAGE_SIZE;
    last = (last + 1) & ~mask;
    if (*size == 0 || first == 0 || last <= first)
        return ARCH_REFUSE_INVALID "has no whole granule beside page 0 and the last page";
    *base = first;
    *size = last - first;
    return NULL;
}

/* Is all of it nobody's, and is there room to note it?  Then does so, or only says so: NULL.  Why
 * not, and where (`at`). */
static const char *donate(uintptr_t base, size_t size, uintptr_t *at, bool only_look)
{
    const char *refusal = NULL;
    arch_flags flags = lock();
    uint32_t below = edges_below(base);

    *at = base;
    if (below == 0 || edge_owner(below - 1) == ARCH_NOT_OURS)
        *at = below < table.count ? edge_address(below) : base + size;
    if (*at - base < size)
        refusal = ARCH_REFUSE_OVERLAP "overlaps the window at %";
    else if (table.windows >= SH_MAX_WINDOWS)
        refusal = ARCH_REFUSE_FULL "exceeds SH_MAX_WINDOWS";
    else if (table.count + 2 > EDGE_MAX)
        refusal = ARCH_REFUSE_FULL "has no room beside the reservations";
    else if (!only_look) {
        change_owner(base, size, ARCH_FREE);
        table.windows++;
    }
    unlock(flags);
    return refusal;
}

/* The page tables are looked at without the lock; another window may come in between. */
int sh_add_window(uintptr_t base, size_t size)
{
    uintptr_t given = base, at = 0;
    size_t given_size = size;
    const char *refusal = trim(&base, &size);
    arch_flags flags;

    if (refusal == NULL)
        refusal = donate(base, size, &at, true);
    if (refusal == NULL)
        refusal = arch_pages_check(base, size, &at);
    if (refusal == NULL)
        refusal = donate(base, size, &at, false);
    flags = lock();
    table.error.length = 0;
    table.error.text[0] = '\0';
    if (refusal != NULL) {
        arch_text_add(&table.error, "window % size % ", given, given_size);
        arch_text_add(&table.error, refusal + 1, at, 0);
    }
    unlock(flags);
    if (refusal == NULL)
        return SH_OK;
    arch_log(table.error.text);
    return -*refusal;
}

const char *sh_window_error(void)
{
    return table.error.text;
}

/* The lowest run of donated addresses that ends above `from`; from `from` on, if that is inside.
 * Returns its size, 0 = none. */
static size_t next_run(uintptr_t from, uintptr_t *base)
{
    arch_flags flags = lock();
    uintptr_t start = 0;
    size_t size = 0;

    for (uint32_t i = 0; size == 0 && i < table.count; i++) {
        uintptr_t edge = edge_address(i);

        if (edge_owner(i) != ARCH_NOT_OURS) {
            if (start == 0)
                start = edge > from ? edge : from;
        } else if (edge > from)
            size = edge - start;
        else
            start = 0;
    }
    *base = start;
    unlock(flags);
    return size;
}

ARCH_CALL size_t arch_window_each(arch_range_fn *work)
{
    uintptr_t base = 0;
    size_t size = 0, sum = 0;

    while ((size = next_run(base + size, &base)) != 0)
        sum += work(base, size);
    return sum;
}

unsigned arch_window_count(void)
{
    return __atomic_load_n(&table.windows, __ATOMIC_RELAXED);
}

void arch_window_forget_all(void)
{
    arch_flags flags = lock();

    write_mark();
    __atomic_store_n(&table.count, 0, __ATOMIC_RELEASE);
    table.windows = 0;
    write_mark();
    unlock(flags);
}
