/*
 * Proves what finalizers and weak references promise: each finalizer runs once, in no order, with everything
 * that its object reaches still there; it may revive, allocate, collect, set itself again; sh_free drops it.
 * A weak reference is cleared before any finalizer runs, refers to nothing ever again, and a forged one is
 * harmless.
 */
#include "kernel-test/test_gc_util.h"

#define MOST 64u

static struct {
    void *object, *arg;
} ran[MOST];
static unsigned ran_count;

static void note(void *object, void *arg)
{
    EXPECT(ran_count < MOST);
    EXPECT(t_lives(object));
    ran[ran_count].object = object;
    ran[ran_count++].arg = arg;
}

static bool has_run(const void *object)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ran_count; i++) {
        count += ran[i].object == object;
    }
    EXPECT(count <= 1);
    return count == 1;
}

static void start(void)
{
    t_gc_start_checked();
    ran_count = 0;
}

/* An object with a finalizer and a mark. */
static void **with_finalizer(size_t size, unsigned flags, uintptr_t number)
{
    void **p = t_gc_take(size, flags);
    p[1] = (void *)t_mark_of(number);
    EXPECT_EQ(sh_gc_set_finalizer(p, note, (void *)number), SH_OK);
    return p;
}

static size_t run_all(void)
{
    return sh_gc_run_finalizers(SIZE_MAX);
}

/* ---- finalizers ---- */

static void a_finalizer_runs_once_when_its_object_is_lost(void)
{
    start();
    void **p = with_finalizer(64, 0, 7);
    t_root[0] = p;
    sh_gc_collect();
    EXPECT_EQ(run_all(), 0);
    t_root[0] = NULL;
    sh_gc_collect();
    EXPECT(t_lives(p) && p[1] == (void *)t_mark_of(7));
    EXPECT_EQ(run_all(), 1);
    EXPECT(has_run(p) && ran[0].arg == (void *)7);
    EXPECT_EQ(run_all(), 0);
    sh_gc_collect();
    EXPECT(!t_lives(p));
    EXPECT_EQ(run_all(), 0);
    EXPECT_WHOLE();
}

static void every_kind_and_size_may_have_one(void)
{
    static const size_t sizes[] = { 16, 500, 20000, 100000 };
    start();
    for (unsigned i = 0; i < 4; i++) {
        void *scan = with_finalizer(sizes[i], 0, i), *noscan = with_finalizer(sizes[i], SH_GC_NOSCAN, i);
        void *fixed = with_finalizer(sizes[i], SH_GC_UNCOLLECTABLE, i);
        ran_count = 0;
        sh_gc_collect();
        EXPECT_EQ(run_all(), 2);
        EXPECT(has_run(scan) && has_run(noscan) && !has_run(fixed));
        sh_free(fixed);
        EXPECT_EQ(run_all(), 0);
    }
    EXPECT_WHOLE();
}

static void what_is_lost_together_is_due_together(void)
{
    start();
    void **object[30];
    for (unsigned i = 0; i < 30; i++) {
        object[i] = with_finalizer(32, 0, i);
        if (i != 0) {
            object[i][0] = object[i - 1]; /* a chain ... */
        }
    }
    object[0][0] = object[29]; /* ... that is a ring */
    sh_gc_collect();
    EXPECT_EQ(sh_gc_run_finalizers(11), 11);
    sh_gc_collect(); /* the rest is due, and kept with all it reaches */
    for (unsigned i = 0; i < 30; i++) {
        EXPECT(t_lives(object[i]) && object[i][1] == (void *)t_mark_of(i));
    }
    EXPECT_EQ(run_all(), 19);
    for (unsigned i = 0; i < 30; i++) {
        EXPECT(has_run(object[i]));
    }
    sh_gc_collect();
    EXPECT_EQ(t_gc_live_count(), 0);
    EXPECT_WHOLE();
}

/* Objects without a finalizer hang between ones that have one. */
static void what_a_due_object_reaches_stays_until_it_ran(void)
{
    start();
    void **head = with_finalizer(48, 0, 1), **middle = t_gc_take(48, 0), **tail = with_finalizer(48, 0, 2);
    void *leaf = t_gc_take(100000, SH_GC_NOSCAN);
    head[0] = middle;
    middle[0] = tail;
    tail[0] = leaf;
    for (unsigned i = 0; i < 3; i++) {
        sh_gc_collect();
        EXPECT(t_lives(head) && t_lives(middle) && t_lives(tail) && t_lives(leaf));
    }
    EXPECT_EQ(run_all(), 2);
    sh_gc_collect();
    EXPECT_EQ(t_gc_live_count(), 0);
    EXPECT_WHOLE();
}

