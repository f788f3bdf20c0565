/*
 * Proves what the collector promises of single objects: what is kept, what goes, by which road, and what a
 * cycle leaves behind.
 */
#include "kernel-test/test_util.h"

#include "gc/gc.h"

#define ROOTS 64

/* Nothing but this array keeps an object: the rig reports no stacks to these tests. */
static void *root[ROOTS];

static void start(const struct sh_gc_config *config)
{
    for (unsigned i = 0; i < ROOTS; i++) {
        root[i] = NULL;
    }
    rig_start(0, NULL);
    EXPECT_EQ(sh_gc_init(config), SH_OK);
    EXPECT_EQ(sh_gc_add_root(root, sizeof root), SH_OK);
}

static struct sh_gc_config checked(void)
{
    struct sh_gc_config config = { .size = sizeof config, .check = true };
    return config;
}

static void start_checked(void)
{
    struct sh_gc_config config = checked();
    start(&config);
}

static bool lives(const void *p)
{
    struct sh_object object;
    return sh_object_of(p, &object);
}

static void what_no_root_reaches_goes(void)
{
    start_checked();
    void *kept = sh_gc_malloc(48, 0), *lost = sh_gc_malloc(48, 0);
    root[3] = kept;
    sh_gc_collect();
    EXPECT(lives(kept));
    EXPECT(!lives(lost));
    EXPECT_WHOLE();
    root[3] = NULL;
    sh_gc_collect();
    EXPECT(!lives(kept));
    EXPECT_WHOLE();
}

/* A sweep's frees are frees like any other.  (The second marker would count too: it takes pages.) */
static void what_goes_is_counted(void)
{
    struct sh_stats before, after;
    start(NULL);
    for (unsigned i = 0; i < ROOTS; i++) {
        root[i] = sh_gc_malloc(i % 8 == 0 ? 40000 : 48, 0);
    }
    sh_free(sh_malloc(100));
    sh_stats(&before);
    for (unsigned i = 0; i < ROOTS / 2; i++) {
        root[i] = NULL;
    }
    sh_gc_collect();
    sh_stats(&after);
    EXPECT_EQ(after.mallocs, before.mallocs);
    EXPECT_EQ(after.frees, before.frees + ROOTS / 2);
    EXPECT_EQ(after.live_objects, ROOTS / 2);
}

static void objects_are_zeroed_and_of_their_kind(void)
{
    static const uintptr_t first = 1;
    static const struct sh_gc_type type = { 2 * sizeof(void *), &first, "pair" };
    struct sh_object object;
    start_checked();
    for (unsigned round = 0; round < 3; round++) {
        for (size_t size = 0; size < 70000; size = size * 2 + 1) {
            for (unsigned flags = 0; flags <= SH_GC_UNCOLLECTABLE; flags++) {
                unsigned char *p = sh_gc_malloc(size, flags);
                EXPECT(p != NULL && t_is_zero(p, size));
                EXPECT(sh_object_of(p, &object));
                EXPECT_EQ(object.kind, flags == 0 ? SH_SCAN : flags == SH_GC_NOSCAN ? SH_NOSCAN : SH_UNCOLLECTABLE);
                for (size_t i = 0; i < size; i++) {
                    p[i] = 0x5A;
                }
                if (flags == SH_GC_UNCOLLECTABLE) {
                    sh_free(p);
                }
            }
        }
        void *pair = sh_gc_new(&type, 3);
        EXPECT(sh_object_of(pair, &object) && object.kind == SH_SCAN && t_is_zero(pair, object.size));
        sh_gc_collect();
        EXPECT_WHOLE();
    }
}

