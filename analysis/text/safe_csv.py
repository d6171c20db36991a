"""CSV output that is safe to open in a spreadsheet and reads back exactly.

Host names, algorithms and labels are untrusted, and a spreadsheet evaluates a cell that begins like a formula. Such a
cell is written with a leading apostrophe, which spreadsheets read as "this is text"; numbers are unchanged.
"""

import re
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["escape", "pieces", "to_csv", "unescape"]

# Characters that begin a formula, including their full-width forms; # begins a comment in our own reader.
_BEGINS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20#")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_QUOTED = re.compile('[",\r\n]')
_ROWS = 8192            # rows per piece, to bound the memory beside the frame itself
Cells = Callable[[slice], list[bytes]]


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV without its index; formula-like text is escaped, and NUL is replaced."""
    return b"".join(pieces(frame)).decode()


def pieces(frame: pd.DataFrame) -> Iterator[bytes]:
    """The frame as CSV, in UTF-8 pieces of whole lines."""
    yield b",".join(_cell(str(name)) for name in frame.columns) + b"\n"
    # Readers skip an empty line, so a missing value in a single column is written as "".
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
    """The text of a cell; blanks around an unescaped cell are stripped."""
    bare = cell.lstrip()
    return bare[1:] if bare.startswith("'") and _needs(bare[1:]) else cell.strip()


def _needs(text: str) -> bool:
    """Whether `text` must be escaped, including text whose own apostrophe would look like the escape."""
    begin = text.lstrip("'")[:1]
    return text != text.strip() or begin.isspace() or (begin in _BEGINS and not _NUMBER.fullmatch(text))


def _cells(column: pd.Series, missing: bytes) -> Cells:
    """A function that formats the cells of some rows. Text repeats, so each distinct value is formatted once."""
    if column.dtype == np.float64 and not np.isinf(column).any():
        return _floats(column.to_numpy(), missing)
    if pd.api.types.infer_dtype(column).startswith("mixed"):      # factorize would merge 1, 1.0 and True
        return lambda part: [missing if pd.isna(value) else _cell(value) for value in column.iloc[part]]
    codes, values = pd.factorize(column)
    texts, codes = np.array([*map(_cell, values), missing], dtype=object), codes.astype(np.int32)
    return lambda part: texts[codes[part]].tolist()


def _floats(values: NDArray[np.float64], missing: bytes) -> Cells:
    """Floats through the JSON encoder: exact, NaN as null, and the fastest of the options that were tried."""
    if np.isnan(values).all():
        return lambda part: [missing] * (part.stop - part.start)
    return lambda part: msgspec.json.encode(values[part].tolist())[1:-1].replace(b"null", missing).split(b",")


def _cell(value: object) -> bytes:
    text = escape(value) if isinstance(value, str) else str(value)
    return (f'"{text.replace(chr(34), chr(34) * 2)}"' if _QUOTED.search(text) else text).encode()
