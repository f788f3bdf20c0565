/*
 * A kernel with a virtual memory manager of its own: it defines the seven sh_arch_* functions, and
 * the linker leaves the library's port with its page tables (port.o) out.  Of the six sh_kernel_*
 * functions only two are left to supply, and nobody calls sh_add_window.
 *
 * The manager here is the smallest there is: its address space is one array that is always there,
 * so "mapping" is bookkeeping and paging stays off.  The comments say what a real one does.
 *
 *   cd kernel-test/example
 *   i686-linux-gnu-gcc -O2 -ffreestanding -fno-pie -no-pie -nostdlib -static -I../.. \
 *       -T x86.ld -o example.elf own_vm.c ../../build/x86/libspanheap.a
 *   qemu-system-i386 -m 16M -display none -serial stdio -no-reboot \
 *       -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel example.elf
 */
#include "mm/mm.h"

enum { PAGES = 256, PAGE_SIZE = SH_ARCH_PAGE_SIZE };

static uint8_t pool[PAGES][PAGE_SIZE] __attribute__((aligned(SH_GRANULE_SIZE)));
static uint8_t states[PAGES]; /* enum sh_state */

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

/* The seven functions.  arch/arch.h says what each promises. */

static size_t page_of(uintptr_t address)
{
    return (address - (uintptr_t)pool) / PAGE_SIZE;
}

static void set_states(uintptr_t base, size_t size, enum sh_state state)
{
    memset(&states[page_of(base)], (int)state, size / PAGE_SIZE);
}

static bool is_free(size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        if (states[i] != SH_NONE)
            return false;
    return true;
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    size_t count = size / PAGE_SIZE;

    (void)hint; /* a wish: neighbours merge into larger runs */
    for (size_t first = 0; first + count <= PAGES; first++)
        if (((uintptr_t)pool[first] & (align - 1)) == 0 && is_free(first, count)) {
            set_states((uintptr_t)pool[first], size, SH_RESERVED);
            return (uintptr_t)pool[first];
        }
    return 0; /* too large: the heap asks for less */
}

void sh_arch_release(uintptr_t base, size_t size)
{
    set_states(base, size, SH_NONE); /* and frames go back, after a flush */
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    set_states(base, size, SH_PREPARED); /* build page tables; false = no memory for them */
    return true;
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    for (uintptr_t at = base; at < base + size; at += PAGE_SIZE)
        if (sh_arch_state(at) != SH_READY)
            memset((void *)at, 0, PAGE_SIZE); /* a zeroed frame each; all of them or none */
    set_states(base, size, SH_READY);
    return true;
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    set_states(base, size, SH_PREPARED); /* entries away, flush every CPU, frames back */
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    set_states(base, size, SH_FAULT); /* the same, and never present again */
}

enum sh_state sh_arch_state(uintptr_t address)
{
    return page_of(address) < PAGES ? (enum sh_state)states[page_of(address)] : SH_NONE;
}

/* The kernel around it: as in x86.c. */

__asm__(".section .multiboot, \"a\"\n"
        "    .long 0x1BADB002, 0, -0x1BADB002\n"
        ".section .text\n"
        ".globl start\n"
        "start:\n"
        "    mov $stack + 16384, %esp\n"
        "    call kernel_main\n");

char stack[16384] __attribute__((aligned(16)));

static void print(const char *text)
{
    for (; *text != '\0'; text++)
        __asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((uint16_t)0x3F8));
}

static _Noreturn void power_off(uint32_t status)
{
    __asm__ volatile("outl %0, %1" : : "a"(status), "Nd"((uint16_t)0xF4));
    for (;;)
        __asm__ volatile("cli; hlt");
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    print(kind == SH_PANIC_MISUSE ? "heap misused: " : "heap corrupted: ");
    print(report);
    power_off(0x11);
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}

_Noreturn void kernel_main(void)
{
    char *text;

    if (sh_init(NULL) != SH_OK)
        power_off(0x11);
    text = sh_malloc(40);
    memcpy(text, "hello from the heap: no port linked\n", 37);
    print(text);
    sh_free(text);
    power_off(0x10);
}
