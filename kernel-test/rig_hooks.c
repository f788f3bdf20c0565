/*
 * The hooks of the host's rig: panics that a test expects, the log, the context.
 */
#include <setjmp.h>
#include <stdio.h>

#include "kernel-test/k_string.h"
#include "kernel-test/rig_hooks.h"
#include "kernel-test/test.h"
#include "kernel-test/test_util.h"

#define LOG_SIZE (16u * 1024)
#define STACK_SIZE ((size_t)1 << 20) /* of it, what tests may use: the host gives more */

static enum sh_context context_now;
static bool panic_awaited, panic_seen, panic_leaves, panic_returns;
static unsigned panic_count;
static enum sh_panic panic_kind;
static jmp_buf panic_exit;
static char report_text[4096];
static char log_text[LOG_SIZE];
static size_t log_length;
static bool stopped;

unsigned rig_cpu_now;

unsigned sh_kernel_cpu(void)
{
    return rig_cpu_now;
}

void rig_cpu(unsigned cpu)
{
    rig_cpu_now = cpu;
}

/* What the heap says is printable, and has an end. */
static void expect_text(const char *text)
{
    for (const char *at = text; *at != 0; at++)
        if (*at < ' ' || *at > '~' || at - text > 500)
            t_fail(__FILE__, __LINE__, "no text: %s", text);
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    expect_text(report);
    snprintf(report_text, sizeof(report_text), "%s", report);
    if (!panic_awaited)
        t_fail(__FILE__, __LINE__, "unexpected %s: %s",
               kind == SH_PANIC_MISUSE ? "misuse" : "corruption", report_text);
    panic_seen = true;
    panic_count++;
    panic_kind = kind;
    if (kind == SH_PANIC_CORRUPTION ? !panic_returns : panic_leaves)
        longjmp(panic_exit, 1);
}

bool rig_panics(enum sh_panic kind, const char *text, void (*fn)(void *), void *arg)
{
    panic_awaited = true;
    panic_seen = false;
    panic_count = 0;
    report_text[0] = 0;
    if (setjmp(panic_exit) == 0)
        fn(arg);
    panic_awaited = false;
    return panic_seen && panic_kind == kind && (text == NULL || t_contains(report_text, text));
}

void rig_panic_leaves(void)
{
    panic_leaves = true;
}

void rig_panic_returns(void)
{
    panic_returns = true;
}

const char *rig_report(void)
{
    return report_text;
}

unsigned rig_panic_count(void)
{
    return panic_count;
}

static void log_line(const char *text)
{
    size_t length = t_length(text);

    expect_text(text);
    if (log_length + length + 2 > LOG_SIZE)
        return;
    memcpy(log_text + log_length, text, length);
    log_length += length;
    log_text[log_length++] = '\n';
    log_text[log_length] = 0;
}

static enum sh_context context_hook(void)
{
    return context_now;
}

/* libc's: where the main thread's stack begins. */
extern void *__libc_stack_end;

void rig_stack(const void **low, const void **high)
{
    *high = __libc_stack_end;
    *low = (const char *)*high - STACK_SIZE;
}

static void scan_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg)
{
    const void *low, *high;

    rig_stack(&low, &high);
    scan(low, high, arg);
}

/* There is one thread, so nobody needs to be stopped: but once, and then resumed. */
static void stop_world(void)
{
    if (stopped)
        t_fail(__FILE__, __LINE__, "the world is stopped twice");
    stopped = true;
}

static void resume_world(void)
{
    if (!stopped)
        t_fail(__FILE__, __LINE__, "the world is resumed, and was not stopped");
    stopped = false;
}

const struct sh_hooks *rig_hooks(void)
{
    static const struct sh_hooks hooks = { .context = context_hook, .log = log_line };

    return &hooks;
}

const struct sh_hooks *rig_stack_hooks(void)
{
    static const struct sh_hooks hooks = {
        .context = context_hook,
        .log = log_line,
        .stop_world = stop_world,
        .resume_world = resume_world,
        .scan_stacks = scan_stacks,
    };

    return &hooks;
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

void rig_context(enum sh_context context)
{
    context_now = context;
}

enum sh_context rig_hooks_context(void)
{
    return context_now;
}

void rig_hooks_forget(void)
{
    panic_awaited = panic_leaves = panic_returns = stopped = false;
    context_now = SH_THREAD;
    rig_cpu_now = 0;
    rig_log_clear();
}
