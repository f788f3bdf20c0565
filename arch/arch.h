/*
 * The port contract: both halves of the seam between the heap and a machine.
 *
 *   lower half   sh_arch_*     what a port gives the heap: address space, page tables, frames
 *   upper half   sh_kernel_*   what the kernel that links the library (the host kernel) gives a port
 *
 * An address is in one of five states, and the functions of the lower half are the only transitions:
 *
 *              reserve            map              commit
 *     None ──────────► Reserved ────────► Prepared ────────► Ready
 *       ▲                 │                 │  ▲    decommit   │
 *       └──── release ────┴─────────────────┼──┴───────────────┤
 *                                           └──────► Fault ◄───┘
 *
 * The library brings a port for its machine (port.o).  A kernel that has a virtual memory manager of
 * its own may define the seven sh_arch_* functions instead: then port.o is not linked, and of the
 * upper half only sh_kernel_panic and sh_kernel_cpu are needed.
 */
#ifndef SPANHEAP_ARCH_H
#define SPANHEAP_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef SH_CONFIG_HEADER
#include SH_CONFIG_HEADER
#endif

/* What the MMU maps at a time: 12 (4 KiB) everywhere, 16 (64 KiB large pages) on ARM. */
#ifndef SH_ARCH_PAGE_SHIFT
#define SH_ARCH_PAGE_SHIFT 12
#endif
#define SH_ARCH_PAGE_SIZE ((size_t)1 << SH_ARCH_PAGE_SHIFT)

/* The allocator's page: 12, 13 (default) or 14. */
#ifndef MM_PAGE_SHIFT
#define MM_PAGE_SHIFT 13
#endif
#define SH_PAGE_SIZE ((size_t)1 << MM_PAGE_SHIFT)

/* The commit granule: what is committed and decommitted at once, and what a window is trimmed to. */
#define SH_GRANULE_SIZE (SH_PAGE_SIZE > SH_ARCH_PAGE_SIZE ? SH_PAGE_SIZE : SH_ARCH_PAGE_SIZE)

/* CPUs that the library is built for: 1 leaves the locks out.  struct sh_config says how many run. */
#ifndef SH_MAX_CPUS
#define SH_MAX_CPUS 8
#endif

/* Windows that can be donated to the port of the library. */
#ifndef SH_MAX_WINDOWS
#define SH_MAX_WINDOWS 128
#endif

/* A table of any machine lies in one frame of this size, whatever SH_ARCH_PAGE_SIZE is. */
#define SH_TABLE_FRAME_SIZE ((size_t)4096)

#ifdef __cplusplus
extern "C" {
#endif

/* A physical address: wider than a pointer where PAE or LPAE reach beyond 4 GiB. */
typedef uint64_t sh_paddr;

enum {
    SH_OK = 0,
    SH_E_INVALID = -1,  /* an argument that means nothing: size 0, no power of two, nothing left of a window */
    SH_E_NOMEM = -2,    /* no frame, or no address space */
    SH_E_OVERLAP = -3,  /* part of it is taken: another window, a present entry, a large page, a section */
    SH_E_RANGE = -4,    /* beyond the address space: the range wraps, or needs more bits than there are */
    SH_E_FULL = -5,     /* SH_MAX_WINDOWS reached */
    SH_E_STATE = -6,    /* not now: before sh_init, or twice */
    SH_E_CONFIG = -7,   /* a field of struct sh_config that this build cannot honour */
    SH_E_HOOK = -8,     /* the configuration needs an optional hook that is absent */
    SH_E_PAGING = -9,   /* paging is off, or is set up in a way that the port cannot follow */
    SH_E_BUSY = -10     /* something still uses it; nothing was changed */
};

enum sh_state {
    SH_NONE,     /* not ours */
    SH_RESERVED, /* ours, nobody else will be given it; page tables untouched */
    SH_PREPARED, /* leaf tables exist, entry not present, contents gone */
    SH_READY,    /* present, writable, never executable where the MMU can say so; one frame */
    SH_FAULT     /* poisoned on purpose: never present again until released */
};

/* Where the running code is.  SH_INTERRUPT and SH_NMI narrow what a call may do (see mm.h). */
enum sh_context { SH_THREAD, SH_INTERRUPT, SH_NMI };

enum sh_panic {
    SH_PANIC_MISUSE,    /* the caller's mistake, found before anything was changed: the heap is whole */
    SH_PANIC_CORRUPTION /* the heap's own state is wrong: it is dead from here on */
};

/*
 * Lower half: what a port gives the heap.
 *
 * Ranges are [base, base + size), both multiples of SH_ARCH_PAGE_SIZE; base + size may be 2^32 (0 in a
 * 32-bit sum).  A caller never asks for an illegal transition and never asks for the same page from two
 * CPUs at once, but for commit, which may race with itself.  What can fail returns a value, and then
 * nothing has changed.  Context: SH_THREAD, no heap lock held, interrupts as the caller has them.
 */

/* None → Reserved.  Finds `size` bytes of address space aligned to `align` (a power of two), at `hint` if
 * that is free and otherwise anywhere; 0 = refused.  Takes no frame.  Cost: a scan of the windows. */
uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align);

