/*
 * The second marker (see second.h): a sorted table of spans, bits, and a stack.
 */
#include "gc/second.h"

#include "mm/memory.h"
#include "mm/report.h"

/* So many more spans may be there when the world stands than when pages were taken, beside a quarter. */
#define SPARE_SPANS 16

struct row {
    struct mm_span *span;
    size_t bits; /* index of the first bit */
};

static char *memory;
static size_t memory_bytes;
static struct row *rows;
static size_t row_count;
static uintptr_t *bits;
static struct item {
    uint32_t row, index;
} *stack;
static size_t depth, room;
static bool overflowed;
static bool (*follow)(const struct mm_span *);
static bool (*look)(const struct mm_span *);

static bool in_use(const struct mm_span *span)
{
    enum mm_span_state state = mm_span_state(span);
    return state == MM_SPAN_SMALL || state == MM_SPAN_LARGE;
}

/* Spans and slots that are followed; fills the rows if there are any. */
static void walk(size_t *spans, size_t *slots)
{
    uintptr_t at = 0;
    *spans = *slots = 0;
    for (struct mm_span *span; (span = mm_span_next(&at)) != NULL;) {
        if (in_use(span) && follow(span)) {
            if (rows != NULL) {
                rows[*spans] = (struct row){ span, *slots };
            }
            ++*spans;
            *slots += mm_align_up(span->slots, MM_WORD_BITS);
        }
        if (at == 0) {
            break;
        }
    }
}

/* Bytes of the rows for so many spans, and of the bits for so many slots. */
static size_t row_bytes(size_t spans)
{
    return mm_align_up(spans * sizeof *rows, 8);
}

static size_t bit_bytes(size_t slots)
{
    return mm_align_up(slots / 8, 8);
}

bool gc_second_reserve(bool (*follows)(const struct mm_span *))
{
    size_t spans, slots;
    follow = follows;
    rows = NULL;
    walk(&spans, &slots);
    /* Until the world stands there may be more. */
    size_t bytes = row_bytes(spans + spans / 4 + SPARE_SPANS) + bit_bytes(slots + slots / 4 + SPARE_SPANS * MM_SLOTS_MAX);
    size_t pages = mm_pages_for(bytes + SH_PAGE_SIZE);
    memory = sh_alloc_pages(pages);
    memory_bytes = pages << MM_PAGE_SHIFT;
    return memory != NULL;
}

void gc_second_release(void)
{
    sh_free_pages(memory);
    memory = NULL;
}

bool gc_second_begin(bool (*follows)(const struct mm_span *), bool (*looks)(const struct mm_span *))
{
    size_t spans, slots;
    follow = follows;
    look = looks;
    rows = NULL;
    walk(&spans, &slots);
    size_t bytes = row_bytes(spans) + bit_bytes(slots);
    if (memory == NULL || memory_bytes < bytes + sizeof *stack) {
        return false;
    }
    memset(memory, 0, bytes);
    rows = (struct row *)(void *)memory;
    bits = (uintptr_t *)(void *)(memory + row_bytes(spans));
    stack = (struct item *)(void *)(memory + bytes);
    room = (memory_bytes - bytes) / sizeof *stack;
    depth = 0;
    overflowed = false;
    walk(&row_count, &slots);
    return true;
}

void gc_second_end(void)
{
    rows = NULL;
}

/* The row of the span that an address is in; row_count = none. */
static size_t row_of(uintptr_t address)
{
    size_t low = 0, high = row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mm_span *span = rows[middle].span;
        if (address < span->base) {
            high = middle;
        } else if (address - span->base >= mm_span_bytes(span)) {
            low = middle + 1;
        } else {
            return middle;
        }
    }
    return row_count;
}

static uint32_t slot_of(const struct mm_span *span, uintptr_t address)
{
    uint32_t index = 0;
    if (mm_span_state(span) == MM_SPAN_SMALL) {
        for (uintptr_t base = span->base + span->size; index < span->slots && address >= base; index++) {
            base += span->size;
        }
    }
    return index;
}

