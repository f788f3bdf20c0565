#!/usr/bin/env python3
"""Growth as a transition system, proved by induction with z3.

The arena model (explore.c) runs the real code in a tiny address space; this is a hand-made model of
mm/grow.c in the whole of 2^32, where sizes, addresses and answers are arbitrary.  Each property is
proved from an arbitrary state that satisfies the invariant, for one step of each kind, so for runs of any
length.  One ghost granule p, at any address, stands for every granule.  What ties it to the code: port.c
and check.c check these properties in every state that the real code reaches in the arena model, and
kernel-test/deep/replay.py replays runs of the real code in 2^32 as steps of this model.

    state   base, size, mapped      the remainder (mm/grow.c: current)
            low, high               bounds of all heap pages, last byte
            any                     something was published
            of p: reserved, owned, prepared, recorded, times it was mapped

    steps   adopt    reserve answers q for n bytes: refused, at the end of the remainder, or anywhere that
                     is not reserved yet; released again when records or the old remainder fail
            publish  a piece inside one chunk: records, map, bounds and counters; each may fail

Run by hand, python3 kernel-test/model/inductive.py, with z3's module (Debian: python3-z3).  Ends with
`N passed, N failed`: properties for three granules, and controls, models that are wrong in a known way and
must be refuted.
"""
import sys
import time

try:
    import z3
except ImportError:
    print("no z3 for this python3: apt-get install python3-z3 and use /usr/bin/python3; skipped")
    sys.exit(0)

W = 33  # one bit more than an address: sums are exact, and may be compared with 2^32
TOP = z3.BitVecVal(1 << 32, W)
CHUNK = 1 << 22
NUMBERS = ("base", "size", "mapped", "low", "high", "times")
FLAGS = ("any", "reserved", "owned", "prepared", "recorded")


def le(a, b):
    return z3.ULE(a, b)


def lt(a, b):
    return z3.ULT(a, b)


def number(value):
    return z3.BitVecVal(value, W)


class State:
    def __init__(self, name):
        for field in NUMBERS:
            setattr(self, field, z3.BitVec(f"{name}.{field}", W))
        for field in FLAGS:
            setattr(self, field, z3.Bool(f"{name}.{field}"))

    def same(self, new, **changes):
        """The next state is this one but for the changes.  A record is never taken back, and may be there
        sooner: it serves a whole arena, and stays when the rest of a step fails."""
        return z3.And([getattr(new, f) == changes.get(f, getattr(self, f))
                       for f in NUMBERS + FLAGS if f != "recorded"]
                      + [z3.Implies(changes.get("recorded", self.recorded), new.recorded)])


def inside(p, base, size):
    return z3.And(le(base, p), lt(p, base + size))


def properties(s, p, granule):
    """Name, meaning, formula.  Their conjunction is the invariant."""
    mask = number(granule - 1)
    rest = inside(p, s.base, s.size)
    fresh = inside(p, s.base + s.mapped, s.size - s.mapped)
    return [
        ("P1", "the remainder is whole granules", z3.And(s.base & mask == 0, s.size & mask == 0)),
        ("P2", "it does not wrap", z3.And(lt(s.base, TOP), le(s.size, TOP), le(s.base + s.size, TOP))),
        ("P3", "its end is no object's end at 2^32", z3.Implies(s.size != 0, lt(s.base + s.size, TOP))),
        ("P4", "what is mapped of it is a part of it", z3.And(le(s.mapped, s.size), s.mapped & mask == 0)),
        ("P5", "what is in it is reserved", z3.Implies(rest, s.reserved)),
        ("P6", "nothing is published and in it", z3.Not(z3.And(rest, s.owned))),
        ("P7", "what is published is reserved", z3.Implies(s.owned, s.reserved)),
        ("P8", "what is published is mapped", z3.Implies(s.owned, s.prepared)),
        ("P9", "what is published has its record", z3.Implies(s.owned, s.recorded)),
        ("P10", "the bounds hold all that is published",
         z3.Implies(s.owned, z3.And(s.any, le(s.low, p), le(p + (granule - 1), s.high)))),
        ("P11", "nothing is mapped twice", s.times == z3.If(s.prepared, number(1), number(0))),
        ("P12", "what is said to be mapped is, and no more",
         z3.And(z3.Implies(inside(p, s.base, s.mapped), s.prepared), z3.Implies(fresh, z3.Not(s.prepared)))),
        ("P13", "nothing is lost: reserved is in the remainder, published, or the last granule",
         z3.Implies(s.reserved, z3.Or(rest, s.owned, p == TOP - granule))),
        ("P14", "what is not reserved is not mapped", z3.Implies(z3.Not(s.reserved), z3.Not(s.prepared))),
        ("P15", "the bounds are bounds", z3.Implies(s.any, z3.And(le(s.low, s.high), lt(s.high, TOP)))),
        ("P16", "page 0 is never had",
         z3.And(z3.Implies(s.reserved, p != 0), z3.Implies(s.size != 0, s.base != 0))),
    ]


