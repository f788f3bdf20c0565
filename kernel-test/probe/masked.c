/*
 * The longest stretch of instructions for which the heap masks interrupts: loads of an image that is built
 * with probe/cpu.h, for several CPUs, of which the one that is there plays two.  Lines
 * bench masked/<what> <instructions>: at most MOST, but for gc-collect, where the world stands.
 */
#include "kernel-test/bench.h"

#include "gc/gc.h"

#define MIB ((size_t)1 << 20)
#define LARGE (64 * MIB)
#define MANY 60000u
#define FAR_BELOW ((uintptr_t)0x20000000u)

uint32_t probe_depth, probe_start, probe_longest;

#define MOST 3000u

static void say_unbounded(const char *name)
{
    bench_line("masked", name, probe_longest, 1, 0, "instructions");
    probe_longest = 0;
}

static void say(const char *name)
{
    bool too_long = probe_longest > MOST;

    say_unbounded(name);
    if (too_long)
        bench_fail("interrupts are masked for longer than is promised");
}

/* From an empty heap: growth, tables, frames. */
static void large(const char *name, size_t unused)
{
    void *p;

    (void)name;
    (void)unused;
    bench_heap(128 * MIB, false);
    probe_longest = 0;
    p = sh_malloc(LARGE);
    say("malloc-64M");
    if (p == NULL)
        bench_fail("no 64 MiB");
    sh_free(p);
    say("free-64M");
    p = sh_malloc(LARGE);
    say("malloc-64M-again");
    sh_free(p);
    sh_trim(0);
    say("trim-64M");
}

static void demand(const char *name, size_t unused)
{
    void *p;

    (void)name;
    (void)unused;
    bench_heap(128 * MIB, true);
    probe_longest = 0;
    p = sh_malloc(LARGE);
    if (p == NULL)
        bench_fail("no 64 MiB");
    sh_free(p);
    sh_trim(0);
    say("demand-64M");
}

static void small(const char *name, size_t size)
{
    void **held = bench_room(MANY * sizeof *held);
    unsigned count = 0;

    bench_heap(64 * MIB, false);
    probe_longest = 0;
    while (count < MANY && count * size < 16 * MIB)
        held[count++] = sh_malloc(size);
    for (unsigned i = 0; i < count; i += 2)
        sh_free(held[i]);
    for (unsigned i = 0; i < count; i += 2)
        held[i] = sh_malloc(size);
    for (unsigned i = 0; i < count; i++)
        sh_free(held[i]);
    sh_trim(0);
    say(name);
}

/* Objects of all sizes, replaced at random, in a tier. */
static void tier(const char *name, size_t number)
{
    struct bench_random random = { 1 };
    void **held = bench_room(1000 * sizeof *held);
    struct sh_stats stats;

    for (unsigned i = 0; i < 1000; i++)
        held[i] = NULL;
    bench_config.tier = (unsigned)number;
    bench_heap(number == 4 ? LARGE * 8 : LARGE, false);
    probe_longest = 0;
    for (unsigned i = 0; i < (number == 4 ? 4000 : 20000); i++) {
        void **slot = &held[bench_pick(&random, 1000)];

        sh_free(*slot);
        *slot = sh_malloc(bench_size(&random, 8, bench_pick(&random, 8) == 0 ? 13 : 7));
        if (i % 1000 == 0)
            sh_trim(MIB);
    }
    sh_stats(&stats);
    for (unsigned i = 0; i < 1000; i++)
        sh_free(held[i]);
    sh_trim(0);
    say(name);
}

/* A full window but for runs of two pages, none of them aligned: each place is looked at. */
static void aligned(const char *name, size_t unused)
{
    void **held = bench_room(MANY * sizeof *held);
    unsigned count = 0;

    (void)unused;
    bench_heap(LARGE, false);
    while (count < MANY && (held[count] = sh_alloc_pages(1)) != NULL)
        count++;
    for (unsigned i = 0; i < count; i++) {
        uintptr_t page = (uintptr_t)held[i] / SH_PAGE_SIZE % 4;

        if (page == 1 || page == 2)
            sh_free_pages(held[i]);
    }
    probe_longest = 0;
    if (sh_aligned_alloc(2 * SH_PAGE_SIZE, 2 * SH_PAGE_SIZE) != NULL || sh_alloc_pages(2) == NULL)
        bench_fail("no full window");
    say(name);
}

