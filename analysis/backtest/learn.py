"""Learn what forecasts know of earlier measurements: errors of the candidates, drift, interval widths, track record.

    python -m collbench.analysis.backtest.learn CSV... --others FOLDER -o FOLDER

Each CSV is one data set. Statistics are stored by machine, so that any machine can be left out later. Of data sets that
are not given, because their licence forbids to ship them, statistics are taken over from the folder of `--others`. On
the data that ship, with the folder that ships, the same files result, byte for byte.
"""

import argparse
import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..domains.facts import Domain, load_domains
from ..frames.load import load
from ..models.calibration import Calibration, category_of, experience
from ..models.curve import Curve
from ..models.estimate import whole_series
from ..models.growth import Growth, growths_of
from ..models.history import History, history_class, scope_of
from ..models.holdout import hold_trials
from ..models.offsets import Offsets
from ..models.regime import COUNTS, Category, kind_of
from ..models.track_record import TrackRecord
from ..models.widths import FEATURES, Widths
from ..text.safe_csv import to_csv
from ..text.significant import significant
from .fit_widths import learned
from .outcomes import Measured, Outcomes, measured, outcomes_of
from .run import backtest
from .scores import by_series

__all__ = ["learn", "main"]

_BEST = 0.01        # smaller log errors count as this one
_CATEGORY = ("counts", "bucket", "regime", "kind", "op")

Table = list[dict[str, Any]]


class _Sets(NamedTuple):
    """Frames of the given data sets by name, and rows of the other ones by file."""

    frames: Mapping[str, pd.DataFrame]
    others: Mapping[str, Table]

    def add_others(self, name: str, rows: Table) -> Table:
        """The rows with those of the data sets that were not given, in a fixed order of data sets."""
        both = [*rows, *self.others.get(name, ())]
        return sorted(both, key=lambda row: str(row["data_set"]))


def learn(paths: Sequence[Path], others: Path | None = None) -> dict[str, Table]:
    """Rows of the files of the calibration, by file name, from tidy CSV files.

    Args:
        others: a folder of such files, from which rows of other data sets are taken.
    """
    domains, aliases = load_domains(), {row["system"]: row["machine"] for row in experience("machines.csv")}
    sets = _sets(paths, others)
    series = [one for name, frame in sets.frames.items()
              for one in measured(name, frame, domains, lambda system: aliases.get(system, system))]
    curves = [whole_series(one.key, one.points, one.home) for one in series]
    growth = sets.add_others("growth.csv", _growth(series, curves))
    errors = sets.add_others("errors.csv", _errors(series, curves, growth))
    found: dict[str, Table] = {"systems.csv": _systems(series, sets), "growth.csv": growth, "errors.csv": errors}

    def without(machine: str) -> tuple[History, Growth]:
        return (History((row["machine"], row["op"], row["kind"], row["scope"], row["candidate"], int(row["bucket"]),
                         float(row["sum_log_error"]), int(row["curves"])) for row in errors
                        if row["machine"] != machine), _growth_of(growth, machine))
    bare = cache(lambda machine: Calibration(*without(machine), Offsets((), ()), {}, TrackRecord(())))
    outcomes = Outcomes.none()
    for one in series:
        outcomes.extend(outcomes_of(one, bare(one.machine)))
    found["outcomes.csv.gz"] = sets.add_others("outcomes.csv.gz", _outcome_table(outcomes))
    outcomes = _outcomes_from(found["outcomes.csv.gz"])
    drift, typical, widths = learned(outcomes)
    found["drift.csv"] = [{"machine": machine, **_columns(category), "band": band, "drift": value}
                          for machine, category, band, value in drift]
    found["typical.csv"] = [{"machine": machine, **_columns(category), "log_error": value}
                            for machine, category, value in typical]
    found["widths.csv"] = _width_table(widths)

    @cache
    def calibrated(machine: str) -> Calibration:
        offsets = Offsets((row for row in drift if row[0] != machine), (row for row in typical if row[0] != machine))
        return Calibration(*without(machine), offsets,
                           {counts: widths.get((machine, counts), widths["", counts]) for counts in COUNTS},
                           TrackRecord(()), machine)
    named = {str(row["system"]): str(row["machine"]) for row in found["systems.csv"]}
    found["record.csv"] = sets.add_others("record.csv", _record(
        sets.frames, domains, lambda system: calibrated(named.get(system, "")), named))
    return found


def _sets(paths: Sequence[Path], others: Path | None) -> _Sets:
    frames = {path.name.split(".")[0]: load(path).points for path in paths}
    rows: dict[str, Table] = {}
    for name in ("systems.csv", "growth.csv", "errors.csv", "outcomes.csv.gz", "record.csv") if others else ():
        assert others is not None
        rows[name] = [row for row in _read(others / name) if row["data_set"] not in frames]
    return _Sets(frames, rows)


def _systems(series: Sequence[Measured], sets: _Sets) -> Table:
    found = {(one.data_set, str(one.key["system"])): one.machine for one in series}
    return sets.add_others("systems.csv", [{"data_set": data_set, "system": system, "machine": machine}
                                           for (data_set, system), machine in sorted(found.items())])


