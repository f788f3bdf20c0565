/*
 * Proves that misuse is caught, always and in the default build: a pointer that is not the base of
 * a live object, a size that is not the block's, one way of freeing for another's blocks.  The
 * report names the address, the call changes nothing, and the heap goes on.
 */
#include "kernel-test/test_util.h"
#include "mm/span.h"

enum way { BY_FREE, BY_FREE_SIZED, BY_FREE_PAGES, BY_REALLOC };

struct attempt {
    enum way way;
    void *p;
    size_t size;
    void *result;
};

static size_t classes[T_MAX_CLASSES];
static void *held[4096];
static char in_bss[64];
static const char in_rodata[64] = "not a heap object";

static void try_it(void *arg)
{
    struct attempt *attempt = arg;

    switch (attempt->way) {
    case BY_FREE:
        sh_free(attempt->p);
        break;
    case BY_FREE_SIZED:
        sh_free_sized(attempt->p, attempt->size);
        break;
    case BY_FREE_PAGES:
        sh_free_pages(attempt->p);
        break;
    case BY_REALLOC:
        attempt->result = sh_realloc(attempt->p, attempt->size);
        break;
    }
}

/* The attempt is reported as misuse, and the report names the address. */
static void expect_misuse(int line, enum way way, uintptr_t address, size_t size)
{
    struct attempt attempt = { way, (void *)address, size, NULL };

    if (!rig_panics(SH_PANIC_MISUSE, t_hex(address), try_it, &attempt))
        t_fail(__FILE__, line, "way %u of %p, %zu bytes: not caught or not named: \"%s\"",
               (unsigned)way, attempt.p, size, rig_report());
    if (attempt.result != NULL)
        t_fail(__FILE__, line, "misuse gave the block %p", attempt.result);
}

#define EXPECT_MISUSE(way, address, size) expect_misuse(__LINE__, way, (uintptr_t)(address), size)

static void double_free_is_caught_in_every_class(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_classes(classes);
    for (unsigned c = 0; c < count; c++) {
        void *p = sh_malloc(classes[c]), *q = sh_malloc(classes[c]);
        sh_free(p);
        EXPECT_MISUSE(BY_FREE, p, 0);
        EXPECT_MISUSE(BY_FREE_SIZED, p, classes[c]);
        EXPECT_MISUSE(BY_REALLOC, p, 10);
        sh_free(q);
        EXPECT_MISUSE(BY_FREE, p, 0);
        EXPECT_MISUSE(BY_FREE, q, 0);
    }
    EXPECT_WHOLE();
}

/* However many other frees lie between, and also when the span has become empty. */
static void double_free_is_caught_after_other_frees(void)
{
    static const size_t sizes[] = { 8, 64, 200, 1024, 8192 };

    rig_start(0, NULL);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned k = 0; k < 100; k++) {
            held[k] = sh_malloc(sizes[i]);
            EXPECT(held[k] != NULL);
        }
        for (unsigned k = 0; k < 100; k++) {
            sh_free(held[k]);
            EXPECT_MISUSE(BY_FREE, held[0], 0);
            EXPECT_MISUSE(BY_FREE, held[k], 0);
            EXPECT_MISUSE(BY_FREE, held[k >> 1], 0);
        }
    }
    EXPECT_WHOLE();
}

static void double_free_of_a_large_object_is_caught(void)
{
    void *a, *b, *c;

    rig_start(0, NULL);
    a = sh_malloc(100000);
    b = sh_malloc(100000);
    c = sh_malloc(100000);
    sh_free(b);
    EXPECT_MISUSE(BY_FREE, b, 0);
    sh_free(a);
    EXPECT_MISUSE(BY_FREE, b, 0);
    EXPECT_MISUSE(BY_FREE, a, 0);
    sh_free(c);
    EXPECT_MISUSE(BY_FREE, b, 0);
    EXPECT_MISUSE(BY_REALLOC, c, 100);
    sh_trim(0);
    EXPECT_MISUSE(BY_FREE, c, 0);
    a = sh_malloc(300000);
    EXPECT(a != NULL);
    if (b != a)
        EXPECT_MISUSE(BY_FREE, b, 0);
    if (c != a)
        EXPECT_MISUSE(BY_FREE, c, 0);
    EXPECT_WHOLE();
}

/* Every offset of every class on the host; booted, where each report costs more, a spread of
 * them. */
static void interior_pointer_is_caught_at_every_offset(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_classes(classes);
    for (unsigned c = 0; c < count; c++) {
        size_t step = 1;
        char *p = sh_malloc(classes[c]);
        EXPECT(p != NULL);
        for (size_t at = 1; at < classes[c]; at += step) {
            EXPECT_MISUSE(BY_FREE, p + at, 0);
            if (at >= 256)
                step = rig_is_machine() ? 997 : classes[c] > 4096 ? 7 : 1;
        }
        EXPECT_MISUSE(BY_FREE, p + classes[c] - 1, 0);
        sh_free(p);
    }
    EXPECT_WHOLE();
}

