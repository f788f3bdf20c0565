/*
 * Proves that sh_verify finds corruption: each row of the tables below damages one thing in a busy
 * heap, sh_verify must then name that fault, and give as many as it logs; the damage is undone, and
 * sh_verify must find none.
 *
 * A plant changes memory through SET, which keeps what was there; undoing is putting that back.
 * Rows that go through the port undo themselves.
 */
#include "kernel-test/test_util.h"
#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/pages.h"

#define MOST_HELD 700u
#define SMALL 48u     /* its slots are no multiple of a word's bits, at any page size */
#define CENTRAL 64u   /* the class that goes to central */
#define FEW 1024u     /* the class of the empty spans */
#define LARGE 100000u /* small enough to be kept */
#define GONE 32u      /* pages: more than the empty spans take */

struct plant {
    const char *name;
    void (*plant)(void);
    void (*undo)(void); /* NULL = what SET changed is put back */
    const char *said;   /* of the fault, in the log; "" = depends on heap page or granule */
};

/* ---- what is put back ---- */

static struct {
    unsigned char *at;
    size_t size;
    unsigned char bytes[sizeof(uintptr_t)];
} saved[8];
static unsigned saved_count;

static void save(void *at, size_t size)
{
    EXPECT(saved_count < sizeof(saved) / sizeof(saved[0]) && size <= sizeof(uintptr_t));
    saved[saved_count].at = at;
    saved[saved_count].size = size;
    for (size_t i = 0; i < size; i++)
        saved[saved_count].bytes[i] = saved[saved_count].at[i];
    saved_count++;
}

#define SET(place, value) (save(&(place), sizeof(place)), (place) = (value))

static void put_back(void)
{
    while (saved_count > 0) {
        saved_count--;
        for (size_t i = 0; i < saved[saved_count].size; i++)
            saved[saved_count].at[i] = saved[saved_count].bytes[i];
    }
}

/* ---- a busy heap ---- */

static void *held[MOST_HELD];
static void *large_live, *large_kept, *pages_live, *pages_gone, *pages_trimmed;

static void hold(unsigned count, size_t size)
{
    EXPECT(count <= MOST_HELD);
    for (unsigned i = 0; i < count; i++) {
        held[i] = sh_malloc(size);
        EXPECT(held[i] != NULL);
    }
}

static unsigned slots_of(size_t size)
{
    return mm_class[mm_class_of(size)].slots;
}

/* Three spans with free slots, given to central. */
static void fill_central(void)
{
    unsigned slots = slots_of(CENTRAL);

    hold(2 * slots + slots / 2, CENTRAL);
    sh_free(held[3]);
    sh_free(held[slots + 3]);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
}

/* A page run that was trimmed and one that was not. */
static void fill_runs(void)
{
    pages_live = sh_alloc_pages(3);
    pages_trimmed = sh_alloc_pages(2 * MM_GRANULE_PAGES);
    EXPECT(pages_live != NULL && pages_trimmed != NULL);
    sh_free_pages(pages_trimmed);
    sh_trim(0);
}

/* Two queued spans, a full one and a current one. */
static void fill_small(void)
{
    unsigned slots = slots_of(SMALL);
    void *first[2] = { NULL, NULL };

    for (unsigned i = 0; i < 3 * slots + 1; i++) {
        void *p = sh_malloc(SMALL);
        EXPECT(p != NULL);
        if (i == 0 || i == slots)
            first[i == 0 ? 0 : 1] = p;
    }
    sh_free(first[0]);
    sh_free(first[1]);
}

/* Empty spans: last, as whoever needs pages releases all but one. */
static void fill_empty(void)
{
    unsigned slots = slots_of(FEW);

    hold(4 * slots, FEW);
    for (unsigned i = 0; i < 3 * slots; i++)
        sh_free(held[i]);
}

/* A free page with a frame that the empty spans have left. */
static void find_gone(void)
{
    uintptr_t at = (uintptr_t)pages_gone;

    while (mm_bit_test(mm_chunk_of(at)->taken, mm_chunk_page(at)))
        at += SH_PAGE_SIZE;
    EXPECT(!mm_bit_test(mm_chunk_of(at)->released, mm_chunk_page(at)));
    pages_gone = (void *)at;
}

