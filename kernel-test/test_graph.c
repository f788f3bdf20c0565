/*
 * Proves exact reachability: after a collection the live objects are those that a marker of the test's own
 * reaches, which knows the graph from a table and never looks into an object.
 *
 * A graph lives for some rounds: each drops, adds and turns some edges and puts new objects in the places of
 * those that went, so that survivors are marked again among fresh ones.
 */
#include "kernel-test/test_gc_util.h"

#define NODES 96u
#define EDGES 512u
#define NONE 0xFFFFu
#define STEP 1000u
#define STEP_MOST (STEP + T_STEP_MORE)

/* What a graph is made of, bits. */
enum { CONSERVATIVE = 1, TYPED = 2, SILENT = 4, ROOTED = 8, LARGE = 16, EVERYTHING = 31 };

struct node {
    uintptr_t base; /* 0 = none */
    size_t size;    /* usable bytes */
    size_t words;   /* that may hold pointers: of a typed object what was asked for */
    const struct sh_gc_type *type;
    enum sh_kind kind;
    bool reached;
    uint16_t first; /* edge; NONE = no more */
};

struct edge {
    size_t word;
    uintptr_t value;
    uint16_t to; /* node that the value lies in; NONE = in none */
    uint16_t next;
};

static struct node nodes[NODES];
static struct edge edges[EDGES];
static struct edge roots[T_ROOTS]; /* `to` of each */
static uint16_t work[NODES];
static unsigned edge_count;
static unsigned contents;
static uint32_t seed;

/* Masks of one word, of part of it, and of several words. */
static const uintptr_t first_word[] = { 1 }, odd_words[] = { (uintptr_t)0xAAAAAAAAu }, all_words[] = { 0x7F },
                       far_words[] = { 0, 1, ~(uintptr_t)0, 5 }, no_words[] = { 0 };
static const struct sh_gc_type types[] = {
    { 2 * T_WORD, first_word, "pair" },
    { 20 * T_WORD, odd_words, "odd" },
    { 7 * T_WORD, all_words, "seven" },
    { (3 * MM_WORD_BITS + 3) * T_WORD, far_words, "far" },
    { 5 * T_WORD, no_words, "empty" },
    { 5 * T_WORD, NULL, "plain" },
};

static bool is_pointer(const struct node *node, size_t word)
{
    if (node->kind == SH_NOSCAN) {
        return false;
    }
    if (node->type == NULL) {
        return true;
    }
    size_t words = node->type->size / T_WORD;
    while (word >= words) {
        word -= words;
    }
    return mm_bit_test(node->type->pointers, word);
}

/* ---- the marker of the test ---- */

static void reach(uint16_t to, unsigned *depth)
{
    if (to != NONE && !nodes[to].reached && nodes[to].base != 0) {
        nodes[to].reached = true;
        work[(*depth)++] = to;
    }
}

static void mark(void)
{
    unsigned depth = 0;
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].reached = false;
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].kind == SH_UNCOLLECTABLE) {
            reach((uint16_t)i, &depth);
        }
    }
    for (unsigned i = 0; i < T_ROOTS; i++) {
        reach(roots[i].to, &depth);
    }
    while (depth != 0) {
        const struct node *node = &nodes[work[--depth]];
        for (uint16_t e = node->first; e != NONE; e = edges[e].next) {
            if (is_pointer(node, edges[e].word)) {
                reach(edges[e].to, &depth);
            }
        }
    }
}

/* ---- building ---- */

static uint16_t node_around(uintptr_t address)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].base != 0 && address - nodes[i].base < nodes[i].size) {
            return (uint16_t)i;
        }
    }
    return NONE;
}

static enum sh_kind some_kind(void)
{
    uint32_t draw = t_below(&seed, 8);
    if ((contents & ROOTED) != 0 && draw == 0) {
        return SH_UNCOLLECTABLE;
    }
    return (contents & SILENT) != 0 && draw <= 2 ? SH_NOSCAN : SH_SCAN;
}

