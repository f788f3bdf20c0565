/*
 * Leaf tables that k_map had to install: remembered, so that k_unmap takes those away again, and
 * only those, once nothing is left in them.
 */
#include "kernel.h"

#include "k_string.h"

#define TABLES 16u

static sh_paddr tables[TABLES];

bool k_table_new(sh_paddr *out)
{
    for (unsigned i = 0; i < TABLES; i++) {
        if (tables[i] != 0)
            continue;
        if (!k_frame_alloc(SH_TABLE_FRAME_SIZE, out))
            return false;
        memset(k_phys(*out), 0, SH_TABLE_FRAME_SIZE);
        tables[i] = *out;
        return true;
    }
    return false;
}

bool k_table_done(sh_paddr table)
{
    const uint32_t *words = k_phys(table);
    unsigned i = 0;

    while (i < TABLES && tables[i] != table)
        i++;
    if (i == TABLES)
        return false;
    for (size_t j = 0; j < SH_TABLE_FRAME_SIZE / 4; j++)
        if (words[j] != 0)
            return false;
    tables[i] = 0;
    return true;
}
