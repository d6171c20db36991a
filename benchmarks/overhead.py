"""Overhead of collbench's harness against a minimal timing loop over the same library, run alternately.

    python benchmarks/overhead.py [--rounds N] [--ranks N] [--only mpi|gloo]

Every round runs each program once; a result is the median over rounds of the ratio (or difference) within a round, with
its distribution-free 95 % confidence interval. Targets are in docs/measuring.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.statistics.stopping import median_ranks
from collbench.launch.job import Job
from collbench.launch.launchers import launcher_for

HERE = Path(__file__).parent
SIZES = (8, 128, 2048, 32768, 262144, 1 << 20, 4 << 20)
OPS = ("ping_pong", "all_reduce", "all_to_all")
SECONDS = 0.12
Times = dict[tuple[str, int, str], float]      # (operation, bytes, mode) -> us


def collbench(transport: str, loop: str, ranks: int) -> tuple[Times, dict[tuple[str, int], int]]:
    """Times of one launch, and the number of calls per streamed sample."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        sweep = Sweep(ops=("noop", *OPS), sizes=SIZES, ranks=(ranks,),
                      places=(False, True) if transport == "torch" else (False,))
        config = RunConfig(transport=transport, sweep=sweep, journal=journal, display="quiet",
                           policy=Policy(loop=loop, case_s=SECONDS, precision=0))
        start(launcher_for(transport).command(Job(config=config, ranks=ranks)))
        _, records, _ = read_journal(journal)
    times, calls = {}, {}
    for record in records:
        for timing in record.timings:
            key = record.case.op, record.case.bytes
            times[(*key, timing.mode)] = 1e6 * statistics.median(timing.message_s(record.case))
            calls[key] = timing.calls
    return times, calls


def mpi_launch(ranks: int) -> list[str]:
    """The command that starts `ranks` MPI ranks, without the program."""
    config = RunConfig(transport="mpi", sweep=Sweep(ops=OPS, sizes=SIZES, ranks=()), policy=Policy(),
                       journal=Path("journal.jsonl"))
    command = launcher_for("mpi").command(Job(config=config, ranks=ranks))
    return command[:command.index(sys.executable)]


def start(command: list[str]) -> str:
    """Run a command to its end; returns its output."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def parse_times(output: str) -> Times:
    """Times from lines `OP BYTES isolated_us streamed_us`."""
    times = {}
    for op, size, isolated, streamed in map(str.split, output.splitlines()):
        times[op, int(size), "isolated"], times[op, int(size), "streamed"] = float(isolated), float(streamed)
    return times


def case_arguments(calls: dict[tuple[str, int], int]) -> list[str]:
    """`OP BYTES CALLS` of every case, the arguments of the minimal loops."""
    return [str(word) for (op, size), count in calls.items() if op in OPS for word in (op, size, count)]


class CLoop:
    """The C program, compiled with the mpicc next to this Python."""

    def __init__(self, folder: Path) -> None:
        mpicc = shutil.which("mpicc", path=str(Path(sys.executable).parent)) or "mpicc"
        self.program = folder / "mpi_loop"
        subprocess.run([mpicc, "-O2", "-o", self.program, HERE / "mpi_loop.c"], check=True)

    def run(self, ranks: int, calls: dict[tuple[str, int], int]) -> Times:
        launch = mpi_launch(ranks)
        # The C program selects an operation by its first letter: p(ing_pong), r(educe), a(ll_to_all).
        words = ["reduce" if word == "all_reduce" else word for word in case_arguments(calls)]
        output = start([*launch, str(self.program), str(SECONDS), *words])
        return {("all_reduce" if op == "reduce" else op, size, mode): time
                for (op, size, mode), time in parse_times(output).items()}


def gloo_loop(ranks: int, calls: dict[tuple[str, int], int]) -> Times:
    program = [sys.executable, str(HERE / "gloo_loop.py")]
    return parse_times(start([*program, str(ranks), str(SECONDS), *case_arguments(calls)]))


def osu(ranks: int) -> Times:
    """Times of OSU's programs that are on the PATH; its all-to-all counts bytes per pair."""
    programs = {"ping_pong": "osu_latency", "all_reduce": "osu_allreduce", "all_to_all": "osu_alltoall"}
    launch, times = mpi_launch(ranks), {}
    for op, program in programs.items():
        if not shutil.which(program):
            continue
        for line in start([*launch, program, "-m", f"{SIZES[0]}:{SIZES[-1]}"]).splitlines():
            if line.strip() and not line.startswith("#"):
                size, time = line.split()[:2]
                times[op, int(size) * (ranks if op == "all_to_all" else 1), "isolated"] = float(time)
    return times


