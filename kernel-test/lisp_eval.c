/*
 * The Lisp's evaluator.
 *
 * lisp_eval goes on in its loop where a form's value is that of another one (the branch of an if,
 * the last of a sequence, the body of a function), so a call in such a place takes no stack.
 * Everything else recurs, down to the limit of lisp_stack_left.
 *
 * The arguments of a function go straight into its frame, which is new and known to nobody yet;
 * those of one that is built in go to the C stack, or to a vector if they are many.
 */
#include "kernel-test/lisp_object.h"

#define FEW_ARGUMENTS 4u

/* Where evaluation goes on: false = it is over, and `result` is what came of it. */
struct state {
    value node, frame, result;
};

static bool ends(struct state *state, value result)
{
    state->result = result;
    return false;
}

static bool goes_on(struct state *state, value node, value frame)
{
    state->node = node;
    state->frame = frame;
    return true;
}

/* ---- variables ---- */

static value *local(value node, value frame)
{
    for (int32_t depth = lisp_integer(lisp_item(node, 1)); depth > 0; depth--)
        frame = lisp_item(frame, 0);
    return &lisp_vector(frame)->items[lisp_integer(lisp_item(node, 2))];
}

static value variable(value v, value name)
{
    return v != NO_VALUE ? v : lisp_fail("a variable without a value", name);
}

static value set_global(value node, value frame)
{
    value symbol = lisp_item(node, 1), v = lisp_eval(lisp_item(node, 2), frame);

    if (v == NO_VALUE)
        return NO_VALUE;
    if (lisp_operation(node) == OP_SET_GLOBAL && lisp_symbol(symbol)->global == NO_VALUE)
        return lisp_fail("set! of a variable that is not defined", symbol);
    lisp_store(&lisp_symbol(symbol)->global, v);
    return NOTHING;
}

static value set_local(value node, value frame)
{
    value v = lisp_eval(lisp_item(node, 3), frame);

    if (v == NO_VALUE)
        return NO_VALUE;
    lisp_store(local(node, frame), v);
    return NOTHING;
}

/* What needs no other form's value, or nothing after it. */
static value eval_simple(value node, value frame)
{
    switch (lisp_operation(node)) {
    case OP_CONSTANT:
        return lisp_item(node, 1);
    case OP_LOCAL:
        return variable(*local(node, frame), lisp_item(node, 0));
    case OP_GLOBAL:
        return variable(lisp_symbol(lisp_item(node, 0))->global, lisp_item(node, 0));
    case OP_LAMBDA:
        return lisp_new_closure(node, frame);
    case OP_SET_LOCAL:
        return set_local(node, frame);
    case OP_SET_GLOBAL:
    case OP_DEFINE:
        return set_global(node, frame);
    case OP_IF:
    case OP_AND:
    case OP_OR:
    case OP_SEQUENCE:
    case OP_LET:
    case OP_LETREC:
    case OP_CALL:
        break;
    }
    return NO_VALUE;
}

/* ---- frames ---- */

static value new_frame(size_t words, value outer)
{
    value frame = lisp_new_vector(KIND_FRAME, 0, words);

    if (frame != NO_VALUE)
        lisp_store(&lisp_vector(frame)->items[0], outer);
    return frame;
}

/* The frame's first variables become the values of nodes. */
static bool fill_frame(value frame, value node, size_t first, value where)
{
    for (size_t i = first; i < lisp_count(node); i++) {
        value v = lisp_eval(lisp_item(node, i), where);

        if (v == NO_VALUE)
            return false;
        lisp_store(&lisp_vector(frame)->items[i - first + 1], v);
    }
    return true;
}

static bool bind(struct state *state)
{
    value node = state->node;
    value frame = new_frame((size_t)lisp_integer(lisp_item(node, 1)), state->frame);
    bool inside = lisp_operation(node) == OP_LETREC;

    if (frame == NO_VALUE || !fill_frame(frame, node, 3, inside ? frame : state->frame))
        return ends(state, NO_VALUE);
    return goes_on(state, lisp_item(node, 2), frame);
}

/* ---- calls ---- */

static value wrong_count(value function)
{
    return lisp_fail("a wrong number of arguments for", function);
}

/* A frame for a call with so many arguments; NO_VALUE also if it does not take as many. */
static value call_frame(value function, size_t count)
{
    value lambda = lisp_closure(function)->lambda;
    size_t wanted = (size_t)lisp_integer(lisp_item(lambda, 1));
    bool rest = lisp_item(lambda, 2) == TRUE;

    if (rest ? count + 1 < wanted : count != wanted)
        return wrong_count(function);
    return new_frame((size_t)lisp_integer(lisp_item(lambda, 3)), lisp_closure(function)->frame);
}

