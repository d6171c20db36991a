"""What the command line calls: data in, a report out."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import CollbenchError, UsageError

from ..assess import judge
from ..assess.wording import Row, find_unexpected, judgement, legend
from ..assess.wording import headline as expected_rows
from ..domains.facts import Domain, load_domains
from ..findings.collect import Finding, find
from ..findings.finding import in_order
from ..findings.stragglers import late_ranks
from ..frames.background import aside
from ..frames.load import Loaded, load
from ..frames.pool import pool
from ..frames.record_id import record_ids
from ..frames.representative import fabrics, headline, representative, with_fabric
from ..importers import Asked
from ..importers.collbench import is_journal
from ..links import LinkMatrix, read_links
from ..models import as_json, extrapolate
from ..models.predict import SERIES, TARGETS
from ..projection import home_of
from ..text.safe_csv import pieces
from .build_figures import draw
from .header import Overview, overview

__all__ = ["Story", "print_report", "tell", "write_report"]

_MOST_SERIES = 1000     # a report predicts all of them up to here, which takes some 10 s
_MANY_POINTS = 20_000   # to judge them takes long enough for predictions to be made meanwhile


@dataclass(frozen=True)
class Story:
    """Everything a report shows, computed; frames are those of `tidy`, `models` and `tables`, with `fabric`.

    Args:
        points: every measured point, judged: with the columns of `expected`.
        shown: representative points: what tables and figures show.
        domains: facts on a domain of each target size, where there is one: the first in the file.
        home: key and facts of the domain that the data name: predictions have its levels and its library's rule.
        links: link matrices, where links were measured one by one.
        expected: measured, expected and why, of a few cases.
        legend: where the expectations come from.
        data: where it was read: some figures need the samples, which are read again.
        ahead: where the predictions of what is shown are under way already.
    """

    loaded: Loaded
    points: pd.DataFrame
    shown: pd.DataFrame
    findings: list[Finding]
    overview: Overview
    domains: tuple[Domain, ...]
    targets: tuple[int, ...]
    links: tuple[LinkMatrix, ...] = ()
    home: tuple[str, Domain] | None = None
    expected: tuple[Row, ...] = ()
    legend: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    ahead: Callable[[], pd.DataFrame] | None = None

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Predictions of what is shown, at every target; of no other algorithm."""
        made = self.ahead() if self.ahead else extrapolate(self.shown, self.targets, self.home)
        return with_fabric(made, fabrics(self.loaded.points))

    def answer_of(self, ops: Collection[str]) -> pd.DataFrame:
        """The headline of `ops`."""
        return headline(self.shown[self.shown["op"].isin(ops)], self.answers, self.targets)

    @cached_property
    def answer(self) -> pd.DataFrame:
        """The headline of every operation."""
        return self.answer_of(self.shown["op"].unique())

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Every series at every target; of very many only those shown, as a finding then says."""
        if _many_series(self.loaded.points):
            return self.answers
        return with_fabric(extrapolate(self.loaded.points, self.targets, self.home), fabrics(self.loaded.points))


def tell(data: Path | Sequence[Path], targets: Sequence[int] = TARGETS, asked: Asked | None = None,
         measured_on: str | None = None, known: Mapping[str, Domain] | None = None, baseline: Path | None = None,
         loaded: Loaded | None = None) -> Story:
    """Load DATA and work out everything that a report on it shows; `asked` and errors as `frames.load`.

    Args:
        data: DATA, or several whose records are pooled.
        loaded: what was loaded from `data` already.
        measured_on: key of the domain that DATA was measured in; None: what the data name.
        known: domains by key; the shipped ones where None.
        baseline: a run or log of the same cases, to hold DATA against.

    Raises:
        UsageError: also where the baseline has no case in common with DATA.
    """
    paths = [data] if isinstance(data, Path) else [*data]
    loaded = loaded or pool([load(path, asked) for path in paths])
    names = fabrics(loaded.points)
    known = load_domains() if known is None else known
    key = measured_on or home_of(loaded.points, known)
    home = (key, known[key]) if key else None
    late = late_ranks(loaded.lateness, loaded.runs)
    earlier = load(baseline, asked).points if baseline else None
    points = with_fabric(loaded.points, names)
    bare = representative(points)
    ahead = aside(lambda: extrapolate(bare, targets, home)) if len(points) > _MANY_POINTS else None
    parts = _judged(points, known, measured_on, earlier, set(late))
    points = pd.concat([part for _, part in parts]).sort_index() if len(parts) > 1 else parts[0][1]
    if baseline and not points["basis"].eq("baseline").any():
        raise UsageError(f"{baseline}: has no case in common with {', '.join(map(str, paths))}: the same operation, "
                         "element type, ranks, payload, mode and definition of time")
    links = _links(paths, loaded)
    findings = in_order([*find(loaded), *(finding for matrix in links for finding in matrix.findings),
                         *find_unexpected(points, late), *_not_predicted(loaded.points)])
    shown = points.loc[bare.index]
    rows = expected_rows(shown, late)
    sized = {domain.accelerators.value: domain for domain in reversed(list(known.values()))
             if domain.accelerators and domain.tiers and domain.tiers[-1].rate_Bps}
    domains = tuple(sized[target] for target in targets if target in sized)
    return Story(loaded, points, shown, findings,
                 overview(loaded, findings, home, measured_on is not None, judgement(points, rows)), domains,
                 tuple(targets), links, home, tuple(rows),
                 tuple(dict.fromkeys(line for its, part in parts for line in legend(part, its))), tuple(paths), ahead)


def _many_series(points: pd.DataFrame) -> bool:
    """Whether there are more series than a report predicts; the first points tell, where there are very many."""
    return any(len(some.drop_duplicates([*SERIES])) > _MOST_SERIES for some in (points.head(20 * _MOST_SERIES), points))


def _not_predicted(points: pd.DataFrame) -> list[Finding]:
    """That the report leaves series out of its predictions, where it does."""
    words = (f"predictions are of the series shown here only, since more than {_MOST_SERIES} were measured; collbench "
             "extrapolate predicts them all")
    return [Finding("note", words)] if _many_series(points) else []


def _judged(points: pd.DataFrame, known: Mapping[str, Domain], measured_on: str | None, earlier: pd.DataFrame | None,
            late: set[tuple[str, int]]) -> list[tuple[tuple[str, Domain] | None, pd.DataFrame]]:
    """Points judged, by the domain that they name themselves: one file may hold several systems."""
    naming = points[["system", "device", "variant"]]
    places: dict[str | None, list[np.ndarray]] = {}
    for at in naming.groupby(["system", "device"], dropna=False, sort=False).indices.values():
        places.setdefault(measured_on or home_of(naming.iloc[at], known), []).append(at)
    found = []
    for key, some in (places or {measured_on: []}).items():
        its = (key, known[key]) if key else None
        mine = points.iloc[np.sort(np.concatenate(some))] if len(places) > 1 else points
        found.append((its, judge(mine, its, earlier, late)))
    return found


def _links(paths: Sequence[Path], loaded: Loaded) -> tuple[LinkMatrix, ...]:
    """Link matrices, where a run measured links: only then is the journal read once more."""
    asked = {op for run in loaded.runs.values() for op in run.sweep.ops}
    if not any(op in OPERATIONS and OPERATIONS[op].linked for op in asked):
        return ()
    journals = [path / "journal.jsonl" if path.is_dir() else path for path in paths]
    return tuple(matrix for journal in journals if is_journal(journal) for matrix in read_links(journal))


def print_report(data: Path | Story, targets: Sequence[int] = TARGETS, ops: Collection[str] | None = None) -> None:
    """Print the report on DATA, or on what `tell` made of it: verdict, findings, the answer, tables.

    Args:
        ops: those that tables are wanted of; None: of all, or where they are many of those most asked for.
    """
    from .terminal import show

    show(data if isinstance(data, Story) else tell(data, targets), ops=ops)


def write_report(data: Path | Story, out: Path, targets: Sequence[int] = TARGETS) -> Path:
    """Write report.html, figures/, points.csv, predictions.csv and predictions.json to `out`; the page's path.

    Args:
        data: DATA, or what `tell` made of it, where both a page and the terminal are wanted.

    Raises:
        CollbenchError: `out` cannot be written, or DATA cannot be read.
    """
    from . import figures, html

    story = data if isinstance(data, Story) else tell(data, targets)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with figures.Files(out / "figures") as files:
            library = files.library() if len(story.points) else None        # without points there are no charts
            drawn = draw(story, files.add)
            _write(out / "points.csv", pieces(story.points.assign(record=record_ids(story.points))))
            _write(out / "predictions.csv", pieces(story.predictions))
            document = json.dumps(as_json(story.predictions), indent=1, allow_nan=False)
            _write(out / "predictions.json", [document.encode()])
            page = html.render(story, drawn, library.result() if library else "")
            _write(out / "report.html", [page.encode()])
    except OSError as error:
        raise CollbenchError(f"{out}: the report cannot be written: {error.strerror}") from None
    return out / "report.html"


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Whole or not at all: a reader never sees half a page."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.writelines(parts)
    os.replace(part, path)
