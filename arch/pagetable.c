/*
 * Page tables as the memory of the heap: the pages, over a port's pte.h.
 *
 * Owns the leaf entries of reserved addresses.  Called by mm through sh_arch_* (arch.h) and by
 * windows.c (port.h); the tables that the entries lie in are the business of tables.c.  Has no
 * lock: a leaf entry belongs to whoever works on its address; only commits may meet, and they
 * settle it by compare-and-swap.
 *
 * 1. Leaf entries
 *
 *      nothing ──map──► prepared ──commit──► pending ──► present ──decommit──► pending ──► prepared
 *                                             └───────── holds the frame ────────┘
 *
 *    Fault ends in poison, release in nothing, otherwise they are decommits.
 *
 *    The frame is in the entry from before it is zeroed until after it is flushed, so taking a
 *    commit back needs neither memory nor a flush.  A commit claims its pages in ascending order;
 *    one that meets a pending page waits until it is present (done) or prepared (the other ran out
 *    of frames).  Ascending order is what makes waiting safe: nobody waits for a page below one
 *    that it holds.  What is pending after that is its own.
 *
 *    Where an arch page is several equal entries (PTE_COPIES), the first one, the leader, decides.
 *    The others are written before it on the way up and after it on the way down.
 *
 * 2. Tables, 3. Reaching a table: see tables.c
 *
 *    Two pages with one frame are found by verify(), exactly, in passes over the entries: each
 *    pass marks PASS_FRAMES frames, a byte each, and finds where the next begins.  So it needs no
 *    memory for all frames, and takes as many passes as the heap has frames in different stretches
 *    of that length.  To ask at every commit would cost a walk over all pages each time.
 *
 * 4. Order
 *
 *    arch_table_written, arch_published and arch_flush of cpu.h.  Not present → present needs no
 *    flush. A frame goes back only after the flush on every CPU.
 */
#include "arch/port.h"
#include "cpu.h"
#include "pte.h"

enum { PASS_FRAMES = 1024 };
enum { NEEDS_SHOOTDOWN = !ARCH_FLUSH_IS_GLOBAL && SH_MAX_CPUS > 1 };

struct sh_hooks arch_hooks;
static unsigned cpu_count;

/* Nothing else runs in the heap meanwhile. */
static struct {
    sh_paddr first, next; /* frames of this pass and of the next one, ~0 = there is none */
    bool seen[PASS_FRAMES];
} pass;

ARCH_CALL void arch_log(const char *text)
{
    if (arch_hooks.log != NULL)
        arch_hooks.log(text);
}

ARCH_CALL void arch_say(const char *words, uintptr_t first, uintptr_t second)
{
    struct arch_text line;

    line.length = 0;
    arch_text_add(&line, words, first, second);
    arch_log(line.text);
}

/* An entry that only the heap writes is not what the heap wrote. */
static void entry_is_foreign(uintptr_t at)
{
    arch_corrupt("foreign page table entry at %", at, 0);
}

/*
 * 1. Leaf entries
 */

/* What each_page does to a page.  HIDE and END have a tag added: what is not present ends so. */
enum work {
    PREPARE,       /* nothing → prepared */
    CLAIM,         /* prepared → pending, with a frame; stops where there is none */
    FILL,          /* pending → present, zeroed first */
    COUNT_TWICE,   /* present ones whose frame another page, or a table, has too */
    COUNT_FOREIGN, /* entries, each of the copies, whose address nobody reserved */
    HIDE = 8,      /* present → pending, the frame kept */
    END = HIDE + 4
};
_Static_assert(HIDE > COUNT_FOREIGN && HIDE % 4 == 0, "a tag is two bits");

/* All entries of a page: the copies before the leader if they become present, and after it if they
 * cease to be. */
static void write_page(struct arch_entry *leader, uint64_t says)
{
    if (PTE_COPIES == 1 || !pte_is_present(says))
        arch_entry_write(leader, says);
    for (size_t copy = 1; copy < PTE_COPIES; copy++) {
        struct arch_entry other = *leader;

        other.slot += copy << pte_entry_shift();
        arch_entry_write(&other, says);
    }
    if (PTE_COPIES > 1 && pte_is_present(says))
        arch_entry_write(leader, says);
}

/* Gets a frame into the entry, or finds the page present.  false = no frame. */
static bool claim_page(struct arch_entry *entry)
{
    sh_paddr frame;

    while (!pte_is_present(entry->says)) {
        if (pte_tag(entry->says) == PTE_TAG_PENDING) {
            arch_pause();
            arch_entry_read(entry);
            continue;
        }
        if (pte_tag(entry->says) != PTE_TAG_PREPARED) {
            entry_is_foreign(entry->at);
            return false;
        }
        if (!arch_frame_take(SH_ARCH_PAGE_SIZE, &frame))
            return false;
        if (arch_entry_swap(entry, pte_encode_absent(PTE_TAG_PENDING, frame)))
            break;
        sh_kernel_frame_free(frame, SH_ARCH_PAGE_SIZE);
    }
    return true;
}

