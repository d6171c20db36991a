"""Time and memory of the report on a large journal: real commands on a generated journal.

    python benchmarks/report_speed.py [--records 100000] [--samples 1] [--no-digests] [--keep DIR]

The journal is written by collbench's own writer: sweeps over all operations, 22 sizes, seven element types and 2, 4
and 8 ranks, in runs of two transports, alternating until there are enough records. Times follow a latency and a rate
with scatter between runs, calls and ranks; the number of samples per case is that of `make bench` (median 54 isolated,
30 streamed; `--samples` scales it). Some cases failed, are wrong or unsupported.

Memory is the peak over all processes of a command together, from a separate run, since sampling it takes time. CPU is
user plus system time, which other work on the machine affects less than wall time. The second row is the cost of
parsing all samples without analysing them: one process making Python objects of every line.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from collbench.collectives.cases.case import Case, Sweep, size_range
from collbench.collectives.cases.catalog import DTYPES, OPERATIONS, REDOPS
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import Clock, Mismatch, Policy, Record, Run, Timing, Verification

WORLD = 8
TRANSPORTS = {"mpi": "Open MPI 5.0.11", "torch": "gloo, torch 2.13.0+cpu"}
LATENCY_S, RATE_BPS = {"mpi": 2e-6, "torch": 40e-6}, {"mpi": 4e9, "torch": 1.5e9}
MEDIANS, SPREAD, MOST = {"isolated": 54, "streamed": 30}, 0.8, 516        # samples per case
WARMUP = 4
EVERY_S = 0.05              # interval between samples of memory
UNUSUAL = {"failed": 0.002, "wrong": 0.001, "unsupported": 0.01}


def main() -> None:
    """Write the journal, run the commands, print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--samples", type=float, default=1.0, help="multiple of the usual number of samples")
    parser.add_argument("--no-digests", action="store_true", help="samples only, as in journals older than digests")
    parser.add_argument("--keep", type=Path, help="write the journal here and keep it; an existing one is reused")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        data = options.keep or Path(folder)
        if not (data / "journal.jsonl").exists():
            write(data / "journal.jsonl", options.records, options.samples, not options.no_digests)
        size = (data / "journal.jsonl").stat().st_size
        table = Table(title=f"{options.records} records, {size / 1e6:.0f} MB", title_justify="left")
        for name in ("command", "wall s", "CPU s", "peak memory, MB", "exit"):
            table.add_column(name, justify="left" if name == "command" else "right")
        out = Path(folder) / "report"
        for name, words in (("read every byte", ["-c", READ, str(data / "journal.jsonl")]),
                            ("check and decode every line", ["-c", DECODE, str(data / "journal.jsonl")]),
                            ("collbench summary", [COLLBENCH, "summary", str(data)]),
                            ("collbench report, page", [COLLBENCH, "report", str(data), "-o", str(out)])):
            table.add_row(name, *measured(words))
        Console(width=110).print(table)


COLLBENCH = str(Path(sys.executable).parent / "collbench")
READ = "import sys\nwith open(sys.argv[1], 'rb') as file:\n while file.read(1 << 20): pass"

DECODE = ("import sys\nfrom pathlib import Path\nfrom collbench.collectives.records.journal import read_lines\n"
          "for line in read_lines(Path(sys.argv[1]), []): pass")


def measured(words: list[str]) -> tuple[str, str, str, str]:
    """Wall and CPU seconds, peak megabytes and exit status of a Python command and its child processes."""
    begin, process = time.monotonic(), _started(words)
    _, status, used = os.wait4(process.pid, 0)
    wall_s, process.returncode = time.monotonic() - begin, os.waitstatus_to_exitcode(status)
    again, peak = _started(words), 0
    while again.poll() is None:
        peak = max(peak, _resident_bytes(again.pid))
        time.sleep(EVERY_S)
    return (f"{wall_s:.1f}", f"{used.ru_utime + used.ru_stime:.1f}", f"{peak / 1e6:.0f}", str(process.returncode))


def _started(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])


