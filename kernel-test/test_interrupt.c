/*
 * Proves R9 where no interrupt is needed for it: a call in a handler's context takes no frame and
 * calls no port (the host's rig rejects any), is served from what is there, and gives NULL beyond
 * that; an NMI handler may ask.  test_timer.c does it with real interrupts.
 */
#include "kernel-test/test_util.h"

#define MANY 2000u

static void *held[MANY];

static void handler_is_served_from_free_slots(void)
{
    rig_start(0, NULL);
    for (unsigned i = 0; i < 200; i++)
        held[i] = sh_malloc(64);
    for (unsigned i = 0; i < 200; i++)
        sh_free(held[i]);
    rig_context(SH_INTERRUPT);
    for (unsigned i = 0; i < 100; i++) {
        held[i] = sh_malloc(64);
        EXPECT(held[i] != NULL);
        t_fill(held[i], 64, i);
    }
    for (unsigned i = 0; i < 100; i++) {
        EXPECT(t_holds(held[i], 64, i));
        sh_free(held[i]);
    }
    rig_context(SH_THREAD);
    EXPECT_WHOLE();
}

static void handler_calls_no_port(void)
{
    unsigned long before;
    unsigned count = 0;

    rig_start(0, NULL);
    EXPECT(sh_malloc(64) != NULL);
    before = rig_calls();
    rig_context(SH_INTERRUPT);
    while (count < MANY && (held[count] = sh_malloc(count * 5)) != NULL)
        count++;
    (void)sh_malloc(100000);
    (void)sh_calloc(10, 10000);
    (void)sh_malloc(MM_ARENA_SIZE);
    for (unsigned i = 0; i < count; i++)
        sh_free(held[i]);
    EXPECT_EQ(rig_calls(), before);
    rig_context(SH_THREAD);
    EXPECT_WHOLE();
}

static void handler_without_memory_gets_null(void)
{
    unsigned count = 0;

    rig_start(0, NULL);
    rig_context(SH_INTERRUPT);
    EXPECT(sh_malloc(64) == NULL);
    rig_context(SH_THREAD);
    EXPECT(sh_malloc(64) != NULL);
    rig_context(SH_INTERRUPT);
    EXPECT(sh_malloc(MM_ARENA_SIZE) == NULL);
    while (count < T_MAX_HELD && (t_held[count] = sh_malloc(1024)) != NULL)
        count++;
    EXPECT(count < T_MAX_HELD);
    rig_context(SH_THREAD);
    EXPECT(sh_malloc(1024) != NULL);
    while (count-- > 0)
        sh_free(t_held[count]);
    EXPECT_WHOLE();
}

static void handler_frees_what_threads_allocated(void)
{
    rig_start(0, NULL);
    for (unsigned i = 0; i < 200; i++)
        held[i] = sh_malloc(i * 100);
    rig_context(SH_INTERRUPT);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT(sh_usable_size(held[i]) >= i * 100);
        sh_free(held[i]);
    }
    rig_context(SH_THREAD);
    EXPECT_WHOLE();
}

static void free_in_a_handler(void *p)
{
    rig_context(SH_INTERRUPT);
    sh_free(p);
    rig_context(SH_THREAD);
}

static void misuse_in_a_handler_is_caught(void)
{
    char *p;

    rig_start(0, NULL);
    p = sh_malloc(100);
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex((uintptr_t)p + 8), free_in_a_handler, p + 8));
    sh_free(p);
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex((uintptr_t)p), free_in_a_handler, p));
    EXPECT_WHOLE();
}

static void nmi_handler_may_ask(void)
{
    struct sh_object object;
    char *p;

    rig_start(0, NULL);
    p = sh_malloc(100);
    EXPECT(p != NULL);
    rig_context(SH_NMI);
    EXPECT(sh_contains(p + 50) && sh_object_of(p + 50, &object) && object.base == (uintptr_t)p);
    EXPECT(sh_usable_size(p) >= 100);
    rig_log_clear();
    sh_explain((uintptr_t)p);
    EXPECT(rig_log()[0] != 0);
    EXPECT(sh_malloc(1000) == NULL); /* of a class that has nothing cached */
    EXPECT(sh_malloc(1000000) == NULL);
    EXPECT(sh_calloc(1, 1000) == NULL);
    EXPECT(sh_alloc_pages(1) == NULL);
    rig_context(SH_THREAD);
    EXPECT_WHOLE();
}

static unsigned hook_runs;

/* Inside a hook the heap is in the middle of growing: it must not grow again, nor wait for
 * itself. */
static void allocate_in_hook(void)
{
    void *p;

    hook_runs++;
    p = sh_malloc(64);
    sh_free(p);
    EXPECT(sh_malloc(MM_ARENA_SIZE) == NULL);
}

static void call_from_a_hook_acts_as_from_a_handler(void)
{
    rig_start(0, NULL);
    EXPECT(sh_malloc(64) != NULL);
    rig_probe(allocate_in_hook);
    EXPECT(sh_malloc(300000) != NULL);
    EXPECT(sh_malloc(5000) != NULL);
    rig_probe(NULL);
    EXPECT(hook_runs > 0);
    EXPECT_WHOLE();
}

/* A flush cannot be answered for in a handler: nothing goes, and what is idle stays usable. */
static void handler_gives_no_frames_back(void)
{
    size_t frames;

    rig_start(0, NULL);
    sh_free_pages(sh_alloc_pages(40));
    frames = rig_frames_held();
    rig_context(SH_INTERRUPT);
    EXPECT_EQ(sh_trim(0), 0);
    EXPECT_EQ(sh_set_limit(frames - SH_GRANULE_SIZE), SH_E_BUSY);
    rig_context(SH_THREAD);
    EXPECT_EQ(rig_frames_held(), frames);
    EXPECT(sh_trim(0) > 0);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "handler_is_served_from_free_slots", handler_is_served_from_free_slots },
    { "handler_calls_no_port", handler_calls_no_port },
    { "handler_without_memory_gets_null", handler_without_memory_gets_null },
    { "handler_frees_what_threads_allocated", handler_frees_what_threads_allocated },
    { "misuse_in_a_handler_is_caught", misuse_in_a_handler_is_caught },
    { "handler_gives_no_frames_back", handler_gives_no_frames_back },
    { "nmi_handler_may_ask", nmi_handler_may_ask },
    { "call_from_a_hook_acts_as_from_a_handler", call_from_a_hook_acts_as_from_a_handler },
};

SUITE(interrupt, tests);
