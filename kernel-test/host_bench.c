/*
 * The benchmarks on the host:  host-bench MODE [suite/name]
 *
 *     list     the names of all lines, without running anything
 *     memory   a line of the suite memory
 *     ns       nanoseconds of the loop, from which `null` goes
 *     null     the same loop where malloc and free do nothing
 *     count    what bench.sh runs under callgrind: counts go on inside counted_malloc and
 *              counted_free only; prints how many there were
 *     empty    the same where they call functions that do nothing: what the two cost themselves,
 *              and 3 instructions (a value and a return, and a return)
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
__attribute__((noinline)) void counted_free(void *p);

/* The empty statements keep the calls from being jumps. */
void *counted_malloc(size_t size)
{
    void *p = inner_malloc(size);

    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

void counted_free(void *p)
{
    inner_free(p);
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
    counted_free(p);
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

void bench_begin(void)
{
    clock_gettime(CLOCK_MONOTONIC, &begin);
}

void bench_end(const char *name)
{
    struct timespec end;

    (void)name;
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (strcmp(mode, "ns") == 0 || strcmp(mode, "null") == 0)
        printf("%lld\n", (long long)(end.tv_sec - begin.tv_sec) * 1000000000 +
                             (end.tv_nsec - begin.tv_nsec));
    if (strcmp(mode, "count") == 0 || strcmp(mode, "empty") == 0)
        printf("%lu\n", mallocs > frees ? mallocs : frees);
}

uint32_t bench_last(void)
{
    return last;
}

static void set_mode(void)
{
    if (strcmp(mode, "empty") == 0) {
        inner_malloc = empty_malloc;
        inner_free = empty_free;
        bench_cold = (struct bench_calls){ empty_malloc, empty_free };
    }
    if (strcmp(mode, "empty") == 0 || strcmp(mode, "count") == 0)
        bench_hot = (struct bench_calls){ count_malloc, count_free };
    if (strcmp(mode, "null") == 0)
        bench_cold = bench_hot = (struct bench_calls){ empty_malloc, empty_free };
    if (strcmp(mode, "steps") == 0)
        start_stepping();
}

int main(int argc, char **argv)
{
    void *room = mmap(NULL, BENCH_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (argc < 2 || argc > 3 || room == MAP_FAILED) {
        fprintf(stderr, "usage: %s list | memory|ns|null|count|empty|steps suite/name\n", argv[0]);
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
