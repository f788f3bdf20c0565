/*
 * Span descriptors: obtaining, opening, closing, looking (see span.h).
 *
 * Opening and closing belong to whoever owns the pages; no lock.  The order of stores is the contract
 * with readers that have none: fields and page map before the state, state before the page map.
 */
#include "mm/span.h"

#include "mm/cache.h"
#include "mm/collector.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/memory.h"
#include "mm/remote.h"
#include "mm/report.h"

struct mm_span mm_span_dummy;

static struct mm_fixed few = { .size = MM_SPAN_SIZE(MM_SPAN_WORDS_FEW) };
static struct mm_fixed many = { .size = MM_SPAN_SIZE(MM_SPAN_WORDS_MANY) };

/* Does every bitmap have a second one behind it? */
static bool is_double(void)
{
    return mm_mode.guarded || mm_remote();
}

void mm_span_start(void)
{
    few.size = MM_SPAN_SIZE(MM_SPAN_WORDS_FEW << is_double());
    many.size = MM_SPAN_SIZE(MM_SPAN_WORDS_MANY << is_double());
}

/* A descriptor keeps its `slots` while it is dead, so it goes back to the list that it came from. */
static struct mm_fixed *list_for(uint32_t slots)
{
    return slots <= MM_SPAN_WORDS_FEW * MM_WORD_BITS ? &few : &many;
}

static struct mm_span *obtain(uint32_t slots, bool may_grow)
{
    struct mm_span *span = mm_fixed_obtain(list_for(slots), may_grow);
    if (span != NULL) {
        span->slots = (uint16_t)slots;
        span->next = span->prev = NULL;
        span->notes = NULL;
        __atomic_store_n(&span->gc, NULL, __ATOMIC_RELAXED); /* an old word may lead to a descriptor that was used */
    }
    return span;
}

struct mm_span *mm_span_obtain(uint32_t slots, bool may_grow)
{
    struct mm_span *span = obtain(slots, may_grow);
    if (span != NULL && mm_mode.tier >= 2 && !mm_guard_equip(span, may_grow)) {
        mm_span_recycle(span);
        return NULL;
    }
    return span;
}

struct mm_span *mm_span_obtain_spare(void)
{
    return obtain(MM_SLOTS_MAX, true);
}

MM_CALL void mm_span_recycle(struct mm_span *span)
{
    if (span == NULL) {
        return;
    }
    if (span->notes != NULL) {
        mm_guard_strip(span);
    }
    mm_fixed_recycle(list_for(span->slots), span);
}

MM_CALL void mm_span_set_state(struct mm_span *span, enum mm_span_state state)
{
    uint32_t sequence = (span->state >> MM_SPAN_STATE_BITS) + 1;
    uint32_t word = sequence << MM_SPAN_STATE_BITS | (uint32_t)state;
    __atomic_store_n(&span->state, word, __ATOMIC_SEQ_CST);
}

#if SH_MAX_CPUS > 1
bool mm_span_claim(struct mm_span *span, enum mm_span_state wanted)
{
    uint32_t word = __atomic_load_n(&span->state, __ATOMIC_ACQUIRE), dead;
    do {
        if ((word & ((1u << MM_SPAN_STATE_BITS) - 1)) != (uint32_t)wanted) {
            return false;
        }
        dead = ((word >> MM_SPAN_STATE_BITS) + 1) << MM_SPAN_STATE_BITS | MM_SPAN_DEAD;
    } while (!__atomic_compare_exchange_n(&span->state, &word, dead, true, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE));
    return true;
}
#endif

void mm_span_enter(struct mm_span *span, uintptr_t base, size_t page_count)
{
    for (size_t i = 0; i < page_count;) {
        struct mm_arena *arena = mm_arena_of(base + (i << MM_PAGE_SHIFT));
        size_t page = (base >> MM_PAGE_SHIFT) + i;
        size_t first = page & (MM_ARENA_PAGES - 1), end = first + (page_count - i);
        end = end < MM_ARENA_PAGES ? end : MM_ARENA_PAGES;
        i += end - first;
        for (; first < end; first++) {
            __atomic_store_n(&arena->spans[first], span, __ATOMIC_RELEASE);
        }
    }
}

static void bits_fill(struct mm_span *span)
{
    uint32_t words = mm_span_words(span), rest = span->slots % MM_WORD_BITS;
    for (uint32_t i = 0; i < words; i++) {
        span->free[i] = ~(uintptr_t)0;
    }
    if (rest != 0) {
        span->free[words - 1] = ((uintptr_t)1 << rest) - 1;
    }
    if (is_double()) {
        memset(span->free + words, 0, words * sizeof span->free[0]);
    }
}

