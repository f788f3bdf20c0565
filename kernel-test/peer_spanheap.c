/*
 * The programs of peer_work.h on Spanheap; stack and registers are looked at through the scan_stacks hook,
 * whose thread is the only one.
 *
 *     peer-spanheap WORK [exact|steps]
 *
 *     exact    objects have types; otherwise all but bytes are conservative
 *     steps    collected in steps, with write barriers, and a pause is a step, or a whole collection where an
 *              allocation needs one; otherwise automatically, and a pause is while the world stands
 *
 * With PEER_HEAP=bytes in the environment, that is the heap's limit, its records included, and the collector
 * begins when little of it is left, but for steps.  Without, it begins when the heap has doubled.
 *
 * In steps: once as much was allocated as the last cycle kept, a step of STEP words for every quarter of
 * that that is allocated.
 */
#define _GNU_SOURCE
#include <limits.h>

#include "arch/host/host.h"
#include "gc/gc.h"

#define STEP 2000u
#define STEP_BYTES (STEP * sizeof(void *) / 4)

static bool exact, steps, in_step;
static size_t until_step = SIZE_MAX; /* bytes; in steps */

static void step(size_t size);

static inline void *made(void *object, size_t size)
{
    if (__builtin_expect(until_step < size, 0))
        step(size);
    until_step -= steps ? size : 0;
    return object;
}

static inline void *work_new(const struct sh_gc_type *type)
{
    return made(exact ? sh_gc_new(type, 1) : sh_gc_malloc(type->size, 0), type->size);
}

static inline void *work_array(size_t count)
{
    static const uintptr_t pointer = 1;
    static const struct sh_gc_type type = { sizeof(void *), &pointer, "pointer" };

    return exact ? sh_gc_new(&type, count) : sh_gc_malloc(count * sizeof(void *), 0);
}

static inline void *work_bytes(size_t size)
{
    return made(sh_gc_malloc(size, SH_GC_NOSCAN), size);
}

static inline void work_set(void *slot, void *object)
{
    if (__builtin_expect(steps, 0))
        sh_gc_write(slot, object);
    else
        *(void **)slot = object;
}

static inline void work_collect(void)
{
    sh_gc_collect();
}

#include "kernel-test/peer_work.h"

static const void *stack_top;

static void scan_stacks(void (*each)(const void *low, const void *high, void *arg), void *arg)
{
    each(__builtin_frame_address(0), stack_top, arg);
}

static void step(size_t size)
{
    struct sh_gc_stats stats;

    until_step = STEP_BYTES + size;
    work_pause_begin();
    in_step = true;
    if (sh_gc_step(STEP)) {
        sh_gc_stats(&stats);
        until_step += stats.heap_after;
    }
    in_step = false;
    work_pause_end();
}

static void stopped(void)
{
    if (!in_step)
        work_pause_begin();
}

static void resumed(void)
{
    if (!in_step)
        work_pause_end();
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

int main(int argc, char **argv)
{
    static const struct sh_hooks hooks = {
        .stop_world = stopped,
        .resume_world = resumed,
        .scan_stacks = scan_stacks,
    };
    struct sh_config config = { .size = sizeof config, .hooks = &hooks };
    struct sh_gc_config collected = { .size = sizeof collected };

    stack_top = __builtin_frame_address(0);
    exact = argc > 2 && strcmp(argv[2], "exact") == 0;
    steps = argc > 2 && strcmp(argv[2], "steps") == 0;
    collected.automatic = !steps;
    if (getenv("PEER_HEAP") != NULL) {
        config.limit = strtoul(getenv("PEER_HEAP"), NULL, 10);
        collected.percent = UINT_MAX;
    }
    until_step = steps ? STEP_BYTES : until_step;
    want(argc > 1, "which work?");
    want(sh_host_window((size_t)4 << 30) != 0 && sh_init(&config) == SH_OK, "no heap");
    want(sh_gc_init(&collected) == SH_OK, "no collector");
    return work(argv[1]);
}
