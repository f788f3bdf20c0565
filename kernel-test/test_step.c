/*
 * Proves what steps promise: a cycle in pieces keeps and frees what a whole one would, whatever the program
 * does between two of them, as long as it stores through the barrier; without it an object is lost; and no
 * step does more than it was allowed.
 *
 * A mutator works on a table of objects, each with a number, a word made of that, and four references.  The
 * model is the table: what it reaches must be whole at any time, what it did not reach when a cycle began
 * must be gone when that has ended.
 */
#include "kernel-test/test_gc_util.h"

#include "gc/mark.h"
#include "kernel-test/k_string.h"

#define NODES 256u
#define FIELDS 4u
#define NODE_ROOTS 16u
#define NONE 0xFFFFu

/* An object: three words of its own, then references. */
struct body {
    uintptr_t number, mark, noise;
    struct body *field[FIELDS];
};

static struct node {
    struct body *at; /* NULL = no object: never made, or dead */
    uintptr_t number;
    uint16_t field[FIELDS];
    bool reached, doomed; /* doomed: not reached when the cycle began */
} node[NODES];

static uint16_t node_root[NODE_ROOTS], work[NODES];
static uintptr_t numbers;
static uint32_t seed;
static bool plain, lost; /* stores go past the barrier; an object was lost by that */

static const uintptr_t body_mask = 0x78;
static const struct sh_gc_type body_type = { sizeof(struct body), &body_mask, "body" };

/* ---- the model ---- */

static void reach(uint16_t to, unsigned *depth)
{
    if (to != NONE && !node[to].reached) {
        EXPECT(node[to].at != NULL);
        node[to].reached = true;
        work[(*depth)++] = to;
    }
}

static void mark(void)
{
    unsigned depth = 0;
    for (unsigned i = 0; i < NODES; i++) {
        node[i].reached = false;
    }
    for (unsigned i = 0; i < NODE_ROOTS; i++) {
        reach(node_root[i], &depth);
    }
    while (depth != 0) {
        const struct node *from = &node[work[--depth]];
        for (unsigned i = 0; i < FIELDS; i++) {
            reach(from->field[i], &depth);
        }
    }
}

/* Is it there, and does it hold what was stored? */
static bool is_intact(const struct node *n)
{
    bool intact = t_lives(n->at) && n->at->number == n->number && n->at->mark == t_mark_of(n->number);
    for (unsigned f = 0; f < FIELDS && intact; f++) {
        intact = n->at->field[f] == (n->field[f] == NONE ? NULL : node[n->field[f]].at);
    }
    return intact;
}

/* One that is reached and is not intact; NULL = none. */
static const struct node *lost_node(void)
{
    mark();
    for (unsigned i = 0; i < NODES; i++) {
        if (node[i].reached && !is_intact(&node[i])) {
            return &node[i];
        }
    }
    return NULL;
}

static void expect_intact(void)
{
    const struct node *n = lost_node();
    if (n != NULL) {
        t_fail(__FILE__, __LINE__, "object %zu at %p is lost", (size_t)n->number, (void *)n->at);
    }
}

static void begin_cycle(void)
{
    mark();
    for (unsigned i = 0; i < NODES; i++) {
        node[i].doomed = node[i].at != NULL && !node[i].reached;
    }
}

static void end_cycle(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (node[i].doomed) {
            if (t_lives(node[i].at)) {
                t_fail(__FILE__, __LINE__, "object %zu at %p was not reached and stays", (size_t)node[i].number,
                       (void *)node[i].at);
            }
            node[i].at = NULL;
        }
    }
    expect_intact();
}

/* ---- the mutator ---- */

static uint16_t some_reached(void)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        uint16_t at = node_root[t_below(&seed, NODE_ROOTS)];
        for (uint32_t hops = t_below(&seed, 12); at != NONE && hops > 0; hops--) {
            uint16_t next = node[at].field[t_below(&seed, FIELDS)];
            at = next == NONE ? at : next;
        }
        if (at != NONE) {
            return at;
        }
    }
    return NONE;
}

