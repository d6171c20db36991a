"""Figures that compare the states of one case: congestion factors, slowdowns, exposed time (see `records.figures`)."""

from collections.abc import Iterable, Iterator

import pandas as pd

from collbench.collectives.cases.axis_traffic import is_mesh
from collbench.collectives.cases.case import Case
from collbench.collectives.records.figures import AXES, FIGURES
from collbench.collectives.records.record import Digest

from .columns import CASE

__all__ = ["COMPARISONS", "comparisons_of", "joined", "wide"]

COMPARISONS = ("run", *CASE, "label", "mode", "figure", "value", "lo", "hi", "n")
_CASE = [name for name in COMPARISONS if name not in ("figure", "value", "lo", "hi", "n")]
_KEY = ["run", *CASE, "mode", "figure"]


def comparisons_of(digested: Iterable[tuple[str, Case, Digest]]) -> pd.DataFrame:
    """One row per figure of (run, case, digest); columns `COMPARISONS`. Most operations have none."""
    return pd.DataFrame(_rows(digested), columns=list(COMPARISONS))


def _rows(digested: Iterable[tuple[str, Case, Digest]]) -> Iterator[tuple[object, ...]]:
    for run, case, digest in digested:
        for name, figure in digest.figures.items():
            place = None if not case.operation.has_in_place else "in-place" if case.in_place else "out-of-place"
            yield (run, case.op, case.dtype, case.redop, place, case.traffic, case.ranks, case.bytes, case.label(),
                   digest.mode, name, figure.value, figure.lo, figure.hi, figure.n)


def joined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All rows; the later one where a run measured a case twice."""
    some = [frame for frame in frames if len(frame)]
    if not some:
        return pd.DataFrame(columns=list(COMPARISONS))
    whole = pd.concat(some, ignore_index=True).drop_duplicates(_KEY, keep="last", ignore_index=True)
    return whole.astype({"value": float, "lo": float, "hi": float})


def wide(comparisons: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of an operation, or those of all axes of meshes (`AXES`), one per case and mode.

    Columns are those that identify it, `label`, `n`, and for each of `FIGURES[kind]` NAME, `NAME lo` and `NAME hi`.
    """
    names = [f"{name}{end}" for name in FIGURES[kind] for end in ("", " lo", " hi")]
    on_axis = comparisons["traffic"].map(is_mesh).astype(bool)
    mine = on_axis if kind == AXES else ~on_axis & (comparisons["op"] == kind)
    found: dict[tuple[object, ...], dict[str, object]] = {}
    for row in comparisons[mine].to_dict("records"):
        key = {name: row[name] for name in _CASE if pd.notna(row[name])}
        own = found.setdefault(tuple(key.items()), {**dict.fromkeys(_CASE), **key, "n": row["n"]})
        for value, end in (("value", ""), ("lo", " lo"), ("hi", " hi")):
            own[f"{row['figure']}{end}"] = row[value]
    return pd.DataFrame([*found.values()], columns=[*_CASE, "n", *names]).astype(dict.fromkeys(names, float))
