/*
 * Proves that CPUs may do everything at once: allocate, link, unlink, hand over and free collected objects,
 * watch them by weak references and finalizers, add roots, while all of them run the collector too, in steps
 * and whole.  Each object says who it is; whoever looks at one checks that.
 */
#include <string.h>

#include "cpu.h"
#include "gc/state.h"
#include "kernel-test/cpus/cpus.h"

#define WINDOW ((size_t)128 << 20)
#define LISTS 8u
#define BOXES 32u
#define WATCHED 16u
#define LONGEST 400u

struct node {
    struct node *next, *other;
    uintptr_t tag, check; /* ~tag */
    uintptr_t linked;     /* some `other` may refer to it: not to be freed by hand */
};

struct watch {
    struct sh_gc_weak weak;
    uintptr_t tag;
};

/* What a CPU has. */
struct mutator {
    uint32_t seed;
    uintptr_t tags;
    unsigned length[LISTS];
    struct watch watch[WATCHED];
    uintptr_t finalized;
    bool rooted;
    struct node *extra[2]; /* a root range, now and then */
    char apart[64];
};

/* The root range: lists of each CPU, then boxes where one leaves a node for another. */
static struct node *root[CPUS_MAX * LISTS + BOXES];
static bool locked[BOXES];
static struct mutator mutators[CPUS_MAX];
static unsigned rounds;
static unsigned ways; /* how the collector is run: bits */
enum { STEPS = 1, WHOLE = 2, SWEEPS = 4, FREES = 8 };

static uint32_t below(struct mutator *m, uint32_t most)
{
    return (uint32_t)((uint64_t)t_random(&m->seed) * most >> 32);
}

static struct node **list_of(struct mutator *m, unsigned i)
{
    return &root[(unsigned)(m - mutators) * LISTS + i];
}

