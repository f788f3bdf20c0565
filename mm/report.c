/*
 * Formatting, the log, the panics (see report.h).
 *
 * The report of a panic stands in static memory until the next one of its CPU.  A hook may leave a misuse by a jump
 * of its own, so misuses are not counted; corruption found while corruption is reported has nobody left
 * to tell and halts.  The log line lies on the stack, so that handlers can log too.
 */
#include "mm/report.h"

#include "mm/cache.h"
#include "mm/lock.h"

struct sh_hooks mm_hooks;

static struct report {
    char text[512];
    unsigned panics; /* in progress */
} reports[MM_CPU_RECORDS];
bool mm_died;

struct text {
    char *at, *end;
};

static void put(struct text *text, char c)
{
    if (text->at < text->end) {
        *text->at++ = c;
    }
}

static void put_string(struct text *text, const char *string)
{
    for (; *string != 0; string++) {
        put(text, *string);
    }
}

static void put_hex(struct text *text, uintptr_t value)
{
    put_string(text, "0x");
    bool started = false;
    for (int shift = (int)MM_WORD_BITS - 4; shift >= 0; shift -= 4) {
        unsigned digit = (unsigned)(value >> shift) & 15;
        started |= digit != 0 || shift == 0;
        if (started) {
            put(text, "0123456789abcdef"[digit]);
        }
    }
}

/* By subtraction: no division on the smallest machines. */
static void put_decimal(struct text *text, size_t value)
{
    bool started = false;
    size_t power = sizeof value == 4 ? 1000000000u : (size_t)10000000000000000000u;
    static const size_t powers[] = {
#if SIZE_MAX > 0xffffffff
        1000000000000000000u, 100000000000000000u, 10000000000000000u, 1000000000000000u,
        100000000000000u, 10000000000000u, 1000000000000u, 100000000000u, 10000000000u, 1000000000u,
#endif
        100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u, 1u
    };
    for (size_t i = 0;; power = powers[i++]) {
        char digit = '0';
        for (; value >= power; value -= power) {
            digit++;
        }
        started |= digit != '0' || power == 1;
        if (started) {
            put(text, digit);
        }
        if (power == 1) {
            return;
        }
    }
}

size_t mm_format_list(char *buffer, size_t size, const char *format, va_list arguments)
{
    struct text text = { buffer, buffer + size - 1 };
    for (; *format != 0; format++) {
        if (*format != '%') {
            put(&text, *format);
            continue;
        }
        switch (*++format) {
        case 's': put_string(&text, va_arg(arguments, const char *)); break;
        case 'x': put_hex(&text, va_arg(arguments, uintptr_t)); break;
        case 'z': put_decimal(&text, va_arg(arguments, size_t)); break;
        default: put(&text, *format); break;
        }
    }
    *text.at = 0;
    return (size_t)(text.at - buffer);
}

size_t mm_format(char *text, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = mm_format_list(text, size, format, arguments);
    va_end(arguments);
    return length;
}

void mm_log(const char *format, ...)
{
    if (mm_hooks.log == NULL) {
        return;
    }
    char line[200];
    va_list arguments;
    va_start(arguments, format);
    mm_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    mm_hooks.log(line);
}

MM_CALL int mm_fault_found(const char *what, uintptr_t at)
{
    mm_log("verify: %s: %x", what, at);
    return 1;
}

MM_CALL int mm_verify_equal(const char *what, size_t found, size_t counted)
{
    if (found == counted) {
        return 0;
    }
    mm_log("verify: %s: %z, but %z counted", what, found, counted);
    return 1;
}

/* This CPU's: a thread that is moved to another one in the middle may spoil a text, no more. */
static struct report *here(void)
{
    return &reports[mm_cpu_self() - mm_cpu];
}

static void panic(enum sh_panic kind, const char *format, va_list arguments)
{
    struct report *report = here();
    if (report->panics++ >= 2) {
        for (;;) {
            arch_pause();
        }
    }
    mm_format_list(report->text, sizeof report->text, format, arguments);
    sh_kernel_panic(kind, report->text);
}

void mm_misuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    here()->panics = 0;
    panic(SH_PANIC_MISUSE, format, arguments);
    here()->panics = 0;
    va_end(arguments);
}

void mm_corruption(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    mm_died = true;
    mm_cache_disarm();
    /* A refill may have found it; if the hook calls the heap, that is a fast path inside a fast path. */
    arch_flags flags = mm_cpu[0].flags;
    panic(SH_PANIC_CORRUPTION, format, arguments);
    if (SH_MAX_CPUS == 1) {
        mm_cpu[0].flags = flags;
    }
    va_end(arguments);
}

void mm_report_reset(void)
{
    mm_hooks = (struct sh_hooks){ 0 };
    for (unsigned cpu = 0; cpu < MM_CPU_RECORDS; cpu++) {
        reports[cpu].panics = 0;
    }
    mm_died = false;
}
