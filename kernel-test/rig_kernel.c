/*
 * The rig of rig.h over the real port, in the booted kernel: hooks that count, refuse and probe, a
 * ledger of every frame that the heap holds, and the audit of the page tables (walk.h).
 *
 * The probe runs inside the hooks that may query the heap: frame_alloc, frame_free, phys_to_virt,
 * root_table, panic, top_level_changed; not inside cpu, context, cycles and log, which may not.
 *
 * With many CPUs hooks run on all of them, under one lock; scripts, probes and expected panics are for
 * tests of one CPU.
 */
#include "rig.h"

#include "k_cpus.h"
#include "k_hooks.h"
#include "k_string.h"
#include "test.h"
#include "walk.h"
#ifndef WITHOUT_GC
#include "gc/gc.h"
#endif

#define FRAME_BITS (K_DIRECT_SIZE / 4096)
#define LOG_SIZE 16384u

static uint32_t held[FRAME_BITS / 32];
static size_t held_bytes, budget;
static struct k_lock ledger, logging; /* calls, frames held; the log */
static struct walk_window windows[SH_MAX_WINDOWS];
static unsigned window_count;
static unsigned long calls, failed, fail_at;
static bool fail_on;
static void (*probe)(void);
static bool probing;
static bool stopped; /* between stop_world and resume_world */
static volatile unsigned blamed; /* rig_blame since the last reset */
static bool has_hooks; /* somebody took the hooks: so the directories must be kept alike */
static enum sh_context scripted_context;
static char log_text[LOG_SIZE];
static size_t log_length;

static struct {
    bool expected, seen;
    unsigned count;
    enum sh_panic kind;
    bool leaves, returns;
    struct k_jump back; /* out of the library, on corruption */
    char report[2048];
} panic;

/* The hooks. */

static void enter(void)
{
    if (probe == NULL || probing)
        return;
    probing = true;
    probe();
    probing = false;
}

static bool may_alloc(size_t size)
{
    bool on = k_lock(&ledger), refused;

    calls++;
    refused = fail_at != 0 && (calls == fail_at || (calls > fail_at && fail_on));
    failed += refused;
    refused |= budget != 0 && (held_bytes > budget || size > budget - held_bytes);
    k_unlock(&ledger, on);
    return !refused;
}

static void frame(sh_paddr address, size_t size, bool taken)
{
    bool on = k_lock(&ledger);

    for (size_t offset = 0; offset < size; offset += 4096) {
        unsigned number = (unsigned)((address + offset - k_ram_base) / 4096);
        uint32_t bit = 1u << number % 32;

        if (number >= FRAME_BITS || ((held[number / 32] & bit) != 0) == taken)
            k_panic("the heap frees a frame that it does not hold", (uintptr_t)address);
        held[number / 32] ^= bit;
    }
    held_bytes = taken ? held_bytes + size : held_bytes - size;
    k_unlock(&ledger, on);
}

static void copy_report(const char *report)
{
    size_t length = 0;

    for (; report[length] != 0 && length + 1 < sizeof panic.report; length++)
        panic.report[length] = report[length];
    panic.report[length] = 0;
}

static void on_panic(enum sh_panic kind, const char *report)
{
    copy_report(report);
    if (!panic.expected)
        t_fail("panic", 0, "%s: %s", kind == SH_PANIC_MISUSE ? "misuse" : "corruption",
               panic.report);
    panic.seen = true;
    panic.count++;
    panic.kind = kind;
    if (kind == SH_PANIC_CORRUPTION ? !panic.returns : panic.leaves)
        k_longjmp(&panic.back, 1);
}

static const struct k_watch watch = { enter, may_alloc, frame, on_panic };

static enum sh_context context(void)
{
    if (scripted_context == SH_THREAD && k_in_interrupt())
        return SH_INTERRUPT;
    return scripted_context;
}