static void store(void *slot, void *value)
{
    if (plain) {
        *(void **)slot = value;
    } else {
        sh_gc_write(slot, value);
    }
}

static void set_root(unsigned i, uint16_t to)
{
    node_root[i] = to;
    store(&t_root[i], to == NONE ? NULL : node[to].at);
}

static void set_field(uint16_t from, unsigned f, uint16_t to)
{
    node[from].field[f] = to;
    store(&node[from].at->field[f], to == NONE ? NULL : node[to].at);
}

/* Older records of addresses in it are of objects that went: they must not be reached. */
static void expect_nobody_s(const void *p)
{
    size_t size = sh_usable_size(p);
    mark();
    for (unsigned i = 0; i < NODES; i++) {
        if ((uintptr_t)node[i].at - (uintptr_t)p < size) {
            if (node[i].reached && plain) {
                lost = true;
                return;
            }
            if (node[i].reached) {
                t_fail(__FILE__, __LINE__, "the address of object %zu, %p, was given away",
                       (size_t)node[i].number, (const void *)p);
            }
            node[i] = (struct node){ .field = { NONE, NONE, NONE, NONE } };
        }
    }
}

static uint16_t new_node(void)
{
    unsigned i = 0;
    while (i < NODES && node[i].at != NULL) {
        i++;
    }
    if (i == NODES) {
        return NONE;
    }
    bool typed = t_below(&seed, 2) == 0;
    struct body *body = typed ? sh_gc_new(&body_type, 1)
                              : sh_gc_malloc(sizeof *body + (t_below(&seed, 9) == 0 ? t_below(&seed, 60000) : 0), 0);
    EXPECT(body != NULL && body->number == 0 && body->field[0] == NULL);
    expect_nobody_s(body);
    node[i] = (struct node){ body, ++numbers, { NONE, NONE, NONE, NONE }, false, false };
    body->number = numbers;
    body->mark = t_mark_of(numbers);
    return (uint16_t)i;
}

/* All references of one object to another, in one stroke. */
static void copy_fields(uint16_t from, uint16_t to)
{
    for (unsigned f = 0; f < FIELDS; f++) {
        node[to].field[f] = from == NONE ? (uint16_t)NONE : node[from].field[f];
        if (plain) {
            node[to].at->field[f] = from == NONE ? NULL : node[from].at->field[f];
        }
    }
    if (plain) {
        return;
    }
    sh_gc_copy(node[to].at->field, from == NONE ? NULL : node[from].at->field, sizeof node[to].at->field);
}

static void mutate(void)
{
    uint16_t a = some_reached(), b = some_reached();
    switch (t_below(&seed, 10)) {
    case 0: case 1: case 2:
        if ((b = new_node()) == NONE) {
            break;
        }
        if (a == NONE || t_below(&seed, 3) == 0) {
            set_root(t_below(&seed, NODE_ROOTS), b);
        } else {
            set_field(a, t_below(&seed, FIELDS), b);
        }
        break;
    case 3:
        set_root(t_below(&seed, NODE_ROOTS), t_below(&seed, 2) == 0 ? (uint16_t)NONE : a);
        break;
    case 4: case 5:
        if (a != NONE) {
            set_field(a, t_below(&seed, FIELDS), NONE);
        }
        break;
    case 6:
        if (a != NONE) {
            copy_fields(t_below(&seed, 3) == 0 ? (uint16_t)NONE : b, a);
        }
        break;
    default: /* moves a reference: the old place is cleared behind it */
        if (a != NONE && b != NONE) {
            unsigned f = t_below(&seed, FIELDS);
            uint16_t moved = node[a].field[f];
            set_field(b, t_below(&seed, FIELDS), moved);
            if (a != b || node[a].field[f] == moved) {
                set_field(a, f, NONE);
            }
        }
    }
}

static void forget_nodes(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        node[i] = (struct node){ .field = { NONE, NONE, NONE, NONE } };
    }
    for (unsigned i = 0; i < NODE_ROOTS; i++) {
        node_root[i] = NONE;
    }
    plain = lost = false;
}

