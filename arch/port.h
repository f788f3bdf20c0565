/*
 * The inside of a port: what windows.c and the owner of the page tables (pagetable.c, or
 * host/host.c) ask of each other.  Nothing above arch/ includes this.
 *
 *   windows.c     who owns an address: not ours, free, reserved
 *   pagetable.c   what is behind it, once it is reserved
 */
#ifndef SPANHEAP_ARCH_PORT_H
#define SPANHEAP_ARCH_PORT_H

#include "arch/arch.h"

/* A line of text under construction, for refusals and reports: too much is cut, never overrun. */
enum { ARCH_TEXT_MAX = 160 };
struct arch_text {
    unsigned length;
    char text[ARCH_TEXT_MAX];
};

static inline void arch_text_add(struct arch_text *line, const char *words)
{
    while (*words != '\0' && line->length < ARCH_TEXT_MAX - 1)
        line->text[line->length++] = *words++;
    line->text[line->length] = '\0';
}

/* At least the eight digits of a 32-bit address. */
static inline void arch_text_hex(struct arch_text *line, uintptr_t value)
{
    unsigned digits = 8;

    while (digits < 2 * sizeof value && value >> 4 * digits != 0)
        digits++;
    arch_text_add(line, "0x");
    while (digits-- > 0) {
        char digit[2] = { "0123456789abcdef"[value >> 4 * digits & 15], '\0' };

        arch_text_add(line, digit);
    }
}

/* "words 0x…" */
static inline void arch_text_at(struct arch_text *line, const char *words, uintptr_t address)
{
    arch_text_add(line, words);
    arch_text_add(line, " ");
    arch_text_hex(line, address);
}

/*
 * windows.c
 */

enum arch_owner { ARCH_NOT_OURS, ARCH_FREE, ARCH_RESERVED };

/* Any address, any context, no lock. */
enum arch_owner arch_window_owner(uintptr_t address);

/* The lowest run of donated addresses, free or reserved, that ends above `from`: starts at
 * `from` if that is inside it.  false = none. */
bool arch_window_next(uintptr_t from, uintptr_t *base, size_t *size);

unsigned arch_window_count(void);

/* All windows are None again.  Nothing else runs in the heap. */
void arch_window_forget_all(void);

/*
 * The owner of the page tables
 */

/* May this range become a window?  SH_OK, SH_E_PAGING, SH_E_OVERLAP, and why not.  No lock is
 * held. */
int arch_pages_check(uintptr_t base, size_t size, struct arch_text *why);

/* Any state → Reserved with nothing behind it: frames are freed after the flush, tables stay. */
void arch_pages_drop(uintptr_t base, size_t size);

/* The log hook, if there is one. */
void arch_log(const char *text);

#endif
