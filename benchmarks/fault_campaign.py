"""Faults at random moments: signals to ranks, launcher, parent or all of them, files taken away, pauses, debuggers.

    python benchmarks/fault_campaign.py [--count 150] [--seed 1] [--launchers local,mpirun,torchrun] [--json FILE]

Each job gets one fault, drawn from the seed and the number of the job: `--first N --count 1` repeats job N. A job
passes if it ends in time with a status and a line that fit, every result that it has shown is in its journal (or in the
rescue copy that it names), and no process, temporary file or shared memory is left. Exit status 1 if any does not.
"""

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import CollbenchError
from collbench.collectives.ranks.processes import job_members, kill, process_state
from collbench.collectives.records.journal import read_journal

RANKS = 2
CASE_LIMIT_S, MEETING_S = 8, 30
PATIENCE_S = 60.0           # beyond both of these, and beyond an undisturbed run
CLEAN_S = 20.0              # for the guard to remove what a killed parent left
COMMAND = str(Path(sys.executable).parent / "collbench")
START = {"local": ("run", "--transport", "torch", "--ranks", RANKS),
         "mpirun": ("run", "--transport", "mpi", "--ranks", RANKS),
         "torchrun": ("launch", "--launcher", "torchrun", "--transport", "torch", "--ranks-per-node", RANKS)}
SWEEP = ("--ops", "all_reduce,all_gather,barrier", "--sizes", "64,1K,16K,64K", "--place", "in", "--case-seconds", 0.1,
         "--case-limit", CASE_LIMIT_S, "--rendezvous-seconds", MEETING_S)
SHARED, MARK, PRIVATE = Path("/dev/shm"), "COLLBENCH_CAMPAIGN", "COLLBENCH_CAMPAIGN_PRIVATE"
_PTRACE_SEIZE, _PTRACE_INTERRUPT, _WALL = 0x4206, 0x4207, 0x40000000


class Running(NamedTuple):
    """A job: its parent, and where its files are."""

    process: "subprocess.Popen[str]"
    mark: str
    out: Path
    temporary: Path

    @property
    def journal(self) -> Path:
        return self.out / "journal.jsonl"

    def launcher(self) -> list[int]:
        """The process that `collbench` started; empty before it did."""
        return [pid for pid in self.members() if process_state(pid)[1] == self.process.pid]

    def ranks(self) -> list[int]:
        """Processes below the launcher, in the order of their start."""
        launcher = set(self.launcher())
        return sorted((pid for pid in self.members() if process_state(pid)[1] in launcher), key=_started)

    def members(self) -> set[int]:
        """Every process of the job and the parent; not the guard, which must outlive them."""
        found = job_members(-1, self.mark)
        return {pid for pid in found if b"collbench-guard" not in _command(pid)}


