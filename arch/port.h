/*
 * The inside of a port: what its files ask of each other.  Nothing above arch/ includes this.
 *
 *   windows.c     who owns an address: not ours, free, reserved; words for refusals
 *   pagetable.c   what is behind it, once it is reserved (host/host.c does this over Linux)
 *   tables.c      the way to an entry; the tables themselves
 */
#ifndef SPANHEAP_ARCH_PORT_H
#define SPANHEAP_ARCH_PORT_H

#include "arch/arch.h"
#include "cpu.h"

/* How the files of a port call each other, if not as everybody does. */
#ifndef ARCH_CALL
#define ARCH_CALL
#endif

/*
 * windows.c: words
 */

/* A line of text under construction, for refusals and reports: too much is cut, never overrun. */
enum { ARCH_TEXT_MAX = 160 };
struct arch_text {
    unsigned length;
    char text[ARCH_TEXT_MAX];
};

/* The words go to the end of the line; the first % among them is `first` in hexadecimal, any other
 * is `second`. */
ARCH_CALL void arch_text_add(struct arch_text *line, const char *words, uintptr_t first,
                             uintptr_t second);

/* The page tables or the windows are not as the heap left them: the end.  `words` as above. */
ARCH_CALL void arch_corrupt(const char *words, uintptr_t first, uintptr_t second);

/* Why a range cannot be a window: a byte that is minus the error, then words in which % is an
 * address.  NULL = it can. */
#define ARCH_REFUSE_INVALID "\1"
#define ARCH_REFUSE_NOMEM "\2"
#define ARCH_REFUSE_OVERLAP "\3"
#define ARCH_REFUSE_RANGE "\4"
#define ARCH_REFUSE_FULL "\5"
#define ARCH_REFUSE_PAGING "\11"

_Static_assert(SH_E_INVALID == -1 && SH_E_NOMEM == -2 && SH_E_OVERLAP == -3 && SH_E_RANGE == -4
               && SH_E_FULL == -5 && SH_E_PAGING == -011, "refusals begin with their error");

/*
 * windows.c: owners
 */

enum arch_owner { ARCH_NOT_OURS, ARCH_FREE, ARCH_RESERVED };

/* Any address, any context, no lock. */
ARCH_CALL enum arch_owner arch_window_owner(uintptr_t address);

/* Calls `work` for each run of donated addresses, free or reserved, in ascending order; the sum of
 * what it returns. */
typedef ARCH_CALL size_t arch_range_fn(uintptr_t base, size_t size);
ARCH_CALL size_t arch_window_each(arch_range_fn *work);

unsigned arch_window_count(void);

/* All windows are None again.  Nothing else runs in the heap. */
void arch_window_forget_all(void);

/*
 * The owner of the page tables: pagetable.c, or host/host.c
 */

/* May this range become a window?  NULL, or why not: PAGING, OVERLAP, and where (`at`).  No lock is
 * held. */
ARCH_CALL const char *arch_pages_check(uintptr_t base, size_t size, uintptr_t *at);

/* Any state → Reserved with nothing behind it: frames are freed after the flush, tables stay.
 * Returns 0. */
ARCH_CALL size_t arch_pages_drop(uintptr_t base, size_t size);

/* The log hook, if there is one. */
ARCH_CALL void arch_log(const char *text);

/*
 * pagetable.c, for tables.c
 */

/* What sh_init gave. */
extern struct sh_hooks arch_hooks;

/* Every CPU forgets the range.  Returns 0. */
ARCH_CALL size_t arch_pages_flush(uintptr_t base, size_t size);

/* A line of words, as arch_text_add makes it, to the log: its text lies in no caller's frame. */
ARCH_CALL void arch_say(const char *words, uintptr_t first, uintptr_t second);

/*
 * tables.c
 */

/* An entry on the way to an address, and what it said when it was last read.  Only `at` is set by
 * hand. */
struct arch_entry {
    uintptr_t at;
    sh_paddr slot;
    uint64_t says;
};

/* How far down the tables: to the entry whose table, or page, translates so much, log2. */
enum { ARCH_TO_DIRECTORY = 22, ARCH_TO_LEAF = 12 };

/* Reads the entry for entry->at: a directory's, or a leaf.  The enum pte_kind of the last directory
 * entry that was met: PTE_TABLE if it got there. */
ARCH_CALL unsigned arch_entry_find(struct arch_entry *entry, unsigned to);

/* arch_entry_find to the leaf for `at`; where it lies in the table of the leaf that was found last,
 * that is not looked for again.  Where none was, `at` is in another: ~at to begin with. */
ARCH_CALL unsigned arch_leaf_next(struct arch_entry *entry, uintptr_t at);

/* From here to the end of what a directory entry translates. */
ARCH_CALL size_t arch_table_rest(uintptr_t at);

/* Reads it again. */
ARCH_CALL void arch_entry_read(struct arch_entry *entry);

/* Does it still say what it said?  Then it says `desired` now, in the eyes of the walker too once
 * arch_published is called.  If not, it is read. */
ARCH_CALL bool arch_entry_swap(struct arch_entry *entry, uint64_t desired);

/* Whatever it says. */
ARCH_CALL void arch_entry_write(struct arch_entry *entry, uint64_t desired);

/* A frame that entries can name and that is no table of ours, or false.  The log has the reason. */
ARCH_CALL bool arch_frame_take(size_t size, sh_paddr *frame);

/* Zeroes 4 KiB.  `table`: also in the eyes of the walker. */
ARCH_CALL void arch_frame_zero(sh_paddr frame, bool table);

/* All tables of the range are there, known to every directory.  false = no frames, or an entry in
 * it can be neither used nor installed; nothing has changed. */
ARCH_CALL bool arch_tables_install(uintptr_t base, size_t size);

/* As arch_window_each, for what our directory entries translate. */
ARCH_CALL size_t arch_tables_each(arch_range_fn *work);

/* Does a table of ours lie in this frame? */
ARCH_CALL bool arch_tables_in(sh_paddr frame, size_t size);

/* Is the directory entry for this address ours? */
ARCH_CALL bool arch_tables_own(uintptr_t at);

/* Takes all tables out, flushes the windows, frees the frames.  Nothing else runs in the heap. */
void arch_tables_remove(void);

/* As in struct sh_port. */
size_t arch_tables_bytes(void);
size_t arch_tables_cost(uintptr_t base, size_t size);

#endif
