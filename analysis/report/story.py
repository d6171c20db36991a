"""Everything a report shows, computed before any of it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.catalog import OPERATIONS

from ..assess import assess_points
from ..assess.expectations import headline_cases
from ..assess.expert_skew import Skew, find_skew, routed, skews
from ..assess.unexpected import find_unexpected
from ..assess.wording import ExpectationRow, expectation_row, legend
from ..compare.expected import expected_of
from ..domains.facts import Domain, load_domains
from ..findings.collect import Finding, collect_findings
from ..findings.finding import sort_findings
from ..findings.library import unused_between_hosts
from ..findings.sequences import SequenceRatio, sequence_ratios
from ..findings.stragglers import late_ranks
from ..forecast import TARGETS, extrapolate
from ..frames.background import run_in_child
from ..frames.collector import collector_off
from ..frames.columns import SERIES
from ..frames.load import Loaded, load
from ..frames.pool import pool
from ..frames.representative import HEADLINE_OPS, fabrics, headline, representative, with_fabric
from ..importers import LogHints
from ..importers.collbench import is_journal
from ..links import LinkMatrix, read_links
from ..projection import home_of
from .answer import Answer, build_answer, headline_points
from .baseline import find_movers, held_against, judgement
from .baseline import legend as baseline_legend
from .header import Overview, build_overview
from .page_data import PageData, build_page_data, curve_counts

__all__ = ["Story", "build_story"]

_MOST_SERIES = 1000     # a report predicts all series up to this many, which takes some 10 s
_MANY_POINTS = 20_000   # from here on, assessing them takes long enough to predict in a second process meanwhile
_Home = tuple[str, Domain] | None


@dataclass(frozen=True)
class Story:
    """Everything a report shows, as values.

    Args:
        points: every measured point with the columns of `assess` and `fabric`.
        shown: representative points: what tables and figures show.
        domains: facts about a domain of each target size, where one is known: the first in the file.
        targets: rank counts extrapolated to.
        predictions: the series of `shown` at every target, with `fabric`.
        headline: latency and bandwidth of each operation, measured and predicted; columns of `representative.headline`.
        links: link matrices, where links were measured in isolation.
        home: key and facts of the domain that was measured; its levels and its library's rule shape the predictions.
        answer: the verdict, the headline results and what they mean at the targets: what every report says first.
        expected: a few cases: measured, expected and why.
        legend: where the expectations come from.
        sequences: sequences of calls against the sum of their parts.
        skew: what skewed routing of expert-parallel exchanges costs, measured and at the targets.
        page: what only the page and its figures show; None where no page was asked for.
    """

    loaded: Loaded
    points: pd.DataFrame
    shown: pd.DataFrame
    findings: list[Finding]
    overview: Overview
    domains: tuple[Domain, ...]
    targets: tuple[int, ...]
    predictions: pd.DataFrame
    headline: pd.DataFrame
    answer: Answer
    links: tuple[LinkMatrix, ...] = ()
    home: tuple[str, Domain] | None = None
    expected: tuple[ExpectationRow, ...] = ()
    legend: tuple[str, ...] = ()
    sequences: tuple[SequenceRatio, ...] = ()
    skew: tuple[Skew, ...] = ()
    page: PageData | None = None


@collector_off()
def build_story(data: Path | Sequence[Path], targets: Sequence[int] = TARGETS, asked: LogHints | None = None,
                measured_on: str | None = None, known: Mapping[str, Domain] | None = None,
                baseline: Path | None = None, loaded: Loaded | None = None, page: bool = False) -> Story:
    """Load DATA and compute everything that a report on it shows.

    Args:
        data: one or several files or run directories; several are pooled.
        asked: what a log does not state itself.
        measured_on: key of the domain that DATA was measured in; None: as named in the data.
        known: domains by key; the shipped ones where None.
        baseline: a run or log of the same cases to compare with.
        loaded: what was loaded from `data` already.
        page: also compute what only the page and its figures show.

    Raises:
        CollbenchError: as `load`.
        UsageError: also where the baseline has no case in common with DATA.
    """
    paths = [data] if isinstance(data, Path) else [*data]
    loaded = loaded or pool([load(path, asked) for path in paths])
    names = fabrics(loaded.points)
    known = load_domains() if known is None else known
    key = measured_on or (None if any(map(unused_between_hosts, loaded.runs.values()))
                          else home_of(loaded.points, known))
    home = (key, known[key]) if key else None
    late = late_ranks(loaded.lateness, loaded.runs)
    held = held_against(baseline, paths, loaded, asked) if baseline else None
    earlier = expected_of(held) if held else None
    points = with_fabric(loaded.points, names)
    bare = representative(points)

    def predict() -> _Predicted:
        return _predict(loaded.points, bare, names, tuple(targets), home, page)
    # The models need no assessment, so a second process fits them while this one assesses the points.
    predicted = run_in_child(predict) if len(points) > _MANY_POINTS else predict
    parts = _assessed(points, known, measured_on, earlier, set(late))
    points = pd.concat([part for _, part in parts]).sort_index() if len(parts) > 1 else parts[0][1]
    links = _links(paths, loaded)
    sequences = sequence_ratios(loaded.all_points)
    findings = sort_findings([*collect_findings(loaded, sequences),
                         *(finding for matrix in links for finding in matrix.findings), *find_unexpected(points, late),
                         *find_movers(held), *find_skew(skews(points), points), *_not_predicted(loaded.points)])
    shown = points.loc[bare.index]
    cases = headline_cases(shown, late)
    every, few, between, exchanges = predicted()
    skew = skews(points, exchanges, targets)
    details = build_page_data(paths, shown, points, findings, loaded.lateness, loaded.runs, home, every, between) \
        if page else None
    overview = build_overview(loaded, findings, home, measured_on is not None,
                              judgement(held, points, cases, headline_points(shown).index))
    return Story(loaded, points, shown, findings, overview, _domains_of_size(known, targets), tuple(targets), few,
                 headline(shown, few, targets), build_answer(overview, shown, few, targets, home), links, home,
                 tuple(map(expectation_row, cases)),
                 (*dict.fromkeys(line for its, part in parts for line in legend(part, its)), *baseline_legend(held)),
                 tuple(sequences), tuple(skew), details)


class _Predicted(NamedTuple):
    """Predictions of every series and of the representative ones at the targets, and of these between (`curve_counts`).

    Without a page only the representative ones at the targets, and those of exchanges whose routing is known.
    """

    every: pd.DataFrame
    representative: pd.DataFrame
    between: pd.DataFrame
    exchanges: pd.DataFrame


def _predict(points: pd.DataFrame, bare: pd.DataFrame, names: pd.DataFrame, targets: tuple[int, ...], home: _Home,
             page: bool) -> _Predicted:
    def at(which: pd.DataFrame, counts: Sequence[int]) -> pd.DataFrame:
        return with_fabric(extrapolate(which, counts, home), names)
    few = at(bare, targets)
    asked_for = bare[bare["op"].isin(HEADLINE_OPS)] if page else bare[:0]
    every = at(points, targets) if page and not _many_series(points) else few
    exchanges = routed(every) if every is not few else at(routed(points), targets)
    return _Predicted(every, few, at(asked_for, curve_counts(asked_for, targets)), exchanges)


def _many_series(points: pd.DataFrame) -> bool:
    """Whether there are more series than a report predicts; of very many points the first usually suffice to tell."""
    return any(len(some.drop_duplicates([*SERIES])) > _MOST_SERIES for some in (points.head(20 * _MOST_SERIES), points))


def _not_predicted(points: pd.DataFrame) -> list[Finding]:
    words = (f"only the series shown here are predicted, because more than {_MOST_SERIES} were measured; collbench "
             "extrapolate predicts them all")
    return [Finding("note", words)] if _many_series(points) else []


def _assessed(points: pd.DataFrame, known: Mapping[str, Domain], measured_on: str | None, earlier: pd.DataFrame | None,
            late: set[tuple[str, int]]) -> list[tuple[_Home, pd.DataFrame]]:
    """Points assessed against the domain that each system names: one file may hold several systems."""
    naming = points[["system", "device", "variant"]]
    places: dict[str | None, list[NDArray[np.intp]]] = {}
    for rows in naming.groupby(["system", "device"], dropna=False, sort=False).indices.values():
        at = np.asarray(rows, dtype=np.intp)
        places.setdefault(measured_on or home_of(naming.iloc[at], known), []).append(at)
    found = []
    for key, some in (places or {measured_on: []}).items():
        its = (key, known[key]) if key else None
        mine = points.iloc[np.sort(np.concatenate(some))] if len(places) > 1 else points
        found.append((its, assess_points(mine, its, earlier, late)))
    return found


def _links(paths: Sequence[Path], loaded: Loaded) -> tuple[LinkMatrix, ...]:
    """Link matrices, where a run measured links: only then are the journals read a second time."""
    measured = {op for run in loaded.runs.values() for op in run.sweep.ops}
    if not any(op in OPERATIONS and OPERATIONS[op].linked for op in measured):
        return ()
    journals = [path / "journal.jsonl" if path.is_dir() else path for path in paths]
    return tuple(matrix for journal in journals if is_journal(journal) for matrix in read_links(journal))


def _domains_of_size(known: Mapping[str, Domain], targets: Sequence[int]) -> tuple[Domain, ...]:
    """For each target the first domain of that size whose outermost rate is known."""
    sized = {domain.accelerators.value: domain for domain in reversed(list(known.values()))
             if domain.accelerators and domain.tiers and domain.tiers[-1].rate_Bps}
    return tuple(sized[target] for target in targets if target in sized)
