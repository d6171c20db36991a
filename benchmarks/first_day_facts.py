"""Facts about the device of this process, and what collbench makes of it; first_day.py runs them.

What collbench measures is compared with plain torch around the same calls, through torch's device-neutral interface. On
the CPU, which has no queue, the facts about a queue, its clock and its memory are left out.
"""

import math
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

import msgspec
import torch
import torch.distributed as dist

from collbench.collectives.cases.case import Case, format_size
from collbench.collectives.interfaces import Layout, Prepared
from collbench.collectives.loop.verify import Inspector
from collbench.collectives.program.session import open_session
from collbench.collectives.ranks.rendezvous import Place
from collbench.collectives.topology import describe
from collbench.collectives.topology.affinity import bind_near
from collbench.collectives.topology.health import read_health
from collbench.collectives.transports import torch_device, torch_dist, torch_memory
from collbench.launch.bench import PROFILES

GIB = 1 << 30
SMALL_BYTES = 8 * GIB       # a device with less free memory is tried with small sizes
CALLS = 64                  # of a streamed sample
CLOSE = 1.2                 # ratio of two times of the same calls
LEAST_S = 1e-6              # shorter times of a call are not told apart
READY_S = 0.05              # the first call of a communicator that is ready takes less, or a small part of its set-up
READY_SHARE = 0.25
WAIT_S, FEWEST_TURNS = 0.3, 30      # of a thread that wakes every millisecond
PATTERNS_S = 0.2            # for 1 GiB; smaller sizes have at least half of it
PEAK_PAYLOADS = 2.6         # two slots, tiles, and the verdicts on a part of a slot
COPIES = 8                  # of a plain loop
ROUNDS = 9                  # repetitions of which the least time counts
SMALL_SIZES = tuple(1 << k for k in range(10, 21, 2))
HEADLINE = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "copy")
CAPTURES = {"nccl"}         # libraries whose calls can be captured as a graph, by their documentation


class Say(Protocol):
    """Reports a fact."""

    def __call__(self, name: str, found: object, expected: str = "", ok: bool | None = None) -> None:
        """What was found and what was expected; `ok` is None for a fact that cannot fail."""


class Task(NamedTuple):
    """What a stage works with.

    Args:
        say: reports a fact.
        device: value of --device.
        kind: type of that device, as torch names it.
        backend: its default one.
        small: whether sizes are small, on the CPU and on devices with little memory.
        out: directory for journals and logs.
    """

    say: Say
    device: str
    kind: str
    backend: str
    small: bool
    out: Path

    @property
    def on_cpu(self) -> bool:
        return self.kind == "cpu"


class Subject:
    """The device of this process, with one rank on it; each part is made on first use."""

    def __init__(self, task: Task) -> None:
        self.task, self.say, self.on_cpu = task, task.say, task.on_cpu

    @cached_property
    def device(self) -> torch.device:
        return torch_memory.find_device(self.task.device, 0)

    @cached_property
    def place(self) -> Place:
        """A job of one rank; it meets at a socket of this process."""
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        with socket.create_server(("127.0.0.1", 0)) as meeting:
            address = meeting.getsockname()
            os.environ[torch_dist.LISTEN_FD] = str(meeting.detach())
        return Place("none", 0, 1, 0, 1, address)

    @cached_property
    def transport(self) -> torch_dist.TorchTransport:
        return torch_dist.open_transport(self.place, self.task.device)

    @cached_property
    def communicator(self) -> torch_dist.TorchCommunicator:
        made = self.transport.communicator(1)
        assert made is not None
        return made

    @cached_property
    def load(self) -> "Load":
        return Load(self.device, self.room() or GIB)

    def room(self) -> int | None:
        """Free bytes of the device, as collbench asks for them; None if unknown, and for the CPU."""
        return None if self.on_cpu else torch_device.room_bytes(self.device, 1)

    def free(self) -> int | None:
        """Free bytes of the device without what torch keeps for reuse; None if unknown, and for the CPU."""
        for holder, name in () if self.on_cpu else (
                (torch.accelerator, "get_memory_info"), (torch.get_device_module(self.device), "mem_get_info")):
            try:
                return int(getattr(holder, name)(self.device)[0])
            except (AttributeError, RuntimeError):      # not offered, or not for this device
                continue
        return None

    def wait(self) -> None:
        """Wait until the device has nothing to do."""
        if not self.on_cpu:
            torch.accelerator.synchronize(self.device)


