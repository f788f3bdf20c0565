/*
 * A port's cpu.h with a stop watch: how long interrupts are masked at a stretch, by arch_irq_save and
 * arch_irq_restore.  PROBE_PORT is the port's own file.  Of one CPU; the fast paths of malloc and free have a
 * mask of their own, which is not counted.
 */
#ifndef PROBE_CPU_H
#define PROBE_CPU_H

#define arch_irq_save port_irq_save
#define arch_irq_restore port_irq_restore
#include PROBE_PORT
#undef arch_irq_save
#undef arch_irq_restore

extern uint32_t probe_depth, probe_start, probe_longest;
uint32_t k_cycles(void);

static inline arch_flags arch_irq_save(void)
{
    bool enabled = arch_irq_enabled();
    arch_flags flags = port_irq_save();

    if (enabled) {
        probe_depth = 0;
        probe_start = k_cycles();
    }
    probe_depth++;
    return flags;
}

static inline void arch_irq_restore(arch_flags flags)
{
    if (--probe_depth == 0) {
        uint32_t time = k_cycles() - probe_start;

        if (time > probe_longest)
            probe_longest = time;
    }
    port_irq_restore(flags);
}

#endif
