"""Rows of a CSV whose heading has known names, wherever it stands in a log."""

import csv
from collections.abc import Callable, Iterator

from ...text.safe_csv import unescape
from .collector import Collector
from .log import Log, split_lines

__all__ = ["headings", "named_rows"]


def headings(text: str, is_heading: Callable[[list[str]], bool]) -> Iterator[tuple[int, list[str]]]:
    """Number (from 1) and names of each line that `is_heading` accepts as the names of columns."""
    for number, line in enumerate(split_lines(text), 1):
        if "," in line and is_heading(names := [name.strip().strip('"') for name in line.split(",")]):
            yield number, names


def named_rows(log: Log, collector: Collector,
               is_heading: Callable[[list[str]], bool]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each row below a heading, up to the next heading; empty lines are skipped.

    A line that is no row of the table is a warning; blank cells are left out of the dictionary.
    """
    lines = split_lines(log.text)
    for start, names in headings(log.text, is_heading):
        for number, line in enumerate(lines[start:], start + 1):
            cells = next(csv.reader([line]), []) if '"' in line else line.split(",")
            if is_heading([cell.strip().strip('"') for cell in cells]):
                break
            if not line.strip():
                continue
            collector.rows += 1
            if len(cells) != len(names):
                collector.warn(number, f"{len(cells)} values under {len(names)} column names: row skipped")
                continue
            yield number, {name: unescape(cell) for name, cell in zip(names, cells, strict=True) if cell.strip()}