/* Frees on another CPU than the one that allocated: what that one takes in, and leaves behind when it goes.  All,
 * then ever fewer of a span. */
static void late(const char *name, size_t size)
{
    void **held = bench_room(MANY * sizeof *held);
    unsigned count = 0;

    bench_heap_of_two(LARGE);
    probe_longest = 0;
    for (unsigned step = 1; step < 8192; step *= 8) {
        for (count = 0; count < MANY && count * size < 16 * MIB; count++)
            held[count] = sh_malloc(size);
        bench_be(1);
        for (unsigned i = 0; i < count; i += step)
            sh_free(held[i]);
        bench_be(0);
        for (unsigned i = 0; i < count; i += step)
            held[i] = sh_malloc(size);
        for (unsigned i = 0; i < count; i += 2)
            sh_free(held[i]);
        bench_be(1);
        if (sh_cpu_offline(0) != SH_OK)
            bench_fail("not offline");
        for (unsigned i = 1; i < count; i += 2)
            sh_free(held[i]);
        sh_trim(0);
        bench_be(0);
        sh_trim(0);
    }
    say(name);
}

/* Two windows with nothing between them: what walks from one to the other. */
static void apart(const char *name, size_t unused)
{
    void *low, *high;

    (void)unused;
    bench_heap(16 * MIB, false);
    if (sh_add_window(FAR_BELOW, 16 * MIB) != SH_OK)
        bench_fail("no second window");
    probe_longest = 0;
    low = sh_malloc(12 * MIB);
    high = sh_malloc(12 * MIB);
    if (low == NULL || high == NULL)
        bench_fail("not both windows");
    sh_free(low);
    sh_free(high);
    sh_trim(0);
    (void)sh_aligned_alloc(4 * MIB, 12 * MIB);
    say(name);
}

/* Realloc in place and by moving, page runs, statistics of a heap of many spans. */
static void others(const char *name, size_t unused)
{
    struct sh_stats stats;
    char *p = NULL;

    (void)unused;
    bench_heap(64 * MIB, false);
    probe_longest = 0;
    for (size_t size = 100; size < 8 * MIB; size += size / 3)
        p = sh_realloc(p, size);
    sh_realloc(p, 100);
    sh_free_pages(sh_alloc_pages(100));
    say(name);
    for (unsigned i = 0; i < 20000; i++)
        (void)sh_malloc(i & 1 ? 200 : 8);
    (void)sh_malloc(40 * MIB);
    probe_longest = 0;
    sh_stats(&stats);
    sh_print_map();
    say("stats");
}

#ifndef WITHOUT_GC
static void *root[65];

/* Not what it masks at the stop that ends marking. */
static bool step(void)
{
    struct sh_gc_stats before, after;
    uint32_t longest = probe_longest;
    bool ended;

    sh_gc_stats(&before);
    ended = sh_gc_step(200);
    sh_gc_stats(&after);
    if (after.cycles != before.cycles)
        probe_longest = longest;
    return ended;
}

/* Lists of every size, words of several shapes in one span, one large object, and a table whose neighbours are in
 * different spans; what a round leaves is garbage. */
