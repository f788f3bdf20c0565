/*
 * The collector under a client that was not written around it: the Lisp of lisp.c runs its
 * programs with a collection at every allocation, with steps between them, and as usual; each must
 * come to the answer that it promises, and the heap be whole.  Then the client's own promises: an
 * error, an endless recursion, the end of memory are reported, and the prompt goes on.
 *
 * Values are held by the C stack alone, so a collector that overlooks a word of it,
 * or a step that frees what a store has moved, shows up as a wrong answer or a strange error.
 */
#include "gc/gc.h"
#include "kernel-test/k_string.h"
#include "kernel-test/lisp.h"
#include "kernel-test/test_util.h"

#define OUTPUT_SIZE 4096u
#define STACK_MARGIN 4096u
#define MIN_HEAP (64 * T_KIB) /* small: more collections */

static char output[OUTPUT_SIZE];
static size_t output_length;

/* What came last is kept. */
static void put(const char *text, size_t length)
{
    for (; length > 0; length--) {
        if (output_length + 1 == OUTPUT_SIZE) {
            output_length = OUTPUT_SIZE / 2;
            memmove(output, output + OUTPUT_SIZE / 2 - 1, output_length);
        }
        output[output_length++] = *text++;
    }
    output[output_length] = 0;
}

static void start_in_tier(unsigned tier, enum lisp_stress stress, const char *size, bool check)
{
    const struct sh_gc_config collector = {
        .size = sizeof(collector), .automatic = true, .min_heap = MIN_HEAP, .check = check,
    };
    const struct sh_config heap = {
        .size = sizeof(heap), .tier = tier, .hooks = rig_stack_hooks(),
    };
    struct lisp_config config = { .put = put, .stress = stress };
    const void *low, *high;

    rig_start(0, &heap);
    rig_stack(&low, &high);
    config.stack_low = (const char *)low + STACK_MARGIN;
    output_length = 0;
    output[0] = 0;
    EXPECT_EQ(sh_gc_init(&collector), SH_OK);
    EXPECT(lisp_start(&config));
    EXPECT(lisp_define("size", size));
}

static void start(enum lisp_stress stress)
{
    start_in_tier(0, stress, "small", false);
}

static void finish(void)
{
    lisp_end();
    EXPECT_WHOLE();
    sh_gc_collect();
    EXPECT_WHOLE();
}

/* ---- programs ---- */

static void run_programs(unsigned tier, enum lisp_stress stress, const char *size, bool check)
{
    for (unsigned i = 0; i < lisp_program_count; i++) {
        const struct lisp_program *program = &lisp_programs[i];
        struct lisp_result result;

        start_in_tier(tier, stress, size, check);
        result = lisp_run(program->text, program->length, program->name);
        if (!result.passed)
            t_fail(__FILE__, __LINE__, "%s gives %s %s", program->name, result.answer, output);
        finish();
    }
}

/* Booted the large ones run by themselves: run=lisp, see main.c. */
static void programs_give_their_answers(void)
{
    run_programs(0, LISP_PLAIN, rig_is_machine() ? "small" : "full", false);
}

static void programs_under_a_second_marker(void)
{
    run_programs(0, LISP_PLAIN, "small", true);
}

static void programs_with_a_collection_at_every_allocation(void)
{
    run_programs(0, LISP_COLLECT, "small", false);
}

static void programs_with_a_step_at_every_allocation(void)
{
    run_programs(0, LISP_STEP, rig_is_machine() ? "small" : "full", false);
}

/* Freed memory is filled and checked; red zones; objects between guard pages. */
static void programs_in_suspicious_tiers(void)
{
    for (unsigned tier = 1; tier <= 3; tier++)
        run_programs(tier, LISP_STEP, "small", false);
}

/* ---- one text ---- */

static struct lisp_result run(const char *text)
{
    return lisp_run(text, t_length(text), "test");
}

static void expect_answer(int line, const char *text, const char *answer)
{
    struct lisp_result result = run(text);

    if (result.errors != 0 || !t_contains(result.answer, answer) ||
        t_length(result.answer) != t_length(answer))
        t_fail(__FILE__, line, "%s gives %s %s", text, result.answer, output);
}

