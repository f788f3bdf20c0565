/*
 * Collected objects: how they come, and how they go by hand.
 *
 * Each CPU has an entry a kind and class, which points at one word of free bits of its span, as the caches
 * of manual objects do; there is no countdown, because a collected object goes when its span is swept.
 * An entry without a span points at a word that is 0.  When the word is empty:
 *
 *     another word of the span
 *     a span with free slots from the list of the kind and class
 *     one that is left from the last cycle, after sweeping it, and some more if they are full
 *     a new span; each pays for its bytes by sweeping some of what is left (pace.c)
 *
 * The list's spans and the bits are under the work lock; so a handler may allocate.
 *
 * While a cycle marks, objects are born marked and scanned.
 */
#include "gc/alloc.h"

#include "gc/cycle.h"
#include "gc/finalize.h"
#include "gc/mark.h"
#include "gc/pace.h"
#include "gc/sweep.h"
#include "mm/cache.h"
#include "mm/context.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/malloc.h"
#include "mm/memory.h"
#include "mm/misuse.h"
#include "mm/report.h"
#include "mm/scavenge.h"

/* Full spans that a refill sweeps before it takes a new one: they bound its time, and cost so little. */
#define REFILL_SWEEPS 100

struct entry {
    struct gc_span *gs; /* NULL = none */
    uintptr_t *word;    /* of its free bits; mm_zero_word when there is no span */
    uint32_t index;     /* the word's first slot */
};

static struct entry (*entries)[GC_KINDS][MM_CLASSES]; /* [cpus] */
static struct entry nobodys = { .word = &mm_zero_word }; /* of a CPU that is not known: no span */
static unsigned cpu_count;

size_t gc_alloc_live;

static size_t free_bytes(const struct gc_span *gs)
{
    size_t count = 0;
    for (uint32_t i = 0; i < gs->words; i++) {
        count += arch_popcount(gs->span->free[i]);
    }
    return count * gs->size;
}

static void entry_clear(struct entry *entry)
{
    *entry = (struct entry){ NULL, &mm_zero_word, 0 };
}

/* Points the entry at the first word with free slots from word `from` on; false = none. */
static bool entry_scan(struct entry *entry, uint32_t from)
{
    struct gc_span *gs = entry->gs;
    for (; from < gs->words; from++) {
        if (gs->span->free[from] != 0) {
            entry->word = &gs->span->free[from];
            entry->index = from * (uint32_t)MM_WORD_BITS;
            return true;
        }
    }
    return false;
}

/* Gives the entry's span back to the lists. */
static void entry_retire(struct entry *entry)
{
    if (entry->gs != NULL) {
        gc_live_add(0 - free_bytes(entry->gs));
        gc_span_list(entry->gs);
        entry_clear(entry);
    }
}

static bool entry_install(struct entry *entry, struct gc_span *gs)
{
    gs->owned = true;
    entry->gs = gs;
    gc_live_add(free_bytes(gs));
    return entry_scan(entry, 0);
}

void gc_alloc_flush(enum gc_kind kind)
{
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        for (unsigned class = 0; class < MM_CLASSES; class++) {
            entry_retire(&entries[cpu][kind][class]);
        }
    }
}

static struct entry *entry_for(enum gc_kind kind, unsigned class)
{
    const struct mm_cpu *cpu = mm_cpu_self();
    return MM_LIKELY(mm_cpu_known(cpu)) ? &entries[cpu - mm_cpu][kind][class] : &nobodys;
}

/* A span with free slots from the lists; NULL = none. */
static struct gc_span *take_listed(enum gc_kind kind, unsigned class)
{
    struct gc_link *lists = gc.classes[kind][class].list;
    struct gc_link *list = gc_list_empty(&lists[GC_PARTIAL]) ? &lists[GC_TOUCHED + GC_PARTIAL] : &lists[GC_PARTIAL];
    if (gc_list_empty(list)) {
        return NULL;
    }
    struct gc_span *gs = gc_span_of_link(list->next);
    gc_list_remove(&gs->link);
    gs->owned = true;
    if (gc.black && kind == GC_UNCOLLECTABLE && !gs->touched) {
        gs->touched = true;
        gc_mark_all(gs);
    }
    return gs;
}