class Load:
    """Work to keep a device busy: copies within it, of a duration that is measured first."""

    def __init__(self, device: torch.device, room: int) -> None:
        self._source = torch.zeros(min(GIB, room // 64), dtype=torch.uint8, device=device)
        self._target = torch.zeros_like(self._source)
        first, last = (torch.Event(device, enable_timing=True) for _ in range(2))
        self._copy()
        first.record()
        for _ in range(4):
            self._copy()
        last.record()
        torch.accelerator.synchronize(device)
        self._copy_s = max(1e-6, first.elapsed_time(last) / 4e3)

    def _copy(self) -> None:
        self._target.copy_(self._source, non_blocking=True)

    def queue(self, seconds: float) -> None:
        """Queue at least so much work."""
        for _ in range(math.ceil(seconds / self._copy_s)):
            self._copy()


def look(device_name: str) -> dict[str, object]:
    """Type, name, default backend and free bytes of a device. UsageError if there is none of that name."""
    device = torch_memory.find_device(device_name, 0)
    room = None if device.type == "cpu" else torch_device.room_bytes(device, 1)
    name = getattr(torch.get_device_module(device), "get_device_name", lambda device: device.type)(device)
    return {"kind": device.type, "name": name, "backend": dist.get_default_backend_for_device(device), "room": room}


def run_facts(task: Task) -> None:
    """All facts below in their order; one that raises has failed, and the next one is tried."""
    subject = Subject(task)
    everywhere = fork_first, versions, topology, communicator_ready, patterns
    on_devices = device_clock, other_threads, small_calls, freed_memory, graphs
    for fact in everywhere if task.on_cpu else (*everywhere, *on_devices):
        try:
            fact(subject)
        except Exception as error:
            traceback.print_exc()
            task.say(fact.__name__.replace("_", " "), f"{type(error).__name__}: {error}".partition("\n")[0], "no error",
                     False)


def fork_first(subject: Subject) -> None:
    """Ranks are forked after one import of collbench's transport, so that import must leave the device alone."""
    pid = os.fork()
    if pid == 0:
        total = 0.0
        try:
            total = float(torch.ones(4, device=subject.device).sum())
        finally:
            os._exit(0 if total == 4 else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    subject.say("exit status of a child that was forked after the import and used the device", status, "0", status == 0)


def versions(subject: Subject) -> None:
    subject.say("versions", subject.transport.versions())
    subject.say("library", subject.transport.library)
    properties = getattr(torch.get_device_module(subject.device), "get_device_properties", None)
    if properties and not subject.on_cpu:
        told = properties(subject.device)
        subject.say("properties of the device", {name: str(getattr(told, name)) for name in (
            "name", "total_memory", "L2_cache_size", "uuid") if getattr(told, name, None) is not None})


def topology(subject: Subject) -> None:
    """Whatever drivers do, there is an answer, and what failed is a note in it."""
    found, health = describe(), read_health()
    subject.say("topology and health are read without an error",
                f"{found.words()}; state of {len(health.devices)} devices", "no error", True)
    for note in (*found.notes, *health.notes):
        subject.say("a note on the topology", note)


def communicator_ready(subject: Subject) -> None:
    """What the library takes to connect ranks must be over when the first call is timed."""
    transport = subject.transport
    begin = time.perf_counter()
    communicator = subject.communicator
    made_s = time.perf_counter() - begin
    block = communicator.prepare(case_of("all_reduce"), 1).block
    calls_s = [(end - begin) / 1e9 for begin, end in (block(0) for _ in range(6))]
    subject.say(f"seconds to make a communicator of {transport.library}, of its first call, of a later one",
                [round(made_s, 4), round(calls_s[0], 6), round(median(calls_s[1:]), 6)],
                f"the first call at most {READY_S} s, or {READY_SHARE:.0%} of the time to make it",
                calls_s[0] <= max(READY_S, READY_SHARE * made_s))


def patterns(subject: Subject) -> None:
    """Filling and comparing a large case: how long it takes, and how much memory besides the payload."""
    size = min(GIB, 1 << ((subject.room() or GIB // 8) // 8).bit_length() - 1)
    Inspector(case_of("all_reduce"), 0, unused(subject, 1024))      # what is made only once is not counted
    subject.room()          # gives what torch keeps back to the device
    before = subject.free()
    *times_s, wrong = checked(subject, size)
    after = subject.free()
    limit_s = PATTERNS_S * max(size / GIB, 0.5)
    subject.say(f"two slots of {format_size(size)}: seconds to make patterns, to fill, to compare",
                [round(value, 4) for value in times_s], f"patterns under {limit_s:.2g} s, and the comparison right",
                times_s[0] < limit_s and not wrong)
    if before is not None and after is not None:        # torch still keeps all that it took
        peak = (before - after) / size
        subject.say("memory that a checked streamed case in place takes, in payloads", round(peak, 2),
                    f"at most {PEAK_PAYLOADS}", peak <= PEAK_PAYLOADS)


def checked(subject: Subject, size: int) -> tuple[float, float, float, int]:
    """Seconds to make the patterns of a case of eight ranks, to fill two slots, to compare them; wrong results."""
    case = Case(op="all_reduce", ranks=8, bytes=size, dtype="float32", redop="sum", in_place=True)
    prepared, stamps = unused(subject, size), []

    def stamp() -> None:
        subject.wait()
        stamps.append(time.perf_counter())
    stamp()
    inspector = Inspector(case, 0, prepared, 7)
    stamp()
    inspector.reset(0)
    stamp()
    for row in (0, 1):
        prepared.memory.write(slice(row, None, 2), 0, inspector.wanted[row])
    stamp()
    inspector.check(0, "timed")
    stamp()
    made_s, filled_s, _, compared_s = (later - earlier for earlier, later in pairwise(stamps))
    return made_s, filled_s, compared_s, inspector.wrong


def device_clock(subject: Subject) -> None:
    """The device's own clock around 50 ms of work, against the host's around the same."""
    stopwatch, times = torch_device.find_stopwatch(subject.device), []
    subject.say("whether the device has timing events", stopwatch is not None, "True", stopwatch is not None)
    for _ in range(3 if stopwatch else 0):
        subject.wait()
        begin = time.perf_counter()
        stopwatch.start()
        subject.load.queue(0.05)
        stopwatch.stop()
        subject.wait()
        times.append((stopwatch.elapsed_ns() / 1e9, time.perf_counter() - begin))
    if times:
        own_s, host_s = max(times, key=lambda pair: pair[0] / pair[1])
        subject.say("50 ms of work: ms by the device, ms by the host", [round(own_s * 1e3, 2), round(host_s * 1e3, 2)],
                    "the device's at most the host's, and at least 0.8 of it", 0.8 * host_s <= own_s <= 1.01 * host_s)


def other_threads(subject: Subject) -> None:
    """The watchdog is a thread of each rank: it must run while the main thread waits for a device."""
    flag = torch.ones(1, device=subject.device)
    waits: dict[str, Callable[[], object]] = {"synchronize": subject.wait,
                                              "the value of a tensor": lambda: bool((flag == 1).all())}
    for name, wait in waits.items():
        over = threading.Event()
        turns: list[int] = []

        def turn(turns: list[int] = turns, over: threading.Event = over) -> None:
            while not over.wait(1e-3):
                turns.append(1)
        wait()
        thread = threading.Thread(target=turn)
        subject.load.queue(WAIT_S)
        thread.start()
        wait()
        over.set()
        thread.join()
        subject.say(f"turns of another thread during {WAIT_S} s of waiting for {name}", len(turns),
                    f"at least {FEWEST_TURNS}", len(turns) >= FEWEST_TURNS)


def small_calls(subject: Subject) -> None:
    """What collbench reads for small streamed calls, against the same calls queued while the device is busy."""
    communicator = subject.communicator
    small, other = torch.zeros(256, device=subject.device), torch.zeros(256, device=subject.device)
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    plain: dict[str, Callable[[], object]] = {
        "all_reduce": lambda: dist.all_reduce(small, group=communicator.timed),
        "all_gather": lambda: gather(other, small, communicator.timed),
        "copy": lambda: other.copy_(small, non_blocking=True)}
    for op, call in plain.items():
        prepared = communicator.prepare(case_of(op), CALLS)
        read_s = min(end - begin for begin, end in (prepared.block(0) for _ in range(ROUNDS))) / CALLS / 1e9
        as_called = getattr(prepared, "as_called", None) or (lambda start_ns: (0, 0))
        begin, end = as_called(0)
        called_s = (end - begin) / CALLS / 1e9
        held_s, queued_s = held(call, subject)
        subject.say(f"us of a streamed {op} of 1 KiB: as read, queued while the device is busy, queueing alone",
                    [round(value * 1e6, 2) for value in (read_s, held_s, queued_s)],
                    f"the first within {CLOSE} times of the second",
                    max(read_s, LEAST_S) <= CLOSE * max(held_s, LEAST_S) <= CLOSE**2 * max(read_s, LEAST_S))
        subject.say(f"us of the same {op} as a program calls it", round(called_s * 1e6, 2),
                    "recorded too, and not less", called_s > 0 and called_s >= 0.8 * read_s)


def held(call: Callable[[], object], subject: Subject) -> tuple[float, float]:
    """Seconds of a call on the device, queued behind work that takes longer than queueing, and of queueing it."""
    first, last = (torch.Event(subject.device, enable_timing=True) for _ in range(2))
    hold_s, held_s, queued_s = 0.01, math.inf, math.inf
    for _ in range(ROUNDS):
        subject.wait()
        subject.load.queue(hold_s)
        begin = time.perf_counter()
        first.record()
        for _ in range(CALLS):
            call()
        last.record()
        took_s = time.perf_counter() - begin
        subject.wait()
        hold_s = max(hold_s, 3 * took_s)
        held_s, queued_s = min(held_s, first.elapsed_time(last) / 1e3), min(queued_s, took_s)
    return held_s / CALLS, queued_s / CALLS


def freed_memory(subject: Subject) -> None:
    """torch keeps what a case has freed, and the device does not count that as free."""
    before = subject.room()
    subject.say("whether the free memory is known", before is not None, "True", before is not None)
    if before is None:
        return
    size = min(16 * GIB, before // 4)
    used = torch.zeros(size, dtype=torch.uint8, device=subject.device)
    subject.wait()
    del used
    after = subject.room() or 0
    subject.say(f"free GiB before and after {size / GIB:.2g} GiB were used and freed",
                [round(value / GIB, 2) for value in (before, after)], "the same", after >= before - size // 8)


def graphs(subject: Subject) -> None:
    """A captured graph replays right. A call that waits for the device cannot be captured, and work goes on after it.

    The last fact, because torch may not clear up all of a capture that failed.
    """
    group, waiting = subject.communicator.timed, [subject.wait] * 2
    source = torch.arange(1024.0).to(subject.device)
    target = torch.zeros_like(source)

    def call() -> None:
        target.copy_(source)
        dist.all_reduce(target, group=group)

    def right_after(step: Callable[[], object]) -> bool:
        target.zero_()
        step()
        return bool(torch.equal(target.cpu(), source.cpu()))
    can = True if subject.task.backend in CAPTURES else None
    replay, why = attempt_capture([call] * 8, subject.device)
    if replay:
        right = right_after(replay)
        subject.say("whether a captured graph replays right", right, "True", right)
    else:
        subject.say("capturing calls as a graph", why, "a graph" if can else "", can and False)
    before = torch.accelerator.current_stream(subject.device)
    _, why = attempt_capture(waiting, subject.device)
    subject.say("capturing a call that waits for the device", why)
    right = right_after(call) and torch.accelerator.current_stream(subject.device) == before
    subject.say("whether calls are right, and on the same stream, after a capture that failed", right, "True", right)


def attempt_capture(calls: Sequence[Callable[[], object]],
                    device: torch.device) -> tuple[Callable[[], object] | None, str]:
    """A call that replays them, or None; and what came of the attempt."""
    if (reason := torch_device.graph_reason(device)) is not None:
        return None, reason
    try:
        return torch_device.captured(calls, device), "a graph"
    except Exception as error:      # each device has its own
        return None, f"refused: {type(error).__name__}: {error}".partition("\n")[0][:120]


def plain_copies(device_name: str, sizes: Sequence[int]) -> dict[str, float]:
    """B/s of copies one after another, by operation and size, on the device's own clock where it has one."""
    device, rates = torch_memory.find_device(device_name, 0), {}
    bind_near(torch_memory.identify(device).get("bus"))     # as ranks are, for the pinned memory
    for size in sizes:
        shape, byte = (COPIES, size), torch.uint8       # a buffer for each call: the caches do not hold them all
        made = {"source": torch.zeros(shape, dtype=byte, device=device),
                "target": torch.zeros(shape, dtype=byte, device=device)}
        pairs = {"copy": ("source", "target")}
        if device.type != "cpu":
            made |= {"pinned": torch.zeros(shape, dtype=byte, pin_memory=True),
                     "pageable": torch.zeros(shape, dtype=byte)}
            pairs |= {"copy_h2d": ("pinned", "target"), "copy_d2h": ("source", "pinned"),
                      "copy_h2d_pageable": ("pageable", "target"), "copy_d2h_pageable": ("source", "pageable")}
        for op, (source, target) in pairs.items():
            rates[f"{op} {size}"] = size / copy_s([*zip(made[source], made[target], strict=True)], device)
    return rates


def copy_s(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], device: torch.device) -> float:
    """Seconds of one copy: the median over rounds of the mean of a round."""
    times_s = []
    for _ in range(ROUNDS):
        if device.type == "cpu":
            begin = time.perf_counter()
            for source, target in pairs:
                target.copy_(source)
            times_s.append(time.perf_counter() - begin)
            continue
        first, last = (torch.Event(device, enable_timing=True) for _ in range(2))
        torch.accelerator.synchronize(device)
        first.record()
        for source, target in pairs:
            target.copy_(source, non_blocking=True)
        last.record()
        torch.accelerator.synchronize(device)
        times_s.append(first.elapsed_time(last) / 1e3)
    return median(times_s) / len(pairs)


def main_plan(task: Task) -> None:
    """The sizes that the main job would keep with one rank on this device, in the time that it has."""
    profile, subject = PROFILES["full"], Subject(task)
    workload, = profile.workloads
    config = workload.config("torch", task.out / "plan", on_device=not task.on_cpu, device=task.device,
                             budget_s=profile.budget_s)
    sizes = SMALL_SIZES if task.small else config.sweep.sizes
    sweep = msgspec.structs.replace(config.sweep, sizes=sizes, ranks=(1,))
    plan = open_session(msgspec.structs.replace(config, sweep=sweep), subject.transport, subject.place).plan
    kept: dict[str, set[int]] = {op: set() for op in HEADLINE}
    for case, asked in plan.cases.items():
        if case.op in kept and case not in plan.refused:
            kept[case.op].add(asked)
    fewest = min(kept.values(), key=len)
    task.say(f"sizes that the main job plans for each headline operation in {profile.budget_s:.0f} s",
             f"{len(fewest)}, to {format_size(max(fewest, default=0))}; {plan.expected_s:.0f} s in all",
             f"{len(sizes)}, to {format_size(max(sizes))}", fewest == set(sizes))


def case_of(op: str, size: int = 1024) -> Case:
    """A case of one rank."""
    reduces = op == "all_reduce"
    return Case(op=op, ranks=1, bytes=size, dtype="float32", redop="sum" if reduces else None, in_place=reduces)


def unused(subject: Subject, size: int) -> Prepared:
    """Two slots to fill and compare, of which none is called."""
    memory = torch_memory.open_memory(2, size, subject.device)
    return Prepared(lambda start_ns: (0, 0), 2, memory, Layout(0, size, 0, size))
