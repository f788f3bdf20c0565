/*
 * The frame allocator: the lowest free frame of the memory map, 4 KiB or 64 KiB.
 *
 * One 16-bit mask a block of 64 KiB, bit set = that 4 KiB frame is free; a block without RAM has
 * none. `whole` marks blocks that are out as one frame of 64 KiB.  One lock, with interrupts off, so
 * any context may call, on any CPU.
 */
#include "k_cpus.h"

#include "k_string.h"

#define BLOCK_SIZE ((size_t)0x10000)
#define FRAME_SIZE ((size_t)0x1000)
#define BLOCKS (K_DIRECT_SIZE / BLOCK_SIZE)
#define ALL_FREE 0xFFFFu

#define FILL_OUT 0xA5
#define FILL_FREE 0xDDDDDDDDu

static uint16_t ram[BLOCKS];   /* bit set: managed here at all */
static uint16_t free_[BLOCKS]; /* bit set: free */
static uint16_t dirty[BLOCKS]; /* bit set: freed while checking, so filled with FILL_FREE */
static bool whole[BLOCKS];
static unsigned first_free;  /* no block below has a free frame */
static unsigned first_whole; /* no block below is free as a whole */
static size_t bytes_out, bytes_total;
static bool checking;
static struct k_lock frames;

static uint16_t bits_of(size_t offset, size_t size)
{
    if (size == BLOCK_SIZE)
        return ALL_FREE;
    return (uint16_t)(1u << (offset % BLOCK_SIZE / FRAME_SIZE));
}

static sh_paddr round_down(sh_paddr address)
{
    return address & ~(sh_paddr)(FRAME_SIZE - 1);
}

/* Calls `change` for each frame that lies in [base, base + size): wholly inside, or partly if
 * `touch`. */
static void each_frame(sh_paddr base, sh_paddr size, bool touch,
                       void (*change)(unsigned block, uint16_t bit))
{
    sh_paddr end = base + size, limit = (sh_paddr)k_ram_base + K_DIRECT_SIZE;

    base = touch ? round_down(base) : round_down(base + FRAME_SIZE - 1);
    end = touch ? round_down(end + FRAME_SIZE - 1) : round_down(end);
    base = base < k_ram_base ? k_ram_base : base;
    end = end > limit ? limit : end;
    for (; base < end; base += FRAME_SIZE) {
        size_t offset = (size_t)(base - k_ram_base);

        change((unsigned)(offset / BLOCK_SIZE), bits_of(offset, FRAME_SIZE));
    }
}

static void add_frame(unsigned block, uint16_t bit)
{
    if ((ram[block] & bit) != 0)
        return;
    ram[block] |= bit;
    free_[block] |= bit;
    bytes_total += FRAME_SIZE;
}

static void remove_frame(unsigned block, uint16_t bit)
{
    if ((ram[block] & bit) == 0)
        return;
    ram[block] = (uint16_t)(ram[block] & ~bit);
    free_[block] = (uint16_t)(free_[block] & ~bit);
    bytes_total -= FRAME_SIZE;
}

void k_memory_add(sh_paddr base, sh_paddr size)
{
    each_frame(base, size, false, add_frame);
}

void k_memory_reserve(sh_paddr base, sh_paddr size)
{
    each_frame(base, size, true, remove_frame);
}

void k_frames_check(bool on)
{
    checking = on;
}

size_t k_frames_out(void)
{
    return bytes_out;
}

size_t k_frames_total(void)
{
    return bytes_total;
}

/* Eight words at a time: these two loops see every byte of every frame that comes or goes. */
#define WORDS 8u

static void fill_free(size_t offset, size_t size)
{
    uint32_t *p = k_phys(k_ram_base + offset), *end = p + size / 4;

    for (; p < end; p += WORDS) {
        p[0] = p[1] = p[2] = p[3] = FILL_FREE;
        p[4] = p[5] = p[6] = p[7] = FILL_FREE;
    }
}

