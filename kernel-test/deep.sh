#!/bin/sh
# What takes minutes and tools that not everybody has: coverage, fuzzing, a model.  Run by `make deep`,
# from the root.  A line a part; a part whose tool is missing is skipped and says how to get it.  Ends
# `N passed, N failed, N skipped`.
#
#   FUZZ_SECONDS=60   how long the fuzzer runs      BAR=95   percent of lines and of branches of mm
#   RUNS=40           runs of growth a granule      PARTS="coverage mcdc fuzz model replay"   what runs
set -u
LC_ALL=C
export LC_ALL
: "${FUZZ_SECONDS:=60}" "${BAR:=95}" "${RUNS:=40}" "${PARTS:=coverage mcdc fuzz model replay}" "${MAKE:=make}"
unset MAKEFLAGS MFLAGS MAKELEVEL

out=build/deep
here=kernel-test/deep
rm -rf "$out"
mkdir -p "$out"
: >"$out/results"

verdict() { # ok, FAIL or skip; what
    echo "$1 $2" | tee -a "$out/results"
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# The fuzzing target and what it stands on: the heap over the host port.
WRAP="-Wl,--wrap=sh_arch_reserve -Wl,--wrap=sh_arch_map -Wl,--wrap=sh_arch_commit"
FLAGS="-std=c11 -g -fno-strict-aliasing -I. -Iarch/host -Ibuild/gen-13 -DMM_PAGE_SHIFT=13"
SOURCES="$(ls mm/*.c | grep -v mm/gen_) build/gen-13/size_class_table.c arch/host/host.c
    arch/windows.c $here/fuzz.c"
tables() {
    $MAKE -s build/gen-13/size_class_table.c build/gen-13/size_class_count.h
}

# Every build with --coverage, and its runs: the suites on the host; the fuzzing target with random
# inputs, for the host port; the page table walker on its simulated machines.
coverage_runs() {
    $MAKE -s -j2 build/host-cov/host-test || return 1
    find build/host-cov -name '*.gcda' -exec rm {} +
    build/host-cov/host-test || return 1
    for build in host sim-x86 sim-arm sim-arm-64k; do
        compiler="${CC_host32:-i686-linux-gnu-gcc} -static -std=c11 -g -Ikernel-test/sim -I."
        sources="kernel-test/sim/sim.c kernel-test/sim/test_pagetable.c arch/pagetable.c arch/tables.c
            arch/windows.c"
        run=./run
        case $build in
        host) compiler="${CC:-gcc} -DFUZZ_ALONE $WRAP $FLAGS" sources=$SOURCES run='./run runs=400' ;;
        sim-x86) compiler="$compiler -DSIM_X86 -Iarch/x86" ;;
        sim-arm) compiler="$compiler -DSIM_ARM -Iarch/arm" ;;
        sim-arm-64k) compiler="$compiler -DSIM_ARM -Iarch/arm -DSH_ARCH_PAGE_SHIFT=16" ;;
        esac
        have "${compiler%% *}" || { echo "no ${compiler%% *}: coverage without $build"; continue; }
        mkdir -p "$out/$build"
        $compiler -O0 --coverage -dumpdir "$out/$build/" -o "$out/$build/run" $sources &&
            (cd "$out/$build" && exec $run) || return 1
    done
}

coverage() {
    have gcov || { verdict skip 'coverage: no gcov; it comes with gcc: apt-get install gcc'; return; }
    if ! coverage_runs >"$out/coverage.log" 2>&1; then
        tail -n 20 "$out/coverage.log"
        verdict FAIL "coverage: a run failed: $out/coverage.log"
        return
    fi
    find build/host-cov/mm "$out" -name '*.gcda' | sort >"$out/gcda"
    while read -r file; do
        gcov -t -b -c "$file" 2>/dev/null
    done <"$out/gcda" >"$out/gcov.txt"
    if awk -v bar="$BAR" -v list="$out/not-run.txt" -f "$here/coverage.awk" marked=1 "$here/not-reached.txt" \
        marked=0 "$out/gcov.txt"; then
        verdict ok "coverage: $BAR % of the lines and branches of mm that $here/not-reached.txt does not mark"
    else
        verdict FAIL "coverage: below $BAR %, or a stale mark; what did not run: $out/not-run.txt"
    fi
}

