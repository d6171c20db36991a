"""What to measure and how: `RunConfig`, and the command-line options that make one.

The options are the same for `python -m collbench.rank` and `collbench run`.
"""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from .cases import catalog, moe_workload
from .cases.calls import CallList
from .cases.case import Sweep, size_range
from .cases.names import dtype_name, redop_name
from .cases.sequence_traffic import lists_of, remember, spelling
from .errors import UsageError
from .loop.alignment import ALIGNMENTS
from .option_groups import HOW, RUN, WHAT, option
from .option_types import (
    MOST_RANKS,
    Amount,
    BackendName,
    MeshText,
    Names,
    Operations,
    RankCount,
    RankCounts,
    Sequences,
    Size,
    Sizes,
    TrafficList,
    TransportName,
)
from .records.record import CACHE_STATES, MODES, Policy
from .transport_names import TRANSPORTS

__all__ = ["RunConfig", "config_from", "measuring_options"]

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
        lists: the calls of sequences that came from files, which only the host of the command may have.
        library_log_from: such a directory, whose facts become part of the provenance if it is of as many ranks; None or
            absent: no facts.
        echo_journal: print every line of the journal, too (see `records.echo`).
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
    echo_journal: bool = False
    lists: tuple[CallList, ...] = ()

    def __post_init__(self) -> None:
        remember(self.lists)

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


