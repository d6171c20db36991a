"""Prove the accelerator path of collbench on a machine with one device: `make first-day`, 5 to 9 minutes.

    python benchmarks/first_day.py [--out DIR] [--cpu] [--limit SECONDS] [--only STAGE,...]

Prints a line for each fact: PASS or FAIL, with what was found and what was expected, or INFO. Stages come in the order
of their worth, each with its own time limit, and are skipped when the whole time is up. DIR gets summary.txt,
facts.json, and the journal and the log of every run. The status is 1 if a fact failed, 2 if there is no accelerator.

--cpu runs the same stages on the CPU with small sizes, without the facts about a queue, its clock and its memory.

Several ranks on one device share its memory and its processors. Their times say nothing about any machine; such runs
are for the code that they go through and for their results, all of which are verified.
"""

import argparse
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import msgspec

from collbench.collectives.cases.case import format_size
from collbench.collectives.program import fork
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Record, Run, Timing
from collbench.collectives.topology.health import HostHealth, changes, read_health

if TYPE_CHECKING:
    from first_day_facts import Task

LIMIT_S = 540.0
LEAST_S = 10.0              # no stage begins with less
FAULT = 3                   # status of a job that ended because of a rank
HANG_S = 8.0                # limit of the case in which a rank is stopped
NAMED_S = 3 * HANG_S        # within which it must be named
SPARE_BYTES = 256 << 20     # by which the free memory of a device that does nothing may change
CLEAR_S = 5.0               # that a driver may take to free the memory of a process
CLOSE = 0.05                # relative difference to a plain loop of copies
LARGE_BYTES = 1 << 20       # from which on copies are compared so; pageable memory varies more
FINE = {"ok", "unsupported"}
# Backends that take several ranks on one device: nccl does if each rank claims a host of its own (NCCL_HOSTID), and
# then uses sockets. Its channels take memory on the device for each connection.
SHARING = {"nccl", "gloo"}
SHARED = {"NCCL_SOCKET_IFNAME": "lo", "NCCL_IB_DISABLE": "1", "NCCL_NVLS_ENABLE": "0", "NCCL_MAX_NCHANNELS": "2"}
OVER_GLOO = {"cpu", "cuda"}     # types of device whose tensors gloo takes


class Fact(NamedTuple):
    """One line of the report."""

    stage: str
    verdict: str
    name: str
    found: object
    expected: str

    def words(self) -> str:
        expected = f"   [expected: {self.expected}]" if self.expected else ""
        return f"{self.verdict}  {self.name}: {self.found}{expected}"


class Report:
    """Prints facts as they come and keeps them in files, whatever ends this program."""

    def __init__(self, out: Path) -> None:
        self.out, self.begin = out, time.monotonic()
        self.facts: list[Fact] = []

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self.begin

    def add(self, stage: str, verdict: str, name: str, found: object, expected: str = "") -> None:
        self.facts.append(Fact(stage, verdict, name, found, expected))
        print(self.facts[-1].words(), flush=True)
        self._write([fact.words() for fact in self.facts])

    def _write(self, lines: list[str]) -> None:
        (self.out / "summary.txt").write_text("\n".join(lines) + "\n")
        (self.out / "facts.json").write_text(json.dumps([fact._asdict() for fact in self.facts], indent=1))

    def conclude(self) -> int:
        """Print and write the last lines; returns the exit status."""
        counts = Counter(fact.verdict for fact in self.facts)
        last = ["", f"{counts['PASS']} PASS, {counts['FAIL']} FAIL, {counts['SKIP']} SKIP in {self.spent_s:.0f} s; see "
                f"{self.out}", *(fact.words() for fact in self.facts if fact.verdict in ("FAIL", "SKIP"))]
        print("\n".join(last))
        self._write([*(fact.words() for fact in self.facts), *last])
        return int(counts["FAIL"] > 0)


class Stage(NamedTuple):
    """A part of the day; it runs in a process of its own."""

    name: str
    limit_s: float
    run: "Callable[[Task], object]"


