"""Group points into tables: one run, operation, element type, rank count, algorithm and variant each."""

from collections.abc import Iterator

import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS

from ..frames.columns import BY_SOURCE
from ..frames.load import Loaded

__all__ = ["left_out", "native_bytes", "preferred", "tables"]

_TABLE = ["run", "op", "dtype", "redop", "traffic", "ranks", *BY_SOURCE, "ranks_per_node", "time_kind"]


def preferred(points: pd.DataFrame, mode: str) -> pd.DataFrame:
    """Points of `mode`, or of the other mode for cases that were not measured in it."""
    case = [*_TABLE[:-1], "place", "message_bytes"]
    both = points.assign(_other=points["mode"] != mode).sort_values("_other", kind="stable")
    first = both.groupby(case, dropna=False, sort=False)["_other"].transform("min")
    return both[both["_other"] == first].drop(columns="_other").sort_index()


def tables(points: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The points of each table in order of message size; repeats of a size keep their order."""
    for _, rows in points.groupby(_TABLE, dropna=False, sort=False):
        yield rows.sort_values("message_bytes", kind="stable")


def native_bytes(op: str, ranks: int, message_bytes: int) -> int:
    """The size that MPI benchmarks print: per rank or peer for operations whose buffer is made of blocks.

    Of incast and outcast, those between one rank and all others.
    """
    operation = OPERATIONS[op]
    if op in ("incast", "outcast"):
        return message_bytes // max(1, ranks - 1)
    return message_bytes // ranks if operation.in_blocks or operation.uneven else message_bytes


def left_out(loaded: Loaded, kept: int, words: str) -> list[str]:
    """A warning about the points that a format cannot hold, or none."""
    lost = len(loaded.points) - kept
    return [f"{lost} of {len(loaded.points)} points left out: {words}"] if lost else []
