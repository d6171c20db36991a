"""Read both sides of a comparison and match them case by case; cases that are not comparable are left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.errors import UsageError
from collbench.collectives.records.record import Run

from ..frames.columns import CASE, COMPARED, OPTIONAL, VARIANT
from ..frames.load import Loaded, load
from ..importers import LogHints

__all__ = ["KEY", "Match", "Side", "match", "points_of", "sides"]

KEY = [*COMPARED]
_TEXT = ("transport", "op", *VARIANT)      # object dtype, also if all values are missing
_BAD_ENDS = ("wrong", "failed", "timeout")
# A failure is excused if at most this share of launches failed and at least this many were right.
_ACCIDENTS, _FEWEST_RIGHT = 0.25, 3
_MEAN = "mean over ranks"
_CONDITIONS = {"alignment": "alignment of ranks", "cache": "cache state", "graph": "graph capture",
               "persistent": "persistent collectives"}


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        name: as given by the user.
        launches: the data in order; a journal of several transports is one launch of each.
    """

    name: str
    launches: tuple[Loaded, ...]


@dataclass(frozen=True)
class Match:
    """The matched cases of two sides.

    Args:
        points: `KEY`, `fabric`, `label`, `side` (a or b), `launch`, `time_s`, and `sampling`, the variance of the
            logarithm of `time_s` from the samples of that launch alone (0 where unknown), and `row`, the label of the
            point in the frame of its launch.
        refused: (reason, number of cases) on both sides that are not comparable.
        broken: cases that are wrong in B, or were right in A and failed in B, with the statuses.
        alone: number of cases on one side only: (A, B).
        notes: remarks on how the sides were matched.
        excused: as `broken`, but so few launches of B failed that the others decide.
        shared_run: message if a run is on both sides, which a gate would always pass; else None.
        paired: launches of the same number ran next to each other; every case has both.
        identical: both sides consist of the same runs.
    """

    points: pd.DataFrame
    refused: tuple[tuple[str, int], ...]
    broken: tuple[str, ...]
    alone: tuple[int, int]
    notes: tuple[str, ...]
    excused: tuple[str, ...] = ()
    shared_run: str | None = None
    paired: bool = False
    identical: bool = False


def sides(name: str, hints: LogHints | None = None) -> Side:
    """Read a side: DATA, several separated by commas, or a directory of run directories.

    Raises:
        UsageError: the path does not exist.
        JournalError: the file is not DATA.
    """
    paths = [path for part in name.split(",") if part for path in _repeats(Path(part))]
    if not paths:
        raise UsageError(f"{name!r}: names no data: give a run, a log, or several separated by commas")
    return Side(name, tuple(load(path, hints) for path in paths))


def _repeats(path: Path) -> list[Path]:
    """The path, or the runs below it if it is a directory of runs."""
    try:
        path.stat()
    except OSError as error:
        raise UsageError(f"{path}: {str(error.strerror).lower()}") from None
    if path.is_dir() and not (path / "journal.jsonl").exists():
        below = sorted({found.resolve().parent for found in path.glob("*/journal.jsonl")})
        if below:
            return below
    return [path]


