/*
 * The heap's public face.
 *
 *   sh_add_window(base, size)   gives it addresses, before or after
 *   sh_init(NULL)               starts it
 *   sh_malloc, sh_free          use it
 *
 * Contexts.  A thread may call everything.  An interrupt handler may call sh_malloc, sh_calloc,
 * sh_free, sh_free_sized, sh_usable_size and the queries; its allocations are served from caches, lists,
 * the lowest free run of pages if that is committed, and the CPU's reserve (sh_config.interrupt_reserve), and
 * give NULL where a frame would be needed.  An NMI handler may
 * call the queries only.  Tell the heap which is which with the `context` hook.
 *
 * Queries are sh_contains, sh_object_of, sh_physical and sh_usable_size: no lock, any CPU, any context,
 * any bit pattern, never a fault.
 *
 * Sizes are bytes.  Costs are for the default tier.
 *
 * Tiers.  sh_config.tier chooses how suspicious the heap is; each tier includes those before it.
 *
 *   0  misuse of a pointer or a size is caught, always
 *   1  a freed object is filled (0xdd, or 0 with `zero`), and that is checked when its memory is used
 *      again: a write after free is reported with its offset and bytes
 *   2  the size asked for is kept to the byte: what lies behind it is a red zone, checked at free, at
 *      realloc and by sh_verify.  Reports name who allocated and who freed (return addresses)
 *   3  one object in `guard_sample` (64) lies at the end of a page between two that fault, if it is no
 *      larger than a granule and one of the 32 such pages is free (they take 65 granules of addresses, for
 *      good), and freed objects are held back from reuse, first in, first out, up to `quarantine`
 *      (64 KiB) and 1024 objects; page runs are not
 *   4  every object, and every page run, lies before a page that faults, and a freed one faults for
 *      good: its addresses never come back, so a window lasts for so many objects.  From a handler an
 *      allocation is NULL
 *
 * In demand mode fills and red zones skip pages that have no frame yet, and a zero is accepted in them.
 * What tier 1 fills of a large object or a page run is checked when the pages are allocated again.
 * Misuse found so is SH_PANIC_MISUSE; if the hook returns, the call goes on.
 */
#ifndef SPANHEAP_MM_H
#define SPANHEAP_MM_H

#include "arch/arch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Who frees an object, and whether the collector looks into it. */
enum sh_kind { SH_MANUAL, SH_SCAN, SH_NOSCAN, SH_UNCOLLECTABLE };

struct sh_config {
    size_t size;              /* sizeof(struct sh_config); a shorter one is an older caller's: the rest is default */
    unsigned cpus;            /* CPUs that will call; 0 = 1 */
    unsigned tier;            /* 0 … 4: see above */
    bool zero;                /* no caller ever sees a byte of an earlier owner */
    bool demand;              /* sh_malloc commits nothing: sh_handle_fault does, at the first touch */
    size_t limit;             /* as sh_set_limit; 0 = none */
    size_t interrupt_reserve; /* bytes a CPU, up to 1 MiB, in committed pages that only handlers are given, when
                                 they would get NULL else; threads fill them up when they allocate spans.  In
                                 tiers 2 and 3 as far as records for notes are at hand */
    size_t guard_sample;      /* one object in so many between guard pages, in any tier; 0 = the tier's */
    size_t quarantine;        /* bytes of freed objects held back from reuse, in any tier; 0 = the tier's */
    const struct sh_hooks *hooks; /* copied; NULL = none */
};

struct sh_object {
    uintptr_t base;
    size_t size; /* usable bytes */
    enum sh_kind kind;
    bool live;
    uintptr_t call_site; /* tier 2 and above, else 0 */
};

/* All sizes in bytes.  heap_sys = heap_in_use + heap_free + heap_released; metadata and tables
 * are apart.  Exact when nobody else is in the heap: no other CPU, no handler or thread meanwhile. */
struct sh_stats {
    size_t heap_sys;      /* Prepared or Ready */
    size_t heap_in_use;   /* committed, in a span in use */
    size_t heap_free;     /* committed, in no span: idle */
    size_t heap_released; /* Prepared: no frame behind it */
    size_t heap_fault;    /* guard pages, and what tier 4 freed: never used again */
    size_t meta_bytes;    /* committed for the heap's own records */
    size_t table_bytes;   /* page tables that the port installed */
    size_t frames_held;   /* every frame taken and not given back, in bytes */
    size_t live_bytes;    /* usable bytes of live objects and page runs */
    size_t live_objects;
    uint64_t mallocs, frees; /* since sh_init */
    unsigned windows, arenas, spans;
};

/* Starts the heap.  NULL = all defaults.  SH_OK; SH_E_STATE (already started); SH_E_INVALID (size field);
 * SH_E_CONFIG, SH_E_HOOK, SH_E_PAGING.  Takes no frame, also with a limit that is too low for anything.
 * Context: SH_THREAD, once, before any other CPU calls. */
int sh_init(const struct sh_config *config);

/* Ends the heap: nothing else may run in it.  All objects are gone, all frames go back, windows are None
 * and must be donated anew; then sh_init may be called again.  SH_E_STATE; SH_E_BUSY, nothing changed,
 * if a page table of the heap's holds entries of the kernel's.  Context: SH_THREAD. */
int sh_shutdown(void);

/* At least `size` bytes, aligned to the largest power of two that divides the size class and at least to
 * 8; 0 gives a distinct smallest object.  NULL on exhaustion or overflow, state unchanged.  Contents are
 * not promised (see `zero`).  Any context but NMI.  Cost: constant from the CPU's cache (about 25
 * instructions up to 1 KiB), a refill now and then, a page run for large ones. */
