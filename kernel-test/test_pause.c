/*
 * Proves that no step does much more than it was allowed, whatever the graph and whatever phase; that a cycle
 * begins when the goal is reached; and that goals and counters are right at their ends.
 */
#include "kernel-test/test_gc_util.h"

#include "gc/alloc.h"
#include "gc/mark.h"
#include "gc/pace.h"
#include "mm/budget.h"

#define WORK 1000u
#define WORK_MOST (WORK + T_STEP_MORE)

/* ---- the longest step ---- */

/* Whole cycles in steps: while all is kept, and when all is lost. */
static void expect_short_steps(void)
{
    for (unsigned round = 0; round < 3; round++) {
        bool done;
        do {
            done = sh_gc_step(WORK);
        } while (!done);
        if (round == 1) {
            for (unsigned i = 0; i < T_ROOTS; i++) {
                t_root[i] = NULL;
            }
        }
    }
    struct sh_gc_stats stats;
    sh_gc_stats(&stats);
    if (stats.longest_step > WORK_MOST) {
        t_fail(__FILE__, __LINE__, "a step of %u words did %zu", WORK, stats.longest_step);
    }
    EXPECT(stats.longest_step > 0);
    EXPECT_WHOLE();
}

static void start(void)
{
    t_gc_start(0, NULL, NULL);
}

static void steps_through_a_list_are_short(void)
{
    start();
    for (unsigned i = 0; i < (rig_is_machine() ? 5000u : 100000u); i++) {
        void **p = t_gc_take(2 * T_WORD, 0);
        *p = t_root[0];
        t_root[0] = p;
    }
    expect_short_steps();
}

static void steps_through_a_star_are_short(void)
{
    start();
    size_t words = rig_is_machine() ? 20000 : 400000;
    void **star = t_root[0] = t_gc_take(words * T_WORD, 0);
    for (size_t i = 0; i < words; i += 7) {
        star[i] = t_gc_take(16, i & 1);
    }
    expect_short_steps();
}

static void steps_through_large_typed_arrays_are_short(void)
{
    static const uintptr_t mask = 6;
    static const struct sh_gc_type type = { 3 * T_WORD, &mask, "three" };
    start();
    for (unsigned i = 0; i < 8; i++) {
        void **array = t_root[i] = sh_gc_new(&type, 5000);
        EXPECT(array != NULL);
        for (unsigned k = 0; k < 15000; k++) {
            array[k] = t_root[i == 0 ? 0 : i - 1];
        }
    }
    expect_short_steps();
}

static void steps_through_every_size_are_short(void)
{
    start();
    for (unsigned i = 0; i < (rig_is_machine() ? 1000u : 3000u); i++) {
        void **p = t_gc_take((i * 37) & 4095, i % 5 == 0);
        t_root[1 + i % 250] = p;
        *p = t_root[0];
        t_root[0] = i % 5 == 0 ? t_root[0] : p;
    }
    expect_short_steps();
}

static void steps_through_roots_are_short(void)
{
    static void *wide[20000], *small[300];
    start();
    EXPECT_EQ(sh_gc_add_root(wide, sizeof wide), SH_OK);
    for (unsigned i = 0; i < 300; i++) {
        EXPECT_EQ(sh_gc_add_root(&small[i], T_WORD), SH_OK);
        wide[i * 60] = t_gc_take(64, 0);
    }
    expect_short_steps();
}

static void steps_through_uncollectable_objects_are_short(void)
{
    start();
    for (unsigned i = 0; i < 3000; i++) {
        t_gc_take(16 + (i & 1023), SH_GC_UNCOLLECTABLE);
    }
    for (unsigned i = 0; i < 20; i++) {
        t_gc_take(70000, SH_GC_UNCOLLECTABLE);
    }
    expect_short_steps();
}

static void never(void *object, void *arg)
{
    (void)object;
    (void)arg;
}

static void steps_through_finalizers_and_weak_references_are_short(void)
{
    start();
    for (unsigned i = 0; i < 3000; i++) {
        struct sh_gc_weak weak;
        void **p = t_gc_take(24, 0);
        *p = t_root[0];
        t_root[i & 1] = p;
        EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
        EXPECT_EQ(sh_gc_set_finalizer(p, never, NULL), SH_OK);
    }
    expect_short_steps();
    size_t ran = sh_gc_run_finalizers(SIZE_MAX); /* some kept others */
    sh_gc_collect();
    EXPECT_EQ(ran + sh_gc_run_finalizers(SIZE_MAX), 3000);
}

