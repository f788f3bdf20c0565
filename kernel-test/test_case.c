/*
 * The model behind test_case.h: live blocks, the text a report must have, and what must not change.
 */
#include "kernel-test/test_case.h"

#include <stdarg.h>

#define MOST_BLOCKS 512u
#define MOST_PRINTED 5u
#define INTERVAL 512u

struct attempt {
    enum way way;
    uintptr_t address;
    size_t size;
    void *result;
};

struct counts case_counts;

const char case_never[] = "never was heap memory";
const char case_records[] = "inside the heap's own records";
const char case_idle[] = "nothing is allocated there";
const char case_interior[] = "not the start of an object: %z bytes into a %s %z-byte object at %x";

static const char *const callers[WAYS] = { "sh_free", "sh_free_sized", "sh_realloc",
                                           "sh_free_pages" };
static struct case_block blocks[MOST_BLOCKS];
static unsigned block_count;
static size_t classes[T_MAX_CLASSES];
static struct sh_stats settled;
static bool running; /* there is a heap whose state can be compared */
static unsigned long missed_before;

/* ---- text ---- */

struct line {
    char text[256];
    unsigned length;
};

static void put(struct line *line, char c)
{
    if (line->length + 1 < sizeof(line->text))
        line->text[line->length++] = c;
    line->text[line->length] = 0;
}

static void put_text(struct line *line, const char *text)
{
    while (*text != 0)
        put(line, *text++);
}

/* Digits come last first, found by adding: no division. */
static void put_number(struct line *line, size_t value)
{
    static const size_t powers[] = {
#if SIZE_MAX > 0xffffffffu
        10000000000000000000u, 1000000000000000000u, 100000000000000000u, 10000000000000000u,
        1000000000000000u, 100000000000000u, 10000000000000u, 1000000000000u, 100000000000u,
        10000000000u,
#endif
        1000000000u, 100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u, 1u
    };
    const unsigned count = sizeof(powers) / sizeof(powers[0]);
    bool begun = false;

    for (unsigned i = 0; i < count; i++) {
        char digit = '0';
        for (; value >= powers[i]; value -= powers[i])
            digit++;
        begun |= digit != '0' || i == count - 1;
        if (begun)
            put(line, digit);
    }
}

static void put_list(struct line *line, const char *format, va_list list)
{
    for (; *format != 0; format++) {
        if (*format != '%') {
            put(line, *format);
            continue;
        }
        switch (*++format) {
        case 's':
            put_text(line, va_arg(list, const char *));
            break;
        case 'x':
            put_text(line, "0x");
            put_text(line, t_hex(va_arg(list, uintptr_t)));
            break;
        default:
            put_number(line, va_arg(list, size_t));
            break;
        }
    }
}

const char *case_text(const char *format, ...)
{
    static struct line line;
    va_list list;

    line.length = 0;
    va_start(list, format);
    put_list(&line, format, list);
    va_end(list);
    return line.text;
}

/* What follows `with` in `text`; NULL if it does not begin so. */
static const char *behind(const char *text, const char *with)
{
    while (*with != 0)
        if (*text++ != *with++)
            return NULL;
    return text;
}

/* ---- the model ---- */

struct case_block *case_blocks(unsigned *count)
{
    *count = block_count;
    return blocks;
}

const struct case_block *case_block_of(uintptr_t address)
{
    for (unsigned i = 0; i < block_count; i++)
        if (address - blocks[i].base < blocks[i].size)
            return &blocks[i];
    return NULL;
}

struct case_block *case_add(void *p, size_t asked, bool pages)
{
    struct case_block *block = &blocks[block_count++];

    EXPECT(p != NULL && block_count <= MOST_BLOCKS);
    *block = (struct case_block){ (uintptr_t)p, sh_usable_size(p), asked, pages };
    t_fill(p, block->size, (uint32_t)(uintptr_t)p);
    return block;
}

static void expect_bytes(const struct case_block *block)
{
    if (!t_holds((void *)block->base, block->size, (uint32_t)block->base))
        t_fail(__FILE__, __LINE__, "a case changed the %zu bytes at %p", block->size,
               (void *)block->base);
}

void case_drop(struct case_block *block)
{
    expect_bytes(block);
    if (block->pages)
        sh_free_pages((void *)block->base);
    else
        sh_free((void *)block->base);
    *block = blocks[--block_count];
}

