"""Tidy CSV files as curves: which rows belong together, and what identifies a size over rank counts."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.errors import UsageError

from ..cost.algorithms import ALGORITHMS
from ..frames.load import load
from ..models.calibration import kind_of
from ..models.curve import Curve, curve_of
from ..text.safe_csv import unescape

__all__ = ["Series", "curves_of", "levels_of", "op_name", "read_data", "read_tidy", "with_group"]

_NEEDED = ("system", "library", "collective", "algorithm", "dtype", "n_ranks", "ranks_per_node", "message_bytes",
           "time_us")
# Of a variant, what is a size and not a way of doing it: expert-parallel tables count tokens instead of bytes.
_TOKENS = r"num_tokens_per_rank=(\d+);?"
_MOST = 1e15        # of anything: more is no measurement
_ALIKE = {"alltoall": "all_to_all", "alltoallv": "all_to_all_v", "allreduce": "all_reduce", "allgather": "all_gather",
          "reducescatter": "reduce_scatter", "bcast": "broadcast", "sendrecv": "send_recv", "dissemination": "barrier"}
# Systems whose trays all hang on one tier of switches.
_RACK = re.compile("NVL72|GB[23]00")
_GROUP = ["system", "library", "op", "algorithm", "dtype", "variant", "node"]


@dataclass(frozen=True)
class Series:
    """A curve and what it is of; `kind` is the family of library by which experience is kept.

    Args:
        node_known: every point is known to have all its ranks in one node.
    """

    system: str
    library: str
    algorithm: str
    kind: str
    curve: Curve
    node_known: bool = False

    @property
    def one_domain(self) -> bool:
        """Whether all ranks of all points are known to lie in one scale-up domain: one node, or one NVLink domain."""
        return bool(_RACK.search(self.system)) or (not self.curve.levels and self.node_known)


def op_name(collective: str) -> str:
    """The catalog's name of a collective, however a tool spells it."""
    plain = collective.strip().lower().replace("-", "_").removeprefix("mpi_")
    return _ALIKE.get(plain.replace("_", ""), _ALIKE.get(plain, plain))


def levels_of(node: int) -> tuple[int, ...]:
    """Inner levels of the machine, from the ranks a node; none where that is unknown or 1."""
    return (node,) if node > 1 else ()


def read_data(path: Path) -> pd.DataFrame:
    """Rows of DATA as `read_tidy` gives them: a tidy CSV with all its columns, else whatever `tidy.load` reads."""
    if path.is_file() and path.suffix.lower() == ".csv":
        return read_tidy(path)
    points = load(path).points
    points = points[points["op"].isin(list(ALGORITHMS)) & (points["ranks"] >= 2) & (points["time_s"] > 0)]
    apart = ["transport", "redop", "place", "traffic", "mode", "time_kind", "variant"]
    variant = points[apart].astype(object).where(points[apart].notna(), "").astype(str).agg(";".join, axis=1) \
        if len(points) else pd.Series(dtype=str)
    return with_group(pd.DataFrame({
        "system": points["system"].fillna("unknown"), "library": points["library"].fillna(""), "op": points["op"],
        "algorithm": points["algorithm"].fillna("default"), "dtype": points["dtype"].fillna(""), "variant": variant,
        "ranks": points["ranks"].astype(int), "ranks_per_node": points["ranks_per_node"].fillna(0).astype(int),
        "size": points["native_size_bytes"].fillna(points["asked_bytes"]).astype(float), "time_s": points["time_s"],
        "payload_bytes": points["message_bytes"].astype(float)}))


def read_tidy(path: Path) -> pd.DataFrame:
    """Rows of a tidy CSV with the columns that series are made of; UsageError when columns are missing.

    Columns: system, library, op, algorithm, dtype, variant, ranks, ranks_per_node, size, payload_bytes, time_s.
    """
    try:
        # A name may look like a number, or like what pandas takes for none.
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as CSV: {error}") from None
    missing = [name for name in _NEEDED if name not in rows.columns]
    if missing:
        raise UsageError(f"{path}: a tidy CSV needs the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    return _tidied(rows)


def _tidied(rows: pd.DataFrame) -> pd.DataFrame:
    def text(name: str, unsaid: str = "") -> pd.Series:
        told = rows.get(name, pd.Series(unsaid, index=rows.index)).astype(object)
        return told.where(told.notna(), unsaid).astype(str).map(unescape)

    def number(name: str) -> pd.Series:
        told = rows.get(name, pd.Series(np.nan, index=rows.index)).map(_number).astype(float)
        return told.where((told >= 0) & (told < _MOST))
    variant = text("variant")
    tokens = pd.to_numeric(variant.str.extract(_TOKENS)[0])
    native, message = number("native_size_bytes"), number("message_bytes")
    out = pd.DataFrame({
        "system": text("system", "unknown"), "library": text("library"), "op": text("collective").map(op_name),
        "algorithm": text("algorithm", "default"), "dtype": text("dtype"),
        "variant": variant.str.replace(_TOKENS, "", regex=True),
        "ranks": number("n_ranks"), "ranks_per_node": number("ranks_per_node").fillna(0).astype(int),
        "size": native.fillna(tokens).fillna(message),
        "time_s": 1e-6 * number("time_us")})
    out["payload_bytes"] = message.fillna(out["size"])
    usable = (out["ranks"] >= 2) & (out["time_s"] > 0) & out["size"].notna()
    return with_group(out[usable].assign(ranks=out["ranks"][usable].astype(int)))


def _number(cell: object) -> float:
    """Its number; NaN where it is none, or one with hundreds of digits."""
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return math.nan


def with_group(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with `node`: the ranks a node that a series shares.

    A run inside one node, whose ranks a node are then its ranks, continues the series of full nodes of that size; where
    there is none, the runs inside one node are a series of their own, with node 0.
    """
    rows = rows.reset_index(drop=True)
    keys = [name for name in _GROUP if name != "node"]
    many = rows[rows["ranks"] > rows["ranks_per_node"].clip(lower=1)]
    full = set(many[[*keys, "ranks_per_node"]].drop_duplicates().itertuples(index=False, name=None))
    mine = list(rows[[*keys, "ranks_per_node"]].itertuples(index=False, name=None))
    inside = (rows["ranks_per_node"] > 1) & np.array([key not in full for key in mine], dtype=bool)
    return rows.assign(node=rows["ranks_per_node"].where(~inside, 0))


def curves_of(rows: pd.DataFrame) -> Iterator[Series]:
    """The curves in rows of `read_tidy`."""
    for key, group in rows.groupby(_GROUP, sort=False, dropna=False):
        named = dict(zip(_GROUP, key, strict=True))
        levels = levels_of(int(named["node"]))
        algorithm = None if named["algorithm"] in ("default", "") else named["algorithm"]
        yield Series(named["system"], named["library"], named["algorithm"], kind_of(named["library"], named["op"]),
                     curve_of(group, named["op"], algorithm, levels),
                     bool((group["ranks"] <= group["ranks_per_node"]).all()))
