"""A comparison as text, as JSON and as an HTML page."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..text import units
from ..text.json_text import json_rows
from ..text.safe_console import Screen, fits, print_whole
from .verdict import ALPHA, Comparison
from .words import factor, movers, same_runs, summary

__all__ = ["as_json", "page", "show", "show_differences", "verdict_words"]

_STYLE = {"slower": "bold red", "faster": "green", "same": "dim", "cannot tell": "yellow"}
_NARROWEST = 185
_NARROW = {"case": 16, "verdict": 11}      # columns on a narrow terminal: with the figures 80
_SHOWN = 40                 # rows on a terminal; the page and the JSON have all
_MANY = 100                 # launches; larger estimates are not shown
_RATIOS = (1e-3, 1e3)       # intervals beyond are not shown
_PERCENT = (0.5, 2.0)       # ratios beyond are factors, not percentages
_STRIP = (1.25, 8.0)        # smallest and largest ratio at the ends of a strip


_Row = dict[Hashable, Any]      # a row of Comparison.rows


def show(comparison: Comparison, console: Console | None = None) -> None:
    """Print the table, slower cases first, and the notes; with one launch a side only the largest differences."""
    console = console or Screen()
    if comparison.match.identical:
        for line in same_runs(comparison):
            console.print(Text(line), soft_wrap=True)
        return
    shown = movers(comparison) if comparison.one_launch else comparison.rows.head(_SHOWN)
    _print_table(comparison, shown, console)
    for line in summary(comparison):
        console.print(Text(line))


def show_differences(comparison: Comparison, console: Console | None = None) -> None:
    """Print the largest differences only."""
    _print_table(comparison, movers(comparison), console or Screen())


def _print_table(comparison: Comparison, shown: pd.DataFrame, console: Console) -> None:
    if not console.is_terminal and console.width < _NARROWEST:
        console = Screen(width=_NARROWEST, file=console.file)
    table = _table(comparison, shown)
    print_whole(table if fits(table, console) else _table(comparison, shown, narrow=True), console)
    if len(comparison.rows) > len(shown):
        console.print(f"and {len(comparison.rows) - len(shown)} more rows; --json lists all")


def _table(comparison: Comparison, shown: pd.DataFrame, narrow: bool = False) -> Table:
    """A row for each case; if `narrow`, it wraps the case and the verdict, and leaves out the launches."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False) if narrow else Table(header_style="bold")
    left = ("case",) if narrow else ("case", "mode")
    for name in (*left, "A", "B", "B / A", "interval", *(() if narrow else ("launches",)), "verdict"):
        words = name in ("case", "mode", "verdict")
        table.add_column(name, justify="left" if words else "right", no_wrap=not (words and narrow),
                         max_width=_NARROW.get(name) if narrow else None)
    for row in shown.to_dict("records"):
        case = (f"{row['label']}, {row['mode']}",) if narrow else (row["label"], row["mode"])
        launches = () if narrow else (f"{row['launches_a']}, {row['launches_b']}",)
        table.add_row(*map(escape, case), units.seconds(row["a_s"]), units.seconds(row["b_s"]), f"{row['ratio']:.3f}",
                      escape(_interval(row)), *launches,
                      Text(verdict_words(row, comparison.band), style=_STYLE[row["verdict"]]))
    return table


def verdict_words(row: _Row, band: float) -> str:
    """The verdict of a row as text."""
    if row["verdict"] == "same":
        return f"same within ±{100 * band:g} %"
    if row["verdict"] == "cannot tell":
        if row["launches_a"] == row["launches_b"] == 1:
            return "cannot tell"
        return f"cannot tell: needs {_more(row)} more launch{'' if row['more'] == 1 else 'es'}"
    ratio = row["ratio"]
    if not _PERCENT[0] < ratio < _PERCENT[1]:
        return f"{factor(max(ratio, 1 / ratio))} {row['verdict']}"
    return f"{units.percent(abs(ratio - 1))} {row['verdict']}"


def _more(row: _Row) -> str:
    return f"about {row['more']}" if row["more"] <= _MANY else f"over {_MANY}"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values; docs/compare.md describes the fields."""
    match = comparison.match
    return {"cases": json_rows(comparison.rows), "together": json_rows(comparison.together), "band": comparison.band,
            "one_launch": comparison.one_launch, "noticed": comparison.noticed, "identical": match.identical,
            "level": 1 - ALPHA, "correction": "Holm",
            "refused": [{"why": words, "cases": count} for words, count in match.refused],
            "broken": list(match.broken), "excused": list(match.excused),
            "alone": {"a": match.alone[0], "b": match.alone[1]},
            "notes": list(match.notes), "scatter": list(comparison.scatter)}


def page(comparison: Comparison, a: str, b: str) -> str:
    """The comparison as one self-contained HTML page."""
    environment = Environment(loader=PackageLoader("collbench.analysis.compare", "page"), undefined=StrictUndefined,
                              autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    most = _strip_end(comparison)
    rows = [{**row, "interval": _interval(row), "words": verdict_words(row, comparison.band).partition(":")[0],
             "needs": f"{_more(row)} more".removeprefix("about ")
             if row["verdict"] == "cannot tell" and not comparison.one_launch else "",
             "strip": [_place(row[name], most) for name in ("ratio_lo", "ratio", "ratio_hi")]}
            for row in comparison.rows.to_dict("records")]
    counts = {name: int(comparison.rows["verdict"].eq(name).sum()) for name in _STYLE}
    return environment.get_template("compare.html").render(rows=rows, lines=summary(comparison)[1:], a=a, b=b,
                                                           counts=counts, broken=comparison.match.broken,
                                                           alpha=ALPHA, seconds=units.seconds,
                                                           most=f"{most:.3g}",
                                                           band=_place(1 + comparison.band, most))


def _strip_end(comparison: Comparison) -> float:
    """The ratio at the right end of each strip, from the largest change that is decided."""
    decided = comparison.rows.loc[comparison.rows["verdict"].ne("cannot tell"), "ratio"]
    furthest = max([math.exp(abs(math.log(ratio))) for ratio in decided if ratio > 0], default=_STRIP[0])
    return min(max(1.1 * furthest, _STRIP[0]), _STRIP[1])


def _place(ratio: float, most: float) -> float:
    """Position of a ratio on a strip in percent of its length; the left end is 1 / most, the right end is most."""
    if not ratio > 0:
        return 0.0
    return round(50 + 50 * min(max(math.log(ratio) / math.log(most), -1.0), 1.0), 2)


def _interval(row: _Row) -> str:
    low, high = row["ratio_lo"], row["ratio_hi"]
    if not (math.isfinite(low) and math.isfinite(high)) or low < _RATIOS[0] or high > _RATIOS[1]:
        return units.UNKNOWN
    return f"[{_ratio(low)} to {_ratio(high)}]"


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.3g}"
