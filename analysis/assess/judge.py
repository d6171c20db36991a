"""Each point against what it could be: a ceiling, published measurements, a baseline; a verdict, and likely reasons."""

import numpy as np
import pandas as pd

from ..domains.facts import Domain
from .ceilings import add_ceilings
from .diagnosis import REASONS, curves, find_reasons
from .published import add_published

__all__ = ["ABOVE", "BELOW", "COLUMNS", "NORMAL", "UNKNOWN", "WITHIN", "judge"]

NORMAL, BELOW, ABOVE = "normal", "below", "above"
WITHIN = "within bounds"            # nothing but a bound is known: not above it, and on the curve's own plateau
UNKNOWN = "no ceiling known"
COLUMNS = ("ceiling_Bps", "ceiling_kind", "ceiling_rate_Bps", "wire_Bps", "share", "expected_Bps", "expected_lo_Bps",
           "expected_hi_Bps", "expected_s", "of_expected", "basis", "verdict", "why", "latency_share", "line_fixed_s",
           "line_s_per_byte", "plateau_Bps", "peak_Bps", "peak_bytes")
_SAME = 0.05        # of the baseline's time, either way: as `collbench compare` has it
_OFF_PLATEAU = 0.5  # of its own plateau, below which a curve is where Hockney's half-performance length puts latency
_MATCH = ["transport", "op", "dtype", "redop", "place", "traffic", "ranks", "message_bytes", "mode", "time_kind",
          "algorithm", "protocol"]
_OPTIONAL = ("dtype", "redop", "place", "traffic", "algorithm", "protocol")     # a log may not say them


def judge(points: pd.DataFrame, home: tuple[str, Domain] | None = None, baseline: pd.DataFrame | None = None,
          late: set[tuple[str, int]] | None = None) -> pd.DataFrame:
    """`points` with COLUMNS beside them.

    Args:
        points: the frame of `tidy.load`.
        home: key and facts of the domain that they were measured in.
        baseline: points of another run of the same cases; what it says goes before what was published.
        late: (run, ranks) where one rank holds the others up.

    Returns:
        `share` is that of the ceiling: of `wire_Bps` where switches reduce, else of busbw. `of_expected` is the
        speed over the expected one. `verdict` is `normal`, `below` or `above` what is expected where that is known;
        without it, `above` is beyond the hard bound, `below` under half of the curve's own plateau, and anything else
        `within bounds`, or `no ceiling known`. `why` names keys of `reasons.REASONS`, for whatever is neither normal
        nor above.
    """
    judged = points.join(curves(points))
    judged = judged.join(add_ceilings(judged, home))
    judged = judged.join(add_published(judged, home))
    judged["of_expected"] = judged["busbw_Bps"] / judged["expected_Bps"]
    least = judged["expected_lo_Bps"] / judged["expected_Bps"]
    most = judged["expected_hi_Bps"] / judged["expected_Bps"]
    if baseline is not None:
        least, most = _by_baseline(judged, baseline, least, most)
    judged["expected_s"] = judged["time_s"] * judged["of_expected"]
    judged["share"] = judged["busbw_Bps"] / judged["ceiling_Bps"]
    judged["verdict"] = _verdict(judged, least, most)
    reasons = find_reasons(judged, late or set())
    judged["why"] = _named(reasons, ~judged["verdict"].isin([NORMAL, ABOVE]))
    return judged


def _by_baseline(judged: pd.DataFrame, baseline: pd.DataFrame, least: pd.Series,
                 most: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Fill in what the baseline says, in place; the new limits of speed over expected speed."""
    silent = {name for name in _OPTIONAL if judged[name].isna().all() or baseline[name].isna().all()}
    one = [set(frame["transport"].dropna()) for frame in (judged, baseline)]
    if not one[0] & one[1] and len(one[0] | one[1]) == 2:       # one fabric each, under two names
        silent.add("transport")
    keys = [name for name in _MATCH if name not in silent]
    texts = [name for name in keys if name not in ("ranks", "message_bytes")]
    then = baseline[baseline["time_s"] > 0].assign(**{name: baseline[name].astype(object).fillna("") for name in texts})
    then = then.groupby(keys, dropna=False)[["time_s", "time_lo_s", "time_hi_s"]].median().reset_index()
    mine = judged[keys].assign(**{name: judged[name].astype(object).fillna("") for name in texts})
    found = mine.merge(then, on=keys, how="left")
    found.index = judged.index
    known = found["time_s"].notna() & (judged["time_s"] > 0)
    width = np.fmax(1.0, found["time_hi_s"] / found["time_s"]), np.fmin(1.0, found["time_lo_s"] / found["time_s"])
    speed = found["time_s"] / judged["time_s"]
    judged.loc[known, "of_expected"] = speed[known]
    slow, fast = 1 / (1 + _SAME) / width[0], (1 + _SAME) / width[1]
    for column, factor in (("expected_Bps", 1.0), ("expected_lo_Bps", slow), ("expected_hi_Bps", fast)):
        judged.loc[known, column] = (judged["busbw_Bps"] / speed * factor)[known]
    judged.loc[known, "basis"] = "baseline"
    return least.mask(known, slow), most.mask(known, fast)


def _verdict(judged: pd.DataFrame, least: pd.Series, most: pd.Series) -> np.ndarray:
    """By what is expected where that is known, else by the bound and the curve's own plateau."""
    # Benefit of the doubt: the end of the measured interval that is nearer to what is expected.
    fastest = np.fmax(1.0, judged["time_s"] / judged["time_lo_s"])
    slowest = np.fmin(1.0, judged["time_s"] / judged["time_hi_s"])
    ratio = judged["of_expected"]
    bound = judged["busbw_Bps"] * slowest > judged["ceiling_most_Bps"]
    off = judged["busbw_Bps"] * fastest < _OFF_PLATEAU * judged["plateau_Bps"]
    capped = judged["ceiling_Bps"].notna()
    return np.select([bound, ratio * fastest < least, ratio * slowest > most, ratio.notna(), capped & off, capped],
                     [ABOVE, BELOW, ABOVE, NORMAL, BELOW, WITHIN], UNKNOWN)


def _named(reasons: pd.DataFrame, wanted: pd.Series) -> np.ndarray:
    """Reasons of the points wanted, as text; one text for each combination that occurs."""
    bits = reasons.to_numpy() @ (1 << np.arange(len(REASONS)))
    names = {code: ", ".join(name for at, name in enumerate(REASONS) if code >> at & 1) for code in np.unique(bits)}
    return np.where(wanted, np.array([names[code] for code in bits], dtype=object), "")
