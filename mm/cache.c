/*
 * The CPU's caches: what happens around the fast paths of malloc.c (see cache.h).
 *
 * A small span is in one place at a time, and its countdown fires when it has to move:
 *
 *     new ──► CURRENT ──(all slots taken)──► FULL ──(first free)──► QUEUED
 *              ▲   ▲                                                 │   │
 *              │   └──────────────(refill: first in, first out)──────┘   │
 *              └──── EMPTY ◄────────────────────────────────(last free)──┘
 *                      └──(at the next need of pages, all but one a class)──► pages
 *
 * First in, first out gives a queued span time to collect frees before it is allocated from again.
 * Releasing costs a walk up the summary tree, so sh_free only lists the span; whoever needs pages next
 * does it, and a class that needs a span again first finds its own.
 */
#include "mm/cache.h"

#include "mm/central.h"
#include "mm/collector.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/remote.h"
#include "mm/report.h"

uintptr_t mm_zero_word;
struct mm_mode mm_mode;
const struct mm_collector *mm_collector;
#if SH_MAX_CPUS > 1
unsigned mm_cpus = 1;
#endif

struct mm_cpu mm_cpu[MM_CPU_RECORDS] = {
    [0 ... MM_CPU_RECORDS - 1] = { .entry = { [0 ... MM_CLASSES - 1] = { .word = &mm_zero_word } } }
};

MM_NOINLINE struct mm_cpu *mm_cpu_nobodys(void)
{
    return &mm_cpu[MM_CPU_NOBODYS];
}

MM_CALL void mm_queue_push(struct mm_span **head, struct mm_span **tail, struct mm_span *span)
{
    span->next = NULL;
    span->prev = *tail;
    if (*tail != NULL) {
        (*tail)->next = span;
    } else {
        *head = span;
    }
    *tail = span;
}

MM_CALL void mm_queue_remove(struct mm_span **head, struct mm_span **tail, struct mm_span *span)
{
    *(span->prev != NULL ? &span->prev->next : head) = span->next;
    *(span->next != NULL ? &span->next->prev : tail) = span->prev;
    span->next = span->prev = NULL;
}

/* Credits the frees that the old countdown saw and starts a new one. */
static MM_ONCE void arm(struct mm_cpu *cpu, struct mm_span *span, enum mm_place place, uint32_t countdown)
{
    cpu->frees += span->armed - span->countdown;
    span->place = (uint8_t)place;
    span->armed = span->countdown = countdown;
}

static struct mm_entry *entry_of(struct mm_cpu *cpu, const struct mm_span *span)
{
    return &cpu->entry[span->class];
}

/* The first word with free slots in [word, end), or end. */
static inline uintptr_t *scan(uintptr_t *word, const uintptr_t *end)
{
    while (word < end && *word == 0) {
        word++;
    }
    return word;
}

/* Points the entry at a word of its span that has free slots, and takes one. */
static inline void *take_first(struct mm_entry *entry, const struct mm_span *span, uintptr_t *word)
{
    uintptr_t bits = *word, slots = ((uintptr_t)word - (uintptr_t)span->free) * 8;
    size_t size = entry->size;
    entry->word = word;
    entry->base = span->base + slots * size;
    mm_word_set(word, bits & (bits - 1));
    return (void *)(entry->base + arch_ctz(bits) * size);
}

static void entry_clear(struct mm_entry *entry)
{
    entry->word = &mm_zero_word;
    entry->span = NULL;
}

/* A span without late frees becomes this CPU's. */
static void own(struct mm_cpu *cpu, struct mm_span *span)
{
    __atomic_store_n(&span->owner, cpu, __ATOMIC_RELEASE);
    mm_span_set_local(span, cpu);
}

static inline uintptr_t *make_current(struct mm_cpu *cpu, struct mm_entry *entry, struct mm_span *span)
{
    arm(cpu, span, MM_PLACE_CURRENT, MM_COUNTDOWN_CURRENT);
    entry->span = span;
    entry->size = span->size;
    uintptr_t *end = span->free + mm_span_words(span), *word = scan(span->free, end);
    if (MM_UNLIKELY(word == end)) {
        mm_corruption("span %x was queued, but has no free slot", span->base);
        return NULL;
    }
    return word;
}

