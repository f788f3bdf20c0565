/*
 * The kernel's own promises, on which the other suites stand: faults are found, interrupts hit,
 * frames are whole, page tables mean what walk.h says.  Only in booted images.
 */
#include "kernel.h"
#include "k_string.h"
#include "rig.h"
#include "test.h"
#include "walk.h"

extern char k_image_start[], k_stack_guard[];

static uintptr_t handled_address;
static bool handled_write, handled_present;
static volatile unsigned ticks;
static volatile bool stop_spinning;

static void read_byte(void *arg)
{
    (void)*(volatile uint8_t *)arg;
}

/* Also to memory that is freed, on purpose: no business of address checks. */
__attribute__((no_sanitize_address)) static void write_byte(void *arg)
{
    *(volatile uint8_t *)arg = 1;
}

static void call(void *arg)
{
    ((void (*)(void))(uintptr_t)arg)();
}

static void nothing(void *arg)
{
    (void)arg;
}

static void faults_are_found(void)
{
    static const uintptr_t unmapped[] = { 0, 0x10000000u, 0xD0000000u, 0xFFFFFFFCu };

    EXPECT(!k_faults(nothing, NULL));
    for (unsigned i = 0; i < sizeof unmapped / sizeof unmapped[0]; i++) {
        EXPECT(k_faults(read_byte, (void *)unmapped[i]));
        EXPECT(k_faults(write_byte, (void *)unmapped[i]));
    }
    EXPECT(k_faults(read_byte, k_stack_guard));
    EXPECT(k_interrupts(true));
}

static void code_and_constants_are_read_only(void)
{
    static const uint8_t constant = 7;

    EXPECT(!k_faults(read_byte, k_image_start));
    EXPECT(k_faults(write_byte, k_image_start));
    EXPECT(k_faults(write_byte, (void *)(uintptr_t)&constant));
}

static void data_is_never_executed(void)
{
    static uint32_t code[4];

    if (walk_has_execute_never())
        EXPECT(k_faults(call, code));
}

/* Maps the page and lets the access happen again. */
static bool map_it(uintptr_t address, bool write, bool present)
{
    sh_paddr frame;

    handled_address = address;
    handled_write = write;
    handled_present = present;
    address &= ~(uintptr_t)4095;
    return !present && k_frame_alloc(4096, &frame) && k_map(address, frame, false);
}

static void give_back(uintptr_t address)
{
    struct walk_page page;

    walk_decode(walk_leaf(walk_top(0, address), address), address, &page);
    k_unmap(address);
    k_frame_free(page.frame, 4096);
}

static void faults_are_mended(void)
{
    volatile uint8_t *p = (volatile uint8_t *)(K_AREA_BASE + 0x123456);
    size_t before = k_frames_out();

    k_fault_handler = map_it;
    p[0] = 42;
    k_fault_handler = NULL;
    EXPECT_EQ(p[0], 42);
    EXPECT_EQ(handled_address, (uintptr_t)p);
    EXPECT(handled_write);
    EXPECT(!handled_present);
    EXPECT(!k_faults(read_byte, (void *)(uintptr_t)p));
    give_back((uintptr_t)p & ~(uintptr_t)4095);
    EXPECT_EQ(k_frames_out(), before); /* the leaf table too */
    EXPECT(k_faults(read_byte, (void *)(uintptr_t)p));
}

static void large_pages_are_mapped(void)
{
    sh_paddr frame;

    EXPECT(k_frame_alloc(4096, &frame));
    EXPECT(k_map(K_AREA_BASE + 0x8000000, frame, true));
    EXPECT(!k_faults(read_byte, (void *)(K_AREA_BASE + 0x8000000)));
    EXPECT(!walk_is_table(walk_top(0, K_AREA_BASE + 0x8000000)));
    k_unmap(K_AREA_BASE + 0x8000000);
    EXPECT(k_faults(read_byte, (void *)(K_AREA_BASE + 0x8000000)));
    k_frame_free(frame, 4096);
}

/* Takes every frame of one size, threading them through their first words; the number taken. */
static unsigned take_all(size_t size, sh_paddr *list)
{
    sh_paddr frame;
    unsigned count = 0;

    for (*list = 0; k_frame_alloc(size, &frame); count++) {
        EXPECT_EQ(frame & (size - 1), 0);
        EXPECT_EQ(((uint8_t *)k_phys(frame))[size - 1], 0xA5);
        *(sh_paddr *)k_phys(frame) = *list;
        *list = frame;
    }
    return count;
}

static void give_all(size_t size, sh_paddr list)
{
    while (list != 0) {
        sh_paddr next = *(sh_paddr *)k_phys(list);

        k_frame_free(list, size);
        list = next;
    }
}

static void frames_are_whole(void)
{
    size_t before = k_frames_out(), free_bytes = k_frames_total() - before;
    sh_paddr list;
    unsigned count = take_all(4096, &list);

    EXPECT_EQ(count * (size_t)4096, free_bytes);
    give_all(4096, list);
    EXPECT_EQ(k_frames_out(), before);
    count = take_all(65536, &list);
    EXPECT(count >= free_bytes / 65536 - 12);
    give_all(65536, list);
    EXPECT_EQ(k_frames_out(), before);
}

