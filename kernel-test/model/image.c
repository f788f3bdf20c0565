/*
 * States: what makes one up, how two are compared, how they are kept.
 *
 * A state is all memory that the heap can write: the .data and .bss of mm/, the metadata, and the model's
 * own shadow.  It is seen as lines of 64 bytes.  The first state is the base.  A state's hash is the sum
 * of its lines' hashes, so after a transition only lines that changed are hashed, and only they are put
 * back.  A kept state is the words in which it differs from the base.
 *
 * Memory behind heap pages, and behind metadata that is not committed, holds a pattern: a line of it that
 * has changed was touched by somebody who must not.
 */
#define _GNU_SOURCE
#include "kernel-test/model/model.h"

#include "mm/cache.h"

#include <emmintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LINE_WORDS 16
#define LINES_MAX 512
#define PATTERN 0xA5

extern unsigned char __start_mm_data[], __stop_mm_data[], __start_mm_bss[], __stop_mm_bss[];

static struct line {
    uint32_t *at;
    unsigned words;
    unsigned unit;  /* UNITS_MAX: not behind a window */
} lines[LINES_MAX];
static unsigned line_count, window_lines; /* those of the annex come last */

static uint32_t base[LINES_MAX][LINE_WORDS];
static uint64_t base_hash[LINES_MAX];
/* The state that was taken up. */
static uint32_t image[LINES_MAX][LINE_WORDS];
static uint64_t line_hash[LINES_MAX];
static uint64_t total_hash;
static uint16_t dirty[LINES_MAX]; /* lines that may differ from `image` */
static unsigned dirty_count;
static size_t kept_bytes;

void image_seal(unsigned unit)
{
    if (unit_address[unit] + SH_GRANULE_SIZE != 0) {
        memset((void *)unit_address[unit], PATTERN, MODEL_TRACK);
    }
}

static void region_add(void *start, size_t size, unsigned unit)
{
    uint32_t *at = start;
    for (size_t words = size / 4; words != 0;) {
        if (line_count == LINES_MAX) {
            fprintf(stderr, "model: more lines than image.c has room for\n");
            exit(2);
        }
        unsigned piece = words < LINE_WORDS ? (unsigned)words : LINE_WORDS;
        lines[line_count++] = (struct line){ at, piece, unit };
        at += piece;
        words -= piece;
    }
}

