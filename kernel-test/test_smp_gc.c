/*
 * Proves that a collection is right while many CPUs use the heap (booted, two CPUs or more): the others
 * are stopped wherever they are, what their stacks and registers hold is kept, and they help; in steps they
 * go on meanwhile.  Each CPU builds trees, holds some by its stack only, changes them, and finds every node
 * as it left it.
 */
#include "kernel-test/k_cpus.h"
#include "kernel-test/test_gc_util.h"
#include "kernel-test/test_smp.h"

#define ROOTS 8u
#define DEPTH 6u

struct node {
    struct node *left, *right;
    uintptr_t number, check;
};

static struct node *roots[K_RECORDS][ROOTS];
static volatile bool stop;
static unsigned rounds[K_RECORDS], helped[K_RECORDS];
static const char *broken;
static void (*meanwhile)(unsigned round);

static void complain(const char *what)
{
    __atomic_store_n(&broken, what, __ATOMIC_RELEASE);
    stop = true;
}

static struct node *grow(unsigned depth, uintptr_t number)
{
    struct node *node = sh_gc_malloc(sizeof *node, 0);

    if (node == NULL) {
        complain("out of memory");
        return NULL;
    }
    if (node->left != NULL || node->right != NULL || node->number != 0)
        complain("a new object is not zero");
    node->number = number;
    node->check = ~number ^ (uintptr_t)node;
    if (depth > 0) {
        sh_gc_write(&node->left, grow(depth - 1, number * 2));
        sh_gc_write(&node->right, grow(depth - 1, number * 2 + 1));
    }
    return node;
}

static void check(const struct node *node, unsigned depth, uintptr_t number)
{
    if (node == NULL || node->number != number || node->check != (~number ^ (uintptr_t)node)) {
        complain("a node that is reached is not what it was");
        return;
    }
    if (depth > 0) {
        check(node->left, depth - 1, number * 2);
        check(node->right, depth - 1, number * 2 + 1);
    }
}

/* One tree is held by this function's stack or registers alone. */
static void one_round(unsigned round)
{
    unsigned self = k_cpu(), slot = round & (ROOTS - 1);
    struct node *held = grow(DEPTH, 100 + round);

    if (stop)
        return;
    if (roots[self][slot] != NULL)
        check(roots[self][slot], DEPTH, 1000 * (self + 1) + slot);
    sh_gc_write(&roots[self][slot], grow(DEPTH, 1000 * (self + 1) + slot));
    if (!stop)
        check(held, DEPTH, 100 + round);
    rounds[self] = round;
}

static void mutate(void *arg)
{
    (void)arg;
    for (unsigned round = 1; !stop; round++)
        one_round(round);
}

static void help(void)
{
    helped[k_cpu()]++;
    sh_gc_stopped();
}

static void start(bool automatic)
{
    const struct sh_config heap = { .size = sizeof heap, .hooks = rig_cpu_hooks(), .cpus = k_cpus() };
    const struct sh_gc_config config = { .size = sizeof config, .automatic = automatic };

    rig_start(0, &heap);
    k_while_stopped = help;
    EXPECT_EQ(sh_gc_init(&config), SH_OK);
    EXPECT_EQ(sh_gc_add_root(roots, sizeof roots), SH_OK);
    for (unsigned i = 0; i < K_RECORDS; i++) {
        rounds[i] = helped[i] = 0;
        for (unsigned k = 0; k < ROOTS; k++)
            roots[i][k] = NULL;
    }
    stop = false;
    broken = NULL;
}

static bool all_have_done(unsigned wanted)
{
    for (unsigned i = 1; i < k_cpus(); i++)
        if (rounds[i] < wanted)
            return false;
    return true;
}

/* The others mutate until each has done `least` rounds and `meanwhile` was called `times` times here. */
static void run(unsigned least, unsigned times)
{
    struct sh_gc_stats stats;

    for (unsigned i = 1; i < k_cpus(); i++)
        k_cpu_start(i, mutate, NULL);
    for (unsigned done = 0; !stop && (done < times || !all_have_done(least)); done++) {
        meanwhile(done);
        k_pause();
    }
    stop = true;
    k_cpus_wait();
    k_timer_stop();
    if (broken != NULL)
        t_fail(__FILE__, __LINE__, "%s", broken);
    EXPECT_WHOLE();
    for (unsigned i = 0; i < k_cpus(); i++)
        for (unsigned k = 0; k < ROOTS; k++)
            if (roots[i][k] != NULL)
                check(roots[i][k], DEPTH, 1000 * (i + 1) + k);
    EXPECT(broken == NULL);
    sh_gc_collect();
    sh_gc_stats(&stats);
    EXPECT(stats.objects_freed > 0);
    EXPECT_WHOLE();
}