static void busy(void)
{
    rig_start(0, NULL);
    fill_central();
    fill_runs();
    fill_small();
    large_live = sh_malloc(2 * LARGE);
    EXPECT(sh_malloc(2 * LARGE) != NULL);
    large_kept = sh_malloc(LARGE);
    pages_gone = sh_alloc_pages(2 * MM_GRANULE_PAGES + GONE);
    EXPECT(large_live != NULL && large_kept != NULL && pages_gone != NULL);
    sh_free(large_kept);
    sh_free_pages(pages_gone);
    fill_empty();
    find_gone();
    saved_count = 0;
}

/* ---- finding one's way ---- */

/* The nth span of that state (and place, when small). */
static struct mm_span *span_at(enum mm_span_state state, enum mm_place place, unsigned nth)
{
    uintptr_t at = 0;

    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;)
        if (mm_span_state(span) == state && span->place == place && nth-- == 0)
            return span;
    t_fail(__FILE__, __LINE__, "the heap is not busy enough: no span in place %d", (int)place);
}

static struct mm_span *small_at(enum mm_place place)
{
    return span_at(MM_SPAN_SMALL, place, 0);
}

static struct mm_span *large(void)
{
    return mm_span_of((uintptr_t)large_live);
}

static struct mm_entry *entry_for(size_t size)
{
    return &mm_cpu[0].entry[mm_class_of(size)];
}

static struct mm_span **map_entry(uintptr_t address)
{
    return &mm_arena_of(address)->spans[(address >> MM_PAGE_SHIFT) & (MM_ARENA_PAGES - 1)];
}

static struct mm_arena **arena_entry(uintptr_t address)
{
    size_t index = address >> MM_ARENA_SHIFT;

    if (MM_ARENA_ROOT_BITS == 0)
        return &mm_arena_first_leaf.arenas[index];
    return &mm_arena_root[index >> MM_ARENA_LEAF_BITS]->arenas[index & (MM_ARENA_LEAF - 1)];
}

static struct mm_arena *first_arena(void)
{
    return mm_arena_of((uintptr_t)large_live);
}

/* A free slot of the span, or a live one. */
static uint32_t slot_of(const struct mm_span *span, bool is_free)
{
    uint32_t slot = 0;

    while (slot < span->slots && mm_span_is_free(span, slot) != is_free)
        slot++;
    EXPECT(slot < span->slots);
    return slot;
}

static void flip(uintptr_t *map, size_t bit)
{
    uintptr_t *word = &map[bit / MM_WORD_BITS];

    SET(*word, *word ^ (uintptr_t)1 << (bit % MM_WORD_BITS));
}

static void flip_page(uintptr_t *map, const void *page)
{
    flip(map, mm_chunk_page((uintptr_t)page));
}

/* ---- slot bits ---- */

static void bit_past_the_last_slot(void)
{
    struct mm_span *span = mm_span_of((uintptr_t)entry_for(SMALL)->span->base);

    EXPECT(span->slots % MM_WORD_BITS != 0);
    flip(span->free, span->slots);
}

static void bit_of_a_full_span(void)
{
    flip(small_at(MM_PLACE_FULL)->free, 5);
}

static void bit_set_in_a_queued_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_QUEUED);

    flip(span->free, slot_of(span, false));
}

static void bit_lost_in_a_queued_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_QUEUED);

    flip(span->free, slot_of(span, true));
}

static void bit_set_in_a_central_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_CENTRAL);

    flip(span->free, slot_of(span, false));
}

static void bit_lost_in_an_empty_span(void)
{
    flip(small_at(MM_PLACE_EMPTY)->free, 0);
}

static void bit_lost_in_another_empty_span(void)
{
    flip(span_at(MM_SPAN_SMALL, MM_PLACE_EMPTY, 2)->free, 3);
}

static void bit_of_a_large_object(void)
{
    flip(large()->free, 0);
}

static void bit_of_a_page_run(void)
{
    flip(mm_span_of((uintptr_t)pages_live)->free, 0);
}

