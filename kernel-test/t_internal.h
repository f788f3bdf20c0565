/* What printf.c and test.c offer beyond test.h, to the kernel and to functions with arguments of
 * their own. */
#ifndef KERNEL_TEST_T_INTERNAL_H
#define KERNEL_TEST_T_INTERNAL_H

#include <stdarg.h>

void t_vprintf(const char *format, va_list list) __attribute__((format(printf, 1, 0)));

/* Prints "while running suite/test", if one runs. */
void t_print_running(void);

#endif
