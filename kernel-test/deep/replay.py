#!/usr/bin/env python3
"""Replays runs of the real growth code through the model of kernel-test/model/inductive.py.

    replay.py log … [--refuse log …]    logs of growth_log.c

Each logged step must be one that the model's transition relation allows, from the state before it to the
state after it, for every granule that the log names; and the invariant must hold of every state.  What a
step answered (a piece, a range, whether records and tables were had) is the log's: nothing is left for
the solver to choose, so each question is a formula of constants that z3 evaluates.

Then controls: one field of one step is written wrong, for every field and for steps of many runs, and
each must be refused.  After --refuse come logs of programs that were broken on purpose: each must have a
step or a state that is refused.

Prints a line a log, and at the end what was done and `N passed, N failed`.
"""
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model"))
import inductive  # noqa: E402
from inductive import FLAGS, NUMBERS, W, z3  # noqa: E402

SHARED = ("base", "size", "mapped", "low", "high", "any")
BITS = {"reserved": 1, "owned": 2, "prepared": 4, "recorded": 8}
TIMES = 16


class Model:
    """The model's formulas for one granule size, with variables to be replaced by what a log says."""

    def __init__(self, granule):
        self.s, self.n, self.p = inductive.State("s"), inductive.State("n"), z3.BitVec("p", W)
        self.first = inductive.first(self.n)
        self.properties = [(name, formula) for name, _, formula in inductive.properties(self.n, self.p, granule)]
        self.invariant = z3.And([formula for _, formula in self.properties])
        self.steps = {"publish": inductive.publish(self.s, self.n, self.p, granule, None),
                      "adopt": inductive.adopt(self.s, self.n, self.p, granule, None)}
        self.known = {}

    def constants(self, state, ghost, bits):
        """Which variable has which value: numbers of the state, flags of the granule."""
        pairs = []
        for field in NUMBERS + FLAGS:
            if field in SHARED:
                value = state[SHARED.index(field)]
            else:
                value = bits // TIMES if field == "times" else bits & BITS[field]
            pairs.append((getattr(ghost, field), z3.BitVecVal(value, W) if field in NUMBERS
                          else z3.BoolVal(value != 0)))
        return pairs

    def holds(self, formula, pairs):
        return z3.is_true(z3.simplify(z3.substitute(formula, *pairs)))

    def answers(self, step):
        kind, values = step
        if kind == "publish":
            return [(z3.BitVec("piece", W), z3.BitVecVal(values[0], W)),
                    (z3.Bool("records"), z3.BoolVal(values[1] != 0)), (z3.Bool("mapped"), z3.BoolVal(values[2] != 0))]
        return [(z3.BitVec("q", W), z3.BitVecVal(values[0], W)), (z3.BitVec("r", W), z3.BitVecVal(values[1], W)),
                (z3.Bool("taken"), z3.BoolVal(values[2] != 0))]

    def refuses(self, step, before, after, granule):
        """Why not, or None.  Granules far from everything are alike; their answers are kept."""
        address, old, new = granule
        ask = (step, before, after, granule)
        if ask in self.known:
            return self.known[ask]
        now = self.constants(after, self.n, new) + [(self.p, z3.BitVecVal(address, W))]
        why = None
        if not self.holds(self.invariant, now):
            why = " ".join(name for name, formula in self.properties if not self.holds(formula, now))
        elif step is None:
            why = None if self.holds(self.first, now) else "not the first state"
        elif step[0] not in self.steps:
            why = "no step of the model"
        else:
            pairs = now + self.constants(before, self.s, old) + self.answers(step)
            why = None if self.holds(self.steps[step[0]], pairs) else "not a step of the model"
        self.known[ask] = why
        return why


def steps_of(lines):
    """The heap page, the frame, how the log ends, and its steps: number of run, step or None for the first
    state, numbers before, numbers after, granules."""
    build, run, step, before, found = (0, 0), 0, None, None, []
    ending = "the log does not end"
    for line in lines:
        word, *rest = line.split()
        if word in ("gave", "end"):
            ending = line.strip()
            break
        values = tuple(int(value) for value in rest)
        if word == "build":
            build = values
        elif word == "run":
            run, step, before = values[0], None, (0,) * len(SHARED)
            found.append((run, None, before, before, []))
        elif word in ("publish", "adopt", "none"):
            step = (word, values)
        elif word == "state":
            found.append((run, step, before, values, []))
            before = values
        elif word == "at":
            found[-1][4].append(values)
    return build, ending, found


