/*
 * The page-table walker and the windows of the real port, on the simulated machine.
 *
 *     i686-linux-gnu-gcc -static -O1 -g -std=c11 -DSIM_X86 -I kernel-test/sim -I arch/x86 -I . \
 *         kernel-test/sim/sim.c kernel-test/sim/test_pagetable.c \
 *         arch/pagetable.c arch/tables.c arch/windows.c -o build/sim-x86
 *     the same with -DSIM_ARM -I arch/arm, and -DSH_ARCH_PAGE_SHIFT=12 or 16
 *
 * kernel-test/sim comes first on the include path: its cpu.h takes the place of the port's.  The
 * first argument is the seed of the random parts; a second one, `direct`, leaves the machines without a
 * direct map out.  Prints the machines and a last line of counts; ends with 1
 * at the first broken check.
 *
 * Needs a 32-bit program, because the port's pointers are 32 bits; it runs on x86-64 Linux as it
 * is.
 */
#include "sim.h"

#include "arch/port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 1 << SH_ARCH_PAGE_SHIFT, RANGES = 24, RANGE_PAGES_MAX = (9 << 20) / PAGE };

static enum sim_machine machine;
static bool direct;
static unsigned state_of_random = 1;

static unsigned draw(unsigned below)
{
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (unsigned)((uint64_t)state_of_random * below >> 32);
}

static void start(void)
{
    sim_start(machine, direct);
    CHECK(sh_arch_port.attach(&sim_hooks, 2) == SH_OK);
}

static void stop(void)
{
    CHECK(sh_arch_port.detach() == SH_OK && sim_all_published() && sim_directories_agree());
    CHECK(sim_frames_out() == 0);
    CHECK(sh_arch_port.windows() == 0 && sh_arch_port.table_bytes() == 0);
    CHECK(sim_panics == 0);
}

static void refused(uintptr_t base, size_t size, int error, const char *word)
{
    CHECK(sh_add_window(base, size) == error);
    CHECK(strstr(sh_window_error(), word) != NULL);
    for (const char *at = sh_window_error(); *at != '\0'; at++)
        CHECK(*at >= ' ' && *at <= '~');
}

/* A line has an end, whatever stood there, and what is too long for it is cut. */
static void lines_are_ended_and_cut(void)
{
    struct {
        struct arch_text line;
        char behind[8];
    } text;

    memset(&text, 'x', sizeof text);
    text.line.length = 0;
    arch_text_add(&text.line, "% and %", 0x12, 0xABCDEF01u);
    CHECK(strcmp(text.line.text, "0x00000012 and 0xabcdef01") == 0);
    for (unsigned i = 0; i < ARCH_TEXT_MAX; i++)
        arch_text_add(&text.line, ".%", i, 0);
    CHECK(text.line.length == ARCH_TEXT_MAX - 1 && strlen(text.line.text) == ARCH_TEXT_MAX - 1);
    for (unsigned i = 0; i < sizeof text.behind; i++)
        CHECK(text.behind[i] == 'x');
}

/* A port that was detached calls no hook of the heap that ended. */
static void detach_forgets_the_hooks(void)
{
    start();
    stop();
    sim_last_log[0] = '\0';
    refused(0xD0000000u, 0, SH_E_INVALID, "granule");
    CHECK(sim_last_log[0] == '\0');
}

/* Windows: refusals by name, trimming, any order. */
static void windows_are_refused_by_name(void)
{
    start();
    refused(0xD0000000u, 0, SH_E_INVALID, "granule");
    refused(0, 0, SH_E_INVALID, "granule");
    refused(0xD0000000u, SH_GRANULE_SIZE - 1, SH_E_INVALID, "granule");
    refused(0, SH_ARCH_PAGE_SIZE, SH_E_INVALID, "granule");
    refused(0xFFFFF000u, 0x1000, SH_E_INVALID, "granule");
    refused(0xF0000000u, 0x20000000u, SH_E_RANGE, "wraps");
    refused(0xE0000000u, 0x400000, SH_E_OVERLAP, "mapped at 0xe0000000");
    refused(0xE0400000u, 0x800000, SH_E_OVERLAP, "large page or section at 0xe0800000");
    sim_kernel_map(0xE0020000u, 0x200, false);
    refused(0xE0010000u, 0x40000, SH_E_OVERLAP, "not 0 at 0xe0020000");
    sim_kernel_map(0xE0020000u, 0, false);
    if (machine == SIM_PAE || machine == SIM_PAE_NX)
        refused(0x50000000u, 0x400000, SH_E_PAGING, "PDPT");
    CHECK(sh_add_window(0xE0010000u, 0x3F0000) == SH_OK && sh_window_error()[0] == '\0');
    CHECK(sh_add_window(0xFFC00000u, 0x400000) == SH_OK);
    CHECK(sh_add_window(0xD0000000u, 0x1000000) == SH_OK);
    refused(0xD0800000u, 0x10000, SH_E_OVERLAP, "window");
    refused(0xCF000000u, 0x1010000, SH_E_OVERLAP, "window at 0xd0000000");
    CHECK(sh_arch_port.windows() == 3);
    stop();
}

