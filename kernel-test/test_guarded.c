/*
 * Proves that guarded heaps keep the promises of all heaps: a hook that fails leaves nothing behind,
 * handlers are served or refused, sizes that overflow give NULL, misuse is caught, exhaustion is
 * survived, and what is planted in their records is found.
 */
#include "kernel-test/test_util.h"

#include "mm/heap.h"
#include "mm/quarantine.h"

static const struct sh_config kinds[] = {
    { .tier = 1 },
    { .tier = 2 },
    { .tier = 2, .demand = true },
    { .tier = 3, .guard_sample = 2 },
    { .tier = 4 },
    { .quarantine = 4096 },
    { .guard_sample = 2 },
    { .guard_sample = 2, .zero = true },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void start(unsigned kind, size_t window)
{
    struct sh_config config = kinds[kind];

    config.size = sizeof(config);
    config.hooks = rig_hooks();
    rig_start(window, &config);
}

struct use {
    void *p;
    size_t size;
    void *result;
};

static void do_free(void *arg)
{
    sh_free(((struct use *)arg)->p);
}

static void do_free_pages(void *arg)
{
    sh_free_pages(((struct use *)arg)->p);
}

static void do_realloc(void *arg)
{
    struct use *use = arg;
    use->result = sh_realloc(use->p, use->size);
}

/* Some of everything; blocks that were not to be had are left out. */
static void work(uint32_t seed)
{
    struct t_block blocks[12];

    for (unsigned i = 0; i < 12; i++) {
        size_t size = i == 7 ? 70000 : i == 3 ? 0 : t_below(&seed, 3000);
        void *p = i == 5 ? sh_aligned_alloc(256, size) : i == 6 ? sh_calloc(1, size) : sh_malloc(size);
        blocks[i] = (struct t_block){ p, size, i };
        if (p != NULL && !mm_mode.demand)
            t_fill(p, size, i);
    }
    for (unsigned i = 0; i < 12; i += 2) {
        size_t size = t_below(&seed, i == 8 ? 100000 : 4000), kept = size < blocks[i].size ? size : blocks[i].size;
        void *p = blocks[i].p == NULL ? NULL : sh_realloc(blocks[i].p, size);
        if (p == NULL)
            continue;
        EXPECT(mm_mode.demand || t_holds(p, kept, i));
        blocks[i].p = p;
        blocks[i].size = size;
        if (!mm_mode.demand)
            t_fill(p, size, i);
    }
    void *pages = sh_alloc_pages(2);
    for (unsigned i = 0; i < 12; i++) {
        EXPECT(blocks[i].p == NULL || mm_mode.demand || t_holds(blocks[i].p, blocks[i].size, i));
        sh_free(blocks[i].p);
    }
    sh_free_pages(pages);
    sh_trim(0);
}

/* R7 in every kind of heap. */
static void failures_leave_nothing_behind(void)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned once = 0; once < 2; once++) {
            for (unsigned long nth = 1; nth < (rig_is_machine() ? 12u : 80u); nth++) {
                start(kind, T_MIB * 8);
                rig_fail(nth, once == 0);
                work((uint32_t)nth * 77 + kind);
                bool reached = rig_failed() != 0;
                rig_fail(0, false);
                EXPECT_WHOLE();
                void *p = sh_malloc(100);
                EXPECT(p != NULL);
                sh_free(p);
                work(3);
                EXPECT_WHOLE();
                if (!reached)
                    break;
            }
        }
    }
}

/* Until nothing is left, and once more. */
static void exhaustion_is_survived(void)
{
    static void *blocks[400];

    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (size_t granules = 10; granules <= 160; granules *= 4) {
            unsigned count = 0;
            start(kind, granules * SH_GRANULE_SIZE);
            while (count < 400 && (blocks[count] = sh_malloc(1 + count * 40)) != NULL)
                count++;
            EXPECT_WHOLE();
            while (count > 0)
                sh_free(blocks[--count]);
            EXPECT_WHOLE();
            EXPECT(kinds[kind].tier == 4 || granules < 40 || sh_malloc(1) != NULL);
            (void)sh_alloc_pages(2);
            EXPECT_WHOLE();
        }
    }
}