static void log_line(const char *line)
{
    bool on = k_lock(&logging);

    for (; *line != 0 && log_length + 2 < LOG_SIZE; line++)
        log_text[log_length++] = *line;
    if (log_length + 1 < LOG_SIZE)
        log_text[log_length++] = '\n';
    log_text[log_length] = 0;
    k_unlock(&logging, on);
}

static void top_level_changed(uintptr_t base)
{
    enter();
    k_directory_copy(base);
}

/* The low word counts; how often it wrapped is seen if somebody asks often enough. */
static uint64_t cycles(void)
{
    static uint32_t last, high;
    static struct k_lock lock;
    bool on = k_lock(&lock);
    uint32_t now = k_cycles();
    uint64_t all;

    high += now < last;
    last = now;
    all = (uint64_t)high << 32 | now;
    k_unlock(&lock, on);
    return all;
}

void rig_stack(const void **low, const void **high)
{
    *low = k_stack_bottom;
    *high = k_stack_top;
}

static void scan_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg)
{
    scan(k_stack_bottom, k_stack_top, arg);
}

/* There is one CPU and one thread, so nobody needs to be stopped: but once, and then resumed. */
static void stop_world(void)
{
    if (stopped)
        k_panic("the world is stopped twice", 0);
    stopped = true;
}

static void resume_world(void)
{
    if (!stopped)
        k_panic("the world is resumed, and was not stopped", 0);
    stopped = false;
}

static const struct sh_hooks cpu_hooks = {
    .context = context,
    .log = log_line,
    .tlb_shootdown = k_tlb_shootdown,
    .top_level_changed = top_level_changed,
    .stop_world = k_world_stop,
    .resume_world = k_world_resume,
    .scan_stacks = k_world_stacks,
};

static const struct sh_hooks hooks = {
    .context = context,
    .log = log_line,
    .top_level_changed = top_level_changed,
    .cycles = cycles,
};

static const struct sh_hooks stack_hooks = {
    .context = context,
    .log = log_line,
    .top_level_changed = top_level_changed,
    .stop_world = stop_world,
    .resume_world = resume_world,
    .scan_stacks = scan_stacks,
    .cycles = cycles,
};

/* Reset and start. */

static void forget_scripts(void)
{
    k_interrupt_reset();
    k_watch = &watch;
    k_fault_handler = sh_handle_fault;
    k_frames_check(true);
    probe = NULL;
    probing = stopped = false;
    scripted_context = SH_THREAD;
    k_while_stopped = NULL;
    budget = 0;
    panic.expected = panic.leaves = panic.returns = false;
    rig_fail(0, false);
    rig_log_clear();
}

/* A heap that never started may have been given windows all the same: the port forgets those. */
static int shut_down(void)
{
    int error = sh_shutdown();

    return error == SH_E_STATE ? sh_arch_port.detach() : error;
}

static void expect_no_blame(void)
{
    unsigned count = blamed;

    blamed = 0;
    if (count != 0)
        t_fail(__FILE__, __LINE__, "%u faults were seen outside the checks of the test", count);
}

void rig_reset(void)
{
    static bool have_snapshot;
    int error;

    forget_scripts();
    k_directory_switch(0);
    error = have_snapshot ? shut_down() : SH_OK;
    if (error != SH_OK)
        t_fail(__FILE__, __LINE__, "sh_shutdown: %s", sh_error_name(error));
    window_count = 0;
    has_hooks = false;
    EXPECT_EQ(held_bytes, 0);
    EXPECT_EQ(sh_arch_port.windows(), 0);
    EXPECT_EQ(sh_arch_port.table_bytes(), 0);
    if (have_snapshot && walk_outside(windows, 0, true) != 0) {
        walk_snapshot();
        t_fail(__FILE__, __LINE__, "the page tables are not as they were");
    }
    if (!have_snapshot)
        walk_snapshot();
    have_snapshot = true;
    expect_no_blame();
}

uintptr_t rig_area(size_t *size)
{
    *size = K_AREA_SIZE;
    return K_AREA_BASE;
}