/* A slot from the entry or from what is listed; NULL = a span has to be swept or made.  Under the lock. */
static struct gc_span *take_slot(enum gc_kind kind, unsigned class, uint32_t *index)
{
    struct entry *entry = entry_for(kind, class);
    while (*entry->word == 0) {
        struct gc_span *gs;
        if (entry->gs != NULL && entry_scan(entry, entry->index / MM_WORD_BITS)) {
            break;
        }
        entry_retire(entry);
        if ((gs = take_listed(kind, class)) == NULL || !entry_install(entry, gs)) {
            return NULL;
        }
    }
    uintptr_t bits = *entry->word;
    mm_word_set(entry->word, bits & (bits - 1));
    *index = entry->index + arch_ctz(bits);
    if (MM_UNLIKELY(gc.black)) {
        gc_mark_born(entry->gs, *index);
    }
    return entry->gs;
}

/* Finds a span by sweeping, or the entry a new one from the heap; false = exhausted. */
static MM_NOINLINE bool refill(enum gc_kind kind, unsigned class)
{
    if (gc_sweep_for(kind, class, mm_context() == SH_THREAD ? REFILL_SWEEPS : 1)) {
        return true;
    }
    if (mm_context() == SH_THREAD) {
        gc_pace_span(mm_class[class].pages);
    }
    struct gc_span *gs = gc_span_open(kind, class);
    if (gs == NULL) {
        return false;
    }
    arch_flags flags = gc_lock();
    struct entry *entry = entry_for(kind, class);
    gc_span_publish(gs);
    if (entry->gs == NULL) {
        entry_install(entry, gs);
    } else {
        gc_span_list(gs); /* a handler was faster, or another thread */
    }
    gc_unlock(flags);
    return true;
}

/* The address of a slot that was just taken.  From here on the caller holds it as such: a collection by
 * another thread, which stops this one after the lock, finds it on the stack. */
static uintptr_t hold(const struct gc_span *gs, uint32_t index)
{
    volatile uintptr_t object = gc_object(gs, index);
    return object;
}

static struct gc_span *small(enum gc_kind kind, unsigned class, uint32_t *index, uintptr_t *object)
{
    struct gc_span *gs;
    do {
        arch_flags flags = gc_lock();
        gs = take_slot(kind, class, index);
        if (gs != NULL) {
            *object = hold(gs, *index);
        }
        gc_unlock(flags);
    } while (gs == NULL && refill(kind, class));
    return gs;
}

static struct gc_span *large(enum gc_kind kind, size_t size, bool *fresh, uintptr_t *object)
{
    if (mm_context() == SH_THREAD) {
        gc_pace_span(mm_pages_for(size));
    }
    struct gc_span *gs = gc_span_open_large(kind, size, fresh);
    if (gs != NULL) {
        arch_flags flags = gc_lock();
        gc_live_add(gs->size);
        gc_span_publish(gs);
        if (gc.black) {
            gc_mark_born(gs, 0);
        }
        gc_span_list(gs);
        *object = hold(gs, 0);
        gc_unlock(flags);
    }
    return gs;
}

/* Gives a slot back that nobody has seen. */
static void untake(struct gc_span *gs, uint32_t index)
{
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    arch_flags flags = gc_lock();
    mm_word_set(&gs->span->free[index / MM_WORD_BITS], gs->span->free[index / MM_WORD_BITS] | bit);
    if (gc.black) {
        gc_mark_unborn(gs, index);
    }
    gc_unlock(flags);
}

/* A slot for `size` bytes; *fresh: it reads as zero. */
static struct gc_span *place(enum gc_kind kind, size_t size, uint32_t *index, bool *fresh, uintptr_t *object)
{
    struct mm_dirt dirt;
    size_t room = size + (mm_mode.tier >= 2 ? MM_RED_ZONE : 0);
    *index = 0;
    *fresh = false;
    if (room < size) {
        return NULL;
    }
    if (mm_pages_for(room) == 0 && room != 0) {
        return NULL;
    }
    if (room > MM_CLASS_LIMIT || mm_mode.tier == 4) {
        return large(kind, mm_mode.tier == 4 ? size : room, fresh, object);
    }
    for (;;) {
        struct gc_span *gs = small(kind, mm_class_of(room == 0 ? 1 : room), index, object);
        if (gs == NULL || !mm_mode.guarded || !mm_guard_slot_dirty(gs->span, *index, &dirt)) {
            return gs;
        }
        untake(gs, *index);
        mm_guard_slot_report(&dirt, gs->span, *index);
    }
}

