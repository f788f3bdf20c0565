/*
 * Page tables as the memory of the heap: the one walker, over a port's pte.h.
 *
 * Owns the leaf entries of reserved addresses and the tables that it installs.  Called by mm
 * through sh_arch_* (arch.h) and by windows.c (port.h).  Has no lock:
 *
 *   - a leaf entry belongs to whoever works on its address; only commits may meet, and they settle
 *     it by compare-and-swap (1);
 *   - a directory entry is installed by compare-and-swap, the loser frees its frame (2).
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
 *    that it holds.
 *
 *    Where an arch page is several equal entries (PTE_COPIES), the first one, the leader, decides.
 *    The others are written before it on the way up and after it on the way down.
 *
 * 2. Tables
 *
 *    An installed table is never freed or replaced until detach, because other directories hold
 *    copies of the entry: so the address of a leaf table, once found, stays good.  Three bitmaps
 *    say what happened:
 *
 *      own      this directory entry is ours                            (set after the swap)
 *      touched  somebody began to install tables here                   (set before the swap)
 *      settled  all tables are there and all directories know of them   (set after the hook)
 *
 *    Whoever maps a range that is touched but not settled announces it too, even if it installed
 *    nothing: what it publishes next must not depend on how far another CPU has come.  On 64-bit
 *    machines, where the bitmaps would be too long, a software bit of the directory entry takes
 *    their place.
 *
 * 3. Reaching a table
 *
 *    Only through sh_kernel_phys_to_virt, one pointer at a time, interrupts off, for at most 4 KiB
 *    of work: the pointer dies at the next call, and no hook is called while one is held.  Physical
 *    addresses of entries are what functions pass to each other.
 *
 * 4. Order
 *
 *    arch_table_written, arch_published and arch_flush of cpu.h.  Not present → present needs no
 *    flush. A frame goes back only after the flush on every CPU.
 */
#include "arch/port.h"
#include "cpu.h"
#include "pte.h"

enum {
    OWN_BITS = 1 << (32 - PTE_DIRECTORY_SHIFT_MIN),
    GROUP_BITS = 1 << (32 - PTE_FRAME_SHIFT_MIN),
    CHUNK_SHIFT = 22
};

#define NO_TABLES SIZE_MAX /* missing_tables: something is in the way */

_Static_assert(sizeof(uintptr_t) == 4, "bitmaps over all directory entries");

static struct {
    struct sh_hooks hooks;
    unsigned cpus;
    uint32_t table_frames;
    uint32_t own[OWN_BITS / 32];
    uint32_t touched[GROUP_BITS / 32];
    uint32_t settled[GROUP_BITS / 32];
} port;

/* Table frames in hand.  Each holds the address of the next in its first entry: with its low
 * bits clear that is no present entry, should a walker still look. */
struct frame_list {
    sh_paddr head;
    size_t count;
};

/* The leaf table found last. */
struct cursor {
    bool valid;
    uintptr_t at;
    sh_paddr table;
};

static bool bit_test(const uint32_t *bits, uintptr_t index)
{
    return (__atomic_load_n(&bits[index / 32], __ATOMIC_ACQUIRE) >> (index % 32) & 1) != 0;
}

static void bit_set(uint32_t *bits, uintptr_t index)
{
    __atomic_fetch_or(&bits[index / 32], (uint32_t)1 << (index % 32), __ATOMIC_ACQ_REL);
}

void arch_log(const char *text)
{
    if (port.hooks.log != NULL)
        port.hooks.log(text);
}

/* An entry that only the heap writes is not what the heap wrote. */
static void entry_is_foreign(uintptr_t at)
{
    static struct arch_text report;

    report.length = 0;
    arch_text_at(&report, "spanheap: somebody else changed the page table entry of", at);
    sh_kernel_panic(SH_PANIC_CORRUPTION, report.text);
}

/* What is left of [at, at + left) below the next multiple of 2^shift. */
static size_t piece(uintptr_t at, size_t left, unsigned shift)
{
    size_t room = ((size_t)1 << shift) - (at & (((size_t)1 << shift) - 1));

    return room < left ? room : left;
}

