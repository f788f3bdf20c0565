#!/bin/sh
# Runs the Lisp in the booted kernel, and compares what it says; ends `N passed, N failed`.
#
#   lisp_run.sh prompt ARCH=… IMAGE=… [name=value …]     types at the prompt, over the serial line
#   lisp_run.sh FILE.lisp … ARCH=… IMAGE=… [name=value …]  each program, booted by itself, within 30 s
#
# The rest is for qemu.sh.  What is typed are the lines of lisp_prompt.txt that begin with "> ": the file is what
# the terminal is to show.  Nothing is typed before the prompt is there: until then the kernel may reset the port.
# From then on QEMU holds back what the port has no room for.
set -u
LC_ALL=C
export LC_ALL

LIMIT=30 # seconds

here=$(dirname "$0")
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
programs= options= passed=0 failed=0
for word in "$@"; do
    case $word in
    *=*) options="$options $word" ;;
    *) programs="$programs $word" ;;
    esac
done

count() { # status, what
    if [ "$1" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED $2"
    fi
}

run() {
    sh "$here/qemu.sh" MEM=16M TIMEOUT="$LIMIT" APPEND=run=lisp $options "$@"
}

# Typed text on standard input; $1 = what the terminal shows then.
talk() {
    : >"$work/shown"
    {
        seconds=0
        until grep -q '^> ' "$work/shown" || [ "$seconds" -ge "$LIMIT" ]; do
            sleep 1
            seconds=$((seconds + 1))
        done
        cat
    } | run INPUT=1 >"$work/shown" 2>"$work/errors"
    status=$?
    tr -d '\r' <"$work/shown" | diff - "$1" >"$work/difference" || status=1
    cut -c 1-200 "$work/errors" "$work/difference" | head -n 20
    return "$status"
}

if [ "$programs" = " prompt" ]; then
    sed -n 's/^> //p' "$here/lisp_prompt.txt" | talk "$here/lisp_prompt.txt"
    count $? "the session of lisp_prompt.txt: < is what came, > what was to come"
    # Delete takes a character back, and control-D ends.
    { head -n 1 "$here/lisp_prompt.txt"; printf '> (+ 1 3\b \b2)\n3\n> \n'; } >"$work/wanted"
    printf '(+ 1 3\1772)\r\004' | talk "$work/wanted"
    count $? "the keys delete and control-D: < is what came, > what was to come"
else
    for program in $programs; do
        run MODULES="$program"
        count $? "$program"
    done
fi

echo
echo "lisp: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -ne 0 ]
