/*
 * Runs the suites that need several CPUs, with threads for them:  cpus-test [suite[/test],… [seeds]]
 *
 * What the thread sanitizer is not to report: storms.supp for the first suite, collector.supp for the others.
 * A test that fails ends the run: other threads are still in the heap.  One that hangs does so too.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel-test/cpus/cpus.h"

extern const struct suite suite_storms, suite_team, suite_mutators;

static const struct suite *const suites[] = {
    &suite_storms,
#ifndef WITHOUT_GC
    &suite_team,
    &suite_mutators,
#endif
};
static const struct suite *running_suite;
static const struct test *running;
static unsigned passed;

unsigned test_seeds;

void t_printf(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
}

static void end(unsigned failed)
{
    printf("host %u-bit, threads, at most %u CPUs: %u passed, %u failed\n", (unsigned)sizeof(void *) * 8,
           (unsigned)SH_MAX_CPUS, passed, failed);
    fflush(stdout);
    _exit(failed != 0);
}

void t_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    printf("FAILED %s/%s: %s:%d: CPU %u of %u: ", running_suite->name, running->name, file, line,
           sh_kernel_cpu(), cpus_count());
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    end(1);
    abort();
}

/* One of the beginnings, between commas, is the name's. */
static bool chosen(const char *name, const char *beginnings)
{
    for (;; beginnings++) {
        size_t length = strcspn(beginnings, ",");
        if (strncmp(name, beginnings, length) == 0)
            return true;
        beginnings += length;
        if (*beginnings == 0)
            return false;
    }
}

static void run_suite(const struct suite *suite, const char *filter)
{
    unsigned before = passed;
    char name[128];

    running_suite = suite;
    for (unsigned i = 0; i < suite->count; i++) {
        running = &suite->tests[i];
        snprintf(name, sizeof name, "%s/%s", suite->name, running->name);
        if (!chosen(name, filter))
            continue;
        alarm(300);
        running->run();
        cpus_end();
        alarm(0);
        passed++;
    }
    if (passed != before)
        printf("%-16s %3u passed\n", suite->name, passed - before);
}

int main(int argc, char **argv)
{
    const char *filter = argc > 1 ? argv[1] : "";

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 2)
        test_seeds = (unsigned)strtoul(argv[2], NULL, 10);
    for (unsigned i = 0; i < sizeof suites / sizeof suites[0]; i++)
        run_suite(suites[i], filter);
    end(0); /* also if the filter names another program's suite */
}
