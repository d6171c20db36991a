"""What a planner needs to know of expert-parallel exchanges: a time for each kernel, setting and count of tokens.

Their times depend on more than ranks and size, so that they have a table of their own beside that of `costs`.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ..frames.columns import FABRIC
from ..models.calibration import Calibration
from ..models.predict import Home, predict_series
from ..models.series import Points, series_of
from ..projection.library_switch import follow_rule
from .costs import Note

__all__ = ["COLUMNS", "exchanges", "is_exchange"]

COLUMNS = (*FABRIC, "op", "dtype", "algorithm", "variant", "ranks", "message_bytes", "tokens", "kind", "time_s",
           "time_lo_s", "time_hi_s", "level", "runs", "ranks_per_node", "mode", "traffic", "distance", "holdout_error",
           "track_record", "caution", "source")
_PREFIX = "moe_"
_KEY = (*FABRIC, "op", "dtype", "algorithm", "variant", "mode", "traffic")


def is_exchange(points: pd.DataFrame) -> pd.Series:
    """Which points are expert-parallel exchanges."""
    found: pd.Series = points["op"].astype(str).str.startswith(_PREFIX)
    return found


def exchanges(points: pd.DataFrame, ranks: Sequence[int] = (), home: Home | None = None,
              known: Calibration | None = None) -> tuple[pd.DataFrame, list[Note]]:
    """Times of the exchanges in `points`, which are of one fabric, by settings and tokens per rank.

    Args:
        points: the frame of `frames.load`.
        ranks: rank counts to forecast where they were not measured.
        home, known: as in `forecast.extrapolate`.

    Returns:
        A frame of COLUMNS, and a note on each operation that cannot be forecast. `variant` has the settings
        without the tokens, which are a column.
    """
    usable = points[is_exchange(points) & (points["ranks"] >= 2) & (points["time_s"] > 0)]
    node = usable["ranks_per_node"].max()
    files = list(dict.fromkeys(str(source).rpartition(":")[0] for source in usable["source"].dropna()))
    rows: list[dict[str, object]] = []
    refused: dict[Note, None] = {}
    for key, series in series_of(usable):
        common = {name: key.get(name) for name in _KEY}
        measured = {**common, "kind": "measured", "source": ", ".join(files) or None}
        rows += [{**measured, **row} for row in _measured(series)]
        for row in predict_series(key, series, sorted(set(ranks)), home, follow_rule, known):
            if row["kind"] == "extrapolated":
                rows.append({**common, **_forecast(row)})
            elif row["kind"] == "refused":
                refused[Note(str(key["op"]),
                             f"{key['op']} at {row['ranks']} ranks: not forecast: {row['reason']}")] = None
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).assign(message_bytes=0)
    if pd.notna(node):
        frame["ranks_per_node"] = frame["ranks"].clip(upper=node)
    return frame, [*refused]


def _measured(series: Points) -> Iterator[dict[str, object]]:
    """A row for each rank count and count of tokens, with the range of its repeats."""
    for ranks, tokens in sorted({*zip(series.ranks.tolist(), series.size.tolist(), strict=True)}):
        same = series.where((series.ranks == ranks) & (series.size == tokens))
        once = len(same.ranks) == 1
        low, high = (float(same.time_lo_s[0]), float(same.time_hi_s[0])) if once else (
            float(same.time_s.min()), float(same.time_s.max()))
        yield {"ranks": ranks, "tokens": round(tokens), "time_s": float(np.median(same.time_s)), "time_lo_s": low,
               "time_hi_s": high, "level": 0.95 if once and np.isfinite(low) else None, "runs": len(same.ranks)}


def _forecast(row: Mapping[str, object]) -> dict[str, object]:
    named = ("ranks", "kind", "time_s", "time_lo_s", "time_hi_s", "level", "distance", "holdout_error", "track_record")
    return {**{name: row.get(name) for name in named}, "tokens": round(float(str(row["size"]))),
            "caution": row.get("reason"), "source": "collbench extrapolate"}
