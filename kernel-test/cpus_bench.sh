#!/bin/sh
# What marking costs when several CPUs do it, by callgrind: lines  bench gc/<graph>-cpus-<n> <value> instructions
#
#   cpus_bench.sh PROGRAM [PREFIX]
#
# Counted: all functions of gc/mark.c, gc/team.c and gc/work.c, an object; not those in which a CPU waits.
set -u

program=$1
prefix=${2:-}
out=${program%/*}/callgrind

command -v valgrind >/dev/null || { echo 'cpus_bench.sh: no valgrind: left out' >&2; exit 0; }
for graph in list tree hash shuffled; do
    for cpus in 1 2 4; do
        case " gc/$graph-cpus-$cpus $graph-cpus-$cpus" in *" $prefix"*) ;; *) continue ;; esac
        said=$(valgrind --tool=callgrind --fair-sched=yes --callgrind-out-file="$out" "$program" $graph $cpus \
            2>"$out.log") || { cat "$out.log" >&2; exit 1; }
        callgrind_annotate --threshold=100 --auto=no "$out" | awk -v said="$said" -v name="gc/$graph-cpus-$cpus" '
            /gc\/(mark|team|work)\.c:/ {
                count = $1; gsub(",", "", count)
                if ($0 ~ /:wait_for/) waited += count; else worked += count
            }
            END {
                split(said, word, " ")
                printf "bench %s %.1f instructions   (%d CPUs marked)\n", name, worked / word[1], word[3]
            }'
    done
done
rm -f "$out" "$out.log"
