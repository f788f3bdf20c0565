/* The heap's configuration on the host where it reads the number of a CPU without a call. */
#ifndef RIG_NUMBER_H
#define RIG_NUMBER_H

extern unsigned rig_cpu_now; /* of rig_hooks.c */

#define SH_CPU_NUMBER rig_cpu_now

#endif
