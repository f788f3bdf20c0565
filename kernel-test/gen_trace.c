/*
 * Writes the generated trace:  gen-trace mixed.trace
 *
 * What the recorded programs lack: aligned blocks of every power, zero sizes, blocks that shrink
 * and grow by turns, blocks of several megabytes, more than a chunk at once.  Fits a machine of 64
 * MiB.  The same file every time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS 600u
#define MOST_EVENTS 20000u
#define MOST_LIVE ((uint64_t)14 << 20)

enum { ALLOC = 1, FREE, CALLOC, REALLOC, ALIGNED };

static uint32_t words[2 * MOST_EVENTS];
static uint32_t events;
static uint32_t sizes[SLOTS];
static uint8_t live[SLOTS];
static uint64_t live_bytes, peak;
static uint32_t state = 20240229;

static uint32_t below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (uint32_t)((uint64_t)state * limit >> 32);
}

static void emit(unsigned operation, unsigned align_log2, uint32_t slot, uint32_t size)
{
    if (events == MOST_EVENTS) {
        fprintf(stderr, "gen-trace: too many events\n");
        exit(1);
    }
    words[2 * events] = (uint32_t)operation << 29 | (uint32_t)align_log2 << 24 | slot;
    words[2 * events + 1] = size;
    events++;
    live_bytes += size;
    live_bytes -= live[slot] != 0 ? sizes[slot] : 0;
    live[slot] = operation != FREE;
    sizes[slot] = size;
    if (live_bytes > peak)
        peak = live_bytes;
}

/* Mostly small, now and then up to `most`. */
static uint32_t some_size(uint32_t most)
{
    uint32_t limit = (uint32_t)16 << below(9);

    return below(40) == 0 ? below(most) : below(limit);
}

static void step(uint32_t slot, uint32_t most)
{
    uint32_t size = below(12) == 0 ? 0 : some_size(most);

    if (live[slot] != 0 && below(3) != 0) {
        emit(FREE, 0, slot, 0);
        return;
    }
    if (live_bytes + size > MOST_LIVE)
        size = below(64);
    if (live[slot] != 0)
        emit(REALLOC, 0, slot, below(2) == 0 ? sizes[slot] >> 1 : size);
    else if (below(4) == 0)
        emit(ALIGNED, below(below(8) == 0 ? 20 : 13), slot, size);
    else
        emit(below(3) == 0 ? CALLOC : ALLOC, 0, slot, size);
}

/* A block that grows to some megabytes and shrinks to nothing, while others come and go. */
static void breathe(uint32_t slot, uint32_t top)
{
    if (live[slot] != 0)
        emit(FREE, 0, slot, 0);
    emit(ALLOC, 0, slot, 0);
    for (uint32_t size = 16; size <= top; size += size >> 1) {
        emit(REALLOC, 0, slot, size);
        step(1 + below(SLOTS - 1), 3000);
    }
    for (uint32_t size = top; size > 0; size = size * 2 / 3) {
        emit(REALLOC, 0, slot, size);
        step(1 + below(SLOTS - 1), 3000);
    }
    emit(REALLOC, 0, slot, 0);
    emit(FREE, 0, slot, 0);
}

static void large_blocks(void)
{
    static const uint32_t large[] = { 2500000, 5000000, 1 << 20, (4 << 20) + 1 };

    for (uint32_t i = 0; i < 4; i++)
        if (live[i] != 0)
            emit(FREE, 0, i, 0);
    for (uint32_t i = 0; i < 4; i++) {
        emit(i == 1 ? CALLOC : i == 2 ? ALIGNED : ALLOC, i == 2 ? 20 : 0, i, large[i]);
        step(4 + below(SLOTS - 4), 10000);
    }
    for (uint32_t i = 0; i < 4; i++)
        emit(FREE, 0, (i * 3 + 1) & 3, 0);
}

static void every_alignment(void)
{
    for (unsigned align = 0; align <= 22; align++)
        for (uint32_t i = 0; i < 3; i++) {
            if (live[i] != 0)
                emit(FREE, 0, i, 0);
            emit(ALIGNED, align, i, i == 0 ? 0 : i == 1 ? 1 : below(9000));
        }
}

static void put32(FILE *file, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        putc((int)(value >> (8 * i) & 255), file);
}

static int write_file(const char *path)
{
    FILE *file = fopen(path, "wb");

    if (file == NULL)
        return 1;
    fputs("SHTR", file);
    put32(file, 1);
    put32(file, events);
    put32(file, SLOTS);
    put32(file, (uint32_t)peak);
    put32(file, (uint32_t)(peak >> 32));
    put32(file, 0);
    put32(file, 0);
    for (uint32_t i = 0; i < 2 * events; i++)
        put32(file, words[i]);
    return fclose(file) != 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s file\n", argv[0]);
        return 2;
    }
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 2500; i++)
            step(below(SLOTS), 200000);
        breathe(0, 3000000);
        large_blocks();
        every_alignment();
    }
    if (write_file(argv[1]) != 0) {
        fprintf(stderr, "gen-trace: cannot write %s\n", argv[1]);
        return 1;
    }
    printf("%s: %u events, peak %llu bytes\n", argv[1], (unsigned)events, (unsigned long long)peak);
    return 0;
}
