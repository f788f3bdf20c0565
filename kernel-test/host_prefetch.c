/*
 * What fetching ahead brings when a heap is marked that is larger than the last-level cache (at most MOST):
 *
 *     host-prefetch [PREFIX]     the lines that begin so
 *
 *     bench gc/prefetch-ratio-tree       a binary tree, its nodes of 64 bytes in random order
 *     bench gc/prefetch-ratio-shuffled   an array of pointers to nodes of 24 bytes in random order
 *     bench gc/prefetch-ratio            of both together
 *
 * Each is the wall time of a collection without, divided by that with it; in one process, in turn; of ROUNDS the
 * least each.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arch/host/host.h"
#include "gc/mark.h"
#include "kernel-test/bench.h"

#define ROUNDS 5
#define CACHES 2u /* the heap is so many last-level caches */
#define LEAST ((size_t)128 << 20)
#define MOST ((size_t)256 << 20)

static void *root;
static size_t heap_bytes;

static void want(bool what, const char *why)
{
    if (!what) {
        fprintf(stderr, "host-prefetch: %s\n", why);
        exit(1);
    }
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    fprintf(stderr, "heap panic (%d): %s\n", (int)kind, report);
    abort();
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* `count` objects, in random order. */
static void ***objects(size_t count, size_t size)
{
    struct bench_random random = { 0x9E3779B9u };
    void ***object = malloc(count * sizeof *object);

    want(object != NULL, "out of memory");
    for (size_t i = 0; i < count; i++) {
        size_t at = bench_pick(&random, (uint32_t)i + 1);

        object[i] = object[at];
        object[at] = sh_gc_malloc(size, 0);
        want(object[at] != NULL, "out of heap");
    }
    return object;
}

static size_t make_tree(void)
{
    size_t count = heap_bytes / 64;
    void ***node = objects(count, 64);

    for (size_t i = 1; i < count; i++)
        node[(i - 1) / 2][(i - 1) % 2] = node[i];
    root = node[0];
    free(node);
    return count;
}

static size_t make_shuffled(void)
{
    size_t count = heap_bytes / (24 + sizeof(void *));
    void ***leaf = objects(count, 24);

    root = sh_gc_malloc(count * sizeof *leaf, 0);
    want(root != NULL, "out of heap");
    memcpy(root, leaf, count * sizeof *leaf);
    free(leaf);
    return count;
}

static double collection(bool fetched)
{
    double start;

    gc_fetch_least = fetched ? 0 : SIZE_MAX;
    start = now();
    sh_gc_collect();
    return now() - start;
}

static struct {
    const char *line;
    size_t (*make)(void);
    double without, with;
    size_t count;
} graphs[] = {
    { "gc/prefetch-ratio-tree", make_tree, 0, 0, 0 },
    { "gc/prefetch-ratio-shuffled", make_shuffled, 0, 0, 0 },
};

#define GRAPHS (sizeof graphs / sizeof graphs[0])

static void measure(unsigned graph)
{
    struct sh_config config = { .size = sizeof config };

    want(sh_host_window((size_t)2 << 30) != 0, "no window");
    want(sh_init(&config) == SH_OK && sh_gc_init(NULL) == SH_OK && sh_gc_add_root(&root, sizeof root) == SH_OK,
         "no heap");
    graphs[graph].count = graphs[graph].make();
    sh_gc_collect();
    for (unsigned round = 0; round < ROUNDS; round++) {
        double without = collection(false), with = collection(true);

        graphs[graph].without = round == 0 || without < graphs[graph].without ? without : graphs[graph].without;
        graphs[graph].with = round == 0 || with < graphs[graph].with ? with : graphs[graph].with;
    }
    want(sh_shutdown() == SH_OK, "no shutdown");
}

static void print(const char *line, const char *prefix, double without, double with, size_t count)
{
    if (strncmp(line, prefix, strlen(prefix)) == 0 || strncmp(line + 3, prefix, strlen(prefix)) == 0)
        printf("bench %s %.2f without/with   (%.1f, %.1f ns an object, %zu MB)\n", line, without / with,
               without * 1e9 / (double)count, with * 1e9 / (double)count, heap_bytes >> 20);
}

int main(int argc, char **argv)
{
    const char *prefix = argc > 1 ? argv[1] : "";
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    double without = 0, with = 0;
    size_t count = 0;

    if (strncmp("gc/prefetch-ratio", prefix, strlen(prefix)) != 0 && strncmp(prefix, "gc/prefetch-ratio", 17) != 0 &&
        strncmp("prefetch-ratio", prefix, strlen(prefix)) != 0)
        return 0;
    heap_bytes = cache > 0 ? (size_t)cache * CACHES : LEAST;
    heap_bytes = heap_bytes < LEAST ? LEAST : heap_bytes > MOST ? MOST : heap_bytes;
    for (unsigned i = 0; i < GRAPHS; i++) {
        measure(i);
        without += graphs[i].without;
        with += graphs[i].with;
        count += graphs[i].count;
        print(graphs[i].line, prefix, graphs[i].without, graphs[i].with, graphs[i].count);
    }
    print("gc/prefetch-ratio", prefix, without, with, count);
    return 0;
}