static bool enter_closure(struct state *state, value function, value frame)
{
    return goes_on(state, lisp_item(lisp_closure(function)->lambda, 4), frame);
}

/* The arguments from `first` on as a list. */
static value argument_list(value node, size_t first, value where)
{
    value list = NIL, turned = NIL;

    for (size_t i = first; i < lisp_count(node); i++) {
        value v = lisp_eval(lisp_item(node, i), where);

        list = v != NO_VALUE ? lisp_cons(v, list) : NO_VALUE;
        if (list == NO_VALUE)
            return NO_VALUE;
    }
    while (list != NIL) { /* its pairs are nobody else's */
        value rest = lisp_cdr(list);

        lisp_store(&lisp_pair(list)->cdr, turned);
        turned = list;
        list = rest;
    }
    return turned;
}

static bool fill_with_rest(value frame, value node, size_t fixed, value where)
{
    value rest;

    for (size_t i = 0; i < fixed; i++) {
        value v = lisp_eval(lisp_item(node, 2 + i), where);

        if (v == NO_VALUE)
            return false;
        lisp_store(&lisp_vector(frame)->items[1 + i], v);
    }
    rest = argument_list(node, 2 + fixed, where);
    if (rest == NO_VALUE)
        return false;
    lisp_store(&lisp_vector(frame)->items[1 + fixed], rest);
    return true;
}

static bool call_closure(struct state *state, value function)
{
    value node = state->node, lambda = lisp_closure(function)->lambda;
    value frame = call_frame(function, lisp_count(node) - 2);
    size_t wanted = (size_t)lisp_integer(lisp_item(lambda, 1));
    bool filled = frame != NO_VALUE;

    if (filled && lisp_item(lambda, 2) == TRUE)
        filled = fill_with_rest(frame, node, wanted - 1, state->frame);
    else if (filled)
        filled = fill_frame(frame, node, 2, state->frame);
    return filled ? enter_closure(state, function, frame) : ends(state, NO_VALUE);
}

static bool has_type(value v, char type)
{
    switch (type) {
    case 'n':
        return lisp_is_number(v);
    case 'p':
        return lisp_is_pair(v);
    case 'l':
        return v == NIL || lisp_is_pair(v);
    case 's':
        return lisp_is(v, KIND_STRING);
    case 'y':
        return lisp_is(v, KIND_SYMBOL);
    case 'v':
        return lisp_is(v, KIND_VECTOR);
    case 'c':
        return lisp_is_constant(v, CONSTANT_CHARACTER);
    default:
        return true;
    }
}

static const char *type_name(char type)
{
    switch (type) {
    case 'n':
        return "number";
    case 'p':
        return "pair";
    case 'l':
        return "list";
    case 's':
        return "string";
    case 'y':
        return "symbol";
    case 'v':
        return "vector";
    default:
        return "character";
    }
}

static bool fits(const struct lisp_builtin *builtin, const value *arguments, size_t count)
{
    const char *type = builtin->types;

    for (size_t i = 0; i < count; i++) {
        if (!has_type(arguments[i], *type)) {
            lisp_wrong_type(builtin->name, type_name(*type), arguments[i]);
            return false;
        }
        type += type[1] != 0;
    }
    return true;
}

static value call_builtin(value function, const value *arguments, size_t count)
{
    const struct lisp_builtin *builtin = &lisp_builtins[lisp_constant_index(function)];

    if (count < builtin->least || (count > builtin->most && builtin->most != LISP_ANY_NUMBER))
        return wrong_count(function);
    return fits(builtin, arguments, count) ? builtin->call(arguments, count) : NO_VALUE;
}

static bool apply_closure(struct state *state, value function, value list)
{
    value lambda = lisp_closure(function)->lambda;
    value frame = call_frame(function, (size_t)lisp_length(list));
    bool rest = lisp_item(lambda, 2) == TRUE;
    size_t wanted = (size_t)lisp_integer(lisp_item(lambda, 1)) - rest, at = 1;

    if (frame == NO_VALUE)
        return ends(state, NO_VALUE);
    for (; at <= wanted; list = lisp_cdr(list))
        lisp_store(&lisp_vector(frame)->items[at++], lisp_car(list));
    if (rest)
        lisp_store(&lisp_vector(frame)->items[at], list);
    return enter_closure(state, function, frame);
}

