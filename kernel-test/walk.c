/*
 * The audit of the page tables: every page of every window, and every entry outside them.
 */
#include "walk.h"

#include "k_string.h"
#include "test.h"

#define TOPS_MAX 4096u
#define LEAVES_MAX 1024u
#define SAVED_MAX 24u
#define PAGE ((uint64_t)4096)
#define SPACE ((uint64_t)1 << 32)
#define CHUNK ((uint64_t)4 << 20) /* mapped at once: empty tables may lie beside a window */
#define FAULTS_SHOWN 12u

struct saved {
    uint64_t base; /* of what the table maps */
    uint32_t checks[LEAVES_MAX];
};

static uint64_t tops[TOPS_MAX];
static struct saved saved[SAVED_MAX]; /* the tables that were there */
static unsigned saved_count;
static uint32_t seen[K_DIRECT_SIZE / 4096 / 32]; /* frames that the walk came across */
static unsigned faults;

static void fault(const char *what, uint64_t address, uint64_t value)
{
    if (++faults <= FAULTS_SHOWN)
        t_printf("audit: %s at %llx (%llx)\n", what, (unsigned long long)address,
                 (unsigned long long)value);
}

static uint64_t top_size(void)
{
    return (uint64_t)1 << walk_top_shift();
}

static bool is_private(uint64_t address)
{
    return address - K_PRIVATE_BASE < K_PRIVATE_SIZE;
}

static bool overlaps(const struct walk_window *windows, unsigned count, uint64_t base,
                     uint64_t size)
{
    for (unsigned i = 0; i < count; i++)
        if (base < windows[i].end && windows[i].base < base + size)
            return true;
    return false;
}

static bool near(const struct walk_window *windows, unsigned count, uint64_t base)
{
    return overlaps(windows, count, base & ~(CHUNK - 1), CHUNK);
}

static struct saved *find_saved(uint64_t base)
{
    for (unsigned i = 0; i < saved_count; i++)
        if (saved[i].base == base)
            return &saved[i];
    return NULL;
}

static void save_table(uint64_t base, uint64_t raw)
{
    struct saved *table = &saved[saved_count];

    if (saved_count++ == SAVED_MAX)
        k_panic("walk.c: more tables than SAVED_MAX", SAVED_MAX);
    table->base = base;
    for (uint64_t i = 0; i < top_size() / PAGE; i++)
        table->checks[i] = walk_check(walk_leaf(raw, (uintptr_t)(base + i * PAGE)));
}

void walk_snapshot(void)
{
    saved_count = 0;
    for (uint64_t base = 0; base < SPACE; base += top_size()) {
        uint64_t raw = walk_top(0, (uintptr_t)base);

        tops[base / top_size()] = raw;
        if (walk_is_table(raw) && !is_private(base))
            save_table(base, raw);
    }
}

static void compare_run(uint64_t base, uint64_t raw, const struct saved *table, uint64_t from,
                        uint64_t to)
{
    size_t i = (size_t)((from - base) / PAGE), end = (size_t)((to - base) / PAGE);

    while ((i = walk_differing(raw, table != NULL ? table->checks : NULL, i, end)) < end) {
        uintptr_t address = (uintptr_t)(base + i++ * PAGE);

        fault("an entry outside the windows changed", address, walk_leaf(raw, address));
    }
}

/* Where the window around `at` ends; around none: `at`, and *next is where the next one begins, at most
 * `end`. */
static uint64_t inside_until(const struct walk_window *windows, unsigned count, uint64_t at,
                             uint64_t end, uint64_t *next)
{
    *next = end;
    for (unsigned i = 0; i < count; i++) {
        if (windows[i].base <= at && at < windows[i].end)
            return windows[i].end;
        if (windows[i].base > at && windows[i].base < *next)
            *next = windows[i].base;
    }
    return at;
}

/* The entries of a table that lie outside the windows: as they were, or empty in a new table. */
static void compare_leaves(uint64_t base, uint64_t raw, const struct walk_window *windows,
                           unsigned count)
{
    const struct saved *table = find_saved(base);
    uint64_t end = base + top_size(), next;

    for (uint64_t at = base; at < end; at = next) {
        uint64_t inside = inside_until(windows, count, at, end, &next);

        if (inside == at)
            compare_run(base, raw, table, at, next);
        else
            next = inside;
    }
}

/* One top-level entry: of the loaded tables, before, and in all directories. */
static void compare_top(uint64_t base, uint64_t now, const struct walk_window *windows,
                        unsigned count)
{
    uint64_t was = tops[base / top_size()];

    if (now != was && (was != 0 || !walk_is_table(now) || !near(windows, count, base)))
        fault("a top-level entry outside the windows changed", base, now);
    if (walk_is_table(now) && !is_private(base))
        compare_leaves(base, now, windows, count);
}

static void compare_directories(uint64_t base, const uint64_t *now)
{
    static uint64_t others[WALK_TOPS];

    for (unsigned i = 1; i < k_directories(); i++) {
        walk_tops(i, (uintptr_t)base, WALK_TOPS, others);
        for (unsigned j = 0; j < WALK_TOPS; j++)
            if (others[j] != now[j] && !is_private(base + j * top_size()))
                fault("the directories differ", base + j * top_size(), others[j]);
    }
}

