/*
 * Proves what linear.c promises of the records that it hands out, of the blocks that they lie in, and of
 * failures half-way (host).
 */
#include "kernel-test/rig_script.h"
#include "kernel-test/test_util.h"
#include "mm/linear.h"

#define MANY 3000u

/* Whatever the size and the alignment: zero, aligned, in memory that is there, and nobody else's. */
static void records_are_zeroed_and_apart(void)
{
    static struct t_block records[MANY];
    uint32_t random = 99;

    rig_start(0, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        size_t align = (size_t)1 << t_below(&random, 7);
        size_t size = 1 + t_below(&random, i % 64 == 0 ? 3 * SH_GRANULE_SIZE : i % 8 == 0 ? 700 : 9);
        void *p = mm_linear_alloc(size, align, true);
        EXPECT(p != NULL && ((uintptr_t)p & (align - 1)) == 0);
        EXPECT(t_is_zero(p, size));
        EXPECT(mm_linear_contains(p, size) && mm_linear_in_block((uintptr_t)p + size - 1));
        records[i] = (struct t_block){ p, size, i };
        t_fill(p, size, i);
    }
    for (unsigned i = 0; i < MANY; i++)
        EXPECT(t_holds(records[i].p, records[i].size, records[i].seed));
    EXPECT_WHOLE();
}

/* Byte by byte over the ends of granules: what is committed is the limit, exactly. */
static void records_end_where_frames_end(void)
{
    struct sh_stats stats;

    rig_start(0, NULL);
    for (size_t i = 0; i < 4 * SH_GRANULE_SIZE; i++) {
        uint8_t *p = mm_linear_alloc(1, 1, true);
        EXPECT(p != NULL);
        *p = 1;
    }
    sh_stats(&stats);
    EXPECT_EQ(stats.meta_bytes, 5 * SH_GRANULE_SIZE); /* blocks have a head */
    EXPECT(mm_linear_alloc(SH_GRANULE_SIZE, 1, false) == NULL);
    EXPECT_WHOLE();
}

/* A window of one granule: with the head of the block a record of that size is too large for it. */
static void a_block_too_small_is_given_back(void)
{
    const size_t head = 5 * sizeof(uintptr_t); /* with what an alignment may take */

    for (size_t less = 0; less < 2 * head; less += 4) {
        rig_start(SH_GRANULE_SIZE, NULL);
        EXPECT_EQ(mm_linear_alloc(SH_GRANULE_SIZE - less, 4, true) != NULL, less >= head);
        if (less >= head)
            continue;
        EXPECT_EQ(mm_linear_refusals(), 1);
        EXPECT_EQ(rig_frames_held(), 0);
        EXPECT_EQ(rig_script_bytes(SH_RESERVED) + rig_script_bytes(SH_PREPARED), 0);
        EXPECT_WHOLE();
    }
}

/* The first granule of a block comes, the next one does not: the block stays, empty, and serves later. */
static void a_block_without_a_record_is_whole(void)
{
    rig_start(0, NULL);
    rig_script_fail(RIG_COMMIT, 2, true);
    EXPECT(mm_linear_alloc(2 * SH_GRANULE_SIZE, 8, true) == NULL);
    EXPECT_EQ(rig_frames_held(), SH_GRANULE_SIZE);
    EXPECT_WHOLE();
    rig_script_fail(RIG_COMMIT, 0, false);
    rig_script_forget();
    EXPECT(mm_linear_alloc(2 * SH_GRANULE_SIZE, 8, true) != NULL);
    EXPECT_EQ(rig_script_count(RIG_RESERVE), 0);
    EXPECT_WHOLE();
}

/* Address space that was reserved for records is where they go. */
static void room_that_was_made_is_used(void)
{
    unsigned refusals;

    rig_start(0, NULL);
    EXPECT(mm_linear_alloc(100, 8, true) != NULL);
    EXPECT(mm_linear_ensure_room(MM_META_BLOCK + MM_META_FIRST));
    rig_script_forget();
    EXPECT(mm_linear_ensure_room(MM_META_BLOCK));
    EXPECT(mm_linear_alloc(MM_META_BLOCK / 2, 8, true) != NULL);
    EXPECT_EQ(rig_script_count(RIG_RESERVE), 0);
    EXPECT_WHOLE();
    refusals = mm_linear_refusals();
    rig_script_refuse(1000);
    EXPECT(!mm_linear_ensure_room(64 * MM_META_BLOCK));
    EXPECT_EQ(mm_linear_refusals(), refusals + 1);
    EXPECT_WHOLE();
}

/* All that was reserved counts, in however many pieces. */
static void room_in_several_pieces_is_enough(void)
{
    rig_start(0, NULL);
    EXPECT(mm_linear_alloc(100, 8, true) != NULL);
    for (unsigned pieces = 1; pieces <= 3; pieces++) {
        EXPECT(mm_linear_ensure_room(pieces * MM_META_BLOCK + MM_META_FIRST));
        rig_script_forget();
        EXPECT(mm_linear_ensure_room(pieces * MM_META_BLOCK));
        EXPECT_EQ(rig_script_count(RIG_RESERVE), 0);
    }
    EXPECT_WHOLE();
}

/* No place in the window is aligned to its size: a block of two granules lies where it can. */
static void a_block_may_lie_unaligned(void)
{
    size_t size;

    rig_reset();
    EXPECT_EQ(sh_init(NULL), SH_OK);
    EXPECT_EQ(rig_window(rig_area(&size) + SH_GRANULE_SIZE, 2 * SH_GRANULE_SIZE), SH_OK);
    EXPECT(mm_linear_alloc(SH_GRANULE_SIZE, 8, true) != NULL);
    EXPECT_WHOLE();
}

/* The granule that ends at 2^32 cannot hold a block alone: it goes back. */
static void the_last_granule_is_given_back(void)
{
    if (MM_ADDRESS_BITS < MM_WORD_BITS) {
        t_skip("no address of the heap's lies there");
        return;
    }
    rig_start(0, NULL);
    rig_script_lie(1, (uintptr_t)0 - SH_GRANULE_SIZE);
    EXPECT(!mm_linear_ensure_room(SH_GRANULE_SIZE));
    EXPECT(rig_script_lied());
    EXPECT_EQ(rig_script_lies_released(), 1);
    EXPECT(mm_linear_ensure_room(SH_GRANULE_SIZE));
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "records_are_zeroed_and_apart", records_are_zeroed_and_apart },
    { "records_end_where_frames_end", records_end_where_frames_end },
    { "a_block_too_small_is_given_back", a_block_too_small_is_given_back },
    { "a_block_without_a_record_is_whole", a_block_without_a_record_is_whole },
    { "room_that_was_made_is_used", room_that_was_made_is_used },
    { "room_in_several_pieces_is_enough", room_in_several_pieces_is_enough },
    { "a_block_may_lie_unaligned", a_block_may_lie_unaligned },
    { "the_last_granule_is_given_back", the_last_granule_is_given_back },
};

SUITE(linear, tests);
