"""A history on the terminal, as a page of small charts, and as JSON."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from ..text.units import counted, rate, seconds
from .changes import Change, Floats
from .trend import History, Trend

__all__ = ["document", "lines", "page"]

_SHOWN = 10             # changed cases on the terminal
_WIDTH, _HEIGHT = 300, 70
_MARGIN = 6


def lines(history: History, everything: bool = False) -> list[str]:
    """What changed, the latest change first, in a few lines."""
    changed, span = history.changed, _span(history)
    most = max((len(trend.runs) for trend in history.trends), default=0)
    said = [f"{counted(len(history.runs), 'run')} {span}: {counted(len(history.trends), 'case')}, "
            f"{len(changed)} changed"]
    if not changed:
        said.append("too few runs to tell a change from chance: about 10 of a case are needed" if most < 10 else
                    "no change of level that chance does not explain")
    for trend in changed if everything else changed[:_SHOWN]:
        said.append(trend.label)
        said += [f"  {_when(history, trend, change)}: {_words(change)}{_why(history, trend, change)}"
                 for change in trend.changes]
        said.append(f"  now {_level(trend)}")
    if not everything and len(changed) > _SHOWN:
        said.append(f"and {len(changed) - _SHOWN} more: -v")
    if changed:
        said.append("of the cases named, 5 % are expected to be wrong; brackets are 95 % confidence intervals")
    return said


def _span(history: History) -> str:
    starts = [run.started[:10] for run in history.runs.values()]
    return f"from {starts[0]} to {starts[-1]}" if starts else ""


def _words(change: Change) -> str:
    """`slower by 21 % [15, 28]`."""
    slower = change.factor > 1
    ends = sorted(100 * (end if slower else 1 / end) - 100 for end in (change.low, change.high))
    middle = 100 * (change.factor if slower else 1 / change.factor) - 100
    return f"{'slower' if slower else 'faster'} by {middle:.0f} % [{ends[0]:.0f}, {ends[1]:.0f}]"


def _when(history: History, trend: Trend, change: Change) -> str:
    run = history.runs[trend.runs[change.at]]
    return f"since {run.started[:16].replace('T', ' ')} ({counted(len(trend.runs) - change.at, 'run')})"


def _why(history: History, trend: Trend, change: Change) -> str:
    other = history.also_changed(trend, change)
    return f"; also new there: {', '.join(other[:3])}" if other else ""


def _level(trend: Trend) -> str:
    """The median since the last change."""
    begin = trend.changes[-1].at if trend.changes else 0
    bandwidth = float(np.median(trend.busbw_Bps[begin:]))
    return seconds(float(np.median(trend.time_s[begin:]))) + (
        f", {rate(bandwidth)} busbw" if np.isfinite(bandwidth) and bandwidth > 0 else "")


def document(history: History) -> dict[str, Any]:
    """Runs and cases with their values and changes; SI units, None where unknown."""
    return {"runs": [{"id": run.id, "started": run.started, "library": run.library} for run in history.runs.values()],
            "cases": [{"label": trend.label, "runs": list(trend.runs), "time_s": trend.time_s.tolist(),
                       "busbw_Bps": [value if np.isfinite(value) else None for value in trend.busbw_Bps.tolist()],
                       "chance": trend.chance,
                       "changes": [{**change._asdict(), "run": trend.runs[change.at],
                                    "also_changed": list(history.also_changed(trend, change))}
                                   for change in trend.changes]} for trend in history.trends]}


def page(history: History, title: str) -> str:
    """One HTML page: a chart for each case, those that changed first."""
    environment = Environment(loader=PackageLoader(__package__, "page"), undefined=StrictUndefined, trim_blocks=True,
                              autoescape=select_autoescape(), lstrip_blocks=True)
    charts = [{"label": trend.label, "level": _level(trend), "lines": _segments(trend), "dots": _dots(history, trend),
               "changes": [_when(history, trend, change) + ": " + _words(change) + _why(history, trend, change)
                           for change in trend.changes]} for trend in history.trends]
    return environment.get_template("history.html").render(
        title=title, summary=lines(history)[0], charts=charts, width=_WIDTH, height=_HEIGHT)


def _places(trend: Trend) -> tuple[Floats, Floats]:
    """Horizontal and vertical place of each run in a chart; times on a logarithmic axis from 0.8 to 1.25 at least."""
    log = np.log(trend.time_s)
    middle, reach = (log.max() + log.min()) / 2, max(np.log(1.25), (log.max() - log.min()) / 2)
    across = np.linspace(_MARGIN, _WIDTH - _MARGIN, len(log)) if len(log) > 1 else np.array([_WIDTH / 2])
    return across, _HEIGHT / 2 - (log - middle) / reach * (_HEIGHT / 2 - _MARGIN)


def _dots(history: History, trend: Trend) -> list[dict[str, Any]]:
    across, down = _places(trend)
    return [{"x": round(float(x), 1), "y": round(float(y), 1),
             "words": f"{history.runs[run].started[:16].replace('T', ' ')}: {seconds(float(time_s))}"}
            for x, y, run, time_s in zip(across, down, trend.runs, trend.time_s, strict=True)]


def _segments(trend: Trend) -> list[dict[str, float]]:
    """The level between changes, as horizontal lines."""
    across, down = _places(trend)
    edges: Sequence[int] = [0, *(change.at for change in trend.changes), len(across)]
    return [{"x1": round(float(across[begin]), 1), "x2": round(float(across[end - 1]), 1),
             "y": round(float(np.median(down[begin:end])), 1)} for begin, end in pairwise(edges)]
