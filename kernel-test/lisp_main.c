/*
 * The Lisp in the booted kernel: run=lisp runs the modules, or prompts on the serial line if there
 * are none; run=replay shows one of the programs that are linked in, after the traces.
 *
 * Each program has a heap of its own.  What it took is counted by the machine's cycle counter: with
 * ICOUNT=0 these are instructions.
 */
#include "gc/gc.h"
#include "kernel-test/kernel.h"
#include "kernel-test/lisp.h"
#include "kernel-test/rig.h"
#include "kernel-test/test_util.h"

#define STACK_MARGIN 4096u /* for the collector, and for a handler */
#define SHOWN "hash"
#define SHOWN_MIN_HEAP (T_MIB) /* so that the lines of its cycles fit a screen */

static void put(const char *text, size_t length)
{
    while (length-- > 0)
        k_putc(*text++);
}

/* The collector's traces and the map, as they come. */
static void put_line(const char *text)
{
    t_printf("%s\n", text);
}

static bool start(const struct sh_gc_config *collector)
{
    struct sh_hooks hooks = *rig_stack_hooks();
    const struct sh_config heap = { .size = sizeof(heap), .hooks = &hooks };
    struct lisp_config config = { .put = put };
    const void *low, *high;
    size_t area_size;
    uintptr_t area;

    rig_reset();
    k_frames_check(false); /* its work would be counted */
    hooks.log = put_line;
    area = rig_area(&area_size);
    rig_stack(&low, &high);
    config.stack_low = (const char *)low + STACK_MARGIN;
    if (rig_window(area, area_size) == SH_OK && sh_init(&heap) == SH_OK &&
        sh_gc_init(collector) == SH_OK && lisp_start(&config) && lisp_define("size", "full"))
        return true;
    t_printf("lisp: no memory to start with\n");
    return false;
}

/* ---- programs ---- */

static bool run(const char *name, const char *text, size_t size)
{
    uint64_t begin = rig_hooks()->cycles(), end;
    struct lisp_result result = lisp_run(text, size, name);
    struct sh_gc_stats stats;

    end = rig_hooks()->cycles();
    sh_gc_stats(&stats);
    t_printf("%-14s %s, %lu allocations, %llu collections, %llu cycles%s\n", name, result.answer,
             result.allocations, (unsigned long long)stats.cycles,
             (unsigned long long)(end - begin),
             result.passed ? "" : result.errors != 0 ? ": FAILED" : ": FAILED, a wrong answer");
    return result.passed;
}

static bool run_files(const struct k_module *files, unsigned count)
{
    const struct sh_gc_config collector = {
        .size = sizeof(collector), .automatic = true, .trace = k_option_is("gctrace", "1"),
    };
    unsigned passed = 0;

    for (unsigned i = 0; i < count; i++) {
        if (!start(&collector))
            continue;
        passed += run(files[i].name, (const char *)files[i].data, files[i].size);
        lisp_end();
    }
    rig_reset();
    t_printf("\nlisp: %u passed, %u failed\n", passed, count - passed);
    return passed == count;
}

/* ---- prompt ---- */

static void erase(size_t *length)
{
    if (*length == 0)
        return;
    t_printf("\b \b");
    --*length;
}

/* A line with the usual erase; control-D at its beginning ends the input. */
static bool get_line(char *line, size_t size)
{
    size_t length = 0;

    for (;;) {
        char c = k_getc();

        if (c == 4 && length == 0)
            break;
        if (c == '\r' || c == '\n') {
            k_putc('\n');
            line[length] = 0;
            return true;
        }
        if (c == 8 || c == 127)
            erase(&length);
        else if (length + 1 < size && (unsigned char)c >= ' ') {
            line[length++] = c;
            k_putc(c);
        }
    }
    k_putc('\n');
    return false;
}

static bool prompt(void)
{
    const struct sh_gc_config collector = {
        .size = sizeof(collector), .automatic = true, .trace = k_option_is("gctrace", "1"),
    };

    if (!start(&collector))
        return false;
    t_printf("A Lisp on the collected heap.  (gc) collects and says what is left; (exit) ends.\n");
    lisp_repl(get_line);
    lisp_end();
    return true;
}

int lisp_main(void)
{
    unsigned count;
    const struct k_module *files = k_modules(&count);

    return (count > 0 ? run_files(files, count) : prompt()) ? 0 : 1;
}

/* ---- the demonstration ---- */

int lisp_show(void)
{
    const struct sh_gc_config collector = {
        .size = sizeof(collector), .automatic = true, .trace = true, .min_heap = SHOWN_MIN_HEAP,
    };
    const struct lisp_program *program = lisp_programs;
    bool passed;

    while (!t_contains(program->name, SHOWN))
        program++;
    t_printf("\nA Lisp program on the collected heap: kernel-test/lisp/%s.lisp\n\n", program->name);
    if (!start(&collector))
        return 1;
    t_printf("The heap before the program\n");
    sh_print_map();
    t_printf("\n");
    passed = run(program->name, program->text, program->length);
    t_printf("\nThe heap when the program has ended\n");
    sh_print_map();
    lisp_end();
    sh_gc_collect();
    t_printf("\nThe heap when nothing refers to it any more\n");
    sh_print_map();
    t_printf("\nlisp: %u passed, %u failed\n", passed, !passed);
    rig_reset();
    return passed ? 0 : 1;
}
