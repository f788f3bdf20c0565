/*
 * The rig on the host: a port that checks every call.
 *
 * The heap stands on an area of PROT_NONE memory.  Each arch page of it has a shadow state, and
 * each of the seven sh_arch_* functions rejects what the contract forbids: a map of a page that is
 * not Reserved, a commit of one that is not Prepared, a release that is not exactly a
 * reservation.  Only Ready pages can be touched: a decommit destroys the contents and the access,
 * so that a heap which touches what it gave back ends in SIGSEGV, and the test fails with the
 * address.  Demand mode works through the same signal: sh_handle_fault is asked first.
 *
 * There is no sh_arch_port here, so the heap does without what it offers.  Page tables are a ledger
 * only: one 4 KiB frame for each chunk that has a page in Prepared, Ready or Fault.
 *
 * rig_script.h is the part that tests of growth and windows use to answer for the machine.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "kernel-test/kernel.h"
#include "kernel-test/rig.h"
#include "kernel-test/rig_area.h"
#include "kernel-test/rig_hooks.h"
#include "kernel-test/rig_script.h"
#include "kernel-test/k_string.h"
#include "kernel-test/test.h"
#include "kernel-test/test_util.h"
#include "mm/arena.h"

#define AREA_PAGES (AREA_SIZE >> SH_ARCH_PAGE_SHIFT)
#define CHUNK_SHIFT 22
#define CHUNKS (AREA_SIZE >> CHUNK_SHIFT)
#define HANG_SECONDS 60
#define MOST_ANSWERS 1024u
#define MOST_CALLS 16384u
#define MOST_RANGES 65536u
#define WHOLE ((size_t)-1)

struct range {
    uintptr_t base;
    size_t size;
};

struct failure {
    unsigned long nth; /* 0 = none */
    bool from_then_on;
    unsigned long calls;
};

static uint8_t shadow[AREA_PAGES];     /* enum sh_state */
static uint32_t chunk_pages[CHUNKS];   /* pages of the chunk that need its leaf table */
static size_t first_page = AREA_PAGES, end_page; /* all others are None since the last reset */
static size_t bytes_in[SH_FAULT + 1];
static size_t table_bytes;

static struct range windows[SH_MAX_WINDOWS];
static unsigned window_count;
static const char *window_error = "";
static struct range ranges[MOST_RANGES]; /* what was reserved and not released */
static unsigned range_count;
static bool heap_called;

static uintptr_t answers[MOST_ANSWERS]; /* 0 = refuse */
static unsigned answer_head, answer_tail;
static struct rig_call calls[MOST_CALLS];
static unsigned long call_count;
static unsigned long kind_count[RIG_KINDS];
static struct failure fail_any, fail_kind[RIG_KINDS], fail_records, fail_pages;
static unsigned long failed_count;
static unsigned long lie_at, lies_released; /* the reserve call that lies; 0 = none */
static struct range lie;
static size_t frame_budget, prepared_budget;

static void (*probe_fn)(void);
static bool probing;
static bool left_inside; /* a test ended inside a call of ours, and so inside the heap */
static unsigned long mended;

/* ---- the shadow ---- */

static const char *const kind_names[] = { "reserve", "release", "map", "commit", "decommit",
                                          "fault" };
static const char *const state_names[] = { "None", "Reserved", "Prepared", "Ready", "Fault" };

static size_t page_index(uintptr_t address)
{
    return (address - area_base) >> SH_ARCH_PAGE_SHIFT;
}

static bool in_area(uintptr_t base, size_t size)
{
    return base >= area_base && base - area_base < AREA_SIZE &&
        size <= AREA_SIZE - (base - area_base);
}

static bool has_table(enum sh_state state)
{
    return state == SH_PREPARED || state == SH_READY || state == SH_FAULT;
}

