/*
 * The page allocator (see pages.h).
 *
 * 1. Bitmaps.  A chunk's `taken` map is the truth: 1 = allocated, or not ours.
 *
 * 2. The tree.  A node stands for 8 equal pieces of address space and keeps a summary of each: how many
 *    pages are free at its start, in its longest run, at its end.  The lowest nodes' pieces are chunks.
 *    Only nodes above known memory exist; a missing one is a piece with nothing free.  Summaries are
 *    exact at all times: what an operation changes it recomputes from the bitmap, and upwards until a
 *    summary comes out as it was.
 *
 * 3. Search.  From the root down, left to right: a run that is pieced together across neighbours is
 *    found at the level where they meet; otherwise the first piece whose longest run suffices is
 *    entered.  So the lowest fit is found in (levels × 8) steps and one bitmap, however many holes there
 *    are.  (Go's page allocator, mpagealloc.go, has the same tree in flat arrays.)
 *
 * 4. Alignment.  The tree knows lengths, not where runs begin.  So an aligned run is looked for where there is
 *    room for the worst start, and then place by place: some at a time, with the lock opened between.
 */
#include "mm/pages.h"

#include "mm/linear.h"
#include "mm/report.h"

#define FANOUT_SHIFT 3
#define FANOUT (1u << FANOUT_SHIFT)
#define CHUNK_BITS (MM_ADDRESS_BITS - MM_CHUNK_SHIFT)
#define LEVELS ((CHUNK_BITS + FANOUT_SHIFT - 1) / FANOUT_SHIFT)
#define LEVELS_MOST ((64 - MM_PAGE_SHIFT) / FANOUT_SHIFT)
#define CHUNK_WORDS (MM_CHUNK_PAGES / MM_WORD_BITS)

struct node {
    struct mm_summary sum[FANOUT];
    struct node *child[FANOUT]; /* NULL at the lowest level, or nothing known below */
};

static struct node root;
static struct mm_fixed nodes = { .size = sizeof(struct node) };

/* log2 of the pages in one piece of a node at `level`; level 0 is the root. */
static unsigned piece_shift(unsigned level)
{
    return MM_CHUNK_SHIFT - MM_PAGE_SHIFT + FANOUT_SHIFT * (unsigned)(LEVELS - 1 - level);
}

static MM_ONCE unsigned piece_of(uintptr_t address, unsigned level)
{
    return (unsigned)(address >> MM_PAGE_SHIFT >> piece_shift(level)) & (FANOUT - 1);
}

/* Longest run of ones in a word, when it is known to be longer than `most`; else `most`. */
static size_t word_longest(uintptr_t word, size_t most)
{
    word = mm_word_runs(word, most + 1);
    while (word != 0) {
        most++;
        word &= word >> 1;
    }
    return most;
}

/* Runs that begin or end a word, and those of whole words: all that are longer than a word less two. */
static struct mm_summary chunk_edges(const uintptr_t *taken)
{
    struct mm_summary sum = { MM_CHUNK_PAGES, 0, 0 };
    size_t run = 0; /* free pages that end where this word begins */
    for (size_t i = 0; i < CHUNK_WORDS; i++) {
        uintptr_t bits = taken[i];
        if (bits == 0) {
            run += MM_WORD_BITS;
            continue;
        }
        run += arch_ctz(bits);
        if (sum.start == MM_CHUNK_PAGES) {
            sum.start = run;
        }
        if (run > sum.most) {
            sum.most = run;
        }
        run = arch_clz(bits);
    }
    sum.end = run;
    if (run > sum.most) {
        sum.most = run;
    }
    return sum;
}

static struct mm_summary chunk_summary(const struct mm_chunk *chunk)
{
    struct mm_summary sum = chunk_edges(chunk->taken);
    if (sum.most < MM_WORD_BITS - 2) {
        for (size_t i = 0; i < CHUNK_WORDS; i++) {
            sum.most = word_longest(~chunk->taken[i], sum.most);
        }
    }
    return sum;
}

static struct mm_summary node_summary(const struct node *node, unsigned level)
{
    struct mm_summary sum = { 0, 0, 0 };
    size_t full = (size_t)1 << piece_shift(level), run = 0;
    bool whole = true;
    for (unsigned i = 0; i < FANOUT; i++) {
        const struct mm_summary *piece = &node->sum[i];
        if (piece->most == 0 && run == 0) {
            whole = false;
            continue;
        }
        if (piece->start == full) {
            run += full;
            continue;
        }
        run += piece->start;
        if (whole) {
            sum.start = run;
            whole = false;
        }
        if (run > sum.most) {
            sum.most = run;
        }
        if (piece->most > sum.most) {
            sum.most = piece->most;
        }
        run = piece->end;
    }
    sum.end = run;
    if (whole) {
        sum.start = run;
    }
    if (run > sum.most) {
        sum.most = run;
    }
    return sum;
}

