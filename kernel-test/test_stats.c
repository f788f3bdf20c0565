/*
 * Proves that the statistics are true: their identities hold after every kind of call, they meet
 * the rig's own ledger of frames and a model of what is live, and what is said through the log is
 * text.
 */
#include "kernel-test/test_util.h"

#include "mm/arena.h"

#define HELD 300u

static struct t_block blocks[HELD];

static void identities_hold_after_every_call(void)
{
    uint32_t random = 31337;

    rig_start(0, NULL);
    for (unsigned i = 0; i < 3000; i++) {
        struct t_block *block = &blocks[t_below(&random, HELD)];
        if (block->p != NULL)
            t_give(block);
        else
            *block = t_take(t_below(&random, (i & 15) == 0 ? 70000 : 1000), i);
        if ((i & 255) == 0)
            sh_trim(t_below(&random, 4) << 17);
        if ((i & 31) == 0)
            EXPECT_WHOLE();
    }
    for (unsigned i = 0; i < HELD; i++)
        if (blocks[i].p != NULL)
            t_give(&blocks[i]);
    EXPECT_WHOLE();
}

static void live_bytes_are_the_usable_bytes(void)
{
    size_t bytes = 0, objects = 0;
    struct sh_stats stats;

    rig_start(0, NULL);
    for (unsigned i = 0; i < HELD; i++) {
        blocks[i] = t_take((size_t)i * i >> 2, i);
        bytes += sh_usable_size(blocks[i].p);
        objects++;
        if (i % 16 == 0) {
            sh_stats(&stats);
            EXPECT_EQ(stats.live_bytes, bytes);
            EXPECT_EQ(stats.live_objects, objects);
        }
    }
    EXPECT(sh_alloc_pages(3) != NULL);
    bytes += 3 * SH_PAGE_SIZE;
    for (unsigned i = 0; i < HELD; i++) {
        bytes -= sh_usable_size(blocks[i].p);
        t_give(&blocks[i]);
    }
    sh_stats(&stats);
    EXPECT_EQ(stats.live_bytes, bytes);
    EXPECT_EQ(stats.live_objects, 1);
}

static void mallocs_and_frees_are_counted(void)
{
    struct sh_stats stats;
    void *p;

    rig_start(0, NULL);
    for (unsigned i = 0; i < 100; i++)
        sh_free(sh_malloc(i * 500));
    p = sh_calloc(3, 7);
    sh_free(p);
    sh_free_pages(sh_alloc_pages(2));
    EXPECT(sh_malloc(5) != NULL);
    sh_stats(&stats);
    EXPECT_EQ(stats.mallocs - stats.frees, stats.live_objects);
    EXPECT_EQ(stats.live_objects, 1);
    EXPECT(stats.mallocs >= 103);
}

static void nothing_is_held_before_the_first_allocation(void)
{
    struct sh_stats stats;

    rig_start(0, NULL);
    sh_stats(&stats);
    EXPECT_EQ(stats.frames_held, 0);
    EXPECT_EQ(stats.heap_sys, 0);
    EXPECT_EQ(stats.live_objects, 0);
    EXPECT_EQ(stats.meta_bytes, 0);
    EXPECT_EQ(stats.arenas, 0);
    EXPECT_EQ(stats.spans, 0);
    EXPECT_EQ(stats.windows, rig_is_machine() ? 1 : 0); /* the host's port does not tell */
    EXPECT_WHOLE();
}

/* A page of a live object that nobody has touched is not in use. */
static void in_use_is_what_has_a_frame(void)
{
    const struct sh_config demand = { .size = sizeof(demand), .demand = true, .hooks = rig_hooks() };
    struct sh_stats before, after;
    volatile uint8_t *p;

    rig_start(0, &demand);
    EXPECT(sh_malloc(100) != NULL);
    sh_stats(&before);
    p = sh_malloc(20 * SH_GRANULE_SIZE);
    EXPECT(p != NULL);
    for (unsigned touched = 0; touched < 20; touched += 5) {
        sh_stats(&after);
        EXPECT_EQ(after.heap_in_use - before.heap_in_use, touched * SH_GRANULE_SIZE);
        EXPECT_EQ(after.heap_free, before.heap_free);
        for (unsigned i = touched; i < touched + 5; i++)
            p[i * SH_GRANULE_SIZE] = 1;
    }
    EXPECT_WHOLE();
}

static void first_allocation_takes_few_frames(void)
{
    rig_start(0, NULL);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT(rig_frames_held() <= 24 * 4096 + (sizeof(void *) == 8 ? 96 * T_KIB : 0) +
                                    8 * (SH_ARCH_PAGE_SIZE - 4096));
}

