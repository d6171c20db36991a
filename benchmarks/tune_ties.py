"""How often `collbench tune` finds a winner among variants that are all the same, and finds one that is faster.

    python benchmarks/tune_ties.py --repeats 40 --out build/ties     # real runs, one after the other; 20 minutes
    python benchmarks/tune_ties.py --launches build/ties             # the launches of those dealt anew, as more repeats
    python benchmarks/tune_ties.py --simulate                        # generated launches, noisy and disturbed ones too

A repeat ties if no variant is said to be slower than any other in any case. Launches dealt anew are consecutive ones in
the order in which they were made, so that drift stays what it was, in random order within each round. With `--faster`
the times of one variant are shortened by this many percent, which should be noticed.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.analysis.tune.measured import Measured, Table
from collbench.analysis.tune.winners import race_of
from collbench.collectives.records.tuning import REFERENCE

SAME = ("same_a", "same_b")
# Of a launch, of a case in it, share of launches that take long, and how many times more the last variant scatters.
NOISES = {"quiet": (0.02, 0.03, 0.0, 1), "usual": (0.05, 0.08, 0.0, 1), "noisy": (0.15, 0.25, 0.0, 1),
          "disturbed": (0.05, 0.08, 0.1, 1), "uneven": (0.05, 0.08, 0.0, 3)}


def main() -> None:
    """Measure, deal or generate, and print how many repeats tied, and how many found the one that is faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--out", type=Path, help="measure real repeats into this directory")
    parser.add_argument("--budget", type=float, default=25, help="of a real repeat, in seconds")
    parser.add_argument("--launches", type=Path, help="directory of real repeats whose launches are dealt anew")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--variants", type=int, default=4, help="of a repeat that is not real")
    parser.add_argument("--rounds", type=int, default=8, help="of a repeat that is not real")
    parser.add_argument("--faster", type=float, default=40.0, help="percent")
    options = parser.parse_args()
    if options.out:
        tables = list(measured(options.out, options.repeats, options.budget))
        print(f"real: {sum(map(tied, tables))} of {len(tables)} repeats tied; {words(tables)}")
    elif options.launches:
        pool = np.concatenate([in_order(path) for path in repeats_in(options.launches)], axis=1)
        print(f"{pool.shape[1]} launches, {pool.shape[0]} cases; launches scatter by "
              f"{100 * np.nanstd(np.diff(pool, axis=1)) / np.sqrt(2):.0f} %")
        report(lambda random: dealt(pool, options.variants, options.rounds, random), options)
    else:
        for name, noise in NOISES.items():
            print(f"{name}: ", end="")
            report(lambda random, noise=noise: generated(noise, 9, options.variants, options.rounds, random), options)


def report(make, options) -> None:
    ties = found = false = 0
    for seed in range(options.repeats):
        random = np.random.default_rng(seed)
        log_s = make(random)
        ties += not race_of(table_of(log_s)).faster.any()
        log_s[:, 1] -= np.log1p(options.faster / 100)
        race = race_of(table_of(log_s))
        found += race.faster[:, 1, 0].mean()
        false += bool(race.faster[:, [0, *range(2, options.variants)]][:, :, [0, *range(2, options.variants)]].any())
    print(f"{ties} of {options.repeats} repeats tied; one of {options.variants} that is {options.faster:.0f} % faster "
          f"was found in {100 * found / options.repeats:.0f} % of the cases, with {false} false statements")


def table_of(log_s) -> Table:
    return Table(pd.DataFrame(index=range(len(log_s))), tuple(map(str, range(log_s.shape[1]))), log_s)


def dealt(pool, variants: int, rounds: int, random):
    """[cell, variant, round] consecutive launches from a random start, each round in random order."""
    needed = variants * rounds
    begin = random.integers(0, pool.shape[1] - needed + 1)
    blocks = pool[:, begin:begin + needed].reshape(len(pool), rounds, variants)
    return np.stack([blocks[:, at, random.permutation(variants)] for at in range(rounds)], axis=2)


def generated(noise, cells: int, variants: int, rounds: int, random):
    whole, own, disturbed, uneven = noise
    drift = np.cumsum(random.normal(0, 0.03, rounds))
    launch = random.normal(0, whole, (variants, rounds)) + np.where(
        random.random((variants, rounds)) < disturbed, np.log(2), 0.0)
    scale = own * np.exp(random.normal(0, 0.5, (cells, 1, 1)))
    more = np.where(np.arange(variants) == variants - 1, uneven, 1)[:, None]
    return (random.normal(0, scale, (cells, variants, rounds)) + launch) * more + drift


def measured(out: Path, repeats: int, budget_s: float) -> Iterator[Table]:
    for number in range(repeats):
        path = out / f"{number:02d}"
        if not (path / "launches.jsonl").exists():
            same = [word for name in SAME for word in ("--variant", f"{name}:COLLBENCH_SAME={name}")]
            subprocess.run([sys.executable, "-m", "collbench", "tune", "--transport", "mpi", "--ranks", "2", "--ops",
                            "all_reduce", "--sizes", "1K,32K,1M", "--variants", "none", *same, "--budget",
                            str(budget_s), "--no-rules", "--out", str(path)], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        table = Measured.read(path).table()
        assert table is not None
        assert table.variants == (REFERENCE, *SAME)
        yield table


def repeats_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/tune.json"))


def in_order(path: Path):
    """[cell, launch] logarithms of times, in the order of the launches."""
    found = Measured.read(path)
    points = found.points()
    wide = points.assign(launch=points["launch"]).pivot_table(index=["ranks", "message_bytes"],
                                                              columns=["round", "variant"], values="time_s")
    order = [(launch.round, next(iter(launch.variants.values()))) for launch in found.launches]
    return np.log(wide[[key for key in order if key in wide.columns]].to_numpy())


def tied(table: Table) -> bool:
    return not race_of(table).faster.any()


def words(tables: list[Table]) -> str:
    rounds = [table.log_s.shape[2] for table in tables]
    spread = np.median([np.nanstd(np.diff(table.log_s, axis=2)) / np.sqrt(2) for table in tables])
    return f"{min(rounds)} to {max(rounds)} rounds each, launches scatter by {100 * spread:.0f} %"


if __name__ == "__main__":
    main()
