"""Measured points of each series as arrays; one frame per series is too slow for reports with hundreds of them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..cost.operations import is_routed
from ..cost.token_loads import tokens_of
from ..frames.columns import SERIES, SERIES_BY_SOURCE
from ..frames.tokens import without_tokens
from .curve import Floats, Ints

__all__ = ["Points", "series_of"]


class Points(NamedTuple):
    """Points of one series; all [point].

    Args:
        size: key of a size over rank counts: tokens per rank where stated, else the size as the tool states it, else
            the requested size.
        tokens: tokens per rank; NaN if not stated.
        low_s, high_s: confidence interval of the time; p5 and p95 of the samples if they are too few for one.
        time_kind: definition of the time; not a string if unknown.
        crowded: ranks are known to have shared cores.
        one_node: all ranks of all points were on one node.
    """

    size: Floats
    ranks: Ints
    message_bytes: NDArray[np.generic]
    asked_bytes: NDArray[np.generic]
    time_s: Floats
    time_lo_s: Floats
    time_hi_s: Floats
    low_s: Floats
    high_s: Floats
    time_kind: NDArray[np.object_]
    crowded: NDArray[np.bool_]
    one_node: NDArray[np.bool_]
    tokens: Floats

    def where(self, keep: NDArray[np.generic]) -> "Points":
        """The points that a mask or an index array selects, in that order."""
        return Points(*(values[keep] for values in self))


def series_of(frame: pd.DataFrame) -> Iterator[tuple[dict[str, object], Points]]:
    """Key columns and points of each series in a frame of `frames.load`, in order of appearance.

    `ranks_per_node` becomes the node size if nodes were filled one after the other, and unknown within one node. A
    source that counts ranks on a node reports 2, 4, 8, 8 for 2, 4, 8, 16 ranks on nodes of 8: one series, not three.
    """
    keys = [*SERIES, *(name for name in SERIES_BY_SOURCE if name in frame.columns)]
    tokens = _tokens(frame)
    if "variant" in frame.columns:
        variant, stated = without_tokens(frame["variant"])
        frame, tokens = frame.assign(variant=variant), stated.fillna(tokens)
    known, one_node = _with_levels(frame[keys].assign(ranks=frame["ranks"]))
    points = _points(frame, tokens, one_node)
    number = known.groupby(keys, dropna=False, sort=False).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    named = [known[name].to_numpy(object) for name in keys]
    for rows in np.split(order, np.nonzero(np.diff(number[order]))[0] + 1) if len(order) else ():
        yield dict(zip(keys, (values[rows[0]] for values in named), strict=True)), points.where(rows)


def _tokens(frame: pd.DataFrame) -> pd.Series:
    """Tokens per rank of expert-parallel cases whose workload is known; NaN for all other points."""
    found = np.full(len(frame), np.nan)
    ops = [op for op in frame["op"].unique() if is_routed(str(op))]
    if ops and "traffic" in frame.columns:
        known = (frame["op"].isin(ops) & frame["traffic"].notna()).to_numpy(bool)
        own = frame[known]
        found[known] = [tokens_of(*row) for row in zip(own["traffic"], own["dtype"], own["message_bytes"], strict=True)]
    return pd.Series(found, frame.index)


def _with_levels(frame: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """The frame with the node size as `ranks_per_node`, and a mask of series whose ranks were all on one node."""
    if "ranks_per_node" not in frame.columns or frame["ranks_per_node"].isna().all():
        return frame, np.zeros(len(frame), dtype=bool)
    keys = [name for name in frame.columns if name not in ("ranks_per_node", "ranks")]
    number = frame.groupby(keys, dropna=False, sort=False).ngroup()
    node = frame["ranks_per_node"].groupby(number).transform("max")
    largest = frame["ranks"].groupby(number).transform("max")
    filled = frame["ranks_per_node"].eq(node.clip(upper=frame["ranks"])).groupby(number).transform("all")
    levels = frame["ranks_per_node"].where(~filled, node.where(largest > node))
    return frame.assign(ranks_per_node=levels), (filled & (largest <= node)).to_numpy(bool)


def _points(frame: pd.DataFrame, tokens: pd.Series, one_node: NDArray[np.bool_]) -> Points:
    def number(name: str) -> Floats:
        return frame[name].to_numpy(float, na_value=np.nan)
    asked, low, high = number("asked_bytes"), number("time_lo_s"), number("time_hi_s")
    own = number("native_size_bytes") if "native_size_bytes" in frame.columns else np.full(len(frame), np.nan)
    counted = tokens.to_numpy(float)
    own = np.where(np.isnan(counted), own, counted)
    return Points(np.where(np.isnan(own), asked, own), frame["ranks"].to_numpy(np.int64),
                  frame["message_bytes"].to_numpy(), frame["asked_bytes"].to_numpy(), number("time_s"), low, high,
                  np.where(np.isnan(low), number("p5_s"), low), np.where(np.isnan(high), number("p95_s"), high),
                  frame["time_kind"].to_numpy(object),
                  frame["oversubscribed"].fillna(False).to_numpy(bool), one_node, counted)
