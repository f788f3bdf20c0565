/*
 * Proves the heap's beginning and end: what calls do before sh_init and after sh_shutdown, which
 * configurations are refused, and that a shutdown gives everything back so that a new start is
 * like the first one.
 */
#include "kernel-test/test_util.h"

#include "mm/context.h"

static uintptr_t area(void)
{
    size_t size;

    return rig_area(&size);
}

static void free_it(void *p)
{
    sh_free(p);
}

static void free_pages_of_it(void *p)
{
    sh_free_pages(p);
}

static void realloc_it(void *p)
{
    EXPECT(sh_realloc(p, 100) == NULL);
}

/* The heap is not running. */
static void expect_down(void)
{
    static uint64_t thing[4];
    struct sh_object object;

    EXPECT(sh_malloc(16) == NULL && sh_malloc(0) == NULL && sh_malloc(100000) == NULL);
    EXPECT(sh_calloc(2, 2) == NULL && sh_realloc(NULL, 5) == NULL);
    EXPECT(sh_aligned_alloc(64, 64) == NULL && sh_alloc_pages(1) == NULL);
    EXPECT(!sh_contains(thing) && !sh_object_of(thing, &object) && sh_usable_size(thing) == 0);
    EXPECT(!sh_contains(NULL) && !sh_object_of((void *)area(), NULL));
    EXPECT(!sh_handle_fault(area(), true, false));
    EXPECT_EQ(sh_set_limit(T_MIB), SH_E_STATE);
    EXPECT_EQ(sh_shutdown(), SH_E_STATE);
    EXPECT_EQ(sh_cpu_offline(0), SH_E_STATE);
    EXPECT_EQ(sh_trim(0), 0);
    sh_free(NULL);
    sh_free_pages(NULL);
    EXPECT(rig_panics(SH_PANIC_MISUSE, NULL, free_it, thing));
    EXPECT(rig_panics(SH_PANIC_MISUSE, NULL, free_pages_of_it, thing));
    EXPECT(rig_panics(SH_PANIC_MISUSE, NULL, realloc_it, thing));
    EXPECT(sh_cpu_area(0) != NULL);
    EXPECT_EQ(rig_frames_held(), 0);
}

static void calls_before_init_are_refused(void)
{
    rig_reset();
    expect_down();
    EXPECT_EQ(rig_window(area(), 8 * T_MIB), SH_OK);
    expect_down();
    EXPECT_EQ(sh_verify(), 0);
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT(sh_malloc(16) != NULL);
}

static void second_init_is_refused(void)
{
    rig_start(0, NULL);
    EXPECT_EQ(sh_init(NULL), SH_E_STATE);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT_EQ(sh_init(NULL), SH_E_STATE);
    EXPECT_WHOLE();
}

static void fill_and_end(void)
{
    for (unsigned i = 0; i < 500; i++)
        EXPECT(sh_malloc(i * 10) != NULL);
    EXPECT(sh_malloc(T_MIB) != NULL);
    EXPECT(sh_alloc_pages(30) != NULL);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT_EQ(rig_frames_held(), 0);
}

static void shutdown_gives_everything_back(void)
{
    rig_start(0, NULL);
    fill_and_end();
    expect_down();
}

static void shutdown_of_an_untouched_heap_is_ok(void)
{
    rig_reset();
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT_EQ(rig_window(area(), 8 * T_MIB), SH_OK);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT_EQ(rig_frames_held(), 0);
    expect_down();
}

static void heap_starts_again_like_the_first_time(void)
{
    struct sh_stats first, again;

    for (unsigned round = 0; round < 4; round++) {
        if (round == 0)
            rig_start(16 * T_MIB, NULL);
        else {
            EXPECT_EQ(rig_window(area() + round * 16 * T_MIB, 16 * T_MIB), SH_OK);
            EXPECT_EQ(sh_init(NULL), SH_OK);
        }
        EXPECT(sh_malloc(100) != NULL);
        sh_stats(round == 0 ? &first : &again);
        if (round > 0) {
            EXPECT_EQ(again.live_objects, 1);
            EXPECT_EQ(again.mallocs, first.mallocs);
            EXPECT_EQ(again.heap_sys, first.heap_sys);
            EXPECT_EQ(again.frames_held, first.frames_held);
        }
        EXPECT_WHOLE();
        fill_and_end();
    }
}

