"""Start-up time and memory of many ranks on this host by rank count, over gloo, forked after one import.

    python benchmarks/startup.py [--ranks 8,16,32,72,144,384] [--limit SECONDS]

For each count: a job that connects its ranks, measures one small all_reduce and all_to_all with every result verified,
writes its journal and ends. `meet` is from the start of the program to the first line of the journal: one import, the
forks, the rendezvous, two sockets between every two ranks, agreement on settings. Memory is the private memory per rank
(mean over ranks when the journal begins); files are the most that any rank has open at that moment.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.ranks.host_limits import open_files_needed
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.launch.job import Job
from collbench.launch.launchers import launcher_for

RANKS = "8,16,32,72,144,384"
BLOCK = 64      # bytes per rank


def configuration(ranks: int, folder: Path, limit_s: float) -> RunConfig:
    sweep = Sweep(ops=("noop", "all_reduce", "all_to_all"), sizes=(ranks * BLOCK,), ranks=(ranks,), seed=1)
    return RunConfig(transport="torch", sweep=sweep, journal=folder / "journal.jsonl", display="quiet",
                     policy=Policy(modes=("isolated",), case_s=0.001, min_samples=1), case_limit_s=limit_s,
                     rendezvous_s=limit_s)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def private_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def inspect(pids: list[int]) -> tuple[float | None, int | None]:
    """Mean private bytes and largest number of open files of the processes that still run."""
    memory, files = [], []
    for pid in pids:
        try:
            memory.append(private_bytes(pid))
            files.append(len(os.listdir(f"/proc/{pid}/fd")))
        except OSError:
            continue
    return (sum(memory) / len(memory), max(files)) if memory and files else (None, None)


def measure(ranks: int, limit_s: float) -> tuple[float, float, float | None, int | None, list]:
    """Seconds to the journal's first line and to the end; memory and files per rank; the records."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+") as log:
        journal = Path(folder) / "journal.jsonl"
        begin, met_s, memory, files = time.monotonic(), None, None, None
        command = launcher_for("torch").command(Job(config=configuration(ranks, Path(folder), limit_s), ranks=ranks))
        job = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONSAFEPATH": "1"})
        while job.poll() is None:
            if met_s is None and journal.exists() and journal.stat().st_size:
                met_s = time.monotonic() - begin
                memory, files = inspect(children(job.pid))
            time.sleep(0.02)
        end_s = time.monotonic() - begin
        if job.returncode:
            log.seek(0)
            sys.exit(f"{ranks} ranks ended with status {job.returncode}:\n{log.read()[-2000:]}")
        return met_s or end_s, end_s, memory, files, read_journal(journal)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ranks", default=RANKS, help="comma-separated rank counts")
    parser.add_argument("--limit", type=float, default=600.0, help="limit in seconds of the rendezvous and each case")
    arguments = parser.parse_args()
    table = Table("ranks", "meet (s)", "whole job (s)", "MiB per rank", "open files", "may need", "verified",
                  title=f"start-up on {len(os.sched_getaffinity(0))} cores")
    for ranks in map(int, arguments.ranks.split(",")):
        met_s, end_s, memory, files, records = measure(ranks, arguments.limit)
        good = [record for record in records if record.status == "ok" and record.case.op != "noop"]
        ops = {record.case.op for record in good if record.verification.wrong == 0}
        if ops != {"all_reduce", "all_to_all"}:
            sys.exit(f"{ranks} ranks: verified only {sorted(ops)}")
        table.add_row(str(ranks), f"{met_s:.1f}", f"{end_s:.1f}", "-" if memory is None else f"{memory / 2**20:.1f}",
                      "-" if files is None else str(files), str(open_files_needed(ranks)), "both")
        print(f"{ranks} ranks: meet {met_s:.1f} s, end {end_s:.1f} s", file=sys.stderr, flush=True)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
