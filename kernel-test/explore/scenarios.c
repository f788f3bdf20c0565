/*
 * Scenarios of growth, of page runs and of large objects.
 *
 * What runs at once is named after its part; results lie in `seen`, which is part of the state.
 */
#include "kernel-test/explore/explore.h"

#include "mm/arena.h"
#include "mm/heap.h"
#include "mm/mm.h"
#include "mm/report.h"

static struct {
    void *got[FIBERS_MAX][4];
    void *kept[16];
} seen STATE;

static void sound(void)
{
    if (sh_verify() != 0) {
        violated("sh_verify: %s", port_last_words());
    }
}

/* No two objects meet, and each is found. */
static void apart(size_t size)
{
    for (unsigned i = 0; i < FIBERS_MAX * 4; i++) {
        char *a = seen.got[i / 4][i % 4];
        if (a != NULL && !sh_object_of(a, NULL)) {
            violated("object %p is not found", (void *)a);
        }
        for (unsigned j = 0; j < i; j++) {
            char *b = seen.got[j / 4][j % 4];
            if (a != NULL && b != NULL && a < b + size && b < a + size) {
                violated("two objects meet: %p and %p", (void *)a, (void *)b);
            }
        }
    }
}

/* ---- growth and queries ---- */

/* Any address that will be the heap's, sooner or later. */
static void query(void)
{
    for (unsigned page = 2; page < 5; page++) {
        const void *p = (const void *)(HEAP_BASE + ((uintptr_t)page << 12) + 64);
        sh_contains(p);
        sh_object_of(p, NULL);
    }
}

static void grow_first(void)
{
    seen.got[0][0] = sh_alloc_pages(1);
    if (seen.got[0][0] == NULL) {
        violated("growth failed");
    }
}

static void grow_second(void)
{
    seen.got[1][0] = sh_alloc_pages(1);
    if (seen.got[1][0] == NULL) {
        violated("growth failed");
    }
}

static void set_up_nothing(void)
{
    port_window(0, 64);
    port_init(2, false);
}

static void check_pages(void)
{
    sound();
    apart(4096);
}

/* All that the windows so far can give is taken. */
static void use_up(void)
{
    for (unsigned i = 0; i < 16 && (i == 0 || seen.kept[i - 1] != NULL); i++) {
        seen.kept[i] = sh_alloc_pages(1);
    }
}

/* The next window lies in another arena. */
static void set_up_next_arena(void)
{
    port_window(0, 12);
    port_init(2, false);
    use_up();
    port_window(64, 32);
}

/* It begins in an arena and ends in the next. */
static void set_up_across(void)
{
    port_window(0, 12);
    port_init(2, false);
    use_up();
    port_window(62, 8);
}

static void query_next_arena(void)
{
    for (unsigned page = 64; page < 67; page++) {
        const void *p = (const void *)(HEAP_BASE + ((uintptr_t)page << 12) + 64);
        sh_contains(p);
        sh_object_of(p, NULL);
    }
}

static void grow_four(void)
{
    seen.got[0][0] = sh_alloc_pages(4);
    if (seen.got[0][0] == NULL) {
        violated("growth failed");
    }
}

/* ---- between: the bounds are there already, the record comes now ---- */

static void set_up_between(void)
{
    port_window(0, 12);
    port_window(128, 4);
    port_init(2, false);
    use_up();
    port_window(64, 32);
}

/* ---- the bounds ---- */

/* As the marker looks at a word that may be a pointer: in the bounds, so there is a record. */
static void look_at_bounds(void)
{
    for (unsigned page = 62; page < 67; page++) {
        uintptr_t address = HEAP_BASE + ((uintptr_t)page << 12);
        if (mm_arena_in_bounds(address) && mm_arena_of(address) == &mm_arena_dummy) {
            violated("%#lx is in the bounds and has no record", (unsigned long)address);
        }
    }
}

/* ---- page runs ---- */

