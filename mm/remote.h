/*
 * Frees on another CPU than the one that allocates from the span.
 */
#ifndef MM_REMOTE_H
#define MM_REMOTE_H

#include "mm/cache.h"

/* Frees slot `index` of a small manual span, whoever owns it; false = it is not live.  `cpu`: this one's cache,
 * interrupts masked, or the guarded one's, locked. */
MM_CALL bool mm_remote_free(struct mm_cpu *cpu, struct mm_span *span, uint32_t index);

/* The short way of sh_free: slot `index` of a small manual span, if that is another CPU's; false = it is not,
 * or the slot not live, or this CPU not known, and nothing is done.  Interrupts masked. */
MM_CALL bool mm_remote_free_there(struct mm_span *span, uint32_t index);

/* What was freed elsewhere becomes free: of some spans that were listed for this CPU, so that the stretch is
 * short; more may be waiting.  Interrupts masked. */
void mm_remote_drain(struct mm_cpu *cpu);
static inline bool mm_remote_waiting(const struct mm_cpu *cpu)
{
    return SH_MAX_CPUS > 1 &&
           ((uintptr_t)__atomic_load_n(&cpu->late, __ATOMIC_RELAXED) | (uintptr_t)cpu->taking) != 0;
}

/* Is there something to take in, or to tell? */
static inline bool mm_remote_due(const struct mm_cpu *cpu)
{
    return SH_MAX_CPUS > 1 && (mm_remote_waiting(cpu) || cpu->twice != 0);
}

/* A slot that was freed twice, on two CPUs at the same moment: found when the second free was taken in, told
 * to whoever comes next.  0 = none.  Interrupts masked. */
static inline uintptr_t mm_remote_twice(struct mm_cpu *cpu)
{
    uintptr_t address = SH_MAX_CPUS > 1 ? cpu->twice : 0;
    if (address != 0) {
        cpu->twice = 0;
    }
    return address;
}

/* Late frees of a span: how many.  They are neither free nor live. */
uint32_t mm_remote_late(const struct mm_span *span);

int mm_remote_verify_span(const struct mm_span *span);
MM_CALL int mm_remote_verify(const struct mm_cpu *cpu);

#endif
