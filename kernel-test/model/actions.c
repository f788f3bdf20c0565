/*
 * What a caller can do: the actions, and what each must have done when it is over.
 *
 * Page runs and large objects by the public calls and by mm_malloc_large; extension in place and cutting
 * as mm/resize.c does them, which would otherwise copy memory that is not there.
 */
#include "kernel-test/model/model.h"

#include "mm/budget.h"
#include "mm/cache.h"
#include "mm/malloc.h"

enum kind { PAGES, OBJECT, HANDLER, EXTEND, CUT, FREE, TOUCH, TRIM, DONATE };

static const struct action {
    const char *name;
    enum kind kind;
    unsigned pages, align;
} actions[] = {
    { "alloc pages 1", PAGES, 1, 1 },
    { "alloc pages 2", PAGES, 2, 1 },
    { "alloc pages 3", PAGES, 3, 1 },
    { "alloc object 1", OBJECT, 1, 1 },
    { "alloc object 2", OBJECT, 2, 1 },
    { "alloc object 3", OBJECT, 3, 1 },
    { "alloc object 1 aligned 2", OBJECT, 1, 2 },
    { "alloc object 2 aligned 4", OBJECT, 2, 4 },
    { "alloc pages 1 in a handler", HANDLER, 1, 1 },
    { "extend by 1", EXTEND, 1, 1 },
    { "cut by 1", CUT, 1, 1 },
    { "free", FREE, 0, 0 },
    { "touch", TOUCH, 0, 0 },
    { "trim to 0", TRIM, 0, 0 },
    { "trim to 1", TRIM, 1, 0 },
    { "donate window", DONATE, 0, 0 },
};
const unsigned action_count = sizeof actions / sizeof actions[0];

static enum sh_context context_now;

static enum sh_context context(void)
{
    return context_now;
}

static void log_line(const char *text)
{
    tell("      %s\n", text);
}

void heap_open(void)
{
    static const struct sh_hooks hooks = { .context = context, .log = log_line };
    struct sh_config config = { .size = sizeof config, .hooks = &hooks, .demand = scope->demand,
                                .limit = scope->limit * SH_GRANULE_SIZE };
    if (sh_init(&config) != SH_OK) {
        violated("sh_init", 0);
    }
}

static unsigned heap_ready(void)
{
    unsigned count = 0;
    for (unsigned unit = 0; unit < unit_count; unit++) {
        count += shadow.state[unit] == SH_READY && !unit_is_meta(unit);
    }
    return count;
}

static bool alloc(const struct action *action)
{
    unsigned before = heap_ready();
    void *p = NULL;
    context_now = action->kind == HANDLER ? SH_INTERRUPT : SH_THREAD;
    port_run.forbidden = action->kind == HANDLER;
    if (action->kind == OBJECT) {
        p = mm_malloc_large((size_t)action->pages << MM_PAGE_SHIFT, (size_t)action->align << MM_PAGE_SHIFT);
    } else {
        p = sh_alloc_pages(action->pages);
    }
    context_now = SH_THREAD;
    if (p == NULL) {
        if (heap_ready() > before) {
            violated("a failure leaves frames behind", 0);
        }
        return false;
    }
    /* A kept run may be longer than what is asked for. */
    size_t pages = mm_span_of((uintptr_t)p)->page_count;
    if (pages < action->pages || (pages > action->pages && action->kind != OBJECT)) {
        violated("a run of another length", (uintptr_t)p);
    }
    check_run((uintptr_t)p, pages, action->align, !scope->demand || action->kind != OBJECT);
    shadow.run[page_of((uintptr_t)p)] = (uint8_t)pages;
    shadow.is_object[page_of((uintptr_t)p)] = action->kind == OBJECT;
    return true;
}

/* As resize.c does it, where a block stays in place. */
static bool extend(unsigned page)
{
    uintptr_t base = page_address(page), end = base + (uintptr_t)shadow.run[page] * SH_PAGE_SIZE;
    struct mm_span *span = mm_span_of(base);
    enum mm_commit commit = scope->demand ? MM_COMMIT_LATER : MM_COMMIT_NOW;
    if (!mm_heap_extend(base, shadow.run[page], 1, commit)) {
        return false;
    }
    check_run(end, 1, 1, !scope->demand);
    mm_span_enter(span, end, 1);
    span->page_count++;
    span->size += SH_PAGE_SIZE;
    shadow.run[page]++;
    return true;
}

