/*
 * void arch_spill(void (*fn)(uintptr_t here, void *arg), void *arg)
 *
 * Puts the registers that a callee keeps on the stack and calls fn with the address of the lowest: all
 * that the callers hold lies in [here, their stack's top).
 */
    .syntax unified
    .arch armv7-a
    .arm
    .text
    .globl arch_spill
    .type arch_spill, %function
arch_spill:
    push {r4-r11, ip, lr}
    mov ip, r0
    mov r0, sp
    blx ip
    pop {r4-r11, ip, pc}
    .size arch_spill, . - arch_spill
