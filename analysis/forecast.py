"""Extrapolation to other rank counts of the measured fabric, from models and library selection rules together.

`models` predicts from the curve alone. Inside a domain with known facts, the library may select another algorithm at
the larger rank count; `projection` then predicts the time of that algorithm.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from collbench.collectives.errors import UsageError

from .frames.bandwidth import busbw_Bps
from .frames.columns import SERIES
from .frames.load import with_text
from .models.calibration import Calibration
from .models.predict import Home, predict_series
from .models.series import series_of
from .projection.library_switch import follow_rule
from .text.json_text import json_rows

__all__ = ["COLUMNS", "TARGETS", "as_json", "extrapolate"]

TARGETS = (72, 384)      # accelerators of one NVL72 and of one CloudMatrix 384

COLUMNS = (*SERIES, "algorithm", "message_bytes", "asked_bytes", "ranks", "kind", "time_s", "time_lo_s", "time_hi_s",
           "level", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "distance", "holdout_error", "bound_s", "domain",
           "reason", "parameters",
           "track_record")
_TEXT = (*SERIES, "algorithm", "domain", "reason", "parameters", "track_record")
_NUMBERS = ("time_s", "time_lo_s", "time_hi_s", "level", "distance", "holdout_error", "bound_s")


def extrapolate(points: pd.DataFrame, ranks: Sequence[int] = TARGETS, home: Home | None = None,
                known: Calibration | None = None) -> pd.DataFrame:
    """Times of each measured series at `ranks` ranks of the same fabric.

    Args:
        points: the frame of `frames.load`.
        ranks: target rank counts.
        home: key and facts of the domain of the measurement, which give its levels and the selection rule of its
            library. None: levels come from the ranks per node in the data only.
        known: the calibration; None for the shipped one. A test on public data leaves out what was learned from them.

    Returns:
        A frame of COLUMNS, one row per series, message size and rank count. `kind` is `measured` if that rank count was
        measured, `extrapolated` if a model forecasts it, `refused` (one row per series and rank count, no times) if
        none can; `reason` gives the cause, or warnings. `bound_s` is a lower bound on the time at that rank count; no
        forecast is below it. The prediction interval has coverage `level` on cases like those of the calibration.
        `distance` is the rank count over the largest measured one below it, `holdout_error` the median relative error
        when the largest rank count is held out, `track_record` how such forecasts did on public measurements.

    Raises:
        UsageError: a rank count is below 2.
    """
    if any(target < 2 for target in ranks):
        raise UsageError(f"cannot extrapolate to {min(ranks)} ranks: at least 2 are needed")
    rows = [row for key, series in series_of(points)
            for row in predict_series(key, series, ranks, home, follow_rule, known)]
    frame = with_text(pd.DataFrame(rows, columns=list(COLUMNS)), _TEXT).astype(dict.fromkeys(_NUMBERS, float))
    case = (frame["op"], frame["ranks"], frame["message_bytes"].astype(float))
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        frame[rate] = busbw_Bps(*case, frame[time])
    return frame


def as_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects; None if unknown, integer columns as int."""
    return json_rows(frame, whole=("message_bytes", "asked_bytes", "ranks"))
