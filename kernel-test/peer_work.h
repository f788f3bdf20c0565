/*
 * Whole programs on the host that live off a collector:  program WORK [how]
 *
 *     trees-16 trees-18   binary trees of two-word nodes: one of depth n kept, and 7 or 8 times
 *                         about 2^(n + 5) nodes in trees of depth 4, 6 … n
 *     gcbench             Boehm's shape: one tree of depth 16 and 500000 numbers kept; trees of depth
 *                         4, 6 … 16 built from the root down, and from the leaves up
 *     hash                64 MiB live: 2^18 buckets, nodes of 48 bytes with values of 32 … 144 without
 *                         pointers; 4 million replacements of a random one
 *     refill              10 times, of a million objects of 64 bytes half are dropped at random, and
 *                         allocated again
 *     mark-tree mark-hash mark-shuffled
 *                         the best of 10 collections of 4 million nodes of a tree, of the graph of `hash`, of an
 *                         array of pointers to 2 million nodes of 24 bytes in random order
 *
 * Prints  value unit longest-pause(ms) share-of-pauses(%) pauses resident(MB)
 * All times are of the processor, so that what else the machine does is no pause.
 *
 * One program a collector includes this, after defining
 *
 *     work_new(type)  work_array(count of pointers)  work_bytes(size)   zeroed objects
 *     work_set(slot, object)                                            a pointer stored in one of them
 *     work_collect()                                                    a whole collection
 *
 * and calls work_pause_begin and work_pause_end around what stops the program, then work().
 */
#ifndef KERNEL_TEST_PEER_WORK_H
#define KERNEL_TEST_PEER_WORK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "kernel-test/bench.h"

#define MARK_NODES (1u << 22)
#define COLLECTIONS 10u
#define SHUFFLED (1u << 21)
#define BUCKETS (1u << 18)
#define ENTRIES ((64u << 20) / (48 + 88))
#define REPLACEMENTS 4000000u
#define REFILLED 1000000u
#define REFILLS 10u

struct pair {
    struct pair *left, *right;
};

struct tree {
    struct tree *left, *right;
    int i, j;
};

struct node {
    struct node *next;
    void *value;
    uintptr_t key, rest[48 / sizeof(uintptr_t) - 3];
};

struct leaf {
    void *link;
    uintptr_t rest[24 / sizeof(uintptr_t) - 1];
};

struct block {
    void *links[64 / sizeof(void *)];
};

static const uintptr_t word_0 = 1, words_0_and_1 = 3, all_words = UINTPTR_MAX;
static const struct sh_gc_type pair_type = { sizeof(struct pair), &words_0_and_1, "pair" };
static const struct sh_gc_type tree_type = { sizeof(struct tree), &words_0_and_1, "tree" };
static const struct sh_gc_type node_type = { sizeof(struct node), &words_0_and_1, "node" };
static const struct sh_gc_type leaf_type = { sizeof(struct leaf), &word_0, "leaf" };
static const struct sh_gc_type block_type = { sizeof(struct block), &all_words, "block" };

/*
 * Time
 */

static uint64_t work_longest, work_paused; /* nanoseconds */
static unsigned work_pauses;
static uint64_t pause_began;

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void work_pause_begin(void)
{
    pause_began = now();
}

static void work_pause_end(void)
{
    uint64_t pause = now() - pause_began;

    work_longest = pause > work_longest ? pause : work_longest;
    work_paused += pause;
    work_pauses++;
}

static uint64_t began, spent;

static void begin(void)
{
    work_longest = work_paused = work_pauses = 0;
    began = now();
}

static void end(void)
{
    spent = now() - began;
}

static void want(bool what, const char *why)
{
    if (!what) {
        fprintf(stderr, "peer_work: %s\n", why);
        exit(1);
    }
}

/*
 * Trees
 */

static struct pair *pairs(unsigned depth)
{
    struct pair *left = NULL, *right = NULL, *pair;

    if (depth > 0) {
        left = pairs(depth - 1);
        right = pairs(depth - 1);
    }
    pair = work_new(&pair_type);
    work_set(&pair->left, left);
    work_set(&pair->right, right);
    return pair;
}

static unsigned long count(const struct pair *pair)
{
    return pair == NULL ? 0 : 1 + count(pair->left) + count(pair->right);
}

static void trees(unsigned depth)
{
    struct pair *kept;

    begin();
    want(count(pairs(depth + 1)) == (4ul << depth) - 1, "a tree is not whole");
    kept = pairs(depth);
    for (unsigned d = 4; d <= depth; d += 2)
        for (unsigned long i = 0; i < 1ul << (depth - d + 4); i++)
            want(count(pairs(d)) == (2ul << d) - 1, "a tree is not whole");
    want(count(kept) == (2ul << depth) - 1, "the kept tree is not whole");
    end();
}

static void trees_16(void)
{
    trees(16);
}

static void trees_18(void)
{
    trees(18);
}

static struct tree *upwards(unsigned depth)
{
    struct tree *left = NULL, *right = NULL, *tree;

    if (depth > 0) {
        left = upwards(depth - 1);
        right = upwards(depth - 1);
    }
    tree = work_new(&tree_type);
    work_set(&tree->left, left);
    work_set(&tree->right, right);
    return tree;
}

static void downwards(unsigned depth, struct tree *tree)
{
    if (depth == 0)
        return;
    work_set(&tree->left, work_new(&tree_type));
    work_set(&tree->right, work_new(&tree_type));
    downwards(depth - 1, tree->left);
    downwards(depth - 1, tree->right);
}

