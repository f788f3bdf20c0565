/*
 * What gcc's -fsanitize=kernel-address calls, over the public queries of the heap.  See kasan.h.
 *
 * This file is compiled without instrumentation, as is all that it calls; so a check never meets a
 * check, except through kasan_report, which `reporting` keeps from reporting itself.
 */
#include "kasan.h"

#define PAGE_SIZE ((uintptr_t)4096) /* heap memory begins and ends at multiples of it, on every machine */

volatile unsigned long kasan_checked, kasan_reported;
static volatile bool reporting;

void *memset(void *to, int value, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

/* Slots of spans, whether there is a frame behind them or not, and every other page that has one. */
static bool is_heap(uintptr_t address)
{
    sh_paddr frame;

    return sh_contains((const void *)address) || sh_physical((const void *)address, &frame);
}

/* Wholly inside one live object, or outside heap memory at both ends. */
static bool is_legal(uintptr_t address, size_t size)
{
    struct sh_object object;
    uintptr_t last = address + size - 1;

    if (sh_object_of((const void *)address, &object)) {
        kasan_checked++;
        return size <= object.size - (address - object.base);
    }
    if (is_heap(address) || last < address)
        return false;
    return (address ^ last) < PAGE_SIZE || !is_heap(last);
}

static void check_heap(uintptr_t address, size_t size, bool write, void *pc)
{
    struct kasan_access access = { address, size, write, (uintptr_t)pc };

    if (size == 0 || is_legal(address, size) || reporting)
        return;
    kasan_reported++;
    reporting = true;
    kasan_report(&access);
    reporting = false;
}

/* Most accesses are to the stack and to variables. */
static inline void check(uintptr_t address, size_t size, bool write, void *pc)
{
    uintptr_t last = address + size - 1;

    if (last < address || (last >= KASAN_FIRST && address <= KASAN_LAST))
        check_heap(address, size, write, pc);
}

#define CHECK_ACCESS(address, size, write) check(address, size, write, __builtin_return_address(0))

/* The names are gcc's. */
#define DEFINE_CHECKS(size) \
    void __asan_load##size##_noabort(uintptr_t address); \
    void __asan_store##size##_noabort(uintptr_t address); \
    void __asan_load##size##_noabort(uintptr_t address) { CHECK_ACCESS(address, size, false); } \
    void __asan_store##size##_noabort(uintptr_t address) { CHECK_ACCESS(address, size, true); }

DEFINE_CHECKS(1)
DEFINE_CHECKS(2)
DEFINE_CHECKS(4)
DEFINE_CHECKS(8)
DEFINE_CHECKS(16)

void __asan_loadN_noabort(uintptr_t address, size_t size);
void __asan_storeN_noabort(uintptr_t address, size_t size);
void __asan_handle_no_return(void);

void __asan_loadN_noabort(uintptr_t address, size_t size)
{
    CHECK_ACCESS(address, size, false);
}

void __asan_storeN_noabort(uintptr_t address, size_t size)
{
    CHECK_ACCESS(address, size, true);
}

/* Stacks are not watched. */
void __asan_handle_no_return(void)
{
}

void kasan_check(const void *p, size_t size, bool write)
{
    CHECK_ACCESS((uintptr_t)p, size, write);
}

void *kasan_memset(void *to, int value, size_t size)
{
    CHECK_ACCESS((uintptr_t)to, size, true);
    return memset(to, value, size);
}

void *kasan_memcpy(void *restrict to, const void *restrict from, size_t size)
{
    CHECK_ACCESS((uintptr_t)to, size, true);
    CHECK_ACCESS((uintptr_t)from, size, false);
    return memcpy(to, from, size);
}

void *kasan_memmove(void *to, const void *from, size_t size)
{
    CHECK_ACCESS((uintptr_t)to, size, true);
    CHECK_ACCESS((uintptr_t)from, size, false);
    return memmove(to, from, size);
}

int kasan_memcmp(const void *a, const void *b, size_t size)
{
    CHECK_ACCESS((uintptr_t)a, size, false);
    CHECK_ACCESS((uintptr_t)b, size, false);
    return memcmp(a, b, size);
}