static const struct plant bits[] = {
    { "a free bit past the last slot", bit_past_the_last_slot, NULL, "free bits past the last slot" },
    { "a free bit in a full span", bit_of_a_full_span, NULL, "span's place" },
    { "a free bit more in a queued span", bit_set_in_a_queued_span, NULL, "span's place" },
    { "a free bit less in a queued span", bit_lost_in_a_queued_span, NULL, "span's place" },
    { "a free bit more in a central span", bit_set_in_a_central_span, NULL, "span's place" },
    { "a free bit less in an empty span", bit_lost_in_an_empty_span, NULL, "span's place" },
    { "a free bit less in another empty span", bit_lost_in_another_empty_span, NULL, "span's place" },
    { "the free bit of a live large object", bit_of_a_large_object, NULL, "large span" },
    { "the free bit of a live page run", bit_of_a_page_run, NULL, "large span" },
};

/* ---- fields of descriptors ---- */

static void countdown_of_a_queued_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_QUEUED);

    SET(span->countdown, span->countdown + 1);
}

static void countdown_of_a_full_span(void)
{
    SET(small_at(MM_PLACE_FULL)->countdown, 2);
}

static void countdown_of_a_central_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_CENTRAL);

    SET(span->countdown, span->countdown - 1);
}

static void countdown_of_the_current_span(void)
{
    SET(entry_for(SMALL)->span->countdown, 0);
}

static void place_of_a_full_span(void)
{
    SET(small_at(MM_PLACE_FULL)->place, MM_PLACE_QUEUED);
}

static void place_of_the_current_span(void)
{
    SET(entry_for(SMALL)->span->place, MM_PLACE_NONE);
}

static void place_of_an_empty_span(void)
{
    SET(small_at(MM_PLACE_EMPTY)->place, MM_PLACE_QUEUED);
}

static void place_out_of_range(void)
{
    SET(small_at(MM_PLACE_FULL)->place, 77);
}

static void class_of_a_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_FULL);

    SET(span->class, (uint8_t)(span->class + 1));
}

static void magic_of_a_span(void)
{
    SET(small_at(MM_PLACE_FULL)->magic, small_at(MM_PLACE_FULL)->magic ^ 64);
}

static void bound_of_a_span(void)
{
    SET(small_at(MM_PLACE_FULL)->bound, small_at(MM_PLACE_FULL)->bound + 1);
}

static void bound_of_a_large_span(void)
{
    SET(large()->bound, 1);
}

static void slots_of_a_span(void)
{
    SET(small_at(MM_PLACE_FULL)->slots, (uint16_t)(small_at(MM_PLACE_FULL)->slots - 1));
}

static void slots_of_a_large_span(void)
{
    SET(large()->slots, 2);
}

static void size_of_a_span(void)
{
    SET(small_at(MM_PLACE_FULL)->size, SMALL + 8);
}

static void size_of_a_large_span(void)
{
    SET(large()->size, large()->size - SH_PAGE_SIZE);
}

static void page_count_too_large(void)
{
    SET(large()->page_count, large()->page_count + 1);
}

static void page_count_too_small(void)
{
    SET(large()->page_count, large()->page_count - 1);
}

static void page_count_of_a_small_span(void)
{
    SET(small_at(MM_PLACE_QUEUED)->page_count, 0);
}

static void base_of_a_span(void)
{
    SET(small_at(MM_PLACE_FULL)->base, small_at(MM_PLACE_FULL)->base + SH_PAGE_SIZE);
}

static void base_off_its_page(void)
{
    SET(large()->base, large()->base + 8);
}

static void state_of_a_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_FULL);

    SET(span->state, (span->state & ~(uint32_t)3) | MM_SPAN_LARGE);
}

static void state_of_a_listed_span(void)
{
    struct mm_span *span = small_at(MM_PLACE_QUEUED);

    SET(span->state, (span->state & ~(uint32_t)3) | MM_SPAN_DEAD);
}

static void state_of_a_large_span(void)
{
    SET(large()->state, (large()->state & ~(uint32_t)3) | MM_SPAN_SMALL);
}

static void kind_of_a_span(void)
{
    SET(small_at(MM_PLACE_FULL)->kind, 200);
}

static void flags_of_a_large_span(void)
{
    SET(large()->flags, large()->flags | MM_SPAN_FAULTED);
}

static void state_of_a_kept_run(void)
{
    struct mm_span *span = mm_span_of((uintptr_t)large_kept);

    SET(span->state, (span->state & ~(uint32_t)3) | MM_SPAN_LARGE);
}