static MM_NOINLINE void reach(uintptr_t address)
{
    size_t row = row_of(address);
    if (row == row_count) {
        return;
    }
    const struct mm_span *span = rows[row].span;
    uint32_t index = slot_of(span, address);
    if (index >= span->slots || mm_span_is_free(span, index) || mm_span_is_held(span, index)) {
        return;
    }
    size_t bit = rows[row].bits + index;
    if (!mm_bit_test(bits, bit)) {
        bits[bit / MM_WORD_BITS] |= (uintptr_t)1 << (bit % MM_WORD_BITS);
        if (depth < room) {
            stack[depth++] = (struct item){ (uint32_t)row, index };
        } else {
            overflowed = true;
        }
    }
}

MM_READS_STACKS void gc_second_range(const void *low, const void *high, void *arg)
{
    (void)arg;
    uintptr_t at = mm_align_up((uintptr_t)low, sizeof(uintptr_t));
    bool first = true;
    for (; at < mm_align_down((uintptr_t)high, sizeof(uintptr_t)); at += sizeof(uintptr_t), first = false) {
        if (mm_mode.demand && (first || (at & (SH_ARCH_PAGE_SIZE - 1)) == 0) && sh_arch_state(at) == SH_PREPARED) {
            at |= SH_ARCH_PAGE_SIZE - sizeof(uintptr_t);
            continue;
        }
        reach(*(const uintptr_t *)at);
    }
}

/* Is word `i` of an object a pointer, by what is known of its type?  `in_type`: which word of that. */
static bool is_pointer(const struct gc_span *gs, uint32_t index, size_t i, size_t in_type)
{
    if (gs->class == GC_LARGE) {
        return gs->type == NULL || mm_bit_test(gs->type->pointers, in_type);
    }
    if (gs->uniform) {
        return i < MM_WORD_BITS && (gs->mask >> i & 1) != 0;
    }
    return mm_bit_test(gs->pointers, index * (gs->size / sizeof(uintptr_t)) + i);
}

static void typed_object(const struct gc_span *gs, uint32_t index)
{
    const uintptr_t *word = (const uintptr_t *)gc_object(gs, index);
    size_t in_type = 0;
    for (size_t i = 0; i < gs->size / sizeof(uintptr_t); i++) {
        if (is_pointer(gs, index, i, in_type)) {
            gc_second_range(word + i, word + i + 1, NULL);
        }
        in_type = gs->type == NULL || (in_type + 1) * sizeof(uintptr_t) == gs->type->size ? 0 : in_type + 1;
    }
}

void gc_second_object(const struct mm_span *span, uint32_t index)
{
    uintptr_t base = span->base + span->inset + index * span->size;
    if (span->gc != NULL && span->gc->kind == GC_TYPED) {
        typed_object(span->gc, index);
    } else {
        gc_second_range((const void *)base, (const void *)(base + span->size), NULL);
    }
}

static void empty_stack(void)
{
    while (depth != 0) {
        struct item item = stack[--depth];
        const struct mm_span *span = rows[item.row].span;
        if (look(span)) {
            gc_second_object(span, item.index);
        }
    }
}

static void look_again(struct mm_span *span, uint32_t index, void *arg)
{
    (void)arg;
    if (look(span) && gc_second_reached(span, index)) {
        gc_second_object(span, index);
        empty_stack();
    }
}

void gc_second_drain(void)
{
    empty_stack();
    while (overflowed) {
        overflowed = false;
        gc_second_each(look_again, NULL);
    }
}

bool gc_second_reached(const struct mm_span *span, uint32_t index)
{
    size_t row = row_of(span->base);
    return row != row_count && mm_bit_test(bits, rows[row].bits + index);
}

void gc_second_each(void (*each)(struct mm_span *, uint32_t, void *), void *arg)
{
    for (size_t row = 0; row < row_count; row++) {
        struct mm_span *span = rows[row].span;
        for (uint32_t i = 0; i < span->slots; i++) {
            if (!mm_span_is_free(span, i) && !mm_span_is_held(span, i)) {
                each(span, i, arg);
            }
        }
    }
}
