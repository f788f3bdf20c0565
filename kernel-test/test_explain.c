/*
 * Proves that sh_explain says the right thing about any address: what is there, how far from what, who
 * owned it; in one to three lines, and without a fault for any bit pattern.
 */
#include "kernel-test/test_util.h"

#include "mm/arena.h"
#include "mm/explain.h"
#include "mm/report.h"
#include "mm/span.h"

static void start(const struct sh_config *given)
{
    struct sh_config config = *given;

    config.size = sizeof(config);
    config.hooks = rig_hooks();
    rig_start(0, &config);
}

#define START(...) start(&(const struct sh_config){ __VA_ARGS__ })

static unsigned lines(const char *text)
{
    unsigned count = 0;

    for (; *text != 0; text++)
        count += *text == '\n';
    return count;
}

/* What is said of the address, which names it and has one to three lines. */
static const char *said(uintptr_t address)
{
    rig_log_clear();
    sh_explain(address);
    EXPECT(t_contains(rig_log(), t_hex(address)));
    EXPECT(lines(rig_log()) >= 1 && lines(rig_log()) <= 3);
    return rig_log();
}

static void expect_said(int line, const void *p, size_t offset, const char *text)
{
    const char *log = said((uintptr_t)p + offset);

    if (!t_contains(log, text))
        t_fail(__FILE__, line, "of %p + %zu it is said: %s", p, offset, log);
}

#define EXPECT_SAID(p, offset, text) expect_said(__LINE__, p, offset, text)

/* The words with numbers in them, in static text. */
static const char *words(const char *format, size_t number, const void *p)
{
    static char text[100];

    mm_format(text, sizeof text, format, number, (uintptr_t)p);
    return text;
}

static void addresses_outside(void)
{
    static char in_bss[16];
    size_t size;
    uintptr_t area = rig_area(&size);
    static const uintptr_t others[] = { 0, 1, 4096, UINTPTR_MAX, UINTPTR_MAX / 2 };

    START(.tier = 0);
    EXPECT_SAID(in_bss, 3, "never was heap memory");
    EXPECT_SAID((void *)(area + size), 0, "never was heap memory");
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        EXPECT_SAID((void *)others[i], 0, "never was heap memory");
}

static void metadata(void)
{
    START(.tier = 0);
    EXPECT(sh_malloc(1) != NULL);
    EXPECT_SAID(mm_arena_next(0), 64, "inside the heap's own records");
}

static void live_objects(void)
{
    char *p, *large, *pages;

    START(.tier = 0);
    p = sh_malloc(48);
    large = sh_malloc(100000);
    pages = sh_alloc_pages(3);
    EXPECT_SAID(p, 0, "a live 48-byte object");
    EXPECT_SAID(p, 47, "47 bytes into a live 48-byte object");
    EXPECT_SAID(large, 70000, "70000 bytes into a live");
    EXPECT_SAID(pages, 5000, "5000 bytes into 3 pages from sh_alloc_pages");
}

/* Behind a live object lies a free slot: it says so, and how far behind which object. */
static void past_the_end(void)
{
    char *p;

    START(.tier = 0);
    p = sh_malloc(48);
    EXPECT_SAID(p, 60, "12 bytes into a free 48-byte object");
    EXPECT(t_contains(rig_log(), "12 bytes past the end of the live 48-byte object"));
    START(.tier = 2);
    p = sh_malloc(40);
    EXPECT_SAID(p, 47, "7 bytes past the end of a live 40-byte object");
    EXPECT(t_contains(rig_log(), "allocated at 0x"));
    EXPECT_SAID(p, 60, "20 bytes past the end of the live 40-byte object");
}

