/*
 * Proves that damage to the collector's records is found: a mark on a free slot by the sweep, everything
 * else by sh_verify.  Each row of the table damages one thing, sh_verify must then find a fault, the damage
 * is undone, and sh_verify must find none.
 */
#include "kernel-test/plant.h"
#include "kernel-test/test_gc_util.h"

/* ---- a free slot that is marked ---- */

static void collect(void *arg)
{
    (void)arg;
    sh_gc_collect();
}

static void finish(void *arg)
{
    (void)arg;
    t_gc_step_to(GC_IDLE, 100);
}

/* A free slot of the span of `p`. */
static uint32_t free_slot(const struct gc_span *gs)
{
    uint32_t slot = 0;
    while (slot < gs->slots && !mm_span_is_free(gs->span, slot)) {
        slot++;
    }
    EXPECT(slot < gs->slots);
    return slot;
}

static void flip(uintptr_t *bits, uint32_t slot)
{
    bits[slot / MM_WORD_BITS] ^= (uintptr_t)1 << (slot % MM_WORD_BITS);
}

static void expect_dead(void)
{
    EXPECT(sh_gc_malloc(8, 0) == NULL && sh_malloc(8) == NULL);
    EXPECT(!sh_gc_step(100));
    sh_gc_collect();
    EXPECT_EQ(sh_gc_run_finalizers(1), 0);
}

static void a_free_slot_that_is_marked_is_corruption(void)
{
    static const size_t sizes[] = { 8, 48, 1024 };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned kept = 0; kept < 2; kept++) {
            for (unsigned flags = 0; flags <= SH_GC_UNCOLLECTABLE; flags++) {
                t_gc_start(0, NULL, NULL);
                void *p = t_gc_take(sizes[i], flags);
                t_root[0] = kept != 0 ? p : NULL;
                struct gc_span *gs = t_gc_span(p);
                EXPECT(!sh_gc_step(1));
                flip(gs->marked, free_slot(gs));
                EXPECT(rig_panics(SH_PANIC_CORRUPTION, "a free slot is marked", finish, NULL));
                EXPECT(t_contains(rig_report(), t_hex(gs->base)));
                EXPECT(t_contains(rig_report(), "marked 0x") && t_contains(rig_report(), ", free 0x"));
                expect_dead();
            }
        }
    }
}

/* A slot whose object is marked and then becomes free by damage. */
static void a_marked_object_that_becomes_free_is_corruption(void)
{
    t_gc_start(0, NULL, NULL);
    void *p = t_root[0] = t_gc_take(48, 0);
    struct gc_span *gs = t_gc_span(p);
    t_gc_step_to(GC_SWEEP, 1);
    flip(gs->span->free, t_gc_slot(p));
    EXPECT(rig_panics(SH_PANIC_CORRUPTION, "a free slot is marked", collect, NULL));
    expect_dead();
}

/* ---- planted faults ---- */

/* A small span on a list, with a free slot behind its objects; a full one; one in an entry; a large one; a
 * typed one; one with specials. */
static struct gc_span *listed, *full, *owned, *large, *typed, *special;
static void *listed_object, *special_object;
static unsigned char stray[256];

static void never(void *object, void *arg)
{
    (void)object;
    (void)arg;
}

/* Two spans of a class: the first full, the second in the entry. */
static struct gc_span *fill_span(size_t size, unsigned root)
{
    unsigned slots = mm_class[mm_class_of(size)].slots;
    void **last = NULL;
    for (unsigned i = 0; i < slots; i++) {
        void **p = t_gc_take(size, 0);
        *p = last;
        last = p;
    }
    t_root[root] = last;
    return t_gc_span(last);
}

static void busy(enum gc_phase phase)
{
    static const uintptr_t mask = 1;
    static const struct sh_gc_type type = { 2 * T_WORD, &mask, "pair" };
    struct sh_gc_weak weak;
    t_gc_start(0, NULL, NULL);
    listed_object = t_root[0] = t_gc_take(80, 0);
    void *gone = t_gc_take(80, SH_GC_NOSCAN);
    large = t_gc_span(t_root[1] = t_gc_take(100000, 0));
    typed = t_gc_span(t_root[2] = sh_gc_new(&type, 1));
    special_object = t_root[3] = t_gc_take(200, 0);
    special = t_gc_span(special_object);
    EXPECT_EQ(sh_gc_set_finalizer(special_object, never, NULL), SH_OK);
    EXPECT_EQ(sh_gc_weak_create(&weak, special_object), SH_OK);
    t_gc_take(200, SH_GC_UNCOLLECTABLE);
    full = fill_span(1024, 4);
    (void)gone;
    sh_gc_collect(); /* from the entries to the lists */
    if (phase != GC_IDLE) {
        t_gc_step_to(phase, 1);
    }
    listed = t_gc_span(listed_object);
    void *p = t_root[6] = t_gc_take(320, 0);
    owned = t_gc_span(p);
    EXPECT(owned->owned && !listed->owned && full->full);
    plant_forget();
}

