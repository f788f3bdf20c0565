/*
 * A small Lisp whose every object lives in the collected heap: the collector's real client.
 *
 *   lisp_start      makes the symbol table, defines what is built in
 *   lisp_run        evaluates a program
 *   lisp_repl       reads lines and evaluates them, with a prompt
 *   lisp_end        forgets everything
 *
 * What the language has stands on top of lisp.c.  There is one interpreter, in one thread.
 */
#ifndef KERNEL_TEST_LISP_H
#define KERNEL_TEST_LISP_H

#include <stdbool.h>
#include <stddef.h>

/* What happens before every allocation after lisp_start. */
enum lisp_stress {
    LISP_PLAIN,   /* nothing */
    LISP_COLLECT, /* sh_gc_collect */
    LISP_STEP     /* sh_gc_step(LISP_STEP_WORDS) */
};

#define LISP_STEP_WORDS 64u

struct lisp_config {
    void (*put)(const char *text, size_t length); /* where output goes */
    const void *stack_low; /* recursion ends with an error before the stack grows below this */
    enum lisp_stress stress;
};

/* How a program ended. */
struct lisp_result {
    bool passed;               /* it ran to its end, and its answer is the one it promised */
    unsigned errors;           /* 0, or 1: a program ends with its first error */
    unsigned long allocations; /* objects taken by it */
    char answer[80];           /* the value of its last form, as `write` shows it */
};

/* The heap and the collector must be started.  false: no memory. */
bool lisp_start(const struct lisp_config *config);
/* No object of the interpreter is reached any more. */
void lisp_end(void);

/* Makes the global variable `name` a symbol; false: no memory. */
bool lisp_define(const char *name, const char *symbol);

/*
 * Evaluates all forms of the text, up to the first error, which is put out with `name` and the
 * line.  Comment lines promise an answer, for each value of the variable `size`:
 *
 *     ;=> small 4
 *     ;=> full 92
 *
 * A program that promises nothing passes if it has no error.
 */
struct lisp_result lisp_run(const char *text, size_t length, const char *name);

/* Prompts, evaluates, puts out what came of it, until get_line says false or (exit) is called.
 * get_line fills in a line of at most size - 1 characters, 0 at its end, no newline. */
void lisp_repl(bool (*get_line)(char *line, size_t size));

/* The programs in kernel-test/lisp/, linked in. */
struct lisp_program {
    const char *name;
    const char *text;
    size_t length;
};

extern const struct lisp_program lisp_programs[];
extern const unsigned lisp_program_count;

#endif
