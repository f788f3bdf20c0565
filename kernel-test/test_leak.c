/*
 * Proves the leak check against a ledger: it tells of each manual object that nothing reaches, once, with its
 * size and (tier 2) who allocated it, and of no other; it changes nothing, and may run at any time.
 */
#include "kernel-test/test_gc_util.h"

#define BLOCKS 160u

/* What the test knows of each manual block. */
static struct block {
    uintptr_t base;
    size_t size;
    bool leaked, told;
} block[BLOCKS];
static unsigned count;
static unsigned strange; /* reports of no block */
static bool want_sites;
static uintptr_t site; /* of the one call that allocates; 0 = not told yet */

static void told(const struct sh_object *object, void *arg)
{
    EXPECT(arg == &count);
    for (unsigned i = 0; i < count; i++) {
        if (block[i].base == object->base) {
            EXPECT(!block[i].told && object->live && object->kind == SH_MANUAL && object->size >= block[i].size);
            EXPECT(!want_sites || (object->call_site != 0 && object->size == block[i].size));
            site = site == 0 ? object->call_site : site;
            EXPECT_EQ(object->call_site, site);
            block[i].told = true;
            return;
        }
    }
    strange++;
}

static __attribute__((noinline)) void *block_of(size_t size)
{
    void *p = sh_calloc(1, size);
    EXPECT(p != NULL && count < BLOCKS);
    block[count++] = (struct block){ (uintptr_t)p, size, false, false };
    return p;
}

static size_t leaks(void)
{
    size_t expected = 0;
    for (unsigned i = 0; i < count; i++) {
        block[i].told = false;
        expected += block[i].leaked;
    }
    strange = 0;
    EXPECT_EQ(sh_leak_check(told, &count), expected);
    EXPECT_EQ(strange, 0);
    for (unsigned i = 0; i < count; i++) {
        if (block[i].told != block[i].leaked) {
            t_fail(__FILE__, __LINE__, "block %u of %zu bytes is %s", i, block[i].size,
                   block[i].leaked ? "leaked, and not told" : "told, and not leaked");
        }
    }
    EXPECT_EQ(sh_leak_check(NULL, NULL), expected);
    return expected;
}

static void lose(const void *p)
{
    for (unsigned i = 0; i < count; i++) {
        block[i].leaked |= block[i].base == (uintptr_t)p;
    }
}

static void start(unsigned tier)
{
    t_gc_start_tier(tier);
    count = 0;
    want_sites = tier >= 2;
    site = 0;
}

/* Roots, live collected objects of every kind but noscan, and manual objects that are reached keep one. */
static void what_reaches_a_block_keeps_it(void)
{
    start(0);
    void **rooted = t_root[0] = block_of(64), **by_manual = block_of(100000), *interior = block_of(500);
    void **object = t_root[1] = t_gc_take(64, 0), **fixed = t_gc_take(32, SH_GC_UNCOLLECTABLE);
    void **silent = t_root[2] = t_gc_take(64, SH_GC_NOSCAN), **large = t_root[3] = t_gc_take(200000, 0);
    void *by_object = block_of(16), *by_fixed = block_of(24), *by_silent = block_of(16), *by_large = block_of(40);
    rooted[7] = by_manual;
    by_manual[12000] = (char *)interior + 499;
    object[3] = by_object;
    fixed[1] = by_fixed;
    silent[0] = by_silent;
    large[20000] = by_large;
    lose(by_silent);
    lose(block_of(8));
    EXPECT_EQ(leaks(), 2);
    rooted[7] = NULL;
    lose(by_manual);
    lose(interior);
    EXPECT_EQ(leaks(), 4);
    EXPECT_WHOLE();
}

static uintptr_t thread[2]; /* its stack */

static void scan_stacks(void (*scan)(const void *, const void *, void *), void *arg)
{
    scan(thread, &thread[2], arg);
}

/* A stack keeps one as a root does, and what that refers to. */
static void what_a_stack_holds_is_no_leak(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config heap = { .size = sizeof heap, .hooks = &hooks };
    hooks.scan_stacks = scan_stacks;
    thread[0] = thread[1] = 0;
    start(0);
    t_gc_start(0, &heap, NULL);
    void **held = block_of(64), *below = block_of(3000);
    held[2] = below;
    thread[1] = (uintptr_t)held + 63;
    lose(block_of(64));
    EXPECT_EQ(leaks(), 1);
    thread[1] = 0;
    lose(held);
    lose(below);
    EXPECT_EQ(leaks(), 3);
    EXPECT_WHOLE();
}

static void rings_of_blocks_are_leaks(void)
{
    start(0);
    void **first = block_of(48), **last = first;
    for (unsigned i = 0; i < 20; i++) {
        void **next = block_of(48);
        *last = next;
        last = next;
    }
    *last = first;
    t_root[0] = last;
    EXPECT_EQ(leaks(), 0);
    t_root[0] = NULL;
    for (unsigned i = 0; i < count; i++) {
        block[i].leaked = true;
    }
    EXPECT_EQ(leaks(), 21);
    EXPECT_WHOLE();
}