struct damage {
    const char *name;
    void (*plant)(void);
    bool idle; /* is no fault while a cycle is under way */
};

static uintptr_t *word_of(uintptr_t *bits, uint32_t slot)
{
    return &bits[slot / MM_WORD_BITS];
}

static uintptr_t bit_of(uint32_t slot)
{
    return (uintptr_t)1 << (slot % MM_WORD_BITS);
}

static void set_bit(uintptr_t *bits, uint32_t slot)
{
    SET(*word_of(bits, slot), *word_of(bits, slot) | bit_of(slot));
}

static void clear_bit(uintptr_t *bits, uint32_t slot)
{
    SET(*word_of(bits, slot), *word_of(bits, slot) & ~bit_of(slot));
}

static void mark_live(void) { set_bit(listed->marked, t_gc_slot(listed_object)); }
static void mark_free(void) { set_bit(listed->marked, free_slot(listed)); }
static void mark_past(void) { clear_bit(listed->marked, listed->slots); }
static void scan_free(void) { set_bit(gc_scanned(listed), free_slot(listed)); }
static void scan_past(void) { clear_bit(gc_scanned(listed), listed->slots); }
static void freed_live(void) { set_bit(gc_freed(listed), t_gc_slot(listed_object)); }
static void freed_free(void) { set_bit(gc_freed(listed), free_slot(listed)); }
static void freed_past(void) { set_bit(gc_freed(listed), listed->slots); }
static void large_past(void) { clear_bit(large->marked, 1); }
static void guard_word(void) { clear_bit(listed->marked, (uint32_t)(listed->words * MM_WORD_BITS)); }
static void free_past(void) { set_bit(listed->span->free, listed->slots); }

static void generation_ahead(void) { SET(listed->generation, listed->generation + 2); }
static void generation_odd(void) { SET(large->generation, large->generation - 1); }
static void generation_old(void) { SET(owned->generation, owned->generation - 4); }

static void link_stray(void) { SET(listed->link.next, (struct gc_link *)(void *)stray); }
static void link_null(void) { SET(large->link.next, NULL); }
static void link_back(void) { SET(full->link.prev, &listed->link); }
static void link_skips(void)
{
    struct gc_link *next = full->link.next, *prev = full->link.prev;
    SET(prev->next, next);
    SET(next->prev, prev);
}
static void link_loops(void)
{
    SET(full->link.prev->next, full->link.prev);
}
static void on_no_list(void)
{
    link_skips();
    SET(full->link.next, NULL);
    SET(full->link.prev, NULL);
}
static void listed_is_owned(void) { SET(listed->owned, true); }
static void owned_is_listed(void) { SET(owned->owned, false); }
static void owned_of_other_class(void) { SET(owned->class, (uint8_t)(owned->class + 1)); }
static void owned_of_other_kind(void) { SET(owned->kind, GC_NOSCAN); }

static void wrong_span(void) { SET(listed->span, large->span); }
static void wrong_slots(void) { SET(listed->slots, (uint16_t)(listed->slots - 1)); }
static void wrong_words(void) { SET(listed->words, (uint16_t)(listed->words + 1)); }
static void wrong_base(void) { SET(listed->base, listed->base + 8); }
static void wrong_size(void) { SET(large->size, large->size - 8); }
static void wrong_kind(void) { SET(listed->kind, GC_KINDS); }
static void wrong_public_kind(void) { SET(listed->span->kind, SH_NOSCAN); }
static void manual_kind(void) { SET(listed->span->kind, SH_MANUAL); }
static void wrong_class(void) { SET(large->class, 0); }
static void no_records(void) { SET(listed->span->gc, NULL); }
static void stray_records(void) { SET(listed->span->gc, (struct gc_span *)(void *)stray); }
static void other_records(void) { SET(listed->span->gc, full); }
static void no_pointers(void) { SET(typed->pointers, NULL); }
static void needless_pointers(void) { SET(listed->pointers, (uintptr_t *)(void *)stray); }
static void one_span_more(void) { SET(gc.span_count, gc.span_count + 1); }
static void one_span_less(void) { SET(gc.span_count, gc.span_count - 1); }

/* How a record of a finalizer or a weak reference begins. */
struct special_begin {
    struct gc_special *child[2];
    struct gc_link link;
    struct gc_span *gs;
    uint32_t index;
    uint8_t kind;
};