static void *revived;

static void revive(void *object, void *arg)
{
    note(object, arg);
    revived = object;
    t_root[5] = object;
}

static void a_finalizer_may_revive_its_object(void)
{
    start();
    void **p = t_gc_take(64, 0), **child = t_gc_take(64, 0);
    p[0] = child;
    EXPECT_EQ(sh_gc_set_finalizer(p, revive, NULL), SH_OK);
    sh_gc_collect();
    EXPECT_EQ(run_all(), 1);
    sh_gc_collect();
    EXPECT(revived == p && t_lives(p) && t_lives(child));
    t_root[5] = NULL;
    sh_gc_collect();
    EXPECT(!t_lives(p) && !t_lives(child));
    EXPECT_EQ(run_all(), 0);
    EXPECT_EQ(ran_count, 1);
    EXPECT_WHOLE();
}

static void again(void *object, void *arg)
{
    note(object, arg);
    EXPECT_EQ(sh_gc_set_finalizer(object, note, (void *)2), SH_OK);
    ran_count = 0;
}

static void a_finalizer_may_be_set_again(void)
{
    start();
    void *p = t_gc_take(64, 0);
    EXPECT_EQ(sh_gc_set_finalizer(p, again, NULL), SH_OK);
    sh_gc_collect();
    EXPECT_EQ(run_all(), 1);
    EXPECT_EQ(run_all(), 0); /* a cycle has to find it lost again */
    sh_gc_collect();
    EXPECT_EQ(run_all(), 1);
    EXPECT(has_run(p) && ran[0].arg == (void *)2);
    sh_gc_collect();
    EXPECT(!t_lives(p));
    EXPECT_WHOLE();
}

static void the_last_one_set_counts_and_null_drops_it(void)
{
    start();
    void *p = with_finalizer(64, 0, 1), *q = with_finalizer(64, 0, 2), *due = with_finalizer(64, 0, 3);
    EXPECT_EQ(sh_gc_set_finalizer(p, note, (void *)9), SH_OK);
    EXPECT_EQ(sh_gc_set_finalizer(q, NULL, NULL), SH_OK);
    EXPECT_EQ(sh_gc_set_finalizer(q, NULL, NULL), SH_OK);
    sh_gc_collect();
    EXPECT(!t_lives(q));
    EXPECT_EQ(sh_gc_set_finalizer(due, NULL, NULL), SH_OK);
    EXPECT_EQ(run_all(), 1);
    EXPECT(has_run(p) && ran[0].arg == (void *)9);
    EXPECT_WHOLE();
}

static void busy_finalizer(void *object, void *arg)
{
    unsigned depth = (unsigned)(uintptr_t)arg;
    note(object, arg);
    void **p = t_gc_take(200, 0);
    if (depth != 0) {
        EXPECT_EQ(sh_gc_set_finalizer(p, busy_finalizer, (void *)(uintptr_t)(depth - 1)), SH_OK);
    }
    sh_gc_collect();
    EXPECT(t_lives(object)); /* it runs: it is a root */
    EXPECT_EQ(sh_gc_run_finalizers(SIZE_MAX), depth);
}

static void a_finalizer_may_allocate_collect_and_run_others(void)
{
    start();
    void *p = t_gc_take(64, 0);
    EXPECT_EQ(sh_gc_set_finalizer(p, busy_finalizer, (void *)1), SH_OK);
    sh_gc_collect();
    EXPECT_EQ(run_all(), 1);
    EXPECT_EQ(ran_count, 2);
    sh_gc_collect();
    EXPECT_EQ(t_gc_live_count(), 0);
    EXPECT_WHOLE();
}

