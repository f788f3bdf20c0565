/*
 * The image: all memory that makes up a state, and how it is put back.
 *
 * Three pieces, one after the other: the heap's region (windows, so objects and metadata), .data and .bss
 * of the code under test (section explore_state, with what port and scenarios keep), the fibers' stacks.
 * Every write to the first two is announced to memory.c, so the lines that it touched are known, and the
 * hash of both is kept up to date, a word at a time.  Stacks are hashed by the search, as far as they are
 * in use, and cleared by it.
 */
#include "kernel-test/explore/explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE = 64 };

extern unsigned char __start_explore_state[], __stop_explore_state[];

unsigned char *image_lib;
size_t image_lib_size, image_size;
unsigned char stacks[FIBERS_MAX][STACK_SIZE] __attribute__((aligned(64)));
uint8_t *image_conflict, *image_readers, *image_writers;
uint32_t *image_read[FIBERS_MAX];
uint64_t image_hash;

static unsigned char *base, *pristine;
static uint32_t *dirty;
static uint8_t *is_dirty;
static size_t dirty_count, tracked;

static void *room(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("explore: mmap");
        exit(2);
    }
    return p;
}

static unsigned char *line_at(size_t line)
{
    return (unsigned char *)image_word((uint32_t)(line * (LINE / 8)));
}

static void copy_out(unsigned char *to)
{
    memcpy(to, image_word(0), HEAP_SIZE);
    memcpy(to + HEAP_SIZE, image_lib, image_lib_size);
}

void image_open(void)
{
    image_lib = (unsigned char *)((uintptr_t)__start_explore_state & ~(uintptr_t)(LINE - 1));
    image_lib_size = (size_t)(__stop_explore_state - image_lib + LINE - 1) & ~(size_t)(LINE - 1);
    tracked = HEAP_SIZE + image_lib_size;
    image_size = tracked + sizeof stacks;
    if (mmap((void *)HEAP_BASE, HEAP_SIZE, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)HEAP_BASE) {
        perror("explore: mmap of the heap's region");
        exit(2);
    }
    image_conflict = room(image_size + 64);
    image_readers = room(image_size + 64);
    image_writers = room(image_size + 64);
    for (unsigned fiber = 0; fiber < FIBERS_MAX; fiber++) {
        image_read[fiber] = room(image_size / 2 + 64);
    }
    base = room(tracked);
    pristine = room(tracked);
    dirty = room(tracked / LINE * sizeof *dirty);
    is_dirty = room(tracked / LINE + 1);
    copy_out(pristine);
}

void image_pristine(void)
{
    memcpy(image_word(0), pristine, HEAP_SIZE);
    memcpy(image_lib, pristine + HEAP_SIZE, image_lib_size);
}

void image_base(void)
{
    copy_out(base);
    for (size_t i = 0; i < dirty_count; i++) {
        is_dirty[dirty[i]] = 0;
    }
    dirty_count = 0;
    image_hash = 0;
}

void image_restore(void)
{
    for (size_t i = 0; i < dirty_count; i++) {
        size_t line = dirty[i];
        memcpy(line_at(line), base + line * LINE, LINE);
        is_dirty[line] = 0;
    }
    dirty_count = 0;
    image_hash = 0;
}

void image_dirty(uint32_t at, size_t size)
{
    if (at >= tracked) {
        return;
    }
    for (size_t line = at / LINE; line <= (at + size - 1) / LINE; line++) {
        if (!is_dirty[line]) {
            is_dirty[line] = 1;
            dirty[dirty_count++] = (uint32_t)line;
        }
    }
}

/* Was every write announced?  Counts the hash anew; lines that are not known to be dirty are as they were. */
bool image_hash_holds(void)
{
    uint64_t sum = 0;
    for (uint32_t word = 0; word < tracked / 8; word++) {
        uint64_t now = *image_word(word), was;
        memcpy(&was, base + (size_t)word * 8, 8);
        if (now != was) {
            if (!is_dirty[word / (LINE / 8)]) {
                fprintf(stderr, "explore: %p was written unseen\n", (void *)image_word(word));
                return false;
            }
            sum += word_hash(word, now) - word_hash(word, was);
        }
    }
    return sum == image_hash;
}