/* What the sweep gives back. */
static void steps_through_dead_spans_are_short(void)
{
    start();
    for (unsigned i = 0; i < 600; i++) {
        t_gc_take(8000, i & 1);
    }
    for (unsigned i = 0; i < 40; i++) {
        t_gc_take(100000, i & 1);
    }
    expect_short_steps();
    EXPECT_EQ(t_gc_live_count(), 0);
}

/* Objects that were looked into, by their bits. */
static size_t looked_into(void)
{
    size_t count = 0;
    uintptr_t at = 0;
    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        struct gc_span *gs = span->gc;
        for (uint32_t i = 0; gs != NULL && i < gs->slots; i++) {
            count += mm_bit_test(gc_scanned(gs), i);
        }
        if (at == 0) {
            break;
        }
    }
    return count;
}

/* By what each leaves behind, not by what it counts. */
static void no_step_looks_into_more_than_it_says(void)
{
    static const size_t budgets[] = { 1, 64, WORK };
    size_t count = rig_is_machine() ? 600 : 3000, words = 8;
    for (unsigned i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        start();
        for (size_t k = 0; k < count; k++) {
            void **p = t_gc_take(words * T_WORD, 0);
            *p = t_root[0];
            t_root[0] = p;
        }
        size_t before = 0;
        for (bool done = false; !done;) {
            done = sh_gc_step(budgets[i]);
            if (gc.phase == GC_ROOTS || gc.phase == GC_MARK) {
                size_t now = looked_into();
                EXPECT((now - before) * words <= budgets[i] + T_STEP_MORE);
                before = now;
            }
        }
        EXPECT(before > count / 2);
    }
}

/* ---- instructions, where they can be counted ---- */

#define OTHERS_MAY_ADD 2000u /* two records, a dozen hops each, found and replaced; not optimized, sanitized */

static void *victim;

/* Objects of one span, each with a weak reference and a finalizer: as many as it has slots, or one.  The victim
 * is the first, the last, or one between. */
static void start_with_specials(bool many, unsigned part)
{
    start();
    unsigned count = many ? mm_class[mm_class_of(8)].slots : 1;
    void *span = NULL;
    for (unsigned i = 0; i < count; i++) {
        struct sh_gc_weak weak;
        void *p = t_gc_take(8, SH_GC_NOSCAN);
        EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
        EXPECT_EQ(sh_gc_set_finalizer(p, never, NULL), SH_OK);
        EXPECT(span == NULL || span == t_gc_span(p));
        span = t_gc_span(p);
        victim = i == (count - 1) * part / 2 ? p : victim;
    }
}

static void free_it(void *arg)
{
    (void)arg;
    sh_free(victim);
}

static void drop_its_finalizer(void *arg)
{
    (void)arg;
    sh_gc_set_finalizer(victim, NULL, NULL);
}

static void change_its_finalizer(void *arg)
{
    (void)arg;
    sh_gc_set_finalizer(victim, never, NULL);
}

static void refer_to_it_again(void *arg)
{
    struct sh_gc_weak weak;
    (void)arg;
    sh_gc_weak_create(&weak, victim);
}

static void step_once(void *arg)
{
    (void)arg;
    sh_gc_step(1);
}