static void free_drops_the_finalizer(void)
{
    static const enum gc_phase phases[] = { GC_IDLE, GC_ROOTS, GC_MARK, GC_SWEEP };
    for (unsigned i = 0; i < 4; i++) {
        start();
        void *p = t_root[0] = with_finalizer(64, 0, 1), *q = t_root[1] = with_finalizer(64, 0, 2);
        void *due = with_finalizer(100000, 0, 3);
        sh_gc_collect();
        if (phases[i] != GC_IDLE) {
            t_gc_step_to(phases[i], 1);
        }
        sh_free(p);
        sh_free(due);
        t_root[0] = t_root[1] = NULL;
        t_gc_step_to(GC_IDLE, 100);
        sh_gc_collect();
        EXPECT_EQ(run_all(), 1);
        EXPECT(has_run(q));
        EXPECT_WHOLE();
    }
}

/* Between two steps, in every phase: what became due stays due, what runs is kept. */
static void finalizers_may_run_while_a_cycle_is_under_way(void)
{
    for (unsigned pause = 1; pause < 80; pause += 3) {
        start();
        void **object[12];
        for (unsigned i = 0; i < 12; i++) {
            object[i] = with_finalizer(40, 0, i);
            object[i][0] = t_gc_take(24, SH_GC_NOSCAN);
        }
        sh_gc_collect();
        for (unsigned i = 0; i < pause; i++) {
            sh_gc_step(4);
        }
        EXPECT_EQ(sh_gc_run_finalizers(5), 5);
        EXPECT_EQ(sh_verify(), 0);
        for (unsigned i = 0; i < 12; i++) {
            EXPECT(has_run(object[i]) || t_lives(object[i][0]));
        }
        t_gc_step_to(GC_IDLE, 4);
        for (unsigned i = 0; i < 12; i++) {
            EXPECT(has_run(object[i]) || t_lives(object[i][0]));
        }
        EXPECT_EQ(run_all(), 7);
        sh_gc_collect();
        EXPECT_EQ(t_gc_live_count(), 0);
    }
    EXPECT_WHOLE();
}

static void realloc_takes_the_finalizer_along(void)
{
    start();
    struct sh_gc_weak weak;
    void **p = with_finalizer(64, 0, 4);
    EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
    void **moved = t_root[0] = sh_realloc(p, 100000);
    EXPECT(moved != p && sh_gc_weak_get(weak) == moved);
    sh_gc_collect();
    EXPECT(run_all() == 0 && sh_gc_weak_get(weak) == moved);
    t_root[0] = NULL;
    sh_gc_collect();
    EXPECT(sh_gc_weak_get(weak) == NULL);
    EXPECT_EQ(run_all(), 1);
    EXPECT(has_run(moved));
    EXPECT_WHOLE();
}

static void only_bases_of_live_collected_objects_may_have_one(void)
{
    start();
    struct sh_gc_weak weak = { 1, 1 };
    char *p = t_gc_take(64, 0), *manual = sh_malloc(64), *dead = t_gc_take(640, 0);
    void *wrong[] = { p + 1, p + 64, manual, NULL, &weak, (void *)(uintptr_t)12345, dead };
    t_root[0] = p;
    sh_gc_collect();
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        EXPECT_EQ(sh_gc_set_finalizer(wrong[i], note, NULL), SH_E_INVALID);
        EXPECT_EQ(sh_gc_set_finalizer(wrong[i], NULL, NULL), SH_E_INVALID);
        EXPECT_EQ(sh_gc_weak_create(&weak, wrong[i]), SH_E_INVALID);
        EXPECT(weak.handle == 0 && weak.generation == 0);
    }
    sh_free(manual);
    EXPECT_WHOLE();
}

/* ---- weak references ---- */

static struct sh_gc_weak seen_weak;

static void expect_cleared(void *object, void *arg)
{
    note(object, arg);
    EXPECT(sh_gc_weak_get(seen_weak) == NULL);
}

static void a_weak_reference_is_cleared_before_finalizers_run(void)
{
    start();
    struct sh_gc_weak behind;
    void **p = t_gc_take(64, 0), **child = t_gc_take(64, 0);
    p[0] = child;
    EXPECT_EQ(sh_gc_weak_create(&seen_weak, p), SH_OK);
    EXPECT_EQ(sh_gc_weak_create(&behind, child), SH_OK);
    EXPECT_EQ(sh_gc_set_finalizer(p, expect_cleared, NULL), SH_OK);
    t_root[0] = p;
    sh_gc_collect();
    EXPECT(sh_gc_weak_get(seen_weak) == p && sh_gc_weak_get(behind) == child);
    t_root[0] = NULL;
    sh_gc_collect();
    EXPECT(t_lives(child)); /* by the finalizer, which does not count */
    EXPECT(sh_gc_weak_get(seen_weak) == NULL && sh_gc_weak_get(behind) == NULL);
    EXPECT_EQ(run_all(), 1);
    EXPECT_WHOLE();
}

