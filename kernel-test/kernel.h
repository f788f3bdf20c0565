/*
 * The tiny kernel: its machine-independent face.
 *
 * boot/<machine>/ starts the machine, builds its page tables and calls kmain; everything below is
 * either supplied by boot/<machine>/ (console, traps, timer, paging, jumps) or by the k_*.c files
 * beside this header, which only need what is declared here.  A port author takes boot/<machine>/,
 * k_frames.c, k_hooks.c and, for many CPUs, k_cpus.c as a starting point.
 *
 * The address space, on every machine:
 *
 *     0x00000000 … 0xBFFFFFFF   unmapped
 *     0xC0000000 … 0xCFFFFFFF   direct map of the first 256 MiB of RAM; the image lies in it, at
 *                               0xC0100000, with pages of its own permissions
 *     0xD0000000 … 0xEFFFFFFF   unmapped: the area for windows
 *     0xF0000000 … 0xF1FFFFFF   the kernel's own: recursive tables, scratch pages, stacks of the other
 *                               CPUs, devices
 *     0xF2000000 … 0xFFFFFFFF   unmapped
 *
 * kmain runs on CPU 0, with interrupts on; the other CPUs wait for work (k_cpus.h).  A directory is
 * loaded by one CPU for itself; faults, interrupts and the timer are those of the CPU that calls.
 */
#ifndef KERNEL_TEST_KERNEL_H
#define KERNEL_TEST_KERNEL_H

#include "arch/arch.h"

#define K_DIRECT_BASE ((uintptr_t)0xC0000000u)
#define K_DIRECT_SIZE ((size_t)0x10000000u)
#define K_AREA_BASE ((uintptr_t)0xD0000000u)
#define K_AREA_SIZE ((size_t)0x20000000u)
#define K_PRIVATE_BASE ((uintptr_t)0xF0000000u)
#define K_PRIVATE_SIZE ((size_t)0x02000000u)

#define K_MAX_MODULES 8
#define K_MAX_DIRECTORIES 2
#define K_SCRATCH_COUNT 16u /* scratch addresses, used in turn so that a stale one faults */

/* Console and end. */

void k_putc(char c);
/* Waits for a character. */
char k_getc(void);
/* Ends QEMU: status 33 = pass, 35 = fail. */
_Noreturn void k_exit(bool pass);
/* Prints why and ends with fail.  For the kernel's own broken promises. */
_Noreturn void k_panic(const char *why, uintptr_t value);
/* The stack that kmain runs on: [bottom, top), an unmapped page below. */
extern char k_stack_bottom[], k_stack_top[];
/* "x86 2-level", "x86 pae", "arm", … for the last line of a run. */
const char *k_machine(void);

/* The command line: words, some of them name=value. */

const char *k_command_line(void);
/* The value of the last word name=value, or `otherwise`.  Stays as it is. */
const char *k_option(const char *name, const char *otherwise);
bool k_option_is(const char *name, const char *value);

/* Files that the boot loader brought along. */

struct k_module {
    const char *name; /* without its directories */
    const uint8_t *data;
    size_t size;
};

const struct k_module *k_modules(unsigned *count);

/* Frames.  4 KiB or 64 KiB, naturally aligned.  Any context with interrupts off or on. */

bool k_frame_alloc(size_t size, sh_paddr *out);
/* A frame that is not out, or not of this size, ends the run. */
void k_frame_free(sh_paddr frame, size_t size);
size_t k_frames_out(void);   /* bytes */
size_t k_frames_total(void); /* bytes */
/* On: frames are handed out filled with 0xA5, freed ones are filled with 0xDD and checked for it
 * when they are handed out again, so that a write through a forgotten mapping is found.  Off at
 * boot. */
void k_frames_check(bool on);

/* Paging. */

