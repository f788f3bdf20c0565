/*
 * Reports (see misuse.h).  An address is described from one lock-free look at its span, so that a report
 * can be made in any context and about any bit pattern.
 */
#include "mm/misuse.h"

#include "mm/cache.h"
#include "mm/linear.h"
#include "mm/report.h"

#define LINE 200

/* What stands beside a slot: a write past one end may have come from there. */
static void describe_neighbours(const struct mm_view *view, char *text, size_t size)
{
    const struct mm_span *span = view->span;
    text[0] = 0;
    if (view->state != MM_SPAN_SMALL || !view->in_slot) {
        return;
    }
    bool before = view->index > 0, after = view->index + 1u < span->slots;
    mm_format(text, size, "; before it %s, after it %s",
              !before ? "the span begins" : mm_span_is_free(span, view->index - 1) ? "a free slot"
                                                                                  : "a live object",
              !after ? "the span ends" : mm_span_is_free(span, view->index + 1) ? "a free slot"
                                                                               : "a live object");
}

static void describe_slot(uintptr_t address, const struct mm_view *view, char *text, size_t size)
{
    size_t offset = address - view->base;
    if (!view->in_slot) {
        mm_format(text, size, "in the tail of a span of %z-byte objects at %x", view->size,
                  view->span->base);
    } else if (view->state == MM_SPAN_PAGES) {
        mm_format(text, size, "%z bytes into %z pages from sh_alloc_pages at %x", offset,
                  (size_t)view->span->page_count, view->base);
    } else if (offset != 0) {
        mm_format(text, size, "not the start of an object: %z bytes into a %s %z-byte object at %x", offset,
                  view->live ? "live" : "free", view->size, view->base);
    } else if (view->live) {
        mm_format(text, size, "a live %z-byte object", view->size);
    } else {
        mm_format(text, size, "free already: a %z-byte slot", view->size);
    }
}

static void describe_outside(uintptr_t address, char *text, size_t size)
{
    if (!mm_mode.started) {
        mm_format(text, size, "the heap is not initialised");
    } else if (mm_linear_in_block(address)) {
        mm_format(text, size, "inside the heap's own records");
    } else if (!mm_bit_test(mm_chunk_of(address)->owned, mm_chunk_page(address))) {
        mm_format(text, size, "never was heap memory");
    } else if (mm_bit_test(mm_chunk_of(address)->released, mm_chunk_page(address))) {
        mm_format(text, size, "nothing is allocated there, and no frame is behind it");
    } else {
        mm_format(text, size, "nothing is allocated there: freed before, or never given");
    }
}

static void describe(uintptr_t address, char *text, size_t size)
{
    struct mm_view view;
    if (mm_span_view(address, &view)) {
        describe_slot(address, &view, text, size);
    } else {
        describe_outside(address, text, size);
    }
}

void mm_misuse_pointer(const char *caller, uintptr_t address)
{
    char what[LINE], beside[LINE / 2];
    struct mm_view view;
    describe(address, what, sizeof what);
    beside[0] = 0;
    if (mm_span_view(address, &view)) {
        describe_neighbours(&view, beside, sizeof beside);
    }
    mm_misuse("%s(%x): %s%s", caller, address, what, beside);
}

void mm_misuse_size(const char *caller, const struct mm_view *view, size_t size)
{
    mm_misuse("%s(%x, %z): wrong size: it is a live object of %z bytes", caller, view->base, size,
              view->size);
}

void sh_explain(uintptr_t address)
{
    char what[LINE];
    describe(address, what, sizeof what);
    mm_log("%x: %s", address, what);
}
