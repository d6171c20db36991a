"""How often does `collbench compare` cry wolf, and does it find a slowdown? Both, on real repeats on this machine.

Launches of one and the same measurement are dealt in turn to two sides, as one would interleave them: whatever
`compare` calls slower or faster in any case is a false alarm. Then one side is slowed by a factor, in its records'
samples, and should be found. Every try deals other launches of the pool, so tries are alike but not independent.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from analysis.compare import Comparison, Side, compare, match
from analysis.tidy import Loaded, load

OPS = "all_reduce,all_gather,all_to_all,send_recv"
SIZES = "64,4K,64K,1M"
GATE_OPS, GATE_SIZES = ("all_reduce",), (1 << 16, 1 << 20)


def main() -> None:
    """Make or read the pool, deal it, print the two figures for the whole table and for named cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, help="directory of repeats, instead of measuring some now")
    parser.add_argument("--launches", type=int, default=40, help="repeats to measure")
    parser.add_argument("--each", type=int, nargs="+", default=(1, 3, 8, 12), help="launches on a side")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--slower", type=float, default=10.0, help="percent")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        pool = asked.pool or measure(Path(folder), asked.launches)
        launches = [load(path.parent) for path in sorted(pool.glob("*/journal.jsonl"))]
    print(f"{len(launches)} launches of {OPS} of {SIZES}")
    print(f"{'launches':>8} {'cases':>6} {'false alarms':>14} {'planted found':>14} {'cases found':>12} "
          f"{'told same':>10}")
    for each in asked.each:
        for ops, sizes in (((), ()), (GATE_OPS, GATE_SIZES)):
            alarms = found = cases = told = same = 0
            for a, b in deals(launches, each, asked.tries):
                alike = compare(match(a, b, ops, sizes))
                alarms += bool(differing(alike))
                same += int((alike.rows["verdict"] == "same").sum())
                planted = compare(match(a, slowed(b, asked.slower / 100), ops, sizes))
                slow = int((planted.rows["verdict"] == "slower").sum())
                found, told, cases = found + bool(slow), told + slow, cases + len(planted.rows)
            print(f"{each:>8} {cases // asked.tries:>6} {f'{alarms} of {asked.tries}':>14} "
                  f"{f'{found} of {asked.tries}':>14} {f'{told / cases:.0%}':>12} {f'{same / cases:.0%}':>10}",
                  flush=True)


def measure(folder: Path, count: int) -> Path:
    """So many launches of the same cases, each a process tree of its own."""
    for number in range(count):
        words = ["run", "--transport", "mpi", "--ranks", "2", "--ops", OPS, "--sizes", SIZES, "--group-ranks", "2",
                 "--place", "out", "--case-seconds", "0.05", "--out", str(folder / f"{number:03}")]
        subprocess.run([str(Path(sys.executable).parent / "collbench"), *words], check=True, capture_output=True)
    return folder


def deals(launches: list[Loaded], each: int, tries: int) -> Iterator[tuple[Side, Side]]:
    """Two sides of `each` launches: of every two neighbours in time one goes to each side, by the toss of a coin."""
    rng = np.random.default_rng(1)
    for _ in range(tries):
        starts = np.sort(rng.choice(len(launches) // 2, size=min(each, len(launches) // 2), replace=False)) * 2
        first = rng.integers(0, 2, size=len(starts))
        yield (Side("A", tuple(launches[at + toss] for at, toss in zip(starts, first, strict=True))),
               Side("B", tuple(launches[at + 1 - toss] for at, toss in zip(starts, first, strict=True))))


def slowed(side: Side, share: float) -> Side:
    """The side with every time longer by `share`."""
    times = ["time_s", "time_lo_s", "time_hi_s", "rank_mean_s"]
    return Side(side.name, tuple(replace(loaded, points=loaded.points.assign(
        **{name: loaded.points[name] * (1 + share) for name in times})) for loaded in side.launches))


def differing(comparison: Comparison) -> int:
    """Cases called slower or faster."""
    return int(comparison.rows["verdict"].isin(["slower", "faster"]).sum())


if __name__ == "__main__":
    main()