static void collect_here(unsigned round)
{
    (void)round;
    sh_gc_collect();
}

static void collections_stop_the_others_and_keep_what_they_hold(void)
{
    start(false);
    meanwhile = collect_here;
    run(10, 10);
    for (unsigned i = 1; i < k_cpus(); i++)
        EXPECT(helped[i] > 0);
}

static void step_here(unsigned round)
{
    one_round(round + 1);
    sh_gc_step(300);
    sh_gc_sweep_step(2);
}

static void steps_go_on_while_the_others_write(void)
{
    start(false);
    meanwhile = step_here;
    run(20, 100);
}

static void round_here(unsigned round)
{
    one_round(round + 1);
}

/* Past its goal each allocation may begin a collection, on any CPU. */
static void any_cpu_may_collect(void)
{
    start(true);
    meanwhile = round_here;
    run(20, 20);
}

static void on_tick(void)
{
    void *p = sh_gc_malloc(48, SH_GC_NOSCAN), *q = sh_malloc(100);

    sh_free(q);
    sh_free(p);
    k_timer_start(smp_option("tick", 50000), on_tick);
}

static void mutate_with_interrupts(void *arg)
{
    k_timer_start(smp_option("tick", 50000), on_tick);
    mutate(arg);
    k_timer_stop();
}

static void handlers_allocate_while_it_collects(void)
{
    start(false);
    for (unsigned i = 1; i < k_cpus(); i++)
        k_cpu_start(i, mutate_with_interrupts, NULL);
    k_timer_start(smp_option("tick", 50000), on_tick);
    for (unsigned done = 0; !stop && (done < 10 || !all_have_done(10)); done++) {
        sh_gc_collect();
        while (!sh_gc_step(500) && !stop)
            one_round(1);
    }
    stop = true;
    k_timer_stop();
    k_cpus_wait();
    if (broken != NULL)
        t_fail(__FILE__, __LINE__, "%s", broken);
    EXPECT_WHOLE();
}

static void *given;

static void take_one(void *arg)
{
    (void)arg;
    given = sh_gc_malloc(sizeof(struct node), 0);
}

static void by_the_last_cpu(void *arg)
{
    k_cpu_start(k_cpus() - 1, take_one, arg);
    k_cpus_wait();
}

/* There are records for the CPUs that sh_init was told of, and none behind them. */
static void a_cpu_that_sh_init_was_not_told_of_gets_nothing(void)
{
    const struct sh_config heap = { .size = sizeof heap, .hooks = rig_cpu_hooks(), .cpus = k_cpus() - 1 };

#ifdef SH_CPU_POINTER
    t_skip("CPUs are told by a pointer");
    return;
#endif
    rig_start(0, &heap);
    EXPECT_EQ(sh_gc_init(NULL), SH_OK);
    given = NULL;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_kernel_cpu: CPU ", by_the_last_cpu, NULL));
    EXPECT_EQ(rig_panic_count(), 1);
    EXPECT(given == NULL);
    EXPECT_WHOLE();
    EXPECT(sh_gc_malloc(sizeof(struct node), 0) != NULL);
}

static const struct test tests[] = {
    { "collections_stop_the_others_and_keep_what_they_hold",
      collections_stop_the_others_and_keep_what_they_hold },
    { "steps_go_on_while_the_others_write", steps_go_on_while_the_others_write },
    { "any_cpu_may_collect", any_cpu_may_collect },
    { "handlers_allocate_while_it_collects", handlers_allocate_while_it_collects },
    { "a_cpu_that_sh_init_was_not_told_of_gets_nothing", a_cpu_that_sh_init_was_not_told_of_gets_nothing },
};

SUITE_CPUS(smp_gc, tests, 2);