# The first clang that is new enough: -fcoverage-mcdc came with 18, and with 19 took loops and macros.
new_clang() {
    for version in 23 22 21 20 19; do
        have "clang-$version" && have "llvm-cov-$version" && { echo "$version"; return; }
    done
}

mcdc() {
    version=$(new_clang)
    if [ -z "$version" ]; then
        verdict skip 'MC/DC: no clang of 19 or newer: apt-get install clang-19 llvm-19'
        return
    fi
    mkdir -p "$out/mcdc"
    mm=$(ls mm/*.c | grep -v mm/gen_)
    run=build/host-mcdc/host-test
    if $MAKE -s -j2 CC="clang-$version" $run >"$out/mcdc.log" 2>&1 &&
        LLVM_PROFILE_FILE=$out/mcdc/raw $run >>"$out/mcdc.log" 2>&1 &&
        "llvm-profdata-$version" merge -o "$out/mcdc/data" "$out/mcdc/raw" >>"$out/mcdc.log" 2>&1 &&
        "llvm-cov-$version" report $run -instr-profile="$out/mcdc/data" --show-mcdc-summary \
            $mm >"$out/mcdc.txt" 2>>"$out/mcdc.log"; then
        awk '/^Filename|^mm|\.c |^TOTAL/ { print "    " $1, $(NF - 2), $(NF - 1), $NF }' "$out/mcdc.txt"
        verdict ok "MC/DC: conditions, missed, shown to matter by the suites on the host (clang-$version)"
    else
        tail -n 5 "$out/mcdc.log"
        verdict FAIL "MC/DC: $out/mcdc.log"
    fi
}

# Inputs to begin with: the fuzzer's own are short for long.
seeds() {
    mkdir -p "$out/corpus"
    cp "$here"/seeds/* "$out/corpus/" 2>/dev/null
}

fuzz_result() { # what fuzzed, its status, its log
    find="$(ls "$out"/crash-* "$out"/timeout-* "$out"/oom-* 2>/dev/null | head -n 1)"
    if [ "$2" -eq 0 ] && [ -z "$find" ]; then
        verdict ok "$1"
        return
    fi
    grep -E 'fuzz.c|panic|ERROR|runtime error' "$3" | head -n 5
    verdict FAIL "$1: kept: $find; replay: sh kernel-test/fuzz $find"
}

fuzz() {
    tables
    if have clang && clang $FLAGS -DMM_DEBUG=1 -O1 -fsanitize=fuzzer,undefined -fno-sanitize-recover=undefined \
        $SOURCES $WRAP -o "$out/fuzz" >"$out/fuzz.log" 2>&1; then
        seeds
        "$out/fuzz" -seed=1 -max_total_time="$FUZZ_SECONDS" -max_len=1024 -len_control=0 -timeout=60 \
            -artifact_prefix="$out/" "$out/corpus" >"$out/fuzz.log" 2>&1
        status=$?
        fuzz_result "fuzz: libFuzzer, $FUZZ_SECONDS s: $(sed -n 's/^Done \([0-9]*\) runs.*/\1 inputs/p' "$out/fuzz.log")$(
            sed -n 's/^#.*DONE *\(cov: [0-9]*\).*/, \1 edges/p' "$out/fuzz.log")" "$status" "$out/fuzz.log"
        return
    fi
    verdict skip 'fuzz by coverage: no clang with libFuzzer: apt-get install clang libclang-rt-14-dev'
    ${CC:-gcc} $FLAGS -DMM_DEBUG=1 -DFUZZ_ALONE -O1 $SOURCES $WRAP -o "$out/fuzz" >"$out/fuzz.log" 2>&1 &&
        timeout "$((FUZZ_SECONDS + 600))" "$out/fuzz" seed=1 runs="$((FUZZ_SECONDS * 20))" \
            last="$out/last-input" >>"$out/fuzz.log" 2>&1
    status=$?
    [ "$status" -eq 0 ] || mv "$out/last-input" "$out/crash-random"
    fuzz_result "fuzz: $(tail -n 1 "$out/fuzz.log")" "$status" "$out/fuzz.log"
}