static void mode_is_refused(void)
{
    start();
    struct sim_registers good = sim_registers;

    sim_registers.cr0 = 0;
    sim_registers.sctlr = 0;
    CHECK(sh_arch_port.attach(&sim_hooks, 1) == SH_E_PAGING);
    refused(0xD0000000u, 0x400000, SH_E_PAGING, "paging is off");
#ifdef SIM_ARM
    sim_registers.sctlr = 1;
    sim_registers.dacr = 4;
    refused(0xD0000000u, 0x400000, SH_E_PAGING, "DACR");
    sim_registers.dacr = 1;
    refused(0xE0010000u, 0x10000, SH_E_PAGING, "without write access");
    sim_registers.sctlr = 1 | 1 << 28;
    refused(0xD0000000u, 0x400000, SH_E_PAGING, "PRRR");
    sim_registers.prrr = 2 << 14;
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    sim_registers.ttbcr |= 0x20 | 0x10;
    refused(0xD1000000u, 0x400000, SH_E_PAGING, "TTBCR.PD");
    sim_registers.ttbcr = 0x80000000u;
    refused(0xD1000000u, 0x400000, SH_E_PAGING, "long descriptors");
#else
    struct sh_hooks none = sim_hooks;

    none.tlb_shootdown = NULL;
    sim_registers = good;
    CHECK(sh_arch_port.attach(&none, 2) == SH_E_HOOK);
    CHECK(sh_arch_port.attach(NULL, 2) == SH_E_HOOK);
    CHECK(sh_arch_port.attach(NULL, 1) == SH_OK);
#endif
    sim_registers = good;
    stop();
}

/* As many windows as there may be, each of one granule; one more is refused, by name. */
static void windows_are_counted(void)
{
    start();
    for (unsigned i = 0; i < SH_MAX_WINDOWS; i++) {
        CHECK(sh_arch_port.windows() == i);
        CHECK(sh_add_window(0xD0000000u + i * 0x40000u, SH_GRANULE_SIZE) == SH_OK);
    }
    refused(0xD0000000u + SH_MAX_WINDOWS * 0x40000u, SH_GRANULE_SIZE, SH_E_FULL, "SH_MAX_WINDOWS");
    refused(0xD0000000u, SH_GRANULE_SIZE, SH_E_OVERLAP, "window");
    CHECK(sh_arch_port.windows() == SH_MAX_WINDOWS);
    stop();
}

/* Reservations with holes between them, until no more edges can be noted: what needs none is still
 * given, what needs one is not, and a release makes room again. */
static void edges_are_counted(void)
{
    enum { EDGES = 4 * SH_MAX_WINDOWS + 256 };
    const uintptr_t base = 0xD0000000u, last = base + 2047 * PAGE;
    unsigned n = 0;

    for (unsigned odd = 0; odd < 2; odd++, n = 0) {
        start();
        CHECK(sh_add_window(base, 2048 * PAGE) == SH_OK);
        if (odd != 0) /* at the end of the window: one edge */
            CHECK(sh_arch_reserve(last, PAGE, PAGE) == last);
        while (sh_arch_reserve(base + (2 * n + 1) * PAGE, PAGE, PAGE) == base + (2 * n + 1) * PAGE)
            n++;
        CHECK(n == (EDGES - 2 - odd) / 2);
        CHECK(sh_arch_state(base) == SH_RESERVED);
        if (odd != 0) { /* one edge is left */
            CHECK(sh_arch_reserve(0, 2 * PAGE, PAGE) == base + 2 * n * PAGE);
            sh_arch_release(base + 2 * n * PAGE, 2 * PAGE);
        } else {
            sim_last_log[0] = 0;
            CHECK(sh_arch_reserve(0, 2 * PAGE, PAGE) == 0);
            CHECK(sh_arch_state(0) == SH_NONE && sh_arch_state(base + 2 * PAGE) == SH_NONE);
            CHECK(strstr(sim_last_log, "no room to note") != NULL);
            refused(0xE0010000u, 0x10000, SH_E_FULL, "no room beside");
        }
        sh_arch_release(base + PAGE, PAGE);
        sh_arch_release(base + 3 * PAGE, PAGE);
        CHECK(sh_arch_reserve(0, 2 * PAGE, PAGE) == base + PAGE);
        stop();
    }
}

/* A window takes two edges: the last two will do. */
static void a_window_needs_two_edges(void)
{
    enum { EDGES = 4 * SH_MAX_WINDOWS + 256 };
    const uintptr_t base = 0xD0000000u;

    start();
    CHECK(sh_add_window(base, 2048 * PAGE) == SH_OK);
    for (unsigned n = 0; n < (EDGES - 2) / 2; n++)
        CHECK(sh_arch_reserve(base + (2 * n + 1) * PAGE, PAGE, PAGE) == base + (2 * n + 1) * PAGE);
    refused(0xE0010000u, 0x10000, SH_E_FULL, "no room beside");
    sh_arch_release(base + 7 * PAGE, PAGE);
    CHECK(sh_add_window(0xE0010000u, 0x10000) == SH_OK);
    CHECK(sh_arch_reserve(0xE0010000u, 0x10000, PAGE) == 0xE0010000u);
    refused(0xE0040000u, 0x10000, SH_E_FULL, "no room beside");
    stop();
}

/* The next report is one of corruption, and says so much. */
static void expect_corruption(const char *words, uintptr_t at)
{
    char text[128];

    snprintf(text, sizeof text, words, (unsigned)at);
    CHECK(sim_panics == 1 && strstr(sim_last_log, text) != NULL);
    sim_panics = 0;
}

