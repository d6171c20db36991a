"""The public API behind `import collbench`: results of a run, as frames, predictions, findings and charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

import pandas as pd

from .analysis.domains.facts import Domain, domain_named, load_domains
from .analysis.frames.load import Loaded
from .analysis.frames.load import load as load_one
from .analysis.frames.pool import pool
from .analysis.importers import LogHints
from .collectives.errors import MissingLibraryError, UsageError
from .collectives.records.record import Run

if TYPE_CHECKING:
    import altair

    from .analysis.compare import Comparison
    from .analysis.findings.finding import Finding
    from .analysis.report.figures import Chart
    from .analysis.report.story import Story

__all__ = ["Results", "domains", "load"]

StrPath = str | PathLike[str]
_CHART_WIDTH, _TITLE_LETTERS = 460, 72
_MOST_RANKS = 1_000_000


def domains(file: StrPath | None = None) -> dict[str, Domain]:
    """Scale-up domains by short name, with the source of every figure.

    Args:
        file: a TOML file of domains of your own, added to those that come with collbench.

    Raises:
        CollbenchError: the file cannot be read, or is not in the form of docs/domains.md.
    """
    return load_domains(None if file is None else Path(file))


def load(data: StrPath | Iterable[StrPath], *, ranks: int | None = None, op: str | None = None,
         system: str | None = None, measured_on: str | None = None, nic: str | None = None,
         domains: Mapping[str, Domain] | None = None) -> Results:
    """Load a run directory, a journal, a log of another tool or a tidy CSV; or several of these, pooled.

    Args:
        data: one path, or several. The records of several are pooled: logs of one system at several rank counts, say.
        ranks, op, system: rank count, operation and name of the system, for logs that do not contain them.
        measured_on: the domain that the data were measured on, where they do not name its accelerator.
        nic: network cards of a host and the rate of each, such as "8x400G", instead of those that the facts of the
            domain assume.
        domains: domains by short name, as the function `domains` returns them; those that come with collbench if None.

    Raises:
        CollbenchError: a file cannot be read, or holds no measurement.
    """
    paths = [Path(data)] if isinstance(data, str | PathLike) else [Path(path) for path in data]
    if not paths:
        raise UsageError("no data: give a path, or a list with at least one path")
    from .analysis.cost.cards import with_cards
    known = with_cards(load_domains() if domains is None else domains, nic)
    home = domain_named(measured_on, known) if measured_on else None
    asked = LogHints(ranks, op, system)
    return Results(paths, [load_one(path, asked) for path in paths], known, home)


class Results:
    """What was measured: the return value of `load`.

    Frames are in SI units (seconds, bytes, bytes per second), and so are their column names: `time_s`, `busbw_Bps`.
    docs/api.md lists the columns.
    """

    def __init__(self, paths: Sequence[Path], parts: Sequence[Loaded], known: Mapping[str, Domain],
                 measured_on: str | None) -> None:
        """For `load`, which is the way to get one."""
        self._paths, self._parts, self._domains, self._measured_on = tuple(paths), tuple(parts), known, measured_on

    @cached_property
    def _loaded(self) -> Loaded:
        return pool(self._parts)

    @property
    def points(self) -> pd.DataFrame:
        """A row per measured point: a case that was measured and found right, in one timing mode."""
        return self._loaded.points

    @property
    def records(self) -> pd.DataFrame:
        """A row per case with its `status`: also the cases that failed, gave a wrong result or were left out."""
        return self._loaded.records

    @property
    def runs(self) -> dict[str, Run]:
        """Provenance by run id: transport, library, device, command, hosts, versions."""
        return self._loaded.runs

    @property
    def warnings(self) -> list[str]:
        """A sentence for each line of the data that could not be used, or only with an assumption."""
        return self._loaded.warnings

    def extrapolate(self, ranks: int | Iterable[int]) -> pd.DataFrame:
        """Predict every series at other rank counts of the same fabric.

        Returns:
            A row per series, message size and rank count: `time_s` and `busbw_Bps` with 90 % prediction intervals
            (`time_lo_s` ...). `kind` is `extrapolated`, `measured`, or `refused` with a `reason`.

        Raises:
            CollbenchError: a rank count below 2.
        """
        from .analysis.forecast import extrapolate
        counts = sorted({int(count) for count in ([ranks] if isinstance(ranks, int) else ranks)})
        if not counts or counts[0] < 2 or counts[-1] > _MOST_RANKS:
            raise UsageError(f"{counts}: give rank counts from 2 to {_MOST_RANKS}")
        home = self._home
        frame: pd.DataFrame = extrapolate(self.points, counts, (home, self._domains[home]) if home else None)
        return frame

    def project(self, domains: str | Iterable[str], *, ranks: int | None = None, dies: bool = False) -> pd.DataFrame:
        """Predict the measured operations and message sizes on other scale-up domains.

        Args:
            domains: a domain, or several, by short name or alias: `"nvl72"`, `["nvl72", "cm384"]`.
            ranks: ranks in each domain; all of the domain if None.
            dies: a rank is a die, where an accelerator has several.

        Returns:
            A row per operation, message size and domain, with 90 % prediction intervals. `kind` is `projected`, or
            `refused` with a `reason`.

        Raises:
            CollbenchError: an unknown domain, or no collective was measured.
        """
        from .analysis.projection import project
        keys = [domain_named(name, self._domains) for name in ([domains] if isinstance(domains, str) else domains)]
        frame = project(self.points, list(dict.fromkeys(keys)), self._domains, ranks, dies, self._measured_on)
        if frame.empty:
            raise UsageError(f"{self._name}: holds no collective over 2 or more ranks, so there is nothing to project")
        return frame

    def compare(self, other: Results, *, ops: Sequence[str] = (), sizes: Sequence[int] = (), within: float = 0.05,
                paired: bool = False) -> Comparison:
        """Compare `other` with these results, case by case: what is slower, what faster, and how sure that is.

        Results loaded from several paths are repeats: each path is one launch.

        Args:
            ops, sizes: compare only these operations and message sizes (bytes).
            within: two times count as the same within this share of each other.
            paired: launches were taken in turn, the first of each side next to each other, and so on.

        Returns:
            An object with the frame `rows` (`verdict`, `ratio` of the time of `other` to this one with its confidence
            interval `ratio_lo`, `ratio_hi`) and the method `over(share)`, the cases slower by more than that share.

        Raises:
            CollbenchError: there is no case that may be compared.
        """
        from .analysis.compare import Side, compare, match
        here, there = (Side(results._name, results._parts) for results in (self, other))
        return compare(match(here, there, ops, sizes, paired), within)

    def findings(self) -> list[Finding]:
        """What a reader should know about the results, the most important first, as in the report.

        Each has a `severity` (`error`, `warning` or `note`), a sentence (`words`), and labels of records as `evidence`.
        """
        return list(self._story.findings)

    def report(self, out: StrPath, figures: bool = False) -> Path:
        """Write report.html and its tables into the directory `out`; returns the path of the page.

        Args:
            figures: also write every figure of the page as PNG and SVG, which takes some seconds.

        Raises:
            MissingLibraryError: `figures` without vl-convert-python.
            CollbenchError: `out` cannot be written.
        """
        from .analysis.report.write import write_report
        return write_report(self._page_story, Path(out), figures=figures)

    def chart_spec(self, op: str, quantity: Literal["busbw", "time"] = "busbw",
                   over: Literal["size", "ranks", "domains"] = "size") -> dict[str, object]:
        """The Vega-Lite specification of a chart of the report.

        Args:
            quantity: what the y axis shows: bus bandwidth or time of a call.
            over: what the x axis shows: message size, rank count, or scale-up domains.

        Raises:
            CollbenchError: the report has no such chart; the message lists those that it has.
        """
        charts = {chart.name: chart for chart in self._charts}
        chart = charts.get(f"{op}-{quantity}-{over}")
        if chart is None:
            known = [name.removeprefix(f"{op}-").replace("-", " over ") for name in charts if name.startswith(f"{op}-")]
            there = f"there is {', '.join(known)}" if known else \
                f"operations with charts: {', '.join(sorted(set(self.points['op']))) or 'none'}"
            raise UsageError(f"no chart of {op}, {quantity} over {over}; {there}")
        return {**chart.spec, "width": _CHART_WIDTH, "title": wrap(chart.caption, _TITLE_LETTERS)}

    def plot(self, op: str, quantity: Literal["busbw", "time"] = "busbw",
             over: Literal["size", "ranks", "domains"] = "size") -> altair.LayerChart:
        """The chart that `chart_spec` describes, as an Altair chart; a notebook shows it.

        Raises:
            MissingLibraryError: Altair is not installed.
            CollbenchError: the report has no such chart.
        """
        try:
            from altair import LayerChart
        except ImportError:
            raise MissingLibraryError("plot needs Altair: pip install altair (chart_spec gives the Vega-Lite "
                                      "specification without it)") from None
        return LayerChart.from_dict(self.chart_spec(op, quantity, over))

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(some)} {name}{'' if len(some) == 1 else 's'}" for name, some in (
            ("run", self.runs), ("case", self.records), ("point", self.points), ("warning", self.warnings)))
        return f"<collbench results of {self._name}: {counts}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: what was measured, on what, the verdict, and the headline."""
        from .analysis.report.text import answer_rows
        story = self._story
        head = [("Measured", story.overview.measured), *story.overview.on, ("Verdict", story.overview.verdict)]
        lines = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in head]
        columns = ["operation", "message size", "measured", *(f"{target} ranks" for target in story.targets)]
        rows = [(row.op, row.payload, f"{row.measured} ({row.at_ranks} ranks)",
                 *(f"{cell.value} {'' if cell.kind == 'refused' else cell.detail}" for cell in row.cells))
                for quantity in ("busbw", "time") for row in answer_rows(story.headline, quantity, story.targets)]
        table = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in columns) + "</tr>",
                 *("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)]
        return (f"<h4>{escape(story.overview.title)}</h4><table>{''.join(lines)}</table>"
                f"<table>{''.join(table)}</table>")

    @property
    def _name(self) -> str:
        first = str(self._paths[0])
        return first if len(self._paths) == 1 else f"{first} and {len(self._paths) - 1} more"

    @cached_property
    def _home(self) -> str | None:
        """The domain that the data were measured on, where it is known."""
        from .analysis.projection import home_of
        return self._measured_on or home_of(self.points, self._domains)

    @cached_property
    def _story(self) -> Story:
        """What the report says, without what only its page and figures show."""
        return self._build_story(page=False)

    @cached_property
    def _page_story(self) -> Story:
        """Everything that the report shows."""
        return self._build_story(page=True)

    def _build_story(self, page: bool) -> Story:
        from .analysis.report.story import build_story
        return build_story(self._paths, loaded=self._loaded, measured_on=self._measured_on, known=self._domains,
                           page=page)

    @cached_property
    def _charts(self) -> list[Chart]:
        from .analysis.report.figures import build_charts
        return build_charts(self._page_story)