static void sizes_that_overflow_give_null(void)
{
    static const size_t below[] = { 0, 1, 7, 8, 9, 4095, 8192, 100000 };

    for (unsigned kind = 0; kind < KINDS; kind++) {
        void *p;
        start(kind, 0);
        p = sh_malloc(40);
        for (unsigned i = 0; i < sizeof(below) / sizeof(below[0]); i++) {
            EXPECT(sh_malloc(SIZE_MAX - below[i]) == NULL);
            EXPECT(sh_aligned_alloc(64, SIZE_MAX - below[i]) == NULL);
            EXPECT(sh_calloc(2, SIZE_MAX / 2 + 1 + below[i]) == NULL);
            EXPECT(sh_realloc(p, SIZE_MAX - below[i]) == NULL);
            EXPECT(sh_alloc_pages(SIZE_MAX - below[i]) == NULL);
        }
        EXPECT(sh_aligned_alloc(3, 10) == NULL && sh_aligned_alloc(0, 10) == NULL);
        EXPECT(sh_aligned_alloc(MM_ARENA_SIZE * 2, 10) == NULL);
        EXPECT_EQ((uintptr_t)sh_realloc(NULL, 100) & 7, 0);
        sh_free(p);
        sh_free(NULL);
        EXPECT_WHOLE();
    }
}

static void misuse_is_caught(void)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct use use = { NULL, 10, NULL };
        char *p, *pages;
        start(kind, 0);
        p = sh_malloc(2000);
        pages = sh_alloc_pages(3);
        use.p = p + 8;
        EXPECT(rig_panics(SH_PANIC_MISUSE, "8 bytes into a live", do_free, &use));
        EXPECT(rig_panics(SH_PANIC_MISUSE, "8 bytes into a live", do_realloc, &use));
        use.p = pages;
        EXPECT(rig_panics(SH_PANIC_MISUSE, "pages from sh_alloc_pages", do_free, &use));
        use.p = pages + SH_PAGE_SIZE;
        EXPECT(rig_panics(SH_PANIC_MISUSE, "pages from sh_alloc_pages", do_free_pages, &use));
        use.p = p;
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_free_pages(0x", do_free_pages, &use));
        EXPECT_WHOLE();
        sh_free(p);
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_free(0x", do_free, &use));
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_realloc(0x", do_realloc, &use));
        sh_free_pages(pages);
        use.p = pages;
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_free_pages(0x", do_free_pages, &use));
        EXPECT_WHOLE();
    }
}

static void handlers_are_served_or_refused(void)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct use use = { NULL, 0, NULL };
        void *p, *q;
        start(kind, 0);
        p = sh_malloc(100);
        q = sh_malloc(50000);
        rig_context(SH_NMI);
        EXPECT(sh_malloc(50000) == NULL && sh_alloc_pages(1) == NULL && sh_aligned_alloc(64, 100) == NULL);
        EXPECT(sh_aligned_alloc(64, 50000) == NULL && sh_aligned_alloc(4 * SH_PAGE_SIZE, 10) == NULL);
        EXPECT(!mm_mode.guarded || sh_malloc(100) == NULL);
        use.p = p;
        EXPECT(!mm_mode.guarded || rig_panics(SH_PANIC_MISUSE, "from an NMI handler", do_free, &use));
        EXPECT(sh_usable_size(p) != 0);
        rig_context(SH_INTERRUPT);
        for (unsigned i = 0; i < 10; i++) {
            void *r = sh_malloc(100);
            EXPECT(kinds[kind].tier == 4 ? r == NULL : true);
            sh_free(r);
        }
        sh_free(p);
        sh_free(q);
        EXPECT_EQ(sh_usable_size(p), 0);
        rig_context(SH_THREAD);
        EXPECT_WHOLE();
        EXPECT(sh_malloc(100) != NULL && sh_malloc(50000) != NULL);
        EXPECT_WHOLE();
    }
}

/* More objects than the ring has places for; and the first free from a handler, where no ring can be
 * obtained. */
