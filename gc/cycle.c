/*
 * The collector: what a cycle is, and the only code that changes the phase.
 *
 *                    stop                                                          stop
 *                     │                                                             │
 *     GC_IDLE ──► stacks ──► GC_ROOTS ──► GC_MARK ──► GC_WEAK ──► GC_FINALIZERS ──► GC_REVIVE ──► GC_SWEEP ──► GC_IDLE
 *       │                    ranges,      queue of    cleared     due are           what they     marks → free
 *       │                    uncollect-   spans                   found             reach         bits, lazily
 *       │                    able, due
 *       └ all spans swept,   └──────── objects are born marked, stores go through the barrier ────────┘
 *         no bit is marked
 *
 * 1. The invariant.  While a cycle marks, every object that was reached when it began is marked, or is
 *    reached from a marked object whose span is in the work queue, or from a root that is still to be
 *    looked at, along a path that no store has cut without marking what it led to.  New objects are marked.
 *    So when queue and roots are empty, what is not marked was not reached then, and cannot be now.
 *
 * 2. Down.  A word from a root or from an object names an address.  The map of pages names a span for it,
 *    the span a slot: its mark bit is set, and the span queued unless it is (mark.c).  When the span comes
 *    up, all its newly marked objects are looked into.  Queue and bits lie in descriptors that were made with
 *    the spans: a cycle takes no memory, whatever the graph.
 *
 * 3. Up.  When marking ends, each span is to be swept: its marks become its free bits (sweep.c).  Spans in
 *    which nothing was marked are listed apart and go first when pages run short; the others are swept when
 *    their kind and class needs a slot, in proportion to new spans, by the idle loop, or by the next cycle.
 *
 * 4. Steps.  Each phase works in pieces that the budget bounds and returns what it cost.  A span or a
 *    record counts as GC_SPAN_COST words.  What is not bounded: the stacks, at the stop that begins a
 *    cycle, which end their step.  What exceeds the budget is one object of at most GC_PIECE words, and one
 *    span.
 *
 * 5. Stops.  The first is the only one that looks at stacks: with the barrier their threads hold nothing
 *    afterwards that is not marked, or will be.  The second takes all spans out of the CPUs' entries, so
 *    that nothing is allocated from a span before it is swept.  sh_gc_collect makes it one stop, from the
 *    first to the second: kernels that do nothing else need no barrier.
 *
 * 6. Locks.  One thread is at work in the collector (gc_enter).  What others touch meanwhile, handlers
 *    included, is under the work lock, which is opened every GC_BURST words: lists, bits, entries, phase.
 *    So is the whole of an allocation, a free and a barrier: the world stops before one of these or after
 *    it, never between its parts.  What a CPU has taken when it stops is in its registers or on its stack
 *    (hold, alloc.c).
 *
 * 7. Many CPUs.  Between the stops all other CPUs run on: they allocate from spans that are swept, sweep for
 *    themselves, and store through the barrier.  At the stop of sh_gc_collect they may help (team.c).  A CPU
 *    that takes long to stop delays the hook, and so the collector; it is asked before anything is changed.
 *
 * 8. Masked.  Interrupts are masked with the work lock held: for GC_BURST words (four times as many while the
 *    world stands), for the sweep of one span's bits, for a scan of one span's.  With the world stopped also for what begins and ends marking: the
 *    entries of all CPUs and the lists of all classes.  The stopped CPUs have theirs off until they go on.
 */
#include "gc/cycle.h"

#include "gc/alloc.h"
#include "gc/finalize.h"
#include "gc/mark.h"
#include "gc/pace.h"
#include "gc/roots.h"
#include "gc/sweep.h"
#include "gc/team.h"
#include "gc/work.h"
#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/linear.h"
#include "mm/memory.h"
#include "mm/context.h"
#include "mm/misuse.h"
#include "mm/report.h"

struct gc_state gc;
struct mm_lock gc_work_lock = MM_LOCK_INIT(MM_RANK_GC_WORK);

static bool entered;      /* a thread is at work in the collector */
static uintptr_t entered_at; /* its stack pointer then */
static unsigned stops;    /* nested; of who entered */
static const struct mm_cpu *stopper; /* the CPU that the others stand for; NULL = they run */
static bool whole;        /* the world has stood since the cycle began */
static size_t swept_before, words_before, cycle_longest_step; /* of the trace line */

