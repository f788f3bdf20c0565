/*
 * Proves what cache.c and central.c promise about spans on their way: central's serve again, a
 * countdown that nobody should live to see goes on, a handler may be faster; and that corruption which
 * is found ends the heap: one report, and from then on every call declines.
 */
#include "kernel-test/test_util.h"
#include "mm/cache.h"
#include "mm/heap.h"
#include "mm/lock.h"
#include "mm/pages.h"
#include "mm/report.h"

#define SIZE 200u
#define MOST 1024u

static uintptr_t held[MOST];
static unsigned slots, count;

static struct mm_span *span_of(unsigned i)
{
    return mm_span_of(held[i]);
}

static struct mm_entry *entry_of(size_t size)
{
    return &mm_cpu[0].entry[mm_class_of(size)];
}

static size_t spans(void)
{
    struct sh_stats stats;

    sh_stats(&stats);
    return stats.spans;
}

static void take(unsigned more)
{
    for (; more > 0; more--) {
        EXPECT(count < MOST);
        held[count] = (uintptr_t)sh_malloc(SIZE);
        EXPECT(held[count++] != 0);
    }
}

/* So many spans full of objects, and the first slots of a further one. */
static void start(unsigned full)
{
    rig_start(0, NULL);
    count = 0;
    slots = mm_class[mm_class_of(SIZE)].slots;
    take(full * slots + 2);
}

static void free_all(void)
{
    while (count > 0)
        sh_free((void *)held[--count]);
}

/* ---- places ---- */

static void what_central_holds_serves_again(void)
{
    size_t before;

    start(3);
    for (unsigned i = 0; i < 3; i++) {
        sh_free((void *)held[i * slots]);
        sh_free((void *)held[i * slots + 5]);
    }
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT(entry_of(SIZE)->span == NULL && entry_of(SIZE)->head == NULL);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(span_of(i * slots + 1)->place == MM_PLACE_CENTRAL &&
               span_of(i * slots + 1)->owner == NULL);
    EXPECT_WHOLE();
    before = spans();
    take(slots - 2); /* the last span's, then the slots that were freed */
    for (unsigned i = 0; i < 3; i++) {
        held[i * slots] = (uintptr_t)sh_malloc(SIZE);
        EXPECT(mm_span_of(held[i * slots]) == span_of(i * slots + 1));
        held[i * slots + 5] = (uintptr_t)sh_malloc(SIZE);
        EXPECT(mm_span_of(held[i * slots + 5]) == span_of(i * slots + 1));
        EXPECT(span_of(i * slots + 1)->owner == &mm_cpu[0]);
    }
    EXPECT_EQ(spans(), before);
    EXPECT_WHOLE();
    take(1);
    EXPECT_EQ(spans(), before + 1);
    free_all();
    EXPECT_WHOLE();
}

/* A new heap has none of the old one's spans, whatever the class. */
static void central_is_empty_in_a_new_heap(void)
{
    rig_start(0, NULL);
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        void *p = sh_malloc(mm_class_size(class)), *q = sh_malloc(mm_class_size(class));
        EXPECT(p != NULL && q != NULL);
        sh_free(q);
    }
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    start(0);
    EXPECT_WHOLE();
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        void *p = sh_malloc(mm_class_size(class));
        EXPECT(p != NULL && sh_contains(p));
        sh_free(p);
    }
    EXPECT_WHOLE();
}

/* A span of central's that loses its last objects belongs to whoever freed them. */
static void what_central_holds_may_empty(void)
{
    start(2);
    sh_free((void *)held[0]);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT(span_of(1)->place == MM_PLACE_CENTRAL);
    for (unsigned i = 1; i < slots; i++)
        sh_free((void *)held[i]);
    EXPECT(mm_span_of(held[0])->place == MM_PLACE_EMPTY);
    EXPECT(entry_of(SIZE)->empty == mm_span_of(held[0]));
    EXPECT_WHOLE();
    sh_trim(0);
    EXPECT(!sh_contains((void *)held[0]));
    EXPECT_WHOLE();
}

