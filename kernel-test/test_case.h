/*
 * Cases of misuse, by the ten thousand: what the suites wrong_pointer, wrong_size and legal share.
 *
 * A case is one call with one argument that is wrong.  It is caught if the call makes exactly one
 * report of misuse, which names the caller, the address and the cause that the model here knows, or
 * (sizes) if it gives NULL without a report.  Nothing may have changed: at intervals the statistics,
 * sh_verify and the bytes of all live blocks are compared with what they were.  A case that is missed
 * is printed and counted, and the next one is tried.
 */
#ifndef TEST_CASE_H
#define TEST_CASE_H

#include "kernel-test/test_util.h"

enum way { BY_FREE, BY_FREE_SIZED, BY_REALLOC, BY_FREE_PAGES, WAYS };

struct counts {
    unsigned long cases, missed;
    unsigned long operations, reports; /* legal ones, and those that were taken for misuse */
};
extern struct counts case_counts;

/* A live block of the model: what may be freed, and what every other address is compared with. */
struct case_block {
    uintptr_t base;
    size_t size; /* usable */
    size_t asked;
    bool pages;
};

/* A heap with a live block of every size class, large objects and page runs; NULL = default. */
void case_start(const struct sh_config *config);
/* No heap runs: only what is reported is looked at. */
void case_without_heap(void);
/* Enters a block of the heap's into the model, filled with a pattern; frees it again. */
struct case_block *case_add(void *p, size_t asked, bool pages);
void case_drop(struct case_block *block);
/* All blocks of the model. */
struct case_block *case_blocks(unsigned *count);
/* The block around an address; NULL = none. */
const struct case_block *case_block_of(uintptr_t address);

/* After legal calls: what the next cases must not change. */
void case_settle(void);
/* The intervals' check, now; ends the test as failed if a case was missed. */
void case_check(void);

/* One case.  The report must go on with `cause` behind "caller(address): "; NULL = whatever says that
 * nothing live is there.  The size is an argument for those ways that have one. */
void case_pointer(enum way way, uintptr_t address, size_t size, const char *cause);
/* One address by every way, with the cause that the model knows; `cause` is for addresses outside of
 * every block.  Ways by which the address may be freed are left out. */
void case_address(uintptr_t address, const char *cause);
/* sh_free_sized with a size that is not the block's. */
void case_wrong_size(const struct case_block *block, size_t size);
/* What a call that had to fail gave: NULL, or missed. */
void case_null(const char *call, size_t a, size_t b, const void *result);

/* Text like the reports': %s, %x with 0x, %z; static, for one cause at a time. */
const char *case_text(const char *format, ...);

extern const char case_never[], case_records[], case_idle[];
/* A format: offset, live or free, size, base. */
extern const char case_interior[];

#endif
