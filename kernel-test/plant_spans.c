/*
 * Damage to slot bits and descriptors.
 */
#include "kernel-test/plant.h"

/* ---- slot bits ---- */

static void bit_past_the_last_slot(void)
{
    struct mm_span *span = mm_span_of((uintptr_t)plant_entry_for(SMALL)->span->base);

    EXPECT(span->slots % MM_WORD_BITS != 0);
    plant_flip(span->free, span->slots);
}

void plant_bit_of_a_full_span(void)
{
    plant_flip(plant_small_at(MM_PLACE_FULL)->free, 5);
}

static void bit_set_in_a_queued_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_QUEUED);

    plant_flip(span->free, plant_slot_of(span, false));
}

static void bit_lost_in_a_queued_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_QUEUED);

    plant_flip(span->free, plant_slot_of(span, true));
}

static void bit_set_in_a_central_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_CENTRAL);

    plant_flip(span->free, plant_slot_of(span, false));
}

static void bit_lost_in_an_empty_span(void)
{
    plant_flip(plant_small_at(MM_PLACE_EMPTY)->free, 0);
}

static void bit_lost_in_another_empty_span(void)
{
    plant_flip(plant_span_at(MM_SPAN_SMALL, MM_PLACE_EMPTY, 2)->free, 3);
}

static void bit_of_a_large_object(void)
{
    plant_flip(plant_large()->free, 0);
}

static void bit_of_a_page_run(void)
{
    plant_flip(mm_span_of((uintptr_t)plant_pages_live)->free, 0);
}

const struct plant plant_bits[] = {
    { "a free bit past the last slot", bit_past_the_last_slot, NULL,
      "free bits past the last slot" },
    { "a free bit in a full span", plant_bit_of_a_full_span, NULL, "span's place" },
    { "a free bit more in a queued span", bit_set_in_a_queued_span, NULL, "span's place" },
    { "a free bit less in a queued span", bit_lost_in_a_queued_span, NULL, "span's place" },
    { "a free bit more in a central span", bit_set_in_a_central_span, NULL, "span's place" },
    { "a free bit less in an empty span", bit_lost_in_an_empty_span, NULL, "span's place" },
    { "a free bit less in another empty span", bit_lost_in_another_empty_span, NULL,
      "span's place" },
    { "the free bit of a live large object", bit_of_a_large_object, NULL, "large span" },
    { "the free bit of a live page run", bit_of_a_page_run, NULL, "large span" },
    { .name = NULL },
};

/* ---- fields of descriptors ---- */

static void countdown_of_a_queued_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_QUEUED);

    SET(span->countdown, span->countdown + 1);
}

static void countdown_of_a_full_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->countdown, 2);
}

static void countdown_of_a_central_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_CENTRAL);

    SET(span->countdown, span->countdown - 1);
}

static void countdown_of_the_current_span(void)
{
    SET(plant_entry_for(SMALL)->span->countdown, 0);
}

static void place_of_a_full_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->place, MM_PLACE_QUEUED);
}

static void place_of_the_current_span(void)
{
    SET(plant_entry_for(SMALL)->span->place, MM_PLACE_NONE);
}

static void place_of_an_empty_span(void)
{
    SET(plant_small_at(MM_PLACE_EMPTY)->place, MM_PLACE_QUEUED);
}

static void place_out_of_range(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->place, 77);
}

static void class_of_a_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_FULL);

    SET(span->class, (uint8_t)(span->class + 1));
}

static void magic_of_a_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->magic, plant_small_at(MM_PLACE_FULL)->magic ^ 64);
}

static void bound_of_a_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->bound, plant_small_at(MM_PLACE_FULL)->bound + 1);
}

static void bound_of_a_large_span(void)
{
    SET(plant_large()->bound, 1);
}

static void slots_of_a_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->slots, (uint16_t)(plant_small_at(MM_PLACE_FULL)->slots - 1));
}

static void slots_of_a_large_span(void)
{
    SET(plant_large()->slots, 2);
}

static void size_of_a_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->size, SMALL + 8);
}

static void size_of_a_large_span(void)
{
    SET(plant_large()->size, plant_large()->size - SH_PAGE_SIZE);
}

static void page_count_too_large(void)
{
    SET(plant_large()->page_count, plant_large()->page_count + 1);
}

static void page_count_too_small(void)
{
    SET(plant_large()->page_count, plant_large()->page_count - 1);
}

static void page_count_of_a_small_span(void)
{
    SET(plant_small_at(MM_PLACE_QUEUED)->page_count, 0);
}

static void base_of_a_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->base, plant_small_at(MM_PLACE_FULL)->base + SH_PAGE_SIZE);
}

static void base_off_its_page(void)
{
    SET(plant_large()->base, plant_large()->base + 8);
}

static void owner_behind_the_last_cpu(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_QUEUED);

    SET(span->owner, &mm_cpu[sizeof(mm_cpu) / sizeof(mm_cpu[0])]);
#if SH_MAX_CPUS > 1
    SET(span->local, span->owner);
#endif
}

static void state_of_a_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_FULL);

    SET(span->state, (span->state & ~(uint32_t)3) | MM_SPAN_LARGE);
}

static void state_of_a_listed_span(void)
{
    struct mm_span *span = plant_small_at(MM_PLACE_QUEUED);

    SET(span->state, (span->state & ~(uint32_t)3) | MM_SPAN_DEAD);
}

static void state_of_a_large_span(void)
{
    SET(plant_large()->state, (plant_large()->state & ~(uint32_t)3) | MM_SPAN_SMALL);
}

static void kind_of_a_span(void)
{
    SET(plant_small_at(MM_PLACE_FULL)->kind, 200);
}

static void flags_of_a_large_span(void)
{
    SET(plant_large()->flags, plant_large()->flags | MM_SPAN_FAULTED);
}

static void state_of_a_kept_run(void)
{
    struct mm_span *span = mm_span_of((uintptr_t)plant_large_kept);

    SET(span->state, (span->state & ~(uint32_t)3) | MM_SPAN_LARGE);
}

static void page_count_of_a_kept_run(void)
{
    SET(mm_span_of((uintptr_t)plant_large_kept)->page_count, 1);
}

static void bound_of_the_dummy(void)
{
    SET(mm_span_dummy.bound, 8);
}

static void state_of_the_dummy(void)
{
    SET(mm_span_dummy.state, mm_span_dummy.state | MM_SPAN_LARGE);
}

const struct plant plant_fields[] = {
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
    { "an owner behind the last CPU", owner_behind_the_last_cpu, NULL, "span's place" },
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
    { "a large span that says it is small", state_of_a_large_span, NULL,
      "span does not fit its class" },
    { "a kind that there is not", kind_of_a_span, NULL, "span kind" },
    { "a live object that says it is faulted", flags_of_a_large_span, NULL,
      "page of a faulted object" },
    { "a kept run that says it is live", state_of_a_kept_run, NULL, "kept run: " },
    { "a kept run of another size", page_count_of_a_kept_run, NULL, "kept run: " },
    { .name = NULL },
};
