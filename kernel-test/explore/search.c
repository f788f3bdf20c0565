/*
 * The search: every schedule of a scenario, up to a bound.
 *
 * 1. A schedule is what comes of choices.  At a point (memory.c, and where the interrupt mask is lifted or
 *    set, and around calls of the port) the running fiber may be preempted, which the bound limits; where
 *    it ends or waits, any other goes on, which costs nothing.  An interrupt handler is a fiber that begins
 *    on top of another one of its CPU where that CPU's mask is open; what it interrupts goes on after it.
 *    A helper does so while the world is stopped by another CPU, or never.
 *    With store buffers, a store that somebody comes to may be late.  Choice 0 is always to go on.
 *
 * 2. Depth first, without memory of the past: the choices made so far are made again, then choice 0 to the
 *    end; then the last choice that has another way is changed.  Everything else is deterministic.
 *
 * 3. Where a choice is new, the state is hashed: the image, the live part of each stack, buffers, masks, who
 *    runs.  One that was met before with at least as many preemptions left has been searched from there.
 *
 * 4. Bounds go up from 0, so that what fails first has the fewest preemptions.  In each, the search begins
 *    anew until no schedule shows a conflict that it did not know of.
 *
 * 5. A failing schedule is written as the choices other than 0, by the number of the step at which each is
 *    made: 120:1 = at steps 120 fiber 1 goes on; 131~2 = at steps 131 the last two stores to that place are
 *    late.  Steps count everything, also what is not a point, so the string does not depend on what the
 *    search knew.
 */
#define _GNU_SOURCE
#include "kernel-test/explore/search.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#if UINTPTR_MAX > 0xffffffffu
#define REG_PC REG_RIP
#else
#define REG_PC REG_EIP
#endif

enum { CHOICES = 1 << 16, STEPS_MAX = 1000000 };
/* Registers that fiber_switch leaves on a stack. */
enum { SAVED = sizeof(void *) == 8 ? 6 : 4 };

void fiber_switch(void **save, void *to);

enum status { NEW, READY, YIELDED, WAITING, STOPPING, DONE };

unsigned fiber_now, cpu_now;
bool running, replaying;
enum mode mode;
uint64_t steps, last_step, next_choice;

static const struct scenario *scenario;
static unsigned fibers;
static struct {
    void *sp;
    enum status status;
    unsigned interrupted; /* of a handler: the fiber below it; FIBERS_MAX = none */
    uint64_t paused;      /* where it was when it paused last */
} fiber[FIBERS_MAX];
static bool masked[CPUS_MAX], handling[CPUS_MAX];
static unsigned world_owner; /* who has stopped the world; FIBERS_MAX = nobody */
static void *scheduler_sp;
static uint64_t first_step; /* of this schedule */
static unsigned budget, bound;

/* The choices of this schedule; those below `given` are made again. */
static struct choice {
    uint64_t step;
    uint16_t taken, count;
    uint8_t fiber[FIBERS_MAX + 1]; /* who goes on, by choice */
    bool store;
} choices[CHOICES];
static unsigned choice_count, given;

static jmp_buf check_failed;
static bool failed, pruned;
static char failure[512];

static struct token {
    uint64_t step;
    unsigned value;
    bool store;
} tokens[256];
static unsigned token_count, token_next;

/* ---- states that were met ---- */

static uint64_t *table;
static size_t table_size, table_used;

static void table_clear(void)
{
    if (table == NULL) {
        table_size = (size_t)1 << 16;
        table = calloc(table_size, sizeof *table);
    } else {
        memset(table, 0, table_size * sizeof *table);
    }
    table_used = 0;
}

static uint64_t *table_slot(uint64_t key)
{
    size_t at = (size_t)(key >> 3) & (table_size - 1);
    while (table[at] != 0 && (table[at] ^ key) >> 3 != 0) {
        at = (at + 1) & (table_size - 1);
    }
    return &table[at];
}

