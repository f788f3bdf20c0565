/*
 * Proves that collected objects have what the heap's tiers and modes promise, and that a collection needs
 * nothing: fills, red zones, call sites, quarantine, samples, efence, `zero`, `demand`; every hook failing at
 * every call; no frame and no heap memory left.
 */
#include "kernel-test/test_gc_util.h"

#include "mm/guard.h"

static void take_it(void *arg)
{
    *(void **)arg = sh_gc_malloc(48, 0);
}

static void free_it(void *arg)
{
    sh_free(arg);
}

static void collect_it(void *arg)
{
    (void)arg;
    sh_gc_collect();
}

/* ---- tiers ---- */

static void a_heap_in_every_tier_collects(void)
{
    for (unsigned tier = 0; tier <= 4; tier++) {
        t_gc_start_tier(tier);
        for (unsigned round = 0; round < 3; round++) {
            void **p = NULL, *first = NULL;
            for (unsigned i = 0; i < 60; i++) {
                void **next = t_gc_take(8 + 60 * i, i % 3 == 2 ? SH_GC_NOSCAN : 0);
                EXPECT(t_is_zero(next, 8 + 60 * i));
                first = first == NULL ? next : first;
                if (i % 3 != 2) {
                    *next = p;
                    p = next;
                }
            }
            t_root[0] = p;
            sh_gc_collect();
            EXPECT(t_lives(first));
            EXPECT_EQ(t_gc_live_count(), 40);
            EXPECT_WHOLE();
            t_root[0] = NULL;
            t_gc_step_to(GC_IDLE, 100);
            EXPECT_EQ(t_gc_live_count(), 0);
            EXPECT_WHOLE();
        }
    }
}

/* What a sweep freed is filled, and a later write to it is found when the slot is used again. */
static void a_write_after_the_sweep_is_found(void)
{
    void *taken;
    t_gc_start_tier(1);
    void *kept = t_root[0] = t_gc_take(48, 0);
    unsigned char *lost = t_gc_take(48, 0);
    sh_gc_collect();
    EXPECT(t_lives(kept) && !t_lives(lost));
    for (unsigned i = 0; i < 48; i++) {
        EXPECT_EQ(lost[i], MM_FILL_FREED);
    }
    lost[13] = 1;
    EXPECT(sh_verify() != 0 && t_contains(rig_log(), "write after free"));
    EXPECT(rig_panics(SH_PANIC_MISUSE, "write after free", take_it, &taken));
    EXPECT(taken != NULL && t_is_zero(taken, 48));
    EXPECT_WHOLE();
}

/* The size asked for counts to the byte; a write behind it is found by the sweep, or by sh_free. */
static void a_write_behind_an_object_is_found(void)
{
    t_gc_start_tier(2);
    for (unsigned by_hand = 0; by_hand < 2; by_hand++) {
        for (size_t size = 40; size < 50000; size = size * 30) {
            struct sh_object object;
            unsigned char *p = t_gc_take(size, 0);
            EXPECT(sh_object_of(p, &object) && object.size == size && object.call_site != 0);
            EXPECT_EQ(sh_usable_size(p), size);
            p[size] = 0;
            if (by_hand != 0) {
                EXPECT(rig_panics(SH_PANIC_MISUSE, "written past the end", free_it, p));
            } else {
                EXPECT(rig_panics(SH_PANIC_MISUSE, "written past the end", collect_it, NULL));
            }
            EXPECT(t_contains(rig_report(), "allocated at"));
            EXPECT(!t_lives(p));
            EXPECT_WHOLE();
        }
    }
}

static void reports_name_who_freed_a_collected_object(void)
{
    t_gc_start_tier(2);
    void *p = t_gc_take(48, 0);
    t_root[0] = t_gc_take(48, 0);
    sh_free(p);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "freed at", free_it, p));
    rig_log_clear();
    sh_explain((uintptr_t)p);
    EXPECT(t_contains(rig_log(), "freed at"));
}

