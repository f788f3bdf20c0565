/*
 * Proves R7: whichever fallible call under the heap fails, for the n-th time, for every n, once or
 * from then on, the caller gets NULL or an error, the heap verifies, live objects keep their
 * bytes, no frame is lost, and the same call works as soon as the machine does.
 */
#include "kernel-test/test_util.h"

#define LIVE 40u
#define MOST_TAKEN 600u

struct scenario {
    const char *name;
    size_t window;       /* bytes donated before sh_init; 0 = none */
    bool demand;
    size_t needs;        /* memory; a smaller machine leaves the scenario out */
    void (*prepare)(void);
    bool (*act)(void);   /* false = refused, and then nothing of it remains */
};

static struct t_block live[LIVE];
static void *taken[MOST_TAKEN];
static struct t_block subject;

static uintptr_t area(void)
{
    size_t size;

    return rig_area(&size);
}

static bool keep(void *p)
{
    taken[0] = p;
    return p != NULL;
}

/* ---- scenarios: what is prepared, what is tried ---- */

static void nothing(void)
{
}

static void warm(void)
{
    for (unsigned i = 0; i < LIVE; i++)
        live[i] = t_take((i * i * 7) + i, i);
}

static void warm_and_fill_chunk(void)
{
    warm();
    (void)t_drain(16, (unsigned)(MM_CHUNK_PAGES >> 4) - 8);
}

static void warm_and_trim(void)
{
    warm();
    for (unsigned i = 0; i < 20; i++)
        taken[i] = sh_malloc(60000);
    for (unsigned i = 0; i < 20; i++)
        sh_free(taken[i]);
    sh_trim(0);
}

/* Allocates until that opens a new span; the number allocated. */
static unsigned open_span(void)
{
    struct sh_stats before, after;
    unsigned count = 0;

    sh_stats(&before);
    do {
        EXPECT(sh_malloc(1024) != NULL);
        sh_stats(&after);
        count++;
    } while (after.spans <= before.spans);
    return count;
}

/* The class's spans are full, and no idle memory is committed. */
static void warm_and_full_class(void)
{
    unsigned slots;

    warm();
    (void)open_span();
    slots = open_span();
    for (unsigned i = 1; i < slots; i++)
        EXPECT(sh_malloc(1024) != NULL);
    sh_trim(0);
}

static void warm_and_subject(void)
{
    warm();
    subject = t_take(1000, 77);
}

static void warm_and_large_subject(void)
{
    warm();
    subject = t_take(100000, 78);
}

static void warm_and_full_window(void)
{
    warm();
    (void)t_drain(64, T_MAX_HELD);
    (void)t_drain(1, T_MAX_HELD);
}

static void full_and_window_above(void)
{
    warm_and_full_window();
    EXPECT_EQ(rig_window(area() + 64 * T_MIB, 6 * T_MIB), SH_OK);
}

static void full_and_window_below(void)
{
    EXPECT_EQ(rig_window(area() + 64 * T_MIB, 2 * T_MIB), SH_OK);
    warm_and_full_window();
    EXPECT_EQ(rig_window(area(), 6 * T_MIB), SH_OK);
}

static void many_windows(void)
{
    for (unsigned i = 0; i < 12; i++)
        EXPECT_EQ(rig_window(area() + (12 - i) * 5 * T_MIB, 512 * T_KIB), SH_OK);
}

static void untouched_subject(void)
{
    warm();
    subject = (struct t_block){ sh_malloc(300000), 300000, 0 };
    EXPECT(subject.p != NULL);
}

/* With a neighbour behind it, so that it has to move. */
static void partly_touched_subject(void)
{
    untouched_subject();
    EXPECT(sh_malloc(SH_PAGE_SIZE * 5) != NULL);
    subject.seed = 5;
    t_fill(subject.p, 5000, subject.seed);
}

static bool act_small(void)
{
    return keep(sh_malloc(16));
}

static bool act_other_class(void)
{
    return keep(sh_malloc(20000));
}

static bool act_medium(void)
{
    return keep(sh_malloc(32768));
}

static bool act_large(void)
{
    return keep(sh_malloc(100000));
}

static bool act_beyond_chunk(void)
{
    return keep(sh_malloc(MM_CHUNK_SIZE + 100000));
}

static bool act_beyond_arena(void)
{
    return keep(sh_malloc(MM_ARENA_SIZE + 100000));
}

static bool act_refill(void)
{
    return keep(sh_malloc(1024));
}

static bool act_aligned(void)
{
    return keep(sh_aligned_alloc(65536, 70000));
}

static bool act_aligned_arena(void)
{
    return keep(sh_aligned_alloc(MM_ARENA_SIZE, 5000));
}

static bool act_page(void)
{
    return keep(sh_alloc_pages(1));
}

static bool act_pages(void)
{
    return keep(sh_alloc_pages(70));
}


static bool act_calloc(void)
{
    bool ok = keep(sh_calloc(30, 700));

    EXPECT(!ok || t_is_zero(taken[0], 21000));
    return ok;
}

static bool act_calloc_large(void)
{
    bool ok = keep(sh_calloc(3, 100000));

    EXPECT(!ok || t_is_zero(taken[0], 300000));
    return ok;
}

