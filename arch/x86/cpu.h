/*
 * The x86 CPU, i686 and up: interrupt masking, bit counting, TLB, control registers.
 *
 * Included by every layer as "cpu.h"; the page-table part is for the port and pte.h alone.  All
 * functions are inline, keep no state and may be called in any context.  No SSE, no MMX, no x87.
 */
#ifndef SPANHEAP_X86_CPU_H
#define SPANHEAP_X86_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Functions that only the port calls take their arguments in registers. */
#define ARCH_CALL __attribute__((regparm(3)))

/* EFLAGS as they were.  Only the interrupt flag is ever looked at. */
typedef uintptr_t arch_flags;

enum { ARCH_EFLAGS_IF = 0x200 };

/* These two are shorter than a call of them, which compilers do not believe. */
static inline __attribute__((always_inline)) arch_flags arch_irq_save(void)
{
    arch_flags flags;

    __asm__ volatile("pushf\n\tpop %0\n\tcli" : "=r"(flags) : : "memory");
    return flags;
}

/* A branch around sti is several times cheaper than popf, and several times as long. */
static inline __attribute__((always_inline)) void arch_irq_restore(arch_flags flags)
{
#ifdef __OPTIMIZE_SIZE__
    __asm__ volatile("pushl %0\n\tpopf" : : "g"(flags) : "memory", "cc");
#else
    __asm__ volatile("test $0x200, %0\n\tjz 1f\n\tsti\n1:" : : "r"(flags) : "memory", "cc");
#endif
}

static inline bool arch_irq_enabled(void)
{
    arch_flags flags;

    __asm__ volatile("pushf\n\tpop %0" : "=r"(flags) : : "memory");
    return (flags & ARCH_EFLAGS_IF) != 0;
}

/* In every loop that waits for another CPU. */
static inline void arch_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* Calls fn with this CPU's registers on the stack, from `here` up: context.S. */
void arch_spill(void (*fn)(uintptr_t here, void *arg), void *arg);

/* Brings a line that will be read soon nearer; any address.  Needs no SSE: without it the opcode is one of those
 * that the P6 family reserves for hints and executes as nothing. */
static inline void arch_prefetch(const void *address)
{
    __asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)address));
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

/*
 * Ordering of page-table changes.  The port calls these at the points where order matters, and
 * no pte.h does:
 *
 *   arch_table_written   entries were stored through this mapping: bring them to where the walker reads
 *   arch_published       all that was written is seen by the walker and by other CPUs from here on
 *   arch_flush           nothing that this CPU (ARCH_FLUSH_IS_GLOBAL: any CPU) remembers of the range
 *                        survives; complete when it returns
 */
enum { ARCH_FLUSH_IS_GLOBAL = 0 };

/* Above so many pages one CR3 reload is cheaper than invlpg for each. */
enum { ARCH_FLUSH_PAGES_MAX = 32 };

/* The walker reads through the data caches. */
static inline void arch_table_written(const volatile void *entries, size_t size_bytes)
{
    (void)entries;
    (void)size_bytes;
    __asm__ volatile("" : : : "memory");
}

/* Stores of x86 are seen in order, and entries that are not present are not remembered. */
static inline void arch_published(void)
{
    __asm__ volatile("" : : : "memory");
}

static inline uintptr_t arch_cr0(void)
{
    uintptr_t value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static inline uintptr_t arch_cr4(void)
{
    uintptr_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static inline void arch_flush(uintptr_t base, size_t size_bytes)
{
    uintptr_t cr3;

    if (size_bytes >> 12 > ARCH_FLUSH_PAGES_MAX) {
        __asm__ volatile("mov %%cr3, %0\n\tmov %0, %%cr3" : "=&r"(cr3) : : "memory");
        return;
    }
    for (size_t done = 0; done < size_bytes; done += 4096)
        __asm__ volatile("invlpg (%0)" : : "r"(base + done) : "memory");
}

/* EFER.NXE.  The register exists only where CPUID says that the CPU knows execute-disable. */
static inline bool arch_nx_enabled(void)
{
    uint32_t eax = 0x80000000u, ebx, ecx, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
    if (eax < 0x80000001u || eax > 0x8000FFFFu)
        return false;
    eax = 0x80000001u;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx));
    if ((edx >> 20 & 1) == 0)
        return false;
    __asm__ volatile("rdmsr" : "=a"(eax), "=d"(edx) : "c"(0xC0000080u));
    return (eax >> 11 & 1) != 0;
}

