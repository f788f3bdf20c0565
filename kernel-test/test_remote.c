/*
 * Proves what frees on another CPU than the one that allocated promise: the slot serves again once its owner
 * has looked, every second free is told exactly once, wherever it comes from, and spans that change hands or
 * go with their CPU lose nothing.
 *
 * One thread plays all CPUs, a call at a time.
 */
#include <stdio.h>

#include "kernel-test/test_util.h"

#include "mm/cache.h"
#include "mm/remote.h"

#if SH_MAX_CPUS >= 3

#define SIZE 64u
#define MOST 2000u

static uintptr_t held[MOST];
static unsigned count, slots;

static struct mm_span *span_of(unsigned i)
{
    return mm_span_of(held[i]);
}

static struct mm_entry *entry_of(unsigned cpu)
{
    return &mm_cpu[cpu].entry[mm_class_of(SIZE)];
}

static void start(void)
{
    struct sh_config config = { .size = sizeof(config), .cpus = 3, .hooks = rig_hooks() };

    rig_start(0, &config);
    slots = mm_class[mm_class_of(SIZE)].slots;
    count = 0;
}

/* On a CPU. */
static void take(unsigned cpu, unsigned more)
{
    rig_cpu(cpu);
    for (; more > 0; more--) {
        held[count] = (uintptr_t)sh_malloc(SIZE);
        EXPECT(held[count] != 0);
        t_fill((void *)held[count], SIZE, count);
        count++;
    }
}

static void give(unsigned cpu, unsigned i)
{
    rig_cpu(cpu);
    EXPECT(t_holds((void *)held[i], SIZE, i));
    sh_free((void *)held[i]);
}

static size_t live(void)
{
    struct sh_stats stats;

    sh_stats(&stats);
    EXPECT_EQ(stats.mallocs - stats.frees, stats.live_objects);
    return stats.live_objects;
}

static void free_it(void *p)
{
    sh_free(p);
}

static bool told(unsigned cpu, unsigned i)
{
    rig_cpu(cpu);
    return rig_panics(SH_PANIC_MISUSE, t_hex(held[i]), free_it, (void *)held[i]);
}

/* ---- back to the owner ---- */

static void a_slot_freed_elsewhere_serves_its_owner_again(void)
{
    start();
    take(0, slots); /* full */
    take(0, 1);
    EXPECT(span_of(0)->place == MM_PLACE_FULL && span_of(0)->owner == &mm_cpu[0]);
    give(1, 3);
    EXPECT(!sh_object_of((void *)held[3], NULL));
    EXPECT(sh_object_of((void *)held[4], NULL));
    EXPECT_EQ(live(), slots);
    EXPECT(span_of(0)->place == MM_PLACE_FULL);
    EXPECT(mm_cpu[0].late == span_of(0) && mm_cpu[1].late == NULL);
    EXPECT_WHOLE();
    take(0, slots); /* the rest of the second span, and one more */
    EXPECT(held[count - 1] == held[3]);
    EXPECT(mm_cpu[0].late == NULL);
    EXPECT_EQ(live(), 2 * slots);
    EXPECT_WHOLE();
}

static void one_list_entry_a_span_however_many_frees(void)
{
    start();
    take(0, 2 * slots + 1);
    for (unsigned i = 0; i < 20; i++) {
        give(1 + (i & 1), i);
        give(2, slots + i);
    }
    EXPECT_EQ(live(), 2 * slots + 1 - 40);
    EXPECT(mm_cpu[0].late == span_of(slots) && span_of(slots)->late_next == span_of(0));
    EXPECT(span_of(0)->late_next == NULL);
    EXPECT_WHOLE();
    take(0, slots); /* two spans' slots: first in, first out */
    EXPECT_EQ(live(), 3 * slots + 1 - 40);
    EXPECT_WHOLE();
}

static void the_last_slot_freed_elsewhere_empties_the_span(void)
{
    struct mm_span *first;

    start();
    take(0, slots + 1);
    first = span_of(0);
    for (unsigned i = 0; i < slots; i++)
        give(1, i);
    EXPECT_EQ(live(), 1);
    rig_cpu(0);
    sh_trim(0);
    EXPECT(mm_span_state(first) == MM_SPAN_DEAD);
    EXPECT(!sh_contains((void *)held[0]));
    EXPECT_EQ(live(), 1);
    EXPECT_WHOLE();
}

