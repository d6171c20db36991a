"""What to measure and how: `RunConfig`, and the command-line options that make one.

The options are the same for `python -m collbench.rank` and `collbench run`.
"""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import click
import msgspec

from .cases import catalog, traffic
from .cases.case import Sweep, parse_size, size_range
from .errors import UsageError
from .loop.alignment import ALIGNMENTS
from .records.record import MODES, Policy
from .transport_names import TRANSPORTS

__all__ = ["Amount", "RankCount", "RunConfig", "Size", "config_from", "measuring_options"]

_MOST_RANKS = 1_000_000
_MOST_SAMPLES = 1_000_000
_SEEDS = click.IntRange(-(1 << 63), (1 << 63) - 1)       # what a journal can hold
_PLACES = {"both": (False, True), "in": (True,), "out": (False,)}

Resume = Literal["never", "same", "anyway"]


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one start of the rank program needs to know; the same on every rank.

    `write` and `read` store it as JSON. `python -m collbench.rank --config FILE` runs such a file, so that a launcher
    need not translate it back into options.

    Args:
        sweep: what to measure; empty `sweep.ranks` stands for the default curve over rank counts.
        journal: file for the results.
        backend: of torch.distributed; None for the default backend of the device.
        device_stride: distance between the devices of two neighbouring ranks of a host.
        expected_ranks: number of ranks that the job must have; None for however many the launcher started.
        device_sizes: sizes instead of those in `sweep` if the buffers are on an accelerator, which only the transport
            knows; empty for the same.
        budget_s: time limit for the whole run in seconds.
        command: the command line to record as provenance.
        case_limit_s: a case that takes longer ends the job; None for the default (see `limit_s`).
        rendezvous_s: how long ranks wait for each other at start-up; None for the default (see `meeting_s`).
        settled: runs that this one continues after a fault; their failed and timed-out cases are not repeated.
        resume: skip the cases that the journal already has: never, if its settings are the same, or anyway.
        library_log_to: directory for the communication library's own log; None: it logs as the user set. Such a run
            is for its log: a short one without a journal, whose ranks' output goes there too. Nothing is run over
            gloo, which has no log.
        library_log_from: such a directory, whose facts become part of the provenance if it is of as many ranks; None or
            absent: no facts.
    """

    transport: str
    device: str = "auto"
    device_stride: int = 1
    backend: str | None = None
    sweep: Sweep
    policy: Policy
    journal: Path
    device_sizes: tuple[int, ...] = ()
    budget_s: float | None = None
    command: tuple[str, ...] = ()
    display: str = "auto"
    case_limit_s: float | None = None
    rendezvous_s: float | None = None
    settled: tuple[str, ...] = ()
    resume: Resume = "never"
    expected_ranks: int | None = None
    library_log_to: Path | None = None
    library_log_from: Path | None = None

    def for_device(self, device: str) -> "RunConfig":
        """The configuration for buffers on `device`, as the transport names it."""
        if device == "cpu" or not self.device_sizes:
            return self
        return msgspec.structs.replace(self, sweep=msgspec.structs.replace(self.sweep, sizes=self.device_sizes))

    @property
    def limit_s(self) -> float:
        """Seconds that a case may take: as requested, else 300 s, or less if the whole run has less.

        A plan with long cases gives them more than this default (see `Watchdog.expect`).
        """
        if self.case_limit_s is not None:
            return self.case_limit_s
        return 300.0 if self.budget_s is None else min(300.0, max(60.0, self.budget_s))

    @property
    def meeting_s(self) -> float:
        """Seconds that ranks wait for each other at start-up: as requested, else as long as a case may take."""
        return max(20.0, self.limit_s) if self.rendezvous_s is None else self.rendezvous_s

    def write(self, path: Path) -> None:
        """Write the configuration to `path` as JSON. UsageError if that fails."""
        try:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self, enc_hook=_encode_path), indent=2) + b"\n")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from None

    @classmethod
    def read(cls, path: Path) -> "RunConfig":
        """The configuration in `path`. UsageError if the file is unreadable or invalid."""
        try:
            config = msgspec.json.decode(path.read_bytes(), type=cls, dec_hook=_decode_path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise UsageError(f"{path}: not a run configuration: {error}") from None
        for what, names, known in (("transport", (config.transport,), (*TRANSPORTS, "loopback")),
                                   ("operation", config.sweep.ops, tuple(catalog.OPERATIONS)),
                                   ("alignment", (config.policy.alignment,), ("auto", *ALIGNMENTS))):
            for name in names:
                if name not in known:
                    raise UsageError(f"{path}: unknown {what} {name!r}: known are {', '.join(known)}")
        return config


def _encode_path(value: object) -> str:
    return str(value)


def _decode_path(kind: type, value: object) -> object:
    return kind(value)


class _Names(click.ParamType):
    """Comma-separated names from a table, or `all`; each key of `groups` stands for several names."""

    name = "NAME,..."

    def __init__(self, known: tuple[str, ...], groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> None:
        self.known, self.groups = known, {"all": known, **groups}

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        given = [part.strip() for part in str(value).split(",") if part.strip()]
        names = tuple(dict.fromkeys(self.resolve(name, param, ctx)
                                    for part in given for name in self.groups.get(part, (part,))))
        return names or self.fail("at least one name is needed", param, ctx)

    def resolve(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is stored; fails if it is unknown."""
        if name not in self.known:
            self.fail(f"{name!r} is not one of: {', '.join([*self.groups, *self.known])}", param, ctx)
        return name