/* Any → None, for exactly a range that sh_arch_reserve gave.  Frames go back after the flush. */
void sh_arch_release(uintptr_t base, size_t size);

/* Reserved → Prepared: builds the leaf tables, takes no frame for the range itself.  All table frames
 * are obtained before the first is installed. */
bool sh_arch_map(uintptr_t base, size_t size);

/* Prepared, or a mix of Prepared and Ready, → Ready: all or none.  New pages read as zero.  Fails only
 * for want of frames.  Pages that were Ready keep their contents.  Where another CPU commits the same
 * page, waits for it with interrupts as they are; the pages that are claimed are claimed in ascending
 * order, so two commits never wait for each other. */
bool sh_arch_commit(uintptr_t base, size_t size);

/* Ready, or a mix with Prepared, → Prepared: clears, flushes every CPU, then frees the frames. */
void sh_arch_decommit(uintptr_t base, size_t size);

/* Prepared or Ready → Fault.  Frames are freed as by decommit; an access faults until the release. */
void sh_arch_fault(uintptr_t base, size_t size);

/* The state of the page of `address`.  Any address, any context, no lock. */
enum sh_state sh_arch_state(uintptr_t address);

/* Optional functions of the host kernel, given in struct sh_config and kept until sh_shutdown.
 * NULL = absent.  None may call into the heap beyond what its line says; none may take a lock that the
 * kernel holds around a call of the heap.  sh_malloc from inside one acts as from an interrupt; it is
 * recognised by its stack, of which a hook must not have used more than 2 KiB by then. */
struct sh_hooks {
    /* Where the running code is; absent = SH_THREAD.  Needed if handlers allocate.  Any context. */
    enum sh_context (*context)(void);
    /* A line of text, no newline at its end.  Any context, also under a heap lock: must not wait. */
    void (*log)(const char *text);
    /* Flush the range on all other CPUs, return when they have.  Interrupts on, no lock; may wait. */
    void (*tlb_shootdown)(uintptr_t base, size_t size);
    /* A top-level entry for the chunk at `base` came or went: copy it to every directory that any CPU
     * can run on, before returning.  No lock; must not wait. */
    void (*top_level_changed)(uintptr_t base);
    /* Frames ran out while `bytes` were wanted: drop caches; true = try again, which is done a few times.
     * May call everything. */
    bool (*reclaim)(size_t bytes);
    /* Stop every other CPU at a point where its interrupts are on; let them go on. */
    void (*stop_world)(void);
    void (*resume_world)(void);
    /* Report every thread's live stack and saved registers as ranges, the current thread's too. */
    void (*scan_stacks)(void (*scan)(const void *low, const void *high, void *arg), void *arg);
    /* A counter that only grows.  Any context. */
    uint64_t (*cycles)(void);
};

