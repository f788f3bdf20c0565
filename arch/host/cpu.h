/*
 * The CPU as a Linux program sees it, 64-bit or 32-bit.
 *
 * Included by every layer as "cpu.h".  A program has no interrupts to mask, so masking is free and
 * protects nothing: with more than one thread the heap must be built with SH_MAX_CPUS > 1.  There is no
 * page-table part: arch/host/host.c asks Linux.
 */
#ifndef SPANHEAP_HOST_CPU_H
#define SPANHEAP_HOST_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uintptr_t arch_flags;

#ifdef HOST_INTERRUPTS
/* A mask, and a handler that comes just before it is set and just after it is lifted; NULL = none. */
__attribute__((weak)) void (*host_interrupt)(void);
__attribute__((weak)) arch_flags host_masked;

static inline arch_flags arch_irq_save(void)
{
    arch_flags flags = host_masked;

    if (flags == 0 && host_interrupt != NULL)
        host_interrupt();
    host_masked = 1;
    return flags;
}

static inline void arch_irq_restore(arch_flags flags)
{
    host_masked = flags;
    if (flags == 0 && host_interrupt != NULL)
        host_interrupt();
}

static inline bool arch_irq_enabled(void)
{
    return host_masked == 0;
}
#elif defined(HOST_CPUS)
/* Threads as CPUs: a mask each, host_answer where a CPU would take an interrupt, which is just before the mask
 * is set and just after it is lifted, and host_wait where it waits, masked or not.  The program defines them. */
extern __thread arch_flags host_masked;
void host_answer(void);
void host_wait(void);

static inline arch_flags arch_irq_save(void)
{
    arch_flags flags = host_masked;

    if (flags == 0)
        host_answer();
    host_masked = 1;
    return flags;
}

static inline void arch_irq_restore(arch_flags flags)
{
    host_masked = flags;
    if (flags == 0)
        host_answer();
}

static inline bool arch_irq_enabled(void)
{
    return host_masked == 0;
}
#else
static inline arch_flags arch_irq_save(void)
{
    return 0;
}

static inline void arch_irq_restore(arch_flags flags)
{
    (void)flags;
}

static inline bool arch_irq_enabled(void)
{
    return true;
}
#endif

/* In every loop that waits for another thread. */
static inline void arch_pause(void)
{
#ifdef HOST_CPUS
    host_wait();
#endif
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" : : : "memory");
#endif
}

/* Calls fn with this CPU's registers on the stack, from `here` up: context.S. */
void arch_spill(void (*fn)(uintptr_t here, void *arg), void *arg);

/* Brings a line that will be read soon nearer; any address. */
static inline void arch_prefetch(const void *address)
{
    __builtin_prefetch(address);
}

/* Zeros below the lowest, and above the highest, set bit.  The argument is not 0. */
static inline unsigned arch_ctz(uintptr_t word)
{
    return (unsigned)__builtin_ctzl(word);
}

static inline unsigned arch_clz(uintptr_t word)
{
    return (unsigned)__builtin_clzl(word);
}

static inline unsigned arch_popcount(uintptr_t word)
{
    return (unsigned)__builtin_popcountl(word);
}

/*
 * The fast paths of malloc and free.  Each is a few lines of C; where a compiler misses the short
 * instruction sequence, the port spells it out.
 */

/* The same pair for the fast paths, with a place of this CPU's to keep the flags in: a port uses the
 * place or the value, whichever is cheaper. */
static inline arch_flags arch_irq_save_at(arch_flags *place)
{
    (void)place;
    return arch_irq_save();
}

static inline void arch_irq_restore_at(const arch_flags *place, arch_flags flags)
{
    (void)place;
    arch_irq_restore(flags);
}

/* Takes the lowest set bit out of *word.  false = it was 0. */
static inline bool arch_bit_take(uintptr_t *word, unsigned *index)
{
    uintptr_t bits = *word;

    if (__builtin_expect(bits == 0, 0))
        return false;
    __atomic_store_n(word, bits & (bits - 1), __ATOMIC_RELAXED); /* others may look */
    *index = arch_ctz(bits);
    return true;
}

/* Sets a bit that is clear, in a map that lies `offset` (a constant) bytes into a record.  false = it
 * was set. */
static inline bool arch_bit_set(void *record, size_t offset, uint32_t index)
{
    uintptr_t *map = (uintptr_t *)((uintptr_t)record + offset);
    uintptr_t *word = &map[index / (8 * sizeof *map)];
    uintptr_t bit = (uintptr_t)1 << (index % (8 * sizeof *map));

    if (__builtin_expect((*word & bit) != 0, 0))
        return false;
    *word |= bit;
    return true;
}

/* The bit of a number modulo the word. */
static inline uintptr_t arch_bit(uint32_t index)
{
    return (uintptr_t)1 << (index % (8 * sizeof(uintptr_t)));
}

/* --*counter; true = it is 0 now. */
static inline bool arch_count_down(uint32_t *counter)
{
    return --*counter == 0;
}

/* a × b: the low half; the high half through `high`. */
static inline uint32_t arch_multiply(uint32_t a, uint32_t b, uint32_t *high)
{
    uint64_t product = (uint64_t)a * b;

    *high = (uint32_t)(product >> 32);
    return (uint32_t)product;
}

/* The value of the caller's parameter at `place`.  It came in a register. */
static inline uintptr_t arch_argument(const uintptr_t *place)
{
    return *place;
}

#endif
