/*
 * Blocks with wishes: realloc, alignment, sized frees.
 *
 * A span that ever held an over-aligned block, or one that shrank in place, is marked loose: the size
 * given at allocation no longer tells the class, so sh_free_sized checks the upper bound alone there.
 */
#include "mm/cache.h"
#include "mm/collector.h"
#include "mm/context.h"
#include "mm/guard.h"
#include "mm/heap.h"
#include "mm/lock.h"
#include "mm/malloc.h"
#include "mm/memory.h"
#include "mm/misuse.h"
#include "mm/pages.h"
#include "mm/report.h"

static unsigned class_for(size_t size)
{
    return mm_class_of(size == 0 ? 1 : size);
}

/* What is kept behind an object. */
static size_t zone(void)
{
    return mm_mode.tier >= 2 ? MM_RED_ZONE : 0;
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

static void *move(const struct mm_view *view, size_t size, uintptr_t site)
{
    void *p = mm_mode.guarded ? mm_malloc_slow(size, site) : sh_malloc(size);
    if (p == NULL) {
        return NULL;
    }
    void *gone = (void *)view->base;
    size_t keep = size < view->size ? size : view->size;
    if (!mm_memory_copy((uintptr_t)p, view->base, keep)) {
        gone = p;
        p = NULL;
    }
    if (mm_mode.guarded) {
        mm_free_slow(gone, "sh_realloc", site);
    } else {
        sh_free(gone);
    }
    return p;
}

static void *shrink(const struct mm_view *view, size_t size, uintptr_t site)
{
    void *p = (void *)view->base;
    if (stays(view, size)) {
        if (view->state == MM_SPAN_SMALL && class_for(size) != view->span->class) {
            mm_span_mark_loose(view->span);
        }
        return p;
    }
    if (view->state == MM_SPAN_LARGE && size > MM_CLASS_LIMIT) {
        cut_tail(view->span, mm_pages_for(size));
        return p;
    }
    void *moved = move(view, size, site);
    if (moved == NULL) {
        mm_span_mark_loose(view->span);
        return p;
    }
    return moved;
}

static bool stays_guarded(const struct mm_view *view, size_t size)
{
    size_t room = size + zone();
    if ((mm_span_flags(view->span) & MM_SPAN_FENCED) != 0 || room < size) {
        return false;
    }
    if (view->state == MM_SPAN_SMALL) {
        size_t slot = view->span->size;
        return room <= slot && (class_for(room) == view->span->class || room > slot / 2);
    }
    return room > MM_CLASS_LIMIT && mm_pages_for(room) == view->span->page_count;
}

/* In a guarded heap, and of a fenced object: a block stays in its slot, or moves. */
static void *resize_guarded(const struct mm_view *view, size_t size, uintptr_t site)
{
    void *p = (void *)view->base;
    mm_guard_check_zone("sh_realloc", view);
    if (!stays_guarded(view, size)) {
        void *moved = move(view, size, site);
        if (moved != NULL || size > view->size) {
            return moved;
        }
    }
    mm_span_mark_loose(view->span);
    mm_guard_resized(view, size);
    return p;
}

void *sh_realloc(void *p, size_t size)
{
    if (p == NULL) {
        return mm_mode.guarded ? mm_malloc_slow(size, MM_CALLER()) : sh_malloc(size);
    }
    struct mm_view view;
    if (mm_dead() || mm_misuse_cpu()) {
        return NULL;
    }
    if (!mm_span_view((uintptr_t)p, &view) || !view.live || view.base != (uintptr_t)p ||
        view.state == MM_SPAN_PAGES) {
        mm_misuse_pointer("sh_realloc", (uintptr_t)p);
        return NULL;
    }
    if (view.span->gc != NULL) {
        return mm_collector->resize(&view, size, MM_CALLER());
    }
    if (mm_mode.guarded || (mm_span_flags(view.span) & MM_SPAN_FENCED) != 0) {
        return resize_guarded(&view, size, MM_CALLER());
    }
    if (size <= view.size) {
        return shrink(&view, size, MM_CALLER());
    }
    if (view.state == MM_SPAN_LARGE && mm_pages_for(size) > view.span->page_count &&
        grow_tail(view.span, mm_pages_for(size))) {
        return p;
    }
    return move(&view, size, MM_CALLER());
}

/* MM_CLASSES = pages. */
static unsigned class_aligned(size_t size, size_t align)
{
    unsigned class = align <= SH_PAGE_SIZE && size <= MM_CLASS_LIMIT ? class_for(size) : MM_CLASSES;
    while (class < MM_CLASSES && (mm_class_size(class) & (align - 1)) != 0) {
        class++;
    }
    return class;
}

MM_CALL void *mm_malloc_aligned(size_t size, size_t align)
{
    unsigned class = class_aligned(size, align);
    bool large = class == MM_CLASSES;
    void *p = large ? mm_malloc_large(size == 0 ? 1 : size, align < SH_PAGE_SIZE ? SH_PAGE_SIZE : align)
                    : mm_malloc_class(class);
    if (p != NULL && (large ? size <= MM_CLASS_LIMIT : class != class_for(size))) {
        mm_span_mark_loose(mm_span_of((uintptr_t)p));
    }
    return p;
}

void *sh_aligned_alloc(size_t align, size_t size)
{
    if (align == 0 || (align & (align - 1)) != 0 || align > MM_ARENA_SIZE) {
        return NULL;
    }
    if (mm_mode.guarded) {
        return mm_guard_malloc(size, align, MM_CALLER());
    }
    return align <= 8 ? sh_malloc(size) : mm_malloc_aligned(size, align);
}

/* Can a block of this slot have been asked for with this size? */
static bool size_fits(const struct mm_view *view, size_t size)
{
    if (view->note != NULL) {
        return size == view->size || (size == 0 && view->size == 1);
    }
    if (size > view->size) {
        return false;
    }
    if ((mm_span_flags(view->span) & MM_SPAN_LOOSE) != 0) {
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
    mm_free_slow(p, "sh_free_sized", MM_CALLER());
}

size_t sh_usable_size(const void *p)
{
    struct mm_view view;
    bool is_base = mm_span_view((uintptr_t)p, &view) && view.live && view.base == (uintptr_t)p;
    return is_base ? view.size : 0;
}
