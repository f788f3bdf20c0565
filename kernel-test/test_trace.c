/*
 * Proves that a trace is untrusted input: whatever is wrong with it is found before any of it is
 * done, with the event and the reason, and no byte beyond its end is read.
 */
#include "kernel-test/k_string.h"
#include "kernel-test/test_util.h"
#include "kernel-test/trace.h"

#define EVENTS 9u
#define SIZE (TRACE_HEADER_SIZE + EVENTS * TRACE_EVENT_SIZE)

static uint8_t bytes[SIZE + 64];
static struct trace trace;
static struct trace_error error;
static struct trace_slot table[16];

static void put32(size_t at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static void put_event(unsigned index, unsigned operation, unsigned align, uint32_t slot,
                      uint32_t size)
{
    put32(TRACE_HEADER_SIZE + index * TRACE_EVENT_SIZE, operation << 29 | align << 24 | slot);
    put32(TRACE_HEADER_SIZE + index * TRACE_EVENT_SIZE + 4, size);
}

/* A good trace of 9 events in 3 slots; the peak is 100 + 500 + 64. */
static void build(void)
{
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes, "SHTR", 4);
    put32(4, 1);
    put32(8, EVENTS);
    put32(12, 3);
    put32(16, 664);
    put_event(0, TRACE_ALLOC, 0, 0, 100);
    put_event(1, TRACE_CALLOC, 0, 1, 30);
    put_event(2, TRACE_REALLOC, 0, 1, 500);
    put_event(3, TRACE_ALIGNED, 6, 2, 64);
    put_event(4, TRACE_FREE, 0, 0, 0);
    put_event(5, TRACE_ALLOC, 0, 0, 0);
    put_event(6, TRACE_REALLOC, 0, 1, 0);
    put_event(7, TRACE_FREE, 0, 1, 0);
    put_event(8, TRACE_FREE, 0, 2, 0);
}

static bool good(size_t size)
{
    return trace_open(&trace, "test", bytes, size, &error) && trace.slots <= 16 &&
           trace_check(&trace, table, &error);
}

static void expect_bad(int line, uint32_t event, const char *what)
{
    if (good(SIZE))
        t_fail(__FILE__, line, "accepted; expected: %s", what);
    if (error.event != event || error.what == NULL || !t_contains(error.what, what))
        t_fail(__FILE__, line, "event %u: \"%s\" instead of event %u: \"%s\"",
               (unsigned)error.event,
               error.what == NULL ? "" : error.what, (unsigned)event, what);
}

#define EXPECT_BAD(event, what) expect_bad(__LINE__, event, what)

static void good_trace_is_accepted(void)
{
    build();
    EXPECT(good(SIZE));
    EXPECT_EQ(trace.events, EVENTS);
    EXPECT_EQ(trace.slots, 3);
    EXPECT_EQ(trace.peak, 664);
    EXPECT(t_is_zero(table, 3 * sizeof(table[0])));
}

static void events_are_read_as_written(void)
{
    struct trace_event event;

    build();
    EXPECT(good(SIZE));
    event = trace_event(&trace, 3);
    EXPECT_EQ(event.operation, TRACE_ALIGNED);
    EXPECT_EQ(event.align_log2, 6);
    EXPECT_EQ(event.slot, 2);
    EXPECT_EQ(event.size, 64);
}

/* The bytes lie at the very end of a page run, so that reading one too many faults or is seen. */
static void truncation_at_every_length_is_found(void)
{
    build();
    for (size_t size = 0; size < SIZE; size++) {
        EXPECT(!good(size));
        EXPECT(error.what != NULL);
        EXPECT(t_contains(error.what, size < TRACE_HEADER_SIZE ? "too short" : "truncated"));
        EXPECT_EQ(error.event, size < TRACE_HEADER_SIZE ? TRACE_NO_EVENT
                                                        : (size - TRACE_HEADER_SIZE) >> 3);
    }
}

static void trailing_bytes_are_found(void)
{
    build();
    for (size_t more = 1; more < 32; more++) {
        EXPECT(!good(SIZE + more));
        EXPECT(t_contains(error.what, "after the last event"));
    }
}

static void wrong_headers_are_found(void)
{
    for (unsigned i = 0; i < 4; i++) {
        build();
        bytes[i] ^= 0x20;
        EXPECT_BAD(TRACE_NO_EVENT, "magic");
    }
    build();
    put32(4, 2);
    EXPECT_BAD(TRACE_NO_EVENT, "version");
    build();
    put32(4, 0);
    EXPECT_BAD(TRACE_NO_EVENT, "version");
    build();
    bytes[31] = 1;
    EXPECT_BAD(TRACE_NO_EVENT, "reserved");
    build();
    put32(8, EVENTS + 1);
    EXPECT_BAD(EVENTS, "truncated");
    build();
    put32(8, UINT32_MAX);
    EXPECT_BAD(EVENTS, "truncated");
    build();
    put32(8, EVENTS - 1);
    EXPECT_BAD(TRACE_NO_EVENT, "after the last event");
    build();
    put32(12, UINT32_MAX);
    EXPECT_BAD(TRACE_NO_EVENT, "absurd number of slots");
    build();
    put32(12, EVENTS + 1);
    EXPECT_BAD(TRACE_NO_EVENT, "more slots than events");
    build();
    put32(16, 663);
    EXPECT_BAD(TRACE_NO_EVENT, "peak");
    build();
    put32(20, 1);
    EXPECT_BAD(TRACE_NO_EVENT, "peak");
}

