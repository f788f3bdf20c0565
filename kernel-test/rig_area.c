/*
 * The memory under the scripted port of rig_host.c: address space of the host without access, given
 * access page by page.  A touch of a page that is sealed ends in SIGSEGV.
 *
 * System calls are most of what a short test costs.  rig_script_plain does without them, for tests
 * that run millions of times: there a sealed page is full of a pattern, which is checked when the
 * page is opened.  So a stray write is found, only later, and a stray read gives the pattern.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kernel-test/rig_area.h"
#include "kernel-test/rig_script.h"
#include "kernel-test/k_string.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define AREA_ALIGN (64 * T_MIB)
/* 64-bit: far from everything.  32-bit: the area crosses 2^31, where signed arithmetic breaks; with
 * an arena map for the lower part of the address space, low. */
#define AREA_HINT \
    ((uintptr_t)(sizeof(void *) == 8 ? 0x200000000000u : AREA_IS_SMALL ? 0x01000000u : 0x68000000u))
#define SEALED 0xE5

uintptr_t area_base;
static bool plain;

void rig_area_find(void)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap((void *)AREA_HINT, AREA_SIZE, PROT_NONE, flags | MAP_FIXED_NOREPLACE, -1, 0);

    area_base = (uintptr_t)p;
    if (p == MAP_FAILED) {
        p = mmap(NULL, AREA_SIZE + AREA_ALIGN, PROT_NONE, flags, -1, 0);
        area_base = ((uintptr_t)p + AREA_ALIGN - 1) & ~(AREA_ALIGN - 1);
    }
    if (p == MAP_FAILED) {
        fprintf(stderr, "the host gives no %zu MiB of address space\n", AREA_SIZE / T_MIB);
        exit(2);
    }
}

static bool is_plain(uintptr_t base, size_t size)
{
    return plain && base - area_base < AREA_PLAIN && size <= AREA_PLAIN - (base - area_base);
}

static void protect(uintptr_t base, size_t size, int access)
{
    if (mprotect((void *)base, size, access) != 0)
        t_fail(__FILE__, __LINE__, "the host cannot protect %zu bytes at %p", size, (void *)base);
}

/* All bytes are alike if the first is right and each is like the one before. */
static void check_sealed(const uint8_t *p, size_t size)
{
    if (p[0] == SEALED && memcmp(p, p + 1, size - 1) == 0)
        return;
    while (*p == SEALED)
        p++;
    t_fail(__FILE__, __LINE__, "%p was written to while it was not Ready", (const void *)p);
}

void rig_area_open(uintptr_t base, size_t size)
{
    if (!is_plain(base, size)) {
        protect(base, size, PROT_READ | PROT_WRITE);
        return;
    }
    check_sealed((const uint8_t *)base, size);
    memset((void *)base, 0, size);
}

void rig_area_seal(uintptr_t base, size_t size)
{
    if (is_plain(base, size)) {
        memset((void *)base, SEALED, size);
        return;
    }
    if (madvise((void *)base, size, MADV_DONTNEED) != 0)
        t_fail(__FILE__, __LINE__, "the host cannot seal %zu bytes at %p", size, (void *)base);
    protect(base, size, PROT_NONE);
}

void rig_script_plain(bool on)
{
    rig_reset();
    if (on == plain)
        return;
    if (on) {
        protect(area_base, AREA_PLAIN, PROT_READ | PROT_WRITE);
        memset((void *)area_base, SEALED, AREA_PLAIN);
    }
    plain = on;
    if (!on)
        rig_area_seal(area_base, AREA_PLAIN);
}
