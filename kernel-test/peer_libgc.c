/*
 * The programs of peer_work.h on Boehm's collector.  Bytes are atomic, the rest is conservative; stacks
 * may hold pointers to the inside of objects, objects only to the base of others, which serves it best.
 *
 *     peer-libgc WORK [heap]
 *
 *     heap    prints only how large its heap became, in bytes, without its own records
 */
#define _GNU_SOURCE
#include <gc/gc.h>

#include "gc/gc.h"

static inline void *work_new(const struct sh_gc_type *type)
{
    return GC_MALLOC(type->size);
}

static inline void *work_array(size_t count)
{
    return GC_MALLOC(count * sizeof(void *));
}

static inline void *work_bytes(size_t size)
{
    return GC_MALLOC_ATOMIC(size);
}

static inline void work_set(void *slot, void *object)
{
    *(void **)slot = object;
}

static inline void work_collect(void)
{
    GC_gcollect();
}

#include "kernel-test/peer_work.h"

static void event(GC_EventType type)
{
    if (type == GC_EVENT_START)
        work_pause_begin();
    if (type == GC_EVENT_END)
        work_pause_end();
}

int main(int argc, char **argv)
{
    int failed;

    want(argc > 1, "which work?");
    GC_set_all_interior_pointers(0);
    GC_INIT();
    GC_set_on_collection_event(event);
    if (argc > 2 && freopen("/dev/null", "w", stdout) == NULL)
        return 1;
    failed = work(argv[1]);
    if (argc > 2)
        fprintf(stderr, "%zu\n", GC_get_heap_size());
    return failed;
}