static void table_grow(void)
{
    uint64_t *old = table;
    size_t size = table_size;
    table_size *= 4;
    table = calloc(table_size, sizeof *table);
    if (table == NULL) {
        fprintf(stderr, "explore: out of memory\n");
        exit(2);
    }
    for (size_t i = 0; i < size; i++) {
        if (old[i] != 0) {
            *table_slot(old[i]) = old[i];
        }
    }
    free(old);
}

/* Was this state met with as many preemptions left?  From now on it was. */
static bool met(uint64_t hash, unsigned left)
{
    uint64_t key = (hash | 8) & ~(uint64_t)7, *slot = table_slot(key);
    unsigned before = (unsigned)(*slot & 7);
    if (*slot != 0 && before >= left + 1) {
        return true;
    }
    table_used += *slot == 0;
    *slot = key | (left + 1);
    if (table_used > table_size / 2) {
        table_grow();
    }
    return false;
}

static uint64_t stack_hash(unsigned number)
{
    const unsigned char *top = stacks[number] + STACK_SIZE;
    uint64_t hash = 0;
    for (const uintptr_t *at = fiber[number].sp; (const unsigned char *)at < top; at++) {
        hash = (hash ^ *at) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return hash;
}

static uint64_t state_hash(void)
{
    uint64_t hash = mix(image_hash + fiber_now + 1) + memory_buffers_hash();
    for (unsigned i = 0; i < fibers; i++) {
        enum status status = fiber[i].status;
        hash = mix(hash + (uint64_t)status);
        if (status != NEW && status != DONE) {
            hash = mix(hash + stack_hash(i));
        }
        if (status == WAITING || status == YIELDED) {
            hash = mix(hash + memory_awaited_hash(i));
        }
    }
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        hash = mix(hash + masked[cpu] + 2u * handling[cpu]);
    }
    return mix(hash + world_owner);
}

/* ---- fibers ---- */

enum reason { AT_POINT, AT_PAUSE, AT_END, AT_FAILURE };
static enum reason reason;

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

static void signals_open(void)
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

/* ---- choices ---- */

static void given_next(void)
{
    if (replaying) {
        next_choice = token_next < token_count ? tokens[token_next].step + first_step : UINT64_MAX;
    } else {
        next_choice = choice_count < given ? choices[choice_count].step + first_step : 0;
    }
}

static unsigned replayed(bool store, unsigned count, const uint8_t *who)
{
    unsigned taken = 0;
    const struct token *token = &tokens[token_next];
    if (token_next < token_count && token->step == steps - first_step && token->store == store) {
        taken = store ? token->value : count;
        for (unsigned i = 0; !store && i < count; i++) {
            taken = who[i] == token->value ? i : taken;
        }
        if (taken >= count) {
            fprintf(stderr, "explore: the schedule does not fit at step %lu\n", (unsigned long)token->step);
            taken = 0;
        }
        token_next++;
        given_next();
    }
    return taken;
}

static unsigned choose(bool store, unsigned count, const uint8_t *who)
{
    if (count == 1) {
        return 0;
    }
    if (replaying) {
        return replayed(store, count, who);
    }
    struct choice *choice = &choices[choice_count];
    if (choice_count == CHOICES - 1) {
        fprintf(stderr, "explore: too many choices\n");
        exit(2);
    }
    if (choice_count >= given) {
        *choice = (struct choice){ .step = steps - first_step, .count = (uint16_t)count, .store = store };
        for (unsigned i = 0; !store && i < count; i++) {
            choice->fiber[i] = who[i];
        }
    } else if (choice->count != count || choice->step != steps - first_step || choice->store != store) {
        fprintf(stderr, "explore: %s is not deterministic at steps %lu\n", scenario->name,
                (unsigned long)(steps - first_step));
        exit(2);
    }
    choice_count++;
    given_next();
    return choice->taken;
}

unsigned choose_store(unsigned count)
{
    return choose(true, count, NULL);
}

