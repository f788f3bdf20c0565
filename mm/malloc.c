/*
 * The front door: sh_malloc and sh_free, and the way down from them.
 *
 *                            size                                       who guards it
 *     sh_malloc              8 … 1 KiB: one table load                  interrupts masked
 *        │
 *     cache    entry         one word of the current span's free bits   the CPU that owns it
 *        │     queue         spans with free slots, first in first out
 *     central  list          spans that no CPU owns                     a lock a class
 *        │
 *     heap     run           1 … 10 pages (small), any number (large)   heap lock
 *        │     commit        granules: Prepared → Ready                 busy bits, unlocked
 *     pages    bitmap, tree  address-ordered first fit                  heap lock
 *        │
 *     grow     chunk         4 MiB: Reserved → Prepared                 one grower, unlocked
 *        │     remainder     4 arenas: None → Reserved
 *     arch     page tables
 *
 * Down.  An allocation takes the lowest set bit of a word and multiplies its number by the slot size:
 * no list runs through the objects, and nothing about an object lies inside one.  When the word is empty
 * the slow path moves the entry on: to another word of the span, to the oldest queued span, to one of
 * central's, to the kept empty one, and last to a new span.  That one needs pages, which the page
 * allocator has or growth brings, and frames, which the port commits.  Each step that can fail undoes
 * what it did and says NULL.
 *
 * Up.  A free finds the span in the page map, the slot by one multiplication, and sets its bit.  The
 * same product says whether the address is the start of a slot, and the bit whether it is live: so an
 * interior pointer, a foreign one and a double free are found at no extra cost, always.  A countdown in
 * the span, one decrement a free, fires exactly when the span has to move: a full one to the queue, an
 * emptied one out of it.  Emptied spans go back to the page allocator when somebody needs pages.
 *
 * Large objects are a span each.  Their frees keep the run for the next object of the size (kept.c).
 *
 * The dummy: page map entries of addresses that are not the heap's name a dummy span whose bound is 0,
 * and entries without a span point at a word that is 0.  Both lead to the slow path, so the fast paths
 * test for nothing.  NULL is such an address.
 *
 * Guarded heaps (guard.h) hide the words from the fast paths and give their spans a bound of 0: there
 * every call comes to malloc_careful and mm_guard_free, which fill, check, note and hold back around the
 * same slots.  Samples (fence.h) are taken where the fast path misses.
 *
 * Sizes up to 1 KiB are 51 instructions in and out on i386, interrupt mask and checks included.
 */
#include "mm/mm.h"

#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/collector.h"
#include "mm/context.h"
#include "mm/fence.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/kept.h"
#include "mm/malloc.h"
#include "mm/memory.h"
#include "mm/misuse.h"
#include "mm/remote.h"
#include "mm/report.h"

/* A slot from what this CPU and central have. */
static void *take_cached(unsigned class)
{
    void *p;
    bool again;
    do {
        struct mm_cpu *cpu;
        arch_flags flags = mm_cache_enter(&cpu);
        struct mm_entry *entry = &cpu->entry[class];
        if (mm_remote_waiting(cpu)) {
            mm_remote_drain(cpu);
        }
        mm_cache_reveal(entry);
        if (!mm_entry_take(entry, &p)) {
            p = mm_cache_refill(cpu, entry);
        }
        mm_cache_conceal(entry);
        uintptr_t twice = mm_remote_twice(cpu);
        again = p == NULL && mm_remote_waiting(cpu);
        mm_cache_leave(flags);
        if (MM_UNLIKELY(twice != 0)) {
            mm_misuse_pointer("sh_free", twice);
        }
    } while (again);
    return p;
}

/* A slot of a new span. */
static MM_NOINLINE void *take_new(unsigned class)
{
    void *p = NULL;
    while (p == NULL && mm_mode.started && !mm_dead() && !mm_misuse_cpu()) {
        struct mm_span *span = mm_heap_span_small(class, SH_MANUAL);
        if (span == NULL) {
            break;
        }
        struct mm_cpu *cpu;
        arch_flags flags = mm_cache_enter(&cpu);
        mm_cache_install(cpu, span);
        mm_cache_leave(flags);
        p = take_cached(class);
    }
    return p;
}

