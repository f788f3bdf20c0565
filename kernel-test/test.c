/*
 * The test framework of test.h.  A test that fails leaves by a jump; so may the rig when it resets
 * or audits, and that counts against the test too.  A rig that cannot be reset any more ends the
 * run: what came after it would only be noise.
 *
 * The host's jump is libc's, the kernel's its own; both consoles are k_putc, both ends k_exit.
 */
#include "test.h"

#if __STDC_HOSTED__
#include <setjmp.h>
#define JUMP jmp_buf
#define SET_JUMP(jump) setjmp(jump)
#define LONG_JUMP(jump) longjmp(jump, 1)
#else
#define JUMP struct k_jump
#define SET_JUMP(jump) k_setjmp(&(jump))
#define LONG_JUMP(jump) k_longjmp(&(jump), 1)
#endif

#if __STDC_HOSTED__
#include "kernel.h"
#else
#include "k_cpus.h"
#endif
#include "rig.h"
#include "t_internal.h"

static JUMP failure;
static volatile bool guarded; /* `failure` is where to go */
static const struct suite *running_suite;
static const struct test *running;

void (*t_failing)(void);
unsigned test_seeds, test_least_cpus;

void t_print_running(void)
{
    if (running != NULL)
        t_printf("while running %s/%s\n", running_suite->name, running->name);
}

void t_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    if (running != NULL)
        t_printf("FAILED %s/%s: ", running_suite->name, running->name);
    t_printf("%s:%d: ", file, line);
    va_start(arguments, format);
    t_vprintf(format, arguments);
    va_end(arguments);
    t_printf("\n");
#if !__STDC_HOSTED__
    if (k_cpu() != 0) /* the test does not run here */
        k_exit(false);
#endif
    if (t_failing != NULL)
        t_failing();
    t_failing = NULL;
    if (!guarded)
        k_exit(false);
    guarded = false;
    LONG_JUMP(failure);
}

/* Runs fn; false if it failed. */
static bool passes(void (*fn)(void))
{
    if (SET_JUMP(failure) != 0)
        return false;
    guarded = true;
    fn();
    guarded = false;
    return true;
}

static void audit(void)
{
    unsigned faults = rig_audit();

    if (faults != 0)
        t_fail(__FILE__, __LINE__, "the audit found %u faults", faults);
}

/* The reset after the test finds what the test lost; it is the test's fault, not the next one's. */
static bool run_one(const struct suite *suite, const struct test *test, bool *usable)
{
    bool passed;

    running_suite = suite;
    running = test;
    passed = passes(rig_reset) && passes(test->run) && passes(audit) && passes(rig_reset);
    *usable = passed || passes(rig_reset);
    running = NULL;
    return passed;
}

static bool begins(const char *text, const char *with)
{
    for (; *with != 0; with++)
        if (*text++ != *with)
            return false;
    return true;
}

/* Does "suite" or "suite/test" begin with the filter? */
static bool wanted(const char *suite, const char *test, const char *filter)
{
    for (; *suite != 0 && *filter != 0; suite++)
        if (*filter++ != *suite)
            return false;
    if (*filter == 0)
        return true;
    return *filter++ == '/' && begins(test, filter);
}

static bool has_cpus(const struct suite *suite)
{
#if __STDC_HOSTED__
    return suite->cpus <= 1;
#else
    return suite->cpus <= k_cpus();
#endif
}

static void run_suite(const struct suite *suite, const char *filter, unsigned counts[2],
                      bool *usable)
{
    unsigned here[2] = { 0, 0 };

    if (!has_cpus(suite) || suite->cpus < test_least_cpus)
        return;
    for (unsigned i = 0; i < suite->count && *usable; i++)
        if (wanted(suite->name, suite->tests[i].name, filter))
            here[run_one(suite, &suite->tests[i], usable)]++;
    if (here[0] + here[1] == 0)
        return;
    t_printf("%-16s %3u passed", suite->name, here[1]);
    if (here[0] != 0)
        t_printf(", %u FAILED", here[0]);
    t_printf("\n");
    counts[0] += here[0];
    counts[1] += here[1];
}

/* Is the name one of those in the list? */
static bool listed(const char *name, const char *list)
{
    for (;;) {
        const char *at = name;

        for (; *at != 0 && *at == *list; at++)
            list++;
        if (*at == 0 && (*list == ',' || *list == 0))
            return true;
        while (*list != ',' && *list != 0)
            list++;
        if (*list++ == 0)
            return false;
    }
}

unsigned test_run(const char *machine, const char *filter, const char *without)
{
    unsigned counts[2] = { 0, 0 }; /* failed, passed */
    bool usable = true;

    for (const struct suite *const *suite = test_suites; *suite != NULL && usable; suite++) {
        if (listed((*suite)->name, without))
            t_printf("%-16s left out\n", (*suite)->name);
        else
            run_suite(*suite, filter, counts, &usable);
    }
    if (!usable)
        t_printf("the rig cannot be reset: the remaining tests were not run\n");
    if (counts[0] + counts[1] == 0) {
        t_printf("no test is called \"%s\"\n", filter);
        counts[0] = 1;
    }
    t_printf("%s: %u passed, %u failed\n", machine, counts[1], counts[0]);
    return counts[0];
}
