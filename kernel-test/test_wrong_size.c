/*
 * Proves that a wrong size or alignment is caught: a size that is not the block's in sh_free_sized is
 * reported; sizes, products, counts and alignments that overflow, or that no window holds, give NULL,
 * whatever is called with them (test_case.h).
 */
#include "kernel-test/test_case.h"
#include "mm/size_class.h"

#define WORD (sizeof(size_t) * 8)

/* Larger than the slot, or of a smaller class; every size that is right is no case. */
static void size_of_another_class(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    blocks = case_blocks(&count);
    for (unsigned i = 0; i < MM_CLASSES; i++) {
        size_t size = blocks[i].size, smaller = i == 0 ? 0 : mm_class_size(i - 1);
        for (unsigned other = 0; other < MM_CLASSES; other++)
            if (other != i)
                case_wrong_size(&blocks[i], mm_class_size(other));
        for (size_t near = 1; near <= 8; near++) {
            case_wrong_size(&blocks[i], size + near);
            case_wrong_size(&blocks[i], SIZE_MAX - near + 1);
            if (i != 0 && near <= smaller)
                case_wrong_size(&blocks[i], smaller - near + 1);
        }
        if (i != 0)
            case_wrong_size(&blocks[i], 0);
        for (unsigned bit = 0; bit < WORD; bit++)
            if ((size_t)1 << bit > size || (size_t)1 << bit <= smaller)
                case_wrong_size(&blocks[i], (size_t)1 << bit);
        case_wrong_size(&blocks[i], size + ((size_t)1 << (WORD - 1)));
    }
    case_check();
}

/* Larger than it, or of a size class.  A run that was kept may be larger than what was asked for, so a
 * smaller large size is no case. */
static void size_of_another_large_object(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    sh_free(sh_malloc(50000));
    case_add(sh_malloc(50000), 50000, false); /* in a run that was kept */
    case_settle();
    blocks = case_blocks(&count);
    for (unsigned i = MM_CLASSES; i < count; i++) {
        size_t size = blocks[i].size;
        if (blocks[i].pages)
            continue;
        for (size_t near = 1; near <= 64; near++) {
            case_wrong_size(&blocks[i], size + near);
            case_wrong_size(&blocks[i], SIZE_MAX - near + 1);
            case_wrong_size(&blocks[i], MM_CLASS_LIMIT + 1 - near);
        }
        for (unsigned class = 0; class < MM_CLASSES; class++)
            case_wrong_size(&blocks[i], mm_class_size(class));
        for (size_t pages = 1; pages < 64; pages++)
            if (pages << MM_PAGE_SHIFT > size || pages << MM_PAGE_SHIFT <= MM_CLASS_LIMIT)
                case_wrong_size(&blocks[i], pages << MM_PAGE_SHIFT);
    }
    case_check();
}

/* One size that nothing can have, by everything that takes a size. */
static void try_size(size_t size)
{
    static unsigned k;
    unsigned count;
    const struct case_block *blocks = case_blocks(&count);

    case_null("sh_malloc", size, 0, sh_malloc(size));
    case_null("sh_calloc", 1, size, sh_calloc(1, size));
    case_null("sh_calloc", size, 1, sh_calloc(size, 1));
    case_null("sh_aligned_alloc", (size_t)8 << (size & 15), size,
              sh_aligned_alloc((size_t)8 << (size & 15), size));
    do {
        k = k + 1 < count ? k + 1 : 0;
    } while (blocks[k].pages);
    case_null("sh_realloc", blocks[k].base, size, sh_realloc((void *)blocks[k].base, size));
}

/* The last sizes there are: rounding them up to pages wraps. */
static void sizes_at_the_top(void)
{
    case_start(NULL);
    for (size_t less = 0; less <= 8192 + 64; less += rig_is_machine() && less > 64 ? 17 : 1)
        try_size(SIZE_MAX - less);
    case_check();
}

/* No window is so large. */
static void sizes_beyond_every_window(void)
{
    case_start(NULL);
    for (unsigned bit = 27; bit < WORD; bit++)
        for (size_t near = 0; near < 3; near++) {
            try_size(((size_t)1 << bit) + near - 1);
            try_size(SIZE_MAX - ((size_t)1 << bit) + near);
            try_size(((size_t)3 << (bit - 1)) + near - 1);
        }
    case_check();
}