/* A zeroed object, with a collection first if one is due or memory ran out. */
static MM_NOINLINE void *allocate(enum gc_kind kind, size_t size, uintptr_t site, struct gc_span **out)
{
    bool fresh;
    uint32_t index;
    uintptr_t object = 0;
    enum sh_context context = mm_context();
    if (!gc.started || mm_dead() || mm_misuse_cpu() || context == SH_NMI) {
        return NULL;
    }
    if (context == SH_THREAD && gc.config.automatic && gc_pace_due()) {
        gc_cycle_collect(false, true);
    }
    struct gc_span *gs = place(kind, size, &index, &fresh, &object);
    if (gs == NULL && context == SH_THREAD && size <= SIZE_MAX / 2 && gc_cycle_collect(true, false)) {
        gs = place(kind, size, &index, &fresh, &object);
    }
    /* Pages may lie idle and a descriptor still want a frame that is not to be had. */
    if (gs == NULL && context == SH_THREAD && mm_may_flush() && mm_scavenge(0) != 0) {
        gs = place(kind, size, &index, &fresh, &object);
    }
    if (gs == NULL) {
        return NULL;
    }
    if (!fresh || mm_mode.guarded) {
        mm_memory_zero(object, gs->size);
    }
    mm_guard_placed(gs->span, index, size, site);
    *out = gs;
    return (void *)object;
}

/* Up to 1 KiB from the word that the entry is at, in a heap with nothing more to do; the span of it, NULL =
 * the slow path knows.  Not one for memset: most objects are a few words. */
static inline struct gc_span *take_fast(enum gc_kind kind, size_t size, uintptr_t *object)
{
    size_t less = size - 1;
    if (less >= 1024 || !gc.plain) {
        return NULL;
    }
    struct gc_span *gs = NULL;
    unsigned class = mm_class_by_8[less >> 3], index;
    arch_flags flags = gc_lock();
    struct entry *entry = entry_for(kind, class);
    if (MM_LIKELY(arch_bit_take(entry->word, &index))) {
        gs = entry->gs;
        *object = hold(gs, entry->index + index);
        if (MM_UNLIKELY(gc.black)) {
            gc_mark_born(gs, entry->index + index);
        }
    }
    gc_unlock(flags);
    if (gs != NULL) {
        uintptr_t *word = (uintptr_t *)*object;
        for (size_t i = gs->size / sizeof(uintptr_t); i-- != 0;) {
            __atomic_store_n(&word[i], 0, __ATOMIC_RELAXED);
        }
    }
    return gs;
}

void *sh_gc_malloc(size_t size, unsigned flags)
{
    static const uint8_t kinds[] = { GC_CONSERVATIVE, GC_NOSCAN, GC_UNCOLLECTABLE };
    struct gc_span *gs;
    uintptr_t object;
    if (flags >= sizeof kinds) {
        mm_misuse("sh_gc_malloc(%z, %x): no such flags", size, (uintptr_t)flags);
        return NULL;
    }
    enum gc_kind kind = (enum gc_kind)kinds[flags];
    return MM_LIKELY(take_fast(kind, size, &object) != NULL) ? (void *)object
                                                             : allocate(kind, size, MM_CALLER(), &gs);
}

/* A slot's words as a mask, for one object of a type of `words`.  Those behind the object are pointers, as in
 * note_pointers: they read as zero until it grows into them. */
static uintptr_t slot_pointers(const struct sh_gc_type *type, size_t words, size_t slot)
{
    uintptr_t all = ~(uintptr_t)0 >> (MM_WORD_BITS - slot), mask = type->pointers[0];
    return words >= MM_WORD_BITS ? mask : (mask | ~(uintptr_t)0 << words) & all;
}

static void set_pointer(struct gc_span *gs, size_t word, bool pointer)
{
    uintptr_t bit = (uintptr_t)1 << (word % MM_WORD_BITS), *map = &gs->pointers[word / MM_WORD_BITS];
    *map = pointer ? *map | bit : *map & ~bit;
}

/* The mask is not that of all objects any more: from here on the bitmap counts.  It repeats itself after as
 * many words as a slot has: the first of them are built slot by slot, the others copied.  At most a few pages,
 * so under the lock. */