/* The ledger of the rig is asked after each single call, not at the end only. */
static void ledger_of_frames_is_met(void)
{
    struct sh_stats stats;

    rig_start(0, NULL);
    for (size_t size = 8; size <= 2 * T_MIB; size += size >> 1) {
        void *p = sh_malloc(size);
        EXPECT(p != NULL);
        sh_stats(&stats);
        EXPECT_EQ(stats.frames_held, rig_frames_held());
        sh_free(p);
        sh_stats(&stats);
        EXPECT_EQ(stats.frames_held, rig_frames_held());
        sh_trim(0);
        sh_stats(&stats);
        EXPECT_EQ(stats.frames_held, rig_frames_held());
    }
}

/* Nothing is walked before there is a heap. */
static void statistics_before_init_are_zero(void)
{
    struct sh_stats stats = { .heap_sys = 1, .mallocs = 1 };

    rig_reset();
    sh_stats(&stats);
    EXPECT_EQ(stats.heap_sys + stats.frames_held + stats.spans + stats.arenas, 0);
    EXPECT_EQ(stats.mallocs, 0);
}

static bool visit_three(const struct sh_object *object, void *arg)
{
    unsigned *left = arg;

    EXPECT(object->size != 0);
    return --*left != 0;
}

static void a_visit_ends_where_it_is_told(void)
{
    unsigned left = 3;

    rig_start(0, NULL);
    EXPECT(sh_malloc(100) != NULL && sh_malloc(100000) != NULL && sh_malloc(5000) != NULL);
    EXPECT_EQ(sh_each_object(visit_three, &left), 3);
    EXPECT_EQ(left, 0);
}

static bool fits_80_columns(const char *text)
{
    unsigned column = 0;

    for (; *text != 0; text++) {
        column = *text == '\n' ? 0 : column + 1;
        if (column > 80 || (*text != '\n' && (*text < ' ' || *text > '~')))
            return false;
    }
    return true;
}

static void map_is_printed_in_80_columns(void)
{
    rig_start(0, NULL);
    for (unsigned i = 0; i < 200; i++)
        EXPECT(sh_malloc(i * 100) != NULL);
    /* Large enough for a character of their own: a large object and a page run. */
    EXPECT(sh_malloc(MM_CHUNK_PAGES / 16 << MM_PAGE_SHIFT) != NULL);
    EXPECT(sh_alloc_pages(MM_CHUNK_PAGES / 16) != NULL);
    rig_log_clear();
    sh_print_map();
    EXPECT(t_length(rig_log()) > 100);
    EXPECT(fits_80_columns(rig_log()));
    EXPECT(t_contains(rig_log(), "heap map: 64 KiB a column;"));
    EXPECT(t_contains(rig_log(), "LL") && t_contains(rig_log(), "PP"));
    /* Spans without a live slot, and with live ones alone. */
    for (unsigned i = 0; i < 8; i++)
        t_held[i] = sh_malloc(MM_CLASS_LIMIT);
    for (unsigned i = 0; i < 64; i++)
        t_held[8 + i] = sh_malloc(SH_PAGE_SIZE);
    for (unsigned i = 0; i < 64; i++)
        sh_free(t_held[8 + i]);
    rig_log_clear();
    sh_print_map();
    EXPECT(fits_80_columns(rig_log()));
}

/* The mark of an address in the map that was printed last. */
static char mark_of(uintptr_t address)
{
    uintptr_t chunk = address & ~(MM_CHUNK_SIZE - 1);
    const char *line = rig_log(), *hex = t_hex(chunk);
    size_t length = t_length(hex);

    for (; *line != 0; line++) {
        size_t i = 0;
        while (i < length && line[i] == hex[i])
            i++;
        if (i == length && line[i] == '|')
            return line[i + 1 + ((address - chunk) >> (MM_CHUNK_SHIFT - 6))];
    }
    return '?';
}

static void expect_mark(int line, uintptr_t address, char mark)
{
    rig_log_clear();
    sh_print_map();
    if (mark_of(address) != mark)
        t_fail(__FILE__, line, "%p is '%c' in the map, not '%c'", (void *)address, mark_of(address),
               mark);
}

#define EXPECT_MARK(address, mark) expect_mark(__LINE__, (uintptr_t)(address), mark)