static void run_a_finalizer(void *arg)
{
    (void)arg;
    sh_gc_run_finalizers(1);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* Where nothing can be counted the calls were made all the same. */
static void expect_same_cost(const char *name, unsigned long alone, unsigned long among_others)
{
    if (rig_instructions(do_nothing, NULL) == 0) {
        if (!rig_is_machine()) {
            t_skip("instructions cannot be counted: ptrace is refused");
        }
        return;
    }
    EXPECT(alone != 0 && among_others != 0);
    if (among_others > alone + OTHERS_MAY_ADD) {
        t_fail(__FILE__, __LINE__, "%s: %lu instructions, among others %lu", name, alone, among_others);
    }
}

/* One record at most is looked at by a call, and by a step of 1 word. */
static void what_hangs_at_other_objects_costs_nothing(void)
{
    static const struct {
        const char *name;
        enum gc_phase phase;
        void (*fn)(void *);
    } calls[] = {
        { "free", GC_IDLE, free_it },
        { "finalizer dropped", GC_IDLE, drop_its_finalizer },
        { "finalizer changed", GC_IDLE, change_its_finalizer },
        { "weak reference", GC_IDLE, refer_to_it_again },
        { "free while a cycle marks", GC_MARK, free_it },
        { "weak reference cleared", GC_WEAK, step_once },
        { "finalizer due", GC_FINALIZERS, step_once },
        { "due one marked", GC_REVIVE, step_once },
        { "finalizer run", GC_SWEEP, run_a_finalizer },
    };
    for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        unsigned long cost[4];
        for (unsigned k = 0; k < 4; k++) {
            start_with_specials(k != 0, k - (k != 0));
            if (calls[i].phase != GC_IDLE) {
                t_gc_step_to(calls[i].phase, 1);
            }
            cost[k] = rig_instructions(calls[i].fn, NULL);
            expect_same_cost(calls[i].name, cost[0], cost[k]);
        }
    }
}

static unsigned long cost_of_a_start(unsigned ranges)
{
    static void *word[2 * 2000];
    start();
    for (unsigned i = 0; i < ranges; i++) {
        EXPECT_EQ(sh_gc_add_root(&word[2 * i], T_WORD), SH_OK);
    }
    return rig_instructions(step_once, NULL);
}

static unsigned nested;
static unsigned long cost_below;

/* Runs another finalizer inside its own, and so on. */
static void run_inside(void *object, void *arg)
{
    (void)object;
    (void)arg;
    if (--nested != 0) {
        sh_gc_run_finalizers(1);
    } else {
        cost_below = rig_instructions(step_once, NULL);
    }
}

static unsigned long cost_of_a_start_below(unsigned finalizers)
{
    start();
    for (unsigned i = 0; i < finalizers; i++) {
        EXPECT_EQ(sh_gc_set_finalizer(t_gc_take(16, 0), run_inside, NULL), SH_OK);
    }
    sh_gc_collect();
    nested = finalizers;
    EXPECT_EQ(sh_gc_run_finalizers(1), 1);
    return cost_below;
}

static void a_cycle_begins_as_fast_with_many_roots(void)
{
    unsigned most = rig_is_machine() ? 20 : 300;
    expect_same_cost("start, by roots", cost_of_a_start(1), cost_of_a_start(2000));
    expect_same_cost("start, by finalizers that run", cost_of_a_start_below(1), cost_of_a_start_below(most));
}

static void a_step_without_work_goes_on_all_the_same(void)
{
    start();
    t_root[0] = t_gc_take(1000, 0);
    unsigned steps = 0;
    while (!sh_gc_step(0)) {
        EXPECT(++steps < 100000);
    }
    EXPECT(!sh_gc_step(SIZE_MAX)); /* the stacks are a step of their own */
    EXPECT(sh_gc_step(SIZE_MAX));
    EXPECT(t_lives(t_root[0]));
}

/* ---- goals ---- */

static void start_automatic(unsigned percent, size_t least, size_t limit)
{
    const struct sh_gc_config config = { sizeof config, percent, least, true, false, false };
    const struct sh_config heap = { .size = sizeof heap, .limit = limit, .hooks = rig_hooks() };
    t_gc_start(0, &heap, &config);
}

/* Garbage only: the heap stays near the minimum. */
static void a_cycle_begins_when_the_goal_is_reached(void)
{
    static const size_t sizes[] = { 16, 200, 3000, 50000 };
    for (unsigned i = 0; i < 4; i++) {
        start_automatic(0, 0, 0);
        EXPECT_EQ(gc.stats.goal, 256 * T_KIB);
        size_t total = 2 * T_MIB;
        for (size_t bytes = 0; bytes < total; bytes += sizes[i]) {
            t_gc_take(sizes[i], i & 1);
            EXPECT(gc_alloc_live <= 256 * T_KIB + 128 * T_KIB);
        }
        struct sh_gc_stats stats;
        sh_gc_stats(&stats);
        EXPECT(stats.cycles >= total / (256 * T_KIB) / 2 && stats.cycles <= 2 * total / (256 * T_KIB) + 1);
        EXPECT_EQ(stats.goal, 256 * T_KIB);
        EXPECT_EQ(stats.heap_after, 0);
        EXPECT_WHOLE();
    }
}

