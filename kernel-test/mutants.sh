#!/bin/sh
# Breaks the heap on purpose and expects the tests to notice.
#
#   mutants.sh              all of kernel-test/mutants/*.patch and kernel-test/explore/controls/*.patch, two at a time
#   MUTANT=name mutants.sh  that one, or those
#
# A patch begins with what it breaks:
#
#   Rule: the rule or file
#   Test: suite[/test]       what is known to find it: run first, and all the others if it does not
#   Machine: x86 [word …]    if the host cannot see it (CPUS=2 and the like are for qemu.sh); or a
#                            simulated machine: sim-x86
#   Machine: model scale     the arena model of that scale; Test is one of its cases
#   Machine: host-tsan       threads as CPUs under the thread sanitizer, whose reports count too
#   Machine: explore quick   the explorer; what finds it is behind Found: (see explore.sh).  x86/quick and
#                            arm/quick are those of page tables
#
# Each is applied to a copy of the tree, in build/mutants/<name>/, where the host's 32-bit suites are
# built and run; with a Machine line that machine's kernel is booted instead, with the words on its
# command line, or the model is run, or the scenario searched.  A test that fails, a crash and a hang all
# kill the mutant.  One that survives, a patch that does not apply and one that does not build fail the run;
# their copies stay for a look.
set -u

cd "$(dirname "$0")/.." || exit 2
: "${LIMIT:=300}"    # seconds for all suites on the host
: "${LIMIT_ONE:=90}" # and for what is known to find a mutant
: "${MAKE:=make}"
unset MAKEFLAGS MFLAGS MAKELEVEL
out=build/mutants

# What a patch's header says after "$2:".
header() {
    sed -n "/^diff /q; s/^$2: *//p" "$1"
}

# The tree without what was built, and of that what the run needs, with its dates.
copy_tree() {
    rm -rf "$1"
    mkdir -p "$1/build"
    for file in *; do
        [ "$file" = build ] || cp -a "$file" "$1/"
    done
    for file in build/flags build/gen* "build/$2" "build/${2%-kasan}"; do
        [ ! -e "$file" ] || [ -e "$1/$file" ] || cp -a "$file" "$1/build/"
    done
}

# The program that has a scenario, x86/name or a name alone; a program's own are `quick`.
explorer_of() {
    case $1 in
    */*) echo "build/explore/${1%%/*}/explore" ;;
    *) echo build/explore/explore ;;
    esac
}

# What has to be built for a machine and its words.
target_of() {
    case $1 in
    host32) echo build/host32/host-test ;;
    host-tsan) echo build/host-tsan/cpus-test ;;
    model) echo "build/model/$2/model" ;;
    explore) explorer_of "$2" ;;
    sim-*) echo "build/$1" ;;
    *) echo "build/$1/kernel.elf" ;;
    esac
}

# Searches a scenario in its mode, or all of a program's.  Says nothing, or which one fails; a search that
# did not begin, or was not finished in time, found nothing.
search() {
    { timeout -k 2 "$LIMIT" "$(explorer_of "$1")" "${1#*/}"; echo "status $?"; } 2>&1 | tee build/run.log | awk '
        /^explore: / || / INCOMPLETE$/ { unknown = 1 }
        /^FAIL / && first == "" { first = $2; sub(/:$/, "", first) }
        /^status / { status = $2 }
        END {
            if (first != "") print first
            else if (status >= 128 && status != 137 && !unknown) print "the explorer ends with status " status
        }'
}

