"""Infer the operation and rank count of an nccl-tests table from its columns.

The columns are redundant: size over count gives the number of blocks, busbw over algbw the bus factor of the operation,
and redop, root and the error column differ between programs (PERFORMANCE.md and src/*.cu).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from collbench.collectives.cases.names import ITEMSIZES

from .nccl_row import Columns, Half, Row
from .printed_numbers import PrintedNumber

__all__ = ["Signature", "bus_ratio", "factor_of", "fitting_operations", "signatures"]

_MOST_RANKS = 1 << 20
_SLACK = 1e-6       # beyond rounding
_MISPRINTED = 0.25   # at most this share of the bandwidths may contradict what the others say


class Signature(NamedTuple):
    """Column properties of one program.

    Args:
        ring: busbw over algbw as a multiple of (n-1)/n; 0 if the ratio is 1.
        blocks: size is n times count elements.
        reduces: redop names a reduction; None if it may or may not.
        rooted: root is 0 or more.
        checked_in_place: the in-place half is checked; programs based on send and receive print N/A.
    """

    ring: int
    blocks: bool
    reduces: bool | None
    rooted: bool
    checked_in_place: bool = True


def signatures() -> dict[str, Signature]:
    """One entry per program, by operation."""
    return {
        "all_reduce": Signature(2, False, True, False),
        "reduce_scatter": Signature(1, True, True, False),
        "all_gather": Signature(1, True, False, False),
        "all_to_all": Signature(1, True, False, False, False),
        "broadcast": Signature(0, False, False, True),
        "reduce": Signature(0, False, True, True),
        "gather": Signature(1, True, False, True),
        "scatter": Signature(1, True, False, True),
        "send_recv": Signature(0, False, None, False, False),
        "hypercube": Signature(0, True, False, False),
    }


@dataclass(frozen=True)
class _Features:
    """Properties common to all rows of a table; None if undetermined."""

    reduces: bool | None
    rooted: bool | None
    blocks: int | None            # size over (count times element size); None if unknown, 0 if rows differ
    checked_in_place: bool | None


def fitting_operations(rows: Sequence[Row], ranks: int | None, columns: Columns | None,
                       counts: bool = True) -> dict[str, int | None]:
    """Operations consistent with `rows`, each with its rank count, or None if several rank counts fit.

    Args:
        ranks: the rank count, if known.
        columns: the columns of the header, if there is one.
        counts: whether the column `count` is to be believed.
    """
    rows = [row for row in rows if not row.faults] or rows      # a row that is not read whole decides nothing
    if not counts:
        rows = [replace(row, count=0) for row in rows]
    return _fitting(rows, ranks, columns, tolerated=0.0) or _fitting(rows, ranks, columns, tolerated=_MISPRINTED)


def factor_of(op: str, ranks: int) -> float | None:
    """Bus bandwidth over size per time that the program of `op` prints; None if the operation has no program."""
    signature = signatures().get(op)
    return None if signature is None else signature.ring * (ranks - 1) / ranks if signature.ring else 1.0


def bus_ratio(row: Row, half: Half) -> tuple[float, float]:
    """Bounds of busbw over algbw from rounding; 0 and infinity if the numbers have too few digits."""
    return _ratio(row, half)


def _fitting(rows: Sequence[Row], ranks: int | None, columns: Columns | None,
             tolerated: float) -> dict[str, int | None]:
    """As `fitting_operations`; `tolerated` is the share of bandwidths that may be misprinted."""
    seen = _seen(rows)
    fits: dict[str, int | None] = {}
    for op, signature in signatures().items():
        if not _looks_alike(signature, seen) or not _has_columns(op, signature, columns):
            continue
        known = ranks or (seen.blocks if signature.blocks and seen.blocks else None)
        if known == 1 and not ranks:
            continue        # one block does not distinguish a job of one rank from an operation without blocks
        if signature.blocks and seen.blocks and seen.blocks != known:
            continue
        counts = _counts(signature, rows, known, tolerated)
        if counts is not None:
            fits[op] = known or (counts[0] if counts[0] == counts[1] else None)
    if len(fits) > 1:
        fits.pop("hypercube", None)     # rare, and over many ranks hard to distinguish from an all-gather
    return fits


def _has_columns(op: str, signature: Signature, columns: Columns | None) -> bool:
    """Old programs print redop and root columns only if they need them; the all-to-all prints a blank redop."""
    if columns is None or not columns.old:
        return True
    has_redop = op == "all_to_all" or bool(signature.reduces)
    return columns.left == ("redop",) * has_redop + ("root",) * signature.rooted


def _seen(rows: Sequence[Row]) -> _Features:
    """What most rows have in common: one misprint decides nothing."""
    halves = [(row.out_of_place, row.in_place) for row in rows if row.out_of_place and row.in_place]
    return _Features(
        _majority([row.redop not in (None, "none") for row in rows]),
        _majority([row.root is not None and row.root >= 0 for row in rows]),
        _majority_of_blocks(rows),
        _majority([here.wrong is not None for there, here in halves if there.wrong is not None and not here.unread]))


def _majority(values: Sequence[bool]) -> bool | None:
    """What more than two thirds of `values` are; None if there is no such value."""
    yes = sum(values)
    return True if 3 * yes > 2 * len(values) else False if 3 * yes < len(values) else None


def _majority_of_blocks(rows: Sequence[Row]) -> int | None:
    """Blocks that the counts of most rows give; 0 if rows differ, None if no count gives a whole number."""
    ratios = Counter(blocks for row in rows if (blocks := _blocks(row)))
    if not ratios:
        return None
    usual, times = ratios.most_common(1)[0]
    return usual if 3 * times > 2 * ratios.total() else 0


def _blocks(row: Row) -> int | None:
    share = row.count * ITEMSIZES.get(row.dtype, 0)
    if share <= 0:
        return None
    return row.size // share if row.size % share == 0 else 0


def _looks_alike(signature: Signature, seen: _Features) -> bool:
    if seen.blocks == 0 or (seen.blocks is not None and not signature.blocks and seen.blocks != 1):
        return False
    if seen.rooted is None or signature.rooted != seen.rooted:
        return False
    if signature.reduces is not None and seen.reduces is not None and signature.reduces != seen.reduces:
        return False
    return seen.checked_in_place is None or signature.checked_in_place == seen.checked_in_place


def _counts(signature: Signature, rows: Sequence[Row], ranks: int | None,
            tolerated: float) -> tuple[int, int] | None:
    """Smallest and largest rank count that busbw over algbw allows; None if there is none.

    Args:
        tolerated: share of bandwidths that may contradict it.
    """
    ratios = [ratio for row in rows for half in row.halves if (ratio := _ratio(row, half))[1] < math.inf]
    misses = int(tolerated * len(ratios))
    if signature.ring == 0:
        contrary = sum(not low <= 1 <= high for low, high in ratios)
        return (ranks or 1, ranks or _MOST_RANKS) if contrary <= misses else None
    # ratio = ring * (n - 1) / n, so n = ring / (ring - ratio)
    ranges = [(_ranks_at(signature.ring, low, up=True), _ranks_at(signature.ring, high, up=False))
              for low, high in ratios]
    at = ranks or _most_covered(ranges)
    held = [(least, most) for least, most in ranges if least <= at <= most]
    if len(ranges) - len(held) > misses:
        return None
    return (ranks, ranks) if ranks else (max([1, *(least for least, _ in held)]),
                                         min([_MOST_RANKS, *(most for _, most in held)]))


def _most_covered(ranges: Sequence[tuple[int, int]]) -> int:
    """A number that lies in as many of `ranges` as possible."""
    steps = sorted(step for least, most in ranges if least <= most for step in ((least, 0), (most, 1)))
    depth, deepest, best = 0, 0, 1
    for number, ends in steps:
        depth += -1 if ends else 1
        if depth > deepest:
            deepest, best = depth, number
    return best


def _ratio(row: Row, half: Half) -> tuple[float, float]:
    """Bounds of busbw over algbw from rounding; unbounded if the numbers have too few digits.

    Size over time replaces algbw if the two agree, since a time has more digits.
    """
    if not (half.algbw and half.busbw) or half.algbw.value <= 4 * half.algbw.error:
        return 0.0, math.inf
    low, high = _quotient(half.busbw, half.algbw)
    time = half.time_us
    if row.size > 0 and time.value > time.error:
        rate = PrintedNumber(row.size / time.value / 1e3, row.size / time.value / 1e3 * time.error / time.value)
        finer_low, finer_high = _quotient(half.busbw, rate)
        if max(low, finer_low) <= min(high, finer_high):
            return max(low, finer_low), min(high, finer_high)
    return low, high


def _quotient(above: PrintedNumber, below: PrintedNumber) -> tuple[float, float]:
    least = below.value - below.error
    return ((above.value - above.error) / (below.value + below.error) * (1 - _SLACK),
            (above.value + above.error) / least * (1 + _SLACK) if least > 0 else math.inf)


def _ranks_at(ring: int, ratio: float, up: bool) -> int:
    """The rank count at which the factor is `ratio`, rounded up or down; 1 at and below 0."""
    if ratio >= ring:
        return _MOST_RANKS + (1 if up else 0)
    exact = ring / (ring - max(ratio, 0.0))
    return min(-int(-exact // 1) if up else int(exact + 1e-9), _MOST_RANKS)