static void page_count_of_a_kept_run(void)
{
    SET(mm_span_of((uintptr_t)large_kept)->page_count, 1);
}

static void bound_of_the_dummy(void)
{
    SET(mm_span_dummy.bound, 8);
}

static void state_of_the_dummy(void)
{
    SET(mm_span_dummy.state, mm_span_dummy.state | MM_SPAN_LARGE);
}

static const struct plant fields[] = {
    { "the dummy span's bound", bound_of_the_dummy, NULL, "dummy span written: 0x0" },
    { "the dummy span's state", state_of_the_dummy, NULL, "dummy span written" },
    { "the countdown of a queued span", countdown_of_a_queued_span, NULL, "span's place" },
    { "the countdown of a full span", countdown_of_a_full_span, NULL, "span's place" },
    { "the countdown of a central span", countdown_of_a_central_span, NULL, "span's place" },
    { "the countdown of a current span", countdown_of_the_current_span, NULL, "span's place" },
    { "a full span that says it is queued", place_of_a_full_span, NULL, "span's place" },
    { "a current span that is in no place", place_of_the_current_span, NULL, "span's place" },
    { "an empty span that says it is queued", place_of_an_empty_span, NULL, "span's place" },
    { "a place that there is not", place_out_of_range, NULL, "span's place" },
    { "a span's class", class_of_a_span, NULL, "span does not fit its class" },
    { "a span's magic", magic_of_a_span, NULL, "span does not fit its class" },
    { "a span's bound", bound_of_a_span, NULL, "span bound" },
    { "a large span's bound", bound_of_a_large_span, NULL, "large span" },
    { "a span's slots", slots_of_a_span, NULL, "span does not fit its class" },
    { "a large span's slots", slots_of_a_large_span, NULL, "large span" },
    { "a span's slot size", size_of_a_span, NULL, "span does not fit its class" },
    { "a large span's size", size_of_a_large_span, NULL, "large span" },
    { "a page more", page_count_too_large, NULL, "span page not in the page map" },
    { "a page less", page_count_too_small, NULL, "page not in its span" },
    { "a small span of no pages", page_count_of_a_small_span, NULL, "page not in its span" },
    { "a span's base, a page off", base_of_a_span, NULL, "page not in its span" },
    { "a span's base, 8 bytes off", base_off_its_page, NULL, "page not in its span" },
    { "a small span that says it is large", state_of_a_span, NULL, "large span" },
    { "a queued span that says it is dead", state_of_a_listed_span, NULL, "pages of dead spans" },
    { "a large span that says it is small", state_of_a_large_span, NULL, "span does not fit its class" },
    { "a kind that there is not", kind_of_a_span, NULL, "span kind" },
    { "a live object that says it is faulted", flags_of_a_large_span, NULL, "page of a faulted object" },
    { "a kept run that says it is live", state_of_a_kept_run, NULL, "kept run: " },
    { "a kept run of another size", page_count_of_a_kept_run, NULL, "kept run: " },
};

/* ---- the page map and the arena map ---- */

static void entry_of_another_span(void)
{
    SET(*map_entry((uintptr_t)large_live + SH_PAGE_SIZE), small_at(MM_PLACE_FULL));
}

static void entry_lost(void)
{
    SET(*map_entry((uintptr_t)large_live + 2 * SH_PAGE_SIZE), &mm_span_dummy);
}

static void entry_outside_the_metadata(void)
{
    static struct mm_span stranger;

    SET(*map_entry((uintptr_t)large_live), &stranger);
}

static void entry_of_a_free_page(void)
{
    SET(*map_entry((uintptr_t)pages_gone), large());
}

static void entry_of_a_page_not_ours(void)
{
    uintptr_t at = (uintptr_t)large_live;

    while (mm_bit_test(mm_chunk_of(at)->owned, mm_chunk_page(at)))
        at += SH_PAGE_SIZE;
    SET(*map_entry(at), large());
}

static void entry_of_the_dummy_arena(void)
{
    SET(mm_arena_dummy.spans[7], large());
}

static void base_of_an_arena(void)
{
    SET(first_arena()->base, first_arena()->base + MM_ARENA_SIZE);
}

static void base_inside_an_arena(void)
{
    SET(first_arena()->base, first_arena()->base + SH_PAGE_SIZE);
}