/* Queued, current and emptied ones too. */
static void every_place_takes_late_frees(void)
{
    start();
    take(0, slots + 2);
    give(0, 0);
    EXPECT(span_of(1)->place == MM_PLACE_QUEUED);
    give(1, 1);
    give(1, slots); /* of the current one */
    rig_cpu(0);
    mm_remote_drain(&mm_cpu[0]);
    EXPECT(span_of(1)->place == MM_PLACE_QUEUED && span_of(1)->countdown == slots - 2);
    EXPECT(span_of(slots + 1)->place == MM_PLACE_CURRENT);
    EXPECT_WHOLE();
    for (unsigned i = 2; i < slots; i++)
        give(2, i);
    rig_cpu(0);
    mm_remote_drain(&mm_cpu[0]);
    EXPECT(span_of(0)->place == MM_PLACE_EMPTY && entry_of(0)->empty == span_of(0));
    EXPECT_WHOLE();
    EXPECT_EQ(live(), 1);
}

/* ---- twice ---- */

static void a_second_free_is_told_wherever_it_comes_from(void)
{
    start();
    take(0, 10);
    give(1, 1);
    EXPECT(told(1, 1)); /* where the first came from */
    EXPECT(told(2, 1)); /* elsewhere */
    give(1, 2);
    EXPECT(told(0, 2)); /* at its owner, which has not looked yet */
    give(0, 3);
    EXPECT(told(1, 3)); /* freed by its owner */
    EXPECT(t_contains(rig_report(), "sh_free("));
    mm_remote_drain(&mm_cpu[0]);
    EXPECT(told(1, 1)); /* and after the owner looked */
    EXPECT_EQ(live(), 7);
    EXPECT_WHOLE();
}

static void interior_and_foreign_pointers_are_told_elsewhere_too(void)
{
    start();
    take(0, 2);
    rig_cpu(1);
    held[count] = held[0] + 8;
    EXPECT(told(1, count));
    held[count] = held[0] + SIZE * slots;
    EXPECT(told(2, count));
    EXPECT_EQ(live(), 2);
    EXPECT_WHOLE();
}

static void allocate_a_span(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < slots; i++)
        EXPECT(sh_malloc(SIZE) != NULL);
}

/* Two frees at one moment: the owner's is under way when the other's bit is set. */
static void two_frees_at_once_are_told_once(void)
{
    struct mm_span *span;

    start();
    take(0, 10);
    span = span_of(0);
    give(1, 5);
    span->free[0] |= (uintptr_t)1 << mm_span_index(span, held[5]); /* the owner saw the bound before */
    span->countdown--;
    rig_cpu(0);
    mm_remote_drain(&mm_cpu[0]);
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex(held[5]), allocate_a_span, NULL));
    EXPECT_EQ(rig_panic_count(), 1);
    EXPECT_EQ(live(), count - 1 + slots);
    EXPECT_WHOLE();
}

/* The owner's own free of another slot meets late bits: both count. */
static void the_owners_free_takes_the_late_ones_in(void)
{
    start();
    take(0, 10);
    give(1, 5);
    EXPECT(span_of(0)->local == NULL);
    give(0, 6);
    EXPECT(span_of(0)->local == &mm_cpu[0]);
    EXPECT_EQ(mm_remote_late(span_of(0)), 0);
    EXPECT_EQ(live(), 8);
    EXPECT_WHOLE();
}

/* ---- spans that change hands ---- */

