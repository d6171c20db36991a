"""Compare each point with a ceiling, published measurements and a baseline: a verdict, and likely reasons."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..domains.facts import Domain
from .ceilings import add_ceilings
from .diagnosis import REASONS, curves, find_reasons
from .published import add_published
from .verdicts import HIGH, LOW, NO_REFERENCE, NORMAL

__all__ = ["COLUMNS", "assess_points"]

COLUMNS = ("ceiling_Bps", "ceiling_kind", "ceiling_assumes", "ceiling_rate_Bps", "wire_Bps", "share", "expected_Bps",
           "expected_lo_Bps", "expected_hi_Bps", "expected_s", "of_expected", "basis", "percentile", "reference_runs",
           "reference_sources", "reference", "verdict", "why", "latency_share", "line_fixed_s", "line_s_per_byte",
           "plateau_Bps", "peak_Bps", "peak_bytes")
_TOLD = {"slower": LOW, "faster": HIGH}     # verdicts of a comparison; the others find no difference


def assess_points(points: pd.DataFrame, home: tuple[str, Domain] | None = None, baseline: pd.DataFrame | None = None,
                  late: set[tuple[str, int]] | None = None) -> pd.DataFrame:
    """`points` with COLUMNS beside them.

    Args:
        points: the frame of `frames.load`.
        home: key and facts of the domain that was measured.
        baseline: what another run of the same cases lets expect, beside `points` (`compare.expected`): `baseline_s`,
            `within`, `verdict`; takes precedence over published values.
        late: (run, ranks) with a straggler.

    Returns:
        `share` is relative to the ceiling: of `wire_Bps` where switches reduce, otherwise of busbw. `of_expected` is
        the speed over the expected speed. `verdict` is one of `verdicts.VERDICTS`: `high` beyond the hard bound,
        otherwise by the expectation, and `no reference` without one. `why` names keys of `diagnosis.REASONS` for points
        that are neither normal nor high.
    """
    assessed = points.join(curves(points))
    assessed = assessed.join(add_ceilings(assessed, home))
    assessed = assessed.join(add_published(assessed, home))
    assessed["of_expected"] = assessed["busbw_Bps"] / assessed["expected_Bps"]
    least = assessed["expected_lo_Bps"] / assessed["expected_Bps"]
    most = assessed["expected_hi_Bps"] / assessed["expected_Bps"]
    if baseline is not None:
        least, most = _by_baseline(assessed, baseline, least, most)
    assessed["expected_s"] = assessed["time_s"] * assessed["of_expected"]
    assessed["share"] = assessed["busbw_Bps"] / assessed["ceiling_Bps"]
    assessed["verdict"] = _verdict(assessed, least, most, baseline)
    reasons = find_reasons(assessed, late or set())
    assessed["why"] = _named(reasons, ~assessed["verdict"].isin([NORMAL, HIGH]))
    return assessed


def _by_baseline(assessed: pd.DataFrame, baseline: pd.DataFrame, least: pd.Series,
                 most: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Fill in the baseline, in place; returns the new limits of speed over expected speed."""
    found = baseline.reindex(assessed.index)
    known = found["baseline_s"].notna()
    speed = found["baseline_s"] / assessed["time_s"]
    assessed.loc[known, "of_expected"] = speed[known]
    for column, factor in (("expected_Bps", 1.0), ("expected_lo_Bps", 1 / found["within"]),
                           ("expected_hi_Bps", found["within"])):
        assessed.loc[known, column] = (assessed["busbw_Bps"] / speed * factor)[known]
    assessed.loc[known, "basis"] = "baseline"
    assessed.loc[known, "percentile"] = np.nan
    return least.mask(known, 1 / found["within"]), most.mask(known, found["within"])


def _verdict(assessed: pd.DataFrame, least: pd.Series, most: pd.Series,
             baseline: pd.DataFrame | None) -> NDArray[np.str_]:
    """By the expectation if there is one, by launches where it is a baseline; a bound alone can only be exceeded."""
    # Benefit of the doubt: use the end of the confidence interval nearer to the expectation.
    fastest = np.fmax(1.0, assessed["time_s"] / assessed["time_lo_s"])
    slowest = np.fmin(1.0, assessed["time_s"] / assessed["time_hi_s"])
    ratio = assessed["of_expected"]
    bound = assessed["busbw_Bps"] * slowest > assessed["ceiling_most_Bps"]
    told = pd.Series(index=assessed.index, dtype=object) if baseline is None else \
        baseline["verdict"].reindex(assessed.index)
    return np.select([bound, *(told.eq(name) for name in _TOLD), told.notna(), ratio * fastest < least,
                      ratio * slowest > most, ratio.notna()],
                     [HIGH, *_TOLD.values(), NORMAL, LOW, HIGH, NORMAL], NO_REFERENCE)


def _named(reasons: pd.DataFrame, wanted: pd.Series) -> NDArray[np.object_]:
    """Reasons of the selected points as text, built once for each combination that occurs."""
    bits = reasons.to_numpy() @ (1 << np.arange(len(REASONS)))
    names = {code: ", ".join(name for at, name in enumerate(REASONS) if code >> at & 1) for code in np.unique(bits)}
    return np.where(wanted, np.array([names[code] for code in bits], dtype=object), "")