class Job(NamedTuple):
    """What a job of ranks has left: its exit status, its journal, and the lines that it wrote."""

    name: str
    status: int
    runs: dict[str, Run]
    records: list[Record]
    lines: list[str]

    @property
    def last_words(self) -> str:
        return self.lines[-1][:160] if self.lines else "no output"

    def streamed(self) -> list[Timing]:
        return [timing for record in self.records if record.status == "ok" for timing in record.timings
                if timing.mode == "streamed"]


# Jobs of ranks


def start_job(task: "Task", name: str, ranks: int, *options: str) -> int:
    """Fork a process that forks ranks as collbench's launcher does; returns its process number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        redirect(task.out / f"{name}.log")
        if ranks > 1:
            share_device()
        status = fork.main([str(ranks), "--device", task.device, "--display", "plain", "--out", str(task.out / name),
                            "--alignment", "barrier", *options])
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def share_device() -> None:
    """Let the ranks of this process use one device, which collbench and nccl refuse."""
    from collbench.collectives.transports import torch_dist
    torch_dist.identify = lambda device: {}
    os.environ.update(SHARED)
    os.register_at_fork(after_in_child=lambda: os.environ.update(NCCL_HOSTID=f"rank-{os.getpid()}"))


def finished(task: "Task", name: str, pid: int) -> Job:
    """Wait for a job and read what it left."""
    return read_job(task, name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def read_job(task: "Task", name: str, status: int) -> Job:
    journal = task.out / name / "journal.jsonl"
    runs, records, _ = read_journal(journal) if journal.exists() else ({}, [], [])
    lines = (task.out / f"{name}.log").read_text(errors="replace").splitlines()
    return Job(name, status, runs, records, [line for line in lines if line.strip()])


def run_job(task: "Task", name: str, ranks: int, *options: str, may_refuse: bool = False) -> Job:
    """Run a job and say whether every result was right; a library that `may_refuse` it as a whole has not failed."""
    job = finished(task, name, start_job(task, name, ranks, *options, "--min-samples", "3"))
    statuses = Counter(record.status for record in job.records)
    wrong = sum(record.verification.wrong for record in job.records if record.verification)
    fine = job.status == 0 and statuses["ok"] > 0 and not wrong and statuses.keys() <= FINE
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    found = f"status {job.status}, {counts or 'no records'}, {wrong} wrong"
    if not fine:
        found += f": {job.last_words}"
    if may_refuse and not wrong and not statuses["ok"]:
        task.say(f"{name}: not possible here", found)
    else:
        task.say(f"{name}: all results", found, "status 0, ok or unsupported, 0 wrong", fine)
    for op, reason in sorted({(record.case.op, str(record.reason)) for record in job.records if record.status != "ok"}):
        if "refused" in reason:
            task.say(f"{name}: {op}", reason[:160])
    return job


# Stages


def facts(task: "Task") -> None:
    from first_day_facts import run_facts
    run_facts(task)


def copies(task: "Task") -> None:
    """Copies by collbench, against a plain loop of the same copies."""
    sizes = [64 << 10, 1 << 20, 4 << 20] if task.small else [64 << 10, 16 << 20, 256 << 20]
    job = run_job(task, "copies", 1, "--ops", "copies", "--sizes", ",".join(map(str, sizes)), "--case-seconds", "0.15")
    plain = in_child(partial(plain_rates, task.device, sizes))
    for record in sorted(job.records, key=lambda record: (record.case.op, record.case.bytes)):
        case, other = record.case, plain.get(f"{record.case.op} {record.case.bytes}")
        if record.status != "ok" or other is None:
            continue
        timing = record.timings[-1]
        own = case.bytes / median(timing.message_s(case))
        judged = not task.on_cpu and case.bytes >= LARGE_BYTES and "pageable" not in case.op
        task.say(f"GB/s of {case.op} of {format_size(case.bytes)}: collbench ({timing.stopwatch} clock), a plain loop",
                 [round(own / 1e9, 2), round(other / 1e9, 2)], f"within {CLOSE:.0%}" if judged else "",
                 abs(own / other - 1) <= CLOSE if judged else None)


def plain_rates(device_name: str, sizes: Sequence[int]) -> dict[str, float]:
    from first_day_facts import plain_copies
    return plain_copies(device_name, sizes)


def one_rank(task: "Task") -> None:
    """Every operation with one rank, and what the journal tells of how it was timed."""
    job = run_job(task, "one-rank", 1, "--ops", "all,copies,communicators", "--sizes",
                  "1K,64K" if task.small else "1K,1M,256M", "--case-seconds", "0.03")
    if not task.on_cpu:
        timings = job.streamed()
        on_device = sum(timing.stopwatch == "device" for timing in timings)
        as_called = sum(bool(getattr(timing, "as_called_ns", None)) for timing in timings)
        for name, count in ("by the device's clock", on_device), ("as called beside it", as_called):
            task.say(f"streamed cases that are timed {name}", f"{count} of {len(timings)}", "all",
                     0 < count == len(timings))
        late = sum(len(getattr(timing, "host_bound", ())) for timing in timings)
        task.say("streamed samples in which the device had to wait for the host",
                 f"{late} of {sum(len(timing.counted()) for timing in timings)}")
    set_up_s = [run.provenance.get("communicator set-up s") for run in job.runs.values()]
    task.say("recorded seconds to set up communicators, by rank count", set_up_s, "a time for 1",
             any(times and times.get("1", 0) > 0 for times in set_up_s))


def element_types(task: "Task") -> None:
    run_job(task, "types", 1, "--ops", "all_reduce,all_gather,reduce_scatter", "--sizes", "64K", "--dtypes", "all",
            "--redops", "sum,max" if task.small else "all", "--case-seconds", "0.01", "--modes", "streamed")


def graph_cases(task: "Task") -> None:
    """Whole cases as graphs; devices and libraries that capture none refuse each case."""
    from first_day_facts import CAPTURES
    if task.on_cpu:
        task.say("cases as graphs", "left out: the CPU has no queue to capture")
        return
    job = run_job(task, "graph", 1, "--ops", "all_reduce,all_gather,all_to_all,broadcast,copy", "--sizes", "1K,1M",
                  "--graph", "--case-seconds", "0.05", "--modes", "streamed", may_refuse=task.backend not in CAPTURES)
    task.say("cases timed as a graph", f"{sum(timing.graph for timing in job.streamed())} of {len(job.records)}")


def cold_caches(task: "Task") -> None:
    """Large sizes, with the caches evicted before each sample."""
    run_job(task, "cold", 1, "--ops", "all_reduce,all_gather", "--place", "in", "--sizes",
            "64K,1M" if task.small else "64M,1G", "--in-order", "--case-seconds", "0.1", "--cache", "cold")


def four_ranks(task: "Task") -> None:
    """Every operation between ranks, in groups of the job too."""
    run_job(task, "four-ranks", 4, "--ops", "all,links,communicators", "--sizes", "1K" if task.small else "1K,1M",
            "--group-ranks", "2,4", "--case-seconds", "0.01", "--case-limit", "60",
            may_refuse=task.backend not in SHARING)


def over_gloo(task: "Task") -> None:
    """Tensors of the device over gloo, if it takes them."""
    run_job(task, "gloo", 2, "--backend", "gloo", "--ops", "all_reduce,broadcast", "--sizes", "64K", "--case-seconds",
            "0.01", may_refuse=task.kind not in OVER_GLOO)


def stopped_rank(task: "Task") -> None:
    """A rank that stops in the middle of device work is named, the job ends, and its memory is free again."""
    before = in_child(partial(looked, task.device))["room"]
    sizes = ",".join(str((1 << 16) + 8 * k) for k in range(400))        # more than the job gets through
    pid = start_job(task, "stopped", 2, "--ops", "all_reduce", "--sizes", sizes, "--place", "in", "--case-seconds",
                    "0.5", "--precision", "0", "--case-limit", str(HANG_S))
    journal, status = task.out / "stopped" / "journal.jsonl", None
    while status is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 2):
        time.sleep(0.1)
        status = status_of(pid)
    if status is not None:
        refused = task.backend not in SHARING
        task.say("a job of two ranks, for one of them to stop", read_job(task, "stopped", status).last_words,
                 "" if refused else "that it runs", None if refused else False)
        return
    ranks = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    os.kill(ranks[1], signal.SIGSTOP)
    begin = time.monotonic()
    job = finished(task, "stopped", pid)
    took_s = time.monotonic() - begin
    named = next((line for line in job.lines if line.startswith("collbench:") and "rank 1" in line), job.last_words)
    task.say("rank 1 was stopped: status of the job, seconds until then, its message",
             [job.status, round(took_s), named], f"{FAULT}, at most {NAMED_S:.0f}, rank 1 by name",
             job.status == FAULT and took_s <= NAMED_S and "rank 1" in named)
    left = [rank for rank in ranks if Path(f"/proc/{rank}").exists()]
    task.say("ranks of that job that are left", len(left), "0", not left)
    if before is not None:
        after = room_again(task, before - SPARE_BYTES)
        task.say("free bytes of the device before that job and after it", [before, after],
                 f"the same to {format_size(SPARE_BYTES)}", after >= before - SPARE_BYTES)


def room_again(task: "Task", wanted: int) -> int:
    """Free bytes of the device as soon as there are so many, or after a while."""
    until = time.monotonic() + CLEAR_S
    while True:
        room: int = in_child(partial(looked, task.device))["room"]
        if room >= wanted or time.monotonic() > until:
            return room
        time.sleep(0.5)


def looked(device_name: str) -> dict[str, object]:
    from first_day_facts import look
    return look(device_name)


def plan(task: "Task") -> None:
    from first_day_facts import main_plan
    main_plan(task)


def main_job(task: "Task") -> None:
    """The main job as a user starts it, shortened."""
    where = ("--device", "cpu", "--ranks", "2", "--budget", "5") if task.on_cpu else ("--budget", "40")
    done = subprocess.run([sys.executable, "-m", "collbench", "bench", "--transport", "torch", *where, "--out",
                           str(task.out / "main-job")], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    (task.out / "main-job.log").write_text(done.stdout)
    lines = done.stdout.splitlines()
    task.say("status of the main job", done.returncode if lines else "no output", "0", done.returncode == 0)
    for line in lines:
        if line.startswith(("collbench: ", "# plan", "# expected")) or " cases: " in line:
            task.say("main job", line.lstrip("# ").removeprefix("collbench: ")[:160])


STAGES = (
    Stage("facts", 120, facts), Stage("copies", 60, copies), Stage("one rank", 75, one_rank),
    Stage("types", 45, element_types), Stage("graphs", 45, graph_cases), Stage("cold caches", 60, cold_caches),
    Stage("four ranks", 130, four_ranks), Stage("gloo", 40, over_gloo), Stage("stopped rank", 90, stopped_rank),
    Stage("plan", 60, plan), Stage("main job", 120, main_job))


# Processes. This one imports torch once and never touches the device, so that it can fork those that do.


def redirect(log: Path) -> None:
    """Send the output of this process to a file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)


