"""Units of time and bandwidth as tools print them in headings and cells."""

import re
from types import MappingProxyType

__all__ = ["per_second", "rate_scale", "units_of"]

_TIMES = MappingProxyType({
    "ns": 1e9, "nsec": 1e9, "us": 1e6, "usec": 1e6, "\u00b5s": 1e6, "\u03bcs": 1e6, "microseconds": 1e6,
    "ms": 1e3, "msec": 1e3, "milliseconds": 1e3, "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0})
_RATE = re.compile(r"([KMGT]?)(i?)(B|b|bit|bits|Bytes|bytes)(?:/s|ps|/sec|/second)")
_POWERS = MappingProxyType({"": 0, "K": 1, "M": 2, "G": 3, "T": 4})
_UNIT = re.compile(r"\[([^\[\]\s]{1,16})\]|\(([^()\s]{1,16})\)")


def per_second(unit: str) -> float | None:
    """How many of `unit`, such as `ms`, are a second; None if it is no unit of time."""
    return _TIMES.get(unit.lower())


def rate_scale(unit: str) -> float | None:
    """Bytes per second in one `unit`; None if it is no bandwidth.

    A small b is a bit, as in `Gb/s`; `GiB/s` is 2^30 bytes.
    """
    found = _RATE.fullmatch(unit.replace("mbytes", "Mbytes").replace("mb/", "Mb/"))
    if not found:
        return None
    size = (1024.0 if found[2] else 1000.0) ** _POWERS[found[1]]
    return size / 8 if found[3] in ("b", "bit", "bits") else size


def units_of(text: str) -> list[str]:
    """What stands in parentheses or brackets in a heading, in order."""
    return [found[1] or found[2] for found in _UNIT.finditer(text)]
