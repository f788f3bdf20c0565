/*
 * Sequences of operations from bytes, over the host port: what a fuzzer steers, and what replays its
 * finds.
 *
 *   input     a byte of settings, then records of 4 bytes:  operation, count, a, b
 *   a record  does its operation 1 … 64 times; so a fill or a drain is one record, and a mutation of one
 *             byte changes its length, its size or its order
 *   oracle    constant work an operation: every object carries stamps at both ends and at a few places
 *             between, which are looked at when it is resized or freed; the heap's queries must name it;
 *             the counts of sh_stats must be ours; sh_verify at the end and when a record says so
 *
 * The three functions of the port that can fail are wrapped by the linker: the fuzzer chooses which call
 * does.
 *
 * With libFuzzer LLVMFuzzerTestOneInput is all.  Without it (FUZZ_ALONE):
 *   fuzz file …               replays
 *   fuzz seed=N runs=N        random inputs, the same for the same seed
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/host/host.h"
#include "mm/mm.h"

#define MIB ((size_t)1 << 20)
#define SLOTS 1024u
#define MOST_BYTES (24 * MIB)
#define WINDOW_BYTES (32 * MIB)
#define MOST_OPERATIONS 4096u
#define STAMP 8u

enum operation {
    TAKE, TAKE_ZEROED, TAKE_ALIGNED, RESIZE, GIVE_LAST, GIVE_FIRST, GIVE_ANY, GIVE_SIZED, TAKE_PAGES,
    TRIM, LIMIT, FAIL, VERIFY, ASK, MISUSE, CONTEXT, OPERATIONS
};

struct object {
    uint8_t *p;
    size_t size;
    uint32_t number;
    bool pages;
};

static struct object objects[SLOTS]; /* a ring of `count` from `first` */
static unsigned first, count, operations;
static size_t live_bytes;
static uint32_t numbers;
static unsigned fail_at; /* 0 = none */
static bool fail_on, misuse_expected, misuse_seen, zero;
static enum sh_context context_now;

#define EXPECT(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz.c:%d: not so: %s\n", line, what);
    abort();
}

/*
 * The kernel's side, and the port's three fallible functions
 */

void sh_kernel_panic(enum sh_panic kind, const char *report)
{
    misuse_seen = true;
    if (misuse_expected && kind == SH_PANIC_MISUSE)
        return;
    fprintf(stderr, "heap panic (%s): %s\n", kind == SH_PANIC_MISUSE ? "misuse" : "corruption", report);
    abort();
}

unsigned sh_kernel_cpu(void)
{
    return 0;
}

static enum sh_context context(void)
{
    return context_now;
}

static void log_line(const char *text)
{
    if (getenv("FUZZ_LOG") != NULL)
        fprintf(stderr, "%s\n", text);
}

static bool refused(void)
{
    if (fail_at == 0 || --fail_at != 0)
        return false;
    fail_at = fail_on;
    return true;
}

uintptr_t __real_sh_arch_reserve(uintptr_t hint, size_t size, size_t align);
bool __real_sh_arch_map(uintptr_t base, size_t size);
bool __real_sh_arch_commit(uintptr_t base, size_t size);
uintptr_t __wrap_sh_arch_reserve(uintptr_t hint, size_t size, size_t align);
bool __wrap_sh_arch_map(uintptr_t base, size_t size);
bool __wrap_sh_arch_commit(uintptr_t base, size_t size);

uintptr_t __wrap_sh_arch_reserve(uintptr_t hint, size_t size, size_t align)
{
    return refused() ? 0 : __real_sh_arch_reserve(hint, size, align);
}

bool __wrap_sh_arch_map(uintptr_t base, size_t size)
{
    return !refused() && __real_sh_arch_map(base, size);
}

bool __wrap_sh_arch_commit(uintptr_t base, size_t size)
{
    return !refused() && __real_sh_arch_commit(base, size);
}

/*
 * Objects
 */