/*
 * 3. Reaching a table
 */

/* Interrupts are off, and the pointer dies at the next call. */
static unsigned char *reach(sh_paddr slot)
{
    unsigned char *page = sh_kernel_phys_to_virt(slot & ~(sh_paddr)4095);

    return page + (size_t)(slot & 4095);
}

static uint64_t read_entry(sh_paddr slot)
{
    arch_flags flags = arch_irq_save();
    uint64_t entry = pte_load(reach(slot));

    arch_irq_restore(flags);
    return entry;
}

static bool swap_entry(sh_paddr slot, uint64_t expected, uint64_t desired)
{
    arch_flags flags = arch_irq_save();
    unsigned char *entry = reach(slot);
    bool done = pte_swap(entry, expected, desired);

    if (done)
        arch_table_written(entry, pte_entry_size());
    arch_irq_restore(flags);
    return done;
}

/* All entries of a page, the leader last. */
static void write_up(unsigned char *leader, uint64_t entry)
{
    for (size_t copy = PTE_COPIES; copy-- > 0;)
        pte_store(leader + copy * pte_entry_size(), entry);
}

/* The leader first: from here on the page is claimed.  The others just cease to be present. */
static void write_down(unsigned char *leader, uint64_t entry)
{
    pte_store(leader, entry);
    for (size_t copy = 1; copy < PTE_COPIES; copy++)
        pte_store(leader + copy * pte_entry_size(), pte_encode_absent(PTE_TAG_PREPARED, 0));
}

static void write_page(sh_paddr slot, uint64_t entry)
{
    arch_flags flags = arch_irq_save();
    unsigned char *leader = reach(slot);

    write_up(leader, entry);
    arch_table_written(leader, PTE_COPIES * pte_entry_size());
    arch_irq_restore(flags);
}

/* The directory entry for `at`: where it is, what it says, what that means. */
static enum pte_kind find_directory(uintptr_t at, sh_paddr *slot, uint64_t *entry)
{
    sh_paddr table;

    if (!pte_root(at, &table))
        return PTE_HOLE;
    for (unsigned level = 0;; level++) {
        *slot = pte_directory_slot(level, table, at);
        *entry = read_entry(*slot);

        enum pte_kind kind = pte_directory_kind(level, *entry);

        if (kind != PTE_TABLE || level == pte_directory_level())
            return kind;
        table = pte_directory_table(*entry);
    }
}

static bool find_leaf(uintptr_t at, sh_paddr *slot)
{
    sh_paddr directory;
    uint64_t entry;

    if (find_directory(at, &directory, &entry) != PTE_TABLE)
        return false;
    *slot = pte_leaf_slot(pte_directory_table(entry), at);
    return true;
}

/* find_leaf for neighbours: a table that was found stays. */
static bool find_next_leaf(struct cursor *cursor, uintptr_t at, sh_paddr *slot)
{
    uintptr_t table_of = at >> pte_directory_shift();
    sh_paddr directory;
    uint64_t entry;

    if (!cursor->valid || cursor->at != table_of) {
        if (find_directory(at, &directory, &entry) != PTE_TABLE)
            return false;
        *cursor = (struct cursor){ true, table_of, pte_directory_table(entry) };
    }
    *slot = pte_leaf_slot(cursor->table, at);
    return true;
}

/* Works on the entries from `leader` on, which translate [at, at + size): the number of pages
 * changed. */
typedef size_t run_fn(unsigned char *leader, uintptr_t at, size_t size);

/* Calls `work` for each stretch of the range that lies in one leaf table; addresses without a
 * table are left out. */
static size_t each_run(uintptr_t base, size_t size, run_fn *work)
{
    size_t changed = 0, bytes;

    for (size_t done = 0; done < size; done += bytes) {
        sh_paddr slot;

        bytes = piece(base + done, size - done, pte_directory_shift());
        if (!find_leaf(base + done, &slot))
            continue;

        arch_flags flags = arch_irq_save();
        unsigned char *leader = reach(slot);
        size_t here = work(leader, base + done, bytes);

        if (here != 0)
            arch_table_written(leader, (bytes >> 12) * pte_entry_size());
        arch_irq_restore(flags);
        changed += here;
    }
    return changed;
}