static void set_up_run(void)
{
    port_window(0, 64);
    port_init(2, false);
    seen.kept[0] = sh_alloc_pages(1);
}

static void free_run(void)
{
    sh_free_pages(seen.kept[0]);
}

/* ---- large objects ---- */

static void set_up_large(void)
{
    port_window(0, 64);
    port_init(2, false);
    seen.kept[0] = sh_malloc(40000);
    sh_free(sh_malloc(5000));
}

static void free_large(void)
{
    sh_free(seen.kept[0]);
}

static void malloc_large(void)
{
    seen.got[1][0] = sh_malloc(40000);
    if (seen.got[1][0] == NULL) {
        violated("no memory");
    }
}

static void check_large(void)
{
    sound();
    apart(40000);
}

static void set_up_double_large(void)
{
    set_up_large();
    port_expect_misuse();
}

static void check_double_large(void)
{
    sound();
    if (port_misuses() != 1) {
        violated("%u misuses told, not 1", port_misuses());
    }
}

/* ---- large objects whose runs are kept ---- */

#define KEPT_SIZE 33000

/* All that is left is a run that CPU 0 keeps. */
static void set_up_kept(void)
{
    port_window(0, 24);
    port_init(2, false);
    seen.kept[0] = sh_malloc(KEPT_SIZE);
    while (sh_alloc_pages(1) != NULL) {
    }
    sh_free(seen.kept[0]);
}

static void take_kept(void)
{
    seen.got[0][0] = sh_malloc(KEPT_SIZE);
}

static void take_what_is_kept(void)
{
    seen.got[1][0] = sh_malloc(KEPT_SIZE);
}

static void check_kept(void)
{
    sound();
    if ((seen.got[0][0] == NULL) == (seen.got[1][0] == NULL)) {
        violated("there was one run, and %s got it", seen.got[0][0] == NULL ? "nobody" : "both");
    }
}

static void set_up_to_keep(void)
{
    port_window(0, 64);
    port_init(2, false);
    seen.kept[0] = sh_malloc(KEPT_SIZE);
}

static void set_up_double_kept(void)
{
    set_up_to_keep();
    port_expect_misuse();
}

static void check_taken(void)
{
    sound();
    apart(KEPT_SIZE);
    if (seen.got[1][0] == NULL) {
        violated("no memory");
    }
}

/* ---- frames that come and go ---- */

/* Idle pages, a kept run, an empty span. */
static void set_up_idle(void)
{
    set_up_large();
    sh_free(sh_malloc(KEPT_SIZE));
    seen.kept[1] = sh_alloc_pages(2);
    sh_free_pages(seen.kept[1]);
    sh_free(sh_malloc(1024));
}

static void trim(void)
{
    sh_trim(0);
}

static void allocate_two(void)
{
    seen.got[1][0] = sh_alloc_pages(2);
    seen.got[1][1] = sh_malloc(1024);
    if (seen.got[1][0] == NULL || seen.got[1][1] == NULL) {
        violated("no memory");
    }
    /* Both are there: no frame was taken from under them. */
    for (unsigned i = 0; i < 2; i++) {
        if (*(volatile char *)seen.got[1][i] != 0) {
            *(volatile char *)seen.got[1][i] = 0;
        }
    }
}

static void check_two(void)
{
    sound();
    apart(1024);
}

/* Two frames left: both may take them, or one may be told that there are none. */
static void set_up_frames(void)
{
    set_up_large();
    sh_free_pages(sh_alloc_pages(4));
    sh_trim(0);
    port_frames(2);
}

static void take_frames_first(void)
{
    seen.got[0][0] = sh_alloc_pages(2);
}

static void take_frames_second(void)
{
    seen.got[1][0] = sh_alloc_pages(1);
}

static void check_frames(void)
{
    sound();
    if (seen.got[0][0] == NULL && seen.got[1][0] == NULL) {
        violated("there were two frames, and nobody got one");
    }
}

