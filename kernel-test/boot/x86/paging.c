/*
 * Page tables, 2-level or PAE (paging=pae), chosen at boot.
 *
 * A directory is the run of tables whose entries each map 2 or 4 MiB: one page of 1024 entries, or
 * four pages of 512 behind a PDPT, seen here as one array of 2048.  Its entries for the private
 * area hold the directory itself, so that every leaf entry has an address.  With dirs=2 there are
 * two directories with the same kernel; the leaf tables are shared.
 */
#include "x86.h"

#define PRESENT 1u
#define WRITABLE 2u
#define UNCACHED 0x10u
#define LARGE 0x80u
#define NX ((uint64_t)1 << 63)
#define ADDRESS_BITS 0x000FFFFFFFFFF000u

#define SCRATCH (K_PRIVATE_BASE + 0x00C00000u) /* the slots of all CPUs; the APIC lies behind them */
#define IMAGE_TABLES 4 /* leaf tables for the first 8 MiB of RAM, which hold the image */

static uint8_t directories[K_MAX_DIRECTORIES][4][4096] __attribute__((aligned(4096)));
static uint64_t pointers[K_MAX_DIRECTORIES][4] __attribute__((aligned(32)));
static uint8_t image_tables[IMAGE_TABLES][4096] __attribute__((aligned(4096)));
static uint8_t private_table[4096] __attribute__((aligned(4096)));

static bool pae, scratch, direct;
static uint64_t nx; /* NX or 0 */
static unsigned directory_count = 1;

const uintptr_t k_slots = SCRATCH;

static uint64_t physical(const void *address)
{
    return (uintptr_t)address - K_DIRECT_BASE;
}

static unsigned large_shift(void)
{
    return pae ? 21 : 22;
}

static uint64_t get(const void *table, size_t index)
{
    if (pae)
        return ((const volatile uint64_t *)table)[index];
    return ((const volatile uint32_t *)table)[index];
}

/* The half with the present bit is written last when it is set, first when it is cleared. */
static void set(void *table, size_t index, uint64_t entry)
{
    volatile uint32_t *word = (volatile uint32_t *)table + (pae ? index * 2 : index);

    if (pae) {
        word[0] = 0;
        word[1] = (uint32_t)(entry >> 32);
    }
    word[0] = (uint32_t)entry;
}

static void *leaf_entry_table(uintptr_t address, size_t *index)
{
    *index = (address >> 12) & (pae ? 511 : 1023);
    return (void *)(K_PRIVATE_BASE + ((address >> large_shift()) << 12));
}

static uint32_t directory_cr3(unsigned number)
{
    return (uint32_t)physical(pae ? (void *)pointers[number] : (void *)directories[number]);
}

/* The permissions of a page of the direct map; 0 = not mapped. */
static uint64_t image_entry(uintptr_t address)
{
    uint64_t entry = physical((const void *)address);

    if (address == (uintptr_t)k_stack_guard)
        return 0;
    if (address >= (uintptr_t)k_image_start && address < (uintptr_t)k_text_end)
        return entry | PRESENT;
    if (address >= (uintptr_t)k_text_end && address < (uintptr_t)k_rodata_end)
        return entry | PRESENT | nx;
    return entry | PRESENT | WRITABLE | nx;
}

static void build(unsigned number, sh_paddr ram_end)
{
    void *directory = directories[number];
    unsigned shift = large_shift();
    size_t large = (size_t)1 << shift, per_table = pae ? 512 : 1024, pages = pae ? 4 : 1;
    size_t first = K_DIRECT_BASE >> shift;

    if ((size_t)(k_image_end - K_DIRECT_BASE) > IMAGE_TABLES * (pae ? 2u : 4u) << 20)
        k_panic("the image is larger than its tables", (uintptr_t)k_image_end);
    for (size_t i = 0; i < IMAGE_TABLES && i * large < ram_end; i++) {
        for (size_t j = 0; j < per_table; j++)
            set(image_tables[i], j, image_entry(K_DIRECT_BASE + (i << shift) + (j << 12)));
        set(directory, first + i, physical(image_tables[i]) | PRESENT | WRITABLE);
    }
    for (size_t i = IMAGE_TABLES; i * large < ram_end; i++)
        set(directory, first + i, i << shift | LARGE | PRESENT | WRITABLE | nx);
    for (size_t i = 0; i < pages; i++)
        set(directory, (K_PRIVATE_BASE >> shift) + i,
            physical(directories[number][i]) | PRESENT | WRITABLE | nx);
    set(directory, SCRATCH >> shift, physical(private_table) | PRESENT | WRITABLE);
    set(private_table, (X86_LAPIC >> 12) & (per_table - 1),
        X86_LAPIC_PHYSICAL | PRESENT | WRITABLE | UNCACHED | nx);
    for (size_t i = 0; i < 4; i++)
        pointers[number][i] = physical(directories[number][i]) | PRESENT;
}

/* NX where CPUID says so. */
static void find_nx(void)
{
    uint32_t a = 0x80000000u, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (a < 0x80000001u)
        return;
    a = 0x80000001u;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if ((d & 1u << 20) == 0)
        return;
    __asm__ volatile("rdmsr; or $0x800, %%eax; wrmsr"
                     : : "c"(0xC0000080u) : "eax", "edx", "memory");
    nx = NX;
}

