/* The heap's configuration in this kernel: a CPU finds its record of the heap behind %gs: its struct k_cpu. */
#ifndef BOOT_CONFIG_H
#define BOOT_CONFIG_H

static inline void *k_cpu_area(void)
{
    void *area;

    __asm__ volatile("mov %%gs:4, %0" : "=r"(area));
    return area;
}

#define SH_CPU_POINTER k_cpu_area()

#endif