static void add_witnesses(void)
{
    static const size_t large[] = { 40000, 100000, 300000 };
    static const size_t runs[] = { 1, 3, 20 };
    unsigned count = t_classes(classes);

    for (unsigned c = 0; c < count; c++)
        case_add(sh_malloc(classes[c]), classes[c], false);
    for (unsigned i = 0; i < sizeof(large) / sizeof(large[0]); i++)
        case_add(sh_malloc(large[i]), large[i], false);
    for (unsigned i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
        case_add(sh_alloc_pages(runs[i]), runs[i] * SH_PAGE_SIZE, true);
}

void case_start(const struct sh_config *config)
{
    block_count = 0;
    running = false;
    missed_before = case_counts.missed;
    rig_start(0, config);
    running = true;
    add_witnesses();
    case_settle();
}

void case_without_heap(void)
{
    block_count = 0;
    running = false;
    missed_before = case_counts.missed;
}

/* ---- nothing changes ---- */

void case_settle(void)
{
    sh_stats(&settled);
}

static void expect_unchanged(void)
{
    struct sh_stats now;

    if (!running)
        return;
    sh_stats(&now);
    EXPECT_EQ(now.mallocs, settled.mallocs);
    EXPECT_EQ(now.frees, settled.frees);
    EXPECT_EQ(now.live_objects, settled.live_objects);
    EXPECT_EQ(now.live_bytes, settled.live_bytes);
    EXPECT_EQ(now.heap_in_use, settled.heap_in_use);
    for (unsigned i = 0; i < block_count; i++)
        expect_bytes(&blocks[i]);
    rig_log_clear();
    if (sh_verify() != 0)
        t_fail(__FILE__, __LINE__, "sh_verify: %s", rig_log());
}

void case_check(void)
{
    expect_unchanged();
    if (running)
        EXPECT_WHOLE();
    EXPECT_EQ(case_counts.missed, missed_before);
}

/* ---- cases ---- */

static void missed(const char *call, size_t argument, const char *wanted, const char *got)
{
    if (++case_counts.missed - missed_before <= MOST_PRINTED)
        t_printf("missed: %s(0x%zx …): wanted \"%s\", got \"%s\"\n", call, argument, wanted, got);
}

static void next_case(void)
{
    if ((++case_counts.cases & (INTERVAL - 1)) == 0)
        expect_unchanged();
}

static void try_it(void *arg)
{
    struct attempt *attempt = arg;
    void *p = (void *)attempt->address;

    switch (attempt->way) {
    case BY_FREE:
        sh_free(p);
        break;
    case BY_FREE_SIZED:
        sh_free_sized(p, attempt->size);
        break;
    case BY_REALLOC:
        attempt->result = sh_realloc(p, attempt->size);
        break;
    case BY_FREE_PAGES:
        sh_free_pages(p);
        break;
    case WAYS:
    default:
        break;
    }
}

/* What may be said of an address where no live object is. */
static bool says_not_live(const char *text)
{
    static const char *const causes[] = { "never was heap memory", "inside the heap's own records",
                                          "nothing is allocated there", "free already: a ",
                                          "in the tail of a span of " };

    for (unsigned i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
        if (behind(text, causes[i]) != NULL)
            return true;
    return behind(text, "not the start of an object: ") != NULL &&
        t_contains(text, " into a free ");
}

/* Makes the call; what the one report says behind `begin`, or NULL. */
static const char *reported(struct attempt *attempt, const char *begin)
{
    bool once = rig_panics(SH_PANIC_MISUSE, NULL, try_it, attempt) && rig_panic_count() == 1;

    return once && attempt->result == NULL ? behind(rig_report(), begin) : NULL;
}

void case_pointer(enum way way, uintptr_t address, size_t size, const char *cause)
{
    struct attempt attempt = { way, address, size, NULL };
    struct line begin = { .length = 0 };
    const char *rest;

    put_text(&begin, callers[way]);
    put_text(&begin, "(0x");
    put_text(&begin, t_hex(address));
    put_text(&begin, "): ");
    rest = reported(&attempt, begin.text);
    if (rest == NULL || (cause == NULL ? !says_not_live(rest) : behind(rest, cause) == NULL))
        missed(callers[way], address, cause == NULL ? "not live" : cause, rig_report());
    next_case();
}

static bool may_free(const struct case_block *block, uintptr_t address, enum way way)
{
    return block->base == address && block->pages == (way == BY_FREE_PAGES);
}

static const char *cause_inside(const struct case_block *block, uintptr_t address)
{
    size_t offset = address - block->base;

    if (block->pages)
        return case_text("%z bytes into %z pages from sh_alloc_pages at %x", offset,
                         block->size >> MM_PAGE_SHIFT, block->base);
    if (offset == 0)
        return case_text("a live %z-byte object", block->size);
    return case_text(case_interior, offset, "live", block->size, block->base);
}

void case_address(uintptr_t address, const char *cause)
{
    const struct case_block *block = case_block_of(address);

    if (address == 0)
        return;
    for (enum way way = BY_FREE; way < WAYS; way++)
        if (block == NULL)
            case_pointer(way, address, 8u << (address & 7), cause);
        else if (!may_free(block, address, way))
            case_pointer(way, address, block->asked, cause_inside(block, address));
}

void case_wrong_size(const struct case_block *block, size_t size)
{
    struct attempt attempt = { BY_FREE_SIZED, block->base, size, NULL };
    static const char format[] = "sh_free_sized(%x, %z): wrong size: it is a live object of %z bytes";
    const char *wanted = case_text(format, block->base, size, block->size);

    if (reported(&attempt, wanted) == NULL)
        missed("sh_free_sized", size, wanted, rig_report());
    next_case();
}

void case_null(const char *call, size_t a, size_t b, const void *result)
{
    if (result != NULL)
        missed(call, a, "NULL", case_text("%x with %z", (uintptr_t)result, b));
    next_case();
}