/*
 * The fast paths of malloc and free.  Each is a few lines of C; where a compiler misses the short
 * instruction sequence, the port spells it out.
 */

/* The same pair for the fast paths, with a place of this CPU's to keep the flags in: a port uses the
 * place or the value, whichever is cheaper. */
static inline arch_flags arch_irq_save_at(arch_flags *place)
{
    __asm__ volatile("pushf\n\tcli\n\tpop %0" : "=m"(*place) : : "memory");
    return 0;
}

static inline void arch_irq_restore_at(const arch_flags *place, arch_flags flags)
{
    (void)flags;
    __asm__ volatile("testb $2, %0\n\tjz 1f\n\tsti\n1:"
                     : : "m"(((const uint8_t *)place)[1]) : "memory", "cc");
}

/* Takes the lowest set bit out of *word.  false = it was 0.  The borrow of bits − 1 is the test, and
 * the sum gives the bits back: three registers, which is what a leaf function has for free. */
static inline bool arch_bit_take(uintptr_t *word, unsigned *index)
{
    uintptr_t bits = *word;
    bool none;

    __asm__("sub $1, %0" : "+r"(bits), "=@ccc"(none));
    if (__builtin_expect(none, 0))
        return false;
    __asm__("and %1, %0" : "+m"(*word) : "r"(bits) : "cc");
    __asm__("inc %0" : "+r"(bits) : : "cc");
    *index = arch_ctz(bits);
    return true;
}

/* Sets a bit that is clear, in a map that lies `offset` (a constant) bytes into a record.  false = it
 * was set. */
static inline __attribute__((always_inline)) bool arch_bit_set(void *record, size_t offset, uint32_t index)
{
    uintptr_t mask = 0;
    bool set;

    __asm__("bts %1, %0" : "+r"(mask) : "r"(index) : "cc");
    __asm__ volatile("shr $5, %1\n\ttest %2, %c4(%3,%1,4)"
                     : "=@ccnz"(set), "+r"(index) : "r"(mask), "r"(record), "i"(offset) : "memory");
    if (__builtin_expect(set, 0))
        return false;
    __asm__ volatile("or %1, %c3(%2,%0,4)"
                     : : "r"(index), "r"(mask), "r"(record), "i"(offset) : "memory", "cc");
    return true;
}

/* The bit of a number modulo 32. */
static inline uintptr_t arch_bit(uint32_t index)
{
    uintptr_t bit = 0;

    __asm__("bts %1, %0" : "+r"(bit) : "r"(index) : "cc");
    return bit;
}

/* --*counter; true = it is 0 now. */
static inline bool arch_count_down(uint32_t *counter)
{
    return --*counter == 0;
}

/* a × b: the low half; the high half through `high`. */
static inline uint32_t arch_multiply(uint32_t a, uint32_t b, uint32_t *high)
{
    uint32_t low;

    __asm__("mull %3" : "=a"(low), "=d"(*high) : "0"(a), "rm"(b) : "cc");
    return low;
}

/* The value of the caller's parameter at `place`.  It came on the stack: read from there it needs no
 * register to survive until the slow path. */
static inline uintptr_t arch_argument(const uintptr_t *place)
{
    uintptr_t value;

    __asm__("mov %1, %0" : "=r"(value) : "m"(*place));
    return value;
}

#endif
