"""What stands on either side of a comparison, put together case by case; what must not be compared is left out."""

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

__all__ = ["KEY", "Match", "Side", "match", "sides"]

KEY = [*COMPARED]
_TEXT = ("transport", "op", *VARIANT)      # of one type, also where all are unknown
_BAD_ENDS = ("wrong", "failed", "timeout")
_ACCIDENTS, _FEWEST_RIGHT = 0.25, 3     # share of launches that may fail, and how many must be right, for it to be one
_MEAN = "mean over ranks"
_MANNER = {"alignment": "how ranks started together", "cache": "what caches held", "graph": "graphs of calls",
           "persistent": "persistent collectives"}


@dataclass(frozen=True)
class Side:
    """One side: its repeats, each as `tidy` read it.

    Args:
        name: how it was asked for.
        launches: what was read, in order; a journal of several transports is one launch of each.
    """

    name: str
    launches: tuple[Loaded, ...]


@dataclass(frozen=True)
class Match:
    """Two sides put together.

    Args:
        points: `KEY`, `fabric`, `label`, `side` (a or b), `launch`, `time_s`, and `sampling`, the variance of the
            logarithm of `time_s` from the samples of that launch alone (0 where unknown).
        refused: (why, cases) for what is on both sides and must not be compared.
        broken: cases that are wrong in B, or were right in A and came to a bad end in B, with what happened.
        alone: cases on one side only: (of A, of B).
        notes: what a reader should know of how they were put together.
        excused: as `broken`, of cases of which so few launches of B ended badly that the others can judge them.
        twice: what to say of a run that is on both sides; a gate would always let it pass.
        paired: launches of the same number ran next to each other; of every case both are there.
    """

    points: pd.DataFrame
    refused: tuple[tuple[str, int], ...]
    broken: tuple[str, ...]
    alone: tuple[int, int]
    notes: tuple[str, ...]
    excused: tuple[str, ...] = ()
    twice: str | None = None
    paired: bool = False


def sides(name: str, asked: LogHints | None = None) -> Side:
    """Read a side: DATA, several with commas between them, or a directory of run directories.

    Raises:
        UsageError: nothing is there.
        JournalError: it is not DATA.
    """
    paths = [path for part in name.split(",") if part for path in _repeats(Path(part))]
    if not paths:
        raise UsageError(f"{name!r}: names no data: give a run, a log, or several with commas between them")
    return Side(name, tuple(load(path, asked) for path in paths))


def _repeats(path: Path) -> list[Path]:
    """The path, or the runs below it where it is a directory of runs."""
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
    """Put the sides together, only `ops` and `sizes` where given.

    Args:
        paired: the first launch of A ran next to the first of B, the second to the second, and so on.

    Raises:
        UsageError: nothing can be compared; says why.
    """
    if paired and len(a.launches) != len(b.launches):
        raise UsageError(f"launches are in pairs only where there are as many of each side: {a.name} has "
                         f"{len(a.launches)}, {b.name} has {len(b.launches)}")
    left, right = _points(a, "a"), _points(b, "b")
    left, right = (_only(frame, ops, sizes) for frame in (left, right))
    twice = _twice(a, b)
    notes = [*filter(None, [twice]), *_aligned(left, right)]
    both = pd.concat([left, right], ignore_index=True)
    if both.empty:
        raise UsageError(f"{a.name} and {b.name}: no measured point of the operations and sizes asked for")
    key = both.groupby(["fabric", *KEY], dropna=False, sort=False)
    both["case"] = key.ngroup()
    on_both = both.groupby("case")["side"].transform("nunique").eq(2)
    alone = tuple(int(both[~on_both & both["side"].eq(side)]["case"].nunique()) for side in "ab")
    common, refused = _comparable(both[on_both])
    if common.empty:
        why = "; ".join(f"{words} ({count} cases)" for words, count in refused) or "they have no case in common"
        raise UsageError(f"{a.name} and {b.name} cannot be compared: {why}")
    common, refused = _without_ambiguous(common, refused, notes)
    if common.empty:
        raise UsageError(f"{a.name} and {b.name} cannot be compared: {refused[-1][0]}")
    if paired:
        common, refused = _in_pairs(common, refused)
    kept = ["fabric", *KEY, "asked_bytes", "label", "side", "launch", "time_s", "sampling"]
    broken, excused = _ends(a, b, ops, sizes)
    return Match(common[kept].reset_index(drop=True), refused, broken, alone, tuple(notes), excused, twice,
                 paired)


def _without_ambiguous(common: pd.DataFrame, refused: tuple[tuple[str, int], ...],
                       notes: Sequence[str]) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """Leave out cases of which one launch has several points: what tells them apart, the other side does not state."""
    counts = common.groupby(["case", "side", "launch"]).size()
    ambiguous = counts[counts > 1].index.get_level_values("case").unique()
    if ambiguous.empty:
        return common, refused
    reason = f"one side has several points that the other does not tell apart ({', '.join(notes)})"
    return common[~common["case"].isin(ambiguous)], (*refused, (reason, len(ambiguous)))


