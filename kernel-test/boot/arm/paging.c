/*
 * Page tables: ARM short descriptors.  TTBR0 translates everything, or with ttbr=1 (TTBCR.N = 1)
 * only the lower half, and TTBR1 the upper.  With dirs=2 there are two pairs of first-level tables
 * with the same kernel; the second-level tables are shared.
 */
#include "arm.h"

#define ENTRIES 4096u
#define LEAVES 256u
#define TABLE 0x1u
#define SECTION_MEMORY (0x1140Eu | 1u << 4) /* normal, write-back, shareable, PL1, never executed */
#define PAGE 0x45Eu                         /* small page: normal, write-back, shareable, PL1 */
#define PAGE_DEVICE 0x16u                   /* small page: device, shareable, PL1 */
#define PAGE_READ_ONLY 0x200u
#define PAGE_XN 0x1u

#define SCRATCH (K_PRIVATE_BASE + 0x00C00000u) /* the slots of all CPUs: 1 MiB */
#define IMAGE_TABLES 8u /* second-level tables for the first 8 MiB of RAM, which hold the image */

static uint32_t upper[K_MAX_DIRECTORIES][ENTRIES] __attribute__((aligned(16384)));
static uint32_t lower[K_MAX_DIRECTORIES][ENTRIES / 2] __attribute__((aligned(8192)));
static uint32_t image_tables[IMAGE_TABLES][LEAVES] __attribute__((aligned(1024)));
static uint32_t private_table[LEAVES] __attribute__((aligned(1024)));
static uint32_t device_tables[2][LEAVES] __attribute__((aligned(1024)));

static bool split, scratch, direct;
static unsigned directory_count = 1;

const uintptr_t k_slots = SCRATCH;

static uint32_t physical(const void *address)
{
    return (uint32_t)((uintptr_t)address - K_DIRECT_BASE + ARM_RAM);
}

static void flush_page(uintptr_t address)
{
    ARM_SYNC();
    ARM_WRITE("0, %0, c8, c7, 3", address & ~(uintptr_t)4095);
    ARM_SYNC();
}

static void flush_all(void)
{
    ARM_SYNC();
    ARM_WRITE("0, %0, c8, c7, 0", 0);
    ARM_SYNC();
}

static volatile uint32_t *top_entry(unsigned number, uintptr_t address)
{
    size_t index = address >> 20;

    return split && index < ENTRIES / 2 ? &lower[number][index] : &upper[number][index];
}

/* A page of the direct map; 0 = not mapped. */
static uint32_t image_entry(uintptr_t address)
{
    uint32_t entry = physical((const void *)address) | PAGE;

    if (address == (uintptr_t)k_stack_guard)
        return 0;
    if (address >= (uintptr_t)k_image_start && address < (uintptr_t)k_text_end)
        return (entry & ~PAGE_XN) | PAGE_READ_ONLY;
    if (address >= (uintptr_t)k_text_end && address < (uintptr_t)k_rodata_end)
        return entry | PAGE_READ_ONLY | PAGE_XN;
    return entry | PAGE_XN;
}

/* By pages, not as a section: QEMU takes the flush of a page that lies between two sections, wherever they
 * are, for a flush of everything, and the direct map has the other. */
static void map_device(unsigned number, uintptr_t address, uint32_t *table, uint32_t device)
{
    for (uint32_t j = 0; j < LEAVES; j++)
        table[j] = (device + (j << 12)) | PAGE_DEVICE | PAGE_XN;
    *top_entry(number, address) = physical(table) | TABLE;
}

static void build(unsigned number, sh_paddr ram_size)
{
    if ((size_t)(k_image_end - K_DIRECT_BASE) > IMAGE_TABLES << 20)
        k_panic("the image is larger than its tables", (uintptr_t)k_image_end);
    for (uint32_t i = 0; i < 256 && (sh_paddr)i << 20 < ram_size; i++) {
        uintptr_t address = K_DIRECT_BASE + (i << 20);

        if (i >= IMAGE_TABLES) {
            *top_entry(number, address) = (ARM_RAM + (i << 20)) | SECTION_MEMORY;
            continue;
        }
        for (uint32_t j = 0; j < LEAVES; j++)
            image_tables[i][j] = image_entry(address + (j << 12));
        *top_entry(number, address) = physical(image_tables[i]) | TABLE;
    }
    *top_entry(number, SCRATCH) = physical(private_table) | TABLE;
    map_device(number, ARM_UART, device_tables[0], ARM_UART_SECTION);
    map_device(number, ARM_GIC, device_tables[1], ARM_GIC_SECTION);
}

void arm_paging_start(sh_paddr ram_size)
{
    split = k_option_is("ttbr", "1");
    scratch = k_option_is("phys", "scratch");
    directory_count = k_option_is("dirs", "2") ? 2 : 1;
    for (unsigned i = 0; i < directory_count; i++)
        build(i, ram_size);
    arm_paging_join();
}

