/*
 * The Lisp's functions that are built in: a table at the end, with the types of their arguments,
 * which the evaluator checks before it calls.  So each function here does its work and little
 * else.
 *
 * Arguments lie on the C stack or in a vector, so they are kept while a function takes memory.
 */
#include "kernel-test/lisp_object.h"

#include "gc/gc.h"
#include "kernel-test/k_string.h"

#define MESSAGE_SIZE 120u

/* ---- numbers ---- */

static value number(int64_t n)
{
    if (n > NUMBER_MAX || n < NUMBER_MIN)
        return lisp_fail("a number too large", NO_VALUE);
    return lisp_number((int32_t)n);
}

static value add(const value *a, size_t count)
{
    int64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += lisp_integer(a[i]);
    return number(sum);
}

static value subtract(const value *a, size_t count)
{
    int64_t rest = lisp_integer(a[0]);

    for (size_t i = 1; i < count; i++)
        rest -= lisp_integer(a[i]);
    return number(count == 1 ? -rest : rest);
}

static value multiply(const value *a, size_t count)
{
    int64_t product = 1;

    for (size_t i = 0; i < count; i++) {
        product *= lisp_integer(a[i]);
        if (product > NUMBER_MAX || product < NUMBER_MIN)
            break;
    }
    return number(product);
}

static uint32_t size_of(int32_t n)
{
    return n < 0 ? 0u - (uint32_t)n : (uint32_t)n;
}

/* By shifting and subtracting: not every machine divides.  Rounds towards 0, the rest has the sign
 * of a. */
static int32_t divide(int32_t a, int32_t b, int32_t *rest)
{
    uint32_t left = size_of(a), by = size_of(b), quotient = 0;

    for (unsigned bit = 30; bit-- > 0;) {
        if (left >> bit >= by) {
            left -= by << bit;
            quotient |= 1u << bit;
        }
    }
    *rest = a < 0 ? -(int32_t)left : (int32_t)left;
    return (a < 0) != (b < 0) ? -(int32_t)quotient : (int32_t)quotient;
}

static bool divides(value by)
{
    if (by == lisp_number(0))
        lisp_fail("a division by 0", NO_VALUE);
    return by != lisp_number(0);
}

static value quotient(const value *a, size_t count)
{
    int32_t rest;

    (void)count;
    return divides(a[1]) ? number(divide(lisp_integer(a[0]), lisp_integer(a[1]), &rest)) : NO_VALUE;
}

static value rest_of(const value *a, size_t count)
{
    int32_t rest;

    (void)count;
    if (!divides(a[1]))
        return NO_VALUE;
    divide(lisp_integer(a[0]), lisp_integer(a[1]), &rest);
    return number(rest);
}

/* The rest with the sign of the divisor. */
static value modulo(const value *a, size_t count)
{
    int32_t by = lisp_integer(a[1]), rest;

    (void)count;
    if (!divides(a[1]))
        return NO_VALUE;
    divide(lisp_integer(a[0]), by, &rest);
    return number(rest != 0 && (rest < 0) != (by < 0) ? rest + by : rest);
}

/* Does each stand so to the next?  sign: of the difference that is wanted, and may it be 0? */
static value in_order(const value *a, size_t count, int sign, bool equal)
{
    for (size_t i = 1; i < count; i++) {
        int32_t difference = lisp_integer(a[i]) - lisp_integer(a[i - 1]);

        if (difference == 0 ? !equal : sign == 0 || (difference < 0) != (sign < 0))
            return FALSE;
    }
    return TRUE;
}

static value equal_numbers(const value *a, size_t count)
{
    return in_order(a, count, 0, true);
}

static value less(const value *a, size_t count)
{
    return in_order(a, count, 1, false);
}

static value greater(const value *a, size_t count)
{
    return in_order(a, count, -1, false);
}

static value at_most(const value *a, size_t count)
{
    return in_order(a, count, 1, true);
}

static value at_least(const value *a, size_t count)
{
    return in_order(a, count, -1, true);
}

/* ---- what something is ---- */

static value is_same(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(a[0] == a[1]);
}

static bool same_text(value a, value b)
{
    return lisp_count(a) == lisp_count(b) &&
           memcmp(lisp_string(a)->text, lisp_string(b)->text, lisp_count(a)) == 0;
}

