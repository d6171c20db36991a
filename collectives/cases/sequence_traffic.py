"""`Case.traffic` of a sequence: a shipped one with its parameters, or a list of calls by name and digest.

    fsdp:layers=8:mesh=dp=4/tp=2        a shipped sequence (see `sequences`), over a mesh
    layer@1f3a90bc:mesh=dp=4/tp=2       the list of a file (see `call_files`), which must be known to make its calls

A list is known where it was read, or where it came with the configuration of a run or with its journal (`remember`).
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ..errors import UsageError
from .calls import Call, CallList
from .mesh import Mesh, parse_mesh
from .sequences import shipped

__all__ = ["Sequence", "calls_of", "list_name", "listed", "lists_in", "lists_of", "parse_sequence", "remember",
           "spelling"]

_LIST = re.compile(r"[A-Za-z0-9_.+-]{1,64}@[0-9a-f]{8}")
_WHOLE = re.compile(r"[0-9]{1,7}")
_known: dict[str, CallList] = {}        # by name and digest


class Sequence(NamedTuple):
    """What the traffic of a case says.

    Args:
        name: of a shipped sequence, or name and digest of a list.
        parameters: those that are not at their defaults.
        mesh: None without axes.
    """

    name: str
    parameters: tuple[tuple[str, int], ...] = ()
    mesh: Mesh | None = None

    @property
    def text(self) -> str:
        """The canonical text, which `parse_sequence` reads back."""
        words = [self.name, *(f"{name}={value}" for name, value in self.parameters)]
        return ":".join([*words, f"mesh={self.mesh.text}"] if self.mesh else words)

    @property
    def is_list(self) -> bool:
        """Whether it is a list of calls from a file, with sizes of its own."""
        return "@" in self.name

    def over(self, mesh: Mesh | None) -> "Sequence":
        """The sequence on this mesh; without it, if no call is made in the groups of one of its axes."""
        if mesh is None:
            return self
        axes = listed(self.name).axes if self.is_list and listed(self.name) else (_axis(self.name),)
        return self._replace(mesh=mesh if any(axis in mesh.names for axis in axes) else None)


def remember(lists: Iterable[CallList]) -> None:
    """Make these lists known to this process."""
    _known.update((list_name(one), one) for one in lists)


def lists_in(kept: object) -> list[CallList]:
    """The lists that a journal keeps in its provenance; those that are damaged are left out."""
    found: list[CallList] = []
    for one in kept.values() if isinstance(kept, dict) else ():
        with suppress(msgspec.ValidationError):
            found.append(msgspec.convert(one, CallList))
    return found


def list_name(calls: CallList) -> str:
    """Name and digest, which stand for the list in the traffic of a case."""
    return f"{re.sub(r'[^A-Za-z0-9_.+-]', '_', calls.name)[:64]}@{calls.digest}"


def lists_of(texts: Iterable[str]) -> tuple[CallList, ...]:
    """The lists that these texts name, as far as they are known here."""
    names = dict.fromkeys(parse_sequence(text).name for text in texts)
    return tuple(_known[name] for name in names if name in _known)


def listed(name: str) -> CallList:
    """The list of this name and digest; one without calls if it is not known here."""
    return _known.get(name, CallList(name, ()))


def spelling() -> str:
    """All shipped sequences with their parameters, for help texts and messages."""
    return ", ".join(name + "".join(f"[:{parameter}=N]" for parameter in module.PARAMETERS)
                     for name, module in shipped().items())


@lru_cache(maxsize=1024)
def parse_sequence(text: str) -> Sequence:
    """What `text` says. UsageError says what was expected."""
    name, *words = text.split(":")
    known = shipped().get(name)
    if known is None and not _LIST.fullmatch(name):
        raise UsageError(f"sequence {text!r:.80}: known are {spelling()}, and files of calls")
    mesh: Mesh | None = None
    given: dict[str, int] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key == "mesh" and mesh is None:
            mesh = parse_mesh(value)
        elif known and key in known.PARAMETERS and key not in given and _WHOLE.fullmatch(value) and int(value):
            given[key] = int(value)
        else:
            what = ", ".join(f"{parameter}=N, at least 1" for parameter in known.PARAMETERS) if known else ""
            raise UsageError(f"sequence {text!r:.80}: {word!r:.40} is none of its parameters"
                             f"{f': {what}' if what else ', of which it has none'}")
    parameters = tuple((key, given[key]) for key, default in (known.PARAMETERS if known else {}).items()
                       if given.get(key, default) != default)
    return Sequence(name, parameters, mesh)


def calls_of(sequence: Sequence, size: int, ranks: int) -> tuple[Call, ...]:
    """The calls, of a message size in bytes over `ranks` ranks; empty for a list that is not known here."""
    if sequence.is_list:
        return listed(sequence.name).calls
    module, mesh = shipped()[sequence.name], sequence.mesh
    axis = _axis(sequence.name)
    on_axis = mesh is not None and axis in mesh.names
    each = module.calls(size, mesh.size(axis) if mesh and on_axis else ranks,
                        **{**module.PARAMETERS, **dict(sequence.parameters)})
    return tuple(msgspec.structs.replace(call, axis=axis if on_axis else None) for call in each)


def _axis(name: str) -> str:
    return str(shipped()[name].AXIS) if name in shipped() else ""
