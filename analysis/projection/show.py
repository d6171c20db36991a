"""A projection on the terminal: one table per operation with the domains side by side, then the comparisons."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..domains.facts import Domain
from ..frames.columns import PROJECTED
from ..text import units
from ..text.safe_console import Screen, fits, print_whole
from .head_to_head import NORMALISATIONS, Versus, crossovers

__all__ = ["METHOD", "show", "verdict"]

METHOD = ("projected, never measured there: cited facts of the domain times efficiencies measured elsewhere; intervals "
          "hold 90 % of draws over disputed facts, references, algorithm and transfer")
_LEAST_WIDTH = 128


def show(frame: pd.DataFrame, lines: Sequence[Versus], domains: Mapping[str, Domain],
         console: Console | None = None) -> None:
    """Print a frame of `project` and the comparisons of `versus`."""
    console = console or Screen()
    if not console.is_terminal and console.width < _LEAST_WIDTH:
        console = Screen(width=_LEAST_WIDTH, file=console.file)
    for (domain, reason), rows in frame[frame["kind"] == "refused"].groupby(["domain", "reason"], sort=False):
        ops = ", ".join(dict.fromkeys(rows["op"]))
        console.print(Text(f"refused: {domain}: {ops}: {reason}", style="yellow"))
    good = frame[frame["kind"] == "projected"]
    for (system, op, dtype, traffic), rows in _groups(good, [*PROJECTED]):
        its = [line for line in lines if line.op == op and line.traffic in (None, traffic)]
        table = _operation(system, op, (dtype, traffic), rows, its)
        print_whole(table if fits(table, console) else _operation(system, op, (dtype, traffic), rows, its, narrow=True),
                    console)
    for pair in dict.fromkeys(line.domains for line in lines):
        _compare(console, [line for line in lines if line.domains == pair])
    for (domain, basis), rows in _groups(good, ["domain", "basis"]):
        first = rows.iloc[0]
        ops = ", ".join(dict.fromkeys(rows["op"]))
        console.print(Text(f"{domain}: {domains[domain].name}, {int(first['ranks'])} ranks, a rank is "
                           f"{_a(first['rank_is'])}; {ops}: efficiencies: {basis}", style="dim"))
    for reason in good["reason"].dropna().unique():
        console.print(Text(f"warning: {reason}", style="yellow"))
    console.print(Text(METHOD, style="dim"))


def _groups(frame: pd.DataFrame, columns: list[str]) -> Iterable[tuple[Any, pd.DataFrame]]:
    return frame.groupby(columns, dropna=False, sort=False)


def verdict(line: Versus) -> str:
    """The more likely faster domain, with its probability."""
    first, second = line.domains
    name, chance = (first, line.faster) if line.faster >= 0.5 else (second, 1 - line.faster)
    return f"{name} {_chance(chance)}"


def _chance(value: float) -> str:
    """A probability as text; draws cannot give certainty."""
    return "> 99 %" if value > 0.99 else units.percent(value)


def _operation(system: object, op: str, variant: tuple[Any, ...], rows: pd.DataFrame,
               lines: Sequence[Versus], narrow: bool = False) -> Table:
    """A row for each message size; if `narrow`, two lines a row: time and bandwidth above the interval of the time."""
    words = ", ".join(str(value) for value in (op, *variant) if pd.notna(value))
    source = system if isinstance(system, str) else "an unknown system"
    table = Table(title=escape(f"{words}: projected (from {source})"), box=box.SIMPLE_HEAD, title_justify="left",
                  pad_edge=False, caption_justify="left")
    table.add_column("message\nsize" if narrow else "message size", justify="right", no_wrap=True)
    keys = list(dict.fromkeys(rows["domain"]))
    for key in keys:
        ranks = int(rows.loc[rows["domain"] == key, "ranks"].iloc[0])
        table.add_column(f"{key}, {ranks} ranks", justify="right", no_wrap=True)
        if not narrow:
            table.add_column("busbw", justify="right", no_wrap=True)
    by_size = {line.asked_bytes: line for line in sorted(lines, key=lambda line: line.asked_bytes)}
    if by_size:
        table.add_column("faster", justify="right", no_wrap=True)
    by_asked: Iterable[tuple[Any, pd.DataFrame]] = rows.groupby("asked_bytes")
    for asked, part in by_asked:
        cells = []
        for key in keys:
            found = part[part["domain"] == key]
            cells += _cells(found.iloc[0].to_dict(), narrow) if len(found) else [units.UNKNOWN] * (1 if narrow else 2)
        table.add_row(units.payload(asked), *cells, *([verdict(by_size[asked])] if asked in by_size else []))
    table.caption = escape("\n".join(f"{key}: {_runs(rows[rows['domain'] == key])}" for key in keys))
    return table


def _cells(row: dict[Any, Any], narrow: bool) -> list[str]:
    interval = units.span(units.seconds(row["time_lo_s"]), units.seconds(row["time_hi_s"]))
    time, busbw = units.seconds(row["time_s"]), units.rate(row["busbw_Bps"])
    return [escape(f"{time}, {busbw}\n({interval})")] if narrow else [escape(f"{time} ({interval})"), busbw]


def _runs(rows: pd.DataFrame) -> str:
    """Assumed algorithm by message size, and alternatives."""
    names = [str(name).partition(" (")[0] for name in rows["algorithm"]]
    sizes = list(rows["asked_bytes"])
    ends = [at for at in range(len(names)) if at + 1 == len(names) or names[at + 1] != names[at]]
    text = ", then ".join(names[at] + (f" up to {units.payload(sizes[at])}" if at + 1 < len(names) else "")
                          for at in ends)
    unsure = rows["instead"].notna()
    if unsure.any():
        last = rows[unsure].iloc[-1]
        text += f"; at {units.payload(last['asked_bytes'])} {last['algorithm']}, {last['instead']}"
    return text


def _compare(console: Console, lines: Sequence[Versus]) -> None:
    table = _normalised(lines)
    print_whole(table if fits(table, console) else _normalised(lines, narrow=True), console)
    changes = crossovers(lines)
    for change in changes:
        console.print(f"{change.op}: the faster domain changes between {units.payload(change.low_bytes)} and "
                      f"{units.payload(change.high_bytes)}; above it is {change.to}")
    steady = [op for op in dict.fromkeys(line.op for line in lines) if op not in {change.op for change in changes}]
    if steady:
        console.print(f"no crossover at these message sizes: {', '.join(steady)}")
    console.print()


def _normalised(lines: Sequence[Versus], narrow: bool = False) -> Table:
    """Two domains side by side; if `narrow`, operations have a row of their own, and intervals a second line."""
    first, second = lines[0].domains
    table = Table(title=f"{first} against {second} at the largest message size, by normalisation",
                  box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    left = ("operation",) if narrow else ("operation", "message size", "normalised", "unit")
    for name in (*left, first, second, "higher"):
        table.add_column(name, justify="left" if name in ("operation", "normalised", "unit") else "right", no_wrap=True)
    for op in dict.fromkeys(line.op for line in lines):
        line = max((line for line in lines if line.op == op), key=lambda line: line.asked_bytes)
        if not line.asked_bytes:
            continue
        size = units.payload(line.asked_bytes)
        if narrow:
            table.add_row(f"{escape(op)}, {size}", style="bold")
        for at, (measure, unit) in enumerate(NORMALISATIONS.items()):
            ahead = line.ahead[measure]
            more = units.UNKNOWN if ahead is None else \
                f"{first} {_chance(ahead)}" if ahead >= 0.5 else f"{second} {_chance(1 - ahead)}"
            names = (f"{measure}\n{unit}",) if narrow else ("" if at else op, "" if at else size, measure, unit)
            table.add_row(*names, *(_range(values, "\n" if narrow else " ") for values in line.figures[measure]), more)
    return table


def _range(values: tuple[float, float, float] | None, between: str) -> str:
    if values is None:
        return units.UNKNOWN
    low, middle, high = map(units.digits, values)
    return f"{middle}{between}({low} to {high})"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"

