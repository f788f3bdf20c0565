#!/bin/sh
# Runs test commands, as many at a time as there are CPUs, and adds up what they say.
#
#   [JOBS=n] [FILTER=suite] run-tests.sh DIRECTORY < list      a line a run:  label | command
#
# Every run must end with a line "… N passed, N failed".  One that does not (a crash, a hang that its time
# limit ended) counts as one failure, and its last lines are shown.  Without a filter they must together
# have tried as much as is promised below; each number that is too small is a failure.
set -u

directory=$1
mkdir -p "$directory"
rm -rf "$directory"/*.log "$directory"/*.status "$directory"/*.taken "$directory"/*.few
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}

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

# Takes the next run that nobody has taken, until there is none: a directory can be made once.
worker() {
    number=0
    while IFS='|' read -r label command; do
        [ -n "$command" ] || continue
        number=$((number + 1))
        mkdir "$directory/$number.taken" 2>/dev/null || continue
        run "$(echo "$label" | sed 's/ *$//')" "$number" "$command"
    done <"$directory/list"
}

cat >"$directory/list"
while [ "$jobs" -gt 0 ]; do
    worker &
    jobs=$((jobs - 1))
done
wait

# Each by one run at least.
promised() {
    echo 200 scenarios
    echo 1000000 injected failures
    echo 10000 cases
    echo 100000000 legal operations
    echo 10000000 transitions
}

if [ -z "${FILTER:-}" ]; then
    tried=$(grep -ahE '^ *(failure|misuse|arena model): ' "$directory"/*.log | tr -d ,)
    promised | while read -r least what; do
        most=$(echo "$tried" | grep -oE "[0-9]+ $what" | sort -rn | head -n 1)
        [ "${most%% *}" -ge "$least" ] 2>/dev/null || {
            echo "--- no more than ${most:-0 $what} in any run: $least are promised"
        }
    done | tee "$directory/promised.few"
fi

few=$(cat "$directory"/*.few 2>/dev/null | wc -l)
cat "$directory"/*.status 2>/dev/null | awk -v failed="$few" -v listed="$(grep -c '|.' "$directory/list")" '
    { passed += $1; failed += $3; runs++ }
    END {
        if (runs < listed || passed == 0) failed++
        printf "%d passed, %d failed\n", passed, failed
        exit failed != 0
    }'
