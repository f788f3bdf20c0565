/*
 * The table of suites of the program that is nothing but the sweep.
 */
#include "kernel-test/test.h"

extern const struct suite suite_sweep;

const struct suite *const test_suites[] = { &suite_sweep, NULL };
