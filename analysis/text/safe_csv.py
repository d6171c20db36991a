"""CSV as collbench writes it: no cell is a formula to a spreadsheet, and what was written reads back exactly.

Names of hosts, algorithms and labels come from outside, and a spreadsheet runs a cell that begins like a formula. Such
a cell is written with an apostrophe before it, which spreadsheets take for `this is text`; numbers are left alone.
"""

import re
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["escape", "pieces", "to_csv", "unescape"]

# Characters that begin a formula, also as wide as an ideograph, or that a reader may skip before one; # begins a
# comment to our own reader.
_BEGINS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20#")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_QUOTED = re.compile('[",\r\n]')
_ROWS = 8192            # at a time: a frame of any length takes little memory beside itself
Cells = Callable[[slice], list[bytes]]


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV without its index; text that would be a formula is escaped, and NUL is replaced."""
    return b"".join(pieces(frame)).decode()


def pieces(frame: pd.DataFrame) -> Iterator[bytes]:
    """The same in pieces of whole lines, in UTF-8."""
    yield b",".join(_cell(str(name)) for name in frame.columns) + b"\n"
    # A line with nothing on it is no row to a reader.
    columns = [_cells(frame[name], b'""' if len(frame.columns) == 1 else b"") for name in frame.columns]
    for start in range(0, len(frame), _ROWS):
        part = slice(start, min(start + _ROWS, len(frame)))
        rows = zip(*(cells(part) for cells in columns), strict=True)
        yield b"\n".join(map(b",".join, rows)) + b"\n"


def escape(text: str) -> str:
    """`text` as a cell."""
    text = _UNWRITABLE.sub("\ufffd", text)
    return f"'{text}" if _needs(text) else text


def unescape(cell: str) -> str:
    """The text of a cell; blanks around a cell that `escape` has not written are not part of it."""
    bare = cell.lstrip()
    return bare[1:] if bare.startswith("'") and _needs(bare[1:]) else cell.strip()


def _needs(text: str) -> bool:
    """Whether `text` has to be escaped; also where its own apostrophe would be taken for the escape."""
    begin = text.lstrip("'")[:1]
    return text != text.strip() or begin.isspace() or (begin in _BEGINS and not _NUMBER.fullmatch(text))


def _cells(column: pd.Series, missing: bytes) -> Cells:
    """What makes the cells of some rows. Text repeats, and each is made a cell once; figures hardly ever do."""
    if column.dtype == np.float64 and not np.isinf(column).any():
        return _figures(column.to_numpy(), missing)
    if pd.api.types.infer_dtype(column).startswith("mixed"):      # 1, 1.0 and True would be taken for one another
        return lambda part: [missing if pd.isna(value) else _cell(value) for value in column.iloc[part]]
    codes, values = pd.factorize(column)
    texts, codes = np.array([*map(_cell, values), missing], dtype=object), codes.astype(np.int32)
    return lambda part: texts[codes[part]].tolist()


def _figures(values: NDArray[np.float64], missing: bytes) -> Cells:
    """The encoder of JSON writes floats, to the last digit, faster than anything else at hand, and NaN as null."""
    if np.isnan(values).all():
        return lambda part: [missing] * (part.stop - part.start)
    return lambda part: msgspec.json.encode(values[part].tolist())[1:-1].replace(b"null", missing).split(b",")


def _cell(value: object) -> bytes:
    text = escape(value) if isinstance(value, str) else str(value)
    return (f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text).encode()
