"""False-alarm and detection rates of `collbench compare`, on real repeats on this machine.

Launches of the same measurement are dealt alternately to two sides, as one would interleave them: any case that
`compare` calls slower or faster is a false alarm. Then all times of one side are multiplied by a factor, which should
be detected. Every try deals other launches of the pool, so tries are not independent. Both comparisons are tested:
unpaired, and as pairs of neighbouring launches (`--paired`).

    python benchmarks/compare_alarms.py --launches 60 --each 1 3 8 12 20      # on this machine; about 8 minutes
    python benchmarks/compare_alarms.py --simulate                            # launches with a known difference
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from collbench.analysis.compare import Comparison, Match, Side, compare, match
from collbench.analysis.compare.sides import KEY
from collbench.analysis.frames.load import Loaded, load

OPS = "all_reduce,all_gather,all_to_all,send_recv"
SIZES = "64,4K,64K,1M"
FAILURES = 5
GATE_OPS, GATE_SIZES = ("all_reduce",), (1 << 16, 1 << 20)


def main() -> None:
    """Measure or read the pool, deal it, print both rates for the whole table and for named cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, help="directory of repeats, instead of measuring them now")
    parser.add_argument("--launches", type=int, default=40, help="repeats to measure")
    parser.add_argument("--each", type=int, nargs="+", default=[1, 3, 8, 12], help="launches per side")
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--slower", type=float, default=10.0, help="planted slowdown, percent")
    parser.add_argument("--simulate", action="store_true", help="generated launches instead of measured ones")
    options = parser.parse_args()
    if options.simulate:
        simulate(options.each, options.tries, options.slower / 100)
        return
    with TemporaryDirectory() as folder:
        pool = options.pool or measure(Path(folder), options.launches)
        launches = [load(path.parent) for path in sorted(pool.glob("*/journal.jsonl"))]
    print(f"{len(launches)} launches of {OPS} of {SIZES}")
    print(f"{'launches':>8} {'cases':>6} {'pairs':>6} {'false alarms':>14} {'tries detected':>14} {'detected':>12} "
          f"{'same':>10}")
    for each in options.each:
        for ops, sizes in (((), ()), (GATE_OPS, GATE_SIZES)):
            for paired in (False, True) if each > 1 else (False,):
                alarms = detected = cases = slower = same = 0
                for a, b in deals(launches, each, options.tries):
                    unchanged = compare(match(a, b, ops, sizes, paired))
                    alarms += bool(differing(unchanged))
                    same += int((unchanged.rows["verdict"] == "same").sum())
                    planted = compare(match(a, slowed(b, options.slower / 100), ops, sizes, paired))
                    slow = int((planted.rows["verdict"] == "slower").sum())
                    detected, slower, cases = detected + bool(slow), slower + slow, cases + len(planted.rows)
                print(f"{each:>8} {cases // options.tries:>6} {'yes' if paired else 'no':>6} "
                      f"{f'{alarms} of {options.tries}':>14} {f'{detected} of {options.tries}':>14} "
                      f"{slower / cases:>12.0%} {same / cases:>10.0%}", flush=True)


# Standard deviations of the logarithm: of a whole launch, of a case in a launch, of the drift per launch; share of
# launches that are disturbed and take twice as long.
MACHINES = {"quiet": (0.01, 0.01, 0.0, 0.0), "usual": (0.02, 0.03, 0.0, 0.0), "noisy": (0.04, 0.06, 0.0, 0.0),
            "drifting": (0.02, 0.03, 0.04, 0.0), "disturbed": (0.02, 0.03, 0.0, 0.1)}
SIMULATED_CASES = (4, 20)