static struct node *load(struct node **from)
{
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

static uintptr_t word(const uintptr_t *from)
{
    return __atomic_load_n(from, __ATOMIC_RELAXED);
}

static void set(uintptr_t *to, uintptr_t value)
{
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
}

static struct node *whole(struct node *node)
{
    if (word(&node->tag) != ~word(&node->check)) {
        t_fail(__FILE__, __LINE__, "the node at %p is damaged: %zx, %zx", (void *)node, (size_t)word(&node->tag),
               (size_t)word(&node->check));
    }
    return node;
}

/* ---- nodes ---- */

static const uintptr_t two_words[] = { 3 };
static const struct sh_gc_type node_type = { sizeof(struct node), two_words, "node" };

static struct node *make(struct mutator *m)
{
    unsigned draw = below(m, 16);
    size_t size = sizeof(struct node) + (draw == 0 ? below(m, 3000) : draw == 1 ? 40000 + below(m, 40000) : below(m, 64));
    struct node *node = draw < 8 ? sh_gc_malloc(size, 0) : sh_gc_new(&node_type, 1);
    EXPECT(node != NULL);
    EXPECT(node->next == NULL && node->other == NULL && node->tag == 0 && node->check == 0);
    set(&node->tag, (uintptr_t)(m - mutators) << 24 | ++m->tags);
    set(&node->check, ~word(&node->tag));
    return node;
}

static void push(struct mutator *m, unsigned i, struct node *node)
{
    sh_gc_write(&node->next, load(list_of(m, i)));
    sh_gc_write(list_of(m, i), node);
    m->length[i]++;
}

static struct node *pop(struct mutator *m, unsigned i)
{
    struct node *node = load(list_of(m, i));
    if (node != NULL) {
        sh_gc_write(list_of(m, i), load(&whole(node)->next));
        m->length[i]--;
    }
    return node;
}

static void walk(struct mutator *m, unsigned i)
{
    unsigned length = 0;
    for (struct node *node = load(list_of(m, i)); node != NULL; node = load(&node->next), length++) {
        struct node *other = load(&whole(node)->other);
        if (other != NULL) {
            whole(other);
        }
    }
    EXPECT_EQ(length, m->length[i]);
}

static void cut(struct mutator *m, unsigned i)
{
    sh_gc_write(list_of(m, i), NULL);
    m->length[i] = 0;
}

static void relate(struct mutator *m, unsigned i, unsigned k)
{
    struct node *a = load(list_of(m, i)), *b = load(list_of(m, k));
    if (a != NULL && b != NULL) {
        set(&b->linked, 1);
        sh_gc_write(&a->other, b);
    }
}

static void grow(struct mutator *m, unsigned i)
{
    struct node *node = pop(m, i), *more;
    if (node != NULL && word(&node->linked) == 0) {
        uintptr_t tag = word(&node->tag);
        more = sh_realloc(node, sizeof *node + below(m, 2000));
        EXPECT(more != NULL && whole(more)->tag == tag);
        node = more;
    }
    if (node != NULL) {
        push(m, i, node);
    }
}

/* ---- from one CPU to another ---- */

static void lock_box(unsigned box)
{
    while (__atomic_exchange_n(&locked[box], true, __ATOMIC_ACQUIRE)) {
        arch_pause();
    }
}

static void exchange(struct mutator *m, unsigned i)
{
    unsigned box = below(m, BOXES);
    struct node *mine = pop(m, i), *other;
    lock_box(box);
    other = load(&root[CPUS_MAX * LISTS + box]);
    sh_gc_write(&root[CPUS_MAX * LISTS + box], mine);
    __atomic_store_n(&locked[box], false, __ATOMIC_RELEASE);
    if (other != NULL) {
        push(m, i, whole(other));
    }
}

static void free_one(struct mutator *m, unsigned i)
{
    struct node *node = (ways & FREES) != 0 ? pop(m, i) : NULL;
    if (node != NULL && word(&node->linked) == 0) {
        set(&node->check, 0);
        sh_free(node);
    }
}

/* ---- weak references and finalizers ---- */

static void watch(struct mutator *m, unsigned i)
{
    struct watch *watch = &m->watch[below(m, WATCHED)];
    struct node *node = load(list_of(m, i));
    if (node != NULL) {
        EXPECT_EQ(sh_gc_weak_create(&watch->weak, node), SH_OK);
        watch->tag = word(&node->tag);
    }
}

static void look(struct mutator *m)
{
    struct watch *watch = &m->watch[below(m, WATCHED)];
    struct node *node = sh_gc_weak_get(watch->weak);
    /* It may be another CPU's by now, and freed by that. */
    EXPECT(node == NULL || (ways & FREES) != 0 || word(&whole(node)->tag) == watch->tag);
}

static void finalizer(void *object, void *arg)
{
    struct mutator *m = arg;
    whole(object);
    __atomic_fetch_add(&m->finalized, 1, __ATOMIC_RELAXED);
}

static void finalize(struct mutator *m, unsigned i)
{
    struct node *node = load(list_of(m, i));
    if (node != NULL && word(&node->linked) == 0) {
        EXPECT_EQ(sh_gc_set_finalizer(node, finalizer, m), SH_OK);
    }
}

/* ---- roots ---- */

static void change_roots(struct mutator *m, unsigned i)
{
    if (m->rooted) {
        struct node *node = load(&m->extra[1]);
        sh_gc_remove_root(m->extra);
        m->rooted = false;
        if (node != NULL) {
            push(m, i, whole(node));
        }
        return;
    }
    struct node *node = pop(m, i);
    m->extra[0] = NULL;
    m->extra[1] = node;
    EXPECT_EQ(sh_gc_add_root(m->extra, sizeof m->extra), SH_OK);
    m->rooted = true;
}

/* ---- all at once ---- */

static void collector(struct mutator *m)
{
    switch (below(m, 20)) {
    case 0:
        if ((ways & WHOLE) != 0) {
            sh_gc_collect();
        }
        return;
    case 1: case 2: case 3:
        if ((ways & SWEEPS) != 0) {
            sh_gc_sweep_step(1 + below(m, 4));
        }
        return;
    default:
        if ((ways & STEPS) != 0) {
            sh_gc_step(1 + below(m, 8000));
        }
    }
}

static void one_step(struct mutator *m)
{
    unsigned i = below(m, LISTS);
    switch (below(m, 20)) {
    case 0: case 1:
        walk(m, i);
        break;
    case 2:
        relate(m, i, below(m, LISTS));
        break;
    case 3:
        grow(m, i);
        break;
    case 4: case 5: case 6:
        exchange(m, i);
        break;
    case 7: case 8:
        free_one(m, i);
        break;
    case 9:
        watch(m, i);
        break;
    case 10:
        look(m);
        break;
    case 11:
        finalize(m, i);
        sh_gc_run_finalizers(2);
        break;
    case 12:
        change_roots(m, i);
        break;
    case 13:
        collector(m);
        break;
    case 14:
        (void)pop(m, i);
        break;
    default:
        push(m, i, make(m));
    }
    if (m->length[i] > LONGEST) {
        cut(m, i);
    }
}

static void mutate(void *arg)
{
    struct mutator *m = &mutators[sh_kernel_cpu()];
    (void)arg;
    for (unsigned i = 0; i < rounds; i++) {
        one_step(m);
    }
    for (unsigned i = 0; i < LISTS; i++) {
        walk(m, i);
    }
    if (m->rooted) {
        sh_gc_remove_root(m->extra);
    }
}

static bool count_live(const struct sh_object *object, void *arg)
{
    *(size_t *)arg += object->live && object->kind != SH_MANUAL;
    return true;
}

/* All lists go, and so does everything when finalizers have run; one that is due keeps others from that. */
static void expect_nothing_left(void)
{
    size_t live = 0;
    memset(root, 0, sizeof root);
    cpus_forget_stacks();
    do {
        sh_gc_collect();
    } while (sh_gc_run_finalizers(SIZE_MAX) != 0);
    sh_each_object(count_live, &live);
    EXPECT_EQ(live, 0);
    for (unsigned i = 0; i < CPUS_MAX; i++) {
        for (unsigned k = 0; k < WATCHED; k++) {
            EXPECT(sh_gc_weak_get(mutators[i].watch[k].weak) == NULL);
        }
    }
    EXPECT_EQ(sh_verify(), 0);
}

static void run(unsigned cpus, unsigned how, unsigned tier, const struct sh_gc_config *config)
{
    static unsigned runs;
    cpus_start(cpus, WINDOW, tier, config, (enum cpus_help)(runs++ % 4), true);
    memset(root, 0, sizeof root);
    memset(mutators, 0, sizeof mutators);
    ways = how;
    rounds = cpus > 4 ? 16000 / cpus : cpus > 1 ? 4000 : 8000;
    for (unsigned i = 0; i < CPUS_MAX; i++) {
        mutators[i].seed = 0xC0FFEE00u + i + 16 * runs + 1000 * test_seeds;
    }
    EXPECT_EQ(sh_gc_add_root(root, sizeof root), SH_OK);
    cpus_run(mutate, NULL);
    EXPECT_EQ(sh_verify(), 0);
    struct sh_gc_stats stats;
    sh_gc_stats(&stats);
    EXPECT(how == 0 || stats.cycles > 3);
    expect_nothing_left();
}

static const struct sh_gc_config checked = { .size = sizeof checked, .check = true };
static const struct sh_gc_config automatic = { .size = sizeof automatic, .automatic = true, .min_heap = 1 << 20 };

static void steps_go_on_beside_mutators(void)
{
    run(2, STEPS | SWEEPS, 0, &checked);
    run(4, STEPS | SWEEPS, 0, &checked);
    run(4, STEPS, 0, NULL);
}

static void every_cpu_may_collect(void)
{
    run(2, WHOLE | SWEEPS, 0, &checked);
    run(4, WHOLE, 0, NULL);
}

static void steps_collections_and_frees_meet(void)
{
    run(2, STEPS | WHOLE | SWEEPS | FREES, 0, &checked);
    run(4, STEPS | WHOLE | SWEEPS | FREES, 0, &checked);
}

static void collections_start_by_themselves(void)
{
    run(4, 0, 0, &automatic);
    run(3, FREES, 0, &automatic);
}

static void dead_objects_are_filled_beside_mutators(void)
{
    run(3, STEPS | WHOLE | SWEEPS | FREES, 1, &checked);
    run(3, STEPS | WHOLE | SWEEPS | FREES, 2, NULL);
}

/* Those that the heap is built for: one, or 64. */
static void all_cpus_do_everything(void)
{
    run(SH_MAX_CPUS, STEPS | WHOLE | SWEEPS | FREES, 0, &checked);
    run(SH_MAX_CPUS, STEPS | SWEEPS | FREES, 2, NULL);
    run(SH_MAX_CPUS, FREES, 0, &automatic);
}

/* ---- the same object ---- */

static void *victim;

static void free_victim(void *arg)
{
    (void)arg;
    cpus_meet();
    sh_free(victim);
}

static void freed_by_two_cpus_it_is_misuse_once(void)
{
    for (unsigned i = 0; i < 200; i++) {
        if (i % 50 == 0) {
            cpus_start(2 + i / 50 % 2, WINDOW, i / 100, NULL, HELP_NOT, false);
        }
        if (i % 3 == 0) {
            sh_gc_step(1);
        }
        victim = sh_gc_malloc(i % 7 == 0 ? 50000 : 8 + i, 0);
        cpus_expect_misuse();
        cpus_run(free_victim, NULL);
        EXPECT_EQ(cpus_misused(), cpus_count() - 1);
        EXPECT_EQ(sh_verify(), 0);
    }
}

/* ---- the same span ---- */

#define HALVES 256u

static void *halves[2][HALVES]; /* of a page each: [0][i] and [1][i] are in one span */

static void free_halves(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < HALVES; i++) {
        cpus_meet();
        sh_free(halves[sh_kernel_cpu()][i]);
    }
}

