/*
 * Entry from a multiboot loader: paging off, flat 32-bit segments, eax = magic, ebx = information.
 * A first page directory of 4 MiB pages (identity for the image, the direct map for the rest)
 * brings the kernel to where it is linked; paging.c then builds the real tables.
 */
#define OFFSET 0xC0000000
#define PHYSICAL(symbol) ((symbol) - OFFSET)

    .section .multiboot, "a"
    .balign 4
    .long 0x1BADB002, 0x3, -(0x1BADB002 + 0x3)

    .section .boot, "ax"
    .globl boot_start
boot_start:
    cli
    cld
    mov %eax, %esi
    mov $PHYSICAL(boot_directory), %edi
    movl $0x83, (%edi)                  /* identity: present, writable, 4 MiB */
    lea (768 * 4)(%edi), %edx
    mov $0x83, %eax
    mov $64, %ecx
1:  mov %eax, (%edx)
    add $0x400000, %eax
    add $4, %edx
    loop 1b
    mov %cr4, %eax
    or $0x10, %eax                      /* PSE */
    mov %eax, %cr4
    mov %edi, %cr3
    mov %cr0, %eax
    or $0x80010000, %eax                /* PG, WP */
    mov %eax, %cr0
    mov $high, %eax
    jmp *%eax

/* Changes the paging mode: ecx = cr3, edx = cr4.  Here because paging is off in between. */
low_switch:
    mov %cr0, %eax
    and $0x7FFFFFFF, %eax
    mov %eax, %cr0
    mov %edx, %cr4
    mov %ecx, %cr3
    or $0x80000000, %eax
    mov %eax, %cr0
    mov $high_switched, %eax
    jmp *%eax

    .text
high:
    mov $k_stack_top, %esp
    xor %ebp, %ebp
    push %ebx
    push %esi
    call x86_start

/* void x86_switch_paging(uint32_t cr3, uint32_t cr4): both directories must map .boot
 * identically. */
    .globl x86_switch_paging
x86_switch_paging:
    mov 4(%esp), %ecx
    mov 8(%esp), %edx
    mov $low_switch, %eax
    jmp *%eax
high_switched:
    ret

/* void x86_load_segments(const void *gdtr, const void *idtr) */
    .globl x86_load_segments
x86_load_segments:
    mov 4(%esp), %eax
    lgdt (%eax)
    mov 8(%esp), %eax
    lidt (%eax)
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %ss
    ljmp $0x08, $1f
1:  mov $0x28, %eax                     /* the CPU's record */
    mov %eax, %gs
    mov $0x18, %eax
    ltr %ax
    ret

/* What a CPU runs first, copied to AP: real mode, cs = AP >> 4.  It gets a flat GDT, the page tables
 * of CPU 0 with an identity map of this page, and the stack that x86_ap_stack says. */
#define AP 0x8000
#define THERE(symbol) (AP + (symbol) - x86_ap_code)
    .section .data
    .globl x86_ap_code, x86_ap_code_end, x86_ap_cr3, x86_ap_cr4, x86_ap_nx, x86_ap_stack
    .balign 16
    .code16
x86_ap_code:
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl ap_gdtr - x86_ap_code
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $0x08, $THERE(1f)
    .code32
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov THERE(x86_ap_cr4), %eax
    mov %eax, %cr4
    mov THERE(x86_ap_cr3), %eax
    mov %eax, %cr3
    cmpl $0, THERE(x86_ap_nx)
    je 2f
    mov $0xC0000080, %ecx               /* EFER.NXE */
    rdmsr
    or $0x800, %eax
    wrmsr
2:  mov %cr0, %eax
    and $0x9FFFFFFF, %eax               /* caches on */
    or $0x80010000, %eax                /* PG, WP */
    mov %eax, %cr0
    mov THERE(x86_ap_stack), %esp
    xor %ebp, %ebp
    mov $x86_ap_start, %eax
    call *%eax
    .balign 8
ap_gdt:
    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF
ap_gdtr:
    .word 23
    .long THERE(ap_gdt)
    .balign 4
x86_ap_cr3:
    .long 0
x86_ap_cr4:
    .long 0
x86_ap_nx:
    .long 0
x86_ap_stack:
    .long 0
x86_ap_code_end:

    .bss
    .balign 4096
boot_directory:
    .skip 4096

    .section .note.GNU-stack, "", @progbits
