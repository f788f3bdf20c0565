/*
 * Proves R1 and R2 from the inside: at every call of the port, whatever the arena map names is
 * complete, the bounds never lead the records, and both only ever widen.
 */
#include "kernel-test/test_util.h"
#include "mm/arena.h"
#include "mm/linear.h"
#include "mm/span.h"

static uintptr_t window_base;
static size_t window_size;
static unsigned long probes;
static struct mm_arena *seen[64]; /* entries of the window at the last look */
static bool was_in_bounds[64];

static void donate(uintptr_t offset, size_t size)
{
    size_t area;

    window_base = rig_area(&area) + offset;
    window_size = size;
    EXPECT_EQ(rig_window(window_base, size), SH_OK);
}

static void begin(void)
{
    const struct sh_config demand = { .size = sizeof(demand), .demand = true,
                                      .hooks = rig_hooks() };

    rig_reset();
    EXPECT_EQ(sh_init(&demand), SH_OK);
    probes = 0;
    for (unsigned i = 0; i < 64; i++) {
        seen[i] = &mm_arena_dummy;
        was_in_bounds[i] = false;
    }
}

/* A record that can be found is whole: its memory is there, its base right, each entry of its page
 * map a span or the dummy, each page that is not ours taken. */
static void expect_complete(struct mm_arena *arena, uintptr_t address)
{
    EXPECT(mm_linear_contains(arena, sizeof(*arena)));
    EXPECT_EQ(arena->base, mm_align_down(address, MM_ARENA_SIZE));
    for (size_t page = 0; page < MM_ARENA_PAGES; page += 7)
        EXPECT(arena->spans[page] != NULL);
    for (size_t i = 0; i < MM_ARENA_CHUNKS; i++)
        for (size_t word = 0; word < MM_CHUNK_PAGES / MM_WORD_BITS; word++)
            EXPECT_EQ(arena->chunks[i].owned[word] | arena->chunks[i].taken[word], ~(uintptr_t)0);
}

static void look_at_records(void)
{
    size_t step = MM_ARENA_SIZE < MM_CHUNK_SIZE ? MM_CHUNK_SIZE : MM_ARENA_SIZE;
    unsigned i = 0;

    probes++;
    for (uintptr_t at = window_base; at - window_base < window_size && i < 64; at += step, i++) {
        struct mm_arena *arena = mm_arena_of(at);
        EXPECT(seen[i] == &mm_arena_dummy || seen[i] == arena);
        seen[i] = arena;
        if (arena != &mm_arena_dummy)
            expect_complete(arena, at);
    }
}

/* For a window that is the only one, and used from its start without holes. */
static void look_at_bounds(void)
{
    unsigned i = 0;

    look_at_records();
    for (uintptr_t at = window_base; at - window_base < window_size && i < 64;
         at += MM_CHUNK_SIZE, i++) {
        bool inside = mm_arena_in_bounds(at);
        EXPECT(inside || !was_in_bounds[i]);
        was_in_bounds[i] = inside;
        if (inside)
            EXPECT(mm_arena_of(at) != &mm_arena_dummy);
    }
}

static void bounds_never_lead_the_records(void)
{
    begin();
    donate(0, 64 * T_MIB);
    rig_probe(look_at_bounds);
    EXPECT(sh_malloc(16) != NULL);
    EXPECT(sh_malloc(40 * T_MIB) != NULL);
    EXPECT(sh_malloc(4 * T_MIB) != NULL);
    rig_probe(NULL);
    EXPECT(probes > 4);
    EXPECT_WHOLE();
}

static void records_are_complete_when_they_are_entered(void)
{
    static const uint8_t places[] = { 128, 0, 64, 160, 96 };

    begin();
    for (unsigned i = 0; i < sizeof(places); i++) {
        for (unsigned slot = 0; slot < 64; slot++)
            seen[slot] = &mm_arena_dummy;
        donate(places[i] * T_MIB, 10 * T_MIB);
        rig_probe(look_at_records);
        while (sh_malloc(2 * T_MIB) != NULL)
            ;
        rig_probe(NULL);
    }
    EXPECT(probes > 20);
    EXPECT_WHOLE();
}

