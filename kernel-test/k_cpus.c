/*
 * CPUs: who runs, who asks whom for what.
 *
 * A request is a bit in the record of the CPU that is asked, then an interrupt; the handler takes all bits
 * at once.  Whoever waits for another CPU has its interrupts on and pauses, so it answers meanwhile; one
 * that stands (K_STOP) has its interrupts off and answers shootdowns from its loop.
 */
#include "k_cpus.h"

#include "mm/mm.h"

enum k_request { K_STOP = 1, K_SHOOTDOWN = 2, K_WORK = 4 };

#define STACK_PAGES ((K_SLOT_SIZE - K_SLOT_GUARD) / 4096 - 1)
#define CONSOLE_PATIENCE 10000000u

struct k_cpu k_cpu_table[K_RECORDS];
unsigned k_cpu_count = 1;
unsigned k_shootdowns;
void (*k_while_stopped)(void);

/* `taken`: by the CPU that asks; the rest is its. */
static struct {
    uint32_t taken;
    unsigned waiting; /* CPUs that have not flushed yet */
    uintptr_t base;
    size_t size;
} shootdown;

static struct {
    uint32_t taken;
    unsigned standing;
    bool stopped;
} world;

static struct {
    unsigned owner; /* CPU + 1; 0 = nobody */
} console;

/*
 * Who this is, and locks
 */

unsigned k_cpu(void)
{
    return k_cpu_count > 1 ? k_cpu_number() : 0;
}

struct k_cpu *k_this(void)
{
    return &k_cpu_table[k_cpu()];
}

unsigned k_cpus(void)
{
    return k_cpu_count;
}

static void acquire(uint32_t *taken)
{
    while (__atomic_exchange_n(taken, 1, __ATOMIC_ACQUIRE) != 0)
        k_pause();
}

static void release(uint32_t *taken)
{
    __atomic_store_n(taken, 0, __ATOMIC_RELEASE);
}

bool k_lock(struct k_lock *lock)
{
    bool on = k_interrupts(false);

    acquire(&lock->taken);
    return on;
}

void k_unlock(struct k_lock *lock, bool on)
{
    release(&lock->taken);
    k_interrupts(on);
}

bool k_console_enter(void)
{
    unsigned self = k_cpu() + 1, patience = CONSOLE_PATIENCE, nobody = 0;

    if (__atomic_load_n(&console.owner, __ATOMIC_RELAXED) == self)
        return false;
    while (!__atomic_compare_exchange_n(&console.owner, &nobody, self, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
        nobody = 0;
        if (--patience == 0)
            return false;
        k_pause();
    }
    return true;
}

void k_console_leave(bool entered)
{
    if (entered)
        __atomic_store_n(&console.owner, 0, __ATOMIC_RELEASE);
}

/*
 * Requests
 */

static void ask(unsigned number, enum k_request request)
{
    __atomic_fetch_or(&k_cpu_table[number].requests, request, __ATOMIC_SEQ_CST);
    k_cpu_kick(number);
}

static void ask_others(enum k_request request)
{
    unsigned self = k_cpu();

    for (unsigned i = 0; i < k_cpu_count; i++)
        if (i != self)
            ask(i, request);
}

static void need_interrupts(const char *what)
{
    if (!k_interrupts(true)) {
        k_interrupts(false);
        k_panic(what, 0);
    }
}

void k_tlb_shootdown(uintptr_t base, size_t size)
{
    need_interrupts("a shootdown with interrupts off");
    acquire(&shootdown.taken);
    k_shootdowns++;
    shootdown.base = base;
    shootdown.size = size;
    __atomic_store_n(&shootdown.waiting, k_cpu_count - 1, __ATOMIC_RELEASE);
    ask_others(K_SHOOTDOWN);
    while (__atomic_load_n(&shootdown.waiting, __ATOMIC_ACQUIRE) != 0)
        k_pause();
    release(&shootdown.taken);
}

static void answer_shootdown(void)
{
    k_tlb_flush(shootdown.base, shootdown.size);
    __atomic_fetch_sub(&shootdown.waiting, 1, __ATOMIC_ACQ_REL);
}

/* The next stop begins when nobody stands any more. */
void k_world_stop(void)
{
    need_interrupts("the world is stopped with interrupts off");
    acquire(&world.taken);
    __atomic_store_n(&world.stopped, true, __ATOMIC_RELEASE);
    ask_others(K_STOP);
    while (__atomic_load_n(&world.standing, __ATOMIC_ACQUIRE) != k_cpu_count - 1)
        k_pause();
}

void k_world_resume(void)
{
    __atomic_store_n(&world.stopped, false, __ATOMIC_RELEASE);
    while (__atomic_load_n(&world.standing, __ATOMIC_ACQUIRE) != 0)
        k_pause();
    release(&world.taken);
}

static unsigned take_requests(void)
{
    return __atomic_exchange_n(&k_this()->requests, 0, __ATOMIC_SEQ_CST);
}

static void stand(uintptr_t saved)
{
    k_this()->saved = saved;
    __atomic_fetch_add(&world.standing, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&world.stopped, __ATOMIC_ACQUIRE)) {
        if ((take_requests() & K_SHOOTDOWN) != 0)
            answer_shootdown();
        if (k_while_stopped != NULL)
            k_while_stopped();
        k_pause();
    }
    k_this()->saved = 0;
    __atomic_fetch_sub(&world.standing, 1, __ATOMIC_ACQ_REL);
}

