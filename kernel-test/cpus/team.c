/*
 * Proves that CPUs which mark together mark exactly what is reached: graphs of all kinds of objects against a
 * marker of the test's own, which knows them from a table and never looks into an object.
 */
#include <stdlib.h>
#include <string.h>

#include "gc/state.h"
#include "gc/team.h"
#include "cpu.h"
#include "kernel-test/cpus/cpus.h"

#define WINDOW ((size_t)64 << 20)
#define WORD sizeof(uintptr_t)
#define ROOTS 64u
#define MOST_NODES 20000u
#define MOST_EDGES 60000u

struct node {
    void **object;
    size_t words;         /* that an edge may lie in */
    const uintptr_t *mask; /* of a typed object; NULL = all are looked at */
    size_t mask_words;
    bool silent, reached;
    uint32_t first;       /* edge; 0 = none */
};

struct edge {
    uint32_t to, next;
    bool seen; /* where a pointer is looked for */
};

static void *root[ROOTS];
static uint32_t root_to[ROOTS];
static struct node nodes[MOST_NODES];
static struct edge edges[MOST_EDGES];
static uint32_t pending[MOST_NODES];
static unsigned node_count, edge_count;
static uint32_t seed;

static const uintptr_t first_word[] = { 1 }, odd_words[] = { 0xAA }, many_words[] = { 5, 3, ~(uintptr_t)0 };
static const struct sh_gc_type types[] = {
    { 2 * WORD, first_word, "cell" },
    { 8 * WORD, odd_words, "odd" },
    { (2 * MM_WORD_BITS + 9) * WORD, many_words, "many" },
};

static uint32_t below(uint32_t most)
{
    return (uint32_t)((uint64_t)t_random(&seed) * most >> 32);
}

/* Small ones, some of a page, now and then a large one. */
static size_t some_size(void)
{
    switch (below(100)) {
    case 0:
        return 40000 + below(200000);
    case 1: case 2: case 3:
        return 1 + below(8000);
    default:
        return 1 + below(12) * below(12);
    }
}

static void make_node(struct node *node)
{
    unsigned draw = below(8);
    memset(node, 0, sizeof *node);
    if (draw < 3) {
        const struct sh_gc_type *type = &types[below(3)];
        size_t count = below(200) == 0 ? 1 + below(900) : 1;
        node->object = sh_gc_new(type, count);
        node->words = count * (type->size / WORD);
        node->mask = type->pointers;
        node->mask_words = type->size / WORD;
    } else {
        node->silent = draw == 3;
        size_t size = some_size();
        node->object = sh_gc_malloc(size, node->silent ? SH_GC_NOSCAN : 0);
        node->words = size / WORD;
    }
    EXPECT(node->object != NULL);
}

static bool looked_at(const struct node *node, size_t word)
{
    size_t bit = node->mask == NULL ? 0 : word % node->mask_words;
    return !node->silent && (node->mask == NULL || (node->mask[bit / MM_WORD_BITS] >> bit % MM_WORD_BITS & 1) != 0);
}

/* Base, interior or last byte. */
static void *into(const struct node *node)
{
    size_t size = node->words * WORD;
    return (char *)node->object + (below(2) == 0 || size == 0 ? 0 : below((uint32_t)size));
}

static void link_nodes(uint32_t from, uint32_t to)
{
    struct node *node = &nodes[from];
    if (node->words == 0 || edge_count == MOST_EDGES) {
        return;
    }
    size_t word = below((uint32_t)node->words);
    if (node->object[word] != NULL) {
        return;
    }
    node->object[word] = into(&nodes[to]);
    edges[edge_count] = (struct edge){ to, node->first, looked_at(node, word) };
    node->first = edge_count++;
}

/* How a graph's edges run. */
enum shape {
    RANDOM,
    FEW,   /* from few objects to all */
    CHAIN  /* from each to the one before: marking that nobody can help with */
};

static void make_graph(unsigned count, enum shape shape)
{
    node_count = count;
    edge_count = 1;
    memset(root, 0, sizeof root);
    for (unsigned i = 0; i < count; i++) {
        make_node(&nodes[i]);
    }
    for (unsigned i = 0; i < 2 * count; i++) {
        uint32_t to = below(count);
        link_nodes(shape == RANDOM ? below(count) : shape == FEW ? below(1 + count / 50) : (to + 1) % count, to);
    }
    for (unsigned i = 0; i < ROOTS; i++) {
        root_to[i] = below(count);
        root[i] = into(&nodes[root_to[i]]);
    }
}

