/*
 * The demonstration on many CPUs: traces of real programs at once on one heap.
 *
 * Each CPU takes a trace that nobody has, and does its events.  Of the blocks that the program frees, every
 * second one is passed to another CPU, which checks it and frees it: through a ring from each CPU to each
 * other; where that is full the block is freed here.  A CPU without a trace only frees.  Then all CPUs build
 * trees on a collected heap, and a collection has them stop and help.
 */
#include "kernel-test/k_cpus.h"
#include "kernel-test/replay_cpus.h"
#include "kernel-test/rig.h"
#include "kernel-test/test_util.h"
#include "kernel-test/trace.h"
#include "mm/cache.h"
#ifndef WITHOUT_GC
#include "gc/gc.h"
#endif

#define RING 1024u
#define SERVE_EVERY 15u /* a mask */
#define TREE_DEPTH 13u

struct passed {
    void *block;
    uint32_t size, seed;
};

struct ring {
    struct passed at[RING];
    unsigned in, out;
};

static struct job {
    struct trace trace;
    struct trace_slot *slots;
    const char *broken; /* what is wrong */
    uint32_t event;     /* and where */
} jobs[K_MAX_MODULES];
static unsigned job_count, job_next;
static unsigned finished;
static bool failed;
static struct ring *rings; /* [from][to] */

static struct of_cpu {
    const char *traces[2];
    unsigned trace_count;
    uint32_t events, mallocs, frees, passed, of_others;
} of_cpu[K_RECORDS];

static struct ring *ring_of(unsigned from, unsigned to)
{
    return &rings[from * k_cpus() + to];
}

/* ---- blocks that others free ---- */

static bool pass(const struct passed *block)
{
    static const unsigned char seven[] = { 0, 0, 1, 1, 3, 3, 3, 3, 7 };
    unsigned self = k_cpu(), to = (self + 1 + (of_cpu[self].frees >> 1 & seven[k_cpus()])) & 7;
    struct ring *ring;

    while (to >= k_cpus())
        to -= k_cpus();
    if (to == self)
        return false;
    ring = ring_of(self, to);
    if (ring->in - __atomic_load_n(&ring->out, __ATOMIC_ACQUIRE) == RING)
        return false;
    ring->at[ring->in & (RING - 1)] = *block;
    __atomic_store_n(&ring->in, ring->in + 1, __ATOMIC_RELEASE);
    return true;
}

static void stop_all(struct job *job, uint32_t event, const char *what)
{
    if (!__atomic_exchange_n(&failed, true, __ATOMIC_ACQ_REL)) {
        job->broken = what;
        job->event = event;
    }
}

/* Frees what was passed here; true = there was something. */
static bool serve(void)
{
    unsigned self = k_cpu();
    bool some = false;

    for (unsigned from = 0; from < k_cpus(); from++) {
        struct ring *ring = ring_of(from, self);

        while (__atomic_load_n(&ring->in, __ATOMIC_ACQUIRE) != ring->out) {
            struct passed block = ring->at[ring->out & (RING - 1)];

            if (!t_holds(block.block, block.size, block.seed))
                stop_all(&jobs[0], TRACE_NO_EVENT, "a block has changed on its way to who frees it");
            sh_free(block.block);
            of_cpu[self].of_others++;
            __atomic_store_n(&ring->out, ring->out + 1, __ATOMIC_RELEASE);
            some = true;
        }
    }
    return some;
}

/* ---- events ---- */

static void free_block(struct trace_slot *slot)
{
    struct of_cpu *cpu = &of_cpu[k_cpu()];
    const struct passed block = { slot->block, slot->size, slot->seed };

    cpu->frees++;
    if ((cpu->frees & 1) != 0 && pass(&block))
        cpu->passed++;
    else
        sh_free(slot->block);
    *slot = (struct trace_slot){ NULL, 0, 0, 0 };
}

static void *new_block(const struct trace_event *event, void *old)
{
    switch (event->operation) {
    case TRACE_CALLOC:
        return sh_calloc(1, event->size);
    case TRACE_REALLOC:
        return sh_realloc(old, event->size);
    case TRACE_ALIGNED:
        return sh_aligned_alloc((size_t)1 << event->align_log2, event->size);
    default:
        return sh_malloc(event->size);
    }
}

