/*
 * Segments, the interrupt table, exceptions, the local APIC: its timer, and interrupts between CPUs.
 *
 * Each CPU has a GDT of its own, with its tasks and, behind %gs, its struct k_cpu.
 *
 * A double fault is a task switch, since it mostly means that the stack ran into its guard page.
 * The APIC is used instead of the PIT because it counts in nanoseconds under QEMU: with -icount
 * shift=0 the timer can hit any chosen instruction.
 */
#include "x86.h"

#include "kernel-test/test.h"

#define TIMER_VECTOR 0x40
#define CPU_VECTOR 0x41
#define SPURIOUS_VECTOR 0xFF

#define APIC_FIXED 0x4000u

struct task {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint32_t es, cs, ss, ds, fs, gs, ldt, io;
};

struct table_register {
    uint16_t unused, limit; /* the CPU reads from `limit` on */
    uint32_t base;
};

static struct cpu {
    struct task main, fault;
    uint64_t segments[6]; /* null, code, data, main task, double-fault task, its record */
    uint32_t fault_stack[512] __attribute__((aligned(16)));
} cpus[K_MAX_CPUS];
static uint32_t gates[256][2];

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

/* Byte-granular, writable, as large as the record. */
static uint64_t record_segment(const struct k_cpu *cpu)
{
    uint64_t base = (uintptr_t)cpu;

    return (sizeof *cpu - 1) | (base & 0xFFFFFF) << 16 | (uint64_t)0x4092 << 40 | (base >> 24) << 56;
}

void x86_traps_join(struct k_cpu *self)
{
    struct cpu *cpu = &cpus[self->number];
    struct table_register gdt = { 0, sizeof cpu->segments - 1, (uintptr_t)cpu->segments };
    struct table_register idt = { 0, sizeof gates - 1, (uintptr_t)gates };

    cpu->segments[1] = 0x00CF9A000000FFFFu;
    cpu->segments[2] = 0x00CF92000000FFFFu;
    cpu->segments[3] = task_segment(&cpu->main);
    cpu->segments[4] = task_segment(&cpu->fault);
    cpu->segments[5] = record_segment(self);
    cpu->fault.eip = (uintptr_t)x86_double_fault;
    cpu->fault.esp = (uintptr_t)(cpu->fault_stack + 512);
    cpu->fault.eflags = 2;
    cpu->fault.cs = 0x08;
    cpu->fault.es = cpu->fault.ss = cpu->fault.ds = cpu->fault.fs = 0x10;
    cpu->fault.gs = 0x28;
    cpu->fault.io = cpu->main.io = sizeof cpu->main << 16;
    cpu->fault.cr3 = x86_cr3();
    x86_load_segments(&gdt.limit, &idt.limit);
}

void x86_traps_start(void)
{
    for (unsigned i = 0; i < 32; i++)
        set_gate(i, x86_vectors[i]);
    set_gate(TIMER_VECTOR, x86_vectors[32]);
    set_gate(SPURIOUS_VECTOR, x86_vectors[33]);
    set_gate(CPU_VECTOR, x86_vectors[34]);
    gates[8][0] = 0x20u << 16;
    gates[8][1] = 0x8500u; /* a task gate */
    x86_traps_join(&k_cpu_table[0]);
    mask_old_controllers();
}

void x86_traps_directory(uint32_t cr3)
{
    cpus[k_cpu()].fault.cr3 = cr3;
}

static uintptr_t fault_address(void)
{
    uintptr_t address;

    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    return address;
}

void x86_stack_overflow(void)
{
    const struct task *task = &cpus[k_cpu()].main;

    t_printf("\ndouble fault at eip %x, esp %x, cr2 %lx; stack guard at %lx\n", task->eip, task->esp,
             (unsigned long)fault_address(), (unsigned long)k_this()->stack_guard);
    k_exit(false);
}

/* Only as far as frame pointers were kept. */
static void print_callers(uintptr_t frame)
{
    uintptr_t bottom = k_this()->stack_low, top = k_this()->stack_high;

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

    t_printf("\nCPU %u: %s (vector %u, error %x) at eip %x", k_cpu(),
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
    if (r->vector == 34) {
        *apic(0xB0) = 0;
        k_cpu_interrupt((uintptr_t)r);
        return;
    }
    if (page && (r->eflags & 0x200) != 0) /* who waits for another CPU's commit answers others */
        k_interrupts(true);
    if (k_trap(page, address, (r->error & 2) != 0, (r->error & 1) != 0))
        return;
    print(r, address);
    k_crash(page ? address : r->eip);
}

void x86_apic_on(void)
{
    *apic(0xF0) = 0x100 | SPURIOUS_VECTOR;
}

/* Interrupts are off. */
void x86_apic_send(unsigned number, uint32_t command)
{
    while ((*apic(0x300) & 0x1000) != 0) /* the last one is on its way */
        k_pause();
    *apic(0x310) = number << 24;
    *apic(0x300) = command;
}

void k_cpu_kick(unsigned number)
{
    bool on = k_interrupts(false);

    x86_apic_send(number, APIC_FIXED | CPU_VECTOR);
    k_interrupts(on);
}

void k_timer_arm(unsigned period)
{
    x86_apic_on();
    *apic(0x3E0) = 0xB;                    /* divide by 1 */
    *apic(0x320) = TIMER_VECTOR;           /* one shot */
    *apic(0x380) = period > 0 ? period : 1;
}

void k_timer_disarm(void)
{
    *apic(0x320) = 0x10000;
    *apic(0x380) = 0;
}