static void interior_of_a_large_object_is_caught(void)
{
    static const size_t offsets[] = { 1, 4, 8, 16, 4095, 4096, SH_PAGE_SIZE, SH_PAGE_SIZE + 8,
                                      65536, 99999, 299999 };
    char *p, *pages;

    rig_start(0, NULL);
    p = sh_malloc(300000);
    pages = sh_alloc_pages(40);
    EXPECT(p != NULL && pages != NULL);
    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        EXPECT_MISUSE(BY_FREE, p + offsets[i], 0);
        EXPECT_MISUSE(BY_REALLOC, p + offsets[i], 100);
        EXPECT_MISUSE(BY_FREE_SIZED, p + offsets[i], 100);
        EXPECT_MISUSE(BY_FREE_PAGES, p + offsets[i], 0);
        EXPECT_MISUSE(BY_FREE_PAGES, pages + offsets[i], 0);
    }
    sh_free(p);
    sh_free_pages(pages);
    EXPECT_WHOLE();
}

static void foreign(uintptr_t address)
{
    if (address == 0 || sh_contains((void *)address))
        return;
    EXPECT_MISUSE(BY_FREE, address, 0);
    EXPECT_MISUSE(BY_FREE_PAGES, address, 0);
    EXPECT_MISUSE(BY_REALLOC, address, 8);
    EXPECT_MISUSE(BY_FREE_SIZED, address, 8);
}

/* Any bit pattern: single bits, all bits but one, around the edges of memory and of the area. */
static void foreign_pointer_is_caught(void)
{
    char on_stack[16] = { 0 };
    uintptr_t base;
    size_t size;

    rig_start(0, NULL);
    base = rig_area(&size);
    EXPECT(sh_malloc(100) != NULL);
    for (unsigned bit = 0; bit < sizeof(uintptr_t) * 8; bit++) {
        foreign((uintptr_t)1 << bit);
        foreign(~((uintptr_t)1 << bit));
        foreign(((uintptr_t)1 << bit) - 8);
    }
    for (uintptr_t near = 0; near < 40; near++) {
        foreign(near);
        foreign(~near);
        foreign(base - near);
        foreign(base + size - near - 1);
    }
    for (uintptr_t at = base; at - base < size; at += T_MIB)
        foreign(at + 8);
    foreign((uintptr_t)on_stack);
    foreign((uintptr_t)in_bss + 8);
    foreign((uintptr_t)in_rodata);
    foreign((uintptr_t)try_it);
    EXPECT_WHOLE();
}

/* A slot that was never handed out, and what lies behind the last slot of a span. */
static void slot_never_allocated_is_caught(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_classes(classes);
    for (unsigned c = 0; c < count; c++) {
        uintptr_t p = (uintptr_t)sh_malloc(classes[c]), at = p;
        unsigned slots = 0;
        for (; slots < 300 && sh_contains((void *)at); slots++, at += classes[c])
            if (!sh_object_of((void *)at, NULL))
                EXPECT_MISUSE(BY_FREE, at, 0);
        foreign(at);
        sh_free((void *)p);
    }
    EXPECT_WHOLE();
}

/* Freed, its span given back, its frames gone: still said. */
static void stale_pointer_is_caught(void)
{
    unsigned count = 0;

    rig_start(0, NULL);
    for (; count < 1000; count++) {
        held[count] = sh_malloc(count * 3);
        EXPECT(held[count] != NULL);
    }
    for (unsigned i = 0; i < count; i++)
        sh_free(held[i]);
    for (unsigned i = 0; i < count; i += 7)
        EXPECT_MISUSE(BY_FREE, held[i], 0);
    sh_trim(0);
    for (unsigned i = 0; i < count; i += 7)
        EXPECT_MISUSE(BY_FREE, held[i], 0);
    EXPECT_WHOLE();
}

static void wrong_size_is_caught_and_changes_nothing(void)
{
    unsigned count;

    rig_start(0, NULL);
    count = t_classes(classes);
    for (unsigned c = 0; c < count; c++) {
        struct t_block block = t_take(classes[c], c);
        EXPECT_MISUSE(BY_FREE_SIZED, block.p, classes[c] + 1);
        EXPECT_MISUSE(BY_FREE_SIZED, block.p, SIZE_MAX);
        EXPECT_MISUSE(BY_FREE_SIZED, block.p, classes[c] * 2);
        if (c > 0) {
            EXPECT_MISUSE(BY_FREE_SIZED, block.p, classes[c - 1]);
            EXPECT_MISUSE(BY_FREE_SIZED, block.p, 0);
        }
        EXPECT(sh_object_of(block.p, NULL));
        t_give(&block);
    }
    EXPECT_WHOLE();
}

static void wrong_size_of_a_large_object_is_caught(void)
{
    struct t_block block;

    rig_start(0, NULL);
    block = t_take(100000, 9);
    EXPECT_MISUSE(BY_FREE_SIZED, block.p, sh_usable_size(block.p) + 1);
    EXPECT_MISUSE(BY_FREE_SIZED, block.p, 100);
    EXPECT_MISUSE(BY_FREE_SIZED, block.p, SIZE_MAX);
    t_give(&block);
    EXPECT_WHOLE();
}

