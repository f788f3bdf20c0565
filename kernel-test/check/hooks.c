/*
 * For `make check`: the six functions as the only member of an archive.  Each passes its call on to
 * the x86 example, where they are renamed to kernel_….
 */
#include "arch/arch.h"

bool kernel_frame_alloc(size_t size, sh_paddr *out);
void kernel_frame_free(sh_paddr frame, size_t size);
void *kernel_phys_to_virt(sh_paddr address);
sh_paddr kernel_root_table(uintptr_t address);
void kernel_panic(enum sh_panic kind, const char *report);
unsigned kernel_cpu(void);

bool sh_kernel_frame_alloc(size_t size, sh_paddr *out)
{
    return kernel_frame_alloc(size, out);
}

void sh_kernel_frame_free(sh_paddr frame, size_t size)
{
    kernel_frame_free(frame, size);
}

void *sh_kernel_phys_to_virt(sh_paddr address)
{
    return kernel_phys_to_virt(address);
}

sh_paddr sh_kernel_root_table(uintptr_t address)
{
    return kernel_root_table(address);
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    kernel_panic(kind, report);
}

unsigned sh_kernel_cpu(void)
{
    return kernel_cpu();
}