def wrong_ones(entry, granule):
    """The same step with one thing wrong: numbers, and flags of a granule."""
    run, step, before, after, granules = entry
    for i, field in enumerate(SHARED):
        value = 1 - after[i] if field == "any" else (after[i] + granule) % (1 << 32)
        changed = after[:i] + (value,) + after[i + 1:]
        yield field, (run, step, before, changed, granules)
    for i, (address, old, new) in enumerate(granules):
        for field, bit in BITS.items():
            # A record more is no fault, and one that is not published yet may be lacking.
            if field != "recorded" or new & (BITS["owned"] | bit) == BITS["owned"] | bit:
                yield field, (run, step, before, after, granules[:i] + [(address, old, new ^ bit)] + granules[i + 1:])
        yield "times", (run, step, before, after, granules[:i] + [(address, old, new + TIMES)] + granules[i + 1:])


def refused(model, entry):
    _, step, before, after, granules = entry
    for granule in granules:
        why = model.refuses(step, before, after, granule)
        if why:
            return f"{why} at {granule[0]:#x}"
    return None


def controls(model, size, found, picks):
    """How many wrong steps were refused, of how many; the first that was not."""
    by_field = {}
    for entry in picks.sample(found, min(60, len(found))):
        for field, wrong in wrong_ones(entry, size):
            by_field.setdefault((field, entry[1] and entry[1][0]), []).append(wrong)
    tried = caught = 0
    missed = None
    for key, wrongs in sorted(by_field.items(), key=str):
        for wrong in picks.sample(wrongs, min(12, len(wrongs))):
            tried += 1
            if refused(model, wrong):
                caught += 1
            else:
                missed = missed or f"{key}: {wrong}"
    return caught, tried, missed


class Total:
    runs = steps = granules = wrong = broken = passed = failed = 0

    def verdict(self, good):
        self.passed += good
        self.failed += not good


def first_refusal(model, found):
    for entry in found:
        reason = refused(model, entry)
        if reason:
            return f"run {entry[0]}, {entry[1]}, {entry[2]} to {entry[3]}: {reason}"
    return None


def replay(name, lines, total):
    start = time.time()
    build, ending, found = steps_of(lines)
    size = max(build)
    model = Model(size)
    why = first_refusal(model, found)
    if why or ending != "end" or len(found) == 0:
        print(f"FAILED: {name}: {why or ending}", flush=True)
        return False
    caught, tried, missed = controls(model, size, found, random.Random(1))
    print(f"frames of {build[1] >> 10} KiB, pages of {build[0] >> 10} KiB: {summary(found, total)}; "
          f"{caught} of {tried} wrong steps refused, {time.time() - start:.1f} s", flush=True)
    total.wrong += caught
    if missed:
        print(f"FAILED: {name}: not refused: {missed}")
    return missed is None and tried != 0


def refuse(name, lines, total):
    build, _, found = steps_of(lines)
    why = first_refusal(Model(max(build)), found)
    total.broken += why is not None
    print(f"{'refused' if why else 'FAILED: not refused'}: {name}: {why}", flush=True)
    return why is not None


def summary(found, total):
    """What was replayed, by what became of it."""
    count = dict.fromkeys(("runs", "published", "no records", "no tables", "extends", "elsewhere", "released"), 0)
    granules = sum(len(at) for _, _, _, _, at in found)
    for _, step, before, _, _ in found:
        if step is None:
            count["runs"] += 1
        elif step[0] == "publish":
            count["no records" if not step[1][1] else "published" if step[1][2] else "no tables"] += 1
        else:
            end = (before[0] + before[1]) % (1 << 32)
            count["released" if not step[1][2] else "extends" if step[1][0] == end else "elsewhere"] += 1
    steps = len(found) - count["runs"]
    total.runs += count["runs"]
    total.steps += steps
    total.granules += granules
    return (f"{count['runs']} runs, {steps} steps (pieces: {count['published']} published, "
            f"{count['no records']} without records, {count['no tables']} without tables; ranges: "
            f"{count['extends']} behind the remainder, {count['elsewhere']} elsewhere, "
            f"{count['released']} released), {granules} granules")


def main(words):
    total, judge = Total(), replay
    for name in words:
        if name == "--refuse":
            judge = refuse
            continue
        try:
            with open(name) as lines:
                total.verdict(judge(name, lines, total))
        except OSError as error:
            print(f"FAILED: {error}", flush=True)
            total.verdict(False)
    print(f"{total.runs} runs, {total.steps} steps, {total.granules} granules; {total.wrong} wrong steps and "
          f"{total.broken} broken programs refused: {total.passed} passed, {total.failed} failed")
    return total.failed != 0 or total.passed == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