# A python3 that has z3: Debian's module is its own python's, not that of another one that comes first.
python_with_z3() {
    for python in python3 /usr/bin/python3; do
        have "$python" && "$python" -c 'import z3' 2>/dev/null && { echo "$python"; return; }
    done
}
NO_Z3='no z3 for python3: apt-get install python3-z3, or pip install z3-solver'

model() {
    python=$(python_with_z3)
    if [ -z "$python" ]; then
        verdict skip "model: $NO_Z3"
    elif "$python" kernel-test/model/inductive.py >"$out/model.log" 2>&1; then
        sed -n '/^granules/s/^/    /p' "$out/model.log"
        verdict ok "model: properties proved and wrong models refuted: $(tail -n 1 "$out/model.log")"
    else
        tail -n 10 "$out/model.log"
        verdict FAIL "model: $out/model.log"
    fi
}

# growth-log for one heap page and one frame (log2), and its log.
growth_log() {
    $MAKE -s "build/gen-$1/size_class_table.c" "build/gen-$1/size_class_count.h" || return 1
    "$compiler" -static -std=c11 -O1 -g -fno-strict-aliasing -I. -Iarch/host "-Ibuild/gen-$1" \
        "-DMM_PAGE_SHIFT=$1" "-DSH_ARCH_PAGE_SHIFT=$2" -DSH_MAX_CPUS=1 -DMM_DEBUG=1 -o "$out/growth-$1-$2" \
        $(ls mm/*.c | grep -v -e mm/gen_ -e mm/arena.c -e mm/grow.c) "build/gen-$1/size_class_table.c" \
        $here/growth_log.c || return 1
    timeout 300 "$out/growth-$1-$2" "$RUNS" 7 >"$out/growth-$1-$2.log"
}

# Runs of the real code with frames of 4, 16 and 64 KiB; then with a seam that is broken on purpose.
replay_logs() {
    for shifts in '12 12' '13 12' '13 14' '13 16'; do
        growth_log ${shifts% *} ${shifts#* } || echo "growth_log $shifts ended with an error"
    done
    for wrong in records map release twice; do
        timeout 20 "$out/growth-13-12" 10 7 "$wrong" >"$out/wrong-$wrong.log"
    done
    "$python" $here/replay.py "$out"/growth-*.log --refuse "$out"/wrong-*.log
}

replay() {
    python=$(python_with_z3) compiler=${CC_host32:-i686-linux-gnu-gcc}
    if [ -z "$python" ]; then
        verdict skip "replay: $NO_Z3"
    elif ! have "$compiler"; then
        verdict skip 'replay: no compiler for 32 bits: apt-get install gcc-i686-linux-gnu libc6-dev-i386-cross'
    elif replay_logs >"$out/replay.log" 2>&1; then
        sed -n '/^frames/s/^/    /p' "$out/replay.log"
        verdict ok "replay: runs of growth are steps of the model: $(tail -n 1 "$out/replay.log")"
    else
        grep -e FAILED -e error -e growth_log "$out/replay.log" | head -n 10
        verdict FAIL "replay: $out/replay.log"
    fi
}

for part in $PARTS; do
    case $part in
    coverage | mcdc | fuzz | model | replay) $part ;;
    *) echo "deep.sh: there is no part $part" >&2; exit 2 ;;
    esac
done
awk '
    { count[$1]++ }
    END {
        printf "%d passed, %d failed, %d skipped\n", count["ok"], count["FAIL"], count["skip"]
        exit count["FAIL"] != 0
    }' "$out/results"
