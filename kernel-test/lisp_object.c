/*
 * The Lisp's objects: one function that takes memory, the constructors, the table of symbols,
 * lists.
 *
 * Pairs, symbols and closures have types, strings are not looked into, and what varies in length
 * (vectors, frames, nodes) is looked into word by word: a header is no address.
 *
 * Constructors store plainly.  Their object is new, so it is marked already in a cycle that runs,
 * and what it holds there is zero, so the store takes no pointer away from a collector that has
 * yet to see it; and no allocation lies between.  All other stores go through lisp_store.
 */
#include "kernel-test/lisp_object.h"

#include "gc/gc.h"
#include "kernel-test/k_string.h"

#define TABLE_SIZE 64u /* a power of two */
#define RESERVE_SIZE ((size_t)64 << 10)

static const uintptr_t pair_pointers[] = { 3 };
static const uintptr_t symbol_pointers[] = { 2 | 4 | 8 };
static const uintptr_t closure_pointers[] = { 2 | 4 };
static const struct sh_gc_type pair_type = { sizeof(struct pair), pair_pointers, "pair" };
static const struct sh_gc_type symbol_type = { sizeof(struct symbol), symbol_pointers, "symbol" };
static const struct sh_gc_type closure_type = { sizeof(struct closure), closure_pointers,
                                                "closure" };

struct lisp lisp;

/* Every object comes from here: of a type, or (NULL) of a size. */
static void *allocate(const struct sh_gc_type *type, size_t size, unsigned flags)
{
    void *object;

    lisp.allocations++;
    if (lisp.config->stress == LISP_COLLECT)
        sh_gc_collect();
    else if (lisp.config->stress == LISP_STEP)
        sh_gc_step(LISP_STEP_WORDS);
    object = type != NULL ? sh_gc_new(type, 1) : sh_gc_malloc(size, flags);
    if (object == NULL) {
        lisp_store(&lisp.root.reserve, NO_VALUE);
        lisp_fail("out of memory", NO_VALUE);
    }
    return object;
}

void lisp_reserve(void)
{
    if (lisp.root.reserve == NO_VALUE)
        lisp_store(&lisp.root.reserve, (value)sh_gc_malloc(RESERVE_SIZE, SH_GC_NOSCAN));
}

static uintptr_t header(enum lisp_kind kind, unsigned operation, size_t count)
{
    return (uintptr_t)kind | (uintptr_t)operation << 4 | (uintptr_t)count << 8;
}

value lisp_cons(value car, value cdr)
{
    struct pair *pair = allocate(&pair_type, 0, 0);

    if (pair == NULL)
        return NO_VALUE;
    pair->car = car;
    pair->cdr = cdr;
    return (value)pair + TAG_PAIR;
}

/* One byte more than it needs: a 0, for those who want to print it. */
value lisp_new_string(size_t length)
{
    struct string *string;

    if (length > COUNT_MAX)
        return lisp_fail("a string too long", NO_VALUE);
    string = allocate(NULL, sizeof(*string) + length + 1, SH_GC_NOSCAN);
    if (string == NULL)
        return NO_VALUE;
    string->header = header(KIND_STRING, 0, length);
    return (value)string;
}

value lisp_new_vector(enum lisp_kind kind, unsigned operation, size_t count)
{
    struct vector *vector;

    if (count > COUNT_MAX)
        return lisp_fail("a vector too long", NO_VALUE);
    vector = allocate(NULL, sizeof(*vector) + count * sizeof(value), 0);
    if (vector == NULL)
        return NO_VALUE;
    vector->header = header(kind, operation, count);
    return (value)vector;
}

value lisp_new_closure(value lambda, value frame)
{
    struct closure *closure = allocate(&closure_type, 0, 0);

    if (closure == NULL)
        return NO_VALUE;
    closure->header = header(KIND_CLOSURE, 0, 0);
    closure->lambda = lambda;
    closure->frame = frame;
    return (value)closure;
}

void lisp_store(value *slot, value v)
{
    sh_gc_write(slot, (void *)v);
}

/* ---- symbols ---- */

static size_t hash(const char *text, size_t length)
{
    size_t sum = 5381;

    while (length-- > 0)
        sum = sum * 33 + (unsigned char)*text++;
    return sum & (TABLE_SIZE - 1);
}

static bool is_named(value symbol, const char *text, size_t length)
{
    value name = lisp_symbol(symbol)->name;

    return lisp_count(name) == length && memcmp(lisp_string(name)->text, text, length) == 0;
}

/* `text` may lie in a string that only the caller keeps. */
static value new_symbol(const char *text, size_t length, value next)
{
    value name = lisp_new_string(length);
    struct symbol *symbol;

    if (name == NO_VALUE)
        return NO_VALUE;
    memcpy(lisp_string(name)->text, text, length);
    symbol = allocate(&symbol_type, 0, 0);
    if (symbol == NULL)
        return NO_VALUE;
    symbol->header = header(KIND_SYMBOL, 0, 0);
    symbol->name = name;
    symbol->next = next;
    return (value)symbol;
}

value lisp_intern(const char *text, size_t length)
{
    value *list = &lisp_vector(lisp.root.symbols)->items[hash(text, length)];
    value symbol = *list;

    while (symbol != NO_VALUE && !is_named(symbol, text, length))
        symbol = lisp_symbol(symbol)->next;
    if (symbol != NO_VALUE)
        return symbol;
    symbol = new_symbol(text, length, *list);
    if (symbol != NO_VALUE)
        lisp_store(list, symbol);
    return symbol;
}

size_t lisp_text_length(const char *text)
{
    size_t length = 0;

    while (text[length] != 0)
        length++;
    return length;
}

value lisp_intern_text(const char *text)
{
    return lisp_intern(text, lisp_text_length(text));
}

/* The root is zero before, and after: the collector meets no stale address there. */
bool lisp_objects_start(void)
{
    value table;

    memset(&lisp.root, 0, sizeof(lisp.root));
    if (sh_gc_add_root(&lisp.root, sizeof(lisp.root)) != SH_OK)
        return false;
    table = lisp_new_vector(KIND_VECTOR, 0, TABLE_SIZE);
    if (table == NO_VALUE)
        return false;
    lisp_store(&lisp.root.symbols, table);
    lisp_store(&lisp.root.quote, lisp_intern_text("quote"));
    return lisp.root.quote != NO_VALUE;
}

void lisp_objects_end(void)
{
    sh_gc_remove_root(&lisp.root);
    memset(&lisp.root, 0, sizeof(lisp.root));
}

/* ---- lists ---- */

/* A second reader at half the speed is met by the first if there is no end. */
int32_t lisp_length(value list)
{
    value slow = list;
    int32_t length = 0;

    for (; lisp_is_pair(list); list = lisp_cdr(list)) {
        length++;
        if (length > 1 && (length & 1) == 1) {
            slow = lisp_cdr(slow);
            if (slow == list)
                return -1;
        }
    }
    return list == NIL ? length : -1;
}

value lisp_reverse(value list, value tail)
{
    for (; lisp_is_pair(list) && tail != NO_VALUE; list = lisp_cdr(list))
        tail = lisp_cons(lisp_car(list), tail);
    return tail;
}
