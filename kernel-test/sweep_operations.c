/*
 * What the sweep tries: every public function, alone or followed by an allocation that has to live
 * with what it did.  An operation that is refused takes back what it has got so far.
 */
#include "kernel-test/sweep.h"

size_t sweep_freed_objects;

static void *taken[SWEEP_MOST];

/* All or none; `sizes` are drawn. */
static bool take_all(unsigned count, size_t (*draw)(void))
{
    unsigned have = 0;

    while (have < count && (taken[have] = sweep_take(draw())) != NULL)
        have++;
    if (have == count)
        return true;
    while (have-- > 0)
        sh_free(taken[have]);
    return false;
}

static bool is_given(const void *p)
{
    return p != NULL;
}

static size_t draw_small(void)
{
    return sweep_below(1024);
}

static size_t draw_medium(void)
{
    return 1025 + sweep_below(MM_CLASS_LIMIT - 1025);
}

static size_t draw_large(void)
{
    return MM_CLASS_LIMIT + 1 + sweep_below(100000);
}

static bool malloc_small(void)
{
    return take_all(1, draw_small);
}

static bool malloc_several(void)
{
    return take_all(8, draw_small);
}

static bool malloc_medium(void)
{
    return take_all(1, draw_medium);
}

static bool malloc_large(void)
{
    return take_all(1, draw_large);
}

static bool malloc_mixture(void)
{
    return take_all(12, sweep_size);
}

static bool malloc_too_large(void)
{
    return is_given(sh_malloc((64u << 20) + sweep_below(100000)));
}

static bool calloc_of(size_t count, size_t size)
{
    uint8_t *p = sh_calloc(count, size);

    if (p == NULL)
        return false;
    if (!sweep_touch(p, count * size)) {
        sh_free(p);
        return false;
    }
    EXPECT(t_is_zero(p, count * size < 5000 ? count * size : 5000));
    EXPECT(t_is_zero(p + count * size - 64, 64));
    return true;
}

static bool calloc_small(void)
{
    return calloc_of(3 + sweep_below(9), 24 + sweep_below(60));
}

static bool calloc_large(void)
{
    return calloc_of(40, 1000 + sweep_below(1500));
}

/* A block of `from` bytes becomes one of `to`: as it was, or grown with its bytes. */
static bool realloc_from(size_t from, size_t to, bool neighbour)
{
    struct t_block block = { sweep_take(from), from, 99 };
    void *p, *behind = NULL;

    if (block.p == NULL)
        return false;
    if (neighbour && (behind = sweep_take(from)) == NULL) {
        sh_free(block.p);
        return false;
    }
    t_fill(block.p, from, block.seed);
    p = sh_realloc(block.p, to);
    EXPECT(to > from || p != NULL); /* shrinking never fails */
    block.size = p == NULL || to > from ? from : to;
    block.p = p == NULL ? block.p : p;
    EXPECT(t_holds(block.p, block.size, block.seed));
    if (p == NULL) {
        sh_free(block.p);
        sh_free(behind);
    }
    return p != NULL;
}

static bool realloc_to_class(void)
{
    return realloc_from(20 + sweep_below(400), 1000 + sweep_below(9000), false);
}

static bool realloc_to_large(void)
{
    return realloc_from(500 + sweep_below(3000), 40000 + sweep_below(60000), false);
}

static bool realloc_in_place(void)
{
    return realloc_from(33000 + sweep_below(8000), 50000 + sweep_below(30000), false);
}

static bool realloc_away(void)
{
    return realloc_from(33000 + sweep_below(8000), 50000 + sweep_below(30000), true);
}

static bool realloc_shrink(void)
{
    return realloc_from(33000 + sweep_below(90000), 1 + sweep_below(33000), sweep_below(2) != 0);
}