# Runs in the copy: host32 [suite[/test]], model scale [case], explore scenario, or a machine and words for
# its command line.  Says nothing if all tests pass, else what ended it.
run_tests() {
    if [ "$1" = explore ]; then
        search "$2"
        return
    fi
    if [ "$1" = host32 ]; then
        shift
        { timeout -k 2 "$LIMIT" build/host32/host-test "$@"; echo "status $?"; } 2>&1
        set -- host32
    elif [ "$1" = host-tsan ]; then
        shift
        [ $# -gt 0 ] || set -- team,mutators
        { TSAN_OPTIONS=suppressions=kernel-test/cpus/collector.supp timeout -k 2 "$LIMIT" build/host-tsan/cpus-test "$@"
            echo "status $?"; } 2>&1
        set -- host32
    elif [ "$1" = model ]; then
        target=$(target_of "$1" "$2")
        shift 2
        { timeout -k 2 600 "$target" "$@"; echo "status $?"; } 2>&1
        set -- host32
    elif [ "${1#sim-}" != "$1" ]; then
        { timeout -k 2 "$LIMIT" "build/$1"; echo "status $?"; } 2>&1
    else
        config=$1 options= words=
        shift
        for word in "$@"; do
            case $word in
            [A-Z]*=*) options="$options $word" ;;
            *) words="$words $word" ;;
            esac
        done
        { sh kernel-test/qemu.sh ARCH="${config%%-*}" IMAGE="build/$config/kernel.elf" ICOUNT=0 \
            TIMEOUT=120 APPEND="run=test$words" $options; echo "status $?"; } 2>&1
    fi | tee build/run.log | awk '
        /^FAILED / && first == "" { first = $2; sub(/:$/, "", first) }
        /^no test is called/ { unknown = 1; exit }
        /^qemu.sh: no end/ { status = 124; exit }
        /^status / { status = $2 }
        first != "" && host { exit }
        /passed$|FAILED$/ { last = $1 }
        END {
            if (unknown) print ""
            else if (first != "") print first
            else if (status == 124 || status == 137 || status == 3) print "hangs after " last
            else if (status != 0) print "crashes after " last
        }' host="$([ "$1" = host32 ] && echo 1)"
}

say() {
    printf '%-8s %-36s %s\n' "$1" "$2" "$3"
}

# One mutant, in a line; killed or not in a file.
run_mutant() {
    patch=$PWD/$1
    name=$(basename "$1" .patch)
    dir=$out/$name
    machine=$(header "$patch" Machine)
    config=${machine%% *}
    words=
    case $machine in *' '*) words=${machine#* } ;; esac
    config=${config:-host32}
    test=$(header "$patch" Test)
    first="$words $test"
    if [ "$config" = explore ]; then
        test=$(header "$patch" Found)
        first=${test%% *}
    fi
    target=$(target_of "$config" "$words")

    copy_tree "$dir" "$config"
    echo failed >"$dir.result"
    if ! (cd "$dir" && patch -p1 -s -f -F0 <"$patch") >"$dir.log" 2>&1; then
        say STALE "$name" "(the patch does not apply: $dir.log)"
        return
    fi
    if ! (cd "$dir" && $MAKE "$target") >"$dir.log" 2>&1; then
        say BROKEN "$name" "(it does not build: $dir.log)"
        return
    fi
    why=
    [ -z "$test" ] || why=$(cd "$dir" && LIMIT=$LIMIT_ONE && run_tests "$config" $first)
    [ -n "$why" ] || why=$(cd "$dir" && run_tests "$config" $words)
    if [ -z "$why" ]; then
        say SURVIVED "$name" "($(header "$patch" Rule))"
        return
    fi
    echo passed >"$dir.result"
    say killed "$name" "($why)"
    rm -rf "$dir" "$dir.log"
}

if [ "${1:-}" = --one ]; then
    run_mutant "$2"
    exit 0
fi

if [ -n "${MUTANT:-}" ]; then
    patches=
    for name in $MUTANT; do
        patch=$(ls kernel-test/mutants/"$name".patch kernel-test/explore/controls/"$name".patch 2>/dev/null)
        [ -n "$patch" ] || { echo "mutants.sh: no such mutant: $name" >&2; exit 2; }
        patches="$patches $patch"
    done
else
    patches=$(ls kernel-test/mutants/*.patch kernel-test/explore/controls/*.patch)
fi

# The unbroken tree first: what it built is what the copies begin with.
mkdir -p build
targets=
for patch in $patches; do
    machine=$(header "$patch" Machine)
    echo "${machine:-host32}"
done | sort -u >build/mutants.machines
while read -r machine words; do
    targets="$targets $(target_of "$machine" "$words")"
done <build/mutants.machines
$MAKE -j2 $targets || exit 1

# It must pass what the mutants are to fail, within the same time.
expect_sound() {
    set -- "$1" "${2:-}" "$(run_tests $1 ${2:-})"
    [ -z "$3" ] || { echo "mutants.sh: without a mutant, $1 ${2:-}: $3" >&2; exit 1; }
}
while read -r machine words; do
    expect_sound "$machine" "$words"
done <build/mutants.machines
rm -f build/mutants.machines build/run.log

rm -rf "$out"
mkdir -p "$out"
printf '%s\n' $patches | xargs -P 2 -n 1 sh kernel-test/mutants.sh --one
cat "$out"/*.result | awk '
    { count[$1]++ }
    END {
        printf "%d passed, %d failed\n", count["passed"], count["failed"]
        exit count["failed"] != 0 || count["passed"] == 0
    }'