/* The zeros first, in pieces, so that interrupts are never off for long. */
static void fill_page(struct arch_entry *entry)
{
    sh_paddr frame = pte_frame(entry->says);

    for (size_t part = 0; part < SH_ARCH_PAGE_SIZE; part += 4096)
        arch_frame_zero(frame + part, false);
    arch_published();
    write_page(entry, pte_encode(frame));
}

/* Gives the frame of a pending page back and leaves `tag`. */
static void end_page(struct arch_entry *entry, enum pte_tag tag)
{
    uint64_t was = entry->says;

    write_page(entry, pte_encode_absent(tag, 0));
    if (pte_tag(was) == PTE_TAG_PENDING)
        sh_kernel_frame_free(pte_frame(was), SH_ARCH_PAGE_SIZE);
}

/* Has the frame of this page been met in this pass, or is it a table? */
static bool is_twice(const struct arch_entry *entry)
{
    sh_paddr frame = pte_frame(entry->says);
    size_t index;

    if (frame < pass.first)
        return false;
    if (frame - pass.first >= (sh_paddr)PASS_FRAMES << SH_ARCH_PAGE_SHIFT) {
        pass.next = frame < pass.next ? frame : pass.next;
        return false;
    }
    index = (size_t)(frame - pass.first) >> SH_ARCH_PAGE_SHIFT;
    if (!pass.seen[index] && !arch_tables_in(frame, SH_ARCH_PAGE_SIZE)) {
        pass.seen[index] = true;
        return false;
    }
    arch_say("verify: frame % of the page at % has another use too", (uintptr_t)frame, entry->at);
    return true;
}

/* Does its work on each page of the range in ascending order; addresses without a table are left
 * out.  The number of pages that it was to be done on and was. */
static size_t each_page(uintptr_t base, size_t size, unsigned work)
{
    size_t count = 0, step;
    struct arch_entry entry;

    entry.at = ~base;
    for (size_t done = 0; done < size; done += step) {
        bool present;

        if (arch_leaf_next(&entry, base + done) != PTE_TABLE) {
            if (work == CLAIM)
                entry_is_foreign(entry.at);
            if (work == COUNT_FOREIGN && arch_tables_own(entry.at))
                count++;
            step = arch_table_rest(entry.at);
            continue;
        }
        step = work == COUNT_FOREIGN ? 4096 : SH_ARCH_PAGE_SIZE;
        present = pte_is_present(entry.says);
        switch (work) {
        case PREPARE:
            if (entry.says != 0)
                continue;
            write_page(&entry, pte_encode_absent(PTE_TAG_PREPARED, 0));
            break;
        case CLAIM:
            if (!claim_page(&entry))
                return count;
            break;
        case FILL:
            if (present)
                continue;
            fill_page(&entry);
            break;
        case COUNT_TWICE:
            if (!present || !is_twice(&entry))
                continue;
            break;
        case COUNT_FOREIGN:
            if (entry.says == 0 || arch_window_owner(entry.at) == ARCH_RESERVED)
                continue;
            break;
        default:
            if (!present) {
                end_page(&entry, (enum pte_tag)(work % 4));
                continue;
            }
            if (work < END)
                write_page(&entry, pte_encode_absent(PTE_TAG_PENDING, pte_frame(entry.says)));
            break;
        }
        count++;
    }
    return count;
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    if (!arch_tables_install(base, size))
        return false;
    if (each_page(base, size, PREPARE) != size >> SH_ARCH_PAGE_SHIFT) {
        entry_is_foreign(base);
        return false;
    }
    arch_published();
    return true;
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    size_t claimed = each_page(base, size, CLAIM) << SH_ARCH_PAGE_SHIFT;

    each_page(base, claimed, claimed < size ? END + PTE_TAG_PREPARED : FILL);
    arch_published();
    return claimed == size;
}

ARCH_CALL size_t arch_pages_flush(uintptr_t base, size_t size)
{
    arch_published();
    arch_flush(base, size);
    if (NEEDS_SHOOTDOWN && cpu_count > 1 && arch_hooks.tlb_shootdown != NULL)
        arch_hooks.tlb_shootdown(base, size);
    return 0;
}

/* Whatever is behind the range goes.  No CPU remembers what is not present: that ends at once, and
 * what was present after one flush. */
static size_t take_down(uintptr_t base, size_t size, enum pte_tag tag)
{
    if (each_page(base, size, HIDE + tag) != 0) {
        arch_pages_flush(base, size);
        each_page(base, size, END + tag);
    }
    arch_published();
    return 0;
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    take_down(base, size, PTE_TAG_PREPARED);
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    take_down(base, size, PTE_TAG_POISON);
}

