/*
 * A machine with page tables: the region is its physical memory, each CPU has a TLB.
 *
 * arch/pagetable.c, tables.c and windows.c run on it unchanged, for x86 (2-level) or ARM.  CPU 0 and CPU 2
 * use the kernel's directory, CPU 1 a copy of it, as a kernel with one directory a process would.  A TLB
 * remembers what it once found until it is flushed.  Frames are given lowest first, so that one which is
 * free is used again at once; who frees one that a TLB remembers, or touches one that is free, ends the
 * schedule.
 */
#include "kernel-test/explore/tables/machine.h"

#include "cpu.h"

#include <stdio.h>
#include <string.h>

enum { TLB = 8, DIRECTORY_FRAMES = 4, FIRST_FRAME = 2 * DIRECTORY_FRAMES };

struct sim_registers sim_registers;

static struct {
    uint8_t taken[HEAP_PAGES];
    uint8_t out; /* frames */
    struct {
        uint32_t page, frame;
        bool valid;
    } tlb[CPUS_MAX][TLB];
    uint8_t left; /* frames that are still given */
} machine STATE = { .left = 255 };

static char last_words[256];

static void put32(uint32_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        memory_put8((uint8_t *)at + i, (uint8_t)(value >> (8 * i)));
    }
}

static uint32_t *physical(uint32_t address)
{
    return (uint32_t *)(HEAP_BASE + address);
}

const char *port_last_words(void)
{
    return last_words;
}

bool port_touchable(uint32_t page)
{
    return page < FIRST_FRAME || machine.taken[page];
}

unsigned machine_frames_out(void)
{
    return machine.out;
}

void machine_frames(unsigned frames)
{
    memory_put8(&machine.left, (uint8_t)frames);
}

/* ---- hooks ---- */

static void say(const char *text)
{
    snprintf(last_words, sizeof last_words, "%s", text);
}

static void forget(unsigned cpu, uintptr_t base, size_t size)
{
    for (unsigned i = 0; i < TLB; i++) {
        uintptr_t page = (uintptr_t)machine.tlb[cpu][i].page << 12;
        if (machine.tlb[cpu][i].valid && page - base < size) {
            memory_put8((uint8_t *)&machine.tlb[cpu][i].valid, 0);
        }
    }
}

/* An interrupt on every other CPU: taken where its mask is open. */
static void shootdown(uintptr_t base, size_t size)
{
    explore_stop_world();
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        if (cpu != cpu_now) {
            forget(cpu, base, size);
        }
    }
    explore_resume_world();
}

static void top_level_changed(uintptr_t base)
{
    uint32_t at = (uint32_t)(SIM_IS_ARM ? base >> 20 : base >> 22) * 4;
    explore_point();
    for (unsigned i = 0; i < (SIM_IS_ARM ? 4 : 1); i++) {
        put32(physical(DIRECTORY_FRAMES * 4096 + at + 4 * i), *physical(at + 4 * i));
    }
    explore_point();
}

bool sh_kernel_frame_alloc(size_t size, sh_paddr *out)
{
    (void)size;
    explore_point();
    if (machine.left == 0) {
        return false;
    }
    for (unsigned i = FIRST_FRAME; i < HEAP_PAGES; i++) {
        if (!machine.taken[i]) {
            memory_put8(&machine.taken[i], 1);
            memory_put8(&machine.out, (uint8_t)(machine.out + 1));
            memory_put8(&machine.left, (uint8_t)(machine.left - 1));
            put32(physical(i << 12), 0xdeadbeef);
            put32(physical((i << 12) + 4092), 0xdeadbeef);
            *out = (sh_paddr)i << 12;
            return true;
        }
    }
    return false;
}

void sh_kernel_frame_free(sh_paddr frame, size_t size)
{
    uint32_t number = (uint32_t)(frame >> 12);
    (void)size;
    explore_point();
    if (number < FIRST_FRAME || number >= HEAP_PAGES || !machine.taken[number]) {
        violated("frame %u is freed, and was not taken", number);
    }
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        for (unsigned i = 0; i < TLB; i++) {
            if (machine.tlb[cpu][i].valid && machine.tlb[cpu][i].frame == number) {
                violated("frame %u is freed, and CPU %u still reaches it at %#x", number, cpu,
                         machine.tlb[cpu][i].page << 12);
            }
        }
    }
    memory_put8(&machine.taken[number], 0);
    memory_put8(&machine.out, (uint8_t)(machine.out - 1));
    memory_put8(&machine.left, (uint8_t)(machine.left + 1));
}

