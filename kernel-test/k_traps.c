/*
 * What happens on a fault or an interrupt, once boot/<machine>/ has saved the registers: the fault
 * handler, faults that somebody expects, the timer, the end of a run that went wrong.
 */
#include "k_cpus.h"

#include "test.h"

bool (*volatile k_fault_handler)(uintptr_t address, bool write, bool present);
void (*k_crash_hook)(uintptr_t address);

bool k_faults(void (*fn)(void *), void *arg)
{
    struct k_jump here;
    struct k_cpu *volatile cpu = k_this();
    struct k_jump *volatile outer = cpu->expected;
    volatile bool on = k_interrupts(false);
    volatile unsigned depth = cpu->interrupt_depth;
    bool faulted;

    k_interrupts(on);
    faulted = k_setjmp(&here) != 0;
    if (!faulted) {
        cpu->expected = &here;
        fn(arg);
    }
    cpu->expected = outer;
    if (faulted) {
        cpu->interrupt_depth = depth;
        k_interrupts(on);
    }
    return faulted;
}

bool k_trap(bool page_fault, uintptr_t address, bool write, bool present)
{
    if (page_fault && k_fault_handler != NULL && k_fault_handler(address, write, present))
        return true;
    if (k_this()->expected != NULL)
        k_longjmp(k_this()->expected, 1);
    return false;
}

void k_crash(uintptr_t address)
{
    void (*hook)(uintptr_t) = k_crash_hook;

    k_crash_hook = NULL; /* a crash inside the hook ends the run */
    if (hook != NULL)
        hook(address);
    k_exit(false);
}

void k_panic(const char *why, uintptr_t value)
{
    k_interrupts(false);
    t_printf("\nkernel panic: %s (0x%lx)\n", why, (unsigned long)value);
    k_crash(value);
}

bool k_in_interrupt(void)
{
    return k_this()->interrupt_depth > 0;
}

void k_interrupt_reset(void)
{
    k_interrupts(false);
    k_timer_stop();
    k_this()->interrupt_depth = 0;
    k_interrupts(true);
}

void k_timer_start(unsigned period, void (*handler)(void))
{
    bool on = k_interrupts(false);
    struct k_cpu *cpu = k_this();

    cpu->timer_handler = handler;
    cpu->timer_period = period;
    if (cpu->interrupt_depth == 0) /* a handler's timer is armed when it returns */
        k_timer_arm(period);
    k_interrupts(on);
}

void k_timer_stop(void)
{
    bool on = k_interrupts(false);

    k_this()->timer_handler = NULL;
    k_timer_disarm();
    k_interrupts(on);
}

void k_timer_interrupt(void)
{
    struct k_cpu *cpu = k_this();

    if (cpu->timer_handler == NULL)
        return;
    cpu->interrupt_depth++;
    cpu->timer_handler();
    cpu->interrupt_depth--;
    if (cpu->timer_handler != NULL)
        k_timer_arm(cpu->timer_period);
}