static void arena_outside_the_metadata(void)
{
    SET(*arena_entry((uintptr_t)large_live), (struct mm_arena *)(void *)&mm_cpu[0]);
}

static void arena_lost(void)
{
    SET(*arena_entry((uintptr_t)large_live), &mm_arena_dummy);
}

static const struct plant maps[] = {
    { "a page map entry of another span", entry_of_another_span, NULL, "page not in its span" },
    { "a page map entry lost", entry_lost, NULL, "taken page in no span" },
    { "a page map entry outside the metadata", entry_outside_the_metadata, NULL, "page map outside the metadata" },
    { "a free page with a page map entry", entry_of_a_free_page, NULL, "free page in the page map" },
    { "a page that is not ours with a page map entry", entry_of_a_page_not_ours, NULL, "" },
    { "an entry of the dummy arena", entry_of_the_dummy_arena, NULL, "dummy arena written: 0x7" },
    { "an arena's base", base_of_an_arena, NULL, "arena record entered elsewhere" },
    { "an arena's base inside an arena", base_inside_an_arena, NULL, "arena record entered elsewhere" },
    { "an arena map entry outside the metadata", arena_outside_the_metadata, NULL, "arena entry outside the metadata" },
    { "an arena map entry lost", arena_lost, NULL, "arena records" },
};

/* ---- the page allocator ---- */

static void taken_bit_lost(void)
{
    flip_page(mm_chunk_of((uintptr_t)large_live)->taken, large_live);
}

static void taken_bit_too_many(void)
{
    flip_page(mm_chunk_of((uintptr_t)pages_gone)->taken, pages_gone);
}

static void owned_bit_lost(void)
{
    flip_page(mm_chunk_of((uintptr_t)pages_gone)->owned, pages_gone);
}

static void owned_bit_of_a_used_page_lost(void)
{
    flip_page(mm_chunk_of((uintptr_t)large_live)->owned, large_live);
}

static void released_bit_of_a_used_page(void)
{
    flip_page(mm_chunk_of((uintptr_t)large_live)->released, large_live);
}

static void released_bit_lost(void)
{
    uintptr_t at = (uintptr_t)large_live;

    while (!mm_bit_test(mm_chunk_of(at)->released, mm_chunk_page(at)))
        at += SH_PAGE_SIZE;
    flip_page(mm_chunk_of(at)->released, (void *)at);
}

static void busy_bit_left(void)
{
    flip_page(mm_chunk_of((uintptr_t)large_live)->busy, large_live);
}

/* The tree's nodes have no name outside pages.c.  The one above a chunk is known by what it says
 * about that chunk, the next by its pointer to the first: both are looked for in the metadata. */
#define FANOUT 8

struct tree_node {
    struct mm_summary sum[FANOUT];
    struct tree_node *child[FANOUT];
};

static uintptr_t metadata_begin(void)
{
    uintptr_t at = (uintptr_t)first_arena();

    while (mm_linear_in_block(at - sizeof(uintptr_t)))
        at -= sizeof(uintptr_t);
    while (!mm_linear_contains((const void *)at, sizeof(uintptr_t)))
        at += sizeof(uintptr_t);
    return at;
}

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
    uintptr_t address = (uintptr_t)large_live, at = metadata_begin();
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
    t_fail(__FILE__, __LINE__, "no node of the page tree describes the chunk of %p", large_live);
}

/* The node above the one above the chunk. */
static struct tree_node *upper_node(void)
{
    uintptr_t address = (uintptr_t)large_live, at = metadata_begin();
    uintptr_t leaf = (uintptr_t)(leaf_summary() - chunk_number(address, 0));
    unsigned piece = chunk_number(address, 1);

    for (; mm_linear_contains((void *)at, sizeof(struct tree_node)); at += sizeof(uintptr_t)) {
        struct tree_node *node = (struct tree_node *)at;
        if ((uintptr_t)node->child[piece] == leaf)
            return node;
    }
    t_fail(__FILE__, __LINE__, "no node of the page tree has the node for %p below it", large_live);
}

static struct mm_summary *upper_summary(void)
{
    return &upper_node()->sum[chunk_number((uintptr_t)large_live, 1)];
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
    struct tree_node **child = &upper_node()->child[chunk_number((uintptr_t)large_live, 1)];

    stranger = **child;
    SET(*child, &stranger);
}