static size_t page_stride(void)
{
    return PTE_COPIES * pte_entry_size();
}

/*
 * 2. Tables
 */

static void push_frame(struct frame_list *list, sh_paddr frame)
{
    arch_flags flags = arch_irq_save();
    unsigned char *first = reach(frame);

    pte_store(first, list->count != 0 ? list->head : 0);
    arch_table_written(first, pte_entry_size());
    arch_irq_restore(flags);
    list->head = frame;
    list->count++;
}

static sh_paddr pop_frame(struct frame_list *list)
{
    sh_paddr frame = list->head;

    list->head = read_entry(frame);
    list->count--;
    return frame;
}

static void free_frames(struct frame_list *list)
{
    while (list->count != 0)
        sh_kernel_frame_free(pop_frame(list), SH_TABLE_FRAME_SIZE);
}

/* A frame that entries can name, or nothing. */
static bool take_frame(size_t size, sh_paddr *frame)
{
    if (!sh_kernel_frame_alloc(size, frame))
        return false;
    if (pte_frame_fits(*frame, size))
        return true;
    arch_log("spanheap: sh_kernel_frame_alloc gave a frame misaligned or out of reach");
    sh_kernel_frame_free(*frame, size);
    return false;
}

static bool take_frames(struct frame_list *list, size_t count)
{
    sh_paddr frame;

    while (list->count < count) {
        if (!take_frame(SH_TABLE_FRAME_SIZE, &frame))
            return false;
        push_frame(list, frame);
    }
    return true;
}

/* 4 KiB at a time, so that interrupts are never off for long. */
static void zero_frame(sh_paddr frame, size_t size)
{
    for (size_t done = 0; done < size; done += 4096) {
        arch_flags flags = arch_irq_save();

        __builtin_memset(reach(frame + done), 0, 4096);
        arch_irq_restore(flags);
    }
}

/* An empty leaf table, also in the eyes of the walker. */
static void zero_table(sh_paddr frame)
{
    arch_flags flags = arch_irq_save();
    unsigned char *entries = reach(frame);

    __builtin_memset(entries, 0, SH_TABLE_FRAME_SIZE);
    arch_table_written(entries, SH_TABLE_FRAME_SIZE);
    arch_irq_restore(flags);
    arch_published();
}

/* A group is what the tables in one frame translate.  Does it miss a table? */
static bool group_misses(uintptr_t group)
{
    for (uintptr_t table = 0; table < PTE_TABLES_PER_FRAME; table++) {
        sh_paddr slot;
        uint64_t entry;

        if (find_directory(group + (table << pte_directory_shift()), &slot, &entry) == PTE_MISSING)
            return true;
    }
    return false;
}

/* Table frames that mapping the range would take now; NO_TABLES if an entry in it can be neither
 * used nor installed. */
static size_t missing_tables(uintptr_t base, size_t size)
{
    size_t count = 0, bytes;
    unsigned shift = pte_frame_shift();

    for (size_t done = 0; done < size; done += bytes) {
        uintptr_t group = (base + done) >> shift << shift;
        size_t part;

        bytes = piece(base + done, size - done, shift);
        if (bit_test(port.settled, group >> PTE_FRAME_SHIFT_MIN))
            continue;
        for (size_t in = 0; in < bytes; in += part) {
            sh_paddr slot;
            uint64_t entry;
            enum pte_kind kind = find_directory(base + done + in, &slot, &entry);

            part = piece(base + done + in, bytes - in, pte_directory_shift());
            if (kind != PTE_MISSING && kind != PTE_TABLE)
                return NO_TABLES;
        }
        count += group_misses(group);
    }
    return count;
}

/* Fills what is missing in a group from one frame.  A frame of which every swap was lost is
 * kept. */
