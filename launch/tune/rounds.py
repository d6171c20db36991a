"""Rounds of launches: every variant that still races is measured once a round, in random order, while time is left.

Libraries read their settings when they start, so each variant is a start of the ranks. What a launch measured is in its
journal, and each launch that ended is a line of `launches.jsonl`: an interrupted run resumes with the next round.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from collbench.collectives.cases.case import Sweep
from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.options import RunConfig
from collbench.collectives.records.append_file import AppendFile
from collbench.collectives.records.record import MODES, Policy
from collbench.collectives.records.tuning import (
    LAUNCHES_FILE,
    REFERENCE,
    RULES,
    TUNING_FILE,
    Launch,
    Standing,
    Tuning,
    Variant,
    launch_directory,
    read_launches,
)
from collbench.collectives.transport_names import TRANSPORTS

from ..allocation import Allocation
from ..bench import job_here
from ..device_choice import accelerators_for
from ..launchers.mpirun import find_mpirun
from ..library_log import has_log, log_library
from ..supervise import run_job, was_stopped

__all__ = ["Rounds", "write_tuning"]

Open = Mapping[str, Mapping[str, Iterable[tuple[int, int]]]]      # as in Standing

_PROOF_SHARE = 0.3          # of the time, kept for the second measurement
_PROOF_ROUNDS = (4, 8, 16)  # made whatever the time, planned for, at most
_FIRST_S = 10.0             # of a launch, before one is known
_GIVE_UP = 2                # starts in a row that leave nothing
_TORCH_IN_PLACE = ("all_reduce", "reduce")
_SAMPLES = 15       # fewest in a launch: a burst of other work should not be the median


class _Start(msgspec.Struct):
    """One launch that is about to be made: variants by operation, and what to measure."""

    variants: dict[str, Variant]
    sizes: set[int]
    ranks: set[int]

    @property
    def settings(self) -> dict[str, str]:
        return {name: value for variant in self.variants.values() for name, value in variant.settings.items()}

    def takes(self, other: "_Start") -> bool:
        """Whether both can be one start: settings of different operations that do not contradict each other."""
        mine, theirs = (next(iter(start.variants.values())) for start in (self, other))
        if not (mine.ops and theirs.ops and mine.starts_like(theirs) and mine.ranks == theirs.ranks):
            return False
        settings = other.settings
        return not set(self.variants) & set(other.variants) and all(
            settings.get(name, value) == value for name, value in self.settings.items())


class Rounds:
    """The launches of a tuning run in `out`.

    Args:
        proves: rules will be measured again, for which the race leaves some of the time.

    Attributes:
        stopped: exit status if a signal stopped a launch, else 0.
    """

    def __init__(self, out: Path, tuning: Tuning, budget_s: float, allocation: Allocation | None,
                 say: Callable[[str], None], proves: bool = True) -> None:
        self.out, self.tuning, self._allocation, self._say = out, tuning, allocation, say
        self._deadline = time.monotonic() + budget_s
        self._share_s = _PROOF_SHARE * budget_s if proves else 0.0
        self._log = _locked(out / LAUNCHES_FILE)
        self._launches = read_launches(out)
        self._lost: dict[str, int] = {}
        self.stopped = 0

    def race(self, judge: Callable[[int], Standing | None]) -> None:
        """Round after round until all is decided or only the time for the second measurement is left.

        Args:
            judge: called with the number of complete rounds; what is still open, or None for no change.

        Raises:
            CollbenchError: the reference cannot be measured.
        """
        self._given_up(self._launches)
        number = max((launch.round for launch in self._launches if not launch.proof), default=0)
        open_: Open = self._everything()
        for past in range(1, number + 1):
            open_ = self._open_after(judge, past, open_)
        while open_ and self._round(number + 1, self._starts(open_, number + 1), self._kept_s()):
            number += 1
            open_ = self._open_after(judge, number, open_)

    def _open_after(self, judge: Callable[[int], Standing | None], number: int, before: Open) -> Open:
        standing = judge(number)
        if standing is None:
            return before
        self._say(f"after {number} rounds: {standing.words}")
        return standing.open

    def prove(self, rules: Variant, which: str, cells: Mapping[str, Iterable[tuple[int, int]]]) -> None:
        """Measure the reference and `rules` in turn in the time that is left, and as often as a comparison needs.

        Args:
            which: tells these rules from others, which an earlier part of this tuning run may have proved.
        """
        done = max((launch.round for launch in self._launches if launch.proof == which), default=0)
        open_ = {op: {REFERENCE: tuple(where), RULES: tuple(where)} for op, where in cells.items()}
        for number in range(done + 1, _PROOF_ROUNDS[-1] + 1):
            random_order = random.Random(f"{self.tuning.seed} proof {number}")
            starts = [self._start(variant, open_) for variant in (self.tuning.variant(REFERENCE), rules)]
            random_order.shuffle(starts)
            if not self._round(number, starts, 0.0, which):
                return

    def _everything(self) -> Open:
        cells = [(size, ranks) for size in self.tuning.sizes for ranks in self.tuning.ranks]
        return {op: {variant.name: [cell for cell in cells if not variant.ranks or cell[1] in variant.ranks]
                     for variant in self.tuning.variants if variant.concerns(op)} for op in self.tuning.ops}

    def _starts(self, open_: Open, number: int) -> list[_Start]:
        """The launches of a round, in random order; variants of different operations share one where they can."""
        order = random.Random(f"{self.tuning.seed} {number}")
        names = sorted({name for variants in open_.values() for name in variants})
        starts: list[_Start] = []
        for name in order.sample(names, len(names)):
            if self._lost.get(name, 0) >= _GIVE_UP:
                continue
            start = self._start(self.tuning.variant(name), open_)
            host = next((other for other in starts if other.takes(start)), None)
            if host is None:
                starts.append(start)
            else:
                host.variants |= start.variants
                host.sizes |= start.sizes
                host.ranks |= start.ranks
        return starts

    @staticmethod
    def _start(variant: Variant, open_: Open) -> _Start:
        where = {op: list(variants[variant.name]) for op, variants in open_.items() if variant.name in variants}
        cells = [cell for some in where.values() for cell in some]
        return _Start(dict.fromkeys(where, variant), {size for size, _ in cells}, {ranks for _, ranks in cells})

    def _kept_s(self) -> float:
        """Time that the race leaves to the second measurement."""
        return min(self._share_s, 2 * _PROOF_ROUNDS[1] * self._usual_s())

    def _usual_s(self) -> float:
        walls = sorted(launch.wall_s for launch in self._launches)
        return walls[len(walls) // 2] if walls else _FIRST_S

    def _round(self, number: int, starts: list[_Start], kept_s: float, proof: str = "") -> bool:
        """Make the launches of a round; False if time or a signal ended it."""
        needed = number <= (_PROOF_ROUNDS[0] if proof else 1)
        for start in starts:
            left_s = self._deadline - time.monotonic() - kept_s
            if not needed and left_s < self._usual_s():
                return False
            launch = self._launch(number, start, proof)
            if was_stopped(launch.status):
                self.stopped = launch.status
                return False
            self._given_up([launch])
        return True

    def _launch(self, number: int, start: _Start, proof: str) -> Launch:
        identity = 1 + max((launch.number for launch in self._launches), default=0)
        while launch_directory(self.out, identity).exists():       # of a launch that did not end
            identity += 1
        variant = next(iter(start.variants.values()))
        begin = time.monotonic()
        try:
            status = self._run(self._config(identity, start, variant), start, variant, logged=number == 1)
        except CollbenchError as error:
            self._say(f"{variant.name}: {error}")
            status = error.exit_status
        launch = Launch(number=identity, round=number, proof=proof, status=status,
                        variants={op: one.name for op, one in start.variants.items()},
                        wall_s=round(time.monotonic() - begin, 3))
        self._launches.append(launch)
        try:
            self._log.append(msgspec.json.encode(launch) + b"\n")
        except OSError as error:
            raise CollbenchError(f"{self.out / LAUNCHES_FILE}: {error.strerror}") from None
        return launch

    def _run(self, config: RunConfig, start: _Start, variant: Variant, logged: bool) -> int:
        """The exit status; `logged` first starts the ranks for the log of a library on a device, which has one."""
        launcher, job = job_here(config, self.tuning.job_ranks, self._allocation)
        if variant.python:
            job = msgspec.structs.replace(job, python=variant.python)
            if job.needs_mpi:
                launcher = find_mpirun(variant.python)
        job = msgspec.structs.replace(job, variables=start.settings)
        if logged and has_log(config, accelerators_for(config.device) is not None):
            status, log = log_library(launcher, job)
            if was_stopped(status):
                return status
            job = msgspec.structs.replace(job, config=msgspec.structs.replace(config, library_log_from=log))
        return run_job(launcher, job)

    def _config(self, identity: int, start: _Start, variant: Variant) -> RunConfig:
        tuning = self.tuning
        sweep = Sweep(ops=tuple(start.variants), sizes=tuple(sorted(start.sizes)), ranks=tuple(sorted(start.ranks)),
                      dtypes=(tuning.dtype,), redops=("sum",), places=self._places(start),
                      seed=tuning.seed + identity)
        # How many calls a streamed sample needs is known from isolated ones.
        modes = MODES if tuning.mode == "streamed" else (tuning.mode,)
        policy = Policy(modes=modes, case_s=tuning.case_s, min_samples=_SAMPLES, graph=variant.graph)
        backend = variant.backend if TRANSPORTS[variant.transport].backends else None
        return RunConfig(transport=variant.transport, backend=backend, device=tuning.device, sweep=sweep,
                         policy=policy, journal=launch_directory(self.out, identity) / "journal.jsonl",
                         command=tuning.command, display="quiet")

    def _places(self, start: _Start) -> tuple[bool, ...]:
        """Out of place, but where torch takes part, in place those operations that it has in place only."""
        torch = any(variant.transport == "torch" for variant in self.tuning.variants)
        return tuple(sorted({torch and op in _TORCH_IN_PLACE for op in start.variants}))

    def _given_up(self, launches: Iterable[Launch]) -> None:
        """Count starts that left nothing; UsageError if the reference is one that is given up."""
        for launch in launches:
            journal = launch.directory(self.out) / "journal.jsonl"
            for name in set(launch.variants.values()):
                lost = launch.status != 0 and not journal.exists()
                self._lost[name] = self._lost.get(name, 0) + 1 if lost else 0
                if lost and name == REFERENCE:
                    raise UsageError(f"the ranks do not start without any setting either (status {launch.status}): "
                                     "collbench doctor says what is missing")
                if lost and self._lost[name] == _GIVE_UP:
                    self._say(f"{name}: {_GIVE_UP} starts in a row left nothing; it is given up")


def _locked(path: Path) -> AppendFile:
    """The list of launches, to append to, by one process at a time. UsageError if another one has it."""
    try:
        file = AppendFile(path)
        file.end_line()
    except BlockingIOError:
        raise UsageError(f"{path.parent}: another collbench tune is measuring into this directory") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    return file


def write_tuning(out: Path, tuning: Tuning) -> None:
    """Write what is compared into `out`. UsageError if that fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / TUNING_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(tuning), indent=2) + b"\n")
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
