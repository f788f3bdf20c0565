#!/bin/sh
# Runs the explorer, and then on copies of the tree that are broken on purpose: it must find what is wrong.
#
#   explore.sh [quick]
#
# A control is a patch that says what finds it, a scenario with its mode; x86/ is the explorer of page tables.
# Those of kernel-test/mutants that have such a line serve too.
#
#   Found: scenario:mode           within a second
#   Found: scenario:mode - other … and these must not find it
set -u
quick=${1:-}

cd "$(dirname "$0")/../.." || exit 2
: "${MAKE:=make}"
unset MAKEFLAGS MFLAGS MAKELEVEL
out=build/explore/controls
mutants=kernel-test/mutants
own=kernel-test/explore/controls

# Those of the two Go bugs come first: they are what the quick subset has.
first='d57c889ae8-arena d57c889ae8-bounds published-relaxed cc8f544198'

found_by() {
    sed -n '/^diff /q; s/^Found: *//p' "$1"
}

controls() {
    for name in $first; do
        ls $own/"$name".patch $mutants/"$name".patch 2>/dev/null
    done
    [ -z "$quick" ] || return
    for patch in $own/*.patch $mutants/*.patch; do
        case " $first " in *" $(basename "$patch" .patch) "*) continue ;; esac
        [ "${GC:-1}" = 1 ] || ! grep -q '^+++ b/gc/' "$patch" || continue
        [ -z "$(found_by "$patch")" ] || echo "$patch"
    done
}

# The tree with what was built of it, so that only what the patch changes is compiled.
copy_tree() {
    rm -rf "$1"
    mkdir -p "$1/build"
    cp -a Makefile arch gc mm kernel-test "$1/"
    cp -a build/gen* "$1/build/"
    mkdir -p "$1/build/explore"
    for part in build/explore/*; do
        [ "$part" = "$out" ] || cp -a "$part" "$1/build/explore/"
    done
}

# One control, and what finds it: a line, and 0 if the fault was found.
control() {
    patch=$1
    name=$(basename "$patch" .patch)
    case $2 in
    */*) program=build/explore/${2%%/*}/explore ;;
    *) program=build/explore/explore ;;
    esac
    found=${2#*/}
    shift 2
    [ $# -eq 0 ] || shift
    copy_tree "$out/$name"
    if ! (cd "$out/$name" && patch -p1 -s -f -F0 && $MAKE $program) <"$patch" >"$out/$name.log" 2>&1; then
        echo "control $name: does not apply or build: $out/$name.log"
        return 1
    fi
    said=$("$out/$name/$program" expect "$found" 2>&1) || {
        echo "control $name: not found by $found"
        echo "$said"
        return 1
    }
    for other; do
        if ! "$out/$name/$program" "$other" >"$out/$name.log" 2>&1; then
            echo "control $name: found by $other too"
            return 1
        fi
    done
    echo "$said" | awk -v name="$name" -v by="$found" '
        NR == 1 { schedules = $4; seconds = $6 }
        NR == 2 { sub(/^FAIL [^ ]* /, ""); why = $0 }
        END { printf "control %-30s found by %s: %d schedules, %s s: %s\n", name, by, schedules, seconds, why }'
    rm -rf "$out/$name" "$out/$name.log"
}

passed=0 failed=0
for program in build/explore/explore build/explore/x86/explore build/explore/arm/explore; do
    echo "$program"
    "$program" $quick | tee build/explore/table.log | grep -v ' passed, '
    set -- $(tail -n 1 build/explore/table.log | sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p')
    passed=$((passed + ${1:-0})) failed=$((failed + ${2:-1}))
done

mkdir -p "$out"
controls >build/explore/controls.list
while read -r patch; do
    if control "$patch" $(found_by "$patch"); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done <build/explore/controls.list
echo "explored: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