def _growth(series: Sequence[Measured], curves: Sequence[Curve]) -> Table:
    """Growth per doubling by machine and band: the median over the curves of an operation."""
    table: dict[tuple[str, str, str, str, str, int], list[float]] = defaultdict(list)
    for one, curve in zip(series, curves, strict=True):
        for band, growth in growths_of(curve).items():
            table[(one.data_set, one.machine, curve.op, _kind(one), scope_of(curve), band)].append(growth)
    return [dict(zip(("data_set", "machine", "op", "kind", "scope", "band", "growth"),
                     (*key, significant(float(np.median(values)))), strict=True))
            for key, values in sorted(table.items())]


def _growth_of(rows: Iterable[Mapping[str, Any]], without: str) -> Growth:
    return Growth((row["machine"], row["op"], row["kind"], row["scope"], int(row["band"]), float(row["growth"]))
                  for row in rows if row["machine"] != without)


def _kind(one: Measured) -> str:
    library = one.key["library"]
    return kind_of(library if isinstance(library, str) else None, str(one.key["op"]))


def _errors(series: Sequence[Measured], curves: Sequence[Curve], growth: Table) -> Table:
    """Sums of mean log errors by data set, group and candidate; every curve counts once per distance class."""
    table: dict[tuple[str, str, str, str, str, str, int], list[float]] = defaultdict(list)
    growths = cache(lambda machine: _growth_of(growth, machine))
    for one, curve in zip(series, curves, strict=True):
        kind, scope = _kind(one), scope_of(curve)
        trials = hold_trials(replace(curve, growth=growths(one.machine).of(curve.op, kind, scope)))
        errors = trials.errors()
        for name, at in {candidate.name: at for at, candidate in enumerate(trials.candidates)}.items():
            of: dict[int, list[float]] = defaultdict(list)
            for i in range(1, len(curve.counts)):
                for j in range(i, len(curve.counts)):
                    here = errors[at, i, :, j]
                    if np.isfinite(here).any():
                        start = int(curve.counts[i - 1])
                        of[history_class(curve.counts[j] / start, i, start)].append(float(np.nanmedian(here)))
            for distance, found in of.items():
                key = (one.data_set, one.machine, curve.op, kind, scope, name, distance)
                table[key].append(float(np.log(max(float(np.mean(found)), _BEST))))
    names = ("data_set", "machine", "op", "kind", "scope", "candidate", "bucket", "sum_log_error", "curves")
    return [dict(zip(names, (*key, significant(sum(values)), len(values)), strict=True))
            for key, values in sorted(table.items())]


def _columns(category: Category) -> dict[str, object]:
    return dict(zip(_CATEGORY, category, strict=True))


def _outcome_table(outcomes: Outcomes) -> Table:
    return [{name: value for name, value in zip(Outcomes._fields, row, strict=True) if name != "category"}
            | _columns(row[3]) for row in zip(*outcomes, strict=True)]


def _outcomes_from(rows: Table) -> Outcomes:
    whole, text = {"series", "band", "rank_counts"}, {"data_set", "machine"}
    kinds = {name: str if name in text else int if name in whole else float
             for name in Outcomes._fields if name != "category"}
    columns: dict[str, Any] = {name: [kind(row[name]) for row in rows] for name, kind in kinds.items()}
    return Outcomes(**columns, category=[category_of(row) for row in rows])


def _width_table(widths: Mapping[tuple[str, int], Widths]) -> Table:
    def row(without: str, counts: int, fitted: Widths) -> dict[str, object]:
        return {"without": without, "counts": counts,
                **dict(zip(FEATURES, fitted.coefficients.tolist(), strict=True)),
                **{f"{name} {i}": value for name, values in
                   (("drift", fitted.drift), ("low", fitted.low), ("high", fitted.high))
                   for i, value in enumerate(values.tolist())}}
    return [row(*key, fitted) for key, fitted in widths.items()]


def _record(frames: Mapping[str, pd.DataFrame], domains: Mapping[str, Domain],
            calibration: Callable[[str], Calibration], machines: Mapping[str, str]) -> Table:
    """Error and coverage of the forecasts that a user would have seen, by series and category."""
    return [{"data_set": name, "machine": machines.get(row.system, row.system), **_columns(row.category),
             "points": row.points, "error": significant(row.error), "inside": significant(row.inside)}
            for name, frame in frames.items() for row in by_series(backtest(frame, None, None, domains, calibration))]


def _read(path: Path) -> Table:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _write(path: Path, rows: Table) -> None:
    # As text, because a column is written in another way if rows that were read stand among the new ones.
    cells = [{name: repr(value) if isinstance(value, float) else value for name, value in row.items()} for row in rows]
    content = to_csv(pd.DataFrame(cells)).encode("utf-8")
    if path.suffix == ".gz":
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
            stream.write(content)
        content = packed.getvalue()
    path.write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files of the calibration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("csv", nargs="+", type=Path)
    parser.add_argument("--others", type=Path, help="folder with the statistics of data sets that are not given")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for name, rows in learn(given.csv, given.others).items():
        _write(given.out / name, rows)


if __name__ == "__main__":
    main()
