"""Rows of numbers: read, read without a remark behind them, or told to be no row."""

from .printed_numbers import PrintedNumber, printed_number, whole

__all__ = ["NumbersRow", "meant_as_row", "numbers_row"]

NumbersRow = tuple[list[PrintedNumber] | None, str | None]
_MOST_APART = 3  # cells lost or added, by which a line is still taken for a row
_SIGNS = 3       # a longer first word with letters is prose
_NO_NUMBERS = frozenset({"nan", "-nan", "inf", "-inf", "n/a"})


def numbers_row(text: str, columns: int) -> NumbersRow:
    """The numbers of a row of `columns` cells, or None; and what of the line could not be used, or None."""
    fields = text.split()
    numbers = [printed_number(field) for field in fields]
    read = [number for number in numbers[:columns] if number]
    if len(read) == columns and not any(numbers[columns:]):
        rest = " ".join(fields[columns:])
        return read, f"left out behind a row: {rest!r:.60}" if rest else None
    if meant_as_row(fields, columns):
        return None, f"not read as a row: {' '.join(fields)!r:.100}"
    return None, None


def meant_as_row(fields: list[str], columns: int) -> bool:
    """Whether a line that is no row was meant as one: it begins with a size, and about as many cells are numbers."""
    if not fields or abs(len(fields) - columns) > _MOST_APART or fields[0][0] == "#":
        return False
    first, numbers = fields[0], sum(printed_number(field) is not None for field in fields)
    if whole(first) is not None or any(map(str.isdigit, first)) or first.lower() in _NO_NUMBERS:
        return numbers >= max(1, len(fields) // 2)
    short = len(first) <= _SIGNS or not any(map(str.isalpha, first))
    return short and len(fields) == columns > 1 and numbers >= max(1, len(fields) - 2) \
        and any("." in field for field in fields[1:])      # `- 4` is an item of a list
