/*
 * Proves the tiers: each is the first to notice an accident of its own kind, and the report says what a
 * person needs to find the cause; below it the same accident goes by unseen.
 */
#include "kernel-test/test_util.h"

static void start(unsigned tier)
{
    struct sh_config config = { .size = sizeof(config), .tier = tier, .hooks = rig_hooks() };

    /* No sampling but where a test asks for it. */
    if (tier == 3)
        config.guard_sample = SIZE_MAX;
    rig_start(0, &config);
}

static void start_sampling(unsigned tier, size_t each)
{
    const struct sh_config config = { .size = sizeof(config), .tier = tier, .guard_sample = each,
                                      .hooks = rig_hooks() };

    rig_start(0, &config);
}

/* Memory that the compiler must not think about: it is freed, or not the test's. */
static volatile uint8_t *bytes(void *p)
{
    return (volatile uint8_t *)p;
}

struct use {
    void *p;
    size_t size;
    void *result;
};

static void do_free(void *arg)
{
    sh_free(((struct use *)arg)->p);
}

static void do_malloc(void *arg)
{
    struct use *use = arg;
    use->result = sh_malloc(use->size);
}

static void do_realloc(void *arg)
{
    struct use *use = arg;
    use->result = sh_realloc(use->p, use->size);
}

static void do_free_sized(void *arg)
{
    struct use *use = arg;
    sh_free_sized(use->p, use->size);
}

static bool report_has(const char *text)
{
    return t_contains(rig_report(), text);
}

/* Written to after it was freed: noticed when the slot is used again, from tier 1. */
static bool write_after_free_is_noticed(size_t size, size_t offset)
{
    struct use use = { sh_malloc(size), size, NULL };
    uintptr_t at = (uintptr_t)use.p + offset;
    bool noticed;

    EXPECT(use.p != NULL);
    sh_free(use.p);
    bytes(use.p)[offset] ^= 0x40;
    noticed = rig_panics(SH_PANIC_MISUSE, t_hex(at), do_malloc, &use);
    if (noticed) {
        EXPECT(report_has("write after free"));
        EXPECT(use.result != NULL);
        sh_free(use.result);
        EXPECT_WHOLE();
    }
    return noticed;
}

static void write_after_free_is_found_at_reuse(void)
{
    static const size_t sizes[] = { 8, 48, 1024, 3000, 32768 };

    start(0);
    EXPECT(!write_after_free_is_noticed(48, 12));
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        start(1);
        EXPECT(write_after_free_is_noticed(sizes[i], 0));
        EXPECT(write_after_free_is_noticed(sizes[i], sizes[i] / 2));
        EXPECT(write_after_free_is_noticed(sizes[i], sizes[i] - 1));
    }
}

static void report_of_a_write_after_free_names_offset_and_bytes(void)
{
    struct use use = { NULL, 40, NULL };

    start(2);
    use.p = sh_malloc(40);
    sh_free(use.p);
    bytes(use.p)[12] = 0x41;
    bytes(use.p)[13] = 0x42;
    EXPECT(rig_panics(SH_PANIC_MISUSE, NULL, do_malloc, &use));
    EXPECT(report_has("12 bytes into a free 48-byte slot"));
    EXPECT(report_has("bytes: 0x41 0x42 0xdd"));
    EXPECT(report_has("freed at 0x"));
}

/* A zero is a byte like others: only what demand mode left without a frame may read so. */
static void a_zero_written_after_free_is_found(void)
{
    struct use use = { NULL, 40, NULL };

    start(1);
    use.p = sh_malloc(40);
    sh_free(use.p);
    bytes(use.p)[12] = 0;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "bytes: 0x0 0xdd", do_malloc, &use));
    EXPECT_WHOLE();
}

/* A large block's pages, and those of a run, are checked when somebody is given them again. */
static void write_after_free_of_pages_is_found_at_reuse(void)
{
    struct use use = { NULL, 9 * SH_PAGE_SIZE, NULL };
    volatile uint8_t *stale;

    start(1);
    use.p = sh_malloc(use.size);
    sh_free(use.p);
    bytes(use.p)[3 * SH_PAGE_SIZE + 77] = 1;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "write after free", do_malloc, &use));
    sh_free(use.result);
    use.p = sh_alloc_pages(9);
    stale = bytes(use.p);
    sh_free_pages(use.p);
    stale[9 * SH_PAGE_SIZE - 1] = 1;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "write after free", do_malloc, &use));
    EXPECT_WHOLE();
}

