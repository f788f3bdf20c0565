/* k_setjmp, k_longjmp: r4 … r11, sp, lr. */
    .arch armv7-a
    .arm
    .text
    .globl k_setjmp
k_setjmp:
    stmia r0!, {r4-r11}
    str sp, [r0]
    str lr, [r0, #4]
    mov r0, #0
    bx lr

    .globl k_longjmp
k_longjmp:
    ldmia r0!, {r4-r11}
    ldr sp, [r0]
    ldr lr, [r0, #4]
    mov r0, r1
    bx lr

    .section .note.GNU-stack, "", %progbits
