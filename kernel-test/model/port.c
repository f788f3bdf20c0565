/*
 * The model's machine: sh_arch_* that may answer anything that the contract allows.
 *
 * No page is mapped and no frame exists: an address has a state (struct shadow), and a call that the
 * contract forbids ends the case.  Heap pages are numbers and stay untouched; only where the heap asks for
 * metadata does commit clear real memory, which image.c has put behind every window.
 *
 * Every call looks, before and after, at what a pointer query would find at that moment.
 */
#include "kernel-test/model/model.h"

#include "mm/cache.h"

#include <string.h>

struct shadow shadow;
const struct scope *scope;
struct port_run port_run;

unsigned unit_count, page_count;
uintptr_t unit_address[UNITS_MAX];
static uint8_t window_of[UNITS_MAX];

void port_open(void)
{
    unit_count = 0;
    for (unsigned i = 0; i < scope->windows; i++) {
        for (unsigned unit = 0; unit < scope->window[i].units; unit++) {
            window_of[unit_count] = (uint8_t)i;
            unit_address[unit_count++] = scope->window[i].base + unit * SH_GRANULE_SIZE;
        }
    }
    page_count = unit_count * UNIT_PAGES;
    shadow.donated = scope->answers == WINDOWS ? 0 : UINT32_MAX;
    for (unsigned i = 0; i < ANNEX_UNITS; i++) {
        unit_address[unit_count + i] = MODEL_ANNEX + 2 * i * SH_GRANULE_SIZE;
    }
}

unsigned unit_of(uintptr_t address)
{
    for (unsigned unit = 0; unit < unit_count + ANNEX_UNITS; unit++) {
        if (address - unit_address[unit] < SH_GRANULE_SIZE) {
            return unit;
        }
    }
    return UNITS_MAX;
}

bool unit_is_meta(unsigned unit)
{
    uintptr_t address = unit_address[unit];
    for (unsigned i = 0; i < spare_count; i++) {
        if (address - spares[i].base < spares[i].size) {
            return true;
        }
    }
    return mm_linear_in_block(address);
}

/* ---- what a query would find ---- */

static void record_mapped(const void *record, size_t size)
{
    uintptr_t first = (uintptr_t)record, last = first + size - 1;
    for (uintptr_t at = mm_align_down(first, SH_GRANULE_SIZE); at - first < size || at < first;
         at += SH_GRANULE_SIZE) {
        unsigned unit = unit_of(at);
        if (unit == UNITS_MAX || shadow.state[unit] != SH_READY || !unit_is_meta(unit)) {
            violated("a lookup would touch a record that is not mapped", first);
        }
        if (last - at < SH_GRANULE_SIZE) {
            return;
        }
    }
}

static bool is_owned(uintptr_t at)
{
    return mm_bit_test(mm_chunk_of(at)->owned, mm_chunk_page(at));
}

void port_probe(void)
{
    const struct mm_arena *seen = &mm_arena_dummy;
    unsigned pages = mm_mode.started ? page_count : 0, left = 0;
    if (pages != 0 && lowest < highest && (!is_owned(lowest) || !is_owned(highest))) {
        violated("the bounds lead the page allocator", lowest);
    }
    for (unsigned page = 0; page < pages; page++, left -= left != 0) {
        uintptr_t at = page_address(page);
        const struct mm_arena *arena = mm_arena_of(at);
        if (arena != seen && arena != &mm_arena_dummy) {
            record_mapped(arena, sizeof *arena);
            seen = arena;
        }
        const struct mm_span *span = mm_span_of(at);
        if (span != &mm_span_dummy) {
            record_mapped(span, sizeof *span);
        }
        left = shadow.run[page] != 0 ? shadow.run[page] : left;
        if (sh_contains((const void *)at) != (left != 0)) {
            violated(left != 0 ? "a live page is not found" : "a page that is not in use is found", at);
        }
    }
}

/* ---- the calls ---- */

static void enter(const char *name, uintptr_t base, size_t size)
{
    tell("      %s %#zx, %zu units\n", name, (size_t)base, size / SH_GRANULE_SIZE);
    if (port_run.forbidden) {
        violated("a call of the port where none may come", base);
    }
    if (!port_run.seen) {
        port_probe();
    }
    port_run.seen = false;
}

/* Units of a range, all in states of the mask (bit = state). */
static unsigned range_units(const char *name, uintptr_t base, size_t size, unsigned mask, unsigned *first)
{
    unsigned count = (unsigned)(size / SH_GRANULE_SIZE);
    *first = unit_of(base);
    if (size == 0 || ((base | size) & (SH_GRANULE_SIZE - 1)) != 0 || *first == UNITS_MAX) {
        violated(name, base);
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned unit = *first + i;
        if (unit >= unit_count + ANNEX_UNITS || unit_address[unit] != base + i * SH_GRANULE_SIZE ||
            (mask >> shadow.state[unit] & 1) == 0) {
            violated(name, base + i * SH_GRANULE_SIZE);
        }
    }
    return count;
}

static bool fails(void)
{
    if (port_run.serve || choose(2) == 0) {
        return false;
    }
    port_run.failures++;
    tell("        fails\n");
    return true;
}

/* Is [unit, unit + units) one piece of a window, None, and aligned? */
static bool fits(unsigned unit, unsigned units, size_t align)
{
    if ((unit_address[unit] & (align - 1)) != 0 || unit + units > unit_count) {
        return false;
    }
    for (unsigned i = unit; i < unit + units; i++) {
        if (shadow.state[i] != SH_NONE ||
            unit_address[i] - unit_address[unit] != (i - unit) * SH_GRANULE_SIZE ||
            (shadow.donated >> window_of[i] & 1) == 0) {
            return false;
        }
    }
    return true;
}

