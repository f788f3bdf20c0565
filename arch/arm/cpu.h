/*
 * The ARMv7-A CPU at PL1: interrupt masking, bit counting, caches and TLB, CP15 registers.
 *
 * Included by every layer as "cpu.h"; the page-table part is for the port and pte.h alone.  All
 * functions are inline, keep no state and may be called in any context.  No NEON, no divide.
 */
#ifndef SPANHEAP_ARM_CPU_H
#define SPANHEAP_ARM_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* CPSR as it was. */
typedef uintptr_t arch_flags;

enum { ARCH_CPSR_I = 0x80 };

/* Masks IRQ only: a fast interrupt (FIQ) is to the heap what an NMI is. */
static inline arch_flags arch_irq_save(void)
{
    arch_flags flags;

    __asm__ volatile("mrs %0, cpsr\n\tcpsid i" : "=r"(flags) : : "memory");
    return flags;
}

/* Writes the mask bits and the mode; the mode is still the same one. */
static inline void arch_irq_restore(arch_flags flags)
{
    __asm__ volatile("msr cpsr_c, %0" : : "r"(flags) : "memory");
}

static inline bool arch_irq_enabled(void)
{
    arch_flags flags;

    __asm__ volatile("mrs %0, cpsr" : "=r"(flags) : : "memory");
    return (flags & ARCH_CPSR_I) == 0;
}

/* In every loop that waits for another CPU. */
static inline void arch_pause(void)
{
    __asm__ volatile("yield" : : : "memory");
}

/* Calls fn with this CPU's registers on the stack, from `here` up: context.S. */
void arch_spill(void (*fn)(uintptr_t here, void *arg), void *arg);