static void all_weak_references_to_an_object_are_one(void)
{
    start();
    struct sh_gc_weak a, b, copy, later;
    void *p = t_root[0] = t_gc_take(64, 0);
    EXPECT_EQ(sh_gc_weak_create(&a, p), SH_OK);
    EXPECT_EQ(sh_gc_weak_create(&b, p), SH_OK);
    copy = a;
    EXPECT(a.handle == b.handle && a.generation == b.generation);
    t_root[0] = NULL;
    sh_gc_collect();
    EXPECT(sh_gc_weak_get(a) == NULL && sh_gc_weak_get(b) == NULL && sh_gc_weak_get(copy) == NULL);
    /* The record is used again: the old references stay stale. */
    void *q = t_root[0] = t_gc_take(64, 0);
    EXPECT_EQ(sh_gc_weak_create(&later, q), SH_OK);
    EXPECT_EQ(later.handle, a.handle);
    EXPECT(sh_gc_weak_get(later) == q && sh_gc_weak_get(a) == NULL);
    EXPECT_WHOLE();
}

static void free_clears_weak_references_at_once(void)
{
    static const enum gc_phase phases[] = { GC_IDLE, GC_ROOTS, GC_MARK, GC_SWEEP };
    for (unsigned i = 0; i < 4; i++) {
        start();
        struct sh_gc_weak weak;
        void *p = t_root[0] = t_gc_take(64, 0);
        EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
        if (phases[i] != GC_IDLE) {
            t_gc_step_to(phases[i], 1);
        }
        sh_free(p);
        EXPECT(sh_gc_weak_get(weak) == NULL);
        t_root[0] = NULL;
        t_gc_step_to(GC_IDLE, 100);
        EXPECT(sh_gc_weak_get(weak) == NULL);
        EXPECT_WHOLE();
    }
}

/* The reference is the only way to the object when the cycle has begun. */
static void weak_get_while_a_cycle_marks_keeps_the_object(void)
{
    for (unsigned phase = GC_ROOTS; phase <= GC_MARK; phase++) {
        start();
        struct sh_gc_weak weak;
        void **p = t_gc_take(64, 0), **child = t_gc_take(64, 0);
        p[0] = child;
        EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
        for (unsigned i = 0; i < 100; i++) {
            void **cell = t_gc_take(16, 0);
            *cell = t_root[0];
            t_root[0] = cell;
        }
        t_gc_step_to((enum gc_phase)phase, 1);
        sh_gc_write(&t_root[1], sh_gc_weak_get(weak));
        EXPECT(t_root[1] == p);
        t_gc_step_to(GC_IDLE, 1);
        EXPECT(t_lives(p) && t_lives(child) && sh_gc_weak_get(weak) == p);
        EXPECT_WHOLE();
    }
}

/* What is going to be cleared cannot be had any more, from the first moment that it is decided. */
static void weak_get_never_gives_what_the_sweep_takes(void)
{
    start();
    for (unsigned round = 0; round < 200; round++) {
        struct sh_gc_weak weak;
        void *p = t_gc_take(64, 0);
        EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
        for (unsigned i = 0; i < round; i++) {
            sh_gc_step(1);
        }
        void *got = sh_gc_weak_get(weak);
        sh_gc_write(&t_root[0], got);
        if (got != NULL) {
            t_gc_step_to(GC_IDLE, 16);
            EXPECT(t_lives(got) && sh_gc_weak_get(weak) == got);
        }
        sh_gc_write(&t_root[0], NULL);
        sh_gc_collect();
        EXPECT(sh_gc_weak_get(weak) == NULL);
    }
    EXPECT_WHOLE();
}

