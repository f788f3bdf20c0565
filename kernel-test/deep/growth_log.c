/*
 * Runs of the real growth code, written down step by step: what replay.py replays through the model of
 * kernel-test/model/inductive.py.
 *
 *   growth-log RUNS SEED [WRONG]
 *
 * mm/arena.c and mm/grow.c are included here, the second with its calls of other layers renamed, so that
 * the log sees each; the rest of mm/ is linked as it is.  The port below answers at random: 1 to 5
 * windows anywhere in 2^32, also in the last page; reserve refuses, or gives the place at the hint, the
 * lowest, the highest or any; map and commit fail in phases.  Heap pages are never touched, so their
 * addresses need no memory; where the heap asks for metadata, Linux is asked for the very place.
 *
 * A line each:
 *   build page frame                      bytes; once
 *   run number
 *   publish piece records mapped          a piece of the remainder; its records, its tables were had
 *   adopt base size taken                 what reserve gave; false = it was released
 *   none                                  something changed outside of any step: never allowed
 *   state base size mapped low high any   after the step
 *   at address before after               of a granule: r o p d (reserved, owned, prepared, recorded) as
 *                                         bits 1 2 4 8, and 16 times how often it was mapped
 * After `run` the first state follows, without a step.  Of all granules in the windows those are written
 * at which anything begins or ends, before the step, after it, or in its arguments: what holds of them
 * holds of all between.
 *
 * WRONG breaks the seam on purpose, and the replay must fail: records (none are made), map (nothing is
 * mapped), release (what is not taken is kept), twice (reserve gives what it gave before).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mm/arena.c"

static bool logged_ensure(uintptr_t base, uintptr_t last);
static bool logged_reach(uintptr_t address);
static bool logged_room(size_t bytes);
static uintptr_t logged_reserve(uintptr_t hint, size_t size, size_t align);
static void logged_release(uintptr_t base, size_t size);
static bool logged_map(uintptr_t base, size_t size);

#include "mm/budget.h"
#include "mm/grow.h"
#include "mm/heap.h"
#include "mm/pages.h"
#include "mm/port.h"

#define mm_arena_ensure logged_ensure
#define mm_pages_reach logged_reach
#define mm_linear_ensure_room logged_room
#define mm_port_reserve logged_reserve
#define mm_port_release logged_release
#define mm_port_map logged_map
#include "mm/grow.c"
#undef mm_arena_ensure
#undef mm_pages_reach
#undef mm_linear_ensure_room
#undef mm_port_reserve
#undef mm_port_release
#undef mm_port_map

#define WINDOWS 5u
#define MOST_BYTES ((size_t)96 << 20)
#define GRANULES (MOST_BYTES / SH_GRANULE_SIZE)
#define HELD 64u

enum { RESERVED = 1, OWNED = 2, PREPARED = 4, RECORDED = 8, TIMES = 16 };

/* Of each granule of the windows: what the port knows, and what the log saw at the last step. */
struct granule {
    uintptr_t address;
    uint8_t state, is_meta, times;
    uint16_t before, after;
};

struct numbers {
    uintptr_t base, size, mapped, low, high;
    bool any;
};

enum kind { NONE, PUBLISH, ADOPT };

static struct granule granules[GRANULES];
static size_t granule_count;
static struct numbers seen;
/* The step under way. */
static struct {
    enum kind kind;
    uintptr_t base;
    size_t size;
    bool records, mapped, taken;
} step;
static uintptr_t range_base; /* that reserve has given, and that is neither taken nor released yet */
static size_t range_size;
static bool for_heap, closing;
static unsigned map_fails, commit_fails, reserve_fails; /* of 100 */
static uint32_t random_state;
static const char *wrong = "";

static uint32_t below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return (uint32_t)((uint64_t)random_state * limit >> 32);
}

static bool is_wrong(const char *name)
{
    return strcmp(wrong, name) == 0;
}

static _Noreturn void give_up(const char *what, uintptr_t at)
{
    printf("gave up: %s at %#zx\n", what, (size_t)at);
    exit(1);
}

/*
 * The log
 */