void *sh_malloc(size_t size);

/* As sh_malloc(count * size), zeroed; NULL if the product overflows. */
void *sh_calloc(size_t count, size_t size);

/* Resizes: in place where the block allows it, else by copy.  p = NULL is sh_malloc; size 0 shrinks to
 * the smallest object and never frees.  Shrinking never fails; on NULL the old block stands.  The kind is
 * kept.  Context: as sh_malloc, but the copy takes time in proportion. */
void *sh_realloc(void *p, size_t size);

/* `align`: any power of two up to an arena (4 MiB on 32-bit machines).  NULL otherwise, and on
 * exhaustion.  Freed by sh_free. */
void *sh_aligned_alloc(size_t align, size_t size);

/* Frees what any of the above returned; NULL does nothing.  A pointer that is not the base of a live
 * object is misuse: sh_kernel_panic(SH_PANIC_MISUSE, …), nothing changed.  Any context but NMI.  Never
 * gives frames back (sh_trim does), but for an object between guard pages.  Cost: constant; from tier 1 in
 * proportion to the size. */
void sh_free(void *p);

/* sh_free that also checks the size given at allocation: larger than the block, or of a smaller size
 * class, is misuse; from tier 2 any other size. */
void sh_free_sized(void *p, size_t size);

/* Bytes that may be used at p, the base of a live object; 0 for anything else.  From tier 2 exactly what
 * was asked for.  A query. */
size_t sh_usable_size(const void *p);

/* `count` contiguous heap pages, page-aligned, contents not promised, committed at once also in demand
 * mode (a stack cannot fault).  NULL on exhaustion.  Freed by sh_free_pages only. */
void *sh_alloc_pages(size_t count);
void sh_free_pages(void *p);

/* Is p inside a slot of a span in use, live or not?  A query. */
bool sh_contains(const void *p);

/* Is p inside a live object?  Interior pointers count, one past the end does not.  `out` (may be NULL) is
 * filled when the answer is yes.  A query: exact for an object that the caller keeps alive. */
bool sh_object_of(const void *p, struct sh_object *out);

/* The physical address behind p, if p is in committed heap memory.  A query.  One page at a time:
 * contiguous addresses are not contiguous frames. */
bool sh_physical(const void *p, sh_paddr *out);

/* Gives idle frames back until at most keep_bytes of committed memory are free, what is in quarantine
 * aside; bytes given back.  sh_trim(0) empties the quarantine, and after it no commit granule that is
 * wholly free is committed.  Context: SH_THREAD. */
size_t sh_trim(size_t keep_bytes);

/* A hard ceiling on every frame held: data, metadata, tables.  0 = none.  If more is held, trims; if that
 * is not enough SH_E_BUSY, and the old limit stands.  Context: SH_THREAD. */
int sh_set_limit(size_t bytes);

/* From the page-fault handler.  true = the page was a live object's that demand mode had left
 * uncommitted, and is now committed: retry the access.  false = not ours to mend.  SH_THREAD only. */
bool sh_handle_fault(uintptr_t address, bool write, bool present);

/* Through the log hook, one to three lines: what is at that address, what was, and in tier 2 who owned
 * it: for the page-fault handler when sh_handle_fault says false, for a debugger, for a bad pointer.  Any
 * context, any bit pattern, never a fault. */
void sh_explain(uintptr_t address);

/* Statistics.  Context: SH_THREAD or SH_INTERRUPT.  Cost: a walk over all spans. */
void sh_stats(struct sh_stats *out);

/* Checks every structure of the heap against every other; each fault found is logged.  Returns their
 * number.  Nothing else may run in the heap.  Cost: a walk over everything. */
int sh_verify(void);

/* A picture of arenas and spans through the log hook, at most 80 columns. */
void sh_print_map(void);

/* Visits every object, live and not, in address order, until `visit` says false; the number visited.
 * `visit` may call queries.  Objects allocated or freed meanwhile may or may not be seen. */
size_t sh_each_object(bool (*visit)(const struct sh_object *, void *arg), void *arg);

/* This CPU will not call any more: its cached spans go to where other CPUs find them.  It may come back
 * at any time.  SH_OK; SH_E_RANGE; SH_E_STATE.  Context: SH_THREAD. */
int sh_cpu_offline(unsigned cpu);

/* The heap's record of a CPU: stable, valid before sh_init, for SH_CPU_POINTER.  NULL if cpu is out of
 * range. */
void *sh_cpu_area(unsigned cpu);

/* The name of an SH_E… value, for a log line.  Here, so that only who uses it has the texts. */
static inline const char *sh_error_name(int error)
{
    switch (error) {
    case SH_OK: return "SH_OK";
    case SH_E_INVALID: return "SH_E_INVALID";
    case SH_E_NOMEM: return "SH_E_NOMEM";
    case SH_E_OVERLAP: return "SH_E_OVERLAP";
    case SH_E_RANGE: return "SH_E_RANGE";
    case SH_E_FULL: return "SH_E_FULL";
    case SH_E_STATE: return "SH_E_STATE";
    case SH_E_CONFIG: return "SH_E_CONFIG";
    case SH_E_HOOK: return "SH_E_HOOK";
    case SH_E_PAGING: return "SH_E_PAGING";
    case SH_E_BUSY: return "SH_E_BUSY";
    default: return "no error of the heap's";
    }
}

#ifdef __cplusplus
}
#endif

#endif
