/*
 * Scenarios of the collector: threads allocate, store and free while it marks and sweeps.
 *
 * Objects are 1024 bytes, four a span; `root` is declared, so what it refers to must live.  When all have
 * ended a whole collection is run, without stacks: then every object that root refers to, directly or by
 * the first word of one, must be there, with what was written to it.
 */
#include "kernel-test/explore/explore.h"

#include "gc/gc.h"

enum { SIZE = 1024, SLOTS = 4, ROOTS = 8, MARK = 0x5eed };

struct node {
    struct node *next;
    uintptr_t mark;
};

static struct {
    struct node *root[ROOTS];
    struct node *dead[2 * SLOTS]; /* hidden from conservative looks: see hide */
    void *got[FIBERS_MAX][2];
    uintptr_t words[4]; /* where no object is yet */
    struct sh_gc_weak weak;
} seen STATE;

/* What no word in memory shows. */
static struct node *hide(struct node *node)
{
    return (struct node *)~(uintptr_t)node;
}

static struct node *make(void)
{
    struct node *node = sh_gc_malloc(SIZE, 0);
    if (node == NULL) {
        violated("no memory");
    }
    if (node->next != NULL || node->mark != 0) {
        violated("a collected object is not zeroed");
    }
    node->mark = MARK;
    return node;
}

static void start(unsigned cpus, unsigned pages)
{
    port_window(0, pages);
    port_init(cpus, false);
    int result = sh_gc_init(NULL);
    if (result != SH_OK || sh_gc_add_root(seen.root, sizeof seen.root) != SH_OK) {
        violated("sh_gc_init: %s", sh_error_name(result));
    }
}

static void node_lives(const struct node *node)
{
    struct sh_object object;
    if (!sh_object_of(node, &object) || !object.live || object.base != (uintptr_t)node) {
        violated("object %p was lost", (const void *)node);
    }
    if (node->mark != MARK) {
        violated("object %p has another's contents", (const void *)node);
    }
}

static void sound(void)
{
    for (unsigned round = 0; round < 2; round++) {
        if (sh_verify() != 0) {
            violated("sh_verify: %s", port_last_words());
        }
        for (unsigned i = 0; i < ROOTS; i++) {
            for (const struct node *node = seen.root[i]; node != NULL; node = node->next) {
                node_lives(node);
                for (unsigned j = 0; j < i; j++) {
                    if (node == seen.root[i] && node == seen.root[j]) {
                        violated("object %p was given twice", (const void *)node);
                    }
                }
            }
        }
        sh_gc_collect();
    }
}

/* Two nodes in root[0]'s list; eight that nothing refers to. */
static void graph(unsigned cpus)
{
    start(cpus, 128);
    seen.root[0] = make();
    seen.root[0]->next = make();
    for (unsigned i = 0; i < 2 * SLOTS; i++) {
        seen.dead[i] = hide(make());
    }
}

static void set_up_graph(void)
{
    graph(2);
}

static void set_up_graph_3(void)
{
    graph(3);
}

/* The same, marked: three spans are to be swept, one of them with live objects. */
static void set_up_unswept(void)
{
    set_up_graph();
    while (!sh_gc_sweep_step(0)) {
        sh_gc_step(1);
    }
}

/* The same, while a cycle marks: the stacks were looked at, nothing else. */
static void set_up_marking(void)
{
    set_up_graph();
    sh_gc_step(1);
}

/* Short of pages, with dead spans to be swept. */
static void set_up_short(void)
{
    start(2, 40);
    seen.root[0] = make();
    for (unsigned i = 0; i < 2 * SLOTS; i++) {
        seen.dead[i] = hide(make());
    }
    while (sh_alloc_pages(1) != NULL) {
    }
    while (!sh_gc_sweep_step(0)) {
        sh_gc_step(1);
    }
}

/* A cycle marks, no page is free, and the heap will grow to where some words that are marked lead: the end
 * of an arena and the next one. */
static void set_up_grow(void)
{
    start(2, 40);
    seen.root[0] = make();
    for (unsigned i = 0; i < sizeof seen.words / sizeof seen.words[0]; i++) {
        seen.words[i] = HEAP_BASE + ((uintptr_t)(191 + i) << 12) + SIZE;
    }
    if (sh_gc_add_root(seen.words, sizeof seen.words) != SH_OK) {
        violated("no root");
    }
    while (sh_alloc_pages(1) != NULL) {
    }
    port_window(190, 4);
    sh_gc_step(1);
}

/* Lists in several spans, for several markers. */
static void set_up_lists(void)
{
    graph(3);
    for (unsigned i = 1; i < 4; i++) {
        seen.root[i] = make();
        seen.root[i]->next = make();
    }
    seen.root[1]->next->next = seen.root[2]->next;
    seen.root[3]->next->next = seen.root[2]->next;
}

/* ---- what runs ---- */

static void sweep_two(void)
{
    sh_gc_sweep_step(2);
}

static void step_all(void)
{
    while (!sh_gc_step(1 << 20)) {
    }
}

/* The stacks, and all of the declared root. */
static void step_some(void)
{
    sh_gc_step(1);
    sh_gc_step(ROOTS);
}

static void collect(void)
{
    sh_gc_collect();
}

static void help(void)
{
    sh_gc_stopped();
}

static void allocate(void)
{
    seen.root[2 * fiber_now + 2] = make();
}

static void allocate_two(void)
{
    seen.root[2 * fiber_now + 2] = make();
    seen.root[2 * fiber_now + 3] = make();
}