/* Only what was reserved, exactly so, is released. */
static void wrong_release_is_corruption(void)
{
    uintptr_t base;

    start();
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    base = sh_arch_reserve(0, 16 * PAGE, PAGE);
    CHECK(sh_arch_map(base, 16 * PAGE) && sh_arch_commit(base, 4 * PAGE));
    sh_arch_release(base, 15 * PAGE);
    expect_corruption("release of 0x%x size 0x", base);
    sh_arch_release(base, 17 * PAGE);
    expect_corruption("release of 0x%x size 0x", base);
    sh_arch_release(base + PAGE, 15 * PAGE);
    expect_corruption("release of 0x%x size 0x", base + PAGE);
    sh_arch_release(base + 16 * PAGE, PAGE);
    expect_corruption("release of 0x%x size 0x", base + 16 * PAGE);
    CHECK(sh_arch_state(base) == SH_READY && sh_arch_state(base + 15 * PAGE) == SH_PREPARED);
    sh_arch_release(base, 16 * PAGE);
    CHECK(sim_panics == 0 && sh_arch_state(base) == SH_NONE);
    sh_arch_release(base, 16 * PAGE);
    expect_corruption("release of 0x%x size 0x", base);
    stop();
}

/* What the kernel wrote into a reserved page is found when the heap comes there. */
static void foreign_entries_are_corruption(void)
{
    uintptr_t base, at;

    start();
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    base = sh_arch_reserve(0, 0x200000, PAGE);
    CHECK(sh_arch_map(base, 0x100000));
    at = base + 0x100000 + 2 * PAGE;
    sim_kernel_map(at, 0x40, false);
    CHECK(!sh_arch_map(base + 0x100000, 0x100000));
    expect_corruption("foreign page table entry at 0x%x", base + 0x100000);
    sim_kernel_map(at, 0, false);
    sim_kernel_map(base + 3 * PAGE, 0, false);
    CHECK(!sh_arch_commit(base, 8 * PAGE));
    expect_corruption("foreign page table entry at 0x%x", base + 3 * PAGE);
    CHECK(sh_arch_state(base + 2 * PAGE) == SH_PREPARED);
    CHECK(sim_frames_out() == sh_arch_port.table_bytes());
    stop();
    CHECK(sim_panics == 0);
}

/* Frames that no entry can hold go back, and the call fails. */
static void wrong_frames_are_given_back(void)
{
    uintptr_t base;
    size_t frames;

    start();
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    base = sh_arch_reserve(0, 0x200000, PAGE);
    sim_lies = true;
    CHECK(!sh_arch_map(base, 0x200000) && sim_frames_out() == 0);
    CHECK(strstr(sim_last_log, "misaligned or out of reach") != NULL);
    sim_lies = false;
    CHECK(sh_arch_map(base, 0x200000));
    frames = sim_frames_out();
    sim_lies = true;
    sim_last_log[0] = 0;
    CHECK(!sh_arch_commit(base, 2 * PAGE) && sim_frames_out() == frames);
    CHECK(strstr(sim_last_log, "misaligned or out of reach") != NULL);
    CHECK(sh_arch_state(base) == SH_PREPARED);
    sim_lies = false;
    stop();
}

/* What is no reservation is none. */
static void wrong_reservations_are_refused(void)
{
    start();
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    CHECK(sh_arch_reserve(0, 0, PAGE) == 0);
    for (size_t part = 1; part < PAGE; part *= 2)
        CHECK(sh_arch_reserve(0, PAGE + part, PAGE) == 0 && sh_arch_reserve(0, part, PAGE) == 0);
    CHECK(sh_arch_reserve(0, PAGE, 3 * PAGE) == 0);
    CHECK(sh_arch_reserve(0, 0x400000 + PAGE, PAGE) == 0);
    CHECK(sh_arch_reserve(0xD0000000u + 8, PAGE, 16) == 0xD0000000u);
    CHECK(sh_arch_reserve(0xC0000000u, PAGE, 8) == 0xD0000000u + PAGE);
    CHECK(sh_arch_reserve(0xD0400000u - PAGE, PAGE, PAGE) == 0xD0400000u - PAGE);
    CHECK(sh_arch_reserve(0xD0400000u - PAGE, PAGE, PAGE) == 0xD0000000u + 2 * PAGE);
    CHECK(sh_arch_reserve(0xD0400000u, PAGE, PAGE) == 0xD0000000u + 3 * PAGE);
    stop();
}

/* A window may begin and end where a large page or section of the kernel's does, on ARM in the same
 * group of tables; it may not share a byte with it. */
static void neighbours_of_a_large_page(void)
{
    const uintptr_t large = 0xE0800000u, group_end = 0xE0C00000u;
    const size_t bytes = machine >= SIM_SHORT      ? 0x100000
                         : machine == SIM_2LEVEL ? 0x400000
                                                 : 0x200000;
    const size_t size = large + bytes < group_end ? group_end - large - bytes : 0x200000;
    uintptr_t base;

    start();
    refused(large, 0x10000, SH_E_OVERLAP, "0x");
    refused(large + bytes - 0x10000, 0x20000, SH_E_OVERLAP, "0x");
    refused(large - 0x10000, 0x20000, SH_E_OVERLAP, "0x");
    CHECK(sh_arch_port.table_cost(large, 0x10000) == 0);
    CHECK(sh_add_window(large + bytes, size) == SH_OK);
    base = sh_arch_reserve(0, size, PAGE);
    CHECK(base == large + bytes && sh_arch_map(base, size));
    CHECK(sh_arch_commit(base, PAGE) && sh_arch_commit(base + size - PAGE, PAGE));
    CHECK(sh_add_window(large - 0x100000, 0x100000) == SH_OK);
    base = sh_arch_reserve(large - 0x100000, 0x100000, PAGE);
    CHECK(base == large - 0x100000 && sh_arch_map(base, 0x100000));
    CHECK(sh_arch_commit(large - PAGE, PAGE));
    CHECK(sim_walk(0, large).present && sim_walk(1, large).present);
    CHECK(sim_walk(0, large - PAGE).present && sim_walk(0, large + bytes).present);
    stop();
    CHECK(sim_walk(0, large).present && sim_walk(1, large).present);
    CHECK(!sim_walk(0, large - PAGE).present && !sim_walk(0, large + bytes).present);
}

