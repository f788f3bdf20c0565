/*
 * The situations in which the sweep's operations are tried.  Each prepares a heap from the seed:
 * sizes, order, and which objects stay.  Nothing fails yet.  Windows are small, and close to each
 * other, so that a look at everything is cheap.
 */
#include "kernel-test/sweep.h"

struct t_block sweep_live[SWEEP_LIVE];
struct t_block sweep_pages[SWEEP_MOST];

static void window(size_t offset, size_t size)
{
    EXPECT_EQ(rig_window(sweep_area() + offset, size), SH_OK);
}

/* The usual one: 1 MiB. */
static void plain_window(void)
{
    window(0, T_MIB);
}

static void take_live(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct t_block *block = &sweep_live[i];

        block->size = sweep_size();
        block->seed = i * 977 + sweep_below(900);
        block->p = sweep_take(block->size);
        EXPECT(block->p != NULL);
        sweep_fill(block);
    }
}

/* Runs of pages, up to `most` in number, until fewer than `leave` pages of the window are free. */
static unsigned take_pages(unsigned pages, unsigned most, size_t leave)
{
    unsigned count = 0;

    while (count < most && (leave == 0 || t_free_pages() >= leave + pages)) {
        struct t_block *block = &sweep_pages[count];

        block->p = sh_alloc_pages(pages);
        if (block->p == NULL)
            break;
        block->size = pages << MM_PAGE_SHIFT;
        block->seed = count + 3;
        sweep_fill(block);
        count++;
    }
    return count;
}

static void give_pages(unsigned i)
{
    sh_free_pages(sweep_pages[i].p);
    sweep_pages[i].p = NULL;
}

static void fresh(void)
{
    plain_window();
}

static void no_window(void)
{
}

static void warm(void)
{
    plain_window();
    take_live(SWEEP_LIVE);
}

static void half_full(void)
{
    warm();
    (void)take_pages(4 + sweep_below(5), 6, 20);
}

static void fragmented(void)
{
    unsigned count;

    warm();
    count = take_pages(1 + sweep_below(3), 24, 8);
    for (unsigned i = sweep_below(2); i < count; i += 2)
        give_pages(i);
}

static void full_class(void)
{
    static const uint16_t sizes[] = { 16, 256, 512, 1024, 2048 };
    size_t size = sizes[sweep_below(5)];
    struct sh_stats before, after;

    plain_window();
    take_live(6);
    sh_stats(&before);
    do {
        EXPECT(sweep_take(size) != NULL);
        sh_stats(&after);
    } while (after.spans <= before.spans);
    for (before.spans = after.spans; after.spans == before.spans; sh_stats(&after)) {
        before.live_objects = after.live_objects;
        if (sweep_take(size) == NULL)
            break;
    }
    sh_trim(0);
}

/* Every page is in a span: room for records ends at about the same time. */
static void fill(void)
{
    (void)take_pages(16, 20, 0);
    for (unsigned pages = 8; pages != 0; pages >>= 1)
        while (sh_alloc_pages(pages) != NULL) {
        }
}

static void full_window(void)
{
    window(0, 384 * T_KIB);
    take_live(8);
    fill();
}

static void full_and_window_above(void)
{
    full_window();
    window(T_MIB, 512 * T_KIB);
}

static void full_and_window_below(void)
{
    window(2 * T_MIB, 384 * T_KIB);
    take_live(8);
    fill();
    window(T_MIB, 512 * T_KIB);
}

static void full_and_window_behind(void)
{
    full_window();
    window(384 * T_KIB, 640 * T_KIB);
}

static void several_windows(void)
{
    unsigned first = sweep_below(5);

    for (unsigned i = 0; i < 5; i++)
        window(((first + i * 3) & 7) * 512 * T_KIB, (320 + 64 * sweep_below(3)) * T_KIB);
    take_live(8);
}

/* A few pages are left before the end. */
static void at_the_end(void)
{
    window(0, 512 * T_KIB);
    take_live(8);
    (void)take_pages(3, SWEEP_MOST, 2 + sweep_below(8));
}

/* The next chunk and, with small arenas, the next arena begin within the window. */
static void at_a_boundary(void)
{
    window(4 * T_MIB - (128 + 64 * sweep_below(3)) * T_KIB, T_MIB);
    take_live(12);
}

/* Address space for the first records, and a few pages. */
static void no_room_for_records(void)
{
    window(0, MM_META_FIRST + (4 + sweep_below(8)) * SH_GRANULE_SIZE);
    (void)sh_malloc(16);
    while (sh_alloc_pages(1) != NULL) {
    }
}

static void kept_runs(void)
{
    void *run[6];

    warm();
    for (unsigned i = 0; i < 6; i++)
        run[i] = sweep_take(MM_CLASS_LIMIT + 1 + sweep_below(60000));
    for (unsigned i = 0; i < 6; i++)
        sh_free(run[i]);
}

static void empty_spans(void)
{
    void *object[24];

    warm();
    for (unsigned i = 0; i < 24; i++)
        object[i] = sweep_take(64u << (i & 7));
    for (unsigned i = 0; i < 24; i++)
        sh_free(object[i]);
}

static void trimmed(void)
{
    empty_spans();
    sh_trim(0);
}

static void partly_trimmed(void)
{
    kept_runs();
    sh_trim(sweep_below(64 * 1024));
}

/* All spans are central's. */
static void offline(void)
{
    warm();
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
}

/* Something failed before. */
static void scarred(void)
{
    plain_window();
    take_live(8);
    rig_fail(1 + sweep_below(6), true);
    (void)sh_malloc(100000);
    (void)sh_malloc(3000);
    (void)sh_alloc_pages(7);
    rig_fail(1 + sweep_below(20), true);
    (void)sh_malloc(150000);
    rig_fail(0, false);
}

const struct sweep_situation sweep_situations[] = {
    { "no window", no_window },
    { "fresh", fresh },
    { "warm", warm },
    { "half full", half_full },
    { "fragmented", fragmented },
    { "full class", full_class },
    { "full window", full_window },
    { "full, window above", full_and_window_above },
    { "full, window below", full_and_window_below },
    { "full, window behind", full_and_window_behind },
    { "several windows", several_windows },
    { "at the end", at_the_end },
    { "at a boundary", at_a_boundary },
    { "no room for records", no_room_for_records },
    { "kept runs", kept_runs },
    { "empty spans", empty_spans },
    { "trimmed", trimmed },
    { "partly trimmed", partly_trimmed },
    { "offline", offline },
    { "scarred", scarred },
};

const unsigned sweep_situation_count = sizeof(sweep_situations) / sizeof(sweep_situations[0]);