def match(a: Side, b: Side, ops: Sequence[str] = (), sizes: Sequence[int] = (), paired: bool = False) -> Match:
    """Match the cases of both sides, restricted to `ops` and `sizes` if given.

    Args:
        paired: the first launch of A ran next to the first of B, the second to the second, and so on.

    Raises:
        UsageError: no case can be compared; gives the reason.
    """
    if paired and len(a.launches) != len(b.launches):
        raise UsageError(f"paired launches need equal numbers on both sides: {a.name} has "
                         f"{len(a.launches)}, {b.name} has {len(b.launches)}")
    left, right = points_of(a, "a"), points_of(b, "b")
    left, right = (_only(frame, ops, sizes) for frame in (left, right))
    shared_run = _shared_run(a, b)
    notes = [*filter(None, [shared_run]), *_aligned(left, right)]
    both = pd.concat([left, right], ignore_index=True)
    if both.empty:
        raise UsageError(f"{a.name} and {b.name}: no measured point of the requested operations and sizes")
    key = both.groupby(["fabric", *KEY], dropna=False, sort=False)
    both["case"] = key.ngroup()
    on_both = both.groupby("case")["side"].transform("nunique").eq(2)
    alone_a, alone_b = (int(both[~on_both & both["side"].eq(side)]["case"].nunique()) for side in "ab")
    common, refused = _comparable(both[on_both])
    if common.empty:
        why = "; ".join(f"{words} ({count} cases)" for words, count in refused) or "they have no case in common"
        raise UsageError(f"{a.name} and {b.name} cannot be compared: {why}")
    common, refused = _without_ambiguous(common, refused, notes)
    if common.empty:
        raise UsageError(f"{a.name} and {b.name} cannot be compared: {refused[-1][0]}")
    if paired:
        common, refused = _in_pairs(common, refused)
    kept = ["fabric", *KEY, "asked_bytes", "label", "side", "launch", "time_s", "sampling", "row"]
    broken, excused = _ends(a, b, ops, sizes)
    return Match(common[kept].reset_index(drop=True), refused, broken, (alone_a, alone_b), tuple(notes),
                 excused, shared_run, paired, _runs(a) == _runs(b))


def _without_ambiguous(common: pd.DataFrame, refused: tuple[tuple[str, int], ...],
                       notes: Sequence[str]) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """Leave out cases with several points per launch that differ only in a key that the other side does not state."""
    counts = common.groupby(["case", "side", "launch"]).size()
    ambiguous = counts[counts > 1].index.get_level_values("case").unique()
    if ambiguous.empty:
        return common, refused
    reason = f"one side has several points that the other side does not distinguish ({', '.join(notes)})"
    return common[~common["case"].isin(ambiguous)], (*refused, (reason, len(ambiguous)))


def points_of(side: Side, letter: str) -> pd.DataFrame:
    """The points of all launches of a side, with the measurement conditions as `condition_*`."""
    parts = []
    for number, loaded in enumerate(side.launches):
        points = loaded.all_points
        points = points[(points["op"] != "noop") & (points["time_s"] > 0)]
        conditions = {name: points["run"].map({run.id: _condition(run, name) for run in loaded.runs.values()})
                      for name in _CONDITIONS}
        conditions["cache"] = points["cache"]       # which may differ between the cases of a run
        # Runs of one journal and transport with different cases are one launch; repeats of a case are several launches.
        again = points.groupby(["transport", *KEY], dropna=False).cumcount()
        launch = [f"{letter}{number}.{turn}" for turn in again]
        parts.append(points.assign(side=letter, launch=launch, fabric=points["transport"], row=points.index,
                                   **{f"condition_{name}": values for name, values in conditions.items()}))
    frame = pd.concat(parts, ignore_index=True)
    width = pd.Series(np.log(frame["time_hi_s"] / frame["time_lo_s"])) / (2 * 1.96)      # of a 95 % interval
    frame["sampling"] = (width**2).replace([np.inf], np.nan).fillna(0.0)
    frame[list(OPTIONAL)] = frame[list(OPTIONAL)].astype(object)
    return frame


def _condition(run: Run, name: str) -> str | None:
    """A measurement condition of a run; None if the log of another tool does not state it."""
    return str(getattr(run.policy, name)) if run.policy.modes else None


def _only(points: pd.DataFrame, ops: Sequence[str], sizes: Sequence[int]) -> pd.DataFrame:
    """The requested operations and sizes; a size may be the requested or the true one of a point."""
    if ops:
        points = points[points["op"].isin(ops)]
    if sizes:
        points = points[points["asked_bytes"].isin(sizes) | points["message_bytes"].isin(sizes)]
    return points.copy()


