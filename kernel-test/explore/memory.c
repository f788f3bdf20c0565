/*
 * Memory as the code under test sees it: every load, store and atomic of it comes here first, by the
 * calls that the compiler's thread sanitizer puts in.
 *
 * 1. Points.  An access is a point, where another fiber may go on, if another fiber also uses one of its
 *    bytes and one of both writes it.  Who uses what is noted in all schedules; when that says more than
 *    the search knew, it begins anew.
 *
 * 2. Stores.  The store itself comes after its announcement, so it is settled at the next call: then the
 *    word's new value goes into the hash, and into the CPU's buffer.  A copy of a structure announces its
 *    store, then its load, and then does both: the load is let pass.
 *
 * 3. Buffers.  With TSO and PSO a CPU's plain stores to words of others lie in its buffer, in order.
 *    While the CPU runs they stand in memory; when another one goes on they are hidden, and the word holds
 *    what it held before.  When somebody then comes to that word, there is a choice: the store has arrived
 *    by now, or not.  Nobody can see the difference earlier.  One that was late has been seen to be late:
 *    at most MEMORY_LATE a CPU are so at once.
 *
 *        TSO   stores arrive in order; a locked access and a full fence wait for all.
 *        PSO   stores to one place arrive in order; a release store, read-modify-write or fence waits
 *              for all before it.  Of a relaxed or acquiring one earlier stores may be overtaken.
 *
 *    Stores to stacks, and those of code that is not instrumented, are never late.
 *
 * 4. Waiting.  What a fiber read since its last pause is kept, byte by byte, as it was when it was read first
 *    or stored by itself since.  It goes on after the next pause when some of it is not so any more.
 */
#include "kernel-test/explore/explore.h"

#include <stdio.h>
#include <string.h>

enum { MEMORY_LATE = 2, BUFFER = 512, READS = 8192 };
enum { READ = 1, WRITE = 2, BUFFERED = 4, COPY = 8, DRAINS = 16 };

/* Of C11, as the compiler numbers them. */
enum { RELAXED, CONSUME, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };

struct store {
    uint64_t mask, old, new;
    uint32_t word;
    bool late;
};

static struct buffer {
    struct store store[BUFFER];
    unsigned count;
    unsigned open; /* the last so many are not settled */
    bool shown;
} buffers[CPUS_MAX];
static unsigned buffered; /* in all */

/* The store that was announced last. */
static struct {
    uint32_t at, first, last; /* words */
    size_t size;
    uint64_t sum; /* of their hashes */
    bool active, tracked;
} pending;

static struct reads {
    struct {
        uint64_t value, mask; /* bytes: when they were read first, or stored by itself since */
        uint32_t word;
    } read[READS];
    unsigned count;
    bool lost;
    uint64_t hash; /* when it paused */
} reads[FIBERS_MAX];

void memory_start(void)
{
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        buffers[cpu].count = buffers[cpu].open = 0;
        buffers[cpu].shown = false;
    }
    for (unsigned fiber = 0; fiber < FIBERS_MAX; fiber++) {
        memory_forget_reads(fiber);
    }
    buffered = 0;
    pending.active = false;
}

static void word_put(uint32_t word, uint64_t value)
{
    uint64_t *at = image_word(word);
    image_dirty(word * 8, 8);
    image_hash += word_hash(word, value) - word_hash(word, *at);
    *at = value;
}

/* ---- buffers ---- */

static void buffer_drop(struct buffer *buffer, unsigned index)
{
    buffer->count--;
    buffered--;
    memmove(&buffer->store[index], &buffer->store[index + 1],
            (buffer->count - index) * sizeof buffer->store[0]);
}

void memory_drain(unsigned cpu)
{
    memory_show(cpu);
    buffered -= buffers[cpu].count;
    buffers[cpu].count = buffers[cpu].open = 0;
}

