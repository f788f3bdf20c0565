/*
 * The simulated machine and the kernel around it.
 *
 * Strict about everything arch.h promises:
 *   - phys_to_virt only with interrupts off; its pointer is a scratch page that the next call, and
 *     turning interrupts on again, takes away (mprotect);
 *   - other hooks only with interrupts on, and with no such pointer in hand;
 *   - memory has a second copy, what the walker sees: a table entry gets there by
 *     arch_table_written, and not before arch_published;
 *   - no frame is freed while a TLB remembers it; frames come full of garbage.
 *
 * Kernel mappings: 0xE0000000 4 KiB mapped in a leaf table of the kernel's; 0xE0800000 a large page
 * or section; on PAE the PDPT entry of 0x40000000 is missing.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { FRAMES = 4096, MEMORY = FRAMES * 4096, CPUS = 2, TLB_MAX = 4096, WRITTEN_MAX = 65536 };

#define NOTHING UINT64_MAX

static enum sim_machine machine;
static bool direct_map;
static uint64_t memory_base;
static unsigned char *memory;             /* plain view */
static unsigned char *alias[CPUS];        /* through phys_to_virt */
static unsigned char *seen;               /* by walkers */
static struct { size_t at, size; } written[WRITTEN_MAX]; /* by any CPU, not seen yet */
static size_t written_count;
static uint64_t given = NOTHING, lie = NOTHING; /* see sim_give */
static bool repeating;
static unsigned char owner[FRAMES];       /* 0 free, else frames in the block; 255 inside one */
static size_t frames_out, next_frame;
static uint64_t roots[2][2];              /* directory × (low, high) */
static bool irq_off[CPUS];
static long held[CPUS] = { -1, -1 };
static struct { uintptr_t page; uint64_t frame; } tlb[CPUS][TLB_MAX];
static size_t tlb_count[CPUS];
static unsigned cpu;

long sim_fail_after = -1;
bool sim_lies;
unsigned long sim_allocs, sim_flushes, sim_shootdowns, sim_announced, sim_pauses;
unsigned sim_panics, sim_lies_freed, sim_repeat;
void (*sim_on_free)(void);
char sim_last_log[256];
struct sim_registers sim_registers;

/* Fibers */
static ucontext_t fibers[CPUS], home;
static char stacks[CPUS][65536];
static bool racing, finished[CPUS];
static unsigned seed, often; /* a mask: one point of contact in often + 1 switches */

_Noreturn void sim_fail(const char *file, int line, const char *what)
{
    printf("FAIL %s:%d: %s (machine %d, cpu %u; last log: %s)\n", file, line, what, machine, cpu,
           sim_last_log);
    exit(1);
}

static void maybe_switch(bool must)
{
    unsigned other = 1 - cpu;

    if (!racing || finished[other])
        return;
    seed = seed * 1103515245u + 12345u;
    if (!must && (seed >> 16 & often) != 0)
        return;
    unsigned self = cpu;
    cpu = other;
    swapcontext(&fibers[self], &fibers[other]);
}

static void (*entries[CPUS])(void);

static void fiber_main(int self)
{
    entries[self]();
    finished[self] = true;
    cpu = 1 - (unsigned)self;
    if (finished[cpu])
        setcontext(&home);
    setcontext(&fibers[cpu]);
}

void sim_race(void (*first)(void), void (*second)(void), unsigned with)
{
    seed = with * 2654435761u;
    often = (4u << with % 5 * 2) - 1;
    entries[0] = first;
    entries[1] = second;
    for (int i = 0; i < CPUS; i++) {
        finished[i] = false;
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks[i];
        fibers[i].uc_stack.ss_size = sizeof stacks[i];
        makecontext(&fibers[i], (void (*)(void))fiber_main, 1, i);
    }
    racing = true;
    cpu = with & 1;
    swapcontext(&home, &fibers[cpu]);
    racing = false;
    cpu = 0;
}

/* CPU */
static void drop_pointer(void)
{
    if (held[cpu] >= 0 && !direct_map)
        mprotect(alias[cpu] + held[cpu], 4096, PROT_NONE);
    held[cpu] = -1;
}

arch_flags arch_irq_save(void)
{
    arch_flags was = irq_off[cpu];

    irq_off[cpu] = true;
    return was;
}

void arch_irq_restore(arch_flags flags)
{
    CHECK(irq_off[cpu]);
    irq_off[cpu] = flags != 0;
    if (flags == 0)
        drop_pointer();
    maybe_switch(false);
}

void arch_pause(void)
{
    sim_pauses++;
    CHECK(racing);
    maybe_switch(true);
}

