/*
 * What a wrong pointer is, in words: the reports of misuse and sh_explain.
 */
#ifndef MM_MISUSE_H
#define MM_MISUSE_H

#include "mm/cache.h"

/* "caller(0x…): …", through sh_kernel_panic.  Returns if the kernel's hook does. */
void mm_misuse_pointer(const char *caller, uintptr_t address);
MM_CALL void mm_misuse_size(const char *caller, const struct mm_view *view, size_t size);

/* The kernel gives this CPU a number that sh_init was not told of: reported, true, and the call does nothing.
 * No lock held. */
bool mm_misuse_cpu_found(void);
static inline bool mm_misuse_cpu(void)
{
    return mm_cpu_strange() && mm_misuse_cpu_found();
}

#endif
