/*
 * Proves that it all holds together: everything that a program can do, in random order, in random modes,
 * against a table of what it holds; sh_verify and the second marker look on.
 *
 * The table's objects form a forest below t_root and the uncollectable ones, as each is referred to by one
 * other at most: so what the table holds is live, and what left it, with all below, is dead after a cycle.
 */
#include "kernel-test/test_gc_util.h"

#define SLOTS 200u

struct held {
    void **at; /* word 0: the number, marked; word 1: the object below, or NULL */
    uintptr_t number;
    size_t size;
    unsigned flags;
    bool typed, final;
    struct sh_gc_weak weak;
};

static struct held held[SLOTS];
static struct {
    unsigned char *at;
    size_t size;
    uint32_t seed;
} manual[64];
static uintptr_t numbers;
static uint32_t seed;
static unsigned expected_finals, finals;

static const uintptr_t pair_mask = 2;
static const struct sh_gc_type pair_type = { 2 * T_WORD, &pair_mask, "pair" };

static void final(void *object, void *arg)
{
    EXPECT(t_lives(object) && *(uintptr_t *)object == t_mark_of((uintptr_t)arg));
    finals++;
}

static void expect_object(const struct held *h)
{
    struct sh_object object;
    if (!sh_object_of(h->at, &object) || object.base != (uintptr_t)h->at || h->at[0] != (void *)t_mark_of(h->number)) {
        t_fail(__FILE__, __LINE__, "object %zu of %zu bytes, flags %u, at %p is lost", (size_t)h->number, h->size,
               h->flags, (void *)h->at);
    }
    EXPECT(h->weak.handle == 0 || sh_gc_weak_get(h->weak) == h->at);
    if (h->flags != SH_GC_NOSCAN) {
        const uintptr_t *below = h->at[1];
        EXPECT(below == NULL || (t_lives(below) && below[0] == t_mark_of(h->number + 1000000)));
    }
}

static void expect_all(void)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (held[i].at != NULL) {
            expect_object(&held[i]);
        }
    }
    for (unsigned i = 0; i < 64; i++) {
        EXPECT(manual[i].at == NULL || t_holds(manual[i].at, manual[i].size, manual[i].seed));
    }
}

static void drop(unsigned i)
{
    struct held *h = &held[i];
    if (h->at != NULL && (h->flags == SH_GC_UNCOLLECTABLE || t_below(&seed, 4) == 0)) {
        sh_free(h->at);
        EXPECT(h->weak.handle == 0 || sh_gc_weak_get(h->weak) == NULL);
    } else {
        expected_finals += h->final;
    }
    sh_gc_write(&t_root[i], NULL);
    h->at = NULL;
}

static void make(unsigned i)
{
    struct held *h = &held[i];
    size_t size = 2 * T_WORD + t_below(&seed, t_below(&seed, 40) == 0 ? 60000 : t_below(&seed, 3) == 0 ? 3000 : 100);
    uint32_t draw = t_below(&seed, 8);
    void **p;
    *h = (struct held){ .size = size, .typed = draw == 0 };
    h->flags = draw == 1 ? SH_GC_UNCOLLECTABLE : draw == 2 ? SH_GC_NOSCAN : 0;
    p = h->typed ? sh_gc_new(&pair_type, size >> 5 | 1) : sh_gc_malloc(size, h->flags);
    if (p == NULL) {
        return;
    }
    EXPECT(p[0] == NULL && p[1] == NULL);
    h->at = p;
    h->size = h->typed ? (size >> 5 | 1) * pair_type.size : size;
    h->number = ++numbers;
    p[0] = (void *)t_mark_of(h->number);
    sh_gc_write(&t_root[i], h->flags == SH_GC_UNCOLLECTABLE ? NULL : p);
    if (t_below(&seed, 10) == 0) {
        h->final = sh_gc_set_finalizer(p, final, (void *)h->number) == SH_OK;
    }
    if (t_below(&seed, 6) == 0 && sh_gc_weak_create(&h->weak, p) != SH_OK) {
        h->weak.handle = 0;
    }
}

/* A new object below a held one; the one that was there is lost. */
static void hang(struct held *h)
{
    if (h->at != NULL && h->flags != SH_GC_NOSCAN) {
        uintptr_t *below = sh_gc_malloc(T_WORD << t_below(&seed, 8), SH_GC_NOSCAN);
        if (below != NULL) {
            below[0] = t_mark_of(h->number + 1000000);
            sh_gc_write(&h->at[1], below);
        }
    }
}

static void resize(unsigned i)
{
    struct held *h = &held[i];
    size_t size = 2 * T_WORD + t_below(&seed, t_below(&seed, 20) == 0 ? 50000 : 600);
    void **p = h->at == NULL ? NULL : sh_realloc(h->at, size);
    if (p != NULL) {
        h->at = p;
        h->size = size;
        sh_gc_write(&t_root[i], h->flags == SH_GC_UNCOLLECTABLE ? NULL : p);
    }
}

static void manual_one(unsigned i)
{
    if (manual[i].at != NULL) {
        EXPECT(t_holds(manual[i].at, manual[i].size, manual[i].seed));
        sh_free(manual[i].at);
        manual[i].at = NULL;
        return;
    }
    manual[i].size = t_below(&seed, 5000);
    manual[i].seed = t_random(&seed);
    manual[i].at = sh_malloc(manual[i].size);
    if (manual[i].at != NULL) {
        t_fill(manual[i].at, manual[i].size, manual[i].seed);
    }
}

