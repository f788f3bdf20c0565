/*
 * The arena model: every state that the layers under the spans can reach in a tiny address space.
 *
 * 1. What runs.  All of mm/, as it is, compiled for the host with the constants of scale.h.  A state is
 *    all memory that it writes (image.c).  From each state every action of actions.c is taken, in every
 *    way in which the machine may answer (port.c), until no new state appears: breadth first, so that
 *    the way shown to a state where something does not hold is a shortest one.
 *
 * 2. Choices.  An action is run with a list of choices; each call of the port asks for one more.  When it
 *    is over the last choice that has another way left is moved on, as in an odometer: so all ways are
 *    tried, a failure of each call and of each combination of calls among them.  Refusing is what a
 *    window that was not donated yet looks like, so with ANY_PLACE and EDGES every order of windows is
 *    covered; with WINDOWS donating is an action of its own.
 *
 * 3. What is made equal, before two states are compared, because nothing that is checked depends on it:
 *      - which of the descriptors a span has, and the order and contents of the free ones;
 *      - the sequence number in a span's state, and the flags for calloc and sh_free_sized;
 *      - the counters of frees and of refusals, which only grow, and the growth's note of what room it
 *        lacked, which each growth clears;
 *      - places in the stacks of kept runs, and in the list of spare blocks, above their counts.
 *    Everything else is compared, by a 64-bit hash: among a million states two different ones are taken
 *    for one with a probability of 3 in 10^8.
 *
 * 4. What is checked.  In every call of the port: that the contract allows it, that it is none where none
 *    may come, what a query of every page finds at that moment, and that the records behind it are mapped.
 *    After every action: its result, the ledger of frames, and that no memory was written but committed
 *    metadata.  In every state, all that check.c has.  An
 *    allocation that is refused although nothing failed, and although the page allocator has a place for
 *    it, must succeed once there is address space for records.  At the end: a call that failed, while the
 *    same call without a failure succeeded, succeeds in the state that the failure left.  (Where the
 *    failed one had reserved address space, that may be cut up differently now: such calls are left out.)
 *
 * 5. The scope, which each line says, is small: a defect that needs more windows, more pages or a larger
 *    chunk is not found.  One CPU, no handler in the middle of an action, no small objects.
 */
#define _GNU_SOURCE
#include "kernel-test/model/model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define CHOICES_MAX 64
#define NO_STATE UINT32_MAX

/* ---- choices: one way through a transition, counted through like an odometer ---- */

static struct {
    uint8_t way[CHOICES_MAX], ways[CHOICES_MAX];
    unsigned given, at;
} choices;

unsigned choose(unsigned count)
{
    if (choices.at == CHOICES_MAX) {
        violated("more choices in a transition than the model counts", 0);
    }
    unsigned way = choices.at < choices.given ? choices.way[choices.at] : 0;
    choices.way[choices.at] = (uint8_t)way;
    choices.ways[choices.at++] = (uint8_t)count;
    return way;
}

void choices_rewind(void)
{
    choices.at = 0;
}

/* The next way; false = that was the last. */
static bool choices_next(void)
{
    while (choices.at > 0 && choices.way[choices.at - 1] + 1 == choices.ways[choices.at - 1]) {
        choices.at--;
    }
    choices.given = choices.at;
    if (choices.at == 0) {
        return false;
    }
    choices.way[choices.at - 1]++;
    return true;
}

/* ---- states that were seen ---- */

struct state {
    uint64_t hash;
    void *kept;         /* until it is taken up */
    uint32_t parent;
    struct step step;
    uint16_t served;    /* allocations that succeed if nothing fails */
    uint16_t wanted;    /* of those that must, because they only failed before for a hook that failed */
};

static struct state *states;
static uint32_t state_count, state_room;
static uint32_t *table;
static uint32_t table_size; /* a power of two */

static void *room(void *old, size_t count, size_t size)
{
    void *new = realloc(old, count * size);
    if (new == NULL) {
        fprintf(stderr, "model: out of memory\n");
        exit(2);
    }
    return new;
}