static void quarantine_is_bounded_in_number(void)
{
    const struct sh_config config = { .size = sizeof(config), .quarantine = 16 * T_MIB,
                                      .hooks = rig_hooks() };
    static void *blocks[3000];

    rig_start(0, &config);
    for (unsigned i = 0; i < 3000; i++)
        blocks[i] = sh_malloc(8);
    rig_context(SH_INTERRUPT);
    sh_free(blocks[0]);
    EXPECT_EQ(mm_quarantine_slots(), 0);
    rig_context(SH_THREAD);
    for (unsigned i = 1; i < 3000; i++)
        sh_free(blocks[i]);
    EXPECT_EQ(mm_quarantine_slots(), 1024);
    EXPECT_WHOLE();
    EXPECT_EQ(sh_shutdown(), SH_OK);
}

/* A guard page between two objects that are gone, or that notes say nothing of. */
static void guard_pages_are_explained_without_notes(void)
{
    char *p, *end;

    start(6, 0);
    EXPECT(sh_malloc(100) != NULL);
    p = sh_malloc(100);
    for (unsigned i = 0; i < 300 && sh_arch_state(mm_align_up((uintptr_t)p + 100, SH_GRANULE_SIZE)) != SH_FAULT; i++)
        p = sh_malloc(100);
    end = (char *)mm_align_up((uintptr_t)p + 100, SH_GRANULE_SIZE);
    EXPECT_EQ(sh_arch_state((uintptr_t)end), SH_FAULT);
    rig_log_clear();
    sh_explain((uintptr_t)end + 4);
    EXPECT(t_contains(rig_log(), "bytes past the end of a live"));
    sh_free(p);
    rig_log_clear();
    sh_explain((uintptr_t)end + 4);
    EXPECT(t_contains(rig_log(), "of a freed"));
    rig_log_clear();
    sh_print_map();
    EXPECT(t_contains(rig_log(), "x faults"));
}

/* What sh_verify says of a heap in whose records something was changed. */
static void expect_found(int line, const char *text)
{
    int faults, said = 0;

    rig_log_clear();
    faults = sh_verify();
    for (const char *at = rig_log(); *at != 0; at++)
        said += *at == '\n';
    if (faults == 0 || faults != said || !t_contains(rig_log(), text))
        t_fail(__FILE__, line, "not found: %s; the log says: %s", text, rig_log());
}

#define EXPECT_FOUND(text) expect_found(__LINE__, text)

/* A page of the pool that waits for an object, with another one behind it in the list. */
static uintptr_t first_of_the_pool(void)
{
    const struct mm_span *span;
    uintptr_t at = 0;

    while ((span = mm_span_next(&at)) != NULL)
        if ((span->flags & MM_SPAN_POOL) != 0 && mm_span_state(span) == MM_SPAN_DEAD && span->next != NULL)
            return span->base;
    t_fail(__FILE__, __LINE__, "the pool has no two pages");
}

static void what_is_planted_is_found(void)
{
    struct mm_span *span, *next;
    struct mm_note *notes;
    uintptr_t base;
    void *p;

    start(1, 0); /* tier 2 */
    p = sh_malloc(100);
    span = mm_span_of((uintptr_t)p);
    notes = span->notes;
    notes[0].size = 100000;
    EXPECT_FOUND("red zone of");
    notes[0].size = 99;
    EXPECT_FOUND("red zone of");
    notes[0].size = 100;
    span->notes = (struct mm_note *)p;
    EXPECT_FOUND("notes of a span");
    span->notes = NULL;
    EXPECT_FOUND("notes of a span");
    span->notes = notes;
    EXPECT_WHOLE();

    start(4, 0); /* tier 4 */
    p = sh_malloc(100);
    span = mm_span_of((uintptr_t)p);
    span->inset += 8;
    EXPECT(sh_verify() != 0);
    span->inset -= 8;
    sh_free(p);
    mm_heap_counts.faulted--;
    EXPECT(sh_verify() != 0);
    mm_heap_counts.faulted++;
    EXPECT_WHOLE();

    start(3, 0); /* tier 3, a pool */
    for (unsigned i = 0; i < 8; i++)
        sh_free(sh_malloc(100));
    base = (uintptr_t)sh_malloc(100);
    for (unsigned i = 0; i < 40 && (mm_span_of(base)->flags & MM_SPAN_POOL) == 0; i++)
        base = (uintptr_t)sh_malloc(100);
    span = mm_span_of(base);
    EXPECT((span->flags & MM_SPAN_POOL) != 0);
    sh_free((void *)base);
    span->flags &= (uint8_t)~MM_SPAN_FENCED;
    EXPECT_FOUND("list of fenced pages");
    span->flags |= MM_SPAN_FENCED;
    EXPECT_WHOLE();
    /* The list of the pool, cut behind its first page. */
    span = mm_span_of(first_of_the_pool());
    next = span->next;
    EXPECT(next != NULL);
    span->next = NULL;
    EXPECT_FOUND("pages of fenced objects to come");
    span->next = next;
    EXPECT_WHOLE();
}

