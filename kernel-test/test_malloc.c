/*
 * Proves what malloc, calloc, realloc, aligned_alloc and the queries promise of a single object:
 * its size, alignment, contents, and that no two live ones overlap.
 */
#include "kernel-test/k_string.h"
#include "kernel-test/test_util.h"
#include "mm/heap.h"
#include "mm/span.h"

#define MANY 1500u

static struct t_block blocks[MANY];
static size_t classes[T_MAX_CLASSES];

/* With the rig's hooks, or with none: what only a kernel with a context hook asks for is another way
 * through the heap.  Tests of what both ways promise begin so, for each `hooks` of 0 and 1. */
static void begin(unsigned hooks)
{
    static const struct sh_config bare = { .size = sizeof(bare) };

    rig_start(0, hooks != 0 ? NULL : &bare);
}

/* The largest power of two that divides `size`, at most a heap page. */
static size_t promised_align(size_t size)
{
    size_t align = size & (~size + 1);

    if (align > SH_PAGE_SIZE)
        align = SH_PAGE_SIZE;
    return align < 8 ? 8 : align;
}

static void check_size(size_t size)
{
    uint8_t *p = sh_malloc(size);

    EXPECT(p != NULL);
    EXPECT(sh_usable_size(p) >= size);
    EXPECT_EQ((uintptr_t)p & 7, 0);
    t_fill(p, sh_usable_size(p), (uint32_t)size);
    EXPECT(t_holds(p, sh_usable_size(p), (uint32_t)size));
    sh_free(p);
}

static void every_size_is_usable(void)
{
    for (unsigned hooks = 0; hooks < 2; hooks++) {
        begin(hooks);
        for (size_t size = 0; size <= 1100; size++)
            check_size(size);
        for (unsigned shift = 10; shift < 19; shift++)
            for (size_t around = 0; around < 5; around++)
                check_size(((size_t)1 << shift) + around - 2);
        EXPECT_WHOLE();
    }
}

static void every_class_keeps_its_alignment(void)
{
    for (unsigned hooks = 0; hooks < 2; hooks++) {
        unsigned count;
        begin(hooks);
        count = t_classes(classes);
        for (unsigned c = 0; c < count; c++) {
            for (unsigned i = 0; i < 9; i++) {
                blocks[i].p = sh_malloc(classes[c]);
                EXPECT(blocks[i].p != NULL);
                EXPECT_EQ((uintptr_t)blocks[i].p & (promised_align(classes[c]) - 1), 0);
            }
            for (unsigned i = 0; i < 9; i++)
                sh_free(blocks[i].p);
        }
    }
}

static void power_of_two_is_aligned_to_itself(void)
{
    rig_start(0, NULL);
    for (size_t size = 8; size <= SH_PAGE_SIZE; size <<= 1)
        for (unsigned i = 0; i < 5; i++) {
            void *p = sh_malloc(size);
            EXPECT(p != NULL);
            EXPECT_EQ((uintptr_t)p & (size - 1), 0);
        }
}

static void zero_size_gives_distinct_objects(void)
{
    void *a, *b;

    rig_start(0, NULL);
    a = sh_malloc(0);
    b = sh_malloc(0);
    EXPECT(a != NULL && b != NULL && a != b);
    EXPECT(sh_usable_size(a) >= 1);
    EXPECT_EQ(sh_usable_size(a), sh_usable_size(b));
    sh_free(a);
    sh_free(b);
}

static void free_of_null_does_nothing(void)
{
    rig_start(0, NULL);
    sh_free(NULL);
    sh_free_sized(NULL, 100);
    sh_free_pages(NULL);
    EXPECT_WHOLE();
}

/* No allocation function may give anything for this size. */
static void expect_too_large(size_t size, void *old)
{
    EXPECT(sh_malloc(size) == NULL);
    EXPECT(sh_calloc(1, size) == NULL);
    EXPECT(sh_calloc(size, 1) == NULL);
    EXPECT(sh_realloc(old, size) == NULL);
    EXPECT(sh_realloc(NULL, size) == NULL);
    for (size_t align = 1; align <= MM_ARENA_SIZE; align <<= 1)
        EXPECT(sh_aligned_alloc(align, size) == NULL);
}