static struct special_begin *record(void)
{
    return (struct special_begin *)(void *)special->specials;
}

static void special_elsewhere(void) { SET(record()->gs, listed); }
static void special_past(void) { SET(record()->index, special->slots); }
static void special_of_free(void) { SET(record()->index, free_slot(special)); }
static void special_of_other_kind(void) { SET(record()->kind, (uint8_t)(record()->kind ^ 1)); }
static void special_not_hung(void) { SET(special->specials, record()->child[1]); }
static void special_ring_stray(void) { SET(record()->link.next, (struct gc_link *)(void *)stray); }
static void special_ring_null(void) { SET(record()->link.next, NULL); }
static void special_ring_back(void) { SET(record()->link.next->prev, (struct gc_link *)(void *)stray); }

static const struct damage plants[] = {
    { "mark of a live object, no cycle", mark_live, true },
    { "mark of a free slot", mark_free, false },
    { "no mark past the last slot", mark_past, false },
    { "scanned, but not marked", scan_free, false },
    { "not scanned past the last slot", scan_past, false },
    { "freed, no cycle", freed_live, true },
    { "freed twice", freed_free, false },
    { "freed past the last slot", freed_past, false },
    { "no mark past a large object", large_past, false },
    { "no word of marks behind the last", guard_word, false },
    { "free past the last slot", free_past, false },
    { "generation of the next cycle", generation_ahead, false },
    { "generation of a sweep that never ends", generation_odd, false },
    { "generation of long ago", generation_old, false },
    { "list leads astray", link_stray, false },
    { "list ends", link_null, false },
    { "list does not lead back", link_back, false },
    { "list skips a span", link_skips, false },
    { "list turns on itself", link_loops, false },
    { "span on no list", on_no_list, false },
    { "span on a list and in an entry", listed_is_owned, false },
    { "span in an entry that does not know", owned_is_listed, false },
    { "span in an entry of another class", owned_of_other_class, false },
    { "span in an entry of another kind", owned_of_other_kind, false },
    { "records of another span", wrong_span, false },
    { "number of slots", wrong_slots, false },
    { "number of words", wrong_words, false },
    { "base", wrong_base, false },
    { "size", wrong_size, false },
    { "kind that is none", wrong_kind, false },
    { "kind of the span", wrong_public_kind, false },
    { "span that is manual all at once", manual_kind, false },
    { "class of a large object", wrong_class, false },
    { "no records", no_records, false },
    { "records outside of records", stray_records, false },
    { "records of another", other_records, false },
    { "type without pointers", no_pointers, false },
    { "pointers without a type", needless_pointers, false },
    { "a span too many", one_span_more, false },
    { "a span too few", one_span_less, false },
    { "special of another span", special_elsewhere, false },
    { "special past the last slot", special_past, false },
    { "special of a free slot", special_of_free, false },
    { "special of another kind", special_of_other_kind, false },
    { "special that hangs nowhere", special_not_hung, false },
    { "ring leads astray", special_ring_stray, false },
    { "ring ends", special_ring_null, false },
    { "ring does not lead back", special_ring_back, false },
};

static void plant_all(enum gc_phase phase)
{
    unsigned missed = 0;
    busy(phase);
    for (unsigned i = 0; i < sizeof plants / sizeof plants[0]; i++) {
        if (plants[i].idle && phase != GC_IDLE) {
            continue;
        }
        rig_log_clear();
        int before = sh_verify();
        if (before != 0) {
            t_fail(__FILE__, __LINE__, "before \"%s\": %s", plants[i].name, rig_log());
        }
        plants[i].plant();
        int found = sh_verify();
        plant_put_back();
        if (found == 0) {
            t_printf("    not found: %s\n", plants[i].name);
            missed++;
        }
    }
    EXPECT_EQ(missed, 0);
    t_gc_step_to(GC_IDLE, 1000);
    sh_gc_collect();
    EXPECT_WHOLE();
}

static void verify_finds_damage_outside_of_a_cycle(void)
{
    plant_all(GC_IDLE);
}

static void verify_finds_damage_while_a_cycle_marks(void)
{
    plant_all(GC_MARK);
}

static const struct test tests[] = {
    { "a_free_slot_that_is_marked_is_corruption", a_free_slot_that_is_marked_is_corruption },
    { "a_marked_object_that_becomes_free_is_corruption", a_marked_object_that_becomes_free_is_corruption },
    { "verify_finds_damage_outside_of_a_cycle", verify_finds_damage_outside_of_a_cycle },
    { "verify_finds_damage_while_a_cycle_marks", verify_finds_damage_while_a_cycle_marks },
};

SUITE(marks, tests);