/* With `zero` nobody sees a byte of what was swept, whatever allocates there next. */
static void swept_memory_is_zeroed_where_that_was_asked_for(void)
{
    const struct sh_config heap = { .size = sizeof heap, .zero = true, .hooks = rig_hooks() };
    t_gc_start(4 * T_MIB, &heap, NULL);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 150; i++) {
            size_t size = 16 + 90 * i;
            void *p = t_gc_take(size, SH_GC_NOSCAN);
            t_fill(p, size, i);
        }
        sh_gc_collect();
        unsigned held = t_drain(1, 120);
        for (unsigned i = 0; i < held; i++) {
            EXPECT(t_is_zero(t_held[i], SH_PAGE_SIZE));
        }
        t_release(held);
        EXPECT_WHOLE();
    }
}

static void samples_and_quarantine_leave_the_collector_alone(void)
{
    const struct sh_config heap = {
        .size = sizeof heap, .guard_sample = 5, .quarantine = 64 * T_KIB, .hooks = rig_hooks()
    };
    const struct sh_gc_config config = { .size = sizeof config, .check = true };
    uint32_t seed = 8;
    t_gc_start(0, &heap, &config);
    for (unsigned i = 0; i < 2000; i++) {
        void *manual = sh_malloc(t_below(&seed, 300));
        EXPECT(manual != NULL);
        sh_free(manual);
        t_root[t_below(&seed, 64)] = t_gc_take(t_below(&seed, 300), i & 1);
        if (i % 300 == 0) {
            sh_gc_collect();
            EXPECT(t_gc_live_count() <= 64);
        }
    }
    EXPECT_WHOLE();
}

/* Efence: the object ends where the page does, and a touch behind it faults; collected, all of it does. */
static void a_fenced_object_ends_at_its_fence(void)
{
    t_gc_start_tier(4);
    for (size_t size = 64; size < 40000; size = size * 3 + 8) {
        char *p = t_root[0] = t_gc_take(size, 0);
        uintptr_t end = (uintptr_t)p + sh_usable_size(p), page = (end + SH_ARCH_PAGE_SIZE - 1) & ~(SH_ARCH_PAGE_SIZE - 1);
        EXPECT(page - end < SH_ARCH_PAGE_SIZE && sh_arch_state(page) == SH_FAULT);
        sh_gc_collect();
        EXPECT(t_lives(p) && sh_arch_state((uintptr_t)p) == SH_READY);
        t_root[0] = NULL;
        sh_gc_collect();
        EXPECT(!t_lives(p) && sh_arch_state((uintptr_t)p) == SH_FAULT);
        EXPECT_WHOLE();
    }
}

/* ---- demand ---- */

/* Marking skips pages without a frame: it takes none, and finds what lies in the others. */
static void untouched_pages_are_skipped(void)
{
    const struct sh_config heap = { .size = sizeof heap, .demand = true, .hooks = rig_hooks() };
    const struct sh_gc_config config = { .size = sizeof config, .check = true };
    if (!t_has_memory(8 * T_MIB)) {
        return;
    }
    t_gc_start(0, &heap, &config);
    size_t size = 3 * T_MIB, words = size / T_WORD;
    for (unsigned steps = 0; steps < 2; steps++) {
        void **p = t_gc_take(size, 0);
        t_root[0] = p;
        size_t page = SH_GRANULE_SIZE / T_WORD;
        p[3 * page + 5] = t_gc_take(40, 0);
        p[words - 1] = t_gc_take(40, SH_GC_NOSCAN);
        size_t held = rig_frames_held();
        EXPECT(held < size / 2);
        if (steps != 0) {
            t_gc_step_to(GC_IDLE, 500);
        } else {
            sh_gc_collect();
        }
        EXPECT(rig_frames_held() <= held + 16 * SH_GRANULE_SIZE);
        EXPECT(t_lives(p) && t_lives(p[3 * page + 5]) && t_lives(p[words - 1]));
        t_root[0] = NULL;
        sh_gc_collect();
        EXPECT(!t_lives(p));
        EXPECT_WHOLE();
    }
}

/* Of one type and of several, one object and arrays. */
static void types_count_on_demand_too(void)
{
    static const uintptr_t second = 2, third = 4;
    static const struct sh_gc_type type[2] = { { 4 * T_WORD, &second, "second" }, { 4 * T_WORD, &third, "third" } };
    static const size_t counts[] = { 1, 3, 100, 5000 };
    const struct sh_config heap = { .size = sizeof heap, .demand = true, .hooks = rig_hooks() };
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned mixed = 0; mixed < 2; mixed++) {
            t_gc_start(0, &heap, NULL);
            for (unsigned k = 0; k < 5; k++) {
                unsigned kind = mixed & k;
                void **p = t_root[k] = sh_gc_new(&type[kind], counts[i]);
                size_t last = 4 * (counts[i] - 1);
                p[last + 1] = t_gc_take(40, 0);
                p[last + 2] = t_gc_take(40, 0);
            }
            sh_gc_collect();
            for (unsigned k = 0; k < 5; k++) {
                void **last = (void **)t_root[k] + 4 * (counts[i] - 1);
                EXPECT(t_lives(last[1]) == ((mixed & k) == 0) && t_lives(last[2]) == ((mixed & k) != 0));
            }
            EXPECT_WHOLE();
        }
    }
}

