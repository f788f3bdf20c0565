/*
 * Proves that a wrong pointer is caught, whichever it is and whatever is called with it: every
 * interior offset of every class, double frees at every distance, whatever is not the heap's.  Each is
 * tried by sh_free, sh_free_sized, sh_realloc and sh_free_pages (test_case.h).
 */
#include "kernel-test/test_case.h"
#include "mm/span.h"

#define MOST_HELD 256u

static uintptr_t held[MOST_HELD];
static char in_bss[64], in_data[64] = "not a heap object";
static const char in_rodata[64] = "not a heap object";

static const size_t large_sizes[] = { 32769, 40000, 100000, 300000 };
#define LARGE (sizeof(large_sizes) / sizeof(large_sizes[0]))

/* ---- double free ---- */

/* A freed slot that still is one: its base, and what lies inside. */
static void try_free_slot(uintptr_t p, size_t size)
{
    static const uint8_t shifts[] = { 1, 2, 3 };

    case_address(p, case_text("free already: a %z-byte slot", size));
    for (unsigned i = 0; i < sizeof(shifts); i++) {
        size_t offset = size >> shifts[i];
        if (offset != 0)
            case_address(p + offset, case_text(case_interior, offset, "free", size, p));
    }
}

static void double_free_at_once(void)
{
    case_start(NULL);
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        size_t size = mm_class_size(class);
        uintptr_t p = (uintptr_t)sh_malloc(size), q = (uintptr_t)sh_malloc(size);
        EXPECT(p != 0 && q != 0);
        sh_free((void *)p);
        case_settle();
        try_free_slot(p, size);
        sh_free_sized((void *)q, size);
        case_settle();
        try_free_slot(q, size);
        try_free_slot(p, size);
    }
    case_check();
}

/* 1, 2, 4 … other frees later, up to a span's worth and more. */
static void double_free_after_other_frees(void)
{
    case_start(NULL);
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        size_t size = mm_class_size(class);
        unsigned count = 0;
        while (count < MOST_HELD && (count + 1) * size <= 256 * T_KIB) {
            held[count] = (uintptr_t)sh_malloc(size);
            EXPECT(held[count++] != 0);
        }
        for (unsigned i = 0; i < count; i++) {
            sh_free((void *)held[i]);
            if ((i & (i + 1)) != 0 && i + 1 != count)
                continue;
            case_settle();
            try_free_slot(held[0], size);
            try_free_slot(held[i >> 1], size);
            try_free_slot(held[i], size);
        }
    }
    case_check();
}

static void try_gone(const char *cause)
{
    for (unsigned i = 0; i < MM_CLASSES * 2; i++)
        case_address(held[i], cause);
}

/* The span given back, with its frames. */
static void double_free_after_the_span_is_gone(void)
{
    unsigned count = 0;
    struct case_block *blocks;

    case_start(NULL);
    for (unsigned class = 0; class < MM_CLASSES; class++)
        for (unsigned k = 0; k < 2; k++)
            held[count++] = (uintptr_t)sh_malloc(mm_class_size(class));
    for (unsigned i = 0; i < count; i++)
        sh_free((void *)held[i]);
    case_settle();
    try_gone(NULL);
    sh_trim(0);
    case_settle();
    try_gone(NULL);
    for (blocks = case_blocks(&count); count != 0; blocks = case_blocks(&count))
        case_drop(blocks);
    sh_trim(0);
    case_settle();
    try_gone("nothing is allocated there; its page was given back");
    case_check();
}

static void double_free_of_large_objects(void)
{
    case_start(NULL);
    for (unsigned i = 0; i < LARGE; i++) {
        uintptr_t p = (uintptr_t)sh_malloc(large_sizes[i]);
        uintptr_t q = (uintptr_t)sh_malloc(large_sizes[i]);
        uintptr_t run = (uintptr_t)sh_alloc_pages(i + 1);
        EXPECT(p != 0 && q != 0 && run != 0);
        sh_free((void *)p);
        sh_free_pages((void *)run);
        case_settle();
        if (i == 0) {
            /* Its run is kept for the next object: it is known whose it was. */
            case_address(p, case_text("free already: an object of %z bytes", sh_usable_size((void *)q)));
            case_address(p + 100, "100 bytes into a freed object");
        }
        sh_trim(0);
        case_settle();
        for (unsigned k = 0; k < 3; k++) {
            case_address(p, case_idle);
            case_address(p + (large_sizes[i] >> k) - 1, case_idle);
            case_address(run, case_idle);
            case_address(run + (SH_PAGE_SIZE >> k) - 8, case_idle);
            if (k == 0)
                sh_free((void *)q);
            else
                sh_trim(0);
            case_settle();
        }
        case_address(q, "nothing is allocated there; its page was given back");
    }
    case_check();
}