/* Pairs and vectors element by element; deep ones use the stack. */
static bool equal(value a, value b)
{
    if (!lisp_stack_left())
        return false;
    for (; lisp_is_pair(a) && lisp_is_pair(b); a = lisp_cdr(a), b = lisp_cdr(b))
        if (a == b || !equal(lisp_car(a), lisp_car(b)))
            return a == b;
    if (lisp_is(a, KIND_STRING) && lisp_is(b, KIND_STRING))
        return same_text(a, b);
    if (!lisp_is(a, KIND_VECTOR) || !lisp_is(b, KIND_VECTOR) || lisp_count(a) != lisp_count(b))
        return a == b;
    for (size_t i = 0; i < lisp_count(a); i++)
        if (!equal(lisp_item(a, i), lisp_item(b, i)))
            return false;
    return true;
}

/* What a function gives that may have failed on its way. */
static value unless_failed(value v)
{
    return lisp.message[0] == 0 ? v : NO_VALUE;
}

static value is_equal(const value *a, size_t count)
{
    (void)count;
    return unless_failed(lisp_truth(equal(a[0], a[1])));
}

static value not(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(a[0] == FALSE);
}

static value is_null(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(a[0] == NIL);
}

static value is_pair(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is_pair(a[0]));
}

static value is_number(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is_number(a[0]));
}

static value is_symbol(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is(a[0], KIND_SYMBOL));
}

static value is_string(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is(a[0], KIND_STRING));
}

static value is_vector(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is(a[0], KIND_VECTOR));
}

static value is_character(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is_constant(a[0], CONSTANT_CHARACTER));
}

static value is_function(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(lisp_is(a[0], KIND_CLOSURE) || lisp_is_constant(a[0], CONSTANT_BUILTIN));
}

/* ---- pairs and lists ---- */

static value cons(const value *a, size_t count)
{
    (void)count;
    return lisp_cons(a[0], a[1]);
}

static value car(const value *a, size_t count)
{
    (void)count;
    return lisp_car(a[0]);
}

static value cdr(const value *a, size_t count)
{
    (void)count;
    return lisp_cdr(a[0]);
}

/* The nth element. */
static value element(value list, unsigned n, const char *name)
{
    value rest = list;

    while (n-- > 0 && lisp_is_pair(rest))
        rest = lisp_cdr(rest);
    return lisp_is_pair(rest) ? lisp_car(rest) : lisp_wrong_type(name, "pair", list);
}

static value cadr(const value *a, size_t count)
{
    (void)count;
    return element(a[0], 1, "cadr");
}

static value caddr(const value *a, size_t count)
{
    (void)count;
    return element(a[0], 2, "caddr");
}

static value cadddr(const value *a, size_t count)
{
    (void)count;
    return element(a[0], 3, "cadddr");
}

static value cddr(const value *a, size_t count)
{
    (void)count;
    return lisp_is_pair(lisp_cdr(a[0])) ? lisp_cdr(lisp_cdr(a[0]))
                                        : lisp_wrong_type("cddr", "pair", a[0]);
}

static value caar(const value *a, size_t count)
{
    (void)count;
    return lisp_is_pair(lisp_car(a[0])) ? lisp_car(lisp_car(a[0]))
                                        : lisp_wrong_type("caar", "pair", a[0]);
}

static value cdar(const value *a, size_t count)
{
    (void)count;
    return lisp_is_pair(lisp_car(a[0])) ? lisp_cdr(lisp_car(a[0]))
                                        : lisp_wrong_type("cdar", "pair", a[0]);
}

static value set_car(const value *a, size_t count)
{
    (void)count;
    lisp_store(&lisp_pair(a[0])->car, a[1]);
    return NOTHING;
}

static value set_cdr(const value *a, size_t count)
{
    (void)count;
    lisp_store(&lisp_pair(a[0])->cdr, a[1]);
    return NOTHING;
}

static value list(const value *a, size_t count)
{
    value v = NIL;

    while (count-- > 0 && v != NO_VALUE)
        v = lisp_cons(a[count], v);
    return v;
}