static void install_group(uintptr_t group, struct frame_list *spare)
{
    bool used = false;
    sh_paddr frame;

    if (spare->count == 0 || !group_misses(group))
        return;
    bit_set(port.touched, group >> PTE_FRAME_SHIFT_MIN);
    frame = pop_frame(spare);
    zero_table(frame);
    for (uintptr_t table = 0; table < PTE_TABLES_PER_FRAME; table++) {
        uintptr_t at = group + (table << pte_directory_shift());
        sh_paddr slot;
        uint64_t entry;

        if (find_directory(at, &slot, &entry) != PTE_MISSING
            || !swap_entry(slot, entry, pte_directory_encode(frame, at)))
            continue;
        bit_set(port.own, at >> PTE_DIRECTORY_SHIFT_MIN);
        used = true;
    }
    arch_published();
    if (used)
        __atomic_fetch_add(&port.table_frames, 1, __ATOMIC_RELAXED);
    else
        push_frame(spare, frame);
}

/* All tables for [at, at + size), a part of one chunk, known to every directory when this
 * returns. */
static void install_chunk(uintptr_t at, size_t size, struct frame_list *spare)
{
    unsigned shift = pte_frame_shift();
    uintptr_t first = at >> shift, last = (at + (size - 1)) >> shift;
    unsigned to_bit = shift - PTE_FRAME_SHIFT_MIN;
    bool announce = false;

    for (uintptr_t group = first; group <= last; group++) {
        if (bit_test(port.settled, group << to_bit))
            continue;
        install_group(group << shift, spare);
        announce = announce || bit_test(port.touched, group << to_bit);
    }
    if (announce && port.hooks.top_level_changed != NULL)
        port.hooks.top_level_changed(at >> CHUNK_SHIFT << CHUNK_SHIFT);
    for (uintptr_t group = first; group <= last; group++) {
        if (!group_misses(group << shift))
            bit_set(port.settled, group << to_bit);
    }
}

static size_t tag_prepared(unsigned char *leader, uintptr_t at, size_t size)
{
    size_t changed = 0;

    (void)at;
    for (size_t done = 0; done < size; done += SH_ARCH_PAGE_SIZE, leader += page_stride()) {
        if (pte_load(leader) != 0)
            continue;
        write_up(leader, pte_encode_absent(PTE_TAG_PREPARED, 0));
        changed++;
    }
    return changed;
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    struct frame_list spare = { 0, 0 };
    size_t need = missing_tables(base, size), bytes;

    if (need == NO_TABLES || !take_frames(&spare, need)) {
        free_frames(&spare);
        return false;
    }
    for (size_t done = 0; done < size; done += bytes) {
        bytes = piece(base + done, size - done, CHUNK_SHIFT);
        install_chunk(base + done, bytes, &spare);
    }
    free_frames(&spare);
    if (each_run(base, size, tag_prepared) != size >> SH_ARCH_PAGE_SHIFT) {
        entry_is_foreign(base);
        return false;
    }
    arch_published();
    return true;
}

/*
 * 1. Leaf entries
 */

/* Gets a frame into the entry, or finds the page present.  false = no frame. */
static bool claim_page(struct cursor *cursor, uintptr_t at)
{
    sh_paddr slot, frame;

    if (!find_next_leaf(cursor, at, &slot)) {
        entry_is_foreign(at);
        return false;
    }
    for (;;) {
        uint64_t entry = read_entry(slot);

        if (pte_is_present(entry))
            return true;
        if (pte_tag(entry) == PTE_TAG_PENDING) {
            arch_pause();
            continue;
        }
        if (pte_tag(entry) != PTE_TAG_PREPARED) {
            entry_is_foreign(at);
            return false;
        }
        if (!take_frame(SH_ARCH_PAGE_SIZE, &frame))
            return false;
        if (swap_entry(slot, entry, pte_encode_absent(PTE_TAG_PENDING, frame)))
            return true;
        sh_kernel_frame_free(frame, SH_ARCH_PAGE_SIZE);
    }
}

/* Gives the frame of a pending page back, if the page is pending, and leaves `tag`. */
static void end_page(struct cursor *cursor, uintptr_t at, enum pte_tag tag)
{
    sh_paddr slot;
    uint64_t entry;

    if (!find_next_leaf(cursor, at, &slot))
        return;
    entry = read_entry(slot);
    if (pte_is_present(entry))
        return;
    if (pte_tag(entry) == PTE_TAG_PENDING || pte_tag(entry) != tag)
        write_page(slot, pte_encode_absent(tag, 0));
    if (pte_tag(entry) == PTE_TAG_PENDING)
        sh_kernel_frame_free(pte_frame(entry), SH_ARCH_PAGE_SIZE);
}

