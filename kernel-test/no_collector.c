/*
 * What stands in for the collector's suites and its client where the library is built without it
 * (GC=0): it says so.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/test_util.h"

#define WHY "built without the collector (GC=0)"

extern const struct suite suite_collect;

int lisp_main(void)
{
    t_printf(WHY ": no Lisp\n");
    return 1;
}

int lisp_show(void)
{
    t_printf("\n" WHY ": no Lisp program is shown\n");
    return 0;
}

static void suite_is_left_out(void)
{
    t_skip(WHY);
}

static const struct test tests[] = {
    { "suite_is_left_out", suite_is_left_out },
};

SUITE(collect, tests);
