/*
 * A machine in a 32-bit Linux program: physical memory, page tables, TLBs, two CPUs, a strict
 * kernel.
 */
#ifndef SPANHEAP_SIM_H
#define SPANHEAP_SIM_H

#include "arch/arch.h"
#include "cpu.h"

#define CHECK(condition) ((condition) ? (void)0 : sim_fail(__FILE__, __LINE__, #condition))
_Noreturn void sim_fail(const char *file, int line, const char *what);

enum sim_machine { SIM_2LEVEL, SIM_PAE, SIM_PAE_NX, SIM_SHORT, SIM_SHORT_SPLIT };

/* What the hardware walker finds, written without a look at pte.h. */
struct sim_walk {
    bool present, writable, executable, user, global;
    uint64_t physical;
};

/* A fresh machine: memory full of garbage, two directories, some kernel mappings (see sim.c). */
void sim_start(enum sim_machine machine, bool direct_map);
struct sim_walk sim_walk(unsigned directory, uintptr_t address);

/* Has the walker seen all that was written?  Does it find the same tables in both directories? */
bool sim_all_published(void);
bool sim_directories_agree(void);

/* An access by each CPU: fills their TLBs. */
void sim_touch(uintptr_t address);

/* Bytes of memory for tests: not through phys_to_virt, not watched. */
unsigned char *sim_memory(uint64_t physical);

/* Writes a leaf entry as the kernel would: 0 takes it away.  The leaf table must exist. */
void sim_kernel_map(uintptr_t address, uint64_t physical, bool present);

/* Writes the directory entry for the address, in the first directory; what it was. */
uint64_t sim_kernel_table(uintptr_t address, uint64_t entry);

size_t sim_frames_out(void); /* bytes */
extern void (*sim_on_free)(void); /* called by each frame_free; NULL = nothing */
extern long sim_fail_after;  /* frame_alloc calls that still succeed; −1 = all */

/* The next frame_alloc gives this frame, whatever it is.  What is free is then held; anything else is
 * a lie, and the first frame_free of it is only counted, until the next sim_give. */
void sim_give(uint64_t frame);
extern unsigned sim_lies_freed;
extern unsigned sim_repeat; /* after so many frames the last one is given once again */

extern bool sim_lies;        /* frame_alloc gives frames that are not aligned */
extern unsigned long sim_allocs, sim_flushes, sim_shootdowns, sim_announced, sim_pauses;
extern struct sh_hooks sim_hooks;
extern unsigned sim_panics;
extern char sim_last_log[256];

/* Runs two functions as two CPUs; they switch at every point of contact with the other, by the
 * seed. */
void sim_race(void (*first)(void), void (*second)(void), unsigned seed);

#endif
