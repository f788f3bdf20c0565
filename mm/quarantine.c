/*
 * The quarantine (see quarantine.h): a ring of addresses in metadata, obtained at the first use.
 *
 * The ring has its own lock, of the rank of a central list: it is taken with nothing held, and nothing is
 * taken inside it.  What leaves the ring is released with the lock dropped, so a handler that frees
 * meanwhile finds a ring that is whole.
 */
#include "mm/quarantine.h"

#include "mm/cache.h"
#include "mm/context.h"
#include "mm/heap.h"
#include "mm/linear.h"
#include "mm/lock.h"
#include "mm/malloc.h"

#define RING 1024 /* a power of two; 8 KiB of metadata on 32-bit machines */

struct held {
    struct mm_span *span;
    uintptr_t base;
};

static struct mm_lock lock = MM_LOCK_INIT(MM_RANK_CENTRAL);
static struct held *ring;
static uint32_t first, count; /* of `ring` */
static size_t most;           /* bytes */
static size_t bytes, slots, pages;

static bool is_small(const struct mm_span *span)
{
    return mm_span_state(span) == MM_SPAN_SMALL;
}

static MM_ONCE size_t bytes_of(const struct mm_span *span)
{
    return is_small(span) ? span->size : mm_span_bytes(span);
}

/* Adds or takes away what an object counts. */
static void account(const struct mm_span *span, bool in)
{
    size_t one = in ? 1 : (size_t)-1;
    bytes += bytes_of(span) * one;
    if (is_small(span)) {
        slots += one;
    } else {
        pages += span->page_count * one;
    }
}

/* The oldest, if there are more bytes than `limit` or no place is left. */
static bool pop(size_t limit, struct held *out)
{
    arch_flags flags = mm_lock(&lock);
    bool some = count != 0 && (bytes > limit || count == RING);
    if (some) {
        *out = ring[first];
        first = (first + 1) % RING;
        count--;
        account(out->span, false);
    }
    mm_unlock(&lock, flags);
    return some;
}

static void release(const struct held *held)
{
    struct mm_span *span = held->span;
    if (is_small(span)) {
        mm_slot_release(span, mm_span_index(span, held->base));
    } else {
        mm_heap_unkeep(span->page_count);
        mm_heap_release(span);
    }
}

static void shrink_to(size_t limit)
{
    struct held held;
    while (pop(limit, &held)) {
        release(&held);
    }
}

/* The ring, if it is there or can be had. */
static bool have_ring(void)
{
    if (__atomic_load_n(&ring, __ATOMIC_ACQUIRE) == NULL && mm_may_grow()) {
        struct held *fresh = mm_linear_alloc(RING * sizeof *fresh, sizeof(uintptr_t), true);
        arch_flags flags = mm_lock(&lock);
        if (ring == NULL) {
            __atomic_store_n(&ring, fresh, __ATOMIC_RELEASE);
        }
        mm_unlock(&lock, flags);
    }
    return __atomic_load_n(&ring, __ATOMIC_ACQUIRE) != NULL;
}

bool mm_quarantine_put(struct mm_span *span, uintptr_t base)
{
    size_t size = bytes_of(span);
    if (size > most || !have_ring()) {
        return false;
    }
    shrink_to(most - size);
    arch_flags flags = mm_lock(&lock);
    bool ok = count < RING;
    if (ok) {
        ring[(first + count++) % RING] = (struct held){ span, base };
        account(span, true);
    }
    mm_unlock(&lock, flags);
    return ok;
}

bool mm_quarantine_flush(void)
{
    bool some = __atomic_load_n(&count, __ATOMIC_RELAXED) != 0;
    struct held held;
    while (pop(0, &held)) {
        release(&held);
    }
    return some;
}

size_t mm_quarantine_slots(void)
{
    return slots;
}

size_t mm_quarantine_pages(void)
{
    return pages;
}

MM_CALL void mm_quarantine_start(size_t limit)
{
    most = limit;
}

void mm_quarantine_reset(void)
{
    mm_lock_reset(&lock);
    ring = NULL;
    first = count = 0;
    most = bytes = slots = pages = 0;
}
