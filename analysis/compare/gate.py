"""Is this machine as it was? A run against its baseline, for the prologue of a job: a verdict and an exit status."""

from collections.abc import Sequence
from dataclasses import dataclass

from collbench.collectives.errors import UsageError

from . import Comparison, compare, match, sides

__all__ = ["SLOWER", "SOUND", "Verdict", "check"]

SOUND, SLOWER = 0, 1        # 2, cannot compare, is that of a UsageError


@dataclass(frozen=True)
class Verdict:
    """What a job prologue asks.

    Args:
        status: exit status.
        words: why, one sentence a line.
    """

    status: int
    words: tuple[str, ...]
    comparison: Comparison


def check(baseline: str, data: str, over: float, ops: Sequence[str] = (), sizes: Sequence[int] = ()) -> Verdict:
    """Compare `data` with `baseline`; a case that is slower by more than the share `over`, or wrong, fails.

    Raises:
        UsageError: they have nothing in common that may be compared, or are one and the same run.
    """
    found = match(sides(baseline), sides(data), ops, sizes)
    if found.twice:
        raise UsageError(f"{baseline} and {data}: {found.twice}")
    result = compare(found)
    slow = result.over(over)
    words = list(found.broken)
    words += [f"{row.label}, {row.mode}: {100 * (row.ratio - 1):.1f} % slower than the baseline"
              for row in slow.itertuples()]
    unsure = int(result.rows["verdict"].eq("cannot tell").sum())
    if not words:
        words.append(f"nothing of {len(result.rows)} cases is known to be over {100 * over:g} % slower than the "
                     "baseline" + (f"; {unsure} cannot be told" if unsure else ""))
    words += [f"{label}; judged by the others" for label in found.excused]
    return Verdict(SLOWER if len(slow) or found.broken else SOUND, tuple(words), result)
