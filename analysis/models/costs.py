"""The formula table: messages on the critical path and bytes one rank sends, per operation and algorithm shape.

    T(n, S) = o + steps(n) * alpha + bytes(n) * S * beta

S is the payload of the catalog (total over ranks for operations made of blocks). Steps and byte factors are exact
for every n, not only powers of two. Sources: Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005, for the shapes of
MPI libraries; NCCL src/graph/tuning.cc for ring step counts; Sanders, Speck and Traeff, 2009, for pipelined trees.
"""

from collections.abc import Callable
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["SHAPES", "Shape", "log2_ceil", "log2_floor"]

Steps = Callable[[int], int]
Factor = Callable[[int], Fraction]


class Shape(NamedTuple):
    """One way to carry out an operation over n ranks.

    Args:
        steps: messages one after the other on the critical path.
        factor: bytes that one rank sends on the critical path, as a share of the payload.
    """

    algorithm: str
    steps: Steps
    factor: Factor


def log2_floor(n: int) -> int:
    """The largest k with 2**k <= n."""
    return n.bit_length() - 1


def log2_ceil(n: int) -> int:
    """The smallest k with 2**k >= n."""
    return (n - 1).bit_length()


def _times(times: int, steps: Steps) -> Steps:
    return lambda n: times * steps(n)


def _others(n: int) -> int:
    return n - 1


def _share(n: int) -> Fraction:
    return Fraction(n - 1, n)


def _all(n: int) -> Fraction:
    return Fraction(1)


def _even(n: int) -> bool:
    return n == 1 << log2_floor(n)


def _doubling_steps(n: int) -> int:
    """Recursive doubling; ranks beyond a power of two fold in before it and out after it."""
    return log2_floor(n) + (0 if _even(n) else 2)


def _halving_factor(n: int) -> Fraction:
    """Reduce-scatter by halving, all-gather by doubling: Rabenseifner's, with the fold of _doubling_steps."""
    core = 1 << log2_floor(n)
    return 2 * Fraction(core - 1, core) + (0 if _even(n) else 2)


def _bruck_factor(n: int) -> Fraction:
    """Blocks sent over all rounds: in round j those whose distance has bit j set."""
    return Fraction(sum(distance.bit_count() for distance in range(n)), n)


_RING = Shape("ring", _others, _share)
_BRUCK = Shape("bruck", log2_ceil, _share)
_DIRECT = Shape("direct", lambda n: 1, _share)
_LINEAR = Shape("linear", _others, _share)
_BINOMIAL = Shape("binomial tree", log2_ceil, lambda n: Fraction(log2_ceil(n)))
_ROOT_TO_EACH = Shape("linear", _others, lambda n: Fraction(n - 1))
_PIPELINE = Shape("pipelined chain", _others, _all)
_PIPELINED_TREE = Shape("pipelined tree", log2_ceil, _all)
_EXCHANGE = (Shape("pairwise", _others, _share), _DIRECT, Shape("bruck", log2_ceil, _bruck_factor))

# Where two shapes fit equally well, the earlier one is chosen.
SHAPES: "MappingProxyType[str, tuple[Shape, ...]]" = MappingProxyType({
    "all_reduce": (
        Shape("ring", _times(2, _others), lambda n: 2 * _share(n)),
        Shape("recursive doubling", _doubling_steps, lambda n: Fraction(_doubling_steps(n))),
        Shape("rabenseifner", lambda n: 2 * log2_floor(n) + (0 if _even(n) else 2), _halving_factor),
        Shape("reduce and broadcast trees", _times(2, log2_ceil), lambda n: Fraction(2 * log2_ceil(n))),
        Shape("pipelined tree", _times(2, log2_ceil), lambda n: Fraction(2)),
        Shape("direct", lambda n: 2, lambda n: 2 * _share(n)),
        Shape("in-switch", lambda n: 2, _all),
        Shape("all to all ranks", lambda n: 1, lambda n: Fraction(n - 1)),
    ),
    "all_gather": (_RING, _BRUCK, _DIRECT),
    "reduce_scatter": (_RING, Shape("recursive halving", log2_ceil, _share), _DIRECT,
                       Shape("reduce and scatter", lambda n: 2 * log2_ceil(n), lambda n: log2_ceil(n) + _share(n))),
    "broadcast": (_BINOMIAL, Shape("scatter and all-gather", lambda n: log2_ceil(n) + n - 1, lambda n: 2 * _share(n)),
                  _PIPELINE, _PIPELINED_TREE, _ROOT_TO_EACH),
    "reduce": (_BINOMIAL, Shape("reduce-scatter and gather", _times(2, log2_ceil), lambda n: 2 * _share(n)),
               _PIPELINE, _PIPELINED_TREE, _ROOT_TO_EACH),
    "gather": (Shape("binomial tree", log2_ceil, _share), _LINEAR),
    "scatter": (Shape("binomial tree", log2_ceil, _share), _LINEAR),
    "all_to_all": _EXCHANGE,
    "all_to_all_v": _EXCHANGE,
    "barrier": (Shape("dissemination", log2_ceil, lambda n: Fraction(0)),
                Shape("tree up and down", _times(2, log2_ceil), lambda n: Fraction(0)),
                Shape("ring", _others, lambda n: Fraction(0))),
    "send_recv": (Shape("neighbour shift", lambda n: 1, _all),),
})
