/*
 * The CPU as the explorer sees it: arch/host/cpu.h, but the interrupt mask is one of the simulated CPU
 * that the code runs on, and a pause is a wait for something to change.
 */
#ifndef EXPLORE_CPU_H
#define EXPLORE_CPU_H

#define arch_irq_save host_irq_save
#define arch_irq_restore host_irq_restore
#define arch_irq_enabled host_irq_enabled
#define arch_pause host_pause
#include "arch/host/cpu.h"
#undef arch_irq_save
#undef arch_irq_restore
#undef arch_irq_enabled
#undef arch_pause

arch_flags explore_irq_save(void);
void explore_irq_restore(arch_flags flags);
bool explore_irq_enabled(void);
void explore_pause(void);

static inline arch_flags arch_irq_save(void)
{
    return explore_irq_save();
}

static inline void arch_irq_restore(arch_flags flags)
{
    explore_irq_restore(flags);
}

static inline bool arch_irq_enabled(void)
{
    return explore_irq_enabled();
}

static inline void arch_pause(void)
{
    explore_pause();
}

#endif
