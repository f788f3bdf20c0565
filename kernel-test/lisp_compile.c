/*
 * The Lisp's compiler: a form becomes a tree of nodes in which each variable has its place.
 *
 * A scope is a list, innermost first, of lists of symbols: the variables of one frame in their
 * order.  The empty scope is the top.  A body's own definitions are variables of the frame around
 * it, so they are looked for before the body is compiled.
 *
 * The names of special forms are no variables: a symbol's header says which one it is.
 *
 * What is compiled next is held only by the C stack, so is the tree that grows; children are
 * stored with the barrier, for allocations lie between.
 */
#include "kernel-test/lisp_object.h"

typedef value compile_function(value form, value scope);

static value compile(value form, value scope);

/* ---- parts of forms ---- */

static value second(value form)
{
    return lisp_car(lisp_cdr(form));
}

static value after_second(value form)
{
    return lisp_cdr(lisp_cdr(form));
}

static value bad_syntax(value form)
{
    return lisp_fail("not how this form is written", form);
}

/* Is it a list of so many elements, the form's name included? */
static bool has_length(value form, int32_t least, int32_t most)
{
    int32_t length = lisp_length(form);

    if (length >= least && length <= most)
        return true;
    bad_syntax(form);
    return false;
}

#define MANY INT32_MAX

static value special_form(value v)
{
    return lisp_is(v, KIND_SYMBOL) ? lisp_count(v) : 0;
}

static bool is_variable(value v)
{
    if (lisp_is(v, KIND_SYMBOL) && special_form(v) == 0)
        return true;
    lisp_fail("not a variable's name", v);
    return false;
}

static bool is_form_named(value form, const char *name)
{
    return lisp_is_pair(form) && lisp_is(lisp_car(form), KIND_SYMBOL) &&
           lisp_car(form) == lisp_intern_text(name);
}

/* ---- nodes ---- */

static value new_node(enum lisp_operation operation, value form, size_t children)
{
    value node = lisp_new_vector(KIND_NODE, operation, children + 1);

    if (node != NO_VALUE)
        lisp_store(&lisp_vector(node)->items[0], form);
    return node;
}

/* false if the child is a failure. */
static bool put(value node, size_t index, value child)
{
    if (node == NO_VALUE || child == NO_VALUE)
        return false;
    lisp_store(&lisp_vector(node)->items[index], child);
    return true;
}

static value constant(value form, value v)
{
    value node = new_node(OP_CONSTANT, form, 1);

    return put(node, 1, v) ? node : NO_VALUE;
}

/* ---- variables ---- */

static int32_t index_of(value name, value names)
{
    for (int32_t i = 0; lisp_is_pair(names); names = lisp_cdr(names), i++)
        if (lisp_car(names) == name)
            return i;
    return -1;
}

/* Where it is, numbers of a LOCAL node; false = nowhere in the scope. */
static bool find(value name, value scope, value *depth, value *index)
{
    for (int32_t i = 0; scope != NIL; scope = lisp_cdr(scope), i++) {
        int32_t at = index_of(name, lisp_car(scope));

        if (at >= 0) {
            *depth = lisp_number(i);
            *index = lisp_number(at + 1); /* behind the frame around it */
            return true;
        }
    }
    return false;
}

static value compile_variable(value name, value scope)
{
    value depth, index, node;

    if (!is_variable(name))
        return NO_VALUE;
    if (!find(name, scope, &depth, &index))
        return new_node(OP_GLOBAL, name, 0);
    node = new_node(OP_LOCAL, name, 2);
    return put(node, 1, depth) && put(node, 2, index) ? node : NO_VALUE;
}

static value compile_assignment(value form, value name, value scope, value from)
{
    value depth, index, node;
    bool local = find(name, scope, &depth, &index);

    node = new_node(local ? OP_SET_LOCAL : OP_SET_GLOBAL, form, local ? 3 : 2);
    if (local)
        return put(node, 1, depth) && put(node, 2, index) && put(node, 3, from) ? node : NO_VALUE;
    return put(node, 1, name) && put(node, 2, from) ? node : NO_VALUE;
}

/* ---- sequences and bodies ---- */

static value compile_sequence(value form, value forms, value scope)
{
    int32_t count = lisp_length(forms);
    value node;

    if (count < 0)
        return bad_syntax(form);
    if (count == 0)
        return constant(form, NOTHING);
    if (count == 1)
        return compile(lisp_car(forms), scope);
    node = new_node(OP_SEQUENCE, form, (size_t)count);
    for (size_t i = 1; lisp_is_pair(forms); forms = lisp_cdr(forms), i++)
        if (!put(node, i, compile(lisp_car(forms), scope)))
            return NO_VALUE;
    return node;
}