/* Moves on inside the current span, from its word, which is empty; NULL = every slot is taken, and it is current
 * no more. */
static inline uintptr_t *advance(struct mm_cpu *cpu, struct mm_entry *entry, struct mm_span *span)
{
    uintptr_t *end = span->free + mm_span_words(span), *word = scan(entry->word + 1, end);
    if (word != end) {
        return word;
    }
    /* Words behind were exhausted once: they matter only if something was freed since. */
    if (span->countdown != span->armed) {
        word = scan(span->free, entry->word);
        if (word != entry->word) {
            return word;
        }
    }
    arm(cpu, span, MM_PLACE_FULL, 1);
    entry_clear(entry);
    return NULL;
}

static void surplus_mark(struct mm_cpu *cpu, unsigned class, bool surplus)
{
    uintptr_t bit = (uintptr_t)1 << (class % MM_WORD_BITS), *word = &cpu->surplus[class / MM_WORD_BITS];
    mm_word_set(word, surplus ? *word | bit : *word & ~bit);
}

static void empty_push(struct mm_cpu *cpu, struct mm_entry *entry, struct mm_span *span)
{
    arm(cpu, span, MM_PLACE_EMPTY, 0);
    if (entry->empty != NULL) {
        surplus_mark(cpu, span->class, true);
    }
    span->next = entry->empty;
    entry->empty = span;
}

static struct mm_span *empty_pop(struct mm_cpu *cpu, struct mm_entry *entry, unsigned class)
{
    struct mm_span *span = entry->empty;
    if (span != NULL) {
        entry->empty = span->next;
        if (entry->empty == NULL || entry->empty->next == NULL) {
            surplus_mark(cpu, class, false);
        }
    }
    return span;
}

/* The oldest queued span leaves the queue. */
static void queue_pop(struct mm_entry *entry, struct mm_span *span)
{
    struct mm_span *next = span->next;
    entry->head = next;
    entry->queued--;
    if (next != NULL) {
        next->prev = NULL;
    } else {
        entry->tail = NULL;
    }
}

/* The next span to take from becomes the current one; its word, NULL = there is none. */
static inline uintptr_t *next(struct mm_cpu *cpu, struct mm_entry *entry, struct mm_span **out)
{
    cpu->refills += SH_MAX_CPUS > 1;
    struct mm_span *span = entry->head;
    if (MM_LIKELY(span != NULL)) {
        queue_pop(entry, span);
    } else {
        unsigned class = (unsigned)(entry - cpu->entry);
        span = mm_cpu_known(cpu) || mm_mode.guarded ? mm_central_take(class, cpu) : NULL;
        if (span == NULL && (span = empty_pop(cpu, entry, class)) == NULL) {
            return NULL;
        }
    }
    *out = span;
    return make_current(cpu, entry, span);
}

MM_CALL void *mm_cache_refill(struct mm_cpu *cpu, struct mm_entry *entry)
{
    struct mm_span *span = entry->span;
    uintptr_t *word = span == NULL ? NULL : advance(cpu, entry, span);
    if (word == NULL && (word = next(cpu, entry, &span)) == NULL) {
        return NULL;
    }
    return take_first(entry, span, word);
}

MM_CALL void mm_cache_install(struct mm_cpu *cpu, struct mm_span *span)
{
    struct mm_entry *entry = entry_of(cpu, span);
    own(cpu, span);
    if (entry->span != NULL) {
        empty_push(cpu, entry, span); /* a handler was faster: this one is not needed */
        return;
    }
    span->place = MM_PLACE_CURRENT;
    span->armed = span->countdown = MM_COUNTDOWN_CURRENT;
    entry->span = span;
    entry->size = span->size;
    entry->base = span->base;
    entry->word = span->free;
    mm_cache_conceal(entry);
}

static void queue_span(struct mm_cpu *cpu, struct mm_entry *entry, struct mm_span *span, uint32_t live)
{
    if (mm_cpus > 1 && entry->queued >= MM_QUEUE_LIMIT) {
        arm(cpu, span, MM_PLACE_CENTRAL, live);
        mm_central_give(span);
        return;
    }
    arm(cpu, span, MM_PLACE_QUEUED, live);
    mm_queue_push(&entry->head, &entry->tail, span);
    entry->queued++;
}