static size_t some_size(void)
{
    if ((contents & LARGE) != 0 && t_below(&seed, 24) == 0) {
        return MM_CLASS_LIMIT + 1 + t_below(&seed, 40000);
    }
    return t_below(&seed, 8) != 0 ? t_below(&seed, 200) : t_below(&seed, 4000);
}

static void new_object(struct node *node)
{
    bool typed = (contents & TYPED) != 0 && ((contents & CONSERVATIVE) == 0 || t_below(&seed, 2) == 0);
    void *p;
    if (typed) {
        node->type = &types[t_below(&seed, sizeof types / sizeof types[0])];
        size_t count = t_below(&seed, 3) == 0 ? 1 + (some_size() >> 5) : 1;
        p = sh_gc_new(node->type, count);
        node->words = count * (node->type->size / T_WORD);
        node->kind = node->type->pointers == NULL ? SH_NOSCAN : SH_SCAN;
    } else {
        node->type = NULL;
        node->kind = some_kind();
        p = sh_gc_malloc(some_size(), node->kind == SH_NOSCAN          ? SH_GC_NOSCAN
                                      : node->kind == SH_UNCOLLECTABLE ? SH_GC_UNCOLLECTABLE
                                                                       : 0);
    }
    EXPECT(p != NULL);
    node->base = (uintptr_t)p;
    node->size = sh_usable_size(p);
    node->words = typed ? node->words : node->size / T_WORD;
    node->first = NONE;
    for (size_t i = 0; i < node->size / T_WORD; i += 1 + i / 8) {
        EXPECT_EQ(((uintptr_t *)p)[i], 0);
    }
}

/* A value that lies in a node, mostly: base, interior, last byte, just outside. */
static uintptr_t some_value(void)
{
    const struct node *node = &nodes[t_below(&seed, NODES)];
    if (node->base == 0) {
        return t_random(&seed);
    }
    switch (t_below(&seed, 12)) {
    case 0: return node->base + node->size;
    case 1: return node->base - 1;
    case 2: return node->base + node->size - 1;
    case 3: case 4: case 5: return node->base + t_below(&seed, (uint32_t)node->size);
    default: return node->base;
    }
}

/* Stores a value into a word of a node, and notes it. */
static void turn(struct node *node)
{
    size_t word = t_below(&seed, (uint32_t)node->words);
    uint16_t e = node->first;
    while (e != NONE && edges[e].word != word) {
        e = edges[e].next;
    }
    if (e == NONE && edge_count == EDGES) {
        return;
    }
    if (e == NONE) {
        e = (uint16_t)edge_count++;
        edges[e].word = word;
        edges[e].next = node->first;
        node->first = e;
    }
    edges[e].value = some_value();
    edges[e].to = node_around(edges[e].value);
    ((uintptr_t *)node->base)[word] = edges[e].value;
}

static void turn_root(unsigned i)
{
    roots[i].value = t_below(&seed, 3) == 0 ? 0 : some_value();
    roots[i].to = node_around(roots[i].value);
    t_root[i] = (void *)roots[i].value;
}

/* New objects where there are none.  A value stored before may point into one: it is looked up again. */
static void populate(unsigned most)
{
    for (unsigned i = 0; i < NODES && most != 0; i++) {
        if (nodes[i].base == 0) {
            new_object(&nodes[i]);
            most--;
        }
    }
    for (unsigned i = 0; i < edge_count; i++) {
        edges[i].to = node_around(edges[i].value);
    }
    for (unsigned i = 0; i < T_ROOTS; i++) {
        roots[i].to = roots[i].value == 0 ? NONE : node_around(roots[i].value);
    }
}

static void forget(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].base != 0 && nodes[i].kind == SH_UNCOLLECTABLE) {
            sh_free((void *)nodes[i].base);
        }
        nodes[i] = (struct node){ .first = NONE };
    }
    for (unsigned i = 0; i < T_ROOTS; i++) {
        roots[i] = (struct edge){ .to = NONE };
        t_root[i] = NULL;
    }
    edge_count = 0;
    sh_gc_collect(); /* words of the next graph may lie in what is left of this one */
}