unsigned walk_outside(const struct walk_window *windows, unsigned count, bool alike)
{
    static uint64_t now[WALK_TOPS];
    uint64_t size = top_size();

    faults = 0;
    for (uint64_t base = 0; base < SPACE; base += WALK_TOPS * size) {
        walk_tops(0, (uintptr_t)base, WALK_TOPS, now);
        if (alike)
            compare_directories(base, now);
        for (unsigned i = 0; i < WALK_TOPS; i++)
            if ((now[i] | tops[base / size + i]) != 0)
                compare_top(base + i * size, now[i], windows, count);
    }
    return faults;
}

static unsigned frame_number(sh_paddr frame)
{
    return (unsigned)((frame - k_ram_base) / PAGE);
}

static bool bit(const uint32_t *bits, sh_paddr frame)
{
    unsigned number = frame_number(frame);

    if (frame < k_ram_base || frame - k_ram_base >= K_DIRECT_SIZE)
        return false;
    return (bits[number / 32] >> number % 32 & 1) != 0;
}

static void see(sh_paddr frame)
{
    seen[frame_number(frame) / 32] |= 1u << frame_number(frame) % 32;
}

static void inspect_frame(uint64_t address, const struct walk_page *page, const uint32_t *held)
{
    if (!bit(held, page->frame)) {
        fault("a page has a frame that the heap does not hold", address, page->frame);
        return;
    }
    if (bit(seen, page->frame))
        fault("a frame is mapped twice", address, page->frame);
    see(page->frame);
}

static void inspect_rights(uint64_t address, const struct walk_page *page)
{
    if (page->size != SH_ARCH_PAGE_SIZE)
        fault("a page has the wrong kind of descriptor", address, page->size);
    if (!page->writable)
        fault("a page is read-only", address, 0);
    if (page->executable && walk_has_execute_never())
        fault("a page is executable", address, 0);
    if (page->user)
        fault("a page is open to user mode", address, 0);
    if (page->global)
        fault("a page is global", address, 0);
    if (!page->cached)
        fault("a page is not cached", address, 0);
}

/* One page of the heap, under one top-level entry: all its 4 KiB in the same state, on one frame. */
static void inspect(uint64_t address, uint64_t raw, const uint32_t *held)
{
    bool ready = sh_arch_state((uintptr_t)address) == SH_READY, has_table = walk_is_table(raw);
    sh_paddr first = 0;

    for (uint64_t offset = 0; offset < SH_ARCH_PAGE_SIZE; offset += PAGE) {
        uint64_t here = address + offset;
        struct walk_page page = { .present = false };

        if (has_table)
            walk_decode(walk_leaf(raw, (uintptr_t)here), (uintptr_t)here, &page);
        if (page.present != ready)
            fault(ready ? "ready, but not present" : "present, but not ready", here, page.frame);
        if (!page.present)
            continue;
        first = offset == 0 ? page.frame : first;
        if (page.frame != first + offset || (first & (SH_ARCH_PAGE_SIZE - 1)) != 0)
            fault("a page is not on one frame", here, page.frame);
        inspect_rights(here, &page);
        inspect_frame(here, &page, held);
    }
}

/* Where there is no table nothing can be present: one page speaks for all. */
static void inspect_window(const struct walk_window *window, const uint32_t *held)
{
    uint64_t size = top_size(), next;

    for (uint64_t at = window->base; at < window->end; at = next) {
        uint64_t raw = walk_top(0, (uintptr_t)at);

        next = (at & ~(size - 1)) + size;
        if (!walk_is_table(raw)) {
            inspect(at, raw, held);
            continue;
        }
        next = next < window->end ? next : window->end;
        for (; at < next; at += SH_ARCH_PAGE_SIZE)
            inspect(at, raw, held);
    }
}

/* Marks table frames that the heap holds; ARM has up to four tables in one. */
static void see_table(uint64_t base, uint64_t raw, const struct walk_window *windows,
                      unsigned count, const uint32_t *held)
{
    sh_paddr frame;

    if (!walk_is_table(raw) || is_private(base) || !near(windows, count, base))
        return;
    frame = walk_table(raw) & ~(PAGE - 1);
    if (bit(held, frame))
        see(frame);
}

static void see_tables(const struct walk_window *windows, unsigned count, const uint32_t *held)
{
    static uint64_t raw[WALK_TOPS];
    uint64_t size = top_size();

    for (uint64_t base = 0; base < SPACE; base += WALK_TOPS * size) {
        walk_tops(0, (uintptr_t)base, WALK_TOPS, raw);
        for (unsigned i = 0; i < WALK_TOPS; i++)
            if (raw[i] != 0)
                see_table(base + i * size, raw[i], windows, count, held);
    }
}

unsigned walk_inside(const struct walk_window *windows, unsigned count, const uint32_t *held)
{
    faults = 0;
    memset(seen, 0, sizeof seen);
    for (unsigned i = 0; i < count; i++)
        inspect_window(&windows[i], held);
    see_tables(windows, count, held);
    for (unsigned i = 0; i < sizeof seen / sizeof seen[0]; i++)
        if ((held[i] & ~seen[i]) != 0)
            fault("frames are held that nothing maps, from", k_ram_base + i * 32 * PAGE,
                  held[i] & ~seen[i]);
    return faults;
}
