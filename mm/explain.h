/*
 * What an address is, was, and who owned it, in words: for reports of misuse and for sh_explain.
 *
 * From one lock-free look at the span: any context, any bit pattern.
 */
#ifndef MM_EXPLAIN_H
#define MM_EXPLAIN_H

#include "mm/span.h"

/* What is at `address`, as the end of a sentence that begins with it.  The text is cut to `size`. */
void mm_explain_place(uintptr_t address, char *text, size_t size);

/* What stands beside the slot that `address` is in; empty if it is in none. */
void mm_explain_neighbours(uintptr_t address, char *text, size_t size);

#endif