/* A full span is on no list; its first free brings it to central. */
static void full_spans_stay_full(void)
{
    start(2);
    EXPECT_EQ(sh_cpu_offline(0), SH_OK);
    EXPECT(span_of(0)->place == MM_PLACE_FULL && span_of(0)->countdown == 1);
    sh_free((void *)held[0]);
    EXPECT(span_of(0)->place == MM_PLACE_CENTRAL && span_of(0)->owner == NULL);
    EXPECT_EQ(entry_of(SIZE)->queued, 0);
    EXPECT_EQ(span_of(0)->countdown, slots - 1);
    EXPECT_WHOLE();
}

/* 2^30 frees into one current span. */
static void the_countdown_of_a_current_span_starts_again(void)
{
    struct sh_stats before, after;
    struct mm_span *span;

    start(0);
    sh_stats(&before);
    span = span_of(0);
    EXPECT(span->place == MM_PLACE_CURRENT);
    span->countdown = span->armed = 1;
    sh_free((void *)held[0]);
    EXPECT(span->place == MM_PLACE_CURRENT && entry_of(SIZE)->span == span);
    EXPECT_EQ(span->countdown, MM_COUNTDOWN_CURRENT);
    sh_free((void *)held[1]);
    sh_stats(&after);
    EXPECT_EQ(after.frees, before.frees + 2);
    EXPECT_EQ(after.mallocs, before.mallocs);
    EXPECT_WHOLE();
}

/* The queue is first in, first out, whichever leaves it early. */
static void queued_spans_keep_their_order(void)
{
    struct mm_span *span[4];

    start(4);
    for (unsigned i = 0; i < 4; i++) {
        span[i] = span_of(i * slots);
        sh_free((void *)held[i * slots]);
    }
    EXPECT_EQ(entry_of(SIZE)->queued, 4);
    for (unsigned i = 1; i < slots; i++)
        sh_free((void *)held[2 * slots + i]); /* the third one empties */
    EXPECT_EQ(entry_of(SIZE)->queued, 3);
    EXPECT(entry_of(SIZE)->empty == span[2] && span[2]->place == MM_PLACE_EMPTY);
    EXPECT_WHOLE();
    take(slots - 2); /* the current one's rest */
    for (unsigned i = 0; i < 4; i++) {
        if (i == 2)
            continue;
        take(1);
        EXPECT_EQ(held[count - 1], held[i * slots]);
        EXPECT(mm_span_of(held[count - 1]) == span[i] && span[i]->place == MM_PLACE_CURRENT);
    }
    EXPECT_EQ(entry_of(SIZE)->queued, 0);
    take(1);
    EXPECT(mm_span_of(held[count - 1]) == span[2]);
    EXPECT_WHOLE();
}

static uintptr_t handlers[2];

/* A handler frees into a full span and allocates: its class has a current span when it returns. */
static void handler(void)
{
    if (handlers[0] == 0)
        return;
    sh_free((void *)handlers[0]);
    handlers[1] = (uintptr_t)sh_malloc(SIZE);
    EXPECT_EQ(handlers[1], handlers[0]);
    handlers[0] = 0;
}

static void a_handler_may_be_faster(void)
{
    struct sh_stats stats;

    start(2);
    take(slots - 2);
    sh_trim(0);
    do { /* no page with a frame is left */
        sh_stats(&stats);
    } while (stats.heap_free != 0 && sh_alloc_pages(1) != NULL);
    handlers[0] = held[0];
    rig_probe(handler);
    take(1); /* needs a span, and pages for it */
    rig_probe(NULL);
    EXPECT(handlers[0] == 0);
    EXPECT(entry_of(SIZE)->span != NULL);
    EXPECT_WHOLE();
    take(2 * slots);
    free_all();
    EXPECT_WHOLE();
}

/* Who asks for pages goes on by what it says. */
static void a_flush_says_whether_it_gave(void)
{
    start(3);
    EXPECT(!mm_cache_flush_surplus());
    free_all();
    EXPECT(mm_cache_flush_surplus());
    EXPECT(!mm_cache_flush_surplus());
    EXPECT_WHOLE();
}