/* A full span has free slots: the first ones, or all. */
static void leave_full(struct mm_cpu *cpu, struct mm_entry *entry, struct mm_span *span)
{
    uint32_t live = span->slots - (span->armed - span->countdown);
    if (live == 0) {
        own(cpu, span);
        empty_push(cpu, entry, span);
    } else if (mm_span_owner(span) == NULL) {
        arm(cpu, span, MM_PLACE_CENTRAL, live);
        mm_central_add(span);
    } else {
        queue_span(cpu, entry, span, live);
    }
}

/* The cache that a slow path of this CPU works on.  Interrupts masked. */
static struct mm_cpu *self(void)
{
    return SH_MAX_CPUS > 1 && mm_mode.guarded ? &mm_cpu[MM_CPU_GUARDED] : mm_cpu_self();
}

MM_CALL void mm_cache_freed(struct mm_span *span, uint32_t count)
{
    bool moves = span->countdown <= count;
    span->countdown -= count;
    if (moves) {
        mm_cache_event(self(), span);
    }
}

MM_CALL void mm_cache_event(struct mm_cpu *cpu, struct mm_span *span)
{
    struct mm_entry *entry = entry_of(cpu, span);
    switch ((enum mm_place)__builtin_expect(span->place, MM_PLACE_FULL)) {
    case MM_PLACE_CURRENT:
        arm(cpu, span, MM_PLACE_CURRENT, MM_COUNTDOWN_CURRENT);
        return;
    case MM_PLACE_FULL:
        leave_full(cpu, entry, span);
        return;
    case MM_PLACE_QUEUED:
        mm_queue_remove(&entry->head, &entry->tail, span);
        entry->queued--;
        empty_push(cpu, entry, span);
        return;
    case MM_PLACE_CENTRAL:
        mm_central_remove(span);
        own(cpu, span);
        empty_push(cpu, entry, span);
        return;
    case MM_PLACE_NONE:
    case MM_PLACE_EMPTY:
    default:
        mm_corruption("span %x: a slot was freed where none is live", span->base);
        return;
    }
}

static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_CACHE);

arch_flags mm_cache_enter_guarded(void)
{
    return mm_lock(&lock);
}

MM_CALL void mm_cache_leave_guarded(arch_flags flags)
{
    mm_unlock(&lock, flags);
}

/* An empty span of a class out of a CPU's list, leaving `keep` there.  NULL is this CPU. */
static struct mm_span *surplus_pop(struct mm_cpu *whose, unsigned class, unsigned keep)
{
    struct mm_cpu *here;
    arch_flags flags = mm_cache_enter(&here);
    struct mm_cpu *cpu = whose != NULL ? whose : here;
    struct mm_entry *entry = &cpu->entry[class];
    struct mm_span *span = entry->empty;
    span = span == NULL || (keep != 0 && span->next == NULL) ? NULL : empty_pop(cpu, entry, class);
    mm_cache_leave(flags);
    return span;
}

static bool flush_class(struct mm_cpu *whose, unsigned class, unsigned keep)
{
    bool some = false;
    for (struct mm_span *span; (span = surplus_pop(whose, class, keep)) != NULL; some = true) {
        mm_heap_release(span);
    }
    return some;
}

bool mm_cache_flush_surplus(void)
{
    bool some = false;
    for (unsigned word = 0; word < MM_BITMAP_WORDS(MM_CLASSES); word++) {
        uintptr_t bits;
        while ((bits = mm_word_get(&self()->surplus[word])) != 0) {
            some |= flush_class(NULL, word * (unsigned)MM_WORD_BITS + arch_ctz(bits), 1);
        }
    }
    return some;
}

/* Lists the entry's current span as empty if it holds no live slot. */
static void entry_retire(struct mm_cpu *cpu, struct mm_entry *entry)
{
    struct mm_span *current = entry->span;
    if (current != NULL && mm_span_live(current) == 0) {
        entry_clear(entry);
        empty_push(cpu, entry, current);
    }
}

