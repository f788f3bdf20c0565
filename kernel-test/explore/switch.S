/*
 * void fiber_switch(void **save, void *to)
 *
 * Puts the registers that a callee keeps on the stack, leaves the stack pointer in *save, goes on on the
 * stack `to`, which was left so or made by fiber_make.
 */
    .text
    .globl fiber_switch
    .type fiber_switch, @function
fiber_switch:
#if __SIZEOF_POINTER__ == 4
    mov 4(%esp), %eax
    mov 8(%esp), %ecx
    push %ebp
    push %ebx
    push %esi
    push %edi
    mov %esp, (%eax)
    mov %ecx, %esp
    pop %edi
    pop %esi
    pop %ebx
    pop %ebp
    ret
#else
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
#endif
    .size fiber_switch, . - fiber_switch
    .section .note.GNU-stack, "", %progbits