static void free_slots(void)
{
    char *p, *next;

    START(.tier = 2);
    p = sh_malloc(100);
    sh_free(p);
    EXPECT_SAID(p, 0, "free already");
    EXPECT(t_contains(rig_log(), "freed at 0x") && t_contains(rig_log(), "allocated at 0x"));
    EXPECT_SAID(p, 9, "9 bytes into a free");
    /* What lies below it is free too: nothing can have been written past its end. */
    p = sh_malloc(100);
    next = sh_malloc(100);
    sh_free(p);
    sh_free(next);
    EXPECT_SAID(next, 9, "9 bytes into a free");
    EXPECT_EQ(lines(rig_log()), 1);
}

/* Who freed it before is not the live object's affair; and what nobody noted is not said. */
static void live_objects_have_not_been_freed(void)
{
    for (unsigned tier = 2; tier <= 4; tier++) {
        char *p, *q;
        START(.tier = tier, .quarantine = 1);
        p = sh_malloc(100);
        sh_free(p);
        q = sh_malloc(100);
        EXPECT_SAID(q, 0, "a live 100-byte object");
        EXPECT(t_contains(rig_log(), "allocated at 0x") && !t_contains(rig_log(), "freed at"));
        EXPECT(tier != 2 || p == q);
    }
}

/* The first slot, the last one, and one between two others. */
static void neighbours_are_told(void)
{
    static char text[100];
    static void *p[512];
    const struct mm_span *span;

    START(.tier = 0);
    p[0] = sh_malloc(48);
    span = mm_span_of((uintptr_t)p[0]);
    EXPECT(span->slots <= 512);
    for (unsigned i = 1; i < span->slots; i++)
        p[i] = sh_malloc(48);
    sh_free(p[4]);
    for (unsigned i = 0; i < span->slots; i++) {
        mm_explain_neighbours((uintptr_t)p[i] + 5, text, sizeof text);
        EXPECT(t_contains(text, i == 0   ? "; before it the span begins, after it a live object"
                                : i == 3 ? "; before it a live object, after it a free slot"
                                : i == 5 ? "; before it a free slot, after it a live object"
                                : i + 1u < span->slots ? "; before it a live object, after it a live object"
                                                       : "; before it a live object, after it the span ends"));
    }
}

/* Whatever room there is: as much of the text as fits, an end, and not a byte behind it. */
static void texts_are_cut_to_their_room(void)
{
    enum { ROOM = 200 };
    static char whole[ROOM], text[ROOM + 2];
    uintptr_t address;
    size_t length;

    START(.tier = 3, .guard_sample = SIZE_MAX);
    address = (uintptr_t)sh_malloc(40);
    sh_free((void *)address);
    mm_explain_place(address + 9, whole, sizeof whole);
    length = t_length(whole);
    EXPECT(length > 60 && length < ROOM && t_contains(whole, "allocated at 0x"));
    for (size_t room = 1; room <= ROOM; room++) {
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = '#';
        mm_explain_place(address + 9, text, room);
        EXPECT_EQ(t_length(text), room - 1 < length ? room - 1 : length);
        for (size_t i = 0; text[i] != 0; i++)
            EXPECT_EQ(text[i], whole[i]);
        for (size_t i = room; i < sizeof text; i++)
            EXPECT_EQ(text[i], '#');
    }
    /* Of what has no neighbours nothing is said. */
    text[0] = '#';
    mm_explain_neighbours(0, text, sizeof text);
    EXPECT_EQ(text[0], 0);
}

/* Slots do not always fill the pages: the rest is a tail. */
static void tail_of_a_span(void)
{
    static size_t sizes[T_MAX_CLASSES];
    unsigned tails = 0;

    START(.tier = 0);
    for (unsigned count = t_classes(sizes), i = 0; i < count; i++) {
        const struct mm_span *span = mm_span_of((uintptr_t)sh_malloc(sizes[i]));
        size_t used = span->slots * span->size;
        if (used == mm_span_bytes(span))
            continue;
        tails++;
        EXPECT_SAID((void *)span->base, used, "in the tail of a span of");
    }
    EXPECT(tails > 0);
}