void arch_table_written(const volatile void *entries_written, size_t size_bytes)
{
    size_t at = (size_t)((const volatile unsigned char *)entries_written - alias[cpu]);

    CHECK(at < MEMORY && at + size_bytes <= MEMORY && (at & 4095) + size_bytes <= 4096);
    if (memcmp(seen + at, memory + at, size_bytes) == 0)
        return;
    CHECK(written_count < WRITTEN_MAX);
    written[written_count].at = at;
    written[written_count++].size = size_bytes;
}

void arch_published(void)
{
    for (; written_count > 0; written_count--) {
        size_t at = written[written_count - 1].at;

        memcpy(seen + at, memory + at, written[written_count - 1].size);
    }
}

bool sim_all_published(void)
{
    for (size_t i = 0; i < written_count; i++)
        if (memcmp(seen + written[i].at, memory + written[i].at, written[i].size) != 0)
            return false;
    return true;
}

/* What a frame held that is free now. */
static void forget_written(size_t at, size_t size)
{
    for (size_t i = 0; i < written_count;)
        if (written[i].at - at < size)
            written[i] = written[--written_count];
        else
            i++;
}

static void tlb_drop(unsigned which, uintptr_t base, size_t size)
{
    for (size_t i = 0; i < tlb_count[which];) {
        if (tlb[which][i].page - base < size)
            tlb[which][i] = tlb[which][--tlb_count[which]];
        else
            i++;
    }
}

void arch_flush(uintptr_t base, size_t size_bytes)
{
    sim_flushes++;
    for (size_t done = 0; done < size_bytes && done < 1 << 20; done += 4096)
        CHECK(!sim_walk(cpu, base + done).present); /* or it would be back in the TLB at once */
    tlb_drop(cpu, base, size_bytes);
    if (ARCH_FLUSH_IS_GLOBAL)
        tlb_drop(1 - cpu, base, size_bytes);
}

/* Memory */
unsigned char *sim_memory(uint64_t physical)
{
    CHECK(physical >= memory_base && physical - memory_base < MEMORY);
    return memory + (size_t)(physical - memory_base);
}

static bool all_free(size_t at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (owner[at + i] != 0)
            return false;
    return true;
}

static uint64_t take_block(size_t count)
{
    for (size_t tries = 0; tries < FRAMES; tries++) {
        size_t at = (next_frame += count) % FRAMES & ~(count - 1);

        if (at + count > FRAMES || !all_free(at, count))
            continue;
        memset(owner + at, 255, count);
        owner[at] = (unsigned char)count;
        memset(memory + at * 4096, 0xA7, count * 4096);
        memset(seen + at * 4096, 0xA7, count * 4096);
        return memory_base + at * 4096;
    }
    return NOTHING;
}

void sim_give(uint64_t frame)
{
    given = frame;
    lie = NOTHING;
}

/* false = it is a lie. */
static bool give_now(size_t count, uint64_t *out)
{
    size_t at = (size_t)(given - memory_base) / 4096;

    *out = given;
    given = NOTHING;
    if ((*out - memory_base) % (count * 4096) == 0 && *out - memory_base < MEMORY && all_free(at, count)) {
        memset(owner + at, 255, count);
        owner[at] = (unsigned char)count;
        return true;
    }
    lie = repeating ? NOTHING : *out;
    repeating = false;
    return false;
}

bool sh_kernel_frame_alloc(size_t size, sh_paddr *out)
{
    CHECK(!irq_off[cpu] && (size == 4096 || size == SH_ARCH_PAGE_SIZE));
    sim_allocs++;
    maybe_switch(false);
    if (sim_fail_after == 0)
        return false;
    if (sim_fail_after > 0)
        sim_fail_after--;
    if (given != NOTHING) {
        if (!give_now(size / 4096, out))
            return true;
    } else
        *out = take_block(size / 4096);
    if (*out == NOTHING)
        return false;
    frames_out += size;
    if (sim_repeat != 0 && --sim_repeat == 0)
        given = *out, repeating = true;
    *out += sim_lies ? 16 : 0;
    return true;
}

void sh_kernel_frame_free(sh_paddr frame, size_t size)
{
    size_t at = (size_t)(frame - memory_base) / 4096;

    CHECK(!irq_off[cpu]);
    if (sim_on_free != NULL)
        sim_on_free();
    if (frame == lie) {
        lie = NOTHING;
        sim_lies_freed++;
        return;
    }
    CHECK(at < FRAMES && owner[at] == size / 4096);
    for (unsigned i = 0; i < CPUS; i++)
        for (size_t j = 0; j < tlb_count[i]; j++)
            CHECK(tlb[i][j].frame < frame || tlb[i][j].frame - frame >= size);
    memset(owner + at, 0, size / 4096);
    memset(memory + at * 4096, 0x5B, size);
    forget_written(at * 4096, size);
    frames_out -= size;
    maybe_switch(false);
}

