/*
 * A busy heap to be damaged, the way to its parts, and what is put back (see plant.h).
 */
#include "kernel-test/plant.h"

#include "mm/linear.h"
#include "mm/pages.h"

/* ---- what is put back ---- */

static struct {
    unsigned char *at;
    size_t size;
    unsigned char bytes[sizeof(uintptr_t)];
} saved[8];
static unsigned saved_count;

void plant_save(void *at, size_t size)
{
    EXPECT(saved_count < sizeof(saved) / sizeof(saved[0]) && size <= sizeof(uintptr_t));
    saved[saved_count].at = at;
    saved[saved_count].size = size;
    for (size_t i = 0; i < size; i++)
        saved[saved_count].bytes[i] = saved[saved_count].at[i];
    saved_count++;
}

void plant_put_back(void)
{
    while (saved_count > 0) {
        saved_count--;
        for (size_t i = 0; i < saved[saved_count].size; i++)
            saved[saved_count].at[i] = saved[saved_count].bytes[i];
    }
}

void plant_forget(void)
{
    saved_count = 0;
}

/* ---- a busy heap ---- */

void *plant_held[MOST_HELD];
void *plant_large_live, *plant_large_kept, *plant_pages_live, *plant_pages_gone, *plant_pages_trimmed;

static void hold(unsigned count, size_t size)
{
    EXPECT(count <= MOST_HELD);
    for (unsigned i = 0; i < count; i++) {
        plant_held[i] = sh_malloc(size);
        EXPECT(plant_held[i] != NULL);
    }
}

static unsigned plant_slots_of(size_t size)
{
    return mm_class[mm_class_of(size)].slots;
}

/* Three spans with free slots, given to central. */
static void fill_central(void)
{
    unsigned slots = plant_slots_of(CENTRAL);

    hold(2 * slots + slots / 2, CENTRAL);
    sh_free(plant_held[3]);
    sh_free(plant_held[slots + 3]);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
}

/* A page run that was trimmed and one that was not. */
static void fill_runs(void)
{
    plant_pages_live = sh_alloc_pages(3);
    plant_pages_trimmed = sh_alloc_pages(2 * MM_GRANULE_PAGES);
    EXPECT(plant_pages_live != NULL && plant_pages_trimmed != NULL);
    sh_free_pages(plant_pages_trimmed);
    sh_trim(0);
}

/* Two queued spans, a full one and a current one. */
static void fill_small(void)
{
    unsigned slots = plant_slots_of(SMALL);
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
    unsigned slots = plant_slots_of(FEW);

    hold(4 * slots, FEW);
    for (unsigned i = 0; i < 3 * slots; i++)
        sh_free(plant_held[i]);
}

/* A free page with a frame that the empty spans have left. */
static void find_gone(void)
{
    uintptr_t at = (uintptr_t)plant_pages_gone;

    while (mm_bit_test(mm_chunk_of(at)->taken, mm_chunk_page(at)))
        at += SH_PAGE_SIZE;
    EXPECT(!mm_bit_test(mm_chunk_of(at)->released, mm_chunk_page(at)));
    plant_pages_gone = (void *)at;
}

void plant_busy(void)
{
    rig_start(0, NULL);
    fill_central();
    fill_runs();
    fill_small();
    plant_large_live = sh_malloc(2 * LARGE);
    EXPECT(sh_malloc(2 * LARGE) != NULL);
    plant_large_kept = sh_malloc(LARGE);
    plant_pages_gone = sh_alloc_pages(2 * MM_GRANULE_PAGES + GONE);
    EXPECT(plant_large_live != NULL && plant_large_kept != NULL && plant_pages_gone != NULL);
    sh_free(plant_large_kept);
    sh_free_pages(plant_pages_gone);
    fill_empty();
    find_gone();
    plant_forget();
}

/* ---- finding one's way ---- */

/* The nth span of that state (and place, when small). */
struct mm_span *plant_span_at(enum mm_span_state state, enum mm_place place, unsigned nth)
{
    uintptr_t at = 0;

    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;)
        if (mm_span_state(span) == state && span->place == place && nth-- == 0)
            return span;
    t_fail(__FILE__, __LINE__, "the heap is not busy enough: no span in place %d", (int)place);
}

struct mm_span *plant_small_at(enum mm_place place)
{
    return plant_span_at(MM_SPAN_SMALL, place, 0);
}

struct mm_span *plant_large(void)
{
    return mm_span_of((uintptr_t)plant_large_live);
}

struct mm_entry *plant_entry_for(size_t size)
{
    return &mm_cpu[0].entry[mm_class_of(size)];
}

struct mm_span **plant_map_entry(uintptr_t address)
{
    return &mm_arena_of(address)->spans[(address >> MM_PAGE_SHIFT) & (MM_ARENA_PAGES - 1)];
}

struct mm_arena **plant_arena_entry(uintptr_t address)
{
    size_t index = address >> MM_ARENA_SHIFT;

    if (MM_ARENA_ROOT_BITS == 0)
        return &mm_arena_first_leaf.arenas[index];
    return &mm_arena_root[index >> MM_ARENA_LEAF_BITS]->arenas[index & (MM_ARENA_LEAF - 1)];
}

struct mm_arena *plant_first_arena(void)
{
    return mm_arena_of((uintptr_t)plant_large_live);
}

/* A free slot of the span, or a live one. */
uint32_t plant_slot_of(const struct mm_span *span, bool is_free)
{
    uint32_t slot = 0;

    while (slot < span->slots && mm_span_is_free(span, slot) != is_free)
        slot++;
    EXPECT(slot < span->slots);
    return slot;
}

void plant_flip(uintptr_t *map, size_t bit)
{
    uintptr_t *word = &map[bit / MM_WORD_BITS];

    SET(*word, *word ^ (uintptr_t)1 << (bit % MM_WORD_BITS));
}

void plant_flip_page(uintptr_t *map, const void *page)
{
    plant_flip(map, mm_chunk_page((uintptr_t)page));
}

/* Where the records in a block of metadata begin. */
uintptr_t plant_metadata_begin(void)
{
    uintptr_t at = (uintptr_t)plant_first_arena();

    while (mm_linear_in_block(at - sizeof(uintptr_t)))
        at -= sizeof(uintptr_t);
    while (!mm_linear_contains((const void *)at, sizeof(uintptr_t)))
        at += sizeof(uintptr_t);
    return at;
}
