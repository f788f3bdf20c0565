/*
 * From the first instruction at the linked address to kmain: console, multiboot information, memory
 * map, page tables, traps; and the few services of the machine that need no file of their own.
 */
#include "x86.h"

#include "kernel-test/k_string.h"
#include "kernel-test/test.h"

#define COM1 0x3F8
#define EXIT_PORT 0xF4
#define MULTIBOOT_MAGIC 0x2BADB002u

struct multiboot_information {
    uint32_t flags, lower, upper, boot_device, command_line, module_count, modules;
    uint32_t symbols[4];
    uint32_t map_length, map;
};

struct multiboot_module {
    uint32_t start, end, text, reserved;
};

struct multiboot_region {
    uint32_t size; /* of what follows */
    uint32_t base_low, base_high, size_low, size_high, type;
};

const uintptr_t k_ram_base = 0;

void k_putc(char c)
{
    if (c == '\n')
        k_putc('\r');
    while ((x86_in8(COM1 + 5) & 0x20) == 0)
        k_pause();
    x86_out8(COM1, (uint8_t)c);
}

char k_getc(void)
{
    while ((x86_in8(COM1 + 5) & 0x01) == 0) /* nothing received */
        k_pause();
    return (char)x86_in8(COM1);
}

static void console_start(void)
{
    static const uint8_t settings[][2] = {
        { 1, 0 }, { 3, 0x80 }, { 0, 1 }, { 1, 0 }, { 3, 3 }, { 2, 7 }, { 4, 3 },
    };

    for (unsigned i = 0; i < sizeof settings / sizeof settings[0]; i++)
        x86_out8((uint16_t)(COM1 + settings[i][0]), settings[i][1]);
}

void k_exit(bool pass)
{
    k_interrupts(false);
    __asm__ volatile("outl %0, %1" : : "a"(pass ? 0x10 : 0x11), "Nd"((uint16_t)EXIT_PORT));
    for (;;)
        __asm__ volatile("hlt");
}

uint32_t k_cycles(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return low;
}

void k_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

bool k_interrupts_are_on(void)
{
    uint32_t flags;

    __asm__ volatile("pushf; pop %0" : "=r"(flags) : : "memory");
    return (flags & 0x200) != 0;
}

bool k_interrupts(bool on)
{
    bool were_on = k_interrupts_are_on();

    if (on)
        __asm__ volatile("sti" : : : "memory");
    else
        __asm__ volatile("cli" : : : "memory");
    return were_on;
}

/* The direct map exists from the first instruction on, so the loader's structures are read
 * through it. */
static const void *at(uint32_t physical)
{
    return (const void *)(K_DIRECT_BASE + physical);
}

/* Adds the usable memory above 1 MiB; returns where it ends. */
static sh_paddr read_map(const struct multiboot_information *information)
{
    uint32_t position = information->map, end = information->map + information->map_length;
    sh_paddr last = 0;

    while (position < end) {
        const struct multiboot_region *region = at(position);
        sh_paddr base = region->base_low | (sh_paddr)region->base_high << 32;
        sh_paddr size = region->size_low | (sh_paddr)region->size_high << 32;

        if (region->type == 1 && base >= 0x100000 && base < K_DIRECT_SIZE) {
            k_memory_add(base, size);
            last = base + size > last ? base + size : last;
        }
        position += region->size + 4;
    }
    return last < K_DIRECT_SIZE ? last : K_DIRECT_SIZE;
}

static void read_modules(const struct multiboot_information *information)
{
    const struct multiboot_module *module = at(information->modules);

    for (uint32_t i = 0; i < information->module_count; i++, module++) {
        k_memory_reserve(module->start, module->end - module->start);
        k_module_add(at(module->text), at(module->start), module->end - module->start);
    }
}

/*
 * The other CPUs
 */

#define FIRMWARE_SELECT 0x510
#define FIRMWARE_DATA 0x511
#define FIRMWARE_CPUS 5
#define APIC_INIT 0x4500u
#define APIC_START 0x4600u
#define AP_PATIENCE 10000u

static unsigned count_cpus(void)
{
    __asm__ volatile("outw %w0, %w1" : : "a"(FIRMWARE_CPUS), "d"(FIRMWARE_SELECT));
    return x86_in8(FIRMWARE_DATA);
}

static struct k_cpu *starting;

void k_cpu_boot(struct k_cpu *cpu)
{
    starting = cpu;
    x86_ap_cr3 = x86_cr3();
    x86_ap_cr4 = x86_cr4();
    x86_ap_nx = x86_paging_nx();
    x86_ap_stack = cpu->stack_high;
    memcpy(k_phys(X86_AP_CODE), x86_ap_code, (size_t)(x86_ap_code_end - x86_ap_code));
    x86_paging_identity(true);
    x86_apic_send(cpu->number, APIC_INIT);
    for (unsigned i = 0; i < AP_PATIENCE; i++)
        k_pause();
    x86_apic_send(cpu->number, APIC_START | X86_AP_CODE >> 12);
}

/* They forget the identity map. */
void k_cpu_boot_done(void)
{
    x86_paging_identity(false);
    k_tlb_flush(0, K_DIRECT_BASE);
    k_tlb_shootdown(0, K_DIRECT_BASE);
}

void x86_ap_start(void)
{
    x86_traps_join(starting);
    x86_apic_on();
    k_cpu_main(starting);
}

/* From the segment behind %gs. */
unsigned k_cpu_number(void)
{
    unsigned number;

    __asm__ volatile("mov %%gs:0, %0" : "=r"(number));
    return number;
}

void k_wait(void)
{
    __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

static void start_first(void)
{
    k_cpu_first((uintptr_t)k_stack_guard);
    x86_apic_on();
    k_timer_disarm();
    k_interrupts(true);
    k_cpus_start(count_cpus());
}

/* QEMU puts the image's file name before the words. */
void x86_start(uint32_t magic, uint32_t physical)
{
    const struct multiboot_information *information = at(physical);
    sh_paddr ram_end;

    console_start();
    if (magic != MULTIBOOT_MAGIC || (information->flags & 0x44) != 0x44)
        k_panic("no multiboot loader, or one that tells neither command line nor memory", magic);
    ram_end = read_map(information);
    k_memory_reserve(0x100000, (uintptr_t)k_image_end - (uintptr_t)k_image_start);
    k_command_line_set(at(information->command_line));
    if ((information->flags & 8) != 0)
        read_modules(information);
    x86_traps_start();
    x86_paging_start(ram_end);
    start_first();
    kmain();
}
