/*
 * The write barrier: snapshot at the beginning.
 *
 * While a cycle marks, the value that a store overwrites is marked first: so all that was reached when the
 * cycle began is marked, whatever the program does to the paths meanwhile.  New objects are born marked, and
 * stacks were looked at when the cycle began; so nothing has to be looked at twice.
 *
 * Phase and slot are read and the store is made under the work lock: no cycle can begin between them.  With
 * one CPU that is the interrupt mask.
 */
#include "gc/mark.h"

#include "mm/misuse.h"
#include "mm/report.h"

/* On demand a page gets its frame here: a fault under the lock would call the port with it held. */
static void touch(const volatile uintptr_t *word)
{
    if (MM_UNLIKELY(mm_mode.demand)) {
        (void)*word;
    }
}

static void store(uintptr_t *slot, uintptr_t value)
{
    if (gc.black) {
        gc_mark_word(*slot);
    }
    __atomic_store_n(slot, value, __ATOMIC_RELAXED);
}

void sh_gc_write(void *slot, void *value)
{
    touch(slot);
    arch_flags flags = gc_lock();
    store(slot, (uintptr_t)value);
    gc_unlock(flags);
}

void sh_gc_copy(void *to, const void *from, size_t size)
{
    uintptr_t *target = to;
    const uintptr_t *source = from;
    size_t count = size / sizeof(uintptr_t);
    if (((uintptr_t)to | (uintptr_t)from | size) % sizeof(uintptr_t) != 0) {
        mm_misuse("sh_gc_copy(%x, %x, %z): not whole words", (uintptr_t)to, (uintptr_t)from, size);
        return;
    }
    bool down = source != NULL && (uintptr_t)to - (uintptr_t)from < size;
    for (size_t done = 0; done < count;) {
        size_t end = count - done > GC_BURST ? done + GC_BURST : count;
        size_t first = down ? count - end : done, last = first + (end - done - 1);
        touch(&target[first]);
        touch(&target[last]);
        touch(source == NULL ? &target[first] : &source[first]);
        touch(source == NULL ? &target[last] : &source[last]);
        arch_flags flags = gc_lock();
        for (; done < end; done++) {
            size_t i = down ? count - 1 - done : done;
            store(&target[i], source == NULL ? 0 : source[i]);
        }
        gc_unlock(flags);
    }
}