static value length(const value *a, size_t count)
{
    int32_t n = lisp_length(a[0]);

    (void)count;
    return n >= 0 ? number(n) : lisp_wrong_type("length", "list", a[0]);
}

static value reverse(const value *a, size_t count)
{
    (void)count;
    return lisp_length(a[0]) >= 0 ? lisp_reverse(a[0], NIL)
                                  : lisp_wrong_type("reverse", "list", a[0]);
}

/* From the back: each list in front of what is there already. */
static value append(const value *a, size_t count)
{
    value v = count > 0 ? a[count - 1] : NIL, turned;

    for (size_t i = count > 0 ? count - 1 : 0; i-- > 0;) {
        if (lisp_length(a[i]) < 0)
            return lisp_wrong_type("append", "list", a[i]);
        turned = lisp_reverse(a[i], NIL);
        v = turned != NO_VALUE ? lisp_reverse(turned, v) : NO_VALUE;
        if (v == NO_VALUE)
            return NO_VALUE;
    }
    return v;
}

static value member(const value *a, bool by_identity)
{
    if (lisp_length(a[1]) < 0)
        return lisp_wrong_type("member", "list", a[1]);
    for (value v = a[1]; lisp_is_pair(v); v = lisp_cdr(v))
        if (by_identity ? lisp_car(v) == a[0] : equal(lisp_car(v), a[0]))
            return v;
    return unless_failed(FALSE);
}

static value memq(const value *a, size_t count)
{
    (void)count;
    return member(a, true);
}

static value member_equal(const value *a, size_t count)
{
    (void)count;
    return member(a, false);
}

static value association(const value *a, bool by_identity)
{
    if (lisp_length(a[1]) < 0)
        return lisp_wrong_type("assoc", "list", a[1]);
    for (value v = a[1]; lisp_is_pair(v); v = lisp_cdr(v)) {
        value entry = lisp_car(v);

        if (!lisp_is_pair(entry))
            return lisp_wrong_type("an element", "pair", entry);
        if (by_identity ? lisp_car(entry) == a[0] : equal(lisp_car(entry), a[0]))
            return entry;
    }
    return unless_failed(FALSE);
}

static value assq(const value *a, size_t count)
{
    (void)count;
    return association(a, true);
}

static value assoc(const value *a, size_t count)
{
    (void)count;
    return association(a, false);
}

static value list_ref(const value *a, size_t count)
{
    int32_t n = lisp_integer(a[1]);

    (void)count;
    return element(a[0], n >= 0 ? (unsigned)n : NUMBER_MAX, "list-ref");
}

/* ---- vectors ---- */

/* Is v an index below `end`? */
static bool is_index(value v, size_t end)
{
    int32_t n = lisp_integer(v);

    if (n >= 0 && (size_t)n < end)
        return true;
    lisp_fail("an index out of range", v);
    return false;
}

static value make_vector(const value *a, size_t count)
{
    int32_t size = lisp_integer(a[0]);
    value v;

    if (size < 0)
        return lisp_fail("a vector of negative length", a[0]);
    v = lisp_new_vector(KIND_VECTOR, 0, (size_t)size);
    for (size_t i = 0; v != NO_VALUE && i < (size_t)size; i++)
        lisp_store(&lisp_vector(v)->items[i], count == 2 ? a[1] : lisp_number(0));
    return v;
}

static value vector(const value *a, size_t count)
{
    value v = lisp_new_vector(KIND_VECTOR, 0, count);

    for (size_t i = 0; v != NO_VALUE && i < count; i++)
        lisp_store(&lisp_vector(v)->items[i], a[i]);
    return v;
}

static value vector_length(const value *a, size_t count)
{
    (void)count;
    return number((int64_t)lisp_count(a[0]));
}

static value vector_ref(const value *a, size_t count)
{
    (void)count;
    return is_index(a[1], lisp_count(a[0])) ? lisp_item(a[0], (size_t)lisp_integer(a[1]))
                                            : NO_VALUE;
}

static value vector_set(const value *a, size_t count)
{
    (void)count;
    if (!is_index(a[1], lisp_count(a[0])))
        return NO_VALUE;
    lisp_store(&lisp_vector(a[0])->items[lisp_integer(a[1])], a[2]);
    return NOTHING;
}

/* ---- strings, characters, symbols ---- */

