#!/bin/sh
# Spanheap on this machine beside other allocators and collectors: lines
#
#     peers <suite>/<load> <peer> <ratio> <value> <unit> …
#
# ratio = its time ÷ Spanheap's; above 1 it is slower.  All take turns, REPEATS times; the least time of
# each counts.  Collectors: also the longest pause, how many there were, and resident memory.
#
#     spanheap            built for one CPU: no locks, as the others' single-threaded paths
#     spanheap8           the default build, for 8 CPUs
#     glibc mimalloc jemalloc tcmalloc   thread-safe; masks and misuse checks none have
#     spanheap-exact      objects with types; `spanheap` and libgc are conservative
#     spanheap-steps      in steps, with write barriers
#     spanheap-default    as `spanheap`, with the default pace
#     libgc go            with one marker thread; with as many as it likes, and pauses by the clock
#
# How much a collector works is a matter of how much memory it is given.  libgc has its defaults; Spanheap's
# limit (sh_config.limit, its own records included) is what libgc's heap became in that program, the most of
# three runs and without libgc's records: a line `peers suite/load heap … MB` says it.  Without libgc, and as
# spanheap-default, it collects when the heap has doubled.  Go has its default, which is that too.
#
# What is not installed is left out, and said.  Environment: CC, BENCH=prefix, REPEATS=n.
set -u

here=$(dirname "$0")
CC=${CC:-cc} BENCH=${BENCH:-} REPEATS=${REPEATS:-5}
build=build/peers
mkdir -p "$build"
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
failed=0

wanted()
{
    case $1 in "$BENCH"*) return 0 ;; esac
    case ${1#*/} in "$BENCH"*) return 0 ;; esac
    return 1
}

skipped()
{
    echo "skipped: $1: apt-get install $2"
}

library()
{
    for file in /usr/lib/*/$1 /usr/lib/$1 /usr/lib64/$1 /usr/local/lib/$1; do
        [ ! -r "$file" ] || { echo "$file"; return; }
    done
}

FLAGS="-O2 -std=c11 -fno-strict-aliasing -iquote . -Wall -Wextra -Werror"

# The time of each peer on one load: a line "peer value rest".
run_malloc()
{
    echo "spanheap $(build/host-up/peer-malloc "$1")"
    echo "spanheap8 $(build/host/peer-malloc "$1")"
    echo "glibc $("$build/peer-malloc" "$1")"
    for peer in mimalloc jemalloc tcmalloc; do
        eval "file=\$$peer"
        [ -z "$file" ] || echo "$peer $(LD_PRELOAD=$file "$build/peer-malloc" "$1")"
    done
}

# Steps begin when the heap has doubled, whatever the limit: so they run without one.  Spanheap's pause is
# while the world stands; the rest of the last sweep, which a whole collection finishes before, is in the time.
# The pause is the shortest of the repeats, their number and the memory are of the fastest one.

# libgc's heap after a program, in bytes: it depends on where the stack lies.
heap_of()
{
    for i in 1 2 3; do GC_MARKERS=1 "$libgc" "$1" heap 2>&1; done | sort -n | tail -1
}

with_heap()
{
    if [ -n "$heap" ]; then PEER_HEAP=$heap "$@"; else "$@"; fi
}

run_gcwork()
{
    echo "spanheap $(with_heap build/host-up/peer-spanheap "$1")"
    echo "spanheap-exact $(with_heap build/host-up/peer-spanheap "$1" exact)"
    case $1 in
    mark-*) ;;
    *)
        echo "spanheap-steps $(build/host-up/peer-spanheap "$1" steps)"
        [ -z "$heap" ] || echo "spanheap-default $(build/host-up/peer-spanheap "$1")"
        ;;
    esac
    [ -z "$libgc" ] || echo "libgc $(GC_MARKERS=1 "$libgc" "$1")"
    [ -z "$go" ] || echo "go $("$go" "$1")"
}

# $1 = suite, $2 = load, $3 = unit if the programs do not say it.
compare()
{
    wanted "$1/$2" || return 0
    heap=
    case $1/$2 in
    gcwork/mark-*) ;;
    gcwork/*)
        [ -z "$libgc" ] || heap=$(heap_of "$2")
        [ -z "$heap" ] || echo "peers $1/$2 heap $((heap >> 20)) MB"
        ;;
    esac
    i=0
    while [ $i -lt "$REPEATS" ]; do
        "run_$1" "$2"
        i=$((i + 1))
    done >"$out"
    awk -v line="$1/$2" -v unit="$3" '
        NF < 2 { print "peers.sh: " $1 " failed on " line > "/dev/stderr"; bad = 1; next }
        !($1 in best) { peers[++count] = $1 }
        !($1 in best) || $2 + 0 < best[$1] { best[$1] = $2 + 0; $3 = NF < 3 ? unit : $3; words[$1] = $3; rest[$1] = $0 }
        NF >= 7 && (!($1 in pause) || $4 < pause[$1]) { pause[$1] = $4 }
        END {
            for (i = 1; i <= count; i++) {
                peer = peers[i]
                printf "peers %s %s %.2f %.1f %s", line, peer, best[peer] / best["spanheap"], best[peer], words[peer]
                if (split(rest[peer], r, " ") >= 7)
                    printf ", longest of %d pauses %.3f ms, %d MB", r[6], pause[peer], r[7]
                print ""
            }
            exit bad
        }' "$out" || failed=1
}

$CC $FLAGS -Iarch/host -DPEER_MALLOC=malloc -DPEER_FREE=free -fno-builtin -o "$build/peer-malloc" \
    "$here/peer_malloc.c" "$here/bench_random.c" build/host/libspanheap.a || exit 1
mimalloc=$(library libmimalloc.so.2) jemalloc=$(library libjemalloc.so.2)
tcmalloc=$(library libtcmalloc_minimal.so.4)
[ -n "$mimalloc" ] || skipped mimalloc libmimalloc2.0
[ -n "$jemalloc" ] || skipped jemalloc libjemalloc2
[ -n "$tcmalloc" ] || skipped tcmalloc libtcmalloc-minimal4

libgc=$build/peer-libgc
if ! $CC $FLAGS -o "$libgc" "$here/peer_libgc.c" "$here/bench_random.c" -lgc 2>"$out"; then
    grep -q 'gc/gc.h: No such file\|cannot find -lgc' "$out" || { cat "$out" >&2; failed=1; }
    skipped libgc libgc-dev
    libgc=
fi
go=$build/peer-go
if ! command -v go >/dev/null; then
    skipped Go golang-go
    go=
else
    GOCACHE=$(pwd)/$build/go go build -o "$go" "$here/peer_work.go" || { failed=1; go=; }
fi

for load in pair-64 pair-1024 lifo fifo churn churn1k large frag; do
    compare malloc $load ns
done
for load in trees-16 trees-18 gcbench hash refill mark-tree mark-hash mark-shuffled; do
    compare gcwork $load ''
done
exit $failed