static bool aligned(size_t align, size_t size)
{
    void *p = sh_aligned_alloc(align, size);

    EXPECT(((uintptr_t)p & (align - 1)) == 0);
    if (p == NULL || sweep_touch(p, size))
        return p != NULL;
    sh_free(p);
    return false;
}

static bool aligned_small(void)
{
    return aligned((size_t)16 << sweep_below(6), 1 + sweep_below(700));
}

static bool aligned_large(void)
{
    return aligned((size_t)16384 << sweep_below(3), 1 + sweep_below(60000));
}

static bool alloc_page(void)
{
    return is_given(sh_alloc_pages(1));
}

static bool alloc_pages(void)
{
    return is_given(sh_alloc_pages(2 + sweep_below(20)));
}

static void free_live(unsigned every, bool sized)
{
    for (unsigned i = sweep_below(every); i < SWEEP_LIVE; i += every) {
        struct t_block *block = &sweep_live[i];

        if (block->p == NULL)
            continue;
        if (sized)
            sh_free_sized(block->p, block->size);
        else
            sh_free(block->p);
        block->p = NULL;
        sweep_freed_objects++;
    }
}

static bool free_and_take(void)
{
    free_live(2, false);
    return take_all(6, draw_medium);
}

static bool free_all_and_take(void)
{
    free_live(1, false);
    return malloc_large();
}

static bool free_sized_and_take(void)
{
    free_live(3, true);
    return take_all(4, draw_medium);
}

static bool free_pages_and_take(void)
{
    for (unsigned i = sweep_below(2); i < SWEEP_MOST; i += 2) {
        if (sweep_pages[i].p == NULL)
            continue;
        sh_free_pages(sweep_pages[i].p);
        sweep_pages[i].p = NULL;
        sweep_freed_objects++;
    }
    return is_given(sh_alloc_pages(6 + sweep_below(12)));
}

static bool trim_and_take(void)
{
    sh_trim(sweep_below(3) == 0 ? sweep_below(100000) : 0);
    return take_all(5, sweep_size);
}

/* At what is held: idle frames go, or it is refused; and then a limit that leaves room. */
static bool limit_and_take(void)
{
    struct sh_stats stats;
    bool ok;
    int error;

    sh_stats(&stats);
    error = sh_set_limit(stats.frames_held < 9000 ? 9000 : stats.frames_held - 8192);
    EXPECT(error == SH_OK || error == SH_E_BUSY);
    ok = take_all(2, draw_small);
    if (!ok) {
        EXPECT_EQ(sh_set_limit(0), SH_OK);
        ok = take_all(3, draw_medium);
    }
    EXPECT_EQ(sh_set_limit(0), SH_OK);
    return ok;
}

/* Untouched pages, one after the other; what the heap has is touched in a scenario's own way. */
static bool handle_fault(void)
{
    size_t size = 40000 + sweep_below(40000);
    uint8_t *p = sh_malloc(size);

    if (p == NULL)
        return false;
    EXPECT(!sh_handle_fault(sweep_area() + 15 * T_MIB, true, false));
    for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE)
        if (!sweep_touch(p + at, 1)) {
            sh_free(p);
            return false;
        }
    EXPECT(!sweep_config->demand || t_is_zero(p, size) || !sweep_config->zero);
    return true;
}

static bool offline_and_take(void)
{
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    return take_all(3, draw_small);
}

/* Ends in the midst of it, and begins anew. */
static bool shutdown(void)
{
    (void)take_all(3, sweep_size);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    EXPECT_EQ(rig_frames_held(), 0);
    EXPECT_EQ(sh_shutdown(), SH_E_STATE);
    EXPECT(sh_malloc(10) == NULL && sh_alloc_pages(1) == NULL);
    EXPECT_EQ(rig_window(sweep_area() + 6 * T_MIB, T_MIB), SH_OK);
    sweep_init();
    return take_all(4, draw_small);
}

static bool window_and_take(void)
{
    (void)rig_window(sweep_area() + 6 * T_MIB, 512 * T_KIB);
    return take_all(3, draw_large);
}