/* Where the stamps of an object stand: both ends, and 14 places between. */
static unsigned stamps(const struct object *object, size_t at[16])
{
    size_t step = object->size >> 4;

    if (object->size < STAMP)
        return 0;
    if (step < STAMP) {
        at[0] = 0;
        at[1] = object->size - STAMP;
        return 2;
    }
    for (unsigned i = 0; i < 15; i++)
        at[i] = i * step;
    at[15] = object->size - STAMP;
    return 16;
}

static uint64_t stamp_of(const struct object *object, size_t at)
{
    return (object->number + at) * 0x9E3779B97F4A7C15u;
}

static void write_stamps(const struct object *object)
{
    size_t at[16];
    unsigned n = stamps(object, at);

    memset(object->p, (int)object->number, object->size < STAMP ? object->size : 0);
    for (unsigned i = 0; i < n; i++) {
        uint64_t stamp = stamp_of(object, at[i]);

        memcpy(object->p + at[i], &stamp, STAMP);
    }
}

/* Those that lie wholly in the first `size` bytes. */
static void check_stamps(const struct object *object, size_t size)
{
    size_t at[16];
    unsigned n = stamps(object, at);

    for (size_t i = 0; object->size < STAMP && i < object->size && i < size; i++)
        EXPECT(object->p[i] == (uint8_t)object->number);
    for (unsigned i = 0; i < n; i++) {
        uint64_t stamp = stamp_of(object, at[i]);

        if (at[i] + STAMP <= size && (i + 1 == n || at[i] + STAMP <= object->size - STAMP))
            EXPECT(memcmp(object->p + at[i], &stamp, STAMP) == 0);
    }
}

static void expect_zero(const uint8_t *p, size_t from, size_t to)
{
    for (size_t i = from; i < to && i < from + 64; i++)
        EXPECT(p[i] == 0);
    for (size_t i = to - from > 64 ? to - 64 : from; i < to; i++)
        EXPECT(p[i] == 0);
}

static void expect_known(const struct object *object)
{
    struct sh_object seen;
    size_t offset = object->size == 0 ? 0 : (object->size - 1) & (object->number * 4099u);

    EXPECT(sh_object_of(object->p + offset, &seen));
    EXPECT(seen.base == (uintptr_t)object->p && seen.size >= object->size && seen.live);
    EXPECT(sh_usable_size(object->p) == seen.size);
    EXPECT(sh_contains(object->p));
}

static struct object *nth(unsigned n)
{
    return &objects[(first + n) % SLOTS];
}

static void keep(uint8_t *p, size_t size, bool pages, bool zeroed)
{
    struct object *object = nth(count);

    if (p == NULL)
        return;
    *object = (struct object){ p, size, ++numbers, pages };
    expect_known(object);
    if (zeroed)
        expect_zero(p, 0, size);
    write_stamps(object);
    live_bytes += size;
    count++;
}

static bool has_room(size_t size)
{
    return count < SLOTS && size <= MOST_BYTES - live_bytes;
}

static void give(unsigned n, bool sized)
{
    struct object object;

    if (n >= count)
        return;
    object = *nth(n);
    expect_known(&object);
    check_stamps(&object, object.size);
    if (n == 0)
        first++;
    else
        *nth(n) = *nth(count - 1);
    count--;
    live_bytes -= object.size;
    if (object.pages)
        sh_free_pages(object.p);
    else if (sized)
        sh_free_sized(object.p, object.size);
    else
        sh_free(object.p);
}

static void resize(unsigned n, size_t size)
{
    struct object *object = nth(n);
    size_t kept;
    uint8_t *p;

    if (n >= count || object->pages || size > MOST_BYTES - live_bytes)
        return;
    check_stamps(object, object->size);
    p = sh_realloc(object->p, size);
    if (p == NULL) {
        EXPECT(size > object->size || context_now == SH_INTERRUPT);
        check_stamps(object, object->size);
        return;
    }
    kept = size < object->size ? size : object->size;
    object->p = p;
    check_stamps(object, kept);
    live_bytes = live_bytes - object->size + size;
    object->size = size;
    object->number = ++numbers;
    expect_known(object);
    write_stamps(object);
}