static size_t granule_of(uintptr_t address)
{
    size_t low = 0, high = granule_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (granules[middle].address + (SH_GRANULE_SIZE - 1) < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < granule_count && granules[low].address <= address ? low : GRANULES;
}

static bool is_offered(uintptr_t address)
{
    return range_size != 0 && address - range_base < range_size;
}

static uint16_t look(const struct granule *granule)
{
    const struct mm_arena *arena = mm_arena_of(granule->address);
    unsigned bits = arena != &mm_arena_dummy && arena->base == mm_align_down(granule->address, MM_ARENA_SIZE)
                        ? RECORDED : 0;
    size_t owned = 0;

    for (size_t i = 0; i < MM_GRANULE_PAGES; i++)
        owned += mm_bit_test(mm_chunk_of(granule->address)->owned, mm_chunk_page(granule->address) + i);
    if (owned != 0 && owned != MM_GRANULE_PAGES)
        give_up("a granule is published in part", granule->address);
    bits |= owned != 0 ? OWNED : 0;
    if (!granule->is_meta && !is_offered(granule->address)) {
        bits |= granule->state != SH_NONE ? RESERVED : 0;
        bits |= granule->state != SH_NONE && granule->state != SH_RESERVED ? PREPARED : 0;
        bits += granule->times * TIMES;
    }
    return (uint16_t)bits;
}

static struct numbers numbers_now(void)
{
    struct numbers now = { current.base, current.size, 0, 0, 0, lowest <= highest };

    for (uintptr_t at = now.base; at - now.base < now.size; at += SH_GRANULE_SIZE) {
        size_t i = granule_of(at);
        if (i == GRANULES || (look(&granules[i]) & PREPARED) == 0)
            break;
        now.mapped += SH_GRANULE_SIZE;
    }
    if (now.any) {
        now.low = lowest;
        now.high = highest;
    }
    return now;
}

static bool same_numbers(const struct numbers *a, const struct numbers *b)
{
    return a->base == b->base && a->size == b->size && a->mapped == b->mapped && a->low == b->low &&
           a->high == b->high && a->any == b->any;
}

/* Does a number of the step or of a state begin or end at this granule? */
static bool is_edge(uintptr_t address, const struct numbers *now)
{
    const uintptr_t edges[] = { now->base, now->base + now->size, now->low, now->high + 1, seen.base,
                                seen.base + seen.size, seen.low, seen.high + 1, step.base,
                                step.base + step.size };

    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++)
        if (address == edges[i] || address == edges[i] - SH_GRANULE_SIZE)
            return true;
    return false;
}

static bool alike(const struct granule *a, const struct granule *b)
{
    return b->address - a->address == SH_GRANULE_SIZE && a->before == b->before && a->after == b->after;
}

static void log_granules(const struct numbers *now)
{
    for (size_t i = 0; i < granule_count; i++) {
        const struct granule *granule = &granules[i];
        if (i == 0 || i + 1 == granule_count || !alike(granule - 1, granule) || !alike(granule, granule + 1) ||
            is_edge(granule->address, now))
            printf("at %zu %u %u\n", (size_t)granule->address, granule->before, granule->after);
    }
}

/* Ends the step under way, if there is one: writes it and what is now. */
static void finish_step(void)
{
    struct numbers now;
    bool changed = false;

    if (step.kind == ADOPT)
        range_size = 0;
    for (size_t i = 0; i < granule_count; i++) {
        granules[i].after = look(&granules[i]);
        changed |= granules[i].after != granules[i].before;
    }
    now = numbers_now();
    changed |= !same_numbers(&now, &seen);
    if (step.kind == PUBLISH)
        printf("publish %zu %d %d\n", step.size, step.records, step.mapped);
    else if (step.kind == ADOPT)
        printf("adopt %zu %zu %d\n", (size_t)step.base, step.size, step.taken);
    else if (changed)
        printf("none\n");
    if (step.kind != NONE || changed) {
        printf("state %zu %zu %zu %zu %zu %d\n", (size_t)now.base, (size_t)now.size, (size_t)now.mapped,
               (size_t)now.low, (size_t)now.high, now.any);
        log_granules(&now);
    }
    for (size_t i = 0; i < granule_count; i++)
        granules[i].before = granules[i].after;
    seen = now;
    step.kind = NONE;
    step.base = step.size = 0;
}

/*
 * What growth calls
 */

/* The records of a piece that is to be published, or of the first granule of what is to be taken. */
static bool logged_ensure(uintptr_t base, uintptr_t last)
{
    if (base != last) {
        finish_step();
        step.kind = PUBLISH;
        step.base = base;
        step.size = last - base + 1;
        step.records = step.mapped = false;
        if (is_wrong("records"))
            return true;
    }
    return mm_arena_ensure(base, last);
}