static void start_on_demand(void)
{
    const struct sh_config heap = { .size = sizeof heap, .demand = true, .hooks = rig_hooks() };
    t_gc_start(0, &heap, NULL);
}

/* Roots and manual objects that nobody has touched get no frame by being looked at. */
static void looking_commits_nothing(void)
{
    bool there[100];
    if (MM_GRANULE_PAGES > 1) {
        t_skip("frames come for several heap pages at once: the leak check's own are neighbours");
        return;
    }
    start_on_demand();
    uintptr_t table = (uintptr_t)sh_malloc(100000);
    EXPECT_EQ(sh_gc_add_root((void *)table, 100000), SH_OK);
    for (unsigned i = 0; i < 100; i++) {
        t_root[i] = sh_malloc(1000);
        there[i] = sh_arch_state((uintptr_t)t_root[i]) == SH_READY;
    }
    EXPECT(!there[99]);
    sh_gc_collect();
    EXPECT_EQ(sh_leak_check(NULL, NULL), 1);
    for (unsigned i = 0; i < 100; i++) {
        EXPECT((sh_arch_state((uintptr_t)t_root[i]) == SH_READY) == there[i]);
        EXPECT_EQ(sh_arch_state(table + 1000 * i), SH_PREPARED);
    }
    EXPECT_WHOLE();
}

/* A store through the barrier is the first touch of its page, and dead spans must be swept for its frame. */
static void the_barrier_may_touch_first(void)
{
    for (unsigned copy = 0; copy < 2; copy++) {
        start_on_demand();
        for (unsigned i = 0; i < 300; i++) {
            t_fill(t_gc_take(5000, 0), 5000, i);
        }
        uintptr_t *p = t_root[0] = t_gc_take(20000 * T_WORD, 0);
        t_gc_step_to(GC_SWEEP, 1);
        rig_frame_budget(rig_frames_held());
        if (copy != 0) {
            sh_gc_copy(&p[5000], &p[10000], 5000 * T_WORD);
        } else {
            sh_gc_write(&p[10000], p);
        }
        rig_frame_budget(0);
        EXPECT_EQ(p[10000], copy != 0 ? 0 : (uintptr_t)p);
        t_gc_step_to(GC_IDLE, 1000);
        EXPECT_WHOLE();
    }
}

/* ---- want of memory ---- */

static void fill_up(void)
{
    for (unsigned i = 0; i < 400; i++) {
        void **p = t_gc_take(900, 0);
        *p = i % 3 == 0 ? t_root[0] : NULL;
        t_root[0] = i % 3 == 0 ? p : t_root[0];
    }
}

static void never(void *object, void *arg)
{
    (void)object;
    (void)arg;
}

/* Neither a frame nor a page nor a record is left; at once and in steps, with all kinds of records out. */
static void a_collection_needs_no_memory(void)
{
    struct sh_gc_weak weak;
    for (unsigned steps = 0; steps < 2; steps++) {
        t_gc_start(4 * T_MIB, NULL, NULL);
        fill_up();
        for (unsigned i = 0; i < 20; i++) {
            void *p = t_gc_take(100, i & 1);
            EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
            EXPECT_EQ(sh_gc_set_finalizer(p, never, NULL), SH_OK);
        }
        t_gc_take(70000, SH_GC_UNCOLLECTABLE);
        unsigned held = t_drain(1, T_MAX_HELD);
        EXPECT(sh_alloc_pages(1) == NULL);
        rig_frame_budget(1);
        rig_fail(1, true);
        if (steps != 0) {
            t_gc_step_to(GC_IDLE, 64);
        } else {
            sh_gc_collect();
        }
        EXPECT_EQ(rig_failed(), 0);
        EXPECT_EQ(t_gc_live_count(), 134 + 20 + 1); /* the 20 until they ran */
        EXPECT(sh_gc_weak_get(weak) == NULL);
        rig_fail(0, false);
        rig_frame_budget(0);
        EXPECT_EQ(sh_gc_run_finalizers(SIZE_MAX), 20);
        t_release(held);
        EXPECT_WHOLE();
    }
}

