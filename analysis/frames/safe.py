"""The texts of runs and frames made safe to show, once, where they are made; see `text.safe_text`."""

from collections.abc import Iterable

import msgspec
import pandas as pd

from collbench.collectives.errors import printable
from collbench.collectives.records.record import Run

from ..text.safe_text import safe_struct

__all__ = ["safe_frame", "safe_run"]


def safe_run(run: Run) -> Run:
    """`run` with its texts escaped, and with texts for hosts, which a damaged journal may not have."""
    safe = safe_struct(run)
    hosts = safe.provenance.get("hosts")
    if not isinstance(hosts, list) or all(isinstance(host, str) for host in hosts):
        return safe
    return msgspec.structs.replace(safe, provenance={**safe.provenance, "hosts": [*map(str, hosts)]})


def safe_frame(frame: pd.DataFrame, lines: Iterable[str] = ()) -> pd.DataFrame:
    """`frame` with the text of all columns escaped; line breaks stay in the columns `lines`, which hold sentences."""
    kept = frozenset(lines)
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            continue
        escaped = {text: printable(text, keep="\n" if name in kept else "") for text in set(column.tolist())
                   if isinstance(text, str) and not text.isprintable()}
        if escaped:
            values = [escaped.get(value, value) if isinstance(value, str) else value for value in column.tolist()]
            frame = frame.assign(**{name: pd.Series(values, frame.index, dtype=object)})
    return frame
