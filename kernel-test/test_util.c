/*
 * What several suites share.  See test_util.h.
 */
#include "kernel-test/test_util.h"

#include "mm/arena.h"

void *t_held[T_MAX_HELD];

size_t t_length(const char *text)
{
    size_t length = 0;

    while (text[length] != 0)
        length++;
    return length;
}

bool t_contains(const char *text, const char *part)
{
    size_t at = 0;

    for (; *text != 0; text++) {
        for (at = 0; part[at] != 0 && text[at] == part[at]; at++)
            ;
        if (part[at] == 0)
            return true;
    }
    return part[0] == 0;
}

const char *t_hex(uintptr_t value)
{
    static char text[2 * sizeof(uintptr_t) + 1];
    unsigned at = 2 * sizeof(uintptr_t);

    do {
        text[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    return text + at;
}

struct t_block t_take(size_t size, uint32_t seed)
{
    struct t_block block = { sh_malloc(size), size, seed };

    if (block.p == NULL)
        t_fail(__FILE__, __LINE__, "no memory for %zu bytes", size);
    t_fill(block.p, size, seed);
    return block;
}

void t_give(struct t_block *block)
{
    if (!t_holds(block->p, block->size, block->seed))
        t_fail(__FILE__, __LINE__, "the contents of %p, %zu bytes, have changed", block->p,
               block->size);
    sh_free(block->p);
    block->p = NULL;
}

unsigned t_classes(size_t sizes[T_MAX_CLASSES])
{
    unsigned count = 0;
    size_t size = 0;

    while (size < MM_CLASS_LIMIT) {
        void *p = sh_malloc(size + 1);
        EXPECT(p != NULL);
        EXPECT(sh_usable_size(p) > size);
        size = sh_usable_size(p);
        EXPECT(count < T_MAX_CLASSES);
        sizes[count++] = size;
        sh_free(p);
    }
    EXPECT_EQ(size, MM_CLASS_LIMIT);
    return count;
}

void t_skip(const char *why)
{
    t_printf("    skipped: %s\n", why);
}

bool t_has_memory(size_t bytes)
{
    /* Metadata, tables and the test kernel's own needs come on top. */
    if (bytes <= k_frames_total() - k_frames_out() &&
        k_frames_total() - k_frames_out() - bytes > T_MIB / 2)
        return true;
    t_skip("the machine has too little memory");
    return false;
}

unsigned t_drain(size_t pages, unsigned most)
{
    unsigned count = 0;

    while (count < most && count < T_MAX_HELD) {
        void *p = sh_alloc_pages(pages);
        if (p == NULL)
            break;
        t_held[count++] = p;
    }
    return count;
}

void t_release(unsigned count)
{
    while (count-- > 0)
        sh_free_pages(t_held[count]);
}

static void expect_sums(const char *file, int line)
{
    struct sh_stats s;
    size_t held = rig_frames_held();

    sh_stats(&s);
    if (s.heap_sys != s.heap_in_use + s.heap_free + s.heap_released)
        t_fail(file, line, "heap_sys %zu is not in use %zu + free %zu + released %zu", s.heap_sys,
               s.heap_in_use, s.heap_free, s.heap_released);
    if (s.heap_in_use + s.heap_released > s.heap_sys)
        t_fail(file, line, "heap_in_use %zu and released %zu are more than heap_sys %zu", s.heap_in_use,
               s.heap_released, s.heap_sys);
    if (s.frames_held != held)
        t_fail(file, line, "frames_held says %zu, the ledger %zu", s.frames_held, held);
    if (s.frames_held != s.heap_in_use + s.heap_free + s.meta_bytes + s.table_bytes)
        t_fail(file, line,
               "frames_held %zu is not in use %zu + free %zu + metadata %zu + tables %zu",
               s.frames_held, s.heap_in_use, s.heap_free, s.meta_bytes, s.table_bytes);
}

void t_expect_whole(const char *file, int line)
{
    unsigned audited;
    int faults;

    rig_log_clear();
    faults = sh_verify();
    if (faults != 0)
        t_fail(file, line, "sh_verify finds %d: %s", faults, rig_log());
    audited = rig_audit();
    if (audited != 0)
        t_fail(file, line, "the audit finds %u", audited);
    expect_sums(file, line);
}

size_t t_free_pages(void)
{
    size_t free = 0;

    for (struct mm_arena *arena = mm_arena_next(0); arena != NULL; arena = mm_arena_after(arena))
        for (size_t i = 0; i < MM_ARENA_CHUNKS; i++)
            free += MM_CHUNK_PAGES - mm_bitmap_work(arena->chunks[i].taken, 0, MM_CHUNK_PAGES, 0);
    return free;
}
