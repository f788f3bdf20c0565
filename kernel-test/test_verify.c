/*
 * Proves that sh_verify finds corruption: each plant (plant.h) damages one thing in a busy heap, sh_verify must
 * then name that fault, and give as many as it logs; the damage is undone, and sh_verify must find none.
 */
#include "kernel-test/plant.h"

static int lines(const char *text)
{
    int count = 0;

    for (; *text != 0; text++)
        count += *text == '\n';
    return count;
}

static void expect_found(const struct plant *plant)
{
    int faults;

    plant_busy();
    EXPECT_WHOLE();
    plant->plant();
    rig_log_clear();
    faults = sh_verify();
    (plant->undo != NULL ? plant->undo : plant_put_back)();
    if (faults <= 0)
        t_fail(__FILE__, __LINE__, "sh_verify does not see %s", plant->name);
    if (faults != lines(rig_log()) || !t_contains(rig_log(), plant->said))
        t_fail(__FILE__, __LINE__, "of %s sh_verify says %d: %s", plant->name, faults, rig_log());
    rig_log_clear();
    faults = sh_verify();
    if (faults != 0)
        t_fail(__FILE__, __LINE__, "after %s sh_verify finds %d: %s", plant->name, faults,
               rig_log());
}

static void expect_all_found(const struct plant *table)
{
    for (; table->name != NULL; table++)
        expect_found(table);
}

static void slot_bits_are_checked(void)
{
    expect_all_found(plant_bits);
}

static void descriptors_are_checked(void)
{
    expect_all_found(plant_fields);
}

static void maps_are_checked(void)
{
    expect_all_found(plant_maps);
}

static void page_allocator_is_checked(void)
{
    expect_all_found(plant_pages);
}

static void lists_are_checked(void)
{
    expect_all_found(plant_lists);
}

static void counters_and_page_tables_are_checked(void)
{
    expect_all_found(plant_counters);
}

static void faults_are_logged(void)
{
    plant_busy();
    rig_log_clear();
    plant_bit_of_a_full_span();
    EXPECT(sh_verify() > 0);
    plant_put_back();
    EXPECT(t_contains(rig_log(), t_hex(plant_small_at(MM_PLACE_FULL)->base)));
}

static const struct test tests[] = {
    { "slot_bits_are_checked", slot_bits_are_checked },
    { "descriptors_are_checked", descriptors_are_checked },
    { "maps_are_checked", maps_are_checked },
    { "page_allocator_is_checked", page_allocator_is_checked },
    { "lists_are_checked", lists_are_checked },
    { "counters_and_page_tables_are_checked", counters_and_page_tables_are_checked },
    { "faults_are_logged", faults_are_logged },
};

SUITE(verify, tests);