/* The next way to go; false = all were gone. */
static bool choices_advance(void)
{
    while (choice_count > 0 && choices[choice_count - 1].taken + 1 == choices[choice_count - 1].count) {
        choice_count--;
    }
    if (choice_count == 0) {
        return false;
    }
    choices[choice_count - 1].taken++;
    given = choice_count;
    return true;
}

/* ---- scheduling ---- */

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

static bool is_runnable(unsigned i)
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

/* Runs a fiber until it comes back. */
static enum reason go_on(unsigned i)
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
static void fiber_paused(unsigned i)
{
    uint64_t paused = stack_hash(i);
    fiber[i].status = paused == fiber[i].paused ? WAITING : YIELDED;
    fiber[i].paused = paused;
}

/* Who goes on: the current one, if it can, is choice 0.  FIBERS_MAX = nobody. */
static unsigned pick(unsigned current)
{
    uint8_t who[FIBERS_MAX + 1];
    unsigned count = 0;
    bool goes_on = current != FIBERS_MAX && is_runnable(current);
    if (goes_on) {
        who[count++] = (uint8_t)current;
    }
    for (unsigned i = 0; i < fibers && (!goes_on || budget > 0); i++) {
        if (i != current && is_runnable(i)) {
            who[count++] = (uint8_t)i;
        }
    }
    for (unsigned i = 0; i < fibers && count == 0; i++) {
        if (fiber[i].status == YIELDED) {
            fiber[i].status = READY;
            memory_forget_reads(i);
            count = is_runnable(i);
            who[0] = (uint8_t)i;
        }
    }
    if (count == 0) {
        return FIBERS_MAX;
    }
    if (!replaying && choice_count >= given && met(state_hash(), budget)) {
        pruned = true;
        return FIBERS_MAX;
    }
    unsigned taken = choose(false, count, who);
    budget -= goes_on && taken != 0 && !replaying;
    return who[taken];
}

static bool all_done(void)
{
    for (unsigned i = 0; i < fibers; i++) {
        if (fiber[i].status != DONE && !(is_helper(i) && fiber[i].status == NEW)) {
            return false;
        }
    }
    return true;
}

static void fiber_ended(unsigned i)
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

static void deadlock(void)
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

static void schedule_begin(void)
{
    image_restore();
    memory_start();
    for (unsigned i = 0; i < fibers; i++) {
        fiber_make(i);
    }
    memset(masked, 0, sizeof masked);
    memset(handling, 0, sizeof handling);
    world_owner = FIBERS_MAX;
    failed = pruned = false;
    budget = bound;
    first_step = steps;
    last_step = steps + STEPS_MAX;
    choice_count = token_next = 0;
    given_next();
}

/* For who looks at one schedule. */
static void tell(const char *what, unsigned i)
{
    if (replaying) {
        printf("    step %lu: fiber %u, on CPU %u, %s\n", (unsigned long)(steps - first_step), i,
               scenario->fiber[i].cpu, what);
    }
}

/* One schedule, to its end, to a state that was met, or to a failure. */
static void schedule_run(void)
{
    unsigned current = FIBERS_MAX;
    schedule_begin();
    while (!failed) {
        unsigned next = pick(current);
        if (pruned) {
            return;
        }
        if (next == FIBERS_MAX) {
            if (memory_drain_hidden()) {
                continue;
            }
            break;
        }
        if (next != current) {
            tell("goes on", next);
        }
        current = next;
        switch (go_on(next)) {
        case AT_PAUSE:
            tell("waits", next);
            fiber_paused(next);
            break;
        case AT_END:
            tell("ends", next);
            fiber_ended(next);
            current = fiber[next].interrupted;
            break;
        case AT_POINT:
        case AT_FAILURE:
        default:
            break;
        }
        if (steps > last_step && !failed) {
            failed = true;
            snprintf(failure, sizeof failure, "no end: too many steps");
        }
    }
    if (!failed && !all_done()) {
        deadlock();
    }
    if (failed) {
        return;
    }
    memory_drain_hidden();
    if (given == 0 && !image_hash_holds()) {
        fprintf(stderr, "explore: %s: a write was not announced\n", scenario->name);
        exit(2);
    }
    if (!met(mix(image_hash) ^ 0x5555, 0) || replaying) {
        if (setjmp(check_failed) == 0) {
            scenario->check();
        }
    }
}

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