/* pdpt=hole: the quarter at 0x40000000 has no directory page at all. */
void x86_paging_start(sh_paddr ram_end)
{
    pae = k_option_is("paging", "pae");
    scratch = k_option_is("phys", "scratch");
    directory_count = k_option_is("dirs", "2") ? 2 : 1;
    if (pae)
        find_nx();
    for (unsigned i = 0; i < directory_count; i++) {
        build(i, ram_end);
        set(directories[i], 0, LARGE | PRESENT); /* identity, for the switch */
        if (pae && k_option_is("pdpt", "hole"))
            pointers[i][1] = 0;
    }
    x86_switch_paging(directory_cr3(0), pae ? x86_cr4() | 0x20 : x86_cr4());
    for (unsigned i = 0; i < directory_count; i++)
        set(directories[i], 0, 0);
    k_directory_switch(0);
}

const char *k_machine(void)
{
    return pae ? nx != 0 ? "x86 pae" : "x86 pae without NX" : "x86 2-level";
}

void *k_phys(sh_paddr address)
{
    if (address >= K_DIRECT_SIZE)
        k_panic("a physical address beyond the direct map", (uintptr_t)address);
    return (void *)(K_DIRECT_BASE + (uintptr_t)address);
}

static void *next_scratch_page(sh_paddr address)
{
    struct k_cpu *cpu = k_this();
    uintptr_t pages = SCRATCH + cpu->number * K_SLOT_SIZE, virtual = pages + cpu->scratch * 4096u;
    size_t index;
    void *table;

    table = leaf_entry_table(virtual, &index);
    set(table, index, 0);
    x86_flush_page(virtual);
    cpu->scratch = (cpu->scratch + 1) % K_SCRATCH_COUNT;
    virtual = pages + cpu->scratch * 4096u;
    table = leaf_entry_table(virtual, &index);
    set(table, index, (address & ADDRESS_BITS) | PRESENT | WRITABLE | nx);
    return (void *)(virtual + (uintptr_t)(address & 4095));
}

void *k_phys_window(sh_paddr address)
{
    return scratch && !direct ? next_scratch_page(address) : k_phys(address);
}

void k_phys_direct(bool on)
{
    direct = on;
}

void k_slot_map(uintptr_t address, sh_paddr frame)
{
    size_t index;
    void *table = leaf_entry_table(address, &index);

    set(table, index, (frame & ADDRESS_BITS) | PRESENT | WRITABLE | nx);
}

void x86_paging_identity(bool on)
{
    set(directories[0], 0, on ? LARGE | PRESENT : 0);
}

bool x86_paging_nx(void)
{
    return nx != 0;
}

void k_tlb_flush(uintptr_t base, size_t size)
{
    if (size > 32 * 4096u)
        x86_load_cr3(x86_cr3());
    else
        for (size_t done = 0; done < size; done += 4096)
            x86_flush_page(base + done);
}

sh_paddr k_directory_root(unsigned number, uintptr_t address)
{
    (void)address;
    return directory_cr3(number);
}

sh_paddr k_current_root(uintptr_t address)
{
    (void)address;
    return x86_cr3() & (pae ? ~31u : ~4095u);
}

unsigned k_directories(void)
{
    return directory_count;
}

void k_directory_switch(unsigned number)
{
    bool on = k_interrupts(false);

    if (number >= directory_count)
        k_panic("no such directory", number);
    k_this()->directory = number;
    x86_traps_directory(directory_cr3(number));
    x86_load_cr3(directory_cr3(number));
    k_interrupts(on);
}

void k_directory_copy(uintptr_t base)
{
    size_t first = (base & ~(uintptr_t)0x3FFFFF) >> large_shift(), count = pae ? 2 : 1;
    unsigned current = k_this()->directory;

    for (unsigned number = 0; number < directory_count; number++)
        for (size_t i = first; number != current && i < first + count; i++)
            set(directories[number], i, get(directories[current], i));
}

static void set_all(size_t index, uint64_t entry)
{
    for (unsigned number = 0; number < directory_count; number++)
        set(directories[number], index, entry);
}

bool k_map(uintptr_t address, sh_paddr frame, bool large)
{
    size_t top = address >> large_shift(), index;
    void *table;
    uint64_t entry = get(directories[k_this()->directory], top);

    if (large) {
        if ((entry & PRESENT) != 0)
            return false;
        set_all(top, (frame >> large_shift() << large_shift()) | LARGE | PRESENT | WRITABLE | nx);
        return true;
    }
    if ((entry & PRESENT) == 0) {
        sh_paddr out;

        if (!k_table_new(&out))
            return false;
        set_all(top, out | PRESENT | WRITABLE);
    }
    table = leaf_entry_table(address, &index);
    x86_flush_page((uintptr_t)table);
    set(table, index, frame | PRESENT | WRITABLE | nx);
    return true;
}

void k_unmap(uintptr_t address)
{
    size_t top = address >> large_shift(), index;
    uint64_t entry = get(directories[k_this()->directory], top);
    void *table;
    bool empty;

    if ((entry & LARGE) != 0) {
        set_all(top, 0);
        x86_load_cr3(x86_cr3());
        return;
    }
    table = leaf_entry_table(address, &index);
    set(table, index, 0);
    empty = k_table_done(entry & ADDRESS_BITS);
    if (empty)
        set_all(top, 0);
    x86_load_cr3(x86_cr3());
    if (empty)
        k_frame_free(entry & ADDRESS_BITS, 4096);
}