static void keep_bytes(size_t bytes)
{
    for (size_t had = 0; had < bytes; had += 1024) {
        void **p = t_gc_take(1024, 0);
        *p = t_root[0];
        t_root[0] = p;
    }
}

/* It grows, and no step does more for that; nobody collects all at once instead. */
static void steps_are_short_while_the_heap_grows(void)
{
    struct sh_stats before, after;
    if (!t_has_memory(24 * T_MIB)) {
        return;
    }
    start();
    keep_bytes(T_MIB);
    size_t live = t_gc_live_count();
    sh_stats(&before);
    EXPECT(!sh_gc_step(WORK));
    for (; gc.phase != GC_SWEEP; live++) {
        void **p = t_gc_take(50000, 0);
        *p = t_root[0];
        sh_gc_write(&t_root[0], p);
        sh_gc_step(WORK);
    }
    sh_stats(&after);
    EXPECT(after.heap_sys > before.heap_sys);
    EXPECT_EQ(gc.stats.cycles, 1);
    t_gc_step_to(GC_IDLE, WORK);
    EXPECT(gc.stats.longest_step <= WORK_MOST);
    EXPECT_EQ(t_gc_live_count(), live);
    EXPECT_WHOLE();
}

static void the_goal_follows_what_is_kept(void)
{
    static const unsigned percent[] = { 0, 50, 100, 200, 400000000u };
    for (unsigned i = 0; i < 5; i++) {
        start_automatic(percent[i], 4096, 0);
        keep_bytes(T_MIB);
        sh_gc_collect();
        EXPECT_EQ(gc.stats.heap_after, T_MIB);
        if (i < 4) {
            size_t expected = T_MIB + (percent[i] == 50 ? T_MIB / 2 : percent[i] == 200 ? 2 * T_MIB : T_MIB);
            EXPECT_EQ(gc.stats.goal, expected);
        } else {
            EXPECT(gc.stats.goal > 1000 * T_MIB); /* and no wrap */
        }
    }
}

/* Once the goal is reached all of the last cycle is swept. */
static void the_sweep_is_over_when_the_goal_is_reached(void)
{
    start();
    keep_bytes(512 * T_KIB);
    for (unsigned i = 0; i < 400; i++) {
        t_gc_take(2000, i & 1);
    }
    t_gc_step_to(GC_SWEEP, 1);
    EXPECT(gc.unswept > 10);
    while (!gc_pace_due()) {
        t_gc_take(500, SH_GC_NOSCAN);
    }
    EXPECT(gc.unswept <= 2);
    EXPECT_WHOLE();
}

static void what_is_never_reached_is_never_more_than_the_goal(void)
{
    uint32_t seed = 3;
    start_automatic(100, 64 * T_KIB, 0);
    for (unsigned i = 0; i < (rig_is_machine() ? 4000u : 60000u); i++) {
        void **p = t_gc_take(t_below(&seed, i % 100 == 0 ? 30000 : 400), i & 1);
        t_root[t_below(&seed, T_ROOTS)] = p;
        EXPECT(gc_alloc_live <= gc.stats.goal + 128 * T_KIB);
    }
    EXPECT(gc.stats.cycles > 5);
    EXPECT_WHOLE();
}

/* A cycle that steps began is theirs until the heap is at twice the goal; then it is ended all the same. */
static void a_cycle_in_steps_is_not_ended_by_an_allocation(void)
{
    for (unsigned abandoned = 0; abandoned < 2; abandoned++) {
        start_automatic(100, 64 * T_KIB, 0);
        keep_bytes(64 * T_KIB);
        EXPECT(gc_pace_due() && gc.stats.cycles == 0);
        EXPECT(!sh_gc_step(1));
        for (unsigned i = 0; i < 60; i++) {
            t_gc_take(1024, 0);
            EXPECT(gc.stats.cycles == 0 && gc.phase != GC_IDLE && gc.phase <= GC_MARK);
        }
        if (abandoned == 0) {
            t_gc_step_to(GC_IDLE, WORK);
            EXPECT_EQ(gc.stats.cycles, 1);
        } else {
            sh_gc_step(WORK_MOST);
            EXPECT(gc.black);
            for (unsigned i = 0; i < 8; i++) {
                t_gc_take(1024, 0);
            }
            EXPECT(gc.stats.cycles != 0 && !gc.black);
        }
        uint64_t cycles = gc.stats.cycles;
        for (unsigned i = 0; i < 1000; i++) {
            t_gc_take(1024, 0);
            EXPECT(gc_alloc_live <= 320 * T_KIB);
        }
        EXPECT(gc.stats.cycles > cycles + 4);
        EXPECT(t_lives(t_root[0]));
        EXPECT_WHOLE();
    }
}