/* Places that fit.  The first is what windows.c would give: at the hint, or the lowest.  Where not all
 * are tried, the others are the highest and the nearest below and above the hint. */
static unsigned places(uintptr_t hint, unsigned units, size_t align, uint8_t *place)
{
    unsigned all[UNITS_MAX], count = 0, first = 0, below = 0, above = 0;
    for (unsigned unit = 0; unit < unit_count; unit++) {
        if (fits(unit, units, align)) {
            uintptr_t address = unit_address[unit];
            first = address == hint ? count : first;
            below = address < hint ? count : below;
            above = address <= hint ? count + 1 : above;
            all[count++] = unit;
        }
    }
    const unsigned edge[] = { first, count - 1, below, above };
    unsigned tried = scope->answers == ANY_PLACE ? count : scope->answers == EDGES ? 4 : 1, given = 0;
    for (unsigned i = 0; i < tried && count != 0; i++) {
        unsigned at = scope->answers != ANY_PLACE ? edge[i] : i == 0 ? first : i <= first ? i - 1 : i;
        bool new = at < count;
        for (unsigned j = 0; j < given; j++) {
            new = new && place[j] != all[at];
        }
        if (new) {
            place[given++] = (uint8_t)all[at];
        }
    }
    return given;
}

/* The first free unit of the annex. */
static uintptr_t annex(unsigned units)
{
    for (unsigned unit = unit_count; units == 1 && unit < unit_count + ANNEX_UNITS; unit++) {
        if (shadow.state[unit] == SH_NONE) {
            shadow.range[unit] = 1;
            shadow.state[unit] = SH_RESERVED;
            return unit_address[unit];
        }
    }
    return 0;
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    uint8_t place[UNITS_MAX];
    enter("reserve at", hint, size);
    if (size == 0 || (size & (SH_GRANULE_SIZE - 1)) != 0 || (align & (align - 1)) != 0) {
        violated("reserve of no whole granules", hint);
    }
    unsigned units = (unsigned)(size / SH_GRANULE_SIZE);
    if (port_run.annex) {
        return annex(units);
    }
    unsigned count = places(hint, units, align, place);
    if (count == 0) {
        return 0;
    }
    unsigned way = scope->answers == WINDOWS ? 0 : choose(count + 1);
    if (way == count) {
        port_run.failures++;
        port_run.seen = true;
        tell("        refused\n");
        return 0;
    }
    unsigned unit = place[way];
    shadow.range[unit] = (uint8_t)units;
    memset(&shadow.state[unit], SH_RESERVED, units);
    port_run.reserved = true;
    tell("        gives %#zx\n", (size_t)unit_address[unit]);
    return unit_address[unit];
}

void sh_arch_release(uintptr_t base, size_t size)
{
    unsigned unit, mask = 1u << SH_RESERVED | 1u << SH_PREPARED | 1u << SH_READY;
    enter("release", base, size);
    unsigned count = range_units("release of what is not reserved", base, size, mask, &unit);
    if (shadow.range[unit] != count) {
        violated("release of what was not reserved like that", base);
    }
    shadow.range[unit] = 0;
    for (unsigned i = unit; i < unit + count; i++) {
        if (shadow.state[i] == SH_READY) {
            image_seal(i);
            shadow.ready--;
        }
        shadow.state[i] = SH_NONE;
    }
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    unsigned unit;
    enter("map", base, size);
    unsigned count = range_units("map of what is not Reserved", base, size, 1u << SH_RESERVED, &unit);
    if (fails()) {
        return false;
    }
    memset(&shadow.state[unit], SH_PREPARED, count);
    return true;
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    unsigned unit, mask = 1u << SH_PREPARED | 1u << SH_READY;
    enter("commit", base, size);
    unsigned count = range_units("commit of what is not mapped", base, size, mask, &unit);
    if (fails()) {
        return false;
    }
    for (unsigned i = unit; i < unit + count; i++) {
        shadow.ready += shadow.state[i] != SH_READY;
        if (shadow.state[i] != SH_READY && unit_is_meta(i)) {
            memset((void *)unit_address[i], 0, MODEL_TRACK);
        }
        shadow.state[i] = SH_READY;
    }
    if (port_run.limit != 0 && shadow.ready > port_run.limit) {
        violated("more frames than the limit", base);
    }
    return true;
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    unsigned unit, mask = 1u << SH_PREPARED | 1u << SH_READY;
    enter("decommit", base, size);
    unsigned count = range_units("decommit of what is not mapped", base, size, mask, &unit);
    for (unsigned i = unit; i < unit + count; i++) {
        unsigned left = 0;
        for (unsigned page = 0; page < (i + 1) * UNIT_PAGES; page++, left -= left != 0) {
            left = shadow.run[page] != 0 ? shadow.run[page] : left;
            if (page >= i * UNIT_PAGES && left != 0) {
                violated("decommit of a live page", page_address(page));
            }
        }
        if (unit_is_meta(i)) {
            violated("decommit of metadata", unit_address[i]);
        }
        shadow.ready -= shadow.state[i] == SH_READY;
        shadow.state[i] = SH_PREPARED;
    }
    port_probe();
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    (void)size;
    violated("fault is of no use here", base);
}

enum sh_state sh_arch_state(uintptr_t address)
{
    unsigned unit = unit_of(address);
    return unit == UNITS_MAX ? SH_NONE : (enum sh_state)shadow.state[unit];
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    (void)kind;
    violated(report, 0);
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}
