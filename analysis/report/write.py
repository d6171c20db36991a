"""The report as files: the page, every number that it shows as CSV, and its figures where they are asked for."""

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from collbench.collectives.errors import CollbenchError

from ..forecast import as_json
from ..frames.background import run_in_child
from ..frames.collector import collector_off
from ..frames.record_id import record_ids
from ..text.json_text import json_text
from ..text.safe_csv import pieces
from . import html
from .figure_files import FigureFiles, save_charts
from .figures import build_charts
from .figures.headline import headline_chart
from .json_document import document
from .story import Story

__all__ = ["write_report", "write_slide"]

_MANY_POINTS = 20_000   # from here on, writing them takes long enough for a second process


@collector_off()
def write_report(story: Story, out: Path, warn: Callable[[str], object] | None = None, figures: bool = False) -> Path:
    """Write report.html and the tables that docs/report.md lists to `out`; returns the path of the page.

    Args:
        story: built with `page=True`.
        warn: called with a sentence for each figure that could not be drawn; the page says it too.
        figures: also write every chart of the page as PNG and SVG to figures/.

    Raises:
        MissingLibraryError: `figures` without the library that draws them.
        CollbenchError: `out` cannot be written.
    """
    write_numbers = partial(_write_numbers, story, out)
    try:
        data = out / "figures" / "data"
        data.mkdir(parents=True, exist_ok=True)
        # The page needs none of these files, so a second process writes them while this one draws the charts.
        written = run_in_child(write_numbers) if len(story.points) > _MANY_POINTS else write_numbers
        charts = build_charts(story)
        files = FigureFiles(out / "figures") if figures else None
        with files or nullcontext():
            if files:
                for chart in charts:
                    files.add(chart)
            for chart in charts:
                _write_csv(data / f"{chart.name}.csv", chart.data)
        missing = files.missing if files else {}
        page = html.render(story, charts, missing).encode()
        written()
        _write(out / "report.html", [page])
    except OSError as error:
        raise CollbenchError(f"{out}: the report cannot be written: {error.strerror}") from None
    for name, why in missing.items():
        if warn:
            warn(f"figure {name} is missing in {out / 'figures'}: {why}")
    return out / "report.html"


def write_slide(story: Story, op: str, out: Path) -> Path:
    """Write the chart of the first screen for operation `op` as slide-OP.png and .svg to `out`; the path of the PNG.

    Raises:
        MissingLibraryError: the library that draws it is not installed.
        UsageError: no bandwidth of `op` was measured.
        CollbenchError: `out` cannot be written, or the chart not be drawn.
    """
    chart = headline_chart(story, op)
    chart = replace(chart, name=f"slide-{op}", caption=f"{chart.caption}. {html.page_name(story)}")
    try:
        missing = save_charts([chart], out, slides=True)
    except OSError as error:
        raise CollbenchError(f"{out}: the slide cannot be written: {error.strerror}") from None
    for why in missing.values():
        raise CollbenchError(f"the slide of {op} cannot be drawn: {why}")
    return out / f"{chart.name}.png"


def _tables(story: Story) -> dict[str, pd.DataFrame]:
    """Every frame that the page shows, by the name of its file; a projection only where there is one."""
    page = html.page_data(story)
    tables = {"points": story.points.assign(record=record_ids(story.points)), "predictions": page.predictions,
              "curve": page.curve}
    return tables | ({"projected": page.projected.frame} if page.projected else {})


def _write_numbers(story: Story, out: Path) -> None:
    """Write every file but the page and those of its charts."""
    for name, frame in _tables(story).items():
        _write_csv(out / f"{name}.csv", frame)
    predictions = {"predictions": as_json(html.page_data(story).predictions)}
    _write(out / "predictions.json", [json_text("extrapolate", predictions).encode()])
    _write(out / "report.json", [json_text("report", document(story)).encode()])


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    _write(path, pieces(frame))


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Whole or not at all: a reader never sees half a file."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.writelines(parts)
    os.replace(part, path)