static bool same(const struct mm_summary *a, const struct mm_summary *b)
{
    return a->start == b->start && a->most == b->most && a->end == b->end;
}

/* The summary of one chunk anew, and of what is above it. */
static void chunk_update(uintptr_t address)
{
    struct node *path[LEVELS_MOST];
    struct node *node = &root;
    for (unsigned level = 0; level < LEVELS; level++) {
        path[level] = node;
        node = node->child[piece_of(address, level)];
    }
    struct mm_summary sum = chunk_summary(mm_chunk_of(address));
    for (unsigned level = LEVELS; level-- > 0;) {
        struct mm_summary *slot = &path[level]->sum[piece_of(address, level)];
        if (same(slot, &sum)) {
            return;
        }
        *slot = sum;
        if (level > 0) {
            sum = node_summary(path[level], level);
        }
    }
}

size_t mm_pages_work(uintptr_t base, size_t count, size_t map, enum mm_pages_op op)
{
    size_t found = 0;
    while (count != 0) {
        size_t first = mm_chunk_page(base), room = MM_CHUNK_PAGES - first;
        size_t piece = count < room ? count : room;
        uintptr_t *bits = (uintptr_t *)((uintptr_t)mm_chunk_of(base) + map);
        found += mm_bitmap_work(bits, first, first + piece, op);
        if (op != MM_PAGES_COUNT && map == offsetof(struct mm_chunk, taken)) {
            chunk_update(base);
        }
        base += piece << MM_PAGE_SHIFT;
        count -= piece;
    }
    return found;
}

bool mm_pages_reach(uintptr_t address)
{
    struct node *node = &root;
    for (unsigned level = 0; level + 1 < LEVELS; level++) {
        struct node **child = &node->child[piece_of(address, level)];
        if (*child == NULL) {
            *child = mm_fixed_obtain(&nodes, true);
            if (*child == NULL) {
                return false;
            }
        }
        node = *child;
    }
    return true;
}

void mm_pages_insert(uintptr_t base, size_t count)
{
    MM_PAGES_WORK(base, count, owned, MM_PAGES_SET);
    MM_PAGES_WORK(base, count, released, MM_PAGES_SET);
    MM_PAGES_WORK(base, count, taken, MM_PAGES_CLEAR);
}

/* First page of the lowest run of `count` free pages in a chunk that has one. */
static size_t chunk_find(const struct mm_chunk *chunk, size_t count)
{
    size_t run = 0;
    for (size_t i = 0; i < CHUNK_WORDS; i++) {
        uintptr_t taken = chunk->taken[i];
        if (taken == 0) {
            run += MM_WORD_BITS;
            if (run >= count) {
                return (i + 1) * MM_WORD_BITS - run;
            }
            continue;
        }
        if (run != 0 && run + arch_ctz(taken) >= count) {
            return i * MM_WORD_BITS - run;
        }
        if (count < MM_WORD_BITS) {
            uintptr_t starts = mm_word_runs(~taken, count);
            if (starts != 0) {
                return i * MM_WORD_BITS + arch_ctz(starts);
            }
        }
        run = arch_clz(taken);
    }
    return MM_CHUNK_PAGES;
}

static uintptr_t broken_promise(unsigned level, size_t count, uintptr_t base)
{
    mm_corruption("page allocator: a summary of level %z promises %z pages at %x that are not there",
                  (size_t)level - 1, count, base);
    return 0;
}

/* The lowest run of `count` free pages; 0 = none. */
static uintptr_t find(size_t count)
{
    const struct node *node = &root;
    uintptr_t base = 0; /* of the node's first piece */
    for (unsigned level = 0; level < LEVELS; level++) {
        unsigned shift = piece_shift(level) + MM_PAGE_SHIFT, i = 0;
        size_t full = (size_t)1 << piece_shift(level), run = 0;
        for (; i < FANOUT; i++) {
            const struct mm_summary *piece = &node->sum[i];
            if (run + piece->start >= count) {
                return base + ((uintptr_t)i << shift) - (run << MM_PAGE_SHIFT);
            }
            if (piece->most >= count) {
                break;
            }
            run = piece->start == full ? run + full : piece->end;
        }
        if (i == FANOUT) {
            return level == 0 ? 0 : broken_promise(level, count, base);
        }
        base += (uintptr_t)i << shift;
        node = node->child[i];
    }
    size_t page = chunk_find(mm_chunk_of(base), count);
    return page == MM_CHUNK_PAGES ? broken_promise(LEVELS, count, base) : base + (page << MM_PAGE_SHIFT);
}