static void verify_finds_a_write_after_free(void)
{
    void *p;

    start(1);
    p = sh_malloc(100);
    sh_free(p);
    bytes(p)[50] = 1;
    rig_log_clear();
    EXPECT(sh_verify() != 0);
    EXPECT(t_contains(rig_log(), "write after free"));
    bytes(p)[50] = 0xDD;
    EXPECT_EQ(sh_verify(), 0);
}

/* Zero on free takes the place of the fill, and is checked likewise. */
static void zero_is_a_fill(void)
{
    const struct sh_config config = { .size = sizeof(config), .tier = 1, .zero = true,
                                      .hooks = rig_hooks() };
    struct use use = { NULL, 64, NULL };

    rig_start(0, &config);
    use.p = sh_malloc(64);
    t_fill(use.p, 64, 5);
    sh_free(use.p);
    EXPECT(t_is_zero((const void *)(uintptr_t)use.p, 64));
    bytes(use.p)[9] = 1;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "0x1 0x0", do_malloc, &use));
    EXPECT(t_is_zero(use.result, 64));
}

/* One byte past its end, inside its slot: noticed at the free, from tier 2. */
static bool overflow_is_noticed(size_t size, size_t distance)
{
    struct use use = { sh_malloc(size), 0, NULL };
    bool noticed;

    EXPECT(use.p != NULL);
    bytes(use.p)[size + distance] ^= 0x20;
    noticed = rig_panics(SH_PANIC_MISUSE, t_hex((uintptr_t)use.p), do_free, &use);
    if (noticed) {
        EXPECT(report_has("past the end"));
        EXPECT(report_has("allocated at 0x"));
        EXPECT(!sh_contains(use.p) || sh_usable_size(use.p) == 0);
        EXPECT_WHOLE();
    }
    return noticed;
}

static void overflow_by_a_byte_is_found_at_the_free(void)
{
    start(1);
    EXPECT(!overflow_is_noticed(33, 0));
    start(2);
    for (size_t size = 1; size <= 200; size++) {
        EXPECT(overflow_is_noticed(size, 0));
        EXPECT(overflow_is_noticed(size, 7));
    }
    EXPECT(overflow_is_noticed(1024, 0));
    EXPECT(overflow_is_noticed(32768, 0));
    EXPECT(overflow_is_noticed(100001, 0));
    EXPECT(overflow_is_noticed(3 * SH_PAGE_SIZE, 0));
}

/* What is written below an object lies in the red zone of the one before. */
static void underflow_is_found_at_the_free(void)
{
    struct use use = { NULL, 0, NULL };

    start(2);
    EXPECT(sh_malloc(40) != NULL);
    use.p = sh_malloc(40);
    bytes((void *)((uintptr_t)use.p - 1))[0] = 1;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "past the end of the 40-byte object", do_free, &use));
    EXPECT_WHOLE();
}

static void overflow_is_found_by_realloc_and_verify(void)
{
    struct use use = { NULL, 500, NULL };

    start(2);
    use.p = sh_malloc(100);
    bytes(use.p)[100] = 1;
    EXPECT(sh_verify() != 0);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_realloc(0x", do_realloc, &use));
    EXPECT(use.result != NULL);
    EXPECT_WHOLE();
}

static void size_is_exact_in_tier_2(void)
{
    struct use use = { NULL, 41, NULL };
    struct sh_object object;
    struct sh_stats before, after;

    start(2);
    use.p = sh_malloc(0);
    sh_stats(&before);
    use.p = sh_malloc(40);
    sh_stats(&after);
    EXPECT_EQ(after.live_bytes - before.live_bytes, 40);
    EXPECT_EQ(sh_usable_size(use.p), 40);
    EXPECT(sh_object_of((char *)use.p + 39, &object));
    EXPECT_EQ(object.size, 40);
    EXPECT(object.call_site != 0);
    EXPECT(!sh_object_of((char *)use.p + 40, NULL));
    EXPECT(rig_panics(SH_PANIC_MISUSE, "wrong size", do_free_sized, &use));
    use.p = sh_realloc(use.p, 44);
    EXPECT_EQ(sh_usable_size(use.p), 44);
    use.p = sh_realloc(use.p, 100000);
    EXPECT_EQ(sh_usable_size(use.p), 100000);
    use.p = sh_realloc(use.p, 3);
    EXPECT_EQ(sh_usable_size(use.p), 3);
    sh_free_sized(use.p, 3);
    EXPECT_WHOLE();
}

/* Alignment is promised by the size, whatever lies behind the object. */
static void alignment_is_the_same_in_every_tier(void)
{
    for (unsigned tier = 1; tier <= 4; tier++) {
        start(tier);
        for (size_t size = 8; size <= SH_PAGE_SIZE; size *= 2) {
            void *p = sh_malloc(size), *q = sh_aligned_alloc(4096, 24);
            EXPECT(p != NULL && q != NULL);
            EXPECT_EQ((uintptr_t)p & (size - 1), 0);
            EXPECT_EQ((uintptr_t)q & 4095, 0);
            t_fill(p, size, 1);
            t_fill(q, 24, 2);
            EXPECT(t_holds(p, size, 1) && t_holds(q, 24, 2));
            sh_free(p);
            sh_free(q);
        }
        EXPECT_WHOLE();
    }
}

static void double_free_names_the_sites(void)
{
    struct use use = { NULL, 0, NULL };

    start(2);
    use.p = sh_malloc(40);
    sh_free(use.p);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "free already", do_free, &use));
    EXPECT(report_has("freed at 0x"));
    EXPECT(report_has("allocated at 0x"));
    use.p = (char *)sh_malloc(40) + 20;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "20 bytes into a live 40-byte object", do_free, &use));
    EXPECT(report_has("allocated at 0x"));
}