static void mark_here(void)
{
    unsigned depth = 0;
    for (unsigned i = 0; i < node_count; i++) {
        nodes[i].reached = false;
    }
    for (unsigned i = 0; i < ROOTS; i++) {
        if (root[i] != NULL && !nodes[root_to[i]].reached) {
            nodes[root_to[i]].reached = true;
            pending[depth++] = root_to[i];
        }
    }
    while (depth != 0) {
        for (uint32_t e = nodes[pending[--depth]].first, next; e != 0; e = next) {
            struct node *to = &nodes[edges[e].to];
            next = edges[e].next;
            if (edges[e].seen && !to->reached) {
                to->reached = true;
                pending[depth++] = edges[e].to;
            }
        }
    }
}

static void expect_exact(void)
{
    mark_here();
    for (unsigned i = 0; i < node_count; i++) {
        struct sh_object object;
        bool lives = sh_object_of(nodes[i].object, &object);
        if (lives != nodes[i].reached) {
            t_fail(__FILE__, __LINE__, "node %u of %u, %zu words, is %s", i, node_count, nodes[i].words,
                   lives ? "kept, and nothing reaches it" : "lost");
        }
    }
    EXPECT_EQ(sh_verify(), 0);
}

static void collect(void *arg)
{
    bool *done = arg;
    if (sh_kernel_cpu() == 0) {
        sh_gc_collect();
        __atomic_store_n(done, true, __ATOMIC_RELEASE);
        return;
    }
    while (!__atomic_load_n(done, __ATOMIC_ACQUIRE)) {
        arch_pause();
    }
}

static unsigned together; /* the most that marked at once, of all graphs */

/* What is not reached is not allocated again: from one round to the next the same nodes stand for it. */
static void one_graph(unsigned cpus, enum cpus_help help, unsigned count, enum shape shape)
{
    const struct sh_gc_config config = { .size = sizeof config, .check = below(3) == 0 };
    cpus_start(cpus, WINDOW, below(8) == 0 ? 2 : 0, &config, help, false);
    EXPECT_EQ(sh_gc_add_root(root, sizeof root), SH_OK);
    make_graph(count, shape);
    for (unsigned round = 0; round < 4; round++) {
        bool done = false;
        cpus_run(collect, &done);
        together = gc_team_size() > together ? gc_team_size() : together;
        expect_exact();
        for (unsigned i = below(4); i < ROOTS; i += 1 + below(12)) {
            root[i] = NULL;
        }
    }
}

static void many_graphs(enum shape shape)
{
    unsigned graphs = test_seeds != 0 ? test_seeds : 12;
    together = 0;
    /* On a busy machine the helpers may come too late for all of a small graph: then there are more. */
    for (unsigned i = 0; i < graphs || (together <= 1 && graphs >= 12 && i < 20 * graphs); i++) {
        seed = 0x5EED0000u + i + 1000 * (unsigned)shape;
        one_graph(2 + i % 3, (enum cpus_help)(i % 8 < 5 ? HELP : i % 8 - 4), 1 + below(i % 4 == 0 ? MOST_NODES : 2000),
                  shape);
    }
    EXPECT(together > 1 || graphs < 12);
}

static void what_a_random_graph_reaches_is_marked_exactly(void)
{
    many_graphs(RANDOM);
}

static void what_a_few_objects_reach_is_marked_exactly(void)
{
    many_graphs(FEW);
}

static void what_a_chain_reaches_is_marked_exactly(void)
{
    many_graphs(CHAIN);
}

static const struct test tests[] = {
    { "what_a_random_graph_reaches_is_marked_exactly", what_a_random_graph_reaches_is_marked_exactly },
    { "what_a_few_objects_reach_is_marked_exactly", what_a_few_objects_reach_is_marked_exactly },
    { "what_a_chain_reaches_is_marked_exactly", what_a_chain_reaches_is_marked_exactly },
};

SUITE(team, tests);