static void a_span_beyond_the_queue_goes_to_central_with_its_late_frees(void)
{
    unsigned spans = MM_QUEUE_LIMIT + 2;

    start();
    take(0, spans * slots + 1);
    for (unsigned i = 0; i < spans; i++) {
        give(1, i * slots + 1);
        rig_cpu(0);
        sh_free((void *)held[i * slots]);
    }
    EXPECT_EQ(live(), spans * slots + 1 - 2 * spans);
    EXPECT(span_of((spans - 1) * slots + 2)->place == MM_PLACE_CENTRAL);
    EXPECT(span_of((spans - 1) * slots + 2)->owner == NULL);
    EXPECT_WHOLE();
    take(2, 1); /* another CPU finds it */
    EXPECT(mm_span_of(held[count - 1])->owner == &mm_cpu[2]);
    take(0, slots);
    EXPECT_WHOLE();
}

/* What its old owner finds on its list is passed on to the new one. */
static void a_late_free_follows_its_span(void)
{
    struct mm_span *span;

    start();
    take(0, slots + 1);
    span = span_of(0);
    give(1, 0);
    EXPECT(mm_cpu[0].late == span);
    span->owner = span->local = &mm_cpu[2]; /* as if central had given it away meanwhile */
    rig_cpu(0);
    mm_remote_drain(&mm_cpu[0]);
    EXPECT(mm_cpu[0].late == NULL && mm_cpu[2].late == span);
    rig_cpu(2);
    mm_remote_drain(&mm_cpu[2]);
    EXPECT(span->place == MM_PLACE_QUEUED && entry_of(2)->head == span);
    EXPECT_EQ(live(), slots);
    EXPECT_WHOLE();
}

static void what_a_cpu_had_when_it_left_is_everybodys(void)
{
    start();
    take(0, 3 * slots + 5);
    give(1, 0);
    give(0, slots);
    rig_cpu(1);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT(mm_cpu[0].late == NULL);
    EXPECT(span_of(0)->owner == NULL && span_of(0)->place == MM_PLACE_CENTRAL);
    EXPECT(span_of(2 * slots)->owner == NULL && span_of(2 * slots)->place == MM_PLACE_FULL);
    EXPECT_EQ(live(), 3 * slots + 3);
    EXPECT_WHOLE();
    give(1, 2 * slots); /* of a full one without an owner */
    EXPECT(span_of(2 * slots)->place == MM_PLACE_CENTRAL);
    EXPECT(told(2, 2 * slots));
    for (unsigned i = 1; i < 3 * slots + 5; i++)
        if (i != slots && i != 2 * slots)
            give(i & 1 ? 1 : 2, i);
    EXPECT_EQ(live(), 0);
    EXPECT_WHOLE();
    count = 0;
    take(0, slots); /* it is back */
    EXPECT_WHOLE();
}

/* Freed while its CPU leaves: listed after the CPU's last look. */
static void a_push_that_comes_after_the_last_look_is_found(void)
{
    struct mm_span *span;

    start();
    take(0, 10);
    span = span_of(0);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    span->owner = &mm_cpu[0]; /* what the freeing CPU read before */
    give(1, 5);
    EXPECT(mm_cpu[0].late == span);
    span->owner = span->local = NULL;
    give(1, 6);
    EXPECT_EQ(live(), 8);
    EXPECT_WHOLE();
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT(mm_cpu[0].late == NULL);
    EXPECT_EQ(live(), 8);
    EXPECT_WHOLE();
}

/* ---- sh_verify ---- */

static void expect_found(const char *said)
{
    rig_log_clear();
    EXPECT(sh_verify() > 0);
    EXPECT(t_contains(rig_log(), said));
    rig_log_clear();
}

static void a_spoilt_list_of_late_frees_is_found(void)
{
    struct mm_span *span;

    start();
    take(0, 10);
    span = span_of(0);
    give(1, 3);
    rig_cpu(0);
    EXPECT(mm_cpu[0].late == span && span->late_listed == 1);
    EXPECT_WHOLE();
    span->late_listed = 0;
    expect_found("list of late frees");
    span->late_listed = 1;
    span->late_next = span; /* a circle */
    expect_found("list of late frees");
    span->late_next = NULL;
    mm_cpu[0].late = (struct mm_span *)held[0]; /* no descriptor */
    expect_found("list of late frees");
    mm_cpu[0].late = span;
    EXPECT_WHOLE();
}

/* Late bits that are still to be taken in: spans. */
static unsigned spans_with_late(unsigned step)
{
    unsigned spans = 0;

    for (unsigned i = 0; i < count; i += step)
        spans += mm_remote_late(span_of(i)) != 0;
    return spans;
}