/* What is dead is found before NULL is given, small and large. */
static void an_allocation_collects_before_it_fails(void)
{
    t_gc_start(4 * T_MIB, NULL, NULL);
    for (unsigned i = 0; i < 3000; i++) {
        t_gc_take(i % 7 == 0 ? 200000 : 8000, i & 1);
    }
    EXPECT(gc.stats.cycles > 3);
    EXPECT(sh_gc_malloc(5 * T_MIB, 0) == NULL);
    rig_frame_budget(rig_frames_held() + 512 * T_KIB); /* all that was idle went back */
    for (unsigned i = 0; i < 1000; i++) {
        t_gc_take(8000, i & 1);
    }
    rig_frame_budget(0);
    EXPECT_WHOLE();
}

static void what_is_kept_makes_allocations_fail(void)
{
    t_gc_start(4 * T_MIB, NULL, NULL);
    size_t count = 0;
    for (void **p; (p = sh_gc_malloc(5000, 0)) != NULL; count++) {
        *p = t_root[0];
        t_root[0] = p;
    }
    EXPECT(count > 300);
    EXPECT_EQ(t_gc_live_count(), count);
    EXPECT(sh_gc_malloc(8000, SH_GC_NOSCAN) == NULL);
    t_root[0] = NULL;
    EXPECT(sh_gc_malloc(8000, SH_GC_NOSCAN) != NULL);
    EXPECT_WHOLE();
}

static void a_low_limit_is_met_by_collecting(void)
{
    t_gc_start(0, NULL, NULL);
    fill_up();
    sh_gc_collect();
    EXPECT_EQ(sh_set_limit(rig_frames_held() + 40 * SH_GRANULE_SIZE), SH_OK);
    size_t limit = rig_frames_held() + 40 * SH_GRANULE_SIZE;
    for (unsigned i = 0; i < 4000; i++) {
        t_gc_take(3000, i & 1);
        EXPECT(rig_frames_held() <= limit);
    }
    EXPECT(gc.stats.cycles > 2);
    EXPECT_EQ(t_gc_live_count() >= 134, true);
    EXPECT_WHOLE();
}

/* A story whose every hook call fails in turn: what is live stays whole, and the story goes on. */
static bool tell(void)
{
    static const uintptr_t mask = 2;
    static const struct sh_gc_type type = { 2 * T_WORD, &mask, "pair" };
    bool all = true;
    struct sh_gc_weak weak;
    for (unsigned i = 0; i < 40; i++) {
        void **p = i % 4 == 3 ? sh_gc_new(&type, 1 + 700 * (i & 8)) : sh_gc_malloc((i * i * 9) & 16383, i % 4 == 1);
        all &= p != NULL;
        if (p != NULL && i % 4 != 1 && sh_usable_size(p) >= 2 * T_WORD) {
            sh_gc_write(&p[1], t_root[0]);
            sh_gc_write(&t_root[0], p);
            all &= sh_gc_weak_create(&weak, p) == SH_OK;
        }
        void *grown = p == NULL || i % 4 == 1 ? NULL : t_root[0] == p ? sh_realloc(p, 3000 + 1000 * i) : NULL;
        if (grown != NULL) {
            sh_gc_write(&t_root[0], grown);
        }
        all &= t_root[0] != p || grown != NULL || i % 4 == 1;
        sh_gc_step(100);
    }
    all &= sh_gc_malloc(300000, 0) != NULL;
    sh_gc_collect();
    return all;
}

static size_t chain(void)
{
    size_t count = 0;
    for (void **p = t_root[0]; p != NULL; p = p[1]) {
        EXPECT(t_lives(p));
        count++;
    }
    return count;
}

