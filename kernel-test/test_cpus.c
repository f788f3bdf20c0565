/*
 * Proves that the tiny kernel has CPUs (booted, two or more): each runs what it is given, has its own
 * faults, timer and interrupts, and the hooks for many CPUs do what they promise.  Everything that is
 * proved about the heap with many CPUs stands on this.
 */
#include "kernel-test/k_cpus.h"
#include "kernel-test/test_util.h"

#define ROUNDS 20000u

static struct k_lock lock;
static volatile unsigned counts[K_RECORDS];
static volatile unsigned sum, wrong;
static volatile bool stop;

static void on_others(void (*fn)(void *), void *arg)
{
    for (unsigned i = 1; i < k_cpus(); i++)
        k_cpu_start(i, fn, arg);
}

static void start(void)
{
    for (unsigned i = 0; i < K_RECORDS; i++)
        counts[i] = 0;
    sum = wrong = 0;
    stop = false;
}

static void know_yourself(void *arg)
{
    const struct k_cpu *self = k_this();
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    bool on = k_interrupts(true);

    if (arg != &lock || !on || here < self->stack_low || here >= self->stack_high)
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    counts[k_cpu()]++;
}

static void each_cpu_knows_itself(void)
{
    start();
    for (unsigned round = 1; round <= 10; round++) {
        on_others(know_yourself, &lock);
        k_cpus_wait();
        for (unsigned i = 1; i < k_cpus(); i++)
            EXPECT_EQ(counts[i], round);
    }
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(k_cpu(), 0);
}

static void add(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        bool on = k_lock(&lock);

        sum = sum + 1;
        k_unlock(&lock, on);
    }
}

static void locks_exclude(void)
{
    start();
    on_others(add, NULL);
    add(NULL);
    k_cpus_wait();
    EXPECT_EQ(sum, ROUNDS * k_cpus());
}

static void touch_guard(void *arg)
{
    (void)arg;
    *(volatile uint32_t *)(k_this()->stack_guard + 8) = 1;
}

static void fault_here(void *arg)
{
    (void)arg;
    k_fault_handler = NULL;
    counts[k_cpu()] = k_faults(touch_guard, NULL);
}

static void faults_are_of_the_cpu_that_made_them(void)
{
    start();
    on_others(fault_here, NULL);
    k_cpus_wait();
    for (unsigned i = 1; i < k_cpus(); i++)
        EXPECT_EQ(counts[i], 1);
}

static void on_tick(void)
{
    counts[k_cpu()]++;
    if (!k_in_interrupt())
        wrong = 1;
}

static void wait_for_ticks(void *arg)
{
    (void)arg;
    k_timer_start(100000, on_tick);
    while (counts[k_cpu()] < 20)
        k_pause();
    k_timer_stop();
    if (k_in_interrupt())
        wrong = 1;
}

static void each_cpu_has_a_timer(void)
{
    start();
    on_others(wait_for_ticks, NULL);
    wait_for_ticks(NULL);
    k_cpus_wait();
    EXPECT_EQ(wrong, 0);
}

static void count_up(void *arg)
{
    (void)arg;
    while (!stop) {
        counts[k_cpu()]++;
        k_pause();
    }
}

static const void *word_low[K_RECORDS], *word_high[K_RECORDS];

static void note_stack(const void *low, const void *high, void *arg)
{
    unsigned *next = arg;

    word_low[*next] = low;
    word_high[(*next)++] = high;
}

/* Busy CPUs and idle ones; none moves while the world is stopped, each shows its stack. */
static void a_stopped_world_stands(void)
{
    start();
    k_cpu_start(1, count_up, NULL);
    while (counts[1] < 100)
        k_pause();
    for (unsigned round = 0; round < 20; round++) {
        unsigned before, stacks = 0;

        k_world_stop();
        before = counts[1];
        k_world_stacks(note_stack, &stacks);
        for (unsigned i = 0; i < 1000; i++)
            k_pause();
        wrong += counts[1] != before;
        k_world_resume();
        EXPECT_EQ(stacks, k_cpus());
        for (unsigned i = 1; i < stacks; i++) {
            EXPECT((uintptr_t)word_low[i] > k_cpu_table[i].stack_low);
            EXPECT((uintptr_t)word_high[i] == k_cpu_table[i].stack_high);
            EXPECT((uintptr_t)word_low[i] < (uintptr_t)word_high[i]);
        }
        while (counts[1] == before)
            k_pause();
    }
    stop = true;
    k_cpus_wait();
    EXPECT_EQ(wrong, 0);
}

static void stop_often(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 10; i++) {
        k_world_stop();
        sum = sum + 1; /* nobody else runs */
        k_world_resume();
        k_tlb_shootdown(K_AREA_BASE, 4096);
    }
}

/* All stop all and shoot at all: each waits for others that wait for it. */
static void those_who_wait_answer(void)
{
    unsigned before = k_shootdowns;

    start();
    on_others(stop_often, NULL);
    stop_often(NULL);
    k_cpus_wait();
    EXPECT_EQ(sum, 10 * k_cpus());
    EXPECT_EQ(k_shootdowns - before, 10 * k_cpus());
}

static const struct test tests[] = {
    { "each_cpu_knows_itself", each_cpu_knows_itself },
    { "locks_exclude", locks_exclude },
    { "faults_are_of_the_cpu_that_made_them", faults_are_of_the_cpu_that_made_them },
    { "each_cpu_has_a_timer", each_cpu_has_a_timer },
    { "a_stopped_world_stands", a_stopped_world_stands },
    { "those_who_wait_answer", those_who_wait_answer },
};

SUITE_CPUS(cpus, tests, 2);
