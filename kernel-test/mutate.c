/*
 * Small faults for C sources, one at a time: what mutate.sh plants for the suites to find.
 *
 *     mutate list FILE …        every mutant, in a line:  FILE:number:line: operator: text → text
 *     mutate apply FILE number  the file with that mutant, on standard output
 *
 * It reads tokens, not grammar, and relies on the house style: a function's body lies between a { and
 * a } that stand alone in column 0; whatever is outside of bodies, in comments, in strings or in lines
 * of the preprocessor stays as it is.
 *
 *     compare    < <= > >= == !=        the neighbour: at the boundary, or the opposite
 *     constant   a number               one more, one less
 *     arithmetic + - += -= ++ --        the opposite
 *     logic      && ||                  the other
 *     condition  if (c), while (c)      not c
 *     return     true, false, a pointer, a truth value     the opposite, NULL
 *     statement  a call or an assignment                   nothing
 *     rollback   the same on a way that ends in return false, NULL, 0, or an error    nothing
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NAME, NUMBER, TEXT, MARK };

struct token {
    enum kind kind;
    unsigned at, length, line;
    bool in_body;
};

/* A mutant: bytes [at, at + length) become `text`, and `text2` is put in at `at2`. */
struct edit {
    unsigned at, length, at2;
    const char *text, *text2;
};

static char *source;
static unsigned source_length;
static struct token *tokens;
static unsigned token_count;
static const char *file_name;

/* `wanted` = 0: list.  Mutants are numbered from 1 in the order in which they are found. */
static unsigned found, wanted;

/* The function around: what it returns. */
static enum { RETURNS_OTHER, RETURNS_BOOL, RETURNS_POINTER } returns;

/* ---- tokens ---- */

static void die(const char *what, const char *which)
{
    fprintf(stderr, "mutate: %s %s\n", what, which);
    exit(2);
}

static void read_source(const char *name)
{
    FILE *file = fopen(name, "rb");
    size_t room = 1 << 20;

    if (file == NULL)
        die("cannot read", name);
    source = calloc(1, room + 1);
    source_length = (unsigned)fread(source, 1, room, file);
    fclose(file);
    file_name = name;
}

static unsigned mark_length(const char *at)
{
    static const char *const long_marks[] = { "<<=", ">>=", "...", "<<", ">>", "<=", ">=", "==", "!=",
                                              "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=",
                                              "^=", "++", "--", "->" };

    for (unsigned i = 0; i < sizeof long_marks / sizeof *long_marks; i++)
        if (strncmp(at, long_marks[i], strlen(long_marks[i])) == 0)
            return (unsigned)strlen(long_marks[i]);
    return 1;
}

static bool word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Behind a comment, a string, a line of the preprocessor that begins here; else where it was. */
static unsigned skip(unsigned at, bool line_start)
{
    char quote = source[at];
    const char *end;

    if (strncmp(source + at, "/*", 2) == 0)
        return (end = strstr(source + at, "*/")) == NULL ? source_length
                                                         : (unsigned)(end - source) + 2;
    if (quote == '#' && line_start) {
        for (; source[at] != '\n' && at < source_length; at++)
            if (source[at] == '\\')
                at++;
        return at;
    }
    if (quote == '"' || quote == '\'') {
        for (at++; source[at] != quote && at < source_length; at++)
            if (source[at] == '\\')
                at++;
        return at + 1;
    }
    return at;
}

static void add_token(enum kind kind, unsigned at, unsigned length, unsigned line, bool in_body)
{
    tokens[token_count++] = (struct token){ kind, at, length, line, in_body };
}

static void split(void)
{
    unsigned line = 1;
    bool line_start = true, in_body = false;

    tokens = calloc(source_length + 1, sizeof *tokens);
    token_count = 0;
    for (unsigned at = 0, next; at < source_length; at = next) {
        char c = source[at];
        next = skip(at, line_start);
        if (next != at) {
            if (c == '"' || c == '\'')
                add_token(TEXT, at, next - at, line, in_body);
            for (unsigned i = at; i < next; i++)
                line += source[i] == '\n';
            line_start = false;
            continue;
        }
        next = at + 1;
        if (c == '\n') {
            line++;
            line_start = true;
            continue;
        }
        if (isspace((unsigned char)c))
            continue;
        if ((c == '{' || c == '}') && (at == 0 || source[at - 1] == '\n'))
            in_body = c == '{' && source[at + 1] == '\n';
        line_start = false;
        while (word(c) && word(source[next]))
            next++;
        if (!word(c))
            next = at + mark_length(source + at);
        add_token(isdigit((unsigned char)c) ? NUMBER : word(c) ? NAME : MARK, at, next - at, line,
                  in_body);
    }
}

static bool is(unsigned i, const char *text)
{
    return i < token_count && tokens[i].length == strlen(text) &&
           strncmp(source + tokens[i].at, text, tokens[i].length) == 0;
}

