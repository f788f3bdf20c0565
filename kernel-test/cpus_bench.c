/*
 * Marking by several CPUs:  cpus-bench GRAPH CPUS
 *
 * Builds one of the graphs of bench_gc.c and collects once, with so many threads for CPUs that mark.  Run under
 * callgrind by cpus_bench.sh, which adds up what the marker's functions took; prints how many objects there are,
 * and how many CPUs marked.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "gc/team.h"
#include "kernel-test/cpus/cpus.h"

#define WINDOW ((size_t)256 << 20)
#define OBJECTS 100000u
#define BUCKETS (1u << 18)

struct pair {
    struct pair *first, *second;
};

struct node {
    struct node *next;
    void *value;
    uintptr_t rest[4];
};

static void *root;
static uint32_t seed = 0x9E3779B9u;

void t_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "cpus-bench: %s:%d: ", file, line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n");
    exit(1);
}

static uint32_t below(uint32_t most)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (uint32_t)((uint64_t)seed * most >> 32);
}

static void *make(size_t size, unsigned flags)
{
    void *p = sh_gc_malloc(size, flags);

    EXPECT(p != NULL);
    return p;
}

static void make_list(void)
{
    void **link = &root;

    for (unsigned i = 0; i < OBJECTS; i++) {
        *link = make(sizeof(struct pair), 0);
        link = *link;
    }
}

static struct pair *subtree(unsigned count)
{
    struct pair *pair;

    if (count == 0)
        return NULL;
    pair = make(sizeof *pair, 0);
    pair->first = subtree((count - 1) / 2);
    pair->second = subtree(count - 1 - (count - 1) / 2);
    return pair;
}

static void make_tree(void)
{
    root = subtree(OBJECTS);
}

static void make_hash(void)
{
    struct node **buckets = make(BUCKETS * sizeof *buckets, 0);

    root = buckets;
    for (unsigned i = 0; i < OBJECTS / 2; i++) {
        struct node **bucket = &buckets[below(BUCKETS)], *node = make(sizeof *node, 0);

        node->next = *bucket;
        node->value = make(32 + below(113), SH_GC_NOSCAN);
        *bucket = node;
    }
}

static void make_shuffled(void)
{
    void **array = make(OBJECTS * sizeof *array, 0);

    root = array;
    for (unsigned i = 0; i < OBJECTS; i++) {
        unsigned at = below(i + 1);

        array[i] = array[at];
        array[at] = make(24, 0);
    }
}

static void collect(void *arg)
{
    bool *done = arg;

    if (sh_kernel_cpu() == 0) {
        sh_gc_collect();
        __atomic_store_n(done, true, __ATOMIC_RELEASE);
    }
    while (!__atomic_load_n(done, __ATOMIC_ACQUIRE))
        arch_pause();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*build)(void);
    } graphs[] = { { "list", make_list }, { "tree", make_tree }, { "hash", make_hash }, { "shuffled", make_shuffled } };
    struct sh_gc_stats stats;
    bool done = false;

    for (unsigned i = 0; argc == 3 && i < sizeof graphs / sizeof graphs[0]; i++) {
        if (strcmp(argv[1], graphs[i].name) != 0)
            continue;
        cpus_start((unsigned)atoi(argv[2]), WINDOW, 0, NULL, HELP, false);
        EXPECT_EQ(sh_gc_add_root(&root, sizeof root), SH_OK);
        graphs[i].build();
        cpus_run(collect, &done);
        sh_gc_stats(&stats);
        EXPECT_EQ(stats.objects_freed, 0);
        printf("%u objects, %u CPUs\n", OBJECTS, gc_team_size());
        return 0;
    }
    fprintf(stderr, "usage: cpus-bench list|tree|hash|shuffled CPUS\n");
    return 2;
}