/* Each field of a descriptor that has one right value. */
static void wrong_fields_of_spans_are_found(void)
{
    void *p, *large;
    struct mm_span *span;
    struct mm_chunk *chunk;
    uintptr_t idle;

    rig_start(0, NULL);
    p = sh_malloc(100);
    large = sh_malloc(100000);
    idle = (uintptr_t)sh_alloc_pages(1);
    sh_free_pages((void *)idle);
    EXPECT_WHOLE();
#define PLANT(field, wrong, text) \
    do { \
        __typeof__(span->field) before = span->field; \
        span->field = (__typeof__(span->field))(wrong); \
        EXPECT_FOUND(text); \
        span->field = before; \
        EXPECT_EQ(sh_verify(), 0); \
    } while (0)
    span = mm_span_of((uintptr_t)p);
    PLANT(magic, span->magic ^ 1, "span does not fit its class");
    PLANT(size, span->size + 8, "span does not fit its class");
    PLANT(slots, span->slots - 1, "span does not fit its class");
    PLANT(bound, span->bound + 1, "span bound");
    PLANT(kind, 9, "span kind");
    PLANT(class, 200, "span does not fit its class");
    span = mm_span_of((uintptr_t)large);
    PLANT(bound, 1, "large span");
    PLANT(slots, 2, "large span");
    PLANT(kind, 9, "large span");
    PLANT(kind, SH_SCAN, "collected span");
    PLANT(place, MM_PLACE_FULL, "large span");
    PLANT(size, span->size - 8, "large span");
    PLANT(free[0], 1, "large span");
#undef PLANT
    chunk = mm_chunk_of(idle);
    chunk->owned[mm_chunk_page(idle) / MM_WORD_BITS] ^= (uintptr_t)1 << (mm_chunk_page(idle) % MM_WORD_BITS);
    EXPECT_FOUND("free pages that are not ours");
    chunk->owned[mm_chunk_page(idle) / MM_WORD_BITS] ^= (uintptr_t)1 << (mm_chunk_page(idle) % MM_WORD_BITS);
    EXPECT_WHOLE();
}

/* The smallest object has a size of its own; in demand mode a zero is no dirt. */
static void corners_of_the_tiers(void)
{
    volatile uint8_t *p;

    start(1, 0);
    sh_free_sized(sh_malloc(0), 0);
    EXPECT_WHOLE();
    start(2, 0);
    p = sh_malloc(100);
    p[0] = 1;
    sh_free((void *)(uintptr_t)p);
    p[50] = 0;
    EXPECT((p = sh_malloc(100)) != NULL);
    EXPECT_WHOLE();
    EXPECT(!sh_handle_fault(1, true, false));
    sh_free((void *)(uintptr_t)p);
    EXPECT(!sh_handle_fault((uintptr_t)p, true, false));
    p = sh_malloc(200000);
    rig_context(SH_INTERRUPT);
    EXPECT(!sh_handle_fault((uintptr_t)p + 100000, true, false));
    rig_context(SH_THREAD);
    EXPECT(!sh_handle_fault((uintptr_t)p + 100000, true, true));
    EXPECT(sh_handle_fault((uintptr_t)p + 100000, true, false));
    EXPECT_WHOLE();
}

static void do_malloc(void *arg)
{
    struct use *use = arg;
    use->result = sh_malloc(use->size);
}

