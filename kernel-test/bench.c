/*
 * The benchmarks' harness: the table of loads, lines of output.
 *
 *     bench <suite>/<name> <value> <unit>
 *
 * All arithmetic is in integers, and the figures of a booted machine under -icount shift=0 are the
 * same to the digit in every run.
 */
#include "kernel-test/bench.h"

#include "kernel-test/test.h"

#include "mm/budget.h"

static const struct bench_entry loads[] = {
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
    { NULL, 0, { NULL } },
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
    static const char *const suites[] = { "memory", "gc", "masked", "cpus" };

    for (unsigned i = 0; i < sizeof suites / sizeof suites[0]; i++)
        if (bench_begins(line, suites[i])) {
            for (*name = line; *(*name)++ != '/';)
                ;
            return suites[i];
        }
    *name = line;
    return BENCH_MALLOC;
}

/* Memory and the collector are measured once, in the build for one CPU; CPUs where each finds itself
 * inline; masked stretches in the image that has nothing else. */
static bool wants(const char *suite, const char *name)
{
    bool cpus = bench_begins(suite, "cpus"), anywhere = bench_begins(suite, "malloc") || bench_begins(suite, "masked");
    bool here = cpus ? BENCH_INLINE : SH_MAX_CPUS == 1 || anywhere;

    return here && bench_wants(suite, name);
}

static bool wanted(const struct bench_entry *load)
{
    for (unsigned i = 0; i < BENCH_LINES && load->lines[i] != NULL; i++) {
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

static void run(const struct bench_entry *load)
{
    const char *name = "";

    for (; load->run != NULL; load++)
        if (wanted(load)) {
            room_used = 0;
            bench_config = (struct sh_config){ .size = sizeof bench_config };
            split(load->lines[0], &name);
            load->run(name, load->parameter);
        }
}

void bench_run(void)
{
    if (bench_masked_loads != NULL) {
        run(bench_masked_loads);
        return;
    }
    run(loads);
    if (bench_gc_loads != NULL)
        run(bench_gc_loads);
    if (bench_cpus_loads != NULL)
        run(bench_cpus_loads);
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
