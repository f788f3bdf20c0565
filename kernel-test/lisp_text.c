/*
 * The Lisp's text: the reader, the printer, and messages.
 *
 * What is printed goes to a sink, which is the output or a piece of memory: so a message can show a
 * value without taking memory from the heap, which may be what has run out.
 */
#include "kernel-test/lisp_object.h"

#define PRINT_MOST 10000u /* elements of a list that are shown: it may have no end */
#define BLAME_STACK 2048u /* to print an expression of some depth */

static struct {
    char *to; /* NULL = the output */
    size_t length, size;
} sink;

static const char *const constant_names[] = { "()", "#f", "#t", "", "#<end>" };

static const struct {
    const char *name;
    char character;
} characters[] = { { "space", ' ' }, { "newline", '\n' }, { "tab", '\t' } };

#define CHARACTERS (sizeof(characters) / sizeof(characters[0]))

/* ---- printer ---- */

static void put_characters(const char *text, size_t length)
{
    if (sink.to == NULL) {
        lisp.config->put(text, length);
        return;
    }
    while (length-- > 0 && sink.length + 1 < sink.size)
        sink.to[sink.length++] = *text++;
    sink.to[sink.length] = 0;
}

static bool sink_is_full(void)
{
    return sink.to != NULL && sink.length + 1 == sink.size;
}

void lisp_put(const char *text)
{
    put_characters(text, lisp_text_length(text));
}

/* Digits are found by subtracting: not every machine divides. */
void lisp_put_number(int32_t n)
{
    uint32_t rest = n < 0 ? 0u - (uint32_t)n : (uint32_t)n, power = 1000000000u;
    bool begun = false;

    if (n < 0)
        lisp_put("-");
    for (unsigned digits = 10; digits > 0; digits--) {
        char digit = '0';

        for (; rest >= power; digit++)
            rest -= power;
        begun = begun || digit != '0' || digits == 1;
        if (begun)
            put_characters(&digit, 1);
        power = (uint32_t)((uint64_t)power * 0x1999999Au >> 32);
    }
}

static void print_string(value v, bool display)
{
    const char *text = lisp_string(v)->text;
    size_t length = lisp_count(v);

    if (display) {
        put_characters(text, length);
        return;
    }
    lisp_put("\"");
    for (; length > 0; length--, text++) {
        if (*text == '"' || *text == '\\')
            lisp_put("\\");
        if (*text == '\n')
            lisp_put("\\n");
        else
            put_characters(text, 1);
    }
    lisp_put("\"");
}

static void print_constant(value v, bool display)
{
    char character = (char)lisp_constant_index(v);

    if (lisp_is_constant(v, CONSTANT_BUILTIN)) {
        lisp_put("#<built in ");
        lisp_put(lisp_builtins[lisp_constant_index(v)].name);
        lisp_put(">");
        return;
    }
    if (lisp_is_constant(v, CONSTANT_PLAIN)) {
        lisp_put(constant_names[lisp_constant_index(v)]);
        return;
    }
    for (size_t i = 0; !display && i < CHARACTERS; i++)
        if (characters[i].character == character) {
            lisp_put("#\\");
            lisp_put(characters[i].name);
            return;
        }
    if (!display)
        lisp_put("#\\");
    put_characters(&character, 1);
}

static void print_list(value v, bool display)
{
    unsigned count = 0;

    lisp_put("(");
    for (; lisp_is_pair(v) && !sink_is_full(); v = lisp_cdr(v)) {
        if (count++ > 0)
            lisp_put(" ");
        if (count == PRINT_MOST) {
            v = NIL;
            lisp_put("...");
            break;
        }
        lisp_print(lisp_car(v), display);
    }
    if (v != NIL && !lisp_is_pair(v)) {
        lisp_put(" . ");
        lisp_print(v, display);
    }
    lisp_put(")");
}

static void print_vector(value v, bool display)
{
    lisp_put("#(");
    for (size_t i = 0; i < lisp_count(v) && !sink_is_full(); i++) {
        if (i > 0)
            lisp_put(" ");
        lisp_print(lisp_item(v, i), display);
    }
    lisp_put(")");
}

static void print_closure(value v)
{
    value name = lisp_item(lisp_closure(v)->lambda, 5);

    lisp_put("#<function");
    if (name != NIL) {
        lisp_put(" ");
        lisp_print(name, true);
    }
    lisp_put(">");
}

