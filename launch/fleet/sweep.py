"""A sweep over the nodes of a fleet: its request, and the launches of its rounds."""

import socket
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from collbench.collectives.cases.case import Sweep
from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.options import RunConfig
from collbench.collectives.records.append_file import AppendFile
from collbench.collectives.records.fleet import FLEET_FILE, PAIRS_FILE, Fleet, PairLaunch
from collbench.collectives.records.record import Policy

from ..job import Job
from ..launchers.base import Launcher
from ..workload import random_seed, typed_command
from .side_by_side import OUTPUT_FILE, Ended, last_lines, run_side_by_side

__all__ = ["OPS", "FleetSweep", "new_fleet", "this_node"]

OPS = ("ping_pong", "all_reduce")
_CPU_SIZES, _DEVICE_SIZES = (8, 1 << 20), (8, 64 << 20)
_SAID = 3           # lines of output that are kept of a launch that failed
_SAMPLES = 8        # fewest of a case: one disturbance should not be the median
_ENVIRONMENT = {"PYTHONSAFEPATH": "1"}


def new_fleet(nodes: Sequence[str], transport: str, ranks_per_node: int, max_slowdown: float,
              must_notice: float) -> Fleet:
    """A sweep that starts now. UsageError for fewer than two nodes, or one that is named twice."""
    if len(nodes) < 2:
        raise UsageError(f"{len(nodes)} node: a fleet has at least 2; name them with --hosts, or run in the allocation "
                         "of a batch system")
    twice = sorted({node for node in nodes if nodes.count(node) > 1})
    if twice:
        raise UsageError(f"named twice: {', '.join(twice[:4])}")
    return Fleet(id=uuid.uuid4().hex[:12], started=datetime.now().astimezone().isoformat(timespec="seconds"),
                 nodes=tuple(nodes), transport=transport, ranks_per_node=ranks_per_node, max_slowdown=max_slowdown,
                 must_notice=must_notice, command=typed_command())


class FleetSweep:
    """The launches of `fleet` in the directory `out`, which must not have another sweep.

    Attributes:
        stopped: number of the signal that stopped a round, else 0.
    """

    def __init__(self, out: Path, fleet: Fleet, launcher: Launcher, sizes: Sequence[int] | None, device: str,
                 case_s: float, pair_limit_s: float) -> None:
        self.out, self.fleet, self._launcher, self._sizes = out.absolute(), fleet, launcher, sizes
        self._device, self._case_s, self._limit_s = device, case_s, pair_limit_s
        self.stopped = 0
        if (self.out / FLEET_FILE).exists():
            raise UsageError(f"--out {out}: there is a sweep already; collbench fleet {out} shows it")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            (self.out / FLEET_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(fleet), indent=2) + b"\n")
            self._log = AppendFile(self.out / PAIRS_FILE)
        except OSError as error:
            raise UsageError(f"--out {out}: {error.strerror}") from None

    def measure(self, number: int, pairs: Sequence[tuple[str, str]], told: Callable[[PairLaunch], None]) -> None:
        """Round `number`: every pair a launch of its own, all at once. `told` is called for each that has ended."""
        def note(ended: Ended) -> None:
            if ended.stopped and ended.status != 0:
                return      # not a finding about its nodes
            launch = self._launch(number, ended)
            try:
                self._log.append(msgspec.json.encode(launch) + b"\n")
            except OSError as error:
                raise CollbenchError(f"{self.out / PAIRS_FILE}: {error.strerror}") from None
            told(launch)
        jobs = [self._job(number, pair) for pair in pairs]
        self.stopped = run_side_by_side(self._launcher, jobs, note, _ENVIRONMENT)

    @staticmethod
    def _launch(number: int, ended: Ended) -> PairLaunch:
        first, second = ended.job.hosts
        said = () if ended.status == 0 else (
            (ended.why,) if ended.why else last_lines(ended.job.out / OUTPUT_FILE, _SAID))
        return PairLaunch(round=number, nodes=(first, second), status=ended.status, said=said,
                          wall_s=round(ended.wall_s, 3))

    def _job(self, number: int, pair: tuple[str, str]) -> Job:
        where = PairLaunch(round=number, nodes=pair, status=None, wall_s=0.0).directory(self.out)
        ranks = 2 * self.fleet.ranks_per_node
        sweep = Sweep(ops=("noop", *OPS), sizes=tuple(self._sizes or _CPU_SIZES), ranks=(ranks,),
                      places=(self.fleet.transport == "torch",), seed=random_seed())       # torch reduces in place only
        policy = Policy(modes=("isolated",), case_s=self._case_s, precision=0.05, min_samples=_SAMPLES)
        config = RunConfig(transport=self.fleet.transport, device=self._device,
                           device_sizes=() if self._sizes else _DEVICE_SIZES, sweep=sweep, policy=policy,
                           journal=where / "journal.jsonl", command=self.fleet.command, display="quiet",
                           rendezvous_s=self._limit_s)
        return Job(config=config, ranks=ranks, nodes=2, hosts=pair, time_limit_s=self._limit_s,
                   name=f"fleet-{self.fleet.id}")


def this_node(nodes: Sequence[str]) -> str:
    """The name of this host among `nodes`, with or without its domain. UsageError if it is not one of them."""
    here = socket.gethostname()
    for node in nodes:
        if node == here or node.partition(".")[0] == here.partition(".")[0]:
            return node
    raise UsageError(f"--this-node: this host, {here}, is none of the {len(nodes)} nodes of the sweep")
