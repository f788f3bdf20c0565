/*
 * Proves that no shape of a graph is too much: lists as long as memory, trees, stars, rings, a huge array of
 * pointers are kept whole and go whole, and a collection takes less than 1 KiB of stack, no frame and no
 * heap memory for any of them, nor does a cycle in steps, each of which is short.
 */
#include "kernel-test/test_gc_util.h"

#define STACK_MOST 1024u
#define PAINTED 4096u
#define UNPAINTED 256u /* the frames of who paints */
/* On the host what the rig's functions and libc take is in it: enough to find recursion. */
#define HOST_STACK_MOST 16384u
#define HOST_PAINTED 65536u
#define HOST_UNPAINTED 2048u
#define PAINT 0xC5u

#define STEP 1000u
#define STEP_MOST (STEP + T_STEP_MORE)

struct cell {
    struct cell *next;
    uintptr_t id;
};

struct branch {
    struct branch *left, *right;
    uintptr_t id;
};

static const uintptr_t cell_mask = 1, branch_mask = 3;
static const struct sh_gc_type cell_type = { sizeof(struct cell), &cell_mask, "cell" };
static const struct sh_gc_type branch_type = { sizeof(struct branch), &branch_mask, "branch" };

/* ---- the stack, painted ---- */

/* With address checks the stack has colours of its own. */
static bool is_measured(void)
{
#ifdef __SANITIZE_ADDRESS__
    return false;
#else
    return true;
#endif
}

static uintptr_t painted_from(uintptr_t here)
{
    return here - (rig_is_machine() ? PAINTED : HOST_PAINTED);
}

static uintptr_t painted_to(uintptr_t here)
{
    return here - (rig_is_machine() ? UNPAINTED : HOST_UNPAINTED);
}

/* Stack that is in use by nobody: below everything that the caller of the caller has. */
static __attribute__((noinline)) void paint(uintptr_t here)
{
    for (uintptr_t at = painted_from(here); at < painted_to(here); at++) {
        *(volatile uint8_t *)at = PAINT;
    }
}

static __attribute__((noinline)) size_t depth(uintptr_t here)
{
    uintptr_t at = painted_from(here);
    while (at < painted_to(here) && *(const volatile uint8_t *)at == PAINT) {
        at++;
    }
    return here - at;
}

static __attribute__((noinline)) void collect(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    size_t held = rig_frames_held(), used = 0;
    rig_frame_budget(held);
    if (is_measured()) {
        paint(here);
    }
    sh_gc_collect();
    while (!sh_gc_step(STEP)) {
    }
    if (is_measured()) {
        used = depth(here);
    }
    rig_frame_budget(0);
    EXPECT(rig_frames_held() <= held);
    if (used > (rig_is_machine() ? STACK_MOST : HOST_STACK_MOST)) {
        t_fail(__FILE__, __LINE__, "a collection took %zu bytes of stack", used);
    }
    if (gc.stats.longest_step > STEP_MOST) {
        t_fail(__FILE__, __LINE__, "a step of %u words did %zu", STEP, gc.stats.longest_step);
    }
}

static void expect_gone(void)
{
    t_root[0] = NULL;
    collect();
    EXPECT_EQ(t_gc_live_count(), 0);
    EXPECT_WHOLE();
}

/* ---- lists and rings ---- */

static struct cell *new_cell(bool typed, uintptr_t id)
{
    struct cell *cell = typed ? sh_gc_new(&cell_type, 1) : sh_gc_malloc(sizeof *cell, 0);
    EXPECT(cell != NULL);
    cell->id = t_mark_of(id);
    return cell;
}

/* `count` cells in a row in t_root[0]; a ring if it is closed. */
static void make_list(size_t count, bool typed, bool closed)
{
    struct cell *last = new_cell(typed, 0), *first = last;
    t_root[0] = last;
    for (size_t i = 1; i < count; i++) {
        struct cell *cell = new_cell(typed, i);
        cell->next = t_root[0];
        t_root[0] = cell;
    }
    if (closed) {
        first->next = t_root[0];
    }
}