/* All that other CPUs have freed, a stretch at a time. */
static void drain(void)
{
    bool waiting = SH_MAX_CPUS > 1;
    while (waiting) {
        struct mm_cpu *cpu;
        arch_flags flags = mm_cache_enter(&cpu);
        waiting = mm_remote_waiting(cpu);
        if (waiting) {
            mm_remote_drain(cpu);
        }
        mm_cache_leave(flags);
    }
}

void mm_cache_flush_empty(void)
{
    drain();
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        struct mm_cpu *cpu;
        arch_flags flags = mm_cache_enter(&cpu);
        entry_retire(cpu, &cpu->entry[class]);
        mm_cache_leave(flags);
        flush_class(NULL, class, 0);
    }
}

static void give_to_central(struct mm_cpu *cpu, struct mm_span *span)
{
    uint32_t live = mm_span_live(span);
    arm(cpu, span, live == span->slots ? MM_PLACE_FULL : MM_PLACE_CENTRAL,
        live == span->slots ? 1 : live);
    mm_central_give(span);
}

/* The current span of a class and the queued ones, one at a time. */
static void give_class(struct mm_cpu *cpu, unsigned class)
{
    struct mm_entry *entry = &cpu->entry[class];
    struct mm_span *span;
    do {
        struct mm_cpu *here;
        arch_flags flags = mm_cache_enter(&here);
        entry_retire(cpu, entry);
        if ((span = entry->span) != NULL) {
            entry_clear(entry);
        } else if ((span = entry->head) != NULL) {
            queue_pop(entry, span);
        }
        if (span != NULL) {
            give_to_central(cpu, span);
        }
        mm_cache_leave(flags);
    } while (span != NULL);
}

/* Full spans are on no list. */
static void give_full(struct mm_cpu *cpu)
{
    uintptr_t at = 0;
    for (struct mm_span *span; at != UINTPTR_MAX && (span = mm_span_next(&at)) != NULL;) {
        struct mm_cpu *here;
        arch_flags flags = mm_cache_enter(&here);
        if (mm_span_state(span) == MM_SPAN_SMALL && span->kind == SH_MANUAL && mm_span_owner(span) == cpu &&
            span->place == MM_PLACE_FULL) {
            mm_central_give(span);
        }
        mm_cache_leave(flags);
        at = at == 0 ? UINTPTR_MAX : at;
    }
}

void mm_cache_flush_all(struct mm_cpu *cpu)
{
    if (SH_MAX_CPUS > 1 && mm_mode.guarded) {
        return; /* it has nothing of its own */
    }
    for (unsigned class = 0; class < MM_CLASSES; class++) {
        give_class(cpu, class);
        flush_class(cpu, class, 0);
    }
    give_full(cpu);
    /* Frees that were on their way to it: the last look at its list. */
    do {
        arch_flags flags = arch_irq_save();
        if (SH_MAX_CPUS > 1) {
            mm_remote_drain(cpu);
        }
        arch_irq_restore(flags);
    } while (mm_remote_waiting(cpu));
}

void mm_cache_disarm(void)
{
    if (mm_collector != NULL) {
        mm_collector->disarm();
    }
    for (unsigned cpu = 0; cpu < MM_CPU_RECORDS; cpu++) {
        for (unsigned class = 0; class < MM_CLASSES; class++) {
            mm_cpu[cpu].entry[class] = (struct mm_entry){ .word = &mm_zero_word };
        }
    }
    /* A bound of 0 sends every free to the slow path.  The page map may be what is corrupt. */
    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena)) {
        for (size_t i = 0; i < MM_ARENA_PAGES; i++) {
            struct mm_span *span = arena->spans[i];
            if (mm_linear_contains(span, sizeof *span)) {
                span->bound = 0;
            }
        }
    }
}

uint32_t mm_cache_uncredited(const struct mm_span *span)
{
    return span->armed - span->countdown;
}

/* Of sh_verify: spans that a list or an entry has, and spans that say so. */
static size_t listed, listed_wanted;

/* The countdown and the live slots that go with a span's place. */
static bool place_fits(const struct mm_span *span, uint32_t live)
{
    switch ((enum mm_place)span->place) {
    case MM_PLACE_CURRENT:
        return span->countdown != 0;
    case MM_PLACE_FULL:
        return live == span->slots && span->countdown == 1;
    case MM_PLACE_QUEUED:
    case MM_PLACE_CENTRAL:
        return live == span->countdown && live != span->slots && live != 0;
    case MM_PLACE_EMPTY:
        return live == 0;
    case MM_PLACE_NONE:
    default:
        return false;
    }
}