size_t sim_frames_out(void)
{
    return frames_out;
}

void *sh_kernel_phys_to_virt(sh_paddr address)
{
    size_t at = (size_t)(address - memory_base);

    CHECK(irq_off[cpu] && (address & 4095) == 0 && at < MEMORY);
    maybe_switch(false);
    if (direct_map)
        return alias[cpu] + at;
    drop_pointer();
    held[cpu] = (long)at;
    mprotect(alias[cpu] + at, 4096, PROT_READ | PROT_WRITE);
    return alias[cpu] + at;
}

sh_paddr sh_kernel_root_table(uintptr_t address)
{
    bool high = machine != SIM_SHORT_SPLIT || address >> 30 != 0;

    return roots[0][high] | (machine == SIM_SHORT || machine == SIM_SHORT_SPLIT ? 0x4A : 0x18);
}

unsigned sh_kernel_cpu(void)
{
    return cpu;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    (void)kind;
    snprintf(sim_last_log, sizeof sim_last_log, "%s", report);
    sim_panics++;
}

/* The walker, on what it sees. */
static uint32_t see32(uint64_t at)
{
    uint32_t value;

    CHECK(at >= memory_base && at - memory_base < MEMORY);
    memcpy(&value, seen + (size_t)(at - memory_base), 4);
    return value;
}

static uint64_t see64(uint64_t at)
{
    return (uint64_t)see32(at + 4) << 32 | see32(at);
}

static struct sim_walk walk_2level(unsigned directory, uintptr_t va)
{
    uint32_t pde = see32(roots[directory][1] + (va >> 22) * 4), pte;

    if ((pde & 1) == 0)
        return (struct sim_walk){ 0 };
    if ((pde & 0x80) != 0)
        return (struct sim_walk){ .present = true, .physical = 0 };
    pte = see32((pde & 0xFFFFF000u) + (va >> 12 & 1023) * 4);
    return (struct sim_walk){ .present = pte & 1, .writable = (pde & pte & 2) != 0,
                              .executable = true, .user = (pde & pte & 4) != 0, .global = (pte & 0x100) != 0,
                              .physical = (pte & 0xFFFFF000u) | (va & 4095) };
}

static struct sim_walk walk_pae(unsigned directory, uintptr_t va)
{
    uint64_t pdpte = see64(roots[directory][1] + (va >> 30) * 8), pde, pte;

    if ((pdpte & 1) == 0)
        return (struct sim_walk){ 0 };
    pde = see64((pdpte & 0xFFFFFF000) + (va >> 21 & 511) * 8);
    if ((pde & 1) == 0)
        return (struct sim_walk){ 0 };
    if ((pde & 0x80) != 0)
        return (struct sim_walk){ .present = true };
    pte = see64((pde & 0xFFFFFF000) + (va >> 12 & 511) * 8);
    CHECK((pte & 1) == 0 || (pte >> 63 == 0 || machine == SIM_PAE_NX));
    CHECK((pte & 1) == 0 || (pte << 1 >> 1 >> 36) == 0);
    return (struct sim_walk){ .present = pte & 1, .writable = (pde & pte & 2) != 0,
                              .executable = pte >> 63 == 0, .user = (pde & pte & 4) != 0,
                              .global = (pte & 0x100) != 0,
                              .physical = (pte & 0xFFFFFF000) | (va & 4095) };
}

static struct sim_walk walk_short(unsigned directory, uintptr_t va)
{
    bool high = machine != SIM_SHORT_SPLIT || va >> 30 != 0;
    uint32_t first = see32(roots[directory][high] + (va >> 20) * 4), pte;

    if ((first & 3) == 0)
        return (struct sim_walk){ 0 };
    if ((first & 3) != 1)
        return (struct sim_walk){ .present = true };
    CHECK((sim_registers.dacr >> 2 * (first >> 5 & 15) & 1) != 0);
    pte = see32((first & 0xFFFFFC00u) + (va >> 12 & 255) * 4);
    if ((pte & 3) == 0)
        return (struct sim_walk){ 0 };
    if ((pte & 3) == 1)
        return (struct sim_walk){ .present = true, .writable = (pte & 0x230) == 0x10,
                                  .executable = pte >> 15 == (pte >> 16 << 1), .global = false,
                                  .physical = (pte & 0xFFFF0000u) | (va & 0xFFFF) };
    return (struct sim_walk){ .present = true, .writable = (pte & 0x230) == 0x10,
                              .executable = (pte & 1) == 0,
                              .physical = (pte & 0xFFFFF000u) | (va & 4095) };
}

