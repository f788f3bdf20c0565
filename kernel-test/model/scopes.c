/*
 * The cases: windows, how reserve answers in them, and what is done.
 *
 * Chosen so that all of them together take well under a minute, and that every case has an edge in it: of
 * a chunk, of a node of the page tree (the middle of the address space, in the first two scales), of the
 * address space.  A third of the pages, or more, goes to metadata.
 */
#include "kernel-test/model/model.h"

#define MIDDLE 0x20000u
#define LAST(units) (0u - (units) * (uintptr_t)SH_GRANULE_SIZE)
#define CALLS 0xefffu  /* all but touching pages: that is for demand mode */

const struct scope scopes[] = {
#if defined(MODEL_page)
    { .name = "any", .answers = ANY_PLACE, .actions = CALLS,
      .window = { { MIDDLE - 2 * SH_GRANULE_SIZE, 4 } }, .windows = 1 },
    { .name = "edges", .answers = EDGES, .actions = CALLS,
      .window = { { MIDDLE - 2 * SH_GRANULE_SIZE, 3 }, { 0x30000, 2 } }, .windows = 2 },
    { .name = "two", .answers = WINDOWS, .actions = CALLS,
      .window = { { MIDDLE - 2 * SH_GRANULE_SIZE, 4 }, { 0x30000, 4 } }, .windows = 2 },
    { .name = "three", .answers = WINDOWS, .actions = CALLS,
      .window = { { MIDDLE, 2 }, { 0x30000, 3 }, { 0x1c000, 2 } }, .windows = 3 },
    { .name = "limit", .answers = WINDOWS, .actions = CALLS, .limit = 5,
      .window = { { MIDDLE - 2 * SH_GRANULE_SIZE, 7 } }, .windows = 1 },
    { .name = "demand", .answers = WINDOWS, .actions = 0xffff, .demand = true,
      .window = { { MIDDLE - 2 * SH_GRANULE_SIZE, 7 } }, .windows = 1 },
#elif defined(MODEL_frame)
    { .name = "any", .answers = ANY_PLACE, .actions = CALLS,
      .window = { { MIDDLE - SH_GRANULE_SIZE, 4 } }, .windows = 1 },
    { .name = "edges", .answers = EDGES, .actions = CALLS,
      .window = { { MIDDLE - SH_GRANULE_SIZE, 2 }, { 0x30000, 2 } }, .windows = 2 },
    { .name = "two", .answers = WINDOWS, .actions = CALLS,
      .window = { { MIDDLE - SH_GRANULE_SIZE, 4 }, { 0x30000, 2 } }, .windows = 2 },
    { .name = "three", .answers = WINDOWS, .actions = CALLS,
      .window = { { MIDDLE - SH_GRANULE_SIZE, 2 }, { 0x30000, 2 }, { 0x1c000, 2 } }, .windows = 3 },
    { .name = "limit", .answers = WINDOWS, .actions = CALLS, .limit = 4,
      .window = { { MIDDLE - SH_GRANULE_SIZE, 5 } }, .windows = 1 },
    { .name = "demand", .answers = WINDOWS, .actions = 0xffff, .demand = true,
      .window = { { MIDDLE - SH_GRANULE_SIZE, 5 } }, .windows = 1 },
#else
    { .name = "any", .answers = ANY_PLACE, .actions = CALLS,
      .window = { { LAST(4), 4 } }, .windows = 1 },
    { .name = "edges", .answers = EDGES, .actions = CALLS,
      .window = { { LAST(4), 4 }, { 0x50000000, 1 } }, .windows = 2 },
    { .name = "long", .answers = WINDOWS, .actions = CALLS,
      .window = { { LAST(5), 5 }, { 0x50000000, 2 } }, .windows = 2 },
    { .name = "two", .answers = WINDOWS, .actions = CALLS,
      .window = { { LAST(4), 4 }, { 0x50000000, 3 } }, .windows = 2 },
#endif
};
const unsigned scope_count = sizeof scopes / sizeof scopes[0];