static void *class_take(unsigned class)
{
    void *p = take_cached(class);
    return p != NULL ? p : take_new(class);
}

/* Only a kernel with a context hook can tell. */
static bool from_nmi(void)
{
    return mm_mode.careful && mm_context() == SH_NMI;
}

void *mm_malloc_class(unsigned class)
{
    return from_nmi() ? NULL : class_take(class);
}

MM_CALL void *mm_malloc_large(size_t size, size_t align)
{
    size_t pages = mm_pages_for(size);
    if (pages == 0 || !mm_mode.started || mm_dead() || mm_misuse_cpu() || from_nmi()) {
        return NULL;
    }
    struct mm_span *span = mm_kept_obtain(pages, align >> MM_PAGE_SHIFT);
    return span == NULL ? NULL : (void *)span->base;
}

static MM_NOINLINE void *malloc_large(size_t size)
{
    return mm_malloc_large(size, SH_PAGE_SIZE);
}

/* For heaps with more to do than to allocate. */
static MM_NOINLINE void *malloc_careful(size_t size, uintptr_t site)
{
    if (mm_mode.guarded) {
        return mm_guard_malloc(size, 1, site);
    }
    if (mm_context() == SH_NMI) {
        return NULL;
    }
    void *p = mm_mode.sampling ? mm_guard_sample(size) : NULL;
    if (p != NULL || size > MM_CLASS_LIMIT) {
        return p != NULL ? p : malloc_large(size);
    }
    unsigned class = mm_class_of(size == 0 ? 1 : size);
    p = class_take(class);
    if (mm_mode.sampling) {
        /* What the fast path will take before it misses again. */
        mm_fence_used(arch_popcount(*mm_cpu_self()->entry[class].word));
    }
    return p;
}

/* Up to MM_CLASS_LIMIT, and the entry's word is empty.  Interrupts masked: `flags` is what mm_cpu_mask said. */
static MM_NOINLINE void *malloc_missed(size_t size, uintptr_t site, struct mm_entry *entry, arch_flags flags)
{
    struct mm_cpu *cpu = mm_cpu_self();
    if (MM_UNLIKELY(mm_mode.careful || mm_remote_due(cpu))) {
        mm_cpu_unmask(flags);
        return malloc_careful(size, site);
    }
    void *p = mm_cache_refill(cpu, entry);
    if (MM_UNLIKELY(p == NULL)) {
        unsigned class = (unsigned)(entry - mm_cpu_self()->entry);
        mm_cpu_unmask(flags);
        return take_new(class);
    }
    mm_cpu_unmask(flags);
    return p;
}

/* Up to MM_CLASS_LIMIT, from the entry's word if it has any; not for a careful heap. */
static MM_NOINLINE void *malloc_small(size_t size, uintptr_t site)
{
    unsigned class = mm_class_of(size + (size == 0));
    arch_flags flags = mm_cpu_mask();
    struct mm_entry *entry = &mm_cpu_self()->entry[class];
    void *p;
    if (MM_LIKELY(mm_entry_take(entry, &p))) {
        mm_cpu_unmask(flags);
        return p;
    }
    return malloc_missed(size, site, entry, flags);
}

MM_NOINLINE void *mm_malloc_slow(size_t size, uintptr_t site)
{
    if (MM_UNLIKELY(mm_mode.careful)) {
        return malloc_careful(size, site);
    }
    return size > MM_CLASS_LIMIT ? malloc_large(size) : malloc_small(size, site);
}

