/*
 * Proves where the collector may be called from, and with what: handlers, hooks, before and after its time;
 * root ranges; stacks and registers.
 */
#include "kernel-test/test_case.h"
#include "kernel-test/test_gc_util.h"

#include "cpu.h"
#include "gc/mark.h"
#include "mm/context.h"

/* ---- handlers ---- */

static void collect_it(void *arg)
{
    (void)arg;
    sh_gc_collect();
}

static void step_it(void *arg)
{
    (void)arg;
    EXPECT(!sh_gc_step(100));
}

static void sweep_it(void *arg)
{
    (void)arg;
    EXPECT(!sh_gc_sweep_step(100));
}

static void collecting_in_a_handler_is_misuse(void)
{
    t_gc_start_checked();
    void *p = t_root[0] = t_gc_take(64, 0);
    for (enum sh_context context = SH_INTERRUPT; context <= SH_NMI; context++) {
        rig_context(context);
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_gc_collect: from a handler", collect_it, NULL));
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_gc_step: from a handler", step_it, NULL));
        EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_gc_sweep_step: from a handler", sweep_it, NULL));
        rig_context(SH_THREAD);
    }
    EXPECT_EQ(gc.stats.cycles, 0);
    sh_gc_collect();
    EXPECT(t_lives(p));
    EXPECT_WHOLE();
}

static void a_handler_may_allocate_store_and_free(void)
{
    static const enum gc_phase phases[] = { GC_IDLE, GC_ROOTS, GC_MARK, GC_SWEEP };
    static const uintptr_t mask = 3;
    static const struct sh_gc_type type = { 2 * T_WORD, &mask, "pair" };
    for (unsigned i = 0; i < 4; i++) {
        struct sh_gc_weak weak;
        t_gc_start_checked();
        void **p = t_root[0] = t_gc_take(64, 0), *old = p[3] = t_gc_take(16, 0), *other = t_root[1] = t_gc_take(64, 0);
        sh_gc_new(&type, 1);
        EXPECT_EQ(sh_gc_weak_create(&weak, other), SH_OK);
        for (unsigned k = 0; k < 200; k++) {
            void **cell = t_gc_take(16, 0);
            *cell = t_root[2];
            t_root[2] = cell;
        }
        if (phases[i] != GC_IDLE) {
            t_gc_step_to(phases[i], 1);
        }
        uint64_t cycles = gc.stats.cycles;
        rig_context(SH_INTERRUPT);
        void *fresh = sh_gc_malloc(16, 0), **pair = sh_gc_new(&type, 1);
        EXPECT(fresh != NULL && pair != NULL);
        sh_gc_write(&pair[1], old);
        sh_gc_write(&p[3], pair);
        sh_gc_copy(&p[4], &p[3], T_WORD);
        EXPECT(sh_gc_weak_get(weak) == other);
        sh_free(other);
        EXPECT(sh_gc_weak_get(weak) == NULL);
        sh_gc_write(&t_root[1], fresh);
        rig_context(SH_THREAD);
        EXPECT_EQ(gc.stats.cycles, cycles);
        t_gc_step_to(GC_IDLE, 16);
        sh_gc_collect();
        EXPECT(t_lives(p) && t_lives(pair) && t_lives(old) && t_lives(fresh) && !t_lives(other));
        EXPECT(p[4] == pair && pair[1] == old);
        EXPECT_WHOLE();
    }
}

/* What is there is served; no cycle starts, no frame is taken, NULL at the end. */
static void a_handler_that_needs_more_gets_null(void)
{
    const struct sh_gc_config config = { .size = sizeof config, .automatic = true, .min_heap = 8 * SH_PAGE_SIZE };
    t_gc_start(8 * T_MIB, NULL, &config);
    for (unsigned flags = 0; flags < 3; flags++) {
        t_gc_take(48, flags);
    }
    uint64_t cycles = gc.stats.cycles;
    size_t held = rig_frames_held(), count = 0;
    rig_context(SH_INTERRUPT);
    while (sh_gc_malloc(48, count & 1) != NULL) {
        EXPECT(++count < 200000);
    }
    EXPECT(count > 0);
    EXPECT(sh_gc_malloc(4 * T_MIB, 0) == NULL);
    rig_context(SH_NMI);
    EXPECT(sh_gc_malloc(8, 0) == NULL);
    rig_context(SH_THREAD);
    EXPECT_EQ(rig_frames_held(), held);
    EXPECT_EQ(gc.stats.cycles, cycles);
    for (size_t bytes = 0; bytes <= gc.stats.goal && gc.stats.cycles == cycles; bytes += 1000) {
        t_gc_take(1000, 0);
    }
    EXPECT(gc.stats.cycles > cycles);
    EXPECT_WHOLE();
}

