/*
 * What a wrong pointer is, in words: the reports of misuse and sh_explain.
 */
#ifndef MM_MISUSE_H
#define MM_MISUSE_H

#include "mm/span.h"

/* "caller(0x…): …", through sh_kernel_panic.  Returns if the kernel's hook does. */
void mm_misuse_pointer(const char *caller, uintptr_t address);
void mm_misuse_size(const char *caller, const struct mm_view *view, size_t size);

#endif
