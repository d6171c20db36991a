"""Why a point is slower than it could be, as a mask for each reason, from the same data.

A reason is named only if the data contain its evidence. Several may hold; they are ordered so that each masks the next:
ranks that wait for a core show nothing about latency.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..frames.columns import BY_SOURCE, FABRIC, SERIES

__all__ = ["REASONS", "curves", "find_reasons"]

# `wording.why` adds the evidence.
REASONS = {
    "oversubscription": "more ranks than cores on a host",
    "late rank": "one rank delays the others",
    "several hosts": "ranks span several hosts, and traffic between hosts passes their network cards",
    "latency": "a latency-bound message size",
    "switch": "slower than for a smaller message, as if the algorithm or protocol changes",
    "unstable": "the timing is unstable",
    "harness": "an empty call takes much of the time",
}
_LATENCY = 0.5      # fixed cost over time from which a size is called latency-bound
_DROP = 0.2         # of bus bandwidth from a smaller to a larger message; noise alone rarely causes more
_HARNESS = 0.2
# A run has one fabric.
_CURVE = ["run", *(name for name in SERIES if name not in FABRIC), "ranks", *BY_SOURCE]


def curves(points: pd.DataFrame) -> pd.DataFrame:
    """Properties of the curve over message size that each point lies on; a frame beside `points`.

    line_fixed_s, line_s_per_byte: a line fitted with relative weights, fixed cost + size / rate; latency_share: the
    fixed cost over the time on that line; NaN with fewer than 3 sizes. plateau_Bps: the best busbw of the curve.
    peak_Bps, peak_bytes: the best busbw at a smaller size.
    """
    keys = [name for name in _CURVE if name in points]
    # One integer code per column, combined per row: much faster than grouping by a dozen text columns.
    code = np.zeros(len(points), dtype=np.int64)
    for name in keys:
        part, values = pd.factorize(points[name], use_na_sentinel=False)
        code = pd.factorize(code * (len(values) + 1) + part)[0]
    size = points["message_bytes"].to_numpy(float)
    time, bus = points["time_s"].to_numpy(float), points["busbw_Bps"].to_numpy(float)
    usable = (size > 0) & (time > 0)
    weight = np.where(usable, 1 / np.where(usable, time, 1.0)**2, 0.0)
    many = int(code.max()) + 1 if len(code) else 0

    def total(values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.bincount(code, weights=np.where(usable, values, 0.0), minlength=many).astype(float)

    # Weighted least squares of every curve at once, from its five sums.
    w, ws, wss, wt, wst = (total(weight * values) for values in (1.0, size, size**2, time, size * time))
    with np.errstate(all="ignore"):
        slope = np.maximum((w * wst - ws * wt) / (w * wss - ws**2), 0.0)
        fixed = np.maximum((wt - slope * ws) / w, 0.0)
        share = fixed[code] / (fixed[code] + slope[code] * size)
    sizes = pd.DataFrame({"code": code, "size": size})[usable].drop_duplicates()["code"].value_counts()
    enough = pd.Series(code).map(sizes).fillna(0).to_numpy() >= 3
    fitted = {"latency_share": share, "line_fixed_s": fixed[code], "line_s_per_byte": slope[code]}
    found = pd.DataFrame({name: np.where(usable & enough, values, np.nan) for name, values in fitted.items()},
                         index=points.index)
    found["plateau_Bps"] = pd.Series(bus, index=points.index).groupby(code).transform("max")
    return found.join(_peaks(code, size, bus, points.index))


def _peaks(code: NDArray[np.int64], size: NDArray[np.float64], bus: NDArray[np.float64],
           index: pd.Index) -> pd.DataFrame:
    """The best busbw on the curve of each point at a smaller message size, and that size."""
    order = np.lexsort((size, code))
    frame = pd.DataFrame({"code": code[order], "size": size[order], "bus": np.nan_to_num(bus[order], nan=0.0)})
    best = frame.groupby("code")["bus"].cummax()
    before = best.groupby(frame["code"]).shift(1)
    at = frame["size"].where(frame["bus"].eq(best)).groupby(frame["code"]).ffill()
    at = at.groupby(frame["code"]).shift(1)
    found = pd.DataFrame({"peak_Bps": before.to_numpy(), "peak_bytes": at.to_numpy()}, index=index[order])
    return found.reindex(index)


def find_reasons(points: pd.DataFrame, late: set[tuple[str, int]]) -> pd.DataFrame:
    """A column of booleans for each of REASONS; `points` with the columns of `curves`.

    Args:
        late: (run, ranks) with a straggler.
    """
    # A log without intervals: the median stands in for both ends.
    high = points["busbw_hi_Bps"].fillna(points["busbw_Bps"])
    nodes = points["ranks_per_node"].astype(float)
    unstable = [flags for flags in points["flags"].dropna().unique()
                if set(flags.split(", ")) & {"drift", "bimodal", "precision missed"}]
    delayed = np.zeros(len(points), dtype=bool)
    for run, ranks in late:
        delayed |= (points["run"].eq(run) & points["ranks"].eq(ranks)).to_numpy()
    found = {
        "oversubscription": points["oversubscribed"].fillna(False).astype(bool),
        "late rank": delayed,
        "several hosts": nodes < points["ranks"],
        "latency": points["latency_share"] > _LATENCY,
        "switch": high < (1 - _DROP) * points["peak_Bps"],
        "unstable": points["flags"].isin(unstable),
        "harness": points["overhead_s"] > _HARNESS * points["time_s"],
    }
    return pd.DataFrame(found, index=points.index)[list(REASONS)].astype(bool)
