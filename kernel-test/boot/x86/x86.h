/* Between the files of boot/x86. */
#ifndef BOOT_X86_H
#define BOOT_X86_H

#include "kernel-test/k_cpus.h"

/* Parts of the image, page aligned: linker/x86.ld. */
extern char k_image_start[], k_text_end[], k_rodata_end[], k_image_end[];
extern char k_stack_guard[];

#define X86_LAPIC (K_PRIVATE_BASE + 0x00D00000u) /* where its registers are mapped */
#define X86_LAPIC_PHYSICAL 0xFEE00000u

struct x86_registers {
    uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax; /* pusha */
    uint32_t vector, error, eip, cs, eflags;
};

/* boot.S, vectors.S */
void x86_switch_paging(uint32_t cr3, uint32_t cr4);
void x86_load_segments(const void *gdtr, const void *idtr);
void x86_double_fault(void);
extern const uintptr_t x86_vectors[35];

/* boot.S: what a CPU runs first, at X86_AP_CODE; the words in it are set before. */
#define X86_AP_CODE 0x8000u
extern char x86_ap_code[], x86_ap_code_end[];
extern uint32_t x86_ap_cr3, x86_ap_cr4, x86_ap_nx, x86_ap_stack;
_Noreturn void x86_ap_start(void);

/* start.c */
_Noreturn void x86_start(uint32_t magic, uint32_t information);
/* paging.c: the final tables; the command line must be known. */
void x86_paging_start(sh_paddr ram_end);
/* A mapping of the first 4 MiB where they are, while a CPU starts. */
void x86_paging_identity(bool on);
bool x86_paging_nx(void);
/* traps.c.  Of CPU 0, then of each other one by itself. */
void x86_traps_start(void);
void x86_traps_join(struct k_cpu *cpu);
void x86_apic_on(void);
void x86_apic_send(unsigned number, uint32_t command);
void x86_trap(struct x86_registers *registers);
_Noreturn void x86_stack_overflow(void);
/* The directory in which a double fault is reported. */
void x86_traps_directory(uint32_t cr3);

static inline void x86_out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t x86_in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t x86_cr3(void)
{
    uint32_t value;

    __asm__ volatile("mov %%cr3, %0" : "=r"(value) : : "memory");
    return value;
}

static inline void x86_load_cr3(uint32_t value)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static inline uint32_t x86_cr4(void)
{
    uint32_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static inline void x86_flush_page(uintptr_t address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#endif