/* Whoever lives there now: the report names the block around, or nothing live.  A stale pointer that
 * is the base of a block again is the new owner's, and no case. */
static void try_stale(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        case_address(held[i], NULL);
}

static void double_free_after_reuse(void)
{
    static const struct {
        size_t before, after;
    } pairs[] = { { 8, 48 },      { 48, 80 },     { 64, 1280 },    { 1024, 24 },    { 112, 8192 },
                  { 4096, 3072 }, { 640, 40000 }, { 32768, 2304 }, { 40000, 9472 }, { 100000, 16 },
                  { 2048, 0 },    { 50000, 0 } };

    for (unsigned pair = 0; pair < sizeof(pairs) / sizeof(pairs[0]); pair++) {
        unsigned count = 0;
        size_t bytes = 0;
        case_start(NULL);
        for (; count < MOST_HELD && bytes < 400 * T_KIB; bytes += pairs[pair].before)
            held[count++] = (uintptr_t)sh_malloc(pairs[pair].before);
        for (unsigned i = 0; i < count; i++)
            sh_free((void *)held[i]);
        sh_trim(0);
        bytes = 0;
        for (unsigned i = 0; i < 300 && bytes < 400 * T_KIB; i++) {
            size_t size = pairs[pair].after == 0 ? 3 * SH_PAGE_SIZE : pairs[pair].after;
            case_add(pairs[pair].after == 0 ? sh_alloc_pages(3) : sh_malloc(size), size,
                     pairs[pair].after == 0);
            bytes += size;
        }
        case_settle();
        try_stale(count);
        case_check();
    }
}

/* How many of them lie in a block of somebody else's. */
static unsigned reused(unsigned count)
{
    unsigned in_blocks = 0;

    for (unsigned i = 0; i < count; i++)
        in_blocks += case_block_of(held[i]) != NULL;
    return in_blocks;
}

/* So many that a span of their own is given back; then another class, until one of its objects lies there. */
static void double_free_after_reuse_of_every_class(void)
{
    enum { STALE = 8 };

    for (unsigned class = 0; class < MM_CLASSES; class++) {
        unsigned after = class < MM_CLASSES / 2 ? class + MM_CLASSES / 2 : class - MM_CLASSES / 4;
        unsigned count = mm_class[class].slots + STALE;
        case_start(NULL);
        for (unsigned i = 0; i < count; i++)
            t_held[i] = sh_malloc(mm_class_size(class));
        for (unsigned i = 0; i < count; i++)
            sh_free(t_held[i]);
        for (unsigned i = 0; i < STALE; i++)
            held[i] = (uintptr_t)t_held[count - 1 - i];
        sh_trim(0);
        for (unsigned i = 0; i < 200 && reused(STALE) == 0; i++)
            case_add(sh_malloc(mm_class_size(after)), mm_class_size(after), false);
        EXPECT(reused(STALE) > 0);
        case_settle();
        try_stale(STALE);
        case_check();
    }
}

/* ---- inside of something ---- */

/* Booted: classes of which every offset is tried.  A case costs fifty times as much if all accesses are checked. */
#ifdef KASAN
#define DENSE 64u
#else
#define DENSE 1024u
#endif

/* On the host every offset by sh_free, and by each other way every third; booted every offset of small
 * classes, and a spread of the others'. */
static void interior_of_every_class(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    blocks = case_blocks(&count);
    for (unsigned i = 0; i < MM_CLASSES; i++) {
        size_t size = blocks[i].size, step = 1;
        EXPECT(size == mm_class_size(i));
        for (size_t at = 1; at < size; at += step) {
            if (at <= DENSE / 4 || size - at <= 16)
                case_address(blocks[i].base + at, NULL);
            else
                case_pointer(at % 2 == 0 ? BY_FREE : (enum way)(at >> 1 & 3), blocks[i].base + at,
                             size, case_text(case_interior, at, "live", size, blocks[i].base));
            step = !rig_is_machine() || size <= DENSE || at < DENSE / 4 || size - at <= 16 ? 1 : 13;
        }
    }
    case_check();
}

static void try_offset(const struct case_block *block, size_t offset)
{
    if (offset != 0 && offset < block->size)
        case_address(block->base + offset, NULL);
}

/* Around every power of two and every page. */
static void interior_of_large_objects_and_page_runs(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    blocks = case_blocks(&count);
    for (unsigned i = MM_CLASSES; i < count; i++) {
        case_address(blocks[i].base, NULL);
        for (size_t at = 1; at < blocks[i].size; at <<= 1)
            for (size_t near = at - 1; near <= at + 1; near++)
                try_offset(&blocks[i], near);
        for (size_t at = SH_PAGE_SIZE; at < blocks[i].size; at += SH_PAGE_SIZE) {
            try_offset(&blocks[i], at);
            try_offset(&blocks[i], at - 8);
            try_offset(&blocks[i], at + 4);
        }
        try_offset(&blocks[i], blocks[i].asked);
        try_offset(&blocks[i], blocks[i].size - 1);
    }
    case_check();
}

