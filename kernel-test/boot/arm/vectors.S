/*
 * Exception entries.  Everything is handled in SVC mode on the kernel's stack, with the registers
 * in a struct arm_registers; only an abort with sp in its stack's guard page, or about to get
 * there, stays on the abort stack, because the kernel's stack is what is broken.
 */
    .arch armv7-a
    .arm
    .text
    .balign 32
    .globl arm_vectors
arm_vectors:
    b .
    b undefined
    b call
    b prefetch_abort
    b data_abort
    b .
    b interrupt
    b .

/* r0-r12, lr of SVC mode below the pc and cpsr that srsdb put there; the stack 8-aligned for C. */
    .macro ENTER back
    .if \back
    sub lr, lr, #\back
    .endif
    srsdb sp!, #0x13
    cpsid i, #0x13
    push {r0-r12, lr}
    mov r0, sp
    mov r4, sp
    bic sp, sp, #7
    .endm

    .macro LEAVE
    mov sp, r4
    pop {r0-r12, lr}
    rfeia sp!
    .endm

undefined:
    ENTER 4
    mov r1, #1
    b exception
call:
    ENTER 4
    mov r1, #2
    b exception
prefetch_abort:
    ENTER 4
    mov r1, #3
    b exception
data_abort:
    push {r0, r1}                       /* the abort stack */
    cps #0x13
    mov r0, sp
    cps #0x17
    mrc p15, 0, r1, c13, c0, 4          /* the CPU's record: stack_guard */
    ldr r1, [r1, #8]
    sub r0, r0, r1
    cmp r0, #(4096 + 256)
    pop {r0, r1}
    blo overflow
    ENTER 8
    mov r1, #4
exception:
    bl arm_trap
    LEAVE

overflow:
    sub r0, lr, #8
    bl arm_stack_overflow

interrupt:
    ENTER 4
    bl arm_interrupt
    LEAVE
    .ltorg

    .section .note.GNU-stack, "", %progbits