/* The first free of an object in a span that is to be swept sweeps it; there are two at once. */
static void two_cpus_that_want_a_span_swept_sweep_it_once(void)
{
    for (unsigned round = 0; round < 8; round++) {
        cpus_start(2, WINDOW, 0, NULL, HELP_NOT, false);
        EXPECT_EQ(sh_gc_add_root(halves, sizeof halves), SH_OK);
        for (unsigned i = 0; i < 2 * HALVES; i++) {
            halves[i % 2][i / 2] = sh_gc_malloc(SH_PAGE_SIZE / 2, SH_GC_NOSCAN);
        }
        while (gc.phase != GC_SWEEP) {
            sh_gc_step(1);
        }
        size_t unswept = gc.unswept;
        EXPECT_EQ(unswept, HALVES);
        cpus_run(free_halves, NULL);
        EXPECT_EQ(gc.unswept, 0);
        EXPECT_EQ(gc.stats.spans_swept, unswept);
        EXPECT_EQ(gc.stats.objects_freed, 2 * HALVES);
        EXPECT_EQ(gc.span_count, 0);
        EXPECT_EQ(sh_verify(), 0);
    }
}

/* ---- a slot in hand ---- */

static bool in_hand, go_on;
static unsigned char *damaged, *fresh[600];

static void wait_for(bool *flag)
{
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        arch_pause();
    }
}

