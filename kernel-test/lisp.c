/*
 * A small Lisp, run by the kernel on its collected heap.
 *
 * The language: numbers of 30 bits, pairs, symbols, strings, characters, vectors, functions with
 * lexical scope; quote, if, when, cond, begin, and, or, lambda, define, set!, let (also with a
 * name), let*, letrec; what lisp_builtin.c lists and the prelude below.  A call in tail position
 * takes no stack.
 *
 * What an allocation goes through, and what keeps the object:
 *
 *     reader (lisp_text.c)         text → forms       held by the C stack while they grow
 *     compiler (lisp_compile.c)    forms → nodes      as well
 *     evaluator (lisp_eval.c)      nodes → values     frames; the C stack holds the innermost
 *     builtins (lisp_builtin.c)    values → values    arguments lie on the C stack
 *     all of them by allocate (lisp_object.c), the only place that calls the collector for memory
 *
 * A program's global variables are fields of symbols, symbols hang in a table, and the table in
 * lisp.root: the one root that is registered.  Everything else that lives is found on the C stack,
 * so a collection may come at any allocation; with LISP_COLLECT one does at each, with LISP_STEP a
 * step.
 *
 * An error is NO_VALUE, handed up to lisp_run or the prompt, with the text in lisp.message and the
 * innermost expression that failed in lisp.where.  Neither takes memory: running out of it is an
 * error too.  Then a reserve is given up, and with it the next form is read.
 */
#include "kernel-test/lisp_object.h"

#include "kernel-test/k_string.h"

#define LINES_SIZE 2048u /* of one form at the prompt */

static const char prelude[] =
    "(define (for-each f l) (when (pair? l) (f (car l)) (for-each f (cdr l))))"
    "(define (fold f start l) (if (null? l) start (fold f (f start (car l)) (cdr l))))"
    "(define (map f l)"
    "  (let loop ((l l) (done '()))"
    "    (if (null? l) (reverse done) (loop (cdr l) (cons (f (car l)) done)))))"
    "(define (filter f l)"
    "  (let loop ((l l) (done '()))"
    "    (cond ((null? l) (reverse done))"
    "          ((f (car l)) (loop (cdr l) (cons (car l) done)))"
    "          (else (loop (cdr l) done)))))";

static struct lisp_config configuration;

/* ---- one form ---- */

static void forget_error(void)
{
    lisp.message[0] = lisp.where[0] = 0;
}

/* Reads and evaluates the next form; END_OF_TEXT if there is none. */
static value run_form(struct lisp_reader *reader)
{
    value form = lisp_read(reader);

    if (form == END_OF_TEXT || form == NO_VALUE)
        return form;
    form = lisp_compile(form);
    form = form != NO_VALUE ? lisp_eval(form, NIL) : NO_VALUE;
    if (form != NO_VALUE)
        lisp_reserve();
    return form;
}

static void put_error(void)
{
    lisp_put("error: ");
    lisp_put(lisp.message);
    lisp_put("\n");
    if (lisp.where[0] != 0) {
        lisp_put("  in ");
        lisp_put(lisp.where);
        lisp_put("\n");
    }
}

/* ---- programs ---- */

static bool begins(const char *text, const char *end, const char *with)
{
    for (; *with != 0; with++, text++)
        if (text == end || *text != *with)
            return false;
    return true;
}

/* What stands at the end of a line: is it the answer? */
static bool is_answer(const char *text, const char *end, const char *answer)
{
    for (; *answer != 0 && text < end && *text == *answer; answer++)
        text++;
    return *answer == 0 && (text == end || *text == '\n' || *text == '\r');
}

static bool is_full(void)
{
    value size = lisp_intern_text("size"), full = lisp_intern_text("full");

    return size != NO_VALUE && lisp_symbol(size)->global == full;
}

/* Is it the answer that the program promises for this size?  Also if it promises none. */
static bool keeps_promise(const char *text, const char *end, const char *answer)
{
    const char *promise = is_full() ? ";=> full " : ";=> small ";

    for (; text < end; text++) {
        if (begins(text, end, promise))
            return is_answer(text + lisp_text_length(promise), end, answer);
        while (text < end && *text != '\n')
            text++;
    }
    return true;
}

struct lisp_result lisp_run(const char *text, size_t length, const char *name)
{
    struct lisp_reader reader = { text, text + length, 1, false };
    struct lisp_result result = { .passed = true };
    unsigned long before = lisp.allocations;
    value v;

    lisp.exit = false;
    forget_error();
    while ((v = run_form(&reader)) != END_OF_TEXT && v != NO_VALUE)
        lisp_print_to(v, false, result.answer, sizeof(result.answer));
    if (v == NO_VALUE && !lisp.exit) {
        lisp_put(name);
        lisp_put(":");
        lisp_put_number((int32_t)reader.line);
        lisp_put(": ");
        put_error();
        result.errors = 1;
    }
    result.passed = result.errors == 0 && keeps_promise(text, text + length, result.answer);
    result.allocations = lisp.allocations - before;
    return result;
}

/* ---- prompt ---- */

/* Evaluates the forms that the lines hold; returns how many characters are done with.  Those of a
 * form that the lines end in are not. */
static size_t run_lines(const char *text, size_t length)
{
    struct lisp_reader reader = { text, text + length, 1, false };

    for (;;) {
        size_t done = (size_t)(reader.at - text);
        value v;

        forget_error();
        v = run_form(&reader);
        if (v == NO_VALUE && reader.incomplete)
            return done;
        if (v == END_OF_TEXT || (v == NO_VALUE && lisp.exit))
            return length;
        if (v == NO_VALUE) {
            put_error();
            return length;
        }
        if (v != NOTHING) {
            lisp_print(v, false);
            lisp_put("\n");
        }
    }
}

void lisp_repl(bool (*get_line)(char *line, size_t size))
{
    static char lines[LINES_SIZE];
    size_t length = 0, done;

    lisp.exit = false;
    lisp_put("> ");
    while (!lisp.exit && get_line(lines + length, sizeof(lines) - length - 1)) {
        length += lisp_text_length(lines + length);
        lines[length++] = '\n';
        done = run_lines(lines, length);
        length -= done;
        memmove(lines, lines + done, length);
        if (length + 2 > sizeof(lines)) {
            lisp_put("error: a form too long for the prompt\n");
            length = 0;
        }
        if (!lisp.exit)
            lisp_put(length == 0 ? "> " : "  ");
    }
}

/* ---- start and end ---- */

bool lisp_define(const char *name, const char *symbol)
{
    value from = lisp_intern_text(symbol), to = lisp_intern_text(name);

    if (from == NO_VALUE || to == NO_VALUE)
        return false;
    lisp_store(&lisp_symbol(to)->global, from);
    return true;
}

bool lisp_start(const struct lisp_config *config)
{
    memset(&lisp, 0, sizeof(lisp));
    configuration = *config;
    configuration.stress = LISP_PLAIN; /* the same thousand objects each time */
    lisp.config = &configuration;
    if (!lisp_objects_start() || !lisp_compiler_start() || !lisp_builtins_start() ||
        lisp_run(prelude, sizeof(prelude) - 1, "prelude").errors != 0)
        return false;
    configuration.stress = config->stress;
    return true;
}

void lisp_end(void)
{
    lisp_objects_end();
}
