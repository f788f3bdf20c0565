/*
 * Scenarios of small objects that are freed on another CPU than they came from, and of spans that change
 * hands.  CPU 0 owns what set_up makes; a span has four slots of 1024 bytes.
 */
#include "kernel-test/explore/explore.h"

#include "mm/mm.h"
#include "mm/remote.h"

enum { SLOTS = 4, SPANS = 4, SIZE = 1024 };

static struct {
    char *kept[SPANS][SLOTS]; /* by span */
    void *got[FIBERS_MAX];
} seen STATE;

/* When what was freed has arrived: so many objects live, so many misuses told. */
static void settled(size_t live, unsigned misuses)
{
    for (unsigned i = 0; i < FIBERS_MAX; i++) {
        for (unsigned j = 0; j < i; j++) {
            if (seen.got[i] != NULL && seen.got[i] == seen.got[j]) {
                violated("%p was given twice", seen.got[i]);
            }
        }
    }
    /* Of two frees of one slot both bits may stand until the owner has looked. */
    if (misuses == 0 && sh_verify() != 0) {
        violated("sh_verify: %s", port_last_words());
    }
    sh_trim(0);
    /* The next slow path tells of what was freed twice. */
    void *p[2 * SLOTS];
    for (unsigned i = 0; i < 2 * SLOTS; i++) {
        p[i] = sh_malloc(SIZE);
    }
    for (unsigned i = 0; i < 2 * SLOTS; i++) {
        sh_free(p[i]);
    }
    sh_trim(0);
    if (sh_verify() != 0) {
        violated("sh_verify after a trim: %s", port_last_words());
    }
    struct sh_stats stats;
    sh_stats(&stats);
    if (port_misuses() != misuses) {
        violated("%u misuses told, not %u", port_misuses(), misuses);
    }
    if (stats.live_objects != live) {
        violated("%zu objects live, not %zu", stats.live_objects, live);
    }
}

static void all_lived(void)
{
    for (unsigned i = 0; i < FIBERS_MAX; i++) {
        if (seen.got[i] != NULL && !sh_object_of(seen.got[i], NULL)) {
            violated("object %p is not found", seen.got[i]);
        }
    }
}

/* So many full spans of CPU 0. */
static void set_up(unsigned cpus, unsigned spans)
{
    port_window(0, 64);
    port_init(cpus, false);
    for (unsigned i = 0; i < spans * SLOTS; i++) {
        seen.kept[i / SLOTS][i % SLOTS] = sh_malloc(SIZE);
    }
}

static void set_up_full(void)
{
    set_up(2, 1);
}

static void set_up_full_3(void)
{
    set_up(3, 1);
}

/* Half of the only span is free. */
static void set_up_half_3(void)
{
    set_up(3, 1);
    sh_free(seen.kept[0][0]);
    sh_free(seen.kept[0][1]);
}

/* One object left in the only span. */
static void set_up_last(void)
{
    set_up(2, 1);
    for (unsigned i = 1; i < SLOTS; i++) {
        sh_free(seen.kept[0][i]);
    }
}

/* Three spans, one of them queued: there is no room for another one in the queue. */
static void set_up_queue(void)
{
    set_up(2, 3);
    sh_free(seen.kept[1][0]);
}

/* A span in central, with two of its slots free. */
static void set_up_central(void)
{
    set_up_half_3();
    sh_cpu_offline(0);
}

/* A full span that nobody owns. */
static void set_up_ownerless(void)
{
    set_up(3, 1);
    sh_cpu_offline(0);
}

static void set_up_double(void)
{
    set_up(2, 1);
    port_expect_misuse();
}

static void set_up_double_3(void)
{
    set_up(3, 1);
    port_expect_misuse();
}

/* ---- what runs ---- */

static void take(void)
{
    seen.got[fiber_now] = sh_malloc(SIZE);
    if (seen.got[fiber_now] == NULL) {
        violated("no memory");
    }
}

static void free_0(void)
{
    sh_free(seen.kept[0][0]);
}

static void free_1(void)
{
    sh_free(seen.kept[0][1]);
}

static void free_2(void)
{
    sh_free(seen.kept[0][2]);
}

static void free_3(void)
{
    sh_free(seen.kept[0][3]);
}

static void free_0_take(void)
{
    sh_free(seen.kept[0][0]);
    take();
}

static void free_half(void)
{
    sh_free(seen.kept[0][0]);
    sh_free(seen.kept[0][1]);
}

