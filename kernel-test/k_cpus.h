/*
 * CPUs of the tiny kernel: what each has of its own, locks, requests between them.
 *
 * CPU 0 boots and runs the kernel's program; the others wait in k_cpu_main for work.  A CPU's code never
 * moves to another.  The machine's way to start and to interrupt a CPU is in boot/<machine>/.
 */
#ifndef KERNEL_TEST_K_CPUS_H
#define KERNEL_TEST_K_CPUS_H

#include "kernel.h"

/* A library for one CPU needs no others. */
#define K_MAX_CPUS (SH_MAX_CPUS < 8 ? (unsigned)SH_MAX_CPUS : 8u)

/* Each CPU has a slot of private addresses: its scratch pages, an unmapped page, its stack.  CPU 0's stack
 * is in the image. */
#define K_SLOT_SIZE ((uintptr_t)0x20000u)
#define K_SLOT_GUARD ((uintptr_t)0x10000u)

/* vectors.S and boot.S know the first five. */
struct k_cpu {
    unsigned number;
    void *area;              /* sh_cpu_area() of it, while a heap wants SH_CPU_POINTER */
    uintptr_t stack_guard;   /* an unmapped page right below the stack */
    uintptr_t stack_high;
    uintptr_t boot_stack;    /* the top of 4 KiB of the direct map: until the stack is mapped */
    uintptr_t stack_low;
    unsigned directory;      /* loaded */
    unsigned scratch;        /* the scratch page in use */
    struct k_jump *expected; /* where to go on a fault; NULL = nobody expects one */
    unsigned interrupt_depth;
    void (*timer_handler)(void);
    unsigned timer_period;
    /* Written by others. */
    unsigned running;
    unsigned requests;       /* bits of enum k_request */
    void (*work)(void *arg); /* NULL = idle */
    void *work_arg;
    uintptr_t saved;         /* while it stands: its registers, and its stack from there up */
};

#define K_RECORDS 8
extern struct k_cpu k_cpu_table[K_RECORDS];
extern unsigned k_cpu_count; /* that run; 1 until the others are started */

/* The number of the running CPU, and its record. */
unsigned k_cpu(void);
struct k_cpu *k_this(void);
unsigned k_cpus(void);

/* A lock for any context: interrupts are off while it is held.  k_lock returns whether they were on. */
struct k_lock {
    uint32_t taken;
};

bool k_lock(struct k_lock *lock);
void k_unlock(struct k_lock *lock, bool on);

/* One printer at a time.  A CPU may enter again; one that waits for long enters in any case. */
bool k_console_enter(void);
void k_console_leave(bool entered);

/* Has fn(arg) run on an idle CPU, interrupts on. */
void k_cpu_start(unsigned number, void (*fn)(void *arg), void *arg);
bool k_cpu_is_idle(unsigned number);
/* Until all others are idle. */
void k_cpus_wait(void);

/* The hooks for many CPUs.  Interrupts are on; a CPU that waits answers others. */
void k_tlb_shootdown(uintptr_t base, size_t size);
void k_world_stop(void);
void k_world_resume(void);
void k_world_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg);
/* What a stopped CPU does over and over; NULL = nothing. */
extern void (*k_while_stopped)(void);
/* Shootdowns so far. */
extern unsigned k_shootdowns;

/*
 * Between boot/<machine>/ and k_cpus.c.
 */

/* Fills the record of CPU 0, which runs on the image's stack. */
void k_cpu_first(uintptr_t stack_guard);
/* Starts CPUs 1 … count − 1 of the machine, as many as this kernel can have. */
void k_cpus_start(unsigned count);
/* Called by boot/ on each, on its own stack. */
_Noreturn void k_cpu_main(struct k_cpu *cpu);
/* Called by boot/ from the interrupt between CPUs, acknowledged, interrupts off; `saved` is where the
 * registers are on the stack. */
void k_cpu_interrupt(uintptr_t saved);
/* Supplied by boot/.  The number of the running CPU, once more than one runs. */
unsigned k_cpu_number(void);
/* Starts this one: it gets to k_cpu_main. */
void k_cpu_boot(struct k_cpu *cpu);
void k_cpu_boot_done(void);
/* Interrupts it. */
void k_cpu_kick(unsigned number);
/* This CPU forgets the range. */
void k_tlb_flush(uintptr_t base, size_t size);
/* Interrupts are off: waits for one, takes it, returns with interrupts off. */
void k_wait(void);
/* Where the slots begin; a page there. */
extern const uintptr_t k_slots;
void k_slot_map(uintptr_t address, sh_paddr frame);

#endif
