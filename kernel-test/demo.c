/*
 * Accidents, and what the heap says of them: make run DEMO=overflow|uaf|doublefree|stray.
 *
 * Each is shown as a kernel meets it: a report through sh_kernel_panic, or a page fault whose handler
 * asks sh_handle_fault first and, when that cannot mend it, sh_explain.  The functions that allocate and
 * free are not inlined, so that the call sites in the reports can be looked up by addr2line.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/rig.h"
#include "kernel-test/t_internal.h"
#include "kernel-test/test_util.h"

#define NOINLINE __attribute__((noinline))

static unsigned shown;
static uint8_t *block, *other;
static uintptr_t stray;

static void start(unsigned tier, const char *what)
{
    const struct sh_config config = { .size = sizeof(config), .tier = tier, .hooks = rig_hooks() };

    rig_start(0, &config);
    t_printf("\ntier %u: %s\n", tier, what);
}

static NOINLINE void driver_opens(void)
{
    block = sh_malloc(48);
    other = sh_malloc(48);
}

static NOINLINE void driver_closes(void)
{
    sh_free(block);
}

/* Twelve bytes more than there is room for. */
static NOINLINE void driver_copies(void)
{
    for (unsigned i = 0; i < 60; i++)
        ((volatile uint8_t *)block)[i] = 0x41;
}

/* As a kernel's page-fault handler; it does not retry, k_faults leaves the access behind. */
static bool fault(uintptr_t address, bool write, bool present)
{
    if (sh_handle_fault(address, write, present))
        return true;
    t_printf("page fault: %s at 0x%lx\n", write ? "write" : "read", (unsigned long)address);
    rig_log_clear();
    sh_explain(address);
    t_printf("%s", rig_log());
    return false;
}

/* `words`: part of what is to be said of it. */
static void accident_that_faults(void (*fn)(void *), const char *words)
{
    k_fault_handler = fault;
    shown += k_faults(fn, NULL) && t_contains(rig_log(), words);
    k_fault_handler = sh_handle_fault;
}

static void accident_that_is_reported(void (*fn)(void *), const char *words)
{
    if (rig_panics(SH_PANIC_MISUSE, NULL, fn, NULL)) {
        t_printf("panic (misuse): %s\n", rig_report());
        shown += t_contains(rig_report(), words);
    }
}

static void copies(void *arg)
{
    (void)arg;
    driver_copies();
}

static void closes(void *arg)
{
    (void)arg;
    driver_closes();
}

static void reads_late(void *arg)
{
    (void)arg;
    (void)*(volatile uint8_t *)&block[4];
}

static void opens(void *arg)
{
    (void)arg;
    driver_opens();
}

static void writes_stray(void *arg)
{
    (void)arg;
    *(volatile uint8_t *)stray = 1;
}

static unsigned demo_overflow(void)
{
    start(2, "60 bytes are copied into a 48-byte buffer; the free finds it");
    driver_opens();
    driver_copies();
    accident_that_is_reported(closes, "written past the end of this 48-byte object at 0x");
    start(4, "the same; the write past the page's end faults");
    driver_opens();
    accident_that_faults(copies, "a guard page: 0 bytes past the end of a live 48-byte object at 0x");
    return 2;
}

static unsigned demo_uaf(void)
{
    start(2, "a buffer is written to after it was freed; the next allocation of the slot finds it");
    driver_opens();
    driver_closes();
    ((volatile uint8_t *)block)[12] = 0x41;
    accident_that_is_reported(opens, "12 bytes into a free 64-byte slot at 0x");
    start(4, "a buffer is read after it was freed; the read faults");
    driver_opens();
    driver_closes();
    accident_that_faults(reads_late, "4 bytes into a freed object of 48 bytes at 0x");
    return 2;
}

static unsigned demo_doublefree(void)
{
    start(0, "a buffer is freed twice");
    driver_opens();
    driver_closes();
    accident_that_is_reported(closes,
                              "free already: a 48-byte slot; before it the span begins, after it a live object");
    start(2, "the same, with call sites");
    driver_opens();
    driver_closes();
    accident_that_is_reported(closes, "free already: a 64-byte slot, freed at 0x");
    return 2;
}

static unsigned demo_stray(void)
{
    void *pages;
    size_t size;

    start(0, "a stray pointer hits a page that was given back");
    pages = sh_alloc_pages(40);
    sh_free_pages(pages);
    sh_trim(0);
    stray = (uintptr_t)pages + 20 * SH_PAGE_SIZE + 5;
    accident_that_faults(writes_stray, "its page was given back");
    start(0, "a stray pointer hits an address that never was the heap's");
    stray = rig_area(&size) + size + 12345;
    accident_that_faults(writes_stray, "never was heap memory");
    return 2;
}

int demo_main(void)
{
    static const struct {
        const char *name;
        unsigned (*run)(void);
    } demos[] = {
        { "overflow", demo_overflow },
        { "uaf", demo_uaf },
        { "doublefree", demo_doublefree },
        { "stray", demo_stray },
    };
    unsigned wanted = 0, passed = 0;

    for (unsigned i = 0; i < sizeof(demos) / sizeof(demos[0]); i++) {
        if (!k_option_is("demo", demos[i].name) && !k_option_is("demo", "all"))
            continue;
        shown = 0;
        wanted++;
        passed += demos[i].run() == shown;
    }
    rig_reset();
    if (wanted == 0)
        t_printf("demo: overflow, uaf, doublefree, stray or all; not \"%s\"\n", k_option("demo", ""));
    t_printf("\ndemo %s: %u passed, %u failed\n", k_machine(), passed, wanted - passed);
    return wanted == 0 || passed != wanted;
}
