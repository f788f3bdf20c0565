/*
 * Scenarios of page tables: the real walker, windows and tables, and CPUs that use what they say.
 */
#include "kernel-test/explore/tables/machine.h"

#define PAGE ((size_t)4096)
#define AT(page) (base + (uintptr_t)(page) * PAGE)

static uintptr_t base STATE = 0;
static uint32_t committed[FIBERS_MAX] STATE = { 0 };
static uintptr_t reserved[FIBERS_MAX] STATE = { 0 };

static void reserve(unsigned cpus)
{
    machine_start(cpus);
    base = sh_arch_reserve(0, 16 * PAGE, PAGE);
    if (base == 0) {
        violated("no address space");
    }
}

static void set_up_reserved(void)
{
    reserve(2);
}

static void set_up_mapped(void)
{
    reserve(2);
    sh_arch_map(base, 8 * PAGE);
}

/* Page 0 is there, and CPU 1 has used it. */
static void set_up_used(void)
{
    set_up_mapped();
    sh_arch_commit(AT(0), PAGE);
}

static void set_up_one_frame(void)
{
    set_up_mapped();
    machine_frames(1);
}

/* ---- what runs ---- */

static void must_be(unsigned page, uint32_t wanted)
{
    uint32_t value = 0;
    if (!machine_touch(AT(page), false, &value)) {
        violated("page %u is not there", page);
    }
    if (value != wanted) {
        violated("page %u reads %#x", page, value);
    }
}

static void write(unsigned page, uint32_t value)
{
    if (!machine_touch(AT(page), true, &value)) {
        violated("page %u is not there", page);
    }
}

/* The frame goes from page 0 to page 1, and is this CPU's there. */
static void move_frame(void)
{
    sh_arch_decommit(AT(0), PAGE);
    if (!sh_arch_commit(AT(1), PAGE)) {
        violated("no frame");
    }
    must_be(1, 0);
    write(1, 1);
    must_be(1, 1);
}

static void fault_frame(void)
{
    sh_arch_fault(AT(0), PAGE);
    if (!sh_arch_commit(AT(1), PAGE)) {
        violated("no frame");
    }
    must_be(1, 0);
    write(1, 1);
    must_be(1, 1);
}

/* Whoever still uses page 0 writes there until it faults. */
static void use_page(void)
{
    uint32_t value = 77;
    for (unsigned i = 0; i < 3; i++) {
        machine_touch(AT(0), true, &value);
    }
}

static void map_low(void)
{
    if (!sh_arch_map(AT(0), 4 * PAGE) || !sh_arch_commit(AT(0), PAGE)) {
        violated("map or commit failed");
    }
    must_be(0, 0);
}

static void map_high(void)
{
    if (!sh_arch_map(AT(4), 4 * PAGE) || !sh_arch_commit(AT(4), PAGE)) {
        violated("map or commit failed");
    }
    must_be(4, 0);
}

static void commit_both(void)
{
    committed[fiber_now] = sh_arch_commit(AT(0), 2 * PAGE);
    if (committed[fiber_now]) {
        must_be(0, 0);
        must_be(1, 0);
    }
}

static void commit_second(void)
{
    committed[fiber_now] = sh_arch_commit(AT(1), PAGE);
    if (committed[fiber_now]) {
        must_be(1, 0);
    }
}

static void decommit_first(void)
{
    sh_arch_decommit(AT(0), PAGE);
}

static void look(void)
{
    for (unsigned i = 0; i < 2; i++) {
        enum sh_state state = sh_arch_state(AT(0));
        sh_paddr frame;
        bool there = sh_arch_port.physical(AT(0), &frame);
        if ((state != SH_PREPARED && state != SH_READY) || (there && frame == 0)) {
            violated("state %u", (unsigned)state);
        }
    }
    if (sh_arch_state(AT(20)) != SH_NONE) {
        violated("an address that nobody reserved has a state");
    }
}

static void reserve_and_release(void)
{
    uintptr_t range = sh_arch_reserve(AT(32), 2 * PAGE, PAGE);
    if (range == 0) {
        violated("no address space");
    }
    sh_arch_release(range, 2 * PAGE);
    reserved[fiber_now] = sh_arch_reserve(0, PAGE, PAGE);
}

static void add_window(void)
{
    if (sh_add_window(WINDOW + WINDOW_SIZE, 4 << 20) != SH_OK) {
        violated("no window");
    }
}

/* ---- what must hold after ---- */

static void whole(unsigned pages)
{
    unsigned tables = (unsigned)(sh_arch_port.table_bytes() / PAGE);
    if (sh_arch_port.verify() != 0) {
        violated("verify: %s", port_last_words());
    }
    if (!machine_directories_agree()) {
        violated("a directory does not know of a table");
    }
    /* Two CPUs may fill the four tables of a chunk from two frames. */
    if (tables == 0 || tables > (SIM_IS_ARM ? 2 : 1) || machine_frames_out() != pages + tables) {
        violated("%u tables, %u frames out", tables, machine_frames_out());
    }
}

static void check_1(void)
{
    whole(1);
}

static void check_2(void)
{
    whole(2);
}

static void check_0(void)
{
    whole(0);
}

/* One frame for two pages: who wanted both has neither. */
static void check_one_frame(void)
{
    if (committed[0] || (committed[1] && sh_arch_state(AT(1)) != SH_READY)) {
        violated("committed without a frame");
    }
    whole(committed[1]);
}

static void check_reserved(void)
{
    if (reserved[0] == 0 || reserved[1] == 0 || reserved[0] == reserved[1] ||
        sh_arch_state(base) == SH_NONE) {
        violated("%#lx and %#lx were reserved", (unsigned long)reserved[0], (unsigned long)reserved[1]);
    }
    whole(0);
}

#define TWO(what, before, first, second, after) \
    { .name = what, .setup = before, .fiber = { { first, 0, false }, { second, 1, false } }, .check = after }

static const struct scenario scenarios_tables[] = {
    TWO("decommit-access", set_up_used, move_frame, use_page, check_1),
    TWO("fault-access", set_up_used, fault_frame, use_page, check_1),
    TWO("map-map", set_up_reserved, map_low, map_high, check_2),
    TWO("commit-commit", set_up_mapped, commit_both, commit_second, check_2),
    TWO("commit-commit-one-frame", set_up_one_frame, commit_both, commit_second, check_one_frame),
    TWO("commit-look", set_up_mapped, commit_both, look, check_2),
    TWO("decommit-look", set_up_used, decommit_first, look, check_0),
    TWO("decommit-commit", set_up_used, decommit_first, commit_second, check_1),
    TWO("reserve-reserve", set_up_mapped, reserve_and_release, reserve_and_release, check_reserved),
    TWO("reserve-look", set_up_used, reserve_and_release, look, check_1),
    TWO("window-map", set_up_reserved, add_window, map_high, check_1),
    { .name = NULL }
};

const char explorer_prefix[] = MACHINE_NAME;
const struct scenario *const scenario_lists[] = { scenarios_tables, NULL };