void memory_show(unsigned cpu)
{
    struct buffer *buffer = &buffers[cpu];
    if (buffer->shown) {
        return;
    }
    buffer->shown = true;
    for (unsigned i = 0; i < buffer->count; i++) {
        struct store *store = &buffer->store[i];
        store->old = *image_word(store->word);
        word_put(store->word, (store->old & ~store->mask) | (store->new & store->mask));
    }
}

void memory_hide(unsigned cpu)
{
    struct buffer *buffer = &buffers[cpu];
    if (!buffer->shown) {
        return;
    }
    buffer->shown = false;
    for (unsigned i = buffer->count; i-- > 0;) {
        struct store *store = &buffer->store[i];
        uint64_t now = *image_word(store->word);
        word_put(store->word, (now & ~store->mask) | (store->old & store->mask));
    }
}

/* A store of a CPU that does not run arrives. */
static void arrive(struct buffer *buffer, unsigned index)
{
    struct store store = buffer->store[index];
    uint64_t now = *image_word(store.word);
    buffer_drop(buffer, index);
    word_put(store.word, (now & ~store.mask) | (store.new & store.mask));
}

static bool meets(const struct store *a, const struct store *b)
{
    return a->word == b->word && (a->mask & b->mask) != 0;
}

/* So do those that must arrive before it. */
static void arrive_in_order(struct buffer *buffer, unsigned index)
{
    struct store store = buffer->store[index];
    for (unsigned i = 0; i < index;) {
        if (mode == MODE_TSO || meets(&buffer->store[i], &store)) {
            arrive(buffer, i);
            index--;
        } else {
            i++;
        }
    }
    arrive(buffer, index);
}

bool memory_drain_hidden(void)
{
    bool some = buffered != 0;
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        while (buffers[cpu].count != 0) {
            arrive(&buffers[cpu], 0);
        }
    }
    return some;
}

uint64_t memory_buffers_hash(void)
{
    uint64_t hash = 0;
    for (unsigned cpu = 0; buffered != 0 && cpu < CPUS_MAX; cpu++) {
        for (unsigned i = 0; i < buffers[cpu].count; i++) {
            const struct store *store = &buffers[cpu].store[i];
            hash = mix(hash + store->mask + cpu);
            hash = mix(hash + (store->new & store->mask) + store->late);
            hash = mix(hash + store->word);
        }
    }
    return hash;
}

static uint64_t byte_mask(uint32_t word, uint32_t at, size_t size)
{
    uint32_t low = word * 8 > at ? 0 : at - word * 8;
    size_t high = at + size - word * 8;
    high = high > 8 ? 8 : high;
    uint64_t upto = high == 8 ? UINT64_MAX : ((uint64_t)1 << (high * 8)) - 1;
    return upto & ~(((uint64_t)1 << (low * 8)) - 1);
}

/* The stores of another CPU to these bytes, oldest first; how many may still be late. */
static unsigned late_ones(const struct buffer *buffer, uint32_t at, size_t size, unsigned *index,
                          unsigned *may_be_late)
{
    unsigned count = 0, late = 0, more = 0;
    for (unsigned i = 0; i < buffer->count; i++) {
        const struct store *store = &buffer->store[i];
        late += store->late;
        if (store->word >= at / 8 && store->word <= (at + size - 1) / 8 &&
            (store->mask & byte_mask(store->word, at, size)) != 0) {
            index[count++] = i;
        }
    }
    for (*may_be_late = 0; *may_be_late < count; ++*may_be_late) {
        more += !buffer->store[index[count - 1 - *may_be_late]].late;
        if (mode == MODE_PSO && late + more > MEMORY_LATE) {
            break;
        }
    }
    return count;
}

/* The running CPU comes to bytes that others have stored to. */
static void look_in_buffers(uint32_t at, size_t size)
{
    for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++) {
        struct buffer *buffer = &buffers[cpu];
        unsigned index[BUFFER], may_be_late;
        if (cpu == cpu_now || buffer->count == 0) {
            continue;
        }
        unsigned count = late_ones(buffer, at, size, index, &may_be_late);
        if (count == 0) {
            continue;
        }
        unsigned late = choose_store(may_be_late + 1);
        for (unsigned i = count - late; i < count; i++) {
            buffer->store[index[i]].late = true;
        }
        if (late < count) {
            arrive_in_order(buffer, index[count - late - 1]);
        }
    }
}

