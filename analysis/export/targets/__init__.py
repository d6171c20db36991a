"""Tables of costs in the formats of planners and simulators: one module per tool, named as in `--to`.

A module has
    TITLE: the tool, and the version of its sources that the format was read from.
    LACKS: why operations may be missing, as the end of a sentence.
    write(costs) -> Tables: files from the frame of `export.costs`.
    counts(points, asked) -> list[int], if the tool needs forecasts at more rank counts than those asked for.
    BY_ALGORITHM = True, if it wants every algorithm and protocol, and not the library's choice or the fastest.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import pandas as pd

from collbench.collectives.errors import UsageError

from ...frames.columns import BY_SOURCE
from ...models.calibration import Calibration
from ...models.predict import Home
from ...text.safe_csv import to_csv
from ..costs import costs_of_each
from .written import Tables, provenance_file

__all__ = ["Exported", "export_costs", "target_named"]


class Exported(NamedTuple):
    """What is written for one fabric.

    Args:
        files: content by path, relative to the output folder.
        measured, extrapolated: rows of the table of costs that are in them.
        notes: a sentence for whatever was left out, or must be known to use the files.
    """

    files: dict[str, str | bytes]
    measured: int
    extrapolated: int
    notes: list[str]


def target_named(name: str) -> ModuleType:
    """The module of a tool, such as `astra-sim`."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def export_costs(points: pd.DataFrame, target: ModuleType, ranks: Sequence[int] = (), home: Home | None = None,
                 known: Calibration | None = None) -> Exported:
    """The files for a tool, and beside them the provenance and interval of every row.

    Args:
        points: of one fabric.
        target: of `target_named`.
        ranks: rank counts to forecast.
        home, known: as in `forecast.extrapolate`.

    Raises:
        UsageError: nothing in `points` can be written in this format.
    """
    more = target.counts(points, ranks) if hasattr(target, "counts") else []
    parts = [points]
    if hasattr(target, "BY_ALGORITHM"):
        parts = [part for _, part in points.groupby(list(BY_SOURCE), dropna=False)]
    rows, refused = costs_of_each(parts, sorted({*ranks, *more}), home, known)
    made: Tables = target.write(rows)
    if not made.used:
        ops = ", ".join(dict.fromkeys(rows["op"])) or "no collective with a time"
        raise UsageError(f"nothing to write: the data have {ops}; "
                         + "; ".join([*made.notes, *refused, target.LACKS]))
    beside = pd.concat([rows.loc[index].assign(file=file) for file, index in made.used.items()])
    used = rows.index.isin(beside.index)
    kinds = rows["kind"][used].value_counts()
    files = {**made.files, provenance_file(target.__name__): _provenance(beside)}
    return Exported(files, int(kinds.get("measured", 0)), int(kinds.get("extrapolated", 0)), [
        *_left_out(rows[~used], target.LACKS), *made.notes, *refused])


def _provenance(rows: pd.DataFrame) -> str:
    """Every row of the tables with its origin; times in microseconds, as in a tidy CSV."""
    times = {f"{name}_us": rows[f"{name}_s"] * 1e6 for name in ("time", "time_lo", "time_hi")}
    first = ["file", "kind", "op", "dtype", "ranks", "message_bytes", *times]
    frame = rows.assign(**times).drop(columns=["time_s", "time_lo_s", "time_hi_s"])
    return to_csv(frame[[*first, *(name for name in frame.columns if name not in first)]])


def _left_out(rows: pd.DataFrame, lacks: str) -> list[str]:
    if rows.empty:
        return []
    ops = ", ".join(f"{op} ({number})" for op, number in rows["op"].value_counts(sort=False).items())
    return [f"{len(rows)} rows left out, {ops}: {lacks}"]