/* The slot that was found dirty is given back: it is nobody's. */
static void a_dirty_slot_is_not_lost(void)
{
    struct use use = { NULL, 100, NULL };
    struct sh_stats before, after;
    const char *report;

    start(0, 0);
    use.p = sh_malloc(100);
    sh_free(use.p);
    sh_stats(&before);
    for (unsigned i = 20; i < 40; i++)
        ((volatile uint8_t *)use.p)[i] = 0x41;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "write after free", do_malloc, &use));
    report = rig_report();
    /* Eight bytes are shown. */
    EXPECT(t_contains(report, " 0x41 0x41 0x41 0x41 0x41 0x41 0x41 0x41"));
    EXPECT(!t_contains(report, " 0x41 0x41 0x41 0x41 0x41 0x41 0x41 0x41 0x41"));
    sh_stats(&after);
    EXPECT_EQ(after.live_objects, before.live_objects + 1);
    EXPECT_WHOLE();
}

static struct mm_span *taken[1024];
static unsigned taken_count;
static bool takes;

/* Whoever was told of the damage takes all descriptors that there are, and the frames for more. */
static enum sh_context others_take_the_descriptors(void)
{
    if (takes && rig_panic_count() != 0) {
        takes = false;
        rig_fail(1, true);
        while (taken_count < 1024 && (taken[taken_count] = mm_span_obtain(1, false)) != NULL)
            taken_count++;
    }
    return SH_THREAD;
}

/* While a dirty run is reported the call holds nothing: it may get nothing back. */
static void a_dirty_run_without_a_descriptor_is_exhaustion(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config config = { .size = sizeof(config), .tier = 1, .hooks = &hooks };
    struct use use = { NULL, 2000, NULL };

    hooks.context = others_take_the_descriptors;
    rig_start(0, &config);
    use.p = sh_alloc_pages(8);
    sh_free_pages(use.p);
    ((volatile uint8_t *)use.p)[20] = 0x41;
    taken_count = 0;
    takes = true;
    EXPECT(rig_panics(SH_PANIC_MISUSE, "write after free", do_malloc, &use));
    EXPECT(!takes && taken_count > 0 && use.result == NULL);
    rig_fail(0, false);
    while (taken_count > 0)
        mm_span_recycle(taken[--taken_count]);
    EXPECT_WHOLE();
    EXPECT(sh_malloc(2000) != NULL);
    EXPECT_WHOLE();
}

/* In place where the slot is the size's own, or less than half of it would lie idle. */
static void realloc_stays_where_it_should(void)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        void *p, *q;
        start(kind, 0);
        p = sh_malloc(1000);
        EXPECT(sh_realloc(p, 1000) == p);
        /* Up to the last byte of the slot, or of what lies before the red zone. */
        EXPECT(sh_realloc(p, mm_span_of((uintptr_t)p)->size - (kinds[kind].tier == 2 ? 8 : 0)) == p);
        EXPECT(sh_realloc(p, 1010) == p);
        EXPECT(sh_realloc(p, 600) == p);
        q = sh_realloc(p, 400);
        EXPECT(q != NULL && q != p);
        q = sh_malloc(1000);
        p = sh_realloc(q, mm_span_of((uintptr_t)q)->size);
        EXPECT(p != NULL && (p == q) == (kinds[kind].tier < 2));
        p = sh_malloc(50000);
        EXPECT(sh_realloc(p, 50001) == p);
        EXPECT_WHOLE();
    }
}

/* Blocks that lie elsewhere than their size says: told by it all the same, in every kind of heap. */
static void sizes_of_aligned_blocks_are_taken(void)
{
    static const size_t sizes[] = { 0, 1, 100, MM_CLASS_LIMIT - 8, MM_CLASS_LIMIT, MM_CLASS_LIMIT + 1 };

    for (unsigned kind = 0; kind <= KINDS; kind++) {
        if (kind == KINDS)
            rig_start(0, NULL);
        else
            start(kind, 0);
        for (size_t align = 8; align <= 4 * SH_PAGE_SIZE; align *= 2) {
            for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                void *p = sh_aligned_alloc(align, sizes[i]);
                EXPECT(p != NULL && ((uintptr_t)p & (align - 1)) == 0);
                sh_free_sized(p, sizes[i]);
                p = sh_realloc(sh_malloc(sizes[i] + align), sizes[i]);
                EXPECT(p != NULL);
                sh_free_sized(p, sizes[i]);
            }
        }
        EXPECT_WHOLE();
    }
}

