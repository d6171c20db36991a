"""Tables of costs in the formats of planners and simulators: one module per tool, named as in `--to`.

A module has
    TITLE: the tool, and the version of its sources that the format was read from.
    LACKS: why operations may be missing, as the end of a sentence.
    write(costs) -> Tables: files from the frame of `export.costs`.
    write_exchanges(exchanges) -> Tables, if it has a place for those of experts: from the frame of `export.exchanges`.
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
from ..costs import Note, costs_of_each
from ..exchanges import exchanges, is_exchange
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
    asked = sorted({*ranks, *more})
    routed = is_exchange(points) if hasattr(target, "write_exchanges") else pd.Series(False, points.index)
    parts = [points[~routed]]
    if hasattr(target, "BY_ALGORITHM"):
        parts = [part for _, part in points.groupby(list(BY_SOURCE), dropna=False)]
    rows, notes = costs_of_each(parts, asked, home, known)
    tables: list[tuple[pd.DataFrame, Tables]] = [(rows, target.write(rows))]
    if routed.any():
        rows, refused = exchanges(points[routed], asked, home, known)
        tables.append((rows, target.write_exchanges(rows)))
        notes += refused
    return _together(target, tables, notes)


def _together(target: ModuleType, tables: list[tuple[pd.DataFrame, Tables]], notes: list[Note]) -> Exported:
    """All tables of a tool with one file of provenance. UsageError if they are empty."""
    beside = [rows.loc[index].assign(file=file) for rows, made in tables for file, index in made.used.items()]
    said = [note for _, made in tables for note in made.notes]
    if not beside:
        ops = ", ".join(dict.fromkeys(op for rows, _ in tables for op in rows["op"])) or "no collective with a time"
        raise UsageError(f"nothing to write: the data have {ops}; "
                         + "; ".join([*said, *(note.words for note in notes if not note.op), target.LACKS]))
    kinds = {"measured": 0, "extrapolated": 0}
    for rows, made in tables:
        used = rows["kind"][rows.index.isin([label for index in made.used.values() for label in index])]
        kinds = {kind: count + int((used == kind).sum()) for kind, count in kinds.items()}
        left = rows[~rows.index.isin(used.index)]
        said = [*_left_out(left, target.LACKS), *said]
    files = {name: content for _, made in tables for name, content in made.files.items()}
    files[provenance_file(target.__name__)] = _provenance(pd.concat(beside, ignore_index=True))
    wanted = {"", *(op for rows in beside for op in rows["op"])}
    return Exported(files, kinds["measured"], kinds["extrapolated"],
                    [*said, *(note.words for note in notes if note.op in wanted)])


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