static unsigned long probed;

static void allocate_in_hook(void)
{
    void *p = sh_gc_malloc(32, 0);
    if (p != NULL) {
        probed++;
        sh_gc_write(&t_root[9], p);
    }
}

/* A hook of the heap's acts as a handler: it never waits for the collector that is below it. */
static void a_hook_may_allocate(void)
{
    t_gc_start_checked();
    probed = 0;
    t_gc_take(32, 0);
    rig_probe(allocate_in_hook);
    for (unsigned i = 0; i < 300; i++) {
        void **p = t_gc_take(2000 + 100 * i, 0);
        *p = i % 8 == 0 ? NULL : t_root[0];
        sh_gc_write(&t_root[0], p);
        sh_gc_step(200);
    }
    rig_probe(NULL);
    t_gc_step_to(GC_IDLE, 200);
    EXPECT(probed > 0 && t_lives(t_root[9]));
    EXPECT_WHOLE();
}

static void ask_for_too_much(void)
{
    EXPECT(sh_gc_malloc(200 * T_MIB, 0) == NULL);
    EXPECT(!sh_gc_step(1));
}

static void ask_in_log(const char *text)
{
    (void)text;
    ask_for_too_much();
}

static void collect_and_step(void *arg)
{
    (void)arg;
    sh_gc_collect();
    t_gc_step_to(GC_IDLE, 100);
}

/* They are handlers: nothing that they want is waited for, and a step is said to be out of place. */
static void the_collectors_own_hooks_do_not_wait_for_it(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config heap = { .size = sizeof heap, .hooks = &hooks };
    const struct sh_gc_config config = { .size = sizeof config, .trace = true };
    hooks.stop_world = hooks.resume_world = ask_for_too_much;
    hooks.log = ask_in_log;
    t_gc_start(0, &heap, &config);
    void *p = t_root[0] = t_gc_take(64, 0);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_gc_step: from a handler, or from inside a hook", collect_and_step, NULL));
    EXPECT_EQ(rig_panic_count(), 8); /* three stops, as many resumes, two lines */
    EXPECT_EQ(gc.stats.cycles, 2);
    EXPECT(t_lives(p));
    EXPECT_WHOLE();
}

/* ---- the trace ---- */

/* What a cycle found, what it kept, what it did; at once, in two steps, and in many. */
static void a_line_tells_of_each_cycle(void)
{
    static const char line[] =
        "gc %z: %z -> %z bytes, goal %z, %z words scanned, %z spans swept, longest step %z\n";
    const struct sh_gc_config config = { .size = sizeof config, .trace = true };
    struct sh_gc_stats before = { 0, 0, 0, 0, 0, 0, 0, 0 }, after;
    t_gc_start(0, NULL, &config);
    for (unsigned i = 1; i <= 4; i++) {
        t_root[i] = t_gc_take(1000 * i, 0);
        t_gc_take(48, 0);
        rig_log_clear();
        gc.stats.longest_step = 0;
        if ((i & 1) != 0) {
            sh_gc_collect();
        } else {
            t_gc_step_to(GC_IDLE, i == 2 ? SIZE_MAX : 20);
        }
        sh_gc_stats(&after);
        EXPECT_EQ(after.cycles, i);
        EXPECT(after.heap_before > after.heap_after && after.heap_after >= 500 * i * (i + 1));
        EXPECT(after.words_scanned - before.words_scanned >= T_ROOTS && after.spans_swept > before.spans_swept);
        EXPECT(t_contains(rig_log(), case_text(line, (size_t)i, after.heap_before, after.heap_after, after.goal,
                                               (size_t)(after.words_scanned - before.words_scanned),
                                               (size_t)(after.spans_swept - before.spans_swept),
                                               after.longest_step)));
        before = after;
    }
    gc.config.trace = false;
    rig_log_clear();
    sh_gc_collect();
    EXPECT(!t_contains(rig_log(), "gc "));
}

/* ---- flags and arguments ---- */

