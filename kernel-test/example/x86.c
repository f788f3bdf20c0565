/*
 * A whole kernel with a heap, for i386.  It turns paging on, gives the heap 64 MiB of addresses,
 * uses it and says so on the serial line.  Your kernel has parts 1, 2 and 4 already; parts 3 and 5
 * are what the heap adds to it.
 *
 *   cd kernel-test/example
 *   i686-linux-gnu-gcc -O2 -ffreestanding -fno-pie -no-pie -nostdlib -static -I../.. \
 *       -T x86.ld -o example.elf x86.c ../../build/x86/libspanheap.a
 *   qemu-system-i386 -m 16M -display none -serial stdio -no-reboot \
 *       -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel example.elf
 */
#include "mm/mm.h"

/* 1. The way in: a multiboot loader puts the kernel at 1 MiB and jumps here, with paging off. */
__asm__(".section .multiboot, \"a\"\n"
        "    .long 0x1BADB002, 2, -(0x1BADB002 + 2)\n" /* magic; say how much memory there is */
        ".section .text\n"
        ".globl start\n"
        "start:\n"
        "    mov $stack + 16384, %esp\n"
        "    push %ebx\n" /* the loader's information */
        "    call kernel_main\n");

char stack[16384] __attribute__((aligned(16)));

/* 2. The machine: one serial line, a way to end, and the four functions that C may call. */
static void print(const char *text)
{
    for (; *text != '\0'; text++)
        __asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((uint16_t)0x3F8));
}

static void print_number(size_t number)
{
    if (number >= 10)
        print_number(number / 10);
    print((const char[]){ (char)('0' + number % 10), '\0' });
}

static _Noreturn void power_off(uint32_t status) /* QEMU ends with 2 * status + 1 */
{
    __asm__ volatile("outl %0, %1" : : "a"(status), "Nd"((uint16_t)0xF4));
    for (;;)
        __asm__ volatile("cli; hlt");
}

void *memset(void *to, int value, size_t size)
{
    void *p = to;

    __asm__ volatile("rep stosb" : "+D"(p), "+c"(size) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    void *p = to;

    __asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(size) : : "memory");
    return to;
}

/* 3. What the heap asks of a kernel: six functions.  Here a free frame holds the address of the
 * next one, and all memory is mapped where it is: a physical address is a pointer. */
static uint32_t directory[1024] __attribute__((aligned(4096)));
static uintptr_t free_frames; /* 0 = none */

bool sh_kernel_frame_alloc(size_t size, sh_paddr *out)
{
    if (free_frames == 0 || size != 4096)
        return false;
    *out = free_frames;
    free_frames = *(uintptr_t *)free_frames;
    return true;
}

void sh_kernel_frame_free(sh_paddr frame, size_t size)
{
    (void)size; /* 4096: on x86 tables and pages are alike */
    *(uintptr_t *)(uintptr_t)frame = free_frames;
    free_frames = (uintptr_t)frame;
}

void *sh_kernel_phys_to_virt(sh_paddr address)
{
    return (void *)(uintptr_t)address;
}

sh_paddr sh_kernel_root_table(uintptr_t address)
{
    (void)address; /* one directory for everything */
    return (uintptr_t)directory;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    print(kind == SH_PANIC_MISUSE ? "heap misused: " : "heap corrupted: ");
    print(report);
    power_off(0x11);
}

unsigned sh_kernel_cpu(void)
{
    return 0; /* one CPU */
}

/* 4. Memory and paging: 256 MiB mapped where they are, by 4 MiB pages; a list of free frames. */
static void frames_init(const uint32_t *info)
{
    extern char image_end[];                        /* x86.ld */
    uintptr_t ram_end = 0x100000 + info[2] * 1024; /* its third word: KiB above 1 MiB */

    for (uintptr_t frame = (uintptr_t)image_end; frame + 4096 <= ram_end; frame += 4096)
        sh_kernel_frame_free(frame, 4096);
}

static void paging_init(void)
{
    for (uint32_t i = 0; i < 64; i++)
        directory[i] = i << 22 | 0x83; /* 4 MiB page, writable, present */
    __asm__ volatile("mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4;" /* 4 MiB pages */
                     "mov %0, %%cr3;"
                     "mov %%cr0, %%eax; or $0x80010000, %%eax; mov %%eax, %%cr0" /* paging */
                     : : "r"(directory) : "eax", "memory");
}

/* 5. The heap: addresses where nothing is mapped, a start, and it serves. */
_Noreturn void kernel_main(const uint32_t *info)
{
    struct sh_stats stats;
    char *text;

    frames_init(info);
    paging_init();
    if (sh_add_window(0xD0000000, 64 << 20) != SH_OK || sh_init(NULL) != SH_OK) {
        print("no heap: ");
        print(sh_window_error());
        power_off(0x11);
    }

    text = sh_malloc(15);
    memcpy(text, "hello from the", 15);
    text = sh_realloc(text, 1000); /* a careful kernel asks whether either gave NULL */
    memcpy(text + 14, " heap: ", 8);
    sh_stats(&stats);
    print(text);
    print_number(stats.live_bytes);
    print(" bytes in use, ");
    print_number(stats.frames_held / 1024);
    print(" KiB of frames\n");
    sh_free(text);
    power_off(0x10);
}