/*
 * What the port of the library can do beyond the seven functions.  `sh_arch_port` is defined in port.o;
 * the heap refers to it weakly.  The reference does not have to pull port.o out of the archive (the
 * seven functions do that), so with a kernel's own sh_arch_* it is simply NULL, and the heap does
 * without: sh_physical says no, table_bytes is 0, sh_shutdown releases range by range.
 */
struct sh_port {
    /* From sh_init: check the machine's mode, keep the hooks.  SH_OK, SH_E_PAGING, SH_E_HOOK. */
    int (*attach)(const struct sh_hooks *hooks, unsigned cpus);
    /* From sh_shutdown: everything back to None, all frames freed, hooks and windows forgotten.
     * SH_E_BUSY, and nothing changed, if a table of ours holds an entry of the kernel's. */
    int (*detach)(void);
    /* The physical address behind a Ready address.  Any context. */
    bool (*physical)(uintptr_t address, sh_paddr *out);
    /* Bytes of frames that hold tables of ours. */
    size_t (*table_bytes)(void);
    /* At most how many bytes of table frames sh_arch_map would take for this range now. */
    size_t (*table_cost)(uintptr_t base, size_t size);
    /* Windows donated. */
    unsigned (*windows)(void);
    /* From sh_verify: faults of the page tables, each logged; NULL = nothing to look at. */
    size_t (*verify)(void);
};
extern const struct sh_port sh_arch_port;

/* Donates kernel virtual addresses [base, base + size) to the heap: at any time, in any order.  The
 * range is trimmed inward to whole commit granules; page 0 and the last page before 2^32 are left out.
 * It must be unmapped.  SH_E_INVALID (nothing left after trimming), SH_E_RANGE (wraps), SH_E_OVERLAP
 * (another window, a present entry, a large page, a section), SH_E_PAGING (paging off; a missing PDPT
 * entry), SH_E_FULL.  sh_window_error says why in words.  Context: SH_THREAD.  Not in port-less links. */
int sh_add_window(uintptr_t base, size_t size);

/* Why the last sh_add_window was refused, in one line of static text; "" if it was not. */
const char *sh_window_error(void);

/*
 * Upper half: what the host kernel gives the port.  Link-time functions, all of them needed with the
 * library's port.  No heap lock is held when frame_alloc, frame_free, phys_to_virt or root_table is
 * called; they must not wait and may call queries only (sh_contains, sh_object_of, sh_physical,
 * sh_stats is none).
 */

/* One frame of `size` bytes (SH_TABLE_FRAME_SIZE or SH_ARCH_PAGE_SIZE), naturally aligned, contents
 * arbitrary, address 0 too.  false = none left.  A frame that no entry can name, or that is one of the
 * heap's page tables, counts as none, and the log says so; the first is given back at once, the second
 * is not.  A frame given twice for pages has lost its contents to the second; sh_verify names it. */
bool sh_kernel_frame_alloc(size_t size, sh_paddr *out);

/* Takes back exactly what frame_alloc gave. */
void sh_kernel_frame_free(sh_paddr frame, size_t size);

/* Where the 4 KiB at the 4 KiB-aligned `address` can be read and written, with the cache attributes of
 * the heap.  Valid until the next call on this CPU: a direct map, or one scratch page a CPU (and one more
 * for NMI handlers, if they use queries).  The library calls it with interrupts off and keeps them off
 * while it uses the result. */
void *sh_kernel_phys_to_virt(sh_paddr address);

/* The physical address of the table that translates `address`: CR3's on x86, TTBR0's or TTBR1's on ARM. */
sh_paddr sh_kernel_root_table(uintptr_t address);

/* Something is wrong and `report` says what.  Misuse: may return (the call then does nothing), or end
 * the offender.  Corruption: the heap answers NULL from now on.  The text is static. */
void sh_kernel_panic(enum sh_panic kind, const char *report);

/* The number of the running CPU, 0 … cpus − 1; calls of a CPU with a higher one are misuse.  Any context.
 * SH_CPU_NUMBER in the configuration header may give an inline expression instead, SH_CPU_POINTER one for
 * sh_cpu_area() of this CPU, which is believed. */
unsigned sh_kernel_cpu(void);

#ifdef __cplusplus
}
#endif

#endif
