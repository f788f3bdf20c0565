#!/bin/sh
# Writes the C source of the table in lisp.h that holds Lisp programs:  lisp_programs.sh file.lisp …
set -eu

echo '#include "kernel-test/lisp.h"'
number=0
for file in "$@"; do
    echo "static const unsigned char text_$number[] = {"
    od -An -v -tu1 "$file" | sed 's/[0-9][0-9]*/&,/g'
    echo '};'
    number=$((number + 1))
done
echo 'const struct lisp_program lisp_programs[] = {'
number=0
for file in "$@"; do
    echo "    { \"$(basename "$file" .lisp)\", (const char *)text_$number, sizeof(text_$number) },"
    number=$((number + 1))
done
echo '};'
echo "const unsigned lisp_program_count = $number;"