/* A stale free of memory that would belong to somebody else by now: the quarantine has kept it back. */
static bool stale_free_is_noticed(void)
{
    struct use use = { sh_malloc(64), 0, NULL };
    void *other;
    bool noticed;

    sh_free(use.p);
    other = sh_malloc(64);
    noticed = rig_panics(SH_PANIC_MISUSE, "free already", do_free, &use);
    EXPECT_EQ(noticed, other != use.p);
    return noticed;
}

static void quarantine_keeps_freed_memory_back(void)
{
    const struct sh_config config = { .size = sizeof(config), .quarantine = 10000,
                                      .hooks = rig_hooks() };
    void *first, *large;
    unsigned others = 0;

    start(2);
    EXPECT(!stale_free_is_noticed());
    start(3);
    EXPECT(stale_free_is_noticed());
    EXPECT(report_has("held in quarantine"));
    EXPECT_WHOLE();
    /* On its own, in the default tier; what leaves it is used again. */
    rig_start(0, &config);
    EXPECT(stale_free_is_noticed());
    first = sh_malloc(1000);
    for (void *p = first; p != first || others == 0; others++) {
        sh_free(p);
        p = sh_malloc(1000);
        EXPECT(others < 100);
        if (p == first)
            break;
    }
    EXPECT(others >= 9);
    large = sh_malloc(40000);
    sh_free(large);
    EXPECT_WHOLE();
}

static void quarantine_is_given_up_when_memory_runs_out(void)
{
    const struct sh_config config = { .size = sizeof(config), .tier = 3, .quarantine = 4 * T_MIB,
                                      .hooks = rig_hooks() };

    rig_start(2 * T_MIB, &config);
    for (unsigned i = 0; i < 200; i++) {
        void *p = sh_malloc(40000);
        EXPECT(p != NULL);
        sh_free(p);
    }
    EXPECT_WHOLE();
}

/* The page behind a sampled object, and the one before, fault. */
static bool neighbours_fault(void *p, size_t size)
{
    uintptr_t end = mm_align_up((uintptr_t)p + size, SH_GRANULE_SIZE);
    uintptr_t page = mm_align_down((uintptr_t)p, SH_GRANULE_SIZE);

    return sh_arch_state(end) == SH_FAULT && sh_arch_state(page - 1) == SH_FAULT;
}

static void sampled_objects_lie_between_guard_pages(void)
{
    for (unsigned tier = 0; tier <= 3; tier++) {
        unsigned guarded = 0;
        static void *p[160];
        start_sampling(tier, 16);
        for (unsigned i = 0; i < 160; i++) {
            p[i] = sh_malloc(100 + i);
            t_fill(p[i], 100 + i, i);
            guarded += neighbours_fault(p[i], 100 + i);
        }
        /* One in 16 of 160: about ten. */
        EXPECT(guarded >= 5 && guarded <= 20);
        EXPECT_WHOLE();
        for (unsigned i = 0; i < 160; i++) {
            bool fenced = neighbours_fault(p[i], 100 + i);
            EXPECT(t_holds(p[i], 100 + i, i));
            sh_free(p[i]);
            EXPECT(!fenced || sh_arch_state((uintptr_t)p[i]) == SH_PREPARED);
        }
        EXPECT_WHOLE();
    }
    start(2);
    EXPECT(!neighbours_fault(sh_malloc(100), 100));
}

