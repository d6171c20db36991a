"""What others on the machine cost, and what overlap leaves exposed, in a line each."""

from collections.abc import Callable, Iterator

import pandas as pd

from collbench.collectives.cases.families.interference import parse_roles
from collbench.collectives.cases.families.overlap import parse_beside

from ..frames.comparisons import wide
from ..text.units import digits, payload, seconds, span

__all__ = ["contention_lines"]


def contention_lines(comparisons: pd.DataFrame) -> Iterator[str]:
    """The largest congestion factor and the longest exposed time, of the largest messages over the most ranks."""
    cases = _largest(wide(comparisons, "interference"))
    if len(cases):
        row = cases.sort_values("congestion_factor", kind="stable").iloc[-1]
        roles = parse_roles(row["traffic"])
        yield (f"interference: {roles.victim} {payload(row['message_bytes'])} {digits(row['congestion_factor'])}x as "
               f"long beside {roles.aggressor}{_interval(row, 'congestion_factor', digits)}")
    cases = _largest(wide(comparisons, "overlap"))
    if len(cases):
        row = cases.sort_values("exposed_s", kind="stable").iloc[-1]
        yield (f"overlap: {parse_beside(row['traffic']).collective} {payload(row['message_bytes'])} exposes "
               f"{seconds(row['exposed_s'])}{_interval(row, 'exposed_s', seconds)} of {seconds(row['collective_s'])}")


def _largest(cases: pd.DataFrame) -> pd.DataFrame:
    """Isolated calls where there are such."""
    isolated = cases[cases["mode"] == "isolated"]
    some: pd.DataFrame = isolated if len(isolated) else cases
    for name in ("ranks", "message_bytes"):
        some = some[some[name] == some[name].max()]
    return some


def _interval(row: pd.Series, name: str, formatted: Callable[[float], str]) -> str:
    low, high = row[f"{name} lo"], row[f"{name} hi"]
    return "" if pd.isna(low) else f" [{span(formatted(low), formatted(high))}]"
