/*
 * The port for Linux programs, 64-bit or 32-bit: mmap takes the place of page tables.
 *
 * For sanitizers, fuzzing, benchmarks, and for trying the heap out.  Needs sh_kernel_panic and
 * sh_kernel_cpu from the program, and none of the other sh_kernel_* functions; libc is used for
 * system calls only.
 *
 *      Reserved          no access, as the whole window
 *      Prepared, Fault   no access; the shadow says which
 *      Ready             read and write; zero at first touch
 *
 * Owns a shadow of one byte a page, in two levels, each leaf made when a window first needs it and
 * kept: so sh_arch_state takes no lock.  One lock, over every change of pages; it is above that of
 * windows.c.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/port.h"
#include "cpu.h"

#include "host.h"

enum {
    ADDRESS_BITS = sizeof(uintptr_t) == 8 ? 47 : 32,
    LEAF_SHIFT = 30,
    ROOT_COUNT = 1 << (ADDRESS_BITS - LEAF_SHIFT),
    LEAF_COUNT = 1 << (LEAF_SHIFT - SH_ARCH_PAGE_SHIFT)
};

_Static_assert(SH_ARCH_PAGE_SHIFT >= 12, "Linux maps no less than 4 KiB");

static struct {
    uint32_t spin;
    struct sh_hooks hooks;
    /* enum sh_state of each page; SH_NONE = sh_arch_map was not there. */
    unsigned char *shadow[ROOT_COUNT];
    char maps[4096];
} host;

static void lock(void)
{
    while (__atomic_exchange_n(&host.spin, 1, __ATOMIC_ACQUIRE) != 0)
        sched_yield();
}

static void unlock(void)
{
    __atomic_store_n(&host.spin, 0, __ATOMIC_RELEASE);
}

ARCH_CALL void arch_log(const char *text)
{
    if (host.hooks.log != NULL)
        host.hooks.log(text);
}

/* The only place that makes a pointer of an address. */
static void *pointer(uintptr_t address)
{
    return (void *)address;
}

/*
 * The shadow
 */

static unsigned char *shadow_of(uintptr_t address)
{
    unsigned char *leaf;

    if (address >> (ADDRESS_BITS - 1) > 1)
        return NULL;
    leaf = __atomic_load_n(&host.shadow[address >> LEAF_SHIFT], __ATOMIC_ACQUIRE);
    return leaf == NULL ? NULL : &leaf[address >> SH_ARCH_PAGE_SHIFT & (LEAF_COUNT - 1)];
}

static enum sh_state shadow_read(uintptr_t address)
{
    unsigned char *state = shadow_of(address);

    return state == NULL ? SH_NONE : (enum sh_state)__atomic_load_n(state, __ATOMIC_ACQUIRE);
}

static void shadow_write(uintptr_t base, size_t size, enum sh_state state)
{
    for (size_t done = 0; done < size; done += SH_ARCH_PAGE_SIZE)
        __atomic_store_n(shadow_of(base + done), (unsigned char)state, __ATOMIC_RELEASE);
}