static void a_long_list_is_taken_in_some_spans_at_a_time(void)
{
    unsigned per_span = mm_class[mm_class_of(1024)].slots, spans = 20, before;
    struct mm_span *next;

    start();
    rig_cpu(0);
    for (; count < spans * per_span; count++)
        EXPECT((held[count] = (uintptr_t)sh_malloc(1024)) != 0);
    rig_cpu(1);
    for (unsigned i = 0; i < count; i += per_span)
        sh_free((void *)held[i]);
    EXPECT_EQ(spans_with_late(per_span), spans);
    rig_cpu(0);
    for (before = spans; before > 8; before -= 8) {
        EXPECT(mm_remote_waiting(&mm_cpu[0]));
        mm_remote_drain(&mm_cpu[0]);
        EXPECT_EQ(spans_with_late(per_span), before - 8);
        EXPECT_WHOLE();
    }
    next = mm_cpu[0].taking;
    EXPECT(next != NULL && next->late_listed == 1);
    next->late_listed = 0;
    expect_found("list of late frees");
    next->late_listed = 1;
    EXPECT_EQ(live(), spans * per_span - spans);
    for (unsigned i = 1; i < count; i++)
        if (i % per_span != 0) {
            rig_cpu(2);
            sh_free((void *)held[i]);
        }
    rig_cpu(0);
    sh_trim(0); /* all of them, however many stretches it takes */
    EXPECT(!mm_remote_waiting(&mm_cpu[0]));
    EXPECT_EQ(live(), 0);
    EXPECT_WHOLE();
}

/* ---- everything ---- */

/* A thousand blocks of all classes, on three CPUs that free each other's, in every tier. */
static void cross(unsigned tier, bool zero)
{
    struct sh_config config = { .size = sizeof(config), .cpus = 3, .tier = tier, .zero = zero,
                                .hooks = rig_hooks() };
    static struct t_block blocks[500];
    uint32_t seed = 7 + tier;

    rig_start(256 * T_MIB, &config);
    for (unsigned i = 0; i < 500; i++)
        blocks[i].p = NULL;
    for (unsigned step = 0; step < (tier == 4 ? 1000u : 20000u); step++) {
        struct t_block *block = &blocks[t_below(&seed, 500)];

        rig_cpu(t_below(&seed, 3));
        if (block->p != NULL) {
            t_give(block);
            block->p = NULL;
        } else
            *block = t_take(t_below(&seed, 16) == 0 ? t_below(&seed, 40000) : t_below(&seed, 700), step);
        if ((step & 4095) == 4095)
            EXPECT_WHOLE();
        if ((step & 8191) == 5000)
            EXPECT_EQ(sh_cpu_offline(t_below(&seed, 3)), SH_OK);
    }
    for (unsigned i = 0; i < 500; i++) {
        rig_cpu(t_below(&seed, 3));
        if (blocks[i].p != NULL)
            t_give(&blocks[i]);
    }
    EXPECT_WHOLE();
    EXPECT_EQ(live(), 0);
    for (unsigned cpu = 0; cpu < 3; cpu++) {
        rig_cpu(cpu);
        sh_trim(0);
    }
    EXPECT_WHOLE();
}

static void every_tier_takes_frees_from_elsewhere(void)
{
    cross(0, false);
    cross(0, true);
    for (unsigned tier = 1; tier <= 4; tier++)
        cross(tier, false);
}

/* ---- a number that sh_init was not told of ---- */

#if !defined(SH_CPU_POINTER)

static void *got;

static void malloc_small(void *p)
{
    (void)p;
    got = sh_malloc(SIZE);
}

static void malloc_middle(void *p)
{
    (void)p;
    got = sh_malloc(5000);
}

static void malloc_large(void *p)
{
    (void)p;
    got = sh_malloc(100000);
}

static void calloc_small(void *p)
{
    (void)p;
    got = sh_calloc(3, SIZE);
}

static void aligned(void *p)
{
    (void)p;
    got = sh_aligned_alloc(256, SIZE);
}

