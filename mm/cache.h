/*
 * The CPU's caches: one entry a size class, which points at one word of its current span's free bits.
 * The bits are the allocator: taking the lowest set one is an allocation, setting one is a free.
 *
 * Everything here is the owning CPU's, with interrupts masked.
 */
#ifndef MM_CACHE_H
#define MM_CACHE_H

#include "mm/span.h"

/* 32 bytes on 32-bit machines; sh_malloc touches the first three fields. */
struct mm_entry {
    uintptr_t *word;     /* free bits to take from; mm_zero_word when there is no span */
    uintptr_t base;      /* address of slot 0 of that word */
    size_t size;         /* of a slot */
    struct mm_span *span;  /* current; its word is `word` */
    struct mm_span *head, *tail; /* queued spans: first in, first out */
    struct mm_span *empty; /* empty spans, last in first out */
    size_t queued;       /* how many are queued */
};

struct mm_cpu {
    struct mm_entry entry[MM_CLASSES]; /* of the manual kind */
    arch_flags flags;                  /* of the code that is in a fast path on this CPU */
    /* Classes with more than one empty span: all but one go at the next need of pages. */
    uintptr_t surplus[MM_BITMAP_WORDS(MM_CLASSES)];
    uint64_t frees;                    /* of small objects, credited at events */
    uint64_t large_frees;
    struct mm_span *late; /* spans with frees from other CPUs: remote.c; atomic */
    struct mm_span *taking; /* of those, what this CPU has taken off the list and not looked at yet */
    uintptr_t twice;      /* one of those was freed here too: see mm_remote_twice */
    uint32_t refills;     /* looks for another span to take from, for tests; not of a build for one CPU */
};

#if SH_MAX_CPUS > 1
extern unsigned mm_cpus;
#else
enum { mm_cpus = 1 };
#endif

/* One a CPU; and where there may be several, two that are no CPU's: the cache of a guarded heap, and
 * one without a span for CPUs whose number the build has no room for. */
#define MM_CPU_RECORDS (SH_MAX_CPUS > 1 ? SH_MAX_CPUS + 2 : 1)
#define MM_CPU_GUARDED (SH_MAX_CPUS > 1 ? SH_MAX_CPUS : 0)
#define MM_CPU_NOBODYS (MM_CPU_RECORDS - 1)
extern struct mm_cpu mm_cpu[MM_CPU_RECORDS];
extern uintptr_t mm_zero_word;

/* Does the kernel tell a CPU by its number?  That may be wrong; a pointer is believed. */
#ifdef SH_CPU_POINTER
#define MM_CPU_NUMBERED 0
#else
#define MM_CPU_NUMBERED (SH_MAX_CPUS > 1)
#endif

/* What the kernel says, and where. */
#ifdef SH_CPU_NUMBER
#define MM_CPU_NUMBER SH_CPU_NUMBER
#define MM_CPU_NUMBER_OF "SH_CPU_NUMBER"
#else
#define MM_CPU_NUMBER sh_kernel_cpu()
#define MM_CPU_NUMBER_OF "sh_kernel_cpu"
#endif

/* The last record.  Not inline: so the test of a number is two instructions. */
struct mm_cpu *mm_cpu_nobodys(void);

/* This CPU's record.  Interrupts are masked.  A CPU that sh_init was not told of has one without a span, so
 * its calls leave the fast paths; numbers that the build has no room for share one. */
static inline struct mm_cpu *mm_cpu_self(void)
{
#ifdef SH_CPU_POINTER
    return SH_CPU_POINTER;
#else
    unsigned number = MM_CPU_NUMBERED ? MM_CPU_NUMBER : 0;
    if (MM_CPU_NUMBERED && MM_UNLIKELY(number >= SH_MAX_CPUS)) {
        return mm_cpu_nobodys();
    }
    return &mm_cpu[number];
#endif
}

/* A CPU's number, of this one or, with interrupts on, of one that the caller ran on a moment ago; 0 for a CPU
 * that sh_init was not told of.  For what is the same on any CPU. */
static inline unsigned mm_cpu_about(void)
{
#ifdef SH_CPU_POINTER
    return (unsigned)((const struct mm_cpu *)SH_CPU_POINTER - mm_cpu);
#else
    unsigned number = MM_CPU_NUMBERED ? MM_CPU_NUMBER : 0;
    return number < mm_cpus ? number : 0;
#endif
}

/* Is this a CPU that sh_init was not told of?  Any context.  That is reported: misuse.h. */
static inline bool mm_cpu_strange(void)
{
    return MM_CPU_NUMBERED && MM_UNLIKELY(MM_CPU_NUMBER >= mm_cpus);
}