/* First in, first out: the page of a freed sample is the last to be used again. */
static void guard_pages_are_used_again_in_order(void)
{
    void *first, *next;
    unsigned between = 0;

    start_sampling(0, 1);
    first = sh_malloc(2000);
    EXPECT(neighbours_fault(first, 2000));
    sh_free(first);
    do {
        EXPECT(between++ < 200);
        next = sh_malloc(2000);
        sh_free(next);
    } while (next != first);
    EXPECT(between > 16);
    EXPECT_WHOLE();
}

static void sampled_object_moves_when_it_grows(void)
{
    uint8_t *p, *q;

    start_sampling(0, 1);
    p = sh_malloc(200);
    t_fill(p, 200, 9);
    q = sh_realloc(p, 5000);
    EXPECT(q != NULL && q != p);
    EXPECT(t_holds(q, 200, 9));
    q = sh_realloc(q, 100);
    EXPECT(t_holds(q, 100, 9));
    sh_free(q);
    EXPECT_WHOLE();
}

/* Tier 4: an object ends where a page ends that faults, and a freed one faults for ever. */
static void efence_faults_behind_and_after(void)
{
    static const size_t sizes[] = { 1, 8, 48, 4096, 10000, 100000, 600000 };

    start(4);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct sh_stats stats;
        struct sh_object object;
        uint8_t *p = sh_malloc(sizes[i]);
        uintptr_t end = mm_align_up((uintptr_t)p + sizes[i], SH_GRANULE_SIZE);
        EXPECT(p != NULL);
        t_fill(p, sizes[i], i);
        EXPECT(end - ((uintptr_t)p + sizes[i]) < SH_PAGE_SIZE);
        EXPECT_EQ(sh_arch_state(end), SH_FAULT);
        EXPECT(sh_object_of(p, &object) && object.size == sizes[i]);
        EXPECT(t_holds(p, sizes[i], i));
        sh_free(p);
        EXPECT_EQ(sh_arch_state((uintptr_t)p), SH_FAULT);
        EXPECT(!sh_contains(p) && !sh_object_of(p, NULL));
        sh_stats(&stats);
        EXPECT(stats.heap_fault != 0);
        EXPECT_WHOLE();
    }
}

static void efence_addresses_never_come_back(void)
{
    uintptr_t last = 0;

    start(4);
    for (unsigned i = 0; i < 100; i++) {
        void *p = sh_malloc(50 + i);
        EXPECT((uintptr_t)p > last);
        last = (uintptr_t)p;
        if (i % 3 != 0)
            sh_free(p);
    }
    EXPECT_EQ(sh_trim(0) & (SH_PAGE_SIZE - 1), 0);
    EXPECT((uintptr_t)sh_malloc(50) > last);
    EXPECT_WHOLE();
}

/* An old reference reads what is another object's by now, also if every object has a page of its own. */
static void efence_alone_faults_for_an_old_reference(void)
{
    for (unsigned tier = 0; tier <= 4; tier++) {
        bool again = false;
        uint8_t *p;

        start_sampling(tier, tier == 3 ? 1 : SIZE_MAX);
        p = sh_malloc(2000);
        EXPECT(p != NULL && (tier != 3 || neighbours_fault(p, 2000)));
        sh_free(p);
        for (unsigned i = 0; i < 300 && !again; i++) {
            uint8_t *q = sh_malloc(2000);
            EXPECT(q != NULL);
            again = q == p;
            EXPECT(!again || sh_arch_state((uintptr_t)p) == SH_READY);
            sh_free(q);
        }
        EXPECT_EQ(again, tier != 4);
        EXPECT(tier != 4 || sh_arch_state((uintptr_t)p) == SH_FAULT);
        EXPECT_WHOLE();
    }
}