void *sh_malloc(size_t size)
{
    size_t less = arch_argument(&size) - 1;
    if (MM_LIKELY(less < 1024)) {
        arch_flags flags = mm_cpu_mask();
        struct mm_entry *entry = &mm_cpu_self()->entry[mm_class_by_8[less >> 3]];
        void *p;
        if (MM_LIKELY(mm_entry_take(entry, &p))) {
            mm_cpu_unmask(flags);
            return p;
        }
        return malloc_missed(size, MM_CALLER(), entry, flags);
    }
    return mm_malloc_slow(size, MM_CALLER());
}

void mm_slot_release(struct mm_span *span, uint32_t index)
{
    struct mm_cpu *cpu;
    arch_flags flags = mm_cache_enter(&cpu);
    mm_span_set_held(span, index, false);
    mm_remote_free(cpu, span, index);
    mm_cache_leave(flags);
}

/* A small free by hand: spans whose bound is 0, spans that this CPU does not own. */
static bool free_small(struct mm_span *span, uintptr_t address)
{
    uint32_t index = mm_span_index(span, address);
    if (address != span->base + index * span->size || index >= span->slots || !mm_span_is_live(span, index)) {
        return false;
    }
    if (mm_mode.zero) {
        mm_memory_zero(address, span->size);
    }
    arch_flags flags = arch_irq_save();
    bool live = mm_remote_free(mm_cpu_self(), span, index);
    arch_irq_restore(flags);
    return live;
}

static inline bool run_claim(struct mm_span *span, enum mm_span_state wanted)
{
    arch_flags flags = arch_irq_save();
    bool live = SH_MAX_CPUS > 1 ? mm_span_claim(span, wanted) : mm_span_state(span) == wanted;
    if (live) {
        if (SH_MAX_CPUS == 1) {
            mm_span_set_state(span, MM_SPAN_DEAD);
        }
        mm_cpu_self()->large_frees++;
    }
    arch_irq_restore(flags);
    return live;
}

/* Takes a large span or a page run out of use; false = it is not one, or this CPU is not known. */
static inline bool free_run(struct mm_span *span, enum mm_span_state wanted)
{
    if (mm_cpu_strange()) {
        return false;
    }
    if (MM_UNLIKELY(mm_mode.zero) && mm_span_state(span) == wanted) {
        mm_memory_zero(span->base, mm_span_bytes(span));
    }
    return run_claim(span, wanted);
}

MM_CALL bool mm_run_claim(struct mm_span *span, enum mm_span_state wanted)
{
    return run_claim(span, wanted);
}

/* What is not a large object of the heap's own: small ones whose span's bound is 0 or that no CPU owns,
 * fenced ones, collected ones.  false = not the base of a live one. */
static MM_NOINLINE bool free_special(struct mm_span *span, uintptr_t address, const char *caller, uintptr_t site)
{
    if ((mm_span_flags(span) & MM_SPAN_COLLECTED) != 0) {
        return mm_collector->free(caller, span, address, site);
    }
    if (mm_span_state(span) == MM_SPAN_SMALL) {
        return free_small(span, address);
    }
    return mm_span_state(span) == MM_SPAN_LARGE && (mm_span_flags(span) & MM_SPAN_FENCED) != 0 &&
           address == span->base + span->inset && mm_fence_free(span);
}

/* In a heap that is not guarded. */
static MM_NOINLINE void free_plain(void *p, const char *caller, uintptr_t site)
{
    uintptr_t address = (uintptr_t)p;
    if (p == NULL || mm_dead()) {
        return;
    }
    struct mm_span *span = mm_span_of(address);
    if (MM_LIKELY((mm_span_flags(span) & (MM_SPAN_FENCED | MM_SPAN_COLLECTED)) == 0 && address == span->base) &&
        free_run(span, MM_SPAN_LARGE)) {
        mm_kept_retire(span);
    } else if (!mm_misuse_cpu() && !free_special(span, address, caller, site)) {
        mm_misuse_pointer(caller, address);
    }
}

static MM_NOINLINE void free_guarded(void *p, const char *caller, uintptr_t site)
{
    if (p != NULL && !mm_dead() && !mm_misuse_cpu() && !mm_guard_free(caller, (uintptr_t)p, site)) {
        mm_misuse_pointer(caller, (uintptr_t)p);
    }
}

