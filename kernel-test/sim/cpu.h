/*
 * The simulated CPU: what arch/x86/cpu.h and arch/arm/cpu.h offer, answered by sim.c.
 *
 * Stands in front of both on the include path; their guards are taken here, so that the real pte.h
 * files compile unchanged.
 */
#ifndef SPANHEAP_SIM_CPU_H
#define SPANHEAP_SIM_CPU_H
#define SPANHEAP_X86_CPU_H
#define SPANHEAP_ARM_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uintptr_t arch_flags;

arch_flags arch_irq_save(void);
void arch_irq_restore(arch_flags flags);
void arch_pause(void);

/* Order and flushes: sim.c keeps a second copy of memory, what the walker sees, and TLBs. */
#ifdef SIM_ARM
enum { ARCH_FLUSH_IS_GLOBAL = 1 };
#else
enum { ARCH_FLUSH_IS_GLOBAL = 0 };
#endif
void arch_table_written(const volatile void *entries, size_t size_bytes);
void arch_published(void);
void arch_flush(uintptr_t base, size_t size_bytes);

/* Control registers, settable by tests. */
struct sim_registers {
    uint32_t cr0, cr4;
    bool nx;
    uint32_t sctlr, ttbcr, dacr, prrr;
};
extern struct sim_registers sim_registers;

static inline uintptr_t arch_cr0(void)
{
    return sim_registers.cr0;
}

static inline uintptr_t arch_cr4(void)
{
    return sim_registers.cr4;
}

static inline bool arch_nx_enabled(void)
{
    return sim_registers.nx;
}

static inline uint32_t arch_sctlr(void)
{
    return sim_registers.sctlr;
}

static inline uint32_t arch_ttbcr(void)
{
    return sim_registers.ttbcr;
}

static inline uint32_t arch_dacr(void)
{
    return sim_registers.dacr;
}

static inline uint32_t arch_prrr(void)
{
    return sim_registers.prrr;
}

#endif