static void efence_use_after_free_is_explained(void)
{
    struct use use = { NULL, 0, NULL };
    char *pages;

    start(4);
    use.p = sh_malloc(40);
    sh_free(use.p);
    rig_log_clear();
    sh_explain((uintptr_t)use.p + 3);
    EXPECT(t_contains(rig_log(), "3 bytes into a freed object of 40 bytes"));
    EXPECT(t_contains(rig_log(), "freed at 0x"));
    EXPECT(rig_panics(SH_PANIC_MISUSE, "free already: an object of 40 bytes", do_free, &use));
    pages = sh_alloc_pages(2);
    EXPECT(pages != NULL);
    EXPECT_EQ(sh_arch_state(mm_align_up((uintptr_t)pages + 2 * SH_PAGE_SIZE, SH_GRANULE_SIZE)), SH_FAULT);
    sh_free_pages(pages);
    EXPECT_EQ(sh_arch_state((uintptr_t)pages), SH_FAULT);
    EXPECT_WHOLE();
}

/* A handler must not flush: the page goes at the next call from a thread. */
static void efence_free_from_a_handler_is_settled_later(void)
{
    void *p;

    start(4);
    p = sh_malloc(40);
    rig_context(SH_INTERRUPT);
    EXPECT(sh_malloc(40) == NULL);
    sh_free(p);
    EXPECT(!sh_contains(p));
    rig_context(SH_THREAD);
    EXPECT_WHOLE();
    EXPECT(sh_malloc(40) != NULL);
    EXPECT_EQ(sh_arch_state((uintptr_t)p), SH_FAULT);
    EXPECT_WHOLE();
}

static void statistics_add_up_in_every_tier(void)
{
    for (unsigned tier = 0; tier <= 4; tier++) {
        struct sh_stats stats;
        void *p[20];
        start(tier);
        for (unsigned i = 0; i < 20; i++)
            p[i] = sh_malloc(10 + 300 * i);
        for (unsigned i = 0; i < 20; i += 2)
            sh_free(p[i]);
        sh_stats(&stats);
        EXPECT_EQ(stats.mallocs, 20);
        EXPECT_EQ(stats.frees, 10);
        EXPECT_EQ(stats.live_objects, 10);
        EXPECT(tier < 2 || stats.live_bytes == 10 * 10 + 300 * 100);
        EXPECT_WHOLE();
    }
}

static void tier_beyond_the_last_is_refused(void)
{
    const struct sh_config config = { .size = sizeof(config), .tier = 5 };

    rig_reset();
    EXPECT_EQ(sh_init(&config), SH_E_CONFIG);
}

static const struct test tests[] = {
    { "write_after_free_is_found_at_reuse", write_after_free_is_found_at_reuse },
    { "a_zero_written_after_free_is_found", a_zero_written_after_free_is_found },
    { "report_of_a_write_after_free_names_offset_and_bytes",
      report_of_a_write_after_free_names_offset_and_bytes },
    { "write_after_free_of_pages_is_found_at_reuse", write_after_free_of_pages_is_found_at_reuse },
    { "verify_finds_a_write_after_free", verify_finds_a_write_after_free },
    { "zero_is_a_fill", zero_is_a_fill },
    { "overflow_by_a_byte_is_found_at_the_free", overflow_by_a_byte_is_found_at_the_free },
    { "underflow_is_found_at_the_free", underflow_is_found_at_the_free },
    { "overflow_is_found_by_realloc_and_verify", overflow_is_found_by_realloc_and_verify },
    { "size_is_exact_in_tier_2", size_is_exact_in_tier_2 },
    { "alignment_is_the_same_in_every_tier", alignment_is_the_same_in_every_tier },
    { "double_free_names_the_sites", double_free_names_the_sites },
    { "quarantine_keeps_freed_memory_back", quarantine_keeps_freed_memory_back },
    { "quarantine_is_given_up_when_memory_runs_out", quarantine_is_given_up_when_memory_runs_out },
    { "sampled_objects_lie_between_guard_pages", sampled_objects_lie_between_guard_pages },
    { "guard_pages_are_used_again_in_order", guard_pages_are_used_again_in_order },
    { "sampled_object_moves_when_it_grows", sampled_object_moves_when_it_grows },
    { "efence_faults_behind_and_after", efence_faults_behind_and_after },
    { "efence_addresses_never_come_back", efence_addresses_never_come_back },
    { "efence_alone_faults_for_an_old_reference", efence_alone_faults_for_an_old_reference },
    { "efence_use_after_free_is_explained", efence_use_after_free_is_explained },
    { "efence_free_from_a_handler_is_settled_later", efence_free_from_a_handler_is_settled_later },
    { "statistics_add_up_in_every_tier", statistics_add_up_in_every_tier },
    { "tier_beyond_the_last_is_refused", tier_beyond_the_last_is_refused },
};

SUITE(tiers, tests);
