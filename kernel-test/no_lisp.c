/*
 * What stands in for the Lisp where the library is built without its collector (GC=0): it says so.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/test_util.h"

#define WHY "built without the collector (GC=0): no Lisp"

extern const struct suite suite_lisp;

int lisp_main(void)
{
    t_printf(WHY "\n");
    return 1;
}

int lisp_show(void)
{
    t_printf(WHY "\n");
    return 0;
}

static void programs_are_skipped(void)
{
    t_skip(WHY);
}

static const struct test tests[] = {
    { "programs_are_skipped", programs_are_skipped },
};

SUITE(lisp, tests);
