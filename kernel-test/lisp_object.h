/*
 * Between the files of the Lisp: what a value is, and what each file offers the others.
 *
 * A value is a word.  Its two low bits tell what it is:
 *
 *     00   an object with a header: the address of its base
 *     01   a number: 30 bits
 *     10   a pair: the address of its base + 2.  An address inside an object keeps it, so the
 *          collector needs to know nothing of this
 *     11   a constant: a character, a built-in function, (), #t, #f, what `define` gives
 *
 * The word 0 is no value.  A function that returns it has failed, and has said why by lisp_fail;
 * its caller fails too.  A variable that holds it has not been given a value yet.
 *
 * Values are kept by what refers to them on the C stack, in registers, in objects, or in lisp.root.
 */
#ifndef KERNEL_TEST_LISP_OBJECT_H
#define KERNEL_TEST_LISP_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel-test/lisp.h"

typedef uintptr_t value;

#define NO_VALUE ((value)0)

enum lisp_tag { TAG_OBJECT, TAG_NUMBER, TAG_PAIR, TAG_CONSTANT };
enum lisp_constant { CONSTANT_PLAIN, CONSTANT_CHARACTER, CONSTANT_BUILTIN };

#define CONSTANT(kind, index) ((value)(index) << 8 | (value)(kind) << 2 | TAG_CONSTANT)
#define NIL CONSTANT(CONSTANT_PLAIN, 0)
#define FALSE CONSTANT(CONSTANT_PLAIN, 1)
#define TRUE CONSTANT(CONSTANT_PLAIN, 2)
#define NOTHING CONSTANT(CONSTANT_PLAIN, 3)     /* what a form gives that has nothing to say */
#define END_OF_TEXT CONSTANT(CONSTANT_PLAIN, 4) /* only from the reader */

#define NUMBER_MAX 0x1FFFFFFF
#define NUMBER_MIN (-NUMBER_MAX - 1)
#define COUNT_MAX 0xFFFFFFu /* words of a vector, bytes of a string */

/* ---- objects ---- */

struct pair {
    value car, cdr;
};

/* The header of all others: kind, an operation of 4 bits, a count. */
enum lisp_kind { KIND_SYMBOL = 1, KIND_STRING, KIND_VECTOR, KIND_CLOSURE, KIND_FRAME, KIND_NODE };

/* The operation is not used, the count is the special form that it names, counted from 1. */
struct symbol {
    uintptr_t header;
    value name;   /* a string */
    value global; /* its value as a global variable */
    value next;   /* in its list of the table */
};

struct string {
    uintptr_t header; /* the count is its length */
    char text[];
};

/* A vector; a frame: items[0] is the frame around it, then come the variables; a node. */
struct vector {
    uintptr_t header;
    value items[];
};

/* A function: a node of the operation OP_LAMBDA, and the frame where it was made. */
struct closure {
    uintptr_t header;
    value lambda, frame;
};

static inline enum lisp_tag lisp_tag(value v)
{
    return (enum lisp_tag)(v & 3);
}

static inline bool lisp_is_number(value v)
{
    return lisp_tag(v) == TAG_NUMBER;
}

static inline bool lisp_is_pair(value v)
{
    return lisp_tag(v) == TAG_PAIR;
}

static inline bool lisp_is_constant(value v, enum lisp_constant kind)
{
    return (v & 0xFF) == CONSTANT(kind, 0);
}

static inline size_t lisp_constant_index(value v)
{
    return v >> 8;
}

static inline uintptr_t *lisp_header(value v)
{
    return (uintptr_t *)v;
}

static inline bool lisp_is(value v, enum lisp_kind kind)
{
    return lisp_tag(v) == TAG_OBJECT && v != NO_VALUE && (*lisp_header(v) & 15) == kind;
}

static inline size_t lisp_count(value v)
{
    return *lisp_header(v) >> 8;
}

static inline struct pair *lisp_pair(value v)
{
    return (struct pair *)(v - TAG_PAIR);
}

static inline value lisp_car(value v)
{
    return lisp_pair(v)->car;
}

static inline value lisp_cdr(value v)
{
    return lisp_pair(v)->cdr;
}

static inline struct symbol *lisp_symbol(value v)
{
    return (struct symbol *)v;
}

static inline struct string *lisp_string(value v)
{
    return (struct string *)v;
}

static inline struct vector *lisp_vector(value v)
{
    return (struct vector *)v;
}

static inline struct closure *lisp_closure(value v)
{
    return (struct closure *)v;
}

static inline value lisp_number(int32_t n)
{
    return (value)((uint32_t)n << 2 | TAG_NUMBER);
}

