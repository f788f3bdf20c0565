/*
 * The benchmarks on the host:  host-bench MODE [suite/name]
 *
 *     list     the names of all lines, without running anything
 *     plain    a line whose value needs no measuring: the suite memory, gc/longest-step
 *     ns       nanoseconds of the loop or of the calls, from which `null` goes
 *     null     the same loop where malloc and free do nothing; the calls that count less
 *     count    what bench.sh runs under callgrind, which counts inside counted_malloc and counted_call
 *              only; prints how many operations there were, and what to add to the difference
 *     empty    the same where they call functions that do nothing: what the two cost themselves, and
 *              2 instructions (a value and a return) or 1 (a return) that are to be added
 *     steps    single calls, each instruction stepped by a parent process: for the slowest ones
 *              among the first STEPPED
 *
 * bench.sh puts the lines together.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/host/host.h"
#include "kernel-test/bench.h"
#include "kernel-test/kernel.h"

#define STEPPED 5000u

static const char *mode, *wanted = "";
static unsigned long mallocs, frees;
static long calls;       /* counting, less those that count less */
static long long spent;  /* nanoseconds in them */
static struct timespec begin;
static uint32_t last;

struct bench_calls bench_cold = { sh_malloc, sh_free }, bench_hot = { sh_malloc, sh_free };
uintptr_t bench_room_base;

/*
 * What the heap and printf.c want of a kernel
 */

void k_putc(char c)
{
    putchar(c);
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    fprintf(stderr, "heap panic (%d): %s\n", (int)kind, report);
    abort();
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}

void bench_fail(const char *why)
{
    fprintf(stderr, "bench: %s\n", why);
    exit(1);
}

bool bench_window(size_t size)
{
    return sh_host_window(size) != 0;
}

bool bench_wants(const char *suite, const char *name)
{
    char line[64];

    snprintf(line, sizeof line, "%s/%s", suite, name);
    if (strcmp(mode, "list") == 0)
        puts(line);
    return strcmp(line, wanted) == 0;
}

/*
 * Counted by callgrind
 */

static void *empty_malloc(size_t size)
{
    return (void *)size;
}

static void empty_free(void *p)
{
    (void)p;
}

static void *(*inner_malloc)(size_t) = sh_malloc;
static void (*inner_free)(void *) = sh_free;

__attribute__((noinline)) void *counted_malloc(size_t size);
__attribute__((noinline)) void counted_call(void (*function)(void *), void *arg);