/* ---- from outside ---- */

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time); /* others may be at work on the machine */
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void set_up(const struct scenario *which)
{
    static bool opened;
    if (!opened) {
        image_open();
        signals_open();
        opened = true;
    }
    scenario = which;
    for (fibers = 0; fibers < FIBERS_MAX && which->fiber[fibers].run != NULL; fibers++) {
    }
    image_pristine();
    running = false;
    failed = false;
    steps++;
    if (setjmp(check_failed) == 0) {
        which->setup();
    }
    image_base();
}

static void schedule_print(char *text, size_t size)
{
    size_t length = 0;
    text[0] = 0;
    for (unsigned i = 0; i < choice_count; i++) {
        const struct choice *choice = &choices[i];
        if (choice->taken != 0 && length < size) {
            int written = snprintf(text + length, size - length, choice->store ? "%s%lu~%u" : "%s%lu:%u",
                                   length == 0 ? "" : ",", (unsigned long)choice->step,
                                   choice->store ? choice->taken : choice->fiber[choice->taken]);
            length += (size_t)written;
        }
    }
}

static void found(struct result *result)
{
    result->failed = true;
    snprintf(result->what, sizeof result->what, "%s", failure);
    schedule_print(result->schedule, sizeof result->schedule);
}

/* All schedules with what is known of conflicts; true = nothing new was learnt. */
static bool search_once(struct result *result, double deadline)
{
    uint64_t since = 0;
    table_clear();
    given = choice_count = 0;
    result->schedules = 0;
    do {
        schedule_run();
        result->schedules++;
        if (failed) {
            /* A store that was not known to matter may have overtaken one that was. */
            if (memory_new_conflicts()) {
                return false;
            }
            result->states = table_used;
            found(result);
            return true;
        }
        if (++since == 64) {
            since = 0;
            if (memory_new_conflicts()) {
                return false;
            }
            if (now() > deadline) {
                result->complete = false;
                break;
            }
        }
    } while (choices_advance());
    result->states = table_used;
    return !memory_new_conflicts();
}

void search(const struct scenario *which, enum mode in, unsigned most, double seconds, struct result *result)
{
    double begun = now();
    memset(result, 0, sizeof *result);
    mode = in;
    replaying = false;
    result->complete = true;
    set_up(which);
    if (failed) {
        found(result);
    }
    memory_forget_conflicts();
    for (bound = 0; bound <= most && !result->failed && result->complete; bound++) {
        result->bound = bound;
        while (!search_once(result, begun + seconds) && result->complete) {
        }
    }
    result->seconds = now() - begun;
}

static bool tokens_read(const char *text)
{
    token_count = 0;
    while (*text != 0) {
        char *end;
        struct token *token = &tokens[token_count];
        token->step = strtoul(text, &end, 10);
        if (token_count++ == 255 || (*end != ':' && *end != '~')) {
            return false;
        }
        token->store = *end == '~';
        token->value = (unsigned)strtoul(end + 1, &end, 10);
        text = *end == ',' ? end + 1 : end;
        if (*end != 0 && *end != ',') {
            return false;
        }
    }
    return true;
}

bool replay(const struct scenario *which, enum mode in, const char *schedule, struct result *result)
{
    memset(result, 0, sizeof *result);
    if (!tokens_read(schedule)) {
        return false;
    }
    mode = in;
    bound = 7;
    replaying = true;
    set_up(which);
    given = 0;
    table_clear();
    if (!failed) {
        schedule_run();
    }
    result->failed = failed;
    snprintf(result->what, sizeof result->what, "%s", failure);
    replaying = false;
    return true;
}
