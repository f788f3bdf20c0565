/*
 * Damage to the maps of pages and arenas, and to the page allocator.
 */
#include "kernel-test/plant.h"

#include "mm/linear.h"
#include "mm/pages.h"

/* ---- the page map and the arena map ---- */

static void entry_of_another_span(void)
{
    SET(*plant_map_entry((uintptr_t)plant_large_live + SH_PAGE_SIZE), plant_small_at(MM_PLACE_FULL));
}

static void entry_lost(void)
{
    SET(*plant_map_entry((uintptr_t)plant_large_live + 2 * SH_PAGE_SIZE), &mm_span_dummy);
}

static void entry_outside_the_metadata(void)
{
    static struct mm_span stranger;

    SET(*plant_map_entry((uintptr_t)plant_large_live), &stranger);
}

static void entry_of_a_free_page(void)
{
    SET(*plant_map_entry((uintptr_t)plant_pages_gone), plant_large());
}

static void entry_of_a_page_not_ours(void)
{
    uintptr_t at = (uintptr_t)plant_large_live;

    while (mm_bit_test(mm_chunk_of(at)->owned, mm_chunk_page(at)))
        at += SH_PAGE_SIZE;
    SET(*plant_map_entry(at), plant_large());
}

static void entry_of_the_dummy_arena(void)
{
    SET(mm_arena_dummy.spans[7], plant_large());
}

static void base_of_an_arena(void)
{
    SET(plant_first_arena()->base, plant_first_arena()->base + MM_ARENA_SIZE);
}

static void base_inside_an_arena(void)
{
    SET(plant_first_arena()->base, plant_first_arena()->base + SH_PAGE_SIZE);
}

static void arena_outside_the_metadata(void)
{
    SET(*plant_arena_entry((uintptr_t)plant_large_live), (struct mm_arena *)(void *)&mm_cpu[0]);
}

static void arena_lost(void)
{
    SET(*plant_arena_entry((uintptr_t)plant_large_live), &mm_arena_dummy);
}

/* Who follows the map, from a record to the next one up, would come to this one again and again. */
static void arena_at_two_places(void)
{
    SET(*plant_arena_entry((uintptr_t)plant_large_live + MM_ARENA_SIZE), plant_first_arena());
}

const struct plant plant_maps[] = {
    { "a page map entry of another span", entry_of_another_span, NULL, "page not in its span" },
    { "a page map entry lost", entry_lost, NULL, "taken page in no span" },
    { "a page map entry outside the metadata", entry_outside_the_metadata, NULL,
      "page map outside the metadata" },
    { "a free page with a page map entry", entry_of_a_free_page, NULL,
      "free page in the page map" },
    { "a page that is not ours with a page map entry", entry_of_a_page_not_ours, NULL, "" },
    { "an entry of the dummy arena", entry_of_the_dummy_arena, NULL, "dummy arena written: 0x7" },
    { "an arena's base", base_of_an_arena, NULL, "arena record entered elsewhere" },
    { "an arena's base inside an arena", base_inside_an_arena, NULL,
      "arena record entered elsewhere" },
    { "an arena map entry outside the metadata", arena_outside_the_metadata, NULL,
      "arena entry outside the metadata" },
    { "an arena map entry lost", arena_lost, NULL, "arena records" },
    { "an arena at two places of the map", arena_at_two_places, NULL,
      "arena record entered elsewhere" },
    { .name = NULL },
};

/* ---- the page allocator ---- */

static void taken_bit_lost(void)
{
    plant_flip_page(mm_chunk_of((uintptr_t)plant_large_live)->taken, plant_large_live);
}

static void taken_bit_too_many(void)
{
    plant_flip_page(mm_chunk_of((uintptr_t)plant_pages_gone)->taken, plant_pages_gone);
}

static void owned_bit_lost(void)
{
    plant_flip_page(mm_chunk_of((uintptr_t)plant_pages_gone)->owned, plant_pages_gone);
}

static void owned_bit_of_a_used_page_lost(void)
{
    plant_flip_page(mm_chunk_of((uintptr_t)plant_large_live)->owned, plant_large_live);
}

static void released_bit_of_a_used_page(void)
{
    plant_flip_page(mm_chunk_of((uintptr_t)plant_large_live)->released, plant_large_live);
}

static void released_bit_lost(void)
{
    uintptr_t at = (uintptr_t)plant_large_live;

    while (!mm_bit_test(mm_chunk_of(at)->released, mm_chunk_page(at)))
        at += SH_PAGE_SIZE;
    plant_flip_page(mm_chunk_of(at)->released, (void *)at);
}

static void busy_bit_left(void)
{
    plant_flip_page(mm_chunk_of((uintptr_t)plant_large_live)->busy, plant_large_live);
}

/* The tree's nodes have no name outside pages.c.  The one above a chunk is known by what it says
 * about that chunk, the next by its pointer to the first: both are looked for in the metadata. */