static void cut(unsigned page)
{
    struct mm_span *span = mm_span_of(page_address(page));
    uintptr_t tail = span->base + (uintptr_t)--shadow.run[page] * SH_PAGE_SIZE;
    span->page_count--;
    span->size -= SH_PAGE_SIZE;
    mm_span_enter(&mm_span_dummy, tail, 1);
    mm_heap_free(tail, 1);
}

static void release(unsigned page)
{
    bool object = shadow.is_object[page];
    shadow.run[page] = shadow.is_object[page] = 0;
    if (object) {
        mm_free_slow((void *)page_address(page), "model", 0);
    } else {
        sh_free_pages((void *)page_address(page));
    }
}

/* In demand mode: the last page of a run. */
static bool touch(unsigned page)
{
    uintptr_t at = page_address(page) + (uintptr_t)(shadow.run[page] - 1) * SH_PAGE_SIZE;
    bool ok = sh_handle_fault(at, true, false);
    if (ok && shadow.state[unit_of(at)] != SH_READY) {
        violated("a page is said to be committed and is not", at);
    }
    return ok;
}

static void trim(size_t keep)
{
    unsigned before = heap_ready();
    size_t bytes = sh_trim(keep << MM_PAGE_SHIFT);
    if (bytes != (before - heap_ready()) * SH_GRANULE_SIZE && UNIT_PAGES == 1) {
        violated("trim gave back another number of bytes than it says", bytes);
    }
    unsigned left = 0, used = 0, end = page_count;
    for (unsigned page = 0; page < end && keep == 0; page++, left -= left != 0) {
        left = shadow.run[page] != 0 ? shadow.run[page] : left;
        used += left != 0;
        if (page % UNIT_PAGES == UNIT_PAGES - 1) {
            unsigned unit = page / UNIT_PAGES;
            if (used == 0 && shadow.state[unit] == SH_READY && !unit_is_meta(unit)) {
                violated("a free granule is committed after a trim", page_address(page));
            }
            used = 0;
        }
    }
}

bool perform(struct step step)
{
    const struct action *action = &actions[step.action];
    port_run = (struct port_run){ .limit = scope->limit };
    choices_rewind();
    bool ok = true;
    tell("    %s %#zx\n", action->name, action->kind < EXTEND || action->kind > TOUCH ? step.page :
         (size_t)page_address(step.page));
    switch (action->kind) {
    case PAGES:
    case OBJECT:
    case HANDLER: ok = alloc(action); break;
    case EXTEND: ok = extend(step.page); break;
    case CUT: cut(step.page); break;
    case FREE: release(step.page); break;
    case TOUCH: ok = touch(step.page); break;
    case TRIM: trim(action->pages); break;
    case DONATE: shadow.donated |= 1u << step.page; break;
    }
    tell("      %s\n", ok ? "done" : "no");
    port_probe();
    if (mm_budget_held() != shadow.ready * SH_GRANULE_SIZE) {
        violated("the ledger of frames is wrong", mm_budget_held());
    }
    return ok;
}

bool applies(unsigned number, unsigned page)
{
    const struct action *action = &actions[number];
    if ((scope->actions >> number & 1) == 0) {
        return false;
    }
    unsigned pages = shadow.run[page];
    switch (action->kind) {
    case PAGES:
    case OBJECT:
    case HANDLER:
    case TRIM: return page == 0;
    case EXTEND: return shadow.is_object[page] && pages < 3;
    case CUT: return shadow.is_object[page] && pages > 1;
    case FREE: return pages != 0;
    case TOUCH: return pages != 0;
    case DONATE: return page < scope->windows && (shadow.donated >> page & 1) == 0;
    }
    return false;
}


void refused_rightly(struct step step)
{
    const struct action *action = &actions[step.action];
    if (check_possible(action->pages, action->align)) {
        port_run = (struct port_run){ .annex = true, .serve = true };
        if (!alloc(action)) {
            violated("an allocation is refused, and there is a place for it", 0);
        }
    }
}

bool is_call(unsigned number)
{
    return actions[number].kind < HANDLER;
}
