/*
 * The benchmarks' harness: the table of loads, random sizes, lines of output.
 *
 *     bench <suite>/<name> <value> <unit>
 *
 * All arithmetic is in integers, and the figures of a booted machine under -icount shift=0 are the
 * same to the digit in every run.
 */
#include "kernel-test/bench.h"

#include "kernel-test/test.h"

#include "mm/budget.h"

#define LINES 4

struct load {
    bench_load *run;
    size_t parameter;
    const char *lines[LINES]; /* what it prints: the first is its name; memory/… gc/… name the suite */
};

#define GRAPH(which, name) \
    { bench_gc_mark, which, { "gc/" name } }, { bench_gc_collect, which, { "gc/" name "-collect" } }

static const struct load loads[] = {
    { bench_pair, 16, { "pair-16" } },
    { bench_pair, 64, { "pair-64" } },
    { bench_pair, 256, { "pair-256" } },
    { bench_pair, 1024, { "pair-1024" } },
    { bench_pair, 8192, { "pair-8192" } },
    { bench_pair, 65536, { "pair-65536" } },
    { bench_batch, BENCH_LIFO, { "lifo" } },
    { bench_batch, BENCH_FIFO, { "fifo" } },
    { bench_replace, BENCH_CHURN, { "churn", "slowest-malloc", "slowest-free", "memory/churn" } },
    { bench_replace, BENCH_CHURN1K, { "churn1k", "memory/churn1k" } },
    { bench_replace, BENCH_LARGE, { "large" } },
    { bench_frag, 0, { "frag", "memory/frag-peak", "memory/frag-end" } },
    { bench_tier_pair, 1, { "tier1-pair-64" } },
    { bench_tier_pair, 2, { "tier2-pair-64" } },
    { bench_tier_pair, 3, { "tier3-pair-64" } },
    { bench_tier_pair, 4, { "tier4-pair-64" } },
    { bench_tier_churn, 1, { "tier1-churn1k", "memory/tier1-churn1k" } },
    { bench_tier_churn, 2, { "tier2-churn1k", "memory/tier2-churn1k" } },
    { bench_tier_churn, 3, { "tier3-churn1k", "memory/tier3-churn1k" } },
    { bench_sampled, 1000, { "sampled-churn1k", "memory/sampled-churn1k" } },
    { bench_holes, 1u << 15, { "find-2-behind-holes" } },
    { bench_init_frames, 0, { "memory/init-frames" } },
    GRAPH(BENCH_LIST, "list-exact"),
    GRAPH(BENCH_TREE, "tree-exact"),
    GRAPH(BENCH_HASH, "hash-exact"),
    GRAPH(BENCH_SHUFFLED, "shuffled-exact"),
    GRAPH(BENCH_CONSERVATIVE + BENCH_LIST, "list-conservative"),
    GRAPH(BENCH_CONSERVATIVE + BENCH_TREE, "tree-conservative"),
    GRAPH(BENCH_CONSERVATIVE + BENCH_HASH, "hash-conservative"),
    GRAPH(BENCH_CONSERVATIVE + BENCH_SHUFFLED, "shuffled-conservative"),
    { bench_gc_sweep, BENCH_SWEEP_SPAN, { "gc/sweep-span" } },
    { bench_gc_sweep, BENCH_SWEEP_WORD, { "gc/sweep-word" } },
    { bench_gc_sweep_object, 16, { "gc/sweep-object" } },
    { bench_gc_step, 0, { "gc/longest-step" } },
    { bench_gc_alloc, 20000, { "gc/alloc-16" } },
};

static size_t room_used;

struct sh_config bench_config;

bool bench_begins(const char *text, const char *with)
{
    for (; *with != 0; with++)
        if (*text++ != *with)
            return false;
    return true;
}

/* The suite of a line of the table, and its name in it. */
static const char *split(const char *line, const char **name)
{
    static const char *const suites[] = { "memory", "gc" };

    for (unsigned i = 0; i < sizeof suites / sizeof suites[0]; i++)
        if (bench_begins(line, suites[i])) {
            for (*name = line; *(*name)++ != '/';)
                ;
            return suites[i];
        }
    *name = line;
    return BENCH_MALLOC;
}

/* Memory and the collector are measured once, in the build for one CPU. */
static bool wants(const char *suite, const char *name)
{
    return (SH_MAX_CPUS == 1 || bench_begins(suite, "malloc")) && bench_wants(suite, name);
}

