"""The report as one self-contained web page: styles, data, charts and the code that draws them are inside."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from ..frames.columns import SHOWN
from ..frames.representative import HEADLINE_OPS, operation_table
from ..text import units
from .figures import Chart, sections
from .page_data import PageData
from .story import Story
from .text import (
    CAVEAT,
    METHOD,
    QUANTITIES,
    TOP_FINDINGS,
    AnswerRow,
    answer_rows,
    domain_words,
    prediction_cell,
)

__all__ = ["page_data", "render"]

_READING = ("In the figures a filled dot is a measured median and its bar the 95 % confidence interval; hollow dots on "
            "dashed lines are extrapolated, with 90 % prediction intervals as bands; a thin line is latency + size / "
            "rate, fitted to the measurements; a dotted line is a ceiling. Hover for values.")


class PageSection(NamedTuple):
    """A part of the page with its charts; `choices` where a reader chooses one set of charts of several."""

    key: str
    title: str
    nav: str
    intro: str
    charts: list[Chart]
    choices: list[dict[str, Any]]


def page_data(story: Story) -> PageData:
    """What the page shows beyond the story; ValueError: the story was built without."""
    if story.page is None:
        raise ValueError("the story has no page data: build it with page=True")
    return story.page


def render(story: Story, charts: Sequence[Chart], library: str = "", missing: Mapping[str, str] | None = None,
           undrawn: str = "") -> str:
    """The page as text; everything that comes from files is escaped, in the markup and in the embedded JSON.

    Args:
        library: the code that draws the charts, from `render_chart.library`.
        missing: why there are no files of a chart, by its name.
        undrawn: why there is no `library`.

    Raises:
        ValueError: a chart stands in no section of the page, or the story was built without its page data.
    """
    pages = PackageLoader("collbench.analysis.report", "page")
    environment = Environment(loader=pages, undefined=StrictUndefined, autoescape=select_autoescape(),
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seconds": units.seconds, "rate": units.rate, "size": units.payload,
                            "percent": units.percent, "microseconds": units.microseconds,
                            "gigabytes": units.gigabytes, "embedded": _embedded, "words": domain_words}
    answers = {quantity: answer_rows(story.headline, quantity, story.targets) for quantity in QUANTITIES}
    operations = _operations(story)
    known, of_operation = _placed(charts, [operation["name"] for operation in operations])
    return environment.get_template("report.html").render(
        story=story, head=story.overview, charts=charts, specs={chart.name: chart.spec for chart in charts},
        sections=known, of_operation=of_operation, reading=_READING if any(of_operation.values()) else "",
        caveat=CAVEAT, method=METHOD, findings=story.findings, top=story.findings[:TOP_FINDINGS], quantities=QUANTITIES,
        answers=answers, front=_front(answers), operations=operations,
        predictions=_predictions(story, page_data(story).predictions),
        styles=Markup(pages.get_source(environment, "report.css")[0]),
        script=Markup(pages.get_source(environment, "report.js")[0]),
        library=_inside_script(library), missing=missing or {}, undrawn=undrawn)


def _placed(charts: Sequence[Chart], operations: Sequence[str]) -> tuple[list[PageSection], dict[str, list[Chart]]]:
    """Sections that have charts, in the order of the page, and the charts of each operation."""
    declared = sections()
    by_key: dict[str, list[Chart]] = {key: [] for key in (*(section.key for section in declared), *operations)}
    for chart in charts:
        if chart.section not in by_key:
            raise ValueError(f"figure {chart.name}: the page has no section {chart.section!r}")
        by_key[chart.section].append(chart)
    known = [PageSection(section.key, section.title, section.nav, section.intro, by_key[section.key],
                         _choices(by_key[section.key]))
             for section in declared if by_key[section.key]]
    return known, {op: by_key[op] for op in operations}


def _choices(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    """What a reader can choose, with the charts of each choice."""
    found: dict[str, list[Chart]] = {}
    for chart in charts:
        if chart.choice is not None:
            found.setdefault(chart.choice, []).append(chart)
    return [{"words": words, "charts": some} for words, some in found.items()]


def _embedded(value: object) -> Markup:
    """JSON that cannot close the script element around it."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _inside_script(code: str) -> Markup:
    return Markup(code.replace("</script", "<\\/script"))


def _front(answers: dict[str, list[AnswerRow]]) -> list[tuple[AnswerRow | None, AnswerRow | None]]:
    """Latency and bandwidth of `HEADLINE_OPS` side by side; of all operations where none of those was measured."""
    by_key: dict[tuple[str, str], dict[str, AnswerRow]] = {}
    for quantity, rows in answers.items():
        for row in rows:
            by_key.setdefault((row.fabric, row.op), {})[quantity] = row
    asked_for = {key: both for key, both in by_key.items() if key[1] in HEADLINE_OPS} or by_key
    return [(both.get("time"), both.get("busbw")) for both in asked_for.values()]


def _operations(story: Story) -> list[dict[str, Any]]:
    """The name of each operation and its tables, one per fabric."""
    found: dict[str, dict[str, Any]] = {}
    for (fabric, op), points in story.shown.groupby(["fabric", "op"], sort=False):
        first = points.iloc[0]
        variant = [str(first[name]) for name in ("dtype", "redop", "traffic", "place") if pd.notna(first[name])]
        rows = _rows(operation_table(points))
        found.setdefault(str(op), {"name": op, "tables": []})["tables"].append(
            {"fabric": fabric, "what": " ".join(variant), "rows": rows})
    return list(found.values())


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
