"""Measured points grouped into curves for the backtest."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS

from ..cost.algorithms import ALGORITHMS, canonical_name
from ..cost.selection import runs
from ..frames.load import load
from ..frames.tokens import without_tokens
from ..models.calibration import kind_of
from ..models.curve import Curve, curve_of

__all__ = ["Series", "curves_of", "levels_of", "read_data", "rows_of", "with_group"]

_APART = ("transport", "redop", "place", "traffic", "mode", "time_kind")      # never pooled
_GROUP = ["system", "library", "op", "algorithm", "dtype", "variant", "node"]


@dataclass(frozen=True)
class Series:
    """A curve with its system, library and algorithm; `kind` is the library family used for calibration."""

    system: str
    library: str
    algorithm: str
    kind: str
    curve: Curve


def levels_of(node: int) -> tuple[int, ...]:
    """Inner levels of the machine from the ranks per node; none if that is unknown or 1."""
    return (node,) if node > 1 else ()


def read_data(path: Path) -> pd.DataFrame:
    """Rows of DATA for series, read as by every other command.

    Columns: system, library, op, algorithm, dtype, variant, ranks, ranks_per_node, size, payload_bytes, time_s.
    `variant` includes all other keys of a series. Operations of other tools are kept; catalog operations on pairs or on
    a single rank are left out.
    """
    return rows_of(load(path).points)


def rows_of(points: pd.DataFrame) -> pd.DataFrame:
    """As `read_data`, from the points of `frames.load`."""
    usable = ~points["op"].isin([op for op in OPERATIONS if op not in ALGORITHMS])
    points = points[usable & (points["ranks"] >= 2) & (points["time_s"] > 0)]
    variant, tokens = without_tokens(points["variant"])
    apart = [*(_text(points[name]) for name in _APART), _text(variant)]
    size = points["native_size_bytes"].fillna(tokens).fillna(points["asked_bytes"]).astype(float)
    payload = points["message_bytes"].astype(float)
    return with_group(pd.DataFrame({
        "system": points["system"].fillna("unknown"), "library": _text(points["library"]), "op": points["op"],
        "algorithm": points["algorithm"].fillna("default"), "dtype": _text(points["dtype"]),
        "variant": apart[0].str.cat(pd.concat(apart[1:], axis=1), sep=";"),
        "ranks": points["ranks"].astype(int), "ranks_per_node": points["ranks_per_node"].fillna(0).astype(int),
        "size": size, "time_s": points["time_s"],
        "payload_bytes": payload.where((payload > 0) | tokens.isna(), tokens)}))     # bytes are proportional to tokens


def _text(column: pd.Series) -> pd.Series:
    """The column as text; empty if unknown."""
    return column.astype(object).where(column.notna(), "").astype(str)


def with_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with `node`, the ranks per node of the series.

    A run inside one node has its rank count as ranks per node. It belongs to the series of full nodes of that size; if
    there is none, runs inside one node form a series of their own with node 0.
    """
    rows = rows.reset_index(drop=True)
    keys = [name for name in _GROUP if name != "node"]
    many = rows[rows["ranks"] > rows["ranks_per_node"].clip(lower=1)]
    full = set(many[[*keys, "ranks_per_node"]].drop_duplicates().itertuples(index=False, name=None))
    mine = list(rows[[*keys, "ranks_per_node"]].itertuples(index=False, name=None))
    inside = (rows["ranks_per_node"] > 1) & np.array([key not in full for key in mine], dtype=bool)
    return rows.assign(node=rows["ranks_per_node"].where(~inside, 0))


def curves_of(rows: pd.DataFrame) -> Iterator[Series]:
    """The curves in the rows of `read_data`."""
    for key, group in rows.groupby(_GROUP, sort=False, dropna=False):
        named: dict[str, Any] = dict(zip(_GROUP, key, strict=True))
        levels = levels_of(int(named["node"]))
        algorithm = None if named["algorithm"] in ("default", "") else canonical_name(named["op"], named["algorithm"])
        kind = kind_of(named["library"], named["op"])
        curve = replace(curve_of(group, named["op"], algorithm, levels), offered=runs(kind, named["op"], levels))
        yield Series(named["system"], named["library"], named["algorithm"], kind, curve)
