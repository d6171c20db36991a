"""Compare a run with a baseline, for example in a job prologue: a verdict and an exit status."""

from collections.abc import Sequence
from dataclasses import dataclass

from collbench.collectives.errors import UsageError

from . import Comparison, compare, match, sides

__all__ = ["SLOWER", "SOUND", "Verdict", "check"]

SOUND, SLOWER = 0, 1        # a UsageError, when nothing can be compared, has 2


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check.

    Args:
        status: exit status.
        words: reasons, one sentence per line.
    """

    status: int
    words: tuple[str, ...]
    comparison: Comparison


def check(baseline: str, data: str, over: float, ops: Sequence[str] = (), sizes: Sequence[int] = ()) -> Verdict:
    """Compare `data` with `baseline`; a case that is slower by more than the share `over`, or wrong, fails.

    Raises:
        UsageError: no case can be compared, or a run is on both sides.
    """
    found = match(sides(baseline), sides(data), ops, sizes)
    if found.shared_run:
        raise UsageError(f"{baseline} and {data}: {found.shared_run}")
    result = compare(found)
    slow = result.over(over)
    words = list(found.broken)
    words += [f"{label}, {mode}: {100 * (ratio - 1):.1f} % slower than the baseline"
              for label, mode, ratio in slow[["label", "mode", "ratio"]].to_numpy()]
    undecided = int(result.rows["verdict"].eq("cannot tell").sum())
    if not words:
        words.append(f"none of {len(result.rows)} cases is significantly more than {100 * over:g} % slower than the "
                     "baseline" + (f"; {undecided} undecided" if undecided else ""))
    words += [f"{label}; the verdict is based on the other launches" for label in found.excused]
    return Verdict(SLOWER if len(slow) or found.broken else SOUND, tuple(words), result)
