#!/bin/sh
# Plants small faults (mutate.c), one at a time, and expects the tests to notice: `make mutants DEEP=1`.
#
#   DEEP=1 mutate.sh     a sample: COUNT=600 of them, chosen by SEED=1; rollbacks count double
#   DEEP=all mutate.sh   every one
#   DEEP=again mutate.sh the survivors of the last run, as long as mm and arch are the same
#   FILES="mm/heap.c …"  only in these files; default mm/*.c and arch/*.c
#
# A mutant is compiled by itself and linked with the objects of the unbroken tree: those of mm with the
# host's suites (32-bit, checks on, built for one CPU), those of arch with the simulated machines.  One
# whose object code is the same in all of them is equivalent and not counted; one that does not compile
# neither.  The suites run fastest first, and the first that fails, crashes or hangs kills it.  Who
# survives that is booted on x86 as well.  Prints every survivor, then the score; ends with 1 below
# LEAST=85 per cent.  Results in build/mutate/: results, one line each, and survivors.
#
# make gives CC, CFLAGS, OBJECTS (host), KERNEL_CC, KERNEL_CFLAGS, KERNEL_LINK, KERNEL_OBJECTS.
set -u

cd "$(dirname "$0")/.." || exit 2
: "${DEEP:=1}" "${SEED:=1}" "${COUNT:=600}" "${LEAST:=85}" "${JOBS:=2}"
: "${QUICK:=15}" "${SLOW:=60}" # seconds for a suite
mutate=build/mutate/mutate
out=build/mutate
quick="span cache central hooks arena interrupt shutdown pages demand stats trim tiers explain growth
    verify wrong_size misuse malloc lies linear guarded guard windows script collect shapes collected_free
    sweeper gc_tiers reserve kept"
slow="failure sweep wrong_pointer random"
booted="kernel-2level kernel-pae shutdown-pae interrupt-2level trim-2level timer-2level stats-2level"
simulated="x86 arm arm-64k"

# What a source of arch is compiled with, for one simulated machine.
sim_flags() {
    case $1 in
    x86) echo "-DSIM_X86 -Iarch/x86" ;;
    arm) echo "-DSIM_ARM -Iarch/arm" ;;
    arm-64k) echo "-DSIM_ARM -Iarch/arm -DSH_ARCH_PAGE_SHIFT=16" ;;
    esac
}

# compile KIND OBJECT < source: by way of standard input, so that the object does not name its file.
compile() {
    case $1 in
    host) $CC $CFLAGS -x c - -c -o "$2" ;;
    kernel) $KERNEL_CC $KERNEL_CFLAGS -x c - -c -o "$2" ;;
    sim-*) $CC -O1 -w -std=c11 -Ikernel-test/sim $(sim_flags "${1#sim-}") -I. -x c - -c -o "$2" ;;
    esac 2>/dev/null
}

# The objects of KIND, with the one of FILE replaced by OBJECT.
objects() {
    case $1 in
    host) list=$OBJECTS ;;
    kernel) list=$KERNEL_OBJECTS ;;
    sim-*) list=$(echo "$out/$1"/base/*.o "$out/$1"/arch/*.o) ;;
    esac
    for object in $list; do
        case $object in */"${2%.c}.o") echo "$3" ;; *) echo "$object" ;; esac
    done
}

# passes PROGRAM ARGUMENT … within LIMIT seconds: it is stopped at its first failure.
passes() {
    case $(timeout -k 1 "$LIMIT" "$@" 2>&1 </dev/null | sed '/^FAILED /q' | tail -n 1) in
    *" passed, 0 failed"*) return 0 ;; # the console ends lines with \r
    *) return 1 ;;
    esac
}

# kill_by KIND FILE OBJECT DIRECTORY: says what killed it; nothing if nothing did.
kill_by() {
    case $1 in
    host)
        $CC -static -o "$4/test" $(objects "$@") 2>/dev/null || { echo link; return; }
        LIMIT=$QUICK
        for suite in $quick; do
            passes "$4/test" "$suite" || { echo "$suite"; return; }
        done
        LIMIT=$SLOW
        for suite in $slow; do
            passes "$4/test" "$suite" || { echo "$suite"; return; }
        done ;;
    sim-*)
        $CC -static -o "$4/test" $(objects "$@") 2>/dev/null || { echo link; return; }
        LIMIT=$QUICK
        passes "$4/test" 1 direct || echo "$1" ;;
    kernel)
        $KERNEL_LINK -o "$4/kernel.elf" $(objects "$@") 2>/dev/null || { echo link; return; }
        LIMIT=$((SLOW * 2))
        for suite in $booted; do
            passes sh kernel-test/qemu.sh ARCH=x86 IMAGE="$4/kernel.elf" MEM=32M TIMEOUT="$SLOW" \
                APPEND="run=test test=${suite%-*}/ paging=${suite#*-} phys=scratch dirs=2" ||
                { echo "booted-$suite"; return; }
        done ;;
    esac
}