static void set_state(size_t page, enum sh_state state)
{
    enum sh_state old = (enum sh_state)shadow[page];
    size_t chunk = page >> (CHUNK_SHIFT - SH_ARCH_PAGE_SHIFT);

    if (has_table(state) && !has_table(old) && chunk_pages[chunk]++ == 0)
        table_bytes += SH_TABLE_FRAME_SIZE;
    if (!has_table(state) && has_table(old) && --chunk_pages[chunk] == 0)
        table_bytes -= SH_TABLE_FRAME_SIZE;
    bytes_in[old] -= SH_ARCH_PAGE_SIZE;
    bytes_in[state] += SH_ARCH_PAGE_SIZE;
    shadow[page] = (uint8_t)state;
    first_page = page < first_page ? page : first_page;
    end_page = page < end_page ? end_page : page + 1;
}

static __attribute__((noreturn)) void reject(enum rig_kind kind, uintptr_t base, size_t size,
                                             const char *why)
{
    t_fail(__FILE__, __LINE__, "illegal %s of %zu bytes at %p: %s", kind_names[kind], size,
           (void *)base, why);
}

/* Every page of the range must be in one of the states of the mask (bit = state). */
static void require_states(enum rig_kind kind, uintptr_t base, size_t size, unsigned mask)
{
    if (size == 0 || ((base | size) & (SH_ARCH_PAGE_SIZE - 1)) != 0)
        reject(kind, base, size, "not whole pages");
    if (!in_area(base, size))
        reject(kind, base, size, "outside every window");
    for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE) {
        unsigned state = shadow[page_index(base + at)];
        if ((mask >> state & 1) == 0)
            t_fail(__FILE__, __LINE__, "illegal %s of %zu bytes at %p: the page at %p is %s",
                   kind_names[kind], size, (void *)base, (void *)(base + at), state_names[state]);
    }
}

static void set_states(uintptr_t base, size_t size, enum sh_state state)
{
    for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE)
        set_state(page_index(base + at), state);
}

/* The first run of pages at or above `base` that are Ready, or are not; WHOLE = there is none. */
static size_t run_of(uintptr_t base, size_t size, bool ready, size_t *at)
{
    size_t start = *at;

    while (start < size && (shadow[page_index(base + start)] == SH_READY) != ready)
        start += SH_ARCH_PAGE_SIZE;
    *at = start;
    while (*at < size && (shadow[page_index(base + *at)] == SH_READY) == ready)
        *at += SH_ARCH_PAGE_SIZE;
    return start < size ? start : WHOLE;
}

static void open_pages(uintptr_t base, size_t size)
{
    for (size_t at = 0, start; (start = run_of(base, size, false, &at)) != WHOLE;)
        rig_area_open(base + start, at - start);
}

/* Contents and access gone. */
static void seal(uintptr_t base, size_t size)
{
    for (size_t at = 0, start; (start = run_of(base, size, true, &at)) != WHOLE;)
        rig_area_seal(base + start, at - start);
}

/* ---- what surrounds every call ---- */

static void run_probe(void)
{
    if (probe_fn == NULL || probing)
        return;
    probing = true;
    probe_fn();
    probing = false;
}

static void enter(enum rig_kind kind, uintptr_t base, size_t size)
{
    heap_called = true;
    if (rig_hooks_context() != SH_THREAD)
        reject(kind, base, size, "called in a handler's context");
    if (probing)
        reject(kind, base, size, "called by what a hook called");
    left_inside = true;
    run_probe();
}

static uintptr_t leave(enum rig_kind kind, uintptr_t base, size_t size, uintptr_t result)
{
    if (call_count < MOST_CALLS)
        calls[call_count] = (struct rig_call){ kind, base, size, result };
    call_count++;
    kind_count[kind]++;
    run_probe();
    left_inside = false;
    return result;
}

static bool counts_down(struct failure *failure)
{
    failure->calls++;
    if (failure->nth == 0)
        return false;
    return failure->from_then_on ? failure->calls >= failure->nth : failure->calls == failure->nth;
}

static bool made_to_fail(enum rig_kind kind, struct failure *part)
{
    bool any = counts_down(&fail_any), one = counts_down(&fail_kind[kind]);

    one = (part != NULL && counts_down(part)) || one;
    if (any || one)
        failed_count++;
    return any || one;
}

/* What the page allocator knows is pages of the heap's, the rest its records. */
static struct failure *commit_part(uintptr_t base)
{
    return mm_bit_test(mm_chunk_of(base)->owned, mm_chunk_page(base)) ? &fail_pages : &fail_records;
}