static void every_record_is_walked_in_both_directions(void)
{
    uintptr_t next = 0, last = 0;
    unsigned count = 0;

    begin();
    EXPECT(mm_arena_next(0) == NULL && mm_arena_prev(UINTPTR_MAX) == NULL);
    for (unsigned i = 0; i < 4; i++) {
        donate((i ^ 2) * 48 * T_MIB, 9 * T_MIB);
        while (sh_malloc(2 * T_MIB) != NULL)
            ;
    }
    for (struct mm_arena *arena; (arena = mm_arena_next(next)) != NULL; count++) {
        EXPECT(mm_arena_of(arena->base) == arena);
        EXPECT(count == 0 || arena->base > last);
        last = arena->base;
        next = arena->base + MM_ARENA_SIZE;
    }
    EXPECT_EQ(count, mm_arena_count());
    next = UINTPTR_MAX;
    for (struct mm_arena *arena; (arena = mm_arena_prev(next)) != NULL; count--) {
        EXPECT(arena->base <= last);
        last = arena->base;
        next = arena->base - 1;
    }
    EXPECT_EQ(count, 0);
}

static void other_addresses_have_the_dummy(void)
{
    begin();
    donate(0, 8 * T_MIB);
    EXPECT(sh_malloc(100) != NULL);
    EXPECT(mm_arena_of(0) == &mm_arena_dummy && mm_arena_of(UINTPTR_MAX) == &mm_arena_dummy);
    for (unsigned bit = 3; bit < MM_WORD_BITS; bit++) {
        uintptr_t at = (uintptr_t)1 << bit;
        if (at - window_base < window_size)
            continue;
        EXPECT(mm_span_of(at) != NULL && mm_span_state(mm_span_of(at)) == MM_SPAN_DEAD);
        EXPECT(!mm_arena_in_bounds(at));
    }
}

/* Inclusive: also where the last byte is the first one of a piece. */
static void records_reach_to_the_last_byte(void)
{
    uintptr_t at;

    begin();
    donate(0, 8 * T_MIB);
    EXPECT(sh_malloc(100) != NULL);
    at = window_base + 2 * MM_ARENA_SIZE;
    EXPECT(mm_arena_of(at) == &mm_arena_dummy);
    EXPECT(mm_arena_ensure(at + SH_PAGE_SIZE, at + MM_ARENA_SIZE));
    EXPECT_EQ(mm_arena_of(at)->base, at);
    EXPECT_EQ(mm_arena_of(at + MM_ARENA_SIZE)->base, at + MM_ARENA_SIZE);
    EXPECT(mm_arena_of(at + 2 * MM_ARENA_SIZE) == &mm_arena_dummy);
    EXPECT_WHOLE();
    /* The map has no line for a chunk without a page. */
    rig_log_clear();
    sh_print_map();
    EXPECT(t_contains(rig_log(), "|") && !t_contains(rig_log(), t_hex(at)));
}

/* A new heap's bounds are its own, wherever the one before it lay. */
static void bounds_begin_anew(void)
{
    static const uint8_t places[] = { 0, 128, 0, 64 };
    uintptr_t base = 0;

    for (unsigned i = 0; i < sizeof(places); i++) {
        begin();
        EXPECT(base == 0 || !mm_arena_in_bounds(base));
        donate(places[i] * T_MIB, 8 * T_MIB);
        EXPECT(sh_malloc(100) != NULL);
        EXPECT(base == 0 || !mm_arena_in_bounds(base));
        base = (uintptr_t)sh_malloc(100);
        EXPECT(mm_arena_in_bounds(base));
    }
}

static const struct test tests[] = {
    { "bounds_begin_anew", bounds_begin_anew },
    { "records_reach_to_the_last_byte", records_reach_to_the_last_byte },
    { "bounds_never_lead_the_records", bounds_never_lead_the_records },
    { "records_are_complete_when_they_are_entered", records_are_complete_when_they_are_entered },
    { "every_record_is_walked_in_both_directions", every_record_is_walked_in_both_directions },
    { "other_addresses_have_the_dummy", other_addresses_have_the_dummy },
};

SUITE(arena, tests);
