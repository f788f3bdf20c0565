#!/bin/sh
# Runs test commands, two at a time, and adds up what they say.
#
#   run-tests.sh DIRECTORY < list      a line a run:  label | command
#
# Every run must end with a line "… N passed, N failed".  One that does not (a crash, a hang that its time
# limit ended) counts as one failure, and its last lines are shown.
set -u

directory=$1
mkdir -p "$directory"
rm -f "$directory"/*.log "$directory"/*.status
jobs=${JOBS:-2}

# One run: log, status, and its line as soon as it is over.
run() {
    label=$1 log=$directory/$2.log
    start=$(date +%s)
    sh -c "$3" >"$log" 2>&1 </dev/null
    status=$?
    counts=$(sed -n 's/^.*[^0-9]\([0-9][0-9]* passed, [0-9][0-9]* failed\).*$/\1/p' "$log" | tail -n 1)
    if [ -z "$counts" ]; then
        counts="0 passed, 1 failed"
        status=1
        echo "--- $label did not end: the last lines of $log"
        tail -n 15 "$log"
    elif [ "$status" -ne 0 ] || [ "${counts#*passed, }" != "0 failed" ]; then
        echo "--- $label"
        grep -A 8 -E 'FAIL|panic|trace:|qemu.sh:' "$log" | head -n 40
        [ "${counts#*passed, }" != "0 failed" ] || counts="${counts%,*}, 1 failed"
    fi
    printf '%-34s %s  (%s s)\n' "$label" "$counts" $(($(date +%s) - start))
    # How much was tried.
    grep -aE '^ *(failure|misuse|kasan|arena model|interleavings): .*[0-9]' "$log" | sed 's/^ */    /'
    echo "$counts" >"$directory/$2.status"
}

number=0
while IFS='|' read -r label command; do
    [ -n "$command" ] || continue
    number=$((number + 1))
    run "$(echo "$label" | sed 's/ *$//')" "$number" "$command" &
    running="${running:-} $!"
    set -- $running
    if [ $# -ge "$jobs" ]; then
        wait "$1"
        shift
        running=$*
    fi
done
wait

cat "$directory"/*.status 2>/dev/null | awk '
    { passed += $1; failed += $3; runs++ }
    END {
        if (runs == 0 || passed == 0) failed++
        printf "%d passed, %d failed\n", passed, failed
        exit failed != 0
    }'