static void spread_mask(struct gc_span *gs)
{
    size_t slot = gs->size / sizeof(uintptr_t), end = gs->slots * slot;
    size_t words = MM_BITMAP_WORDS(end), period = slot < words ? slot : words;
    for (size_t i = 0; i < period; i++) {
        gs->pointers[i] = 0;
    }
    for (size_t first = 0; first < end && first < period * MM_WORD_BITS; first += slot) {
        size_t shift = first % MM_WORD_BITS, word = first / MM_WORD_BITS;
        gs->pointers[word] |= gs->mask << shift;
        if (shift + slot > MM_WORD_BITS && word + 1 < period) {
            gs->pointers[word + 1] |= gs->mask >> (MM_WORD_BITS - shift);
        }
    }
    for (size_t i = period; i < words; i++) {
        gs->pointers[i] = gs->pointers[i - slot];
    }
    __atomic_store_n(&gs->uniform, false, __ATOMIC_RELAXED);
}

/* One shape for all objects of the span, and it is this one?  If the mask is spread meanwhile, then over an
 * object that was taken before too. */
static bool fits_mask(const struct gc_span *gs, uintptr_t mask)
{
    return __atomic_load_n(&gs->shaped, __ATOMIC_ACQUIRE) && __atomic_load_n(&gs->uniform, __ATOMIC_RELAXED) &&
           gs->mask == mask;
}

/* The span's shape, if it has none; false = it has another.  Under the lock. */
static bool take_shape(struct gc_span *gs, uintptr_t mask)
{
    if (gs->uniform && !gs->shaped) {
        gs->mask = mask;
        __atomic_store_n(&gs->shaped, true, __ATOMIC_RELEASE);
    }
    return gs->uniform && gs->mask == mask;
}

/* Notes where the pointers of a small object are.  Most spans hold objects of one shape: a mask says it.  What
 * the bitmap says of an object that is being noted does not matter: its words are 0, or those of another that
 * its owner holds. */
static void note_pointers(struct gc_span *gs, uintptr_t object, const struct sh_gc_type *type, size_t count)
{
    size_t words = type->size / sizeof(uintptr_t), slot = gs->size / sizeof(uintptr_t), at = 0;
    size_t first = (object - gs->base) / sizeof(uintptr_t);
    bool one = count == 1 && slot <= MM_WORD_BITS;
    uintptr_t mask = one ? slot_pointers(type, words, slot) : 0;
    if (one && fits_mask(gs, mask)) {
        return;
    }
    arch_flags flags = gc_lock();
    if (one && take_shape(gs, mask)) {
        gc_unlock(flags);
        return;
    }
    if (gs->uniform) {
        spread_mask(gs);
    }
    for (size_t i = 0; i < slot; i++) {
        set_pointer(gs, first + i, i >= words * count || mm_bit_test(type->pointers, at));
        at = at + 1 == words ? 0 : at + 1;
        if ((i + 1) % GC_BURST == 0) {
            gc_unlock(flags);
            flags = gc_lock();
        }
    }
    gc_unlock(flags);
}

void *sh_gc_new(const struct sh_gc_type *type, size_t count)
{
    size_t size;
    struct gc_span *gs;
    if (type->size == 0 || type->size % sizeof(uintptr_t) != 0) {
        mm_misuse("sh_gc_new: type %s: its size of %z bytes is not whole words", type->name, type->size);
        return NULL;
    }
    if (__builtin_mul_overflow(type->size, count, &size)) {
        return NULL;
    }
    if (type->pointers == NULL) {
        return allocate(GC_NOSCAN, size, MM_CALLER(), &gs);
    }
    uintptr_t fast;
    gs = take_fast(GC_TYPED, size, &fast);
    void *object = gs != NULL ? (void *)fast : allocate(GC_TYPED, size, MM_CALLER(), &gs);
    if (object != NULL && gs->class == GC_LARGE) {
        __atomic_store_n(&gs->type, type, __ATOMIC_RELEASE);
    } else if (object != NULL) {
        note_pointers(gs, (uintptr_t)object, type, count);
    }
    return object;
}

/* How a slot that sh_free names goes. */
enum going { NOT_LIVE, AT_THE_SWEEP, NOW };

/* Which slot begins at an address; false = none does. */
static bool slot_at(const struct gc_span *gs, uintptr_t address, uint32_t *index)
{
    *index = (uint32_t)((uint64_t)(uint32_t)(address - gs->base) * gs->magic >> 32);
    return *index < gs->slots && address == gc_object(gs, *index);
}

/* Is it a live object's base?  Marks it as freed by hand, so that nobody else can free it, and notes who did
 * if the sweep is to fill it.  Until here another CPU may have released the span, and its record be another's. */