/* Flushes of a detach that takes down so many tables. */
static unsigned long detach_flushes(size_t tables)
{
    unsigned long before;
    uintptr_t base;

    start();
    CHECK(sh_add_window(0xD0000000u, 0x2000000) == SH_OK);
    base = sh_arch_reserve(0, 0x2000000, PAGE);
    for (size_t i = 0; i < tables; i++)
        CHECK(sh_arch_map(base + (i << 22), PAGE));
    CHECK(sim_frames_out() == tables * SH_TABLE_FRAME_SIZE);
    before = sim_flushes + sim_shootdowns;
    CHECK(sh_arch_port.detach() == SH_OK);
    return sim_flushes + sim_shootdowns - before;
}

/* Before tables go back the CPUs forget them, be it one or several. */
static void tables_go_back_after_a_flush(void)
{
    unsigned long none = detach_flushes(0), one = detach_flushes(1), two = detach_flushes(2);

    CHECK(one > none && one == two);
}

static void one_cpu_needs_no_shootdown(void)
{
    unsigned long before;
    uintptr_t base;

    sim_start(machine, direct);
    CHECK(sh_arch_port.attach(&sim_hooks, 1) == SH_OK);
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    base = sh_arch_reserve(0, 0x400000, PAGE);
    before = sim_shootdowns;
    CHECK(sh_arch_map(base, 0x400000) && sh_arch_commit(base, 0x400000));
    sh_arch_decommit(base, 0x200000);
    sh_arch_fault(base, 0x300000);
    sh_arch_release(base, 0x400000);
    CHECK(sim_shootdowns == before);
    /* As functions for each window: nothing to be added up. */
    CHECK(arch_window_each(arch_pages_flush) == 0 && arch_window_each(arch_pages_drop) == 0);
    stop();
}

static uintptr_t released_base;
static unsigned released_frames;

static void while_it_is_released(void)
{
    released_frames++;
    CHECK(sh_arch_state(released_base) != SH_NONE);
    CHECK(sh_arch_reserve(released_base, PAGE, PAGE) == 0);
}

/* Nobody is given a range whose frames are not all back. */
static void a_released_range_is_free_last(void)
{
    start();
    CHECK(sh_add_window(0xD0000000u, 16 * PAGE) == SH_OK);
    released_base = sh_arch_reserve(0, 16 * PAGE, PAGE);
    CHECK(sh_arch_map(released_base, 16 * PAGE) && sh_arch_commit(released_base, 8 * PAGE));
    released_frames = 0;
    sim_on_free = while_it_is_released;
    sh_arch_release(released_base, 16 * PAGE);
    sim_on_free = NULL;
    CHECK(released_frames == 8 && sh_arch_state(released_base) == SH_NONE);
    stop();
}

/* Every order of three windows, two of them touching. */
static void windows_come_in_any_order(void)
{
    static const unsigned char orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                                { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    static const uintptr_t base[3] = { 0xD0000000u, 0xD0400000u, 0xD0800000u };

    for (unsigned o = 0; o < 6; o++) {
        start();
        for (unsigned i = 0; i < 3; i++) {
            uintptr_t at = base[orders[o][i]];

            CHECK(sh_add_window(at, 0x400000) == SH_OK);
            refused(at, 0x10000, SH_E_OVERLAP, "window");
            if (o % 2 == 0) /* reserve in between: the edges change owners */
                CHECK(sh_arch_reserve(at, 0x10000, 0x1000) == at);
            CHECK(sh_arch_state(at) == (o % 2 == 0 ? SH_RESERVED : SH_NONE));
        }
        if (o % 2 == 0) {
            CHECK(sh_arch_reserve(0, 0x400000, 0x400000) == 0);
            for (unsigned i = 0; i < 3; i++)
                sh_arch_release(base[i], 0x10000);
        }
        CHECK(sh_arch_reserve(0, 0xC00000, 0x1000) == base[0]);
        CHECK(sh_arch_reserve(0, 0x10000, 0x1000) == 0);
        CHECK(sh_arch_state(0) == SH_NONE && sh_arch_state(base[0] + 0xC00000) == SH_NONE);
        CHECK(sh_arch_state(base[0] - 1) == SH_NONE && sh_arch_state(0xD0C00000u) == SH_NONE);
        sh_arch_release(base[0], 0x400000);
        CHECK(sim_panics == 1); /* not exactly what was reserved */
        sim_panics = 0;
        sh_arch_release(base[0], 0xC00000);
        CHECK(sh_arch_state(base[1]) == SH_NONE);
        stop();
    }
}

/* A fuzzed window table against one byte a unit of address space. */
static void edges_match_a_map(void)
{
    enum { UNITS = 4096, UNIT = 0x10000 };
    static unsigned char map[UNITS]; /* 0 not ours, 1 free, 2 reserved */
    static struct { unsigned at, count; } list[1024];
    unsigned reserved = 0, refused_full = 0;

    start();
    memset(map, 0, sizeof map);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned at = draw(UNITS), count = 1 + draw(round % 64 == 0 ? 200 : 4);

        if (at + count > UNITS)
            continue;
        uintptr_t base = 0xC0000000u + at * UNIT;
        bool none = true;

        for (unsigned i = 0; i < count; i++)
            none = none && map[at + i] == 0;
        if (draw(40) == 0) {
            int got = sh_add_window(base, count * UNIT);

            CHECK((got == SH_OK || got == SH_E_FULL) == none);
            if (got == SH_OK)
                memset(map + at, 1, count);
        } else if (draw(5) < 3) {
            size_t align = UNIT << draw(3);
            uintptr_t got = sh_arch_reserve(draw(2) ? base : 0, count * UNIT, align);

            if (got == 0) {
                refused_full += strstr(sim_last_log, "no room to note") != NULL;
                sim_last_log[0] = '\0';
                continue;
            }
            CHECK((got & (align - 1)) == 0);
            at = (got - 0xC0000000u) / UNIT;
            for (unsigned i = 0; i < count; i++)
                CHECK(map[at + i] == 1);
            memset(map + at, 2, count);
            list[reserved].at = at;
            list[reserved++].count = count;
        } else if (reserved != 0) {
            unsigned i = draw(reserved);

            sh_arch_release(0xC0000000u + list[i].at * UNIT, list[i].count * UNIT);
            memset(map + list[i].at, 1, list[i].count);
            list[i] = list[--reserved];
        }
        at = draw(UNITS);
        CHECK(sh_arch_state(0xC0000000u + at * UNIT + draw(UNIT))
              == (map[at] == 2 ? SH_RESERVED : SH_NONE));
    }
    for (unsigned at = 0; at < UNITS; at++)
        CHECK(sh_arch_state(0xC0000000u + at * UNIT) == (map[at] == 2 ? SH_RESERVED : SH_NONE));
    stop();
}