static void wrong_flags(void *arg)
{
    EXPECT(sh_gc_malloc(8, (unsigned)(uintptr_t)arg) == NULL);
}

static void odd_copy(void *arg)
{
    sh_gc_copy(t_root, (char *)t_root + (uintptr_t)arg, 3 * T_WORD + (arg == NULL));
}

static void wrong_arguments_are_misuse(void)
{
    t_gc_start_checked();
    for (uintptr_t flags = 3; flags < 70; flags += 9) {
        EXPECT(rig_panics(SH_PANIC_MISUSE, "no such flags", wrong_flags, (void *)flags));
    }
    EXPECT(rig_panics(SH_PANIC_MISUSE, "sh_gc_copy(", odd_copy, NULL));
    EXPECT(rig_panics(SH_PANIC_MISUSE, "not whole words", odd_copy, (void *)1));
    EXPECT_WHOLE();
}

/* Overlapping both ways, in bursts longer than one. */
static void copy_moves_as_memmove_does(void)
{
    t_gc_start_checked();
    size_t words = 1000;
    uintptr_t *p = t_root[0] = t_gc_take(words * T_WORD, 0);
    for (unsigned marking = 0; marking < 2; marking++) {
        for (size_t by = 0; by < 400; by += 133) {
            for (unsigned down = 0; down < 2; down++) {
                for (size_t i = 0; i < words; i++) {
                    p[i] = t_mark_of(i);
                }
                size_t from = down != 0 ? 0 : by, to = down != 0 ? by : 0, count = words - by;
                sh_gc_copy(&p[to], &p[from], count * T_WORD);
                for (size_t i = 0; i < words; i++) {
                    bool moved = i - to < count;
                    EXPECT_EQ(p[i], t_mark_of(moved ? i - to + from : i));
                }
            }
        }
        sh_gc_copy(p, NULL, words * T_WORD);
        EXPECT(t_is_zero(p, words * T_WORD));
        t_gc_step_to(GC_ROOTS, 1);
    }
}

/* ---- roots ---- */

static void *range[8];

static void remove_root(void *start)
{
    sh_gc_remove_root(start);
}

static void roots_may_be_added_and_removed(void)
{
    t_gc_start_checked();
    EXPECT_EQ(sh_gc_add_root(NULL, 8), SH_E_INVALID);
    EXPECT_EQ(sh_gc_add_root(range, 0), SH_E_INVALID);
    EXPECT_EQ(sh_gc_add_root(range, SIZE_MAX), SH_E_INVALID);
    EXPECT_EQ(sh_gc_add_root(range, (uintptr_t)0 - (uintptr_t)range), SH_E_INVALID);
    EXPECT_EQ(sh_gc_add_root(&range[2], 2 * T_WORD), SH_OK);
    EXPECT_EQ(sh_gc_add_root(&range[2], 2 * T_WORD), SH_E_OVERLAP);
    EXPECT_EQ(sh_gc_add_root(range, sizeof range), SH_E_OVERLAP);
    EXPECT_EQ(sh_gc_add_root((char *)&range[4] - 1, 1), SH_E_OVERLAP);
    EXPECT_EQ(sh_gc_add_root(&range[4], 1), SH_OK); /* too small for a word */
    EXPECT_EQ(sh_gc_add_root((char *)&range[5] + 1, 2 * T_WORD), SH_OK); /* one whole word */
    for (unsigned i = 0; i < 8; i++) {
        range[i] = t_gc_take(24, 0);
    }
    sh_gc_collect();
    for (unsigned i = 0; i < 8; i++) {
        EXPECT(t_lives(range[i]) == (i == 2 || i == 3 || i == 6));
    }
    EXPECT(rig_panics(SH_PANIC_MISUSE, "no root range begins there", remove_root, &range[3]));
    EXPECT(rig_panics(SH_PANIC_MISUSE, "no root range begins there", remove_root, NULL));
    sh_gc_remove_root(&range[2]);
    EXPECT(rig_panics(SH_PANIC_MISUSE, "no root range begins there", remove_root, &range[2]));
    sh_gc_collect();
    EXPECT(!t_lives(range[2]) && !t_lives(range[3]) && t_lives(range[6]));
    sh_gc_remove_root(&range[4]);
    sh_gc_remove_root((char *)&range[5] + 1);
    EXPECT_EQ(sh_gc_add_root(range, sizeof range), SH_OK);
    sh_gc_remove_root(range);
    EXPECT_WHOLE();
}