/* ---- corruption that is found ---- */

static void try_free(void *p)
{
    sh_free(p);
}

static void try_malloc(void *result)
{
    *(void **)result = sh_malloc(SIZE);
}

static void expect_dead(void)
{
    static const size_t sizes[] = { 0, 8, SIZE, 1024, 5000, 40000, 1000000 };
    struct sh_stats before, after;

    sh_stats(&before);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        EXPECT(sh_malloc(sizes[i]) == NULL);
        EXPECT(sh_calloc(sizes[i], 1) == NULL);
        EXPECT(sh_aligned_alloc(64, sizes[i]) == NULL);
        EXPECT(sh_realloc(NULL, sizes[i]) == NULL);
        EXPECT(sh_realloc((void *)held[1], sizes[i]) == NULL);
    }
    EXPECT(sh_alloc_pages(1) == NULL);
    sh_free((void *)held[1]);
    sh_free((void *)held[1]);
    sh_free_sized((void *)held[2], 1);
    sh_free_pages((void *)held[2]);
    sh_free((void *)~(uintptr_t)7);
    EXPECT_EQ(sh_trim(0), 0);
    EXPECT_EQ(sh_set_limit(T_MIB), SH_E_STATE);
    EXPECT_EQ(sh_cpu_offline(0), SH_E_STATE);
    EXPECT(!sh_handle_fault(held[1], true, false));
    EXPECT(sh_contains((void *)held[1]));
    sh_stats(&after);
    EXPECT_EQ(before.live_objects, after.live_objects);
    EXPECT_EQ(before.heap_in_use, after.heap_in_use);
    EXPECT_EQ(sh_shutdown(), SH_OK);
    start(1); /* a new heap lives */
    EXPECT_WHOLE();
}

#define EXPECT_CORRUPTION(text, fn, arg) \
    do { \
        if (!rig_panics(SH_PANIC_CORRUPTION, text, fn, arg)) \
            t_fail(__FILE__, __LINE__, "not reported as corruption: \"%s\"", rig_report()); \
        EXPECT_EQ(rig_panic_count(), 1); \
        expect_dead(); \
    } while (0)

/* A kernel's hook may leave the library for good, or come back: nothing is given either way. */
static void hook(bool comes_back)
{
    if (comes_back)
        rig_panic_returns();
}

/* Every place where no slot can be live. */
static void a_free_where_no_slot_is_live_is_corruption(void)
{
    static const uint8_t places[] = { MM_PLACE_NONE, MM_PLACE_EMPTY, 77 };

    for (unsigned i = 0; i < 2 * sizeof(places); i++) {
        start(1);
        hook((i & 1) != 0);
        span_of(0)->place = places[i / 2];
        EXPECT_CORRUPTION("a slot was freed where none is live", try_free, (void *)held[0]);
    }
}

static void a_queued_span_without_a_free_slot_is_corruption(void)
{
    for (unsigned comes_back = 0; comes_back < 2; comes_back++) {
        void *p = NULL;
        start(2);
        hook(comes_back != 0);
        sh_free((void *)held[0]);
        for (unsigned i = 0; i < mm_span_words(span_of(0)); i++)
            span_of(0)->free[i] = 0;
        take(slots - 2);
        EXPECT_CORRUPTION("was queued, but has no free slot", try_malloc, &p);
        EXPECT(p == NULL);
    }
}

static void die(void *arg)
{
    (void)arg;
    mm_corruption("on purpose");
}

/* Nor does it give what waits in central's lists, or in kept runs. */
static void a_dead_heap_gives_nothing_that_it_has(void)
{
    for (unsigned comes_back = 0; comes_back < 2; comes_back++) {
        start(3);
        hook(comes_back != 0);
        sh_free(sh_malloc(40000));
        for (unsigned i = 0; i < 3; i++)
            sh_free((void *)held[i * slots]);
        EXPECT_EQ(sh_cpu_offline(0), SH_OK);
        EXPECT(span_of(1)->place == MM_PLACE_CENTRAL);
        EXPECT_CORRUPTION("on purpose", die, NULL);
    }
}

