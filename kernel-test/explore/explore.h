/*
 * The explorer: its parts.  search.c is the search and has the essay (schedule.h has its parts); memory.c is
 * every access of the code under test, and the store buffers; image.c is the memory that makes up a state;
 * port.c answers for the machine; scenarios*.c say who does what at once.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mode { MODE_SC, MODE_TSO, MODE_PSO, MODES };

enum { FIBERS_MAX = 4, CPUS_MAX = 3 };

struct scenario {
    const char *name;
    void (*setup)(void); /* once, by nobody in particular */
    struct {
        void (*run)(void);
        unsigned cpu;
        bool handler; /* comes once, as an interrupt of its CPU */
        bool helper;  /* comes once, or never, while another CPU has stopped this one */
    } fiber[FIBERS_MAX];
    void (*check)(void); /* when all have ended */
    bool slow;           /* not of the subset that make test runs */
};

extern const char explorer_prefix[]; /* of its scenarios' names, for REPLAY */
extern const struct scenario *const scenario_lists[]; /* each ends with one without a name */
extern const struct scenario scenarios_pages[], scenarios_remote[], scenarios_interrupt[], scenarios_tiers[],
    scenarios_gc[];

/* What scenarios keep: part of every state. */
#define STATE __attribute__((section("explore_state")))

/* ---- search.c, fibers.c, choices.c ---- */

extern unsigned fiber_now;     /* who runs */
extern unsigned cpu_now;       /* where */
extern bool running;           /* a fiber does; else set-up or a check */
extern enum mode mode;
extern bool replaying;         /* every access may be a point, every store may be late */
extern uint64_t steps;         /* accesses, pauses, changes of the mask, calls of the port; never goes back */
extern uint64_t last_step;     /* a schedule that comes so far has no end */
extern uint64_t next_choice;   /* the step of the next choice that is given: no point before it matters */

/* Something does not hold: this schedule fails. */
_Noreturn void violated(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The running fiber is about to do what others can tell from its opposite. */
void point(void);
/* One of `count` ways to go on; 0 is the usual one. */
unsigned choose_store(unsigned count);

/* Something that others may be waiting for: a step and a point of its own. */
void explore_point(void);

/* The handler of this fiber's CPU is at work. */
bool in_handler(void);

/* What a cpu.h is made of. */
uintptr_t explore_irq_save(void);
void explore_irq_restore(uintptr_t flags);
bool explore_irq_enabled(void);
void explore_pause(void);

/* Hooks of the collector: the world stops where every other fiber's mask is open. */
void explore_stop_world(void);
void explore_resume_world(void);
void explore_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg);

/* ---- image.c ---- */

#define HEAP_BASE ((uintptr_t)0x100000) /* below the program, which the kernel lets grow to anywhere above */
#define HEAP_PAGES 256u
#define HEAP_SIZE ((size_t)HEAP_PAGES << 12)
#define STACK_SIZE ((size_t)32 << 10)

enum { NOWHERE = UINT32_MAX };

extern unsigned char *image_lib;
extern size_t image_lib_size, image_size;
extern unsigned char stacks[FIBERS_MAX][STACK_SIZE];
extern uint8_t *image_conflict, *image_readers, *image_writers; /* a byte for each byte */
extern uint32_t *image_read[FIBERS_MAX];                       /* of memory.c */
extern uint64_t image_hash;

void image_open(void);
void image_pristine(void); /* as it was when the program began */
void image_base(void);     /* the state now is where every schedule begins */
void image_restore(void);
void image_dirty(uint32_t at, size_t size);
bool image_hash_holds(void);

/* Where an address is in the image; the heap comes first, then .data and .bss, then stacks. */
static inline uint32_t image_at(uintptr_t address)
{
    if (address - HEAP_BASE < HEAP_SIZE) {
        return (uint32_t)(address - HEAP_BASE);
    }
    if (address - (uintptr_t)image_lib < image_lib_size) {
        return (uint32_t)(HEAP_SIZE + (address - (uintptr_t)image_lib));
    }
    if (address - (uintptr_t)stacks < sizeof stacks) {
        return (uint32_t)(HEAP_SIZE + image_lib_size + (address - (uintptr_t)stacks));
    }
    return NOWHERE;
}

static inline bool image_is_stack(uint32_t at)
{
    return at >= HEAP_SIZE + image_lib_size;
}

static inline uint64_t *image_word(uint32_t word)
{
    size_t at = (size_t)word * 8;
    if (at < HEAP_SIZE) {
        return (uint64_t *)(HEAP_BASE + at);
    }
    at -= HEAP_SIZE;
    return at < image_lib_size ? (uint64_t *)(void *)(image_lib + at)
                               : (uint64_t *)(void *)((unsigned char *)stacks + (at - image_lib_size));
}

static inline uint64_t mix(uint64_t a)
{
    a *= 0x9e3779b97f4a7c15u;
    a ^= a >> 29;
    a *= 0xbf58476d1ce4e5b9u;
    return a ^ a >> 32;
}

static inline uint64_t word_hash(uint32_t word, uint64_t value)
{
    return mix(value + (uint64_t)(word + 1) * 0xd1b54a32d192ed03u);
}

/* ---- memory.c ---- */

void memory_start(void);
/* What the running fiber stored last is done. */
void memory_settle(void);
/* The stores that a CPU has not let go are seen, or not: by itself, by the others. */
void memory_show(unsigned cpu);
void memory_hide(unsigned cpu);
void memory_drain(unsigned cpu);       /* of the CPU that runs, and shows them */
bool memory_drain_hidden(void);        /* of all; true = there were some */
uint64_t memory_buffers_hash(void);
/* A fiber that pauses waits for a change of what it read since it paused last. */
bool memory_has_changed(unsigned fiber);
void memory_forget_reads(unsigned fiber);
void memory_deliver_awaited(unsigned fiber);
void memory_await(void); /* the running one pauses */
uint64_t memory_awaited_hash(unsigned fiber);
bool memory_new_conflicts(void);       /* of fibers, that the search does not know of yet; it does now */
void memory_forget_conflicts(void);

/* For code that is not compiled with the instrumentation: a store that is not a point. */
void memory_put8(uint8_t *at, uint8_t value);
void memory_clear(uintptr_t base, size_t size);

/* ---- port.c ---- */

/* Pages [first, first + pages) of the region are a window. */
void port_window(unsigned first, unsigned pages);
void port_frames(unsigned frames); /* so many may be Ready; the rest is refused */
/* sh_init, for so many CPUs; with handlers there is a context hook. */
void port_init(unsigned cpus, bool handlers);
struct sh_config;
void port_init_as(const struct sh_config *config, bool handlers); /* but for its size and hooks */
/* Where set-up and checks run; CPU 0 until it is said. */
void port_be(unsigned cpu);
/* May a CPU touch this page of the region? */
bool port_touchable(uint32_t page);
unsigned port_misuses(void);
const char *port_last_words(void);

/* Panics of misuse that the scenario expects. */
void port_expect_misuse(void);

#endif