static enum going claim_free(struct mm_span *span, struct gc_span *gs, uintptr_t address, uint32_t *index,
                             uintptr_t site)
{
    enum going going = NOT_LIVE;
    arch_flags flags = gc_lock();
    if (span->gc == gs && slot_at(gs, address, index) && !mm_span_is_free(span, *index) &&
        !mm_bit_test(gc_freed(gs), *index) && gc_is_kept(gs, *index)) {
        gc_freed(gs)[*index / MM_WORD_BITS] |= (uintptr_t)1 << (*index % MM_WORD_BITS);
        gs->freed_some = true;
        gc_special_drop(gs, *index);
        going = gc.black ? AT_THE_SWEEP : NOW;
        gs->in_hand += going == NOW && gc.fills;
        if (going == AT_THE_SWEEP && span->notes != NULL) {
            span->notes[*index].freed = site;
        }
    }
    gc_unlock(flags);
    return going;
}

/* Is no slot of the span in use? */
static bool is_empty(const struct gc_span *gs)
{
    uintptr_t used = 0;
    for (uint32_t i = 0; i < gs->words; i++) {
        used |= gs->span->free[i] ^ gc_slot_mask(gs, i);
    }
    return used == 0;
}

/* The slot is free.  true = the span is empty, and on no list any more.  Under the lock. */
static bool set_free(struct gc_span *gs, uint32_t word, uintptr_t bit)
{
    mm_word_set(&gs->span->free[word], gs->span->free[word] | bit);
    gc.stats.objects_freed++;
    gc.large_freed += gs->class == GC_LARGE;
    if (gs->owned) {
        return false;
    }
    bool empty = is_empty(gs);
    gc_live_add(0 - gs->size);
    gc_list_remove(&gs->link);
    if (empty) {
        gs->owned = true;
        gc_spans_add((size_t)-1);
    } else {
        gc_span_list(gs);
    }
    return empty;
}

/* Frees a claimed slot, unless a sweep does; true = the span is empty, and the caller's to release. */
static bool finish_free(struct gc_span *gs, uint32_t index)
{
    uintptr_t bit = (uintptr_t)1 << (index % MM_WORD_BITS);
    uint32_t word = index / MM_WORD_BITS;
    bool empty = false;
    arch_flags flags = gc_lock();
    gs->in_hand -= gc.fills;
    gs->filled = gc.fills && gs->class == GC_LARGE;
    /* A cycle may have begun, and frees the slot then.  A sweep that fills does not know it: it is told. */
    if (!gc.black && (gc_freed(gs)[word] & bit) != 0) {
        if (gs->generation == gc.generation) {
            gc_freed(gs)[word] &= ~bit;
            empty = set_free(gs, word, bit);
        } else if (gs->generation == gc.generation - 1) {
            gc_freed(gs)[word] &= ~bit;
            gs->marked[word] &= ~bit;
            gc_live_add(0 - gs->size);
        }
    }
    gc_unlock(flags);
    return empty;
}

bool gc_free(const char *caller, struct mm_span *span, uintptr_t address, uintptr_t site)
{
    uint32_t index;
    struct gc_span *gs = __atomic_load_n(&span->gc, __ATOMIC_ACQUIRE);
    if (gs == NULL || !slot_at(gs, address, &index) || (gc_phase_is(GC_SWEEP) && !gc_sweep_ensure(gs))) {
        return false;
    }
    enum going going = claim_free(span, gs, address, &index, site);
    if (going == NOW) {
        if (gc.fills) {
            mm_guard_collected(caller, span, index, site);
        }
        if (finish_free(gs, index)) {
            gc_span_release(gs);
        }
    }
    return going != NOT_LIVE;
}

/* May word `i` of a typed object that moves be a pointer?  `at`: which word of its type, if it is large. */
static bool was_pointer(const struct gc_span *from, uintptr_t old, size_t i, size_t *at)
{
    if (i >= from->size / sizeof(uintptr_t)) {
        return true; /* it is new */
    }
    if (from->class != GC_LARGE) {
        return from->uniform ? (i < MM_WORD_BITS && (from->mask >> i & 1) != 0)
                             : mm_bit_test(from->pointers, (old - from->base) / sizeof(uintptr_t) + i);
    }
    bool pointer = from->type == NULL || mm_bit_test(from->type->pointers, *at);
    *at = from->type == NULL || ++*at == from->type->size / sizeof(uintptr_t) ? 0 : *at;
    return pointer;
}

