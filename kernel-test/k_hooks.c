/*
 * The six functions that the heap needs from its kernel, over this kernel's frames and page tables.
 * Nothing but these six is needed to run it.  A port author starts from here and drops k_watch,
 * through which the rig counts and refuses.
 */
#include "k_hooks.h"

#include "k_cpus.h"

#include "test.h"

const struct k_watch *k_watch;

static void enter(void)
{
    if (k_watch != NULL)
        k_watch->enter();
}

bool sh_kernel_frame_alloc(size_t size, sh_paddr *out)
{
    enter();
    if (k_watch != NULL && !k_watch->may_alloc(size))
        return false;
    if (!k_frame_alloc(size, out))
        return false;
    if (k_watch != NULL)
        k_watch->frame(*out, size, true);
    return true;
}

void sh_kernel_frame_free(sh_paddr frame, size_t size)
{
    enter();
    if (k_watch != NULL)
        k_watch->frame(frame, size, false);
    k_frame_free(frame, size);
}

/* One scratch page serves all code of a CPU, so nobody may interrupt its user. */
void *sh_kernel_phys_to_virt(sh_paddr address)
{
    enter();
    if (k_interrupts_are_on())
        k_panic("sh_kernel_phys_to_virt was called with interrupts on", (uintptr_t)address);
    return k_phys_window(address);
}

sh_paddr sh_kernel_root_table(uintptr_t address)
{
    enter();
    return k_current_root(address);
}

/* Misuse may return: the heap is whole, and the call that found it does nothing. */
void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    enter();
    if (k_watch != NULL) {
        k_watch->panic(kind, report);
        return;
    }
    t_printf("\nheap panic (%s): %s\n", kind == SH_PANIC_MISUSE ? "misuse" : "corruption", report);
    k_crash(0);
}

unsigned sh_kernel_cpu(void)
{
    return k_cpu();
}