extern const uintptr_t k_ram_base; /* physical address behind K_DIRECT_BASE */
/* The direct map: the kernel's own way to physical memory. */
void *k_phys(sh_paddr address);
/* What sh_kernel_phys_to_virt gives: the direct map, or with phys=scratch a scratch page. */
void *k_phys_window(sh_paddr address);
/* While `on`: the direct map in any case. */
void k_phys_direct(bool on);
/* The table that translates `address` while directory `number` is loaded, and now. */
sh_paddr k_directory_root(unsigned number, uintptr_t address);
sh_paddr k_current_root(uintptr_t address);
unsigned k_directories(void);
void k_directory_switch(unsigned number);
/* Copies the entries for the 4 MiB around `base` from the loaded directory to the others. */
void k_directory_copy(uintptr_t base);
/* While only this CPU knows the address: maps one page (or with `large` a large page or section) into every directory, supervisor,
 * writable, never executable: for tests that need the kernel in a window's way.  A missing leaf
 * table is taken from the frames, and given back by the k_unmap that leaves it empty.  false =
 * no frame, or a large page is wanted where a table is. */
bool k_map(uintptr_t address, sh_paddr frame, bool large);
void k_unmap(uintptr_t address);

/* Traps and interrupts. */

/* Called first on a page fault; true = retry the access. */
extern bool (*volatile k_fault_handler)(uintptr_t address, bool write, bool present);
/* Called last, after the registers were printed, before the run ends as failed. */
extern void (*k_crash_hook)(uintptr_t address);
/* Runs fn(arg): true if it faulted (any exception), and then it was left at that point. */
bool k_faults(void (*fn)(void *), void *arg);
/* Switches interrupts; returns whether they were on. */
bool k_interrupts(bool on);
bool k_interrupts_are_on(void);
bool k_in_interrupt(void);
/* After a jump out of an interrupt handler: interrupts on, k_in_interrupt false, timer stopped. */
void k_interrupt_reset(void);
/* Calls handler in an interrupt, about `period` nanoseconds after the last call returned; under
 * -icount shift=0 a nanosecond is an instruction.  May be called again, also by the handler, to
 * vary the period.  Below about 200 the interrupted code may not get on. */
void k_timer_start(unsigned period, void (*handler)(void));
void k_timer_stop(void);
/* A cycle counter; under -icount shift=0 it counts instructions exactly. */
uint32_t k_cycles(void);
/* A hint in a loop that waits: without it, -icount burns the rest of the time slice. */
void k_pause(void);

/* Jumps. */

struct k_jump {
    uintptr_t registers[12];
};

int k_setjmp(struct k_jump *jump) __attribute__((returns_twice));
_Noreturn void k_longjmp(struct k_jump *jump, int value);

/*
 * Between boot/<machine>/ and the k_*.c files.
 */

/* Called by boot/ before kmain. */
void k_command_line_set(const char *text);
void k_module_add(const char *name, const void *data, size_t size);
void k_memory_add(sh_paddr base, sh_paddr size);
void k_memory_reserve(sh_paddr base, sh_paddr size);
/* For k_map: a zeroed leaf table; is it one of those, and empty? then it is forgotten. */
bool k_table_new(sh_paddr *out);
bool k_table_done(sh_paddr table);
/* Called by boot/ from a page fault (page_fault = true) or any other exception.  Returns true if
 * the access is to be retried; does not return if k_faults expects it; false = print registers,
 * crash. */
bool k_trap(bool page_fault, uintptr_t address, bool write, bool present);
_Noreturn void k_crash(uintptr_t address);
/* Called by boot/ from the timer interrupt, acknowledged, interrupts off. */
void k_timer_interrupt(void);
/* Supplied by boot/: one interrupt after `period` nanoseconds; none. */
void k_timer_arm(unsigned period);
void k_timer_disarm(void);

/* What the kernel does: main.c.  Its other programs: 0 = all went well. */
_Noreturn void kmain(void);
int replay_main(void);
int bench_main(void);
int demo_main(void);
int soak_main(void);
int lisp_main(void);
int lisp_show(void); /* one program, after the replay */

#endif