ARCH_CALL size_t arch_pages_drop(uintptr_t base, size_t size)
{
    return take_down(base, size, PTE_TAG_NONE);
}

/* SH_RESERVED: there is no entry to look at. */
static enum sh_state look(uintptr_t address, struct arch_entry *entry)
{
    static const unsigned char states[] = { SH_RESERVED, SH_PREPARED, SH_PREPARED, SH_FAULT };

    entry->at = address & ~(uintptr_t)(SH_ARCH_PAGE_SIZE - 1);
    if (arch_window_owner(address) != ARCH_RESERVED)
        return SH_NONE;
    if (arch_entry_find(entry, ARCH_TO_LEAF) != PTE_TABLE)
        return SH_RESERVED;
    return pte_is_present(entry->says) ? SH_READY : (enum sh_state)states[pte_tag(entry->says)];
}

enum sh_state sh_arch_state(uintptr_t address)
{
    struct arch_entry entry;

    return look(address, &entry);
}

static bool physical(uintptr_t address, sh_paddr *out)
{
    struct arch_entry entry;

    if (look(address, &entry) != SH_READY)
        return false;
    *out = pte_frame(entry.says) + (address & (SH_ARCH_PAGE_SIZE - 1));
    return true;
}

/*
 * Windows
 */

/* Every entry counts, not every arch page. */
ARCH_CALL const char *arch_pages_check(uintptr_t base, size_t size, uintptr_t *at)
{
    const char *refusal = pte_mode_refusal();
    struct arch_entry entry;
    size_t step;

    entry.at = ~base;
    for (size_t done = 0; refusal == NULL && done < size; done += step) {
        *at = base + done;
        step = 4096;
        switch (arch_leaf_next(&entry, *at)) {
        case PTE_TABLE:
            if (pte_is_present(entry.says))
                refusal = ARCH_REFUSE_OVERLAP "is mapped at %";
            else if (entry.says != 0)
                refusal = ARCH_REFUSE_OVERLAP "has a table entry not 0 at %";
            break;
        case PTE_MISSING:
            step = arch_table_rest(*at);
            break;
        case PTE_LARGE:
            refusal = ARCH_REFUSE_OVERLAP "has a large page or section at %";
            break;
        case PTE_LOCKED:
            refusal = ARCH_REFUSE_PAGING "has a page table without write access at %";
            break;
        default:
            refusal = ARCH_REFUSE_PAGING "has no page directory (PDPT, TTBCR.PD) at %";
            break;
        }
    }
    return refusal;
}

/*
 * The rest of the contract: struct sh_port
 */

static void keep_hooks(const struct sh_hooks *hooks)
{
    if (hooks != NULL)
        arch_hooks = *hooks;
    else
        __builtin_memset(&arch_hooks, 0, sizeof arch_hooks);
}

static int attach(const struct sh_hooks *hooks, unsigned cpus)
{
    if (pte_mode_refusal() != NULL)
        return SH_E_PAGING;
    if (NEEDS_SHOOTDOWN && cpus > 1 && (hooks == NULL || hooks->tlb_shootdown == NULL))
        return SH_E_HOOK;
    keep_hooks(hooks);
    cpu_count = cpus;
    return SH_OK;
}

/* Entries of our tables, or in our windows, that the heap did not put there; a table that is
 * gone. */
ARCH_CALL static size_t count_foreign(uintptr_t base, size_t size)
{
    return each_page(base, size, COUNT_FOREIGN);
}

ARCH_CALL static size_t count_twice(uintptr_t base, size_t size)
{
    return each_page(base, size, COUNT_TWICE);
}

static size_t verify(void)
{
    size_t faults = 0;

    pass.next = 0;
    do {
        pass.first = pass.next;
        pass.next = ~(sh_paddr)0;
        __builtin_memset(pass.seen, 0, sizeof pass.seen);
        faults += arch_window_each(count_twice);
    } while (pass.next != ~(sh_paddr)0);
    return faults;
}

/* Data frames go back first, through entries that still stand; then the tables, after a second
 * flush. */
static int detach(void)
{
    if ((arch_tables_each(count_foreign) | arch_window_each(count_foreign)) != 0)
        return SH_E_BUSY;
    arch_window_each(arch_pages_drop);
    arch_tables_remove();
    arch_window_forget_all();
    keep_hooks(NULL);
    return SH_OK;
}

const struct sh_port sh_arch_port = {
    .attach = attach,
    .detach = detach,
    .physical = physical,
    .table_bytes = arch_tables_bytes,
    .table_cost = arch_tables_cost,
    .windows = arch_window_count,
    .verify = verify,
};
