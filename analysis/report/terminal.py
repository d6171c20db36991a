"""The report as text on a terminal: the answer in ten lines; before it, if asked for, findings and tables."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import MODES

from ..findings.finding import Finding
from ..frames.columns import SERIES
from ..frames.representative import HEADLINE_OPS, fabrics, headline, operation_table, representative, with_fabric
from ..text import units
from ..text.safe_console import Screen, fits, print_whole
from .brief import brief
from .comparisons import ComparisonTable, comparison_tables, sequence_table
from .skew_words import skew_table
from .story import Story
from .text import (
    CAVEAT,
    METHOD,
    QUANTITIES,
    TOP_FINDINGS,
    PredictionCell,
    answer_rows,
    domain_words,
    prediction_cell,
    records_of,
)

__all__ = ["show", "show_forecast", "show_predictions"]

_STYLE = {"error": "bold red", "warning": "yellow", "note": "dim"}
_VERDICT = {"normal": "green", "low": "yellow", "high": "yellow"}
_FRONT_OPS = 3
_FRONT_WIDTH = 14      # of its first column on a narrow console: the longest name of an operation
_TIME, _BUSBW = ("time_s", "time_lo_s", "time_hi_s"), ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps")
_MOST_TABLES = 12      # of operations
_PERCENTILE_SAMPLES = 100
_NARROWEST = 110       # columns: narrower tables are unreadable, and a pipe has no width of its own


def show(story: Story, console: Console | None = None, ops: Collection[str] | None = None, verbose: bool = False,
         page: str = "") -> None:
    """Print the answer to standard output or `console`, after everything else where that is asked for.

    Args:
        ops: operations to show tables of, which implies `verbose`; None: all, or `HEADLINE_OPS` where there are many.
        page: path of the page, if one was written.
    """
    console = console or Screen()
    if verbose or ops is not None:
        wide = _wide(console)
        for part in _parts(story, _usual(story) if ops is None else ops, wide):
            print_whole(part, wide) if isinstance(part, Table) else wide.print(part)
    for line in brief(story, console.width, page):
        console.print(line, soft_wrap=True)


def _usual(story: Story) -> list[str]:
    """The operations to show tables of: all, or `HEADLINE_OPS` where there would be too many tables."""
    known = list(story.shown["op"].unique())
    tables = len(story.shown.drop_duplicates(["fabric", "op"]))
    return known if tables <= _MOST_TABLES else [op for op in HEADLINE_OPS if op in known] or known[:_FRONT_OPS]


def show_predictions(predictions: pd.DataFrame, console: Console | None = None) -> None:
    """Print a frame of `extrapolate`: one table per series with its model and warnings."""
    console = _wide(console or Screen())
    for _, rows in predictions.groupby(list(SERIES), dropna=False, sort=False):
        print_whole(_series(rows), console)
        for reason in rows["reason"].dropna().unique():
            console.print(Text(f"warning: {reason}", style="yellow"))
        for record in rows["track_record"].dropna().unique():
            console.print(Text(f"track record: {record}", style="dim"))
        console.print()
    console.print(Text(f"{CAVEAT} {METHOD}", style="dim"))


def show_forecast(points: pd.DataFrame, predictions: pd.DataFrame, targets: Sequence[int], verbose: bool = False,
                  console: Console | None = None) -> None:
    """Print what `extrapolate` predicted from `points`: the headline of a few operations; if `verbose`, all of it."""
    console = _wide(console or Screen())
    if verbose:
        show_predictions(predictions, console)
    names = fabrics(points)
    answer = headline(representative(with_fabric(points, names)), with_fabric(predictions, names), targets)
    here = set(answer.loc[answer["distance"] == 1, "ranks"])      # where that is all, the column "measured" has it
    print_whole(_front(answer, [target for target in targets if {target} != here], console), console)
    for reason in answer.loc[answer["kind"] == "refused", "reason"].unique():
        console.print(Text(f"not extrapolated: {reason}", style="yellow"))
    if not verbose:
        console.print(Text(f"{CAVEAT} Every series, with model and warnings: -v, or --json FILE.", style="dim"))


def _series(rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    names = [first[name] for name in ("op", "mode", "dtype", "redop", "traffic", "place", "transport", "library")]
    table = _table(escape(", ".join(str(name) for name in names if pd.notna(name))))
    for name in ("size", "time", "interval", "busbw", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    above = None
    for row in records_of(rows[rows["kind"] != "refused"]):
        if (row["ranks"], row["kind"]) != above:
            above = (row["ranks"], row["kind"])
            table.add_row(f"[bold]{row['ranks']} ranks[/bold]", "", row["kind"], "", f"distance {row['distance']:.3g}x")
        time, busbw = (prediction_cell(row, quantity, row["message_bytes"]) for quantity in QUANTITIES)
        table.add_row(units.payload(row["message_bytes"]), time.value, escape(time.detail), busbw.value,
                      escape(busbw.detail))
    for model in rows[rows["kind"] == "extrapolated"].head(1).to_dict("records"):
        table.caption = escape(f"{model['algorithm']}: {model['parameters']}; hold-out error "
                               f"{units.percent(model['holdout_error'])}")
        table.caption_justify = "left"
    return table


def _wide(console: Console) -> Console:
    """The console, or a wider one on a pipe whose reader has not said how wide it is."""
    unknown = not console.is_terminal and "COLUMNS" not in os.environ
    return Screen(width=_NARROWEST, file=console.file) if unknown and console.width < _NARROWEST else console


def _parts(story: Story, ops: Collection[str], console: Console) -> Iterator[RenderableType]:
    """The first screen: what was measured, the verdict, top findings, headline numbers; then everything else."""
    yield _header(story)
    yield _findings(story.findings[:TOP_FINDINGS], "Findings")
    answer = story.headline[story.headline["op"].isin(ops)]
    if len(answer):
        yield _front(answer, story.targets, console)
    if story.expected:
        yield _expected(story)
    yield _facts(story)
    wanted = story.shown["op"].isin(ops)
    for (fabric, op), points in story.shown[wanted].groupby(["fabric", "op"], sort=False):
        yield _operation(str(fabric), str(op), points)
    if not wanted.all():
        yield _others(story.shown[~wanted])
    yield from map(_comparison, [*skew_table(story.skew), *comparison_tables(story.loaded.comparisons),
                                 *sequence_table(story.sequences)])
    for quantity in QUANTITIES:
        if answer["quantity"].eq(quantity).any():
            yield _answer(answer, story.targets, quantity)
    if len(answer):
        yield Text(f"{CAVEAT} {METHOD}", style="dim")
    for domain in story.domains:
        yield Text(domain_words(domain), style="dim")
    if len(story.findings) > TOP_FINDINGS:
        yield Text()
        yield _findings(story.findings, f"All {len(story.findings)} findings")


def _header(story: Story) -> Group:
    head = story.overview
    lines = [Text(f"collbench report: {head.title}", style="bold"), Text(head.measured)]
    lines += [Text.assemble((f"{name}: ", "dim"), value) for name, value in head.on]
    style = "bold red" if not head.sound else "green" if head.checked else "bold"
    return Group(*lines, Text(head.verdict, style=style), Text())


def _facts(story: Story) -> Group:
    lines = [Text.assemble((f"{name}: ", "dim"), value) for name, value in story.overview.facts]
    return Group(Text("Measured on", style="bold"), *lines, Text())


def _front(answer: pd.DataFrame, targets: Sequence[int], console: Console) -> Table:
    """A row for each quantity of a few operations, intervals on a second line if the console is narrow."""
    table = _front_table(answer, targets, " ")
    return table if fits(table, console) else _front_table(answer, targets, "\n")


def _front_table(answer: pd.DataFrame, targets: Sequence[int], between: str) -> Table:
    table = _table("Measured here, and extrapolated to other rank counts of this fabric (90 % prediction intervals)")
    rows = [row for quantity in QUANTITIES for row in answer_rows(answer, quantity, targets)]
    at_ranks = {row.at_ranks for row in rows}
    alike = f"{at_ranks.pop()} ranks" if len(at_ranks) == 1 else ""       # in the column head, or with each row
    one_line = between == " "
    table.add_column("operation\nmessage size", no_wrap=one_line, max_width=None if one_line else _FRONT_WIDTH)
    table.add_column(f"measured\n{alike}", justify="right", no_wrap=True)
    for target in targets:
        table.add_column(f"{target} ranks\n{_kind_at(target, answer)}", justify="right", no_wrap=True)
    known = list(dict.fromkeys(row.op for row in rows))
    wanted = ([op for op in HEADLINE_OPS if op in known] or known)[:_FRONT_OPS]
    for fabric in dict.fromkeys(row.fabric for row in rows):
        mine = [row for row in rows if row.fabric == fabric and row.op in wanted]
        table.add_row(f"[bold]{escape(fabric)}[/bold]")
        for row in sorted(mine, key=lambda row: wanted.index(row.op)):
            ranks = "" if alike else f" [dim]{row.at_ranks} ranks[/dim]"
            table.add_row(f"{escape(row.op)}{between}{row.payload}{ranks}", row.measured,
                          *(f"{cell.value}{between}[dim]{escape(cell.detail) if cell.kind != 'refused' else ''}[/dim]"
                            for cell in row.cells))
    return table


def _kind_at(target: int, answer: pd.DataFrame) -> str:
    """What a column of the headline has: most often `extrapolated`; not to more ranks if as many were measured."""
    ahead = answer["distance"] != 1
    if answer.loc[ahead & (answer["ranks"] == target), "kind"].eq("measured").all():
        return "measured"
    return "extrapolated" if target > answer.loc[~ahead, "ranks"].max() else "fewer ranks, predicted"


def _expected(story: Story) -> Group:
    """A few cases: measured, expected and, on the line below, why."""
    lines = [Text("Is it normal? Measured (bus bandwidth, time of a call), expected, why; streamed unless marked",
                  style="bold")]
    wide = [max(len(text) for text in texts) for texts in zip(
        *((f"{row.case.text('op')} {row.size}", f"{row.measured} ({row.took})", row.expected)
          for row in story.expected), strict=True)]
    fabric = None
    for row in story.expected:
        if row.case.text("fabric") != fabric:
            fabric = row.case.text("fabric")
            lines.append(Text(f" {fabric}", style="bold"))
        case, measured = f"{row.case.text('op')} {row.size}", f"{row.measured} ({row.took})"
        verdict = row.case.text("verdict")
        lines.append(Text.assemble(f" {case:<{wide[0]}}  {measured:>{wide[1]}}  {row.expected:>{wide[2]}}  ",
                                   (verdict, _VERDICT.get(verdict, ""))))
        details = [text for text in (row.share, row.why) if text not in ("", units.UNKNOWN)]
        lines += [Text(f"     {'; '.join(details)}", style="dim")] if details else []
    return Group(*lines, Text(), *(Text(line, style="dim") for line in story.legend), Text())


def _operation(fabric: str, op: str, points: pd.DataFrame) -> Table:
    """As nccl-tests prints it, with both modes side by side, at the largest rank count."""
    table = _table(_title(fabric, op, points))
    rates = op in OPERATIONS and OPERATIONS[op].rates_messages
    for name in ("size\n", "isolated\nµs", "95 % interval\nµs", "p99\nµs", "streamed\nµs", "algbw\nGB/s",
                 "busbw\nGB/s", *(["all pairs\n"] if rates else []), "samples\n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("flags\n", style="yellow", max_width=24)
    largest = points[points["ranks"] == points["ranks"].max()]
    for row in records_of(operation_table(largest)):
        table.add_row(
            units.payload(row["message_bytes"]), units.microseconds(row["time_s isolated"]),
            units.span(units.microseconds(row["time_lo_s isolated"]), units.microseconds(row["time_hi_s isolated"])),
            _p99(row), units.microseconds(row["time_s streamed"]),
            units.gigabytes(row["algbw_Bps streamed"]), units.gigabytes(row["busbw_Bps streamed"]),
            *([units.message_rate(row["busbw_Bps streamed"] / row["message_bytes"])] if rates else []), _samples(row),
            _flags(row))
    return table


def _p99(row: dict[str, Any]) -> str:
    """Unknown if there are too few samples for one in a hundred; a log that states it has one sample here."""
    few = 1 < row["samples isolated"] < _PERCENTILE_SAMPLES
    return units.UNKNOWN if few else units.microseconds(row["p99_s isolated"])


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False, padding=(0, 1))


def _title(fabric: str, op: str, points: pd.DataFrame) -> str:
    first = points.iloc[0]
    words = [str(first[name]) for name in ("dtype", "redop", "traffic", "place") if pd.notna(first[name])]
    return escape(f"{op}, measured, {points['ranks'].max()} ranks, {' '.join([*words, fabric])}")


def _samples(row: dict[str, Any]) -> str:
    counts = [row["samples isolated"], row["samples streamed"]]
    return " + ".join(f"{count:.0f}" for count in counts if pd.notna(count))


def _flags(row: dict[str, Any]) -> str:
    """Flags of both modes; not `precision missed`, which the interval shows and a busy host sets everywhere."""
    by_mode = {mode: [flag for flag in (row[f"flags {mode}"] or "").split(", ") if flag not in ("", "precision missed")]
            for mode in MODES if pd.notna(row[f"flags {mode}"])}
    return escape(", ".join(dict.fromkeys(f"{flag} ({mode})" for mode, flags in by_mode.items() for flag in flags)))


def _others(points: pd.DataFrame) -> Table:
    """Operations without a table of their own: one line each, at the largest rank count."""
    table = _table("The other operations, measured: the smallest message isolated, the largest streamed")
    table.add_column("operation", no_wrap=True)
    for name in ("time", "95 % interval", "busbw", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    key = ["fabric", "op"]
    largest = points[points["ranks"] == points.groupby(key)["ranks"].transform("max")]
    ends = []
    for mode, smallest, columns in zip(MODES, (True, False), (_TIME, _BUSBW), strict=True):
        mine = largest[largest["mode"] == mode].sort_values("message_bytes", ascending=not smallest, kind="stable")
        ends.append(mine.drop_duplicates(key, keep="last").set_index(key)[[*columns, "message_bytes"]])
    above = None
    for fabric, op, ranks in points.groupby(key, sort=False)["ranks"].max().reset_index().itertuples(index=False):
        if fabric != above:
            table.add_row(f"[bold]{escape(fabric)}[/bold]")
            above = fabric
        if op in OPERATIONS and OPERATIONS[op].rates_messages:
            table.add_row(f"{escape(op)} [dim]{ranks} ranks[/dim]",
                          *_message_rate(largest[largest["fabric"].eq(fabric) & largest["op"].eq(op)]))
            continue
        cells = [_end(frame.loc[(fabric, op)], formatted) if (fabric, op) in frame.index else ("", "")
                 for frame, formatted in zip(ends, (units.seconds, units.rate), strict=True)]
        table.add_row(f"{escape(op)} [dim]{ranks} ranks[/dim]", *cells[0], *cells[1])
    table.caption = "For their tables see the page, or collbench summary DATA --ops NAME,... (or all)"
    table.caption_justify = "left"
    return table


def _comparison(table: ComparisonTable) -> Table:
    made = _table(escape(table.title))
    for number, head in enumerate(table.heads):
        made.add_column(head, justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        made.add_row(*map(escape, row))
    made.caption, made.caption_justify = table.caption, "left"
    return made


def _message_rate(points: pd.DataFrame) -> tuple[str, ...]:
    """Time and messages per second of the smallest message, the latter back to back if that was measured."""
    modes = [points[points["mode"] == mode].sort_values("message_bytes") for mode in MODES]
    alone, streamed = modes[0], next(own for own in reversed(modes) if len(own))
    time = _end(alone.iloc[0][[*_TIME, "message_bytes"]], units.seconds) if len(alone) else ("", "")
    smallest = streamed.iloc[0][[*_BUSBW, "message_bytes"]]
    size = smallest["message_bytes"]
    return *time, *_end(smallest, lambda value_Bps: units.message_rate(value_Bps / size))


def _end(values: pd.Series, formatted: Callable[[float], str]) -> tuple[str, str]:
    """A value with its message size, and its interval; blank if it was not measured."""
    value, low, high, size = values
    if pd.isna(value):
        return "", ""
    shown = f"[dim]{units.payload(size) if size else ''}[/dim] {formatted(value)}"
    return shown, units.span(formatted(low), formatted(high))


def _answer(answer: pd.DataFrame, targets: Sequence[int], quantity: str) -> Table:
    table = _table(f"{QUANTITIES[quantity]}: measured here, extrapolated to more ranks of this fabric")
    table.add_column("operation\nmessage size", no_wrap=True)
    table.add_column("measured\n", justify="right", no_wrap=True)
    for target in targets:
        table.add_column(f"{target} ranks\nextrapolated", justify="right", no_wrap=True)
    table.add_column("hold-out error\ndistance", justify="right", no_wrap=True)
    fabric = None
    for row in answer_rows(answer, quantity, targets):
        if row.fabric != fabric:
            fabric = row.fabric
            table.add_row(f"[bold]{escape(fabric)}[/bold]")
        table.add_row(f"{escape(row.op)}\n[dim]{row.payload}[/dim]", f"{row.measured}\n[dim]{row.at_ranks} ranks[/dim]",
                      *map(_cell, row.cells), f"{row.holdout}\n[dim]{row.distance}[/dim]")
    return table


def _cell(cell: PredictionCell) -> str:
    """Without the reason for a refusal, which is too long for a column; the page and the JSON have it."""
    small = "" if cell.kind == "refused" else escape(f"{cell.detail}\n{cell.note}".strip())
    return f"{cell.value}\n[dim]{small}[/dim]"


def _findings(findings: Sequence[Finding], title: str) -> RenderableType:
    if not findings:
        return Text()
    lines = [Text(title, style="bold")]
    for finding in findings:
        lines.append(Text.assemble((f"{finding.severity}: ", _STYLE[finding.severity]), finding.words))
        if finding.evidence:
            ids = [*(f" ({record})" for record in finding.records), *[""] * len(finding.evidence)]
            named = [label + record for label, record in zip(finding.evidence, ids, strict=False)]
            lines.append(Text(f"    for example: {'; '.join(named[:2])}", style="dim"))
        if finding.advice:
            lines.append(Text(f"    to do: {finding.advice}", style="dim"))
    return Group(*lines, Text())