/* Where the window behind the last one is, as the remainder meets it. */
static bool two_windows_and_take(void)
{
    (void)rig_window(sweep_area() + 5 * T_MIB, 256 * T_KIB);
    (void)rig_window(sweep_area() + 5 * T_MIB + 256 * T_KIB, 256 * T_KIB);
    return is_given(sh_malloc(200000 + sweep_below(100000)));
}

static bool count_live(const struct sh_object *object, void *arg)
{
    *(size_t *)arg += object->live;
    return true;
}

/* Whatever is refused, every question has its answer. */
static bool ask_everything(void)
{
    bool ok = take_all(4, sweep_size);
    struct sh_object object;
    struct sh_stats stats;
    size_t live = 0;

    sh_stats(&stats);
    (void)sh_each_object(count_live, &live);
    EXPECT_EQ(live, stats.live_objects);
    EXPECT_EQ(sh_verify(), 0);
    sh_print_map();
    sh_explain(sweep_area() + sweep_below(1u << 20));
    for (unsigned i = 0; i < SWEEP_LIVE; i++) {
        const uint8_t *p = sweep_live[i].p;

        if (p == NULL)
            continue;
        EXPECT(sh_contains(p) && sh_object_of(p + sweep_live[i].size / 2, &object));
        EXPECT(object.base == (uintptr_t)p && object.live);
        EXPECT(sh_usable_size(p) >= sweep_live[i].size);
        sh_explain((uintptr_t)p + 1);
    }
    return ok;
}

/* Goes on whatever happens, and ends with nothing. */
static bool churn(void)
{
    void *held[8] = { NULL };
    bool ok = true;

    for (unsigned step = 0; step < 24; step++) {
        void **slot = &held[sweep_below(8)];
        size_t size = sweep_size();

        if (*slot != NULL && sweep_below(3) == 0) {
            void *p = sh_realloc(*slot, size);
            ok = ok && p != NULL;
            *slot = p == NULL ? *slot : p;
            continue;
        }
        sh_free(*slot);
        *slot = sweep_take(size);
        ok = ok && *slot != NULL;
    }
    for (unsigned i = 0; i < 8; i++)
        sh_free(held[i]);
    return ok;
}

const struct sweep_operation sweep_operations[] = {
    { "malloc small", malloc_small, false, false },
    { "malloc several", malloc_several, false, false },
    { "malloc medium", malloc_medium, false, false },
    { "malloc large", malloc_large, false, false },
    { "malloc mixture", malloc_mixture, false, false },
    { "malloc too large", malloc_too_large, false, false },
    { "calloc small", calloc_small, false, false },
    { "calloc large", calloc_large, false, false },
    { "realloc to a class", realloc_to_class, false, false },
    { "realloc to large", realloc_to_large, false, false },
    { "realloc in place", realloc_in_place, false, false },
    { "realloc away", realloc_away, false, false },
    { "realloc shrink", realloc_shrink, false, false },
    { "aligned small", aligned_small, false, false },
    { "aligned large", aligned_large, false, false },
    { "alloc page", alloc_page, false, false },
    { "alloc pages", alloc_pages, false, false },
    { "free", free_and_take, false, false },
    { "free all", free_all_and_take, false, false },
    { "free sized", free_sized_and_take, false, false },
    { "free pages", free_pages_and_take, false, false },
    { "trim", trim_and_take, false, false },
    { "set limit", limit_and_take, false, false },
    { "handle fault", handle_fault, false, false },
    { "cpu offline", offline_and_take, false, false },
    { "shutdown", shutdown, true, false },
    { "add window", window_and_take, false, false },
    { "add two windows", two_windows_and_take, false, false },
    { "ask everything", ask_everything, false, false },
    { "churn", churn, false, true },
};

const unsigned sweep_operation_count = sizeof(sweep_operations) / sizeof(sweep_operations[0]);