/* Pending pages of the range give their frames back; present ones stay. */
static void end_range(uintptr_t base, size_t size, enum pte_tag tag)
{
    struct cursor cursor = { false, 0, 0 };

    for (size_t done = 0; done < size; done += SH_ARCH_PAGE_SIZE)
        end_page(&cursor, base + done, tag);
}

/* The part of the range, from its start, that is now pending or present. */
static size_t claim_range(uintptr_t base, size_t size)
{
    struct cursor cursor = { false, 0, 0 };
    size_t done = 0;

    while (done < size && claim_page(&cursor, base + done))
        done += SH_ARCH_PAGE_SIZE;
    return done;
}

/* What is pending here is this commit's: a page that another one held was waited for. */
static void zero_range(uintptr_t base, size_t size)
{
    struct cursor cursor = { false, 0, 0 };
    sh_paddr slot;

    for (size_t done = 0; done < size; done += SH_ARCH_PAGE_SIZE) {
        if (!find_next_leaf(&cursor, base + done, &slot))
            continue;

        uint64_t entry = read_entry(slot);

        if (!pte_is_present(entry))
            zero_frame(pte_frame(entry), SH_ARCH_PAGE_SIZE);
    }
}

static size_t make_present(unsigned char *leader, uintptr_t at, size_t size)
{
    size_t changed = 0;

    (void)at;
    for (size_t done = 0; done < size; done += SH_ARCH_PAGE_SIZE, leader += page_stride()) {
        uint64_t entry = pte_load(leader);

        if (pte_is_present(entry))
            continue;
        write_up(leader, pte_encode(pte_frame(entry)));
        changed++;
    }
    return changed;
}

/* Present → pending, the frame kept. */
static size_t make_pending(unsigned char *leader, uintptr_t at, size_t size)
{
    size_t changed = 0;

    (void)at;
    for (size_t done = 0; done < size; done += SH_ARCH_PAGE_SIZE, leader += page_stride()) {
        uint64_t entry = pte_load(leader);

        if (!pte_is_present(entry))
            continue;
        write_down(leader, pte_encode_absent(PTE_TAG_PENDING, pte_frame(entry)));
        changed++;
    }
    return changed;
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    size_t claimed = claim_range(base, size);

    if (claimed < size) {
        end_range(base, claimed, PTE_TAG_PREPARED);
        arch_published();
        return false;
    }
    zero_range(base, size);
    arch_published();
    each_run(base, size, make_present);
    arch_published();
    return true;
}

/* Every CPU forgets the range. */
static void flush_everywhere(uintptr_t base, size_t size)
{
    arch_published();
    arch_flush(base, size);
    if (!ARCH_FLUSH_IS_GLOBAL && port.cpus > 1 && port.hooks.tlb_shootdown != NULL)
        port.hooks.tlb_shootdown(base, size);
}

/* Whatever is behind the range goes; one flush, and none if nothing was present. */
static void take_down(uintptr_t base, size_t size, enum pte_tag tag)
{
    if (each_run(base, size, make_pending) != 0)
        flush_everywhere(base, size);
    end_range(base, size, tag);
    arch_published();
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    take_down(base, size, PTE_TAG_PREPARED);
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    take_down(base, size, PTE_TAG_POISON);
}

void arch_pages_drop(uintptr_t base, size_t size)
{
    take_down(base, size, PTE_TAG_NONE);
}

enum sh_state sh_arch_state(uintptr_t address)
{
    uintptr_t page = address & ~(uintptr_t)(SH_ARCH_PAGE_SIZE - 1);
    sh_paddr slot;
    uint64_t entry;

