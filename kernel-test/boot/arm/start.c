/*
 * From the first instruction at the linked address to kmain: console, device tree, modules, page
 * tables, traps; and the few services of the machine that need no file of their own.
 */
#include "arm.h"

#include "kernel-test/test.h"

const uintptr_t k_ram_base = ARM_RAM;

void k_putc(char c)
{
    volatile uint32_t *uart = (volatile uint32_t *)ARM_UART;

    if (c == '\n')
        k_putc('\r');
    while ((uart[6] & 0x20) != 0) /* transmit queue full */
        k_pause();
    uart[0] = (uint8_t)c;
}

char k_getc(void)
{
    volatile uint32_t *uart = (volatile uint32_t *)ARM_UART;

    while ((uart[6] & 0x10) != 0) /* receive queue empty */
        k_pause();
    return (char)uart[0];
}

/* Semihosting: SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit. */
void k_exit(bool pass)
{
    volatile uint32_t block[2] = { 0x20026, pass ? 33 : 35 };

    k_interrupts(false);
    __asm__ volatile("mov r0, #0x20\n\tmov r1, %0\n\tsvc 0x123456"
                     : : "r"(block) : "r0", "r1", "lr", "memory");
    for (;;)
        k_pause();
}

uint32_t k_cycles(void)
{
    return ARM_READ("0, %0, c9, c13, 0");
}

void k_pause(void)
{
    __asm__ volatile("yield" : : : "memory");
}

bool k_interrupts_are_on(void)
{
    uint32_t status;

    __asm__ volatile("mrs %0, cpsr" : "=r"(status) : : "memory");
    return (status & 0x80) == 0;
}

bool k_interrupts(bool on)
{
    bool were_on = k_interrupts_are_on();

    if (on)
        __asm__ volatile("cpsie i" : : : "memory");
    else
        __asm__ volatile("cpsid i" : : : "memory");
    return were_on;
}

static void start_cycle_counter(void)
{
    ARM_WRITE("0, %0, c9, c12, 0", 5);       /* PMCR: on, from 0 */
    ARM_WRITE("0, %0, c9, c12, 1", 1u << 31); /* the cycle counter */
}

/*
 * The other CPUs
 */

#define PSCI_CPU_ON 0x84000003u

unsigned k_cpu_number(void)
{
    return ((const struct k_cpu *)(uintptr_t)ARM_READ("0, %0, c13, c0, 4"))->number;
}

_Static_assert(offsetof(struct k_cpu, stack_guard) == 8 && offsetof(struct k_cpu, boot_stack) == 16,
               "vectors.S and boot.S know them");

/* In a cluster of up to 8 the number is the affinity. */
void k_cpu_boot(struct k_cpu *cpu)
{
    register uint32_t r0 __asm__("r0") = PSCI_CPU_ON;
    register uint32_t r1 __asm__("r1") = cpu->number;
    register uint32_t r2 __asm__("r2") = (uintptr_t)arm_cpu_boot;
    register uint32_t r3 __asm__("r3") = (uintptr_t)cpu;

    ARM_SYNC();
    __asm__ volatile(".arch_extension virt\n\thvc #0" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r3) : "memory");
    if (r0 != 0)
        k_panic("PSCI CPU_ON", r0);
}

void k_cpu_boot_done(void)
{
}

/* On a stack in the direct map, with the first tables. */
void arm_cpu_start(struct k_cpu *cpu)
{
    arm_paging_join();
    arm_traps_join();
    start_cycle_counter();
    arm_run_on(cpu->stack_high, k_cpu_main, cpu);
}

/* The interrupt ends the wait also while it is masked. */
void k_wait(void)
{
    __asm__ volatile("dsb\n\twfi" : : : "memory");
    k_interrupts(true);
    __asm__ volatile("isb" : : : "memory");
    k_interrupts(false);
}

void arm_start(void)
{
    sh_paddr ram_size = 0;
    unsigned cpus = 0;

    k_cpu_first((uintptr_t)k_stack_guard);
    ARM_WRITE("0, %0, c13, c0, 4", (uintptr_t)k_cpu_table); /* TPIDRPRW */
    arm_read_device_tree((const void *)K_DIRECT_BASE, &ram_size, &cpus);
    if (ram_size == 0)
        k_panic("no device tree, or no memory in it", 0);
    k_memory_add(ARM_RAM, ram_size < K_DIRECT_SIZE ? ram_size : K_DIRECT_SIZE);
    k_memory_reserve((uintptr_t)k_image_start - K_DIRECT_BASE + ARM_RAM,
                     (uintptr_t)k_image_end - (uintptr_t)k_image_start);
    arm_read_modules(ram_size);
    start_cycle_counter();
    arm_paging_start(ram_size);
    arm_traps_start();
    k_interrupts(true);
    k_cpus_start(cpus);
    kmain();
}
