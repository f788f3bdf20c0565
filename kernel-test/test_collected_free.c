/*
 * Proves what sh_free, sh_free_sized, sh_realloc and sh_usable_size do with collected objects: outside of a
 * cycle, while one marks, while one sweeps; and that every pointer that is not the base of a live object is
 * reported in all of them.
 */
#include "kernel-test/test_gc_util.h"

static const uintptr_t pair_mask = 2, wide_mask[] = { 4, 0, 1 };
static const struct sh_gc_type pair_type = { 2 * T_WORD, &pair_mask, "pair" };
static const struct sh_gc_type wide_type = { (2 * MM_WORD_BITS + 1) * T_WORD, wide_mask, "wide" };

static const enum gc_phase every_phase[] = { GC_IDLE, GC_ROOTS, GC_MARK, GC_SWEEP };
#define PHASES (sizeof every_phase / sizeof every_phase[0])

/* A cycle that is as far as that; there is enough to mark that no phase is passed unseen. */
static void go_to(enum gc_phase phase)
{
    t_gc_step_to(GC_IDLE, 1000);
    if (phase != GC_IDLE) {
        t_gc_step_to(phase, 1);
    }
}

static void start(void)
{
    t_gc_start_checked();
    for (unsigned i = 0; i < 200; i++) {
        void **cell = t_gc_take(16, 0);
        *cell = t_root[T_ROOTS - 1];
        t_root[T_ROOTS - 1] = cell;
    }
}

/* ---- free ---- */

static void free_it(void *p)
{
    sh_free(p);
}

static bool is_reported(void *p)
{
    bool told = rig_panics(SH_PANIC_MISUSE, "sh_free(", free_it, p) && rig_panic_count() == 1;
    EXPECT(t_contains(rig_report(), t_hex((uintptr_t)p)));
    return told;
}

static void free_takes_effect_at_once_or_at_the_sweep(void)
{
    static const size_t sizes[] = { 8, 48, 1000, 32768, 100000 };
    for (unsigned phase = 0; phase < PHASES; phase++) {
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i += rig_is_machine() ? 2 : 1) {
            for (unsigned flags = 0; flags <= SH_GC_UNCOLLECTABLE; flags++) {
                struct sh_gc_stats before, after;
                start();
                void *p = t_root[0] = t_gc_take(sizes[i], flags);
                go_to(every_phase[phase]);
                sh_gc_stats(&before);
                sh_free(p);
                EXPECT(t_lives(p) == (gc.phase == GC_ROOTS || gc.phase == GC_MARK));
                EXPECT(is_reported(p));
                EXPECT_EQ(sh_verify(), 0);
                t_root[0] = NULL;
                t_gc_step_to(GC_IDLE, 64);
                EXPECT(!t_lives(p));
                sh_gc_stats(&after);
                EXPECT_EQ(after.objects_freed - before.objects_freed, 1);
                EXPECT(is_reported(p));
                EXPECT_WHOLE();
            }
        }
    }
}

/* In a dead span, in one that has other objects, before and behind the sweep of it. */
static void what_a_sweep_will_free_cannot_be_freed_by_hand(void)
{
    for (unsigned mixed = 0; mixed < 2; mixed++) {
        start();
        void *dead[40];
        for (unsigned i = 0; i < 40; i++) {
            dead[i] = t_gc_take(mixed != 0 ? 16 : 96, 0);
        }
        void *large = t_gc_take(100000, 0);
        t_gc_step_to(GC_SWEEP, 1);
        EXPECT(gc.unswept != 0 && t_lives(large)); /* nobody was there yet */
        for (unsigned i = 0; i < 40; i++) {
            EXPECT(is_reported(dead[i]));
        }
        EXPECT(is_reported(large));
        t_gc_step_to(GC_IDLE, 16);
        for (unsigned i = 0; i < 40; i++) {
            EXPECT(is_reported(dead[i]));
        }
        EXPECT_WHOLE();
    }
}