    if (arch_window_owner(address) != ARCH_RESERVED)
        return SH_NONE;
    if (!find_leaf(page, &slot))
        return SH_RESERVED;
    entry = read_entry(slot);
    if (pte_is_present(entry))
        return SH_READY;
    switch (pte_tag(entry)) {
    case PTE_TAG_PREPARED:
    case PTE_TAG_PENDING:
        return SH_PREPARED;
    case PTE_TAG_POISON:
        return SH_FAULT;
    case PTE_TAG_NONE:
        break;
    }
    return SH_RESERVED;
}

/*
 * Windows
 */

/* Entries in use, kernel's or not; each_run adds them up.  Every entry counts, not every arch
 * page. */
static size_t count_used(unsigned char *leader, uintptr_t at, size_t size)
{
    size_t used = 0;

    (void)at;
    for (size_t done = 0; done < size; done += 4096, leader += pte_entry_size())
        used += pte_load(leader) != 0;
    return used;
}

/* Entries in use whose address nobody reserved: not the heap's. */
static size_t count_foreign(unsigned char *leader, uintptr_t at, size_t size)
{
    size_t foreign = 0;

    for (size_t done = 0; done < size; done += 4096, leader += pte_entry_size())
        foreign += pte_load(leader) != 0 && arch_window_owner(at + done) != ARCH_RESERVED;
    return foreign;
}

/* One line for the first entry in use; only to say which. */
static void explain_used(uintptr_t base, size_t size, struct arch_text *why)
{
    for (size_t done = 0; done < size; done += 4096) {
        sh_paddr slot;
        uint64_t entry;

        if (!find_leaf(base + done, &slot))
            continue;
        entry = read_entry(slot);
        if (entry == 0)
            continue;
        arch_text_at(why,
                     pte_is_present(entry) ? "is mapped at" : "has a table entry that is not 0 at",
                     base + done);
        return;
    }
}

/* SH_OK, or why the directory entry for `at` cannot carry heap pages. */
static int check_directory(uintptr_t at, struct arch_text *why)
{
    sh_paddr slot;
    uint64_t entry;

    switch (find_directory(at, &slot, &entry)) {
    case PTE_MISSING:
    case PTE_TABLE:
        return SH_OK;
    case PTE_LARGE:
        arch_text_at(why, "is mapped by a large page or section at", at);
        return SH_E_OVERLAP;
    case PTE_LOCKED:
        arch_text_at(why, "has a page table without write access at", at);
        return SH_E_PAGING;
    case PTE_HOLE:
        break;
    }
    arch_text_at(why, "has no entry above the page directory (PDPT, TTBCR.PD) at", at);
    return SH_E_PAGING;
}

int arch_pages_check(uintptr_t base, size_t size, struct arch_text *why)
{
    const char *refusal = pte_mode_refusal();
    size_t bytes;

    if (refusal != NULL) {
        arch_text_add(why, "refused: ");
        arch_text_add(why, refusal);
        return SH_E_PAGING;
    }
    for (size_t done = 0; done < size; done += bytes) {
        int error = check_directory(base + done, why);

        if (error != SH_OK)
            return error;
        bytes = piece(base + done, size - done, pte_directory_shift());
        if (each_run(base + done, bytes, count_used) == 0)
            continue;
        explain_used(base + done, bytes, why);
        return SH_E_OVERLAP;
    }
    return SH_OK;
}

/*
 * The rest of the contract: struct sh_port
 */

static int attach(const struct sh_hooks *hooks, unsigned cpus)
{
    if (pte_mode_refusal() != NULL)
        return SH_E_PAGING;
    if (!ARCH_FLUSH_IS_GLOBAL && cpus > 1 && (hooks == NULL || hooks->tlb_shootdown == NULL))
        return SH_E_HOOK;
    if (hooks != NULL)
        port.hooks = *hooks;
    else
        __builtin_memset(&port.hooks, 0, sizeof port.hooks);
    port.cpus = cpus;
    return SH_OK;
}