static void buffer_open(uint32_t at, size_t size)
{
    struct buffer *buffer = &buffers[cpu_now];
    for (uint32_t word = at / 8; word <= (at + size - 1) / 8; word++) {
        uint64_t mask = byte_mask(word, at, size), conflict;
        memcpy(&conflict, image_conflict + (size_t)word * 8, 8);
        /* The other bytes are written without a note here, so they must not be put back either. */
        mask &= replaying ? ~(uint64_t)0 : conflict * 0xff;
        if (mask == 0) {
            continue;
        }
        if (buffer->count == BUFFER) {
            buffer_drop(buffer, 0);
            buffer->open -= buffer->open == buffer->count + 1;
        }
        buffer->store[buffer->count++] =
            (struct store){ .mask = mask, .old = *image_word(word), .word = word };
        buffer->open++;
        buffered++;
    }
}

/* ---- accesses ---- */

/* What the running fiber stores is no change that it waits for. */
static void know_own(uint32_t word, uint64_t mask)
{
    struct reads *list = &reads[fiber_now];
    uint32_t index = image_read[fiber_now][word];
    if (index < list->count && list->read[index].word == word) {
        uint64_t *value = &list->read[index].value;
        *value = (*value & ~mask) | (*image_word(word) & mask);
    }
}

void memory_settle(void)
{
    if (!pending.active) {
        return;
    }
    pending.active = false;
    struct buffer *buffer = &buffers[cpu_now];
    for (; buffer->open != 0; buffer->open--) {
        struct store *store = &buffer->store[buffer->count - buffer->open];
        store->new = *image_word(store->word);
    }
    while (mode == MODE_TSO && !replaying && buffer->count > MEMORY_LATE) {
        buffer_drop(buffer, 0);
    }
    for (uint32_t word = pending.first; word <= pending.last; word++) {
        know_own(word, byte_mask(word, pending.at, pending.size));
    }
    if (!pending.tracked) {
        return;
    }
    image_hash -= pending.sum;
    for (uint32_t word = pending.first; word <= pending.last; word++) {
        image_hash += word_hash(word, *image_word(word));
    }
}

static void begin_store(uint32_t at, size_t size, unsigned how)
{
    pending.active = true;
    pending.at = at;
    pending.size = size;
    pending.first = at / 8;
    pending.last = (uint32_t)(at + size - 1) / 8;
    pending.tracked = !image_is_stack(at);
    if (pending.tracked) {
        image_dirty(at, size);
        pending.sum = 0;
    }
    for (uint32_t word = pending.first; pending.tracked && word <= pending.last; word++) {
        pending.sum += word_hash(word, *image_word(word));
    }
    if (mode != MODE_SC && (how & BUFFERED) != 0 && pending.tracked) {
        buffer_open(at, size);
    }
}

static void note_read(uint32_t at, size_t size)
{
    struct reads *list = &reads[fiber_now];
    if (size > 8 || list->count > READS - 2) {
        list->lost = true;
        return;
    }
    for (uint32_t word = at / 8; word <= (at + size - 1) / 8; word++) {
        uint32_t *known = &image_read[fiber_now][word], index = *known;
        if (index >= list->count || list->read[index].word != word) {
            *known = index = list->count++;
            list->read[index].word = word;
            list->read[index].mask = list->read[index].value = 0;
        }
        uint64_t new = byte_mask(word, at, size) & ~list->read[index].mask;
        list->read[index].mask |= new;
        list->read[index].value |= *image_word(word) & new;
    }
}

static bool any(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return true;
        }
    }
    return false;
}

