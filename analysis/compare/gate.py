"""A gate on a comparison: passed, slower, or cannot tell; as an exit status with the reasons."""

from dataclasses import dataclass, replace
from typing import Any

from collbench.collectives.errors import UsageError

from . import Comparison, compare, match, sides
from .words import factor, limits, named

__all__ = ["CANNOT_TELL", "FAILED", "SOUND", "Gate", "Verdict", "case_name", "check", "judge"]

SOUND, FAILED, CANNOT_TELL = 0, 1, 4        # 2 is a UsageError, when nothing can be compared; 3 a rank that failed
_NAMES = {SOUND: "passed", FAILED: "failed", CANNOT_TELL: "cannot tell"}


@dataclass(frozen=True)
class Gate:
    """What a gate lets pass, as shares of the time.

    Args:
        slowdown: a case, or all together, that is known to be slower by more than this fails.
        notice: a comparison that would not have noticed a slowdown by this much, of all cases together or of a usual
            one, cannot tell.
    """

    slowdown: float
    notice: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """Outcome of a gate.

    Args:
        status: exit status.
        words: the outcome, then its reasons, one sentence per line.
        slow: names of what is slower, by `case_name`.
    """

    status: int
    words: tuple[str, ...]
    comparison: Comparison
    gate: Gate
    slow: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The status as a word: passed, failed or cannot tell."""
        return _NAMES[self.status]

    def adding(self, words: str, status: int | None = None) -> "Verdict":
        """The verdict with another sentence, and another status if given."""
        if status is None:
            return replace(self, words=(*self.words, words))
        return replace(self, status=status, words=(f"{_NAMES[status]}: {words}", *self.words))


def check(baseline: str, data: str, gate: Gate, suspects: frozenset[str] | None = None) -> Verdict:
    """Compare `data` with `baseline`.

    Args:
        suspects: what was slower in an earlier measurement; only that can be slower in this one, which confirms it.

    Raises:
        UsageError: no case can be compared, or a run is on both sides.
    """
    found = match(sides(baseline), sides(data))
    if found.shared_run:
        raise UsageError(f"{baseline} and {data}: {found.shared_run}")
    return judge(compare(found), gate, suspects)


def judge(comparison: Comparison, gate: Gate, suspects: frozenset[str] | None = None) -> Verdict:
    """The outcome of a comparison, and its reasons; `suspects` as for `check`."""
    found, limit = comparison.match, f"{100 * gate.slowdown:g} %"
    slow = {case_name(row): f"all {row.cases} cases of {row.fabric} together: {factor(row.ratio)} the time of the "
            "baseline" for row in named(comparison.together_over(gate.slowdown))}
    slow |= {case_name(row): f"{row.label}, {row.mode}: {factor(row.ratio)} the time of the baseline"
             for row in named(comparison.over(gate.slowdown))}
    if suspects is not None:
        slow = {name: words for name, words in slow.items() if name in suspects}
    words = [*found.broken, *slow.values()]
    if words:
        status, first = FAILED, f"slower than the baseline by more than {limit}, or wrong"
    elif max([comparison.noticed, *comparison.together["noticed"]]) > 1 + gate.notice:
        status, first = CANNOT_TELL, f"a slowdown of {1 + gate.notice:g}x would not have been noticed"
    else:
        status, first = SOUND, f"none of {len(comparison.rows)} cases is known to be slower by more than {limit}"
    words = [f"{_NAMES[status]}: {first}", *words, limits(comparison, 1 + gate.slowdown)]
    if suspects and not slow:
        words.append(f"a first measurement was slower in {len(suspects)} respects, a second one did not confirm it")
    words += [f"{label}; the verdict is based on the other launches" for label in found.excused]
    return Verdict(status, tuple(words), comparison, gate, frozenset(slow))


def case_name(row: Any) -> str:
    """What identifies a row of `Comparison.rows` or `Comparison.together` in comparisons with one baseline."""
    return f"{row.fabric}: {row.label}, {row.mode}" if hasattr(row, "mode") else f"{row.fabric}: all together"