/* ---- init ---- */

static void what_is_not_started_says_so(void)
{
    struct sh_gc_weak weak = { 64, 0 };
    rig_reset();
    EXPECT_EQ(sh_gc_init(NULL), SH_E_STATE);
    for (unsigned started = 0; started < 2; started++) {
        EXPECT(sh_gc_malloc(8, 0) == NULL && sh_gc_weak_get(weak) == NULL);
        EXPECT_EQ(sh_gc_add_root(range, sizeof range), SH_E_STATE);
        sh_gc_remove_root(range);
        sh_gc_collect();
        EXPECT(!sh_gc_step(10) && !sh_gc_sweep_step(10));
        EXPECT_EQ(sh_gc_set_finalizer(range, NULL, NULL), SH_E_INVALID);
        EXPECT_EQ(sh_gc_run_finalizers(1), 0);
        EXPECT_EQ(sh_leak_check(NULL, NULL), SIZE_MAX);
        sh_gc_write(&range[0], &range[1]);
        EXPECT(range[0] == &range[1]);
        if (started == 0) {
            rig_start(0, NULL);
        }
    }
}

static void only_a_sound_configuration_starts(void)
{
    struct sh_gc_config config = { .size = sizeof config + 1 };
    struct sh_hooks hooks = *rig_hooks();
    struct sh_config heap = { .size = sizeof heap, .hooks = &hooks };
    rig_start(0, NULL);
    EXPECT_EQ(sh_gc_init(&config), SH_E_INVALID);
    config.size = sizeof config.size - 1;
    EXPECT_EQ(sh_gc_init(&config), SH_E_INVALID);
    config.size = sizeof config.size; /* an older caller */
    config.check = true;
    EXPECT_EQ(sh_gc_init(&config), SH_OK);
    EXPECT(!gc.config.check);
    EXPECT_EQ(sh_gc_init(NULL), SH_E_STATE);
    rig_reset();
    rig_hooks();
    EXPECT_EQ(sh_init(NULL), SH_OK); /* no window */
    EXPECT_EQ(sh_gc_init(NULL), SH_E_NOMEM);
    EXPECT(sh_gc_malloc(8, 0) == NULL);
    hooks.stop_world = allocate_in_hook; /* without the other */
    rig_start(0, &heap);
    EXPECT_EQ(sh_gc_init(NULL), SH_E_HOOK);
}

static void a_start_that_fails_changes_nothing(void)
{
    for (unsigned long nth = 1; nth < 60; nth++) {
        rig_start(0, NULL);
        rig_fail(nth, true);
        int error = sh_gc_init(NULL);
        bool failed = rig_failed() != 0;
        rig_fail(0, false);
        EXPECT(error == (failed ? SH_E_NOMEM : SH_OK));
        EXPECT_WHOLE();
        EXPECT_EQ(sh_gc_init(NULL), failed ? SH_OK : SH_E_STATE);
        EXPECT(sh_gc_malloc(8, 0) != NULL);
        EXPECT_WHOLE();
        if (!failed) {
            return;
        }
    }
    EXPECT(false);
}

static void never(void *object, void *arg)
{
    (void)object;
    (void)arg;
    EXPECT(false);
}

/* In any phase, with all kinds of records out. */
static void shutdown_ends_it_and_it_may_start_again(void)
{
    for (enum gc_phase phase = GC_IDLE; phase <= GC_SWEEP; phase++) {
        struct sh_gc_weak weak;
        t_gc_start_checked();
        for (unsigned i = 0; i < 300; i++) {
            void **p = t_gc_take(16 + i, i & 1);
            EXPECT_EQ(sh_gc_weak_create(&weak, p), SH_OK);
            EXPECT_EQ(sh_gc_set_finalizer(p, never, NULL), SH_OK);
            t_root[i & 63] = p;
        }
        if (phase != GC_IDLE) {
            t_gc_step_to(phase, 1);
        }
        EXPECT_EQ(sh_shutdown(), SH_OK);
        EXPECT(sh_gc_malloc(8, 0) == NULL && sh_gc_weak_get(weak) == NULL);
        t_gc_start_checked();
        EXPECT(sh_gc_weak_get(weak) == NULL);
        EXPECT_EQ(t_gc_live_count(), 0);
        sh_gc_collect();
        EXPECT_EQ(gc.stats.cycles, 1);
        EXPECT_WHOLE();
    }
}

