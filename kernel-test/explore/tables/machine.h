/*
 * The machine with page tables, for scenarios.
 */
#ifndef EXPLORE_MACHINE_H
#define EXPLORE_MACHINE_H

#include "kernel-test/explore/explore.h"

#include "arch/arch.h"

#ifdef SIM_ARM
enum { SIM_IS_ARM = 1 };
#define MACHINE_NAME "arm/"
#else
enum { SIM_IS_ARM = 0 };
#define MACHINE_NAME "x86/"
#endif

#define WINDOW ((uintptr_t)0x40000000)
#define WINDOW_SIZE ((size_t)8 << 20)

/* Donates the window. */
void machine_start(unsigned cpus);

/* An access of the running CPU; false = a page fault. */
bool machine_touch(uintptr_t address, bool write, uint32_t *value);

/* So many frames are left to be taken; and how many are out. */
void machine_frames(unsigned frames);
unsigned machine_frames_out(void);

bool machine_directories_agree(void);

#endif