kinds_of() {
    case $1 in
    mm/*) echo host ;;
    arch/*) for machine in $simulated; do echo "sim-$machine"; done ;;
    esac
}

# One mutant "FILE:number:line: operator: text"; prints verdict, killer, place.
run_mutant() {
    file=${1%%:*}
    rest=${1#*:}
    number=${rest%%:*}
    rest=${rest#*:}
    dir=$(mktemp -d "$out/work.XXXXXX")
    "$mutate" apply "$file" "$number" >"$dir/mutant.c"
    verdict=equivalent by=
    for kind in $(kinds_of "$file") kernel; do
        [ "$kind" != kernel ] || [ "$verdict" = survived ] || break
        if ! compile "$kind" "$dir/m.o" <"$dir/mutant.c"; then
            verdict=invalid
            break
        fi
        cmp -s "$dir/m.o" "$out/$kind/${file%.c}.o" && continue
        verdict=survived
        by=$(kill_by "$kind" "$file" "$dir/m.o" "$dir")
        [ -z "$by" ] || { verdict=killed; break; }
    done
    rm -rf "$dir"
    echo "$verdict ${by:--} | $1" >>"$out/results"
    [ "$verdict" != survived ] || echo "survived: $file:$rest"
    so_far=$(wc -l <"$out/results")
    [ $((so_far % 50)) != 0 ] ||
        echo "$so_far of $(wc -l <"$out/sample"), $(grep -c ^survived "$out/results") survived"
}

if [ "${1:-}" = --one ]; then
    run_mutant "$2"
    exit 0
fi

again=$(mktemp)
if [ "$DEEP" = again ]; then
    cp "$out/survivors" "$again" || exit 1
fi
rm -rf "$out"
mkdir -p "$out"
${HOSTCC:-cc} -std=c11 -O1 -Wall -Wextra -o "$mutate" kernel-test/mutate.c || exit 1
: "${FILES:=$(ls mm/*.c arch/*.c | grep -v /gen_)}"
"$mutate" list $FILES >"$out/list"
[ -s "$out/list" ] || { echo "mutate.sh: no mutants in $FILES" >&2; exit 1; }

# The same seed, the same sample: every line gets a number from a generator, the lowest ones are taken.
if [ "$DEEP" = again ]; then
    mv "$again" "$out/sample"
elif [ "$DEEP" = all ]; then
    cp "$out/list" "$out/sample"
else
    awk -v seed="$SEED" '
        function draw() { x = (x * 16807) % 2147483647; return x }
        BEGIN { x = seed * 7919 % 2147483646 + 1; for (i = 0; i < 20; i++) draw() }
        { key = draw(); other = draw(); if (/: rollback: / && other < key) key = other
          printf "%010d\t%s\n", key, $0 }' "$out/list" |
        sort | head -n "$COUNT" | cut -f 2- >"$out/sample"
fi

# What the unbroken sources compile to, the same way.
for file in $FILES; do
    for kind in $(kinds_of "$file") kernel; do
        mkdir -p "$out/$kind/$(dirname "$file")"
        compile "$kind" "$out/$kind/${file%.c}.o" <"$file" ||
            { echo "mutate.sh: $file does not compile ($kind)" >&2; exit 1; }
    done
done
for machine in $simulated; do
    mkdir -p "$out/sim-$machine/base" "$out/sim-$machine/arch"
    for file in sim test_pagetable; do
        compile "sim-$machine" "$out/sim-$machine/base/$file.o" <"kernel-test/sim/$file.c" || exit 1
    done
    for file in pagetable tables windows; do
        compile "sim-$machine" "$out/sim-$machine/arch/$file.o" <"arch/$file.c" || exit 1
    done
done

# Unbroken, everything must pass.
mkdir "$out/sound"
for kind in host $(kinds_of arch/) kernel; do
    layer=mm
    [ "$kind" = "${kind#sim-}" ] || layer=arch
    file=$(echo "$FILES" | tr ' ' '\n' | grep -m 1 "^$layer/") || continue
    why=$(kill_by "$kind" "$file" "$out/$kind/${file%.c}.o" "$out/sound")
    [ -z "$why" ] || { echo "mutate.sh: without a mutant, $kind: $why" >&2; exit 1; }
done

: >"$out/results"
export DEEP
tr '\n' '\0' <"$out/sample" | xargs -0 -P "$JOBS" -n 1 sh kernel-test/mutate.sh --one

sed -n 's/^survived - | //p' "$out/results" | sort >"$out/survivors"
echo "survivors:"
sed 's/:[0-9]*//' "$out/survivors"
awk -v least="$LEAST" '
    { verdict[$1]++; split($0, part, " \\| "); split(part[2], place, "/"); layer[place[1] " " $1]++ }
    function score(killed, survived) {
        return killed + survived == 0 ? 100 : 100 * killed / (killed + survived)
    }
    END {
        printf "mm: %.1f %%, arch: %.1f %%\n", score(layer["mm killed"], layer["mm survived"]),
            score(layer["arch killed"], layer["arch survived"])
        all = score(verdict["killed"], verdict["survived"])
        printf "mutants: %d, %d equivalent, %d do not compile; %d killed, %d survived: %.1f %%\n", NR,
            verdict["equivalent"], verdict["invalid"], verdict["killed"], verdict["survived"], all
        exit all < least
    }' "$out/results"