static void interior_pointers_keep_and_one_past_the_end_does_not(void)
{
    start_checked();
    char *a = sh_gc_malloc(64, 0), *b = sh_gc_malloc(64, 0), *c = sh_gc_malloc(200000, 0);
    size_t size = sh_usable_size(c);
    root[0] = a + 63;
    root[1] = c + size - 1;
    root[2] = b + 64; /* not b; what lies there may be another object */
    sh_gc_collect();
    EXPECT(lives(a));
    EXPECT(!lives(b));
    EXPECT(lives(c));
    root[1] = c + size;
    sh_gc_collect();
    EXPECT(!lives(c));
    EXPECT_WHOLE();
}

static void a_chain_through_every_kind_is_followed(void)
{
    static const uintptr_t second = 2;
    static const struct sh_gc_type type = { 2 * sizeof(void *), &second, "cell" };
    start_checked();
    void **a = sh_gc_malloc(100, 0), **b = sh_gc_new(&type, 1), **c = sh_gc_malloc(100000, 0);
    void **u = sh_gc_malloc(32, SH_GC_UNCOLLECTABLE), *leaf = sh_gc_malloc(40, SH_GC_NOSCAN);
    void *hidden = sh_gc_malloc(40, 0), **typed = sh_gc_new(&type, 50000);
    u[1] = a;
    a[9] = b;
    b[1] = c;
    b[0] = hidden; /* no pointer, says the type */
    c[12000] = typed;
    typed[2 * 49999 + 1] = leaf;
    typed[2 * 777] = hidden;
    *(void **)leaf = hidden; /* nobody looks */
    sh_gc_collect();
    EXPECT(lives(a) && lives(b) && lives(c) && lives(u) && lives(typed) && lives(leaf));
    EXPECT(!lives(hidden));
    EXPECT_WHOLE();
    sh_free(u);
    sh_gc_collect();
    EXPECT(!lives(a) && !lives(b) && !lives(c) && !lives(typed) && !lives(leaf));
    EXPECT_WHOLE();
}

static void what_manual_memory_refers_to_goes(void)
{
    start_checked();
    void **manual = sh_malloc(64);
    *manual = sh_gc_malloc(64, 0);
    sh_gc_collect();
    EXPECT(!lives(*manual));
    sh_free(manual);
}

#if __STDC_HOSTED__ && SH_MAX_CPUS > 1
static void collect(void *p)
{
    (void)p;
    sh_gc_collect();
}

/* It frees nothing, and loses nothing. */
static void a_cpu_that_sh_init_was_not_told_of_does_not_collect(void)
{
    struct sh_config config = { .size = sizeof(config), .cpus = 1, .hooks = rig_hooks() };
    struct sh_stats stats;

    rig_start(0, &config);
    EXPECT_EQ(sh_gc_init(NULL), SH_OK);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(sh_gc_malloc(i < 2 ? 100000 : 48, 0) != NULL);
    rig_cpu(SH_MAX_CPUS - 1);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "calls, and sh_config.cpus is 1", collect, NULL));
    rig_cpu(0);
    sh_stats(&stats);
    EXPECT_EQ(stats.live_objects, 4);
    EXPECT_WHOLE();
    sh_gc_collect();
    sh_stats(&stats);
    EXPECT_EQ(stats.live_objects, 0);
    EXPECT_WHOLE();
}
#endif

static const struct test tests[] = {
#if __STDC_HOSTED__ && SH_MAX_CPUS > 1
    { "a_cpu_that_sh_init_was_not_told_of_does_not_collect",
      a_cpu_that_sh_init_was_not_told_of_does_not_collect },
#endif
    { "what_no_root_reaches_goes", what_no_root_reaches_goes },
    { "what_goes_is_counted", what_goes_is_counted },
    { "objects_are_zeroed_and_of_their_kind", objects_are_zeroed_and_of_their_kind },
    { "interior_pointers_keep_and_one_past_the_end_does_not", interior_pointers_keep_and_one_past_the_end_does_not },
    { "a_chain_through_every_kind_is_followed", a_chain_through_every_kind_is_followed },
    { "what_manual_memory_refers_to_goes", what_manual_memory_refers_to_goes },
};

SUITE(collect, tests);