/* What no span has a slot for. */
static void allocate_page(void)
{
    seen.root[4] = sh_gc_malloc(2 * SIZE, SH_GC_NOSCAN);
    if (seen.root[4] == NULL) {
        violated("growth failed");
    }
    seen.root[4]->mark = MARK;
}

static void allocate_run(void)
{
    seen.got[1][0] = sh_alloc_pages(1);
}

static void allocate_pages(void)
{
    seen.got[0][0] = sh_alloc_pages(1);
}

/* The second node of the list moves to root[7]: it is marked by the store over its only reference, or not
 * at all. */
static void move_second(void)
{
    struct node *first = seen.root[0], *second = first->next;
    sh_gc_write(&seen.root[7], second);
    sh_gc_write(&first->next, NULL);
}

/* The same, and the list is cut first: for a while only this thread's stack has it. */
static void move_second_by_stack(void)
{
    struct node *first = seen.root[0], *second = first->next;
    sh_gc_write(&first->next, NULL);
    sh_gc_write(&seen.root[7], second);
}

static void cut_second(void)
{
    sh_gc_write(&seen.root[0]->next, NULL);
}

/* Takes up a reference after the stacks were looked at, perhaps. */
static void keep_second(void)
{
    struct node *second = seen.root[0]->next;
    if (second != NULL) {
        sh_gc_write(&seen.root[7], second);
    }
}

static void copy_second(void)
{
    struct node *first = seen.root[0], *none = NULL;
    sh_gc_copy(&seen.root[7], &first->next, sizeof none);
    sh_gc_copy(&first->next, NULL, sizeof none);
}

static void free_dead(void)
{
    sh_free(hide(seen.dead[7]));
}

static void free_second(void)
{
    struct node *first = seen.root[0], *second = first->next;
    sh_gc_write(&first->next, NULL);
    sh_free(second);
}

static void get_weak(void)
{
    struct node *node = sh_gc_weak_get(seen.weak);
    if (node != NULL) {
        sh_gc_write(&seen.root[7], node);
    }
}

static void set_up_weak(void)
{
    set_up_graph();
    if (sh_gc_weak_create(&seen.weak, hide(seen.dead[1])) != SH_OK) {
        violated("no weak reference");
    }
}

/* A dead object is freed by hand, twice. */
static void set_up_free(void)
{
    set_up_graph();
    port_expect_misuse();
}

static void check_free(void)
{
    sound();
    if (port_misuses() != 1) {
        violated("%u misuses told, not 1", port_misuses());
    }
}

#define GC(what, before, first, second) \
    { .name = what, .setup = before, .fiber = { { first, 0, false }, { second, 1, false } }, .check = sound }

const struct scenario scenarios_gc[] = {
    { .name = "sweep-sweep", .setup = set_up_unswept,
      .fiber = { { sweep_two, 0, false }, { sweep_two, 1, false } }, .check = sound },
    GC("sweep-reuse", set_up_unswept, sweep_two, allocate_run),
    GC("sweep-allocate", set_up_unswept, sweep_two, allocate_two),
    GC("sweep-free", set_up_unswept, sweep_two, free_second),
    GC("reclaim-allocate", set_up_short, allocate_pages, allocate),
    { .name = "barrier-mark", .setup = set_up_marking,
      .fiber = { { step_all, 0, false }, { move_second, 1, false } }, .check = sound },
    GC("grow-mark", set_up_grow, step_all, allocate_page),
    GC("barrier-copy-mark", set_up_marking, step_all, copy_second),
    GC("barrier-cycle-start", set_up_graph, step_some, move_second),
    GC("barrier-stack-cycle-start", set_up_graph, step_some, move_second_by_stack),
    { .name = "barrier-cycle-start-reader", .setup = set_up_graph_3,
      .fiber = { { step_some, 0, false }, { cut_second, 1, false }, { keep_second, 2, false } },
      .check = sound },
    GC("barrier-collect", set_up_graph, collect, move_second_by_stack),
    GC("allocate-cycle-start", set_up_graph, step_some, allocate_two),
    { .name = "allocate-collect", .setup = set_up_graph,
      .fiber = { { collect, 0, false }, { allocate, 1, false } }, .check = sound, .slow = true },
    GC("collect-collect", set_up_graph, collect, collect),
    GC("free-mark", set_up_marking, step_all, free_second),
    GC("free-collect", set_up_graph, collect, free_second),
    GC("weak-get-collect", set_up_weak, collect, get_weak),
    { .name = "mark-together", .setup = set_up_lists,
      .fiber = { { collect, 0, false }, { help, 1, .helper = true } }, .check = sound },
    { .name = "mark-three", .setup = set_up_lists,
      .fiber = { { collect, 0, false }, { help, 1, .helper = true }, { help, 2, .helper = true } },
      .check = sound, .slow = true },
    { .name = "mark-together-interrupted", .setup = set_up_lists,
      .fiber = { { collect, 0, false }, { help, 1, .helper = true }, { move_second, 0, .handler = true } },
      .check = sound },
    { .name = "mark-together-mutator", .setup = set_up_lists,
      .fiber = { { collect, 0, false }, { move_second_by_stack, 1, false }, { help, 1, .helper = true } },
      .check = sound, .slow = true },
    { .name = "double-free-collected", .setup = set_up_free,
      .fiber = { { free_dead, 0, false }, { free_dead, 1, false } }, .check = check_free },
    { .name = NULL }
};