static bool resize_subject(size_t size)
{
    size_t kept = size < subject.size ? size : subject.size;
    void *p = sh_realloc(subject.p, size);

    EXPECT(t_holds(p == NULL ? subject.p : p, p == NULL ? subject.size : kept, subject.seed));
    if (p == NULL)
        return false;
    subject.p = p;
    t_fill(p, size, subject.seed);
    subject.size = size;
    return true;
}

static bool act_realloc_to_class(void)
{
    return resize_subject(30000);
}

static bool act_realloc_to_large(void)
{
    return resize_subject(200000);
}

static bool act_realloc_far(void)
{
    return resize_subject(MM_CHUNK_SIZE);
}


/* Many objects of many classes, all or none. */
static bool act_mixture(void)
{
    unsigned count = 0;

    for (; count < MOST_TAKEN; count++) {
        taken[count] = sh_malloc((count * 37) & 4095);
        if (taken[count] == NULL)
            break;
    }
    for (unsigned i = 0; i < count; i++)
        sh_free(taken[i]);
    return count == MOST_TAKEN;
}

static bool act_fault_in(void)
{
    for (size_t at = 0; at < subject.size; at += SH_ARCH_PAGE_SIZE)
        if (sh_arch_state((uintptr_t)subject.p + at) != SH_READY &&
            !sh_handle_fault((uintptr_t)subject.p + at, true, false))
            return false;
    return true;
}

/* The copy's pages are committed before the old block is given up. */
static bool act_demand_realloc(void)
{
    void *p = sh_realloc(subject.p, 400000);

    EXPECT(t_holds(p == NULL ? subject.p : p, 5000, subject.seed));
    subject.p = p == NULL ? subject.p : p;
    return p != NULL;
}

static bool act_demand_pages(void)
{
    return keep(sh_alloc_pages(20));
}


static bool act_new_window(void)
{
    static uintptr_t place;

    place = place == area() + 96 * T_MIB ? area() + 112 * T_MIB : area() + 96 * T_MIB;
    (void)rig_window(place, 2 * T_MIB);
    return keep(sh_malloc(200000));
}

