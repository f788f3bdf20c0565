/*
 * Finalizers and weak references (see finalize.h).
 *
 * A record hangs at its object's span, and is on one of the rings below.  An object has at most one record
 * of each kind: all weak references to it share one, whose address and generation are the reference, so
 * that the collector clears them all in one place and need not know where the copies are.
 *
 * In a cycle, when all that the program reaches is marked:
 *
 *     weak        to an object that is not marked: cleared.  Before finalizers revive anything
 *     finalizers  of an object that is not marked: due.  All are found before any revives another
 *     due         its object is marked, and all it reaches: it stays until the finalizer has run
 *
 * A pass takes each record from its ring and puts it to the ones that are done; when the ring is empty the
 * pass is over.  So it can stop at any record, and records may come and go meanwhile.
 *
 * The records of a span are a tree, sorted by a number that says which object and which kind: at depth n the
 * number's bit n, from the lowest, says on which side.  Nothing is balanced, and no order of arrival makes the
 * tree deeper than the number has bits: 13 records in a span of 2048 slots.  The last one below a record can
 * take its place.
 */
#include "gc/finalize.h"

#include "gc/mark.h"
#include "mm/context.h"
#include "mm/linear.h"
#include "mm/report.h"

enum special_kind { FINALIZER, WEAK };

struct gc_special {
    union {
        struct gc_special *child[2]; /* of the same span */
        uintptr_t running;           /* the object, while its finalizer runs */
    };
    struct gc_link link;      /* of the ring that it is on */
    struct gc_span *gs;       /* NULL = free, its object is gone, or it runs */
    uint32_t index;
    uint8_t kind;             /* enum special_kind */
    bool due;
    uint32_t generation;      /* weak: of the references that count */
    uintptr_t seal;           /* weak: this address and SEAL, for good: a handle may be anything */
    void (*fn)(void *object, void *arg);
    void *arg;
};

#define SEAL ((uintptr_t)0x57EA1ED5u)

static struct mm_fixed records = { .size = sizeof(struct gc_special) };
/* Weak records keep their generation when they are free: they are no other kind ever again. */
static struct mm_fixed weak_records = { .size = sizeof(struct gc_special) };

static struct {
    struct gc_link weak, weak_done;
    struct gc_link finalizers, finalizers_done;
    struct gc_link due, due_marked;
    struct gc_link running, running_marked;
} ring;

static struct gc_special *special_of_link(struct gc_link *link)
{
    return (struct gc_special *)(void *)((char *)link - offsetof(struct gc_special, link));
}

static uintptr_t object_of(const struct gc_special *special)
{
    return special->gs == NULL ? special->running : gc_object(special->gs, special->index);
}

static void move_to(struct gc_link *list, struct gc_special *special)
{
    gc_list_remove(&special->link);
    gc_list_push(list, &special->link);
}

static bool is_marked(const struct gc_special *special)
{
    return gc_is_marked(special->gs, special->index);
}

static uint32_t key_of(uint32_t index, enum special_kind kind)
{
    return index * 2 + kind;
}

/* Where the record of an object is, or belongs. */
static struct gc_special **find(struct gc_span *gs, uint32_t index, enum special_kind kind)
{
    struct gc_special **link = &gs->specials;
    for (uint32_t path = key_of(index, kind); *link != NULL; path >>= 1) {
        if ((*link)->index == index && (*link)->kind == kind) {
            break;
        }
        link = &(*link)->child[path & 1];
    }
    return link;
}

/* At what `find` has given. */
static void hang(struct gc_special **link, struct gc_special *special, struct gc_span *gs, uint32_t index)
{
    special->gs = gs;
    special->index = index;
    special->child[0] = special->child[1] = NULL;
    *link = special;
}

/* Some record below this one that has none below it, or this one. */
static struct gc_special **last_below(struct gc_special **link)
{
    struct gc_special **next = link;
    while (*next != NULL) {
        link = next;
        next = &(*link)->child[(*link)->child[0] == NULL];
    }
    return link;
}

/* Takes a record from its span. */
static struct gc_special *unhang(struct gc_special **link)
{
    struct gc_special *special = *link, **end = last_below(link), *last = *end;
    *end = NULL;
    if (last != special) {
        last->child[0] = special->child[0];
        last->child[1] = special->child[1];
        *link = last;
    }
    special->gs = NULL;
    return special;
}

static void discard(struct gc_special **link)
{
    struct gc_special *special = unhang(link);
    gc_list_remove(&special->link);
    special->generation++;
    mm_fixed_recycle(special->kind == WEAK ? &weak_records : &records, special);
}

void gc_special_drop(struct gc_span *gs, uint32_t index)
{
    for (enum special_kind kind = FINALIZER; kind <= WEAK; kind++) {
        struct gc_special **link = find(gs, index, kind);
        if (*link != NULL) {
            discard(link);
        }
    }
}

