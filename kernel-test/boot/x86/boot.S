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
    mov %eax, %gs
    mov %eax, %ss
    ljmp $0x08, $1f
1:  mov $0x18, %eax
    ltr %ax
    ret

    .bss
    .balign 4096
boot_directory:
    .skip 4096

    .section .note.GNU-stack, "", @progbits
