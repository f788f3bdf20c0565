/*
 * The benchmarks in the booted kernel.  A word on the command line: bench=prefix of "suite/name" or
 * of "name".
 *
 * Every call is timed alone, with k_cycles, which counts instructions exactly under -icount
 * shift=0.  From it goes what the same call of an empty function costs, less that function's
 * return: what is left is the instructions inside sh_malloc or sh_free, their return included and
 * their caller's share not.  Interrupts are on, as in a thread.
 */
#include "kernel-test/bench.h"

#include "kernel-test/kernel.h"
#include "kernel-test/k_hooks.h"
#include "kernel-test/test.h"

#define BLOCK ((size_t)0x10000)
/* Windows that are too large for the area lie below the kernel, where nothing is mapped. */
#define BIG_AREA ((uintptr_t)0x80000000u)
#define BIG_AREA_SIZE ((size_t)0x40000000u)

static uint64_t sum;
static uint32_t mallocs, frees, last;
static uint32_t empty_malloc, empty_call; /* timed calls of `empty`, without its return */

uintptr_t bench_room_base;

static void empty(void)
{
}

static __attribute__((noinline)) void *time_malloc(void *(*function)(size_t), size_t size)
{
    uint32_t start = k_cycles();
    void *p = function(size);

    last = k_cycles() - start;
    return p;
}

static __attribute__((noinline)) void time_call(void (*function)(void *), void *p)
{
    uint32_t start = k_cycles();

    function(p);
    last = k_cycles() - start;
}

static void *hot_malloc(size_t size)
{
    void *p = time_malloc(sh_malloc, size);

    last -= empty_malloc;
    sum += last;
    mallocs++;
    return p;
}

static void hot_free(void *p)
{
    time_call(sh_free, p);
    last -= empty_call;
    sum += last;
    frees++;
}

struct bench_calls bench_cold = { sh_malloc, sh_free }, bench_hot = { hot_malloc, hot_free };

void bench_call(void (*function)(void *arg), void *arg)
{
    time_call(function, arg);
    last -= empty_call;
    sum += last;
}

void bench_uncall(void (*function)(void *arg), void *arg)
{
    time_call(function, arg);
    last -= empty_call;
    sum -= last;
}

static void calibrate(void)
{
    time_malloc((void *(*)(size_t))empty, 0);
    empty_malloc = last - 1;
    time_call((void (*)(void *))empty, NULL);
    empty_call = last - 1;
}

bool bench_wants(const char *suite, const char *name)
{
    const char *filter = k_option("bench", "");
    const char *rest = filter;

    if (bench_begins(name, filter))
        return true;
    for (; *suite != 0 && *rest == *suite; rest++)
        suite++;
    return *rest == 0 || (*suite == 0 && *rest == '/' && bench_begins(name, rest + 1));
}

void bench_begin(void)
{
    sum = mallocs = frees = last = 0;
}

/* In tenths: of calls that there are none of, the cost is 0. */
void bench_end(const char *name)
{
    bench_line(BENCH_MALLOC, name, sum, mallocs > frees ? mallocs : frees, mallocs > 1 ? 1 : 0,
               "instructions");
}

void bench_end_calls(const char *suite, const char *name, uint32_t operations)
{
    bench_line(suite, name, sum, operations, 1, "instructions");
}

uint32_t bench_last(void)
{
    return last;
}

/* Frames that follow each other; those below the last gap are lost. */
static void take_room(void)
{
    sh_paddr first = 0, next = 0, frame;

    while (next - first < BENCH_ROOM) {
        if (!k_frame_alloc(BLOCK, &frame))
            bench_fail("not enough memory");
        first = frame == next ? first : frame;
        next = frame + BLOCK;
    }
    bench_room_base = (uintptr_t)k_phys(first);
}

bool bench_window(size_t size)
{
    bool big = size > K_AREA_SIZE;

    return size <= BIG_AREA_SIZE && sh_add_window(big ? BIG_AREA : K_AREA_BASE, size) == SH_OK;
}

void bench_fail(const char *why)
{
    t_printf("bench: %s\n", why);
    k_exit(false);
}

int bench_main(void)
{
    k_watch = NULL;
    k_frames_check(false);
    take_room();
    calibrate();
    bench_run();
    return 0;
}