static void fail_in_tier(unsigned tier, unsigned long step)
{
    const struct sh_config heap = { .size = sizeof heap, .tier = tier, .hooks = rig_hooks() };
    for (unsigned on = 0; on < 2; on++) {
        for (unsigned long nth = 1;; nth += step) {
            t_gc_start(0, &heap, NULL);
            rig_fail(nth, on != 0);
            bool told = tell();
            bool failed = rig_failed() != 0;
            rig_fail(0, false);
            chain();
            EXPECT_WHOLE();
            EXPECT(told || failed);
            EXPECT(tell());
            EXPECT(chain() > 10);
            EXPECT_WHOLE();
            if (!failed) {
                break;
            }
        }
    }
}

static void every_hook_call_may_fail(void)
{
    fail_in_tier(0, rig_is_machine() ? 67 : 1);
    fail_in_tier(2, rig_is_machine() ? 131 : 5);
    if (t_has_memory(100 * SH_GRANULE_SIZE + 8 * T_MIB)) {
        fail_in_tier(4, rig_is_machine() ? 131 : 5);
    }
}

/* ---- the cost of records ---- */

enum load { MANUAL, MANUAL_BESIDE, NOSCAN, CONSERVATIVE, TYPED };

/* Metadata that 512 objects of 4 KiB take. */
static size_t records_of(enum load load)
{
    static const uintptr_t mask[4096 / T_WORD / MM_WORD_BITS] = { 1 };
    static const struct sh_gc_type type = { 4096, mask, "first" };
    struct sh_stats before, after;
    rig_start(0, NULL);
    if (load != MANUAL) {
        EXPECT_EQ(sh_gc_init(NULL), SH_OK);
    }
    sh_stats(&before);
    for (unsigned i = 0; i < 512; i++) {
        EXPECT((load <= MANUAL_BESIDE ? sh_malloc(4096)
                : load == TYPED       ? sh_gc_new(&type, 1)
                                      : sh_gc_malloc(4096, load == NOSCAN ? SH_GC_NOSCAN : 0)) != NULL);
    }
    sh_stats(&after);
    return after.meta_bytes - before.meta_bytes;
}

/* Bitmaps of pointers take frames where objects with a type lie, and nowhere else; to the frame. */
static void only_objects_with_a_type_pay_for_bitmaps_of_pointers(void)
{
    size_t words = 512 * 4096 / T_WORD, bitmaps = words / 8;
    size_t manual = records_of(MANUAL), scan = records_of(CONSERVATIVE);
    EXPECT(records_of(MANUAL_BESIDE) <= manual + SH_GRANULE_SIZE);
    EXPECT(records_of(NOSCAN) <= scan + SH_GRANULE_SIZE && scan <= records_of(NOSCAN) + SH_GRANULE_SIZE);
    EXPECT(records_of(TYPED) + 2 * SH_GRANULE_SIZE >= scan + bitmaps);
    EXPECT(records_of(TYPED) <= scan + bitmaps + 2 * SH_GRANULE_SIZE);
}

static const struct test tests[] = {
    { "only_objects_with_a_type_pay_for_bitmaps_of_pointers", only_objects_with_a_type_pay_for_bitmaps_of_pointers },
    { "a_heap_in_every_tier_collects", a_heap_in_every_tier_collects },
    { "a_write_after_the_sweep_is_found", a_write_after_the_sweep_is_found },
    { "a_write_behind_an_object_is_found", a_write_behind_an_object_is_found },
    { "reports_name_who_freed_a_collected_object", reports_name_who_freed_a_collected_object },
    { "swept_memory_is_zeroed_where_that_was_asked_for", swept_memory_is_zeroed_where_that_was_asked_for },
    { "samples_and_quarantine_leave_the_collector_alone", samples_and_quarantine_leave_the_collector_alone },
    { "a_fenced_object_ends_at_its_fence", a_fenced_object_ends_at_its_fence },
    { "untouched_pages_are_skipped", untouched_pages_are_skipped },
    { "types_count_on_demand_too", types_count_on_demand_too },
    { "looking_commits_nothing", looking_commits_nothing },
    { "the_barrier_may_touch_first", the_barrier_may_touch_first },
    { "a_collection_needs_no_memory", a_collection_needs_no_memory },
    { "an_allocation_collects_before_it_fails", an_allocation_collects_before_it_fails },
    { "what_is_kept_makes_allocations_fail", what_is_kept_makes_allocations_fail },
    { "a_low_limit_is_met_by_collecting", a_low_limit_is_met_by_collecting },
    { "every_hook_call_may_fail", every_hook_call_may_fail },
};

SUITE(gc_tiers, tests);
