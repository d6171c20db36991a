"""What collbench's figures contain beside the calls: against OSU's programs, and against minimal loops in C and Python.

    python benchmarks/overhead.py [--rounds N] [--ranks N] [--only mpi,osu,gloo] [--markdown FILE]

Two loops or programs run in turn, each once a round. A result is the median over rounds of the ratio (or difference)
within a round, with its distribution-free 95 % confidence interval. Loops take turns on the same ranks, five rounds a
launch; OSU's programs, which are those on the PATH, need a launch each. Targets and a table from a quiet machine are in
docs/measuring.md.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy, Record, Timing
from collbench.collectives.statistics.stopping import median_ranks
from collbench.launch.job import Job
from collbench.launch.launchers import launcher_for

HERE = Path(__file__).parent
SIZES = (8, 128, 2048, 32768, 262144, 1 << 20, 4 << 20)
OSU_SIZES = tuple(8 << shift for shift in range(20))
OPS = ("ping_pong", "all_reduce", "all_to_all")
OSU_PROGRAMS = {"ping_pong": "osu_latency", "all_reduce": "osu_allreduce", "all_to_all": "osu_alltoall"}
SECONDS = 0.12
_TURNS = 5      # rounds in one launch, of loops that take turns on the same ranks
Key = tuple[str, int, str]      # operation, bytes, mode
Times = dict[Key, float]        # us
Pairs = tuple[list[Times], list[Times]]     # ours and theirs, round by round


class Comparison(NamedTuple):
    """A table: two programs, run in turn.

    Args:
        title: what is compared with what.
        ratio: compare by ratio; otherwise by difference in us.
        target: what the ratio or difference should not exceed; for an interval, also not fall below its inverse.
        rounds: the times of both in each of so many rounds.
        both_sides: whether `theirs` may not exceed `ours` by more either.
    """

    title: str
    ratio: bool
    target: float
    rounds: Callable[[int], Pairs]
    both_sides: bool = False


def collbench(ranks: int, ops: Sequence[str] = OPS, sizes: Sequence[int] = SIZES, **policy: object) -> list[Record]:
    """The records of one launch of MPI."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        sweep = Sweep(ops=("noop", *ops), sizes=tuple(sizes), ranks=(ranks,), places=(False,))
        settings = {"case_s": SECONDS, "precision": 0.0, **policy}
        config = RunConfig(transport="mpi", sweep=sweep, journal=journal, display="quiet", policy=Policy(**settings))
        start(launcher_for("mpi").command(Job(config=config, ranks=ranks)))
        _, records, _ = read_journal(journal)
    return [record for record in records if record.case.op != "noop"]


def figures(records: list[Record], figure: Callable[[Record, Timing], float]) -> Times:
    """A figure of each timing, in us."""
    return {(record.case.op, record.case.bytes, timing.mode): 1e6 * figure(record, timing)
            for record in records for timing in record.timings}


def shown(record: Record, timing: Timing) -> float:
    """What collbench shows: the median of a sample's time."""
    return statistics.median(timing.message_s(record.case))


def averaged(record: Record, timing: Timing) -> float:
    """What OSU shows: the mean over samples and timed ranks of a rank's own time."""
    own = [timing.elapsed_ns[rank][sample] for rank in record.case.operation.timed(record.case)
           for sample in timing.counted()]
    return statistics.fmean(own) / (1e9 * timing.calls * record.case.operation.messages)


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


def taking_turns(commands: Sequence[list[str]]) -> Pairs:
    """The times of both loops in each round; each command is one launch of loops that take turns on the same ranks."""
    ours: list[Times] = []
    theirs: list[Times] = []
    for number, command in enumerate(commands):
        print(f"launch {number + 1} of {len(commands)}", file=sys.stderr)
        before, seen = len(ours), dict[Key, int]()
        for line in start(command).splitlines():
            row = json.loads(line)
            key = row["op"], row["bytes"], row["mode"]
            turn = seen[key] = seen.get(key, before - 1) + 1
            if turn == len(ours):
                ours.append({})
                theirs.append({})
            ours[turn][key], theirs[turn][key] = row["ours_us"], row["theirs_us"]
    return ours, theirs