/* Dead objects keep nothing once the cycle has found that out. */
static void what_was_collected_keeps_no_block(void)
{
    start(0);
    void **object = t_root[0] = t_gc_take(64, 0);
    object[1] = block_of(80);
    EXPECT_EQ(leaks(), 0);
    t_root[0] = NULL;
    t_gc_step_to(GC_SWEEP, 1); /* not swept yet, and gone all the same */
    lose(object[1]);
    EXPECT_EQ(leaks(), 1);
    sh_gc_collect();
    EXPECT_EQ(leaks(), 1);
}

static void never(void *object, void *arg)
{
    (void)object;
    (void)arg;
}

static void a_finalizer_that_is_due_keeps_blocks(void)
{
    start(0);
    void **object = t_gc_take(64, 0);
    object[1] = block_of(80);
    void *p = object[1];
    EXPECT_EQ(sh_gc_set_finalizer(object, never, NULL), SH_OK);
    sh_gc_collect();
    EXPECT_EQ(leaks(), 0);
    EXPECT_EQ(sh_gc_run_finalizers(1), 1);
    sh_gc_collect();
    lose(p);
    EXPECT_EQ(leaks(), 1);
}

/* The cycle's own bits are left alone: it ends as if nothing had been. */
static void a_check_in_any_phase_changes_nothing(void)
{
    for (enum gc_phase phase = GC_IDLE; phase <= GC_SWEEP; phase++) {
        if (phase == GC_WEAK || phase == GC_FINALIZERS || phase == GC_REVIVE) {
            continue;
        }
        start(0);
        void **object = t_root[0] = t_gc_take(64, 0), *dead = t_gc_take(64, 0);
        object[1] = block_of(80);
        for (unsigned i = 0; i < 300; i++) {
            void **cell = t_gc_take(16, 0);
            *cell = t_root[1];
            t_root[1] = cell;
        }
        lose(block_of(80));
        if (phase != GC_IDLE) {
            t_gc_step_to(phase, 1);
        }
        EXPECT_EQ(leaks(), 1);
        EXPECT_EQ(gc.phase, phase);
        EXPECT_EQ(sh_verify(), 0);
        t_gc_step_to(GC_IDLE, 16);
        sh_gc_collect();
        EXPECT(t_lives(object) && !t_lives(dead));
        EXPECT_EQ(t_gc_live_count(), 301);
        EXPECT_WHOLE();
    }
}

static void random_blocks(unsigned tier)
{
    uint32_t seed = 99 + tier;
    start(tier);
    for (unsigned i = 0; i < BLOCKS - 1; i++) {
        void **p = block_of(8 + t_below(&seed, i % 30 == 0 ? 40000 : 300));
        uint32_t draw = t_below(&seed, 4);
        if (draw == 0) {
            lose(p);
        } else if (draw == 1 || i < 2) {
            t_root[i] = p;
        } else {
            void **object = t_gc_take(3 * T_WORD, 0);
            object[0] = t_root[T_ROOTS - 1];
            object[1] = p;
            t_root[T_ROOTS - 1] = object;
        }
    }
    leaks();
    /* What is freed is told no more. */
    for (unsigned i = 0; i < count; i++) {
        if (block[i].leaked && t_below(&seed, 2) == 0) {
            sh_free((void *)block[i].base);
            block[i].leaked = false;
        }
    }
    leaks();
    EXPECT_WHOLE();
}

static void a_random_ledger_is_met_in_every_tier(void)
{
    for (unsigned tier = 0; tier <= 4; tier++) {
        if (tier < 4 || t_has_memory(3 * BLOCKS * SH_GRANULE_SIZE)) {
            random_blocks(tier);
        }
    }
}

static size_t told_count;

static void count_told(const struct sh_object *object, void *arg)
{
    (void)arg;
    told_count += object->live;
}

/* Also where there is no memory for its marks: then it says so. */
static void without_memory_for_marks_it_says_so(void)
{
    t_gc_start(4 * T_MIB, NULL, NULL);
    void *lost = sh_malloc(100);
    EXPECT(lost != NULL);
    unsigned held = t_drain(1, T_MAX_HELD);
    told_count = 0;
    EXPECT_EQ(sh_leak_check(count_told, NULL), SIZE_MAX);
    EXPECT_EQ(told_count, 0);
    t_release(held);
    EXPECT_EQ(sh_leak_check(count_told, NULL), 1);
    EXPECT_EQ(told_count, 1);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "what_reaches_a_block_keeps_it", what_reaches_a_block_keeps_it },
    { "what_a_stack_holds_is_no_leak", what_a_stack_holds_is_no_leak },
    { "rings_of_blocks_are_leaks", rings_of_blocks_are_leaks },
    { "what_was_collected_keeps_no_block", what_was_collected_keeps_no_block },
    { "a_finalizer_that_is_due_keeps_blocks", a_finalizer_that_is_due_keeps_blocks },
    { "a_check_in_any_phase_changes_nothing", a_check_in_any_phase_changes_nothing },
    { "a_random_ledger_is_met_in_every_tier", a_random_ledger_is_met_in_every_tier },
    { "without_memory_for_marks_it_says_so", without_memory_for_marks_it_says_so },
};

SUITE(leak, tests);