int mm_cache_verify_span(const struct mm_span *span)
{
    bool owned = (uintptr_t)span->owner - (uintptr_t)mm_cpu < sizeof mm_cpu;
    bool ownerless = span->owner == NULL && (span->place == MM_PLACE_CENTRAL || span->place == MM_PLACE_FULL);
    listed_wanted += span->place != MM_PLACE_FULL;
    if (span->countdown > span->armed || !place_fits(span, mm_span_live(span)) ||
        owned == ownerless || (owned && span->place == MM_PLACE_CENTRAL)) {
        return mm_fault_found("span's place, owner, countdown and live slots", span->base);
    }
    return 0;
}

/* Is the span what a list of this class and place may hold? */
static bool belongs(const struct mm_span *span, enum mm_place place, unsigned class)
{
    return mm_span_is(span, MM_SPAN_SMALL) && span->class == class && span->place == place;
}

int mm_cache_verify_list(const struct mm_span *head, const struct mm_span *tail, enum mm_place place,
                         unsigned class, size_t *count)
{
    const struct mm_span *prev = NULL;
    *count = 0;
    for (const struct mm_span *span = head; span != NULL; prev = span, span = span->next) {
        listed++;
        bool linked = place == MM_PLACE_EMPTY || span->prev == prev;
        if (++*count > mm_heap_counts.spans || !belongs(span, place, class) || !linked) {
            return mm_fault_found("list of spans: class", class);
        }
    }
    return place == MM_PLACE_EMPTY || prev == tail ? 0 : mm_fault_found("end of list: class", class);
}

static int current_verify(const struct mm_entry *entry, unsigned class)
{
    const struct mm_span *span = entry->span;
    if (span == NULL) {
        return entry->word == &mm_zero_word ? 0 : mm_fault_found("entry without a span: class", class);
    }
    listed++;
    size_t word = (size_t)(entry->word - span->free);
    bool placed = mm_mode.guarded ? entry->word == &mm_zero_word
                                  : word < mm_span_words(span) &&
                                        entry->base == span->base + word * MM_WORD_BITS * entry->size;
    return belongs(span, MM_PLACE_CURRENT, class) && placed && entry->size == span->size
               ? 0
               : mm_fault_found("entry: class", class);
}

void mm_cache_verify_start(void)
{
    listed = listed_wanted = 0;
}

int mm_cache_verify_listed(void)
{
    return mm_verify_equal("spans in lists", listed, listed_wanted);
}

static int entry_verify(const struct mm_cpu *cpu, unsigned class)
{
    const struct mm_entry *entry = &cpu->entry[class];
    size_t queued, empty;
    int faults = current_verify(entry, class);
    faults += mm_cache_verify_list(entry->head, entry->tail, MM_PLACE_QUEUED, class, &queued);
    faults += mm_verify_equal("queued spans", queued, entry->queued);
    faults += mm_cache_verify_list(entry->empty, NULL, MM_PLACE_EMPTY, class, &empty);
    return faults + mm_verify_equal("surplus bit", empty > 1, mm_bit_test(cpu->surplus, class));
}

int mm_cache_verify(void)
{
    int faults = mm_zero_word == 0 ? 0 : mm_fault_found("zero word", mm_zero_word);
    for (unsigned i = 0; i < MM_CPU_RECORDS; i++) {
        for (unsigned class = 0; class < MM_CLASSES; class++) {
            faults += entry_verify(&mm_cpu[i], class);
        }
        faults += mm_remote_verify(&mm_cpu[i]);
    }
    return faults;
}

void mm_cache_reset(void)
{
    for (unsigned i = 0; i < MM_CPU_RECORDS; i++) {
        mm_cpu[i] = (struct mm_cpu){ .frees = 0 };
        for (unsigned class = 0; class < MM_CLASSES; class++) {
            mm_cpu[i].entry[class].word = &mm_zero_word;
        }
    }
    mm_lock_reset(&lock);
    mm_zero_word = 0;
}
