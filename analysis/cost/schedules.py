"""Steps of a schedule and common patterns of steps. Shares are exact fractions of the message size."""

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
    """A number of consecutive, equal messages.

    Args:
        times: number of messages.
        share: bytes that the busiest rank sends in each, as a share of the message size.
        reduces: the receiver reduces the data.
        inside: no message leaves the innermost level.
        exchange: (distance, folded ranks) of a pairwise exchange by flipping one bit.
        block: messages stay within aligned blocks of this many ranks, as in a binomial tree.
            With neither, some message crosses every level, as in a shift around all ranks.
    """

    times: int
    share: Fraction
    reduces: bool = False
    inside: bool = False
    exchange: tuple[int, int] | None = None
    block: int | None = None

    def level(self, ranks: int, levels: tuple[int, ...]) -> int:
        """The outermost of `levels` that a message of this step crosses; 0 if all stay in the innermost."""
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
    """Original ranks of the ranks of the power-of-two core: the first 2 * fold ranks form pairs."""
    return np.where(core_ranks < fold, 2 * core_ranks + 1, core_ranks + fold)


Schedule = tuple[Step, ...]


def shifted(times: int, share: Fraction, reduces: bool = False) -> Schedule:
    """`times` steps in which every rank sends to the rank at the same distance around the ring."""
    return (Step(times, share, reduces),)


def repeated(times: int, share: Fraction, reduces: bool = False) -> Step:
    """`times` messages that stay inside the innermost level."""
    return Step(times, share, reduces, inside=True)


def direct(times: int, share: Fraction) -> Schedule:
    """`times` steps in which every rank sends to all others at once; `share` is the sum over destinations."""
    return tuple(Step(1, share, reduces=times > 1 and not i) for i in range(times))


def paired(distance: int, share: Fraction, reduces: bool = False) -> Step:
    """One message between ranks r and r + distance, for r a multiple of 2 * distance."""
    return Step(1, share, reduces, block=2 * distance)


def folded(ranks: int, core_steps: Callable[[int], list[tuple[int, Fraction, bool]]],
           out_share: Fraction = Fraction(1)) -> Schedule:
    """Exchanges among the largest power of two of ranks; the others fold in before and get the result after.

    Args:
        core_steps: core ranks -> (distance, share, reduces) of each exchange.
        out_share: share of the message that a folded rank receives afterwards.
    """
    core = 1 << log2_floor(ranks)
    fold = ranks - core
    steps = tuple(Step(1, share, reduces, exchange=(distance, fold)) for distance, share, reduces in core_steps(core))
    if not fold:
        return steps
    return (Step(1, Fraction(1), True, exchange=(1, 0) if ranks % 2 == 0 else None), *steps,
            Step(1, out_share, exchange=(1, 0) if ranks % 2 == 0 else None))