static void do_free_sized(void *arg)
{
    struct use *use = arg;
    sh_free_sized(use->p, use->size);
}

/* A page's alignment is a class's. */
static void aligned_blocks_lie_in_slots(void)
{
    for (unsigned tier = 0; tier < 3; tier++) {
        const struct sh_config config = { .size = sizeof(config), .tier = tier, .hooks = rig_hooks() };
        rig_start(0, &config);
        for (size_t align = 8; align <= 2 * SH_PAGE_SIZE; align *= 2) {
            uintptr_t p = (uintptr_t)sh_aligned_alloc(align, 100);
            EXPECT_EQ(mm_span_state(mm_span_of(p)), align <= SH_PAGE_SIZE ? MM_SPAN_SMALL : MM_SPAN_LARGE);
        }
        EXPECT_WHOLE();
    }
}

/* What the configuration makes of a heap: see mode.h. */
static void modes_follow_from_the_configuration(void)
{
    static const struct {
        struct sh_config config;
        bool hooks, guarded, sampling, keeps, careful;
    } rows[] = {
        { { .tier = 0 }, false, false, false, true, false },
        { { .tier = 0 }, true, false, false, true, true },
        { { .zero = true }, false, false, false, true, false },
        { { .demand = true }, false, false, false, false, false },
        { { .guard_sample = 5 }, false, false, true, true, true },
        { { .guard_sample = 5, .demand = true }, false, false, true, false, true },
        { { .quarantine = 5 }, false, true, false, false, true },
        { { .quarantine = 5, .guard_sample = 5 }, false, true, false, false, true },
        { { .tier = 1 }, false, true, false, false, true },
        { { .tier = 3 }, false, true, false, false, true },
        { { .tier = 4, .demand = true }, true, true, false, false, true },
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sh_config config = rows[i].config;
        config.size = sizeof(config);
        config.hooks = rows[i].hooks ? rig_hooks() : NULL;
        rig_start(0, &config);
        EXPECT_EQ(mm_mode.guarded, rows[i].guarded);
        EXPECT_EQ(mm_mode.sampling, rows[i].sampling);
        EXPECT_EQ(mm_mode.keeps, rows[i].keeps);
        EXPECT_EQ(mm_mode.careful, rows[i].careful);
        sh_free(sh_malloc(100000));
        EXPECT(rows[i].keeps == (mm_heap_counts.kept != 0) || rows[i].guarded || rows[i].sampling);
    }
}

/* From tier 2 the size is exact, but 0 and 1 are the same. */
static void sizes_are_exact_where_they_are_noted(void)
{
    for (size_t size = 0; size <= 2; size++) {
        for (size_t told = 0; told <= 48; told += told < 3 ? 1 : 45) {
            struct use use = { NULL, told, NULL };
            start(1, 0);
            use.p = sh_malloc(size);
            if ((told == 0 ? 1 : told) == (size == 0 ? 1 : size))
                sh_free_sized(use.p, told);
            else
                EXPECT(rig_panics(SH_PANIC_MISUSE, "wrong size", do_free_sized, &use));
        }
    }
    EXPECT_WHOLE();
}

/* What cannot be had takes nothing, however often it is asked for, in every kind of heap. */
static void asking_in_vain_takes_no_records(void)
{
    struct sh_stats before, after;

    for (unsigned kind = 0; kind < KINDS; kind++) {
        start(kind, 0);
        EXPECT(sh_malloc(16) != NULL);
        for (unsigned i = 0; i < 202; i++) {
            EXPECT(sh_alloc_pages((size_t)1 << 16) == NULL);
            EXPECT(sh_malloc((size_t)1 << 29) == NULL && sh_calloc(1 << 15, 1 << 14) == NULL);
            EXPECT(sh_aligned_alloc(MM_ARENA_SIZE, (size_t)1 << 29) == NULL);
            sh_stats(i == 1 ? &before : &after);
        }
        EXPECT_EQ(after.meta_bytes, before.meta_bytes);
        EXPECT_WHOLE();
    }
}