static inline bool in_conflict(uint32_t at, size_t size)
{
    uint64_t eight;
    if (size <= 8) {
        memcpy(&eight, image_conflict + at, 8);
        return size == 8 ? eight != 0 : (eight & (((uint64_t)1 << (size * 8)) - 1)) != 0;
    }
    return any(image_conflict + at, size);
}

static inline void note_user(uint32_t at, size_t size, unsigned how)
{
    uint8_t bit = (uint8_t)(1u << fiber_now);
    for (size_t i = 0; i < size; i++) {
        if ((how & READ) != 0) {
            image_readers[at + i] |= bit;
        }
        if ((how & WRITE) != 0) {
            image_writers[at + i] |= bit;
        }
    }
}

static void access(const volatile void *pointer, size_t size, unsigned how)
{
    uint32_t at = image_at((uintptr_t)pointer);
    if (!running) {
        if ((how & WRITE) != 0 && at != NOWHERE) {
            image_dirty(at, size);
        }
        return;
    }
    /* A copy: the load is announced, and the store has still to come. */
    bool copies = pending.active && (how & (READ | WRITE | COPY)) == (READ | COPY) && pending.size == size;
    if (!copies) {
        memory_settle();
    }
    if (++steps > last_step) {
        violated("no end: too many steps");
    }
    if (at == NOWHERE || size == 0) {
        return;
    }
    if (at < HEAP_SIZE && !(port_touchable(at >> 12) && port_touchable((uint32_t)((at + size - 1) >> 12)))) {
        violated("%s of %p, which is not committed", (how & WRITE) != 0 ? "a write" : "a read",
                 (const void *)(uintptr_t)pointer);
    }
    note_user(at, size, how);
    if (copies) {
        return;
    }
    /* Before a wait for stores as well: it is the last chance to see that they are late. */
    bool drains = (how & DRAINS) != 0 && buffers[cpu_now].count != 0;
    if (steps >= next_choice && (replaying || drains || in_conflict(at, size))) {
        point();
    }
    if (drains) {
        memory_drain(cpu_now);
    }
    if (buffered != 0) {
        look_in_buffers(at, size);
    }
    if ((how & READ) != 0) {
        note_read(at, size);
    }
    if ((how & WRITE) != 0) {
        begin_store(at, size, how);
    }
}

/* DRAINS, if what comes waits for the CPU's earlier stores. */
static unsigned order(int strength, bool is_rmw)
{
    if (mode == MODE_SC || !running) {
        return 0;
    }
    return (mode == MODE_TSO ? is_rmw || strength == SEQ_CST
                             : strength == RELEASE || strength == ACQ_REL || strength == SEQ_CST)
               ? DRAINS
               : 0;
}

/* Its own earlier stores to the word come first. */
static void own_first(const volatile void *pointer)
{
    uint32_t at = image_at((uintptr_t)pointer);
    struct buffer *buffer = &buffers[cpu_now];
    for (unsigned i = 0; running && buffered != 0 && i < buffer->count;) {
        if (buffer->store[i].word == at / 8) {
            buffer_drop(buffer, i);
        } else {
            i++;
        }
    }
}

/* ---- waiting ---- */

void memory_forget_reads(unsigned fiber)
{
    reads[fiber].count = 0;
    reads[fiber].lost = false;
}

static bool is_awaited(const struct reads *list, const struct store *store)
{
    uint64_t now = *image_word(store->word);
    for (unsigned i = 0; i < list->count; i++) {
        if (list->read[i].word == store->word &&
            ((now ^ store->new) & store->mask & list->read[i].mask) != 0) {
            return true;
        }
    }
    return false;
}

/* Stores that have not arrived, and will. */
static bool is_coming(unsigned fiber, bool deliver)
{
    bool some = false;
    for (unsigned cpu = 0; buffered != 0 && cpu < CPUS_MAX; cpu++) {
        struct buffer *buffer = &buffers[cpu];
        for (unsigned i = 0; i < buffer->count; i++) {
            if (is_awaited(&reads[fiber], &buffer->store[i])) {
                some = true;
                if (deliver) {
                    arrive_in_order(buffer, i);
                    i = (unsigned)-1;
                }
            }
        }
    }
    return some;
}