/* ---- the seven functions ---- */

static size_t first_taken(uintptr_t base, size_t size)
{
    for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE)
        if (shadow[page_index(base + at)] != SH_NONE)
            return at;
    return WHOLE;
}

/* Where it ends, with the windows that follow without a gap: as in arch/windows.c they are one. */
static uintptr_t window_end(const struct range *window)
{
    uintptr_t end = window->base + window->size;

    for (unsigned i = 0; i < window_count;) {
        bool next = windows[i].base == end;
        end += next ? windows[i].size : 0;
        i = next ? 0 : i + 1;
    }
    return end;
}

static uintptr_t fit_in_window(const struct range *window, size_t size, size_t align)
{
    uintptr_t end = window_end(window), p = (window->base + align - 1) & ~(align - 1);

    while (p >= window->base && p < end && size <= end - p) {
        size_t taken = first_taken(p, size);
        if (taken == WHOLE)
            return p;
        p = (p + taken + SH_ARCH_PAGE_SIZE + align - 1) & ~(align - 1);
    }
    return 0;
}

static bool window_holds(uintptr_t base, size_t size)
{
    for (unsigned i = 0; i < window_count; i++)
        if (base >= windows[i].base && base - windows[i].base < windows[i].size &&
            size <= window_end(&windows[i]) - base)
            return true;
    return false;
}

static uintptr_t find_room(uintptr_t hint, size_t size, size_t align)
{
    uintptr_t found = 0;

    if (hint != 0 && (hint & (align - 1)) == 0 && window_holds(hint, size) &&
        first_taken(hint, size) == WHOLE)
        return hint;
    for (unsigned i = 0; i < window_count && found == 0; i++)
        found = fit_in_window(&windows[i], size, align);
    return found;
}

static uintptr_t scripted(size_t size, size_t align)
{
    uintptr_t base = answers[answer_head++];

    if (base == 0)
        return 0;
    if (!in_area(base, size) || first_taken(base, size) != WHOLE || (base & (align - 1)) != 0)
        t_fail(__FILE__, __LINE__, "the script cannot give %zu bytes aligned to %zu at %p", size,
               align, (void *)base);
    return base;
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    uintptr_t base = 0;

    enter(RIG_RESERVE, hint, size);
    if (size == 0 || (size & (SH_ARCH_PAGE_SIZE - 1)) != 0)
        reject(RIG_RESERVE, hint, size, "not whole pages");
    if (align == 0 || (align & (align - 1)) != 0)
        reject(RIG_RESERVE, hint, size, "the alignment is no power of two");
    if (align < SH_ARCH_PAGE_SIZE)
        align = SH_ARCH_PAGE_SIZE;
    if (made_to_fail(RIG_RESERVE, NULL))
        return leave(RIG_RESERVE, hint, size, 0);
    if (lie_at != 0 && --lie_at == 0) {
        lie.size = size;
        return leave(RIG_RESERVE, hint, size, lie.base);
    }
    base = answer_head < answer_tail ? scripted(size, align) : find_room(hint, size, align);
    if (base != 0) {
        if (range_count == MOST_RANGES)
            reject(RIG_RESERVE, hint, size, "too many reservations for the rig");
        ranges[range_count++] = (struct range){ base, size };
        set_states(base, size, SH_RESERVED);
    }
    return leave(RIG_RESERVE, hint, size, base);
}