static void a_pointer_that_is_no_base_is_reported(void)
{
    static const size_t sizes[] = { 16, 56, 1000, 70000 };
    for (unsigned phase = 0; phase < PHASES; phase++) {
        start();
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *p = t_root[0] = t_gc_take(sizes[i], i & 1);
            size_t size = sh_usable_size(p);
            go_to(every_phase[phase]);
            for (size_t at = 1; at < size; at += at < 64 ? 1 : 997) {
                EXPECT(is_reported(p + at));
            }
            EXPECT(is_reported(p + size - 1));
            EXPECT(t_lives(p));
            sh_free(p);
        }
        t_gc_step_to(GC_IDLE, 1000);
        EXPECT_WHOLE();
    }
}

/* ---- sized, usable ---- */

static void *sized_p;
static size_t sized_size;

static void free_sized(void *arg)
{
    (void)arg;
    sh_free_sized(sized_p, sized_size);
}

static bool size_is_reported(void *p, size_t size)
{
    sized_p = p;
    sized_size = size;
    return rig_panics(SH_PANIC_MISUSE, "sh_free_sized(", free_sized, NULL);
}

static void a_size_must_be_that_of_the_object(void)
{
    start();
    for (unsigned phase = 0; phase < PHASES; phase++) {
        for (size_t size = 9; size < 90000; size = size * 3 / 2 + 5) {
            void *p = t_root[0] = t_gc_take(size, phase & 1);
            size_t usable = sh_usable_size(p);
            EXPECT(usable >= size && sh_usable_size((char *)p + 1) == 0);
            go_to(every_phase[phase]);
            EXPECT(size_is_reported(p, usable + 1));
            EXPECT(size_is_reported(p, 1));
            EXPECT_EQ(sh_usable_size(p), usable);
            sh_free_sized(p, size);
        }
        t_gc_step_to(GC_IDLE, 1000);
    }
    EXPECT_WHOLE();
}

/* ---- realloc ---- */

static void expect_kind(const void *p, enum sh_kind kind, const char *first)
{
    struct sh_object object;
    EXPECT(sh_object_of(p, &object) && object.kind == kind && object.base == (uintptr_t)p);
    EXPECT_EQ(*(const char *)p, *first);
}

/* Grows and shrinks through small and large sizes, a reference in the second word all the while. */
static void resize_through(void **p, enum sh_kind kind, bool follows, enum gc_phase phase)
{
    static const size_t sizes[] = { 40, 64, 500, 3000, 3010, 20000, 40000, 41000, 200000, 90000, 33000, 9000, 130, 24, 16 };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uintptr_t *leaf = t_gc_take(24, SH_GC_NOSCAN);
        *leaf = t_mark_of(i);
        t_root[1] = leaf;
        go_to(phase);
        sh_gc_write(&p[1], leaf);
        size_t old = sh_usable_size(p);
        void **moved = sh_realloc(p, sizes[i]);
        EXPECT(moved != NULL && moved[1] == leaf && sh_usable_size(moved) >= sizes[i]);
        for (size_t at = old; at < sizes[i]; at++) {
            EXPECT_EQ(((char *)moved)[at], 0);
        }
        sh_gc_write(&t_root[0], kind == SH_UNCOLLECTABLE ? NULL : moved);
        sh_gc_write(&t_root[1], NULL);
        EXPECT(moved == p || gc.black || !t_lives(p));
        p = moved;
        expect_kind(p, kind, "\0");
        t_gc_step_to(GC_IDLE, 1000);
        sh_gc_collect();
        EXPECT(t_lives(p));
        if (t_lives(leaf) != follows) {
            t_fail(__FILE__, __LINE__, "%zu bytes: the leaf is %s", sizes[i], follows ? "lost" : "kept");
        }
        EXPECT(!follows || *leaf == t_mark_of(i));
        EXPECT_EQ(sh_verify(), 0);
    }
}

static void realloc_keeps_the_kind(void)
{
    for (unsigned phase = 0; phase < PHASES; phase++) {
        start();
        resize_through(t_root[0] = t_gc_take(16, 0), SH_SCAN, true, every_phase[phase]);
        resize_through(t_root[0] = t_gc_take(16, SH_GC_NOSCAN), SH_NOSCAN, false, every_phase[phase]);
        resize_through(t_gc_take(16, SH_GC_UNCOLLECTABLE), SH_UNCOLLECTABLE, true, every_phase[phase]);
        EXPECT_WHOLE();
    }
}