static const struct plant pages[] = {
    { "a used page that is not taken", taken_bit_lost, NULL, "free page in the page map" },
    { "a free page that is taken", taken_bit_too_many, NULL, "chunk summary" },
    { "a free page that is not ours", owned_bit_lost, NULL, "free pages that are not ours" },
    { "a used page that is not ours", owned_bit_of_a_used_page_lost, NULL, "free page in the page map" },
    { "a used page that is released", released_bit_of_a_used_page, NULL, "" },
    { "a page without a frame that is not released", released_bit_lost, NULL, "" },
    { "a busy bit that was left", busy_bit_left, NULL, "busy pages" },
    { "a chunk's free pages at its start", start_of_a_chunk, NULL, "chunk summary" },
    { "a chunk's longest run", most_of_a_chunk, NULL, "chunk summary" },
    { "a chunk's free pages at its end", end_of_a_chunk, NULL, "chunk summary" },
    { "the free pages at the start, a level up", start_further_up, NULL, "tree summary" },
    { "the longest run, a level up", most_further_up, NULL, "tree summary" },
    { "the free pages at the end, a level up", end_further_up, NULL, "tree summary" },
    { "a node of the tree outside the metadata", node_outside_the_metadata, NULL, "tree node outside the metadata" },
};

/* ---- the CPU's caches and central ---- */

static void word_of_an_entry(void)
{
    SET(entry_for(SMALL)->word, entry_for(SMALL)->word + 1);
}

static void word_without_a_span(void)
{
    static uintptr_t word = 1;

    EXPECT(entry_for(CENTRAL)->span == NULL);
    SET(entry_for(CENTRAL)->word, &word);
}

static void base_of_an_entry(void)
{
    SET(entry_for(SMALL)->base, entry_for(SMALL)->base + SMALL);
}

static void size_of_an_entry(void)
{
    SET(entry_for(SMALL)->size, SMALL + 16);
}

static void span_of_an_entry(void)
{
    SET(entry_for(SMALL)->span, small_at(MM_PLACE_FULL));
}

static void span_lost_by_an_entry(void)
{
    SET(entry_for(SMALL)->span, NULL);
    SET(entry_for(SMALL)->word, &mm_zero_word);
}

static void queue_lost(void)
{
    SET(entry_for(SMALL)->head, NULL);
}

static void tail_of_the_queue(void)
{
    SET(entry_for(SMALL)->tail, entry_for(SMALL)->head);
}

static void next_in_the_queue(void)
{
    SET(entry_for(SMALL)->head->next, NULL);
}

static void next_outside_the_metadata(void)
{
    static struct mm_span stranger;

    SET(entry_for(SMALL)->head->next, &stranger);
}

static void prev_in_the_queue(void)
{
    SET(entry_for(SMALL)->tail->prev, NULL);
}

static void circle_in_the_queue(void)
{
    SET(entry_for(SMALL)->tail->next, entry_for(SMALL)->head);
}

static void queued_count(void)
{
    SET(entry_for(SMALL)->queued, entry_for(SMALL)->queued + 1);
}

static void empty_that_is_full(void)
{
    SET(entry_for(SMALL)->empty, small_at(MM_PLACE_FULL));
}

static void empty_of_another_class(void)
{
    SET(entry_for(SMALL)->empty, entry_for(FEW)->empty);
}

static void zero_word(void)
{
    SET(mm_zero_word, 2);
}

static void link_of_the_empty_ones(void)
{
    SET(entry_for(FEW)->empty->next, small_at(MM_PLACE_FULL));
}

static void list_of_the_empty_ones_cut(void)
{
    SET(entry_for(FEW)->empty->next, NULL);
}

static void circle_of_the_empty_ones(void)
{
    SET(entry_for(FEW)->empty->next, entry_for(FEW)->empty);
}

static void surplus_bit_lost(void)
{
    flip(mm_cpu[0].surplus, mm_class_of(FEW));
}

static void surplus_bit_too_many(void)
{
    flip(mm_cpu[0].surplus, mm_class_of(SMALL));
}

/* Central's list is in no order that the address tells: the span whose link is there. */
static struct mm_span *central_with_next(void)
{
    for (unsigned nth = 0;; nth++) {
        struct mm_span *span = span_at(MM_SPAN_SMALL, MM_PLACE_CENTRAL, nth);
        if (span->next != NULL)
            return span;
    }
}