static bool wanted(const struct load *load)
{
    for (unsigned i = 0; i < LINES && load->lines[i] != NULL; i++) {
        const char *name, *suite = split(load->lines[i], &name);

        if (wants(suite, name))
            return true;
    }
    return false;
}

void *bench_room(size_t size)
{
    void *room = (void *)(bench_room_base + room_used);

    size = (size + 15) & ~(size_t)15;
    if (size > BENCH_ROOM - room_used)
        bench_fail("a load wants more room than there is");
    room_used += size;
    return room;
}

void bench_run(void)
{
    for (unsigned i = 0; i < sizeof loads / sizeof loads[0]; i++)
        if (wanted(&loads[i])) {
            const char *name;

            room_used = 0;
            bench_config = (struct sh_config){ .size = sizeof bench_config };
            split(loads[i].lines[0], &name);
            loads[i].run(name, loads[i].parameter);
        }
}

void bench_heap(size_t size, bool demand)
{
    static bool running;
    struct sh_config config = bench_config;

    if (running && sh_shutdown() != SH_OK)
        bench_fail("the last heap does not shut down");
    config.demand = demand;
    running = bench_window(size) && sh_init(&config) == SH_OK;
    if (!running)
        bench_fail("no heap");
}

uint64_t bench_divide(uint64_t value, uint32_t divisor)
{
    uint64_t quotient = 0, rest = 0;

    for (int bit = 63; bit >= 0; bit--) {
        rest = rest << 1 | (value >> bit & 1);
        if (rest >= divisor) {
            rest -= divisor;
            quotient |= (uint64_t)1 << bit;
        }
    }
    return quotient;
}

void bench_line(const char *suite, const char *name, uint64_t value, uint32_t divisor,
                unsigned decimals, const char *unit)
{
    static const uint32_t scales[] = { 1, 10, 100, 1000 };
    uint64_t whole;

    if (!wants(suite, name))
        return;
    value = bench_divide(value * scales[decimals] + divisor / 2, divisor);
    whole = bench_divide(value, scales[decimals]);
    t_printf("bench %s/%s %llu", suite, name, (unsigned long long)whole);
    value -= whole * scales[decimals];
    if (decimals == 1)
        t_printf(".%u", (unsigned)value);
    else if (decimals == 2)
        t_printf(".%02u", (unsigned)value);
    else if (decimals == 3)
        t_printf(".%03u", (unsigned)value);
    t_printf(" %s\n", unit);
}

void bench_memory_note(struct bench_memory *memory, size_t size, size_t old)
{
    size_t held = mm_budget_held();

    memory->live += size - old;
    if (memory->live > memory->peak_live)
        memory->peak_live = memory->live;
    if (held > memory->peak_held)
        memory->peak_held = held;
}

/* xorshift32. */
static uint32_t next(struct bench_random *random)
{
    uint32_t x = random->state;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return random->state = x;
}

uint32_t bench_pick(struct bench_random *random, uint32_t count)
{
    return (uint32_t)((uint64_t)next(random) * count >> 32);
}

/* least · 2^x for a uniform x: the whole octaves by a shift, 16 bits of the fraction by one
 * multiplication for each that is set.  The factors are 2^(1/2), 2^(1/4), … in units of 2^-31. */
uint32_t bench_size(struct bench_random *random, uint32_t least, unsigned octaves)
{
    static const uint32_t roots[16] = {
        0xB504F333u, 0x9837F051u, 0x8B95C1E3u, 0x85AAC367u, 0x82CD8698u, 0x8164D1F3u,
        0x80B1ED4Fu, 0x8058D7D2u, 0x802C6436u, 0x8016302Fu, 0x800B179Cu, 0x80058BAFu,
        0x8002C5D0u, 0x800162E6u, 0x8000B172u, 0x800058B9u,
    };
    uint32_t exponent = bench_pick(random, octaves << 16);
    uint32_t mantissa = 0x80000000u;

    for (unsigned i = 0; i < 16; i++)
        if ((exponent >> (15 - i) & 1) != 0)
            mantissa = (uint32_t)((uint64_t)mantissa * roots[i] >> 31);
    return (uint32_t)((uint64_t)(least << (exponent >> 16)) * mantissa >> 31);
}