void lisp_print(value v, bool display)
{
    if (!lisp_stack_left())
        lisp_put("...");
    else if (v == NO_VALUE)
        lisp_put("#<no value>");
    else if (lisp_is_number(v))
        lisp_put_number(lisp_integer(v));
    else if (lisp_is_pair(v))
        print_list(v, display);
    else if (lisp_tag(v) == TAG_CONSTANT)
        print_constant(v, display);
    else if (lisp_is(v, KIND_STRING))
        print_string(v, display);
    else if (lisp_is(v, KIND_SYMBOL))
        print_string(lisp_symbol(v)->name, true);
    else if (lisp_is(v, KIND_CLOSURE))
        print_closure(v);
    else if (lisp_is(v, KIND_VECTOR))
        print_vector(v, display);
    else
        lisp_put("#<internal>");
}

/* Into `to`, behind the `length` characters that are there. */
static void print_behind(value v, bool display, char *to, size_t length, size_t size)
{
    sink.to = to;
    sink.length = length;
    sink.size = size;
    lisp_print(v, display);
    if (sink_is_full())
        for (size_t i = 2; i < 5; i++)
            to[size - i] = '.';
    sink.to = NULL;
}

void lisp_print_to(value v, bool display, char *to, size_t size)
{
    to[0] = 0;
    print_behind(v, display, to, 0, size);
}

/* ---- messages ---- */

static void message_put(const char *text)
{
    size_t length = lisp_text_length(lisp.message);

    for (; *text != 0 && length + 1 < sizeof(lisp.message); text++)
        lisp.message[length++] = *text;
    lisp.message[length] = 0;
}

value lisp_fail(const char *what, value culprit)
{
    if (lisp.message[0] != 0)
        return NO_VALUE;
    message_put(what);
    if (culprit != NO_VALUE) {
        message_put(": ");
        print_behind(culprit, false, lisp.message, lisp_text_length(lisp.message),
                     sizeof(lisp.message));
    }
    return NO_VALUE;
}

value lisp_wrong_type(const char *what, const char *type, value culprit)
{
    char text[64];
    const char *const parts[] = { what, " of a non-", type };
    size_t length = 0;

    for (unsigned i = 0; i < 3; i++)
        for (const char *c = parts[i]; *c != 0 && length + 1 < sizeof(text); c++)
            text[length++] = *c;
    text[length] = 0;
    return lisp_fail(text, culprit);
}

static bool has_stack(size_t bytes)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t low = (uintptr_t)lisp.config->stack_low;

    return here > low && here - low >= bytes;
}

/* At the end of the stack it has no room to print: then one further out is blamed. */
value lisp_blame(value expression)
{
    if (lisp.where[0] == 0 && has_stack(BLAME_STACK))
        lisp_print_to(expression, false, lisp.where, sizeof(lisp.where));
    return NO_VALUE;
}

bool lisp_stack_left(void)
{
    if (has_stack(0))
        return true;
    lisp_fail("recursion too deep", NO_VALUE);
    return false;
}

/* ---- reader ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_delimiter(char c)
{
    return is_blank(c) || c == '(' || c == ')' || c == '"' || c == ';' || c == '\'';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Over blanks and comments; false at the end. */
static bool skip(struct lisp_reader *reader)
{
    bool comment = false;

    for (; reader->at < reader->end; reader->at++) {
        char c = *reader->at;

        comment = (comment && c != '\n') || c == ';';
        if (!comment && !is_blank(c))
            return true;
        reader->line += c == '\n';
    }
    return false;
}

static value ended(struct lisp_reader *reader)
{
    reader->incomplete = true;
    return lisp_fail("the text ends inside a form", NO_VALUE);
}

static value read_quote(struct lisp_reader *reader)
{
    value form;

    reader->at++;
    form = lisp_read(reader);
    if (form == END_OF_TEXT)
        return ended(reader);
    form = form != NO_VALUE ? lisp_cons(form, NIL) : NO_VALUE;
    return form != NO_VALUE ? lisp_cons(lisp.root.quote, form) : NO_VALUE;
}

/* What stands behind the dot: one form and the bracket. */
static bool read_tail(struct lisp_reader *reader, value last)
{
    value form;

    reader->at++;
    form = lisp_read(reader);
    if (form == NO_VALUE)
        return false;
    if (form == END_OF_TEXT || !skip(reader))
        return ended(reader) != NO_VALUE;
    if (*reader->at != ')' || last == NIL)
        return lisp_fail("a dot in the wrong place", NO_VALUE) != NO_VALUE;
    lisp_store(&lisp_pair(last)->cdr, form);
    return true;
}