#define FANOUT 8

struct tree_node {
    struct mm_summary sum[FANOUT];
    struct tree_node *child[FANOUT];
};

static unsigned chunk_number(uintptr_t address, unsigned up)
{
    return (unsigned)(address >> MM_CHUNK_SHIFT >> 3 * up) & (FANOUT - 1);
}

/* Free pages at the start, in the longest run, at the end, counted bit by bit. */
static struct mm_summary chunk_count(const struct mm_chunk *chunk)
{
    struct mm_summary sum = { 0, 0, 0 };
    size_t run = 0;

    for (size_t page = 0; page < MM_CHUNK_PAGES; page++) {
        run = mm_bit_test(chunk->taken, page) ? 0 : run + 1;
        sum.start = run == page + 1 ? run : sum.start;
        sum.most = run > sum.most ? run : sum.most;
    }
    sum.end = run;
    return sum;
}

static struct mm_summary *leaf_summary(void)
{
    uintptr_t address = (uintptr_t)plant_large_live, at = plant_metadata_begin();
    struct mm_summary wanted = chunk_count(mm_chunk_of(address));

    for (; mm_linear_contains((void *)at, sizeof(struct tree_node)); at += sizeof(uintptr_t)) {
        struct tree_node *node = (struct tree_node *)at;
        const struct mm_summary *sum = &node->sum[chunk_number(address, 0)];
        bool is_leaf = sum->start == wanted.start && sum->most == wanted.most &&
                       sum->end == wanted.end;
        for (unsigned i = 0; i < FANOUT; i++)
            is_leaf = is_leaf && node->child[i] == NULL;
        if (is_leaf)
            return &node->sum[chunk_number(address, 0)];
    }
    t_fail(__FILE__, __LINE__, "no node of the page tree describes the chunk of %p", plant_large_live);
}

/* The node above the one above the chunk. */
static struct tree_node *upper_node(void)
{
    uintptr_t address = (uintptr_t)plant_large_live, at = plant_metadata_begin();
    uintptr_t leaf = (uintptr_t)(leaf_summary() - chunk_number(address, 0));
    unsigned piece = chunk_number(address, 1);

    for (; mm_linear_contains((void *)at, sizeof(struct tree_node)); at += sizeof(uintptr_t)) {
        struct tree_node *node = (struct tree_node *)at;
        if ((uintptr_t)node->child[piece] == leaf)
            return node;
    }
    t_fail(__FILE__, __LINE__, "no node of the page tree has the node for %p below it", plant_large_live);
}

static struct mm_summary *upper_summary(void)
{
    return &upper_node()->sum[chunk_number((uintptr_t)plant_large_live, 1)];
}

static void start_of_a_chunk(void)
{
    SET(leaf_summary()->start, leaf_summary()->start + 1);
}

static void most_of_a_chunk(void)
{
    SET(leaf_summary()->most, leaf_summary()->most - 1);
}

static void end_of_a_chunk(void)
{
    SET(leaf_summary()->end, leaf_summary()->end - 1);
}

static void start_further_up(void)
{
    SET(upper_summary()->start, upper_summary()->start + 1);
}

static void most_further_up(void)
{
    SET(upper_summary()->most, upper_summary()->most + 1);
}

static void end_further_up(void)
{
    SET(upper_summary()->end, upper_summary()->end + 1);
}

static void node_outside_the_metadata(void)
{
    static struct tree_node stranger;
    struct tree_node **child = &upper_node()->child[chunk_number((uintptr_t)plant_large_live, 1)];

    stranger = **child;
    SET(*child, &stranger);
}

const struct plant plant_pages[] = {
    { "a used page that is not taken", taken_bit_lost, NULL, "free page in the page map" },
    { "a free page that is taken", taken_bit_too_many, NULL, "chunk summary" },
    { "a free page that is not ours", owned_bit_lost, NULL, "free pages that are not ours" },
    { "a used page that is not ours", owned_bit_of_a_used_page_lost, NULL,
      "free page in the page map" },
    { "a used page that is released", released_bit_of_a_used_page, NULL, "" },
    { "a page without a frame that is not released", released_bit_lost, NULL, "" },
    { "a busy bit that was left", busy_bit_left, NULL, "busy pages" },
    { "a chunk's free pages at its start", start_of_a_chunk, NULL, "chunk summary" },
    { "a chunk's longest run", most_of_a_chunk, NULL, "chunk summary" },
    { "a chunk's free pages at its end", end_of_a_chunk, NULL, "chunk summary" },
    { "the free pages at the start, a level up", start_further_up, NULL, "tree summary" },
    { "the longest run, a level up", most_further_up, NULL, "tree summary" },
    { "the free pages at the end, a level up", end_further_up, NULL, "tree summary" },
    { "a node of the tree outside the metadata", node_outside_the_metadata, NULL,
      "tree node outside the metadata" },
    { .name = NULL },
};
