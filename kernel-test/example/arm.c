/*
 * A whole kernel with a heap, for ARMv7-A (QEMU's virt machine).  It turns the MMU on, gives the
 * heap 64 MiB of addresses, uses it and says so on the serial line.  Your kernel has parts 1, 2 and
 * 4 already; parts 3 and 5 are what the heap adds to it.
 *
 *   cd kernel-test/example
 *   arm-none-eabi-gcc -march=armv7-a -marm -mfloat-abi=soft -O2 -ffreestanding -nostdlib -static \
 *       -I../.. -T arm.ld -o example.elf arm.c ../../build/arm/libspanheap.a
 *   qemu-system-arm -M virt -cpu cortex-a15 -m 64M -display none -serial stdio -no-reboot \
 *       -semihosting-config enable=on,target=native -kernel example.elf
 */
#include "mm/mm.h"

/* 1. The way in: SVC mode, MMU off, the image where it is linked. */
__asm__(".section .start, \"ax\"\n"
        ".globl start\n"
        "start:\n"
        "    cpsid if\n"
        "    ldr sp, =stack + 16384\n"
        "    bl kernel_main\n"
        "    .ltorg\n"
        ".section .text\n");

char stack[16384] __attribute__((aligned(16)));

enum { RAM_BASE = 0x40000000, RAM_SIZE = 64 << 20 }; /* a real kernel asks the device tree */
enum { SERIAL = 0x09000000 };

/* 2. The machine: one serial line, a way to end, and the functions that C may call. */
static void print(const char *text)
{
    for (; *text != '\0'; text++)
        *(volatile uint32_t *)SERIAL = (uint8_t)*text;
}

static void print_number(size_t number)
{
    if (number >= 10)
        print_number(number / 10);
    print((const char[]){ (char)('0' + number % 10), '\0' });
}

static _Noreturn void power_off(uint32_t status) /* semihosting: QEMU ends with this status */
{
    uint32_t reason[2] = { 0x20026, status };
    register uint32_t operation __asm__("r0") = 0x20;
    register uint32_t *argument __asm__("r1") = reason;

    for (;;)
        __asm__ volatile("svc 0x123456" : "+r"(operation) : "r"(argument) : "lr", "memory");
}

void *memset(void *to, int value, size_t size)
{
    for (volatile uint8_t *p = to; size > 0; size--) /* volatile, or it becomes a call of itself */
        *p++ = (uint8_t)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    const uint8_t *source = from;

    for (volatile uint8_t *p = to; size > 0; size--)
        *p++ = *source++;
    return to;
}

/* 3. What the heap asks of a kernel: six functions.  Here a free frame holds the address of the
 * next one, and all memory is mapped where it is: a physical address is a pointer. */
static uint32_t sections[4096] __attribute__((aligned(16384))); /* the first-level table */
static uintptr_t free_frames;                                   /* 0 = none */

bool sh_kernel_frame_alloc(size_t size, sh_paddr *out)
{
    if (free_frames == 0 || size != 4096) /* with 64 KiB pages there are two sizes to serve */
        return false;
    *out = free_frames;
    free_frames = *(uintptr_t *)free_frames;
    return true;
}

void sh_kernel_frame_free(sh_paddr frame, size_t size)
{
    (void)size;
    *(uintptr_t *)(uintptr_t)frame = free_frames;
    free_frames = (uintptr_t)frame;
}

void *sh_kernel_phys_to_virt(sh_paddr address)
{
    return (void *)(uintptr_t)address;
}

sh_paddr sh_kernel_root_table(uintptr_t address)
{
    (void)address; /* TTBR0's table for everything */
    return (uintptr_t)sections;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    print(kind == SH_PANIC_MISUSE ? "heap misused: " : "heap corrupted: ");
    print(report);
    power_off(35);
}

unsigned sh_kernel_cpu(void)
{
    return 0; /* one CPU */
}

/* 4. Memory and paging: RAM and the devices below it where they are, by 1 MiB sections. */
static void paging_init(void)
{
    for (uint32_t i = 0; i < RAM_BASE >> 20; i++)
        sections[i] = i << 20 | 0x416; /* device, never executed */
    for (uint32_t i = RAM_BASE >> 20; i < (RAM_BASE + RAM_SIZE) >> 20; i++)
        sections[i] = i << 20 | 0x1140E; /* normal memory, write-back, shareable, kernel only */
    __asm__ volatile("dsb;"
                     "mcr p15, 0, %1, c8, c7, 0;" /* forget old translations */
                     "mcr p15, 0, %1, c2, c0, 2;" /* TTBCR: TTBR0 translates all addresses */
                     "mcr p15, 0, %2, c3, c0, 0;" /* DACR: domain 0 obeys its entries */
                     "mcr p15, 0, %0, c2, c0, 0;" /* TTBR0, walks write-back and shareable */
                     "isb;"
                     "mrc p15, 0, r3, c1, c0, 0;"
                     "orr r3, r3, #0x1800; orr r3, r3, #5;" /* SCTLR: caches, MMU */
                     "mcr p15, 0, r3, c1, c0, 0;"
                     "isb" : : "r"((uintptr_t)sections | 0x4A), "r"(0), "r"(1) : "r3", "memory");
}

static void frames_init(void)
{
    extern char image_end[]; /* arm.ld */

    for (uintptr_t frame = (uintptr_t)image_end; frame < RAM_BASE + RAM_SIZE; frame += 4096)
        sh_kernel_frame_free(frame, 4096);
}

/* 5. The heap: addresses where nothing is mapped, a start, and it serves. */
_Noreturn void kernel_main(void)
{
    struct sh_stats stats;
    char *text;

    paging_init();
    frames_init();
    if (sh_add_window(0xD0000000, 64 << 20) != SH_OK || sh_init(NULL) != SH_OK) {
        print("no heap: ");
        print(sh_window_error());
        power_off(35);
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
    power_off(33);
}
