/*
 * The explorer's machine: sh_arch_* over the heap's region, a state a page, no page table.
 *
 * Calls are atomic, with a point before and after each.  The contract is kept: an illegal transition ends
 * the schedule.  So does an access of the code under test to a page that is not Ready (memory.c asks).
 */
#include "kernel-test/explore/explore.h"

#include "mm/mm.h"

#include <stdio.h>
#include <string.h>

static struct machine {
    uint8_t state[HEAP_PAGES]; /* enum sh_state */
    uint8_t window[HEAP_PAGES];
    uint8_t range[HEAP_PAGES]; /* of the first page of a reservation: its pages */
    uint8_t misuses, misuses_expected;
    uint8_t frames;            /* that may still be taken */
    uint8_t cpu;               /* where no fiber runs: the CPU all the same */
} machine STATE = { .frames = 255 };
static char last_words[256];

void port_window(unsigned first, unsigned pages)
{
    for (unsigned i = first; i < first + pages; i++) {
        machine.window[i] = 1;
        image_dirty(image_at((uintptr_t)&machine.window[i]), 1);
    }
}

void port_frames(unsigned frames)
{
    memory_put8(&machine.frames, (uint8_t)frames);
}

void port_be(unsigned cpu)
{
    memory_put8(&machine.cpu, (uint8_t)cpu);
}

bool port_touchable(uint32_t page)
{
    return machine.state[page] == SH_READY;
}

unsigned port_misuses(void)
{
    return machine.misuses;
}

void port_expect_misuse(void)
{
    memory_put8(&machine.misuses_expected, 1);
}

const char *port_last_words(void)
{
    return last_words;
}

/* ---- hooks ---- */

static enum sh_context context(void)
{
    return in_handler() ? SH_INTERRUPT : SH_THREAD;
}

static void say(const char *text)
{
    snprintf(last_words, sizeof last_words, "%s", text);
    if (replaying) {
        printf("    log: %s\n", text);
    }
}

static void shootdown(uintptr_t base, size_t size)
{
    (void)base;
    (void)size;
}

void port_init_as(const struct sh_config *as, bool handlers)
{
    static struct sh_hooks hooks;
    hooks = (struct sh_hooks){ .context = handlers ? context : NULL,
                               .log = say,
                               .tlb_shootdown = shootdown,
                               .stop_world = explore_stop_world,
                               .resume_world = explore_resume_world,
                               .scan_stacks = explore_stacks };
    struct sh_config config = *as;
    config.size = sizeof config;
    config.hooks = &hooks;
    int result = sh_init(&config);
    if (result != SH_OK) {
        violated("sh_init: %s", sh_error_name(result));
    }
}

void port_init(unsigned cpus, bool handlers)
{
    struct sh_config config = { .cpus = cpus };
    port_init_as(&config, handlers);
}

unsigned sh_kernel_cpu(void)
{
    return running ? cpu_now : machine.cpu;
}

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    if (kind == SH_PANIC_MISUSE && machine.misuses_expected) {
        memory_put8(&machine.misuses, (uint8_t)(machine.misuses + 1));
        return;
    }
    violated("panic: %s", report);
}

/* ---- the seven ---- */

static unsigned page_of(uintptr_t address)
{
    return (unsigned)((address - HEAP_BASE) >> 12);
}

/* Pages of a range, all in states of the mask; a bit a state. */
static unsigned pages_in(const char *name, uintptr_t base, size_t size, unsigned mask)
{
    unsigned first = page_of(base);
    if (base - HEAP_BASE >= HEAP_SIZE || size == 0 || ((base | size) & 4095) != 0 ||
        size > HEAP_SIZE - (base - HEAP_BASE)) {
        violated("%s of %#lx+%#lx", name, (unsigned long)base, (unsigned long)size);
    }
    for (unsigned i = first; i < first + (size >> 12); i++) {
        if ((mask >> machine.state[i] & 1) == 0) {
            violated("%s: page %u is in state %u", name, i, machine.state[i]);
        }
    }
    return first;
}

static void set_state(unsigned first, size_t size, enum sh_state state)
{
    for (unsigned i = first; i < first + (size >> 12); i++) {
        memory_put8(&machine.state[i], (uint8_t)state);
    }
}

static bool fits(unsigned first, size_t pages)
{
    for (unsigned i = first; i < first + pages; i++) {
        if (i >= HEAP_PAGES || !machine.window[i] || machine.state[i] != SH_NONE) {
            return false;
        }
    }
    return true;
}

uintptr_t sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    explore_point();
    unsigned first = page_of(hint);
    bool hinted = hint - HEAP_BASE < HEAP_SIZE && (hint & (align - 1)) == 0 && fits(first, size >> 12);
    for (unsigned i = 0; i < HEAP_PAGES && !hinted; i++) {
        first = i;
        hinted = ((HEAP_BASE + ((uintptr_t)i << 12)) & (align - 1)) == 0 && fits(i, size >> 12);
    }
    if (hinted) {
        set_state(first, size, SH_RESERVED);
        memory_put8(&machine.range[first], (uint8_t)(size >> 12));
    }
    explore_point();
    return hinted ? HEAP_BASE + ((uintptr_t)first << 12) : 0;
}

void sh_arch_release(uintptr_t base, size_t size)
{
    explore_point();
    unsigned first = pages_in("release", base, size, 1u << SH_RESERVED | 1u << SH_PREPARED | 1u << SH_READY);
    if (machine.range[first] != size >> 12) {
        violated("release of %#lx, which was not reserved so", (unsigned long)base);
    }
    memory_put8(&machine.range[first], 0);
    set_state(first, size, SH_NONE);
    explore_point();
}

bool sh_arch_map(uintptr_t base, size_t size)
{
    explore_point();
    set_state(pages_in("map", base, size, 1u << SH_RESERVED), size, SH_PREPARED);
    explore_point();
    return true;
}

bool sh_arch_commit(uintptr_t base, size_t size)
{
    explore_point();
    unsigned first = pages_in("commit", base, size, 1u << SH_PREPARED | 1u << SH_READY), wanted = 0;
    for (unsigned i = first; i < first + (size >> 12); i++) {
        wanted += machine.state[i] != SH_READY;
    }
    bool ok = wanted <= machine.frames;
    if (ok) {
        memory_put8(&machine.frames, (uint8_t)(machine.frames - wanted));
        for (unsigned i = first; i < first + (size >> 12); i++) {
            if (machine.state[i] != SH_READY) {
                memory_clear(HEAP_BASE + ((uintptr_t)i << 12), 4096);
            }
        }
        set_state(first, size, SH_READY);
    }
    explore_point();
    return ok;
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    explore_point();
    unsigned first = pages_in("decommit", base, size, 1u << SH_PREPARED | 1u << SH_READY), given = 0;
    for (unsigned i = first; i < first + (size >> 12); i++) {
        given += machine.state[i] == SH_READY;
    }
    memory_put8(&machine.frames, (uint8_t)(machine.frames + given));
    set_state(first, size, SH_PREPARED);
    explore_point();
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    explore_point();
    set_state(pages_in("fault", base, size, 1u << SH_PREPARED | 1u << SH_READY), size, SH_FAULT);
    explore_point();
}

enum sh_state sh_arch_state(uintptr_t address)
{
    return address - HEAP_BASE < HEAP_SIZE ? (enum sh_state)machine.state[page_of(address)] : SH_NONE;
}