static const struct scenario scenarios[] = {
    { "first object", 16 * T_MIB, false, 0, nothing, act_small },
    { "first large object", 16 * T_MIB, false, 0, nothing, act_large },
    { "another class", 16 * T_MIB, false, 0, warm, act_other_class },
    { "the largest class", 16 * T_MIB, false, 0, warm, act_medium },
    { "refill", 16 * T_MIB, false, 0, warm_and_full_class, act_refill },
    { "next chunk", 16 * T_MIB, false, 5 * T_MIB, warm_and_fill_chunk, act_large },
    { "beyond a chunk", 16 * T_MIB, false, 5 * T_MIB, warm, act_beyond_chunk },
    { "beyond an arena", 4 * MM_ARENA_SIZE, false, MM_ARENA_SIZE + T_MIB, warm, act_beyond_arena },
    { "calloc", 16 * T_MIB, false, 0, warm, act_calloc },
    { "large calloc", 16 * T_MIB, false, 0, warm, act_calloc_large },
    { "realloc to a class", 16 * T_MIB, false, 0, warm_and_subject, act_realloc_to_class },
    { "realloc to large", 16 * T_MIB, false, 0, warm_and_subject, act_realloc_to_large },
    { "large realloc", 16 * T_MIB, false, 0, warm_and_large_subject, act_realloc_to_large },
    { "realloc to another chunk", 16 * T_MIB, false, 6 * T_MIB, warm_and_large_subject,
      act_realloc_far },
    { "aligned", 16 * T_MIB, false, 0, warm, act_aligned },
    { "aligned to an arena", 4 * MM_ARENA_SIZE, false, 2 * T_MIB, warm, act_aligned_arena },
    { "one page", 16 * T_MIB, false, 0, warm, act_page },
    { "page run", 16 * T_MIB, false, 0, warm, act_pages },
    { "after a trim", 16 * T_MIB, false, 2 * T_MIB, warm_and_trim, act_large },
    { "small after a trim", 16 * T_MIB, false, 2 * T_MIB, warm_and_trim, act_mixture },
    { "mixture", 16 * T_MIB, false, 2 * T_MIB, warm, act_mixture },
    { "first mixture", 16 * T_MIB, false, 2 * T_MIB, nothing, act_mixture },
    { "window above", 2 * T_MIB, false, 3 * T_MIB, full_and_window_above, act_large },
    { "window below", 0, false, 3 * T_MIB, full_and_window_below, act_large },
    { "many windows", 0, false, 0, many_windows, act_large },
    { "window donated late", T_MIB, false, 2 * T_MIB, warm_and_full_window, act_new_window },
    { "demand: touched page by page", 16 * T_MIB, true, 0, untouched_subject, act_fault_in },
    { "demand: realloc", 16 * T_MIB, true, 0, partly_touched_subject, act_demand_realloc },
    { "demand: page run", 16 * T_MIB, true, 0, warm, act_demand_pages },
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

/* ---- the sweep ---- */

static void set_up(const struct scenario *scenario)
{
    const struct sh_config config = { .size = sizeof(config), .demand = scenario->demand,
                                      .hooks = rig_hooks() };

    for (unsigned i = 0; i < LIVE; i++)
        live[i].p = NULL;
    subject.p = NULL;
    rig_reset();
    EXPECT_EQ(sh_init(&config), SH_OK);
    if (scenario->window != 0)
        EXPECT_EQ(rig_window(area(), scenario->window), SH_OK);
    scenario->prepare();
}

static void expect_live(void)
{
    for (unsigned i = 0; i < LIVE; i++)
        EXPECT(live[i].p == NULL || t_holds(live[i].p, live[i].size, live[i].seed));
}

/* One run with the nth call failing; false if there is no nth call any more. */
static bool run_once(const struct scenario *scenario, unsigned long nth, bool from_then_on)
{
    struct sh_stats before, after;
    unsigned long failed;
    bool ok;

    set_up(scenario);
    sh_stats(&before);
    rig_fail(nth, from_then_on);
    ok = scenario->act();
    failed = rig_failed();
    rig_fail(0, false);
    if (failed == 0 && !ok)
        t_fail(__FILE__, __LINE__, "%s: refused although nothing failed", scenario->name);
    EXPECT_WHOLE();
    expect_live();
    if (!ok) {
        sh_stats(&after);
        if (before.live_objects != after.live_objects || before.live_bytes != after.live_bytes)
            t_fail(__FILE__, __LINE__, "%s: call %lu failed and left %zu objects, before %zu",
                   scenario->name, nth, after.live_objects, before.live_objects);
        if (!scenario->act())
            t_fail(__FILE__, __LINE__, "%s: after call %lu failed it never works again",
                   scenario->name, nth);
        EXPECT_WHOLE();
        expect_live();
    }
    return failed != 0;
}

/* Every n on the host; booted, where a page is a call, every n up to 12 and then a spread. */
static void sweep(const struct scenario *scenario, bool from_then_on)
{
    unsigned long nth = 1;

    if (scenario->needs != 0 && !t_has_memory(scenario->needs))
        return;
    while (run_once(scenario, nth, from_then_on))
        nth += rig_is_machine() && nth >= 12 ? nth >> 1 : 1;
    if (nth == 1 && SH_GRANULE_SIZE == SH_PAGE_SIZE)
        t_fail(__FILE__, __LINE__, "%s: makes no call that could fail", scenario->name);
}

static void any_call_may_fail_once(void)
{
    rig_reset();
    for (unsigned i = 0; i < SCENARIOS; i++)
        sweep(&scenarios[i], false);
}

static void all_calls_may_fail_from_any_on(void)
{
    rig_reset();
    for (unsigned i = 0; i < SCENARIOS; i++)
        sweep(&scenarios[i], true);
}

/* All frames gone: everything live stays whole, and freeing makes room again. */
static void exhaustion_of_frames_is_null(void)
{
    unsigned count;

    for (size_t more = 1; more <= 512 * T_KIB; more = more * 2 + 4096) {
        size_t budget;
        rig_start(0, NULL);
        warm();
        budget = rig_frames_held() + more;
        rig_frame_budget(budget);
        (void)t_drain(64, T_MAX_HELD);
        (void)t_drain(1, T_MAX_HELD);
        EXPECT(sh_alloc_pages(1) == NULL && sh_malloc(MM_CLASS_LIMIT + 1) == NULL);
        EXPECT(rig_frames_held() <= budget);
        EXPECT_WHOLE();
        rig_frame_budget(0);
        expect_live();
        EXPECT_WHOLE();
    }
    rig_start(0, NULL);
    rig_frame_budget(T_MIB);
    count = t_drain(2, T_MAX_HELD);
    EXPECT(count * 2 * SH_PAGE_SIZE > 512 * T_KIB && sh_alloc_pages(2) == NULL);
    t_release(count);
    EXPECT(t_drain(2, T_MAX_HELD) >= count);
    EXPECT_WHOLE();
}

static void exhaustion_by_the_limit_is_null(void)
{
    unsigned count;

    rig_start(0, NULL);
    EXPECT_EQ(sh_set_limit(T_MIB), SH_OK);
    count = t_drain(2, T_MAX_HELD);
    EXPECT(count * 2 * SH_PAGE_SIZE > 512 * T_KIB && count * 2 * SH_PAGE_SIZE < T_MIB);
    EXPECT(rig_frames_held() <= T_MIB);
    EXPECT(sh_malloc(40000) == NULL);
    EXPECT_WHOLE();
    t_release(count);
    EXPECT(sh_malloc(40000) != NULL);
    EXPECT_EQ(sh_set_limit(0), SH_OK);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "any_call_may_fail_once", any_call_may_fail_once },
    { "all_calls_may_fail_from_any_on", all_calls_may_fail_from_any_on },
    { "exhaustion_of_frames_is_null", exhaustion_of_frames_is_null },
    { "exhaustion_by_the_limit_is_null", exhaustion_by_the_limit_is_null },
};

SUITE(failure, tests);