static void run(size_t work_words, unsigned cycles)
{
    t_gc_start(0, NULL, NULL);
    forget_nodes();
    seed = 0x57E9 + (uint32_t)work_words;
    while (cycles-- > 0) {
        bool done = false;
        begin_cycle();
        while (!done) {
            done = sh_gc_step(work_words);
            for (uint32_t i = 1 + t_below(&seed, 2); i > 0; i--) {
                mutate();
            }
            if (t_below(&seed, 32) == 0) {
                expect_intact();
            }
        }
        end_cycle();
        for (uint32_t i = t_below(&seed, 200); i > 0; i--) {
            mutate();
        }
        EXPECT_EQ(sh_verify(), 0);
    }
    EXPECT(gc.stats.longest_step <= work_words + T_STEP_MORE);
    EXPECT_WHOLE();
}

/* The same without the barrier, until an object is lost; false = none was. */
static bool loses(size_t work_words)
{
    t_gc_start(0, NULL, NULL);
    forget_nodes();
    seed = 0x5EED + (uint32_t)work_words;
    plain = true;
    for (unsigned cycles = 3000; cycles > 0 && !lost; cycles--) {
        begin_cycle();
        for (bool done = false; !done && !lost;) {
            done = sh_gc_step(work_words);
            lost = lost_node() != NULL;
            for (uint32_t i = 1 + t_below(&seed, 2); i > 0 && !lost; i--) {
                mutate();
            }
        }
        for (unsigned i = 0; i < NODES && !lost; i++) {
            node[i].at = node[i].doomed ? NULL : node[i].at;
        }
        for (uint32_t i = t_below(&seed, 200); i > 0 && !lost; i--) {
            mutate();
        }
    }
    plain = false;
    return lost;
}

static unsigned cycles_here(void)
{
    return rig_is_machine() ? 4 : 300;
}

static void changes_between_steps_of_1_word_lose_nothing(void)
{
    run(1, cycles_here());
}

static void changes_between_steps_of_16_words_lose_nothing(void)
{
    run(16, cycles_here() * 2);
}

static void changes_between_steps_of_64_words_lose_nothing(void)
{
    run(64, cycles_here() * 3);
}

static void changes_between_steps_of_1000_words_lose_nothing(void)
{
    run(1000, cycles_here() * 3);
}

/* That those find what a barrier which does nothing would lose. */
static void the_same_changes_without_the_barrier_lose_something(void)
{
    EXPECT(rig_is_machine() || loses(1)); /* rarely */
    EXPECT(loses(16));
    EXPECT(loses(64));
}

/* ---- the barrier ---- */

enum store { PLAIN, WRITE, COPY };

/* The only way to a victim leads through an object that is not looked into yet.  It is moved to one that is,
 * because it was born meanwhile, and the old place is cleared.  Returns whether the victim lives. */
static bool hide(enum store store, bool typed, void **victim)
{
    struct body *old = typed ? sh_gc_new(&body_type, 1) : t_gc_take(sizeof *old, 0);
    *victim = old->field[2] = t_gc_take(sizeof(struct body), 0);
    t_root[0] = old;
    EXPECT(!sh_gc_step(1)); /* the snapshot: no root was looked at yet */
    struct body *fresh = typed ? sh_gc_new(&body_type, 1) : t_gc_take(sizeof *fresh, 0);
    t_root[1] = fresh;
    fresh->field[0] = old->field[2];
    if (store == PLAIN) {
        old->field[2] = NULL;
    } else if (store == WRITE) {
        sh_gc_write(&old->field[2], NULL);
    } else {
        sh_gc_copy(old->field, NULL, sizeof old->field);
    }
    t_gc_step_to(GC_IDLE, 16);
    EXPECT(t_lives(old) && t_lives(fresh) && fresh->field[0] == *victim);
    return t_lives(*victim);
}

static void a_store_through_the_barrier_keeps_what_it_hides(void)
{
    void *victim;
    for (unsigned typed = 0; typed < 2; typed++) {
        t_gc_start_checked();
        EXPECT(hide(WRITE, typed != 0, &victim));
        EXPECT(hide(COPY, typed != 0, &victim));
        sh_gc_collect();
        EXPECT(t_lives(victim));
    }
}