static void stale_pointer_of_an_earlier_life_is_misuse(void)
{
    void *p;

    rig_start(16 * T_MIB, NULL);
    EXPECT(sh_malloc(1000) != NULL);
    p = sh_malloc(300);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT(!sh_contains(p));
    EXPECT_EQ(rig_window(area() + 32 * T_MIB, 16 * T_MIB), SH_OK);
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT(sh_malloc(300) != NULL);
    EXPECT(!sh_contains(p));
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex((uintptr_t)p), free_it, p));
}

/* A hook that never returned, out of a heap that has ended: this is a thread again. */
static void marks_of_an_earlier_life_are_forgotten(void)
{
    struct mm_hook_mark mark;

    rig_start(16 * T_MIB, NULL);
    mm_hook_enter(&mark);
    EXPECT_EQ(mm_context(), SH_INTERRUPT);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT_EQ(rig_window(area() + 32 * T_MIB, 16 * T_MIB), SH_OK);
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT_EQ(mm_context(), SH_THREAD);
    EXPECT(sh_malloc(100000) != NULL);
}

static void expect_init(const struct sh_config *config, int error)
{
    rig_reset();
    EXPECT_EQ(rig_window(area(), 8 * T_MIB), SH_OK);
    EXPECT_EQ(sh_init(config), error);
    EXPECT_EQ(sh_malloc(16) != NULL, error == SH_OK);
}

static void configuration_that_means_nothing_is_refused(void)
{
    struct sh_config config = { .size = sizeof(config), .hooks = rig_hooks() };

    expect_init(&config, SH_OK);
    config.size = 0;
    expect_init(&config, SH_E_INVALID);
    config.size = sizeof(config) + 1;
    expect_init(&config, SH_E_INVALID);
    config.size = sizeof(config);
    config.cpus = SH_MAX_CPUS + 1;
    expect_init(&config, SH_E_CONFIG);
    config.cpus = 1;
    expect_init(&config, SH_OK);
    config.tier = 5;
    expect_init(&config, SH_E_CONFIG);
    config.tier = 0;
    expect_init(&config, SH_OK);
}

/* An older caller's structure ends earlier; what it does not have is default, whatever lies
 * behind it. */
static void shorter_configuration_is_an_older_callers(void)
{
    struct sh_config config = { .size = offsetof(struct sh_config, demand), .cpus = 1,
                                .demand = true, .limit = 1, .quarantine = SIZE_MAX };

    expect_init(&config, SH_OK);
    EXPECT(sh_malloc(200000) != NULL);
    EXPECT(!sh_handle_fault((uintptr_t)sh_malloc(200000), true, false));
    config.size = sizeof(config.size);
    expect_init(&config, SH_OK);
    config.size = sizeof(config.size) - 1;
    expect_init(&config, SH_E_INVALID);
    config.size = sizeof(config) + 1;
    expect_init(&config, SH_E_INVALID);
}

static void cpu_goes_offline_and_comes_back(void)
{
    struct t_block block;

    rig_start(0, NULL);
    block = t_take(500, 1);
    for (unsigned i = 0; i < 100; i++)
        sh_free(sh_malloc(i * 20));
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT_WHOLE();
    EXPECT_EQ(sh_cpu_offline(SH_MAX_CPUS), SH_E_RANGE);
    t_give(&block);
    block = t_take(500, 2);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    t_give(&block);
    EXPECT(sh_cpu_area(0) != NULL && sh_cpu_area(SH_MAX_CPUS) == NULL);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "calls_before_init_are_refused", calls_before_init_are_refused },
    { "second_init_is_refused", second_init_is_refused },
    { "shutdown_gives_everything_back", shutdown_gives_everything_back },
    { "shutdown_of_an_untouched_heap_is_ok", shutdown_of_an_untouched_heap_is_ok },
    { "heap_starts_again_like_the_first_time", heap_starts_again_like_the_first_time },
    { "stale_pointer_of_an_earlier_life_is_misuse", stale_pointer_of_an_earlier_life_is_misuse },
    { "marks_of_an_earlier_life_are_forgotten", marks_of_an_earlier_life_are_forgotten },
    { "configuration_that_means_nothing_is_refused", configuration_that_means_nothing_is_refused },
    { "shorter_configuration_is_an_older_callers", shorter_configuration_is_an_older_callers },
    { "cpu_goes_offline_and_comes_back", cpu_goes_offline_and_comes_back },
};

SUITE(shutdown, tests);
