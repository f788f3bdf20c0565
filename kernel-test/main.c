/*
 * What the kernel does once the machine is up.  Words on the command line choose:
 *
 *     run=test      the test suites; test=suite or test=suite/test runs those that begin so,
 *                   without=suite,suite leaves those out; only=cpus runs the suites of many CPUs;
 *                   tick=n: nanoseconds between interrupts there, when they are counted as instructions
 *     run=replay    replays the allocation traces among the modules (also when nothing is said), then
 *                   runs a Lisp program; with many CPUs all traces at once, then a collection
 *     run=bench     the benchmarks
 *     run=lisp      runs Lisp programs, the modules; none: a prompt on the serial line; gctrace=1
 *     run=soak      all CPUs on one heap, for long: soak.c
 *     run=demo      accidents, explained: demo=overflow|uaf|doublefree|stray|all
 *
 * and what kind of kernel this is: paging=pae, pdpt=hole (x86), ttbr=1 (arm), phys=scratch, dirs=2.
 */
#include "k_cpus.h"
#include "replay_cpus.h"
#include "rig.h"
#include "t_internal.h"
#include "test.h"

static void crash(uintptr_t address)
{
    t_print_running();
    rig_log_clear();
    sh_explain(address);
    t_printf("%s", rig_log());
}

void kmain(void)
{
    const char *filter;
    unsigned failed;

    k_crash_hook = crash;
    if (k_option_is("run", "bench"))
        k_exit(bench_main() == 0);
    if (k_option_is("run", "demo"))
        k_exit(demo_main() == 0);
    if (k_option_is("run", "soak"))
        k_exit(soak_main() == 0);
    if (k_option_is("run", "lisp"))
        k_exit(lisp_main() == 0);
    if (!k_option_is("run", "test") && k_cpus() > 1)
        k_exit(replay_cpus_main() == 0);
    if (!k_option_is("run", "test")) {
        failed = replay_main() != 0;
        failed += lisp_show() != 0;
        k_exit(failed == 0);
    }
    test_least_cpus = k_option_is("only", "cpus") ? 2 : 0;
    filter = k_option("test", "");
    failed = test_run(k_machine(), filter, k_option("without", ""));
    k_exit(failed == 0);
}
