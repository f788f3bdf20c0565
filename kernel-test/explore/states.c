/*
 * States that were met (see search.c, 3): a table of hashes, each with the preemptions that were left.
 */
#include "kernel-test/explore/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t states_met;

static uint64_t *table;
static size_t table_size;

void states_clear(void)
{
    if (table == NULL) {
        table_size = (size_t)1 << 16;
        table = calloc(table_size, sizeof *table);
    } else {
        memset(table, 0, table_size * sizeof *table);
    }
    states_met = 0;
}

static uint64_t *table_slot(uint64_t key)
{
    size_t at = (size_t)(key >> 3) & (table_size - 1);
    while (table[at] != 0 && (table[at] ^ key) >> 3 != 0) {
        at = (at + 1) & (table_size - 1);
    }
    return &table[at];
}

static void table_grow(void)
{
    uint64_t *old = table;
    size_t size = table_size;
    table_size *= 4;
    table = calloc(table_size, sizeof *table);
    if (table == NULL) {
        fprintf(stderr, "explore: out of memory\n");
        exit(2);
    }
    for (size_t i = 0; i < size; i++) {
        if (old[i] != 0) {
            *table_slot(old[i]) = old[i];
        }
    }
    free(old);
}

bool met(uint64_t hash, unsigned left)
{
    uint64_t key = (hash | 8) & ~(uint64_t)7, *slot = table_slot(key);
    unsigned before = (unsigned)(*slot & 7);
    if (*slot != 0 && before >= left + 1) {
        return true;
    }
    states_met += *slot == 0;
    *slot = key | (left + 1);
    if (states_met > table_size / 2) {
        table_grow();
    }
    return false;
}

uint64_t state_hash(void)
{
    uint64_t hash = mix(image_hash + fiber_now + 1) + memory_buffers_hash();
    for (unsigned i = 0; i < fibers; i++) {
        enum status status = fiber[i].status;
        hash = mix(hash + (uint64_t)status);
        if (status != NEW && status != DONE) {
            hash = mix(hash + stack_hash(i));
        }
        if (status == WAITING || status == YIELDED) {
            hash = mix(hash + memory_awaited_hash(i));
        }
    }
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        hash = mix(hash + masked[cpu] + 2u * handling[cpu]);
    }
    return mix(hash + world_owner);
}
