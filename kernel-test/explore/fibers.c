/*
 * Fibers, the masks of their CPUs, and the world that one of them may stop: who can run, running it until it
 * comes back, and what cpu.h and the kernel's hooks ask meanwhile (see search.c, 1).
 */
#define _GNU_SOURCE
#include "kernel-test/explore/schedule.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if UINTPTR_MAX > 0xffffffffu
#define REG_PC REG_RIP
#else
#define REG_PC REG_EIP
#endif

/* Registers that fiber_switch leaves on a stack. */
enum { SAVED = sizeof(void *) == 8 ? 6 : 4 };

void fiber_switch(void **save, void *to);

unsigned fiber_now, cpu_now, fibers, world_owner;
bool running, failed;
struct fiber fiber[FIBERS_MAX];
bool masked[CPUS_MAX], handling[CPUS_MAX];
jmp_buf check_failed;
char failure[512];

static void *scheduler_sp;
static enum reason reason;

uint64_t stack_hash(unsigned number)
{
    const unsigned char *top = stacks[number] + STACK_SIZE;
    uint64_t hash = 0;
    for (const uintptr_t *at = fiber[number].sp; (const unsigned char *)at < top; at++) {
        hash = (hash ^ *at) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return hash;
}

static void back(enum reason why)
{
    memory_settle();
    reason = why;
    fiber_switch(&fiber[fiber_now].sp, scheduler_sp);
}

static void fiber_entry(void)
{
    scenario->fiber[fiber_now].run();
    steps++;
    back(AT_END);
}

static void fiber_make(unsigned number)
{
    unsigned char *top = stacks[number] + STACK_SIZE;
    memset(stacks[number], 0, STACK_SIZE);
    /* It begins as if it had been called: the stack pointer is aligned to 16 above the return address. */
    uintptr_t *sp = (uintptr_t *)(void *)(top - 16);
    sp[0] = (uintptr_t)fiber_entry;
    fiber[number].sp = sp - SAVED;
    fiber[number].status = NEW;
    fiber[number].paused = 0;
    fiber[number].interrupted = FIBERS_MAX;
}

void violated(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(failure, sizeof failure, format, arguments);
    va_end(arguments);
    failed = true;
    if (!running) {
        longjmp(check_failed, 1);
    }
    reason = AT_FAILURE;
    fiber_switch(&fiber[fiber_now].sp, scheduler_sp);
    abort();
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    const ucontext_t *at = context;
    violated("%s at %p, by the code at %#llx",
             number == SIGSEGV || number == SIGBUS ? "a memory fault" : "a trap", info->si_addr,
             (unsigned long long)at->uc_mcontext.gregs[REG_PC]);
}

void signals_open(void)
{
    static unsigned char alternate[64 << 10];
    stack_t stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
}

void fibers_begin(void)
{
    for (unsigned i = 0; i < fibers; i++) {
        fiber_make(i);
    }
    memset(masked, 0, sizeof masked);
    memset(handling, 0, sizeof handling);
    world_owner = FIBERS_MAX;
}

/* ---- who can run ---- */

/* On top of what its CPU does. */
static bool is_handler(unsigned i)
{
    return scenario->fiber[i].handler || scenario->fiber[i].helper;
}

static bool is_helper(unsigned i)
{
    return scenario->fiber[i].helper;
}

static bool world_stands(unsigned owner)
{
    for (unsigned i = 0; i < fibers; i++) {
        unsigned cpu = scenario->fiber[i].cpu;
        bool at_work = fiber[i].status != DONE && !(is_handler(i) && fiber[i].status == NEW);
        if (i != owner && at_work && (masked[cpu] || handling[cpu])) {
            return false;
        }
    }
    return true;
}

bool is_runnable(unsigned i)
{
    unsigned cpu = scenario->fiber[i].cpu;
    if (fiber[i].status == DONE || (world_owner != FIBERS_MAX && i != world_owner && !is_helper(i))) {
        return false;
    }
    if (is_handler(i)) {
        if (fiber[i].status == NEW && is_helper(i)) {
            return world_owner != FIBERS_MAX && scenario->fiber[world_owner].cpu != cpu && !handling[cpu];
        }
        if (fiber[i].status == NEW) {
            return !masked[cpu] && !handling[cpu];
        }
    } else if (handling[cpu]) {
        return false;
    }
    switch (fiber[i].status) {
    case WAITING:
    case YIELDED:
        return memory_has_changed(i);
    case STOPPING:
        return world_stands(i);
    case NEW:
    case READY:
    case DONE:
    default:
        return true;
    }
}

enum reason go_on(unsigned i)
{
    unsigned cpu = scenario->fiber[i].cpu;
    if (fiber[i].status == NEW && is_handler(i)) {
        handling[cpu] = masked[cpu] = true;
        fiber[i].interrupted = FIBERS_MAX;
        for (unsigned below = 0; below < fibers; below++) {
            if (scenario->fiber[below].cpu == cpu && !is_handler(below) && fiber[below].status != DONE) {
                fiber[i].interrupted = below;
            }
        }
    }
    if (fiber[i].status == WAITING || fiber[i].status == YIELDED) {
        memory_deliver_awaited(i);
        memory_forget_reads(i);
    }
    if (fiber[i].status == STOPPING) {
        world_owner = i;
    }
    fiber[i].status = READY;
    fiber_now = i;
    cpu_now = cpu;
    memory_show(cpu);
    running = true;
    fiber_switch(&scheduler_sp, fiber[i].sp);
    running = false;
    memory_hide(cpu);
    return reason;
}

/* A pause: it waits until something changes that it has read since the one before.  If it is not where it
 * was then, it may be about to look at something else: so it also goes on when nobody else can. */
void fiber_paused(unsigned i)
{
    uint64_t paused = stack_hash(i);
    fiber[i].status = paused == fiber[i].paused ? WAITING : YIELDED;
    fiber[i].paused = paused;
}

bool all_done(void)
{
    for (unsigned i = 0; i < fibers; i++) {
        if (fiber[i].status != DONE && !(is_helper(i) && fiber[i].status == NEW)) {
            return false;
        }
    }
    return true;
}

void fiber_ended(unsigned i)
{
    unsigned cpu = scenario->fiber[i].cpu;
    fiber[i].status = DONE;
    if (is_handler(i)) {
        handling[cpu] = masked[cpu] = false;
    } else if (masked[cpu]) {
        failed = true;
        snprintf(failure, sizeof failure, "fiber %u ended with interrupts masked", i);
    }
}

void deadlock(void)
{
    failed = true;
    int length = snprintf(failure, sizeof failure, "deadlock:");
    for (unsigned i = 0; i < fibers; i++) {
        if (fiber[i].status != DONE) {
            length += snprintf(failure + length, sizeof failure - (size_t)length, " fiber %u %s", i,
                               fiber[i].status == STOPPING  ? "waits for the world to stop"
                               : fiber[i].status == WAITING ? "waits"
                                                            : "cannot run");
        }
    }
}

/* ---- points ---- */

void point(void)
{
    back(AT_POINT);
}

void explore_point(void)
{
    if (running) {
        memory_settle();
        steps++;
        if (steps >= next_choice) {
            back(AT_POINT);
        }
    }
}

/* ---- what cpu.h and hooks of the kernel ask ---- */

bool in_handler(void)
{
    return running && handling[cpu_now];
}

/* Does it matter here that this CPU's mask is open? */
static bool mask_matters(void)
{
    for (unsigned i = 0; i < fibers; i++) {
        if (scenario->fiber[i].handler && fiber[i].status == NEW && scenario->fiber[i].cpu == cpu_now) {
            return true;
        }
    }
    for (unsigned i = 0; i < fibers; i++) {
        if (fiber[i].status == STOPPING) {
            return true;
        }
    }
    return false;
}

uintptr_t explore_irq_save(void)
{
    if (!running) {
        return 0;
    }
    uintptr_t flags = masked[cpu_now];
    if (flags == 0) {
        steps++;
        if (steps >= next_choice && mask_matters()) {
            back(AT_POINT);
        }
    }
    memory_settle();
    masked[cpu_now] = true;
    return flags;
}

void explore_irq_restore(uintptr_t flags)
{
    if (!running) {
        return;
    }
    memory_settle();
    masked[cpu_now] = flags != 0;
    if (flags == 0) {
        steps++;
        if (steps >= next_choice && mask_matters()) {
            back(AT_POINT);
        }
    }
}

bool explore_irq_enabled(void)
{
    return !running || !masked[cpu_now];
}

void explore_pause(void)
{
    if (!running) {
        violated("a wait where nobody else runs");
    }
    memory_settle();
    memory_drain(cpu_now);
    memory_await();
    steps++;
    back(AT_PAUSE);
}

void explore_stop_world(void)
{
    if (!running) {
        return;
    }
    memory_settle();
    steps++;
    if (world_owner == fiber_now) {
        violated("the world is stopped twice");
    }
    memory_drain(cpu_now);
    fiber[fiber_now].status = STOPPING;
    back(AT_POINT);
    memory_drain_hidden();
    explore_point(); /* others may help from here on */
}

void explore_resume_world(void)
{
    if (!running) {
        return;
    }
    memory_settle();
    steps++;
    if (world_owner != fiber_now) {
        violated("the world goes on and did not stand");
    }
    memory_drain(cpu_now);
    world_owner = FIBERS_MAX;
    back(AT_POINT);
}

void explore_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg)
{
    for (unsigned i = 0; running && i < fibers; i++) {
        if (fiber[i].status != NEW && fiber[i].status != DONE) {
            const void *low = i == fiber_now ? __builtin_frame_address(0) : fiber[i].sp;
            scan(low, stacks[i] + STACK_SIZE, arg);
        }
    }
}
