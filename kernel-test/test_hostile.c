/*
 * Proves that a root may hold anything: words at and beside every boundary that there is, addresses of the
 * heap's own records, of holes, of devices, random bits.  None faults, and each keeps exactly the object that
 * it lies in, if it lies in one.
 */
#include "kernel-test/test_gc_util.h"

#include "mm/arena.h"
#include "mm/linear.h"

#define OBJECTS 400u
#define WORDS 1024u

static struct {
    uintptr_t base;
    size_t size;
    bool live, expected;
} object[OBJECTS];

static uintptr_t word[WORDS];
static unsigned word_count;
static uint32_t seed;

/* ---- objects ---- */

static size_t some_size(void)
{
    uint32_t draw = t_below(&seed, 64);
    return draw == 0 ? MM_CLASS_LIMIT + t_below(&seed, 3 * 8192) : t_below(&seed, draw < 8 ? 3000 : 300);
}

static void populate(void)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (!object[i].live) {
            void *p = t_gc_take(some_size(), t_below(&seed, 2) == 0 ? SH_GC_NOSCAN : 0);
            object[i].base = (uintptr_t)p;
            object[i].size = sh_usable_size(p);
            object[i].live = true;
        }
    }
}

/* Which objects the words lie in. */
static void expect_those(void)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i].expected = false;
        for (unsigned w = 0; w < word_count && !object[i].expected; w++) {
            object[i].expected = word[w] - object[i].base < object[i].size;
        }
    }
}

static void expect_no_others(void)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        if (t_lives((void *)object[i].base) != object[i].expected) {
            t_fail(__FILE__, __LINE__, "object %p of %zu bytes is %s", (void *)object[i].base, object[i].size,
                   object[i].expected ? "lost" : "kept by no word");
        }
        object[i].live = object[i].expected;
    }
}

static void expect_exact(void)
{
    expect_those();
    sh_gc_collect();
    expect_no_others();
}

/* ---- words ---- */

static void flush(void)
{
    populate();
    for (unsigned i = word_count; i < WORDS; i++) {
        word[i] = 0;
    }
    expect_exact();
    word_count = 0;
}

/* Many words at once would keep everything: some each time. */
static void add(uintptr_t value)
{
    if (word_count == WORDS) {
        flush();
    }
    word[word_count++] = value;
}

static void around(uintptr_t value)
{
    add(value - 1);
    add(value);
    add(value + 1);
}

static void start(void)
{
    size_t size;
    uintptr_t base = rig_area(&size);
    const struct sh_gc_config config = { .size = sizeof config, .check = true };
    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i].live = false;
    }
    word_count = 0;
    seed = 0x0BADCAFE;
    t_gc_start(24 * T_MIB, NULL, &config);
    /* A hole, and a window above it. */
    EXPECT_EQ(rig_window(base + 32 * T_MIB, 4 * T_MIB), SH_OK);
    EXPECT_EQ(sh_gc_add_root(word, sizeof word), SH_OK);
    populate();
}

static void words_beside_every_object_keep_what_they_lie_in(void)
{
    start();
    for (unsigned i = 0; i < OBJECTS; i += rig_is_machine() ? 4 : 1) {
        around(object[i].base);
        around(object[i].base + object[i].size);
        if (word_count > 120) {
            flush();
        }
    }
    flush();
    EXPECT_WHOLE();
}

static void words_beside_every_span_keep_what_they_lie_in(void)
{
    start();
    uintptr_t at = 0;
    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        around(span->base);
        around(span->base + mm_span_bytes(span));
        around(span->base + span->slots * span->size);
        if (word_count > 60) {
            flush();
        }
    }
    flush();
    EXPECT_WHOLE();
}

static void words_at_the_heap_s_own_records_keep_nothing(void)
{
    start();
    uintptr_t at = 0;
    for (unsigned i = 0; i < OBJECTS; i += 16) {
        struct gc_span *gs = t_gc_span((void *)object[i].base);
        around((uintptr_t)gs);
        around((uintptr_t)gs->span);
        around((uintptr_t)gs->marked);
        add((uintptr_t)gs->span->free);
    }
    for (struct mm_arena *arena = mm_arena_next(at); arena != NULL; arena = mm_arena_after(arena)) {
        around((uintptr_t)arena);
        around(arena->base);
        around(arena->base + MM_ARENA_SIZE);
        around((uintptr_t)&arena->spans[MM_ARENA_PAGES]);
    }
    around((uintptr_t)gc.classes);
    around((uintptr_t)&gc);
    around((uintptr_t)word);
    flush();
    EXPECT_WHOLE();
}

static void words_outside_every_window_keep_nothing(void)
{
    static const uintptr_t device[] = { 0xA0000u, 0xB8000u, 0x09000000u, 0x08000000u, 0xFEC00000u, 0xFEE00000u,
                                        0xF0000000u, 0xF1FFFFFFu, 0xC0000000u, 0xFFFFFFFFu };
    size_t size;
    uintptr_t base = rig_area(&size);
    start();
    for (unsigned i = 0; i < sizeof device / sizeof device[0]; i++) {
        around(device[i]);
    }
    around(0);
    around(base);
    around(base + size);
    around(base + 24 * T_MIB);
    around(base + 32 * T_MIB);
    around(base + 36 * T_MIB);
    around((uintptr_t)1 << (8 * T_WORD - 1));
    around(gc.lowest);
    around(gc.highest + 1);
    for (uintptr_t hole = base + 24 * T_MIB; hole < base + 32 * T_MIB; hole += 64 * T_KIB) {
        add(hole + t_below(&seed, 64 * 1024));
    }
    flush();
    EXPECT_WHOLE();
}

