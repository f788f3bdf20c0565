/* Between the files of boot/arm: QEMU's virt machine with ARMv7-A CPUs. */
#ifndef BOOT_ARM_H
#define BOOT_ARM_H

#include "kernel-test/k_cpus.h"

/* Parts of the image, page aligned: linker/arm.ld. */
extern char k_image_start[], k_text_end[], k_rodata_end[], k_image_end[];
extern char k_stack_guard[];

#define ARM_RAM 0x40000000u

/* Devices: physical addresses (whole sections), and where both page tables map them. */
#define ARM_UART_SECTION 0x09000000u
#define ARM_GIC_SECTION 0x08000000u
#define ARM_UART (K_PRIVATE_BASE + 0x01000000u)
#define ARM_FW_CFG (ARM_UART + 0x20000u)
#define ARM_GIC (K_PRIVATE_BASE + 0x01100000u)

struct arm_registers {
    unsigned r[13], lr, pc, cpsr;
};

/* boot.S: where a CPU begins, a physical address. */
extern char arm_cpu_boot[];
_Noreturn void arm_run_on(uintptr_t stack_high, void (*fn)(struct k_cpu *), struct k_cpu *cpu);
/* start.c */
_Noreturn void arm_start(void);
_Noreturn void arm_cpu_start(struct k_cpu *cpu);
/* paging.c: the final tables; the command line must be known.  Then each other CPU by itself. */
void arm_paging_start(sh_paddr ram_size);
void arm_paging_join(void);
/* traps.c.  Of CPU 0, then of each other one by itself. */
void arm_traps_start(void);
void arm_traps_join(void);
void arm_trap(struct arm_registers *registers, unsigned kind);
void arm_interrupt(const struct arm_registers *registers);
_Noreturn void arm_stack_overflow(uintptr_t pc);
/* devices.c */
void arm_read_device_tree(const void *tree, sh_paddr *ram_size, unsigned *cpus);
void arm_read_modules(sh_paddr ram_size);

static inline uint32_t arm_big_endian(uint32_t value)
{
    return value << 24 | (value & 0xFF00u) << 8 | (value >> 8 & 0xFF00u) | value >> 24;
}

#define ARM_READ(operands)                                                   \
    ({                                                                       \
        unsigned value_;                                                     \
        __asm__ volatile("mrc p15, " operands : "=r"(value_) : : "memory");  \
        value_;                                                              \
    })
#define ARM_WRITE(operands, value)                                           \
    __asm__ volatile("mcr p15, " operands : : "r"((uint32_t)(value)) : "memory")
#define ARM_SYNC() __asm__ volatile("dsb\n\tisb" : : : "memory")

#endif