static void realloc_keeps_the_type(void)
{
    for (unsigned phase = 0; phase < PHASES; phase++) {
        start();
        resize_through(t_root[0] = sh_gc_new(&pair_type, 1), SH_SCAN, true, every_phase[phase]);
        EXPECT_WHOLE();
    }
}

/* The new object is born black: what the old one led to must be marked through that. */
static void realloc_during_a_cycle_loses_nothing_that_the_old_object_led_to(void)
{
    static const size_t sizes[] = { 24, 300, 100000 };
    for (unsigned from = 0; from < 3; from++) {
        for (unsigned to = 0; to < 3; to++) {
            for (unsigned typed = 0; typed < 2; typed++) {
                start();
                size_t pairs = sizes[from] / pair_type.size + 1;
                void **p = t_root[0] = typed != 0 ? sh_gc_new(&pair_type, pairs) : t_gc_take(sizes[from], 0);
                void **child = p[1] = t_gc_take(32, 0);
                void *grandchild = child[3] = t_gc_take(8, 0);
                go_to(GC_ROOTS);
                p = sh_realloc(p, sizes[to]);
                sh_gc_write(&t_root[0], p);
                t_gc_step_to(GC_IDLE, 16);
                EXPECT(t_lives(p) && p[1] == child && t_lives(child) && t_lives(grandchild));
                EXPECT_WHOLE();
            }
        }
    }
}

/* Which words of an object are followed: through a leaf in each of some. */
static void expect_followed(void **p, size_t words, const bool *pointer)
{
    t_root[0] = p;
    for (size_t i = 0; i < words; i++) {
        p[i] = t_gc_take(8, SH_GC_NOSCAN);
    }
    sh_gc_collect();
    for (size_t i = 0; i < words; i++) {
        if (t_lives(p[i]) != pointer[i]) {
            t_fail(__FILE__, __LINE__, "word %zu of %zu is %s", i, words, pointer[i] ? "not followed" : "followed");
        }
        p[i] = NULL;
    }
}

static void the_mask_of_a_type_moves_with_the_object(void)
{
    static bool pointer[300];
    static const size_t count[] = { 1, 2, 7, 40, 300 };
    start();
    for (unsigned from = 0; from < 5; from++) {
        for (unsigned to = 0; to < 5; to++) {
            size_t had = count[from] * 2, has = count[to] * 2;
            void **p = t_root[0] = sh_gc_new(&pair_type, count[from]);
            p = sh_realloc(p, has * T_WORD);
            size_t words = has < had ? has : had;
            words = words < 300 ? words : 300;
            for (size_t i = 0; i < words; i++) {
                pointer[i] = (i & 1) != 0;
            }
            expect_followed(p, words, pointer);
        }
    }
    void **wide = t_root[0] = sh_gc_new(&wide_type, 1);
    wide = sh_realloc(wide, 2 * wide_type.size);
    size_t words = wide_type.size / T_WORD;
    for (size_t i = 0; i < words; i++) {
        pointer[i] = i == 2 || i == 2 * MM_WORD_BITS;
    }
    expect_followed(wide, words, pointer);
    EXPECT_WHOLE();
}

/* What is behind the words that had a type may hold pointers. */
static void words_that_realloc_adds_are_followed(void)
{
    start();
    for (size_t size = 64; size <= 100000; size = size * 5) {
        void **p = t_root[0] = sh_gc_new(&pair_type, 1);
        size_t had = sh_usable_size(p) / T_WORD;
        p = t_root[0] = sh_realloc(p, size);
        size_t last = size / T_WORD - 1;
        EXPECT(last >= had);
        if (t_gc_span(p)->class != GC_LARGE) {
            p[last] = t_gc_take(8, 0);
            sh_gc_collect();
            EXPECT(t_lives(p[last]));
        }
    }
    EXPECT_WHOLE();
}