void *sh_kernel_phys_to_virt(sh_paddr address)
{
    return physical((uint32_t)address);
}

sh_paddr sh_kernel_root_table(uintptr_t address)
{
    (void)address;
    return 0;
}

unsigned sh_kernel_cpu(void)
{
    return running ? cpu_now : 0;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    (void)kind;
    violated("panic: %s", report);
}

/* ---- the CPU ---- */

arch_flags arch_irq_save(void)
{
    return explore_irq_save();
}

void arch_irq_restore(arch_flags flags)
{
    explore_irq_restore(flags);
}

void arch_pause(void)
{
    explore_pause();
}

void arch_table_written(const volatile void *entries, size_t size_bytes)
{
    (void)entries;
    (void)size_bytes;
}

void __tsan_atomic_thread_fence(int strength);
void __tsan_read4(void *pointer);

/* A barrier on ARM; on x86 stores are seen in order. */
void arch_published(void)
{
    if (SIM_IS_ARM) {
        __tsan_atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
}

void arch_flush(uintptr_t base, size_t size_bytes)
{
    arch_published();
    explore_point();
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        if (ARCH_FLUSH_IS_GLOBAL || cpu == sh_kernel_cpu()) {
            forget(cpu, base, size_bytes);
        }
    }
}

/* The walker's look at an entry. */
static uint32_t entry_read(uint32_t address)
{
    __tsan_read4(physical(address));
    return *physical(address);
}

/* Where the page lies; 0 = nowhere.  What is found is remembered. */
static uint32_t translate(uint32_t page)
{
    uint32_t root = cpu_now == 1 ? DIRECTORY_FRAMES * 4096 : 0, entry, leaf;
    unsigned free = TLB;
    for (unsigned i = 0; i < TLB; i++) {
        if (machine.tlb[cpu_now][i].valid && machine.tlb[cpu_now][i].page == page) {
            return machine.tlb[cpu_now][i].frame;
        }
        free = machine.tlb[cpu_now][i].valid ? free : i;
    }
    if (SIM_IS_ARM) {
        entry = entry_read(root + (page >> 8) * 4);
        if ((entry & 3) != 1) {
            return 0;
        }
        leaf = entry_read((entry & 0xfffffc00u) + (page & 255) * 4);
        if ((leaf & 3) == 0) {
            return 0;
        }
    } else {
        entry = entry_read(root + (page >> 10) * 4);
        if ((entry & 1) == 0) {
            return 0;
        }
        leaf = entry_read((entry & 0xfffff000u) + (page & 1023) * 4);
        if ((leaf & 1) == 0) {
            return 0;
        }
    }
    if (free == TLB) {
        violated("the TLB is too small");
    }
    put32(&machine.tlb[cpu_now][free].page, page);
    put32(&machine.tlb[cpu_now][free].frame, leaf >> 12);
    memory_put8((uint8_t *)&machine.tlb[cpu_now][free].valid, 1);
    return leaf >> 12;
}

bool machine_touch(uintptr_t address, bool write, uint32_t *value)
{
    explore_point();
    uint32_t frame = translate((uint32_t)(address >> 12));
    if (frame == 0) {
        return false;
    }
    uint32_t *at = physical((frame << 12) + (uint32_t)(address & 4095));
    if (!machine.taken[frame]) {
        violated("CPU %u reaches frame %u at %#lx, which is free", cpu_now, frame, (unsigned long)address);
    }
    if (write) {
        put32(at, *value);
    } else {
        *value = *at;
    }
    return true;
}

bool machine_directories_agree(void)
{
    return memcmp(physical(0), physical(DIRECTORY_FRAMES * 4096), DIRECTORY_FRAMES * 4096) == 0;
}

void machine_start(unsigned cpus)
{
    static struct sh_hooks hooks;
    hooks = (struct sh_hooks){
        .log = say, .tlb_shootdown = shootdown, .top_level_changed = top_level_changed
    };
    sim_registers.cr0 = 1u << 31;
    sim_registers.sctlr = 1;
    sim_registers.dacr = 1;
    if (sh_arch_port.attach(&hooks, cpus) != SH_OK || sh_add_window(WINDOW, WINDOW_SIZE) != SH_OK) {
        violated("the port does not start: %s", last_words);
    }
}
