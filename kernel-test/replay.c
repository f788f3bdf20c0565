/*
 * The demonstration: allocation traces of real programs run against the heap.
 *
 * Every block is filled with a pattern of its own, which is checked when it is freed, when it is
 * resized, and at the end; sh_verify runs along the way.  Each trace has a heap of its own, so
 * that the figures of one do not depend on another.  A trace is checked whole before its first
 * event is done; the table of its slots is itself a page run of the heap.  Only the calls of the
 * heap are timed.
 */
#include "kernel-test/kernel.h"
#include "kernel-test/rig.h"
#include "kernel-test/test_util.h"
#include "kernel-test/trace.h"

#define DOTS 40u
#define VERIFY_EVERY 8191u /* a mask: every 8192 events */
#define MOST_FILES 16u

struct result {
    const char *name;
    uint32_t events;
    size_t peak_live, peak_held, after_trim, table_bytes;
    uint64_t cycles;
    bool passed;
};

static struct result results[MOST_FILES];
static struct trace trace;
static struct trace_slot *slots;
static struct result *result;

static bool fail(uint32_t event, const char *what, uint64_t value)
{
    const struct trace_error error = { event, what, value };

    t_printf("\n");
    trace_report(&trace, &error);
    return false;
}

/* ---- one event ---- */

/* The one place where the heap is called, so that nothing else is counted. */
static void *call(const struct trace_event *event, void *block)
{
    uint32_t start = k_cycles();

    switch (event->operation) {
    case TRACE_FREE:
        sh_free(block);
        block = NULL;
        break;
    case TRACE_CALLOC:
        block = sh_calloc(1, event->size);
        break;
    case TRACE_REALLOC:
        block = sh_realloc(block, event->size);
        break;
    case TRACE_ALIGNED:
        block = sh_aligned_alloc((size_t)1 << event->align_log2, event->size);
        break;
    default:
        block = sh_malloc(event->size);
        break;
    }
    result->cycles += k_cycles() - start;
    return block;
}

static bool check_new(uint32_t index, const struct trace_event *event,
                      const struct trace_slot *slot,
                      void *block)
{
    size_t kept = slot->size < event->size ? slot->size : event->size;

    if (block == NULL)
        return fail(index, "out of memory, bytes wanted", event->size);
    if (((uintptr_t)block & (((size_t)1 << event->align_log2) - 1)) != 0)
        return fail(index, "the block is not aligned", (uintptr_t)block);
    if (sh_usable_size(block) < event->size)
        return fail(index, "the block is smaller than asked", sh_usable_size(block));
    if (event->operation == TRACE_CALLOC && !t_is_zero(block, event->size))
        return fail(index, "calloc gave bytes that are not zero", (uintptr_t)block);
    if (event->operation == TRACE_REALLOC && !t_holds(block, kept, slot->seed))
        return fail(index, "realloc lost bytes", (uintptr_t)block);
    return true;
}

static bool run_event(uint32_t index)
{
    struct trace_event event = trace_event(&trace, index);
    struct trace_slot *slot = &slots[event.slot];
    void *block;

    if (slot->live != 0 && !t_holds(slot->block, slot->size, slot->seed))
        return fail(index, "the contents of a live block have changed", (uintptr_t)slot->block);
    block = call(&event, slot->block);
    if (event.operation == TRACE_FREE) {
        *slot = (struct trace_slot){ NULL, 0, 0, 0 };
        return true;
    }
    if (!check_new(index, &event, slot, block))
        return false;
    *slot = (struct trace_slot){ block, event.size, index, 1 };
    t_fill(block, event.size, index);
    return true;
}

/* ---- one trace ---- */

static bool check_whole(uint32_t index)
{
    int faults;

    rig_log_clear();
    faults = sh_verify();
    if (faults != 0)
        t_printf("\n%s", rig_log());
    return faults == 0 || fail(index, "sh_verify finds faults", (unsigned)faults);
}

/* Blocks that the program never freed. */
static bool check_survivors(void)
{
    for (uint32_t i = 0; i < trace.slots; i++)
        if (slots[i].live != 0 && !t_holds(slots[i].block, slots[i].size, slots[i].seed))
            return fail(trace.events, "the contents of a surviving block have changed, slot", i);
    return true;
}

static bool run_events(void)
{
    uint32_t dot = 0, next_dot = 0;

    t_printf("%-14s ", result->name);
    for (uint32_t i = 0; i < trace.events; i++) {
        if (!run_event(i))
            return false;
        if (rig_frames_held() > result->peak_held)
            result->peak_held = rig_frames_held();
        if ((i & VERIFY_EVERY) == VERIFY_EVERY && !check_whole(i))
            return false;
        for (; dot < DOTS && i >= next_dot; dot++) {
            t_printf(".");
            next_dot = (uint32_t)((uint64_t)trace.events * (dot + 1) * (0xFFFFFFFFu / DOTS) >> 32);
        }
    }
    t_printf(" done\n");
    return check_whole(trace.events) && check_survivors();
}