/* Is a record that of a CPU that sh_init was told of? */
static inline bool mm_cpu_known(const struct mm_cpu *cpu)
{
    return !MM_CPU_NUMBERED || (size_t)(cpu - mm_cpu) < mm_cpus;
}

/* The bracket of the fast paths: interrupts masked. */
static inline arch_flags mm_cpu_mask(void)
{
    return SH_MAX_CPUS == 1 ? arch_irq_save_at(&mm_cpu[0].flags) : arch_irq_save();
}

static inline void mm_cpu_unmask(arch_flags flags)
{
    if (SH_MAX_CPUS == 1) {
        arch_irq_restore_at(&mm_cpu[0].flags, flags);
        return;
    }
    arch_irq_restore(flags);
}

/* The bracket of the slow paths, and whose cache they work on.  A guarded heap has one, under a lock. */
arch_flags mm_cache_enter_guarded(void);
MM_CALL void mm_cache_leave_guarded(arch_flags flags);

static inline arch_flags mm_cache_enter(struct mm_cpu **cpu)
{
    if (SH_MAX_CPUS > 1 && mm_mode.guarded) {
        *cpu = &mm_cpu[MM_CPU_GUARDED];
        return mm_cache_enter_guarded();
    }
    arch_flags flags = arch_irq_save();
    *cpu = mm_cpu_self();
    return flags;
}

static inline void mm_cache_leave(arch_flags flags)
{
    if (SH_MAX_CPUS > 1 && mm_mode.guarded) {
        mm_cache_leave_guarded(flags);
        return;
    }
    arch_irq_restore(flags);
}

/* In a guarded heap an entry's word is hidden from the fast path, which then always misses; who is to
 * take from it reveals it first.  Interrupts stay masked from one to the other. */
static inline void mm_cache_reveal(struct mm_entry *entry)
{
    if (mm_mode.guarded && entry->span != NULL) {
        entry->word = &entry->span->free[0];
        entry->base = entry->span->base;
    }
}

static inline void mm_cache_conceal(struct mm_entry *entry)
{
    if (mm_mode.guarded) {
        entry->word = &mm_zero_word;
    }
}

/* Takes a slot of the entry's current word; false = that is empty. */
static inline bool mm_entry_take(struct mm_entry *entry, void **object)
{
    unsigned index;
    if (MM_UNLIKELY(!arch_bit_take(entry->word, &index))) {
        return false;
    }
    *object = (void *)(entry->base + index * entry->size);
    return true;
}

/* A slot of an entry whose word is empty, from the spans at hand; NULL = a new span is needed. */
MM_CALL void *mm_cache_refill(struct mm_cpu *cpu, struct mm_entry *entry);
/* Gives the CPU a new span. */
MM_CALL void mm_cache_install(struct mm_cpu *cpu, struct mm_span *span);
/* The countdown of a span reached 0: it has to move.  The CPU owns it, or nobody does and the caller holds its
 * central lock. */
MM_CALL void mm_cache_event(struct mm_cpu *cpu, struct mm_span *span);
/* So many free bits of a span were set, by the same caller. */
MM_CALL void mm_cache_freed(struct mm_span *span, uint32_t count);

/* Releases this CPU's empty spans but for one a class; true if there were any.  No lock held. */
bool mm_cache_flush_surplus(void);
/* Releases all that hold no live slot, current ones too. */
void mm_cache_flush_empty(void);
/* All that a CPU has goes to central.  The CPU is this one, or makes no call meanwhile. */
void mm_cache_flush_all(struct mm_cpu *cpu);

/* After a corruption: every fast path leads to the slow one. */
void mm_cache_disarm(void);

/* Frees that are not credited yet: counted while the span went through its countdown. */
uint32_t mm_cache_uncredited(const struct mm_span *span);

int mm_cache_verify(void);
/* A list of spans: members, links (not those of empty ones), end. */
int mm_cache_verify_list(const struct mm_span *head, const struct mm_span *tail, enum mm_place place,
                         unsigned class, size_t *count);
int mm_cache_verify_span(const struct mm_span *span);
void mm_cache_verify_start(void);
/* Last: were as many spans found in lists as say that they are in one? */
int mm_cache_verify_listed(void);
void mm_cache_reset(void);

/* Queue of spans, doubly linked. */
MM_CALL void mm_queue_push(struct mm_span **head, struct mm_span **tail, struct mm_span *span);
MM_CALL void mm_queue_remove(struct mm_span **head, struct mm_span **tail, struct mm_span *span);

#endif
