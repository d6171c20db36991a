"""A link matrix as text for a terminal."""

import math
from collections.abc import Callable

import pandas as pd

from ..text.units import counted, gigabytes, microseconds, payload
from .link_findings import QUANTITIES
from .matrix import LinkMatrix

__all__ = ["as_text"]

_MOST_COLUMNS = 16
_SHOWN = (("latency", "µs", microseconds), ("bandwidth", "GB/s", gigabytes), ("bi_bandwidth", "GB/s", gigabytes))


def as_text(matrix: LinkMatrix) -> str:
    """Tiers and findings, and the matrix itself if it fits on a screen: rows send, columns receive."""
    hosts = len(set(matrix.hosts))
    lines = [f"links: {matrix.transport} ({matrix.library}) on {matrix.device}: {matrix.ranks} ranks"
             + (f" on {counted(hosts, 'host')}" if hosts else "")]
    for quantity, (name, unit, show) in zip(QUANTITIES, _SHOWN, strict=True):
        if name in matrix.message_bytes and matrix.ranks <= _MOST_COLUMNS:
            lines += ["", f"{quantity.words} in {unit} of {payload(matrix.message_bytes[name])}"
                      + ("" if quantity.symmetric else ", rows send, columns receive")
                      + "; * measured again while all other ranks were idle"]
            lines += _grid(matrix.cells, quantity.column, show, matrix.ranks)
    lines += ["", *(f"{finding.severity}: {finding.words}" for finding in matrix.findings)]
    return "\n".join(lines)


def _grid(cells: pd.DataFrame, column: str, show: Callable[[float | None], str], ranks: int) -> list[str]:
    values = {(row.src, row.dst): (getattr(row, column), row.alone) for row in cells.itertuples()}
    lines = ["      " + "".join(f"{rank:>9}" for rank in range(ranks))]
    for source in range(ranks):
        shown = []
        for target in range(ranks):
            value, alone = values.get((source, target), (math.nan, False))
            shown.append("." if source == target else show(value) + ("*" if alone else " "))
        lines.append(f"{source:>6}" + "".join(f"{text:>9}" for text in shown))
    return lines
