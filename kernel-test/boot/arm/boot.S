/*
 * Entry on QEMU's virt machine: SVC mode, MMU off.  A first table of sections (identity for the
 * image, the direct map, the devices) brings a CPU to where the kernel is linked; paging.c then
 * builds the real tables.  CPU 0 comes by boot_start, the others by arm_cpu_boot.
 */
#define OFFSET 0x80000000
#define RAM 0x40000000
#define SECTION_MEMORY 0x1140E          /* normal, write-back, shareable, PL1 */
#define SECTION_DEVICE 0x416            /* device, never executed */

    .arch armv7-a
    .arm

    .section .boot, "ax"
    .globl boot_start
boot_start:
    cpsid if, #0x13
    mrc p15, 0, r0, c1, c0, 0           /* SCTLR: MMU, caches off if a loader left them on */
    bic r0, r0, #0x5
    mcr p15, 0, r0, c1, c0, 0
    ldr r4, =(arm_boot_table - OFFSET)
    mov r0, #0
    mov r1, #4096
1:  subs r1, r1, #1
    str r0, [r4, r1, lsl #2]
    bne 1b

    ldr r0, =SECTION_MEMORY
    orr r0, r0, #RAM
    orr r1, r0, #0x00100000
    ldr r2, =(((RAM + 0x100000) >> 20) * 4)
    str r1, [r4, r2]                    /* identity: the MiB that holds .boot */
    add r2, r4, #(0xC00 * 4)
    mov r3, #256
2:  str r0, [r2], #4
    add r0, r0, #0x100000
    subs r3, r3, #1
    bne 2b
    ldr r0, =(0x09000000 | SECTION_DEVICE)
    ldr r2, =(0xF10 * 4)
    str r0, [r4, r2]
    ldr r0, =(0x08000000 | SECTION_DEVICE)
    ldr r2, =(0xF11 * 4)
    str r0, [r4, r2]

    bl enable_mmu
    ldr pc, =high

/* r0 = the struct k_cpu, where it is linked. */
    .globl arm_cpu_boot
arm_cpu_boot:
    cpsid if, #0x13
    mov r5, r0
    ldr r4, =(arm_boot_table - OFFSET)
    bl enable_mmu
    ldr pc, =high_cpu

/* r4 = the table. */
enable_mmu:
    mov r0, #0
    mcr p15, 0, r0, c8, c7, 0           /* TLB, instruction cache, branch predictor */
    mcr p15, 0, r0, c7, c5, 0
    mcr p15, 0, r0, c7, c5, 6
    mcr p15, 0, r0, c2, c0, 2           /* TTBCR */
    mov r0, #1
    mcr p15, 0, r0, c3, c0, 0           /* DACR: domain 0 is checked */
    orr r0, r4, #0x4A
    mcr p15, 0, r0, c2, c0, 0           /* TTBR0: write-back walks */
    dsb
    isb
    mrc p15, 0, r0, c1, c0, 0
    ldr r1, =0x30002000                 /* TRE, AFE, high vectors */
    bic r0, r0, r1
    ldr r1, =0x1807                     /* I, branch prediction, C, alignment, M */
    orr r0, r0, r1
    mcr p15, 0, r0, c1, c0, 0
    isb
    bx lr
    .ltorg

    .text
high:
    ldr r0, =arm_vectors
    mcr p15, 0, r0, c12, c0, 0
    cps #0x17
    ldr sp, =abort_stack_top
    cps #0x13
    ldr sp, =k_stack_top
    mov r11, #0
    bl arm_start

high_cpu:
    ldr r0, =arm_vectors
    mcr p15, 0, r0, c12, c0, 0
    mcr p15, 0, r5, c13, c0, 4          /* TPIDRPRW: the record */
    ldr r1, [r5, #16]                   /* boot_stack: the upper half for aborts */
    cps #0x17
    mov sp, r1
    cps #0x13
    sub sp, r1, #2048
    mov r11, #0
    mov r0, r5
    bl arm_cpu_start
    .ltorg

/* void arm_run_on(uintptr_t stack_high, void (*fn)(struct k_cpu *), struct k_cpu *) */
    .globl arm_run_on
arm_run_on:
    mov sp, r0
    mov r0, r2
    blx r1

    .bss
    .balign 16384
    .globl arm_boot_table
arm_boot_table:
    .skip 16384
    .balign 8
    .skip 2048
abort_stack_top:

    .section .note.GNU-stack, "", %progbits
