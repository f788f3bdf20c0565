/*
 * Proves that a reservation which cannot be is named, refused, and given back unless that would take
 * away what the heap has there (host): whatever the answer, at whichever reservation of whichever
 * growth, the heap is whole, live objects keep their bytes, and the same call works.
 */
#include "kernel-test/rig_script.h"
#include "kernel-test/test_util.h"
#include "mm/span.h"

enum lie { UNALIGNED, WRAPPING, ON_RECORDS, ON_PAGES, ON_REMAINDER, ON_LAST, LIES };

#define LIVE 12u

static struct t_block live[LIVE];

static uintptr_t area(void)
{
    size_t size;

    return rig_area(&size);
}

/* The newest reservation of the size or larger. */
static uintptr_t newest(size_t least)
{
    const struct rig_call *call;
    uintptr_t base = 0;

    for (unsigned long i = 0; (call = rig_script_call(i)) != NULL; i++)
        if (call->kind == RIG_RESERVE && call->result != 0 && call->size >= least)
            base = call->result;
    return base;
}

static uintptr_t address_of(enum lie lie)
{
    uintptr_t page = (uintptr_t)live[0].p & ~(SH_GRANULE_SIZE - 1);

    switch (lie) {
    case UNALIGNED:
        return area() + 200 * T_MIB + SH_GRANULE_SIZE / 2;
    case WRAPPING:
        return (uintptr_t)0 - SH_GRANULE_SIZE;
    case ON_RECORDS:
        return (uintptr_t)mm_span_of((uintptr_t)live[0].p) & ~(SH_GRANULE_SIZE - 1);
    case ON_PAGES:
        return page;
    case ON_REMAINDER:
        return newest(T_MIB) + 5 * T_MIB;
    case ON_LAST:
    case LIES:
    default:
        return newest(0);
    }
}

static bool grow_pages(void)
{
    return sh_alloc_pages((20 * T_MIB) >> MM_PAGE_SHIFT) != NULL;
}

/* Until records need another block. */
static bool grow_records(void)
{
    for (unsigned i = 0; i < (30 * T_MIB) >> MM_PAGE_SHIFT; i++)
        if (sh_alloc_pages(1) == NULL)
            return false;
    return true;
}

/* One lie at the nth reservation; false = there was none. */
static bool tell(enum lie lie, unsigned long nth, bool (*grow)(void))
{
    const struct sh_config config = { .size = sizeof(config), .demand = true, .hooks = rig_hooks() };
    const char *const said = lie == UNALIGNED ? "not whole granules"
        : lie == WRAPPING                     ? "beyond the address space"
                                              : "reserved already";
    bool lied, done;

    rig_start(16 * T_MIB, &config);
    EXPECT_EQ(rig_window(area() + 64 * T_MIB, 64 * T_MIB), SH_OK);
    for (unsigned i = 0; i < LIVE; i++) {
        live[i] = (struct t_block){ sh_alloc_pages(1), 4000, i };
        t_fill(live[i].p, live[i].size, i);
    }
    rig_log_clear();
    rig_script_lie(nth, address_of(lie));
    done = grow();
    lied = rig_script_lied();
    if (lied && !t_contains(rig_log(), said))
        t_fail(__FILE__, __LINE__, "lie %u at reservation %lu: the log says \"%s\"", lie, nth, rig_log());
    EXPECT(!lied || rig_script_lies_released() == (lie <= WRAPPING));
    rig_script_lie(0, 0);
    EXPECT_WHOLE();
    for (unsigned i = 0; i < LIVE; i++)
        EXPECT(t_holds(live[i].p, live[i].size, live[i].seed));
    EXPECT(done || grow());
    EXPECT_WHOLE();
    return lied;
}

static void impossible_reservations_are_named(void)
{
    unsigned long told = 0;

    if (sizeof(void *) == 8) {
        t_skip("its places are those of 32-bit arenas");
        return;
    }
    for (enum lie lie = UNALIGNED; lie < LIES; lie++) {
        for (unsigned long nth = 1; tell(lie, nth, grow_pages); nth++)
            told++;
        EXPECT(told > lie);
        for (unsigned long nth = 1; nth < 3 && tell(lie, nth, grow_records); nth++)
            told++;
    }
    EXPECT(told >= 2 * LIES);
}

/* What is being taken is in no list yet, and records are reserved just then. */
static void records_inside_the_range_being_taken(void)
{
    rig_reset();
    EXPECT_EQ(rig_window(area(), 64 * T_MIB), SH_OK);
    EXPECT_EQ(sh_init(&(struct sh_config){ .size = sizeof(struct sh_config), .hooks = rig_hooks() }), SH_OK);
    if (sizeof(void *) == 8) {
        /* With larger arenas the order is another: the second reservation lies on the first. */
        rig_script_give(area());
        rig_script_lie(2, area());
    } else {
        /* Records, the range, and records for it. */
        rig_script_lie(3, area() + 8 * T_MIB);
    }
    (void)sh_malloc(100);
    EXPECT(rig_script_lied() && t_contains(rig_log(), "reserved already"));
    EXPECT_EQ(rig_script_lies_released(), 0);
    EXPECT_WHOLE();
    EXPECT(sh_malloc(100) != NULL);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "impossible_reservations_are_named", impossible_reservations_are_named },
    { "records_inside_the_range_being_taken", records_inside_the_range_being_taken },
};

SUITE(lies, tests);
