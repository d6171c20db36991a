"""Rows of a CSV whose heading has known names, wherever it stands in a log."""

import csv
from collections.abc import Callable, Iterator

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
    """Line number and cells of each row below a heading, up to an empty line or the next heading.

    A line that is no row of the table is a warning; blank cells are left out of the dictionary.
    """
    text = log.raw if any(headings(log.raw, is_heading)) else log.text
    lines = split_lines(text)
    for start, names in headings(text, is_heading):
        for number, line in enumerate(lines[start:], start + 1):
            cells = next(csv.reader([line]), []) if '"' in line else line.split(",")
            if not line.strip() or is_heading([cell.strip().strip('"') for cell in cells]):
                break
            collector.rows += 1
            if len(cells) != len(names):
                collector.warn(number, f"{len(cells)} values under {len(names)} column names: row skipped")
                continue
            yield number, {name: cell.strip() for name, cell in zip(names, cells, strict=True) if cell.strip()}
