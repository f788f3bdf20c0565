/*
 * The arena model: its parts.  explore.c is the search and has the essay; actions.c is what a caller
 * does, port.c answers for the machine, image.c keeps states, check.c says what must hold of one,
 * scopes.c lists the cases.
 */
#ifndef MODEL_H
#define MODEL_H

#include "mm/heap.h"
#include "mm/linear.h"

/* Units are granules: what is reserved, mapped and committed at once.  All windows of a case together,
 * and then the annex: single units that are only given when the address space is to be used up. */
#define UNITS_MAX 24
#define UNIT_PAGES ((unsigned)(SH_GRANULE_SIZE / SH_PAGE_SIZE))
#define ANNEX_UNITS 4u
#define PAGES_MAX (UNITS_MAX * UNIT_PAGES)

struct window {
    uintptr_t base;
    unsigned units;
};

enum answers {
    ANY_PLACE, /* reserve is refused, or gives any place that fits */
    EDGES,     /* refused, where first fit would give it, the highest, the nearest to the hint */
    WINDOWS    /* windows are donated one by one, in any order; in them first fit, as windows.c has it */
};

struct scope {
    const char *name;
    struct window window[4];
    unsigned windows;
    enum answers answers;
    bool demand;
    size_t limit;     /* units of frames; 0 = none */
    uint32_t actions; /* a bit an action of explore.c */
};

/* What the model itself knows: part of every state.  Indices count units, or pages, through all windows. */
struct shadow {
    uint8_t state[UNITS_MAX];      /* enum sh_state */
    uint8_t range[UNITS_MAX];      /* where a reservation begins: its units */
    uint8_t run[PAGES_MAX];        /* where a run of the caller's begins: its pages */
    uint8_t is_object[PAGES_MAX];  /* of a run: freed by sh_free, not by sh_free_pages */
    uint32_t ready;                /* units */
    uint32_t donated;              /* a bit a window */
};

extern struct shadow shadow;
extern const struct scope *scope;

extern const struct scope scopes[];
extern const unsigned scope_count;

/* ---- explore.c ---- */

/* One of `count` ways to go on; 0 is the way without a failure. */
unsigned choose(unsigned count);
/* Something does not hold: says so with the way that led here, and gives the case up. */
_Noreturn void violated(const char *what, uintptr_t at);
/* A line of the way, when it is being shown. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Choices begin anew: those that are given are made again. */
void choices_rewind(void);

/* ---- actions.c ---- */

struct step {
    uint8_t action, page; /* the page, or the window, that it works on */
};

extern const unsigned action_count;
/* Can this action be taken at this page? */
bool applies(unsigned number, unsigned page);
/* One transition, with the choices that are given; true = it did what it was to do. */
bool perform(struct step step);
/* Nothing failed, and it says no: then it says yes with address space for records, or there is nothing
 * to give.  Ruins the state. */
void refused_rightly(struct step step);
/* An allocation that may call the port: if it fails for a hook's sake only, it works later. */
bool is_call(unsigned number);
/* sh_init as the scope has it. */
void heap_open(void);

/* ---- port.c ---- */

struct port_run {
    bool forbidden;      /* no call may come */
    bool annex;          /* reserve gives units of the annex only, without a choice */
    bool serve;          /* nothing else fails, without a choice */
    size_t limit;        /* units of frames; 0 = none */
    unsigned failures;   /* made to fail, in this transition */
    bool reserved;       /* address space was given */
    bool seen;           /* the last call was refused: nothing has changed since it looked */
};
extern struct port_run port_run;

/* Of the windows; with the annex there are ANNEX_UNITS more. */
extern unsigned unit_count, page_count;
extern uintptr_t unit_address[UNITS_MAX];
void port_open(void);

static inline uintptr_t page_address(unsigned page)
{
    return unit_address[page / UNIT_PAGES] + page % UNIT_PAGES * SH_PAGE_SIZE;
}

/* The unit of an address; UNITS_MAX = in no window. */
unsigned unit_of(uintptr_t address);
/* The page of an address in a window. */
static inline unsigned page_of(uintptr_t address)
{
    return unit_of(address) * UNIT_PAGES + (unsigned)(address % SH_GRANULE_SIZE >> MM_PAGE_SHIFT);
}

bool unit_is_meta(unsigned unit);
/* The lookups of every page as they should be, and behind them nothing that is not mapped. */
void port_probe(void);

/* ---- image.c ---- */

/* Lines of all memory that makes up the state. */
void image_open(void);
/* The state now is the first one: what all others are stored as differences to. */
void image_base(void);
/* Back to that. */
void image_to_base(void);
/* Puts what does not matter in one order (the essay's 3).  Then the state's hash, from what differs
 * from the state that was last taken up. */
uint64_t image_hash(void);
/* Back to the state that was last taken up: from anywhere, and at once after image_hash. */
void image_restore(void);
void image_undo(void);
/* The state now, but for what does not matter, is the first one. */
bool image_is_base(void);
/* What was metadata there is gone. */
void image_seal(unsigned unit);
/* Keeps the state now, on the heap; takes a kept state up again and frees it. */
void *image_keep(void);
void image_take_up(void *kept);
size_t image_bytes(void);

/* ---- check.c ---- */

/* All that must hold of the state now; ruins it. */
void check_state(void);
/* Is there a free run like that, in the page allocator and the remainder together? */
bool check_possible(size_t pages, size_t align);
/* Of a run that was just given. */
void check_run(uintptr_t base, size_t pages, size_t align, bool eager);

/* Statics of mm/, made visible in the copy that is linked here (Makefile: MODEL_SHOWN). */
extern struct mm_fixed few;
extern struct kept {
    size_t pages;
    struct kept_step {
        struct mm_span *run[4];
        size_t count;
    } step[10 * 4];
} kept[1];
extern uintptr_t offered_base;
extern uintptr_t lowest, highest;
extern unsigned refusals;
extern size_t lacked, room_lacked;
struct remainder {
    uintptr_t base;
    size_t size;
};
extern struct remainder current;
struct spare_block {
    uintptr_t base;
    size_t size;
    bool mapped;
};
extern struct spare_block spares[8];
extern unsigned spare_count;

#endif