def leave(status: int) -> NoReturn:
    """End a forked process: what its parent has registered for its end is not for it."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def status_of(pid: int) -> int | None:
    """The exit status of a child; None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def in_child(function: Callable[[], object]) -> Any:
    """What a function returns in a forked process, through JSON. RuntimeError if it fails there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, msgspec.json.encode(function()))
            leave(0)
        except BaseException:
            traceback.print_exc()
        finally:
            leave(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("a process that asks about the device has failed")
    return msgspec.json.decode(answer)


def run_stage(stage: Stage, task: "Task", limit_s: float, report: Report) -> None:
    """Run a stage in a process group of its own, and end all that is left of it."""
    reader, writer = os.pipe()
    pid, log = os.fork(), task.out / f"stage-{stage.name.replace(' ', '-')}.log"
    if pid == 0:
        os.setsid()
        run_in_stage(stage, task, writer, log)
    os.close(writer)
    status = None
    try:
        for line in received(reader, time.monotonic() + limit_s, lambda: status_of(pid)):
            if isinstance(line, int):
                status = line
            else:
                report.add(stage.name, *line)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if status is None:
            os.waitpid(pid, 0)
    if status is None:
        report.add(stage.name, "FAIL", stage.name, f"ended at its limit of {limit_s:.0f} s", "in time")
    elif status:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        report.add(stage.name, "FAIL", stage.name, f"status {status}: {lines[-1][:160] if lines else 'no output'}", "0")


def run_in_stage(stage: Stage, task: "Task", writer: int, log: Path) -> None:
    """In the process of a stage: facts go into the pipe, output into the log."""
    def say(name: str, found: object, expected: str = "", ok: bool | None = None) -> None:
        verdict = "INFO" if ok is None else "PASS" if ok else "FAIL"
        os.write(writer, json.dumps([verdict, name, found, expected], default=str).encode() + b"\n")
    try:
        redirect(log)
        faulthandler.enable()
        stage.run(task._replace(say=say))
        leave(0)
    except BaseException:
        traceback.print_exc()
    finally:
        leave(1)


def received(pipe: int, deadline: float, ended: Callable[[], int | None]) -> Iterator[list | int]:
    """Lines of JSON from a pipe as they come, then what `ended` returns; without the latter once the time is up."""
    rest, status = b"", None
    while time.monotonic() < deadline:
        status = ended() if status is None else status
        ready, _, _ = select.select([pipe], [], [], 0.1 if status is None else 0)
        piece = os.read(pipe, 1 << 16) if ready else b""
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)
        if status is not None and not piece:
            yield status
            return


@contextmanager
def health_watched(report: Report) -> Iterator[None]:
    """The state of the devices, as their driver tells it, before and after."""
    before = msgspec.convert(in_child(read_health), HostHealth)
    if before.driver:
        report.add("health", "INFO", "driver, CUDA", f"{before.driver}, {before.cuda}")
    for device in before.devices:
        report.add("health", "INFO", f"device {device.index} at the start", msgspec.to_builtins(device))
    yield
    after = msgspec.convert(in_child(read_health), HostHealth)
    for one, other in zip(before.devices, after.devices, strict=False):
        report.add("health", "INFO", f"device {other.index} at the end", msgspec.to_builtins(other))
        for change in changes(one, other):
            report.add("health", "INFO", f"device {other.index} since the start", change)


def arguments() -> argparse.Namespace:
    """The command line; the folder of the results exists and is new."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results", f"first-day-{time.strftime('%Y%m%d-%H%M%S')}"),
                        help="folder of the results (default: results/first-day-TIME)")
    parser.add_argument("--cpu", action="store_true", help="the same stages on the CPU, with small sizes")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help=f"seconds for everything (default: {LIMIT_S:.0f})")
    names = [stage.name for stage in STAGES]
    parser.add_argument("--only", type=lambda words: words.split(","), default=names,
                        help=f"stages, separated by commas: {', '.join(names)}")
    given = parser.parse_args()
    if unknown := set(given.only) - set(names):
        parser.error(f"--only: no stage {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    given.out = given.out.resolve()
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {given.out}: cannot be created: {error.strerror}")
    if any(given.out.iterdir()):
        parser.error(f"--out {given.out}: not empty; name a new folder")
    return given


def main() -> int:
    given = arguments()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from first_day_facts import SMALL_BYTES, Task
    report, device = Report(given.out), "cpu" if given.cpu else "auto"
    found = in_child(partial(looked, device))
    on_cpu, room = found["kind"] == "cpu", found["room"]
    if on_cpu and not given.cpu:
        print("first_day: torch finds no accelerator here; --cpu runs the same stages on the CPU", file=sys.stderr)
        return 2
    report.add("device", "INFO", "device", f"{found['name']} ({found['kind']}, {found['backend']})"
               + ("" if on_cpu else f", free: {'unknown' if room is None else format_size(room)}"))
    small = on_cpu or (room or 0) < SMALL_BYTES
    task = Task(lambda *_: None, device, found["kind"], found["backend"], small, given.out)
    with health_watched(report):
        for stage in STAGES:
            limit_s = min(stage.limit_s, given.limit - report.spent_s)
            if stage.name in given.only and limit_s < LEAST_S:
                report.add(stage.name, "SKIP", stage.name, "the time is up")
            elif stage.name in given.only:
                print(f"\n{stage.name}: after {report.spent_s:.0f} s, at most {limit_s:.0f} s", flush=True)
                run_stage(stage, task, limit_s, report)
    return report.conclude()


if __name__ == "__main__":
    sys.exit(main())