int rig_window(uintptr_t base, size_t size)
{
    uint64_t granule = SH_GRANULE_SIZE, first, end;
    bool new_life = sh_arch_port.windows() == 0; /* a test may have shut the heap down */
    int error = sh_add_window(base, size);

    if (new_life) {
        window_count = 0;
        has_hooks = false;
    }
    if (error != SH_OK)
        return error;
    first = ((uint64_t)base + granule - 1) & ~(granule - 1);
    end = ((uint64_t)base + size) & ~(granule - 1);
    first = first == 0 ? granule : first;
    end = end == (uint64_t)1 << 32 ? end - granule : end;
    windows[window_count].base = first;
    windows[window_count++].end = end;
    return SH_OK;
}

void rig_start(size_t size, const struct sh_config *config)
{
    struct sh_config own = { .size = sizeof own };
    int error;

    rig_reset();
    error = rig_window(K_AREA_BASE, size != 0 ? size : (size_t)64 << 20);
    own.hooks = rig_hooks();
    has_hooks = config == NULL || config->hooks == own.hooks || config->hooks == &stack_hooks ||
                config->hooks == &cpu_hooks;
    if (error == SH_OK)
        error = sh_init(config != NULL ? config : &own);
    if (error != SH_OK)
        t_fail(__FILE__, __LINE__, "rig_start: %s (%s)", sh_error_name(error), sh_window_error());
}

/* Scripts and ledgers. */

size_t rig_frames_held(void)
{
    return held_bytes;
}

void rig_frame_budget(size_t bytes)
{
    budget = bytes;
}

void rig_fail(unsigned long nth, bool from_then_on)
{
    fail_at = nth;
    fail_on = from_then_on;
    calls = failed = 0;
}

unsigned long rig_calls(void)
{
    return calls;
}

unsigned long rig_failed(void)
{
    return failed;
}

void rig_probe(void (*function)(void))
{
    probe = function;
}

static bool contains(const char *text, const char *part)
{
    for (;; text++) {
        size_t i = 0;

        while (part[i] != 0 && text[i] == part[i])
            i++;
        if (part[i] == 0)
            return true;
        if (*text == 0)
            return false;
    }
}

bool rig_panics(enum sh_panic kind, const char *text, void (*fn)(void *), void *arg)
{
    panic.seen = false;
    panic.count = 0;
    panic.report[0] = 0;
    if (k_setjmp(&panic.back) == 0) {
        panic.expected = true;
        fn(arg);
    } else {
        probing = false;
        k_interrupts(true);
    }
    panic.expected = false;
    return panic.seen && panic.kind == kind && (text == NULL || contains(panic.report, text));
}

void rig_panic_leaves(void)
{
    panic.leaves = true;
}

void rig_panic_returns(void)
{
    panic.returns = true;
}

const char *rig_report(void)
{
    return panic.report;
}

unsigned rig_panic_count(void)
{
    return panic.count;
}

/* It asks the library for the state of every page: thousands of scratch pages would prove nothing more. */
unsigned rig_audit(void)
{
    unsigned found;

    k_phys_direct(true);
    found = walk_inside(windows, window_count, held) +
            walk_outside(windows, window_count, has_hooks);
    k_phys_direct(false);
    return found;
}

void rig_context(enum sh_context now)
{
    scripted_context = now;
}

const struct sh_hooks *rig_hooks(void)
{
    has_hooks = true;
    return &hooks;
}

const struct sh_hooks *rig_cpu_hooks(void)
{
    has_hooks = true;
#ifndef WITHOUT_GC
    k_while_stopped = sh_gc_stopped;
#endif
    return &cpu_hooks;
}

const struct sh_hooks *rig_stack_hooks(void)
{
    has_hooks = true;
    return &stack_hooks;
}

const char *rig_log(void)
{
    return log_text;
}

void rig_log_clear(void)
{
    log_length = 0;
    log_text[0] = 0;
}

void rig_blame(void)
{
    blamed++;
}

unsigned long rig_instructions(void (*fn)(void *), void *arg)
{
    (void)fn;
    (void)arg;
    return 0;
}

bool rig_is_machine(void)
{
    return true;
}
