"""Messages in the patterns that jobs make: many pairs at once, many to one, one to many, permutations, halos.

Definitions follow OSU's osu_mbw_mr, osu_bw_fan_in and osu_bw_fan_out, nvbandwidth's one-to-all copies and nvloom's
bisection, as far as they have the pattern; `docs/measuring.md` says where they differ. All messages of an operation
are in flight at once (MPI_Startall; batch_isend_irecv of torch).
"""

from collections.abc import Callable

from .. import pairings
from ..operation import WINDOW, CaseLike, Grammar, Operation, Piece, window_buffers

__all__ = ["OPERATIONS"]

_GROUP = "patterns"
_SEEDS = (1, 2, 3)
_OF_WINDOW = f"a window of {WINDOW} divided by {WINDOW}"


def _window(case: CaseLike) -> range:
    return range(window_buffers(WINDOW, case.bytes))


def _whole_window(case: CaseLike, source: int) -> list[Piece]:
    return [Piece(source, message, 0, case.count) for message in _window(case)]


def _if_lower(case: CaseLike, rank: int) -> list[Piece]:
    return _whole_window(case, rank) if rank < case.ranks // 2 else []


def _from_lower(case: CaseLike, rank: int) -> list[Piece]:
    half = case.ranks // 2
    return _whole_window(case, rank - half) if rank >= half else []


def _if_paired(case: CaseLike, rank: int) -> list[Piece]:
    return _whole_window(case, rank) if rank in pairings.halves(str(case.traffic), case.ranks) else []


def _from_other_half(case: CaseLike, rank: int) -> list[Piece]:
    met = pairings.halves(str(case.traffic), case.ranks).get(rank)
    return [] if met is None else _whole_window(case, met[0])


def _shares(case: CaseLike) -> tuple[int, int]:
    """How many ranks exchange data with rank 0, and elements of a message to or from each."""
    width = pairings.fan_width(str(case.traffic), case.ranks)
    return width, case.count // width


def _one_share(case: CaseLike, rank: int, by_rank_0: bool) -> list[Piece]:
    """The window between rank 0, which sends it or not, and another rank."""
    width, count = _shares(case)
    if not 1 <= rank <= width:
        return []
    source, first, step = (0, rank - 1, width) if by_rank_0 else (rank, 0, 1)
    return [Piece(source, first + step * message, 0, count) for message in _window(case)]


def _all_shares(case: CaseLike, rank: int, by_rank_0: bool) -> list[Piece]:
    """What rank 0 sends or receives: for each message of the window one share of each other rank."""
    width, count = _shares(case)
    if rank != 0:
        return []
    return [Piece(0, message * width + other - 1, 0, count) if by_rank_0 else Piece(other, message, 0, count)
            for message in _window(case) for other in range(1, width + 1)]


def _whole(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(rank, 0, 0, case.count)]


def _from_permuted(case: CaseLike, rank: int) -> list[Piece]:
    return _whole(case, pairings.derangement(str(case.traffic), case.ranks).index(rank))


def _to_neighbours(case: CaseLike, rank: int) -> list[Piece]:
    count = case.count // pairings.directions(str(case.traffic), case.ranks)
    return [Piece(rank, way, 0, count) for way in pairings.neighbours(str(case.traffic), case.ranks, rank)]


def _from_neighbours(case: CaseLike, rank: int) -> list[Piece]:
    """What the neighbour in one direction sent in the opposite one."""
    count = case.count // pairings.directions(str(case.traffic), case.ranks)
    met = pairings.neighbours(str(case.traffic), case.ranks, rank)
    return [Piece(other, way ^ 1, 0, count) for way, other in met.items()]


def _needs_two(case: CaseLike) -> str | None:
    return f"{case.op} needs at least 2 ranks" if case.ranks < 2 else None


def _fan_fits(case: CaseLike) -> str | None:
    width = pairings.fan_width(str(case.traffic), case.ranks)
    if width < case.ranks:
        return None
    return _needs_two(case) or f"{case.op} {case.traffic} needs {width + 1} ranks, not {case.ranks}"


def _halo_fits(case: CaseLike) -> str | None:
    if pairings.sides(str(case.traffic), case.ranks):
        return _needs_two(case)
    return f"{case.ranks} ranks make no {case.traffic} with sides of at least 2"


def _grammar(parse: Callable[[str], str], spelling: str, by_default: Callable[[int], tuple[str, ...]]) -> Grammar:
    """Texts as given; without any, those of `by_default(ranks)`."""
    return Grammar(parse, lambda operation, ranks, given: given or by_default(ranks), lambda case: None,
                   lambda: spelling)


def _default_halos(ranks: int) -> tuple[str, ...]:
    return "line", "ring", *(text for text in ("torus:2", "torus:3") if pairings.sides(text, ranks))


_FAN = _grammar(pairings.parse_fan, pairings.FANS, lambda ranks: ("fan",))
_PERMUTATION = _grammar(pairings.parse_permutation, pairings.PERMUTATIONS,
                        lambda ranks: tuple(f"permutation:{seed}" for seed in _SEEDS[:max(1, ranks - 1)]))
_HALVES = _grammar(pairings.parse_halves, pairings.HALVES, lambda ranks: (
    "halves", *(f"random-halves:{seed}" for seed in _SEEDS if ranks > 2)))
_HALO = _grammar(pairings.parse_halo, pairings.HALOS, _default_halos)


def _fan(name: str, sends: bool, measures: str) -> Operation:
    """Rank 0 sends to others, or receives from them; S is the total of one message for each of these."""
    return Operation(
        name, lambda n: 1.0, lambda case, rank: (_all_shares if sends else _one_share)(case, rank, sends),
        lambda case, rank: (_one_share if sends else _all_shares)(case, rank, sends), f"{_OF_WINDOW}; {measures}",
        rooted=True, messages=WINDOW, windowed=True, why_not=_fan_fits, grammar=_FAN,
        unit=lambda ranks, dtype, text: pairings.fan_width(text or "fan", ranks), group=_GROUP)


OPERATIONS = (
    Operation("message_rate", lambda n: n / 2, _if_lower, _from_lower,
              f"{_OF_WINDOW}, of the slowest pair; busbw is that of all pairs together, and busbw / size the messages "
              "per second", pairs=True, messages=WINDOW, windowed=True, timed_by_initiators=True, summed=True,
              rates_messages=True, group=_GROUP),
    Operation("bisection", float, _if_paired, _from_other_half,
              f"{_OF_WINDOW}, of the slowest pair; busbw is the sum over all pairs and both directions",
              pairs=True, messages=WINDOW, windowed=True, meetings=pairings.halves, summed=True, grammar=_HALVES,
              group=_GROUP),
    _fan("incast", sends=False, measures="busbw is what rank 0 receives from all senders together"),
    _fan("outcast", sends=True, measures="busbw is what rank 0 sends to all receivers together"),
    Operation("permutation", lambda n: 1.0, _whole, _from_permuted,
              "one message from each rank to another, all at once", why_not=_needs_two, grammar=_PERMUTATION,
              group=_GROUP),
    Operation("halo_exchange", lambda n: 1.0, _to_neighbours, _from_neighbours,
              "one message to and from each neighbour, all at once; busbw is what a rank sends to all of them",
              why_not=_halo_fits, grammar=_HALO,
              unit=lambda ranks, dtype, text: pairings.directions(text or "ring", ranks), group=_GROUP),
)