void gc_special_move(struct gc_span *from, uint32_t index, struct gc_span *to, uint32_t to_index)
{
    for (enum special_kind kind = FINALIZER; kind <= WEAK; kind++) {
        struct gc_special **link = find(from, index, kind);
        if (*link != NULL) {
            struct gc_special *special = unhang(link);
            hang(find(to, to_index, kind), special, to, to_index);
        }
    }
}

void gc_special_start(void)
{
    gc_list_splice(&ring.due, &ring.due_marked);
    gc_list_splice(&ring.running, &ring.running_marked);
}

/* The first of a ring, which is then on the other; false = it is empty. */
static bool mark_first(struct gc_link *from, struct gc_link *to)
{
    if (gc_list_empty(from)) {
        return false;
    }
    struct gc_special *special = special_of_link(from->next);
    gc_mark_word(object_of(special));
    move_to(to, special);
    return true;
}

size_t gc_special_mark_due(void)
{
    arch_flags flags = gc_lock();
    bool some = mark_first(&ring.due, &ring.due_marked) || mark_first(&ring.running, &ring.running_marked);
    gc_unlock(flags);
    return some ? GC_SPAN_COST : 0;
}

/* A step of a pass: each of some records of `from` goes to `to`, or to what `gone` does with it.  0 = none
 * was left. */
static size_t pass(struct gc_link *from, struct gc_link *to, void (*gone)(struct gc_special *), size_t budget)
{
    size_t done = 0;
    while (done < budget) {
        arch_flags flags = gc_lock();
        bool some = !gc_list_empty(from);
        if (some) {
            struct gc_special *special = special_of_link(from->next);
            if (is_marked(special)) {
                move_to(to, special);
            } else {
                gone(special);
            }
        } else if (done == 0) {
            gc_list_splice(from, to); /* for the next cycle; the pass is over */
        }
        gc_unlock(flags);
        if (!some) {
            break;
        }
        done += GC_SPAN_COST;
    }
    return done;
}

static void clear_weak(struct gc_special *special)
{
    discard(find(special->gs, special->index, WEAK));
}

static void make_due(struct gc_special *special)
{
    special->due = true;
    move_to(&ring.due, special);
}

size_t gc_special_clear_weak(size_t budget)
{
    return pass(&ring.weak, &ring.weak_done, clear_weak, budget);
}

size_t gc_special_find_due(size_t budget)
{
    return pass(&ring.finalizers, &ring.finalizers_done, make_due, budget);
}

/* The live collected object that begins at an address; NULL = none.  Under the lock. */
static struct gc_span *object_at(const void *object, uint32_t *index)
{
    struct mm_view view;
    if (!gc.started || !mm_span_view((uintptr_t)object, &view) || !view.live || view.span->gc == NULL ||
        view.base != (uintptr_t)object || mm_bit_test(gc_freed(view.span->gc), view.index)) {
        return NULL;
    }
    struct gc_span *gs = view.span->gc;
    *index = view.index;
    return gc_is_kept(gs, view.index) ? gs : NULL;
}

/* Finds or makes the record of a kind for an object.  SH_OK, SH_E_INVALID, SH_E_NOMEM, and the lock held
 * if it is SH_OK. */
static int record_for(const void *object, enum special_kind kind, struct gc_special **out, arch_flags *flags)
{
    uint32_t index;
    struct mm_fixed *list = kind == WEAK ? &weak_records : &records;
    struct gc_special *fresh = NULL;
    *flags = gc_lock();
    struct gc_span *gs = object_at(object, &index);
    if (gs != NULL && *find(gs, index, kind) == NULL) {
        gc_unlock(*flags);
        fresh = mm_fixed_obtain(list, mm_may_grow());
        *flags = gc_lock();
        gs = object_at(object, &index);
    }
    struct gc_special *special = gs == NULL ? NULL : *find(gs, index, kind);
    if (gs != NULL && gc.black) {
        gc_mark_word((uintptr_t)object); /* whoever names it holds it, whatever the cycle has found so far */
    }
    if (gs != NULL && special == NULL && fresh != NULL) {
        special = fresh;
        fresh = NULL;
        special->kind = (uint8_t)kind;
        special->due = false;
        special->seal = kind == WEAK ? (uintptr_t)special ^ SEAL : 0;
        hang(find(gs, index, kind), special, gs, index);
        gc_list_push(kind == WEAK ? &ring.weak : &ring.finalizers, &special->link);
    }
    *out = special;
    if (special == NULL) {
        gc_unlock(*flags);
    }
    if (fresh != NULL) {
        mm_fixed_recycle(list, fresh);
    }
    return special != NULL ? SH_OK : gs == NULL ? SH_E_INVALID : SH_E_NOMEM;
}

int sh_gc_set_finalizer(void *object, void (*fn)(void *object, void *arg), void *arg)
{
    struct gc_special *special;
    arch_flags flags;
    if (mm_dead()) {
        return SH_E_STATE;
    }
    if (fn == NULL) {
        uint32_t index;
        flags = gc_lock();
        struct gc_span *gs = object_at(object, &index);
        struct gc_special **link = gs == NULL ? NULL : find(gs, index, FINALIZER);
        if (link != NULL && *link != NULL) {
            discard(link);
        }
        gc_unlock(flags);
        return gs == NULL ? SH_E_INVALID : SH_OK;
    }
    int result = record_for(object, FINALIZER, &special, &flags);
    if (result == SH_OK) {
        special->fn = fn;
        special->arg = arg;
        if (special->due) {
            special->due = false;
            move_to(&ring.finalizers, special);
        }
        gc_unlock(flags);
    }
    return result;
}