/* The limit of frames lowers the goal, so that what is dead is found before frames run out. */
static void the_limit_is_kept_by_collecting(void)
{
    start_automatic(10000, 0, 6 * T_MIB);
    for (size_t bytes = 0; bytes < 24 * T_MIB; bytes += 20000) {
        t_gc_take(20000, SH_GC_NOSCAN);
        EXPECT(rig_frames_held() <= 6 * T_MIB);
    }
    EXPECT(gc.stats.cycles >= 4);
    EXPECT_WHOLE();
}

/* As if each had been reached by counting. */
static void counters_do_not_wrap(void)
{
    start();
    gc.stats.cycles = gc.stats.words_scanned = gc.stats.spans_swept = gc.stats.objects_freed = UINT32_MAX;
    gc.generation = (uint32_t)-2;
    keep_bytes(64 * T_KIB);
    struct sh_gc_stats stats;
    for (unsigned i = 0; i < 4; i++) {
        t_gc_take(64, 0);
        sh_gc_collect();
        EXPECT_EQ(t_gc_live_count(), 64);
        EXPECT_EQ(sh_verify(), 0);
    }
    sh_gc_stats(&stats);
    EXPECT(stats.cycles == (uint64_t)UINT32_MAX + 4 && stats.objects_freed == (uint64_t)UINT32_MAX + 4);
    EXPECT(stats.words_scanned > UINT32_MAX && stats.spans_swept > UINT32_MAX);
    gc.stats.objects_freed -= UINT32_MAX;
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "steps_through_a_list_are_short", steps_through_a_list_are_short },
    { "steps_through_a_star_are_short", steps_through_a_star_are_short },
    { "steps_through_large_typed_arrays_are_short", steps_through_large_typed_arrays_are_short },
    { "steps_through_every_size_are_short", steps_through_every_size_are_short },
    { "steps_through_roots_are_short", steps_through_roots_are_short },
    { "steps_through_uncollectable_objects_are_short", steps_through_uncollectable_objects_are_short },
    { "steps_through_finalizers_and_weak_references_are_short",
      steps_through_finalizers_and_weak_references_are_short },
    { "steps_through_dead_spans_are_short", steps_through_dead_spans_are_short },
    { "no_step_looks_into_more_than_it_says", no_step_looks_into_more_than_it_says },
    { "what_hangs_at_other_objects_costs_nothing", what_hangs_at_other_objects_costs_nothing },
    { "a_cycle_begins_as_fast_with_many_roots", a_cycle_begins_as_fast_with_many_roots },
    { "steps_are_short_while_the_heap_grows", steps_are_short_while_the_heap_grows },
    { "a_step_without_work_goes_on_all_the_same", a_step_without_work_goes_on_all_the_same },
    { "a_cycle_begins_when_the_goal_is_reached", a_cycle_begins_when_the_goal_is_reached },
    { "a_cycle_in_steps_is_not_ended_by_an_allocation", a_cycle_in_steps_is_not_ended_by_an_allocation },
    { "the_goal_follows_what_is_kept", the_goal_follows_what_is_kept },
    { "the_sweep_is_over_when_the_goal_is_reached", the_sweep_is_over_when_the_goal_is_reached },
    { "what_is_never_reached_is_never_more_than_the_goal", what_is_never_reached_is_never_more_than_the_goal },
    { "the_limit_is_kept_by_collecting", the_limit_is_kept_by_collecting },
    { "counters_do_not_wrap", counters_do_not_wrap },
};

SUITE(pause, tests);