/* The free of a damaged object is here, before it fills it. */
static void wait_in_free(void)
{
    __atomic_store_n(&in_hand, true, __ATOMIC_RELEASE);
    wait_for(&go_on);
}

static void (*meanwhile)(void);

static void free_or_not(void *arg)
{
    (void)arg;
    if (sh_kernel_cpu() != 0) {
        sh_free(damaged);
        return;
    }
    wait_for(&in_hand);
    meanwhile();
    __atomic_store_n(&go_on, true, __ATOMIC_RELEASE);
}

/* Writes past the end of `damaged`, of `size` bytes; one CPU frees it, and stands in that while the other does fn. */
static void stand_in_free(size_t size, void (*fn)(void))
{
    in_hand = go_on = false;
    meanwhile = fn;
    damaged[size] ^= 0xFF;
    cpus_expect_misuse();
    cpus_on_misuse(wait_in_free);
    cpus_run(free_or_not, NULL);
    EXPECT_EQ(cpus_misused(), 1);
}

static void reuse(void)
{
    while (gc.phase != GC_SWEEP) {
        sh_gc_step(1);
    }
    sh_gc_sweep_step(1000);
    for (unsigned i = 0; i < sizeof fresh / sizeof fresh[0]; i++) {
        fresh[i] = sh_gc_malloc(40, SH_GC_NOSCAN);
        memset(fresh[i], 0x5A, 40);
        EXPECT(fresh[i] != damaged);
    }
}