uintptr_t mm_pages_find(size_t count, size_t align)
{
    uintptr_t base = find(count);
    uintptr_t mask = (align << MM_PAGE_SHIFT) - 1;
    if ((base & mask) != 0) {
        /* Any run with room for the worst start has an aligned one inside.  With so many free pages the
         * sum does not wrap. */
        base = (find(count + align - 1) + mask) & ~mask;
    }
    return base;
}

/* What one call looks at, in words of bits.  A place costs as much as some words. */
#define PLACE_WORDS 3
#define EXACT_WORDS 32

uintptr_t mm_pages_find_exact(size_t count, size_t align, uintptr_t *from)
{
    uintptr_t lowest = mm_pages_find(count, 1), step = align << MM_PAGE_SHIFT;
    MM_ASSERT(step - 1 < MM_ARENA_SIZE);
    if (*from < lowest) {
        *from = mm_align_up(lowest, step);
    }
    for (size_t words = 0, piece; words < EXACT_WORDS; words += PLACE_WORDS + piece / MM_WORD_BITS) {
        uintptr_t at = *from;
        if (!mm_arena_in_bounds(at)) {
            *from = 0;
            break;
        }
        if (mm_arena_of(at) == &mm_arena_dummy) {
            at |= MM_ARENA_SIZE - step; /* the last place where there are no records */
        }
        *from = at + step;
        piece = mm_pages_piece(at, count);
        if (at + ((count << MM_PAGE_SHIFT) - 1) >= at && MM_PAGES_WORK(at, piece, taken, MM_PAGES_COUNT) == 0) {
            /* What may be in the way lies behind this chunk, and in the way of all places in it. */
            *from = mm_align_up(at + (piece << MM_PAGE_SHIFT), step);
            return at;
        }
    }
    return 0;
}

void mm_pages_take(uintptr_t base, size_t count)
{
    MM_PAGES_WORK(base, count, taken, MM_PAGES_SET);
}

MM_CALL bool mm_pages_alloc_at(uintptr_t base, size_t count)
{
    uintptr_t last = base + ((count << MM_PAGE_SHIFT) - 1);
    if (base == 0 || last < base || MM_PAGES_WORK(base, count, taken, MM_PAGES_COUNT) != 0) {
        return false;
    }
    MM_PAGES_WORK(base, count, taken, MM_PAGES_SET);
    return true;
}

void mm_pages_free(uintptr_t base, size_t count)
{
    size_t taken = MM_PAGES_WORK(base, count, taken, MM_PAGES_CLEAR);
    MM_ASSERT(taken == count);
    (void)taken;
}

void mm_pages_disown(uintptr_t base, size_t count)
{
    MM_PAGES_WORK(base, count, owned, MM_PAGES_CLEAR);
    MM_PAGES_WORK(base, count, released, MM_PAGES_CLEAR);
}

/* The bits of the granule at `page`, in one word of a map. */
#define GRANULE_BITS (~(uintptr_t)0 >> (MM_WORD_BITS - MM_GRANULE_PAGES))
static_assert(MM_GRANULE_PAGES <= MM_WORD_BITS, "a granule's bits lie in one word");

static uintptr_t granule_bits(const uintptr_t *map, size_t page)
{
    return map[page / MM_WORD_BITS] >> (page % MM_WORD_BITS) & GRANULE_BITS;
}

/* Is the granule at `page` wholly free, and committed?  All of it is or none. */
static bool granule_idle(const struct mm_chunk *chunk, size_t page)
{
    return (granule_bits(chunk->taken, page) | granule_bits(chunk->released, page)) == 0;
}

/* The highest idle run in a chunk that ends at or below page `end`; its length, 0 = none.  Words of which
 * all pages are alike are one step. */
static MM_ONCE size_t chunk_idle(const struct mm_chunk *chunk, size_t end, size_t most, size_t *first)
{
    size_t page = mm_align_down(end, MM_GRANULE_PAGES), length = 0;
    while (page > 0 && length < most) {
        size_t word = (page - 1) / MM_WORD_BITS;
        uintptr_t other = chunk->taken[word] | chunk->released[word];
        bool whole = page % MM_WORD_BITS == 0 &&
                     (~other == 0 || (other == 0 && most - length >= MM_WORD_BITS));
        size_t step = whole ? MM_WORD_BITS : MM_GRANULE_PAGES;
        bool idle = whole ? other == 0 : granule_idle(chunk, page - step);
        if (!idle && length != 0) {
            break;
        }
        page -= step;
        length += idle ? step : 0;
    }
    *first = page;
    return length;
}