/* The page allocator's summary says more than its bits. */
static void a_summary_that_promises_too_much_is_corruption(void)
{
    for (unsigned comes_back = 0; comes_back < 2; comes_back++) {
        struct mm_chunk *chunk;
        void *p = NULL;
        start(1);
        hook(comes_back != 0);
        take(slots - 2);
        chunk = mm_chunk_of(held[0]);
        for (unsigned i = 0; i < MM_CHUNK_PAGES / MM_WORD_BITS; i++)
            chunk->taken[i] = ~(uintptr_t)0;
        EXPECT_CORRUPTION("page allocator: a summary of level", try_malloc, &p);
        EXPECT(p == NULL);
    }
}

static struct mm_lock outer = MM_LOCK_INIT(MM_RANK_CENTRAL), inner = MM_LOCK_INIT(MM_RANK_HEAP);

static void lock_in_order(void *arg)
{
    arch_flags first = mm_lock(&outer), second = mm_lock(&inner);

    (void)arg;
    mm_unlock(&inner, second);
    mm_unlock(&outer, first);
}

static void lock_out_of_order(void *arg)
{
    arch_flags first = mm_lock(&inner), second;

    (void)arg;
    second = mm_lock(&outer);
    mm_unlock(&outer, second);
    mm_unlock(&inner, first);
}

static void lock_twice(void *arg)
{
    arch_flags first = mm_lock(&inner);

    (void)arg;
    inner.taken = 0;
    mm_lock_check(&inner, true);
    mm_unlock(&inner, first);
}

/* From the outermost to the innermost. */
static void lock_every_rank(void)
{
    struct mm_lock lock[MM_RANKS];
    arch_flags flags[MM_RANKS];

    for (unsigned rank = 0; rank < MM_RANKS; rank++) {
        lock[rank] = (struct mm_lock)MM_LOCK_INIT((uint8_t)rank);
        flags[rank] = mm_lock(&lock[rank]);
    }
    for (unsigned rank = MM_RANKS; rank-- > 0;)
        mm_unlock(&lock[rank], flags[rank]);
}

/* Debug builds alone look. */
static void locks_are_taken_in_order(void)
{
    start(1);
    lock_in_order(NULL);
    lock_in_order(NULL);
    lock_every_rank();
    if (!MM_DEBUG)
        return;
    EXPECT_CORRUPTION("a lock of rank", lock_out_of_order, NULL);
    inner.taken = outer.taken = 0;
    EXPECT_CORRUPTION("a lock of rank", lock_twice, NULL);
    inner.taken = outer.taken = 0;
    lock_every_rank(); /* nothing is held from the heap that died */
}

static const struct test tests[] = {
    { "what_central_holds_serves_again", what_central_holds_serves_again },
    { "central_is_empty_in_a_new_heap", central_is_empty_in_a_new_heap },
    { "what_central_holds_may_empty", what_central_holds_may_empty },
    { "full_spans_stay_full", full_spans_stay_full },
    { "the_countdown_of_a_current_span_starts_again", the_countdown_of_a_current_span_starts_again },
    { "queued_spans_keep_their_order", queued_spans_keep_their_order },
    { "a_handler_may_be_faster", a_handler_may_be_faster },
    { "a_flush_says_whether_it_gave", a_flush_says_whether_it_gave },
    { "a_free_where_no_slot_is_live_is_corruption", a_free_where_no_slot_is_live_is_corruption },
    { "a_queued_span_without_a_free_slot_is_corruption",
      a_queued_span_without_a_free_slot_is_corruption },
    { "a_dead_heap_gives_nothing_that_it_has", a_dead_heap_gives_nothing_that_it_has },
    { "a_summary_that_promises_too_much_is_corruption",
      a_summary_that_promises_too_much_is_corruption },
    { "locks_are_taken_in_order", locks_are_taken_in_order },
};

SUITE(cache, tests);
