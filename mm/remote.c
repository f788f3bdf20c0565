/*
 * Frees from elsewhere (see remote.h).
 *
 * Only the CPU that owns a span touches its free bits, without atomics.  Whoever frees a slot of it on
 * another CPU sets the slot's bit in a second bitmap, `late`, by an atomic or, and sees to it that the owner
 * hears of it:
 *
 *     freeing CPU                            owner, when an entry's word is empty
 *       late |= bit                            take the whole list
 *       local := none                          of each span  listed := 0
 *       listed := 1; was 0: span ─► list                     local := the owner
 *                                                            late bits → free bits, count down
 *
 * 1. Twice.  A late bit that is set already is a double free, and so is a free bit, before the late bit is set
 *    or after, unless the owner has taken late bits in meanwhile: `late_taken` is odd while it does.  Where
 *    `local` is not the owner, the owner's own frees of the span go to the slow path, which takes the late bits
 *    in first: so it sees them.  Two frees that pass each other within a few instructions leave both bits set:
 *    the owner tells when it takes them in, if it has not handed the slot out again before.
 *
 * 2. The list is a stack: pushed by compare-and-swap, taken whole by exchange, so that no element can come
 *    back between a look and a swap.  `listed` keeps a span from being on two.  It is cleared by exchange
 *    before the bits are looked at: who set a bit and found `listed` set has its bit seen.
 *
 * 3. A span without an owner is under its class's central lock, late bits too.  Owners change while frees are
 *    on their way: a span that comes up on the list of a CPU that does not own it any more is passed on, and
 *    who has pushed looks again whether the owner is still the one it pushed to.  If not, it takes that list
 *    and passes all of it on: a CPU that went offline looks at its list no more.
 *
 * 4. Descriptors are type-stable, and `listed` and the link belong to the descriptor, not to a life of the
 *    span: a push that comes late, when the span has become another, lists a span without late bits.
 */
#include "mm/remote.h"

#include "mm/central.h"
#include "mm/linear.h"
#include "mm/report.h"

enum result { NOT_LIVE, FREED, AGAIN };

static bool is_ours(const struct mm_span *span)
{
    return mm_span_state(span) == MM_SPAN_SMALL && span->kind == SH_MANUAL;
}

uint32_t mm_remote_late(const struct mm_span *span)
{
    uint32_t late = 0;
    for (uint32_t i = 0; mm_remote() && i < mm_span_words(span); i++) {
        late += arch_popcount(mm_span_late(span, i));
    }
    return late;
}

#if SH_MAX_CPUS > 1

static uintptr_t *late_word(struct mm_span *span, uint32_t word)
{
    return &span->free[mm_span_words(span) + word];
}

