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
#if defined(__x86_64__)
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    sub $8, %rsp
    mov %rdi, %rax
    mov %rsp, %rdi
    call *%rax
    add $8, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
#elif defined(__i386__)
    push %ebp
    push %ebx
    push %esi
    push %edi
    mov %esp, %eax
    mov 20(%esp), %ecx
    mov 24(%esp), %edx
    sub $4, %esp
    push %edx
    push %eax
    call *%ecx
    add $12, %esp
    pop %edi
    pop %esi
    pop %ebx
    pop %ebp
    ret
#else
#error "arch/host knows x86-64 and i386"
#endif
    .size arch_spill, . - arch_spill
    .section .note.GNU-stack, "", %progbits
