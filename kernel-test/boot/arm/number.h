/* The heap's configuration in a kernel that tells a CPU by its number, inline: TPIDRPRW leads to a struct k_cpu. */
#ifndef BOOT_NUMBER_H
#define BOOT_NUMBER_H

static inline unsigned k_cpu_number_here(void)
{
    unsigned number;

    __asm__ volatile("mrc p15, 0, %0, c13, c0, 4\n\tldr %0, [%0]" : "=r"(number));
    return number;
}

#define SH_CPU_NUMBER k_cpu_number_here()

#endif
