# Lines and branches that ran, from the text of `gcov -t -b -c`, over all objects and builds: one that
# ran anywhere ran.  Read first: the list of what is not expected to run (marked=1 before its name).
#
#   awk -v bar=95 -v list=FILE -f coverage.awk marked=1 not-reached.txt marked=0 gcov.txt …
#
# Prints a table for arch and mm; what did not run, and is not marked, goes to `list`.  Ends with 1 if mm
# has less than `bar` percent of either, or if a mark fits nothing.

function part(hit, all) { return all == 0 ? 100 : 100 * hit / all }

function marked_line(key,    m) {
    for (m = 1; m <= marks; m++)
        if (index(key, mark_file[m] ":") == 1 && index(text[key], mark_text[m]) > 0) {
            mark_used[m] = 1
            return 1
        }
    return 0
}

function row(name, lh, l, bh, b, left) {
    printf "    %-26s %5d of %5d  %5.1f %%   %5d of %5d  %5.1f %%   %4d\n", \
        name, lh, l, part(lh, l), bh, b, part(bh, b), left
}

marked {
    if ($0 == "" || $0 ~ /^#/)
        next
    at = index($0, " | ")
    mark_file[++marks] = substr($0, 1, at - 1)
    mark_text[marks] = substr($0, at + 3)
    next
}

# branch  1 taken 5 (fallthrough), branch  2 never executed
/^branch / {
    if (key == "")
        next
    if ($4 == "executed" || $3 == "never")
        branch[key, $2] += 0
    else
        branch[key, $2] += $4
    if ($2 >= branches[key])
        branches[key] = $2 + 1
    next
}

/^(call|function|unconditional) / { next }

{
    count = $1
    sub(/:.*/, "", count)
    line = $0
    sub(/^[^:]*: */, "", line)
    number = line
    sub(/:.*/, "", number)
    if (line ~ /^0:Source:/) {
        file = line
        sub(/^0:Source:/, "", file)
        sub(/^\.\//, "", file)
    }
    key = ""
    if (number !~ /^[0-9]+$/ || number == 0 || $1 == "-:" || file !~ /^(mm|arch)\//)
        next
    key = file ":" number
    sub(/^[0-9]*:/, "", line)
    sub(/\*$/, "", count)
    if (!(key in text)) {
        text[key] = line
        order[++keys] = key
        files[file] = 1
        in_file[key] = file
    }
    runs[key] += count ~ /^[0-9]/ ? count : 0
}

END {
    for (i = 1; i <= keys; i++) {
        key = order[i]
        f = in_file[key]
        missing = runs[key] == 0 ? 1 : 0
        not_taken = ""
        for (j = 0; j < branches[key]; j++)
            if ((key, j) in branch && branch[key, j] == 0)
                not_taken = not_taken " " j
        if ((missing || not_taken != "") && marked_line(key)) {
            left[f]++
            continue
        }
        lines[f]++
        lines_hit[f] += !missing
        for (j = 0; j < branches[key]; j++)
            if ((key, j) in branch) {
                all_branches[f]++
                taken[f] += branch[key, j] > 0
            }
        if (missing)
            print key ": never ran: " text[key] > list
        else if (not_taken != "")
            print key ": branch" not_taken " of " branches[key] ": " text[key] > list
    }
    printf "    %-26s %s\n", "", "     lines                branches         marked"
    sort = "sort"
    for (f in files) {
        split(f, path, "/")
        d = path[1]
        sums[d, 1] += lines_hit[f]; sums[d, 2] += lines[f]
        sums[d, 3] += taken[f]; sums[d, 4] += all_branches[f]; sums[d, 5] += left[f]
        printf "    %-26s %5d of %5d  %5.1f %%   %5d of %5d  %5.1f %%   %4d\n", f, lines_hit[f], lines[f], \
            part(lines_hit[f], lines[f]), taken[f], all_branches[f], part(taken[f], all_branches[f]), \
            left[f] | sort
    }
    close(sort)
    row("all of arch", sums["arch", 1], sums["arch", 2], sums["arch", 3], sums["arch", 4], sums["arch", 5])
    row("all of mm", sums["mm", 1], sums["mm", 2], sums["mm", 3], sums["mm", 4], sums["mm", 5])
    for (m = 1; m <= marks; m++)
        if (!mark_used[m]) {
            print "    this mark fits nothing: " mark_file[m] " | " mark_text[m]
            bad = 1
        }
    if (part(sums["mm", 1], sums["mm", 2]) < bar || part(sums["mm", 3], sums["mm", 4]) < bar)
        bad = 1
    exit bad
}