static value string_of(const char *text, size_t size)
{
    value v = lisp_new_string(size);

    if (v != NO_VALUE)
        memcpy(lisp_string(v)->text, text, size);
    return v;
}

static value string_length(const value *a, size_t count)
{
    (void)count;
    return number((int64_t)lisp_count(a[0]));
}

static value string_ref(const value *a, size_t count)
{
    (void)count;
    if (!is_index(a[1], lisp_count(a[0])))
        return NO_VALUE;
    return CONSTANT(CONSTANT_CHARACTER,
                    (unsigned char)lisp_string(a[0])->text[lisp_integer(a[1])]);
}

static value string_append(const value *a, size_t count)
{
    size_t size = 0, at = 0;
    value v;

    for (size_t i = 0; i < count; i++) {
        size += lisp_count(a[i]);
        if (size > COUNT_MAX)
            return lisp_fail("a string too long", NO_VALUE);
    }
    v = lisp_new_string(size);
    for (size_t i = 0; v != NO_VALUE && i < count; i++) {
        memcpy(lisp_string(v)->text + at, lisp_string(a[i])->text, lisp_count(a[i]));
        at += lisp_count(a[i]);
    }
    return v;
}

/* (substring string from to) */
static value substring(const value *a, size_t count)
{
    size_t from, to;
    value v;

    (void)count;
    if (!is_index(a[1], lisp_count(a[0]) + 1) || !is_index(a[2], lisp_count(a[0]) + 1))
        return NO_VALUE;
    from = (size_t)lisp_integer(a[1]);
    to = (size_t)lisp_integer(a[2]);
    if (from > to)
        return lisp_fail("substring ends before it begins", a[2]);
    v = lisp_new_string(to - from);
    if (v != NO_VALUE)
        memcpy(lisp_string(v)->text, lisp_string(a[0])->text + from, to - from);
    return v;
}

static value is_same_string(const value *a, size_t count)
{
    (void)count;
    return lisp_truth(same_text(a[0], a[1]));
}

static value is_lesser_string(const value *a, size_t count)
{
    size_t here = lisp_count(a[0]), there = lisp_count(a[1]);
    int order = memcmp(lisp_string(a[0])->text, lisp_string(a[1])->text,
                       here < there ? here : there);

    (void)count;
    return lisp_truth(order < 0 || (order == 0 && here < there));
}

static value number_to_string(const value *a, size_t count)
{
    char text[16];

    (void)count;
    lisp_print_to(a[0], true, text, sizeof(text));
    return string_of(text, lisp_text_length(text));
}

static value string_to_symbol(const value *a, size_t count)
{
    (void)count;
    return lisp_intern(lisp_string(a[0])->text, lisp_count(a[0]));
}

static value symbol_to_string(const value *a, size_t count)
{
    (void)count;
    return lisp_symbol(a[0])->name;
}

static value character_to_integer(const value *a, size_t count)
{
    (void)count;
    return number((int64_t)lisp_constant_index(a[0]));
}

static value integer_to_character(const value *a, size_t count)
{
    (void)count;
    return is_index(a[0], 256) ? CONSTANT(CONSTANT_CHARACTER, lisp_integer(a[0])) : NO_VALUE;
}

/* ---- input, output, the machine ---- */

static value display(const value *a, size_t count)
{
    (void)count;
    lisp_print(a[0], true);
    return unless_failed(NOTHING);
}

static value write_value(const value *a, size_t count)
{
    (void)count;
    lisp_print(a[0], false);
    return unless_failed(NOTHING);
}

static value newline(const value *a, size_t count)
{
    (void)a;
    (void)count;
    lisp_put("\n");
    return NOTHING;
}

/* (error "text" value): as the interpreter's own. */
static value error(const value *a, size_t count)
{
    char text[MESSAGE_SIZE];

    lisp_print_to(a[0], true, text, sizeof(text));
    return lisp_fail(text, count > 1 ? a[1] : NO_VALUE);
}

/* Collects; how many bytes are left. */
static value gc(const value *a, size_t count)
{
    struct sh_gc_stats stats;

    (void)a;
    (void)count;
    sh_gc_collect();
    sh_gc_stats(&stats);
    return number((int64_t)stats.heap_after);
}