static void overflowing_sizes_give_null(void)
{
    struct t_block old;

    rig_start(0, NULL);
    old = t_take(100, 7);
    for (size_t below = 0; below <= 8192; below += below < 64 ? 1 : 61)
        expect_too_large(SIZE_MAX - below, old.p);
    for (unsigned shift = sizeof(size_t) * 8 - 1; shift > sizeof(size_t) * 8 - 3; shift--)
        for (size_t around = 0; around < 3; around++)
            expect_too_large(((size_t)1 << shift) + around - 1, old.p);
    for (size_t below = 0; below <= 300; below++) {
        EXPECT(sh_alloc_pages(SIZE_MAX - below) == NULL);
        EXPECT(sh_alloc_pages((SIZE_MAX >> MM_PAGE_SHIFT) - below) == NULL);
        EXPECT(sh_alloc_pages((SIZE_MAX >> MM_PAGE_SHIFT) + 1 + below) == NULL);
    }
    t_give(&old);
    EXPECT_WHOLE();
}

static void calloc_overflow_gives_null_in_both_orders(void)
{
    rig_start(0, NULL);
    for (unsigned shift = 1; shift < sizeof(size_t) * 8; shift++) {
        size_t a = (size_t)1 << shift, b = (SIZE_MAX >> shift) + 1;
        for (size_t more = 0; more < 4; more++) {
            EXPECT(sh_calloc(a, b + more) == NULL);
            EXPECT(sh_calloc(b + more, a) == NULL);
            EXPECT(sh_calloc(a + more, b) == NULL);
            EXPECT(sh_calloc(b, a + more) == NULL);
        }
    }
    EXPECT(sh_calloc(SIZE_MAX, SIZE_MAX) == NULL);
    EXPECT_WHOLE();
}

static void calloc_of_nothing_gives_an_object(void)
{
    void *a, *b, *c;

    rig_start(0, NULL);
    a = sh_calloc(0, 100);
    b = sh_calloc(100, 0);
    c = sh_calloc(0, SIZE_MAX);
    EXPECT(a != NULL && b != NULL && c != NULL && a != b && b != c && a != c);
}

static void calloc_zeroes_what_others_left(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_classes(classes);
    classes[count++] = 40000;
    classes[count++] = 300000;
    for (unsigned c = 0; c < count; c++)
        for (unsigned round = 0; round < 3; round++) {
            void *p = sh_malloc(classes[c]);
            EXPECT(p != NULL);
            memset(p, 0xA5, sh_usable_size(p));
            sh_free(p);
            p = round == 1 ? sh_calloc(classes[c], 1) : sh_calloc(1, classes[c]);
            EXPECT(p != NULL);
            EXPECT(t_is_zero(p, classes[c]));
            memset(p, 0x5A, sh_usable_size(p));
            sh_free(p);
        }
}

/* Pages that come from the kernel are zero already, and marked so until somebody has used them. */
static void fresh_pages_are_known(void)
{
    for (unsigned hooks = 0; hooks < 2; hooks++) {
        uintptr_t p, q;
        begin(hooks);
        p = (uintptr_t)sh_malloc(300000);
        EXPECT((mm_span_of(p)->flags & MM_SPAN_FRESH) != 0);
        memset((void *)p, 0xA5, 300000);
        sh_free((void *)p);
        sh_trim(SIZE_MAX); /* to the page allocator, with its frames */
        q = (uintptr_t)sh_calloc(1, 100000);
        EXPECT((mm_span_of(q)->flags & MM_SPAN_FRESH) == 0);
        EXPECT(t_is_zero((void *)q, 100000));
    }
}

static void realloc_of_null_is_malloc(void)
{
    void *p;

    rig_start(0, NULL);
    p = sh_realloc(NULL, 77);
    EXPECT(p != NULL);
    EXPECT(sh_usable_size(p) >= 77);
    sh_free(p);
    p = sh_realloc(NULL, 0);
    EXPECT(p != NULL);
    sh_free(p);
}