static value apply_builtin(value function, value list)
{
    value vector = lisp_new_vector(KIND_VECTOR, 0, (size_t)lisp_length(list));
    size_t count = 0;

    if (vector == NO_VALUE)
        return NO_VALUE;
    for (; lisp_is_pair(list); list = lisp_cdr(list))
        lisp_store(&lisp_vector(vector)->items[count++], lisp_car(list));
    return call_builtin(function, lisp_vector(vector)->items, count);
}

/* (apply function list): as a call in the same place. */
static bool apply(struct state *state, const value *arguments, size_t count)
{
    if (count != 2 || lisp_length(arguments[1]) < 0)
        return ends(state, lisp_fail("apply wants a function and a list", NO_VALUE));
    if (lisp_is(arguments[0], KIND_CLOSURE))
        return apply_closure(state, arguments[0], arguments[1]);
    if (lisp_is_constant(arguments[0], CONSTANT_BUILTIN) &&
        lisp_builtins[lisp_constant_index(arguments[0])].call != NULL)
        return ends(state, apply_builtin(arguments[0], arguments[1]));
    return ends(state, lisp_fail("apply of a non-function", arguments[0]));
}

static bool enter_builtin(struct state *state, value function)
{
    value few[FEW_ARGUMENTS], *arguments = few, node = state->node, vector;
    size_t count = lisp_count(node) - 2;

    if (count > FEW_ARGUMENTS) {
        vector = lisp_new_vector(KIND_VECTOR, 0, count);
        if (vector == NO_VALUE)
            return ends(state, NO_VALUE);
        arguments = lisp_vector(vector)->items;
    }
    for (size_t i = 0; i < count; i++) {
        value v = lisp_eval(lisp_item(node, 2 + i), state->frame);

        if (v == NO_VALUE)
            return ends(state, NO_VALUE);
        if (arguments == few)
            few[i] = v;
        else
            lisp_store(&arguments[i], v);
    }
    if (lisp_builtins[lisp_constant_index(function)].call == NULL)
        return apply(state, arguments, count);
    return ends(state, call_builtin(function, arguments, count));
}

static bool call(struct state *state)
{
    value form = lisp_item(state->node, 0);
    value function = lisp_eval(lisp_item(state->node, 1), state->frame);
    bool on;

    if (function == NO_VALUE)
        on = ends(state, NO_VALUE);
    else if (lisp_is(function, KIND_CLOSURE))
        on = call_closure(state, function);
    else if (lisp_is_constant(function, CONSTANT_BUILTIN))
        on = enter_builtin(state, function);
    else
        on = ends(state, lisp_fail("a call of a non-function", function));
    if (!on && state->result == NO_VALUE)
        lisp_blame(form);
    return on;
}

/* ---- the loop ---- */

/* All but the last child; then goes on there, unless one of an `and` was false, or one of an `or`
 * was not. */
static bool run_in_turn(struct state *state)
{
    value node = state->node;
    enum lisp_operation operation = lisp_operation(node);
    size_t last = lisp_count(node) - 1;

    for (size_t i = 1; i < last; i++) {
        value v = lisp_eval(lisp_item(node, i), state->frame);

        if (v == NO_VALUE || (operation == OP_AND && v == FALSE) ||
            (operation == OP_OR && v != FALSE))
            return ends(state, v);
    }
    return goes_on(state, lisp_item(node, last), state->frame);
}

static bool branch(struct state *state)
{
    value test = lisp_eval(lisp_item(state->node, 1), state->frame);

    if (test == NO_VALUE)
        return ends(state, NO_VALUE);
    return goes_on(state, lisp_item(state->node, test != FALSE ? 2 : 3), state->frame);
}

static bool advance(struct state *state)
{
    switch (lisp_operation(state->node)) {
    case OP_IF:
        return branch(state);
    case OP_AND:
    case OP_OR:
    case OP_SEQUENCE:
        return run_in_turn(state);
    case OP_LET:
    case OP_LETREC:
        return bind(state);
    case OP_CALL:
        return call(state);
    case OP_CONSTANT:
    case OP_LOCAL:
    case OP_GLOBAL:
    case OP_LAMBDA:
    case OP_SET_LOCAL:
    case OP_SET_GLOBAL:
    case OP_DEFINE:
        break;
    }
    return ends(state, eval_simple(state->node, state->frame));
}

value lisp_eval(value node, value frame)
{
    struct state state = { node, frame, NO_VALUE };

    if (!lisp_stack_left())
        return NO_VALUE;
    while (advance(&state))
        ;
    return state.result;
}
