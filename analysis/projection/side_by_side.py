"""Two domains side by side for a report: times of the measured operations on each, and crossovers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..domains.facts import Domain, load_domains
from .head_to_head import Crossover, DrawKey, Versus, crossovers, versus
from .monte_carlo import Draws
from .project import project

__all__ = ["PAIR", "Pair", "project_pair"]

PAIR = ("nvl72", "cm384")
_MOST_SIZES = 24
_NO_ACCELERATOR = ("cpu", "not stated", "unknown")


@dataclass(frozen=True)
class Pair:
    """Projections to both domains.

    Args:
        frame: projected rows of `project`.
        lines: comparisons by operation and message size.
        crossovers: message sizes between which the faster domain changes.
        names: of the domains, by key.
    """

    frame: pd.DataFrame
    lines: list[Versus]
    crossovers: list[Crossover]
    names: dict[str, str]


def project_pair(shown: pd.DataFrame, ops: Sequence[str], home: tuple[str, Domain] | None,
                 keys: tuple[str, str] = PAIR) -> Pair | None:
    """Project representative points; None if they name no accelerator, which makes a projection meaningless.

    Args:
        shown: representative points, with `fabric`; the first fabric counts.
        ops: operations to project.
        home: key and facts of the domain of the measurement.
    """
    devices = {str(device).lower() for device in shown["device"].dropna()}
    if shown.empty or (home is None and devices <= set(_NO_ACCELERATOR)):
        return None
    points = shown[(shown["fabric"] == shown["fabric"].iloc[0]) & shown["op"].isin(ops)]
    points = points[points["asked_bytes"].isin(_some(points["asked_bytes"]))]
    kept: dict[DrawKey, Draws] = {}
    domains = load_domains()
    frame = project(points, keys, domains, measured_on=home[0] if home else None, kept=kept)
    frame = frame[frame["kind"] == "projected"]
    if set(frame["domain"]) != set(keys):
        return None
    lines = versus(kept, *keys, domains, dict(zip(frame["domain"], frame["ranks"], strict=True)))
    return Pair(frame, lines, crossovers(lines), {key: _short(domains[key].name) for key in keys})


def _short(name: str) -> str:
    """Without the vendor, so that legends fit on narrow screens."""
    return name.removeprefix("NVIDIA ").removeprefix("Huawei ")


def _some(sizes: pd.Series) -> NDArray[np.generic]:
    known = np.unique(sizes)
    at = np.unique(np.linspace(0, len(known) - 1, min(len(known), _MOST_SIZES)).round().astype(int))
    some: NDArray[np.generic] = known[at]
    return some