class _TrafficList(_Names):
    """Comma-separated traffic patterns with their parameters, or rounds of links."""

    name = "PATTERN,..."

    def resolve(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return catalog.canonical_traffic(name)
        except UsageError as error:
            self.fail(f"{error}; for links: round-K, round-K-back, pair-A-B", param, ctx)


class Amount(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        return number if math.isfinite(number) else self.fail(f"{number} is not a finite number.", param, ctx)


class RankCount(click.IntRange):
    """A number of ranks or hosts, at least `least`."""

    def __init__(self, least: int = 1) -> None:
        super().__init__(min=least, max=_MOST_RANKS)


class Size(click.ParamType):
    """A number of bytes with an optional K, M or G."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class _Sizes(click.ParamType):
    """Comma-separated sizes."""

    name = "SIZE,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(sorted({Size().convert(part, param, ctx) for part in str(value).split(",")}))


class _RankCounts(click.ParamType):
    """Comma-separated group sizes, or `curve`."""

    name = "N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        if value == "curve":
            return ()
        try:
            counts = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers such as 2,4,8, or curve", param, ctx)
        if counts[0] < 1 or counts[-1] > _MOST_RANKS:
            self.fail(f"{value!r}: group sizes must be from 1 to {_MOST_RANKS} ranks", param, ctx)
        return counts


_OPTIONS = (
    click.option("--transport", type=click.Choice(tuple(TRANSPORTS)), default="torch", show_default=True,
                 help="Communication library to measure."),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|TYPE",
                 help="Where the buffers are. auto: the accelerator if there is one (for MPI, if the MPI reports "
                      "support for it); cpu: host memory; or a torch device type."),
    click.option("--device-stride", type=click.IntRange(1, _MOST_RANKS), default=1, show_default=True, metavar="N",
                 help="Every Nth device of a host gets a rank: 2 takes one die of each package with two."),
    click.option("--backend", default=None, metavar="NAME",
                 help="Backend of torch.distributed, for example gloo, nccl or ucc.  [default: that of the device]"),
    click.option("--ops", type=_Names(tuple(catalog.OPERATIONS), catalog.GROUPS), default="all", show_default=True,
                 help="Operations to measure. copies: local copies on each rank; links: every pair of ranks in "
                      "isolation."),
    click.option("-b", "--begin", type=Size(), default="32", show_default=True, help="Smallest message size."),
    click.option("-e", "--end", type=Size(), default="1M", show_default=True, help="Largest message size."),
    click.option("-f", "--factor", type=float, default=None,
                 help="Multiply the size by this factor from step to step.  [default: 2]"),
    click.option("-i", "--step", type=Size(), default=None,
                 help="Increase the size by this many bytes from step to step, instead of -f."),
    click.option("--sizes", type=_Sizes(), default=None, help="List of message sizes, instead of -b -e -f -i."),
    click.option("--device-sizes", type=_Sizes(), default=None,
                 help="Message sizes instead of those above if the buffers are on an accelerator."),
    click.option("--dtypes", type=_Names(tuple(catalog.DTYPES)), default="float32", show_default=True,
                 help="Element types."),
    click.option("--redops", type=_Names(catalog.REDOPS), default="sum", show_default=True, help="Reduce operations."),
    click.option("--traffic", type=_TrafficList(tuple(traffic.PATTERNS)), default="linear", show_default=True,
                 help=f"Traffic patterns of all_to_all_v: {traffic.spellings()}. For links, the pairs to measure: "
                      "round-K, round-K-back, pair-A-B.  [links: all]"),
    click.option("--place", type=click.Choice(tuple(_PLACES)), default="both", show_default=True,
                 help="In-place, out-of-place, or both where supported."),
    click.option("--group-ranks", type=_RankCounts(), default="curve", show_default=True,
                 help="Rank counts to measure, as groups within the job. curve: 2, 4, 8 ... and all ranks."),
    click.option("--modes", type=_Names(MODES), default="all", show_default=True,
                 help="isolated: one call per sample; streamed: back-to-back calls."),
    click.option("--precision", type=Amount(min=0.0, max=1.0), default=0.02, show_default=True,
                 help="Target relative half-width of the 95 % confidence interval of the median."),
    click.option("--case-seconds", type=Amount(min=0.0, min_open=True), default=0.25, show_default=True,
                 help="Sampling time per case and mode."),
    click.option("--min-samples", type=click.IntRange(1, _MOST_SAMPLES), default=5, show_default=True,
                 help="Minimum number of samples per case and mode, regardless of time."),
    click.option("--alignment", type=click.Choice(("auto", *ALIGNMENTS)), default="auto", show_default=True,
                 help="How ranks start a sample together: agreed (at a time on a common clock), barrier, or none. "
                      "auto: agreed, unless a host has more ranks than cores."),
    click.option("--loop", type=click.Choice(("auto", "native", "python")), default="auto", show_default=True,
                 help="Timing loop: native (compiled; MPI only, needs a C compiler) or python."),
    click.option("--persistent", is_flag=True,
                 help="Use MPI-4 persistent collectives: initialised once, started by each call."),
    click.option("--cache", type=click.Choice(("warm", "cold")), default="warm", show_default=True,
                 help="cold: evict the caches before each sample. warm: leave them as they are after the buffers were "
                      "filled. Either way, each call of a sample has its own buffers."),
    click.option("--graph", is_flag=True,
                 help="Capture the calls of a streamed sample as a graph and replay it, if the device supports "
                      "graphs."),
    click.option("--seed", type=_SEEDS, default=None,
                 help="Seed for the order of the cases.  [default: random, recorded in the journal]"),
    click.option("--in-order", is_flag=True, help="Do not shuffle the cases."),
    click.option("--budget", type=Amount(min=1.0), default=None,
                 help="Time limit for the run in seconds. Cases are left out to meet it, but never verification."),
    click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None,
                 help="Directory for the journal.  [default: results/<time>-<host>]"),
    click.option("--resume", is_flag=True,
                 help="Resume the run in --out: measure missing cases only; fails if its settings differ."),
    click.option("--resume-anyway", is_flag=True, help="Resume even if the settings differ."),
    click.option("--case-limit", type=Amount(min=1.0), default=None,
                 help="Seconds after which a case counts as hung and the job ends.  [default: 300, less with "
                      "--budget, more if longer cases are planned]"),
    click.option("--rendezvous-seconds", type=Amount(min=1.0), default=None,
                 help="Seconds that ranks wait for each other at start-up.  [default: 300, less with --case-limit or "
                      "--budget]"),
    click.option("--expected-ranks", type=RankCount(), default=None,
                 help="Ranks that the job must have. collbench launch and the job scripts pass it; give it to a "
                      "launcher of your own, so that ranks which do not find each other are noticed."),
    click.option("--on-fault", type=click.Choice(("stop", "continue")), default="stop", show_default=True,
                 help="When a rank hangs, dies or fails: stop, or restart the ranks and continue with the next case."),
    click.option("--settled", type=str, default="", hidden=True),
    click.option("--library-log-to", type=click.Path(path_type=Path, file_okay=False), default=None, hidden=True),
    click.option("--library-log-from", type=click.Path(path_type=Path), default=None, hidden=True),
    click.option("--display", type=click.Choice(("auto", "live", "lines", "plain", "quiet")), default="auto",
                 help="Progress: live: a bar; lines: a line every few seconds; plain: none; quiet: no rows either.  "
                      "[default: live on a terminal, or lines if the launcher passes on whole lines only; else plain]"),
)


def measuring_options(command: Callable) -> Callable:
    """Add every option above to a click command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def config_from(values: Mapping[str, Any], out: Path, command: tuple[str, ...]) -> RunConfig:
    """The configuration from the option values that click parsed. UsageError if they contradict each other."""
    seed = random.SystemRandom().randrange(1 << 31) if values["seed"] is None else values["seed"]
    transport = values["transport"]
    if not TRANSPORTS[transport].compiled_loop and (values["loop"] == "native" or values["persistent"]):
        able = ", ".join(row.name for row in TRANSPORTS.values() if row.compiled_loop)
        raise UsageError(f"transport {transport} is called from Python, one call at a time: --loop native and "
                         f"--persistent are for {able}")
    ops = values["ops"] if "noop" in values["ops"] else ("noop", *values["ops"])
    sizes = values["sizes"] or size_range(values["begin"], values["end"], values["factor"], values["step"])
    sweep = Sweep(
        ops=ops, sizes=sizes,
        ranks=values["group_ranks"], dtypes=values["dtypes"], redops=values["redops"], traffics=values["traffic"],
        places=_PLACES[values["place"]], seed=None if values["in_order"] else seed)
    resume: Resume = "anyway" if values["resume_anyway"] else "same" if values["resume"] else "never"
    policy = Policy(modes=values["modes"], alignment=values["alignment"], loop=values["loop"],
                    persistent=values["persistent"], precision=values["precision"],
                    case_s=values["case_seconds"], min_samples=values["min_samples"], cache=values["cache"],
                    graph=values["graph"])
    if values["backend"] and not TRANSPORTS[transport].backends:
        raise UsageError(f"--backend {values['backend']}: transport {transport} has no backends to choose from")
    return RunConfig(transport=transport, device=values["device"], device_stride=values["device_stride"],
                     backend=values["backend"] or None, sweep=sweep, policy=policy,
                     device_sizes=values["device_sizes"] or (),
                     journal=out / "journal.jsonl", budget_s=values["budget"], command=command,
                     display=values["display"], resume=resume, case_limit_s=values["case_limit"],
                     rendezvous_s=values["rendezvous_seconds"], expected_ranks=values["expected_ranks"],
                     settled=tuple(filter(None, values["settled"].split(","))),
                     library_log_to=values["library_log_to"], library_log_from=values["library_log_from"])