static void misuse(unsigned n, uint8_t how)
{
    uint8_t *p = n < count ? nth(n)->p : (uint8_t *)&numbers;

    misuse_expected = true;
    misuse_seen = false;
    switch (n < count ? how & 3 : 4) {
    case 0: sh_free(p + 1 + (how >> 2)); break;
    case 1: (void)sh_realloc(p + 1, 100); break;
    case 2: nth(n)->pages ? sh_free(p) : sh_free_pages(p); break;
    case 3: sh_free_sized(p, nth(n)->size + 40000 + MIB); break;
    case 4: sh_free(p); break;
    }
    EXPECT(misuse_seen);
    misuse_expected = false;
}

static void ask(unsigned n, uint8_t a, uint8_t b)
{
    uintptr_t address = n < count ? (uintptr_t)nth(n)->p : (uintptr_t)a << 40 | (uintptr_t)b << 21;
    struct sh_object object;
    sh_paddr frame;

    address += (uintptr_t)a << (b & 15);
    if (sh_object_of((void *)address, &object)) {
        EXPECT(address - object.base < object.size);
        EXPECT(sh_contains((void *)address));
        EXPECT(sh_usable_size((void *)object.base) == object.size);
    }
    (void)sh_usable_size((void *)address);
    (void)sh_physical((void *)address, &frame);
}

static void expect_counts(void)
{
    struct sh_stats stats;

    sh_stats(&stats);
    EXPECT(stats.live_objects == count);
    EXPECT(stats.live_bytes >= live_bytes);
    EXPECT(stats.heap_sys == stats.heap_in_use + stats.heap_free + stats.heap_released);
}

static void limit(uint8_t a)
{
    struct sh_stats stats;
    int error;

    sh_stats(&stats);
    error = sh_set_limit(a == 0 ? 0 : stats.frames_held + ((size_t)(a & 127) << 14));
    EXPECT(error == SH_OK || error == SH_E_BUSY);
}

static void operate(enum operation operation, uint8_t a, uint8_t b)
{
    size_t size = ((size_t)a << (b & 15)) + (b >> 4); /* up to 8 MiB; small ones most often */
    size_t align = (size_t)1 << (b >> 4);
    unsigned any = count == 0 ? 0 : (a * 7919u + b * 104729u + operations) % count;
    bool thread = context_now == SH_THREAD;

    switch (operation) {
    case TAKE:
        if (has_room(size))
            keep(sh_malloc(size), size, false, zero);
        break;
    case TAKE_ZEROED:
        if (has_room(size))
            keep(sh_calloc(1, size), size, false, true);
        break;
    case TAKE_ALIGNED:
        if (has_room(size) && thread) {
            uint8_t *p = sh_aligned_alloc(align, size);

            EXPECT(((uintptr_t)p & (align - 1)) == 0);
            keep(p, size, false, zero);
        }
        break;
    case RESIZE: resize(any, size); break;
    case GIVE_LAST: give(count - 1, (a & 1) != 0); break;
    case GIVE_FIRST: give(0, (a & 1) != 0); break;
    case GIVE_ANY: give(any, false); break;
    case GIVE_SIZED: give(any, true); break;
    case TAKE_PAGES:
        size = (1 + (size_t)(a & 15)) * SH_PAGE_SIZE;
        if (has_room(size) && thread)
            keep(sh_alloc_pages(size / SH_PAGE_SIZE), size, true, false);
        break;
    case TRIM:
        if (thread)
            (void)sh_trim(size);
        break;
    case LIMIT:
        if (thread)
            limit(a);
        break;
    case FAIL:
        fail_at = a & 31;
        fail_on = (b & 1) != 0;
        break;
    case VERIFY:
        EXPECT(sh_verify() == 0);
        expect_counts();
        break;
    case ASK: ask(any, a, b); break;
    case MISUSE: misuse((b & 128) != 0 ? SLOTS : any, b); break;
    case CONTEXT: context_now = (a & 3) == 0 ? SH_INTERRUPT : SH_THREAD; break;
    case OPERATIONS: break;
    }
}

