/*
 * The loads of the collector, over graphs of 100000 objects that are all kept by one root:
 *
 *     list       nodes of two words, in the order in which they were allocated
 *     tree       binary, nodes of two words, allocated from the root down
 *     hash       2^18 buckets; 50000 nodes of 48 bytes, each with a value of 32 … 144 bytes that is not
 *                looked into; hash-scanned: it is
 *     shuffled   an array of pointers to nodes of 24 bytes, in random order
 *
 * -exact: by sh_gc_new with a type.  -conservative: by sh_gc_malloc.
 *
 *     gc/list-exact …           instructions an object of marking: a collection less its sweep
 *     gc/list-exact-collect …   of the whole collection
 *     gc/sweep-span sweep-word  of the sweep of a span that stays, and of a word of its bitmaps
 *     gc/sweep-object           what an object adds that is freed
 *     gc/longest-step           words, of all steps of 1000 words over these graphs
 *     gc/alloc-16               of sh_gc_malloc(16), in spans that are new
 */
#include "kernel-test/bench.h"

#include "gc/gc.h"

#define WINDOW ((size_t)256 << 20)
#define OBJECTS 100000u
#define BUCKETS (1u << 18)
#define STEP 1000

/* Nothing else keeps an object: there is no scan_stacks hook. */
static void *root;
static bool exact;

static void *checked(void *p)
{
    if (p == NULL)
        bench_fail("out of memory");
    return p;
}

static void start(void)
{
    root = NULL;
    bench_heap(WINDOW, false);
    if (sh_gc_init(NULL) != SH_OK || sh_gc_add_root(&root, sizeof root) != SH_OK)
        bench_fail("no collector");
}

/*
 * Graphs
 */

struct pair {
    struct pair *first, *second;
};

struct node {
    struct node *next;
    void *value;
    uintptr_t rest[48 / sizeof(uintptr_t) - 2];
};

struct leaf {
    void *link;
    uintptr_t rest[24 / sizeof(uintptr_t) - 1];
};

static const uintptr_t word_0 = 1, words_0_and_1 = 3;
static const struct sh_gc_type pointer_type = { sizeof(void *), &word_0, "pointer" };
static const struct sh_gc_type cell_type = { sizeof(struct pair), &word_0, "cell" };
static const struct sh_gc_type pair_type = { sizeof(struct pair), &words_0_and_1, "pair" };
static const struct sh_gc_type node_type = { sizeof(struct node), &words_0_and_1, "node" };
static const struct sh_gc_type leaf_type = { sizeof(struct leaf), &word_0, "leaf" };

static void *make(const struct sh_gc_type *type, size_t count)
{
    return checked(exact ? sh_gc_new(type, count) : sh_gc_malloc(count * type->size, 0));
}

static void make_list(void)
{
    void **link = &root;

    for (uint32_t i = 0; i < OBJECTS; i++) {
        *link = make(&cell_type, 1);
        link = *link;
    }
}

static struct pair *subtree(uint32_t count)
{
    struct pair *pair;

    if (count == 0)
        return NULL;
    pair = make(&pair_type, 1);
    pair->first = subtree((count - 1) / 2);
    pair->second = subtree(count - 1 - (count - 1) / 2);
    return pair;
}

static void make_tree(void)
{
    root = subtree(OBJECTS);
}

static void make_table(unsigned value_flags)
{
    struct bench_random random = { 0x9E3779B9u };
    struct node **buckets = make(&pointer_type, BUCKETS);

    root = buckets;
    for (uint32_t i = 0; i < OBJECTS / 2; i++) {
        struct node **bucket = &buckets[bench_pick(&random, BUCKETS)];
        struct node *node = make(&node_type, 1);

        node->next = *bucket;
        node->value = checked(sh_gc_malloc(32 + bench_pick(&random, 113), value_flags));
        *bucket = node;
    }
}

static void make_hash(void)
{
    make_table(SH_GC_NOSCAN);
}

static void make_hash_scanned(void)
{
    make_table(0);
}

static void make_shuffled(void)
{
    struct bench_random random = { 0x9E3779B9u };
    void **array = make(&pointer_type, OBJECTS);

    root = array;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        uint32_t at = bench_pick(&random, i + 1);

        array[i] = array[at];
        array[at] = make(&leaf_type, 1);
    }
}

enum { LIST, TREE, HASH, HASH_SCANNED, SHUFFLED, CONSERVATIVE };

static void (*const graphs[])(void) = {
    [LIST] = make_list,
    [TREE] = make_tree,
    [HASH] = make_hash,
    [HASH_SCANNED] = make_hash_scanned,
    [SHUFFLED] = make_shuffled,
};

/* A graph in a new heap, after a first collection. */
static void make_graph(size_t which)
{
    struct sh_gc_stats stats;

    start();
    exact = which < CONSERVATIVE;
    graphs[which % CONSERVATIVE]();
    sh_gc_collect();
    sh_gc_stats(&stats);
    if (stats.objects_freed != 0)
        bench_fail("a graph is not whole");
}

/*
 * Collections
 */

static void collect(void *unused)
{
    (void)unused;
    sh_gc_collect();
}

