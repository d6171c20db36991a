"""Times of exchanges between experts in a domain, from published tables: as measured, or extrapolated to more ranks.

Between the message sizes of a table, times are interpolated in logarithms. Above the largest one the bandwidth is kept;
below the smallest one, some share of the time is assumed not to shrink with the message.
"""

import math
import sys
from functools import cache
from importlib import resources
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd

from ..domains.facts import Domain
from ..forecast import extrapolate
from ..frames.load import load
from ..projection.monte_carlo import Floats

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["NETWORK", "NOISE", "Curve", "Stream", "Table", "curve_at", "curve_of", "draws_at", "tables"]

NETWORK = "network"    # the table of exchanges that leave a domain
NOISE = 0.06           # log standard deviation of published times from run to run: nccl-tests logs of one machine
_KEEPS = (0.1, 0.8)    # share of the time that does not shrink below the smallest message: one-sided kernels on GB200
#                        keep 0.55 to 0.72 from 192 tokens to 1, DeepEP on H100 0.11 to 0.34 from 160 tokens to 8
_COPIES = 8            # of each token in the published tables, as many as experts that it is for
_QUANTILE = 1.6449     # of the normal distribution at 95 %


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of exchanges.toml, which explains the fields."""

    file: str
    algorithms: tuple[str, ...]
    local: bool
    source: str
    card_Bps: float | None = None


class Curve(NamedTuple):
    """Times over message size at one rank count: [size] middle, low and high of a 90 % interval.

    Args:
        sizes: message sizes in bytes, ascending. `kinds`: `measured` or `extrapolated`, of each.
    """

    sizes: Floats
    middle_s: Floats
    low_s: Floats
    high_s: Floats
    kinds: tuple[str, ...]


class Stream(NamedTuple):
    """Random numbers that all calls of one system share: [draw], a normal one, and two from 0 to 1."""

    model: Floats
    keeps: Floats
    share: Floats

    @classmethod
    def of(cls, seed: int, draws: int) -> "Stream":
        """The numbers of a system."""
        rng = np.random.default_rng(seed)
        return cls(rng.normal(size=draws), rng.random(draws), rng.random(draws))


@cache
def tables() -> dict[str, Table]:
    """Published exchanges by domain."""
    text = resources.files("collbench.analysis").joinpath("data", "workload", "exchanges.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Table])


@cache
def _points(key: str) -> pd.DataFrame:
    table = tables()[key]
    file = resources.files("collbench.analysis").joinpath("data", *table.file.split("/"))
    with resources.as_file(file) as path:
        points = load(path).points
    return points[points["algorithm"].isin(table.algorithms) & (points["message_bytes"] > 0)]


def curve_at(key: str, domain: Domain | None, op: str, ranks: int) -> Curve | None:
    """Times of `op` over `ranks` ranks of a domain; None if no table has the operation or nothing can be extrapolated.

    With NETWORK as the key, over ranks with a network card each. Sizes count every copy of a token, those on the rank
    itself included. No exchange is faster than over the largest measured number of ranks below: it has more peers, and
    as much to send.
    """
    if key not in tables():
        return None
    copies = min(_COPIES, ranks)
    frame = _no_faster(_forecast(key, domain, op, ranks), _points(key), op, ranks, copies)
    return None if frame.empty else curve_of(frame, 1.0 if tables()[key].local else copies / max(1, copies - 1))


def _no_faster(frame: pd.DataFrame, points: pd.DataFrame, op: str, ranks: int, copies: int) -> pd.DataFrame:
    """The forecast, no faster than what was measured over the most ranks below, apart from noise."""
    below = points[points["op"].eq(op) & points["ranks"].between(copies, ranks)]
    known = below.sort_values("ranks").groupby("message_bytes")["time_s"].last()
    floor = frame["message_bytes"].map(known).fillna(0.0)
    return frame.assign(time_s=frame["time_s"].clip(lower=floor), time_hi_s=frame["time_hi_s"].clip(lower=floor),
                        time_lo_s=frame["time_lo_s"].clip(lower=floor * math.exp(-NOISE * _QUANTILE)))


@cache
def _forecast(key: str, domain: Domain | None, op: str, ranks: int) -> pd.DataFrame:
    points = _points(key)
    return extrapolate(points[points["op"].eq(op)], [ranks], (key, domain) if domain else None)


def curve_of(frame: pd.DataFrame, scale: float = 1.0) -> Curve | None:
    """Of a frame of `forecast.extrapolate`: of several series with a message size the fastest.

    No size is slower than a larger one, to which it could be padded. What was measured gets the interval of its own,
    or that of the noise where none was published.
    """
    known = frame[frame["kind"].isin(["measured", "extrapolated"]) & (frame["time_s"] > 0)]
    if known.empty:
        return None
    known = known.sort_values("time_s").drop_duplicates("message_bytes").sort_values("message_bytes")
    middle = known["time_s"].to_numpy(float)
    apart = math.exp(NOISE * _QUANTILE)
    low = known["time_lo_s"].fillna(pd.Series(middle / apart, known.index)).to_numpy(float)
    high = known["time_hi_s"].fillna(pd.Series(middle * apart, known.index)).to_numpy(float)
    return Curve(known["message_bytes"].to_numpy(float) * scale, _ascending(middle),
                 _ascending(np.minimum(low, middle)), _ascending(np.maximum(high, middle)), tuple(known["kind"]))


def _ascending(values: Floats) -> Floats:
    least: Floats = np.minimum.accumulate(values[::-1])[::-1]
    return least


def draws_at(curve: Curve, size: float, stream: Stream) -> tuple[Floats, str, str | None]:
    """Draws of the time of a message, the kind of the figure, and what is assumed about its size."""
    sizes = curve.sizes
    at = min(max(size, sizes[0]), sizes[-1])
    middle, low, high = (math.exp(np.interp(math.log(at), np.log(sizes), np.log(values)))
                         for values in (curve.middle_s, curve.low_s, curve.high_s))
    near = {curve.kinds[int(index)] for index in (np.searchsorted(sizes, at), np.searchsorted(sizes, at, "right") - 1)}
    kind = "measured" if near == {"measured"} else "extrapolated"
    spread = np.where(stream.model > 0, math.log(high / middle), math.log(middle / low)) / _QUANTILE
    times: Floats = middle * np.exp(stream.model * spread)
    if size > sizes[-1] * 1.001:
        return times * (size / sizes[-1]), "extrapolated", "above the known message sizes the bandwidth is kept"
    if size < sizes[0] * 0.999:
        keeps = _KEEPS[0] + (_KEEPS[1] - _KEEPS[0]) * stream.keeps
        return times * (keeps + (1 - keeps) * size / sizes[0]), "assumed", \
            f"below the known message sizes {_KEEPS[0]:.0%} to {_KEEPS[1]:.0%} of the time is assumed to stay"
    return times, kind, None