static const size_t steps[] = { 1,    8,    24,    100,   1000,   1024,   1025,   5000,
                                8192, 8193, 20000, 32768, 32769, 100000, 262144, 600000 };
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static void realloc_keeps_bytes(void)
{
    rig_start(0, NULL);
    for (unsigned from = 0; from < STEPS; from++)
        for (unsigned to = 0; to < STEPS; to++) {
            size_t kept = steps[from] < steps[to] ? steps[from] : steps[to];
            struct t_block block = t_take(steps[from], from * 16 + to);
            void *p = sh_realloc(block.p, steps[to]);
            EXPECT(p != NULL);
            EXPECT(sh_usable_size(p) >= steps[to]);
            EXPECT(t_holds(p, kept, block.seed));
            memset(p, 0x33, steps[to]);
            sh_free(p);
        }
    EXPECT_WHOLE();
}

static void realloc_within_the_block_stays(void)
{
    rig_start(0, NULL);
    for (unsigned i = 0; i < STEPS; i++) {
        void *p = sh_malloc(steps[i]);
        EXPECT(p != NULL);
        EXPECT(sh_realloc(p, sh_usable_size(p)) == p);
        EXPECT(sh_realloc(p, steps[i]) == p);
        sh_free(p);
    }
}

static void realloc_to_zero_keeps_an_object(void)
{
    rig_start(0, NULL);
    for (unsigned i = 0; i < STEPS; i++) {
        void *p = sh_realloc(sh_malloc(steps[i]), 0);
        EXPECT(p != NULL);
        EXPECT(sh_object_of(p, NULL));
        sh_free(p);
    }
    EXPECT_WHOLE();
}

static void realloc_that_fails_leaves_the_block(void)
{
    rig_start(0, NULL);
    for (unsigned i = 0; i < STEPS; i++) {
        struct t_block block = t_take(steps[i], i);
        EXPECT(sh_realloc(block.p, (size_t)1 << (sizeof(size_t) * 8 - 2)) == NULL);
        t_give(&block);
    }
}

/* Also with no frame to be had. */
static void realloc_that_shrinks_never_fails(void)
{
    for (unsigned from = 0; from < STEPS; from++)
        for (unsigned to = 0; to <= from; to++) {
            struct t_block block;
            rig_start(0, NULL); /* where the smaller class has no span yet */
            block = t_take(steps[from], 3);
            rig_fail(1, true);
            block.p = sh_realloc(block.p, steps[to]);
            EXPECT(block.p != NULL);
            block.size = steps[to];
            sh_free_sized(block.p, block.size);
            rig_fail(0, false);
            EXPECT_WHOLE();
        }
}

static void aligned_block_is_good(size_t align, size_t size)
{
    size_t edge = size < 4096 ? size : 4096;
    uint8_t *p = sh_aligned_alloc(align, size);

    if (p == NULL)
        t_fail(__FILE__, __LINE__, "no %zu bytes aligned to %zu", size, align);
    EXPECT_EQ((uintptr_t)p & (align - 1), 0);
    EXPECT(sh_usable_size(p) >= size);
    t_fill(p, edge, 1);
    t_fill(p + size - edge, edge, 2);
    EXPECT(t_holds(p + size - edge, edge, 2));
    EXPECT(sh_object_of(p + (size == 0 ? 0 : size - 1), NULL));
    if (size <= 4096)
        EXPECT(t_holds(p, edge, 2));
    sh_free(p);
}

static void aligned_alloc_takes_every_power_up_to_an_arena(void)
{
    rig_start(16 * MM_ARENA_SIZE, NULL);
    for (size_t align = 1; align <= MM_ARENA_SIZE; align <<= 1) {
        aligned_block_is_good(align, 0);
        aligned_block_is_good(align, 1);
        aligned_block_is_good(align, 5000);
        if (align > T_MIB && !t_has_memory(2 * align))
            return;
        aligned_block_is_good(align, align - 1);
        aligned_block_is_good(align, align);
        aligned_block_is_good(align, align + 1);
        aligned_block_is_good(align, align + (align >> 1));
    }
    EXPECT_WHOLE();
}

static void aligned_alloc_refuses_other_alignments(void)
{
    static const size_t bad[] = { 0, 3, 6, 12, 100, 4097, MM_ARENA_SIZE - 1, MM_ARENA_SIZE + 1,
                                  MM_ARENA_SIZE << 1, SIZE_MAX, SIZE_MAX - 1,
                                  (size_t)1 << (sizeof(size_t) * 8 - 1) };

    rig_start(16 * MM_ARENA_SIZE, NULL);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        EXPECT(sh_aligned_alloc(bad[i], 0) == NULL);
        EXPECT(sh_aligned_alloc(bad[i], 100) == NULL);
        EXPECT(sh_aligned_alloc(bad[i], SIZE_MAX) == NULL);
    }
    EXPECT_WHOLE();
}