static const char *run_event(struct job *job, uint32_t index)
{
    struct trace_event event = trace_event(&job->trace, index);
    struct trace_slot *slot = &job->slots[event.slot];
    size_t kept = slot->size < event.size ? slot->size : event.size;
    void *block;

    if (slot->live != 0 && !t_holds(slot->block, slot->size, slot->seed))
        return "the contents of a live block have changed";
    if (event.operation == TRACE_FREE) {
        free_block(slot);
        return NULL;
    }
    block = new_block(&event, slot->block);
    of_cpu[k_cpu()].mallocs++;
    if (block == NULL)
        return "out of memory";
    if (event.operation == TRACE_CALLOC && !t_is_zero(block, event.size))
        return "calloc gave bytes that are not zero";
    if (event.operation == TRACE_REALLOC && !t_holds(block, kept, slot->seed))
        return "realloc lost bytes";
    *slot = (struct trace_slot){ block, event.size, index, 1 };
    t_fill(block, event.size, index);
    return NULL;
}

static void run_job(struct job *job)
{
    struct of_cpu *cpu = &of_cpu[k_cpu()];

    cpu->traces[cpu->trace_count++ & 1] = job->trace.name;
    for (uint32_t i = 0; i < job->trace.events && !__atomic_load_n(&failed, __ATOMIC_RELAXED); i++) {
        const char *what = run_event(job, i);

        if (what != NULL)
            stop_all(job, i, what);
        cpu->events++;
        if ((i & SERVE_EVERY) == 0)
            serve();
    }
}

static void run_cpu(void *arg)
{
    unsigned next;

    (void)arg;
    while ((next = __atomic_fetch_add(&job_next, 1, __ATOMIC_RELAXED)) < job_count)
        run_job(&jobs[next]);
    __atomic_fetch_add(&finished, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < k_cpus())
        if (!serve())
            k_pause();
    serve();
}

static void on_all(void (*fn)(void *), void *arg)
{
    for (unsigned i = 1; i < k_cpus(); i++)
        k_cpu_start(i, fn, arg);
    fn(arg);
    k_cpus_wait();
}

/* ---- before and after ---- */

static bool start_heap(void)
{
    const struct sh_config config = { .size = sizeof config, .hooks = rig_cpu_hooks(), .cpus = k_cpus() };
    size_t size;
    uintptr_t area = rig_area(&size);

    rig_reset();
    rig_cpu_hooks();
    k_frames_check(false);
    return rig_window(area, size) == SH_OK && sh_init(&config) == SH_OK;
}

static size_t pages_for(size_t bytes)
{
    return (bytes + SH_PAGE_SIZE - 1) >> MM_PAGE_SHIFT;
}

static bool open_jobs(const struct k_module *files, unsigned count)
{
    size_t bytes = sizeof *rings * k_cpus() * k_cpus();
    struct trace_error error;

    rings = sh_alloc_pages(pages_for(bytes));
    if (rings == NULL)
        return false;
    __builtin_memset(rings, 0, bytes);
    job_count = count < K_MAX_MODULES ? count : K_MAX_MODULES;
    for (unsigned i = 0; i < job_count; i++) {
        struct job *job = &jobs[i];

        if (!trace_open(&job->trace, files[i].name, files[i].data, files[i].size, &error)) {
            trace_report(&job->trace, &error);
            return false;
        }
        job->slots = sh_alloc_pages(pages_for((job->trace.slots + 1) * sizeof *job->slots));
        if (job->slots == NULL || !trace_check(&job->trace, job->slots, &error))
            return false;
    }
    return true;
}

static bool whole(void)
{
    int faults;

    rig_log_clear();
    faults = sh_verify();
    if (faults != 0)
        t_printf("sh_verify finds %d: %s\n", faults, rig_log());
    return faults == 0;
}

/* What the programs never freed: on this CPU, whoever made it. */
static bool free_survivors(void)
{
    bool good = true;

    for (unsigned i = 0; i < job_count; i++) {
        struct job *job = &jobs[i];

        for (uint32_t k = 0; k < job->trace.slots; k++)
            if (job->slots[k].live != 0) {
                good &= t_holds(job->slots[k].block, job->slots[k].size, job->slots[k].seed);
                sh_free(job->slots[k].block);
            }
        sh_free_pages(job->slots);
    }
    sh_free_pages(rings);
    return good;
}

static void print_cpus(void)
{
    t_printf("\n%3s %-24s %8s %8s %8s %9s %10s %8s\n", "CPU", "traces", "events", "mallocs", "frees",
             "passed on", "for others", "refills");
    for (unsigned i = 0; i < k_cpus(); i++) {
        const struct of_cpu *cpu = &of_cpu[i];
        const char *first = cpu->trace_count > 0 ? cpu->traces[0] : "only frees";
        const char *second = cpu->trace_count > 1 ? cpu->traces[1] : "";

        t_printf("%3u %-12s %-11s %8u %8u %8u %9u %10u %8u\n", i, first, second, (unsigned)cpu->events,
                 (unsigned)cpu->mallocs, (unsigned)cpu->frees, (unsigned)cpu->passed,
                 (unsigned)cpu->of_others, (unsigned)mm_cpu[i].refills);
    }
    t_printf("\nEvents are the trace's.  Frees are those of the CPU's own trace, with what it passed on; for "
             "others: freed here,\nallocated there.  Refills: the cached word of free slots was empty.  Every block's contents were checked.\n\n");
}

