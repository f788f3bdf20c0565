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

/* 64 bits of an entry in 32, so that a copy of all tables stays small. */
static uint32_t check_of(uint64_t raw)
{
    return (uint32_t)raw ^ (uint32_t)(raw >> 32);
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
        table->checks[i] = check_of(walk_leaf(raw, (uintptr_t)(base + i * PAGE)));
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

/* The entries of a table that lie outside the windows: as they were, or empty in a new table. */
static void compare_leaves(uint64_t base, uint64_t raw, const struct walk_window *windows,
                           unsigned count)
{
    const struct saved *table = find_saved(base);
    bool some = overlaps(windows, count, base, top_size());

    for (uint64_t i = 0; i < top_size() / PAGE; i++) {
        uint64_t address = base + i * PAGE, leaf;

        if (some && overlaps(windows, count, address, PAGE))
            continue;
        leaf = walk_leaf(raw, (uintptr_t)address);
        if (check_of(leaf) != (table != NULL ? table->checks[i] : 0))
            fault("an entry outside the windows changed", address, leaf);
    }
}

unsigned walk_outside(const struct walk_window *windows, unsigned count, bool alike)
{
    faults = 0;
    for (uint64_t base = 0; base < SPACE; base += top_size()) {
        uint64_t was = tops[base / top_size()], now = walk_top(0, (uintptr_t)base);

        for (unsigned i = 1; alike && i < k_directories() && !is_private(base); i++)
            if (walk_top(i, (uintptr_t)base) != now)
                fault("the directories differ", base, walk_top(i, (uintptr_t)base));
        if (now != was && (was != 0 || !walk_is_table(now) || !near(windows, count, base)))
            fault("a top-level entry outside the windows changed", base, now);
        if (walk_is_table(now) && !is_private(base))
            compare_leaves(base, now, windows, count);
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

/* One page of the heap: all its 4 KiB in the same state, on one frame. */
static void inspect(uint64_t address, const uint32_t *held)
{
    bool ready = sh_arch_state((uintptr_t)address) == SH_READY;
    sh_paddr first = 0;

    for (uint64_t offset = 0; offset < SH_ARCH_PAGE_SIZE; offset += PAGE) {
        uint64_t here = address + offset, raw = walk_top(0, (uintptr_t)here);
        struct walk_page page = { .present = false };

        if (walk_is_table(raw))
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
    for (uint64_t at = window->base; at < window->end;) {
        inspect(at, held);
        if (walk_is_table(walk_top(0, (uintptr_t)at)))
            at += SH_ARCH_PAGE_SIZE;
        else
            at = (at & ~(top_size() - 1)) + top_size();
    }
}

/* Marks table frames that the heap holds; ARM has up to four tables in one. */
static void see_tables(const struct walk_window *windows, unsigned count, const uint32_t *held)
{
    for (uint64_t base = 0; base < SPACE; base += top_size()) {
        uint64_t raw = walk_top(0, (uintptr_t)base);
        sh_paddr frame;

        if (!walk_is_table(raw) || is_private(base) || !near(windows, count, base))
            continue;
        frame = walk_table(raw) & ~(PAGE - 1);
        if (bit(held, frame))
            see(frame);
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