static void physical_windows_reach_every_frame(void)
{
    sh_paddr frames[4];

    for (unsigned i = 0; i < 4; i++) {
        EXPECT(k_frame_alloc(4096, &frames[i]));
        *(uint32_t *)k_phys_window(frames[i]) = i;
    }
    for (unsigned i = 0; i < 4; i++) {
        EXPECT_EQ(*(uint32_t *)k_phys_window(frames[i]), i);
        EXPECT_EQ(*(uint32_t *)k_phys(frames[i]), i);
        k_frame_free(frames[i], 4096);
    }
}

static void stale_windows_fault(void)
{
    sh_paddr frame;
    void *stale;

    if (!k_option_is("phys", "scratch"))
        return;
    EXPECT(k_frame_alloc(4096, &frame));
    stale = k_phys_window(frame);
    EXPECT(!k_faults(read_byte, stale));
    k_phys_window(frame);
    EXPECT(k_faults(read_byte, stale));
    k_frame_free(frame, 4096);
}

/* A period that walks: the interrupt lands on every instruction of the loop sooner or later. */
static void tick(void)
{
    EXPECT(k_in_interrupt());
    ticks++;
    k_timer_start(1000 + ticks * 7 % 501, tick);
    stop_spinning = ticks >= 500;
}

static void the_timer_interrupts(void)
{
    ticks = 0;
    stop_spinning = false;
    k_timer_start(1000, tick);
    while (!stop_spinning)
        ;
    k_timer_stop();
    EXPECT(ticks >= 500);
    EXPECT(!k_in_interrupt());
    stop_spinning = false;
}

static void fault_once(void)
{
    EXPECT(k_faults(read_byte, NULL));
    EXPECT(k_in_interrupt());
    stop_spinning = true;
    k_timer_stop();
}

static void faults_in_handlers_are_found(void)
{
    stop_spinning = false;
    k_timer_start(1000, fault_once);
    while (!stop_spinning)
        ;
    EXPECT(!k_in_interrupt());
}

static void cycles_go_on(void)
{
    uint32_t start = k_cycles(), end;

    for (unsigned i = 0; i < 1000; i++)
        __asm__ volatile("");
    end = k_cycles();
    EXPECT(end - start >= 1000);
}

static void directories_are_switched(void)
{
    uintptr_t address = K_AREA_BASE + 0x10000000;
    sh_paddr frame;

    EXPECT(k_frame_alloc(4096, &frame));
    EXPECT(k_map(address, frame, false));
    for (unsigned i = 0; i < k_directories(); i++) {
        k_directory_switch(i);
        EXPECT_EQ(k_current_root(address), k_directory_root(i, address));
        EXPECT_EQ(k_current_root(0), k_directory_root(i, 0));
        *(volatile unsigned *)address = i;
        EXPECT_EQ(*(volatile unsigned *)address, i);
    }
    k_directory_switch(0);
    k_unmap(address);
    k_frame_free(frame, 4096);
}

static uintptr_t watched;
static unsigned looks;
static bool stale;

/* In a hook of the heap's: an address whose entry names no frame any more must not be reachable, through
 * the TLB either. */
static void look_for_stale(void)
{
    uint64_t top = walk_top(0, watched);

    if (!walk_is_table(top) || walk_leaf(top, watched) >> 12 != 0)
        return;
    looks++;
    stale = !k_faults(read_byte, (void *)watched) || stale;
}

static void frames_go_back_after_the_flush(void)
{
    rig_start(0, NULL);
    looks = 0;
    stale = false;
    for (unsigned i = 0; i < 8; i++) {
        watched = (uintptr_t)sh_alloc_pages((SH_GRANULE_SIZE / SH_PAGE_SIZE) * (1 + i));
        EXPECT(watched != 0);
        sh_free_pages((void *)watched);
        rig_probe(look_for_stale);
        write_byte((void *)watched);
        sh_trim(0);
        rig_probe(NULL);
    }
    EXPECT(looks > 0);
    EXPECT(!stale);
}

/* A thread that has masked interrupts cannot wait for another grower, but there is none. */
static void heap_grows_with_interrupts_off(void)
{
    void *small, *large;

    rig_start(0, NULL);
    k_interrupts(false);
    small = sh_malloc(100);
    large = sh_malloc(300000);
    k_interrupts(true);
    EXPECT(small != NULL && large != NULL);
    EXPECT_EQ(sh_verify(), 0);
}

static const struct test tests[] = {
    { "faults_are_found", faults_are_found },
    { "code_and_constants_are_read_only", code_and_constants_are_read_only },
    { "data_is_never_executed", data_is_never_executed },
    { "faults_are_mended", faults_are_mended },
    { "large_pages_are_mapped", large_pages_are_mapped },
    { "frames_are_whole", frames_are_whole },
    { "physical_windows_reach_every_frame", physical_windows_reach_every_frame },
    { "stale_windows_fault", stale_windows_fault },
    { "the_timer_interrupts", the_timer_interrupts },
    { "faults_in_handlers_are_found", faults_in_handlers_are_found },
    { "cycles_go_on", cycles_go_on },
    { "directories_are_switched", directories_are_switched },
    { "frames_go_back_after_the_flush", frames_go_back_after_the_flush },
    { "heap_grows_with_interrupts_off", heap_grows_with_interrupts_off },
};

SUITE(kernel, tests);