/* ---- stacks and registers ---- */

static struct {
    const void *low, *high;
} stack[2];
static unsigned scans, stopped, most_stopped;

static void scan_stacks(void (*scan)(const void *, const void *, void *), void *arg)
{
    scans++;
    for (unsigned i = 0; i < 2; i++) {
        if (stack[i].low != stack[i].high) {
            scan(stack[i].low, stack[i].high, arg);
        }
    }
}

static void stop_world(void)
{
    EXPECT_EQ(stopped, 0);
    most_stopped += ++stopped;
}

static void resume_world(void)
{
    EXPECT_EQ(stopped, 1);
    stopped--;
}

static void start_with_stacks(void)
{
    struct sh_hooks hooks = *rig_hooks();
    const struct sh_config heap = { .size = sizeof heap, .hooks = &hooks };
    const struct sh_gc_config config = { .size = sizeof config, .check = true };
    hooks.scan_stacks = scan_stacks;
    hooks.stop_world = stop_world;
    hooks.resume_world = resume_world;
    stack[0].low = stack[0].high = stack[1].low = stack[1].high = NULL;
    stopped = scans = most_stopped = 0;
    t_gc_start(0, &heap, &config);
}

/* The stack of another thread, as its kernel reports it: not word-aligned, to the byte. */
static void a_stack_keeps_what_lies_in_it(void)
{
    static uintptr_t thread[40];
    start_with_stacks();
    for (unsigned i = 0; i < 40; i++) {
        thread[i] = (uintptr_t)t_gc_take(32, 0) + (i & 31);
    }
    stack[1].low = (const char *)&thread[4] + 1;
    stack[1].high = (const char *)&thread[30] + T_WORD - 1;
    sh_gc_collect();
    for (unsigned i = 0; i < 40; i++) {
        EXPECT(t_lives((void *)thread[i]) == (i > 4 && i < 30));
    }
    EXPECT(stopped == 0 && scans != 0 && most_stopped == 1);
    EXPECT_WHOLE();
}

/* Stacks are looked at when a cycle begins, and never again in it. */
static void stacks_are_looked_at_once_a_cycle(void)
{
    static uintptr_t thread[4];
    start_with_stacks();
    gc.config.check = false;
    thread[0] = (uintptr_t)t_gc_take(32, 0);
    stack[1].low = thread;
    stack[1].high = &thread[4];
    EXPECT(!sh_gc_step(16));
    EXPECT_EQ(scans, 1);
    uintptr_t kept = thread[0];
    thread[0] = 0;
    t_gc_step_to(GC_IDLE, 16);
    EXPECT(scans == 1 && most_stopped == 2);
    EXPECT(t_lives((void *)kept));
    sh_gc_collect();
    EXPECT(!t_lives((void *)kept));
}

/* Values that a compiler keeps where it likes, registers first. */
#define OPAQUE(a, b, c) __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c))

#define VALUES 9u /* more than registers that a callee keeps */

static uintptr_t wanted[VALUES];
static unsigned found;

static __attribute__((no_sanitize_address)) void look_for_values(uintptr_t here, void *arg)
{
    for (unsigned i = 0; i < VALUES; i++) {
        bool seen = false;
        for (uintptr_t at = here; at < (uintptr_t)arg && !seen; at += T_WORD) {
            seen = *(const volatile uintptr_t *)at == ~wanted[i];
        }
        found += seen;
    }
}

static __attribute__((noinline)) void hold_values(void)
{
    uintptr_t a = ~wanted[0], b = ~wanted[1], c = ~wanted[2], d = ~wanted[3], e = ~wanted[4], f = ~wanted[5];
    uintptr_t g = ~wanted[6], h = ~wanted[7], i = ~wanted[8];
    OPAQUE(a, b, c);
    OPAQUE(d, e, f);
    OPAQUE(g, h, i);
    arch_spill(look_for_values, __builtin_frame_address(0));
    OPAQUE(a, b, c);
    OPAQUE(d, e, f);
    OPAQUE(g, h, i);
}

/* Kept as what they are not, so that no other place holds them. */
static void all_registers_are_spilled(void)
{
    for (unsigned i = 0; i < VALUES; i++) {
        wanted[i] = ~(t_mark_of(i) << 3);
    }
    found = 0;
    hold_values();
    EXPECT_EQ(found, VALUES);
}

