/*
 * What the suites of the collector share.  See test_gc_util.h.
 */
#include "kernel-test/test_gc_util.h"

#include "gc/mark.h"

void *t_root[T_ROOTS];

void t_gc_start(size_t window, const struct sh_config *heap, const struct sh_gc_config *config)
{
    for (unsigned i = 0; i < T_ROOTS; i++) {
        t_root[i] = NULL;
    }
    rig_start(window, heap);
    gc_fetch_least = gc_fetch_least == 0 ? GC_FETCH_LEAST : 0;
    EXPECT_EQ(sh_gc_init(config), SH_OK);
    EXPECT_EQ(sh_gc_add_root(t_root, sizeof t_root), SH_OK);
}

void t_gc_start_checked(void)
{
    const struct sh_gc_config config = { .size = sizeof config, .check = true };
    t_gc_start(0, NULL, &config);
}

void t_gc_start_tier(unsigned tier)
{
    const struct sh_gc_config config = { .size = sizeof config, .check = true };
    const struct sh_config heap = { .size = sizeof heap, .tier = tier, .hooks = rig_hooks() };
    t_gc_start(0, &heap, &config);
}

bool t_lives(const void *p)
{
    struct sh_object object;
    return sh_object_of(p, &object);
}

struct gc_span *t_gc_span(const void *p)
{
    struct mm_view view;
    EXPECT(mm_span_view((uintptr_t)p, &view));
    EXPECT(view.span->gc != NULL);
    return view.span->gc;
}

uint32_t t_gc_slot(const void *p)
{
    struct mm_view view;
    EXPECT(mm_span_view((uintptr_t)p, &view));
    return view.index;
}

void *t_gc_take(size_t size, unsigned flags)
{
    void *p = sh_gc_malloc(size, flags);
    if (p == NULL) {
        t_fail(__FILE__, __LINE__, "no memory for %zu bytes, flags %u", size, flags);
    }
    return p;
}

void t_gc_step_to(enum gc_phase phase, size_t work)
{
    unsigned long steps = 0;
    bool done = false;
    while (!(phase == GC_IDLE ? done : gc.phase == phase)) {
        done = sh_gc_step(work);
        if (++steps > 20000000ul) {
            t_fail(__FILE__, __LINE__, "no step leads to phase %d", (int)phase);
        }
    }
}

static bool count_collected(const struct sh_object *object, void *arg)
{
    *(size_t *)arg += object->live && object->kind != SH_MANUAL;
    return true;
}

size_t t_gc_live_count(void)
{
    size_t count = 0;
    sh_each_object(count_collected, &count);
    return count;
}