static uint32_t *slot_of(uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (table_size - 1);
    while (table[at] != NO_STATE && states[table[at]].hash != hash) {
        at = (at + 1) & (table_size - 1);
    }
    return &table[at];
}

static void table_grow(void)
{
    table_size = table_size == 0 ? 1 << 16 : table_size * 2;
    table = room(table, table_size, sizeof *table);
    memset(table, 0xff, table_size * sizeof *table);
    for (uint32_t i = 0; i < state_count; i++) {
        *slot_of(states[i].hash) = i;
    }
}

/* The state's number; `*new` = it is seen for the first time. */
static uint32_t state_number(uint64_t hash, uint32_t parent, struct step step, bool *new)
{
    if (state_count * 2 >= table_size) {
        table_grow();
    }
    uint32_t *slot = slot_of(hash);
    *new = *slot == NO_STATE;
    if (*new) {
        if (state_count == state_room) {
            state_room = state_room == 0 ? 1 << 14 : state_room * 2;
            states = room(states, state_room, sizeof *states);
        }
        states[state_count] = (struct state){ .hash = hash, .parent = parent, .step = step };
        *slot = state_count++;
    }
    return *slot;
}

/* ---- what goes on ---- */

static struct {
    uint32_t parent;
    struct step step;
    enum { RUNNING, CHECKED, ASKED_AGAIN } end; /* of the transition: it is over, and its end is looked at */
    const char *what;
    uintptr_t at;
} now;

static sigjmp_buf out;
static bool telling;
static uint64_t transitions, failures, transitions_seen;

void tell(const char *format, ...)
{
    if (telling) {
        va_list arguments;
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
    }
}

_Noreturn void violated(const char *what, uintptr_t at)
{
    now.what = what;
    now.at = at;
    siglongjmp(out, 1);
}

static void on_signal(int number)
{
    if (number != SIGALRM) {
        violated(number == SIGSEGV ? "SIGSEGV" : "a signal", 0);
    }
    if (transitions == transitions_seen) {
        violated("a transition does not end", 0);
    }
    transitions_seen = transitions;
}

/* ---- the search ---- */

/* The end of a transition.  What is checked there ruins the state, so it is gone to again. */
static void arrive(bool ok, bool good, uint32_t from, struct step step)
{
    bool new;
    uint64_t hash = image_hash();
    uint32_t number = state_number(hash, from, step, &new);
    if (!ok && good && !port_run.reserved && is_call(step.action)) {
        states[number].wanted |= (uint16_t)(1u << step.action);
    }
    states[number].kept = new ? image_keep() : states[number].kept;
    bool refused = !ok && port_run.failures == 0 && is_call(step.action) && scope->limit == 0;
    if (!new && !refused) {
        image_undo();
        return;
    }
    if (new) {
        now.end = CHECKED;
        check_state();
        image_restore();
    }
    if (refused) {
        now.end = RUNNING;
        choices.given = choices.at;
        if (new) {
            perform(step);
        }
        now.end = ASKED_AGAIN;
        refused_rightly(step);
        image_restore();
    }
    now.end = RUNNING;
}

static void take(uint32_t from, struct step step)
{
    bool good = false, first = true;
    now.parent = from;
    now.step = step;
    choices.given = 0;
    do {
        bool ok = perform(step);
        good = first ? ok : good;
        if (first && ok && is_call(step.action)) {
            states[from].served |= (uint16_t)(1u << step.action);
        }
        first = false;
        transitions++;
        failures += port_run.failures;
        arrive(ok, good, from, step);
    } while (choices_next());
}

static void search(void)
{
    bool new;
    port_open();
    image_open();
    heap_open();
    image_base();
    state_number(image_hash(), NO_STATE, (struct step){ 0, 0 }, &new);
    states[0].kept = image_keep();
    for (uint32_t i = 0; i < state_count; i++) {
        image_take_up(states[i].kept);
        states[i].kept = NULL;
        for (unsigned action = 0; action < action_count; action++) {
            for (unsigned page = 0; page < page_count; page++) {
                if (applies(action, page)) {
                    take(i, (struct step){ (uint8_t)action, (uint8_t)page });
                }
            }
        }
    }
    for (uint32_t i = 0; i < state_count; i++) {
        if ((states[i].wanted & ~states[i].served) != 0) {
            now.parent = i;
            now.step.action = (uint8_t)__builtin_ctz(states[i].wanted & ~states[i].served);
            choices.given = 0;
            violated("a call that failed for a hook's sake fails without", 0);
        }
    }
}