void image_open(void)
{
    line_count = 0;
    region_add(__start_mm_data, (size_t)(__stop_mm_data - __start_mm_data), UNITS_MAX);
    region_add(__start_mm_bss, (size_t)(__stop_mm_bss - __start_mm_bss), UNITS_MAX);
    region_add(&shadow, sizeof shadow, UNITS_MAX);
    for (unsigned unit = 0; unit < unit_count + ANNEX_UNITS; unit++) {
        uintptr_t address = unit_address[unit];
        if (address + SH_GRANULE_SIZE == 0) {
            continue; /* never metadata: see mm/linear.c */
        }
        if (mmap((void *)mm_align_down(address, 4096), 4096, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
            perror("model: mmap of low memory (vm.mmap_min_addr must be at most 65536)");
            exit(2);
        }
    }
    for (unsigned unit = 0; unit < unit_count + ANNEX_UNITS; unit++) {
        if (unit_address[unit] + SH_GRANULE_SIZE != 0) {
            image_seal(unit);
            region_add((void *)unit_address[unit], MODEL_TRACK, unit);
        }
        window_lines = unit < unit_count ? line_count : window_lines;
    }
}

static uint64_t mix(uint64_t hash)
{
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdu;
    hash ^= hash >> 33;
    hash *= 0xc4ceb9fe1a85ec53u;
    return hash ^ hash >> 33;
}

static uint64_t hash_line(unsigned number, const uint32_t *words)
{
    uint32_t a = number * 0x9e3779b9u + 1, b = ~number * 0x85ebca6bu;
    for (unsigned i = 0; i < lines[number].words; i += 2) {
        uint32_t second = i + 1 < lines[number].words ? words[i + 1] : 0;
        a = (a ^ words[i]) * 0x9e3779b1u;
        b = (b ^ second) * 0x85ebca77u;
        a = (a << 15 | a >> 17) + b;
        b = (b << 13 | b >> 19) ^ a;
    }
    return mix((uint64_t)a << 32 | b);
}

static inline bool line_same(const struct line *line, const uint32_t *words)
{
    if (line->words != LINE_WORDS) {
        return memcmp(line->at, words, line->words * 4) == 0;
    }
    const __m128i *a = (const __m128i *)line->at, *b = (const __m128i *)words;
    __m128i same = _mm_cmpeq_epi32(_mm_loadu_si128(a), _mm_loadu_si128(b));
    for (unsigned i = 1; i < LINE_WORDS / 4; i++) {
        same = _mm_and_si128(same, _mm_cmpeq_epi32(_mm_loadu_si128(a + i), _mm_loadu_si128(b + i)));
    }
    return _mm_movemask_epi8(same) == 0xffff;
}

void image_base(void)
{
    total_hash = 0;
    for (unsigned i = 0; i < line_count; i++) {
        memset(base[i], 0, sizeof base[i]);
        memcpy(base[i], lines[i].at, lines[i].words * 4);
        base_hash[i] = line_hash[i] = hash_line(i, base[i]);
        total_hash += i < window_lines ? base_hash[i] : 0;
    }
    memcpy(image, base, sizeof image);
    dirty_count = 0;
}

void image_to_base(void)
{
    for (unsigned i = 0; i < line_count; i++) {
        memcpy(lines[i].at, base[i], lines[i].words * 4);
    }
    memcpy(image, base, sizeof image);
    memcpy(line_hash, base_hash, sizeof line_hash);
    total_hash = 0;
    for (unsigned i = 0; i < window_lines; i++) {
        total_hash += base_hash[i];
    }
}

/* ---- one order for what has none ---- */

static void sort(uintptr_t *list, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        uintptr_t value = list[i];
        unsigned at = i;
        for (; at > 0 && list[at - 1] > value; at--) {
            list[at] = list[at - 1];
        }
        list[at] = value;
    }
}

static void kept_rename(const struct mm_span *from, struct mm_span *to, bool *done)
{
    for (unsigned i = 0; i < 40; i++) {
        struct kept_step *step = &kept[0].step[i];
        for (unsigned j = 0; j < step->count; j++) {
            if (step->run[j] == from && !done[i * 4 + j]) {
                step->run[j] = to;
                done[i * 4 + j] = true;
            }
        }
    }
}

/* Descriptors are alike: the lowest one goes to the lowest span, and so on, and the rest to the list of
 * free ones, in order, empty. */
static void descriptors_sort(void)
{
    struct mm_span *spans[PAGES_MAX];
    uintptr_t all[2 * PAGES_MAX];
    unsigned live = 0, count = 0, pages = page_count;
    for (unsigned page = 0; page < pages; page++) {
        struct mm_span *span = mm_span_of(page_address(page));
        if (span != &mm_span_dummy && span->base == page_address(page)) {
            spans[live++] = span;
            all[count++] = (uintptr_t)span;
        }
    }
    for (void **record = few.first; record != NULL; record = *record) {
        all[count++] = (uintptr_t)record;
    }
    sort(all, count);
    struct mm_span copy[PAGES_MAX];
    bool moved = false, done[160] = { false };
    for (unsigned i = 0; i < live; i++) {
        copy[i] = *spans[i];
        copy[i].state &= (1u << MM_SPAN_STATE_BITS) - 1;
        copy[i].flags = 0;
        moved |= (uintptr_t)spans[i] != all[i];
    }
    for (unsigned i = 0; i < live; i++) {
        struct mm_span *to = (struct mm_span *)all[i];
        *to = copy[i];
        if (moved) {
            kept_rename(spans[i], to, done);
            mm_span_enter(to, to->base, to->page_count);
        }
    }
    void **link = (void **)&few.first;
    for (unsigned i = live; i < count; i++) {
        memset((void *)all[i], 0, MM_SPAN_SIZE(MM_SPAN_WORDS_FEW));
        *link = (void *)all[i];
        link = (void **)all[i];
    }
    *link = NULL;
}