struct sim_walk sim_walk(unsigned directory, uintptr_t address)
{
    switch (machine) {
    case SIM_2LEVEL:
        return walk_2level(directory, address);
    case SIM_PAE:
    case SIM_PAE_NX:
        return walk_pae(directory, address);
    case SIM_SHORT:
    case SIM_SHORT_SPLIT:
        break;
    }
    return walk_short(directory, address);
}

void sim_touch(uintptr_t address)
{
    for (unsigned i = 0; i < CPUS; i++) {
        struct sim_walk walk = sim_walk(i, address);

        CHECK(walk.present);
        tlb_drop(i, address & ~4095u, 4096);
        if (tlb_count[i] == TLB_MAX)
            tlb_count[i] = 0;
        tlb[i][tlb_count[i]].page = address & ~4095u;
        tlb[i][tlb_count[i]++].frame = walk.physical & ~(uint64_t)4095;
    }
}

/* Kernel's own table work: seen at once. */
static void poke(uint64_t at, uint64_t value, size_t size)
{
    memcpy(sim_memory(at), &value, size);
    memcpy(seen + (size_t)(at - memory_base), &value, size);
}

static uint64_t peek(uint64_t at, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, sim_memory(at), size);
    return value;
}

static uint64_t table_block(size_t frames)
{
    uint64_t block = take_block(frames);

    memset(sim_memory(block), 0, frames * 4096);
    memset(seen + (size_t)(block - memory_base), 0, frames * 4096);
    return block;
}

/* Where the entries of a chunk are, in one directory. */
static uint64_t top_slot(unsigned directory, uintptr_t chunk, size_t *bytes)
{
    bool high = machine != SIM_SHORT_SPLIT || chunk >> 30 != 0;

    if (machine == SIM_2LEVEL) {
        *bytes = 4;
        return roots[directory][1] + (chunk >> 22) * 4;
    }
    *bytes = 16;
    if (machine == SIM_SHORT || machine == SIM_SHORT_SPLIT)
        return roots[directory][high] + (chunk >> 20) * 4;
    return (peek(roots[directory][1] + (chunk >> 30) * 8, 8) & 0xFFFFFF000)
           + (chunk >> 21 & 511) * 8;
}

static void copy_top(uintptr_t chunk)
{
    size_t bytes;
    uint64_t from = top_slot(0, chunk, &bytes), to = top_slot(1, chunk, &bytes);

    for (size_t i = 0; i < bytes; i += 4)
        poke(to + i, see32(from + i), 4);
}

bool sim_directories_agree(void)
{
    for (uintptr_t chunk = 0; chunk < 1024; chunk++) {
        size_t bytes;
        uint64_t one, two;

        if ((machine == SIM_PAE || machine == SIM_PAE_NX) && chunk >> 8 == 1)
            continue; /* no PDPT entry */
        one = top_slot(0, chunk << 22, &bytes);
        two = top_slot(1, chunk << 22, &bytes);
        if (memcmp(seen + (size_t)(one - memory_base), seen + (size_t)(two - memory_base), bytes) != 0)
            return false;
    }
    return true;
}

static void top_level_changed(uintptr_t base)
{
    CHECK(!irq_off[cpu] && (base & 0x3FFFFF) == 0);
    sim_announced++;
    maybe_switch(false);
    copy_top(base);
}

static void tlb_shootdown(uintptr_t base, size_t size)
{
    CHECK(!irq_off[cpu]);
    sim_shootdowns++;
    tlb_drop(1 - cpu, base, size);
}

static void sim_log(const char *text)
{
    snprintf(sim_last_log, sizeof sim_last_log, "%s", text);
}

struct sh_hooks sim_hooks = { .log = sim_log, .top_level_changed = top_level_changed,
                              .tlb_shootdown = tlb_shootdown };

static uint64_t directory_slot(uintptr_t va, size_t *size)
{
    size_t bytes;
    uint64_t top = top_slot(0, va & ~0x3FFFFFu, &bytes);

    *size = machine == SIM_PAE || machine == SIM_PAE_NX ? 8 : 4;
    if (machine == SIM_2LEVEL)
        return top;
    return *size == 8 ? top + (va >> 21 & 1) * 8 : top + (va >> 20 & 3) * 4;
}

