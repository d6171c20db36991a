"""The report as one self-contained web page: styles, data, charts and the code that draws them are inside."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from ..frames.columns import SHOWN
from ..frames.representative import operation_table
from ..text import units
from .answer_words import NumberWords, headline_words, link_number_words, number_words
from .comparisons import comparison_tables, sequence_table
from .figures import Chart, sections
from .figures.headline import SECTION as FIRST
from .page_data import PageData
from .page_specs import share_texts
from .skew_words import skew_table
from .story import Story
from .text import CAVEAT, METHOD, QUANTITIES, TOP_FINDINGS, answer_rows, domain_words, prediction_cell
from .vega import library

__all__ = ["page_data", "page_name", "render"]

_READING = ("In the figures a filled dot is a measured median and its bar the 95 % confidence interval; hollow dots on "
            "dashed lines are extrapolated, with 90 % prediction intervals as bands; a thin line is latency + size / "
            "rate, fitted to the measurements; a dotted line is a ceiling. Hover for values.")
_FILES = {"report.json": "the answer, findings and expectations; docs/report.md explains each field",
          "points.csv": "every measured point with its assessment and record id",
          "predictions.csv": "every series at the target rank counts",
          "predictions.json": "the same",
          "curve.csv": "the series shown, also at rank counts between the measured ones and the targets",
          "projected.csv": "projections to the domains side by side",
          "figures/data/": "the numbers of each figure at full precision"}


class Choice(NamedTuple):
    """Charts that are shown together; in a box of several one is shown, which the reader chooses."""

    words: str
    boxes: list[list[Chart]]


class PagePart(NamedTuple):
    """A part of the page with its charts: those of one choice at a time, and those always shown."""

    key: str
    title: str
    nav: str
    intro: str
    choices: list[Choice]
    always: list[list[Chart]]
    tables: list[dict[str, Any]]

    @property
    def hint(self) -> str:
        """What a reader finds when the part is opened."""
        return _count([*self.always, *(box for choice in self.choices for box in choice.boxes)], "figure")


def page_data(story: Story) -> PageData:
    """What the page shows beyond the story; ValueError: the story was built without."""
    if story.page is None:
        raise ValueError("the story has no page data: build it with page=True")
    return story.page


def render(story: Story, charts: Sequence[Chart], missing: Mapping[str, str] | None = None) -> str:
    """The page as text; everything that comes from files is escaped, in the markup and in the embedded JSON.

    Args:
        missing: why there are no files of a chart, by its name.

    Raises:
        ValueError: a chart stands in no section of the page, or the story was built without its page data.
    """
    pages = PackageLoader("collbench.analysis.report", "page")
    environment = Environment(loader=pages, undefined=StrictUndefined, autoescape=select_autoescape(),
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seconds": units.seconds, "rate": units.rate, "size": units.payload,
                            "percent": units.percent, "microseconds": units.microseconds,
                            "gigabytes": units.gigabytes, "embedded": _embedded, "words": domain_words,
                            "headline": headline_words}
    environment.globals |= {"count": _count, "zip": zip}
    answers = {quantity: answer_rows(story.headline, quantity, story.targets) for quantity in QUANTITIES}
    predictions = _predictions(story, page_data(story).predictions)
    first, known, operations = _placed(charts, _tables(story))
    return environment.get_template("report.html").render(
        story=story, head=story.overview, answer=story.answer, name=page_name(story), date=_date(story), first=first,
        numbers=_numbers(story), specs=share_texts({chart.name: chart.spec for chart in charts}), drawn=len(charts),
        sections=known, operations=operations, verdicts=_verdicts(story), caveat=CAVEAT, method=METHOD,
        findings=story.findings,
        comparisons=[*comparison_tables(story.loaded.comparisons), *sequence_table(story.sequences)],
        skew=next(skew_table(story.skew), None),
        reading=_READING if any(part.choices or part.always for part in operations) else "",
        top=story.findings[:TOP_FINDINGS], quantities=QUANTITIES, answers=answers,
        predictions=predictions, known=any(row["kind"] != "refused" for row in predictions), files=_files(story),
        styles=Markup(pages.get_source(environment, "report.css")[0]),
        script=Markup(pages.get_source(environment, "report.js")[0]),
        library=_inside_script(library()), missing=missing or {})


def _count(things: Sequence[object], noun: str) -> str:
    return units.counted(len(things), noun)


def _numbers(story: Story) -> list[NumberWords]:
    """Those of the first result that has a bandwidth, of links, or of the first result."""
    results = story.answer.results
    result = next((one for one in results if one.busbw_Bps), None)
    if result is None and story.links:
        return list(link_number_words(story.links[0]))
    result = result or next(iter(results), None)
    return list(number_words(result)) if result else []


def page_name(story: Story) -> str:
    """The systems measured and the date: what the page is called."""
    return ", ".join(part for part in (story.overview.title, _date(story)) if part)


def _date(story: Story) -> str:
    """The day of the measurement, or the first and the last one; empty where no run states it."""
    days = sorted({run.started[:10] for run in story.loaded.runs.values() if run.started})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _verdicts(story: Story) -> str:
    """`8 normal, 1 low`: of the cases that the page compares."""
    counts = Counter(row.case.text("verdict") for row in story.expected)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def _files(story: Story) -> list[tuple[str, str]]:
    """The files beside the page, and what they contain."""
    absent = set() if page_data(story).projected else {"projected.csv"}
    return [(file, what) for file, what in _FILES.items() if file not in absent]


def _placed(charts: Sequence[Chart], tables: Mapping[str, list[dict[str, Any]]]) \
        -> tuple[Chart | None, list[PagePart], list[PagePart]]:
    """The chart of the first screen, the sections that have charts in the order of the page, and the operations."""
    declared = sections()
    by_key: dict[str, list[Chart]] = {key: [] for key in (*(section.key for section in declared), *tables)}
    for chart in charts:
        if chart.section not in by_key:
            raise ValueError(f"figure {chart.name}: the page has no section {chart.section!r}")
        by_key[chart.section].append(chart)
    known = [PagePart(section.key, section.title, section.nav, section.intro, *_arranged(by_key[section.key]), [])
             for section in declared if section is not FIRST and by_key[section.key]]
    operations = [PagePart(op, op, op, "", *_arranged(by_key[op]), some) for op, some in tables.items()]
    return next(iter(by_key[FIRST.key]), None), known, operations


def _arranged(charts: Sequence[Chart]) -> tuple[list[Choice], list[list[Chart]]]:
    """Charts by the choice that shows them, and those always shown; variants of one chart share a box."""
    boxes: dict[str, list[Chart]] = {}
    for chart in charts:
        boxes.setdefault(chart.variant[0] if chart.variant else chart.name, []).append(chart)
    choices: dict[str, list[list[Chart]]] = {}
    always: list[list[Chart]] = []
    for box in boxes.values():
        choice = box[0].choice
        (always if choice is None else choices.setdefault(choice, [])).append(box)
    return [Choice(words, some) for words, some in choices.items()], always


def _embedded(value: object) -> Markup:
    """JSON that cannot close the script element around it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _inside_script(code: str) -> Markup:
    return Markup(code.replace("</script", "<\\/script"))


