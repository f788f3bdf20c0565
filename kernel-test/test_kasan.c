/*
 * Proves what kasan.h promises, with accesses that are made on purpose: every one outside its object is
 * reported, before it happens, with where, how much and by whom; every one inside is silent.  And it is
 * the kernel's side of kasan.h: a report that no test expects fails the running test.
 *
 * Only in images whose kernel code is instrumented.  A planted store writes back what is there, so that
 * nothing that lies beside the objects is harmed, whatever the tier.
 */
#include "kernel.h"
#include "k_string.h"
#include "kasan.h"
#include "rig.h"
#include "t_internal.h"
#include "test_util.h"

#define TIER 0u    /* sh_config.tier of the planted accidents */
#define REACH 64u  /* bytes on both sides of an object where nothing else lives */
#define PRINTED 5u /* unexpected reports that are told in full */

#define BARE __attribute__((noinline, no_sanitize_address))

static volatile bool expecting;
static volatile unsigned long seen;
static struct kasan_access last;

_Static_assert(KASAN_FIRST == K_AREA_BASE && KASAN_LAST == K_AREA_BASE + K_AREA_SIZE - 1, "the Makefile's flags");

static void print_report(const struct kasan_access *access)
{
    size_t before = t_length(rig_log());

    t_printf("FAILED kasan: %s of %zu bytes at 0x%lx, from 0x%lx\n", access->write ? "store" : "load",
             access->size, (unsigned long)access->address, (unsigned long)access->pc);
    t_print_running();
    sh_explain(access->address);
    t_printf("%s", rig_log() + before);
}

void kasan_report(const struct kasan_access *access)
{
    static unsigned printed;

    if (expecting) {
        seen++;
        last = *access;
        return;
    }
    if (printed++ < PRINTED)
        print_report(access);
    rig_blame();
}

/* One access of each width, compiled as any other code is. */

struct structure {
    uint32_t words[7];
};