void arm_paging_join(void)
{
    ARM_SYNC();
    if (split) {
        ARM_WRITE("0, %0, c2, c0, 1", physical(upper[0]) | 0x4A);
        ARM_SYNC();
        ARM_WRITE("0, %0, c2, c0, 2", 1);
        ARM_SYNC();
    }
    k_directory_switch(0);
}

const char *k_machine(void)
{
    if (SH_ARCH_PAGE_SHIFT == 16)
        return split ? "arm 64k ttbr1" : "arm 64k";
    return split ? "arm ttbr1" : "arm";
}

void *k_phys(sh_paddr address)
{
    if (address < ARM_RAM || address - ARM_RAM >= K_DIRECT_SIZE)
        k_panic("a physical address beyond the direct map", (uintptr_t)address);
    return (void *)(K_DIRECT_BASE + (uintptr_t)address - ARM_RAM);
}

void k_slot_map(uintptr_t address, sh_paddr frame)
{
    private_table[address >> 12 & (LEAVES - 1)] = ((uint32_t)frame & ~4095u) | PAGE | PAGE_XN;
    ARM_SYNC();
}

void k_tlb_flush(uintptr_t base, size_t size)
{
    if (size > 32 * 4096u)
        flush_all();
    else
        for (size_t done = 0; done < size; done += 4096)
            flush_page(base + done);
}

static void *next_scratch_page(sh_paddr address)
{
    struct k_cpu *cpu = k_this();
    uintptr_t pages = SCRATCH + cpu->number * K_SLOT_SIZE, virtual = pages + cpu->scratch * 4096u;

    private_table[virtual >> 12 & (LEAVES - 1)] = 0;
    flush_page(virtual);
    cpu->scratch = (cpu->scratch + 1) % K_SCRATCH_COUNT;
    virtual = pages + cpu->scratch * 4096u;
    k_slot_map(virtual, address);
    return (void *)(virtual + ((uintptr_t)address & 4095));
}

void *k_phys_window(sh_paddr address)
{
    return scratch && !direct ? next_scratch_page(address) : k_phys(address);
}

void k_phys_direct(bool on)
{
    direct = on;
}

sh_paddr k_directory_root(unsigned number, uintptr_t address)
{
    return physical(split && address < 0x80000000u ? lower[number] : upper[number]);
}

sh_paddr k_current_root(uintptr_t address)
{
    if (split && address >= 0x80000000u)
        return ARM_READ("0, %0, c2, c0, 1") & ~0x3FFFu;
    return ARM_READ("0, %0, c2, c0, 0") & ~(split ? 0x1FFFu : 0x3FFFu);
}

unsigned k_directories(void)
{
    return directory_count;
}

/* No ASIDs: nothing of the old directory may stay in the TLB. */
void k_directory_switch(unsigned number)
{
    bool on = k_interrupts(false);

    if (number >= directory_count)
        k_panic("no such directory", number);
    k_this()->directory = number;
    ARM_SYNC();
    ARM_WRITE("0, %0, c2, c0, 0", k_directory_root(number, 0) | 0x4A);
    if (split)
        ARM_WRITE("0, %0, c2, c0, 1", k_directory_root(number, 0x80000000u) | 0x4A);
    flush_all();
    k_interrupts(on);
}

void k_directory_copy(uintptr_t base)
{
    unsigned current = k_this()->directory;

    base &= ~(uintptr_t)0x3FFFFF;
    for (unsigned number = 0; number < directory_count; number++)
        for (uintptr_t i = 0; number != current && i < 4; i++)
            *top_entry(number, base + (i << 20)) = *top_entry(current, base + (i << 20));
    ARM_SYNC();
}

static void set_all(uintptr_t address, uint32_t entry)
{
    for (unsigned number = 0; number < directory_count; number++)
        *top_entry(number, address) = entry;
}

bool k_map(uintptr_t address, sh_paddr frame, bool large)
{
    uint32_t entry = *top_entry(k_this()->directory, address);
    uint32_t *table;

    if (large) {
        if ((entry & 3) != 0)
            return false;
        set_all(address, ((uint32_t)frame & 0xFFF00000u) | SECTION_MEMORY);
        ARM_SYNC();
        return true;
    }
    if ((entry & 3) == 0) {
        sh_paddr out;

        if (!k_table_new(&out))
            return false;
        entry = (uint32_t)out | TABLE;
        set_all(address, entry);
    }
    table = k_phys(entry & 0xFFFFFC00u);
    table[address >> 12 & 255] = (uint32_t)frame | PAGE | PAGE_XN;
    ARM_SYNC();
    return true;
}

void k_unmap(uintptr_t address)
{
    uint32_t entry = *top_entry(k_this()->directory, address), frame = entry & 0xFFFFF000u;
    bool empty = false;

    if ((entry & 3) == TABLE) {
        uint32_t *table = k_phys(entry & 0xFFFFFC00u);

        table[address >> 12 & 255] = 0;
        empty = k_table_done(frame);
    }
    if ((entry & 3) != TABLE || empty)
        set_all(address, 0);
    flush_all();
    if (empty)
        k_frame_free(frame, 4096);
}