def _points(side: Side, letter: str) -> pd.DataFrame:
    """The points of all launches of a side, with how they were taken as `manner_*`."""
    parts = []
    for number, loaded in enumerate(side.launches):
        points = loaded.points[(loaded.points["op"] != "noop") & (loaded.points["time_s"] > 0)]
        manner = {name: points["run"].map({run.id: _manner(run, name) for run in loaded.runs.values()})
                  for name in _MANNER}
        # Runs of one journal and transport that measured different cases are one launch, repeats of a case are several.
        again = points.groupby(["transport", *KEY], dropna=False).cumcount()
        launch = [f"{letter}{number}.{turn}" for turn in again]
        parts.append(points.assign(side=letter, launch=launch, fabric=points["transport"],
                                   **{f"manner_{name}": values for name, values in manner.items()}))
    frame = pd.concat(parts, ignore_index=True)
    width = np.log(frame["time_hi_s"] / frame["time_lo_s"]) / (2 * 1.96)
    frame["sampling"] = (width**2).replace([np.inf], np.nan).fillna(0.0)
    frame[list(OPTIONAL)] = frame[list(OPTIONAL)].astype(object)
    return frame


def _manner(run: Run, name: str) -> str | None:
    """How a run measured; None where another tool's log does not say."""
    return str(getattr(run.policy, name)) if run.policy.modes else None


def _only(points: pd.DataFrame, ops: Sequence[str], sizes: Sequence[int]) -> pd.DataFrame:
    """The operations and sizes asked for; a size is that asked of the run, or the true one."""
    if ops:
        points = points[points["op"].isin(ops)]
    if sizes:
        points = points[points["asked_bytes"].isin(sizes) | points["message_bytes"].isin(sizes)]
    return points.copy()


def _aligned(left: pd.DataFrame, right: pd.DataFrame) -> list[str]:
    """Make the keys of both frames comparable, in place: what one side never says is not looked at."""
    notes = []
    for name in OPTIONAL:
        silent = [side for side, frame in (("A", left), ("B", right)) if frame[name].isna().all()]
        if len(silent) == 1:
            left[name] = right[name] = None
            notes.append(f"{silent[0]} does not say {name}")
    names = [set(frame["fabric"]) for frame in (left, right)]
    if not names[0] & names[1] and [*map(len, names)] == [1, 1]:
        both = f"{min(names[0])} and {min(names[1])}"
        left["fabric"] = right["fabric"] = both
        notes.append(f"transports differ: {both}")
    for mine, other in ((left, right), (right, left)):      # a log of means over ranks: the same of the samples here
        if _MEAN in set(other["time_kind"]) and _MEAN not in set(mine["time_kind"]):
            here = mine["mode"].isin(other.loc[other["time_kind"] == _MEAN, "mode"]) & (mine["rank_mean_s"] > 0)
            mine.loc[here, "time_s"] = mine.loc[here, "rank_mean_s"]
            mine.loc[here, "time_kind"] = _MEAN
            notes.append("one side has means over ranks: they are compared with the mean over ranks of the other")
    return notes


def _comparable(both: pd.DataFrame) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """Cases that mean the same on both sides, and why the others do not, with their number."""
    refused = []
    for column, words in (("time_kind", "another definition of time"),
                          *((f"manner_{name}", f"measured another way, {words}") for name, words in _MANNER.items())):
        kinds = both.groupby("case")[column].transform(lambda values: values.dropna().nunique())
        apart = both[kinds > 1]
        if len(apart):
            told = [" or ".join(sorted(apart.loc[apart["side"] == side, column].dropna().unique())) for side in "ab"]
            refused.append((f"{words}: {told[0]} in A, {told[1]} in B", int(apart["case"].nunique())))
            both = both[kinds <= 1]
    return both, tuple(refused)


def _in_pairs(common: pd.DataFrame, refused: tuple[tuple[str, int], ...]
              ) -> tuple[pd.DataFrame, tuple[tuple[str, int], ...]]:
    """What was measured by both launches of a pair; and cases without any pair refused."""
    pair = common["launch"].str[1:]
    both = common[common.groupby(["case", pair])["side"].transform("nunique").eq(2)]
    lost = common["case"].nunique() - both["case"].nunique()
    if both.empty:
        raise UsageError("no case was measured by both launches of a pair")
    return both, (*refused, ("no pair of launches has it on both sides", lost)) if lost else refused


def _ends(a: Side, b: Side, ops: Sequence[str], sizes: Sequence[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cases that count as broken in B, and those of which its other launches can judge; wrong in B, or right in A.

    A wrong result is never an accident; that a launch fails or hangs now and then, where enough others did not, may be.
    """
    key = ["transport", *CASE]
    before, now = (_only(pd.concat([loaded.records for loaded in side.launches]), ops, sizes)
                   .astype(dict.fromkeys(_TEXT, object)) for side in (a, b))
    before = before.assign(bad=before["status"].isin(_BAD_ENDS))
    before = before.groupby(key, dropna=False, as_index=False)["bad"].any().astype(dict.fromkeys(_TEXT, object))
    now = now.merge(before[~before["bad"]][key], on=key, how="left", indicator="known")
    broken, excused = [], []
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


def _twice(a: Side, b: Side) -> str | None:
    """What to say where a run is on both sides."""
    both = {run for loaded in a.launches for run in loaded.runs} & {run for loaded in b.launches for run in loaded.runs}
    if not both:
        return None
    runs = f"run {min(both)} is" if len(both) == 1 else f"{len(both)} runs are"
    return f"{runs} on both sides: nothing can be told from itself; give other runs of the same cases"