/* Every transition at random, against a model, with frames failing; the walker is asked after
 * each. */
struct range {
    uintptr_t base;
    size_t size;
    unsigned char state[RANGE_PAGES_MAX], fill[RANGE_PAGES_MAX];
};
static struct range ranges[RANGES];

static bool wrong_executable(bool executable)
{
    return executable && machine != SIM_2LEVEL && machine != SIM_PAE;
}

static void check_page(struct range *range, size_t i)
{
    uintptr_t at = range->base + i * PAGE;
    sh_paddr physical = 0;
    bool ready = range->state[i] == SH_READY;

    CHECK(sh_arch_state(at + draw(PAGE)) == (enum sh_state)range->state[i]);
    CHECK(sh_arch_port.physical(at + 5, &physical) == ready);
    for (unsigned directory = 0; directory < 2; directory++) {
        for (size_t part = 0; part < PAGE; part += 4096) {
            struct sim_walk walk = sim_walk(directory, at + part);

            CHECK(walk.present == ready);
            if (!ready)
                continue;
            CHECK(walk.physical == physical - 5 + part);
            CHECK(walk.writable && !walk.user && !walk.global);
            CHECK(!wrong_executable(walk.executable));
            for (unsigned k = 0; k < 4096; k += 1021)
                CHECK(sim_memory(walk.physical)[k] == range->fill[i]);
        }
    }
}

static void check_range(struct range *range)
{
    for (size_t i = 0; i < range->size / PAGE; i++)
        if (range->state[i] == SH_READY || draw(16) == 0)
            check_page(range, i);
}

static void fill_page(struct range *range, size_t i)
{
    sh_paddr physical;

    range->fill[i] = (unsigned char)(1 + draw(255));
    CHECK(sh_arch_port.physical(range->base + i * PAGE, &physical));
    memset(sim_memory(physical), range->fill[i], PAGE);
    sim_touch(range->base + i * PAGE);
}

static size_t count_bytes(enum sh_state state)
{
    size_t bytes = 0;

    for (unsigned r = 0; r < RANGES; r++)
        for (size_t i = 0; i < ranges[r].size / PAGE; i++)
            bytes += ranges[r].state[i] == (unsigned char)state ? PAGE : 0;
    return bytes;
}

static void do_commit(struct range *range, size_t first, size_t count)
{
    bool done;

    for (size_t i = first; i < first + count; i++)
        if (range->state[i] != SH_PREPARED && range->state[i] != SH_READY)
            return;
    done = sh_arch_commit(range->base + first * PAGE, count * PAGE);
    for (size_t i = first; done && i < first + count; i++) {
        if (range->state[i] == SH_READY)
            continue;
        range->state[i] = SH_READY;
        range->fill[i] = 0;
        check_page(range, i);
        fill_page(range, i);
    }
}

static void do_down(struct range *range, size_t first, size_t count, bool fault)
{
    for (size_t i = first; i < first + count; i++)
        if (range->state[i] != SH_PREPARED && range->state[i] != SH_READY)
            return;
    if (fault)
        sh_arch_fault(range->base + first * PAGE, count * PAGE);
    else
        sh_arch_decommit(range->base + first * PAGE, count * PAGE);
    memset(range->state + first, fault ? SH_FAULT : SH_PREPARED, count);
}

static void do_map(struct range *range, size_t first, size_t count)
{
    uintptr_t base = range->base + first * PAGE;
    size_t before = sh_arch_port.table_bytes(), cost = sh_arch_port.table_cost(base, count * PAGE);

    for (size_t i = first; i < first + count; i++)
        if (range->state[i] != SH_RESERVED)
            return;
    if (sh_arch_map(base, count * PAGE)) {
        memset(range->state + first, SH_PREPARED, count);
        CHECK(sh_arch_port.table_bytes() == before + cost);
    } else {
        CHECK(sh_arch_port.table_bytes() == before);
    }
}

static void new_range(struct range *range)
{
    size_t size = (1 + draw(draw(8) == 0 ? RANGE_PAGES_MAX : 40)) * PAGE;
    uintptr_t base = sh_arch_reserve(0xD0000000u + draw(4096) * PAGE, size, PAGE);

    if (base == 0)
        return;
    range->base = base;
    range->size = size;
    memset(range->state, SH_RESERVED, sizeof range->state);
}