/* The other way's base: an object is no page run, and a page run no object. */
static void base_by_the_other_way(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    blocks = case_blocks(&count);
    for (unsigned i = 0; i < count; i++)
        case_address(blocks[i].base, NULL);
    case_check();
}

/* Slots that were never given, and what lies behind the last slot of a span. */
static void slots_never_given_and_tails(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    blocks = case_blocks(&count);
    for (unsigned i = 0; i < MM_CLASSES; i++) {
        const struct mm_class *info = &mm_class[i];
        size_t size = blocks[i].size;
        uintptr_t base = mm_span_of(blocks[i].base)->base;
        uintptr_t end = base + ((uintptr_t)info->pages << MM_PAGE_SHIFT);
        for (unsigned slot = 0; slot < info->slots; slot += slot < 20 ? 1 : 37)
            if (case_block_of(base + slot * size) == NULL)
                try_free_slot(base + slot * size, size);
        for (uintptr_t at = base + info->slots * size; at < end; at += (end - at > 16 ? 7 : 1))
            case_address(at, case_text("in the tail of a span of %z-byte objects at %x", size, base));
    }
    case_check();
}

/* ---- not the heap's ---- */

static void code(void)
{
}

static void what_is_not_memory_of_the_heap(void)
{
    static const uintptr_t devices[] = { 0x000B8000, 0x09000000, 0x10009000, 0xF0000000, 0xF1000008,
                                         0xFEC00000, 0xFEE00000, 0xFFFFFFF0 };
    char on_stack[64] = { 0 };

    case_start(NULL);
    for (unsigned at = 0; at < 64; at += 3) {
        case_address((uintptr_t)on_stack + at, case_never);
        case_address((uintptr_t)in_bss + at, case_never);
        case_address((uintptr_t)in_data + at, case_never);
        case_address((uintptr_t)in_rodata + at, case_never);
        case_address((uintptr_t)code + at, case_never);
        case_address((uintptr_t)sh_malloc + at, case_never);
        case_address((uintptr_t)sh_cpu_area(0) + at, case_never);
        case_address((uintptr_t)&mm_span_dummy + at, case_never);
    }
    for (unsigned i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        case_address(devices[i], case_never);
    case_check();
}

static void the_heaps_own_records(void)
{
    unsigned count;
    const struct case_block *blocks;

    case_start(NULL);
    blocks = case_blocks(&count);
    for (unsigned i = 0; i < count; i++) {
        uintptr_t span = (uintptr_t)mm_span_of(blocks[i].base);
        case_address(span, case_records);
        case_address(span + 1, case_records);
        case_address(span + sizeof(struct mm_span), case_records);
    }
    for (size_t at = 0; at < sizeof(struct mm_arena); at += 61)
        case_address((uintptr_t)mm_arena_of(blocks[0].base) + at, case_records);
    case_check();
}

/* Smallest, largest, single bits, all bits but one. */
static void extreme_pointers(void)
{
    uintptr_t base;
    size_t size;

    case_start(NULL);
    base = rig_area(&size);
    for (uintptr_t near = 0; near < 64; near++) {
        case_address(near, case_never);
        case_address(~near, case_never);
        case_address((uintptr_t)1 << (sizeof(near) * 8 - 1) | near, NULL);
    }
    for (unsigned bit = 0; bit < sizeof(uintptr_t) * 8; bit++) {
        uintptr_t one = (uintptr_t)1 << bit, at[] = { one, ~one, one - 1, one - 8, 0 - one };
        for (unsigned i = 0; i < 5; i++)
            case_address(at[i], at[i] - base < size ? NULL : case_never);
    }
    case_check();
}

/* Each live base with each one of its bits turned, non-canonical addresses among them. */
static void live_pointers_with_a_wrong_bit(void)
{
    unsigned count;
    const struct case_block *blocks;
    uintptr_t base;
    size_t size;

    case_start(NULL);
    base = rig_area(&size);
    blocks = case_blocks(&count);
    for (unsigned i = 0; i < count; i++)
        for (unsigned bit = 0; bit < sizeof(uintptr_t) * 8; bit++) {
            uintptr_t at = blocks[i].base ^ (uintptr_t)1 << bit;
            case_address(at, at - base < size ? NULL : case_never);
        }
    case_check();
}

/* Three windows with holes between them: below, above, in the holes; and inside, where nothing is. */
static void around_windows_and_in_their_holes(void)
{
    struct { uintptr_t base; size_t size; } windows[3];
    uintptr_t base;
    size_t size;

    case_start(NULL);
    base = rig_area(&size);
    windows[0].base = base, windows[0].size = 64 * T_MIB;
    windows[1].base = base + 65 * T_MIB + 64 * T_KIB, windows[1].size = T_MIB;
    windows[2].base = base + 80 * T_MIB, windows[2].size = 8 * T_MIB;
    for (unsigned i = 1; i < 3; i++)
        EXPECT_EQ(rig_window(windows[i].base, windows[i].size), SH_OK);
    for (unsigned i = 0; i < 40 && t_has_memory(2 * T_MIB); i++) /* into the new ones too */
        case_add(sh_malloc(50000), 50000, false);
    case_settle();
    for (unsigned i = 0; i < 3; i++) {
        uintptr_t end = windows[i].base + windows[i].size;
        for (uintptr_t near = 1; near <= 65; near += near < 33 ? 1 : 8) {
            case_address(windows[i].base - near, case_never);
            case_address(end + near - 1, case_never);
            case_address(end - near, NULL);
            case_address(windows[i].base + near - 1, NULL);
        }
        for (uintptr_t at = end; at < end + T_MIB; at += 64 * T_KIB - 8)
            case_address(at, case_never);
        for (uintptr_t at = windows[i].base; at < end; at += 256 * T_KIB + 8)
            case_address(at, NULL);
    }
    case_check();
}

/* ---- no heap ---- */

static void before_init_and_after_shutdown(void)
{
    static const char cause[] = "the heap is not initialised";
    uintptr_t base, stale, start;
    size_t size;

    base = rig_area(&size);
    case_start(NULL);
    stale = (uintptr_t)sh_malloc(100);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    for (unsigned round = 0; round < 2; round++) {
        case_without_heap();
        for (start = 0; start < 256; start += 5) {
            case_address(start, cause);
            case_address(base + start, cause);
            case_address(stale + start, cause);
            case_address((uintptr_t)in_bss + start, cause);
            case_address(~start, cause);
        }
        case_null("sh_malloc", start, 0, sh_malloc(start));
        case_null("sh_alloc_pages", 1, 0, sh_alloc_pages(1));
        case_null("sh_realloc", 0, start, sh_realloc(NULL, start));
        rig_reset();
        EXPECT_EQ(rig_window(base, 16 * T_MIB), SH_OK);
    }
    case_check();
}

/* One report in full. */
static void the_report_names_object_and_neighbours(void)
{
    uintptr_t p[4];

    case_start(NULL);
    do {
        p[0] = (uintptr_t)sh_malloc(48);
    } while (mm_span_of(p[0])->base != p[0] - 48); /* its neighbours are its own span's */
    case_settle();
    case_pointer(BY_FREE, p[0] + 20, 0,
                 case_text("not the start of an object: 20 bytes into a live 48-byte object at %x; "
                           "before it a live object, after it a free slot", p[0]));
    case_pointer(BY_FREE, p[0] - 47, 0,
                 case_text("not the start of an object: 1 bytes into a live 48-byte object at %x; "
                           "before it the span begins, after it a live object", p[0] - 48));
    case_pointer(BY_FREE, p[0] + 48, 0,
                 "free already: a 48-byte slot; before it a live object, after it a free slot");
    case_check();
}

static const struct test tests[] = {
    { "double_free_at_once", double_free_at_once },
    { "double_free_after_other_frees", double_free_after_other_frees },
    { "double_free_after_the_span_is_gone", double_free_after_the_span_is_gone },
    { "double_free_of_large_objects", double_free_of_large_objects },
    { "double_free_after_reuse", double_free_after_reuse },
    { "double_free_after_reuse_of_every_class", double_free_after_reuse_of_every_class },
    { "interior_of_every_class", interior_of_every_class },
    { "interior_of_large_objects_and_page_runs", interior_of_large_objects_and_page_runs },
    { "base_by_the_other_way", base_by_the_other_way },
    { "slots_never_given_and_tails", slots_never_given_and_tails },
    { "what_is_not_memory_of_the_heap", what_is_not_memory_of_the_heap },
    { "the_heaps_own_records", the_heaps_own_records },
    { "extreme_pointers", extreme_pointers },
    { "live_pointers_with_a_wrong_bit", live_pointers_with_a_wrong_bit },
    { "around_windows_and_in_their_holes", around_windows_and_in_their_holes },
    { "before_init_and_after_shutdown", before_init_and_after_shutdown },
    { "the_report_names_object_and_neighbours", the_report_names_object_and_neighbours },
};

SUITE(wrong_pointer, tests);