/* What the fast path of sh_free compares with. */
static uint32_t bound_for(const struct mm_class *info, enum sh_kind kind)
{
    return kind != SH_MANUAL || mm_mode.zero || mm_mode.guarded ? 0 : mm_class_bound(info);
}

/* What spans of all states have in common. */
static void begin(struct mm_span *span, uintptr_t base, size_t page_count, enum sh_kind kind, uint32_t bound)
{
    span->kind = (uint8_t)kind;
    span->place = MM_PLACE_NONE;
    span->flags = 0;
    span->page_count = (uint32_t)page_count;
    span->inset = 0;
    span->countdown = span->armed = 0;
    span->bound = bound;
    span->base = base;
    __atomic_store_n(&span->owner, NULL, __ATOMIC_RELAXED); /* late frees may look */
    mm_span_set_local(span, NULL);
}

void mm_span_open_small(struct mm_span *span, uintptr_t base, unsigned class, enum sh_kind kind)
{
    const struct mm_class *info = &mm_class[class];
    begin(span, base, info->pages, kind, bound_for(info, kind));
    span->class = (uint8_t)class;
    span->slots = info->slots;
    span->size = mm_class_size(class);
    span->magic = info->magic;
    bits_fill(span);
    mm_span_enter(span, base, info->pages);
    mm_span_set_state(span, MM_SPAN_SMALL);
}

void mm_span_open_large(struct mm_span *span, uintptr_t base, size_t page_count,
                        enum mm_span_state state)
{
    begin(span, base, page_count, SH_MANUAL, 0);
    span->slots = 1;
    span->size = page_count << MM_PAGE_SHIFT;
    span->free[0] = 0;
    if (is_double()) {
        span->free[1] = 0;
    }
    mm_span_enter(span, base, page_count);
    mm_span_set_state(span, state);
}

MM_CALL void mm_span_close(struct mm_span *span)
{
    mm_span_set_state(span, MM_SPAN_DEAD);
    span->bound = 0;
    mm_span_enter(&mm_span_dummy, span->base, span->page_count);
}

bool mm_span_is(const struct mm_span *span, enum mm_span_state state)
{
    return mm_linear_contains(span, sizeof *span) && mm_span_state(span) == state &&
           mm_span_of(span->base) == span;
}

MM_CALL uint32_t mm_span_live(const struct mm_span *span)
{
    size_t free = 0;
    for (uint32_t i = 0; i < mm_span_words(span); i++) {
        free += arch_popcount(span->free[i]);
    }
    return span->slots - (uint32_t)free;
}

uint32_t mm_span_held(const struct mm_span *span)
{
    uint32_t held = 0;
    for (uint32_t i = 0; mm_mode.guarded && i < mm_span_words(span); i++) {
        held += arch_popcount(span->free[mm_span_words(span) + i]);
    }
    return held;
}

MM_CALL bool mm_span_is_held(const struct mm_span *span, uint32_t index)
{
    return mm_mode.guarded &&
           (mm_word_get(&span->free[mm_span_words(span) + index / MM_WORD_BITS]) >> (index % MM_WORD_BITS) & 1) != 0;
}

MM_CALL bool mm_span_is_live(const struct mm_span *span, uint32_t index)
{
    return !mm_span_is_free(span, index) && !mm_span_is_held(span, index) && !mm_span_is_late(span, index);
}

void mm_span_set_held(struct mm_span *span, uint32_t index, bool held)
{
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    uintptr_t *word = &span->free[mm_span_words(span) + index / MM_WORD_BITS];
    mm_word_set(word, held ? *word | bit : *word & ~bit);
}

MM_CALL void mm_span_mark_loose(struct mm_span *span)
{
    if (SH_MAX_CPUS > 1) {
        __atomic_fetch_or(&span->flags, MM_SPAN_LOOSE, __ATOMIC_RELAXED);
        return;
    }
    arch_flags flags = arch_irq_save();
    span->flags |= MM_SPAN_LOOSE;
    arch_irq_restore(flags);
}

/* Reads what a lookup needs; the caller checks the state word around it. */
static void view_fill(struct mm_view *view, uintptr_t address)
{
    const struct mm_span *span = view->span;
    uint32_t index = view->state == MM_SPAN_SMALL ? mm_span_index(span, address) : 0;
    bool in_slot = index < span->slots, live = in_slot && mm_span_is_live(span, index);
    view->index = index;
    view->size = span->size;
    view->base = span->base + span->inset + index * span->size;
    view->note = span->notes == NULL || !in_slot ? NULL : &span->notes[index];
    view->in_slot = in_slot;
    view->live = live;
}