void k_cpu_interrupt(uintptr_t saved)
{
    unsigned requests = take_requests();

    if ((requests & K_SHOOTDOWN) != 0)
        answer_shootdown();
    if ((requests & K_STOP) != 0)
        stand(saved);
}

/* What runs here is the collector's own stack: it is clipped there.  The others stand. */
void k_world_stacks(void (*scan)(const void *low, const void *high, void *arg), void *arg)
{
    for (unsigned i = 0; i < k_cpu_count; i++) {
        const struct k_cpu *cpu = &k_cpu_table[i];
        uintptr_t low = cpu == k_this() ? cpu->stack_low : cpu->saved;

        if (low == 0)
            k_panic("the stack of a CPU that does not stand", i);
        scan((const void *)low, (const void *)cpu->stack_high, arg);
    }
}

/*
 * Work
 */

void k_cpu_start(unsigned number, void (*fn)(void *arg), void *arg)
{
    struct k_cpu *cpu = &k_cpu_table[number];

    if (number == 0 || number >= k_cpu_count || !k_cpu_is_idle(number))
        k_panic("work for a CPU that is not idle", number);
    cpu->work_arg = arg;
    __atomic_store_n(&cpu->work, fn, __ATOMIC_RELEASE);
    ask(number, K_WORK);
}

bool k_cpu_is_idle(unsigned number)
{
    return __atomic_load_n(&k_cpu_table[number].work, __ATOMIC_ACQUIRE) == NULL;
}

void k_cpus_wait(void)
{
    for (unsigned i = 1; i < k_cpu_count; i++)
        while (!k_cpu_is_idle(i))
            k_pause();
}

void k_cpu_main(struct k_cpu *cpu)
{
    __atomic_store_n(&cpu->running, 1, __ATOMIC_RELEASE);
    for (;;) {
        void (*work)(void *) = __atomic_load_n(&cpu->work, __ATOMIC_ACQUIRE);

        if (work == NULL) {
            k_wait();
            continue;
        }
        k_interrupts(true);
        work(cpu->work_arg);
        k_interrupts(false);
        __atomic_store_n(&cpu->work, NULL, __ATOMIC_RELEASE);
    }
}

/* A frame of this kernel's own, for good. */
static sh_paddr take_frame(void)
{
    sh_paddr frame;

    if (!k_frame_alloc(4096, &frame))
        k_panic("no frames for the stack of a CPU", 0);
    return frame;
}

static void prepare(struct k_cpu *cpu, unsigned number)
{
    uintptr_t slot = k_slots + number * K_SLOT_SIZE;

    cpu->number = number;
    cpu->area = sh_cpu_area(number);
    cpu->stack_guard = slot + K_SLOT_GUARD;
    cpu->stack_low = cpu->stack_guard + 4096;
    cpu->stack_high = slot + K_SLOT_SIZE;
    cpu->boot_stack = (uintptr_t)k_phys(take_frame()) + 4096;
    for (uintptr_t page = 0; page < STACK_PAGES; page++)
        k_slot_map(cpu->stack_low + page * 4096, take_frame());
}

void k_cpu_first(uintptr_t stack_guard)
{
    struct k_cpu *cpu = &k_cpu_table[0];

    cpu->area = sh_cpu_area(0);
    cpu->stack_guard = stack_guard;
    cpu->stack_low = (uintptr_t)k_stack_bottom;
    cpu->stack_high = (uintptr_t)k_stack_top;
}

void k_cpus_start(unsigned count)
{
    if (count > K_MAX_CPUS)
        count = K_MAX_CPUS;
    if (count <= 1)
        return;
    k_cpu_count = count;
    for (unsigned i = 1; i < count; i++) {
        prepare(&k_cpu_table[i], i);
        k_cpu_boot(&k_cpu_table[i]);
        while (__atomic_load_n(&k_cpu_table[i].running, __ATOMIC_ACQUIRE) == 0)
            k_pause();
    }
    k_cpu_boot_done();
}
