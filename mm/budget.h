/*
 * The ledger of frames: bytes held for data and metadata, and the hard limit over them and the port's
 * tables.  Bytes are taken before the port is asked and given back if it fails, so that the limit holds
 * at every moment.
 */
#ifndef MM_BUDGET_H
#define MM_BUDGET_H

#include "mm/config.h"

/* Takes `size` bytes for frames that are about to be committed; false = over the limit. */
bool mm_budget_take(size_t size);
MM_CALL void mm_budget_give(size_t size);
/* Would so many bytes more be under the limit? */
bool mm_budget_allows(size_t size);

/* Would the tables for this range still be under the limit? */
bool mm_budget_allows_tables(uintptr_t base, size_t size);

/* Bytes held, tables included. */
size_t mm_budget_held(void);
size_t mm_budget_tables(void);

size_t mm_budget_limit(void);
MM_CALL void mm_budget_set_limit(size_t bytes);

/* Why the heap cannot use a range that sh_arch_reserve gave: it is not aligned, wraps, or is part of what
 * was given before, for pages or for records.  NULL = it can. */
const char *mm_range_refusal(uintptr_t base, size_t size);

void mm_budget_reset(void);

#endif
