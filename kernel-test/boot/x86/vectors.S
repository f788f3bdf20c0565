/*
 * Interrupt entries.  Each pushes an error code (or 0) and its number; x86_vectors lists the
 * entries of the 32 exceptions, then the timer's, the spurious one's and that of other CPUs.
 */
    .macro ENTRY number
    .if (\number == 8) || ((\number >= 10) && (\number <= 14)) || (\number == 17) || (\number == 21)
entry_\number:
    .else
entry_\number:
    push $0
    .endif
    push $\number
    jmp common
    .endm

    .macro ADDRESS number
    .long entry_\number
    .endm

    .text
    .altmacro
    .set i, 0
    .rept 35
    ENTRY %i
    .set i, i + 1
    .endr

common:
    pusha
    cld
    push %esp
    call x86_trap
    add $4, %esp
    popa
    add $8, %esp
    iret

/* The double-fault task: its own stack, so that a broken esp can still be reported. */
    .globl x86_double_fault
x86_double_fault:
    add $4, %esp
    call x86_stack_overflow

    .section .rodata
    .balign 4
    .globl x86_vectors
x86_vectors:
    .set i, 0
    .rept 35
    ADDRESS %i
    .set i, i + 1
    .endr

    .section .note.GNU-stack, "", @progbits
