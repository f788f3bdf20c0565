/*
 * A port's cpu.h with a stop watch: how long interrupts are masked at a stretch.  All that the library masks goes
 * by the two pairs here.  PROBE_PORT is the port's own file.  Of one CPU, whatever number it says it has.
 */
#ifndef PROBE_CPU_H
#define PROBE_CPU_H

#define arch_irq_save port_irq_save
#define arch_irq_restore port_irq_restore
#define arch_irq_save_at port_irq_save_at
#define arch_irq_restore_at port_irq_restore_at
#include PROBE_PORT
#undef arch_irq_save
#undef arch_irq_restore
#undef arch_irq_save_at
#undef arch_irq_restore_at

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

/* The fast paths' pair, where the library is built for one CPU. */
static inline arch_flags arch_irq_save_at(arch_flags *place)
{
    return *place = arch_irq_save();
}

static inline void arch_irq_restore_at(const arch_flags *place, arch_flags flags)
{
    (void)flags;
    arch_irq_restore(*place);
}

#endif
