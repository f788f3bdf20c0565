/*
 * Scenarios of guarded heaps, of samples between guard pages, and of demand mode.
 */
#include "kernel-test/explore/explore.h"

#include "mm/mm.h"

enum { SIZE = 1000, KEPT = 4 };

static struct {
    char *kept[KEPT], *got[FIBERS_MAX];
} seen STATE;

static void start(unsigned tier, size_t sample, bool demand)
{
    struct sh_config config = { .cpus = 2, .tier = tier, .guard_sample = sample, .demand = demand };
    port_window(0, 200);
    port_init_as(&config, false);
    for (unsigned i = 0; i < KEPT; i++) {
        seen.kept[i] = sh_malloc(SIZE);
    }
}

static void set_up_tier1(void)
{
    start(1, 0, false);
}

static void set_up_tier2(void)
{
    start(2, 0, false);
}

static void set_up_tier3(void)
{
    start(3, 2, false);
}

static void set_up_tier4(void)
{
    start(4, 0, false);
}

static void set_up_sampled(void)
{
    start(0, 1, false);
}

static void set_up_double(void)
{
    start(2, 0, false);
    port_expect_misuse();
}

static void set_up_demand(void)
{
    start(0, 0, true);
    seen.got[0] = sh_malloc(3 * 4096);
}

/* ---- what runs ---- */

static void swap_0(void)
{
    sh_free(seen.kept[0]);
    seen.got[0] = sh_malloc(SIZE);
}

static void swap_1(void)
{
    sh_free(seen.kept[1]);
    seen.got[1] = sh_malloc(SIZE);
}

static void free_0(void)
{
    sh_free(seen.kept[0]);
}

static void touch(void)
{
    for (unsigned page = 0; page < 2; page++) {
        if (!sh_handle_fault((uintptr_t)seen.got[0] + page * 4096, true, false)) {
            violated("a fault was not mended");
        }
        *(volatile char *)(seen.got[0] + page * 4096) = 1;
    }
}

static void trim(void)
{
    sh_trim(0);
}

/* ---- what must hold after ---- */

static void check(void)
{
    if (sh_verify() != 0) {
        violated("sh_verify: %s", port_last_words());
    }
    if (seen.got[0] == NULL || seen.got[1] == NULL || seen.got[0] == seen.got[1] ||
        !sh_object_of(seen.got[0], NULL) || !sh_object_of(seen.got[1], NULL)) {
        violated("objects %p and %p", (void *)seen.got[0], (void *)seen.got[1]);
    }
}

static void check_sound(void)
{
    if (sh_verify() != 0) {
        violated("sh_verify: %s", port_last_words());
    }
}

static void check_double(void)
{
    check_sound();
    if (port_misuses() != 1) {
        violated("%u misuses told, not 1", port_misuses());
    }
}

#define TWO(what, before, first, second, after) \
    { .name = what, .setup = before, .fiber = { { first, 0, false }, { second, 1, false } }, .check = after }

const struct scenario scenarios_tiers[] = {
    TWO("tier1-free-malloc", set_up_tier1, swap_0, swap_1, check),
    TWO("tier2-free-malloc", set_up_tier2, swap_0, swap_1, check),
    TWO("tier2-double-free", set_up_double, free_0, free_0, check_double),
    TWO("tier3-free-malloc", set_up_tier3, swap_0, swap_1, check),
    TWO("tier3-free-trim", set_up_tier3, trim, swap_1, check_sound),
    { .name = "tier4-free-malloc", .setup = set_up_tier4,
      .fiber = { { swap_0, 0, false }, { swap_1, 1, false } }, .check = check, .slow = true },
    TWO("sampled-free-malloc", set_up_sampled, swap_0, swap_1, check),
    TWO("demand-fault-fault", set_up_demand, touch, touch, check_sound),
    TWO("demand-fault-trim", set_up_demand, touch, trim, check_sound),
    { .name = NULL }
};
