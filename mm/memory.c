/*
 * Object memory (see memory.h).
 */
#include "mm/memory.h"

#include "mm/arena.h"
#include "mm/cache.h"
#include "mm/heap.h"

static bool has_frame(uintptr_t address)
{
    return !mm_bit_test(mm_chunk_of(address)->released, mm_chunk_page(address));
}

/* The bytes from `at` to the end of its page, at most `left`. */
static MM_ONCE size_t page_piece(uintptr_t at, size_t left)
{
    size_t piece = SH_PAGE_SIZE - (at & (SH_PAGE_SIZE - 1));
    return piece < left ? piece : left;
}

MM_CALL void mm_memory_fill(uintptr_t base, size_t size, uint8_t byte)
{
    if (!mm_mode.demand) {
        memset((void *)base, byte, size);
        return;
    }
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(base + done, size - done);
        if (has_frame(base + done)) {
            memset((void *)(base + done), byte, piece);
        }
    }
}

MM_CALL void mm_memory_zero(uintptr_t base, size_t size)
{
    mm_memory_fill(base, size, 0);
}

/* In demand mode the target gets frames where the source has them, before the first byte is copied. */
static bool copy_prepare(uintptr_t to, uintptr_t from, size_t size)
{
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(from + done, size - done);
        if (!has_frame(from + done)) {
            continue;
        }
        uintptr_t first = mm_align_down(to + done, SH_PAGE_SIZE);
        size_t span = to + done + piece - first;
        if (!mm_heap_commit(first, mm_pages_for(span))) {
            return false;
        }
    }
    return true;
}

bool mm_memory_copy(uintptr_t to, uintptr_t from, size_t size)
{
    if (!mm_mode.demand) {
        memcpy((void *)to, (const void *)from, size);
        return true;
    }
    if (!copy_prepare(to, from, size)) {
        return false;
    }
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(from + done, size - done);
        if (has_frame(from + done)) {
            memcpy((void *)(to + done), (const void *)(from + done), piece);
        } else {
            mm_memory_zero(to + done, piece);
        }
    }
    return true;
}

/* The first of four words that are not all `pattern`, or where fewer are left. */
static inline uintptr_t skip_words(uintptr_t at, uintptr_t end, uintptr_t pattern)
{
    for (; at <= end - 4 * sizeof pattern; at += 4 * sizeof pattern) {
        const uintptr_t *word = (const uintptr_t *)at;
        if (((word[0] ^ pattern) | (word[1] ^ pattern) | (word[2] ^ pattern) | (word[3] ^ pattern)) != 0) {
            break;
        }
    }
    return at;
}

/* As mm_memory_differs, where every page has a frame.  By words where all is well. */
static uintptr_t piece_differs(uintptr_t at, uintptr_t end, uint8_t byte)
{
    uintptr_t pattern = ~(uintptr_t)0 / 255 * byte;
    for (; at < end; at++) {
        if (at % sizeof pattern == 0) {
            at = skip_words(at, end, pattern);
            while (at <= end - sizeof pattern && *(const uintptr_t *)at == pattern) {
                at += sizeof pattern;
            }
            if (at == end) {
                break;
            }
        }
        uint8_t found = *(const uint8_t *)at;
        if (found != byte && !(mm_mode.demand && found == 0)) {
            break;
        }
    }
    return at;
}

MM_CALL uintptr_t mm_memory_differs(uintptr_t base, size_t size, uint8_t byte)
{
    if (!mm_mode.demand) {
        return piece_differs(base, base + size, byte);
    }
    for (size_t done = 0, piece; done < size; done += piece) {
        piece = page_piece(base + done, size - done);
        if (!has_frame(base + done)) {
            continue;
        }
        uintptr_t end = base + done + piece, at = piece_differs(base + done, end, byte);
        if (at != end) {
            return at;
        }
    }
    return base + size;
}
