/*
 * Threads as CPUs: the heap on Linux, with a thread for each CPU that sh_config.cpus names.
 *
 * A thread takes an "interrupt" where the heap lifts or sets the mask, and where it waits (HOST_CPUS of
 * arch/host/cpu.h): there it stands while the world is stopped, as a CPU stands in its handler.
 */
#ifndef CPUS_H
#define CPUS_H

#include "kernel-test/test.h"

#include "gc/gc.h"
#include "mm/config.h"

/* A heap that is built for fewer is for the tests that ask for no more. */
#define CPUS_MAX (SH_MAX_CPUS > 8u ? SH_MAX_CPUS : 8u)

/* What a stopped CPU does. */
enum cpus_help {
    HELP,        /* calls sh_gc_stopped again and again */
    HELP_ONCE,   /* calls it once, when it has stopped */
    HELP_LATE,   /* after a while */
    HELP_NOT
};

/* A heap (with a collector, if there is one) for so many CPUs in a window of `size` bytes; the caller is CPU 0.  `stacks`: what
 * lies on one is kept.  Ends the heap that was. */
void cpus_start(unsigned count, size_t size, unsigned tier, const struct sh_gc_config *config, enum cpus_help help,
                bool stacks);
void cpus_end(void);
/* From here on nothing is kept by what lies on a stack. */
void cpus_forget_stacks(void);
unsigned cpus_count(void);

/* Runs fn(arg) on every CPU at once, this one too; returns when all are done. */
void cpus_run(void (*fn)(void *arg), void *arg);
/* Inside of that: all wait here for each other, with interrupts on. */
void cpus_meet(void);
/* The number of the CPU that runs this. */
unsigned sh_kernel_cpu(void);

/* Misuse is expected: counted, not a failure.  How often since. */
void cpus_expect_misuse(void);
unsigned cpus_misused(void);
/* Runs where it is reported; NULL = nothing does. */
void cpus_on_misuse(void (*fn)(void));

#endif
