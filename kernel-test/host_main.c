/*
 * Runs the suites on the host:  host-test [suite | suite/test [seeds]]
 *
 * The rig (rig_host.c) catches signals: a touch of memory that is not the heap's fails the running
 * test, a test that hangs ends the run.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernel-test/kernel.h"
#include "kernel-test/test.h"

void k_putc(char c)
{
    putchar(c);
}

void k_exit(bool pass)
{
    fflush(stdout);
    exit(pass ? 0 : 1);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3) {
        fprintf(stderr, "usage: %s [suite | suite/test [seeds]]\n", argv[0]);
        return 2;
    }
    if (argc == 3)
        test_seeds = (unsigned)strtoul(argv[2], NULL, 10);
    return test_run(sizeof(void *) == 8 ? "host 64-bit" : "host 32-bit",
                    argc > 1 ? argv[1] : "", "") != 0;
}