static bool replay(void)
{
    const unsigned before = k_shootdowns;
    struct sh_stats stats;
    unsigned count;
    const struct k_module *files = k_modules(&count);
    bool good;

    job_next = finished = 0;
    failed = false;
    if (!start_heap() || !open_jobs(files, count)) {
        t_printf("replay: the heap does not start, or a trace is no trace\n");
        return false;
    }
    t_printf("%u traces on %u CPUs at once, one heap\n", job_count, k_cpus());
    on_all(run_cpu, NULL);
    for (unsigned i = 0; i < job_count; i++)
        if (jobs[i].broken != NULL)
            t_printf("%s, event %u: %s\n", jobs[i].trace.name, (unsigned)jobs[i].event, jobs[i].broken);
    print_cpus();
    good = !failed && whole();
    rig_log_clear();
    sh_print_map();
    t_printf("%s\n", rig_log());
    good &= free_survivors();
    for (unsigned i = 0; i < k_cpus(); i++)
        sh_cpu_offline(i);
    sh_trim(0);
    good &= whole();
    sh_stats(&stats);
    t_printf("all is freed: %zu objects live, %zu bytes of frames held by objects; %u shootdowns\n",
             stats.live_objects, stats.heap_in_use + stats.heap_free, k_shootdowns - before);
    return good && stats.live_objects == 0 && stats.heap_in_use + stats.heap_free == 0;
}

/* ---- the collection ---- */

#ifndef WITHOUT_GC
struct node {
    struct node *left, *right;
};

static struct node *trees[K_RECORDS];
static unsigned helped[K_RECORDS];

static struct node *grow_tree(unsigned depth)
{
    struct node *node = sh_gc_malloc(sizeof *node, 0);

    if (node != NULL && depth > 0) {
        sh_gc_write(&node->left, grow_tree(depth - 1));
        sh_gc_write(&node->right, grow_tree(depth - 1));
    }
    return node;
}

static unsigned count_nodes(const struct node *node)
{
    return node == NULL ? 0 : 1 + count_nodes(node->left) + count_nodes(node->right);
}

static void build(void *arg)
{
    (void)arg;
    grow_tree(TREE_DEPTH - 1); /* garbage */
    sh_gc_write(&trees[k_cpu()], grow_tree(TREE_DEPTH));
}

static void help(void)
{
    helped[k_cpu()]++;
    sh_gc_stopped();
}

static bool collect(void)
{
    const unsigned wanted = (2u << TREE_DEPTH) - 1;
    struct sh_gc_stats stats;
    bool good = true;

    for (unsigned i = 0; i < K_RECORDS; i++)
        trees[i] = NULL;
    if (!start_heap() || sh_gc_init(NULL) != SH_OK || sh_gc_add_root(trees, sizeof trees) != SH_OK) {
        t_printf("collect: the heap does not start\n");
        return false;
    }
    k_while_stopped = help;
    on_all(build, NULL);
    sh_gc_collect();
    sh_gc_stats(&stats);
    for (unsigned i = 0; i < k_cpus(); i++)
        good &= count_nodes(trees[i]) == wanted;
    t_printf("\na collection on %u CPUs: each had built a tree of %u nodes and dropped half as many; %llu "
             "objects freed,\n%llu words looked at; the stopped CPUs were asked to help",
             k_cpus(), wanted, (unsigned long long)stats.objects_freed,
             (unsigned long long)stats.words_scanned);
    for (unsigned i = 1; i < k_cpus(); i++) {
        t_printf(" %u", helped[i]);
        good &= helped[i] > 0;
    }
    t_printf(" times\n");
    return whole() && good && stats.objects_freed > 0;
}
#else
static bool collect(void)
{
    return true;
}
#endif

int replay_cpus_main(void)
{
    bool replayed = replay(), collected = collect();

    rig_reset();
    t_printf("\nreplay on %u CPUs, %s: %u passed, %u failed\n", k_cpus(), k_machine(),
             (unsigned)replayed + collected, 2u - replayed - collected);
    return replayed && collected ? 0 : 1;
}
