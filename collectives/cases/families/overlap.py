"""Overlap: a collective beside compute that takes about as long, and what either costs the other.

Samples take turns between the collective alone, the compute alone, and both: the collective is started, the compute
runs, and then the collective is waited for. S is the message size of the collective.
"""

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UsageError
from ..operation import DTYPES, CaseLike, Composition, Grammar, Operation, nothing
from ..parameters import read_parameters

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from ..case import Case
    from ..side_by_side import SideCall

__all__ = ["COLLECTIVES", "OPERATIONS", "Beside", "collective", "parse_beside", "side_call", "state_of"]

COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")
_STATES = ("collective", "compute", "together")
_MARKS = ("started", "compute", "collective")
_PROGRESS = ("none", "poll")
_SPELLING = (f"collective={'|'.join(COLLECTIVES)}[:compute=X times as long][:progress={'|'.join(_PROGRESS)}]")
_LEAST, _MOST = Decimal("0.1"), Decimal(10)


class Beside(NamedTuple):
    """What runs beside what.

    Args:
        collective: the operation.
        compute: how long the compute takes alone, in times of the collective alone.
        progress: `poll`: the compute stops now and then to ask the library whether the collective is complete, which
            lets a library make progress that makes none by itself.
    """

    collective: str
    compute: Decimal = Decimal(1)
    progress: str = "none"

    @property
    def text(self) -> str:
        """The canonical text, which `parse_beside` reads back."""
        words = [f"collective={self.collective}"]
        if self.compute != 1:
            words.append(f"compute={self.compute.normalize():f}")
        if self.progress != _PROGRESS[0]:
            words.append(f"progress={self.progress}")
        return ":".join(words)


@lru_cache(maxsize=256)
def parse_beside(text: str) -> Beside:
    """What `text` names. UsageError with what is expected if it names nothing."""
    try:
        given = read_parameters("overlap", text.split(":"), ("collective", "compute", "progress"))
    except ValueError as error:
        raise UsageError(f"overlap {text!r:.80}: {error}; {_SPELLING}") from None
    for name, known in (("collective", COLLECTIVES), ("progress", _PROGRESS)):
        if name in given and given[name] not in known:
            raise UsageError(f"overlap {text!r:.80}: unknown {name} {given[name]!r:.40}; {_SPELLING}")
    if "collective" not in given:
        raise UsageError(f"overlap {text!r:.80}: no collective is named; {_SPELLING}")
    return Beside(given["collective"], _times(given.get("compute", "1"), text), given.get("progress", _PROGRESS[0]))


def _times(word: str, text: str) -> Decimal:
    plain = word.replace(".", "", 1)
    if plain.isascii() and plain.isdigit() and len(word) <= len("10.000000") and _LEAST <= Decimal(word) <= _MOST:
        return Decimal(word)
    raise UsageError(f"overlap {text!r:.80}: compute must be a number from {_LEAST} to {_MOST}, not {word!r:.40}")


def collective(case: CaseLike) -> "Case":
    """The collective of a case."""
    from .. import catalog
    from ..case import Case
    op = parse_beside(case.traffic or "").collective
    row = catalog.OPERATIONS[op]
    return Case(op=op, ranks=case.ranks, bytes=case.bytes, dtype=case.dtype, redop="sum" if row.reduces else None,
                in_place=op == "all_reduce")


def side_call(case: CaseLike, rank: int) -> "SideCall":
    """The collective as `rank` makes it."""
    from ..side_by_side import SideCall
    return SideCall(collective(case), range(case.ranks), rank, 0)


def state_of(step: int) -> str:
    """The state that a step belongs to."""
    return _STATES[step % len(_STATES)]


def _extent(case: CaseLike, rank: int) -> tuple[int, int]:
    from .. import side_by_side
    return side_by_side.extent([side_call(case, rank)])


def _shared(case: CaseLike, rank: int) -> int:
    from .. import side_by_side
    return side_by_side.shared([side_call(case, rank)])


def _image(case: CaseLike, rank: int, salt: int, step: int, sent: bool) -> "np.ndarray":
    """Nothing is received in the state without the collective; what is sent in place stays as it was."""
    from .. import side_by_side, values
    whole = side_by_side.image([side_call(case, rank)], salt, sent)
    if not sent and state_of(step) == "compute":
        kept = _shared(case, rank)
        whole[kept:] = values.POISON
        if kept:
            whole[:kept] = side_by_side.image([side_call(case, rank)], salt, True)[-kept:]
    return whole


def _why_not(case: CaseLike) -> str | None:
    from .. import catalog
    op = parse_beside(case.traffic or "").collective
    if catalog.OPERATIONS[op].reduces and not DTYPES[case.dtype or ""].reduces:
        return catalog.why_not_taken((case.dtype or "",), op)
    return None


def _unit(ranks: int, dtype: str, traffic: str | None) -> int:
    from .. import catalog
    return ranks if catalog.OPERATIONS[parse_beside(traffic or "").collective].in_blocks else 1


def _expand(operation: Operation, ranks: int, given: tuple[str, ...]) -> tuple[str, ...]:
    return given or tuple(Beside(name).text for name in ("all_reduce", "all_to_all"))


OPERATIONS = (
    Operation("overlap", lambda n: 1.0, nothing, nothing,
              "the collective and the compute beside it, from the start until both are complete; busbw is algbw",
              why_not=_why_not, unit=_unit, group="overlap",
              grammar=Grammar(lambda text: parse_beside(text).text, _expand, lambda case: None, lambda: _SPELLING),
              composition=Composition(_extent, _image, lambda case: 2 * case.bytes, shared=_shared,
                                      states=lambda case: _STATES, marks=lambda case: _MARKS)),
)