static void collected_round(void)
{
    static const uintptr_t shapes[] = { 1, 2, 3 };
    struct sh_gc_type type = { 4 * sizeof(void *), &shapes[0], "shape" };
    void **table = sh_gc_malloc(20000 * sizeof *table, 0);

    sh_gc_write(&root[64], table);

    for (unsigned i = 0; i < 20000; i++) {
        void **p;

        type.pointers = &shapes[i / 64 % 3];
        p = i % 4 == 0 ? sh_gc_new(&type, 1) : sh_gc_malloc(8 + i % 200 * (i % 16 == 0 ? 20 : 1), i % 4 == 1 ? SH_GC_NOSCAN : 0);
        if (p == NULL)
            bench_fail("out of memory");
        if (i % 4 == 2)
            sh_gc_write(p, root[i % 64]);
        sh_gc_write(&root[i % 64], p);
        sh_gc_write(&table[i], p);
        if (i % 50 == 0)
            step();
    }
    (void)sh_gc_new(&type, 900);
    sh_gc_copy(root, NULL, sizeof root);
}

/* Steps beside allocation, sweeps, frees; then what a collection masks while the world stands. */
static void collected(const char *name, size_t unused)
{
    (void)unused;
    bench_heap(64 * MIB, false);
    if (sh_gc_init(NULL) != SH_OK || sh_gc_add_root(root, sizeof root) != SH_OK)
        bench_fail("no collector");
    probe_longest = 0;
    for (unsigned i = 0; i < 4; i++)
        collected_round();
    while (!step())
        ;
    say(name);
    sh_gc_collect();
    say_unbounded("gc-collect");
}

static void never(void *object, void *arg)
{
    (void)object;
    (void)arg;
}

/* Spans of 8-byte objects, a finalizer and a weak reference at each: half of them are freed, the others lost. */
static void specials(const char *name, size_t unused)
{
    static void *object[3000];
    struct sh_gc_weak weak;

    (void)unused;
    bench_heap(64 * MIB, false);
    if (sh_gc_init(NULL) != SH_OK)
        bench_fail("no collector");
    probe_longest = 0;
    for (unsigned i = 0; i < 3000; i++) {
        object[i] = sh_gc_malloc(8, SH_GC_NOSCAN);
        if (object[i] == NULL || sh_gc_weak_create(&weak, object[i]) != SH_OK ||
            sh_gc_set_finalizer(object[i], never, NULL) != SH_OK)
            bench_fail("out of memory");
    }
    for (unsigned i = 0; i < 3000; i += 2)
        sh_free(object[i]);
    while (!step())
        ;
    sh_gc_run_finalizers(SIZE_MAX);
    say(name);
}

/* Ranges that come and go among many, before, in and after a cycle. */
static void roots(const char *name, size_t unused)
{
    static void *range[1000][2];

    (void)unused;
    bench_heap(64 * MIB, false);
    if (sh_gc_init(NULL) != SH_OK)
        bench_fail("no collector");
    probe_longest = 0;
    for (unsigned i = 0; i < 1000; i++)
        if (sh_gc_add_root(range[i], sizeof(void *)) != SH_OK)
            bench_fail("no root");
    for (unsigned i = 0; i < 1000; i += 2) {
        sh_gc_remove_root(range[i]);
        step();
    }
    say(name);
}
#endif

const struct bench_entry bench_masked_loads[] = {
    { large, 0, { "masked/malloc-64M" } },
    { demand, 0, { "masked/demand-64M" } },
    { small, 8, { "masked/small-8" } },
    { small, 64, { "masked/small-64" } },
    { small, 3000, { "masked/small-3000" } },
    { others, 0, { "masked/realloc" } },
    { aligned, 0, { "masked/aligned" } },
    { apart, 0, { "masked/windows-apart" } },
    { late, 8, { "masked/late-8" } },
    { late, 64, { "masked/late-64" } },
    { late, 1024, { "masked/late-1024" } },
    { tier, 1, { "masked/tier1" } },
    { tier, 2, { "masked/tier2" } },
    { tier, 3, { "masked/tier3" } },
    { tier, 4, { "masked/tier4" } },
#ifndef WITHOUT_GC
    { collected, 0, { "masked/gc-steps" } },
    { specials, 0, { "masked/gc-specials" } },
    { roots, 0, { "masked/gc-roots" } },
#endif
    { NULL, 0, { NULL } },
};