class Result(NamedTuple):
    """What became of a job."""

    number: int
    launcher: str
    fault: str
    moment: str
    hit: bool
    took_s: float
    status: int | None
    shown: int
    kept: int
    problems: list[str]


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _started(pid: int) -> tuple[int, int]:
    """Clock ticks since boot, then the id; ids alone wrap around."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]), pid
    return 0, pid


# Faults: each acts on a running job and says whether there was anything to act on.

def _victims(job: Running, whom: str) -> list[int]:
    ranks = job.ranks()
    return {"rank 0": ranks[:1], "another rank": ranks[1:2], "all ranks": ranks, "launcher": job.launcher(),
            "parent": [job.process.pid], "launcher and ranks": job.launcher() + ranks,
            "everything": [*job.members()]}[whom]


def _send(whom: str, name: str) -> Callable[[Running, random.Random], bool]:
    def act(job: Running, chance: random.Random) -> bool:
        victims = _victims(job, whom)
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, f"SIG{name}"))
        return bool(victims)
    return act


def _pause(whom: str) -> Callable[[Running, random.Random], bool]:
    def act(job: Running, chance: random.Random) -> bool:
        victims = _victims(job, whom)
        for number, wait_s in ((signal.SIGSTOP, chance.uniform(0.5, 6)), (signal.SIGCONT, 0)):
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            time.sleep(wait_s)
        return bool(victims)
    return act


def _hold(whom: str) -> Callable[[Running, random.Random], bool]:
    def act(job: Running, chance: random.Random) -> bool:
        libc = ctypes.CDLL(None)
        held = [pid for pid in _victims(job, whom) if libc.ptrace(_PTRACE_SEIZE, pid, None, None) == 0]
        for pid in held:
            libc.ptrace(_PTRACE_INTERRUPT, pid, None, None)
        return bool(held)
    return act


def _file(change: Callable[[Path], object]) -> Callable[[Running, random.Random], bool]:
    def act(job: Running, chance: random.Random) -> bool:
        if not job.journal.exists():
            return False
        change(job.journal)
        return True
    return act


def _replace(path: Path) -> None:
    path.unlink()
    path.write_text("mine\n")


def _link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.with_name("elsewhere").mkdir()
    path.parent.symlink_to("elsewhere")


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"a note")


def _take_rooms(job: Running, chance: random.Random) -> bool:
    rooms = [*job.temporary.glob("collbench-job-*"), *SHARED.glob("collbench-job-*")]
    for room in rooms:
        if PRIVATE in os.environ or room.parent == job.temporary:
            shutil.rmtree(room, ignore_errors=True)
    return bool(rooms)


FAULTS: dict[str, Callable[[Running, random.Random], bool]] = {
    **{f"{name} to {whom}": _send(whom, name) for whom in ("rank 0", "another rank", "launcher", "launcher and ranks")
       for name in ("STOP", "KILL", "SEGV", "ABRT", "TERM", "HUP", "QUIT")},
    "STOP to all ranks": _send("all ranks", "STOP"), "KILL to all ranks": _send("all ranks", "KILL"),
    **{f"{name} to parent": _send("parent", name)
       for name in ("KILL", "SEGV", "ABRT", "TERM", "INT", "HUP", "QUIT")},
    **{f"{name} to everything": _send("everything", name) for name in ("KILL", "TERM", "INT", "HUP")},
    **{f"pause of {whom}": _pause(whom)
       for whom in ("rank 0", "another rank", "launcher", "parent", "launcher and ranks", "everything")},
    **{f"debugger on {whom}": _hold(whom) for whom in ("rank 0", "another rank", "launcher")},
    "journal unlinked": _file(Path.unlink), "journal renamed": _file(lambda path: path.rename(path.with_name("old"))),
    "journal replaced": _file(_replace), "journal appended to": _file(_append),
    "journal cut": _file(lambda path: os.truncate(path, path.stat().st_size // 2)),
    "journal overwritten": _file(lambda path: path.write_bytes(b"x" * 99_999)),
    "folder removed": _file(lambda path: shutil.rmtree(path.parent)),
    "folder moved": _file(lambda path: path.parent.rename(path.parent.with_name("moved"))),
    "folder replaced by a link": _file(_link), "temporary files removed": _take_rooms,
}
_LOSING = ("journal cut", "journal overwritten")        # what others destroy is lost; it has to be said


def _start(launcher: str, folder: Path, number: int) -> Running:
    temporary, out = folder / "tmp", folder / "results" / "r"
    temporary.mkdir(parents=True)
    mark = f"{os.getpid()}-{number}"
    with (folder / "stdout").open("w") as shown, (folder / "stderr").open("w") as said:
        process = subprocess.Popen([COMMAND, *map(str, (*START[launcher], *SWEEP)), "--out", str(out)], text=True,
                                   stdout=shown, stderr=said, start_new_session=True, cwd=folder,
                                   env={**os.environ, "TMPDIR": str(temporary), MARK: mark})
    return Running(process, f"{MARK}={mark}", out, temporary)


def _lines(job: Running) -> int:
    with suppress(OSError):
        return job.journal.read_bytes().count(b"\n")
    return 0


def _await_moment(job: Running, moment: tuple[str, float]) -> None:
    """Until seconds have passed or the journal has so many lines; or the job has ended."""
    kind, value = moment
    begin = time.monotonic()
    while job.process.poll() is None and (
            time.monotonic() - begin < value if kind == "second" else _lines(job) < value):
        time.sleep(0.005 if kind == "line" and _lines(job) else 0.05)


def _shown(text: str) -> int:
    """Rows of the live table."""
    return sum(line.split()[0] in OPERATIONS for line in text.splitlines() if line.strip())


def _kept(path: Path) -> int:
    try:
        return len(read_journal(path)[1])
    except CollbenchError:
        return 0


def _left(job: Running) -> list[str]:
    """What is left of a job, after some time for the guard."""
    deadline = time.monotonic() + CLEAN_S
    while True:
        shared = SHARED.iterdir() if PRIVATE in os.environ else ()
        left = [*(f"process {pid} ({_command(pid)[:60]!r})" for pid in job.members()),
                *map(str, job.temporary.iterdir()), *map(str, shared)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def _judge(job: Running, fault: str, status: int | None, whole: int, said: str, shown: int, kept: int,
           taken_afterwards: bool) -> list[str]:
    """What is wrong with the end of a job. `taken_afterwards`: others took the journal when it may have been closed."""
    problems = ["Traceback"] if any("torch/distributed/elastic" not in trace     # torchrun always prints its own
                                    for trace in said.split("Traceback (most recent call last)")[1:]) else []
    if status is None:
        return [*problems, "did not end"]
    own_words = any(line.startswith("collbench: ") for line in said.splitlines())
    parent_gone = status < 0
    if taken_afterwards:
        kept = whole
    if status == 0 and kept < whole:
        problems.append(f"status 0 with {kept} of {whole} records")
    if status and not own_words and not parent_gone and status != 128 + signal.SIGTERM:
        problems.append(f"status {status} without a line")
    if kept < shown and not (fault in _LOSING and "lost" in said and status):
        problems.append(f"{shown} shown, {kept} kept")
    if status == 70:
        problems.append("internal error")
    return problems + [f"left: {thing}" for thing in _left(job)]


def run(number: int, seed: int, launchers: list[str], whole: dict[str, tuple[float, int]], folder: Path) -> Result:
    """Start a job, injure it at a random moment, and judge what became of it."""
    chance = random.Random(f"{seed} {number}")
    launcher, fault = chance.choice(launchers), chance.choice([*FAULTS])
    usual_s, records = whole[launcher]
    moment = ("second", chance.uniform(0, usual_s)) if chance.random() < 0.4 else (
        "line", chance.randint(1, records + 1))
    job = _start(launcher, folder, number)
    _await_moment(job, moment)
    closed = _lines(job) > records
    hit = job.process.poll() is None and FAULTS[fault](job, chance)
    begin = time.monotonic()
    status = None
    with suppress(subprocess.TimeoutExpired):
        status = job.process.wait(usual_s + CASE_LIMIT_S + MEETING_S + PATIENCE_S)
    took_s = time.monotonic() - begin
    shown, said = _shown((folder / "stdout").read_text()), (folder / "stderr").read_text()
    rescue = re.search(r"everything measured so far is in (\S+)", said)
    kept = _kept(Path(rescue[1]) if rescue else job.journal)
    problems = _judge(job, fault, status, records, said, shown, kept,
                      closed and fault.startswith(("journal", "folder")))
    kill(job.members())
    with suppress(ChildProcessError):       # those that a debugger, this process, held
        while os.waitpid(-1, os.WNOHANG | _WALL)[0]:
            pass
    return Result(number, launcher, fault, f"{moment[0]} {moment[1]:.1f}", hit, took_s, status, shown, kept, problems)


def undisturbed(launcher: str, folder: Path) -> tuple[float, int]:
    """Seconds and records of a run without a fault."""
    begin = time.monotonic()
    job = _start(launcher, folder, -1)
    if job.process.wait(600) or _left(job):
        sys.exit(f"{launcher}: not even an undisturbed run is whole: see {folder}")
    return time.monotonic() - begin, _kept(job.journal)


def _summary(results: list[Result]) -> str:
    groups = defaultdict(list)
    for result in results:
        groups[result.fault if result.hit else "none: the job had ended, or had nothing to hit"].append(result)
    rows = [f"{'fault':46} {'jobs':>4} {'longest s':>9}  {'status: jobs':28} problems"]
    for fault, group in sorted(groups.items()):
        counts = Counter(result.status for result in group)
        statuses = ", ".join(f"{status}: {count}" for status, count in counts.most_common())
        rows.append(f"{fault:46} {len(group):4} {max(result.took_s for result in group):9.1f}  {statuses:28} "
                    f"{sum(bool(result.problems) for result in group) or '-'}")
    bad = [result for result in results if result.problems]
    return "\n".join([*rows, f"{len(results)} jobs, {sum(result.hit for result in results)} faults, {len(bad)} with "
                             f"problems; {sum(result.shown for result in results)} results shown, "
                             f"{sum(result.kept for result in results)} kept"])


def _with_private_shared_memory() -> None:
    """Start again with a /dev/shm of its own, where other programs leave nothing; needs root and `unshare`."""
    if PRIVATE in os.environ or os.geteuid() or not shutil.which("unshare"):
        return
    words = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*words, "true"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
        os.environ[PRIVATE] = "1"
        os.execvp(words[0], [*words, sys.executable, *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--launchers", default=",".join(START))
    parser.add_argument("--json", type=Path, help="also write every result to this file")
    asked = parser.parse_args()
    for name in "HUP", "INT", "QUIT":       # which a shell ignores for what runs in the background
        signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_DFL)
    _with_private_shared_memory()
    results, root = [], Path(tempfile.mkdtemp(prefix="fault-campaign-"))
    launchers = asked.launchers.split(",")
    whole = {launcher: undisturbed(launcher, root / launcher) for launcher in launchers}
    for number in range(asked.first, asked.first + asked.count):
        folder = root / str(number)
        folder.mkdir()
        result = run(number, asked.seed, launchers, whole, folder)
        results.append(result)
        print(f"{number:4} {result.launcher:9} {result.fault:36} at {result.moment:12} "
              f"{'' if result.hit else 'missed '}status {result.status}, {result.took_s:.1f} s, {result.shown} shown, "
              f"{result.kept} kept{''.join(f'; {problem}' for problem in result.problems)}", flush=True)
        if not result.problems:
            shutil.rmtree(folder)
        if asked.json:
            asked.json.write_text(json.dumps([result._asdict() for result in results], indent=1))
    print(_summary(results))
    bad = any(result.problems for result in results)
    if bad:
        print(f"the files of jobs with problems are in {root}")
    else:
        shutil.rmtree(root)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
