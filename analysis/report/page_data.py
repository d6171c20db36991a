"""Numbers that only the page and its figures show, computed before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.records.record import Run

from ..domains.facts import Domain
from ..findings.finding import Finding
from ..frames.bandwidth import busbw_Bps
from ..frames.columns import SHOWN
from ..frames.representative import HEADLINE_OPS
from ..projection.side_by_side import Pair, project_pair
from ..text import units
from .sampled_calls import Calls, choose, read_calls

__all__ = ["PageData", "build_page_data", "curve_counts", "fitted_lines", "last_rank_shares"]

_CLOSE = 1.6        # no rank count within this factor of a target: the target itself is close enough
_STEPS = 24         # points of a fitted line, which is a curve on logarithmic axes
_Z95 = 1.96
_LINE = ("op", "fabric", "ranks", "mode", "message_bytes", "time_s")


@dataclass(frozen=True)
class PageData:
    """Everything that the page shows and the terminal does not.

    Args:
        predictions: every measured series at every target; of very many series only the representative ones.
        at_targets: those of the representative series.
        curve: representative series at the targets and, for `HEADLINE_OPS`, at rank counts between the largest
            measured one and the targets.
        lines: latency + size / rate as fitted to each measured curve, sampled over message size; `kind` is `line`.
        ceilings: the bus bandwidth that a representative point cannot exceed, and what sets it (`words`).
        last_ranks: how often each rank was last, with 95 % confidence intervals; columns of `last_rank_shares`.
        calls: distributions of the calls of a few chosen cases.
        projected: projections to two domains side by side; None where nothing can be projected.
    """

    predictions: pd.DataFrame
    at_targets: pd.DataFrame
    curve: pd.DataFrame
    lines: pd.DataFrame
    ceilings: pd.DataFrame
    last_ranks: pd.DataFrame
    calls: tuple[Calls, ...]
    projected: Pair | None


def build_page_data(data: Sequence[Path], shown: pd.DataFrame, points: pd.DataFrame, findings: Sequence[Finding],
                    lateness: pd.DataFrame, runs: dict[str, Run], home: tuple[str, Domain] | None,
                    predictions: pd.DataFrame, between: pd.DataFrame) -> PageData:
    """Compute what the page needs.

    Args:
        data: files or run directories; chosen cases are read a second time, with their samples.
        shown: representative points, assessed.
        points: all points, assessed.
        predictions: every series at every target, with `fabric`.
        between: representative series at `curve_counts`, with `fabric`.
    """
    keys = [name for name in SHOWN if name in shown]
    at_targets = predictions.merge(shown[keys].drop_duplicates(), on=keys)
    curve = pd.concat([at_targets, between[between["kind"] == "extrapolated"]], ignore_index=True)
    ops = [op for op in HEADLINE_OPS if op in set(shown["op"])]
    choices = choose(shown, points, findings)
    calls = tuple(call for path in data for call in read_calls(path, choices))
    return PageData(predictions, at_targets, curve, fitted_lines(shown), _ceilings(shown),
                    last_rank_shares(lateness, runs), calls, project_pair(shown, ops, home))


def curve_counts(points: pd.DataFrame, targets: Sequence[int]) -> list[int]:
    """Rank counts between the largest measured one of `points` and the largest target: its doublings."""
    counts: list[int] = []
    if points.empty:
        return counts
    last = int(points["ranks"].max())
    while (last := last * 2) < max(targets):
        if all(max(last / target, target / last) > _CLOSE for target in targets):
            counts.append(last)
    return counts


def fitted_lines(shown: pd.DataFrame) -> pd.DataFrame:
    """The line fitted to each curve over message size, sampled densely enough to draw it."""
    curves = shown[shown["line_fixed_s"].notna()].groupby(["op", "fabric", "ranks", "mode"], sort=False)
    found = [pd.DataFrame({"op": op, "fabric": fabric, "ranks": ranks, "mode": mode, "message_bytes": size,
                           "time_s": last["line_fixed_s"] + last["line_s_per_byte"] * size})
             for (op, fabric, ranks, mode), rows in curves
             for last in [rows.iloc[-1]]
             for size in [np.geomspace(rows["message_bytes"].min(), rows["message_bytes"].max(), _STEPS)]]
    whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*_LINE])
    busbw = busbw_Bps(whole["op"], whole["ranks"], whole["message_bytes"], whole["time_s"])
    return whole.assign(kind="line", busbw_Bps=busbw)


def _ceilings(shown: pd.DataFrame) -> pd.DataFrame:
    capped = shown[shown["ceiling_Bps"].notna()]
    rate = capped["ceiling_rate_Bps"].map(units.rate)
    return capped.assign(busbw_Bps=capped["ceiling_Bps"], words=capped["ceiling_kind"] + " of " + rate)[
        ["op", "fabric", "ranks", "message_bytes", "mode", "busbw_Bps", "words"]]


def last_rank_shares(lateness: pd.DataFrame, runs: dict[str, Run]) -> pd.DataFrame:
    """For each transport, at the most ranks measured, how often each rank was last.

    Args:
        lateness: that of `Loaded`.

    Returns:
        Columns run, transport, ranks, kind (`begin` or `end`), rank, samples, cases, last (calls), share of the calls
        with its 95 % confidence interval (share_lo, share_hi), by_s (how long after the previous rank, on average) and
        cases_last (cases in which it was last by most).
    """
    chosen = _largest(lateness, runs)
    of_chosen = [key in chosen for key in zip(lateness["run"], lateness["ranks"], strict=True)]
    kept = lateness[np.array(of_chosen, dtype=bool)]
    low, high = _wilson(kept["last"].to_numpy(float), kept["samples"].to_numpy(float))
    return pd.DataFrame({
        "run": kept["run"], "transport": kept["run"].map(lambda run: runs[run].transport), "ranks": kept["ranks"],
        "kind": kept["kind"], "rank": kept["rank"].astype(int), "samples": kept["samples"], "cases": kept["cases"],
        "last": kept["last"].astype(int), "share": kept["last"] / kept["samples"], "share_lo": low, "share_hi": high,
        "by_s": kept["late_s"] / kept["last"].where(kept["last"] > 0), "cases_last": kept["cases_last"].astype(int)})


def _largest(lateness: pd.DataFrame, runs: dict[str, Run]) -> set[tuple[str, int]]:
    """For each transport the run and rank count with the most ranks, then with the most calls."""
    found: dict[str, tuple[int, int, str]] = {}
    most = lateness.groupby(["run", "ranks"], sort=False)["samples"].max()
    for run, ranks, samples in most.reset_index().itertuples(index=False):
        transport = runs[run].transport
        if transport not in found or (ranks, samples) > found[transport][:2]:
            found[transport] = int(ranks), int(samples), str(run)
    return {(run, ranks) for ranks, _, run in found.values()}


def _wilson(hits: NDArray[np.float64], total: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's 95 % confidence interval of a share."""
    share, spread = hits / total, _Z95**2 / total
    middle, half = share + spread / 2, _Z95 * np.sqrt(share * (1 - share) / total + spread / total / 4)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)
