/*
 * Damage to the lists of caches and central, to counters, and to page tables.
 */
#include "kernel-test/plant.h"

#include "mm/budget.h"
#include "mm/linear.h"
#include "mm/pages.h"

/* ---- the CPU's caches and central ---- */

static void word_of_an_entry(void)
{
    SET(plant_entry_for(SMALL)->word, plant_entry_for(SMALL)->word + 1);
}

static void word_without_a_span(void)
{
    static uintptr_t word = 1;

    EXPECT(plant_entry_for(CENTRAL)->span == NULL);
    SET(plant_entry_for(CENTRAL)->word, &word);
}

static void base_of_an_entry(void)
{
    SET(plant_entry_for(SMALL)->base, plant_entry_for(SMALL)->base + SMALL);
}

static void size_of_an_entry(void)
{
    SET(plant_entry_for(SMALL)->size, SMALL + 16);
}

static void span_of_an_entry(void)
{
    SET(plant_entry_for(SMALL)->span, plant_small_at(MM_PLACE_FULL));
}

static void span_lost_by_an_entry(void)
{
    SET(plant_entry_for(SMALL)->span, NULL);
    SET(plant_entry_for(SMALL)->word, &mm_zero_word);
}

static void queue_lost(void)
{
    SET(plant_entry_for(SMALL)->head, NULL);
}

static void tail_of_the_queue(void)
{
    SET(plant_entry_for(SMALL)->tail, plant_entry_for(SMALL)->head);
}

static void next_in_the_queue(void)
{
    SET(plant_entry_for(SMALL)->head->next, NULL);
}

static void next_outside_the_metadata(void)
{
    static struct mm_span stranger;

    SET(plant_entry_for(SMALL)->head->next, &stranger);
}

static void prev_in_the_queue(void)
{
    SET(plant_entry_for(SMALL)->tail->prev, NULL);
}

static void circle_in_the_queue(void)
{
    SET(plant_entry_for(SMALL)->tail->next, plant_entry_for(SMALL)->head);
}

static void queued_count(void)
{
    SET(plant_entry_for(SMALL)->queued, plant_entry_for(SMALL)->queued + 1);
}

static void empty_that_is_full(void)
{
    SET(plant_entry_for(SMALL)->empty, plant_small_at(MM_PLACE_FULL));
}

static void empty_of_another_class(void)
{
    SET(plant_entry_for(SMALL)->empty, plant_entry_for(FEW)->empty);
}

static void zero_word(void)
{
    SET(mm_zero_word, 2);
}

static void link_of_the_empty_ones(void)
{
    SET(plant_entry_for(FEW)->empty->next, plant_small_at(MM_PLACE_FULL));
}

static void list_of_the_empty_ones_cut(void)
{
    SET(plant_entry_for(FEW)->empty->next, NULL);
}

static void circle_of_the_empty_ones(void)
{
    SET(plant_entry_for(FEW)->empty->next, plant_entry_for(FEW)->empty);
}

static void surplus_bit_lost(void)
{
    plant_flip(mm_cpu[0].surplus, mm_class_of(FEW));
}

static void surplus_bit_too_many(void)
{
    plant_flip(mm_cpu[0].surplus, mm_class_of(SMALL));
}