/* Every heap page of it answers for the base, and can be written. */
static void large_block_is_good(size_t size)
{
    struct sh_object object;
    uint8_t *p = sh_malloc(size);

    if (p == NULL)
        t_fail(__FILE__, __LINE__, "no memory for %zu bytes", size);
    EXPECT(sh_usable_size(p) >= size);
    for (size_t at = 0; at < size; at += SH_PAGE_SIZE) {
        t_fill(p + at, 8, (uint32_t)at);
        EXPECT(sh_object_of(p + at, &object));
        EXPECT_EQ(object.base, (uintptr_t)p);
        EXPECT_EQ(object.size, sh_usable_size(p));
    }
    t_fill(p + size - 8, 8, 5);
    for (size_t at = SH_PAGE_SIZE; at + SH_PAGE_SIZE < size; at += SH_PAGE_SIZE)
        EXPECT(t_holds(p + at, 8, (uint32_t)at));
    EXPECT(!sh_object_of(p + sh_usable_size(p), &object) ||
           object.base == (uintptr_t)p + sh_usable_size(p));
    sh_free(p);
    EXPECT(!sh_object_of(p, NULL));
}

static void large_objects_are_whole(void)
{
    static const size_t sizes[] = { MM_CLASS_LIMIT + 1, 100000, T_MIB, MM_CHUNK_SIZE - 1,
                                    MM_CHUNK_SIZE, MM_CHUNK_SIZE + 1, 2 * MM_CHUNK_SIZE + 12345,
                                    MM_ARENA_SIZE, MM_ARENA_SIZE + SH_PAGE_SIZE,
                                    MM_ARENA_SIZE + (MM_ARENA_SIZE >> 1) };

    rig_start(16 * MM_ARENA_SIZE, NULL);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (!t_has_memory(sizes[i]))
            return;
        large_block_is_good(sizes[i]);
    }
    EXPECT_WHOLE();
}

static void free_sized_takes_the_size_given(void)
{
    for (unsigned hooks = 0; hooks < 2; hooks++) {
        begin(hooks);
        for (size_t size = 0; size <= 1100; size++)
            sh_free_sized(sh_malloc(size), size);
        for (unsigned i = 0; i < STEPS; i++) {
            void *p = sh_malloc(steps[i]);
            size_t usable = sh_usable_size(p);
            sh_free_sized(p, steps[i]);
            p = sh_malloc(steps[i]);
            sh_free_sized(p, usable);
            sh_free_sized(sh_calloc(steps[i], 1), steps[i]);
            sh_free_sized(sh_realloc(sh_malloc(steps[i]), 3000), 3000);
        }
        EXPECT_WHOLE();
    }
}

/* A block that was aligned, or shrunk in place, lies in a larger slot than its size asks for. */
static void free_sized_takes_aligned_and_shrunk_blocks(void)
{
    rig_start(0, NULL);
    for (size_t align = 8; align <= 65536; align <<= 1) {
        sh_free_sized(sh_aligned_alloc(align, 24), 24);
        sh_free_sized(sh_aligned_alloc(align, 1), 1);
        sh_free_sized(sh_aligned_alloc(align, align + 8), align + 8);
    }
    for (unsigned from = 0; from < STEPS; from++)
        for (unsigned to = 0; to <= from; to++)
            sh_free_sized(sh_realloc(sh_malloc(steps[from]), steps[to]), steps[to]);
    EXPECT_WHOLE();
}

static void usable_size_of_anything_else_is_zero(void)
{
    char local = 0;
    char *p;

    rig_start(0, NULL);
    p = sh_malloc(100);
    EXPECT(p != NULL);
    EXPECT_EQ(sh_usable_size(NULL), 0);
    EXPECT_EQ(sh_usable_size(&local), 0);
    EXPECT_EQ(sh_usable_size(p + 1), 0);
    EXPECT_EQ(sh_usable_size(p + 8), 0);
    EXPECT_EQ(sh_usable_size(classes), 0);
    sh_free(p);
    EXPECT_EQ(sh_usable_size(p), 0);
}