/* Do our tables, and our windows, hold only what the heap put there? */
static bool tables_are_idle(void)
{
    uintptr_t base = 0;
    size_t size;
    uint32_t step = (uint32_t)1 << (pte_directory_shift() - PTE_DIRECTORY_SHIFT_MIN);

    for (uint32_t bit = 0; bit < OWN_BITS; bit += step) {
        uintptr_t at = (uintptr_t)bit << PTE_DIRECTORY_SHIFT_MIN;
        sh_paddr slot;
        uint64_t entry;

        if (!bit_test(port.own, bit))
            continue;
        if (find_directory(at, &slot, &entry) != PTE_TABLE)
            return false;
        if (each_run(at, (size_t)1 << pte_directory_shift(), count_foreign) != 0)
            return false;
    }
    for (uintptr_t from = 0; arch_window_next(from, &base, &size); from = base + size) {
        if (each_run(base, size, count_foreign) != 0)
            return false;
    }
    return true;
}

/* Clears our directory entries of one group; their frames, each once, go to `list`. */
static bool clear_group(uintptr_t group, struct frame_list *list)
{
    sh_paddr seen[PTE_TABLES_PER_FRAME];
    size_t count = 0;
    bool cleared = false;

    for (uintptr_t table = 0; table < PTE_TABLES_PER_FRAME; table++) {
        uintptr_t at = group + (table << pte_directory_shift());
        sh_paddr slot, frame;
        uint64_t entry;
        size_t i = 0;

        if (!bit_test(port.own, at >> PTE_DIRECTORY_SHIFT_MIN)
            || find_directory(at, &slot, &entry) != PTE_TABLE)
            continue;
        frame = pte_directory_table(entry) & ~(sh_paddr)(SH_TABLE_FRAME_SIZE - 1);
        swap_entry(slot, entry, 0);
        cleared = true;
        while (i < count && seen[i] != frame)
            i++;
        if (i < count)
            continue;
        seen[count++] = frame;
        push_frame(list, frame);
    }
    return cleared;
}

/* All our directory entries, chunk by chunk, each announced. */
static void clear_directories(struct frame_list *list)
{
    uintptr_t chunk = 0, step = (uintptr_t)1 << pte_frame_shift();

    do {
        bool cleared = false;

        for (uintptr_t in = 0; in < (uintptr_t)1 << CHUNK_SHIFT; in += step)
            cleared = clear_group(chunk + in, list) || cleared;
        if (cleared) {
            arch_published();
            if (port.hooks.top_level_changed != NULL)
                port.hooks.top_level_changed(chunk);
        }
        chunk += (uintptr_t)1 << CHUNK_SHIFT;
    } while (chunk != 0);
}

typedef void window_fn(uintptr_t base, size_t size);

static void each_window(window_fn *work)
{
    uintptr_t base = 0;
    size_t size;

    for (uintptr_t from = 0; arch_window_next(from, &base, &size); from = base + size)
        work(base, size);
}

/* Data frames go back first, through entries that still stand; then the tables, after a second
 * flush. */
static int detach(void)
{
    struct frame_list tables = { 0, 0 };

    if (!tables_are_idle())
        return SH_E_BUSY;
    each_window(arch_pages_drop);
    clear_directories(&tables);
    if (tables.count != 0)
        each_window(flush_everywhere);
    free_frames(&tables);
    arch_window_forget_all();
    __builtin_memset(&port, 0, sizeof port);
    return SH_OK;
}

static bool physical(uintptr_t address, sh_paddr *out)
{
    uintptr_t offset = address & (SH_ARCH_PAGE_SIZE - 1);
    sh_paddr slot;
    uint64_t entry;

    if (arch_window_owner(address) != ARCH_RESERVED || !find_leaf(address - offset, &slot))
        return false;
    entry = read_entry(slot);
    if (!pte_is_present(entry))
        return false;
    *out = pte_frame(entry) + offset;
    return true;
}

static size_t table_bytes(void)
{
    return __atomic_load_n(&port.table_frames, __ATOMIC_RELAXED) * SH_TABLE_FRAME_SIZE;
}

static size_t table_cost(uintptr_t base, size_t size)
{
    size_t need = missing_tables(base, size);

    return need == NO_TABLES ? 0 : need * SH_TABLE_FRAME_SIZE;
}

const struct sh_port sh_arch_port = {
    .attach = attach,
    .detach = detach,
    .physical = physical,
    .table_bytes = table_bytes,
    .table_cost = table_cost,
    .windows = arch_window_count,
};