static uint32_t differ(const uint32_t *p)
{
    return (p[0] ^ FILL_FREE) | (p[1] ^ FILL_FREE) | (p[2] ^ FILL_FREE) | (p[3] ^ FILL_FREE) |
           (p[4] ^ FILL_FREE) | (p[5] ^ FILL_FREE) | (p[6] ^ FILL_FREE) | (p[7] ^ FILL_FREE);
}

/* Somebody wrote to the frame after giving it back: through a mapping that was left, or a stale
 * TLB. */
static void check_free(size_t offset)
{
    const uint32_t *p = k_phys(k_ram_base + offset);
    size_t i = 0;

    while (i < FRAME_SIZE / 4 && differ(&p[i]) == 0)
        i += WORDS;
    for (; i < FRAME_SIZE / 4; i++)
        if (p[i] != FILL_FREE)
            k_panic("a free frame was written to, at physical", k_ram_base + offset + i * 4);
}

static void hand_out(unsigned block, size_t offset, size_t size)
{
    uint16_t bits = bits_of(offset, size);

    if (checking) {
        for (unsigned i = 0, left = dirty[block] & bits; left != 0; i++, left >>= 1)
            if ((left & 1) != 0)
                check_free(block * BLOCK_SIZE + i * FRAME_SIZE);
        memset(k_phys(k_ram_base + offset), FILL_OUT, size);
    }
    free_[block] = (uint16_t)(free_[block] & ~bits);
    dirty[block] = (uint16_t)(dirty[block] & ~bits);
    whole[block] = size == BLOCK_SIZE;
    bytes_out += size;
}

static bool take(size_t size, size_t *offset)
{
    unsigned *first = size == BLOCK_SIZE ? &first_whole : &first_free;

    for (; *first < BLOCKS; ++*first) {
        unsigned bit = 0;

        if (size == BLOCK_SIZE ? free_[*first] != ALL_FREE : free_[*first] == 0)
            continue;
        while (size == FRAME_SIZE && (free_[*first] & (1u << bit)) == 0)
            bit++;
        *offset = *first * BLOCK_SIZE + bit * FRAME_SIZE;
        hand_out(*first, *offset, size);
        return true;
    }
    return false;
}

bool k_frame_alloc(size_t size, sh_paddr *out)
{
    bool on, done;
    size_t offset = 0;

    if (size != FRAME_SIZE && size != BLOCK_SIZE)
        k_panic("k_frame_alloc: neither 4 KiB nor 64 KiB", size);
    on = k_lock(&frames);
    done = take(size, &offset);
    k_unlock(&frames, on);
    if (done)
        *out = k_ram_base + offset;
    return done;
}

void k_frame_free(sh_paddr frame, size_t size)
{
    size_t offset = (size_t)(frame - k_ram_base);
    unsigned block = (unsigned)(offset / BLOCK_SIZE);
    uint16_t bits;
    bool on;

    if (frame < k_ram_base || frame - k_ram_base >= K_DIRECT_SIZE || (frame & (size - 1)) != 0)
        k_panic("k_frame_free: no frame", (uintptr_t)frame);
    on = k_lock(&frames);
    bits = bits_of(offset, size);
    if ((ram[block] & bits) != bits || whole[block] != (size == BLOCK_SIZE))
        k_panic("k_frame_free: not a frame of this size", (uintptr_t)frame);
    if ((free_[block] & bits) != 0)
        k_panic("k_frame_free: freed twice", (uintptr_t)frame);
    if (checking)
        fill_free(offset, size);
    free_[block] |= bits;
    dirty[block] = (uint16_t)(checking ? dirty[block] | bits : dirty[block] & ~bits);
    whole[block] = false;
    bytes_out -= size;
    first_free = block < first_free ? block : first_free;
    first_whole = block < first_whole ? block : first_whole;
    k_unlock(&frames, on);
}