/* Brings a line that will be read soon nearer; any address. */
static inline void arch_prefetch(const void *address)
{
    __asm__ volatile("pld [%0]" : : "r"(address));
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

/* The builtin would call libgcc. */
static inline unsigned arch_popcount(uintptr_t word)
{
    word = word - (word >> 1 & 0x55555555u);
    word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
    word = (word + (word >> 4)) & 0x0F0F0F0Fu;
    return (unsigned)(word * 0x01010101u >> 24);
}

#define ARCH_CP15_READ(name, operands)                                                             \
    static inline uint32_t name(void)                                                              \
    {                                                                                              \
        uint32_t value;                                                                            \
                                                                                                   \
        __asm__ volatile("mrc p15, " operands : "=r"(value));                                      \
        return value;                                                                              \
    }

ARCH_CP15_READ(arch_sctlr, "0, %0, c1, c0, 0")
ARCH_CP15_READ(arch_ttbr0, "0, %0, c2, c0, 0")
ARCH_CP15_READ(arch_ttbr1, "0, %0, c2, c0, 1")
ARCH_CP15_READ(arch_ttbcr, "0, %0, c2, c0, 2")
ARCH_CP15_READ(arch_dacr, "0, %0, c3, c0, 0")
ARCH_CP15_READ(arch_prrr, "0, %0, c10, c2, 0")
ARCH_CP15_READ(arch_ctr, "0, %0, c0, c0, 1")
ARCH_CP15_READ(arch_mpidr, "0, %0, c0, c0, 5")
ARCH_CP15_READ(arch_id_mmfr3, "0, %0, c0, c1, 7")

/*
 * Ordering of page-table changes.  The port calls these at the points where order matters, and
 * no pte.h does:
 *
 *   arch_table_written   entries were stored through this mapping: bring them to where the walker reads
 *   arch_published       all that was written is seen by the walker and by other CPUs from here on
 *   arch_flush           nothing that this CPU (ARCH_FLUSH_IS_GLOBAL: any CPU) remembers of the range
 *                        survives; complete when it returns
 */
enum { ARCH_FLUSH_IS_GLOBAL = 1 };

/* Above so many pages the whole TLB goes at once. */
enum { ARCH_FLUSH_PAGES_MAX = 64 };

/* Do table walks look into the data caches?  Only if the CPU can (ID_MMFR3 bits 23:20) and every TTBR in
 * use asks for cacheable walks (IRGN is bits 6 and 0). */
static inline bool arch_walk_is_coherent(void)
{
    uint32_t ttbr = arch_ttbr0();

    if ((arch_ttbcr() & 7) != 0) {
        uint32_t other = arch_ttbr1();

        if ((other & 0x41) == 0)
            return false;
    }
    return (ttbr & 0x41) != 0 && (arch_id_mmfr3() >> 20 & 15) != 0;
}

/* DCCMVAC: to the point of coherency, which every walker sees whatever its attributes are. */
static inline void arch_table_written(const volatile void *entries, size_t size_bytes)
{
    uintptr_t line_bytes = (uintptr_t)4 << (arch_ctr() >> 16 & 15);
    uintptr_t first = (uintptr_t)entries & ~(line_bytes - 1);
    uintptr_t end = (uintptr_t)entries + size_bytes;

    __asm__ volatile("" : : : "memory");
    if (arch_walk_is_coherent())
        return;
    for (uintptr_t line = first; line - first < end - first; line += line_bytes)
        __asm__ volatile("mcr p15, 0, %0, c7, c10, 1" : : "r"(line) : "memory");
}

/* The ISB lets this CPU's next instruction use what became present. */
static inline void arch_published(void)
{
    __asm__ volatile("dsb\n\tisb" : : : "memory");
}

/* Local, for a CPU without the multiprocessing extensions (MPIDR bit 31), where the broadcast forms are
 * undefined. */
static inline void arch_flush_local(uintptr_t base, size_t size_bytes)
{
    if (size_bytes >> 12 > ARCH_FLUSH_PAGES_MAX) {
        __asm__ volatile("mcr p15, 0, %0, c8, c7, 0" : : "r"(0) : "memory");
        return;
    }
    for (size_t done = 0; done < size_bytes; done += 4096) {
        uintptr_t page = (base + done) & ~(uintptr_t)4095;

        __asm__ volatile("mcr p15, 0, %0, c8, c7, 3" : : "r"(page) : "memory");
    }
}

/* TLBIMVAA(IS): any ASID, global or not.  A large page is flushed by each of its 4 KiB, because a TLB may
 * hold it in pieces. */
static inline void arch_flush(uintptr_t base, size_t size_bytes)
{
    __asm__ volatile("dsb" : : : "memory");
    if (arch_mpidr() >> 31 == 0) {
        arch_flush_local(base, size_bytes);
    } else if (size_bytes >> 12 > ARCH_FLUSH_PAGES_MAX) {
        __asm__ volatile("mcr p15, 0, %0, c8, c3, 0" : : "r"(0) : "memory");
    } else {
        for (size_t done = 0; done < size_bytes; done += 4096) {
            uintptr_t page = (base + done) & ~(uintptr_t)4095;

            __asm__ volatile("mcr p15, 0, %0, c8, c3, 3" : : "r"(page) : "memory");
        }
    }
    __asm__ volatile("dsb\n\tisb" : : : "memory");
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

/* Takes the lowest set bit out of *word.  false = it was 0.  The borrow of bits − 1 is the test. */
static inline bool arch_bit_take(uintptr_t *word, unsigned *index)
{
    uintptr_t bits = *word, less;

#ifdef __GCC_ASM_FLAG_OUTPUTS__
    bool none;

    __asm__("subs %0, %2, #1" : "=r"(less), "=@cccc"(none) : "r"(bits));
#else
    bool none = bits == 0;

    less = bits - 1;
#endif
    if (__builtin_expect(none, 0))
        return false;
    *word = bits & less;
    *index = arch_ctz(bits);
    return true;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bits of words are set by bytes");

/* Sets a bit that is clear, in a map that lies `offset` (a constant) bytes into a record.  false = it
 * was set.  By bytes: then one instruction gets to the record's and the bit's. */
static inline bool arch_bit_set(void *record, size_t offset, uint32_t index)
{
    uint8_t *byte = (uint8_t *)((uintptr_t)record + index / 8) + offset;
    unsigned bits = *byte, bit = index % 8;
    bool set;

#ifdef __GCC_ASM_FLAG_OUTPUTS__
    __asm__("tst %1, %2, lsl %3" : "=@ccne"(set) : "r"(bits), "r"(1), "r"(bit));
#else
    set = (bits >> bit & 1) != 0;
#endif
    if (__builtin_expect(set, 0))
        return false;
    *byte = (uint8_t)(bits | 1u << bit);
    return true;
}

/* The bit of a number modulo 32. */
static inline uintptr_t arch_bit(uint32_t index)
{
    return (uintptr_t)1 << (index % 32);
}

/* --*counter; true = it is 0 now. */
static inline bool arch_count_down(uint32_t *counter)
{
    uint32_t count = *counter;
    bool zero;

#ifdef __GCC_ASM_FLAG_OUTPUTS__
    __asm__("subs %0, %0, #1" : "+r"(count), "=@cceq"(zero));
#else
    zero = --count == 0;
#endif
    *counter = count;
    return zero;
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
