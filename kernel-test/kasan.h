/*
 * Address checking for a kernel over Spanheap: every load and store that gcc's instrumentation announces
 * is held against what the heap knows of its objects.  No shadow memory, no red zone of its own: an
 * access to heap memory must lie inside one live object, and one that does not is reported before it
 * happens.
 *
 * To use it, compile the kernel's own files, not the library's and not kasan.c, with KASAN_FLAGS of the
 * Makefile, link kasan.o, and supply kasan_report.  The instrumentation knows loads, stores and copies
 * of structures; the calls of memset and its kin are turned by -Dmemset=kasan_memset, … into calls of
 * the four functions below, which look at both ranges first and leave the work to the kernel's own.
 *
 * Any context may run instrumented code, also before sh_init and inside the heap's hooks: the checks use
 * only queries, which need no lock.
 *
 * Not seen: an access that lands wholly inside another live object; heap memory that has no frame (the
 * MMU sees that); assembly; the library's own accesses.
 */
#ifndef KERNEL_TEST_KASAN_H
#define KERNEL_TEST_KASAN_H

#include "mm/mm.h"

/* Heap memory lies in [KASAN_FIRST, KASAN_LAST], whatever windows are added: what lies outside is let through at
 * once.  A kernel that knows better than this says so. */
#ifndef KASAN_FIRST
#define KASAN_FIRST 0
#define KASAN_LAST UINTPTR_MAX
#endif

struct kasan_access {
    uintptr_t address;
    size_t size;
    bool write;
    uintptr_t pc; /* where the check was called from: the instruction before does it */
};

/* The kernel's: an access to heap memory that is in no live object is about to happen, and will if this
 * returns.  sh_explain(access->address) tells the rest.  Accesses made while it runs are not checked; it
 * returns, or ends the kernel, but does not jump away.  Any context; may be instrumented. */
void kasan_report(const struct kasan_access *access);

/* Since boot: accesses that began inside a live object, and reports.  Volatile, because the compiler
 * believes that a check changes nothing. */
extern volatile unsigned long kasan_checked, kasan_reported;

/* One check of a range, for a function without instrumentation (no_sanitize_address) that goes over all of it. */
void kasan_check(const void *p, size_t size, bool write);

/* As their namesakes of the C library. */
void *kasan_memset(void *to, int value, size_t size);
void *kasan_memcpy(void *restrict to, const void *restrict from, size_t size);
void *kasan_memmove(void *to, const void *from, size_t size);
int kasan_memcmp(const void *a, const void *b, size_t size);

#endif