static bool is_one_of(unsigned i, const char *const *list)
{
    for (; *list != NULL; list++)
        if (is(i, *list))
            return true;
    return false;
}

static unsigned end_of(unsigned i)
{
    return tokens[i].at + tokens[i].length;
}

/* The bracket that closes the one at i. */
static unsigned closing(unsigned i)
{
    int depth = 0;

    for (; i < token_count; i++) {
        depth += is(i, "(") || is(i, "{") || is(i, "[");
        depth -= is(i, ")") || is(i, "}") || is(i, "]");
        if (depth == 0)
            return i;
    }
    return token_count - 1;
}

/* The semicolon that ends the statement at i. */
static unsigned semicolon(unsigned i)
{
    for (; i < token_count && !is(i, ";"); i++)
        if (is(i, "(") || is(i, "{") || is(i, "["))
            i = closing(i);
    return i;
}

/* ---- mutants ---- */

static void print_piece(unsigned at, unsigned length)
{
    bool blank = false;

    for (unsigned i = at; i < at + length; i++) {
        if (isspace((unsigned char)source[i])) {
            blank = true;
            continue;
        }
        if (blank)
            putchar(' ');
        blank = false;
        putchar(source[i]);
    }
}

static void print_mutated(const struct edit *edit)
{
    unsigned behind = edit->at + edit->length, at2 = edit->text2 == NULL ? behind : edit->at2;

    fwrite(source, 1, edit->at, stdout);
    fputs(edit->text, stdout);
    for (unsigned i = edit->at; i < behind; i++) /* what follows keeps its line */
        if (source[i] == '\n')
            putchar('\n');
    fwrite(source + behind, 1, at2 - behind, stdout);
    if (edit->text2 != NULL)
        fputs(edit->text2, stdout);
    fwrite(source + at2, 1, source_length - at2, stdout);
}

static void mutant(unsigned line, const char *operator, struct edit edit)
{
    found++;
    if (wanted == found)
        print_mutated(&edit);
    if (wanted != 0)
        return;
    printf("%s:%u:%u: %s: ", file_name, found, line, operator);
    if (edit.text2 != NULL) {
        printf("not ");
        print_piece(edit.at, edit.at2 - edit.at);
    } else if (*edit.text == 0) {
        print_piece(edit.at, edit.length);
    } else {
        unsigned from = edit.at, to = edit.at + edit.length;
        while (from > 0 && source[from - 1] != '\n')
            from--;
        while (to < source_length && source[to] != '\n')
            to++;
        print_piece(from, edit.at - from);
        printf(" [");
        print_piece(edit.at, edit.length);
        printf(" → %s] ", edit.text);
        print_piece(edit.at + edit.length, to - edit.at - edit.length);
    }
    putchar('\n');
}

static void replace(unsigned i, const char *operator, const char *text)
{
    mutant(tokens[i].line, operator, (struct edit){ tokens[i].at, tokens[i].length, 0, text, NULL });
}

static void mutate_mark(unsigned i)
{
    static const char *const pairs[][3] = {
        { "<", "<=", "compare" },    { "<=", "<", "compare" },    { ">", ">=", "compare" },
        { ">=", ">", "compare" },    { "==", "!=", "compare" },   { "!=", "==", "compare" },
        { "+", "-", "arithmetic" },  { "-", "+", "arithmetic" },  { "+=", "-=", "arithmetic" },
        { "-=", "+=", "arithmetic" }, { "++", "--", "arithmetic" }, { "--", "++", "arithmetic" },
        { "&&", "||", "logic" },     { "||", "&&", "logic" },
    };
    bool binary = i > 0 && (tokens[i - 1].kind == NAME || tokens[i - 1].kind == NUMBER ||
                            is(i - 1, ")") || is(i - 1, "]"));

    for (unsigned p = 0; p < sizeof pairs / sizeof *pairs; p++)
        if (is(i, pairs[p][0]) && ((!is(i, "-") && !is(i, "+")) || binary))
            replace(i, pairs[p][2], pairs[p][1]);
}

static void mutate_number(unsigned i)
{
    static char more[2][80];

    for (unsigned k = 0; k < 2; k++) {
        snprintf(more[k], sizeof more[k], "(%.*s %c 1)", (int)tokens[i].length, source + tokens[i].at,
                 k == 0 ? '+' : '-');
        replace(i, "constant", more[k]);
    }
}

static void negate(unsigned first, unsigned last, const char *operator)
{
    unsigned at = tokens[first].at;

    mutant(tokens[first].line, operator,
           (struct edit){ at, 0, end_of(last), "!(", ")" });
}

static void mutate_return(unsigned i)
{
    unsigned end = semicolon(i), first = i + 1;
    unsigned at = tokens[first].at, length = end > first ? end_of(end - 1) - at : 0;

    if (length == 0)
        return;
    if (end == first + 1 && is(first, "true"))
        replace(first, "return", "false");
    else if (end == first + 1 && is(first, "false"))
        replace(first, "return", "true");
    else if (returns == RETURNS_BOOL)
        negate(first, end - 1, "return");
    else if (returns == RETURNS_POINTER && !is(first, "NULL"))
        mutant(tokens[i].line, "return", (struct edit){ at, length, 0, "((void *)0)", NULL });
}

