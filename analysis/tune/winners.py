"""The winner of each case, the ranking behind it, and what to use where."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collbench.collectives.records.tuning import REFERENCE

from .measured import Table
from .race import Race, looks_until

__all__ = ["Against", "Choice", "Found", "Winner", "found_in", "race_of"]


@dataclass(frozen=True)
class Against:
    """A variant against the fastest of its case.

    Args:
        time_s: geometric mean over launches.
        slowdown: its time over that of the fastest, with its interval; None for the fastest itself, and where there
            are too few common rounds.
        slower: it is known to be slower than some variant.
        n: its launches.
    """

    variant: str
    time_s: float
    slowdown: tuple[float, float, float] | None
    slower: bool
    n: int


@dataclass(frozen=True)
class Winner:
    """The outcome of one case.

    Args:
        leader: the variant with the shortest time among those that no other is known to be faster than.
        tied: the others that no variant is known to be faster than.
        gain: time of the reference over that of the leader, with its interval, at the level of the whole table; None
            if the leader is the reference, or if there are too few common rounds.
        n: rounds behind the gain.
        settled: more launches would change nothing: a single variant is left, or all that are left are equal.
        ranking: all variants, the leader first.
    """

    op: str
    ranks: int
    message_bytes: int
    asked_bytes: int
    label: str
    leader: str
    tied: tuple[str, ...]
    time_s: float
    reference_s: float | None
    gain: tuple[float, float, float] | None
    n: int
    settled: bool
    ranking: tuple[Against, ...]

    @property
    def beats_reference(self) -> bool:
        """Whether some variant is known to be faster than the reference."""
        return any(row.variant == REFERENCE and row.slower for row in self.ranking)

    @property
    def wins(self) -> bool:
        """Whether every other variant is known to be slower than some variant."""
        return not self.tied


@dataclass(frozen=True)
class Choice:
    """The variant to use in a case; the reference where none is known to be faster."""

    op: str
    ranks: int
    message_bytes: int
    variant: str


@dataclass(frozen=True)
class Found:
    """What the race showed.

    Args:
        winners: one for each case of `table`, in its order.
        library: of the reference, with its version.
    """

    table: Table
    race: Race
    winners: tuple[Winner, ...]
    library: str

    @property
    def choices(self) -> list[Choice]:
        """What to use in each case: as few variants for an operation and rank count as what is known allows."""
        return _choices(self.winners)


def found_in(table: Table, library: str, once: bool = False) -> Found:
    """The outcome for every case of `table`; `once` if its rounds were looked at once, after the last."""
    if once:
        race = Race(len(table.cells), len(table.variants))
        race.look(table.log_s, 1.0)
    else:
        race = race_of(table)
    return Found(table, race, tuple(_winners(table, race)), library)


def race_of(table: Table) -> Race:
    """The race as it was run: look after look at the rounds that there were."""
    race = Race(len(table.cells), len(table.variants))
    for rounds in looks_until(table.log_s.shape[2]):
        race.look(table.log_s[:, :, :rounds])
    return race


def _winners(table: Table, race: Race) -> list[Winner]:
    """One for each case, in the order of `table.cells`."""
    left, settled = race.contenders(table.measured), race.settled(table.measured)
    return [_winner(table, race, cell, left[cell], bool(settled[cell])) for cell in range(len(table.cells))]


def _winner(table: Table, race: Race, cell: int, left: np.ndarray, settled: bool) -> Winner:
    row = table.cells.iloc[cell]
    here = np.nonzero(table.measured[cell])[0]
    reference = table.variants.index(REFERENCE) if REFERENCE in table.variants else None
    behind = {int(at): _relative(table, cell, int(at), reference) for at in here}
    # Should everything be slower than something, which contradictory tests could say, the shortest time leads.
    standing = [at for at in behind if left[at]] or list(behind)
    order = sorted(behind, key=lambda at: (at not in standing, behind[at]))
    leader = order[0]
    ranking = tuple(Against(table.variants[at], table.time_s(cell, at), None if at == leader else
                            _ratio(race, cell, leader, at), bool(race.faster[cell, :, at].any()),
                            int(np.isfinite(table.log_s[cell, at]).sum())) for at in order)
    known = reference is not None and reference in behind
    return Winner(
        op=str(row["op"]), ranks=int(row["ranks"]), message_bytes=int(row["message_bytes"]),
        asked_bytes=int(row["asked_bytes"]), label=str(row["label"]), leader=table.variants[leader],
        tied=tuple(table.variants[at] for at in order[1:] if at in standing),
        time_s=table.time_s(cell, leader), reference_s=table.time_s(cell, reference) if known and reference is not None
        else None,
        gain=_ratio(race, cell, leader, reference) if reference is not None and known and leader != reference else None,
        n=int(race.pairs[cell, leader, reference]) if known and leader != reference else ranking[0].n,
        settled=settled, ranking=ranking)


def _relative(table: Table, cell: int, at: int, reference: int | None) -> float:
    """Logarithm of the time relative to the reference in common rounds, where there are any."""
    own = table.log_s[cell, at]
    if reference is not None:
        gap = own - table.log_s[cell, reference]
        if np.isfinite(gap).any():
            return float(np.nanmean(gap))
    return float(np.nanmean(own) - (np.nanmean(table.log_s[cell]) if reference is None else
                                    np.nanmean(table.log_s[cell, reference])
                                    if np.isfinite(table.log_s[cell, reference]).any() else 0.0))


def _ratio(race: Race, cell: int, a: int, b: int) -> tuple[float, float, float] | None:
    """Time of b over that of a, with its interval."""
    found = race.effect[cell, a, b], race.low[cell, a, b], race.high[cell, a, b]
    return None if np.isnan(found[0]) else tuple(float(np.exp(value)) for value in found)  # type: ignore[return-value]


def _choices(found: Sequence[Winner]) -> list[Choice]:
    chosen: list[Choice] = []
    groups: dict[tuple[str, int], list[Winner]] = {}
    for winner in found:
        groups.setdefault((winner.op, winner.ranks), []).append(winner)
    for (op, ranks), rows in groups.items():
        better = [{row.leader, *row.tied} for row in rows if row.beats_reference]
        for row in rows:
            name = REFERENCE
            if row.beats_reference:
                name = max((row.leader, *row.tied), key=lambda name: sum(name in names for names in better))
            chosen.append(Choice(op, ranks, row.message_bytes, name))
    return chosen
