"""What the command line calls: data in, a report out."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from collectives.catalog import OPERATIONS
from collectives.errors import CollbenchError

from .domains import Domain, load_domains
from .findings import Finding, find
from .importers import Asked
from .links import LinkMatrix, read_links
from .models import as_json, extrapolate
from .models.predict import TARGETS
from .overview import Overview, overview
from .projection import home_of
from .tables import fabrics, headline, representative, with_fabric
from .tidy import Loaded, load

__all__ = ["Story", "print_report", "tell", "write_report"]


@dataclass(frozen=True)
class Story:
    """Everything a report shows, computed; frames are those of `tidy`, `models` and `tables`, with `fabric`.

    Args:
        predictions: every series at every target.
        shown: representative points: what tables and figures show.
        answer: the headline.
        domains: facts on a domain of each target size, where there is one: the first in the file.
        home: key and facts of the domain that the data name: predictions have its levels and its library's rule.
        links: link matrices, where links were measured one by one.
    """

    loaded: Loaded
    points: pd.DataFrame
    predictions: pd.DataFrame
    shown: pd.DataFrame
    answer: pd.DataFrame
    findings: list[Finding]
    overview: Overview
    domains: tuple[Domain, ...]
    targets: tuple[int, ...]
    links: tuple[LinkMatrix, ...] = ()
    home: tuple[str, Domain] | None = None


def tell(data: Path, targets: Sequence[int] = TARGETS, asked: Asked | None = None) -> Story:
    """Load DATA and work out everything that a report on it shows; `asked` and errors as `tidy.load`."""
    loaded = load(data, asked)
    names = fabrics(loaded.points)
    points = with_fabric(loaded.points, names)
    known = load_domains()
    key = home_of(loaded.points, known)
    home = (key, known[key]) if key else None
    predictions = with_fabric(extrapolate(loaded.points, targets, home), names)
    links = _links(data, loaded)
    findings = [*find(loaded), *(finding for matrix in links for finding in matrix.findings)]
    shown = representative(points)
    sized = {domain.accelerators.value: domain for domain in reversed(list(known.values()))
             if domain.accelerators and domain.tiers and domain.tiers[-1].rate_Bps}
    domains = tuple(sized[target] for target in targets if target in sized)
    answers = with_fabric(extrapolate(shown, targets, home), names)     # of what is shown, and of no other algorithm
    return Story(loaded, points, predictions, shown, headline(shown, answers, targets), findings,
                 overview(loaded, findings), domains, tuple(targets), links, home)


def _links(data: Path, loaded: Loaded) -> tuple[LinkMatrix, ...]:
    """Link matrices, where a run measured links: only then is the journal read once more."""
    asked = {op for run in loaded.runs.values() for op in run.sweep.ops}
    return tuple(read_links(data)) if any(op in OPERATIONS and OPERATIONS[op].linked for op in asked) else ()


def print_report(data: Path | Story, targets: Sequence[int] = TARGETS) -> None:
    """Print the report on DATA, or on what `tell` made of it: findings, tables, extrapolations."""
    from .report.terminal import show

    show(data if isinstance(data, Story) else tell(data, targets))


def write_report(data: Path | Story, out: Path, targets: Sequence[int] = TARGETS) -> Path:
    """Write report.html, figures/, points.csv, predictions.csv and predictions.json to `out`; the page's path.

    Args:
        data: DATA, or what `tell` made of it, where both a page and the terminal are wanted.

    Raises:
        CollbenchError: `out` cannot be written, or DATA cannot be read.
    """
    from .report import figures, html

    story = data if isinstance(data, Story) else tell(data, targets)
    drawn = [*figures.charts(story.shown, _curve(story)), *figures.link_charts(story.links)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        figures.save(drawn, out / "figures")
        story.points.to_csv(out / "points.csv", index=False)
        story.predictions.to_csv(out / "predictions.csv", index=False)
        _write(out / "predictions.json", json.dumps(as_json(story.predictions), indent=1, allow_nan=False))
        _write(out / "report.html", html.render(story, drawn))
    except OSError as error:
        raise CollbenchError(f"{out}: the report cannot be written: {error.strerror}") from None
    return out / "report.html"


def _curve(story: Story) -> pd.DataFrame:
    """Predictions for the figures: at powers of two between the measured rank counts and the targets, and there."""
    counts = [1 << power for power in range(1, max(story.targets).bit_length())]
    isolated = story.shown[story.shown["mode"] == "isolated"]
    return with_fabric(extrapolate(isolated, sorted({*counts, *story.targets}), story.home), fabrics(story.points))


def _write(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a page."""
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