/* Chunks that one call looks at.  Where granules are several pages, none of a chunk's words may be alike. */
#define IDLE_CHUNKS (MM_GRANULE_PAGES == 1 ? 4 : 1)

bool mm_pages_below(uintptr_t *last)
{
    const struct mm_arena *arena = *last == 0 ? NULL : mm_arena_prev(*last);
    if (arena == NULL) {
        return false;
    }
    if (*last - arena->base >= MM_ARENA_SIZE) {
        *last = arena->base + (MM_ARENA_SIZE - 1);
    }
    return true;
}

size_t mm_pages_idle(uintptr_t *last, size_t most, uintptr_t *base)
{
    for (unsigned looked = 0; *last != 0 && looked < IDLE_CHUNKS; looked++) {
        uintptr_t at = mm_align_down(*last, MM_CHUNK_SIZE);
        size_t first = 0, length = chunk_idle(mm_chunk_of(at), mm_chunk_page(*last) + 1, most, &first);
        *base = at + (first << MM_PAGE_SHIFT);
        *last = length != 0 ? *base - 1 : at == 0 ? 0 : at - 1;
        if (length != 0) {
            return length;
        }
    }
    return 0;
}

MM_CALL size_t mm_pages_free_below(uintptr_t address, size_t most)
{
    size_t count = 0;
    while (count < most && address > SH_PAGE_SIZE) {
        address -= SH_PAGE_SIZE;
        if (mm_bit_test(mm_chunk_of(address)->taken, mm_chunk_page(address)) ||
            mm_arena_of(address) == &mm_arena_dummy) {
            break;
        }
        count++;
    }
    return count;
}

size_t mm_pages_count_idle(const struct mm_arena *arena)
{
    size_t idle = 0;
    for (size_t i = 0; i < MM_ARENA_CHUNKS * CHUNK_WORDS; i++) {
        const struct mm_chunk *chunk = &arena->chunks[i / CHUNK_WORDS];
        uintptr_t pages = ~(chunk->taken[i % CHUNK_WORDS] | chunk->released[i % CHUNK_WORDS]);
        idle += pages == 0 ? 0 : arch_popcount(pages);
    }
    return idle;
}

/* Compares one chunk's maps with each other and with its summary; `sum` is what the tree says. */
static int chunk_verify(uintptr_t base, const struct mm_summary *sum)
{
    const struct mm_chunk *chunk = mm_chunk_of(base);
    for (size_t i = 0; i < CHUNK_WORDS; i++) {
        if ((~chunk->owned[i] & ~chunk->taken[i]) != 0) {
            return mm_fault_found("free pages that are not ours", base);
        }
        if ((~chunk->owned[i] & chunk->released[i]) != 0) {
            return mm_fault_found("released pages that are not ours", base);
        }
        if (chunk->busy[i] != 0) {
            return mm_fault_found("busy pages", base);
        }
    }
    struct mm_summary now = chunk_summary(chunk);
    if (!same(&now, sum)) {
        return mm_fault_found("chunk summary", base);
    }
    for (size_t page = 0; page < MM_CHUNK_PAGES; page += MM_GRANULE_PAGES) {
        uintptr_t released = granule_bits(chunk->released, page);
        if (released != 0 && released != GRANULE_BITS) {
            return mm_fault_found("granule neither Ready nor Prepared", base + (page << MM_PAGE_SHIFT));
        }
    }
    return 0;
}

static int node_verify(const struct node *node, unsigned level, uintptr_t base)
{
    int faults = 0;
    for (unsigned i = 0; i < FANOUT; i++) {
        uintptr_t at = base + ((uintptr_t)i << (piece_shift(level) + MM_PAGE_SHIFT));
        if (level + 1 == LEVELS) {
            faults += chunk_verify(at, &node->sum[i]);
            continue;
        }
        const struct node *child = node->child[i];
        static const struct mm_summary nothing;
        if (child != NULL && !mm_linear_contains(child, sizeof *child)) {
            faults += mm_fault_found("tree node outside the metadata", at);
            continue;
        }
        struct mm_summary now = child == NULL ? nothing : node_summary(child, level + 1);
        if (!same(&now, &node->sum[i])) {
            faults += mm_fault_found("tree summary", at);
        }
        if (child != NULL) {
            faults += node_verify(child, level + 1, at);
        }
    }
    return faults;
}

/* The depth is bounded by LEVELS: 4 on 32-bit machines. */
int mm_pages_verify(void)
{
    return node_verify(&root, 0, 0);
}

void mm_pages_reset(void)
{
    root = (struct node){ 0 };
    nodes.first = NULL;
}
