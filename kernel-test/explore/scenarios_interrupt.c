/*
 * Scenarios of one CPU and its interrupt handler, which comes at any point of what is interrupted, and
 * allocates and frees there.
 */
#include "kernel-test/explore/explore.h"

#include "mm/mm.h"

enum { SLOTS = 4 }; /* of 1024 bytes, in a page */

static struct {
    void *got[4], *kept[2 * SLOTS], *from_handler;
    bool failed;
} seen STATE;

static void sound(void)
{
    if (sh_verify() != 0) {
        violated("sh_verify: %s", port_last_words());
    }
    for (unsigned i = 0; i < 4; i++) {
        if (seen.got[i] != NULL && seen.got[i] == seen.from_handler) {
            violated("%p was given twice", seen.got[i]);
        }
        for (unsigned j = 0; j < i; j++) {
            if (seen.got[i] != NULL && seen.got[i] == seen.got[j]) {
                violated("%p was given twice", seen.got[i]);
            }
        }
    }
}

/* The heap has nothing yet. */
static void set_up_nothing(void)
{
    port_window(0, 64);
    port_init(1, true);
}

/* A current span with free slots. */
static void set_up_span(void)
{
    set_up_nothing();
    seen.kept[0] = sh_malloc(1024);
    seen.kept[1] = sh_malloc(1024);
}

/* The current span is full, another one has a free slot. */
static void set_up_full(void)
{
    set_up_nothing();
    for (unsigned i = 0; i < 2 * SLOTS; i++) {
        seen.kept[i] = sh_malloc(1024);
    }
    sh_free(seen.kept[0]);
    sh_free(seen.kept[1]);
}

/* The handler has pages of its own, and needs them: nothing else is committed. */
static void set_up_reserve(void)
{
    port_window(0, 64);
    struct sh_config config = { .cpus = 2, .interrupt_reserve = 2 * 4096 };
    port_init_as(&config, true);
    for (unsigned i = 0; i < SLOTS; i++) {
        seen.kept[i] = sh_malloc(1024);
    }
    sh_free_pages(sh_alloc_pages(1));
    sh_trim(0);
}

static void handler_must_allocate(void)
{
    seen.from_handler = sh_malloc(2048);
    if (seen.from_handler == NULL) {
        violated("the reserve gave nothing");
    }
}

static void other_frees(void)
{
    sh_free(seen.kept[0]);
}

static void allocate(void)
{
    seen.got[0] = sh_malloc(1024);
    seen.got[1] = sh_malloc(1024);
    if (seen.got[0] == NULL || seen.got[1] == NULL) {
        violated("no memory");
    }
}

static void allocate_one(void)
{
    seen.got[0] = sh_malloc(1024);
}

static void allocate_some(void)
{
    for (unsigned i = 0; i < 3; i++) {
        seen.got[i] = sh_malloc(1024);
    }
}

static void free_two(void)
{
    sh_free(seen.kept[0]);
    sh_free(seen.kept[1]);
}

/* The last two of a span, which was full. */
static void free_rest(void)
{
    sh_free(seen.kept[2]);
    sh_free(seen.kept[3]);
}

static void allocate_large(void)
{
    seen.got[0] = sh_malloc(40000);
    sh_free(seen.got[0]);
    seen.got[0] = NULL;
}

static void trim(void)
{
    sh_trim(0);
}

static void handler_allocates(void)
{
    seen.from_handler = sh_malloc(1024);
}

static void handler_allocates_and_frees(void)
{
    void *p = sh_malloc(1024);
    seen.from_handler = sh_malloc(1024);
    sh_free(p);
}

static void handler_needs_pages(void)
{
    void *p = sh_malloc(40000);
    sh_free(sh_malloc(2048));
    sh_free(p);
}

#define INTERRUPTED(what, before, below, above) \
    { .name = what, .setup = before, .fiber = { { below, 0, false }, { above, 0, true } }, .check = sound }

const struct scenario scenarios_interrupt[] = {
    INTERRUPTED("interrupt-malloc", set_up_span, allocate, handler_allocates_and_frees),
    INTERRUPTED("interrupt-free", set_up_span, free_two, handler_allocates_and_frees),
    INTERRUPTED("interrupt-refill", set_up_full, allocate_some, handler_allocates_and_frees),
    INTERRUPTED("interrupt-last-free", set_up_full, free_rest, handler_allocates),
    INTERRUPTED("interrupt-grow", set_up_nothing, allocate, handler_allocates_and_frees),
    INTERRUPTED("interrupt-large", set_up_span, allocate_large, handler_needs_pages),
    INTERRUPTED("interrupt-trim", set_up_full, trim, handler_needs_pages),
    INTERRUPTED("interrupt-reserve-grow", set_up_reserve, allocate_some, handler_must_allocate),
    INTERRUPTED("interrupt-reserve-large", set_up_reserve, allocate_large, handler_must_allocate),
    INTERRUPTED("interrupt-reserve-trim", set_up_reserve, trim, handler_must_allocate),
    { .name = "interrupt-reserve-other", .setup = set_up_reserve,
      .fiber = { { allocate_one, 0, false }, { handler_must_allocate, 0, true }, { other_frees, 1, false } },
      .check = sound },
    { .name = NULL }
};
