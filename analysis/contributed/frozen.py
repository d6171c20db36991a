"""The frozen predictions as data; a test compares them with the two pages that are never edited."""

import csv
from importlib import resources
from typing import NamedTuple

__all__ = ["Frozen", "frozen"]


class Frozen(NamedTuple):
    """One frozen prediction.

    Args:
        page: name of the page in docs/ without its suffix.
        system: the machine that it is for, or "" if it is for any machine of `domain`.
        domain: key of the scale-up domain, or "".
        library: as the page names it; `library_says` is what the library of a run must contain, in lower case.
        message_bytes: payload as the page rounds it; None where `tokens` (per rank) are stated instead.
        time_s, time_lo_s, time_hi_s: median and 90 % interval of a call.
    """

    page: str
    system: str
    domain: str
    library: str
    library_says: str
    op: str
    dtype: str
    message_bytes: int | None
    tokens: int | None
    ranks: int
    time_s: float
    time_lo_s: float
    time_hi_s: float


def frozen() -> tuple[Frozen, ...]:
    """All frozen predictions, in the order of their pages."""
    text = resources.files("collbench.analysis").joinpath("data/frozen/predictions.csv").read_text(encoding="utf-8")
    return tuple(_row(row) for row in csv.DictReader(text.splitlines()))


def _row(row: dict[str, str]) -> Frozen:
    size, tokens = row["message_bytes"], row["tokens"]
    return Frozen(row["page"], row["system"], row["domain"], row["library"], row["library_says"], row["op"],
                  row["dtype"], int(size) if size else None, int(tokens) if tokens else None, int(row["ranks"]),
                  float(row["time_s"]), float(row["time_lo_s"]), float(row["time_hi_s"]))
