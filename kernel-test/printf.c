/*
 * t_printf: formatted output through k_putc, on the host and in the booted kernel alike.  No
 * division of 64-bit numbers: a decimal digit is found by subtracting powers of ten.
 */
#include "test.h"

#include <stdarg.h>

#include "kernel.h"
#if !__STDC_HOSTED__
#include "k_cpus.h"
#endif
#include "t_internal.h"

struct field {
    unsigned width;
    char pad;
    bool left;
};

static const uint64_t powers_of_ten[] = {
    10000000000000000000u, 1000000000000000000u, 100000000000000000u, 10000000000000000u,
    1000000000000000u, 100000000000000u, 10000000000000u, 1000000000000u, 100000000000u,
    10000000000u, 1000000000u, 100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u,
    1u,
};

static void put_text(const char *text, unsigned length, struct field field)
{
    unsigned pad = field.width > length ? field.width - length : 0;

    for (; !field.left && pad > 0; pad--)
        k_putc(' ');
    while (length-- > 0)
        k_putc(*text++);
    for (; pad > 0; pad--)
        k_putc(' ');
}

/* Zeros go between the sign and the digits, blanks before or behind both. */
static void put_digits(const char *digits, unsigned length, bool negative, struct field field)
{
    unsigned all = length + (negative ? 1 : 0);
    unsigned pad = field.width > all ? field.width - all : 0;

    for (; !field.left && field.pad == ' ' && pad > 0; pad--)
        k_putc(' ');
    if (negative)
        k_putc('-');
    for (; !field.left && pad > 0; pad--)
        k_putc('0');
    while (length-- > 0)
        k_putc(*digits++);
    for (; pad > 0; pad--)
        k_putc(' ');
}

static void put_decimal(uint64_t value, bool negative, struct field field)
{
    char digits[20];
    unsigned length = 0;

    for (unsigned i = 0; i < 20; i++) {
        char digit = '0';

        for (; value >= powers_of_ten[i]; digit++)
            value -= powers_of_ten[i];
        if (length > 0 || digit != '0' || i == 19)
            digits[length++] = digit;
    }
    put_digits(digits, length, negative, field);
}

static void put_hex(uint64_t value, struct field field)
{
    char digits[16];
    unsigned first = 16;

    do {
        digits[--first] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    put_digits(digits + first, 16 - first, false, field);
}

static unsigned length_of(const char *text)
{
    unsigned length = 0;

    while (text[length] != 0)
        length++;
    return length;
}

/* The size of an integer argument in the sense of the modifiers l, ll and z. */
enum size { SIZE_INT, SIZE_LONG, SIZE_LONG_LONG, SIZE_SIZE };

static enum size parse_size(const char **format)
{
    if (**format == 'z') {
        ++*format;
        return SIZE_SIZE;
    }
    if (**format != 'l')
        return SIZE_INT;
    if (*++*format != 'l')
        return SIZE_LONG;
    ++*format;
    return SIZE_LONG_LONG;
}

static struct field parse_field(const char **format)
{
    struct field field = { 0, ' ', false };

    for (;; ++*format) {
        if (**format == '-')
            field.left = true;
        else if (**format == '0')
            field.pad = '0';
        else
            break;
    }
    for (; **format >= '0' && **format <= '9'; ++*format)
        field.width = field.width * 10 + (unsigned)(**format - '0');
    return field;
}

/* A variable of this type can be passed on by address, a parameter of type va_list cannot. */
struct arguments {
    va_list list;
};

static uint64_t next_unsigned(struct arguments *arguments, enum size size)
{
    if (size == SIZE_LONG_LONG)
        return va_arg(arguments->list, unsigned long long);
    if (size == SIZE_LONG)
        return va_arg(arguments->list, unsigned long);
    if (size == SIZE_SIZE)
        return va_arg(arguments->list, size_t);
    return va_arg(arguments->list, unsigned);
}

static int64_t next_signed(struct arguments *arguments, enum size size)
{
    if (size == SIZE_LONG_LONG)
        return va_arg(arguments->list, long long);
    if (size == SIZE_LONG)
        return va_arg(arguments->list, long);
    if (size == SIZE_SIZE)
        return va_arg(arguments->list, ptrdiff_t);
    return va_arg(arguments->list, int);
}

static void put_argument(char letter, enum size size, struct field field,
                         struct arguments *arguments)
{
    const char *text;
    int64_t number;
    char character;

    switch (letter) {
    case 'd':
        number = next_signed(arguments, size);
        put_decimal(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, number < 0, field);
        break;
    case 'u':
        put_decimal(next_unsigned(arguments, size), false, field);
        break;
    case 'x':
        put_hex(next_unsigned(arguments, size), field);
        break;
    case 'p':
        put_text("0x", 2, (struct field){ 0, ' ', false });
        field = (struct field){ sizeof(void *) * 2, '0', false };
        put_hex((uintptr_t)va_arg(arguments->list, void *), field);
        break;
    case 's':
        text = va_arg(arguments->list, const char *);
        text = text != NULL ? text : "(null)";
        put_text(text, length_of(text), field);
        break;
    case 'c':
        character = (char)va_arg(arguments->list, int);
        put_text(&character, 1, field);
        break;
    default:
        k_putc(letter);
        break;
    }
}

void t_vprintf(const char *format, va_list list)
{
    struct arguments arguments;

    va_copy(arguments.list, list);
    while (*format != 0) {
        struct field field;
        enum size size;

        if (*format != '%') {
            k_putc(*format++);
            continue;
        }
        format++;
        field = parse_field(&format);
        size = parse_size(&format);
        if (*format == 0)
            break;
        put_argument(*format++, size, field, &arguments);
    }
    va_end(arguments.list);
}

void t_printf(const char *format, ...)
{
    va_list arguments;
#if !__STDC_HOSTED__
    bool entered = k_console_enter();
#endif

    va_start(arguments, format);
    t_vprintf(format, arguments);
    va_end(arguments);
#if !__STDC_HOSTED__
    k_console_leave(entered);
#endif
}