/* An object that only the running code holds is kept: in a register, or where that was saved. */
static __attribute__((noinline, unused)) void hold_objects(uintptr_t *hidden)
{
    uintptr_t a = ~hidden[0], b = ~hidden[1], c = ~hidden[2];
    OPAQUE(a, b, c);
    sh_gc_collect();
    OPAQUE(a, b, c);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(t_lives((void *)~hidden[i]));
    }
}

static void what_the_running_code_holds_is_kept(void)
{
    static uintptr_t hidden[3];
    start_with_stacks();
    for (unsigned i = 0; i < 3; i++) {
        hidden[i] = ~(uintptr_t)t_gc_take((size_t)64 << i, 0);
    }
    stack[0].high = __builtin_frame_address(0);
    stack[0].low = (const char *)stack[0].high - 8192; /* it is clipped where the collector stands */
    hold_objects(hidden);
    EXPECT_WHOLE();
}

/* ---- handlers at every opening of the mask ---- */

#ifdef HOST_INTERRUPTS

static bool in_handler;
static unsigned long openings, fires_at;
static uint32_t draw;

/* What handlers may do, to roots that only they write to. */
static void do_something(void)
{
    unsigned i = 128 + t_below(&draw, 128), k = 128 + t_below(&draw, 128);
    size_t size = 8 + t_below(&draw, 100) * (t_below(&draw, 8) == 0 ? 100 : 1);
    void *p = t_root[i];
    if (t_below(&draw, 3) == 0) {
        sh_gc_write(&t_root[i], NULL);
        sh_free(p);
    } else if ((p = sh_gc_malloc(size, t_below(&draw, 3))) != NULL) {
        EXPECT(t_is_zero(p, size));
        sh_gc_write(&t_root[i], p);
        sh_free(t_root[k] == p ? NULL : t_root[k]);
        sh_gc_write(&t_root[k], p);
        sh_gc_write(&t_root[i], i == k ? p : NULL);
    }
}

static void handler(void)
{
    if (in_handler || openings++ < fires_at) {
        return;
    }
    in_handler = true;
    rig_context(SH_INTERRUPT);
    do_something();
    rig_context(SH_THREAD);
    fires_at = openings + t_below(&draw, 20);
    in_handler = false;
}

static void allocate_and_collect(uint32_t *state)
{
    for (unsigned i = 0; i < 1500; i++) {
        unsigned k = t_below(state, 128);
        if (t_below(state, 8) == 0) {
            sh_gc_step(t_below(state, 500));
        } else if (t_below(state, 8) == 0) {
            sh_gc_sweep_step(3);
        } else {
            sh_gc_write(&t_root[k], t_gc_take(8 + t_below(state, 200), t_below(state, 3)));
        }
    }
}

static void handlers_may_come_at_any_opening(void)
{
    const struct sh_gc_config config = { .size = sizeof config, .automatic = true, .min_heap = 50000 };
    for (uint32_t seed = 1; seed < 12; seed++) {
        const struct sh_config heap = { .size = sizeof heap, .tier = seed % 3, .hooks = rig_hooks() };
        uint32_t state = draw = seed * 7919;
        t_gc_start(0, &heap, &config);
        openings = fires_at = 0;
        host_interrupt = handler;
        allocate_and_collect(&state);
        host_interrupt = NULL;
        EXPECT(openings > 1000);
        EXPECT_WHOLE();
        sh_gc_collect();
        for (unsigned i = 0; i < T_ROOTS; i++) {
            EXPECT(t_root[i] == NULL || t_lives(t_root[i]));
        }
        EXPECT_WHOLE();
    }
}

static void take_once(void)
{
    if (!in_handler && gc.phase == GC_SWEEP && openings++ == fires_at) {
        in_handler = true;
        rig_context(SH_INTERRUPT);
        sh_gc_malloc(5000, 0);
        sh_gc_malloc(24, 0);
        rig_context(SH_THREAD);
        in_handler = false;
    }
}