static value quit(const value *a, size_t count)
{
    (void)a;
    (void)count;
    lisp.exit = true;
    return lisp_fail("exit", NO_VALUE);
}

/* ---- the table ---- */

#define ANY LISP_ANY_NUMBER

const struct lisp_builtin lisp_builtins[] = {
    { "+", 0, ANY, "n", add },
    { "-", 1, ANY, "n", subtract },
    { "*", 0, ANY, "n", multiply },
    { "quotient", 2, 2, "n", quotient },
    { "remainder", 2, 2, "n", rest_of },
    { "modulo", 2, 2, "n", modulo },
    { "=", 1, ANY, "n", equal_numbers },
    { "<", 1, ANY, "n", less },
    { ">", 1, ANY, "n", greater },
    { "<=", 1, ANY, "n", at_most },
    { ">=", 1, ANY, "n", at_least },
    { "eq?", 2, 2, ".", is_same },
    { "equal?", 2, 2, ".", is_equal },
    { "not", 1, 1, ".", not },
    { "null?", 1, 1, ".", is_null },
    { "pair?", 1, 1, ".", is_pair },
    { "number?", 1, 1, ".", is_number },
    { "symbol?", 1, 1, ".", is_symbol },
    { "string?", 1, 1, ".", is_string },
    { "vector?", 1, 1, ".", is_vector },
    { "char?", 1, 1, ".", is_character },
    { "procedure?", 1, 1, ".", is_function },
    { "cons", 2, 2, ".", cons },
    { "car", 1, 1, "p", car },
    { "cdr", 1, 1, "p", cdr },
    { "cadr", 1, 1, "p", cadr },
    { "caddr", 1, 1, "p", caddr },
    { "cadddr", 1, 1, "p", cadddr },
    { "cddr", 1, 1, "p", cddr },
    { "caar", 1, 1, "p", caar },
    { "cdar", 1, 1, "p", cdar },
    { "set-car!", 2, 2, "p.", set_car },
    { "set-cdr!", 2, 2, "p.", set_cdr },
    { "list", 0, ANY, ".", list },
    { "length", 1, 1, "l", length },
    { "reverse", 1, 1, "l", reverse },
    { "append", 0, ANY, ".", append },
    { "memq", 2, 2, ".l", memq },
    { "member", 2, 2, ".l", member_equal },
    { "assq", 2, 2, ".l", assq },
    { "assoc", 2, 2, ".l", assoc },
    { "list-ref", 2, 2, "ln", list_ref },
    { "make-vector", 1, 2, "n.", make_vector },
    { "vector", 0, ANY, ".", vector },
    { "vector-length", 1, 1, "v", vector_length },
    { "vector-ref", 2, 2, "vn", vector_ref },
    { "vector-set!", 3, 3, "vn.", vector_set },
    { "string-length", 1, 1, "s", string_length },
    { "string-ref", 2, 2, "sn", string_ref },
    { "string-append", 0, ANY, "s", string_append },
    { "substring", 3, 3, "sn", substring },
    { "string=?", 2, 2, "s", is_same_string },
    { "string<?", 2, 2, "s", is_lesser_string },
    { "number->string", 1, 1, "n", number_to_string },
    { "string->symbol", 1, 1, "s", string_to_symbol },
    { "symbol->string", 1, 1, "y", symbol_to_string },
    { "char->integer", 1, 1, "c", character_to_integer },
    { "integer->char", 1, 1, "n", integer_to_character },
    { "display", 1, 1, ".", display },
    { "write", 1, 1, ".", write_value },
    { "newline", 0, 0, ".", newline },
    { "error", 1, 2, ".", error },
    { "apply", 2, 2, ".", NULL },
    { "gc", 0, 0, ".", gc },
    { "exit", 0, 0, ".", quit },
};

bool lisp_builtins_start(void)
{
    for (size_t i = 0; i < sizeof(lisp_builtins) / sizeof(lisp_builtins[0]); i++) {
        value symbol = lisp_intern_text(lisp_builtins[i].name);

        if (symbol == NO_VALUE)
            return false;
        lisp_store(&lisp_symbol(symbol)->global, CONSTANT(CONSTANT_BUILTIN, i));
    }
    return true;
}