/* The empty statements keep the calls from being jumps. */
void *counted_malloc(size_t size)
{
    void *p = inner_malloc(size);

    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

void counted_call(void (*function)(void *), void *arg)
{
    function(arg);
    __asm__ volatile("" : : : "memory");
}

static void *count_malloc(size_t size)
{
    mallocs++;
    return counted_malloc(size);
}

static void count_free(void *p)
{
    frees++;
    counted_call(inner_free, p);
}

/* In the mode where it does not count, a call is made all the same, and an empty one counts. */
static void call_in(bool counting, void (*function)(void *), void *arg)
{
    if (counting) {
        counted_call(function, arg);
    } else {
        function(arg);
        counted_call(empty_free, NULL);
    }
}

/*
 * Stepped by a parent process
 */

struct shared {
    volatile bool stepping;
    volatile uint32_t count;
};

static struct shared *shared;
static uint32_t stepped_empty_malloc, stepped_empty_free;

static __attribute__((noinline)) void *step_malloc(void *(*function)(size_t), size_t size)
{
    void *p;

    shared->count = 0;
    shared->stepping = true;
    raise(SIGSTOP);
    p = function(size);
    shared->stepping = false;
    last = shared->count;
    return p;
}

static __attribute__((noinline)) void step_free(void (*function)(void *), void *p)
{
    shared->count = 0;
    shared->stepping = true;
    raise(SIGSTOP);
    function(p);
    shared->stepping = false;
    last = shared->count;
}

static void *stepped_malloc(size_t size)
{
    void *p;

    if (mallocs++ < STEPPED) {
        p = step_malloc(sh_malloc, size);
        last -= stepped_empty_malloc;
        return p;
    }
    last = 0;
    return sh_malloc(size);
}

static void stepped_free(void *p)
{
    if (frees++ < STEPPED) {
        step_free(sh_free, p);
        last -= stepped_empty_free;
        return;
    }
    last = 0;
    sh_free(p);
}

/* In the parent: lets the child run between its stops, and counts its steps after each. */
static int step_child(pid_t child)
{
    int status;

    for (;;) {
        enum __ptrace_request how = PTRACE_CONT;

        if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        if (shared->stepping) {
            shared->count++;
            how = PTRACE_SINGLESTEP;
        }
        if (ptrace(how, child, NULL, NULL) != 0)
            return 1;
    }
}

static void start_stepping(void)
{
    pid_t child;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    child = shared == MAP_FAILED ? -1 : fork();
    if (child < 0)
        bench_fail("no child process");
    if (child > 0)
        exit(step_child(child));
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        bench_fail("single steps are not allowed here");
    step_malloc((void *(*)(size_t))(void (*)(void))empty_free, 0);
    stepped_empty_malloc = last - 1;
    step_free(empty_free, NULL);
    stepped_empty_free = last - 1;
    bench_hot = (struct bench_calls){ stepped_malloc, stepped_free };
}

/*
 * Modes
 */

static bool mode_is(const char *name)
{
    return strcmp(mode, name) == 0;
}

static long long since(const struct timespec *from)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)(now.tv_sec - from->tv_sec) * 1000000000 + (now.tv_nsec - from->tv_nsec);
}

static void call(bool less, void (*function)(void *), void *arg)
{
    struct timespec from;

    calls += less ? -1 : 1;
    if (mode_is("count") || mode_is("empty")) {
        call_in(mode_is(less ? "empty" : "count"), function, arg);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &from);
    function(arg);
    if (mode_is(less ? "null" : "ns"))
        spent += since(&from);
}

void bench_call(void (*function)(void *arg), void *arg)
{
    call(false, function, arg);
}

void bench_uncall(void (*function)(void *arg), void *arg)
{
    call(true, function, arg);
}

void bench_begin(void)
{
    clock_gettime(CLOCK_MONOTONIC, &begin);
}

static void print_figures(unsigned long operations, long long time)
{
    if (mode_is("ns") || mode_is("null"))
        printf("%lld\n", time);
    if (mode_is("count") || mode_is("empty"))
        printf("%lu %ld\n", operations, (long)(2 * mallocs + frees) + calls);
}

void bench_end(const char *name)
{
    (void)name;
    print_figures(mallocs > frees ? mallocs : frees, since(&begin));
}

void bench_end_calls(const char *suite, const char *name, uint32_t operations)
{
    (void)suite;
    (void)name;
    print_figures(operations, spent);
}

uint32_t bench_last(void)
{
    return last;
}

static void set_mode(void)
{
    if (mode_is("empty")) {
        inner_malloc = empty_malloc;
        inner_free = empty_free;
        bench_cold = (struct bench_calls){ empty_malloc, empty_free };
    }
    if (mode_is("empty") || mode_is("count"))
        bench_hot = (struct bench_calls){ count_malloc, count_free };
    if (mode_is("null"))
        bench_cold = bench_hot = (struct bench_calls){ empty_malloc, empty_free };
    if (mode_is("steps"))
        start_stepping();
}

int main(int argc, char **argv)
{
    void *room = mmap(NULL, BENCH_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (argc < 2 || argc > 3 || room == MAP_FAILED) {
        fprintf(stderr, "usage: %s list | plain|ns|null|count|empty|steps suite/name\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    bench_room_base = (uintptr_t)room;
    mode = argv[1];
    wanted = argc == 3 ? argv[2] : "";
    set_mode();
    bench_run();
    return 0;
}
