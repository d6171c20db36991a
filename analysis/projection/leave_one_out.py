"""Validation of the projection: every reference system projected from the others, with interval coverage.

    python -m collbench.analysis.projection.leave_one_out

All measurements of a system are left out, or all of its accelerator generation. The facts of its domain stay, as in a
projection to a domain without measurements.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..domains.facts import load_domains
from .monte_carlo import Target, sample_times
from .references import measured, shipped

__all__ = ["ProjectionScores", "lines", "main", "trials"]

_DRAWS = 500
_ENDS = (0.05, 0.5, 0.95)


class ProjectionScores(NamedTuple):
    """Scores of the projections of one kind; fractions, width as high end over low end."""

    left_out: str
    data: str
    points: int
    median_error: float
    p90_error: float
    bias: float
    coverage: float
    width: float


def trials(left_out: str) -> pd.DataFrame:
    """Each measured point of the references with its projection: domain, op, time_s, low_s, middle_s, high_s.

    Args:
        left_out: `system` or `generation`.
    """
    domains = load_domains()
    rows = []
    table = measured()
    groups: Iterable[tuple[Any, pd.DataFrame]] = table.groupby(["domain", "op", "ranks", "payload_bytes"])
    for (key, op, ranks, payload), part in groups:
        gone = {key} if left_out == "system" else \
            {other for other in set(table["domain"]) if domains[other].generation == domains[key].generation}
        pool = [reference for reference in shipped() if reference.domain not in gone]
        drawn = sample_times(Target(key, domains[key], int(ranks)), op, float(payload), pool, (), _DRAWS)
        assert drawn is not None, f"no algorithm of {op} for a reference that was measured"
        ends = np.quantile(drawn.time_s, _ENDS)
        rows += [(key, op, time_s, *ends) for time_s in part["time_s"]]
    return pd.DataFrame(rows, columns=["domain", "op", "time_s", "low_s", "middle_s", "high_s"])


def lines(left_out: Sequence[str] = ("system", "generation")) -> Iterator[ProjectionScores]:
    """Scores for all points, then for every operation and every domain."""
    for what in left_out:
        table = trials(what)
        yield _line(what, "all", table)
        for column in ("op", "domain"):
            for name, part in table.groupby(column):
                yield _line(what, str(name), part)


def _line(what: str, name: str, table: pd.DataFrame) -> ProjectionScores:
    log = pd.Series(np.log(table["middle_s"] / table["time_s"]))
    error = pd.Series(np.abs(np.expm1(log)))
    inside = (table["low_s"] <= table["time_s"]) & (table["time_s"] <= table["high_s"])
    return ProjectionScores(what, name, len(table), float(error.median()), float(error.quantile(0.9)),
                float(np.expm1(log.median())), float(inside.mean()),
                float(np.exp(pd.Series(np.log(table["high_s"] / table["low_s"])).median())))


def main() -> None:
    """Print the table as Markdown; all scores except the width in percent."""
    print("| left out | projected | points | median error | 90th pct | bias | coverage of 90 % | width hi/lo |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for line in lines():
        shares = " | ".join(f"{100 * value:.1f}" for value in line[3:7])
        print(f"| {line.left_out} | {line.data} | {line.points} | {shares} | {line.width:.2f} |")


if __name__ == "__main__":
    main()
