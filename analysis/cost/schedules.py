"""Steps of a schedule, and the patterns that schedules are made of. Exact: shares are fractions of the payload."""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

__all__ = ["Schedule", "Step", "direct", "folded", "log2_ceil", "log2_floor", "paired", "repeated", "shifted"]


def log2_floor(n: int) -> int:
    """The largest k with 2**k <= n."""
    return n.bit_length() - 1


def log2_ceil(n: int) -> int:
    """The smallest k with 2**k >= n."""
    return (n - 1).bit_length()


class Step(NamedTuple):
    """Messages that follow one another and are alike.

    Args:
        times: how many follow one another.
        share: what the busiest rank sends in each, as a share of the payload.
        reduces: the receiver reduces what it gets.
        inside: no message leaves the innermost level.
        exchange: (distance, folded ranks) of a pairwise exchange by flipping one bit.
        block: messages stay within aligned blocks of so many ranks, as those of a binomial tree do.
            With neither, some message crosses every level, as in a shift around all ranks.
    """

    times: int
    share: Fraction
    reduces: bool = False
    inside: bool = False
    exchange: tuple[int, int] | None = None
    block: int | None = None

    def level(self, ranks: int, levels: tuple[int, ...]) -> int:
        """The outermost of `levels` that a message of this step crosses; 0 when all stay in the innermost."""
        if self.inside:
            return 0
        crossed = [i + 1 for i, size in enumerate(levels) if ranks > size and self._crosses(ranks, size)]
        return max(crossed, default=0)

    def _crosses(self, ranks: int, size: int) -> bool:
        if self.block is not None:
            return size % self.block != 0
        if self.exchange is None:
            return True
        distance, fold = self.exchange
        core = ranks - fold
        mine = np.arange(core)
        here, there = _unfold(mine, fold) // size, _unfold(mine ^ distance, fold) // size
        return bool((here != there).any())


def _unfold(core_ranks: np.ndarray, fold: int) -> np.ndarray:
    """The ranks behind the ranks of the power-of-two core: the first 2 * fold stand in pairs."""
    return np.where(core_ranks < fold, 2 * core_ranks + 1, core_ranks + fold)


Schedule = tuple[Step, ...]


def shifted(times: int, share: Fraction, reduces: bool = False) -> Schedule:
    """Every rank sends to another one at the same distance around the ring, `times` times."""
    return (Step(times, share, reduces),)


def repeated(times: int, share: Fraction, reduces: bool = False) -> Step:
    """`times` messages that stay inside the innermost level."""
    return Step(times, share, reduces, inside=True)


def direct(times: int, share: Fraction) -> Schedule:
    """Everything to everybody at once, `times` times; `share` is the sum over them."""
    return tuple(Step(1, share, reduces=times > 1 and not i) for i in range(times))


def paired(distance: int, share: Fraction, reduces: bool = False) -> Step:
    """One message between the ranks r and r + distance, r a multiple of twice that."""
    return Step(1, share, reduces, block=2 * distance)


def folded(ranks: int, core_steps: Callable[[int], list[tuple[int, Fraction, bool]]],
           out_share: Fraction = Fraction(1)) -> Schedule:
    """Exchanges among the largest power of two of ranks; the others fold in before and are told the result after.

    Args:
        core_steps: core ranks -> (distance, share, reduces) of each exchange.
        out_share: what a folded rank is sent afterwards.
    """
    core = 1 << log2_floor(ranks)
    fold = ranks - core
    steps = tuple(Step(1, share, reduces, exchange=(distance, fold)) for distance, share, reduces in core_steps(core))
    if not fold:
        return steps
    return (Step(1, Fraction(1), True, exchange=(1, 0) if ranks % 2 == 0 else None), *steps,
            Step(1, out_share, exchange=(1, 0) if ranks % 2 == 0 else None))