#define DEFINE_ACCESS(name, type) \
    static type taken_##name; \
    static BARE type peek_##name(const void *p) { return *(const volatile type *)p; } \
    static __attribute__((noinline)) void load_##name(void *p) \
    { \
        taken_##name = *(type *)p; \
        __asm__ volatile("" : : "m"(taken_##name)); \
    } \
    static __attribute__((noinline)) void store_##name(void *p) \
    { \
        type value = peek_##name(p); \
        *(type *)p = value; \
    }

DEFINE_ACCESS(1, uint8_t)
DEFINE_ACCESS(2, uint16_t)
DEFINE_ACCESS(4, uint32_t)
DEFINE_ACCESS(8, uint64_t)
DEFINE_ACCESS(structure, struct structure)

static const struct access {
    size_t size, align;
    void (*make[2])(void *p); /* load, store */
} accesses[] = {
    { 1, 1, { load_1, store_1 } },
    { 2, 2, { load_2, store_2 } },
    { 4, 4, { load_4, store_4 } },
    { 8, 8, { load_8, store_8 } },
    { sizeof(struct structure), 4, { load_structure, store_structure } },
};

#define EACH_ACCESS(access) \
    (const struct access *access = accesses; access < accesses + sizeof accesses / sizeof accesses[0]; access++)

static unsigned long reported, refused, silent; /* what became of the accesses of a test */

/* Reported, or refused by the MMU where there is no frame. */
static void expect_report(const struct access *access, bool write, uintptr_t address)
{
    unsigned long before = seen;
    bool faulted;

    expecting = true;
    faulted = k_faults(access->make[write], (void *)address);
    expecting = false;
    if (faulted && seen == before) {
        refused++;
        return;
    }
    reported++;
    if (seen != before + 1)
        t_fail(__FILE__, __LINE__, "%lu reports of a %s of %zu bytes at 0x%lx", seen - before,
               write ? "store" : "load", access->size, (unsigned long)address);
    if (last.address != address || last.size != access->size || last.write != write ||
        last.pc - (uintptr_t)access->make[write] > 256)
        t_fail(__FILE__, __LINE__, "the report of 0x%lx says: %zu bytes at 0x%lx, from 0x%lx",
               (unsigned long)address, last.size, (unsigned long)last.address, (unsigned long)last.pc);
}

/* Accesses that touch a byte of [from, to). */
static void expect_reports(uintptr_t from, uintptr_t to)
{
    for EACH_ACCESS(access) {
        uintptr_t address = (from - access->size + access->align) & ~(uintptr_t)(access->align - 1);

        for (; address < to; address += access->align) {
            expect_report(access, false, address);
            expect_report(access, true, address);
        }
    }
}

/* Accesses that stay in [from, to): a report fails the test. */
static void expect_silence(uintptr_t from, uintptr_t to)
{
    unsigned long checked = kasan_checked, before = silent;

    for EACH_ACCESS(access) {
        uintptr_t address = (from + access->align - 1) & ~(uintptr_t)(access->align - 1);

        for (; address < to && access->size <= to - address; address += access->align) {
            access->make[0]((void *)address);
            access->make[1]((void *)address);
            silent += 2;
        }
    }
    if (kasan_checked - checked < silent - before)
        t_fail(__FILE__, __LINE__, "of %lu accesses %lu were checked", silent - before,
               kasan_checked - checked);
}

/* Both ends of a range that is too long to go through whole. */
static void at_both_ends(uintptr_t from, uintptr_t to, void (*expect)(uintptr_t from, uintptr_t to))
{
    if (to - from <= 4 * REACH) {
        expect(from, to);
        return;
    }
    expect(from, from + REACH);
    expect(to - REACH, to);
}

static const struct sh_config *config(void)
{
    static struct sh_config planted = { .size = sizeof planted, .tier = TIER };

    planted.hooks = rig_hooks();
    return &planted;
}

static bool is_alone(uintptr_t base, size_t size)
{
    for (uintptr_t at = base - REACH; at < base + size + REACH; at++)
        if ((at < base || at >= base + size) && sh_object_of((void *)at, NULL))
            return false;
    return true;
}

/* An object with nothing live within REACH: one of many, the others freed. */
static uint8_t *alone(size_t size)
{
    unsigned count = size < 4096 ? 2 * REACH / 8 + 3 : 5, middle = count / 2;
    uint8_t *p;

    for (unsigned i = 0; i < count; i++) {
        t_held[i] = sh_malloc(size);
        EXPECT(t_held[i] != NULL);
    }
    for (unsigned i = 0; i < count; i++)
        if (i != middle)
            sh_free(t_held[i]);
    p = t_held[middle];
    EXPECT(is_alone((uintptr_t)p, sh_usable_size(p)));
    return p;
}

static size_t next_size(size_t size)
{
    return size < 64 ? size + 1 : size + (size >> 2) + 5;
}

#define EACH_SIZE(size, most) (size_t size = 1; size <= (most); size = next_size(size))

/* That they were made at all. */
static void start(void)
{
    rig_start(0, config());
    reported = refused = silent = 0;
}

static void expect_made(unsigned long count, unsigned long least, const char *what)
{
    t_printf("    kasan: %lu accesses %s, %lu met no frame\n", count, what, refused);
    EXPECT(count >= least);
}

static void accesses_beside_an_object_are_reported(void)
{
    start();
    for EACH_SIZE(size, 200000) {
        uint8_t *p = alone(size);
        uintptr_t base = (uintptr_t)p, end = base + sh_usable_size(p);

        expect_reports(base - REACH, base);
        expect_reports(end, end + REACH);
        sh_free(p);
    }
    expect_made(reported, 10000, "beside an object reported");
}

static void accesses_inside_are_silent(void)
{
    start();
    for EACH_SIZE(size, 200000) {
        uint8_t *p = sh_malloc(size);

        EXPECT(p != NULL);
        at_both_ends((uintptr_t)p, (uintptr_t)p + sh_usable_size(p), expect_silence);
        sh_free(p);
    }
    expect_made(silent, 10000, "inside an object silent");
}

static void accesses_after_free_are_reported(void)
{
    start();
    for EACH_SIZE(size, 200000) {
        uint8_t *p = sh_malloc(size);
        size_t usable = sh_usable_size(p);

        EXPECT(p != NULL);
        sh_free(p);
        at_both_ends((uintptr_t)p, (uintptr_t)p + usable, expect_reports);
    }
    expect_made(reported, 10000, "after free reported");
}

static void page_runs_are_watched(void)
{
    uint8_t *runs[3];

    rig_start(0, config());
    for (unsigned i = 0; i < 3; i++) {
        runs[i] = sh_alloc_pages(2);
        EXPECT(runs[i] != NULL);
    }
    at_both_ends((uintptr_t)runs[1], (uintptr_t)runs[1] + 2 * SH_PAGE_SIZE, expect_silence);
    for (unsigned i = 0; i < 3; i++)
        sh_free_pages(runs[i]);
    at_both_ends((uintptr_t)runs[1], (uintptr_t)runs[1] + 2 * SH_PAGE_SIZE, expect_reports);
}

/* The object has moved: its old place is watched like any freed one. */
static void realloc_leaves_nothing_usable(void)
{
    uint8_t *p, *q;
    size_t usable;

    rig_start(0, config());
    p = sh_malloc(100);
    usable = sh_usable_size(p);
    q = sh_realloc(p, 5000);
    EXPECT(q != NULL && q != p);
    expect_reports((uintptr_t)p, (uintptr_t)p + usable);
    at_both_ends((uintptr_t)q, (uintptr_t)q + sh_usable_size(q), expect_silence);
}

/* memset, memcpy, memmove, memcmp, in the order of their numbers; the far end is the kernel's own. */

static uint8_t own[256];

struct call {
    unsigned function;
    void *p;
    size_t size;
};

static void call(void *arg)
{
    struct call *c = arg;

    switch (c->function) {
    case 0: memset(c->p, 0, c->size); break;
    case 1: memcpy(c->p, own, c->size); break;
    case 2: memcpy(own, c->p, c->size); break;
    case 3: memmove(c->p, own, c->size); break;
    case 4: memmove(own, c->p, c->size); break;
    case 5: (void)*(volatile int *)&(int){ memcmp(c->p, own, c->size) }; break;
    case 6: (void)*(volatile int *)&(int){ memcmp(own, c->p, c->size) }; break;
    }
}

static unsigned long reports_of(unsigned function, void *p, size_t size)
{
    struct call c = { function, p, size };
    unsigned long before = seen;

    expecting = true;
    call(&c);
    expecting = false;
    return seen - before;
}

static void memory_functions_are_checked(void)
{
    uint8_t *p;
    size_t usable;

    rig_start(0, config());
    p = alone(100);
    usable = sh_usable_size(p);
    for (unsigned function = 0; function < 7; function++) {
        bool write = function == 0 || function == 1 || function == 3;

        EXPECT_EQ(reports_of(function, p, usable), 0);
        EXPECT_EQ(reports_of(function, p + usable, 0), 0);
        if (TIER >= 2 && write)
            continue; /* would break what the tier checks at free */
        EXPECT_EQ(reports_of(function, p, usable + 1), 1);
        EXPECT_EQ(last.size, usable + 1);
        EXPECT_EQ(last.address, (uintptr_t)p);
        EXPECT_EQ(last.write, write);
        EXPECT_EQ(reports_of(function, p + usable, 1), 1);
        EXPECT_EQ(reports_of(function, p - 1, 2), 1);
    }
}

/* A report says what sh_explain knows: here whose end it is behind, or that it is free. */
static void the_heap_explains(void)
{
    uint8_t *p;

    rig_start(0, config());
    p = alone(48);
    sh_free(p);
    expect_report(&accesses[0], true, (uintptr_t)p + 5);
    rig_log_clear();
    sh_explain(last.address);
    EXPECT(t_contains(rig_log(), t_hex((uintptr_t)p + 5)));
    EXPECT(t_contains(rig_log(), "free"));
}

static void other_memory_is_not_watched(void)
{
    volatile uint32_t on_stack = 1;
    static volatile uint32_t in_bss;
    unsigned long checks = kasan_checked, reports = kasan_reported;

    rig_reset(); /* no heap at all */
    in_bss = on_stack + 1;
    EXPECT_EQ(in_bss, 2);
    rig_start(0, config());
    on_stack = in_bss;
    EXPECT_EQ(on_stack, 2);
    EXPECT_EQ(kasan_checked, checks);
    EXPECT_EQ(kasan_reported, reports);
}

static const struct test tests[] = {
    { "accesses_beside_an_object_are_reported", accesses_beside_an_object_are_reported },
    { "accesses_inside_are_silent", accesses_inside_are_silent },
    { "accesses_after_free_are_reported", accesses_after_free_are_reported },
    { "page_runs_are_watched", page_runs_are_watched },
    { "realloc_leaves_nothing_usable", realloc_leaves_nothing_usable },
    { "memory_functions_are_checked", memory_functions_are_checked },
    { "the_heap_explains", the_heap_explains },
    { "other_memory_is_not_watched", other_memory_is_not_watched },
};
SUITE(kasan, tests);