static void random_step(void)
{
    struct range *range = &ranges[draw(RANGES)];
    size_t pages = range->size / PAGE, first, count;

    if (range->size == 0) {
        new_range(range);
        return;
    }
    first = draw((unsigned)pages);
    count = 1 + draw((unsigned)(pages - first));
    if (count > 80 && draw(4) != 0)
        count = 80;
    sim_fail_after = draw(3) == 0 ? (long)draw(12) : -1;
    switch (draw(12)) {
    case 0:
        sh_arch_release(range->base, range->size);
        range->size = 0;
        break;
    case 1:
        do_down(range, first, count < 4 ? count : 4, true);
        break;
    case 2: case 3: case 4:
        do_down(range, first, count, false);
        break;
    case 5: case 6: case 7:
        do_map(range, first, draw(2) ? pages - first : count);
        break;
    default:
        do_commit(range, first, count);
        break;
    }
    sim_fail_after = -1;
    CHECK(sim_all_published() && sim_directories_agree());
    if (range->size != 0)
        check_range(range);
    CHECK(sim_frames_out() == count_bytes(SH_READY) + sh_arch_port.table_bytes());
    CHECK(sim_panics == 0);
}

static void transitions_match_the_model(void)
{
    start();
    memset(ranges, 0, sizeof ranges);
    CHECK(sh_add_window(0xD0000000u, 0x1800000) == SH_OK);
    CHECK(sh_add_window(0xE0010000u, 0x3F0000) == SH_OK);
    CHECK(sh_add_window(0x10000000u, 0x300000) == SH_OK);
    CHECK(sh_add_window(0xFF800000u, 0x800000) == SH_OK);
    for (unsigned i = 0; i < 1500; i++)
        random_step();
    CHECK(sim_walk(1, 0xE0000000u).present);
    stop();
    CHECK(sim_walk(0, 0xE0000000u).present && sim_walk(1, 0xE0000000u).present);
    CHECK(!sim_walk(0, 0xD0000000u).present && !sim_walk(1, 0xD0000000u).present);
}

/* Whichever frame fails, nothing stays behind; and no flush is spent on it. */
static void failure_leaves_nothing(void)
{
    enum { SIZE = 6 << 20, TAKEN = 40 * PAGE };
    unsigned long flushes;
    uintptr_t base;
    long n;

    start();
    CHECK(sh_add_window(0xD0300000u, SIZE) == SH_OK);
    base = sh_arch_reserve(0, SIZE, PAGE);
    CHECK(base == 0xD0300000u);
    for (n = 0; sim_fail_after = n, !sh_arch_map(base, SIZE); n++) {
        CHECK(sim_frames_out() == 0 && sh_arch_port.table_bytes() == 0);
        CHECK(sh_arch_state(base) == SH_RESERVED && sim_announced != 0xFFFFFFFFu);
    }
    CHECK(n > 1 && sim_frames_out() == sh_arch_port.table_bytes());
    sim_fail_after = -1;
    CHECK(sh_arch_commit(base + 8 * PAGE, PAGE));
    flushes = sim_flushes + sim_shootdowns;
    for (n = 0; sim_fail_after = n, !sh_arch_commit(base, TAKEN); n++) {
        CHECK(sim_frames_out() == sh_arch_port.table_bytes() + PAGE);
        for (unsigned i = 0; i < 40; i++)
            CHECK(sh_arch_state(base + i * PAGE) == (i == 8 ? SH_READY : SH_PREPARED));
    }
    sim_fail_after = -1;
    CHECK(n == 39 && flushes == sim_flushes + sim_shootdowns);
    sh_arch_decommit(base, SIZE);
    CHECK(sim_flushes + sim_shootdowns == flushes + (ARCH_FLUSH_IS_GLOBAL ? 1 : 2));
    sh_arch_decommit(base, SIZE);
    CHECK(sim_flushes + sim_shootdowns == flushes + (ARCH_FLUSH_IS_GLOBAL ? 1 : 2));
    stop();
}

/* A commit of a page with a frame that is refused: nothing has changed, and the log says why. */
static void frame_is_refused(uintptr_t page, uint64_t frame, const char *why)
{
    size_t out = sim_frames_out();

    sim_last_log[0] = '\0';
    sim_give(frame);
    CHECK(!sh_arch_commit(page, PAGE));
    CHECK(strstr(sim_last_log, why) != NULL);
    CHECK(sim_frames_out() == out && sh_arch_state(page) == SH_PREPARED);
}

/* Frames that no entry can name are refused, and given back. */
static void frames_out_of_reach_are_refused(void)
{
    bool pae = machine == SIM_PAE || machine == SIM_PAE_NX;
    unsigned freed = sim_lies_freed;
    sh_paddr physical;
    uintptr_t base;

    start();
    CHECK(sh_add_window(0xD0000000u, 0x800000) == SH_OK);
    base = sh_arch_reserve(0, 0x800000, 0x400000);
    sim_give(0x80000800u);
    CHECK(!sh_arch_map(base, 0x400000) && strstr(sim_last_log, "frame 0x00000000:0x80000800 is misaligned"));
    sim_give((uint64_t)1 << (pae ? 52 : 32));
    CHECK(!sh_arch_map(base, 0x400000));
    CHECK(strstr(sim_last_log, pae ? "frame 0x00100000:0x00000000 is misaligned or out of reach"
                                   : "frame 0x00000001:0x00000000 is misaligned or out of reach"));
    CHECK(sh_arch_state(base) == SH_RESERVED && sim_frames_out() == 0);
    CHECK(sh_arch_map(base, 0x800000));
    frame_is_refused(base, 0x80000001u, "misaligned");
    frame_is_refused(base, 0x80000000u + PAGE / 2, "misaligned");
    frame_is_refused(base, (uint64_t)1 << (pae ? 63 : 32), "out of reach");
    CHECK(sim_lies_freed == freed + 5 && sh_arch_commit(base, 4 * PAGE));
    if (!pae && !direct && PAGE == 4096) { /* with 64 KiB the roots lie there */
        sim_give(0);
        CHECK(sh_arch_commit(base + 4 * PAGE, PAGE));
        CHECK(sh_arch_port.physical(base + 4 * PAGE, &physical) && physical == 0);
        CHECK(sim_walk(0, base + 4 * PAGE).present && sim_walk(0, base + 4 * PAGE).physical == 0);
    }
    CHECK(sh_arch_port.verify() == 0);
    stop();
}