static void next_in_central(void)
{
    static struct mm_span stranger;

    SET(central_with_next()->next, &stranger);
}

static void prev_in_central(void)
{
    SET(central_with_next()->next->prev, NULL);
}

static void owner_in_central(void)
{
    SET(small_at(MM_PLACE_CENTRAL)->owner, &mm_cpu[0]);
}

static void place_in_central(void)
{
    SET(small_at(MM_PLACE_CENTRAL)->place, MM_PLACE_QUEUED);
}

static const struct plant lists[] = {
    { "the word of an entry", word_of_an_entry, NULL, "entry: class" },
    { "a word of an entry without a span", word_without_a_span, NULL, "entry without a span: class" },
    { "the base of an entry", base_of_an_entry, NULL, "entry: class" },
    { "the slot size of an entry", size_of_an_entry, NULL, "entry: class" },
    { "an entry's span that is not current", span_of_an_entry, NULL, "entry: class" },
    { "an entry that lost its span", span_lost_by_an_entry, NULL, "spans in lists" },
    { "a queue that was lost", queue_lost, NULL, "end of list: class" },
    { "a queue's tail", tail_of_the_queue, NULL, "end of list: class" },
    { "a queue that was cut", next_in_the_queue, NULL, "end of list: class" },
    { "a queue that leaves the metadata", next_outside_the_metadata, NULL, "list of spans: class" },
    { "a queue's link back", prev_in_the_queue, NULL, "list of spans: class" },
    { "a queue that is a circle", circle_in_the_queue, NULL, "list of spans: class" },
    { "the number of queued spans", queued_count, NULL, "queued spans" },
    { "a full span among the empty ones", empty_that_is_full, NULL, "list of spans: class" },
    { "an empty span of another class", empty_of_another_class, NULL, "list of spans: class" },
    { "a bit in the zero word", zero_word, NULL, "zero word" },
    { "a list of empty spans that goes elsewhere", link_of_the_empty_ones, NULL, "list of spans: class" },
    { "a list of empty spans that was cut", list_of_the_empty_ones_cut, NULL, "surplus bit" },
    { "a list of empty spans that is a circle", circle_of_the_empty_ones, NULL, "list of spans: class" },
    { "a surplus bit lost", surplus_bit_lost, NULL, "surplus bit" },
    { "a surplus bit too many", surplus_bit_too_many, NULL, "surplus bit" },
    { "central's list leaves the metadata", next_in_central, NULL, "list of spans: class" },
    { "central's link back", prev_in_central, NULL, "list of spans: class" },
    { "a central span with an owner", owner_in_central, NULL, "span's place" },
    { "a central span that says it is queued", place_in_central, NULL, "span's place" },
};

/* ---- counters and page tables ---- */

static void not_owned(const void *page)
{
    uintptr_t at = (uintptr_t)page;
    uintptr_t *word = &mm_chunk_of(at)->owned[mm_chunk_page(at) / MM_WORD_BITS];

    SET(*word, *word & ~((uintptr_t)1 << mm_chunk_page(at) % MM_WORD_BITS));
}

static void free_page_not_owned(void)
{
    not_owned(pages_gone);
}

/* Taken as well, so that only its being released speaks against it. */
static void released_page_not_owned(void)
{
    uintptr_t at = (uintptr_t)pages_trimmed;
    uintptr_t *word = &mm_chunk_of(at)->taken[mm_chunk_page(at) / MM_WORD_BITS];

    SET(*word, *word | (uintptr_t)1 << mm_chunk_page(at) % MM_WORD_BITS);
    word = &mm_chunk_of(at)->released[mm_chunk_page(at) / MM_WORD_BITS];
    SET(*word, *word | (uintptr_t)1 << mm_chunk_page(at) % MM_WORD_BITS);
    not_owned(pages_trimmed);
}

static void owned_count(void)
{
    SET(mm_heap_counts.owned, mm_heap_counts.owned + 1);
}

static void released_count(void)
{
    SET(mm_heap_counts.released, mm_heap_counts.released - 1);
}

static void spans_count(void)
{
    SET(mm_heap_counts.spans, mm_heap_counts.spans - 1);
}

