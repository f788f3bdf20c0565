/* The heap's configuration in a kernel that tells a CPU by its number, inline: %gs leads to a struct k_cpu. */
#ifndef BOOT_NUMBER_H
#define BOOT_NUMBER_H

static inline unsigned k_cpu_number_here(void)
{
    unsigned number;

    __asm__ volatile("mov %%gs:0, %0" : "=r"(number));
    return number;
}

#define SH_CPU_NUMBER k_cpu_number_here()

#endif
