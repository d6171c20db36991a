"""Infer the operation and rank count of an nccl-tests table from its columns.

The columns are redundant: size over count gives the number of blocks, busbw over algbw the bus factor of the operation,
and redop, root and the error column differ between programs (PERFORMANCE.md and src/*.cu).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .names import ITEMSIZES
from .nccl_row import Columns, Half, Row
from .printed_numbers import PrintedNumber

__all__ = ["Signature", "fitting_operations", "signatures"]

_MOST_RANKS = 1 << 20
_SLACK = 1e-6       # beyond rounding


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


def fitting_operations(rows: Sequence[Row], ranks: int | None, columns: Columns | None) -> dict[str, int | None]:
    """Operations consistent with `rows`, each with its rank count, or None if several rank counts fit.

    Args:
        ranks: the rank count, if known.
        columns: the columns of the header, if there is one.
    """
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
        counts = _counts(signature, rows, known)
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
    ratios = {_blocks(row) for row in rows} - {None}
    named = {row.redop not in (None, "none") for row in rows}
    roots = {row.root is not None and row.root >= 0 for row in rows}
    pairs = [(row.out_of_place, row.in_place) for row in rows if row.out_of_place and row.in_place]
    checked = [here.wrong is not None for there, here in pairs if there.wrong is not None]
    return _Features(named.pop() if len(named) == 1 else None, roots.pop() if len(roots) == 1 else None,
                 ratios.pop() if len(ratios) == 1 else 0 if ratios else None,
                 None if not checked else any(checked))


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


def _counts(signature: Signature, rows: Sequence[Row], ranks: int | None) -> tuple[int, int] | None:
    """Smallest and largest rank count that busbw over algbw allows in every row; None if there is none."""
    least, most = (ranks, ranks) if ranks else (1, _MOST_RANKS)
    for low, high in [_ratio(row, half) for row in rows for half in (row.out_of_place, row.in_place) if half]:
        if signature.ring == 0:
            if not low <= 1 <= high:
                return None
            continue
        # ratio = ring * (n - 1) / n, so n = ring / (ring - ratio)
        least = max(least, _ranks_at(signature.ring, low, up=True))
        most = min(most, _ranks_at(signature.ring, high, up=False))
    return (least, most) if least <= most else None


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