MM_CALL void mm_free_slow(void *p, const char *caller, uintptr_t site)
{
    if (mm_mode.guarded) {
        free_guarded(p, caller, site);
    } else {
        free_plain(p, caller, site);
    }
}

/* The rest of a free whose span has to move. */
static MM_NOINLINE void free_event(struct mm_span *span, arch_flags flags)
{
    mm_cache_event(mm_cpu_self(), span);
    mm_cpu_unmask(flags);
}

/* Not static: so the fast path leaves its argument where it came. */
MM_NOINLINE void mm_free_other(void *p, uintptr_t site)
{
    if (MM_UNLIKELY(mm_mode.guarded)) {
        free_guarded(p, "sh_free", site);
    } else {
        free_plain(p, "sh_free", site);
    }
}

/* A slot in a span that this CPU does not own, or may not free in at once.  Its address follows from its index,
 * as there is no rest; four arguments are all that registers hold. */
static MM_NOINLINE void free_elsewhere(struct mm_span *span, uint32_t index, arch_flags flags, uintptr_t site)
{
    bool freed = mm_remote_free_there(span, index);
    mm_cpu_unmask(flags);
    if (!freed) {
        mm_free_other((void *)(span->base + index * span->size), site);
    }
}

void sh_free(void *p)
{
    uintptr_t address = arch_argument((const uintptr_t *)&p);
    arch_flags flags = mm_cpu_mask();
    struct mm_span *span = mm_span_of(address);
    uint32_t index;
    uint32_t rest = arch_multiply((uint32_t)(address - span->base), span->magic, &index);
    if (MM_LIKELY(rest < MM_FAST(span->bound))) {
        if (SH_MAX_CPUS > 1 && MM_UNLIKELY(mm_span_local(span) != mm_cpu_self())) {
            free_elsewhere(span, index, flags, MM_CALLER());
            return;
        }
        if (MM_LIKELY(arch_bit_set(span, offsetof(struct mm_span, free), index))) {
            if (MM_LIKELY(!arch_count_down(&span->countdown))) {
                mm_cpu_unmask(flags);
                return;
            }
            free_event(span, flags);
            return;
        }
    }
    mm_cpu_unmask(flags);
    mm_free_other(p, MM_CALLER());
}

void *sh_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    void *p = mm_mode.guarded ? mm_guard_malloc(bytes, 1, MM_CALLER()) : sh_malloc(bytes);
    if (p != NULL && !(bytes > MM_CLASS_LIMIT && (mm_span_flags(mm_span_of((uintptr_t)p)) & MM_SPAN_FRESH) != 0)) {
        mm_memory_zero((uintptr_t)p, bytes);
    }
    return p;
}

void *sh_alloc_pages(size_t count)
{
    if (count == 0 || !mm_mode.started || mm_dead() || mm_misuse_cpu() || mm_context() == SH_NMI) {
        return NULL;
    }
    struct mm_span *span = mm_mode.tier == 4 ? mm_fence_alloc_pages(count)
                                             : mm_heap_span_large(count, 1, MM_SPAN_PAGES);
    if (span == NULL) {
        return NULL;
    }
    mm_guard_placed(span, 0, span->size, MM_CALLER());
    return (void *)(span->base + span->inset);
}

void sh_free_pages(void *p)
{
    uintptr_t address = (uintptr_t)p;
    if (p == NULL || mm_dead() || mm_misuse_cpu()) {
        return;
    }
    struct mm_span *span = mm_span_of(address);
    if (mm_mode.guarded) {
        if (mm_guard_free_pages(span, address, MM_CALLER())) {
            return;
        }
    } else if (address == span->base && free_run(span, MM_SPAN_PAGES)) {
        mm_heap_release(span);
        return;
    }
    mm_misuse_pointer("sh_free_pages", address);
}
