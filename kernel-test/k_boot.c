/*
 * What the boot loader told the kernel: the command line and the modules.  Filled by
 * boot/<machine>/ before kmain, read-only afterwards.
 */
#include "kernel.h"

static char command_line[512];
static char words[sizeof command_line]; /* the same, each blank a 0: values end where they should */
static char names[K_MAX_MODULES][64];
static struct k_module modules[K_MAX_MODULES];
static unsigned module_count;

/* Copies at most size − 1 characters; returns how many. */
static size_t copy_text(char *to, const char *from, size_t size)
{
    size_t length = 0;

    for (; from[length] != 0 && length + 1 < size; length++)
        to[length] = from[length];
    to[length] = 0;
    return length;
}

void k_command_line_set(const char *text)
{
    size_t length = copy_text(command_line, text, sizeof command_line);

    for (size_t i = 0; i < length; i++)
        words[i] = command_line[i] == ' ' ? 0 : command_line[i];
    words[length] = 0;
}

/* `name` may be a path and may have words behind it (a multiboot module's own command line). */
void k_module_add(const char *name, const void *data, size_t size)
{
    struct k_module *module = &modules[module_count];
    const char *base = name;
    size_t length;

    if (module_count == K_MAX_MODULES)
        k_panic("more modules than K_MAX_MODULES", module_count);
    for (; *name != 0 && *name != ' '; name++)
        if (*name == '/')
            base = name + 1;
    length = copy_text(names[module_count], base, sizeof names[0]);
    for (size_t i = 0; i < length; i++)
        if (names[module_count][i] == ' ')
            names[module_count][i] = 0;
    module->name = names[module_count];
    module->data = data;
    module->size = size;
    module_count++;
}

const struct k_module *k_modules(unsigned *count)
{
    *count = module_count;
    return modules;
}

const char *k_command_line(void)
{
    return command_line;
}

/* If `word` begins with name= then what follows, else NULL. */
static const char *value_of(const char *word, const char *name)
{
    while (*name != 0)
        if (*word++ != *name++)
            return NULL;
    return *word == '=' ? word + 1 : NULL;
}

const char *k_option(const char *name, const char *otherwise)
{
    const char *found = NULL;

    for (size_t i = 0; command_line[i] != 0; i++) {
        const char *here = i == 0 || words[i - 1] == 0 ? value_of(&words[i], name) : NULL;

        found = here != NULL ? here : found;
    }
    return found != NULL ? found : otherwise;
}

bool k_option_is(const char *name, const char *value)
{
    const char *have = k_option(name, "");

    while (*have != 0 && *have == *value) {
        have++;
        value++;
    }
    return *have == *value;
}