static void normalise(void)
{
    descriptors_sort();
    for (unsigned i = 0; i < 40; i++) {
        struct kept_step *step = &kept[0].step[i];
        for (size_t j = step->count; j < 4; j++) {
            step->run[j] = NULL;
        }
    }
    memset(&spares[spare_count], 0, (8 - spare_count) * sizeof spares[0]);
    mm_cpu[0].large_frees = 0;
    refusals = 0;
    lacked = room_lacked = 0;
    offered_base = 0;
}

/* ---- comparing, putting back ---- */

/* May this line change?  Behind a window only metadata that is committed may. */
static void may_change(const struct line *line)
{
    if (line->unit != UNITS_MAX && (shadow.state[line->unit] != SH_READY || !unit_is_meta(line->unit))) {
        violated("memory that is not the heap's to touch was written", (uintptr_t)line->at);
    }
}

uint64_t image_hash(void)
{
    normalise();
    uint64_t hash = total_hash;
    dirty_count = 0;
    for (unsigned i = 0; i < window_lines; i++) {
        if (!line_same(&lines[i], image[i])) {
            may_change(&lines[i]);
            dirty[dirty_count++] = (uint16_t)i;
            hash += hash_line(i, lines[i].at) - line_hash[i];
        }
    }
    return hash;
}

void image_restore(void)
{
    for (unsigned i = 0; i < line_count; i++) {
        if (!line_same(&lines[i], image[i])) {
            memcpy(lines[i].at, image[i], lines[i].words * 4);
        }
    }
}

void image_undo(void)
{
    for (unsigned i = 0; i < dirty_count; i++) {
        memcpy(lines[dirty[i]].at, image[dirty[i]], lines[dirty[i]].words * 4);
    }
}

bool image_is_base(void)
{
    normalise();
    for (unsigned i = 0; i < line_count; i++) {
        if (!line_same(&lines[i], base[i])) {
            tell("    %p is not as it was at the start\n", (void *)lines[i].at);
            return false;
        }
    }
    return true;
}

/* ---- keeping ---- */

/* A line number and a mask of words, then these words; ends with the number LINES_MAX. */
void *image_keep(void)
{
    static uint32_t packed[LINES_MAX * (LINE_WORDS + 1) + 1];
    unsigned length = 0;
    for (unsigned i = 0; i < window_lines; i++) {
        if (line_same(&lines[i], base[i])) {
            continue;
        }
        unsigned head = length++;
        packed[head] = i << 16;
        for (unsigned j = 0; j < lines[i].words; j++) {
            if (lines[i].at[j] != base[i][j]) {
                packed[head] |= 1u << j;
                packed[length++] = lines[i].at[j];
            }
        }
    }
    packed[length++] = LINES_MAX << 16;
    uint32_t *kept_state = malloc((length + 1) * 4);
    if (kept_state == NULL) {
        fprintf(stderr, "model: out of memory\n");
        exit(2);
    }
    kept_state[0] = length;
    memcpy(kept_state + 1, packed, length * 4);
    kept_bytes += (length + 1) * 4;
    return kept_state;
}

void image_take_up(void *kept_state)
{
    const uint32_t *at = kept_state;
    kept_bytes -= (*at++ + 1) * 4;
    total_hash = 0;
    for (unsigned i = 0; i < window_lines; i++) {
        memcpy(image[i], base[i], sizeof image[i]);
        line_hash[i] = base_hash[i];
        if (*at >> 16 == i) {
            unsigned mask = *at++ & 0xffff;
            for (unsigned j = 0; j < LINE_WORDS; j++) {
                if (mask >> j & 1) {
                    image[i][j] = *at++;
                }
            }
            line_hash[i] = hash_line(i, image[i]);
        }
        total_hash += line_hash[i];
    }
    free(kept_state);
    image_restore();
}

size_t image_bytes(void)
{
    return kept_bytes;
}
