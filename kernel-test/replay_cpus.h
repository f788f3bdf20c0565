/* Traces on many CPUs at once: what `make run CPUS=4` does. */
#ifndef KERNEL_TEST_REPLAY_CPUS_H
#define KERNEL_TEST_REPLAY_CPUS_H

int replay_cpus_main(void);

#endif