static unsigned depth_of(const struct tree *tree)
{
    unsigned depth = 0;

    for (; tree->left != NULL; tree = tree->left)
        depth++;
    return depth;
}

static void gcbench(void)
{
    struct tree *kept;
    double *numbers;

    begin();
    upwards(18);
    kept = work_new(&tree_type);
    downwards(16, kept);
    numbers = work_bytes(500000 * sizeof *numbers);
    for (unsigned i = 1; i < 250000; i++)
        numbers[i] = 1.0 / i;
    for (unsigned depth = 4; depth <= 16; depth += 2)
        for (unsigned long i = 0; i < (2ul << 19) / ((2ul << depth) - 1); i++) {
            struct tree *tree = work_new(&tree_type);

            downwards(depth, tree);
            want(depth_of(tree) == depth, "a tree is not whole");
            want(depth_of(upwards(depth)) == depth, "a tree is not whole");
        }
    want(depth_of(kept) == 16 && numbers[1000] == 1.0 / 1000, "what was kept is not whole");
    end();
}

/*
 * Tables
 */

static struct bench_random draws;

static struct node **bucket_of(struct node **buckets, uint32_t key)
{
    return &buckets[(key * 0x9E3779B1u) >> 14];
}

static struct node *entry(uint32_t key, struct node *next)
{
    unsigned char *value = work_bytes(32 + bench_pick(&draws, 113));
    struct node *node = work_new(&node_type);

    value[0] = (unsigned char)key;
    work_set(&node->next, next);
    work_set(&node->value, value);
    node->key = key;
    return node;
}

static struct node **table(void)
{
    struct node **buckets = work_array(BUCKETS);

    draws.state = 0x9E3779B9u;
    for (uint32_t key = 0; key < ENTRIES; key++)
        work_set(bucket_of(buckets, key), entry(key, *bucket_of(buckets, key)));
    return buckets;
}

static void hash(void)
{
    struct node **buckets = table();

    begin();
    for (uint32_t i = 0; i < REPLACEMENTS; i++) {
        uint32_t key = bench_pick(&draws, ENTRIES);
        struct node **link = bucket_of(buckets, key);

        while ((*link)->key != key)
            link = &(*link)->next;
        want(*(unsigned char *)(*link)->value == (unsigned char)key, "a value is lost");
        work_set(link, entry(key, (*link)->next));
    }
    end();
}

static void refill(void)
{
    void **slots = work_array(REFILLED);
    unsigned long made = 0;

    draws.state = 0x9E3779B9u;
    for (uint32_t i = 0; i < REFILLED; i++)
        work_set(&slots[i], work_new(&block_type));
    begin();
    for (unsigned round = 0; round < REFILLS; round++) {
        for (uint32_t i = 0; i < REFILLED; i++)
            if (bench_pick(&draws, 2) != 0)
                work_set(&slots[i], NULL);
        for (uint32_t i = 0; i < REFILLED; i++)
            if (slots[i] == NULL) {
                work_set(&slots[i], work_new(&block_type));
                made++;
            }
    }
    end();
    want(made > REFILLS * (REFILLED / 2 - 10000), "half are not half");
}

/*
 * Marking alone
 */

/* The best of some. */
static void collect(void)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < COLLECTIONS; i++) {
        begin();
        work_collect();
        end();
        best = spent < best ? spent : best;
    }
    spent = best;
}

static void mark_tree(void)
{
    struct pair *kept = pairs(21);

    collect();
    want(count(kept) == MARK_NODES - 1, "the tree is not whole");
}

static void mark_hash(void)
{
    struct node **buckets = table();

    collect();
    want((*bucket_of(buckets, 1))->value != NULL, "the table is not whole");
}

static void mark_shuffled(void)
{
    void **array = work_array(SHUFFLED);

    draws.state = 0x9E3779B9u;
    for (uint32_t i = 0; i < SHUFFLED; i++) {
        uint32_t at = bench_pick(&draws, i + 1);

        work_set(&array[i], array[at]);
        work_set(&array[at], work_new(&leaf_type));
    }
    collect();
    want(array[SHUFFLED - 1] != NULL, "the array is not whole");
}

static const struct {
    const char *name, *unit;
    void (*run)(void);
    double divisor; /* of nanoseconds */
} works[] = {
    { "trees-16", "ms", trees_16, 1e6 },
    { "trees-18", "ms", trees_18, 1e6 },
    { "gcbench", "ms", gcbench, 1e6 },
    { "hash", "ns", hash, REPLACEMENTS },
    { "refill", "ns", refill, REFILLS * (REFILLED / 2.0) },
    { "mark-tree", "ms", mark_tree, 1e6 },
    { "mark-hash", "ms", mark_hash, 1e6 },
    { "mark-shuffled", "ms", mark_shuffled, 1e6 },
};

static int work(const char *name)
{
    struct rusage usage;

    for (unsigned i = 0; i < sizeof works / sizeof works[0]; i++)
        if (strcmp(works[i].name, name) == 0) {
            works[i].run();
            getrusage(RUSAGE_SELF, &usage);
            printf("%.1f %s %.3f %.0f %u %.0f\n", (double)spent / works[i].divisor, works[i].unit,
                   (double)work_longest / 1e6, (double)work_paused * 100 / (double)spent, work_pauses,
                   (double)usage.ru_maxrss / 1024);
            return 0;
        }
    fprintf(stderr, "peer_work: no work is called %s\n", name);
    return 2;
}

#endif