static void every_page_of_the_area_may_stand_in_a_root(void)
{
    size_t size;
    uintptr_t base = rig_area(&size);
    start();
    for (size_t at = 0; at < 40 * T_MIB; at += (rig_is_machine() ? 61 : 7) * T_KIB) {
        add(base + at + t_below(&seed, 4096));
        if (word_count > 200) {
            flush();
        }
    }
    flush();
    EXPECT_WHOLE();
}

static void random_bits_keep_what_they_lie_in(void)
{
    size_t size;
    uintptr_t base = rig_area(&size);
    start();
    for (unsigned i = 0; i < (rig_is_machine() ? 10u : 200u); i++) {
        for (unsigned n = 0; n < 500; n++) {
            uintptr_t bits = (uintptr_t)((uint64_t)t_random(&seed) << 32);
            add((bits ^ t_random(&seed)) >> t_below(&seed, 8 * T_WORD));
            add(base + t_below(&seed, 24u << 20));
            add(base ^ (uintptr_t)1 << t_below(&seed, 8 * T_WORD));
        }
        flush();
    }
    EXPECT_WHOLE();
}

/* The same words inside a conservative object, and in a typed one, count as they do in a root. */
static void hostile_words_in_objects_keep_what_they_lie_in(void)
{
    static const uintptr_t mask[] = { ~(uintptr_t)0, ~(uintptr_t)0 };
    static const struct sh_gc_type type = { 2 * MM_WORD_BITS * T_WORD, mask, "words" };
    start();
    sh_gc_remove_root(word);
    for (unsigned round = 0; round < (rig_is_machine() ? 4u : 40u); round++) {
        uintptr_t *holder = (round & 1) != 0 ? t_gc_take(WORDS * T_WORD, 0)
                                             : sh_gc_new(&type, WORDS / (2 * MM_WORD_BITS));
        t_root[0] = holder;
        populate();
        for (unsigned i = 0; i < WORDS; i++) {
            uintptr_t base = object[t_below(&seed, OBJECTS)].base;
            word[i] = i % 8 != 0 ? t_random(&seed) : base + t_below(&seed, 64) - 32;
            holder[i] = word[i];
        }
        word_count = WORDS;
        expect_exact();
        t_root[0] = NULL;
        word_count = 0;
        expect_exact(); /* no word of the next round may lie in this holder */
    }
    EXPECT_WHOLE();
}

/* What a store overwrites while a cycle marks may be anything too.  The holder is not looked into: the barrier
 * alone sees the words. */
static void hostile_words_that_are_overwritten_keep_what_they_lie_in(void)
{
    size_t size;
    uintptr_t area = rig_area(&size);
    start();
    sh_gc_remove_root(word);
    uintptr_t *holder = t_root[0] = t_gc_take(WORDS * T_WORD, SH_GC_NOSCAN);
    for (unsigned round = 0; round < (rig_is_machine() ? 4u : 40u); round++) {
        populate();
        for (unsigned i = 0; i < WORDS; i++) {
            uintptr_t base = object[t_below(&seed, OBJECTS)].base;
            switch (i % 8) {
            case 0: word[i] = base + t_below(&seed, 64) - 32; break;
            case 1: word[i] = (uintptr_t)t_gc_span((void *)base) + t_below(&seed, 64); break;
            case 2: word[i] = area + t_below(&seed, 40u << 20); break;
            default: word[i] = t_random(&seed);
            }
            holder[i] = word[i];
        }
        word_count = WORDS;
        expect_those();
        EXPECT(!sh_gc_step(1));
        for (unsigned i = 0; i < WORDS / 2; i++) {
            sh_gc_write(&holder[i], NULL);
        }
        sh_gc_copy(&holder[WORDS / 2], NULL, WORDS / 2 * T_WORD);
        t_gc_step_to(GC_IDLE, 100);
        expect_no_others();
        word_count = 0;
        expect_exact(); /* all go */
    }
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "words_beside_every_object_keep_what_they_lie_in", words_beside_every_object_keep_what_they_lie_in },
    { "words_beside_every_span_keep_what_they_lie_in", words_beside_every_span_keep_what_they_lie_in },
    { "words_at_the_heap_s_own_records_keep_nothing", words_at_the_heap_s_own_records_keep_nothing },
    { "words_outside_every_window_keep_nothing", words_outside_every_window_keep_nothing },
    { "every_page_of_the_area_may_stand_in_a_root", every_page_of_the_area_may_stand_in_a_root },
    { "random_bits_keep_what_they_lie_in", random_bits_keep_what_they_lie_in },
    { "hostile_words_in_objects_keep_what_they_lie_in", hostile_words_in_objects_keep_what_they_lie_in },
    { "hostile_words_that_are_overwritten_keep_what_they_lie_in",
      hostile_words_that_are_overwritten_keep_what_they_lie_in },
};

SUITE(hostile, tests);