void sh_arch_release(uintptr_t base, size_t size)
{
    unsigned i = 0;

    enter(RIG_RELEASE, base, size);
    while (i < range_count && (ranges[i].base != base || ranges[i].size != size))
        i++;
    if (i == range_count && lie.base == base && lie.size == size) {
        lies_released++;
        leave(RIG_RELEASE, base, size, 1);
        return;
    }
    if (i == range_count)
        reject(RIG_RELEASE, base, size, "no reservation of exactly this address and size");
    ranges[i] = ranges[--range_count];
    seal(base, size);
    set_states(base, size, SH_NONE);
    leave(RIG_RELEASE, base, size, 1);
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    enter(RIG_MAP, base, size);
    require_states(RIG_MAP, base, size, 1u << SH_RESERVED);
    if (made_to_fail(RIG_MAP, NULL) ||
        (prepared_budget != 0 &&
         bytes_in[SH_PREPARED] + bytes_in[SH_READY] + size > prepared_budget))
        return leave(RIG_MAP, base, size, 0) != 0;
    set_states(base, size, SH_PREPARED);
    return leave(RIG_MAP, base, size, 1) != 0;
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    size_t wanted = 0;

    enter(RIG_COMMIT, base, size);
    require_states(RIG_COMMIT, base, size, 1u << SH_PREPARED | 1u << SH_READY);
    for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE)
        if (shadow[page_index(base + at)] != SH_READY)
            wanted += SH_ARCH_PAGE_SIZE;
    if (made_to_fail(RIG_COMMIT, commit_part(base)) ||
        (frame_budget != 0 && bytes_in[SH_READY] + wanted > frame_budget))
        return leave(RIG_COMMIT, base, size, 0) != 0;
    open_pages(base, size);
    set_states(base, size, SH_READY);
    return leave(RIG_COMMIT, base, size, 1) != 0;
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    enter(RIG_DECOMMIT, base, size);
    require_states(RIG_DECOMMIT, base, size, 1u << SH_PREPARED | 1u << SH_READY);
    seal(base, size);
    set_states(base, size, SH_PREPARED);
    leave(RIG_DECOMMIT, base, size, 1);
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    enter(RIG_FAULT, base, size);
    require_states(RIG_FAULT, base, size, 1u << SH_PREPARED | 1u << SH_READY);
    seal(base, size);
    set_states(base, size, SH_FAULT);
    leave(RIG_FAULT, base, size, 1);
}

enum sh_state sh_arch_state(uintptr_t address)
{
    return in_area(address, 1) ? (enum sh_state)shadow[page_index(address)] : SH_NONE;
}

/* ---- windows ---- */

static int refuse_window(int error, const char *why)
{
    window_error = why;
    return error;
}

/* After sh_shutdown windows are forgotten, and only the heap knows that it was called. */
static void forget_dead_windows(void)
{
    if (heap_called && range_count == 0 && sh_cpu_offline(SH_MAX_CPUS) == SH_E_STATE) {
        window_count = 0;
        heap_called = false;
    }
}

int sh_add_window(uintptr_t base, size_t size)
{
    const uintptr_t granule = SH_GRANULE_SIZE;
    uintptr_t last = base + size - 1, low, high;

    forget_dead_windows();
    if (size == 0)
        return refuse_window(SH_E_INVALID, "the size is 0");
    if (last < base)
        return refuse_window(SH_E_RANGE, "the range wraps around the top of memory");
    if (last >= (uintptr_t)0 - SH_ARCH_PAGE_SIZE)
        last = (uintptr_t)0 - SH_ARCH_PAGE_SIZE - 1;
    low = base == 0 ? granule : (base - 1 + granule) & ~(granule - 1);
    high = (last + 1) & ~(granule - 1);
    if (low < base || high <= low)
        return refuse_window(SH_E_INVALID, "no whole granule is left after trimming");
    if (!in_area(low, high - low))
        return refuse_window(SH_E_OVERLAP, "the host's address space is taken there");
    for (unsigned i = 0; i < window_count; i++)
        if (low < windows[i].base + windows[i].size && windows[i].base < high)
            return refuse_window(SH_E_OVERLAP, "it overlaps another window");
    if (window_count == SH_MAX_WINDOWS)
        return refuse_window(SH_E_FULL, "there are SH_MAX_WINDOWS already");
    windows[window_count++] = (struct range){ low, high - low };
    return refuse_window(SH_OK, "");
}

const char *sh_window_error(void)
{
    return window_error;
}

int rig_window(uintptr_t base, size_t size)
{
    return sh_add_window(base, size);
}

/* ---- the rig ---- */

/* A touch of memory that is not Ready: demand mode may mend it, else the test has failed. */
static void on_fault(int number, siginfo_t *info, void *where)
{
    uintptr_t address = (uintptr_t)info->si_addr;

    (void)where;
    if (number == SIGSEGV && in_area(address, 1) && !probing &&
        sh_handle_fault(address, true, shadow[page_index(address)] == SH_READY)) {
        mended++;
        return;
    }
    left_inside = true;
    if (in_area(address, 1))
        t_fail(__FILE__, __LINE__, "touched %p, which is %s", (void *)address,
               state_names[shadow[page_index(address)]]);
    t_fail(__FILE__, __LINE__, "touched %p, which is no heap", (void *)address);
}