static void run_finalizers(void)
{
    sh_gc_run_finalizers(1 + t_below(&seed, 5));
}

static void act(void)
{
    unsigned i = t_below(&seed, SLOTS);
    switch (t_below(&seed, 32)) {
    default: held[i].at == NULL ? make(i) : drop(i); break;
    case 0: case 1: case 2: case 3: case 4: case 5: hang(&held[i]); break;
    case 6: case 7: resize(i); break;
    case 8: case 9: manual_one(i & 63); break;
    case 10: case 11: case 12: case 13: case 14: sh_gc_step(1 + t_below(&seed, 400)); break;
    case 15: sh_gc_sweep_step(t_below(&seed, 4)); break;
    case 16: run_finalizers(); break;
    case 17: if (t_below(&seed, 20) == 0) { sh_gc_collect(); } break;
    case 18: if (t_below(&seed, 50) == 0) { sh_trim(t_below(&seed, 1u << 20)); } break;
    case 19: /* on demand a handler may not touch what is new */
        rig_context(mm_mode.demand ? SH_THREAD : SH_INTERRUPT);
        hang(&held[i]);
        rig_context(SH_THREAD);
        break;
    case 20: if (t_below(&seed, 200) == 0) { EXPECT(sh_leak_check(NULL, NULL) != SIZE_MAX); } break;
    }
}

/* At the end nothing is left but what the table holds, and then not even that. */
static void wind_up(void)
{
    expect_all();
    for (unsigned i = 0; i < 64; i++) {
        if (manual[i].at != NULL) {
            manual_one(i);
        }
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (held[i].at != NULL) {
            drop(i);
        }
    }
    do {
        sh_gc_collect();
    } while (sh_gc_run_finalizers(SIZE_MAX) != 0);
    EXPECT_EQ(finals, expected_finals);
    EXPECT_EQ(t_gc_live_count(), 0);
    EXPECT_WHOLE();
}

static void soak(unsigned mode, unsigned long actions)
{
    struct sh_gc_config config = { .size = sizeof config, .automatic = true, .min_heap = 64 * T_KIB };
    struct sh_config heap = { .size = sizeof heap, .hooks = rig_hooks() };
    seed = 0x50A4 + mode;
    config.check = mode % 3 == 0;
    heap.tier = mode < 5 ? mode : 0;
    heap.zero = mode == 5;
    heap.demand = mode == 6;
    heap.quarantine = mode == 7 ? 32 * T_KIB : 0;
    heap.guard_sample = mode == 7 ? 9 : 0;
    heap.limit = mode == 8 ? 3 * T_MIB : 0;
    if (mode == 4) {
        actions /= 8; /* addresses do not come back */
    }
    t_gc_start(mode == 8 ? 12 * T_MIB : 0, &heap, &config);
    for (unsigned i = 0; i < SLOTS; i++) {
        held[i].at = NULL;
        manual[i & 63].at = NULL;
    }
    finals = expected_finals = 0;
    for (unsigned long n = 1; n <= actions; n++) {
        act();
        if (n % 512 == 0) {
            expect_all();
        }
        if (n % 2048 == 0 && sh_verify() != 0) {
            t_fail(__FILE__, __LINE__, "mode %u, after %lu actions: %s", mode, n, rig_log());
        }
    }
    wind_up();
}

static unsigned long actions_here(void)
{
    return rig_is_machine() ? 3000 : test_seeds != 0 ? 200000ul * test_seeds : 20000;
}

static void everything_at_once_in_tiers(void)
{
    for (unsigned mode = 0; mode < 5; mode++) {
        soak(mode, actions_here());
    }
}

static void everything_at_once_in_other_modes(void)
{
    for (unsigned mode = 5; mode < 9; mode++) {
        soak(mode, actions_here());
    }
}

static void uncounted(void *object, void *arg)
{
    (void)arg;
    EXPECT(t_lives(object));
}

static void finalizers_and_weak_references_come_and_go_without_a_trace(void)
{
    static struct sh_gc_weak weak[300];
    unsigned rounds = rig_is_machine() ? 4 : 40;
    struct sh_stats first, last;
    t_gc_start_checked();
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 300; i++) {
            void *p = t_gc_take(16 + 8 * (i & 7), i & 1);
            t_root[i & 127] = (i & 3) == 0 ? p : t_root[i & 127];
            EXPECT_EQ(sh_gc_weak_create(&weak[i], p), SH_OK);
            if (i % 10 == 0) {
                EXPECT_EQ(sh_gc_set_finalizer(p, uncounted, NULL), SH_OK);
            }
        }
        sh_gc_collect();
        while (sh_gc_run_finalizers(3) != 0) {
        }
        sh_gc_collect();
        EXPECT_EQ(sh_verify(), 0);
        sh_stats(round == 0 ? &first : &last);
    }
    EXPECT(last.meta_bytes <= first.meta_bytes + 16 * SH_GRANULE_SIZE);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "finalizers_and_weak_references_come_and_go_without_a_trace",
      finalizers_and_weak_references_come_and_go_without_a_trace },
    { "everything_at_once_in_tiers", everything_at_once_in_tiers },
    { "everything_at_once_in_other_modes", everything_at_once_in_other_modes },
};

SUITE(soak, tests);