static void object_of_knows_the_interior_and_the_end(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_classes(classes);
    for (unsigned c = 0; c < count; c++) {
        struct sh_object object = { 0 };
        char *p = sh_malloc(classes[c]);
        EXPECT(p != NULL);
        for (size_t at = 0; at < classes[c]; at += at < 64 ? 1 : 509) {
            EXPECT(sh_contains(p + at));
            EXPECT(sh_object_of(p + at, &object));
            EXPECT_EQ(object.base, (uintptr_t)p);
            EXPECT_EQ(object.size, classes[c]);
            EXPECT(object.kind == SH_MANUAL && object.live);
        }
        EXPECT(!sh_object_of(p + classes[c], &object) || object.base == (uintptr_t)p + classes[c]);
        EXPECT(!sh_object_of(p - 1, &object) || object.base + object.size <= (uintptr_t)p);
        sh_free(p);
        EXPECT(!sh_object_of(p, NULL));
    }
}

static void live_objects_never_overlap(void)
{
    uint32_t random = 2463534242u;

    for (unsigned hooks = 0; hooks < 2; hooks++) {
        begin(hooks);
        for (unsigned i = 0; i < MANY; i++) {
            size_t size = t_below(&random, i % 16 == 0 ? 9000 : 600);
            blocks[i] = t_take(size, t_random(&random));
        }
        for (unsigned i = 0; i < MANY; i += 2)
            t_give(&blocks[i]);
        for (unsigned i = 0; i < MANY; i += 2)
            blocks[i] = t_take(t_below(&random, 1200), t_random(&random));
        for (unsigned i = 0; i < MANY; i++)
            t_give(&blocks[i]);
        EXPECT_WHOLE();
    }
}

struct visit {
    uintptr_t last;
    unsigned live;
    size_t most;
};

static bool count_object(const struct sh_object *object, void *arg)
{
    struct visit *visit = arg;

    EXPECT(object->base >= visit->last);
    visit->last = object->base + object->size;
    visit->live += object->live ? 1 : 0;
    return visit->most-- > 1;
}

static void each_object_is_visited_in_address_order(void)
{
    struct visit all = { 0, 0, SIZE_MAX }, few = { 0, 0, 3 };

    rig_start(0, NULL);
    for (unsigned i = 0; i < 200; i++)
        EXPECT(sh_malloc(i * 40) != NULL);
    EXPECT(sh_alloc_pages(3) != NULL);
    sh_each_object(count_object, &all);
    EXPECT_EQ(all.live, 201);
    EXPECT_EQ(sh_each_object(count_object, &few), 3);
}

static void page_runs_are_aligned_and_whole(void)
{
    static const size_t counts[] = { 1, 2, 3, 7, 16, 31, 64 };

    rig_start(0, NULL);
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        void *p = sh_alloc_pages(counts[i]);
        EXPECT(p != NULL);
        EXPECT_EQ((uintptr_t)p & (SH_PAGE_SIZE - 1), 0);
        EXPECT_EQ(sh_usable_size(p), counts[i] << MM_PAGE_SHIFT);
        t_fill(p, counts[i] << MM_PAGE_SHIFT, i);
        blocks[i] = (struct t_block){ p, counts[i] << MM_PAGE_SHIFT, i };
    }
    for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        EXPECT(t_holds(blocks[i].p, blocks[i].size, blocks[i].seed));
        sh_free_pages(blocks[i].p);
        EXPECT(!sh_object_of(blocks[i].p, NULL));
    }
    EXPECT_WHOLE();
}

static void zero_switch_hides_earlier_owners(void)
{
    const struct sh_config config = { .size = sizeof(config), .zero = true, .hooks = rig_hooks() };

    rig_start(0, &config);
    for (unsigned i = 0; i < STEPS; i++)
        for (unsigned round = 0; round < 3; round++) {
            char *p = sh_malloc(steps[i]);
            size_t owned = sh_usable_size(p);
            EXPECT(p != NULL);
            EXPECT(t_is_zero(p, owned));
            memset(p, 0xEE, owned);
            p = sh_realloc(p, owned + 3000);
            EXPECT(p != NULL);
            EXPECT(t_is_zero(p + owned, sh_usable_size(p) - owned));
            memset(p, 0xEE, sh_usable_size(p));
            sh_free(p);
        }
}