static void on_alarm(int number)
{
    static const char text[] = "\nthe test hangs: given up\n";

    (void)number;
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    _exit(3);
}

static void catch_signals(void)
{
    static char stack[256 * 1024];
    stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
    struct sigaction fault = { .sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };
    struct sigaction hang = { .sa_handler = on_alarm };

    sigaltstack(&alternate, NULL);
    sigaction(SIGSEGV, &fault, NULL);
    sigaction(SIGBUS, &fault, NULL);
    sigaction(SIGALRM, &hang, NULL);
}

static void find_area(void)
{
    if (area_base != 0)
        return;
    rig_area_find();
    bytes_in[SH_NONE] = AREA_SIZE;
    catch_signals();
}

/* Whatever a failed test left: all pages None again. */
static void force_clean(void)
{
    for (size_t page = first_page; page < end_page; page++)
        if (shadow[page] != SH_NONE) {
            seal(area_base + (page << SH_ARCH_PAGE_SHIFT), SH_ARCH_PAGE_SIZE);
            set_state(page, SH_NONE);
        }
    range_count = 0;
}

static void forget_script(void)
{
    fail_any = (struct failure){ 0, false, 0 };
    for (unsigned i = 0; i < RIG_KINDS; i++)
        fail_kind[i] = fail_any;
    fail_records = fail_pages = fail_any;
    answer_head = answer_tail = 0;
    lie_at = lies_released = 0;
    lie = (struct range){ 0, 0 };
    frame_budget = prepared_budget = 0;
    failed_count = mended = 0;
    probe_fn = NULL;
#ifdef HOST_INTERRUPTS
    host_interrupt = NULL;
    host_masked = 0;
#endif
    probing = false;
    rig_hooks_forget();
    rig_script_forget();
}

void rig_reset(void)
{
    size_t ready, reserved, tables;
    bool was_inside = left_inside; /* then the heap could not finish, and that is said already */
    int error;

    find_area();
    alarm(HANG_SECONDS);
    forget_script();
    error = sh_shutdown();
    ready = bytes_in[SH_READY];
    reserved = AREA_SIZE - bytes_in[SH_NONE];
    tables = table_bytes;
    if (reserved != 0 || range_count != 0)
        force_clean();
    window_count = 0;
    heap_called = false;
    first_page = AREA_PAGES;
    end_page = 0;
    forget_script();
    left_inside = false;
    if (was_inside)
        return;
    if (error != SH_OK && error != SH_E_STATE)
        t_fail(__FILE__, __LINE__, "sh_shutdown gives %d", error);
    if (reserved != 0)
        t_fail(__FILE__, __LINE__,
               "the heap ended with %zu bytes reserved, %zu committed, %zu of tables",
               reserved, ready, tables);
}

uintptr_t rig_area(size_t *size)
{
    find_area();
    *size = AREA_SIZE;
    return area_base;
}

void rig_start(size_t size, const struct sh_config *config)
{
    struct sh_config plain = { .size = sizeof(plain), .hooks = rig_hooks() };

    rig_reset();
    EXPECT_EQ(rig_window(area_base, size == 0 ? 64 * T_MIB : size), SH_OK);
    EXPECT_EQ(sh_init(config == NULL ? &plain : config), SH_OK);
}

size_t rig_frames_held(void)
{
    return bytes_in[SH_READY];
}

void rig_frame_budget(size_t bytes)
{
    frame_budget = bytes;
}

void rig_fail(unsigned long nth, bool from_then_on)
{
    fail_any = (struct failure){ nth, from_then_on, 0 };
    failed_count = 0;
}

unsigned long rig_calls(void)
{
    return fail_any.calls;
}

unsigned long rig_failed(void)
{
    return failed_count;
}

void rig_probe(void (*probe)(void))
{
    probe_fn = probe;
}