/* Also where they lie behind it in its slot: it grows in place, or moves with them. */
static void words_between_an_object_and_the_end_of_its_slot_are_followed(void)
{
    static size_t sizes[T_MAX_CLASSES];
    t_gc_start_checked();
    unsigned classes = t_classes(sizes), in_place = 0;
    for (unsigned class = 1; class < classes; class++) {
        size_t count = sizes[class - 1] / pair_type.size + 1, words = sizes[class] / T_WORD;
        for (unsigned moves = 0; moves < 2 && count * pair_type.size < sizes[class]; moves++) {
            void **p = t_root[0] = sh_gc_new(&pair_type, count);
            p = sh_realloc(p, sizes[class]);
            in_place += p == t_root[0];
            t_root[0] = p = moves == 0 ? p : sh_realloc(p, 2 * sizes[class]);
            void *child = p[words - 1] = t_gc_take(40, 0);
            sh_gc_collect();
            EXPECT(t_lives(child));
        }
    }
    EXPECT(in_place > 0);
    EXPECT_WHOLE();
}

static void *resized;

static void resize_it(void *p)
{
    resized = sh_realloc(p, 500);
}

static void realloc_of_what_is_gone_is_reported(void)
{
    for (unsigned phase = 0; phase < PHASES; phase++) {
        start();
        go_to(GC_IDLE);
        void *freed = t_root[0] = t_gc_take(64, 0), *dead = t_gc_take(5000, 0);
        if (every_phase[phase] != GC_IDLE) {
            t_gc_step_to(every_phase[phase], 1);
        }
        sh_free(freed);
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_realloc(", resize_it, freed) && resized == NULL);
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_realloc(", resize_it, (char *)t_root[T_ROOTS - 1] + 1));
        if (phase == PHASES - 1) {
            EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_realloc(", resize_it, dead));
        }
        t_gc_step_to(GC_IDLE, 1000);
        EXPECT_WHOLE();
    }
}

static void realloc_that_fails_leaves_the_object(void)
{
    t_gc_start(4 * T_MIB, NULL, NULL);
    uintptr_t *p = t_root[0] = t_gc_take(64, 0);
    p[1] = t_mark_of(5);
    EXPECT(sh_realloc(p, 64 * T_MIB) == NULL);
    EXPECT(sh_gc_malloc(SIZE_MAX, 0) == NULL && sh_gc_malloc(SIZE_MAX - SH_PAGE_SIZE / 2, 1) == NULL);
    EXPECT(sh_gc_malloc(SIZE_MAX / 2, 0) == NULL && sh_gc_new(&pair_type, SIZE_MAX / 4) == NULL);
    EXPECT(sh_realloc(p, SIZE_MAX) == NULL);
    EXPECT(sh_realloc(p, SIZE_MAX - 4000) == NULL);
    EXPECT(t_lives(p) && p[1] == t_mark_of(5));
    EXPECT(sh_realloc(p, 0) != NULL);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "free_takes_effect_at_once_or_at_the_sweep", free_takes_effect_at_once_or_at_the_sweep },
    { "what_a_sweep_will_free_cannot_be_freed_by_hand", what_a_sweep_will_free_cannot_be_freed_by_hand },
    { "a_pointer_that_is_no_base_is_reported", a_pointer_that_is_no_base_is_reported },
    { "a_size_must_be_that_of_the_object", a_size_must_be_that_of_the_object },
    { "realloc_keeps_the_kind", realloc_keeps_the_kind },
    { "realloc_keeps_the_type", realloc_keeps_the_type },
    { "realloc_during_a_cycle_loses_nothing_that_the_old_object_led_to",
      realloc_during_a_cycle_loses_nothing_that_the_old_object_led_to },
    { "the_mask_of_a_type_moves_with_the_object", the_mask_of_a_type_moves_with_the_object },
    { "words_that_realloc_adds_are_followed", words_that_realloc_adds_are_followed },
    { "words_between_an_object_and_the_end_of_its_slot_are_followed",
      words_between_an_object_and_the_end_of_its_slot_are_followed },
    { "realloc_of_what_is_gone_is_reported", realloc_of_what_is_gone_is_reported },
    { "realloc_that_fails_leaves_the_object", realloc_that_fails_leaves_the_object },
};

SUITE(collected_free, tests);
