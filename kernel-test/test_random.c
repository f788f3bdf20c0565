/*
 * Proves that no order of calls breaks the heap: seeded random operations, in phases of filling,
 * draining and churning, with changing sizes and orders, against a model that holds every byte.
 */
#include "kernel-test/test_util.h"

#define SLOTS 1024u

struct profile {
    const char *name;
    uint32_t most;   /* sizes below this */
    uint32_t rare;   /* and one in 32 below this */
};

static const struct profile profiles[] = {
    { "tiny", 64, 300 },         { "small", 512, 4096 },     { "medium", 4096, 40000 },
    { "large", 60000, 400000 },  { "mixed", 1500, 150000 },
};

enum order { LAST_FIRST, FIRST_FIRST, ANY };

struct model {
    uint32_t random;
    const struct profile *profile;
    size_t live_bytes, most_bytes;
    unsigned live;
    bool may_fail; /* hook calls are made to fail now and then */
};

static struct t_block slots[SLOTS];
static bool is_pages[SLOTS];
static struct model model;

static uint32_t below(uint32_t limit)
{
    return t_below(&model.random, limit);
}

static size_t some_size(void)
{
    return below(32) == 0 ? below(model.profile->rare) : below(model.profile->most);
}

static void set(unsigned slot, void *p, size_t size)
{
    slots[slot] = (struct t_block){ p, size, t_random(&model.random) };
    t_fill(p, size, slots[slot].seed);
    model.live_bytes += size;
    model.live++;
}

static void *allocate(size_t size, bool *pages)
{
    void *p;

    *pages = false;
    switch (below(10)) {
    case 0:
        p = sh_calloc(1, size);
        EXPECT(p == NULL || t_is_zero(p, size));
        return p;
    case 1: {
        size_t align = (size_t)1 << below(16);
        p = sh_aligned_alloc(align, size);
        EXPECT(((uintptr_t)p & (align - 1)) == 0);
        return p;
    }
    case 2:
        *pages = size >= SH_PAGE_SIZE;
        return *pages ? sh_alloc_pages(size >> MM_PAGE_SHIFT) : sh_malloc(size);
    default:
        return sh_malloc(size);
    }
}

static void take(unsigned slot)
{
    size_t size = some_size();
    void *p;

    if (model.live_bytes + size > model.most_bytes)
        return;
    p = allocate(size, &is_pages[slot]);
    if (p == NULL) {
        EXPECT(model.may_fail);
        return;
    }
    set(slot, p, is_pages[slot] ? size & ~(SH_PAGE_SIZE - 1) : size);
}

static void give(unsigned slot)
{
    struct t_block *block = &slots[slot];

    EXPECT(t_holds(block->p, block->size, block->seed));
    EXPECT(sh_usable_size(block->p) >= block->size);
    if (is_pages[slot])
        sh_free_pages(block->p);
    else if (below(3) == 0)
        sh_free_sized(block->p, block->size);
    else
        sh_free(block->p);
    model.live_bytes -= block->size;
    model.live--;
    block->p = NULL;
}

static void resize(unsigned slot)
{
    struct t_block *block = &slots[slot];
    size_t size = some_size(), kept = size < block->size ? size : block->size;
    void *p;

    if (is_pages[slot] || model.live_bytes + size > model.most_bytes)
        return;
    p = sh_realloc(block->p, size);
    if (p == NULL) {
        EXPECT(model.may_fail);
        EXPECT(t_holds(block->p, block->size, block->seed));
        return;
    }
    EXPECT(t_holds(p, kept, block->seed));
    model.live_bytes -= block->size;
    model.live--;
    set(slot, p, size);
}

static void query(unsigned slot)
{
    struct sh_object object;
    uintptr_t p = (uintptr_t)slots[slot].p;
    size_t at = slots[slot].size == 0 ? 0 : below((uint32_t)slots[slot].size);

    EXPECT(sh_object_of((void *)(p + at), &object));
    EXPECT_EQ(object.base, p);
    EXPECT(object.live && object.size >= slots[slot].size);
}

static void step(unsigned slot)
{
    if (slots[slot].p == NULL)
        take(slot);
    else if (below(4) == 0)
        resize(slot);
    else if (below(8) == 0)
        query(slot);
    else
        give(slot);
}

static void expect_model(void)
{
    struct sh_stats stats;

    sh_stats(&stats);
    EXPECT_EQ(stats.live_objects, model.live);
    EXPECT(stats.live_bytes >= model.live_bytes);
    EXPECT_WHOLE();
}

static void churn(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        if (model.may_fail && below(16) == 0)
            rig_fail(1 + below(6), below(4) == 0);
        step(below(SLOTS));
        if ((i & 511) == 511) {
            rig_fail(0, false);
            expect_model();
        }
        if (below(700) == 0)
            sh_trim(below(8) << 16);
    }
    rig_fail(0, false);
}

static void fill(void)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (slots[slot].p == NULL)
            take(slot);
}

static void drain(enum order order, unsigned leave)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        unsigned slot = order == LAST_FIRST    ? SLOTS - 1 - i
                        : order == FIRST_FIRST ? i
                                               : below(SLOTS);
        if (slots[slot].p != NULL && below(100) >= leave)
            give(slot);
    }
}