/* A cycle ends, and its sweep comes, while one CPU is between the claim of a slot and the end of its free. */
static void a_slot_that_is_being_freed_is_not_given_away(void)
{
    for (unsigned round = 0; round < 4; round++) {
        cpus_start(2, WINDOW, 2, NULL, HELP_NOT, false);
        EXPECT_EQ(sh_gc_add_root(fresh, sizeof fresh), SH_OK);
        memset(fresh, 0, sizeof fresh);
        size_t size = round % 2 == 0 ? 40 : 50000;
        for (unsigned i = 0; i < 40 + round; i++) {
            damaged = sh_gc_malloc(size, SH_GC_NOSCAN);
        }
        stand_in_free(size, reuse);
        for (unsigned i = 0; i < sizeof fresh / sizeof fresh[0]; i++) {
            for (unsigned k = 0; k < 40; k++) {
                EXPECT_EQ(fresh[i][k], 0x5A);
            }
        }
        sh_gc_collect();
        EXPECT_EQ(cpus_misused(), 1); /* the sweep does not look at it again */
        EXPECT_EQ(sh_verify(), 0);
    }
}

static void begin(void)
{
    sh_gc_step(1);
    EXPECT(gc.black);
}

/* A cycle begins meanwhile: the object is filled, and its slot waits for the sweep. */
static void an_object_that_waits_for_its_sweep_has_no_zone(void)
{
    for (unsigned round = 0; round < 2; round++) {
        size_t size = round == 0 ? 40 : 50000;
        cpus_start(2, WINDOW, 2, NULL, HELP_NOT, false);
        EXPECT_EQ(sh_gc_add_root(&damaged, sizeof damaged), SH_OK);
        damaged = sh_gc_malloc(size, SH_GC_NOSCAN);
        stand_in_free(size, begin);
        EXPECT_EQ(sh_verify(), 0);
        sh_gc_collect();
        EXPECT(!sh_object_of(damaged, NULL));
        EXPECT_EQ(sh_verify(), 0);
        EXPECT_EQ(cpus_misused(), 1);
    }
}

static const struct test tests[] = {
    { "an_object_that_waits_for_its_sweep_has_no_zone", an_object_that_waits_for_its_sweep_has_no_zone },
    { "a_slot_that_is_being_freed_is_not_given_away", a_slot_that_is_being_freed_is_not_given_away },
    { "two_cpus_that_want_a_span_swept_sweep_it_once", two_cpus_that_want_a_span_swept_sweep_it_once },
    { "steps_go_on_beside_mutators", steps_go_on_beside_mutators },
    { "every_cpu_may_collect", every_cpu_may_collect },
    { "steps_collections_and_frees_meet", steps_collections_and_frees_meet },
    { "collections_start_by_themselves", collections_start_by_themselves },
    { "dead_objects_are_filled_beside_mutators", dead_objects_are_filled_beside_mutators },
    { "all_cpus_do_everything", all_cpus_do_everything },
    { "freed_by_two_cpus_it_is_misuse_once", freed_by_two_cpus_it_is_misuse_once },
};

SUITE(mutators, tests);