/* Does a way from here lead straight to a return that says no? */
static bool on_failure_path(unsigned i)
{
    static const char *const branches[] = { "if", "for", "while", "do", "switch", "{", NULL };
    static const char *const no[] = { "false", "NULL", "0", "result", "error", NULL };
    unsigned end;

    for (; i < token_count && !is(i, "}"); i = end + 1) {
        if (is_one_of(i, branches))
            return false;
        end = semicolon(i);
        if (is(i, "return"))
            return (end == i + 2 && is_one_of(i + 1, no)) ||
                   strncmp(source + tokens[i + 1].at, "SH_E_", 5) == 0 || is(i + 1, "refuse");
    }
    return false;
}

static bool begins_statement(unsigned i)
{
    static const char *const before[] = { ";", "{", "}", "else", "do", NULL };

    if (i == 0 || is_one_of(i - 1, before))
        return true;
    if (is(i - 1, ":")) /* a label, not the other half of ?: */
        return i >= 2 && (is(i - 2, "default") || (i >= 3 && is(i - 3, "case")));
    if (!is(i - 1, ")"))
        return false;
    for (unsigned depth = 0, k = i; k-- > 0;) { /* if (…) statement */
        depth += is(k, ")");
        if (is(k, "(") && --depth == 0)
            return k > 0 && (is(k - 1, "if") || is(k - 1, "for") || is(k - 1, "while"));
    }
    return false;
}

/* A call or an assignment; no declaration, no jump, no head of a for. */
static void mutate_statement(unsigned i)
{
    static const char *const not[] = { "return", "if", "for", "while", "do", "switch", "case", "default",
                                       "break", "continue", "goto", "else", "static", "const", "enum",
                                       "struct", "typedef", "static_assert", "__asm__", NULL };
    static const char *const assigns[] = { "=", "+=", "-=", "|=", "&=", "^=", "<<=", ">>=", "++", "--",
                                           "*=", NULL };
    unsigned end = semicolon(i);
    bool does = false;

    if (tokens[i].kind == NAME ? is_one_of(i, not) || tokens[i + 1].kind == NAME || is(i + 1, "*") ||
                                     is(i + 1, ":")
                               : !is(i, "*") && !is(i, "(") && !is(i, "++") && !is(i, "--"))
        return;
    for (unsigned k = i; k < end; k++)
        does |= is_one_of(k, assigns) || (is(k, "(") && k > i);
    if (!does || end >= token_count)
        return;
    mutant(tokens[i].line, on_failure_path(end + 1) ? "rollback" : "statement",
           (struct edit){ tokens[i].at, end_of(end - 1) - tokens[i].at, 0, "", NULL });
}

/* The head before a body: "static bool name(" and the like. */
static void look_at_head(unsigned brace)
{
    unsigned i = brace;
    bool pointer = false, truth = false;

    while (i > 0 && !is(i - 1, ";") && !is(i - 1, "}"))
        i--;
    for (; i < brace && !is(i, "("); i++) {
        truth |= is(i, "bool");
        pointer |= is(i, "*");
    }
    returns = pointer ? RETURNS_POINTER : truth ? RETURNS_BOOL : RETURNS_OTHER;
}

static void mutate_file(const char *name)
{
    bool in_for = false;
    unsigned for_end = 0;

    read_source(name);
    split();
    found = 0;
    for (unsigned i = 0; i < token_count; i++) {
        if (!tokens[i].in_body)
            continue;
        if (is(i, "{") && !tokens[i - 1].in_body)
            look_at_head(i);
        if (is(i, "static_assert"))
            i = semicolon(i);
        if (is(i, "for"))
            in_for = true, for_end = closing(i + 1);
        in_for = in_for && i < for_end;
        if (tokens[i].kind == MARK)
            mutate_mark(i);
        else if (tokens[i].kind == NUMBER)
            mutate_number(i);
        else if ((is(i, "if") || is(i, "while")) && is(i + 1, "("))
            negate(i + 2, closing(i + 1) - 1, "condition");
        else if (is(i, "return"))
            mutate_return(i);
        if (!in_for && begins_statement(i))
            mutate_statement(i);
    }
    free(tokens);
    free(source);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "list") == 0) {
        for (int i = 2; i < argc; i++)
            mutate_file(argv[i]);
        return 0;
    }
    wanted = argc == 4 && strcmp(argv[1], "apply") == 0 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    if (wanted != 0) {
        mutate_file(argv[2]);
        if (found < wanted)
            die("no such mutant:", argv[3]);
        return 0;
    }
    fprintf(stderr, "usage: mutate list FILE … | mutate apply FILE number\n");
    return 2;
}