static void alloc_pages(void *p)
{
    (void)p;
    got = sh_alloc_pages(2);
}

static void shrink_it(void *p)
{
    got = sh_realloc(p, 24);
}

static void grow_it(void *p)
{
    got = sh_realloc(p, 20000);
}

static void free_pages_of(void *p)
{
    sh_free_pages(p);
}

static void free_sized_it(void *p)
{
    sh_free_sized(p, SIZE);
}

/* Told once, by name, with nothing given and nothing changed. */
static void refused(unsigned number, const char *name, void (*call)(void *p), void *p)
{
    char text[64];
    struct sh_stats before, after;

    snprintf(text, sizeof text, MM_CPU_NUMBER_OF ": CPU %u calls, and sh_config.cpus is 3", number);
    got = NULL;
    sh_stats(&before);
    rig_cpu(number);
    if (!rig_panics(SH_PANIC_MISUSE, text, call, p) || rig_panic_count() != 1 || got != NULL)
        t_fail(__FILE__, __LINE__, "%s by CPU %u: %p, %u reports, \"%s\"", name, number, got,
               rig_panic_count(), rig_report());
    rig_cpu(0);
    sh_stats(&after);
    EXPECT_EQ(after.mallocs, before.mallocs);
    EXPECT_EQ(after.frees, before.frees);
    EXPECT_EQ(after.heap_in_use, before.heap_in_use);
}

static void strange(unsigned number)
{
    static void (*const takes[])(void *) = { malloc_small, malloc_middle, malloc_large, calloc_small,
                                             aligned, alloc_pages };
    static const char *const names[] = { "malloc", "malloc(5000)", "malloc(100000)", "calloc",
                                         "aligned_alloc", "alloc_pages" };
    struct t_block large = t_take(60000, 7);
    void *pages = sh_alloc_pages(3);

    EXPECT(pages != NULL);
    for (unsigned i = 0; i < sizeof takes / sizeof takes[0]; i++)
        refused(number, names[i], takes[i], NULL);
    refused(number, "free", free_it, (void *)held[0]);     /* of a full span */
    refused(number, "free", free_it, (void *)held[slots]); /* of CPU 0's current one */
    refused(number, "free_sized", free_sized_it, (void *)held[0]);
    refused(number, "realloc", grow_it, (void *)held[1]);
    refused(number, "realloc to less", shrink_it, (void *)held[1]);
    refused(number, "realloc to less", shrink_it, large.p);
    refused(number, "free", free_it, large.p);
    refused(number, "free_pages", free_pages_of, pages);
    for (unsigned i = 0; i < count; i++)
        EXPECT(t_holds((void *)held[i], SIZE, i));
    EXPECT(sh_usable_size((void *)held[1]) >= SIZE && sh_usable_size(large.p) >= 60000);
    t_give(&large);
    sh_free_pages(pages);
    EXPECT_WHOLE();
}

static void strangers(unsigned tier, unsigned sample, bool zero)
{
    static const unsigned numbers[] = { 3, SH_MAX_CPUS - 1, SH_MAX_CPUS, SH_MAX_CPUS + 1, 0x7fffffff,
                                        0xffffffff };
    struct sh_config config = { .size = sizeof(config), .cpus = 3, .hooks = rig_hooks(), .tier = tier,
                                .guard_sample = sample, .zero = zero };

    rig_start(0, &config);
    slots = mm_class[mm_class_of(SIZE)].slots;
    count = 0;
    take(0, slots + 1);
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i] >= 3)
            strange(numbers[i]);
    for (unsigned i = 0; i < count; i++)
        give(0, i);
    EXPECT_EQ(live(), 0);
    EXPECT_WHOLE();
}

static void a_cpu_that_sh_init_was_not_told_of_is_misuse(void)
{
    for (unsigned tier = 0; tier <= 4; tier++)
        strangers(tier, 0, false);
    strangers(0, 1, false);
    strangers(0, 0, true);
}