static void pages_given_back(void)
{
    char *p;

    START(.tier = 0);
    p = sh_alloc_pages(20);
    sh_free_pages(p);
    EXPECT_SAID(p, 5, "freed before, or never given");
    sh_trim(0);
    EXPECT_SAID(p, 5, "its page was given back");
}

static void demand_pages(void)
{
    char *p;

    START(.demand = true);
    p = sh_malloc(500000);
    EXPECT_SAID(p, 300000, "prepared, not committed");
    p[300000] = 1;
    EXPECT_SAID(p, 300000, "300000 bytes into a live");
    EXPECT(!t_contains(rig_log(), "not committed"));
}

static void guard_pages(void)
{
    char *p, *end, *page;

    START(.tier = 2, .guard_sample = 1);
    p = sh_malloc(48);
    end = (char *)mm_align_up((uintptr_t)p + 48, SH_GRANULE_SIZE);
    EXPECT_SAID(end, 12, "a guard page");
    EXPECT_SAID(end, 12, words(": %z bytes past the end of a live 48-byte object at %x",
                               (size_t)(end + 12 - (p + 48)), p));
    EXPECT(t_contains(rig_log(), "allocated at 0x") && !t_contains(rig_log(), "freed at"));
    page = (char *)mm_align_down((uintptr_t)p, SH_GRANULE_SIZE);
    EXPECT_SAID(page, (size_t)-1, "a guard page");
    EXPECT_SAID(page, (size_t)-1, words(": %z bytes before a live 48-byte object at %x",
                                        (size_t)(p - (page - 1)), p));
    EXPECT_SAID(p, (size_t)-8, "8 bytes before a live 48-byte object");
    sh_free(p);
    EXPECT_SAID(end, 12, "of a freed 48-byte object");
    EXPECT_SAID(p, 4, "into a freed object of 48 bytes");
}

/* A page that guards two objects is told of the live one; of the one that ends there, if they are alike. */
static void guard_page_of_two_objects(void)
{
    char *p, *q, *guard;

    START(.guard_sample = 1);
    p = sh_malloc(48);
    q = sh_malloc(48);
    guard = (char *)mm_align_down((uintptr_t)q, SH_GRANULE_SIZE) - SH_GRANULE_SIZE;
    EXPECT_EQ(mm_align_up((uintptr_t)p + 48, SH_GRANULE_SIZE), (uintptr_t)guard);
    EXPECT_SAID(guard, 4, words("%z bytes past the end of a live 48-byte object at %x",
                                (size_t)(guard + 4 - (p + 48)), p));
    sh_free(p);
    EXPECT_SAID(guard, 4, words("%z bytes before a live 48-byte object at %x", (size_t)(q - (guard + 4)), q));
    sh_free(q);
    EXPECT_SAID(guard, 4, words("%z bytes past the end of a freed 48-byte object at %x",
                                (size_t)(guard + 4 - (p + 48)), p));
    p = sh_malloc(48);
    while (mm_align_up((uintptr_t)p + 48, SH_GRANULE_SIZE) != (uintptr_t)guard) {
        sh_free(p);
        p = sh_malloc(48);
    }
    EXPECT_SAID(guard, 4, "past the end of a live 48-byte object");
}

/* Read back digit by digit. */
static void number_is_written(size_t number)
{
    char text[24];
    size_t length = mm_format(text, sizeof text, "%z", number), value = 0;

    EXPECT_EQ(length, t_length(text));
    EXPECT(length == 1 || text[0] != '0');
    for (size_t i = 0; i < length; i++) {
        EXPECT(text[i] >= '0' && text[i] <= '9');
        value = value * 10 + (size_t)(text[i] - '0');
    }
    EXPECT_EQ(value, number);
    mm_format(text, sizeof text, "%x", (uintptr_t)number);
    EXPECT(text[0] == '0' && text[1] == 'x' && t_contains(t_hex(number), text + 2));
    EXPECT_EQ(t_length(text + 2), t_length(t_hex(number)));
}