def simulate(launches: list[int], tries: int, slower: float) -> None:
    """Print a table of false alarms and detected cases on machines of known scatter."""
    print(f"{tries} tries; planted: all cases {slower:.0%} slower\n")
    print("| machine | cases | launches per side | false alarms | detected | paired: false alarms | detected |")
    print("|---|---|---|---|---|---|---|")
    for name, machine in MACHINES.items():
        for cases in SIMULATED_CASES:
            for each in launches:
                rng, shares = np.random.default_rng(1), []
                for paired in (False, True):
                    unchanged = [compare(generated(rng, each, cases, machine, 0.0, paired)) for _ in range(tries)]
                    planted = [compare(generated(rng, each, cases, machine, slower, paired)) for _ in range(tries)]
                    shares += [np.mean([differing(one) > 0 for one in unchanged]),
                               np.mean([(one.rows["verdict"] == "slower").mean() for one in planted])]
                print(f"| {name} | {cases} | {each} | " + " | ".join(f"{share:.0%}" for share in shares) + " |",
                      flush=True)


def generated(rng: np.random.Generator, each: int, cases: int, machine: tuple[float, float, float, float],
            slower: float, paired: bool) -> Match:
    """Launches of two sides, alternating (A, B, A, B ...), in the form that `match` returns."""
    shift, own, drift, disturbed = machine
    launches = 2 * each
    log_s = rng.normal(0, shift, launches) + np.cumsum(rng.normal(0, drift, launches)) + rng.normal(
        0, own, (cases, launches)) + np.log(2) * (rng.random(launches) < disturbed)
    log_s[:, 1::2] += np.log1p(slower)
    case, launch = np.divmod(np.arange(cases * launches), launches)
    points = pd.DataFrame({**dict.fromkeys(KEY), "op": [f"case {number}" for number in case], "mode": "isolated",
                           "fabric": "generated", "label": [f"case {number}" for number in case], "asked_bytes": 1,
                           "side": np.where(launch % 2, "b", "a"), "time_s": np.exp(log_s.ravel()),
                           "launch": [f"{'ab'[number % 2]}{number // 2}.0" for number in launch], "sampling": 0.0})
    return Match(points, (), (), (0, 0), (), paired=paired)


def measure(folder: Path, count: int) -> Path:
    """Measure the same cases in `count` launches, one process tree each; a failed launch is reported and repeated."""
    failed = 0
    for number in range(count):
        words = ["run", "--transport", "mpi", "--ranks", "2", "--ops", OPS, "--sizes", SIZES, "--group-ranks", "2",
                 "--place", "out", "--case-seconds", "0.05", "--out", str(folder / f"{number:03}")]
        while (done := subprocess.run([str(Path(sys.executable).parent / "collbench"), *words], capture_output=True,
                                      text=True, check=False)).returncode:
            failed += 1
            print(f"launch {number}: exit status {done.returncode}; repeated", file=sys.stderr)
            if failed > FAILURES:
                sys.exit(f"{failed} launches failed; this machine cannot measure false alarms")
            shutil.rmtree(folder / f"{number:03}", ignore_errors=True)
    return folder


def deals(launches: list[Loaded], each: int, tries: int) -> Iterator[tuple[Side, Side]]:
    """Two sides of `each` launches: of every two neighbours in time, one goes to each side at random."""
    rng = np.random.default_rng(1)
    for _ in range(tries):
        starts = np.sort(rng.choice(len(launches) // 2, size=min(each, len(launches) // 2), replace=False)) * 2
        first = rng.integers(0, 2, size=len(starts))
        yield (Side("A", tuple(launches[at + toss] for at, toss in zip(starts, first, strict=True))),
               Side("B", tuple(launches[at + 1 - toss] for at, toss in zip(starts, first, strict=True))))


def slowed(side: Side, share: float) -> Side:
    """`side` with every time longer by the fraction `share`."""
    times = ["time_s", "time_lo_s", "time_hi_s", "rank_mean_s"]
    return Side(side.name, tuple(replace(loaded, points=loaded.points.assign(
        **{name: loaded.points[name] * (1 + share) for name in times})) for loaded in side.launches))


def differing(comparison: Comparison) -> int:
    """Number of cases called slower or faster."""
    return int(comparison.rows["verdict"].isin(["slower", "faster"]).sum())


if __name__ == "__main__":
    main()
