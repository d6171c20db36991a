"""Interference, after GPCNET: a collective of some ranks, the victims, while others, the aggressors, load the machine.

Victims and aggressors are disjoint groups of the ranks of one job. Samples of the victims alone and under load take
turns; how many times longer a call takes under load is the congestion factor (Chunduri et al., "GPCNeT: Designing a
Benchmark Suite for Inducing and Measuring Contention in HPC Networks", SC 2019).

S is the message size of the victims' collective.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UsageError
from ..operation import DTYPES, CaseLike, Composition, Grammar, Operation, nothing
from ..parameters import read_parameters

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from ..case import Case
    from ..side_by_side import SideCall

__all__ = ["AGGRESSORS", "OPERATIONS", "VICTIMS", "Roles", "is_loaded", "parse_roles", "side_call"]

# Each with the traffic of its case, and whether it is in place.
VICTIMS = {"all_reduce": (None, True), "all_gather": (None, False), "reduce_scatter": (None, False),
           "all_to_all": (None, False), "broadcast": (None, False)}
AGGRESSORS = {"all_to_all": (None, False), "incast": ("fan", False), "broadcast": (None, False), "copy": (None, False),
              "all_reduce": (None, False)}
_PLACES = ("alternate", "halves")
_BYTES = 1 << 20
_LEAST_RANKS = 4
_SPELLING = (f"victim={'|'.join(VICTIMS)}:aggressor={'|'.join(AGGRESSORS)}[:bytes=SIZE of the aggressors]"
             f"[:place={'|'.join(_PLACES)}]")
_SALT = 5003        # the aggressors' data differ from the victims'


class Roles(NamedTuple):
    """Who does what.

    Args:
        victim, aggressor: operations.
        size: message size of the aggressors in bytes.
        place: `alternate`: every other rank is a victim; `halves`: the first half of the ranks are.
    """

    victim: str
    aggressor: str
    size: int = _BYTES
    place: str = _PLACES[0]

    @property
    def text(self) -> str:
        """The canonical text, which `parse_roles` reads back."""
        words = [f"victim={self.victim}", f"aggressor={self.aggressor}"]
        if self.size != _BYTES:
            words.append(f"bytes={self.size}")
        if self.place != _PLACES[0]:
            words.append(f"place={self.place}")
        return ":".join(words)

    def victims(self, ranks: int) -> tuple[int, ...]:
        """The ranks of the victims, in increasing order. Rank 0 is always one."""
        return tuple(range(0, ranks, 2) if self.place == "alternate" else range((ranks + 1) // 2))

    def aggressors(self, ranks: int) -> tuple[int, ...]:
        """All other ranks."""
        return tuple(sorted({*range(ranks)} - {*self.victims(ranks)}))


@lru_cache(maxsize=256)
def parse_roles(text: str) -> Roles:
    """The roles that `text` names. UsageError with what is expected if it names none."""
    from ..case import parse_size
    try:
        given = read_parameters("interference", text.split(":"), ("victim", "aggressor", "bytes", "place"))
    except ValueError as error:
        raise UsageError(f"interference {text!r:.80}: {error}; {_SPELLING}") from None
    for name, known in (("victim", VICTIMS), ("aggressor", AGGRESSORS), ("place", _PLACES)):
        if name in given and given[name] not in known:
            raise UsageError(f"interference {text!r:.80}: unknown {name} {given[name]!r:.40}; {_SPELLING}")
    if "victim" not in given or "aggressor" not in given:
        raise UsageError(f"interference {text!r:.80}: victim and aggressor are needed; {_SPELLING}")
    return Roles(given["victim"], given["aggressor"], parse_size(given["bytes"]) if "bytes" in given else _BYTES,
                 given.get("place", _PLACES[0]))


def side_call(case: CaseLike, rank: int) -> "SideCall":
    """The call that `rank` makes, as a victim or as an aggressor."""
    from ..side_by_side import SideCall
    roles = parse_roles(case.traffic or "")
    victims = roles.victims(case.ranks)
    if rank in victims:
        return SideCall(_part(case, roles.victim, len(victims), case.bytes, *VICTIMS[roles.victim]), victims,
                        victims.index(rank), 0)
    others = roles.aggressors(case.ranks)
    return SideCall(_part(case, roles.aggressor, len(others), roles.size, *AGGRESSORS[roles.aggressor]), others,
                    others.index(rank), _SALT)


def _part(case: CaseLike, op: str, ranks: int, size: int, traffic: str | None, in_place: bool) -> "Case":
    """What one of the groups does."""
    from .. import catalog
    from ..case import Case
    return Case(op=op, ranks=ranks, bytes=catalog.round_up(op, size, ranks, case.dtype or "", traffic),
                dtype=case.dtype, redop="sum" if catalog.OPERATIONS[op].reduces else None, traffic=traffic,
                in_place=in_place)


def _extent(case: CaseLike, rank: int) -> tuple[int, int]:
    from .. import side_by_side
    return side_by_side.extent([side_call(case, rank)])


def _shared(case: CaseLike, rank: int) -> int:
    from .. import side_by_side
    return side_by_side.shared([side_call(case, rank)])


def _image(case: CaseLike, rank: int, salt: int, step: int, sent: bool) -> "np.ndarray":
    """Aggressors that are idle receive nothing."""
    from .. import side_by_side, values
    whole = side_by_side.image([side_call(case, rank)], salt, sent)
    if not sent and not is_loaded(step) and rank in _background(case):
        whole[_shared(case, rank):] = values.POISON
    return whole


def is_loaded(step: int) -> bool:
    """Whether the aggressors are at work in a step."""
    return step % len(_STATES) == len(_STATES) - 1


def _background(case: CaseLike) -> tuple[int, ...]:
    return parse_roles(case.traffic or "").aggressors(case.ranks)


def _volume(case: CaseLike) -> int:
    return case.bytes + parse_roles(case.traffic or "").size


def _why_not(case: CaseLike) -> str | None:
    from .. import catalog
    if case.ranks < _LEAST_RANKS:
        return f"interference needs at least {_LEAST_RANKS} ranks, half of them victims, not {case.ranks}"
    roles = parse_roles(case.traffic or "")
    reduced = [op for op in (roles.victim, roles.aggressor) if catalog.OPERATIONS[op].reduces]
    if reduced and not DTYPES[case.dtype or ""].reduces:
        return catalog.why_not_taken((case.dtype or "",), reduced[0])
    return None


def _unit(ranks: int, dtype: str, traffic: str | None) -> int:
    from .. import catalog
    roles = parse_roles(traffic or "")
    return len(roles.victims(ranks)) if catalog.OPERATIONS[roles.victim].in_blocks else 1


def _expand(operation: Operation, ranks: int, given: tuple[str, ...]) -> tuple[str, ...]:
    return given or tuple(Roles("all_reduce", aggressor).text for aggressor in AGGRESSORS)


_STATES = ("alone", "loaded")
OPERATIONS = (
    Operation("interference", lambda n: 1.0, nothing, nothing,
              "a call of the victims while the aggressors load the machine; busbw is algbw",
              why_not=_why_not, unit=_unit, group="interference",
              grammar=Grammar(lambda text: parse_roles(text).text, _expand, lambda case: None,
                              lambda: _SPELLING),
              composition=Composition(_extent, _image, _volume, shared=_shared, states=lambda case: _STATES,
                                      background=_background)),
)
