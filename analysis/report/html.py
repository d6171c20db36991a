"""The report as one web page that needs nothing else: styles, data, charts and the code that draws them are inside."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from ..frames.representative import HEADLINE_OPS, operation_table
from ..text import units
from .figures import Chart
from .text import CAVEAT, METHOD, QUANTITIES, AnswerRow, answer_rows, domain_words, prediction_cell

if TYPE_CHECKING:
    from .story import Story

__all__ = ["render"]

_TOP_FINDINGS = 3
_PROJECTED = ("What the measured operations would take on these domains, per rank, which is an accelerator there: "
             "projected from cited facts of each domain and efficiencies learned from measurements elsewhere, never "
             "measured there; bands hold 90 % of draws. Which is ahead turns on what is held equal: collbench project "
             "has it per accelerator, per FLOP, per watt and per domain.")
_READING = ("In the figures a filled dot is a measured median and its bar the 95 % interval; hollow dots on dashed "
            "lines are extrapolated, with 90 % bands; a thin line is latency + payload / rate, fitted to what was "
            "measured; a dotted line is a ceiling. Hover for values.")


def render(story: Story, charts: list[Chart], library: str = "") -> str:
    """The page as text. What comes from files is escaped, in the markup and in the embedded JSON.

    Args:
        library: the code that draws the charts, of `drawing.library`.
    """
    pages = PackageLoader("collbench.analysis.report", "page")
    environment = Environment(loader=pages, undefined=StrictUndefined, autoescape=select_autoescape(),
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seconds": units.seconds, "rate": units.rate, "size": units.payload,
                            "percent": units.percent, "microseconds": units.microseconds,
                            "gigabytes": units.gigabytes, "embedded": _embedded, "words": domain_words}
    answers = {quantity: answer_rows(story.answer, quantity, story.targets) for quantity in QUANTITIES}
    sized = {chart.section for chart in charts} & set(story.shown["op"])
    return environment.get_template("report.html").render(
        story=story, head=story.overview, charts=charts,
        specs={chart.name: chart.spec for chart in charts}, sections=_sections(charts), choices=_choices(charts),
        projected_words=_PROJECTED, reading=_READING if sized else "", caveat=CAVEAT, method=METHOD,
        findings=story.findings, top=story.findings[:_TOP_FINDINGS], quantities=QUANTITIES,
        answers=answers, front=_front(answers),
        operations=_operations(story), predictions=_predictions(story),
        styles=Markup(pages.get_source(environment, "report.css")[0]),
        script=Markup(pages.get_source(environment, "report.js")[0]),
        library=_inside_script(library))


def _sections(charts: list[Chart]) -> dict[str, list[Chart]]:
    """Charts by the part of the page they stand in."""
    found: dict[str, list[Chart]] = defaultdict(list)
    for chart in charts:
        found[chart.section].append(chart)
    return found


def _choices(charts: list[Chart]) -> list[dict[str, Any]]:
    """What a reader chooses among, with the charts of each."""
    found: dict[str, list[Chart]] = {}
    for chart in charts:
        if chart.choice is not None:
            found.setdefault(chart.choice, []).append(chart)
    return [{"words": words, "charts": some} for words, some in found.items()]


def _embedded(value: object) -> Markup:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _inside_script(code: str) -> Markup:
    return Markup(code.replace("</script", "<\\/script"))


def _front(answers: dict[str, list[AnswerRow]]) -> list[tuple[AnswerRow | None, AnswerRow | None]]:
    """Latency and bandwidth of the operations most asked for, side by side; of all where none of those is there."""
    by_key: dict[tuple[str, str], dict[str, AnswerRow]] = {}
    for quantity, rows in answers.items():
        for row in rows:
            by_key.setdefault((row.fabric, row.op), {})[quantity] = row
    asked_for = {key: both for key, both in by_key.items() if key[1] in HEADLINE_OPS} or by_key
    return [(both.get("time"), both.get("busbw")) for both in asked_for.values()]


def _operations(story: Story) -> list[dict[str, Any]]:
    """Per operation: its name, and the tables of each fabric."""
    found: dict[str, dict[str, Any]] = {}
    for (fabric, op), points in story.shown.groupby(["fabric", "op"], sort=False):
        first = points.iloc[0]
        what = [str(first[name]) for name in ("dtype", "redop", "traffic", "place") if pd.notna(first[name])]
        rows = _rows(operation_table(points))
        found.setdefault(str(op), {"name": op, "tables": []})["tables"].append(
            {"fabric": fabric, "what": " ".join(what), "rows": rows})
    return list(found.values())


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """None instead of the several kinds of missing values, which a template cannot tell apart."""
    lists = [[None if gone else value for gone, value in zip(column.isna().tolist(), column.tolist(), strict=True)]
             for _, column in frame.items()]
    return [dict(zip(frame.columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _predictions(story: Story) -> list[dict[str, Any]]:
    """Every prediction of the representative series, in both quantities, as text."""
    keys = ["fabric", "op", "mode", "dtype", "redop", "place", "traffic"]
    wanted = story.shown[keys].drop_duplicates()
    found = story.predictions.merge(wanted, on=keys)
    shown = found["asked_bytes"].isin(story.shown["asked_bytes"]) | found["kind"].eq("refused")
    rows = _rows(found[shown])
    return [{**row, **{quantity: prediction_cell(row, quantity, row["message_bytes"]) for quantity in QUANTITIES}}
            for row in rows]
