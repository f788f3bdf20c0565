/*
 * Proves what the handlers' reserve promises: a handler is given memory that no thread gets, without a frame
 * being asked for; what it took is filled up by the next thread that comes by; and it goes back with its CPU.
 */
#include "kernel-test/test_util.h"

#include "mm/reserve.h"

#define RESERVE (64 * T_KIB)

/* A heap whose only free pages are the reserve's; what it allocated is held for good. */
static bool start(unsigned tier)
{
    struct sh_config config = { .size = sizeof(config), .interrupt_reserve = RESERVE, .tier = tier,
                                .hooks = rig_hooks() };

    rig_start(0, &config);
    if (!t_has_memory(2 * T_MIB))
        return false;
    EXPECT(sh_malloc(100) != NULL);
    EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
    EXPECT_WHOLE();
    return true;
}

/* From a handler until there is no more; into t_held. */
static unsigned drain_handler(size_t size)
{
    unsigned count = 0;

    rig_context(SH_INTERRUPT);
    for (; count < T_MAX_HELD && (t_held[count] = sh_malloc(size)) != NULL; count++)
        t_fill(t_held[count], size, count);
    rig_context(SH_THREAD);
    return count;
}

static void give_all(unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++) {
        EXPECT(t_holds(t_held[i], size, i));
        sh_free(t_held[i]);
    }
}

static void a_handler_gets_what_no_thread_does(void)
{
    unsigned long calls;
    unsigned count;

    if (!start(0))
        return;
    while (drain_handler(8 * T_KIB) == 0) /* idle pages, if any, and the reserve */
        return;
    count = drain_handler(8 * T_KIB);
    EXPECT_EQ(count, 0); /* all of it is gone */
    EXPECT_EQ(mm_reserve_pages(), 0);
    calls = rig_calls();
    EXPECT(drain_handler(1000) == 0 || calls == rig_calls());
    EXPECT_WHOLE();
}

static void it_is_worth_its_bytes_and_asks_for_no_frame(void)
{
    unsigned long calls;
    unsigned count;
    size_t before;

    if (!start(0))
        return;
    before = rig_frames_held();
    calls = rig_calls();
    count = drain_handler(SH_PAGE_SIZE);
    EXPECT(count >= RESERVE / SH_PAGE_SIZE);
    EXPECT_EQ(rig_calls(), calls);
    EXPECT_EQ(rig_frames_held(), before);
    EXPECT_WHOLE();
    give_all(count, SH_PAGE_SIZE);
    EXPECT_WHOLE();
}

static void threads_fill_it_up_again(void)
{
    unsigned count;

    if (!start(0))
        return;
    count = drain_handler(SH_PAGE_SIZE);
    EXPECT_EQ(mm_reserve_pages(), 0);
    EXPECT(sh_malloc(200000) != NULL);
    EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
    EXPECT_WHOLE();
    give_all(count, SH_PAGE_SIZE);
    EXPECT_WHOLE();
}

/* The descriptor of a run that was used up is a large span's: no span of many slots may get it. */
static void the_next_reserve_has_room_for_spans_of_many_slots(void)
{
    unsigned count;

    for (unsigned round = 0; round < 3; round++) {
        if (!start(round))
            return;
        drain_handler(SH_PAGE_SIZE);
        EXPECT_EQ(mm_reserve_pages(), 0);
        EXPECT(sh_malloc(200000) != NULL);
        EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
        count = drain_handler(8);
        EXPECT_WHOLE();
        give_all(count, 8);
        EXPECT_WHOLE();
    }
}

/* Also when every second or third step of it fails. */
static void a_fill_that_fails_leaves_nothing_behind(void)
{
    for (unsigned nth = 1; nth < 40; nth++) {
        unsigned count;

        if (!start(0))
            return;
        count = drain_handler(SH_PAGE_SIZE);
        rig_fail(nth, true);
        (void)sh_malloc(200000);
        (void)sh_malloc(300);
        EXPECT_WHOLE();
        rig_fail(0, false);
        EXPECT(sh_malloc(100000) != NULL);
        EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
        give_all(count, SH_PAGE_SIZE);
        EXPECT_WHOLE();
    }
}

static void small_objects_and_the_tiers_are_served_too(void)
{
    for (unsigned tier = 0; tier < 4; tier++) {
        unsigned count;

        if (!start(tier))
            return;
        count = drain_handler(40);
        /* Notes want records of their own, which may not be at hand. */
        EXPECT(tier >= 2 || (count * 40 >= RESERVE / 4 && mm_reserve_pages() == 0));
        EXPECT_WHOLE();
        give_all(count, 40);
        EXPECT_WHOLE();
    }
}

static void threads_do_not_get_it_in_need(void)
{
    if (!start(0))
        return;
    rig_fail(1, true);
    for (unsigned i = 0; i < 1000 && sh_malloc(SH_PAGE_SIZE) != NULL; i++) {
    }
    EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
    sh_trim(0);
    EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
    EXPECT(drain_handler(SH_PAGE_SIZE) >= RESERVE / SH_PAGE_SIZE);
    rig_fail(0, false);
    EXPECT_WHOLE();
}

static void it_goes_with_its_cpu(void)
{
    if (!start(0))
        return;
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT_EQ(mm_reserve_pages(), 0);
    EXPECT_WHOLE();
    EXPECT(sh_malloc(100000) != NULL);
    EXPECT_EQ(mm_reserve_pages() << MM_PAGE_SHIFT, RESERVE);
    EXPECT_WHOLE();
}

static void too_much_is_refused(void)
{
    struct sh_config config = { .size = sizeof(config), .interrupt_reserve = MM_INTERRUPT_RESERVE_MAX + 1,
                                .hooks = rig_hooks() };

    rig_reset();
    EXPECT_EQ(sh_init(&config), SH_E_CONFIG);
    config.interrupt_reserve = 1;
    EXPECT_EQ(sh_init(&config), SH_OK);
    EXPECT_EQ(sh_shutdown(), SH_OK);
}

static const struct test tests[] = {
    { "a_handler_gets_what_no_thread_does", a_handler_gets_what_no_thread_does },
    { "it_is_worth_its_bytes_and_asks_for_no_frame", it_is_worth_its_bytes_and_asks_for_no_frame },
    { "threads_fill_it_up_again", threads_fill_it_up_again },
    { "the_next_reserve_has_room_for_spans_of_many_slots", the_next_reserve_has_room_for_spans_of_many_slots },
    { "a_fill_that_fails_leaves_nothing_behind", a_fill_that_fails_leaves_nothing_behind },
    { "small_objects_and_the_tiers_are_served_too", small_objects_and_the_tiers_are_served_too },
    { "threads_do_not_get_it_in_need", threads_do_not_get_it_in_need },
    { "it_goes_with_its_cpu", it_goes_with_its_cpu },
    { "too_much_is_refused", too_much_is_refused },
};
SUITE(reserve, tests);
