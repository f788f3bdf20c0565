/*
 * The table of all suites: those of every image, then those that need the scripted port (host) or
 * real interrupts and page tables (booted)
 * or instrumented code (KASAN).
 */
#include "kernel-test/test.h"

extern const struct suite suite_malloc, suite_misuse, suite_wrong_pointer,
    suite_wrong_size, suite_legal, suite_cache, suite_windows, suite_growth, suite_failure,
    suite_random, suite_stats, suite_trim, suite_demand, suite_interrupt, suite_shutdown,
    suite_trace, suite_script, suite_kernel, suite_timer, suite_arena, suite_pages, suite_span, suite_verify,
    suite_tiers, suite_guarded, suite_explain, suite_sweep, suite_lies, suite_linear, suite_hooks, suite_central, suite_remote, suite_kept, suite_reserve, suite_kasan, suite_guard, suite_collect,
    suite_graph, suite_shapes, suite_hostile, suite_step, suite_sweeper, suite_collected_free, suite_marks, suite_finalize, suite_leak, suite_gc_context, suite_pause, suite_gc_tiers, suite_soak, suite_timer_gc, suite_lisp;
/* of many CPUs */
extern const struct suite suite_cpus, suite_shootdown, suite_smp, suite_smp_gc;

const struct suite *const test_suites[] = {
#if !__STDC_HOSTED__
    &suite_kernel,
    &suite_cpus,
    &suite_shootdown,
    &suite_smp,
#endif
#ifdef KASAN
    &suite_kasan,
#endif
    &suite_malloc,
    &suite_misuse,
    &suite_tiers,
    &suite_guarded,
    &suite_explain,
    &suite_guard,
    &suite_wrong_pointer,
    &suite_wrong_size,
    &suite_legal,
    &suite_windows,
    &suite_growth,
#if __STDC_HOSTED__
    &suite_script,
#endif
    &suite_failure,
#if __STDC_HOSTED__
    &suite_sweep,
    &suite_lies,
    &suite_remote,
    &suite_kept,
    &suite_linear,
#endif
    &suite_random,
    &suite_stats,
    &suite_trim,
    &suite_demand,
    &suite_interrupt,
    &suite_reserve,
#if !__STDC_HOSTED__
    &suite_timer,
#endif
    &suite_shutdown,
    &suite_trace,
    &suite_arena,
    &suite_pages,
    &suite_span,
    &suite_cache,
    &suite_hooks,
    &suite_central,
    &suite_verify,
    &suite_collect,
#ifndef WITHOUT_GC
    &suite_graph,
    &suite_shapes,
    &suite_hostile,
    &suite_step,
    &suite_sweeper,
    &suite_collected_free,
    &suite_marks,
    &suite_finalize,
    &suite_leak,
    &suite_gc_context,
    &suite_pause,
    &suite_gc_tiers,
    &suite_soak,
#if !__STDC_HOSTED__
    &suite_timer_gc,
    &suite_smp_gc,
#endif
    &suite_lisp,
#endif
    NULL,
};
