"""Predictions across an algorithm change of the library's selection rule, by projecting the other algorithm.

Applies only inside a domain with known facts, and only if neither data nor log name the algorithm.
"""

from typing import Any

import numpy as np

from ..cost.fabric import fabric_of
from ..cost.selection import choices, constants
from ..domains.facts import Domain
from ..text.units import seconds
from .monte_carlo import Floats, Target, sample_times
from .references import shipped

__all__ = ["follow_rule"]


def follow_rule(rows: list[dict[str, Any]], op: str, largest: int, target: int,
                home: tuple[str, Domain]) -> list[dict[str, Any]]:
    """Rows of a prediction, replaced where the selection rule chooses another algorithm at the target.

    The new time is the projection of that algorithm in the same domain, from published measurements of it. The interval
    covers both algorithms, since the rule is emulated. `reason` gives the time without the change.
    """
    key, domain = home
    library, fabric = domain.library, fabric_of(domain)
    if not library or fabric is None or domain.accelerators is None or target > domain.accelerators.value:
        return rows
    followed = []
    for row in rows:
        weighed = [choices(library, op, row["message_bytes"], ranks, fabric)[:1] for ranks in (largest, target)]
        here, there = ([choice.algorithm for choice in found] for found in weighed)
        if here and there and here != there:
            drawn = sample_times(Target(key, domain, target), op, row["message_bytes"], shipped(), (), only=there[0])
            if drawn is not None:
                row = row | _replaced(row, drawn.time_s, here[0], there[0], f"{constants(library)['library']} "
                                 f"{constants(library)['version']}", largest)
        followed.append(row)
    return followed


def _replaced(row: dict[str, Any], draws: Floats, here: str, there: str, rule: str,
              largest: int) -> dict[str, Any]:
    low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95))
    stays = f"if instead {here}: {seconds(row['time_s'])}"
    words = (f"{rule} selects {here} at {largest} ranks and {there} here, which was not measured; "
             f"predicted for {there} from published measurements; {stays}")
    return {"algorithm": there, "time_s": float(max(middle, row["bound_s"])),
            "time_lo_s": float(max(min(low, row["time_lo_s"]), row["bound_s"])),
            "time_hi_s": float(max(high, row["time_hi_s"])),
            "reason": "; ".join(filter(None, (words, row["reason"])))}