static void sweep(void *unused)
{
    (void)unused;
    while (sh_gc_sweep_step(SIZE_MAX))
        ;
}

static uint64_t cycles(void)
{
    struct sh_gc_stats stats;

    sh_gc_stats(&stats);
    return stats.cycles;
}

/* The shortest steps: the one that ends marking does nothing more. */
static void mark(void)
{
    uint64_t before = cycles();

    while (cycles() == before)
        sh_gc_step(1);
}

static void measure_mark(const char *name, size_t which)
{
    make_graph(which);
    bench_begin();
    mark();
    bench_uncall(sweep, NULL);
    bench_call(collect, NULL);
    bench_end_calls("gc", name, OBJECTS);
}

static void measure_collect(const char *name, size_t which)
{
    make_graph(which);
    bench_begin();
    bench_call(collect, NULL);
    bench_end_calls("gc", name, OBJECTS);
}

static void measure_step(const char *name, size_t parameter)
{
    struct sh_gc_stats stats;
    size_t longest = 0;

    (void)parameter;
    for (unsigned which = 0; which < 2 * CONSERVATIVE; which++) {
        make_graph(which);
        while (!sh_gc_step(STEP))
            ;
        sh_gc_stats(&stats);
        longest = stats.longest_step > longest ? stats.longest_step : longest;
    }
    bench_line("gc", name, longest, 1, 0, "words");
}

static void allocate(void *unused)
{
    (void)unused;
    checked(sh_gc_malloc(16, 0));
}

static void measure_alloc(const char *name, size_t count)
{
    start();
    allocate(NULL);
    bench_begin();
    for (size_t i = 0; i < count; i++)
        bench_call(allocate, NULL);
    bench_end_calls("gc", name, (uint32_t)count);
}

/*
 * Sweeps
 */

#define SPANS 64u
#define WIDE 8u
#define NARROW ((uint32_t)SH_PAGE_SIZE / 4)
#define WORD_BITS (8 * (uint32_t)sizeof(uintptr_t))
#define WORDS (((uint32_t)SH_PAGE_SIZE / WIDE + WORD_BITS - 1) / WORD_BITS)

/* A chain of objects of a size, as many as fill so many spans of a page; marked. */
static void mark_spans(uint32_t spans, uint32_t size)
{
    struct sh_gc_stats stats;
    void **link = &root;

    start();
    for (uint32_t used = 0; used < spans * SH_PAGE_SIZE; used += size) {
        *link = checked(sh_gc_malloc(size, 0));
        link = *link;
    }
    sh_gc_collect();
    sh_gc_stats(&stats);
    if (stats.spans_swept != spans || stats.objects_freed != 0)
        bench_fail("spans are not of a page");
    mark();
}

enum { SWEEP_SPAN, SWEEP_WORD };

/* With w = WORDS: spans of 4 slots cost span + word, those of the most slots span + w · word.  So w of the
 * first less one of the others are (w − 1) · span, and one of the others less one of the first is
 * (w − 1) · word. */
static void measure_sweep(const char *name, size_t of)
{
    bench_begin();
    mark_spans(of == SWEEP_SPAN ? SPANS * WORDS : SPANS, NARROW);
    (of == SWEEP_SPAN ? bench_call : bench_uncall)(sweep, NULL);
    mark_spans(SPANS, WIDE);
    (of == SWEEP_SPAN ? bench_uncall : bench_call)(sweep, NULL);
    bench_end_calls("gc", name, SPANS * (WORDS - 1));
}

/* The same spans without garbage, then with every other object unlinked. */
static void measure_sweep_object(const char *name, size_t size)
{
    uint32_t freed = 0;

    bench_begin();
    mark_spans(SPANS, (uint32_t)size);
    bench_uncall(sweep, NULL);
    for (void **link = root; link != NULL && *link != NULL; link = *link, freed++)
        *link = *(void **)*link;
    mark();
    bench_call(sweep, NULL);
    bench_end_calls("gc", name, freed);
}

/*
 * The table
 */

#define GRAPH(which, name) \
    { measure_mark, which, { "gc/" name } }, { measure_collect, which, { "gc/" name "-collect" } }

const struct bench_entry bench_gc_loads[] = {
    GRAPH(LIST, "list-exact"),
    GRAPH(TREE, "tree-exact"),
    GRAPH(HASH, "hash-exact"),
    GRAPH(SHUFFLED, "shuffled-exact"),
    GRAPH(CONSERVATIVE + LIST, "list-conservative"),
    GRAPH(CONSERVATIVE + TREE, "tree-conservative"),
    GRAPH(CONSERVATIVE + HASH, "hash-conservative"),
    GRAPH(CONSERVATIVE + HASH_SCANNED, "hash-scanned-conservative"),
    GRAPH(CONSERVATIVE + SHUFFLED, "shuffled-conservative"),
    { measure_sweep, SWEEP_SPAN, { "gc/sweep-span" } },
    { measure_sweep, SWEEP_WORD, { "gc/sweep-word" } },
    { measure_sweep_object, 16, { "gc/sweep-object" } },
    { measure_step, 0, { "gc/longest-step" } },
    { measure_alloc, 20000, { "gc/alloc-16" } },
    { NULL, 0, { NULL } },
};