static void free_other_half(void)
{
    sh_free(seen.kept[0][2]);
    sh_free(seen.kept[0][3]);
}

static void go_offline(void)
{
    sh_cpu_offline(0);
}

static void trim(void)
{
    sh_trim(0);
}

/* ---- what must hold after ---- */

static void check_0(void)
{
    all_lived();
    settled(0, 0);
}

static void check_1(void)
{
    all_lived();
    settled(1, 0);
}

static void check_2(void)
{
    all_lived();
    settled(2, 0);
}

static void check_3(void)
{
    all_lived();
    settled(3, 0);
}

static void check_4(void)
{
    all_lived();
    settled(4, 0);
}

/* CPU 0 is gone: nobody looks at its list, and what was freed is free all the same. */
static void gone(size_t live)
{
    port_be(1);
    settled(live, 0);
    if (mm_remote_waiting(&mm_cpu[0])) {
        violated("a CPU that is gone has late frees on its list");
    }
    uintptr_t at = 0;
    const struct mm_span *span;
    do {
        span = mm_span_next(&at);
        if (span != NULL && mm_span_state(span) == MM_SPAN_SMALL && mm_remote_late(span) != 0) {
            violated("%u late frees of the span at %p are not free", mm_remote_late(span),
                     (void *)span->base);
        }
    } while (span != NULL && at != 0);
}

static void check_gone_2(void)
{
    gone(2);
}

static void check_gone_3(void)
{
    gone(3);
}

static void check_queue(void)
{
    settled(3 * SLOTS - 4, 0);
}

static void check_double(void)
{
    settled(3, 1);
}

#define TWO(what, before, first, second, after) \
    { .name = what, .setup = before, .fiber = { { first, 0, false }, { second, 1, false } }, .check = after }
#define THREE(what, before, first, second, third, after)                                       \
    { .name = what, .setup = before,                                                           \
      .fiber = { { first, 0, false }, { second, 1, false }, { third, 2, false } }, .check = after }

const struct scenario scenarios_remote[] = {
    TWO("remote-free-refill", set_up_full, take, free_0, check_4),
    TWO("remote-free-last-refill", set_up_last, take, free_0, check_1),
    TWO("remote-free-local-free", set_up_full, free_0, free_1, check_2),
    TWO("remote-all-local-all", set_up_full, free_half, free_other_half, check_0),
    TWO("remote-free-trim", set_up_last, trim, free_0, check_0),
    TWO("remote-free-offline", set_up_full, go_offline, free_0, check_gone_3),
    TWO("remote-free-queue-overflow", set_up_queue, free_0, free_other_half, check_queue),
    { .name = "remote-remote", .setup = set_up_full_3,
      .fiber = { { free_0, 1, false }, { free_1, 2, false } }, .check = check_2 },
    THREE("remote-remote-refill", set_up_full_3, take, free_0, free_1, check_3),
    THREE("remote-remote-offline", set_up_full_3, go_offline, free_0, free_1, check_gone_2),
    THREE("remote-free-offline-take", set_up_half_3, go_offline, take, free_2, check_gone_2),
    { .name = "central-take-free", .setup = set_up_central,
      .fiber = { { take, 1, false }, { free_2, 2, false } }, .check = check_2 },
    { .name = "central-take-last-free", .setup = set_up_central,
      .fiber = { { take, 1, false }, { free_other_half, 2, false } }, .check = check_1 },
    { .name = "central-take-take", .setup = set_up_central,
      .fiber = { { take, 1, false }, { take, 2, false } }, .check = check_4 },
    { .name = "ownerless-free-free", .setup = set_up_ownerless,
      .fiber = { { free_2, 1, false }, { free_3, 2, false } }, .check = check_2 },
    { .name = "ownerless-free-take", .setup = set_up_ownerless,
      .fiber = { { free_0_take, 1, false }, { free_other_half, 2, false } }, .check = check_2 },
    TWO("double-local-remote", set_up_double, free_0, free_0, check_double),
    { .name = "double-remote-remote", .setup = set_up_double_3,
      .fiber = { { free_0, 1, false }, { free_0, 2, false } }, .check = check_double },
    { .name = "remote-free-interrupted", .setup = set_up_full,
      .fiber = { { take, 0, false }, { free_0, 1, false }, { free_1, 1, true } }, .check = check_3 },
    { .name = NULL }
};