/* What a (define …) defines. */
static value defined_name(value form)
{
    value name = second(form);

    return lisp_is_pair(name) ? lisp_car(name) : name;
}

/* The names, with those that the body defines in front, turned around: so in their order. */
static value with_definitions(value names, value body)
{
    names = lisp_reverse(names, NIL);
    for (; names != NO_VALUE && lisp_is_pair(body); body = lisp_cdr(body)) {
        value form = lisp_car(body);

        if (!is_form_named(form, "define"))
            continue;
        if (!has_length(form, 2, MANY) || !is_variable(defined_name(form)))
            return NO_VALUE;
        if (index_of(defined_name(form), names) < 0)
            names = lisp_cons(defined_name(form), names);
    }
    return names != NO_VALUE ? lisp_reverse(names, NIL) : NO_VALUE;
}

/* The body, inside a frame with these variables; *words is how many words the frame has. */
static value compile_body(value form, value body, value names, value scope, value *words)
{
    if (lisp_length(body) < 1)
        return bad_syntax(form);
    names = with_definitions(names, body);
    if (names == NO_VALUE)
        return NO_VALUE;
    *words = lisp_number(lisp_length(names) + 1);
    scope = lisp_cons(names, scope);
    return scope != NO_VALUE ? compile_sequence(form, body, scope) : NO_VALUE;
}

/* The parameters as a list; a last one that takes the rest is the tail of what was written. */
static value parameter_names(value parameters, bool *rest)
{
    value names = NIL;

    for (; lisp_is_pair(parameters); parameters = lisp_cdr(parameters)) {
        if (!is_variable(lisp_car(parameters)))
            return NO_VALUE;
        if (index_of(lisp_car(parameters), names) >= 0)
            return lisp_fail("a parameter that stands twice", lisp_car(parameters));
        names = lisp_cons(lisp_car(parameters), names);
        if (names == NO_VALUE)
            return NO_VALUE;
    }
    *rest = parameters != NIL;
    if (*rest)
        names = is_variable(parameters) ? lisp_cons(parameters, names) : NO_VALUE;
    return names != NO_VALUE ? lisp_reverse(names, NIL) : NO_VALUE;
}

static value compile_function_of(value form, value parameters, value body, value scope, value name)
{
    bool rest = false;
    value node, words = NIL, names = parameter_names(parameters, &rest), compiled;

    if (names == NO_VALUE)
        return NO_VALUE;
    compiled = compile_body(form, body, names, scope, &words);
    if (compiled == NO_VALUE)
        return NO_VALUE;
    node = new_node(OP_LAMBDA, form, 5);
    return put(node, 1, lisp_number(lisp_length(names))) && put(node, 2, lisp_truth(rest)) &&
           put(node, 3, words) && put(node, 4, compiled) && put(node, 5, name) ? node : NO_VALUE;
}

/* ---- special forms ---- */

static value compile_quote(value form, value scope)
{
    (void)scope;
    return has_length(form, 2, 2) ? constant(form, second(form)) : NO_VALUE;
}

static value compile_if(value form, value scope)
{
    value node, otherwise;

    if (!has_length(form, 3, 4))
        return NO_VALUE;
    node = new_node(OP_IF, form, 3);
    if (!put(node, 1, compile(second(form), scope)) ||
        !put(node, 2, compile(lisp_car(after_second(form)), scope)))
        return NO_VALUE;
    otherwise = lisp_cdr(after_second(form));
    return put(node, 3, compile_sequence(form, otherwise, scope)) ? node : NO_VALUE;
}

static value compile_when(value form, value scope)
{
    value node;

    if (!has_length(form, 3, MANY))
        return NO_VALUE;
    node = new_node(OP_IF, form, 3);
    return put(node, 1, compile(second(form), scope)) &&
           put(node, 2, compile_sequence(form, after_second(form), scope)) &&
           put(node, 3, constant(form, NOTHING)) ? node : NO_VALUE;
}

/* A clause without a body gives its test, if that is true. */
static value compile_clauses(value form, value clauses, value scope)
{
    value clause, node;

    if (clauses == NIL)
        return constant(form, NOTHING);
    clause = lisp_car(clauses);
    if (!lisp_stack_left() || !has_length(clause, 1, MANY))
        return NO_VALUE;
    if (is_form_named(clause, "else"))
        return compile_sequence(clause, lisp_cdr(clause), scope);
    node = new_node(lisp_cdr(clause) == NIL ? OP_OR : OP_IF, clause,
                    lisp_cdr(clause) == NIL ? 2 : 3);
    if (!put(node, 1, compile(lisp_car(clause), scope)))
        return NO_VALUE;
    if (lisp_cdr(clause) == NIL)
        return put(node, 2, compile_clauses(form, lisp_cdr(clauses), scope)) ? node : NO_VALUE;
    return put(node, 2, compile_sequence(clause, lisp_cdr(clause), scope)) &&
           put(node, 3, compile_clauses(form, lisp_cdr(clauses), scope)) ? node : NO_VALUE;
}