/* Products that wrap, also those that wrap to something small; both orders. */
static void products_that_overflow(void)
{
    case_start(NULL);
    for (unsigned bit = 1; bit < WORD; bit++)
        for (unsigned k = 0; k < 9; k++) {
            size_t a = ((size_t)1 << bit) + k - 4, b, product;
            for (unsigned other = WORD - bit; other < WORD; other++) {
                b = ((size_t)1 << other) + (k & 1);
                if (a == 0 || !__builtin_mul_overflow(a, b, &product))
                    continue;
                case_null("sh_calloc", a, b, sh_calloc(a, b));
                case_null("sh_calloc", b, a, sh_calloc(b, a));
            }
        }
    for (size_t n = 2; n < 200; n++) {
        case_null("sh_calloc", n, SIZE_MAX, sh_calloc(n, SIZE_MAX));
        case_null("sh_calloc", SIZE_MAX - n, n, sh_calloc(SIZE_MAX - n, n));
    }
    case_check();
}

/* Counts of pages whose bytes wrap, or that no record can hold. */
static void page_counts_that_overflow(void)
{
    case_start(NULL);
    case_null("sh_alloc_pages", 0, 0, sh_alloc_pages(0));
    for (unsigned bit = 27 - MM_PAGE_SHIFT; bit < WORD; bit++)
        for (size_t near = 0; near < 9; near++) {
            size_t counts[] = { ((size_t)1 << bit) + near - 1, SIZE_MAX - ((size_t)1 << bit) + near,
                                SIZE_MAX - near, ((size_t)3 << (bit - 1)) + near };
            for (unsigned i = 0; i < 4; i++)
                if (counts[i] > 64 * T_MIB >> MM_PAGE_SHIFT)
                    case_null("sh_alloc_pages", counts[i], 0, sh_alloc_pages(counts[i]));
        }
    case_check();
}

static bool is_alignment(size_t align)
{
    return align != 0 && (align & (align - 1)) == 0 && align <= MM_ARENA_SIZE;
}

static void try_alignment(size_t align)
{
    static const size_t sizes[] = { 0, 1, 100, 8192, 40000, SIZE_MAX / 2, SIZE_MAX };

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        case_null("sh_aligned_alloc", align, sizes[i], sh_aligned_alloc(align, sizes[i]));
}

static void alignments_that_are_none(void)
{
    case_start(NULL);
    for (unsigned bit = 0; bit < WORD; bit++)
        for (size_t near = 0; near < 7; near++) {
            size_t align = ((size_t)1 << bit) + near - 3;
            if (!is_alignment(align))
                try_alignment(align);
        }
    try_alignment(0);
    try_alignment(SIZE_MAX);
    case_check();
}

/* A right alignment and a size that wraps when it is rounded or padded for it. */
static void alignments_with_sizes_at_the_top(void)
{
    case_start(NULL);
    for (size_t align = 1; align <= MM_ARENA_SIZE; align <<= 1)
        for (size_t less = 0; less <= 2 * align && less <= SIZE_MAX - 128 * T_MIB;
             less = less * 2 + 1) {
            size_t half = SIZE_MAX - (align >> 1) - (less & 15);
            case_null("sh_aligned_alloc", align, SIZE_MAX - less,
                      sh_aligned_alloc(align, SIZE_MAX - less));
            case_null("sh_aligned_alloc", align, half, sh_aligned_alloc(align, half));
        }
    case_check();
}

static const struct test tests[] = {
    { "size_of_another_class", size_of_another_class },
    { "size_of_another_large_object", size_of_another_large_object },
    { "sizes_at_the_top", sizes_at_the_top },
    { "sizes_beyond_every_window", sizes_beyond_every_window },
    { "products_that_overflow", products_that_overflow },
    { "page_counts_that_overflow", page_counts_that_overflow },
    { "alignments_that_are_none", alignments_that_are_none },
    { "alignments_with_sizes_at_the_top", alignments_with_sizes_at_the_top },
};

SUITE(wrong_size, tests);
