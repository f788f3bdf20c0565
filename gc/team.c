/*
 * Teams (see team.h).
 *
 * 1. sh_gc_collect calls for a team before it stops the world, and dismisses it when all is marked.  A
 *    stopped CPU that calls sh_gc_stopped in between waits for a queue to work off, and helps.  None has to
 *    come, none has to be there in time: who marks is counted when it comes and when it goes.
 *
 * 2. A marker takes a span from the queue under the work lock, and looks into it without any: mark.c says
 *    how marks are set then.  Newly marked spans are queued under the lock.  The lock is held for a few
 *    instructions a span.
 *
 * 3. The end.  A marker that finds the queue empty is idle, and waits for a span or for the end.  The end is
 *    when all are idle: each mark that could bring a span to the queue is set by a marker that is not idle.
 *    It is said under the lock, and no marker comes in after it.  The collector goes on when all others
 *    have left, so nothing of a cycle's bits is touched by a helper after its marking.
 *
 * 4. The collector's CPU has interrupts on as its caller had them.  A handler there marks under the lock,
 *    with the same locked instructions, and may queue spans.  If the end was said before that, the collector
 *    finds them in the queue when it looks again.
 *
 * A helper that stops running for a while delays the end, and nothing else.  On its stack lies one marker.
 */
#include "gc/team.h"

#include "gc/mark.h"
#include "gc/work.h"
#include "mm/cache.h"
#include "mm/memory.h"
#include "mm/report.h"

static bool called;  /* a stopped CPU stays for it */
static bool open;    /* there is, or may come, something to mark.  Changed under the work lock */
static unsigned markers, idle, most; /* under the work lock; `markers` is read without it */

void gc_team_call(void)
{
    most = 1;
    __atomic_store_n(&called, mm_cpus > 1, __ATOMIC_RELEASE);
}

void gc_team_dismiss(void)
{
    __atomic_store_n(&called, false, __ATOMIC_RELEASE);
}

bool gc_team_open(void)
{
    return SH_MAX_CPUS > 1 && __atomic_load_n(&open, __ATOMIC_RELAXED);
}

unsigned gc_team_size(void)
{
    return most;
}

/* Until there is a span in the queue, or the end. */
static MM_NOINLINE void wait_for_work(void)
{
    while (gc_work_empty() && gc_team_open() && !mm_dead()) {
        arch_pause();
    }
}

/* A span to look into; false = the end. */
static bool obtain(struct gc_marker *m)
{
    arch_flags flags = gc_lock();
    bool some = gc_mark_take(m);
    if (!some) {
        idle++;
        while (!some && gc_team_open() && !mm_dead()) {
            if (idle == markers) {
                __atomic_store_n(&open, false, __ATOMIC_RELAXED);
                break;
            }
            gc_unlock(flags);
            wait_for_work();
            flags = gc_lock();
            some = gc_mark_take(m);
        }
        idle--;
    }
    gc_unlock(flags);
    return some;
}

/* Marks to the end. */
static void work(struct gc_marker *m)
{
    while (obtain(m)) {
        gc_mark_visit(m);
    }
}

static bool come(void)
{
    arch_flags flags = gc_lock();
    bool in = gc_team_open();
    __atomic_store_n(&markers, markers + in, __ATOMIC_RELAXED);
    most = markers > most ? markers : most;
    gc_unlock(flags);
    return in;
}

/* With what it did. */
static void leave(const struct gc_marker *m)
{
    arch_flags flags = gc_lock();
    gc_mark_account(m->bytes);
    gc.stats.words_scanned += m->words;
    __atomic_store_n(&markers, markers - 1, __ATOMIC_RELEASE);
    gc_unlock(flags);
}

/* The others have left. */
static MM_NOINLINE void wait_for_others(void)
{
    while (__atomic_load_n(&markers, __ATOMIC_ACQUIRE) != 0 && !mm_dead()) {
        arch_pause();
    }
}

size_t gc_team_mark(void)
{
    struct gc_marker m;
    memset(&m, 0, sizeof m);
    arch_flags flags = gc_lock();
    bool some = !gc_work_empty();
    __atomic_store_n(&open, some, __ATOMIC_RELAXED);
    __atomic_store_n(&markers, some, __ATOMIC_RELAXED);
    idle = 0;
    gc_unlock(flags);
    if (some) {
        work(&m);
        leave(&m);
        wait_for_others();
    }
    return m.words;
}

/* Until marking begins; false = it does not. */
static MM_NOINLINE bool wait_for_call(void)
{
    bool stay;
    while ((stay = __atomic_load_n(&called, __ATOMIC_ACQUIRE) && !mm_dead()) && !gc_team_open()) {
        arch_pause();
    }
    return stay;
}

void gc_team_help(void)
{
    while (wait_for_call()) {
        struct gc_marker m;
        memset(&m, 0, sizeof m);
        if (come()) {
            work(&m);
            leave(&m);
        }
    }
}

void gc_team_reset(void)
{
    called = open = false;
    markers = idle = most = 0;
}