static void call_hook(void (*hook)(void))
{
    struct mm_hook_mark mark;
    if (hook != NULL) {
        mm_hook_enter(&mark);
        hook();
        mm_hook_leave(&mark);
    }
}

static void set_stopper(bool some)
{
    arch_flags flags = gc_lock();
    stopper = some ? mm_cpu_self() : NULL;
    gc_unlock(flags);
}

void gc_stop(void)
{
    if (stops++ == 0) {
        call_hook(mm_hooks.stop_world);
        set_stopper(true);
    }
}

void gc_resume(void)
{
    if (--stops == 0) {
        set_stopper(false);
        call_hook(mm_hooks.resume_world);
    }
}

/* Another CPU may wait for the collector even while the world is about to stop: it is stopped where it waits.
 * On the collector's own CPU nobody can get on who waits for it then. */
bool gc_enter(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    for (;;) {
        arch_flags flags = gc_lock();
        bool mine = !entered, nested = !mine && entered_at - here < MM_HOOK_STACK;
        bool stopped = stopper == mm_cpu_self();
        entered = true;
        entered_at = mine ? here : entered_at;
        gc_unlock(flags);
        if (mine || nested || !mm_may_wait() || stopped) {
            return mine;
        }
        arch_pause();
    }
}

void gc_leave(void)
{
    arch_flags flags = gc_lock();
    entered = false;
    gc_unlock(flags);
}

/* The phase is read without the lock where that is only to find out that there is nothing to do. */
static void set_phase_locked(enum gc_phase phase)
{
    __atomic_store_n(&gc.phase, (uint8_t)phase, __ATOMIC_RELAXED);
}

static void set_phase(enum gc_phase phase)
{
    arch_flags flags = gc_lock();
    set_phase_locked(phase);
    gc_unlock(flags);
}

/* Marking begins.  Everything is swept, no bit is set. */
static size_t begin(void)
{
    cycle_longest_step = 0;
    gc_stop();
    gc_roots_start();
    arch_flags flags = gc_lock();
    gc_mark_start();
    gc_alloc_flush(GC_UNCOLLECTABLE); /* roots are looked for on the lists */
    gc.stats.heap_before = gc_alloc_live;
    gc.black = true;
    set_phase_locked(GC_ROOTS);
    gc_special_start();
    gc_unlock(flags);
    size_t words = gc_roots_stacks();
    gc_resume();
    return words + GC_SPAN_COST;
}

/* Marking ends, under the lock. */
static void end_locked(void)
{
    for (enum gc_kind kind = 0; kind < GC_KINDS; kind++) {
        gc_alloc_flush(kind);
    }
    gc_sweep_start();
    gc_pace_marked(gc_mark_bytes());
    gc.black = false;
    set_phase_locked(GC_SWEEP);
    gc.stats.cycles++;
}

/* Marking ends, if nothing is left to mark: a barrier may have found something until all stand. */
static size_t end(void)
{
    gc_team_dismiss();
    if (!whole) {
        gc_checkmark_prepare();
    }
    gc_stop();
    if (gc.config.check && gc_work_empty() && gc_checkmark(whole) != 0) {
        mm_corruption("collector: the second marker reached objects that are not marked");
    }
    arch_flags flags = gc_lock();
    if (gc_work_empty()) {
        end_locked();
    }
    gc_unlock(flags);
    gc_resume();
    if (!whole) {
        gc_checkmark_done();
    }
    return GC_SPAN_COST;
}

static void count_words(size_t words)
{
    arch_flags flags = gc_lock();
    gc.stats.words_scanned += words;
    gc_unlock(flags);
}

static void trace(void)
{
    struct mm_hook_mark mark;
    mm_hook_enter(&mark);
    if (gc.config.trace) {
        mm_log("gc %z: %z -> %z bytes, goal %z, %z words scanned, %z spans swept, longest step %z",
               (size_t)gc.stats.cycles, gc.stats.heap_before, gc.stats.heap_after, gc.stats.goal,
               (size_t)gc.stats.words_scanned - words_before, (size_t)gc.stats.spans_swept - swept_before,
               cycle_longest_step);
    }
    mm_hook_leave(&mark);
    words_before = (size_t)gc.stats.words_scanned;
    swept_before = (size_t)gc.stats.spans_swept;
}