static void limits_are_inclusive(void)
{
    const struct sh_config config = { .size = sizeof(config), .quarantine = 48, .hooks = rig_hooks() };
    void *p;

    rig_start(0, &config);
    sh_free(sh_malloc(64));
    EXPECT_EQ(mm_quarantine_slots(), 0);
    sh_free(sh_malloc(48));
    EXPECT_EQ(mm_quarantine_slots(), 1);
    start(6, 0);
    for (unsigned i = 0; i < 20; i++) {
        p = sh_malloc(SH_GRANULE_SIZE);
        if ((mm_span_of((uintptr_t)p)->flags & MM_SPAN_POOL) != 0)
            break;
    }
    EXPECT((mm_span_of((uintptr_t)p)->flags & MM_SPAN_POOL) != 0);
    EXPECT_WHOLE();
}

/* The last slot's neighbour is the tail. */
static void tail_is_explained_by_the_object_below(void)
{
    const struct mm_span *span = NULL;
    void *p = NULL;

    rig_start(0, NULL);
    /* Some class has a tail, whatever the heap page. */
    for (size_t size = 200; size < 3000 && p == NULL; size += 100) {
        void *first = sh_malloc(size);
        span = mm_span_of((uintptr_t)first);
        if (span->slots * span->size == mm_span_bytes(span))
            continue;
        p = first;
        for (unsigned i = 1; i < span->slots; i++)
            EXPECT(sh_malloc(size) != NULL);
    }
    EXPECT(p != NULL);
    rig_log_clear();
    sh_explain(span->base + span->slots * span->size + 3);
    EXPECT(t_contains(rig_log(), "in the tail of a span"));
    EXPECT(t_contains(rig_log(), "3 bytes past the end of the live"));
}

/* A CPU that goes away leaves no empty span behind. */
static void offline_leaves_nothing_empty(void)
{
    struct sh_stats stats;

    rig_start(0, NULL);
    for (size_t size = 8; size <= 4096; size *= 2)
        sh_free(sh_malloc(size));
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    sh_stats(&stats);
    EXPECT_EQ(stats.spans, 0);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "a_dirty_slot_is_not_lost", a_dirty_slot_is_not_lost },
    { "a_dirty_run_without_a_descriptor_is_exhaustion", a_dirty_run_without_a_descriptor_is_exhaustion },
    { "realloc_stays_where_it_should", realloc_stays_where_it_should },
    { "limits_are_inclusive", limits_are_inclusive },
    { "sizes_of_aligned_blocks_are_taken", sizes_of_aligned_blocks_are_taken },
    { "aligned_blocks_lie_in_slots", aligned_blocks_lie_in_slots },
    { "modes_follow_from_the_configuration", modes_follow_from_the_configuration },
    { "sizes_are_exact_where_they_are_noted", sizes_are_exact_where_they_are_noted },
    { "asking_in_vain_takes_no_records", asking_in_vain_takes_no_records },
    { "tail_is_explained_by_the_object_below", tail_is_explained_by_the_object_below },
    { "offline_leaves_nothing_empty", offline_leaves_nothing_empty },
    { "wrong_fields_of_spans_are_found", wrong_fields_of_spans_are_found },
    { "corners_of_the_tiers", corners_of_the_tiers },
    { "failures_leave_nothing_behind", failures_leave_nothing_behind },
    { "exhaustion_is_survived", exhaustion_is_survived },
    { "sizes_that_overflow_give_null", sizes_that_overflow_give_null },
    { "misuse_is_caught", misuse_is_caught },
    { "handlers_are_served_or_refused", handlers_are_served_or_refused },
    { "quarantine_is_bounded_in_number", quarantine_is_bounded_in_number },
    { "guard_pages_are_explained_without_notes", guard_pages_are_explained_without_notes },
    { "what_is_planted_is_found", what_is_planted_is_found },
};

SUITE(guarded, tests);