static void drain_all(void)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (slots[slot].p != NULL)
            give(slot);
}

static void start_model(uint32_t seed, bool may_fail)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        slots[slot].p = NULL;
    model = (struct model){ .random = seed * 2654435761u + 1, .profile = &profiles[0],
                            .most_bytes = rig_is_machine() ? 2 * T_MIB : 16 * T_MIB,
                            .may_fail = may_fail };
}

static void run_phases(unsigned phases, unsigned steps)
{
    for (unsigned phase = 0; phase < phases; phase++) {
        model.profile = &profiles[below(5)];
        fill();
        churn(steps);
        drain((enum order)below(3), below(60));
        expect_model();
        if (below(3) == 0)
            sh_trim(0);
    }
    drain_all();
    expect_model();
    EXPECT_EQ(model.live, 0);
}

static void random_phases_keep_the_heap_whole(void)
{
    for (uint32_t seed = 1; seed <= (rig_is_machine() ? 2u : 12u); seed++) {
        rig_start(0, NULL);
        start_model(seed, false);
        run_phases(6, 1500);
    }
}

static void random_failures_keep_the_heap_whole(void)
{
    for (uint32_t seed = 100; seed < (rig_is_machine() ? 102u : 112u); seed++) {
        rig_start(0, NULL);
        start_model(seed, true);
        run_phases(6, 1500);
    }
}

/* Windows come while the heap runs, of any size, anywhere; memory runs short at times. */
static void random_windows_keep_the_heap_whole(void)
{
    const struct sh_config config = { .size = sizeof(config), .hooks = rig_hooks() };

    for (uint32_t seed = 200; seed < (rig_is_machine() ? 202u : 212u); seed++) {
        size_t size;
        uintptr_t base = rig_area(&size);
        rig_reset();
        EXPECT_EQ(sh_init(&config), SH_OK);
        start_model(seed, true);
        for (unsigned round = 0; round < 12; round++) {
            (void)rig_window(base + (uintptr_t)below(4096) * 64 * T_KIB + below(3) * 4096,
                             (size_t)below(40) * 64 * T_KIB + below(65536));
            model.profile = &profiles[below(5)];
            churn(512);
            if (round == 6)
                drain(ANY, 30);
        }
        drain_all();
        expect_model();
    }
}

static void random_demand_keeps_the_heap_whole(void)
{
    const struct sh_config config = { .size = sizeof(config), .demand = true,
                                      .hooks = rig_hooks() };

    for (uint32_t seed = 300; seed < (rig_is_machine() ? 301u : 306u); seed++) {
        rig_start(0, &config);
        start_model(seed, false);
        run_phases(4, 1000);
    }
}

/* Every tier, with fills of zero and with memory on demand, and the two switches alone. */
static void random_tiers_keep_the_heap_whole(void)
{
    static const struct sh_config configs[] = {
        { .tier = 1 },
        { .tier = 1, .zero = true },
        { .tier = 1, .demand = true },
        { .tier = 2 },
        { .tier = 2, .demand = true },
        { .tier = 3 },
        { .tier = 3, .zero = true, .guard_sample = 3, .quarantine = 1 << 20 },
        { .quarantine = 100000 },
        { .guard_sample = 10 },
        { .guard_sample = 10, .zero = true, .demand = true },
    };

    for (unsigned i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
        struct sh_config config = configs[i];
        config.size = sizeof(config);
        config.hooks = rig_hooks();
        rig_start(0, &config);
        start_model(400 + i, (i & 1) != 0 && !config.demand);
        run_phases(rig_is_machine() ? 1 : 4, 600);
    }
}

/* Addresses never come back: a window lasts for so many objects. */
static void random_efence_keeps_the_heap_whole(void)
{
    const struct sh_config config = { .size = sizeof(config), .tier = 4, .hooks = rig_hooks() };

    rig_start(0, &config);
    start_model(500, false);
    model.may_fail = true; /* the window's end */
    for (unsigned slot = 0; slot < 100; slot++)
        take(slot);
    for (unsigned i = 0; i < 300; i++)
        step(below(100));
    expect_model();
    drain_all();
    expect_model();
}

/* The peak comes back: after everything is freed the same again fits into the same memory. */
static void same_work_again_takes_no_more_memory(void)
{
    size_t first = 0;

    rig_start(0, NULL);
    for (unsigned round = 0; round < 6; round++) {
        struct sh_stats stats;
        start_model(7, false);
        model.profile = &profiles[4];
        fill();
        drain_all();
        sh_stats(&stats);
        if (round == 1)
            first = stats.heap_sys;
        EXPECT(round <= 1 || stats.heap_sys <= first);
    }
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "random_phases_keep_the_heap_whole", random_phases_keep_the_heap_whole },
    { "random_failures_keep_the_heap_whole", random_failures_keep_the_heap_whole },
    { "random_windows_keep_the_heap_whole", random_windows_keep_the_heap_whole },
    { "random_demand_keeps_the_heap_whole", random_demand_keeps_the_heap_whole },
    { "random_tiers_keep_the_heap_whole", random_tiers_keep_the_heap_whole },
    { "random_efence_keeps_the_heap_whole", random_efence_keeps_the_heap_whole },
    { "same_work_again_takes_no_more_memory", same_work_again_takes_no_more_memory },
};

SUITE(random, tests);