/* Also behind a large object that shrank: its tail goes back to the pages that anybody may get. */
static void zero_switch_hides_a_tail_that_was_cut(void)
{
    const struct sh_config config = { .size = sizeof(config), .zero = true, .hooks = rig_hooks() };

    rig_start(0, &config);
    char *p = sh_malloc(20 * SH_PAGE_SIZE);
    EXPECT(p != NULL);
    memset(p, 0xEE, 20 * SH_PAGE_SIZE);
    EXPECT(sh_realloc(p, 9 * SH_PAGE_SIZE) == p);
    for (unsigned i = 0; i < 2; i++) {
        char *q = sh_malloc(5 * SH_PAGE_SIZE);
        EXPECT(q > p && q < p + 20 * SH_PAGE_SIZE && t_is_zero(q, 5 * SH_PAGE_SIZE));
    }
    EXPECT_WHOLE();
}

/* A large object's run serves the next one of the same size as it is, up to the largest that is kept. */
static void a_freed_run_serves_the_next_object(void)
{
    static const size_t sizes[] = { 33000, 100000, 500000, 2 << 20 };

    rig_start(0, NULL);
    if (!t_has_memory(8 * T_MIB))
        return;
    EXPECT(sh_malloc(4 * T_MIB) != NULL); /* the share that may be kept grows with what is used */
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uintptr_t p = (uintptr_t)sh_malloc(sizes[i]), q;
        struct mm_span *span = mm_span_of(p);
        sh_free((void *)p);
        EXPECT(mm_span_of(p) == span); /* it kept its descriptor */
        q = (uintptr_t)sh_malloc(sizes[i]);
        EXPECT_EQ(p, q);
        EXPECT(mm_span_of(q) == span);
        sh_free((void *)q);
    }
    EXPECT_WHOLE();
}

/* One of up to twice the size, to the next of four steps an octave, serves too; a longer one is left. */
static void a_freed_run_of_twice_the_size_serves(void)
{
    const size_t size = 16 * SH_PAGE_SIZE;

    rig_start(0, NULL);
    for (unsigned quarters = 4; quarters <= 10; quarters++) {
        void *p = sh_malloc(quarters * size / 4);
        sh_free(p);
        EXPECT_EQ(mm_heap_counts.kept, quarters * 4);
        p = sh_malloc(size);
        EXPECT_EQ(sh_usable_size(p), quarters <= 9 ? quarters * size / 4 : size);
        EXPECT_EQ(mm_heap_counts.kept, quarters <= 9 ? 0 : quarters * 4);
        sh_free(p);
        sh_trim(0);
    }
    EXPECT_WHOLE();
}

/* So many pages may be kept, to the last one, in a heap that has hardly more. */
static void runs_are_kept_up_to_their_share(void)
{
    const size_t last = MM_RUN_CACHE_LEAST - 16;
    void *first, *second, *third;

    rig_start(0, NULL);
    first = sh_malloc(16 * SH_PAGE_SIZE);
    second = sh_malloc(last * SH_PAGE_SIZE);
    third = sh_malloc(17 * SH_PAGE_SIZE);
    EXPECT(first != NULL && second != NULL && third != NULL);
    sh_free(first);
    sh_free(second);
    EXPECT_EQ(mm_heap_counts.kept, MM_RUN_CACHE_LEAST);
    sh_free(third);
    EXPECT_EQ(mm_heap_counts.kept, MM_RUN_CACHE_LEAST);
    EXPECT_WHOLE();
}

/* However often it is asked in vain, the heap takes no more records for itself. */
static void asking_in_vain_takes_nothing(void)
{
    static const size_t sizes[] = { 8, 3000, 32768, 33000, 300000 };
    struct sh_stats before, after;

    rig_start(4 * T_MIB, NULL);
    while (sh_alloc_pages(1) != NULL)
        ;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        while (sh_malloc(sizes[i]) != NULL)
            ;
    sh_stats(&before);
    for (unsigned tries = 0; tries < 2000; tries++)
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            EXPECT(sh_malloc(sizes[i]) == NULL);
    for (unsigned tries = 0; tries < 2000; tries++)
        EXPECT(sh_alloc_pages(1) == NULL);
    sh_stats(&after);
    EXPECT_EQ(after.meta_bytes, before.meta_bytes);
    EXPECT_EQ(after.frames_held, before.frames_held);
    EXPECT_WHOLE();
}