/* The upper bits of a wide value are 0, so that a number is the same on every machine. */
static inline int32_t lisp_integer(value v)
{
    return (int32_t)(uint32_t)v >> 2;
}

static inline value lisp_truth(bool is)
{
    return is ? TRUE : FALSE;
}

/* Each gives NO_VALUE without memory. */
value lisp_cons(value car, value cdr);
value lisp_new_string(size_t length);
value lisp_new_vector(enum lisp_kind kind, unsigned operation, size_t count);
value lisp_new_closure(value lambda, value frame);
value lisp_intern(const char *text, size_t length);
value lisp_intern_text(const char *text);

/* *slot = v, for a slot in an object or in the root. */
void lisp_store(value *slot, value v);

/* Sets memory aside, if there is enough: so that after a form that took all there was, the next
 * one can be read. */
void lisp_reserve(void);

/* Makes the table of symbols; forgets it. */
bool lisp_objects_start(void);
void lisp_objects_end(void);

/* The number of elements; −1 if it is no list, or has no end. */
int32_t lisp_length(value list);
/* The list upside down, with `tail` behind it. */
value lisp_reverse(value list, value tail);
size_t lisp_text_length(const char *text);

/* ---- text: reader, printer, messages ---- */

struct lisp_reader {
    const char *at, *end;
    unsigned line;
    bool incomplete; /* NO_VALUE because the text ended inside a form */
};

/* The next form, END_OF_TEXT, or NO_VALUE. */
value lisp_read(struct lisp_reader *reader);

/* Writes as `write` or `display` does, to the output. */
void lisp_print(value v, bool display);
/* As `write`, to at most size − 1 characters, cut off with "...". */
void lisp_print_to(value v, bool display, char *to, size_t size);
void lisp_put(const char *text);
void lisp_put_number(int32_t n);

/* Says what is wrong, and about which value (NO_VALUE: none); the first to say so counts.
 * Gives NO_VALUE. */
value lisp_fail(const char *what, value culprit);
/* As lisp_fail: "<what> of a non-<type>: <culprit>". */
value lisp_wrong_type(const char *what, const char *type, value culprit);
/* After a failure: the innermost expression that failed is remembered.  Gives NO_VALUE. */
value lisp_blame(value expression);
/* Fails if the stack is nearly used up. */
bool lisp_stack_left(void);

/* ---- compiler ---- */

/*
 * Nodes: what a form is turned into.  items[0] is the form; what follows, by operation:
 *
 *     CONSTANT              the value
 *     LOCAL                 frames to go outwards, index in that frame
 *     GLOBAL                the symbol
 *     SET_LOCAL             as LOCAL, then the node
 *     SET_GLOBAL, DEFINE    the symbol, the node
 *     IF                    test, then, else
 *     AND, OR, SEQUENCE     one or more nodes
 *     LAMBDA                parameters, does the last take the rest, words of a frame, body, name
 *     LET, LETREC           words of a frame, body, what its first variables are set to
 *     CALL                  the function, the arguments
 */
enum lisp_operation {
    OP_CONSTANT, OP_LOCAL, OP_GLOBAL, OP_SET_LOCAL, OP_SET_GLOBAL, OP_DEFINE, OP_IF, OP_AND, OP_OR,
    OP_SEQUENCE, OP_LAMBDA, OP_LET, OP_LETREC, OP_CALL
};

static inline enum lisp_operation lisp_operation(value node)
{
    return (enum lisp_operation)(*lisp_header(node) >> 4 & 15);
}

static inline value lisp_item(value node, size_t index)
{
    return lisp_vector(node)->items[index];
}

/* The node of a form outside all functions. */
value lisp_compile(value form);
bool lisp_compiler_start(void);

/* ---- evaluation ---- */

value lisp_eval(value node, value frame);

/* A function that is built in.  `types` has a letter for each argument, the last for all that
 * follow: n number, p pair, l list, s string, y symbol, c character, v vector, . any. */
struct lisp_builtin {
    const char *name;
    uint8_t least, most;
    const char *types;
    value (*call)(const value *arguments, size_t count); /* NULL: apply */
};

#define LISP_ANY_NUMBER 255

extern const struct lisp_builtin lisp_builtins[];
bool lisp_builtins_start(void);

/* ---- the interpreter ---- */

struct lisp {
    struct {
        value symbols; /* a vector of lists */
        value quote;   /* the symbol, for the reader */
        value reserve; /* memory, given up when there is no other */
    } root;            /* registered */
    const struct lisp_config *config;
    unsigned long allocations;
    char message[160]; /* "" = nothing has failed */
    char where[120];
    bool exit;
};

extern struct lisp lisp;

#endif
