/*
 * Proves that what is right is never taken for misuse: random legal calls by the hundred million on
 * the host, a million booted, in every mode.  The shadow is a table of pointers and sizes; contents are
 * the business of the suite random.  Last comes the sum of all cases, legal and wrong.
 */
#include "kernel-test/test_case.h"

#define SLOTS 512u
#define MILLION 1000000u

/* The sanitizers' library would take minutes for the full number; one build of each kind is enough. */
#ifdef __SANITIZE_ADDRESS__
#define ROUNDS 10u
#else
#define ROUNDS (rig_is_machine() ? 1u : MM_PAGE_SHIFT == 13 ? 100u : 10u)
#endif

struct held {
    void *p;
    uint32_t size;
    bool pages;
};

static struct held held[SLOTS];
static uint32_t state;
static uint32_t most_large;

/* Mostly small; one in 128 is large. */
static uint32_t some_size(uint32_t random)
{
    static const uint16_t masks[16] = { 15,  31,  63,  63,   127,  127,  255,  255,
                                        511, 511, 1023, 1023, 2047, 4095, 16383, 0 };
    uint32_t mask = masks[random & 15];

    if (mask == 0)
        mask = (random >> 4 & 7) == 0 ? most_large : 8191;
    return random >> 7 & mask;
}

static void *allocate(struct held *slot, uint32_t random)
{
    uint32_t size = slot->size = some_size(random * 2654435761u >> 3);

    slot->pages = false;
    switch (random >> 9 & 15) {
    case 0: {
        size_t align = (size_t)1 << (random >> 13 & 15 & (random >> 17));
        void *p = sh_aligned_alloc(align, size);
        EXPECT(((uintptr_t)p & (align - 1)) == 0);
        return p;
    }
    case 1:
        return sh_calloc(size & 7, size >> 3);
    case 2:
        slot->pages = size >= SH_PAGE_SIZE;
        return slot->pages ? sh_alloc_pages(size >> MM_PAGE_SHIFT) : sh_malloc(size);
    case 3:
        return sh_realloc(NULL, size);
    default:
        return sh_malloc(size);
    }
}

/* calloc's product may be smaller than the size asked for. */
static void take(struct held *slot, uint32_t random)
{
    slot->p = allocate(slot, random);
    EXPECT(slot->p != NULL);
    if ((random >> 9 & 15) == 1)
        slot->size = (slot->size & 7) * (slot->size >> 3);
}

static void resize(struct held *slot, uint32_t random)
{
    uint32_t size = some_size(random * 2654435761u >> 3);

    slot->p = sh_realloc(slot->p, size);
    EXPECT(slot->p != NULL);
    slot->size = size;
}

static void step(uint32_t random)
{
    struct held *slot = &held[random & (SLOTS - 1)];
    unsigned way = random >> 9 & 7;

    if (slot->p == NULL) {
        take(slot, random);
        return;
    }
    if (slot->pages) {
        sh_free_pages(slot->p);
    } else if (way == 0) {
        resize(slot, random);
        return;
    } else if (way <= 3) {
        sh_free_sized(slot->p, slot->size);
    } else {
        sh_free(slot->p);
    }
    slot->p = NULL;
}

static void run_million(void *arg)
{
    uint32_t x = state;

    (void)arg;
    for (unsigned i = 0; i < MILLION; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        step(x);
    }
    state = x;
    case_counts.operations += MILLION;
}

static void free_all(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (held[i].pages)
            sh_free_pages(held[i].p);
        else
            sh_free_sized(held[i].p, held[i].size);
        held[i].p = NULL;
        held[i].pages = false;
    }
}

static void expect_no_report(void (*fn)(void *))
{
    (void)rig_panics(SH_PANIC_MISUSE, NULL, fn, NULL);
    case_counts.reports += rig_panic_count();
    if (rig_panic_count() != 0)
        t_fail(__FILE__, __LINE__, "%u reports, the last: %s", rig_panic_count(), rig_report());
}

/* `rounds` times a million in a heap of this kind. */
static void run(const struct sh_config *config, unsigned rounds)
{
    most_large = rig_is_machine() ? 65535 : 262143;
    for (unsigned i = 0; i < rounds; i++) {
        if (i % 10 == 0)
            rig_start(0, config);
        if (!t_has_memory(4 * T_MIB))
            return;
        state = state == 0 ? 1 : state;
        expect_no_report(run_million);
        if (i % 10 == 9 || i == rounds - 1) {
            EXPECT_WHOLE();
            expect_no_report(free_all);
            EXPECT_WHOLE();
        }
    }
}

static void legal_calls_are_never_reported(void)
{
    run(NULL, ROUNDS);
}

static void legal_calls_are_never_reported_with_zeroing(void)
{
    const struct sh_config config = { .size = sizeof(config), .zero = true, .hooks = rig_hooks() };

    if (!rig_is_machine())
        run(&config, 1);
}

static void legal_calls_are_never_reported_in_demand_mode(void)
{
    const struct sh_config config = { .size = sizeof(config), .demand = true, .hooks = rig_hooks() };

    if (!rig_is_machine())
        run(&config, 1);
}

static void print_thousands(unsigned long number)
{
    static const unsigned long powers[] = { 1000000000, 1000000, 1000, 1 };
    bool begun = false;

    for (unsigned i = 0; i < 4; i++) {
        unsigned group = 0;
        for (; number >= powers[i]; number -= powers[i])
            group++;
        if (begun)
            t_printf(",%03u", group);
        else if (group != 0 || i == 3)
            t_printf("%u", group);
        begun |= group != 0;
    }
}

/* Runs last of the three suites; with a filter that leaves the others out there is nothing to sum. */
static void all_cases_are_caught_and_nothing_else(void)
{
    t_printf("misuse: ");
    print_thousands(case_counts.cases);
    t_printf(" cases, ");
    print_thousands(case_counts.missed);
    t_printf(" missed; ");
    print_thousands(case_counts.operations);
    t_printf(" legal operations, ");
    print_thousands(case_counts.reports);
    t_printf(" reports\n");
    EXPECT(case_counts.cases == 0 || case_counts.cases >= 10000);
    EXPECT_EQ(case_counts.missed, 0);
    EXPECT_EQ(case_counts.reports, 0);
}

static const struct test tests[] = {
    { "legal_calls_are_never_reported", legal_calls_are_never_reported },
    { "legal_calls_are_never_reported_with_zeroing", legal_calls_are_never_reported_with_zeroing },
    { "legal_calls_are_never_reported_in_demand_mode", legal_calls_are_never_reported_in_demand_mode },
    { "all_cases_are_caught_and_nothing_else", all_cases_are_caught_and_nothing_else },
};

SUITE(legal, tests);