static value compile_cond(value form, value scope)
{
    return has_length(form, 1, MANY) ? compile_clauses(form, lisp_cdr(form), scope) : NO_VALUE;
}

static value compile_begin(value form, value scope)
{
    return compile_sequence(form, lisp_cdr(form), scope);
}

static value compile_logic(enum lisp_operation operation, value form, value scope, value empty)
{
    value node, forms = lisp_cdr(form);
    int32_t count = lisp_length(forms);

    if (count < 0)
        return bad_syntax(form);
    if (count == 0)
        return constant(form, empty);
    node = new_node(operation, form, (size_t)count);
    for (size_t i = 1; lisp_is_pair(forms); forms = lisp_cdr(forms), i++)
        if (!put(node, i, compile(lisp_car(forms), scope)))
            return NO_VALUE;
    return node;
}

static value compile_and(value form, value scope)
{
    return compile_logic(OP_AND, form, scope, TRUE);
}

static value compile_or(value form, value scope)
{
    return compile_logic(OP_OR, form, scope, FALSE);
}

static value compile_lambda(value form, value scope)
{
    if (!has_length(form, 3, MANY))
        return NO_VALUE;
    return compile_function_of(form, second(form), after_second(form), scope, NIL);
}

/* (define name form) or (define (name . parameters) body …): a global variable at the top, else
 * one of the innermost frame, where with_definitions has seen it. */
static value compile_define(value form, value scope)
{
    value name, from, node;

    if (!has_length(form, 2, MANY) || !is_variable(defined_name(form)))
        return NO_VALUE;
    name = defined_name(form);
    if (scope != NIL && index_of(name, lisp_car(scope)) < 0)
        return lisp_fail("a definition inside an expression", form);
    if (lisp_is_pair(second(form)))
        from = compile_function_of(form, lisp_cdr(second(form)), after_second(form), scope, name);
    else
        from = has_length(form, 3, 3) ? compile(lisp_car(after_second(form)), scope) : NO_VALUE;
    if (from != NO_VALUE && lisp_operation(from) == OP_LAMBDA)
        put(from, 5, name);
    if (from == NO_VALUE || scope != NIL)
        return from != NO_VALUE ? compile_assignment(form, name, scope, from) : NO_VALUE;
    node = new_node(OP_DEFINE, form, 2);
    return put(node, 1, name) && put(node, 2, from) ? node : NO_VALUE;
}

static value compile_set(value form, value scope)
{
    value from;

    if (!has_length(form, 3, 3) || !is_variable(second(form)))
        return NO_VALUE;
    from = compile(lisp_car(after_second(form)), scope);
    return from != NO_VALUE ? compile_assignment(form, second(form), scope, from) : NO_VALUE;
}

/* The variables of ((name form) …). */
static value binding_names(value form, value bindings)
{
    value names = NIL;

    if (lisp_length(bindings) < 0)
        return bad_syntax(form);
    for (; lisp_is_pair(bindings); bindings = lisp_cdr(bindings)) {
        value binding = lisp_car(bindings);

        if (!has_length(binding, 2, 2) || !is_variable(lisp_car(binding)))
            return NO_VALUE;
        names = lisp_cons(lisp_car(binding), names);
        if (names == NO_VALUE)
            return NO_VALUE;
    }
    return lisp_reverse(names, NIL);
}

/* Children from `index` on: the forms of the bindings. */
static bool put_bindings(value node, size_t index, value bindings, value scope)
{
    for (; lisp_is_pair(bindings); bindings = lisp_cdr(bindings), index++)
        if (!put(node, index, compile(second(lisp_car(bindings)), scope)))
            return false;
    return true;
}

static value compile_bindings(enum lisp_operation operation, value form, value scope)
{
    value names, node, body, words = NIL, bindings, inner = scope;

    if (!has_length(form, 3, MANY))
        return NO_VALUE;
    bindings = second(form);
    names = binding_names(form, bindings);
    if (names == NO_VALUE)
        return NO_VALUE;
    body = compile_body(form, after_second(form), names, scope, &words);
    if (body == NO_VALUE)
        return NO_VALUE;
    if (operation == OP_LETREC)
        inner = lisp_cons(names, scope);
    node = inner != NO_VALUE
        ? new_node(operation, form, 2 + (size_t)lisp_length(bindings)) : NO_VALUE;
    return put(node, 1, words) && put(node, 2, body) && put_bindings(node, 3, bindings, inner)
        ? node : NO_VALUE;
}