/* Up to half of a slot may lie idle in place; below that the block moves. */
static void realloc_to_half_moves(void)
{
    static const size_t sizes[] = { 32, 256, 1024, 4096, 32768 };

    rig_start(0, NULL);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        void *p = sh_malloc(sizes[i]);
        EXPECT(sh_realloc(p, sizes[i] / 2 + 1) == p);
        EXPECT_EQ(sh_usable_size(p), sizes[i]);
        p = sh_realloc(p, sizes[i] / 2);
        EXPECT_EQ(sh_usable_size(p), sizes[i] / 2);
        sh_free(p);
    }
    EXPECT_WHOLE();
}

static void no_pages_are_no_run(void)
{
    rig_start(0, NULL);
    EXPECT(sh_alloc_pages(0) == NULL);
    EXPECT(sh_alloc_pages(SIZE_MAX) == NULL);
    EXPECT(sh_alloc_pages((SIZE_MAX >> MM_PAGE_SHIFT) + 1) == NULL);
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "no_pages_are_no_run", no_pages_are_no_run },
    { "every_size_is_usable", every_size_is_usable },
    { "every_class_keeps_its_alignment", every_class_keeps_its_alignment },
    { "power_of_two_is_aligned_to_itself", power_of_two_is_aligned_to_itself },
    { "zero_size_gives_distinct_objects", zero_size_gives_distinct_objects },
    { "free_of_null_does_nothing", free_of_null_does_nothing },
    { "overflowing_sizes_give_null", overflowing_sizes_give_null },
    { "calloc_overflow_gives_null_in_both_orders", calloc_overflow_gives_null_in_both_orders },
    { "calloc_of_nothing_gives_an_object", calloc_of_nothing_gives_an_object },
    { "calloc_zeroes_what_others_left", calloc_zeroes_what_others_left },
    { "fresh_pages_are_known", fresh_pages_are_known },
    { "realloc_of_null_is_malloc", realloc_of_null_is_malloc },
    { "realloc_keeps_bytes", realloc_keeps_bytes },
    { "realloc_within_the_block_stays", realloc_within_the_block_stays },
    { "a_freed_run_serves_the_next_object", a_freed_run_serves_the_next_object },
    { "a_freed_run_of_twice_the_size_serves", a_freed_run_of_twice_the_size_serves },
    { "runs_are_kept_up_to_their_share", runs_are_kept_up_to_their_share },
    { "asking_in_vain_takes_nothing", asking_in_vain_takes_nothing },
    { "realloc_to_half_moves", realloc_to_half_moves },
    { "realloc_to_zero_keeps_an_object", realloc_to_zero_keeps_an_object },
    { "realloc_that_fails_leaves_the_block", realloc_that_fails_leaves_the_block },
    { "realloc_that_shrinks_never_fails", realloc_that_shrinks_never_fails },
    { "aligned_alloc_takes_every_power_up_to_an_arena",
      aligned_alloc_takes_every_power_up_to_an_arena },
    { "aligned_alloc_refuses_other_alignments", aligned_alloc_refuses_other_alignments },
    { "large_objects_are_whole", large_objects_are_whole },
    { "free_sized_takes_the_size_given", free_sized_takes_the_size_given },
    { "free_sized_takes_aligned_and_shrunk_blocks", free_sized_takes_aligned_and_shrunk_blocks },
    { "usable_size_of_anything_else_is_zero", usable_size_of_anything_else_is_zero },
    { "object_of_knows_the_interior_and_the_end", object_of_knows_the_interior_and_the_end },
    { "live_objects_never_overlap", live_objects_never_overlap },
    { "each_object_is_visited_in_address_order", each_object_is_visited_in_address_order },
    { "page_runs_are_aligned_and_whole", page_runs_are_aligned_and_whole },
    { "zero_switch_hides_earlier_owners", zero_switch_hides_earlier_owners },
    { "zero_switch_hides_a_tail_that_was_cut", zero_switch_hides_a_tail_that_was_cut },
};

SUITE(malloc, tests);
