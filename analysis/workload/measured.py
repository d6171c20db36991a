"""The time of each call of a step on the machine that was measured: as measured, or extrapolated on its fabric."""

import zlib
from pathlib import Path

import pandas as pd

from collbench.collectives.cases.moe_workload import is_workload, parse_workload

from ..domains.facts import Domain
from ..forecast import extrapolate
from ..frames.columns import SERIES
from ..projection.monte_carlo import DRAWS
from .calls import EXCHANGES, Job, Use
from .exchange import Curve, Stream, curve_of, draws_at
from .price import Priced

__all__ = ["OnMachine"]

_INSTEAD = ("all_to_all_v", "all_to_all")      # measured in place of an exchange between experts, the best one first
_EVEN = ("balanced", "uniform")                # of routing, which the bytes of a call assume
_MODES = ("isolated", "streamed")              # the model waits for a call, so the time of one alone counts


class OnMachine:
    """Measurements of a machine. Groups are assumed to be as fast as the first ranks of the machine together.

    Args:
        data: where they are from; `points`: the frame of `frames.load`.
        home: key and facts of the domain of the machine, if known.
    """

    def __init__(self, data: Path, points: pd.DataFrame, home: tuple[str, Domain] | None,
                 draws: int = DRAWS) -> None:
        self.name, self.home = data.name, home
        self._points = points[points["time_s"] > 0]
        self._stream = Stream.of(zlib.crc32(b"measured"), draws)
        self._curves: dict[tuple[str, int], tuple[Curve | None, str]] = {}

    def price(self, job: Job) -> list[Priced]:
        """Every call of the job with its time; None, with the reason, where the measurements do not suffice."""
        return [self._price(use, job.group(use.call).ranks) for use in job.uses]

    def _price(self, use: Use, ranks: int) -> Priced:
        call = use.call
        there = set(self._points["op"])
        op = next((op for op in (call.op, *(_INSTEAD if call.op in EXCHANGES else ())) if op in there), None)
        if op is None:
            return Priced(use, ranks, None, "unknown", "", f"{call.op} was not measured: collbench bench --ops "
                          f"{_INSTEAD[0] if call.op in EXCHANGES else call.op}")
        if (op, ranks) not in self._curves:
            self._curves[op, ranks] = self._curve(op, ranks)
        curve, words = self._curves[op, ranks]
        if curve is None:
            return Priced(use, ranks, None, "unknown", "", f"{op} over {ranks} ranks: {words}")
        times, kind, note = draws_at(curve, call.bytes, self._stream)
        notes = [f"as {op}"] if op != call.op else []
        return Priced(use, ranks, times, kind, words, "; ".join([*notes, *([note] if note else [])]) or None)

    def _curve(self, op: str, ranks: int) -> tuple[Curve | None, str]:
        """The fastest library's times over message size, and its name; or None and why."""
        mine = self._points[self._points["op"].eq(op)]
        modes = [mode for mode in _MODES if mine["mode"].eq(mode).any()]
        mine = mine[mine["mode"].eq(modes[0])] if modes else mine
        frame = extrapolate(mine, [ranks], self.home)
        known = frame[frame["kind"].isin(["measured", "extrapolated"]) & (frame["time_s"] > 0)]
        if known.empty:
            reasons = frame["reason"].dropna()
            return None, str(reasons.iloc[0]) if len(reasons) else "not enough rank counts were measured"
        by_series = [part for _, part in known.groupby(list(SERIES), dropna=False, sort=False)]
        most = max(part["message_bytes"].nunique() for part in by_series)
        full = [part for part in by_series if part["message_bytes"].nunique() > most / 2]
        even = [part for part in full if str(part["traffic"].iloc[0]).startswith(_EVEN)]
        best = min(even or full, key=lambda part: float(part.sort_values("message_bytes")["time_s"].iloc[-1]
                                                        / part["message_bytes"].max()))
        row = best.iloc[0]
        library = next((str(row[name]) for name in ("library", "transport") if isinstance(row[name], str)), "")
        return curve_of(best, _copies(row["traffic"], ranks)), f"measured: {library}" if library else "measured"


def _copies(traffic: object, ranks: int) -> float:
    """Copies of a token that an exchange makes; the message size of one that was measured counts each token once."""
    if not isinstance(traffic, str) or not is_workload(traffic):
        return 1.0
    return float(min(parse_workload(traffic).topk, ranks))