bool memory_has_changed(unsigned fiber)
{
    const struct reads *list = &reads[fiber];
    if (list->lost || is_coming(fiber, false)) {
        return true;
    }
    for (unsigned i = 0; i < list->count; i++) {
        if (((*image_word(list->read[i].word) & list->read[i].mask) ^ list->read[i].value) != 0) {
            return true;
        }
    }
    return false;
}

void memory_deliver_awaited(unsigned fiber)
{
    is_coming(fiber, true);
}

void memory_await(void)
{
    struct reads *list = &reads[fiber_now];
    uint64_t hash = list->lost;
    for (unsigned i = 0; i < list->count; i++) {
        hash = mix(hash + list->read[i].value) + list->read[i].word;
    }
    list->hash = hash;
}

uint64_t memory_awaited_hash(unsigned fiber)
{
    return reads[fiber].hash;
}

/* ---- conflicts ---- */

bool memory_new_conflicts(void)
{
    bool some = false;
    for (size_t at = 0; at < image_size; at += 8) {
        uint64_t writers, readers;
        memcpy(&writers, image_writers + at, 8);
        if (writers == 0) {
            continue;
        }
        memcpy(&readers, image_readers + at, 8);
        uint64_t all = readers | writers;
        for (unsigned i = 0; i < 8; i++, all >>= 8, writers >>= 8) {
            uint8_t users = (uint8_t)all;
            if ((uint8_t)writers != 0 && (users & (users - 1)) != 0 && !image_conflict[at + i]) {
                image_conflict[at + i] = 1;
                some = true;
            }
        }
    }
    return some;
}

void memory_forget_conflicts(void)
{
    memset(image_conflict, 0, image_size);
    memset(image_readers, 0, image_size);
    memset(image_writers, 0, image_size);
}

/* ---- for code that is not instrumented ---- */

void memory_put8(uint8_t *at, uint8_t value)
{
    if (running) {
        memory_settle();
    }
    uint32_t place = image_at((uintptr_t)at);
    uint64_t before = word_hash(place / 8, *image_word(place / 8));
    image_dirty(place, 1);
    *at = value;
    image_hash += word_hash(place / 8, *image_word(place / 8)) - before;
}

void memory_clear(uintptr_t base, size_t size)
{
    if (running) {
        memory_settle();
    }
    for (uint32_t word = image_at(base) / 8, end = word + (uint32_t)(size / 8); word < end; word++) {
        if (*image_word(word) != 0) {
            word_put(word, 0);
        }
    }
}

/* ---- what the compiler calls ---- */

void *explore_memset(void *to, int byte, size_t size);
void *explore_memset(void *to, int byte, size_t size)
{
    if (size != 0) {
        access(to, size, WRITE | BUFFERED);
    }
    return memset(to, byte, size);
}

void *explore_memcpy(void *to, const void *from, size_t size);
void *explore_memcpy(void *to, const void *from, size_t size)
{
    if (size != 0) {
        access(from, size, READ);
        access(to, size, WRITE | BUFFERED);
    }
    return memcpy(to, from, size);
}

#define NAME(a, b, c) a##b##c
#define PLAIN(name, size, how)                    \
    void NAME(__tsan_, name, )(void *pointer);    \
    void NAME(__tsan_, name, )(void *pointer)     \
    {                                             \
        access(pointer, size, how);               \
    }
PLAIN(read1, 1, READ)
PLAIN(read2, 2, READ)
PLAIN(read4, 4, READ)
PLAIN(read8, 8, READ)
PLAIN(read16, 16, READ | COPY)
PLAIN(unaligned_read2, 2, READ)
PLAIN(unaligned_read4, 4, READ)
PLAIN(unaligned_read8, 8, READ)
PLAIN(unaligned_read16, 16, READ | COPY)
PLAIN(write1, 1, WRITE | BUFFERED)
PLAIN(write2, 2, WRITE | BUFFERED)
PLAIN(write4, 4, WRITE | BUFFERED)
PLAIN(write8, 8, WRITE | BUFFERED)
PLAIN(write16, 16, WRITE | BUFFERED)
PLAIN(unaligned_write2, 2, WRITE | BUFFERED)
PLAIN(unaligned_write4, 4, WRITE | BUFFERED)
PLAIN(unaligned_write8, 8, WRITE | BUFFERED)
PLAIN(unaligned_write16, 16, WRITE | BUFFERED)