def interval(values: list[float]) -> tuple[float, float, float]:
    """Median and its 95 % confidence interval (the extremes if there are too few values for one)."""
    ordered = sorted(values)
    low, high = median_ranks(len(ordered)) or (0, len(ordered) - 1)
    return statistics.median(ordered), ordered[low], ordered[high]


def compare(ours: list[Times], theirs: list[Times], title: str, ratio: bool, target: float) -> dict:
    """Print a table of `ours` against `theirs`; returns it as data."""
    unit = "ratio" if ratio else "difference, us"
    table = Table(title=f"{title} ({unit}; target at most {target:g}; {len(ours)} rounds)", title_justify="left")
    for column in ("operation", "bytes", "mode", "minimal loop, us", unit, "95 % interval", ""):
        table.add_column(column, justify="left" if column in ("operation", "mode", "") else "right")
    rows = []
    for key in (key for key in ours[0] if key in theirs[0] and key[0] in OPS):
        pairs = [(one[key], two[key]) for one, two in zip(ours, theirs, strict=True)]
        middle, low, high = interval([a / b if ratio else a - b for a, b in pairs])
        base = statistics.median(b for _, b in pairs)
        rows.append({"op": key[0], "bytes": key[1], "mode": key[2], "base_us": base, "value": middle, "lo": low,
                     "hi": high})
        verdict = "" if middle <= target else "missed" if low > target else "over, but within the interval"
        table.add_row(key[0], str(key[1]), key[2], f"{base:.2f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}", verdict)
    Console(width=110).print(table)
    return {"title": title, "unit": unit, "target": target, "rows": rows}


def main() -> None:
    """Parse the options, run the rounds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds; 6 or more for an interval")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--only", choices=("mpi", "gloo"))
    parser.add_argument("--json", type=Path, help="also write the tables as JSON")
    options = parser.parse_args()
    results = []
    if options.only != "gloo":
        results += against_c(options.rounds, options.ranks)
    if options.only != "mpi":
        ours, bare = [], []
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}: gloo", file=sys.stderr)
            times, calls = collbench("torch", "auto", options.ranks)
            ours.append(times)
            bare.append(gloo_loop(options.ranks, calls))
        results.append(compare(ours, bare, "gloo: collbench against a bare Python loop", True, 1.02))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def against_c(rounds: int, ranks: int) -> list[dict]:
    """Both loops of collbench against the C program (and OSU's programs, if installed), run alternately."""
    native, python, bare, published = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        loop = CLoop(Path(folder))
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}: MPI", file=sys.stderr)
            times, calls = collbench("mpi", "native", ranks)
            native.append(times)
            bare.append(loop.run(ranks, calls))
            python.append(collbench("mpi", "python", ranks)[0])
            published.append(osu(ranks))
    tables = [compare(native, bare, "MPI, native loop: collbench against C", True, 1.05),
              compare(python, bare, "MPI, Python loop: collbench against C", False, 1.0)]
    if published[0]:
        tables.append(compare(native, published, "MPI, native loop: collbench against OSU", True, 1.05))
    return tables


if __name__ == "__main__":
    main()