def _tables(story: Story) -> dict[str, list[dict[str, Any]]]:
    """The tables of each operation, one per fabric."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (fabric, op), points in story.shown.groupby(["fabric", "op"], sort=False):
        first = points.iloc[0]
        variant = [str(first[name]) for name in ("dtype", "redop", "traffic", "place") if pd.notna(first[name])]
        found.setdefault(str(op), []).append(
            {"fabric": fabric, "what": " ".join(variant), "rows": _rows(operation_table(points))})
    return found


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with None for every kind of missing value, which a template cannot distinguish."""
    lists = [[None if gone else value for gone, value in zip(column.isna().tolist(), column.tolist(), strict=True)]
             for _, column in frame.items()]
    return [dict(zip(map(str, frame.columns), row, strict=True)) for row in zip(*lists, strict=True)]


def _predictions(story: Story, predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Every prediction of the representative series, in both quantities, as text."""
    keys = [*SHOWN]
    wanted = story.shown[keys].drop_duplicates()
    found = predictions.merge(wanted, on=keys)
    shown = found["asked_bytes"].isin(story.shown["asked_bytes"]) | found["kind"].eq("refused")
    rows = _rows(found[shown])
    return [{**row, **{quantity: prediction_cell(row, quantity, row["message_bytes"]) for quantity in QUANTITIES}}
            for row in rows]