static void a_forged_reference_is_harmless(void)
{
    start();
    struct sh_gc_weak weak;
    uint32_t seed = 5;
    void *p = t_root[0] = with_finalizer(64, 0, 1);
    EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
    uintptr_t bases[] = { weak.handle, (uintptr_t)p, (uintptr_t)&weak, (uintptr_t)t_gc_span(p), 0, SIZE_MAX };
    for (unsigned i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        for (uintptr_t off = 0; off < 200; off++) {
            struct sh_gc_weak forged = { bases[i] + off, weak.generation };
            void *got = sh_gc_weak_get(forged);
            EXPECT(got == NULL || t_lives(got));
            forged.handle = bases[i] - off;
            got = sh_gc_weak_get(forged);
            EXPECT(got == NULL || t_lives(got));
        }
    }
    for (unsigned i = 0; i < 2000; i++) {
        struct sh_gc_weak forged = { weak.handle ^ t_random(&seed), weak.generation };
        EXPECT(forged.handle == weak.handle || sh_gc_weak_get(forged) == NULL);
        forged.handle = weak.handle;
        forged.generation += 1 + t_below(&seed, 1000000);
        EXPECT(sh_gc_weak_get(forged) == NULL);
    }
    EXPECT(sh_gc_weak_get(weak) == p);
    sh_gc_collect();
    EXPECT_WHOLE();
}

/* ---- many in a span ---- */

#define SPAN_OBJECTS 200u

/* What hangs at each object of a span comes and goes in any order, and each keeps its own. */
static void what_hangs_at_the_objects_of_a_span_is_kept_apart(void)
{
    static struct {
        void *object;
        struct sh_gc_weak weak;
        bool finalizer, referred, was_referred;
    } slot[SPAN_OBJECTS];
    uint32_t seed = 11;
    void **table;
    start();
    table = t_root[0] = t_gc_take(SPAN_OBJECTS * T_WORD, 0);
    for (unsigned i = 0; i < SPAN_OBJECTS; i++) {
        table[i] = slot[i].object = t_gc_take(16, SH_GC_NOSCAN);
        slot[i].finalizer = slot[i].referred = slot[i].was_referred = false;
    }
    for (unsigned round = 0; round < (rig_is_machine() ? 2000u : 20000u); round++) {
        unsigned i = t_below(&seed, SPAN_OBJECTS);
        switch (t_below(&seed, 5)) {
        case 0: case 1:
            EXPECT_EQ(sh_gc_set_finalizer(slot[i].object, slot[i].finalizer ? NULL : note, (void *)(uintptr_t)i), SH_OK);
            slot[i].finalizer = !slot[i].finalizer;
            break;
        case 2: case 3:
            EXPECT_EQ(sh_gc_weak_create(&slot[i].weak, slot[i].object), SH_OK);
            slot[i].referred = slot[i].was_referred = true;
            break;
        default:
            sh_free(slot[i].object);
            EXPECT(!slot[i].was_referred || sh_gc_weak_get(slot[i].weak) == NULL);
            table[i] = slot[i].object = t_gc_take(16, SH_GC_NOSCAN);
            slot[i].finalizer = slot[i].referred = false;
        }
        for (unsigned k = 0; k < SPAN_OBJECTS; k++) {
            EXPECT(!slot[k].referred || sh_gc_weak_get(slot[k].weak) == slot[k].object);
        }
        if (round % 100 == 0) {
            EXPECT_EQ(sh_verify(), 0);
        }
    }
    unsigned finalizers = 0;
    for (unsigned i = 0; i < SPAN_OBJECTS; i++) {
        finalizers += slot[i].finalizer;
        if (i % 4 != 0) {
            EXPECT_EQ(sh_gc_set_finalizer(slot[i].object, NULL, NULL), SH_OK);
            finalizers -= slot[i].finalizer;
        }
    }
    t_root[0] = NULL;
    sh_gc_collect();
    EXPECT_WHOLE();
    EXPECT(finalizers > 5 && finalizers <= MOST);
    EXPECT_EQ(run_all(), finalizers);
    for (unsigned i = 0; i < SPAN_OBJECTS; i++) {
        EXPECT(sh_gc_weak_get(slot[i].weak) == NULL);
        EXPECT(i % 4 != 0 || has_run(slot[i].object) == slot[i].finalizer);
    }
    EXPECT_WHOLE();
}

/* ---- late ---- */

static unsigned steps_inside;

static void begin_a_cycle_and_revive(void *object, void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < steps_inside && !sh_gc_step(1); i++) {
    }
    sh_gc_write(&t_root[T_ROOTS - 1], object);
}

