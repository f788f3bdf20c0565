/*
 * Exceptions, the interrupt controller (GICv2) with its interrupts between CPUs, and the virtual timer.  The timer counts 62.5 MHz
 * in QEMU: an interrupt lands on one instruction in sixteen, counted from when it was armed.
 */
#include "arm.h"

#include "kernel-test/test.h"

#define TIMER_INTERRUPT 27u
#define CPU_INTERRUPT 1u
#define NANOSECONDS_LOG2 4 /* a tick is 16 ns */

static const char *const names[] = {
    "?", "undefined instruction", "supervisor call", "prefetch abort", "data abort",
};

static volatile uint32_t *distributor(unsigned offset)
{
    return (volatile uint32_t *)(ARM_GIC + offset);
}

static volatile uint32_t *cpu_interface(unsigned offset)
{
    return (volatile uint32_t *)(ARM_GIC + 0x10000 + offset);
}

/* What each CPU sees as its own. */
void arm_traps_join(void)
{
    k_timer_disarm();
    *distributor(0x100) = 1u << TIMER_INTERRUPT | 1u << CPU_INTERRUPT;
    *cpu_interface(0x04) = 0xFF; /* priority mask */
    *cpu_interface(0x00) = 1;
}

void arm_traps_start(void)
{
    *distributor(0x000) = 1;
    arm_traps_join();
}

void k_cpu_kick(unsigned number)
{
    ARM_SYNC(); /* what was asked is seen first */
    *distributor(0xF00) = 1u << (16 + number) | CPU_INTERRUPT;
}

void k_timer_arm(unsigned period)
{
    uint32_t ticks = period >> NANOSECONDS_LOG2;

    ARM_WRITE("0, %0, c14, c3, 0", ticks > 0 ? ticks : 1); /* CNTV_TVAL */
    ARM_WRITE("0, %0, c14, c3, 1", 1);                     /* CNTV_CTL: enable */
    __asm__ volatile("isb");
}

void k_timer_disarm(void)
{
    ARM_WRITE("0, %0, c14, c3, 1", 2); /* masked, off */
    __asm__ volatile("isb");
}

/* Ended at the controller before the handler runs: it may jump away. */
void arm_interrupt(const struct arm_registers *registers)
{
    uint32_t number = *cpu_interface(0x0C);

    if ((number & 0x3FF) == 1023)
        return;
    if ((number & 0x3FF) == TIMER_INTERRUPT)
        k_timer_disarm();
    *cpu_interface(0x10) = number;
    if ((number & 0x3FF) == TIMER_INTERRUPT)
        k_timer_interrupt();
    if ((number & 0x3FF) == CPU_INTERRUPT)
        k_cpu_interrupt((uintptr_t)registers);
}

static void print(const struct arm_registers *r, unsigned kind, unsigned status, unsigned address)
{
    const char *access = kind == 3 ? "execution" : (status & 0x800) != 0 ? "write" : "read";

    t_printf("\nCPU %u: %s at pc %x", k_cpu(), names[kind], r->pc);
    if (kind >= 3)
        t_printf(": %s of %x, status %x", access, address, status);
    for (unsigned i = 0; i < 13; i++)
        t_printf("%sr%u %08x", i % 7 == 0 ? "\n" : " ", i, r->r[i]);
    t_printf("\nlr %08x sp %08x cpsr %08x ttbr0 %08x\n", r->lr, (unsigned)(uintptr_t)(r + 1),
             r->cpsr, ARM_READ("0, %0, c2, c0, 0"));
}

void arm_trap(struct arm_registers *r, unsigned kind)
{
    unsigned status = 0, address = r->pc, code;
    bool page;

    if (kind == 3) {
        status = ARM_READ("0, %0, c5, c0, 1");
        address = ARM_READ("0, %0, c6, c0, 2");
    } else if (kind == 4) {
        status = ARM_READ("0, %0, c5, c0, 0");
        address = ARM_READ("0, %0, c6, c0, 0");
    }
    code = status & 0x40F;
    page = code == 0x5 || code == 0x7 || code == 0xD || code == 0xF; /* translation, permission */
    if (page && (r->cpsr & 0x80) == 0) /* who waits for another CPU's commit answers others */
        k_interrupts(true);
    if (k_trap(page, address, kind == 4 && (status & 0x800) != 0, (code & 8) != 0))
        return;
    print(r, kind, status, address);
    k_crash(address);
}

void arm_stack_overflow(uintptr_t pc)
{
    t_printf("\nstack overflow at pc %lx; stack guard at %lx\n", (unsigned long)pc,
             (unsigned long)k_this()->stack_guard);
    k_exit(false);
}
