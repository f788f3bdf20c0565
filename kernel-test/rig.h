/*
 * The rig: the machine under the heap, as tests see it.  rig_host.c is a scripted port (its own
 * sh_arch_*, a shadow state a page, every illegal transition rejected) over mmap; rig_kernel.c is the
 * real port in the booted kernel, with hooks that count and fail.
 */
#ifndef RIG_H
#define RIG_H

#include "mm/mm.h"

/* Shuts the heap down if it runs, checks that every frame, table and window came back, forgets scripts,
 * probes and failures.  Called before every test. */
void rig_reset(void);

/* Address space that tests may donate or leave alone: [base, base + size), aligned to 64 MiB, at least
 * 256 MiB on 32-bit machines. */
uintptr_t rig_area(size_t *size);

/* Donates a window: sh_add_window on the machine, the script's list on the host; the same rules. */
int rig_window(uintptr_t base, size_t size);

/* A heap that is ready to use: reset, one window of `size` bytes at the area's base (0 = 64 MiB), init with
 * `config` (NULL = default).  Fails the test if that fails. */
void rig_start(size_t size, const struct sh_config *config);

/* Bytes of frames out, data and tables: the rig's own ledger, to compare with sh_stats. */
size_t rig_frames_held(void);

/* Frames that may be out at once, in bytes; 0 = as many as the machine has. */
void rig_frame_budget(size_t bytes);

/* Fails the nth fallible hook call from now (1 = the next), once or from then on; 0 = none.  Fallible
 * are: on the host sh_arch_reserve, map, commit; on the machine sh_kernel_frame_alloc. */
void rig_fail(unsigned long nth, bool from_then_on);

/* Fallible hook calls since rig_fail or rig_reset, and how many of them were made to fail. */
unsigned long rig_calls(void);
unsigned long rig_failed(void);

/* `probe` runs inside every hook call (not nested); NULL = none. */
void rig_probe(void (*probe)(void));

/* The next sh_kernel_panic is expected: runs fn(arg) and returns true if it panicked with `kind` and the
 * report contains `text` (NULL = any).  The hook returns to the library for misuse; for corruption it
 * jumps out of the library. */
bool rig_panics(enum sh_panic kind, const char *text, void (*fn)(void *), void *arg);

/* In rig_panics, until the next reset, the hook jumps out of the library for misuse too. */
void rig_panic_leaves(void);

/* Likewise, the hook returns to the library for corruption too. */
void rig_panic_returns(void);

/* The report of the last panic, and how many there were since rig_panics began. */
const char *rig_report(void);
unsigned rig_panic_count(void);

/* Compares every page of every window with what the heap believes: on the host the shadow state, on the
 * machine an independent walk of the page tables (state, descriptor kind, writable and executable,
 * entries outside the windows).  Logs each fault, returns their number. */
unsigned rig_audit(void);

/* The stack of the thread that runs the tests: [low, high). */
void rig_stack(const void **low, const void **high);

/* The context that the `context` hook reports, SH_THREAD after a reset. */
void rig_context(enum sh_context context);

/* The CPU that the calls come from, 0 after a reset.  Only on the host. */
void rig_cpu(unsigned cpu);

/* The hooks table of the rig (log and context at least), for a test's own sh_config. */
const struct sh_hooks *rig_hooks(void);

/* The same with scan_stacks, stop_world and resume_world: what the stack refers to is kept. */
const struct sh_hooks *rig_stack_hooks(void);

/* The same with tlb_shootdown, for a heap of many CPUs.  Only booted. */
const struct sh_hooks *rig_cpu_hooks(void);

/* Text logged through the log hook since rig_log_clear, up to 16 KiB, 0-terminated. */
const char *rig_log(void);
void rig_log_clear(void);

/* Counts a fault against the running test: its next rig_reset fails.  Only booted; any context. */
void rig_blame(void);

/* Instructions that fn(arg) takes, in a copy of the program: nothing has happened here.  0 = they cannot be
 * counted. */
unsigned long rig_instructions(void (*fn)(void *), void *arg);

/* True where the heap stands on real page tables. */
bool rig_is_machine(void);

#endif
