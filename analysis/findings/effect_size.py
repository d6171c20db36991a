"""How large a difference must be to be a finding; docs/report.md states it."""

import numpy as np
import pandas as pd

__all__ = ["LEAST_S", "MEASURED", "UNMEASURED", "least_ratio"]

MEASURED = 1.1      # ratio of two times, between the near ends of their confidence intervals
UNMEASURED = 1.5    # ratio of two times without confidence intervals, as in most logs
LEAST_S = 0.5e-6    # a smaller difference is within a few clock readings and cache misses


def least_ratio(slow: pd.DataFrame, fast: pd.DataFrame) -> pd.Series:
    """By how many times `slow` takes longer at least, row by row; NaN where that is too little for a finding.

    Args:
        slow, fast: `time_s`, `time_lo_s`, `time_hi_s`, with one index. Without both intervals the ratio is that of the
            times, and has to be larger.
    """
    ends = slow["time_lo_s"] / fast["time_hi_s"]
    known = ends.notna()
    ratio = ends.where(known, slow["time_s"] / fast["time_s"])
    enough = (ratio >= np.where(known, MEASURED, UNMEASURED)) & (slow["time_s"] - fast["time_s"] > LEAST_S)
    return ratio.where(enough)