/* The late bits of a span become free bits; how many.  The caller owns it, or holds its central lock. */
static uint32_t take_bits(struct mm_cpu *cpu, struct mm_span *span)
{
    uint32_t count = 0;
    uint32_t taken = span->late_taken;
    __atomic_store_n(&span->late_taken, taken + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&span->local, mm_span_owner(span), __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* a free that is not seen below takes that away again */
    for (uint32_t i = 0; i < mm_span_words(span); i++) {
        if (mm_span_late(span, i) == 0) {
            continue;
        }
        uintptr_t bits = __atomic_exchange_n(late_word(span, i), 0, __ATOMIC_ACQ_REL);
        uintptr_t twice = bits & span->free[i];
        if (MM_UNLIKELY(twice != 0)) {
            cpu->twice = span->base + (i * MM_WORD_BITS + arch_ctz(twice)) * span->size;
        }
        bits &= ~twice;
        mm_word_set(&span->free[i], span->free[i] | bits);
        count += arch_popcount(bits);
    }
    __atomic_store_n(&span->late_taken, taken + 2, __ATOMIC_RELEASE);
    return count;
}

/* Takes the late bits in, and moves the span if it has to. */
static void take_in(struct mm_cpu *cpu, struct mm_span *span)
{
    uint32_t count = take_bits(cpu, span);
    if (count != 0) {
        mm_cache_freed(span, count);
    }
}

/* Late bits of a span that nobody owns; false = somebody does by now. */
static bool settle_ownerless(struct mm_span *span)
{
    unsigned class = span->class;
    arch_flags flags = mm_central_lock(class);
    bool ownerless = mm_span_owner(span) == NULL;
    if (ownerless && is_ours(span) && span->class == class && span->place != MM_PLACE_NONE) {
        take_in(mm_cpu_self(), span);
    }
    mm_central_unlock(class, flags);
    return ownerless;
}

static void push(struct mm_cpu *cpu, struct mm_span *span)
{
    struct mm_span *head = __atomic_load_n(&cpu->late, __ATOMIC_RELAXED);
    do {
        __atomic_store_n(&span->late_next, head, __ATOMIC_RELAXED);
    } while (!__atomic_compare_exchange_n(&cpu->late, &head, span, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

/* The first of a list that was taken whole is the caller's, and may be listed anew.  Bits of frees that
 * found it listed are seen after this. */
static struct mm_span *pop(struct mm_span **list)
{
    struct mm_span *span = *list;
    if (span != NULL) {
        *list = __atomic_load_n(&span->late_next, __ATOMIC_RELAXED);
        __atomic_exchange_n(&span->late_listed, 0, __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    return span;
}

/* Puts a list in front of another: both taken whole. */
static struct mm_span *join(struct mm_span *list, struct mm_span *rest)
{
    struct mm_span *last = list, *next;
    if (last == NULL) {
        return rest;
    }
    while ((next = __atomic_load_n(&last->late_next, __ATOMIC_RELAXED)) != NULL) {
        last = next;
    }
    __atomic_store_n(&last->late_next, rest, __ATOMIC_RELAXED);
    return list;
}

/* Lists a span for its owner, unless it is; true = the owner has changed meanwhile. */
static bool announce(struct mm_cpu *owner, struct mm_span *span)
{
    if (__atomic_exchange_n(&span->late_listed, 1, __ATOMIC_SEQ_CST) != 0) {
        return false;
    }
    push(owner, span);
    return __atomic_load_n(&span->owner, __ATOMIC_SEQ_CST) != owner;
}

/* A span has late bits: its owner hears of it, or, where there is none, they become free.  A list that its
 * CPU may not look at any more goes the same way, span by span. */
static void settle(struct mm_span *span)
{
    struct mm_span *abandoned = NULL;
    while (span != NULL) {
        struct mm_cpu *owner;
        while ((owner = mm_span_owner(span)) == NULL && !settle_ownerless(span)) {
        }
        if (owner != NULL && announce(owner, span)) {
            abandoned = join(__atomic_exchange_n(&owner->late, NULL, __ATOMIC_SEQ_CST), abandoned);
        }
        do {
            span = pop(&abandoned);
        } while (span != NULL && mm_remote_late(span) == 0);
    }
}

/* What is taken in or passed on in one stretch, in words of late bits: eight spans of large objects.  A span costs
 * as much as many words. */
#define DRAIN_SPAN 3
#define DRAIN_MOST (8 * (DRAIN_SPAN + 1))

void mm_remote_drain(struct mm_cpu *cpu)
{
    struct mm_span *span;
    if (cpu->taking == NULL) {
        cpu->taking = __atomic_exchange_n(&cpu->late, NULL, __ATOMIC_SEQ_CST);
    }
    for (uint32_t done = 0; done < DRAIN_MOST && (span = pop(&cpu->taking)) != NULL; done += DRAIN_SPAN) {
        bool mine = mm_span_owner(span) == cpu;
        done += mm_span_words(span);
        if (mine && is_ours(span)) {
            take_in(cpu, span);
        } else if (!mine && mm_remote_late(span) != 0) {
            settle(span);
        }
    }
}

static inline enum result free_there(struct mm_span *span, uint32_t index)
{
    uintptr_t *late = late_word(span, index / MM_WORD_BITS);
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    uint32_t taken = __atomic_load_n(&span->late_taken, __ATOMIC_ACQUIRE);
    if (mm_span_is_free(span, index) || (__atomic_fetch_or(late, bit, __ATOMIC_SEQ_CST) & bit) != 0) {
        return NOT_LIVE;
    }
    if (MM_UNLIKELY((__atomic_load_n(&span->free[index / MM_WORD_BITS], __ATOMIC_ACQUIRE) & bit) != 0) &&
        (taken & 1) == 0 && __atomic_load_n(&span->late_taken, __ATOMIC_RELAXED) == taken &&
        (__atomic_fetch_and(late, ~bit, __ATOMIC_SEQ_CST) & bit) != 0) {
        return NOT_LIVE; /* freed by its owner at the same moment */
    }
    if (__atomic_load_n(&span->local, __ATOMIC_RELAXED) != NULL) {
        __atomic_store_n(&span->local, NULL, __ATOMIC_RELAXED);
    }
    if (__atomic_load_n(&span->late_listed, __ATOMIC_SEQ_CST) == 0) {
        settle(span);
    }
    return FREED;
}

#else

static uint32_t take_bits(struct mm_cpu *cpu, struct mm_span *span)
{
    (void)cpu;
    (void)span;
    return 0;
}

static enum result free_there(struct mm_span *span, uint32_t index)
{
    (void)span;
    (void)index;
    return NOT_LIVE;
}

void mm_remote_drain(struct mm_cpu *cpu)
{
    (void)cpu;
}

#endif

/* The caller owns the span, or holds its central lock. */
static enum result free_here(struct mm_cpu *cpu, struct mm_span *span, uint32_t index)
{
    uint32_t late = mm_remote() ? take_bits(cpu, span) : 0;
    if (late != 0) {
        mm_cache_freed(span, late);
        return AGAIN; /* it may be somebody else's now */
    }
    if (index >= span->slots || mm_span_is_free(span, index)) {
        return NOT_LIVE;
    }
    uintptr_t *word = &span->free[index / MM_WORD_BITS];
    mm_word_set(word, *word | (uintptr_t)1 << (index % MM_WORD_BITS));
    mm_cache_freed(span, 1);
    return FREED;
}

static MM_ONCE enum result free_ownerless(struct mm_cpu *cpu, struct mm_span *span, uint32_t index)
{
    unsigned class = span->class;
    arch_flags flags = mm_central_lock(class);
    bool same = mm_span_owner(span) == NULL && span->class == class;
    enum result result = !same ? AGAIN : !is_ours(span) ? NOT_LIVE : free_here(cpu, span, index);
    mm_central_unlock(class, flags);
    return result;
}

MM_CALL bool mm_remote_free_there(struct mm_span *span, uint32_t index)
{
    struct mm_cpu *owner = mm_span_owner(span), *cpu = mm_cpu_self();
    return SH_MAX_CPUS > 1 && owner != NULL && owner != cpu && mm_cpu_known(cpu) &&
           free_there(span, index) == FREED;
}

MM_CALL bool mm_remote_free(struct mm_cpu *cpu, struct mm_span *span, uint32_t index)
{
    enum result result;
    do {
        struct mm_cpu *owner = mm_span_owner(span);
        result = owner == NULL                      ? free_ownerless(cpu, span, index)
                 : SH_MAX_CPUS == 1 || owner == cpu ? free_here(cpu, span, index)
                                                    : free_there(span, index);
    } while (result == AGAIN);
    return result == FREED;
}

int mm_remote_verify_span(const struct mm_span *span)
{
    for (uint32_t i = 0; mm_remote() && i < mm_span_words(span); i++) {
        uint32_t rest = span->slots % MM_WORD_BITS;
        if (rest != 0 && i + 1 == mm_span_words(span) && mm_span_late(span, i) >> rest != 0) {
            return mm_fault_found("late frees of a span", span->base);
        }
    }
    return 0;
}

#if SH_MAX_CPUS > 1

static int list_verify(const struct mm_cpu *cpu, const struct mm_span *list)
{
    size_t count = 0;
    for (const struct mm_span *span = list; span != NULL; span = span->late_next) {
        if (!mm_linear_contains(span, sizeof *span) || span->late_listed != 1 ||
            ++count > mm_linear_bytes() / sizeof *span) {
            return mm_fault_found("list of late frees: CPU", (size_t)(cpu - mm_cpu));
        }
    }
    return 0;
}

MM_CALL int mm_remote_verify(const struct mm_cpu *cpu)
{
    return list_verify(cpu, cpu->late) + list_verify(cpu, cpu->taking);
}

#else

MM_CALL int mm_remote_verify(const struct mm_cpu *cpu)
{
    return cpu->late != NULL ? mm_fault_found("list of late frees: CPU", 0) : 0;
}

#endif