#define EXPECT_ANSWER(text, answer) expect_answer(__LINE__, text, answer)

static void expect_error(int line, const char *text, const char *message)
{
    struct lisp_result result;

    output_length = 0;
    result = run(text);
    if (result.errors != 1 || !t_contains(output, message))
        t_fail(__FILE__, line, "%s gives %s %s", text, result.answer, output);
}

#define EXPECT_ERROR(text, message) expect_error(__LINE__, text, message)

static void arithmetic_stays_in_its_numbers(void)
{
    start(LISP_PLAIN);
    EXPECT_ANSWER("(list (quotient -17 5) (remainder -17 5) (modulo -17 5))", "(-3 -2 3)");
    EXPECT_ANSWER("(quotient 536870911 7)", "76695844");
    EXPECT_ANSWER("(- -536870911 1)", "-536870912");
    EXPECT_ERROR("(+ 536870911 1)", "a number too large");
    EXPECT_ERROR("(* 65536 65536 65536)", "a number too large");
    EXPECT_ERROR("(quotient -536870912 -1)", "a number too large");
    EXPECT_ERROR("(remainder 1 0)", "a division by 0");
    finish();
}

static void scope_is_lexical(void)
{
    start(LISP_STEP);
    EXPECT_ANSWER("(define (counter) (let ((n 0)) (lambda () (set! n (+ n 1)) n)))"
                  "(define a (counter)) (define b (counter)) (a) (a) (list (a) (b))", "(3 1)");
    EXPECT_ANSWER("(define (f x) (define y (* x 2)) (define (g) (+ x y)) (g)) (f 4)", "12");
    EXPECT_ANSWER("(let* ((a 1) (b (+ a 1))) (let ((a b) (b a)) (list a b)))", "(2 1)");
    EXPECT_ANSWER("((lambda (a . rest) (list a rest)) 1 2 3)", "(1 (2 3))");
    EXPECT_ANSWER("(apply (lambda (a . rest) (list a rest)) '(1 2 3))", "(1 (2 3))");
    finish();
}

static void errors_name_the_value_and_the_expression(void)
{
    start(LISP_COLLECT);
    EXPECT_ERROR("(define (f x) (+ 1 (car x)))\n(f 3)\n",
                 "test:2: error: car of a non-pair: 3\n  in (car x)\n");
    EXPECT_ERROR("(vector-ref (vector 1 2) 2)", "an index out of range: 2");
    EXPECT_ERROR("(error \"no rule for\" '(a b))", "error: no rule for: (a b)");
    EXPECT_ERROR("(list nowhere)", "a variable without a value: nowhere\n  in (list nowhere)");
    EXPECT_ERROR("(\"f\" 1)", "a call of a non-function: \"f\"");
    EXPECT_ERROR("((lambda (a b) a) 1)", "a wrong number of arguments for: #<function>");
    EXPECT_ERROR("(set! nowhere 1)", "set! of a variable that is not defined: nowhere");
    EXPECT_ERROR("(let ((a)) a)", "not how this form is written: (a)\n  in (let ((a)) a)");
    EXPECT_ERROR("(if #t (define a 1))\n(list 1 2", "the text ends inside a form");
    EXPECT_ERROR(")", "a bracket that closes nothing");
    EXPECT_ERROR("(let ((l (list 1))) (set-cdr! l l) (length l))", "length of a non-list: (1 1 1");
    finish();
}

/* ---- limits ---- */

static void tail_calls_take_no_stack(void)
{
    start(LISP_PLAIN);
    if (rig_is_machine())
        EXPECT_ANSWER("(let loop ((i 0)) (if (< i 50000) (loop (+ i 1)) i))", "50000");
    else
        EXPECT_ANSWER("(let loop ((i 0)) (if (< i 1000000) (loop (+ i 1)) i))", "1000000");
    EXPECT_ANSWER("(define (even n) (or (= n 0) (odd (- n 1))))"
                  "(define (odd n) (and (> n 0) (even (- n 1)))) (even 10000)", "#t");
    finish();
}

