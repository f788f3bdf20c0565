/*
 * What several suites share: patterns in blocks, the shape of the heap, checks of the whole.
 * No division anywhere: the suites run on machines that have none.
 */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H

#include "kernel-test/pattern.h"
#include "kernel-test/rig.h"
#include "kernel-test/test.h"
#include "mm/config.h"

#define T_KIB ((size_t)1 << 10)
#define T_MIB ((size_t)1 << 20)
#define T_MAX_CLASSES 128

/* A block that a test holds, filled with a pattern of its own. */
struct t_block {
    void *p;
    size_t size;
    uint32_t seed;
};

size_t t_length(const char *text);
bool t_contains(const char *text, const char *part);

/* The address as the reports write it, lower-case hexadecimal without leading zeros; static
 * text. */
const char *t_hex(uintptr_t value);

/* Allocates, expects success, fills. */
struct t_block t_take(size_t size, uint32_t seed);
/* Expects the pattern, frees. */
void t_give(struct t_block *block);

/* The sizes of all size classes, smallest first: found by asking.  Returns their number. */
unsigned t_classes(size_t sizes[T_MAX_CLASSES]);

/* Frames for so many bytes more can be had; on false says that the test is skipped, and why. */
bool t_has_memory(size_t bytes);
void t_skip(const char *why);

/* Allocates page runs of `pages` until there are no more or `most` are held; they are in t_held. */
#define T_MAX_HELD 8192u
extern void *t_held[T_MAX_HELD];
unsigned t_drain(size_t pages, unsigned most);
void t_release(unsigned count);

/* The heap is whole: sh_verify and the audit find nothing, statistics add up and meet the
 * ledger. */
void t_expect_whole(const char *file, int line);
#define EXPECT_WHOLE() t_expect_whole(__FILE__, __LINE__)

/* Pages that the page allocator could give, with frames or without. */
size_t t_free_pages(void);

/* Memory of the machine under the heap, as the tiny kernel counts it. */
size_t k_frames_total(void);
size_t k_frames_out(void);

#endif
