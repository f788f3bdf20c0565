/* Many CPUs on one heap (see storm.h). */
#include "kernel-test/storm.h"

#include "kernel-test/test.h"
#include "mm/mm.h"

#define SIZE_BITS 24u
#define WHOLE 512u /* larger objects are filled so far from both ends */

struct storm_object {
    uint32_t seed;
    uint32_t who; /* size and maker, mixed with the seed and the address */
    uint32_t fill[];
};

static struct {
    unsigned cpus;
    bool sends;
    unsigned trims;
    const char *broken;
    struct storm_object *box[STORM_CPUS][STORM_BOXES];
} storm;

const char *storm_broken(void)
{
    return __atomic_load_n(&storm.broken, __ATOMIC_ACQUIRE);
}

void storm_break(const char *what)
{
    const char *nothing = NULL;

    __atomic_compare_exchange_n(&storm.broken, &nothing, what, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
}

void storm_start(unsigned cpus, bool sends, unsigned trims)
{
    storm.cpus = cpus;
    storm.sends = sends;
    storm.trims = trims;
    storm.broken = NULL;
    for (unsigned i = 0; i < STORM_CPUS; i++)
        for (unsigned k = 0; k < STORM_BOXES; k++)
            storm.box[i][k] = NULL;
}

void storm_part_start(struct storm_part *part, unsigned cpu, bool handler, uint32_t seed)
{
    *part = (struct storm_part){ .cpu = cpu, .handler = handler };
    part->random = seed * 0x9E3779B1u + cpu * 0x85EBCA6Bu + handler + 1;
}

/*
 * Objects
 */

static uint32_t mix(const struct storm_object *object, uint32_t seed)
{
    return (seed ^ (uint32_t)(uintptr_t)object) * 0x9E3779B1u;
}

static void fill(struct storm_object *object, size_t size)
{
    size_t body = size - sizeof *object;

    if (body <= 2 * WHOLE) {
        t_fill(object->fill, body, object->seed);
        return;
    }
    t_fill(object->fill, WHOLE, object->seed);
    t_fill((uint8_t *)object + size - WHOLE, WHOLE, object->seed);
}

static bool holds(const struct storm_object *object, size_t size)
{
    size_t body = size - sizeof *object;

    if (body <= 2 * WHOLE)
        return t_holds(object->fill, body, object->seed);
    return t_holds(object->fill, WHOLE, object->seed) &&
           t_holds((const uint8_t *)object + size - WHOLE, WHOLE, object->seed);
}

static void sign(struct storm_part *part, struct storm_object *object, size_t size)
{
    object->seed = t_random(&part->random);
    object->who = ((uint32_t)size | part->cpu << SIZE_BITS) ^ mix(object, object->seed);
    fill(object, size);
}

static size_t size_of(const struct storm_object *object)
{
    return (object->who ^ mix(object, object->seed)) & (((uint32_t)1 << SIZE_BITS) - 1);
}

static unsigned maker_of(const struct storm_object *object)
{
    return (object->who ^ mix(object, object->seed)) >> SIZE_BITS;
}

static void check(const struct storm_object *object)
{
    size_t size = size_of(object);

    if (maker_of(object) >= storm.cpus || size < sizeof *object || size > sh_usable_size(object))
        storm_break("the head of an object has changed");
    else if (!holds(object, size))
        storm_break("the contents of an object have changed");
}

struct storm_object *storm_take(struct storm_part *part, size_t size)
{
    struct storm_object *object = sh_malloc(size);

    part->mallocs++;
    if (object == NULL)
        part->refused++;
    else
        sign(part, object, size);
    return object;
}

void storm_give(struct storm_part *part, struct storm_object *object)
{
    if (object == NULL)
        return;
    check(object);
    if (storm_broken() != NULL)
        return;
    part->frees++;
    part->remote += maker_of(object) != part->cpu;
    sh_free(object);
}

/*
 * What a part does
 */

/* Mostly small; now and then of pages. */
static size_t draw_size(struct storm_part *part)
{
    uint32_t draw = t_below(&part->random, 256);
    uint32_t most = draw < 200 ? 256 : draw < 240 ? 2048 : draw < 255 || part->handler ? 9000 : 100000;

    return sizeof(struct storm_object) + t_below(&part->random, most);
}

static struct storm_object **draw_slot(struct storm_part *part)
{
    return &part->own[t_below(&part->random, STORM_SLOTS)];
}

static void replace(struct storm_part *part)
{
    struct storm_object **slot = draw_slot(part);

    if (*slot != NULL) {
        storm_give(part, *slot);
        *slot = NULL;
    } else {
        *slot = storm_take(part, draw_size(part));
    }
}

static void resize(struct storm_part *part)
{
    struct storm_object **slot = draw_slot(part), *moved;
    size_t size = draw_size(part), old;

    if (*slot == NULL)
        return;
    check(*slot);
    old = size_of(*slot);
    part->reallocs++;
    moved = sh_realloc(*slot, size);
    if (moved == NULL) {
        part->refused++;
        return;
    }
    size = size < old ? size : old;
    if (!t_holds(moved->fill, (size < WHOLE ? size : WHOLE) - sizeof *moved, moved->seed))
        storm_break("sh_realloc lost bytes");
    sign(part, moved, size);
    *slot = moved;
}

static struct storm_object **draw_box(struct storm_part *part, unsigned cpu)
{
    return &storm.box[cpu][t_below(&part->random, STORM_BOXES)];
}

/* What lay in the box is the sender's. */
static void send(struct storm_part *part)
{
    struct storm_object **slot = draw_slot(part);

    if (*slot == NULL || !storm.sends)
        return;
    *slot = __atomic_exchange_n(draw_box(part, t_below(&part->random, storm.cpus)), *slot,
                                __ATOMIC_ACQ_REL);
}

static void receive(struct storm_part *part)
{
    storm_give(part, __atomic_exchange_n(draw_box(part, part->cpu), NULL, __ATOMIC_ACQ_REL));
}

/* Queries may be asked of what anybody else frees just now; of what lives here they give the truth. */
static void look(struct storm_part *part)
{
    const struct storm_object *mine = *draw_slot(part);
    struct sh_object object;
    uintptr_t other = (uintptr_t)__atomic_load_n(draw_box(part, t_below(&part->random, storm.cpus)),
                                                 __ATOMIC_RELAXED);
    bool inside = sh_object_of((void *)(other + 5), &object);

    if (inside && (object.base > other + 5 || other + 5 - object.base >= object.size))
        storm_break("sh_object_of gave an object that is elsewhere");
    sh_contains((void *)other);
    if (mine != NULL && (!sh_object_of(mine, &object) || !object.live || object.base != (uintptr_t)mine))
        storm_break("sh_object_of does not know a live object");
}

static void seldom(struct storm_part *part)
{
    unsigned left = __atomic_load_n(&storm.trims, __ATOMIC_RELAXED);
    void *pages;

    if (left > 0 && t_below(&part->random, 8) == 0 &&
        __atomic_compare_exchange_n(&storm.trims, &left, left - 1, false, __ATOMIC_RELAXED,
                                    __ATOMIC_RELAXED)) {
        sh_trim(t_below(&part->random, 1u << 20));
        return;
    }
    pages = sh_alloc_pages(1 + t_below(&part->random, 20));
    part->mallocs++;
    if (pages == NULL) {
        part->refused++;
        return;
    }
    *(volatile uint32_t *)pages = part->random;
    if (*(volatile uint32_t *)pages != part->random)
        storm_break("a run of pages is somebody else's too");
    part->frees++;
    sh_free_pages(pages);
}

static void act(struct storm_part *part)
{
    uint32_t draw = t_below(&part->random, 1024);

    if (draw < 480)
        replace(part);
    else if (draw < 704)
        send(part);
    else if (draw < 896)
        receive(part);
    else if (draw < 960 && !part->handler)
        resize(part);
    else if (draw < 1020 || part->handler)
        look(part);
    else
        seldom(part);
}

static uint32_t calls_of(const struct storm_part *part)
{
    return part->mallocs + part->frees + part->reallocs;
}

void storm_go(struct storm_part *part, uint32_t calls)
{
    uint32_t begin = calls_of(part);

    while (calls_of(part) - begin < calls && storm_broken() == NULL)
        act(part);
}

void storm_part_end(struct storm_part *part)
{
    for (unsigned i = 0; i < STORM_SLOTS; i++) {
        storm_give(part, part->own[i]);
        part->own[i] = NULL;
    }
}

void storm_end(struct storm_part *by)
{
    for (unsigned i = 0; i < STORM_CPUS; i++)
        for (unsigned k = 0; k < STORM_BOXES; k++) {
            storm_give(by, storm.box[i][k]);
            storm.box[i][k] = NULL;
        }
}