static bool logged_reach(uintptr_t address)
{
    bool ok = mm_pages_reach(address);

    if (step.kind == PUBLISH)
        step.records = ok;
    return ok;
}

/* With a range in hand it is about to be taken: the old remainder is published by now. */
static bool logged_room(size_t bytes)
{
    if (range_size != 0) {
        finish_step();
        step.kind = ADOPT;
        step.base = range_base;
        step.size = range_size;
        step.taken = true;
    }
    return mm_linear_ensure_room(bytes);
}

static uintptr_t logged_reserve(uintptr_t hint, size_t size, size_t align)
{
    finish_step();
    for_heap = true;
    uintptr_t base = mm_port_reserve(hint, size, align);
    for_heap = false;
    range_base = base;
    range_size = base != 0 ? size : 0;
    return base;
}

static void logged_release(uintptr_t base, size_t size)
{
    if (!closing && step.kind != ADOPT) {
        finish_step();
        step.kind = ADOPT;
        step.base = base;
        step.size = size;
    }
    step.taken = false;
    if (closing || !is_wrong("release"))
        mm_port_release(base, size);
    if (!closing)
        finish_step();
}

static bool logged_map(uintptr_t base, size_t size)
{
    if (step.kind != PUBLISH || step.base != base || step.size != size)
        give_up("a map of something else", base);
    step.mapped = is_wrong("map") || mm_port_map(base, size);
    return step.mapped;
}

/*
 * The port
 */

static bool fails(unsigned of_100)
{
    return below(100) < of_100;
}

/* The run of `count` granules from the i-th on, if they are side by side and free. */
static bool is_free(size_t i, size_t count, size_t align)
{
    if (count > granule_count - i || (granules[i].address & (align - 1)) != 0)
        return false;
    for (size_t j = 0; j < count; j++)
        if (granules[i + j].state != SH_NONE ||
            granules[i + j].address - granules[i].address != j * SH_GRANULE_SIZE)
            return false;
    return true;
}

/* Metadata is memory: Linux must have the place too. */
static bool is_memory(uintptr_t base, size_t size)
{
    void *want = (void *)base;
    void *got = mmap(want, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

    if (got == MAP_FAILED)
        return false;
    if (got != want)
        munmap(got, size);
    return got == want;
}

/* A free place: at the hint, the lowest, the highest, or any. */
static size_t place(uintptr_t hint, size_t count, size_t align)
{
    size_t at_hint = hint == 0 ? GRANULES : granule_of(hint), start = below((uint32_t)granule_count);
    unsigned way = below(6);

    if (way >= 3 && at_hint != GRANULES && is_free(at_hint, count, align))
        return at_hint;
    for (size_t i = 0; i < granule_count; i++) {
        size_t from = way == 0 || way > 3 ? i : way == 1 ? granule_count - 1 - i : (start + i) % granule_count;
        if (is_free(from, count, align))
            return from;
    }
    return GRANULES;
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    size_t count = size / SH_GRANULE_SIZE;
    size_t first = fails(reserve_fails) ? GRANULES : place(hint, count, align);

    if (first == GRANULES || (!for_heap && !is_memory(granules[first].address, size)))
        return 0;
    for (size_t i = first; i < first + count; i++) {
        granules[i].state = for_heap && is_wrong("twice") ? SH_NONE : SH_RESERVED;
        granules[i].is_meta = !for_heap;
    }
    return granules[first].address;
}

void sh_arch_release(uintptr_t base, size_t size)
{
    size_t first = granule_of(base);

    if (granules[first].is_meta)
        munmap((void *)base, size);
    for (size_t i = first; i < first + size / SH_GRANULE_SIZE; i++)
        granules[i] = (struct granule){ .address = granules[i].address, .before = granules[i].before };
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    size_t first = granule_of(base);

    if (fails(map_fails))
        return false;
    for (size_t i = first; i < first + size / SH_GRANULE_SIZE; i++) {
        granules[i].state = SH_PREPARED;
        granules[i].times++;
    }
    return true;
}

static void set_state(uintptr_t base, size_t size, enum sh_state state)
{
    size_t first = granule_of(base);

    for (size_t i = first; i < first + size / SH_GRANULE_SIZE; i++) {
        if (granules[i].state != SH_PREPARED && granules[i].state != SH_READY) {
            finish_step();
            give_up("commit or decommit of what is not mapped", granules[i].address);
        }
        granules[i].state = (uint8_t)state;
    }
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    if (fails(commit_fails))
        return false;
    set_state(base, size, SH_READY);
    return true;
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    set_state(base, size, SH_PREPARED);
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    (void)size;
    give_up("a fault in tier 0", base);
}

enum sh_state sh_arch_state(uintptr_t address)
{
    size_t i = granule_of(address);

    return i == GRANULES ? SH_NONE : (enum sh_state)granules[i].state;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    (void)kind;
    finish_step();
    give_up(report, 0);
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}

/*
 * Runs
 */

static bool window_meets(const uintptr_t *base, const size_t *size, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (mm_ranges_meet(base[i], size[i], base[count], size[count]))
            return true;
    return false;
}

/* Windows in the order of their addresses: some end at 2^32, some are as small as a granule. */
static void choose_windows(void)
{
    uintptr_t base[WINDOWS];
    size_t size[WINDOWS], room = GRANULES;
    unsigned count = 1 + below(WINDOWS);

    granule_count = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t units = 1 + below((uint32_t)(below(3) == 0 ? 8 : room / count));
        do {
            size[i] = units * SH_GRANULE_SIZE;
            base[i] = i == 0 && below(4) == 0 ? -size[i]
                      : mm_align_down(((uintptr_t)0x10000000 + below(0xD0000000)), SH_GRANULE_SIZE << below(9));
        } while (window_meets(base, size, i));
    }
    for (uintptr_t from = 0;;) {
        unsigned next = WINDOWS;
        for (unsigned i = 0; i < count; i++)
            if (base[i] >= from && (next == WINDOWS || base[i] < base[next]))
                next = i;
        if (next == WINDOWS)
            break;
        for (size_t done = 0; done < size[next]; done += SH_GRANULE_SIZE)
            granules[granule_count++] = (struct granule){ .address = base[next] + done };
        from = base[next] + 1;
    }
}