static void a_plain_store_loses_what_it_hides(void)
{
    void *victim;
    t_gc_start(0, NULL, NULL);
    EXPECT(!hide(PLAIN, false, &victim));
    t_gc_start(0, NULL, NULL);
    EXPECT(!hide(PLAIN, true, &victim));
}

static void hide_plainly(void *arg)
{
    void *victim;
    (void)arg;
    hide(PLAIN, false, &victim);
}

static void the_second_marker_tells_what_a_plain_store_hides(void)
{
    t_gc_start_checked();
    EXPECT(rig_panics(SH_PANIC_CORRUPTION, "second marker reached", hide_plainly, NULL));
    EXPECT(t_contains(rig_log(), "checkmark:") && t_contains(rig_log(), "is reached, but not marked"));
    EXPECT(sh_gc_malloc(8, 0) == NULL && !sh_gc_step(100));
}

/* A root range is under the barrier too, and one that is taken away is looked at before. */
static void a_root_that_changes_during_a_cycle_loses_nothing(void)
{
    static void *other[40];
    t_gc_start_checked();
    struct body *old = t_gc_take(sizeof *old, 0), *a = t_gc_take(64, 0), *b = t_gc_take(64, 0);
    other[0] = a;
    EXPECT_EQ(sh_gc_add_root(other, sizeof other), SH_OK);
    t_root[0] = b;
    EXPECT(!sh_gc_step(1));
    (void)old;
    struct body *fresh = t_gc_take(sizeof *fresh, 0);
    fresh->field[0] = t_root[0];
    fresh->field[1] = other[0];
    sh_gc_remove_root(other);
    sh_gc_write(&t_root[0], fresh);
    t_gc_step_to(GC_IDLE, 1);
    EXPECT(t_lives(fresh) && t_lives(a) && t_lives(b) && !t_lives(old));
    EXPECT_WHOLE();
}

/* Whether it was looked at, is being, or was to be later. */
static void roots_that_go_at_any_moment_of_a_cycle_lose_nothing(void)
{
    static void *range[3][4];
    for (unsigned steps = 1; steps < 20; steps++) {
        for (unsigned first = 0; first < 3; first++) {
            t_gc_start_checked();
            void *object[3];
            for (unsigned i = 0; i < 3; i++) {
                EXPECT_EQ(sh_gc_add_root(range[i], sizeof range[i]), SH_OK);
                object[i] = range[i][2] = t_gc_take(64, 0);
            }
            for (unsigned i = 0; i < steps; i++) {
                EXPECT(!sh_gc_step(1));
            }
            void **fresh = t_gc_take(64, 0);
            memcpy(fresh, object, sizeof object);
            for (unsigned i = 0; i < 3; i++) {
                sh_gc_remove_root(range[(first + i) % 3]);
            }
            EXPECT_EQ(sh_verify(), 0);
            sh_gc_write(&t_root[0], fresh);
            t_gc_step_to(GC_IDLE, 1);
            EXPECT(t_lives(object[0]) && t_lives(object[1]) && t_lives(object[2]));
            EXPECT_WHOLE();
        }
    }
}

/* A range that comes late may be the only one that refers to what was reached through stacks before. */
static void a_root_that_comes_during_a_cycle_is_looked_at(void)
{
    static void *late[3];
    t_gc_start_checked();
    void **hidden = t_gc_take(64, 0);
    hidden[3] = late[1] = t_gc_take(64, 0);
    late[0] = hidden;
    for (unsigned i = 0; i < 100; i++) {
        void **cell = t_gc_take(8, 0);
        *cell = t_root[0];
        t_root[0] = cell;
    }
    for (enum gc_phase phase = GC_ROOTS; phase <= GC_MARK; phase++) {
        EXPECT(!sh_gc_step(1));
        while (gc.phase != phase) {
            sh_gc_step(1);
        }
        EXPECT_EQ(sh_gc_add_root(late, sizeof late), SH_OK);
        t_gc_step_to(GC_IDLE, 1);
        EXPECT(t_lives(hidden) && t_lives(late[1]));
        sh_gc_remove_root(late);
    }
    sh_gc_collect();
    EXPECT(!t_lives(hidden));
}