static uint64_t leaf_slot(uintptr_t va, size_t *size)
{
    uint64_t slot = directory_slot(va, size), entry = peek(slot, *size);

    if (machine == SIM_2LEVEL)
        return (entry & 0xFFFFF000u) + (va >> 12 & 1023) * 4;
    if (*size == 8)
        return (entry & 0xFFFFFF000) + (va >> 12 & 511) * 8;
    return (entry & 0xFFFFFC00u) + (va >> 12 & 255) * 4;
}

uint64_t sim_kernel_table(uintptr_t va, uint64_t entry)
{
    size_t size;
    uint64_t slot = directory_slot(va, &size), was = peek(slot, size);

    poke(slot, entry, size);
    return was;
}

void sim_kernel_map(uintptr_t va, uint64_t physical, bool present)
{
    size_t size;
    uint64_t slot = leaf_slot(va, &size);
    bool arm = machine == SIM_SHORT || machine == SIM_SHORT_SPLIT;

    poke(slot, present ? physical | (arm ? 0x12 : 3) : physical, size);
}

/* A leaf table of the kernel's, and a large page. */
static void kernel_tables(void)
{
    size_t bytes;
    uint64_t top = top_slot(0, 0xE0000000u, &bytes), table = table_block(1);

    if (machine == SIM_2LEVEL)
        poke(top, table | 3, 4);
    else if (machine == SIM_PAE || machine == SIM_PAE_NX)
        poke(top, table | 3, 8);
    else
        poke(top, table | 0x21, 4);
    copy_top(0xE0000000u);
    top = top_slot(0, 0xE0800000u, &bytes);
    if (machine == SIM_PAE || machine == SIM_PAE_NX)
        poke(top, 0x83, 8);
    else
        poke(top, machine == SIM_2LEVEL ? 0x83 : 0x11402, 4);
    copy_top(0xE0800000u);
    sim_kernel_map(0xE0000000u, table, true);
}

static void make_roots(void)
{
    for (int d = 0; d < 2; d++) {
        if (machine == SIM_2LEVEL) {
            roots[d][0] = roots[d][1] = table_block(1);
        } else if (machine == SIM_PAE || machine == SIM_PAE_NX) {
            roots[d][0] = roots[d][1] = table_block(1) + 0x60;
            for (unsigned i = 0; i < 4; i++)
                if (i != 1)
                    poke(roots[d][1] + i * 8, table_block(1) | 1, 8);
        } else {
            roots[d][1] = table_block(4);
            roots[d][0] = machine == SIM_SHORT_SPLIT ? table_block(1) : roots[d][1];
        }
    }
}

static unsigned char *map_memory(int file)
{
    unsigned char *found = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

    CHECK(found != MAP_FAILED);
    return found;
}

/* Every other page through another file, which is the same: Linux neither splits nor joins mappings when such
 * a page's access changes, which is more than half of the time. */
static unsigned char *map_alias(int file, int other)
{
    unsigned char *found = map_memory(file);

    for (size_t at = 4096; at < MEMORY; at += 2 * 4096)
        CHECK(mmap(found + at, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, other,
                   (off_t)at) != MAP_FAILED);
    return found;
}

static void create_memory(void)
{
    int file = memfd_create("memory", 0), other;
    char name[32];

    CHECK(file >= 0 && ftruncate(file, MEMORY) == 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    other = open(name, O_RDWR);
    if (other < 0)
        other = file;
    memory = map_memory(file);
    for (int i = 0; i < CPUS; i++)
        alias[i] = map_alias(file, other);
    seen = malloc(MEMORY);
}

void sim_start(enum sim_machine with, bool direct)
{
    if (memory == NULL)
        create_memory();
    machine = with;
    direct_map = direct;
    for (int i = 0; i < CPUS; i++)
        mprotect(alias[i], MEMORY, direct ? PROT_READ | PROT_WRITE : PROT_NONE);
    memset(owner, 0, sizeof owner);
    tlb_count[0] = tlb_count[1] = 0;
    written_count = 0;
    memory_base = machine == SIM_PAE || machine == SIM_PAE_NX ? UINT64_C(0x123400000)
                  : direct                                     ? 0x80000000u
                                                               : 0; /* frame 0 is one as any other */
    given = lie = NOTHING;
    next_frame = 0;
    frames_out = 0;
    sim_fail_after = -1;
    sim_registers = (struct sim_registers){ .cr0 = 0x80000000u,
                                            .cr4 = machine == SIM_2LEVEL ? 0 : 0x20,
                                            .nx = machine == SIM_PAE_NX,
                                            .sctlr = 1,
                                            .ttbcr = machine == SIM_SHORT_SPLIT ? 2 : 0,
                                            .dacr = 5 };
    make_roots();
    kernel_tables();
}
