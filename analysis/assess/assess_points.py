"""Compare each point with a ceiling, published measurements and a baseline: a verdict, and likely reasons."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..domains.facts import Domain
from ..frames.columns import COMPARED, OPTIONAL
from .ceilings import add_ceilings
from .diagnosis import REASONS, curves, find_reasons
from .published import add_published
from .verdicts import HIGH, LOW, NO_REFERENCE, NORMAL

__all__ = ["COLUMNS", "assess_points"]

COLUMNS = ("ceiling_Bps", "ceiling_kind", "ceiling_rate_Bps", "wire_Bps", "share", "expected_Bps", "expected_lo_Bps",
           "expected_hi_Bps", "expected_s", "of_expected", "basis", "percentile", "reference_runs",
           "reference_sources", "reference", "verdict", "why", "latency_share", "line_fixed_s",
           "line_s_per_byte", "plateau_Bps", "peak_Bps", "peak_bytes")
_SAME = 0.05        # relative to the baseline's time, either way, as in `collbench compare`
_MATCH = ("transport", *COMPARED, "time_kind")


def assess_points(points: pd.DataFrame, home: tuple[str, Domain] | None = None, baseline: pd.DataFrame | None = None,
                  late: set[tuple[str, int]] | None = None) -> pd.DataFrame:
    """`points` with COLUMNS beside them.

    Args:
        points: the frame of `frames.load`.
        home: key and facts of the domain that was measured.
        baseline: points of another run of the same cases; takes precedence over published values.
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
    assessed["verdict"] = _verdict(assessed, least, most)
    reasons = find_reasons(assessed, late or set())
    assessed["why"] = _named(reasons, ~assessed["verdict"].isin([NORMAL, HIGH]))
    return assessed


def _by_baseline(assessed: pd.DataFrame, baseline: pd.DataFrame, least: pd.Series,
                 most: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Fill in the baseline, in place; returns the new limits of speed over expected speed."""
    unstated = {name for name in OPTIONAL if assessed[name].isna().all() or baseline[name].isna().all()}
    ours, theirs = (set(frame["transport"].dropna()) for frame in (assessed, baseline))
    if not ours & theirs and len(ours | theirs) == 2:       # one fabric under two names
        unstated.add("transport")
    keys = [name for name in _MATCH if name not in unstated]
    texts = [name for name in keys if name not in ("ranks", "message_bytes")]
    then = baseline[baseline["time_s"] > 0].assign(**{name: baseline[name].astype(object).fillna("") for name in texts})
    then = then.groupby(keys, dropna=False)[["time_s", "time_lo_s", "time_hi_s"]].median().reset_index()
    mine = assessed[keys].assign(**{name: assessed[name].astype(object).fillna("") for name in texts})
    found = mine.merge(then, on=keys, how="left")
    found.index = assessed.index
    known = found["time_s"].notna() & (assessed["time_s"] > 0)
    width = np.fmax(1.0, found["time_hi_s"] / found["time_s"]), np.fmin(1.0, found["time_lo_s"] / found["time_s"])
    speed = found["time_s"] / assessed["time_s"]
    assessed.loc[known, "of_expected"] = speed[known]
    slow, fast = 1 / (1 + _SAME) / width[0], (1 + _SAME) / width[1]
    for column, factor in (("expected_Bps", 1.0), ("expected_lo_Bps", slow), ("expected_hi_Bps", fast)):
        assessed.loc[known, column] = (assessed["busbw_Bps"] / speed * factor)[known]
    assessed.loc[known, "basis"] = "baseline"
    assessed.loc[known, "percentile"] = np.nan
    return least.mask(known, slow), most.mask(known, fast)


def _verdict(assessed: pd.DataFrame, least: pd.Series, most: pd.Series) -> NDArray[np.str_]:
    """By the expectation if there is one; a bound alone can only be exceeded."""
    # Benefit of the doubt: use the end of the confidence interval nearer to the expectation.
    fastest = np.fmax(1.0, assessed["time_s"] / assessed["time_lo_s"])
    slowest = np.fmin(1.0, assessed["time_s"] / assessed["time_hi_s"])
    ratio = assessed["of_expected"]
    bound = assessed["busbw_Bps"] * slowest > assessed["ceiling_most_Bps"]
    return np.select([bound, ratio * fastest < least, ratio * slowest > most, ratio.notna()],
                     [HIGH, LOW, HIGH, NORMAL], NO_REFERENCE)


def _named(reasons: pd.DataFrame, wanted: pd.Series) -> NDArray[np.object_]:
    """Reasons of the selected points as text, built once for each combination that occurs."""
    bits = reasons.to_numpy() @ (1 << np.arange(len(REASONS)))
    names = {code: ", ".join(name for at, name in enumerate(REASONS) if code >> at & 1) for code in np.unique(bits)}
    return np.where(wanted, np.array([names[code] for code in bits], dtype=object), "")