MM_CALL bool mm_span_view(uintptr_t address, struct mm_view *view)
{
    if (!mm_mode.started || !mm_arena_in_bounds(address)) {
        return false;
    }
    struct mm_span *span = mm_span_of(address);
    uint32_t before = __atomic_load_n(&span->state, __ATOMIC_ACQUIRE);
    view->span = span;
    view->state = (enum mm_span_state)(before & ((1u << MM_SPAN_STATE_BITS) - 1));
    if (view->state == MM_SPAN_DEAD || address - span->base >= mm_span_bytes(span)) {
        return false;
    }
    view_fill(view, address);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&span->state, __ATOMIC_RELAXED) != before) {
        return false;
    }
    /* Index and notes are of one life of the span, and notes of a length stay notes of that length. */
    if (view->live && view->note != NULL && view->state != MM_SPAN_PAGES) {
        size_t noted = __atomic_load_n(&view->note->size, __ATOMIC_RELAXED);
        view->size = noted != 0 ? noted : view->size; /* 0: on its way */
    }
    return true;
}

/* A span that begins on a page of this arena at or above *address. */
static struct mm_span *arena_next(const struct mm_arena *arena, uintptr_t *address)
{
    size_t page = *address <= arena->base ? 0 : (*address - arena->base) >> MM_PAGE_SHIFT;
    for (; page < MM_ARENA_PAGES; page++) {
        struct mm_span *span = __atomic_load_n(&arena->spans[page], __ATOMIC_ACQUIRE);
        if (span != &mm_span_dummy && span->base == arena->base + (page << MM_PAGE_SHIFT)) {
            *address = span->base + mm_span_bytes(span);
            return span;
        }
    }
    *address = arena->base + MM_ARENA_SIZE;
    return NULL;
}

MM_CALL struct mm_span *mm_span_next(uintptr_t *address)
{
    uintptr_t at = *address;
    for (struct mm_arena *arena; (arena = mm_arena_next(at)) != NULL;) {
        struct mm_span *span = arena_next(arena, &at);
        if (span != NULL || at == 0) {
            *address = at;
            return span;
        }
    }
    return NULL;
}

static int collected_verify(const struct mm_span *span)
{
    return mm_collector == NULL || span->gc == NULL || (span->flags & MM_SPAN_COLLECTED) == 0
               ? mm_fault_found("collected span", span->base)
               : mm_collector->verify_span(span);
}

static int small_verify(const struct mm_span *span)
{
    const struct mm_class *info = &mm_class[span->class < MM_CLASSES ? span->class : 0];
    if (span->class >= MM_CLASSES || span->slots != info->slots || span->magic != info->magic ||
        span->size != mm_class_size(span->class) || span->page_count != info->pages) {
        return mm_fault_found("span does not fit its class", span->base);
    }
    if (span->kind > SH_UNCOLLECTABLE) {
        return mm_fault_found("span kind", span->base);
    }
    if (span->bound != bound_for(info, (enum sh_kind)span->kind) ||
        (mm_span_local(span) != NULL && mm_span_local(span) != span->owner)) {
        return mm_fault_found("span bound", span->base);
    }
    uint32_t rest = span->slots % MM_WORD_BITS;
    if (rest != 0 && span->free[mm_span_words(span) - 1] >> rest != 0) {
        return mm_fault_found("free bits past the last slot", span->base);
    }
    int faults = span->kind != SH_MANUAL ? collected_verify(span)
                                         : mm_cache_verify_span(span) + mm_remote_verify_span(span);
    return faults != 0 || !mm_mode.guarded ? faults : mm_guard_verify_span(span);
}

int mm_span_verify(struct mm_span *span)
{
    if (((span->base >> MM_PAGE_SHIFT) << MM_PAGE_SHIFT) != span->base || span->page_count == 0 ||
        span->base + (mm_span_bytes(span) - 1) < span->base) {
        return mm_fault_found("span extent", span->base);
    }
    for (size_t i = 0; i < span->page_count; i++) {
        if (mm_span_of(span->base + (i << MM_PAGE_SHIFT)) != span) {
            return mm_fault_found("span page not in the page map", span->base);
        }
    }
    switch (mm_span_state(span)) {
    case MM_SPAN_SMALL:
        return small_verify(span);
    case MM_SPAN_LARGE:
    case MM_SPAN_PAGES:
        if (span->bound != 0 || span->slots != 1 || span->kind > SH_UNCOLLECTABLE ||
            span->place != MM_PLACE_NONE || span->free[0] != 0 ||
            span->size != mm_span_bytes(span) - span->inset) {
            return mm_fault_found("large span", span->base);
        }
        if (span->kind != SH_MANUAL && collected_verify(span) != 0) {
            return 1;
        }
        return mm_mode.guarded ? mm_guard_verify_span(span) : 0;
    case MM_SPAN_DEAD:
    case MM_SPAN_STATES:
    default:
        return 0;
    }
}

void mm_span_reset(void)
{
    few.first = many.first = NULL;
    mm_span_dummy = (struct mm_span){ 0 };
}