/* Less than is held: what is idle goes, or the limit is refused. */
static void set_limit(void)
{
    sh_set_limit((size_t)18 << 12);
}

static void allocate_perhaps(void)
{
    seen.got[1][0] = sh_alloc_pages(2);
    seen.got[1][1] = sh_malloc(1024);
}

const struct scenario scenarios_pages[] = {
    { .name = "grow-query",
      .setup = set_up_nothing,
      .fiber = { { grow_first, 0, false }, { query, 1, false } },
      .check = check_pages },
    { .name = "grow-grow",
      .setup = set_up_nothing,
      .fiber = { { grow_first, 0, false }, { grow_second, 1, false } },
      .check = check_pages,
      .slow = true },
    { .name = "grow-next-arena-query",
      .setup = set_up_next_arena,
      .fiber = { { grow_four, 0, false }, { query_next_arena, 1, false } },
      .check = check_pages },
    { .name = "grow-across-query",
      .setup = set_up_across,
      .fiber = { { grow_four, 0, false }, { query_next_arena, 1, false } },
      .check = check_pages },
    { .name = "grow-between-query",
      .setup = set_up_between,
      .fiber = { { grow_four, 0, false }, { query_next_arena, 1, false } },
      .check = check_pages },
    { .name = "bounds-mark",
      .setup = set_up_across,
      .fiber = { { grow_four, 0, false }, { look_at_bounds, 1, false } },
      .check = check_pages },
    { .name = "pages-free-reuse",
      .setup = set_up_run,
      .fiber = { { free_run, 0, false }, { grow_second, 1, false } },
      .check = check_pages },
    { .name = "large-free-reuse",
      .setup = set_up_large,
      .fiber = { { free_large, 0, false }, { malloc_large, 1, false } },
      .check = check_large },
    { .name = "large-double-free",
      .setup = set_up_double_large,
      .fiber = { { free_large, 0, false }, { free_large, 1, false } },
      .check = check_double_large },
    { .name = "kept-needed-elsewhere",
      .setup = set_up_kept,
      .fiber = { { take_kept, 0, false }, { take_what_is_kept, 1, false } },
      .check = check_kept },
    { .name = "kept-free-reuse",
      .setup = set_up_to_keep,
      .fiber = { { free_large, 0, false }, { take_what_is_kept, 1, false } },
      .check = check_taken },
    { .name = "kept-double-free",
      .setup = set_up_double_kept,
      .fiber = { { free_large, 0, false }, { free_large, 1, false } },
      .check = check_double_large },
    { .name = "kept-trim",
      .setup = set_up_to_keep,
      .fiber = { { free_large, 0, false }, { trim, 1, false } },
      .check = sound },
    { .name = "trim-allocate",
      .setup = set_up_idle,
      .fiber = { { trim, 0, false }, { allocate_two, 1, false } },
      .check = check_two },
    { .name = "trim-trim",
      .setup = set_up_idle,
      .fiber = { { trim, 0, false }, { trim, 1, false } },
      .check = check_two },
    { .name = "trim-free",
      .setup = set_up_idle,
      .fiber = { { trim, 0, false }, { free_large, 1, false } },
      .check = sound },
    { .name = "limit-allocate",
      .setup = set_up_idle,
      .fiber = { { set_limit, 0, false }, { allocate_perhaps, 1, false } },
      .check = check_two },
    { .name = "last-frames",
      .setup = set_up_frames,
      .fiber = { { take_frames_first, 0, false }, { take_frames_second, 1, false } },
      .check = check_frames },
    { .name = NULL }
};

const char explorer_prefix[] = "";
const struct scenario *const scenario_lists[] = {
    scenarios_pages,
    scenarios_remote,
    scenarios_interrupt,
    scenarios_tiers,
#ifndef WITHOUT_GC
    scenarios_gc,
#endif
    NULL
};
