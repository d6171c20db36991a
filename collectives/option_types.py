"""Types of option values that several commands share."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
from click.shell_completion import CompletionItem

from .cases import catalog, moe_patterns, traffic
from .cases.axis_traffic import AxisTraffic, is_mesh
from .cases.case import parse_size
from .cases.families.sequence import check_parts
from .cases.mesh import parse_mesh
from .cases.names import did_you_mean, op_name
from .cases.sequence_traffic import list_name, parse_sequence, remember
from .errors import UsageError
from .transport_names import TRANSPORTS

__all__ = [
    "MOST_RANKS",
    "Amount",
    "BackendName",
    "MeshText",
    "Names",
    "Operations",
    "RankCount",
    "RankCounts",
    "Sequences",
    "Size",
    "Sizes",
    "TrafficList",
    "TransportName",
]

MOST_RANKS = 1_000_000
_MPIS = ("openmpi", "ompi", "mpich", "mvapich", "mvapich2", "impi", "intelmpi")
# Names of libraries, and what torch calls their backend: that of ROCm is nccl, too.
_BACKENDS = MappingProxyType({"nccl": "nccl", "rccl": "nccl", "gloo": "gloo", "ucc": "ucc", "hccl": "hccl",
                              "xccl": "xccl", "oneccl": "xccl"})


class Names(click.ParamType):
    """Comma-separated names from a table, or `all`; each key of `groups` stands for several names.

    Args:
        what: what they name, for messages.
        known: the names as they are stored.
        spelled: turns other spellings into the stored one.
    """

    name = "NAME,..."

    def __init__(self, what: str, known: tuple[str, ...], groups: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
                 spelled: Callable[[str], str | None] = str) -> None:
        self.what, self.known, self.groups, self.spelled = what, known, {"all": known, **groups}, spelled

    @property
    def listed(self) -> str:
        """All values, for the help."""
        return ", ".join([*self.groups, *self.known])

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        given = [part.strip() for part in str(value).split(",") if part.strip()]
        names = tuple(dict.fromkeys(self.resolve(name, param, ctx)
                                    for part in given for name in self.groups.get(part, (part,))))
        return names or self.fail("at least one name is needed", param, ctx)

    def resolve(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is stored; fails if it is unknown."""
        found = name if name in self.known else self.spelled(name)
        if found not in self.known:
            everything = [*self.groups, *self.known]
            meant = did_you_mean(name, everything)
            self.fail(f"there is no {self.what} {name!r}{meant or f'; there are {self.listed}'}", param, ctx)
        return str(found)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that complete the one after the last comma."""
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{name}") for name in (*self.groups, *self.known)
                if name.startswith(last)]


class Operations(Names):
    """Operations of the catalog and their groups, in every spelling that importers read."""

    def __init__(self) -> None:
        super().__init__("operation", tuple(catalog.OPERATIONS), catalog.GROUPS, op_name)


class TrafficList(Names):
    """Comma-separated texts of `Case.traffic`: patterns with their parameters, rounds of links and so on."""

    name = "PATTERN,..."

    def __init__(self) -> None:
        super().__init__("traffic pattern", tuple(traffic.PATTERNS),
                         {"routings": tuple(name for name, row in moe_patterns.PATTERNS.items() if not row.recorded)})

    def resolve(self, name: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The pattern as it is stored; fails if it is none."""
        try:
            return catalog.canonical_traffic(name)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class MeshText(click.ParamType):
    """Names and sizes of the axes of a mesh, as the traffic of every collective on it."""

    name = "NAME=N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(value) if is_mesh(str(value)) else AxisTraffic(parse_mesh(str(value))).text
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Sequences(click.ParamType):
    """Comma-separated sequences: shipped ones, with parameters, and files of calls, as texts of `Case.traffic`."""

    name = "NAME|FILE,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(self._text(part.strip()) for part in str(value).split(",")))
        except UsageError as error:
            self.fail(str(error), param, ctx)

    def _text(self, given: str) -> str:
        from .cases.call_files import ENDINGS, read_calls  # its readers of CSV, TOML and traces take time to load
        path = Path(given)
        if path.suffix.lower() not in ENDINGS:
            return parse_sequence(given).text
        found = read_calls(path)
        check_parts(found)
        remember([found])
        return list_name(found)


class TransportName(click.Choice):
    """A transport; for the name of a library that one of them uses, says which option it belongs to."""

    def __init__(self, *more: str) -> None:
        super().__init__((*TRANSPORTS, *more))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        word = str(value).lower()
        if word in _BACKENDS:
            self.fail(f"{value!r} is a backend of torch: --transport torch --backend {_BACKENDS[word]}", param, ctx)
        if word in _MPIS:
            self.fail(f"{value!r} is an MPI: --transport mpi, under its mpirun", param, ctx)
        return super().convert(value, param, ctx)


class BackendName(click.ParamType):
    """A backend of torch.distributed, in lower case."""

    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | None:
        word = str(value).strip().lower()
        return _BACKENDS.get(word, word) or None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that come with torch or a vendor's plug-in."""
        return [CompletionItem(name) for name in dict.fromkeys(_BACKENDS.values()) if name.startswith(incomplete)]


class Amount(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        return number if math.isfinite(number) else self.fail(f"{number} is not a finite number.", param, ctx)


class RankCount(click.IntRange):
    """A number of ranks or hosts, at least `least`."""

    def __init__(self, least: int = 1) -> None:
        super().__init__(min=least, max=MOST_RANKS)


class Size(click.ParamType):
    """A number of bytes with an optional K, M or G."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class Sizes(click.ParamType):
    """Comma-separated sizes."""

    name = "SIZE,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(sorted({Size().convert(part, param, ctx) for part in str(value).split(",")}))


class RankCounts(click.ParamType):
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
        if counts[0] < 1 or counts[-1] > MOST_RANKS:
            self.fail(f"{value!r}: group sizes must be from 1 to {MOST_RANKS} ranks", param, ctx)
        return counts
