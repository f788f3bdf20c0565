/*
 * The table of suites of the images that run nothing but those of many CPUs.
 */
#include "kernel-test/test.h"

extern const struct suite suite_cpus, suite_shootdown, suite_smp, suite_smp_gc;

const struct suite *const test_suites[] = {
    &suite_cpus,
    &suite_shootdown,
    &suite_smp,
#ifndef WITHOUT_GC
    &suite_smp_gc,
#endif
    NULL,
};