/* Leaves for the whole range.  The lock is held. */
static bool shadow_cover(uintptr_t base, size_t size)
{
    for (uintptr_t i = base >> LEAF_SHIFT; i <= (base + (size - 1)) >> LEAF_SHIFT; i++) {
        void *leaf;

        if (host.shadow[i] != NULL)
            continue;
        leaf = mmap(NULL, LEAF_COUNT, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (leaf == MAP_FAILED)
            return false;
        __atomic_store_n(&host.shadow[i], (unsigned char *)leaf, __ATOMIC_RELEASE);
    }
    return true;
}

/*
 * Windows
 */

/* Reads /proc/self/maps byte by byte through one buffer. */
struct reader {
    int file;
    ssize_t length, next;
};

static int read_byte(struct reader *maps)
{
    if (maps->next >= maps->length) {
        maps->length = read(maps->file, host.maps, sizeof host.maps);
        maps->next = 0;
        if (maps->length <= 0)
            return -1;
    }
    return (unsigned char)host.maps[maps->next++];
}

/* A hexadecimal number and the byte after it. */
static bool read_number(struct reader *maps, uintptr_t *value)
{
    int byte;

    *value = 0;
    for (;;) {
        byte = read_byte(maps);
        if (byte >= '0' && byte <= '9')
            *value = *value << 4 | (uintptr_t)(byte - '0');
        else if (byte >= 'a' && byte <= 'f')
            *value = *value << 4 | (uintptr_t)(byte - 'a' + 10);
        else
            return byte >= 0;
    }
}

/* The lowest address of the range that is mapped with any access; false = none. */
static bool find_mapped(uintptr_t base, size_t size, uintptr_t *taken)
{
    struct reader maps = { open("/proc/self/maps", O_RDONLY | O_CLOEXEC), 0, 0 };
    uintptr_t low, high;
    bool found = false;

    while (!found && read_number(&maps, &low) && read_number(&maps, &high)) {
        bool access = false;
        int byte;

        for (unsigned i = 0; i < 3; i++)
            access = read_byte(&maps) != '-' || access;
        do {
            byte = read_byte(&maps);
        } while (byte >= 0 && byte != '\n');
        found = access && low <= base + (size - 1) && high - 1 >= base;
        *taken = low > base ? low : base;
    }
    close(maps.file);
    return found;
}

static bool map_without_access(uintptr_t base, size_t size)
{
    return mmap(pointer(base), size, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static const char *check_locked(uintptr_t base, size_t size, uintptr_t *at)
{
    if ((base + (size - 1)) >> (ADDRESS_BITS - 1) > 1)
        return ARCH_REFUSE_RANGE "is beyond the addresses of a Linux program";
    if (find_mapped(base, size, at))
        return ARCH_REFUSE_OVERLAP "is mapped at %";
    if (!shadow_cover(base, size))
        return ARCH_REFUSE_NOMEM "has no memory for its shadow";
    if (!map_without_access(base, size))
        return ARCH_REFUSE_OVERLAP "is not to be had from Linux";
    shadow_write(base, size, SH_NONE);
    return NULL;
}

ARCH_CALL const char *arch_pages_check(uintptr_t base, size_t size, uintptr_t *at)
{
    const char *refusal;

    lock();
    refusal = check_locked(base, size, at);
    unlock();
    return refusal;
}

uintptr_t sh_host_window(size_t size)
{
    size_t align = (size_t)(size >> 26 != 0 && sizeof(uintptr_t) == 8 ? 64 : 4) << 20;
    uintptr_t found, base;
    void *range;

    if (size == 0 || size > SIZE_MAX - align - SH_GRANULE_SIZE)
        return 0;
    size = (size + (SH_GRANULE_SIZE - 1)) & ~(SH_GRANULE_SIZE - 1);
    range = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        return 0;
    found = (uintptr_t)range;
    base = (found + (align - 1)) & ~(uintptr_t)(align - 1);
    if (base != found)
        munmap(range, base - found);
    munmap(pointer(base + size), found + align - base);
    if (sh_add_window(base, size) == SH_OK)
        return base;
    munmap(pointer(base), size);
    return 0;
}

/*
 * The seven functions that are not in windows.c
 */

bool sh_arch_map(uintptr_t base, size_t size)
{
    shadow_write(base, size, SH_PREPARED);
    return true;
}

/* Linux gives zeros at the first touch, also after MADV_DONTNEED. */
bool sh_arch_commit(uintptr_t base, size_t size)
{
    bool done;

    lock();
    done = mprotect(pointer(base), size, PROT_READ | PROT_WRITE) == 0;
    for (size_t at = 0; at < size; at += SH_ARCH_PAGE_SIZE) {
        if (shadow_read(base + at) == SH_READY)
            continue;
        if (done)
            shadow_write(base + at, SH_ARCH_PAGE_SIZE, SH_READY);
        else
            (void)mprotect(pointer(base + at), SH_ARCH_PAGE_SIZE, PROT_NONE);
    }
    unlock();
    return done;
}

/* Linux may be unable to split a mapping; then the pages are empty but can be touched. */
static void take_down(uintptr_t base, size_t size, enum sh_state state)
{
    lock();
    (void)madvise(pointer(base), size, MADV_DONTNEED);
    (void)mprotect(pointer(base), size, PROT_NONE);
    shadow_write(base, size, state);
    unlock();
}

void sh_arch_decommit(uintptr_t base, size_t size)
{
    take_down(base, size, SH_PREPARED);
}

void sh_arch_fault(uintptr_t base, size_t size)
{
    take_down(base, size, SH_FAULT);
}

ARCH_CALL size_t arch_pages_drop(uintptr_t base, size_t size)
{
    take_down(base, size, SH_NONE);
    return 0;
}

enum sh_state sh_arch_state(uintptr_t address)
{
    enum sh_state state;

    if (arch_window_owner(address) != ARCH_RESERVED)
        return SH_NONE;
    state = shadow_read(address);
    return state == SH_NONE ? SH_RESERVED : state;
}

/*
 * struct sh_port
 */

static int attach(const struct sh_hooks *hooks, unsigned cpus)
{
    (void)cpus;
    host.hooks = hooks != NULL ? *hooks : (struct sh_hooks){ .log = NULL };
    return SH_OK;
}

/* The addresses go back to Linux. */
ARCH_CALL static size_t give_back(uintptr_t base, size_t size)
{
    shadow_write(base, size, SH_NONE);
    munmap(pointer(base), size);
    return 0;
}

static int detach(void)
{
    arch_window_each(give_back);
    arch_window_forget_all();
    host.hooks = (struct sh_hooks){ .log = NULL };
    return SH_OK;
}

static bool physical(uintptr_t address, sh_paddr *out)
{
    (void)address;
    (void)out;
    return false;
}

static size_t table_bytes(void)
{
    return 0;
}

static size_t table_cost(uintptr_t base, size_t size)
{
    (void)base;
    (void)size;
    return 0;
}

const struct sh_port sh_arch_port = {
    .attach = attach,
    .detach = detach,
    .physical = physical,
    .table_bytes = table_bytes,
    .table_cost = table_cost,
    .windows = arch_window_count,
};