static bool at_dot(const struct lisp_reader *reader)
{
    return *reader->at == '.' && (reader->at + 1 == reader->end || is_delimiter(reader->at[1]));
}

static value read_list(struct lisp_reader *reader)
{
    value first = NIL, last = NIL;

    for (reader->at++; skip(reader) && *reader->at != ')';) {
        value next;

        if (at_dot(reader)) {
            if (!read_tail(reader, last))
                return NO_VALUE;
            continue;
        }
        next = lisp_read(reader);
        next = next != NO_VALUE ? lisp_cons(next, NIL) : NO_VALUE;
        if (next == NO_VALUE)
            return NO_VALUE;
        if (last == NIL)
            first = next;
        else
            lisp_store(&lisp_pair(last)->cdr, next);
        last = next;
    }
    if (reader->at == reader->end)
        return ended(reader);
    reader->at++;
    return first;
}

static char unescape(char c)
{
    return c == 'n' ? '\n' : c == 't' ? '\t' : c;
}

/* Its length first, then its characters. */
static value read_string(struct lisp_reader *reader)
{
    const char *at = ++reader->at;
    size_t length = 0;
    value string;

    for (; at < reader->end && *at != '"'; at++, length++)
        at += *at == '\\';
    if (at >= reader->end)
        return ended(reader);
    string = lisp_new_string(length);
    if (string == NO_VALUE)
        return NO_VALUE;
    for (size_t i = 0; i < length; i++) {
        bool escaped = *reader->at == '\\';

        reader->line += *reader->at == '\n';
        reader->at += escaped;
        lisp_string(string)->text[i] = escaped ? unescape(*reader->at) : *reader->at;
        reader->at++;
    }
    reader->at++;
    return string;
}

static size_t token_length(const struct lisp_reader *reader)
{
    const char *at = reader->at;

    while (at < reader->end && !is_delimiter(*at))
        at++;
    return (size_t)(at - reader->at);
}

static bool is_text(const char *text, size_t length, const char *word)
{
    for (; length > 0 && *text == *word && *word != 0; text++, word++)
        length--;
    return length == 0 && *word == 0;
}

static value read_hash(struct lisp_reader *reader)
{
    const char *text = reader->at;
    size_t length = token_length(reader);

    /* #\( is one token too. */
    if (length == 2 && text[1] == '\\' && text + 2 < reader->end)
        length = 3;
    reader->at += length;
    if (is_text(text, length, "#t") || is_text(text, length, "#f"))
        return lisp_truth(text[1] == 't');
    if (length == 3 && text[1] == '\\')
        return CONSTANT(CONSTANT_CHARACTER, (unsigned char)text[2]);
    for (size_t i = 0; length > 3 && text[1] == '\\' && i < CHARACTERS; i++)
        if (is_text(text + 2, length - 2, characters[i].name))
            return CONSTANT(CONSTANT_CHARACTER, (unsigned char)characters[i].character);
    return lisp_fail("# and something unknown", NO_VALUE);
}

static value read_number(const char *text, size_t length)
{
    bool negative = *text == '-';
    int32_t n = 0;

    for (size_t i = negative || *text == '+'; i < length; i++) {
        if (!is_digit(text[i]))
            return lisp_fail("a number with a letter in it", NO_VALUE);
        if (n > NUMBER_MAX / 10)
            return lisp_fail("a number too large", NO_VALUE);
        n = n * 10 + (text[i] - '0');
        if (n > NUMBER_MAX)
            return lisp_fail("a number too large", NO_VALUE);
    }
    return lisp_number(negative ? -n : n);
}

static value read_word(struct lisp_reader *reader)
{
    const char *text = reader->at;
    size_t length = token_length(reader);
    bool sign = *text == '-' || *text == '+';

    reader->at += length;
    if (is_digit(*text) || (sign && length > 1 && is_digit(text[1])))
        return read_number(text, length);
    return lisp_intern(text, length);
}

value lisp_read(struct lisp_reader *reader)
{
    if (!skip(reader))
        return END_OF_TEXT;
    if (!lisp_stack_left())
        return NO_VALUE;
    switch (*reader->at) {
    case '(':
        return read_list(reader);
    case ')':
        reader->at++;
        return lisp_fail("a bracket that closes nothing", NO_VALUE);
    case '\'':
        return read_quote(reader);
    case '"':
        return read_string(reader);
    case '#':
        return read_hash(reader);
    default:
        return read_word(reader);
    }
}