static void numbers_are_written(void)
{
    uint32_t random = 5;

    for (size_t power = 1, last = 0; power > last; last = power, power *= 10)
        for (size_t factor = 1; factor < 10; factor++)
            for (size_t around = 0; around < 3; around++)
                number_is_written(power * factor + around - 1);
    for (unsigned i = 0; i < 3000; i++)
        number_is_written((size_t)t_random(&random) >> i % 32);
    number_is_written(SIZE_MAX);
    number_is_written(0);
}

static void fenced_objects(void)
{
    char *p;

    START(.tier = 4);
    p = sh_malloc(48);
    EXPECT_SAID(p, 5, "5 bytes into a live 48-byte object");
    sh_free(p);
    EXPECT_SAID(p, 5, "into a freed object of 48 bytes");
    EXPECT(t_contains(rig_log(), "freed at 0x") && t_contains(rig_log(), "allocated at 0x"));
    EXPECT_SAID(p, (size_t)-100, "outside a freed object of 48 bytes");
}

/* Their notes have one place, whatever their length. */
static void fenced_pages(void)
{
    char *p;

    START(.tier = 4);
    p = sh_alloc_pages(3);
    EXPECT_SAID(p, 5000, "5000 bytes into 3 pages from sh_alloc_pages");
    EXPECT_EQ(sh_arch_state((uintptr_t)p + 3 * SH_PAGE_SIZE), SH_FAULT); /* also where a frame holds more pages */
    sh_free_pages(p);
    EXPECT_SAID(p, 5000, "5000 bytes into a freed object of");
    EXPECT(t_contains(rig_log(), "freed at 0x") && t_contains(rig_log(), "allocated at 0x"));
    EXPECT_WHOLE();
}

static void quarantined_objects(void)
{
    char *p, *large;

    START(.tier = 3, .guard_sample = SIZE_MAX);
    p = sh_malloc(48);
    large = sh_malloc(40000);
    sh_free(p);
    sh_free(large);
    EXPECT_SAID(p, 0, "held in quarantine");
    EXPECT_SAID(large, 100, "100 bytes into a freed object of 40000 bytes");
}

/* Every word of the address space around the heap, and many that are far from it. */
static void any_bit_pattern(void)
{
    uint32_t random = 77;
    size_t size;
    uintptr_t area = rig_area(&size);

    START(.tier = 3, .guard_sample = 3);
    for (unsigned i = 0; i < 300; i++) {
        void *p = sh_malloc(t_below(&random, 3000));
        if (i % 3 == 0)
            sh_free(p);
    }
    for (unsigned i = 0; i < (rig_is_machine() ? 2000u : 20000u); i++) {
        uintptr_t address = (uintptr_t)t_random(&random) << (i % 3 == 0 ? 0 : i % 24);
        said(i % 2 == 0 ? address : area + t_below(&random, 8u << 20));
    }
}

static const struct test tests[] = {
    { "addresses_outside", addresses_outside },
    { "metadata", metadata },
    { "live_objects", live_objects },
    { "past_the_end", past_the_end },
    { "free_slots", free_slots },
    { "live_objects_have_not_been_freed", live_objects_have_not_been_freed },
    { "neighbours_are_told", neighbours_are_told },
    { "texts_are_cut_to_their_room", texts_are_cut_to_their_room },
    { "tail_of_a_span", tail_of_a_span },
    { "pages_given_back", pages_given_back },
    { "demand_pages", demand_pages },
    { "guard_pages", guard_pages },
    { "guard_page_of_two_objects", guard_page_of_two_objects },
    { "numbers_are_written", numbers_are_written },
    { "fenced_objects", fenced_objects },
    { "fenced_pages", fenced_pages },
    { "quarantined_objects", quarantined_objects },
    { "any_bit_pattern", any_bit_pattern },
};

SUITE(explain, tests);
