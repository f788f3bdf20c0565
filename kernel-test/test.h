/*
 * The test framework: suites are explicit tables, a test is a function, a check that fails says where and
 * ends the test.  The same sources run on the host and in the booted kernel; what differs is behind
 * rig.h.
 */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
    const char *name; /* the promise it tests: realloc_grow_keeps_bytes */
    void (*run)(void);
};

struct suite {
    const char *name; /* the noun: pages */
    const struct test *tests;
    unsigned count;
    unsigned cpus; /* only on a machine with at least so many */
};

#define SUITE(noun, table) \
    const struct suite suite_##noun = { #noun, table, sizeof(table) / sizeof((table)[0]), 1 }
#define SUITE_CPUS(noun, table, least) \
    const struct suite suite_##noun = { #noun, table, sizeof(table) / sizeof((table)[0]), least }

/* Every suite of this image, NULL at the end: defined once in test_suites.c. */
extern const struct suite *const test_suites[];

/* Formatted output: %s %c %d %u %x %p, with l for 32/64-bit long, z for size_t, ll for 64-bit, width and 0.
 * On the host to stdout, booted to the serial line. */
void t_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Called when a test fails, to say where it was; NULL = nothing more to say. */
extern void (*t_failing)(void);

/* How often tests repeat themselves that draw what they do from a seed; 0 = a sample will do. */
extern unsigned test_seeds;

/* Suites that want fewer CPUs are left out; 0 = none is. */
extern unsigned test_least_cpus;

/* Ends the running test as failed. */
void t_fail(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

#define EXPECT(condition) \
    do { if (!(condition)) t_fail(__FILE__, __LINE__, "%s", #condition); } while (0)
#define EXPECT_EQ(a, b) \
    do { \
        unsigned long long a_ = (unsigned long long)(a), b_ = (unsigned long long)(b); \
        if (a_ != b_) t_fail(__FILE__, __LINE__, "%s = 0x%llx, %s = 0x%llx", #a, a_, #b, b_); \
    } while (0)

/* Runs all tests whose "suite" or "suite/test" name begins with `filter` ("" = all); before each test the
 * rig is reset, after each it is audited.  Suites in `without`, names with commas between them, are left
 * out.  Prints a line a suite, details for failures, and last "<machine>: N passed, N failed".  Returns
 * the number failed; no test run counts as one failed. */
unsigned test_run(const char *machine, const char *filter, const char *without);

/* xorshift32: the same stream everywhere. */
static inline uint32_t t_random(uint32_t *state)
{
    uint32_t x = *state != 0 ? *state : 0x9E3779B9u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *state = x;
    return x;
}

#endif