/* Nor is the cache of a guarded heap, while a CPU is at it. */
static void a_guarded_cache_in_use_serves_no_cpu_that_is_not_known(void)
{
    struct sh_config config = { .size = sizeof(config), .cpus = 3, .hooks = rig_hooks(), .tier = 2 };
    struct mm_entry *entry;
    struct mm_cpu *cpu;
    arch_flags flags;

    rig_start(0, &config);
    EXPECT(sh_malloc(SIZE - 16) != NULL);
    flags = mm_cache_enter(&cpu);
    entry = &cpu->entry[mm_class_of(SIZE)];
    mm_cache_reveal(entry);
    EXPECT(*entry->word != 0);
    rig_cpu(SH_MAX_CPUS);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "and sh_config.cpus is 3", malloc_small, NULL));
    EXPECT(got == NULL);
    rig_cpu(0);
    mm_cache_conceal(entry);
    mm_cache_leave(flags);
    EXPECT_WHOLE();
}

/* What has gone to central is not its either. */
static void nothing_of_centrals_goes_to_a_cpu_that_is_not_known(void)
{
    start();
    take(0, slots);
    give(0, 1);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    rig_cpu(5);
    EXPECT(rig_panics(SH_PANIC_MISUSE, MM_CPU_NUMBER_OF ": CPU 5 calls, and sh_config.cpus is 3", malloc_small, NULL));
    EXPECT(got == NULL);
    EXPECT_WHOLE();
    take(1, 1);
    EXPECT(held[count - 1] == held[1]);
}

#else

static void a_cpu_that_sh_init_was_not_told_of_is_misuse(void)
{
    t_skip("CPUs are told by a pointer");
}

static void nothing_of_centrals_goes_to_a_cpu_that_is_not_known(void)
{
    t_skip("CPUs are told by a pointer");
}

#endif

static const struct test tests[] = {
    { "a_cpu_that_sh_init_was_not_told_of_is_misuse", a_cpu_that_sh_init_was_not_told_of_is_misuse },
    { "a_guarded_cache_in_use_serves_no_cpu_that_is_not_known",
      a_guarded_cache_in_use_serves_no_cpu_that_is_not_known },
    { "nothing_of_centrals_goes_to_a_cpu_that_is_not_known",
      nothing_of_centrals_goes_to_a_cpu_that_is_not_known },
    { "a_slot_freed_elsewhere_serves_its_owner_again", a_slot_freed_elsewhere_serves_its_owner_again },
    { "one_list_entry_a_span_however_many_frees", one_list_entry_a_span_however_many_frees },
    { "the_last_slot_freed_elsewhere_empties_the_span", the_last_slot_freed_elsewhere_empties_the_span },
    { "every_place_takes_late_frees", every_place_takes_late_frees },
    { "a_second_free_is_told_wherever_it_comes_from", a_second_free_is_told_wherever_it_comes_from },
    { "interior_and_foreign_pointers_are_told_elsewhere_too",
      interior_and_foreign_pointers_are_told_elsewhere_too },
    { "two_frees_at_once_are_told_once", two_frees_at_once_are_told_once },
    { "the_owners_free_takes_the_late_ones_in", the_owners_free_takes_the_late_ones_in },
    { "a_span_beyond_the_queue_goes_to_central_with_its_late_frees",
      a_span_beyond_the_queue_goes_to_central_with_its_late_frees },
    { "a_late_free_follows_its_span", a_late_free_follows_its_span },
    { "what_a_cpu_had_when_it_left_is_everybodys", what_a_cpu_had_when_it_left_is_everybodys },
    { "a_push_that_comes_after_the_last_look_is_found", a_push_that_comes_after_the_last_look_is_found },
    { "a_spoilt_list_of_late_frees_is_found", a_spoilt_list_of_late_frees_is_found },
    { "a_long_list_is_taken_in_some_spans_at_a_time", a_long_list_is_taken_in_some_spans_at_a_time },
    { "every_tier_takes_frees_from_elsewhere", every_tier_takes_frees_from_elsewhere },
};

#else

static void built_for_fewer_cpus(void)
{
    t_skip("built for fewer than 3 CPUs");
}

static const struct test tests[] = {
    { "built_for_fewer_cpus", built_for_fewer_cpus },
};

#endif

SUITE(remote, tests);