static void pages_and_objects_do_not_mix(void)
{
    void *pages, *small, *large;

    rig_start(0, NULL);
    pages = sh_alloc_pages(2);
    small = sh_malloc(SH_PAGE_SIZE);
    large = sh_malloc(20 * SH_PAGE_SIZE);
    EXPECT_MISUSE(BY_FREE, pages, 0);
    EXPECT_MISUSE(BY_FREE_SIZED, pages, 2 * SH_PAGE_SIZE);
    EXPECT_MISUSE(BY_REALLOC, pages, 100);
    EXPECT_MISUSE(BY_FREE_PAGES, small, 0);
    EXPECT_MISUSE(BY_FREE_PAGES, large, 0);
    sh_free_pages(pages);
    EXPECT_MISUSE(BY_FREE_PAGES, pages, 0);
    sh_free(small);
    sh_free(large);
    EXPECT_WHOLE();
}

static void misuse_changes_no_statistics(void)
{
    struct sh_stats before, after;
    char *p;

    rig_start(0, NULL);
    p = sh_malloc(500);
    sh_free(sh_malloc(64));
    sh_stats(&before);
    EXPECT_MISUSE(BY_FREE, p + 3, 0);
    EXPECT_MISUSE(BY_FREE, in_bss, 0);
    EXPECT_MISUSE(BY_REALLOC, p + 16, 5000);
    EXPECT_MISUSE(BY_FREE_SIZED, p, 5000);
    sh_stats(&after);
    EXPECT_EQ(before.mallocs, after.mallocs);
    EXPECT_EQ(before.frees, after.frees);
    EXPECT_EQ(before.live_bytes, after.live_bytes);
    EXPECT_EQ(before.live_objects, after.live_objects);
    EXPECT_WHOLE();
}

/* A span that held an over-aligned block tells sizes again in its next life. */
static void sizes_are_told_again_in_a_new_span(void)
{
    void *p;

    rig_start(0, NULL);
    p = sh_aligned_alloc(64, 100);
    EXPECT(p != NULL);
    sh_free_sized(p, 100); /* of a smaller class than its slot, and right */
    sh_trim(0);
    EXPECT(!sh_contains(p));
    for (unsigned i = 0; i < 200; i++)
        EXPECT(sh_malloc(128) != NULL);
    p = sh_malloc(128);
    EXPECT_MISUSE(BY_FREE_SIZED, p, 100);
    EXPECT_WHOLE();
}

static void free_one(void *p)
{
    sh_free(p);
}

/* What is refused is not cleared first: neither beside a span nor in it. */
static void a_zeroing_heap_clears_nothing_that_it_refuses(void)
{
    struct sh_config config = { .size = sizeof(config), .hooks = rig_hooks(), .zero = true };
    const struct mm_span *span;
    uint8_t *p, *behind;
    uintptr_t end;

    rig_start(0, &config);
    p = sh_malloc(48);
    span = mm_span_of((uintptr_t)p);
    end = span->base + mm_span_bytes(span);
    behind = sh_alloc_pages(1);
    EXPECT((uintptr_t)behind == end && span->base + span->slots * 48u < end);
    t_fill(p, 48, 1);
    t_fill(behind, SH_PAGE_SIZE, 2);
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex((uintptr_t)p + 8), free_one, p + 8));
    EXPECT(rig_panics(SH_PANIC_MISUSE, t_hex(span->base + span->slots * 48u), free_one,
                      (void *)(span->base + span->slots * 48u)));
    EXPECT(t_holds(p, 48, 1) && t_holds(behind, SH_PAGE_SIZE, 2));
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "a_zeroing_heap_clears_nothing_that_it_refuses", a_zeroing_heap_clears_nothing_that_it_refuses },
    { "sizes_are_told_again_in_a_new_span", sizes_are_told_again_in_a_new_span },
    { "double_free_is_caught_in_every_class", double_free_is_caught_in_every_class },
    { "double_free_is_caught_after_other_frees", double_free_is_caught_after_other_frees },
    { "double_free_of_a_large_object_is_caught", double_free_of_a_large_object_is_caught },
    { "interior_pointer_is_caught_at_every_offset", interior_pointer_is_caught_at_every_offset },
    { "interior_of_a_large_object_is_caught", interior_of_a_large_object_is_caught },
    { "foreign_pointer_is_caught", foreign_pointer_is_caught },
    { "slot_never_allocated_is_caught", slot_never_allocated_is_caught },
    { "stale_pointer_is_caught", stale_pointer_is_caught },
    { "wrong_size_is_caught_and_changes_nothing", wrong_size_is_caught_and_changes_nothing },
    { "wrong_size_of_a_large_object_is_caught", wrong_size_of_a_large_object_is_caught },
    { "pages_and_objects_do_not_mix", pages_and_objects_do_not_mix },
    { "misuse_changes_no_statistics", misuse_changes_no_statistics },
};

SUITE(misuse, tests);