/* A handler that sweeps the last span of a list does not end the sweep of the others. */
static void a_handler_does_not_end_the_sweep(void)
{
    for (unsigned long at = 0; at < 200; at++) {
        t_gc_start(0, NULL, NULL);
        for (unsigned i = 0; i < 20; i++) {
            t_root[i] = t_gc_take(100 * (i + 1), 0);
            t_gc_take(100 * (i + 1), 0);
        }
        t_gc_take(9000, 0);
        t_gc_step_to(GC_SWEEP, 1);
        openings = 0;
        fires_at = at;
        host_interrupt = take_once;
        t_gc_step_to(GC_IDLE, 16);
        host_interrupt = NULL;
        EXPECT_EQ(gc.unswept, 0);
        EXPECT_WHOLE();
    }
}

/* ---- another thread at every opening of the mask ---- */

static void other_thread(void)
{
    if (in_handler) {
        return;
    }
    in_handler = true;
    if (mm_context() == SH_THREAD && openings++ == fires_at) {
        if (draw == 0) {
            sh_gc_collect();
        }
        for (uint32_t i = 0; i < draw; i++) {
            sh_gc_step(16);
        }
    }
    in_handler = false;
}

/* Only the stack of who allocates holds the object yet.  `draw`: how far the other thread's steps come. */
static void a_thread_that_allocates_may_be_preempted_by_a_cycle(void)
{
    static const size_t sizes[] = { 24, 900, 50000 };
    const struct sh_config heap = { .size = sizeof heap, .hooks = rig_stack_hooks() };
    for (unsigned i = 0; i < 3 * 3 * 60; i++) {
        size_t size = sizes[i % 3];
        t_gc_start(0, &heap, NULL);
        for (unsigned k = 0; k < 20; k++) {
            t_root[k] = t_gc_take(size, 0);
            t_gc_take(size, 0);
        }
        draw = i / 3 % 3 * 20;
        openings = 0;
        fires_at = i / 9;
        host_interrupt = other_thread;
        void *p = sh_gc_malloc(size, 0);
        host_interrupt = NULL;
        sh_gc_write(&t_root[40], p);
        EXPECT(p != NULL && t_lives(p));
        EXPECT_WHOLE();
        sh_gc_collect();
        for (unsigned k = 0; k < 20; k++) {
            EXPECT(t_lives(t_root[k]));
        }
        EXPECT(t_lives(p));
        EXPECT_EQ(gc.unswept, 0);
        EXPECT_WHOLE();
    }
}

/* ---- another thread while roots are looked for ---- */

#define ROOTS_MANY 200u

static void *many[ROOTS_MANY + 2][3]; /* root ranges; the last two are not */
static void (*meanwhile)(void);
static int meanwhile_result;
static bool was_root; /* the first range, when the cycle began meanwhile */

static void count_opening(void)
{
    openings++;
}

static void do_meanwhile(void)
{
    if (!in_handler && openings++ == fires_at) {
        in_handler = true;
        meanwhile();
        in_handler = false;
    }
}

static void start_with_roots(void)
{
    t_gc_start_checked();
    for (unsigned i = 0; i < ROOTS_MANY; i++) {
        EXPECT_EQ(sh_gc_add_root(many[i], sizeof many[i]), SH_OK);
    }
}

static void roots_are_looked_for_in_pieces(void)
{
    start_with_roots();
    openings = 0;
    host_interrupt = count_opening;
    EXPECT_EQ(sh_gc_add_root(many[ROOTS_MANY], sizeof many[0]), SH_OK);
    EXPECT(openings >= ROOTS_MANY / GC_BURST);
    openings = 0;
    sh_gc_remove_root(many[0]); /* at the end of the list */
    host_interrupt = NULL;
    EXPECT(openings >= ROOTS_MANY / GC_BURST);
    EXPECT_WHOLE();
}

static void add_the_same(void) { meanwhile_result = sh_gc_add_root(many[ROOTS_MANY], T_WORD); }
static void add_other(void) { meanwhile_result = sh_gc_add_root(many[ROOTS_MANY + 1], T_WORD); }

static void begin_cycle(void)
{
    was_root = sh_gc_add_root(many[0], T_WORD) == SH_E_OVERLAP;
    if (!was_root) {
        sh_gc_remove_root(many[0]);
    }
    sh_gc_step(1);
}

static void remove_most(void)
{
    for (unsigned i = 1; i < ROOTS_MANY; i++) {
        sh_gc_remove_root(many[i]);
    }
}

static void remove_and_add_again(void)
{
    remove_most();
    for (unsigned i = ROOTS_MANY - 1; i > 0; i--) {
        EXPECT_EQ(sh_gc_add_root(many[i], sizeof many[i]), SH_OK);
    }
}