/* Everything is swept.  Under no lock; only who entered comes here. */
static void finish(void)
{
    set_phase(GC_IDLE);
    trace();
}

/* From the queue. */
static size_t mark(size_t budget)
{
    if (whole && mm_cpus > 1) {
        return gc_team_mark();
    }
    size_t done = gc_mark_some(budget, whole ? GC_BURST_STOPPED : GC_BURST);
    count_words(done);
    return done;
}

/* From the queue, or on to `next` if it is empty. */
static size_t mark_or(size_t budget, enum gc_phase next)
{
    size_t done = mark(budget);
    if (done == 0) {
        arch_flags flags = gc_lock();
        if (gc_work_empty()) {
            set_phase_locked(next);
        }
        gc_unlock(flags);
    }
    return done;
}

/* A piece of the cycle; what it cost, 0 if only the phase changed.  The one place that goes on. */
static size_t advance(size_t budget)
{
    size_t done = 0;
    switch ((enum gc_phase)gc.phase) {
    case GC_IDLE:
        return begin();
    case GC_ROOTS:
        done = gc_roots_some(budget);
        if (done == 0) {
            set_phase(GC_MARK);
        }
        count_words(done);
        return done;
    case GC_MARK:
        return mark_or(budget, GC_WEAK);
    case GC_WEAK:
        done = gc_special_clear_weak(budget);
        if (done == 0) {
            set_phase(GC_FINALIZERS);
        }
        return done;
    case GC_FINALIZERS:
        done = gc_special_find_due(budget);
        if (done == 0) {
            set_phase(GC_REVIVE);
        }
        return done;
    case GC_REVIVE:
        done = gc_special_mark_due();
        if (done == 0) {
            done = mark(budget);
        }
        return done != 0 ? done : end();
    case GC_SWEEP:
        if (gc_sweep_one()) {
            return GC_SPAN_COST;
        }
        /* A thread that this one preempted may have the last span in hand. */
        if (gc_all_swept()) {
            finish();
        } else {
            arch_pause();
        }
        return 0;
    default:
        return 0;
    }
}

/* Ends what is under way. */
static void complete(void)
{
    while (gc.phase != GC_IDLE && !mm_dead()) {
        advance(SIZE_MAX);
    }
}

/* From the first stop to the second, as one. */
static void mark_whole(void)
{
    complete();
    gc_checkmark_prepare();
    gc_team_call();
    gc_stop();
    whole = true;
    do {
        advance(SIZE_MAX);
    } while (gc.phase != GC_SWEEP && gc.phase != GC_IDLE && !mm_dead());
    whole = false;
    gc_resume();
    gc_checkmark_done();
}

bool gc_cycle_collect(bool sweep, bool due)
{
    if (!gc_enter()) {
        return false;
    }
    if (!due || gc_pace_due()) {
        mark_whole();
    }
    if (sweep) {
        complete();
    }
    gc_leave();
    return true;
}

bool gc_allowed(const char *caller)
{
    if (!gc.started || mm_dead() || mm_misuse_cpu()) {
        return false;
    }
    if (mm_context() != SH_THREAD) {
        mm_misuse("%s: from a handler, or from inside a hook", caller);
        return false;
    }
    return true;
}

void sh_gc_collect(void)
{
    if (gc_allowed("sh_gc_collect") && !gc_cycle_collect(true, false)) {
        mm_misuse("sh_gc_collect: a collection is at work below this call, or interrupts are off");
    }
}

bool sh_gc_step(size_t work)
{
    if (!gc_allowed("sh_gc_step") || !gc_enter()) {
        return false;
    }
    size_t done = 0;
    bool ended = false;
    work += work == 0; /* a piece that may do nothing would look like one that found nothing to do */
    do {
        bool idle = gc.phase == GC_IDLE;
        done += advance(work - done);
        cycle_longest_step = done > cycle_longest_step ? done : cycle_longest_step; /* the end costs nothing */
        if (idle) {
            break; /* the stacks are a step of their own */
        }
        ended = gc.phase == GC_IDLE;
    } while (!ended && done < work && !mm_dead());
    arch_flags flags = gc_lock();
    gc.stats.longest_step = done > gc.stats.longest_step ? done : gc.stats.longest_step;
    gc_unlock(flags);
    gc_leave();
    return ended;
}