static void expect_list(size_t count)
{
    const struct cell *cell = t_root[0];
    for (size_t i = count; i-- > 0; cell = cell->next) {
        EXPECT(cell != NULL && cell->id == t_mark_of(i));
    }
}

static size_t list_length(void)
{
    return rig_is_machine() ? 30000 : 1000000;
}

static void a_list_as_long_as_memory_is_kept_whole(void)
{
    for (unsigned typed = 0; typed < 2; typed++) {
        t_gc_start(128 * T_MIB, NULL, NULL);
        make_list(list_length(), typed != 0, false);
        collect();
        expect_list(list_length());
        EXPECT_EQ(t_gc_live_count(), list_length());
        expect_gone();
    }
}

static void a_ring_is_kept_and_one_that_nothing_reaches_goes(void)
{
    t_gc_start(128 * T_MIB, NULL, NULL);
    make_list(list_length() / 4, true, true);
    collect();
    expect_list(list_length() / 4);
    EXPECT_EQ(t_gc_live_count(), list_length() / 4);
    expect_gone();
}

/* Every cell lies in another span than the one before it: each comes up in the queue alone. */
static void a_list_that_hops_from_span_to_span_is_kept_whole(void)
{
    size_t count = rig_is_machine() ? 8192 : 262144, stride = rig_is_machine() ? 1021 : 4099;
    t_gc_start(128 * T_MIB, NULL, NULL);
    struct cell **table = t_gc_take(count * sizeof *table, SH_GC_NOSCAN);
    for (size_t i = 0; i < count; i++) {
        table[i] = new_cell(true, i); /* an id may look like the table's address */
    }
    for (size_t i = 0, at = 0; i < count; i++) {
        size_t next = (at + stride) & (count - 1);
        table[at]->next = i + 1 == count ? NULL : table[next];
        at = next;
    }
    t_root[0] = table[0];
    collect();
    size_t found = 0;
    for (const struct cell *cell = t_root[0]; cell != NULL; cell = cell->next) {
        EXPECT_EQ(cell->id, t_mark_of(found * stride & (count - 1)));
        found++;
    }
    EXPECT_EQ(found, count);
    EXPECT_EQ(t_gc_live_count(), count);
    expect_gone();
}

/* ---- trees and stars ---- */

static struct branch *new_branch(uintptr_t id)
{
    struct branch *branch = sh_gc_new(&branch_type, 1);
    EXPECT(branch != NULL);
    branch->id = t_mark_of(id);
    return branch;
}

/* The root of a subtree below it is found by the bits of its number. */
static struct branch *branch_at(size_t number)
{
    struct branch *at = t_root[0];
    size_t bit = 1;
    while (bit <= number / 2) {
        bit <<= 1;
    }
    for (bit >>= 1; bit != 0; bit >>= 1) {
        at = (number & bit) != 0 ? at->right : at->left;
    }
    return at;
}

static void a_full_tree_is_kept_whole(void)
{
    size_t count = rig_is_machine() ? 8192 : 131072;
    t_gc_start(0, NULL, NULL);
    t_root[0] = new_branch(1);
    for (size_t i = 2; i < count; i++) {
        struct branch *parent = branch_at(i / 2);
        *((i & 1) != 0 ? &parent->right : &parent->left) = new_branch(i);
    }
    collect();
    for (size_t i = 1; i < count; i++) {
        EXPECT_EQ(branch_at(i)->id, t_mark_of(i));
    }
    EXPECT_EQ(t_gc_live_count(), count - 1);
    expect_gone();
}