/* Stops before and after the call. */
static _Noreturn void be_stepped(void (*fn)(void *), void *arg)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(1);
    raise(SIGSTOP);
    fn(arg);
    raise(SIGSTOP);
    _exit(0);
}

/* What lies between the two stops; 0 = it did not come to the second. */
static unsigned long count_steps(void (*fn)(void *), void *arg)
{
    unsigned long count = 0, stops = 0;
    pid_t child = fork();
    int status;

    if (child == 0)
        be_stepped(fn, arg);
    if (child < 0)
        return 0;
    while (stops < 2 && waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
           (WSTOPSIG(status) == SIGSTOP || WSTOPSIG(status) == SIGTRAP)) {
        stops += WSTOPSIG(status) == SIGSTOP;
        count++;
        if (stops < 2 && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
            break;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return stops == 2 ? count : 0;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

unsigned long rig_instructions(void (*fn)(void *), void *arg)
{
    unsigned long empty = count_steps(do_nothing, NULL), count = count_steps(fn, arg);

    return empty == 0 || count == 0 ? 0 : count - empty + 1;
}

bool rig_is_machine(void)
{
    return false;
}

size_t k_frames_total(void)
{
    return frame_budget != 0 ? frame_budget : AREA_SIZE;
}

size_t k_frames_out(void)
{
    return bytes_in[SH_READY];
}

/* The shadow is what the port says, so what is left to compare are the ledgers with a recount. */
unsigned rig_audit(void)
{
    size_t count[SH_FAULT + 1] = { 0 };
    unsigned faults = 0;

    count[SH_NONE] = AREA_SIZE;
    for (size_t page = first_page; page < end_page; page++) {
        count[SH_NONE] -= SH_ARCH_PAGE_SIZE;
        count[shadow[page]] += SH_ARCH_PAGE_SIZE;
    }
    for (unsigned state = 0; state <= SH_FAULT; state++)
        if (count[state] != bytes_in[state]) {
            t_printf("audit: %zu bytes are %s, the ledger says %zu\n", count[state],
                     state_names[state], bytes_in[state]);
            faults++;
        }
    return faults;
}

/* ---- the script ---- */

static void answer(uintptr_t base)
{
    if (answer_tail == MOST_ANSWERS)
        t_fail(__FILE__, __LINE__, "the script is too long");
    answers[answer_tail++] = base;
}

void rig_script_refuse(unsigned count)
{
    while (count-- > 0)
        answer(0);
}

void rig_script_give(uintptr_t base)
{
    answer(base);
}

unsigned rig_script_left(void)
{
    return answer_tail - answer_head;
}

void rig_script_prepared_budget(size_t bytes)
{
    prepared_budget = bytes;
}

void rig_script_fail(enum rig_kind kind, unsigned long nth, bool from_then_on)
{
    fail_kind[kind] = (struct failure){ nth, from_then_on, 0 };
    failed_count = 0;
}

void rig_script_forget(void)
{
    call_count = 0;
    memset(kind_count, 0, sizeof(kind_count));
}

unsigned long rig_script_calls(void)
{
    return call_count;
}

unsigned long rig_script_count(enum rig_kind kind)
{
    return kind_count[kind];
}

const struct rig_call *rig_script_call(unsigned long index)
{
    return index < call_count && index < MOST_CALLS ? &calls[index] : NULL;
}

size_t rig_script_bytes(enum sh_state state)
{
    return bytes_in[state];
}

unsigned long rig_script_mended(void)
{
    return mended;
}

unsigned long rig_script_fallible(enum rig_kind kind)
{
    return fail_kind[kind].calls;
}

void rig_script_fail_commit(bool records, unsigned long nth, bool from_then_on)
{
    *(records ? &fail_records : &fail_pages) = (struct failure){ nth, from_then_on, 0 };
    failed_count = 0;
}

unsigned long rig_script_commits(bool records)
{
    return records ? fail_records.calls : fail_pages.calls;
}

void rig_script_lie(unsigned long nth, uintptr_t base)
{
    lie_at = nth;
    lie = (struct range){ base, 0 };
    lies_released = 0;
}

bool rig_script_lied(void)
{
    return lie.size != 0;
}

unsigned long rig_script_lies_released(void)
{
    return lies_released;
}