bool sh_gc_sweep_step(size_t spans)
{
    if (!gc_allowed("sh_gc_sweep_step")) {
        return false;
    }
    while (spans-- > 0 && gc_sweep_one()) {
    }
    if (gc_phase_is(GC_SWEEP) && gc_all_swept() && gc_enter()) {
        if (gc.phase == GC_SWEEP && gc_all_swept()) {
            finish();
        }
        gc_leave();
    }
    return gc_phase_is(GC_SWEEP);
}

/* Until a span came back: those first of which nothing is kept. */
static bool reclaim(void)
{
    size_t before = __atomic_load_n(&gc.span_count, __ATOMIC_RELAXED), now;
    do {
        now = __atomic_load_n(&gc.span_count, __ATOMIC_RELAXED);
    } while (now >= before && gc_sweep_one());
    return now < before;
}

/* Large objects are counted where they are taken out of use.  The heap asks with a lock held. */
static uint64_t frees(void)
{
    return gc.stats.objects_freed - gc.large_freed;
}

static int verify(void)
{
    return gc_alloc_verify() + gc_roots_verify() + gc_special_verify();
}

static void forget(void)
{
    gc_alloc_reset();
    gc_pace_reset();
    gc_roots_reset();
    gc_special_reset();
    gc_span_reset();
    gc_sweep_reset();
    gc_work_reset();
    gc_team_reset();
    gc_mark_start();
    mm_lock_reset(&gc_work_lock);
    entered = whole = false;
    stops = 0;
    stopper = NULL;
    swept_before = words_before = 0;
    gc = (struct gc_state){ .lowest = UINTPTR_MAX };
}

/* Nothing is marked or swept any more. */
static void disarm(void)
{
    gc.plain = gc.black = false;
    set_phase_locked(GC_IDLE);
}

static const struct mm_collector collector = {
    .disarm = disarm,
    .reclaim = reclaim,
    .free = gc_free,
    .resize = gc_resize,
    .frees = frees,
    .verify_span = gc_span_verify,
    .verify = verify,
    .shutdown = forget,
};

/* Lists and entries are one piece of metadata: that there is none for it leaves nothing behind. */
static bool records_make(void)
{
    size_t lists = GC_KINDS * sizeof *gc.classes, entries = gc_alloc_records(mm_cpus);
    char *records = mm_linear_alloc(lists + entries, 8, true);
    if (records == NULL) {
        return false;
    }
    gc.classes = (void *)records;
    for (unsigned i = 0; i < GC_KINDS * GC_CLASSES * GC_LISTS; i++) {
        gc_list_init(&gc.classes[0][0].list[0] + i);
    }
    gc_list_init(&gc.dead);
    gc_alloc_start(records + lists, mm_cpus);
    return true;
}

int sh_gc_init(const struct sh_gc_config *given)
{
    struct sh_gc_config config;
    memset(&config, 0, sizeof config);
    if (!mm_mode.started || mm_dead() || gc.started) {
        return SH_E_STATE;
    }
    if (given != NULL) {
        if (given->size < sizeof given->size || given->size > sizeof config) {
            return SH_E_INVALID;
        }
        memcpy(&config, given, given->size);
    }
    if (mm_cpus > 1 && (mm_hooks.stop_world == NULL || mm_hooks.scan_stacks == NULL)) {
        return SH_E_HOOK;
    }
    if ((mm_hooks.stop_world == NULL) != (mm_hooks.resume_world == NULL)) {
        return SH_E_HOOK;
    }
    forget();
    if (!records_make()) {
        return SH_E_NOMEM;
    }
    gc.config = config;
    gc.plain = !mm_mode.guarded && !mm_mode.demand;
    gc.fills = mm_mode.guarded || mm_mode.zero;
    gc_pace_start();
    mm_collector = &collector;
    __atomic_store_n(&gc.started, true, __ATOMIC_RELEASE);
    return SH_OK;
}

void sh_gc_stopped(void)
{
    if (SH_MAX_CPUS > 1) {
        gc_team_help();
    }
}

void sh_gc_stats(struct sh_gc_stats *out)
{
    arch_flags flags = gc_lock();
    *out = gc.stats;
    gc_unlock(flags);
}
