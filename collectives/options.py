"""The options that say what to measure and how; the same for `python -m collbench.rank` and `collbench run`."""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import click

from .cases import catalog, link_rounds
from .cases.case import Sweep, parse_size, size_range
from .errors import UsageError
from .loop.alignment import ALIGNMENTS
from .records.record import MODES, Policy
from .request import Request
from .transports import TRANSPORTS

__all__ = ["Amount", "RankCount", "Size", "measuring_options", "request_from"]

_MOST_RANKS = 1_000_000
_MOST_SAMPLES = 1_000_000
_SEEDS = click.IntRange(-(1 << 63), (1 << 63) - 1)       # what a journal can hold
_PLACES = {"both": (False, True), "in": (True,), "out": (False,)}


class _Names(click.ParamType):
    """Comma-separated names out of a table, or `all`; `groups` are names that stand for several."""

    name = "NAME,..."

    def __init__(self, known: tuple[str, ...], groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> None:
        self.known, self.groups = known, {"all": known, **groups}

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        given = [part.strip() for part in str(value).split(",") if part.strip()]
        names = tuple(dict.fromkeys(name for part in given for name in self.groups.get(part, (part,))))
        for name in names:
            if not self.knows(name):
                self.fail(f"{name!r} is not one of: {', '.join([*self.groups, *self.known])}", param, ctx)
        return names or self.fail("at least one name is needed", param, ctx)

    def knows(self, name: str) -> bool:
        """Whether there is anything called `name`."""
        return name in self.known


class _Traffic(_Names):
    """As above, or pairings of links."""

    def knows(self, name: str) -> bool:
        return super().knows(name) or link_rounds.is_name(name)


class Amount(click.FloatRange):
    """A number in a range; neither infinity nor what is none."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{number} is no finite number.", param, ctx)


class RankCount(click.IntRange):
    """Ranks or hosts: from `least` to more than any machine has."""

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
        if isinstance(value, tuple) or value == "curve":
            return () if value == "curve" else value
        try:
            counts = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers such as 2,4,8, or curve", param, ctx)
        if counts[0] < 1 or counts[-1] > _MOST_RANKS:
            self.fail(f"{value!r}: groups have from 1 to {_MOST_RANKS} ranks", param, ctx)
        return counts


_OPTIONS = (
    click.option("--transport", type=click.Choice(tuple(TRANSPORTS)), default="torch", show_default=True,
                 help="The library to measure."),
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|TYPE",
                 help="Where payloads live: auto takes the accelerator where there is one (for MPI, where the MPI "
                      "says that it can use it), cpu the host, or name a type as torch does."),
    click.option("--ops", type=_Names(tuple(catalog.OPERATIONS), catalog.GROUPS), default="all", show_default=True,
                 help="Operations to measure; copies are those within a rank, links those of every pair by itself."),
    click.option("-b", "--begin", type=Size(), default="32", show_default=True, help="Smallest message size."),
    click.option("-e", "--end", type=Size(), default="1M", show_default=True, help="Largest message size."),
    click.option("-f", "--factor", type=float, default=None, help="Each size is this factor larger.  [default: 2]"),
    click.option("-i", "--step", type=Size(), default=None, help="Each size is so many bytes larger, instead of -f."),
    click.option("--sizes", type=_Sizes(), default=None, help="Message sizes one by one, instead of -b -e -f -i."),
    click.option("--dtypes", type=_Names(tuple(catalog.DTYPES)), default="float32", show_default=True,
                 help="Element types."),
    click.option("--redops", type=_Names(catalog.REDOPS), default="sum", show_default=True, help="Reduce operations."),
    click.option("--traffic", type=_Traffic(tuple(catalog.TRAFFIC)), default="linear", show_default=True,
                 help="How uneven all_to_all_v is; or which pairs of links meet: round-K, round-K-back, pair-A-B.  "
                      "[links: all]"),
    click.option("--place", type=click.Choice(tuple(_PLACES)), default="both", show_default=True,
                 help="In-place, out-of-place, or both where both exist."),
    click.option("--group-ranks", type=_RankCounts(), default="curve", show_default=True,
                 help="Ranks to measure over, as groups of one job; curve is 2,4,8 ... and the whole job."),
    click.option("--modes", type=_Names(MODES), default="all", show_default=True,
                 help="isolated: one call a sample; streamed: calls back to back."),
    click.option("--precision", type=Amount(min=0.0, max=1.0), default=0.02, show_default=True,
                 help="Stop a case when the 95 % interval of its median is this narrow, either way."),
    click.option("--case-seconds", type=Amount(min=0.0, min_open=True), default=0.25, show_default=True,
                 help="Time for the samples of one mode of one case."),
    click.option("--min-samples", type=click.IntRange(1, _MOST_SAMPLES), default=5, show_default=True,
                 help="Samples of one mode of one case, whatever the time."),
    click.option("--alignment", type=click.Choice(("auto", *ALIGNMENTS)), default="auto", show_default=True,
                 help="How ranks start a sample together: at a moment agreed on a common clock, or after a barrier; "
                      "auto agrees, unless a host has more ranks than cores."),
    click.option("--loop", type=click.Choice(("auto", "native", "python")), default="auto", show_default=True,
                 help="What runs between two clock readings: a compiled loop (MPI, where a compiler is found), or "
                      "Python."),
    click.option("--persistent", is_flag=True,
                 help="Use MPI-4 persistent collectives: set up once, started by each call."),
    click.option("--cache", type=click.Choice(("warm", "cold")), default="warm", show_default=True,
                 help="cold fills the caches with something else before each sample; warm leaves in them what filling "
                      "the buffers put there. Each call of a sample has buffers of its own either way."),
    click.option("--graph", is_flag=True,
                 help="Capture the calls of a streamed sample once and replay them as one graph, where the device "
                      "has graphs."),
    click.option("--seed", type=_SEEDS, default=None, help="Order of the cases; chosen and recorded when not given."),
    click.option("--in-order", is_flag=True, help="Do not shuffle the cases."),
    click.option("--budget", type=Amount(min=1.0), default=None,
                 help="Seconds for the whole run; sizes are dropped to keep to it, never verification."),
    click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None,
                 help="Directory for the journal.  [default: results/<time>-<host>]"),
    click.option("--resume", is_flag=True,
                 help="Go on with the journal in --out: measure only what it lacks; refuse if it was taken otherwise."),
    click.option("--resume-anyway", is_flag=True, help="The same, also with a journal that was taken otherwise."),
    click.option("--case-limit", type=Amount(min=1.0), default=None,
                 help="Seconds after which a case is taken for a hang, and the job ends.  [default: 300, less with "
                      "--budget]"),
    click.option("--rendezvous-seconds", type=Amount(min=1.0), default=None,
                 help="Seconds that ranks wait for each other to come.  [default: 300, less with --case-limit or "
                      "--budget]"),
    click.option("--on-fault", type=click.Choice(("stop", "continue")), default="stop", show_default=True,
                 help="When a rank hung, died or failed: end, or start the ranks again and go on with the next case."),
    click.option("--settled", type=str, default="", hidden=True),
    click.option("--display", type=click.Choice(("auto", "live", "plain", "quiet")), default="auto", hidden=True),
)


def measuring_options(command: Callable) -> Callable:
    """Add every option above to a click command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request_from(values: dict, out: Path, command: tuple[str, ...]) -> Request:
    """A request from the values that click parsed. UsageError where they contradict each other."""
    seed = random.SystemRandom().randrange(1 << 31) if values["seed"] is None else values["seed"]
    if values["transport"] != "mpi" and (values["loop"] == "native" or values["persistent"]):
        raise UsageError(f"transport {values['transport']} is called from Python, one call at a time: "
                         "--loop native and --persistent are for mpi")
    ops = values["ops"] if "noop" in values["ops"] else ("noop", *values["ops"])
    sizes = values["sizes"] or size_range(values["begin"], values["end"], values["factor"], values["step"])
    sweep = Sweep(
        ops=ops, sizes=sizes,
        ranks=values["group_ranks"], dtypes=values["dtypes"], redops=values["redops"], traffics=values["traffic"],
        places=_PLACES[values["place"]], seed=None if values["in_order"] else seed)
    resume = "anyway" if values["resume_anyway"] else "same" if values["resume"] else "never"
    policy = Policy(modes=values["modes"], alignment=values["alignment"], loop=values["loop"],
                    persistent=values["persistent"], precision=values["precision"],
                    case_s=values["case_seconds"], min_samples=values["min_samples"], cache=values["cache"],
                    graph=values["graph"])
    return Request(transport=values["transport"], device=values["device"], sweep=sweep, policy=policy,
                   journal=out / "journal.jsonl", budget_s=values["budget"], command=command,
                   display=values["display"], resume=resume, case_limit_s=values["case_limit"],
                   rendezvous_s=values["rendezvous_seconds"],
                   settled=tuple(filter(None, values["settled"].split(","))))
