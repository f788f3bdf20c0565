#!/bin/sh
# Runs models, one after the other, and adds up what they say.
#
#   model.sh program …
#
# One that does not end with "N passed, N failed" counts as a failure.
set -u

for model; do
    "$model" || echo "$model ends with $?"
    echo "end of $model"
done | awk '
    / passed, .* failed$/ { passed += $1; failed += $3; counted = 1; next }
    /^end of / { failed += !counted; counted = 0; next }
    { print; fflush() }
    / transitions, / { for (i = 2; i <= NF; i++) if ($i == "transitions,") transitions += $(i - 1) }
    END {
        printf "arena model: %d transitions, %d passed, %d failed\n", transitions, passed, failed
        exit failed != 0 || passed == 0
    }'