/* What costs more than an operation is done once a record. */
static bool repeats(enum operation operation)
{
    return operation < TRIM || operation == ASK;
}

static void run(const uint8_t *data, size_t size)
{
    for (size_t at = 1; at + 4 <= size && operations < MOST_OPERATIONS; at += 4) {
        enum operation operation = (enum operation)(data[at] % OPERATIONS);
        unsigned times = repeats(operation) ? 1 + (data[at + 1] & 63) : 1;

        /* A phase walks through sizes if the count says so. */
        for (unsigned i = 0; i < times; i++, operations++)
            operate(operation, (uint8_t)(data[at + 2] + ((data[at + 1] & 64) != 0 ? i : 0)), data[at + 3]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sh_hooks hooks = { .context = context, .log = log_line };
    struct sh_config config = { .size = sizeof config, .hooks = &hooks };

    if (size < 5)
        return 0;
    first = count = operations = fail_at = 0;
    live_bytes = 0;
    context_now = SH_THREAD;
    zero = config.zero = (data[0] & 1) != 0;
    config.limit = (data[0] & 2) != 0 ? (size_t)(data[0] >> 2) << 18 : 0;
    EXPECT(sh_host_window(WINDOW_BYTES) != 0);
    EXPECT((data[0] & 4) == 0 || sh_host_window(4 * MIB) != 0);
    EXPECT(!sh_physical(objects, &(sh_paddr){ 0 }));
    EXPECT(sh_init(&config) == SH_OK);
    run(data, size);
    context_now = SH_THREAD;
    fail_at = 0;
    EXPECT(sh_verify() == 0);
    expect_counts();
    while (count > 0)
        give(0, false);
    (void)sh_trim(0);
    EXPECT(sh_verify() == 0);
    expect_counts();
    EXPECT(sh_shutdown() == SH_OK);
    return 0;
}

#ifdef FUZZ_ALONE

static int replay(const char *name)
{
    static uint8_t data[65536];
    FILE *file = fopen(name, "rb");
    size_t size;

    if (file == NULL) {
        perror(name);
        return 1;
    }
    size = fread(data, 1, sizeof data, file);
    fclose(file);
    (void)LLVMFuzzerTestOneInput(data, size);
    printf("%s: %zu bytes, %u operations: nothing found\n", name, size, operations);
    return 0;
}

static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* An input that kills the process is in the file `last`. */
static int random_runs(uint32_t seed, unsigned long runs, const char *last)
{
    static uint8_t data[1025];
    unsigned long long all = 0;

    for (unsigned long i = 0; i < runs; i++) {
        uint32_t state = (seed + (uint32_t)i) * 0x9E3779B9u | 1;
        size_t size = 5 + next(&state) % (sizeof data - 5);
        FILE *file = last == NULL ? NULL : fopen(last, "wb");

        for (size_t at = 0; at < size; at++)
            data[at] = (uint8_t)(next(&state) >> 8);
        if (file != NULL) {
            fwrite(data, 1, size, file);
            fclose(file);
        }
        (void)LLVMFuzzerTestOneInput(data, size);
        all += operations;
    }
    printf("%lu random inputs, %llu operations: nothing found\n", runs, all);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long seed = 1, runs = 0;
    const char *last = NULL;
    int status = 0;

    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "seed=", 5) == 0)
            seed = strtoul(argv[i] + 5, NULL, 0);
        else if (strncmp(argv[i], "runs=", 5) == 0)
            runs = strtoul(argv[i] + 5, NULL, 0);
        else if (strncmp(argv[i], "last=", 5) == 0)
            last = argv[i] + 5;
        else
            status |= replay(argv[i]);
    }
    return runs != 0 ? random_runs((uint32_t)seed, runs, last) : status;
}

#endif
