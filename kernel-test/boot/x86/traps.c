/*
 * Segments, the interrupt table, exceptions, and the local APIC's timer.
 *
 * A double fault is a task switch, since it mostly means that the stack ran into its guard page.
 * The APIC is used instead of the PIT because it counts in nanoseconds under QEMU: with -icount
 * shift=0 the timer can hit any chosen instruction.
 */
#include "x86.h"

#include "kernel-test/test.h"

#define TIMER_VECTOR 0x40
#define SPURIOUS_VECTOR 0xFF

struct task {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt, io;
};

struct table_register {
    uint16_t unused, limit; /* the CPU reads from `limit` on */
    uint32_t base;
};

static struct task main_task, fault_task;
static uint64_t segments[5]; /* null, code, data, main task, double-fault task */
static uint32_t gates[256][2];
static uint32_t fault_stack[512] __attribute__((aligned(16)));

static const char *const names[] = {
    "divide", "debug", "NMI", "breakpoint", "overflow", "bound", "invalid opcode", "no FPU",
    "double fault", "segment overrun", "invalid TSS", "no segment", "stack segment",
    "general protection", "page fault", "reserved", "FPU", "alignment", "machine check", "SIMD",
};

static uint64_t task_segment(const struct task *task)
{
    uint64_t base = (uintptr_t)task;

    return (sizeof *task - 1) | (base & 0xFFFFFF) << 16 | (uint64_t)0x89 << 40 | (base >> 24) << 56;
}

static void set_gate(unsigned vector, uintptr_t entry)
{
    gates[vector][0] = 0x08u << 16 | (entry & 0xFFFFu);
    gates[vector][1] = (entry & 0xFFFF0000u) | 0x8E00u;
}

/* Old interrupt controllers: out of the exceptions' way, all lines masked. */
static void mask_old_controllers(void)
{
    static const uint16_t settings[][2] = {
        { 0x20, 0x11 }, { 0xA0, 0x11 }, { 0x21, 0xE0 }, { 0xA1, 0xE8 }, { 0x21, 4 }, { 0xA1, 2 },
        { 0x21, 1 }, { 0xA1, 1 }, { 0x21, 0xFF }, { 0xA1, 0xFF },
    };

    for (unsigned i = 0; i < sizeof settings / sizeof settings[0]; i++)
        x86_out8(settings[i][0], (uint8_t)settings[i][1]);
}

void x86_traps_start(void)
{
    static struct table_register gdt, idt;

    segments[1] = 0x00CF9A000000FFFFu;
    segments[2] = 0x00CF92000000FFFFu;
    segments[3] = task_segment(&main_task);
    segments[4] = task_segment(&fault_task);
    for (unsigned i = 0; i < 32; i++)
        set_gate(i, x86_vectors[i]);
    set_gate(TIMER_VECTOR, x86_vectors[32]);
    set_gate(SPURIOUS_VECTOR, x86_vectors[33]);
    gates[8][0] = 0x20u << 16;
    gates[8][1] = 0x8500u; /* a task gate */
    fault_task.eip = (uintptr_t)x86_double_fault;
    fault_task.esp = (uintptr_t)(fault_stack + 512);
    fault_task.eflags = 2;
    fault_task.cs = 0x08;
    fault_task.es = fault_task.ss = fault_task.ds = fault_task.fs = fault_task.gs = 0x10;
    fault_task.io = main_task.io = sizeof main_task << 16;
    gdt.limit = sizeof segments - 1;
    gdt.base = (uintptr_t)segments;
    idt.limit = sizeof gates - 1;
    idt.base = (uintptr_t)gates;
    fault_task.cr3 = x86_cr3();
    x86_load_segments(&gdt.limit, &idt.limit);
    mask_old_controllers();
}

void x86_traps_directory(uint32_t cr3)
{
    fault_task.cr3 = cr3;
}

static uintptr_t fault_address(void)
{
    uintptr_t address;

    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    return address;
}

void x86_stack_overflow(void)
{
    t_printf("\ndouble fault at eip %x, esp %x, cr2 %lx; stack guard at %p\n", main_task.eip,
             main_task.esp, (unsigned long)fault_address(), (void *)k_stack_guard);
    k_exit(false);
}

/* Only as far as frame pointers were kept. */
static void print_callers(uintptr_t frame)
{
    uintptr_t bottom = (uintptr_t)k_stack_bottom, top = (uintptr_t)k_stack_top;

    t_printf("callers:");
    while (frame >= bottom && frame <= top - 8 && frame % 4 == 0) {
        const uint32_t *words = (const uint32_t *)frame;

        t_printf(" %x", words[1]);
        if (words[0] <= frame)
            break;
        frame = words[0];
    }
    t_printf("\n");
}

static void print(const struct x86_registers *r, uintptr_t address)
{
    const char *access = (r->error & 2) != 0 ? "write" : (r->error & 16) != 0 ? "fetch" : "read";
    const char *why = (r->error & 1) != 0 ? "not allowed" : "not present";

    t_printf("\n%s (vector %u, error %x) at eip %x",
             r->vector < 20 ? names[r->vector] : "exception", r->vector, r->error, r->eip);
    if (r->vector == 14)
        t_printf(": %s of %lx, %s", access, (unsigned long)address, why);
    t_printf("\neax %08x ebx %08x ecx %08x edx %08x esi %08x edi %08x\n", r->eax, r->ebx, r->ecx,
             r->edx, r->esi, r->edi);
    t_printf("ebp %08x esp %08x eflags %08x cr3 %08x\n", r->ebp, (uint32_t)(uintptr_t)(r + 1),
             r->eflags, x86_cr3());
    print_callers(r->ebp);
}

static volatile uint32_t *apic(unsigned offset)
{
    return (volatile uint32_t *)(X86_LAPIC + offset);
}

void x86_trap(struct x86_registers *r)
{
    uintptr_t address = fault_address();
    bool page = r->vector == 14;

    if (r->vector == 32) {
        *apic(0xB0) = 0; /* end of interrupt, before the handler: it may jump away */
        k_timer_interrupt();
        return;
    }
    if (r->vector == 33)
        return;
    if (k_trap(page, address, (r->error & 2) != 0, (r->error & 1) != 0))
        return;
    print(r, address);
    k_crash(page ? address : r->eip);
}

void k_timer_arm(unsigned period)
{
    *apic(0xF0) = 0x100 | SPURIOUS_VECTOR; /* on */
    *apic(0x3E0) = 0xB;                    /* divide by 1 */
    *apic(0x320) = TIMER_VECTOR;           /* one shot */
    *apic(0x380) = period > 0 ? period : 1;
}

void k_timer_disarm(void)
{
    *apic(0x320) = 0x10000;
    *apic(0x380) = 0;
}
