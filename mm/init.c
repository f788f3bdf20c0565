/*
 * sh_init, sh_shutdown, sh_verify, and what belongs to a CPU coming and going.
 */
#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/central.h"
#include "mm/collector.h"
#include "mm/context.h"
#include "mm/fence.h"
#include "mm/grow.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/kept.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/memory.h"
#include "mm/pages.h"
#include "mm/port.h"
#include "mm/quarantine.h"
#include "mm/report.h"
#include "mm/reserve.h"

/* What this build cannot honour. */
static int config_check(const struct sh_config *config)
{
    if (config->cpus > SH_MAX_CPUS || config->tier > 4 ||
        config->interrupt_reserve > MM_INTERRUPT_RESERVE_MAX) {
        return SH_E_CONFIG;
    }
    return SH_OK;
}

static void mode_set(const struct sh_config *config)
{
    size_t quarantine = config->quarantine, sample = config->guard_sample;
    if (config->tier >= 3) {
        quarantine = quarantine != 0 || config->tier == 4 ? quarantine : MM_QUARANTINE_DEFAULT;
        sample = sample != 0 ? sample : MM_SAMPLE_DEFAULT;
    }
    mm_mode.zero = config->zero;
    mm_mode.demand = config->demand;
    mm_mode.tier = (uint8_t)config->tier;
    /* & and |, not && and ||: no branches, so less code. */
    bool guarded = (config->tier | quarantine) != 0;
    bool sampling = (sample != 0) & !guarded;
    mm_mode.guarded = guarded;
    mm_mode.sampling = sampling;
    mm_mode.remote = (mm_cpus > 1) & !guarded;
    mm_mode.keeps = !(guarded | config->demand);
    mm_mode.careful = guarded | sampling | (mm_hooks.context != NULL);
    mm_span_start();
    mm_reserve_start(config->interrupt_reserve);
    mm_fence_start(sample);
    mm_quarantine_start(quarantine);
}

int sh_init(const struct sh_config *given)
{
    struct sh_config config;
    memset(&config, 0, sizeof config);
    if (mm_mode.started) {
        return SH_E_STATE;
    }
    if (given != NULL) {
        if (given->size < sizeof given->size || given->size > sizeof config) {
            return SH_E_INVALID;
        }
        memcpy(&config, given, given->size);
    }
    config.cpus += config.cpus == 0;
    int result = config_check(&config);
    if (result != SH_OK) {
        return result;
    }
    if (config.hooks != NULL) {
        mm_hooks = *config.hooks;
    }
    if (mm_port() != NULL) {
        result = mm_port()->attach(&mm_hooks, config.cpus);
        if (result != SH_OK) {
            mm_report_reset();
            return result;
        }
    }
#if SH_MAX_CPUS > 1
    mm_cpus = config.cpus;
#endif
    mode_set(&config);
    mm_budget_set_limit(config.limit);
    __atomic_store_n(&mm_mode.started, true, __ATOMIC_RELEASE);
    return SH_OK;
}

int sh_shutdown(void)
{
    if (!mm_mode.started) {
        return SH_E_STATE;
    }
    /* Queries from inside the port's hooks say no from here on. */
    mm_mode.started = false;
    if (mm_port() != NULL) {
        int result = mm_port()->detach();
        if (result != SH_OK) {
            mm_mode.started = true;
            return result;
        }
    } else {
        mm_heap_unreserve();
    }
    if (mm_collector != NULL) {
        mm_collector->shutdown();
        mm_collector = NULL;
    }
    mm_mode = (struct mm_mode){ .started = false };
    mm_arena_reset();
    mm_cache_reset();
    mm_central_reset();
    mm_heap_reset();
    mm_kept_reset();
    mm_grow_reset();
    mm_pages_reset();
    mm_span_reset();
    mm_guard_reset();
    mm_fence_reset();
    mm_quarantine_reset();
    mm_reserve_reset();
    mm_linear_reset();
    mm_budget_reset();
    mm_context_reset();
    mm_report_reset();
    return SH_OK;
}

static int spans_verify(void)
{
    int faults = 0;
    size_t held = 0;
    uintptr_t at = 0;
    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        faults += mm_span_verify(span);
        held += mm_span_state(span) == MM_SPAN_SMALL ? mm_span_held(span) : 0;
        if (at == 0) {
            break;
        }
    }
    if (faults == 0 && mm_collector != NULL) {
        faults = mm_collector->verify();
    }
    return faults != 0 ? faults : mm_verify_equal("slots held back", held, mm_quarantine_slots());
}

int sh_verify(void)
{
    if (!mm_mode.started) {
        return 0;
    }
    /* Later structures are reached through earlier ones: stop where the way is broken. */
    static int (*const checks[])(void) = { mm_arena_verify, mm_linear_verify,  mm_pages_verify,
                                    mm_heap_verify,  spans_verify,      mm_cache_verify,
                                    mm_central_verify, mm_cache_verify_listed, mm_grow_verify,
                                    mm_fence_verify, mm_reserve_verify, mm_port_verify };
    mm_cache_verify_start();
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        int faults = checks[i]();
        if (faults != 0) {
            return faults;
        }
    }
    return 0;
}

int sh_cpu_offline(unsigned cpu)
{
    if (!mm_mode.started || mm_dead()) {
        return SH_E_STATE;
    }
    if (cpu >= mm_cpus) {
        return SH_E_RANGE;
    }
    mm_cache_flush_all(&mm_cpu[cpu]);
    mm_reserve_release(cpu);
    mm_kept_release(cpu);
    return SH_OK;
}

void *sh_cpu_area(unsigned cpu)
{
    return cpu < SH_MAX_CPUS ? &mm_cpu[cpu] : NULL;
}
