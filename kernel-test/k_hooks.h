/* Watching the hooks: what the rig hangs into k_hooks.c. */
#ifndef KERNEL_TEST_K_HOOKS_H
#define KERNEL_TEST_K_HOOKS_H

#include "kernel.h"

struct k_watch {
    /* At the start of each hook but sh_kernel_cpu. */
    void (*enter)(void);
    /* Before a frame is looked for; false = refuse. */
    bool (*may_alloc)(size_t size);
    /* A frame was handed out (taken = true), or comes back. */
    void (*frame)(sh_paddr frame, size_t size, bool taken);
    void (*panic)(enum sh_panic kind, const char *report);
};

/* NULL = nobody watches. */
extern const struct k_watch *k_watch;

#endif
