/* The storm on all CPUs of the booted kernel, for the suite and for the soak. */
#ifndef KERNEL_TEST_TEST_SMP_H
#define KERNEL_TEST_TEST_SMP_H

#include "kernel-test/test_util.h"

/* A number on the command line. */
uint32_t smp_option(const char *name, uint32_t otherwise);

/* A new heap; interrupts every `period` to 2 × `period` nanoseconds on every CPU, 0 = none. */
void smp_storm_start(unsigned tier, bool sends, unsigned trims, unsigned period, uint32_t seed);
/* Each CPU's thread makes so many calls; then, with all CPUs idle, all is looked at. */
void smp_storm_round(uint32_t calls);
/* Everything is freed; nothing is left. */
void smp_storm_end(void);
/* Mallocs and frees so far; a line a CPU. */
uint32_t smp_storm_calls(void);
void smp_storm_print(void);

#endif