def _resident_bytes(pid: int) -> int:
    """Proportional set size of a process and its children: shared pages are divided among their users."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [child for task in Path(f"/proc/{pid}/task").iterdir()
                    for child in (task / "children").read_text().split()]
    except OSError:
        return 0
    own = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return own + sum(_resident_bytes(int(child)) for child in children)


def write(path: Path, records: int, samples: float, digests: bool) -> None:
    """Write a journal of `records` records."""
    rng = np.random.default_rng(1)
    with Journal(path) as journal:
        left, number = records, 0
        while left > 0:
            transport = list(TRANSPORTS)[number % len(TRANSPORTS)]
            run = _run(number, transport)
            journal.extend([run])
            lines = _records(rng, run, left, samples, digests)
            while batch := [line for _, line in zip(range(2000), lines, strict=False)]:
                journal.extend(batch)
                left -= len(batch)
            number += 1


def _run(number: int, transport: str) -> Run:
    sweep = Sweep(ops=tuple(name for name, row in OPERATIONS.items() if not row.linked),
                  sizes=size_range(8, 16 << 20), ranks=(2, 4, WORLD), dtypes=tuple(DTYPES), redops=REDOPS, seed=number)
    provenance = {"host": "host0", "hosts": ["host0"] * WORLD, "cores": [64] * WORLD, "cpu": "generated",
                  "topology": {"words": "no accelerators; 64 cores share memory"},
                  "versions": {"collbench": "0.1.0", "python": "3.11.7", "library": TRANSPORTS[transport]}}
    return Run(schema=1, id=f"run{number:09}", started=f"2026-11-{number % 28 + 1:02}T00:00:00+00:00",
               transport=transport, library=TRANSPORTS[transport], device="cpu", world=WORLD,
               clock=Clock(kind="shared"), policy=Policy(alignment="barrier"), sweep=sweep,
               command=("collbench", "run", "--transport", transport), provenance=provenance)


def _records(rng: np.random.Generator, run: Run, most: int, samples: float, digests: bool) -> Iterator[Record]:
    drift = rng.lognormal(0, 0.05)
    for number, (case, asked) in enumerate(run.sweep.cases().items()):
        if number == most:
            return
        status = str(rng.choice([*UNUSUAL, "ok"], p=[*UNUSUAL.values(), 1 - sum(UNUSUAL.values())]))
        about = {"run": run.id, "case": case, "asked_bytes": asked, "at_s": 0.1 * number,
                 "reproduce": f"collbench run --transport {run.transport} --ranks {WORLD} " + " ".join(case.options())}
        if status != "ok":
            fault = Mismatch(rank=1, index=3, expected="5.0", found="7.0", when="before timing")
            yield Record(**about, status=status, reason=f"{status}, generated", verification=Verification(
                checks=8, wrong=1, fault=fault) if status == "wrong" else None)
            continue
        timings = tuple(_timing(rng, run, case, mode, drift, samples) for mode in run.policy.modes)
        made = tuple(digest(case, timing, run.policy.precision) for timing in timings) if digests else ()
        yield Record(**about, status="ok", verification=Verification(checks=1000, wrong=0), timings=timings,
                     digests=made)


def _timing(rng: np.random.Generator, run: Run, case: Case, mode: str, drift: float, samples: float) -> Timing:
    count = int(np.clip(MEDIANS[mode] * samples * rng.lognormal(0, SPREAD), 5, MOST))
    wire_s = LATENCY_S[run.transport] * max(1, np.log2(case.ranks)) + case.bytes / RATE_BPS[run.transport]
    calls = 1 if mode == "isolated" else int(np.clip(2e-3 / wire_s, 2, 64))
    typical_ns = 1e9 * wire_s * drift * rng.lognormal(0, 0.05) * calls * case.operation.messages
    shape = (case.ranks, WARMUP + count)
    begin = rng.integers(0, int(2000 + typical_ns / 20), shape)
    begin[rng.integers(0, case.ranks, shape[1]), np.arange(shape[1])] = 0
    elapsed = (typical_ns * rng.lognormal(0, 0.06, shape)).astype(int)
    return Timing(mode=mode, calls=calls, warmup=WARMUP, alignment="barrier", begin_ns=begin.tolist(),
                  elapsed_ns=elapsed.tolist(), precision=0.03, stopped_by="time", clock_error_s=0.0,
                  loop="native" if run.transport == "mpi" else "python")


if __name__ == "__main__":
    main()
