/*
 * Threads as CPUs.  See cpus.h.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/host/host.h"
#include "cpu.h"
#include "kernel-test/cpus/cpus.h"

struct cpu {
    pthread_t thread;
    const char *low, *high; /* its stack; `low`: where it stands, of one that runs the end of it */
    bool running;           /* has a stack to be looked at.  Changed under the world's lock */
    bool standing;
};

/* The thread sanitizer's: a race ends the run. */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void)
{
    return "halt_on_error=1:report_signal_unsafe=0";
}

__thread arch_flags host_masked;
static __thread unsigned self;

static struct cpu cpus[CPUS_MAX];
static unsigned count;
static enum cpus_help helping;
static bool scanned; /* stacks are reported */
static pthread_mutex_t world = PTHREAD_MUTEX_INITIALIZER; /* whoever holds it stops, comes or goes */
static bool stopping;
static bool misuse_expected;
static unsigned misused;
static void (*misuse_told)(void);
static unsigned arrived, meeting;
static void (*job)(void *);
static void *job_arg;

unsigned sh_kernel_cpu(void)
{
    return self;
}

unsigned cpus_count(void)
{
    return count;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    if (kind == SH_PANIC_MISUSE && __atomic_load_n(&misuse_expected, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&misused, 1, __ATOMIC_RELAXED);
        if (misuse_told != NULL)
            misuse_told();
        return;
    }
    t_fail(__FILE__, __LINE__, "unexpected %s: %s", kind == SH_PANIC_MISUSE ? "misuse" : "corruption", report);
}

void cpus_on_misuse(void (*fn)(void))
{
    misuse_told = fn;
}

void cpus_expect_misuse(void)
{
    misused = 0;
    __atomic_store_n(&misuse_expected, true, __ATOMIC_RELAXED);
}

unsigned cpus_misused(void)
{
    return __atomic_load_n(&misused, __ATOMIC_RELAXED);
}

/* ---- stopping ---- */

static bool stopped(void)
{
    return __atomic_load_n(&stopping, __ATOMIC_ACQUIRE);
}

static void wait_a_while(void)
{
    for (unsigned i = 0; i < 20 && stopped(); i++)
        sched_yield();
}

#ifdef WITHOUT_GC
static void help_to_mark(void)
{
}

static void start_collector(const struct sh_gc_config *config)
{
    (void)config;
}
#else
static void help_to_mark(void)
{
    sh_gc_stopped();
}

static void start_collector(const struct sh_gc_config *config)
{
    EXPECT_EQ(sh_gc_init(config), SH_OK);
}
#endif

static void stand(uintptr_t here, void *arg)
{
    struct cpu *cpu = arg;

    cpu->low = (const char *)here;
    host_masked = 1;
    __atomic_store_n(&cpu->standing, true, __ATOMIC_RELEASE);
    if (helping == HELP_LATE)
        wait_a_while();
    for (bool help = helping != HELP_NOT; stopped(); sched_yield())
        if (help) {
            help_to_mark();
            help = helping != HELP_ONCE;
        }
    __atomic_store_n(&cpu->standing, false, __ATOMIC_RELEASE);
    host_masked = 0;
}

void host_answer(void)
{
    struct cpu *cpu = &cpus[self];

    if (stopped() && cpu->running)
        arch_spill(stand, cpu);
}

/* The others may have no core to run on. */
void host_wait(void)
{
    if (host_masked == 0)
        host_answer();
    sched_yield();
}

/* All others that run stand, or none. */
static void wait_for(bool standing)
{
    for (unsigned i = 0; i < count; i++)
        while (i != self && cpus[i].running && __atomic_load_n(&cpus[i].standing, __ATOMIC_ACQUIRE) != standing)
            sched_yield();
}

/* Waits for whoever comes or goes as for one that stands. */
static void take_world(void)
{
    while (pthread_mutex_trylock(&world) != 0) {
        host_answer();
        sched_yield();
    }
}

/* Until the world goes on, who stopped it does not answer. */
static void stop_world(void)
{
    take_world();
    host_masked++;
    __atomic_store_n(&stopping, true, __ATOMIC_RELEASE);
    wait_for(true);
    cpus[self].running = false;
    host_masked--;
}

static void resume_world(void)
{
    cpus[self].running = true;
    host_masked++;
    __atomic_store_n(&stopping, false, __ATOMIC_RELEASE);
    wait_for(false);
    host_masked--;
    pthread_mutex_unlock(&world);
}

static void scan_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg)
{
    for (unsigned i = 0; i < count && scanned; i++)
        if (cpus[i].running || i == self)
            scan(i == self ? (const char *)__builtin_frame_address(0) - 16384 : cpus[i].low, cpus[i].high, arg);
}

static void say(const char *text)
{
    fprintf(stderr, "%s\n", text);
}

static void shootdown(uintptr_t base, size_t size)
{
    (void)base;
    (void)size; /* Linux has flushed already */
}

static const struct sh_hooks hooks = {
    .log = say,
    .tlb_shootdown = shootdown,
    .stop_world = stop_world,
    .resume_world = resume_world,
    .scan_stacks = scan_stacks,
};

/* ---- running ---- */

/* libc's: where the main thread's stack begins. */
extern void *__libc_stack_end;

/* Above `high` lies nothing of the test's: of a thread, what libc keeps for it. */
static void enter_cpu(unsigned number, const void *high)
{
    self = number;
    pthread_mutex_lock(&world);
    cpus[number].high = high;
    cpus[number].running = true;
    pthread_mutex_unlock(&world);
}

static void leave_cpu(void)
{
    take_world();
    cpus[self].running = false;
    pthread_mutex_unlock(&world);
}

static void *run(void *number)
{
    enter_cpu((unsigned)(uintptr_t)number, __builtin_frame_address(0));
    cpus_meet();
    job(job_arg);
    cpus_meet();
    leave_cpu();
    return NULL;
}

void cpus_forget_stacks(void)
{
    scanned = false;
}

void cpus_meet(void)
{
    unsigned number = __atomic_load_n(&meeting, __ATOMIC_ACQUIRE);

    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == count) {
        __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&meeting, number + 1, __ATOMIC_RELEASE);
        return;
    }
    while (__atomic_load_n(&meeting, __ATOMIC_ACQUIRE) == number) {
        host_answer();
        sched_yield();
    }
}

void cpus_run(void (*fn)(void *), void *arg)
{
    job = fn;
    job_arg = arg;
    for (unsigned i = 1; i < count; i++)
        EXPECT_EQ(pthread_create(&cpus[i].thread, NULL, run, (void *)(uintptr_t)i), 0);
    cpus_meet();
    fn(arg);
    cpus_meet();
    for (unsigned i = 1; i < count; i++)
        pthread_join(cpus[i].thread, NULL);
}

void cpus_end(void)
{
    if (count != 0)
        EXPECT_EQ(sh_shutdown(), SH_OK);
    count = 0;
    misuse_expected = false;
    misuse_told = NULL;
}

void cpus_start(unsigned number, size_t size, unsigned tier, const struct sh_gc_config *config, enum cpus_help help,
                bool stacks)
{
    const struct sh_config heap = { .size = sizeof heap, .cpus = number, .tier = tier, .hooks = &hooks };

    cpus_end();
    memset(cpus, 0, sizeof cpus);
    count = number;
    helping = help;
    scanned = stacks;
    enter_cpu(0, __libc_stack_end);
    EXPECT_EQ(sh_init(&heap), SH_OK);
    EXPECT(sh_host_window(size) != 0);
    start_collector(config);
}
