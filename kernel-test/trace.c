/*
 * Reading and checking allocation traces.  See trace.h.  No byte is read that was not counted
 * first.
 */
#include "kernel-test/trace.h"

#include "kernel-test/k_string.h"
#include "kernel-test/test.h"

static uint32_t read32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t read64(const uint8_t *at)
{
    return (uint64_t)read32(at + 4) << 32 | read32(at);
}

static bool wrong(struct trace_error *error, uint32_t event, const char *what, uint64_t value)
{
    *error = (struct trace_error){ event, what, value };
    return false;
}

bool trace_open(struct trace *trace, const char *name, const uint8_t *data, size_t size,
                struct trace_error *error)
{
    *trace = (struct trace){ .name = name, .data = data, .size = size };
    *error = (struct trace_error){ TRACE_NO_EVENT, NULL, 0 };
    if (size < TRACE_HEADER_SIZE)
        return wrong(error, TRACE_NO_EVENT, "too short for a header, bytes", size);
    if (memcmp(data, "SHTR", 4) != 0)
        return wrong(error, TRACE_NO_EVENT, "wrong magic number", read32(data));
    if (read32(data + 4) != 1)
        return wrong(error, TRACE_NO_EVENT, "unknown version", read32(data + 4));
    trace->events = read32(data + 8);
    trace->slots = read32(data + 12);
    trace->peak = read64(data + 16);
    if (read64(data + 24) != 0)
        return wrong(error, TRACE_NO_EVENT, "reserved bytes are not zero", read64(data + 24));
    if (trace->slots > TRACE_MAX_SLOTS)
        return wrong(error, TRACE_NO_EVENT, "absurd number of slots", trace->slots);
    if (trace->slots > trace->events)
        return wrong(error, TRACE_NO_EVENT, "more slots than events, slots", trace->slots);
    if ((size - TRACE_HEADER_SIZE) >> 3 < trace->events)
        return wrong(error, (uint32_t)((size - TRACE_HEADER_SIZE) >> 3),
                     "truncated: the header promises events", trace->events);
    if (size - TRACE_HEADER_SIZE != (size_t)trace->events << 3)
        return wrong(error, TRACE_NO_EVENT, "bytes after the last event",
                     size - TRACE_HEADER_SIZE - ((size_t)trace->events << 3));
    return true;
}

struct trace_event trace_event(const struct trace *trace, uint32_t index)
{
    const uint8_t *at = trace->data + TRACE_HEADER_SIZE + (size_t)index * TRACE_EVENT_SIZE;
    uint32_t word = read32(at);

    return (struct trace_event){ .operation = word >> 29, .align_log2 = word >> 24 & 31,
                                 .slot = word & 0xFFFFFF, .size = read32(at + 4) };
}

/* The fields of one event, against themselves and the header. */
static const char *field_error(const struct trace *trace, const struct trace_event *event,
                               uint64_t *value)
{
    *value = event->operation;
    if (event->operation < TRACE_ALLOC || event->operation > TRACE_ALIGNED)
        return "unknown operation";
    *value = event->slot;
    if (event->slot >= trace->slots)
        return "slot out of range";
    *value = event->align_log2;
    if (event->operation != TRACE_ALIGNED && event->align_log2 != 0)
        return "alignment on an operation that has none, log2";
    if (event->align_log2 > TRACE_MAX_ALIGN)
        return "absurd alignment, log2";
    *value = event->size;
    if (event->operation == TRACE_FREE && event->size != 0)
        return "size on a free";
    if (event->size > TRACE_MAX_SIZE)
        return "absurd size";
    return NULL;
}

/* The event against the state of its slot; moves that state on. */
static const char *state_error(const struct trace_event *event, struct trace_slot *slot,
                               uint64_t *live)
{
    bool allocates = event->operation != TRACE_FREE && event->operation != TRACE_REALLOC;

    if (allocates && slot->live != 0)
        return "allocation into a full slot";
    if (event->operation == TRACE_FREE && slot->live == 0)
        return "free of an empty slot";
    if (event->operation == TRACE_REALLOC && slot->live == 0)
        return "realloc of an empty slot";
    *live = *live - slot->size + event->size;
    slot->live = event->operation != TRACE_FREE;
    slot->size = event->size;
    return NULL;
}

bool trace_check(const struct trace *trace, struct trace_slot *table, struct trace_error *error)
{
    uint64_t live = 0, peak = 0, value = 0;

    *error = (struct trace_error){ TRACE_NO_EVENT, NULL, 0 };
    memset(table, 0, trace->slots * sizeof(*table));
    for (uint32_t i = 0; i < trace->events; i++) {
        struct trace_event event = trace_event(trace, i);
        const char *what = field_error(trace, &event, &value);
        if (what != NULL)
            return wrong(error, i, what, value);
        what = state_error(&event, &table[event.slot], &live);
        if (what != NULL)
            return wrong(error, i, what, event.slot);
        peak = live > peak ? live : peak;
    }
    if (peak != trace->peak)
        return wrong(error, TRACE_NO_EVENT,
                     "the peak of live bytes is not what the header says, but",
                     peak);
    memset(table, 0, trace->slots * sizeof(*table));
    return true;
}

void trace_report(const struct trace *trace, const struct trace_error *error)
{
    if (error->event == TRACE_NO_EVENT)
        t_printf("trace: %s: %s: %llu\n", trace->name, error->what,
                 (unsigned long long)error->value);
    else
        t_printf("trace: %s: event %u: %s: %llu\n", trace->name, (unsigned)error->event,
                 error->what,
                 (unsigned long long)error->value);
}