/* The next one that is due, taken from its object, and on the ring of those that run; NULL = none. */
static struct gc_special *take_due(void **object)
{
    arch_flags flags = gc_lock();
    struct gc_link *link = !gc_list_empty(&ring.due) ? ring.due.next : ring.due_marked.next;
    struct gc_special *special = link == &ring.due_marked ? NULL : special_of_link(link);
    if (special != NULL) {
        *object = (void *)object_of(special);
        unhang(find(special->gs, special->index, FINALIZER));
        special->running = (uintptr_t)*object; /* kept by the ring */
        move_to(&ring.running_marked, special);
        if (gc.black) {
            gc_mark_word((uintptr_t)*object);
        }
    }
    gc_unlock(flags);
    return special;
}

size_t sh_gc_run_finalizers(size_t most)
{
    size_t count = 0;
    void *object;
    struct gc_special *special;
    while (gc.started && !mm_dead() && count < most && (special = take_due(&object)) != NULL) {
        special->fn(object, special->arg);
        arch_flags flags = gc_lock();
        if (gc.black) {
            gc_mark_word(object_of(special)); /* it was held when the cycle began */
        }
        gc_list_remove(&special->link);
        gc_unlock(flags);
        mm_fixed_recycle(&records, special);
        count++;
    }
    return count;
}

int sh_gc_weak_create(struct sh_gc_weak *weak, void *object)
{
    struct gc_special *special;
    arch_flags flags;
    *weak = (struct sh_gc_weak){ 0, 0 };
    if (mm_dead()) {
        return SH_E_STATE;
    }
    int result = record_for(object, WEAK, &special, &flags);
    if (result == SH_OK) {
        weak->handle = (uintptr_t)special;
        weak->generation = special->generation;
        gc_unlock(flags);
    }
    return result;
}

void *sh_gc_weak_get(struct sh_gc_weak weak)
{
    struct gc_special *special = (struct gc_special *)weak.handle;
    if (!gc.started || mm_dead() || weak.handle % sizeof(uintptr_t) != 0 ||
        !mm_linear_contains(special, sizeof *special)) {
        return NULL;
    }
    void *object = NULL;
    arch_flags flags = gc_lock();
    if (special->seal == (weak.handle ^ SEAL) && special->gs != NULL &&
        special->generation == (uint32_t)weak.generation) {
        bool late = gc.phase == GC_WEAK || gc.phase == GC_FINALIZERS || gc.phase == GC_REVIVE;
        if (!late || is_marked(special)) {
            object = (void *)object_of(special);
        }
        if (object != NULL && gc.black) {
            gc_mark_word((uintptr_t)object);
        }
    }
    gc_unlock(flags);
    return object;
}

static void each_of(const struct gc_link *list, void (*each)(const void *, const void *, void *))
{
    for (struct gc_link *link = list->next; link != list; link = link->next) {
        uintptr_t object = object_of(special_of_link(link));
        each(&object, &object + 1, NULL);
    }
}

void gc_special_each_due(void (*each)(const void *low, const void *high, void *arg))
{
    each_of(&ring.due, each);
    each_of(&ring.due_marked, each);
    each_of(&ring.running, each);
    each_of(&ring.running_marked, each);
}

static int ring_verify(const struct gc_link *list, enum special_kind kind)
{
    const struct gc_link *before = list;
    for (struct gc_link *link = list->next; link != list; before = link, link = link->next) {
        if (!mm_linear_contains(link, sizeof *link) || link->prev != before) {
            return mm_fault_found("ring of specials", (uintptr_t)link);
        }
        struct gc_special *special = special_of_link(link);
        struct gc_span *gs = special->gs;
        if (special->kind != kind || !mm_linear_contains(gs, sizeof *gs) || special->index >= gs->slots ||
            *find(gs, special->index, kind) != special || mm_span_is_free(gs->span, special->index)) {
            return mm_fault_found("special of an object", (uintptr_t)special);
        }
    }
    return list->prev == before ? 0 : mm_fault_found("ring of specials", (uintptr_t)list->prev);
}

int gc_special_verify(void)
{
    return ring_verify(&ring.weak, WEAK) + ring_verify(&ring.weak_done, WEAK) +
           ring_verify(&ring.finalizers, FINALIZER) + ring_verify(&ring.finalizers_done, FINALIZER) +
           ring_verify(&ring.due, FINALIZER) + ring_verify(&ring.due_marked, FINALIZER);
}

void gc_special_reset(void)
{
    records.first = weak_records.first = NULL;
    struct gc_link *all = &ring.weak;
    for (size_t i = 0; i < sizeof ring / sizeof *all; i++) {
        gc_list_init(&all[i]);
    }
}
