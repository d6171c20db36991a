"""Rows of tokens that each rank sends and receives in an expert-parallel exchange whose routing is known.

The routing is a pure function of the workload, so that it is known at rank counts that nobody has measured.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collbench.collectives.cases.moe_workload import combine_dtype, is_workload, parse_workload, token_bytes
from collbench.collectives.cases.routing import loads
from collbench.collectives.errors import UsageError

__all__ = ["Loads", "least_bytes", "loads_of", "moved_bytes", "row_bytes", "tokens_of"]

_MOST_STEPS = 4             # of a cycle
_MOST_TOKENS = 1 << 18      # of all ranks; the rows of more are in proportion to these


class Loads(NamedTuple):
    """Rows over the links of each rank in one dispatch; those that a rank keeps are not among them.

    A combine sends them back: `sent` and `received` change places.

    Args:
        sent, received: [rank] median over the steps of a cycle.
        busiest: the most that one rank sends or receives, median over the steps.
        hottest: [step] the rank that it is.
    """

    sent: NDArray[np.float64]
    received: NDArray[np.float64]
    busiest: float
    hottest: tuple[int, ...]


@lru_cache(maxsize=512)
def loads_of(traffic: str, ranks: int, tokens: int) -> Loads:
    """The loads of a workload over `ranks` ranks of `tokens` tokens each.

    Raises:
        UsageError: `traffic` is no workload, or a recorded one whose table cannot be read.
    """
    counted = max(1, min(tokens, _MOST_TOKENS // ranks))
    rows = _sent_on(traffic, ranks, counted) * (tokens / counted)
    sent, received = rows.sum(axis=2), rows.sum(axis=1)
    each = np.maximum(sent, received)
    return Loads(np.median(sent, axis=0), np.median(received, axis=0), float(np.median(each.max(axis=1))),
                 tuple(each.argmax(axis=1).tolist()))


@lru_cache(maxsize=4)
def _sent_on(traffic: str, ranks: int, tokens: int) -> NDArray[np.float64]:
    """Rows from each rank to each other one, [step, source, destination]. All large messages count the same tokens."""
    work = parse_workload(traffic)
    steps = sorted({step * work.steps // min(work.steps, _MOST_STEPS) for step in range(min(work.steps, _MOST_STEPS))})
    rows = np.stack([loads(traffic, ranks, tokens, step) for step in steps]).astype(float)
    rows[:, np.arange(ranks), np.arange(ranks)] = 0
    rows.setflags(write=False)
    return rows


def row_bytes(op: str, traffic: str, dtype: str) -> int:
    """Bytes of a token, added up over dispatch and combine for an operation that does both.

    Raises:
        UsageError: `traffic` is no workload, or tokens of that type do not exist.
    """
    work = parse_workload(traffic)
    back = token_bytes(work, combine_dtype(dtype))
    return {"moe_combine": back, "moe_pair": token_bytes(work, dtype) + back}.get(op, token_bytes(work, dtype))


def tokens_of(traffic: object, dtype: object, message_bytes: float) -> float:
    """Tokens of a rank in a case of `message_bytes`; NaN if `traffic` is no workload."""
    if not isinstance(traffic, str) or not isinstance(dtype, str) or not is_workload(traffic):
        return float("nan")
    try:
        return message_bytes / token_bytes(parse_workload(traffic), dtype)
    except UsageError:
        return float("nan")


def least_bytes(op: str, traffic: str, dtype: str, ranks: int, tokens: float) -> float:
    """Bytes that some rank must receive in a dispatch, or send in a combine, whatever the implementation.

    One copy of each token for each rank suffices. What a rank sends in a dispatch may be less: others can pass it on.
    """
    return float(loads_of(traffic, ranks, max(1, round(tokens))).received.max()) * row_bytes(op, traffic, dtype)


def moved_bytes(op: str, traffic: str, dtype: str, ranks: int, tokens: float) -> float:
    """Bytes that the busiest rank sends or receives by the implementation that the workload names.

    With `via=gather` every rank receives all tokens, and the combine adds up as much.
    """
    row = row_bytes(op, traffic, dtype)
    if parse_workload(traffic).via == "gather":
        return (ranks - 1) * tokens * row
    return loads_of(traffic, ranks, max(1, round(tokens))).busiest * row