/* (let name ((variable form) …) body …) calls a function of that name, which only the body sees. */
static value compile_loop(value form, value scope)
{
    value name = second(form), bindings, names, inner, function, outer, call;

    if (!has_length(form, 4, MANY) || !is_variable(name))
        return NO_VALUE;
    bindings = lisp_car(after_second(form));
    names = binding_names(form, bindings);
    inner = names != NO_VALUE ? lisp_cons(name, NIL) : NO_VALUE;
    inner = inner != NO_VALUE ? lisp_cons(inner, scope) : NO_VALUE;
    if (inner == NO_VALUE)
        return NO_VALUE;
    function = compile_function_of(form, names, lisp_cdr(after_second(form)), inner, name);
    outer = function != NO_VALUE ? new_node(OP_LETREC, form, 3) : NO_VALUE;
    if (!put(outer, 1, lisp_number(2)) || !put(outer, 2, compile_variable(name, inner)) ||
        !put(outer, 3, function))
        return NO_VALUE;
    call = new_node(OP_CALL, form, 1 + (size_t)lisp_length(bindings));
    return put(call, 1, outer) && put_bindings(call, 2, bindings, scope) ? call : NO_VALUE;
}

static value compile_let(value form, value scope)
{
    if (!has_length(form, 3, MANY))
        return NO_VALUE;
    if (lisp_is(second(form), KIND_SYMBOL))
        return compile_loop(form, scope);
    return compile_bindings(OP_LET, form, scope);
}

static value compile_letrec(value form, value scope)
{
    return compile_bindings(OP_LETREC, form, scope);
}

/* One let inside the other: (let (first) (let* (rest …) body …)). */
static value compile_let_star(value form, value scope)
{
    value bindings, rest;

    if (!has_length(form, 3, MANY))
        return NO_VALUE;
    bindings = second(form);
    if (lisp_length(bindings) <= 1)
        return compile_bindings(OP_LET, form, scope);
    rest = lisp_cons(lisp_cdr(bindings), after_second(form));
    rest = rest != NO_VALUE ? lisp_cons(lisp_car(form), rest) : NO_VALUE;
    rest = rest != NO_VALUE ? lisp_cons(rest, NIL) : NO_VALUE;
    bindings = rest != NO_VALUE ? lisp_cons(lisp_car(bindings), NIL) : NO_VALUE;
    rest = bindings != NO_VALUE ? lisp_cons(bindings, rest) : NO_VALUE;
    rest = rest != NO_VALUE ? lisp_cons(lisp_car(form), rest) : NO_VALUE;
    return rest != NO_VALUE ? compile_bindings(OP_LET, rest, scope) : NO_VALUE;
}

static value compile_else(value form, value scope)
{
    (void)scope;
    return bad_syntax(form);
}

static const struct {
    const char *name;
    compile_function *compile;
} special_forms[] = {
    { "quote", compile_quote }, { "if", compile_if }, { "when", compile_when },
    { "cond", compile_cond }, { "else", compile_else }, { "begin", compile_begin },
    { "and", compile_and }, { "or", compile_or }, { "lambda", compile_lambda },
    { "define", compile_define }, { "set!", compile_set }, { "let", compile_let },
    { "let*", compile_let_star }, { "letrec", compile_letrec },
};

static value compile_call(value form, value scope)
{
    int32_t length = lisp_length(form);
    value node;

    if (length < 0)
        return bad_syntax(form);
    node = new_node(OP_CALL, form, (size_t)length);
    for (size_t i = 1; lisp_is_pair(form); form = lisp_cdr(form), i++)
        if (!put(node, i, compile(lisp_car(form), scope)))
            return NO_VALUE;
    return node;
}

/* The innermost form that is wrong is blamed. */
static value compile(value form, value scope)
{
    value node;

    if (!lisp_stack_left())
        return NO_VALUE;
    if (lisp_is(form, KIND_SYMBOL))
        return compile_variable(form, scope);
    if (form == NIL)
        return lisp_fail("a call without a function", form);
    if (!lisp_is_pair(form))
        return constant(form, form);
    if (special_form(lisp_car(form)) != 0)
        node = special_forms[special_form(lisp_car(form)) - 1].compile(form, scope);
    else
        node = compile_call(form, scope);
    return node != NO_VALUE ? node : lisp_blame(form);
}

value lisp_compile(value form)
{
    return compile(form, NIL);
}

bool lisp_compiler_start(void)
{
    for (size_t i = 0; i < sizeof(special_forms) / sizeof(special_forms[0]); i++) {
        value symbol = lisp_intern_text(special_forms[i].name);

        if (symbol == NO_VALUE)
            return false;
        lisp_symbol(symbol)->header |= (i + 1) << 8;
    }
    return true;
}
