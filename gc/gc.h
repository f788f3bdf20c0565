/*
 * The collector's public face.
 *
 *   sh_gc_init(NULL)                    starts it, on a heap that is started and has a window
 *   sh_gc_add_root(start, size)         says where pointers into it are kept
 *   sh_gc_malloc, sh_gc_new             allocate; what is not reached any more is freed
 *   sh_gc_collect, sh_gc_step           collect
 *
 * What keeps an object.  A word that lies in a root range, in a stack or register that the scan_stacks
 * hook reports, in an uncollectable object, or in a collected object that is kept itself, and whose value
 * is an address inside the object: its base or any byte of it.  One past its end does not keep it.  A word
 * is taken at an address that is a multiple of its size.  Any other value of a word is legal and ignored.
 * What lies in sh_malloc objects, in pages, in other memory of the kernel keeps nothing.
 *
 * Kinds.  Scan objects are looked into word by word, or where their type has pointers; noscan ones never;
 * uncollectable ones are roots, and go by sh_free only.
 *
 * Cycles.  A cycle marks what is kept, then frees the rest span by span: sweeps.  sh_gc_collect runs one
 * whole, with all other threads stopped while it marks.  sh_gc_step runs one in bounded pieces, between
 * which threads run on.  While a cycle marks, whoever runs beside the collector stores a pointer over a word
 * of a collected or uncollectable object, or of a root range, by sh_gc_write or sh_gc_copy.  Stacks,
 * registers and other memory need neither.  In a kernel that never calls sh_gc_step, and whose stop_world
 * stops all threads that could preempt the collector, only handlers run beside it.  While steps mark,
 * sh_gc_malloc leaves the cycle to them: it collects by itself at twice the goal, or instead of NULL.
 *
 * CPUs.  With several, all run on between the stops: they allocate, sweep and free, each of them may collect,
 * and one collection waits for the other.  stop_world interrupts the others where their interrupts are on; a
 * CPU that comes late delays it.  While they stand they may mark:
 *
 *     void stop_handler(void)            // interrupts off, registers saved where scan_stacks finds them
 *     {
 *         say_that_this_cpu_stands();
 *         while (!world_runs_again())
 *             sh_gc_stopped();
 *     }
 *
 * Memory.  A collection takes none, neither frames nor heap, and under 1 KiB of stack.
 *
 * Contexts.  SH_THREAD may call everything.  SH_INTERRUPT may call sh_gc_malloc and sh_gc_new (NULL where
 * a collection or a frame would be needed), sh_gc_write, sh_gc_copy, sh_gc_weak_get, and sh_free.
 */
#ifndef SPANHEAP_GC_H
#define SPANHEAP_GC_H

#include "mm/mm.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SH_GC_NOSCAN = 1, SH_GC_UNCOLLECTABLE = 2 };

struct sh_gc_config {
    size_t size;      /* sizeof(struct sh_gc_config); a shorter one is an older caller's: the rest is default */
    unsigned percent; /* collect when the heap has grown by so much since the last time; 0 = 100 */
    size_t min_heap;  /* bytes of collected objects below which none starts by itself; 0 = 256 KiB */
    bool automatic;   /* sh_gc_malloc collects when the goal is reached; if not, only instead of NULL */
    bool trace;       /* a line a cycle through the log hook */
    bool check;       /* a second marker checks each cycle's marks before anything is freed: slow */
};

struct sh_gc_stats {
    uint64_t cycles;        /* that ended marking */
    uint64_t words_scanned, spans_swept, objects_freed; /* since sh_gc_init; freed by sh_free too */
    size_t heap_before, heap_after; /* bytes of collected objects when the last cycle began, and what it kept */
    size_t goal;            /* bytes at which the next cycle begins */
    size_t longest_step;    /* the most work of one sh_gc_step since sh_gc_init; the trace tells each cycle's */
};

/* Where the pointers of an object are. */
struct sh_gc_type {
    size_t size;                /* bytes, a multiple of a word */
    const uintptr_t *pointers;  /* bit i of the array: word i may be a pointer; NULL = none is */
    const char *name;
};

/* A weak reference: a value, may be copied, moved, forgotten.  The collector never writes to it; all
 * zeroes refers to nothing. */
struct sh_gc_weak {
    uintptr_t handle, generation;
};

