/*
 * Blocks with wishes: realloc, alignment, sized frees, and the one place that touches object memory.
 *
 * A span that ever held an over-aligned block, or one that shrank in place, is marked loose: the size
 * given at allocation no longer tells the class, so sh_free_sized checks the upper bound alone there.
 */
#include "mm/cache.h"
#include "mm/context.h"
#include "mm/heap.h"
#include "mm/lock.h"
#include "mm/malloc.h"
#include "mm/memory.h"
#include "mm/misuse.h"
#include "mm/pages.h"
#include "mm/report.h"

static bool has_frame(uintptr_t address)
{
    return !mm_bit_test(mm_chunk_of(address)->released, mm_chunk_page(address));
}

/* The bytes from `at` to the end of its page, at most `left`. */
static size_t page_piece(uintptr_t at, size_t left)
{
    size_t piece = SH_PAGE_SIZE - (at & (SH_PAGE_SIZE - 1));
    return piece < left ? piece : left;
}

void mm_memory_zero(uintptr_t base, size_t size)
{
    if (!mm_mode.demand) {
        memset((void *)base, 0, size);
        return;
    }
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(base + done, size - done);
        if (has_frame(base + done)) {
            memset((void *)(base + done), 0, piece);
        }
    }
}

/* In demand mode the target gets frames where the source has them, before the first byte is copied. */
static bool copy_prepare(uintptr_t to, uintptr_t from, size_t size)
{
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(from + done, size - done);
        if (!has_frame(from + done)) {
            continue;
        }
        uintptr_t first = mm_align_down(to + done, SH_PAGE_SIZE);
        size_t span = to + done + piece - first;
        if (!mm_heap_commit(first, mm_pages_for(span))) {
            return false;
        }
    }
    return true;
}

bool mm_memory_copy(uintptr_t to, uintptr_t from, size_t size)
{
    if (!mm_mode.demand) {
        memcpy((void *)to, (const void *)from, size);
        return true;
    }
    if (!copy_prepare(to, from, size)) {
        return false;
    }
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(from + done, size - done);
        if (has_frame(from + done)) {
            memcpy((void *)(to + done), (const void *)(from + done), piece);
        } else {
            mm_memory_zero(to + done, piece);
        }
    }
    return true;
}

static void mark_loose(struct mm_span *span)
{
    arch_flags flags = arch_irq_save();
    span->flags |= MM_SPAN_LOOSE;
    arch_irq_restore(flags);
}

static unsigned class_for(size_t size)
{
    return mm_class_of(size == 0 ? 1 : size);
}

/* Is a block of this size at home where it is, or small enough a waste to stay? */
static bool stays(const struct mm_view *view, size_t size)
{
    if (view->state == MM_SPAN_SMALL) {
        return class_for(size) == view->span->class || size > view->size / 2;
    }
    return size > MM_CLASS_LIMIT && mm_pages_for(size) == view->span->page_count;
}

/* Gives the pages behind the first `pages` of a large span back. */
static void cut_tail(struct mm_span *span, size_t pages)
{
    size_t extra = span->page_count - pages;
    uintptr_t tail = span->base + (pages << MM_PAGE_SHIFT);
    if (mm_mode.zero) {
        mm_memory_zero(tail, extra << MM_PAGE_SHIFT);
    }
    span->size = pages << MM_PAGE_SHIFT;
    __atomic_store_n(&span->page_count, (uint32_t)pages, __ATOMIC_RELEASE);
    mm_span_enter(&mm_span_dummy, tail, extra);
    mm_heap_free(tail, extra);
}

static bool grow_tail(struct mm_span *span, size_t pages)
{
    size_t extra = pages - span->page_count;
    enum mm_commit commit = mm_mode.demand ? MM_COMMIT_LATER : MM_COMMIT_NOW;
    if (!mm_heap_extend(span->base, span->page_count, extra, commit)) {
        return false;
    }
    mm_span_enter(span, span->base + mm_span_bytes(span), extra);
    __atomic_store_n(&span->page_count, (uint32_t)pages, __ATOMIC_RELEASE);
    span->size = pages << MM_PAGE_SHIFT;
    return true;
}

