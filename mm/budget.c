/*
 * The ledger of frames (see budget.h): one counter, moved by compare-and-swap.
 */
#include "mm/budget.h"

#include "mm/grow.h"
#include "mm/linear.h"
#include "mm/port.h"

static size_t held;  /* data and metadata, also what is about to be committed */
static size_t limit; /* 0 = none */

bool mm_budget_take(size_t size)
{
    size_t most = __atomic_load_n(&limit, __ATOMIC_RELAXED);
    size_t tables = mm_budget_tables();
    size_t now = __atomic_load_n(&held, __ATOMIC_RELAXED);
    do {
        if (most != 0 && (now + tables > most || size > most - tables - now)) {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&held, &now, now + size, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

MM_CALL void mm_budget_give(size_t size)
{
    __atomic_fetch_sub(&held, size, __ATOMIC_RELAXED);
}

bool mm_budget_allows(size_t size)
{
    size_t most = mm_budget_limit(), now = mm_budget_held();
    return most == 0 || (now <= most && size <= most - now);
}

bool mm_budget_allows_tables(uintptr_t base, size_t size)
{
    const struct sh_port *port = mm_port();
    return port == NULL || mm_budget_limit() == 0 || mm_budget_allows(port->table_cost(base, size));
}

size_t mm_budget_tables(void)
{
    const struct sh_port *port = mm_port();
    return port == NULL ? 0 : port->table_bytes();
}

size_t mm_budget_held(void)
{
    return __atomic_load_n(&held, __ATOMIC_RELAXED) + mm_budget_tables();
}

size_t mm_budget_limit(void)
{
    return __atomic_load_n(&limit, __ATOMIC_RELAXED);
}

MM_CALL void mm_budget_set_limit(size_t bytes)
{
    __atomic_store_n(&limit, bytes, __ATOMIC_RELAXED);
}

const char *mm_range_refusal(uintptr_t base, size_t size)
{
    uintptr_t last = base + (size - 1);
    if (((base | size) & (SH_GRANULE_SIZE - 1)) != 0) {
        return "not whole granules";
    }
    if (last < base || (MM_ADDRESS_BITS < MM_WORD_BITS && last >> (MM_ADDRESS_BITS % MM_WORD_BITS) != 0)) {
        return "beyond the address space";
    }
    if (mm_linear_overlaps(base, size) || mm_grow_overlaps(base, size)) {
        return "reserved already";
    }
    return NULL;
}

void mm_budget_reset(void)
{
    held = 0;
}
