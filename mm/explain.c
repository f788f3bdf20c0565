/*
 * What an address is (see explain.h), and sh_explain.
 */
#include "mm/explain.h"

#include "mm/cache.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/report.h"

#define LINE 180

static const char way_before[] = "before", way_past[] = "past the end of";

/* Text that grows. */
struct line {
    char *at;
    size_t left;
};

static void add(struct line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = mm_format_list(line->at, line->left, format, arguments);
    va_end(arguments);
    line->at += length;
    line->left -= length;
}

/* Who allocated and who freed, where that is noted. */
static void add_sites(struct line *line, const struct mm_note *note)
{
    if (note != NULL && note->freed != 0) {
        add(line, ", freed at %x", note->freed);
    }
    if (note != NULL && note->allocated != 0) {
        add(line, ", allocated at %x", note->allocated);
    }
}

/* How far an address is from an object: `way` is before, past the end of, into. */
static void add_near(struct line *line, size_t distance, const char *way, const char *life, size_t size,
                     uintptr_t base)
{
    add(line, "%z bytes %s %s %z-byte object at %x", distance, way, life, size, base);
}

static void add_slot(struct line *line, uintptr_t address, const struct mm_view *view)
{
    const struct mm_span *span = view->span;
    size_t offset = address - view->base;
    if (!view->in_slot) {
        add(line, "in the tail of a span of %z-byte objects at %x", span->size, span->base);
        return;
    }
    if (view->state == MM_SPAN_PAGES && address >= view->base) {
        add(line, "%z bytes into %z pages from sh_alloc_pages at %x", offset, view->size >> MM_PAGE_SHIFT,
            view->base);
    } else if (offset == 0) {
        add(line, view->live ? "a live %z-byte object" : "free already: a %z-byte slot", view->size);
    } else {
        bool before = address < view->base, inside = offset < view->size;
        add(line, inside ? "not the start of an object: " : "");
        add_near(line, before ? -offset : inside ? offset : offset - view->size,
                 before ? way_before : inside ? "into" : way_past, view->live ? "a live" : "a free", view->size,
                 view->base);
    }
    if (view->state != MM_SPAN_PAGES && mm_span_is_held(span, view->index)) {
        add(line, ", held in quarantine");
    }
    add_sites(line, view->note);
}

/* A freed object whose span is remembered: fenced, or in quarantine.  false = there is none. */
static bool add_dead(struct line *line, uintptr_t address, const struct mm_span *span)
{
    uintptr_t base = span->base + span->inset;
    if (span == &mm_span_dummy || mm_span_state(span) != MM_SPAN_DEAD || span->size == 0) {
        return false;
    }
    size_t size = span->notes != NULL ? span->notes[0].size : span->size;
    if (address == base) {
        add(line, "free already: an object of %z bytes", size);
    } else if (address > base && address - base < size) {
        add(line, "%z bytes into a freed object of %z bytes at %x", address - base, size, base);
    } else {
        add(line, "outside a freed object of %z bytes at %x", size, base);
    }
    add_sites(line, span->notes);
    return true;
}

/* The span that a guard page guards, from its address; NULL = a page that none was in yet. */
static const struct mm_span *fenced_at(uintptr_t address)
{
    const struct mm_span *span = mm_span_of(address);
    return (span->flags & MM_SPAN_FENCED) != 0 && span->size != 0 ? span : NULL;
}

/* Which side of which object a guard page guards: of a live one before that of a freed one. */
static void add_guard(struct line *line, uintptr_t address)
{
    uintptr_t page = mm_align_down(address, SH_GRANULE_SIZE);
    const struct mm_span *below = fenced_at(page - 1), *above = fenced_at(page + SH_GRANULE_SIZE);
    const struct mm_span *span = below;
    if (below == NULL || (above != NULL && mm_span_state(below) == MM_SPAN_DEAD &&
                          mm_span_state(above) != MM_SPAN_DEAD)) {
        span = above;
    }
    add(line, span == NULL ? "a guard page" : "a guard page: ");
    if (span == NULL) {
        return;
    }
    uintptr_t base = span->base + span->inset;
    size_t size = span->notes != NULL ? span->notes[0].size : span->size;
    add_near(line, span == below ? address - (base + size) : base - address, span == below ? way_past : way_before,
             mm_span_state(span) == MM_SPAN_DEAD ? "a freed" : "a live", size, base);
    add_sites(line, span->notes);
}

static void add_outside(struct line *line, uintptr_t address)
{
    const struct mm_chunk *chunk = mm_chunk_of(address);
    size_t page = mm_chunk_page(address);
    if (!mm_mode.started) {
        add(line, "the heap is not initialised");
    } else if (mm_linear_in_block(address)) {
        add(line, "inside the heap's own records");
    } else if (add_dead(line, address, mm_span_of(address))) {
        return;
    } else if (mm_heap_counts.faulted != 0 && sh_arch_state(address) == SH_FAULT) {
        add_guard(line, address);
    } else if (!mm_bit_test(chunk->owned, page)) {
        add(line, "never was heap memory");
    } else if (mm_bit_test(chunk->released, page)) {
        add(line, "nothing is allocated there; its page was given back, or never used");
    } else {
        add(line, "nothing is allocated there: freed before, or never given");
    }
}

void mm_explain_place(uintptr_t address, char *text, size_t size)
{
    struct line line = { text, size };
    struct mm_view view;
    if (mm_span_view(address, &view)) {
        add_slot(&line, address, &view);
    } else {
        add_outside(&line, address);
    }
}

static const char *slot_words(const struct mm_span *span, uint32_t index)
{
    return mm_span_is_live(span, index) ? "a live object" : "a free slot";
}

void mm_explain_neighbours(uintptr_t address, char *text, size_t size)
{
    struct mm_view view;
    text[0] = 0;
    if (!mm_span_view(address, &view) || view.state != MM_SPAN_SMALL || !view.in_slot) {
        return;
    }
    mm_format(text, size, "; before it %s, after it %s",
              view.index == 0 ? "the span begins" : slot_words(view.span, view.index - 1),
              view.index + 1u >= view.span->slots ? "the span ends" : slot_words(view.span, view.index + 1));
}

/* An address in no live object may be what a write past the end of the one below it hit. */
static MM_NOINLINE void log_below(uintptr_t address, const struct mm_view *view)
{
    struct mm_view below;
    uintptr_t last = (view->in_slot ? view->base : view->span->base + view->span->slots * view->span->size) - 1;
    if (view->state == MM_SPAN_SMALL && mm_span_view(last, &below) && below.live &&
        below.span == view->span) {
        char text[LINE];
        struct line line = { text, sizeof text };
        add_near(&line, address - (below.base + below.size), way_past, "the live", below.size, below.base);
        add_sites(&line, below.note);
        mm_log("%x: %s", address, text);
    }
}

static MM_NOINLINE void log_place(uintptr_t address)
{
    char text[LINE];
    mm_explain_place(address, text, sizeof text);
    mm_log("%x: %s", address, text);
}

/* One text on the stack at a time: the caller may be a page-fault handler. */
void sh_explain(uintptr_t address)
{
    struct mm_view view;
    log_place(address);
    if (!mm_span_view(address, &view)) {
        return;
    }
    if (!view.live) {
        log_below(address, &view);
    }
    if (mm_bit_test(mm_chunk_of(address)->released, mm_chunk_page(address))) {
        mm_log("%x: its page is prepared, not committed: the first touch faults", address);
    }
}