/* Central's list is in no order that the address tells: the span whose link is there. */
static struct mm_span *central_with_next(void)
{
    for (unsigned nth = 0;; nth++) {
        struct mm_span *span = plant_span_at(MM_SPAN_SMALL, MM_PLACE_CENTRAL, nth);
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
    SET(plant_small_at(MM_PLACE_CENTRAL)->owner, &mm_cpu[0]);
}

static void place_in_central(void)
{
    SET(plant_small_at(MM_PLACE_CENTRAL)->place, MM_PLACE_QUEUED);
}

const struct plant plant_lists[] = {
    { "the word of an entry", word_of_an_entry, NULL, "entry: class" },
    { "a word of an entry without a span", word_without_a_span, NULL,
      "entry without a span: class" },
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
    { "a list of empty spans that goes elsewhere", link_of_the_empty_ones, NULL,
      "list of spans: class" },
    { "a list of empty spans that was cut", list_of_the_empty_ones_cut, NULL, "surplus bit" },
    { "a list of empty spans that is a circle", circle_of_the_empty_ones, NULL,
      "list of spans: class" },
    { "a surplus bit lost", surplus_bit_lost, NULL, "surplus bit" },
    { "a surplus bit too many", surplus_bit_too_many, NULL, "surplus bit" },
    { "central's list leaves the metadata", next_in_central, NULL, "list of spans: class" },
    { "central's link back", prev_in_central, NULL, "list of spans: class" },
    { "a central span with an owner", owner_in_central, NULL, "span's place" },
    { "a central span that says it is queued", place_in_central, NULL, "span's place" },
    { .name = NULL },
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
    not_owned(plant_pages_gone);
}

/* Taken as well, so that only its being released speaks against it. */
static void released_page_not_owned(void)
{
    uintptr_t at = (uintptr_t)plant_pages_trimmed;
    uintptr_t *word = &mm_chunk_of(at)->taken[mm_chunk_page(at) / MM_WORD_BITS];

    SET(*word, *word | (uintptr_t)1 << mm_chunk_page(at) % MM_WORD_BITS);
    word = &mm_chunk_of(at)->released[mm_chunk_page(at) / MM_WORD_BITS];
    SET(*word, *word | (uintptr_t)1 << mm_chunk_page(at) % MM_WORD_BITS);
    not_owned(plant_pages_trimmed);
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

/* They have no name outside grow.c: the one around a large object, last in the list, is looked for. */
static void circle_of_the_ranges(void)
{
    struct range {
        struct range *next;
        uintptr_t base;
        size_t size, unused;
    };
    uintptr_t live = (uintptr_t)plant_large_live, at = plant_metadata_begin();

    for (; mm_linear_contains((void *)at, sizeof(struct range)); at += sizeof(uintptr_t)) {
        struct range *range = (struct range *)at;
        if (range->next == NULL && range->unused == 0 && live - range->base < range->size &&
            range->size <= MM_RESERVE && ((range->base | range->size) & (SH_GRANULE_SIZE - 1)) == 0) {
            SET(range->next, range);
            return;
        }
    }
    t_fail(__FILE__, __LINE__, "no range around %p is in the metadata", plant_large_live);
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
    return mm_align_down((uintptr_t)plant_large_live + SH_PAGE_SIZE, SH_ARCH_PAGE_SIZE);
}

/* The last word of the block's head. */
static void size_of_a_block(void)
{
    SET(((size_t *)plant_metadata_begin())[-1], SH_ARCH_PAGE_SIZE - 1);
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
    touched = first_prepared((uintptr_t)plant_large_live);
    EXPECT(sh_arch_commit(touched, SH_ARCH_PAGE_SIZE));
}

static void metadata_page_committed(void)
{
    touched = first_prepared((uintptr_t)plant_first_arena());
    /* With 64 KiB pages the first block may be one page, and that is in use. */
    if (SH_GRANULE_SIZE >= MM_META_FIRST && !mm_linear_in_block(touched))
        touched = first_prepared((uintptr_t)plant_large_live);
    else
        EXPECT(mm_linear_in_block(touched));
    EXPECT(sh_arch_commit(touched, SH_ARCH_PAGE_SIZE));
}

static void touched_decommitted(void)
{
    sh_arch_decommit(touched, SH_ARCH_PAGE_SIZE);
}

const struct plant plant_counters[] = {
    { "a free page that is not ours", free_page_not_owned, NULL, "free pages that are not ours" },
    { "a page without a frame that is not ours", released_page_not_owned, NULL,
      "released pages that are not ours" },
    { "the number of pages owned", owned_count, NULL, "pages: " },
    { "the number of pages released", released_count, NULL, "pages released" },
    { "the number of pages in spans", spans_count, NULL, "pages in spans" },
    { "the number of kept pages", kept_count, NULL, "pages in kept runs" },
    { "the number of faulted pages", faulted_count, NULL, "address space" },
    { "reserved ranges that are a circle", circle_of_the_ranges, NULL, "address space" },
    { "the bytes of frames held", budget_taken, budget_given, "bytes of frames" },
    { "a used page that lost its frame", used_page_decommitted, used_page_committed, "page state" },
    { "a released page with a frame", released_page_committed, touched_decommitted, "page state" },
    { "the size of a block of metadata", size_of_a_block, NULL, "metadata block" },
    { "a page of metadata to come with a frame", metadata_page_committed, touched_decommitted, "" },
    { .name = NULL },
};