def _aligned(left: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """Make the keys of both frames comparable, in place: columns that one side never states are ignored."""
    notes = []
    for name in OPTIONAL:
        silent = [side for side, frame in (("A", left), ("B", right)) if frame[name].isna().all()]
        if len(silent) == 1:
            left[name] = right[name] = None
            notes.append(f"{silent[0]} does not state {name}")
    names = [set(frame["fabric"]) for frame in (left, right)]
    if not names[0] & names[1] and [*map(len, names)] == [1, 1]:
        both = f"{min(names[0])} and {min(names[1])}"
        left["fabric"] = right["fabric"] = both
        notes.append(f"transports differ: {both}")
    for mine, other in ((left, right), (right, left)):      # if one side has only means over ranks, use them on both
        if _MEAN in set(other["time_kind"]) and _MEAN not in set(mine["time_kind"]):
            here = mine["mode"].isin(other.loc[other["time_kind"] == _MEAN, "mode"]) & (mine["rank_mean_s"] > 0)
            mine.loc[here, "time_s"] = mine.loc[here, "rank_mean_s"]
            mine.loc[here, "time_kind"] = _MEAN
            notes.append("one side has only means over ranks: the means over ranks of both sides are compared")
    return notes


def _comparable(both: pd.DataFrame) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """Cases with the same definition and conditions on both sides; for the others, the reasons with their number."""
    refused = []
    for column, words in (("time_kind", "different definition of time"),
                          *((f"condition_{name}", f"different conditions, {words}")
                            for name, words in _CONDITIONS.items())):
        kinds = both.groupby("case")[column].transform(lambda values: values.dropna().nunique())
        apart = both[kinds > 1]
        if len(apart):
            values = [" or ".join(sorted(apart.loc[apart["side"] == side, column].dropna().unique()))
                      for side in "ab"]
            refused.append((f"{words}: {values[0]} in A, {values[1]} in B", int(apart["case"].nunique())))
            both = both[kinds <= 1]
    return both, tuple(refused)


def _in_pairs(common: pd.DataFrame, refused: tuple[tuple[str, int], ...]
              ) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """Points that both launches of a pair measured; cases without such a pair are refused."""
    pair = common["launch"].str[1:]
    both = common[common.groupby(["case", pair])["side"].transform("nunique").eq(2)]
    lost = common["case"].nunique() - both["case"].nunique()
    if both.empty:
        raise UsageError("no case was measured by both launches of a pair")
    return both, (*refused, ("not measured by both launches of any pair", lost)) if lost else refused


def _ends(a: Side, b: Side, ops: Sequence[str], sizes: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cases that are broken in B (wrong, or right in A and failed in B), and those that are excused.

    A wrong result is never excused; an occasional failure or hang is, if enough other launches succeeded.
    """
    key = ["transport", *CASE]
    before, now = (_only(pd.concat([loaded.records for loaded in side.launches]), ops, sizes)
                   .astype(dict.fromkeys(_TEXT, object)) for side in (a, b))
    before = before.assign(bad=before["status"].isin(_BAD_ENDS))
    before = before.groupby(key, dropna=False)[["bad"]].any().reset_index().astype(dict.fromkeys(_TEXT, object))
    now = now.merge(before[~before["bad"]][key], on=key, how="left", indicator="known")
    broken: list[str] = []
    excused: list[str] = []
    for _, ends in now.groupby(key, dropna=False, sort=False):
        bad, right = ends[ends["status"].isin(_BAD_ENDS)], int(ends["status"].eq("ok").sum())
        wrong = bad["status"].eq("wrong").any()
        if bad.empty or not (wrong or ends["known"].eq("both").all()):
            continue
        words = f"{bad['label'].iloc[0]}: {', '.join(bad['status'].unique())}"
        if len(bad) + right > 1:
            words += f" in {len(bad)} of {len(bad) + right} launches"
        lasting = wrong or len(bad) > _ACCIDENTS * (len(bad) + right) or right < _FEWEST_RIGHT
        (broken if lasting else excused).append(words)
    return tuple(broken), tuple(excused)


def _runs(side: Side) -> set[str]:
    return {run for loaded in side.launches for run in loaded.runs}


def _shared_run(a: Side, b: Side) -> str | None:
    """The message if a run is on both sides, else None."""
    both = _runs(a) & _runs(b)
    if not both:
        return None
    runs = f"run {min(both)} is" if len(both) == 1 else f"{len(both)} runs are"
    return f"{runs} on both sides, which always compares as the same; give other runs of the same cases"
