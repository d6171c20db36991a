"""What a matrix of links is made of: slow ranks, tiers, and single links that fit neither.

Works on the logarithm of the time that a link takes (of a small message, or of a byte), so that links differ by
factors. A pair of ranks is of a kind that is known beforehand (same host or not); within a kind three questions are
asked in turn, each of what the one before left over:

1. Is a rank slow whomever it talks to? Its best link of the kind is compared with the other ranks' best ones.
2. Do the links fall into groups, and do the fast ones divide the ranks into blocks with slow links only in between?
   That is a tier, as of switches that are joined by fewer or longer wires.
3. Which links take longer than others of their tier?
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ckmeans import levels

__all__ = ["WORTH_SAYING", "Group", "SlowRank", "Structure", "find_structure"]

WORTH_SAYING = 1.3      # a factor in time below which differences are of no interest
_NOISES = 3.0           # nor are those of fewer typical half widths of a link's interval
_SPREADS = 4.0          # or of fewer (robust) standard deviations of what is compared
_WIDTH = 0.05           # logarithm: what medians of one link repeat to at best
_FEWEST_RANKS = 4       # fewer cannot show whose fault it is
_WITHIN, _BETWEEN = 0.75, 0.1       # shares of fast links on the two sides of a border: some links may be odd

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SlowRank:
    """A rank all of whose links of a kind are slow: those out of it, into it, or both. `factor` in time."""

    rank: int
    out: bool
    into: bool
    factor: float


@dataclass(frozen=True)
class Group:
    """Links that are of one kind and on one side of every border: within the blocks, or between them.

    `blocks` are the ranks that fast links join, where the kind falls into tiers.
    """

    kind: int
    between: bool
    blocks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Structure:
    """What was found.

    Args:
        groups: of links that are alike; `group` has for each cell the index in it, -1 where nothing was measured.
        expected: logarithm of the time that a link of its group takes; NaN where nothing was measured.
        excess: how much longer each link takes than that, as a logarithm.
        odd: cells that take longer than they should, though neither of their ranks is slow.
        apart: logarithm of the factor from which differences counted.
    """

    groups: tuple[Group, ...]
    group: Ints
    expected: Floats
    excess: Floats
    slow: tuple[SlowRank, ...]
    odd: NDArray[np.bool_]
    apart: float


def find_structure(cost: Floats, halves: Floats, kinds: Ints) -> Structure:
    """Take a matrix apart.

    Args:
        cost: [from, to] logarithm of the time of a link at its best, the lower end of an interval where it has one:
            whatever else runs can only make it slower. NaN where there is none or none was measured.
        halves: how far above that its median is; NaN where there is no interval: such a link is never found odd.
        kinds: what is known of a pair beforehand, as a number from 0 on.
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
    """From which difference on two links differ, by how well each is known."""
    known = halves[np.isfinite(halves)]
    noise = float(np.median(known)) if known.size else 0.0
    return max(float(np.log(WORTH_SAYING)), _NOISES * noise)


def _scatter(values: Floats) -> float:
    """Standard deviation of the bulk of the values, by their median distance from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _slow_ranks(cost: Floats, here: NDArray[np.bool_], apart: float) -> list[SlowRank]:
    """Ranks whose best link of a kind, out or in, is far worse than that of most ranks."""
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
    """Ranks that fast links join, at the border that divides best; all in one block where there is none."""
    ranks = [int(rank) for rank in np.flatnonzero(sound.any(axis=0) | sound.any(axis=1))]
    level = np.full(cost.shape, -1)
    level[sound] = levels(cost[sound], _WIDTH, apart)
    for border in range(int(level.max())):
        blocks = _joined(sound & (level <= border), ranks)
        if _is_border(level <= border, sound, blocks):
            return blocks
    return (tuple(ranks),)


def _joined(fast: NDArray[np.bool_], ranks: list[int]) -> tuple[tuple[int, ...], ...]:
    """Connected parts; a link joins only if it is fast both ways, where both were measured."""
    from scipy.sparse.csgraph import connected_components
    _, part = connected_components((fast & fast.T)[np.ix_(ranks, ranks)], directed=False)
    return tuple(tuple(rank for rank, own in zip(ranks, part, strict=True) if own == number)
                 for number in range(int(part.max(initial=-1)) + 1))


def _is_border(fast: NDArray[np.bool_], sound: NDArray[np.bool_], blocks: tuple[tuple[int, ...], ...]) -> bool:
    """Whether most links within blocks are fast and hardly any between them, and there are blocks worth the name."""
    if len(blocks) < 2 or sum(len(block) > 1 for block in blocks) < 2:
        return False
    same = _same_block(blocks, len(fast))
    within, between = fast[sound & same], fast[sound & ~same]
    return bool(within.size and between.size and within.mean() >= _WITHIN and between.mean() <= _BETWEEN)


def _same_block(blocks: tuple[tuple[int, ...], ...], ranks: int) -> NDArray[np.bool_]:
    number = np.full(ranks, -1)
    for index, block in enumerate(blocks):
        number[list(block)] = index
    return (number[:, None] == number[None, :]) | (number[:, None] < 0) | (number[None, :] < 0)
