"""CSV as collbench writes it: no cell is a formula to a spreadsheet, and what was written reads back exactly.

Names of hosts, algorithms and labels come from outside, and a spreadsheet runs a cell that begins like a formula. Such
a cell is written with an apostrophe before it, which spreadsheets take for `this is text`; numbers are left alone.
"""

import csv
import re

import pandas as pd

__all__ = ["escape", "to_csv", "unescape"]

# Characters that begin a formula, also as wide as an ideograph, or that a reader may skip before one; # begins a
# comment to our own reader.
_BEGINS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20#")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV without its index; text that would be a formula is escaped, and NUL is replaced."""
    cleaned, breaks = {}, False
    for name in frame.columns:
        texts = [value for value in frame[name].unique() if isinstance(value, str)]
        breaks |= any("\r" in text for text in texts)
        changed = {text: escape(text) for text in texts if escape(text) != text}
        if changed:
            cleaned[name] = frame[name].map(lambda value, changed=changed: changed.get(value, value))
    # The writer of Python before 3.13 quotes no lone carriage return.
    return frame.assign(**cleaned).to_csv(index=False, lineterminator="\n",
                                          quoting=csv.QUOTE_NONNUMERIC if breaks else csv.QUOTE_MINIMAL)


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