void __tsan_read_range(void *pointer, size_t size);
void __tsan_read_range(void *pointer, size_t size)
{
    access(pointer, size, READ | COPY);
}

void __tsan_write_range(void *pointer, size_t size);
void __tsan_write_range(void *pointer, size_t size)
{
    access(pointer, size, WRITE | BUFFERED);
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_atomic_thread_fence(int strength);
void __tsan_atomic_thread_fence(int strength)
{
    if (order(strength, false) == 0) {
        return;
    }
    memory_settle();
    steps++;
    if (buffers[cpu_now].count != 0 && steps >= next_choice) {
        point();
    }
    memory_drain(cpu_now);
}

void __tsan_atomic_signal_fence(int strength);
void __tsan_atomic_signal_fence(int strength)
{
    (void)strength;
}

#define FETCH(bits, name, expression)                                                            \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile void *pointer, uint##bits##_t value,    \
                                                int strength);                                   \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile void *pointer, uint##bits##_t value,    \
                                                int strength)                                    \
    {                                                                                            \
        volatile uint##bits##_t *at = pointer;                                                   \
        access(at, bits / 8, READ | WRITE | order(strength, true));                              \
        own_first(at);                                                                           \
        uint##bits##_t was = *at;                                                                \
        *at = (uint##bits##_t)(expression);                                                      \
        return was;                                                                              \
    }

#define COMPARE(bits, name)                                                                      \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile void *pointer, void *expected,    \
                                                      uint##bits##_t desired, int strength,      \
                                                      int otherwise);                            \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile void *pointer, void *expected,    \
                                                      uint##bits##_t desired, int strength,      \
                                                      int otherwise)                             \
    {                                                                                            \
        volatile uint##bits##_t *at = pointer;                                                   \
        uint##bits##_t *wanted = expected;                                                       \
        (void)otherwise;                                                                         \
        access(at, bits / 8, READ | WRITE | order(strength, true));                              \
        own_first(at);                                                                           \
        if (*at != *wanted) {                                                                    \
            *wanted = *at;                                                                       \
            return 0;                                                                            \
        }                                                                                        \
        *at = desired;                                                                           \
        return 1;                                                                                \
    }

#define ATOMIC(bits)                                                                             \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *pointer, int strength);       \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile void *pointer, int strength)        \
    {                                                                                            \
        (void)strength;                                                                          \
        access(pointer, bits / 8, READ);                                                         \
        return *(const volatile uint##bits##_t *)pointer;                                        \
    }                                                                                            \
    void __tsan_atomic##bits##_store(volatile void *pointer, uint##bits##_t value, int strength); \
    void __tsan_atomic##bits##_store(volatile void *pointer, uint##bits##_t value, int strength) \
    {                                                                                            \
        access(pointer, bits / 8, (strength == SEQ_CST ? WRITE : WRITE | BUFFERED) |             \
                                      order(strength, false));                                   \
        *(volatile uint##bits##_t *)pointer = value;                                             \
    }                                                                                            \
    FETCH(bits, exchange, value)                                                                 \
    FETCH(bits, fetch_add, was + value)                                                          \
    FETCH(bits, fetch_sub, was - value)                                                          \
    FETCH(bits, fetch_and, was & value)                                                          \
    FETCH(bits, fetch_or, was | value)                                                           \
    FETCH(bits, fetch_xor, was ^ value)                                                          \
    COMPARE(bits, strong)                                                                        \
    COMPARE(bits, weak)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)