/* ---- rounds ---- */

/* The edges of a node that went are void; their records are used no more until the graph is forgotten. */
static void bury(struct node *node)
{
    for (uint16_t e = node->first; e != NONE; e = edges[e].next) {
        edges[e].to = NONE;
        edges[e].value = 0;
    }
    *node = (struct node){ .first = NONE };
}

static void expect_exact(void)
{
    mark();
    for (unsigned i = 0; i < NODES; i++) {
        struct node *node = &nodes[i];
        struct sh_object object;
        if (node->base == 0) {
            continue;
        }
        if (sh_object_of((void *)node->base, &object) != node->reached) {
            t_fail(__FILE__, __LINE__, "object %p of %zu bytes, kind %d, is %s", (void *)node->base, node->size,
                   (int)node->kind, node->reached ? "lost" : "kept, and nothing reaches it");
        }
        if (node->reached) {
            EXPECT(object.base == node->base && object.size == node->size && object.kind == node->kind);
        } else {
            bury(node);
        }
    }
}

static void expect_nothing_else(void)
{
    size_t reached = 0;
    for (unsigned i = 0; i < NODES; i++) {
        reached += nodes[i].base != 0;
    }
    EXPECT_EQ(t_gc_live_count(), reached);
}

/* At once, or in steps. */
static void collect(void)
{
    if (t_below(&seed, 4) != 0) {
        sh_gc_collect();
    } else {
        t_gc_step_to(GC_IDLE, STEP);
    }
}

static void one_graph(unsigned rounds)
{
    unsigned most = 1 + t_below(&seed, t_below(&seed, 4) == 0 ? NODES : NODES / 4);
    forget();
    while (rounds-- > 0) {
        populate(most);
        for (unsigned i = t_below(&seed, 2 * most + 1); i > 0; i--) {
            struct node *node = &nodes[t_below(&seed, NODES)];
            if (node->base != 0) {
                turn(node);
            }
        }
        for (unsigned i = 1 + t_below(&seed, 4); i > 0; i--) {
            turn_root(t_below(&seed, T_ROOTS));
        }
        collect();
        expect_exact();
        most = 1 + most / 2;
    }
}

static void run(unsigned what, unsigned graphs)
{
    contents = what;
    seed = 0xC0117EC7u + what;
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i] = (struct node){ .first = NONE };
    }
    t_gc_start(0, NULL, NULL);
    for (unsigned done = 0; done < graphs;) {
        unsigned rounds = 1 + t_below(&seed, 4);
        gc.config.check = t_below(&seed, 16) == 0;
        one_graph(rounds);
        done += rounds;
        if (t_below(&seed, 64) == 0) {
            expect_nothing_else();
            EXPECT_EQ(sh_verify(), 0);
        }
    }
    expect_nothing_else();
    EXPECT(gc.stats.longest_step != 0 && gc.stats.longest_step <= STEP_MOST);
    EXPECT_WHOLE();
}

/* Conservative, typed and mixed ones are 10^5 together, and 10^3 on the machine, without those that want much
 * memory. */
static unsigned graphs_here(void)
{
    return rig_is_machine() ? 334 : T_WORD == 8 ? 33400 : 10000;
}

static void what_a_conservative_graph_reaches_is_kept_exactly(void)
{
    run(CONSERVATIVE, graphs_here());
}

static void what_a_typed_graph_reaches_is_kept_exactly(void)
{
    run(TYPED, graphs_here());
}

static void what_a_mixed_graph_reaches_is_kept_exactly(void)
{
    run(CONSERVATIVE | TYPED | SILENT | ROOTED, graphs_here());
}

static void what_a_graph_with_large_objects_reaches_is_kept_exactly(void)
{
    if (t_has_memory(12 * T_MIB)) {
        run(EVERYTHING, graphs_here());
    }
}

/* ---- every class, by a mask ---- */

#define MASKED 128u