static void choose_failures(void)
{
    reserve_fails = below(3) == 0 ? 30 : 0;
    map_fails = below(3) == 0 ? 40 : 0;
    commit_fails = below(3) == 0 ? 70 : 0;
}

static void operate(void *held[HELD])
{
    unsigned i = below(HELD);
    uint32_t most = below(4) == 0 ? 1500 : below(2) == 0 ? 200 : 8;
    size_t bytes = (1 + below(most)) << MM_PAGE_SHIFT;

    if (held[i] != NULL) {
        sh_free(held[i]);
        held[i] = NULL;
    } else if (below(4) == 0) {
        held[i] = sh_aligned_alloc((size_t)SH_PAGE_SIZE << below(9), bytes);
    } else {
        held[i] = sh_malloc(bytes);
    }
    if (below(16) == 0)
        sh_trim(below(2) == 0 ? 0 : SIZE_MAX);
    finish_step();
}

static void run(unsigned number)
{
    static void *held[HELD];

    memset(held, 0, sizeof held);
    choose_windows();
    seen = (struct numbers){ 0 };
    printf("run %u\n", number);
    reserve_fails = map_fails = commit_fails = 0;
    if (sh_init(NULL) != SH_OK)
        give_up("sh_init", 0);
    log_granules(&seen);
    for (unsigned i = 0; i < 120; i++) {
        if (i % 8 == 0)
            choose_failures();
        operate(held);
    }
    if (wrong[0] == 0 && sh_verify() != 0)
        give_up("sh_verify", 0);
    closing = true;
    sh_shutdown();
    closing = false;
}

int main(int count, char **words)
{
    unsigned runs = count > 1 ? (unsigned)atoi(words[1]) : 1;

    random_state = 0x9E3779B9u ^ (count > 2 ? (uint32_t)atoi(words[2]) : 1);
    wrong = count > 3 ? words[3] : "";
    if (wrong[0] != 0)
        setvbuf(stdout, NULL, _IOLBF, 0); /* it may have to be stopped */
    printf("build %zu %zu\n", SH_PAGE_SIZE, SH_ARCH_PAGE_SIZE);
    for (unsigned i = 0; i < runs; i++)
        run(i);
    printf("end\n");
    return 0;
}