static void kept_count(void)
{
    EXPECT(mm_heap_counts.kept > 0);
    SET(mm_heap_counts.kept, 0);
}

static void faulted_count(void)
{
    SET(mm_heap_counts.faulted, 1);
}

static void budget_taken(void)
{
    EXPECT(mm_budget_take(SH_GRANULE_SIZE));
}

static void budget_given(void)
{
    mm_budget_give(SH_GRANULE_SIZE);
}

static uintptr_t used_page(void)
{
    return mm_align_down((uintptr_t)large_live + SH_PAGE_SIZE, SH_ARCH_PAGE_SIZE);
}

/* The last word of the block's head. */
static void size_of_a_block(void)
{
    SET(((size_t *)metadata_begin())[-1], SH_ARCH_PAGE_SIZE - 1);
}

static void used_page_decommitted(void)
{
    sh_arch_decommit(used_page(), SH_ARCH_PAGE_SIZE);
}

static void used_page_committed(void)
{
    EXPECT(sh_arch_commit(used_page(), SH_ARCH_PAGE_SIZE));
}

static uintptr_t first_prepared(uintptr_t at)
{
    at = mm_align_down(at, SH_ARCH_PAGE_SIZE);
    while (sh_arch_state(at) != SH_PREPARED)
        at += SH_ARCH_PAGE_SIZE;
    return at;
}

static uintptr_t touched;

static void released_page_committed(void)
{
    touched = first_prepared((uintptr_t)large_live);
    EXPECT(sh_arch_commit(touched, SH_ARCH_PAGE_SIZE));
}

static void metadata_page_committed(void)
{
    touched = first_prepared((uintptr_t)first_arena());
    /* With 64 KiB pages the first block may be one page, and that is in use. */
    if (SH_GRANULE_SIZE >= MM_META_FIRST && !mm_linear_in_block(touched))
        touched = first_prepared((uintptr_t)large_live);
    else
        EXPECT(mm_linear_in_block(touched));
    EXPECT(sh_arch_commit(touched, SH_ARCH_PAGE_SIZE));
}

static void touched_decommitted(void)
{
    sh_arch_decommit(touched, SH_ARCH_PAGE_SIZE);
}

static const struct plant counters[] = {
    { "a free page that is not ours", free_page_not_owned, NULL, "free pages that are not ours" },
    { "a page without a frame that is not ours", released_page_not_owned, NULL, "released pages that are not ours" },
    { "the number of pages owned", owned_count, NULL, "pages: " },
    { "the number of pages released", released_count, NULL, "pages released" },
    { "the number of pages in spans", spans_count, NULL, "pages in spans" },
    { "the number of kept pages", kept_count, NULL, "pages in kept runs" },
    { "the number of faulted pages", faulted_count, NULL, "address space" },
    { "the bytes of frames held", budget_taken, budget_given, "bytes of frames" },
    { "a used page that lost its frame", used_page_decommitted, used_page_committed, "page state" },
    { "a released page with a frame", released_page_committed, touched_decommitted, "page state" },
    { "the size of a block of metadata", size_of_a_block, NULL, "metadata block" },
    { "a page of metadata to come with a frame", metadata_page_committed, touched_decommitted, "" },
};

/* ---- the tests ---- */

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

    busy();
    EXPECT_WHOLE();
    plant->plant();
    rig_log_clear();
    faults = sh_verify();
    (plant->undo != NULL ? plant->undo : put_back)();
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

#define EACH(table) \
    for (unsigned i = 0; i < sizeof(table) / sizeof((table)[0]); i++) \
        expect_found(&(table)[i])

static void slot_bits_are_checked(void)
{
    EACH(bits);
}

static void descriptors_are_checked(void)
{
    EACH(fields);
}

static void maps_are_checked(void)
{
    EACH(maps);
}

static void page_allocator_is_checked(void)
{
    EACH(pages);
}

static void lists_are_checked(void)
{
    EACH(lists);
}

static void counters_and_page_tables_are_checked(void)
{
    EACH(counters);
}

static void faults_are_logged(void)
{
    busy();
    rig_log_clear();
    bit_of_a_full_span();
    EXPECT(sh_verify() > 0);
    put_back();
    EXPECT(t_contains(rig_log(), t_hex(small_at(MM_PLACE_FULL)->base)));
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