def mpi_loops(folder: Path, ranks: int, loop: str, sizes: Sequence[int]) -> Callable[[int], Pairs]:
    """Rounds of `mpi_turns.py`; its loops in C are compiled with the mpicc next to this Python."""
    mpicc = shutil.which("mpicc", path=str(Path(sys.executable).parent)) or "mpicc"
    library = folder / "mpi_loops.so"

    def rounds(count: int) -> Pairs:
        if not library.exists():
            subprocess.run([mpicc, "-O2", "-shared", "-fPIC", "-o", library, HERE / "mpi_loops.c"], check=True)
        words = [library, SECONDS, _TURNS, ",".join(OPS), ",".join(map(str, sizes)), loop]
        command = [*mpi_launch(ranks), sys.executable, str(HERE / "mpi_turns.py"), *map(str, words)]
        return taking_turns([command] * -(-count // _TURNS))
    return rounds


def gloo_loops(ranks: int) -> Callable[[int], Pairs]:
    """Rounds of `gloo_loop.py`, which needs five times as many for an interval of the same width."""
    def rounds(count: int) -> Pairs:
        return taking_turns([[sys.executable, str(HERE / "gloo_loop.py"), str(ranks), "0.04", str(5 * count),
                              ",".join(OPS), ",".join(map(str, SIZES))]])
    return rounds


def osu(op: str, ranks: int) -> Times:
    """The average times that OSU's program prints; its all-to-all counts the bytes of one pair."""
    times, share = {}, ranks if op == "all_to_all" else 1
    words = ["-m", f"{max(4, OSU_SIZES[0] // share)}:{OSU_SIZES[-1] // share}"]
    for line in start([*mpi_launch(ranks), OSU_PROGRAMS[op], *words]).splitlines():
        if line.strip() and not line.startswith("#"):
            size, time = line.split()[:2]
            times[op, int(size) * share, "isolated"] = float(time)
    return times


def interval(values: list[float]) -> tuple[float, float, float]:
    """Median and its 95 % confidence interval (the extremes if there are too few values for one)."""
    ordered = sorted(values)
    low, high = median_ranks(len(ordered)) or (0, len(ordered) - 1)
    return statistics.median(ordered), ordered[low], ordered[high]


def verdict(table: Comparison, middle: float, low: float, high: float) -> str:
    """Whether a target is met, and if not, whether the interval excludes it."""
    least = 1 / table.target if table.both_sides else float("-inf")
    if least <= middle <= table.target:
        return ""
    return "missed" if low > table.target or high < least else "outside, but its interval is not"


def in_turn(ours: Callable[[], Times], theirs: Callable[[], Times]) -> Callable[[int], Pairs]:
    """Rounds of two programs, each in a launch of its own."""
    def rounds(count: int) -> Pairs:
        pairs = []
        for number in range(count):
            print(f"round {number + 1} of {count}", file=sys.stderr)
            pairs.append((ours(), theirs()))
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return rounds


def tabulated(table: Comparison, ours: list[Times], theirs: list[Times]) -> dict:
    """Print the table of the times of all rounds; returns it as data."""
    rounds = len(ours)
    unit = "ratio" if table.ratio else "difference, us"
    aim = f"{'within a factor of' if table.both_sides else 'at most'} {table.target:g}"
    shape = Table(title=f"{table.title} ({unit}; target {aim}; {rounds} rounds)", title_justify="left")
    for column in ("operation", "bytes", "mode", "theirs, us", unit, "95 % interval", ""):
        shape.add_column(column, justify="left" if column in ("operation", "mode", "") else "right")
    rows = []
    for key in (key for key in sorted(ours[0]) if all(key in times for times in theirs)):
        pairs = [(one[key], two[key]) for one, two in zip(ours, theirs, strict=True)]
        middle, low, high = interval([a / b if table.ratio else a - b for a, b in pairs])
        base = statistics.median(b for _, b in pairs)
        said = verdict(table, middle, low, high)
        rows.append({"op": key[0], "bytes": key[1], "mode": key[2], "base_us": base, "value": middle, "lo": low,
                     "hi": high, "verdict": said})
        shape.add_row(key[0], str(key[1]), key[2], f"{base:.2f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}", said)
    Console(width=120).print(shape)
    return {"title": table.title, "unit": unit, "target": table.target, "rounds": rounds, "rows": rows}


def markdown(tables: list[dict]) -> str:
    """The tables for docs/measuring.md, with the machine."""
    model = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())
    lines = [f"Machine: {os.cpu_count()} cores of {model}, Linux {platform.release()}, load "
             f"{os.getloadavg()[0]:.1f} at the end."]
    for table in tables:
        lines += ["", f"{table['title']}, {table['rounds']} rounds:", "",
                  f"| operation | bytes | mode | theirs, us | {table['unit']} | 95 % interval | "
                  f"target {table['target']:g} |",
                  "|---|---|---|---|---|---|---|"]
        lines += [f"| {row['op']} | {row['bytes']} | {row['mode']} | {row['base_us']:.2f} | {row['value']:.2f} | "
                  f"{row['lo']:.2f} to {row['hi']:.2f} | {row['verdict'] or 'met'} |" for row in table["rows"]]
    return "\n".join(lines) + "\n"


def against_osu(ranks: int) -> list[Comparison]:
    """Started as OSU starts them, and averaged as it does; then as collbench shows it by default."""
    tables = []
    for op in (op for op, program in OSU_PROGRAMS.items() if shutil.which(program)):
        alike = "none" if op == "ping_pong" else "barrier"
        for title, start_rule, figure in ((f"{OSU_PROGRAMS[op]}: same start ({alike}), same average", alike, averaged),
                                          (f"{OSU_PROGRAMS[op]}: collbench's own figure", "auto", shown)):
            def ours(op: str = op, start_rule: str = start_rule,
                     figure: Callable[[Record, Timing], float] = figure) -> Times:
                return figures(collbench(ranks, (op,), OSU_SIZES, modes=("isolated",), alignment=start_rule,
                                         max_samples=2000), figure)
            tables.append(Comparison(title, True, 1.05, in_turn(ours, lambda op=op: osu(op, ranks)), True))
    return tables


def main() -> None:
    """Parse the options, run the rounds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds; 6 or more for an interval")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--only", default="loop,osu,mpi,gloo", help="which of loop (OSU's loop), osu (OSU's programs), "
                        "mpi and gloo (minimal loops), separated by commas")
    parser.add_argument("--json", type=Path, help="also write the tables as JSON")
    parser.add_argument("--markdown", type=Path, help="also write the tables as Markdown")
    options = parser.parse_args()
    ranks, only, results = options.ranks, options.only.split(","), []
    with tempfile.TemporaryDirectory() as folder:
        tables = []
        if "loop" in only:
            tables.append(Comparison("OSU's loop on the same ranks, same start, same average", True, 1.05,
                                     mpi_loops(Path(folder), ranks, "osu", OSU_SIZES), True))
        if "osu" in only:
            tables += against_osu(ranks)
        if "mpi" in only:
            tables += [Comparison("MPI, compiled loop against C", True, 1.05,
                                  mpi_loops(Path(folder), ranks, "native", SIZES)),
                       Comparison("MPI, Python loop against C", False, 1.0,
                                  mpi_loops(Path(folder), ranks, "python", SIZES))]
        if "gloo" in only:
            tables.append(Comparison("gloo against a bare Python loop", True, 1.03, gloo_loops(ranks)))
        for table in tables:
            print(table.title, file=sys.stderr)
            results.append(tabulated(table, *table.rounds(options.rounds)))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(results))


if __name__ == "__main__":
    main()
