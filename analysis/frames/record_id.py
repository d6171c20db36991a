"""A short name for a record that stays the same wherever it is shown: ten hexadecimal digits of what identifies it."""

import hashlib

import pandas as pd

from .columns import RECORD

__all__ = ["record_ids"]


def record_ids(frame: pd.DataFrame) -> list[str]:
    """The id of each row of a frame with `run` and the columns of `CASE`, in order; a column it lacks is unknown.

    Both modes of a record have one id; so have figures of another tool's log that differ in no column of a case.
    """
    known = frame.reindex(columns=list(RECORD))
    columns = [_texts(known[name]) for name in RECORD]
    return [hashlib.blake2b("\x1f".join(row).encode(errors="surrogatepass"), digest_size=5).hexdigest()
            for row in zip(*columns, strict=True)]


def _texts(column: pd.Series) -> list[str]:
    """The values as text, none for what is missing; each value is made text once."""
    codes, values = pd.factorize(column, use_na_sentinel=True)
    texts = [*map(str, values), ""]
    return [texts[code] for code in codes]
