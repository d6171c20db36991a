"""References for projections: measured curves as overhead, time per step, and share of the link rate.

A reference is one algorithm and protocol of one operation on one system. Only quantities without a rate transfer to
another domain: seconds of software, and the reached share of the nominal rate.
"""

import csv
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple

import numpy as np
import pandas as pd

from collbench.collectives.cases.names import op_name

from ..cost.algorithms import Algorithm, algorithm_named
from ..cost.fabric import algorithms_without_a_rule, fabric_of
from ..cost.selection import choices
from ..domains.facts import Domain, load_domains
from ..models.curve import curve_of
from ..models.fit import design, fit_algorithm

__all__ = ["Reference", "learn", "measured", "shipped"]

_LEAST_POINTS = 4


class Reference(NamedTuple):
    """One algorithm of one operation on one system.

    Args:
        domain: where it was measured.
        step_s: software and hardware time per step; `overhead_s` is per call.
        efficiency: reached share of the nominal one-way rate per accelerator.
        scatter: standard deviation of the log residuals of the fit.
        ranks: largest measured rank count.
        generation: of the accelerator, as in the library's selection rule.
    """

    domain: str
    library: str
    op: str
    algorithm: str
    protocol: str
    overhead_s: float
    step_s: float
    efficiency: float
    scatter: float
    ranks: int
    generation: str | None
    source: str


@cache
def measured() -> pd.DataFrame:
    """The published measurements that ship with the tool and lie within one domain.

    Columns: domain, system, library, variant, source, op, size, ranks, payload_bytes, time_s.
    """
    folder = resources.files("collbench.analysis").joinpath("data")
    where = {row["system"]: row["domain"] for row in
             csv.DictReader(folder.joinpath("projection", "references.csv").read_text(encoding="utf-8").splitlines())}
    with folder.joinpath("validation", "aiconfigurator_nccl_single_node.csv").open(encoding="utf-8") as stream:
        table = pd.read_csv(stream)
    table = table[table["system"].isin(where)]
    return pd.DataFrame({
        "domain": table["system"].map(where), "system": table["system"], "library": table["library"],
        "variant": table["variant"].fillna(""), "source": table["source"], "op": table["collective"].map(op_name),
        "size": table["native_size_bytes"], "ranks": table["n_ranks"], "payload_bytes": table["message_bytes"],
        "time_s": table["time_us"] / 1e6})


@cache
def shipped() -> tuple[Reference, ...]:
    """References of the published measurements that ship with the tool."""
    domains = load_domains()
    found: list[Reference] = []
    for (key, _, library, _), rows in measured().groupby(["domain", "system", "library", "variant"]):
        found += learn(rows, str(key), domains[str(key)], "nccl", f"{rows['source'].iloc[0]}: {library}")
    return tuple(found)


def learn(frame: pd.DataFrame, key: str, domain: Domain, library: str, source: str) -> Iterator[Reference]:
    """References of rows with columns op, size, ranks, payload_bytes, time_s, measured inside `domain`."""
    fabric = fabric_of(domain)
    if fabric is None:
        return
    for op, rows in frame.groupby("op"):
        named = [_label(library, str(op), payload, ranks, domain)
                 for payload, ranks in zip(rows["payload_bytes"], rows["ranks"], strict=True)]
        for (name, protocol), part in rows.assign(name=[n for n, _ in named], protocol=[p for _, p in named]) \
                .groupby(["name", "protocol"]):
            algorithm = algorithm_named(str(op), str(name))
            if algorithm is None or len(part) < _LEAST_POINTS:
                continue
            fitted = _fit(part, str(op), algorithm)
            if fitted is not None and fitted[2] > 0:
                overhead, step, byte, scatter = fitted
                yield Reference(key, library, str(op), algorithm.name, str(protocol), overhead, step,
                                1 / (byte * fabric.rate_Bps), scatter, int(part["ranks"].max()),
                                fabric.generation, source)


def _label(library: str, op: str, payload: float, ranks: int, domain: Domain) -> tuple[str, str]:
    """Algorithm and protocol of one measured point by the library's selection rule."""
    fabric = fabric_of(domain)
    ruled = choices(library, op, payload, int(ranks), fabric) if fabric else []
    if ruled:
        return ruled[0].algorithm, ruled[0].protocol
    return next(iter(algorithms_without_a_rule(op, in_network=False)), ""), ""       # none for other tools' operations


def _fit(part: pd.DataFrame, op: str, algorithm: Algorithm) -> tuple[float, float, float, float] | None:
    """Overhead, seconds per step, seconds per byte, and log scatter of the residuals; None if no fit is possible."""
    curve = curve_of(part, op)
    if not np.isfinite(curve.log_time_s).any():
        return None
    fit = fit_algorithm(curve, algorithm)
    at = np.nonzero(np.isfinite(curve.log_time_s))
    fitted = design(algorithm, curve.counts[at[1]], curve.payload_bytes[at], ()) @ fit.parameters()
    if (fitted <= 0).any():
        return None
    left = curve.log_time_s[at] - np.log(fitted)
    return fit.overhead_s, float(fit.step_s[0]), float(fit.byte_s[0]), float(np.sqrt(np.mean(left**2)))