/* ---- showing the way ---- */

static bool arrives(struct step step, uint64_t hash)
{
    choices.given = 0;
    do {
        perform(step);
        bool here = image_hash() == hash;
        image_undo();
        if (here) {
            choices.given = choices.at;
            return true;
        }
    } while (choices_next());
    return false;
}

/* From the first state to where it broke. */
static void show(void)
{
    uint32_t way[64];
    unsigned length = 0;
    for (uint32_t at = now.parent; states[at].parent != NO_STATE && length < 64; at = states[at].parent) {
        way[length++] = at;
    }
    image_to_base();
    while (length-- > 0) {
        const struct state *state = &states[way[length]];
        if (!arrives(state->step, state->hash)) {
            printf("    the way is lost\n");
            return;
        }
        telling = true;
        perform(state->step);
        telling = false;
        image_hash();
        image_take_up(image_keep());
    }
}

static void report_violation(void)
{
    static __typeof__(choices) saved;
    static __typeof__(now) first;
    static bool shown;
    saved = choices;
    first = now;
    printf("FAILED %s/%s: %s (%#zx)\n", MODEL_NAME, scope->name, first.what, (size_t)first.at);
    shown = false;
    if (sigsetjmp(out, 1) == 0) {
        show();
        shown = true;
        choices = saved;
        choices.given = saved.at;
        telling = true;
        perform(first.step);
        image_hash();
        if (first.end == CHECKED) {
            check_state();
        } else if (first.end == ASKED_AGAIN) {
            refused_rightly(first.step);
        }
    }
    telling = false;
    printf("    %s (%#zx)\n", shown ? now.what : "?", (size_t)now.at);
}

/* ---- a case ---- */

static bool run(const struct scope *wanted)
{
    static const char *const answers[] = { "any place", "places at the edges", "donated in any order" };
    struct timespec start, end;
    static bool ok;
    scope = wanted;
    transitions = failures = transitions_seen = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    ok = false;
    now.end = RUNNING;
    if (sigsetjmp(out, 1) == 0) {
        search();
        ok = true;
    } else {
        report_violation();
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    printf("%-6s %s/%s: %s; %u of %lu pages in %u window%s, %s; %u states, %llu transitions, %llu injected "
           "failures, %.1f s\n", ok ? "ok" : "FAILED", MODEL_NAME, scope->name, MODEL_RATIO, page_count,
           1ul << (MM_ADDRESS_BITS - MM_PAGE_SHIFT), scope->windows, scope->windows == 1 ? "" : "s",
           answers[scope->answers], state_count, (unsigned long long)transitions,
           (unsigned long long)failures, seconds);
    fflush(stdout);
    for (uint32_t i = 0; i < state_count; i++) {
        free(states[i].kept);
    }
    state_count = 0;
    memset(table, 0xff, table_size * sizeof *table);
    image_to_base();
    sh_shutdown();
    return ok;
}

int main(int count, char **names)
{
    unsigned passed = 0, failed = 0;
    /* A crash of the heap is found, too, and then the way to it is shown. */
    static char stack[1 << 16];
    sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof stack }, NULL);
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGALRM };
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        sigaction(signals[i], &(struct sigaction){ .sa_handler = on_signal, .sa_flags = SA_ONSTACK }, NULL);
    }
    setitimer(ITIMER_REAL, &(struct itimerval){ { 10, 0 }, { 10, 0 } }, NULL);
    for (unsigned i = 0; i < scope_count; i++) {
        if (count < 2 || strcmp(names[1], scopes[i].name) == 0) {
            bool ok = run(&scopes[i]);
            passed += ok;
            failed += !ok;
        }
    }
    if (passed + failed == 0) {
        printf("no test is called %s\n", names[1]);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
