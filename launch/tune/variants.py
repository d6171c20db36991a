"""The table of variants: rows in the files of the folder `tables`, found by their folder, and those of the user."""

import re
import sys
from collections.abc import Collection, Sequence
from fnmatch import fnmatch, fnmatchcase
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import msgspec

from collbench.collectives.cases.names import did_you_mean
from collbench.collectives.errors import UsageError
from collbench.collectives.records.tuning import REFERENCE, RULES, Variant
from collbench.collectives.topology import Accelerators
from collbench.collectives.transport_names import TRANSPORTS

from ..launchers.mpirun import find_mpirun

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Companion", "VariantTable", "lacking", "library_here", "reference", "select", "tables", "user_variant",
           "why_not_here"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NEXT = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_]*=)")     # a comma within a value is followed by something else
_DEFAULT_BACKENDS = MappingProxyType({"cuda": "nccl", "npu": "hccl", "xpu": "xccl"})


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A variant as it is written in a table; what is left out is that of the reference.

    Args:
        hosts: the fewest on which it has an effect.
    """

    name: str
    settings: dict[str, str] = {}
    ops: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    transport: str | None = None
    backend: str | None = None
    graph: bool = False
    hosts: int = 1


class Companion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings that variables of a name need to have an effect.

    Args:
        variable: a pattern of names.
        unless: names that match this one as well do not.
    """

    variable: str
    settings: dict[str, str]
    unless: str = ""

    def needed_by(self, settings: Collection[str]) -> bool:
        """Whether one of these variables needs them."""
        return any(fnmatchcase(name, self.variable) and not fnmatchcase(name, self.unless) for name in settings)


class VariantTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"companions": "with"}):
    """Rows for one library; for none, they are used by name only."""

    title: str
    library: str
    transport: str
    rows: list[Row]
    companions: list[Companion] = []


@cache
def tables() -> MappingProxyType[str, VariantTable]:
    """All tables by name. UsageError if a file is malformed."""
    found = {}
    for file in sorted(resources.files(__package__).joinpath("tables").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            try:
                found[file.name.removesuffix(".toml")] = msgspec.convert(
                    tomllib.loads(file.read_text(encoding="utf-8")), VariantTable)
            except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
                raise UsageError(f"{file.name}: {error}") from None
    return MappingProxyType(found)


def library_here(transport: str, backend: str | None, devices: Accelerators | None) -> str:
    """The library that a table is for: the MPI that starts the ranks, or the backend of torch.distributed."""
    if TRANSPORTS[transport].mpi_ranks:
        return "Open MPI" if find_mpirun().is_open_mpi else "MPICH"
    return backend or (_DEFAULT_BACKENDS.get(devices.kind, "nccl") if devices else "gloo")


def reference(transport: str, backend: str | None) -> Variant:
    """The variant that has no settings of its own."""
    return Variant(name=REFERENCE, transport=transport, backend=backend)


def select(patterns: Sequence[str], library: str, base: Variant, ops: Collection[str],
           ranks: Collection[int], hosts: int = 1) -> list[Variant]:
    """Variants that concern some of `ops` at some of `ranks` on so many hosts.

    Args:
        patterns: names or patterns of variants, or names of tables; `all` for the tables of this library.
        base: the reference.

    Raises:
        UsageError: nothing has such a name.
    """
    chosen: dict[str, Variant] = {}
    for pattern in patterns:
        found = [(row, table) for name, table in tables().items() for row in table.rows
                 if _meant(pattern, name, table, row, library)]
        if not found:
            known = [row.name for table in tables().values() for row in table.rows if table.library in ("", library)]
            meant = did_you_mean(pattern, known) or f"; --list shows those for {library}"
            raise UsageError(f"no variant {pattern!r}{meant}")
        for row, table in found:
            if row.hosts <= hosts and (not row.ops or set(row.ops) & set(ops)) and (
                    not row.ranks or set(row.ranks) & set(ranks)):
                chosen[row.name] = _variant(row, table, base)
    return list(chosen.values())


def _meant(pattern: str, name: str, table: VariantTable, row: Row, library: str) -> bool:
    if pattern == "all":
        return table.library == library
    return pattern == name or (table.library in ("", library) and fnmatch(row.name, pattern))


def _variant(row: Row, table: VariantTable, base: Variant) -> Variant:
    transport = row.transport or base.transport
    backend = row.backend or (base.backend if transport == base.transport else None)
    return Variant(name=row.name, settings=_complete(row.settings, table.companions), ops=row.ops, ranks=row.ranks,
                   transport=transport, backend=backend, python=base.python, graph=row.graph)


def _complete(settings: dict[str, str], companions: Sequence[Companion]) -> dict[str, str]:
    added = {name: value for companion in companions if companion.needed_by(settings)
             for name, value in companion.settings.items()}
    return {**added, **settings}


def user_variant(text: str, base: Variant) -> Variant:
    """The variant in `NAME:KEY=VALUE,...`.

    Keys are environment variables, or one of transport, backend, python (the interpreter of an environment, and with it
    its MPI) and graph (yes). Only what is written is set: no companions are added.

    Raises:
        UsageError: it is malformed, or cannot be started here.
    """
    name, colon, rest = text.partition(":")
    if not colon or not _NAME.fullmatch(name) or name in (REFERENCE, RULES):
        raise UsageError(f"--variant {text!r}: expected NAME:VARIABLE=VALUE,... with a name of letters, digits and "
                         f"_./+- that is not {REFERENCE} or {RULES}")
    values: dict[str, str] = {}
    for part in _NEXT.split(rest):
        key, equals, value = part.partition("=")
        if not equals or not _VARIABLE.fullmatch(key) or "\0" in value:
            raise UsageError(f"--variant {name}: {part!r}: expected VARIABLE=VALUE")
        values[key] = value
    transport = values.pop("transport", base.transport)
    if transport not in TRANSPORTS:
        raise UsageError(f"--variant {name}: transport {transport!r}: known are {', '.join(TRANSPORTS)}")
    python, graph = values.pop("python", base.python), values.pop("graph", "")
    if python and not Path(python).is_file():
        raise UsageError(f"--variant {name}: python={python}: no such file")
    backend = values.pop("backend", base.backend if transport == base.transport else None)
    return Variant(name=name, settings=values, transport=transport, backend=backend, python=python,
                   graph=graph == "yes")


def lacking(variant: Variant) -> list[str]:
    """Settings without which some of a variant's settings have no effect, a clause each."""
    return [f"its settings have no effect without {name}={value}" for table in tables().values()
            for companion in table.companions if companion.needed_by(variant.settings)
            for name, value in companion.settings.items() if variant.settings.get(name) != value]


def why_not_here(variant: Variant) -> str | None:
    """Why this environment cannot start a variant, if that is known without trying."""
    row = TRANSPORTS[variant.transport]
    if not variant.python and find_spec(row.library) is None:
        return f"{row.library} is not installed: {row.install}"
    return None