def publish(s, n, p, granule, wrong):
    """One piece, as far as it comes: the records, then the map, then the rest."""
    piece, records, mapped = z3.BitVec("piece", W), z3.Bool("records"), z3.Bool("mapped")
    room = number(CHUNK) - (s.base & (CHUNK - 1))
    here = inside(p, s.base, piece)
    new = z3.And(here, le(s.base + s.mapped, p))
    done = z3.And(records, mapped)
    widened = {
        "low": z3.If(z3.And(s.any, le(s.low, s.base)), s.low, s.base),
        "high": z3.If(z3.And(s.any, le(s.base + piece - 1, s.high)), s.high, s.base + piece - 1),
        "any": z3.BoolVal(True),
    }
    if wrong == "one variable for bound and bump":
        widened["high"] = s.base + piece - 1
    if wrong == "records only above the bound":
        here_recorded = z3.And(here, z3.Or(z3.Not(s.any), lt(s.high, s.base + piece - 1)))
    else:
        here_recorded = here
    if wrong == "published before it is mapped":
        published = records
    else:
        published = done
    twice = here if wrong == "what is mapped is forgotten" else new
    changes = {f: z3.If(published, value, getattr(s, f)) for f, value in widened.items()}
    moved = z3.Bool("moved before") if wrong == "moves on though it failed" else published
    changes.update(
        base=z3.If(moved, s.base + piece, s.base), size=z3.If(moved, s.size - piece, s.size),
        mapped=z3.If(moved, z3.If(le(piece, s.mapped), s.mapped - piece, number(0)),
                     z3.If(z3.And(done, lt(s.mapped, piece)), piece, s.mapped)),
        recorded=z3.Or(s.recorded, z3.And(records, here_recorded)),
        prepared=z3.Or(s.prepared, z3.And(done, twice)),
        times=s.times + z3.If(z3.And(done, twice), number(1), number(0)),
        owned=z3.Or(s.owned, z3.And(published, here)))
    legal = [s.size != 0, piece == z3.If(lt(s.size, room), s.size, room)]
    return z3.And(legal + [s.same(n, **changes)])


def adopt(s, n, p, granule, wrong):
    """A range [q, q + r) that reserve gave; taken, or released as it came."""
    q, r, taken = z3.BitVec("q", W), z3.BitVec("r", W), z3.Bool("taken")
    mask = number(granule - 1)
    end = s.base + s.size
    here = inside(p, q, r)
    extends = q == end if wrong != "anything above extends" else le(end, q)
    unused = z3.If(q + r == TOP, number(granule), number(0))
    if wrong == "the last granule is used":
        unused = number(0)
    legal = [
        q & mask == 0, r & mask == 0, r != 0, q != 0, le(q, TOP), le(r, TOP), le(q + r, TOP), lt(q, TOP),
        z3.Or(le(q + r, s.base), le(end, q), s.size == 0),   # the port gives nothing twice
        z3.Implies(here, z3.Not(s.reserved)),
    ]
    if wrong != "the old remainder is forgotten":
        legal.append(z3.Implies(taken, z3.Or(extends, s.size == 0)))  # publish steps came first
    stays = z3.And(taken, extends)
    changes = dict(
        base=z3.If(taken, z3.If(extends, s.base, q), s.base),
        size=z3.If(taken, z3.If(extends, s.size, number(0)) + r - unused, s.size),
        mapped=z3.If(z3.And(taken, z3.Not(stays)), number(0), s.mapped),
        reserved=z3.Or(s.reserved, z3.And(taken, here)))
    if wrong == "a refused range is kept":
        changes["reserved"] = z3.Or(s.reserved, here)
    return z3.And(legal + [s.same(n, **changes)])


def first(s):
    zero = z3.And([getattr(s, f) == 0 for f in NUMBERS])
    return z3.And(zero, z3.Not(z3.Or([getattr(s, f) for f in FLAGS])))


def refute(granule, wrong=None):
    """The properties that do not hold after one step, name and meaning; with `wrong`, the first.  A proof that
    does not end in time is none, a counterexample that is not found in time neither."""
    s, n, p = State("s"), State("n"), z3.BitVec("p", W)
    ghost = z3.And(p & number(granule - 1) == 0, lt(p, TOP))
    before = z3.And([f for _, _, f in properties(s, p, granule)])
    steps = [first(n), z3.And(before, publish(s, n, p, granule, wrong)),
             z3.And(before, adopt(s, n, p, granule, wrong))]
    failed = []
    for name, meaning, formula in properties(n, p, granule):
        for step in steps:
            solver = z3.SolverFor("QF_BV")
            solver.set("timeout", 120000)
            solver.add(ghost, step, z3.Not(formula))
            answer = solver.check()
            if answer == z3.sat or (answer == z3.unknown and not wrong):
                failed.append((name, meaning))
                break
        if failed and wrong:
            break
    return failed


CONTROLS = ("one variable for bound and bump", "records only above the bound", "published before it is mapped",
            "what is mapped is forgotten", "moves on though it failed", "anything above extends",
            "the last granule is used", "the old remainder is forgotten", "a refused range is kept")


def main():
    passed = failed = 0
    for shift in (12, 14, 16):
        start = time.time()
        broken = refute(1 << shift)
        names = properties(State("s"), z3.BitVec("p", W), 1 << shift)
        for name, meaning in broken:
            print(f"FAILED {1 << shift - 10} KiB: {name}, {meaning}")
        passed += len(names) - len(broken)
        failed += len(broken)
        print(f"granules of {1 << shift - 10} KiB: {len(names) - len(broken)} of {len(names)} properties proved, "
              f"{time.time() - start:.1f} s", flush=True)
    for wrong in CONTROLS:
        start = time.time()
        broken = refute(1 << 16, wrong)
        passed += bool(broken)
        failed += not broken
        print(f"{'refuted' if broken else 'FAILED: not refuted'}: {wrong}"
              f"{' by ' + broken[0][0] if broken else ''}, {time.time() - start:.1f} s", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