static void deep_recursion_is_an_error(void)
{
    start(LISP_PLAIN);
    EXPECT_ERROR("(define (deep n) (+ 1 (deep n))) (deep 0)", "error: recursion too deep\n  in (");
    EXPECT_ERROR("(define (nest n l) (if (= n 0) l (nest (- n 1) (list l))))"
                 "(equal? (nest 40000 1) (nest 40000 1))", "error: recursion too deep");
    EXPECT_ERROR("(display (nest 40000 1))", "error: recursion too deep");
    EXPECT_ANSWER("(define (count n) (if (= n 0) 0 (+ 1 (count (- n 1))))) (count 500)", "500");
    finish();
}

static void no_memory_is_an_error(void)
{
    start(LISP_PLAIN);
    rig_frame_budget(rig_frames_held() + 512 * T_KIB);
    EXPECT_ERROR("(define all '()) (let loop () (set! all (cons 1 all)) (loop))",
                 "error: out of memory\n  in (");
    EXPECT_ERROR("(make-vector 10000000)", "error: out of memory");
    EXPECT_ANSWER("(set! all '()) (length (map (lambda (x) x) (list 1 2 3)))", "3");
    finish();
}

static void garbage_makes_room(void)
{
    struct sh_gc_stats stats;

    start(LISP_PLAIN);
    rig_frame_budget(rig_frames_held() + 512 * T_KIB);
    EXPECT_ANSWER("(define (fill n) (if (= n 0) '() (cons n (fill (- n 1)))))"
                  "(let loop ((i 0)) (when (< i 200) (fill 200) (loop (+ i 1))))"
                  "(length (fill 10))",
                  "10");
    sh_gc_stats(&stats);
    EXPECT(stats.cycles > 1 && stats.objects_freed > 10000);
    finish();
}

/* ---- the prompt ---- */

static const char *const *typed;

static bool get_line(char *line, size_t size)
{
    size_t length = 0;

    if (*typed == NULL)
        return false;
    for (; (*typed)[length] != 0 && length + 1 < size; length++)
        line[length] = (*typed)[length];
    line[length] = 0;
    typed++;
    return true;
}

static void prompt_goes_on_after_mistakes(void)
{
    static const char *const lines[] = {
        "(define x 2) (car x)", "x", "(let ((y x))", "  (* y 21))", "(deep", ")", "'(a \"b\" #\\c)",
        "", "(define (f) (+ 1 (f))) (f)", "(exit)", "x", NULL,
    };

    start(LISP_STEP);
    typed = lines;
    lisp_repl(get_line);
    EXPECT(t_contains(output, "> error: car of a non-pair: 2\n  in (car x)\n> 2\n>   42\n> "));
    EXPECT(t_contains(output, ">   error: a variable without a value: deep\n  in (deep)\n> "));
    EXPECT(t_contains(output, "> (a \"b\" #\\c)\n> > error: recursion too deep\n"));
    EXPECT(*typed != NULL); /* the exit was one */
    finish();
}

static const struct test tests[] = {
    { "arithmetic_stays_in_its_numbers", arithmetic_stays_in_its_numbers },
    { "scope_is_lexical", scope_is_lexical },
    { "errors_name_the_value_and_the_expression", errors_name_the_value_and_the_expression },
    { "tail_calls_take_no_stack", tail_calls_take_no_stack },
    { "deep_recursion_is_an_error", deep_recursion_is_an_error },
    { "no_memory_is_an_error", no_memory_is_an_error },
    { "garbage_makes_room", garbage_makes_room },
    { "prompt_goes_on_after_mistakes", prompt_goes_on_after_mistakes },
    { "programs_give_their_answers", programs_give_their_answers },
    { "programs_under_a_second_marker", programs_under_a_second_marker },
    { "programs_with_a_collection_at_every_allocation",
      programs_with_a_collection_at_every_allocation },
    { "programs_with_a_step_at_every_allocation", programs_with_a_step_at_every_allocation },
    { "programs_in_suspicious_tiers", programs_in_suspicious_tiers },
};

SUITE(lisp, tests);