/* A comb: each branch has a leaf to the left and the next one to the right. */
static void a_deep_tree_is_kept_whole(void)
{
    size_t count = list_length() / 4;
    t_gc_start(0, NULL, NULL);
    t_root[0] = new_branch(0);
    for (size_t i = 1; i < count; i++) {
        struct branch *top = new_branch(i);
        top->right = t_root[0];
        t_root[0] = top;
        top->left = new_branch(~(uintptr_t)i);
    }
    collect();
    const struct branch *at = t_root[0];
    for (size_t i = count; i-- > 0; at = at->right) {
        EXPECT_EQ(at->id, t_mark_of(i));
        EXPECT(i == 0 ? at->left == NULL : at->left->id == t_mark_of(~(uintptr_t)i));
    }
    EXPECT_EQ(t_gc_live_count(), 2 * count - 1);
    expect_gone();
}

static void a_star_is_kept_whole(void)
{
    size_t count = list_length() / 4;
    t_gc_start(0, NULL, NULL);
    struct cell **star = t_gc_take(count * sizeof *star, 0);
    t_root[0] = star;
    for (size_t i = 0; i < count; i++) {
        star[i] = new_cell((i & 1) != 0, i);
        star[i]->next = (struct cell *)star; /* back to the middle */
    }
    collect();
    for (size_t i = 0; i < count; i++) {
        EXPECT(star[i]->id == t_mark_of(i) && star[i]->next == (struct cell *)star);
    }
    EXPECT_EQ(t_gc_live_count(), count + 1);
    expect_gone();
}

/* The last words of the array are the only ones that refer to some of the cells. */
static void fill_array(struct cell **array, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        array[i] = (struct cell *)&array[i + 1]; /* into itself */
    }
    for (size_t i = 0; i < 64; i++) {
        array[i] = new_cell(false, i);
        array[words - 64 + i] = new_cell(false, 64 + i);
    }
}

static void a_huge_array_of_pointers_is_kept_whole(void)
{
    size_t size = rig_is_machine() ? 2 * T_MIB : 64 * T_MIB, words = size / T_WORD;
    if (!t_has_memory(size + 2 * T_MIB)) {
        return;
    }
    t_gc_start(size + 32 * T_MIB, NULL, NULL);
    struct cell **array = t_gc_take(size, 0);
    t_root[0] = &array[words - 1];
    fill_array(array, words);
    collect();
    for (size_t i = 0; i < 128; i++) {
        const struct cell *cell = array[i < 64 ? i : words - 128 + i];
        EXPECT(t_lives(cell) && cell->id == t_mark_of(i));
    }
    EXPECT_EQ(t_gc_live_count(), 129);
    expect_gone();
}

/* ---- pieces ---- */

/* Every position of the last pointer in objects around the size of a piece is looked at. */
static void every_word_of_every_size_is_looked_at(void)
{
    t_gc_start(0, NULL, NULL);
    unsigned step = rig_is_machine() ? 7 : 1;
    for (size_t words = 1; words < 300; words += step) {
        void **object = t_gc_take(words * T_WORD, 0);
        t_root[0] = object;
        for (size_t i = 0; i < words; i++) {
            object[i] = new_cell(true, i);
        }
        sh_gc_collect();
        for (size_t i = 0; i < words; i++) {
            EXPECT(t_lives(object[i]));
        }
        EXPECT_EQ(t_gc_live_count(), words + 1);
    }
    EXPECT_WHOLE();
}

static const struct test tests[] = {
    { "a_list_as_long_as_memory_is_kept_whole", a_list_as_long_as_memory_is_kept_whole },
    { "a_ring_is_kept_and_one_that_nothing_reaches_goes", a_ring_is_kept_and_one_that_nothing_reaches_goes },
    { "a_list_that_hops_from_span_to_span_is_kept_whole", a_list_that_hops_from_span_to_span_is_kept_whole },
    { "a_full_tree_is_kept_whole", a_full_tree_is_kept_whole },
    { "a_deep_tree_is_kept_whole", a_deep_tree_is_kept_whole },
    { "a_star_is_kept_whole", a_star_is_kept_whole },
    { "a_huge_array_of_pointers_is_kept_whole", a_huge_array_of_pointers_is_kept_whole },
    { "every_word_of_every_size_is_looked_at", every_word_of_every_size_is_looked_at },
};

SUITE(shapes, tests);
