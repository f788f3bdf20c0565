/*
 * Words for people: formatted lines through the log hook, and the two panics.
 *
 * Formats: %s text, %x address or bits in hexadecimal (0x…), %z size_t in decimal.
 */
#ifndef MM_REPORT_H
#define MM_REPORT_H

#include "mm/config.h"

#include <stdarg.h>

/* Kept by sh_init. */
extern struct sh_hooks mm_hooks;

/* Formats into at most `size` bytes with the terminator; the length written. */
size_t mm_format(char *text, size_t size, const char *format, ...);
size_t mm_format_list(char *text, size_t size, const char *format, va_list arguments);

/* One line to the log hook, if there is one. */
void mm_log(const char *format, ...);

/* For sh_verify.  Logs "verify: what: 0x…", the address or number where it is wrong; returns 1. */
MM_CALL int mm_fault_found(const char *what, uintptr_t at);
/* Logs "verify: what: N, but M counted" and returns 1 if they differ, else 0. */
MM_CALL int mm_verify_equal(const char *what, size_t found, size_t counted);

/* A caller's mistake: reported with no lock held and nothing changed.  Returns if the kernel's hook
 * does. */
void mm_misuse(const char *format, ...);

/* The heap's own state is wrong: from here on it is dead (mm_dead). */
void mm_corruption(const char *format, ...);

extern bool mm_died;
static inline bool mm_dead(void)
{
    return MM_UNLIKELY(__atomic_load_n(&mm_died, __ATOMIC_RELAXED));
}
void mm_report_reset(void);

#define MM_ASSERT(condition) \
    do { \
        if (MM_DEBUG && !(condition)) { \
            mm_corruption("assertion failed: %s (%s:%z)", #condition, __FILE__, (size_t)__LINE__); \
        } \
    } while (0)

#endif