static void slots_out_of_range_are_found(void)
{
    static const unsigned operations[EVENTS] = {
        TRACE_ALLOC, TRACE_CALLOC,  TRACE_REALLOC, TRACE_ALIGNED, TRACE_FREE,
        TRACE_ALLOC, TRACE_REALLOC, TRACE_FREE,    TRACE_FREE,
    };

    for (unsigned i = 0; i < EVENTS; i++) {
        build();
        put_event(i, operations[i], 0, 3, 0);
        EXPECT_BAD(i, "slot out of range");
        put_event(i, operations[i], 0, 0xFFFFFF, 0);
        EXPECT_BAD(i, "slot out of range");
    }
    build();
    put32(12, 0);
    EXPECT_BAD(0, "slot out of range");
}

static void wrong_use_of_slots_is_found(void)
{
    build();
    put_event(0, TRACE_FREE, 0, 0, 0);
    EXPECT_BAD(0, "free of an empty slot");
    build();
    put_event(8, TRACE_FREE, 0, 1, 0);
    EXPECT_BAD(8, "free of an empty slot");
    build();
    put_event(0, TRACE_REALLOC, 0, 0, 8);
    EXPECT_BAD(0, "realloc of an empty slot");
    build();
    put_event(8, TRACE_REALLOC, 0, 1, 8);
    EXPECT_BAD(8, "realloc of an empty slot");
    for (unsigned operation = TRACE_ALLOC; operation <= TRACE_ALIGNED; operation++)
        if (operation != TRACE_FREE && operation != TRACE_REALLOC) {
            build();
            put_event(3, operation, 0, 0, 8);
            EXPECT_BAD(3, "full slot");
        }
}

static void unknown_operations_are_found(void)
{
    static const unsigned unknown[] = { 0, 6, 7 };

    for (unsigned i = 0; i < 3; i++)
        for (unsigned event = 0; event < EVENTS; event++) {
            build();
            put_event(event, unknown[i], 0, 0, 0);
            EXPECT_BAD(event, "unknown operation");
        }
}

static void absurd_sizes_and_alignments_are_found(void)
{
    build();
    put_event(0, TRACE_ALLOC, 0, 0, TRACE_MAX_SIZE + 1);
    EXPECT_BAD(0, "absurd size");
    build();
    put_event(2, TRACE_REALLOC, 0, 1, UINT32_MAX);
    EXPECT_BAD(2, "absurd size");
    build();
    put_event(4, TRACE_FREE, 0, 0, 1);
    EXPECT_BAD(4, "size on a free");
    build();
    put_event(3, TRACE_ALIGNED, TRACE_MAX_ALIGN + 1, 2, 64);
    EXPECT_BAD(3, "absurd alignment");
    for (unsigned align = 1; align < 32; align <<= 1) {
        build();
        put_event(0, TRACE_ALLOC, align, 0, 100);
        EXPECT_BAD(0, "alignment on an operation");
        build();
        put_event(4, TRACE_FREE, align, 0, 0);
        EXPECT_BAD(4, "alignment on an operation");
    }
}

/* Every single changed byte is either found or leaves a trace that is good in itself. */
static void any_changed_byte_is_handled(void)
{
    for (size_t at = 0; at < SIZE; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            build();
            bytes[at] ^= (uint8_t)(1u << bit);
            if (!good(SIZE))
                EXPECT(error.what != NULL && (error.event == TRACE_NO_EVENT ||
                                              error.event <= EVENTS));
        }
}

static void empty_trace_is_accepted(void)
{
    build();
    put32(8, 0);
    put32(12, 0);
    put32(16, 0);
    EXPECT(good(TRACE_HEADER_SIZE));
}

static const struct test tests[] = {
    { "good_trace_is_accepted", good_trace_is_accepted },
    { "events_are_read_as_written", events_are_read_as_written },
    { "truncation_at_every_length_is_found", truncation_at_every_length_is_found },
    { "trailing_bytes_are_found", trailing_bytes_are_found },
    { "wrong_headers_are_found", wrong_headers_are_found },
    { "slots_out_of_range_are_found", slots_out_of_range_are_found },
    { "wrong_use_of_slots_is_found", wrong_use_of_slots_is_found },
    { "unknown_operations_are_found", unknown_operations_are_found },
    { "absurd_sizes_and_alignments_are_found", absurd_sizes_and_alignments_are_found },
    { "any_changed_byte_is_handled", any_changed_byte_is_handled },
    { "empty_trace_is_accepted", empty_trace_is_accepted },
};

SUITE(trace, tests);