/* Where the leaf table for an address lies: in a frame of ours. */
static uint64_t table_of(uintptr_t at)
{
    struct arch_entry entry = { .at = at };

    (void)arch_entry_find(&entry, ARCH_TO_LEAF);
    return entry.slot & ~(uint64_t)4095;
}

/* Given again while it is held: a table at once, as a page and as a table, also before the first is
 * installed. */
static void tables_are_not_given_twice(void)
{
    unsigned freed = sim_lies_freed;
    unsigned long allocs;
    uintptr_t base;
    uint64_t table;

    start();
    CHECK(sh_add_window(0xD0000000u, 0xC00000) == SH_OK);
    base = sh_arch_reserve(0, 0xC00000, 0x400000);
    CHECK(sh_arch_map(base, 0x400000) && sh_arch_commit(base, PAGE));
    table = table_of(base);
    frame_is_refused(base + PAGE, table & ~(uint64_t)(PAGE - 1), "a page table");
    sim_give(table);
    CHECK(!sh_arch_map(base + 0x400000, 0x400000) && strstr(sim_last_log, "a page table"));
    CHECK(sh_arch_state(base + 0x400000) == SH_RESERVED);
    sim_give(UINT64_MAX);
    sim_last_log[0] = '\0';
    allocs = sim_allocs;
    sim_repeat = 1;
    CHECK(!sh_arch_map(base + 0x400000, 0x800000) && strstr(sim_last_log, "a page table"));
    CHECK(sim_allocs > allocs + 1 && sim_lies_freed == freed);
    CHECK(sh_arch_map(base + 0x400000, 0x800000) && sh_arch_commit(base + PAGE, PAGE));
    CHECK(sh_arch_port.verify() == 0);
    stop();
}

/* A page's, by the next look at everything: far from each other, in one commit, and as a table. */
static void shared_frames_are_found(void)
{
    sh_paddr physical;
    uintptr_t base;

    start();
    CHECK(sh_add_window(0xD0000000u, 0xC00000) == SH_OK);
    base = sh_arch_reserve(0, 0xC00000, 0x400000);
    CHECK(sh_arch_map(base, 0x400000) && sh_arch_commit(base, 40 * PAGE));
    CHECK(sh_arch_port.verify() == 0);
    for (unsigned i = 0; i < 40; i += 13) {
        CHECK(sh_arch_port.physical(base + i * PAGE, &physical));
        sim_give(physical);
        CHECK(sh_arch_commit(base + 45 * PAGE, PAGE));
        CHECK(sh_arch_port.verify() == 1 && strstr(sim_last_log, "has another use too"));
        sh_arch_decommit(base + 45 * PAGE, PAGE);
        CHECK(sh_arch_port.verify() == 0);
    }
    CHECK(sh_arch_port.physical(base, &physical));
    if (PAGE == 4096) {
        sim_give(physical);
        CHECK(sh_arch_map(base + 0x400000, 0x400000));
        CHECK(sh_arch_port.verify() == 1 && strstr(sim_last_log, "has another use too"));
        sh_arch_decommit(base, PAGE);
        CHECK(sh_arch_port.verify() == 0);
    }
    stop();
}

/* One announcement a chunk, none for chunks whose tables are the kernel's. */
static void tables_are_announced_once_a_chunk(void)
{
    unsigned long before;
    uintptr_t base;

    start();
    before = sim_announced;
    CHECK(sh_add_window(0xD0000000u, 0xC00000) == SH_OK);
    base = sh_arch_reserve(0, 0xC00000, PAGE);
    for (size_t done = 0; done < 0xC00000; done += 0x40000)
        CHECK(sh_arch_map(base + done, 0x40000));
    CHECK(sim_announced == before + (machine == SIM_PAE || machine == SIM_PAE_NX ? 6 : 3));
    before = sim_announced;
    CHECK(sh_add_window(0xE0010000u, 0x10000) == SH_OK);
    base = sh_arch_reserve(0xE0010000u, 0x10000, PAGE);
    CHECK(base == 0xE0010000u && sh_arch_map(base, 0x10000));
    /* ARM: the other three tables of the chunk. */
    CHECK(sim_announced == before + (machine >= SIM_SHORT ? 1 : 0));
    stop();
}

static void detach_is_refused_while_the_kernel_is_in(void)
{
    uintptr_t base;
    size_t frames;

    start();
    CHECK(sh_add_window(0xD0000000u, 0x100000) == SH_OK);
    base = sh_arch_reserve(0, 0x100000, PAGE);
    CHECK(sh_arch_map(base, 0x100000) && sh_arch_commit(base, 0x80000));
    sim_kernel_map(0xD01FF000u, 0x80000000u, true);
    frames = sim_frames_out();
    CHECK(sh_arch_port.detach() == SH_E_BUSY);
    CHECK(sim_frames_out() == frames && sh_arch_port.windows() == 1);
    CHECK(sh_arch_state(base) == SH_READY);
    sim_kernel_map(0xD01FF000u, 0, false);
    stop();
}