/* A collection ends the cycle that it finds, and then runs one of its own: what was born in the first goes. */
static void a_collection_in_a_cycle_ends_it_and_runs_another(void)
{
    static const enum gc_phase phases[] = { GC_ROOTS, GC_MARK, GC_SWEEP };
    for (unsigned i = 0; i < 3; i++) {
        t_gc_start_checked();
        for (unsigned k = 0; k < 100; k++) {
            void **cell = t_gc_take(16, 0);
            *cell = t_root[0];
            t_root[0] = cell;
        }
        t_gc_take(700, 0);
        t_gc_step_to(phases[i], 1);
        void *born = t_gc_take(700, 0);
        uint64_t cycles = gc.stats.cycles;
        sh_gc_collect();
        EXPECT_EQ(gc.stats.cycles - cycles, phases[i] == GC_SWEEP ? 1 : 2);
        EXPECT(gc.phase == GC_IDLE && gc.unswept == 0);
        EXPECT(!t_lives(born));
        EXPECT_EQ(t_gc_live_count(), 100);
        EXPECT_WHOLE();
    }
}

/* ---- cost ---- */

/* The smallest number of steps that the words of a list can be looked at in. */
static void a_cycle_takes_as_many_steps_as_its_work_needs(void)
{
    static const size_t budgets[] = { 1, 16, 64, 300, 1000 };
    for (unsigned i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        size_t words = 12 * budgets[i] + 1000, steps = 1;
        t_gc_start(0, NULL, NULL);
        for (size_t done = 0; done < words; done += 8) {
            void **cell = t_gc_take(8 * T_WORD, 0);
            cell[0] = t_root[0];
            t_root[0] = cell;
        }
        while (!sh_gc_step(budgets[i])) {
            steps++;
        }
        EXPECT(steps > 10);
        size_t most = budgets[i] > 128 ? budgets[i] : 128;
        EXPECT(steps * (most + 64 + 3 * GC_SPAN_COST) >= words);
        EXPECT(gc.stats.words_scanned >= words);
        EXPECT(gc.stats.words_scanned < 2 * words + 1000); /* nothing twice; spans, roots */
        EXPECT_EQ(gc.stats.cycles, 1);
    }
}

static const struct test tests[] = {
    { "changes_between_steps_of_1_word_lose_nothing", changes_between_steps_of_1_word_lose_nothing },
    { "changes_between_steps_of_16_words_lose_nothing", changes_between_steps_of_16_words_lose_nothing },
    { "changes_between_steps_of_64_words_lose_nothing", changes_between_steps_of_64_words_lose_nothing },
    { "changes_between_steps_of_1000_words_lose_nothing", changes_between_steps_of_1000_words_lose_nothing },
    { "the_same_changes_without_the_barrier_lose_something", the_same_changes_without_the_barrier_lose_something },
    { "a_store_through_the_barrier_keeps_what_it_hides", a_store_through_the_barrier_keeps_what_it_hides },
    { "a_plain_store_loses_what_it_hides", a_plain_store_loses_what_it_hides },
    { "the_second_marker_tells_what_a_plain_store_hides", the_second_marker_tells_what_a_plain_store_hides },
    { "a_root_that_changes_during_a_cycle_loses_nothing", a_root_that_changes_during_a_cycle_loses_nothing },
    { "roots_that_go_at_any_moment_of_a_cycle_lose_nothing", roots_that_go_at_any_moment_of_a_cycle_lose_nothing },
    { "a_root_that_comes_during_a_cycle_is_looked_at", a_root_that_comes_during_a_cycle_is_looked_at },
    { "a_collection_in_a_cycle_ends_it_and_runs_another", a_collection_in_a_cycle_ends_it_and_runs_another },
    { "a_cycle_takes_as_many_steps_as_its_work_needs", a_cycle_takes_as_many_steps_as_its_work_needs },
};

SUITE(step, tests);
