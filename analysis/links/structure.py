"""Structure of a link matrix: slow ranks, tiers, and single slow links.

Works on the logarithm of the time of a link (for a small message, or per byte), so that differences are factors. The
kind of a pair of ranks is known (same host or not); within a kind three questions are asked in turn, each about what
the previous one left unexplained:

1. Is a rank slow with every partner? Its best link of the kind is compared with the best links of the other ranks.
2. Do the links fall into groups, and do the fast ones divide the ranks into blocks with only slow links in between?
   That is a tier, for example switches joined by fewer or longer cables.
3. Which links are slower than others of their tier?
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ckmeans import levels

__all__ = ["WORTH_SAYING", "Group", "SlowRank", "Structure", "find_structure"]

WORTH_SAYING = 1.3      # smaller factors in time are of no interest
_NOISES = 3.0           # nor are differences of fewer typical half widths of a link's confidence interval
_SPREADS = 4.0          # or of fewer robust standard deviations of the compared values
_WIDTH = 0.05           # logarithm: best repeatability of the median of one link
_FEWEST_RANKS = 4       # with fewer the slow rank cannot be identified
_WITHIN, _BETWEEN = 0.75, 0.1       # shares of fast links within and between blocks: some links may be odd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SlowRank:
    """A rank whose links of a kind are all slow: outgoing, incoming, or both. `factor` is in time."""

    rank: int
    out: bool
    into: bool
    factor: float


@dataclass(frozen=True)
class Group:
    """Links of one kind, within blocks or between them; `blocks` (of ranks joined by fast links) if there are tiers."""

    kind: int
    between: bool
    blocks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Structure:
    """Structure of a link matrix.

    Args:
        groups: of equivalent links; `group` is the index of each cell in it, -1 where nothing was measured.
        expected: logarithm of the typical time of the group; NaN where nothing was measured.
        excess: how much longer each link takes than that, as a logarithm.
        odd: cells slower than expected although neither of their ranks is slow.
        apart: logarithm of the smallest factor that counted as a difference.
    """

    groups: tuple[Group, ...]
    group: Ints
    expected: Floats
    excess: Floats
    slow: tuple[SlowRank, ...]
    odd: NDArray[np.bool_]
    apart: float


def find_structure(cost: Floats, halves: Floats, kinds: Ints) -> Structure:
    """Find slow ranks, tiers and single slow links.

    Args:
        cost: [from, to] logarithm of the time of a link at its best, the lower end of its confidence interval if it
            has one: other activity can only slow it down. NaN where nothing was measured.
        halves: how far above that its median is; NaN without an interval: such a link is never reported as odd.
        kinds: the known kind of each pair, numbered from 0.
    """
    group = np.full(cost.shape, -1)
    expected, odd = np.full(cost.shape, np.nan), np.zeros(cost.shape, bool)
    groups: list[Group] = []
    slow: dict[int, SlowRank] = {}
    measured = np.isfinite(cost)
    apart = _apart(halves[measured])
    for kind in np.unique(kinds[measured]):
        here = measured & (kinds == kind)
        for found in _slow_ranks(cost, here, apart):
            slow.setdefault(found.rank, found)
        out, into = _masks(list(slow.values()), len(cost))
        sound = here & ~out[:, None] & ~into[None, :]
        blocks = _blocks(cost, sound if sound.any() else here, apart)
        same = _same_block(blocks, len(cost))
        for between, cells in ((False, here & same), (True, here & ~same)):
            typical = cells & sound if (cells & sound).any() else cells
            if cells.any():
                group[cells] = len(groups)
                expected[cells] = np.median(cost[typical])
                groups.append(Group(int(kind), between, blocks if len(blocks) > 1 else ()))
        beyond = max(apart, _SPREADS * _scatter((cost - expected)[sound]))
        odd |= sound & (cost - expected > beyond) & np.isfinite(halves)
    in_order = tuple(sorted(slow.values(), key=lambda rank: rank.rank))
    return Structure(tuple(groups), group, expected, cost - expected, in_order, odd, apart)


def _apart(halves: Floats) -> float:
    """The smallest difference that counts, given how precisely links are known."""
    known = halves[np.isfinite(halves)]
    noise = float(np.median(known)) if known.size else 0.0
    return max(float(np.log(WORTH_SAYING)), _NOISES * noise)


def _scatter(values: Floats) -> float:
    """Robust standard deviation, from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _slow_ranks(cost: Floats, here: NDArray[np.bool_], apart: float) -> list[SlowRank]:
    """Ranks whose best link of a kind, outgoing or incoming, is far worse than that of most ranks."""
    best = [np.where(here, cost, np.inf).min(axis=axis) for axis in (1, 0)]
    late = []
    for side in best:
        known = np.isfinite(side)
        if known.sum() < _FEWEST_RANKS:
            return []
        late.append(np.where(known, side, -np.inf) - np.median(side[known]))
        apart = max(apart, _SPREADS * _scatter(side[known]))
    found = []
    for rank in range(len(cost)):
        behind = [float(side[rank]) for side in late]
        if max(behind) > apart:
            found.append(SlowRank(rank, behind[0] > apart, behind[1] > apart, float(np.exp(max(behind)))))
    return found


def _masks(slow: list[SlowRank], ranks: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    out, into = np.zeros(ranks, bool), np.zeros(ranks, bool)
    for one in slow:
        out[one.rank] |= one.out
        into[one.rank] |= one.into
    return out, into


def _blocks(cost: Floats, sound: NDArray[np.bool_], apart: float) -> tuple[tuple[int, ...], ...]:
    """Ranks joined by fast links, at the first border that separates blocks; one block if there is none."""
    ranks = [int(rank) for rank in np.flatnonzero(sound.any(axis=0) | sound.any(axis=1))]
    level = np.full(cost.shape, -1)
    level[sound] = levels(cost[sound], _WIDTH, apart)
    for border in range(int(level.max())):
        blocks = _joined(sound & (level <= border), ranks)
        if _is_border(level <= border, sound, blocks):
            return blocks
    return (tuple(ranks),)


def _joined(fast: NDArray[np.bool_], ranks: list[int]) -> tuple[tuple[int, ...], ...]:
    """Connected components; a link joins two ranks only if it is fast both ways."""
    from scipy.sparse.csgraph import connected_components
    _, part = connected_components((fast & fast.T)[np.ix_(ranks, ranks)], directed=False)
    return tuple(tuple(rank for rank, own in zip(ranks, part, strict=True) if own == number)
                 for number in range(int(part.max(initial=-1)) + 1))


def _is_border(fast: NDArray[np.bool_], sound: NDArray[np.bool_], blocks: tuple[tuple[int, ...], ...]) -> bool:
    """Whether most links within blocks are fast and hardly any between, with at least two blocks of several ranks."""
    if len(blocks) < 2 or sum(len(block) > 1 for block in blocks) < 2:
        return False
    same = _same_block(blocks, len(fast))
    within, between = fast[sound & same], fast[sound & ~same]
    return bool(within.size and between.size and within.mean() >= _WITHIN and between.mean() <= _BETWEEN)


def _same_block(blocks: tuple[tuple[int, ...], ...], ranks: int) -> NDArray[np.bool_]:
    number = np.full(ranks, -1)
    for index, block in enumerate(blocks):
        number[list(block)] = index
    same = number[:, None] == number[None, :]
    return np.asarray(same | (number[:, None] < 0) | (number[None, :] < 0))