/* Nothing but that keeps the object: no stack is looked at here, and the root was already. */
static void a_finalizer_that_runs_when_a_cycle_begins_keeps_its_object(void)
{
    for (steps_inside = 1; steps_inside < T_ROOTS + 60; steps_inside += steps_inside < T_ROOTS - 30 ? 20 : 1) {
        start();
        void **p = t_gc_take(64, 0), **child = t_gc_take(64, 0);
        p[0] = child;
        EXPECT_EQ(sh_gc_set_finalizer(p, begin_a_cycle_and_revive, NULL), SH_OK);
        sh_gc_collect();
        EXPECT_EQ(run_all(), 1);
        t_gc_step_to(GC_IDLE, 1);
        EXPECT(t_lives(p) && t_lives(child));
        EXPECT_WHOLE();
    }
}


static bool refer_to(const struct sh_object *object, void *arg)
{
    struct sh_gc_weak weak;
    if (object->live && object->kind != SH_MANUAL) {
        EXPECT_EQ(sh_gc_weak_create(&weak, (void *)object->base), SH_OK);
        ++*(unsigned *)arg;
    }
    return true;
}

/* A query names objects that the cycle has given up by then: who asks for a record keeps them. */
static void a_record_made_late_in_a_cycle_keeps_its_object(void)
{
    for (enum gc_phase phase = GC_ROOTS; phase <= GC_REVIVE; phase++) {
        struct sh_gc_weak weak;
        unsigned count = 0;
        start();
        for (unsigned i = 0; i < 20; i++) {
            t_root[i] = with_finalizer(16, 0, i);
            EXPECT_EQ(sh_gc_weak_create(&weak, t_root[i]), SH_OK);
            t_gc_take(40, 0);
            t_gc_take(5000, 0);
        }
        with_finalizer(16, 0, 20);
        t_gc_step_to(phase, 1);
        sh_each_object(refer_to, &count);
        EXPECT_EQ(count, 61);
        t_gc_step_to(GC_IDLE, 1);
        EXPECT_WHOLE();
        sh_gc_collect();
        EXPECT_EQ(t_gc_live_count(), 21);
        EXPECT_WHOLE();
    }
}

static const struct test tests[] = {
    { "a_record_made_late_in_a_cycle_keeps_its_object", a_record_made_late_in_a_cycle_keeps_its_object },
    { "a_finalizer_runs_once_when_its_object_is_lost", a_finalizer_runs_once_when_its_object_is_lost },
    { "every_kind_and_size_may_have_one", every_kind_and_size_may_have_one },
    { "what_is_lost_together_is_due_together", what_is_lost_together_is_due_together },
    { "what_a_due_object_reaches_stays_until_it_ran", what_a_due_object_reaches_stays_until_it_ran },
    { "a_finalizer_may_revive_its_object", a_finalizer_may_revive_its_object },
    { "a_finalizer_may_be_set_again", a_finalizer_may_be_set_again },
    { "the_last_one_set_counts_and_null_drops_it", the_last_one_set_counts_and_null_drops_it },
    { "a_finalizer_may_allocate_collect_and_run_others", a_finalizer_may_allocate_collect_and_run_others },
    { "free_drops_the_finalizer", free_drops_the_finalizer },
    { "finalizers_may_run_while_a_cycle_is_under_way", finalizers_may_run_while_a_cycle_is_under_way },
    { "realloc_takes_the_finalizer_along", realloc_takes_the_finalizer_along },
    { "only_bases_of_live_collected_objects_may_have_one", only_bases_of_live_collected_objects_may_have_one },
    { "a_weak_reference_is_cleared_before_finalizers_run", a_weak_reference_is_cleared_before_finalizers_run },
    { "all_weak_references_to_an_object_are_one", all_weak_references_to_an_object_are_one },
    { "free_clears_weak_references_at_once", free_clears_weak_references_at_once },
    { "weak_get_while_a_cycle_marks_keeps_the_object", weak_get_while_a_cycle_marks_keeps_the_object },
    { "weak_get_never_gives_what_the_sweep_takes", weak_get_never_gives_what_the_sweep_takes },
    { "what_hangs_at_the_objects_of_a_span_is_kept_apart", what_hangs_at_the_objects_of_a_span_is_kept_apart },
    { "a_finalizer_that_runs_when_a_cycle_begins_keeps_its_object",
      a_finalizer_that_runs_when_a_cycle_begins_keeps_its_object },
    { "a_forged_reference_is_harmless", a_forged_reference_is_harmless },
};

SUITE(finalize, tests);
