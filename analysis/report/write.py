"""The report as files: the page, its figures, and every number that they show as CSV."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from collbench.collectives.errors import CollbenchError

from ..forecast import as_json
from ..frames.record_id import record_ids
from ..text.json_text import json_text
from ..text.safe_csv import pieces
from . import html
from .figure_files import FigureFiles, RendererError
from .figures import build_charts
from .story import Story

__all__ = ["write_report"]


def write_report(story: Story, out: Path, warn: Callable[[str], object] | None = None) -> Path:
    """Write report.html, figures/ and the tables that docs/report.md lists to `out`; returns the path of the page.

    Args:
        story: built with `page=True`.
        warn: called with a sentence for each figure that could not be drawn; the page says it too.

    Raises:
        CollbenchError: `out` cannot be written.
    """
    charts = build_charts(story)
    undrawn = ""
    code = ""
    try:
        data = out / "figures" / "data"
        data.mkdir(parents=True, exist_ok=True)
        with FigureFiles(out / "figures") as files:
            library = files.library() if charts else None
            for chart in charts:
                files.add(chart)
            for chart in charts:
                _write_csv(data / f"{chart.name}.csv", chart.data)
            for name, frame in _tables(story).items():
                _write_csv(out / f"{name}.csv", frame)
            document = json_text("extrapolate", {"predictions": as_json(html.page_data(story).predictions)})
            _write(out / "predictions.json", [document.encode()])
            try:
                code = library.result() if library else ""
            except RendererError as error:
                undrawn = str(error)
            page = html.render(story, charts, code, undrawn=undrawn)
        if files.missing:
            page = html.render(story, charts, code, files.missing, undrawn)
        _write(out / "report.html", [page.encode()])
    except OSError as error:
        raise CollbenchError(f"{out}: the report cannot be written: {error.strerror}") from None
    if warn:
        for name, why in files.missing.items():
            warn(f"figure {name} is missing in {out / 'figures'}: {why}")
        if undrawn:
            warn(f"{out / 'report.html'} has no figures: {undrawn}")
    return out / "report.html"


def _tables(story: Story) -> dict[str, pd.DataFrame]:
    """Every frame that the page shows, by the name of its file; a projection only where there is one."""
    page = html.page_data(story)
    tables = {"points": story.points.assign(record=record_ids(story.points)), "predictions": page.predictions,
              "curve": page.curve}
    return tables | ({"projected": page.projected.frame} if page.projected else {})


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    _write(path, pieces(frame))


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Whole or not at all: a reader never sees half a file."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.writelines(parts)
    os.replace(part, path)