/* A table of ours that the kernel took away, alone or beside an entry of its own in another one. */
static void detach_is_refused_while_a_table_is_gone(void)
{
    uint64_t table;
    uintptr_t base;

    start();
    CHECK(sh_add_window(0xD0000000u, 0xC00000) == SH_OK);
    base = sh_arch_reserve(0, 0x800000, PAGE);
    CHECK(base == 0xD0000000u && sh_arch_map(base, 0x800000));
    CHECK(sh_arch_reserve(base + 0x800000, PAGE, PAGE) != 0 && sh_arch_map(base + 0x800000, PAGE));
    table = sim_kernel_table(base, 0);
    CHECK(sh_arch_port.detach() == SH_E_BUSY);
    sim_kernel_map(base + 0x800000 + 2 * PAGE, 0x80000000u, true);
    CHECK(sh_arch_port.detach() == SH_E_BUSY);
    sim_kernel_table(base, table);
    CHECK(sh_arch_port.detach() == SH_E_BUSY);
    sim_kernel_map(base + 0x800000 + 2 * PAGE, 0, false);
    stop();
}

/* Two CPUs commit ranges that overlap, sometimes out of frames; and map neighbours in one chunk. */
static uintptr_t race_base;
static bool race_done[2];

static void commit_lower(void)
{
    race_done[0] = sh_arch_commit(race_base, 10 * PAGE);
}

static void commit_upper(void)
{
    race_done[1] = sh_arch_commit(race_base + 4 * PAGE, 12 * PAGE);
}

static void map_lower(void)
{
    race_done[0] = sh_arch_map(race_base, 16 * PAGE);
    CHECK(!race_done[0] || sh_arch_commit(race_base, PAGE));
    if (race_done[0])
        sim_touch(race_base);
}

static void map_upper(void)
{
    race_done[1] = sh_arch_map(race_base + 16 * PAGE, 16 * PAGE);
    CHECK(!race_done[1] || sh_arch_commit(race_base + 16 * PAGE, PAGE));
    if (race_done[1])
        sim_touch(race_base + 16 * PAGE);
}

static void check_race(unsigned first, unsigned end, bool ready)
{
    for (unsigned i = first; i < end; i++)
        CHECK(sh_arch_state(race_base + i * PAGE) == (ready ? SH_READY : SH_PREPARED));
}

static void cpus_may_commit_the_same_pages(unsigned seed)
{
    start();
    CHECK(sh_add_window(0xD0000000u, 0x400000) == SH_OK);
    race_base = sh_arch_reserve(0, 32 * PAGE, PAGE);
    sim_race(map_lower, map_upper, seed);
    CHECK(race_done[0] && race_done[1]);
    CHECK(sim_frames_out() == sh_arch_port.table_bytes() + 2 * PAGE);
    sh_arch_decommit(race_base, 32 * PAGE);
    sim_fail_after = seed % 3 == 0 ? (long)(seed / 3 % 24) : -1;
    sim_race(commit_lower, commit_upper, seed);
    sim_fail_after = -1;
    CHECK(seed % 3 == 0 || (race_done[0] && race_done[1]));
    check_race(0, 4, race_done[0]);
    check_race(4, 10, race_done[0] || race_done[1]);
    check_race(10, 16, race_done[1]);
    stop();
}

static void commits_may_race(void)
{
    for (unsigned seed = 1; seed < 600; seed++)
        cpus_may_commit_the_same_pages(seed);
}

static unsigned passed;
static bool only_direct; /* a scratch page is a system call each time it is held: most of a run */

static void run_all(enum sim_machine with, bool direct_map)
{
    static void (*const tests[])(void) = {
        windows_are_refused_by_name, lines_are_ended_and_cut, detach_forgets_the_hooks,
        windows_are_counted, edges_are_counted, a_window_needs_two_edges, mode_is_refused,
        neighbours_of_a_large_page, tables_go_back_after_a_flush, one_cpu_needs_no_shootdown,
        a_released_range_is_free_last, wrong_release_is_corruption, foreign_entries_are_corruption,
        wrong_frames_are_given_back, wrong_reservations_are_refused, windows_come_in_any_order,
        edges_match_a_map, transitions_match_the_model, failure_leaves_nothing,
        frames_out_of_reach_are_refused, tables_are_not_given_twice, shared_frames_are_found,
        tables_are_announced_once_a_chunk,
        detach_is_refused_while_the_kernel_is_in, detach_is_refused_while_a_table_is_gone, commits_may_race
    };

    if (only_direct && !direct_map)
        return;
    machine = with;
    direct = direct_map;
    printf("machine %d, %s\n", (int)with, direct_map ? "direct map" : "scratch page");
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++, passed++)
        tests[i]();
}

int main(int count, char **words)
{
    only_direct = count > 2 && strcmp(words[2], "direct") == 0;
    state_of_random = count > 1 ? (unsigned)strtoul(words[1], NULL, 0) : 1;
#ifdef SIM_ARM
    run_all(SIM_SHORT, true);
    run_all(SIM_SHORT_SPLIT, false);
#else
    run_all(SIM_2LEVEL, true);
    run_all(SIM_2LEVEL, false);
    run_all(SIM_PAE, false);
    run_all(SIM_PAE_NX, true);
#endif
    printf("waits %lu, shootdowns %lu, announcements %lu\n", sim_pauses, sim_shootdowns, sim_announced);
    printf("simulated: %u passed, 0 failed\n", passed);
    return 0;
}