/* A quarter of a MiB of each kind; its middle is looked at. */
static void the_map_tells_kinds_apart(void)
{
    enum { SIZE = 256 << 10, MIDDLE = SIZE / 2, SMALL = 1024, COUNT = SIZE / SMALL };
    static void *small[COUNT];
    uintptr_t large, pages;

    rig_start(0, NULL);
    if (!t_has_memory(3 * SIZE))
        return;
    large = (uintptr_t)sh_malloc(SIZE);
    pages = (uintptr_t)sh_alloc_pages(SIZE >> MM_PAGE_SHIFT);
    for (unsigned i = 0; i < COUNT; i++)
        small[i] = sh_malloc(SMALL);
    EXPECT(large != 0 && pages != 0 && small[COUNT - 1] != NULL);
    EXPECT_MARK(large + MIDDLE, 'L');
    EXPECT_MARK(pages + MIDDLE, 'P');
    EXPECT_MARK(small[COUNT / 2], '#');
    for (unsigned i = 0; i < COUNT; i += 4)
        sh_free(small[i]);
    EXPECT_MARK(small[COUNT / 2], '+');
    for (unsigned i = 0; i < COUNT; i++)
        if (i % 4 != 0)
            sh_free(small[i]);
    EXPECT_MARK(small[COUNT / 2], 'o');
    sh_free_pages((void *)pages);
    EXPECT_MARK(pages + MIDDLE, '_');
    sh_trim(0);
    EXPECT_MARK(pages + MIDDLE, '.');
    EXPECT_MARK(small[COUNT / 2], '.');
    EXPECT_MARK(large + MIDDLE, 'L');
    EXPECT_WHOLE();
}

/* What a freed object left behind faults; what never was the heap's is blank. */
static void the_map_shows_faults(void)
{
    enum { SIZE = 256 << 10, MIDDLE = SIZE / 2 };
    const struct sh_config config = { .size = sizeof(config), .tier = 4, .hooks = rig_hooks() };
    uintptr_t p, records;

    rig_start(0, &config);
    p = (uintptr_t)sh_malloc(SIZE);
    EXPECT(p != 0);
    EXPECT_MARK(p + MIDDLE, 'L');
    sh_free((void *)p);
    EXPECT_MARK(p + MIDDLE, 'x');
    /* In the same chunk on most machines, and if so not the heap's. */
    records = (uintptr_t)mm_arena_of(p);
    if (((records ^ p) & ~(MM_CHUNK_SIZE - 1)) == 0)
        EXPECT_MARK(records, ' ');
    EXPECT_WHOLE();
}

static void explain_names_the_address(void)
{
    void *p;

    rig_start(0, NULL);
    p = sh_malloc(100);
    rig_log_clear();
    sh_explain((uintptr_t)p + 10);
    EXPECT(t_contains(rig_log(), t_hex((uintptr_t)p)));
    sh_free(p);
    rig_log_clear();
    sh_explain((uintptr_t)p);
    EXPECT(rig_log()[0] != 0);
    rig_log_clear();
    sh_explain((uintptr_t)blocks);
    EXPECT(rig_log()[0] != 0);
    rig_log_clear();
    sh_explain(0);
    sh_explain(UINTPTR_MAX);
    EXPECT(rig_log()[0] != 0);
}

static void errors_have_names(void)
{
    for (int error = SH_E_BUSY; error <= SH_OK; error++) {
        EXPECT(sh_error_name(error) != NULL && sh_error_name(error)[0] != 0);
        for (int other = SH_E_BUSY; other < error; other++)
            EXPECT(!t_contains(sh_error_name(error), sh_error_name(other)));
    }
    EXPECT(sh_error_name(-1000) != NULL && sh_error_name(1000) != NULL);
}

static const struct test tests[] = {
    { "identities_hold_after_every_call", identities_hold_after_every_call },
    { "live_bytes_are_the_usable_bytes", live_bytes_are_the_usable_bytes },
    { "mallocs_and_frees_are_counted", mallocs_and_frees_are_counted },
    { "nothing_is_held_before_the_first_allocation", nothing_is_held_before_the_first_allocation },
    { "in_use_is_what_has_a_frame", in_use_is_what_has_a_frame },
    { "first_allocation_takes_few_frames", first_allocation_takes_few_frames },
    { "ledger_of_frames_is_met", ledger_of_frames_is_met },
    { "statistics_before_init_are_zero", statistics_before_init_are_zero },
    { "a_visit_ends_where_it_is_told", a_visit_ends_where_it_is_told },
    { "map_is_printed_in_80_columns", map_is_printed_in_80_columns },
    { "the_map_tells_kinds_apart", the_map_tells_kinds_apart },
    { "the_map_shows_faults", the_map_shows_faults },
    { "explain_names_the_address", explain_names_the_address },
    { "errors_have_names", errors_have_names },
};

SUITE(stats, tests);
