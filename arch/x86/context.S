/*
 * void arch_spill(void (*fn)(uintptr_t here, void *arg), void *arg)
 *
 * Puts the registers that a callee keeps on the stack and calls fn with the address of the lowest: all
 * that the callers hold lies in [here, their stack's top).
 */
    .text
    .globl arch_spill
    .type arch_spill, @function
arch_spill:
    push %ebp
    push %ebx
    push %esi
    push %edi
    mov %esp, %eax
    mov 20(%esp), %ecx
    push 24(%esp)
    push %eax
    call *%ecx
    add $8, %esp
    pop %edi
    pop %esi
    pop %ebx
    pop %ebp
    ret
    .size arch_spill, . - arch_spill
    .section .note.GNU-stack, "", %progbits
