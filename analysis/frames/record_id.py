"""A stable short id for a record: ten hexadecimal digits of a hash of the columns that identify it."""

import hashlib

import pandas as pd

from .columns import RECORD

__all__ = ["record_ids"]


def record_ids(frame: pd.DataFrame) -> list[str]:
    """The id of each row of a frame with the columns RECORD, in order; missing columns count as unknown.

    Both modes of a record share an id, and so do imported results that agree in all of these columns.
    """
    known = frame.reindex(columns=list(RECORD))
    columns = [_texts(known[name]) for name in RECORD]
    return [hashlib.blake2b("\x1f".join(row).encode(errors="surrogatepass"), digest_size=5).hexdigest()
            for row in zip(*columns, strict=True)]


def _texts(column: pd.Series) -> list[str]:
    """The values as text, empty if missing; each distinct value is converted once."""
    codes, values = pd.factorize(column, use_na_sentinel=True)
    texts = [*map(str, values), ""]
    return [texts[code] for code in codes]