/* Starts the collector.  NULL = all defaults: not automatic, no trace.  SH_OK; SH_E_STATE (no heap, or
 * started already); SH_E_INVALID (size field); SH_E_HOOK (several CPUs, but stop_world, resume_world or
 * scan_stacks is absent; or one of the first two without the other); SH_E_NOMEM (no window, or none has room for its records).  sh_shutdown ends
 * it.  Without scan_stacks no stack and no register keeps an object.  Context: SH_THREAD. */
int sh_gc_init(const struct sh_gc_config *config);

/* A zeroed object, looked into conservatively; flags 0, SH_GC_NOSCAN or SH_GC_UNCOLLECTABLE.  Alignment
 * as sh_malloc.  NULL if memory does not suffice after a collection, if the size overflows, or before
 * sh_gc_init; other flags are misuse.  Cost: as sh_malloc and the zeroing; a collection now and then. */
void *sh_gc_malloc(size_t size, unsigned flags);

/* `count` zeroed objects of a type, as one array.  The type may go when they are gone. */
void *sh_gc_new(const struct sh_gc_type *type, size_t count);

/* Declares [start, start + size) a root, or ends that.  Word-aligned inside; its memory must be readable,
 * and stay so.  SH_OK; SH_E_INVALID (NULL, empty, or it reaches the end of memory); SH_E_OVERLAP; SH_E_STATE; SH_E_NOMEM (metadata).  A
 * range that begins nowhere is misuse to remove.  Cost: a look at each range, again where others
 * changed them meanwhile; interrupts are let in between.
 * Context: SH_THREAD. */
int sh_gc_add_root(const void *start, size_t size);
void sh_gc_remove_root(const void *start);

/* Ends a cycle that is under way, runs a whole one, and sweeps.  Context: SH_THREAD, else misuse. */
void sh_gc_collect(void);

/* At most `work` words of incremental work, plus fewer than 100 (an object of 64, and a span) and, in the
 * step that starts a cycle, the words of all stacks.  A span or a record counts as 16 words.  true = the cycle is
 * done, all of it swept; the next step starts another.  Context: SH_THREAD, else misuse. */
bool sh_gc_step(size_t work);

/* Sweeps at most so many spans, for the idle loop; true = there may be more. */
bool sh_gc_sweep_step(size_t spans);

/* *slot = value, with the write barrier. */
void sh_gc_write(void *slot, void *value);
/* memmove with it, word by word: both ends and the size are multiples of a word; from = NULL clears. */
void sh_gc_copy(void *to, const void *from, size_t size);

/* fn(object, arg) is to be called once, by sh_gc_run_finalizers, when the object, given by its base, is not
 * reached any more; the object and all it reaches stay until then, and after if fn makes them reachable
 * again.  fn = NULL: none any more.  sh_free drops it.  `arg` keeps nothing.  SH_OK; SH_E_INVALID (not the
 * base of a live collected object); SH_E_NOMEM. */
int sh_gc_set_finalizer(void *object, void (*fn)(void *object, void *arg), void *arg);

/* Runs at most so many that are due, in no order, in the caller's context and with no lock; fn may do
 * everything, also set a finalizer again.  How many ran. */
size_t sh_gc_run_finalizers(size_t most);

/* A weak reference to the object that this address is the base of.  It refers to nothing any more when
 * the object is not reached but by finalizers, or is freed.  SH_OK; SH_E_INVALID; SH_E_NOMEM. */
int sh_gc_weak_create(struct sh_gc_weak *weak, void *object);
/* The object, kept from now on by where the caller stores it; NULL = gone. */
void *sh_gc_weak_get(struct sh_gc_weak weak);

/* What a CPU calls that stop_world stopped, again and again until it may go on: it helps to mark.  Stays while
 * a collection marks, or is about to; else, and if the stop is none of the collector's, it returns at once.
 * Nobody has to call it, and none has to be there in time.  Interrupts off, on any stack with 1 KiB left. */
void sh_gc_stopped(void);

/* Calls `report` for each manual object (sh_malloc) that nothing reaches: not a root, a stack, a live
 * collected object, nor a manual object that is reached.  Returns their number, and frees nothing.
 * SIZE_MAX: no heap memory for its marks.  The world is stopped meanwhile; `report` may call queries only.
 * Context: SH_THREAD. */
size_t sh_leak_check(void (*report)(const struct sh_object *, void *arg), void *arg);

void sh_gc_stats(struct sh_gc_stats *out);

#ifdef __cplusplus
}
#endif

#endif
