/*
 * Proves that a frame is not given back while any CPU can still reach it (booted, two CPUs or more).
 *
 * CPU 1 reads pages of the heap, so that its TLB has them; CPU 0 gives them back; then somebody else gets
 * the frames and writes into them.  CPU 1 must fault at the old address, or find what it left there, and
 * never see the new owner's words: neither once the pages are gone nor at any moment before.
 */
#include "kernel-test/k_cpus.h"
#include "kernel-test/test_util.h"

#define OLD 0x01D01D01u
#define NEW 0x4E3A11E5u
#define MOST_PAGES 200u
#define MOST_FRAMES 4096u

static struct probe {
    volatile uint32_t *words; /* the pages, one after the other */
    unsigned pages;           /* of SH_ARCH_PAGE_SIZE */
    unsigned old, new, faulted;
} probe;
static sh_paddr frames[MOST_PAGES], taken[MOST_FRAMES];
static unsigned taken_count;
static unsigned shot, seen_early;
static bool probing;

static volatile uint32_t *word(unsigned page)
{
    return &probe.words[page * (SH_ARCH_PAGE_SIZE / 4)];
}

static void read_word(void *arg)
{
    uint32_t value = *word(*(unsigned *)arg);

    probe.old += value == OLD;
    probe.new += value == NEW;
}

/* On CPU 1. */
static void read_all(void *arg)
{
    (void)arg;
    for (unsigned page = 0; page < probe.pages; page++)
        probe.faulted += k_faults(read_word, &page);
}

static void let_the_other_read(void)
{
    probe.old = probe.new = probe.faulted = 0;
    k_cpu_start(1, read_all, NULL);
    while (!k_cpu_is_idle(1))
        k_pause();
}

static bool was_ours(sh_paddr frame)
{
    for (unsigned page = 0; page < probe.pages; page++)
        if (frames[page] == frame)
            return true;
    return false;
}

static void overwrite(sh_paddr frame)
{
    volatile uint32_t *words = k_phys(frame);

    for (size_t i = 0; i < SH_ARCH_PAGE_SIZE / 4; i++)
        words[i] = NEW;
}

/* Takes all free frames and writes into those that were behind the pages; how many. */
static unsigned reuse_frames(void)
{
    unsigned ours = 0;

    taken_count = 0;
    while (taken_count < MOST_FRAMES && k_frame_alloc(SH_ARCH_PAGE_SIZE, &taken[taken_count])) {
        if (was_ours(taken[taken_count])) {
            overwrite(taken[taken_count]);
            ours++;
        }
        taken_count++;
    }
    return ours;
}

static void give_frames(void)
{
    while (taken_count > 0)
        k_frame_free(taken[--taken_count], SH_ARCH_PAGE_SIZE);
}

/* Nobody else has flushed yet: no frame may be free, and what CPU 1 sees is what was there. */
static void look_then_shoot(uintptr_t base, size_t size)
{
    if (probing) {
        reuse_frames();
        let_the_other_read();
        seen_early += probe.new;
        give_frames();
    }
    shot++;
    k_tlb_shootdown(base, size);
}

static void start(unsigned tier)
{
    static struct sh_hooks hooks;
    const struct sh_config config = {
        .size = sizeof(config), .hooks = &hooks, .cpus = k_cpus(), .tier = tier,
    };

    hooks = *rig_cpu_hooks();
    hooks.tlb_shootdown = look_then_shoot;
    rig_start(0, &config);
    k_frames_check(false); /* who gets a frame finds it as it was */
    probing = false;
    shot = seen_early = 0;
}

static void take_pages(unsigned pages)
{
    probe.pages = pages;
    probe.words = sh_alloc_pages((pages << SH_ARCH_PAGE_SHIFT) >> MM_PAGE_SHIFT);
    EXPECT(probe.words != NULL);
    for (unsigned page = 0; page < pages; page++) {
        *word(page) = OLD;
        EXPECT(sh_physical((const void *)(uintptr_t)word(page), &frames[page]));
    }
}

static void give_back_and_probe(unsigned pages, unsigned most_shots)
{
    unsigned reused;

    start(0);
    take_pages(pages);
    let_the_other_read();
    EXPECT_EQ(probe.old, pages);
    probing = true;
    sh_free_pages((void *)(uintptr_t)probe.words);
    sh_trim(0);
    probing = false;
    EXPECT_EQ(seen_early, 0);
    reused = reuse_frames();
    let_the_other_read();
    give_frames();
    EXPECT_EQ(reused, pages);
    EXPECT_EQ(probe.new, 0);
    EXPECT_EQ(probe.faulted, pages);
    EXPECT(SH_ARCH_PAGE_SIZE == 65536 || shot <= most_shots);
}

/* Few enough to be flushed one by one, on every machine. */
static void pages_given_back_are_gone_on_every_cpu(void)
{
    give_back_and_probe(16, 1);
}

static void many_pages_given_back_are_gone_on_every_cpu(void)
{
    give_back_and_probe(200, 1);
}

/* In tier 4 a freed object becomes a fault. */
static void freed_objects_fault_on_every_cpu(void)
{
    unsigned reused;

    start(4);
    probe.pages = 1;
    probe.words = sh_malloc(64);
    EXPECT(probe.words != NULL);
    *word(0) = OLD;
    EXPECT(sh_physical((const void *)(uintptr_t)word(0), &frames[0]));
    frames[0] &= ~(sh_paddr)(SH_ARCH_PAGE_SIZE - 1);
    let_the_other_read();
    EXPECT_EQ(probe.old, 1);
    probing = true;
    sh_free((void *)(uintptr_t)probe.words);
    probing = false;
    EXPECT_EQ(seen_early, 0);
    reused = reuse_frames();
    let_the_other_read();
    give_frames();
    EXPECT_EQ(reused, 1);
    EXPECT_EQ(probe.new, 0);
    EXPECT_EQ(probe.faulted, 1);
}

static const struct test tests[] = {
    { "pages_given_back_are_gone_on_every_cpu", pages_given_back_are_gone_on_every_cpu },
    { "many_pages_given_back_are_gone_on_every_cpu", many_pages_given_back_are_gone_on_every_cpu },
    { "freed_objects_fault_on_every_cpu", freed_objects_fault_on_every_cpu },
};

SUITE_CPUS(shootdown, tests, 2);