/* Every third, every second, all but one, a random choice. */
static bool in_mask(unsigned mask, unsigned i, uint32_t random)
{
    switch (mask) {
    case 0: return (i & 1) == 0;
    case 1: return (i & 3) == 3;
    case 2: return i != MASKED / 2;
    case 3: return i == 0 || i == MASKED - 1;
    default: return (random >> (i & 31) & 1) != 0;
    }
}

static void keep_by_mask(size_t size, unsigned flags, unsigned mask)
{
    static void *object[MASKED / 4];
    void **table = t_gc_take(MASKED * T_WORD, SH_GC_UNCOLLECTABLE);
    uint32_t random = t_random(&seed);
    for (unsigned part = 0; part < 4; part++) {
        for (unsigned i = 0; i < MASKED / 4; i++) {
            object[i] = t_gc_take(size, flags);
            EXPECT_EQ(sh_usable_size(object[i]), size); /* no byte is added so that its end counts */
            table[part * (MASKED / 4) + i] = in_mask(mask, part * (MASKED / 4) + i, random) ? object[i] : NULL;
        }
    }
    sh_gc_collect();
    size_t kept = 1;
    for (unsigned i = 0; i < MASKED; i++) {
        kept += table[i] != NULL;
        EXPECT(table[i] == NULL || t_lives(table[i]));
        EXPECT(i < MASKED - MASKED / 4 || table[i] != NULL || !t_lives(object[i - (MASKED - MASKED / 4)]));
    }
    EXPECT_EQ(t_gc_live_count(), kept);
    sh_free(table);
}

static void of_every_class_those_that_a_mask_names_are_kept(void)
{
    static size_t sizes[T_MAX_CLASSES];
    t_gc_start_checked();
    unsigned count = t_classes(sizes), step = rig_is_machine() ? 9 : 1;
    for (unsigned i = 0; i < count; i += step) {
        if (sizes[i] > 8192 && rig_is_machine()) {
            break;
        }
        for (unsigned mask = 0; mask < 5; mask++) {
            keep_by_mask(sizes[i], mask == 2 ? SH_GC_NOSCAN : 0, mask);
        }
    }
    EXPECT_WHOLE();
}

/* In one span, in either order; a mask of no bits is one too. */
static void objects_of_several_types_keep_what_their_own_says(void)
{
    static const uintptr_t masks[] = { 0, 1, 2, 8, 15 };
    for (unsigned a = 0; a < 5; a++) {
        for (unsigned b = 0; b < 5; b++) {
            const struct sh_gc_type type[2] = { { 4 * T_WORD, &masks[a], "a" }, { 4 * T_WORD, &masks[b], "b" } };
            t_gc_start_checked();
            for (unsigned i = 0; i < 6; i++) {
                void **p = t_root[i] = sh_gc_new(&type[i & 1], 1);
                for (unsigned k = 0; k < 4; k++) {
                    p[k] = t_gc_take(4 * T_WORD, SH_GC_NOSCAN);
                }
            }
            sh_gc_collect();
            for (unsigned i = 0; i < 6; i++) {
                for (unsigned k = 0; k < 4; k++) {
                    EXPECT(t_lives(((void **)t_root[i])[k]) == ((masks[(i & 1) != 0 ? b : a] >> k & 1) != 0));
                }
            }
        }
    }
}

static const struct test tests[] = {
    { "objects_of_several_types_keep_what_their_own_says", objects_of_several_types_keep_what_their_own_says },
    { "what_a_conservative_graph_reaches_is_kept_exactly", what_a_conservative_graph_reaches_is_kept_exactly },
    { "what_a_typed_graph_reaches_is_kept_exactly", what_a_typed_graph_reaches_is_kept_exactly },
    { "what_a_mixed_graph_reaches_is_kept_exactly", what_a_mixed_graph_reaches_is_kept_exactly },
    { "what_a_graph_with_large_objects_reaches_is_kept_exactly",
      what_a_graph_with_large_objects_reaches_is_kept_exactly },
    { "of_every_class_those_that_a_mask_names_are_kept", of_every_class_those_that_a_mask_names_are_kept },
};

SUITE(graph, tests);
