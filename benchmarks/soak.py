"""Leak check: measure for some minutes and watch memory, descriptors and threads of every rank.

    python benchmarks/soak.py [MINUTES] [RANKS]

Exit status 1 if any of them grows from the second third of the run to the last by more than the margins below.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

MARGIN_KIB = 8 << 10        # resident memory; allocators settle slowly
EVERY_S = 0.5
FEWEST = 9                  # samples per rank, to compare thirds of the run


def sample(pid: str) -> tuple[int, int, int] | None:
    """Resident KiB, descriptors and threads of a process; None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        return int(values["VmRSS"].split()[0]), len(list(Path(f"/proc/{pid}/fd").iterdir())), int(values["Threads"])
    except (OSError, KeyError, ValueError):
        return None


def soak(minutes: float, ranks: int, out: Path) -> tuple[list[list[tuple[int, int, int]]], int]:
    """Run a job that measures small cases; samples [rank][(KiB, descriptors, threads)] and its exit status."""
    sizes = ",".join(str(8 * k) for k in range(1, 2000))
    job = subprocess.Popen([sys.executable, "-m", "collbench.collectives.program.fork", str(ranks), "--ops",
                            "all_reduce,all_gather,all_to_all,send_recv", "--sizes", sizes, "--group-ranks", str(ranks),
                            "--case-seconds", "0.01", "--min-samples", "2", "--display", "quiet", "--out", str(out)])
    seen, deadline, journal = {}, time.monotonic() + 60 * minutes, out / "journal.jsonl"
    while time.monotonic() < deadline and job.poll() is None:
        time.sleep(EVERY_S)
        if journal.exists():
            for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split():
                seen.setdefault(pid, []).append(sample(pid))
    job.terminate()
    return [[each for each in samples if each] for samples in seen.values()], job.wait(60)


def growth(samples: list[tuple[int, int, int]]) -> list[float]:
    """Growth of the median from the second third to the last: KiB, descriptors, threads."""
    third = len(samples) // 3
    return [median(row[k] for row in samples[-third:]) - median(row[k] for row in samples[third:2 * third])
            for k in range(3)]


def main(minutes: float | str = 5.0, ranks: int | str = 4) -> int:
    """Run the job, print the growth; returns the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        taken, status = soak(float(minutes), int(ranks), Path(folder) / "soak")
        journal = Path(folder) / "soak" / "journal.jsonl"
        cases = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
    print(f"{cases} cases, exit status {status}")
    if len(taken) != int(ranks) or min(map(len, taken)) < FEWEST:
        print(f"fewer than {FEWEST} samples of each rank: run for longer")
        return 1
    bad = status not in (0, 143)
    for rank, samples in enumerate(taken):
        memory, files, threads = growth(samples)
        print(f"rank {rank}: {samples[-1][0] >> 10} MiB ({memory:+.0f} KiB), {samples[-1][1]} descriptors "
              f"({files:+.0f}), {samples[-1][2]} threads ({threads:+.0f})")
        bad = bad or memory > MARGIN_KIB or files > 0 or threads > 0
    return int(bad)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        sys.exit(print(__doc__))
    sys.exit(main(*sys.argv[1:]))
