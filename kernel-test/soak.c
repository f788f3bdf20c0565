/*
 * run=soak: the storm on all CPUs, for long: calls=10000000 calls of the heap, round=125000 of each CPU's
 * thread between two looks at the whole, tick=20000 nanoseconds between interrupts at least, seed=1.
 */
#include "kernel-test/k_cpus.h"
#include "kernel-test/test_smp.h"

#define TRIMS 60u /* with a few shootdowns each, which may take milliseconds where the host is busy */

int soak_main(void)
{
    uint32_t wanted = smp_option("calls", 10000000), seed = smp_option("seed", 1), done = 0, round = 0;
    unsigned shootdowns = k_shootdowns;

    t_printf("soak: %u calls on %u CPUs\n", (unsigned)wanted, k_cpus());
    smp_storm_start(0, true, TRIMS, smp_option("tick", 20000), seed);
    while (done < wanted) {
        smp_storm_round(smp_option("round", 125000));
        done = smp_storm_calls();
        t_printf("round %2u: %8u calls, whole\n", (unsigned)++round, (unsigned)done);
    }
    t_printf("\n");
    smp_storm_print();
    smp_storm_end();
    t_printf("\n%u shootdowns; all is freed: sh_verify finds 0, %zu bytes of frames held are metadata and "
             "tables\n",
             k_shootdowns - shootdowns, rig_frames_held());
    rig_reset();
    t_printf("the heap is shut down: %zu bytes of frames held\n", rig_frames_held());
    t_printf("soak %s, %u CPUs: 1 passed, 0 failed\n", k_machine(), k_cpus());
    return 0;
}