/* The pointers of a typed object that moved: what it had, and all of what is new. */
static void move_pointers(const struct gc_span *from, uintptr_t old, struct gc_span *to, uintptr_t fresh)
{
    size_t slot = to->size / sizeof(uintptr_t), at = 0;
    arch_flags flags = gc_lock();
    if (to->class == GC_LARGE) {
        to->type = from->type;
        slot = 0;
    } else if (to->uniform) {
        spread_mask(to);
    }
    for (size_t i = 0; i < slot; i++) {
        set_pointer(to, (fresh - to->base) / sizeof(uintptr_t) + i, was_pointer(from, old, i, &at));
        if ((i + 1) % GC_BURST == 0) {
            gc_unlock(flags);
            flags = gc_lock();
        }
    }
    gc_unlock(flags);
}

static bool stays(const struct gc_span *gs, size_t size)
{
    size_t room = size + (mm_mode.tier >= 2 ? MM_RED_ZONE : 0);
    if (room < size || (mm_span_flags(gs->span) & MM_SPAN_FENCED) != 0) {
        return false;
    }
    if (gs->class == GC_LARGE) {
        return room > MM_CLASS_LIMIT && mm_pages_for(room) == gs->span->page_count;
    }
    return room <= gs->size && (mm_class_of(room == 0 ? 1 : room) == gs->class || room > gs->size / 2);
}

static bool is_live(struct gc_span *gs, uint32_t index)
{
    arch_flags flags = gc_lock();
    bool live = !mm_bit_test(gc_freed(gs), index) && gc_is_kept(gs, index);
    gc_unlock(flags);
    return live;
}

void *gc_resize(const struct mm_view *view, size_t size, uintptr_t site)
{
    struct gc_span *gs = __atomic_load_n(&view->span->gc, __ATOMIC_ACQUIRE), *to;
    void *old = (void *)view->base;
    if (gs == NULL || !is_live(gs, view->index)) {
        mm_misuse_pointer("sh_realloc", view->base);
        return NULL;
    }
    if (stays(gs, size)) {
        mm_span_mark_loose(gs->span);
        mm_guard_resized(view, size);
        return old;
    }
    void *fresh = allocate((enum gc_kind)gs->kind, size, site, &to);
    size_t keep = size < view->size ? size : view->size;
    if (fresh == NULL || !mm_memory_copy((uintptr_t)fresh, view->base, keep)) {
        if (fresh != NULL) {
            gc_free("sh_realloc", to->span, (uintptr_t)fresh, site);
        }
        return size <= view->size ? old : NULL;
    }
    if (gs->kind == GC_TYPED) {
        move_pointers(gs, view->base, to, (uintptr_t)fresh);
    }
    arch_flags flags = gc_lock();
    gc_special_move(gs, view->index, to, to->class == GC_LARGE ? 0 : mm_span_index(to->span, (uintptr_t)fresh));
    gc_unlock(flags);
    gc_free("sh_realloc", view->span, view->base, site);
    return fresh;
}

size_t gc_alloc_records(unsigned cpus)
{
    return cpus * sizeof entries[0];
}

void gc_alloc_start(void *records, unsigned cpus)
{
    entries = records;
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        for (unsigned kind = 0; kind < GC_KINDS; kind++) {
            for (unsigned class = 0; class < MM_CLASSES; class++) {
                entry_clear(&entries[cpu][kind][class]);
            }
        }
    }
    cpu_count = cpus;
}

int gc_alloc_verify(void)
{
    size_t owned = 0;
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        for (unsigned kind = 0; kind < GC_KINDS; kind++) {
            for (unsigned class = 0; class < MM_CLASSES; class++) {
                const struct entry *entry = &entries[cpu][kind][class];
                const struct gc_span *gs = entry->gs;
                owned += gs != NULL;
                if (gs == NULL ? entry->word != &mm_zero_word
                               : !mm_linear_contains(gs, sizeof *gs) || !gs->owned || gs->kind != kind ||
                                     gs->class != class || entry->index % MM_WORD_BITS != 0 ||
                                     entry->word != &gs->span->free[entry->index / MM_WORD_BITS]) {
                    return mm_fault_found("collector's entry: class", class);
                }
            }
        }
    }
    size_t listed = 0;
    return gc_lists_verify(&listed) + mm_verify_equal("collected spans", listed + owned, gc.span_count);
}

void gc_alloc_reset(void)
{
    entries = NULL;
    cpu_count = 0;
    gc_alloc_live = 0;
}