static bool take_table(void)
{
    size_t pages = (trace.slots * sizeof(*slots) + SH_PAGE_SIZE - 1) >> MM_PAGE_SHIFT;

    slots = sh_alloc_pages(pages == 0 ? 1 : pages);
    if (slots == NULL)
        return fail(TRACE_NO_EVENT, "no memory for the table of slots, slots", trace.slots);
    result->table_bytes = (pages == 0 ? 1 : pages) << MM_PAGE_SHIFT;
    return true;
}

/* A heap of the trace's own, in the whole area.  Survivors stay, for the map. */
static bool run_file(const struct k_module *file)
{
    const struct sh_config config = { .size = sizeof(config), .hooks = rig_hooks() };
    struct trace_error error;
    size_t area_size;
    uintptr_t area;

    *result = (struct result){ .name = file->name };
    rig_reset();
    k_frames_check(false); /* its work inside the hooks would be counted as the heap's */
    area = rig_area(&area_size);
    if (rig_window(area, area_size) != SH_OK || sh_init(&config) != SH_OK) {
        t_printf("replay: the heap does not start: %s\n", sh_window_error());
        return false;
    }
    if (!trace_open(&trace, file->name, file->data, file->size, &error)) {
        trace_report(&trace, &error);
        return false;
    }
    if (!take_table())
        return false;
    if (!trace_check(&trace, slots, &error)) {
        trace_report(&trace, &error);
        return false;
    }
    result->events = trace.events;
    result->peak_live = (size_t)trace.peak;
    if (!run_events())
        return false;
    sh_trim(0);
    result->after_trim = rig_frames_held();
    return check_whole(trace.events) && check_survivors();
}

/* What the program left is freed, and then nothing but metadata and tables may be held. */
static bool free_survivors(void)
{
    struct sh_stats stats;

    for (uint32_t i = 0; i < trace.slots; i++)
        if (slots[i].live != 0)
            sh_free(slots[i].block);
    sh_free_pages(slots);
    sh_trim(0);
    sh_stats(&stats);
    if (stats.live_objects != 0)
        return fail(trace.events, "live objects after all was freed", stats.live_objects);
    if (stats.heap_in_use + stats.heap_free != 0)
        return fail(trace.events, "bytes held after all was freed",
                    stats.heap_in_use + stats.heap_free);
    return check_whole(trace.events);
}

/* ---- what is printed ---- */

static uint32_t divide(uint64_t value, uint32_t by)
{
    uint64_t rest = 0;
    uint32_t quotient = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        rest = rest << 1 | value >> 63;
        value <<= 1;
        quotient <<= 1;
        if (rest >= by) {
            rest -= by;
            quotient |= 1;
        }
    }
    return quotient;
}

static void print_table(unsigned count)
{
    t_printf("\n%-16s %9s %11s %14s %11s %13s\n", "trace", "events", "peak live", "peak committed",
             "after trim", rig_is_machine() ? "instr/event" : "ns/event");
    for (unsigned i = 0; i < count; i++) {
        const struct result *r = &results[i];
        if (!r->passed) {
            t_printf("%-16s failed\n", r->name);
            continue;
        }
        t_printf("%-16s %9u %11zu %14zu %11zu %13u\n", r->name, (unsigned)r->events, r->peak_live,
                 r->peak_held, r->after_trim,
                 (unsigned)divide(r->cycles, r->events == 0 ? 1 : r->events));
    }
    t_printf("\nBytes.  Committed is every frame held: data, metadata, page tables, and the table of "
             "the replay itself.\n");
}

static void print_heap(const char *name)
{
    struct sh_stats s;

    sh_stats(&s);
    t_printf("\nThe heap at the end of %s\n", name);
    t_printf("  heap_sys %zu = in use %zu + free %zu + released %zu\n", s.heap_sys, s.heap_in_use,
             s.heap_free, s.heap_released);
    t_printf("  frames_held %zu, of them metadata %zu, page tables %zu\n", s.frames_held,
             s.meta_bytes, s.table_bytes);
    t_printf("  live: %zu bytes in %zu objects; %llu mallocs, %llu frees\n", s.live_bytes,
             s.live_objects,
             (unsigned long long)s.mallocs, (unsigned long long)s.frees);
    t_printf("  %u windows, %u arenas, %u spans\n\n", s.windows, s.arenas, s.spans);
    rig_log_clear();
    sh_print_map();
    t_printf("%s", rig_log());
}

int replay_main(void)
{
    unsigned count, passed = 0;
    const struct k_module *files = k_modules(&count);
    bool last_stands = false;

    if (count > MOST_FILES)
        count = MOST_FILES;
    for (unsigned i = 0; i < count; i++) {
        result = &results[i];
        last_stands = run_file(&files[i]);
        result->passed = last_stands;
        if (last_stands && i + 1 < count)
            result->passed = free_survivors();
    }
    if (count == 0)
        t_printf("trace: none was given\n");
    else
        print_table(count);
    if (last_stands) {
        print_heap(result->name);
        result->passed = free_survivors();
    }
    for (unsigned i = 0; i < count; i++)
        passed += results[i].passed ? 1 : 0;
    t_printf("\nreplay: %u passed, %u failed\n", passed, count - passed);
    return count > 0 && passed == count ? 0 : 1;
}