static void *move(const struct mm_view *view, size_t size)
{
    void *p = sh_malloc(size);
    if (p == NULL) {
        return NULL;
    }
    size_t keep = size < view->size ? size : view->size;
    if (!mm_memory_copy((uintptr_t)p, view->base, keep)) {
        sh_free(p);
        return NULL;
    }
    sh_free((void *)view->base);
    return p;
}

static void *shrink(const struct mm_view *view, size_t size)
{
    void *p = (void *)view->base;
    if (stays(view, size)) {
        if (view->state == MM_SPAN_SMALL && class_for(size) != view->span->class) {
            mark_loose(view->span);
        }
        return p;
    }
    if (view->state == MM_SPAN_LARGE && size > MM_CLASS_LIMIT) {
        cut_tail(view->span, mm_pages_for(size));
        return p;
    }
    void *moved = move(view, size);
    if (moved == NULL) {
        mark_loose(view->span);
        return p;
    }
    return moved;
}

void *sh_realloc(void *p, size_t size)
{
    if (p == NULL) {
        return sh_malloc(size);
    }
    struct mm_view view;
    if (mm_dead()) {
        return NULL;
    }
    if (!mm_span_view((uintptr_t)p, &view) || !view.live || view.base != (uintptr_t)p ||
        view.state == MM_SPAN_PAGES) {
        mm_misuse_pointer("sh_realloc", (uintptr_t)p);
        return NULL;
    }
    if (size <= view.size) {
        return shrink(&view, size);
    }
    if (view.state == MM_SPAN_LARGE && mm_pages_for(size) > view.span->page_count &&
        grow_tail(view.span, mm_pages_for(size))) {
        return p;
    }
    return move(&view, size);
}

/* The smallest class that fits and whose slots are all aligned; MM_CLASSES = none. */
static unsigned class_aligned(size_t align, size_t size)
{
    unsigned class = class_for(size);
    while (class < MM_CLASSES && (mm_class_size(class) & (align - 1)) != 0) {
        class++;
    }
    return class;
}

void *sh_aligned_alloc(size_t align, size_t size)
{
    if (align == 0 || (align & (align - 1)) != 0 || align > MM_ARENA_SIZE) {
        return NULL;
    }
    if (align <= 8) {
        return sh_malloc(size);
    }
    unsigned class =
        align <= SH_PAGE_SIZE && size <= MM_CLASS_LIMIT ? class_aligned(align, size) : MM_CLASSES;
    bool large = class == MM_CLASSES;
    void *p = large ? mm_malloc_large(size == 0 ? 1 : size, align < SH_PAGE_SIZE ? SH_PAGE_SIZE : align)
                    : mm_malloc_class(class);
    if (p != NULL && (large ? size <= MM_CLASS_LIMIT : class != class_for(size))) {
        mark_loose(mm_span_of((uintptr_t)p));
    }
    return p;
}

/* Can a block of this slot have been asked for with this size? */
static bool size_fits(const struct mm_view *view, size_t size)
{
    if (size > view->size) {
        return false;
    }
    if ((view->span->flags & MM_SPAN_LOOSE) != 0) {
        return true;
    }
    return view->state == MM_SPAN_SMALL ? class_for(size) == view->span->class : size > MM_CLASS_LIMIT;
}

void sh_free_sized(void *p, size_t size)
{
    struct mm_view view;
    if (p != NULL && mm_span_view((uintptr_t)p, &view) && view.live && view.base == (uintptr_t)p &&
        view.state != MM_SPAN_PAGES && !size_fits(&view, size) && !mm_dead()) {
        mm_misuse_size("sh_free_sized", &view, size);
        return;
    }
    mm_free_slow(p, "sh_free_sized");
}

size_t sh_usable_size(const void *p)
{
    struct mm_view view;
    bool is_base = mm_span_view((uintptr_t)p, &view) && view.live && view.base == (uintptr_t)p;
    return is_base ? view.size : 0;
}
