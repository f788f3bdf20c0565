/*
 * Allocation traces: reading and checking them.  The format is little-endian: a header of 32
 * bytes, then 8 bytes an event.
 *
 *     header   "SHTR", u32 version = 1, u32 events, u32 slots, u64 peak of the requested bytes
 *              alive, 8 bytes zero
 *     event    u32 bits 31..29 operation, 28..24 log2 of the alignment (aligned only), 23..0 slot
 *              u32 size in bytes (0 for free)
 *
 * A slot holds one live block from its alloc, calloc or aligned until its free; realloc keeps the
 * slot. A trace is untrusted: everything in it is checked before any of it is done.
 */
#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_HEADER_SIZE 32u
#define TRACE_EVENT_SIZE 8u
#define TRACE_MAX_SLOTS ((uint32_t)1 << 24)
#define TRACE_MAX_SIZE ((uint32_t)1 << 30) /* a larger block is absurd on any machine we run on */
#define TRACE_MAX_ALIGN 22u
#define TRACE_NO_EVENT UINT32_MAX

enum trace_operation {
    TRACE_ALLOC = 1,
    TRACE_FREE = 2,
    TRACE_CALLOC = 3,
    TRACE_REALLOC = 4,
    TRACE_ALIGNED = 5
};

struct trace {
    const char *name;
    const uint8_t *data;
    size_t size;
    uint32_t events, slots;
    uint64_t peak;
};

struct trace_event {
    unsigned operation; /* enum trace_operation, once checked */
    unsigned align_log2;
    uint32_t slot;
    uint32_t size;
};

/* What a replay keeps of a slot, and what a check needs. */
struct trace_slot {
    void *block;
    uint32_t size;
    uint32_t seed;
    uint32_t live;
};

/* The first thing wrong: in which event (TRACE_NO_EVENT: the header), what, and a number with
 * it. */
struct trace_error {
    uint32_t event;
    const char *what; /* NULL = nothing */
    uint64_t value;
};

/* Reads the header.  Afterwards slots says how large a table trace_check wants. */
bool trace_open(struct trace *trace, const char *name, const uint8_t *data, size_t size,
                struct trace_error *error);

/* Walks through all events; `table` has trace->slots entries, and is all zero when it returns
 * true. */
bool trace_check(const struct trace *trace, struct trace_slot *table, struct trace_error *error);

/* The event of that number, which must be below trace->events. */
struct trace_event trace_event(const struct trace *trace, uint32_t index);

/* One line: "trace: <name>: event N: <what> (<value>)". */
void trace_report(const struct trace *trace, const struct trace_error *error);

#endif