/* Another thread between any two pieces of a call.  If it begins a cycle, what a range holds that goes is to be
 * kept all the same. */
static void expect_roots(void (*fn)(void), unsigned long at, bool removing)
{
    start_with_roots();
    many[0][1] = t_gc_take(64, 0);
    meanwhile = fn;
    meanwhile_result = SH_OK;
    was_root = false;
    openings = 0;
    fires_at = at;
    host_interrupt = do_meanwhile;
    if (removing) {
        sh_gc_remove_root(many[0]);
        if (was_root) {
            t_gc_step_to(GC_IDLE, 16);
            EXPECT(t_lives(many[0][1]));
        }
        many[0][1] = t_gc_take(64, 0);
        EXPECT_EQ(sh_gc_add_root(many[0], sizeof many[0]), SH_OK);
    } else {
        int result = sh_gc_add_root(many[ROOTS_MANY], T_WORD);
        EXPECT((result == SH_OK && meanwhile_result == SH_OK) || fn == add_the_same);
        EXPECT(fn != add_the_same || openings <= at || (result == SH_OK) == (meanwhile_result == SH_E_OVERLAP));
    }
    host_interrupt = NULL;
    EXPECT_EQ(sh_gc_add_root(many[0], T_WORD), SH_E_OVERLAP);
    EXPECT_EQ(sh_verify(), 0);
    t_gc_step_to(GC_IDLE, 16);
    EXPECT(t_lives(many[0][1]));
    sh_gc_remove_root(many[0]);
    sh_gc_collect();
    EXPECT(!t_lives(many[0][1]));
    EXPECT_WHOLE();
}

static void roots_may_change_while_one_is_looked_for(void)
{
    static void (*const other[])(void) = { add_the_same, add_other, begin_cycle, remove_most, remove_and_add_again };
    for (unsigned i = 0; i < sizeof other / sizeof other[0]; i++) {
        for (unsigned long at = 0; at < 2 * (ROOTS_MANY / GC_BURST + 4); at++) {
            expect_roots(other[i], at, false);
            expect_roots(other[i], at, true);
        }
    }
}

#endif

static const struct test tests[] = {
#ifdef HOST_INTERRUPTS
    { "handlers_may_come_at_any_opening", handlers_may_come_at_any_opening },
    { "roots_are_looked_for_in_pieces", roots_are_looked_for_in_pieces },
    { "roots_may_change_while_one_is_looked_for", roots_may_change_while_one_is_looked_for },
    { "a_handler_does_not_end_the_sweep", a_handler_does_not_end_the_sweep },
    { "a_thread_that_allocates_may_be_preempted_by_a_cycle", a_thread_that_allocates_may_be_preempted_by_a_cycle },
#endif
    { "collecting_in_a_handler_is_misuse", collecting_in_a_handler_is_misuse },
    { "a_handler_may_allocate_store_and_free", a_handler_may_allocate_store_and_free },
    { "a_handler_that_needs_more_gets_null", a_handler_that_needs_more_gets_null },
    { "a_hook_may_allocate", a_hook_may_allocate },
    { "the_collectors_own_hooks_do_not_wait_for_it", the_collectors_own_hooks_do_not_wait_for_it },
    { "a_line_tells_of_each_cycle", a_line_tells_of_each_cycle },
    { "wrong_arguments_are_misuse", wrong_arguments_are_misuse },
    { "copy_moves_as_memmove_does", copy_moves_as_memmove_does },
    { "roots_may_be_added_and_removed", roots_may_be_added_and_removed },
    { "what_is_not_started_says_so", what_is_not_started_says_so },
    { "only_a_sound_configuration_starts", only_a_sound_configuration_starts },
    { "a_start_that_fails_changes_nothing", a_start_that_fails_changes_nothing },
    { "shutdown_ends_it_and_it_may_start_again", shutdown_ends_it_and_it_may_start_again },
    { "a_stack_keeps_what_lies_in_it", a_stack_keeps_what_lies_in_it },
    { "stacks_are_looked_at_once_a_cycle", stacks_are_looked_at_once_a_cycle },
    { "all_registers_are_spilled", all_registers_are_spilled },
    { "what_the_running_code_holds_is_kept", what_the_running_code_holds_is_kept },
};

SUITE(gc_context, tests);
