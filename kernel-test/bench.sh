#!/bin/sh
# Prints the benchmarks of one machine: lines  bench <suite>/<name> <value> <unit>
#
#   bench.sh ARCH=x86|arm|host [name=value …] file …
#
#   file           kernel images, or host programs (host_bench.c): the builds to measure
#   BENCH=prefix   only lines that begin so: malloc/churn, or churn for all suites
#   PAGING= MEM= TIMEOUT=   for qemu.sh
#   WORK=file               peer_spanheap.c, the whole programs
#
# On the host instructions are counted by callgrind; without it, loops are timed.  Whole programs are
# timed in any case: their times change from run to run, the ratio less so.
set -u

here=$(dirname "$0")
ARCH= BENCH= PAGING= MEM= TIMEOUT= WORK= files= failed=0
for word in "$@"; do
    value=${word#*=}
    case $word in
    ARCH=*) ARCH=$value ;;
    BENCH=*) BENCH=$value ;;
    PAGING=*) PAGING=$value ;;
    MEM=*) MEM=$value ;;
    TIMEOUT=*) TIMEOUT=$value ;;
    WORK=*) WORK=$value ;;
    *) files="$files $word" ;;
    esac
done

boot()
{
    sh "$here/qemu.sh" ARCH="$ARCH" IMAGE="$1" APPEND="run=bench bench=$BENCH" ICOUNT=0 \
        PAGING="$PAGING" MEM="${MEM:-256M}" TIMEOUT="$TIMEOUT" >"$out" || failed=1
    # The last line's end may be on its way when QEMU ends.
    tr -d '\r' <"$out" | sed '$a\'
}

wanted()
{
    case $1 in
    "$BENCH"*) return 0 ;;
    esac
    case ${1#*/} in
    "$BENCH"*) return 0 ;;
    esac
    return 1
}

# What the program says, and the instructions that callgrind collected inside the two functions:
# "operations addend instructions".
collected()
{
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect=counted_malloc --toggle-collect=counted_call "$1" "$2" "$3" 2>"$out" ||
        return 1
    sed -n 's/.*Collected : //p' "$out"
}

count()
{
    set -- "$2" $(collected "$1" count "$2") $(collected "$1" empty "$2")
    [ $# -eq 7 ] || return 1
    echo "$@" | awk '{ printf "bench %s %.1f instructions\n", $1, ($4 + $3) / $2 - $7 / $5 }'
}

# Of several runs the shortest: what else the machine does only adds.
shortest()
{
    for i in 1 2 3 4 5; do "$1" "$2" "$3"; done | sort -n | head -1
}

clock()
{
    operations=$("$1" count "$2") || return 1
    operations=${operations% *}
    set -- "$2" "$operations" "$(shortest "$1" ns "$2")" "$(shortest "$1" null "$2")"
    echo "$@" | awk '{ printf "bench %s %.1f ns\n", $1, ($3 - $4) / $2 }'
}

measure()
{
    case $2 in
    memory/* | gc/longest-step) "$1" plain "$2" ;;
    */slowest-*) "$1" steps "$2" ;;
    *) if command -v valgrind >/dev/null; then count "$1" "$2"; else clock "$1" "$2"; fi ;;
    esac
}

# A whole program: the best of three runs, and its longest pause.
work()
{
    for i in 1 2 3; do "$@"; done | sort -n | head -1
}

print_work()
{
    line=$(echo "gcwork/$*" | tr ' ' -)
    wanted "$line" || wanted "$line-pause" || return 0
    set -- $(work "$work_file" "$@")
    [ $# -eq 6 ] || return 1
    ! wanted "$line" || echo "bench $line $1 $2"
    ! wanted "$line-pause" || echo "bench $line-pause $3 ms"
}

works()
{
    for how in '' exact steps; do
        for name in trees-16 $([ "$how" ] || echo trees-18) gcbench hash refill; do
            print_work $name $how || { echo "bench.sh: $name $how failed" >&2; failed=1; }
        done
    done
}

out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
for file in $files; do
    if [ "$ARCH" != host ]; then
        boot "$file"
        continue
    fi
    for line in $("$file" list); do
        wanted "$line" || continue
        measure "$file" "$line" || { echo "bench.sh: $line failed" >&2; failed=1; }
    done
done
if [ -n "$WORK" ]; then
    work_file=$WORK
    works
fi
exit $failed