_OPTIONS = (
    option("--transport", group=WHAT, type=TransportName(), default="torch", show_default=True,
           help="Interface to measure: torch.distributed, or MPI."),
    option("--backend", group=WHAT, type=BackendName(), default=None,
           help="Backend of torch.distributed: nccl (RCCL too), gloo, hccl, xccl, ucc ...  [default: that of the "
                "device]"),
    option("--device", group=WHAT, default="auto", show_default=True, metavar="auto|cpu|TYPE",
           help="Where the buffers are. auto: the accelerator if there is one (for MPI, if the MPI reports "
                "support for it); cpu: host memory; or a torch device type."),
    option("--device-stride", group=WHAT, type=click.IntRange(1, MOST_RANKS), default=1, show_default=True,
           metavar="N", help="Every Nth device of a host gets a rank: 2 takes one die of each package with two."),
    option("--ops", group=WHAT, type=Operations(), default="all", show_default=True,
           help="Operations to measure. copies: local copies on each rank; links: every pair of ranks in isolation; "
                "moe: the exchange of a mixture-of-experts layer."),
    option("-b", "--begin", group=WHAT, type=Size(), default="32", show_default=True, help="Smallest message size."),
    option("-e", "--end", group=WHAT, type=Size(), default="1M", show_default=True, help="Largest message size."),
    option("-f", "--factor", group=WHAT, type=float, default=None,
           help="Multiply the size by this factor from step to step.  [default: 2]"),
    option("-i", "--step", group=WHAT, type=Size(), default=None,
           help="Increase the size by this many bytes from step to step, instead of -f."),
    option("--sizes", group=WHAT, type=Sizes(), default=None, help="List of message sizes, instead of -b -e -f -i."),
    option("--device-sizes", group=WHAT, type=Sizes(), default=None,
           help="Message sizes instead of those above if the buffers are on an accelerator."),
    option("-d", "--dtypes", group=WHAT, type=Names("element type", tuple(catalog.DTYPES), spelled=dtype_name),
           default="float32", show_default=True, help="Element types."),
    option("-o", "--redops", group=WHAT, type=Names("reduce operation", catalog.REDOPS, spelled=redop_name),
           default="sum", show_default=True, help="Reduce operations."),
    option("--traffic", group=WHAT, type=TrafficList(), default="linear", show_default=True,
           help=f"Who sends how much to whom, or which pairs: {catalog.spellings()}.  [links: all rounds]"),
    option("--moe", group=WHAT, type=str, default="", metavar="NAME=N,...",
           help="Workload of the moe operations, added to each of their patterns: hidden, topk, experts, redundant, "
                "placement, seed, steps, group.  [default: hidden=7168,topk=8,experts=256]"),
    option("--via", group=WHAT, type=Names("implementation", moe_workload.VIAS), default=None,
           help="Implementations of the moe operations: counts (numbers of rows, then rows), gather (all tokens to all "
                "ranks), two-stage (between nodes of --moe group=N ranks, then within).  [default: counts]"),
    option("--tokens", group=WHAT, type=Sizes(), default=None, metavar="N,...",
           help="Tokens of a rank, instead of message sizes, for the moe operations."),
    option("--mesh", group=WHAT, type=MeshText(), default=None, metavar="NAME=N,...",
           help="Measure collectives in the groups of each axis of this mesh, all groups at once, alone and while the "
                "other axes communicate: tp=4,ep=2. Ranks are placed row by row; -1 stands for the rest."),
    option("--sequence", group=WHAT, type=Sequences(), default=None, metavar="NAME|FILE,...",
           help="Measure sequences of calls as one case each, and their parts, instead of all operations: "
                f"{spelling()}; or the calls in a file, CSV or TOML. --ops sequences: all of these."),
    option("--place", group=WHAT, type=click.Choice(tuple(_PLACES)), default="both", show_default=True,
           help="In-place, out-of-place, or both where supported."),
    option("--group-ranks", group=WHAT, type=RankCounts(), default="curve", show_default=True,
           help="Rank counts to measure, as groups within the job. curve: 2, 4, 8 ... and all ranks."),
    option("--modes", group=HOW, type=Names("mode", MODES), default="all", show_default=True,
           help="isolated: one call per sample; streamed: back-to-back calls."),
    option("-n", "--samples", group=HOW, type=click.IntRange(1, _MOST_SAMPLES), default=None, metavar="N",
           help="Exactly N samples per case and mode, instead of as many as --precision and --case-seconds need. A "
                "sample is one call if isolated, a block of calls if streamed."),
    option("-w", "--warmup", group=HOW, type=click.IntRange(0, _MOST_SAMPLES), default=None, metavar="N",
           help="Exactly N samples before the first that counts.  [default: until they get no faster]"),
    option("-c", "--check", group=HOW, type=click.IntRange(0), default=1, metavar="N", expose_value=False,
           help="For command lines of nccl-tests: results are always verified, outside the timed region, whatever N "
                "is."),
    option("--precision", group=HOW, type=Amount(min=0.0, max=1.0), default=0.02, show_default=True,
           help="Target relative half-width of the 95 % confidence interval of the median."),
    option("--case-seconds", group=HOW, type=Amount(min=0.0, min_open=True), default=0.25, show_default=True,
           help="Sampling time per case and mode."),
    option("--min-samples", group=HOW, type=click.IntRange(1, _MOST_SAMPLES), default=5, show_default=True,
           help="Minimum number of samples per case and mode, regardless of time."),
    option("--alignment", group=HOW, type=click.Choice(("auto", *ALIGNMENTS)), default="auto", show_default=True,
           help="How ranks start a sample together: agreed (at a time on a common clock), barrier, or none. "
                "auto: agreed, unless a host has more ranks than cores."),
    option("--loop", group=HOW, type=click.Choice(("auto", "native", "python")), default="auto", show_default=True,
           help="Timing loop: native (compiled; MPI only, needs a C compiler) or python."),
    option("--persistent", group=HOW, is_flag=True,
           help="Use MPI-4 persistent collectives: initialised once, started by each call."),
    option("--cache", group=HOW, type=click.Choice(CACHE_STATES), default="warm", show_default=True,
           help="State of the caches before a sample. warm: the call before was the same one on the same buffers, as "
                "in OSU and nccl-tests; the last call of each sample is verified. rotated: each call has buffers of "
                "its own, which its rank has just filled, and is verified. cold: as rotated, then evicted."),
    option("--graph", group=HOW, is_flag=True,
           help="Capture the calls of a streamed sample as a graph and replay it, if the device supports graphs."),
    option("--seed", group=HOW, type=_SEEDS, default=None,
           help="Seed for the order of the cases.  [default: random, recorded in the journal]"),
    option("--in-order", group=HOW, is_flag=True, help="Do not shuffle the cases."),
    option("--budget", group=HOW, type=Amount(min=1.0), default=None,
           help="Time limit for the run in seconds. Cases are left out to meet it, but never verification."),
    option("--out", group=RUN, type=click.Path(path_type=Path, file_okay=False), default=None,
           help="Directory for the journal.  [default: results/<time>-<host>]"),
    option("--resume", group=RUN, is_flag=True,
           help="Resume the run in --out: measure missing cases only; fails if its settings differ."),
    option("--resume-anyway", group=RUN, is_flag=True, help="Resume even if the settings differ."),
    option("--case-limit", group=RUN, type=Amount(min=1.0), default=None,
           help="Seconds after which a case counts as hung and the job ends.  [default: 300, less with "
                "--budget, more if longer cases are planned]"),
    option("--rendezvous-seconds", group=RUN, type=Amount(min=1.0), default=None,
           help="Seconds that ranks wait for each other at start-up.  [default: 300, less with --case-limit or "
                "--budget]"),
    option("--expected-ranks", group=RUN, type=RankCount(), default=None,
           help="Ranks that the job must have. collbench launch and the job scripts pass it; give it to a "
                "launcher of your own, so that ranks which do not find each other are noticed."),
    option("--echo-journal", group=RUN, is_flag=True,
           help="Print every record, too, compressed and without samples: collbench report rebuilds the journal from "
                "such a log, for example of kubectl logs."),
    option("--on-fault", group=RUN, type=click.Choice(("stop", "continue")), default="stop", show_default=True,
           help="When a rank hangs, dies or fails: stop, or restart the ranks and continue with the next case."),
    click.option("--settled", type=str, default="", hidden=True),
    click.option("--library-log-to", type=click.Path(path_type=Path, file_okay=False), default=None, hidden=True),
    click.option("--library-log-from", type=click.Path(path_type=Path), default=None, hidden=True),
    click.option("--display", type=click.Choice(("auto", "live", "lines", "plain", "brief", "quiet")), default="auto",
                 help="Progress: live: a bar; lines: a line every few seconds; plain: none; brief: only cases "
                      "that failed, and a summary; quiet: nothing.  "
                      "[default: live on a terminal, or lines if the launcher passes on whole lines only; else plain]"),
)


