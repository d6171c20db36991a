"""Tidy CSV: one row per point, with all columns that the tidy CSV importer reads."""

from types import MappingProxyType

from ..frames.load import Loaded
from ..text.safe_csv import to_csv

__all__ = ["text"]

_COLUMNS = MappingProxyType({
    "system": "system", "library": "library", "op": "collective", "algorithm": "algorithm", "dtype": "dtype",
    "ranks": "n_ranks", "ranks_per_node": "ranks_per_node", "message_bytes": "message_bytes", "time_us": "time_us",
    "native_size_bytes": "native_size_bytes", "variant": "variant", "repeats": "repeats", "statistic": "statistic",
    "source": "source", "transport": "transport", "device": "device", "mode": "mode", "redop": "redop",
    "place": "place", "traffic": "traffic", "protocol": "protocol", "time_kind": "time_kind",
    "algbw_GBps": "algbw_GBps", "busbw_GBps": "busbw_GBps"})
_WHOLE = ("ranks_per_node", "native_size_bytes", "repeats")


def text(loaded: Loaded) -> tuple[str, list[str]]:
    """The points as CSV; nothing is left out, so there are no warnings."""
    points = loaded.points
    measured_here = points["statistic"].isna()
    frame = points.assign(
        time_us=points["time_s"] * 1e6, algbw_GBps=points["algbw_Bps"] / 1e9, busbw_GBps=points["busbw_Bps"] / 1e9,
        statistic=points["statistic"].where(~measured_here, "median over samples of: " + points["time_kind"]),
        repeats=points["repeats"].where(~measured_here, points["samples"] * points["calls"]),
        source=points["source"].where(~measured_here, points["run"]),
        native_size_bytes=points["native_size_bytes"].where(~measured_here, points["asked_bytes"]))
    frame = frame.astype(dict.fromkeys(_WHOLE, "Int64"))
    return to_csv(frame[list(_COLUMNS)].rename(columns=dict(_COLUMNS))), []