def measuring_options(command: Callable) -> Callable:
    """Add every option above to a click command."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def _traffics(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Those given, with the workload of --moe and --via added to the patterns that route tokens."""
    given, rows = values["traffic"], [catalog.OPERATIONS[op] for op in values["ops"]]
    asked = [name for name in ("moe", "via", "tokens") if values[name]]
    if asked and not any(row.group == "moe" for row in rows):
        raise UsageError(f"--{asked[0]} is for {', '.join(catalog.GROUPS['moe'])}")
    if not (values["moe"] or values["via"]):
        return tuple(given)
    if any(row.uneven for row in rows):
        raise UsageError("--moe and --via change the traffic patterns of all operations: measure all_to_all_v in "
                         "another run")
    routed = [text for text in given if moe_workload.reads_as_workload(text)]
    parameters = [word.strip() for word in values["moe"].split(",") if word.strip()]
    more = moe_workload.extended(routed or ["uniform"], parameters, values["via"] or ())
    return (*(text for text in given if text not in routed), *more)


def _check_axes(lists: tuple[CallList, ...], traffics: tuple[str, ...]) -> None:
    """Raise UsageError if a list has calls on an axis, and there is no mesh."""
    for one in lists:
        if one.axes and not one.mesh and not any("mesh" in text for text in traffics):
            raise UsageError(f"{one.source}: its calls on axis {one.axes[0]} need a mesh: --mesh "
                             f"{','.join(f'{axis}=N' for axis in one.axes)}")


def config_from(values: Mapping[str, Any], out: Path, command: tuple[str, ...]) -> RunConfig:
    """The configuration from the option values that click parsed. UsageError if they contradict each other."""
    seed = random.SystemRandom().randrange(1 << 31) if values["seed"] is None else values["seed"]
    transport = values["transport"]
    if not TRANSPORTS[transport].compiled_loop and (values["loop"] == "native" or values["persistent"]):
        able = ", ".join(row.name for row in TRANSPORTS.values() if row.compiled_loop)
        raise UsageError(f"transport {transport} is called from Python, one call at a time: --loop native and "
                         f"--persistent are for {able}")
    ops, traffics = values["ops"], (*_traffics(values), *filter(None, [values["mesh"]]))
    if sequences := values["sequence"] or ():
        ops = ("sequence",) if ops == catalog.GROUPS["all"] else tuple(dict.fromkeys([*ops, "sequence"]))
        traffics = tuple(dict.fromkeys([*traffics, *sequences]))
    _check_axes(lists_of(sequences), traffics)
    ops = ops if "noop" in ops else ("noop", *ops)
    sizes = values["sizes"] or size_range(values["begin"], values["end"], values["factor"], values["step"])
    sweep = Sweep(
        ops=ops, sizes=sizes,
        ranks=values["group_ranks"], dtypes=values["dtypes"], redops=values["redops"], traffics=traffics,
        tokens=values["tokens"] or (),
        places=_PLACES[values["place"]], seed=None if values["in_order"] else seed)
    resume: Resume = "anyway" if values["resume_anyway"] else "same" if values["resume"] else "never"
    policy = Policy(modes=values["modes"], alignment=values["alignment"], loop=values["loop"],
                    persistent=values["persistent"], precision=values["precision"],
                    case_s=values["case_seconds"], min_samples=values["min_samples"], cache=values["cache"],
                    graph=values["graph"], warmup=values["warmup"])
    if values["samples"]:
        policy = msgspec.structs.replace(policy, min_samples=values["samples"], max_samples=values["samples"])
    if values["backend"] and not TRANSPORTS[transport].backends:
        raise UsageError(f"--backend {values['backend']}: transport {transport} has no backends to choose from")
    return RunConfig(transport=transport, device=values["device"], device_stride=values["device_stride"],
                     backend=values["backend"] or None, sweep=sweep, policy=policy,
                     device_sizes=values["device_sizes"] or (),
                     journal=out / "journal.jsonl", budget_s=values["budget"], command=command,
                     display=values["display"], resume=resume, case_limit_s=values["case_limit"],
                     rendezvous_s=values["rendezvous_seconds"], expected_ranks=values["expected_ranks"],
                     settled=tuple(filter(None, values["settled"].split(","))),
                     echo_journal=values["echo_journal"], library_log_to=values["library_log_to"],
                     library_log_from=values["library_log_from"],
                     lists=lists_of(sequences))
